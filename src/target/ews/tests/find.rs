//! The search for stamps.

use super::*;

#[tokio::test]
async fn every_folder_is_searched_to_its_end_and_each_copy_found_where_it_lies() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    server.says(tree(&[])); // no folder of imports
    server.says(tree(&[("a", "root", "A", "IPF.Note"), ("b", "a", "B", "IPF.Appointment")]));
    server.says(response("FindItem", &[page(&[found("1", 1)], 0, 2), page(&[found("3", 3)], 0, 1)]));
    server.then(|body| {
        assert!(body.contains("Offset=\"1\"") && !body.contains("Id=\"b\""), "{body}");
        delivered(200, &[], response("FindItem", &[page(&[found("2", 2)], 1, 2)]))
    });
    let prefix = StampPrefix::mailbox(&stamp(1).source, &stamp(1).mailbox);
    let copies = mailbox.find(&prefix).await.expect("found");
    let seen: Vec<_> = copies.iter().map(|c| (c.stamp.number, c.id.as_str(), c.folder.0.as_str())).collect();
    assert_eq!(seen, [(1, "1", "a"), (2, "2", "a"), (3, "3", "b")]);
    assert!(copies.iter().all(|c| c.complete && c.made == 1000 && c.flags.seen && c.flags.flagged));
    let asked = &server.asked()[4].2;
    assert!(asked.contains("<t:Contains ContainmentMode=\"Prefixed\" ContainmentComparison=\"Exact\">"));
    assert!(asked.contains(&format!("<t:Constant Value=\"{}\"/>", prefix.as_str())));
}

#[tokio::test]
async fn a_search_that_changed_under_us_is_begun_again() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let folders = || tree(&[("a", "root", "A", "IPF.Note")]);
    // The total changes between two pages; then the folder goes away; then all is calm.
    server.says(tree(&[])).says(folders()).says(response("FindItem", &[page(&[found("1", 1)], 0, 3)]));
    server.says(response("FindItem", &[page(&[found("2", 2)], 1, 2)]));
    server
        .says(tree(&[]))
        .says(folders())
        .says(response("FindItem", &[failed("FindItem", "ErrorItemNotFound")]));
    server
        .says(tree(&[]))
        .says(folders())
        .says(response("FindItem", &[page(&[found("1", 1), found("2", 2)], 0, 2)]));
    let prefix = StampPrefix::mailbox(&stamp(1).source, &stamp(1).mailbox);
    assert_eq!(mailbox.find(&prefix).await.expect("found").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_does_not_come_forward_is_an_error_and_not_a_loop() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    server.says(tree(&[])).says(tree(&[("a", "root", "A", "IPF.Note")]));
    let stuck = "<m:RootFolder IndexedPagingOffset=\"0\" TotalItemsInView=\"9\" IncludesLastItemInRange=\"false\"><t:Items/></m:RootFolder>";
    for _ in 0..5 {
        server.says(response("FindItem", &[done("FindItem", stuck)]));
    }
    let error = mailbox.find(&StampPrefix::exactly(&stamp(1))).await.expect_err("stuck");
    assert_eq!(error.kind, Kind::Protocol);
}

#[tokio::test]
async fn several_stamps_are_looked_for_at_once_and_what_was_stopped_is_asked_again_in_smaller_requests() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let ids: Vec<String> = (0..6).map(|n| format!("f{n}")).collect();
    let folders: Vec<_> = ids.iter().map(|id| (id.as_str(), "root", id.as_str(), "IPF.Note")).collect();
    server.says(tree(&[])).says(tree(&folders));
    let stopped = || failed("FindItem", "ErrorBatchProcessingStopped");
    let none = || page(&[], 0, 0);
    server.says(response(
        "FindItem",
        &[none(), page(&[found("1", 1)], 0, 1), stopped(), stopped(), stopped(), stopped()],
    ));
    server.then(move |body| {
        assert!(["f2", "f3", "f4"].iter().all(|id| body.contains(&format!("\"{id}\""))), "{body}");
        assert!(!body.contains("\"f1\"") && !body.contains("\"f5\""), "{body}");
        delivered(200, &[], response("FindItem", &[page(&[found("2", 2)], 0, 1), none(), none()]))
    });
    server.says(response("FindItem", &[none()]));
    let both = [1, 2].map(|n| StampPrefix::exactly(&stamp(n)));
    let copies = mailbox.find_each(&both).await.expect("found");
    let seen: Vec<_> = copies.iter().map(|c| (c.stamp.number, c.folder.0.as_str())).collect();
    assert_eq!(seen, [(1, "f1"), (2, "f2")]);
    let asked = &server.asked()[4].2;
    assert!(asked.contains("<t:Or>") && asked.matches("<t:Contains").count() == 2, "{asked}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_comes_to_the_end_of_a_search_is_not_asked_for_ever() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    server.says(tree(&[])).says(tree(&[("a", "root", "A", "IPF.Note")]));
    for _ in 0..5 {
        server.says(response("FindItem", &[failed("FindItem", "ErrorBatchProcessingStopped")]));
    }
    let error = mailbox.find(&StampPrefix::exactly(&stamp(1))).await.expect_err("stopped");
    assert!(error.may_pass() && error.what.contains("ErrorBatchProcessingStopped"), "{error}");
}

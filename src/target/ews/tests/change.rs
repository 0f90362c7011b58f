//! Flags, moves and removals of copies that are there.

use super::*;

#[tokio::test(start_paused = true)]
async fn flags_are_set_without_read_receipts_and_what_failed_for_a_moment_is_tried_again() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let ok = || done("UpdateItem", "");
    server.says(response(
        "UpdateItem",
        &[ok(), failed("UpdateItem", "ErrorIrresolvableConflict"), failed("UpdateItem", "ErrorItemNotFound")],
    ));
    server.then(move |body| {
        assert!(body.contains("Id=\"2\"") && !body.contains("Id=\"1\"") && !body.contains("Id=\"3\""));
        assert!(body.contains("SuppressReadReceipts=\"true\"") && body.contains("AlwaysOverwrite"));
        delivered(200, &[], response("UpdateItem", &[ok()]))
    });
    let changes = ["1", "2", "3"].map(|id| (copy(id), Flags::decode("S")));
    let results = mailbox.set_flags(&changes).await;
    assert!(results[0].is_ok() && results[1].is_ok());
    assert_eq!(results[2].as_ref().map_err(|e| (e.kind, e.scope)), Err((Kind::NotFound, Scope::Message)));
}

#[tokio::test]
async fn what_is_removed_stays_recoverable_and_what_is_gone_is_removed() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    server.says(response("DeleteItem", &[done("DeleteItem", ""), failed("DeleteItem", "ErrorItemNotFound")]));
    let results = mailbox.remove(&[copy("1"), copy("2")]).await;
    assert!(results.len() == 2 && results.iter().all(Result::is_ok));
    let body = server.last();
    assert!(body.contains("<m:DeleteItem DeleteType=\"SoftDelete\" SendMeetingCancellations=\"SendToNone\""));
    assert!(body.contains("SuppressReadReceipts=\"true\"") && !body.contains("MoveToDeletedItems"));
}

fn lies_in(folder: &str, number: u64) -> String {
    let item = found("x", number)
        .replace("<t:DateTimeCreated>", &format!("<t:ParentFolderId Id=\"{folder}\"/><t:DateTimeCreated>"));
    done("GetItem", &format!("<m:Items>{item}</m:Items>"))
}

#[tokio::test(start_paused = true)]
async fn a_move_whose_answer_was_lost_is_settled_by_the_stamp() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let to = TargetFolderId("b".to_owned());
    server.says(response(
        "GetItem",
        &[lies_in("a", 1), lies_in("b", 2), failed("GetItem", "ErrorItemNotFound")],
    ));
    server.then(|body| {
        assert!(body.contains("Id=\"1\"") && !body.contains("Id=\"2\"") && !body.contains("Id=\"3\""));
        Delivery::NoAnswer
    });
    server.says(response("FindItem", &[page(&[found("new", 1)], 0, 1)]));
    let results = mailbox.relocate(&[copy("1"), copy("2"), copy("3")], &to).await;
    assert_eq!(results[0].as_deref().ok(), Some("new"));
    assert_eq!(results[1].as_deref().ok(), Some("2"), "it lies there already");
    assert_eq!(results[2].as_ref().map_err(|e| (e.kind, e.scope)), Err((Kind::NotFound, Scope::Message)));
    assert_eq!(server.ops()[2..], ["GetItem", "MoveItem", "FindItem"]);
}

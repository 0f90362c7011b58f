//! Folders found and made.

use super::*;

#[tokio::test(start_paused = true)]
async fn mail_goes_to_folders_for_mail_and_a_taken_name_gets_a_suffix() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let calendar = ("cal", "root", "Calendar", "IPF.Appointment");
    server.says(tree(&[calendar, ("w", "root", "Work", "IPF.Note")]));
    assert_eq!(mailbox.folder(&wanted(&["Work"])).await.expect("found").0, "w");
    server.says(response("CreateFolder", &[done("CreateFolder", &folder("c2"))]));
    assert_eq!(mailbox.folder(&wanted(&["Calendar"])).await.expect("made").0, "c2");
    let body = server.last();
    assert!(body.contains("<t:FolderClass>IPF.Note</t:FolderClass><t:DisplayName>Calendar~"), "{body}");
    assert_eq!(mailbox.folder(&wanted(&["Calendar"])).await.expect("known").0, "c2");
    // Somebody else makes it at the same moment.
    server.says(response("CreateFolder", &[failed("CreateFolder", "ErrorFolderExists")]));
    server.says(tree(&[calendar, ("n", "root", "New", "IPF.Note")]));
    assert_eq!(mailbox.folder(&wanted(&["New"])).await.expect("found").0, "n");
    // An answer that was lost: it is looked for before it is made again.
    server.then(|_| Delivery::NoAnswer);
    server.says(tree(&[calendar, ("l", "root", "Late", "")]));
    assert_eq!(mailbox.folder(&wanted(&["Late"])).await.expect("found").0, "l");
    assert_eq!(mailbox.folder(&wanted(&["inbox"])).await.expect("well known").0, "inbox");
}

#[tokio::test]
async fn a_name_that_no_listing_shows_is_taken_all_the_same() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let exists = || response("CreateFolder", &[failed("CreateFolder", "ErrorFolderExists")]);
    server.says(tree(&[])).says(exists()).says(tree(&[])).says(exists()).says(tree(&[]));
    server.then(|body| {
        assert!(body.contains("<t:DisplayName>Ghost~"), "{body}");
        delivered(200, &[], response("CreateFolder", &[done("CreateFolder", &folder("g"))]))
    });
    assert_eq!(mailbox.folder(&wanted(&["Ghost"])).await.expect("made").0, "g");
}

#[tokio::test]
async fn missing_folders_are_made_level_by_level_and_those_of_one_parent_in_one_request() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    server.says(tree(&[("w", "root", "Work", "IPF.Note"), ("cal", "root", "Plans", "IPF.Appointment")]));
    let three = ["c1", "c2", "c3"].map(|id| done("CreateFolder", &folder(id)));
    server.then(move |body| {
        for (name, count) in [("A", 1), ("B", 1), ("C", 1), ("b", 0), ("Plans", 0), ("Work", 0)] {
            assert_eq!(
                body.matches(&format!("<t:DisplayName>{name}</t:DisplayName>")).count(),
                count,
                "{name}"
            );
        }
        delivered(200, &[], response("CreateFolder", &three))
    });
    for (parent, id) in [("c1", "a1"), ("w", "w1")] {
        server.then(move |body| {
            assert!(body.contains(&format!("<m:ParentFolderId><t:FolderId Id=\"{parent}\"/>")), "{body}");
            delivered(200, &[], response("CreateFolder", &[done("CreateFolder", &folder(id))]))
        });
    }
    let all: [&[&str]; 9] =
        [&["A"], &["B"], &["b"], &["C"], &["A", "x"], &["Work"], &["Work", "y"], &["Plans"], &["INBOX"]];
    let all = all.map(wanted);
    mailbox.expect(&all).await.expect("made");
    let asked = server.asked().len();
    let plain = [&["A"][..], &["B"], &["C"], &["A", "x"], &["Work"], &["Work", "y"]];
    for (names, id) in plain.into_iter().zip(["c1", "c2", "c3", "a1", "w", "w1"]) {
        assert_eq!(mailbox.folder(&wanted(names)).await.expect("known").0, id);
    }
    assert_eq!(server.asked().len(), asked, "nothing was asked for again");
    // Names that collide with something have all the care of their own.
    server.says(response("CreateFolder", &[done("CreateFolder", &folder("b2"))]));
    assert_eq!(mailbox.folder(&wanted(&["b"])).await.expect("made").0, "b2");
    assert!(server.last().contains("<t:DisplayName>b~"));
}

#[tokio::test(start_paused = true)]
async fn folders_whose_making_was_not_told_of_are_looked_for_before_they_are_made_again() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    server.says(tree(&[])).then(|_| Delivery::NoAnswer);
    let two = [wanted(&["A"]), wanted(&["B"])];
    assert!(mailbox.expect(&two).await.is_err());
    server.says(tree(&[("a", "root", "A", "IPF.Note")]));
    assert_eq!(mailbox.folder(&two[0]).await.expect("found").0, "a");
    server.says(response("CreateFolder", &[done("CreateFolder", &folder("b"))]));
    assert_eq!(mailbox.folder(&two[1]).await.expect("made").0, "b");
}

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

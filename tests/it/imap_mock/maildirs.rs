//! Maildirs served read-only.

use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use mailwave::mock::imap::ImapOptions;

use super::{Dialogue, StillWorld};

fn deliver(maildir: &Path, folder: &str, file: &str, octets: &[u8]) {
    let folder = maildir.join(folder);
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    let path = folder.join(file);
    fs::write(&path, octets).unwrap();
    let date = UNIX_EPOCH + Duration::from_secs(837_596_665);
    fs::File::options().write(true).open(path).unwrap().set_modified(date).unwrap();
}

#[tokio::test]
async fn a_maildir_is_served_with_its_folders_flags_dates_and_crlf() {
    let root = tempfile::tempdir().unwrap();
    let maildir = root.path().join("anna");
    deliver(&maildir, "", "new/1.M1.host", b"Subject: new\n\nlf only\n");
    deliver(&maildir, "", "cur/2.M2.host,S=9:2,FSa", b"Subject: b\r\n\r\nmixed\nends\r\n");
    deliver(&maildir, ".Entw&APw-rfe.2024", "cur/3.M3.host:2,D", b"");
    fs::write(maildir.join("dovecot-keywords"), "0 $Work\n").unwrap();
    fs::write(maildir.join("dovecot-uidlist"), "3 V1234 N70 Gabc\n42 :2.M2.host,S=9\n").unwrap();
    let mock = mailwave::mock::imap::ImapMock::new(ImapOptions::default(), std::sync::Arc::new(StillWorld));
    assert_eq!(mock.serve_maildirs(root.path()).unwrap(), 1);
    assert_eq!(mock.store().folders("anna"), ["Entwürfe/2024", "INBOX"]);

    let mut d = Dialogue::login(&mock).await;
    let selected = d.expect("a SELECT INBOX", "a OK").await;
    assert!(selected.contains("[UIDVALIDITY 1234]") && selected.contains("[UIDNEXT 71]"), "{selected}");
    let all = d.expect("b UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])", "b OK").await;
    assert!(
        all.contains(
            "UID 42 FLAGS ($Work \\Flagged \\Seen \\Recent) INTERNALDATE \"17-Jul-1996 09:44:25 +0000\" RFC822.SIZE 27"
        ),
        "{all}"
    );
    assert!(all.contains("UID 70 FLAGS (\\Recent)"), "{all}");
    assert!(all.contains("BODY[] {25}\nSubject: new\n\nlf only\n)"), "{all}");

    // Another program marks, delivers and removes; this one only ever looks.
    fs::rename(maildir.join("new/1.M1.host"), maildir.join("cur/1.M1.host:2,R")).unwrap();
    deliver(&maildir, "", "new/4.M4.host", b"Subject: later\n\n");
    fs::remove_file(maildir.join("cur/2.M2.host,S=9:2,FSa")).unwrap();
    let told = d.expect("c NOOP", "c OK").await;
    assert!(
        told.contains("* 1 EXPUNGE\n")
            && told.contains("UID 70 FLAGS (\\Answered")
            && told.contains("* 2 EXISTS\n"),
        "{told}"
    );
    d.expect("d UID STORE 70 +FLAGS (\\Deleted)", "d OK").await;
    d.expect("e EXPUNGE", "e OK").await;
    assert!(maildir.join("cur/1.M1.host:2,R").exists(), "files stay as they are");
    d.expect("f SELECT INBOX", "f OK").await;
    assert_eq!(mock.store().uids("anna", "INBOX"), [71], "what clients expunged does not come back");
    d.expect("g EXAMINE Entw&APw-rfe/2024", "g OK").await;
    assert!(
        d.ask("h UID FETCH 1 (FLAGS BODY.PEEK[])").await.contains("FLAGS (\\Draft \\Recent) BODY[] {0}\n)")
    );
}

#[tokio::test]
async fn a_message_whose_file_cannot_be_read_is_left_out_and_the_command_says_no() {
    let root = tempfile::tempdir().unwrap();
    let maildir = root.path().join("anna");
    deliver(&maildir, "", "cur/1.M1.host:2,", b"one\n");
    deliver(&maildir, "", "cur/2.M2.host:2,", b"two\n");
    let mock = mailwave::mock::imap::ImapMock::new(ImapOptions::default(), std::sync::Arc::new(StillWorld));
    mock.serve_maildirs(&maildir).unwrap();
    let mut d = Dialogue::examine(&mock).await;
    fs::remove_file(maildir.join("cur/1.M1.host:2,")).unwrap();
    let answer =
        d.expect("a UID FETCH 1:2 BODY.PEEK[]", "a NO [SERVERBUG] 1 messages could not be read").await;
    assert!(!answer.contains("UID 1 ") && answer.contains("UID 2 "), "{answer}");
}

#[tokio::test]
async fn folders_that_clients_rename_or_delete_stay_so_and_their_files_stay_too() {
    let root = tempfile::tempdir().unwrap();
    let maildir = root.path().join("anna");
    deliver(&maildir, "", "cur/1.M1.host:2,", b"one\n");
    deliver(&maildir, ".A", "cur/2.M2.host:2,", b"two\n");
    deliver(&maildir, ".B", "cur/3.M3.host:2,", b"three\n");
    let mock = mailwave::mock::imap::ImapMock::new(ImapOptions::default(), std::sync::Arc::new(StillWorld));
    mock.serve_maildirs(root.path()).unwrap();
    let mut d = Dialogue::login(&mock).await;
    d.expect("a RENAME A C", "a OK").await;
    d.expect("b DELETE B", "b OK").await;
    deliver(&maildir, ".A", "new/4.M4.host", b"four\n");
    d.expect("c LIST \"\" *", "c OK").await;
    assert_eq!(mock.store().folders("anna"), ["C", "INBOX"]);
    assert_eq!(mock.store().uids("anna", "C"), [1, 2]);
    fs::remove_dir_all(maildir.join(".A")).unwrap();
    d.expect("d LIST \"\" *", "d OK").await;
    assert_eq!(mock.store().folders("anna"), ["INBOX"]);
    assert!(maildir.join(".B/cur/3.M3.host:2,").exists());
}

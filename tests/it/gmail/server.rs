//! The mock is as strict as Gmail, by its own word on the wire.

use super::*;
use crate::support::imap_client::Client;

fn said(client: &mut Client, command: &str) -> String {
    String::from_utf8_lossy(&client.run(&[command.as_bytes()]).0).into_owned()
}

fn client(way: &Way) -> Client {
    let mut client = Client::connect(way.source.port());
    said(&mut client, &format!("LOGIN {USER} word"));
    client
}

/// The highest modification sequence a folder tells.
fn modseq(client: &mut Client, folder: &str) -> u64 {
    let told = said(client, &format!("STATUS \"{folder}\" (HIGHESTMODSEQ)"));
    let digits: String =
        told.rsplit("HIGHESTMODSEQ ").next().unwrap().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

#[test]
fn a_message_has_one_id_and_another_uid_in_each_folder_and_all_labels_but_the_folders_own() {
    let mut way = Way::with("keywords");
    way.deliver("other", &["INBOX"], &[]);
    way.deliver("it", &["INBOX", SENT, IMPORTANT, "Plain", "Two words", "Prüfung \"&\" \\"], &["\\Flagged"]);
    let id = way.ids["it"];
    let mut client = client(&way);
    let listed = said(&mut client, "LIST \"\" \"*\"");
    for line in [
        "\\HasNoChildren \\All) \"/\" \"[Gmail]/All Mail\"",
        "\\Important) \"/\" \"[Gmail]/Important\"",
        "(\\Noselect \\HasChildren) \"/\" \"[Gmail]\"",
    ] {
        assert!(listed.contains(line), "{line}: {listed}");
    }
    let all = [
        "\"\\\\Inbox\"",
        "Plain",
        "\"Pr&APw-fung \\\"&-\\\" \\\\\"",
        "\"Two words\"",
        "\"\\\\Important\"",
        "\"\\\\Sent\"",
        "\"\\\\Starred\"",
    ];
    for (folder, uid, without) in [
        ("INBOX", 2, "\"\\\\Inbox\""),
        ("[Gmail]/All Mail", 2, ""),
        ("[Gmail]/Starred", 1, "\"\\\\Starred\""),
        ("Plain", 1, "Plain"),
        ("Two words", 1, "\"Two words\""),
    ] {
        said(&mut client, &format!("EXAMINE \"{folder}\""));
        let told = said(&mut client, "UID FETCH 1:* (X-GM-MSGID X-GM-LABELS FLAGS)");
        let line = told.lines().find(|l| l.contains(&format!("X-GM-MSGID {id} "))).unwrap();
        assert!(line.contains(&format!("(UID {uid} ")), "{folder}: {line}");
        for label in all {
            assert_eq!(line.contains(label), label != without, "{folder}: {label} in {line}");
        }
        assert!(!line.contains("All") && line.contains("FLAGS (\\Flagged"), "{line}");
        assert_eq!(
            said(&mut client, &format!("UID SEARCH X-GM-MSGID {id}")).trim_end(),
            format!("* SEARCH {uid}")
        );
        assert_eq!(
            said(&mut client, "UID SEARCH OR X-GM-MSGID 77777 X-GM-MSGID 88888").trim_end(),
            "* SEARCH"
        );
    }
}

#[test]
fn a_change_of_labels_counts_as_one_of_the_message_in_every_folder_that_holds_it() {
    let mut way = Way::with("keywords");
    way.deliver("it", &["INBOX", "Work"], &[]);
    let mut client = client(&way);
    let folders = ["INBOX", ALL, "Work"];
    let before = folders.map(|f| modseq(&mut client, f));
    way.label("it", &["INBOX", "Home", "Work"]);
    let after = folders.map(|f| modseq(&mut client, f));
    assert!(before.iter().zip(&after).all(|(a, b)| a < b), "{before:?} {after:?}");
    said(&mut client, &format!("EXAMINE \"{ALL}\""));
    let told = said(&mut client, &format!("UID FETCH 1:* (X-GM-LABELS) (CHANGEDSINCE {})", before[1]));
    assert!(told.contains("X-GM-LABELS (Home \"\\\\Inbox\" Work)"), "{told}");
    way.mock().store().rename_label(USER, "Home", "House");
    let told = said(&mut client, &format!("UID FETCH 1:* (X-GM-LABELS) (CHANGEDSINCE {})", after[1]));
    assert!(told.contains("House"), "{told}");
}

#[test]
fn what_is_in_trash_or_spam_is_nowhere_else_and_starred_follows_the_flag() {
    let mut way = Way::with("keywords");
    way.deliver("it", &["INBOX", "Work"], &[]);
    let uids = |folder: &str| way.mock().store().uids(USER, folder);
    way.flag("it", &["\\Flagged"]);
    assert_eq!([INBOX, ALL, "Work", STARRED, TRASH].map(|f| uids(f).len()), [1, 1, 1, 1, 0]);
    way.flag("it", &["\\Seen"]);
    assert_eq!(uids(STARRED).len(), 0);
    assert_eq!(way.mock().store().flags(USER, ALL, 1).unwrap(), ["\\Seen"]);
    for exclusive in [TRASH, SPAM] {
        way.label("it", &["Work", exclusive]);
        assert_eq!([INBOX, ALL, "Work", exclusive].map(|f| uids(f).len()), [0, 0, 0, 1]);
    }
    way.label("it", &["INBOX"]);
    assert_eq!([INBOX, ALL, SPAM].map(&uids), [vec![2], vec![2], vec![]]);
    way.delete("it");
    assert_eq!([INBOX, ALL].map(|f| uids(f).len()), [0, 0]);
}

const INBOX: &str = "INBOX";

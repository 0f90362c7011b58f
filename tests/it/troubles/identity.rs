//! Which message is which, and what was done already.

use std::fs;

use mailwave::mock::imap::{Act, ImapOptions, InternalDate, Rule};

use super::{RECEIVED, USER, Way};
use crate::bad_input::desk::{mail, tree};

#[test]
fn a_folder_numbered_anew_is_matched_by_its_messages_and_nothing_is_stored_twice() {
    let way = Way::new();
    way.fill("INBOX", 6);
    way.put("INBOX", mail("twin", 1), &[]);
    way.put("INBOX", mail("twin", 1), &[]);
    way.stores(8);
    assert!(way.mock().store().reset_uid_validity(USER, "INBOX"));
    way.put("INBOX", mail("new", 1), &[]);
    assert_eq!(way.stores(1).count("already_there"), 8);
    way.is_whole();
    assert_eq!(way.stores(0).count("already_there"), 9);
}

#[test]
fn a_folder_numbered_anew_at_any_moment_of_a_pass_mixes_up_nothing() {
    let mut fired = 0;
    for nth in 1..=6 {
        let way = Way::new();
        way.fill("INBOX", 5);
        way.fill("Archiv", 5);
        // Other messages get the numbers of those that were listed.
        way.mock().store().expunge(USER, "INBOX", 1);
        way.mock().store().expunge(USER, "Archiv", 2);
        way.mock().script([Rule::on("EXAMINE", Act::NewUidValidity).nth(nth)]);
        way.run();
        way.run().ended(0);
        way.is_whole();
        fired += usize::from(way.mock().unfired().is_empty());
    }
    assert!(fired > 1, "it never happened in the middle of a pass");
}

#[test]
fn sizes_a_server_tells_wrongly_are_not_believed_and_the_verdict_does_not_suffer() {
    for off in [-100, 13_000] {
        let way = Way::new();
        way.mock().script([Rule::on("UID FETCH", Act::SizeOff(off)).always()]);
        way.fill("INBOX", 5);
        let ran = way.stores(5);
        assert_eq!(ran.mailbox(2)["verdict"], "perfect");
        way.is_whole();
        way.stores(0);
        way.all_fired();
    }
}

#[test]
fn messages_that_share_a_message_id_or_have_none_all_arrive() {
    let way = Way::new();
    let template = |text: &str| {
        format!("Message-ID: <quota@canary.example>\r\nSubject: canary\r\n\r\n{text}\r\n").into_bytes()
    };
    let none = |text: &str| format!("Subject: canary\r\n\r\n{text}\r\n").into_bytes();
    for text in ["90 %", "95 %"] {
        way.put("INBOX", template(text), &[]);
        way.put("Drafts", none(text), &["\\Draft"]);
    }
    way.put("INBOX", template("90 %"), &[]);
    way.put("INBOX", b"\r\nno header at all\r\n", &[]);
    way.stores(6);
    way.is_whole();
    way.stores(0);
}

#[test]
fn what_a_user_or_a_rule_files_elsewhere_between_passes_moves_its_copy() {
    let way = Way::new();
    way.fill("INBOX", 6);
    way.fill("Archiv", 2);
    way.stores(8);
    {
        let mut store = way.mock().store();
        let moved = store.messages(USER, "INBOX")[2].clone();
        store.expunge(USER, "INBOX", moved.uid);
        store.add(USER, "Archiv", moved.octets, &["\\Seen"], InternalDate::utc(RECEIVED));
    }
    way.stores(0);
    way.is_whole();
    assert_eq!(way.counts().into_values().collect::<Vec<_>>(), [5, 3]);
}

#[test]
fn what_goes_and_comes_while_a_pass_reads_is_settled_by_the_next_one() {
    let mut fired = 0;
    for nth in 1..=4 {
        let way = Way::new();
        way.fill("INBOX", 6);
        way.mock().script([Rule::on("UID FETCH", Act::ExpungeBefore(2)).nth(nth)]);
        way.run();
        way.put("INBOX", mail("late", 1), &[]);
        way.run(); // the rule may act in this one only
        way.run().ended(0);
        way.is_whole();
        fired += usize::from(way.mock().unfired().is_empty());
    }
    assert!(fired > 1, "it never happened in the middle of a pass");
}

#[test]
fn mail_that_the_target_had_or_received_itself_is_left_alone() {
    let way = Way::new();
    let cur = way.desk.path("out/ann/cur");
    for sub in ["cur", "new", "tmp"] {
        fs::create_dir_all(cur.with_file_name(sub)).unwrap();
    }
    fs::write(cur.join("1.before.host:2,S"), b"Subject: canary before\r\n\r\n").unwrap();
    way.fill("INBOX", 6);
    way.stores(6);
    fs::write(cur.with_file_name("new").join("2.after.host"), b"Subject: canary after\r\n\r\n").unwrap();
    way.mock().store().expunge(USER, "INBOX", 3);
    way.stores(0);
    let subjects = ["before", "after"].map(|w| format!("Subject: canary {w}\r\n\r\n").into_bytes());
    let arrived: Vec<Vec<u8>> = way.copies().into_iter().map(|c| c.octets).collect();
    assert_eq!(arrived.len(), 5 + 2, "the copy of what was deleted is gone, and only it");
    assert!(subjects.iter().all(|s| arrived.contains(s)));
}

#[test]
fn a_mailbox_leaves_a_handful_of_files_behind_however_many_messages_it_has() {
    let way = Way::from(ImapOptions::default());
    for folder in ["INBOX", "A", "B", "C"] {
        way.fill(folder, 50);
    }
    way.stores(200);
    let files = |dir: &str| fs::read_dir(way.desk.path(dir)).map_or(0, Iterator::count);
    assert!(files("mailwave-ledger") < 12, "{}", files("mailwave-ledger"));
    assert_eq!(files("mailwave-spool"), 0);
    assert_eq!(tree(&way.desk.path("out/ann")).len(), 200);
}

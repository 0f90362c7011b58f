//! Folders with awkward names, folders that are none, and very large ones.

use std::fs;

use mailwave::mock::imap::{Act, ImapOptions, Noise, Rule};

use super::{USER, Way};
use crate::bad_input::desk::{Desk, MAILDIR_TARGET, mail};
use crate::support::dovecot::{Dovecot, Options};

/// From a real Dovecot into Maildirs, its first user.
pub fn from_dovecot(dovecot: &Dovecot) -> Desk {
    let source = format!(
        "[source.old]\nkind = \"imap\"\nhost = \"localhost\"\nport = {}\nca_file = \"{}\"\nmaster_user = \"{}\"\npassword = {{ file = \"pw\" }}\n",
        dovecot.tls_port,
        dovecot.ca_file.display(),
        dovecot.master.0,
    );
    let desk = Desk::new(&format!("{source}{MAILDIR_TARGET}"), "source,target\nuser01,ann\n");
    desk.secret("pw", &dovecot.master.1);
    desk
}

#[test]
fn names_of_digits_blanks_and_syntax_arrive_from_a_real_dovecot() {
    let Some(dovecot) =
        Dovecot::with(&Options { separator: '.', prefix: "INBOX.".to_owned(), ..Options::default() })
    else {
        return;
    };
    let names: [&[&str]; 9] = [
        &["INBOX"],
        &["2024"],
        &["2024", "01"],
        &["NIL"],
        &["{5}"],
        &["(a)"],
        &[" canary "],
        &["a & b"],
        &["Ü"],
    ];
    let mut client = dovecot.client("user01");
    for (n, name) in names.iter().enumerate() {
        if n > 0 {
            client.create(name);
        }
        client.append(name, &mail("user01", n), "", None);
    }
    let desk = from_dovecot(&dovecot);
    let ran = desk.run();
    ran.ended(0);
    assert_eq!(ran.count("stored"), names.len() as u64);
    let mut all: Vec<Vec<u8>> = (0..names.len()).map(|n| mail("user01", n)).collect();
    all.sort();
    assert_eq!(desk.arrived("ann"), all);
    for dir in [".2024", ".2024.01", ".NIL", ".&ANw-"] {
        assert!(desk.path("out/ann").join(dir).is_dir(), "{dir}");
    }
    assert!(!desk.path("out/ann/.INBOX").exists(), "the prefix is the server's, not a folder");
    assert_eq!(desk.run().ended(0).count("stored"), 0);
}

#[test]
fn a_folder_that_cannot_be_selected_is_no_folder_of_mail_and_its_children_are() {
    let way = Way::new();
    way.fill("top/leaf", 2);
    way.mock().store().add_folder(USER, "top");
    way.mock().store().set_no_select(USER, "top", true);
    way.stores(2);
    way.is_whole();
    assert!(way.desk.path("out/ann/.top.leaf/cur").is_dir());
    assert!(!way.desk.path("out/ann/.top/cur").exists());
}

#[test]
fn a_folder_that_is_listed_and_cannot_be_opened_is_told_and_the_others_arrive() {
    let way = Way::new();
    way.fill("INBOX", 3);
    way.fill("Work", 3);
    let ghost = b"* LIST (\\HasNoChildren) \"/\" ghost\r\n".to_vec();
    way.mock().script([Rule::on("LIST", Act::Noise(Noise::Raw(ghost))).always()]);
    let ran = way.run();
    ran.ended(1);
    assert_eq!(ran.count("stored"), 6);
    assert_eq!(ran.mailbox(2)["verdict"], "investigate");
    let reasons = ran.mailbox(2)["reasons"].to_string();
    assert!(reasons.contains("one folder could not be listed"), "{reasons}");
    way.is_whole();
}

#[test]
fn a_folder_without_children_here_may_have_them_there() {
    let way =
        Way::from(ImapOptions { separator: '.', prefix: "INBOX.".to_owned(), ..ImapOptions::default() });
    way.fill("A", 1);
    way.fill("A.B", 1);
    way.fill("A.B.C", 1);
    way.stores(3);
    way.is_whole();
    assert_eq!(way.counts().len(), 3, "each its own: {:?}", way.counts());
}

#[test]
fn a_large_folder_is_listed_and_fetched_in_pieces() {
    let way = Way::with(ImapOptions::default(), "", "sync = \"never\"\n");
    for n in 0..10_500 {
        way.put("INBOX", format!("Subject: canary {n}\r\n\r\n"), &["\\Seen"]);
    }
    way.stores(10_500);
    way.is_whole();
    let heard = way.mock().heard();
    let fetches: Vec<&str> =
        heard.iter().filter(|h| h.verb == "UID FETCH").map(|h| h.line.as_str()).collect();
    assert!(fetches.iter().all(|line| !line.contains('*')), "no command asks for all");
    assert!(fetches.iter().filter(|line| !line.contains("BODY")).count() >= 3, "the listing is in windows");
    assert!(fetches.iter().filter(|line| line.contains("BODY")).count() >= 20, "so is the fetch");
    assert!(heard.iter().all(|h| !h.verb.contains("SEARCH")));
    assert!(fs::read_dir(way.desk.path("mailwave-spool")).map_or(0, Iterator::count) == 0);
}

#[test]
fn a_server_that_offers_the_extended_list_and_refuses_it_is_asked_plainly() {
    let way = Way::from(ImapOptions::default().offering("LIST-EXTENDED LIST-STATUS"));
    way.fill("INBOX", 2);
    way.fill("Work", 2);
    way.mock().script([Rule::on("LIST", Act::Bad("Error in IMAP command LIST".to_owned()))]);
    way.stores(4);
    way.is_whole();
    way.all_fired();
}

#[test]
fn shared_folders_and_those_of_others_are_left_out_unless_they_are_named() {
    for (source, count) in [("", 2), ("namespaces = [\"Public/\"]\n", 4)] {
        let options = ImapOptions {
            shared: vec!["Public/".to_owned()],
            others: vec!["Users/".to_owned()],
            ..ImapOptions::default()
        };
        let way = Way::with(options, source, "");
        way.fill("INBOX", 2);
        way.fill("Public/News", 2);
        way.fill("Users/canary.bob", 2);
        way.stores(count);
        assert_eq!(way.copies().len() as u64, count);
    }
}

#[test]
fn folders_that_are_left_out_by_name_stay_where_they_are() {
    let way = Way::with(ImapOptions::default(), "leave_out = [\"[Gmail]/Chats\", \"Files\"]\n", "");
    for folder in ["INBOX", "[Gmail]/Chats", "Files", "Files/2024", "Filesystem"] {
        way.fill(folder, 2);
    }
    way.stores(4);
    assert_eq!(way.counts().len(), 2, "{:?}", way.counts());
}

#[test]
fn a_folder_without_uidvalidity_is_left_out_and_named_and_the_others_arrive() {
    let way = Way::new();
    way.fill("INBOX", 3);
    way.fill("Work", 3);
    assert!(way.mock().store().set_uid_validity(USER, "Work", 0));
    let ran = way.run();
    ran.ended(1);
    assert_eq!(ran.count("stored"), 3);
    let reasons = ran.mailbox(2)["reasons"].to_string();
    assert!(reasons.contains("UIDVALIDITY"), "{reasons}");
    assert_eq!(way.run().ended(1).count("stored"), 0);
}

/// What another client does to "Work" before each of the first commands, one way after the other.
fn upheavals() -> [Act; 3] {
    [
        Act::RenameBefore("Work".to_owned(), "Arbeit".to_owned()),
        Act::DeleteBefore("Work".to_owned()),
        Act::RenumberBefore("Work".to_owned()),
    ]
}

#[test]
fn a_folder_renamed_or_deleted_in_the_middle_of_a_pass_drops_out_and_the_run_ends_well() {
    for act in upheavals() {
        let mut fired = 0;
        for nth in 1..=14 {
            let way = Way::new();
            way.fill("INBOX", 20);
            way.fill("Work", 3);
            way.fill("Year", 20);
            way.mock().script([Rule::on("*", act.clone()).nth(nth + 4)]);
            let ran = way.run();
            assert_eq!(ran.code, 0, "{act:?} {nth}: {}", ran.json);
            let copies = way.copies();
            assert!(copies.iter().filter(|c| c.folder.is_empty()).count() == 20, "{act:?} {nth}");
            assert!(copies.iter().filter(|c| c.folder == ".Year").count() == 20, "{act:?} {nth}");
            way.run().ended(0);
            way.run().ended(0);
            way.is_whole();
            fired += usize::from(way.mock().unfired().is_empty());
        }
        assert!(fired > 3, "{act:?} never happened");
    }
}

#[test]
fn a_folder_that_cannot_be_read_to_its_end_costs_the_others_nothing() {
    let mut dropped = 0;
    for nth in 4..=6 {
        let way = Way::new();
        let folders = [("INBOX", "", 20), ("Work", ".Work", 5), ("Year", ".Year", 20)];
        for (name, _, count) in folders {
            way.fill(name, count);
        }
        // Listed, and refused once it is to be read: its rights were taken away.
        way.mock().script([Rule::on("EXAMINE", Act::No("[NOPERM] not any more".to_owned())).nth(nth)]);
        let ran = way.run();
        let counts = way.counts();
        let there = folders.iter().filter(|(_, dir, count)| counts.get(*dir) == Some(count)).count();
        assert!(there >= 2, "{nth}: {counts:?}");
        if there == 2 {
            dropped += 1;
            ran.ended(2);
            assert!(ran.errors()[0].contains("the right to it"), "{:?}", ran.errors());
        }
        way.run().ended(0);
        way.is_whole();
    }
    assert!(dropped > 0, "no folder was ever refused");
}

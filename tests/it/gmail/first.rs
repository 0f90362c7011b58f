//! The first pass: each message once, where its user means it to be.

use std::collections::BTreeMap;
use std::fs;

use mailwave::mock::graph::GraphOptions;

use super::*;
use crate::bad_input::desk::{Graph, MAILDIR_TARGET};

/// A mailbox with a message of each kind.
fn fill(way: &mut Way) {
    way.deliver("in", &["INBOX"], &["\\Seen"]);
    way.deliver("in-work", &["INBOX", "Work", "Work/Plans for 2026"], &[]);
    way.deliver("work", &["Work", "Zoo", IMPORTANT], &["\\Flagged"]);
    way.deliver("sent", &[SENT, "Work"], &["\\Seen"]);
    way.deliver("to-self", &["INBOX", SENT], &["\\Seen"]);
    way.deliver("draft", &[DRAFTS], &["\\Draft"]);
    way.deliver("archived", &[], &["\\Seen", "\\Answered"]);
    way.deliver("starred", &[], &["\\Flagged"]);
    way.deliver("trash", &[TRASH], &["\\Seen"]);
    way.deliver("spam", &[SPAM], &[]);
    way.deliver("odd", &["Prüfung \"(&)\" 100%"], &[]);
}

const COUNT: u64 = 11;

/// Where each message goes that has one place only, whatever becomes of labels.
const ANYWAY: [(&str, &[&str]); 8] = [
    ("in", &["INBOX: \\Seen"]),
    ("to-self", &["INBOX: \\Seen"]),
    ("draft", &["Drafts: \\Draft"]),
    ("archived", &["Archive: \\Answered \\Seen"]),
    ("starred", &["Archive: \\Flagged"]),
    ("trash", &["Trash: \\Seen"]),
    ("spam", &["Junk"]),
    ("odd", &["Prüfung =22=28=26=29=22 100=25"]),
];

fn holds(way: &Way, more: &[(&str, &[&str])]) {
    let mut all: Vec<(&str, &[&str])> = ANYWAY.to_vec();
    for other in more {
        all.retain(|(what, _)| what != &other.0);
        all.push(*other);
    }
    way.holds(&all);
}

#[test]
fn labels_become_keywords_of_the_one_copy() {
    let mut way = Way::with("keywords");
    fill(&mut way);
    assert_eq!(way.pass(), [COUNT, 0, 0, 0]);
    holds(
        &way,
        &[
            ("in-work", &["INBOX: Work Work/Plans_for_2026"]),
            ("work", &["Work: $Important Zoo \\Flagged"]),
            ("sent", &["Sent: Work \\Seen"]),
        ],
    );
    way.is_quiet();
}

#[test]
fn nothing_becomes_of_labels_where_they_are_ignored() {
    let mut way = Way::with("ignore");
    fill(&mut way);
    assert_eq!(way.pass(), [COUNT, 0, 0, 0]);
    holds(&way, &[("in-work", &["INBOX"]), ("work", &["Work: \\Flagged"]), ("sent", &["Sent: \\Seen"])]);
    way.is_quiet();
}

#[test]
fn labels_become_copies_in_their_folders_and_views_become_none() {
    let mut way = Way::with("copies");
    fill(&mut way);
    assert_eq!(way.pass(), [COUNT + 5, 0, 0, 0]);
    holds(
        &way,
        &[
            ("in-work", &["INBOX", "Work", "Work/Plans for 2026"]),
            ("work", &["Work: \\Flagged", "Zoo: \\Flagged"]),
            ("sent", &["Sent: \\Seen", "Work: \\Seen"]),
            ("to-self", &["INBOX: \\Seen", "Sent: \\Seen"]),
        ],
    );
    way.is_quiet();
}

#[test]
fn where_labels_are_off_every_folder_is_read_as_it_stands() {
    let mut way = Way::with("off");
    way.deliver("it", &["INBOX", "Work"], &["\\Flagged"]);
    assert_eq!(way.pass(), [4, 0, 0, 0]);
    assert_eq!(way.lies("it").len(), 4, "{:?}", way.lies("it"));
}

#[test]
fn without_the_extension_nothing_is_asked_of_labels() {
    let mut way = Way::like(ImapOptions::gmail().without("X-GM-EXT-1"), "");
    way.deliver("it", &["INBOX", "Work"], &[]);
    assert_eq!(way.pass(), [3, 0, 0, 0]);
    assert!(way.mock().heard().iter().all(|h| !h.line.contains("X-GM-")));
}

#[test]
fn starred_and_important_are_read_only_where_all_mail_is_left_out() {
    let leave_out = "leave_out = [\"[Gmail]/All Mail\"]\n";
    let mut way = Way::like(ImapOptions::gmail(), leave_out);
    way.deliver("archived", &[], &[]);
    way.deliver("starred", &[IMPORTANT], &["\\Flagged"]);
    way.deliver("in", &["INBOX"], &["\\Flagged"]);
    assert_eq!(way.pass(), [2, 0, 0, 0]);
    way.holds(&[
        ("archived", &[]),
        ("in", &["INBOX: \\Flagged"]),
        ("starred", &["[Gmail]/Important: \\Flagged"]),
    ]);
    let store = way.target.mock.store();
    assert!(!store.folders(THERE).iter().any(|f| f.contains("All")), "{:?}", store.folders(THERE));
}

/// A desk whose source is this Gmail and whose target is described by `target`.
fn desk(way: &Way, target: &str) -> Desk {
    let config = way.source.config("password = { file = \"pw\" }\nlogin_interval = \"1ms\"");
    let desk = Desk::new(&format!("{config}{target}"), &format!("source,target\n{USER},{THERE}\n"));
    desk.secret("pw", "word\n");
    desk
}

#[test]
fn a_maildir_holds_each_message_once_with_its_keywords() {
    let mut way = Way::with("keywords");
    fill(&mut way);
    let desk = desk(&way, MAILDIR_TARGET);
    assert_eq!(did(desk.run().ended(0)), [COUNT, 0, 0, 0]);
    let mut arrived = desk.arrived(THERE);
    arrived.dedup();
    assert_eq!(arrived.len() as u64, COUNT);
    let counts: BTreeMap<&str, usize> = ["", ".Work", ".[Gmail].All Mail", ".[Gmail].Sent Mail"]
        .into_iter()
        .map(|f| (f, fs::read_dir(desk.path(&format!("out/{THERE}")).join(f).join("cur")).unwrap().count()))
        .collect();
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [3, 1, 2, 1]);
    let keywords = fs::read_to_string(desk.path(&format!("out/{THERE}/.Work/dovecot-keywords"))).unwrap();
    assert!(keywords.contains("Zoo") && keywords.contains("$Important"), "{keywords}");
    assert_eq!(did(desk.run().ended(0)), [0; 4]);
}

#[test]
fn in_graph_labels_are_categories() {
    let mut way = Way::with("keywords");
    fill(&mut way);
    let graph = Graph::start(GraphOptions::default());
    let desk = desk(&way, &graph.config());
    desk.secret("app-secret", "canary-app-secret");
    assert_eq!(did(desk.run().ended(0)), [COUNT, 0, 0, 0]);
    let messages = graph.messages(THERE);
    assert_eq!(messages.len() as u64, COUNT);
    let of = |what: &str| messages.iter().find(|m| m.subject.as_deref() == Some(what)).unwrap();
    assert_eq!(of("in-work").categories, ["Work", "Work/Plans_for_2026"]);
    assert_eq!(of("work").categories, ["$Important", "Zoo"]);
    assert_eq!(of("archived").categories, Vec::<String>::new());
    way.label("in-work", &["Work"]);
    way.label("archived", &["Zoo"]);
    assert_eq!(did(desk.run().ended(0)), [0, 2, 0, 1]);
    assert_eq!(did(desk.run().ended(0)), [0; 4]);
}

//! What must not be relied on: folders that do not show what they hold, servers that keep no sequences, cuts.

use mailwave::mock::imap::{Act, Rule};

use super::*;

#[test]
fn a_label_whose_folder_does_not_show_the_message_hides_nothing() {
    let mut way = Way::with("keywords");
    way.deliver("shown", &["INBOX", "Work"], &[]);
    way.deliver("not shown", &["INBOX", "Work"], &[]);
    way.mock().store().hide(USER, "INBOX", way.ids["not shown"]);
    assert_eq!(way.pass(), [2, 0, 0, 0]);
    assert_eq!([way.lies("shown"), way.lies("not shown")], [["INBOX: Work"], ["Work"]]);
    assert_eq!(way.pass(), [0; 4]);
    // Another change of it does not make it less.
    way.flag("not shown", &["\\Seen"]);
    assert_eq!(way.pass(), [0, 0, 0, 1]);
    assert_eq!(way.lies("not shown"), ["Work: \\Seen"]);
    way.deliver("later", &["INBOX", "Work"], &[]);
    way.mock().store().hide(USER, "INBOX", way.ids["later"]);
    assert_eq!(way.pass(), [1, 0, 0, 0]);
    assert_eq!(way.pass(), [0; 4]);
}

#[test]
fn without_modification_sequences_every_pass_lists_all_folders() {
    let mut way = Way::like(ImapOptions::gmail().without("CONDSTORE"), "");
    way.deliver("a", &["INBOX", "Work"], &[]);
    way.deliver("b", &[], &[]);
    way.deliver("c", &["Work"], &[]);
    assert_eq!(way.pass(), [3, 0, 0, 0]);
    assert_eq!(way.pass(), [0; 4]);
    way.label("a", &["Work"]);
    way.flag("b", &["\\Seen"]);
    assert_eq!(way.pass(), [0, 1, 0, 2]);
    way.delete("c");
    assert_eq!(way.pass(), [0, 0, 1, 0]);
    way.holds(&[("a", &["Work"]), ("b", &["Archive: \\Seen"]), ("c", &[])]);
}

#[test]
fn a_server_that_does_not_count_labels_as_changes_loses_no_message_by_that() {
    let mut way = Way::with("keywords");
    way.deliver("a", &["INBOX", "Work"], &[]);
    for n in 0..9 {
        way.deliver(&format!("rest {n}"), &["Work"], &[]);
    }
    assert_eq!(way.pass(), [10, 0, 0, 0]);
    // The label goes, and nothing says so but that the inbox does not hold the message any more.
    let uid = way.mock().store().uids(USER, "INBOX")[0];
    way.mock().store().expunge(USER, "INBOX", uid);
    let ran = way.desk.run();
    assert_eq!(did(&ran), [0; 4], "its copy stays");
    assert_eq!(way.lies("a"), ["INBOX: Work"]);
    assert_eq!(way.pass(), [0, 1, 0, 1], "the next pass lists everything");
    assert_eq!(way.lies("a"), ["Work"]);
    way.is_quiet();
}

#[test]
fn folders_numbered_anew_are_matched_and_nothing_is_stored_twice() {
    let mut way = Way::with("keywords");
    way.deliver("a", &["INBOX", "Work"], &[]);
    way.deliver("b", &["Work"], &[]);
    way.deliver("c", &[], &[]);
    assert_eq!(way.pass(), [3, 0, 0, 0]);
    for folder in ["Work", ALL, "INBOX"] {
        way.mock().store().reset_uid_validity(USER, folder);
        assert_eq!(way.pass(), [0; 4], "{folder}");
        way.is_quiet();
    }
    way.holds(&[("a", &["INBOX: Work"]), ("b", &["Work"]), ("c", &["Archive"])]);
}

#[test]
fn a_pass_that_is_cut_anywhere_is_made_good_by_the_next() {
    for nth in [1, 2, 4, 7, 11] {
        for verb in ["EXAMINE", "UID FETCH"] {
            let mut way = Way::with("keywords");
            let end = || Act::ResetAt(40);
            way.mock().script([Rule::on(verb, end()).nth(nth), Rule::on(verb, end()).nth(nth + 1)]);
            way.deliver("a", &["INBOX", "Work"], &[]);
            way.deliver("b", &["Work", "Zoo"], &[]);
            way.deliver("c", &[], &[]);
            way.desk.run();
            way.desk.run();
            way.label("a", &["Work"]);
            way.label("b", &[]);
            way.label("c", &["Zoo"]);
            way.desk.run();
            way.desk.run();
            way.holds(&[("a", &["Work"]), ("b", &["Archive"]), ("c", &["Zoo"])]);
            way.is_quiet();
        }
    }
}

#[test]
fn what_changes_under_a_pass_is_never_lost_and_ends_up_in_one_place() {
    let ways: [(&[&str], &[&str], &str); 6] = [
        (&["INBOX", "Work"], &["Work"], "Work"),
        (&["Work"], &["INBOX", "Work"], "INBOX: Work"),
        (&["Work"], &[TRASH], "Trash"),
        (&[TRASH], &["INBOX"], "INBOX"),
        (&["INBOX"], &[], "Archive"),
        (&[], &["Work"], "Work"),
    ];
    let mut acted = 0;
    for (before, after, place) in ways {
        for verb in ["LIST", "EXAMINE", "UID FETCH"] {
            for nth in 1..=4 {
                let mut way = Way::with("keywords");
                way.deliver("it", before, &[]);
                for (n, labels) in
                    [&["INBOX"][..], &["Work"], &[], &[TRASH], &["Work"], &["INBOX"]].iter().enumerate()
                {
                    way.deliver(&format!("rest {n}"), labels, &[]);
                }
                way.pass();
                // Every folder changed, so that each is looked at.
                for n in 0..6 {
                    way.flag(&format!("rest {n}"), &["\\Seen"]);
                }
                let labels = after.iter().map(|l| (*l).to_owned()).collect();
                way.mock().script([Rule::on(verb, Act::LabelBefore(way.ids["it"], labels)).nth(nth)]);
                way.desk.run();
                if !way.mock().unfired().is_empty() {
                    break;
                }
                acted += 1;
                assert!(!way.lies("it").is_empty(), "{before:?} {after:?}: lost at {verb} {nth}");
                way.desk.run();
                assert!(!way.lies("it").is_empty(), "{before:?} {after:?}: lost after {verb} {nth}");
                way.desk.run();
                assert_eq!(way.lies("it"), [place], "{before:?} {after:?} at {verb} {nth}");
                way.is_quiet();
            }
        }
    }
    assert!(acted > 30, "{acted} of the races took place");
}

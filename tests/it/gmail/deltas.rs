//! Later passes: a change of labels is a move or other keywords, never a loss and never a second copy.

use super::*;

/// What a pass did, and that the one after it has nothing to do.
#[track_caller]
fn then_quiet(way: &Way) -> [u64; 4] {
    let done = way.pass();
    way.is_quiet();
    done
}

fn seeded(labels: &str) -> Way {
    let mut way = Way::with(labels);
    way.deliver("a", &["INBOX"], &["\\Seen"]);
    way.deliver("b", &["INBOX", "Work"], &[]);
    way.deliver("c", &["Alpha", "Beta"], &[]);
    way.deliver("d", &[], &[]);
    // Enough that a few that go are few.
    for n in 0..20 {
        way.deliver(&format!("rest {n}"), &["Rest"], &["\\Seen"]);
    }
    way.pass();
    way
}

#[test]
fn a_label_more_is_a_keyword_and_a_label_less_is_none() {
    let way = seeded("keywords");
    way.label("a", &["INBOX", "Work"]);
    assert_eq!(then_quiet(&way), [0, 0, 0, 1]);
    assert_eq!(way.lies("a"), ["INBOX: Work \\Seen"]);
    way.label("a", &["INBOX", "New label", IMPORTANT]);
    assert_eq!(then_quiet(&way), [0, 0, 0, 1]);
    assert_eq!(way.lies("a"), ["INBOX: $Important New_label \\Seen"]);
    way.label("a", &["INBOX"]);
    assert_eq!(then_quiet(&way), [0, 0, 0, 1]);
    assert_eq!(way.lies("a"), ["INBOX: \\Seen"]);
}

#[test]
fn what_is_archived_moves_to_its_label_or_to_all_mail_and_back() {
    let way = seeded("keywords");
    way.label("a", &[]);
    way.label("b", &["Work"]);
    assert_eq!(then_quiet(&way), [0, 2, 0, 1]);
    assert_eq!([way.lies("a"), way.lies("b")], [["Archive: \\Seen"], ["Work"]]);
    way.label("a", &["INBOX"]);
    way.label("b", &["INBOX", "Work"]);
    way.label("d", &["Alpha"]);
    assert_eq!(then_quiet(&way), [0, 3, 0, 1]);
    assert_eq!(
        [way.lies("a"), way.lies("b"), way.lies("d")],
        [["INBOX: \\Seen"], ["INBOX: Work"], ["Alpha"]]
    );
}

#[test]
fn what_the_first_label_loses_the_second_claims() {
    let way = seeded("keywords");
    assert_eq!(way.lies("c"), ["Alpha: Beta"]);
    way.label("c", &["Beta"]);
    assert_eq!(then_quiet(&way), [0, 1, 0, 1]);
    assert_eq!(way.lies("c"), ["Beta"]);
    way.label("c", &["Aardvark", "Beta"]);
    assert_eq!(then_quiet(&way), [0, 1, 0, 1]);
    assert_eq!(way.lies("c"), ["Aardvark: Beta"]);
}

#[test]
fn trash_spam_stars_and_flags_follow() {
    let way = seeded("keywords");
    way.label("a", &[TRASH]);
    way.label("b", &[SPAM]);
    way.flag("c", &["\\Flagged"]);
    way.flag("d", &["\\Flagged", "\\Seen"]);
    assert_eq!(then_quiet(&way), [0, 2, 0, 3]);
    assert_eq!([way.lies("a"), way.lies("b")], [["Trash: \\Seen"], ["Junk"]]);
    assert_eq!([way.lies("c"), way.lies("d")], [["Alpha: Beta \\Flagged"], ["Archive: \\Flagged \\Seen"]]);
    way.label("a", &["INBOX"]);
    way.flag("c", &[]);
    assert_eq!(then_quiet(&way), [0, 1, 0, 1]);
    assert_eq!([way.lies("a"), way.lies("c")], [["INBOX: \\Seen"], ["Alpha: Beta"]]);
}

#[test]
fn what_is_deleted_for_good_is_removed_and_what_is_new_comes() {
    let mut way = seeded("keywords");
    way.delete("a");
    way.delete("d");
    way.deliver("new", &["INBOX", "Beta"], &[]);
    way.deliver("new archived", &[], &[]);
    assert_eq!(then_quiet(&way), [2, 0, 2, 0]);
    assert_eq!([way.lies("a"), way.lies("d")], [[""; 0]; 2]);
    assert_eq!([way.lies("new"), way.lies("new archived")], [["INBOX: Beta"], ["Archive"]]);
}

#[test]
fn a_label_renamed_renames_its_folder_and_the_others_take_what_is_theirs_now() {
    let way = seeded("keywords");
    assert!(way.mock().store().rename_label(USER, "Rest", "Peace"));
    let [stored, _, removed, _] = way.pass();
    assert_eq!((stored, removed), (0, 0));
    assert_eq!(way.lies("rest 7"), ["Peace: \\Seen"]);
    way.is_quiet();
    // What was first in order is last: its messages are claimed by their other label.
    assert!(way.mock().store().rename_label(USER, "Alpha", "Zeta"));
    let [stored, _, removed, _] = way.pass();
    assert_eq!((stored, removed), (0, 0));
    assert_eq!(way.lies("c"), ["Beta: Zeta"]);
    way.is_quiet();
}

#[test]
fn a_label_deleted_loses_no_message() {
    let way = seeded("keywords");
    assert!(way.mock().store().delete_label(USER, "Alpha"));
    assert!(way.mock().store().delete_label(USER, "Rest"));
    let [stored, moved, removed, _] = way.pass();
    assert_eq!((stored, moved, removed), (0, 21, 0));
    assert_eq!([way.lies("c"), way.lies("rest 3")], [["Beta"], ["Archive: \\Seen"]]);
    way.is_quiet();
}

#[test]
fn copies_come_and_go_with_their_labels() {
    let way = seeded("copies");
    assert_eq!(way.lies("b"), ["INBOX", "Work"]);
    way.label("a", &["INBOX", "Work"]);
    way.label("b", &["Work"]);
    assert_eq!(then_quiet(&way), [1, 0, 1, 0]);
    assert_eq!([way.lies("a"), way.lies("b")], [vec!["INBOX: \\Seen", "Work: \\Seen"], vec!["Work"]]);
    way.label("b", &[]);
    way.flag("a", &[]);
    assert_eq!(then_quiet(&way), [0, 1, 0, 2]);
    assert_eq!([way.lies("a"), way.lies("b")], [vec!["INBOX", "Work"], vec!["Archive"]]);
    way.label("c", &[TRASH]);
    assert_eq!(then_quiet(&way), [0, 1, 1, 0]);
    assert_eq!(way.lies("c"), ["Trash"]);
}

#[test]
fn the_final_pass_lists_everything_and_finds_nothing_more() {
    let way = seeded("keywords");
    way.label("a", &["Beta"]);
    assert_eq!(did(way.desk.run_with(&["--final"]).ended(0)), [0, 1, 0, 0]);
    assert_eq!(did(way.desk.run_with(&["--final"]).ended(0)), [0; 4]);
    way.is_quiet();
}

#[test]
fn many_random_changes_leave_each_message_once_and_in_its_place() {
    for seed in 1..=4u64 {
        eprintln!("seed {seed}");
        let mut state = seed;
        let mut dice = |sides: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % sides
        };
        let mut way = Way::with("keywords");
        let names: Vec<String> = (0..30).map(|n| format!("m{n}")).collect();
        let any = |dice: &mut dyn FnMut(u64) -> u64| -> Vec<&str> {
            match dice(8) {
                0 => vec![TRASH],
                1 => vec![SPAM],
                2 => vec![],
                _ => ["INBOX", SENT, "A", "B", "C d"].into_iter().filter(|_| dice(3) == 0).collect(),
            }
        };
        let mut labels: Vec<Vec<&str>> = Vec::new();
        for name in &names {
            let some = any(&mut dice);
            way.deliver(name, &some, &[]);
            labels.push(some);
        }
        way.pass();
        for _ in 0..3 {
            for _ in 0..8 {
                let at = usize::try_from(dice(30)).unwrap();
                labels[at] = any(&mut dice);
                way.label(&names[at], &labels[at]);
            }
            assert_eq!(way.pass()[0], 0, "nothing is stored a second time");
            let expected: Vec<(String, String)> =
                names.iter().cloned().zip(labels.iter().map(|l| place(l))).collect();
            for (name, place) in &expected {
                assert_eq!(way.lies(name), std::slice::from_ref(place), "{name}");
            }
            way.is_quiet();
        }
    }
}

/// Where a message with these labels goes, with its keywords, by the documented order.
fn place(labels: &[&str]) -> String {
    let order = [
        (TRASH, "Trash"),
        (SPAM, "Junk"),
        ("INBOX", "INBOX"),
        (SENT, "Sent"),
        ("A", "A"),
        ("B", "B"),
        ("C d", "C d"),
    ];
    let home = order.iter().find(|(label, _)| labels.contains(label));
    let others =
        ["A", "B", "C d"].into_iter().filter(|l| labels.contains(l) && home.is_some_and(|h| h.0 != *l));
    let keywords: Vec<String> = others.map(|l| l.replace(' ', "_")).collect();
    let text = format!("{}: {}", home.map_or("Archive", |(_, folder)| folder), keywords.join(" "));
    text.trim_end().trim_end_matches(':').to_owned()
}

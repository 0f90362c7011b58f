//! Newest first within a mailbox: the real program, killed again and again while the order changes from run to run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::process::{Running, until};

const MESSAGES: usize = 3000;
const KILLS: usize = 6;

fn configure(dir: &Path, order: &str) {
    let config = format!(
        "source_name = \"acme\"\n[run]\nsettle = \"200ms\"\norder = \"{order}\"\n[source.old]\nkind = \"maildir\"\nroot = \"in\"\n\
         [target.new]\nkind = \"maildir\"\nroot = \"out\"\n"
    );
    fs::write(dir.join("mailwave.toml"), config).unwrap();
    fs::write(dir.join("mailboxes.csv"), "source,target,messages\nann,ann,3000\n").unwrap();
}

/// The numbers of the messages that are at the target, by their subjects; each as often as it is there.
fn there(dir: &Path) -> Vec<usize> {
    let files = ["cur", "new"].iter().flat_map(|sub| fs::read_dir(dir.join("out/ann").join(sub)));
    let mut numbers: Vec<usize> = files
        .flatten()
        .filter_map(|file| fs::read_to_string(file.unwrap().path()).ok())
        .filter_map(|text| text.split_once("Subject: no ")?.1.split_whitespace().next()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

/// How many files of messages are at the target.
fn copies(dir: &Path) -> usize {
    let files = ["cur", "new"].iter().flat_map(|sub| fs::read_dir(dir.join("out/ann").join(sub)));
    files.map(Iterator::count).sum()
}

#[test]
fn killed_in_the_middle_it_goes_on_in_either_order_and_every_message_is_there_once() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let cur = dir.join("in/ann/cur");
    for sub in ["cur", "new", "tmp"] {
        fs::create_dir_all(cur.with_file_name(sub)).unwrap();
    }
    for n in 1..=MESSAGES {
        let mail = format!("From: a@example.org\r\nSubject: no {n}\r\n\r\ntext {n}\r\n");
        fs::write(cur.join(format!("{:010}.made:2,S", 1_000_000 + n)), mail).unwrap();
    }
    for kill in 0..KILLS {
        configure(dir, if kill % 2 == 0 { "newest" } else { "oldest" });
        let before = copies(dir);
        let mut run = Running::start(dir);
        // What the kill before it left open goes first, in whatever order that was begun.
        let oldest_too = || kill % 2 == 0 || there(dir).contains(&1);
        until("some more copies", || {
            (run.ended().is_some() || (copies(dir) >= before + 20 && oldest_too())).then_some(())
        });
        run.kill();
        let now = there(dir);
        assert!(now.len() < MESSAGES, "work is left: {}", now.len());
        if kill == 0 {
            assert!(now.contains(&MESSAGES) && !now.contains(&1), "the newest are there first: {now:?}");
        }
    }
    // Both ends are done by now, and the middle is not.
    let now: BTreeSet<usize> = there(dir).into_iter().collect();
    assert!(now.contains(&1) && now.contains(&MESSAGES), "{now:?}");
    configure(dir, "newest");
    let (code, last, err) = Running::start(dir).end();
    assert_eq!(code, 0, "{last}\n{err}");
    assert_eq!(there(dir), (1..=MESSAGES).collect::<Vec<_>>(), "each is there once");
    let (code, again, err) = Running::start(dir).end();
    assert_eq!(code, 0, "{again}\n{err}");
    assert_eq!(
        (&again["messages"]["stored"], &again["messages"]["already_there"]),
        (&0.into(), &MESSAGES.into())
    );
}

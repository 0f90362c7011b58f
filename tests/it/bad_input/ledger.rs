//! Ledgers that are another's, damaged, missing or in use, and targets that are not what the ledger says.

use std::fs;
use std::path::PathBuf;

use mailwave::mock::graph::{GraphOptions, Latency};

use super::desk::{Desk, Graph, mail, tree};
use crate::support::process::{Running, until};

/// What is said of a target mailbox that is another one.
const MADE_ANEW: &str = "2: the target mailbox is not the one the ledger knows: it was made anew or emptied since; 12 copies on record are not in it, nothing was written — restore the target mailbox, or, if its copies are gone for good, run again with --start-over to copy all of it anew";

const ROWS: &str = "source,target\ncanary.ann,ann\ncanary.bob,bob\n";

/// A desk whose two mailboxes were moved to Maildirs.
fn moved() -> Desk {
    let desk = Desk::files(ROWS);
    desk.fill("canary.ann", 12);
    desk.fill("canary.bob", 12);
    let ran = desk.run();
    ran.ended(0);
    assert_eq!(ran.count("stored"), 24);
    desk
}

/// What a run says that could not begin.
fn refused(desk: &Desk) -> String {
    let said = crate::cli::said(&desk.path("."), &["run", "mailwave.toml"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""), "{}", said.err);
    assert!(!said.err.to_lowercase().contains("canary") && !said.err.contains("panicked"), "{}", said.err);
    said.err
}

/// Everything is still there, once.
#[track_caller]
fn intact(desk: &Desk) {
    for (to, from) in [("ann", "canary.ann"), ("bob", "canary.bob")] {
        let mut expected: Vec<Vec<u8>> = (1..=12).map(|n| mail(from, n)).collect();
        expected.sort();
        assert_eq!(desk.arrived(to), expected, "nothing lost, nothing twice");
    }
}

#[test]
fn a_ledger_of_another_configuration_or_source_is_refused() {
    let desk = moved();
    let config = fs::read_to_string(desk.path("mailwave.toml")).unwrap();
    let with = |from: &str, to: &str| {
        assert!(config.contains(from));
        fs::write(desk.path("mailwave.toml"), config.replace(from, to)).unwrap();
        refused(&desk)
    };
    assert_eq!(
        with("root = \"out\"", "root = \"elsewhere\""),
        "error: the configuration's target.new lies elsewhere than when this ledger was begun: it was \"maildir out\" and is \"maildir elsewhere\" — set it back, give what is new a name of its own, or name another directory with `ledger`\n"
    );
    assert_eq!(
        with("\"acme\"", "\"other\""),
        "error: this ledger was made for the source name \"acme\", the configuration says \"other\" — set the source name back, or name another directory with `ledger`\n"
    );
    assert!(!desk.path("elsewhere").exists());
    intact(&desk);
    fs::write(desk.path("mailwave.toml"), config).unwrap();
    assert_eq!(desk.run().ended(0).count("stored"), 0);
}

/// Files of a ledger that hold nothing it knows: an index that is made anew, and who has it open.
const OTHERS: [&str; 2] = ["ledger.db-shm", "lock"];

/// The ledger's files that hold what it knows.
fn ledger_files(desk: &Desk) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut todo = vec![desk.path("mailwave-ledger")];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            } else if entry.metadata().unwrap().len() > 0
                && !OTHERS.contains(&entry.file_name().to_str().unwrap())
            {
                all.push(entry.path());
            }
        }
    }
    all.sort();
    all
}

#[test]
fn a_ledger_with_flipped_octets_is_refused_or_harmless_and_serves_again_once_restored() {
    let desk = moved();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    const ROUNDS: usize = 24;
    let mut noticed = 0;
    let good: Vec<(PathBuf, Vec<u8>)> =
        ledger_files(&desk).into_iter().map(|p| (p.clone(), fs::read(&p).unwrap())).collect();
    assert!(good.len() >= 2, "database and facts: {good:?}");
    for round in 0..ROUNDS {
        let (path, octets) = &good[round % good.len()];
        let mut bad = octets.clone();
        // Most of a young database is free space, which is nobody's: damage is where something is.
        let used: Vec<usize> = (0..bad.len()).filter(|at| bad[*at] != 0).collect();
        let at = used[dice.usize(0..used.len())];
        let end = (at + 16).min(bad.len());
        bad[at..end].iter_mut().for_each(|b| *b ^= 1 << dice.u32(0..8));
        fs::write(path, &bad).unwrap();
        // What a run has no need to read, `verify` reads.
        for verb in ["run", "verify"] {
            let said = crate::cli::said(&desk.path("."), &[verb, "mailwave.toml"]);
            let place = format!("{verb}, {} at {at}: {}", path.display(), said.err);
            assert!(!said.err.contains("panicked"), "{place}");
            if said.code == 2 {
                let told = format!("{}{}", said.out, said.err);
                assert!(told.contains(" is damaged ("), "{place}{told}");
                assert!(told.contains("restore the ledger directory from a backup"), "what to do: {place}");
                noticed += 1;
                break;
            }
            assert_eq!(said.code, 0, "{place}");
        }
        intact(&desk);
        // Restored as from a backup: whole, with nothing of the damaged one left.
        let others = OTHERS.map(|name| desk.path("mailwave-ledger").join(name));
        for path in ledger_files(&desk).into_iter().chain(others) {
            let _ = fs::remove_file(path);
        }
        good.iter().for_each(|(path, octets)| fs::write(path, octets).unwrap());
    }
    println!("{noticed} of {ROUNDS} noticed");
    assert!(noticed >= ROUNDS / 2, "{noticed} of {ROUNDS} noticed: damage must bite");
    let ran = desk.run();
    ran.ended(0);
    assert_eq!((ran.count("stored"), ran.count("already_there")), (0, 24));
    intact(&desk);
}

#[test]
fn a_truncated_ledger_is_refused() {
    let desk = moved();
    let database = desk.path("mailwave-ledger/ledger.db");
    let good = fs::read(&database).unwrap();
    for keep in [good.len() / 2, 4096, 100, 0] {
        fs::write(&database, &good[..keep]).unwrap();
        let err = refused(&desk);
        assert!(err.contains("restore the ledger directory from a backup"), "{keep} octets kept: {err}");
        intact(&desk);
    }
    fs::write(&database, &good).unwrap();
    let facts = ledger_files(&desk).into_iter().find(|p| *p != database).expect("facts");
    let octets = fs::read(&facts).unwrap();
    fs::write(&facts, &octets[..octets.len() / 2]).unwrap();
    assert_eq!(
        refused(&desk),
        "error: the facts log is damaged (segment 1: the file is shorter than what was committed) — restore the ledger directory from a backup (all of it, copied while nothing ran)\n"
    );
    fs::remove_file(&facts).unwrap();
    assert_eq!(
        refused(&desk),
        "error: the facts log is damaged (segment 1: the file is missing or cannot be opened) — restore the ledger directory from a backup (all of it, copied while nothing ran)\n"
    );
    fs::write(&facts, &octets).unwrap();
    assert_eq!(desk.run().ended(0).count("stored"), 0);
    intact(&desk);
}

#[test]
fn without_its_ledger_a_target_that_holds_copies_is_refused_and_nothing_is_doubled() {
    let desk = moved();
    fs::rename(desk.path("mailwave-ledger"), desk.path("kept")).unwrap();
    let ran = desk.run();
    ran.ended(2);
    let told = "the target already holds 12 copies of this mailbox that are not in this ledger; nothing was written — use the ledger they were made with, make a new one with `mailwave ledger rebuild`, or remove those copies at the target first";
    assert_eq!(ran.errors(), [format!("2: {told}"), format!("3: {told}")]);
    intact(&desk);
    // Not even when it is told to begin again.
    desk.run_with(&["--start-over"]).ended(2);
    intact(&desk);
    fs::remove_dir_all(desk.path("mailwave-ledger")).unwrap();
    fs::rename(desk.path("kept"), desk.path("mailwave-ledger")).unwrap();
    assert_eq!(desk.run().ended(0).count("stored"), 0);
}

#[test]
fn a_target_maildir_that_was_made_anew_is_noticed_and_filled_again_by_start_over_only() {
    let desk = moved();
    fs::remove_dir_all(desk.path("out/ann")).unwrap();
    let ran = desk.run();
    ran.ended(2);
    assert_eq!(ran.errors(), [MADE_ANEW]);
    assert!(tree(&desk.path("out/ann")).is_empty(), "nothing was written");
    let ran = desk.run_with(&["--start-over", "--only", "line:2"]);
    ran.ended(0);
    assert_eq!(ran.count("stored"), 12);
    intact(&desk);
    assert_eq!(desk.run().ended(0).count("stored"), 0);
}

#[test]
fn a_graph_mailbox_that_was_made_anew_is_noticed_and_filled_again_by_start_over_only() {
    let graph = Graph::start(GraphOptions::default());
    let desk = Desk::graph(&graph, "source,target\ncanary.ann,ann@canary.example\n");
    desk.fill("canary.ann", 12);
    desk.run().ended(0);
    graph.mock.reset();
    let ran = desk.run();
    ran.ended(2);
    assert_eq!(ran.errors(), [MADE_ANEW]);
    assert_eq!(graph.mock.writes(), 0);
    let ran = desk.run_with(&["--start-over"]);
    ran.ended(0);
    assert_eq!(graph.messages("ann@canary.example").len(), 12);
    assert_eq!(desk.run().ended(0).count("stored"), 0);
}

#[test]
fn copies_that_users_removed_at_the_target_are_not_put_back_and_are_told() {
    let desk = moved();
    for file in tree(&desk.path("out/ann")) {
        fs::remove_file(file).unwrap();
    }
    let ran = desk.run();
    ran.ended(2);
    assert!(tree(&desk.path("out/ann")).is_empty(), "absent means ask, never store");
    assert_eq!(
        ran.mailbox(2)["reasons"],
        serde_json::json!([
            "the target holds 0 copies, the ledger has 12",
            "12 copies on record are not at the target any more: deleted there, or lost by it; `verify` names them"
        ])
    );
}

#[test]
fn a_second_process_on_one_ledger_is_refused_and_the_first_goes_on() {
    let latency = Latency { base_ms: 150, ..Latency::default() };
    let graph = Graph::start(GraphOptions { latency, ..GraphOptions::default() });
    let desk = Desk::graph(&graph, "source,target\ncanary.ann,ann@canary.example\n");
    desk.fill("canary.ann", 12);
    let first = Running::start(&desk.path("."));
    until("the first run to write", || (graph.mock.writes() > 0).then_some(()));
    let err = refused(&desk);
    let pid: String = err.chars().filter(char::is_ascii_digit).collect();
    assert_eq!(
        err.replace(&pid, "PID"),
        "error: another mailwave process (pid PID) is using this ledger — wait for it or stop it; `mailwave status` reads beside it\n"
    );
    let status = crate::cli::said(&desk.path("."), &["status", "mailwave.toml"]);
    assert_eq!(status.code, 0, "reading goes beside it: {}", status.err);
    let (code, json, err) = first.end();
    assert_eq!(code, 0, "{json}\n{err}");
    assert_eq!(graph.messages("ann@canary.example").len(), 12);
}

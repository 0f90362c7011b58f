//! `mailwave ledger check`: sound ledgers pass, and every way of damaging one is named.

use std::fs;
use std::path::{Path, PathBuf};

use mailwave::env::Env;
use mailwave::ledger::Ledger;
use mailwave::ledger::sqlite::{LedgerOptions, SqliteLedger};
use mailwave::model::{Mailbox, MailboxKey};
use serde_json::Value;

use crate::cli::{files_config, said};

/// A ledger of two mailboxes, three folders and some messages, made by the program.
fn moved() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for (mailbox, folder, messages) in [("ann", "", 30), ("ann", ".Work", 12), ("bob", "", 5)] {
        let cur = home.path().join("in").join(mailbox).join(folder).join("cur");
        for sub in ["cur", "new", "tmp"] {
            fs::create_dir_all(cur.with_file_name(sub)).unwrap();
        }
        for n in 0..messages {
            let text = format!("Subject: {n}\r\nMessage-ID: <{n}.{folder}@{mailbox}>\r\n\r\nbody {n}\r\n");
            fs::write(cur.join(format!("{n:04}.made:2,S")), text).unwrap();
        }
    }
    files_config(home.path(), "ann,ann\nbob,bob\n");
    let said = said(home.path(), &["run", "mailwave.toml"]);
    assert_eq!(said.code, 0, "{}", said.err);
    home
}

fn check(dir: &Path, deep: bool) -> (i32, Value) {
    let mut args = vec!["ledger", "check", "mailwave.toml", "--json"];
    args.extend(deep.then_some("--deep"));
    let said = said(dir, &args);
    let json: Value =
        serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}\n{}", said.out, said.err));
    assert_eq!(json["exit_code"], said.code, "{json}");
    (said.code, json)
}

fn ledger(dir: &Path) -> PathBuf {
    dir.join("mailwave-ledger")
}

/// The same directory, to be damaged.
fn copy(home: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["mailwave.toml", "mailboxes.csv"] {
        fs::copy(home.join(file), copy.path().join(file)).unwrap();
    }
    fs::create_dir(ledger(copy.path())).unwrap();
    for entry in fs::read_dir(ledger(home)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), ledger(copy.path()).join(entry.file_name())).unwrap();
    }
    copy
}

/// A pass that was cut: the rows of its mailboxes are not packed.
fn in_rows(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = LedgerOptions::new("acme".parse().unwrap(), "");
        let ledger = SqliteLedger::open(&Env::system(), &ledger(dir), options).unwrap();
        for name in ["ann", "bob"] {
            let mailbox = Mailbox {
                key: MailboxKey::of(&"acme".parse().unwrap(), name),
                source: name.to_owned(),
                target: name.to_owned(),
                source_endpoint: "old".to_owned(),
                target_endpoint: "new".to_owned(),
                target_place: String::new(),
                wave: String::new(),
                priority: 0,
            };
            let claim = ledger.claim(&mailbox).await.unwrap();
            let folder = ledger.load(&claim).await.unwrap().folders[0].id;
            ledger.number(&claim, folder, 1).await.unwrap();
        }
    });
}

fn sql(dir: &Path, text: &str) {
    let conn = rusqlite::Connection::open(ledger(dir).join("ledger.db")).unwrap();
    conn.pragma_update(None, "foreign_keys", false).unwrap();
    assert!(conn.execute(text, []).unwrap() > 0, "{text}");
}

#[test]
fn a_ledger_as_a_run_left_it_is_sound_and_counted() {
    let home = moved();
    for deep in [false, true] {
        let (code, json) = check(home.path(), deep);
        assert_eq!(code, 0, "{json}");
        let counts = ["mailboxes", "folders", "copies", "skipped", "open"].map(|k| json[k].as_u64().unwrap());
        assert_eq!(counts, [2, 3, 47, 0, 0], "{json}");
        assert_eq!((json["sound"].as_bool(), json["uncommitted_bytes"].as_u64()), (Some(true), Some(0)));
        assert_eq!(json["frames"].as_u64().unwrap() > 0, deep, "{json}");
    }
    let said = said(home.path(), &["ledger", "check", "mailwave.toml", "--deep"]);
    assert!(
        said.out.contains("47 copies") && said.err.contains("to the last octet"),
        "{}{}",
        said.out,
        said.err
    );
}

#[test]
fn every_row_that_was_changed_removed_or_added_by_hand_is_named() {
    let home = moved();
    let loose = moved();
    in_rows(loose.path());
    for (damage, named) in [
        ("UPDATE packed SET rows = CAST(rows || 'x' AS BLOB) WHERE mailbox = 1", "does not match its seal"),
        (
            "UPDATE name SET packed = CAST(packed || 'x' AS BLOB) WHERE packed IS NOT NULL",
            "does not match its seal",
        ),
        ("UPDATE name SET names = replace(names, 'ann', 'eve') WHERE folder = 0", "does not match its seal"),
        ("DELETE FROM packed WHERE mailbox = 2", "do not add up"),
        ("DELETE FROM name WHERE folder > 0 AND mailbox = 1", "a row of name is missing"),
        ("DELETE FROM mailbox WHERE row = 2", "a row of mailbox is missing"),
        ("UPDATE packed SET mailbox = 77 WHERE mailbox = 2", "rows of packed belong to no mailbox"),
        ("INSERT INTO packed VALUES (77, x'78', 1)", "table packed has 3 rows"),
    ] {
        named_by_a_check(home.path(), damage, named);
    }
    for (damage, named) in [
        ("UPDATE folder SET live = live + 1 WHERE mailbox = 1", "does not match its seal"),
        ("UPDATE name SET names = replace(names, 'ann', 'eve')", "does not match its seal"),
        ("DELETE FROM folder WHERE mailbox = 2", "do not add up"),
        ("DELETE FROM chain WHERE mailbox = 1 AND folder = 1", "a row of chain is missing"),
        ("DELETE FROM name WHERE folder = 0 AND mailbox = 1", "a row of name is missing"),
        ("DELETE FROM mailbox WHERE row = 2", "belong to no mailbox"),
        ("DELETE FROM mailbox WHERE row = 2", "a row of mailbox is missing"),
        ("DELETE FROM segment", "a row of segment is missing"),
        ("UPDATE chain SET mailbox = 77 WHERE mailbox = 2", "rows of chain belong to no mailbox"),
    ] {
        named_by_a_check(loose.path(), damage, named);
    }
}

fn named_by_a_check(home: &Path, damage: &str, named: &str) {
    let copy = copy(home);
    sql(copy.path(), damage);
    let (code, json) = check(copy.path(), false);
    assert_eq!(code, 2, "{damage}: {json}");
    let found = json["findings"].as_array().unwrap();
    let what = |f: &Value| f["what"].as_str().unwrap().contains(named);
    assert!(found.iter().any(what), "{damage}: {named}: {json}");
    assert!(!json.to_string().contains("ann"), "no names: {json}");
}

#[test]
fn every_octet_of_the_facts_log_that_was_changed_is_found_by_a_deep_check() {
    let home = moved();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let good = fs::read(ledger(home.path()).join("facts-000001.seg")).unwrap();
    for round in 0..40 {
        // The first ones at the ends, where a mistake by one would show.
        let at = match round {
            0 => 0,
            1 => good.len() - 1,
            2 => 32,
            3 => 31,
            _ => dice.usize(..good.len()),
        };
        let copy = copy(home.path());
        let mut octets = good.clone();
        octets[at] ^= 1 << dice.u8(..8);
        fs::write(ledger(copy.path()).join("facts-000001.seg"), octets).unwrap();
        let (code, json) = check(copy.path(), true);
        assert_eq!(code, 2, "byte {at}: {json}");
        assert!(json["findings"].to_string().contains("segment 1"), "byte {at}: {json}");
    }
}

#[test]
fn a_cut_or_missing_segment_and_a_lost_write_ahead_log_are_named() {
    let home = moved();
    let copied = copy(home.path());
    let segment = ledger(copied.path()).join("facts-000001.seg");
    let length = fs::metadata(&segment).unwrap().len();
    fs::File::options().write(true).open(&segment).unwrap().set_len(length - 1).unwrap();
    let (code, json) = check(copied.path(), false);
    assert!(code == 2 && json.to_string().contains("shorter than what was committed"), "{json}");
    fs::remove_file(&segment).unwrap();
    let (code, json) = check(copied.path(), false);
    assert!(code == 2 && json.to_string().contains("the file is missing"), "{json}");

    let copied = copy(home.path());
    fs::write(ledger(copied.path()).join("lock"), "pid 1 running\n").unwrap();
    let (code, json) = check(copied.path(), false);
    assert!(code == 2 && json.to_string().contains("write-ahead log is gone"), "{json}");
}

#[test]
fn a_tail_that_was_never_committed_is_told_and_no_fault() {
    let home = moved();
    let segment = ledger(home.path()).join("facts-000001.seg");
    let mut octets = fs::read(&segment).unwrap();
    octets.extend_from_slice(&[7; 1000]);
    fs::write(&segment, &octets).unwrap();
    for deep in [false, true] {
        let (code, json) = check(home.path(), deep);
        assert_eq!((code, json["uncommitted_bytes"].as_u64()), (0, Some(1000)), "{json}");
    }
    assert_eq!(fs::read(&segment).unwrap(), octets, "a check cuts nothing");
    // A run does; the ledger is as it was.
    let ran = said(home.path(), &["run", "mailwave.toml", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let (code, json) = check(home.path(), true);
    assert_eq!((code, json["uncommitted_bytes"].as_u64()), (0, Some(0)), "{json}");
}

#[test]
fn what_is_no_ledger_is_refused() {
    let home = tempfile::tempdir().unwrap();
    files_config(home.path(), "ann,ann\n");
    assert_eq!(said(home.path(), &["ledger", "check", "mailwave.toml"]).code, 2, "none is there");
    fs::create_dir(ledger(home.path())).unwrap();
    for octets in [&b""[..], b"SQLite format 3\0 and then something else"] {
        fs::write(ledger(home.path()).join("ledger.db"), octets).unwrap();
        let said = said(home.path(), &["ledger", "check", "mailwave.toml"]);
        assert!(said.code == 2 && said.err.contains("damaged"), "{}", said.err);
    }
}

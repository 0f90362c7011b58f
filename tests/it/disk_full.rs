//! A disk that is full, or fails, under each of the files a run writes: it stops with an error that names what and where,
//! claims nothing that is not there, and completes once the disk is well again.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::cli::{files_config, mailwave, said};
use crate::support::powercut;

const MESSAGES: usize = 60;

/// Maildirs to Maildirs: one mailbox, one message large enough for the spool.
fn desk() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let cur = home.path().join("in/ann/cur");
    for sub in ["cur", "new", "tmp"] {
        fs::create_dir_all(cur.with_file_name(sub)).unwrap();
    }
    for n in 0..MESSAGES {
        let mut text = format!("Subject: {n}\r\nMessage-ID: <{n}@ann>\r\n\r\nbody {n}\r\n");
        if n == MESSAGES / 2 {
            text.push_str(&"many octets in a line of text that is not too long\r\n".repeat(120_000));
        }
        fs::write(cur.join(format!("{n:04}.made:2,S")), text).unwrap();
    }
    files_config(home.path(), "ann,ann\n");
    let config = home.path().join("mailwave.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(config, format!("{text}[run]\ntries = 2\nsettle = \"50ms\"\n")).unwrap();
    home
}

fn spoken(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stderr.as_slice(), output.stdout.as_slice()].concat()).into_owned()
}

/// With room again, everything arrives once, and the ledger is sound.
fn completes(dir: &Path) {
    let again = said(dir, &["run", "mailwave.toml", "--json"]);
    assert_eq!(again.code, 0, "{}{}", again.out, again.err);
    let json: Value = serde_json::from_str(&again.out).unwrap();
    let copies = ["at_target", "in_ledger"].map(|side| json["copies"][side].as_u64().unwrap());
    assert_eq!(copies, [MESSAGES as u64; 2], "{json}");
    let there = fs::read_dir(dir.join("out/ann/cur")).unwrap().count()
        + fs::read_dir(dir.join("out/ann/new")).unwrap().count();
    assert_eq!(there, MESSAGES, "every message once");
    let verified = said(dir, &["verify", "mailwave.toml"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    let check = said(dir, &["ledger", "check", "mailwave.toml", "--deep"]);
    assert_eq!(check.code, 0, "{}{}", check.out, check.err);
}

/// A run whose calls on some files fail, by the library that the power cuts use.
fn failing(dir: &Path, call: &str, matches: &str, errno: i32, after: u32, once: bool) -> Option<Output> {
    let library = powercut::library()?;
    let mut command = mailwave(dir, &["run", "mailwave.toml", "--json"]);
    command
        .env("LD_PRELOAD", library)
        .env("POWERCUT_ROOT", dir.canonicalize().unwrap())
        .env("POWERCUT_FAIL", call)
        .env("POWERCUT_MATCH", matches)
        .env("POWERCUT_ERRNO", errno.to_string())
        .env("POWERCUT_AFTER", after.to_string());
    if once {
        command.env("POWERCUT_ONCE", "1");
    }
    Some(command.output().unwrap())
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;
const EROFS: i32 = 30;
const EMFILE: i32 = 24;
const EACCES: i32 = 13;

#[test]
fn a_ledger_that_cannot_be_written_or_synced_ends_the_run_and_the_next_one_completes() {
    for (call, matches, errno, after) in [
        ("write", "ledger.db", ENOSPC, 3),
        ("write", "ledger.db-wal", ENOSPC, 40),
        ("write", "ledger.db-wal", EIO, 60),
        ("write", "ledger.db-wal", EDQUOT, 50),
        ("write", "facts-", ENOSPC, 0),
        ("write", "facts-", EIO, 1),
        ("write", "facts-", EROFS, 1),
        ("open", "facts-", EMFILE, 0),
        ("open", "facts-", EACCES, 0),
        ("sync", "facts-", EIO, 0),
        ("sync", "facts-", EIO, 1),
        ("sync", "ledger.db-wal", EIO, 4),
        ("sync", "ledger.db-wal", ENOSPC, 6),
    ] {
        // Once, and for good: what failed once is not trusted either.
        for once in [true, false] {
            let home = desk();
            let what = format!("{call} on {matches}: error {errno} after {after}, once: {once}");
            let Some(output) = failing(home.path(), call, matches, errno, after, once) else { return };
            let said = spoken(&output);
            assert_eq!(output.status.code(), Some(2), "{what}: {said}");
            assert!(said.contains("ledger") || said.contains("facts log"), "{what}: what failed: {said}");
            if matches!(errno, ENOSPC | EDQUOT) && matches == "facts-" {
                assert!(said.contains("free space"), "{what}: what to do: {said}");
            }
            assert!(!said.contains("panicked") && !said.contains("unexpected failure"), "{what}: {said}");
            completes(home.path());
        }
    }
}

#[test]
fn a_full_spool_costs_its_message_only_and_leaves_no_file() {
    let home = desk();
    let Some(output) = failing(home.path(), "write", "mailwave-spool", ENOSPC, 0, false) else { return };
    let said = spoken(&output);
    assert_ne!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("spool"), "what is full: {said}");
    let spool = fs::read_dir(home.path().join("mailwave-spool")).unwrap().count();
    assert_eq!(spool, 0, "no file is left in the spool");
    completes(home.path());
}

#[test]
fn a_report_that_cannot_be_written_is_told_and_costs_no_message() {
    let home = desk();
    let Some(output) = failing(home.path(), "write", "mailwave-report", ENOSPC, 0, false) else { return };
    let said = spoken(&output);
    assert_eq!(output.status.code(), Some(1), "moved, and someone has to look: {said}");
    assert!(said.contains("report"), "{said}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["messages"]["stored"], MESSAGES, "{json}");
    completes(home.path());
}

#[test]
fn words_that_nobody_can_read_any_more_cost_no_message() {
    if !Path::new("/dev/full").exists() {
        println!("skipped: this system has no /dev/full");
        return;
    }
    let home = desk();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = mailwave(home.path(), &["run", "mailwave.toml", "--json", "--log", "debug"]);
    let output = command.stderr(full).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", spoken(&output));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["messages"]["stored"], MESSAGES, "{json}");
    completes(home.path());
}

#[test]
fn a_limit_of_the_size_of_files_ends_the_run_and_without_it_the_next_one_completes() {
    for blocks in [8, 40, 80, 160] {
        let home = desk();
        let program = env!("CARGO_BIN_EXE_mailwave");
        // The signal that comes with the limit is ignored: the write itself fails.
        let output = Command::new("sh")
            .current_dir(home.path())
            .args([
                "-c",
                &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" run mailwave.toml --json"),
                program,
            ])
            .output()
            .unwrap();
        let said = spoken(&output);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{blocks}: {said}");
        completes(home.path());
    }
}

/// A small disk of its own; unmounted when dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &Path, kib: u32) -> Option<SmallDisk> {
        fs::create_dir_all(at).unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"])
            .arg(at)
            .output()
            .is_ok_and(|o| o.status.success());
        if !done {
            println!("skipped: a full disk needs root (mount -t tmpfs)");
        }
        done.then(|| SmallDisk(at.to_owned()))
    }

    fn grow(&self, kib: u32) {
        let size = format!("remount,size={kib}k");
        assert!(Command::new("mount").args(["-o", &size]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_ends_the_run_with_what_is_full_and_with_room_the_next_one_completes() {
    for (place, sizes) in
        [("mailwave-ledger", &[16, 64, 160][..]), ("mailwave-spool", &[64]), ("mailwave-report", &[4])]
    {
        for kib in sizes.iter().copied() {
            let home = desk();
            let Some(disk) = SmallDisk::mount(&home.path().join(place), kib) else { return };
            let first = said(home.path(), &["run", "mailwave.toml", "--json"]);
            if first.code == 0 {
                drop(disk);
                continue; // it was enough
            }
            let named = place.trim_start_matches("mailwave-");
            let told = format!("{}{}", first.err, first.out);
            assert!(told.contains(named), "{place} of {kib} KiB: what is full: {told}");
            assert!(!told.contains("unexpected failure"), "{told}");
            disk.grow(64 << 10);
            completes(home.path());
        }
    }
}

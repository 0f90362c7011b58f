//! What is large, long or slow, as whole runs: `FAULTS.md`, class J. What takes hours runs in `scripts/soak` and
//! `scripts/bench-imap`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mailwave::mock::imap::{ImapOptions, InternalDate};
use serde_json::Value;

use crate::bad_input::desk::{Desk, Imap, MAILDIR_TARGET, mail};
use crate::cli::mailwave;
use crate::support::process::Running;

const LOGIN: &str = "password = { file = \"pw\" }\n";

fn desk(imap: &Imap, source: &str, rows: &str) -> Desk {
    let config = imap.config(&format!("{LOGIN}{source}"));
    let desk = Desk::new(&format!("{config}{MAILDIR_TARGET}sync = \"never\"\n"), rows);
    desk.secret("pw", "canary-password\n");
    desk
}

/// The library that makes a disk slow; `None` (and a line that says so) where there is no C compiler.
fn slow_disk(dir: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/slowdisk/slowdisk.c");
    let library = dir.join("slowdisk.so");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", "-o"])
        .args([&library, &source])
        .args(["-ldl", "-lpthread"])
        .status();
    if made.is_ok_and(|status| status.success()) {
        return Some(library);
    }
    println!("skipped: a slow disk needs a C compiler (cc)");
    None
}

#[test]
fn a_spool_on_a_slow_disk_holds_up_large_messages_and_nothing_stands_still() {
    const RATE: u64 = 5_000_000;
    const LARGE: u64 = 3_000_000;
    let home = tempfile::tempdir().unwrap();
    let Some(library) = slow_disk(home.path()) else { return };
    let imap = Imap::start(ImapOptions::default());
    let mut rows = "source,target\n".to_owned();
    for user in ["canary.ann", "canary.bob", "canary.eve"] {
        rows.push_str(&format!("{user},{user}\n"));
        let mut store = imap.mock.store();
        for n in 0..2 {
            let large = [mail(user, n), vec![b'x'; LARGE as usize]].concat();
            store.add(user, "INBOX", large, &[], InternalDate::utc(1_200_000_000));
        }
        for n in 10..60 {
            store.add(user, "INBOX", mail(user, n), &[], InternalDate::utc(1_200_000_000));
        }
    }
    let desk = desk(&imap, "", &rows);
    let config = fs::read_to_string(desk.path("mailwave.toml")).unwrap();
    let small = "tries = 2\nmemory = \"16MiB\"\nspool_above = \"64KiB\"";
    fs::write(desk.path("mailwave.toml"), config.replace("tries = 2", small)).unwrap();
    let begun = Instant::now();
    let ran = mailwave(&desk.path(""), &["run", "mailwave.toml", "--json"])
        .env("LD_PRELOAD", &library)
        .env("SLOWDISK_DIR", "mailwave-spool")
        .env("SLOWDISK_RATE", RATE.to_string())
        .output()
        .unwrap();
    let took = begun.elapsed();
    let json: Value = serde_json::from_slice(&ran.stdout).expect("one object");
    assert_eq!((ran.status.code(), &json["messages"]["stored"]), (Some(0), &156.into()), "{json}");
    let least = Duration::from_secs_f64(6.0 * LARGE as f64 / RATE as f64);
    assert!(took >= least, "the disk was not slow: {took:?}");
    for user in ["canary.ann", "canary.bob", "canary.eve"] {
        let arrived = desk.arrived(user);
        assert_eq!(arrived.len(), 52);
        assert_eq!(arrived.iter().filter(|octets| octets.len() as u64 > LARGE).count(), 2);
    }
    assert_eq!(
        fs::read_dir(desk.path("mailwave-spool")).map_or(0, Iterator::count),
        0,
        "nothing is left in it"
    );
}

#[test]
fn a_mailbox_of_thousands_of_folders_takes_a_few_round_trips_when_nothing_changed() {
    const FOLDERS: usize = 3_000;
    const USER: &str = "canary.ann";
    let imap = Imap::start(ImapOptions::default().offering("LIST-EXTENDED LIST-STATUS CONDSTORE"));
    for n in 0..FOLDERS {
        let folder = format!("f{:02}/s{n}", n % 60);
        let mut store = imap.mock.store();
        match n % 100 {
            0 => {
                store.add(USER, &folder, mail(USER, n), &[], InternalDate::utc(1_200_000_000));
            }
            _ => store.add_folder(USER, &folder),
        }
    }
    let desk = desk(&imap, "", &format!("source,target\n{USER},ann\n"));
    assert_eq!(desk.run().ended(0).count("stored"), (FOLDERS / 100) as u64);
    let before = imap.mock.heard().len();
    assert_eq!(desk.run().ended(0).count("stored"), 0);
    let commands = imap.mock.heard().len() - before;
    assert!(commands <= 8, "{commands} commands for {FOLDERS} folders in which nothing changed");
}

#[test]
fn of_a_list_of_a_thousand_empty_mailboxes_each_is_walked_and_the_last_ones_mail_arrives() {
    // Ten times as many where there is time for it.
    let rows = if std::env::var("MAILWAVE_TIER").is_ok_and(|tier| tier != "quick") { 10_000 } else { 1_000 };
    let list: String = (0..rows).map(|n| format!("canary{n},box{n}\n")).collect();
    let desk = Desk::files(&format!("source,target\n{list}"));
    for n in 0..rows {
        fs::create_dir_all(desk.path(&format!("in/canary{n}/cur"))).unwrap();
    }
    desk.fill(&format!("canary{}", rows - 1), 3);
    let ran = desk.run();
    assert_eq!((ran.count("stored"), ran.json["mailboxes"].as_u64()), (3, Some(rows)), "{}", ran.json);
    assert_eq!(desk.arrived(&format!("box{}", rows - 1)).len(), 3);
    assert_eq!(desk.run().count("stored"), 0);
}

/// What a run took at most: memory that was resident, in bytes, and open files.
#[derive(Debug, Default, Clone, Copy)]
struct Most {
    resident: u64,
    files: usize,
}

impl Most {
    /// Looks at a process, if it is still there.
    fn see(&mut self, pid: u32) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        // The kernel keeps the most itself.
        self.resident = self.resident.max(kib.unwrap_or(0) * 1024);
        self.files = self.files.max(fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count));
    }
}

/// Runs to the end, which must be a good one; how many were stored, and what it took.
fn watched(desk: &Desk, before: &[&str]) -> (u64, Most) {
    let mut run = Running::behind(&desk.path(""), before);
    let mut most = Most::default();
    while run.ended().is_none() {
        most.see(run.id());
        std::thread::sleep(Duration::from_millis(2)); // between two looks
    }
    let (code, json, talk) = run.end();
    assert_eq!(code, 0, "{json}\n{talk}");
    assert!(most.resident > 0 && most.files > 0, "nothing was seen of it");
    (json["messages"]["stored"].as_u64().unwrap(), most)
}

/// So many mailboxes, each with so many messages of a size.
fn filled(mailboxes: usize, messages: usize, size: usize, run: &str) -> (Imap, Desk) {
    let imap = Imap::start(ImapOptions::default());
    let mut rows = "source,target\n".to_owned();
    for m in 0..mailboxes {
        let user = format!("canary{m:02}");
        rows.push_str(&format!("{user},{user}\n"));
        let mut store = imap.mock.store();
        for n in 0..messages {
            let mut octets = mail(&user, n);
            octets.resize(octets.len().max(size), b'x');
            store.add(&user, "INBOX", octets, &[], InternalDate::utc(1_200_000_000));
        }
    }
    let desk = desk(&imap, "max_connections = 64\nlogin_interval = \"0ms\"\n", &rows);
    let config = fs::read_to_string(desk.path("mailwave.toml")).unwrap();
    fs::write(desk.path("mailwave.toml"), config.replace("tries = 2", &format!("tries = 5\n{run}"))).unwrap();
    (imap, desk)
}

#[test]
fn large_messages_of_many_mailboxes_at_once_take_no_more_memory_than_they_may() {
    const MAILBOXES: usize = 12;
    const SIZE: usize = 24 << 20;
    const MEMORY: usize = 64 << 20;
    // The same run with small messages tells what the process takes of itself.
    let (_small, desk) = filled(MAILBOXES, 1, 1_000, "memory = \"64MiB\"\nspool_above = \"32MiB\"");
    let (stored, own) = watched(&desk, &[]);
    assert_eq!(stored, MAILBOXES as u64);
    // Each fits into the memory, all together by far not.
    let (_imap, desk) = filled(MAILBOXES, 1, SIZE, "memory = \"64MiB\"\nspool_above = \"32MiB\"");
    let (stored, most) = watched(&desk, &[]);
    assert_eq!(stored, MAILBOXES as u64);
    println!("{most:?}; of its own {own:?}");
    let bound = own.resident + MEMORY as u64 + (32 << 20);
    assert!(bound < own.resident + (MAILBOXES * SIZE) as u64 / 2, "the bound would bear half of all octets");
    assert!(most.resident < bound, "{most:?}, and {own:?} with small messages");
    assert!(most.files <= own.files + MAILBOXES, "{most:?}, and {own:?} with small messages");
}

#[test]
fn one_processor_and_a_quarter_of_a_gigabyte_are_enough() {
    const MAILBOXES: usize = 16;
    const MESSAGES: usize = 20;
    let before = ["taskset", "-c", "0", "prlimit", "--data=268435456"];
    let tools =
        |tool: &&str| Command::new(tool).arg("--version").output().is_ok_and(|out| out.status.success());
    if !["taskset", "prlimit"].iter().all(tools) {
        println!("skipped: one processor and less memory need taskset and prlimit");
        return;
    }
    let (_imap, desk) = filled(MAILBOXES, MESSAGES, 75_000, "memory = \"32MiB\"");
    let (stored, most) = watched(&desk, &before);
    println!("{most:?}");
    assert_eq!(stored, (MAILBOXES * MESSAGES) as u64);
    assert!(most.resident < 256 << 20, "{most:?}");
    for m in 0..MAILBOXES {
        assert_eq!(desk.arrived(&format!("canary{m:02}")).len(), MESSAGES);
    }
}

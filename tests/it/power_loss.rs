//! The real program on a disk that loses power: what was not synced is forgotten, or comes through in part and out of
//! order. Cuts come before random syncs, until the work is done. Nothing may be lost, nothing there twice, and the ledger's
//! chain must hold after each cut.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::cli::{mailwave, said};
use crate::support::powercut::Disk;
use crate::support::process::GraphProcess;

const CUTS: usize = 25;
/// Fewer cuts prove nothing: more mail comes until there were so many.
const LEAST_CUTS: usize = 5;

/// Maildirs: two mailboxes of two folders, with twins.
fn mail(dir: &Path, numbers: Range<usize>) -> usize {
    let mut made = 0;
    for mailbox in ["ann", "bob"] {
        for folder in ["", ".Work"] {
            let cur = dir.join("in").join(mailbox).join(folder).join("cur");
            for sub in ["cur", "new", "tmp"] {
                fs::create_dir_all(cur.with_file_name(sub)).unwrap();
            }
            for n in numbers.clone() {
                let text = format!(
                    "From: a@example.org\r\nTo: b@example.org\r\nSubject: {n}\r\nMessage-ID: <{n}{folder}@{mailbox}>\r\n\
                     Date: Fri, 1 Mar 2024 10:00:00 +0000\r\n\r\nbody {n} of {mailbox}{folder}\r\n"
                );
                for twin in 0..=usize::from(n % 9 == 3) {
                    fs::write(cur.join(format!("{:04}.M{twin}.made:2,S", 1000 + n)), &text).unwrap();
                    made += 1;
                }
            }
        }
    }
    made
}

fn configure(dir: &Path, target: &str) {
    let config = format!(
        "source_name = \"acme\"\nledger = \"disk/ledger\"\nreport = \"report\"\n[run]\nsettle = \"50ms\"\nspool = \"spool\"\n\
         [source.old]\nkind = \"maildir\"\nroot = \"in\"\n[target.new]\n{target}"
    );
    fs::write(dir.join("mailwave.toml"), config).unwrap();
    fs::write(dir.join("mailboxes.csv"), "source,target\nann,ann@example.org\nbob,bob@example.org\n")
        .unwrap();
}

/// Runs, cut before its `kill_at`th sync; `true`: it ended before that.
fn run(dir: &Path, disk: &Disk, kill_at: Option<u64>) -> bool {
    let mut command = mailwave(dir, &["run", "mailwave.toml", "--json"]);
    disk.attach(&mut command, kill_at);
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    use std::os::unix::process::ExitStatusExt;
    if output.status.signal() == Some(9) {
        return false;
    }
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}\n{}", String::from_utf8_lossy(&output.stdout));
    true
}

/// Lets mail come, cuts the power again and again, then lets the work end. Returns how many messages there are.
/// A cut comes before one of the first `syncs` syncs of a run.
fn cut_and_go_on(dir: &Path, disk: &Disk, syncs: u64, seed: u64) -> usize {
    println!("seed {seed}");
    let (mut messages, mut next) = (mail(dir, 0..40), 40);
    let mut dice = fastrand::Rng::with_seed(seed);
    let (mut told, mut cuts, mut lost) = (Vec::new(), 0, 0);
    while cuts < CUTS {
        let soon = dice.bool();
        let at = dice.u64(1..=if soon { 30 } else { syncs });
        if run(dir, disk, Some(at)) {
            if cuts >= LEAST_CUTS {
                break;
            }
            messages += mail(dir, next..next + 10);
            next += 10;
            continue;
        }
        cuts += 1;
        let files = disk.lose(&mut dice);
        lost += usize::from(files > 0);
        told.push(format!("cut {cuts} before sync {at}: {files} files lost something"));
        if disk.root.join("ledger/ledger.db").exists() {
            let check = said(dir, &["ledger", "check", "mailwave.toml", "--deep", "--json"]);
            assert_eq!(check.code, 0, "after {}\n{}{}", told.join("\n"), check.out, check.err);
        }
    }
    println!("{}", told.join("\n"));
    assert!(lost > 0, "no cut lost anything: nothing was tried");
    assert!(run(dir, disk, None), "it ends once it is let");
    messages
}

/// Everything is done and known: another run writes nothing.
fn nothing_to_do(dir: &Path, messages: usize) {
    let again = said(dir, &["run", "mailwave.toml", "--json"]);
    let json: Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!(again.code, 0, "{json}{}", again.err);
    assert_eq!(json["messages"]["already_there"], messages, "{json}");
    for written in ["stored", "moved", "removed", "reflagged", "unknown", "skipped"] {
        assert_eq!(json["messages"][written], 0, "{written}: {json}");
    }
    let verified = said(dir, &["verify", "mailwave.toml"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}

#[test]
fn after_power_cuts_at_random_syncs_a_graph_target_has_every_message_once() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::new(home.path()) else { return };
    // The target is another machine, which goes on when our power is cut.
    let graph = GraphProcess::start(home.path(), &json!({ "latency": { "base_ms": 5, "jitter_ms": 5 } }));
    configure(
        home.path(),
        &format!(
            "kind = \"graph\"\ntenant = \"contoso\"\nclient_id = \"mover\"\nclient_secret = {{ file = \"secret\" }}\n\
             base_url = \"{0}/v1.0\"\nauthority = \"{0}\"\n",
            graph.base_url
        ),
    );
    fs::write(home.path().join("secret"), "secret\n").unwrap();
    fs::set_permissions(home.path().join("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    let messages = cut_and_go_on(home.path(), &disk, 40, fastrand::u64(..));
    let truth = graph.settled();
    let mut stamps = BTreeSet::new();
    let mut subjects: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    for (mailbox, store) in &truth.mailboxes {
        for (folder, held) in &store.folders {
            for message in &held.messages {
                let subject = message.subject.clone().unwrap_or_default();
                *subjects.entry((mailbox.clone(), folder.clone(), subject)).or_default() += 1;
                let stamp = message.named.values().next().expect("a stamp").clone();
                assert!(stamps.insert(stamp.clone()), "twice: {stamp}");
            }
        }
    }
    assert_eq!(stamps.len(), messages, "every message has one copy: {subjects:?}");
    assert_eq!(truth.counters.violations, BTreeMap::new());
    nothing_to_do(home.path(), messages);
}

#[test]
fn after_power_cuts_a_maildir_target_on_the_same_disk_has_every_message_once() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::new(home.path()) else { return };
    configure(home.path(), "kind = \"maildir\"\nroot = \"disk/out\"\n");
    let messages = cut_and_go_on(home.path(), &disk, 200, fastrand::u64(..));
    let copies = copies(&disk.root.join("out"));
    assert_eq!(copies.values().sum::<usize>(), messages);
    nothing_to_do(home.path(), messages);
}

/// Messages of a tree of Maildirs, by their octets.
fn copies(dir: &Path) -> BTreeMap<Vec<u8>, usize> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            for (octets, n) in copies(&path) {
                *all.entry(octets).or_default() += n;
            }
        } else if dir.ends_with("cur") || dir.ends_with("new") {
            *all.entry(fs::read(&path).unwrap()).or_default() += 1;
        }
    }
    all
}

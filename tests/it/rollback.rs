//! The whole ledger directory is put back from a copy made before the last run: the next run finds what was copied since,
//! stores nothing twice, loses nothing and says so, whatever kind of source and target.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::ews_target::road::Exchange;
use crate::road::works::{Graph, Works};
use crate::support::dovecot::Dovecot;
use crate::support::server::{ImapServer, Reach};

fn text(n: usize) -> String {
    let id = if n % 5 == 3 { String::new() } else { format!("Message-ID: <{n}@x>\r\n") };
    format!(
        "From: a@example.org\r\nTo: b@example.org\r\n{id}Subject: message {n}\r\nDate: Fri, 1 Mar 2024 10:00:00 +0000\r\n\
         \r\nbody {n}\r\n"
    )
}

/// Puts messages into a Maildir folder.
fn put(root: &Path, folder: &str, numbers: impl Iterator<Item = usize>) -> usize {
    let cur = root.join("ann").join(folder).join("cur");
    for sub in ["cur", "new", "tmp"] {
        fs::create_dir_all(cur.with_file_name(sub)).unwrap();
    }
    let mut made = 0;
    for n in numbers {
        let path = cur.join(format!("{}.M{n}.made:2,S", 1_600_000_000 + n));
        fs::write(&path, text(n)).unwrap();
        // What has no Message-ID is known by its date where the target builds messages anew.
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_500_000_000 + n as u64 * 61);
        fs::File::options().append(true).open(&path).unwrap().set_modified(at).unwrap();
        made += 1;
    }
    made
}

fn maildir(root: &Path) -> String {
    format!("[source.old]\nkind = \"maildir\"\nroot = \"{}\"\n", root.display())
}

fn imap(kind: &str, reach: &Reach) -> String {
    format!(
        "[{kind}]\nkind = \"imap\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"off\"\nmaster_user = \"{}\"\n\
         password = {{ env = \"ROAD_MASTER\" }}\nlogin_interval = \"1ms\"\n",
        reach.plain_port, reach.master.0
    )
}

fn ledger(works: &Works) -> PathBuf {
    works.path().join("mailwave-ledger")
}

fn keep(works: &Works) {
    let kept = works.path().join("kept");
    fs::create_dir(&kept).unwrap();
    for entry in fs::read_dir(ledger(works)).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), kept.join(entry.file_name())).unwrap();
        }
    }
}

fn put_back(works: &Works) {
    fs::remove_dir_all(ledger(works)).unwrap();
    fs::rename(works.path().join("kept"), ledger(works)).unwrap();
}

fn report(works: &Works) -> String {
    fs::read_to_string(works.path().join("mailwave-report/report.json")).unwrap()
}

const SAID: &str = "an older copy of the ledger had been put back";

/// With the old ledger: what was copied since is on record again, only what is new is stored, and the run after writes
/// nothing.
fn nothing_twice(works: &Works, (found, new, all): (usize, usize, usize)) {
    let ran = works.verb("run");
    assert_eq!(ran["messages"]["stored"], new, "{ran}");
    assert_eq!(ran["copies"]["at_target"], all, "{ran}");
    assert_eq!(ran["copies"]["in_ledger"], all, "{ran}");
    let told = report(works);
    assert!(told.contains(SAID) && told.contains(&format!("{found} were put on record")), "{told}");
    let again = works.verb("run");
    assert_eq!(again["messages"]["already_there"], all, "{again}");
    for written in ["stored", "moved", "removed", "reflagged", "skipped", "unknown"] {
        assert_eq!(again["messages"][written], 0, "{written}: {again}");
    }
    assert!(!report(works).contains(SAID), "told once");
    assert_eq!(works.verb("verify")["equal"], true);
    let checked = works.done(&["ledger", "check", "mailwave.toml", "--deep", "--json"]);
    assert_eq!((checked["sound"].as_bool(), checked["copies"].as_u64()), (Some(true), Some(all as u64)));
}

/// Named messages: numbers are given anew, and to others: some were deleted meanwhile, a folder came that sorts first.
fn from_maildirs(target: &str, row: &str) -> Works {
    let home = tempfile::tempdir().unwrap();
    let first = put(home.path(), "", 0..12) + put(home.path(), ".Work", 100..105);
    let works = Works::new(&format!("{}{target}", maildir(home.path())), row);
    assert_eq!(works.verb("run")["messages"]["stored"], first);
    keep(&works);
    let since = put(home.path(), "", 20..32) + put(home.path(), ".Other", 200..206);
    assert_eq!(works.verb("run")["messages"]["stored"], since);
    put_back(&works);
    let new = put(home.path(), "", 15..18) + put(home.path(), ".Another", 300..304);
    nothing_twice(&works, (since, new, first + since + new));
    works
}

#[test]
fn maildirs_to_maildirs() {
    from_maildirs("[target.new]\nkind = \"maildir\"\nroot = \"out\"\n", "source,target\nann,ann\n");
}

#[test]
fn maildirs_to_graph() {
    let graph = Graph::start(false);
    from_maildirs(&graph.config(), "source,target\nann,user01@target.example\n");
    assert!(graph.truth().counters.violations.is_empty());
}

#[test]
fn maildirs_to_exchange() {
    let exchange = Exchange::start();
    from_maildirs(&exchange.config(), "source,target\nann,user01@target.example\n");
}

/// Numbered messages: few of them (asked for by their stamps) and many (the whole mailbox is asked).
fn from_a_server(target: &str, row: &str) {
    let Some(server) = Dovecot::start() else { return };
    for many in [3, 30] {
        let mut client = server.client("user01");
        let name = format!("Box{many}");
        client.create(&[&name]);
        let mut append = |folder: &str, numbers: std::ops::Range<usize>| {
            let count = numbers.len();
            for n in numbers {
                let date = format!("{:02}-Feb-2024 23:59:{:02} +0100", 1 + n % 28, n % 60);
                client.append(&[folder], text(many * 1000 + n).as_bytes(), "\\Seen", Some(&date));
            }
            count
        };
        append(&name, 0..10);
        let works = Works::new(&format!("{}{target}", imap("source.a", &server.reach())), row);
        let first = works.verb("run");
        let before = first["copies"]["at_target"].as_u64().unwrap() as usize;
        keep(&works);
        let since = append(&name, 10..10 + many);
        assert_eq!(works.verb("run")["messages"]["stored"], since);
        put_back(&works);
        let new = append(&name, 50..52);
        nothing_twice(&works, (since, new, before + since + new));
        // The next round begins with a ledger and a target of its own.
        if !target.contains("maildir") {
            return;
        }
    }
}

#[test]
fn a_real_server_to_maildirs() {
    from_a_server("[target.new]\nkind = \"maildir\"\nroot = \"out\"\n", "source,target\nuser01,ann\n");
}

#[test]
fn a_real_server_to_graph() {
    let graph = Graph::start(false);
    from_a_server(&graph.config(), "source,target\nuser01,user01@target.example\n");
}

#[test]
fn a_real_server_to_another_one_whose_users_have_mail_of_their_own() {
    let Some(target) = Dovecot::start() else { return };
    target.client("user01").append(&["INBOX"], b"Message-ID: <own@x>\r\nSubject: own\r\n\r\nx\r\n", "", None);
    from_a_server(&imap("target.b", &target.reach()), "source,target\nuser01,user01\n");
}

#[test]
fn a_mailbox_that_the_old_copy_does_not_know_is_refused_and_nothing_is_stored_twice() {
    let home = tempfile::tempdir().unwrap();
    let made = put(home.path(), "", 0..5);
    let works = Works::new(
        &format!("{}[target.new]\nkind = \"maildir\"\nroot = \"out\"\n", maildir(home.path())),
        "source,target\nann,ann\n",
    );
    assert_eq!(works.verb("run")["messages"]["stored"], made);
    fs::remove_dir_all(ledger(&works)).unwrap();
    let ran = crate::cli::said(works.path(), &["run", "mailwave.toml", "--json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, json["messages"]["stored"].as_u64()), (2, Some(0)), "{json}");
    assert!(json.to_string().contains("ledger rebuild"), "{json}");
    assert_eq!(fs::read_dir(works.path().join("out/ann/cur")).unwrap().count(), made);
}

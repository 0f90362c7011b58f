//! `mailwave ledger rebuild`: the ledger is lost, a new one is made from what is at both ends, and a run with it copies
//! nothing twice and loses nothing, whatever kind of source and target.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::{files_config, said};
use crate::ews_target::road::Exchange;
use crate::road::works::{Graph, Works};
use crate::support::dovecot::Dovecot;
use crate::support::server::{ImapServer, Reach};

const USERS: [&str; 2] = ["user01", "user02"];
const FOLDERS: [&str; 3] = ["", ".Sent", ".Projekte"];

/// Message `n`: some have twins, some no Message-ID, some an attachment's worth of text.
fn text(user: &str, n: usize) -> String {
    let id = if n % 7 == 3 { String::new() } else { format!("Message-ID: <{n}@{user}>\r\n") };
    format!(
        "From: a@example.org\r\nTo: b@example.org\r\n{id}Subject: message {n}\r\nDate: Fri, 1 Mar 2024 10:00:00 +0000\r\n\
         \r\n{}\r\n",
        "some text\r\n".repeat(1 + n * 13 % 90)
    )
}

/// Maildirs with 3 folders for each user; how many messages.
fn maildirs(root: &Path) -> usize {
    let mut made = 0;
    for user in USERS {
        for (f, folder) in FOLDERS.iter().enumerate() {
            let cur = root.join(user).join(folder).join("cur");
            for sub in ["cur", "new", "tmp"] {
                fs::create_dir_all(cur.with_file_name(sub)).unwrap();
            }
            for n in 0..30 {
                for twin in 0..=usize::from(n % 10 == 4) {
                    let name = format!(
                        "{}.M{n}F{f}T{twin}.made:2,{}",
                        1_600_000_000 + n,
                        ["", "S", "FS", "RS"][n % 4]
                    );
                    let path = cur.join(name);
                    fs::write(&path, text(user, f * 100 + n)).unwrap();
                    let at =
                        std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_500_000_000 + n as u64 * 61);
                    fs::File::options().append(true).open(&path).unwrap().set_modified(at).unwrap();
                    made += 1;
                }
            }
        }
    }
    made
}

/// The same mail on a server, with holes in its numbers.
fn fill(server: &Dovecot) -> usize {
    let mut made = 0;
    for user in USERS {
        let mut client = server.client(user);
        for folder in ["Sent", "Projekte"] {
            client.create(&[folder]);
        }
        for (f, folder) in ["INBOX", "Sent", "Projekte"].into_iter().enumerate() {
            for n in 0..30 {
                for _ in 0..=usize::from(n % 10 == 4) {
                    let date = format!("{:02}-Feb-2024 23:59:{:02} +0100", 1 + n % 28, n);
                    let flags = ["", "\\Seen", "\\Seen \\Flagged", "\\Answered"][n % 4];
                    client.append(&[folder], text(user, f * 100 + n).as_bytes(), flags, Some(&date));
                    made += 1;
                }
            }
            let uids = client.uids(&[folder]);
            for uid in uids.iter().step_by(9) {
                client.expunge(&[folder], *uid);
                made -= 1;
            }
        }
    }
    made
}

fn imap(kind: &str, reach: &Reach) -> String {
    format!(
        "[{kind}]\nkind = \"imap\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"off\"\nmaster_user = \"{}\"\n\
         password = {{ env = \"ROAD_MASTER\" }}\nlogin_interval = \"1ms\"\n",
        reach.plain_port, reach.master.0
    )
}

fn rows(domain: &str) -> String {
    USERS
        .iter()
        .map(|u| format!("{u},{u}{domain}\n"))
        .fold("source,target\n".to_owned(), |all, row| all + &row)
}

/// Moves all, loses the ledger, makes it anew, and runs with it: nothing is written, and `verify` finds all.
fn lost_and_rebuilt(works: &Works, messages: usize) {
    let first = works.verb("run");
    assert_eq!(first["messages"]["stored"], messages, "{first}");
    let ledger = works.path().join("mailwave-ledger");
    fs::remove_dir_all(&ledger).unwrap();
    let told = works.done(&["ledger", "rebuild", "mailwave.toml", "--into", "mailwave-ledger", "--json"]);
    let sum = |key: &str| {
        let all = told["mailboxes"].as_array().unwrap();
        all.iter().map(|m| m[key].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(sum("matched"), messages as u64, "{told}");
    for key in ["without_copy", "unfinished", "doubtful", "twins", "copies_without_message"] {
        assert_eq!(sum(key), 0, "{key}: {told}");
    }
    let checked = works.done(&["ledger", "check", "mailwave.toml", "--deep", "--json"]);
    assert_eq!((checked["sound"].as_bool(), checked["copies"].as_u64()), (Some(true), Some(messages as u64)));
    for _ in 0..2 {
        let again = works.verb("run");
        assert_eq!(again["messages"]["already_there"], messages, "{again}");
        for written in ["stored", "moved", "removed", "reflagged", "skipped", "unknown"] {
            assert_eq!(again["messages"][written], 0, "{written}: {again}");
        }
        assert_eq!(again["copies"]["at_target"], messages, "{again}");
        let verified = works.verb("verify");
        assert_eq!(verified["equal"], true, "{verified}");
    }
}

#[test]
fn from_maildirs_in_maildirs() {
    let home = tempfile::tempdir().unwrap();
    let messages = maildirs(home.path());
    let source = format!("[source.old]\nkind = \"maildir\"\nroot = \"{}\"\n", home.path().display());
    let works = Works::new(&format!("{source}[target.new]\nkind = \"maildir\"\nroot = \"out\"\n"), &rows(""));
    lost_and_rebuilt(&works, messages);

    // Later passes go on as if nothing had been: a new message, one filed elsewhere, one deleted.
    let inbox = home.path().join("user01/cur");
    let mut files: Vec<PathBuf> = fs::read_dir(&inbox).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    fs::write(inbox.join("1700000000.new:2,S"), "Message-ID: <new@x>\r\nSubject: new\r\n\r\nx\r\n").unwrap();
    fs::remove_file(&files[0]).unwrap();
    fs::rename(&files[1], home.path().join("user01/.Sent/cur").join(files[1].file_name().unwrap())).unwrap();
    let done = works.verb("run");
    let written = ["stored", "moved", "removed"].map(|k| done["messages"][k].as_u64().unwrap());
    assert_eq!(written, [1, 1, 1], "{done}");
}

#[test]
fn from_maildirs_in_a_mock_of_graph() {
    let home = tempfile::tempdir().unwrap();
    let messages = maildirs(home.path());
    let graph = Graph::start(false);
    let source = format!("[source.old]\nkind = \"maildir\"\nroot = \"{}\"\n", home.path().display());
    let works = Works::new(&format!("{source}{}", graph.config()), &rows("@target.example"));
    lost_and_rebuilt(&works, messages);
    assert_eq!(graph.truth().counters.violations, BTreeMap::new());
}

#[test]
fn from_maildirs_in_a_mock_of_exchange() {
    let home = tempfile::tempdir().unwrap();
    let messages = maildirs(home.path());
    let exchange = Exchange::start();
    let source = format!("[source.old]\nkind = \"maildir\"\nroot = \"{}\"\n", home.path().display());
    let works = Works::new(&format!("{source}{}", exchange.config()), &rows("@target.example"));
    lost_and_rebuilt(&works, messages);
}

#[test]
fn from_a_real_server_in_a_mock_of_graph_by_the_numbers_in_the_stamps() {
    let Some(server) = Dovecot::start() else { return };
    let messages = fill(&server);
    let graph = Graph::start(false);
    let works = Works::new(
        &format!("{}{}", imap("source.a", &server.reach()), graph.config()),
        &rows("@target.example"),
    );
    lost_and_rebuilt(&works, messages);
}

#[test]
fn from_one_real_server_in_another_by_the_octets() {
    let (Some(source), Some(target)) = (Dovecot::start(), Dovecot::start()) else { return };
    let messages = fill(&source);
    // Somebody's own mail was there before: it is nobody's copy.
    target.client("user01").append(&["INBOX"], b"Message-ID: <own@x>\r\nSubject: own\r\n\r\nx\r\n", "", None);
    let (from, to) = (imap("source.a", &source.reach()), imap("target.b", &target.reach()));
    let works = Works::new(&format!("{from}{to}"), &rows(""));
    lost_and_rebuilt(&works, messages);
}

/// A mailbox of two messages with one Message-ID, whose copies somebody edited at the target: which is which?
fn doubtful() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let cur = home.path().join("in/ann/cur");
    for sub in ["cur", "new", "tmp"] {
        fs::create_dir_all(cur.with_file_name(sub)).unwrap();
    }
    for n in 0..6 {
        let path = cur.join(format!("{n}.made:2,S"));
        let id = n.min(4); // the last two share one
        fs::write(&path, format!("Message-ID: <{id}@x>\r\nSubject: {n}\r\n\r\nbody {n}\r\n")).unwrap();
    }
    files_config(home.path(), "ann,ann\n");
    assert_eq!(said(home.path(), &["run", "mailwave.toml"]).code, 0);
    for entry in fs::read_dir(home.path().join("out/ann/cur")).unwrap() {
        let path = entry.unwrap().path();
        let octets = fs::read_to_string(&path).unwrap();
        if octets.contains("<4@x>") {
            fs::write(&path, octets.replace("body", "edited body")).unwrap();
        }
    }
    fs::remove_dir_all(home.path().join("mailwave-ledger")).unwrap();
    home
}

#[test]
fn what_cannot_be_told_is_named_and_never_stored() {
    let home = doubtful();
    let told =
        said(home.path(), &["ledger", "rebuild", "mailwave.toml", "--into", "mailwave-ledger", "--json"]);
    let json: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(told.code, 1, "{json}{}", told.err);
    let mailbox = &json["mailboxes"][0];
    assert_eq!((mailbox["matched"].as_u64(), mailbox["doubtful"].as_u64()), (Some(4), Some(2)), "{json}");
    for _ in 0..2 {
        let ran = said(home.path(), &["run", "mailwave.toml", "--json", "--final"]);
        let json: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(
            (json["messages"]["stored"].as_u64(), json["messages"]["skipped"].as_u64()),
            (Some(0), Some(2))
        );
        assert_eq!(json["messages"]["removed"], 0, "{json}");
    }
    let report = fs::read_to_string(home.path().join("mailwave-report/report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let skipped = report["skipped"].as_array().unwrap();
    assert!(skipped.len() == 2 && skipped.iter().all(|s| s["reason"] == "doubtful"), "{skipped:?}");
    assert_eq!(fs::read_dir(home.path().join("out/ann/cur")).unwrap().count(), 6, "nothing twice");
}

#[test]
fn nothing_is_overwritten_and_a_mailbox_that_cannot_be_read_leaves_no_ledger() {
    let home = doubtful();
    fs::create_dir(home.path().join("new")).unwrap();
    let rebuild = ["ledger", "rebuild", "mailwave.toml", "--into", "new"];
    let told = said(home.path(), &rebuild);
    assert!(told.code == 64 && told.err.contains("nothing is ever overwritten"), "{}", told.err);
    fs::remove_dir(home.path().join("new")).unwrap();
    fs::write(home.path().join("mailboxes.csv"), "source,target\nann,ann\nbob,bob\n").unwrap();
    let told = said(home.path(), &rebuild);
    assert!(told.code == 2 && told.err.contains("no ledger was made"), "{}{}", told.out, told.err);
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("new")), "{left:?}");
    let told = said(home.path(), &["ledger", "rebuild", "mailwave.toml", "--into", "new", "--only", "ann"]);
    assert!(told.code == 1 && home.path().join("new/ledger.db").exists(), "{}{}", told.out, told.err);
}

#[test]
fn messages_without_a_copy_are_copied_by_the_next_run() {
    let home = tempfile::tempdir().unwrap();
    let messages = maildirs(home.path());
    let source = format!("[source.old]\nkind = \"maildir\"\nroot = \"{}\"\n", home.path().display());
    let works = Works::new(&format!("{source}[target.new]\nkind = \"maildir\"\nroot = \"out\"\n"), &rows(""));
    works.verb("run");
    // Copies that never were: what the first run did not come to.
    let cur = works.path().join("out/user02/cur");
    let gone: Vec<PathBuf> = fs::read_dir(&cur).unwrap().take(5).map(|e| e.unwrap().path()).collect();
    gone.iter().for_each(|path| fs::remove_file(path).unwrap());
    fs::remove_dir_all(works.path().join("mailwave-ledger")).unwrap();
    let told = works.done(&["ledger", "rebuild", "mailwave.toml", "--into", "mailwave-ledger", "--json"]);
    let mailboxes = told["mailboxes"].as_array().unwrap();
    let without: u64 = mailboxes.iter().map(|m| m["without_copy"].as_u64().unwrap()).sum();
    assert_eq!(without, gone.len() as u64, "{told}");
    let ran = works.verb("run");
    assert_eq!(ran["messages"]["stored"], gone.len(), "{ran}");
    assert_eq!(ran["copies"]["at_target"], messages, "{ran}");
    assert_eq!(works.verb("verify")["equal"], true);
}

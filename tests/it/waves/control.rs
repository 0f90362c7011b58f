//! A running process is spoken to: paused, resumed, drained, asked; and spoken to badly.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::Bed;
use crate::cli::said;
use crate::support::process::until;

impl Bed {
    fn state(&self) -> Value {
        let status = said(self.dir(), &["status", "mailwave.toml", "--json"]);
        assert_eq!(status.code, 0, "{}", status.err);
        serde_json::from_str(&status.out).unwrap()
    }

    /// Waits until the run says so of its first wave.
    fn wave(&self, what: &str, mut seen: impl FnMut(&Value) -> bool) {
        until(what, || seen(&self.state()["run"]["waves"][0]).then_some(()));
    }

    fn socket(&self) -> std::path::PathBuf {
        self.dir().join("mailwave-ledger/control.sock")
    }

    /// Says something to the socket; what comes back, up to its end.
    fn say(&self, octets: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(octets).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    }
}

#[test]
fn a_run_is_paused_resumed_and_drained_and_loses_nothing_by_it() {
    let bed = Bed::new(40, &[("ann", "pilot", 500), ("bob", "pilot", 500)], "", "");
    assert_eq!(bed.state()["run"], Value::Null, "nothing runs yet");
    let none = said(bed.dir(), &["pause", "mailwave.toml"]);
    assert_eq!(none.code, 2, "{}", none.err);
    assert!(none.err.contains("no run of this configuration is going on"), "{}", none.err);

    let mut run = bed.run(&[]);
    bed.made(&mut run, 5);
    let paused = said(bed.dir(), &["pause", "mailwave.toml"]);
    assert_eq!(paused.code, 0, "{}", paused.err);
    bed.wave("both to be halted", |w| w["running"] == 0 && w["halted"] == 2 && w["paused"] == true);
    let made = bed.graph.settled().counters.creates;
    let status = said(bed.dir(), &["status", "mailwave.toml"]);
    assert!(status.out.contains("paused; always"), "{}", status.out);
    assert!(status.err.contains("a run is going on (process "), "{}", status.err);
    assert_eq!(bed.graph.settled().counters.creates, made, "nothing new is begun");

    assert_eq!(said(bed.dir(), &["resume", "mailwave.toml", "--json"]).code, 0);
    bed.made(&mut run, made + 5);
    // One of them alone.
    assert_eq!(said(bed.dir(), &["pause", "mailwave.toml", "--mailbox", "ann"]).code, 0);
    bed.wave("bob to end and ann to wait", |w| {
        w["ended"] == 1 && w["halted"] == 1 && w["paused_mailboxes"] == 1
    });
    assert_eq!(said(bed.dir(), &["resume", "mailwave.toml", "--mailbox", "ann"]).code, 0);
    let (code, json, talk) = run.end();
    assert_eq!(code, 0, "{json}\n{talk}");
    assert_eq!((&json["messages"]["stored"], &json["complete"]), (&1000.into(), &2.into()), "{json}");
    assert_eq!(bed.copies(), 1000);
    assert!(!bed.socket().exists(), "the socket goes with the run");
}

#[test]
fn a_drained_wave_ends_with_what_is_left_and_unknown_names_are_refused() {
    let bed = Bed::new(100, &[("ann", "one", 200), ("bob", "two", 8)], "", "");
    let mut run = bed.run(&["--wave", "one,two"]);
    bed.made(&mut run, 3);
    let wrong = said(bed.dir(), &["pause", "mailwave.toml", "--wave", "three"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("the run has no such wave"), "{}", wrong.err);
    assert_eq!(said(bed.dir(), &["pause", "mailwave.toml", "--mailbox", "zoe"]).code, 64);
    assert_eq!(said(bed.dir(), &["drain", "mailwave.toml", "--wave", "one"]).code, 0);
    let (code, json, talk) = run.end();
    assert_eq!(code, 75, "{json}\n{talk}");
    assert_eq!(
        (&json["stopped"], &json["complete"]),
        (&1.into(), &1.into()),
        "the other wave is finished: {json}"
    );
}

#[test]
fn a_socket_that_a_killed_run_left_is_known_for_what_it_is() {
    let bed = Bed::new(100, &[("ann", "", 150)], "", "");
    let mut run = bed.run(&[]);
    bed.made(&mut run, 3);
    let about = std::fs::symlink_metadata(bed.socket()).unwrap();
    assert!(about.file_type().is_socket());
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    run.child.kill().unwrap();
    run.child.wait().unwrap();
    assert!(bed.socket().exists(), "kill -9 leaves it");
    assert_eq!(bed.state()["run"], Value::Null, "nobody listens");
    let drain = said(bed.dir(), &["drain", "mailwave.toml"]);
    assert!(drain.err.contains("no run of this configuration is going on"), "{}", drain.err);

    let mut run = bed.run(&[]);
    bed.made(&mut run, 4);
    bed.wave("the new run to answer", |w| w["running"] == 1);
    let (code, json, talk) = run.end();
    assert_eq!(code, 0, "{json}\n{talk}");
    assert_eq!(bed.copies(), 150);
}

#[test]
fn hostile_words_are_refused_and_disturb_nobody() {
    let bed = Bed::new(100, &[("ann", "", 150)], "", "");
    let mut run = bed.run(&[]);
    bed.made(&mut run, 2);
    let refused = |octets: &[u8], told: &str| {
        let answer: Value = serde_json::from_str(&bed.say(octets)).unwrap();
        let what = answer["error"]["what"].as_str().unwrap_or_default();
        assert!(what.contains(told) && answer["ok"].is_null(), "{answer}");
    };
    refused(b"hello\n", "no JSON object");
    refused(b"[1,2]\n", "no JSON object");
    refused(b"\xff\xfe\n", "no JSON object");
    refused(b"{\"v\":2,\"verb\":\"status\"}\n", "version 2");
    refused(b"{\"v\":1,\"verb\":\"fly\\u001b[31m\"}\n", "is not known here");
    refused(b"{\"v\":1,\"verb\":\"pause\",\"wvae\":\"x\"}\n", "the field");
    refused(b"{\"v\":1,\"verb\":\"pause\",\"wave\":\"x\",\"mailbox\":\"y\"}\n", "not both");
    refused(b"{\"v\":1,\"verb\":\"pause\",\"mailbox\":7}\n", "is no text");
    refused(b"{\"v\":1,\"verb\":\"drain\",\"mailbox\":\"../x\"}\n", "no pseudonym");
    refused(format!("{{\"v\":1,\"verb\":\"{}\"}}\n", "x".repeat(5000)).as_bytes(), "longer than 4096");
    refused(&b"[".repeat(4000).into_iter().chain(*b"\n").collect::<Vec<_>>(), "no JSON object");
    // Many who say nothing keep nobody else from being heard once they are gone.
    let silent: Vec<_> = (0..40).filter_map(|_| UnixStream::connect(bed.socket()).ok()).collect();
    drop(silent);
    // Two requests over one connection.
    let both = until("the desk to be free again", || {
        let mut stream = UnixStream::connect(bed.socket()).unwrap();
        let asked = b"{\"v\":1,\"verb\":\"status\"}\n{\"v\":1,\"verb\":\"status\"}\n";
        stream.write_all(asked).ok()?;
        BufReader::new(stream)
            .lines()
            .take(2)
            .collect::<std::io::Result<Vec<_>>>()
            .ok()
            .filter(|l| l.len() == 2)
    });
    for line in both {
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["ok"]["waves"][0]["paused"], false, "nothing was carried out: {answer}");
    }
    let (code, json, talk) = run.end();
    assert_eq!(code, 0, "{json}\n{talk}");
    assert_eq!(bed.copies(), 150);
}

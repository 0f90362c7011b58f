//! The real program, with its threads and sockets, killed and stopped at random moments, against a mock of Graph in
//! another process. `campaign` kills it over other sources and targets, far more often; `signals` stops it in other ways.

mod campaign;
mod signals;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use mailwave::mock::graph::{Fault, FaultRule, FaultScript, Truth, When};
use mailwave::model::Hasher;
use serde_json::json;

use crate::support::mailgen::{Mail, MailGen};
use crate::support::process::{GraphProcess, Running, until};

const MAILBOXES: usize = 8;
const KILLS: usize = 20;

/// What the target must hold of a message: mailbox, folder, subject, Message-ID (if it has one), names and digests of
/// its attachments.
type Seen = (String, String, String, Option<String>, Vec<(String, String)>);

/// Counts how often each is there: twins are two.
fn counted(all: impl IntoIterator<Item = Seen>) -> BTreeMap<Seen, usize> {
    all.into_iter().fold(BTreeMap::new(), |mut sum, one| {
        *sum.entry(one).or_insert(0) += 1;
        sum
    })
}

fn digest(octets: &[u8]) -> String {
    let mut hasher = Hasher::new();
    hasher.update(octets);
    hasher.finish().to_hex()
}

/// Maildirs in a directory, and what they hold.
struct Mailboxes {
    mail: MailGen,
    expected: Vec<Seen>,
    files: u64,
}

impl Mailboxes {
    fn add(&mut self, dir: &Path, mailbox: &str, folder: &str, mail: &Mail) {
        let inner = if folder == "INBOX" { String::new() } else { format!(".{folder}") };
        let cur = dir.join("in").join(mailbox).join(inner).join("cur");
        for sub in ["cur", "new", "tmp"] {
            fs::create_dir_all(cur.with_file_name(sub)).unwrap();
        }
        self.files += 1;
        let path = cur.join(format!("{:06}.made:2,S", self.files));
        fs::write(&path, &mail.octets).unwrap();
        let received = SystemTime::UNIX_EPOCH + Duration::from_secs(mail.received.try_into().unwrap());
        fs::File::options().append(true).open(&path).unwrap().set_modified(received).unwrap();
        self.expected.push((
            format!("{mailbox}@example.org"),
            if folder == "INBOX" { "Inbox".to_owned() } else { folder.to_owned() },
            mail.subject.clone().unwrap(),
            mail.message_id.clone(),
            mail.attachments.iter().map(|(name, octets)| (name.clone(), digest(octets))).collect(),
        ));
    }

    /// `mailboxes` of about `each` messages over two folders, twins among them, and in the first mailbox a message that
    /// needs an upload session.
    fn make(dir: &Path, seed: u64, mailboxes: usize, each: usize) -> Mailboxes {
        let mut all = Mailboxes { mail: MailGen::new(seed, "example.org"), expected: Vec::new(), files: 0 };
        for n in 1..=mailboxes {
            let mailbox = format!("user{n}");
            for i in 0..each {
                let mail = all.mail.next();
                let folder = if i % 3 == 0 { "Projects" } else { "INBOX" };
                all.add(dir, &mailbox, folder, &mail);
                if i % 10 == 4 {
                    all.add(dir, &mailbox, folder, &mail); // its twin, to the last octet
                }
            }
        }
        let mut large = all.mail.with_attachment(9_000_000);
        large.received = 1_000_000_000; // the oldest goes first
        all.add(dir, "user1", "INBOX", &large);
        all
    }

    /// Every message is there once, every copy is complete, and the mock has nothing to complain of.
    fn compare(&self, truth: &Truth) {
        let mut stamps = BTreeSet::new();
        let mut seen = Vec::new();
        for (mailbox, store) in &truth.mailboxes {
            for (folder, held) in &store.folders {
                for message in &held.messages {
                    let subject = message.subject.clone().unwrap_or_default();
                    let id = Some(message.internet_message_id.clone());
                    let mut attachments: Vec<(String, String)> =
                        message.attachments.iter().map(|a| (a.name.clone(), a.digest.clone())).collect();
                    attachments.sort();
                    let id = id.filter(|id| self.expected.iter().any(|e| e.3.as_ref() == Some(id)));
                    seen.push((mailbox.clone(), folder.clone(), subject, id, attachments));
                    let values: Vec<&String> = message.named.values().collect();
                    assert_eq!(values.len(), 1, "one stamp: {:?}", message.named);
                    assert!(values[0].ends_with("/done"), "incomplete: {}", values[0]);
                    assert!(stamps.insert(values[0].clone()), "twice: {}", values[0]);
                }
            }
        }
        let (seen, expected) = (counted(seen), counted(self.expected.iter().cloned()));
        for (message, count) in &expected {
            assert_eq!(seen.get(message).copied().unwrap_or(0), *count, "{message:?}");
        }
        assert_eq!(seen.len(), expected.len(), "nothing else is there");
        assert_eq!(truth.counters.violations, BTreeMap::new());
    }
}

fn configure(dir: &Path, graph: &GraphProcess, mailboxes: usize) {
    let config = format!(
        "source_name = \"acme\"\n[run]\nsettle = \"200ms\"\n[source.old]\nkind = \"maildir\"\nroot = \"in\"\n\
         [target.new]\nkind = \"graph\"\ntenant = \"contoso\"\nclient_id = \"mover\"\n\
         client_secret = {{ file = \"secret\" }}\nbase_url = \"{0}/v1.0\"\nauthority = \"{0}\"\n",
        graph.base_url
    );
    fs::write(dir.join("mailwave.toml"), config).unwrap();
    fs::write(dir.join("secret"), "secret\n").unwrap();
    fs::set_permissions(dir.join("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let rows: String = (1..=mailboxes).map(|n| format!("user{n},user{n}@example.org\n")).collect();
    fs::write(dir.join("mailboxes.csv"), format!("source,target\n{rows}")).unwrap();
}

/// Runs to the end, then once more: the second writes nothing, and everything is at the target once.
fn finish(dir: &Path, graph: &GraphProcess, made: &Mailboxes) {
    let (code, last, err) = Running::start(dir).end();
    assert_eq!(code, 0, "{last}\n{err}");
    made.compare(&graph.settled());
    let before = graph.counters().writes();
    let (code, again, err) = Running::start(dir).end();
    assert_eq!(code, 0, "{again}\n{err}");
    let messages = &again["messages"];
    assert_eq!(messages["already_there"], made.expected.len(), "{again}");
    for written in ["stored", "moved", "removed", "reflagged", "skipped", "unknown"] {
        assert_eq!(messages[written], 0, "{written}: {again}");
    }
    assert_eq!(graph.counters().writes(), before, "the last run writes nothing");
    made.compare(&graph.settled());
}

/// When to kill: all counted from the start of the run that is killed.
#[derive(Debug)]
enum Moment {
    /// The ledger's file is there.
    LedgerBegun,
    /// An upload session was opened.
    Uploading,
    /// The target was asked so often.
    Asked(u64),
    /// So many messages were made.
    Made(u64),
}

#[test]
fn killed_at_20_random_moments_it_ends_with_every_message_once() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let made = Mailboxes::make(dir, seed, MAILBOXES, 42);
    let options = json!({ "seed": seed, "latency": { "base_ms": 60, "jitter_ms": 60, "per_mib_ms": 40 } });
    let graph = GraphProcess::start(dir, &options);
    configure(dir, &graph, MAILBOXES);

    // 20 kills must not outrun the work: a run may make at most so many messages, and a few more before it dies.
    let share = made.expected.len() as u64 * 2 / 3 / KILLS as u64;
    let mut told = Vec::new();
    for kill in 0..KILLS {
        let moment = match kill {
            0 => Moment::LedgerBegun,
            1 => Moment::Uploading,
            n if n % 3 == 0 => Moment::Asked(dice.u64(1..=60)),
            _ => Moment::Made(dice.u64(1..=share)),
        };
        let before = graph.counters();
        let mut run = Running::start(dir);
        until(&format!("{moment:?}"), || {
            let now = graph.counters();
            let come = match moment {
                Moment::LedgerBegun => dir.join("mailwave-ledger/ledger.db").exists(),
                Moment::Uploading => now.upload_sessions > before.upload_sessions,
                Moment::Asked(n) => now.requests >= before.requests + n,
                Moment::Made(n) => now.creates >= before.creates + n,
            };
            (come || run.ended().is_some()).then_some(())
        });
        // Between two looks of ours the program goes on: what it is at when it dies is left to chance.
        std::thread::sleep(Duration::from_millis(dice.u64(0..40)));
        run.kill();
        let now = graph.counters();
        told.push(format!("{moment:?}: {} asked, {} made", now.requests, now.creates));
    }
    println!("killed {KILLS} times:\n{}", told.join("\n"));
    let creates = graph.counters().creates;
    assert!(creates < made.expected.len() as u64, "work was left when the last run was killed: {creates}");
    finish(dir, &graph, &made);
    assert!(graph.counters().upload_sessions > 1, "the upload session was cut and begun again");
}

#[test]
fn an_interrupt_drains_says_how_to_go_on_and_the_next_run_completes() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let made = Mailboxes::make(dir, 7, 6, 240);
    let graph = GraphProcess::start(dir, &json!({ "latency": { "base_ms": 80 } }));
    configure(dir, &graph, 6);

    let mut run = Running::start(dir);
    until("some messages to be made", || {
        assert!(run.ended().is_none(), "{}", run.talk());
        (graph.counters().creates >= 10).then_some(())
    });
    run.interrupt();
    let (code, json, err) = run.end();
    assert_eq!(code, 75, "{json}\n{err}");
    assert_eq!(json["exit_code"], 75);
    assert_eq!(json["messages"]["unknown"], 0, "what was under way was finished: {json}");
    let told = "draining: what is under way is finished and recorded (again: stops at once)\n";
    assert!(err.contains(told), "{err}");
    assert!(err.contains("run the same command"), "how to go on: {err}");
    // A drained run leaves nothing to find out: what it says it stored is what is there.
    let there: usize =
        graph.settled().mailboxes.values().flat_map(|m| m.folders.values()).map(|f| f.messages.len()).sum();
    assert_eq!(json["messages"]["stored"], there, "{json}");
    assert!(there < made.expected.len(), "it stopped before its end");

    finish(dir, &graph, &made);
}

#[test]
fn a_second_interrupt_stops_at_once_and_what_was_under_way_is_found_by_the_next_run() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let made = Mailboxes::make(dir, 8, 6, 6);
    let graph = GraphProcess::start(dir, &json!({}));
    configure(dir, &graph, 6);
    // The service does the work, but its answers take longer than anybody's patience.
    let slow = FaultRule {
        name: "slow".into(),
        method: "POST".into(),
        path: "/messages".into(),
        when: When::Always,
        at_most: 0,
        fault: Fault::Slow { ms: 100_000 },
    };
    graph.faults(&FaultScript { seed: 1, rules: vec![slow] });

    let mut run = Running::start(dir);
    until("a message whose answer is not there yet", || {
        assert!(run.ended().is_none(), "{}", run.talk());
        (graph.counters().creates > 0).then_some(())
    });
    run.interrupt();
    until("the run to say that it drains", || run.talk().contains("draining:").then_some(()));
    assert!(run.ended().is_none(), "it waits for the answer");
    // A second signal within half a second counts as an echo of the first, so it is sent until it is heard.
    let status = until("the run to stop at once", || {
        run.interrupt();
        std::thread::sleep(Duration::from_millis(20));
        run.ended()
    });
    assert_eq!(status.code(), Some(75), "{}", run.talk());
    assert!(run.talk().ends_with("stopped at once; run the same command to go on\n"), "{}", run.talk());
    drop(run);

    graph.faults(&FaultScript::default());
    finish(dir, &graph, &made);
}

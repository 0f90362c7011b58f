//! The cases: fixed input, one thread, no clock.

use std::future::Future;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mailwave::env::{Env, Step, StepObserver};
use mailwave::limit::{Answer, Cost, Gate, LimitSettings, Limits, TargetLimits};
use mailwave::model::{
    Bodies, Body, Digest, Flags, FolderId, Form, MailboxKey, Outcome, RunSet, SourceName, Stamp, Timestamp,
    WriteMode,
};
use mailwave::source::Fetched;
use mailwave::target::graph::{GraphSettings, GraphTarget, TokenSettings};
use mailwave::target::{StoreItem, Target, TargetFolderId};
use mailwave::transform::base64::Content;
use mailwave::transform::graph::{Bounds, Input, Original, build};
use mailwave::transform::import_mime;
use mailwave::transform::octets::Octets;

use crate::all_is_well::AllIsWell;
use crate::canned::{self, Held};
use crate::ledger;
use crate::mailgen::MailGen;
use crate::wave::Wave;

/// One hot path.
pub struct Case {
    pub name: &'static str,
    /// What is counted once.
    pub of: &'static str,
    /// Times in the two runs whose difference counts: what is prepared costs the same in both.
    pub times: (u32, u32),
    pub work: fn(u32),
}

const fn case(name: &'static str, of: &'static str, times: (u32, u32), work: fn(u32)) -> Case {
    Case { name, of, times, work }
}

pub const ALL: &[Case] = &[
    case("fetch-small", "IMAP: 200 messages of 2 KB fetched", (2, 12), |times| fetch(200, 2_000, times)),
    case("fetch-large", "IMAP: 4 messages of 1 MB fetched", (1, 3), |times| fetch(4, 1_000_000, times)),
    case("list-messages", "IMAP: 10,000 messages listed", (1, 3), list_messages),
    case("list-folders", "IMAP: 40 folders listed with their status", (10, 60), list_folders),
    case("json-plain", "transform to JSON: 2 KB of text", (50, 1050), |times| json(&plain(), times)),
    case("json-html", "transform to JSON: 20 KB of HTML", (10, 210), |times| json(&html(), times)),
    case("json-attachment", "transform to JSON: 75 KB with a file", (10, 110), |times| {
        json(&mail(75_000), times)
    }),
    case("json-large", "transform to JSON: 3 MB with a file", (1, 6), |times| json(&mail(3_000_000), times)),
    case("import-mime", "transform to importMime: 75 KB", (10, 210), import),
    case("base64-encode", "1 MB encoded", (1, 11), |times| {
        let content = Content::from(octets(1_000_000));
        repeat(times, || drop(black_box(pushed(&content))));
    }),
    case("base64-pass", "1 MB of base64 looked through and passed on", (1, 11), |times| {
        let body = Octets::from(wrapped(1_000_000));
        repeat(times, || drop(black_box(pushed(&Content::from_base64(black_box(&body)).unwrap().0))));
    }),
    case("base64-decode", "1 MB decoded", (1, 11), |times| {
        let body = Octets::from(wrapped(1_000_000));
        repeat(times, || {
            drop(black_box(Content::from_base64(black_box(&body)).unwrap().0.octets().unwrap()))
        });
    }),
    case("digest", "1 MB digested", (1, 11), |times| {
        let octets = octets(1_000_000);
        repeat(times, || _ = black_box(Digest::of(black_box(&octets))));
    }),
    case("stamp", "a stamp written and read", (100, 5_100), |times| {
        let stamp = stamp(42);
        repeat(times, || _ = black_box(black_box(&stamp).to_string().parse::<Stamp>().unwrap()));
    }),
    case("runs", "10,000 numbers with holes made runs, written and read", (2, 22), runs),
    case("limit", "reserved, admitted, finished, at the limits of one mailbox", (1_000, 21_000), limit),
    case("store-json", "Graph: 20 messages of 2 KB stored, requests and answers", (5, 55), |times| {
        store(&[WriteMode::Json], times);
    }),
    case("store-import-mime", "Graph: the same by importMime", (5, 55), |times| {
        store(&[WriteMode::ImportMime, WriteMode::Json], times);
    }),
    case("ledger-batch", "intent and outcomes of 20 messages", (20, 120), ledger::batches),
    case("ledger-facts", "10,000 facts read", (1, 5), ledger::facts),
    case("ledger-mailbox", "a finished mailbox of 40 folders loaded and stored", (5, 55), ledger::mailbox),
    case("pass-new", "a mailbox of 50 messages copied, target included", (2, 12), |times| {
        Wave { mailboxes: times, messages: 50, ..Wave::default() }.travel();
    }),
    case("pass-unchanged", "a mailbox of 1,000 messages looked through, target included", (1, 4), |times| {
        Wave { mailboxes: 1, messages: 1_000, passes: 1 + times, ..Wave::default() }.travel();
    }),
];

fn repeat(times: u32, mut work: impl FnMut()) {
    (0..times).for_each(|_| work());
}

/// One thread under virtual time.
pub fn run<T>(work: impl AsyncFnOnce(Env) -> T) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { work(Env::simulated(1, 1_795_219_200_000, Arc::new(Uncut))).await })
}

struct Uncut;

impl StepObserver for Uncut {
    fn pass(&self, _: Step) -> bool {
        true
    }
}

pub fn source_name() -> SourceName {
    "bench".parse().unwrap()
}

fn stamp(number: u64) -> Stamp {
    let source = source_name();
    let mailbox = MailboxKey::of(&source, "ann@example.org");
    Stamp { source, mailbox, folder: FolderId(7), epoch: 1_700_000_000, number }
}

/// Octets that hold all values.
fn octets(size: usize) -> Bytes {
    let mut dice = fastrand::Rng::with_seed(5);
    (0..size).map(|_| dice.u8(..)).collect()
}

/// The same, as an encoder writes them into a message.
fn wrapped(size: usize) -> Bytes {
    let text = encodify::base64::STANDARD.encode(octets(size));
    text.as_bytes().chunks(76).flat_map(|line| [line, b"\r\n"].concat()).collect()
}

fn pushed(content: &Content) -> String {
    let mut out = String::new();
    content.push_base64(&mut out).unwrap();
    out
}

const HEAD: &str = "Return-Path: <ann@example.org>\r\n\
    Received: from relay.example.org by mx.example.org; Thu, 3 Jan 2008 10:00:00 +0100\r\n\
    From: \"Ann Example\" <ann@example.org>\r\nTo: bob@example.org, \"Carol, D.\" <carol@example.org>\r\n\
    Cc: =?utf-8?q?J=C3=BCrgen?= <juergen@example.org>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= from the sea\r\n\
    Date: Thu, 3 Jan 2008 10:00:00 +0100\r\nMessage-ID: <1.5eed@example.org>\r\nMIME-Version: 1.0\r\n";

fn plain() -> Bytes {
    let text = "The ferry leaves at nine; whoever is late takes the next one.\r\n".repeat(22);
    format!("{HEAD}Content-Type: text/plain; charset=utf-8\r\n\r\n{text}").into()
}

fn html() -> Bytes {
    let rows: String = (0..180)
        .map(|n| format!("<tr><td class=3D\"n\">{n}</td><td>The ferry leaves at nine, gr=C3=BC=C3=9Fe</td></tr>=\r\n\r\n"))
        .collect();
    format!(
        "{HEAD}Content-Type: multipart/alternative; boundary=\"sea\"\r\n\r\n--sea\r\nContent-Type: text/plain\r\n\r\n\
         The ferry leaves at nine.\r\n--sea\r\nContent-Type: text/html; charset=utf-8\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\n<html><body><table>{rows}</table></body></html>\r\n--sea--\r\n"
    )
    .into()
}

/// A message of about this size, most of it an attachment.
fn mail(size: usize) -> Bytes {
    let attachment = size.saturating_sub(900) * 73 / 100;
    Bytes::from(MailGen::new(1, "example.org").with_attachment(attachment).octets)
}

fn json(octets: &Bytes, times: u32) {
    let (stamp, flags) = (stamp(1), Flags { seen: true, ..Flags::default() });
    repeat(times, || {
        let octets = Octets::from(octets.clone());
        let input = Input {
            octets: &octets,
            stamp: &stamp,
            flags: &flags,
            received: Some(Timestamp::utc(1_700_000_000)),
            bounds: Bounds::default(),
            original: Original::default(),
            plain: false,
        };
        black_box(build(black_box(&input)).unwrap());
    });
}

fn import(times: u32) {
    let (stamp, octets) = (stamp(1), mail(75_000));
    repeat(times, || {
        assert!(
            black_box(import_mime::body(black_box(&octets), &stamp, Bounds::default().request)).is_some()
        );
    });
}

fn fetch(messages: usize, size: u64, times: u32) {
    let line = b"The ferry leaves at nine; whoever is late takes the next one.\r\n";
    let held = Arc::new(Held::messages(vec![size; messages], line));
    run(async |env| {
        let mailbox = canned::mailbox(&env, &held).await;
        let bodies = Bodies { memory_limit: 64 << 20, max: 64 << 20, spool: std::env::temp_dir() };
        for _ in 0..times {
            let fetched = mailbox.fetch(&canned::inbox(), 1, &held.wanted(), &bodies).await.unwrap();
            let whole = |f: &Fetched| matches!(f, Fetched::Message { body, .. } if body.len() == size);
            assert!(fetched.iter().all(whole), "a count of work that was not done says nothing");
        }
    });
}

fn list_messages(times: u32) {
    let held = Arc::new(Held::messages((0..10_000).map(|n| 2_000 + n * 7).collect(), b""));
    run(async |env| {
        let mailbox = canned::mailbox(&env, &held).await;
        for _ in 0..times {
            let mut listed = 0;
            mailbox.list(&canned::inbox(), None, &mut |_| listed += 1).await.unwrap();
            assert_eq!(listed, 10_000);
        }
    });
}

fn list_folders(times: u32) {
    let answers: String = (0..40)
        .map(|n| {
            let name = if n == 0 { "INBOX".to_owned() } else { format!("Projects/2026/Number {n}") };
            format!(
                "* LIST (\\HasNoChildren) \"/\" \"{name}\"\r\n* STATUS \"{name}\" (MESSAGES {n} UIDNEXT {} \
                 UIDVALIDITY {} HIGHESTMODSEQ {})\r\n",
                n + 1,
                1_700_000_000 + n,
                90_000 + n
            )
        })
        .collect();
    let held = Arc::new(Held::folders(answers));
    run(async |env| {
        let mailbox = canned::mailbox(&env, &held).await;
        for _ in 0..times {
            let folders = mailbox.folders().await.unwrap();
            // The parents that were not listed are there too.
            assert!(folders.iter().filter(|f| f.counters.is_some()).count() == 40);
        }
    });
}

fn runs(times: u32) {
    let mut dice = fastrand::Rng::with_seed(3);
    let numbers: Vec<u64> = (1..=14_000).filter(|_| dice.u32(..100) < 70).collect();
    repeat(times, || {
        let runs: RunSet = black_box(&numbers).iter().copied().collect();
        assert_eq!(RunSet::decode(&runs.encode()).unwrap().len(), numbers.len() as u64);
    });
}

/// Four at a time, so many that both windows bind again and again.
fn limit(times: u32) {
    run(async |env| {
        let targets =
            [("new".to_owned(), TargetLimits { in_flight: 3_000, ..TargetLimits::default() })].into();
        let limits =
            Limits::new(&env, LimitSettings { targets, memory_bytes: 256 << 20, ..LimitSettings::default() });
        let gate = limits.gate("new", "ann@example.org");
        let one = async |env: Env, gate: Arc<Gate>, n: u64| {
            let bytes = 2_000 + n % 13 * 9_000;
            let ticket = gate.reserve(Cost { requests: 2, upload_bytes: bytes }).await;
            let memory = limits.memory(bytes).await;
            for part in [bytes, 0] {
                let slot = gate.admit(&ticket, part).await;
                env.sleep(Duration::from_millis(1 + n % 5)).await;
                slot.finish(Answer::Served);
            }
            drop(memory);
        };
        let lanes = (0..4u64).map(|lane| {
            let (env, gate, one) = (env.clone(), gate.clone(), &one);
            async move {
                for n in (lane..u64::from(times)).step_by(4) {
                    one(env.clone(), gate.clone(), n).await;
                }
            }
        });
        all(lanes).await;
    });
}

async fn all(some: impl Iterator<Item = impl Future<Output = ()>>) {
    futures_util::future::join_all(some).await;
}

fn store(modes: &[WriteMode], times: u32) {
    let items: Vec<StoreItem> = (1..=20)
        .map(|number| StoreItem {
            stamp: stamp(number),
            body: Body::from_bytes(plain()),
            form: Form::Mime,
            flags: Flags { seen: true, ..Flags::default() },
            received: Some(Timestamp::utc(1_700_000_000)),
        })
        .collect();
    run(async |env| {
        let mut settings =
            GraphSettings::new("https://graph.test/v1.0", TokenSettings::Static("token".into()));
        settings.modes = modes.to_vec();
        let target = GraphTarget::new(&env, Arc::new(AllIsWell::default()), settings).unwrap();
        let gate = Gate::unlimited(&env);
        let mailbox = target.open("ann@example.org", "", gate.clone()).await.unwrap();
        let folder = TargetFolderId("box".to_owned());
        for _ in 0..times {
            let outcomes = mailbox.store(&folder, items.clone(), gate.lookup()).await;
            assert!(outcomes.iter().all(|o| matches!(o, Outcome::Stored { .. })), "work that was not done");
        }
    });
}

//! What the parts of the road cost on this machine. Each figure is the median of rounds in which all cases take turns,
//! so that a busy moment hits them alike. Nothing is asserted: compare with a run on the same machine.
//!
//! `cargo bench --bench road`
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)]
#[path = "../tests/it/support/mailgen.rs"]
mod mailgen;
#[allow(dead_code)]
#[path = "../tests/it/support/memory.rs"]
mod memory;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::join_all;
use mailwave::engine::{self, Options, Parts, Stop, Unwatched};
use mailwave::env::Env;
use mailwave::http::{Delivery, InProcess};
use mailwave::ledger::sqlite::{LedgerOptions, SqliteLedger};
use mailwave::ledger::{Applied, Change, Claim, FolderRow, IntentItem, Ledger, Outcomes, Stored};
use mailwave::limit::Limits;
use mailwave::mock::Wire;
use mailwave::mock::graph::{GraphMock, GraphOptions};
use mailwave::mock::server::RealWorld;
use mailwave::model::{
    Bodies, Digest, Fact, Flags, FolderId, FolderPath, Mailbox, MailboxKey, SourceId, SourceName, Stamp,
    Timestamp,
};
use mailwave::target::graph::{GraphSettings, GraphTarget, TokenSettings};
use mailwave::transform::graph::{Bounds, Input, Original, build};
use mailwave::transform::octets::Octets;

use mailgen::MailGen;
use memory::{MemorySource, Store};

const ROUNDS: usize = 5;
/// Octets of the messages transformed, and how many make one sample.
const SIZES: [(usize, u32); 3] = [(2_000, 4_000), (75_000, 400), (3_000_000, 8)];
/// Callers of the ledger at once, and batches each of them makes in one sample.
const CALLERS: [(usize, usize); 3] = [(1, 10), (100, 5), (400, 2)];
const BATCH: u64 = 20;
const ROAD_MAILBOXES: usize = 8;
const ROAD_MESSAGES: usize = 150;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let env = Env::system();
        let mails: Vec<Bytes> = SIZES.iter().map(|(size, _)| mail(*size)).collect();
        let mut taken: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for round in 0..=ROUNDS {
            let mut note = |case: String, seconds: f64| {
                if round > 0 {
                    taken.entry(case).or_default().push(seconds); // the first round warms up
                }
            };
            for (octets, (size, times)) in mails.iter().zip(SIZES) {
                note(format!("transform {size}"), timed(&env, || transform(octets), times));
                note(format!("floor {size}"), timed(&env, || floor(octets), times));
            }
            for (callers, batches) in CALLERS {
                note(format!("ledger {callers}"), ledger(&env, callers, batches).await);
            }
            note("road".to_owned(), road(&env).await);
        }
        let median = |case: &str| {
            let mut all = taken[case].clone();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        println!("medians of {ROUNDS} rounds; one thread where nothing else is said\n");
        println!("message to Graph JSON        MB/s   µs/message   of base64 + BLAKE3 of the same octets");
        for (octets, (size, _)) in mails.iter().zip(SIZES) {
            let (own, floor) = (median(&format!("transform {size}")), median(&format!("floor {size}")));
            let rate = octets.len() as f64 / own / 1e6;
            println!("{:>12} octets {rate:>14.0} {:>12.1} {:>10.2} x", octets.len(), own * 1e6, own / floor);
        }
        println!("\nledger: intent and outcome of {BATCH} messages, each synced, by callers at once");
        for (callers, batches) in CALLERS {
            let messages = (callers * batches) as f64 * BATCH as f64;
            println!("{callers:>12} callers {:>13.0} messages/s", messages / median(&format!("ledger {callers}")));
        }
        let messages = (ROAD_MAILBOXES * ROAD_MESSAGES) as f64;
        println!("\nthe whole road, {ROAD_MAILBOXES} mailboxes in memory to Graph's mock in this process, ledger synced");
        println!("{:>34.0} messages/s", messages / median("road"));
    });
}

/// Seconds of one call, as the mean of `times`.
fn timed(env: &Env, mut work: impl FnMut(), times: u32) -> f64 {
    let began = env.now();
    (0..times).for_each(|_| work());
    (env.now() - began).as_secs_f64() / f64::from(times)
}

/// A message of about this size, most of it an attachment.
fn mail(size: usize) -> Bytes {
    let attachment = size.saturating_sub(900) * 73 / 100;
    Bytes::from(MailGen::new(1, "example.org").with_attachment(attachment).octets)
}

fn source_name() -> SourceName {
    "bench".parse().unwrap()
}

fn transform(octets: &Bytes) {
    let source = source_name();
    let stamp =
        Stamp { mailbox: MailboxKey::of(&source, "ann"), source, folder: FolderId(1), epoch: 1, number: 1 };
    let flags = Flags { seen: true, ..Flags::default() };
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
}

fn floor(octets: &Bytes) {
    black_box(encodify::base64::STANDARD.encode(black_box(octets)));
    black_box(Digest::of(black_box(octets)));
}

/// Seconds in which `callers` mailboxes record `batches` batches each.
async fn ledger(env: &Env, callers: usize, batches: usize) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let options = LedgerOptions::new(source_name(), "bench");
    let ledger = Arc::new(SqliteLedger::open(env, &dir.path().join("ledger"), options).unwrap());
    let ready = join_all((0..callers).map(async |n| {
        let claim = ledger.claim(&mailbox(n)).await.unwrap();
        let row = FolderRow {
            id: None,
            path: FolderPath::inbox(),
            special: None,
            object_id: None,
            epoch: 1,
            target_folder: "inbox".to_owned(),
        };
        match ledger.apply(&claim, Change::Folder(row)).await.unwrap() {
            Applied::Folder(folder) => (claim, folder),
            other => panic!("{other:?}"),
        }
    }))
    .await;
    let began = env.now();
    let tasks = ready.into_iter().map(|(claim, folder)| {
        let ledger = ledger.clone();
        env.spawn(async move {
            for batch in 0..batches as u64 {
                record(&ledger, &claim, folder, batch * BATCH).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    (env.now() - began).as_secs_f64()
}

/// One batch: what is about to be moved, and that it was.
async fn record(ledger: &SqliteLedger, claim: &Claim, folder: FolderId, above: u64) {
    let numbers = above + 1..=above + BATCH;
    let items =
        numbers.clone().map(|number| IntentItem { number, id: SourceId::Number(number), size: Some(75_000) });
    let intent = Change::Intent { folder, epoch: 1, anchor: String::new(), items: items.collect() };
    let Applied::Batch(batch) = ledger.apply(claim, intent).await.unwrap() else { panic!("no batch") };
    let stored = numbers.map(|number| Stored {
        fact: Fact {
            epoch: 1,
            number,
            name: String::new(),
            target_id: format!("AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A-{number:020}"),
            digest: Some(Digest::of(&number.to_le_bytes())),
            size: 75_000,
            received: Some(Timestamp::utc(1_700_000_000)),
            header: 0,
            object: 0,
            bound: None,
            losses: String::new(),
            mode: mailwave::model::WriteMode::Usual,
        },
        from: number,
        flags: Flags { seen: true, ..Flags::default() },
    });
    let outcomes = Outcomes { stored: stored.collect(), ..Outcomes::default() };
    ledger.apply(claim, Change::Outcome { batch, outcomes }).await.unwrap();
}

fn mailbox(n: usize) -> Mailbox {
    let name = format!("user{n}@example.org");
    Mailbox {
        key: MailboxKey::of(&source_name(), &name),
        source: name.clone(),
        target: name,
        source_endpoint: "memory".to_owned(),
        target_endpoint: "graph".to_owned(),
        target_place: String::new(),
        wave: String::new(),
        priority: 0,
    }
}

/// Seconds in which the engine moves a small wave from memory to the mock, from nothing to its verdicts.
async fn road(env: &Env) -> f64 {
    let mut store = Store::default();
    for n in 0..ROAD_MAILBOXES {
        let mut mails = MailGen::new(n as u64, "example.org");
        for _ in 0..ROAD_MESSAGES {
            let mail = mails.next();
            store.add(&mailbox(n).source, "INBOX", mail.octets, &mail.flags, mail.received);
        }
    }
    let mock =
        GraphMock::new(GraphOptions { keep_content: false, ..GraphOptions::default() }, Arc::new(RealWorld));
    let served = mock.clone();
    let http = InProcess::new(env, move |request| {
        let served = served.clone();
        async move {
            match served.handle(request).await {
                Wire::Answered(response) => Delivery::Answered(response),
                Wire::NeverArrived => Delivery::NeverArrived,
                Wire::NoAnswer => Delivery::NoAnswer,
            }
        }
    });
    let token = TokenSettings::ClientCredentials {
        token_url: "https://graph.test/tenant/oauth2/v2.0/token".to_owned(),
        client_id: "bench".to_owned(),
        client_secret: "secret".into(),
        scope: "https://graph.microsoft.com/.default".to_owned(),
    };
    let settings = GraphSettings::new("https://graph.test/v1.0", token);
    let target = GraphTarget::new(env, Arc::new(http), settings).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let options = LedgerOptions::new(source_name(), "bench");
    let parts = Parts {
        env: env.clone(),
        source_name: source_name(),
        sources: BTreeMap::from([(
            "memory".to_owned(),
            Arc::new(MemorySource(Arc::new(Mutex::new(store)))) as _,
        )]),
        targets: BTreeMap::from([("graph".to_owned(), Arc::new(target) as _)]),
        limits: Limits::unlimited(env),
        ledger: Arc::new(SqliteLedger::open(env, &dir.path().join("ledger"), options).unwrap()),
        bodies: Bodies { memory_limit: 1 << 20, max: 200 << 20, spool: dir.path().to_path_buf() },
        options: Options::default(),
    };
    let mailboxes = (0..ROAD_MAILBOXES).map(mailbox).collect();
    let began = env.now();
    let result = engine::run(Arc::new(parts), mailboxes, Arc::new(Unwatched), Stop::default()).await;
    let seconds = (env.now() - began).as_secs_f64();
    let stored: u64 = result.mailboxes.iter().map(|m| m.summary.stored).sum();
    assert_eq!(
        stored,
        (ROAD_MAILBOXES * ROAD_MESSAGES) as u64,
        "a figure for work that was not done says nothing"
    );
    seconds
}

//! What it costs to make requests of messages, for Graph in its write modes and for EWS: the transform, and the whole store
//! up to where TLS would begin, with the requests of messages that need several; and how much memory a message takes. The messages are the seeded corpus; the processor time is that of the
//! one thread that works. Each figure is the median of rounds in which all cases take turns. Nothing is asserted about
//! time: compare within one run.
//!
//! `cargo bench --bench transform`
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "common/all_is_well.rs"]
mod all_is_well;
#[path = "../tests/it/support/corpus.rs"]
mod corpus;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mailwave::env::Env;
use mailwave::limit::Gate;
use mailwave::model::{
    Bodies, Body, Digest, Flags, FolderId, Form, MailboxKey, Outcome, SourceName, Stamp, Timestamp, WriteMode,
};
use mailwave::target::ews::{EwsLogin, EwsSettings, EwsTarget};
use mailwave::target::graph::{GraphSettings, GraphTarget, TokenSettings};
use mailwave::target::{StoreItem, Target, TargetFolderId, TargetMailbox};
use mailwave::transform::graph::{Bounds, Input, Original, build};
use mailwave::transform::octets::Octets;
use mailwave::transform::{ews, import_mime};

use all_is_well::AllIsWell;

const ROUNDS: usize = 5;
/// Octets of the corpus, about, and its mailboxes.
const OCTETS: u64 = 320_000_000;
const MAILBOXES: usize = 4;
/// Messages of 12 KB.
const SMALL: usize = 4_000;
const SMALL_SIZE: usize = 12_000;

/// Processor time of this thread, user and system.
fn used() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

fn taken(work: impl FnOnce()) -> f64 {
    let before = used();
    work();
    (used() - before).as_secs_f64()
}

fn items(mails: impl Iterator<Item = corpus::CorpusMail>) -> Vec<StoreItem> {
    let source: SourceName = "bench".parse().unwrap();
    let mailbox = MailboxKey::of(&source, "ann");
    (1..)
        .zip(mails.filter(|m| !m.octets.is_empty()))
        .map(|(number, mail)| {
            let mut flags = Flags::default();
            mail.flags.iter().for_each(|f| flags.add(f));
            StoreItem {
                stamp: Stamp {
                    source: source.clone(),
                    mailbox: mailbox.clone(),
                    folder: FolderId(1),
                    epoch: 1,
                    number,
                },
                body: Body::from_bytes(Bytes::from(mail.octets)),
                form: Form::Mime,
                flags,
                received: Some(Timestamp::utc(mail.received)),
            }
        })
        .collect()
}

/// The first request of each message, nothing else.
fn transform(items: &[StoreItem]) {
    for item in items {
        let octets = Octets::of(&item.body).unwrap();
        let input = Input {
            octets: &octets,
            stamp: &item.stamp,
            flags: &item.flags,
            received: item.received,
            bounds: Bounds::default(),
            original: Original::default(),
            plain: false,
        };
        black_box(build(black_box(&input)).unwrap());
    }
}

/// The body of `importMime` of each message that fits.
fn transform_mime(items: &[StoreItem]) {
    for item in items {
        let octets = item.body.bytes().unwrap();
        black_box(import_mime::body(black_box(&octets), &item.stamp, Bounds::default().request));
    }
}

/// The part of a `CreateItem` that is one message.
fn transform_ews(items: &[StoreItem]) {
    for item in items {
        let octets = item.body.bytes().unwrap();
        let mut out = String::with_capacity(usize::try_from(ews::wire_size(item.body.len())).unwrap());
        let input =
            ews::Input { octets: &octets, stamp: &item.stamp, flags: &item.flags, received: item.received };
        black_box(ews::message(&mut out, black_box(&input)).unwrap());
        black_box(out);
    }
}

struct Store {
    http: Arc<AllIsWell>,
    mailbox: Arc<dyn TargetMailbox>,
    gate: Arc<Gate>,
}

impl Store {
    /// Graph, by the first of these modes that takes a message.
    async fn graph(env: &Env, modes: &[WriteMode]) -> Store {
        let http = Arc::new(AllIsWell::default());
        let mut settings =
            GraphSettings::new("https://graph.test/v1.0", TokenSettings::Static("token".into()));
        settings.modes = modes.to_vec();
        let target = GraphTarget::new(env, http.clone(), settings).unwrap();
        Store::of(env, http, &target).await
    }

    async fn exchange(env: &Env) -> Store {
        let http = Arc::new(AllIsWell::default());
        let login = EwsLogin::Token(TokenSettings::Static("token".into()));
        let settings = EwsSettings::new("https://mail.test/EWS/Exchange.asmx", login);
        let target = EwsTarget::new(env, http.clone(), settings).unwrap();
        Store::of(env, http, &target).await
    }

    async fn of(env: &Env, http: Arc<AllIsWell>, target: &dyn Target) -> Store {
        let gate = Gate::unlimited(env);
        let mailbox = target.open("ann@example.org", "", gate.clone()).await.unwrap();
        Store { http, mailbox, gate }
    }

    /// Stores all, in batches of twenty; gives the seconds it took.
    async fn store(&self, items: &[StoreItem]) -> f64 {
        let folder = TargetFolderId("box".to_owned());
        let before = used();
        for batch in items.chunks(20) {
            let outcomes = self.mailbox.store(&folder, batch.to_vec(), self.gate.lookup()).await;
            assert!(outcomes.iter().all(|o| matches!(o, Outcome::Stored { .. })), "work that was not done");
        }
        (used() - before).as_secs_f64()
    }
}

/// A spooled message of about `size` octets, most of it one attachment.
fn large(size: usize) -> StoreItem {
    let bodies = Bodies { memory_limit: 0, max: 1 << 30, spool: std::env::temp_dir() };
    let mut writer = bodies.begin(1).unwrap();
    writer.write_all(b"Subject: large\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: application/x; name=x\r\nContent-Transfer-Encoding: base64\r\n\r\n").unwrap();
    let line = [&[b'A'; 76][..], b"\r\n"].concat();
    let lines = line.repeat(1000);
    (0..size / lines.len()).for_each(|_| writer.write_all(&lines).unwrap());
    writer.write_all(b"--b--\r\n").unwrap();
    let mail =
        corpus::CorpusMail { folder: 0, octets: b"x".to_vec(), flags: &[], received: 0, kind: "large" };
    let mut item = items(std::iter::once(mail)).remove(0);
    item.body = writer.finish().unwrap();
    item
}

/// Megabytes of memory this process has held at most since [`forget_peak`], and holds now.
fn memory(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1e3
}

fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// Megabytes a store holds above what was held before.
async fn held(store: &Store, item: StoreItem) -> f64 {
    store.store(std::slice::from_ref(&item)).await;
    forget_peak();
    let before = memory("VmRSS");
    store.store(&[item]).await;
    memory("VmHWM") - before
}

const JSON: &[WriteMode] = &[WriteMode::Json];
const IMPORT_MIME: &[WriteMode] = &[WriteMode::ImportMime, WriteMode::Json];

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Before anything else is held: the largest message each mode takes, spooled.
    let mut held_by = Vec::new();
    for (mode, size) in [("json", 148 << 20), ("import-mime", 2_900_000), ("ews", 47_000_000)] {
        let item = large(size);
        let octets = item.body.len() as f64 / 1e6;
        let above = runtime.block_on(async {
            let env = Env::system();
            let store = match mode {
                "json" => Store::graph(&env, JSON).await,
                "import-mime" => Store::graph(&env, IMPORT_MIME).await,
                _ => Store::exchange(&env).await,
            };
            held(&store, item).await
        });
        held_by.push((mode, octets, above));
    }
    let extent = corpus::Extent { seed: 1, mailboxes: MAILBOXES, octets: OCTETS };
    let all = items((0..MAILBOXES).flat_map(|n| extent.mailbox(n)));
    let mut free = corpus::MailboxMail::free(2);
    let small = items((0..SMALL).map(|_| free.sized(SMALL_SIZE)));
    let profile = corpus::Profile::of(all.iter().map(|i| i.body.len()).collect());
    let gigabytes = profile.octets as f64 / 1e9;
    // `importMime` takes what fits one request; the rest goes by `json`.
    let fits: Vec<StoreItem> = all
        .iter()
        .filter(|i| import_mime::wire_len(i.body.len()) <= Bounds::default().request as u64)
        .cloned()
        .collect();
    let gigabytes_that_fit = fits.iter().map(|i| i.body.len()).sum::<u64>() as f64 / 1e9;
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut sent: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    runtime.block_on(async {
        let env = Env::system();
        let json = Store::graph(&env, JSON).await;
        let mime = Store::graph(&env, IMPORT_MIME).await;
        let ews = Store::exchange(&env).await;
        let floor =
            |work: &dyn Fn(&Bytes)| taken(|| all.iter().for_each(|item| work(&item.body.bytes().unwrap())));
        for round in 0..=ROUNDS {
            let cases = [
                ("1 digest alone", floor(&|o| _ = black_box(Digest::of(black_box(o))))),
                (
                    "2 base64 alone",
                    floor(&|o| _ = black_box(encodify::base64::STANDARD.encode(black_box(o)))),
                ),
                ("3 json: first requests", taken(|| transform(&all))),
                ("4 json: every request, stored", json.store(&all).await),
                ("5 import-mime: bodies of those that fit", taken(|| transform_mime(&fits))),
                ("5a import-mime: those that fit, stored", mime.store(&fits).await),
                ("6 import-mime: every request, stored", mime.store(&all).await),
                ("7 ews: each message", taken(|| transform_ews(&all))),
                ("8 ews: every request, stored", ews.store(&all).await),
                ("small json: first requests", taken(|| transform(&small))),
                ("small json: every request, stored", json.store(&small).await),
                ("small import-mime: every request, stored", mime.store(&small).await),
                ("small ews: every request, stored", ews.store(&small).await),
            ];
            for (case, time) in cases.into_iter().filter(|_| round > 0) {
                times.entry(case).or_default().push(time);
            }
        }
        let rounds = (ROUNDS + 1) as u64;
        let count = |n: &AtomicU64| n.load(Ordering::Relaxed) / rounds;
        for (mode, store) in [("json", &json), ("import-mime", &mime), ("ews", &ews)] {
            sent.insert(mode, (count(&store.http.requests), count(&store.http.octets)));
        }
    });
    println!(
        "{} messages, {:.0} MB (median {} B, {:.0} % in messages over 1 MB), medians of {ROUNDS} rounds, one thread",
        profile.messages,
        gigabytes * 1e3,
        profile.median,
        profile.over_1_mb * 100.0
    );
    println!("{} of them, {:.0} MB, fit one request of importMime", fits.len(), gigabytes_that_fit * 1e3);
    for (mode, (requests, octets)) in &sent {
        println!("a round makes {requests} requests of {:.0} MB, {mode}", *octets as f64 / 1e6);
    }
    println!("{:<42} {:>10} {:>11} {:>11}", "", "CPU s/GB", "of base64", "messages/s");
    let median = |case: &str| {
        let mut all = times[case].clone();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let base = median("2 base64 alone");
    for case in times.keys().filter(|case| !case.starts_with("small")) {
        let time = median(case);
        let fit = case.starts_with('5');
        let (of, messages) = if fit { (gigabytes_that_fit, fits.len()) } else { (gigabytes, all.len()) };
        let cost = time / of;
        println!(
            "{case:<42} {cost:>10.3} {:>10.2}x {:>11.0}",
            cost / (base / gigabytes),
            messages as f64 / time
        );
    }
    println!("messages of {:.1} KB, one core:", small[0].body.len() as f64 / 1e3);
    for case in times.keys().filter(|case| case.starts_with("small")) {
        println!("{case:<42} {:>34.0}", SMALL as f64 / median(case));
    }
    for (mode, octets, above) in held_by {
        println!("memory while a spooled message of {octets:.1} MB is stored, {mode}: {above:.1} MB more");
    }
}

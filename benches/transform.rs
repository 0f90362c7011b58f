//! What it costs to make Graph requests of messages: the transform, and the whole store up to where TLS would begin, with
//! the requests of messages that need several. The messages are the seeded corpus; the processor time is that of the
//! one thread that works. Each figure is the median of rounds in which all cases take turns. Nothing is asserted about
//! time: compare within one run.
//!
//! `cargo bench --bench transform`
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/it/support/corpus.rs"]
mod corpus;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use mailwave::env::Env;
use mailwave::http::{Exchange, HttpClient, HttpError};
use mailwave::limit::Gate;
use mailwave::model::{
    Bodies, Body, Digest, Flags, FolderId, Form, MailboxKey, Outcome, SourceName, Stamp, Timestamp,
};
use mailwave::target::graph::{GraphSettings, GraphTarget, TokenSettings};
use mailwave::target::{StoreItem, Target, TargetFolderId, TargetMailbox};
use mailwave::transform::graph::{Bounds, Input, Original, build};
use mailwave::transform::octets::Octets;

const ROUNDS: usize = 5;
/// Octets of the corpus, about, and its mailboxes.
const OCTETS: u64 = 320_000_000;
const MAILBOXES: usize = 4;
/// Messages of 12 KB.
const SMALL: usize = 4_000;
const SMALL_SIZE: usize = 12_000;

/// Answers as the service does when all is well, and counts what it was sent.
#[derive(Default)]
struct AllIsWell {
    requests: AtomicU64,
    octets: AtomicU64,
}

#[async_trait]
impl HttpClient for AllIsWell {
    async fn execute(&self, request: Request<Bytes>, _: &Exchange) -> Result<Response<Bytes>, HttpError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.octets.fetch_add(request.body().len() as u64, Ordering::Relaxed);
        let path = request.uri().path();
        let (status, body) = match *request.method() {
            Method::GET => (200, r#"{"id":"root"}"#.to_owned()),
            Method::PUT => {
                let range = request.headers()["content-range"].to_str().unwrap();
                let (_, rest) = range.split_once('-').unwrap();
                let (last, total) = rest.split_once('/').unwrap();
                let next = last.parse::<u64>().unwrap() + 1;
                if next == total.parse::<u64>().unwrap() {
                    (201, String::new())
                } else {
                    (200, format!(r#"{{"nextExpectedRanges":["{next}-"]}}"#))
                }
            }
            Method::PATCH => (200, r#"{"id":"m"}"#.to_owned()),
            _ if path.ends_with("createUploadSession") => {
                (201, r#"{"uploadUrl":"https://upload.test/session"}"#.to_owned())
            }
            _ => (201, r#"{"id":"m","parentFolderId":"box"}"#.to_owned()),
        };
        Ok(Response::builder().status(status).body(Bytes::from(body)).unwrap())
    }
}

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

struct Store {
    http: Arc<AllIsWell>,
    mailbox: Arc<dyn TargetMailbox>,
    gate: Arc<Gate>,
}

impl Store {
    async fn new(env: &Env) -> Store {
        let http = Arc::new(AllIsWell::default());
        let token = TokenSettings::Static("token".into());
        let settings = GraphSettings::new("https://graph.test/v1.0", token);
        let gate = Gate::unlimited(env);
        let target = GraphTarget::new(env, http.clone(), settings).unwrap();
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

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let spooled = large(148 << 20);
    let spooled_size = spooled.body.len() as f64 / 1e6;
    let above = runtime.block_on(async { held(&Store::new(&Env::system()).await, spooled).await });
    let extent = corpus::Extent { seed: 1, mailboxes: MAILBOXES, octets: OCTETS };
    let all = items((0..MAILBOXES).flat_map(|n| extent.mailbox(n)));
    let mut free = corpus::MailboxMail::free(2);
    let small = items((0..SMALL).map(|_| free.sized(SMALL_SIZE)));
    let profile = corpus::Profile::of(all.iter().map(|i| i.body.len()).collect());
    let gigabytes = profile.octets as f64 / 1e9;
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let (requests, sent) = runtime.block_on(async {
        let store = Store::new(&Env::system()).await;
        let floor =
            |work: &dyn Fn(&Bytes)| taken(|| all.iter().for_each(|item| work(&item.body.bytes().unwrap())));
        for round in 0..=ROUNDS {
            let cases = [
                ("1 digest alone", floor(&|o| _ = black_box(Digest::of(black_box(o))))),
                (
                    "2 base64 alone",
                    floor(&|o| _ = black_box(encodify::base64::STANDARD.encode(black_box(o)))),
                ),
                ("3 transform: first requests", taken(|| transform(&all))),
                ("4 store: every request, decoded", store.store(&all).await),
                ("small transform", taken(|| transform(&small))),
                ("small store", store.store(&small).await),
            ];
            for (case, time) in cases.into_iter().filter(|_| round > 0) {
                times.entry(case).or_default().push(time);
            }
        }
        let rounds = (ROUNDS + 1) as u64;
        let count = |n: &AtomicU64| n.load(Ordering::Relaxed) / rounds;
        (count(&store.http.requests), count(&store.http.octets))
    });
    println!(
        "{} messages, {:.0} MB (median {} B, {:.0} % in messages over 1 MB), medians of {ROUNDS} rounds, one thread",
        profile.messages,
        gigabytes * 1e3,
        profile.median,
        profile.over_1_mb * 100.0
    );
    println!("a round of both makes {requests} requests of {:.0} MB", sent as f64 / 1e6);
    println!("{:<34} {:>12} {:>12} {:>12}", "", "CPU s/GB", "of base64", "messages/s");
    let median = |case: &str| {
        let mut all = times[case].clone();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let base = median("2 base64 alone");
    for case in times.keys().filter(|case| !case.starts_with("small")) {
        let time = median(case);
        let rate = profile.messages as f64 / time;
        println!("{case:<34} {:>12.3} {:>11.2}x {rate:>12.0}", time / gigabytes, time / base);
    }
    println!("messages of {:.1} KB, one core:", small[0].body.len() as f64 / 1e3);
    for case in ["small transform", "small store"] {
        println!("{case:<34} {:>38.0}", SMALL as f64 / median(case));
    }
    println!("memory while a spooled message of {spooled_size:.0} MB is stored: {above:.1} MB more");
}

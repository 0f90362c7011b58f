//! The pace of one mailbox against the limits as documented (10,000 requests in ten minutes, 150 MB of upload in five, four
//! requests at once), under virtual time and under both kinds of window the service may have: nothing is refused, and what
//! is allowed is used.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use mailwave::env::Env;
use mailwave::http::{Delivery, InProcess};
use mailwave::limit::{LimitSettings, Limits, TargetLimits};
use mailwave::mock::Wire;
use mailwave::mock::graph::{self, GraphMock, GraphOptions, Latency, Sizes, Windows};
use mailwave::model::{
    Body, Flags, FolderId, FolderPath, Form, MailboxKey, Outcome, SourceName, Stamp, Timestamp,
};
use mailwave::target::graph::{GraphSettings, GraphTarget, TokenSettings};
use mailwave::target::{FolderWanted, StoreItem, Target};

use crate::trial::{Observer, VirtualClock};

/// 2026-11-22T00:03:20Z: in the middle of a fixed window of either length.
const START: i64 = 1_795_305_800_000;
const REQUESTS: u64 = 10_000;
const REQUESTS_PER: u64 = 600;
const UPLOAD: u64 = 150_000_000;
const UPLOAD_PER: u64 = 300;
/// Windows that are measured, after the first one.
const MEASURED: u64 = 2;
/// Batches prepared side by side; four of them at a time are stored.
const PREPARED: usize = 6;

/// What one mailbox was sent.
struct Sent {
    /// When since the beginning, and how many octets of upload; every request.
    all: Vec<(Duration, u64)>,
    refused: u64,
    stored: usize,
}

impl Sent {
    /// The share of what `MEASURED` windows of this length allow that was used after the first window.
    fn share(&self, per: u64, capacity: u64, amount: impl Fn(u64) -> u64) -> f64 {
        let (from, to) = (Duration::from_secs(per), Duration::from_secs(per * (MEASURED + 1)));
        let within = self.all.iter().filter(|(at, _)| *at >= from && *at < to);
        within.map(|(_, octets)| amount(*octets)).sum::<u64>() as f64 / (capacity * MEASURED) as f64
    }
}

/// Stores messages of one size, twenty or four megabytes at a time, until `seconds` are over.
fn send(windows: Windows, size: usize, latency: Latency, seconds: u64) -> Sent {
    send_through(windows, size, latency, seconds, None)
}

/// As [`send`]; within `slow`, counted in seconds, each answer comes so much later.
fn send_through(
    windows: Windows,
    size: usize,
    latency: Latency,
    seconds: u64,
    slow: Option<(std::ops::Range<u64>, Duration)>,
) -> Sent {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let clock = VirtualClock::new(START);
        let env = Env::simulated(3, clock.begin(), Observer::new(None));
        let began = tokio::time::Instant::now();
        let limits = graph::Limits { windows, ..graph::Limits::default() };
        let sizes = Sizes { mailbox: u64::MAX, ..Sizes::default() };
        let options = GraphOptions { limits, sizes, latency, keep_content: false, ..GraphOptions::default() };
        let mock = GraphMock::new(options, clock.clone());
        let all = Arc::new(Mutex::new(Vec::new()));
        let (served, seen) = (mock.clone(), all.clone());
        let http = InProcess::new(&env, move |request: Request<Bytes>| {
            let writes = [Method::POST, Method::PATCH, Method::PUT].contains(request.method());
            let octets = if writes { request.body().len() as u64 } else { 0 };
            if !request.uri().path().ends_with("/token") {
                seen.lock().unwrap().push((began.elapsed(), octets));
            }
            let (served, slow) = (served.clone(), slow.clone());
            async move {
                if let Some((when, more)) = slow
                    && when.contains(&began.elapsed().as_secs())
                {
                    tokio::time::sleep(more).await;
                }
                match served.handle(request).await {
                    Wire::Answered(response) => Delivery::Answered(response),
                    Wire::NeverArrived => Delivery::NeverArrived,
                    Wire::NoAnswer => Delivery::NoAnswer,
                }
            }
        });
        let token = TokenSettings::ClientCredentials {
            token_url: "http://127.0.0.1/tenant/oauth2/v2.0/token".to_owned(),
            client_id: "steady".to_owned(),
            client_secret: "secret".to_owned().into(),
            scope: "https://graph.microsoft.com/.default".to_owned(),
        };
        let settings = GraphSettings::new("http://127.0.0.1/v1.0", token);
        let target = GraphTarget::new(&env, Arc::new(http), settings).expect("the settings are right");
        let targets = [("graph".to_owned(), TargetLimits::default())].into();
        let limits = Limits::new(&env, LimitSettings { targets, ..LimitSettings::default() });
        let gate = limits.gate("graph", "ann@example.org");
        let mailbox = target.open("ann@example.org", "", gate.clone()).await.expect("opens");
        let path = FolderPath::new(vec!["INBOX".to_owned()]).expect("a path");
        let wanted = FolderWanted { path, special: None, subscribed: None };
        let folder = mailbox.folder(&wanted).await.expect("the inbox");
        let source: SourceName = "acme".parse().unwrap();
        let key = MailboxKey::of(&source, "ann");
        let octets = message(size);
        let batch = (4_000_000 / size.max(1)).clamp(1, 20) as u64;
        let (number, lanes) = (Mutex::new(0u64), tokio::sync::Semaphore::new(mailbox.capabilities().lanes));
        let worker = || async {
            let mut stored = 0;
            while began.elapsed() < Duration::from_secs(seconds) {
                let first = {
                    let mut number = number.lock().unwrap();
                    *number += batch;
                    *number - batch
                };
                let items: Vec<StoreItem> = (first..first + batch)
                    .map(|n| StoreItem {
                        stamp: Stamp {
                            source: source.clone(),
                            mailbox: key.clone(),
                            folder: FolderId(1),
                            epoch: 1,
                            number: n + 1,
                        },
                        body: Body::from_bytes(octets.clone()),
                        form: Form::Mime,
                        flags: Flags::default(),
                        received: Some(Timestamp::utc(1_700_000_000)),
                    })
                    .collect();
                let sizes: Vec<u64> = items.iter().map(|item| item.body.len()).collect();
                let ticket = gate.reserve(mailbox.cost(&sizes)).await;
                let _lane = lanes.acquire().await.unwrap();
                let outcomes = mailbox.store(&folder, items, ticket).await;
                for outcome in &outcomes {
                    assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
                }
                stored += outcomes.len();
            }
            stored
        };
        let stored = futures_util::future::join_all((0..PREPARED).map(|_| worker())).await.into_iter().sum();
        let refused = mock.counters().throttled;
        let all = std::mem::take(&mut *all.lock().unwrap());
        Sent { all, refused, stored }
    })
}

/// A message of about `size` octets; a large one is mostly one attachment.
fn message(size: usize) -> Bytes {
    let head = "Message-ID: <a@example.org>\r\nDate: Thu, 3 Jan 2008 10:00:00 +0100\r\nSubject: steady\r\n";
    let mut text = String::from(head);
    if size < 100_000 {
        text.push_str("\r\n");
        text.push_str(&"steady as she goes, and no faster\r\n".repeat(size.saturating_sub(head.len()) / 35));
    } else {
        text.push_str(
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhere it is\r\n--b\r\n\
             Content-Type: application/octet-stream; name=x.bin\r\nContent-Disposition: attachment; filename=x.bin\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n",
        );
        let line = format!("{}\r\n", "QUJD".repeat(19));
        text.push_str(&line.repeat(size / line.len()));
        text.push_str("--b--\r\n");
    }
    Bytes::from(text)
}

/// Each request takes a while, as over a wide network; the longest that still lets the window bind.
fn answering(base_ms: u64) -> Latency {
    Latency { base_ms, jitter_ms: base_ms / 4, per_mib_ms: 20 }
}

const KINDS: [Windows; 2] = [Windows::Sliding, Windows::Fixed];

#[test]
fn many_small_messages_use_the_requests_that_are_allowed_and_none_is_refused() {
    for windows in KINDS {
        let sent = send(windows, 700, answering(120), REQUESTS_PER * (MEASURED + 1));
        let share = sent.share(REQUESTS_PER, REQUESTS, |_| 1);
        println!("{windows:?}: {} messages, {:.2} % of the requests allowed", sent.stored, share * 100.0);
        assert_eq!(sent.refused, 0, "{windows:?}");
        assert!(share >= 0.97, "{windows:?}: {share}");
    }
}

#[test]
fn large_messages_use_the_upload_that_is_allowed_and_none_is_refused() {
    let cases = [75_000, 2_500_000, 9_000_000, 30_000_000, 100_000_000].map(|size| (Windows::Sliding, size));
    // What the last so many seconds allow, a window on the clock allows as well: less is tried of it.
    for (windows, size) in cases.into_iter().chain([75_000, 30_000_000].map(|size| (Windows::Fixed, size))) {
        let sent = send(windows, size, answering(150), UPLOAD_PER * (MEASURED + 1));
        let share = sent.share(UPLOAD_PER, UPLOAD, |octets| octets);
        println!(
            "{windows:?}, messages of {:.1} MB: {} stored, {:.2} % of the upload allowed",
            size as f64 / 1e6,
            sent.stored,
            share * 100.0
        );
        assert_eq!(sent.refused, 0, "{windows:?}");
        assert!(share >= 0.97, "{windows:?}, {size} octets: {share}");
    }
}

#[test]
fn after_twenty_minutes_of_answers_fifty_times_slower_the_pace_is_back_within_ten() {
    const MINUTE: u64 = 60;
    let latency = answering(150);
    let slow = (5 * MINUTE..25 * MINUTE, Duration::from_millis(150 * 49));
    let sent = send_through(Windows::Sliding, 75_000, latency, 35 * MINUTE, Some(slow));
    let rate = |from: u64, to: u64| {
        let within = sent.all.iter().filter(|(at, _)| (from * MINUTE..to * MINUTE).contains(&at.as_secs()));
        within.map(|(_, octets)| *octets).sum::<u64>() as f64 / (UPLOAD * (to - from) / 5) as f64
    };
    let (during, after) = (rate(10, 25), rate(30, 35));
    println!(
        "{:.1} % of the upload allowed while it lasts, {:.1} % afterwards",
        during * 100.0,
        after * 100.0
    );
    assert_eq!(sent.refused, 0);
    assert!(during < 0.5, "the brown-out was felt: {during}");
    assert!(after >= 0.8, "{after}");
}

//! The wave: many mailboxes, so many at once, those that fail for a while come back. A thin driver of `lanes`.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::lanes::{Do, Happened, Lanes};
use super::retry::{self, Next};
use super::{Event, MailboxResult, Parts, Stop, Watcher, WaveResult, pass};
use crate::env::Tick;
use crate::ledger::PassSummary;
use crate::model::{Error, Kind, Mailbox, Scope};

/// How often the wish to stop is looked at while nothing else happens.
const STOP_LOOK: Duration = Duration::from_millis(250);

/// Runs one pass of every mailbox, [`Options::open_mailboxes`](super::Options) at once. A pass that ended with a
/// temporary error is run again after a backoff, a bounded number of times.
pub async fn run(
    parts: Arc<Parts>,
    mailboxes: Vec<Mailbox>,
    watcher: Arc<dyn Watcher>,
    stop: Stop,
) -> WaveResult {
    let env = parts.env.clone();
    let mut order: Vec<usize> = (0..mailboxes.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(mailboxes[*i].priority));
    let mut lanes = Lanes::new(parts.options.open_mailboxes, order);
    let mut attempts: BTreeMap<usize, u32> = BTreeMap::new();
    type Running = Pin<Box<dyn Future<Output = (usize, MailboxResult)> + Send>>;
    let mut running: FuturesUnordered<Running> = FuturesUnordered::new();
    let mut result = WaveResult::default();
    // Mailboxes that wait to come back: what they ended with, should the run be stopped before they do.
    let mut parked: BTreeMap<usize, MailboxResult> = BTreeMap::new();
    let mut done: BTreeMap<usize, PassSummary> = BTreeMap::new();
    let mut draining = false;
    let mut todo = lanes.step(env.now(), Happened::Time);
    loop {
        let mut wake: Option<Tick> = None;
        let mut finish = false;
        for what in todo {
            match what {
                Do::Begin(i) => {
                    parked.remove(&i);
                    let (parts, mailbox) = (parts.clone(), mailboxes[i].clone());
                    let first_try = !attempts.contains_key(&i);
                    let task = env.spawn(pass::run(
                        parts,
                        mailbox.clone(),
                        watcher.clone(),
                        stop.clone(),
                        first_try,
                    ));
                    running.push(Box::pin(async move {
                        (i, task.await.unwrap_or_else(|panicked| broken(mailbox, panicked.to_string())))
                    }));
                }
                Do::Wake(at) => wake = Some(at),
                Do::Finish => finish = true,
            }
        }
        if finish {
            break;
        }
        let look = env.now() + STOP_LOOK;
        let until = if draining { Tick::MAX } else { wake.map_or(look, |w| w.min(look)) };
        todo = tokio::select! {
            biased;
            Some((i, mut ended)) = running.next(), if !running.is_empty() => {
                let got_on = ended.summary.stored > 0;
                // What earlier tries of this run did counts too.
                if let Some(earlier) = done.get(&i) {
                    add(&mut ended.summary, earlier);
                }
                let attempt = attempts.entry(i).or_insert(0);
                *attempt = if got_on { 1 } else { *attempt + 1 };
                let next = match &ended.error {
                    Some(e) if !stop.asked() => retry::after_pass(e, *attempt, parts.options.tries, env.random(1000)),
                    _ => Next::GiveUp,
                };
                match next {
                    Next::Again(wait) => {
                        if let Some(why) = ended.error.clone() {
                            watcher.event(Event::Waiting { mailbox: ended.mailbox.clone(), wait, why });
                        }
                        done.insert(i, ended.summary.clone());
                        parked.insert(i, ended);
                        lanes.step(env.now(), Happened::ComesBack(i, env.now() + wait))
                    }
                    Next::GiveUp => {
                        if ended.error.as_ref().is_some_and(|e| e.scope == Scope::Run) {
                            stop.ask(); // nothing can go on without the ledger, or we were asked to stop
                        }
                        watcher.event(Event::Closed(ended.clone()));
                        result.mailboxes.push(ended);
                        lanes.step(env.now(), Happened::Ended(i))
                    }
                }
            }
            () = env.sleep_until(until), if until < Tick::MAX => {
                if stop.asked() && !draining {
                    draining = true;
                    lanes.step(env.now(), Happened::Drain)
                } else {
                    lanes.step(env.now(), Happened::Time)
                }
            }
        };
    }
    for (_, ended) in parked {
        watcher.event(Event::Closed(ended.clone()));
        result.mailboxes.push(ended);
    }
    result.not_begun = lanes.not_begun() as u64;
    result
}

/// Adds what an earlier try of the same run did. What was there already at the later one includes what the earlier one
/// stored.
fn add(summary: &mut PassSummary, earlier: &PassSummary) {
    summary.stored += earlier.stored;
    summary.bytes += earlier.bytes;
    summary.moved += earlier.moved;
    summary.removed += earlier.removed;
    summary.reflagged += earlier.reflagged;
    summary.already = summary.already.saturating_sub(earlier.stored);
    summary.began = earlier.began;
}

/// A pass that failed unexpectedly: a defect of ours, kept to its mailbox.
fn broken(mailbox: Mailbox, what: String) -> MailboxResult {
    let error =
        Error::new(Kind::Internal, Scope::Mailbox, format!("the pass of this mailbox failed: {what}"))
            .remedy("run again; if it happens again, report it with the log");
    let summary = PassSummary {
        verdict: "poor".to_owned(),
        reasons: vec![error.to_string()],
        ..PassSummary::default()
    };
    MailboxResult { mailbox, summary, skipped: 0, unknown: 0, error: Some(error) }
}

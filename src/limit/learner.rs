//! How many requests an app or a host bears at once: learnt from how fast it answers and from what it refuses.
//!
//! Nobody tells how much a service likes, it changes by the hour, and the refusals that tell come late. So: one more at
//! once for each round of answers that came as fast as in calm times (at first, until it was ever too many: twice as
//! many); a tenth fewer when answers take much longer; three tenths fewer when a share of them is refused. After a cut only answers to requests sent since are evidence: those
//! already under way would tell the same again. A single mailbox that is refused, and feels its way, is no evidence.
//!
//! Now and then only an eighth go for a moment, and tell what calm answers take by now.
//!
//! Answers are compared with those of their like: a request of 4 MB takes longer than one of 4 KB.

use std::time::Duration;

use crate::env::Tick;

/// Answers that take so many times as long as calm ones are slow …
const SLOW: f64 = 2.0;
/// … and below this all is calm.
const CALM: f64 = 1.5;
/// A refused share of the last round of answers above this is a refusal to go so fast.
const REFUSED_SHARE: f64 = 0.1;
/// … of so many answers at least.
const ROUND: f64 = 100.0;
/// What calm answers take is looked at anew so often: for a moment few go at once. Else a service that grew slower little
/// by little, or under our own load, would pass for a calm one.
const MEMORY: Duration = Duration::from_secs(300);
/// Differences of this order are noise of our own, and no sign of the other end's.
const NOISE: f64 = 0.05;
/// Classes of requests by their size: up to 64 KiB, 512 KiB, 4 MiB, more.
const CLASSES: [u64; 3] = [64 << 10, 512 << 10, 4 << 20];

/// How a request ended, as far as its load on the other end is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ended {
    /// It never left: tells nothing.
    NotSent,
    /// Answered.
    Served,
    /// No answer.
    Lost,
    /// Refused for now.
    Refused,
}

/// Bounds of what is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Never fewer at once.
    pub least: u32,
    /// Never more.
    pub most: u32,
    /// So many at first.
    pub first: u32,
}

/// A moment in which few go at once.
#[derive(Debug, Clone, Copy)]
struct Probe {
    since: Tick,
    /// Answers to requests sent in it.
    seen: u32,
}

/// So many answers end a probe.
const PROBED: u32 = 4;
/// A probe lets this share of the limit go.
const PROBE_SHARE: f64 = 0.125;

/// The machine of one app, or one host.
#[derive(Debug)]
pub(crate) struct Learner {
    bounds: Bounds,
    limit: f64,
    /// What calm answers take, by class.
    calm: [Option<Duration>; 4],
    probe: Option<Probe>,
    probed: Tick,
    /// How many times as long as in calm times answers take, smoothed over a round.
    slowness: f64,
    /// The refused share of answers, smoothed over a round.
    refused: f64,
    /// Only requests sent after this are evidence.
    cut: Option<Tick>,
}

impl Learner {
    pub(crate) fn new(bounds: Bounds) -> Learner {
        let least = bounds.least.max(1);
        let most = bounds.most.max(least);
        let first = bounds.first.clamp(least, most);
        let bounds = Bounds { least, most, first };
        Learner {
            bounds,
            limit: f64::from(first),
            calm: [None; 4],
            probe: None,
            probed: Tick::ZERO,
            slowness: 1.0,
            refused: 0.0,
            cut: None,
        }
    }

    /// Requests that may be under way at once.
    pub(crate) fn limit(&self) -> usize {
        let share = if self.probe.is_some() { PROBE_SHARE } else { 1.0 };
        (self.limit * share).max(f64::from(self.bounds.least)) as usize
    }

    /// A request of so many bytes, sent at `sent`, ended at `now`, when `under_way` were under way, itself included.
    pub(crate) fn ended(&mut self, now: Tick, sent: Tick, bytes: u64, under_way: usize, how: Ended) {
        self.took(now, (sent, now.saturating_sub(sent)), bytes, under_way, how);
    }

    /// As [`Learner::ended`], of a request whose time is compared as another than the one it took.
    pub(crate) fn took(
        &mut self,
        now: Tick,
        (sent, took): (Tick, Duration),
        bytes: u64,
        under_way: usize,
        how: Ended,
    ) {
        if how == Ended::NotSent {
            return;
        }
        // Smoothed over about one round of answers, and never over so few that one of them decides.
        let weight = 1.0 / self.limit.max(ROUND);
        let refused = if how == Ended::Refused { 1.0 } else { 0.0 };
        let evidence = self.cut.is_none_or(|cut| sent >= cut);
        if evidence {
            self.refused += (refused - self.refused) * weight;
        }
        let slowness = match how {
            Ended::Served => {
                let class = CLASSES.iter().position(|most| bytes <= *most).unwrap_or(CLASSES.len());
                let latency = took.max(Duration::from_millis(1));
                let probed = self.probe(now, sent, latency, class);
                let calm = self.calm[class].map_or(latency, |calm| calm.min(latency));
                self.calm[class] = Some(calm);
                if probed {
                    return;
                }
                Some((latency.as_secs_f64() + NOISE) / (calm.as_secs_f64() + NOISE))
            }
            // A refusal comes fast and tells nothing of that; no answer at all is slow.
            Ended::Lost => Some(SLOW * 2.0),
            Ended::Refused | Ended::NotSent => None,
        };
        if !evidence {
            return;
        }
        if let Some(slowness) = slowness {
            // One answer that took for ever is one slow answer.
            self.slowness += (slowness.min(SLOW * 4.0) - self.slowness) * weight;
        }
        if self.refused > REFUSED_SHARE {
            self.cut_to(now, 0.7);
        } else if self.slowness > SLOW {
            self.cut_to(now, 0.9);
        } else if how == Ended::Served && self.slowness < CALM && under_way as f64 >= self.limit.floor() * 0.8
        {
            // One more in a round, or for each answer; a limit that is not used is not raised.
            let more = if self.cut.is_none() { 1.0 } else { 1.0 / self.limit };
            self.limit = (self.limit + more).min(f64::from(self.bounds.most));
        }
    }

    /// Begins a probe when it is time, and sees what is answered in one. Was this such an answer?
    fn probe(&mut self, now: Tick, sent: Tick, latency: Duration, class: usize) -> bool {
        let Some(probe) = &mut self.probe else {
            if now.saturating_sub(self.probed) >= MEMORY {
                self.probe = Some(Probe { since: now, seen: 0 });
                self.probed = now;
            }
            return false;
        };
        if sent < probe.since {
            return false;
        }
        if probe.seen == 0 {
            // What was calm before is forgotten once there is something to put in its place.
            self.calm = [None; 4];
        }
        probe.seen += 1;
        let calm = self.calm[class].map_or(latency, |calm| calm.min(latency));
        self.calm[class] = Some(calm);
        if probe.seen >= PROBED {
            self.probe = None;
        }
        true
    }

    fn cut_to(&mut self, now: Tick, share: f64) {
        self.limit = (self.limit * share).max(f64::from(self.bounds.least));
        self.cut = Some(now);
        self.refused = 0.0;
        self.slowness = 1.0;
    }
}

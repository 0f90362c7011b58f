//! How many requests an app or a host bears at once: learnt from how fast it answers and from what it refuses.
//!
//! Nobody tells how much a service likes, it changes by the hour, and the refusals that tell come late. So: one more at
//! once for each round of answers that came as fast as in calm times (at first, until it was ever too many: twice as
//! many); a tenth fewer when answers take much longer; three tenths fewer when a share of them is refused. After a cut only answers to requests sent since are evidence: those
//! already under way would tell the same again. A single mailbox that is refused, and feels its way, is no evidence.
//!
//! Answers are compared with those of their like: a request of 4 MB takes longer than one of 4 KB.

use std::time::Duration;

use crate::env::Tick;

/// Answers that take so many times as long as calm ones are slow …
const SLOW: f64 = 2.0;
/// … and below this all is calm.
const CALM: f64 = 1.5;
/// A refused share of the last round of answers above this is a refusal to go so fast.
const REFUSED_SHARE: f64 = 0.05;
/// The latency of calm times is the least of the last two of these.
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

/// The least latency of the last five to ten minutes.
#[derive(Debug, Clone, Copy, Default)]
struct Calm {
    before: Option<Duration>,
    now: Option<Duration>,
    since: Tick,
}

impl Calm {
    fn see(&mut self, at: Tick, latency: Duration) -> Duration {
        if at.saturating_sub(self.since) >= MEMORY {
            let idle = at.saturating_sub(self.since) >= MEMORY * 2;
            self.before = if idle { None } else { self.now };
            self.now = None;
            self.since = at;
        }
        let now = self.now.map_or(latency, |least| least.min(latency));
        self.now = Some(now);
        self.before.map_or(now, |before| before.min(now))
    }
}

/// The machine of one app, or one host.
#[derive(Debug)]
pub(crate) struct Learner {
    bounds: Bounds,
    limit: f64,
    calm: [Calm; 4],
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
            calm: Default::default(),
            slowness: 1.0,
            refused: 0.0,
            cut: None,
        }
    }

    /// Requests that may be under way at once.
    pub(crate) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// A request of so many bytes, sent at `sent`, ended at `now`, when `under_way` were under way, itself included.
    pub(crate) fn ended(&mut self, now: Tick, sent: Tick, bytes: u64, under_way: usize, how: Ended) {
        if how == Ended::NotSent {
            return;
        }
        // Smoothed over about one round of answers, and never over so few that one of them decides.
        let weight = 1.0 / self.limit.max(10.0);
        let refused = if how == Ended::Refused { 1.0 } else { 0.0 };
        let evidence = self.cut.is_none_or(|cut| sent > cut);
        if evidence {
            self.refused += (refused - self.refused) * weight;
        }
        let slowness = match how {
            Ended::Served => {
                let class = CLASSES.iter().position(|most| bytes <= *most).unwrap_or(CLASSES.len());
                let latency = now.saturating_sub(sent).max(Duration::from_millis(1));
                let calm = self.calm[class].see(now, latency);
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
        } else if how == Ended::Served && self.slowness < CALM && under_way as f64 >= self.limit * 0.8 {
            // One more in a round, or for each answer; a limit that is not used is not raised.
            let more = if self.cut.is_none() { 1.0 } else { 1.0 / self.limit };
            self.limit = (self.limit + more).min(f64::from(self.bounds.most));
        }
    }

    fn cut_to(&mut self, now: Tick, share: f64) {
        self.limit = (self.limit * share).max(f64::from(self.bounds.least));
        self.cut = Some(now);
        self.refused = 0.0;
        self.slowness = 1.0;
    }
}

//! How a night ended: its bounds, and what a report needs.

use std::time::Duration;

use super::scenario::{Drawn, Scenario};
use crate::env::Tick;
use crate::ledger::{FactsCursor, LedgerView, MailboxLine, MailboxState, PassSummary, SkipLine};
use crate::limit::Shares;
use crate::model::{Digest, Fact, FolderId, MailboxKey, Result};
use crate::plan::Load;

/// What no order can beat: the night lasts at least as long as the longest of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// All octets through the narrower link.
    pub bytes: Duration,
    /// All requests at the rates of all apps.
    pub requests: Duration,
    /// The longest mailbox by itself.
    pub longest: Duration,
}

impl Bounds {
    pub(super) fn of(scenario: &Scenario, mailboxes: &[Drawn]) -> Bounds {
        let ceilings = scenario.ceilings();
        // What fails is not moved whole.
        let share = |m: &Drawn| m.fails_at.unwrap_or(1.0);
        let sum = |of: fn(&Load) -> u64| mailboxes.iter().map(|m| of(&m.real) as f64 * share(m)).sum::<f64>();
        let (bytes, messages) = (sum(|l| l.bytes), sum(|l| l.messages));
        let source = bytes / scenario.source.bytes_per_second as f64;
        let target =
            (bytes * ceilings.wire_factor + messages * 4096.0) / scenario.target.bytes_per_second as f64;
        let rate = f64::from(scenario.target.app_requests_per_second) * f64::from(scenario.target.apps);
        let seconds = |s: f64| Duration::try_from_secs_f64(s).unwrap_or_default();
        Bounds {
            bytes: seconds(source.max(target)),
            requests: seconds(messages * ceilings.requests_per_message / rate.max(1.0)),
            longest: mailboxes
                .iter()
                .filter(|m| m.fails_at.is_none())
                .map(|m| ceilings.time(m.real))
                .max()
                .unwrap_or_default(),
        }
    }

    /// The largest.
    pub fn least(&self) -> Duration {
        self.bytes.max(self.requests).max(self.longest)
    }
}

/// One mailbox.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its pseudonym.
    pub key: MailboxKey,
    /// When it was opened.
    pub began: Tick,
    /// When it ended.
    pub at: Tick,
    /// What was stored.
    pub done: Load,
    /// What was not.
    pub left: Load,
    /// It failed for good.
    pub failed: bool,
}

impl Ended {
    /// Everything is stored.
    pub fn is_complete(&self) -> bool {
        !self.failed && self.left.messages == 0
    }
}

/// A night.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// From the beginning to the last mailbox's end.
    pub took: Duration,
    /// What no order can beat.
    pub bounds: Bounds,
    /// Those that were begun, in the order they ended.
    pub mailboxes: Vec<Ended>,
    /// Those that were not.
    pub not_begun: u64,
    /// Requests sent.
    pub requests: u64,
    /// Of these, refused by the service.
    pub refused: u64,
    /// Events handled.
    pub events: u64,
    /// BLAKE3 of all events in order: the same scenario and seed give the same.
    pub log: Digest,
    /// Mailboxes open at once, at most.
    pub most_open: usize,
    /// Time the links of source and target were in use.
    pub links_busy: (Duration, Duration),
    /// What the time of open mailboxes went to.
    pub bound_by: Shares,
}

impl Outcome {
    /// How many times the least possible it took.
    pub fn over_the_bound(&self) -> f64 {
        self.took.as_secs_f64() / self.bounds.least().as_secs_f64().max(1e-9)
    }
}

/// An outcome as a ledger would tell it, so that the report is the report of a real run.
#[derive(Debug)]
pub struct View<'a>(pub &'a Outcome);

impl LedgerView for View<'_> {
    fn mailboxes(&self) -> Result<Vec<MailboxLine>> {
        let millis = |at: Tick| i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
        let line = |(n, m): (usize, &Ended)| {
            let complete = m.is_complete();
            let verdict = if m.failed {
                "poor"
            } else if complete {
                "perfect"
            } else {
                "investigate"
            };
            let last = PassSummary {
                complete,
                stored: m.done.messages,
                bytes: m.done.bytes,
                verdict: verdict.to_owned(),
                began: millis(m.began),
                ended: millis(m.at),
                ..PassSummary::default()
            };
            MailboxLine {
                key: m.key.to_string(),
                ordinal: i64::try_from(n + 1).unwrap_or(i64::MAX),
                state: if m.failed {
                    "failed"
                } else if complete {
                    "complete"
                } else {
                    "running"
                }
                .to_owned(),
                passes: u64::from(complete),
                messages: m.done.messages,
                bytes: m.done.bytes,
                skipped: 0,
                unknown: 0,
                lossy: 0,
                last: Some(last),
                error: m.failed.then(|| "failed as the scenario says".to_owned()),
            }
        };
        Ok(self.0.mailboxes.iter().enumerate().map(line).collect())
    }

    fn skips(&self) -> Result<Vec<SkipLine>> {
        Ok(Vec::new())
    }

    fn state(&self, _mailbox: &MailboxKey) -> Result<Option<MailboxState>> {
        Ok(None)
    }

    fn facts_from(
        &self,
        _mailbox: &MailboxKey,
        _folder: FolderId,
        _from: FactsCursor,
    ) -> Result<(Vec<Fact>, Option<FactsCursor>)> {
        Ok((Vec::new(), None))
    }
}

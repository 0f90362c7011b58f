//! Does anything go on? A night in which nothing does, though work is left, ends with an error that names who waits for
//! what: the order of reservation was broken somewhere.

use std::time::Duration;

use super::mailbox::{Asked, Open};
use super::night::Night;
use crate::env::Tick;
use crate::model::{Error, Kind, Scope};

/// Nothing may go on for so long beside the longest window of the target: what waits for a window is no standstill.
const PATIENCE: Duration = Duration::from_secs(600);
/// Mailboxes named.
const MOST_NAMED: usize = 3;

/// Batches by what they wait for.
#[derive(Debug, Default)]
struct Waits {
    reservation: u64,
    spool: u64,
    memory: u64,
    lane: u64,
    slot: u64,
    lookup: u64,
}

impl Waits {
    fn words(&self) -> String {
        let all = [
            (self.reservation, "for their reservation"),
            (self.spool, "for the spool"),
            (self.memory, "for memory"),
            (self.lane, "for a lane, fetched"),
            (self.slot, "for leave to send"),
            (self.lookup, "for leave to look"),
        ];
        let words = all.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} wait {what}"));
        let words: Vec<String> = words.collect();
        if words.is_empty() { "none waits for anything known".to_owned() } else { words.join(", ") }
    }
}

impl Night<'_> {
    /// The error, if nothing goes on.
    pub(super) fn standstill(&self) -> Option<Error> {
        let target = &self.scenario.target;
        let windows = Duration::from_secs(target.requests_seconds.max(target.upload_seconds));
        let moving = self.source.free_at.max(self.target.free_at).max(self.advanced);
        let late = moving + windows * 2 + PATIENCE + Duration::from_millis(target.latency_ms) * 64;
        if self.pending > 0 && self.now <= late {
            return None;
        }
        let mut all = Waits::default();
        let mut named = Vec::new();
        for (m, open) in self.open.iter() {
            let waits = self.waits(m, open);
            if named.len() < MOST_NAMED {
                named.push(format!("{}: {}", self.mailboxes[m].key, waits.words()));
            }
            all.reservation += waits.reservation;
            all.spool += waits.spool;
            all.memory += waits.memory;
            all.lane += waits.lane;
            all.slot += waits.slot;
            all.lookup += waits.lookup;
        }
        let (used, total) = self.memory.given();
        let what = format!(
            "nothing goes on after {} of the night though {} mailboxes are open and {} never began; of their batches {}; \
             {used} of {total} bytes of memory are given out; {}",
            clock(self.now),
            self.open.len(),
            self.lanes.not_begun(),
            all.words(),
            named.join("; "),
        );
        Some(Error::new(Kind::Internal, Scope::Run, what).remedy(
            "the order of reservation has a circle: this is a defect, report it with the scenario and seed",
        ))
    }

    fn waits(&self, m: usize, open: &Open) -> Waits {
        let of = |lines: &std::collections::BTreeMap<u64, (usize, u32)>| {
            lines.values().filter(|(of, _)| *of == m).count() as u64
        };
        let mut waits =
            Waits { memory: of(&self.for_memory), spool: of(&self.for_spool), ..Waits::default() };
        waits.lane = open.ready.len() as u64;
        for (_, asked) in open.asked.iter() {
            *(match asked {
                Asked::Reserve(_) => &mut waits.reservation,
                Asked::Send(_) => &mut waits.slot,
                Asked::Look => &mut waits.lookup,
            }) += 1;
        }
        waits
    }
}

fn clock(at: Tick) -> String {
    let s = at.as_secs();
    format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

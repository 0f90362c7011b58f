//! What was sent, what was refused, and what was waited for.

use std::ops::AddAssign;
use std::time::Duration;

use super::rules::{Answer, Cost};
use crate::env::Tick;

/// Counters of one gate, or of a whole process. They only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Requests let through.
    pub requests: u64,
    /// Their upload bytes.
    pub upload_bytes: u64,
    /// Requests the service refused to serve that fast.
    pub throttled: u64,
    /// Requests whose fate was not learnt.
    pub unknown: u64,
    /// Time spent waiting, by cause.
    pub waits: Waits,
}

/// Time spent waiting. Of one gate: wall time during which somebody waited, by what held up the one whose turn it
/// was. Of a process: the sum over its gates, and over the waiters for memory, spool, app rate and log-ins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waits {
    /// All slots of a mailbox were taken.
    pub slot: Duration,
    /// The request window was full.
    pub requests: Duration,
    /// The upload window was full.
    pub upload: Duration,
    /// The service had told us to wait.
    pub throttled: Duration,
    /// The request rate of the app.
    pub app_rate: Duration,
    /// A place before the app, which answered slowly or refused.
    pub app_load: Duration,
    /// Memory for a message.
    pub memory: Duration,
    /// Spool space for a message.
    pub spool: Duration,
    /// The log-in rate of a source host.
    pub login: Duration,
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Counters) {
        self.requests += other.requests;
        self.upload_bytes += other.upload_bytes;
        self.throttled += other.throttled;
        self.unknown += other.unknown;
        self.waits += other.waits;
    }
}

impl AddAssign for Waits {
    fn add_assign(&mut self, other: Waits) {
        self.slot += other.slot;
        self.requests += other.requests;
        self.upload += other.upload;
        self.throttled += other.throttled;
        self.app_rate += other.app_rate;
        self.app_load += other.app_load;
        self.memory += other.memory;
        self.spool += other.spool;
        self.login += other.login;
    }
}

/// What the first waiter of a gate waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Slot,
    Requests,
    Upload,
    Blocked,
}

/// The counters of one gate, as they are kept.
#[derive(Debug, Default)]
pub(super) struct Meter {
    requests: u64,
    upload_bytes: u64,
    throttled: u64,
    unknown: u64,
    waits: [Duration; 4],
    app_rate: Duration,
    since: Option<(Cause, Tick)>,
}

impl Meter {
    pub(super) fn sent(&mut self, cost: Cost) {
        self.requests += u64::from(cost.requests);
        self.upload_bytes = self.upload_bytes.saturating_add(cost.upload_bytes);
    }

    /// So many requests were answered like this.
    pub(super) fn answered(&mut self, requests: u32, answer: Answer) {
        match answer {
            Answer::Throttled(_) => self.throttled += u64::from(requests),
            Answer::Unknown => self.unknown += u64::from(requests),
            Answer::Served | Answer::NotSent => {}
        }
    }

    /// From `now` on the first waiter waits for `cause` (`None`: nobody waits).
    pub(super) fn waits_for(&mut self, now: Tick, cause: Option<Cause>) {
        if let Some((cause, since)) = self.since {
            self.waits[cause as usize] += now.saturating_sub(since);
        }
        self.since = cause.map(|cause| (cause, now));
    }

    /// A granted request waited this long for the app's rate.
    pub(super) fn waited_for_app(&mut self, time: Duration) {
        self.app_rate += time;
    }

    /// The counters, a wait still going on not included.
    pub(super) fn read(&self) -> Counters {
        let wait = |cause: Cause| self.waits[cause as usize];
        Counters {
            requests: self.requests,
            upload_bytes: self.upload_bytes,
            throttled: self.throttled,
            unknown: self.unknown,
            waits: Waits {
                slot: wait(Cause::Slot),
                requests: wait(Cause::Requests),
                upload: wait(Cause::Upload),
                throttled: wait(Cause::Blocked),
                app_rate: self.app_rate,
                ..Waits::default()
            },
        }
    }
}

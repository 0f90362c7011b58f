//! What mailboxes share: links, the rates of apps, memory.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::env::Tick;
use crate::limit::machine::Rate;

/// A link: what is sent goes one after the other.
#[derive(Debug)]
pub(super) struct Link {
    bytes_per_second: u64,
    /// When all that was begun is through.
    pub(super) free_at: Tick,
    /// Time it was in use.
    pub(super) busy: Duration,
}

impl Link {
    pub(super) fn new(bytes_per_second: u64) -> Link {
        Link { bytes_per_second: bytes_per_second.max(1), free_at: Tick::ZERO, busy: Duration::ZERO }
    }

    /// When so many bytes, begun now, are through.
    pub(super) fn through(&mut self, now: Tick, bytes: u64) -> Tick {
        const SECOND: u64 = 1_000_000_000;
        let takes = match bytes.checked_mul(SECOND) {
            Some(product) => product / self.bytes_per_second,
            None => {
                let nanos = u128::from(bytes) * u128::from(SECOND) / u128::from(self.bytes_per_second);
                u64::try_from(nanos).unwrap_or(u64::MAX)
            }
        };
        let takes = Duration::from_nanos(takes);
        self.busy += takes;
        self.free_at = self.free_at.max(now) + takes;
        self.free_at
    }
}

/// The clock of the simulation, as governor wants one.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock(Arc<AtomicU64>);

impl Clock {
    /// In nanoseconds.
    pub(super) fn set(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }
}

impl governor::clock::Clock for Clock {
    type Instant = Tick;

    fn now(&self) -> Tick {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// The request rate of one app, and who waits for it, first come first served as in a run.
#[derive(Debug)]
pub(super) struct App<W> {
    rate: Rate<Clock>,
    waiting: VecDeque<(W, u32)>,
    /// Requests that wait.
    backlog: u64,
    per_second: u32,
    /// A look at the line is due then.
    pub(super) wake: Option<Tick>,
}

impl<W> App<W> {
    pub(super) fn new(per_second: u32, clock: &Clock) -> App<W> {
        let rate = Rate::of_app(NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MAX), clock.clone());
        App { rate, waiting: VecDeque::new(), backlog: 0, per_second, wake: None }
    }

    /// Joins the line.
    pub(super) fn join(&mut self, who: W, requests: u32) {
        self.backlog += u64::from(requests);
        self.waiting.push_back((who, requests));
    }

    /// Those whose requests may leave now; afterwards `wake` says when to look again.
    pub(super) fn advance(&mut self, gone: &mut Vec<W>) {
        self.wake = None;
        while let Some((_, left)) = self.waiting.front_mut() {
            match self.rate.take_slices(left) {
                Ok(taken) => {
                    self.backlog -= u64::from(taken);
                    if let Some((who, _)) = self.waiting.pop_front() {
                        gone.push(who);
                    }
                }
                Err((taken, at)) => {
                    self.backlog -= u64::from(taken);
                    self.wake = Some(at);
                    return;
                }
            }
        }
    }

    /// How long one who joined now would wait.
    pub(super) fn delay(&self) -> Duration {
        Duration::from_secs_f64(self.backlog as f64 / f64::from(self.per_second.max(1)))
    }
}

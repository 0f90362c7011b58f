//! What a service's refusals to go faster mean for the next requests.

use std::time::Duration;

use super::backoff::Backoff;
use crate::env::Tick;

/// No wait a server asks for is believed beyond this.
pub(super) const LONGEST_BLOCK: Duration = Duration::from_secs(3600);

/// The refusals of one (app, mailbox).
#[derive(Debug, Default)]
pub(super) struct Refusals {
    blocked_until: Tick,
    /// When a volley of requests was last refused.
    last: Tick,
    /// Volleys refused in a row.
    volleys: u32,
}

impl Refusals {
    /// The service refused, at `now`, a request sent at `sent`, and asked us to wait so long, if it said. `random`
    /// is used when it did not.
    ///
    /// Requests sent before an earlier refusal belong to its volley and do not lengthen our own backoff.
    pub(super) fn refused(
        &mut self,
        now: Tick,
        sent: Tick,
        asked: Option<Duration>,
        backoff: &Backoff,
        random: u64,
    ) {
        let same_volley = self.volleys > 0 && sent <= self.last;
        if !same_volley {
            self.volleys = self.volleys.saturating_add(1);
            self.last = now;
        }
        let wait = match asked.filter(|d| !d.is_zero()) {
            Some(asked) => asked,
            None if same_volley => Duration::ZERO,
            None => backoff.next_at_least_half(self.volleys - 1, random),
        };
        self.blocked_until = self.blocked_until.max(now + wait.min(LONGEST_BLOCK));
    }

    /// A request sent at `sent` was served. Only one sent after the refusal proves that the refusal is over.
    pub(super) fn served(&mut self, sent: Tick) {
        if sent > self.last {
            self.volleys = 0;
        }
    }

    /// Nothing may be sent before this moment.
    pub(super) fn blocked_until(&self) -> Tick {
        self.blocked_until
    }

    /// Since the last refusal nothing was served: one request at a time feels its way.
    pub(super) fn feeling_the_way(&self) -> bool {
        self.volleys > 0
    }
}

//! The modelled target's own windows: exact, sliding, refused requests counted. Shares no code with `limit`.

use std::collections::VecDeque;
use std::time::Duration;

use super::log::nanos;
use super::scenario::TargetModel;
use crate::env::Tick;

/// What arrived together.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    /// In nanoseconds.
    at: u64,
    requests: u64,
    bytes: u64,
}

/// What a window counts of an arrival.
type Amount = fn(&Arrival) -> u64;

/// What still counts in one window.
#[derive(Debug, Default)]
struct Window {
    /// The number of the first arrival that does.
    first: u64,
    total: u64,
}

/// What the service counts of one app and mailbox.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// Those that count in either window.
    arrivals: VecDeque<Arrival>,
    /// The number of the first of them.
    first: u64,
    requests: Window,
    upload: Window,
}

impl Service {
    /// Some requests with so many bytes arrive together. `Some`: they are refused, for so long.
    pub(super) fn arrive(
        &mut self,
        now: Tick,
        requests: u64,
        bytes: u64,
        model: &TargetModel,
    ) -> Option<Duration> {
        let at = nanos(now);
        let Service { arrivals, first, .. } = self;
        let lengths = [model.requests_seconds, model.upload_seconds].map(|s| nanos(Duration::from_secs(s)));
        let windows: [(&mut Window, Amount, u64, u64); 2] = [
            (&mut self.requests, |a| a.requests, lengths[0], u64::from(model.requests)),
            (&mut self.upload, |a| a.bytes, lengths[1], model.upload),
        ];
        arrivals.push_back(Arrival { at, requests, bytes });
        let (mut until, mut oldest) = (None, u64::MAX);
        for (window, of, length, limit) in windows {
            let index = |number: u64| usize::try_from(number - *first).unwrap_or(usize::MAX);
            while let Some(gone) = arrivals.get(index(window.first)).filter(|a| a.at + length <= at) {
                window.total -= of(gone);
                window.first += 1;
            }
            window.total += of(&Arrival { at, requests, bytes });
            if limit > 0 && window.total > limit {
                // When there will be room again.
                let mut total = window.total;
                let room = arrivals.range(index(window.first)..).find(|a| {
                    total -= of(a);
                    total <= limit
                });
                until = until.max(Some(room.map_or(0, |a| a.at + length)));
            }
            oldest = oldest.min(window.first);
        }
        while *first < oldest {
            arrivals.pop_front();
            *first += 1;
        }
        // Told in whole seconds, rounded up.
        until.map(|until| Duration::from_secs(until.saturating_sub(at) / 1_000_000_000 + 1))
    }
}

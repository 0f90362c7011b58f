//! The modelled target's own windows: exact, sliding, refused requests counted. Shares no code with `limit`.

use std::collections::VecDeque;
use std::time::Duration;

use super::scenario::TargetModel;
use crate::env::Tick;

#[derive(Debug, Default)]
struct Window {
    entries: VecDeque<(Tick, u64)>,
    total: u64,
}

impl Window {
    fn add(&mut self, now: Tick, amount: u64, length: Duration) {
        while let Some((at, n)) = self.entries.front().copied()
            && at + length <= now
        {
            self.entries.pop_front();
            self.total -= n;
        }
        self.entries.push_back((now, amount));
        self.total += amount;
    }

    /// When there will be room again.
    fn room_at(&self, limit: u64, length: Duration) -> Tick {
        let mut total = self.total;
        for (at, n) in &self.entries {
            total -= n;
            if total <= limit {
                return *at + length;
            }
        }
        Tick::ZERO
    }
}

/// What the service counts of one app and mailbox.
#[derive(Debug, Default)]
pub(super) struct Service {
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
        let windows = [
            (&mut self.requests, requests, u64::from(model.requests), model.requests_seconds),
            (&mut self.upload, bytes, model.upload, model.upload_seconds),
        ];
        let mut until = None;
        for (window, amount, limit, seconds) in windows {
            let length = Duration::from_secs(seconds);
            window.add(now, amount, length);
            if limit > 0 && window.total > limit {
                until = until.max(Some(window.room_at(limit, length)));
            }
        }
        // Told in whole seconds, rounded up.
        until.map(|until| Duration::from_secs(until.saturating_sub(now).as_secs() + 1))
    }
}

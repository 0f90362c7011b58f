//! Throttling by exact sliding windows. Refused requests count.

use std::collections::VecDeque;

use super::options::{Limits, RetryAfter};
use super::reply::Refusal;

/// A sliding window: what happened when, and how much.
#[derive(Debug, Default)]
struct Window {
    entries: VecDeque<(i64, u64)>,
    total: u64,
}

impl Window {
    fn add(&mut self, now: i64, amount: u64, length_ms: i64) {
        while let Some((at, n)) = self.entries.front().copied() {
            if at > now - length_ms {
                break;
            }
            self.entries.pop_front();
            self.total -= n;
        }
        match self.entries.back_mut() {
            Some((at, n)) if *at == now => *n += amount,
            _ => self.entries.push_back((now, amount)),
        }
        self.total += amount;
    }

    /// Milliseconds until `room` more fits under `limit`.
    fn wait(&self, now: i64, limit: u64, room: u64, length_ms: i64) -> i64 {
        let mut total = self.total;
        for (at, n) in &self.entries {
            if total + room <= limit {
                return 0;
            }
            total -= n;
            if total + room <= limit {
                return (at + length_ms - now).max(0);
            }
        }
        length_ms
    }
}

/// What one app did to one mailbox.
#[derive(Debug, Default)]
pub(super) struct Meter {
    requests: Window,
    bytes: Window,
    in_flight: u32,
    /// The most requests at once ever admitted.
    pub(super) peak: u32,
    /// When it was told to wait, and until when.
    told: Option<(i64, i64)>,
}

impl Meter {
    /// Counts a request of `upload` octets and takes a slot, or refuses.
    pub(super) fn enter(&mut self, limits: &Limits, now: i64, upload: u64) -> Result<(), Refusal> {
        let window = seconds(limits.window_seconds);
        let upload_window = seconds(limits.upload_window_seconds);
        self.requests.add(now, 1, window);
        if upload > 0 {
            self.bytes.add(now, upload, upload_window);
        }
        let refusal = if self.requests.total > limits.requests {
            let wait = self.requests.wait(now, limits.requests, 1, window);
            throttled("Application is over its MailboxRequests limit.", limits.retry_after, wait)
        } else if upload > 0 && self.bytes.total > limits.upload_bytes {
            let wait = self.bytes.wait(now, limits.upload_bytes, upload, upload_window);
            throttled("Application is over its MailboxUpload limit.", limits.retry_after, wait)
        } else if self.in_flight >= limits.concurrent {
            throttled(
                "Application is over its MailboxConcurrency limit.",
                limits.concurrency_retry_after,
                1000,
            )
        } else {
            self.in_flight += 1;
            self.peak = self.peak.max(self.in_flight);
            return Ok(());
        };
        if let Some(seconds) = refusal.retry_after {
            self.tell(now, seconds);
        }
        Err(refusal)
    }

    /// Notes that the app was told to wait.
    pub(super) fn tell(&mut self, now: i64, wait_seconds: u64) {
        self.told = Some((now, now + seconds(wait_seconds)));
    }

    /// Was it told to wait long enough ago to know, and does not?
    pub(super) fn impatient(&self, now: i64) -> bool {
        self.told.is_some_and(|(told, until)| now > told + 1000 && now < until)
    }

    pub(super) fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }
}

/// What one app did everywhere.
#[derive(Debug, Default)]
pub(super) struct AppMeter {
    requests: Window,
}

impl AppMeter {
    pub(super) fn enter(&mut self, limits: &Limits, now: i64) -> Result<(), Refusal> {
        self.requests.add(now, 1, 10_000);
        if self.requests.total <= limits.app_requests {
            return Ok(());
        }
        let wait = self.requests.wait(now, limits.app_requests, 1, 10_000);
        Err(throttled("Too many requests.", limits.retry_after, wait))
    }
}

fn throttled(message: &str, retry: RetryAfter, wait_ms: i64) -> Refusal {
    let mut refusal = Refusal::new(429, "ApplicationThrottled", message);
    refusal.retry_after = match retry {
        RetryAfter::Exact => Some(u64::try_from(wait_ms).unwrap_or(0).div_ceil(1000).max(1)),
        RetryAfter::Absent => None,
        RetryAfter::Seconds(s) => Some(s),
    };
    refusal
}

fn seconds(s: u64) -> i64 {
    i64::try_from(s).unwrap_or(i64::MAX / 4000).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_slides_and_refused_requests_count() {
        let limits = Limits { requests: 3, window_seconds: 10, concurrent: 99, ..Limits::default() };
        let mut meter = Meter::default();
        for now in [0, 1000, 2000] {
            assert!(meter.enter(&limits, now, 0).is_ok());
        }
        assert_eq!(meter.enter(&limits, 3000, 0).unwrap_err().retry_after, Some(8), "the 2nd leaves at 11 s");
        assert!(meter.enter(&limits, 10_000, 0).is_err(), "three of the last ten seconds remain");
        assert!(meter.enter(&limits, 12_500, 0).is_ok());
    }

    #[test]
    fn octets_are_limited_too() {
        let limits =
            Limits { upload_bytes: 100, upload_window_seconds: 10, concurrent: 99, ..Limits::default() };
        let mut meter = Meter::default();
        assert!(meter.enter(&limits, 0, 60).is_ok());
        assert!(meter.enter(&limits, 1, 60).is_err());
        assert!(meter.enter(&limits, 2, 0).is_ok(), "reads pass");
    }

    #[test]
    fn at_most_so_many_are_in_flight() {
        let limits = Limits { concurrent: 2, ..Limits::default() };
        let mut meter = Meter::default();
        assert!(meter.enter(&limits, 0, 0).is_ok());
        assert!(meter.enter(&limits, 0, 0).is_ok());
        assert!(meter.enter(&limits, 0, 0).unwrap_err().message.contains("MailboxConcurrency"));
        meter.leave();
        assert!(meter.enter(&limits, 0, 0).is_ok());
    }
}

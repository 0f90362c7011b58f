//! Throttling by exact windows, sliding or fixed. Refused requests count.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::date;
use super::options::{GraphOptions, RetryAfter, Windows};
use super::reply::Refusal;
use crate::mock::service::flight::{Flight, Told};

/// The app's window over all mailboxes, in seconds. Source: Microsoft Graph documentation, `throttling-limits`.
const APP_WINDOW: u64 = 10;

/// What happened when, and how much, as far back as a window reaches.
#[derive(Debug, Default)]
struct Window {
    entries: VecDeque<(i64, u64)>,
    total: u64,
}

/// How long a window is, and of which kind.
#[derive(Debug, Clone, Copy)]
struct Length {
    ms: i64,
    kind: Windows,
}

impl Window {
    fn add(&mut self, now: i64, amount: u64, length: Length) {
        let begin = match length.kind {
            Windows::Sliding => now - length.ms + 1,
            Windows::Fixed => now - now.rem_euclid(length.ms),
        };
        while let Some((at, n)) = self.entries.front().copied() {
            if at >= begin {
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
    fn wait(&self, now: i64, limit: u64, room: u64, length: Length) -> i64 {
        if length.kind == Windows::Fixed {
            return if self.total + room <= limit { 0 } else { length.ms - now.rem_euclid(length.ms) };
        }
        if self.total + room <= limit {
            return 0;
        }
        let mut total = self.total;
        for (at, n) in &self.entries {
            total -= n;
            if total + room <= limit {
                return (at + length.ms - now).max(0);
            }
        }
        length.ms
    }
}

/// What one app did to one mailbox.
#[derive(Debug, Default)]
pub(super) struct Meter {
    requests: Window,
    bytes: Window,
    pub(super) flight: Flight,
    told: Told,
    /// When a request was last let in.
    last: Option<i64>,
    ideal: Ideal,
    /// How long windows made it wait at least, and how long it waited where they did.
    pub(super) pace: Pace,
}

/// A client that sends the same requests in the same order, each the moment the windows let it: what the real one is held
/// against. Where no window keeps a request, it takes the time that the real one takes.
#[derive(Debug, Default)]
struct Ideal {
    requests: Window,
    bytes: Window,
    /// When it sent the last one, by its own time.
    last: i64,
}

/// The limits of one request: of its window and of that of uploads.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    requests: (u64, Length),
    upload: (u64, Length),
}

impl Bounds {
    fn of(options: &GraphOptions) -> Bounds {
        let limits = &options.limits;
        let length = |seconds| Length { ms: options.scaled_seconds(seconds).max(1), kind: limits.windows };
        Bounds {
            requests: (limits.requests, length(limits.window_seconds)),
            upload: (limits.upload_bytes, length(limits.upload_window_seconds)),
        }
    }

    /// Milliseconds until both windows let a request go.
    fn wait(&self, requests: &Window, bytes: &Window, now: i64, upload: u64) -> i64 {
        let ((most, window), (most_bytes, upload_window)) = (self.requests, self.upload);
        let asked = requests.wait(now, most, 1, window);
        if upload == 0 { asked } else { asked.max(bytes.wait(now, most_bytes, upload, upload_window)) }
    }
}

impl Ideal {
    /// Sends the next request, for which the real client took `took`; how long it took itself. `kept`: by a window.
    fn send(&mut self, bounds: &Bounds, upload: u64, took: i64, kept: bool) -> i64 {
        let least = bounds.wait(&self.requests, &self.bytes, self.last, upload);
        let own = if kept { least } else { least.max(took) };
        self.last += own;
        self.requests.add(self.last, 1, bounds.requests.1);
        if upload > 0 {
            self.bytes.add(self.last, upload, bounds.upload.1);
        }
        own
    }
}

/// How well the windows were used while they were what bound: of the requests that could not have gone when the one before
/// them did, how long it was until they came, and how long it would have been for a client that sends the same ones at the
/// moments the windows let them. Whoever is late by the same time with each request loses that once a window: the next
/// window begins as much later. In milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Requests that a window kept.
    pub kept: u64,
    /// As long as it would have been, all added up.
    pub least_ms: u64,
    /// As long as it took until they came.
    pub took_ms: u64,
}

impl std::ops::AddAssign for Pace {
    fn add_assign(&mut self, other: Pace) {
        self.kept += other.kept;
        self.least_ms += other.least_ms;
        self.took_ms += other.took_ms;
    }
}

impl Meter {
    /// Counts a request of `upload` octets and takes a slot, or refuses.
    pub(super) fn enter(&mut self, options: &GraphOptions, now: i64, upload: u64) -> Result<(), Refusal> {
        let (limits, bounds) = (&options.limits, Bounds::of(options));
        let (window, upload_window) = (bounds.requests.1, bounds.upload.1);
        let kept = self.last.map_or(0, |last| bounds.wait(&self.requests, &self.bytes, last, upload));
        self.requests.add(now, 1, window);
        if upload > 0 {
            self.bytes.add(now, upload, upload_window);
        }
        let refusal = if self.requests.total > limits.requests {
            let wait = self.requests.wait(now, limits.requests, 1, window);
            throttled(
                now,
                "Application is over its MailboxRequests limit.",
                limits.retry_after,
                wait,
                options,
            )
        } else if upload > 0 && self.bytes.total > limits.upload_bytes {
            let wait = self.bytes.wait(now, limits.upload_bytes, upload, upload_window);
            throttled(now, "Application is over its MailboxUpload limit.", limits.retry_after, wait, options)
        } else if self.flight.is_full(limits.concurrent) {
            let message = "Application is over its MailboxConcurrency limit.";
            throttled(now, message, limits.concurrency_retry_after, options.scaled_seconds(1), options)
        } else {
            self.flight.enter();
            let took = self.last.map_or(0, |last| now - last);
            let least = self.ideal.send(&bounds, upload, took, kept > 0);
            if kept > 0 {
                let ms = |ms: i64| u64::try_from(ms).unwrap_or(0);
                self.pace += Pace { kept: 1, least_ms: ms(least), took_ms: ms(took) };
            }
            self.last = Some(now);
            return Ok(());
        };
        if let Some(seconds) = refusal.retry_after {
            self.tell(now, seconds);
        }
        Err(refusal)
    }

    /// Forgets what no window reaches any more: mailboxes whose migration is over take no room.
    pub(super) fn rest(&mut self, options: &GraphOptions, now: i64) {
        let bounds = Bounds::of(options);
        let longest = bounds.requests.1.ms.max(bounds.upload.1.ms);
        // Every request is in this window, refused ones too.
        if self.requests.entries.back().is_some_and(|(at, _)| now - at > longest) {
            (self.requests, self.bytes, self.last) = (Window::default(), Window::default(), None);
            self.ideal = Ideal::default();
        }
    }

    /// Notes that the app was told to wait.
    pub(super) fn tell(&mut self, now: i64, wait_seconds: u64) {
        let wait = i64::try_from(wait_seconds.saturating_mul(1000)).unwrap_or(i64::MAX / 4);
        self.told.tell(now, wait);
    }

    /// Was it told to wait long enough ago to know, and does not?
    pub(super) fn impatient(&self, now: i64) -> bool {
        self.told.impatient(now)
    }
}

/// What one app did everywhere.
#[derive(Debug, Default)]
pub(super) struct AppMeter {
    requests: Window,
}

impl AppMeter {
    pub(super) fn enter(&mut self, options: &GraphOptions, now: i64) -> Result<(), Refusal> {
        let limits = &options.limits;
        let length = Length { ms: options.scaled_seconds(APP_WINDOW).max(1), kind: limits.windows };
        self.requests.add(now, 1, length);
        if self.requests.total <= limits.app_requests {
            return Ok(());
        }
        let wait = self.requests.wait(now, limits.app_requests, 1, length);
        Err(throttled(now, "Too many requests.", limits.retry_after, wait, options))
    }
}

/// `wait_ms` is of the mock's time already; what an option says is not.
fn throttled(now: i64, message: &str, retry: RetryAfter, wait_ms: i64, options: &GraphOptions) -> Refusal {
    let mut refusal = Refusal::new(429, "ApplicationThrottled", message);
    let exact = u64::try_from(wait_ms).unwrap_or(0).div_ceil(1000).max(1);
    refusal.retry_after = match retry {
        RetryAfter::Exact | RetryAfter::Date => Some(exact),
        RetryAfter::Absent => None,
        RetryAfter::Seconds(s) => Some(options.scaled_wait(s)),
    };
    if retry == RetryAfter::Date {
        // Dates have no fractions: the second after, so that nobody is told too little.
        let until =
            now.saturating_add(i64::try_from(exact).unwrap_or(0).saturating_mul(1000)).saturating_add(999);
        refusal.retry_text = Some(date::write_http(until));
    }
    refusal
}

#[cfg(test)]
mod tests {
    use super::super::options::Limits;
    use super::*;

    fn of(limits: Limits) -> GraphOptions {
        GraphOptions { limits, ..GraphOptions::default() }
    }

    #[test]
    fn the_window_slides_and_refused_requests_count() {
        let options = of(Limits { requests: 3, window_seconds: 10, concurrent: 99, ..Limits::default() });
        let mut meter = Meter::default();
        for now in [0, 1000, 2000] {
            assert!(meter.enter(&options, now, 0).is_ok());
        }
        assert_eq!(
            meter.enter(&options, 3000, 0).unwrap_err().retry_after,
            Some(8),
            "the 2nd leaves at 11 s"
        );
        assert!(meter.enter(&options, 10_000, 0).is_err(), "three of the last ten seconds remain");
        assert!(meter.enter(&options, 12_500, 0).is_ok());
    }

    #[test]
    fn a_fixed_window_forgets_all_at_once_on_the_wall_clock() {
        let limits = Limits { windows: Windows::Fixed, requests: 3, window_seconds: 10, ..Limits::default() };
        let options = of(Limits { concurrent: 99, ..limits });
        let mut meter = Meter::default();
        for now in [47_000, 48_000, 49_999] {
            assert!(meter.enter(&options, now, 0).is_ok());
        }
        assert_eq!(
            meter.enter(&options, 49_999, 0).unwrap_err().retry_after,
            Some(1),
            "till 50 s, rounded up"
        );
        for now in [50_000, 50_001, 50_002] {
            assert!(meter.enter(&options, now, 0).is_ok(), "six in little more than three seconds");
        }
        assert_eq!(meter.enter(&options, 52_500, 0).unwrap_err().retry_after, Some(8));
        let mut app = AppMeter::default();
        let options = of(Limits { windows: Windows::Fixed, app_requests: 1, ..Limits::default() });
        assert!(app.enter(&options, 9_999).is_ok() && app.enter(&options, 10_000).is_ok());
        assert_eq!(app.enter(&options, 10_001).unwrap_err().retry_after, Some(10));
    }

    #[test]
    fn under_a_time_scale_windows_shrink_and_waits_are_rounded_up() {
        for windows in [Windows::Sliding, Windows::Fixed] {
            let limits = Limits { windows, requests: 1, window_seconds: 600, ..Limits::default() };
            let mut options = of(Limits { concurrency_retry_after: RetryAfter::Seconds(30), ..limits });
            options.time_scale = 100;
            let mut meter = Meter::default();
            assert!(meter.enter(&options, 0, 0).is_ok());
            assert_eq!(
                meter.enter(&options, 500, 0).unwrap_err().retry_after,
                Some(6),
                "5.5 s of 6 are left"
            );
            assert!(meter.enter(&options, 12_000, 0).is_ok());
            meter = Meter::default();
            options.limits.concurrent = 0;
            assert_eq!(meter.enter(&options, 0, 0).unwrap_err().retry_after, Some(1), "30 s, scaled");
        }
    }

    #[test]
    fn a_wait_may_be_told_as_a_date() {
        let options = of(Limits { requests: 0, retry_after: RetryAfter::Date, ..Limits::default() });
        let refusal = Meter::default().enter(&options, 1_700_000_000_500, 0).unwrap_err();
        // Ten minutes, and up to the next full second.
        assert_eq!(refusal.retry_text.as_deref(), Some("Tue, 14 Nov 2023 22:23:21 GMT"));
    }

    #[test]
    fn octets_are_limited_too() {
        for windows in [Windows::Sliding, Windows::Fixed] {
            let limits =
                Limits { windows, upload_bytes: 100, upload_window_seconds: 10, ..Limits::default() };
            let options = of(Limits { concurrent: 99, ..limits });
            let mut meter = Meter::default();
            assert!(meter.enter(&options, 0, 60).is_ok());
            assert!(meter.enter(&options, 1, 60).is_err());
            assert!(meter.enter(&options, 2, 0).is_ok(), "reads pass");
            assert!(meter.enter(&options, 10_001, 60).is_ok(), "refused ones count no longer");
        }
    }

    #[test]
    fn what_windows_kept_is_compared_with_what_it_took() {
        let limits = Limits { upload_bytes: 100, upload_window_seconds: 10, ..Limits::default() };
        let options = of(Limits { concurrent: 99, ..limits });
        let mut meter = Meter::default();
        assert!(meter.enter(&options, 0, 0).is_ok());
        assert!(meter.enter(&options, 0, 60).is_ok(), "nothing was uploaded yet");
        assert!(meter.enter(&options, 1_000, 40).is_ok(), "fits: no window kept it");
        assert_eq!(meter.pace, Pace::default());
        // The first 60 leave at ten seconds, nine after the last request.
        assert!(meter.enter(&options, 10_500, 50).is_ok());
        assert_eq!(meter.pace, Pace { kept: 1, least_ms: 9_000, took_ms: 9_500 });
        assert!(meter.enter(&options, 10_600, 0).is_ok(), "reads are no matter of that window");
        assert!(meter.enter(&options, 10_700, 90).is_err());
        assert_eq!(meter.pace.kept, 1, "refused ones did not come");
    }

    #[test]
    fn a_meter_at_rest_holds_nothing_and_counts_on() {
        let limits =
            Limits { upload_bytes: 100, upload_window_seconds: 10, window_seconds: 10, ..Limits::default() };
        let options = of(Limits { concurrent: 99, ..limits });
        let mut meter = Meter::default();
        for now in [0, 10_001] {
            assert!(meter.enter(&options, now, 90).is_ok());
        }
        let pace = meter.pace;
        assert_eq!(pace.kept, 1);
        meter.rest(&options, 20_001);
        assert_eq!(meter.requests.entries.len(), 1, "a window still reaches it");
        meter.rest(&options, 20_002);
        assert!(meter.requests.entries.is_empty() && meter.bytes.entries.is_empty());
        assert!(meter.enter(&options, 20_002, 90).is_ok());
        assert!(meter.enter(&options, 20_003, 90).is_err());
        assert_eq!(meter.pace, pace);
    }

    #[test]
    fn who_is_late_with_each_request_loses_it_once_a_window() {
        let limits = Limits { upload_bytes: 100, upload_window_seconds: 10, ..Limits::default() };
        let options = of(Limits { concurrent: 1000, ..limits });
        let mut meter = Meter::default();
        let mut came: Vec<i64> = Vec::new();
        for n in 0..400 {
            // Four fit into a window; from the fifth on each comes 100 ms after it might.
            let at = if n < 4 { 2_500 * n as i64 } else { came[n - 4] + 10_100 };
            assert!(meter.enter(&options, at, 25).is_ok());
            came.push(at);
        }
        assert_eq!(meter.pace.kept, 396);
        let share = meter.pace.least_ms as f64 / meter.pace.took_ms as f64;
        assert!((share - 10_000.0 / 10_100.0).abs() < 0.001, "{share}");
    }

    #[test]
    fn at_most_so_many_are_in_flight() {
        let options = of(Limits { concurrent: 2, ..Limits::default() });
        let mut meter = Meter::default();
        assert!(meter.enter(&options, 0, 0).is_ok());
        assert!(meter.enter(&options, 0, 0).is_ok());
        assert!(meter.enter(&options, 0, 0).unwrap_err().message.contains("MailboxConcurrency"));
        meter.flight.leave();
        assert!(meter.enter(&options, 0, 0).is_ok());
    }
}

//! How long a mailbox takes: its size under the ceilings that hold for one mailbox.

use std::time::Duration;

/// What a mailbox holds, or what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Messages.
    pub messages: u64,
    /// Their octets, in bytes.
    pub bytes: u64,
}

/// What one mailbox may do at its target, however many others there are. A ceiling of 0 does not bind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceilings {
    /// Upload bytes a second.
    pub upload_per_second: f64,
    /// Requests a second.
    pub requests_per_second: f64,
    /// Requests at once.
    pub at_once: u32,
    /// How long the target takes for one request.
    pub latency: Duration,
    /// Bytes on the wire for one byte of mail: base64 and envelopes.
    pub wire_factor: f64,
    /// Requests for one message.
    pub requests_per_message: f64,
}

/// The times that one mailbox takes by itself, of which the longest decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Its bytes at the rate of upload.
    pub bytes: Duration,
    /// Its requests at their rate.
    pub requests: Duration,
    /// Its round trips, so many at once.
    pub trips: Duration,
}

impl Terms {
    /// The longest.
    pub fn longest(&self) -> Duration {
        self.bytes.max(self.requests).max(self.trips)
    }
}

impl Ceilings {
    /// The times a mailbox takes at least.
    pub fn terms(&self, load: Load) -> Terms {
        let requests = load.messages as f64 * self.requests_per_message;
        // A plan of more than a hundred years is no plan; and no sum of such times overflows.
        let seconds = |s: f64| Duration::try_from_secs_f64(s.min(3e9)).unwrap_or_default();
        let over = |amount: f64, rate: f64| if rate > 0.0 { seconds(amount / rate) } else { Duration::ZERO };
        Terms {
            bytes: over(load.bytes as f64 * self.wire_factor, self.upload_per_second),
            requests: over(requests, self.requests_per_second),
            trips: seconds(requests * self.latency.as_secs_f64() / f64::from(self.at_once.max(1))),
        }
    }

    /// The least time a mailbox takes: the longest of its bytes, its requests, and its round trips side by side.
    pub fn time(&self, load: Load) -> Duration {
        self.terms(load).longest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAPH: Ceilings = Ceilings {
        upload_per_second: 500_000.0,
        requests_per_second: 10_000.0 / 600.0,
        at_once: 4,
        latency: Duration::from_millis(300),
        wire_factor: 4.0 / 3.0,
        requests_per_message: 1.0,
    };

    #[test]
    fn the_longest_of_bytes_requests_and_round_trips_decides() {
        let by_bytes = GRAPH.time(Load { messages: 10, bytes: 1_500_000_000 });
        assert_eq!(by_bytes.as_secs(), 4_000);
        let by_trips = GRAPH.time(Load { messages: 100_000, bytes: 1 });
        assert_eq!(by_trips.as_secs(), 7_500);
        let quick = Ceilings { latency: Duration::from_millis(10), ..GRAPH };
        assert_eq!(quick.time(Load { messages: 100_000, bytes: 1 }).as_secs(), 6_000, "requests decide");
    }

    #[test]
    fn ceilings_of_nothing_and_absurd_loads_give_a_time() {
        let none = Ceilings { upload_per_second: 0.0, requests_per_second: 0.0, at_once: 0, ..GRAPH };
        assert_eq!(none.time(Load::default()), Duration::ZERO);
        assert!(
            GRAPH.time(Load { messages: u64::MAX, bytes: u64::MAX }) > Duration::from_secs(1_000_000_000)
        );
    }
}

//! How much goes into one request: a server works on a batch for at most a minute, and gives up on what is left then
//! (`ErrorBatchProcessingStopped`). A machine without clock or I/O learns from the answers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a request should take: far enough below the minute that a slow moment does not cut it.
const AIM: Duration = Duration::from_secs(15);
/// Octets that cost about as much as a message does by itself, in bytes.
const UNIT: u64 = 64 << 10;

/// What a message of `size` octets costs, in units.
fn units(size: u64) -> u64 {
    1 + size / UNIT
}

/// The machine. One per mailbox: its lanes share what they learn.
#[derive(Debug)]
pub(super) struct Sizing {
    messages: usize,
    bytes: u64,
    /// Units one request may have.
    allowed: Mutex<u64>,
    most: u64,
}

impl Sizing {
    /// At most so many messages and bytes, whatever is learnt.
    pub(super) fn new(messages: usize, bytes: u64) -> Sizing {
        let most = messages as u64 + bytes / UNIT;
        Sizing { messages: messages.max(1), bytes, allowed: Mutex::new(most), most }
    }

    /// How many messages from the front, of these sizes in bytes, make the next request: at least one.
    pub(super) fn fitting(&self, sizes: impl Iterator<Item = u64>) -> usize {
        let allowed = *self.lock();
        let (mut count, mut bytes, mut work) = (0, 0u64, 0u64);
        for size in sizes.take(self.messages) {
            bytes = bytes.saturating_add(size);
            work = work.saturating_add(units(size));
            if count > 0 && (bytes > self.bytes || work > allowed) {
                break;
            }
            count += 1;
        }
        count
    }

    /// A request with messages of these sizes took so long. What is allowed falls at once to what fits the aim, and
    /// grows by at most the half.
    pub(super) fn learn(&self, sizes: impl Iterator<Item = u64>, took: Duration) {
        let work: u64 = sizes.map(units).sum();
        let fits = u128::from(work) * AIM.as_millis() / took.as_millis().max(1);
        let fits = u64::try_from(fits).unwrap_or(u64::MAX);
        let mut allowed = self.lock();
        let grown = allowed.saturating_add((*allowed / 2).max(1));
        *allowed = fits.min(grown).clamp(1, self.most.max(1));
    }

    /// The server did not come to the end of a request of these sizes.
    pub(super) fn cut(&self, sizes: impl Iterator<Item = u64>) {
        let work: u64 = sizes.map(units).sum();
        let mut allowed = self.lock();
        *allowed = (*allowed).min(work / 2).max(1);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, u64> {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(n: usize) -> impl Iterator<Item = u64> {
        std::iter::repeat_n(1000, n)
    }

    #[test]
    fn messages_and_bytes_are_bounded_and_a_large_message_goes_alone() {
        let sizing = Sizing::new(10, 4 << 20);
        assert_eq!(sizing.fitting(small(100)), 10);
        assert_eq!(sizing.fitting([3 << 20, 1 << 20, 1].into_iter()), 2);
        assert_eq!(sizing.fitting([40 << 20, 1].into_iter()), 1);
        assert_eq!(sizing.fitting(std::iter::empty()), 0);
    }

    #[test]
    fn a_slow_server_gets_smaller_requests_and_a_recovered_one_larger_ones_again() {
        let sizing = Sizing::new(40, 1 << 20);
        sizing.learn(small(40), Duration::from_secs(120));
        assert_eq!(sizing.fitting(small(100)), 5, "3 s a message");
        sizing.learn(small(5), Duration::from_secs(300));
        assert_eq!(sizing.fitting(small(100)), 1, "never none");
        for _ in 0..20 {
            sizing.learn(small(1), Duration::from_millis(10));
        }
        assert_eq!(sizing.fitting(small(100)), 40);
    }

    #[test]
    fn a_request_that_was_cut_is_halved() {
        let sizing = Sizing::new(40, 1 << 20);
        sizing.cut(small(40));
        assert_eq!(sizing.fitting(small(100)), 20);
        for _ in 0..10 {
            sizing.cut(small(1));
        }
        assert_eq!(sizing.fitting(small(100)), 1);
    }
}

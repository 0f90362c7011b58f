//! How long to wait before trying again, and how often to try.

use std::time::Duration;

/// Bounded retries with exponential growth and full jitter.
///
/// Full jitter (a wait drawn evenly between nothing and the ceiling) spreads clients that failed together; the
/// random number is handed in, so that a simulated world repeats itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Ceiling of the first wait.
    pub base: Duration,
    /// No ceiling grows beyond this.
    pub max: Duration,
    /// Tries in all, the first one included (at least 1 is made).
    pub tries: u32,
}

impl Backoff {
    /// The longest wait after the `attempt`-th failure (counted from 0): `base` × 2^`attempt`, at most `max`.
    #[must_use]
    pub fn ceiling(&self, attempt: u32) -> Duration {
        self.base.saturating_mul(1u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(self.max)
    }

    /// The wait after the `attempt`-th failure (counted from 0), between zero and [`Backoff::ceiling`]. `random`
    /// is evenly distributed over all of `u64`.
    #[must_use]
    pub fn next(&self, attempt: u32, random: u64) -> Duration {
        scale(self.ceiling(attempt), random)
    }

    /// As [`Backoff::next`], but never less than half the ceiling: for a peer that said it is overloaded, where a
    /// wait of nearly nothing would be rude.
    #[must_use]
    pub fn next_at_least_half(&self, attempt: u32, random: u64) -> Duration {
        let half = self.ceiling(attempt) / 2;
        half + scale(half, random)
    }

    /// The wait before another try after the `attempt`-th failure (counted from 0); `None` when the tries are used
    /// up.
    #[must_use]
    pub fn again(&self, attempt: u32, random: u64) -> Option<Duration> {
        (attempt.saturating_add(1) < self.tries).then(|| self.next(attempt, random))
    }
}

/// `whole` × `random` ÷ 2^64.
fn scale(whole: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    let part = (u128::from(nanos) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), max: Duration::from_secs(60), tries: 4 };

    #[test]
    fn the_ceiling_doubles_up_to_its_maximum() {
        let ceilings: Vec<u64> = (0..8).map(|n| BACKOFF.ceiling(n).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(BACKOFF.ceiling(u32::MAX), Duration::from_secs(60));
    }

    #[test]
    fn four_tries_have_three_waits() {
        let waits: Vec<bool> = (0..5).map(|n| BACKOFF.again(n, 1).is_some()).collect();
        assert_eq!(waits, [true, true, true, false, false]);
    }

    #[test]
    fn the_jitter_covers_the_whole_range() {
        assert_eq!(BACKOFF.next(3, 0), Duration::ZERO);
        assert!(BACKOFF.next(3, u64::MAX) > Duration::from_millis(7_999));
        assert_eq!(BACKOFF.next(3, 1 << 63), Duration::from_secs(4));
        assert_eq!(BACKOFF.next_at_least_half(3, 0), Duration::from_secs(4));
    }

    proptest! {
        #[test]
        fn no_wait_is_above_its_ceiling(attempt: u32, random: u64) {
            prop_assert!(BACKOFF.next(attempt, random) <= BACKOFF.ceiling(attempt));
            prop_assert!(BACKOFF.next_at_least_half(attempt, random) <= BACKOFF.ceiling(attempt));
        }
    }
}

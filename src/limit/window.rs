//! An exact sliding window: how much was spent in the last *W*, and when there will be room.
//!
//! A fixed window that resets on the minute lets twice its capacity through at the seam, and a token bucket lets
//! burst + rate through: both are refused by a service that counts the last *W* at every moment. This accountant
//! counts as such a service does. Its memory is bounded: charges of one 200th of the window are kept as one sum, and
//! that sum leaves when the *latest* charge in it leaves. So it may count a charge up to *W*/200 too long, never too
//! short; one that is alone in its 200th leaves when it must.

use std::collections::VecDeque;
use std::time::Duration;

use crate::env::Tick;

/// How many slices a window is kept in: the price of bounded memory is at most 1/200 of the rate.
const SLICES: u64 = 200;

/// What was spent in the last `length`.
#[derive(Debug)]
pub(super) struct Window {
    /// In nanoseconds.
    length: u64,
    /// Nanoseconds per slice, at least 1.
    grain: u64,
    sum: u64,
    /// Ascending; at most `SLICES + 2`.
    slices: VecDeque<Slice>,
}

/// All is counted in nanoseconds: they last for centuries, and this is asked for every request.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Debug, Clone, Copy)]
struct Slice {
    /// Its latest charge, in nanoseconds. Slices lie in different multiples of the grain, counted from tick zero.
    latest: u64,
    amount: u64,
}

impl Window {
    /// An empty window over the last `length`.
    pub(super) fn new(length: Duration) -> Window {
        let length = nanos(length);
        Window { length, grain: (length / SLICES).max(1), sum: 0, slices: VecDeque::new() }
    }

    /// Counts `amount` as spent at `now`. Never refuses: what was sent was sent.
    pub(super) fn charge(&mut self, now: Tick, amount: u64) {
        self.expire(now);
        if amount == 0 {
            return;
        }
        self.sum = self.sum.saturating_add(amount);
        let at = nanos(now);
        match self.slices.back_mut() {
            // A clock that steps back must not reorder the slices: the charge joins the latest one.
            Some(last) if last.latest / self.grain >= at / self.grain => {
                last.amount = last.amount.saturating_add(amount);
                last.latest = last.latest.max(at);
            }
            _ => self.slices.push_back(Slice { latest: at, amount }),
        }
    }

    /// What was spent in the last `length` before `now`.
    pub(super) fn spent(&mut self, now: Tick) -> u64 {
        self.expire(now);
        self.sum
    }

    /// The first moment, not before `now`, at which `amount` more keeps within `capacity` if nothing else is
    /// spent until then. An amount larger than the capacity has its moment when the window is empty.
    pub(super) fn earliest(&mut self, now: Tick, amount: u64, capacity: u64) -> Tick {
        self.expire(now);
        let may_remain = capacity - amount.min(capacity);
        let mut remains = self.sum;
        let mut last = None;
        for slice in &self.slices {
            if remains <= may_remain {
                break;
            }
            remains = remains.saturating_sub(slice.amount);
            last = Some(slice.latest);
        }
        last.map_or(now, |latest| Duration::from_nanos(self.leaves(latest)))
    }

    /// Counts the whole capacity as spent at `at`: what a process that ended then may have sent.
    pub(super) fn assume_spent(&mut self, at: Tick, capacity: u64) {
        self.charge(at, capacity);
    }

    /// When all charges of a slice are older than `length`, in nanoseconds.
    fn leaves(&self, latest: u64) -> u64 {
        latest.saturating_add(self.length).saturating_add(1)
    }

    fn expire(&mut self, now: Tick) {
        let now = nanos(now);
        while let Some(first) = self.slices.front()
            && self.leaves(first.latest) <= now
        {
            self.sum = self.sum.saturating_sub(first.amount);
            self.slices.pop_front();
        }
        if self.slices.is_empty() {
            // Exact again, whatever saturated; and an idle gate keeps no buffer.
            self.sum = 0;
            self.slices = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(millis: u64) -> Tick {
        Duration::from_millis(millis)
    }

    /// The first moment after it.
    fn after(millis: u64) -> Tick {
        at(millis) + Duration::from_nanos(1)
    }

    #[test]
    fn a_charge_counts_for_the_whole_window_and_at_most_one_slice_longer() {
        let mut window = Window::new(MINUTE);
        window.charge(at(1_000), 7);
        window.charge(at(1_100), 2);
        assert_eq!(window.spent(at(61_000)), 9, "exactly one window later it still counts");
        assert_eq!(window.spent(at(61_100)), 9, "with what is in the same slice");
        assert_eq!(window.spent(at(61_101)), 0);
    }

    #[test]
    fn a_charge_alone_in_its_slice_counts_no_longer_than_the_window() {
        let mut window = Window::new(MINUTE);
        window.charge(at(900), 7);
        assert_eq!(window.earliest(at(1_000), 4, 10), after(60_900));
        assert_eq!(window.spent(after(60_900)), 0);
    }

    #[test]
    fn the_earliest_moment_is_when_enough_has_left() {
        let mut window = Window::new(MINUTE);
        window.charge(at(0), 6);
        window.charge(at(30_000), 4);
        assert_eq!(window.earliest(at(30_000), 0, 10), at(30_000), "nothing always fits");
        assert_eq!(window.earliest(at(30_000), 6, 10), after(60_000));
        assert_eq!(window.earliest(at(30_000), 7, 10), after(90_000));
    }

    #[test]
    fn more_than_the_capacity_fits_once_the_window_is_empty() {
        let mut window = Window::new(MINUTE);
        assert_eq!(window.earliest(at(5), 11, 10), at(5));
        window.charge(at(5), 11);
        assert_eq!(window.earliest(at(10), 11, 10), after(60_005));
    }

    #[test]
    fn a_window_assumed_spent_frees_itself_one_length_later() {
        let mut window = Window::new(MINUTE);
        window.assume_spent(at(0), 10);
        assert_eq!(window.earliest(at(0), 1, 10), after(60_000));
        assert_eq!(window.spent(after(60_000)), 0);
    }

    proptest! {
        #[test]
        fn it_never_undercounts_and_overcounts_by_at_most_a_slice(
            steps in prop::collection::vec((0u64..5_000, 0u64..50), 1..400),
        ) {
            let mut window = Window::new(MINUTE);
            let mut all = Vec::new();
            let mut now = 0;
            for (wait, amount) in steps {
                now += wait;
                window.charge(at(now), amount);
                all.push((now, amount));
                let within = |millis: u64| -> u64 {
                    all.iter().filter(|(t, _)| now - t <= millis).map(|(_, a)| a).sum()
                };
                let spent = window.spent(at(now));
                prop_assert!(spent >= within(60_000));
                prop_assert!(spent <= within(60_300));
                prop_assert!(window.slices.len() <= SLICES as usize + 2);
            }
        }

        #[test]
        fn at_the_earliest_moment_it_fits_and_a_millisecond_before_it_does_not(
            steps in prop::collection::vec((0u64..5_000, 1u64..50), 1..100),
            amount in 0u64..400,
        ) {
            let mut window = Window::new(MINUTE);
            let mut now = 0;
            for (wait, spent) in steps {
                now += wait;
                window.charge(at(now), spent);
            }
            let earliest = window.earliest(at(now), amount, 300);
            let need = amount.min(300);
            if earliest > at(now) {
                prop_assert!(window.spent(earliest - at(1)) + need > 300);
            }
            prop_assert!(window.spent(earliest) + need <= 300);
        }
    }
}

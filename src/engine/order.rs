//! In which order mailboxes are begun, and go on: by priority, then the one that takes longest first, so that all end
//! together. Decides in a run and in `simulate`; `expect` says what a run knows of sizes.
//!
//! A wave ends with its last mailbox, and a mailbox cannot go faster than its own ceilings allow, whatever is free. So the
//! longest begin first; the many short ones fill what is left at the end. One whose size is not known may be the longest
//! of all: it begins before those that are known. One that cannot end within the window anyhow begins last: the others
//! would wait for it and gain nothing; what it gets done counts for the next window.

use std::cmp::Reverse;
use std::time::Duration;

/// What is known of a mailbox before it is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Larger goes first, whatever its length.
    pub priority: i32,
    /// How long it will take, if its size is known.
    pub time: Option<Duration>,
}

/// Where a mailbox stands among others: the smallest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    too_long: bool,
    priority: Reverse<i32>,
    time: Reverse<Duration>,
}

impl Expected {
    /// Can it end within a window of this length (`None`: no end)? What is not known may.
    pub fn fits(&self, window: Option<Duration>) -> bool {
        window.is_none_or(|window| self.time.is_none_or(|time| time <= window))
    }

    pub(crate) fn place(&self, window: Option<Duration>) -> Place {
        Place {
            too_long: !self.fits(window),
            priority: Reverse(self.priority),
            time: Reverse(self.time.unwrap_or(Duration::MAX)),
        }
    }
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Order {
    /// Ordinals, each once.
    pub mailboxes: Vec<usize>,
    /// Those among them that cannot end within the window, the longest first.
    pub too_long: Vec<usize>,
}

/// Orders mailboxes for a window of this length (`None`: no end). Equal ones stay as they were.
pub fn longest_first(all: &[Expected], window: Option<Duration>) -> Order {
    let mut mailboxes: Vec<usize> = (0..all.len()).collect();
    mailboxes.sort_by_key(|i| all[*i].place(window));
    let mut too_long: Vec<usize> = mailboxes.iter().copied().filter(|i| !all[*i].fits(window)).collect();
    too_long.sort_by_key(|i| Reverse(all[*i].time));
    Order { mailboxes, too_long }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(priority: i32, minutes: Option<u64>) -> Expected {
        Expected { priority, time: minutes.map(|m| Duration::from_secs(60 * m)) }
    }

    #[test]
    fn priority_then_unknown_then_longest_and_what_cannot_fit_last() {
        let all = [one(0, Some(5)), one(0, Some(50)), one(1, Some(1)), one(0, None), one(9, Some(700))];
        let order = longest_first(&all, Some(Duration::from_secs(36_000)));
        assert_eq!(order, Order { mailboxes: vec![2, 3, 1, 0, 4], too_long: vec![4] });
        assert_eq!(longest_first(&all, None).mailboxes, [4, 2, 3, 1, 0], "without an end all fit");
    }

    proptest! {
        #[test]
        fn every_mailbox_has_one_place(
            all in prop::collection::vec((-2i32..3, prop::option::of(0u64..99)), 0..40), window in 0u64..99,
        ) {
            let all: Vec<Expected> = all.into_iter().map(|(p, m)| one(p, m)).collect();
            let order = longest_first(&all, Some(Duration::from_secs(60 * window)));
            let mut places = order.mailboxes.clone();
            places.sort_unstable();
            prop_assert_eq!(places, (0..all.len()).collect::<Vec<_>>());
            prop_assert_eq!(order.too_long.len(), all.iter().filter(|e| e.time > Some(Duration::from_secs(60 * window))).count());
        }
    }
}

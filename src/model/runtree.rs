//! Sets of numbers that come in any order: what a walk has seen, which ids are on record.

use std::collections::BTreeMap;

/// A set of `u64` kept as disjoint, non-adjacent runs in a tree: as small as [`super::RunSet`] for numbers that follow
/// each other, and adding one costs O(log runs) wherever it falls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunTree(BTreeMap<u64, u64>);

impl RunTree {
    /// Nothing in it?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is `n` in it?
    pub fn contains(&self, n: u64) -> bool {
        self.before(n).is_some_and(|(_, last)| n <= last)
    }

    /// Adds `n`. `false`: it was there.
    pub fn insert(&mut self, n: u64) -> bool {
        let left = self.before(n);
        if left.is_some_and(|(_, last)| n <= last) {
            return false;
        }
        let touches = |(_, last): &(u64, u64)| last.checked_add(1) == Some(n);
        let first = left.filter(touches).map_or(n, |(first, _)| first);
        let last = n.checked_add(1).and_then(|next| self.0.remove(&next)).unwrap_or(n);
        self.0.insert(first, last);
        true
    }

    /// Takes `n` out. `false`: it was not there.
    pub fn remove(&mut self, n: u64) -> bool {
        let Some((first, last)) = self.before(n).filter(|(_, last)| n <= *last) else { return false };
        self.0.remove(&first);
        if first < n {
            self.0.insert(first, n - 1);
        }
        if n < last {
            self.0.insert(n + 1, last);
        }
        true
    }

    /// The last run that begins at or before `n`.
    fn before(&self, n: u64) -> Option<(u64, u64)> {
        self.0.range(..=n).next_back().map(|(first, last)| (*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_like_a_plain_set(ops in prop::collection::vec((any::<bool>(), 0u64..60), 0..200)) {
            let mut runs = RunTree::default();
            let mut plain = BTreeSet::new();
            for (add, n) in ops {
                let changed = if add { (runs.insert(n), plain.insert(n)) } else { (runs.remove(n), plain.remove(&n)) };
                prop_assert_eq!(changed.0, changed.1);
                prop_assert_eq!(runs.is_empty(), plain.is_empty());
                for n in 0..61 {
                    prop_assert_eq!(runs.contains(n), plain.contains(&n));
                }
            }
            let neighbours = runs.0.iter().zip(runs.0.iter().skip(1));
            prop_assert!(neighbours.into_iter().all(|((_, last), (first, _))| last + 1 < *first), "runs are merged");
        }
    }

    #[test]
    fn the_ends_of_the_number_range_hold() {
        let mut set = RunTree::default();
        assert!(set.insert(u64::MAX) && set.insert(0) && set.insert(u64::MAX - 1));
        assert!(set.contains(0) && set.contains(u64::MAX) && !set.contains(1));
        assert!(set.remove(u64::MAX) && set.remove(0) && !set.remove(0) && set.contains(u64::MAX - 1));
    }
}

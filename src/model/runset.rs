//! Sets of numbers that are mostly runs: which messages of a folder are done.

use std::ops::RangeInclusive;

/// A set of `u64` kept as sorted, disjoint, non-adjacent runs. A folder copied in order costs two numbers, however
/// many messages it has.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunSet(Vec<(u64, u64)>);

impl RunSet {
    /// Nothing in it?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers (saturating).
    pub fn len(&self) -> u64 {
        self.0.iter().fold(0u64, |n, (a, b)| n.saturating_add((b - a).saturating_add(1)))
    }

    /// Is `n` in it?
    pub fn contains(&self, n: u64) -> bool {
        let i = self.0.partition_point(|(_, end)| *end < n);
        self.0.get(i).is_some_and(|(start, _)| *start <= n)
    }

    /// Adds `first..=last`; nothing if `first > last`.
    pub fn insert(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        // Nearly always numbers come in order: then only the last run is looked at.
        if let Some((start, end)) = self.0.last_mut()
            && first >= *start
        {
            if first <= end.saturating_add(1) {
                *end = last.max(*end);
            } else {
                self.0.push((first, last));
            }
            return;
        }
        // The runs that touch or neighbour the new one are merged into it.
        let from = self.0.partition_point(|(_, end)| end.saturating_add(1) < first);
        let to = self.0.partition_point(|(start, _)| *start <= last.saturating_add(1));
        let (mut a, mut b) = (first, last);
        if from < to {
            a = a.min(self.0[from].0);
            b = b.max(self.0[to - 1].1);
        }
        self.0.splice(from..to, [(a, b)]);
    }

    /// Takes `n` out.
    pub fn remove(&mut self, n: u64) {
        let i = self.0.partition_point(|(_, end)| *end < n);
        let Some(&(a, b)) = self.0.get(i) else { return };
        if n < a {
            return;
        }
        let left = (a < n).then(|| (a, n - 1));
        let right = (n < b).then(|| (n + 1, b));
        self.0.splice(i..=i, left.into_iter().chain(right));
    }

    /// The runs, ascending.
    pub fn runs(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        self.0.iter().map(|(a, b)| *a..=*b)
    }

    /// Every number, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.runs().flatten()
    }

    /// Bytes for the ledger: varints of gap and length.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = 0;
        for (a, b) in &self.0 {
            put_varint(&mut out, a - at);
            put_varint(&mut out, b - a);
            at = *b;
        }
        out
    }

    /// Reads [`RunSet::encode`]'s bytes; `None` if they are damaged.
    pub fn decode(mut bytes: &[u8]) -> Option<RunSet> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        let mut at = 0u64;
        while !bytes.is_empty() {
            let a = at.checked_add(take_varint(&mut bytes)?)?;
            let b = a.checked_add(take_varint(&mut bytes)?)?;
            if runs.last().is_some_and(|(_, end)| a <= end.saturating_add(1)) {
                return None;
            }
            runs.push((a, b));
            at = b;
        }
        Some(RunSet(runs))
    }
}

impl FromIterator<u64> for RunSet {
    fn from_iter<T: IntoIterator<Item = u64>>(iter: T) -> Self {
        let mut set = RunSet::default();
        iter.into_iter().for_each(|n| set.insert(n, n));
        set
    }
}

/// Appends `v` as LEB128.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push((v & 0x7f) as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// Takes a LEB128 number off the front; `None` if cut short or above 64 bits.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut v = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(first & 0x7f);
        if shift == 63 && low > 1 {
            return None;
        }
        v |= low << shift;
        if first & 0x80 == 0 {
            return Some(v);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_like_a_plain_set(ops in prop::collection::vec((any::<bool>(), 0u64..60, 0u64..6), 0..80)) {
            let mut runs = RunSet::default();
            let mut plain = BTreeSet::new();
            for (add, n, more) in ops {
                if add {
                    runs.insert(n, n + more);
                    plain.extend(n..=n + more);
                } else {
                    runs.remove(n);
                    plain.remove(&n);
                }
                prop_assert_eq!(runs.iter().collect::<BTreeSet<_>>(), plain.clone());
                prop_assert_eq!(runs.len(), plain.len() as u64);
                prop_assert_eq!(RunSet::decode(&runs.encode()), Some(runs.clone()));
            }
            for n in 0..70 {
                prop_assert_eq!(runs.contains(n), plain.contains(&n));
            }
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            if let Some(set) = RunSet::decode(&bytes) {
                prop_assert_eq!(RunSet::decode(&set.encode()), Some(set));
            }
        }
    }

    #[test]
    fn the_ends_of_the_number_range_hold() {
        let mut set = RunSet::default();
        set.insert(0, 0);
        set.insert(u64::MAX, u64::MAX);
        assert_eq!(set.len(), 2);
        assert_eq!(RunSet::decode(&set.encode()), Some(set));
    }
}

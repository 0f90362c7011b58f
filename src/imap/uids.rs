//! Sets of UIDs (RFC 3501 §9, `sequence-set`).

use std::fmt;

use super::scan::{Scan, Unreadable};

/// Most UIDs a set is written out to where their order matters (APPENDUID, COPYUID).
const WRITTEN_OUT: u64 = 100_000;

/// A set of UIDs as ascending, disjoint ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UidSet(Vec<(u32, u32)>);

impl UidSet {
    /// The UIDs from `first` to `last`, both included.
    pub fn range(first: u32, last: u32) -> UidSet {
        UidSet(vec![(first.min(last), first.max(last))])
    }

    /// The union of ranges in any order; the ends of a range may be in any order too.
    pub fn of_ranges(ranges: impl IntoIterator<Item = (u32, u32)>) -> UidSet {
        let mut all: Vec<(u32, u32)> = ranges.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
        all.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => joined.push((first, last)),
            }
        }
        UidSet(joined)
    }

    /// No UID at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many UIDs.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// Is it one of them?
    pub fn contains(&self, uid: u32) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= uid);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, last)| uid <= *last)
    }

    /// Its ranges, ascending and disjoint, both ends included.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// Its UIDs, ascending. A foreign set can hold four thousand million of them: see [`UidSet::len`] first.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }
}

impl FromIterator<u32> for UidSet {
    fn from_iter<I: IntoIterator<Item = u32>>(uids: I) -> UidSet {
        UidSet::of_ranges(uids.into_iter().map(|uid| (uid, uid)))
    }
}

impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (first, last)) in self.0.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}:{last}")?;
            }
        }
        Ok(())
    }
}

/// The ranges of a set as sent, in the order sent. `*` and 0 are no UIDs.
pub(super) fn ranges(text: &[u8]) -> Scan<Vec<(u32, u32)>> {
    text.split(|b| *b == b',')
        .map(|range| {
            let mut ends = range.splitn(2, |b| *b == b':').map(uid);
            let first = ends.next().ok_or(Unreadable)??;
            Ok((first, ends.next().unwrap_or(Ok(first))?))
        })
        .collect()
}

/// The UIDs of a set as sent, in the order sent (a range ascends, whichever end comes first).
pub(super) fn written_out(text: &[u8]) -> Scan<Vec<u32>> {
    let ranges = ranges(text)?;
    let count: u64 = ranges.iter().map(|(a, b)| u64::from(a.abs_diff(*b)) + 1).sum();
    if count > WRITTEN_OUT {
        return Err(Unreadable);
    }
    Ok(ranges.into_iter().flat_map(|(a, b)| a.min(b)..=a.max(b)).collect())
}

fn uid(digits: &[u8]) -> Scan<u32> {
    let text = std::str::from_utf8(digits).map_err(|_| Unreadable)?;
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|uid| plain && *uid > 0).ok_or(Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn uids_are_written_as_ranges() {
        assert_eq!([1, 2, 3, 7, 9, 10].into_iter().collect::<UidSet>().to_string(), "1:3,7,9:10");
        assert_eq!([9, 2, 3, 2, 1].into_iter().collect::<UidSet>().to_string(), "1:3,9");
        assert_eq!(UidSet::range(u32::MAX, 5).to_string(), "5:4294967295");
    }

    #[test]
    fn a_set_is_read_in_the_order_sent_and_nonsense_is_refused() {
        assert_eq!(written_out(b"304,319:320,7,9:8"), Ok(vec![304, 319, 320, 7, 8, 9]));
        for text in [&b""[..], b"0", b"*", b"1:*", b"1:", b",1", b"1,", b"+1", b"4294967296", b"1:2:3"] {
            assert!(ranges(text).is_err(), "{}", String::from_utf8_lossy(text));
        }
        assert!(written_out(b"1:4294967295").is_err());
        assert_eq!(ranges(b"1:4294967295"), Ok(vec![(1, u32::MAX)]));
    }

    proptest! {
        #[test]
        fn a_set_holds_what_was_put_in(uids in proptest::collection::vec(1u32..60, 0..40)) {
            let set: UidSet = uids.iter().copied().collect();
            let held: BTreeSet<u32> = uids.into_iter().collect();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), held.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.len(), held.len() as u64);
            prop_assert!((0..70).all(|uid| set.contains(uid) == held.contains(&uid)));
            if !set.is_empty() {
                let again = ranges(set.to_string().as_bytes()).map(UidSet::of_ranges);
                prop_assert_eq!(again, Ok(set));
            }
        }
    }
}

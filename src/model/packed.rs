//! Sets of numbers in few bytes: runs where they are long, bits where they are not.

use std::ops::RangeInclusive;

use super::runset::{RunSet, put_varint, take_varint};

/// Appends a set: twice the length of what follows, plus one for bits; then [`RunSet::encode`]'s bytes, or the first number
/// and a bit for it and each one after it.
pub(super) fn pack(out: &mut Vec<u8>, set: &RunSet) {
    let runs = set.encode();
    let (first, last) =
        (set.runs().next().map_or(0, |r| *r.start()), set.runs().last().map_or(0, |r| *r.end()));
    // A few bytes more for the first number.
    let bits = ((last - first) / 8).saturating_add(10);
    if set.is_empty() || bits >= runs.len() as u64 {
        put_varint(out, (runs.len() as u64) << 1);
        out.extend_from_slice(&runs);
        return;
    }
    let mut part = Vec::new();
    put_varint(&mut part, first);
    let base = part.len();
    for number in set.iter() {
        let bit = number - first;
        let at = base + (bit / 8) as usize;
        if part.len() <= at {
            part.resize(at + 1, 0);
        }
        part[at] |= 1 << (bit % 8);
    }
    put_varint(out, ((part.len() as u64) << 1) | 1);
    out.extend_from_slice(&part);
}

/// Takes a set off the front; `None` if these bytes are none.
pub(super) fn unpack(bytes: &mut &[u8]) -> Option<RunSet> {
    let head = take_varint(bytes)?;
    let (mut part, rest) = bytes.split_at_checked(usize::try_from(head >> 1).ok()?)?;
    *bytes = rest;
    if head & 1 == 0 {
        return RunSet::decode(part);
    }
    let first = take_varint(&mut part)?;
    let mut set = RunSet::default();
    let mut run: Option<(u64, u64)> = None;
    for (at, byte) in part.iter().enumerate().filter(|(_, byte)| **byte != 0) {
        for bit in (0..8).filter(|bit| byte >> bit & 1 == 1) {
            let number = first.checked_add(at as u64 * 8 + bit)?;
            run = match run {
                Some((from, to)) if to + 1 == number => Some((from, number)),
                before => {
                    before.into_iter().for_each(|(from, to)| set.insert(from, to));
                    Some((number, number))
                }
            };
        }
    }
    run.into_iter().for_each(|(from, to)| set.insert(from, to));
    Some(set)
}

/// Numbers of a set by their places in it: holes cost nothing then.
pub(super) struct Places(Vec<(RangeInclusive<u64>, u64)>);

impl Places {
    /// The places of a set.
    pub(super) fn of(set: &RunSet) -> Places {
        let mut before = 0;
        let runs = set.runs().map(|run| {
            let place = before;
            before += run.end() - run.start() + 1;
            (run, place)
        });
        Places(runs.collect())
    }

    /// The places of some numbers of the set, all of which must be in it.
    pub(super) fn places(&self, some: &RunSet) -> RunSet {
        let mut out = RunSet::default();
        let mut at = 0;
        for run in some.runs() {
            while self.0.get(at).is_some_and(|(all, _)| all.end() < run.start()) {
                at += 1;
            }
            let Some((all, place)) = self.0.get(at) else { break };
            out.insert(place + (run.start() - all.start()), place + (run.end() - all.start()));
        }
        out
    }

    /// The numbers at some places; `None` if there are fewer.
    pub(super) fn numbers(&self, places: &RunSet) -> Option<RunSet> {
        let mut out = RunSet::default();
        let mut at = 0;
        for run in places.runs() {
            let (mut from, to) = (*run.start(), *run.end());
            loop {
                let (all, place) = self.0.get(at)?;
                let last = place + (all.end() - all.start());
                if last < from {
                    at += 1;
                    continue;
                }
                let end = to.min(last);
                out.insert(all.start() + (from - place), all.start() + (end - place));
                if end == to {
                    break;
                }
                from = end + 1;
            }
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_set_reads_back_as_it_was_packed(
            numbers in prop::collection::btree_set(prop_oneof![0u64..900, any::<u64>()], 0..400), more: Vec<u8>,
        ) {
            let set: RunSet = numbers.into_iter().collect();
            let mut bytes = Vec::new();
            pack(&mut bytes, &set);
            bytes.extend_from_slice(&more);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(unpack(&mut rest), Some(set));
            prop_assert_eq!(rest, &more[..]);
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            let _ = unpack(&mut bytes.as_slice());
        }

        #[test]
        fn places_and_numbers_are_two_ways_to_say_the_same(
            all in prop::collection::btree_set(0u64..500, 1..200), keep: Vec<bool>,
        ) {
            let some: RunSet = all.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(n, _)| *n).collect();
            let all: RunSet = all.into_iter().collect();
            let places = Places::of(&all);
            let told = places.places(&some);
            prop_assert_eq!(told.len(), some.len());
            prop_assert_eq!(places.numbers(&told), Some(some));
            let beyond: RunSet = [all.len()].into_iter().collect();
            prop_assert_eq!(places.numbers(&beyond), None);
        }
    }

    #[test]
    fn random_holes_cost_a_bit_a_number() {
        let numbers: RunSet =
            (1..2000u64).filter(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60 < 11).collect();
        let mut bytes = Vec::new();
        pack(&mut bytes, &numbers);
        assert!(bytes.len() < 270, "{} bytes for {} numbers", bytes.len(), numbers.len());
    }
}

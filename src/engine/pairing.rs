//! Which copies are whose, where a whole mailbox is looked at and no ledger says: pure functions over multisets.

use std::collections::{BTreeMap, BTreeSet};

use super::arrivals::{Expected, assign, same_time};
use crate::target::Arrival;

/// What is told of each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pair {
    /// This copy is its own.
    Copy(usize),
    /// No copy is left that could be its own.
    None,
    /// One may be, and which one cannot be told.
    Doubtful,
}

/// Pairs messages with copies. `ours`: every copy is known to be of one of these messages (it carries a stamp of their
/// mailbox); else mail of others may be among them.
///
/// By octets, then as an unknown outcome is settled ([`assign`]); then exact twins by their number, whose copies differ
/// in nothing that counts; then, where copies are ours, messages without a Message-ID by their date, where there is one
/// way to see it. A message is doubtful if what is left over could be its copy all the same.
pub(super) fn pair(expected: &[Expected], copies: &[Arrival], ours: bool) -> Vec<Pair> {
    let mut pairs = vec![Pair::None; expected.len()];
    let mut free = vec![true; copies.len()];
    // A message and its copy have one Message-ID, or the server gave the copy one: then only its octets or its date tell.
    for (messages, found) in by_id(expected, copies) {
        let some: Vec<Expected> = messages.iter().map(|m| expected[*m].clone()).collect();
        let there: Vec<Arrival> = found.iter().map(|c| copies[*c].clone()).collect();
        for (m, at) in messages.iter().zip(assign(&some, &there)) {
            if let Some(at) = at {
                free[found[at]] = false;
                pairs[*m] = Pair::Copy(found[at]);
            }
        }
        let left: Vec<usize> = messages.into_iter().filter(|m| pairs[*m] == Pair::None).collect();
        let rest: Vec<usize> = found.into_iter().filter(|c| free[*c]).collect();
        if left.first().is_some_and(|m| expected[*m].message_id != Some(0)) {
            by_number(expected, copies, (&left, &rest), &mut pairs, &mut free);
        }
    }
    if ours {
        for (messages, found) in by_date(expected, copies, &pairs, &free) {
            by_number(expected, copies, (&messages, &found), &mut pairs, &mut free);
        }
    }
    let left: Vec<&Arrival> = copies.iter().zip(&free).filter(|(_, free)| **free).map(|(c, _)| c).collect();
    for (one, pair) in expected.iter().zip(&mut pairs).filter(|(_, pair)| **pair == Pair::None) {
        if left.iter().any(|copy| may_be(one, copy, ours)) {
            *pair = Pair::Doubtful;
        }
    }
    pairs
}

type Group = (Vec<usize>, Vec<usize>);

/// Messages and copies of one Message-ID.
fn by_id(expected: &[Expected], copies: &[Arrival]) -> Vec<Group> {
    let mut groups: BTreeMap<u64, Group> = BTreeMap::new();
    for (m, one) in expected.iter().enumerate() {
        groups.entry(one.message_id.unwrap_or(0)).or_default().0.push(m);
    }
    for (c, copy) in copies.iter().enumerate() {
        if let Some(group) = groups.get_mut(&copy.message_id) {
            group.1.push(c);
        }
    }
    groups.into_values().collect()
}

/// Messages without a Message-ID and copies with none of theirs, of one received date.
fn by_date(expected: &[Expected], copies: &[Arrival], pairs: &[Pair], free: &[bool]) -> Vec<Group> {
    let ids: BTreeSet<u64> = expected.iter().filter_map(|e| e.message_id).filter(|id| *id != 0).collect();
    let mut groups: BTreeMap<i64, Group> = BTreeMap::new();
    for (m, one) in expected.iter().enumerate().filter(|(m, _)| pairs[*m] == Pair::None) {
        if let (Some(0), Some(at)) = (one.message_id, one.received) {
            groups.entry(at.seconds).or_default().0.push(m);
        }
    }
    for (c, copy) in copies.iter().enumerate().filter(|(c, _)| free[*c]) {
        if let Some(group) = copy.received.and_then(|at| groups.get_mut(&at.seconds))
            && !ids.contains(&copy.message_id)
        {
            group.1.push(c);
        }
    }
    groups.into_values().collect()
}

/// Exact twins may be exchanged: what is alike in every way is paired in order, as far as the copies reach.
fn by_number(
    expected: &[Expected],
    copies: &[Arrival],
    (messages, found): (&[usize], &[usize]),
    pairs: &mut [Pair],
    free: &mut [bool],
) {
    let Some(first) = messages.first() else { return };
    let alike = messages.iter().all(|m| expected[*m].digest == expected[*first].digest);
    let dated = |c: &usize| same_time(expected[*first].received, copies[*c].received);
    if !alike || expected[*first].digest.is_none() || !found.iter().all(dated) || found.len() > messages.len()
    {
        return;
    }
    for (m, c) in messages.iter().zip(found) {
        pairs[*m] = Pair::Copy(*c);
        free[*c] = false;
    }
}

/// Could this be the message's copy, for all that is known?
fn may_be(one: &Expected, copy: &Arrival, ours: bool) -> bool {
    let dates = one.received.zip(copy.received);
    let same_date = dates.is_some_and(|(a, b)| a.seconds == b.seconds);
    match one.message_id {
        Some(id) if id != 0 => copy.message_id == id,
        Some(_) => {
            let nameless = copy.message_id == 0 && one.size == copy.size;
            nameless || (same_date && (ours || (copy.message_id == 0 && near(one, copy))))
        }
        // It could not be read: its date and size are all there is.
        None => same_date && (ours || near(one, copy)),
    }
}

fn near(one: &Expected, copy: &Arrival) -> bool {
    one.size.abs_diff(copy.size) <= (one.size / 8).max(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digest, Flags, Timestamp};

    fn message(octets: &str, id: u64, at: i64) -> Expected {
        Expected {
            digest: Some(Digest::of(octets.as_bytes())),
            size: octets.len() as u64,
            message_id: Some(id),
            received: Some(Timestamp::utc(at)),
            flags: Flags::default(),
        }
    }

    fn copy(octets: &str, message_id: u64, at: i64) -> Arrival {
        Arrival {
            id: octets.to_owned(),
            digest: Digest::of(octets.as_bytes()),
            size: octets.len() as u64,
            message_id,
            received: Some(Timestamp::utc(at)),
            flags: Flags::default(),
        }
    }

    #[test]
    fn octets_tell_whatever_else_there_is() {
        let messages = [message("a", 1, 5), message("b", 0, 6), message("c", 3, 7)];
        let copies = [copy("b", 0, 6), copy("other", 9, 5), copy("a", 1, 5)];
        assert_eq!(pair(&messages, &copies, false), [Pair::Copy(2), Pair::Copy(0), Pair::None]);
    }

    #[test]
    fn of_twins_as_many_are_there_as_there_are_copies() {
        let twins = [message("a", 1, 5), message("a", 1, 5), message("a", 1, 5)];
        let rebuilt = [copy("a rebuilt one way", 1, 5), copy("a rebuilt another way", 1, 5)];
        assert_eq!(pair(&twins, &rebuilt, true), [Pair::Copy(0), Pair::Copy(1), Pair::None]);
        assert_eq!(pair(&twins[..1], &rebuilt, true), [Pair::Doubtful], "which of the two?");
    }

    #[test]
    fn messages_of_one_id_and_other_octets_are_doubtful_where_copies_were_changed() {
        let two = [message("a", 1, 5), message("b", 1, 5)];
        let one = [copy("rebuilt", 1, 5)];
        assert_eq!(pair(&two, &one, true), [Pair::Doubtful, Pair::Doubtful]);
        assert_eq!(pair(&two, &[copy("b", 1, 5)], true), [Pair::None, Pair::Copy(0)]);
    }

    #[test]
    fn a_message_without_an_id_is_known_by_its_date_among_copies_of_ours_only() {
        let one = [message("a", 0, 5)];
        let given = [copy("a with an id of the server's", 77, 5)];
        assert_eq!(pair(&one, &given, true), [Pair::Copy(0)]);
        assert_eq!(pair(&one, &given, false), [Pair::None], "mail of others");
        let two = [message("a", 0, 5), message("b", 0, 5)];
        assert_eq!(pair(&two, &given, true), [Pair::Doubtful, Pair::Doubtful]);
        assert_eq!(pair(&one, &[copy("b", 0, 5)], false), [Pair::Copy(0)], "date and exact size");
        let near = [copy("another text", 0, 5)];
        assert_eq!(pair(&one, &near, false), [Pair::Doubtful], "date, and nearly the size");
    }

    #[test]
    fn the_copy_of_another_message_is_not_taken_by_date() {
        let messages = [message("a", 0, 5), message("b", 8, 6)];
        assert_eq!(
            pair(&messages, &[copy("b rebuilt", 8, 6)], true),
            [Pair::None, Pair::Copy(0)],
            "its own id says whose it is"
        );
    }
}

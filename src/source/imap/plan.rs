//! Which messages are asked for by which command: few enough octets that several commands can be in flight.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::SourceId;
use crate::source::Wanted;

/// Octets asked for by one command, by the sizes the listing told, in bytes. One message may have more.
const COMMAND: u64 = 2 << 20;

/// What a message of unknown size is taken for, in bytes.
const UNKNOWN: u64 = 64 << 10;

/// The UID of a wanted message, if it can have one.
pub(super) fn uid_of(wanted: &Wanted) -> Option<u32> {
    match wanted.id {
        SourceId::Number(n) => u32::try_from(n).ok().filter(|uid| *uid > 0),
        SourceId::Name(_) => None,
    }
}

/// Parts `uids` into commands of at most `at_once` messages, ascending.
pub(super) fn commands(uids: &BTreeMap<u32, Option<u64>>, at_once: usize) -> VecDeque<Vec<u32>> {
    let mut commands = VecDeque::new();
    let mut command: Vec<u32> = Vec::new();
    let mut octets = 0u64;
    for (uid, size) in uids {
        let size = size.unwrap_or(UNKNOWN);
        if !command.is_empty() && (command.len() >= at_once.max(1) || octets.saturating_add(size) > COMMAND) {
            commands.push_back(std::mem::take(&mut command));
            octets = 0;
        }
        command.push(*uid);
        octets = octets.saturating_add(size);
    }
    if !command.is_empty() {
        commands.push_back(command);
    }
    commands
}

/// Two halves of a set that did not come, none of them empty.
pub(super) fn halves(uids: &[u32]) -> impl Iterator<Item = Vec<u32>> + use<> {
    let (first, second) = uids.split_at(uids.len() / 2);
    [first.to_vec(), second.to_vec()].into_iter().filter(|half| !half.is_empty())
}

/// Those of `asked` that are not there, and those that are.
pub(super) fn part(asked: &[u32], there: &BTreeSet<u32>) -> (Vec<u32>, Vec<u32>) {
    asked.iter().partition(|uid| !there.contains(uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_asks_for_a_bounded_number_of_octets_and_messages() {
        let sizes: [(u32, Option<u64>); 8] = [
            (1, Some(1 << 20)),
            (2, Some(1 << 20)),
            (3, Some(1)),
            (4, Some(50 << 20)),
            (5, None),
            (6, Some(0)),
            (7, Some(u64::MAX)),
            (8, Some(u64::MAX)),
        ];
        let plan = commands(&sizes.into_iter().collect(), 100);
        assert_eq!(plan, [vec![1, 2], vec![3], vec![4], vec![5, 6], vec![7], vec![8]]);
        let small = (1..=7).map(|uid| (uid, Some(10))).collect();
        assert_eq!(commands(&small, 3), [vec![1, 2, 3], vec![4, 5, 6], vec![7]]);
        assert!(commands(&BTreeMap::new(), 3).is_empty());
    }
}

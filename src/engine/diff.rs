//! What a listing says against what is recorded: a pure function.

use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::FolderState;
use crate::model::{Fact, Flags, Listed, SourceId, Timestamp};

/// A message at the source that needs a copy (or is a moved one).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewMessage {
    /// Its number; 0 for a named message that has none yet.
    pub number: u64,
    /// The source's own name for it.
    pub id: SourceId,
    /// As listed, in bytes.
    pub size: Option<u64>,
    /// As listed.
    pub received: Option<Timestamp>,
    /// As listed.
    pub flags: Flags,
    /// Numbers from here to its own are holes: the listing proved that nothing is there.
    pub from: u64,
}

/// What is different.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Diff {
    /// Messages without a copy, in the order listed.
    pub new: Vec<NewMessage>,
    /// Recorded messages the source does not list any more: their facts.
    pub vanished: Vec<Fact>,
    /// Recorded messages whose flags are not those last synced: number and flags now.
    pub reflagged: Vec<(u64, Flags)>,
    /// Recorded messages still there.
    pub present: u64,
    /// Skipped numbers that are not listed any more.
    pub unskip: Vec<u64>,
}

/// Is a copy of this number on record? Not the same as done: a number once gone (or taken for a hole) that is listed
/// again needs a copy.
fn is_live(known: &FolderState, number: u64) -> bool {
    known.flags.get(number).is_some()
}

/// Must the facts be read to compare? Without them only additions and flags can be told, and that is enough when as
/// many recorded messages are listed as are live.
pub(super) fn needs_facts(known: &FolderState, epoch: u64, listed: &[Listed]) -> bool {
    if known.live == 0 && known.orphans == 0 {
        return false;
    }
    if known.orphans > 0 || known.epoch != epoch {
        return true;
    }
    let mut present = 0u64;
    for message in listed {
        match &message.id {
            SourceId::Number(n) => present += u64::from(is_live(known, *n)),
            SourceId::Name(_) => return true,
        }
    }
    present != known.live
}

/// Compares a complete listing with what is recorded. `facts` are the folder's live facts if [`needs_facts`] asked for
/// them; `skips` the numbers and names of its skipped items.
pub(super) fn compare(
    known: &FolderState,
    facts: Option<&[Fact]>,
    skips: &[(u64, String)],
    epoch: u64,
    listed: Vec<Listed>,
) -> Diff {
    let same_epoch = known.epoch == epoch;
    let by_name: BTreeMap<&str, u64> = facts
        .unwrap_or_default()
        .iter()
        .filter(|f| !f.name.is_empty() && f.epoch == epoch)
        .map(|f| (f.name.as_str(), f.number))
        .collect();
    let skipped_names: BTreeMap<&str, u64> =
        skips.iter().filter(|(_, name)| !name.is_empty()).map(|(n, name)| (name.as_str(), *n)).collect();

    let mut diff = Diff::default();
    let mut seen: BTreeSet<u64> = BTreeSet::new();
    let mut listed_names: BTreeSet<String> = BTreeSet::new();
    let mut previous = 0u64;
    for message in listed {
        let (number, done) = match &message.id {
            SourceId::Number(n) => (*n, same_epoch && is_live(known, *n)),
            SourceId::Name(name) => {
                listed_names.insert(name.clone());
                match by_name.get(name.as_str()) {
                    Some(n) => (*n, true),
                    None => (skipped_names.get(name.as_str()).copied().unwrap_or(0), false),
                }
            }
        };
        let numbered = matches!(message.id, SourceId::Number(_));
        if number != 0 && !seen.insert(number) {
            continue; // listed twice: the first one counts
        }
        if done {
            diff.present += 1;
            if known.flags.get(number).is_some_and(|last| *last != message.flags) {
                diff.reflagged.push((number, message.flags));
            }
        } else {
            // Only a source that numbers ascending proves holes.
            let from = if numbered && number > previous { previous + 1 } else { number };
            diff.new.push(NewMessage {
                number,
                id: message.id,
                size: message.size,
                received: message.received,
                flags: message.flags,
                from,
            });
        }
        if numbered {
            previous = number;
        }
    }
    diff.vanished = facts
        .unwrap_or_default()
        .iter()
        .filter(|f| {
            f.epoch != epoch
                || if f.name.is_empty() {
                    // Listed, but not live: recorded in this epoch before the folder left it and came back.
                    !seen.contains(&f.number) || !is_live(known, f.number)
                } else {
                    !listed_names.contains(&f.name)
                }
        })
        .cloned()
        .collect();
    diff.unskip = skips
        .iter()
        .filter(|(n, name)| if name.is_empty() { !seen.contains(n) } else { !listed_names.contains(name) })
        .map(|(n, _)| *n)
        .collect();
    diff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FlagMap, FolderId, FolderPath, RunSet};

    /// Numbers with a copy on record are 2 and 5, as far as `live` says.
    fn known(done: &[(u64, u64)], live: u64) -> FolderState {
        let mut flags = FlagMap::default();
        [2, 5].iter().take(live as usize).for_each(|n| flags.set(*n, &Flags::default()));
        let mut set = RunSet::default();
        done.iter().for_each(|(a, b)| set.insert(*a, *b));
        FolderState {
            id: FolderId(1),
            path: FolderPath::inbox(),
            special: None,
            object_id: None,
            epoch: 7,
            target_folder: "t".into(),
            done: set,
            flags,
            live,
            orphans: 0,
            next_number: 1,
            modseq: 0,
            uidnext: 0,
            messages: 0,
            mark: String::new(),
            missing: false,
        }
    }

    fn listed(n: u64) -> Listed {
        Listed { id: SourceId::Number(n), size: Some(1), received: None, flags: Flags::default(), object: 0 }
    }

    fn fact(epoch: u64, number: u64, name: &str) -> Fact {
        Fact {
            epoch,
            number,
            name: name.into(),
            target_id: String::new(),
            digest: None,
            size: 1,
            received: None,
            header: 0,
            object: 0,
            bound: None,
            losses: String::new(),
        }
    }

    #[test]
    fn new_messages_prove_the_holes_before_them_up_to_the_last_listed_one() {
        let diff =
            compare(&known(&[(1, 5)], 2), None, &[], 7, vec![listed(2), listed(5), listed(9), listed(20)]);
        assert_eq!(diff.present, 2);
        let new: Vec<_> = diff.new.iter().map(|m| (m.from, m.number)).collect();
        assert_eq!(new, [(6, 9), (10, 20)]);
    }

    #[test]
    fn a_message_that_vanished_and_came_back_under_its_number_is_new_again() {
        let mut k = known(&[(1, 5)], 2);
        k.flags.remove(2);
        k.live = 1;
        let diff = compare(&k, None, &[], 7, vec![listed(2), listed(5)]);
        assert_eq!((diff.present, diff.new.len(), diff.new[0].number), (1, 1, 2));
    }

    #[test]
    fn a_folder_that_comes_back_to_an_old_epoch_offers_its_old_copies_again() {
        let mut k = known(&[], 0);
        k.orphans = 2;
        let facts = [fact(7, 2, ""), fact(7, 5, "")];
        let diff = compare(&k, Some(&facts), &[], 7, vec![listed(2), listed(5)]);
        assert_eq!((diff.new.len(), diff.vanished.len()), (2, 2));
    }

    #[test]
    fn facts_are_read_only_when_something_is_missing_or_the_epoch_changed() {
        let k = known(&[(1, 5)], 2);
        assert!(!needs_facts(&k, 7, &[listed(2), listed(5), listed(6)]));
        assert!(needs_facts(&k, 7, &[listed(2)]));
        assert!(needs_facts(&k, 8, &[listed(2), listed(5)]));
        assert!(!needs_facts(&known(&[], 0), 7, &[listed(2)]));
    }

    #[test]
    fn another_epoch_makes_every_listed_message_new_and_every_fact_vanished() {
        let facts = [fact(7, 2, ""), fact(7, 5, "")];
        let diff = compare(&known(&[(1, 5)], 2), Some(&facts), &[], 8, vec![listed(2), listed(3)]);
        assert_eq!((diff.new.len(), diff.vanished.len(), diff.present), (2, 2, 0));
    }

    #[test]
    fn named_messages_are_known_by_name_and_skipped_ones_keep_their_number() {
        let name = |n: &str| Listed { id: SourceId::Name(n.into()), ..listed(0) };
        let facts = [fact(7, 1, "a"), fact(7, 2, "b")];
        let skips = [(3, "c".to_owned()), (4, "gone".to_owned())];
        let diff =
            compare(&known(&[(1, 2)], 2), Some(&facts), &skips, 7, vec![name("b"), name("c"), name("d")]);
        assert_eq!(diff.present, 1);
        assert_eq!(diff.new.iter().map(|m| m.number).collect::<Vec<_>>(), [3, 0]);
        assert_eq!(diff.vanished, [fact(7, 1, "a")]);
        assert_eq!(diff.unskip, [4]);
    }
}

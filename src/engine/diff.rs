//! What a listing says against what is recorded: a pure function.

use std::collections::{BTreeMap, BTreeSet};

use super::roll::Roll;
use crate::ledger::FolderState;
use crate::model::{Fact, Flags, RunSet, SourceId, Timestamp};
use crate::source::{Extent, Listing};

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
    /// As listed: what names its octets wherever they lie in the mailbox; 0 for nothing.
    pub object: u64,
    /// Numbers from here to its own are holes: the listing proved that nothing is there.
    pub from: u64,
}

/// What was asked of a source, and what it told.
#[derive(Debug)]
pub(super) struct Told<'a> {
    /// What the listing proved.
    pub listing: &'a Listing,
    /// UIDNEXT of the checkpoint, if changes since it were asked for: from it on, every message there is was told.
    pub since: u64,
    /// The numbers that were asked for beside the changes, ascending.
    pub also: &'a [u64],
    /// What was told.
    pub listed: Roll,
}

/// What is different.
#[derive(Debug, Default)]
pub(super) struct Diff {
    /// Messages without a copy, in the order listed.
    pub new: Roll,
    /// Recorded messages of this epoch that the source does not hold any more.
    pub gone: RunSet,
    /// Recorded messages whose flags are not those last synced: number and flags now.
    pub reflagged: Vec<(u64, Flags)>,
    /// Recorded messages still there.
    pub present: u64,
    /// Skipped numbers that are not there any more.
    pub unskip: Vec<u64>,
}

/// Must all facts of the folder be read to compare? Names are kept there alone; copies of an earlier epoch are to be
/// bound to their new numbers.
pub(super) fn needs_all_facts(known: &FolderState, listed: &Roll) -> bool {
    known.orphans > 0 || (known.live > 0 && listed.is_named())
}

/// Compares the listing of a source that numbers its messages. `skips` are the numbers of the folder's skipped items.
pub(super) fn numbered(known: &FolderState, skips: &[u64], told: Told<'_>) -> Diff {
    let Told { listing, since, also, listed } = told;
    // Copies on record are those with flags. Not the same as done: a number once gone (or taken for a hole) that is
    // listed again needs a copy.
    let live = if known.epoch == listing.epoch { known.flags.numbers() } else { RunSet::default() };
    let mut diff = Diff::default();
    let mut seen = RunSet::default();
    let mut listed_live = 0u64;
    let whole = listing.extent == Extent::Whole;
    let mut previous = if whole { 0 } else { since.saturating_sub(1) };
    for mut message in listed {
        let number = message.number;
        if seen.contains(number) {
            continue; // listed twice: the first one counts
        }
        seen.insert(number, number);
        if live.contains(number) {
            listed_live += 1;
            if !known.flags.holds(number, &message.flags) {
                diff.reflagged.push((number, message.flags));
            }
        } else {
            // Only where every number is told, ascending, are those between two of them proven holes.
            message.from =
                if number > previous && (whole || number >= since) { previous + 1 } else { number };
            diff.new.push(&message);
        }
        previous = previous.max(number);
    }
    match &listing.extent {
        Extent::Whole => {
            diff.present = listed_live;
            diff.gone = if listed_live == live.len() {
                RunSet::default()
            } else {
                live.iter().filter(|n| !seen.contains(*n)).collect()
            };
            diff.unskip = skips.iter().copied().filter(|n| !seen.contains(*n)).collect();
        }
        Extent::Changes { vanished, .. } => {
            let gone = |n: &u64| vanished.contains(*n) && !seen.contains(*n);
            diff.gone =
                if vanished.is_empty() { RunSet::default() } else { live.iter().filter(gone).collect() };
            diff.present = live.len() - diff.gone.len();
            let over = |n: &u64| gone(n) || (also.binary_search(n).is_ok() && !seen.contains(*n));
            diff.unskip = skips.iter().copied().filter(over).collect();
        }
    }
    diff
}

/// Compares the whole listing of a source that names its messages. `facts` are the folder's live facts; `skips` the
/// numbers and names of its skipped items.
pub(super) fn named(
    known: &FolderState,
    facts: &[Fact],
    skips: &[(u64, String)],
    epoch: u64,
    listed: Roll,
) -> Diff {
    let by_name: BTreeMap<&str, u64> = facts
        .iter()
        .filter(|f| !f.name.is_empty() && f.epoch == epoch)
        .map(|f| (f.name.as_str(), f.number))
        .collect();
    let skipped: BTreeMap<&str, u64> = skips.iter().map(|(n, name)| (name.as_str(), *n)).collect();
    let mut diff = Diff::default();
    let mut names: BTreeSet<String> = BTreeSet::new();
    for mut message in listed {
        let SourceId::Name(name) = &message.id else { continue };
        if !names.insert(name.clone()) {
            continue;
        }
        match by_name.get(name.as_str()) {
            Some(number) => {
                diff.present += 1;
                let synced = known.flags.get(*number);
                if synced.is_some_and(|last| *last != message.flags) {
                    diff.reflagged.push((*number, message.flags));
                }
            }
            None => {
                message.number = skipped.get(name.as_str()).copied().unwrap_or(0);
                message.from = message.number;
                diff.new.push(&message);
            }
        }
    }
    let here = facts.iter().filter(|f| f.epoch == epoch);
    diff.gone = here.filter(|f| !names.contains(&f.name)).map(|f| f.number).collect();
    diff.unskip = skips.iter().filter(|(_, name)| !names.contains(name)).map(|(n, _)| *n).collect();
    diff
}

/// Of all facts of a folder, those whose messages are not where they were: gone, of an earlier epoch, or recorded in
/// this epoch before the folder left it and came back.
pub(super) fn vanished(known: &FolderState, epoch: u64, gone: &RunSet, facts: Vec<Fact>) -> Vec<Fact> {
    let live = known.flags.numbers();
    facts
        .into_iter()
        .filter(|f| f.epoch != epoch || gone.contains(f.number) || !live.contains(f.number))
        .collect()
}

/// Does a listing of changes account for every message the source counts? Those known that did not vanish, those told,
/// and skipped ones that were not asked for. If not, somebody lies or counts otherwise, and only the whole tells.
pub(super) fn adds_up(
    known: &FolderState,
    skips: &[u64],
    listing: &Listing,
    also: &[u64],
    listed: &Roll,
) -> bool {
    let Extent::Changes { vanished, .. } = &listing.extent else { return true };
    if listing.epoch != known.epoch {
        return false;
    }
    let live = known.flags.numbers();
    let told: RunSet = listed.iter().map(|m| m.number).collect();
    let still = |n: &u64| !vanished.contains(*n) || told.contains(*n);
    let there =
        if vanished.is_empty() { live.len() } else { live.iter().filter(still).fold(0, |sum, _| sum + 1) };
    let more = told.iter().filter(|n| !live.contains(*n)).fold(0u64, |sum, _| sum + 1);
    let quiet = |n: &&u64| {
        let n = **n;
        !live.contains(n) && !told.contains(n) && !vanished.contains(n) && also.binary_search(&n).is_err()
    };
    let quiet = skips.iter().filter(quiet).count() as u64;
    there + more + quiet == listing.messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FlagMap, FolderId, FolderPath, Listed};

    /// Numbers with a copy on record are 2 and 5, as far as `live` says.
    fn known(done: &[(u64, u64)], live: u64) -> FolderState {
        let mut flags = FlagMap::default();
        [2, 5].iter().take(live as usize).for_each(|n| flags.set(*n, &Flags::default()));
        let mut set = RunSet::default();
        done.iter().for_each(|(a, b)| set.insert(*a, *b));
        FolderState {
            epoch: 7,
            target_folder: "t".into(),
            done: set,
            flags,
            live,
            uidnext: 6,
            messages: live,
            ..FolderState::blank(FolderId(1), FolderPath::inbox())
        }
    }

    fn listed(n: u64) -> Listed {
        Listed { id: SourceId::Number(n), size: Some(1), received: None, flags: Flags::default(), object: 0 }
    }

    fn roll(numbers: &[u64]) -> Roll {
        numbers.iter().map(|n| listed(*n)).collect()
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
            mode: crate::model::WriteMode::Usual,
        }
    }

    fn whole(epoch: u64) -> Listing {
        Listing { epoch, ..Listing::default() }
    }

    fn changes(messages: u64, vanished: &[u64]) -> Listing {
        let vanished = vanished.iter().copied().collect();
        Listing {
            epoch: 7,
            messages,
            extent: Extent::Changes { vanished, stale_flags: false },
            ..Listing::default()
        }
    }

    fn compare(known: &FolderState, listing: &Listing, numbers: &[u64]) -> Diff {
        numbered(known, &[], Told { listing, since: 6, also: &[], listed: roll(numbers) })
    }

    fn new(diff: &Diff) -> Vec<(u64, u64)> {
        diff.new.iter().map(|m| (m.from, m.number)).collect()
    }

    #[test]
    fn new_messages_prove_the_holes_before_them_up_to_the_last_listed_one() {
        let diff = compare(&known(&[(1, 5)], 2), &whole(7), &[2, 5, 9, 20]);
        assert_eq!(diff.present, 2);
        assert_eq!(new(&diff), [(6, 9), (10, 20)]);
    }

    #[test]
    fn changes_prove_holes_only_from_the_checkpoint_on() {
        let k = known(&[(1, 5)], 2);
        let diff = compare(&k, &changes(5, &[]), &[3, 9, 20]);
        assert_eq!((new(&diff), diff.present), (vec![(3, 3), (6, 9), (10, 20)], 2));
        assert!(diff.gone.is_empty());
    }

    #[test]
    fn what_changes_do_not_name_is_as_it_was() {
        let k = known(&[(1, 5)], 2);
        let listing = changes(1, &[1, 2, 3, 77]);
        let skips = [3, 4];
        let told = Told { listing: &listing, since: 6, also: &[4], listed: Roll::default() };
        let diff = numbered(&k, &skips, told);
        assert_eq!((diff.present, diff.gone.iter().collect::<Vec<_>>()), (1, vec![2]));
        assert_eq!(diff.unskip, [3, 4], "one vanished, the other was asked for and is not there");
    }

    #[test]
    fn changes_must_account_for_every_message_the_source_counts() {
        let k = known(&[(1, 5)], 2);
        assert!(adds_up(&k, &[], &changes(2, &[]), &[], &roll(&[5])));
        assert!(adds_up(&k, &[], &changes(2, &[2, 3]), &[], &roll(&[9])));
        assert!(!adds_up(&k, &[], &changes(3, &[]), &[], &roll(&[5])));
        assert!(!adds_up(&k, &[], &changes(2, &[2]), &[], &Roll::default()));
        assert!(adds_up(&k, &[3], &changes(3, &[]), &[], &Roll::default()), "a skipped one counts");
        assert!(adds_up(&k, &[3], &changes(2, &[]), &[3], &Roll::default()), "unless it was asked for");
        let other = Listing { epoch: 8, ..changes(2, &[]) };
        assert!(!adds_up(&k, &[], &other, &[], &Roll::default()));
    }

    #[test]
    fn a_message_that_vanished_and_came_back_under_its_number_is_new_again() {
        let mut k = known(&[(1, 5)], 2);
        k.flags.remove(2);
        k.live = 1;
        let diff = compare(&k, &whole(7), &[2, 5]);
        assert_eq!((diff.present, new(&diff)), (1, vec![(1, 2)]));
    }

    #[test]
    fn a_folder_that_comes_back_to_an_old_epoch_offers_its_old_copies_again() {
        let mut k = known(&[], 0);
        k.orphans = 2;
        let diff = compare(&k, &whole(7), &[2, 5]);
        let facts = vec![fact(7, 2, ""), fact(7, 5, "")];
        assert_eq!((diff.new.len(), vanished(&k, 7, &diff.gone, facts).len()), (2, 2));
    }

    #[test]
    fn all_facts_are_read_only_for_names_and_for_copies_of_another_epoch() {
        let k = known(&[(1, 5)], 2);
        assert!(!needs_all_facts(&k, &roll(&[2])));
        assert!(needs_all_facts(&FolderState { orphans: 1, ..k.clone() }, &roll(&[2])));
        let name = Listed { id: SourceId::Name("a".into()), ..listed(0) };
        assert!(needs_all_facts(&k, &[name].into_iter().collect()));
    }

    #[test]
    fn what_is_missing_is_gone_and_other_flags_are_told() {
        let mut k = known(&[(1, 5)], 2);
        k.flags.set(5, &Flags::decode("S"));
        let diff = compare(&k, &whole(7), &[5]);
        assert_eq!(diff.gone.iter().collect::<Vec<_>>(), [2]);
        assert_eq!(diff.reflagged, [(5, Flags::default())]);
    }

    #[test]
    fn named_messages_are_known_by_name_and_skipped_ones_keep_their_number() {
        let name = |n: &str| Listed { id: SourceId::Name(n.into()), ..listed(0) };
        let facts = [fact(7, 1, "a"), fact(7, 2, "b")];
        let skips = [(3, "c".to_owned()), (4, "gone".to_owned())];
        let listed = ["b", "c", "d"].map(name).into_iter().collect();
        let diff = named(&known(&[(1, 2)], 2), &facts, &skips, 7, listed);
        assert_eq!(diff.present, 1);
        assert_eq!(diff.new.iter().map(|m| m.number).collect::<Vec<_>>(), [3, 0]);
        assert_eq!(diff.gone.iter().collect::<Vec<_>>(), [1]);
        assert_eq!(diff.unskip, [4]);
    }
}

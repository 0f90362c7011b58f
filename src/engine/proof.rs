//! What must be asked of a source to know a folder, given what is recorded and what it tells unasked: a pure function.
//!
//! A folder whose UIDVALIDITY, UIDNEXT and count are as recorded got and lost nothing: a message that comes takes a
//! number from UIDNEXT, so that an equal count says that none went. HIGHESTMODSEQ says the same of flags. A server
//! without it gives no cheap proof of flags: they are compared in the final pass, which lists such folders whole, and
//! are declared stale in the passes before.
//!
//! Where folders are views of one store, a count tells of more than a folder lists, and only HIGHESTMODSEQ says that it
//! lists what it did. It is on record only if nothing was left for a later pass.

use crate::ledger::{FolderState, IntentItem};
use crate::model::{RunSet, Skip, SkipReason};
use crate::source::{Counters, Extent, Listing};

/// What is known before a folder is looked at.
#[derive(Debug)]
pub(super) struct Known<'a> {
    /// As recorded; `None` for a folder never seen.
    pub recorded: Option<&'a FolderState>,
    /// Messages an earlier run left open, of the folder's epoch.
    pub open: Vec<&'a IntentItem>,
    /// Its skipped items.
    pub skips: &'a [&'a Skip],
    /// Larger messages are skipped, in bytes.
    pub limit: u64,
    /// Are flags to be compared whatever it costs?
    pub final_pass: bool,
    /// Folders are views of one store.
    pub views: bool,
    /// Nothing recorded of any folder counts: they are views, and others than in the last pass.
    pub anew: bool,
}

/// How to look at a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Not at all: this is what a listing would tell.
    Unchanged(Listing),
    /// Ask for what changed since; `true`: flags may stay stale.
    Since(Counters, bool),
    /// List all of it.
    Whole,
}

/// The way to look at a folder, and the numbers to ask for beside the changes, ascending.
pub(super) fn way(known: &Known<'_>, counters: Option<Counters>) -> (Way, Vec<u64>) {
    let told = counters.filter(|c| c.epoch > 0 && c.next > 0);
    let nothing_known = known.recorded.is_none_or(|r| r.live == 0 && r.orphans == 0) && known.open.is_empty();
    if let Some(c) = told.filter(|c| c.messages == 0 && nothing_known && known.skips.is_empty()) {
        return (Way::Unchanged(listing(c, Extent::Whole)), Vec::new());
    }
    let Some(recorded) = known.recorded else { return (Way::Whole, Vec::new()) };
    let Some(then) = checkpoint(recorded) else { return (Way::Whole, Vec::new()) };
    if known.anew || (known.views && known.final_pass) {
        return (Way::Whole, Vec::new());
    }
    if told.is_some_and(|now| now.epoch != then.epoch || now.next < then.next) {
        return (Way::Whole, Vec::new());
    }
    let worth = known.skips.iter().filter(|s| worth_a_try(s, known.limit, known.final_pass));
    let also: RunSet = worth.map(|s| s.number).chain(known.open.iter().map(|i| i.number)).collect();
    let also: Vec<u64> = also.iter().collect();
    if let Some(now) = told {
        // What is on record must be all there is: else something was left for a later pass.
        let accounted = known.views || recorded.live + known.skips.len() as u64 == now.messages;
        let same = accounted && (now.next, now.messages) == (then.next, then.messages);
        let proven = now.modseq > 0 && now.modseq == then.modseq;
        let stale = now.modseq == 0 && !known.final_pass && !known.views;
        if same && also.is_empty() && (proven || stale) {
            let extent = Extent::Changes { vanished: RunSet::default(), stale_flags: !proven };
            return (Way::Unchanged(listing(now, extent)), also);
        }
        if (now.next, now.messages) != (then.next, then.messages) {
            return (Way::Since(then, !known.final_pass), with_a_witness(recorded, also));
        }
    }
    (Way::Since(then, !known.final_pass), also)
}

/// Asks for the newest message on record too, in a folder that has to be asked about anyway: numbers given out again show
/// by its size and date.
fn with_a_witness(recorded: &FolderState, mut also: Vec<u64>) -> Vec<u64> {
    let newest =
        recorded.flags.numbers().runs().map(|run| *run.end()).last().filter(|n| *n < recorded.uidnext);
    if let Some(newest) = newest
        && let Err(at) = also.binary_search(&newest)
    {
        also.insert(at, newest);
    }
    also
}

/// The last complete listing, if changes since it can be asked for.
fn checkpoint(recorded: &FolderState) -> Option<Counters> {
    let usable = !recorded.missing && recorded.orphans == 0 && recorded.epoch > 0 && recorded.uidnext > 0;
    usable.then_some(Counters {
        epoch: recorded.epoch,
        next: recorded.uidnext,
        messages: recorded.messages,
        modseq: recorded.modseq,
    })
}

fn listing(told: Counters, extent: Extent) -> Listing {
    Listing { epoch: told.epoch, next: told.next, modseq: told.modseq, messages: told.messages, extent }
}

/// Skipped items are tried again in every pass, but for those that would end the same way: too large for a limit that
/// is as it was, or no message at all (octets under one number never change). The final pass tries those too.
fn worth_a_try(skip: &Skip, limit: u64, final_pass: bool) -> bool {
    match skip.reason {
        SkipReason::TooLarge => skip.size.is_none_or(|size| size <= limit),
        SkipReason::NotAMessage => final_pass,
        SkipReason::Doubtful => false,
        SkipReason::Refused | SkipReason::Unreadable | SkipReason::Unresolved => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FolderId, FolderPath, SourceId};

    const THEN: Counters = Counters { epoch: 7, next: 11, messages: 4, modseq: 50 };

    fn recorded() -> FolderState {
        FolderState {
            epoch: 7,
            target_folder: "t".into(),
            live: 4,
            modseq: 50,
            uidnext: 11,
            messages: 4,
            ..FolderState::blank(FolderId(1), FolderPath::inbox())
        }
    }

    fn known<'a>(recorded: &'a FolderState, skips: &'a [&'a Skip]) -> Known<'a> {
        Known {
            recorded: Some(recorded),
            open: Vec::new(),
            skips,
            limit: 100,
            final_pass: false,
            views: false,
            anew: false,
        }
    }

    fn unchanged(way: &Way) -> Option<bool> {
        match way {
            Way::Unchanged(Listing { extent: Extent::Changes { stale_flags, .. }, .. }) => Some(*stale_flags),
            _ => None,
        }
    }

    #[test]
    fn a_folder_with_equal_counters_is_not_looked_at() {
        let r = recorded();
        let (way, also) = way(&known(&r, &[]), Some(THEN));
        assert_eq!((unchanged(&way), also.len()), (Some(false), 0));
    }

    #[test]
    fn any_other_counter_asks_for_changes_and_what_would_make_them_meaningless_for_all() {
        let r = recorded();
        for now in [
            Counters { next: 12, ..THEN },
            Counters { messages: 3, ..THEN },
            Counters { modseq: 51, ..THEN },
            Counters { modseq: 49, ..THEN },
        ] {
            assert_eq!(way(&known(&r, &[]), Some(now)).0, Way::Since(THEN, true), "{now:?}");
        }
        assert_eq!(way(&known(&r, &[]), None).0, Way::Since(THEN, true));
        for now in [Counters { epoch: 8, ..THEN }, Counters { next: 10, ..THEN }] {
            assert_eq!(way(&known(&r, &[]), Some(now)).0, Way::Whole, "{now:?}");
        }
        let never_listed = FolderState { uidnext: 0, ..recorded() };
        assert_eq!(way(&known(&never_listed, &[]), Some(THEN)).0, Way::Whole);
        let orphans = FolderState { orphans: 1, ..recorded() };
        assert_eq!(way(&known(&orphans, &[]), Some(THEN)).0, Way::Whole);
    }

    #[test]
    fn without_a_modseq_flags_are_stale_until_the_final_pass() {
        let r = FolderState { modseq: 0, ..recorded() };
        let now = Counters { modseq: 0, ..THEN };
        assert_eq!(unchanged(&way(&known(&r, &[]), Some(now)).0), Some(true));
        let last = Known { final_pass: true, ..known(&r, &[]) };
        assert_eq!(way(&last, Some(now)).0, Way::Since(now, false));
    }

    #[test]
    fn a_folder_with_something_left_to_do_is_looked_at() {
        // A removal was held back: five copies of four messages.
        let r = FolderState { live: 5, ..recorded() };
        assert!(matches!(way(&known(&r, &[]), Some(THEN)).0, Way::Since(..)));
        let r = recorded();
        let item = IntentItem { number: 9, id: SourceId::Number(9), size: None };
        let open = Known { open: vec![&item], ..known(&r, &[]) };
        let (way, also) = way(&open, Some(THEN));
        assert!(matches!(way, Way::Since(..)) && also == [9]);
    }

    #[test]
    fn skipped_items_are_asked_for_where_another_try_can_end_otherwise() {
        let r = FolderState { live: 3, ..recorded() };
        let skip = |reason, size| Skip {
            number: 5,
            name: String::new(),
            reason,
            detail: String::new(),
            size: Some(size),
            received: None,
        };
        for (reason, size, asked) in [
            (SkipReason::TooLarge, 101, false),
            (SkipReason::TooLarge, 100, true),
            (SkipReason::NotAMessage, 0, false),
            (SkipReason::Unreadable, 9, true),
        ] {
            let skip = skip(reason, size);
            let (way, also) = way(&known(&r, &[&skip]), Some(THEN));
            assert_eq!(unchanged(&way).is_none(), asked, "{reason:?}");
            assert_eq!(also, if asked { vec![5] } else { vec![] });
        }
    }

    #[test]
    fn a_view_is_as_it_was_only_by_its_modseq_and_is_listed_whole_when_the_folders_changed() {
        // It counts more messages than it lists.
        let r = FolderState { live: 1, ..recorded() };
        let view = || Known { views: true, ..known(&r, &[]) };
        assert_eq!(unchanged(&way(&view(), Some(THEN)).0), Some(false));
        assert_eq!(way(&Known { anew: true, ..view() }, Some(THEN)).0, Way::Whole);
        assert_eq!(way(&Known { final_pass: true, ..view() }, Some(THEN)).0, Way::Whole);
        let r = FolderState { modseq: 0, ..recorded() };
        let left = Known { views: true, ..known(&r, &[]) };
        for modseq in [0, 50] {
            let now = Counters { modseq, ..THEN };
            assert_eq!(unchanged(&way(&left, Some(now)).0), None, "{modseq}");
        }
    }

    #[test]
    fn an_empty_folder_that_never_held_anything_is_not_looked_at() {
        let r = recorded();
        let none = Known { recorded: None, final_pass: true, ..known(&r, &[]) };
        let empty = Counters { messages: 0, ..THEN };
        assert!(matches!(way(&none, Some(empty)).0, Way::Unchanged(l) if l.extent == Extent::Whole));
        assert_eq!(way(&none, Some(THEN)).0, Way::Whole);
        // Where copies are on record, an empty count alone proves nothing.
        assert!(matches!(way(&known(&recorded(), &[]), Some(empty)).0, Way::Since(..)));
    }

    #[test]
    fn a_folder_that_is_asked_about_anyway_tells_of_its_newest_known_message_too() {
        let mut known = recorded();
        [2, 5, 9].iter().for_each(|n| known.flags.set(*n, &crate::model::Flags::default()));
        known.live = 3;
        let view = Known {
            recorded: Some(&known),
            open: Vec::new(),
            skips: &[],
            limit: 100,
            final_pass: false,
            anew: false,
            views: false,
        };
        let more = Counters { next: 13, messages: 6, ..THEN };
        assert_eq!(way(&view, Some(more)), (Way::Since(THEN, true), vec![9]));
        let flags_only = Counters { modseq: 51, messages: 4, ..THEN };
        assert_eq!(
            way(&view, Some(flags_only)).1,
            Vec::<u64>::new(),
            "nothing came: nothing can be given out again"
        );
    }
}

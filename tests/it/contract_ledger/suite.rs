//! What every ledger promises, for both drivers.

use mailwave::ledger::sqlite::SqliteView;
use mailwave::ledger::{FactsCursor, LedgerView, PassSummary, Walked};
use mailwave::model::{Kind, RunSet, Scope};

use super::*;

/// Each test runs for the threaded and for the inline driver.
macro_rules! for_both_drivers {
    ($($name:ident)*) => {
        mod threads { $(#[test] fn $name() { super::super::on(false, super::$name); })* }
        mod inline { $(#[test] fn $name() { super::super::on(true, super::$name); })* }
    };
}

for_both_drivers! {
    a_claim_taken_later_makes_the_earlier_one_powerless
    two_mailboxes_with_one_key_are_refused
    a_batch_is_open_until_each_of_its_messages_has_an_outcome
    an_unknown_outcome_stays_open_and_its_stamp_is_watched_once
    an_outcome_of_a_message_that_is_not_open_is_refused_and_changes_nothing
    an_intent_for_an_open_message_is_refused
    proven_holes_are_done_but_open_messages_are_no_holes
    another_epoch_turns_live_copies_into_orphans
    an_epoch_that_comes_back_finds_its_orphans
    an_outcome_that_comes_after_its_epoch_is_recorded_as_an_orphan
    ended_facts_end_once_and_their_numbers_stay_done
    a_move_ends_the_old_key_and_binds_the_new_one
    facts_come_in_pages_as_they_were_when_the_walk_began
    a_stored_message_replaces_its_earlier_fact
    starting_over_forgets_everything_but_the_fence_and_the_ids
    numbers_are_never_given_twice
    skipped_messages_are_not_done_and_can_be_taken_back
    flags_follow_the_copies_that_are_live
    positions_missing_folders_and_summaries_are_kept
    every_change_of_a_stale_claim_is_refused_and_changes_nothing
    what_was_answered_is_in_a_copy_of_the_files_made_at_that_moment
    callers_at_the_same_time_share_commits
    changes_are_applied_in_the_order_of_their_calls
    a_refused_change_does_not_disturb_its_group
    the_log_goes_on_in_another_segment_when_one_is_full
    odd_texts_and_numbers_come_back_as_they_were
    the_pass_of_a_wave_is_kept_until_the_mailbox_starts_over
}

async fn the_pass_of_a_wave_is_kept_until_the_mailbox_starts_over(bed: Bed) {
    let walked =
        |pass, complete| Walked { wave: "Nürnberg \"1\"".to_owned(), pass, last: pass > 1, complete };
    let ledger = bed.open();
    let ann = ledger.claim(&mailbox("ann")).await.unwrap();
    let bob = ledger.claim(&mailbox("bob")).await.unwrap();
    let view = SqliteView::open(&bed.dir()).unwrap();
    assert_eq!(view.walked().unwrap().len(), 0);
    for (claim, pass, complete) in [(&ann, 1, false), (&bob, 1, true), (&ann, 2, true)] {
        let applied = ledger.apply(claim, Change::Walked(walked(pass, complete))).await.unwrap();
        assert_eq!(applied, Applied::Done);
    }
    assert_eq!(
        view.walked().unwrap(),
        [(ann.mailbox.clone(), walked(2, true)), (bob.mailbox.clone(), walked(1, true))].into(),
        "the last pass of each"
    );
    let stale = ledger.claim(&mailbox("ann")).await.unwrap();
    let ann = ledger.claim(&mailbox("ann")).await.unwrap();
    ledger.apply(&stale, Change::Walked(walked(9, true))).await.unwrap_err();
    drop((ledger, view));

    let ledger = bed.open();
    let view = SqliteView::open(&bed.dir()).unwrap();
    assert_eq!(view.walked().unwrap()[&ann.mailbox], walked(2, true), "kept, and not by a stale claim");
    ledger.apply(&ann, Change::StartOver { identity: "T2".to_owned() }).await.unwrap();
    assert_eq!(view.walked().unwrap(), [(bob.mailbox, walked(1, true))].into());
}

async fn a_claim_taken_later_makes_the_earlier_one_powerless(bed: Bed) {
    let ledger = bed.open();
    let first = ledger.claim(&mailbox("ann")).await.unwrap();
    let other = ledger.claim(&mailbox("bob")).await.unwrap();
    let second = ledger.claim(&mailbox("ann")).await.unwrap();
    assert_eq!((first.row, second.row, other.row), (1, 1, 2));
    assert!(second.fence > first.fence);
    for error in [
        ledger.load(&first).await.unwrap_err(),
        ledger.facts(&first, FolderId(1)).await.unwrap_err(),
        ledger.number(&first, FolderId(1), 1).await.unwrap_err(),
        ledger.apply(&first, Change::Failed("x".to_owned())).await.unwrap_err(),
    ] {
        assert_eq!((error.kind, error.scope), (Kind::Ledger, Scope::Mailbox), "{error}");
    }
    ledger.load(&second).await.unwrap();
    drop(ledger);
    let third = bed.open().claim(&mailbox("ann")).await.unwrap();
    assert!(third.fence > second.fence, "the fence outlives the process");
}

async fn two_mailboxes_with_one_key_are_refused(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let mut twin = mailbox("bob");
    twin.key = mailbox("ann").key;
    let error = ledger.claim(&twin).await.unwrap_err();
    assert_eq!((error.kind, error.scope), (Kind::Ledger, Scope::Mailbox));
    assert!(!error.to_string().contains("bob"), "no names in errors");
    ledger.load(&claim).await.expect("the refused claim did not take the mailbox over");
}

async fn a_batch_is_open_until_each_of_its_messages_has_an_outcome(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 5)).await;
    let batch = intent(&ledger, &claim, folder, 5, &[1, 2, 3, 4, 5]).await;

    let open = ledger.load(&claim).await.unwrap().open;
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].id, open[0].folder, open[0].epoch), (batch, folder, 5));
    assert_eq!(open[0].items, (1..=5).map(item).collect::<Vec<_>>());
    assert!(open[0].since >= WALL);

    let outcomes = Outcomes { stored: vec![stored(5, 2)], gone: vec![1], ..Outcomes::default() };
    outcome(&ledger, &claim, batch, outcomes).await;
    let state = ledger.load(&claim).await.unwrap();
    assert_eq!(state.open[0].items, (3..=5).map(item).collect::<Vec<_>>());
    assert_eq!(state.folders[0].done, RunSet::from_iter([1, 2]));
    assert_eq!(state.folders[0].live, 1);

    let outcomes = Outcomes {
        skipped: vec![skip(3)],
        unsent: vec![5],
        stored: vec![stored(5, 4)],
        ..Outcomes::default()
    };
    outcome(&ledger, &claim, batch, outcomes).await;
    let state = ledger.load(&claim).await.unwrap();
    assert!(state.open.is_empty());
    assert_eq!(state.folders[0].done, RunSet::from_iter([1, 2, 4]));
    assert_eq!(state.folders[0].flags.get(4), Some(&seen()));
    assert_eq!(state.folders[0].flags.get(1), None);
    assert_eq!(state.skips, vec![(folder, skip(3))]);
    assert_eq!(ledger.facts(&claim, folder).await.unwrap(), vec![fact(5, 2), fact(5, 4)]);
}

async fn an_unknown_outcome_stays_open_and_its_stamp_is_watched_once(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    let batch = intent(&ledger, &claim, folder, 1, &[1, 2]).await;
    let unknown = vec![(1, stamp("ann", folder, 1, 1))];
    for _ in 0..2 {
        let unknown = unknown.clone();
        outcome(&ledger, &claim, batch, Outcomes { unknown, ..Outcomes::default() }).await;
    }
    let state = ledger.load(&claim).await.unwrap();
    assert_eq!(state.open[0].items.len(), 2);
    assert_eq!(state.watch.len(), 1);
    assert_eq!(state.watch[0].stamp, unknown[0].1);
    assert_eq!(state.watch[0].target_folder, "AAMk=");
    assert_eq!(state.watch[0].since, state.open[0].since);
    assert!(state.watch[0].until >= state.watch[0].since);

    outcome(
        &ledger,
        &claim,
        batch,
        Outcomes { stored: vec![stored(1, 1)], unsent: vec![2], ..Outcomes::default() },
    )
    .await;
    let state = ledger.load(&claim).await.unwrap();
    assert!(state.open.is_empty());
    assert_eq!(state.watch.len(), 1, "a late twin may still come");
    ledger.apply(&claim, Change::Unwatch(vec![unknown[0].1.clone()])).await.unwrap();
    assert!(ledger.load(&claim).await.unwrap().watch.is_empty());
}

async fn an_outcome_of_a_message_that_is_not_open_is_refused_and_changes_nothing(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    let batch = intent(&ledger, &claim, folder, 1, &[1, 2]).await;
    let before = everything(&ledger, &claim).await;
    let wrong = [
        Outcomes { stored: vec![stored(1, 1), stored(1, 3)], ..Outcomes::default() },
        Outcomes { stored: vec![stored(2, 1)], ..Outcomes::default() },
        Outcomes { stored: vec![Stored { from: 2, ..stored(1, 1) }], ..Outcomes::default() },
        Outcomes { stored: vec![stored(1, 1)], gone: vec![1], ..Outcomes::default() },
        Outcomes { unsent: vec![9], ..Outcomes::default() },
        Outcomes { unknown: vec![(7, stamp("ann", folder, 1, 7))], ..Outcomes::default() },
        Outcomes { skipped: vec![skip(2), skip(2)], ..Outcomes::default() },
    ];
    for outcomes in wrong {
        let error = ledger.apply(&claim, Change::Outcome { batch, outcomes }).await.unwrap_err();
        assert_eq!(error.kind, Kind::Internal);
        assert_eq!(everything(&ledger, &claim).await, before);
    }
    let none = Change::Outcome { batch: BatchId(batch.0 + 1), outcomes: Outcomes::default() };
    assert_eq!(ledger.apply(&claim, none).await.unwrap_err().kind, Kind::Internal);
}

async fn an_intent_for_an_open_message_is_refused(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    intent(&ledger, &claim, folder, 1, &[1, 2]).await;
    for (epoch, numbers) in [(1, vec![2, 3]), (1, vec![3, 3]), (2, vec![3]), (1, vec![])] {
        let items = numbers.into_iter().map(item).collect();
        let error = ledger
            .apply(&claim, Change::Intent { folder, epoch, anchor: String::new(), items })
            .await
            .unwrap_err();
        assert_eq!(error.kind, Kind::Internal);
    }
    let folder = FolderId(folder.0 + 1);
    let change = Change::Intent { folder, epoch: 1, anchor: String::new(), items: vec![item(1)] };
    assert_eq!(ledger.apply(&claim, change).await.unwrap_err().kind, Kind::Internal);
    assert_eq!(ledger.load(&claim).await.unwrap().open.len(), 1);
}

async fn proven_holes_are_done_but_open_messages_are_no_holes(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    let batch = intent(&ledger, &claim, folder, 1, &[4, 10]).await;
    let stored = vec![Stored { from: 1, ..stored(1, 10) }];
    outcome(&ledger, &claim, batch, Outcomes { stored, ..Outcomes::default() }).await;
    let done = &ledger.load(&claim).await.unwrap().folders[0].done;
    assert_eq!(done.runs().collect::<Vec<_>>(), vec![1..=3, 5..=10]);
}

async fn another_epoch_turns_live_copies_into_orphans(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    store(&ledger, &claim, folder, 1, &[1, 2, 3]).await;
    ledger.apply(&claim, Change::Skipped { folder, skips: vec![skip(4)] }).await.unwrap();
    ledger.apply(&claim, Change::Position { folder, uidnext: 5, modseq: 9, messages: 4 }).await.unwrap();
    assert_eq!(add_folder(&ledger, &claim, folder_row(Some(folder), 2)).await, folder);
    let state = ledger.load(&claim).await.unwrap();
    let f = &state.folders[0];
    assert_eq!((f.epoch, f.live, f.orphans, f.uidnext, f.modseq, f.messages), (2, 0, 3, 0, 0, 0));
    assert!(f.done.is_empty() && f.flags == Default::default());
    assert!(state.skips.is_empty(), "a skip names a number of the epoch that is over");
    assert_eq!(ledger.facts(&claim, folder).await.unwrap().len(), 3);

    // An orphan is bound to its new number.
    let bound = Some(stamp("ann", folder, 1, 2));
    let to = Stored { fact: Fact { bound, ..fact(2, 1) }, from: 1, flags: seen() };
    let moved = Change::Moved { from: (folder, 1, 2), to: folder, stored: to.clone() };
    ledger.apply(&claim, moved).await.unwrap();
    let f = &ledger.load(&claim).await.unwrap().folders[0];
    assert_eq!((f.live, f.orphans), (1, 2));
    assert_eq!(ledger.facts(&claim, folder).await.unwrap(), vec![fact(1, 1), fact(1, 3), to.fact]);
}

async fn an_epoch_that_comes_back_finds_its_orphans(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    store(&ledger, &claim, folder, 1, &[1, 2, 3]).await;
    add_folder(&ledger, &claim, folder_row(Some(folder), 2)).await;
    add_folder(&ledger, &claim, folder_row(Some(folder), 1)).await;
    let counts = || async {
        let f = ledger.load(&claim).await.unwrap().folders.swap_remove(0);
        (f.live, f.orphans, f.done.len())
    };
    assert_eq!(counts().await, (0, 3, 0));
    store(&ledger, &claim, folder, 1, &[1]).await;
    assert_eq!(counts().await, (1, 2, 1));
    ledger.apply(&claim, Change::Ended { folder, numbers: vec![(1, 1), (1, 2)] }).await.unwrap();
    assert_eq!(counts().await, (0, 1, 1));
    assert_eq!(ledger.facts(&claim, folder).await.unwrap(), vec![fact(1, 3)]);
}

async fn an_outcome_that_comes_after_its_epoch_is_recorded_as_an_orphan(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    let batch = intent(&ledger, &claim, folder, 1, &[1, 2, 3]).await;
    add_folder(&ledger, &claim, folder_row(Some(folder), 2)).await;
    let outcomes =
        Outcomes { stored: vec![stored(1, 1)], gone: vec![2], skipped: vec![skip(3)], ..Outcomes::default() };
    outcome(&ledger, &claim, batch, outcomes).await;
    let state = ledger.load(&claim).await.unwrap();
    assert_eq!((state.folders[0].live, state.folders[0].orphans), (0, 1));
    assert!(state.folders[0].done.is_empty() && state.open.is_empty() && state.skips.is_empty());
    assert_eq!(ledger.facts(&claim, folder).await.unwrap(), vec![fact(1, 1)]);
}

async fn ended_facts_end_once_and_their_numbers_stay_done(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    store(&ledger, &claim, folder, 1, &[1, 2, 3]).await;
    for _ in 0..2 {
        let numbers = vec![(1, 2), (1, 99), (7, 1)];
        ledger.apply(&claim, Change::Ended { folder, numbers }).await.unwrap();
    }
    let f = &ledger.load(&claim).await.unwrap().folders[0];
    assert_eq!((f.live, f.orphans), (2, 0));
    assert_eq!(f.done, RunSet::from_iter([1, 2, 3]));
    assert_eq!(f.flags.get(2), None);
    assert_eq!(ledger.facts(&claim, folder).await.unwrap(), vec![fact(1, 1), fact(1, 3)]);
    let line = &SqliteView::open(&bed.dir()).unwrap().mailboxes().unwrap()[0];
    assert_eq!((line.messages, line.bytes), (2, 1001 + 1003));
}

async fn facts_come_in_pages_as_they_were_when_the_walk_began(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    // Every other number, more than one page; some end, some are stored anew under another id.
    let numbers: Vec<u64> = (1..=10_000).map(|n| n * 2).collect();
    for some in numbers.chunks(1000) {
        store(&ledger, &claim, folder, 1, some).await;
    }
    let ended = (1..=10_000).filter(|n| n % 3 == 0).map(|n| (1, n * 2)).collect();
    ledger.apply(&claim, Change::Ended { folder, numbers: ended }).await.unwrap();
    let bound = Fact { target_id: "anew".to_owned(), bound: Some(stamp("ann", folder, 1, 2)), ..fact(1, 2) };
    let again = Stored { fact: bound.clone(), from: 2, flags: seen() };
    ledger.apply(&claim, Change::Moved { from: (folder, 1, 2), to: folder, stored: again }).await.unwrap();
    let expected: Vec<Fact> = ledger.facts(&claim, folder).await.unwrap();
    assert_eq!((expected.len(), &expected[0]), (6_667, &bound));

    let (mut walked, mut pages) = (Vec::new(), 0);
    let mut from = Some(FactsCursor::default());
    while let Some(cursor) = from {
        let (page, next) = ledger.facts_from(&claim, folder, cursor).await.unwrap();
        assert!(page.len() < 6_000 && page.is_sorted_by_key(|f| (f.epoch, f.number)));
        // What is recorded meanwhile is not seen.
        store(&ledger, &claim, folder, 1, &[30_001 + pages]).await;
        walked.extend(page);
        (from, pages) = (next, pages + 1);
    }
    assert!(pages > 1, "one page for all of them");
    walked.sort_by_key(|fact| (fact.epoch, fact.number));
    assert_eq!(walked, expected);
    let other = ledger.claim(&mailbox("ann")).await.unwrap();
    assert!(ledger.facts_from(&claim, folder, FactsCursor::default()).await.is_err(), "a stale claim");
    assert_eq!(ledger.facts(&other, folder).await.unwrap().len() as u64, 6_667 + pages);
}

async fn a_move_ends_the_old_key_and_binds_the_new_one(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let from = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    let to = add_folder(&ledger, &claim, folder_row(None, 8)).await;
    store(&ledger, &claim, from, 1, &[1, 2]).await;
    ledger.apply(&claim, Change::Skipped { folder: to, skips: vec![skip(5)] }).await.unwrap();
    let bound = Some(stamp("ann", from, 1, 2));
    let moved = Stored { fact: Fact { bound, ..fact(8, 5) }, from: 3, flags: seen() };
    ledger.apply(&claim, Change::Moved { from: (from, 1, 2), to, stored: moved.clone() }).await.unwrap();
    let state = ledger.load(&claim).await.unwrap();
    assert_eq!((state.folders[0].live, state.folders[1].live), (1, 1));
    assert_eq!(state.folders[0].done, RunSet::from_iter([1, 2]));
    assert_eq!(state.folders[1].done, RunSet::from_iter([3, 4, 5]));
    assert!(state.skips.is_empty(), "stored after all");
    assert_eq!(ledger.facts(&claim, from).await.unwrap(), vec![fact(1, 1)]);
    assert_eq!(ledger.facts(&claim, to).await.unwrap(), vec![moved.fact]);

    // To another epoch than the folder has: refused, and the old key has not ended.
    let before = everything(&ledger, &claim).await;
    let wrong = Change::Moved { from: (from, 1, 1), to, stored: stored(9, 6) };
    assert_eq!(ledger.apply(&claim, wrong).await.unwrap_err().kind, Kind::Internal);
    assert_eq!(everything(&ledger, &claim).await, before);
}

async fn a_stored_message_replaces_its_earlier_fact(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    store(&ledger, &claim, folder, 1, &[1, 2]).await;
    let batch = intent(&ledger, &claim, folder, 1, &[1]).await;
    let again = Fact { target_id: "another".to_owned(), size: 5, ..fact(1, 1) };
    let stored = vec![Stored { fact: again.clone(), from: 1, flags: Flags::default() }];
    outcome(&ledger, &claim, batch, Outcomes { stored, ..Outcomes::default() }).await;
    let state = ledger.load(&claim).await.unwrap();
    assert_eq!(state.folders[0].live, 2);
    assert_eq!(state.folders[0].flags.get(1), Some(&Flags::default()));
    assert_eq!(ledger.facts(&claim, folder).await.unwrap(), vec![again, fact(1, 2)]);
    let line = &SqliteView::open(&bed.dir()).unwrap().mailboxes().unwrap()[0];
    assert_eq!((line.messages, line.bytes), (2, 5 + 1002));
}

async fn starting_over_forgets_everything_but_the_fence_and_the_ids(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let other = ledger.claim(&mailbox("bob")).await.unwrap();
    ledger.apply(&claim, Change::BindTarget { identity: "T1".to_owned() }).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    let others = add_folder(&ledger, &other, folder_row(None, 1)).await;
    store(&ledger, &claim, folder, 1, &[1, 2]).await;
    store(&ledger, &other, others, 1, &[1, 2]).await;
    let batch = intent(&ledger, &claim, folder, 1, &[3]).await;
    let unknown = vec![(3, stamp("ann", folder, 1, 3))];
    outcome(&ledger, &claim, batch, Outcomes { unknown, ..Outcomes::default() }).await;
    ledger.apply(&claim, Change::Skipped { folder, skips: vec![skip(4)] }).await.unwrap();

    let not_touched = everything(&ledger, &other).await;
    ledger.apply(&claim, Change::StartOver { identity: "T2".to_owned() }).await.unwrap();
    let state = ledger.load(&claim).await.unwrap();
    assert_eq!(state.target_identity.as_deref(), Some("T2"));
    assert!(state.folders.is_empty() && state.open.is_empty());
    assert!(state.watch.is_empty() && state.skips.is_empty());
    assert_eq!(ledger.facts(&claim, folder).await.unwrap(), vec![]);
    let anew = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    assert_ne!(anew, folder, "stamps carry folder ids: an id is never given twice");
    assert_eq!(everything(&ledger, &other).await, not_touched);
    drop(ledger);
    let line = SqliteView::open(&bed.dir()).unwrap().mailboxes().unwrap().swap_remove(0);
    assert_eq!((line.messages, line.bytes, line.skipped, line.unknown), (0, 0, 0, 0));
}

async fn numbers_are_never_given_twice(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 0)).await;
    assert_eq!(ledger.number(&claim, folder, 10).await.unwrap(), 1);
    assert_eq!(ledger.number(&claim, folder, 5).await.unwrap(), 11);
    drop(ledger);
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    assert_eq!(ledger.number(&claim, folder, 1).await.unwrap(), 16);
    assert_eq!(ledger.number(&claim, folder, u64::MAX).await.unwrap_err().kind, Kind::Internal);
    assert_eq!(ledger.load(&claim).await.unwrap().folders[0].next_number, 17);
}

async fn skipped_messages_are_not_done_and_can_be_taken_back(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    let skips = vec![skip(3), skip(1), skip(u64::MAX)];
    ledger.apply(&claim, Change::Skipped { folder, skips }).await.unwrap();
    let again = Skip { detail: "still".to_owned(), ..skip(3) };
    ledger.apply(&claim, Change::Skipped { folder, skips: vec![again.clone()] }).await.unwrap();
    let state = ledger.load(&claim).await.unwrap();
    assert_eq!(state.skips, vec![(folder, skip(1)), (folder, again), (folder, skip(u64::MAX))]);
    assert!(state.folders[0].done.is_empty());

    store(&ledger, &claim, folder, 1, &[3]).await;
    ledger.apply(&claim, Change::Unskip { folder, numbers: vec![u64::MAX, 77] }).await.unwrap();
    assert_eq!(ledger.load(&claim).await.unwrap().skips, vec![(folder, skip(1))]);
    let view = SqliteView::open(&bed.dir()).unwrap();
    let lines = view.skips().unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!((lines[0].mailbox.as_str(), &lines[0].skip), (claim.mailbox.as_str(), &skip(1)));
    assert_eq!(view.mailboxes().unwrap()[0].skipped, 1);
}

async fn flags_follow_the_copies_that_are_live(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    store(&ledger, &claim, folder, 1, &[1, 2]).await;
    let mut spaced = Flags::default();
    spaced.keywords.insert("two words".to_owned());
    let flags = vec![(1, Flags::default()), (2, spaced), (3, seen())];
    ledger.apply(&claim, Change::FlagsSynced { folder, flags }).await.unwrap();
    let f = &ledger.load(&claim).await.unwrap().folders[0];
    assert_eq!(f.flags.get(1), Some(&Flags::default()));
    assert_eq!(f.flags.get(2).unwrap().keywords.len(), 2, "spelled as it reads back");
    assert_eq!(f.flags.get(3), None, "not a copy of ours");
}

async fn positions_missing_folders_and_summaries_are_kept(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    ledger
        .apply(&claim, Change::Position { folder, uidnext: u64::MAX, modseq: 1 << 63, messages: 7 })
        .await
        .unwrap();
    ledger.apply(&claim, Change::FolderMissing(folder)).await.unwrap();
    let state = ledger.load(&claim).await.unwrap();
    let f = &state.folders[0];
    assert_eq!((f.uidnext, f.modseq, f.messages, f.missing), (u64::MAX, 1 << 63, 7, true));
    assert_eq!(f.path, folder_row(None, 1).path);
    add_folder(&ledger, &claim, folder_row(Some(folder), 1)).await;
    assert!(!ledger.load(&claim).await.unwrap().folders[0].missing);

    let view = SqliteView::open(&bed.dir()).unwrap();
    let line = || view.mailboxes().unwrap().swap_remove(0);
    assert_eq!((line().state.as_str(), line().ordinal), ("running", 1));
    let mut summary = PassSummary {
        complete: false,
        stored: 3,
        bytes: u64::MAX,
        recounted: Some(3),
        verdict: "investigate".to_owned(),
        reasons: vec!["one \"quoted\" reason".to_owned()],
        began: WALL,
        ended: WALL + 1,
        ..PassSummary::default()
    };
    ledger.apply(&claim, Change::PassEnded(summary.clone())).await.unwrap();
    assert_eq!((line().state.as_str(), line().passes, line().last), ("running", 0, Some(summary.clone())));
    ledger.apply(&claim, Change::Failed("the source is gone".to_owned())).await.unwrap();
    assert_eq!((line().state.as_str(), line().error.as_deref()), ("failed", Some("the source is gone")));
    summary.complete = true;
    ledger.apply(&claim, Change::PassEnded(summary.clone())).await.unwrap();
    assert_eq!((line().state.as_str(), line().passes, line().error), ("complete", 1, None));
    assert_eq!(ledger.load(&claim).await.unwrap().passes, 1);
    let names = view.names().unwrap();
    assert_eq!(names[&claim.mailbox], ("ann".to_owned(), "ann@new.example".to_owned()));
}

async fn every_change_of_a_stale_claim_is_refused_and_changes_nothing(bed: Bed) {
    let ledger = bed.open();
    let stale = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &stale, folder_row(None, 1)).await;
    store(&ledger, &stale, folder, 1, &[1, 2]).await;
    ledger.apply(&stale, Change::Skipped { folder, skips: vec![skip(9)] }).await.unwrap();
    let batch = intent(&ledger, &stale, folder, 1, &[3, 4]).await;
    let unknown = vec![(4, stamp("ann", folder, 1, 4))];
    outcome(&ledger, &stale, batch, Outcomes { unknown, ..Outcomes::default() }).await;

    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let before = everything(&ledger, &claim).await;
    let view = SqliteView::open(&bed.dir()).unwrap();
    let line = format!("{:?}", view.mailboxes().unwrap());
    let identity = "T9".to_owned();
    let changes = vec![
        Change::BindTarget { identity: identity.clone() },
        Change::StartOver { identity },
        Change::Folder(folder_row(None, 1)),
        Change::Folder(folder_row(Some(folder), 2)),
        Change::FolderMissing(folder),
        Change::Intent { folder, epoch: 1, anchor: String::new(), items: vec![item(5)] },
        Change::Outcome { batch, outcomes: Outcomes { stored: vec![stored(1, 3)], ..Outcomes::default() } },
        Change::Ended { folder, numbers: vec![(1, 1)] },
        Change::Moved { from: (folder, 1, 1), to: folder, stored: stored(1, 8) },
        Change::FlagsSynced { folder, flags: vec![(1, Flags::default())] },
        Change::Skipped { folder, skips: vec![skip(5)] },
        Change::Unwatch(vec![stamp("ann", folder, 1, 4)]),
        Change::Unskip { folder, numbers: vec![9] },
        Change::Position { folder, uidnext: 1, modseq: 1, messages: 1 },
        Change::Marked { folder, mark: "m".into() },
        Change::PassEnded(PassSummary { complete: true, ..PassSummary::default() }),
        Change::Failed("x".to_owned()),
    ];
    for change in changes {
        let what = format!("{change:?}");
        let error = ledger.apply(&stale, change.clone()).await.expect_err(&what);
        assert_eq!((error.kind, error.scope), (Kind::Ledger, Scope::Mailbox), "{what}");
        assert_eq!(everything(&ledger, &claim).await, before, "{what}");
        assert_eq!(format!("{:?}", view.mailboxes().unwrap()), line, "{what}");
        // The very same change is fine with the newest claim: it was the fence that stood in its way.
        let copy = bed.copy();
        let other = copy.open();
        let claim = other.claim(&mailbox("ann")).await.unwrap();
        other.apply(&claim, change).await.expect(&what);
    }
}

async fn what_was_answered_is_in_a_copy_of_the_files_made_at_that_moment(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    for round in 0..12u64 {
        store(&ledger, &claim, folder, 1, &[round * 2 + 1, round * 2 + 2]).await;
        intent(&ledger, &claim, folder, 1, &[100 + round]).await;
        let copy = bed.copy();
        let other = copy.open();
        let again = other.claim(&mailbox("ann")).await.unwrap();
        assert_eq!(everything(&other, &again).await, everything(&ledger, &claim).await);
    }
}

async fn callers_at_the_same_time_share_commits(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    let before = count(&bed.dir(), "SELECT groups FROM meta");
    let one = |n: u64| {
        let (ledger, claim) = (&ledger, &claim);
        async move { store(ledger, claim, folder, 1, &[n]).await }
    };
    futures_util::future::join_all((1..=100).map(one)).await;
    let groups = count(&bed.dir(), "SELECT groups FROM meta") - before;
    println!("200 changes in {groups} commits");
    assert!(groups < 100, "{groups} commits for 200 changes");
    let state = ledger.load(&claim).await.unwrap();
    assert_eq!(state.folders[0].live, 100);
    assert_eq!(ledger.facts(&claim, folder).await.unwrap().len(), 100);
}

async fn changes_are_applied_in_the_order_of_their_calls(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    // More than one group holds. Every call is begun before the ones after it; none is waited for.
    let names: Vec<String> = (0..2500).map(|n| n.to_string()).collect();
    let bind = |name: &String| ledger.apply(&claim, Change::BindTarget { identity: name.clone() });
    let mut calls: Vec<_> = names.iter().map(bind).collect();
    std::future::poll_fn(|context| {
        let begun = calls
            .iter_mut()
            .map(|call| call.as_mut().poll(context).is_ready())
            .filter(|ready| *ready)
            .count();
        assert!(begun < names.len(), "they wait for their commit");
        std::task::Poll::Ready(())
    })
    .await;
    calls.pop().unwrap().await.unwrap();
    assert_eq!(ledger.load(&claim).await.unwrap().target_identity.as_deref(), Some("2499"));
}

async fn a_refused_change_does_not_disturb_its_group(bed: Bed) {
    let ledger = bed.open();
    let stale = ledger.claim(&mailbox("ann")).await.unwrap();
    let claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
    let batch = intent(&ledger, &claim, folder, 1, &[1, 2, 3, 4]).await;
    let apply = |claim: &Claim, number| {
        let outcomes = Outcomes { stored: vec![stored(1, number)], ..Outcomes::default() };
        let (ledger, claim) = (&ledger, claim.clone());
        async move { ledger.apply(&claim, Change::Outcome { batch, outcomes }).await }
    };
    let answers = futures_util::future::join_all([
        apply(&claim, 1),
        apply(&stale, 2),
        apply(&claim, 9),
        apply(&claim, 3),
    ])
    .await;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true]);
    assert_eq!(ledger.facts(&claim, folder).await.unwrap(), vec![fact(1, 1), fact(1, 3)]);
    let items = &ledger.load(&claim).await.unwrap().open[0].items;
    assert_eq!(*items, vec![item(2), item(4)]);
}

async fn the_log_goes_on_in_another_segment_when_one_is_full(bed: Bed) {
    let small = |bed: &Bed| {
        let mut options = bed.options();
        options.segment_bytes = 600;
        SqliteLedger::open(&bed.env, &bed.dir(), options).unwrap()
    };
    let mut expected = Vec::new();
    let mut folder = None;
    for round in 0..3u64 {
        let ledger = small(&bed);
        let claim = ledger.claim(&mailbox("ann")).await.unwrap();
        let id = match folder {
            Some(id) => id,
            None => *folder.insert(add_folder(&ledger, &claim, folder_row(None, 1)).await),
        };
        for n in round * 8 + 1..=round * 8 + 8 {
            store(&ledger, &claim, id, 1, &[n]).await;
            expected.push(fact(1, n));
        }
        assert_eq!(ledger.facts(&claim, id).await.unwrap(), expected);
    }
    assert!(bed.dir().join("facts-000004.seg").exists());
    let view = SqliteView::open(&bed.dir()).unwrap();
    let mut seen = Vec::new();
    view.each_fact(&mailbox("ann").key, folder.unwrap(), &mut |fact| seen.push(fact)).unwrap();
    seen.sort_by_key(|fact| (fact.epoch, fact.number));
    assert_eq!(seen, expected);
}

async fn odd_texts_and_numbers_come_back_as_they_were(bed: Bed) {
    let ledger = bed.open();
    let claim = ledger.claim(&mailbox("ann\0\u{202e}\"'; DROP TABLE mailbox;--")).await.unwrap();
    let names = vec!["".to_owned(), "a\0b".to_owned(), "\u{1F4E7}/..\\\"".to_owned(), "x".repeat(5000)];
    let path = FolderPath::new(names).unwrap();
    let row =
        FolderRow { path: path.clone(), target_folder: "\0\n'".to_owned(), ..folder_row(None, u64::MAX) };
    let folder = add_folder(&ledger, &claim, row).await;
    let odd =
        IntentItem { number: u64::MAX, id: SourceId::Name("é\0:2,S".to_owned()), size: Some(u64::MAX - 1) };
    let zero = IntentItem { number: 0, id: SourceId::Number(7), size: None };
    let items = vec![odd.clone(), zero.clone()];
    let change = Change::Intent { folder, epoch: u64::MAX, anchor: String::new(), items };
    let Applied::Batch(batch) = ledger.apply(&claim, change).await.unwrap() else { panic!() };
    let state = ledger.load(&claim).await.unwrap();
    assert_eq!(state.open[0].items, vec![odd, zero]);
    assert_eq!((&state.folders[0].path, state.folders[0].epoch), (&path, u64::MAX));
    let mut large = stored(u64::MAX, u64::MAX);
    large.fact.name = "n".repeat(64 << 10);
    large.fact.size = u64::MAX;
    large.fact.received = Some(Timestamp { seconds: i64::MIN, zone: -1439 });
    let mut bare = stored(u64::MAX, 0);
    bare.fact.digest = None;
    bare.fact.received = None;
    bare.fact.target_id = String::new();
    let mut too_large = large.clone();
    too_large.fact.target_id = "i".repeat((64 << 10) + 1);
    let outcomes = Outcomes { stored: vec![too_large], ..Outcomes::default() };
    let error = ledger.apply(&claim, Change::Outcome { batch, outcomes }).await.unwrap_err();
    assert_eq!(error.kind, Kind::Internal);
    let facts = vec![bare.fact.clone(), large.fact.clone()];
    outcome(&ledger, &claim, batch, Outcomes { stored: vec![large, bare], ..Outcomes::default() }).await;
    assert_eq!(ledger.facts(&claim, folder).await.unwrap(), facts);
}

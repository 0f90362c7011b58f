//! Several requests in one: fewer round trips, the same results, the same limits.

use mailwave::mock::graph::{Fault, FaultScript, Latency, When};
use mailwave::model::Kind;
use mailwave::target::CopyRef;

use super::trials::rule;
use super::*;

/// A fault of each of these requests.
fn each(method: &str, path: &str, when: When, fault: Fault) -> FaultScript {
    FaultScript { seed: 1, rules: vec![rule(method, path, when, fault)] }
}

/// A mailbox with so many copies.
async fn filled(
    options: GraphOptions,
    copies: u64,
) -> (Desk, Arc<dyn TargetMailbox>, TargetFolderId, Vec<CopyRef>) {
    let desk = Desk::new(options);
    let (mailbox, gate) = desk.open(settings()).await;
    let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
    let items = (1..=copies).map(|n| item(n, &plain(n), "")).collect();
    let ids = ids(&store(&mailbox, &gate, &folder, items).await);
    let refs = ids.into_iter().map(|id| CopyRef { folder: folder.clone(), id }).collect();
    desk.sent();
    (desk, mailbox, folder, refs)
}

fn nobody(folder: &TargetFolderId) -> CopyRef {
    CopyRef { folder: folder.clone(), id: format!("AAkALg{}", "nobody".repeat(11)) }
}

#[tokio::test(start_paused = true)]
async fn changes_of_many_copies_take_few_round_trips_and_each_has_its_own_result() {
    let (desk, mailbox, folder, mut refs) = filled(GraphOptions::default(), 44).await;
    refs.insert(7, nobody(&folder));
    let read: Vec<(CopyRef, Flags)> = refs.iter().map(|r| (r.clone(), Flags::decode("FS work"))).collect();
    let before = mailbox.round_trips();
    let results = mailbox.set_flags(&read).await;
    assert_eq!(mailbox.round_trips() - before, 3, "a batch of requests is one");
    let failed: Vec<usize> = results.iter().enumerate().filter(|(_, r)| r.is_err()).map(|(n, _)| n).collect();
    assert_eq!(failed, [7]);
    assert_eq!(results[7].as_ref().expect_err("gone").kind, Kind::NotFound);
    assert_eq!(desk.sent().len(), 3, "20 + 20 + 5");
    assert!(desk.messages().iter().all(|m| m.is_read && m.flag == "flagged" && m.categories == ["work"]));

    let other = mailbox.folder(&wanted(&["Done"])).await.expect("a folder");
    desk.sent();
    let moved = mailbox.relocate(&refs, &other).await;
    for (at, result) in moved.iter().enumerate() {
        match result {
            Ok(id) => assert_eq!(*id, refs[at].id, "ids are immutable"),
            Err(error) => assert!(at == 7 && error.kind == Kind::NotFound, "{at}: {error}"),
        }
    }
    assert!(desk.sent().len() <= 3 + 2, "and the missing one was looked for");
    assert_eq!(desk.truth().folders["Done"].messages.len(), 44);

    let each: Vec<StampPrefix> = [3, 9, 99].iter().map(|n| StampPrefix::exactly(&stamp(*n))).collect();
    let found = mailbox.find_each(&each).await.expect("complete");
    assert_eq!(found.iter().map(|c| c.stamp.number).collect::<Vec<_>>(), [3, 9]);
    assert_eq!(desk.sent().len(), 1, "three questions in one");

    assert!(mailbox.remove(&refs).await.iter().all(Result::is_ok), "removing what is gone succeeds");
    assert_eq!(desk.sent().len(), 3);
    assert!(desk.messages().is_empty());
    desk.check();
}

#[tokio::test(start_paused = true)]
async fn a_throttled_part_waits_as_long_as_it_was_told_and_the_others_are_done() {
    let (desk, mailbox, _, refs) = filled(GraphOptions::default(), 20).await;
    let fault = Fault::Status { status: 429, retry_after: Some(9) };
    desk.mock.faults(each("PATCH", "/messages/", When::Nth(vec![3, 4]), fault));
    let changes: Vec<(CopyRef, Flags)> = refs.iter().map(|r| (r.clone(), Flags::decode("S"))).collect();
    let before = desk.env.now();
    assert!(mailbox.set_flags(&changes).await.iter().all(Result::is_ok));
    assert!(desk.env.now() - before >= Duration::from_secs(9));
    assert!(desk.messages().iter().all(|m| m.is_read));
    assert_eq!(desk.sent().len(), 3, "one for all, and one each for the two");
    assert_eq!(desk.mock.counters().patches, 20, "nothing was done twice");
    desk.check();
}

#[tokio::test(start_paused = true)]
async fn whatever_becomes_of_a_part_the_copies_are_as_they_were_meant_to_be() {
    let faults = [
        Fault::Status { status: 503, retry_after: None },
        Fault::Status { status: 504, retry_after: None },
        Fault::DoneBut { status: 504, retry_after: None },
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::EmptyBody,
        Fault::HtmlBody,
    ];
    for fault in faults {
        for (method, path) in [("PATCH", "/messages/"), ("POST", "/move"), ("DELETE", "/messages/")] {
            let (desk, mailbox, _, refs) = filled(GraphOptions::default(), 25).await;
            let other = mailbox.folder(&wanted(&["Done"])).await.expect("a folder");
            desk.mock.faults(each(method, path, When::Nth(vec![2, 19, 21]), fault.clone()));
            let changes: Vec<_> = refs.iter().map(|r| (r.clone(), Flags::decode("S"))).collect();
            let context = format!("{method} {fault:?}");
            assert!(mailbox.set_flags(&changes).await.iter().all(Result::is_ok), "{context}");
            assert!(mailbox.relocate(&refs, &other).await.iter().all(Result::is_ok), "{context}");
            let truth = desk.truth();
            let done = &truth.folders["Done"].messages;
            assert!(done.len() == 25 && done.iter().all(|m| m.is_read), "{context}");
            assert!(mailbox.remove(&refs).await.iter().all(Result::is_ok), "{context}");
            assert!(desk.messages().is_empty() && desk.truth().recoverable.len() == 25, "{context}");
            assert!(desk.mock.fault_counts()["it"] > 0, "the fault fired: {context}");
            assert!(desk.mock.counters().violations.is_empty(), "{context}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn batches_beside_stores_never_have_more_than_four_requests_at_work() {
    let latency = Latency { base_ms: 50, jitter_ms: 100, per_mib_ms: 0 };
    let desk = Desk::new(GraphOptions { latency, ..GraphOptions::default() });
    let (mailbox, gate) = desk.open(settings()).await;
    let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
    let items = |from: u64| (from..from + 20).map(|n| item(n, &plain(n), "")).collect::<Vec<_>>();
    let first = ids(&store(&mailbox, &gate, &folder, items(1)).await);
    let refs: Vec<CopyRef> = first.into_iter().map(|id| CopyRef { folder: folder.clone(), id }).collect();
    let changes: Vec<(CopyRef, Flags)> = refs.iter().map(|r| (r.clone(), Flags::decode("S"))).collect();
    let (a, b, c, d) = tokio::join!(
        store(&mailbox, &gate, &folder, items(100)),
        mailbox.set_flags(&changes),
        store(&mailbox, &gate, &folder, items(200)),
        mailbox.set_flags(&changes),
    );
    assert!(b.iter().chain(&d).all(Result::is_ok));
    assert_eq!(ids(&a).len() + ids(&c).len(), 40);
    assert_eq!(desk.mock.counters().peak_in_flight, 4, "all four are used, and no fifth");
    desk.check();
}

#[tokio::test(start_paused = true)]
async fn folders_that_are_expected_are_made_together_level_by_level() {
    let desk = Desk::new(GraphOptions::default());
    let (mailbox, _) = desk.open(settings()).await;
    let mut tree: Vec<FolderWanted> = Vec::new();
    for a in 0..5 {
        tree.push(wanted(&[&format!("A{a}")]));
        for b in 0..8 {
            tree.push(wanted(&[&format!("A{a}"), &format!("B{b}")]));
        }
    }
    // Not plain: names that differ in case only, and one that is there already.
    tree.extend([wanted(&["case"]), wanted(&["CASE"]), wanted(&["A1", "B1", "deep", "deeper"])]);
    mailbox.folder(&wanted(&["A3"])).await.expect("a folder");
    desk.sent();
    mailbox.expect(&tree).await.expect("made");
    let trips = desk.sent().len();
    assert!(trips <= 1 + 1 + 3 + 2 + 1, "{trips} round trips for 48 folders");
    let mut ids = std::collections::BTreeSet::new();
    for folder in &tree {
        assert!(ids.insert(mailbox.folder(folder).await.expect("there").0), "each has its own");
    }
    let names: Vec<String> = desk.truth().folders.into_keys().collect();
    assert!(names.contains(&"A1/B1/deep/deeper".to_owned()) && names.contains(&"A4/B7".to_owned()));
    let (again, _) = desk.open(settings()).await;
    for folder in &tree {
        assert!(ids.contains(&again.folder(folder).await.expect("there").0), "found again by another client");
    }
    assert_eq!(desk.mock.counters().folder_writes, 49, "and made once: A3 was there");
    desk.check();
}

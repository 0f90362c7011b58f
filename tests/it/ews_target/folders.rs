//! What a mailbox of many folders costs in requests.

use std::collections::BTreeMap;

use mailwave::mock::ews::EwsOptions;
use mailwave::model::{Outcome, StampPrefix};
use mailwave::target::FolderWanted;

use crate::contract_target::ews::EwsHarness;
use crate::contract_target::{TargetHarness, item, open, source_name, stamp, store, wanted};

/// Requests by operation since `before`.
fn since(harness: &EwsHarness, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let now = harness.mock.counters().operations.into_iter();
    now.map(|(op, n)| (op.clone(), n - before.get(&op).copied().unwrap_or(0)))
        .filter(|(_, n)| *n > 0)
        .collect()
}

#[tokio::test]
async fn two_thousand_folders_are_made_and_searched_with_few_requests() {
    let harness = EwsHarness::in_process(EwsOptions::default(), false);
    let mailbox = open(&harness, "").await;
    let mut all: Vec<FolderWanted> = Vec::new();
    for parent in 0..40 {
        let name = format!("Parent {parent}");
        all.push(wanted(&[&name]));
        all.extend((0..49).map(|child| wanted(&[&name, &format!("Child {child}")])));
    }
    let before = harness.mock.counters().operations;
    mailbox.expect(&all).await.expect("made");
    let mut ids = Vec::new();
    for one in &all {
        ids.push(mailbox.folder(one).await.expect("made"));
    }
    let made = since(&harness, &before);
    assert_eq!((made["CreateFolder"], made["FindFolder"], made.len()), (41, 1, 2), "one for each parent");
    assert_eq!(all.len(), 2_000);

    // Five messages in each fourth folder, many in one.
    let mut number = 0;
    for (at, folder) in ids.iter().enumerate().filter(|(at, _)| at % 4 == 0) {
        let count = if at == 0 { 400 } else { 5 };
        let items: Vec<_> =
            (0..count).map(|n| item(1, number + n, b"Subject: x\r\n\r\nx", "", None)).collect();
        number += count;
        for batch in items.chunks(50) {
            let outcomes = store(&harness, &mailbox, folder, batch.to_vec()).await;
            assert!(outcomes.iter().all(|o| matches!(o, Outcome::Stored { .. })));
        }
    }
    let before = harness.mock.counters().operations;
    let found = mailbox.find(&StampPrefix::exactly(&stamp(1, 777))).await.expect("find");
    assert_eq!(found.len(), 1);
    let one = since(&harness, &before);
    assert_eq!((one["FindFolder"], one["FindItem"]), (6, 9), "a stamp in 2,000 folders");

    let before = harness.mock.counters().operations;
    let stamps: Vec<_> = (0..20).map(|n| StampPrefix::exactly(&stamp(1, n * 97))).collect();
    assert_eq!(mailbox.find_each(&stamps).await.expect("find").len(), 20);
    let twenty = since(&harness, &before);
    assert_eq!((twenty["FindFolder"], twenty["FindItem"]), (5, 9), "twenty cost what one does");

    let before = harness.mock.counters().operations;
    let whole = StampPrefix::mailbox(&source_name(), &stamp(1, 1).mailbox);
    let found = mailbox.find(&whole).await.expect("find");
    assert_eq!(found.len() as u64, number);
    let all = since(&harness, &before);
    assert_eq!(all["FindFolder"], 5);
    assert!(all["FindItem"] <= 26, "{all:?} for {number} messages");
    let counters = harness.mock.counters();
    assert!(counters.violations.is_empty() && counters.throttled == 0);
}

#[tokio::test]
async fn what_a_run_removes_can_be_recovered_by_its_user_and_is_no_copy_any_more() {
    let harness = EwsHarness::in_process(EwsOptions::default(), false);
    let mailbox = open(&harness, "").await;
    let trash = Some(mailwave::model::SpecialUse::Trash);
    let trash = FolderWanted { special: trash, ..wanted(&["Papierkorb"]) };
    let bin = mailbox.folder(&trash).await.expect("the deleted items");
    let items = (1..=2).map(|n| item(1, n, b"Subject: x\r\n\r\nx", "", None)).collect();
    store(&harness, &mailbox, &bin, items).await;
    let whole = StampPrefix::mailbox(&source_name(), &stamp(1, 1).mailbox);
    let found = mailbox.find(&whole).await.expect("find");
    assert_eq!(found.len(), 2, "mail of a trash lies in the deleted items and counts");
    assert!(mailbox.remove(&[found[0].to_ref()]).await[0].is_ok());
    let left = mailbox.find(&whole).await.expect("find");
    assert_eq!(left.iter().map(|c| &c.stamp).collect::<Vec<_>>(), [&found[1].stamp]);
    let truth = harness.mock.truth();
    let kept =
        truth.mailboxes[&harness.mailbox()].folders.iter().find(|(path, _)| path.ends_with("Deletions"));
    let kept = &kept.expect("recoverable items").1.messages;
    assert_eq!(kept.len(), 1, "where its user finds it again");
    assert!(kept[0].named.values().flatten().any(|v| v.starts_with(&found[0].stamp.to_string())));
}

//! The contract of targets whose copies carry no stamp: known by id, found by what came after an anchor.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mailwave::model::{Digest, Flags, Kind, Outcome, StampPrefix};
use mailwave::target::{CopyIds, CopyRef, StoreItem, TargetFolderId, TargetMailbox};

use super::{Held, TargetHarness, folders, id, item, open, stamp, store, wanted};

/// The message that some targets refuse.
const ODD: u64 = 7;

/// What a test stored: the reference and the message.
type Stored = BTreeMap<u64, (CopyRef, StoreItem)>;

/// The contract.
pub async fn suite(mut harness: impl TargetHarness) {
    let mailbox = open(&harness, "").await;
    assert!(!mailbox.identity().is_empty());
    assert_eq!(mailbox.identity(), open(&harness, "").await.identity(), "the identity stays");
    let can = mailbox.capabilities().clone();
    assert!(!can.stamps && can.lanes >= 1 && can.lanes <= 64);
    assert!(can.batch_messages >= 1 && can.batch_bytes >= 1);
    let prefix = StampPrefix::exactly(&stamp(1, 1));
    assert_eq!(mailbox.find(&prefix).await.expect_err("no stamps").kind, Kind::Internal);
    let foreign = b"Subject: not ours\r\n\r\nhands off\r\n";
    harness.foreign(foreign).await;

    let (inbox, work) = folders(&harness, &mailbox).await;
    let mut stored = stores(&harness, &mailbox, &inbox).await;
    arrivals(&harness, &mailbox, &inbox).await;
    flags(&mailbox, &mut stored).await;
    moves(&mailbox, &inbox, &work, &mut stored).await;
    removals(&mailbox, &mut stored).await;
    marks(&mailbox, &inbox, &stored).await;
    renames(&harness, &mailbox, &work).await;
    lanes(&harness, &mailbox, &inbox).await;

    // A folder that is not there: one outcome each, nothing stored, nothing unknown.
    let nowhere = TargetFolderId("0".repeat(32));
    let items = vec![item(9, 1, b"x", "", None), item(9, 2, b"y", "", None)];
    let outcomes = store(&harness, &mailbox, &nowhere, items).await;
    assert_eq!(outcomes.len(), 2);
    for outcome in &outcomes {
        assert!(matches!(outcome, Outcome::NotSent(e) if e.kind == Kind::NotFound), "{outcome:?}");
    }
    let gone = CopyRef { folder: nowhere.clone(), id: "1.1".to_owned() };
    assert_eq!(mailbox.look(std::slice::from_ref(&gone)).await, Ok(vec![None]));
    assert_eq!(
        mailbox.set_flags(&[(gone.clone(), Flags::default())]).await[0].as_ref().expect_err("gone").kind,
        Kind::NotFound
    );
    assert!(mailbox.remove(&[gone]).await[0].is_ok());
    assert!(mailbox.anchor(&nowhere).await.is_err());
    assert!(mailbox.round_trips() > 0);

    // Another place of the same mailbox.
    let placed = open(&harness, "Old mail").await;
    assert_eq!(placed.identity(), mailbox.identity());
    let below = placed.folder(&wanted(&["Work"])).await.expect("folder");
    let inbox_below = placed.folder(&wanted(&["INBOX"])).await.expect("folder");
    assert!(below != work && inbox_below != inbox, "a place has folders of its own");
    let twin = store(&harness, &placed, &below, vec![item(8, 1, b"A: 1\r\n\r\n", "S", None)]).await;
    id(&twin[0]);
    placed.release().await;

    let others = harness.truth().await.into_iter().filter(|h| h.octets.as_deref() == Some(foreign)).count();
    assert_eq!(others, 1, "mail of others is untouched");
    harness.check_confined().await;
    let before = mailbox.identity().to_owned();
    mailbox.release().await;
    if harness.remake().await {
        let again = open(&harness, "").await;
        assert_ne!(again.identity(), before, "a mailbox made anew is noticed");
        let all = stored.values().map(|(copy, _)| copy.clone());
        let old: Vec<CopyRef> = all.filter(|copy| copy.folder == inbox).collect();
        assert_eq!(again.look(&old).await.expect_err("numbered anew").kind, Kind::Conflict);
        let since = again.stored_since(&inbox, "1.1", &CopyIds::default()).await;
        assert_eq!(since.expect_err("numbered anew").kind, Kind::Conflict);
    }
}

async fn stores(
    harness: &impl TargetHarness,
    mailbox: &Arc<dyn TargetMailbox>,
    inbox: &TargetFolderId,
) -> Stored {
    let dated = b"Date: Thu, 1 Jan 2015 00:00:00 +0000\r\nSubject: dated\r\n\r\nx\r\n";
    let line = format!("{}\r\n", "QUJD".repeat(18)).repeat(45_000);
    let large = format!("Subject: large\r\n\r\n{line}");
    let items = vec![
        item(1, 1, b"Subject: a\r\n\r\na\r\n", "", Some(1_700_000_000)),
        item(1, 2, b"Subject: twin\r\n\r\nsame\r\n", "S", Some(1_700_000_001)),
        item(1, 3, b"Subject: twin\r\n\r\nsame\r\n", "FRS $Forwarded later work", Some(1_700_000_001)),
        item(1, 4, b"Subject: 1970\r\n\r\nx\r\n", "DS", Some(0)),
        item(1, 5, b"Subject: future\r\n\r\nx\r\n", "S", Some(4_000_000_000)),
        item(1, 6, dated, "S", None),
        item(1, 7, b"Subject: \xe4\r\n\r\n\0 8 bit \xff\r\n", "ST", Some(1_700_000_002)),
        item(1, 9, large.as_bytes(), "FS", Some(1_700_000_004)),
    ];
    let nothing = store(harness, mailbox, inbox, vec![item(1, 8, b"", "S", Some(1))]).await;
    assert!(matches!(&nothing[..], [Outcome::Refused(e)] if !e.remedy.is_empty()), "{nothing:?}");
    let before = mailbox.anchor(inbox).await.expect("anchor");
    let outcomes = store(harness, mailbox, inbox, items.clone()).await;
    assert_eq!(outcomes.len(), items.len(), "exactly one outcome per message");
    let mut stored = Stored::new();
    for (item, outcome) in items.into_iter().zip(&outcomes) {
        if item.stamp.number == ODD && matches!(outcome, Outcome::Refused(_)) {
            continue; // a target may refuse NUL and 8-bit headers, but not what is around them
        }
        let copy = CopyRef { folder: inbox.clone(), id: id(outcome) };
        stored.insert(item.stamp.number, (copy, item));
    }
    let ids: BTreeSet<&String> = stored.values().map(|(copy, _)| &copy.id).collect();
    assert_eq!(ids.len(), stored.len(), "two equal messages stay two");
    let losses = |outcome: &Outcome| match outcome {
        Outcome::Stored { losses, .. } => losses.clone(),
        other => panic!("{other:?}"),
    };
    let outcomes: Vec<Outcome> = outcomes.into_iter().filter(|o| !matches!(o, Outcome::Refused(_))).collect();
    // Every copy is what was given, or the outcome says what it is not.
    let mut truth: Vec<Held> = harness.truth().await;
    for ((_, item), outcome) in stored.values().zip(&outcomes) {
        let octets = item.body.bytes().expect("octets");
        let losses = losses(outcome);
        let at = truth.iter().position(|held| {
            let same = held.octets.as_deref() == Some(&octets[..]);
            let changed = losses.contains(&"octets-changed-by-server")
                && held.octets.as_ref().is_some_and(|o| o.starts_with(b"Subject: "));
            (same || changed) && held.flags == item.flags.encode()
        });
        let held = truth.remove(at.unwrap_or_else(|| panic!("no copy of {}: {losses:?}", item.stamp.number)));
        let meant = item.received.map_or(1_420_070_400, |t| t.seconds);
        assert!(
            held.received == meant || losses.contains(&"date-changed-by-server"),
            "message {} is dated {} rather than {meant}: {losses:?}",
            item.stamp.number,
            held.received
        );
    }
    // The same is seen by an anchor taken before.
    let came = mailbox.stored_since(inbox, &before, &CopyIds::default()).await.expect("read back");
    // It may be older than that, and show mail of others too.
    let came: BTreeSet<String> = came.into_iter().map(|a| a.id).collect();
    let ids: BTreeSet<String> = stored.values().map(|(copy, _)| copy.id.clone()).collect();
    assert!(came.is_superset(&ids) && came.len() <= ids.len() + 1, "{came:?} {ids:?}");
    stored
}

async fn arrivals(harness: &impl TargetHarness, mailbox: &Arc<dyn TargetMailbox>, inbox: &TargetFolderId) {
    let octets = b"Message-ID: <a@example.org>\r\nSubject: arrival\r\n\r\nx\r\n";
    let anchor = mailbox.anchor(inbox).await.expect("anchor");
    let none = mailbox.stored_since(inbox, &anchor, &CopyIds::default()).await.expect("read back");
    assert!(none.is_empty(), "what is there already is not an arrival: {none:?}");
    let items = vec![item(2, 1, octets, "S work", Some(1_700_000_000)), item(2, 2, octets, "", Some(1))];
    let outcomes = store(harness, mailbox, inbox, items).await;
    // Another client sees the same.
    let other = open(harness, "").await;
    let came = other.stored_since(inbox, &anchor, &CopyIds::default()).await.expect("read back");
    assert_eq!(came.iter().map(|a| a.id.clone()).collect::<Vec<_>>(), [id(&outcomes[0]), id(&outcomes[1])]);
    for (arrival, (flags, received)) in came.iter().zip([("S work", 1_700_000_000), ("", 1)]) {
        assert_eq!((arrival.digest, arrival.size), (Digest::of(octets), octets.len() as u64));
        assert_eq!(arrival.received.map(|r| r.seconds), Some(received));
        assert_eq!(arrival.flags.encode(), flags);
        assert_ne!(arrival.message_id, 0);
    }
    let known: CopyIds = [id(&outcomes[0])].into_iter().collect();
    let rest = other.stored_since(inbox, &anchor, &known).await.expect("read back");
    assert_eq!(rest.iter().map(|a| a.id.clone()).collect::<Vec<_>>(), [id(&outcomes[1])]);
    let all = other.stored_since(inbox, "", &CopyIds::default()).await.expect("read back");
    assert!(all.len() > came.len(), "an empty anchor asks for everything");
    let later = mailbox.anchor(inbox).await.expect("anchor");
    assert!(mailbox.stored_since(inbox, &later, &CopyIds::default()).await.expect("read back").is_empty());
}

async fn look(mailbox: &Arc<dyn TargetMailbox>, copy: &CopyRef) -> Option<String> {
    let mut found = mailbox.look(std::slice::from_ref(copy)).await.expect("look");
    assert_eq!(found.len(), 1);
    found.remove(0).map(|flags| flags.encode())
}

/// A copy that is not there, numbered as those that are. (With a UID above 2^31 in a set, Cyrus finds none of it.)
fn nobody(beside: &CopyRef) -> CopyRef {
    let (validity, _) = beside.id.split_once('.').expect("an id");
    CopyRef { id: format!("{validity}.2000000000"), ..beside.clone() }
}

async fn flags(mailbox: &Arc<dyn TargetMailbox>, stored: &mut Stored) {
    let (a, b, c) = (stored[&1].0.clone(), stored[&2].0.clone(), stored[&3].0.clone());
    let looked = mailbox.look(&[c.clone(), nobody(&a), a.clone()]).await.expect("look");
    let shown: Vec<Option<String>> = looked.into_iter().map(|f| f.map(|f| f.encode())).collect();
    assert_eq!(shown, [Some("FRS $Forwarded later work".to_owned()), None, Some(String::new())]);
    let new = Flags::decode("FS");
    let changes = [(a.clone(), new.clone()), (nobody(&a), new.clone()), (b.clone(), Flags::default())];
    let results = mailbox.set_flags(&changes).await;
    assert_eq!(results.len(), 3);
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    assert_eq!(results[1].as_ref().expect_err("gone").kind, Kind::NotFound);
    assert_eq!((look(mailbox, &a).await, look(mailbox, &b).await), (Some("FS".into()), Some(String::new())));
    assert!(mailbox.set_flags(&[(a.clone(), Flags::decode("S work"))]).await[0].is_ok());
    assert_eq!(look(mailbox, &a).await.as_deref(), Some("S work"));
    let foreign = CopyRef { id: "1.1".to_owned(), ..a.clone() };
    let results = mailbox.set_flags(&[(foreign, new), (a, Flags::decode("S"))]).await;
    assert_eq!(results[0].as_ref().expect_err("another numbering").kind, Kind::NotFound);
}

async fn moves(
    mailbox: &Arc<dyn TargetMailbox>,
    inbox: &TargetFolderId,
    work: &TargetFolderId,
    stored: &mut Stored,
) {
    if !mailbox.capabilities().moves {
        return;
    }
    let (third, fourth) = (stored[&3].0.clone(), stored[&4].0.clone());
    let before = look(mailbox, &third).await;
    let results = mailbox.relocate(&[third.clone(), nobody(&third), fourth.clone()], work).await;
    assert_eq!(results.len(), 3);
    assert_eq!(results[1].as_ref().expect_err("gone").kind, Kind::NotFound);
    let moved = |id: &String| CopyRef { folder: work.clone(), id: id.clone() };
    let (third_moved, fourth_moved) =
        (moved(results[0].as_ref().expect("moved")), moved(results[2].as_ref().expect("moved")));
    assert_eq!(look(mailbox, &third).await, None);
    assert_eq!(look(mailbox, &third_moved).await, before, "flags and keywords move along");
    let again = mailbox.relocate(&[third_moved.clone(), nobody(&third_moved)], work).await;
    assert_eq!(again[0].as_ref().ok(), Some(&third_moved.id), "moving what is there succeeds");
    assert_eq!(again[1].as_ref().expect_err("gone").kind, Kind::NotFound);
    let back = mailbox.relocate(&[third_moved], inbox).await;
    let back = CopyRef { folder: inbox.clone(), id: back[0].clone().expect("moved back") };
    assert_eq!(look(mailbox, &back).await, before);
    stored.get_mut(&3).expect("stored").0 = back;
    stored.get_mut(&4).expect("stored").0 = fourth_moved;
}

async fn removals(mailbox: &Arc<dyn TargetMailbox>, stored: &mut Stored) {
    let (gone, _) = stored.remove(&5).expect("stored");
    for _ in 0..2 {
        let results = mailbox.remove(&[gone.clone(), nobody(&gone)]).await;
        assert!(results.len() == 2 && results.iter().all(Result::is_ok), "removing what is gone succeeds");
    }
    assert_eq!(look(mailbox, &gone).await, None);
    assert!(look(mailbox, &stored[&6].0).await.is_some(), "its neighbour stays");
}

async fn marks(mailbox: &Arc<dyn TargetMailbox>, inbox: &TargetFolderId, stored: &Stored) {
    let before = mailbox.marks().await.expect("marks");
    assert_eq!(before, mailbox.marks().await.expect("marks"), "nothing changed");
    let Some(mark) = before.get(inbox) else { return };
    assert!(mailbox.set_flags(&[(stored[&2].0.clone(), Flags::decode("R"))]).await[0].is_ok());
    let after = mailbox.marks().await.expect("marks");
    assert_ne!(after.get(inbox), Some(mark), "a flag changed");
    let others = |marks: &BTreeMap<TargetFolderId, String>| {
        marks.iter().filter(|(id, _)| *id != inbox).map(|(id, m)| (id.clone(), m.clone())).collect::<Vec<_>>()
    };
    assert_eq!(others(&before), others(&after));
}

async fn renames(harness: &impl TargetHarness, mailbox: &Arc<dyn TargetMailbox>, work: &TargetFolderId) {
    let outcome =
        store(harness, mailbox, work, vec![item(4, 1, b"A: 1\r\n\r\nrenamed\r\n", "S", Some(1))]).await;
    let mut renamed = work.clone();
    for _ in 0..2 {
        // The second call is one whose first answer was lost.
        renamed =
            mailbox.rename_folder(work, &wanted(&["Done", "Late", "2026"])).await.expect("rename, twice");
    }
    assert_eq!(mailbox.folder(&wanted(&["Done", "Late", "2026"])).await.expect("folder"), renamed);
    let copy = CopyRef { folder: renamed.clone(), id: id(&outcome[0]) };
    assert_eq!(look(mailbox, &copy).await.as_deref(), Some("S"), "its copies came along and keep their ids");
    mailbox.folder(&wanted(&["Taken"])).await.expect("folder");
    let taken = mailbox.rename_folder(&renamed, &wanted(&["Taken"])).await.expect_err("taken");
    assert_eq!(taken.kind, Kind::Conflict);
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    let kept = mailbox.rename_folder(&inbox, &wanted(&["Elsewhere"])).await.expect_err("the inbox stays");
    assert_eq!(kept.kind, Kind::Conflict);
    let gone = mailbox.rename_folder(&TargetFolderId("nowhere".into()), &wanted(&["Else"])).await;
    assert_eq!(gone.expect_err("gone").kind, Kind::NotFound);
}

async fn lanes(harness: &impl TargetHarness, mailbox: &Arc<dyn TargetMailbox>, inbox: &TargetFolderId) {
    let anchor = mailbox.anchor(inbox).await.expect("anchor");
    let batch = |lane: u64| {
        let items = (0..5u64).map(move |n| {
            let text = format!("A: 1\r\n\r\nlane {}\r\n", lane * 10 + n);
            item(3, lane * 10 + n, text.as_bytes(), "S", Some(1))
        });
        store(harness, mailbox, inbox, items.collect())
    };
    let done = futures_util::future::join_all((1..=4).map(batch)).await;
    let came = mailbox.stored_since(inbox, &anchor, &CopyIds::default()).await.expect("read back");
    let by_id: BTreeMap<String, Digest> = came.into_iter().map(|a| (a.id, a.digest)).collect();
    assert_eq!(by_id.len(), 20);
    for (lane, outcomes) in (1u64..).zip(&done) {
        for (n, outcome) in (0u64..).zip(outcomes) {
            let text = format!("A: 1\r\n\r\nlane {}\r\n", lane * 10 + n);
            assert_eq!(by_id[&id(outcome)], Digest::of(text.as_bytes()), "each message has its own id");
        }
    }
}

//! Targets whose copies carry no stamp: unknown outcomes are settled by what came into a folder after the anchor of an
//! intent, all open messages of the folder together; ids on record say which copies are known already.

use std::collections::{BTreeMap, BTreeSet};

use super::arrivals::{Expected, assign, same_time};
use super::copy::Carried;
use super::pass::{Book, Core};
use super::settle::{self, Sought};
use super::whereabouts::{OnRecord, means_nothing};
use crate::env::Step;
use crate::ledger::{BatchId, Change, FolderState, MailboxState, Stored, Watch};
use crate::model::{Error, Fact, FolderId, Kind, Result, Scope, Stamp};
use crate::source::SourceMailbox;
use crate::target::{Arrival, CopyRef, TargetFolderId};

/// Records written at once while a folder is bound anew.
const REBOUND: usize = 500;

/// What came for one of the messages sought: the arrival, and the message as it was read again at the source.
pub(super) type Arrived = Option<(Arrival, Option<Carried>)>;

/// Looks for copies of open messages, folder by folder; an arrival settles one message at most, and what fits none is
/// somebody else's mail. In order.
pub(super) async fn arrived(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &mut Book,
    sought: &[Sought<'_>],
) -> Result<Vec<Arrived>> {
    let state = core.parts.ledger.load(&core.claim).await?;
    let mut result: Vec<Arrived> = vec![None; sought.len()];
    let mut by_place: BTreeMap<TargetFolderId, Vec<usize>> = BTreeMap::new();
    for (i, one) in sought.iter().enumerate() {
        if let Some(folder) = state.folders.iter().find(|f| f.id == one.folder) {
            by_place.entry(TargetFolderId(folder.target_folder.clone())).or_default().push(i);
        }
    }
    for (place, members) in by_place {
        // Batches are numbered as they are begun: the first one's anchor covers all.
        let oldest: Option<BatchId> = members.iter().map(|i| sought[*i].batch).min();
        let anchor = state.open.iter().find(|b| Some(b.id) == oldest).map(|b| b.anchor.as_str());
        let Some(anchor) = anchor.filter(|a| !a.is_empty()) else { return Err(no_anchor()) };
        let arrivals = since(core, &state, &place, anchor).await?;
        book.strays.remove(&place);
        if arrivals.is_empty() {
            continue;
        }
        let mut expected: Vec<Expected> =
            members.iter().map(|i| sought[*i].carried.map(expect).unwrap_or_default()).collect();
        let mut read: Vec<Option<Carried>> = vec![None; members.len()];
        let mut assigned = assign(&expected, &arrivals);
        let taken = |assigned: &[Option<usize>]| assigned.iter().flatten().count();
        if taken(&assigned) < members.len().min(arrivals.len()) {
            // The octets of the others are needed: for the digest after a stop, for the Message-ID in any case.
            let missing: Vec<usize> = (0..members.len()).filter(|m| assigned[*m].is_none()).collect();
            let lost: Vec<&Sought<'_>> = missing.iter().map(|m| &sought[members[*m]]).collect();
            for (m, again) in missing.into_iter().zip(settle::read_again(core, source, book, &lost).await?) {
                if let Some((carried, message_id)) = again {
                    expected[m] = Expected { message_id: Some(message_id), ..expect(&carried) };
                    read[m] = Some(carried);
                }
            }
            assigned = assign(&expected, &arrivals);
        }
        // Messages that cannot be read under the key of their intent may come under another one in this pass.
        let unread = expected.iter().filter(|e| e.digest.is_none()).count();
        let mut left: Vec<Option<Arrival>> = arrivals.into_iter().map(Some).collect();
        for ((i, at), read) in members.into_iter().zip(assigned).zip(read) {
            let arrival = at.and_then(|at| left.get_mut(at)).and_then(Option::take);
            result[i] = arrival.map(|arrival| (arrival, read));
        }
        if unread > 0 {
            let arrivals = left.into_iter().flatten().collect();
            book.strays.insert(place, Strays { arrivals, unread });
        }
    }
    Ok(result)
}

fn expect(carried: &Carried) -> Expected {
    Expected {
        digest: Some(carried.digest),
        size: carried.size,
        message_id: None,
        received: carried.received,
        flags: carried.flags.clone(),
    }
}

fn no_anchor() -> Error {
    Error::new(Kind::Internal, Scope::Mailbox, "an open batch has no anchor: its outcome cannot be settled")
}

/// Arrivals beside open messages that could not be read again.
#[derive(Debug, Default)]
pub(super) struct Strays {
    arrivals: Vec<Arrival>,
    /// How many such messages there are.
    unread: usize,
}

impl Strays {
    /// Messages whose copies may be among them; 0 if nothing came.
    pub(super) fn unread(&self) -> usize {
        self.unread.min(self.arrivals.len())
    }
}

/// A message is about to be stored whose copy may have come already, under a key that the source has given up since (its
/// folder has another epoch): takes that copy for it. `false`: there is none.
pub(super) async fn adopt_stray(
    core: &Core,
    book: &mut Book,
    place: &TargetFolderId,
    folder: FolderId,
    epoch: u64,
    one: &Carried,
) -> Result<bool> {
    let Some(strays) = book.strays.get_mut(place).filter(|s| s.unread > 0) else { return Ok(false) };
    let fits = |a: &Arrival| a.digest == one.digest && same_time(one.received, a.received);
    let Some(at) = strays.arrivals.iter().position(fits) else { return Ok(false) };
    let arrival = strays.arrivals.swap_remove(at);
    strays.unread -= 1;
    let mut stored = one.stored(epoch, arrival.id, &[settle::UNCONFIRMED]);
    stored.flags = arrival.flags;
    core.apply(Change::Moved { from: (folder, epoch, one.message.number), to: folder, stored }).await?;
    book.tally.stored += 1;
    book.tally.bytes += one.size;
    Ok(true)
}

/// Everything that came into a folder after the anchor and is not on record. Where the folder was numbered anew, what is
/// on record is bound to its new ids first, and all of it is asked for.
async fn since(
    core: &Core,
    state: &MailboxState,
    place: &TargetFolderId,
    anchor: &str,
) -> Result<Vec<Arrival>> {
    let known = core.ids_in(state, place).await?;
    match stored_since(core, place, anchor, &known).await {
        Err(error) if error.kind == Kind::Conflict && means_nothing(&error) => {
            let left = numbered_anew(core, state, place).await?;
            Ok(left)
        }
        // The folder is gone, and with it what came into it.
        Err(error) if means_nothing(&error) => Ok(Vec::new()),
        other => other,
    }
}

async fn stored_since(
    core: &Core,
    place: &TargetFolderId,
    anchor: &str,
    known: &BTreeSet<String>,
) -> Result<Vec<Arrival>> {
    let mut attempt = 0;
    loop {
        core.parts.env.step(Step::TargetFind).await;
        match core.target.stored_since(place, anchor, known).await {
            Ok(arrivals) => return Ok(arrivals),
            Err(error) if means_nothing(&error) => return Err(error),
            Err(error) => core.wait_or_give_up(error, &mut attempt).await?,
        }
    }
}

/// A target folder was numbered anew (restored, or made again under its name): binds what is on record to the ids its
/// copies have now, by their octets. What is not there any more stays on record without an id. Returns what is left.
async fn numbered_anew(core: &Core, state: &MailboxState, place: &TargetFolderId) -> Result<Vec<Arrival>> {
    let there = match stored_since(core, place, "", &BTreeSet::new()).await {
        Err(error) if means_nothing(&error) => Vec::new(),
        other => other?,
    };
    let mut facts: Vec<(&FolderState, Fact)> = Vec::new();
    for folder in state.folders.iter().filter(|f| f.target_folder == place.0 && f.live + f.orphans > 0) {
        let of_folder = core.parts.ledger.facts(&core.claim, folder.id).await?;
        facts.extend(of_folder.into_iter().map(|fact| (folder, fact)));
    }
    // Those stored since, or bound by an earlier attempt, have their new ids already.
    let ids: BTreeSet<&String> = facts.iter().map(|(_, f)| &f.target_id).collect();
    let (_, free): (Vec<_>, Vec<_>) = there.iter().cloned().partition(|a| ids.contains(&a.id));
    let present: BTreeSet<&String> = there.iter().map(|a| &a.id).collect();
    let lost: Vec<(&FolderState, Fact)> =
        facts.iter().filter(|(_, f)| !present.contains(&f.target_id)).cloned().collect();
    let expected: Vec<Expected> = lost
        .iter()
        .map(|(folder, fact)| Expected {
            digest: fact.digest,
            size: fact.size,
            message_id: None,
            received: fact.received,
            flags: folder.flags.get(fact.number).cloned().unwrap_or_default(),
        })
        .collect();
    let assigned = assign(&expected, &free);
    let mut left: Vec<Option<Arrival>> = free.into_iter().map(Some).collect();
    let mut changes = Vec::new();
    for ((folder, fact), at) in lost.into_iter().zip(assigned) {
        let arrival = at.and_then(|at| left.get_mut(at)).and_then(Option::take);
        let id = arrival.map(|a| a.id).unwrap_or_default();
        if fact.epoch == folder.epoch && fact.target_id != id {
            changes.push(rebound(core, folder, fact, id));
        }
    }
    for some in changes.chunks(REBOUND) {
        let applied = some.iter().map(|change| core.apply(change.clone()));
        for done in futures_util::future::join_all(applied).await {
            done?;
        }
    }
    Ok(left.into_iter().flatten().collect())
}

/// The copy of a fact has another id now; all else stays.
fn rebound(core: &Core, folder: &FolderState, fact: Fact, target_id: String) -> Change {
    let from = (folder.id, fact.epoch, fact.number);
    let bound = fact.bound.clone().unwrap_or_else(|| core.stamp(folder.id, fact.epoch, fact.number));
    let stored = Stored {
        from: fact.number,
        flags: folder.flags.get(fact.number).cloned().unwrap_or_default(),
        fact: Fact { target_id, bound: Some(bound), ..fact },
    };
    Change::Moved { from, to: folder.id, stored }
}

/// Before anything is written: are the ids on record still those of the target's folders? A folder that was numbered
/// anew is bound to its new ids; if that cannot be done, it is left out of this pass. Asks nothing if there is nothing to
/// write.
pub(super) async fn survey(core: &Core, book: &mut Book) -> Result<()> {
    let idle = |book: &Book| {
        let busy = |f: &super::inventory::FolderWork| !(f.new.is_empty() && f.reflagged.is_empty());
        book.candidates.is_empty() && !book.folders.values().any(busy)
    };
    if core.target.capabilities().stamps || idle(book) {
        return Ok(());
    }
    core.parts.env.step(Step::TargetFind).await;
    let marks = core.marks().await?;
    let mut asked: BTreeSet<TargetFolderId> = BTreeSet::new();
    let mut anew = false;
    for folder in book.state.folders.clone() {
        let place = TargetFolderId(folder.target_folder.clone());
        let as_counted = !folder.mark.is_empty() && marks.get(&place) == Some(&folder.mark);
        if folder.live == 0 || as_counted || !asked.insert(place.clone()) {
            continue;
        }
        let facts = core.parts.ledger.facts(&core.claim, folder.id).await?;
        // They are bound in this order: if the last one is, all are.
        let last = facts.into_iter().rfind(|f| f.epoch == folder.epoch && !f.target_id.is_empty());
        let Some(last) = last else { continue };
        let one = CopyRef { folder: place.clone(), id: last.target_id };
        match core.look_once(&[one]).await {
            Err(error) if error.kind == Kind::Conflict && means_nothing(&error) => {
                match numbered_anew(core, &book.state, &place).await {
                    Ok(_) => anew = true,
                    Err(error) if error.scope == Scope::Folder => leave_out(book, &place, &error),
                    Err(error) => return Err(error),
                }
            }
            Err(error) if means_nothing(&error) => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    if anew {
        // Vanished messages were gathered with the ids of before.
        book.state = core.parts.ledger.load(&core.claim).await?;
        for folder in &book.state.folders {
            let facts = core.parts.ledger.facts(&core.claim, folder.id).await?;
            book.candidates.refresh(folder.id, &facts);
        }
    }
    Ok(())
}

/// Leaves a folder as it is, at both ends: its ids cannot be trusted.
fn leave_out(book: &mut Book, place: &TargetFolderId, error: &Error) {
    book.folders.retain(|_, work| work.target != *place);
    book.candidates.forget(place);
    book.doubts.push(format!(
        "one folder of the target was numbered anew and its copies could not be recognised; it was left as it is: {error}"
    ));
    book.hold = Some("a folder was left out");
}

/// Sweeps late twins: what came into a folder we wrote to, is not on record, and is a watched message's copy once more
/// with its octets, date and flags. One for each watched stamp at most. Anything else is reported and left alone.
pub(super) async fn sweep(core: &Core, book: &mut Book, watch: Vec<Watch>) -> Result<()> {
    let open: BTreeSet<Stamp> = book
        .state
        .open
        .iter()
        .flat_map(|b| b.items.iter().map(|i| core.stamp(b.folder, b.epoch, i.number)))
        .collect();
    let mut by_place: BTreeMap<String, Vec<Watch>> = BTreeMap::new();
    for watched in watch.into_iter().filter(|w| !open.contains(&w.stamp)) {
        // Where its folder's counterpart is now: a renamed one keeps its ids.
        let folder = book.state.folders.iter().find(|f| f.id == watched.stamp.folder);
        let place = folder.map_or(&watched.target_folder, |f| &f.target_folder).clone();
        by_place.entry(place).or_default().push(watched);
    }
    let watch_for = i64::try_from(core.parts.options.watch_for.as_millis()).unwrap_or(i64::MAX);
    let now = core.parts.env.wall();
    let mut over = Vec::new();
    for (place, watched) in by_place {
        sweep_folder(core, book, &TargetFolderId(place), &watched).await?;
        let past = |w: &Watch| now.saturating_sub(w.until) >= watch_for;
        over.extend(watched.into_iter().filter(past).map(|w| w.stamp));
    }
    if !over.is_empty() {
        core.apply(Change::Unwatch(over)).await?;
    }
    Ok(())
}

async fn sweep_folder(core: &Core, book: &mut Book, place: &TargetFolderId, watched: &[Watch]) -> Result<()> {
    let oldest = watched.iter().min_by_key(|w| w.since).map(|w| w.anchor.as_str());
    let Some(anchor) = oldest.filter(|a| !a.is_empty()) else { return Ok(()) };
    let known = core.ids_in(&book.state, place).await?;
    let mut arrivals = match stored_since(core, place, anchor, &known).await {
        // Numbered anew or gone: nothing proves any more what came when.
        Err(error) if means_nothing(&error) => return Ok(()),
        other => other?,
    };
    if arrivals.is_empty() {
        return Ok(());
    }
    let kept = recorded(core, book, watched).await?;
    let refs: Vec<CopyRef> = kept.iter().map(|(_, _, on_record)| on_record.at.clone()).collect();
    let flags = core.look(&refs).await?;
    let mut doomed = Vec::new();
    let mut changed = 0;
    for ((folder, fact, _), flags) in kept.into_iter().zip(flags) {
        let fits = |a: &Arrival| Some(a.digest) == fact.digest && same_time(fact.received, a.received);
        let Some(flags) = flags else {
            // Its user moved the copy away and back, or only the late one is left: that one is the copy.
            let here = folder.target_folder == place.0 && fact.epoch == folder.epoch;
            if let Some(at) = arrivals.iter().position(fits).filter(|_| here) {
                let arrival = arrivals.swap_remove(at);
                core.apply(rebound(core, &folder, fact, arrival.id)).await?;
            }
            continue;
        };
        match arrivals.iter().position(|a| fits(a) && a.flags == flags) {
            Some(at) => {
                let twin = arrivals.swap_remove(at);
                doomed.push(CopyRef { folder: place.clone(), id: twin.id });
            }
            None => changed += usize::from(arrivals.iter().any(fits)),
        }
    }
    settle::remove(core, doomed).await?;
    if changed > 0 {
        book.doubts.push(
            "a second copy of one message was changed at the target and left alone: remove one by hand"
                .into(),
        );
    }
    Ok(())
}

/// The facts of watched stamps, wherever their copies are on record: a message may have moved since.
async fn recorded(core: &Core, book: &Book, watched: &[Watch]) -> Result<Vec<(FolderState, Fact, OnRecord)>> {
    let stamps: BTreeSet<&Stamp> = watched.iter().map(|w| &w.stamp).collect();
    let mut kept = Vec::new();
    for folder in book.state.folders.iter().filter(|f| f.live + f.orphans > 0) {
        for fact in core.parts.ledger.facts(&core.claim, folder.id).await? {
            let on_record = core.on_record(folder.id, &folder.target_folder, &fact);
            if stamps.contains(&on_record.stamp) {
                kept.push((folder.clone(), fact, on_record));
            }
        }
    }
    Ok(kept)
}

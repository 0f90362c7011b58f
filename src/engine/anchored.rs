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
use crate::model::{Digest, Error, Fact, Flags, FolderId, Kind, Result, Scope, Stamp};
use crate::source::SourceMailbox;
use crate::target::{Arrival, CopyIds, CopyRef, TargetFolderId};

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
        let arrivals = since(core, book, &state, &place, anchor).await?;
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
    book: &mut Book,
    state: &MailboxState,
    place: &TargetFolderId,
    anchor: &str,
) -> Result<Vec<Arrival>> {
    let known = core.ids_in(state, place).await?;
    match stored_since(core, place, anchor, &known).await {
        Err(error) if error.kind == Kind::Conflict && means_nothing(&error) => {
            numbered_anew(core, book, state, place).await
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
    known: &CopyIds,
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
async fn numbered_anew(
    core: &Core,
    book: &mut Book,
    state: &MailboxState,
    place: &TargetFolderId,
) -> Result<Vec<Arrival>> {
    let there = match stored_since(core, place, "", &CopyIds::default()).await {
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
    // Vanished messages may have been gathered with the ids of before.
    for folder in state.folders.iter().filter(|f| f.target_folder == place.0) {
        let facts = core.parts.ledger.facts(&core.claim, folder.id).await?;
        book.candidates.refresh(folder.id, &facts);
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
    let short = book.state.folders.iter().any(|f| f.live > 0 && f.mark.is_empty());
    if core.target.capabilities().stamps || (idle(book) && !short) {
        return Ok(());
    }
    core.parts.env.step(Step::TargetFind).await;
    let marks = core.marks().await?;
    book.marks.clone_from(&marks);
    let mut asked: BTreeSet<TargetFolderId> = BTreeSet::new();
    let state = book.state.clone();
    for folder in state.folders.iter().rev() {
        let place = TargetFolderId(folder.target_folder.clone());
        let as_counted = !folder.mark.is_empty() && marks.get(&place) == Some(&folder.mark);
        if folder.live == 0 || as_counted || !asked.insert(place.clone()) {
            continue;
        }
        // The last one is bound last, and some may have been stored since: the first one and the last tell.
        let mut ends: BTreeMap<u64, String> = BTreeMap::new();
        let mut facts = core.facts_in(folder.id);
        while let Some(page) = facts.next().await? {
            let ids = page.into_iter().filter(|f| f.epoch == folder.epoch && !f.target_id.is_empty());
            ends.extend(ids.map(|f| (f.number, f.target_id)));
            let first = ends.pop_first();
            let last = ends.pop_last();
            ends = first.into_iter().chain(last).collect();
        }
        let mut told = Ok(());
        for id in ends.into_values() {
            let one = CopyRef { folder: place.clone(), id };
            told = told.and(core.look_once(&[one]).await.map(drop));
        }
        let Err(error) = told else { continue };
        if !means_nothing(&error) {
            return Err(error);
        }
        if error.kind == Kind::Conflict {
            match numbered_anew(core, book, &state, &place).await {
                Err(error) if error.scope == Scope::Folder => leave_out(book, &place, &error),
                done => drop(done?),
            }
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
    match stored_since(core, place, anchor, &known).await {
        // Numbered anew or gone: nothing proves any more what came when.
        Err(error) if means_nothing(&error) => return Ok(()),
        came => {
            if came?.is_empty() {
                return Ok(());
            }
        }
    }
    // The copies on record are read along: a server changes a twin as it changed the first.
    let mut kept = recorded(core, book, watched).await?;
    let mut others = known.clone();
    for one in &kept {
        others.remove(&one.on_record.at.id);
    }
    let came = stored_since(core, place, anchor, &others).await?;
    let (copies, mut arrivals): (Vec<_>, Vec<_>) = came.into_iter().partition(|a| known.contains(&a.id));
    let refs: Vec<CopyRef> = kept.iter().map(|k| k.on_record.at.clone()).collect();
    for (one, flags) in kept.iter_mut().zip(core.look(&refs).await?) {
        let copy = copies.iter().find(|c| one.on_record.at.folder == *place && c.id == one.on_record.at.id);
        one.digest = copy.map_or(one.fact.digest, |copy| Some(copy.digest));
        one.flags = flags;
    }
    let mut doomed = Vec::new();
    for one in &kept {
        let here = one.on_record.at.folder == *place && one.fact.epoch == one.folder.epoch;
        let twin = |a: &Arrival| one.fits(a) && one.flags.as_ref().is_none_or(|flags| a.flags == *flags);
        let Some(at) = arrivals.iter().position(twin) else { continue };
        if one.flags.is_some() {
            let twin = arrivals.swap_remove(at);
            doomed.push(CopyRef { folder: place.clone(), id: twin.id });
        } else if here {
            // Its user moved the copy away and back, or only the late one is left: that one is the copy.
            let copy = arrivals.swap_remove(at);
            core.apply(rebound(core, &one.folder, one.fact.clone(), copy.id)).await?;
        }
    }
    settle::remove(core, doomed).await?;
    if kept.iter().any(|one| one.flags.is_some() && arrivals.iter().any(|a| one.fits(a))) {
        book.doubts.push(
            "a second copy of one message was changed at the target and left alone: remove one by hand"
                .into(),
        );
    }
    Ok(())
}

/// A watched message whose copy is on record.
struct Kept {
    folder: FolderState,
    fact: Fact,
    on_record: OnRecord,
    /// Of its octets as they are at the target, as far as that is known.
    digest: Option<Digest>,
    /// `None`: it is not where it is on record.
    flags: Option<Flags>,
}

impl Kept {
    /// Is this the same message once more, if its user changed nothing but flags?
    fn fits(&self, arrival: &Arrival) -> bool {
        self.digest == Some(arrival.digest) && same_time(self.fact.received, arrival.received)
    }
}

/// The facts of watched stamps, wherever their copies are on record: a message may have moved since.
async fn recorded(core: &Core, book: &Book, watched: &[Watch]) -> Result<Vec<Kept>> {
    let stamps: BTreeSet<&Stamp> = watched.iter().map(|w| &w.stamp).collect();
    let mut kept = Vec::new();
    for folder in book.state.folders.iter().filter(|f| f.live + f.orphans > 0) {
        let mut facts = core.facts_in(folder.id);
        while let Some(page) = facts.next().await? {
            for fact in page {
                let on_record = core.on_record(folder.id, &folder.target_folder, &fact);
                if stamps.contains(&on_record.stamp) {
                    kept.push(Kept {
                        folder: folder.clone(),
                        digest: fact.digest,
                        fact,
                        on_record,
                        flags: None,
                    });
                }
            }
        }
    }
    Ok(kept)
}

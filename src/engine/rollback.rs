//! A ledger that is older than the target: put back from a backup, it does not know the copies made since. They are found
//! before anything is stored, and put on record instead of being made a second time.
//!
//! Where copies carry stamps, the stamps of what is to be stored are asked for, or all of the mailbox's where a few would
//! prove nothing: numbers and ids that the ledger gives out itself (of named messages, of folders it sees for the first
//! time) may have been given to others by the runs that were forgotten. There octets decide. Where copies carry no stamp,
//! what came into a folder since its copies were counted last and is not on record is compared with what is to be stored.
//!
//! That a ledger was *not* put back cannot be proven from within (a machine's snapshot takes all there is back with it), so
//! every run looks. It looks once: its ledger is in nobody else's hands meanwhile. Only a look that left nothing open counts,
//! and only when what it found is durable; where it ended otherwise, the next try looks again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;

use super::arrivals::{Expected, assign};
use super::copy::Carried;
use super::diff::NewMessage;
use super::pairing::{Pair, pair};
use super::pass::{Book, Core, stopped};
use super::rebuild::{intent_item, read, read_copy};
use super::settle::{self, UNCONFIRMED};
use super::whereabouts::means_nothing;
use crate::env::Step;
use crate::ledger::{Applied, Change, FolderState, Outcomes, Stored, Watch};
use crate::model::{Error, FolderId, Kind, Result, Scope, Skip, SkipReason, SourceId, Stamp, StampPrefix};
use crate::source::SourceMailbox;
use crate::target::{Arrival, Copy, TargetFolderId};

/// So many stamps are asked for one by one; for more of them the whole mailbox is asked.
const FEW: u64 = 8;
/// Messages read and recorded at once.
const AT_ONCE: usize = 64;
/// Copies read back at once.
const READ_AT_ONCE: usize = 4;

/// Where a run has looked through one mailbox.
#[derive(Debug, Default)]
pub(super) struct Looked(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    /// No copy in the whole mailbox is unknown any more.
    all: bool,
    /// Folders in which copies carry no stamp: what lay there then and was not put on record is somebody's own.
    folders: BTreeSet<TargetFolderId>,
}

impl Looked {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds copies that this ledger should know and does not. What was found is on record, and no longer among what is to be
/// copied.
pub(super) async fn adopt(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &mut Book,
    watched: &[Watch],
) -> Result<()> {
    // A mailbox that was bound to its target in this very pass was looked at then.
    if !book.continued || book.looked.places().all || book.folders.values().all(|work| work.new.is_empty()) {
        return Ok(());
    }
    let mut told = Told::default();
    if core.target.capabilities().stamps {
        by_stamp(core, source, book, watched, &mut told).await?;
    } else {
        by_octets(core, source, book, &mut told).await?;
    }
    book.tally.already += told.adopted;
    if told.adopted + told.doubtful + told.strangers == 0 {
        return Ok(());
    }
    book.notes.push(format!(
        "the target holds copies that this ledger did not know, as if an older copy of the ledger had been put back: \
         {} were put on record and not stored again",
        told.adopted
    ));
    if told.doubtful > 0 {
        book.doubts.push(format!(
            "of {} messages one of those copies may be theirs, and which one cannot be told: they are listed as skipped \
             and were not stored",
            told.doubtful
        ));
    }
    if told.strangers > 0 {
        book.doubts.push(format!(
            "{} of those copies are of no message that is still at the source: they were left alone",
            told.strangers
        ));
    }
    Ok(())
}

#[derive(Default)]
struct Told {
    adopted: u64,
    doubtful: u64,
    strangers: u64,
}

/// What is about to be stored, of one folder.
struct Busy {
    id: FolderId,
    epoch: u64,
    target: TargetFolderId,
    named: bool,
    /// Nothing of it was on record: its id says nothing about the copies of forgotten runs.
    fresh: bool,
}

fn busy(book: &Book) -> Vec<Busy> {
    let with_new = book.folders.iter().filter(|(_, work)| !work.new.is_empty());
    let busy = with_new.map(|(id, work)| Busy {
        id: *id,
        epoch: work.listing.epoch,
        target: work.target.clone(),
        named: work.new.is_named(),
        fresh: recorded(book, *id).is_none_or(|f| f.done.is_empty() && f.orphans == 0),
    });
    busy.collect()
}

fn recorded(book: &Book, id: FolderId) -> Option<&FolderState> {
    book.state.folders.iter().find(|f| f.id == id)
}

async fn by_stamp(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &mut Book,
    watched: &[Watch],
    told: &mut Told,
) -> Result<()> {
    let busy = busy(book);
    let open: BTreeSet<Stamp> =
        book.reopened.iter().map(|r| core.stamp(r.folder, r.epoch, r.item.number)).collect();
    let new: u64 = book.folders.values().map(|work| work.new.len()).sum();
    core.parts.env.step(Step::TargetFind).await;
    let whole = new > FEW || busy.iter().any(|b| b.named || b.fresh);
    let copies = if whole {
        core.find(&core.all_stamps()).await?
    } else {
        let stamps = busy.iter().flat_map(|b| {
            let numbers = book.folders.get(&b.id).into_iter().flat_map(|work| work.new.iter());
            numbers.map(|m| core.stamp(b.id, b.epoch, m.number))
        });
        let prefixes: Vec<StampPrefix> =
            stamps.filter(|s| !open.contains(s)).map(|s| StampPrefix::exactly(&s)).collect();
        if prefixes.is_empty() { Vec::new() } else { core.find_each(&prefixes).await? }
    };
    let watched: BTreeSet<&Stamp> = watched.iter().map(|w| &w.stamp).collect();
    let unknown = |copy: &Copy| {
        !open.contains(&copy.stamp) && !watched.contains(&copy.stamp) && !is_known(book, &copy.stamp)
    };
    let (complete, cut): (Vec<Copy>, Vec<Copy>) =
        copies.into_iter().filter(unknown).partition(|c| c.complete);
    // What a forgotten run left half done is no copy and never will be.
    settle::remove(core, cut.iter().map(Copy::to_ref).collect()).await?;
    // The same choice as everywhere: the one made first.
    let mut lost: BTreeMap<Stamp, Copy> = BTreeMap::new();
    for copy in complete {
        match lost.get(&copy.stamp) {
            Some(first) if (first.made, &first.id) <= (copy.made, &copy.id) => {}
            _ => drop(lost.insert(copy.stamp.clone(), copy)),
        }
    }
    if lost.is_empty() {
        book.looked.places().all |= whole;
        return Ok(());
    }
    by_key(core, source, book, &busy, &mut lost, told).await?;
    let doubtful_ids: Vec<&Busy> = busy.iter().filter(|b| b.named || b.fresh).collect();
    renumber(core, book, &doubtful_ids, &lost).await?;
    pair_rest(core, source, book, &doubtful_ids, &mut lost, told).await?;
    told.strangers = lost.len() as u64;
    // One that is of no message here may be of one that comes into sight later.
    book.looked.places().all |= whole && lost.is_empty() && told.doubtful == 0;
    forget(core, book, lost.into_keys()).await
}

/// Does the ledger know what became of the message of this stamp? Of earlier numberings nothing is told: their copies are
/// bound to other keys.
fn is_known(book: &Book, stamp: &Stamp) -> bool {
    let Some(folder) = recorded(book, stamp.folder) else { return false };
    folder.epoch != stamp.epoch || folder.done.contains(stamp.number)
}

/// Messages that their source numbers, of folders on record: a stamp names its message.
async fn by_key(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &mut Book,
    busy: &[Busy],
    lost: &mut BTreeMap<Stamp, Copy>,
    told: &mut Told,
) -> Result<()> {
    for one in busy.iter().filter(|b| !b.named && !b.fresh) {
        let key = (one.id, one.epoch);
        let stamp = |m: &NewMessage| core.stamp(one.id, one.epoch, m.number);
        let there: Vec<NewMessage> =
            messages(book, one.id).filter(|m| lost.contains_key(&stamp(m))).collect();
        for some in there.chunks(AT_ONCE) {
            if core.stop.asked() {
                return Err(stopped());
            }
            let read = read(core, source, book, key, &some.iter().collect::<Vec<_>>()).await?;
            let mut found = Vec::new();
            for (message, read) in some.iter().zip(read) {
                let Some(copy) = lost.remove(&stamp(message)) else { continue };
                found.push(stored(core, key, message, read.map(|(carried, _)| carried), copy));
            }
            record(core, book, key, found, told).await?;
        }
    }
    Ok(())
}

fn messages(book: &Book, id: FolderId) -> impl Iterator<Item = NewMessage> + '_ {
    book.folders.get(&id).into_iter().flat_map(|work| work.new.iter())
}

/// What is put on record of a copy that was found; without the message's octets its digest is not known.
fn stored(
    core: &Core,
    (folder, epoch): (FolderId, u64),
    message: &NewMessage,
    read: Option<Carried>,
    copy: Copy,
) -> (SourceId, Stored) {
    let known = read.is_some();
    let own = core.stamp(folder, epoch, message.number);
    let mut carried = read.unwrap_or_else(|| Carried::unread(own.clone(), &intent_item(message)));
    carried.message = message.clone();
    carried.received = carried.received.or(message.received);
    // The flags recorded are those the copy has: the next pass syncs the difference.
    carried.flags = copy.flags;
    let mut stored = carried.stored(epoch, core.id_on_record(copy.id), &[UNCONFIRMED]);
    if !known {
        stored.fact.digest = None;
    }
    stored.fact.bound = Some(copy.stamp).filter(|stamp| *stamp != own);
    (message.id.clone(), stored)
}

/// Records copies, and takes their messages from what is to be stored.
async fn record(
    core: &Core,
    book: &mut Book,
    (folder, epoch): (FolderId, u64),
    found: Vec<(SourceId, Stored)>,
    told: &mut Told,
) -> Result<()> {
    let mut applied = Vec::with_capacity(found.len());
    for (_, stored) in &found {
        // In one change, without an intent: nothing of it is under way that a stop could cut.
        let from = (folder, epoch, stored.fact.number);
        applied.push(core.apply(Change::Moved { from, to: folder, stored: stored.clone() }));
    }
    for done in join_all(applied).await {
        done?;
    }
    told.adopted += found.len() as u64;
    let ids: BTreeSet<SourceId> = found.into_iter().map(|(id, _)| id).collect();
    leave_out(book, folder, &ids);
    Ok(())
}

fn leave_out(book: &mut Book, folder: FolderId, ids: &BTreeSet<SourceId>) {
    if let Some(work) = book.folders.get_mut(&folder) {
        let new = std::mem::take(&mut work.new);
        work.new = new.into_iter().filter(|m| !ids.contains(&m.id)).collect();
    }
}

/// Forgotten runs have given numbers to named messages that this one gave to others: gives new ones, beyond all that any
/// copy carries.
async fn renumber(core: &Core, book: &mut Book, busy: &[&Busy], lost: &BTreeMap<Stamp, Copy>) -> Result<()> {
    for one in busy.iter().filter(|b| b.named) {
        let of_folder = lost.keys().filter(|s| s.folder == one.id && s.epoch == one.epoch);
        let Some(highest) = of_folder.map(|s| s.number).max() else { continue };
        let open: BTreeSet<u64> =
            book.reopened.iter().filter(|r| r.folder == one.id).map(|r| r.item.number).collect();
        let free = |m: &NewMessage| !open.contains(&m.number);
        let count = messages(book, one.id).filter(free).count() as u64;
        let mut next = core.parts.ledger.number(&core.claim, one.id, count).await?;
        if next <= highest {
            // Up to the highest first; the numbers just given are holes then.
            let more = (highest - next).saturating_add(1);
            core.parts.ledger.number(&core.claim, one.id, more).await?;
            next = core.parts.ledger.number(&core.claim, one.id, count).await?;
        }
        let Some(work) = book.folders.get_mut(&one.id) else { continue };
        let new = std::mem::take(&mut work.new).into_iter().map(|mut m| {
            if free(&m) {
                (m.number, m.from) = (next, next);
                next += 1;
            }
            m
        });
        work.new = new.collect::<Vec<_>>().into_iter().collect();
    }
    Ok(())
}

/// A message to be stored that was read, to find its copy by what it holds.
struct Open {
    folder: usize,
    message: NewMessage,
    carried: Carried,
    expected: Expected,
}

/// Reads what is to be stored in a folder.
async fn read_new(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &Book,
    (at, one): (usize, &Busy),
) -> Result<Vec<Open>> {
    let open: BTreeSet<u64> =
        book.reopened.iter().filter(|r| r.folder == one.id).map(|r| r.item.number).collect();
    let new: Vec<NewMessage> = messages(book, one.id).filter(|m| !open.contains(&m.number)).collect();
    let mut all = Vec::new();
    for some in new.chunks(AT_ONCE) {
        if core.stop.asked() {
            return Err(stopped());
        }
        let read = read(core, source, book, (one.id, one.epoch), &some.iter().collect::<Vec<_>>()).await?;
        for (message, read) in some.iter().zip(read) {
            let Some((carried, message_id)) = read else { continue };
            let expected = Expected {
                digest: Some(carried.digest),
                size: carried.size,
                message_id: Some(message_id),
                received: carried.received.or(message.received),
                flags: carried.flags.clone(),
            };
            all.push(Open { folder: at, message: message.clone(), carried, expected });
        }
    }
    Ok(all)
}

/// Pairs messages whose numbers prove nothing with the copies that are left, by what both hold.
async fn pair_rest(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &mut Book,
    busy: &[&Busy],
    lost: &mut BTreeMap<Stamp, Copy>,
    told: &mut Told,
) -> Result<()> {
    if lost.is_empty() || busy.is_empty() {
        return Ok(());
    }
    let mut open = Vec::new();
    for (at, one) in busy.iter().enumerate() {
        open.extend(read_new(core, source, book, (at, one)).await?);
    }
    let copies: Vec<Copy> = lost.values().cloned().collect();
    let mut there: Vec<(Copy, Arrival)> = Vec::new();
    for some in copies.chunks(READ_AT_ONCE) {
        if core.stop.asked() {
            return Err(stopped());
        }
        let mut reads = Vec::with_capacity(some.len());
        for copy in some {
            reads.push(read_copy(core, copy));
        }
        for (copy, read) in some.iter().zip(join_all(reads).await) {
            there.extend(read?.map(|arrival| (copy.clone(), arrival)));
        }
    }
    let unreadable = there.len() < copies.len();
    let expected: Vec<Expected> = open.iter().map(|o| o.expected.clone()).collect();
    let arrivals: Vec<Arrival> = there.iter().map(|(_, arrival)| arrival.clone()).collect();
    let mut found: BTreeMap<usize, Vec<(SourceId, Stored)>> = BTreeMap::new();
    let mut doubts: BTreeMap<usize, Vec<(SourceId, Skip)>> = BTreeMap::new();
    for (one, paired) in open.into_iter().zip(pair(&expected, &arrivals, true)) {
        let place = busy[one.folder];
        let key = (place.id, place.epoch);
        match paired {
            Pair::Copy(at) => {
                let copy = there[at].0.clone();
                lost.remove(&copy.stamp);
                let mut message = one.message;
                // Its number is the one that its copy carries.
                if place.named && (copy.stamp.folder, copy.stamp.epoch) == key {
                    (message.number, message.from) = (copy.stamp.number, copy.stamp.number);
                }
                found.entry(one.folder).or_default().push(stored(
                    core,
                    key,
                    &message,
                    Some(one.carried),
                    copy,
                ));
            }
            Pair::None if !unreadable => {}
            Pair::None | Pair::Doubtful => {
                let detail = "a copy of it may be at the target: this ledger is older than it".to_owned();
                let size = Some(one.carried.size);
                let skip = super::copy::skip(&one.message, SkipReason::Doubtful, detail, size);
                doubts.entry(one.folder).or_default().push((one.message.id, skip));
            }
        }
    }
    for (at, found) in found {
        record(core, book, (busy[at].id, busy[at].epoch), found, told).await?;
    }
    for (at, doubts) in doubts {
        let folder = busy[at].id;
        told.doubtful += doubts.len() as u64;
        let (ids, skips): (BTreeSet<SourceId>, Vec<Skip>) = doubts.into_iter().unzip();
        core.apply(Change::Skipped { folder, skips }).await?;
        book.hold = Some("a message is left alone whose copy may be there already");
        leave_out(book, folder, &ids);
    }
    Ok(())
}

/// Copies of messages that are gone: their numbers are done, so that they are told once.
async fn forget(core: &Core, book: &Book, stamps: impl Iterator<Item = Stamp>) -> Result<()> {
    for stamp in stamps {
        let Some(folder) = recorded(book, stamp.folder).filter(|f| f.epoch == stamp.epoch) else { continue };
        // A message that is to be stored under this number is not gone.
        if messages(book, folder.id).any(|m| m.number == stamp.number) {
            continue;
        }
        let item = crate::ledger::IntentItem {
            number: stamp.number,
            id: SourceId::Number(stamp.number),
            size: None,
        };
        let (folder, epoch) = (folder.id, folder.epoch);
        let intent = Change::Intent { folder, epoch, anchor: String::new(), items: vec![item] };
        let Applied::Batch(batch) = core.apply(intent).await? else {
            return Err(Error::new(Kind::Internal, Scope::Run, "the ledger gave a batch no number"));
        };
        let outcomes = Outcomes { gone: vec![stamp.number], ..Outcomes::default() };
        core.apply(Change::Outcome { batch, outcomes }).await?;
    }
    Ok(())
}

/// The mark that a target folder had when its copies were counted, if it has another one now. What forgotten runs stored
/// there came since. `None` too if they were never counted: then nothing tells copies from somebody's own mail.
fn mark_before<'b>(book: &'b Book, place: &TargetFolderId) -> Option<&'b String> {
    let now = book.marks.get(place).filter(|mark| !mark.is_empty())?;
    let mut folders = book.state.folders.iter().filter(|f| f.target_folder == place.0 && f.live > 0);
    let before = &folders.next()?.mark;
    (!before.is_empty() && before != now && folders.all(|f| f.mark == *before)).then_some(before)
}

/// Where copies carry no stamp: what lies in a folder and is not on record, against what is to be stored there.
async fn by_octets(core: &Core, source: &dyn SourceMailbox, book: &mut Book, told: &mut Told) -> Result<()> {
    let busy = busy(book);
    let places: BTreeSet<&TargetFolderId> = busy.iter().map(|b| &b.target).collect();
    for place in places {
        if book.looked.places().folders.contains(place) {
            continue;
        }
        let state = &book.state;
        let Some(since) = mark_before(book, place).cloned() else { continue };
        let known = core.ids_in(state, place).await?;
        let mut attempt = 0;
        let arrivals = loop {
            core.parts.env.step(Step::TargetFind).await;
            match core.target.stored_since(place, &since, &known).await {
                Ok(arrivals) => break arrivals,
                // Gone, and with it what it held; or numbered anew, which was seen to before.
                Err(error) if means_nothing(&error) => break Vec::new(),
                Err(error) => core.wait_or_give_up(error, &mut attempt).await?,
            }
        };
        // A folder that could not be read may hold messages that have copies here.
        let looked = book.left.is_empty() && book.hold.is_none();
        if arrivals.is_empty() {
            book.looked.places().folders.extend(looked.then(|| place.clone()));
            continue;
        }
        let mut open = Vec::new();
        for (at, one) in busy.iter().enumerate().filter(|(_, b)| b.target == *place) {
            open.extend(read_new(core, source, book, (at, one)).await?);
        }
        let expected: Vec<Expected> = open.iter().map(|o| o.expected.clone()).collect();
        let mut found: BTreeMap<usize, Vec<(SourceId, Stored)>> = BTreeMap::new();
        for (one, at) in open.into_iter().zip(assign(&expected, &arrivals)) {
            let Some(arrival) = at.and_then(|at| arrivals.get(at)) else { continue };
            let key = (busy[one.folder].id, busy[one.folder].epoch);
            let copy = Copy {
                stamp: core.stamp(key.0, key.1, one.message.number),
                id: arrival.id.clone(),
                folder: place.clone(),
                complete: true,
                flags: arrival.flags.clone(),
                made: 0,
            };
            found.entry(one.folder).or_default().push(stored(
                core,
                key,
                &one.message,
                Some(one.carried),
                copy,
            ));
        }
        for (at, found) in found {
            record(core, book, (busy[at].id, busy[at].epoch), found, told).await?;
        }
        book.looked.places().folders.extend(looked.then(|| place.clone()));
    }
    Ok(())
}

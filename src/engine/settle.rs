//! Unknown outcomes, resolved by looking.

use std::collections::{BTreeMap, BTreeSet};

use super::anchored;
use super::copy::{Carried, Unsettled, header_digest, reserve_bytes};
use super::diff::NewMessage;
use super::pass::{Book, Core};
use crate::env::Step;
use crate::ledger::{BatchId, Change, IntentItem, OpenBatch, Outcomes, Stored};
use crate::model::{Body, Digest, Error, Flags, FolderId, Kind, Result, Scope, SourceId, Stamp};
use crate::source::{Fetched, SourceMailbox, Wanted};
use crate::target::{Copy, CopyRef};
use crate::transform::message_id::message_id;

/// Recorded as the loss of a copy whose store was never answered: what the target could not keep, it did not say.
pub const UNCONFIRMED: &str = "unconfirmed";

/// Octets of a message read for its `Message-ID`, in bytes: a longer header block is told apart by its beginning.
const HEADER: u64 = 1 << 20;

/// A message of an open batch, looked for.
#[derive(Debug)]
pub(super) struct Sought<'a> {
    pub batch: BatchId,
    pub folder: FolderId,
    pub epoch: u64,
    pub item: IntentItem,
    /// What is known of it if it was read in this pass.
    pub carried: Option<&'a Carried>,
}

/// What a look at the target says of one message.
enum Look {
    /// A complete copy is there: its id and flags, and the message, if it had to be read again to know its copy.
    There(String, Flags, Option<Box<Carried>>),
    /// None is, or only an incomplete one, which was removed.
    Absent,
}

/// Looks for copies of messages whose outcome is unknown, in order.
async fn look_for(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &mut Book,
    sought: &[Sought<'_>],
) -> Result<Vec<Look>> {
    if !core.target.capabilities().stamps {
        let arrived = anchored::arrived(core, source, book, sought).await?;
        let look = |found: anchored::Arrived| match found {
            Some((arrival, read)) => Look::There(arrival.id, arrival.flags, read.map(Box::new)),
            None => Look::Absent,
        };
        return Ok(arrived.into_iter().map(look).collect());
    }
    core.parts.env.step(Step::TargetFind).await;
    let stamps: Vec<Stamp> = sought.iter().map(|s| core.stamp(s.folder, s.epoch, s.item.number)).collect();
    let mut found = core.locate(&stamps).await?;
    let mut looks = Vec::with_capacity(stamps.len());
    for stamp in stamps {
        let copies = found.remove(&stamp).unwrap_or_default();
        let (complete, incomplete): (Vec<_>, Vec<_>) = copies.into_iter().partition(|c| c.complete);
        if !incomplete.is_empty() {
            remove(core, incomplete.iter().map(Copy::to_ref).collect()).await?;
        }
        let first = complete.into_iter().next();
        looks.push(first.map_or(Look::Absent, |copy| Look::There(copy.id, copy.flags, None)));
    }
    Ok(looks)
}

/// Removes copies, with bounded retries.
pub(super) async fn remove(core: &Core, copies: Vec<CopyRef>) -> Result<()> {
    let mut ids = copies;
    let mut attempt = 0;
    while !ids.is_empty() {
        let results = core.target.remove(&ids).await;
        let mut failed = Vec::new();
        let mut last = None;
        for (id, result) in ids.into_iter().zip(results) {
            if let Err(error) = result {
                failed.push(id);
                last = Some(error);
            }
        }
        ids = failed;
        if let Some(error) = last {
            core.wait_or_give_up(error, &mut attempt).await?;
        }
    }
    Ok(())
}

/// Settles the unknown outcomes of this pass: look, wait, look again. Returns those that are not there now and must be
/// copied again, **under the same intent**: it stays open, so that a stop between here and the next store does not
/// forget that a copy may still arrive. A twin that appears later is the sweep's matter.
pub(super) async fn look(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &mut Book,
    unsettled: Vec<Unsettled>,
) -> Result<Vec<Unsettled>> {
    let mut open = unsettled;
    for last in [false, true] {
        if last && !open.is_empty() {
            core.let_settle().await;
        }
        if open.is_empty() {
            break;
        }
        let sought: Vec<Sought<'_>> = open.iter().map(Unsettled::sought).collect();
        let looks = look_for(core, source, book, &sought).await?;
        let mut absent = Vec::new();
        for (one, look) in open.into_iter().zip(looks) {
            let Look::There(id, ..) = look else {
                absent.push(one);
                continue;
            };
            let id = core.id_on_record(id);
            let stored = one.carried.stored(one.carried.stamp.epoch, id, &[UNCONFIRMED]);
            let outcomes = Outcomes { stored: vec![stored], ..Outcomes::default() };
            core.apply(Change::Outcome { batch: one.batch, outcomes }).await?;
            book.tally.stored += 1;
            book.tally.bytes += one.carried.size;
        }
        open = absent;
    }
    Ok(open)
}

impl Unsettled {
    fn sought(&self) -> Sought<'_> {
        let message = &self.carried.message;
        Sought {
            batch: self.batch,
            folder: self.folder,
            epoch: self.carried.stamp.epoch,
            item: IntentItem { number: message.number, id: message.id.clone(), size: message.size },
            carried: Some(&self.carried),
        }
    }
}

/// A message of an open batch that is not at the target: it is copied again under the intent it has.
#[derive(Debug, Clone)]
pub(super) struct Reopened {
    pub batch: BatchId,
    pub folder: FolderId,
    pub epoch: u64,
    pub item: IntentItem,
}

/// Settles what an earlier run left open: every message with an intent and no outcome is looked for. What is there is
/// recorded (its octets are read once more at the source, for the digest); what is not goes to `book.reopened`.
pub(super) async fn left_open(core: &Core, source: &dyn SourceMailbox, book: &mut Book) -> Result<()> {
    let open = std::mem::take(&mut book.state.open);
    if open.is_empty() {
        return Ok(());
    }
    // What a stop cut is unknown, also when a copy is found: that copy may be an earlier attempt's, and the one that
    // was cut may still arrive. So every stamp is watched from now on.
    for batch in &open {
        let unknown: Vec<_> =
            batch.items.iter().map(|i| (i.number, core.stamp(batch.folder, batch.epoch, i.number))).collect();
        let outcomes = Outcomes { unknown, ..Outcomes::default() };
        core.apply(Change::Outcome { batch: batch.id, outcomes }).await?;
    }
    let mut waiting: Vec<OpenBatch> = open;
    for last in [false, true] {
        if last && !waiting.is_empty() {
            core.let_settle().await;
        }
        let sought: Vec<Sought<'_>> = waiting
            .iter()
            .flat_map(|b| {
                let (batch, folder, epoch) = (b.id, b.folder, b.epoch);
                b.items.iter().map(move |i| Sought { batch, folder, epoch, item: i.clone(), carried: None })
            })
            .collect();
        if sought.is_empty() {
            break;
        }
        let mut looks = look_for(core, source, book, &sought).await?.into_iter();
        let mut absent = Vec::new();
        for batch in waiting {
            let mut outcomes = Outcomes::default();
            let mut rest = OpenBatch { items: Vec::new(), ..batch.clone() };
            for item in batch.items {
                let stamp = core.stamp(batch.folder, batch.epoch, item.number);
                match looks.next() {
                    Some(Look::There(id, flags, read)) => {
                        let stored = found(core, source, book, &rest, item, (id, flags, read)).await?;
                        outcomes.stored.push(stored);
                    }
                    _ => {
                        if !last {
                            outcomes.unknown.push((item.number, stamp));
                        }
                        rest.items.push(item);
                    }
                }
            }
            book.tally.stored += outcomes.stored.len() as u64;
            book.tally.bytes += outcomes.stored.iter().map(|s| s.fact.size).sum::<u64>();
            if outcomes != Outcomes::default() {
                core.apply(Change::Outcome { batch: batch.id, outcomes }).await?;
            }
            if !rest.items.is_empty() {
                absent.push(rest);
            }
        }
        waiting = absent;
    }
    for batch in waiting {
        let (id, folder, epoch) = (batch.id, batch.folder, batch.epoch);
        book.reopened.extend(batch.items.into_iter().map(|item| Reopened { batch: id, folder, epoch, item }));
    }
    Ok(())
}

/// What is recorded of a copy found after a stop: the digest needs the octets, which the source still has, or not.
async fn found(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &Book,
    open: &OpenBatch,
    item: IntentItem,
    (id, flags, read): (String, Flags, Option<Box<Carried>>),
) -> Result<Stored> {
    let read = match read {
        Some(read) => Some(*read),
        None => {
            let (batch, folder, epoch) = (open.id, open.folder, open.epoch);
            let sought = Sought { batch, folder, epoch, item: item.clone(), carried: None };
            let again = read_again(core, source, book, &[&sought]).await?;
            again.into_iter().next().flatten().map(|(carried, _)| carried)
        }
    };
    let known = read.is_some();
    let stamp = core.stamp(open.folder, open.epoch, item.number);
    let mut carried = read.unwrap_or_else(|| Carried::unread(stamp, &item));
    // The flags recorded are those the copy has: if the source's changed since, the pass syncs the difference.
    carried.flags = flags;
    let mut stored = carried.stored(open.epoch, core.id_on_record(id), &[UNCONFIRMED]);
    if !known {
        stored.fact.digest = None;
    }
    Ok(stored)
}

impl Carried {
    /// A message that was not read, or cannot be any more.
    pub(super) fn unread(stamp: Stamp, item: &IntentItem) -> Carried {
        let message = NewMessage {
            number: item.number,
            id: item.id.clone(),
            size: item.size,
            received: None,
            object: 0,
            flags: Flags::default(),
            from: item.number,
        };
        let size = item.size.unwrap_or(0);
        let (digest, flags) = (Digest::default(), Flags::default());
        Carried { message, stamp, digest, size, header: 0, flags, received: None }
    }
}

/// Reads messages of open batches once more at the source, batch by batch, within the byte budgets: what is known of each
/// and its Message-ID, hashed. `None` for those that are not there any more under the key of their intent. In order.
pub(super) async fn read_again(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &Book,
    sought: &[&Sought<'_>],
) -> Result<Vec<Option<(Carried, u64)>>> {
    let mut told = Vec::with_capacity(sought.len());
    for batch in sought.chunk_by(|a, b| a.batch == b.batch) {
        told.extend(read_batch(core, source, book, batch).await?);
    }
    Ok(told)
}

async fn read_batch(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &Book,
    sought: &[&Sought<'_>],
) -> Result<Vec<Option<(Carried, u64)>>> {
    let nothing = || sought.iter().map(|_| None).collect();
    let Some(first) = sought.first() else { return Ok(Vec::new()) };
    let listed = book.folders.get(&first.folder).filter(|f| f.listing.epoch == first.epoch);
    let Some(folder) = listed else { return Ok(nothing()) };
    let wanted: Vec<Wanted> = sought
        .iter()
        .map(|s| Wanted { number: s.item.number, id: s.item.id.clone(), size: s.item.size })
        .collect();
    let sizes: Vec<u64> = wanted.iter().map(|w| super::batches::expected_size(w.size)).collect();
    let _permits = reserve_bytes(core, &sizes).await;
    let mut attempt = 0;
    let fetched = loop {
        core.parts.env.step(Step::SourceFetch).await;
        match source.fetch(&folder.source, first.epoch, &wanted, &core.parts.bodies).await {
            Ok(fetched) => break fetched,
            Err(error) => match core.wait_or_give_up(error, &mut attempt).await {
                // The folder is gone, or was made anew since it was listed.
                Err(error) if error.scope == Scope::Folder => return Ok(nothing()),
                other => other?,
            },
        }
    };
    let asked: BTreeSet<&SourceId> = wanted.iter().map(|w| &w.id).collect();
    let listed = folder.listed.iter().filter(|l| asked.contains(&l.id));
    let listed: BTreeMap<SourceId, NewMessage> = listed.map(|l| (l.id.clone(), l)).collect();
    let mut fetched = fetched.into_iter();
    let read = sought.iter().map(|one| {
        let Some(Fetched::Message { body, flags, received }) = fetched.next() else { return Ok(None) };
        let as_listed = listed.get(&one.item.id);
        let mut carried = Carried::unread(core.stamp(one.folder, one.epoch, one.item.number), &one.item);
        carried.digest = body.digest();
        carried.header = header_digest(&body);
        carried.size = body.len();
        carried.received = received.or(as_listed.and_then(|l| l.received));
        carried.flags = flags.or_else(|| as_listed.map(|l| l.flags.clone())).unwrap_or_default();
        carried.message.received = carried.received;
        carried.message.object = as_listed.map_or(0, |l| l.object);
        Ok(Some((carried, message_id_of(&body)?)))
    });
    read.collect()
}

fn message_id_of(body: &Body) -> Result<u64> {
    let octets = body.range(0, body.len().min(HEADER)).map_err(|e| {
        Error::new(Kind::Io, Scope::Mailbox, format!("a spooled message cannot be read back ({e})"))
    })?;
    Ok(message_id(&octets))
}

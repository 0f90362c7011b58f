//! Unknown outcomes, resolved by looking.

use super::copy::{Carried, Unsettled};
use super::diff::NewMessage;
use super::pass::{Book, Core};
use crate::env::Step;
use crate::ledger::{BatchId, Change, IntentItem, OpenBatch, Outcomes};
use crate::model::{Digest, FolderId, Result, Stamp};
use crate::source::{Fetched, SourceMailbox, Wanted};
use crate::target::{Copy, CopyRef};

/// Recorded as the loss of a copy whose store was never answered: what the target could not keep, it did not say.
pub const UNCONFIRMED: &str = "unconfirmed";

/// What a look at the target says of one stamp.
enum Look {
    /// A complete copy is there.
    There(Copy),
    /// None is, or only an incomplete one, which was removed.
    Absent,
}

/// Looks for stamps; incomplete copies are removed, so that they can be made anew.
async fn look_for(core: &Core, stamps: &[Stamp]) -> Result<Vec<Look>> {
    core.parts.env.step(Step::TargetFind).await;
    let mut found = core.locate(stamps).await?;
    let mut looks = Vec::with_capacity(stamps.len());
    for stamp in stamps {
        let copies = found.remove(stamp).unwrap_or_default();
        let (complete, incomplete): (Vec<_>, Vec<_>) = copies.into_iter().partition(|c| c.complete);
        if !incomplete.is_empty() {
            remove(core, &incomplete).await?;
        }
        looks.push(complete.into_iter().next().map_or(Look::Absent, Look::There));
    }
    Ok(looks)
}

/// Removes copies, with bounded retries.
pub(super) async fn remove(core: &Core, copies: &[Copy]) -> Result<()> {
    let mut ids: Vec<CopyRef> = copies.iter().map(Copy::to_ref).collect();
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
pub(super) async fn look(core: &Core, book: &mut Book, unsettled: Vec<Unsettled>) -> Result<Vec<Unsettled>> {
    let mut open = unsettled;
    for last in [false, true] {
        if last && !open.is_empty() {
            core.parts.env.sleep(core.parts.options.settle).await;
        }
        if open.is_empty() {
            break;
        }
        let stamps: Vec<Stamp> = open.iter().map(|u| u.carried.stamp.clone()).collect();
        let looks = look_for(core, &stamps).await?;
        let mut absent = Vec::new();
        for (one, look) in open.into_iter().zip(looks) {
            let Look::There(copy) = look else {
                absent.push(one);
                continue;
            };
            let stored = one.carried.stored(one.carried.stamp.epoch, copy.id, &[UNCONFIRMED]);
            let outcomes = Outcomes { stored: vec![stored], ..Outcomes::default() };
            core.apply(Change::Outcome { batch: one.batch, outcomes }).await?;
            book.tally.stored += 1;
            book.tally.bytes += one.carried.size;
        }
        open = absent;
    }
    Ok(open)
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
            core.parts.env.sleep(core.parts.options.settle).await;
        }
        let stamps: Vec<Stamp> = waiting
            .iter()
            .flat_map(|b| b.items.iter().map(|i| core.stamp(b.folder, b.epoch, i.number)))
            .collect();
        if stamps.is_empty() {
            break;
        }
        let mut looks = look_for(core, &stamps).await?.into_iter();
        let mut absent = Vec::new();
        for batch in waiting {
            let mut outcomes = Outcomes::default();
            let mut rest = OpenBatch { items: Vec::new(), ..batch.clone() };
            for item in batch.items {
                match looks.next() {
                    Some(Look::There(copy)) => {
                        let message = NewMessage {
                            number: item.number,
                            id: item.id,
                            size: item.size,
                            received: None,
                            flags: copy.flags.clone(),
                            object: 0,
                            from: item.number,
                        };
                        let stored = reread(core, source, book, &rest, message, &copy).await?;
                        outcomes.stored.push(stored);
                    }
                    _ => {
                        if !last {
                            outcomes
                                .unknown
                                .push((item.number, core.stamp(batch.folder, batch.epoch, item.number)));
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
async fn reread(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &Book,
    open: &OpenBatch,
    message: NewMessage,
    copy: &Copy,
) -> Result<crate::ledger::Stored> {
    let stamp = core.stamp(open.folder, open.epoch, message.number);
    let listed = book.folders.get(&open.folder).filter(|f| f.listing.epoch == open.epoch);
    let mut carried = Carried {
        stamp,
        digest: Digest::default(),
        size: message.size.unwrap_or(0),
        header: 0,
        flags: copy.flags.clone(),
        received: None,
        message,
    };
    let mut known = false;
    if let Some(folder) = listed {
        let as_listed = folder.listed.iter().find(|l| l.id == carried.message.id);
        if let Some(l) = as_listed {
            carried.received = l.received;
            carried.message.received = l.received;
            carried.message.object = l.object;
        }
        let wanted = [Wanted {
            number: carried.message.number,
            id: carried.message.id.clone(),
            size: carried.message.size,
        }];
        let _permit = core.parts.limits.memory(carried.size).await;
        let mut attempt = 0;
        let fetched = loop {
            core.parts.env.step(Step::SourceFetch).await;
            match source.fetch(&folder.source, open.epoch, &wanted, &core.parts.bodies).await {
                Ok(fetched) => break fetched,
                Err(error) => core.wait_or_give_up(error, &mut attempt).await?,
            }
        };
        // The flags recorded are those the copy has: if the source's changed since, the pass syncs the difference.
        if let Some(Fetched::Message { body, received, .. }) = fetched.into_iter().next() {
            carried.digest = body.digest();
            carried.header = super::copy::header_digest(&body);
            carried.size = body.len();
            carried.received = received.or(carried.received);
            known = true;
        }
    }
    let mut stored = carried.stored(open.epoch, copy.id.clone(), &[UNCONFIRMED]);
    if !known {
        stored.fact.digest = None;
    }
    Ok(stored)
}

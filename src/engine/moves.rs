//! Messages that moved to another folder, told by an id of theirs that outlives the move (EMAILID, X-GM-MSGID): bound
//! to their new place without being fetched.

use std::collections::BTreeMap;

use super::copy::Carried;
use super::diff::NewMessage;
use super::mirror;
use super::pass::{Book, Core};
use super::roll::Roll;
use crate::ledger::{Applied, BatchId, Change, IntentItem, Outcomes};
use crate::model::{Digest, Error, Fact, FolderId, Kind, Result, Scope};
use crate::target::TargetFolderId;

/// Vanished messages by their object id.
#[derive(Debug, Default)]
pub(super) struct Moves(BTreeMap<u64, Vec<Known>>);

/// What is recorded of one.
#[derive(Debug, Clone, Copy)]
struct Known {
    digest: Digest,
    size: u64,
    header: u64,
}

impl Moves {
    /// Adds vanished messages.
    pub(super) fn add(&mut self, facts: &[Fact]) {
        for fact in facts {
            if let (Some(digest), true) = (fact.digest, fact.object != 0) {
                let known = Known { digest, size: fact.size, header: fact.header };
                self.0.entry(fact.object).or_default().push(known);
            }
        }
    }

    /// Takes the one that is named so, if it is as large.
    fn take(&mut self, object: u64, size: Option<u64>) -> Option<Known> {
        let known = self.0.get_mut(&object)?;
        let at = known.iter().position(|k| Some(k.size) == size)?;
        Some(known.swap_remove(at))
    }
}

/// Binds the copies of moved messages to their new places; the others are left to be fetched, where their digest tells.
pub(super) async fn bind(core: &Core, book: &mut Book) -> Result<()> {
    let mut moves = std::mem::take(&mut book.moves);
    if moves.0.is_empty() {
        return Ok(());
    }
    let folders: Vec<FolderId> = book.folders.keys().copied().collect();
    for folder in folders {
        let Some(work) = book.folders.get_mut(&folder) else { continue };
        let known = |object: u64| object != 0 && moves.0.contains_key(&object);
        if !work.new.iter().any(|m| known(m.object)) {
            continue;
        }
        let (new, target, epoch) = (std::mem::take(&mut work.new), work.target.clone(), work.listing.epoch);
        let mut rest = Roll::default();
        for message in new {
            let open = book.reopened.iter().any(|r| r.folder == folder && r.item.number == message.number);
            let known = if open { None } else { moves.take(message.object, message.size) };
            let Some(known) = known else {
                rest.push(&message);
                continue;
            };
            let one = Carried {
                stamp: core.stamp(folder, epoch, message.number),
                digest: known.digest,
                size: known.size,
                header: known.header,
                flags: message.flags.clone(),
                received: message.received,
                message,
            };
            let intent = match intend(core, folder, epoch, &target, &one.message).await {
                Err(error) if error.scope == Scope::Folder => {
                    rest.push(&one.message); // the folder is gone: found or made again for those that are fetched
                    continue;
                }
                other => other?,
            };
            let bound = mirror::bind_moved(core, book, folder, &target, epoch, &one).await?;
            if let Some(batch) = intent {
                let outcomes = Outcomes { unsent: vec![one.message.number], ..Outcomes::default() };
                core.apply(Change::Outcome { batch, outcomes }).await?;
            }
            if !bound {
                rest.push(&one.message);
            }
        }
        if let Some(work) = book.folders.get_mut(&folder) {
            work.new = rest;
        }
    }
    Ok(())
}

/// Where copies carry no stamp, a move changes the id of one: if that is cut, it is found by the anchor of an intent.
async fn intend(
    core: &Core,
    folder: FolderId,
    epoch: u64,
    place: &TargetFolderId,
    message: &NewMessage,
) -> Result<Option<BatchId>> {
    if core.target.capabilities().stamps {
        return Ok(None);
    }
    let anchor = core.target.anchor(place).await?;
    let items = vec![IntentItem { number: message.number, id: message.id.clone(), size: message.size }];
    match core.apply(Change::Intent { folder, epoch, anchor, items }).await? {
        Applied::Batch(batch) => Ok(Some(batch)),
        _ => Err(Error::new(Kind::Internal, Scope::Run, "the ledger gave a batch no number")),
    }
}

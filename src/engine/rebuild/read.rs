//! What messages and copies hold, read at both ends.

use super::record::intent_item;
use super::{AT_ONCE, Found, Place};
use crate::engine::arrivals::Expected;
use crate::engine::copy::Carried;
use crate::engine::diff::NewMessage;
use crate::engine::pass::{Book, Core, stopped};
use crate::engine::settle::{self, Sought};
use crate::engine::whereabouts::means_nothing;
use crate::ledger::BatchId;
use crate::model::{Digest, FolderId, Result, Scope};
use crate::source::SourceMailbox;
use crate::target::{Arrival, Copy, CopyIds, TargetFolderId};
use crate::transform::message_id::message_id;

/// Reads messages at the source: what is kept of each, and its Message-ID. In order; `None`: it is gone.
pub(in crate::engine) async fn read(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &Book,
    (folder, epoch): (FolderId, u64),
    messages: &[&NewMessage],
) -> Result<Vec<Option<(Carried, u64)>>> {
    let batch = BatchId(0);
    let sought: Vec<Sought<'_>> = messages
        .iter()
        .map(|m| Sought { batch, folder, epoch, item: intent_item(m), carried: None })
        .collect();
    settle::read_again(core, source, book, &sought.iter().collect::<Vec<_>>()).await
}

/// A message whose copy is to be found by what it holds.
pub(super) struct Open {
    pub(super) place: usize,
    pub(super) message: usize,
    pub(super) carried: Carried,
    pub(super) expected: Expected,
}

/// Reads every message of which nothing is known yet.
pub(super) async fn read_rest(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &Book,
    places: &mut [Place],
) -> Result<Vec<Open>> {
    let mut open = Vec::new();
    for (p, place) in places.iter_mut().enumerate() {
        let key = (place.id, place.listing.epoch);
        let rest: Vec<usize> =
            (0..place.messages.len()).filter(|m| matches!(place.messages[*m].1, Found::Nothing)).collect();
        for some in rest.chunks(AT_ONCE) {
            if core.stop.asked() {
                return Err(stopped());
            }
            let messages: Vec<&NewMessage> = some.iter().map(|m| &place.messages[*m].0).collect();
            let read = read(core, source, book, key, &messages).await?;
            for (m, read) in some.iter().zip(read) {
                let Some((carried, message_id)) = read else {
                    place.messages[*m].1 = Found::Settled; // gone: there is no message
                    continue;
                };
                let expected = Expected {
                    digest: Some(carried.digest),
                    size: carried.size,
                    message_id: Some(message_id),
                    received: carried.received,
                    flags: carried.flags.clone(),
                };
                open.push(Open { place: p, message: *m, carried, expected });
            }
        }
    }
    Ok(open)
}

/// A copy's octets, digested; `None` if it cannot be read back.
pub(in crate::engine) async fn read_copy(core: &Core, copy: &Copy) -> Result<Option<Arrival>> {
    let mut attempt = 0;
    loop {
        match core.target.read_back(&copy.to_ref()).await {
            Ok(read) => {
                return Ok(Some(Arrival {
                    id: copy.id.clone(),
                    digest: Digest::of(&read.octets),
                    size: read.octets.len() as u64,
                    message_id: message_id(&read.octets),
                    received: read.received,
                    flags: read.flags,
                }));
            }
            Err(error) if error.scope <= Scope::Message && !error.may_pass() => return Ok(None),
            Err(error) => core.wait_or_give_up(error, &mut attempt).await?,
        }
    }
}

/// Everything in a folder of the target.
pub(super) async fn all_in(core: &Core, target: &TargetFolderId) -> Result<Vec<Arrival>> {
    let mut attempt = 0;
    loop {
        match core.target.stored_since(target, "", &CopyIds::default()).await {
            Ok(arrivals) => return Ok(arrivals),
            Err(error) if means_nothing(&error) => return Ok(Vec::new()),
            Err(error) => core.wait_or_give_up(error, &mut attempt).await?,
        }
    }
}

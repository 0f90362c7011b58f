//! What was found, put on record: copies that are there, and messages of which nobody can tell.

use std::collections::BTreeMap;

use super::read::Open;
use super::{AT_ONCE, Found, Place, Rebuilt};
use crate::engine::Event;
use crate::engine::copy::{self, Carried};
use crate::engine::diff::NewMessage;
use crate::engine::pass::Core;
use crate::engine::settle::UNCONFIRMED;
use crate::ledger::{Applied, Change, IntentItem, Outcomes, Stored};
use crate::model::{Error, FolderId, Kind, Result, Scope, Skip, SkipReason, SourceId};
use crate::target::Copy;

/// From which number on a message's own number proves that nothing else is there: the listing was whole.
pub(super) fn holes(place: &Place) -> BTreeMap<u64, u64> {
    let mut before = 0;
    let mut holes = BTreeMap::new();
    for (message, _) in &place.messages {
        if let SourceId::Number(number) = message.id
            && number > before
        {
            holes.insert(number, before + 1);
            before = number;
        }
    }
    holes
}

pub(in crate::engine) fn intent_item(message: &NewMessage) -> IntentItem {
    IntentItem { number: message.number, id: message.id.clone(), size: message.size }
}

/// Records copies that are there.
pub(super) async fn record(
    core: &Core,
    (folder, epoch): (FolderId, u64),
    stored: Vec<Stored>,
    told: &mut Rebuilt,
) -> Result<()> {
    if stored.is_empty() {
        return Ok(());
    }
    let item = |s: &Stored| IntentItem {
        number: s.fact.number,
        id: match s.fact.name.as_str() {
            "" => SourceId::Number(s.fact.number),
            name => SourceId::Name(name.to_owned()),
        },
        size: Some(s.fact.size),
    };
    let items = stored.iter().map(item).collect();
    let intent = Change::Intent { folder, epoch, anchor: String::new(), items };
    let Applied::Batch(batch) = core.apply(intent).await? else {
        return Err(Error::new(Kind::Internal, Scope::Run, "the ledger gave a batch no number"));
    };
    let (messages, bytes) = (stored.len() as u64, stored.iter().map(|s| s.fact.size).sum::<u64>());
    core.apply(Change::Outcome { batch, outcomes: Outcomes { stored, ..Outcomes::default() } }).await?;
    told.matched += messages;
    core.watcher.event(Event::Progress { mailbox: core.mailbox.clone(), messages, bytes, skipped: 0 });
    Ok(())
}

/// Records what was paired. A copy whose stamp is not its message's key is bound to it.
pub(super) async fn record_paired(
    core: &Core,
    places: &mut [Place],
    found: Vec<(Open, Copy, bool)>,
    told: &mut Rebuilt,
) -> Result<()> {
    let mut by_place: BTreeMap<usize, Vec<(Open, Copy, bool)>> = BTreeMap::new();
    for one in found {
        by_place.entry(one.0.place).or_default().push(one);
    }
    for (p, found) in by_place {
        let Some(place) = places.get_mut(p) else { continue };
        let (folder, epoch) = (place.id, place.listing.epoch);
        let holes = holes(place);
        let fresh = found.iter().filter(|(one, copy, _)| {
            is_named(&one.carried) && (copy.stamp.folder, copy.stamp.epoch) != (folder, epoch)
        });
        let fresh = fresh.count() as u64;
        let mut next =
            if fresh > 0 { core.parts.ledger.number(&core.claim, folder, fresh).await? } else { 0 };
        let mut stored = Vec::with_capacity(found.len());
        for (one, copy, exact) in found {
            let mut carried = one.carried;
            if is_named(&carried) {
                carried.message.number = if (copy.stamp.folder, copy.stamp.epoch) == (folder, epoch) {
                    copy.stamp.number
                } else {
                    next += 1;
                    next - 1
                };
                carried.message.from = carried.message.number;
            } else {
                let number = carried.message.number;
                carried.message.from = holes.get(&number).copied().unwrap_or(number);
            }
            told.other_flags += u64::from(carried.flags != copy.flags);
            let losses: &[&str] = if exact { &[] } else { &[UNCONFIRMED] };
            let mut recorded = carried.stored(epoch, core.id_on_record(copy.id), losses);
            let own = core.stamp(folder, epoch, recorded.fact.number);
            recorded.fact.bound = Some(copy.stamp).filter(|stamp| *stamp != own);
            stored.push(recorded);
            place.messages[one.message].1 = Found::Settled;
        }
        for some in stored.chunks(AT_ONCE) {
            record(core, (folder, epoch), some.to_vec(), told).await?;
        }
    }
    Ok(())
}

pub(super) fn is_named(carried: &Carried) -> bool {
    matches!(carried.message.id, SourceId::Name(_))
}

/// Messages that may have a copy: on record as skipped, so that no run stores them.
pub(super) async fn record_doubts(
    core: &Core,
    places: &[Place],
    doubts: Vec<Open>,
    told: &mut Rebuilt,
) -> Result<()> {
    let mut by_place: BTreeMap<usize, Vec<Open>> = BTreeMap::new();
    for one in doubts {
        by_place.entry(one.place).or_default().push(one);
    }
    for (p, doubts) in by_place {
        let Some(place) = places.get(p) else { continue };
        let named = doubts.iter().filter(|one| is_named(&one.carried)).count() as u64;
        let mut next = match named {
            0 => 0,
            _ => core.parts.ledger.number(&core.claim, place.id, named).await?,
        };
        let mut skips: Vec<Skip> = Vec::with_capacity(doubts.len());
        for one in doubts {
            let mut message = one.carried.message.clone();
            if is_named(&one.carried) {
                message.number = next;
                next += 1;
            }
            let detail = "a copy of it may be at the target: the ledger that knew was lost".to_owned();
            skips.push(copy::skip(&message, SkipReason::Doubtful, detail, Some(one.carried.size)));
        }
        told.doubtful += skips.len() as u64;
        core.apply(Change::Skipped { folder: place.id, skips }).await?;
    }
    Ok(())
}

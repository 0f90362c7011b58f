//! Copies that name their messages: the number in the stamp is the number of a listed message.

use std::collections::{BTreeMap, BTreeSet};

use super::record::{holes, intent_item, record};
use super::{AT_ONCE, Found, Place, Rebuilt, read::read};
use crate::engine::copy::Carried;
use crate::engine::diff::NewMessage;
use crate::engine::pass::{Book, Core, stopped};
use crate::engine::settle::UNCONFIRMED;
use crate::ledger::Change;
use crate::model::{Result, SourceId, Stamp};
use crate::source::SourceMailbox;
use crate::target::Copy;

/// Copies with stamps, one of each.
#[derive(Default)]
pub(super) struct Copies {
    pub(super) complete: BTreeMap<Stamp, Copy>,
    pub(super) unfinished: BTreeSet<Stamp>,
}

pub(super) fn sort_out(all: Vec<Copy>, told: &mut Rebuilt) -> Copies {
    let mut copies = Copies::default();
    let mut all = all;
    // The same choice as everywhere: the one made first.
    all.sort_by(|a, b| (&a.stamp, !a.complete, a.made, &a.id).cmp(&(&b.stamp, !b.complete, b.made, &b.id)));
    for copy in all {
        if copies.complete.contains_key(&copy.stamp) {
            told.twins += u64::from(copy.complete);
        } else if copy.complete {
            copies.complete.insert(copy.stamp.clone(), copy);
        } else {
            copies.unfinished.insert(copy.stamp.clone());
        }
    }
    copies
}

/// Copies whose stamp is the key of a listed message. Returns the other copies, and how many unfinished ones are of no
/// listed message as far as their stamps tell.
pub(super) fn by_number(places: &mut [Place], copies: Copies) -> (Vec<Copy>, u64) {
    let Copies { mut complete, unfinished } = copies;
    let mut unbound = unfinished.len() as u64;
    for place in places {
        let (folder, epoch) = (place.id, place.listing.epoch);
        let own: BTreeMap<u64, Stamp> = complete
            .keys()
            .chain(&unfinished)
            .filter(|s| s.folder == folder && s.epoch == epoch)
            .map(|s| (s.number, s.clone()))
            .collect();
        for (message, found) in &mut place.messages {
            if matches!(message.id, SourceId::Name(_)) {
                continue;
            }
            let Some(stamp) = own.get(&message.number) else { continue };
            *found = match complete.remove(stamp) {
                Some(copy) => Found::Stamped(copy),
                None => {
                    unbound = unbound.saturating_sub(1);
                    Found::Unfinished
                }
            };
        }
    }
    (complete.into_values().collect(), unbound)
}

/// Reads the messages whose copies are known, for what is kept of each, and records them as they are read. Stores that
/// were cut get an intent: the next run settles it.
pub(super) async fn record_stamped(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &Book,
    place: &mut Place,
    told: &mut Rebuilt,
) -> Result<()> {
    let holes = holes(place);
    let (folder, epoch) = (place.id, place.listing.epoch);
    let exact = core.target.capabilities().keeps_octets;
    let mut unfinished = Vec::new();
    let mut known: Vec<(NewMessage, Copy)> = Vec::new();
    for (message, found) in &mut place.messages {
        match std::mem::replace(found, Found::Settled) {
            Found::Stamped(copy) => known.push((message.clone(), copy)),
            Found::Unfinished => unfinished.push(intent_item(message)),
            other => *found = other,
        }
    }
    told.unfinished += unfinished.len() as u64;
    if !unfinished.is_empty() {
        core.apply(Change::Intent { folder, epoch, anchor: String::new(), items: unfinished }).await?;
    }
    for some in known.chunks(AT_ONCE) {
        if core.stop.asked() {
            return Err(stopped());
        }
        let messages: Vec<&NewMessage> = some.iter().map(|(m, _)| m).collect();
        let read = read(core, source, book, (folder, epoch), &messages).await?;
        let mut stored = Vec::new();
        for ((message, copy), read) in some.iter().zip(read) {
            // It went since it was listed; its copy is on record all the same, as after a stop.
            let (mut carried, gone) = match read {
                Some((carried, _)) => (carried, false),
                None => {
                    (Carried::unread(core.stamp(folder, epoch, message.number), &intent_item(message)), true)
                }
            };
            carried.message.from = holes.get(&message.number).copied().unwrap_or(message.number);
            told.other_flags += u64::from(carried.flags != copy.flags);
            let losses: &[&str] = if exact { &[] } else { &[UNCONFIRMED] };
            let mut one = carried.stored(epoch, core.id_on_record(copy.id.clone()), losses);
            if gone {
                one.fact.digest = None;
                one.flags = message.flags.clone();
            }
            stored.push(one);
        }
        record(core, (folder, epoch), stored, told).await?;
    }
    Ok(())
}

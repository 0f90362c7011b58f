//! Messages and copies that do not name each other: paired by what they hold ([`pairing`](crate::engine::pairing)).

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};

use super::read::{Open, all_in, read_copy};
use super::record::{is_named, record_doubts, record_paired};
use super::{Place, Rebuilt};
use crate::engine::arrivals::Expected;
use crate::engine::pairing::{Pair, pair};
use crate::engine::pass::{Core, stopped};
use crate::engine::whereabouts;
use crate::model::{Digest, Flags, FolderId, Result};
use crate::target::{Arrival, Copy, CopyRef, TargetFolderId};

/// Copies read back at once.
const READ_AT_ONCE: usize = 4;

/// Pairs messages with copies that carry a stamp of this mailbox, and not the key of a listed message: first where they
/// should lie, then wherever they lie.
pub(super) async fn pair_stamped(
    core: &Core,
    places: &mut [Place],
    open: Vec<Open>,
    copies: Vec<Copy>,
    told: &mut Rebuilt,
) -> Result<()> {
    if open.is_empty() || copies.is_empty() {
        told.without_copy += open.len() as u64;
        told.strangers += copies.len() as u64;
        return Ok(());
    }
    let mut arrivals = Vec::with_capacity(copies.len());
    let mut unreadable: u64 = 0;
    let mut reads = stream::iter(copies.iter().map(|copy| read_copy(core, copy))).buffered(READ_AT_ONCE);
    while let Some(read) = reads.next().await {
        if core.stop.asked() {
            return Err(stopped());
        }
        let read = read?;
        unreadable += u64::from(read.is_none());
        arrivals.push(read);
    }
    drop(reads);
    let mut open: Vec<Option<Open>> = open.into_iter().map(Some).collect();
    let mut left: Vec<Option<(Copy, Arrival)>> =
        copies.into_iter().zip(arrivals).map(|(copy, arrival)| Some((copy, arrival?))).collect();
    let mut found: Vec<(Open, Copy, bool)> = Vec::new();
    let rounds = (0..places.len()).map(Some).chain([None]);
    let mut doubtful = BTreeSet::new();
    for round in rounds {
        let here = |o: &Open| round.is_none_or(|p| o.place == p);
        let lies = |c: &Copy| round.is_none_or(|p| places.get(p).is_some_and(|p| p.target == c.folder));
        let messages: Vec<usize> = (0..open.len()).filter(|m| open[*m].as_ref().is_some_and(here)).collect();
        let there: Vec<usize> =
            (0..left.len()).filter(|c| left[*c].as_ref().is_some_and(|(c, _)| lies(c))).collect();
        if messages.is_empty() || there.is_empty() {
            continue;
        }
        let expected: Vec<Expected> =
            messages.iter().filter_map(|m| open[*m].as_ref().map(|o| o.expected.clone())).collect();
        let some: Vec<Arrival> =
            there.iter().filter_map(|c| left[*c].as_ref().map(|(_, a)| a.clone())).collect();
        for (m, paired) in messages.iter().zip(pair(&expected, &some, true)) {
            match paired {
                Pair::Copy(at) => {
                    if let (Some(one), Some((copy, arrival))) = (open[*m].take(), left[there[at]].take()) {
                        let exact = one.expected.digest == Some(arrival.digest);
                        found.push((one, copy, exact));
                    }
                    doubtful.remove(m);
                }
                Pair::Doubtful => {
                    doubtful.insert(*m);
                }
                Pair::None => {}
            }
        }
    }
    told.strangers += left.iter().flatten().count() as u64;
    let mut doubts = Vec::new();
    for (m, one) in open.into_iter().enumerate() {
        let Some(one) = one else { continue };
        if doubtful.contains(&m) || unreadable > 0 {
            doubts.push(one);
        } else {
            told.without_copy += 1;
        }
    }
    record_paired(core, places, found, told).await?;
    record_doubts(core, places, doubts, told).await
}

/// Pairs messages with what lies in their folders' counterparts, by what it holds; mail of others may be among it.
pub(super) async fn pair_unstamped(
    core: &Core,
    places: &mut [Place],
    open: Vec<Open>,
    told: &mut Rebuilt,
) -> Result<()> {
    let targets: BTreeSet<TargetFolderId> = places.iter().map(|p| p.target.clone()).collect();
    let mut open: Vec<Option<Open>> = open.into_iter().map(Some).collect();
    let mut found = Vec::new();
    let mut doubtful = BTreeSet::new();
    // Octets that lie where no message of theirs should be: its user may have moved a copy.
    let mut elsewhere: BTreeSet<Digest> = BTreeSet::new();
    for target in targets {
        let there = all_in(core, &target).await?;
        let lies = |o: &Open| places.get(o.place).is_some_and(|p| p.target == target);
        let messages: Vec<usize> = (0..open.len()).filter(|m| open[*m].as_ref().is_some_and(lies)).collect();
        let expected: Vec<Expected> =
            messages.iter().filter_map(|m| open[*m].as_ref().map(|o| o.expected.clone())).collect();
        let mut free: Vec<Option<Arrival>> = there.iter().cloned().map(Some).collect();
        for (m, paired) in messages.iter().zip(pair(&expected, &there, false)) {
            match paired {
                Pair::Copy(at) => {
                    if let (Some(one), Some(arrival)) = (open[*m].take(), free[at].take()) {
                        let exact = one.expected.digest == Some(arrival.digest);
                        found.push((one, arrival_as_copy(core, &target, arrival), exact));
                    }
                }
                Pair::Doubtful => {
                    doubtful.insert(*m);
                }
                Pair::None => {}
            }
        }
        elsewhere.extend(free.into_iter().flatten().map(|a| a.digest));
    }
    let mut doubts = Vec::new();
    for (m, one) in open.into_iter().enumerate() {
        let Some(one) = one else { continue };
        if doubtful.contains(&m) || elsewhere.contains(&one.carried.digest) {
            doubts.push(one);
        } else {
            told.without_copy += 1;
        }
    }
    // Without a stamp a copy is its message's own: nothing is bound.
    let found = found
        .into_iter()
        .map(|(one, copy, exact)| {
            let place = &places[one.place];
            let stamp = core.stamp(place.id, place.listing.epoch, one.carried.message.number);
            (one, Copy { stamp, ..copy }, exact)
        })
        .collect();
    number_named(core, places, found, told).await?;
    record_doubts(core, places, doubts, told).await
}

/// Gives named messages their numbers, then records what was paired.
async fn number_named(
    core: &Core,
    places: &mut [Place],
    found: Vec<(Open, Copy, bool)>,
    told: &mut Rebuilt,
) -> Result<()> {
    let mut next: BTreeMap<usize, u64> = BTreeMap::new();
    for (p, place) in places.iter().enumerate() {
        let named = found.iter().filter(|(one, ..)| one.place == p && is_named(&one.carried)).count() as u64;
        if named > 0 {
            next.insert(p, core.parts.ledger.number(&core.claim, place.id, named).await?);
        }
    }
    let found = found
        .into_iter()
        .map(|(one, mut copy, exact)| {
            if is_named(&one.carried)
                && let Some(next) = next.get_mut(&one.place)
            {
                copy.stamp.number = *next;
                *next += 1;
            }
            (one, copy, exact)
        })
        .collect();
    record_paired(core, places, found, told).await
}

fn arrival_as_copy(core: &Core, target: &TargetFolderId, arrival: Arrival) -> Copy {
    let at = CopyRef { folder: target.clone(), id: arrival.id };
    let flags: Flags = arrival.flags;
    whereabouts::copy(&core.stamp(FolderId(0), 0, 0), &at, flags)
}

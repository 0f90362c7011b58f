//! A ledger made anew, where the old one was lost: from what the source lists, and from the stamps (else the octets) of the
//! copies the target holds. Nothing is stored, changed or removed at the target; counterparts of folders that have none are
//! made, as the next pass would.
//!
//! Where the source numbers its messages, a stamp names its message. Where it names them (the ledger that knew the numbers
//! is gone), where a folder was numbered anew since, and where copies carry no stamp, both ends are read and paired
//! ([`super::pairing`]). What cannot be told is on record as a skipped item in doubt: no pass ever stores it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::arrivals::Expected;
use super::copy::Carried;
use super::diff::NewMessage;
use super::inventory::{self, FolderWork, Print};
use super::pairing::{Pair, pair};
use super::pass::{Book, Core, endpoints, stopped};
use super::roll::Roll;
use super::settle::{self, Sought, UNCONFIRMED};
use super::whereabouts::means_nothing;
use super::{Event, Parts, Stop, Watcher};
use crate::ledger::{Applied, BatchId, Change, FolderRow, IntentItem, Outcomes, Stored};
use crate::limit::Account;
use crate::model::{
    Digest, Error, Flags, FolderId, Kind, Mailbox, Result, Scope, Skip, SkipReason, SourceId, Stamp,
};
use crate::source::{Listing, SourceFolder, SourceMailbox};
use crate::target::{Arrival, Copy, CopyIds, CopyRef, TargetFolderId};
use crate::transform::message_id::message_id;

/// Messages read and recorded at once.
const AT_ONCE: usize = 64;
/// Copies read back at once.
const READ_AT_ONCE: usize = 4;

/// What came of one mailbox.
#[derive(Debug, Clone)]
pub struct Rebuilt {
    /// The mailbox.
    pub mailbox: Mailbox,
    /// Messages whose copies were found: on record now.
    pub matched: u64,
    /// Messages without a copy: the next run copies them.
    pub without_copy: u64,
    /// Messages whose store was cut: the next run completes them.
    pub unfinished: u64,
    /// Messages of which a copy may be there, and which one cannot be told: on record as skipped, never stored.
    pub doubtful: u64,
    /// Second copies of one stamp: left alone, `verify` names them.
    pub twins: u64,
    /// Copies of ours, whole or not, of which no message at the source is known to be the original: left alone, and not on
    /// record.
    pub strangers: u64,
    /// Copies with other flags than their messages: left as they are.
    pub other_flags: u64,
    /// `Some`: it could not be done.
    pub error: Option<Error>,
}

/// Puts on record what `parts.ledger` (a new, empty one) must know of these mailboxes, `at_once` at a time.
pub async fn rebuild(
    parts: Arc<Parts>,
    mailboxes: Vec<Mailbox>,
    watcher: Arc<dyn Watcher>,
    stop: Stop,
    at_once: usize,
) -> Vec<Rebuilt> {
    let one = |mailbox: Mailbox| {
        let (parts, watcher, stop) = (parts.clone(), watcher.clone(), stop.clone());
        async move {
            let mut told = Rebuilt {
                mailbox: mailbox.clone(),
                matched: 0,
                without_copy: 0,
                unfinished: 0,
                doubtful: 0,
                twins: 0,
                strangers: 0,
                other_flags: 0,
                error: None,
            };
            told.error = rebuild_one(&parts, &mailbox, &watcher, &stop, &mut told).await.err();
            told
        }
    };
    stream::iter(mailboxes).map(one).buffered(at_once.max(1)).collect().await
}

async fn rebuild_one(
    parts: &Arc<Parts>,
    mailbox: &Mailbox,
    watcher: &Arc<dyn Watcher>,
    stop: &Stop,
    told: &mut Rebuilt,
) -> Result<()> {
    if stop.asked() {
        return Err(stopped());
    }
    let (source, target) = endpoints(parts, mailbox)?;
    let claim = parts.ledger.claim(mailbox).await?;
    watcher.event(Event::Opened(mailbox.clone()));
    let gate = parts.limits.gate(&mailbox.target_endpoint, &mailbox.target);
    let target = target.open(&mailbox.target, &mailbox.target_place, gate.clone()).await?;
    let core = Core {
        parts: parts.clone(),
        mailbox: mailbox.clone(),
        claim,
        target,
        gate,
        account: Account::new(&parts.env),
        watcher: watcher.clone(),
        stop: stop.clone(),
    };
    core.apply(Change::BindTarget { identity: core.target.identity().to_owned() }).await?;
    let source = source.open(&mailbox.source).await?;
    let done = match_up(&core, source.as_ref(), told).await;
    futures_util::future::join(source.release(), core.target.release()).await;
    done
}

/// A folder at both ends.
struct Place {
    source: SourceFolder,
    listing: Listing,
    target: TargetFolderId,
    id: FolderId,
    /// Its messages, in order, and what is known of the copy of each.
    messages: Vec<(NewMessage, Found)>,
}

/// What was found of a message.
enum Found {
    /// Nothing yet.
    Nothing,
    /// Its copy, known by its own stamp.
    Stamped(Copy),
    /// A store that was cut.
    Unfinished,
    /// On record, or told.
    Settled,
}

async fn match_up(core: &Core, source: &dyn SourceMailbox, told: &mut Rebuilt) -> Result<()> {
    let mut places = places(core, source).await?;
    let copies = if core.target.capabilities().stamps {
        let all = core.find(&core.all_stamps()).await?;
        sort_out(all, told)
    } else {
        Copies::default()
    };
    give_ids(core, &mut places, &copies).await?;
    let book = book_of(&places);
    let (left, unbound) = by_number(&mut places, copies);
    told.strangers += unbound;
    for place in &mut places {
        record_stamped(core, source, &book, place, told).await?;
    }
    let read = read_rest(core, source, &book, &mut places).await?;
    if core.target.capabilities().stamps {
        pair_stamped(core, &mut places, read, left, told).await
    } else {
        pair_unstamped(core, &mut places, read, told).await
    }
}

/// Every folder, listed whole, with its counterpart.
async fn places(core: &Core, source: &dyn SourceMailbox) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for folder in inventory::list_folders(core, source).await?.into_iter().filter(|f| f.selectable) {
        if core.stop.asked() {
            return Err(stopped());
        }
        let (listing, listed, _) = inventory::list_one(core, source, &folder, None).await?;
        let wanted = inventory::wanted_at_target(&folder);
        let mut attempt = 0;
        let target = loop {
            match core.target.folder(&wanted).await {
                Ok(id) => break id,
                Err(error) => core.wait_or_give_up(error, &mut attempt).await?,
            }
        };
        let mut seen = BTreeSet::new();
        let messages = listed.into_iter().filter(|m| seen.insert(m.id.clone()));
        let messages = messages.map(|m| (m, Found::Nothing)).collect();
        places.push(Place { source: folder, listing, target, id: FolderId(0), messages });
    }
    Ok(places)
}

/// Copies with stamps, one of each.
#[derive(Default)]
struct Copies {
    complete: BTreeMap<Stamp, Copy>,
    unfinished: BTreeSet<Stamp>,
}

fn sort_out(all: Vec<Copy>, told: &mut Rebuilt) -> Copies {
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

/// Every folder gets the id that the stamps of its copies carry; one without copies, or whose copies do not tell, a new
/// one. Ids that stamps carry are never given to another folder.
async fn give_ids(core: &Core, places: &mut [Place], copies: &Copies) -> Result<()> {
    let stamps = || copies.complete.keys().chain(&copies.unfinished);
    let mut highest: BTreeMap<FolderId, u64> = BTreeMap::new();
    for stamp in stamps() {
        let number = highest.entry(stamp.folder).or_default();
        *number = (*number).max(stamp.number);
    }
    // How many copies of a folder id a place could be the origin of: where they lie too, then by number alone.
    let mut votes: BTreeMap<(FolderId, usize), (u64, u64)> = BTreeMap::new();
    for (p, place) in places.iter().enumerate() {
        let named = place.messages.iter().any(|(m, _)| matches!(m.id, SourceId::Name(_)));
        let numbers: BTreeSet<u64> = place.messages.iter().map(|(m, _)| m.number).collect();
        for (stamp, copy) in &copies.complete {
            let here = copy.folder == place.target;
            let listed = !named && stamp.epoch == place.listing.epoch && numbers.contains(&stamp.number);
            let vote = votes.entry((stamp.folder, p)).or_default();
            vote.0 += u64::from(here && (named || listed));
            vote.1 += u64::from(listed);
        }
    }
    let mut votes: Vec<((u64, u64), FolderId, usize)> =
        votes.into_iter().filter(|(_, v)| v.0 + v.1 > 0).map(|((id, p), v)| (v, id, p)).collect();
    votes.sort_by_key(|(vote, id, p)| (std::cmp::Reverse(*vote), *id, *p));
    let mut given: BTreeMap<usize, FolderId> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (_, id, p) in votes {
        if !given.contains_key(&p) && taken.insert(id) {
            given.insert(p, id);
        }
    }
    let last = highest.last_key_value().map(|(id, _)| *id);
    let mut next = last.map_or(0, |id| id.0);
    for (p, place) in places.iter_mut().enumerate() {
        place.id = match given.get(&p) {
            Some(id) => *id,
            None => {
                next = next.saturating_add(1);
                FolderId(next)
            }
        };
        let row = FolderRow {
            id: None,
            path: place.source.path.clone(),
            special: place.source.special,
            object_id: place.source.object_id.clone(),
            epoch: place.listing.epoch,
            target_folder: place.target.0.clone(),
        };
        core.apply(Change::FolderGiven { id: place.id, row: Some(row) }).await?;
        // Numbers the lost ledger gave to named messages are not given again.
        if let Some(highest) = highest.get(&place.id).filter(|n| **n > 0) {
            core.parts.ledger.number(&core.claim, place.id, *highest).await?;
        }
    }
    if let Some(id) = last.filter(|id| places.iter().all(|p| p.id != *id)) {
        core.apply(Change::FolderGiven { id, row: None }).await?;
    }
    Ok(())
}

/// What reading at the source needs.
fn book_of(places: &[Place]) -> Book {
    let mut book = Book::default();
    for place in places {
        let work = FolderWork {
            source: place.source.clone(),
            target: place.target.clone(),
            listing: place.listing.clone(),
            listed: place.messages.iter().map(|(m, _)| m.clone()).collect::<Roll>(),
            since: 0,
            also: Vec::new(),
            recorded: None,
            new: Roll::default(),
            reflagged: Vec::new(),
            print: Print::default(),
        };
        book.folders.insert(place.id, work);
    }
    book
}

/// Copies whose stamp is the key of a listed message. Returns the other copies, and how many unfinished ones are of no
/// listed message as far as their stamps tell.
fn by_number(places: &mut [Place], copies: Copies) -> (Vec<Copy>, u64) {
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
async fn record_stamped(
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

/// From which number on a message's own number proves that nothing else is there: the listing was whole.
fn holes(place: &Place) -> BTreeMap<u64, u64> {
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

pub(super) fn intent_item(message: &NewMessage) -> IntentItem {
    IntentItem { number: message.number, id: message.id.clone(), size: message.size }
}

/// Records copies that are there.
async fn record(
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

/// Reads messages at the source: what is kept of each, and its Message-ID. In order; `None`: it is gone.
pub(super) async fn read(
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
struct Open {
    place: usize,
    message: usize,
    carried: Carried,
    expected: Expected,
}

/// Reads every message of which nothing is known yet.
async fn read_rest(
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

/// Pairs messages with copies that carry a stamp of this mailbox, and not the key of a listed message: first where they
/// should lie, then wherever they lie.
async fn pair_stamped(
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

/// A copy's octets, digested; `None` if it cannot be read back.
pub(super) async fn read_copy(core: &Core, copy: &Copy) -> Result<Option<Arrival>> {
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

/// Records what was paired. A copy whose stamp is not its message's key is bound to it.
async fn record_paired(
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

fn is_named(carried: &Carried) -> bool {
    matches!(carried.message.id, SourceId::Name(_))
}

/// Messages that may have a copy: on record as skipped, so that no run stores them.
async fn record_doubts(core: &Core, places: &[Place], doubts: Vec<Open>, told: &mut Rebuilt) -> Result<()> {
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
            skips.push(super::copy::skip(&message, SkipReason::Doubtful, detail, Some(one.carried.size)));
        }
        told.doubtful += skips.len() as u64;
        core.apply(Change::Skipped { folder: place.id, skips }).await?;
    }
    Ok(())
}

/// Pairs messages with what lies in their folders' counterparts, by what it holds; mail of others may be among it.
async fn pair_unstamped(
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

/// Everything in a folder of the target.
async fn all_in(core: &Core, target: &TargetFolderId) -> Result<Vec<Arrival>> {
    let mut attempt = 0;
    loop {
        match core.target.stored_since(target, "", &CopyIds::default()).await {
            Ok(arrivals) => return Ok(arrivals),
            Err(error) if means_nothing(&error) => return Ok(Vec::new()),
            Err(error) => core.wait_or_give_up(error, &mut attempt).await?,
        }
    }
}

fn arrival_as_copy(core: &Core, target: &TargetFolderId, arrival: Arrival) -> Copy {
    let at = CopyRef { folder: target.clone(), id: arrival.id };
    let flags: Flags = arrival.flags;
    super::whereabouts::copy(&core.stamp(FolderId(0), 0, 0), &at, flags)
}

//! The folders of a mailbox whose ledger was lost: listed whole, with their counterparts, and under the ids that the stamps of
//! their copies carry.

use std::collections::{BTreeMap, BTreeSet};

use super::stamped::Copies;
use super::{Found, Place};
use crate::engine::inventory::{self, FolderWork, Print};
use crate::engine::pass::{Book, Core, stopped};
use crate::engine::roll::Roll;
use crate::ledger::{Change, FolderRow};
use crate::model::{FolderId, Result, SourceId};
use crate::source::SourceMailbox;

/// Every folder, listed whole, with its counterpart.
pub(super) async fn places(core: &Core, source: &dyn SourceMailbox) -> Result<Vec<Place>> {
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

/// Every folder gets the id that the stamps of its copies carry; one without copies, or whose copies do not tell, a new
/// one. Ids that stamps carry are never given to another folder.
pub(super) async fn give_ids(core: &Core, places: &mut [Place], copies: &Copies) -> Result<()> {
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
pub(super) fn book_of(places: &[Place]) -> Book {
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

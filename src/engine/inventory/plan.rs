//! What is to be done: each folder's listing compared with what is on record of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::diff::{self, NewMessage, Told};
use crate::engine::pass::{Book, Core};
use crate::engine::roll::Roll;
use crate::engine::settle::Reopened;
use crate::engine::{copy, renumbered, reused};
use crate::ledger::{BatchId, Change, Outcomes};
use crate::model::{Error, FolderId, Kind, Result, Scope, SkipReason, SourceId};
use crate::source::SourceMailbox;

/// Compares each folder's listing with what is recorded now, and plans what is to be done.
pub(in crate::engine) async fn plan(core: &Core, source: &dyn SourceMailbox, book: &mut Book) -> Result<()> {
    core.reload(book).await?;
    let limit = core.parts.options.max_message_bytes.min(core.target.capabilities().max_message_bytes);
    let ids: Vec<FolderId> = book.folders.keys().copied().collect();
    for id in ids {
        let Some(state) = book.state.folders.iter().find(|f| f.id == id) else {
            return Err(Error::new(Kind::Internal, Scope::Run, "the ledger lost a folder"));
        };
        let Some(work) = book.folders.get_mut(&id) else { continue };
        let listed = std::mem::take(&mut work.listed);
        let epoch = work.listing.epoch;
        let skips = book.state.skips.iter().filter(|(folder, _)| *folder == id);
        let skips: Vec<(u64, String)> = skips.map(|(_, skip)| (skip.number, skip.name.clone())).collect();
        let facts = match diff::needs_all_facts(state, &listed) {
            true => Some(core.parts.ledger.facts(&core.claim, id).await?),
            false => None,
        };
        let mut diff = if listed.is_named() {
            diff::named(state, facts.as_deref().unwrap_or_default(), &skips, epoch, listed)
        } else {
            reused::check(core, state, &work.listing, &listed).await?;
            let numbers: Vec<u64> = skips.iter().map(|(n, _)| *n).collect();
            let (listing, since) = (&work.listing, work.since);
            diff::numbered(state, &numbers, Told { listing, since, also: &work.also, listed })
        };
        let mut vanished = match facts {
            Some(facts) => diff::vanished(state, epoch, &diff.gone, facts),
            None if diff.gone.is_empty() => Vec::new(),
            None => core.parts.ledger.facts_of(&core.claim, id, epoch, &diff.gone).await?,
        };
        book.tally.already += diff.present;
        if !diff.unskip.is_empty() {
            let numbers = std::mem::take(&mut diff.unskip);
            core.apply(Change::Unskip { folder: id, numbers }).await?;
        }
        if state.orphans > 0 {
            let found = renumbered::bind(core, source, state, work, &mut diff, vanished).await?;
            book.tally.already += found.bound;
            vanished = found.left;
        }
        let mut new = diff.new;
        if book.reopened.iter().any(|r| r.folder == id) {
            new = take_reopened(core, id, epoch, new, &mut book.reopened).await?;
        }
        // Whose copy may be there already is never stored: the operator decides.
        let doubtful = book.state.skips.iter().filter(|(f, s)| *f == id && s.reason == SkipReason::Doubtful);
        let doubtful: BTreeSet<u64> = doubtful.map(|(_, skip)| skip.number).collect();
        if new.iter().any(|m| doubtful.contains(&m.number)) {
            book.hold = Some("a message is left alone whose copy may be there already");
            new = new.into_iter().filter(|m| !doubtful.contains(&m.number)).collect();
        }
        if new.is_named() {
            new = number_the_named(core, id, new).await?;
        }
        let open: BTreeSet<u64> =
            book.reopened.iter().filter(|r| r.folder == id).map(|r| r.item.number).collect();
        let fits = |m: &NewMessage| m.size.is_none_or(|s| s <= limit) || open.contains(&m.number);
        let mut too_large = Vec::new();
        if !new.iter().all(|m| fits(&m)) {
            let (taken, left): (Vec<_>, Vec<_>) = new.into_iter().partition(fits);
            (new, too_large) = (taken.into_iter().collect(), left);
        }
        if too_large.iter().any(|m| !skips.iter().any(|(number, _)| *number == m.number)) {
            book.hold = Some("a new message is too large");
        }
        skip_too_large(core, id, &too_large, limit, &skips).await?;
        book.moves.add(&vanished);
        book.candidates.add(core, state, vanished);
        work.new = new;
        work.reflagged.append(&mut diff.reflagged);
        work.recorded = Some(state.clone());
    }
    Ok(())
}

/// Finds the messages an earlier run left open among the new ones: they keep the number and the intent they have. Those
/// that are not listed any more are gone.
async fn take_reopened(
    core: &Core,
    folder: FolderId,
    epoch: u64,
    new: Roll,
    reopened: &mut Vec<Reopened>,
) -> Result<Roll> {
    let open = reopened.iter().filter(|r| r.folder == folder && r.epoch == epoch);
    let open: BTreeMap<SourceId, u64> = open.map(|r| (r.item.id.clone(), r.item.number)).collect();
    let mut found = BTreeSet::new();
    let new: Roll = new
        .into_iter()
        .map(|mut message| {
            if let Some(number) = open.get(&message.id) {
                found.insert(*number);
                message.from = if message.number == 0 { *number } else { message.from };
                message.number = *number;
            }
            message
        })
        .collect();
    let mut gone: BTreeMap<BatchId, Vec<u64>> = BTreeMap::new();
    reopened.retain(|open| {
        let stays = open.folder != folder || (open.epoch == epoch && found.contains(&open.item.number));
        if !stays {
            gone.entry(open.batch).or_default().push(open.item.number);
        }
        stays
    });
    for (batch, gone) in gone {
        core.apply(Change::Outcome { batch, outcomes: Outcomes { gone, ..Outcomes::default() } }).await?;
    }
    Ok(new)
}

/// Gives named messages their numbers.
async fn number_the_named(core: &Core, folder: FolderId, new: Roll) -> Result<Roll> {
    let nameless = |m: &NewMessage| m.number == 0 && matches!(m.id, SourceId::Name(_));
    let without = new.iter().filter(nameless).count() as u64;
    if without == 0 {
        return Ok(new);
    }
    let mut next = core.parts.ledger.number(&core.claim, folder, without).await?;
    let number = |mut m: NewMessage| {
        if nameless(&m) {
            (m.number, m.from) = (next, next);
            next += 1;
        }
        m
    };
    Ok(new.into_iter().map(number).collect())
}

/// Records messages that are too large before anything of them is fetched.
async fn skip_too_large(
    core: &Core,
    folder: FolderId,
    messages: &[NewMessage],
    limit: u64,
    skips: &[(u64, String)],
) -> Result<()> {
    let skips: Vec<_> = messages
        .iter()
        .filter(|m| !skips.iter().any(|(number, _)| *number == m.number))
        .map(|m| {
            let detail = format!("{} bytes, the limit is {limit}", m.size.unwrap_or(0));
            copy::skip(m, SkipReason::TooLarge, detail, m.size)
        })
        .collect();
    if !skips.is_empty() {
        core.apply(Change::Skipped { folder, skips }).await?;
    }
    Ok(())
}

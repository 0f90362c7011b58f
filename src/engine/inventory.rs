//! What the source holds: listed, matched with what is recorded, compared.

use std::collections::{BTreeMap, BTreeSet};

use super::diff::{self, NewMessage, Told};
use super::matching::{self, FoundFolder, Match};
use super::pass::{Book, Core, changed, stopped};
use super::proof::{self, Way};
use super::roll::Roll;
use super::settle::Reopened;
use super::{renumbered, reused};
use crate::env::Step;
use crate::ledger::{Applied, BatchId, Change, FolderRow, FolderState, Outcomes};
use crate::model::{Digest, Error, Flags, FolderId, Kind, Listed, Result, Scope, Skip, SkipReason, SourceId};
use crate::source::{Extent, Listing, Since, SourceFolder, SourceMailbox};
use crate::target::{FolderWanted, TargetFolderId};

/// A folder in the course of a pass.
#[derive(Debug)]
pub(super) struct FolderWork {
    /// As the source lists it.
    pub source: SourceFolder,
    /// Its counterpart.
    pub target: TargetFolderId,
    /// What the listing proved.
    pub listing: Listing,
    /// What was listed, until it is compared.
    pub listed: Roll,
    /// UIDNEXT of the checkpoint, if only changes since it were asked for; else 0.
    pub since: u64,
    /// Numbers asked for beside the changes, ascending.
    pub also: Vec<u64>,
    /// As recorded before this pass; `None` for a new folder.
    pub recorded: Option<FolderState>,
    /// Messages to copy.
    pub new: Roll,
    /// Flags to sync: number and flags now.
    pub reflagged: Vec<(u64, Flags)>,
    /// Tells apart what a second listing shows.
    pub print: Print,
}

/// A fingerprint of a listing, to tell later whether something came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Print {
    /// The highest number.
    highest: u64,
    /// The sum of the names' digests: their order does not matter.
    names: u64,
}

impl Print {
    fn add(&mut self, id: &SourceId) {
        match id {
            SourceId::Number(n) => self.highest = self.highest.max(*n),
            SourceId::Name(name) => {
                self.names = self.names.wrapping_add(Digest::of(name.as_bytes()).beginning());
            }
        }
    }

    /// Does a later listing show something that this one does not? Names only tell that something is different.
    fn something_came(&self, later: &Print) -> bool {
        later.highest > self.highest || later.names != self.names
    }
}

/// What looking at one folder told.
struct Look {
    listing: Listing,
    listed: Roll,
    since: u64,
    also: Vec<u64>,
    print: Print,
}

/// Lists what must be listed and settles which folder is which; every folder has its id and its counterpart afterwards.
pub(super) async fn list(core: &Core, source: &dyn SourceMailbox, book: &mut Book) -> Result<()> {
    let folders = list_folders(core, source).await?;
    let known = std::mem::take(&mut book.state.folders);
    // Folders that are there and could not be listed: what is recorded of them stays as it is. A container now, if it
    // was a mail folder before: its absence proves nothing.
    let (folders, mut unread): (Vec<_>, Vec<_>) = folders.into_iter().partition(|f| f.selectable);
    let (matches, lost) = {
        let view: Vec<FoundFolder<'_>> = folders
            .iter()
            .map(|f| FoundFolder { path: &f.path, object_id: f.object_id.as_deref() })
            .collect();
        (matching::by_name(&known, &view), matching::lost(&known, &view))
    };
    let views = source.capabilities().views;
    let anew = views && are_others(&known, &folders, &matches, &lost);
    // Where no folder is missing, a new one is not a renamed one: its counterpart can be made meanwhile.
    let new = folders.iter().zip(&matches).filter(|(_, matched)| lost.is_empty() && **matched == Match::New);
    let new: Vec<FolderWanted> = new.map(|(folder, _)| wanted_at_target(folder)).collect();
    let expected = async {
        if new.len() > 1
            && let Err(error) = core.target.expect(&new).await
        {
            tracing::debug!(%error, "folders could not be made ahead");
        }
    };
    let mut found = Vec::new();
    let mut unlisted = Vec::new();
    let mut stale = 0u64;
    let looks = async {
        for (folder, matched) in folders.into_iter().zip(matches) {
            if core.stop.asked() {
                return Err(stopped());
            }
            let recorded = matched.recorded().map(|k| &known[k]);
            match look(core, source, book, &folder, recorded, anew).await {
                Ok(look) => {
                    stale +=
                        u64::from(matches!(look.listing.extent, Extent::Changes { stale_flags: true, .. }));
                    found.push((folder, matched, look));
                }
                Err(error) if error.scope == Scope::Folder => unlisted.push((folder, error)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    let (looked, ()) = futures_util::future::join(looks, expected).await;
    looked?;
    unread.extend(tell_unlisted(core, source, book, unlisted).await?);
    if stale > 0 {
        book.notes.push(format!(
            "flags of {stale} folders were not compared: the server gives no cheap proof of them; `run --final` walks them"
        ));
    }

    let mut facts = BTreeMap::new();
    if found.iter().any(|(_, matched, _)| *matched == Match::New) {
        for k in lost {
            facts.insert(k, core.parts.ledger.facts(&core.claim, known[k].id).await?);
        }
    }
    let mut by_content = BTreeSet::new();
    for (_, matched, look) in found.iter_mut().filter(|(_, matched, _)| *matched == Match::New) {
        *matched = matching::by_content(&facts, look.listing.epoch, &look.listed);
        if let Some(k) = matched.recorded() {
            // Two listings that both hold a folder's messages are two copies of it: neither is proven to be it.
            if !by_content.insert(k) {
                *matched = Match::New;
            }
        }
    }

    // A listing that shows nothing where much was is more likely a fault of the source than a wish of its user.
    let live: u64 = known.iter().map(|k| k.live + k.orphans).sum();
    let shows_nothing = |look: &Look| match look.listing.extent {
        Extent::Whole => look.listed.is_empty(),
        Extent::Changes { .. } => look.listing.messages == 0,
    };
    if live > 10 && found.iter().all(|(_, _, look)| shows_nothing(look)) {
        let what = format!(
            "the source lists no message at all where {live} were copied before; nothing was changed"
        );
        return Err(Error::new(Kind::Conflict, Scope::Mailbox, what)
            .remedy("look at the source mailbox; if it is empty on purpose, leave it out of the run"));
    }

    let mut seen: Vec<FolderId> = known
        .iter()
        .filter(|k| {
            unread.iter().any(|u| u.path == k.path || (u.object_id.is_some() && u.object_id == k.object_id))
        })
        .map(|k| k.id)
        .collect();
    let mut placed = Vec::new();
    for (folder, matched, look) in found {
        let recorded = matched.recorded().map(|k| known[k].clone());
        if let Some(r) = &recorded {
            check_numbers(r, &look.listing)?;
        }
        let bound = bind(core, book, &folder, &look.listing, recorded.as_ref(), matched).await;
        match bound {
            Ok((bound, target)) => placed.push((bound, target, folder, look, recorded)),
            Err(error) if error.scope == Scope::Folder => {
                book.doubts.push(format!("one folder has no counterpart and was left out: {error}"));
                book.hold = Some("a folder was left out");
                seen.extend(recorded.map(|r| r.id));
            }
            Err(error) => return Err(error),
        }
    }
    // Together: one commit for all.
    let records = placed.iter().map(|(bound, ..)| record(core, bound));
    let ids = futures_util::future::try_join_all(records).await?;
    for (id, (_, target, source, look, recorded)) in ids.into_iter().zip(placed) {
        seen.push(id);
        let work = FolderWork {
            source,
            target,
            listing: look.listing,
            listed: look.listed,
            since: look.since,
            also: look.also,
            recorded,
            new: Roll::default(),
            reflagged: Vec::new(),
            print: look.print,
        };
        book.folders.insert(id, work);
    }
    for (k, folder) in known.iter().enumerate() {
        if !seen.contains(&folder.id) {
            if !folder.missing {
                core.apply(Change::FolderMissing(folder.id)).await?;
            }
            if folder.live + folder.orphans > 0 {
                let facts = match facts.remove(&k) {
                    Some(facts) => facts,
                    None => core.parts.ledger.facts(&core.claim, folder.id).await?,
                };
                book.moves.add(&facts);
                book.candidates.add(core, folder, facts);
            }
            let skipped = book.state.skips.iter().filter(|(f, _)| *f == folder.id);
            let numbers: Vec<u64> = skipped.map(|(_, skip)| skip.number).collect();
            if !numbers.is_empty() {
                core.apply(Change::Unskip { folder: folder.id, numbers }).await?;
            }
        }
    }
    Ok(())
}

/// Folders that could not be listed: what is recorded of them stays as it is. One that was renamed or deleted since the
/// list of folders was made is another matter than one that cannot be read: another pass sees what became of it.
async fn tell_unlisted(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &mut Book,
    unlisted: Vec<(SourceFolder, Error)>,
) -> Result<Vec<SourceFolder>> {
    let mut now = None;
    let mut unread = Vec::new();
    for (folder, error) in unlisted {
        if now.is_none() {
            now = Some(list_folders(core, source).await?);
        }
        if now.iter().flatten().any(|f| f.handle == folder.handle && f.selectable) {
            book.doubts.push(format!("one folder could not be listed and was left as it is: {error}"));
        } else {
            book.changed = Some(changed(error));
        }
        book.hold = Some("a folder could not be listed");
        unread.push(folder);
    }
    Ok(unread)
}

/// Are the folders others than in the last pass that came to its end? Which of several views lists a message depends on
/// all of them.
fn are_others(known: &[FolderState], folders: &[SourceFolder], matches: &[Match], lost: &[usize]) -> bool {
    let other = |(folder, matched): (&SourceFolder, &Match)| match matched {
        Match::Same(k) => known[*k].special != folder.special || known[*k].uidnext == 0,
        Match::Renamed(_) | Match::New => true,
    };
    !lost.is_empty() || folders.iter().zip(matches).any(other)
}

pub(super) async fn list_folders(core: &Core, source: &dyn SourceMailbox) -> Result<Vec<SourceFolder>> {
    let mut attempt = 0;
    loop {
        core.parts.env.step(Step::SourceList).await;
        match source.folders().await {
            Ok(folders) => return Ok(folders),
            Err(error) => core.wait_or_give_up(error, &mut attempt).await?,
        }
    }
}

/// Finds out what is in a folder by the cheapest way that proves it.
async fn look(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &Book,
    folder: &SourceFolder,
    recorded: Option<&FolderState>,
    anew: bool,
) -> Result<Look> {
    let views = source.capabilities().views;
    let open = book.state.open.iter().filter(|b| recorded.is_some_and(|r| r.id == b.folder));
    let skips = book.state.skips.iter().filter(|(f, _)| recorded.is_some_and(|r| r.id == *f));
    let skips: Vec<&Skip> = skips.map(|(_, skip)| skip).collect();
    let options = &core.parts.options;
    let known = proof::Known {
        recorded,
        open: open.filter(|b| recorded.is_some_and(|r| r.epoch == b.epoch)).flat_map(|b| &b.items).collect(),
        skips: &skips,
        limit: options.max_message_bytes.min(core.target.capabilities().max_message_bytes),
        final_pass: options.final_pass,
        views,
        anew,
    };
    let (way, also) = proof::way(&known, folder.counters);
    match way {
        Way::Unchanged(listing) => {
            return Ok(Look { listing, listed: Roll::default(), since: 0, also, print: Print::default() });
        }
        Way::Since(counters, flags_may_be_stale) => {
            let since = Since { counters, also: &also, flags_may_be_stale };
            let (listing, listed, print) = list_one(core, source, folder, Some(&since)).await?;
            let numbers: Vec<u64> = skips.iter().map(|s| s.number).collect();
            let changes = listing.extent != Extent::Whole;
            // What a view counts is more than it lists: the source itself sees that changes add up.
            if views || recorded.is_some_and(|r| diff::adds_up(r, &numbers, &listing, &also, &listed)) {
                let since = if changes { counters.next } else { 0 };
                return Ok(Look { listing, listed, since, also, print });
            }
            tracing::debug!(
                "what a folder's changes tell does not add up to what it holds: it is listed whole"
            );
        }
        Way::Whole => {}
    }
    let (listing, listed, print) = list_one(core, source, folder, None).await?;
    Ok(Look { listing, listed, since: 0, also: Vec::new(), print })
}

pub(super) async fn list_one(
    core: &Core,
    source: &dyn SourceMailbox,
    folder: &SourceFolder,
    since: Option<&Since<'_>>,
) -> Result<(Listing, Roll, Print)> {
    let mut attempt = 0;
    loop {
        let (mut listed, mut print, mut ascending, mut last) = (Roll::default(), Print::default(), true, 0);
        let mut sink = |one: Listed| {
            print.add(&one.id);
            if let SourceId::Number(n) = one.id {
                ascending &= n >= last;
                last = n;
            }
            listed.add(one);
        };
        match source.list(folder, since, &mut sink).await {
            Ok(listing) => {
                if !ascending {
                    let mut all: Vec<_> = listed.into_iter().collect();
                    all.sort_by(|a, b| a.id.cmp(&b.id));
                    listed = all.into_iter().collect();
                }
                return Ok((listing, listed, print));
            }
            Err(error) => core.wait_or_give_up(error, &mut attempt).await?,
        }
    }
}

/// Did anything come since the source was listed? Asked before something is removed: it could be a moved message.
pub(super) async fn something_came(core: &Core, source: &dyn SourceMailbox, book: &Book) -> Result<bool> {
    let now = list_folders(core, source).await?;
    for work in book.folders.values() {
        let counters = now.iter().find(|f| f.handle == work.source.handle).and_then(|f| f.counters);
        match counters {
            // What comes is numbered from UIDNEXT on.
            Some(c) if c.next > 0 && (c.epoch, c.next) == (work.listing.epoch, work.listing.next) => continue,
            Some(c) if c.epoch != work.listing.epoch || c.next > work.listing.next => return Ok(true),
            _ => {}
        }
        match list_one(core, source, &work.source, None).await {
            Ok((listing, _, print)) => {
                let came = listing.epoch != work.listing.epoch || listing.next > work.listing.next;
                let told_whole = work.listing.extent == Extent::Whole;
                if came || (told_whole && work.print.something_came(&print)) {
                    return Ok(true);
                }
            }
            // Gone or not to be listed now: nothing is proven.
            Err(error) if error.scope == Scope::Folder => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// UIDNEXT never falls while UIDVALIDITY stays (RFC 3501 §2.3.1.1). Where it does, the server was put back to an older
/// state, and numbers on record may name other messages now.
fn check_numbers(recorded: &FolderState, listing: &Listing) -> Result<()> {
    if recorded.epoch == listing.epoch && listing.next > 0 && listing.next < recorded.uidnext {
        let what = format!(
            "{} of the source gives out numbers again (UIDNEXT fell from {} to {}, UIDVALIDITY did not change); nothing was changed",
            recorded.id, recorded.uidnext, listing.next
        );
        return Err(Error::new(Kind::Conflict, Scope::Mailbox, what).remedy(
            "the source was restored from a backup: give the folder a new UIDVALIDITY there and run again",
        ));
    }
    Ok(())
}

/// What is on record of a folder.
enum Bound {
    /// All of it.
    Known(FolderId),
    /// This must be recorded.
    New(FolderRow),
}

/// Puts a folder on record as it is now.
async fn record(core: &Core, bound: &Bound) -> Result<FolderId> {
    let row = match bound {
        Bound::Known(id) => return Ok(*id),
        Bound::New(row) => row.clone(),
    };
    match core.apply(Change::Folder(row)).await? {
        Applied::Folder(id) => Ok(id),
        _ => Err(Error::new(Kind::Internal, Scope::Run, "the ledger gave a folder no id")),
    }
}

/// Makes sure that a folder has its counterpart. One whose counterpart was renamed is on record afterwards.
async fn bind(
    core: &Core,
    book: &mut Book,
    folder: &SourceFolder,
    listing: &Listing,
    recorded: Option<&FolderState>,
    matched: Match,
) -> Result<(Bound, TargetFolderId)> {
    let wanted = wanted_at_target(folder);
    let mut target = recorded.map(|r| r.target_folder.clone()).filter(|t| !t.is_empty()).map(TargetFolderId);
    let mut left = None;
    if let (Match::Renamed(_), Some(old)) = (matched, target.clone()) {
        let mut attempt = 0;
        loop {
            core.parts.env.step(Step::TargetFolder).await;
            match core.target.rename_folder(&old, &wanted).await {
                Ok(renamed) => {
                    target = Some(renamed);
                    break;
                }
                // Ids of copies that carry no stamp would change with a move: the counterpart stays where it is.
                Err(e)
                    if matches!(e.kind, Kind::Conflict | Kind::NotFound | Kind::Denied)
                        && !core.target.capabilities().stamps =>
                {
                    book.doubts.push(format!(
                        "one folder was renamed at the source and keeps its old name at the target: {e}"
                    ));
                    break;
                }
                // The new place is taken, the old folder gone or not to be renamed (a well-known one): the copies are
                // moved instead.
                Err(e) if matches!(e.kind, Kind::Conflict | Kind::NotFound | Kind::Denied) => {
                    left = target.take();
                    break;
                }
                Err(error) => core.wait_or_give_up(error, &mut attempt).await?,
            }
        }
    }
    let target = match target {
        Some(target) => target,
        None => {
            let mut attempt = 0;
            loop {
                match core.target.folder(&wanted).await {
                    Ok(id) => break id,
                    Err(error) => core.wait_or_give_up(error, &mut attempt).await?,
                }
            }
        }
    };
    if let (Some(r), Some(old)) = (recorded, left) {
        // Before the new place is on record: a stop repeats the refused rename and goes on here.
        super::mirror::carry_over(core, r, &old, &target).await?;
    }
    if let Some(r) = recorded {
        let unchanged = r.path == folder.path
            && r.special == folder.special
            && r.object_id == folder.object_id
            && r.epoch == listing.epoch
            && r.target_folder == target.0
            && !r.missing;
        if unchanged {
            return Ok((Bound::Known(r.id), target));
        }
    }
    let row = FolderRow {
        id: recorded.map(|r| r.id),
        path: folder.path.clone(),
        special: folder.special,
        object_id: folder.object_id.clone(),
        epoch: listing.epoch,
        target_folder: target.0.clone(),
    };
    let bound = Bound::New(row);
    if matches!(matched, Match::Renamed(_)) {
        return Ok((Bound::Known(record(core, &bound).await?), target));
    }
    Ok((bound, target))
}

/// The folder's counterpart is gone (its user removed it): finds or makes it again, and records it.
pub(super) async fn find_folder_again(core: &Core, book: &mut Book, id: FolderId) -> Result<()> {
    let lost =
        || Error::new(Kind::Internal, Scope::Mailbox, "a batch names a folder that is not in this pass");
    let work = book.folders.get_mut(&id).ok_or_else(lost)?;
    let folder = &work.source;
    let wanted = wanted_at_target(folder);
    let target = core.target.folder(&wanted).await?;
    let row = FolderRow {
        id: Some(id),
        path: folder.path.clone(),
        special: folder.special,
        object_id: folder.object_id.clone(),
        epoch: work.listing.epoch,
        target_folder: target.0.clone(),
    };
    work.target = target;
    core.apply(Change::Folder(row)).await.map(|_| ())
}

/// Compares each folder's listing with what is recorded now, and plans what is to be done.
pub(super) async fn plan(core: &Core, source: &dyn SourceMailbox, book: &mut Book) -> Result<()> {
    book.state = core.parts.ledger.load(&core.claim).await?;
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
            super::copy::skip(m, SkipReason::TooLarge, detail, m.size)
        })
        .collect();
    if !skips.is_empty() {
        core.apply(Change::Skipped { folder, skips }).await?;
    }
    Ok(())
}

pub(super) fn wanted_at_target(folder: &SourceFolder) -> FolderWanted {
    FolderWanted { path: folder.path.clone(), special: folder.special, subscribed: folder.subscribed }
}

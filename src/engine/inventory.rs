//! What the source holds: listed, matched with what is recorded, compared.

use std::collections::BTreeMap;

use super::diff::{self, NewMessage};
use super::matching::{self, FoundFolder, Match};
use super::pass::{Book, Core, stopped};
use super::settle::Reopened;
use crate::env::Step;
use crate::ledger::{Applied, BatchId, Change, FolderRow, FolderState, Outcomes};
use crate::model::{Digest, Error, Fact, Flags, FolderId, Kind, Listed, Result, Scope, SourceId};
use crate::source::{Listing, SourceFolder, SourceMailbox};
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
    /// The listing, until it is compared.
    pub listed: Vec<Listed>,
    /// As recorded before this pass; `None` for a new folder.
    pub recorded: Option<FolderState>,
    /// Messages to copy.
    pub new: Vec<NewMessage>,
    /// Flags to sync: number and flags now.
    pub reflagged: Vec<(u64, Flags)>,
    /// Live facts, if they had to be read.
    pub facts: Option<Vec<Fact>>,
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
    /// Of a whole listing.
    pub(super) fn of(listed: &[Listed]) -> Print {
        let mut print = Print::default();
        for message in listed {
            match &message.id {
                SourceId::Number(n) => print.highest = print.highest.max(*n),
                SourceId::Name(name) => {
                    let digest = Digest::of(name.as_bytes());
                    let part = digest.as_bytes().iter().take(8).fold(0u64, |v, b| v << 8 | u64::from(*b));
                    print.names = print.names.wrapping_add(part);
                }
            }
        }
        print
    }

    /// Does a later listing show something that this one does not? Names only tell that something is different.
    pub(super) fn something_came(&self, later: &Print) -> bool {
        later.highest > self.highest || later.names != self.names
    }
}

/// Lists everything and settles which folder is which; every folder has its id and its counterpart afterwards.
pub(super) async fn list(core: &Core, source: &dyn SourceMailbox, book: &mut Book) -> Result<()> {
    let mut attempt = 0;
    let folders = loop {
        core.parts.env.step(Step::SourceList).await;
        match source.folders().await {
            Ok(folders) => break folders,
            Err(error) => core.wait_or_give_up(error, &mut attempt).await?,
        }
    };
    let mut found = Vec::new();
    // Folders that are there and could not be listed: what is recorded of them stays as it is.
    let mut unread: Vec<SourceFolder> = Vec::new();
    for folder in folders {
        if core.stop.asked() {
            return Err(stopped());
        }
        if !folder.selectable {
            unread.push(folder); // a container now; if it was a mail folder before, its absence proves nothing
            continue;
        }
        let mut attempt = 0;
        let listing = loop {
            let mut listed = Vec::new();
            match source.list(&folder, None, &mut |l| listed.push(l)).await {
                Ok(listing) => break Ok((listing, listed)),
                Err(error) => match core.wait_or_give_up(error, &mut attempt).await {
                    Ok(()) => {}
                    Err(error) if error.scope == Scope::Folder => break Err(error),
                    Err(error) => return Err(error),
                },
            }
        };
        let (listing, mut listed) = match listing {
            Ok(listing) => listing,
            Err(error) => {
                book.doubts.push(format!("one folder could not be listed and was left as it is: {error}"));
                book.hold = Some("a folder could not be listed");
                unread.push(folder);
                continue;
            }
        };
        if listed.iter().all(|l| matches!(l.id, SourceId::Number(_))) {
            listed.sort_by(|a, b| a.id.cmp(&b.id));
        }
        found.push((folder, listing, listed));
    }

    let known = std::mem::take(&mut book.state.folders);
    let matches = {
        let view: Vec<FoundFolder<'_>> = found
            .iter()
            .map(|(folder, listing, listed)| FoundFolder {
                path: &folder.path,
                object_id: folder.object_id.as_deref(),
                epoch: listing.epoch,
                listed,
            })
            .collect();
        let mut facts = BTreeMap::new();
        if view.iter().any(|f| !known.iter().any(|k| k.path == *f.path)) {
            for k in matching::lost(&known, &view) {
                facts.insert(k, core.parts.ledger.facts(&core.claim, known[k].id).await?);
            }
        }
        matching::match_folders(&known, &view, &facts)
    };

    // A listing that shows nothing where much was is more likely a fault of the source than a wish of its user.
    let live: u64 = known.iter().map(|k| k.live + k.orphans).sum();
    if live > 10 && found.iter().all(|(_, _, listed)| listed.is_empty()) {
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
    for ((folder, listing, listed), matched) in found.into_iter().zip(matches) {
        let recorded = match matched {
            Match::Same(k) | Match::Renamed(k) => Some(known[k].clone()),
            Match::New => None,
        };
        if let Some(r) = &recorded {
            check_numbers(r, &listing)?;
        }
        let (id, target) = match bind(core, &folder, &listing, recorded.as_ref(), matched).await {
            Ok(bound) => bound,
            Err(error) if error.scope == Scope::Folder => {
                book.doubts.push(format!("one folder has no counterpart and was left out: {error}"));
                book.hold = Some("a folder was left out");
                seen.extend(recorded.map(|r| r.id));
                continue;
            }
            Err(error) => return Err(error),
        };
        seen.push(id);
        let work = FolderWork {
            print: Print::of(&listed),
            source: folder,
            target,
            listing,
            listed,
            recorded,
            new: Vec::new(),
            reflagged: Vec::new(),
            facts: None,
        };
        book.folders.insert(id, work);
    }
    for folder in &known {
        if !seen.contains(&folder.id) {
            if !folder.missing {
                core.apply(Change::FolderMissing(folder.id)).await?;
            }
            if folder.live + folder.orphans > 0 {
                let facts = core.parts.ledger.facts(&core.claim, folder.id).await?;
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

/// Makes sure that a folder has its id and its counterpart, and that both are on record as they are now.
async fn bind(
    core: &Core,
    folder: &SourceFolder,
    listing: &Listing,
    recorded: Option<&FolderState>,
    matched: Match,
) -> Result<(FolderId, TargetFolderId)> {
    let wanted = FolderWanted { path: folder.path.clone(), special: folder.special };
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
            return Ok((r.id, target));
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
    match core.apply(Change::Folder(row)).await? {
        Applied::Folder(id) => Ok((id, target)),
        _ => Err(Error::new(Kind::Internal, Scope::Run, "the ledger gave a folder no id")),
    }
}

/// The folder's counterpart is gone (its user removed it): finds or makes it again, and records it.
pub(super) async fn find_folder_again(core: &Core, book: &mut Book, id: FolderId) -> Result<()> {
    let lost =
        || Error::new(Kind::Internal, Scope::Mailbox, "a batch names a folder that is not in this pass");
    let work = book.folders.get_mut(&id).ok_or_else(lost)?;
    let folder = &work.source;
    let wanted = FolderWanted { path: folder.path.clone(), special: folder.special };
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
pub(super) async fn plan(core: &Core, book: &mut Book) -> Result<()> {
    book.state = core.parts.ledger.load(&core.claim).await?;
    let limit = core.parts.options.max_message_bytes.min(core.target.capabilities().max_message_bytes);
    for (id, work) in &mut book.folders {
        let Some(state) = book.state.folders.iter().find(|f| f.id == *id) else {
            return Err(Error::new(Kind::Internal, Scope::Run, "the ledger lost a folder"));
        };
        let listed = std::mem::take(&mut work.listed);
        if diff::needs_facts(state, work.listing.epoch, &listed) {
            work.facts = Some(core.parts.ledger.facts(&core.claim, *id).await?);
        }
        let skips: Vec<(u64, String)> = book
            .state
            .skips
            .iter()
            .filter(|(folder, _)| folder == id)
            .map(|(_, skip)| (skip.number, skip.name.clone()))
            .collect();
        let mut diff = diff::compare(state, work.facts.as_deref(), &skips, work.listing.epoch, listed);
        book.tally.already += diff.present;
        if !diff.unskip.is_empty() {
            core.apply(Change::Unskip { folder: *id, numbers: std::mem::take(&mut diff.unskip) }).await?;
        }
        take_reopened(core, *id, work.listing.epoch, &mut diff.new, &mut book.reopened).await?;
        number_the_named(core, *id, &mut diff.new).await?;
        let open =
            |m: &NewMessage| book.reopened.iter().any(|r| r.folder == *id && r.item.number == m.number);
        let (fits, too_large): (Vec<_>, Vec<_>) =
            diff.new.into_iter().partition(|m| m.size.is_none_or(|s| s <= limit) || open(m));
        if too_large.iter().any(|m| !skips.iter().any(|(number, _)| *number == m.number)) {
            book.hold = Some("a new message is too large");
        }
        skip_too_large(core, *id, &too_large, limit, &skips).await?;
        book.candidates.add(core, state, diff.vanished);
        work.new = fits;
        work.reflagged = diff.reflagged;
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
    new: &mut [NewMessage],
    reopened: &mut Vec<Reopened>,
) -> Result<()> {
    let mut gone: BTreeMap<BatchId, Vec<u64>> = BTreeMap::new();
    reopened.retain(|open| {
        if open.folder != folder {
            return true;
        }
        let found = new.iter_mut().find(|m| m.id == open.item.id && open.epoch == epoch);
        match found {
            Some(message) => {
                message.from = if message.number == 0 { open.item.number } else { message.from };
                message.number = open.item.number;
                true
            }
            None => {
                gone.entry(open.batch).or_default().push(open.item.number);
                false
            }
        }
    });
    for (batch, gone) in gone {
        core.apply(Change::Outcome { batch, outcomes: Outcomes { gone, ..Outcomes::default() } }).await?;
    }
    Ok(())
}

/// Gives named messages their numbers.
async fn number_the_named(core: &Core, folder: FolderId, new: &mut [NewMessage]) -> Result<()> {
    let without = new.iter().filter(|m| m.number == 0 && matches!(m.id, SourceId::Name(_))).count() as u64;
    if without == 0 {
        return Ok(());
    }
    let mut next = core.parts.ledger.number(&core.claim, folder, without).await?;
    for message in new.iter_mut().filter(|m| m.number == 0 && matches!(m.id, SourceId::Name(_))) {
        message.number = next;
        message.from = next;
        next += 1;
    }
    Ok(())
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
            super::copy::skip(m, crate::model::SkipReason::TooLarge, detail, m.size)
        })
        .collect();
    if !skips.is_empty() {
        core.apply(Change::Skipped { folder, skips }).await?;
    }
    Ok(())
}

//! What the source holds: listed, matched with what is recorded, compared.

mod bind;
mod look;
mod plan;

use std::collections::{BTreeMap, BTreeSet};

use self::bind::{bind, record};
use self::look::look;
use super::matching::{self, FoundFolder, Match};
use super::pass::{Book, Core, changed, stopped};
use super::roll::Roll;
use crate::ledger::{Change, FolderState};
use crate::model::{Digest, Error, Fact, Flags, FolderId, Kind, Result, Scope, SourceId};
use crate::source::{Extent, Listing, SourceFolder, SourceMailbox};
use crate::target::{FolderWanted, TargetFolderId};

pub(super) use self::bind::{find_folder_again, wanted_at_target};
pub(super) use self::look::{list_folders, list_one, something_came};
pub(super) use self::plan::plan;

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

    check_not_emptied(&known, found.iter().map(|(_, _, look)| look))?;
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
    for (k, folder) in known.iter().enumerate().filter(|(_, folder)| !seen.contains(&folder.id)) {
        miss(core, book, folder, facts.remove(&k)).await?;
    }
    // What was recorded of it since is loaded when it is asked for.
    book.state.folders = known;
    Ok(())
}

/// A folder that is there no more: its messages are gone, unless they turn up elsewhere.
async fn miss(core: &Core, book: &mut Book, folder: &FolderState, facts: Option<Vec<Fact>>) -> Result<()> {
    if !folder.missing {
        core.apply(Change::FolderMissing(folder.id)).await?;
    }
    if folder.live + folder.orphans > 0 {
        let facts = match facts {
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

/// A listing that shows nothing where much was is more likely a fault of the source than a wish of its user.
fn check_not_emptied<'l>(known: &[FolderState], mut looks: impl Iterator<Item = &'l Look>) -> Result<()> {
    let live: u64 = known.iter().map(|k| k.live + k.orphans).sum();
    let shows_nothing = |look: &Look| match look.listing.extent {
        Extent::Whole => look.listed.is_empty(),
        Extent::Changes { .. } => look.listing.messages == 0,
    };
    if live > 10 && looks.all(shows_nothing) {
        let what = format!(
            "the source lists no message at all where {live} were copied before; nothing was changed"
        );
        return Err(Error::new(Kind::Conflict, Scope::Mailbox, what)
            .remedy("look at the source mailbox; if it is empty on purpose, leave it out of the run"));
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

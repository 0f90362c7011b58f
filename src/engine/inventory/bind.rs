//! Which counterpart a folder has at the target, on record: found, made, or renamed with its folder.

use crate::engine::matching::Match;
use crate::engine::mirror::carry_over;
use crate::engine::pass::{Book, Core};
use crate::env::Step;
use crate::ledger::{Applied, Change, FolderRow, FolderState};
use crate::model::{Error, FolderId, Kind, Result, Scope};
use crate::source::{Listing, SourceFolder};
use crate::target::{FolderWanted, TargetFolderId};

/// What is on record of a folder.
pub(super) enum Bound {
    /// All of it.
    Known(FolderId),
    /// This must be recorded.
    New(FolderRow),
}

/// Puts a folder on record as it is now.
pub(super) async fn record(core: &Core, bound: &Bound) -> Result<FolderId> {
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
pub(super) async fn bind(
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
        carry_over(core, r, &old, &target).await?;
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
pub(in crate::engine) async fn find_folder_again(core: &Core, book: &mut Book, id: FolderId) -> Result<()> {
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

pub(in crate::engine) fn wanted_at_target(folder: &SourceFolder) -> FolderWanted {
    FolderWanted { path: folder.path.clone(), special: folder.special, subscribed: folder.subscribed }
}

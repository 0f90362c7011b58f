//! What is in the source's folders: asked for by the cheapest way that proves it.

use super::{Look, Print};
use crate::engine::diff;
use crate::engine::pass::{Book, Core};
use crate::engine::proof::{self, Way};
use crate::engine::roll::Roll;
use crate::env::Step;
use crate::ledger::FolderState;
use crate::model::{Listed, Result, Scope, Skip, SourceId};
use crate::source::{Extent, Listing, Since, SourceFolder, SourceMailbox};

pub(in crate::engine) async fn list_folders(
    core: &Core,
    source: &dyn SourceMailbox,
) -> Result<Vec<SourceFolder>> {
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
pub(super) async fn look(
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

pub(in crate::engine) async fn list_one(
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
pub(in crate::engine) async fn something_came(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &Book,
) -> Result<bool> {
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

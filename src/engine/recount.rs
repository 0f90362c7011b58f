//! The end of a pass: late twins swept, copies counted by the target's own word, a verdict.

use std::collections::{BTreeMap, BTreeSet};

use super::anchored::{self, Strays};
use super::pass::{Book, Core};
use super::settle;
use crate::env::Step;
use crate::ledger::{Change, MailboxState, PassSummary, Watch};
use crate::model::{self, Error, Evidence, Fact, Kind, Result, Stamp, Verdict};
use crate::target::{Copy, CopyIds, CopyRef, TargetFolderId};

/// How often a count that comes out short is taken again: a new item may take a while to be found.
const LOOKS: u32 = 3;

/// Sweeps late twins that appeared since the last pass, before anything is mirrored: afterwards a twin could not be
/// told from a copy that its user changed.
pub(super) async fn sweep_early(core: &Core, book: &mut Book) -> Result<()> {
    if book.state.watch.is_empty() {
        return Ok(());
    }
    let watch = std::mem::take(&mut book.state.watch);
    core.outdate();
    if !core.target.capabilities().stamps {
        return anchored::sweep(core, book, watch).await;
    }
    let mut found = by_stamp(look(core).await?);
    sweep(core, book, &mut found, watch).await
}

/// Sweeps late twins and compares the target's own count of our copies with the ledger's.
pub(super) async fn sweep_and_count(core: &Core, book: &mut Book) -> Result<()> {
    core.reload(book).await?;
    if !core.parts.options.recount && book.state.watch.is_empty() {
        return Ok(());
    }
    if !core.target.capabilities().stamps {
        let watch = std::mem::take(&mut book.state.watch);
        if !watch.is_empty() {
            anchored::sweep(core, book, watch).await?;
        }
        return if core.parts.options.recount { count_by_id(core, book).await } else { Ok(()) };
    }
    let live: u64 = book.state.folders.iter().map(|f| f.live + f.orphans).sum();
    core.parts.env.step(Step::TargetFind).await;
    let mut found = by_stamp(core.census().await?);
    for _ in 1..LOOKS {
        if complete(&found) >= live {
            break;
        }
        core.let_settle().await;
        found = by_stamp(look(core).await?);
    }
    let watch = std::mem::take(&mut book.state.watch);
    if !watch.is_empty() {
        sweep(core, book, &mut found, watch).await?;
    }
    let copies: u64 = found.values().map(|list| list.iter().filter(|c| c.complete).count() as u64).sum();
    book.tally.recounted = Some(copies);
    if copies != live || complete(&found) != live {
        explain(core, book, &found).await?;
    }
    Ok(())
}

/// Looks at every copy on record by its id, but for those in folders where nothing changed since that was done last.
async fn count_by_id(core: &Core, book: &mut Book) -> Result<()> {
    core.parts.env.step(Step::TargetFind).await;
    // Read before the looks: what changes in between is seen in the next pass.
    let marks = core.marks().await?;
    let (mut copies, mut missing, mut shared) = (0, 0, 0);
    let mut taken: BTreeMap<TargetFolderId, CopyIds> = BTreeMap::new();
    for folder in &book.state.folders {
        let recorded = folder.live + folder.orphans;
        let place = TargetFolderId(folder.target_folder.clone());
        let mark = marks.get(&place).map_or("", String::as_str);
        if recorded == 0 || (!mark.is_empty() && mark == folder.mark) {
            copies += recorded;
            continue;
        }
        let taken = taken.entry(place.clone()).or_default();
        let (mut present, mut twice) = (0, 0);
        let mut facts = core.facts_in(folder.id);
        while let Some(page) = facts.next().await? {
            let refs: Vec<CopyRef> =
                page.into_iter().map(|f| CopyRef { folder: place.clone(), id: f.target_id }).collect();
            for (at, flags) in refs.iter().zip(core.look(&refs).await?) {
                present += u64::from(flags.is_some());
                twice += u64::from(flags.is_some() && !taken.insert(&at.id));
            }
        }
        copies += present - twice;
        let lost = recorded.saturating_sub(present);
        // Only a folder that holds all it should need not be looked at again.
        let mark = if lost + twice == 0 { mark } else { "" };
        if folder.mark != mark {
            core.apply(Change::Marked { folder: folder.id, mark: mark.to_owned() }).await?;
        }
        missing += lost;
        shared += twice;
    }
    book.tally.recounted = Some(copies);
    if missing > 0 {
        book.doubts.push(format!(
            "{missing} copies on record are not where they were put: moved or deleted at the target, or lost by it; `verify` names them"
        ));
    }
    if shared > 0 {
        book.doubts
            .push(format!("{shared} messages share a copy with another one; report this with the log"));
    }
    let unread: usize = book.strays.values().map(Strays::unread).sum();
    if unread > 0 {
        book.doubts.push(format!(
            "{unread} messages whose store was cut are gone at the source; copies of them may have come to the target"
        ));
    }
    Ok(())
}

async fn look(core: &Core) -> Result<Vec<Copy>> {
    core.parts.env.step(Step::TargetFind).await;
    core.find(&core.all_stamps()).await
}

fn by_stamp(copies: Vec<Copy>) -> BTreeMap<Stamp, Vec<Copy>> {
    let mut map: BTreeMap<Stamp, Vec<Copy>> = BTreeMap::new();
    for copy in copies {
        map.entry(copy.stamp.clone()).or_default().push(copy);
    }
    map
}

/// Stamps with a complete copy.
fn complete(found: &BTreeMap<Stamp, Vec<Copy>>) -> u64 {
    found.values().filter(|list| list.iter().any(|c| c.complete)).count() as u64
}

/// A late twin is removed only if our ledger recorded an unknown outcome for its stamp, it lies where we wrote, was
/// made within the attempt, and is as we made it. Anything else is reported and left alone.
async fn sweep(
    core: &Core,
    book: &mut Book,
    found: &mut BTreeMap<Stamp, Vec<Copy>>,
    watch: Vec<Watch>,
) -> Result<()> {
    let slack = 300_000; // clocks differ, milliseconds
    let watch_for = i64::try_from(core.parts.options.watch_for.as_millis()).unwrap_or(i64::MAX);
    let now = core.parts.env.wall();
    let open: BTreeSet<Stamp> = book
        .state
        .open
        .iter()
        .flat_map(|b| b.items.iter().map(|i| core.stamp(b.folder, b.epoch, i.number)))
        .collect();
    let mut over = Vec::new();
    for watched in watch {
        if open.contains(&watched.stamp) {
            continue;
        }
        if let Some(copies) = found.get_mut(&watched.stamp) {
            let kept = kept_copy(core, book, copies, &watched.stamp).await?;
            let late = |c: &Copy| {
                let in_time = c.made == 0
                    || (c.made >= watched.since - slack
                        && c.made <= watched.until.saturating_add(watch_for) + slack);
                c.folder.0 == watched.target_folder
                    && in_time
                    && (!c.complete || kept.as_ref().is_none_or(|k| c.flags == k.flags))
            };
            let (keep, others): (Vec<_>, Vec<_>) =
                std::mem::take(copies).into_iter().partition(|c| kept.as_ref().is_some_and(|k| k.id == c.id));
            let (twins, doubtful): (Vec<_>, Vec<_>) = others.into_iter().partition(late);
            settle::remove(core, twins.iter().map(Copy::to_ref).collect()).await?;
            if !doubtful.is_empty() {
                book.doubts.push(
                    "a second copy of one message was changed at the target and left alone: remove one by hand".into(),
                );
            }
            *copies = keep.into_iter().chain(doubtful).collect();
        }
        if now.saturating_sub(watched.until) >= watch_for {
            over.push(watched.stamp);
        }
    }
    if !over.is_empty() {
        core.apply(Change::Unwatch(over)).await?;
    }
    Ok(())
}

/// The complete copy of a stamp that is on record. `None`: the ledger has none, then none of them is a copy of ours
/// (an attempt arrived late whose message has gone, or was given another number).
async fn kept_copy(core: &Core, book: &Book, copies: &[Copy], stamp: &Stamp) -> Result<Option<Copy>> {
    let mut complete: Vec<&Copy> = copies.iter().filter(|c| c.complete).collect();
    if !complete.is_empty() {
        // Most likely it is on record in the folder of its stamp; a moved one is in another.
        let mut folders: Vec<_> = book.state.folders.iter().map(|f| f.id).collect();
        folders.sort_by_key(|f| *f != stamp.folder);
        for folder in folders {
            let mut facts = core.facts_in(folder);
            while let Some(page) = facts.next().await? {
                let recorded = page.iter().find(|f| match &f.bound {
                    Some(bound) => bound == stamp,
                    None => (folder, f.epoch, f.number) == (stamp.folder, stamp.epoch, stamp.number),
                });
                if let Some(fact) = recorded {
                    // An id that changed (a move by the target's user) still leaves one of them the copy on record.
                    complete.sort_by_key(|c| (c.id != fact.target_id, c.made));
                    return Ok(complete.first().map(|c| (*c).clone()));
                }
            }
        }
    }
    Ok(None)
}

/// The counts differ: says how, stamp by stamp.
async fn explain(core: &Core, book: &mut Book, found: &BTreeMap<Stamp, Vec<Copy>>) -> Result<()> {
    let is_there = |stamp: &Stamp| found.get(stamp).is_some_and(|list| list.iter().any(|c| c.complete));
    let mut missing = BTreeSet::new();
    for folder in &book.state.folders {
        let mut facts = core.facts_in(folder.id);
        while let Some(page) = facts.next().await? {
            let own = |fact: &Fact| core.stamp(folder.id, fact.epoch, fact.number);
            let stamps = page.into_iter().map(|fact| fact.bound.clone().unwrap_or_else(|| own(&fact)));
            missing.extend(stamps.filter(|stamp| !is_there(stamp)));
        }
    }
    let missing = missing.len();
    let twins = found.values().filter(|list| list.iter().filter(|c| c.complete).count() > 1).count();
    if missing > 0 {
        book.doubts.push(format!(
            "{missing} copies on record are not at the target any more: deleted there, or lost by it; `verify` names them"
        ));
    }
    if twins > 0 {
        book.doubts
            .push(format!("{twins} messages have more than one copy at the target; `verify` names them"));
    }
    Ok(())
}

/// The verdict of a pass, from what is on record after it.
pub(super) fn judge(tally: &mut PassSummary, state: &MailboxState, error: Option<&Error>) {
    // Who was asked to stop, or may go on only tomorrow, has not failed.
    let later = error.is_some_and(|e| e.kind == Kind::Stopped || super::retry::parked(e).is_some());
    let doubts = std::mem::take(&mut tally.reasons);
    let (verdict, reasons) = model::judge(&Evidence {
        complete: tally.complete,
        failed: error.is_some() && !later,
        recorded: state.folders.iter().map(|f| f.live + f.orphans).sum(),
        recounted: tally.recounted,
        losses: state.lossy,
        skipped: state.skips.len() as u64,
        approved: 0,
        unknown: state.open.iter().map(|b| b.items.len() as u64).sum(),
    });
    let verdict = if doubts.is_empty() { verdict } else { verdict.max(Verdict::Investigate) };
    tally.verdict = verdict.word().to_owned();
    tally.reasons = error.map(ToString::to_string).into_iter().chain(reasons).chain(doubts).collect();
}

//! Between seeding and cutover: what moved, vanished or changed its flags at the source is mirrored on the copies that
//! the target's user left as they were.

use std::collections::BTreeMap;

use super::copy::Carried;
use super::pass::{Book, Core};
use super::settle;
use crate::env::Step;
use crate::ledger::{Change, FolderState};
use crate::model::{Digest, Error, Fact, Flags, FolderId, Kind, Result, Stamp};
use crate::source::SourceMailbox;
use crate::target::{Copy, CopyRef, TargetFolderId};

/// A recorded message that the source does not list where it was.
#[derive(Debug, Clone)]
pub(super) struct Vanished {
    folder: FolderId,
    target_folder: String,
    stamp: Stamp,
    fact: Fact,
    /// Flags last synced; `None`: not known any more (its folder has another epoch since).
    flags: Option<Flags>,
}

/// Vanished messages by digest: a new message with the same octets is the vanished one, moved.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    by_digest: BTreeMap<Digest, Vec<Vanished>>,
    /// Those whose octets were never recorded.
    nameless: Vec<Vanished>,
}

impl Candidates {
    /// Adds the vanished messages of a folder.
    pub(super) fn add(&mut self, core: &Core, folder: &FolderState, facts: Vec<Fact>) {
        for fact in facts {
            let stamp = fact.bound.clone().unwrap_or_else(|| core.stamp(folder.id, fact.epoch, fact.number));
            let flags =
                if fact.epoch == folder.epoch { folder.flags.get(fact.number).cloned() } else { None };
            let vanished = Vanished {
                folder: folder.id,
                target_folder: folder.target_folder.clone(),
                stamp,
                flags,
                fact,
            };
            match vanished.fact.digest {
                Some(digest) => self.by_digest.entry(digest).or_default().push(vanished),
                None => self.nameless.push(vanished),
            }
        }
    }

    /// Takes one with these octets, rather of this folder than of another: twins are a multiset, each taken once.
    fn take(&mut self, digest: Digest, folder: FolderId) -> Option<Vanished> {
        let list = self.by_digest.get_mut(&digest)?;
        let at = list.iter().position(|v| v.folder == folder).unwrap_or(0);
        let taken = (!list.is_empty()).then(|| list.remove(at));
        if list.is_empty() {
            self.by_digest.remove(&digest);
        }
        taken
    }

    fn drain(&mut self) -> Vec<Vanished> {
        let mut all = std::mem::take(&mut self.nameless);
        all.extend(std::mem::take(&mut self.by_digest).into_values().flatten());
        all
    }
}

/// If this new message is a vanished one under a new key, binds its copy to the key (and moves the copy, if it still
/// lies where we put it). `false`: it needs a copy of its own.
pub(super) async fn bind_moved(
    core: &Core,
    book: &mut Book,
    folder: FolderId,
    target_folder: &TargetFolderId,
    epoch: u64,
    one: &Carried,
) -> Result<bool> {
    let Some(old) = book.candidates.take(one.digest, folder) else { return Ok(false) };
    core.parts.env.step(Step::TargetFind).await;
    let found = core.locate(std::slice::from_ref(&old.stamp)).await?;
    let copy = found.into_values().flatten().find(|c| c.complete);
    let Some(copy) = copy else {
        book.candidates.nameless.push(old); // nothing to bind: its fact ends with the other vanished ones
        return Ok(false);
    };
    let lies_where_we_put_it = copy.folder.0 == old.target_folder;
    let must_move = lies_where_we_put_it && copy.folder != *target_folder;
    if must_move && !(core.target.capabilities().moves && core.parts.options.mirror) {
        book.candidates.nameless.push(old);
        return Ok(false);
    }
    let mut id = copy.id.clone();
    if must_move {
        id = relocate(core, &copy, target_folder).await?;
        book.tally.moved += 1;
    } else {
        book.tally.already += 1;
    }
    let mut stored = one.stored(epoch, id, &[]);
    // Flags last synced stay the base of the next merge. Where they are not known, the source's are taken for them and
    // nothing is written: what the target's user changed stays.
    stored.flags = old.flags.clone().unwrap_or_else(|| one.flags.clone());
    stored.fact.losses = old.fact.losses.clone();
    stored.fact.bound = Some(old.stamp.clone());
    let from = (old.folder, old.fact.epoch, old.fact.number);
    core.apply(Change::Moved { from, to: folder, stored }).await?;
    if old.flags.as_ref().is_some_and(|flags| one.flags != *flags)
        && let Some(work) = book.folders.get_mut(&folder)
    {
        work.reflagged.push((one.message.number, one.flags.clone()));
    }
    Ok(true)
}

async fn relocate(core: &Core, copy: &Copy, to: &TargetFolderId) -> Result<String> {
    let mut attempt = 0;
    loop {
        let mut results = core.target.relocate(&[copy.to_ref()], to).await;
        match results.pop() {
            Some(Ok(id)) => return Ok(id),
            Some(Err(error)) => core.wait_or_give_up(error, &mut attempt).await?,
            None => return Err(short_answer()),
        }
    }
}

fn short_answer() -> Error {
    Error::new(
        Kind::Internal,
        crate::model::Scope::Mailbox,
        "the target accounted for another number of copies",
    )
}

/// Mirrors deletions: copies of vanished messages are removed, recoverably, if the target's user left them as they
/// were; the others stay, and stay on record.
///
/// Removing is the dangerous direction, so absence must be proven: everything was listed, every new message was read,
/// nothing came while the source was read (it could be a moved one), and not too much is gone at once.
pub(super) async fn vanished(core: &Core, source: &dyn SourceMailbox, book: &mut Book) -> Result<()> {
    let vanished = book.candidates.drain();
    if vanished.is_empty() || !core.parts.options.mirror {
        return Ok(());
    }
    let recorded: u64 = book.state.folders.iter().map(|f| f.live + f.orphans).sum();
    let gone = vanished.len() as u64;
    let share = u64::from(core.parts.options.max_removed_percent);
    if share < 100 && gone > 10 && gone.saturating_mul(100) > recorded.saturating_mul(share) {
        book.doubts.push(format!(
            "{gone} of {recorded} messages are not at the source any more; that many at once are not removed at the \
             target: look at the source, and if it is right run again with --allow-removals"
        ));
        return Ok(());
    }
    if book.hold.is_none() && super::inventory::something_came(core, source, book).await? {
        book.hold = Some("new messages came while the source was read");
    }
    if let Some(why) = book.hold {
        book.doubts.push(format!("{gone} copies of vanished messages were not removed in this pass: {why}"));
        return Ok(());
    }
    let stamps: Vec<Stamp> = vanished.iter().map(|v| v.stamp.clone()).collect();
    core.parts.env.step(Step::TargetFind).await;
    let mut found = core.locate(&stamps).await?;
    let mut ended: BTreeMap<FolderId, Vec<(u64, u64)>> = BTreeMap::new();
    let mut doomed = Vec::new();
    for v in &vanished {
        let untouched = |c: &Copy| {
            let same_flags =
                v.flags.as_ref().is_some_and(|f| (c.flags.seen, c.flags.flagged) == (f.seen, f.flagged));
            c.folder.0 == v.target_folder && same_flags
        };
        let copies = found.remove(&v.stamp).unwrap_or_default();
        if copies.iter().all(untouched) {
            doomed.extend(copies);
            ended.entry(v.folder).or_default().push((v.fact.epoch, v.fact.number));
        }
    }
    settle::remove(core, &doomed).await?;
    book.tally.removed += doomed.len() as u64;
    for (folder, numbers) in ended {
        core.apply(Change::Ended { folder, numbers }).await?;
    }
    Ok(())
}

/// The copies of a folder still lie in a place its counterpart has left: moves them into the present one.
pub(super) async fn carry_over(
    core: &Core,
    recorded: &FolderState,
    old: &TargetFolderId,
    to: &TargetFolderId,
) -> Result<()> {
    if old == to || !core.target.capabilities().moves || !core.parts.options.mirror {
        return Ok(());
    }
    let facts = core.parts.ledger.facts(&core.claim, recorded.id).await?;
    let stamp = |f: &Fact| f.bound.clone().unwrap_or_else(|| core.stamp(recorded.id, f.epoch, f.number));
    let stamps: Vec<Stamp> = facts.iter().map(stamp).collect();
    core.parts.env.step(Step::TargetFind).await;
    for copy in core.locate(&stamps).await?.into_values().flatten().filter(|c| c.folder == *old) {
        match relocate(core, &copy, to).await {
            Ok(_) => {}
            Err(e) if e.kind == Kind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Syncs flags that changed at the source since they were last synced; what the target's user changed stays.
pub(super) async fn flags(core: &Core, book: &mut Book) -> Result<()> {
    if book.folders.values().all(|f| f.reflagged.is_empty()) {
        return Ok(());
    }
    book.state = core.parts.ledger.load(&core.claim).await?;
    for (id, work) in &mut book.folders {
        let changed = std::mem::take(&mut work.reflagged);
        let Some(state) = book.state.folders.iter().find(|f| f.id == *id) else { continue };
        if changed.is_empty() {
            continue;
        }
        let facts: BTreeMap<u64, Fact> = core
            .parts
            .ledger
            .facts(&core.claim, *id)
            .await?
            .into_iter()
            .filter(|f| f.epoch == state.epoch)
            .map(|f| (f.number, f))
            .collect();
        for some in changed.chunks(100) {
            book.tally.reflagged += sync(core, state, &facts, some).await?;
        }
    }
    Ok(())
}

/// Syncs some flags of one folder; returns how many copies were changed.
async fn sync(
    core: &Core,
    state: &FolderState,
    facts: &BTreeMap<u64, Fact>,
    changed: &[(u64, Flags)],
) -> Result<u64> {
    let stamp_of = |number: u64| {
        let bound = facts.get(&number).and_then(|f| f.bound.clone());
        bound.unwrap_or_else(|| core.stamp(state.id, state.epoch, number))
    };
    let stamps: Vec<Stamp> = changed.iter().map(|(n, _)| stamp_of(*n)).collect();
    core.parts.env.step(Step::TargetFind).await;
    let found = core.locate(&stamps).await?;
    let mut wishes: Vec<(CopyRef, Flags)> = Vec::new();
    for (number, source) in changed {
        let base = state.flags.get(*number).cloned().unwrap_or_default();
        // None: gone at the target, its user's wish. More than one: a late twin, kept alike until it is swept.
        for copy in found.get(&stamp_of(*number)).into_iter().flatten().filter(|c| c.complete) {
            let merged = Flags::merge(&base, source, &copy.flags);
            if merged != copy.flags {
                wishes.push((copy.to_ref(), merged));
            }
        }
    }
    let mut changed_copies = 0;
    let mut attempt = 0;
    while !wishes.is_empty() {
        let results = core.target.set_flags(&wishes).await;
        if results.len() != wishes.len() {
            return Err(short_answer());
        }
        let mut failed = Vec::new();
        let mut last = None;
        for (wish, result) in wishes.into_iter().zip(results) {
            match result {
                Ok(()) => changed_copies += 1,
                Err(e) if e.kind == Kind::NotFound => {}
                Err(e) => {
                    failed.push(wish);
                    last = Some(e);
                }
            }
        }
        wishes = failed;
        if let Some(error) = last {
            core.wait_or_give_up(error, &mut attempt).await?;
        }
    }
    core.apply(Change::FlagsSynced { folder: state.id, flags: changed.to_vec() }).await?;
    Ok(changed_copies)
}

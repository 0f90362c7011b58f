//! Between seeding and cutover: what moved, vanished or changed its flags at the source is mirrored on the copies that
//! the target's user left as they were.

use std::collections::BTreeMap;

use super::copy::Carried;
use super::pass::{Book, Core};
use super::settle;
use super::whereabouts::{self, OnRecord, short_answer};
use crate::env::Step;
use crate::ledger::{Change, FolderState};
use crate::model::{Digest, Fact, Flags, FolderId, Kind, Result, RunSet, Scope, Status};
use crate::source::SourceMailbox;
use crate::target::{Copy, CopyRef, TargetFolderId};

/// A recorded message that the source does not list where it was.
#[derive(Debug, Clone)]
pub(super) struct Vanished {
    pub(super) folder: FolderId,
    copy: OnRecord,
    pub(super) fact: Fact,
    /// Flags last synced; `None`: not known any more (its folder has another epoch since).
    flags: Option<Flags>,
}

/// Vanished messages by digest: a new message with the same octets is the vanished one, moved.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    by_digest: BTreeMap<Digest, Vec<Vanished>>,
    /// Those whose octets were never recorded.
    nameless: Vec<Vanished>,
    /// Copies that were looked at by id in this pass: `false`, not there.
    seen: BTreeMap<CopyRef, bool>,
}

/// Copies looked at along with one that is asked for: moved messages come in crowds.
const ALONG: usize = 1000;
/// Messages whose facts are read at once while flags are synced.
const FACTS: usize = 10_000;

impl Candidates {
    /// Adds the vanished messages of a folder.
    pub(super) fn add(&mut self, core: &Core, folder: &FolderState, facts: Vec<Fact>) {
        for fact in facts {
            let copy = core.on_record(folder.id, &folder.target_folder, &fact);
            let flags =
                if fact.epoch == folder.epoch { folder.flags.get(fact.number).cloned() } else { None };
            let vanished = Vanished { folder: folder.id, copy, flags, fact };
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

    pub(super) fn is_empty(&self) -> bool {
        self.by_digest.is_empty() && self.nameless.is_empty()
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Vanished> {
        self.by_digest.values_mut().flatten().chain(&mut self.nameless)
    }

    /// Copies of a folder have other ids now.
    pub(super) fn refresh(&mut self, folder: FolderId, facts: &[Fact]) {
        let ids: BTreeMap<(u64, u64), &Fact> = facts.iter().map(|f| ((f.epoch, f.number), f)).collect();
        for vanished in self.all_mut().filter(|v| v.folder == folder) {
            if let Some(fact) = ids.get(&(vanished.fact.epoch, vanished.fact.number)) {
                vanished.copy.at.id.clone_from(&fact.target_id);
                vanished.fact = (*fact).clone();
            }
        }
    }

    /// Leaves the copies in a target folder alone.
    pub(super) fn forget(&mut self, place: &TargetFolderId) {
        self.by_digest.values_mut().for_each(|list| list.retain(|v| v.copy.at.folder != *place));
        self.by_digest.retain(|_, list| !list.is_empty());
        self.nameless.retain(|v| v.copy.at.folder != *place);
    }

    /// Is the copy where it is on record? Looks at others of its folder along with it.
    async fn is_there(&mut self, core: &Core, copy: &OnRecord) -> Result<bool> {
        if let Some(there) = self.seen.get(&copy.at) {
            return Ok(*there);
        }
        let others = self.by_digest.values().flatten().map(|v| &v.copy.at);
        let along = others.filter(|at| at.folder == copy.at.folder && !self.seen.contains_key(at));
        let asked: Vec<CopyRef> = std::iter::once(&copy.at).chain(along.take(ALONG)).cloned().collect();
        let flags = core.look(&asked).await?;
        let there = flags.first().is_some_and(Option::is_some);
        self.seen.extend(asked.into_iter().zip(flags.iter().map(Option::is_some)));
        Ok(there)
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
    if super::anchored::adopt_stray(core, book, target_folder, folder, epoch, one).await? {
        return Ok(true);
    }
    let Some(old) = book.candidates.take(one.digest, folder) else { return Ok(false) };
    let Some(copy) = find(core, book, &old.copy).await? else {
        book.candidates.nameless.push(old); // nothing to bind: its fact ends with the other vanished ones
        return Ok(false);
    };
    let lies_where_we_put_it = copy.folder == old.copy.at.folder;
    let must_move = lies_where_we_put_it && copy.folder != *target_folder;
    if must_move && !(core.target.capabilities().moves && core.parts.options.mirror) {
        book.candidates.nameless.push(old);
        return Ok(false);
    }
    let mut id = copy.id.clone();
    if must_move {
        match relocate(core, &copy, target_folder).await {
            Ok(moved) => id = moved,
            Err(error) if error.kind == Kind::NotFound && error.scope == Scope::Message => {
                book.candidates.nameless.push(old);
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        book.tally.moved += 1;
    } else {
        book.tally.already += 1;
    }
    let mut stored = one.stored(epoch, id, &[]);
    // Flags last synced stay the base of the next merge. Where they are not known, the source's are taken for them and
    // nothing is written: what the target's user changed stays.
    stored.flags = old.flags.clone().unwrap_or_else(|| one.flags.clone());
    stored.fact.losses = old.fact.losses.clone();
    stored.fact.mode = old.fact.mode;
    stored.fact.bound = Some(old.copy.stamp.clone());
    let from = (old.folder, old.fact.epoch, old.fact.number);
    core.apply(Change::Moved { from, to: folder, stored }).await?;
    if old.flags.as_ref().is_some_and(|flags| one.flags != *flags)
        && let Some(work) = book.folders.get_mut(&folder)
    {
        work.reflagged.push((one.message.number, one.flags.clone()));
    }
    Ok(true)
}

/// The copy, if it is there and complete.
async fn find(core: &Core, book: &mut Book, on_record: &OnRecord) -> Result<Option<Copy>> {
    core.parts.env.step(Step::TargetFind).await;
    if !core.target.capabilities().stamps {
        let there = book.candidates.is_there(core, on_record).await?;
        return Ok(there.then(|| whereabouts::copy(&on_record.stamp, &on_record.at, Flags::default())));
    }
    let found = core.locate(std::slice::from_ref(&on_record.stamp)).await?;
    Ok(found.into_values().flatten().find(|c| c.complete))
}

/// Moves a copy, with bounded retries; its id from now on. Where copies carry no stamp and the answer is lost, the mailbox
/// is left for now: the next try finds what came in by the intent of the message.
async fn relocate(core: &Core, copy: &Copy, to: &TargetFolderId) -> Result<String> {
    let mut attempt = 0;
    loop {
        let mut results = core.target.relocate(&[copy.to_ref()], to).await;
        match results.pop() {
            Some(Ok(id)) => return Ok(id),
            Some(Err(error)) => {
                let undone = error.status == Status::Throttled || core.target.capabilities().stamps;
                if error.may_pass() && !undone {
                    return Err(error.scoped(Scope::Mailbox));
                }
                core.wait_or_give_up(error, &mut attempt).await?;
            }
            None => return Err(short_answer()),
        }
    }
}

/// Mirrors deletions: copies of vanished messages are removed, recoverably, if the target's user left them as they
/// were; the others stay, and stay on record.
///
/// Removing is the dangerous direction, so absence must be proven: everything was listed, every new message was read,
/// nothing came while the source was read (it could be a moved one), and not too much is gone at once.
pub(super) async fn vanished(core: &Core, source: &dyn SourceMailbox, book: &mut Book) -> Result<()> {
    let mut vanished = book.candidates.drain();
    if vanished.is_empty() || !core.parts.options.mirror {
        return Ok(());
    }
    let recorded: u64 = book.state.folders.iter().map(|f| f.live + f.orphans).sum();
    let gone = vanished.len() as u64;
    let share = u64::from(core.parts.options.max_removed_percent);
    book.copies_left = true;
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
    book.copies_left =
        source.capabilities().views && super::views::keep(core, source, book, &mut vanished).await?;
    let copies: Vec<OnRecord> = vanished.iter().map(|v| v.copy.clone()).collect();
    core.parts.env.step(Step::TargetFind).await;
    let mut found = core.whereabouts(&copies).await?;
    let mut ended: BTreeMap<FolderId, Vec<(u64, u64)>> = BTreeMap::new();
    let mut doomed = Vec::new();
    for v in &vanished {
        let untouched = |c: &Copy| {
            let same_flags =
                v.flags.as_ref().is_some_and(|f| (c.flags.seen, c.flags.flagged) == (f.seen, f.flagged));
            c.folder == v.copy.at.folder && same_flags
        };
        let copies = found.remove(&v.copy.stamp).unwrap_or_default();
        if copies.iter().all(untouched) {
            doomed.extend(copies);
            ended.entry(v.folder).or_default().push((v.fact.epoch, v.fact.number));
        }
    }
    let removed = doomed.len() as u64;
    settle::remove(core, doomed.iter().map(Copy::to_ref).collect()).await?;
    book.tally.removed += removed;
    for (folder, numbers) in ended {
        core.apply(Change::Ended { folder, numbers }).await?;
    }
    Ok(())
}

/// The copies of a folder still lie in a place its counterpart has left: moves them into the present one. (Where copies
/// carry no stamp, their ids would change unrecorded: such a counterpart keeps its place.)
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
    let copies: Vec<OnRecord> = facts.iter().map(|f| core.on_record(recorded.id, &old.0, f)).collect();
    core.parts.env.step(Step::TargetFind).await;
    for copy in core.whereabouts(&copies).await?.into_values().flatten().filter(|c| c.folder == *old) {
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
    core.reload(book).await?;
    for (id, work) in &mut book.folders {
        let changed = std::mem::take(&mut work.reflagged);
        let Some(state) = book.state.folders.iter().find(|f| f.id == *id) else { continue };
        if changed.is_empty() {
            continue;
        }
        for part in changed.chunks(FACTS) {
            let numbers: RunSet = part.iter().map(|(number, _)| *number).collect();
            let facts = core.parts.ledger.facts_of(&core.claim, *id, state.epoch, &numbers).await?;
            let facts: BTreeMap<u64, Fact> = facts.into_iter().map(|f| (f.number, f)).collect();
            for some in part.chunks(100) {
                book.tally.reflagged += sync(core, state, &facts, some).await?;
            }
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
    let copies: Vec<Option<OnRecord>> = changed
        .iter()
        .map(|(n, _)| facts.get(n).map(|fact| core.on_record(state.id, &state.target_folder, fact)))
        .collect();
    let asked: Vec<OnRecord> = copies.iter().flatten().cloned().collect();
    core.parts.env.step(Step::TargetFind).await;
    let found = core.whereabouts(&asked).await?;
    let mut wishes: Vec<(CopyRef, Flags)> = Vec::new();
    for ((number, source), on_record) in changed.iter().zip(&copies) {
        let there = on_record.as_ref().and_then(|c| found.get(&c.stamp));
        let base = state.flags.get(*number).cloned().unwrap_or_default();
        // None: gone at the target, its user's wish. More than one: a late twin, kept alike until it is swept.
        for copy in there.into_iter().flatten().filter(|c| c.complete) {
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

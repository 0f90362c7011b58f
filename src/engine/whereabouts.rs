//! Where copies on record are now: asked by stamp where copies carry one, else by the id on record.

use std::collections::BTreeMap;

use super::pass::Core;
use crate::ledger::{FactsCursor, MailboxState};
use crate::model::{Error, Fact, Flags, FolderId, Kind, Result, Scope, Stamp, StampPrefix};
use crate::target::{Copy, CopyIds, CopyRef, TargetFolderId};

/// Copies looked at in one call. Bounds what is held at once; consecutive ids are cheap to ask for.
const LOOK: usize = 2000;

/// A copy as it is on record.
#[derive(Debug, Clone)]
pub(super) struct OnRecord {
    /// Its stamp.
    pub stamp: Stamp,
    /// Where we put it, and its id there; no id: it is known not to be there any more.
    pub at: CopyRef,
}

impl Core {
    /// The copy of a fact recorded in a folder with this counterpart.
    pub(super) fn on_record(&self, folder: FolderId, target_folder: &str, fact: &Fact) -> OnRecord {
        let own = || self.stamp(folder, fact.epoch, fact.number);
        OnRecord {
            stamp: fact.bound.clone().unwrap_or_else(own),
            at: CopyRef { folder: TargetFolderId(target_folder.to_owned()), id: fact.target_id.clone() },
        }
    }

    /// What is recorded as a copy's id: nothing where its stamp finds it.
    pub(super) fn id_on_record(&self, id: String) -> String {
        if self.target.capabilities().stamps { String::new() } else { id }
    }

    /// Asks the target for copies, with bounded retries.
    pub(super) async fn find(&self, prefix: &StampPrefix) -> Result<Vec<Copy>> {
        let mut attempt = 0;
        loop {
            match self.target.find(prefix).await {
                Ok(copies) => return Ok(copies),
                Err(error) => self.wait_or_give_up(error, &mut attempt).await?,
            }
        }
    }

    /// Asks the target for the copies of the mailbox, to count them, with bounded retries.
    pub(super) async fn census(&self) -> Result<Vec<Copy>> {
        let (all, mut attempt) = (self.all_stamps(), 0);
        loop {
            match self.target.census(&all).await {
                Ok(copies) => return Ok(copies),
                Err(error) => self.wait_or_give_up(error, &mut attempt).await?,
            }
        }
    }

    /// Asks the target for the copies of several stamps, with bounded retries.
    pub(super) async fn find_each(&self, prefixes: &[StampPrefix]) -> Result<Vec<Copy>> {
        let mut attempt = 0;
        loop {
            match self.target.find_each(prefixes).await {
                Ok(copies) => return Ok(copies),
                Err(error) => self.wait_or_give_up(error, &mut attempt).await?,
            }
        }
    }

    /// The copies of these stamps, by stamp: a few each by itself, many by one question for the whole mailbox.
    pub(super) async fn locate(&self, stamps: &[Stamp]) -> Result<BTreeMap<Stamp, Vec<Copy>>> {
        const FEW: usize = 8;
        let mut found: BTreeMap<Stamp, Vec<Copy>> = stamps.iter().map(|s| (s.clone(), Vec::new())).collect();
        let copies = if found.len() <= FEW {
            let prefixes: Vec<StampPrefix> = found.keys().map(StampPrefix::exactly).collect();
            self.find_each(&prefixes).await?
        } else {
            self.find(&self.all_stamps()).await?
        };
        for copy in copies {
            if let Some(list) = found.get_mut(&copy.stamp) {
                list.push(copy);
            }
        }
        for list in found.values_mut() {
            // The same choice each time: complete ones first, then the one made first.
            list.sort_by(|a, b| (!a.complete, a.made, &a.id).cmp(&(!b.complete, b.made, &b.id)));
        }
        Ok(found)
    }

    /// Where these copies are now, by stamp, with the flags they have. Where copies carry no stamp, a copy is where we
    /// put it or it is not told.
    pub(super) async fn whereabouts(&self, copies: &[OnRecord]) -> Result<BTreeMap<Stamp, Vec<Copy>>> {
        if self.target.capabilities().stamps {
            let stamps: Vec<Stamp> = copies.iter().map(|c| c.stamp.clone()).collect();
            return self.locate(&stamps).await;
        }
        let refs: Vec<CopyRef> = copies.iter().map(|c| c.at.clone()).collect();
        let flags = self.look(&refs).await?;
        let mut found: BTreeMap<Stamp, Vec<Copy>> = BTreeMap::new();
        for (one, flags) in copies.iter().zip(flags) {
            let list = found.entry(one.stamp.clone()).or_default();
            list.extend(flags.map(|flags| copy(&one.stamp, &one.at, flags)));
        }
        Ok(found)
    }

    /// Looks at copies by id, in order, with bounded retries. Ids that mean nothing any more are not there.
    pub(super) async fn look(&self, refs: &[CopyRef]) -> Result<Vec<Option<Flags>>> {
        let mut by_folder: BTreeMap<&TargetFolderId, Vec<usize>> = BTreeMap::new();
        for (i, one) in refs.iter().enumerate().filter(|(_, r)| !r.id.is_empty()) {
            by_folder.entry(&one.folder).or_default().push(i);
        }
        let mut told = vec![None; refs.len()];
        for members in by_folder.values() {
            for some in members.chunks(LOOK) {
                let asked: Vec<CopyRef> = some.iter().map(|i| refs[*i].clone()).collect();
                let flags = match self.look_once(&asked).await {
                    Err(error) if means_nothing(&error) => continue,
                    other => other?,
                };
                for (i, flags) in some.iter().zip(flags) {
                    told[*i] = flags;
                }
            }
        }
        Ok(told)
    }

    /// One look, with bounded retries; `Conflict` if the folder of these ids was numbered anew.
    pub(super) async fn look_once(&self, refs: &[CopyRef]) -> Result<Vec<Option<Flags>>> {
        let mut attempt = 0;
        loop {
            match self.target.look(refs).await {
                Ok(flags) if flags.len() == refs.len() => return Ok(flags),
                Ok(_) => return Err(short_answer()),
                Err(error) if means_nothing(&error) => return Err(error),
                Err(error) => self.wait_or_give_up(error, &mut attempt).await?,
            }
        }
    }

    /// The marks of the target's folders, with bounded retries.
    pub(super) async fn marks(&self) -> Result<BTreeMap<TargetFolderId, String>> {
        let mut attempt = 0;
        loop {
            match self.target.marks().await {
                Ok(marks) => return Ok(marks),
                Err(error) => self.wait_or_give_up(error, &mut attempt).await?,
            }
        }
    }

    /// The ids on record in a target folder: those of every folder whose counterpart it is.
    pub(super) async fn ids_in(&self, state: &MailboxState, place: &TargetFolderId) -> Result<CopyIds> {
        let mut ids = CopyIds::default();
        for folder in state.folders.iter().filter(|f| f.target_folder == place.0 && f.live + f.orphans > 0) {
            let mut facts = self.facts_in(folder.id);
            while let Some(page) = facts.next().await? {
                ids.extend(page.iter().map(|f| &f.target_id).filter(|id| !id.is_empty()));
            }
        }
        Ok(ids)
    }

    /// The facts recorded in a folder, a page at a time, in no particular order: what is held at once does not depend
    /// on the folder.
    pub(super) fn facts_in(&self, folder: FolderId) -> Facts<'_> {
        Facts { core: self, folder, from: Some(FactsCursor::default()) }
    }
}

/// See [`Core::facts_in`].
pub(super) struct Facts<'a> {
    core: &'a Core,
    folder: FolderId,
    from: Option<FactsCursor>,
}

impl Facts<'_> {
    /// The next page; it may be empty. `None`: that was the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Fact>>> {
        let Some(from) = self.from.take() else { return Ok(None) };
        let (facts, next) = self.core.parts.ledger.facts_from(&self.core.claim, self.folder, from).await?;
        self.from = next;
        Ok(Some(facts))
    }
}

/// A copy that was found where it is on record.
pub(super) fn copy(stamp: &Stamp, at: &CopyRef, flags: Flags) -> Copy {
    Copy {
        stamp: stamp.clone(),
        id: at.id.clone(),
        folder: at.folder.clone(),
        complete: true,
        flags,
        made: 0,
    }
}

/// Does the error say that a folder's ids or anchors mean nothing any more: it was numbered anew, or is gone?
pub(super) fn means_nothing(error: &Error) -> bool {
    matches!(error.kind, Kind::Conflict | Kind::NotFound) && error.scope == Scope::Folder && !error.may_pass()
}

pub(super) fn short_answer() -> Error {
    Error::new(Kind::Internal, Scope::Mailbox, "the target accounted for another number of copies")
}

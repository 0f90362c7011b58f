//! Folders that are views of one store: what must be proven before a copy is removed there.
//!
//! That a view does not list a message any more can mean that another view lists it now, and that this pass looked at
//! that one too early. So the source is asked for the message itself. One that is still there keeps its copy, unless it
//! has another one on record.

use std::collections::BTreeSet;

use super::mirror::Vanished;
use super::pass::{Book, Core};
use crate::env::Step;
use crate::model::{Fact, Result, Scope};
use crate::source::SourceMailbox;

/// Takes those out of `vanished` whose copies must stay; `true`: there were some.
pub(super) async fn keep(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &mut Book,
    vanished: &mut Vec<Vanished>,
) -> Result<bool> {
    let objects: Vec<u64> = vanished.iter().map(|v| v.fact.object).collect();
    let mut attempt = 0;
    let there = loop {
        core.parts.env.step(Step::SourceList).await;
        match source.anywhere(&objects).await {
            Ok(there) => break there,
            Err(error) if error.scope == Scope::Folder => break vec![true; objects.len()],
            Err(error) => core.wait_or_give_up(error, &mut attempt).await?,
        }
    };
    let still = |at: usize| there.get(at).copied().unwrap_or(true);
    let asked: BTreeSet<u64> =
        objects.iter().enumerate().filter(|(at, _)| still(*at)).map(|(_, object)| *object).collect();
    if asked.is_empty() {
        return Ok(false);
    }
    let lost: BTreeSet<_> = vanished.iter().map(|v| (v.folder, v.fact.epoch, v.fact.number)).collect();
    let mut copied = BTreeSet::new();
    // What this pass bound and stored counts too.
    for folder in core.parts.ledger.load(&core.claim).await?.folders {
        let mut facts = core.facts_in(folder.id);
        while let Some(page) = facts.next().await? {
            let elsewhere = |f: &Fact| !lost.contains(&(folder.id, f.epoch, f.number));
            let asked = page.iter().filter(|f| f.object != 0 && asked.contains(&f.object));
            copied.extend(asked.filter(|f| elsewhere(f)).map(|f| f.object));
        }
    }
    let before = vanished.len();
    vanished.retain(|v| !asked.contains(&v.fact.object) || copied.contains(&v.fact.object));
    let kept = before - vanished.len();
    if kept > 0 {
        book.doubts.push(format!(
            "{kept} copies were not removed: their messages left their folders and are in the mailbox all the same; the \
             next pass lists all folders whole"
        ));
    }
    Ok(kept > 0)
}

//! Copies that are there: looked at, flagged, moved, removed. Never a plain EXPUNGE: what others marked `\Deleted` is
//! theirs.

use std::collections::{BTreeMap, BTreeSet};

use super::ImapMailbox;
use super::arrivals::{self, parts};
use super::flags::{Kept, system};
use super::session::{Live, Opened};
use super::shelf::{Numbers, copy_id, parse_id};
use crate::env::Step;
use crate::imap::{Change, Copied, Done, UidSet, WireError};
use crate::model::{Error, Flags, Kind, Result, Scope, Timestamp};
use crate::target::{CopyRef, TargetFolderId};

/// Messages moved with one command.
const MOVED: u64 = 500;

fn gone() -> Error {
    Error::new(Kind::NotFound, Scope::Message, "the copy is gone from the target")
        .remedy("its user or a rule moved or deleted it there; `verify` names it")
}

/// A folder of that name is not there.
pub(super) fn no_folder(e: &Error) -> bool {
    e.kind == Kind::NotFound
}

/// Copies by folder, with their places in the list asked for.
fn by_folder(copies: &[CopyRef]) -> BTreeMap<&str, Vec<usize>> {
    let mut folders: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, copy) in copies.iter().enumerate() {
        folders.entry(copy.folder.0.as_str()).or_default().push(at);
    }
    folders
}

/// The UIDs, in this folder as it is numbered now, of the copies at these places.
fn uids(copies: &[CopyRef], members: &[usize], validity: u32) -> Vec<(usize, u32)> {
    members
        .iter()
        .filter_map(|at| Some((*at, parse_id(&copies.get(*at)?.id)?)))
        .filter(|(_, (v, uid))| *v == validity && *uid > 0)
        .map(|(at, (_, uid))| (at, uid))
        .collect()
}

fn set_of(uids: &[(usize, u32)]) -> UidSet {
    uids.iter().map(|(_, uid)| *uid).collect()
}

/// Puts a result in its place.
fn put<T>(results: &mut [Option<Result<T>>], at: usize, result: Result<T>) {
    if let Some(place) = results.get_mut(at) {
        *place = Some(result);
    }
}

/// Everyone else gets this.
fn filled<T>(results: Vec<Option<Result<T>>>, rest: impl Fn() -> Result<T>) -> Vec<Result<T>> {
    results.into_iter().map(|result| result.unwrap_or_else(&rest)).collect()
}

impl ImapMailbox {
    pub(super) async fn look_at(&self, copies: &[CopyRef]) -> Result<Vec<Option<Flags>>> {
        let mut found = vec![None; copies.len()];
        let folders = by_folder(copies);
        let alone = folders.len() == 1;
        for (folder, members) in folders {
            self.env.step(Step::TargetFind).await;
            let live = self.line.live().await?;
            let opened = match live.open(folder).await {
                Ok(opened) => opened,
                Err(e) if no_folder(&e) => continue,
                Err(e) => return Err(e),
            };
            let validity = opened.told.uid_validity;
            let uids = uids(copies, &members, validity);
            let foreign = members.iter().all(|at| {
                let id = copies.get(*at).and_then(|copy| parse_id(&copy.id));
                id.is_some_and(|(v, _)| v != validity)
            });
            if alone && foreign {
                return Err(Error::new(Kind::Conflict, Scope::Folder, "the target folder was numbered anew")
                    .remedy("look at whether the target mailbox was restored or made anew; then run again"));
            }
            let mut there: BTreeMap<u32, Flags> = BTreeMap::new();
            arrivals::fetch(&live, &set_of(&uids), "(UID FLAGS)", |uid, items| {
                if let Some(flags) = items.flags {
                    there.insert(uid, flags);
                }
            })
            .await?;
            for (at, uid) in uids {
                if let Some(place) = found.get_mut(at) {
                    *place = there.get(&uid).cloned();
                }
            }
        }
        Ok(found)
    }

    pub(super) async fn reflag(&self, changes: &[(CopyRef, Flags)]) -> Vec<Result<()>> {
        let copies: Vec<CopyRef> = changes.iter().map(|(copy, _)| copy.clone()).collect();
        let mut results: Vec<Option<Result<()>>> = vec![None; changes.len()];
        for (folder, members) in by_folder(&copies) {
            self.env.step(Step::TargetFlags).await;
            if let Err(e) = self.reflag_in(folder, &members, &copies, changes, &mut results).await
                && !no_folder(&e)
            {
                members.iter().for_each(|at| put(&mut results, *at, Err(e.clone())));
            }
        }
        filled(results, || Err(gone()))
    }

    async fn reflag_in(
        &self,
        folder: &str,
        members: &[usize],
        copies: &[CopyRef],
        changes: &[(CopyRef, Flags)],
        results: &mut [Option<Result<()>>],
    ) -> Result<()> {
        let live = self.line.live().await?;
        let opened = live.open(folder).await?;
        writable(&opened)?;
        let uids = uids(copies, members, opened.told.uid_validity);
        let mut now: BTreeMap<u32, Flags> = BTreeMap::new();
        arrivals::fetch(&live, &set_of(&uids), "(UID FLAGS)", |uid, items| {
            if let Some(flags) = items.flags {
                now.insert(uid, flags);
            }
        })
        .await?;
        let kept = Kept::of(opened.told.permanent_flags.as_deref());
        // Only differences are sent: flags that are no business of ours stay, and few commands serve many copies.
        let mut groups: BTreeMap<Difference, Vec<(usize, u32)>> = BTreeMap::new();
        for (at, uid) in uids {
            let (Some(flags), Some((_, wanted))) = (now.get(&uid), changes.get(at)) else { continue };
            put(results, at, Ok(()));
            for (add, difference) in [(true, without(wanted, flags)), (false, without(flags, wanted))] {
                let flags = kept.wire(&difference, true).flags;
                if !flags.is_empty() {
                    groups.entry((add, flags)).or_default().push((at, uid));
                }
            }
        }
        let groups: Vec<(Difference, Vec<(usize, u32)>)> = groups.into_iter().collect();
        for some in groups.chunks(16) {
            let ends = some.iter().map(|((add, flags), uids)| self.change(&live, &kept, *add, flags, uids));
            for ((_, uids), end) in some.iter().zip(futures_util::future::join_all(ends).await) {
                if let Err(e) = end {
                    uids.iter().for_each(|(at, _)| put(results, *at, Err(e.clone())));
                }
            }
        }
        Ok(())
    }

    async fn change(
        &self,
        live: &Live,
        kept: &Kept,
        add: bool,
        flags: &[String],
        uids: &[(usize, u32)],
    ) -> Result<()> {
        let change = if add { Change::Add } else { Change::Remove };
        for part in parts(&set_of(uids), 5_000) {
            let names = || flags.iter().map(String::as_str);
            let done =
                live.session.uid_store(&part, change, names(), None).await.map_err(WireError::into_error)?;
            let system: Vec<&str> = names().filter(|f| f.starts_with('\\')).collect();
            // A folder that takes no more keywords takes the rest.
            if !done.ok() && add && kept.any_keyword() && system.len() < flags.len() && done.backoff.is_none()
            {
                if !system.is_empty() {
                    let done = live.session.uid_store(&part, change, system, None).await;
                    done.map_err(WireError::into_error)?.check(Scope::Message, "changing flags")?;
                }
                continue;
            }
            done.check(Scope::Message, "changing flags")?;
        }
        Ok(())
    }

    pub(super) async fn move_copies(&self, copies: &[CopyRef], to: &TargetFolderId) -> Vec<Result<String>> {
        let mut results: Vec<Option<Result<String>>> = vec![None; copies.len()];
        for (folder, members) in by_folder(copies) {
            self.env.step(Step::TargetMove).await;
            let moved = self.move_from(folder, &members, copies, &to.0, &mut results).await;
            if let Err(e) = moved
                && !(no_folder(&e) && folder != to.0)
            {
                for at in members {
                    if !matches!(results.get(at), Some(Some(Ok(_)))) {
                        put(&mut results, at, Err(e.clone()));
                    }
                }
            }
        }
        filled(results, || Err(gone()))
    }

    async fn move_from(
        &self,
        folder: &str,
        members: &[usize],
        copies: &[CopyRef],
        to: &str,
        results: &mut [Option<Result<String>>],
    ) -> Result<()> {
        // What a connection that broke may have moved.
        let mut cut: Option<(Numbers, Vec<Seen>)> = None;
        loop {
            let live = self.line.live().await?;
            let (validity, seen) = self.seen(&live, folder, members, copies).await?;
            if folder == to {
                seen.iter().for_each(|s| put(results, s.at, Ok(copy_id(validity, s.uid))));
                return Ok(());
            }
            let again = cut.is_some();
            if let Some((since, mut missing)) = cut.take() {
                missing.retain(|m| !seen.iter().any(|s| s.uid == m.uid));
                self.find_moved(&live, to, since, missing, results).await?;
            }
            let since = self.numbers_of(&live, to).await?;
            match self.move_seen(&live, folder, to, &seen, results).await {
                Err(_) if live.session.is_broken() && !again => {
                    let open = |s: &&Seen| !matches!(results.get(s.at), Some(Some(_)));
                    cut = Some((since, seen.iter().filter(open).copied().collect()));
                }
                end => return end,
            }
        }
    }

    /// Those of the copies that are in the folder, and its UIDVALIDITY.
    async fn seen(
        &self,
        live: &Live,
        folder: &str,
        members: &[usize],
        copies: &[CopyRef],
    ) -> Result<(u32, Vec<Seen>)> {
        let opened = live.open(folder).await?;
        writable(&opened)?;
        let validity = opened.told.uid_validity;
        let uids = uids(copies, members, validity);
        let mut there: BTreeMap<u32, Print> = BTreeMap::new();
        arrivals::fetch(live, &set_of(&uids), PRINT, |uid, items| {
            there.insert(uid, Print { size: items.size, received: items.received });
        })
        .await?;
        let seen = uids.into_iter().filter_map(|(at, uid)| Some(Seen { at, uid, print: *there.get(&uid)? }));
        Ok((validity, seen.collect()))
    }

    async fn move_seen(
        &self,
        live: &Live,
        folder: &str,
        to: &str,
        seen: &[Seen],
        results: &mut [Option<Result<String>>],
    ) -> Result<()> {
        for part in parts(&seen.iter().map(|s| s.uid).collect(), MOVED) {
            let since = self.numbers_of(live, to).await?;
            let copied = {
                let _opened = live.open(folder).await?;
                self.move_set(live, &part, to).await?
            };
            copied.done.check(Scope::Folder, "moving copies at the target")?;
            let members = seen.iter().filter(|s| part.contains(s.uid));
            let Some(told) = copied.to else {
                self.find_moved(live, to, since, members.copied().collect(), results).await?;
                continue;
            };
            let shelf = self.shelves.get(to);
            let new: BTreeMap<u32, u32> = told.pairs.into_iter().collect();
            for one in members {
                if let Some(uid) = new.get(&one.uid) {
                    shelf.stored(told.uid_validity, *uid);
                    put(results, one.at, Ok(copy_id(told.uid_validity, *uid)));
                }
            }
        }
        Ok(())
    }

    /// Finds messages that were moved without a word about where: by size and date, in order, among those that came
    /// since.
    async fn find_moved(
        &self,
        live: &Live,
        to: &str,
        since: Numbers,
        missing: Vec<Seen>,
        results: &mut [Option<Result<String>>],
    ) -> Result<()> {
        if missing.is_empty() {
            return Ok(());
        }
        let opened = live.open(to).await?;
        let came = arrivals::above(live, &opened, since).await?;
        let mut left: Vec<(u32, Print)> = Vec::new();
        arrivals::fetch(live, &came, PRINT, |uid, items| {
            left.push((uid, Print { size: items.size, received: items.received }));
        })
        .await?;
        left.sort_by_key(|(uid, _)| *uid);
        for one in missing {
            let found = left.iter().position(|(_, p)| p.same(&one.print)).map(|n| left.remove(n));
            put(results, one.at, found.map(|(uid, _)| copy_id(since.validity, uid)).ok_or_else(gone));
        }
        Ok(())
    }

    /// One command for a set, or what stands in for it.
    async fn move_set(&self, live: &Live, set: &UidSet, to: &str) -> Result<Copied> {
        let session = &live.session;
        let offer = session.capabilities();
        if offer.has("MOVE") {
            // Where they went is told untagged (RFC 6851 §4.3).
            let _alone = live.alone().await;
            return session.uid_move(set, to.as_bytes()).await.map_err(WireError::into_error);
        }
        let copied = session.uid_copy(set, to.as_bytes()).await.map_err(WireError::into_error)?;
        if copied.done.ok() {
            self.expunge(live, set).await?;
        }
        Ok(copied)
    }

    /// Marks messages `\Deleted` and, where only these can be expunged, expunges them.
    async fn expunge(&self, live: &Live, set: &UidSet) -> Result<()> {
        let session = &live.session;
        let marked =
            session.uid_store(set, Change::Add, ["\\Deleted"], None).await.map_err(WireError::into_error)?;
        marked.check(Scope::Message, "marking copies as deleted")?;
        if session.capabilities().has("UIDPLUS") {
            let done: Done = session.uid_expunge(set).await.map_err(WireError::into_error)?;
            done.check(Scope::Message, "expunging copies")?;
        }
        Ok(())
    }

    pub(super) async fn remove_copies(&self, copies: &[CopyRef]) -> Vec<Result<()>> {
        let mut results: Vec<Option<Result<()>>> = vec![None; copies.len()];
        for (folder, members) in by_folder(copies) {
            self.env.step(Step::TargetRemove).await;
            if let Err(e) = self.remove_from(folder, &members, copies).await
                && !no_folder(&e)
            {
                members.iter().for_each(|at| put(&mut results, *at, Err(e.clone())));
            }
        }
        filled(results, || Ok(()))
    }

    async fn remove_from(&self, folder: &str, members: &[usize], copies: &[CopyRef]) -> Result<()> {
        let live = self.line.live().await?;
        let expunge = self.line.host.settings.expunge_removed;
        let trash = match expunge {
            true => None,
            false => Some(self.folders.trash(&self.env, &live, &self.shelves).await.map_err(no_trash)?),
        };
        let opened = live.open(folder).await?;
        writable(&opened)?;
        let uids = uids(copies, members, opened.told.uid_validity);
        for part in parts(&set_of(&uids), MOVED) {
            match &trash {
                None => self.expunge(&live, &part).await?,
                // In the trash itself it is marked: whoever empties it takes it away.
                Some(trash) if trash == folder => {
                    let marked = live.session.uid_store(&part, Change::Add, ["\\Deleted"], None).await;
                    let marked = marked.map_err(WireError::into_error)?;
                    marked.check(Scope::Message, "marking copies as deleted")?;
                }
                Some(trash) => {
                    let moved = self.move_set(&live, &part, trash).await?;
                    moved.done.check(Scope::Message, "moving copies to the trash")?;
                }
            }
        }
        Ok(())
    }
}

fn writable(opened: &Opened<'_>) -> Result<()> {
    if opened.told.read_only {
        return Err(Error::new(Kind::Denied, Scope::Folder, "the target folder cannot be changed")
            .remedy("give the account used for the migration the right to it"));
    }
    Ok(())
}

fn no_trash(e: Error) -> Error {
    // Not the copies are gone, only their way out.
    if e.kind == Kind::NotFound { Error { kind: Kind::Refused, ..e } } else { e }
}

/// Flags that are added (`true`) or taken away.
type Difference = (bool, Vec<String>);

/// A copy that is there.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Its place in the list asked for.
    at: usize,
    uid: u32,
    print: Print,
}

/// Asks for what makes a [`Print`].
const PRINT: &str = "(UID RFC822.SIZE INTERNALDATE)";

/// What tells a message apart without its octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Print {
    size: Option<u64>,
    received: Option<Timestamp>,
}

impl Print {
    fn same(&self, other: &Print) -> bool {
        self.size == other.size && self.received.map(|r| r.seconds) == other.received.map(|r| r.seconds)
    }
}

/// The flags of `all` that are not among `others`.
fn without(all: &Flags, others: &Flags) -> Flags {
    let mut rest = Flags::default();
    for ((on, name), (there, _)) in system(all).into_iter().zip(system(others)) {
        if on && !there {
            rest.add(name);
        }
    }
    let there: BTreeSet<String> = others.keywords.iter().map(|k| k.to_ascii_lowercase()).collect();
    rest.keywords =
        all.keywords.iter().filter(|k| !there.contains(&k.to_ascii_lowercase())).cloned().collect();
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_are_sent_and_keywords_are_one_in_any_case() {
        let (a, b) = (Flags::decode("FS $Forwarded work"), Flags::decode("S $forwarded other"));
        assert_eq!(without(&a, &b), Flags::decode("F work"));
        assert_eq!(without(&b, &a), Flags::decode(" other"));
        assert_eq!(without(&a, &a), Flags::default());
    }
}

//! What changed in a folder since it was listed last, by the cheapest proof the server offers.
//!
//! | it offers | new ones | flags | what is gone |
//! |---|---|---|---|
//! | QRESYNC | from UIDNEXT on | told when the folder is opened | VANISHED |
//! | CONDSTORE | from UIDNEXT on | CHANGEDSINCE | nothing, if the count proves it; else a search |
//! | neither | from UIDNEXT on | stale, or all of it is listed | as above |
//!
//! Where folders are views of one store ([`labels`](super::labels)), only CONDSTORE will do, and all items of what changed are
//! asked for: a change of labels can bring a message into a folder's listing, or out of it.
//!
//! All of it is asked at once. Whatever contradicts itself (a modification sequence or a UIDNEXT that went back,
//! NOMODSEQ, a count that cannot be) makes all of the folder be listed.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::{OptionFuture, join4};

use super::labels::Turn;
use super::list::{Folder, heeded, items, listing};
use super::walk::{self, Entry, Walk, Window};
use crate::imap::{Access, Examined, Receiver, Resync, SelectOptions, Session, UidSet, Untagged};
use crate::model::{Result, RunSet};
use crate::source::{Counters, Extent, Listing, Since};

/// Messages that may be searched for one by one in one answer, where the server cannot tell them as ranges.
const SEARCHED: u32 = 20_000;

/// Numbers that may be asked for beside the changes; more make a command too long for some servers.
const ALSO: usize = 500;

/// What is asked for beside opening the folder, and how changes are proven.
pub(super) struct Asked {
    then: Counters,
    uid_validity: u32,
    /// The last UID known; 0 for none.
    last: u32,
    way: Way,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Resync,
    ChangedSince,
    CountsOnly,
}

impl Asked {
    /// `None`: nothing but the whole folder proves what is wanted.
    pub(super) fn new(
        session: &Session,
        folder: &Folder<'_>,
        since: &Since<'_>,
        view: bool,
    ) -> Option<Asked> {
        let then = since.counters;
        let (offer, now) = (session.capabilities(), folder.counters);
        let went_back = now.is_some_and(|c| c.modseq > 0 && c.modseq < then.modseq);
        if went_back || since.also.len() > ALSO {
            return None;
        }
        let keeps_modseq = then.modseq > 0;
        let way = match keeps_modseq {
            true if view && (offer.has("CONDSTORE") || offer.has("QRESYNC")) => Way::ChangedSince,
            _ if view => return None,
            true if offer.has("QRESYNC") => Way::Resync,
            true if offer.has("CONDSTORE") => Way::ChangedSince,
            _ if since.flags_may_be_stale => Way::CountsOnly,
            _ => return None,
        };
        let usable = then.epoch > 0 && then.next > 0 && now.is_none_or(|c| c.epoch == then.epoch);
        if !usable {
            return None;
        }
        let last = u32::try_from(then.next - 1).ok().filter(|last| *last < u32::MAX)?;
        Some(Asked { then, uid_validity: u32::try_from(then.epoch).ok()?, last, way })
    }
}

/// What was told.
pub(super) enum Told {
    Changes(Listing, BTreeMap<u32, Entry>),
    /// It cannot be relied on. The folder is open, unless the server did not take how it was asked.
    Nothing(Option<Arc<Examined>>),
}

/// Asks for what changed, in one round trip where nothing went and not much came.
pub(super) async fn changes(
    session: &Session,
    folder: &Folder<'_>,
    since: &Since<'_>,
    asked: Asked,
    turn: Option<&mut Turn<'_>>,
) -> Result<Told> {
    let Asked { then, uid_validity, last, way } = asked;
    let items = items(session, turn.is_some());
    let changed = if turn.is_some() { items } else { "(UID FLAGS)" };
    let mut resynced = Changed::default();
    let mut options = SelectOptions { condstore: session.capabilities().has("CONDSTORE"), qresync: None };
    let mut way = way;
    if way == Way::Resync {
        if walk::resync_enabled(session).await? && last > 0 {
            let known = UidSet::range(1, last);
            options.qresync = Some(Resync { uid_validity, modseq: then.modseq, known });
        } else {
            way = Way::ChangedSince;
        }
    }
    // What is likely to be wanted is asked for at once; what came is little if the list of folders said so.
    let came = folder.counters.map_or(0, |c| c.next.saturating_sub(then.next));
    let guessed = came > 0 && came <= u64::from(folder.window);
    let ask_flags =
        way == Way::ChangedSince && last > 0 && folder.counters.is_none_or(|c| c.modseq != then.modseq);
    let also: UidSet = since.also.iter().filter_map(|n| u32::try_from(*n).ok()).collect();
    let known = UidSet::range(1, last.max(1));
    let fresh = UidSet::range(last + 1, u32::MAX);
    let (mut flags, mut asked_for, mut new) =
        (Window::new(1, last.max(1)), Window::new(1, u32::MAX), Window::new(last + 1, u32::MAX));
    let (opened, flags_done, also_done, new_done) = join4(
        session.open(folder.name, Access::ReadOnly, &options, &mut resynced),
        OptionFuture::from(
            ask_flags.then(|| session.uid_fetch_since(&known, changed, then.modseq, false, &mut flags)),
        ),
        OptionFuture::from((!also.is_empty()).then(|| session.uid_fetch(&also, items, &mut asked_for))),
        OptionFuture::from(guessed.then(|| session.uid_fetch(&fresh, items, &mut new))),
    )
    .await;
    let examined = match opened {
        Ok(examined) => examined,
        // Some offer QRESYNC and do not take it.
        Err(_) if options.qresync.is_some() && !session.is_broken() => return Ok(Told::Nothing(None)),
        Err(error) => return Err(error),
    };
    let mut complete = !resynced.unreadable;
    for (done, window) in [(flags_done, &flags), (also_done, &asked_for), (new_done, &new)] {
        if let Some(done) = done {
            complete &= heeded(done)?.ok() && window.is_complete();
        }
    }
    complete &= resynced.entries.values().chain(flags.entries.values()).all(|e| e.flags_told);
    if [&flags, &asked_for, &new].iter().any(|window| window.saw_expunges()) {
        return Ok(Told::Nothing(None)); // the count it was opened with is over
    }
    let next = examined.uid_next;
    let modseq_kept = way == Way::CountsOnly || (!examined.no_modseq && examined.modseq >= then.modseq);
    let same = examined.uid_validity == uid_validity && next > last && modseq_kept;
    if !same || !complete {
        return Ok(Told::Nothing(Some(examined)));
    }
    let mut entries = resynced.entries;
    entries.retain(|uid, _| *uid <= last);
    for (uid, entry) in flags.entries {
        entries.insert(uid, entry);
    }
    // What came after the folder was opened is the next pass's.
    let mut fresh: BTreeMap<u32, Entry> = new.entries;
    fresh.retain(|uid, _| *uid < next);
    let walked = !guessed && next > last + 1;
    if walked {
        let mut walk = Walk::from(last + 1, &examined, folder.window, items);
        while let Some((from, to)) = walk.next_range() {
            let some = walk.window(session, from, to).await?;
            walk.found(some.len());
            fresh.extend(some);
        }
    }
    let mut vanished = match way {
        Way::Resync => resynced.vanished,
        Way::ChangedSince | Way::CountsOnly => {
            let should = then.messages + fresh.len() as u64;
            match should.checked_sub(u64::from(examined.exists)) {
                Some(0) => RunSet::default(),
                Some(_) => match gone(session, &examined, last).await? {
                    Some(gone) => gone,
                    None => return Ok(Told::Nothing(Some(examined))),
                },
                None => return Ok(Told::Nothing(Some(examined))),
            }
        }
    };
    entries.extend(fresh);
    entries.extend(asked_for.entries);
    let mut contested = false;
    if let Some(turn) = turn {
        turn.ask_named(session, folder.window, entries.values()).await?;
        let told = std::mem::take(&mut entries);
        for (uid, entry) in told {
            match turn.claim(entry) {
                Some(entry) => drop(entries.insert(uid, entry)),
                None => vanished.insert(u64::from(uid), u64::from(uid)),
            }
        }
        contested = turn.is_contested();
    }
    let extent = Extent::Changes { vanished, stale_flags: way == Way::CountsOnly };
    let mut listing = listing(&examined, extent)?;
    if contested {
        listing.modseq = 0;
    }
    Ok(Told::Changes(listing, entries))
}

/// The UIDs up to `last` that are not there. `None`: the server could only tell them in one unbounded answer.
async fn gone(session: &Session, examined: &Examined, last: u32) -> Result<Option<RunSet>> {
    if last == 0 {
        return Ok(Some(RunSet::default()));
    }
    if !session.capabilities().has("ESEARCH") && examined.exists > SEARCHED {
        return Ok(None);
    }
    let there = session.uid_search(&UidSet::range(1, last), "ALL").await?;
    let mut gone = RunSet::default();
    let mut from = 1u64;
    for (first, end) in there.all.ranges() {
        gone.insert(from, u64::from(*first).saturating_sub(1).min(u64::from(last)));
        from = u64::from(*end) + 1;
    }
    gone.insert(from, u64::from(last));
    Ok(Some(gone))
}

/// What is told of changes when a folder is opened (RFC 7162 §3.2.5).
#[derive(Default)]
struct Changed {
    vanished: RunSet,
    entries: BTreeMap<u32, Entry>,
    unreadable: bool,
}

impl Receiver for Changed {
    fn untagged(&mut self, response: Untagged) {
        match response {
            Untagged::Vanished { earlier: true, set } => {
                set.ranges().iter().for_each(|(a, b)| self.vanished.insert(u64::from(*a), u64::from(*b)));
            }
            Untagged::Fetch(items) => match items.uid {
                Some(uid) => self.entries.entry(uid).or_default().learn(*items),
                None => self.unreadable = true,
            },
            Untagged::Unreadable("FETCH" | "VANISHED") => self.unreadable = true,
            _ => {}
        }
    }
}

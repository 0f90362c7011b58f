//! A folder's messages: EXAMINE, then UID FETCH of windows of UIDs; or only what changed ([`changes`](super::changes)).

use std::sync::Arc;

use super::changes::{Asked, Told, changes};
use super::labels::{self, Turn};
use super::walk::{self, Entry, Walk, Window};
use crate::imap::{Done, Examined, Session, UidSet, WireError};
use crate::model::{Error, Kind, Listed, Result, Scope, SourceId};
use crate::source::{Counters, Extent, Listing, Since};

/// A folder to list.
pub(super) struct Folder<'a> {
    /// Its name on the wire.
    pub name: &'a [u8],
    /// What the list of folders told of it.
    pub counters: Option<Counters>,
    /// About so many messages are asked for in a command.
    pub window: u32,
}

/// Lists a folder, ascending: what changed since, if that can be proven, else all of it. `turn`: it is a view.
pub(super) async fn list(
    session: &Session,
    folder: &Folder<'_>,
    since: Option<&Since<'_>>,
    turn: Option<Turn<'_>>,
    sink: &mut (dyn FnMut(Listed) + Send),
) -> Result<Listing> {
    let mut turn = turn;
    let mut examined = None;
    if let Some(since) = since
        && let Some(asked) = Asked::new(session, folder, since, turn.is_some())
    {
        match changes(session, folder, since, asked, turn.as_mut()).await? {
            Told::Changes(listing, entries) => {
                entries.into_iter().for_each(|(uid, entry)| sink(listed(uid, entry)));
                return Ok(listing);
            }
            Told::Nothing(opened) => examined = opened,
        }
    }
    whole(session, folder, examined, turn, sink).await
}

/// What is asked of each message.
pub(super) fn items(session: &Session, view: bool) -> &'static str {
    if view { labels::ITEMS } else { walk::items(session) }
}

fn listed(uid: u32, entry: Entry) -> Listed {
    Listed {
        id: SourceId::Number(u64::from(uid)),
        size: entry.size,
        received: entry.received,
        flags: entry.flags,
        object: entry.object,
    }
}

pub(super) fn listing(examined: &Examined, extent: Extent) -> Result<Listing> {
    if examined.uid_validity == 0 {
        return Err(Error::new(
            Kind::Protocol,
            Scope::Folder,
            "the server gives this folder no UIDVALIDITY, so its messages cannot be named",
        )
        .remedy("let the server's operator repair the folder's index"));
    }
    Ok(Listing {
        epoch: u64::from(examined.uid_validity),
        next: u64::from(examined.uid_next),
        modseq: if examined.no_modseq { 0 } else { examined.modseq },
        messages: u64::from(examined.exists),
        extent,
    })
}

/// Lists all of it.
async fn whole(
    session: &Session,
    folder: &Folder<'_>,
    examined: Option<Arc<Examined>>,
    mut turn: Option<Turn<'_>>,
    sink: &mut (dyn FnMut(Listed) + Send),
) -> Result<Listing> {
    let items = items(session, turn.is_some());
    let asked_elsewhere = match &mut turn {
        Some(turn) => turn.ask_earlier(session, folder.window).await?,
        None => false,
    };
    let examined = examined.filter(|_| !asked_elsewhere);
    let mut tell = |uid: u32, entry: Entry| {
        let ours = match &mut turn {
            Some(turn) => turn.claim(entry),
            None => Some(entry),
        };
        if let Some(entry) = ours {
            sink(listed(uid, entry));
        }
    };
    // A small folder takes one round trip: its messages are asked for while it is being opened.
    let guess = folder.counters.filter(|c| examined.is_none() && c.messages <= u64::from(folder.window));
    let guess = guess.and_then(|c| u32::try_from(c.next.saturating_sub(1)).ok()).filter(|last| *last > 0);
    let (examined, mut first) = match (examined, guess) {
        (Some(examined), _) => (examined, None),
        (None, None) => (session.examine(folder.name).await?, None),
        (None, Some(last)) => {
            let mut window = Window::new(1, last);
            let set = UidSet::range(1, last);
            let fetch = session.uid_fetch(&set, items, &mut window);
            let (examined, done) = futures_util::join!(session.examine(folder.name), fetch);
            let examined = examined?;
            let complete = heeded(done)?.ok() && window.is_complete();
            (examined, complete.then_some((last, window)))
        }
    };
    let mut listing = listing(&examined, Extent::Whole)?;
    let mut walk = Walk::new(&examined, folder.window, items);
    while examined.exists > 0
        && let Some((from, to)) = walk.next_range()
    {
        let entries = match first.take() {
            Some((last, window)) if (from, to) == (1, last) => walk.take(window),
            _ => walk.window(session, from, to).await?,
        };
        walk.found(entries.len());
        entries.into_iter().for_each(|(uid, entry)| tell(uid, entry));
    }
    if walk.is_short() {
        walk.noop(session).await?; // expunges are often told only now
    }
    if walk.is_short() && walk.last < u32::MAX {
        // A wrong UIDNEXT hides messages: look beyond it.
        let entries = walk.window(session, walk.last + 1, u32::MAX).await?;
        walk.found(entries.len());
        for (uid, entry) in entries {
            listing.next = listing.next.max(u64::from(uid) + 1);
            tell(uid, entry);
        }
    }
    if walk.is_short() {
        return Err(Error::temporary(
            Kind::Protocol,
            Scope::Folder,
            format!(
                "the server says the folder holds {} messages but lists only {}",
                examined.exists, walk.listed
            ),
        )
        .remedy("let the server's operator repair the folder's index"));
    }
    if let Some(turn) = &mut turn {
        turn.is_whole();
        if turn.is_contested() {
            listing.modseq = 0;
        }
    }
    Ok(listing)
}

/// How a command ended that was only a guess: its refusal means no more than that it is asked again, unless the server
/// says how long it wants to be left alone.
pub(super) fn heeded(done: Result<Done, WireError>) -> Result<Done> {
    let done = done.map_err(WireError::into_error)?;
    if done.backoff.is_some() {
        return Err(done.refusal(Scope::Mailbox, "listing a folder"));
    }
    Ok(done)
}

#[cfg(test)]
mod tests;

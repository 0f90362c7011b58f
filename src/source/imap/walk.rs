//! Windows of UIDs: a folder is listed piece by piece, whatever its size.

use std::collections::BTreeMap;

use crate::imap::{Command, Done, Examined, FetchItems, Receiver, Session, UidSet, Untagged, WireError};
use crate::model::{Digest, Error, Flags, Kind, Result, Scope, Timestamp};

/// Times a window is asked for again when the server says that messages vanished under it.
const TRIES: u32 = 3;

/// What is asked of each message: with an id that names it wherever it lies in the mailbox, where there is one.
pub(super) fn items(session: &Session) -> &'static str {
    let offer = session.capabilities();
    if offer.has("OBJECTID") {
        "(UID FLAGS INTERNALDATE RFC822.SIZE EMAILID)"
    } else if offer.has("X-GM-EXT-1") {
        "(UID FLAGS INTERNALDATE RFC822.SIZE X-GM-MSGID)"
    } else {
        "(UID FLAGS INTERNALDATE RFC822.SIZE)"
    }
}

/// Is QRESYNC turned on, now or before? It can be only while no folder is open (RFC 5161 §3.1).
pub(super) async fn resync_enabled(session: &Session) -> Result<bool> {
    if session.has_enabled("QRESYNC") {
        return Ok(true);
    }
    if session.examined().is_some() {
        leave(session).await?;
    }
    session.enable(&["QRESYNC"]).await?;
    Ok(session.has_enabled("QRESYNC"))
}

/// Leaves the folder that is open. It was opened read-only, so that nothing is expunged.
pub(super) async fn leave(session: &Session) -> Result<()> {
    if session.examined().is_none() {
        return Ok(());
    }
    if session.capabilities().has("UNSELECT") {
        return session.unselect().await.map_err(WireError::into_error);
    }
    session.close().await.map(|_| ()).map_err(WireError::into_error)
}

/// What was told of one message.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub size: Option<u64>,
    pub received: Option<Timestamp>,
    pub flags: Flags,
    /// Were its flags told at all?
    pub flags_told: bool,
    pub object: u64,
    /// X-GM-MSGID
    pub gmail_id: Option<u64>,
    /// X-GM-LABELS, as sent.
    pub labels: Option<Vec<String>>,
}

impl Entry {
    /// A change of flags told on the side comes as a second, shorter response.
    pub fn learn(&mut self, items: FetchItems) {
        self.size = items.size.or(self.size);
        self.received = items.received.or(self.received);
        if let Some(flags) = items.flags {
            self.flags = flags;
            self.flags_told = true;
        }
        self.gmail_id = items.gm_msgid.or(self.gmail_id);
        self.labels = items.gm_labels.or(self.labels.take());
        let hashed = items.email_id.map(|id| Digest::of(id.as_bytes()).beginning());
        self.object = self.gmail_id.or(hashed).unwrap_or(self.object);
    }
}

/// The way through the UIDs of a folder. UIDs may be sparse (a folder of ten messages can have UIDNEXT 4 billion), so
/// the width of the windows follows what they hold.
pub(super) struct Walk {
    items: &'static str,
    exists: u64,
    window: u32,
    width: u32,
    /// `None`: done.
    from: Option<u32>,
    /// The last UID there can be.
    pub last: u32,
    /// Messages found.
    pub listed: u64,
    expunged: u64,
}

impl Walk {
    /// Through all of a folder, about `window` messages at a time; `items` are asked of each.
    pub fn new(examined: &Examined, window: u32, items: &'static str) -> Walk {
        Walk::from(1, examined, window, items)
    }

    /// From a UID on.
    pub fn from(first: u32, examined: &Examined, window: u32, items: &'static str) -> Walk {
        let known_end = examined.uid_next > 0;
        let whole = !known_end || examined.exists <= window;
        Walk {
            items,
            exists: u64::from(examined.exists),
            window,
            width: if whole { u32::MAX } else { window },
            from: (examined.uid_next == 0 || examined.uid_next > first).then_some(first),
            last: if known_end { examined.uid_next - 1 } else { u32::MAX },
            listed: 0,
            expunged: 0,
        }
    }

    /// Are there messages that were not told?
    pub fn is_short(&self) -> bool {
        self.listed + self.expunged < self.exists
    }

    /// The next window, both ends included.
    pub fn next_range(&mut self) -> Option<(u32, u32)> {
        let from = self.from?;
        let to = from.saturating_add(self.width - 1).min(self.last);
        self.from = to.checked_add(1).filter(|next| *next <= self.last);
        Some((from, to))
    }

    /// A window held so many messages.
    pub fn found(&mut self, found: usize) {
        self.listed += found as u64;
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        if found == 0 {
            self.width = self.width.saturating_mul(16);
        } else if found < self.window / 2 {
            self.width = self.width.saturating_mul(2);
        } else if found > self.window {
            self.width = (self.width / 2).max(self.window);
        }
    }

    /// Takes over a window that was asked for before.
    pub fn take(&mut self, window: Window) -> BTreeMap<u32, Entry> {
        self.expunged += window.expunged;
        window.entries
    }

    /// Lets the server tell what was expunged.
    pub async fn noop(&mut self, session: &Session) -> Result<()> {
        let mut expunged = Expunged(&mut self.expunged);
        session.run(Command::new("NOOP"), &mut expunged).await.map(|_| ()).map_err(WireError::into_error)
    }

    /// Asks for a window.
    pub async fn window(&mut self, session: &Session, from: u32, to: u32) -> Result<BTreeMap<u32, Entry>> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut seen = Window::new(from, to);
            let set = UidSet::range(from, to);
            let done: Done =
                session.uid_fetch(&set, self.items, &mut seen).await.map_err(WireError::into_error)?;
            self.expunged += seen.expunged;
            if !done.ok() && done.code.is("EXPUNGEISSUED") && tries < TRIES {
                // Messages vanished under the command; what is left of the window can be listed afresh.
                self.noop(session).await?;
                continue;
            }
            done.check(Scope::Folder, "listing a folder")?;
            if seen.unreadable {
                return Err(Error::temporary(
                    Kind::Protocol,
                    Scope::Folder,
                    "the server lists a message in a way that cannot be read",
                ));
            }
            return Ok(seen.entries);
        }
    }
}

/// Gathers one window.
pub(super) struct Window {
    from: u32,
    to: u32,
    /// What it holds.
    pub entries: BTreeMap<u32, Entry>,
    expunged: u64,
    unreadable: bool,
}

impl Window {
    /// Both ends included.
    pub fn new(from: u32, to: u32) -> Window {
        Window { from, to, entries: BTreeMap::new(), expunged: 0, unreadable: false }
    }

    /// Did the server tell meanwhile that messages went?
    pub fn saw_expunges(&self) -> bool {
        self.expunged > 0
    }

    /// Could all of it be read?
    pub fn is_complete(&self) -> bool {
        !self.unreadable
    }
}

impl Receiver for Window {
    fn untagged(&mut self, response: Untagged) {
        match response {
            Untagged::Fetch(items) => match items.uid {
                Some(uid) if (self.from..=self.to).contains(&uid) => {
                    self.entries.entry(uid).or_default().learn(*items);
                }
                Some(_) => {} // not asked for
                // An answer to our question, as its size shows, about a message we cannot name.
                None => self.unreadable |= items.size.is_some(),
            },
            Untagged::Unreadable("FETCH") => self.unreadable = true,
            other => self.expunged += expunged(&other),
        }
    }
}

/// Counts expunges.
struct Expunged<'a>(&'a mut u64);

impl Receiver for Expunged<'_> {
    fn untagged(&mut self, response: Untagged) {
        *self.0 += expunged(&response);
    }
}

/// How many messages this says were expunged just now. (With QRESYNC turned on, expunges are told as UIDs.)
fn expunged(response: &Untagged) -> u64 {
    match response {
        Untagged::Expunge => 1,
        Untagged::Vanished { earlier: false, set } => set.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(exists: u32, uid_next: u32, per_window: usize) -> Vec<(u32, u32)> {
        let examined = Examined { exists, uid_validity: 1, uid_next, ..Examined::default() };
        let mut walk = Walk::new(&examined, 1000, "");
        let mut ranges = Vec::new();
        while let Some(range) = walk.next_range() {
            ranges.push(range);
            walk.found(per_window);
            assert!(ranges.len() < 10_000);
        }
        ranges
    }

    #[test]
    fn small_folders_take_one_command_and_sparse_ones_few() {
        assert_eq!(ranges(10, 4_000_000_000, 10), [(1, 3_999_999_999)]);
        assert_eq!(ranges(10, 0, 10), [(1, u32::MAX)]);
        assert_eq!(ranges(0, 1, 0), []);
        assert_eq!(ranges(3000, 3001, 1000), [(1, 1000), (1001, 2000), (2001, 3000)]);
        let sparse = ranges(5000, u32::MAX, 0);
        assert!(sparse.len() < 12, "{} windows", sparse.len());
        assert_eq!(sparse.last().map(|r| r.1), Some(u32::MAX - 1));
        assert!(sparse.windows(2).all(|w| w[0].1 + 1 == w[1].0));
    }
}

//! Where messages come from.
//!
//! A [`Source`] is one named endpoint (`[source.NAME]`); a [`SourceMailbox`] is one open mailbox of it. The source
//! side is **never written**: no flag, no expunge, no folder, no `\Seen` (IMAP: EXAMINE and BODY.PEEK only).
//! Every backend passes `tests/it/contract_source.rs`.

pub mod imap;
mod label;
pub mod maildir;
pub mod mbox;
mod shelved;

use async_trait::async_trait;

use crate::limit::LentPlace;
use crate::model::{
    Bodies, Body, Error, Flags, FolderPath, Kind, Listed, Result, RunSet, Scope, SourceId, SpecialUse,
    Timestamp,
};

/// One named source endpoint: knows how to reach mailboxes, holds what they share (sessions, logins, caps).
#[async_trait]
pub trait Source: Send + Sync {
    /// Opens a mailbox by the name the operator gave it in `mailboxes.csv`.
    ///
    /// Promises: no session is held yet beyond what is needed to say whether the mailbox can be reached at all.
    ///
    /// # Errors
    /// [`Scope::Mailbox`](crate::model::Scope) if only this mailbox cannot be opened (wrong password, no such
    /// directory), [`Scope::Endpoint`](crate::model::Scope) if none can (host unreachable, certificate refused).
    async fn open(&self, mailbox: &str) -> Result<Box<dyn SourceMailbox>>;

    /// Waits for a place for one connection of another process that reads from the same host, to be logged in at once. It
    /// counts among this endpoint's own until it is dropped. `None`: there are no connections to count.
    async fn lend(&self) -> Option<LentPlace> {
        None
    }
}

/// What a source can do, measured when the mailbox was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceCapabilities {
    /// Messages are listed as [`SourceId::Name`]; the ledger numbers them.
    pub names: bool,
    /// Folders carry an id that survives a rename (`object_id`).
    pub object_ids: bool,
    /// Listings can tell a header block's digest ([`SourceMailbox::headers`]).
    pub headers: bool,
    /// Fetches that may be under way at once (1–16); more than one only where it saves waiting.
    pub fetches: usize,
    /// Folders are views of one store (labels): each lists a part of what it counts, and what it lists can change
    /// without a number being given out. [`SourceMailbox::anywhere`] tells whether a message is still in the store.
    pub views: bool,
}

impl SourceCapabilities {
    /// A store that does nothing special.
    pub const PLAIN: SourceCapabilities =
        SourceCapabilities { names: false, object_ids: false, headers: false, fetches: 1, views: false };
}

/// A folder as the source lists it.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceFolder {
    /// Its place, decoded.
    pub path: FolderPath,
    /// Its role, if the source tells (or it is the inbox).
    pub special: Option<SpecialUse>,
    /// `false`: a container only (`\NoSelect`); it is never turned into a mail folder.
    pub selectable: bool,
    /// Its owner subscribed to it, if the source tells.
    pub subscribed: Option<bool>,
    /// An id that survives renames, if the source has one.
    pub object_id: Option<String>,
    /// The backend's own handle (wire name, directory); opaque to everyone else.
    pub handle: String,
    /// What the source told of its messages along with the list of folders, if it did: where that is what the last
    /// complete listing told, the folder need not be listed.
    pub counters: Option<Counters>,
}

/// What a source tells of a folder without listing it (STATUS, RFC 3501 §6.3.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// UIDVALIDITY.
    pub epoch: u64,
    /// UIDNEXT; 0 if unknown.
    pub next: u64,
    /// Messages in it.
    pub messages: u64,
    /// HIGHESTMODSEQ; 0 if unknown. Without it nothing is said of flags.
    pub modseq: u64,
}

impl std::fmt::Debug for SourceFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceFolder").field("path", &self.path).field("special", &self.special).finish()
    }
}

/// What is known of a folder from its last complete listing: the source may tell only what changed since.
#[derive(Debug, Clone, Copy)]
pub struct Since<'a> {
    /// Its counters then; `messages` are those that were listed.
    pub counters: Counters,
    /// Numbers that are to be listed in any case if they are there, ascending: skipped and open ones.
    pub also: &'a [u64],
    /// Is a proof of additions and expunges enough? If not, flags are walked where no cheaper proof is to be had.
    pub flags_may_be_stale: bool,
}

/// How much a listing told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Extent {
    /// Every message there is.
    #[default]
    Whole,
    /// What came or changed since, and the numbers asked for in `also`. All others are as they were, but for `vanished`.
    Changes {
        /// Numbers that are gone; may name numbers nobody knew.
        vanished: RunSet,
        /// `true`: nothing is said of the flags of messages that were not listed.
        stale_flags: bool,
    },
}

/// What a complete listing proved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// UIDVALIDITY; 0 for stores without epochs. A change means: numbers mean nothing any more.
    pub epoch: u64,
    /// No message below this number will appear later (UIDNEXT); 0 if unknown.
    pub next: u64,
    /// HIGHESTMODSEQ as it was *before* the listing; 0 if unknown.
    pub modseq: u64,
    /// Messages in the folder by the source's count, for the next [`Since`]. Of a view, not only those it lists.
    pub messages: u64,
    /// How much was told.
    pub extent: Extent,
}

/// A message to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The number the ledger knows it by.
    pub number: u64,
    /// The source's own name for it.
    pub id: SourceId,
    /// The size the listing told, in bytes.
    pub size: Option<u64>,
}

/// What came of fetching one message.
#[derive(Debug)]
pub enum Fetched {
    /// Its octets, exactly as the source sent them (plus the backend's declared transform: line ends of files).
    Message {
        /// The octets.
        body: Body,
        /// Flags at the time of the fetch, if the fetch told them; else those of the listing hold.
        flags: Option<Flags>,
        /// The received date, if the fetch told it; else that of the listing holds.
        received: Option<Timestamp>,
    },
    /// It is not there any more (expunged, file gone).
    Gone,
    /// It is there and could not be read; its neighbours are fine. [`Error::may_pass`] tells whether to try again.
    Failed(Error),
}

/// A mailbox's turn to fetch, until it is dropped ([`SourceMailbox::turn`]).
pub type Turn = Option<Box<dyn std::any::Any + Send>>;

/// One open mailbox. Calls are made one at a time, but for [`SourceMailbox::fetch`], of which
/// [`SourceCapabilities::fetches`] may be under way; a session may be given back ([`SourceMailbox::release`]) and is
/// taken again by itself, also in the middle of a folder.
#[async_trait]
pub trait SourceMailbox: Send + Sync {
    /// What this mailbox can do.
    fn capabilities(&self) -> SourceCapabilities;

    /// Lists the folders. Two calls without a change at the source give the same folders in the same order. Two
    /// folders never have the same path; containers without mail (`\NoSelect`) are listed as such.
    ///
    /// # Errors
    /// The listing is complete or an error: never a part of it.
    async fn folders(&self) -> Result<Vec<SourceFolder>>;

    /// Lists a folder's messages, ascending by number (names: in the order they were received, as far as known), into
    /// `sink`. Holds no octets. Awkward truth: messages may come and go while it runs; what it listed may be gone at
    /// the fetch, what came later is found by the next pass.
    ///
    /// `since`: what changed since then is enough, if the source can *prove* that it tells all of it; else it lists
    /// whole. [`Listing::extent`] says which it did.
    ///
    /// # Errors
    /// Complete or an error: a server's NO, BAD or BYE half way is an error, never a short listing.
    async fn list(
        &self,
        folder: &SourceFolder,
        since: Option<&Since<'_>>,
        sink: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<Listing>;

    /// The beginning of the BLAKE3 of each wanted message's header block (all octets up to and with the first blank
    /// line; the whole message if there is none), in order; `None`: not there or not to be told. For matching messages
    /// whose numbers mean nothing any more.
    ///
    /// # Errors
    /// As [`SourceMailbox::fetch`]; `Internal` if [`SourceCapabilities::headers`] is false.
    async fn headers(
        &self,
        _folder: &SourceFolder,
        _epoch: u64,
        _wanted: &[Wanted],
    ) -> Result<Vec<Option<u64>>> {
        Err(Error::new(Kind::Internal, Scope::Mailbox, "this source tells no header digests"))
    }

    /// Fetches a batch. The answer has exactly one entry per wanted message, in the order wanted, whatever order
    /// the source answered in, and whatever else it sent.
    ///
    /// `epoch` is the one the listing told: if the folder has another one by now, the whole call fails with
    /// [`Kind::Conflict`](crate::model::Kind).
    ///
    /// # Errors
    /// The session broke or the folder is gone: nothing of the batch may be used. Temporary errors may be retried as
    /// a whole: a fetch has no effect on the source.
    async fn fetch(
        &self,
        folder: &SourceFolder,
        epoch: u64,
        wanted: &[Wanted],
        bodies: &Bodies,
    ) -> Result<Vec<Fetched>>;

    /// Which of these messages ([`Listed::object`]) are in any folder now? Asked before a copy is removed, where folders
    /// are views: that a view does not list a message any more proves nothing yet. What cannot be told counts as there.
    ///
    /// # Errors
    /// As [`SourceMailbox::list`].
    async fn anywhere(&self, objects: &[u64]) -> Result<Vec<bool>> {
        Ok(vec![true; objects.len()])
    }

    /// Waits until it is this mailbox's turn to fetch: before memory is taken for what it fetches. A source with fewer
    /// connections than open mailboxes lets each go on for a while; else, where all wait for memory in one line, each
    /// fetch would begin with a login. The turn goes on while what this returns is held, until the fetch is over.
    /// Dropping the future leaves nothing behind.
    async fn turn(&self) -> Turn {
        None
    }

    /// Gives the session back to the endpoint (the mailbox is parked). Never fails; the next call takes one again.
    async fn release(&self);

    /// Times the source was waited for since the mailbox was opened (commands sent together count once).
    fn round_trips(&self) -> u64 {
        0
    }
}

//! Where messages come from.
//!
//! A [`Source`] is one named endpoint (`[source.NAME]`); a [`SourceMailbox`] is one open mailbox of it. The source
//! side is **never written**: no flag, no expunge, no folder, no `\Seen` (IMAP: EXAMINE and BODY.PEEK only).
//! Every backend passes `tests/it/contract_source.rs`.

pub mod imap;
pub mod maildir;
pub mod mbox;

use async_trait::async_trait;

use crate::model::{Bodies, Body, Error, Flags, FolderPath, Listed, Result, SourceId, SpecialUse, Timestamp};

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
}

/// What a source can do, measured when the mailbox was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceCapabilities {
    /// Messages are listed as [`SourceId::Name`]; the ledger numbers them.
    pub names: bool,
    /// Folders carry an id that survives a rename (`object_id`).
    pub object_ids: bool,
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
    /// An id that survives renames, if the source has one.
    pub object_id: Option<String>,
    /// The backend's own handle (wire name, directory); opaque to everyone else.
    pub handle: String,
}

impl std::fmt::Debug for SourceFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceFolder").field("path", &self.path).field("special", &self.special).finish()
    }
}

/// What a complete listing proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listing {
    /// UIDVALIDITY; 0 for stores without epochs. A change means: numbers mean nothing any more.
    pub epoch: u64,
    /// No message below this number will appear later (UIDNEXT); 0 if unknown.
    pub next: u64,
    /// HIGHESTMODSEQ as it was *before* the listing; 0 if unknown.
    pub modseq: u64,
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

/// One open mailbox. Calls are made one at a time; a session may be given back ([`SourceMailbox::release`]) and is
/// taken again by itself, also in the middle of a folder.
#[async_trait]
pub trait SourceMailbox: Send {
    /// What this mailbox can do.
    fn capabilities(&self) -> SourceCapabilities;

    /// Lists the folders. Two calls without a change at the source give the same folders in the same order. Two
    /// folders never have the same path; containers without mail (`\NoSelect`) are listed as such.
    ///
    /// # Errors
    /// The listing is complete or an error: never a part of it.
    async fn folders(&mut self) -> Result<Vec<SourceFolder>>;

    /// Lists a folder's messages, ascending by number (names: in the order they were received, as far as known), into
    /// `sink`. Holds no octets. Awkward truth: messages may come and go while it runs; what it listed may be gone at
    /// the fetch, what came later is found by the next pass.
    ///
    /// # Errors
    /// Complete or an error: a server's NO, BAD or BYE half way is an error, never a short listing.
    async fn list(&mut self, folder: &SourceFolder, sink: &mut (dyn FnMut(Listed) + Send))
    -> Result<Listing>;

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
        &mut self,
        folder: &SourceFolder,
        epoch: u64,
        wanted: &[Wanted],
        bodies: &Bodies,
    ) -> Result<Vec<Fetched>>;

    /// Gives the session back to the endpoint (the mailbox is parked). Never fails; the next call takes one again.
    async fn release(&mut self);
}

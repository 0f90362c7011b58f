//! Where messages go.
//!
//! A [`Target`] is one named endpoint (`[target.NAME]`); a [`TargetMailbox`] is one open mailbox of it. The engine
//! branches on [`TargetCapabilities`], never on a backend's name. Every backend passes
//! `tests/it/contract_target.rs`.

pub mod graph;
pub mod maildir;

use std::sync::Arc;

use async_trait::async_trait;

use crate::limit::{Cost, Gate, Ticket};
use crate::model::{
    Body, Error, Flags, FolderPath, Outcome, Result, SpecialUse, Stamp, StampPrefix, Timestamp,
};

/// One named target endpoint.
#[async_trait]
pub trait Target: Send + Sync {
    /// Opens a mailbox by the name the operator gave it, in a place of it (`""`: the root; else a root folder that is
    /// made if missing). Creates nothing else. `gate` governs every request made for this mailbox.
    ///
    /// # Errors
    /// [`Scope::Mailbox`](crate::model::Scope) if only this mailbox cannot be opened, `Endpoint` if none can.
    async fn open(&self, mailbox: &str, place: &str, gate: Arc<Gate>) -> Result<Arc<dyn TargetMailbox>>;
}

/// What a target can do with a mailbox, measured at open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetCapabilities {
    /// Copies carry the stamp and can be found by it ([`TargetMailbox::find`]).
    pub stamps: bool,
    /// Octets read back equal octets stored.
    pub keeps_octets: bool,
    /// The received date can be given.
    pub keeps_received: bool,
    /// Keywords can be kept (as keywords or categories).
    pub keeps_keywords: bool,
    /// Messages can be moved between folders without a new copy.
    pub moves: bool,
    /// Largest message taken, in bytes; larger ones are skipped before they are fetched.
    pub max_message_bytes: u64,
    /// How many stores at once serve this mailbox (1–64).
    pub lanes: usize,
    /// Largest batch worth handing over at once, in messages and bytes.
    pub batch_messages: usize,
    /// See `batch_messages`.
    pub batch_bytes: u64,
}

/// The target's own id of a folder; opaque.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TargetFolderId(pub String);

/// A folder that must exist at the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderWanted {
    /// Its place at the source; the target maps names it cannot hold, injectively.
    pub path: FolderPath,
    /// Its role; a target that has such a folder uses it.
    pub special: Option<SpecialUse>,
}

/// A message to store.
#[derive(Debug, Clone)]
pub struct StoreItem {
    /// The stamp the copy must carry.
    pub stamp: Stamp,
    /// The octets.
    pub body: Body,
    /// The flags.
    pub flags: Flags,
    /// The received date; a target uses the message's `Date` or, failing that, 1970 if there is none, never "now"
    /// silently.
    pub received: Option<Timestamp>,
}

/// A copy found at the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The stamp it carries.
    pub stamp: Stamp,
    /// The target's id of it.
    pub id: String,
    /// Where it lies now.
    pub folder: TargetFolderId,
    /// `false`: a store of several requests was cut; this is not a copy yet.
    pub complete: bool,
    /// Its flags now, as far as the target can tell them.
    pub flags: Flags,
    /// When the target made it, in milliseconds since 1970; 0 if unknown.
    pub made: i64,
}

/// One open mailbox at the target. Calls may be made at once from many tasks. Every request passes the gate it was
/// opened with. A call is never cancelled by dropping its future: the engine runs stores in tasks of their own.
#[async_trait]
pub trait TargetMailbox: Send + Sync {
    /// What this mailbox can do.
    fn capabilities(&self) -> &TargetCapabilities;

    /// An id of the mailbox itself that changes when it is made anew (re-provisioned): kept in the ledger and
    /// compared at each pass start.
    fn identity(&self) -> &str;

    /// What storing messages of these sizes (bytes) will cost, for the reservation made before they are fetched.
    fn cost(&self, sizes: &[u64]) -> Cost;

    /// Finds or creates a folder, and those above it. Idempotent: an existing one (also one made a moment ago by a
    /// call whose answer was lost) is returned. Names the target cannot hold are mapped injectively and the same
    /// way each time.
    ///
    /// # Errors
    /// [`Scope::Folder`](crate::model::Scope) if only this folder cannot be had.
    async fn folder(&self, wanted: &FolderWanted) -> Result<TargetFolderId>;

    /// Gives a folder a new place. Idempotent.
    ///
    /// # Errors
    /// As [`TargetMailbox::folder`]; `Conflict` if the place is taken by another folder.
    async fn rename_folder(&self, folder: &TargetFolderId, to: &FolderWanted) -> Result<()>;

    /// Stores messages. The answer has **exactly one outcome per message, in order**. A store of several requests
    /// carries its stamp as *open* until its last request: a cut leaves something [`Copy::complete`] tells apart.
    /// Retries inside are allowed only after *not sent*. Throttled stores are `NotSent` with the server's wait in
    /// the error. `ticket` is what was reserved; unspent parts return when it is dropped.
    async fn store(&self, folder: &TargetFolderId, items: Vec<StoreItem>, ticket: Ticket) -> Vec<Outcome>;

    /// Every copy whose stamp begins with `prefix`, wherever in the mailbox it lies, incomplete ones too.
    /// Recoverably deleted ones are not told. Awkward truth: a store whose answer was lost may become visible later.
    ///
    /// # Errors
    /// Complete or an error; `Internal` if [`TargetCapabilities::stamps`] is false.
    async fn find(&self, prefix: &StampPrefix) -> Result<Vec<Copy>>;

    /// Sets flags of copies; one result per copy, in order. `NotFound` if it is gone.
    async fn set_flags(&self, changes: &[(String, Flags)]) -> Vec<Result<()>>;

    /// Moves copies into a folder; one result per copy: its id from now on. `NotFound` if it is gone. Moving what is
    /// there already succeeds.
    async fn relocate(&self, ids: &[String], to: &TargetFolderId) -> Vec<Result<String>>;

    /// Removes copies, recoverably where the target can; one result per copy. Removing what is gone succeeds.
    async fn remove(&self, ids: &[String]) -> Vec<Result<(), Error>>;
}

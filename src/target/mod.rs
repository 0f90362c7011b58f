//! Where messages go.
//!
//! A [`Target`] is one named endpoint (`[target.NAME]`); a [`TargetMailbox`] is one open mailbox of it. The engine
//! branches on [`TargetCapabilities`], never on a backend's name. Every backend passes
//! `tests/it/contract_target.rs`.

mod dated;
pub mod ews;
pub mod graph;
mod ids;
pub mod imap;
pub mod maildir;
mod probe;
mod roles;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::limit::{Cost, Gate, Ticket};
use crate::model::{
    Body, Digest, Error, Flags, FolderPath, Form, Kind, Outcome, Result, Scope, SpecialUse, Stamp,
    StampPrefix, Timestamp,
};

pub use ids::CopyIds;
pub use probe::{Probe, Room, Told};

/// One named target endpoint.
#[async_trait]
pub trait Target: Send + Sync {
    /// Opens a mailbox by the name the operator gave it, in a place of it (`""`: the root; else a root folder that is
    /// made if missing). Creates nothing else. `gate` governs every request made for this mailbox.
    ///
    /// # Errors
    /// [`Scope::Mailbox`](crate::model::Scope) if only this mailbox cannot be opened, `Endpoint` if none can.
    async fn open(&self, mailbox: &str, place: &str, gate: Arc<Gate>) -> Result<Arc<dyn TargetMailbox>>;

    /// As [`Target::open`], for a mailbox of which copies are on record. A target that answers several questions at once may
    /// ask now for what [`TargetMailbox::census`] will be asked.
    ///
    /// # Errors
    /// As [`Target::open`].
    async fn reopen(
        &self,
        mailbox: &str,
        place: &str,
        gate: Arc<Gate>,
        _known: &OnRecord,
    ) -> Result<Arc<dyn TargetMailbox>> {
        self.open(mailbox, place, gate).await
    }

    /// Asks what can be told of a mailbox and of our rights to it. Changes nothing more than [`Target::open`] does.
    async fn probe(&self, mailbox: &str, gate: Arc<Gate>) -> Probe {
        match self.open(mailbox, "", gate).await {
            Ok(open) => {
                let probe = Probe::open(open.capabilities().max_message_bytes);
                open.release().await;
                probe
            }
            Err(error) => Probe::closed(error),
        }
    }
}

/// What the ledger has on record of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnRecord {
    /// The beginning of all its stamps.
    pub stamps: StampPrefix,
    /// Folders that copies were put into.
    pub folders: Vec<TargetFolderId>,
    /// Live copies. `None`: they will not be asked for, or not only to be counted.
    pub copies: Option<u64>,
}

/// What a target can do with a mailbox, measured at open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetCapabilities {
    /// Copies carry the stamp and can be found by it ([`TargetMailbox::find`]). Where they do not, the ledger alone
    /// knows which copy is whose: by id ([`TargetMailbox::look`]), and an unknown outcome is resolved by the octets that
    /// came after an anchor ([`TargetMailbox::anchor`], [`TargetMailbox::stored_since`]).
    pub stamps: bool,
    /// Octets read back equal octets stored.
    pub keeps_octets: bool,
    /// The received date can be given.
    pub keeps_received: bool,
    /// Keywords can be kept (as keywords or categories).
    pub keeps_keywords: bool,
    /// Messages can be moved between folders without a new copy.
    pub moves: bool,
    /// Items are taken as opaque streams too ([`Form::Stream`]).
    pub streams: bool,
    /// Largest message taken, in bytes; larger ones are skipped before they are fetched.
    pub max_message_bytes: u64,
    /// How many stores at once serve this mailbox (1–64).
    pub lanes: usize,
    /// Largest batch worth handing over at once, in messages and bytes.
    pub batch_messages: usize,
    /// See `batch_messages`.
    pub batch_bytes: u64,
    /// What was on its way when a connection broke is there after this time, or will hardly ever be. `run.settle` waits
    /// no longer; what comes later still is found by the sweep.
    pub settles_within: Duration,
}

/// The target's own id of a folder; opaque.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TargetFolderId(pub String);

/// Names one copy: where it lies, and its id there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CopyRef {
    /// Where it lies.
    pub folder: TargetFolderId,
    /// The target's id of it.
    pub id: String,
}

/// A message of the target that was not there at the time of an anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The target's id of it.
    pub id: String,
    /// BLAKE3 of its octets as they are there.
    pub digest: Digest,
    /// Its octets, in bytes.
    pub size: u64,
    /// The beginning of the BLAKE3 of its `Message-ID` field's text; 0 if it has none.
    pub message_id: u64,
    /// Its received date.
    pub received: Option<Timestamp>,
    /// Its flags.
    pub flags: Flags,
}

/// A folder that must exist at the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderWanted {
    /// Its place at the source; the target maps names it cannot hold, injectively.
    pub path: FolderPath,
    /// Its role; a target that has such a folder uses it.
    pub special: Option<SpecialUse>,
    /// Is it subscribed to at the source, if that is known?
    pub subscribed: Option<bool>,
}

/// A message to store.
#[derive(Debug, Clone)]
pub struct StoreItem {
    /// The stamp the copy must carry.
    pub stamp: Stamp,
    /// The octets.
    pub body: Body,
    /// What they are. A target takes [`Form::Stream`] only where [`TargetCapabilities::streams`] says so; what it does
    /// not take it refuses, message by message.
    pub form: Form,
    /// The flags.
    pub flags: Flags,
    /// The received date; a target uses the message's `Date` or, failing that, 1970 if there is none, never "now"
    /// silently.
    pub received: Option<Timestamp>,
}

/// A copy as its target gives it back.
#[derive(Debug, Clone)]
pub struct ReadBack {
    /// Its octets. A target that rebuilds messages gives what it rebuilt.
    pub octets: Bytes,
    /// Its received date.
    pub received: Option<Timestamp>,
    /// Its flags, as far as the target can tell them.
    pub flags: Flags,
}

/// An item as its store exported it.
#[derive(Debug, Clone)]
pub struct Exported {
    /// Its message class.
    pub class: String,
    /// The opaque stream.
    pub octets: Bytes,
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

impl Copy {
    /// Names it.
    pub fn to_ref(&self) -> CopyRef {
        CopyRef { folder: self.folder.clone(), id: self.id.clone() }
    }
}

fn anchored() -> Error {
    Error::new(Kind::Internal, Scope::Mailbox, "this target finds its copies by stamp, not by anchor")
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

    /// Memory that the requests take beside the octets they are made of, in bytes, for messages of these sizes (bytes)
    /// stored as one batch. 0: octets go as they are, in pieces.
    fn building(&self, _sizes: &[u64]) -> u64 {
        0
    }

    /// Finds or creates a folder, and those above it. Idempotent: an existing one (also one made a moment ago by a
    /// call whose answer was lost) is returned. Names the target cannot hold are mapped injectively and the same
    /// way each time.
    ///
    /// # Errors
    /// [`Scope::Folder`](crate::model::Scope) if only this folder cannot be had.
    async fn folder(&self, wanted: &FolderWanted) -> Result<TargetFolderId>;

    /// These folders will be asked for soon: a target that finds or makes several faster than one by one does so now.
    ///
    /// # Errors
    /// What cannot be had is told again when it is asked for.
    async fn expect(&self, _wanted: &[FolderWanted]) -> Result<()> {
        Ok(())
    }

    /// Gives a folder a new place; returns its id from now on (its copies keep theirs). Idempotent.
    ///
    /// # Errors
    /// As [`TargetMailbox::folder`]; `Conflict` if the place is taken by another folder.
    async fn rename_folder(&self, folder: &TargetFolderId, to: &FolderWanted) -> Result<TargetFolderId>;

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

    /// As [`TargetMailbox::find`], to count copies at the end of a pass. Where nothing was done to a copy through this mailbox
    /// since it was opened, what was told then may be told again, once.
    ///
    /// # Errors
    /// As [`TargetMailbox::find`].
    async fn census(&self, prefix: &StampPrefix) -> Result<Vec<Copy>> {
        self.find(prefix).await
    }

    /// As [`TargetMailbox::find`] for several prefixes, none of which covers another; a target that answers several
    /// questions at once does so.
    ///
    /// # Errors
    /// As [`TargetMailbox::find`].
    async fn find_each(&self, prefixes: &[StampPrefix]) -> Result<Vec<Copy>> {
        let mut copies = Vec::new();
        for prefix in prefixes {
            copies.extend(self.find(prefix).await?);
        }
        Ok(copies)
    }

    /// An anchor: everything stored in the folder later than now comes after it. Opaque, kept in the ledger with each
    /// intent. May be older than now (what is on record is known by id). Empty where copies carry stamps.
    ///
    /// # Errors
    /// `Folder` if the folder is gone.
    async fn anchor(&self, _folder: &TargetFolderId) -> Result<String> {
        Ok(String::new())
    }

    /// Every message that came into the folder after the anchor and is not among the `known` ids, read back. A mark
    /// ([`TargetMailbox::marks`]) is an anchor too; an empty one asks for everything in the folder. Complete or an error.
    ///
    /// # Errors
    /// `Conflict` if the anchor means nothing any more (the folder was numbered anew), `Folder` with `NotFound` if the
    /// folder is gone; `Internal` if [`TargetCapabilities::stamps`] is true.
    async fn stored_since(
        &self,
        _folder: &TargetFolderId,
        _anchor: &str,
        _known: &CopyIds,
    ) -> Result<Vec<Arrival>> {
        Err(anchored())
    }

    /// Looks at copies by id: the flags they have now, `None` for those that are not there (or whose folder is not). In
    /// order.
    ///
    /// # Errors
    /// Complete or an error. `Conflict` if all of these ids are of one folder and none of them means anything any more:
    /// it was numbered anew. `Internal` if [`TargetCapabilities::stamps`] is true.
    async fn look(&self, _copies: &[CopyRef]) -> Result<Vec<Option<Flags>>> {
        Err(anchored())
    }

    /// Reads a copy back, whole: for canaries.
    ///
    /// # Errors
    /// `NotFound` if it is not there; `TooLarge` if it is larger than is held in memory; `Internal` where the target has no
    /// way of reading.
    async fn read_back(&self, _copy: &CopyRef) -> Result<ReadBack> {
        Err(Error::new(Kind::Internal, Scope::Mailbox, "this target cannot be read back"))
    }

    /// Exports a copy as an opaque stream: for canaries.
    ///
    /// # Errors
    /// `NotFound` if it is not there; `TooLarge` if it is larger than is held in memory; `Internal` where the target exports
    /// nothing.
    async fn export(&self, _copy: &CopyRef) -> Result<Exported> {
        Err(Error::new(Kind::Internal, Scope::Mailbox, "this target exports nothing"))
    }

    /// A mark of each folder that changes whenever a message comes into it, leaves it or changes in it. A folder whose
    /// mark did not change holds what it held. Folders without a trustworthy mark are left out.
    ///
    /// # Errors
    /// Complete or an error.
    async fn marks(&self) -> Result<BTreeMap<TargetFolderId, String>> {
        Ok(BTreeMap::new())
    }

    /// Sets flags of copies; one result per copy, in order. `NotFound` if it is gone.
    async fn set_flags(&self, changes: &[(CopyRef, Flags)]) -> Vec<Result<()>>;

    /// Moves copies into a folder; one result per copy: its id from now on. `NotFound` if it is gone. Moving what is
    /// there already succeeds.
    async fn relocate(&self, copies: &[CopyRef], to: &TargetFolderId) -> Vec<Result<String>>;

    /// Removes copies, recoverably where the target can; one result per copy. Removing what is gone succeeds.
    async fn remove(&self, copies: &[CopyRef]) -> Vec<Result<(), Error>>;

    /// Times the target was waited for since the mailbox was opened (requests sent together count once).
    fn round_trips(&self) -> u64 {
        0
    }

    /// Ends the mailbox's sessions politely. Never fails.
    async fn release(&self) {}
}

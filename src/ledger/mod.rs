//! The durable record of intent and outcome.
//!
//! The order is the promise: an **intent** is durable before its batch is fetched; facts are durable before the
//! outcome that refers to them; an outcome is durable before anything is built on it. Every change takes a
//! [`Claim`] and is refused, in the same transaction, if a newer fence exists. Every backend passes
//! `tests/it/contract_ledger.rs`. No SQL type leaves this module.

mod facts;
pub mod sqlite;
mod squeeze;

use std::collections::BTreeMap;

use async_trait::async_trait;

pub use facts::FactsCursor;

use crate::model::{
    Fact, FlagMap, Flags, FolderId, FolderPath, Mailbox, MailboxKey, Result, RunSet, Skip, SourceId,
    SpecialUse, Stamp,
};

/// What an operator does with a damaged ledger.
const RESTORE: &str = "restore the ledger directory from a backup (all of it, copied while nothing ran)";

/// A worker's hold of a mailbox. A claim taken later has a larger fence and makes this one powerless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The mailbox.
    pub mailbox: MailboxKey,
    /// The ledger's own number of the mailbox.
    pub row: i64,
    /// Grows with every claim.
    pub fence: u64,
}

/// The number of an open batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub i64);

/// All that is known of a mailbox but its facts.
#[derive(Debug, Clone, Default)]
pub struct MailboxState {
    /// Identity of the target mailbox the copies are in; `None` before the first pass.
    pub target_identity: Option<String>,
    /// Complete passes so far.
    pub passes: u64,
    /// Copies made with a declared loss, ever since the mailbox was begun.
    pub lossy: u64,
    /// Folders, by id.
    pub folders: Vec<FolderState>,
    /// Batches whose outcome was not recorded: cut by a stop, or unknown.
    pub open: Vec<OpenBatch>,
    /// Stamps that once had an unknown outcome and are still to be looked at for a late twin.
    pub watch: Vec<Watch>,
    /// Messages deliberately not moved.
    pub skips: Vec<(FolderId, Skip)>,
}

/// What is known of a folder.
#[derive(Debug, Clone)]
pub struct FolderState {
    /// Its id, given at first sight.
    pub id: FolderId,
    /// Its place at the source when last seen.
    pub path: FolderPath,
    /// Its role when last seen.
    pub special: Option<SpecialUse>,
    /// Its object id at the source, if it has one.
    pub object_id: Option<String>,
    /// Its epoch (UIDVALIDITY); `done`, `flags` and `live` are of this epoch.
    pub epoch: u64,
    /// The target's id of its counterpart.
    pub target_folder: String,
    /// Numbers that need nothing more: stored, gone, or proven holes.
    pub done: RunSet,
    /// Flags last synced.
    pub flags: FlagMap,
    /// Stored messages of this epoch whose copies are ours to look after.
    pub live: u64,
    /// Stored messages of earlier epochs, not yet bound to new numbers. (A folder that comes back to an epoch keeps
    /// its orphans until they are bound, stored anew or ended.)
    pub orphans: u64,
    /// The next number to give to a named message.
    pub next_number: u64,
    /// HIGHESTMODSEQ before the last complete listing; 0 if unknown.
    pub modseq: u64,
    /// UIDNEXT at the last complete listing; 0 if unknown.
    pub uidnext: u64,
    /// Messages the source counted in it at the last complete listing.
    pub messages: u64,
    /// The target folder's mark when its copies were last counted; empty if it has none.
    pub mark: String,
    /// Not seen at the source in the last complete pass.
    pub missing: bool,
}

#[cfg(test)]
impl FolderState {
    /// A folder of which nothing is on record yet.
    pub(crate) fn blank(id: FolderId, path: FolderPath) -> FolderState {
        FolderState {
            id,
            path,
            special: None,
            object_id: None,
            epoch: 0,
            target_folder: String::new(),
            done: RunSet::default(),
            flags: FlagMap::default(),
            live: 0,
            orphans: 0,
            next_number: 1,
            modseq: 0,
            uidnext: 0,
            messages: 0,
            mark: String::new(),
            missing: false,
        }
    }
}

/// A batch without a recorded outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBatch {
    /// Its number.
    pub id: BatchId,
    /// Its folder.
    pub folder: FolderId,
    /// Its epoch.
    pub epoch: u64,
    /// When the intent was recorded, milliseconds since 1970.
    pub since: i64,
    /// The target folder's anchor then; empty where copies carry stamps.
    pub anchor: String,
    /// Its messages: those not yet resolved.
    pub items: Vec<IntentItem>,
}

/// One message of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentItem {
    /// Its number.
    pub number: u64,
    /// The source's own name for it.
    pub id: SourceId,
    /// The size the listing told.
    pub size: Option<u64>,
}

/// A stamp to be looked at again: an attempt to store it once had an unknown outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// The stamp.
    pub stamp: Stamp,
    /// Where we wrote.
    pub target_folder: String,
    /// When the intent of the attempt was recorded, milliseconds since 1970.
    pub since: i64,
    /// When its outcome was declared unknown, milliseconds since 1970.
    pub until: i64,
    /// The anchor of its intent; empty where copies carry stamps.
    pub anchor: String,
}

/// One stored message of an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What is kept of it.
    pub fact: Fact,
    /// All numbers from here to the fact's own are done by this: the ones before it are proven holes. Equal to the
    /// fact's number if nothing is proven.
    pub from: u64,
    /// The source's flags that were synced with the copy: the base of the next three-way merge.
    pub flags: Flags,
}

/// What became of (part of) a batch. Numbers not named stay open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Stored, with their facts.
    pub stored: Vec<Stored>,
    /// Deliberately not moved.
    pub skipped: Vec<Skip>,
    /// Gone at the source before they could be fetched.
    pub gone: Vec<u64>,
    /// Certainly not stored: they will be tried again under a new intent.
    pub unsent: Vec<u64>,
    /// Unknown: they stay open, and their stamps are watched from now on.
    pub unknown: Vec<(u64, Stamp)>,
    /// Watched too, of messages that the target refused as coming too fast: should it have stored one all the same, its
    /// copy will be a twin.
    pub watched: Vec<Stamp>,
}

/// A folder as it is now: recorded at first sight and whenever something of it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderRow {
    /// `None`: give it a new id.
    pub id: Option<FolderId>,
    /// Its place at the source.
    pub path: FolderPath,
    /// Its role.
    pub special: Option<SpecialUse>,
    /// Its object id at the source.
    pub object_id: Option<String>,
    /// Its epoch. Another one than recorded empties `done` and `flags`, turns `live` into `orphans`, and forgets the
    /// folder's skips and positions: they name numbers of the epoch that is over.
    pub epoch: u64,
    /// The target's id of its counterpart.
    pub target_folder: String,
}

/// How a pass ended, for `status` and `report`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PassSummary {
    /// Did it walk everything to the end?
    pub complete: bool,
    /// Messages newly stored.
    pub stored: u64,
    /// Messages already there.
    pub already: u64,
    /// Bytes newly stored (octets at the source).
    pub bytes: u64,
    /// Copies moved, removed, and with changed flags.
    pub moved: u64,
    /// Copies removed because their originals were.
    pub removed: u64,
    /// Copies whose flags were changed.
    pub reflagged: u64,
    /// Messages that were listed and gone from the source before they could be fetched.
    pub gone: u64,
    /// Copies the target holds by its own count, if it was asked.
    pub recounted: Option<u64>,
    /// Times the source and the target were waited for.
    pub source_trips: u64,
    /// See `source_trips`.
    pub target_trips: u64,
    /// `perfect`, `good`, `investigate` or `poor`.
    pub verdict: String,
    /// The reasons of the verdict, one safe line each.
    pub reasons: Vec<String>,
    /// When it began and ended, milliseconds since 1970.
    pub began: i64,
    /// See `began`.
    pub ended: i64,
    /// Messages that were to be stored when it had listed what is there; 0 if it did not come so far.
    pub planned: u64,
    /// Their octets as listed, in bytes.
    pub planned_bytes: u64,
}

/// A mailbox was walked in a pass of its wave: what a resumed wave need not do again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked {
    /// The wave's name.
    pub wave: String,
    /// The number of the wave's pass, from 1.
    pub pass: u64,
    /// Was it the last pass before cutover?
    pub last: bool,
    /// Did the mailbox come to its end? `false`: it failed.
    pub complete: bool,
}

/// A change to what is recorded of a claimed mailbox. Applied whole or not at all.
#[derive(Debug, Clone)]
pub enum Change {
    /// Binds the mailbox to a target mailbox.
    BindTarget {
        /// The target's identity.
        identity: String,
    },
    /// Forgets folders, facts, open batches, watches, skips and passes: the copies are gone and all begins anew,
    /// against this target identity. The fence and the names stay; folder ids are not given again.
    StartOver {
        /// The target's identity.
        identity: String,
    },
    /// A folder, new or changed. Answer: [`Applied::Folder`].
    Folder(FolderRow),
    /// A folder whose id the stamps of its copies tell: for a ledger that is made anew. Without a row the id is only never
    /// given again. Answer: [`Applied::Folder`]. Refused (`Kind::Internal`): an id that is on record.
    FolderGiven {
        /// Its id.
        id: FolderId,
        /// What is known of it; its `id` does not count.
        row: Option<FolderRow>,
    },
    /// A folder was not at the source in a complete pass.
    FolderMissing(FolderId),
    /// A batch is about to be fetched and stored. Answer: [`Applied::Batch`]. Names without a number in `items` do
    /// not occur: [`Ledger::number`] gave them theirs. Refused (`Kind::Internal`): no messages, another epoch than the
    /// folder's, a number that is open already.
    Intent {
        /// Its folder.
        folder: FolderId,
        /// Its epoch.
        epoch: u64,
        /// The target folder's anchor; empty where copies carry stamps.
        anchor: String,
        /// Its messages.
        items: Vec<IntentItem>,
    },
    /// What became of (part of) a batch. Refused (`Kind::Internal`): a number that is not open in the batch, or named
    /// twice. If the folder has another epoch by now, stored messages are recorded as orphans, skipped ones and ones
    /// that are gone just leave the batch.
    Outcome {
        /// The batch.
        batch: BatchId,
        /// What became of it.
        outcomes: Outcomes,
    },
    /// Copies whose originals are gone were removed, or are left alone for good: their facts end.
    Ended {
        /// The folder they were recorded in.
        folder: FolderId,
        /// Their epoch and numbers.
        numbers: Vec<(u64, u64)>,
    },
    /// A message moved at the source: its copy is bound to its new key, its old key ends.
    Moved {
        /// The folder, epoch and number it was recorded under.
        from: (FolderId, u64, u64),
        /// The folder it is in now.
        to: FolderId,
        /// What is kept under the new key; `fact.bound` names the stamp on the copy.
        stored: Stored,
    },
    /// Flags were synced. Numbers without a live copy are passed over.
    FlagsSynced {
        /// The folder.
        folder: FolderId,
        /// Numbers and the flags the copies have now.
        flags: Vec<(u64, Flags)>,
    },
    /// Skipped before they were fetched (too large …), outside any batch.
    Skipped {
        /// The folder.
        folder: FolderId,
        /// Its messages.
        skips: Vec<Skip>,
    },
    /// These watched stamps need no more looking at.
    Unwatch(Vec<Stamp>),
    /// Skipped messages that are no longer at the source, or were stored after all.
    Unskip {
        /// The folder.
        folder: FolderId,
        /// Their numbers.
        numbers: Vec<u64>,
    },
    /// A folder was listed to its end and everything found was handled.
    Position {
        /// The folder.
        folder: FolderId,
        /// UIDNEXT of the listing.
        uidnext: u64,
        /// HIGHESTMODSEQ before the listing.
        modseq: u64,
        /// Messages the source counted in it.
        messages: u64,
    },
    /// The copies in a folder were counted while its counterpart had this mark.
    Marked {
        /// The folder.
        folder: FolderId,
        /// The mark; empty for none.
        mark: String,
    },
    /// A pass ended.
    PassEnded(PassSummary),
    /// The mailbox stopped with an error (one safe line).
    Failed(String),
    /// The mailbox's part of a pass of its wave is over.
    Walked(Walked),
}

/// The answer to a [`Change`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// Nothing to tell.
    Done,
    /// The folder's id.
    Folder(FolderId),
    /// The batch's number.
    Batch(BatchId),
}

/// The ledger, as the engine writes it.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Takes (or takes over) a mailbox: its row is made at first sight, its fence grows by one.
    ///
    /// # Errors
    /// `Kind::Ledger` if the ledger cannot be written. Two mailboxes with one key are refused.
    async fn claim(&self, mailbox: &Mailbox) -> Result<Claim>;

    /// All that is known of the mailbox but its facts.
    ///
    /// # Errors
    /// `Kind::Ledger`: stale claim, or what is stored cannot be read (damaged).
    async fn load(&self, claim: &Claim) -> Result<MailboxState>;

    /// Some of the live facts recorded in a folder, from a cursor on, and where the next ones are; no cursor: these were
    /// the last. What is held at once does not depend on the folder. A walk sees the folder as it was when it began.
    /// Inside a page facts ascend by (epoch, number); pages come in no particular order.
    ///
    /// # Errors
    /// `Kind::Ledger`: stale claim, or the facts log is damaged (its chain does not verify).
    async fn facts_from(
        &self,
        claim: &Claim,
        folder: FolderId,
        from: FactsCursor,
    ) -> Result<(Vec<Fact>, Option<FactsCursor>)>;

    /// The live facts recorded in a folder, of every epoch, ascending by (epoch, number): all of them at once.
    ///
    /// # Errors
    /// As [`Ledger::facts_from`].
    async fn facts(&self, claim: &Claim, folder: FolderId) -> Result<Vec<Fact>> {
        let (mut all, mut from) = (Vec::new(), Some(FactsCursor::default()));
        while let Some(cursor) = from {
            let (facts, next) = self.facts_from(claim, folder, cursor).await?;
            all.extend(facts);
            from = next;
        }
        all.sort_by_key(|fact| (fact.epoch, fact.number));
        Ok(all)
    }

    /// As [`Ledger::facts`], but only those of these numbers of an epoch: what is held at once depends on them, not on
    /// the folder.
    ///
    /// # Errors
    /// As [`Ledger::facts`].
    async fn facts_of(
        &self,
        claim: &Claim,
        folder: FolderId,
        epoch: u64,
        numbers: &RunSet,
    ) -> Result<Vec<Fact>>;

    /// Gives the next `count` numbers of a folder to named messages; returns the first. Gaps are harmless.
    ///
    /// # Errors
    /// `Kind::Ledger`.
    async fn number(&self, claim: &Claim, folder: FolderId, count: u64) -> Result<u64>;

    /// Makes a change. **When it returns, the change is durable** (it survives power loss), and so are the facts it
    /// carries. Changes of one mailbox are applied in the order of their calls.
    ///
    /// # Errors
    /// `Kind::Ledger` with `Scope::Mailbox` for a stale fence, `Scope::Run` if the ledger cannot be written any more:
    /// then nothing may be stored by anyone.
    async fn apply(&self, claim: &Claim, change: Change) -> Result<Applied>;
}

/// One mailbox, as `status` and `report` show it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MailboxLine {
    /// Its pseudonym.
    pub key: String,
    /// Its ordinal in the ledger, from 1.
    pub ordinal: i64,
    /// `new`, `running` (or stopped half way), `complete`, `failed`.
    pub state: String,
    /// Complete passes.
    pub passes: u64,
    /// Live copies recorded.
    pub messages: u64,
    /// Their octets, in bytes.
    pub bytes: u64,
    /// Skipped items.
    pub skipped: u64,
    /// Messages with an open outcome.
    pub unknown: u64,
    /// Copies that lost something we declare.
    #[serde(skip)]
    pub lossy: u64,
    /// The last pass, if one ended.
    #[serde(skip)]
    pub last: Option<PassSummary>,
    /// The error it stopped with, if it did.
    pub error: Option<String>,
}

/// A skipped item with its place, as `report` lists it.
#[derive(Debug, Clone)]
pub struct SkipLine {
    /// The mailbox's pseudonym.
    pub mailbox: String,
    /// The folder's ordinal in the mailbox.
    pub folder: FolderId,
    /// The item.
    pub skip: Skip,
}

/// The ledger, read only: for `status`, `report` and `verify`, also while a run writes it.
pub trait LedgerView: Send {
    /// Every mailbox, by ordinal.
    ///
    /// # Errors
    /// `Kind::Ledger`.
    fn mailboxes(&self) -> Result<Vec<MailboxLine>>;

    /// Every skipped item.
    ///
    /// # Errors
    /// `Kind::Ledger`.
    fn skips(&self) -> Result<Vec<SkipLine>>;

    /// Every mailbox that was walked in a pass of a wave, and the pass it was walked in last.
    ///
    /// # Errors
    /// `Kind::Ledger`.
    fn walked(&self) -> Result<BTreeMap<MailboxKey, Walked>> {
        Ok(BTreeMap::new())
    }

    /// All that is known of a mailbox but its facts; `None` if it is not in the ledger.
    ///
    /// # Errors
    /// `Kind::Ledger`.
    fn state(&self, mailbox: &MailboxKey) -> Result<Option<MailboxState>>;

    /// Some of the live facts of a folder, as [`Ledger::facts_from`].
    ///
    /// # Errors
    /// `Kind::Ledger`.
    fn facts_from(
        &self,
        mailbox: &MailboxKey,
        folder: FolderId,
        from: FactsCursor,
    ) -> Result<(Vec<Fact>, Option<FactsCursor>)>;

    /// Sees every live fact of a folder, in no particular order, a page at a time.
    ///
    /// # Errors
    /// `Kind::Ledger`; some may have been seen before.
    fn each_fact(&self, mailbox: &MailboxKey, folder: FolderId, each: &mut dyn FnMut(Fact)) -> Result<()> {
        let mut from = Some(FactsCursor::default());
        while let Some(cursor) = from {
            let (facts, next) = self.facts_from(mailbox, folder, cursor)?;
            facts.into_iter().for_each(&mut *each);
            from = next;
        }
        Ok(())
    }
}

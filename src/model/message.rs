//! Messages as listed at the source and as recorded after a store.

use super::date::Timestamp;
use super::digest::Digest;
use super::flags::Flags;
use super::mode::WriteMode;
use super::stamp::{MailboxKey, Stamp};

/// One row of `mailboxes.csv`: which mailbox goes where.
///
/// Addresses are personal data: `Debug` shows the key only.
#[derive(Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// Its pseudonym.
    pub key: MailboxKey,
    /// The source's name for it (login, address, path).
    pub source: String,
    /// The target's name for it.
    pub target: String,
    /// The named source endpoint (`[source.NAME]`).
    pub source_endpoint: String,
    /// The named target endpoint (`[target.NAME]`).
    pub target_endpoint: String,
    /// Where in the target mailbox: empty for the primary mailbox's root, else a root folder's name.
    pub target_place: String,
    /// The wave it belongs to; may be empty.
    pub wave: String,
    /// Larger goes first.
    pub priority: i32,
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").field("key", &self.key).finish_non_exhaustive()
    }
}

/// How a source names a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceId {
    /// The store numbers its messages itself (IMAP UID, dovecot-uidlist).
    Number(u64),
    /// The store names them (Maildir base name, mbox content name); the ledger gives the number at first sight.
    Name(String),
}

/// One line of a listing: cheap facts, no octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The source's own name for the message, unique in its folder and epoch.
    pub id: SourceId,
    /// The size the source tells; a promise, not a fact (it is compared with the octets that arrive).
    pub size: Option<u64>,
    /// The received date, if the source has one.
    pub received: Option<Timestamp>,
    /// Its flags now.
    pub flags: Flags,
    /// What names its octets wherever they lie in the mailbox (X-GM-MSGID; EMAILID, RFC 8474, hashed); 0 if the source
    /// has nothing of the kind.
    pub object: u64,
}

/// What is recorded of a stored message, in the facts log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The epoch of its number.
    pub epoch: u64,
    /// Its number in its folder.
    pub number: u64,
    /// The source's own name for it, where the source names messages; else empty.
    pub name: String,
    /// The target's id of the copy; empty where the stamp itself finds it.
    pub target_id: String,
    /// BLAKE3 of the octets as they came from the source; `None` if a crash took it before it was recorded and the
    /// message is gone since.
    pub digest: Option<Digest>,
    /// Octets, in bytes.
    pub size: u64,
    /// The received date.
    pub received: Option<Timestamp>,
    /// The beginning of the BLAKE3 of its header block as it came from the source; 0 if it was not told.
    pub header: u64,
    /// See [`Listed::object`].
    pub object: u64,
    /// The stamp on the copy, if it is not the one its own source key gives (the copy was made for another folder
    /// or epoch and bound to this key by a move, a rename or a UIDVALIDITY reset).
    pub bound: Option<Stamp>,
    /// What the target could not keep, as short names joined by commas; empty for none.
    pub losses: String,
    /// By which way the copy was written.
    pub mode: WriteMode,
}

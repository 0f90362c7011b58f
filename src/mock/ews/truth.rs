//! What the mock knows, told as plain data: tests compare it with what a client believes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::date;
use super::mailbox::Mailbox;
use super::state::{Item, Recipient};
use crate::mock::service::truth;

/// Everything.
pub type Truth = truth::Truth<MailboxTruth, Counters>;

/// A mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxTruth {
    /// Another one after the mailbox is made anew.
    pub guid: String,
    /// By path from the top of the mailbox: names joined by `/`; a `/` or `\` in a name has a `\` before it.
    pub folders: BTreeMap<String, FolderTruth>,
    /// Octets in use.
    pub bytes: u64,
}

/// A folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderTruth {
    /// Its id.
    pub id: String,
    /// `inbox`, `sentitems`, …; `None`: a user's folder.
    pub well_known: Option<String>,
    /// `IPF.Note`, …; empty: none was given.
    pub class: String,
    /// In order of creation.
    pub messages: Vec<MessageTruth>,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageTruth {
    /// Its id.
    pub id: String,
    /// Its key as it is now.
    pub change_key: String,
    /// `IPM.Note`, …
    pub class: String,
    /// Named extended properties (canonical id → values), a stamp among them.
    pub named: BTreeMap<String, Vec<String>>,
    /// The extended properties known by a tag that are kept as such.
    pub tagged: BTreeMap<String, Vec<String>>,
    /// The subject.
    pub subject: String,
    /// The `Message-ID`.
    pub internet_message_id: String,
    /// RFC 3339.
    pub received: String,
    /// RFC 3339.
    pub sent: String,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// Read.
    pub is_read: bool,
    /// A draft.
    pub is_draft: bool,
    /// `NotFlagged`, `Flagged`, `Complete`.
    pub flag: String,
    /// As given.
    pub categories: Vec<String>,
    /// `Low`, `Normal`, `High`.
    pub importance: String,
    /// `Normal`, `Personal`, `Private`, `Confidential`.
    pub sensitivity: String,
    /// Address of the author.
    pub from: Option<String>,
    /// Addresses.
    pub to: Vec<String>,
    /// It has files attached.
    pub has_attachments: bool,
    /// Its octets were given as MIME.
    pub from_mime: bool,
    /// BLAKE3 of its octets as given (or as made of what was given), hexadecimal.
    pub mime_digest: String,
    /// How many they are.
    pub mime_length: u64,
    /// BLAKE3 of the stream it was imported from, where that is none of the mock's own.
    pub stream_digest: Option<String>,
}

/// What was asked and answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Requests of any kind.
    pub requests: u64,
    /// Requests let in, by operation.
    pub operations: BTreeMap<String, u64>,
    /// Tokens given out.
    pub tokens: u64,
    /// Challenges to log in.
    pub challenges: u64,
    /// Messages made.
    pub creates: u64,
    /// Messages imported from streams.
    pub uploads: u64,
    /// Messages changed.
    pub updates: u64,
    /// Messages moved.
    pub moves: u64,
    /// Messages copied.
    pub copies: u64,
    /// Messages removed.
    pub deletes: u64,
    /// Folders made, changed, moved or removed.
    pub folder_writes: u64,
    /// Octets of bodies received.
    pub uploaded_bytes: u64,
    /// The largest body received, in octets.
    pub largest_request: u64,
    /// The most things asked for in one request.
    pub largest_batch: u64,
    /// Requests refused by a limit (not by a fault).
    pub throttled: u64,
    /// Things not tried because a request took too long.
    pub stopped: u64,
    /// The most requests one login had under way in one mailbox.
    pub peak_in_flight: u32,
    /// What a correct client never does, by kind.
    pub violations: BTreeMap<String, u64>,
    /// Things asked for that failed, by code.
    pub refused: BTreeMap<String, u64>,
    /// Answers by status.
    pub answers: BTreeMap<u16, u64>,
}

impl Counters {
    /// Things that were changed.
    pub fn writes(&self) -> u64 {
        self.creates
            + self.uploads
            + self.updates
            + self.moves
            + self.copies
            + self.deletes
            + self.folder_writes
    }

    pub(super) fn violation(&mut self, kind: &str) {
        *self.violations.entry(kind.to_owned()).or_insert(0) += 1;
    }
}

pub(super) fn mailbox(mailbox: &Mailbox) -> MailboxTruth {
    let folders = mailbox.folders.values().map(|folder| {
        let messages = folder.items.iter().filter_map(|n| mailbox.items.get(n)).map(message).collect();
        let truth = FolderTruth {
            id: folder.id.clone(),
            well_known: folder.well_known.clone(),
            class: folder.class.clone(),
            messages,
        };
        (mailbox.path(folder.number), truth)
    });
    MailboxTruth { guid: mailbox.guid.clone(), folders: folders.collect(), bytes: mailbox.bytes() }
}

fn message(item: &Item) -> MessageTruth {
    let (named, tagged) =
        item.properties.iter().map(|(k, v)| (k.clone(), v.clone())).partition(|(k, _)| k.contains('{'));
    let address = |r: &Recipient| r.address.clone();
    MessageTruth {
        id: item.id.clone(),
        change_key: item.change_key(),
        class: item.class.clone(),
        named,
        tagged,
        subject: item.subject.clone(),
        internet_message_id: item.internet_message_id.clone(),
        received: date::write(item.received),
        sent: date::write(item.sent),
        created_ms: item.created,
        is_read: item.read,
        is_draft: item.draft,
        flag: item.flag.status.name().to_owned(),
        categories: item.categories.clone(),
        importance: item.importance.clone(),
        sensitivity: item.sensitivity.clone(),
        from: item.from.as_ref().and_then(address),
        to: item.to.iter().filter_map(address).collect(),
        has_attachments: item.attachments,
        from_mime: item.from_mime,
        mime_digest: item.raw.digest(),
        mime_length: item.raw.length,
        stream_digest: item.stream.as_ref().map(|s| s.digest()),
    }
}

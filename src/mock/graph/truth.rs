//! What the mock knows, told as plain data: tests compare it with what a client believes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::date;
use super::mailbox::Mailbox;
use super::state::{Attachment, Item, Recipient, is_named};
use crate::mock::service::truth;

/// Everything.
pub type Truth = truth::Truth<MailboxTruth, Counters>;

/// A mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxTruth {
    /// The user's id: another one after the mailbox is made anew.
    pub guid: String,
    /// By path: names joined by `/`; a `/` or `\` in a name has a `\` before it.
    pub folders: BTreeMap<String, FolderTruth>,
    /// Recoverably deleted messages.
    pub recoverable: Vec<MessageTruth>,
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
    /// Not listed unless asked for.
    pub hidden: bool,
    /// In order of creation.
    pub messages: Vec<MessageTruth>,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageTruth {
    /// Its classic id.
    pub id: String,
    /// Its immutable id.
    pub immutable_id: String,
    /// Named extended properties (canonical id → value), a stamp among them.
    pub named: BTreeMap<String, String>,
    /// The extended properties known by a tag.
    pub tagged: BTreeMap<String, String>,
    /// The subject.
    pub subject: Option<String>,
    /// The `Message-ID`.
    pub internet_message_id: String,
    /// RFC 3339.
    pub received: String,
    /// RFC 3339.
    pub sent: String,
    /// RFC 3339.
    pub created: String,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// Read.
    pub is_read: bool,
    /// A draft.
    pub is_draft: bool,
    /// `notFlagged`, `flagged`, `complete`.
    pub flag: String,
    /// As given.
    pub categories: Vec<String>,
    /// `low`, `normal`, `high`.
    pub importance: String,
    /// Address of the author.
    pub from: Option<String>,
    /// Addresses.
    pub to: Vec<String>,
    /// Addresses.
    pub cc: Vec<String>,
    /// Addresses.
    pub bcc: Vec<String>,
    /// Header fields given (only `x-` ones can be).
    pub headers: Vec<(String, String)>,
    /// `text` or `html`.
    pub body_type: String,
    /// BLAKE3 of the body as it was sent, hexadecimal.
    pub body_digest: String,
    /// Octets of the body as it was sent.
    pub body_length: u64,
    /// BLAKE3 of the whole octets, where it was made from MIME.
    pub mime_digest: Option<String>,
    /// The message class.
    pub class: String,
    /// BLAKE3 of the stream it was imported from, where it was.
    pub stream_digest: Option<String>,
    /// In order.
    pub attachments: Vec<AttachmentTruth>,
}

/// An attachment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttachmentTruth {
    /// `file` or `item`.
    pub kind: String,
    /// Its file name.
    pub name: String,
    /// Its media type.
    pub content_type: Option<String>,
    /// Shown inside the body.
    pub is_inline: bool,
    /// What `cid:` refers to.
    pub content_id: Option<String>,
    /// Octets, decoded.
    pub size: u64,
    /// BLAKE3, hexadecimal; of an item: of its JSON.
    pub digest: String,
}

/// What was asked and answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Requests of any kind; a `$batch` counts each part.
    pub requests: u64,
    /// Tokens given out.
    pub tokens: u64,
    /// Messages made.
    pub creates: u64,
    /// Messages changed.
    pub patches: u64,
    /// Messages copied.
    pub copies: u64,
    /// Messages moved.
    pub moves: u64,
    /// Messages removed.
    pub deletes: u64,
    /// Attachments added, changed or removed after their message was made.
    pub attachments: u64,
    /// Upload sessions opened.
    pub upload_sessions: u64,
    /// Import sessions opened.
    #[serde(default)]
    pub import_sessions: u64,
    /// Items imported.
    #[serde(default)]
    pub imports: u64,
    /// Items exported.
    #[serde(default)]
    pub exports: u64,
    /// Folders made, renamed, moved or removed.
    pub folder_writes: u64,
    /// Octets of bodies received by POST, PATCH and PUT.
    pub uploaded_bytes: u64,
    /// Requests refused by a limit (not by a fault).
    pub throttled: u64,
    /// The most requests one app had under way in one mailbox.
    pub peak_in_flight: u32,
    /// What a correct client never does, by kind.
    pub violations: BTreeMap<String, u64>,
    /// Answers by status.
    pub answers: BTreeMap<u16, u64>,
}

impl Counters {
    /// Requests that changed something.
    pub fn writes(&self) -> u64 {
        self.creates
            + self.patches
            + self.copies
            + self.moves
            + self.deletes
            + self.attachments
            + self.upload_sessions
            + self.imports
            + self.folder_writes
    }

    pub(super) fn violation(&mut self, kind: &str) {
        *self.violations.entry(kind.to_owned()).or_insert(0) += 1;
    }
}

pub(super) fn mailbox(mailbox: &Mailbox) -> MailboxTruth {
    let bin = mailbox.recoverable();
    let listed = |folder: &super::mailbox::Folder| -> Vec<MessageTruth> {
        folder.items.iter().filter_map(|n| mailbox.items.get(n)).map(|item| message(item)).collect()
    };
    let mut folders = BTreeMap::new();
    let mut recoverable = Vec::new();
    for folder in mailbox.folders.values() {
        if folder.number == bin {
            recoverable = listed(folder);
            continue;
        }
        folders.insert(
            mailbox.path(folder.number),
            FolderTruth {
                id: folder.id.text(),
                well_known: folder.well_known.name().map(str::to_owned),
                hidden: folder.hidden,
                messages: listed(folder),
            },
        );
    }
    MailboxTruth { guid: mailbox.guid.clone(), folders, recoverable, bytes: mailbox.bytes() }
}

fn message(item: &Item) -> MessageTruth {
    let (named, tagged) =
        item.properties.iter().map(|(k, v)| (k.to_owned(), v.into_owned())).partition(|(k, _)| is_named(k));
    let addresses =
        |list: &[Recipient]| list.iter().filter_map(|r| r.address.clone()).collect::<Vec<String>>();
    MessageTruth {
        id: item.id.text(),
        immutable_id: item.immutable.text(),
        named,
        tagged,
        subject: item.subject.as_deref().map(str::to_owned),
        internet_message_id: item.internet_message_id.to_string(),
        received: date::write(item.received),
        sent: date::write(item.sent),
        created: date::write(item.created),
        created_ms: item.created,
        is_read: item.read,
        is_draft: item.draft,
        flag: item.rare.flag.status.clone(),
        categories: item.rare.categories.clone(),
        importance: item.rare.importance.clone(),
        from: item.from.as_ref().and_then(|r| r.address.clone()),
        to: addresses(&item.to),
        cc: addresses(&item.rare.cc),
        bcc: addresses(&item.rare.bcc),
        headers: item.rare.headers.clone(),
        body_type: if item.html { "html" } else { "text" }.to_owned(),
        body_digest: item.body.digest(),
        body_length: item.body.length,
        mime_digest: item.raw.as_ref().map(|r| r.digest()),
        class: item.class().into_owned(),
        stream_digest: item.rare.imported.clone(),
        attachments: item.attachments.iter().map(attachment).collect(),
    }
}

fn attachment(a: &Attachment) -> AttachmentTruth {
    AttachmentTruth {
        kind: if a.file { "file" } else { "item" }.to_owned(),
        name: a.name.to_string(),
        content_type: a.content_type.as_deref().map(str::to_owned),
        is_inline: a.inline,
        content_id: a.content_id().map(str::to_owned),
        size: a.content.length,
        digest: a.content.digest(),
    }
}

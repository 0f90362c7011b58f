//! What a mailbox holds. Plain data.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(super) use crate::mock::service::kept::Content;
pub(super) use crate::mock::service::mail::Recipient;

use super::date;
use super::property::PropertyId;

/// A follow-up flag; dates in milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Flag {
    pub(super) status: FlagStatus,
    pub(super) start: Option<i64>,
    pub(super) due: Option<i64>,
    pub(super) completed: Option<i64>,
}

/// What a flag says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FlagStatus {
    #[default]
    NotFlagged,
    Flagged,
    Complete,
}

impl FlagStatus {
    pub(super) fn name(self) -> &'static str {
        match self {
            FlagStatus::NotFlagged => "NotFlagged",
            FlagStatus::Flagged => "Flagged",
            FlagStatus::Complete => "Complete",
        }
    }
}

/// What a client may say of a message, when it makes it or later. `None`: nothing was said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fields {
    pub(super) class: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) sensitivity: Option<String>,
    pub(super) importance: Option<String>,
    pub(super) categories: Option<Vec<String>>,
    pub(super) flag: Option<Flag>,
    pub(super) read: Option<bool>,
    pub(super) from: Option<Recipient>,
    pub(super) sender: Option<Recipient>,
    pub(super) to: Option<Vec<Recipient>>,
    pub(super) cc: Option<Vec<Recipient>>,
    pub(super) bcc: Option<Vec<Recipient>>,
    pub(super) reply_to: Option<Vec<Recipient>>,
    pub(super) internet_message_id: Option<String>,
    pub(super) in_reply_to: Option<String>,
    pub(super) references: Option<String>,
    pub(super) read_receipt: Option<bool>,
    pub(super) delivery_receipt: Option<bool>,
    /// HTML or not, and the text.
    pub(super) body: Option<(bool, String)>,
}

/// An item: a message, or what an import stream says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) number: u64,
    pub(super) folder: u32,
    /// Another one after every move.
    pub(super) id: String,
    /// When it was last changed, in changes of the mailbox.
    pub(super) change: u64,
    /// When it came into its folder, in changes of the mailbox.
    pub(super) entered: u64,
    /// When more than its read flag was last changed.
    pub(super) other_change: u64,
    /// When each property was last changed by an update.
    pub(super) touched: BTreeMap<String, u64>,
    pub(super) class: String,
    pub(super) created: i64,
    pub(super) modified: i64,
    pub(super) received: i64,
    pub(super) sent: i64,
    pub(super) subject: String,
    pub(super) sensitivity: String,
    pub(super) importance: String,
    pub(super) categories: Vec<String>,
    pub(super) flag: Flag,
    pub(super) read: bool,
    pub(super) draft: bool,
    /// The bits of 0x0E07 that nothing else says, as given at creation.
    pub(super) other_flags: i32,
    pub(super) from: Option<Recipient>,
    pub(super) sender: Option<Recipient>,
    pub(super) to: Vec<Recipient>,
    pub(super) cc: Vec<Recipient>,
    pub(super) bcc: Vec<Recipient>,
    pub(super) reply_to: Vec<Recipient>,
    pub(super) internet_message_id: String,
    pub(super) in_reply_to: Option<String>,
    pub(super) references: Option<String>,
    pub(super) read_receipt: bool,
    pub(super) delivery_receipt: bool,
    pub(super) attachments: bool,
    pub(super) conversation: String,
    /// Canonical id → values; without the ones that are told from the fields above.
    pub(super) properties: BTreeMap<String, Vec<String>>,
    /// The message as MIME: as given, or made of what was given.
    pub(super) raw: Content,
    /// Its octets were given by the client.
    pub(super) from_mime: bool,
    /// The stream it was made of, where it was imported and is none of the mock's own.
    pub(super) stream: Option<Content>,
}

impl Item {
    /// Octets it takes in the mailbox.
    pub(super) fn size(&self) -> u64 {
        512 + self.raw.length + self.stream.as_ref().map_or(0, |s| s.length)
    }

    /// Its contents, always in the same order.
    pub(super) fn contents_mut(&mut self) -> impl Iterator<Item = &mut Content> {
        std::iter::once(&mut self.raw).chain(self.stream.as_mut())
    }

    pub(super) fn change_key(&self) -> String {
        // 24 octets: it begins the same for all of a kind, and ends with the number of the change.
        let mut octets = [0u8; 24];
        octets[..4].copy_from_slice(&[9, 0, 0, 0]);
        octets[8..16].copy_from_slice(&self.number.to_be_bytes());
        octets[16..].copy_from_slice(&self.change.to_be_bytes());
        encodify::base64::STANDARD.encode(octets)
    }

    /// PidTagMessageFlags: 1 read, 8 unsent, 16 has attachments.
    fn message_flags(&self) -> i32 {
        self.other_flags
            | i32::from(self.read)
            | (i32::from(self.draft) << 3)
            | (i32::from(self.attachments) << 4)
    }

    /// An extended property's values, the computed ones too. `id` is canonical.
    pub(super) fn property(&self, id: &str) -> Option<Vec<String>> {
        let value = match id {
            "Integer 0xe07" => self.message_flags().to_string(),
            "SystemTime 0xe06" => date::write(self.received),
            "SystemTime 0x39" => date::write(self.sent),
            "SystemTime 0x3007" => date::write(self.created),
            "SystemTime 0x3008" => date::write(self.modified),
            "String 0x1a" => self.class.clone(),
            "String 0x37" => self.subject.clone(),
            "String 0x1035" => self.internet_message_id.clone(),
            "String 0x1039" => self.references.clone()?,
            "String 0x1042" => self.in_reply_to.clone()?,
            "Integer 0xe08" => self.size().to_string(),
            "Boolean 0xe1b" => self.attachments.to_string(),
            "Integer 0x1090" => match self.flag.status {
                FlagStatus::NotFlagged => return None,
                FlagStatus::Complete => "1".into(),
                FlagStatus::Flagged => "2".into(),
            },
            "StringArray {00020329-0000-0000-c000-000000000046} Name Keywords" => {
                return (!self.categories.is_empty()).then(|| self.categories.clone());
            }
            _ => return self.properties.get(id).cloned(),
        };
        Some(vec![value])
    }
}

/// Reads the change a key names; `None` if it is no key.
pub(super) fn change_of(key: &str) -> Option<u64> {
    let octets = encodify::base64::STANDARD.decode(key).ok()?;
    Some(u64::from_be_bytes(octets.get(16..24)?.try_into().ok()?))
}

/// What a client gives to make a message of.
#[derive(Debug, Clone, Default)]
pub(super) struct ItemInput {
    pub(super) mime: Option<Bytes>,
    pub(super) fields: Fields,
    pub(super) properties: Vec<(PropertyId, Vec<String>)>,
    pub(super) attachments: Vec<AttachmentInput>,
}

/// A file given with a new message.
#[derive(Debug, Clone)]
pub(super) struct AttachmentInput {
    pub(super) name: String,
    pub(super) content_type: Option<String>,
    pub(super) content_id: Option<String>,
    pub(super) inline: bool,
    pub(super) content: Bytes,
}

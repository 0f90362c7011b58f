//! What a mailbox holds: messages and attachments. Plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(super) use crate::mock::service::kept::Content;
pub(super) use crate::mock::service::mail::Recipient;

use super::date;
use super::property::PropertyId;

/// A follow-up flag; the dates are (dateTime, timeZone) as given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Flag {
    pub(super) status: String,
    pub(super) start: Option<(String, String)>,
    pub(super) due: Option<(String, String)>,
    pub(super) completed: Option<(String, String)>,
}

impl Default for Flag {
    fn default() -> Self {
        Flag { status: "notFlagged".into(), start: None, due: None, completed: None }
    }
}

/// A part of a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Attachment {
    pub(super) id: String,
    /// Else it is an attached item.
    pub(super) file: bool,
    pub(super) name: String,
    pub(super) content_type: Option<String>,
    pub(super) inline: bool,
    pub(super) content_id: Option<String>,
    pub(super) content_location: Option<String>,
    pub(super) modified: i64,
    pub(super) content: Content,
}

/// A message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) number: u64,
    pub(super) folder: u32,
    /// The classic id: another one after every move.
    pub(super) id: String,
    pub(super) immutable: String,
    pub(super) change: u64,
    /// The change by which it came into its folder.
    #[serde(default)]
    pub(super) entered: u64,
    pub(super) created: i64,
    pub(super) modified: i64,
    pub(super) received: i64,
    pub(super) sent: i64,
    pub(super) subject: Option<String>,
    pub(super) internet_message_id: String,
    pub(super) html: bool,
    pub(super) body: Content,
    pub(super) from: Option<Recipient>,
    pub(super) sender: Option<Recipient>,
    pub(super) to: Vec<Recipient>,
    pub(super) cc: Vec<Recipient>,
    pub(super) bcc: Vec<Recipient>,
    pub(super) reply_to: Vec<Recipient>,
    pub(super) read: bool,
    pub(super) draft: bool,
    /// The bits of 0x0E07 that nothing else says (submitted and others), as given at creation.
    pub(super) other_flags: i32,
    pub(super) flag: Flag,
    pub(super) categories: Vec<String>,
    pub(super) importance: String,
    pub(super) inference: String,
    pub(super) delivery_receipt: bool,
    pub(super) read_receipt: bool,
    pub(super) conversation: String,
    pub(super) headers: Vec<(String, String)>,
    /// Canonical id → value; without the ones that are told from the fields above.
    pub(super) properties: BTreeMap<String, String>,
    pub(super) attachments: Vec<Attachment>,
    /// The octets given, where it was made from MIME.
    pub(super) raw: Option<Content>,
    /// The stream it was imported from, where that is none of the mock's own exports.
    #[serde(default)]
    pub(super) stream: Option<Content>,
    /// BLAKE3 of the stream it was imported from, hexadecimal.
    #[serde(default)]
    pub(super) imported: Option<String>,
}

/// PidTagMessageClass, where it is not `IPM.Note`.
pub(super) const CLASS: &str = "String 0x1a";

/// How classes begin that are shown as messages.
const MAIL: &[&str] =
    &["ipm.note", "report.", "ipm.schedule.meeting", "ipm.taskrequest", "ipm.post", "ipm.sharing"];

impl Item {
    /// Its message class.
    pub(super) fn class(&self) -> &str {
        self.properties.get(CLASS).map_or("IPM.Note", String::as_str)
    }

    /// Is it shown as a message?
    pub(super) fn is_mail(&self) -> bool {
        self.properties.get(CLASS).is_none_or(|class| {
            let class = class.to_ascii_lowercase();
            MAIL.iter().any(|begin| class.starts_with(begin))
        })
    }

    /// Its contents, always in the same order.
    pub(super) fn contents(&self) -> impl Iterator<Item = &Content> {
        let attached = self.attachments.iter().map(|a| &a.content);
        std::iter::once(&self.body).chain(self.raw.as_ref()).chain(attached).chain(self.stream.as_ref())
    }

    /// As [`Item::contents`].
    pub(super) fn contents_mut(&mut self) -> impl Iterator<Item = &mut Content> {
        let attached = self.attachments.iter_mut().map(|a| &mut a.content);
        std::iter::once(&mut self.body).chain(self.raw.as_mut()).chain(attached).chain(self.stream.as_mut())
    }

    /// Octets it takes in the mailbox.
    pub(super) fn size(&self) -> u64 {
        512 + self.body.length
            + self.raw.as_ref().map_or(0, |r| r.length)
            + self.stream.as_ref().map_or(0, |s| s.length)
            + self.attachments.iter().map(|a| a.content.length).sum::<u64>()
    }

    /// An extended property's value, the computed ones too. `id` is canonical.
    pub(super) fn property(&self, id: &str) -> Option<String> {
        Some(match id {
            "Integer 0xe07" => self.message_flags().to_string(),
            "SystemTime 0xe06" => date::write(self.received),
            "SystemTime 0x39" => date::write(self.sent),
            "SystemTime 0x3007" => date::write(self.created),
            "SystemTime 0x3008" => date::write(self.modified),
            "String 0x37" => self.subject.clone()?,
            "String 0x1035" => self.internet_message_id.clone(),
            "Integer 0xe08" | "Long 0xe08" => self.size().to_string(),
            "Boolean 0xe1b" => (!self.attachments.is_empty()).to_string(),
            _ => self.properties.get(id)?.clone(),
        })
    }

    /// PidTagMessageFlags: 1 read, 8 unsent, 16 has attachments.
    fn message_flags(&self) -> i32 {
        self.other_flags
            | i32::from(self.read)
            | (i32::from(self.draft) << 3)
            | (i32::from(!self.attachments.is_empty()) << 4)
    }

    pub(super) fn change_key(&self) -> String {
        format!("CQAAABYAAA{}{:08x}", &self.immutable[8..24.min(self.immutable.len())], self.change)
    }
}

/// A property given at creation or by PATCH, as (canonical id, value).
pub(super) type Given = (PropertyId, String);

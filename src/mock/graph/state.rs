//! What a mailbox holds: messages and attachments. Plain data, laid out so that a mock may hold millions of messages:
//! what few messages have lies apart ([`Rare`]), ids are drawn again when they are asked for, long texts are squeezed.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

pub(super) use crate::mock::service::kept::Content;
pub(super) use crate::mock::service::mail::Recipient;

use super::date;
use super::ids::{Id, Immutable, OfAttachment, OfConversation, OfMessage};
use super::input::AttachmentInput;
use super::packed::Text;
use super::plain::Plain;
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
    pub(super) id: Id<OfAttachment>,
    /// Else it is an attached item.
    pub(super) file: bool,
    pub(super) name: Box<str>,
    #[serde(with = "shared")]
    pub(super) content_type: Option<Arc<str>>,
    pub(super) inline: bool,
    /// What few have.
    #[serde(flatten)]
    links: Option<Box<Links>>,
    pub(super) modified: i64,
    pub(super) content: Content,
}

/// A text that others hold too, written as if it were its own.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::ref_option)] // as serde calls it
    pub(super) fn serialize<S: Serializer>(
        text: &Option<Arc<str>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        text.as_deref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Arc<str>>, D::Error> {
        Ok(Option::<String>::deserialize(d)?.map(Arc::from))
    }
}

/// What a body refers to an attachment by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Links {
    pub(super) content_id: Option<String>,
    pub(super) content_location: Option<String>,
}

impl Attachment {
    pub(super) fn new(
        id: Id<OfAttachment>,
        input: &AttachmentInput,
        modified: i64,
        content: Content,
    ) -> Attachment {
        let links =
            Links { content_id: input.content_id.clone(), content_location: input.content_location.clone() };
        Attachment {
            id,
            file: input.file,
            name: input.name.as_str().into(),
            content_type: input.content_type.as_deref().map(Arc::from),
            inline: input.inline,
            links: (links != Links::default()).then(|| Box::new(links)),
            modified,
            content,
        }
    }

    pub(super) fn content_id(&self) -> Option<&str> {
        self.links.as_ref()?.content_id.as_deref()
    }

    pub(super) fn content_location(&self) -> Option<&str> {
        self.links.as_ref()?.content_location.as_deref()
    }
}

/// A message. Its form on disk is [`Plain`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Plain", into = "Plain")]
pub(super) struct Item {
    pub(super) number: u64,
    pub(super) folder: u32,
    /// The classic id: another one after every move.
    pub(super) id: Id<OfMessage>,
    pub(super) immutable: Id<Immutable>,
    pub(super) change: u64,
    /// The change by which it came into its folder.
    pub(super) entered: u64,
    pub(super) created: i64,
    pub(super) modified: i64,
    pub(super) received: i64,
    pub(super) sent: i64,
    pub(super) subject: Option<Box<str>>,
    pub(super) internet_message_id: Box<str>,
    pub(super) html: bool,
    pub(super) body: Content,
    pub(super) from: Option<Box<Recipient>>,
    /// Shared with the other messages of the mailbox, as most are to the same.
    pub(super) to: Arc<[Recipient]>,
    pub(super) read: bool,
    pub(super) draft: bool,
    /// The bits of 0x0E07 that nothing else says (submitted and others), as given at creation.
    pub(super) other_flags: i32,
    pub(super) conversation: Id<OfConversation>,
    /// Without the ones that are told from the fields above.
    pub(super) properties: Properties,
    pub(super) attachments: Vec<Attachment>,
    /// The octets given, where it was made from MIME.
    pub(super) raw: Option<Box<Content>>,
    pub(super) rare: Rare,
}

/// What few messages have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extras {
    /// `None`: who it is from.
    pub(super) sender: Option<Option<Recipient>>,
    pub(super) cc: Vec<Recipient>,
    pub(super) bcc: Vec<Recipient>,
    pub(super) reply_to: Vec<Recipient>,
    pub(super) flag: Flag,
    pub(super) categories: Vec<String>,
    pub(super) importance: String,
    pub(super) inference: String,
    pub(super) delivery_receipt: bool,
    pub(super) read_receipt: bool,
    pub(super) headers: Vec<(String, String)>,
    /// The stream it was imported from, where that is none of the mock's own exports.
    pub(super) stream: Option<Content>,
    /// BLAKE3 of the stream it was imported from, hexadecimal.
    pub(super) imported: Option<String>,
}

/// As nearly every message is.
static USUAL: LazyLock<Extras> = LazyLock::new(|| Extras {
    sender: None,
    cc: Vec::new(),
    bcc: Vec::new(),
    reply_to: Vec::new(),
    flag: Flag::default(),
    categories: Vec::new(),
    importance: "normal".into(),
    inference: "focused".into(),
    delivery_receipt: false,
    read_receipt: false,
    headers: Vec::new(),
    stream: None,
    imported: None,
});

/// [`Extras`] of which the usual ones take no room.
#[derive(Debug, Clone, Default)]
pub(super) struct Rare(Option<Box<Extras>>);

impl Rare {
    pub(super) fn new(extras: Extras) -> Rare {
        Rare((extras != *USUAL).then(|| Box::new(extras)))
    }

    fn stream_mut(&mut self) -> Option<&mut Content> {
        self.0.as_mut()?.stream.as_mut()
    }
}

impl Deref for Rare {
    type Target = Extras;

    fn deref(&self) -> &Extras {
        self.0.as_deref().unwrap_or(&USUAL)
    }
}

impl DerefMut for Rare {
    fn deref_mut(&mut self) -> &mut Extras {
        self.0.get_or_insert_with(|| Box::new(USUAL.clone()))
    }
}

/// Extended properties: canonical id → value, in order of id.
#[derive(Debug, Clone, Default)]
pub(super) struct Properties(Vec<(Arc<str>, Text)>);

impl Properties {
    pub(super) fn get(&self, id: &str) -> Option<Cow<'_, str>> {
        let at = self.0.binary_search_by(|(own, _)| (**own).cmp(id)).ok()?;
        Some(self.0[at].1.read())
    }

    pub(super) fn insert(&mut self, id: &str, value: &str) {
        // The index of a mailbox shares the values of named properties: they stay as they are.
        let text = if is_named(id) { Text::plain(value) } else { Text::new(value) };
        match self.0.binary_search_by(|(own, _)| (**own).cmp(id)) {
            Ok(at) => self.0[at].1 = text,
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (id.into(), text));
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.0.iter().map(|(id, value)| (&**id, value.read()))
    }

    /// The ids, to be replaced by equal ones that others hold too.
    pub(super) fn ids_mut(&mut self) -> impl Iterator<Item = &mut Arc<str>> {
        self.0.iter_mut().map(|(id, _)| id)
    }

    /// The named ones, as they are held.
    pub(super) fn named(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter().filter_map(|(id, value)| match value {
            Text::Plain(value) if is_named(id) => Some((id, value)),
            _ => None,
        })
    }
}

/// Canonical ids of named properties hold a GUID.
pub(super) fn is_named(id: &str) -> bool {
    id.contains('{')
}

/// PidTagMessageClass, where it is not `IPM.Note`.
pub(super) const CLASS: &str = "String 0x1a";

/// How classes begin that are shown as messages.
const MAIL: &[&str] =
    &["ipm.note", "report.", "ipm.schedule.meeting", "ipm.taskrequest", "ipm.post", "ipm.sharing"];

impl Item {
    /// Its message class.
    pub(super) fn class(&self) -> Cow<'_, str> {
        self.properties.get(CLASS).unwrap_or(Cow::Borrowed("IPM.Note"))
    }

    /// Who sent it.
    pub(super) fn sender(&self) -> Option<&Recipient> {
        match &self.rare.sender {
            None => self.from.as_deref(),
            Some(sender) => sender.as_ref(),
        }
    }

    /// Says who it is from and who sent it.
    pub(super) fn set_authors(&mut self, from: Option<Recipient>, sender: Option<Recipient>) {
        let other = (from != sender).then_some(sender);
        self.from = from.map(Box::new);
        if self.rare.sender != other {
            self.rare.sender = other;
        }
    }

    /// Gives back the room that it does not need.
    pub(super) fn shrink(&mut self) {
        self.attachments.shrink_to_fit();
        self.properties.0.shrink_to_fit();
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
        std::iter::once(&self.body)
            .chain(self.raw.as_deref())
            .chain(attached)
            .chain(self.rare.stream.as_ref())
    }

    /// As [`Item::contents`].
    pub(super) fn contents_mut(&mut self) -> impl Iterator<Item = &mut Content> {
        let attached = self.attachments.iter_mut().map(|a| &mut a.content);
        std::iter::once(&mut self.body)
            .chain(self.raw.as_deref_mut())
            .chain(attached)
            .chain(self.rare.stream_mut())
    }

    /// Octets it takes in the mailbox.
    pub(super) fn size(&self) -> u64 {
        512 + self.body.length
            + self.raw.as_ref().map_or(0, |r| r.length)
            + self.rare.stream.as_ref().map_or(0, |s| s.length)
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
            "String 0x37" => self.subject.as_deref()?.to_owned(),
            "String 0x1035" => self.internet_message_id.to_string(),
            "Integer 0xe08" | "Long 0xe08" => self.size().to_string(),
            "Boolean 0xe1b" => (!self.attachments.is_empty()).to_string(),
            _ => self.properties.get(id)?.into_owned(),
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
        let immutable = self.immutable.text();
        format!("CQAAABYAAA{}{:08x}", immutable.get(8..24).unwrap_or(&immutable), self.change)
    }
}

/// A property given at creation or by PATCH, as (canonical id, value).
pub(super) type Given = (PropertyId, String);

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;

    #[test]
    fn what_is_usual_takes_no_room() {
        assert!(size_of::<Item>() <= 320, "{}", size_of::<Item>());
        assert!(size_of::<Attachment>() <= 160, "{}", size_of::<Attachment>());
        let mut rare = Rare::default();
        assert_eq!((&*rare.importance, &*rare.flag.status, rare.0.is_none()), ("normal", "notFlagged", true));
        rare.categories = vec!["blue".into()];
        assert_eq!((&*rare.importance, rare.categories.len()), ("normal", 1));
        assert!(Rare::new(USUAL.clone()).0.is_none());
    }

    #[test]
    fn properties_are_found_and_replaced_whatever_their_length() {
        let mut properties = Properties::default();
        for id in ["String 0x7d", "String {a} Name x", "Integer 0x1"] {
            properties.insert(id, "old");
        }
        let long = "Received: from a by b\r\n".repeat(40);
        properties.insert("String 0x7d", &long);
        properties.insert("String {a} Name x", &long);
        assert_eq!(properties.get("String 0x7d").as_deref(), Some(&*long));
        assert_eq!(properties.get("String 0x8"), None);
        let ids: Vec<&str> = properties.iter().map(|(id, _)| id).collect();
        assert_eq!(ids, ["Integer 0x1", "String 0x7d", "String {a} Name x"]);
        let named: Vec<&str> = properties.named().map(|(_, value)| &**value).collect();
        assert_eq!(named, [long.as_str()], "the index has its text, however long");
    }
}

//! A message as it is written to disk and into exports: every field for itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::{Id, Immutable, OfConversation, OfMessage};
use super::state::{Attachment, Content, Extras, Flag, Item, Properties, Rare, Recipient};

/// A message.
#[derive(Serialize, Deserialize)]
pub(super) struct Plain {
    number: u64,
    folder: u32,
    id: Id<OfMessage>,
    immutable: Id<Immutable>,
    change: u64,
    #[serde(default)]
    entered: u64,
    created: i64,
    modified: i64,
    received: i64,
    sent: i64,
    subject: Option<Box<str>>,
    internet_message_id: Box<str>,
    html: bool,
    body: Content,
    from: Option<Recipient>,
    sender: Option<Recipient>,
    to: Vec<Recipient>,
    cc: Vec<Recipient>,
    bcc: Vec<Recipient>,
    reply_to: Vec<Recipient>,
    read: bool,
    draft: bool,
    other_flags: i32,
    flag: Flag,
    categories: Vec<String>,
    importance: String,
    inference: String,
    delivery_receipt: bool,
    read_receipt: bool,
    conversation: Id<OfConversation>,
    headers: Vec<(String, String)>,
    properties: BTreeMap<String, String>,
    attachments: Vec<Attachment>,
    raw: Option<Content>,
    #[serde(default)]
    stream: Option<Content>,
    #[serde(default)]
    imported: Option<String>,
}

impl From<Item> for Plain {
    fn from(item: Item) -> Plain {
        let sender = item.sender().cloned();
        let properties =
            item.properties.iter().map(|(id, value)| (id.to_owned(), value.into_owned())).collect();
        let Extras {
            sender: _,
            cc,
            bcc,
            reply_to,
            flag,
            categories,
            importance,
            inference,
            delivery_receipt,
            read_receipt,
            headers,
            stream,
            imported,
        } = Extras::clone(&item.rare);
        Plain {
            number: item.number,
            folder: item.folder,
            id: item.id,
            immutable: item.immutable,
            change: item.change,
            entered: item.entered,
            created: item.created,
            modified: item.modified,
            received: item.received,
            sent: item.sent,
            subject: item.subject,
            internet_message_id: item.internet_message_id,
            html: item.html,
            body: item.body,
            from: item.from.map(|from| *from),
            sender,
            to: item.to.to_vec(),
            cc,
            bcc,
            reply_to,
            read: item.read,
            draft: item.draft,
            other_flags: item.other_flags,
            flag,
            categories,
            importance,
            inference,
            delivery_receipt,
            read_receipt,
            conversation: item.conversation,
            headers,
            properties,
            attachments: item.attachments,
            raw: item.raw.map(|raw| *raw),
            stream,
            imported,
        }
    }
}

impl From<Plain> for Item {
    fn from(plain: Plain) -> Item {
        let mut properties = Properties::default();
        plain.properties.iter().for_each(|(id, value)| properties.insert(id, value));
        let rare = Rare::new(Extras {
            sender: (plain.from != plain.sender).then_some(plain.sender),
            cc: plain.cc,
            bcc: plain.bcc,
            reply_to: plain.reply_to,
            flag: plain.flag,
            categories: plain.categories,
            importance: plain.importance,
            inference: plain.inference,
            delivery_receipt: plain.delivery_receipt,
            read_receipt: plain.read_receipt,
            headers: plain.headers,
            stream: plain.stream,
            imported: plain.imported,
        });
        Item {
            number: plain.number,
            folder: plain.folder,
            id: plain.id,
            immutable: plain.immutable,
            change: plain.change,
            entered: plain.entered,
            created: plain.created,
            modified: plain.modified,
            received: plain.received,
            sent: plain.sent,
            subject: plain.subject,
            internet_message_id: plain.internet_message_id,
            html: plain.html,
            body: plain.body,
            from: plain.from.map(Box::new),
            to: plain.to.into(),
            read: plain.read,
            draft: plain.draft,
            other_flags: plain.other_flags,
            conversation: plain.conversation,
            properties,
            attachments: plain.attachments,
            raw: plain.raw.map(Box::new),
            rare,
        }
    }
}

//! Items as opaque streams: exported, imported, their framing held to (`mock::service::stream`).

use bytes::Bytes;

use super::act::{Act, Done};
use super::call::{ItemRef, Upload};
use super::render;
use super::reply::Fail;
use super::state::{Content, Flag, Item};
use crate::mock::service::stream::{self, CUT, Property, number, take};

/// The property in which an export of the mock carries the item whole: `0x6700`, binary.
const OWN: u32 = 0x6700_0102;

/// An item as a stream.
fn write(item: &Item) -> Result<Vec<u8>, Fail> {
    let failed = || Fail::new("ErrorExportItems", "The item cannot be exported.");
    let whole = serde_json::to_vec(item).map_err(|_| failed())?;
    let mut own = u32::try_from(whole.len()).map_err(|_| failed())?.to_le_bytes().to_vec();
    own.extend_from_slice(&whole);
    own.extend_from_slice(&item.raw.octets());
    stream::write(&item.class, &item.subject, (OWN, &own)).ok_or_else(failed)
}

/// The item an export of the mock holds.
fn own(properties: &[Property<'_>]) -> Option<Item> {
    let (_, mut rest) = properties.iter().copied().find(|(tag, _)| *tag == OWN)?;
    let length = usize::try_from(number(&mut rest)?).ok()?;
    let mut item: Item = serde_json::from_slice(take(&mut rest, length)?).ok()?;
    item.raw = Content::new(Bytes::copy_from_slice(rest));
    Some(item)
}

impl Act<'_> {
    pub(super) fn export(&mut self, id: &ItemRef) -> Done {
        let item = self.item(id)?;
        let mut stream = match &item.stream {
            Some(stream) => stream.octets().to_vec(),
            None => write(item)?,
        };
        if self.cut_exports {
            stream.truncate(stream.len() / 2);
            stream.extend_from_slice(CUT);
        }
        let data = encodify::base64::STANDARD.encode(stream);
        Ok(format!("{}<m:Data>{data}</m:Data>", id_of(item)))
    }

    pub(super) fn upload(&mut self, given: &Upload) -> Done {
        let data = given.data.as_ref().map_err(Clone::clone)?;
        let folder = self.folder(&given.parent)?;
        let invalid = |text: &str| Err(Fail::new("ErrorInvalidOperation", text));
        let old = match (given.action.as_str(), &given.item) {
            ("CreateNew", Some(_)) => return invalid("CreateNew takes no ItemId."),
            ("CreateNew", None) => None,
            (_, None) => return invalid("Update takes an ItemId."),
            ("Update", Some(id)) => Some(self.item(id)?.number),
            (_, Some(id)) => self.item(id).ok().map(|i| i.number),
        };
        let corrupt = || Fail::new("ErrorCorruptData", "The data is corrupt.");
        let properties = stream::read(data).ok_or_else(corrupt)?;
        self.room(folder, data.len() as u64)?;
        let mut item = match own(&properties) {
            Some(item) => item,
            None => self.foreign(&properties, data),
        };
        if let Some(old) = old {
            self.mailbox.purge(old);
        }
        let change = self.mailbox.next_change();
        (item.number, item.folder, item.id) = (self.mailbox.next_number(), folder, self.ids.item());
        (item.change, item.entered, item.other_change) = (change, change, change);
        (item.created, item.modified) = (self.now, self.now);
        if !self.options.keep_content {
            item.raw.hold(None);
        }
        let answer = id_of(&item);
        self.made.push(item.number);
        self.counters.uploads += 1;
        self.mailbox.add(item);
        Ok(answer)
    }

    /// An item of a stream that is none of the mock's own: it is kept, and its class and subject are told.
    fn foreign(&mut self, properties: &[Property<'_>], data: &Bytes) -> Item {
        Item {
            number: 0,
            folder: 0,
            id: String::new(),
            change: 0,
            entered: 0,
            other_change: 0,
            touched: std::collections::BTreeMap::new(),
            class: stream::class(properties),
            created: self.now,
            modified: self.now,
            received: self.now,
            sent: self.now,
            subject: stream::subject(properties),
            sensitivity: "Normal".into(),
            importance: "Normal".into(),
            categories: Vec::new(),
            flag: Flag::default(),
            read: false,
            draft: false,
            other_flags: 0,
            from: None,
            sender: None,
            to: Vec::new(),
            cc: Vec::new(),
            bcc: Vec::new(),
            reply_to: Vec::new(),
            internet_message_id: format!("<{}@mock.example>", self.ids.guid()),
            in_reply_to: None,
            references: None,
            read_receipt: false,
            delivery_receipt: false,
            attachments: false,
            conversation: super::items::encode(&self.ids.text(22)),
            properties: std::collections::BTreeMap::new(),
            raw: Content::new(Bytes::new()),
            from_mime: false,
            stream: Some(Content::new(data.clone())),
        }
    }
}

/// The id, in the namespace these two operations have it in.
fn id_of(item: &Item) -> String {
    render::item_id(item).replace("<t:ItemId", "<m:ItemId")
}

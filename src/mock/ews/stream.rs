//! Items as opaque streams: exported, imported, their framing held to.
//!
//! A stream begins with a frame of type 1 (8 octets) and one of type 3 (24 octets with the store's GUID); then come
//! properties: tag and type as one 32-bit number, a length where the type has no length of its own, octets. All numbers are
//! little-endian. What is inside is not documented for the service; the mock keeps what it was given, and knows its own
//! exports by a property of its own.

use bytes::Bytes;

use super::act::{Act, Done};
use super::call::{ItemRef, Upload};
use super::render;
use super::reply::Fail;
use super::state::{Content, Flag, Item};

/// The property in which an export of the mock carries the item whole: `0x6700`, binary.
const OWN: u32 = 0x6700_0102;
/// What an item's class is in: a string in UTF-16.
const CLASS: u32 = 0x001A_001F;
const SUBJECT: u32 = 0x0037_001F;
/// Put at the end of a stream that was cut.
pub(super) const CUT: &[u8] = b"=== Truncated Data ===";

const GUID_TAIL: [u8; 8] = [0xc0, 0, 0, 0, 0, 0, 0, 0x46];

/// A property's number and its octets.
type Property<'a> = (u32, &'a [u8]);

/// Takes a stream apart; `None` if its framing is broken.
pub(super) fn read(stream: &[u8]) -> Option<Vec<Property<'_>>> {
    let mut rest = stream;
    for (kind, length) in [(1, 8), (3, 24)] {
        if (number(&mut rest)?, number(&mut rest)?) != (kind, length) {
            return None;
        }
        let frame = take(&mut rest, usize::try_from(length).ok()?)?;
        if kind == 3 && !frame.ends_with(&GUID_TAIL) {
            return None;
        }
    }
    let mut found = Vec::new();
    while !rest.is_empty() {
        let tag = number(&mut rest)?;
        let length = match tag & 0xffff {
            0x0002 => 2,
            0x0003 | 0x0004 => 4,
            0x000b => 2,
            0x0005 | 0x0006 | 0x0007 | 0x0014 | 0x0040 => 8,
            0x0048 => 16,
            0x001e | 0x001f | 0x0102 | 0x84b0 => number(&mut rest)?,
            _ => return None,
        };
        found.push((tag, take(&mut rest, usize::try_from(length).ok()?)?));
    }
    // A message has at least a class.
    found.iter().any(|(tag, _)| *tag >> 16 == CLASS >> 16).then_some(found)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    take(rest, 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn take<'a>(rest: &mut &'a [u8], many: usize) -> Option<&'a [u8]> {
    if rest.len() < many {
        return None;
    }
    let (taken, left) = rest.split_at(many);
    *rest = left;
    Some(taken)
}

/// An item as a stream.
fn write(item: &Item) -> Result<Vec<u8>, Fail> {
    let failed = || Fail::new("ErrorExportItems", "The item cannot be exported.");
    let whole = serde_json::to_vec(item).map_err(|_| failed())?;
    let mut own = u32::try_from(whole.len()).map_err(|_| failed())?.to_le_bytes().to_vec();
    own.extend_from_slice(&whole);
    own.extend_from_slice(&item.raw.octets());
    let mut out = Vec::with_capacity(own.len() + 512);
    out.extend_from_slice(&[1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&[3, 0, 0, 0, 24, 0, 0, 0]);
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&GUID_TAIL);
    let wide = |text: &str| text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    for (tag, octets) in [(CLASS, wide(&item.class)), (SUBJECT, wide(&item.subject)), (OWN, own)] {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&u32::try_from(octets.len()).map_err(|_| failed())?.to_le_bytes());
        out.extend_from_slice(&octets);
    }
    Ok(out)
}

/// The item an export of the mock holds.
fn own(properties: &[Property<'_>]) -> Option<Item> {
    let (_, mut rest) = properties.iter().copied().find(|(tag, _)| *tag == OWN)?;
    let length = usize::try_from(number(&mut rest)?).ok()?;
    let mut item: Item = serde_json::from_slice(take(&mut rest, length)?).ok()?;
    item.raw = Content::new(Bytes::copy_from_slice(rest));
    Some(item)
}

fn text(properties: &[Property<'_>], tag: u32) -> String {
    let found = properties.iter().find(|(t, _)| *t >> 16 == tag >> 16);
    let units: Vec<u16> = found
        .map(|(_, octets)| octets.chunks_exact(2).map(|p| u16::from_le_bytes([p[0], p[1]])).collect())
        .unwrap_or_default();
    String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned()
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
        let properties = read(data).ok_or_else(corrupt)?;
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
            item.raw.octets = None;
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
            class: text(properties, CLASS),
            created: self.now,
            modified: self.now,
            received: self.now,
            sent: self.now,
            subject: text(properties, SUBJECT),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_that_does_not_add_up_is_refused() {
        let mut good = vec![1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 24, 0, 0, 0];
        good.extend_from_slice(&[0; 16]);
        good.extend_from_slice(&GUID_TAIL);
        good.extend_from_slice(&CLASS.to_le_bytes());
        good.extend_from_slice(&[4, 0, 0, 0, b'I', 0, b'P', 0]);
        assert_eq!(text(&read(&good).unwrap(), CLASS), "IP");
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_none(), "cut after {length}");
        }
        let mut cut = good.clone();
        cut.extend_from_slice(CUT);
        assert!(read(&cut).is_none(), "a stream that says it was cut");
    }
}

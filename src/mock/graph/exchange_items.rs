//! Acting on a mailbox's store: items of any class listed, exported, imported.

use bytes::Bytes;
use encodify::base64::STANDARD;
use serde_json::{Map, Value, json};

use super::act::{Act, Acted};
use super::call::How;
use super::date;
use super::exchange::{Call, Import, store_id};
use super::filter::{self, Field};
use super::input::MessageInput;
use super::messages::too_large;
use super::query::View;
use super::reply::{Refusal, Reply};
use super::state::{CLASS, Content, Item};
use crate::mock::service::stream::{self, CUT, Property, number, take};

/// The service's page where none is asked for.
const PAGE: usize = 10;
/// The property in which an export of the mock carries the item whole: `0x6701`, binary.
const OWN: u32 = 0x6701_0102;

/// Import sessions, by the secret part of their address. They do not outlive the mock.
pub(super) type ImportSessions = std::collections::BTreeMap<String, ImportSession>;

/// One import session.
#[derive(Debug)]
pub(super) struct ImportSession {
    pub(super) mailbox: String,
    pub(super) app: String,
    pub(super) expires: i64,
}

impl Act<'_> {
    pub(super) fn exchange(&mut self, call: &Call) -> Acted {
        match call {
            Call::Settings => {
                let id = store_id(&self.mailbox.guid, self.options);
                Ok(Reply::json(200, &json!({ "primaryMailboxId": id })))
            }
            Call::ListFolders { parent, view } => self.store_folders(parent, view),
            Call::CreateFolder { parent, name, class } => {
                let made = self.create_folder(parent, name, false)?;
                // The newest folder has the largest number.
                let number = self.mailbox.folders.keys().next_back().copied().unwrap_or(0);
                if let Some(folder) = self.mailbox.folders.get_mut(&number) {
                    folder.class = Some(class.as_str().into());
                }
                Ok(Reply { body: self.store_folder(number).to_string().into(), ..made })
            }
            Call::GetFolder { id } => {
                let number = self.folder(id)?;
                Ok(Reply::json(200, &self.store_folder(number)))
            }
            Call::ListItems { folder, view } => self.list_items(folder, view),
            Call::GetItem { folder, id, view } => {
                let item = self.any_item(folder, id)?;
                Ok(Reply::json(200, &self.store_item(item, view)))
            }
            Call::DeleteItem { folder, id } => {
                let number = self.any_item(folder, id)?.number;
                self.mailbox.delete(number, self.ids, self.now);
                self.counters.deletes += 1;
                Ok(Reply::empty(204))
            }
            Call::Export { ids } => Ok(self.export(ids)),
            Call::OpenSession => Ok(self.open_session()),
            Call::Import(import) => self.import(import),
        }
    }

    fn store_folders(&self, parent: &str, view: &View) -> Acted {
        let parent = self.folder(parent)?;
        let all: Vec<u32> = self.mailbox.children(parent).map(|f| f.number).collect();
        let after = view.after.unwrap_or(0);
        let mut rest = all.iter().filter(|n| u64::from(**n) > after).skip(view.skip);
        let page: Vec<u32> = rest.by_ref().take(view.top.unwrap_or(PAGE)).copied().collect();
        let shown: Vec<Value> = page.iter().map(|n| self.store_folder(*n)).collect();
        let mut out = json!({ "value": shown });
        if let (Some(_), Some(last)) = (rest.next(), page.last()) {
            out["@odata.nextLink"] = json!(view.next_link(self.address, u64::from(*last)));
        }
        Ok(Reply::json(200, &out))
    }

    fn store_folder(&self, number: u32) -> Value {
        let Some(folder) = self.mailbox.folders.get(&number) else { return Value::Null };
        let parent = self.mailbox.folders.get(&folder.parent).map_or(&folder.id, |f| &f.id);
        json!({
            "id": folder.id,
            "displayName": folder.name,
            "type": folder.class.as_deref().unwrap_or("IPF.Note"),
            "parentFolderId": parent,
            "childFolderCount": self.mailbox.children(number).count(),
            "totalItemCount": folder.items.len(),
            "wellKnownName": folder.well_known.name(),
        })
    }

    fn list_items(&self, folder: &str, view: &View) -> Acted {
        let folder = self.folder(folder)?;
        let fits = |item: &&Item| {
            view.filter.as_ref().is_none_or(|filter| {
                filter.holds(self.options.filter_ignores_case, &|id| item.property(id), &|field| {
                    Some(match field {
                        Field::CreatedDateTime => filter::Value::Date(item.created),
                        Field::ReceivedDateTime => filter::Value::Date(item.received),
                        _ => return None,
                    })
                })
            })
        };
        let numbers = self.mailbox.folders.get(&folder).into_iter().flat_map(|f| &f.items);
        let all: Vec<&Item> = numbers
            .filter_map(|n| self.mailbox.items.get(n))
            .map(Box::as_ref)
            .filter(|item| fits(item))
            .collect();
        let after = view.after.unwrap_or(0);
        let mut rest = all.iter().filter(|item| item.number > after).skip(view.skip);
        let page: Vec<&Item> = rest.by_ref().take(view.top.unwrap_or(PAGE)).copied().collect();
        let shown: Vec<Value> = page.iter().map(|item| self.store_item(item, view)).collect();
        let mut out = json!({ "value": shown });
        if view.count {
            out["@odata.count"] = json!(all.len());
        }
        if let (Some(_), Some(last)) = (rest.next(), page.last()) {
            out["@odata.nextLink"] = json!(view.next_link(self.address, last.number));
        }
        Ok(Reply::json(200, &out))
    }

    /// An item of any class, by either id.
    fn any_item(&self, folder: &str, id: &str) -> Result<&Item, Refusal> {
        let folder = self.folder(folder)?;
        self.mailbox.item(id).filter(|item| item.folder == folder).ok_or_else(Refusal::not_found)
    }

    fn store_item(&self, item: &Item, view: &View) -> Value {
        let mut out = Map::new();
        let fields = [
            ("changeKey", json!(item.change_key())),
            ("type", json!(item.class())),
            ("size", json!(item.size())),
            ("categories", json!(item.rare.categories)),
            ("createdDateTime", json!(date::write(item.created))),
            ("lastModifiedDateTime", json!(date::write(item.modified))),
        ];
        out.insert("id".into(), json!(self.show.id(item)));
        out.extend(fields.into_iter().filter(|(n, _)| view.wants(n)).map(|(n, v)| (n.to_owned(), v)));
        let found: Vec<Value> = view
            .properties
            .iter()
            .filter_map(|id| item.property(id).map(|v| json!({"id": id, "value": v})))
            .collect();
        if !found.is_empty() {
            out.insert("singleValueExtendedProperties".into(), Value::Array(found));
        }
        Value::Object(out)
    }

    fn export(&mut self, ids: &[String]) -> Reply {
        let one = |id: &String| {
            let stream = self.mailbox.item(id).map(|item| (item, write(item)));
            match stream {
                Some((item, Some(mut stream))) => {
                    if self.options.cut_exports {
                        stream.truncate(stream.len() / 2);
                        stream.extend_from_slice(CUT);
                    }
                    let data = STANDARD.encode(stream);
                    json!({ "itemId": id, "changeKey": item.change_key(), "data": data })
                }
                _ => json!({ "itemId": id, "error": {
                    "code": "ErrorItemNotFound",
                    "message": "The specified object was not found in the store.",
                }}),
            }
        };
        let value: Vec<Value> = ids.iter().map(one).collect();
        self.counters.exports += ids.len() as u64;
        Reply::json(200, &json!({ "value": value }))
    }

    fn open_session(&mut self) -> Reply {
        let secret = self.ids.text(160);
        let seconds = i64::try_from(self.options.sizes.import_seconds).unwrap_or(0);
        let expires = self.now.saturating_add(seconds.saturating_mul(1000));
        let url = format!(
            "{}/api/gv1.0/Mailboxes('{}')/importItem?authtoken={secret}",
            self.upload_base,
            store_id(&self.mailbox.guid, self.options),
        );
        let session =
            ImportSession { mailbox: self.mailbox.address.clone(), app: self.app.to_owned(), expires };
        self.imports.insert(secret, session);
        self.counters.import_sessions += 1;
        let status = if self.options.import_session_created { 201 } else { 200 };
        Reply::json(status, &json!({ "importUrl": url, "expirationDateTime": date::write(expires) }))
    }

    fn import(&mut self, given: &Import) -> Acted {
        let corrupt = || Refusal::new(400, "ErrorCorruptData", "The data is corrupt.");
        let folder = self.folder(&given.folder)?;
        let properties = stream::read(&given.stream).ok_or_else(corrupt)?;
        let old = match &given.replaces {
            None => None,
            Some((id, key)) => {
                let old = self.mailbox.item(id).ok_or_else(Refusal::not_found)?;
                if old.change_key() != *key {
                    return Err(Refusal::new(
                        412,
                        "ErrorIrresolvableConflict",
                        "The change key is outdated.",
                    ));
                }
                Some(old.clone())
            }
        };
        let length = given.stream.len() as u64;
        if length > self.options.sizes.message {
            return Err(too_large());
        }
        self.place(folder)?;
        self.room(length)?;
        let number = self.mailbox.next_number();
        let born = self.make(number, folder, &MessageInput::default(), How::Import);
        let mut item = match own(&properties) {
            Some(item) => item,
            None => foreign(born.clone(), &properties, &given.stream),
        };
        item.rare.imported = Some(blake3::hash(&given.stream).to_hex().to_string());
        (item.number, item.folder, item.id, item.immutable) = (number, folder, born.id, born.immutable);
        (item.change, item.created, item.modified) = (born.change, born.created, born.modified);
        if let Some(old) = old {
            self.mailbox.purge(old.number);
            (item.number, item.folder, item.id, item.immutable) =
                (old.number, old.folder, old.id, old.immutable);
            item.created = old.created;
        }
        self.forget_content(&mut item);
        let id = if self.options.import_answers_immutable { item.immutable.text() } else { item.id.text() };
        let mut reply = Reply::json(200, &json!({ "itemId": id, "changeKey": item.change_key() }));
        reply.created = Some((self.mailbox.address.clone(), item.number));
        self.counters.imports += 1;
        self.mailbox.add(item);
        Ok(reply)
    }

    fn forget_content(&self, item: &mut Item) {
        if !self.options.keep_content {
            for content in item.contents_mut() {
                content.hold(None);
            }
        }
    }
}

/// An item as a stream; `None` if it is too large for one. One that came from elsewhere goes as it came.
fn write(item: &Item) -> Option<Vec<u8>> {
    if let Some(stream) = &item.rare.stream {
        return stream.held().map(|octets| octets.to_vec());
    }
    let mut own = Vec::new();
    stream::push(&mut own, &serde_json::to_vec(item).ok()?)?;
    for content in item.contents() {
        stream::push(&mut own, &content.octets())?;
    }
    stream::write(&item.class(), item.subject.as_deref().unwrap_or(""), (OWN, &own))
}

/// The item an export of the mock holds.
fn own(properties: &[Property<'_>]) -> Option<Item> {
    let (_, mut rest) = properties.iter().copied().find(|(tag, _)| *tag == OWN)?;
    let length = usize::try_from(number(&mut rest)?).ok()?;
    let mut item: Item = serde_json::from_slice(take(&mut rest, length)?).ok()?;
    for content in item.contents_mut() {
        let length = usize::try_from(number(&mut rest)?).ok()?;
        let octets = Bytes::copy_from_slice(take(&mut rest, length)?);
        let whole = octets.len() as u64 == content.length;
        content.hold(whole.then_some(octets));
        content.at = None;
    }
    Some(item)
}

/// An item of a stream that is none of the mock's own: it is kept, and its class and subject are told.
fn foreign(mut item: Item, properties: &[Property<'_>], stream: &Bytes) -> Item {
    item.properties.insert(CLASS, &stream::class(properties));
    item.subject = Some(stream::subject(properties)).filter(|s| !s.is_empty()).map(String::into_boxed_str);
    item.rare.stream = Some(Content::new(stream.clone()));
    item
}

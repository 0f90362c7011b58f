//! What is done with items.

use super::act::{Act, Done};
use super::call::{Conflict, Delete, FolderRef, Given, ItemRef, View};
use super::date;
use super::folders::page;
use super::input::Update;
use super::mime;
use super::render;
use super::reply::Fail;
use super::restriction::{self, Order, Restriction};
use super::shape::{Path, Shape};
use super::state::{Content, Fields, Flag, FlagStatus, Item, ItemInput, change_of};

const KEYWORDS: &str = "StringArray {00020329-0000-0000-c000-000000000046} Name Keywords";

impl Act<'_> {
    pub(super) fn create_item(&mut self, folder: &FolderRef, given: &Given<ItemInput>) -> Done {
        let given = given.as_ref().map_err(Clone::clone)?;
        let folder = self.folder(folder)?;
        let message_id = format!("<{}@mock.example>", self.ids.guid());
        let octets = match &given.mime {
            Some(octets) => octets.clone(),
            None => mime::compose(&given.fields, &given.attachments, &message_id, self.now),
        };
        let mut parsed = mime::read(&octets)?;
        if given.mime.is_none() {
            parsed.attachments = given.attachments.iter().any(|a| !a.inline);
        }
        self.room(folder, octets.len() as u64)?;
        let change = self.mailbox.next_change();
        let mut raw = Content::new(octets);
        if !self.options.keep_content {
            raw.hold(None);
        }
        let mut item = Item {
            number: self.mailbox.next_number(),
            folder,
            id: self.ids.item(),
            change,
            entered: change,
            other_change: change,
            touched: std::collections::BTreeMap::new(),
            class: parsed.class,
            created: self.now,
            modified: self.now,
            received: self.now,
            sent: parsed.sent.unwrap_or(self.now),
            subject: String::new(),
            sensitivity: "Normal".into(),
            importance: "Normal".into(),
            categories: Vec::new(),
            flag: Flag::default(),
            read: false,
            // Without flags given at creation a message is one being written: unsent and unmodified.
            draft: true,
            other_flags: 2,
            from: None,
            sender: None,
            to: Vec::new(),
            cc: Vec::new(),
            bcc: Vec::new(),
            reply_to: Vec::new(),
            internet_message_id: message_id,
            in_reply_to: None,
            references: None,
            read_receipt: false,
            delivery_receipt: false,
            attachments: parsed.attachments,
            conversation: encode(&self.ids.text(22)),
            properties: std::collections::BTreeMap::new(),
            raw,
            from_mime: given.mime.is_some(),
            stream: None,
        };
        apply(&mut item, &parsed.fields);
        for (id, values) in &given.properties {
            set_property(&mut item, &id.canonical, values, true)?;
        }
        apply(&mut item, &given.fields);
        let stub = render::item_stub(&item);
        self.counters.creates += 1;
        self.made.push(item.number);
        self.mailbox.add(item);
        Ok(format!("<m:Items>{stub}</m:Items>"))
    }

    /// Is there room for a new item in a folder?
    pub(super) fn room(&self, folder: u32, octets: u64) -> Result<(), Fail> {
        let sizes = &self.options.sizes;
        if octets > sizes.message {
            let text =
                "The message exceeds the maximum supported size., Maximum size for this object exceeded.";
            return Err(Fail::new("ErrorMessageSizeExceeded", text));
        }
        let quota = || Fail::new("ErrorQuotaExceeded", "The mailbox has exceeded its quota.");
        if self.mailbox.bytes().saturating_add(octets) > sizes.mailbox {
            return Err(quota());
        }
        if self.mailbox.folders.get(&folder).is_some_and(|f| f.items.len() >= sizes.folder_messages) {
            return Err(Fail::wrapped(&quota()));
        }
        Ok(())
    }

    pub(super) fn get_item(&mut self, shape: &Shape, id: &ItemRef) -> Done {
        let item = self.item(id)?;
        Ok(format!("<m:Items>{}</m:Items>", render::item(item, shape, self.mailbox, false)))
    }

    pub(super) fn find_item(
        &mut self,
        shape: &Shape,
        nothing: bool,
        view: Option<View>,
        restriction: Option<&Restriction>,
        order: &Order,
        parent: &FolderRef,
    ) -> Done {
        let folder = self.held_folder(parent)?;
        let visible_until = self.now.saturating_sub(self.options.filter_delay_ms);
        let loose = self.options.filter_ignores_case;
        let fits = |item: &&Item| match restriction {
            None => true,
            Some(restriction) => {
                item.created <= visible_until
                    && restriction.holds(&|path: &Path| render::item_values(item, path), loose)
            }
        };
        let mut found: Vec<&Item> = if nothing {
            Vec::new()
        } else {
            folder.items.iter().filter_map(|n| self.mailbox.items.get(n)).filter(fits).collect()
        };
        if order.is_empty() {
            // As the service does: newest first.
            found.sort_by_key(|i| std::cmp::Reverse((i.received, i.number)));
        } else {
            found.sort_by(|a, b| {
                restriction::sort(order, &|p: &Path| render::item_values(a, p), &|p: &Path| {
                    render::item_values(b, p)
                })
            });
        }
        let page = page(found.len(), view, self.options.limits.find)?;
        let items: String =
            found[page.from..page.to].iter().map(|i| render::item(i, shape, self.mailbox, true)).collect();
        Ok(format!("<m:RootFolder {}><t:Items>{items}</t:Items></m:RootFolder>", page.attributes()))
    }

    pub(super) fn update_item(
        &mut self,
        conflict: Conflict,
        id: &ItemRef,
        updates: &Given<Vec<Update>>,
    ) -> Done {
        let updates = updates.as_ref().map_err(Clone::clone)?;
        let item = self.item(id)?;
        let base = id.change_key.as_deref().and_then(change_of);
        let irresolvable = || {
            let text = "The send or update operation could not be performed because the change key passed in the \
                        request does not match the current change key for the item.";
            Fail::new("ErrorIrresolvableConflict", text)
        };
        match (conflict, base) {
            (Conflict::Always, _) => {}
            (_, None) => {
                let text = "Change key is required for this operation.";
                return Err(Fail::new("ErrorChangeKeyRequiredForWriteOperations", text));
            }
            (Conflict::Never, Some(base)) if base != item.change => return Err(irresolvable()),
            (Conflict::Auto, Some(base)) => {
                let touched = |u: &Update| item.touched.get(&u.key()).is_some_and(|at| *at > base);
                if updates.iter().any(touched) {
                    return Err(irresolvable());
                }
            }
            (Conflict::Never, Some(_)) => {}
        }
        let mut trial = item.clone();
        let other = updates.iter().any(|u| u.key() != "IsRead");
        for update in updates {
            change(&mut trial, update, self.options.dates_by_update)?;
        }
        let number = trial.number;
        self.mailbox.update(number, self.now, other, |item, change| {
            (trial.change, trial.other_change, trial.modified) =
                (item.change, item.other_change, item.modified);
            for update in updates {
                trial.touched.insert(update.key(), change);
            }
            *item = trial;
        });
        self.counters.updates += 1;
        let item = self.mailbox.items.get(&number).ok_or_else(Fail::not_found)?;
        Ok(format!(
            "<m:Items>{}</m:Items><m:ConflictResults><t:Count>0</t:Count></m:ConflictResults>",
            render::item_stub(item)
        ))
    }

    pub(super) fn move_item(&mut self, copy: bool, to: &FolderRef, id: &ItemRef, tell: bool) -> Done {
        let to = self.folder(to)?;
        let item = self.item(id)?;
        let mut number = item.number;
        if copy {
            let mut twin = item.clone();
            self.room(to, twin.raw.length)?;
            let change = self.mailbox.next_change();
            number = self.mailbox.next_number();
            (twin.number, twin.folder, twin.id) = (number, to, self.ids.item());
            (twin.change, twin.entered, twin.other_change) = (change, change, change);
            (twin.created, twin.modified) = (self.now, self.now);
            self.made.push(number);
            self.mailbox.add(twin);
            self.counters.copies += 1;
        } else {
            self.mailbox.relocate(number, to, self.ids, self.now);
            self.counters.moves += 1;
        }
        let item = self.mailbox.items.get(&number).ok_or_else(Fail::not_found)?;
        let stub = if tell { render::item_stub(item) } else { String::new() };
        Ok(format!("<m:Items>{stub}</m:Items>"))
    }

    pub(super) fn delete_item(&mut self, how: Delete, id: &ItemRef) -> Done {
        let item = self.item(id)?;
        let (number, folder) = (item.number, item.folder);
        match self.recoverable(how).filter(|bin| *bin != folder) {
            Some(bin) => self.mailbox.relocate(number, bin, self.ids, self.now),
            None if how == Delete::ToDeletedItems => {}
            None => self.mailbox.purge(number),
        }
        self.counters.deletes += 1;
        Ok(String::new())
    }
}

pub(super) fn encode(text: &str) -> String {
    encodify::base64::STANDARD.encode(text)
}

/// Puts what was said of a message into it.
pub(super) fn apply(item: &mut Item, fields: &Fields) {
    fn put<T: Clone>(place: &mut T, given: &Option<T>) {
        if let Some(given) = given {
            place.clone_from(given);
        }
    }
    put(&mut item.class, &fields.class);
    put(&mut item.subject, &fields.subject);
    put(&mut item.sensitivity, &fields.sensitivity);
    put(&mut item.importance, &fields.importance);
    put(&mut item.categories, &fields.categories);
    put(&mut item.flag, &fields.flag);
    put(&mut item.read, &fields.read);
    put(&mut item.to, &fields.to);
    put(&mut item.cc, &fields.cc);
    put(&mut item.bcc, &fields.bcc);
    put(&mut item.reply_to, &fields.reply_to);
    put(&mut item.internet_message_id, &fields.internet_message_id);
    put(&mut item.read_receipt, &fields.read_receipt);
    put(&mut item.delivery_receipt, &fields.delivery_receipt);
    item.from = fields.from.clone().or(item.from.take());
    item.sender = fields.sender.clone().or(item.sender.take());
    item.in_reply_to = fields.in_reply_to.clone().or(item.in_reply_to.take());
    item.references = fields.references.clone().or(item.references.take());
}

/// Sets an extended property, given at creation or later. What is computed from the properties known by a tag is what
/// a client can set: dates and flags at creation only.
fn set_property(item: &mut Item, id: &str, values: &[String], creating: bool) -> Result<(), Fail> {
    let value = values.first().map_or("", String::as_str);
    let at = || date::read(value);
    match id {
        "Integer 0xe07" => {
            if creating {
                let bits: i32 = value.parse().unwrap_or(0);
                item.read = bits & 1 != 0;
                item.draft = bits & 8 != 0;
                item.other_flags = bits & !(1 | 8 | 16);
            }
        }
        "SystemTime 0xe06" => item.received = at().unwrap_or(item.received),
        "SystemTime 0x39" => item.sent = at().unwrap_or(item.sent),
        "SystemTime 0x3007" if creating => item.created = at().unwrap_or(item.created),
        // Computed by the store, always.
        "SystemTime 0x3007" | "SystemTime 0x3008" | "Integer 0xe08" | "Boolean 0xe1b" => {}
        "String 0x1a" => value.clone_into(&mut item.class),
        "String 0x37" => value.clone_into(&mut item.subject),
        "String 0x1035" => value.clone_into(&mut item.internet_message_id),
        "String 0x1039" => item.references = Some(value.to_owned()),
        "String 0x1042" => item.in_reply_to = Some(value.to_owned()),
        "Integer 0x1090" => {
            item.flag.status = match value {
                "2" => FlagStatus::Flagged,
                "1" => FlagStatus::Complete,
                "0" => FlagStatus::NotFlagged,
                _ => {
                    return Err(Fail::new(
                        "ErrorItemSavePropertyError",
                        "The value of the property is not one that can be saved.",
                    ));
                }
            }
        }
        KEYWORDS => item.categories = values.to_vec(),
        _ => {
            item.properties.insert(id.to_owned(), values.to_vec());
        }
    }
    Ok(())
}

/// Changes one property. `dates`: the dates of delivery and submission can be changed.
fn change(item: &mut Item, update: &Update, dates: bool) -> Result<(), Fail> {
    match update {
        Update::Field(name, fields) => {
            if let ("Body", Some((html, text))) = (name.as_str(), &fields.body) {
                replace_body(item, *html, text);
            }
            apply(item, fields);
        }
        Update::Property(id, values) => {
            if dates || !matches!(id.canonical.as_str(), "SystemTime 0xe06" | "SystemTime 0x39") {
                set_property(item, &id.canonical, values, false)?;
            }
        }
        Update::Delete(Path::Extended(id)) => match id.canonical.as_str() {
            KEYWORDS => item.categories.clear(),
            "Integer 0x1090" => item.flag = Flag::default(),
            id => {
                item.properties.remove(id);
            }
        },
        Update::Delete(Path::Item(name)) => match *name {
            "Categories" => item.categories.clear(),
            "Flag" => item.flag = Flag::default(),
            "Subject" => item.subject.clear(),
            "InReplyTo" => item.in_reply_to = None,
            "References" => item.references = None,
            "ToRecipients" => item.to.clear(),
            "CcRecipients" => item.cc.clear(),
            "BccRecipients" => item.bcc.clear(),
            "ReplyTo" => item.reply_to.clear(),
            "Body" => replace_body(item, false, ""),
            _ => {}
        },
        Update::Delete(_) => {}
    }
    Ok(())
}

/// A new text is a new message in the old one's place: its header fields are kept apart from it.
fn replace_body(item: &mut Item, html: bool, text: &str) {
    let fields = Fields { body: Some((html, text.to_owned())), ..Fields::default() };
    let octets = mime::compose(&fields, &[], &item.internet_message_id, item.sent);
    item.raw = Content::new(octets);
    item.from_mime = false;
}

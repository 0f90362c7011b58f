//! Messages: made, read, found, changed, moved, removed.

use serde_json::json;

use super::act::{Act, Acted};
use super::call::{At, How};
use super::date;
use super::filter::{Field, Filter, Value};
use super::input::MessageInput;
use super::mime;
use super::query::View;
use super::reply::{Refusal, Reply};
use super::state::{Attachment, Content, Given, Item, Properties, Rare};

/// The service's page where none is asked for.
const PAGE: usize = 10;

impl Act<'_> {
    pub(super) fn create_message(&mut self, folder: Option<&str>, input: &MessageInput, how: How) -> Acted {
        let folder = self.folder(folder.unwrap_or("drafts"))?;
        let size = 512
            + input.body.as_ref().map_or(0, |b| b.1.length)
            + input.raw.as_ref().map_or(0, |r| r.length)
            + input.attachments.iter().map(|a| a.content.length).sum::<u64>();
        if size > self.options.sizes.message {
            return Err(too_large());
        }
        if input.attachments.len() > self.options.sizes.attachments {
            return Err(Refusal::new(400, "ErrorInvalidRequest", "There are too many attachments."));
        }
        if let Some(a) =
            input.attachments.iter().find(|a| a.content.length > self.options.sizes.attachment_post as u64)
            && how == How::Json
        {
            let length = a.content.length;
            return Err(Refusal::new(
                413,
                "ErrorMessageSizeExceeded",
                format!("An attachment of {length} bytes needs an upload session."),
            ));
        }
        self.place(folder)?;
        self.room(size)?;
        let number = self.mailbox.next_number();
        let item = self.make(number, folder, input, how);
        self.mailbox.add(item);
        self.counters.creates += 1;
        let item = self.mailbox.items.get(&number).ok_or_else(Refusal::not_found)?;
        let mut shown = self.show.message(self.mailbox, item, &View::default());
        shown["@odata.context"] =
            json!(format!("{}/$metadata#users('{}')/messages/$entity", self.show.root, self.mailbox.guid));
        let mut reply = Reply::json(201, &shown);
        reply.created = Some((self.mailbox.address.clone(), number));
        Ok(reply)
    }

    pub(super) fn make(&mut self, number: u64, folder: u32, input: &MessageInput, how: How) -> Item {
        let now = self.now;
        let (id, immutable) = (self.ids.draw(), self.ids.draw());
        let change = self.mailbox.next_change();
        let mut item = Item {
            number,
            folder,
            id,
            immutable,
            change,
            entered: change,
            created: now,
            modified: now,
            received: now,
            sent: now,
            subject: None,
            internet_message_id: "".into(),
            html: false,
            body: Content::default(),
            from: None,
            to: [].into(),
            read: true,
            draft: how != How::Import,
            other_flags: 0,
            conversation: self.ids.draw(),
            properties: Properties::default(),
            attachments: Vec::new(),
            raw: input.raw.clone().map(|c| Box::new(self.keep(c))),
            rare: Rare::default(),
        };
        if let Some(headers) = input.headers.as_ref().filter(|headers| !headers.is_empty()) {
            item.rare.headers.clone_from(headers);
        }
        if input.body.is_none() {
            item.body = Content::new(bytes::Bytes::new());
        }
        match how {
            How::Json => born(&mut item, &input.properties),
            How::Mime | How::Import if self.options.mime_keeps_headers => {
                let given = &input.properties;
                given.iter().for_each(|(id, value)| item.properties.insert(&id.canonical, value));
            }
            How::Mime | How::Import => {}
        }
        if how == How::Import {
            item.read = self.options.import_mime_read;
        }
        if let Some(sent) = input.sent {
            item.sent = sent;
            if how == How::Import && self.options.import_mime_keeps_date {
                item.received = sent;
            }
        }
        let body = input.body.clone().map(|(html, content)| (html, self.keep(content)));
        common(&mut item, input);
        sensitive(&mut item, input, body);
        if item.internet_message_id.is_empty() {
            item.internet_message_id = format!("<{}@mock.invalid>", self.ids.text(30)).into();
        }
        for a in &input.attachments {
            let content = self.keep(a.content.clone());
            item.attachments.push(Attachment::new(self.ids.draw(), a, now, content));
        }
        item
    }

    /// The content, or only its digest if the tenant keeps none.
    pub(super) fn keep(&self, mut content: Content) -> Content {
        if !self.options.keep_content {
            content.hold(None);
        }
        content
    }

    pub(super) fn get_message(&self, at: &At, view: &View) -> Acted {
        let item = self.item(at)?;
        let mut shown = self.show.message(self.mailbox, item, view);
        shown["@odata.context"] =
            json!(format!("{}/$metadata#users('{}')/messages/$entity", self.show.root, self.mailbox.guid));
        Ok(Reply::json(200, &shown))
    }

    pub(super) fn message_mime(&self, at: &At) -> Acted {
        Ok(Reply::octets("text/plain", mime::write(self.item(at)?)))
    }

    pub(super) fn patch_message(&mut self, at: &At, input: &MessageInput) -> Acted {
        let item = self.item_to_change(at)?;
        let (number, draft) = (item.number, item.draft);
        let advanced = self.options.mail_advanced;
        if input.touches_sensitive() && !draft && self.options.guard_sensitive && !advanced {
            return Err(Refusal::new(
                403,
                "ErrorAccessDenied",
                "Access is denied. Changing these properties of a sent or received message needs Mail-Advanced.ReadWrite.",
            ));
        }
        let change_sensitive = draft || (self.options.guard_sensitive && advanced);
        let body = input.body.clone().map(|(html, content)| (html, self.keep(content)));
        let (now, patch_dates) = (self.now, self.options.patch_dates);
        self.mailbox.update(number, now, |item| {
            common(item, input);
            if change_sensitive {
                sensitive(item, input, body);
            }
            for (id, value) in &input.properties {
                // The store keeps what it computes: the draft bit and the dates stay as they were born.
                let date = ["SystemTime 0xe06", "SystemTime 0x39"].contains(&id.canonical.as_str());
                if date && patch_dates {
                    born(item, std::slice::from_ref(&(id.clone(), value.clone())));
                } else if !BORN.contains(&id.canonical.as_str()) {
                    item.properties.insert(&id.canonical, value);
                }
            }
        });
        self.counters.patches += 1;
        self.shown(200, number)
    }

    pub(super) fn move_message(&mut self, at: &At, to: &str) -> Acted {
        let number = self.item_to_change(at)?.number;
        let to = self.folder(to)?;
        self.place(to)?;
        self.mailbox.relocate(number, to, self.ids, self.now);
        self.counters.moves += 1;
        self.shown(201, number)
    }

    pub(super) fn delete_message(&mut self, at: &At, for_good: bool) -> Acted {
        let number = self.item_to_change(at)?.number;
        if for_good {
            self.mailbox.purge(number);
        } else {
            self.mailbox.delete(number, self.ids, self.now);
        }
        self.counters.deletes += 1;
        Ok(Reply::empty(204))
    }

    fn shown(&self, status: u16, number: u64) -> Acted {
        let item = self.mailbox.items.get(&number).ok_or_else(Refusal::not_found)?;
        Ok(Reply::json(status, &self.show.message(self.mailbox, item, &View::default())))
    }

    pub(super) fn list_messages(&self, folder: Option<&str>, view: &View) -> Acted {
        let folder = folder.map(|f| self.folder(f)).transpose()?;
        let numbers = self.matching(folder, view);
        let top = view.top.unwrap_or(PAGE);
        // In the default order a page begins after a message, so that arrivals do not shift it; else at an offset.
        let ordered = view.order.is_some();
        let after = view.after.unwrap_or(0);
        let begin = if ordered {
            usize::try_from(after).unwrap_or(usize::MAX)
        } else {
            numbers.partition_point(|n| *n <= after)
        };
        let begin = begin.saturating_add(if view.after.is_some() { 0 } else { view.skip }).min(numbers.len());
        let end = begin.saturating_add(top).min(numbers.len());
        let page = &numbers[begin..end];
        let shown: Vec<serde_json::Value> = page
            .iter()
            .filter_map(|n| self.mailbox.items.get(n))
            .map(|item| self.show.message(self.mailbox, item, view))
            .collect();
        let mut out = json!({
            "@odata.context": format!("{}/$metadata#users('{}')/messages", self.show.root, self.mailbox.guid),
            "value": shown,
        });
        if view.count {
            out["@odata.count"] = json!(numbers.len());
        }
        if end < numbers.len()
            && let Some(last) = page.last()
        {
            let position = if ordered { end as u64 } else { *last };
            out["@odata.nextLink"] = json!(view.next_link(self.address, position));
        }
        Ok(Reply::json(200, &out))
    }

    /// The numbers of the messages asked for, in order.
    fn matching(&self, folder: Option<u32>, view: &View) -> Vec<u64> {
        let bin = self.mailbox.recoverable();
        let fits = |number: &u64| {
            let Some(item) = self.mailbox.items.get(number) else { return false };
            if !item.is_mail() {
                return false;
            }
            let here = folder.map_or(item.folder != bin, |f| f == item.folder);
            here && view.filter.as_ref().is_none_or(|filter| self.passes(filter, item))
        };
        let indexed = view
            .filter
            .as_ref()
            .filter(|_| !self.options.filter_ignores_case)
            .and_then(Filter::anchor)
            .and_then(|(id, value)| self.mailbox.having(id, value));
        let mut numbers: Vec<u64> = match (indexed, folder.and_then(|f| self.mailbox.folders.get(&f))) {
            (Some(found), _) => found.into_iter().filter(|n| fits(n)).collect(),
            (None, Some(folder)) => folder.items.iter().copied().filter(|n| fits(n)).collect(),
            (None, None) => self.mailbox.items.keys().copied().filter(|n| fits(n)).collect(),
        };
        if let Some(order) = view.order {
            let key = |n: &u64| {
                self.mailbox.items.get(n).map_or(0, |i| if order.created { i.created } else { i.received })
            };
            numbers.sort_by_key(|n| (key(n), *n));
            if order.descending {
                numbers.reverse();
            }
        }
        numbers
    }

    pub(super) fn passes(&self, filter: &Filter, item: &Item) -> bool {
        let delay = u64::try_from(self.options.filter_delay_ms).unwrap_or(0);
        if self.now < item.created.saturating_add(self.options.scaled_ms(delay)) {
            return false;
        }
        filter.holds(self.options.filter_ignores_case, &|id| item.property(id), &|field| {
            Some(match field {
                Field::DisplayName => return None,
                Field::InternetMessageId => Value::Text(&item.internet_message_id),
                Field::Subject => Value::Text(item.subject.as_deref().unwrap_or("")),
                Field::ReceivedDateTime => Value::Date(item.received),
                Field::SentDateTime => Value::Date(item.sent),
                Field::CreatedDateTime => Value::Date(item.created),
                Field::IsRead => Value::Bool(item.read),
                Field::IsDraft => Value::Bool(item.draft),
                Field::HasAttachments => Value::Bool(item.attachments.iter().any(|a| !a.inline)),
            })
        })
    }
}

/// Properties that count at creation only.
const BORN: &[&str] = &[
    "Integer 0xe07",
    "SystemTime 0xe06",
    "SystemTime 0x39",
    "SystemTime 0x3007",
    "SystemTime 0x3008",
    "String 0x37",
    "String 0x1035",
];

/// What extended properties decide at birth: draft or not, read or not, the dates.
fn born(item: &mut Item, given: &[Given]) {
    for (id, value) in given {
        match id.canonical.as_str() {
            "Integer 0xe07" => {
                let bits: i32 = value.parse().unwrap_or(0);
                item.draft = bits & 0x8 != 0;
                item.read = bits & 0x1 != 0;
                item.other_flags = bits & !(0x1 | 0x8 | 0x10);
            }
            "SystemTime 0xe06" => item.received = date::read(value).unwrap_or(item.received),
            "SystemTime 0x39" => item.sent = date::read(value).unwrap_or(item.sent),
            "String 0x37" => item.subject = Some(value.as_str().into()),
            "String 0x1035" => item.internet_message_id = value.as_str().into(),
            other if BORN.contains(&other) => {}
            _ => {
                item.properties.insert(&id.canonical, value);
            }
        }
    }
}

/// Sets a field to what is given, if it is another value: what is usual then takes no room.
macro_rules! set {
    ($item:ident $(. $field:ident)+, $given:expr) => {
        if let Some(given) = $given.as_ref().filter(|given| **given != $item $(. $field)+) {
            $item $(. $field)+ = given.clone();
        }
    };
}

/// What can be changed on any message.
fn common(item: &mut Item, input: &MessageInput) {
    item.read = input.read.unwrap_or(item.read);
    set!(item.rare.flag, input.flag);
    set!(item.rare.categories, input.categories);
    set!(item.rare.importance, input.importance);
    set!(item.rare.inference, input.inference);
    set!(item.rare.delivery_receipt, input.delivery_receipt);
    set!(item.rare.read_receipt, input.read_receipt);
}

/// What can be changed on drafts.
fn sensitive(item: &mut Item, input: &MessageInput, body: Option<(bool, Content)>) {
    if let Some(subject) = &input.subject {
        item.subject = subject.as_deref().map(Box::from);
    }
    if let Some(id) = &input.internet_message_id {
        item.internet_message_id = id.as_str().into();
    }
    if input.from.is_some() || input.sender.is_some() {
        let now = (item.from.as_deref().cloned(), item.sender().cloned());
        item.set_authors(input.from.clone().unwrap_or(now.0), input.sender.clone().unwrap_or(now.1));
    }
    if let Some(to) = &input.to {
        item.to = to.as_slice().into();
    }
    set!(item.rare.cc, input.cc);
    set!(item.rare.bcc, input.bcc);
    set!(item.rare.reply_to, input.reply_to);
    if let Some((html, content)) = body {
        (item.html, item.body) = (html, content);
    }
}

pub(super) fn too_large() -> Refusal {
    Refusal::new(413, "ErrorMessageSizeExceeded", "The message exceeds the maximum supported size.")
}

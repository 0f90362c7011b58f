//! What is held, as the service shows it.

use serde_json::{Map, Value, json};

use super::date;
use super::mailbox::Mailbox;
use super::query::View;
use super::state::{Attachment, Flag, Item, Recipient};

/// How ids and bodies are to be shown, and what the tenant is like.
#[derive(Debug, Clone)]
pub(super) struct Show {
    pub(super) immutable: bool,
    pub(super) text_body: bool,
    /// `https://host/v1.0`
    pub(super) root: String,
    pub(super) select_expand_drops: bool,
    pub(super) attachment_overhead: u64,
}

impl Show {
    pub(super) fn folder(&self, mailbox: &Mailbox, number: u32, view: &View) -> Value {
        let Some(folder) = mailbox.folders.get(&number) else { return Value::Null };
        let mut out = Map::new();
        out.insert("id".into(), json!(folder.id));
        let mut put = |name: &str, value: &dyn Fn() -> Value| {
            if view.wants(name) {
                out.insert(name.into(), value());
            }
        };
        put("displayName", &|| json!(folder.name));
        put("parentFolderId", &|| {
            // The root's parent is an id that leads nowhere.
            let parent = mailbox.folders.get(&folder.parent).map_or(&folder.id, |f| &f.id);
            json!(parent)
        });
        put("childFolderCount", &|| json!(mailbox.children(number).filter(|f| !f.hidden).count()));
        put("unreadItemCount", &|| {
            let unread =
                folder.items.iter().filter(|n| mailbox.items.get(n).is_some_and(|i| !i.read)).count();
            json!(unread)
        });
        put("totalItemCount", &|| json!(folder.items.len()));
        put("isHidden", &|| json!(folder.hidden));
        if view.select.is_some() {
            put("sizeInBytes", &|| {
                let bytes: u64 =
                    folder.items.iter().filter_map(|n| mailbox.items.get(n)).map(|item| item.size()).sum();
                json!(bytes)
            });
        }
        Value::Object(out)
    }

    pub(super) fn id(&self, item: &Item) -> String {
        if self.immutable { item.immutable.text() } else { item.id.text() }
    }

    pub(super) fn message(&self, mailbox: &Mailbox, item: &Item, view: &View) -> Value {
        let mut out = Map::new();
        out.insert("@odata.etag".into(), json!(format!("W/\"{}\"", item.change_key())));
        out.insert("id".into(), json!(self.id(item)));
        let mut put = |name: &str, value: &dyn Fn() -> Value| {
            if view.wants(name) {
                out.insert(name.into(), value());
            }
        };
        put("createdDateTime", &|| json!(date::write(item.created)));
        put("lastModifiedDateTime", &|| json!(date::write(item.modified)));
        put("changeKey", &|| json!(item.change_key()));
        put("categories", &|| json!(item.rare.categories));
        put("receivedDateTime", &|| json!(date::write(item.received)));
        put("sentDateTime", &|| json!(date::write(item.sent)));
        put("hasAttachments", &|| json!(item.attachments.iter().any(|a| !a.inline)));
        let dropped = self.select_expand_drops && view.select.is_some() && !view.properties.is_empty();
        if !dropped {
            put("internetMessageId", &|| json!(item.internet_message_id));
        }
        put("internetMessageHeaders", &|| {
            Value::Array(item.rare.headers.iter().map(|(n, v)| json!({"name": n, "value": v})).collect())
        });
        put("subject", &|| json!(item.subject));
        put("bodyPreview", &|| {
            json!(plain(item).chars().filter(|c| *c != '\u{feff}').take(255).collect::<String>())
        });
        put("importance", &|| json!(item.rare.importance));
        put("parentFolderId", &|| json!(mailbox.folders.get(&item.folder).map(|f| &f.id)));
        put("conversationId", &|| json!(item.conversation));
        put("conversationIndex", &|| {
            json!(
                encodify::base64::STANDARD
                    .encode(item.conversation.text().as_bytes().get(..22).unwrap_or(b""))
            )
        });
        put("isDeliveryReceiptRequested", &|| json!(item.rare.delivery_receipt));
        put("isReadReceiptRequested", &|| json!(item.rare.read_receipt));
        put("isRead", &|| json!(item.read));
        put("isDraft", &|| json!(item.draft));
        put("webLink", &|| json!(format!("https://outlook.office365.com/owa/?ItemID={}", item.id.text())));
        put("inferenceClassification", &|| json!(item.rare.inference));
        for name in ["body", "uniqueBody"] {
            put(name, &|| self.body(item));
        }
        put("sender", &|| recipient(item.sender()));
        put("from", &|| recipient(item.from.as_deref()));
        put("toRecipients", &|| recipients(&item.to));
        put("ccRecipients", &|| recipients(&item.rare.cc));
        put("bccRecipients", &|| recipients(&item.rare.bcc));
        put("replyTo", &|| recipients(&item.rare.reply_to));
        put("flag", &|| flag(&item.rare.flag));
        let found: Vec<Value> = view
            .properties
            .iter()
            .filter_map(|id| item.property(id).map(|v| json!({"id": id, "value": v})))
            .collect();
        if !found.is_empty() {
            out.insert("singleValueExtendedProperties".into(), Value::Array(found));
        }
        if view.expand_attachments {
            let all = item.attachments.iter().map(|a| self.attachment(a, &View::default())).collect();
            out.insert("attachments".into(), Value::Array(all));
        }
        Value::Object(out)
    }

    /// HTML comes back with a `<meta>` the client never sent: the service rewrites bodies.
    fn body(&self, item: &Item) -> Value {
        if !item.html {
            return json!({"contentType": "text", "content": item.body.text()});
        }
        if self.text_body {
            return json!({"contentType": "text", "content": plain(item)});
        }
        let meta = "<meta http-equiv=\"Content-Type\" content=\"text/html; charset=utf-8\">";
        let text = item.body.text();
        let content = match text.to_ascii_lowercase().find("<head>") {
            Some(at) => format!("{}\r\n{meta}{}", &text[..at + 6], &text[at + 6..]),
            None if text.to_ascii_lowercase().contains("<html") => text,
            None => format!("<html><head>\r\n{meta}</head><body>{text}</body></html>"),
        };
        json!({"contentType": "html", "content": content})
    }

    pub(super) fn attachment(&self, a: &Attachment, view: &View) -> Value {
        let mut out = Map::new();
        let kind = if a.file { "#microsoft.graph.fileAttachment" } else { "#microsoft.graph.itemAttachment" };
        out.insert("@odata.type".into(), json!(kind));
        if a.file {
            let media = a.content_type.as_deref().unwrap_or("application/octet-stream");
            out.insert("@odata.mediaContentType".into(), json!(media));
        }
        out.insert("id".into(), json!(a.id));
        let mut put = |name: &str, value: &dyn Fn() -> Value| {
            if view.wants(name) {
                out.insert(name.into(), value());
            }
        };
        put("lastModifiedDateTime", &|| json!(date::write(a.modified)));
        put("name", &|| json!(a.name));
        put("contentType", &|| json!(a.content_type.as_deref()));
        put("size", &|| json!(a.content.length + self.attachment_overhead));
        put("isInline", &|| json!(a.inline));
        if a.file {
            put("contentId", &|| json!(a.content_id()));
            put("contentLocation", &|| json!(a.content_location()));
            put("contentBytes", &|| json!(encodify::base64::STANDARD.encode(a.content.octets())));
        } else if view.expand_item {
            let item: Value = serde_json::from_slice(&a.content.octets()).unwrap_or_default();
            out.insert("item".into(), item);
        }
        Value::Object(out)
    }
}

/// The text of a body, tags left out.
fn plain(item: &Item) -> String {
    let text = item.body.text();
    if !item.html {
        return text;
    }
    let mut inside = false;
    text.chars()
        .filter(|c| {
            match c {
                '<' => inside = true,
                '>' => {
                    inside = false;
                    return false;
                }
                _ => {}
            }
            !inside
        })
        .collect()
}

fn recipient(r: Option<&Recipient>) -> Value {
    r.map_or(Value::Null, |r| {
        // The service fills in a missing name with the address.
        json!({"emailAddress": {"name": r.name.as_ref().or(r.address.as_ref()), "address": r.address}})
    })
}

fn recipients(list: &[Recipient]) -> Value {
    Value::Array(list.iter().map(|r| recipient(Some(r))).collect())
}

fn flag(flag: &Flag) -> Value {
    let mut out = Map::new();
    out.insert("flagStatus".into(), json!(flag.status));
    for (name, when) in
        [("startDateTime", &flag.start), ("dueDateTime", &flag.due), ("completedDateTime", &flag.completed)]
    {
        if let Some((when, zone)) = when {
            out.insert(name.into(), json!({"dateTime": when, "timeZone": zone}));
        }
    }
    Value::Object(out)
}

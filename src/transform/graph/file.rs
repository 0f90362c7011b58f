//! Attachments as Graph takes them: files, and nested messages as items.

use std::io;

use bytes::Bytes;

use crate::transform::base64::{Content, Reader};
use crate::transform::json::{self, Object};
use crate::transform::mime::Head;
use crate::transform::octets::Octets;

/// Longest file name, in characters.
const MAX_FILE_NAME: usize = 200;

/// An attachment.
#[derive(Clone)]
pub struct File {
    name: String,
    content_type: String,
    content_id: Option<String>,
    inline: bool,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    File(Content),
    /// A nested message, written already: a JSON object.
    Item(Bytes),
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "File({} bytes)", self.len())
    }
}

impl File {
    /// A whole message, exactly as it came.
    pub fn original(octets: &Octets) -> File {
        File::new("original-message.eml", "message/rfc822", octets.clone().into())
    }

    /// A file with this name and media type.
    pub(super) fn new(name: &str, content_type: &str, content: Content) -> File {
        File {
            name: name.to_owned(),
            content_type: content_type.to_owned(),
            content_id: None,
            inline: false,
            kind: Kind::File(content),
        }
    }

    /// A part of a message; `number` makes up a name where it has none. `inline`: the body refers to this Content-ID.
    pub(super) fn part(head: &Head, number: usize, content: Content, inline: impl Fn(&str) -> bool) -> File {
        let content_id = head.content_id.clone().filter(|id| (1..=900).contains(&id.len()));
        File {
            name: file_name(head, number),
            content_type: content_type(head),
            inline: content_id.as_deref().is_some_and(inline),
            content_id,
            kind: Kind::File(content),
        }
    }

    /// A nested message, as the JSON object it is created from.
    pub(super) fn item(name: &str, json: String) -> File {
        let name = clean(name);
        File {
            name: if name.is_empty() { "message".to_owned() } else { name },
            content_type: String::new(),
            content_id: None,
            inline: false,
            kind: Kind::Item(json.into()),
        }
    }

    /// Is it a nested message, not a file?
    pub fn is_item(&self) -> bool {
        matches!(self.kind, Kind::Item(_))
    }

    /// Decoded size in bytes: what the target counts. Of a nested message: of its JSON.
    pub fn len(&self) -> usize {
        match &self.kind {
            Kind::File(content) => content.len(),
            Kind::Item(json) => json.len(),
        }
    }

    /// No octets?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the decoded octets, for an upload in ranges. Nothing for a nested message: it goes in one request.
    pub fn reader(&self) -> Option<Reader<'_>> {
        match &self.kind {
            Kind::File(content) => Some(content.reader()),
            Kind::Item(_) => None,
        }
    }

    /// Bytes that [`File::write`] appends, at most.
    pub fn json_len(&self) -> usize {
        let id = self.content_id.as_deref().map_or(0, json::string_len);
        let content = match &self.kind {
            Kind::File(content) => content.base64_len(),
            Kind::Item(json) => json.len(),
        };
        content + json::string_len(&self.name) + self.content_type.len() + id + 160
    }

    /// Appends it as a `fileAttachment` or an `itemAttachment`.
    ///
    /// # Errors
    /// Reading the spool failed; then part of it may be there.
    pub fn write(&self, out: &mut String) -> io::Result<()> {
        let mut object = Object::begin(out);
        match &self.kind {
            Kind::File(content) => {
                object.text("@odata.type", "#microsoft.graph.fileAttachment");
                self.describe(&mut object);
                let bytes = object.key("contentBytes");
                bytes.push('"');
                content.push_base64(bytes)?;
                bytes.push('"');
            }
            Kind::Item(json) => {
                object.text("@odata.type", "#microsoft.graph.itemAttachment");
                object.text("name", &self.name);
                object.flag("isInline", false);
                object.key("item").push_str(std::str::from_utf8(json).unwrap_or("null"));
            }
        }
        object.end();
        Ok(())
    }

    fn describe(&self, object: &mut Object<'_>) {
        object.text("name", &self.name);
        object.text("contentType", &self.content_type);
        object.flag("isInline", self.inline);
        if let Some(id) = &self.content_id {
            object.text("contentId", id);
        }
    }

    /// The request body that attaches it in one request.
    ///
    /// # Errors
    /// Reading the spool failed.
    pub fn body(&self) -> io::Result<Bytes> {
        let mut out = String::with_capacity(self.json_len());
        self.write(&mut out)?;
        Ok(Bytes::from(out))
    }

    /// The request body that begins an upload session for it. The size is the decoded one: with any other the upload
    /// never completes.
    pub fn session_body(&self) -> Bytes {
        let mut out = String::new();
        let mut object = Object::begin(&mut out);
        let mut item = Object::begin(object.key("AttachmentItem"));
        item.text("attachmentType", "file");
        item.number("size", self.len() as u64);
        self.describe(&mut item);
        item.end();
        object.end();
        Bytes::from(out)
    }
}

/// Is it a message within a message?
pub(super) fn is_message(head: &Head) -> bool {
    head.main == "message" && matches!(head.sub.as_str(), "rfc822" | "global")
}

/// A name without path separators and control characters, not too long.
fn clean(name: &str) -> String {
    let clean: String = name
        .chars()
        .filter(|c| !c.is_control())
        .map(|c| if matches!(c, '/' | '\\') { '_' } else { c })
        .collect();
    let name = clean.trim();
    if name.chars().count() <= MAX_FILE_NAME {
        return name.to_owned();
    }
    // The end is kept: it tells what kind of file it is.
    let ending: String = match name.rsplit_once('.') {
        Some((_, e)) if e.len() <= 16 => format!(".{e}"),
        _ => String::new(),
    };
    name.chars().take(MAX_FILE_NAME - ending.chars().count()).collect::<String>() + &ending
}

/// The name of a file: its own, cleaned, else a made one.
fn file_name(head: &Head, number: usize) -> String {
    let mut name = clean(head.name.as_deref().unwrap_or(""));
    if is_message(head) {
        if name.is_empty() {
            return format!("message-{number}.eml");
        }
        if !name.to_ascii_lowercase().ends_with(".eml") {
            name.push_str(".eml");
        }
        return name;
    }
    if !name.trim_matches('.').is_empty() {
        return name;
    }
    let ending = match (head.main.as_str(), head.sub.as_str()) {
        ("text", "plain") => "txt",
        ("text", "html") => "html",
        ("text", "calendar") => "ics",
        ("text", "vcard" | "x-vcard") => "vcf",
        ("image", "jpeg") => "jpg",
        ("image", "svg+xml") => "svg",
        ("image", sub @ ("png" | "gif" | "bmp" | "tiff" | "webp")) => sub,
        ("application", sub @ ("pdf" | "zip" | "json" | "xml" | "rtf")) => sub,
        ("application", "ms-tnef" | "vnd.ms-tnef") => return "winmail.dat".to_owned(),
        ("application", "pkcs7-mime" | "x-pkcs7-mime") => "p7m",
        ("application", "pkcs7-signature" | "x-pkcs7-signature") => "p7s",
        ("application", "pgp-signature" | "pgp-encrypted") => "asc",
        ("message", "delivery-status" | "disposition-notification") | ("text", "rfc822-headers") => "txt",
        _ => "bin",
    };
    format!("attachment-{number}.{ending}")
}

fn content_type(head: &Head) -> String {
    let token = |t: &str| {
        (1..=127).contains(&t.len())
            && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
    };
    if token(&head.main) && token(&head.sub) {
        format!("{}/{}", head.main, head.sub)
    } else {
        "application/octet-stream".to_owned()
    }
}

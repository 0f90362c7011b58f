//! Which part becomes the body, and which parts become files.
//!
//! | in the message | in Graph |
//! |---|---|
//! | multipart/alternative | its HTML form, else its last plain form; other text forms are dropped (declared) |
//! | multipart/related | the root is shown, the rest are files; inline if the body refers to their Content-ID |
//! | multipart/signed, multipart/encrypted, application/pkcs7-mime | what is readable, and the whole original as a file (declared) |
//! | multipart/mixed and any other | text parts without a file name are shown, joined in order (declared); the rest are files |
//! | message/rfc822, message/global | a file with its exact octets (declared) |
//! | anything else (text/calendar, winmail.dat, delivery reports …) | a file with its decoded octets |

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::Bytes;

use super::losses;
use crate::transform::base64::Content;
use crate::transform::json::{self, Object};
use crate::transform::mime::{Head, Part, Structure};

/// Attachments of one message (Exchange's limit).
pub const MAX_FILES: usize = 250;
/// Longest file name, in characters.
const MAX_FILE_NAME: usize = 200;

/// A file to attach.
#[derive(Clone)]
pub struct File {
    name: String,
    content_type: String,
    content_id: Option<String>,
    inline: bool,
    content: Content,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "File({} bytes)", self.len())
    }
}

impl File {
    /// A whole message, exactly as it came.
    pub fn original(octets: &Bytes) -> File {
        File {
            name: "original-message.eml".to_owned(),
            content_type: "message/rfc822".to_owned(),
            content_id: None,
            inline: false,
            content: Content::Octets(octets.clone()),
        }
    }

    /// Decoded size in bytes: what the target counts.
    pub fn len(&self) -> usize {
        self.content.len()
    }

    /// No octets?
    pub fn is_empty(&self) -> bool {
        self.content.is_empty()
    }

    /// The decoded octets.
    pub fn octets(&self) -> Bytes {
        self.content.octets()
    }

    /// Bytes that [`File::write`] appends, at most.
    pub fn json_len(&self) -> usize {
        let id = self.content_id.as_deref().map_or(0, json::string_len);
        self.content.base64_len() + json::string_len(&self.name) + self.content_type.len() + id + 160
    }

    /// Appends it as a `fileAttachment`.
    pub fn write(&self, out: &mut String) {
        let mut object = Object::begin(out);
        object.text("@odata.type", "#microsoft.graph.fileAttachment");
        object.text("name", &self.name);
        object.text("contentType", &self.content_type);
        object.flag("isInline", self.inline);
        if let Some(id) = &self.content_id {
            object.text("contentId", id);
        }
        let bytes = object.key("contentBytes");
        bytes.push('"');
        self.content.push_base64(bytes);
        bytes.push('"');
        object.end();
    }

    /// The request body that attaches it in one request.
    pub fn body(&self) -> Bytes {
        let mut out = String::with_capacity(self.json_len());
        self.write(&mut out);
        Bytes::from(out)
    }

    /// The request body that begins an upload session for it. The size is the decoded one: with any other the upload
    /// never completes.
    pub fn session_body(&self) -> Bytes {
        let mut out = String::new();
        let mut object = Object::begin(&mut out);
        let mut item = Object::begin(object.key("AttachmentItem"));
        item.text("attachmentType", "file");
        item.text("name", &self.name);
        item.number("size", self.len() as u64);
        item.text("contentType", &self.content_type);
        item.flag("isInline", self.inline);
        if let Some(id) = &self.content_id {
            item.text("contentId", id);
        }
        item.end();
        object.end();
        Bytes::from(out)
    }
}

/// A message, divided into what Graph takes.
#[derive(Clone, Default)]
pub struct Chosen {
    /// Is the body HTML?
    pub html: bool,
    /// The body, with CRLF line ends.
    pub body: String,
    /// The files, in the order of the message.
    pub files: Vec<File>,
    /// The whole original must be attached.
    pub original: bool,
}

/// Chooses body and files.
pub fn choose(octets: &Bytes, losses: &mut BTreeSet<&'static str>) -> Chosen {
    let Some(structure) = Structure::read(octets) else {
        losses.insert(losses::STRUCTURE_UNREADABLE);
        return Chosen {
            body: "This message has too many parts to be shown. The whole original is attached.\r\n"
                .to_owned(),
            original: true,
            ..Chosen::default()
        };
    };
    if structure.outside {
        losses.insert(losses::OUTSIDE_PARTS);
    }
    let mut walk = Walk {
        structure: &structure,
        shown: Vec::new(),
        files: Vec::new(),
        protected: false,
        too_deep: false,
        losses,
    };
    walk.part(0, Use::Show, true);
    let Walk { shown, files, protected, too_deep, .. } = walk;
    let mut chosen = Chosen { original: protected || too_deep, ..Chosen::default() };
    if protected {
        losses.insert(losses::PROTECTED_ORIGINAL);
    }
    if too_deep {
        losses.insert(losses::STRUCTURE_UNREADABLE);
    }
    let part = |i: &usize| &structure.parts[*i];
    chosen.html = shown.iter().any(|i| part(i).head.is("text", "html"));
    if shown.len() > 1 {
        losses.insert(losses::BODY_JOINED);
    }
    for (n, part) in shown.iter().map(part).enumerate() {
        let text = part.text();
        if text.broken {
            losses.insert(losses::ENCODING_BROKEN);
            chosen.original = true;
        }
        if text.guessed {
            losses.insert(losses::CHARSET_GUESSED);
        }
        if n > 0 {
            chosen.body.push_str(if chosen.html { "<hr>\r\n" } else { "\r\n" });
        }
        if chosen.html && !part.head.is("text", "html") {
            push_as_html(&mut chosen.body, &text.text);
        } else {
            push_crlf(&mut chosen.body, &text.text);
        }
    }
    if shown.is_empty() && protected {
        chosen.body =
            "This message is encrypted or signed as a whole. The whole original is attached.\r\n".to_owned();
    }
    for (n, i) in files.into_iter().enumerate() {
        let part = &structure.parts[i];
        let (content, broken) = part.content();
        if broken {
            losses.insert(losses::ENCODING_BROKEN);
            chosen.original = true;
        }
        let content_id = part.head.content_id.clone().filter(|id| (1..=900).contains(&id.len()));
        let inline = chosen.html && content_id.as_deref().is_some_and(|id| refers_to(&chosen.body, id));
        chosen.files.push(File {
            name: file_name(&part.head, n + 1),
            content_type: content_type(&part.head),
            content_id,
            inline,
            content,
        });
    }
    if chosen.files.len() + usize::from(chosen.original) > MAX_FILES {
        losses.insert(losses::ATTACHMENTS_BEYOND_LIMIT);
        chosen.files.truncate(MAX_FILES - 1);
        chosen.original = true;
    }
    chosen
}

/// What becomes of the parts below.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Text is shown, the rest are files.
    Show,
    /// Another form of what is shown: text is dropped, the rest are files.
    Other,
    /// Everything is a file.
    Attach,
}

struct Walk<'a> {
    structure: &'a Structure,
    shown: Vec<usize>,
    files: Vec<usize>,
    protected: bool,
    too_deep: bool,
    losses: &'a mut BTreeSet<&'static str>,
}

impl Walk<'_> {
    /// `form`: the part stands where a form of the text must stand, so a name does not make it a file. Depth is bounded
    /// by [`crate::transform::mime::MAX_DEPTH`].
    fn part(&mut self, index: usize, usage: Use, form: bool) {
        let structure = self.structure;
        let Part { head, children, .. } = &structure.parts[index];
        if head.main == "multipart" {
            match head.sub.as_str() {
                "encrypted" => self.protected = true,
                _ if children.is_empty() => self.undivided(index, usage),
                "signed" => {
                    self.protected = true;
                    for &child in children.iter().filter(|c| !is_signature(&structure.parts[**c].head)) {
                        self.part(child, usage, form);
                    }
                }
                "alternative" => {
                    let best = children
                        .iter()
                        .rfind(|c| self.holds(**c, &|h| h.is("text", "html")))
                        .or_else(|| children.iter().rfind(|c| self.holds(**c, &is_text)));
                    for &child in children {
                        let usage =
                            if Some(&child) == best || usage != Use::Show { usage } else { Use::Other };
                        self.part(child, usage, true);
                    }
                }
                "related" => {
                    let root = head.start.as_ref().and_then(|start| {
                        children.iter().find(|c| structure.parts[**c].head.content_id.as_ref() == Some(start))
                    });
                    let root = root.or(children.first());
                    for &child in children {
                        let (usage, form) =
                            if Some(&child) == root { (usage, true) } else { (Use::Attach, false) };
                        self.part(child, usage, form);
                    }
                }
                _ => children.iter().for_each(|&child| self.part(child, usage, false)),
            }
            return;
        }
        let unnamed = head.name.is_none() || form;
        if is_text(head) && !head.attachment && unnamed && usage != Use::Attach {
            if usage == Use::Show {
                self.shown.push(index);
            } else {
                self.losses.insert(losses::ALTERNATIVE_TEXT);
            }
        } else if head.main == "application" && matches!(head.sub.as_str(), "pkcs7-mime" | "x-pkcs7-mime") {
            self.protected = true;
        } else {
            if is_message(head) {
                self.losses.insert(losses::NESTED_AS_FILE);
            }
            self.files.push(index);
        }
    }

    /// A multipart without its delimiter: its octets are text of sorts. One that is nested too deeply: the original.
    fn undivided(&mut self, index: usize, usage: Use) {
        let delimiter = self.structure.parts[index].head.boundary.as_ref().map(|b| format!("--{b}"));
        let body = &self.structure.parts[index].body;
        if delimiter.is_some_and(|d| memchr::memmem::find(body, d.as_bytes()).is_some()) {
            self.too_deep = true;
        } else if usage == Use::Show {
            self.shown.push(index);
        } else {
            self.files.push(index);
        }
    }

    fn holds(&self, index: usize, wanted: &dyn Fn(&Head) -> bool) -> bool {
        let part = &self.structure.parts[index];
        (wanted(&part.head) && !part.head.attachment) || part.children.iter().any(|c| self.holds(*c, wanted))
    }
}

fn is_text(head: &Head) -> bool {
    head.main == "text" && matches!(head.sub.as_str(), "plain" | "html" | "")
}

fn is_message(head: &Head) -> bool {
    head.main == "message" && matches!(head.sub.as_str(), "rfc822" | "global")
}

fn is_signature(head: &Head) -> bool {
    head.main == "application"
        && matches!(head.sub.as_str(), "pgp-signature" | "pkcs7-signature" | "x-pkcs7-signature")
}

/// Does the HTML refer to a part by its Content-ID (RFC 2392), as written or percent-encoded?
fn refers_to(html: &str, id: &str) -> bool {
    let find = |id: &str| memchr::memmem::find(html.as_bytes(), format!("cid:{id}").as_bytes()).is_some();
    let encoded = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string();
    let at_only = id.replace('@', "%40");
    find(id) || find(&at_only) || find(&encoded)
}

/// The name of a file: its own without path separators and control characters, else a made one.
fn file_name(head: &Head, number: usize) -> String {
    let clean: String = head
        .name
        .as_deref()
        .unwrap_or("")
        .chars()
        .filter(|c| !c.is_control())
        .map(|c| if matches!(c, '/' | '\\') { '_' } else { c })
        .collect();
    let mut name = clean.trim().to_owned();
    if name.chars().count() > MAX_FILE_NAME {
        // The end is kept: it tells what kind of file it is.
        let ending: String = match name.rsplit_once('.') {
            Some((_, e)) if e.len() <= 16 => format!(".{e}"),
            _ => String::new(),
        };
        name = name.chars().take(MAX_FILE_NAME - ending.chars().count()).collect::<String>() + &ending;
    }
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
        ("application", "ms-tnef") => return "winmail.dat".to_owned(),
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

/// Appends text with CRLF line ends.
pub fn push_crlf(out: &mut String, text: &str) {
    out.push_str(&crlf(text));
}

/// The text with every line end (CRLF, LF, CR) as CRLF.
pub fn crlf(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let bare = bytes.iter().enumerate().any(|(at, b)| match b {
        b'\n' => at == 0 || bytes[at - 1] != b'\r',
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        _ => false,
    });
    if !bare {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + text.len() / 32);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => {
                chars.next_if_eq(&'\n');
                out.push_str("\r\n");
            }
            '\n' => out.push_str("\r\n"),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn push_as_html(out: &mut String, text: &str) {
    out.push_str("<div style=\"white-space:pre-wrap\">");
    for c in crlf(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c => out.push(c),
        }
    }
    out.push_str("</div>\r\n");
}

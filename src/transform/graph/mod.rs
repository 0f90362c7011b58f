//! A message as Microsoft Graph takes it in JSON (write mode `json`): one create request, and files that follow.
//!
//! The message is rebuilt: Graph keeps one body, the attachments and the original header block. What is lost is
//! declared ([`losses`]). Rules for parts are in [`content`], [`nested`] and [`protected`], for flags in [`flags`], for
//! properties in [`props`].
//!
//! Header fields: the whole block goes into MAPI property 0x007D, where mail programs look for it. None goes as
//! `internetMessageHeaders`: that takes five fields at most, of 995 characters, whose names begin with `X-`, and refuses
//! the message for any other, and a field would stand there twice.
//!
//! Sizes (Graph documentation, "Attach large files"; `POST` bodies above 4 MB are refused with 413): a create stays
//! below [`MAX_REQUEST`]; files go into it while they fit, then follow one by one, those above [`MAX_SIMPLE_FILE`]
//! by upload session. A message that needs more than its create carries its stamp as *open* until all is there.
//!
//! Memory: the message is sliced, not copied, wherever it lies ([`Octets`]); beside it there is one request body, the
//! text being decoded (its beginning, if it is very long), and one range of an upload.

pub mod content;
pub mod flags;
pub mod folder_names;
pub mod losses;
pub mod nested;
pub mod props;
pub mod protected;

mod addresses;
mod file;

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;
use serde_json::Value;

pub use file::File;

use crate::model::{Error, Flags, Kind, Scope, Stamp, Timestamp};
use crate::transform::decode::header_text;
use crate::transform::json::{self, Array, Object};
use crate::transform::octets::Octets;
use addresses::{Fields, bounded, storable};
use content::{Chosen, Rules, choose, crlf, push_crlf};

/// Largest request body we send, in bytes: below both readings of "4 MB".
pub const MAX_REQUEST: usize = 3_900_000;
/// Largest file sent in one request, decoded, in bytes; its base64 and envelope stay below [`MAX_REQUEST`].
pub const MAX_SIMPLE_FILE: usize = 2_900_000;
/// How large requests and files may be, in bytes. The defaults are the service's; a trial of a thousand runs makes them
/// small, so that every way of storing is gone with little octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Largest request body; at most [`MAX_REQUEST`].
    pub request: usize,
    /// Largest file sent in one request, decoded; at most [`MAX_SIMPLE_FILE`].
    pub simple_file: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { request: MAX_REQUEST, simple_file: MAX_SIMPLE_FILE }
    }
}

/// Largest file an upload session takes, decoded, in bytes (150 MB).
pub const MAX_FILE: usize = 150 << 20;
/// Largest body text in a create, as JSON, in bytes.
pub const MAX_BODY: usize = 3_400_000;
/// Largest header block kept (0x007D), as JSON, in bytes.
pub const MAX_HEADERS: usize = 128 << 10;
/// Largest References and In-Reply-To kept, as JSON, in bytes.
const MAX_IDS: usize = 16 << 10;

/// When the whole original is attached as a file (`attach_original`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Original {
    /// Only where next to nothing could be kept otherwise: a structure that cannot be read, more than 250 attachments. A
    /// text that had to be cut is attached as a file; what is signed or encrypted is attached in its parts.
    Never,
    /// Also where something is lost that only the original has: a text that had to be cut, a broken encoding, a header
    /// block that had to be cut, PGP, S/MIME within a part.
    #[default]
    WhenLossy,
    /// To every message but one of an S/MIME class, which is its one attachment.
    Always,
}

/// What to build from.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The message as the source sent it.
    pub octets: &'a Octets,
    /// Its stamp.
    pub stamp: &'a Stamp,
    /// Its flags.
    pub flags: &'a Flags,
    /// Its received date.
    pub received: Option<Timestamp>,
    /// How large requests and files may be.
    pub bounds: Bounds,
    /// When the original is attached.
    pub original: Original,
    /// Nothing that a strict target may refuse: nested messages are files, no message classes.
    pub plain: bool,
}

/// A message to create.
#[derive(Clone)]
pub struct GraphMessage {
    /// Body of the create request, JSON, at most [`MAX_REQUEST`] bytes. It says *done* if `later` is empty.
    pub create: Bytes,
    /// Attachments that the create carries.
    pub carried: usize,
    /// Files that follow, each in a request or an upload session of its own.
    pub later: Vec<File>,
    /// The Message-ID that was sent, for comparing with the answer.
    pub message_id: Option<String>,
    /// What the copy cannot keep, sorted.
    pub losses: Vec<&'static str>,
    /// There is something that a strict target may refuse: [`Input::plain`] builds it without.
    pub special: bool,
}

impl std::fmt::Debug for GraphMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GraphMessage({} bytes, {} files follow)", self.create.len(), self.later.len())
    }
}

/// Builds the create request.
///
/// # Errors
/// `Refused` for no octets at all; `TooLarge` for a file above [`MAX_FILE`]; `Io` if the spool cannot be read.
pub fn build(input: &Input<'_>) -> Result<GraphMessage, Error> {
    if input.octets.is_empty() {
        return Err(Error::new(Kind::Refused, Scope::Message, "the message has no octets")
            .remedy("nothing to move; look at it at the source and approve it"));
    }
    let rules =
        Rules { original: input.original, plain: input.plain, item: input.bounds.simple_file, depth: 0 };
    let mut losses = BTreeSet::new();
    let chosen = choose(input.octets, &rules, &mut losses).map_err(|e| unreadable(&e))?;
    write(input, chosen, losses)
}

/// The spool cannot be read.
pub fn unreadable(e: &io::Error) -> Error {
    let what = format!("the spooled message cannot be read: {}", e.kind());
    Error::temporary(Kind::Io, Scope::Run, what).remedy("check the disk of the spool directory")
}

fn write(
    input: &Input<'_>,
    mut chosen: Chosen,
    mut losses: BTreeSet<&'static str>,
) -> Result<GraphMessage, Error> {
    let octets = input.octets;
    if chosen.headers.is_empty() {
        losses.insert(losses::NO_HEADERS);
    }
    let fields = Fields::read(&chosen.headers, &mut losses);
    let likely = octets.len().min(MAX_REQUEST);
    let mut out = String::with_capacity(likely + likely / 4 + 4096);
    let mut object = Object::begin(&mut out);
    fields.write(&mut object, &mut losses);
    flags::write(&mut object, input.flags, &mut losses);
    let props = properties(input, &chosen, &fields, &mut losses);

    let used = object.written() + props.len() + 512;
    let room = MAX_BODY.min(input.bounds.request.saturating_sub(used));
    let cut = chosen.cut || json::exceeds(&chosen.body, room.saturating_sub(2));
    let lossy = chosen.lossy || cut || losses.contains(losses::HEADERS_TRUNCATED);
    let original = chosen.class.is_none()
        && match input.original {
            Original::Always => true,
            Original::WhenLossy => lossy,
            Original::Never => chosen.unreadable,
        };
    let mut files = std::mem::take(&mut chosen.files);
    if cut {
        let notice = if original || chosen.class.is_some() { CUT_ORIGINAL } else { CUT_TEXT };
        truncate(&mut chosen.body, chosen.html, notice, room);
        losses.insert(losses::BODY_TRUNCATED);
        if !original {
            files.append(&mut chosen.texts);
        }
    }
    let most = content::MAX_FILES - usize::from(original);
    if files.len() > most {
        losses.insert(losses::ATTACHMENTS_BEYOND_LIMIT);
        files.truncate(most);
    }
    if original {
        files.push(File::original(octets));
    }
    if let Some(file) = files.iter().find(|f| f.len() > MAX_FILE) {
        let what = format!("an attachment of {} MB; the target takes 150 MB", file.len() >> 20);
        return Err(
            Error::new(Kind::TooLarge, Scope::Message, what).remedy("hand the message over as a file")
        );
    }
    write_body(&mut object, chosen.html, &chosen.body);
    drop(chosen.body);

    let special = chosen.class.is_some() || files.iter().any(File::is_item);
    let mut room = input.bounds.request.saturating_sub(object.written() + props.len() + 512);
    let (mut now, mut later) = (Vec::new(), Vec::new());
    for file in files {
        if file.len() <= input.bounds.simple_file && file.json_len() < room {
            room -= file.json_len() + 1;
            now.push(file);
        } else {
            later.push(file);
        }
    }
    if !now.is_empty() {
        let mut array = Array::begin(object.key("attachments"));
        for file in &now {
            file.write(array.item()).map_err(|e| unreadable(&e))?;
        }
        array.end();
    }
    let list = object.key("singleValueExtendedProperties");
    list.push('[');
    list.push_str(&props);
    list.push(',');
    props::write(list, props::STAMP, &props::stamp_value(input.stamp, later.is_empty()));
    list.push(']');
    object.end();
    Ok(GraphMessage {
        create: Bytes::from(out),
        carried: now.len(),
        later,
        message_id: fields.message_id,
        losses: losses.into_iter().collect(),
        special,
    })
}

/// The body of a message.
fn write_body(object: &mut Object<'_>, html: bool, text: &str) {
    let mut part = Object::begin(object.key("body"));
    part.text("contentType", if html { "html" } else { "text" });
    part.text("content", text);
    part.end();
}

/// The extended properties without the stamp, as elements of a JSON array.
fn properties(
    input: &Input<'_>,
    chosen: &Chosen,
    fields: &Fields,
    losses: &mut BTreeSet<&'static str>,
) -> String {
    let received = input.received.filter(storable).or_else(|| {
        losses.insert(losses::RECEIVED_MADE);
        fields.date
    });
    let received = received.unwrap_or(Timestamp::utc(0));
    let sent = fields.date.unwrap_or_else(|| {
        losses.insert(losses::SENT_MADE);
        received
    });
    let mut out = String::with_capacity(chosen.headers.len() + chosen.headers.len() / 8 + 512);
    let mut array = Array::begin(&mut out);
    flags::write_props(&mut array, input.flags);
    if let Some(class) = chosen.class {
        props::write(array.item(), props::CLASS, class);
    }
    props::write(array.item(), props::DELIVERY_TIME, &received.to_rfc3339());
    props::write(array.item(), props::SUBMIT_TIME, &sent.to_rfc3339());
    write_headers(&mut array, &chosen.headers, fields, losses);
    array.end();
    out.pop();
    out.remove(0);
    out
}

/// The properties that hold the header block and what threads are built from.
fn write_headers(
    array: &mut Array<'_>,
    headers: &[u8],
    fields: &Fields,
    losses: &mut BTreeSet<&'static str>,
) {
    let (text, _) = header_text(headers);
    let block = crlf(&text);
    let (block, cut) = bounded(&block, MAX_HEADERS);
    if cut {
        losses.insert(losses::HEADERS_TRUNCATED);
    }
    let ids = [(props::IN_REPLY_TO, &fields.in_reply_to), (props::REFERENCES, &fields.references)];
    let ids = ids.iter().filter_map(|(id, text)| Some((*id, bounded(text.as_deref()?, MAX_IDS).0)));
    for (id, value) in std::iter::once((props::TRANSPORT_HEADERS, block)).chain(ids) {
        if !value.is_empty() {
            props::write(array.item(), id, value);
        }
    }
}

const CUT_ORIGINAL: &str =
    "[This text was cut because it is too large for the mailbox. The whole original is attached.]";
const CUT_TEXT: &str =
    "[This text was cut because it is too large for the mailbox. All of it is attached as a file.]";

/// Cuts a body to `room` bytes of JSON, with a notice that cannot be overlooked.
fn truncate(body: &mut String, html: bool, notice: &str, room: usize) {
    let notice = if html { format!("<p><b>{notice}</b></p>\r\n") } else { format!("{notice}\r\n\r\n") };
    let keep = json::fitting(body, room.saturating_sub(json::string_len(&notice) + 2)).len();
    body.truncate(keep);
    let mut with = String::with_capacity(notice.len() + body.len());
    push_crlf(&mut with, &notice);
    with.push_str(body);
    *body = with;
}

/// The value of an extended property of a message that was listed with `$expand`. Ids are compared without regard to
/// case: the service writes GUIDs and tags in its own way (`0x1081`, `0x1081` in lower case …).
pub fn extended<'a>(message: &'a Value, id: &str) -> Option<&'a str> {
    message["singleValueExtendedProperties"]
        .as_array()?
        .iter()
        .find(|p| p["id"].as_str().is_some_and(|found| found.eq_ignore_ascii_case(id)))?["value"]
        .as_str()
}

#[cfg(test)]
mod tests;

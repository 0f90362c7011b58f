//! The structure of a message: its parts at their offsets, in memory or in the spool, nothing decoded, nothing copied.
//!
//! `mail-parser` reads header fields and charsets; the splitting into parts is ours, because a part must be cut at
//! exact octets (RFC 2046 §5.1: a delimiter is a whole line; `mail-parser` takes a boundary that merely begins the
//! same, and one in the middle of a line), because nested messages stay files and need not be walked, and because the
//! walk must not recurse as deeply as a hostile message is nested. Every call of `mail-parser` is isolated: a panic in
//! it is one unreadable message. Nothing here has a `Debug` that would show octets of a message.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use mail_parser::{HeaderValue, MessageParser, MimeHeaders};

use super::decode::{header_text, isolated};
use super::octets::{Octets, WINDOW};

/// Multiparts within multiparts that are followed; a deeper one is kept as a file.
pub const MAX_DEPTH: usize = 24;
/// Parts of one message that are looked at; a message with more is kept as a file as a whole.
pub const MAX_PARTS: usize = 5_000;

/// A message or part divided: its header block without the empty line, and its body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Halves<'a> {
    /// Header fields with their line ends; empty if there are none.
    pub headers: &'a [u8],
    /// Everything after the empty line.
    pub body: &'a [u8],
}

/// Divides a message or part. Octets that do not begin with a header field are all body. A leading mbox `From ` line
/// is left out of the headers.
pub fn halves(octets: &[u8]) -> Halves<'_> {
    let mut rest = octets;
    if rest.starts_with(b"From ") || rest.starts_with(b">From ") {
        let line = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        if is_field(&rest[line..]) {
            rest = &rest[line..];
        }
    }
    if let Some(line) = blank_line(rest) {
        return Halves { headers: &[], body: &rest[line..] };
    }
    if !is_field(rest) {
        return Halves { headers: &[], body: rest };
    }
    let (mut at, mut stray) = (0, None);
    while at < rest.len() {
        if let Some(line) = blank_line(&rest[at..]) {
            return Halves { headers: &rest[..at], body: &rest[at + line..] };
        }
        let folded = matches!(rest[at], b' ' | b'\t');
        if stray.is_none() && !folded && !is_field(&rest[at..]) {
            stray = Some(at);
        }
        at = memchr::memchr(b'\n', &rest[at..]).map_or(rest.len(), |n| at + n + 1);
    }
    // No empty line at all: what no longer looks like a header is the body.
    let (headers, body) = rest.split_at(stray.unwrap_or(rest.len()));
    Halves { headers, body }
}

/// Length of the line end that `octets` begin with, if they do.
fn blank_line(octets: &[u8]) -> Option<usize> {
    if octets.starts_with(b"\r\n") {
        Some(2)
    } else if octets.starts_with(b"\n") {
        Some(1)
    } else {
        None
    }
}

/// Does a header field begin here (RFC 5322 §2.2: printable characters without blank and colon, then a colon)?
fn is_field(octets: &[u8]) -> bool {
    let name = octets.iter().take_while(|b| b.is_ascii_graphic() && **b != b':').count();
    let blanks = octets[name..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    name > 0 && name <= 200 && octets.get(name + blanks) == Some(&b':')
}

/// How a part's body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// 7bit, 8bit, binary, or one we do not know: the octets are taken as they are.
    #[default]
    Identity,
    /// RFC 2045 §6.7
    QuotedPrintable,
    /// RFC 2045 §6.8
    Base64,
}

/// What a part's header says about it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Lower-case media type, e.g. `text`; with its subtype it is `text/plain` if the header names none.
    pub main: String,
    /// Lower-case subtype, e.g. `plain`; may be empty.
    pub sub: String,
    /// `charset` as given.
    pub charset: Option<String>,
    /// `boundary` as given.
    pub boundary: Option<String>,
    /// `start` of a multipart/related, without angle brackets.
    pub start: Option<String>,
    /// File name, decoded (RFC 2231, RFC 2047).
    pub name: Option<String>,
    /// Content-ID without angle brackets.
    pub content_id: Option<String>,
    /// Content-Disposition is `attachment`.
    pub attachment: bool,
    /// Content-Transfer-Encoding.
    pub encoding: Encoding,
}

impl Head {
    /// Is it `main/sub`?
    pub fn is(&self, main: &str, sub: &str) -> bool {
        self.main == main && self.sub == sub
    }

    /// Reads a header block. `digest`: parts without a type are messages (RFC 2046 §5.1.5).
    pub fn read(headers: &[u8], digest: bool) -> Head {
        let default = || Head {
            main: if digest { "message" } else { "text" }.to_owned(),
            sub: if digest { "rfc822" } else { "plain" }.to_owned(),
            ..Head::default()
        };
        let fields = content_fields(headers);
        if fields.is_empty() {
            return default();
        }
        let (text, _) = header_text(&fields);
        isolated(|| {
            let message = MessageParser::default().parse_headers(text.as_bytes())?;
            let part = message.parts.first()?;
            let mut head = default();
            if let Some(ct) = part.content_type() {
                head.main = ct.ctype().to_ascii_lowercase();
                head.sub = ct.subtype().unwrap_or_default().to_ascii_lowercase();
                let get = |name| ct.attribute(name).map(str::to_owned);
                (head.charset, head.boundary) = (get("charset"), get("boundary").filter(|b| !b.is_empty()));
                head.start = get("start").map(|s| s.trim_matches(['<', '>', ' ']).to_owned());
            }
            head.name = part.attachment_name().map(str::to_owned);
            head.attachment = part.content_disposition().is_some_and(|d| d.is_attachment());
            head.content_id =
                match part.headers.iter().rev().find(|h| h.name() == "Content-ID").map(|h| &h.value) {
                    Some(HeaderValue::Text(id)) => Some(id.trim_matches(['<', '>', ' ']).to_owned()),
                    _ => None,
                };
            head.encoding = match part.content_transfer_encoding().map(str::trim) {
                Some(e) if e.eq_ignore_ascii_case("base64") => Encoding::Base64,
                Some(e) if e.eq_ignore_ascii_case("quoted-printable") => Encoding::QuotedPrintable,
                _ => Encoding::Identity,
            };
            Some(head)
        })
        .flatten()
        .unwrap_or_else(default)
    }
}

/// The fields of a header block that describe content (RFC 2045 §3: their names begin with `Content-`), with their line
/// ends, in their order.
pub fn content_fields(headers: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut rest, mut wanted) = (headers, false);
    while !rest.is_empty() {
        let line;
        (line, rest) = rest.split_at(memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1));
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            wanted = line.get(..8).is_some_and(|name| name.eq_ignore_ascii_case(b"content-"));
        }
        if wanted {
            out.extend_from_slice(line);
        }
    }
    out
}

/// One part of a message.
#[derive(Clone)]
pub struct Part {
    /// What its header says.
    pub head: Head,
    /// Its body, still encoded: a slice of the message.
    pub body: Octets,
    /// Its parts, if it is a multipart that could be divided (indices into [`Structure::parts`]).
    pub children: Vec<usize>,
    /// A multipart below [`MAX_DEPTH`] others: it was not divided.
    pub too_deep: bool,
}

/// The parts of a message; the first is the message itself.
#[derive(Clone)]
pub struct Structure {
    /// The header block of the message.
    pub headers: Bytes,
    /// All parts, a multipart before its children.
    pub parts: Vec<Part>,
    /// Something readable stands before the first or behind the last delimiter of a multipart.
    pub outside: bool,
    /// There are more parts than [`MAX_PARTS`]; those that were found in time are here.
    pub too_many: bool,
}

impl Structure {
    /// Reads the structure.
    ///
    /// # Errors
    /// Reading the spool failed.
    pub fn read(octets: &Octets) -> io::Result<Structure> {
        let mut all = Structure { headers: Bytes::new(), parts: Vec::new(), outside: false, too_many: false };
        // (index of the multipart, its depth, is it a digest): its children are found when it is taken off.
        let mut open = Vec::new();
        all.headers = all.add(octets, false, 0, &mut open)?;
        while let Some((parent, depth, digest)) = open.pop() {
            let Part { head, body, .. } = &all.parts[parent];
            let (Some(boundary), body) = (head.boundary.clone(), body.clone()) else { continue };
            let Some(split) = split(&body, boundary.as_bytes(), MAX_PARTS)? else { continue };
            if all.parts.len() + split.parts.len() > MAX_PARTS {
                all.too_many = true;
                break;
            }
            all.outside |= split.outside;
            for part in split.parts {
                let child = all.parts.len();
                all.add(&body.slice(part), digest, depth + 1, &mut open)?;
                all.parts[parent].children.push(child);
            }
        }
        Ok(all)
    }

    /// Adds a part; gives its header block.
    fn add(
        &mut self,
        octets: &Octets,
        digest: bool,
        depth: usize,
        open: &mut Vec<(usize, usize, bool)>,
    ) -> io::Result<Bytes> {
        let (headers, body) = divide(octets)?;
        let head = Head::read(&headers, digest);
        let divisible = head.main == "multipart" && head.boundary.is_some();
        let too_deep = divisible && depth >= MAX_DEPTH;
        if divisible && !too_deep {
            open.push((self.parts.len(), depth, head.sub == "digest"));
        }
        let body = octets.slice(body..octets.len());
        self.parts.push(Part { head, body, children: Vec::new(), too_deep });
        Ok(headers)
    }
}

/// The header block and where the body begins: [`halves`] of octets that may lie in the spool.
fn divide(octets: &Octets) -> io::Result<(Bytes, usize)> {
    const FIRST: usize = 64 << 10;
    let mut size = if octets.in_memory().is_some() { octets.len() } else { FIRST };
    loop {
        let window = octets.read(0..size)?;
        let whole = window.len() == octets.len();
        // The first empty line decides, wherever the rest ends.
        let decided = || {
            blank_line(&window).is_some()
                || memchr::memmem::find(&window, b"\n\r\n").is_some()
                || memchr::memmem::find(&window, b"\n\n").is_some()
        };
        if whole || decided() {
            let Halves { headers, body } = halves(&window);
            let at = window.len() - body.len();
            return Ok((window.slice_ref(headers), at));
        }
        size = size.saturating_mul(4);
    }
}

struct Split {
    parts: Vec<Range<usize>>,
    outside: bool,
}

/// Longest line that can be a delimiter, beyond the delimiter itself (RFC 5322 §2.1.1 has lines of 998).
const MAX_TAIL: usize = 998;

/// Divides a multipart's body at its delimiter lines (RFC 2046 §5.1.1). `None` if there is none. The line break before
/// a delimiter belongs to the delimiter. A missing end is forgiven.
fn split(body: &Octets, boundary: &[u8], max: usize) -> io::Result<Option<Split>> {
    let mut delimiter = b"--".to_vec();
    delimiter.extend_from_slice(boundary.trim_ascii_end());
    let finder = memchr::memmem::Finder::new(&delimiter);
    let mut split = Split { parts: Vec::new(), outside: false };
    let mut open: Option<usize> = None; // where the current part begins
    let (mut ended, mut seen) = (false, false);
    let step = if body.in_memory().is_some() { body.len().max(1) } else { WINDOW };
    'all: for from in (0..body.len()).step_by(step) {
        // A delimiter that begins in this window may end in the next.
        let window = body.read(from..from + step + delimiter.len() - 1)?;
        for at in finder.find_iter(&window) {
            let at = from + at;
            let line = body.read(at.saturating_sub(2)..at + delimiter.len() + MAX_TAIL)?;
            let (before, after) = line.split_at(at.min(2));
            if at > 0 && before.last() != Some(&b'\n') {
                continue;
            }
            let tail = &after[delimiter.len()..];
            let tail_len = match memchr::memchr(b'\n', tail) {
                Some(n) => n + 1,
                None if at + delimiter.len() + tail.len() == body.len() => tail.len(),
                None => continue,
            };
            let word = tail[..tail_len].trim_ascii();
            let close = word == b"--";
            if !(word.is_empty() || close) {
                continue;
            }
            let line_break = match before {
                [b'\r', b'\n'] => 2,
                [.., b'\n'] => 1,
                _ => 0,
            };
            match open {
                Some(begin) => split.parts.push(begin..(at - line_break).max(begin)),
                None if !seen => split.outside |= body.slice(0..at).any_readable()?,
                None => {}
            }
            seen = true;
            open = Some(at + delimiter.len() + tail_len);
            if close {
                ended = true;
                break 'all;
            }
            if split.parts.len() > max {
                return Ok(Some(split)); // the caller refuses that many
            }
        }
    }
    match open {
        Some(begin) if ended => split.outside |= body.slice(begin..body.len()).any_readable()?,
        Some(begin) if begin < body.len() => split.parts.push(begin..body.len()),
        _ => {}
    }
    Ok(seen.then_some(split))
}

#[cfg(test)]
mod tests;

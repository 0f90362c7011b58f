//! Decoding: transfer encodings and charsets, of parts and of headers. What is broken or unlabelled is read as well as
//! can be, and said.

use std::borrow::Cow;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use mail_parser::decoders::charsets::map::charset_decoder;

use super::base64::Content;
use super::mime::{Encoding, Part};
use super::octets::Octets;

/// Runs `f`; `None` if it panics. For parsers we did not write, at the boundary of one message.
pub fn isolated<T>(f: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(f)).ok()
}

/// Text of header octets: as UTF-8 if they are, else as Windows-1252 (raw 8-bit headers are not allowed but common).
/// The flag tells that it was guessed.
pub fn header_text(octets: &[u8]) -> (Cow<'_, str>, bool) {
    match std::str::from_utf8(octets) {
        Ok(text) => (Cow::Borrowed(text), false),
        Err(_) => (Cow::Owned(windows_1252(octets)), true),
    }
}

/// Windows-1252, with unassigned octets as their Latin-1 controls.
pub fn windows_1252(octets: &[u8]) -> String {
    let decoder = charset_decoder(b"windows-1252");
    match decoder.and_then(|decode| isolated(|| decode(octets))) {
        Some(text) => text,
        None => octets.iter().map(|b| char::from(*b)).collect(),
    }
}

impl Part {
    /// Its decoded octets, and whether its encoding was broken (then as much as could be read is given).
    ///
    /// # Errors
    /// Reading the spool failed.
    pub fn content(&self) -> io::Result<(Content, bool)> {
        content(&self.body, self.head.encoding)
    }

    /// Its text; of a very long one the beginning, at least `most` bytes of it.
    ///
    /// # Errors
    /// Reading the spool failed.
    pub fn text(&self, most: usize) -> io::Result<Text> {
        // Three octets may stand for one (quoted-printable), and one character of the text is at least one byte.
        let beginning = self.body.slice(0..most.saturating_mul(4));
        let cut = beginning.len() < self.body.len();
        let (content, broken) = content(&beginning, self.head.encoding)?;
        let octets = content.octets()?;
        let charset = self.head.charset.as_deref().unwrap_or("").trim().to_ascii_lowercase();
        // Unlabelled, or labelled as something that the octets may well belie.
        let doubtful =
            matches!(charset.as_str(), "" | "us-ascii" | "ascii" | "utf-8" | "utf8" | "unknown-8bit");
        let utf8 = match std::str::from_utf8(&octets) {
            // Cut in the middle of a character.
            Err(e) if cut && e.error_len().is_none() => std::str::from_utf8(&octets[..e.valid_up_to()]),
            other => other,
        };
        let decoded = match utf8 {
            Ok(text) if doubtful => {
                return Ok(Text { text: text.to_owned(), broken: broken && !cut, guessed: false, cut });
            }
            Err(_) if doubtful => None,
            _ => charset_decoder(charset.as_bytes()).and_then(|decode| isolated(|| decode(&octets))),
        };
        let guessed = decoded.is_none();
        let text = match (decoded, utf8) {
            (Some(text), _) => text,
            (None, Ok(text)) => text.to_owned(),
            (None, Err(_)) => windows_1252(&octets),
        };
        Ok(Text { text, broken: broken && !cut, guessed, cut })
    }
}

fn content(body: &Octets, encoding: Encoding) -> io::Result<(Content, bool)> {
    match encoding {
        Encoding::Identity => Ok((body.clone().into(), false)),
        Encoding::Base64 => Content::from_base64(body),
        Encoding::QuotedPrintable => {
            let (octets, broken) = quoted_printable(&body.load()?);
            Ok((Bytes::from(octets).into(), broken))
        }
    }
}

/// A part's text, decoded.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub text: String,
    /// The transfer encoding was broken.
    pub broken: bool,
    /// The charset was missing, unknown or wrong: UTF-8 if it is that, else Windows-1252.
    pub guessed: bool,
    /// Only its beginning was read.
    pub cut: bool,
}

/// Decodes quoted-printable (RFC 2045 §6.7). What is not an escape is kept as it stands; the flag tells it happened.
fn quoted_printable(body: &[u8]) -> (Vec<u8>, bool) {
    let mut out = Vec::with_capacity(body.len());
    let mut broken = false;
    let mut rest = body;
    while !rest.is_empty() {
        let line;
        (line, rest) = rest.split_at(memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1));
        let (text, end): (&[u8], &[u8]) = match line {
            [text @ .., b'\r', b'\n'] => (text, b"\r\n"),
            [text @ .., b'\n'] => (text, b"\n"),
            text => (text, b""),
        };
        // Blanks at the end of a line were added on the way (rule 3).
        let mut text = text.trim_ascii_end();
        let soft = text.last() == Some(&b'=');
        if soft {
            text = &text[..text.len() - 1];
        }
        while let Some(at) = memchr::memchr(b'=', text) {
            out.extend_from_slice(&text[..at]);
            let hex = |n: usize| text.get(at + n).and_then(|b| char::from(*b).to_digit(16));
            let taken = match (hex(1), hex(2)) {
                (Some(high), Some(low)) => {
                    out.push((high * 16 + low) as u8);
                    3
                }
                _ => {
                    broken = true;
                    out.push(b'=');
                    1
                }
            };
            text = &text[at + taken..];
        }
        out.extend_from_slice(text);
        if !soft {
            out.extend_from_slice(end);
        }
    }
    (out, broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_quoted_printable_is_kept_as_it_stands() {
        for (body, text, broken) in [
            ("a=3Db=\r\nc  \r\nd", "a=bc\r\nd", false),
            ("100=ZZ", "100=ZZ", true),
            ("x=", "x", false),
            ("caf=e9", "caf\u{e9}", false),
        ] {
            let (octets, was) = quoted_printable(body.as_bytes());
            assert_eq!((windows_1252(&octets).as_str(), was), (text, broken), "{body}");
        }
    }
}

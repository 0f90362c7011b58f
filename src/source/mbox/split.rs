//! Where messages begin and end in an mbox file.
//!
//! The rule for a **From_ line**: it begins with `From `, the line before it is blank (or it is the first of the file),
//! and it holds a plausible date: a month's name, a day, a time and a year of four digits, as asctime(3) writes them,
//! with or without a zone. The first line of a file needs no date. The blank line before a From_ line (or at the end of
//! the file) is no part of the message. A `Content-Length` counts only if it ends right at a From_ line or at the end
//! of the file, blank lines between them allowed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memchr::memmem::Finder;

use crate::model::Timestamp;

use super::header;

/// Longest From_ line, in bytes.
const MAX_FROM_LINE: usize = 1024;
/// Longest header block that is looked at, in bytes; what is beyond counts as body.
const MAX_HEADER: usize = 1 << 20;
/// How much is read at once, in bytes.
const PIECE: usize = 256 << 10;

/// The place of one message in its file. Offsets in bytes from the beginning of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The first octet after the From_ line.
    pub(super) start: u64,
    /// The first octet of the body: after the blank line that ends the header block. Not after `end`.
    pub(super) body: u64,
    /// The first octet after the message.
    pub(super) end: u64,
    /// The end was told by `Content-Length`.
    pub(super) by_length: bool,
    /// The date of the From_ line.
    pub(super) received: Option<Timestamp>,
}

/// Walks an open file from message to message. Holds one piece of it, whatever its size.
#[derive(Debug)]
pub(super) struct Splitter {
    window: Window,
    /// Where the next From_ line begins.
    at: Option<u64>,
    trust_length: bool,
}

/// The file does not begin with a From_ line.
#[derive(Debug)]
pub(super) struct NotMbox;

impl Splitter {
    /// Begins at the first From_ line. `trust_length`: use `Content-Length` where it fits.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn new(file: File, size: u64, trust_length: bool) -> io::Result<Result<Splitter, NotMbox>> {
        let mut window = Window { file, size, from: 0, held: Vec::new() };
        let head = window.get(0, MAX_FROM_LINE)?;
        let mut skip = if head.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        skip += head[skip..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let at = match &head[skip..] {
            [] => None,
            text if text.starts_with(b"From ") => Some(skip as u64),
            _ => return Ok(Err(NotMbox)),
        };
        Ok(Ok(Splitter { window, at, trust_length }))
    }

    /// How far the walk has come, in bytes.
    pub(super) fn position(&self) -> u64 {
        self.at.unwrap_or(self.window.size)
    }

    /// The next message; `None` at the end of the file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Span>> {
        let Some(at) = self.at else { return Ok(None) };
        let line = self.line(at)?;
        let received = from_line(line);
        let start = at + line.len() as u64;
        let (body, length) = self.head(start)?;
        let landed = match length.and_then(|n| body.checked_add(n)) {
            Some(end) if self.trust_length => self.lands(end)?.map(|next| (end, next)),
            _ => None,
        };
        let by_length = landed.is_some();
        let (end, next) = match landed {
            Some(found) => found,
            None => self.search(start)?,
        };
        self.at = next;
        Ok(Some(Span { start, body: body.min(end), end, by_length, received }))
    }

    /// The header block of a message, at most 1 MiB of it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn header(&mut self, span: &Span) -> io::Result<&[u8]> {
        let len = usize::try_from(span.body - span.start).unwrap_or(MAX_HEADER).min(MAX_HEADER + 2);
        self.window.get(span.start, len)
    }

    /// The line at `at`, with its end; cut at the longest length taken.
    fn line(&mut self, at: u64) -> io::Result<&[u8]> {
        let text = self.window.get(at, MAX_FROM_LINE)?;
        let end = memchr::memchr(b'\n', text).map_or(text.len(), |end| end + 1);
        Ok(&text[..end])
    }

    /// Where the body begins, and the `Content-Length` of the header block.
    fn head(&mut self, start: u64) -> io::Result<(u64, Option<u64>)> {
        let mut want = 16 << 10;
        loop {
            let trust = self.trust_length;
            let text = self.window.get(start, want)?;
            if let Some(len) = header::block_len(text) {
                let length = if trust { header::content_length(&text[..len]) } else { None };
                return Ok((start + len as u64, length));
            }
            if text.len() < want || want >= MAX_HEADER {
                return Ok((start + text.len() as u64, None));
            }
            want = (want * 4).min(MAX_HEADER);
        }
    }

    /// Does a body that ends at `end` end at a From_ line or at the end of the file? Tells where the next one begins.
    fn lands(&mut self, end: u64) -> io::Result<Option<Option<u64>>> {
        if end > self.window.size {
            return Ok(None);
        }
        let text = self.window.get(end, MAX_FROM_LINE)?;
        let blank = text.iter().take(4).take_while(|b| matches!(b, b'\r' | b'\n')).count();
        if blank == text.len() {
            return Ok(Some(None));
        }
        let next = end + blank as u64;
        // Right at a line's beginning: after a line end, inside the body or between it and the From_ line.
        let fresh = blank > 0 || end == 0 || self.window.get(end - 1, 1)? == b"\n";
        Ok((fresh && from_line(self.line(next)?).is_some()).then_some(Some(next)))
    }

    /// The next From_ line after `start`: where the message ends, and where that line begins.
    fn search(&mut self, start: u64) -> io::Result<(u64, Option<u64>)> {
        let finder = Finder::new(b"\nFrom ");
        let size = self.window.size;
        let mut at = start - 1;
        loop {
            let text = self.window.get(at, PIECE)?;
            let Some(found) = finder.find(text) else {
                if at + text.len() as u64 >= size {
                    return Ok((size - self.blank_before(size)?, None));
                }
                // The needle may lie across the border.
                at += (text.len() - 5) as u64;
                continue;
            };
            let line = at + found as u64 + 1;
            let blank = self.blank_before(line)?;
            if blank > 0 && line - blank >= start && from_line(self.line(line)?).is_some() {
                return Ok((line - blank, Some(line)));
            }
            at = line;
        }
    }

    /// The length of the blank line that ends at `at`; 0 if there is none.
    fn blank_before(&mut self, at: u64) -> io::Result<u64> {
        let from = at.saturating_sub(3);
        let text = self.window.get(from, usize::try_from(at - from).unwrap_or(0))?;
        Ok(match text {
            [.., b'\n', b'\r', b'\n'] => 2,
            [.., b'\n', b'\n'] => 1,
            _ => 0,
        })
    }
}

/// A piece of a file.
#[derive(Debug)]
struct Window {
    file: File,
    size: u64,
    from: u64,
    held: Vec<u8>,
}

impl Window {
    /// Up to `len` octets at `at`: fewer only at the end of the file.
    fn get(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let len = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX).min(len);
        let inside = at >= self.from && at + len as u64 <= self.from + self.held.len() as u64;
        if !inside {
            // A little of what lies before is looked at again and again.
            self.from = at.saturating_sub(8);
            let room = self.size.saturating_sub(self.from).min((len.max(PIECE) + 8) as u64);
            self.held.resize(usize::try_from(room).unwrap_or(0), 0);
            self.file.read_exact_at(&mut self.held, self.from)?;
        }
        let skip = usize::try_from(at - self.from).unwrap_or(0);
        Ok(&self.held[skip..skip + len])
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// The date of a From_ line; `None` if the line is none. Without a zone it counts as UTC.
pub(super) fn from_line(line: &[u8]) -> Option<Timestamp> {
    let text = String::from_utf8_lossy(line.strip_prefix(b"From ")?);
    let words: Vec<&str> = text.split_ascii_whitespace().take(32).collect();
    // From the right: the sender stands on the left and may look like anything.
    (0..words.len()).rev().find_map(|at| date(&words, at))
}

/// A date whose month is the word at `at`.
fn date(words: &[&str], at: usize) -> Option<Timestamp> {
    let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(words[at]))?;
    let day = words.get(at + 1)?.trim_end_matches(',').parse::<u32>().ok()?;
    let rest = words.get(at + 2..)?;
    let (h, m, s) = rest.iter().find_map(|w| time(w))?;
    let year =
        rest.iter().find(|w| w.len() == 4 && w.bytes().all(|b| b.is_ascii_digit()))?.parse::<i64>().ok()?;
    let zone = rest.iter().find_map(|w| zone(w)).unwrap_or(0);
    if !(1900..=2999).contains(&year) {
        return None;
    }
    Timestamp::from_civil(year, u32::try_from(month).ok()? + 1, day, h, m, s, zone)
}

fn time(word: &str) -> Option<(u32, u32, u32)> {
    let mut parts = word.splitn(3, ':');
    let mut part = || parts.next().filter(|p| (1..=2).contains(&p.len())).map(str::parse::<u32>);
    let (h, m) = (part()?.ok()?, part()?.ok()?);
    let s = match part() {
        Some(s) => s.ok()?,
        None => 0,
    };
    Some((h, m, s))
}

fn zone(word: &str) -> Option<i16> {
    let (sign, digits) = match word.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let v: i16 = digits.parse().ok()?;
    Some(sign * (v / 100 * 60 + v % 100))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn split(text: &[u8], trust_length: bool) -> Vec<Vec<u8>> {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(text).expect("write");
        let mut walk = Splitter::new(file, text.len() as u64, trust_length).expect("read").expect("an mbox");
        let mut out = Vec::new();
        while let Some(span) = walk.next().expect("read") {
            out.push(text[span.start as usize..span.end as usize].to_vec());
        }
        out
    }

    const F: &str = "From a@example.org Mon Jan  1 00:00:00 2024\n";

    #[test]
    fn from_lines_are_told_by_their_date() {
        for (line, seconds) in [
            ("From MAILER-DAEMON Fri Jul  8 12:08:34 2011", Some(1_310_126_914)),
            ("From - Fri Jul 08 12:08:34 2011\r", Some(1_310_126_914)),
            ("From 1700@xxx Fri Jul 08 12:08:34 +0000 2011", Some(1_310_126_914)),
            ("From a@b Fri Jul  8 12:08 2011 +0100", Some(1_310_126_880 - 3600)),
            ("From May Jun 8 2011 x Fri Jul  8 12:08:34 2011", Some(1_310_126_914)),
            ("From here on we go", None),
            ("From Jan to May 2011", None),
            ("From a Fri Jul 40 12:08:34 2011", None),
            ("From: a@b Fri Jul  8 12:08:34 2011", None),
            ("From ", None),
        ] {
            assert_eq!(from_line(line.as_bytes()).map(|t| t.seconds), seconds, "{line}");
        }
    }

    #[test]
    fn messages_end_before_the_blank_line_of_the_next_from_line() {
        let text = format!("{F}A: 1\n\nbody\n\n{F}\n{F}B: 2\n\nFrom here on\n{F}no\n\nend\n\n");
        let want = [&b"A: 1\n\nbody\n"[..], b"", format!("B: 2\n\nFrom here on\n{F}no\n\nend\n").as_bytes()]
            .map(<[u8]>::to_vec);
        assert_eq!(split(text.as_bytes(), false), want);
        let crlf = text.replace('\n', "\r\n");
        let want: Vec<Vec<u8>> =
            want.iter().map(|m| String::from_utf8_lossy(m).replace('\n', "\r\n").into_bytes()).collect();
        assert_eq!(split(crlf.as_bytes(), false), want);
    }

    #[test]
    fn a_length_counts_only_if_it_lands() {
        let inside = format!("x\n\n{F}y\n");
        let text =
            format!("{F}Content-Length: {}\n\n{inside}\n{F}Content-Length: 3\n\nlonger\n\n", inside.len());
        assert_eq!(split(text.as_bytes(), true).len(), 2);
        assert_eq!(split(text.as_bytes(), false).len(), 3);
        assert!(split(text.as_bytes(), true)[1].ends_with(b"longer\n"));
        let huge = format!("{F}Content-Length: 18446744073709551615\n\nx\n");
        assert_eq!(split(huge.as_bytes(), true), [&huge.as_bytes()[F.len()..]]);
    }

    #[test]
    fn files_larger_than_a_piece_are_cut_at_the_same_places() {
        for pad in [PIECE - 20, PIECE - 3, PIECE, PIECE + 5, 3 * PIECE + 1] {
            let long = "y".repeat(pad);
            let text = format!("{F}{long}\n\n{F}{long}\n\nFrom x\n\n{F}z\n");
            let want = [format!("{long}\n"), format!("{long}\n\nFrom x\n"), "z\n".to_owned()];
            let got = split(text.as_bytes(), true);
            assert_eq!(got.len(), 3, "{pad}");
            assert!(got.iter().zip(&want).all(|(g, w)| g == w.as_bytes()), "{pad}");
        }
    }

    #[test]
    fn what_does_not_begin_with_a_from_line_is_no_mbox() {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(b"hello\n").expect("write");
        assert!(Splitter::new(file, 6, true).expect("read").is_err());
        assert!(split(b"", true).is_empty());
        assert!(split(b"\n\n", true).is_empty());
        assert_eq!(split(b"From first line without a date\nx", true), [b"x"]);
    }
}

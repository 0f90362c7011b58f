//! The octets of one message, made each time they are asked for: slices of one block of base64, with a header before them
//! and a line that no other message has. Copying is nearly all the work.

use std::fmt::Write as _;
use std::sync::OnceLock;

use bytes::Bytes;

use super::{OLDEST, SPREAD, mix};
use crate::mock::imap::InternalDate;
use crate::mock::imap::names::base64;

/// Octets behind a line of base64.
const RAW: usize = 57;
/// A line of base64 with its end.
const LINE: usize = 78;
/// Lines in the block: with their octets 2 MB.
const LINES: usize = 16_384;
/// A header with a line of text, and the frame of an attachment with a line of it, fit into this many octets.
pub(super) const LEAST: u64 = 1_600;

/// The end of a message's first part, and the head of its second.
const FILE: &str = "\r\n--made\r\nContent-Type: application/octet-stream; name=\"file.bin\"\r\n\
                    Content-Disposition: attachment; filename=\"file.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n";
const END: &str = "--made--\r\n";

/// A message that is made when it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    seed: u64,
    size: u64,
    mailbox: u64,
    folder: u32,
    uid: u32,
    attached: bool,
}

/// A message as a copy of it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its `Message-ID`, which no other has.
    pub message_id: String,
    /// Its subject.
    pub subject: String,
    /// When it came in, in seconds since 1970.
    pub received: i64,
    /// Read.
    pub seen: bool,
    /// Flagged.
    pub flagged: bool,
    /// BLAKE3 of its text, hexadecimal.
    pub body: String,
    /// Octets and BLAKE3 of the attached file, hexadecimal, where it has one.
    pub file: Option<(u64, String)>,
}

/// Random octets, and their base64 in lines.
struct Block {
    raw: Vec<u8>,
    lines: Vec<u8>,
}

fn block() -> &'static Block {
    static BLOCK: OnceLock<Block> = OnceLock::new();
    BLOCK.get_or_init(|| {
        let mut raw = Vec::with_capacity(RAW * LINES + 8);
        let mut state = 0;
        while raw.len() < RAW * LINES {
            state = mix(state);
            raw.extend_from_slice(&state.to_le_bytes());
        }
        raw.truncate(RAW * LINES);
        let mut lines = Vec::with_capacity(LINE * LINES);
        for line in raw.chunks(RAW) {
            lines.extend_from_slice(base64(line).as_bytes());
            lines.extend_from_slice(b"\r\n");
        }
        Block { raw, lines }
    })
}

impl Made {
    pub(super) fn new(
        seed: u64,
        size: u64,
        attached_above: u64,
        mailbox: u64,
        folder: u32,
        uid: u32,
    ) -> Made {
        let attached = size > attached_above;
        Made { seed, size: size.max(LEAST), mailbox, folder, uid, attached }
    }

    /// Its octets, in number.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// When it came in, in seconds since 1970.
    pub fn received(&self) -> i64 {
        OLDEST + i64::try_from(self.seed % SPREAD).unwrap_or(0)
    }

    /// Its flags.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        let seen = self.seen().then_some("\\Seen");
        seen.into_iter().chain(self.flagged().then_some("\\Flagged"))
    }

    fn seen(&self) -> bool {
        !(mix(self.seed) >> 8).is_multiple_of(10)
    }

    fn flagged(&self) -> bool {
        mix(self.seed).is_multiple_of(30)
    }

    fn message_id(&self) -> String {
        format!("<{:016x}.{}.{}.{}@made.example>", self.seed, self.mailbox, self.folder, self.uid)
    }

    fn subject(&self) -> String {
        format!("About {:06x}, part {} of {}", self.seed & 0xff_ffff, self.uid, self.folder)
    }

    /// Its header and the frame before its text.
    fn head(&self) -> String {
        let date = InternalDate::utc(self.received()).to_string();
        let date = date.trim_start().replacen('-', " ", 2);
        let (id, subject) = (self.message_id(), self.subject());
        let mut head = String::with_capacity(1_100);
        for hop in 0..3 {
            let _ = write!(
                head,
                "Received: from relay{hop}.made.example (relay{hop}.made.example [192.0.2.{}])\r\n\
                 \tby mx{hop}.example.org (Postfix) with ESMTPS id {:012X}\r\n\tfor <u{:05}@example.org>; {date}\r\n",
                10 + hop,
                mix(self.seed ^ hop) >> 16,
                self.mailbox
            );
        }
        let kind =
            if self.attached { "multipart/mixed; boundary=\"made\"" } else { "text/plain; charset=us-ascii" };
        let _ = write!(
            head,
            "From: Ann Made <ann{:03}@made.example>\r\nTo: <u{:05}@example.org>\r\nSubject: {subject}\r\n\
             Message-ID: {id}\r\nDate: {date}\r\nMIME-Version: 1.0\r\nContent-Type: {kind}\r\n\r\n",
            self.seed % 1000,
            self.mailbox
        );
        if self.attached {
            head.push_str("--made\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n");
        }
        head
    }

    /// The octets the line holds that no other message has.
    fn own(&self) -> [u8; RAW] {
        let mut own = [0; RAW];
        for (at, eight) in own.chunks_mut(8).enumerate() {
            let drawn = mix(self.seed.wrapping_add(at as u64)).to_le_bytes();
            eight.copy_from_slice(&drawn[..eight.len()]);
        }
        own
    }

    /// Where in the block the lines after its own one begin.
    fn begins(&self) -> usize {
        (mix(self.seed ^ 0x6d61_6465) % LINES as u64) as usize
    }

    /// How its octets are divided: lines of base64 (its own among them), and characters that fill up its text.
    fn divided(&self, head: usize) -> (usize, usize) {
        let frame = if self.attached { FILE.len() + END.len() } else { 2 };
        let left = usize::try_from(self.size).unwrap_or(usize::MAX).saturating_sub(head + frame);
        (left / LINE, left % LINE)
    }

    /// Its octets.
    pub fn octets(&self) -> Bytes {
        let head = self.head();
        let (lines, fill) = self.divided(head.len());
        let mut out = Vec::with_capacity(usize::try_from(self.size).unwrap_or(0));
        out.extend_from_slice(head.as_bytes());
        if self.attached {
            out.resize(out.len() + fill, b'x');
            out.extend_from_slice(FILE.as_bytes());
            self.lines(lines, &mut out);
            out.extend_from_slice(END.as_bytes());
        } else {
            self.text(lines, fill, &mut out);
        }
        Bytes::from(out)
    }

    /// The text of a message without a file.
    fn text(&self, lines: usize, fill: usize, out: &mut Vec<u8>) {
        self.lines(lines, out);
        out.resize(out.len() + fill, b'x');
        out.extend_from_slice(b"\r\n");
    }

    fn lines(&self, count: usize, out: &mut Vec<u8>) {
        if count == 0 {
            return;
        }
        out.extend_from_slice(base64(&self.own()).as_bytes());
        out.extend_from_slice(b"\r\n");
        each_slice(self.begins(), count - 1, |from, to| {
            out.extend_from_slice(&block().lines[from * LINE..to * LINE]);
        });
    }

    /// What a copy of it must be like.
    pub fn told(&self) -> Told {
        self.told_with(self.seen(), self.flagged())
    }

    /// The same, where its flags have become these.
    pub(super) fn told_with(&self, seen: bool, flagged: bool) -> Told {
        let (lines, fill) = self.divided(self.head().len());
        let (body, file) = if self.attached {
            let mut digest = blake3::Hasher::new();
            let mut octets = 0;
            if lines > 0 {
                digest.update(&self.own());
                octets = (lines * RAW) as u64;
                each_slice(self.begins(), lines - 1, |from, to| {
                    digest.update(&block().raw[from * RAW..to * RAW]);
                });
            }
            (blake3::hash(&vec![b'x'; fill]), Some((octets, digest.finalize().to_hex().to_string())))
        } else {
            let mut text = Vec::new();
            self.text(lines, fill, &mut text);
            (blake3::hash(&text), None)
        };
        Told {
            message_id: self.message_id(),
            subject: self.subject(),
            received: self.received(),
            seen,
            flagged,
            body: body.to_hex().to_string(),
            file,
        }
    }
}

/// Goes over `count` lines of the block from `begin` on, round and round.
fn each_slice(begin: usize, count: usize, mut visit: impl FnMut(usize, usize)) {
    let (mut at, mut left) = (begin % LINES, count);
    while left > 0 {
        let to = (at + left).min(LINES);
        visit(at, to);
        left -= to - at;
        at = 0;
    }
}

#[cfg(test)]
mod tests {
    use mail_parser::{MessageParser, MimeHeaders};

    use super::*;

    #[test]
    fn a_message_is_as_long_as_it_says_and_is_what_a_parser_of_others_reads() {
        for size in [0, 1_600, 1_601, 1_677, 1_678, 5_000, 16_000, 16_001, 16_078, 80_000, 3_000_000] {
            let made = Made::new(mix(size), size, 16_000, 7, 2, 9);
            let (octets, told) = (made.octets(), made.told());
            assert_eq!(octets.len() as u64, made.size(), "{size}");
            let parsed = MessageParser::default().parse(&octets[..]).unwrap();
            assert_eq!(parsed.subject(), Some(told.subject.as_str()));
            assert_eq!(parsed.message_id().map(|id| format!("<{id}>")), Some(told.message_id));
            assert_eq!(parsed.date().unwrap().to_timestamp(), told.received, "{size}");
            let text = parsed.body_text(0).unwrap();
            assert_eq!(blake3::hash(text.as_bytes()).to_hex().to_string(), told.body, "{size}");
            let file = parsed.attachments().next();
            assert_eq!(file.is_some(), size > 16_000);
            let file = file.map(|f| {
                assert_eq!(f.attachment_name(), Some("file.bin"));
                (f.contents().len() as u64, blake3::hash(f.contents()).to_hex().to_string())
            });
            assert_eq!(file, told.file, "{size}");
        }
    }

    #[test]
    fn flags_are_spread_as_the_law_says() {
        let all: Vec<Made> = (0..6_000).map(|n| Made::new(mix(n), 2_000, 16_000, n, 0, 1)).collect();
        let having = |flag: &str| all.iter().filter(|m| m.flags().any(|f| f == flag)).count();
        assert!((5_300..5_500).contains(&having("\\Seen")), "{}", having("\\Seen"));
        assert!((150..250).contains(&having("\\Flagged")), "{}", having("\\Flagged"));
        assert_eq!(having("\\Seen"), all.iter().filter(|m| m.told().seen).count());
    }
}

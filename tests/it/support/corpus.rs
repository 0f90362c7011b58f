//! A corpus of mailboxes made up from a seed, message by message, so that it may be larger than memory.
//!
//! Sizes follow two log-normal laws, ordinary mail and mail with large attachments: median about 12 kB, mean about 75 kB,
//! 99th percentile about 1.5 MB, more than half of the octets in messages over 1 MB, one message of 36 MB where the
//! corpus is large enough to hold it. Every mailbox begins with the special cases that migrations get wrong.
#![allow(dead_code)] // each user takes a part

use std::io::Write as _;

/// The folders of every mailbox, by their levels. A parent that is not listed does not exist: servers show it as
/// `\NoSelect`. `INBOX` comes first.
pub const FOLDERS: &[&[&str]] = &[
    &["INBOX"],
    &["Sent"],
    &["Archive"],
    &["Drafts"],
    &["Junk"],
    &["Trash"],
    &["Projects", "2024"],
    &["Projects", "2025", "Spring", "Drafts and notes"],
    &["Parent", "Child"],
    &["Parent", "Child", "Grandchild"],
    &["quote\"d"],
    &["50% Rabatt"],
    &["back\\slash"],
    &["  two blanks first"],
    &["star*and#hash"],
    &["Größe & Maß"],
    &["Документы"],
    &["予定表"],
    &["📁 Ablage 🍲"],
    &["Empty"],
];

/// The folder without messages.
const EMPTY: usize = 19;

/// Share of the messages of each folder, in percent of the ordinary ones, in the order of [`FOLDERS`].
const SHARES: [u32; 20] = [38, 20, 14, 1, 3, 4, 5, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0];

/// All keywords used, in the order of their letters in a Maildir.
pub const KEYWORDS: &[&str] = &["$Forwarded", "$MDNSent", "work", "$label1", "NonJunk", "Invoice-2024"];

const FLAGS: &[&[&str]] = &[
    &["\\Seen"],
    &[],
    &["\\Seen", "\\Answered"],
    &["\\Seen"],
    &["\\Seen", "$Forwarded"],
    &["\\Flagged"],
    &["\\Seen", "\\Flagged", "work"],
    &["\\Seen"],
    &["\\Seen", "$MDNSent"],
    &["\\Seen", "\\Draft"],
    &["\\Seen", "NonJunk"],
    &["\\Seen", "\\Answered", "$label1", "Invoice-2024"],
];

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// The same seed makes the same corpus.
    pub seed: u64,
    /// Mailboxes.
    pub mailboxes: usize,
    /// Octets of all mailboxes together, about; each mailbox has between half and one and a half times its even share.
    pub octets: u64,
}

/// One message.
#[derive(Debug, Clone)]
pub struct CorpusMail {
    /// Its folder, an index into [`FOLDERS`].
    pub folder: usize,
    /// Its octets as they go over the wire (lines end with CRLF).
    pub octets: Vec<u8>,
    /// System flags and keywords.
    pub flags: &'static [&'static str],
    /// Received, seconds since 1970 (UTC).
    pub received: i64,
    /// `ordinary`, or which special case it is.
    pub kind: &'static str,
}

/// Makes the messages of one mailbox, one after the other.
pub struct MailboxMail {
    dice: fastrand::Rng,
    text: Vec<u8>,
    code: Vec<u8>,
    number: usize,
    count: u64,
    left: u64,
    special: usize,
    giant: bool,
}

impl Extent {
    /// The octets mailbox `number` (from 0) has, about.
    pub fn octets_of(&self, number: usize) -> u64 {
        let share = |n: usize| 0.5 + fastrand::Rng::with_seed(self.seed ^ (n as u64) << 20).f64();
        let all: f64 = (0..self.mailboxes).map(share).sum();
        (self.octets as f64 * share(number) / all) as u64
    }

    /// The messages of mailbox `number` (from 0).
    pub fn mailbox(&self, number: usize) -> MailboxMail {
        MailboxMail {
            giant: number == 0 && self.octets >= 300_000_000,
            left: self.octets_of(number),
            special: 0,
            ..MailboxMail::raw(self.seed, number)
        }
    }

    /// `count` further ordinary messages for mailbox `number`: mail that arrives later.
    pub fn later(&self, number: usize, count: usize) -> impl Iterator<Item = CorpusMail> {
        let mut mails = MailboxMail::raw(self.seed ^ 0x6c61_7465_7200, number);
        mails.count = 1 << 32; // no Message-ID twice
        std::iter::repeat_with(move || mails.ordinary()).take(count)
    }
}

impl Iterator for MailboxMail {
    type Item = CorpusMail;

    fn next(&mut self) -> Option<CorpusMail> {
        let mail = if let Some(mail) = self.special() {
            mail
        } else if self.giant {
            self.giant = false;
            self.sized(36_000_000)
        } else if self.left == 0 {
            return None;
        } else {
            self.ordinary()
        };
        self.left = self.left.saturating_sub(mail.octets.len() as u64);
        Some(mail)
    }
}

impl MailboxMail {
    fn raw(seed: u64, number: usize) -> MailboxMail {
        let mut dice =
            fastrand::Rng::with_seed(seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (text, code) = (prose(&mut dice, 1 << 17), base64(&mut dice, 1 << 20));
        MailboxMail { dice, text, code, number, count: 0, left: 0, special: usize::MAX, giant: false }
    }

    /// Messages of sizes of one's own choice ([`MailboxMail::sized`]).
    pub fn free(seed: u64) -> MailboxMail {
        MailboxMail::raw(seed, 0)
    }

    /// A message with a size drawn from the law of the corpus.
    fn ordinary(&mut self) -> CorpusMail {
        let large = self.dice.f64() < 0.017;
        let (median, sigma) = if large { (2_000_000.0, 0.8) } else { (12_700.0, 1.35) };
        let size = (median * (sigma * self.normal()).exp()).clamp(700.0, 34_000_000.0);
        self.sized(size as usize)
    }

    /// A number of the standard normal law.
    fn normal(&mut self) -> f64 {
        let (a, b) = (1.0 - self.dice.f64(), self.dice.f64());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    /// An ordinary message of about `size` octets.
    pub fn sized(&mut self, size: usize) -> CorpusMail {
        let mut octets = Vec::with_capacity(size + 4096);
        let id = self.head(&mut octets, "Minutes and plan");
        let rest = size.saturating_sub(octets.len()).max(80);
        if size < 30_000 {
            let html = self.dice.u8(0..3) == 0;
            let kind = if html { "html" } else { "plain" };
            put(&mut octets, format_args!("Content-Type: text/{kind}; charset=utf-8\r\n\r\n"));
            if html {
                octets.extend_from_slice(b"<html><body><pre>\r\n");
            }
            slice(&mut self.dice, &mut octets, &self.text, rest);
        } else {
            put(
                &mut octets,
                format_args!(
                    "Content-Type: multipart/mixed; boundary=\"=_{id}\"\r\n\r\n--=_{id}\r\nContent-Type: text/plain\r\n\r\n"
                ),
            );
            slice(&mut self.dice, &mut octets, &self.text, 1500);
            put(
                &mut octets,
                format_args!(
                    "\r\n--=_{id}\r\nContent-Type: application/pdf; name=\"plan.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
                ),
            );
            slice(&mut self.dice, &mut octets, &self.code, rest.saturating_sub(1800));
            put(&mut octets, format_args!("--=_{id}--\r\n"));
        }
        let folder = self.folder();
        self.dress(folder, octets, "ordinary")
    }

    fn dress(&mut self, folder: usize, octets: Vec<u8>, kind: &'static str) -> CorpusMail {
        let flags = FLAGS[self.dice.usize(0..FLAGS.len())];
        // Between 2008 and 2024, whole seconds.
        let received = 1_200_000_000 + i64::from(self.dice.u32(0..500_000_000));
        CorpusMail { folder, octets, flags, received, kind }
    }

    fn folder(&mut self) -> usize {
        let mut at = self.dice.u32(0..SHARES.iter().sum());
        for (folder, share) in SHARES.iter().enumerate() {
            if at < *share {
                return folder;
            }
            at -= share;
        }
        0
    }

    /// The usual header fields, without the end of the header; returns what makes the message unique.
    fn head(&mut self, octets: &mut Vec<u8>, subject: &str) -> String {
        self.count += 1;
        let id = format!("{}.{}.{:08x}", self.number, self.count, self.dice.u32(..));
        let (n, token) = (self.count, self.dice.u64(..));
        put(
            octets,
            format_args!(
                "Return-Path: <desk{n}@example.org>\r\n\
                 Received: from relay.example.net (relay.example.net [192.0.2.7])\r\n\tby mx.example.org (Postfix) with ESMTPS id {token:016X}\r\n\tfor <user{}@example.org>; Thu,  3 Jan 2019 10:00:00 +0100 (CET)\r\n\
                 From: \"Desk {n}\" <desk{n}@example.org>\r\nTo: user{}@example.org, \"Ward, South\" <ward@example.org>\r\n\
                 Subject: {subject} {n}\r\nDate: Thu, 3 Jan 2019 10:00:00 +0100\r\nMessage-ID: <{id}@example.org>\r\nMIME-Version: 1.0\r\n",
                self.number, self.number
            ),
        );
        id
    }

    /// The special cases come first, each a few octets, over all folders in turn.
    fn special(&mut self) -> Option<CorpusMail> {
        let case = self.special;
        self.special = case.saturating_add(1);
        let folder = case % EMPTY;
        let mut o = Vec::new();
        let kind = match case {
            0..=18 => {
                // One in each folder.
                self.head(&mut o, "A word");
                put(&mut o, format_args!("\r\nHello {case}\r\n"));
                "small"
            }
            19 | 20 => return Some(self.duplicate(0)),
            21 => return Some(self.duplicate(2)),
            22 | 23 => {
                let before = o.len();
                self.head(&mut o, "Two messages, one Message-ID");
                let text = String::from_utf8_lossy(&o[before..]).into_owned();
                let start = text.find("Message-ID: <").unwrap_or(0);
                let end = text[start..].find('\n').map_or(text.len(), |e| start + e + 1);
                o.truncate(start);
                put(
                    &mut o,
                    format_args!(
                        "Message-ID: <twice.{}@example.org>\r\n{}\r\nbody {case}\r\n",
                        self.number,
                        &text[end..]
                    ),
                );
                "same-message-id"
            }
            24 => {
                put(
                    &mut o,
                    format_args!(
                        "From: a@example.org\r\nSubject: no Message-ID {}\r\n\r\ntext\r\n",
                        self.number
                    ),
                );
                "no-message-id"
            }
            25 => {
                put(&mut o, format_args!("\r\nA text without a header, mailbox {}\r\n", self.number));
                "no-headers"
            }
            26 => {
                self.head(&mut o, "Nothing but a header");
                o.extend_from_slice(b"\r\n");
                "header-only"
            }
            27 => {
                self.head(&mut o, "A header that does not end");
                "no-header-end"
            }
            28 => "zero-bytes",
            29 => {
                self.head(&mut o, "NUL");
                o.extend_from_slice(b"\r\none \0 two \0\0 three\r\n");
                "nul"
            }
            30 => {
                self.head(&mut o, "8-bit");
                o.extend_from_slice(
                    b"X-Raw: Gr\xfc\xdfe aus K\xf6ln\r\nX-Utf8: Gr\xc3\xbc\xc3\x9fe\r\n\r\ncaf\xe9\r\n",
                );
                "eight-bit-header"
            }
            31 => {
                self.head(&mut o, "Bare CR");
                o.extend_from_slice(b"\r\none\rtwo\r three\r\nfour\r\n");
                "bare-cr"
            }
            32 => {
                self.head(&mut o, "Long line");
                o.extend_from_slice(b"\r\n");
                o.resize(o.len() + 25_000, b'x');
                o.extend_from_slice(b"\r\n");
                "long-line"
            }
            33..=36 => {
                const DATES: [(&str, i64); 4] = [
                    ("epoch", 0),
                    ("year-1970", 12_345_678),
                    ("before-2001", 900_000_000),
                    ("future", 3_900_000_000),
                ];
                let (kind, received) = DATES[case - 33];
                self.head(&mut o, "A strange date");
                o.extend_from_slice(b"\r\ntext\r\n");
                let mail = self.dress(folder, o, kind);
                return Some(CorpusMail { received, ..mail });
            }
            37..=42 => {
                const SETS: [&[&str]; 6] = [
                    &["\\Seen", "$Forwarded"],
                    &["$MDNSent"],
                    &["work", "$label1"],
                    &["\\Flagged", "NonJunk"],
                    &["\\Seen", "\\Answered", "\\Flagged", "\\Draft", "Invoice-2024"],
                    &["$Forwarded", "$MDNSent", "work", "$label1", "NonJunk", "Invoice-2024"],
                ];
                self.head(&mut o, "Flags");
                o.extend_from_slice(b"\r\ntext\r\n");
                let mail = self.dress(folder, o, "keywords");
                return Some(CorpusMail { flags: SETS[case - 37], ..mail });
            }
            43 => {
                self.head(&mut o, "No end of line");
                o.extend_from_slice(b"\r\nthe last line does not end");
                "no-final-newline"
            }
            44 => {
                self.head(&mut o, "Dots");
                o.extend_from_slice(b"\r\n.\r\n..\r\nFrom here on\r\n>From there\r\n) OK {12}\r\n");
                "dots-and-braces"
            }
            _ => {
                self.special = usize::MAX;
                return None;
            }
        };
        Some(self.dress(folder, o, kind))
    }

    fn duplicate(&self, folder: usize) -> CorpusMail {
        let mut octets = Vec::new();
        put(
            &mut octets,
            format_args!(
                "From: a@example.org\r\nSubject: sent twice\r\nMessage-ID: <duplicate.{}@example.org>\r\n\r\nthe same\r\n",
                self.number
            ),
        );
        CorpusMail { folder, octets, flags: &["\\Seen"], received: 1_300_000_000, kind: "exact-duplicate" }
    }
}

fn put(octets: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    octets.write_fmt(text).expect("a Vec takes everything");
}

/// Adds at least `size` octets of whole lines of `store`, from a line drawn at random, going round.
fn slice(dice: &mut fastrand::Rng, octets: &mut Vec<u8>, store: &[u8], size: usize) {
    let mut at = dice.usize(0..store.len());
    at = store[at..].iter().position(|b| *b == b'\n').map_or(0, |p| at + p + 1);
    let end = octets.len() + size;
    while octets.len() < end {
        let part = &store[at..];
        let take = part.len().min(end - octets.len());
        octets.extend_from_slice(&part[..take]);
        at = 0;
    }
    while octets.last() == Some(&b'\r') || octets.last() == Some(&b'\n') {
        octets.pop();
    }
    octets.extend_from_slice(b"\r\n");
}

/// Lines of words.
fn prose(dice: &mut fastrand::Rng, size: usize) -> Vec<u8> {
    const WORDS: &[&str] = &[
        "ward", "plan", "report", "sample", "order", "shift", "room", "invoice", "request", "answer",
        "update", "notice", "meeting", "stock", "list", "form", "result", "morning", "evening", "review",
        "Größe", "naïve", "the", "of", "and", "to", "in", "is", "was", "for", "with", "on",
    ];
    let mut text = Vec::with_capacity(size + 100);
    let mut line = 0;
    while text.len() < size {
        let word = WORDS[dice.usize(0..WORDS.len())];
        text.extend_from_slice(word.as_bytes());
        line += word.len() + 1;
        text.extend_from_slice(if line > 68 { b"\r\n" } else { b" " });
        line = if line > 68 { 0 } else { line };
    }
    text.extend_from_slice(b"\r\n");
    text
}

/// Lines of 76 as base64 of random octets has them.
fn base64(dice: &mut fastrand::Rng, size: usize) -> Vec<u8> {
    const SET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut code = Vec::with_capacity(size + 80);
    while code.len() < size {
        for _ in 0..19 {
            let four = dice.u32(..);
            code.extend((0..4).map(|i| SET[(four >> (6 * i) & 63) as usize]));
        }
        code.extend_from_slice(b"\r\n");
    }
    code
}

/// What a corpus is like, from the sizes of its messages.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    pub messages: u64,
    pub octets: u64,
    pub median: u64,
    pub mean: u64,
    pub p99: u64,
    pub max: u64,
    /// Share of the octets in messages over 1 MB, 0 to 1.
    pub over_1_mb: f64,
}

impl Profile {
    pub fn of(mut sizes: Vec<u64>) -> Profile {
        sizes.sort_unstable();
        let (messages, octets) = (sizes.len() as u64, sizes.iter().sum::<u64>());
        let at = |share: f64| sizes.get((sizes.len() as f64 * share) as usize).copied().unwrap_or(0);
        let over = sizes.iter().filter(|s| **s > 1_000_000).sum::<u64>();
        Profile {
            messages,
            octets,
            median: at(0.5),
            mean: octets / messages.max(1),
            p99: at(0.99),
            max: sizes.last().copied().unwrap_or(0),
            over_1_mb: over as f64 / octets.max(1) as f64,
        }
    }
}

#[test]
fn the_corpus_is_the_same_from_the_same_seed_and_has_every_special_case_in_every_mailbox() {
    let extent = Extent { seed: 11, mailboxes: 3, octets: 6_000_000 };
    for number in 0..3 {
        let (one, two): (Vec<_>, Vec<_>) =
            (extent.mailbox(number).collect(), extent.mailbox(number).collect());
        assert!(one.iter().zip(&two).all(|(a, b)| a.octets == b.octets && a.received == b.received));
        assert_eq!(one.len(), two.len());
        for kind in [
            "exact-duplicate",
            "no-message-id",
            "no-headers",
            "zero-bytes",
            "nul",
            "epoch",
            "future",
            "long-line",
        ] {
            assert!(one.iter().any(|m| m.kind == kind), "{kind}");
        }
        assert!(one.iter().all(|m| m.folder != EMPTY));
        assert!(
            (0..EMPTY).all(|folder| one.iter().any(|m| m.folder == folder)),
            "mail in every folder but one"
        );
    }
    let ids = |mails: &[CorpusMail]| mails.iter().map(|m| blake3::hash(&m.octets)).collect::<Vec<_>>();
    let (first, later) =
        (ids(&extent.mailbox(0).collect::<Vec<_>>()), ids(&extent.later(0, 20).collect::<Vec<_>>()));
    assert!(later.iter().all(|l| !first.contains(l)), "later mail is new mail");
}

#[test]
fn the_sizes_of_the_corpus_follow_its_law() {
    let extent = Extent { seed: 1, mailboxes: 4, octets: 500_000_000 };
    let sizes = (0..4).flat_map(|n| extent.mailbox(n)).map(|m| m.octets.len() as u64).collect();
    let profile = Profile::of(sizes);
    assert!((10_000..14_000).contains(&profile.median), "{profile:?}");
    assert!((60_000..90_000).contains(&profile.mean), "{profile:?}");
    assert!((1_200_000..2_000_000).contains(&profile.p99), "{profile:?}");
    assert!(profile.max >= 35_000_000 && profile.over_1_mb >= 0.5, "{profile:?}");
}

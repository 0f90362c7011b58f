//! Mail made up from a seed, with what is true of it known beforehand: for comparing what arrived.

use std::fmt::Write as _;

/// A made-up message and what is true of it.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Its octets, CRLF line ends.
    pub octets: Vec<u8>,
    /// Its subject, decoded; `None` if it has none.
    pub subject: Option<String>,
    /// Its Message-ID with the angle brackets; `None` if it has none.
    pub message_id: Option<String>,
    /// Is the text that mail programs show HTML?
    pub html: bool,
    /// That text, decoded, with CRLF line ends.
    pub text: String,
    /// Attachments: file name and octets.
    pub attachments: Vec<(String, Vec<u8>)>,
    /// IMAP flags and keywords.
    pub flags: Vec<&'static str>,
    /// Received, seconds since 1970 (UTC).
    pub received: i64,
}

/// Makes mail; the same seed makes the same mail.
pub struct MailGen {
    dice: fastrand::Rng,
    domain: String,
    count: u64,
}

const SUBJECTS: &[(&str, &str)] = &[
    ("Visit on Thursday", "Visit on Thursday"),
    ("=?UTF-8?Q?Gr=C3=BC=C3=9Fe_aus_K=C3=B6ln?=", "Grüße aus Köln"),
    ("=?UTF-8?B?0J/RgNC40LLQtdGC?=", "Привет"),
    ("=?ISO-8859-1?Q?R=E9sum=E9?=", "Résumé"),
    ("Re: report (final)", "Re: report (final)"),
];

const FLAGS: &[&[&str]] = &[
    &[],
    &["\\Seen"],
    &["\\Seen", "\\Answered"],
    &["\\Flagged"],
    &["\\Seen", "\\Flagged", "work"],
    &["\\Seen", "$Forwarded"],
    &["\\Draft", "\\Seen"],
];

impl MailGen {
    pub fn new(seed: u64, domain: &str) -> MailGen {
        MailGen { dice: fastrand::Rng::with_seed(seed), domain: domain.to_owned(), count: 0 }
    }

    /// The next message, of a kind that varies.
    pub fn next(&mut self) -> Mail {
        self.count += 1;
        match self.count % 12 {
            3 => self.make(Shape::Html),
            5 => self.make(Shape::Attachment(self.count as usize * 37 % 9000 + 1)),
            7 => self.make(Shape::NoMessageId),
            8 => self.make(Shape::EightBit),
            10 => self.make(Shape::Alternative),
            11 => self.make(Shape::HeadersOnly),
            _ => self.make(Shape::Plain),
        }
    }

    /// A message whose attachment has `size` octets.
    pub fn with_attachment(&mut self, size: usize) -> Mail {
        self.count += 1;
        self.make(Shape::Attachment(size))
    }

    /// The next message, of a kind that is not as it should be: raw octets in a header field, no subject, no header at
    /// all that ends, a text without an end of line.
    pub fn odd(&mut self) -> Mail {
        self.count += 1;
        match self.count % 4 {
            0 => self.make(Shape::RawHeader),
            1 => self.make(Shape::NoSubject),
            2 => self.make(Shape::NoHeaderEnd),
            _ => self.make(Shape::NoLineEnd),
        }
    }

    fn make(&mut self, shape: Shape) -> Mail {
        let n = self.count;
        let word = format!("word{n}x{:08x}", self.dice.u32(..));
        let (raw_subject, subject) = SUBJECTS[self.dice.usize(0..SUBJECTS.len())];
        let received = 1_200_000_000 + i64::try_from(self.dice.u64(0..500_000_000)).unwrap();
        let message_id = format!("<{n}.{:08x}@{}>", self.dice.u32(..), self.domain);
        let mut head = String::new();
        let d = &self.domain;
        write!(head, "Return-Path: <a{n}@{d}>\r\nReceived: from relay.{d} by mx.{d}; Thu, 3 Jan 2008 10:00:00 +0100\r\n").unwrap();
        write!(head, "From: \"Sender {n}\" <a{n}@{d}>\r\nTo: b@{d}, \"C, D\" <c@{d}>\r\n").unwrap();
        let mut subject = Some(format!("{subject} {n}"));
        let mut raw_subject = format!("Subject: {raw_subject} {n}\r\n").into_bytes();
        match shape {
            Shape::NoSubject => (subject, raw_subject) = (None, Vec::new()),
            Shape::RawHeader => {
                subject = Some(format!("Grüße {n}"));
                raw_subject = [&b"Subject: Gr\xfc\xdfe "[..], n.to_string().as_bytes(), b"\r\n"].concat();
            }
            _ => {}
        }
        head.push_str("Date: Thu, 3 Jan 2008 10:00:00 +0100\r\n");
        if !matches!(shape, Shape::NoMessageId) {
            write!(head, "Message-ID: {message_id}\r\n").unwrap();
        }
        head.push_str("MIME-Version: 1.0\r\n");
        let mut attachments = Vec::new();
        let mut octets = [&raw_subject[..], head.as_bytes()].concat();
        let mut html = false;
        let text;
        match shape {
            Shape::Plain | Shape::NoMessageId | Shape::NoSubject | Shape::RawHeader => {
                octets.extend_from_slice(b"Content-Type: text/plain; charset=utf-8\r\n\r\n");
                text = format!("Hello {word}\r\nFrom here on\r\n.\r\nbye\r\n");
                octets.extend_from_slice(text.as_bytes());
            }
            Shape::Html => {
                octets.extend_from_slice(b"Content-Type: text/html; charset=utf-8\r\n\r\n");
                (html, text) = (true, format!("<html><body><p>{word}</p></body></html>\r\n"));
                octets.extend_from_slice(text.as_bytes());
            }
            Shape::EightBit => {
                octets.extend_from_slice(
                    b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
                );
                octets.extend_from_slice(word.as_bytes());
                octets.extend_from_slice(b" caf\xe9 \xfc\r\n");
                text = format!("{word} café ü\r\n");
            }
            Shape::Alternative => {
                octets.extend_from_slice(
                    format!(
                        "Content-Type: multipart/alternative; boundary=\"=_b{n}\"\r\n\r\n\
                         --=_b{n}\r\nContent-Type: text/plain\r\n\r\nplain {word}\r\n\
                         --=_b{n}\r\nContent-Type: text/html\r\n\r\n<b>{word}</b>\r\n--=_b{n}--\r\n"
                    )
                    .as_bytes(),
                );
                (html, text) = (true, format!("<b>{word}</b>"));
            }
            Shape::HeadersOnly => {
                octets.extend_from_slice(format!("X-Word: {word}\r\n\r\n").as_bytes());
                text = String::new();
            }
            Shape::NoHeaderEnd => {
                octets.extend_from_slice(format!("X-Word: {word}\r\n").as_bytes());
                text = String::new();
            }
            Shape::NoLineEnd => {
                text = format!("the end {word}");
                octets.extend_from_slice(format!("\r\n{text}").as_bytes());
            }
            Shape::Attachment(size) => {
                let mut data = vec![0u8; size];
                self.dice.fill(&mut data);
                let name = format!("file{n}.bin");
                octets.extend_from_slice(
                    format!(
                        "Content-Type: multipart/mixed; boundary=\"=_m{n}\"\r\n\r\n\
                         --=_m{n}\r\nContent-Type: text/plain\r\n\r\nsee attachment {word}\r\n\
                         --=_m{n}\r\nContent-Type: application/octet-stream; name=\"{name}\"\r\n\
                         Content-Disposition: attachment; filename=\"{name}\"\r\n\
                         Content-Transfer-Encoding: base64\r\n\r\n"
                    )
                    .as_bytes(),
                );
                octets.extend_from_slice(base64_lines(&data).as_bytes());
                octets.extend_from_slice(format!("--=_m{n}--\r\n").as_bytes());
                text = format!("see attachment {word}");
                attachments.push((name, data));
            }
        }
        let message_id = (!matches!(shape, Shape::NoMessageId)).then_some(message_id);
        let flags = FLAGS[self.dice.usize(0..FLAGS.len())].to_vec();
        Mail { octets, subject, message_id, html, text, attachments, flags, received }
    }
}

enum Shape {
    Plain,
    Html,
    Alternative,
    NoMessageId,
    EightBit,
    HeadersOnly,
    NoSubject,
    RawHeader,
    NoHeaderEnd,
    NoLineEnd,
    Attachment(usize),
}

/// Base64 in lines of 76, our own: the generator shares no code with the program.
fn base64_lines(data: &[u8]) -> String {
    const SET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(data.len() * 3 / 2);
    for line in data.chunks(57) {
        for three in line.chunks(3) {
            let b = [three[0], three.get(1).copied().unwrap_or(0), three.get(2).copied().unwrap_or(0)];
            let v = u32::from(b[0]) << 16 | u32::from(b[1]) << 8 | u32::from(b[2]);
            for i in 0..4 {
                out.push(if i <= three.len() { SET[(v >> (18 - 6 * i) & 63) as usize] as char } else { '=' });
            }
        }
        out.push_str("\r\n");
    }
    out
}

#[test]
fn the_generator_makes_the_same_mail_from_the_same_seed_and_correct_base64() {
    let (mut a, mut b) = (MailGen::new(7, "example.org"), MailGen::new(7, "example.org"));
    for _ in 0..30 {
        assert_eq!(a.next().octets, b.next().octets);
    }
    assert_eq!(base64_lines(b"hello"), "aGVsbG8=\r\n");
    assert_eq!(base64_lines(b"hell"), "aGVsbA==\r\n");
}

//! What a copy, read back, keeps of its original: told by a parser that took no part in making it.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mail_parser::{Address, Message, MessageParser, MimeHeaders, PartType};

use crate::model::Digest;

/// Messages within messages that are looked into.
const DEPTH: usize = 20;

/// Something a message consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Every octet.
    Octets,
    /// Every header field with its value, folding aside.
    Fields,
    /// Who wrote it to whom: `From`, `To`, `Cc`, `Reply-To`.
    People,
    /// `Subject`, decoded.
    Subject,
    /// `Message-ID`.
    MessageId,
    /// `Date`.
    Date,
    /// The texts of all parts, decoded; line ends and blanks at the ends of lines aside.
    Texts,
    /// All other parts: their names and octets, decoded.
    Files,
    /// What a signature is over (RFC 1847), octet for octet, or a signed or encrypted whole (RFC 8551).
    Signed,
}

impl Aspect {
    /// All of them.
    pub const ALL: [Aspect; 9] = [
        Aspect::Octets,
        Aspect::Fields,
        Aspect::People,
        Aspect::Subject,
        Aspect::MessageId,
        Aspect::Date,
        Aspect::Texts,
        Aspect::Files,
        Aspect::Signed,
    ];

    /// One word for tables.
    pub fn word(self) -> &'static str {
        match self {
            Aspect::Octets => "octets",
            Aspect::Fields => "fields",
            Aspect::People => "people",
            Aspect::Subject => "subject",
            Aspect::MessageId => "message-id",
            Aspect::Date => "date",
            Aspect::Texts => "texts",
            Aspect::Files => "files",
            Aspect::Signed => "signed",
        }
    }
}

/// What differs between an original and its copy. `None`: one of them cannot be read as a message at all, and they are
/// not the same octets.
pub fn differences(original: &[u8], copy: &[u8]) -> Option<BTreeSet<Aspect>> {
    if original == copy {
        return Some(BTreeSet::new());
    }
    let (was, is) = (Content::of(original)?, Content::of(copy)?);
    let mut differ = BTreeSet::from([Aspect::Octets]);
    let mut compare = |aspect, same: bool| {
        if !same {
            differ.insert(aspect);
        }
    };
    // Fields may be added on the way; none may be missing or changed.
    compare(Aspect::Fields, was.fields.iter().all(|(field, n)| is.fields.get(field).is_some_and(|m| m >= n)));
    compare(Aspect::People, was.people == is.people);
    compare(Aspect::Subject, was.subject == is.subject);
    compare(Aspect::MessageId, was.message_id == is.message_id);
    compare(Aspect::Date, was.date == is.date);
    compare(Aspect::Texts, was.texts == is.texts);
    compare(Aspect::Files, was.files == is.files);
    compare(Aspect::Signed, was.signed == is.signed);
    Some(differ)
}

#[derive(Debug, Default)]
struct Content {
    fields: BTreeMap<(String, String), usize>,
    people: BTreeMap<&'static str, BTreeSet<String>>,
    subject: Option<String>,
    message_id: Option<String>,
    date: Option<i64>,
    texts: BTreeMap<String, usize>,
    files: BTreeMap<(String, Digest), usize>,
    signed: BTreeSet<Digest>,
}

impl Content {
    /// `None`: the parser makes nothing of it.
    fn of(octets: &[u8]) -> Option<Content> {
        // Foreign octets: what the parser cannot bear must not end a run.
        catch_unwind(AssertUnwindSafe(|| {
            let message = MessageParser::default().parse(octets)?;
            let mut content = Content::default();
            for (name, value) in message.headers_raw() {
                let field = (name.to_ascii_lowercase(), words(value));
                *content.fields.entry(field).or_default() += 1;
            }
            for (name, address) in [
                ("from", message.from()),
                ("to", message.to()),
                ("cc", message.cc()),
                ("reply-to", message.reply_to()),
            ] {
                content.people.insert(name, addresses(address));
            }
            content.subject = message.subject().map(words);
            content.message_id = message.message_id().map(str::to_owned);
            content.date = message.date().map(mail_parser::DateTime::to_timestamp);
            content.parts(&message, 0);
            Some(content)
        }))
        .ok()
        .flatten()
    }

    fn parts(&mut self, message: &Message<'_>, depth: usize) {
        for part in &message.parts {
            match &part.body {
                PartType::Text(text) | PartType::Html(text) if part.attachment_name().is_none() => {
                    let text = lines(text);
                    if !text.is_empty() {
                        *self.texts.entry(text).or_default() += 1;
                    }
                }
                PartType::Text(text) | PartType::Html(text) => {
                    self.file(part.attachment_name(), lines(text).as_bytes());
                }
                PartType::Binary(octets) | PartType::InlineBinary(octets) => {
                    self.file(part.attachment_name(), octets);
                    if part.is_content_type("application", "pkcs7-mime") {
                        self.signed.insert(Digest::of(octets));
                    }
                }
                PartType::Message(inner) if depth < DEPTH => self.parts(inner, depth + 1),
                PartType::Message(inner) => self.file(None, &inner.raw_message),
                PartType::Multipart(children) if part.is_content_type("multipart", "signed") => {
                    let first = children.first().and_then(|id| message.parts.get(*id as usize));
                    let entity = first.and_then(|first| {
                        message.raw_message.get(first.offset_header as usize..first.offset_end as usize)
                    });
                    self.signed.extend(entity.map(Digest::of));
                }
                PartType::Multipart(_) => {}
            }
        }
    }

    fn file(&mut self, name: Option<&str>, octets: &[u8]) {
        let file = (name.unwrap_or_default().to_owned(), Digest::of(octets));
        *self.files.entry(file).or_default() += 1;
    }
}

/// A value without its folding.
fn words(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text without what mail systems change at the ends of lines.
fn lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned()
}

fn addresses(address: Option<&Address<'_>>) -> BTreeSet<String> {
    let all = address.into_iter().flat_map(Address::iter);
    all.filter_map(|a| a.address()).map(str::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &str = "Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\nFrom: Ann <ann@example.org>\r\n\
        To: ben@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@example.org>\r\n\
        Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nhello  \r\nyou\r\n\
        --x\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--x--\r\n";

    fn differ(copy: &str) -> Vec<&'static str> {
        let differ = differences(MAIL.as_bytes(), copy.as_bytes()).expect("both are messages");
        differ.into_iter().map(Aspect::word).collect()
    }

    #[test]
    fn each_aspect_is_told_apart() {
        assert!(differ(MAIL).is_empty());
        assert_eq!(
            differ(&format!("X-Added: by the server\r\n{MAIL}")),
            ["octets"],
            "an added field is no loss"
        );
        let changed = |from: &str, to: &str| differ(&MAIL.replacen(from, to, 1));
        assert_eq!(changed("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "=?UTF-8?B?R3LDvMOfZQ==?="), ["octets", "fields"]);
        assert_eq!(
            changed("Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n", ""),
            ["octets", "fields"]
        );
        assert_eq!(changed("ann@", "eve@"), ["octets", "fields", "people"]);
        assert_eq!(changed("<1@", "<2@"), ["octets", "fields", "message-id"]);
        assert_eq!(
            changed(
                "To: ben@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n",
                "To: ben@example.org\r\n"
            ),
            ["octets", "fields", "subject"]
        );
        assert_eq!(changed("hello  \r\n", "hello\r\n"), ["octets"], "blanks at the end of a line");
        assert_eq!(changed("hello", "hallo"), ["octets", "texts"]);
        assert_eq!(changed("AAEC", "AAED"), ["octets", "files"]);
        assert_eq!(changed("a.pdf", "b.pdf"), ["octets", "files"]);
        assert_eq!(changed("Date: Mon, 1", "Date: Tue, 2"), ["octets", "fields", "date"]);
    }

    #[test]
    fn what_a_signature_is_over_is_compared_octet_by_octet() {
        let signed = |body: &str, boundary: &str| {
            format!(
                "From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; \
                 protocol=\"application/pkcs7-signature\"; micalg=sha-256; boundary={boundary}\r\n\r\n--{boundary}\r\n\
                 Content-Type: text/plain\r\n\r\n{body}\r\n--{boundary}\r\nContent-Type: application/pkcs7-signature; \
                 name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--{boundary}--\r\n"
            )
        };
        let differ =
            |copy: &str| differences(signed("x  ", "b").as_bytes(), copy.as_bytes()).expect("messages");
        assert!(
            !differ(&signed("x  ", "other")).contains(&Aspect::Signed),
            "another boundary breaks no signature"
        );
        let trimmed = differ(&signed("x", "b"));
        assert!(trimmed.contains(&Aspect::Signed) && !trimmed.contains(&Aspect::Texts));
    }

    #[test]
    fn octets_that_are_no_message_are_only_compared_as_octets() {
        assert_eq!(differences(b"", b""), Some(BTreeSet::new()));
        assert_eq!(differences(b"", MAIL.as_bytes()), None);
    }
}

//! Header fields that Graph wants taken apart: people, dates, ids, importance.

use std::collections::BTreeSet;

use mail_parser::{Address, HeaderName, HeaderValue, Message, MessageParser};

use super::losses;
use crate::model::Timestamp;
use crate::transform::decode::{header_text, isolated};
use crate::transform::json::{self, Array, Object};

/// Recipients of one field at most, and bytes of JSON for all recipients together.
const MAX_RECIPIENTS: usize = 2_000;
const MAX_RECIPIENT_BYTES: usize = 400_000;
/// Longest display name and address, in characters (RFC 5321 §4.5.3.1 allows 64 + 1 + 255).
const MAX_NAME: usize = 255;
const MAX_ADDRESS: usize = 320;
/// Longest subject in UTF-16 units.
const MAX_SUBJECT: usize = 255;

/// One person.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    name: String,
    address: String,
}

/// What the top of a message says, as far as Graph has a field for it.
#[derive(Clone, Default)]
pub struct Fields {
    /// At most 255 UTF-16 units, no line breaks.
    pub subject: String,
    /// With angle brackets.
    pub message_id: Option<String>,
    /// Unfolded, as written.
    pub in_reply_to: Option<String>,
    /// Unfolded, as written.
    pub references: Option<String>,
    /// The `Date` header.
    pub date: Option<Timestamp>,
    /// `low`, `normal` or `high`.
    pub importance: &'static str,
    from: Vec<Person>,
    sender: Vec<Person>,
    to: Vec<Person>,
    cc: Vec<Person>,
    bcc: Vec<Person>,
    reply_to: Vec<Person>,
}

impl Fields {
    /// Reads a header block. Never fails: what cannot be read is empty.
    pub fn read(headers: &[u8], losses: &mut BTreeSet<&'static str>) -> Fields {
        let (text, guessed) = header_text(headers);
        if guessed {
            losses.insert(losses::HEADER_CHARSET_GUESSED);
        }
        let read = isolated(|| {
            let mut mine = BTreeSet::new();
            let read = fields_read(&text);
            let message = MessageParser::default().parse_headers(read.as_bytes())?;
            Some((Fields::from_message(&message, &mut mine), mine))
        });
        match read.flatten() {
            Some((fields, mine)) => {
                losses.extend(mine);
                fields
            }
            None => Fields { importance: "normal", ..Fields::default() },
        }
    }

    fn from_message(message: &Message<'_>, losses: &mut BTreeSet<&'static str>) -> Fields {
        let mut subject = one_line(message.subject().unwrap_or_default());
        if subject.encode_utf16().count() > MAX_SUBJECT {
            losses.insert(losses::SUBJECT_TRUNCATED);
            let mut units = 0;
            subject = subject
                .chars()
                .take_while(|c| {
                    units += c.len_utf16();
                    units < MAX_SUBJECT
                })
                .chain(['…'])
                .collect();
        }
        let message_id = message.message_id().map(|id| format!("<{}>", id.trim_matches(['<', '>', ' '])));
        let valid = |id: &String| {
            (4..=995).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_graphic())
                && id.matches(['<', '>']).count() == 2
        };
        let has_id = message.header(HeaderName::MessageId).is_some();
        let message_id = message_id.filter(valid);
        if has_id && message_id.is_none() {
            losses.insert(losses::MESSAGE_ID_DROPPED);
        }
        let raw = |name: HeaderName<'static>| {
            let text = one_line(message.header_raw(name)?);
            (!text.is_empty()).then_some(text)
        };
        let mut people = |name: HeaderName<'static>| list(message, &name, losses);
        let fields = Fields {
            subject,
            message_id,
            in_reply_to: raw(HeaderName::InReplyTo),
            references: raw(HeaderName::References),
            date: date(message),
            importance: importance(message),
            from: people(HeaderName::From),
            sender: people(HeaderName::Sender),
            to: people(HeaderName::To),
            cc: people(HeaderName::Cc),
            bcc: people(HeaderName::Bcc),
            reply_to: people(HeaderName::ReplyTo),
        };
        if fields.from.len() > 1 {
            losses.insert(losses::EXTRA_FROM);
        }
        fields
    }

    /// Writes the members of a create: subject, ids, importance, people.
    pub fn write(&self, object: &mut Object<'_>, losses: &mut BTreeSet<&'static str>) {
        object.text("subject", &self.subject);
        object.text("importance", self.importance);
        if let Some(id) = &self.message_id {
            object.text("internetMessageId", id);
        }
        let sender = self.sender.first().or(self.from.first());
        for (name, person) in [("from", self.from.first().or(sender)), ("sender", sender)] {
            if let Some(person) = person {
                person.write(object.key(name));
            }
        }
        let lists = [
            ("toRecipients", &self.to),
            ("ccRecipients", &self.cc),
            ("bccRecipients", &self.bcc),
            ("replyTo", &self.reply_to),
        ];
        let limit = object.written() + MAX_RECIPIENT_BYTES;
        for (name, people) in lists {
            if people.is_empty() {
                continue;
            }
            let mut array = Array::begin(object.key(name));
            for (n, person) in people.iter().enumerate() {
                let out = array.item_if(|out| n < MAX_RECIPIENTS && out.len() < limit);
                let Some(out) = out else {
                    losses.insert(losses::RECIPIENTS_TRUNCATED);
                    break;
                };
                person.write(out);
            }
            array.end();
        }
    }
}

/// The fields that are read here, by their names in lower case.
const READ: [&str; 15] = [
    "from",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "sender",
    "reply-to",
    "bcc",
    "importance",
    "priority",
    "x-priority",
    "x-msmail-priority",
];

/// The header block without the fields that nobody reads: taking the trace of a message apart (`Received`, signatures) costs
/// more than all the rest. What does not look like a field stays: the parser decides.
fn fields_read(headers: &str) -> String {
    let mut out = String::with_capacity(headers.len());
    let (mut rest, mut wanted) = (headers, true);
    while !rest.is_empty() {
        let line;
        (line, rest) = rest.split_at(memchr::memchr(b'\n', rest.as_bytes()).map_or(rest.len(), |at| at + 1));
        if !line.starts_with([' ', '\t']) {
            let name = line.split_once(':').map_or("", |(name, _)| name.trim_ascii_end());
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
            wanted = !is_name || READ.iter().any(|known| known.eq_ignore_ascii_case(name));
        }
        if wanted {
            out.push_str(line);
        }
    }
    out
}

impl Person {
    fn write(&self, out: &mut String) {
        let mut recipient = Object::begin(out);
        let mut email = Object::begin(recipient.key("emailAddress"));
        if !self.name.is_empty() {
            email.text("name", &self.name);
        }
        email.text("address", &self.address);
        email.end();
        recipient.end();
    }
}

/// Every person of every field of this name; groups are replaced by their members, what is no address is left out.
fn list(
    message: &Message<'_>,
    name: &HeaderName<'static>,
    losses: &mut BTreeSet<&'static str>,
) -> Vec<Person> {
    let mut people = Vec::new();
    for header in message.headers().iter().filter(|h| h.name == *name) {
        let HeaderValue::Address(addresses) = &header.value else { continue };
        if let Address::Group(groups) = addresses
            && groups.iter().any(|g| g.name.is_some())
        {
            losses.insert(losses::GROUP_NAMES);
        }
        for addr in addresses.iter() {
            let address = addr.address.as_deref().unwrap_or("").trim();
            if !is_address(address) {
                losses.insert(losses::ADDRESS_DROPPED);
                continue;
            }
            let name: String = one_line(addr.name.as_deref().unwrap_or("")).chars().take(MAX_NAME).collect();
            people.push(Person { name, address: address.to_owned() });
        }
    }
    people
}

fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    !local.is_empty()
        && !domain.is_empty()
        && text.chars().count() <= MAX_ADDRESS
        && !text.chars().any(|c| c.is_control() || c.is_whitespace() || "<>,;\"()\\".contains(c))
        && !local.contains('@')
}

/// The `Date` header, if it is a date that a mail store can hold (from 1601 on).
fn date(message: &Message<'_>) -> Option<Timestamp> {
    let d = message.date()?;
    let zone = i16::from(d.tz_hour) * 60 + i16::from(d.tz_minute);
    let zone = if d.tz_before_gmt { -zone } else { zone };
    Timestamp::from_civil(
        i64::from(d.year),
        u32::from(d.month),
        u32::from(d.day),
        u32::from(d.hour),
        u32::from(d.minute),
        u32::from(d.second),
        if zone.unsigned_abs() < 24 * 60 { zone } else { 0 },
    )
    .filter(storable)
}

/// Can a mail store hold this date (FILETIME begins in 1601; four digits of year)?
pub fn storable(t: &Timestamp) -> bool {
    (-11_644_473_600..=253_402_300_799).contains(&t.seconds)
}

fn importance(message: &Message<'_>) -> &'static str {
    for header in message.headers() {
        let value = match &header.value {
            HeaderValue::Text(text) => text.trim().to_ascii_lowercase(),
            _ => continue,
        };
        let word = match header.name().to_ascii_lowercase().as_str() {
            "importance" | "x-msmail-priority" => value.as_str(),
            "x-priority" => value.get(..1).unwrap_or(""),
            "priority" => value.as_str(),
            _ => continue,
        };
        match word {
            "high" | "urgent" | "1" | "2" => return "high",
            "low" | "non-urgent" | "4" | "5" => return "low",
            _ => {}
        }
    }
    "normal"
}

/// Without line breaks and control characters, runs of blanks from folding as one.
fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split(['\r', '\n', '\t']).map(str::trim).filter(|w| !w.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.extend(word.chars().filter(|c| !c.is_control()));
    }
    out
}

/// `text`, cut so that its JSON form has at most `max` bytes; the flag tells that it was cut.
pub fn bounded(text: &str, max: usize) -> (&str, bool) {
    let cut = json::fitting(text, max);
    (cut, cut.len() < text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn read(headers: &str) -> (Value, Fields, BTreeSet<&'static str>) {
        let mut losses = BTreeSet::new();
        let fields = Fields::read(headers.as_bytes(), &mut losses);
        let mut out = String::new();
        let mut object = Object::begin(&mut out);
        fields.write(&mut object, &mut losses);
        object.end();
        (serde_json::from_str(&out).expect("JSON"), fields, losses)
    }

    #[test]
    fn people_come_from_lists_groups_and_encoded_words() {
        let (json, _, losses) = read(
            "From: =?utf-8?Q?J=C3=BCrgen?= <j@example.org>\r\nTo: team: a@x.org, \"B, b\" <b@x.org>;\r\n\
             Cc: undisclosed-recipients:;\r\nTo: third@x.org\r\nReply-To: not an address\r\nSubject: a\r\n b\r\n",
        );
        assert_eq!(json["from"]["emailAddress"]["name"], "Jürgen");
        assert_eq!(json["sender"]["emailAddress"]["address"], "j@example.org");
        assert_eq!(json["toRecipients"].as_array().map(Vec::len), Some(3));
        assert_eq!(json["toRecipients"][1]["emailAddress"]["name"], "B, b");
        assert_eq!(json["subject"], "a b");
        assert!(
            losses.contains(losses::GROUP_NAMES) && losses.contains(losses::ADDRESS_DROPPED),
            "{losses:?}"
        );
        assert!(json.get("replyTo").is_none() && json.get("ccRecipients").is_none());
    }

    #[test]
    fn ids_dates_and_importance_are_read() {
        let (json, fields, losses) = read(
            "Message-ID: <a@b>\r\nReferences: <1@x>\r\n <2@x>\r\nIn-Reply-To: <2@x>\r\n\
             Date: Sat, 21 Nov 2026 09:00:00 +0100\r\nX-Priority: 1 (Highest)\r\n",
        );
        assert_eq!(json["internetMessageId"], "<a@b>");
        assert_eq!(json["importance"], "high");
        assert_eq!(fields.references.as_deref(), Some("<1@x> <2@x>"));
        assert_eq!(fields.in_reply_to.as_deref(), Some("<2@x>"));
        assert_eq!(fields.date.map(|d| d.to_rfc3339()).as_deref(), Some("2026-11-21T08:00:00Z"));
        assert!(losses.is_empty(), "{losses:?}");
    }

    #[test]
    fn fields_nobody_reads_are_left_out_with_their_folded_lines_and_all_else_stays() {
        let headers = "Received: from a\r\n by b\r\nFrom : j@example.org\r\nsubject: a\r\n b\r\n\
                       X-Mailer: x\r\nno field\r\nReferences: <1@x>\r\n\t<2@x>\r\nDKIM-Signature: v=1;\r\n\tb=a\r\nTo: k@x.org\r\n";
        let left = "From : j@example.org\r\nsubject: a\r\n b\r\nno field\r\nReferences: <1@x>\r\n\t<2@x>\r\nTo: k@x.org\r\n";
        assert_eq!(fields_read(headers), left);
        let (json, ..) = read(headers);
        assert_eq!(json["from"]["emailAddress"]["address"], "j@example.org");
        assert_eq!(json["toRecipients"][0]["emailAddress"]["address"], "k@x.org");
    }

    #[test]
    fn a_long_subject_and_a_broken_id_are_declared() {
        let (json, _, losses) = read(&format!("Subject: {}\r\nMessage-ID: <a b c>\r\n", "ü".repeat(300)));
        let subject = json["subject"].as_str().expect("text");
        assert!(subject.encode_utf16().count() == 255 && subject.ends_with('…'));
        assert!(losses.contains(losses::SUBJECT_TRUNCATED));
        assert!(
            json.get("internetMessageId").is_none() && losses.contains(losses::MESSAGE_ID_DROPPED),
            "{json}"
        );
    }

    #[test]
    fn raw_eight_bit_headers_are_read_as_windows_1252() {
        let mut losses = BTreeSet::new();
        let fields = Fields::read(b"Subject: caf\xe9 \x80\r\nFrom: R\xe9mi <r@x.org>\r\n", &mut losses);
        assert_eq!(fields.subject, "café €");
        assert_eq!(fields.from[0].name, "Rémi");
        assert!(losses.contains(losses::HEADER_CHARSET_GUESSED));
    }
}

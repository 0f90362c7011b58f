//! A message as EWS takes it: its MIME, whole, and beside it what MIME does not carry.
//!
//! The octets travel unchanged as base64; the server makes its own form of them, and what it gives back later it builds
//! anew. Dates, the draft state, flags and the stamp are properties of the same creation. The order of elements is the
//! schema's (`t:ItemType`, then `t:MessageType`); a server refuses another one.

pub mod flags;
pub mod props;
pub mod stream;

use std::collections::BTreeSet;

use encodify::base64::STANDARD;
use mail_parser::{MessageParser, MimeHeaders};

use crate::model::{Error, Flags, Kind, Scope, Stamp, Timestamp};
use crate::transform::graph::losses;
use crate::transform::graph::props::stamp_value;
use crate::transform::xml;

/// How much of a message is searched for its date and its type, in bytes.
const HEAD: usize = 64 << 10;
/// What an item takes beside its MIME, in bytes: a little more than the most that is ever written without categories.
pub const ENVELOPE: u64 = 2_048;

/// 1601-01-01T00:00:00Z, the first moment a store's dates (FILETIME) can tell, in seconds since 1970.
const EARLIEST: i64 = -11_644_473_600;
/// 9999-12-31T23:59:59Z, the last one four digits of a year can tell.
const LATEST: i64 = 253_402_300_799;

/// What to build from.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The message as the source sent it.
    pub octets: &'a [u8],
    /// Its stamp.
    pub stamp: &'a Stamp,
    /// Its flags.
    pub flags: &'a Flags,
    /// Its received date.
    pub received: Option<Timestamp>,
}

/// How many bytes a message of `size` octets takes in a request: an upper estimate.
pub fn wire_size(size: u64) -> u64 {
    size.div_ceil(3).saturating_mul(4).saturating_add(ENVELOPE)
}

/// Appends the `t:Message` of a creation; gives what the copy cannot keep, sorted.
///
/// # Errors
/// `Refused` for no octets at all; nothing was appended then.
pub fn message(out: &mut String, input: &Input<'_>) -> Result<Vec<&'static str>, Error> {
    let Input { octets, stamp, flags, received } = *input;
    if octets.is_empty() {
        return Err(Error::new(Kind::Refused, Scope::Message, "the message has no octets")
            .remedy("nothing to move; look at it at the source and approve it"));
    }
    let mut lost = BTreeSet::new();
    let head = Head::read(octets);
    let received = received.filter(storable).unwrap_or_else(|| {
        lost.insert(losses::RECEIVED_MADE);
        head.date.unwrap_or(Timestamp::utc(0))
    });
    let sent = head.date.unwrap_or_else(|| {
        lost.insert(losses::SENT_MADE);
        received
    });
    xml::open(out, "t:Message");
    out.push_str("<t:MimeContent CharacterSet=\"UTF-8\">");
    STANDARD.encode_append(octets, out);
    xml::close(out, "t:MimeContent");
    if !head.own_class {
        xml::element(out, "t:ItemClass", "IPM.Note");
    }
    flags::write_categories(out, flags, &mut lost);
    // Importance is left to the MIME: nothing else of a source tells it.
    flags::write_props(out, flags, &mut lost);
    props::DELIVERY_TIME.write(out, &received.to_rfc3339());
    props::SUBMIT_TIME.write(out, &sent.to_rfc3339());
    // One request makes the whole copy: it is never seen open.
    props::STAMP.write(out, &stamp_value(stamp, true));
    xml::element(out, "t:IsRead", if flags.seen { "true" } else { "false" });
    xml::close(out, "t:Message");
    Ok(lost.into_iter().collect())
}

fn storable(at: &Timestamp) -> bool {
    (EARLIEST..=LATEST).contains(&at.seconds)
}

/// What the header tells.
#[derive(Debug, Default)]
struct Head {
    date: Option<Timestamp>,
    /// The server derives a class of its own from this type (S/MIME, reports); named by us, it would lose it.
    own_class: bool,
}

impl Head {
    fn read(octets: &[u8]) -> Head {
        let head = &octets[..octets.len().min(HEAD)];
        let Some(message) = MessageParser::default().parse_headers(head) else { return Head::default() };
        let own_class = message.content_type().is_some_and(|t| {
            let sub = t.subtype().unwrap_or_default();
            match t.ctype() {
                main if main.eq_ignore_ascii_case("multipart") => {
                    ["signed", "encrypted", "report"].iter().any(|s| sub.eq_ignore_ascii_case(s))
                }
                main if main.eq_ignore_ascii_case("application") => {
                    ["pkcs7-mime", "x-pkcs7-mime"].iter().any(|s| sub.eq_ignore_ascii_case(s))
                }
                _ => false,
            }
        });
        let date = message.date().map(|date| Timestamp::utc(date.to_timestamp())).filter(storable);
        Head { date, own_class }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FolderId, MailboxKey, SourceName};
    use proptest::prelude::*;

    fn stamp() -> Stamp {
        let source: SourceName = "acme".parse().expect("valid");
        Stamp { mailbox: MailboxKey::of(&source, "a"), source, folder: FolderId(3), epoch: 9, number: 12 }
    }

    fn built(octets: &[u8], flags: &str, received: Option<i64>) -> (String, Vec<&'static str>) {
        let mut out = String::new();
        let (stamp, flags) = (stamp(), Flags::decode(flags));
        let received = received.map(Timestamp::utc);
        let input = Input { octets, stamp: &stamp, flags: &flags, received };
        let lost = message(&mut out, &input).expect("built");
        (out, lost)
    }

    fn value(xml: &str, uri: &str) -> Option<String> {
        let after = &xml[xml.find(uri)? + uri.len()..];
        let from = after.find("<t:Value>")? + 9;
        Some(after[from..from + after[from..].find('<')?].to_owned())
    }

    #[test]
    fn the_octets_travel_as_they_are_and_the_elements_in_the_schemas_order() {
        let octets = b"Date: Thu, 1 Jan 2015 00:00:00 +0000\r\nSubject: \xe4\r\n\r\n\0 bare\nline \xff";
        let (out, lost) = built(octets, "FRS later", Some(1_700_000_000));
        let order = ["<t:MimeContent", "<t:ItemClass", "<t:Categories", "<t:ExtendedProperty", "<t:IsRead"];
        let at: Vec<usize> = order.iter().map(|tag| out.find(tag).expect("there")).collect();
        assert!(at.is_sorted(), "{at:?}");
        let mime = &out[out.find('>').expect("open") + 1..];
        let mime = &mime[mime.find('>').expect("open") + 1..mime.find("</t:MimeContent>").expect("close")];
        assert_eq!(STANDARD.decode(mime).expect("base64"), octets);
        assert!(lost.is_empty(), "{lost:?}");
        assert_eq!(value(&out, "PropertyTag=\"0x0E07\"").as_deref(), Some("1"));
        assert_eq!(value(&out, "PropertyTag=\"0x0E06\"").as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(value(&out, "PropertyTag=\"0x0039\"").as_deref(), Some("2015-01-01T00:00:00Z"));
        assert_eq!(value(&out, "PropertyTag=\"0x1090\"").as_deref(), Some("2"));
        assert_eq!(value(&out, "MailwaveStamp"), Some(stamp_value(&stamp(), true)));
        assert!(
            out.contains("<t:IsRead>true</t:IsRead>") && out.contains("<t:ItemClass>IPM.Note</t:ItemClass>")
        );
    }

    #[test]
    fn dates_are_the_messages_own_or_declared() {
        let dated = b"Date: Thu, 1 Jan 2015 00:00:00 +0000\r\n\r\nx";
        let (out, lost) = built(dated, "", None);
        assert_eq!(value(&out, "\"0x0E06\"").as_deref(), Some("2015-01-01T00:00:00Z"));
        assert_eq!(lost, [losses::RECEIVED_MADE]);
        let (out, lost) = built(b"Subject: x\r\n\r\nx", "", None);
        assert_eq!(value(&out, "\"0x0E06\"").as_deref(), Some("1970-01-01T00:00:00Z"), "never now");
        assert_eq!(lost, [losses::RECEIVED_MADE, losses::SENT_MADE]);
        let (out, lost) = built(dated, "", Some(i64::MAX));
        assert_eq!(value(&out, "\"0x0E06\"").as_deref(), Some("2015-01-01T00:00:00Z"));
        assert_eq!(lost, [losses::RECEIVED_MADE], "a date no store can hold is none");
    }

    #[test]
    fn classes_the_server_derives_are_left_to_it() {
        for (kind, named) in [
            ("text/plain", true),
            ("multipart/mixed; boundary=b", true),
            ("multipart/signed; boundary=b; protocol=\"application/pkcs7-signature\"", false),
            ("multipart/report; boundary=b; report-type=delivery-status", false),
            ("Application/PKCS7-MIME; smime-type=enveloped-data", false),
        ] {
            let (out, _) = built(format!("Content-Type: {kind}\r\n\r\nx").as_bytes(), "", Some(0));
            assert_eq!(out.contains("IPM.Note"), named, "{kind}");
        }
    }

    #[test]
    fn a_message_without_octets_is_refused_and_leaves_nothing() {
        let mut out = String::from("before");
        let (stamp, flags) = (stamp(), Flags::default());
        let input = Input { octets: b"", stamp: &stamp, flags: &flags, received: None };
        let error = message(&mut out, &input).expect_err("refused");
        assert!(error.kind == Kind::Refused && !error.remedy.is_empty() && out == "before");
    }

    proptest! {
        #[test]
        fn foreign_octets_never_panic_and_stay_below_the_estimate(octets in prop::collection::vec(any::<u8>(), 1..400)) {
            let (out, _) = built(&octets, "FRS", Some(0));
            prop_assert!(out.len() as u64 <= wire_size(octets.len() as u64), "{}", out.len());
        }
    }
}

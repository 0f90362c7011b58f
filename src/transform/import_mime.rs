//! A message as Graph's `importMime` takes it (write mode `import-mime`): its MIME in base64, nothing else.
//!
//! The request has no place for a stamp, so a header line carries it: the service keeps unknown `x-` headers as named
//! properties, which can be looked for. It says *open*; flags and the stamp that says *done* follow in a PATCH. Line ends
//! that are not CRLF are made so: the service refuses them.

use std::collections::BTreeSet;
use std::io::Write;

use encodify::base64::STANDARD;

use crate::model::{Flags, Stamp, StampPrefix, Timestamp};
use crate::transform::graph::{flags, props};
use crate::transform::json::{Array, Object};
use crate::transform::line_ends::ToCrlf;

/// The header. In lower case, as the service keeps names of headers.
const HEADER: &str = "x-mailwave-stamp";
/// The header read back (PS_INTERNET_HEADERS, MS-OXPROPS §1.3.2).
pub const STAMP_HEADER: &str = "String {00020386-0000-0000-C000-000000000046} Name x-mailwave-stamp";

/// A header line with the stamp was added to the copy.
pub const HEADER_ADDED: &str = "stamp-header";
/// Bare line ends were made CRLF.
pub const LINE_ENDS: &str = "line-ends-mended";
/// The service gave the copy a received date of its own.
pub const RECEIVED_LOST: &str = "received-not-kept";

/// Every loss with what it means, for the report.
pub const LOSSES: [(&str, &str); 3] = [
    (HEADER_ADDED, "written as MIME: a header line with the stamp was added"),
    (LINE_ENDS, "bare line ends were made CRLF"),
    (RECEIVED_LOST, "the target shows another received date than the original's"),
];

/// Longest request for a message of so many octets, in bytes; an upper bound.
pub fn wire_len(octets: u64) -> u64 {
    // The header line is some 150 bytes at most; bare line ends may double what they end, which is rare and seen later.
    (octets.saturating_add(256)).div_ceil(3).saturating_mul(4)
}

/// The request's body, and whether line ends had to be mended. `None`: it is longer than `max` bytes.
pub fn body(octets: &[u8], stamp: &Stamp, max: usize) -> Option<(String, bool)> {
    let mended = bare_line_end(octets).then(|| {
        let mut out = ToCrlf::new(Vec::with_capacity(octets.len() + octets.len() / 32));
        // A bare CR ends a line, too.
        let text = lone_cr_mended(octets);
        // Writing to memory does not fail.
        let _ = out.write_all(&text);
        out.into_inner()
    });
    let octets = mended.as_deref().unwrap_or(octets);
    let mut line = format!("{HEADER}: {}\r\n", props::stamp_value(stamp, false));
    // Encoded by itself, without padding: blanks before a value mean nothing.
    while !line.len().is_multiple_of(3) {
        line.insert(HEADER.len() + 1, ' ');
    }
    let length = (line.len() + octets.len()).div_ceil(3) * 4;
    if length > max {
        return None;
    }
    let mut out = String::with_capacity(length);
    STANDARD.encode_append(&line, &mut out);
    STANDARD.encode_append(octets, &mut out);
    Some((out, mended.is_some()))
}

/// A CR or LF that is not half of a CRLF. Without a branch in the loop: it costs less than looking for the line ends.
fn bare_line_end(octets: &[u8]) -> bool {
    let (Some(first), Some(last)) = (octets.first(), octets.last()) else { return false };
    let pairs = octets.iter().zip(octets.iter().skip(1));
    *first == b'\n'
        || *last == b'\r'
        || pairs.fold(false, |bare, (one, next)| bare | ((*one == b'\r') != (*next == b'\n')))
}

/// Every CR that no LF follows, with one.
fn lone_cr_mended(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + 16);
    let mut from = 0;
    for at in memchr::memchr_iter(b'\r', octets) {
        if octets.get(at + 1) != Some(&b'\n') {
            out.extend_from_slice(&octets[from..=at]);
            out.push(b'\n');
            from = at + 1;
        }
    }
    out.extend_from_slice(&octets[from..]);
    out
}

/// The request body that gives a copy its flags, a received date if one is named, and the stamp that says *done*.
pub fn patch_body(
    stamp: &Stamp,
    flags: &Flags,
    received: Option<Timestamp>,
    losses: &mut BTreeSet<&'static str>,
) -> String {
    let mut out = String::new();
    let mut object = Object::begin(&mut out);
    flags::write(&mut object, flags, losses);
    let mut array = Array::begin(object.key("singleValueExtendedProperties"));
    flags::write_verb(&mut array, flags);
    if let Some(received) = received {
        props::write(array.item(), props::DELIVERY_TIME, &received.to_rfc3339());
    }
    props::write(array.item(), props::STAMP, &props::stamp_value(stamp, true));
    array.end();
    object.end();
    out
}

/// As [`props::stamp_filter`], for stamps in headers.
pub fn header_filter(prefix: &StampPrefix) -> String {
    format!(
        "singleValueExtendedProperties/Any(ep: ep/id eq '{STAMP_HEADER}' and startswith(ep/value,'{}'))",
        prefix.as_str()
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{FolderId, MailboxKey, SourceName};

    #[test]
    fn a_bare_line_end_is_noticed_wherever_it_is() {
        for fine in ["", "a", "\r\n", "a\r\nb", "\r\n\r\n", "a\r\n\r\nb\r\n"] {
            assert!(!bare_line_end(fine.as_bytes()), "{fine:?}");
        }
        for bare in ["\n", "\r", "a\nb", "a\rb", "\n\r\n", "\r\n\n", "\r\n\r", "\r\r\n", "a\r\nb\n", "\n\r"] {
            assert!(bare_line_end(bare.as_bytes()), "{bare:?}");
        }
    }

    fn stamp(number: u64) -> Stamp {
        let source: SourceName = "acme".parse().expect("valid");
        Stamp { mailbox: MailboxKey::of(&source, "ann"), source, folder: FolderId(1), epoch: 1, number }
    }

    fn sent(octets: &[u8], number: u64) -> (Vec<u8>, bool) {
        let (body, mended) = body(octets, &stamp(number), usize::MAX).expect("it fits");
        assert!(body.len() as u64 <= wire_len(octets.len() as u64) || mended);
        (STANDARD.decode(&body).expect("strict base64"), mended)
    }

    proptest! {
        #[test]
        fn the_octets_travel_unchanged_behind_one_header_line(octets: Vec<u8>, number in 1u64..1_000_000) {
            let clean: Vec<u8> = octets.iter().copied().filter(|b| !b"\r\n".contains(b)).collect();
            let clean = [&clean[..], b"\r\n\r\n", &clean[..]].concat();
            let (got, mended) = sent(&clean, number);
            prop_assert!(!mended && got.ends_with(&clean));
            let line = String::from_utf8(got[..got.len() - clean.len()].to_vec()).expect("ASCII");
            let (name, value) = line.strip_suffix("\r\n").expect("a line").split_once(':').expect("a header");
            prop_assert_eq!(name, HEADER);
            prop_assert_eq!(props::parse_stamp_value(value.trim()), Some((stamp(number), false)));
        }

        #[test]
        fn bare_line_ends_are_mended_and_nothing_else_changes(octets in "[ab\r\n]{0,60}") {
            let (got, mended) = sent(octets.as_bytes(), 7);
            let line = got.windows(2).position(|w| w == b"\r\n").expect("the header") + 2;
            let got = std::str::from_utf8(&got[line..]).expect("ASCII");
            prop_assert!(!bare_line_end(got.as_bytes()));
            prop_assert_eq!(mended, bare_line_end(octets.as_bytes()));
            let letters = |t: &str| t.chars().filter(|c| c.is_ascii_alphabetic()).collect::<String>();
            prop_assert_eq!(letters(got), letters(&octets));
            prop_assert!(mended || got == octets);
        }
    }

    #[test]
    fn what_does_not_fit_is_not_made() {
        assert!(body(&[b'x'; 3000], &stamp(1), 4000).is_none());
        assert!(body(&[b'x'; 2000], &stamp(1), 4000).is_some());
    }
}

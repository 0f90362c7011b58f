//! Who wrote a message and to whom, and header fields as a service writes them when it makes a message anew.

use mail_parser::Address;
use serde::{Deserialize, Serialize};

/// A name and an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::mock) struct Recipient {
    pub(in crate::mock) name: Option<String>,
    pub(in crate::mock) address: Option<String>,
}

/// Those a header field names.
pub(in crate::mock) fn recipients(address: Option<&Address<'_>>) -> Vec<Recipient> {
    address
        .into_iter()
        .flat_map(Address::iter)
        .map(|a| Recipient { name: a.name().map(str::to_owned), address: a.address().map(str::to_owned) })
        .collect()
}

/// As the value of a header field.
pub(in crate::mock) fn addresses(list: &[Recipient]) -> String {
    let texts: Vec<String> = list
        .iter()
        .map(|r| match (&r.name, &r.address) {
            (Some(name), Some(address)) => format!("\"{}\" <{address}>", name.replace(['"', '\\'], "")),
            (None, Some(address)) => format!("<{address}>"),
            (Some(name), None) => format!("\"{}\"", name.replace(['"', '\\'], "")),
            (None, None) => String::new(),
        })
        .collect();
    texts.join(", ")
}

/// With blanks for what would end a header field.
pub(in crate::mock) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// As encoded words where there is more than ASCII (RFC 2047), in pieces that never split a character.
pub(in crate::mock) fn encoded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let mut words = Vec::new();
    let mut piece = String::new();
    for c in text.chars() {
        if piece.len() + c.len_utf8() > 45 {
            words.push(std::mem::take(&mut piece));
        }
        piece.push(c);
    }
    words.push(piece);
    let words: Vec<String> =
        words.iter().map(|w| format!("=?utf-8?B?{}?=", encodify::base64::STANDARD.encode(w))).collect();
    words.join("\r\n ")
}

/// A part's octets in base64, whole lines of it.
pub(in crate::mock) fn lines(octets: &[u8]) -> String {
    let mut text = encodify::base64::MIME.encode(octets);
    if !text.ends_with("\r\n") {
        text.push_str("\r\n");
    }
    text
}

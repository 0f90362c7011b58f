//! Base64 content that is already base64 in the message: cut out, not decoded and encoded again.

use bytes::Bytes;
use encodify::base64::{LENIENT, STANDARD};

/// The octets of one part of a message, as they will be sent.
#[derive(Clone)]
pub enum Content {
    /// Canonical base64 with line breaks, a slice of the message. The number is its decoded length in bytes.
    Cut(Bytes, usize),
    /// Octets to be encoded.
    Octets(Bytes),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({} bytes)", self.len())
    }
}

impl Content {
    /// From the body of a part with `Content-Transfer-Encoding: base64`. The flag tells whether the base64 was broken
    /// (characters outside the alphabet): then what could be decoded up to there is kept.
    pub fn from_base64(body: &Bytes) -> (Content, bool) {
        if let Some(len) = canonical(body) {
            return (Content::Cut(body.clone(), len), false);
        }
        let mut octets = Vec::with_capacity(body.len() / 4 * 3);
        let read = LENIENT.decode_prefix(body, &mut octets);
        let broken = body[read..].iter().any(|b| !b.is_ascii_whitespace());
        (Content::Octets(Bytes::from(octets)), broken)
    }

    /// Decoded length in bytes: what the target counts.
    pub fn len(&self) -> usize {
        match self {
            Content::Cut(_, len) => *len,
            Content::Octets(octets) => octets.len(),
        }
    }

    /// No octets?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length of its base64 form in bytes.
    pub fn base64_len(&self) -> usize {
        self.len().div_ceil(3) * 4
    }

    /// Appends its base64 form, one line, padded.
    pub fn push_base64(&self, out: &mut String) {
        match self {
            Content::Cut(body, _) => {
                out.reserve(self.base64_len());
                for run in body.split(|b| b.is_ascii_whitespace()) {
                    out.push_str(std::str::from_utf8(run).unwrap_or_default()); // `canonical` saw only ASCII
                }
            }
            Content::Octets(octets) => {
                STANDARD.encode_append(octets, out);
            }
        }
    }

    /// The decoded octets.
    pub fn octets(&self) -> Bytes {
        match self {
            Content::Cut(body, len) => {
                let mut octets = Vec::with_capacity(*len);
                LENIENT.decode_prefix(body, &mut octets);
                Bytes::from(octets)
            }
            Content::Octets(octets) => octets.clone(),
        }
    }
}

/// The decoded length, if `body` without its white space is exactly what an encoder would write: alphabet only,
/// padding only at the end and complete, no stray bits.
fn canonical(body: &[u8]) -> Option<usize> {
    let (mut symbols, mut pads, mut last) = (0usize, 0usize, 0u8);
    for &b in body {
        match value(b) {
            Some(v) if pads == 0 => {
                symbols += 1;
                last = v;
            }
            None if b == b'=' && pads < 2 => pads += 1,
            None if b.is_ascii_whitespace() => {}
            _ => return None,
        }
    }
    let stray = match pads {
        0 => 0,
        1 => last & 0b11,
        _ => last & 0b1111,
    };
    ((symbols + pads).is_multiple_of(4) && stray == 0 && symbols + pads >= pads * 2)
        .then(|| (symbols + pads) / 4 * 3 - pads)
}

fn value(b: u8) -> Option<u8> {
    match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use encodify::base64::MIME;
    use proptest::prelude::*;

    fn sent(content: &Content) -> String {
        let mut out = String::new();
        content.push_base64(&mut out);
        out
    }

    proptest! {
        #[test]
        fn cutting_gives_what_decoding_and_encoding_gives(octets: Vec<u8>, noise in "[ \r\n\t]{0,4}") {
            let body = Bytes::from(format!("{noise}{}{noise}", MIME.encode(&octets)));
            let (content, broken) = Content::from_base64(&body);
            prop_assert!(matches!(content, Content::Cut(..)) && !broken);
            prop_assert_eq!(content.len(), octets.len());
            prop_assert_eq!(sent(&content), STANDARD.encode(&octets));
            prop_assert_eq!(content.base64_len(), sent(&content).len());
            prop_assert_eq!(content.octets(), octets);
        }

        #[test]
        fn foreign_bytes_are_sent_as_canonical_base64(body in "[A-Da-d+/=!\r\n ]{0,40}") {
            let (content, _) = Content::from_base64(&Bytes::from(body));
            let sent = sent(&content);
            prop_assert_eq!(STANDARD.decode(&sent).expect("strictly valid"), content.octets().to_vec());
            prop_assert_eq!(content.octets().len(), content.len());
        }
    }

    #[test]
    fn missing_padding_stray_bits_and_a_footer_are_not_cut() {
        for (body, octets, broken) in [
            ("aGVsbG8", "hello", false),
            ("aGVsbG9=", "hello", false), // stray bits in the last symbol
            ("aGVsbG8=\r\n-- \r\nlist footer", "hello", true),
            ("aGVs\r\nbG8=", "hello", false),
        ] {
            let (content, was) = Content::from_base64(&Bytes::from(body));
            assert_eq!((content.octets().as_ref(), was), (octets.as_bytes(), broken), "{body}");
            assert_eq!(sent(&content), "aGVsbG8=");
        }
    }
}

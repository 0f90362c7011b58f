//! What tells a message apart whose octets a server changed: its `Message-ID` (RFC 5322 §3.6.4).

use super::mime::halves;
use crate::model::Digest;

/// The beginning of the BLAKE3 of the text of the first `Message-ID` field, folding and blanks around it removed; 0 if
/// there is none. `octets` may be a whole message or its header block alone.
pub fn message_id(octets: &[u8]) -> u64 {
    let mut lines = halves(octets).headers.split(|b| *b == b'\n');
    let is_blank = |b: &u8| b.is_ascii_whitespace();
    let Some(first) = lines.find_map(|line| {
        let (name, text) = line.split_at(line.iter().position(|b| *b == b':')?);
        name.trim_ascii_end().eq_ignore_ascii_case(b"message-id").then(|| text[1..].to_vec())
    }) else {
        return 0;
    };
    let folded = lines.take_while(|line| line.first().is_some_and(|b| *b == b' ' || *b == b'\t'));
    let mut text = first;
    folded.for_each(|line| text.extend_from_slice(line));
    text.retain(|b| !is_blank(b));
    if text.is_empty() {
        return 0;
    }
    Digest::of(&text).beginning()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_whatever_its_case_and_folding_and_only_in_the_header() {
        let id = message_id(b"Subject: x\r\nMessage-ID: <a@b>\r\n\r\nbody\r\n");
        assert_ne!(id, 0);
        for same in
            [&b"message-id:\r\n <a@b>\r\n\r\n"[..], b"MESSAGE-ID : <a@b>\nTo: c\n\n", b"Message-Id:<a@b>"]
        {
            assert_eq!(message_id(same), id);
        }
        for none in [&b""[..], b"Subject: x\r\n\r\nMessage-ID: <a@b>\r\n", b"Message-ID:\r\n\r\n", b":\n\n"] {
            assert_eq!(message_id(none), 0);
        }
        assert_ne!(message_id(b"Message-ID: <a@c>\r\n\r\n"), id);
    }
}

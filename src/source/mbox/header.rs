//! The header block of a message in an mbox: what mail programs noted there, and what is taken out again.

use crate::model::Flags;

/// Length of the header block with the blank line that ends it; `None` if no blank line was found.
pub(super) fn block_len(text: &[u8]) -> Option<usize> {
    if text.starts_with(b"\n") {
        return Some(1);
    }
    if text.starts_with(b"\r\n") {
        return Some(2);
    }
    memchr::memchr_iter(b'\n', text).find_map(|at| match &text[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// The fields of a block with their folded lines, in order; a line that is no field comes with an empty name.
pub(super) fn fields(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = block;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = line_len(rest);
        while matches!(rest.get(end), Some(b' ' | b'\t')) {
            end += line_len(&rest[end..]);
        }
        let (field, tail) = rest.split_at(end);
        rest = tail;
        let name = match memchr::memchr(b':', &field[..line_len(field)]) {
            Some(colon) => field[..colon].trim_ascii_end(),
            None => &[],
        };
        let plain = name.iter().all(|b| b.is_ascii_graphic());
        Some((if plain { name } else { &[][..] }, field))
    })
}

fn line_len(text: &[u8]) -> usize {
    memchr::memchr(b'\n', text).map_or(text.len(), |end| end + 1)
}

/// A field's value, without the ends of folded lines.
fn value(field: &[u8]) -> String {
    let from = memchr::memchr(b':', field).map_or(field.len(), |colon| colon + 1);
    let text = String::from_utf8_lossy(&field[from..]);
    text.replace(['\r', '\n'], "").trim().to_owned()
}

/// The `Content-Length`, in bytes.
pub(super) fn content_length(block: &[u8]) -> Option<u64> {
    fields(block)
        .find(|(name, _)| name.eq_ignore_ascii_case(b"Content-Length"))
        .and_then(|(_, f)| value(f).parse().ok())
}

/// Fields in which mail programs keep what is not part of the message. `X-Mozilla-…` is Thunderbird's.
const METADATA: [&[u8]; 9] = [
    b"Status",
    b"X-Status",
    b"X-Keywords",
    b"X-UID",
    b"X-IMAP",
    b"X-IMAPbase",
    b"X-Mozilla-Status",
    b"X-Mozilla-Status2",
    b"X-Mozilla-Keys",
];

/// Which fields are taken out of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Strip {
    /// `Content-Length`, because it told the message's end.
    pub(super) length: bool,
    /// `X-Gmail-Labels`, because it became folder, flags and keywords.
    pub(super) labels: bool,
}

impl Strip {
    /// Is this field taken out?
    pub(super) fn takes(self, name: &[u8]) -> bool {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        METADATA.iter().any(|known| is(known))
            || (self.length && is(b"Content-Length"))
            || (self.labels && is(b"X-Gmail-Labels"))
    }
}

/// What a header block tells about its message.
#[derive(Debug, Default)]
pub(super) struct Meta {
    /// Flags and keywords.
    pub(super) flags: Flags,
    /// `X-Gmail-Labels`, decoded; `None` if there is none.
    pub(super) labels: Option<String>,
    /// A Gmail export wrote it.
    pub(super) gmail: bool,
    /// The message some IMAP servers keep their own data in.
    pub(super) pseudo: bool,
}

/// Reads the metadata of a block.
pub(super) fn meta(block: &[u8]) -> Meta {
    let mut meta = Meta::default();
    let (mut imap, mut internal) = (false, false);
    for (name, field) in fields(block) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("Status") {
            meta.flags.seen |= value(field).contains('R');
        } else if is("X-Status") {
            for letter in value(field).chars() {
                match letter {
                    'A' => meta.flags.answered = true,
                    'F' => meta.flags.flagged = true,
                    'T' => meta.flags.draft = true,
                    'D' => meta.flags.deleted = true,
                    _ => {}
                }
            }
        } else if is("X-Keywords") || is("X-Mozilla-Keys") {
            keywords(&value(field), &mut meta.flags);
        } else if is("X-Mozilla-Status") {
            mozilla(&value(field), &mut meta.flags);
        } else if is("X-Gmail-Labels") {
            meta.gmail = true;
            meta.labels = Some(decoded(field));
        } else if is("X-GM-THRID") {
            meta.gmail = true;
        } else if is("X-IMAP") || is("X-IMAPbase") {
            imap = true;
        } else if is("Subject") {
            internal = value(field).contains("FOLDER INTERNAL DATA");
        }
    }
    meta.pseudo = imap && internal;
    meta
}

fn keywords(text: &str, flags: &mut Flags) {
    for keyword in
        text.split_ascii_whitespace().take(256).filter(|k| k.len() <= 255 && !k.contains(char::is_control))
    {
        flags.add(keyword);
    }
}

/// Thunderbird's bits, four hexadecimal digits (nsMsgMessageFlags: Read 1, Replied 2, Marked 4, Expunged 8, Forwarded
/// 0x1000).
fn mozilla(text: &str, flags: &mut Flags) {
    let Ok(bits) = u32::from_str_radix(text, 16) else { return };
    flags.seen |= bits & 1 != 0;
    flags.answered |= bits & 2 != 0;
    flags.flagged |= bits & 4 != 0;
    flags.deleted |= bits & 8 != 0;
    if bits & 0x1000 != 0 {
        flags.add("$Forwarded");
    }
}

/// An unstructured field with its encoded words decoded (RFC 2047).
fn decoded(field: &[u8]) -> String {
    // The parser decodes what it knows as text: a subject.
    let mut text = b"Subject:".to_vec();
    text.extend_from_slice(&field[memchr::memchr(b':', field).map_or(field.len(), |colon| colon + 1)..]);
    text.extend_from_slice(b"\r\n\r\n");
    mail_parser::MessageParser::default()
        .parse_headers(&text)
        .and_then(|message| message.subject().map(str::to_owned))
        .unwrap_or_else(|| value(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn flags_are_read_from_what_programs_write() {
        let block = b"Status: RO\nX-Status: AF\nX-Keywords: work\n  later\nX-Mozilla-Status: 1001\n\n";
        let meta = meta(block);
        assert_eq!(meta.flags.encode(), "FRS $Forwarded later work");
        assert!(!meta.pseudo && meta.labels.is_none());
    }

    #[test]
    fn gmail_labels_are_decoded() {
        let block = b"X-Gmail-Labels: =?UTF-8?Q?Inbox,Projekt/=C3=84rger?=\r\n =?UTF-8?Q?,Starred?=\r\n\r\n";
        assert_eq!(meta(block).labels.as_deref(), Some("Inbox,Projekt/Ärger,Starred"));
        assert_eq!(meta(b"x-gmail-labels: Sent,Opened\n\n").labels.as_deref(), Some("Sent,Opened"));
    }

    #[test]
    fn a_block_ends_at_its_first_blank_line() {
        assert_eq!(block_len(b"A: 1\n\nb"), Some(6));
        assert_eq!(block_len(b"A: 1\r\n\r\nb"), Some(8));
        assert_eq!(block_len(b"\nb"), Some(1));
        assert_eq!(block_len(b"A: 1\nB: 2\n"), None);
    }

    proptest! {
        #[test]
        fn fields_put_together_are_the_block(block in "[A-Za-z: \t\r\n=?]{0,80}") {
            let whole: Vec<u8> = fields(block.as_bytes()).flat_map(|(_, f)| f.to_vec()).collect();
            prop_assert_eq!(whole, block.as_bytes());
            let _ = meta(block.as_bytes());
        }
    }
}

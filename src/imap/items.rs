//! FETCH responses (RFC 3501 §7.4.2 and the extensions that add items).

use bytes::Bytes;

use super::scan::{Scan, Scanner, Text, Unreadable};
use crate::model::{Flags, Timestamp};

/// What a FETCH response told of a message's octets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BodyItem {
    /// Nothing.
    #[default]
    Absent,
    /// NIL: the server has none to give.
    Nil,
    /// They came as a string short enough to hold.
    Held(Bytes),
    /// They came as a literal and went to the receiver.
    Streamed,
    /// They came as a literal too long to hold, and were read past.
    Passed,
}

/// One FETCH response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchItems {
    /// UID; `None` if it was not told.
    pub uid: Option<u32>,
    /// FLAGS.
    pub flags: Option<Flags>,
    /// INTERNALDATE, if told and readable.
    pub received: Option<Timestamp>,
    /// RFC822.SIZE, in bytes.
    pub size: Option<u64>,
    /// `BODY[]`, whole or from `origin`.
    pub body: BodyItem,
    /// Where the octets of a partial fetch begin, in bytes.
    pub origin: Option<u64>,
    /// `BODY[HEADER]`
    pub header: BodyItem,
    /// MODSEQ (RFC 7162).
    pub modseq: Option<u64>,
    /// EMAILID (RFC 8474): the same message in another folder has the same one.
    pub email_id: Option<String>,
    /// X-GM-MSGID
    pub gm_msgid: Option<u64>,
    /// X-GM-LABELS, as sent (modified UTF-7, or UTF-8 once that is enabled).
    pub gm_labels: Option<Vec<String>>,
}

/// `(item value item value …)` in any order.
pub(super) fn fetch(mut scan: Scanner<'_>) -> Scan<FetchItems> {
    let mut items = FetchItems::default();
    scan.blanks();
    scan.expect(b'(')?;
    loop {
        scan.blanks();
        if scan.eat(b')') {
            break;
        }
        let name = scan.word()?.to_ascii_uppercase();
        scan.blanks();
        match name.as_slice() {
            b"UID" => {
                let uid = u32::try_from(scan.number()?).ok().filter(|uid| *uid > 0);
                items.uid = Some(uid.ok_or(Unreadable)?);
            }
            b"FLAGS" => {
                let mut flags = Flags::default();
                scan.words()?.iter().for_each(|f| flags.add(f));
                items.flags = Some(flags);
            }
            b"INTERNALDATE" => {
                if let Text::Octets(text) = scan.string()? {
                    items.received = std::str::from_utf8(&text).ok().and_then(Timestamp::from_imap);
                }
            }
            b"RFC822.SIZE" => items.size = Some(scan.number()?),
            b"BODY[HEADER]" | b"RFC822.HEADER" => items.header = body(&mut scan)?,
            b"MODSEQ" => items.modseq = Some(number(scan.one_in_parentheses()?)?),
            b"EMAILID" => items.email_id = scan.object_id()?,
            b"X-GM-MSGID" => items.gm_msgid = Some(scan.number()?),
            b"X-GM-LABELS" => items.gm_labels = labels(&mut scan)?,
            name => match origin_of_body(name) {
                Some(origin) => {
                    items.origin = origin;
                    items.body = body(&mut scan)?;
                }
                None => scan.skip_value()?,
            },
        }
    }
    scan.blanks();
    if scan.at_end() { Ok(items) } else { Err(Unreadable) }
}

fn body(scan: &mut Scanner<'_>) -> Scan<BodyItem> {
    Ok(match scan.string()? {
        Text::Nil => BodyItem::Nil,
        Text::Octets(octets) => BodyItem::Held(octets),
        Text::Streamed => BodyItem::Streamed,
        Text::Passed => BodyItem::Passed,
    })
}

/// Labels hold blanks and parentheses only in quotes; a list that holds lists is not what is documented.
fn labels(scan: &mut Scanner<'_>) -> Scan<Option<Vec<String>>> {
    let before = scan.clone();
    if let Ok(labels) = scan.words()
        && !labels.iter().any(|label| label.starts_with('('))
    {
        return Ok(Some(labels));
    }
    *scan = before;
    scan.skip_value()?;
    Ok(None)
}

fn number(word: &[u8]) -> Scan<u64> {
    Scanner::over(word).number()
}

/// Does this item's name (in upper case) stand for a whole message (`Some(None)`), or a part of one from an offset?
fn origin_of_body(name: &[u8]) -> Option<Option<u64>> {
    if matches!(name, b"BODY[]" | b"RFC822" | b"BINARY[]") {
        return Some(None);
    }
    let origin =
        name.strip_prefix(b"BODY[]<").or_else(|| name.strip_prefix(b"BINARY[]<"))?.strip_suffix(b">")?;
    number(origin).ok().map(Some)
}

/// Does the text so far end where a FETCH response tells a whole message, so that the literal announced there is one?
pub(super) fn awaits_body(text: &[u8]) -> bool {
    let mut words = text.split(|b| *b == b' ').filter(|w| !w.is_empty());
    let fetch = words.next() == Some(b"*")
        && words.next().is_some_and(|w| w.iter().all(u8::is_ascii_digit))
        && words.next().is_some_and(|w| w.eq_ignore_ascii_case(b"FETCH"));
    let last = text.trim_ascii_end().rsplit(|b| matches!(b, b' ' | b'(')).next().unwrap_or_default();
    fetch && origin_of_body(&last.to_ascii_uppercase()).is_some()
}

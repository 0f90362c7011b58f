//! The framing of items as opaque streams (FastTransfer as the stores' export gives it), the same for every mock: what one
//! exports another takes.
//!
//! A stream begins with a frame of type 1 (8 octets) and one of type 3 (24 octets with the store's GUID); then come
//! properties: tag and type as one 32-bit number, a length where the type has no length of its own, octets. All numbers are
//! little-endian. What is inside is not documented for the services; the mocks keep what they were given, and know their own
//! exports by a property of their own.

/// What an item's class is in: a string in UTF-16.
const CLASS: u32 = 0x001A_001F;
const SUBJECT: u32 = 0x0037_001F;
/// Put at the end of a stream that was cut.
pub(in crate::mock) const CUT: &[u8] = b"=== Truncated Data ===";

const GUID_TAIL: [u8; 8] = [0xc0, 0, 0, 0, 0, 0, 0, 0x46];

/// A property's number and its octets.
pub(in crate::mock) type Property<'a> = (u32, &'a [u8]);

/// Takes a stream apart; `None` if its framing is broken.
pub(in crate::mock) fn read(stream: &[u8]) -> Option<Vec<Property<'_>>> {
    let mut rest = stream;
    for (kind, length) in [(1, 8), (3, 24)] {
        if (number(&mut rest)?, number(&mut rest)?) != (kind, length) {
            return None;
        }
        let frame = take(&mut rest, usize::try_from(length).ok()?)?;
        if kind == 3 && !frame.ends_with(&GUID_TAIL) {
            return None;
        }
    }
    let mut found = Vec::new();
    while !rest.is_empty() {
        let tag = number(&mut rest)?;
        let length = match tag & 0xffff {
            0x0002 | 0x000b => 2,
            0x0003 | 0x0004 => 4,
            0x0005 | 0x0006 | 0x0007 | 0x0014 | 0x0040 => 8,
            0x0048 => 16,
            0x001e | 0x001f | 0x0102 | 0x84b0 => number(&mut rest)?,
            _ => return None,
        };
        found.push((tag, take(&mut rest, usize::try_from(length).ok()?)?));
    }
    // A message has at least a class.
    found.iter().any(|(tag, _)| *tag >> 16 == CLASS >> 16).then_some(found)
}

/// Takes a 32-bit number off the beginning.
pub(in crate::mock) fn number(rest: &mut &[u8]) -> Option<u32> {
    take(rest, 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// Takes so many octets off the beginning.
pub(in crate::mock) fn take<'a>(rest: &mut &'a [u8], many: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(many)?;
    *rest = left;
    Some(taken)
}

/// Adds octets with their length before them; `None` if there are too many for it.
pub(in crate::mock) fn push(out: &mut Vec<u8>, octets: &[u8]) -> Option<()> {
    out.extend_from_slice(&u32::try_from(octets.len()).ok()?.to_le_bytes());
    out.extend_from_slice(octets);
    Some(())
}

/// A stream of an item: its class, its subject, and a mock's own property; `None` if that is too large.
pub(in crate::mock) fn write(class: &str, subject: &str, own: Property<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(own.1.len() + 512);
    out.extend_from_slice(&[1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&[3, 0, 0, 0, 24, 0, 0, 0]);
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&GUID_TAIL);
    let wide = |text: &str| text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    for (tag, octets) in [(CLASS, wide(class).as_slice()), (SUBJECT, &wide(subject)), own] {
        out.extend_from_slice(&tag.to_le_bytes());
        push(&mut out, octets)?;
    }
    Some(out)
}

/// The item's class.
pub(in crate::mock) fn class(properties: &[Property<'_>]) -> String {
    text(properties, CLASS)
}

/// The item's subject; empty if it has none.
pub(in crate::mock) fn subject(properties: &[Property<'_>]) -> String {
    text(properties, SUBJECT)
}

fn text(properties: &[Property<'_>], tag: u32) -> String {
    let found = properties.iter().find(|(t, _)| *t >> 16 == tag >> 16);
    let units: Vec<u16> = found
        .map(|(_, octets)| octets.chunks_exact(2).map(|p| u16::from_le_bytes([p[0], p[1]])).collect())
        .unwrap_or_default();
    String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_that_does_not_add_up_is_refused() {
        let good = write("IPM.Note", "hello", (0x6700_0102, b"own")).unwrap();
        let properties = read(&good).unwrap();
        assert_eq!((class(&properties), subject(&properties)), ("IPM.Note".into(), "hello".into()));
        assert_eq!(properties.last(), Some(&(0x6700_0102, &b"own"[..])));
        let begin_of_second = good.len() - 4 - 4 - 3 - 4 - 4 - 12;
        for length in 0..good.len() {
            let whole = length == begin_of_second || length == good.len() - 11;
            assert_eq!(read(&good[..length]).is_some(), whole, "cut after {length}");
        }
        let mut cut = good.clone();
        cut.extend_from_slice(CUT);
        assert!(read(&cut).is_none(), "a stream that says it was cut");
    }
}

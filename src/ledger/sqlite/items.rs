//! The messages of an open batch, as bytes.

use crate::ledger::IntentItem;
use crate::model::{SourceId, put_varint, take_varint};

/// Per item: number (difference to the one before), size + 1 or 0, then 0 for a message that is named by its number,
/// 1 and another number, or the name's length + 2 and the name.
pub(super) fn encode_items(items: &[IntentItem]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut before = 0u64;
    for item in items {
        put_varint(&mut out, item.number.wrapping_sub(before));
        before = item.number;
        // The largest size stands for no size: no message has 2^64 - 1 octets.
        put_varint(&mut out, item.size.map_or(0, |size| size.wrapping_add(1)));
        match &item.id {
            SourceId::Number(n) if *n == item.number => put_varint(&mut out, 0),
            SourceId::Number(n) => {
                put_varint(&mut out, 1);
                put_varint(&mut out, *n);
            }
            SourceId::Name(name) => {
                put_varint(&mut out, name.len() as u64 + 2);
                out.extend_from_slice(name.as_bytes());
            }
        }
    }
    out
}

/// Reads [`encode_items`]'s bytes; `None` if they are damaged.
pub(super) fn decode_items(mut bytes: &[u8]) -> Option<Vec<IntentItem>> {
    let mut items = Vec::new();
    let mut before = 0u64;
    while !bytes.is_empty() {
        let number = before.wrapping_add(take_varint(&mut bytes)?);
        before = number;
        let size = take_varint(&mut bytes)?.checked_sub(1);
        let id = match take_varint(&mut bytes)? {
            0 => SourceId::Number(number),
            1 => SourceId::Number(take_varint(&mut bytes)?),
            len => {
                let (name, rest) = bytes.split_at_checked(usize::try_from(len - 2).ok()?)?;
                bytes = rest;
                SourceId::Name(std::str::from_utf8(name).ok()?.to_owned())
            }
        };
        items.push(IntentItem { number, id, size });
    }
    Some(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn items_read_back_as_they_were_written(
            raw in prop::collection::vec((any::<u64>(), proptest::option::of(0..u64::MAX), 0u8..3, any::<u64>(), ".{0,30}"), 0..20)
        ) {
            let items: Vec<IntentItem> = raw
                .into_iter()
                .map(|(number, size, kind, other, name)| IntentItem {
                    number,
                    size,
                    id: match kind {
                        0 => SourceId::Number(number),
                        1 => SourceId::Number(other),
                        _ => SourceId::Name(name),
                    },
                })
                .collect();
            prop_assert_eq!(decode_items(&encode_items(&items)), Some(items));
        }

        #[test]
        fn foreign_items_never_panic(bytes: Vec<u8>) {
            let _ = decode_items(&bytes);
        }
    }
}

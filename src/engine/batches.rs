//! Cutting a folder's new messages into batches: a pure function.

use crate::source::Wanted;

/// Bounds of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchBounds {
    /// Most messages.
    pub messages: usize,
    /// Most octets as listed, in bytes; a larger message goes alone.
    pub bytes: u64,
}

/// What a message of unknown size is taken for, in bytes.
const UNKNOWN_SIZE: u64 = 64 << 10;

/// The size to reserve for a message, in bytes.
pub(super) fn expected_size(wanted: &Wanted) -> u64 {
    wanted.size.unwrap_or(UNKNOWN_SIZE)
}

/// Cuts `wanted` into batches, keeping its order.
pub(super) fn cut<T>(wanted: Vec<T>, bounds: BatchBounds, size: impl Fn(&T) -> u64) -> Vec<Vec<T>> {
    let mut batches = Vec::new();
    let mut batch: Vec<T> = Vec::new();
    let mut bytes = 0u64;
    for message in wanted {
        let more = size(&message);
        let full = batch.len() >= bounds.messages.max(1) || bytes.saturating_add(more) > bounds.bytes;
        if full && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes = bytes.saturating_add(more);
        batch.push(message);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_is_lost_or_reordered_and_no_batch_is_too_large(
            sizes in prop::collection::vec(0u64..500, 0..60), messages in 1usize..9, bytes in 1u64..900,
        ) {
            let batches = cut(sizes.clone(), BatchBounds { messages, bytes }, |s| *s);
            prop_assert_eq!(batches.concat(), sizes);
            for b in &batches {
                prop_assert!(!b.is_empty() && b.len() <= messages);
                prop_assert!(b.len() == 1 || b.iter().sum::<u64>() <= bytes);
            }
        }
    }
}

//! Compression for the ledger and its facts: contexts are kept by each thread that uses them. To make one costs more than
//! to compress a batch of facts with it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;

use zstd::bulk::{Compressor, Decompressor};

thread_local! {
    static COMPRESSORS: RefCell<BTreeMap<i32, Compressor<'static>>> = const { RefCell::new(BTreeMap::new()) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses `plain` at a level of zstd. The length of `plain` is told by what is returned.
///
/// # Errors
/// There is no memory for it.
pub(super) fn squeeze(plain: &[u8], level: i32) -> io::Result<Vec<u8>> {
    COMPRESSORS.with_borrow_mut(|all| {
        let compressor = match all.entry(level) {
            Entry::Occupied(kept) => kept.into_mut(),
            Entry::Vacant(free) => free.insert(Compressor::new(level)?),
        };
        compressor.compress(plain)
    })
}

/// Undoes [`squeeze`]; `None` if it makes no sense or is longer than `most` bytes: then nothing was allocated for it.
pub(super) fn unsqueeze(squeezed: &[u8], most: u64) -> Option<Vec<u8>> {
    let told = zstd::zstd_safe::get_frame_content_size(squeezed).ok()??;
    let length = usize::try_from(told).ok().filter(|_| told <= most)?;
    let plain = DECOMPRESSOR.with_borrow_mut(|kept| {
        if kept.is_none() {
            *kept = Decompressor::new().ok();
        }
        kept.as_mut()?.decompress(squeezed, length).ok()
    })?;
    (plain.len() == length).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_longer_than_allowed_or_made_of_nonsense_is_unpacked() {
        let squeezed = squeeze(&[7; 100_000], 3).unwrap();
        assert!(squeezed.len() < 1000);
        assert_eq!(unsqueeze(&squeezed, 100_000), Some(vec![7; 100_000]));
        assert_eq!(unsqueeze(&squeezed, 99_999), None);
        assert_eq!(unsqueeze(b"nonsense", 100_000), None);
        assert_eq!(unsqueeze(&squeezed[..squeezed.len() - 1], 100_000), None);
        assert_eq!(unsqueeze(&squeezed, 100_000), Some(vec![7; 100_000]), "the context bears what failed");
    }

    proptest! {
        #[test]
        fn what_was_squeezed_comes_back_also_with_other_levels_in_between(
            all in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..2000), 1..12), 1..20),
        ) {
            for (plain, level) in all {
                let squeezed = squeeze(&plain, level).unwrap();
                // As another would do it without keeping anything.
                prop_assert_eq!(&zstd::bulk::compress(&plain, level).unwrap(), &squeezed);
                prop_assert_eq!(unsqueeze(&squeezed, 2000), Some(plain));
            }
        }

        #[test]
        fn foreign_bytes_are_no_reason_to_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = unsqueeze(&bytes, 1000);
        }
    }
}

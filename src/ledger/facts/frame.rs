//! One frame of the facts log: the records of one folder in one group commit.

use super::record::{self, Record};
use crate::ledger::squeeze::{squeeze, unsqueeze};

/// First bytes of every frame.
const MAGIC: u32 = u32::from_le_bytes(*b"mwF1");
/// Bytes before the payload.
pub(super) const HEADER: usize = 76;
/// Bytes of the hash after the payload.
pub(super) const HASH: usize = 32;
/// Most bytes of a payload, compressed or not. A writer begins another frame long before.
const MAX_PAYLOAD: usize = 16 << 20;
/// From this many uncompressed bytes on the writer begins another frame.
pub(super) const SPLIT_AT: usize = 1 << 20;
/// zstd's own default. Digests do not compress; names and ids do.
const LEVEL: i32 = 3;

/// Names a frame for ever: where it lies, and the hash of all that it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger) struct Head {
    /// Its segment, from 1.
    pub segment: u32,
    /// Where it begins in the segment, in bytes.
    pub offset: u64,
    /// BLAKE3 of its header and payload.
    pub hash: [u8; HASH],
}

/// A frame's fixed part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the payload in the file.
    pub stored: usize,
    /// Bytes of the payload uncompressed; 0 if it is stored as it is.
    pub raw: usize,
    /// The group commit that wrote it.
    pub group: u64,
    /// Whose records these are.
    pub mailbox: i64,
    /// The folder.
    pub folder: u32,
    /// The folder's frame before this one.
    pub before: Option<Head>,
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        let (segment, offset, hash) =
            self.before.map_or((0, 0, [0; HASH]), |head| (head.segment, head.offset, head.hash));
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC.to_le_bytes());
        put(&(self.stored as u32).to_le_bytes());
        put(&(self.raw as u32).to_le_bytes());
        put(&self.group.to_le_bytes());
        put(&self.mailbox.to_le_bytes());
        put(&self.folder.to_le_bytes());
        put(&segment.to_le_bytes());
        put(&offset.to_le_bytes());
        put(&hash);
        debug_assert_eq!(at, HEADER);
        out
    }

    /// Reads a header; `None` if these bytes are none, or claim more than a writer ever writes.
    pub(super) fn decode(bytes: &[u8; HEADER]) -> Option<Header> {
        fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
            let (first, after) = rest.split_first_chunk::<N>()?;
            *rest = after;
            Some(*first)
        }
        let mut rest = bytes.as_slice();
        if u32::from_le_bytes(take(&mut rest)?) != MAGIC {
            return None;
        }
        let stored = u32::from_le_bytes(take(&mut rest)?) as usize;
        let raw = u32::from_le_bytes(take(&mut rest)?) as usize;
        let group = u64::from_le_bytes(take(&mut rest)?);
        let mailbox = i64::from_le_bytes(take(&mut rest)?);
        let folder = u32::from_le_bytes(take(&mut rest)?);
        let segment = u32::from_le_bytes(take(&mut rest)?);
        let offset = u64::from_le_bytes(take(&mut rest)?);
        let hash = take(&mut rest)?;
        let before = (segment != 0).then_some(Head { segment, offset, hash });
        (stored <= MAX_PAYLOAD && raw <= MAX_PAYLOAD).then_some(Header {
            stored,
            raw,
            group,
            mailbox,
            folder,
            before,
        })
    }

    /// Bytes of the whole frame.
    pub(super) fn frame_len(&self) -> u64 {
        (HEADER + self.stored + HASH) as u64
    }
}

/// The hash of a frame.
pub(super) fn hash_of(header: &[u8; HEADER], payload: &[u8]) -> [u8; HASH] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    *hasher.finalize().as_bytes()
}

/// Appends a frame; returns its hash.
pub(super) fn append(
    out: &mut Vec<u8>,
    group: u64,
    (mailbox, folder): (i64, u32),
    before: Option<Head>,
    records: &[Record],
) -> [u8; HASH] {
    let plain = record::encode(records);
    debug_assert!(plain.len() <= MAX_PAYLOAD, "frames are split long before");
    let packed = squeeze(&plain, LEVEL).ok().filter(|packed| packed.len() < plain.len());
    let (payload, raw) = match packed {
        Some(packed) => (packed, plain.len()),
        None => (plain, 0),
    };
    let header = Header { stored: payload.len(), raw, group, mailbox, folder, before }.encode();
    let hash = hash_of(&header, &payload);
    out.extend_from_slice(&header);
    out.extend_from_slice(&payload);
    out.extend_from_slice(&hash);
    hash
}

/// The records of a frame whose hash was verified; `None` if they cannot be read all the same.
pub(super) fn records(header: &Header, payload: &[u8]) -> Option<Vec<Record>> {
    if header.raw == 0 {
        return record::decode(payload);
    }
    let plain = unsqueeze(payload, header.raw as u64)?;
    if plain.len() == header.raw { record::decode(&plain) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_reads_back_as_itself() {
        for before in [None, Some(Head { segment: 7, offset: 1 << 40, hash: [9; 32] })] {
            let header = Header { stored: 5, raw: 77, group: u64::MAX, mailbox: -1, folder: 3, before };
            assert_eq!(Header::decode(&header.encode()), Some(header));
        }
    }

    #[test]
    fn a_header_that_claims_more_than_the_limit_is_refused() {
        let mut bytes = Header { stored: 5, raw: 5, group: 1, mailbox: 1, folder: 1, before: None }.encode();
        bytes[7] = 0xff;
        assert_eq!(Header::decode(&bytes), None);
    }

    proptest! {
        #[test]
        fn foreign_payloads_never_panic(payload: Vec<u8>, raw in 0usize..4096) {
            let header = Header { stored: payload.len(), raw, group: 1, mailbox: 1, folder: 1, before: None };
            let _ = records(&header, &payload);
        }
    }
}

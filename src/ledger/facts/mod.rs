//! Facts: what was stored, per message, in a shared, append-only, compressed log beside the ledger's database.
//!
//! ```text
//! ledger/facts-000001.seg   header, frame, frame, frame …
//! frame = header (76 bytes) · payload (records, zstd) · BLAKE3 of both (32 bytes)
//! ```
//! A frame holds the records of one folder in one group commit and points back to the folder's frame before it, by
//! place and by hash. The database keeps the newest place and hash of each folder: from there a reader walks back, and
//! nothing on the way can be changed, lost or swapped without the walk noticing. The log is synced *before* the
//! commit that refers to it; what lies beyond the last commit is cut off at the next start.

mod audit;
mod check;
mod frame;
mod reader;
mod record;
mod sizes;
mod writer;

use std::path::{Path, PathBuf};

use crate::model::{Error, Kind, Scope};

pub(super) use audit::{SegmentsSeen, audit_segments, log_bytes};
pub(super) use check::{SegmentMark, check_segments, has_segments};
pub(super) use frame::Head;
pub use reader::FactsCursor;
pub(super) use reader::FactsReader;
pub(super) use record::Record;
pub(super) use sizes::LiveSizes;
pub(super) use writer::FactsWriter;

/// First bytes of every segment; the last one is the format's version.
const SEGMENT_MAGIC: &[u8; 16] = b"mailwave facts\x00\x01";
/// Magic (16), ledger (8), segment (4), reserved (4): bytes before the first frame.
const SEGMENT_HEADER: usize = 32;

/// Where a segment lies.
fn segment_path(dir: &Path, id: u32) -> PathBuf {
    dir.join(format!("facts-{id:06}.seg"))
}

/// The header of a segment of the ledger with this id.
fn segment_header(ledger: u64, id: u32) -> [u8; SEGMENT_HEADER] {
    let mut out = [0; SEGMENT_HEADER];
    out[..16].copy_from_slice(SEGMENT_MAGIC);
    out[16..24].copy_from_slice(&ledger.to_le_bytes());
    out[24..28].copy_from_slice(&id.to_le_bytes());
    out
}

/// The facts of a mailbox cannot be trusted. `what` says how that showed.
fn damaged(segment: u32, what: &str) -> Error {
    Error::new(Kind::Ledger, Scope::Mailbox, format!("the facts log is damaged (segment {segment}: {what})"))
        .remedy(super::RESTORE)
}

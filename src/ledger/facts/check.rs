//! What is checked of the segments when a ledger is opened for writing.

use std::fs::{self, File, OpenOptions};
use std::path::Path;

use super::frame::{self, HASH, HEADER, Header};
use super::reader::read_at;
use super::{SEGMENT_HEADER, segment_header, segment_path};
use crate::model::{Error, Kind, Result, Scope};

/// How far a segment is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger) struct SegmentMark {
    /// Its number, from 1.
    pub id: u32,
    /// Committed bytes.
    pub length: u64,
    /// Where its last committed frame begins.
    pub last: u64,
    /// The hash of that frame.
    pub hash: [u8; HASH],
}

/// Are there any segments in `dir`?
pub(in crate::ledger) fn has_segments(dir: &Path) -> bool {
    segment_path(dir, 1).exists()
}

/// Compares the segments with what is committed and cuts off what lies beyond it.
///
/// Every frame names the group commit that wrote it, and a group's frames are synced before it commits. So the tail
/// beyond the last commit can hold frames of the one group after it, never of a later one: if it does, commits are
/// missing from the database (a lost `-wal` file, an older copy of `ledger.db`).
///
/// # Errors
/// `Kind::Ledger`, `Scope::Run`: a segment is missing, shorter than committed, changed at its end, of another ledger,
/// or ahead of the database.
pub(in crate::ledger) fn check_segments(
    dir: &Path,
    ledger: u64,
    marks: &[SegmentMark],
    group: u64,
) -> Result<()> {
    for mark in marks {
        check_segment(dir, ledger, mark, group)?;
    }
    // A segment begun by a group that never committed.
    let next = marks.last().map_or(0, |m| m.id).saturating_add(1);
    let path = segment_path(dir, next);
    if path.exists() {
        let file = File::open(&path).map_err(|e| io(next, &e))?;
        ahead(&file, next, SEGMENT_HEADER as u64, group)?;
        fs::remove_file(&path).map_err(|e| io(next, &e))?;
        sync_dir(dir).map_err(|e| io(next, &e))?;
    }
    if segment_path(dir, next.saturating_add(1)).exists() {
        return Err(lost_commits());
    }
    Ok(())
}

fn check_segment(dir: &Path, ledger: u64, mark: &SegmentMark, group: u64) -> Result<()> {
    let id = mark.id;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(segment_path(dir, id))
        .map_err(|_| bad(id, "the file is missing or cannot be opened"))?;
    let length = look_at(&file, ledger, mark)?;
    if length > mark.length {
        ahead(&file, id, mark.length, group)?;
        file.set_len(mark.length).and_then(|()| file.sync_all()).map_err(|e| io(id, &e))?;
    }
    Ok(())
}

/// Compares a segment with what is committed of it; returns its length in bytes, which may be more.
///
/// # Errors
/// As [`check_segments`].
pub(super) fn look_at(file: &File, ledger: u64, mark: &SegmentMark) -> Result<u64> {
    let id = mark.id;
    let length = file.metadata().map_err(|e| io(id, &e))?.len();
    if length < mark.length {
        return Err(bad(id, "the file is shorter than what was committed"));
    }
    let mut header = [0; SEGMENT_HEADER];
    read_at(&mut &*file, 0, &mut header).map_err(|e| io(id, &e))?;
    if header != segment_header(ledger, id) {
        return Err(bad(id, "its header is not this ledger's"));
    }
    match read_frame(file, mark.last) {
        Some((header, hash)) if hash == mark.hash && mark.last + header.frame_len() == mark.length => {}
        _ => return Err(bad(id, "its last committed frame does not verify")),
    }
    Ok(length)
}

/// Refuses if a frame beyond `from` was written by a group later than the one after `group`.
pub(super) fn ahead(file: &File, id: u32, from: u64, group: u64) -> Result<()> {
    let mut at = from;
    while let Some((header, _)) = read_frame(file, at) {
        if header.group > group.saturating_add(1) {
            return Err(lost_commits().at(format!("facts segment {id}")));
        }
        at += header.frame_len();
    }
    Ok(())
}

/// A whole frame with a good hash at this place, if there is one.
fn read_frame(file: &File, at: u64) -> Option<(Header, [u8; HASH])> {
    let mut fixed = [0; HEADER];
    read_at(&mut &*file, at, &mut fixed).ok()?;
    let header = Header::decode(&fixed)?;
    let mut payload = vec![0; header.stored + HASH];
    read_at(&mut &*file, at + HEADER as u64, &mut payload).ok()?;
    let told = payload.split_off(header.stored);
    let hash = frame::hash_of(&fixed, &payload);
    (told == hash).then_some((header, hash))
}

/// Makes creations and removals in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    File::open(dir)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}

fn bad(id: u32, what: &str) -> Error {
    Error::new(Kind::Ledger, Scope::Run, format!("the facts log is damaged (segment {id}: {what})"))
        .remedy(crate::ledger::RESTORE)
}

pub(super) fn lost_commits() -> Error {
    Error::new(
        Kind::Ledger,
        Scope::Run,
        "the ledger's database is older than its facts log: commits are lost",
    )
    .remedy(crate::ledger::RESTORE)
}

pub(super) fn io(id: u32, error: &std::io::Error) -> Error {
    let what = format!("facts segment {id} cannot be read or cut: {}", error.kind());
    Error::new(Kind::Ledger, Scope::Run, what)
        .remedy("look at the rights and the disk of the ledger directory")
}

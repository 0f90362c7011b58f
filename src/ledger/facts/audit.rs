//! The facts log as `ledger check` looks at it: nothing is cut, and one find does not end the look.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use super::check::{SegmentMark, ahead, io, look_at, lost_commits};
use super::frame::{self, HASH, HEADER, Header};
use super::{SEGMENT_HEADER, segment_path};
use crate::model::Result;

/// What the segments hold.
#[derive(Debug, Default)]
pub(in crate::ledger) struct SegmentsSeen {
    /// Committed bytes of all segments.
    pub bytes: u64,
    /// Bytes beyond the last commit: written and never committed. The next run cuts them off.
    pub tail: u64,
    /// Frames, if every one was read.
    pub frames: u64,
}

/// Compares the segments with what is committed: their headers, lengths and last frames, and what lies beyond. `deep`:
/// reads every frame in the order in which they lie. What is found goes to `finds`.
///
/// # Errors
/// Those of `finds`, and of a disk that does not answer.
pub(in crate::ledger) fn audit_segments(
    dir: &Path,
    ledger: u64,
    (marks, groups): (&[SegmentMark], u64),
    deep: bool,
    finds: &mut dyn FnMut(String) -> Result<()>,
) -> Result<SegmentsSeen> {
    let mut seen = SegmentsSeen::default();
    for mark in marks {
        let id = mark.id;
        let mut found = |what: &str| finds(format!("facts segment {id}: {what}"));
        let file = match File::open(segment_path(dir, id)) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                found("the file is missing")?;
                continue;
            }
            Err(e) => return Err(io(id, &e)),
        };
        seen.bytes += mark.length;
        match look_at(&file, ledger, mark) {
            Ok(length) if length > mark.length => {
                seen.tail += length - mark.length;
                if let Err(error) = ahead(&file, id, mark.length, groups) {
                    found(&error.what)?;
                }
            }
            Ok(_) => {}
            Err(error) => found(&error.what)?,
        }
        if deep {
            seen.frames += every_frame(file, mark, groups, &mut found)?;
        }
    }
    let next = marks.last().map_or(0, |m| m.id).saturating_add(1);
    let mut id = next;
    // A group begins one segment at most.
    while let Ok(file) = File::open(segment_path(dir, id)) {
        seen.tail += file.metadata().map_err(|e| io(id, &e))?.len();
        if id > next {
            finds(format!("facts segment {id}: {}", lost_commits().what))?;
        } else if let Err(error) = ahead(&file, id, SEGMENT_HEADER as u64, groups) {
            finds(format!("facts segment {id}: {}", error.what))?;
        }
        id = id.saturating_add(1);
    }
    Ok(seen)
}

/// Reads a segment's committed frames, one after the other: each whole, with the hash it says, written by a group that was
/// committed, not before an earlier one. After the first that is none of that the rest cannot be told apart.
fn every_frame(
    file: File,
    mark: &SegmentMark,
    groups: u64,
    found: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<u64> {
    let mut file = BufReader::with_capacity(1 << 20, file);
    let start = SEGMENT_HEADER as u64;
    file.seek(SeekFrom::Start(start)).map_err(|e| io(mark.id, &e))?;
    let (mut at, mut frames, mut group) = (start, 0, 0);
    let mut payload = Vec::new();
    while at < mark.length {
        let mut fixed = [0; HEADER];
        let header = match whole(file.read_exact(&mut fixed)).map_err(|e| io(mark.id, &e))? {
            true => Header::decode(&fixed).filter(|h| at.saturating_add(h.frame_len()) <= mark.length),
            false => None,
        };
        let Some(header) = header else {
            found(&format!("no frame at byte {at}, where one should be"))?;
            break;
        };
        payload.resize(header.stored, 0);
        let mut told = [0; HASH];
        let read = file.read_exact(&mut payload).and_then(|()| file.read_exact(&mut told));
        if !whole(read).map_err(|e| io(mark.id, &e))? {
            found(&format!("the frame at byte {at} is cut short"))?;
            break;
        }
        if frame::hash_of(&fixed, &payload) != told {
            found(&format!("the hash of the frame at byte {at} does not verify"))?;
        } else if header.group > groups || header.group < group {
            found(&format!("the frame at byte {at} is of a commit that cannot have written it"))?;
        } else if frame::records(&header, &payload).is_none() {
            found(&format!("the records of the frame at byte {at} cannot be read"))?;
        } else {
            group = header.group;
        }
        at += header.frame_len();
        frames += 1;
    }
    Ok(frames)
}

/// `false`: the file ended first.
fn whole(read: std::io::Result<()>) -> std::io::Result<bool> {
    match read {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// Bytes of all files of the log, whatever is committed of them.
pub(in crate::ledger) fn log_bytes(dir: &Path) -> u64 {
    (1..).map_while(|id| fs::metadata(segment_path(dir, id)).ok()).map(|m| m.len()).sum()
}

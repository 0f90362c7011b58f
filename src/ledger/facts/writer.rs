//! Appends to the facts log, one group commit at a time: stage, write, sync, and only then is it committed.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::check::{SegmentMark, sync_dir};
use super::frame::{self, Head, SPLIT_AT};
use super::record::Record;
use super::{SEGMENT_HEADER, segment_header, segment_path};

/// The writer. There is one per ledger, under the ledger's lock.
pub(in crate::ledger) struct FactsWriter {
    dir: PathBuf,
    ledger: u64,
    rotate_at: u64,
    /// The segment written last, as committed.
    mark: Option<SegmentMark>,
    file: Option<File>,
    staged: Option<Staged>,
    synced: Option<(u32, u64)>,
}

struct Staged {
    mark: SegmentMark,
    /// Where the bytes go.
    base: u64,
    bytes: Vec<u8>,
    /// The segment has to be made first.
    fresh: bool,
}

impl FactsWriter {
    /// A writer that goes on after `mark`; a segment of `rotate_at` bytes or more is followed by another one.
    pub(in crate::ledger) fn new(dir: &Path, ledger: u64, rotate_at: u64, mark: Option<SegmentMark>) -> Self {
        let synced = mark.as_ref().map(|m| (m.id, m.length));
        FactsWriter { dir: dir.to_owned(), ledger, rotate_at, mark, file: None, staged: None, synced }
    }

    /// Where the segments lie.
    pub(in crate::ledger) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Begins a group: nothing is staged.
    pub(in crate::ledger) fn begin(&mut self) {
        self.staged = None;
    }

    /// Adds a folder's records to the group; returns the folder's new head. Nothing is written yet.
    pub(in crate::ledger) fn stage(
        &mut self,
        group: u64,
        owner: (i64, u32),
        before: Option<Head>,
        records: &[Record],
    ) -> Option<Head> {
        let staged = self.staged.get_or_insert_with(|| match &self.mark {
            Some(mark) if mark.length < self.rotate_at => {
                Staged { mark: mark.clone(), base: mark.length, bytes: Vec::new(), fresh: false }
            }
            other => {
                let id = other.as_ref().map_or(0, |m| m.id).saturating_add(1);
                let length = SEGMENT_HEADER as u64;
                let bytes = segment_header(self.ledger, id).to_vec();
                let mark = SegmentMark { id, length, last: 0, hash: [0; 32] };
                Staged { mark, base: 0, bytes, fresh: true }
            }
        });
        let mut head = before;
        for part in split(records) {
            let offset = staged.base + staged.bytes.len() as u64;
            let hash = frame::append(&mut staged.bytes, group, owner, head, part);
            head = Some(Head { segment: staged.mark.id, offset, hash });
            staged.mark.last = offset;
            staged.mark.hash = hash;
            staged.mark.length = staged.base + staged.bytes.len() as u64;
        }
        head
    }

    /// How far the segment will be committed with what is staged; `None` if nothing is.
    pub(in crate::ledger) fn staged(&self) -> Option<&SegmentMark> {
        self.staged.as_ref().map(|s| &s.mark)
    }

    /// Writes what is staged.
    ///
    /// # Errors
    /// What the file system says; the ledger must not be used after that.
    pub(in crate::ledger) fn write(&mut self) -> io::Result<()> {
        let Some(staged) = &self.staged else { return Ok(()) };
        let path = segment_path(&self.dir, staged.mark.id);
        if staged.fresh {
            self.file = Some(new_file(&path)?);
        } else if self.file.is_none() {
            self.file = Some(OpenOptions::new().write(true).open(&path)?);
        }
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(staged.base))?;
            file.write_all(&staged.bytes)?;
        }
        Ok(())
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// What the file system says. A failed sync is never tried again: the pages it failed on may be gone.
    pub(in crate::ledger) fn sync(&mut self) -> io::Result<()> {
        let Some(staged) = &self.staged else { return Ok(()) };
        if let Some(file) = &self.file {
            file.sync_data()?;
        }
        if staged.fresh {
            sync_dir(&self.dir)?;
        }
        self.synced = Some((staged.mark.id, staged.mark.length));
        Ok(())
    }

    /// The database has committed the group.
    pub(in crate::ledger) fn committed(&mut self) {
        if let Some(staged) = self.staged.take() {
            self.mark = Some(staged.mark);
        }
    }

    /// The segment written last and how many of its bytes are synced.
    pub(in crate::ledger) fn synced(&self) -> Option<(PathBuf, u64)> {
        self.synced.map(|(id, length)| (segment_path(&self.dir, id), length))
    }
}

/// Pieces of about [`SPLIT_AT`] bytes at most.
fn split(records: &[Record]) -> impl Iterator<Item = &[Record]> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let mut weight = 0;
        let n = rest
            .iter()
            .take_while(|record| {
                weight += record.weight();
                weight <= SPLIT_AT
            })
            .count();
        let (part, after) = rest.split_at(n.max(1).min(rest.len()));
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

fn new_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

//! Reads the facts of a folder: from its newest frame back to its first.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::frame::{self, HASH, HEADER, Head, Header};
use super::record::Record;
use super::{SEGMENT_HEADER, damaged, segment_header, segment_path};
use crate::model::{Error, Fact, Kind, Result, RunSet, RunTree, Scope};

/// Segments held open at once, at most.
const OPEN_SEGMENTS: usize = 16;
/// Facts of a page: from this many on it ends with its frame.
const PAGE: usize = 4096;

/// Where a walk over the facts of a folder is. The default is its beginning.
#[derive(Debug, Clone, Default)]
pub struct FactsCursor(Option<Walk>);

#[derive(Debug, Clone)]
struct Walk {
    /// The frame to go on with.
    at: Head,
    /// The numbers a newer record was seen of, by epoch.
    seen: BTreeMap<u64, RunTree>,
}

/// A reader of the log of one ledger. Frames below a committed head never change, so it may read while a writer
/// appends.
pub(in crate::ledger) struct FactsReader {
    dir: PathBuf,
    ledger: u64,
    open: BTreeMap<u32, File>,
}

impl FactsReader {
    /// A reader of the segments in `dir`.
    pub(in crate::ledger) fn new(dir: &Path, ledger: u64) -> FactsReader {
        FactsReader { dir: dir.to_owned(), ledger, open: BTreeMap::new() }
    }

    /// Walks a folder's records backwards: newest frame first, inside a frame newest record first.
    ///
    /// # Errors
    /// `Kind::Ledger`, `Scope::Mailbox`: a frame is missing, changed, another folder's, or not in its place.
    pub(super) fn walk(
        &mut self,
        owner: (i64, u32),
        head: Option<Head>,
        mut each: impl FnMut(Record),
    ) -> Result<()> {
        let mut at = head;
        while let Some(here) = at {
            let (records, before) = self.step(owner, &here)?;
            records.into_iter().rev().for_each(&mut each);
            at = before;
        }
        Ok(())
    }

    /// The records of one frame, and the folder's frame before it.
    fn step(&mut self, owner: (i64, u32), here: &Head) -> Result<(Vec<Record>, Option<Head>)> {
        let (header, payload) = self.frame(here)?;
        if (header.mailbox, header.folder) != owner {
            return Err(damaged(here.segment, "a frame belongs to another folder"));
        }
        // Places only go down, so that the walk ends whatever the files say.
        let goes_back = |b: &Head| (b.segment, b.offset) < (here.segment, here.offset);
        if !header.before.as_ref().is_none_or(goes_back) {
            return Err(damaged(here.segment, "a frame points forwards"));
        }
        let records = frame::records(&header, &payload)
            .ok_or_else(|| damaged(here.segment, "a frame's records cannot be read"))?;
        Ok((records, header.before))
    }

    /// A page of a folder's live facts, and where the next one begins. `head` tells where a walk begins.
    ///
    /// # Errors
    /// As [`FactsReader::walk`].
    pub(in crate::ledger) fn page(
        &mut self,
        owner: (i64, u32),
        head: Option<Head>,
        from: FactsCursor,
    ) -> Result<(Vec<Fact>, Option<FactsCursor>)> {
        let begun = || head.map(|at| Walk { at, seen: BTreeMap::new() });
        let mut walk = from.0.or_else(begun);
        let mut facts = Vec::new();
        while facts.len() < PAGE
            && let Some(Walk { at, mut seen }) = walk
        {
            let (records, before) = self.step(owner, &at)?;
            for record in records.into_iter().rev() {
                let (epoch, number) = record.key();
                if seen.entry(epoch).or_default().insert(number)
                    && let Record::Stored(fact) = record
                {
                    facts.push(fact);
                }
            }
            walk = before.map(|at| Walk { at, seen });
        }
        facts.sort_by_key(|fact| (fact.epoch, fact.number));
        Ok((facts, walk.map(|walk| FactsCursor(Some(walk)))))
    }

    /// The live facts of some numbers of an epoch, ascending by number.
    ///
    /// # Errors
    /// As [`FactsReader::walk`].
    pub(in crate::ledger) fn some(
        &mut self,
        owner: (i64, u32),
        head: Option<Head>,
        (epoch, numbers): (u64, &RunSet),
    ) -> Result<Vec<Fact>> {
        let mut newest: BTreeMap<u64, Option<Fact>> = BTreeMap::new();
        self.walk(owner, head, |record| {
            let (of, number) = record.key();
            if of != epoch || !numbers.contains(number) {
                return;
            }
            newest.entry(number).or_insert(match record {
                Record::Stored(fact) => Some(fact),
                Record::Ended { .. } => None,
            });
        })?;
        Ok(newest.into_values().flatten().collect())
    }

    /// Reads the frame a head names and verifies its hash.
    fn frame(&mut self, head: &Head) -> Result<(Header, Vec<u8>)> {
        let segment = head.segment;
        let mut file = self.segment(segment)?;
        let mut fixed = [0; HEADER];
        read_at(&mut file, head.offset, &mut fixed).map_err(|e| unreadable(segment, &e))?;
        let header =
            Header::decode(&fixed).ok_or_else(|| damaged(segment, "no frame where one should be"))?;
        let mut rest = vec![0; header.stored + HASH];
        read_at(&mut file, head.offset + HEADER as u64, &mut rest).map_err(|e| unreadable(segment, &e))?;
        let stored_hash = rest.split_off(header.stored);
        if frame::hash_of(&fixed, &rest) != head.hash || stored_hash != head.hash {
            return Err(damaged(segment, "a frame's hash does not verify"));
        }
        Ok((header, rest))
    }

    fn segment(&mut self, id: u32) -> Result<&File> {
        if !self.open.contains_key(&id) {
            if self.open.len() >= OPEN_SEGMENTS {
                self.open.pop_first();
            }
            let mut file = File::open(segment_path(&self.dir, id))
                .map_err(|_| damaged(id, "the file cannot be opened"))?;
            let mut found = [0; SEGMENT_HEADER];
            file.read_exact(&mut found).map_err(|_| damaged(id, "its header is cut short"))?;
            if found != segment_header(self.ledger, id) {
                return Err(damaged(id, "its header is not this ledger's"));
            }
            self.open.insert(id, file);
        }
        self.open.get(&id).ok_or_else(|| damaged(id, "the file cannot be opened"))
    }
}

/// Reads exactly `out.len()` bytes from `offset` on.
pub(super) fn read_at(file: &mut &File, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(out)
}

fn unreadable(segment: u32, error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return damaged(segment, "it ends within a frame");
    }
    let what = format!("the facts log cannot be read (segment {segment}: {})", error.kind());
    Error::new(Kind::Ledger, Scope::Mailbox, what).remedy("look at the disk the ledger lies on")
}

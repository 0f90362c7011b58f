//! Which messages of a folder are live, and how large: kept for the few folders that changes ask about (deletions,
//! moves, another epoch), so that each of many such changes need not walk the folder's whole log.

use std::collections::{BTreeMap, VecDeque};

use super::{FactsReader, Head, Record};
use crate::model::Result;

/// (epoch, number).
type Key = (u64, u64);

/// Folders kept at once, at most.
const FOLDERS: usize = 8;
/// Messages kept at once, at most, except that the folder asked about last is always kept.
const MESSAGES: usize = 1 << 20;

struct Kept {
    owner: (i64, u32),
    /// The newest frame that `sizes` knows of.
    head: Option<Head>,
    sizes: BTreeMap<Key, u64>,
}

impl Kept {
    fn apply(&mut self, record: &Record) {
        match record {
            Record::Stored(fact) => self.sizes.insert(record.key(), fact.size),
            Record::Ended { .. } => self.sizes.remove(&record.key()),
        };
    }
}

/// The folders asked about last.
#[derive(Default)]
pub(in crate::ledger) struct LiveSizes(VecDeque<Kept>);

impl LiveSizes {
    /// The sizes in bytes of a folder's live messages, as the log says up to `head`.
    ///
    /// # Errors
    /// As [`FactsReader::walk`].
    pub(in crate::ledger) fn of(
        &mut self,
        reader: &mut FactsReader,
        owner: (i64, u32),
        head: Option<Head>,
    ) -> Result<&BTreeMap<Key, u64>> {
        let known = self.0.iter().position(|kept| kept.owner == owner).and_then(|i| self.0.remove(i));
        let kept = match known {
            Some(kept) if kept.head == head => kept,
            _ => {
                let mut newest: BTreeMap<Key, Option<u64>> = BTreeMap::new();
                reader.walk(owner, head, |record| {
                    newest.entry(record.key()).or_insert(match record {
                        Record::Stored(fact) => Some(fact.size),
                        Record::Ended { .. } => None,
                    });
                })?;
                let sizes = newest.into_iter().filter_map(|(key, size)| Some((key, size?))).collect();
                Kept { owner, head, sizes }
            }
        };
        self.0.push_front(kept);
        self.0.truncate(FOLDERS);
        while self.0.len() > 1 && self.0.iter().map(|kept| kept.sizes.len()).sum::<usize>() > MESSAGES {
            self.0.pop_back();
        }
        Ok(&self.0[0].sizes)
    }

    /// These records were added to a folder whose head was `before` and is `after` now.
    pub(in crate::ledger) fn advance(
        &mut self,
        owner: (i64, u32),
        before: Option<Head>,
        after: Head,
        records: &[Record],
    ) {
        for kept in self.0.iter_mut().filter(|kept| kept.owner == owner && kept.head == before) {
            records.iter().for_each(|record| kept.apply(record));
            kept.head = Some(after);
        }
    }
}

//! The changes about messages: intent, outcome, end, move, skip, watch.

use std::collections::BTreeSet;

use rusqlite::types::Value;

use super::change::{Key, Open};
use super::error::internal;
use super::rows::{get, list, put, remove};
use super::tables::{Batch, Exception, Folder, WatchRow};
use crate::ledger::facts::Record;
use crate::ledger::{BatchId, IntentItem, Outcomes, Stored};
use crate::model::{Fact, Flags, FolderId, Result, Skip, Stamp};

impl Open<'_, '_> {
    /// Numbers that are open in the batches of a folder and epoch.
    fn open_numbers(&self, folder: u32, epoch: u64) -> Result<BTreeSet<u64>> {
        let keys = [self.row(), Value::Integer(i64::from(folder))];
        let batches: Vec<Batch> = list(self.context.conn, "mailbox = ?1 AND folder = ?2", &keys)?;
        let of_epoch = batches.iter().filter(|b| b.epoch == epoch);
        Ok(of_epoch.flat_map(|b| b.items.iter().map(|item| item.number)).collect())
    }

    pub(super) fn intent(
        &mut self,
        folder: FolderId,
        epoch: u64,
        anchor: &str,
        items: &[IntentItem],
    ) -> Result<BatchId> {
        if self.read_folder(folder)?.epoch != epoch {
            return Err(internal("an intent is of another epoch than its folder"));
        }
        if items.is_empty() {
            return Err(internal("an intent has no messages"));
        }
        let mut open = self.open_numbers(folder.0, epoch)?;
        if !items.iter().all(|item| open.insert(item.number)) {
            return Err(internal("a message would be open twice"));
        }
        let batch = self.context.meta.next_batch;
        self.context.meta.next_batch += 1;
        let row = Batch {
            mailbox: self.mailbox.row,
            batch,
            folder: folder.0,
            epoch,
            since: self.context.now,
            anchor: anchor.to_owned(),
            items: items.to_vec(),
        };
        put(self.context.conn, &row)?;
        self.mailbox.open = self.mailbox.open.saturating_add(items.len() as u64);
        Ok(BatchId(batch))
    }

    pub(super) fn outcome(&mut self, id: BatchId, outcomes: &Outcomes) -> Result<()> {
        let keys = [self.row(), Value::Integer(id.0)];
        let mut batch: Batch = get(self.context.conn, &keys)?
            .ok_or_else(|| internal("an outcome names a batch that is not open"))?;
        let resolved = resolved(&batch, outcomes)?;
        let before = batch.items.len();
        batch.items.retain(|item| !resolved.contains(&item.number));
        self.mailbox.open = self.mailbox.open.saturating_sub((before - batch.items.len()) as u64);
        if batch.items.is_empty() {
            remove::<Batch>(self.context.conn, &keys)?;
        } else {
            put(self.context.conn, &batch)?;
        }

        let old = self.read_folder(FolderId(batch.folder))?;
        let mut folder = old.clone();
        let current = folder.epoch == batch.epoch;
        self.store(&mut folder, &outcomes.stored)?;
        for skip in &outcomes.skipped {
            // A message skipped in an epoch that is over is judged anew under its new number.
            if current {
                self.skip(&mut folder, skip)?;
            }
        }
        for number in &outcomes.gone {
            if current {
                folder.done.insert(*number, *number);
            }
        }
        for stamp in outcomes.unknown.iter().map(|(_, stamp)| stamp).chain(&outcomes.watched) {
            self.watch(stamp, &folder.target_folder, batch.since, &batch.anchor)?;
        }
        self.write_folder(&old, &folder)
    }

    /// Records stored messages in a folder: of its epoch, or of an earlier one (then they are orphans).
    fn store(&mut self, folder: &mut Folder, stored: &[Stored]) -> Result<()> {
        let owner = (folder.mailbox, folder.folder);
        let proven = stored.iter().any(|s| s.from < s.fact.number);
        let open = if proven { self.open_numbers(folder.folder, folder.epoch)? } else { BTreeSet::new() };
        // Those that may replace a fact: live ones of this epoch have flags, orphans may be of any epoch (also of this
        // one, if the folder left it and came back).
        let replaced = stored
            .iter()
            .map(|s| (s.fact.epoch, s.fact.number))
            .filter(|key| is_live(folder, *key) || key.0 != folder.epoch || folder.orphans > 0)
            .collect::<BTreeSet<Key>>();
        let replaced = self.context.live_sizes(owner, replaced)?;
        for Stored { fact, from, flags } in stored {
            if !record_of(fact).fits() {
                return Err(internal("a name or id is longer than 64 KiB"));
            }
            let key = (fact.epoch, fact.number);
            if let Some(size) = replaced.get(&key) {
                uncount(folder, key, *size);
            }
            folder.bytes = folder.bytes.saturating_add(fact.size);
            if fact.epoch == folder.epoch {
                folder.live += 1;
                mark_done(folder, *from, fact.number, &open);
                set_flags(folder, fact.number, flags);
                self.unskip(FolderId(folder.folder), fact.number)?;
            } else {
                folder.orphans += 1;
            }
            // A bound copy was counted when it was made.
            self.mailbox.lossy += u64::from(!fact.losses.is_empty() && fact.bound.is_none());
            self.context.records.push((owner, record_of(fact)));
        }
        Ok(())
    }

    pub(super) fn ended(&mut self, folder: FolderId, numbers: &[Key]) -> Result<()> {
        let old = self.read_folder(folder)?;
        let mut new = old.clone();
        self.end(&mut new, numbers)?;
        self.write_folder(&old, &new)
    }

    /// Ends facts. What is not live is left as it is, so that ending twice is ending once.
    fn end(&mut self, folder: &mut Folder, numbers: &[Key]) -> Result<()> {
        let owner = (folder.mailbox, folder.folder);
        let live = self.context.live_sizes(owner, numbers.iter().copied().collect())?;
        for ((epoch, number), size) in live {
            uncount(folder, (epoch, number), size);
            self.context.records.push((owner, Record::Ended { epoch, number }));
        }
        Ok(())
    }

    pub(super) fn moved(&mut self, from: (FolderId, u64, u64), to: FolderId, stored: &Stored) -> Result<()> {
        let (folder, epoch, number) = from;
        self.ended(folder, &[(epoch, number)])?;
        let old = self.read_folder(to)?;
        if stored.fact.epoch != old.epoch || stored.from > stored.fact.number {
            return Err(internal("a moved message is of another epoch than its folder"));
        }
        let mut new = old.clone();
        self.store(&mut new, std::slice::from_ref(stored))?;
        self.write_folder(&old, &new)
    }

    /// A skipped message is not done: it is tried again in every pass.
    pub(super) fn skip(&mut self, folder: &mut Folder, skip: &Skip) -> Result<()> {
        if folder.flags.get(skip.number).is_none() {
            folder.done.remove(skip.number);
        }
        let row = Exception { mailbox: folder.mailbox, folder: folder.folder, skip: skip.clone() };
        let keys = [self.row(), Value::Integer(i64::from(folder.folder)), super::rows::number(skip.number)];
        let known = get::<Exception>(self.context.conn, &keys)?.is_some();
        self.mailbox.skipped += u64::from(!known);
        put(self.context.conn, &row)
    }

    pub(super) fn unskip(&mut self, folder: FolderId, number: u64) -> Result<()> {
        let keys = [self.row(), Value::Integer(i64::from(folder.0)), super::rows::number(number)];
        let known = self.mailbox.skipped > 0 && remove::<Exception>(self.context.conn, &keys)?;
        self.mailbox.skipped -= u64::from(known);
        Ok(())
    }

    /// One row a stamp; a second unknown outcome widens the time in which a twin may have been made.
    fn watch(&mut self, stamp: &Stamp, target_folder: &str, since: i64, anchor: &str) -> Result<()> {
        let stamp = stamp.to_string();
        let known: Option<WatchRow> = get(self.context.conn, &[self.row(), Value::Text(stamp.clone())])?;
        self.mailbox.watched += u64::from(known.is_none());
        // The earlier attempt's anchor covers this one's time too.
        let (since, anchor) = match known {
            Some(known) => (known.since.min(since), known.anchor),
            None => (since, anchor.to_owned()),
        };
        let row = WatchRow {
            mailbox: self.mailbox.row,
            stamp,
            target_folder: target_folder.to_owned(),
            since,
            until: self.context.now,
            anchor,
        };
        put(self.context.conn, &row)
    }

    pub(super) fn unwatch(&mut self, stamps: &[Stamp]) -> Result<()> {
        for stamp in stamps {
            let known = remove::<WatchRow>(self.context.conn, &[self.row(), Value::Text(stamp.to_string())])?;
            self.mailbox.watched = self.mailbox.watched.saturating_sub(u64::from(known));
        }
        Ok(())
    }
}

/// The numbers of a batch that these outcomes resolve.
///
/// # Errors
/// `Kind::Internal` if they name a number that is not open in the batch, or one twice, or facts of another epoch.
fn resolved(batch: &Batch, outcomes: &Outcomes) -> Result<BTreeSet<u64>> {
    let open: BTreeSet<u64> = batch.items.iter().map(|item| item.number).collect();
    let mut named = BTreeSet::new();
    let stored = outcomes.stored.iter().map(|s| s.fact.number);
    let skipped = outcomes.skipped.iter().map(|s| s.number);
    let plain = outcomes.gone.iter().chain(&outcomes.unsent).copied();
    let unknown = outcomes.unknown.iter().map(|(number, _)| *number);
    for number in stored.chain(skipped).chain(plain).chain(unknown) {
        if !open.contains(&number) {
            return Err(internal("an outcome names a message that is not open in its batch"));
        }
        if !named.insert(number) {
            return Err(internal("a message has two outcomes"));
        }
    }
    if outcomes.stored.iter().any(|s| s.fact.epoch != batch.epoch || s.from > s.fact.number) {
        return Err(internal("a stored message is of another epoch than its batch"));
    }
    for (number, _) in &outcomes.unknown {
        named.remove(number);
    }
    Ok(named)
}

/// Marks `from..=number` as done. A number in between that is open in a batch is no hole, whoever says so.
fn mark_done(folder: &mut Folder, from: u64, number: u64, open: &BTreeSet<u64>) {
    let keep: Vec<u64> = if from < number {
        open.range(from..number).filter(|n| !folder.done.contains(**n)).copied().collect()
    } else {
        Vec::new()
    };
    folder.done.insert(from, number);
    for n in keep {
        folder.done.remove(n);
    }
}

/// Does the folder count this message as live? A message that has a fact and is not live is an orphan.
fn is_live(folder: &Folder, (epoch, number): Key) -> bool {
    epoch == folder.epoch && folder.flags.get(number).is_some()
}

/// Takes a message that has a fact out of the folder's counts.
fn uncount(folder: &mut Folder, key: Key, size: u64) {
    folder.bytes = folder.bytes.saturating_sub(size);
    if is_live(folder, key) {
        folder.live = folder.live.saturating_sub(1);
        folder.flags.remove(key.1);
    } else {
        folder.orphans = folder.orphans.saturating_sub(1);
    }
}

/// Sets a message's flags, spelled so that they read back as they are written.
pub(super) fn set_flags(folder: &mut Folder, number: u64, flags: &Flags) {
    folder.flags.set(number, &Flags::decode(&flags.encode()));
}

fn record_of(fact: &Fact) -> Record {
    Record::Stored(fact.clone())
}

//! What each change does to the rows: the meaning of [`Change`], one function each.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use rusqlite::types::Value;

use super::core::{Answer, Pending, Work};
use super::error::{damaged, internal, stale};
use super::rows::{get, list, put, remove, remove_all};
use super::summary::summary_to_json;
use super::tables::{Batch, Chain, Exception, Folder, MailboxRow, Meta, NameRow, WatchRow, folder_key};
use crate::ledger::facts::{FactsReader, LiveSizes, Record};
use crate::ledger::{Applied, BatchId, Change, Claim, FolderRow, IntentItem, Outcomes, PassSummary, Stored};
use crate::model::{Error, Fact, Flags, FolderId, Kind, Mailbox, Result, Scope, Skip, Stamp};

/// (epoch, number).
type Key = (u64, u64);

/// What one change sees and gathers.
pub(super) struct Context<'a> {
    conn: &'a Connection,
    reader: &'a mut FactsReader,
    sizes: &'a mut LiveSizes,
    /// Records of earlier changes of the group.
    pending: &'a Pending,
    meta: Meta,
    now: i64,
    records: Vec<((i64, u32), Record)>,
    /// The mailbox whose earlier records of this group are forgotten.
    wiped: Option<i64>,
}

/// What a change that was applied leaves for its group.
pub(super) struct Done {
    pub meta: Meta,
    records: Vec<((i64, u32), Record)>,
    wiped: Option<i64>,
}

impl Done {
    /// Adds the records to the group's.
    pub(super) fn merge(&self, pending: &mut Pending) {
        if let Some(mailbox) = self.wiped {
            pending.retain(|(m, _), _| *m != mailbox);
        }
        for (owner, record) in &self.records {
            pending.entry(*owner).or_default().push(record.clone());
        }
    }
}

impl<'a> Context<'a> {
    pub(super) fn new(
        conn: &'a Connection,
        (reader, sizes): (&'a mut FactsReader, &'a mut LiveSizes),
        pending: &'a Pending,
        meta: Meta,
        now: i64,
    ) -> Self {
        Context { conn, reader, sizes, pending, meta, now, records: Vec::new(), wiped: None }
    }

    pub(super) fn finish(self) -> Done {
        Done { meta: self.meta, records: self.records, wiped: self.wiped }
    }
}

/// Applies one work. On an error nothing of it may be kept: the caller rolls its savepoint back.
pub(super) fn apply_work(context: &mut Context<'_>, work: &Work) -> Result<Answer> {
    match work {
        Work::Claim(mailbox) => context.claim(mailbox).map(Answer::Claim),
        Work::Number { claim, folder, count } => {
            let mut open = Open::new(context, claim)?;
            let first = open.number(*folder, *count)?;
            open.save().map(|()| Answer::Number(first))
        }
        Work::Apply { claim, change } => {
            let mut open = Open::new(context, claim)?;
            let applied = open.change(change)?;
            open.save().map(|()| Answer::Applied(applied))
        }
    }
}

impl Context<'_> {
    fn claim(&mut self, mailbox: &Mailbox) -> Result<Claim> {
        let key = mailbox.key.as_str().to_owned();
        let found: Option<MailboxRow> = list(self.conn, "key = ?1", &[Value::Text(key.clone())])?.pop();
        let mut row = match found {
            Some(row) => row,
            None => self.first_sight(key)?,
        };
        let old: Option<NameRow> = get(self.conn, &[Value::Integer(row.row), Value::Integer(0)])?;
        if old.is_some_and(|old| old.names.first() != Some(&mailbox.source)) {
            let what = format!("mailbox {}: two mailboxes have the same key", row.row);
            return Err(Error::new(Kind::Ledger, Scope::Mailbox, what)
                .remedy("move one of them with a ledger and a source name of its own"));
        }
        row.fence = row.fence.checked_add(1).ok_or_else(|| internal("no fences are left"))?;
        row.state = RUNNING.to_owned();
        row.error = None;
        put(self.conn, &row)?;
        let names = vec![mailbox.source.clone(), mailbox.target.clone()];
        put(self.conn, &NameRow { mailbox: row.row, folder: 0, names })?;
        Ok(Claim { mailbox: mailbox.key.clone(), row: row.row, fence: row.fence })
    }

    fn first_sight(&mut self, key: String) -> Result<MailboxRow> {
        // A folder's key has 31 bits for the mailbox.
        if self.meta.mailboxes >= i64::from(i32::MAX) {
            return Err(internal("no mailbox ordinals are left"));
        }
        self.meta.mailboxes += 1;
        let row = MailboxRow {
            row: self.meta.mailboxes,
            key,
            fence: 0,
            target_identity: None,
            state: "new".to_owned(),
            passes: 0,
            error: None,
            last: None,
            next_folder: 1,
            folders: 0,
            messages: 0,
            bytes: 0,
            skipped: 0,
            open: 0,
            watched: 0,
        };
        put(self.conn, &row)?;
        Ok(row)
    }

    /// Which of these are live, and their sizes in bytes: as the change's own records say, or the group's, or the log.
    fn live_sizes(&mut self, owner: (i64, u32), wanted: BTreeSet<Key>) -> Result<BTreeMap<Key, u64>> {
        let mut sizes = BTreeMap::new();
        if wanted.is_empty() {
            return Ok(sizes);
        }
        let keys = [Value::Integer(owner.0), Value::Integer(i64::from(owner.1))];
        let head = get::<Chain>(self.conn, &keys)?.map(|c| c.head);
        let logged = self.sizes.of(self.reader, owner, head)?;
        sizes.extend(wanted.iter().filter_map(|key| Some((*key, *logged.get(key)?))));
        let earlier = self.pending.get(&owner).into_iter().flatten();
        let own = self.records.iter().filter(|(o, _)| *o == owner).map(|(_, record)| record);
        for record in earlier.chain(own).filter(|record| wanted.contains(&record.key())) {
            match record {
                Record::Stored(fact) => sizes.insert(record.key(), fact.size),
                Record::Ended { .. } => sizes.remove(&record.key()),
            };
        }
        Ok(sizes)
    }
}

/// The state of a mailbox that is worked on, or was when the run stopped.
const RUNNING: &str = "running";

/// A mailbox whose claim was found good, being changed.
struct Open<'c, 'a> {
    context: &'c mut Context<'a>,
    mailbox: MailboxRow,
    before: MailboxRow,
}

impl<'c, 'a> Open<'c, 'a> {
    /// The fence is checked here, in the transaction of the change.
    fn new(context: &'c mut Context<'a>, claim: &Claim) -> Result<Self> {
        let mailbox = get::<MailboxRow>(context.conn, &[Value::Integer(claim.row)])?
            .filter(|m| m.key == claim.mailbox.as_str() && m.fence == claim.fence)
            .ok_or_else(|| stale(claim.row))?;
        let before = mailbox.clone();
        Ok(Open { context, mailbox, before })
    }

    fn save(self) -> Result<()> {
        if self.mailbox == self.before { Ok(()) } else { put(self.context.conn, &self.mailbox) }
    }

    fn row(&self) -> Value {
        Value::Integer(self.mailbox.row)
    }

    fn change(&mut self, change: &Change) -> Result<Applied> {
        match change {
            Change::BindTarget { identity } => self.mailbox.target_identity = Some(identity.clone()),
            Change::StartOver { identity } => self.start_over(identity)?,
            Change::Folder(row) => return self.folder(row).map(Applied::Folder),
            Change::FolderMissing(folder) => self.edit_folder(*folder, |f| f.missing = true)?,
            Change::Intent { folder, epoch, items } => {
                return self.intent(*folder, *epoch, items).map(Applied::Batch);
            }
            Change::Outcome { batch, outcomes } => self.outcome(*batch, outcomes)?,
            Change::Ended { folder, numbers } => self.ended(*folder, numbers)?,
            Change::Moved { from, to, stored } => self.moved(*from, *to, stored)?,
            Change::FlagsSynced { folder, flags } => self.edit_folder(*folder, |f| {
                for (number, flags) in flags {
                    // Only live copies have flags to look after.
                    if f.flags.get(*number).is_some() {
                        set_flags(f, *number, flags);
                    }
                }
            })?,
            Change::Skipped { folder, skips } => {
                let mut f = self.read_folder(*folder)?;
                let old = f.clone();
                for skip in skips {
                    self.skip(&mut f, skip)?;
                }
                self.write_folder(&old, &f)?;
            }
            Change::Unwatch(stamps) => self.unwatch(stamps)?,
            Change::Unskip { folder, numbers } => {
                self.read_folder(*folder)?;
                for number in numbers {
                    self.unskip(*folder, *number)?;
                }
            }
            Change::Position { folder, uidnext, modseq } => self.edit_folder(*folder, |f| {
                f.uidnext = *uidnext;
                f.modseq = *modseq;
            })?,
            Change::PassEnded(summary) => self.pass_ended(summary)?,
            Change::Failed(error) => {
                self.mailbox.state = "failed".to_owned();
                self.mailbox.error = Some(error.clone());
            }
        }
        Ok(Applied::Done)
    }

    fn read_folder(&self, folder: FolderId) -> Result<Folder> {
        get(self.context.conn, &[folder_key(self.mailbox.row, folder.0)])?
            .ok_or_else(|| internal("a change names a folder that is not recorded"))
    }

    /// Writes a folder and keeps the mailbox's sums in step.
    fn write_folder(&mut self, old: &Folder, new: &Folder) -> Result<()> {
        debug_assert_eq!(
            new.live == 0,
            new.flags == Default::default(),
            "the live messages are those with flags"
        );
        debug_assert!(new.live <= new.done.len(), "what is live is done");
        if old == new {
            return Ok(());
        }
        let sum = |total: u64, old: u64, new: u64| total.saturating_sub(old).saturating_add(new);
        let copies = |f: &Folder| f.live.saturating_add(f.orphans);
        self.mailbox.messages = sum(self.mailbox.messages, copies(old), copies(new));
        self.mailbox.bytes = sum(self.mailbox.bytes, old.bytes, new.bytes);
        put(self.context.conn, new)
    }

    fn edit_folder(&mut self, folder: FolderId, edit: impl FnOnce(&mut Folder)) -> Result<()> {
        let old = self.read_folder(folder)?;
        let mut new = old.clone();
        edit(&mut new);
        self.write_folder(&old, &new)
    }

    fn number(&mut self, folder: FolderId, count: u64) -> Result<u64> {
        let first = self.read_folder(folder)?.next_number;
        let next = first.checked_add(count).ok_or_else(|| internal("no numbers are left in a folder"))?;
        self.edit_folder(folder, |f| f.next_number = next)?;
        Ok(first)
    }

    fn start_over(&mut self, identity: &str) -> Result<()> {
        let conn = self.context.conn;
        let own = [self.row()];
        let range = [folder_key(self.mailbox.row, 0), folder_key(self.mailbox.row, u32::MAX)];
        remove_all::<Folder>(conn, "id BETWEEN ?1 AND ?2", &range)?;
        remove_all::<Chain>(conn, "mailbox = ?1", &own)?;
        remove_all::<Batch>(conn, "mailbox = ?1", &own)?;
        remove_all::<WatchRow>(conn, "mailbox = ?1", &own)?;
        remove_all::<Exception>(conn, "mailbox = ?1", &own)?;
        let mailbox = &mut self.mailbox;
        mailbox.target_identity = Some(identity.to_owned());
        mailbox.passes = 0;
        mailbox.last = None;
        mailbox.error = None;
        RUNNING.clone_into(&mut mailbox.state);
        (mailbox.folders, mailbox.messages, mailbox.bytes) = (0, 0, 0);
        (mailbox.skipped, mailbox.open, mailbox.watched) = (0, 0, 0);
        self.context.wiped = Some(mailbox.row);
        Ok(())
    }

    fn folder(&mut self, row: &FolderRow) -> Result<FolderId> {
        let (id, old) = match row.id {
            Some(id) => (id, self.read_folder(id)?),
            None => {
                let id = self.mailbox.next_folder;
                let next = id.checked_add(1).ok_or_else(|| internal("no folder ids are left"))?;
                self.mailbox.next_folder = next;
                self.mailbox.folders += 1;
                let folder = Folder {
                    mailbox: self.mailbox.row,
                    folder: id,
                    special: None,
                    object_id: None,
                    epoch: row.epoch,
                    target_folder: String::new(),
                    done: Default::default(),
                    flags: Default::default(),
                    live: 0,
                    orphans: 0,
                    bytes: 0,
                    next_number: 1,
                    uidnext: 0,
                    modseq: 0,
                    missing: false,
                };
                put(self.context.conn, &folder)?;
                (FolderId(id), folder)
            }
        };
        let mut new = old.clone();
        new.special = row.special;
        new.object_id.clone_from(&row.object_id);
        new.target_folder.clone_from(&row.target_folder);
        new.missing = false;
        if new.epoch != row.epoch {
            new.epoch = row.epoch;
            new.done = Default::default();
            new.flags = Default::default();
            new.orphans = new.orphans.saturating_add(new.live);
            (new.live, new.uidnext, new.modseq) = (0, 0, 0);
            // Skips name numbers of the epoch that is over; under their new numbers they are judged anew.
            let keys = [self.row(), Value::Integer(i64::from(id.0))];
            let gone = remove_all::<Exception>(self.context.conn, "mailbox = ?1 AND folder = ?2", &keys)?;
            self.mailbox.skipped = self.mailbox.skipped.saturating_sub(gone as u64);
        }
        self.write_folder(&old, &new)?;
        let names = row.path.names().to_vec();
        put(self.context.conn, &NameRow { mailbox: self.mailbox.row, folder: id.0, names })?;
        Ok(id)
    }

    /// Numbers that are open in the batches of a folder and epoch.
    fn open_numbers(&self, folder: u32, epoch: u64) -> Result<BTreeSet<u64>> {
        let keys = [self.row(), Value::Integer(i64::from(folder))];
        let batches: Vec<Batch> = list(self.context.conn, "mailbox = ?1 AND folder = ?2", &keys)?;
        let of_epoch = batches.iter().filter(|b| b.epoch == epoch);
        Ok(of_epoch.flat_map(|b| b.items.iter().map(|item| item.number)).collect())
    }

    fn intent(&mut self, folder: FolderId, epoch: u64, items: &[IntentItem]) -> Result<BatchId> {
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
            items: items.to_vec(),
        };
        put(self.context.conn, &row)?;
        self.mailbox.open = self.mailbox.open.saturating_add(items.len() as u64);
        Ok(BatchId(batch))
    }

    fn outcome(&mut self, id: BatchId, outcomes: &Outcomes) -> Result<()> {
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
        for (_, stamp) in &outcomes.unknown {
            self.watch(stamp, &folder.target_folder, batch.since)?;
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
            self.context.records.push((owner, record_of(fact)));
        }
        Ok(())
    }

    fn ended(&mut self, folder: FolderId, numbers: &[Key]) -> Result<()> {
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

    fn moved(&mut self, from: (FolderId, u64, u64), to: FolderId, stored: &Stored) -> Result<()> {
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
    fn skip(&mut self, folder: &mut Folder, skip: &Skip) -> Result<()> {
        if folder.flags.get(skip.number).is_none() {
            folder.done.remove(skip.number);
        }
        let row = Exception { mailbox: folder.mailbox, folder: folder.folder, skip: skip.clone() };
        let keys = [self.row(), Value::Integer(i64::from(folder.folder)), super::rows::number(skip.number)];
        let known = get::<Exception>(self.context.conn, &keys)?.is_some();
        self.mailbox.skipped += u64::from(!known);
        put(self.context.conn, &row)
    }

    fn unskip(&mut self, folder: FolderId, number: u64) -> Result<()> {
        let keys = [self.row(), Value::Integer(i64::from(folder.0)), super::rows::number(number)];
        let known = self.mailbox.skipped > 0 && remove::<Exception>(self.context.conn, &keys)?;
        self.mailbox.skipped -= u64::from(known);
        Ok(())
    }

    /// One row a stamp; a second unknown outcome widens the time in which a twin may have been made.
    fn watch(&mut self, stamp: &Stamp, target_folder: &str, since: i64) -> Result<()> {
        let stamp = stamp.to_string();
        let known: Option<WatchRow> = get(self.context.conn, &[self.row(), Value::Text(stamp.clone())])?;
        self.mailbox.watched += u64::from(known.is_none());
        let since = known.map_or(since, |known| known.since.min(since));
        let row = WatchRow {
            mailbox: self.mailbox.row,
            stamp,
            target_folder: target_folder.to_owned(),
            since,
            until: self.context.now,
        };
        put(self.context.conn, &row)
    }

    fn unwatch(&mut self, stamps: &[Stamp]) -> Result<()> {
        for stamp in stamps {
            let known = remove::<WatchRow>(self.context.conn, &[self.row(), Value::Text(stamp.to_string())])?;
            self.mailbox.watched = self.mailbox.watched.saturating_sub(u64::from(known));
        }
        Ok(())
    }

    fn pass_ended(&mut self, summary: &PassSummary) -> Result<()> {
        let text = summary_to_json(summary.clone()).ok_or_else(|| damaged("a summary cannot be written"))?;
        self.mailbox.last = Some(text);
        if summary.complete {
            self.mailbox.passes = self.mailbox.passes.saturating_add(1);
            self.mailbox.state = "complete".to_owned();
            self.mailbox.error = None;
        } else {
            RUNNING.clone_into(&mut self.mailbox.state);
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
fn set_flags(folder: &mut Folder, number: u64, flags: &Flags) {
    folder.flags.set(number, &Flags::decode(&flags.encode()));
}

fn record_of(fact: &Fact) -> Record {
    Record::Stored(fact.clone())
}

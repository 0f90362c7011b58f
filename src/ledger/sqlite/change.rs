//! What each change does to the rows: the meaning of [`Change`], one function each. Those about messages are in
//! `messages`.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use rusqlite::types::Value;

use super::core::{Answer, Pending, Work};
use super::error::{damaged, internal, stale};
use super::messages::set_flags;
use super::packed::{self, folder_range};
use super::rows::{get, list, put, remove_all};
use super::summary::summary_to_json;
use super::tables::{
    Batch, Chain, Exception, Folder, MailboxRow, Meta, NameRow, WalkedRow, WatchRow, folder_key,
};
use crate::ledger::facts::{FactsReader, LiveSizes, Record};
use crate::ledger::{Applied, Change, Claim, FolderRow, PassSummary};
use crate::model::{Error, FolderId, Kind, Mailbox, Result, Scope};

/// (epoch, number).
pub(super) type Key = (u64, u64);

/// What one change sees and gathers.
pub(super) struct Context<'a> {
    pub conn: &'a Connection,
    reader: &'a mut FactsReader,
    sizes: &'a mut LiveSizes,
    /// Records of earlier changes of the group.
    pending: &'a Pending,
    pub meta: Meta,
    /// Milliseconds since 1970.
    pub now: i64,
    pub records: Vec<((i64, u32), Record)>,
    /// The mailbox whose earlier records of this group are forgotten.
    wiped: Option<i64>,
    /// The mailbox whose pass has ended.
    resting: Option<i64>,
}

/// What a change that was applied leaves for its group.
pub(super) struct Done {
    pub meta: Meta,
    records: Vec<((i64, u32), Record)>,
    wiped: Option<i64>,
    /// The mailbox that rests from now on.
    pub resting: Option<i64>,
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
        Context { conn, reader, sizes, pending, meta, now, records: Vec::new(), wiped: None, resting: None }
    }

    pub(super) fn finish(self) -> Done {
        Done { meta: self.meta, records: self.records, wiped: self.wiped, resting: self.resting }
    }
}

/// Applies one work. On an error nothing of it may be kept: the caller rolls its savepoint back.
pub(super) fn apply_work(context: &mut Context<'_>, work: &Work) -> Result<Answer> {
    match work {
        Work::Claim(mailbox) => context.claim(mailbox).map(Answer::Claim),
        Work::Number { claim, folder, count } => {
            let mut open = Open::new(context, claim)?;
            open.at_hand()?;
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
            lossy: 0,
        };
        put(self.conn, &row)?;
        Ok(row)
    }

    /// Which of these are live, and their sizes in bytes: as the change's own records say, or the group's, or the log.
    pub(super) fn live_sizes(
        &mut self,
        owner: (i64, u32),
        wanted: BTreeSet<Key>,
    ) -> Result<BTreeMap<Key, u64>> {
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
pub(super) struct Open<'c, 'a> {
    pub context: &'c mut Context<'a>,
    pub mailbox: MailboxRow,
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

    pub(super) fn row(&self) -> Value {
        Value::Integer(self.mailbox.row)
    }

    /// The rows of its folders are there, not packed.
    fn at_hand(&self) -> Result<()> {
        packed::unpack(self.context.conn, self.mailbox.row)
    }

    fn change(&mut self, change: &Change) -> Result<Applied> {
        match change {
            // These are about the mailbox's own row and those that are never packed.
            Change::BindTarget { .. }
            | Change::Unwatch(_)
            | Change::PassEnded(_)
            | Change::Failed(_)
            | Change::Walked(_) => {}
            _ => self.at_hand()?,
        }
        match change {
            Change::BindTarget { identity } => self.mailbox.target_identity = Some(identity.clone()),
            Change::StartOver { identity } => self.start_over(identity)?,
            Change::Folder(row) => return self.folder(row).map(Applied::Folder),
            Change::FolderGiven { id, row } => {
                return self.folder_given(*id, row.as_ref()).map(Applied::Folder);
            }
            Change::FolderMissing(folder) => self.edit_folder(*folder, |f| f.missing = true)?,
            Change::Intent { folder, epoch, anchor, items } => {
                return self.intent(*folder, *epoch, anchor, items).map(Applied::Batch);
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
            Change::Position { folder, uidnext, modseq, messages } => self.edit_folder(*folder, |f| {
                (f.uidnext, f.modseq, f.messages) = (*uidnext, *modseq, *messages);
            })?,
            Change::Marked { folder, mark } => self.edit_folder(*folder, |f| f.mark.clone_from(mark))?,
            Change::PassEnded(summary) => self.pass_ended(summary)?,
            Change::Failed(error) => {
                self.mailbox.state = "failed".to_owned();
                self.mailbox.error = Some(error.clone());
            }
            Change::Walked(walked) => {
                put(self.context.conn, &WalkedRow { mailbox: self.mailbox.row, walked: walked.clone() })?;
            }
        }
        Ok(Applied::Done)
    }

    pub(super) fn read_folder(&self, folder: FolderId) -> Result<Folder> {
        get(self.context.conn, &[folder_key(self.mailbox.row, folder.0)])?
            .ok_or_else(|| internal("a change names a folder that is not recorded"))
    }

    /// Writes a folder and keeps the mailbox's sums in step.
    pub(super) fn write_folder(&mut self, old: &Folder, new: &Folder) -> Result<()> {
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
        remove_all::<Folder>(conn, "id BETWEEN ?1 AND ?2", &folder_range(self.mailbox.row))?;
        remove_all::<Chain>(conn, "mailbox = ?1", &own)?;
        remove_all::<Batch>(conn, "mailbox = ?1", &own)?;
        remove_all::<WatchRow>(conn, "mailbox = ?1", &own)?;
        remove_all::<Exception>(conn, "mailbox = ?1", &own)?;
        remove_all::<WalkedRow>(conn, "mailbox = ?1", &own)?;
        let mailbox = &mut self.mailbox;
        mailbox.target_identity = Some(identity.to_owned());
        mailbox.passes = 0;
        mailbox.last = None;
        mailbox.error = None;
        RUNNING.clone_into(&mut mailbox.state);
        (mailbox.folders, mailbox.messages, mailbox.bytes) = (0, 0, 0);
        (mailbox.skipped, mailbox.open, mailbox.watched, mailbox.lossy) = (0, 0, 0, 0);
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
                (FolderId(id), self.first_folder(id, row.epoch)?)
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
            (new.live, new.uidnext, new.modseq, new.messages) = (0, 0, 0, 0);
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

    /// A folder that was not on record before.
    fn first_folder(&mut self, id: u32, epoch: u64) -> Result<Folder> {
        self.mailbox.folders += 1;
        let folder = Folder {
            mailbox: self.mailbox.row,
            folder: id,
            special: None,
            object_id: None,
            epoch,
            target_folder: String::new(),
            done: Default::default(),
            flags: Default::default(),
            live: 0,
            orphans: 0,
            bytes: 0,
            next_number: 1,
            uidnext: 0,
            modseq: 0,
            messages: 0,
            mark: String::new(),
            missing: false,
        };
        put(self.context.conn, &folder)?;
        Ok(folder)
    }

    fn folder_given(&mut self, id: FolderId, row: Option<&FolderRow>) -> Result<FolderId> {
        let known: Option<Folder> = get(self.context.conn, &[folder_key(self.mailbox.row, id.0)])?;
        if known.is_some() {
            return Err(internal("a folder's id is given twice"));
        }
        let next = id.0.checked_add(1).ok_or_else(|| internal("no folder ids are left"))?;
        self.mailbox.next_folder = self.mailbox.next_folder.max(next);
        let Some(row) = row else { return Ok(id) };
        self.first_folder(id.0, row.epoch)?;
        self.folder(&FolderRow { id: Some(id), ..row.clone() })
    }

    fn pass_ended(&mut self, summary: &PassSummary) -> Result<()> {
        let text = summary_to_json(summary).ok_or_else(|| damaged("a summary cannot be written"))?;
        self.mailbox.last = Some(text);
        self.context.resting = Some(self.mailbox.row);
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

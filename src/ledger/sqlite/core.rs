//! The writer's core: one group of changes at a time, in steps. Synchronous; the drivers (a thread, or a task in
//! simulation) decide when each step is taken.
//!
//! ```text
//! begin        transaction opens; each change in a savepoint of its own: fence, checks, rows
//! write_facts  what was stored is appended to the segment
//! sync_facts   … and synced
//! commit       the transaction, which refers to it, commits (synchronous=FULL)
//! ```
//! Only then are the callers answered. A change that is refused leaves no trace and does not disturb the others. An
//! error of the disk or of SQLite makes the ledger suspect: nothing more is written, no sync is tried twice.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use rusqlite::types::Value;

use super::change::{Context, apply_work};
use super::error::{io, sql};
use super::lock::Lock;
use super::packed;
use super::rows::{get, put};
use super::schema::keep_log_on_close;
use super::tables::{Chain, Meta};
use crate::env::Env;
use crate::ledger::facts::{FactsReader, FactsWriter, LiveSizes, Record};
use crate::ledger::{Applied, Change, Claim};
use crate::model::{Error, FolderId, Kind, Mailbox, Result, Scope};

/// One thing a caller wants done.
pub(super) enum Work {
    /// [`crate::ledger::Ledger::claim`].
    Claim(Box<Mailbox>),
    /// [`crate::ledger::Ledger::number`].
    Number { claim: Claim, folder: FolderId, count: u64 },
    /// [`crate::ledger::Ledger::apply`].
    Apply { claim: Claim, change: Box<Change> },
}

impl Work {
    /// Is it an intent?
    pub(super) fn is_intent(&self) -> bool {
        matches!(self, Work::Apply { change, .. } if matches!(**change, Change::Intent { .. }))
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    Claim(Claim),
    Number(u64),
    Applied(Applied),
}

/// Records of the group that are not in the log yet, by mailbox and folder.
pub(super) type Pending = BTreeMap<(i64, u32), Vec<Record>>;

/// The writer's state. There is one per ledger, and it holds the lock.
pub(super) struct Core {
    env: Env,
    conn: Connection,
    writer: FactsWriter,
    reader: FactsReader,
    sizes: LiveSizes,
    meta: Meta,
    /// Of the group that is open.
    meta_next: Option<Meta>,
    suspect: Option<Error>,
    lock: Lock,
}

impl Core {
    pub(super) fn new(
        env: Env,
        conn: Connection,
        writer: FactsWriter,
        reader: FactsReader,
        meta: Meta,
        lock: Lock,
    ) -> Core {
        Core {
            env,
            conn,
            writer,
            reader,
            sizes: LiveSizes::default(),
            meta,
            meta_next: None,
            suspect: None,
            lock,
        }
    }

    /// Applies a group inside a transaction that stays open. One answer per work, in order; they hold only if
    /// [`Core::commit`] succeeds.
    pub(super) fn begin<'a>(&mut self, works: impl Iterator<Item = &'a Work>) -> Vec<Result<Answer>> {
        let works: Vec<&Work> = works.collect();
        self.try_begin(&works).unwrap_or_else(|error| {
            let error = self.fail(error);
            works.iter().map(|_| Err(error.clone())).collect()
        })
    }

    fn try_begin(&mut self, works: &[&Work]) -> Result<Vec<Result<Answer>>> {
        if let Some(error) = &self.suspect {
            return Err(error.clone());
        }
        debug_assert!(self.meta_next.is_none(), "one group at a time");
        self.writer.begin();
        self.run("BEGIN IMMEDIATE")?;
        let mut meta = self.meta.clone();
        let mut pending = Pending::new();
        let mut resting = BTreeSet::new();
        let mut changed = false;
        let now = self.env.wall();
        let mut answers = Vec::with_capacity(works.len());
        for work in works {
            self.run("SAVEPOINT change")?;
            let mut context =
                Context::new(&self.conn, (&mut self.reader, &mut self.sizes), &pending, meta.clone(), now);
            match apply_work(&mut context, work) {
                Ok(answer) => {
                    let done = context.finish();
                    done.merge(&mut pending);
                    resting.extend(done.resting);
                    meta = done.meta;
                    changed = true;
                    answers.push(Ok(answer));
                }
                Err(error) if error.scope == Scope::Run => return Err(error),
                Err(error) => {
                    self.run("ROLLBACK TO change")?;
                    answers.push(Err(error));
                }
            }
            self.run("RELEASE change")?;
        }
        if !changed {
            self.run("ROLLBACK")?;
            return Ok(answers);
        }
        meta.groups = meta.groups.saturating_add(1);
        self.stage(&pending, &mut meta)?;
        // After the chains have their new heads.
        resting.into_iter().try_for_each(|mailbox| packed::pack(&self.conn, mailbox))?;
        put(&self.conn, &meta)?;
        self.meta_next = Some(meta);
        Ok(answers)
    }

    /// Makes frames of the group's records and lets the rows refer to them.
    fn stage(&mut self, pending: &Pending, meta: &mut Meta) -> Result<()> {
        for ((mailbox, folder), records) in pending {
            let keys = [Value::Integer(*mailbox), Value::Integer(i64::from(*folder))];
            let before = get::<Chain>(&self.conn, &keys)?.map(|c| c.head);
            if let Some(head) = self.writer.stage(meta.groups, (*mailbox, *folder), before, records) {
                put(&self.conn, &Chain { mailbox: *mailbox, folder: *folder, head })?;
                self.sizes.advance((*mailbox, *folder), before, head, records);
            }
        }
        if let Some(mark) = self.writer.staged() {
            meta.segments = meta.segments.max(mark.id);
            put(&self.conn, mark)?;
        }
        Ok(())
    }

    /// Is there a group to commit?
    pub(super) fn has_group(&self) -> bool {
        self.meta_next.is_some()
    }

    /// Does the open group have facts to write?
    pub(super) fn has_facts(&self) -> bool {
        self.meta_next.is_some() && self.writer.staged().is_some()
    }

    /// Appends the group's facts to the log.
    pub(super) fn write_facts(&mut self) -> Result<()> {
        self.writer.write().map_err(|e| self.fail(io("the facts log cannot be written", &e)))
    }

    /// Syncs them.
    pub(super) fn sync_facts(&mut self) -> Result<()> {
        self.writer.sync().map_err(|e| self.fail(io("the facts log cannot be synced", &e)))
    }

    /// Commits the group, if there is one.
    pub(super) fn commit(&mut self) -> Result<()> {
        let Some(meta) = self.meta_next.take() else { return Ok(()) };
        match self.run("COMMIT") {
            Ok(()) => {
                self.meta = meta;
                self.writer.committed();
                Ok(())
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Nothing is written any more: the first error is the answer to everything that follows.
    fn fail(&mut self, error: Error) -> Error {
        self.meta_next = None;
        // After some errors SQLite has rolled back by itself.
        if !self.conn.is_autocommit() {
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        let error = Error { kind: Kind::Ledger, ..error.scoped(Scope::Run) };
        let error = error.at(format_args!("ledger {}", self.writer.dir().display()));
        self.suspect.get_or_insert_with(|| error.clone());
        error
    }

    /// The segment written last and how many of its bytes are synced.
    pub(super) fn synced(&self) -> Option<(std::path::PathBuf, u64)> {
        self.writer.synced()
    }

    fn run(&self, statement: &str) -> Result<()> {
        self.conn.prepare_cached(statement).and_then(|mut s| s.execute([])).map(drop).map_err(sql)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // An open group is undone with its connection. Only a ledger in good order is marked as closed, and only then
        // may its write-ahead log go: a log that is missing otherwise was lost.
        if self.suspect.is_none() && self.lock.closing().is_ok() {
            let _ = keep_log_on_close(&self.conn, false);
        }
    }
}

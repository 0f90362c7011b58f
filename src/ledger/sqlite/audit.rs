//! `ledger check`: everything the ledger says of itself, looked through read only, also beside a run.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::check::{self, Found};
use super::error::{damaged, sql};
use super::packed::rest_of;
use super::rows::{get, is_damage, survey};
use super::tables::{Folder, MailboxRow, Meta};
use super::{DATABASE, lock, schema};
use crate::ledger::FactsCursor;
use crate::ledger::facts::{FactsReader, Head, SegmentsSeen, audit_segments, log_bytes};
use crate::model::{Result, RunSet};

/// Findings kept; more are counted.
const MOST: usize = 1000;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The ordinal of its mailbox in the ledger, if it is of one.
    pub mailbox: Option<i64>,
    /// What is wrong: one line without names.
    pub what: String,
}

/// What a look through a ledger told.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Audit {
    /// Was every frame of the facts log read, and compared with the folders?
    pub deep: bool,
    /// Mailboxes, folders and copies on record.
    pub mailboxes: u64,
    /// See `mailboxes`.
    pub folders: u64,
    /// See `mailboxes`.
    pub copies: u64,
    /// Skipped items on record.
    pub skipped: u64,
    /// Messages with an open outcome.
    pub open: u64,
    /// Group commits so far.
    pub commits: u64,
    /// Bytes of the database with its write-ahead log, and of the facts log.
    pub database_bytes: u64,
    /// See `database_bytes`.
    pub facts_bytes: u64,
    /// Segments of the facts log.
    pub segments: u64,
    /// Frames of the facts log; 0 unless `deep`.
    pub frames: u64,
    /// Bytes beyond the last commit: a stop cut their commit off. No fault; the next run removes them.
    pub uncommitted_bytes: u64,
    /// The number of the process that is writing it.
    pub writer: Option<String>,
    /// What is wrong, the first 1,000 finds.
    pub findings: Vec<Finding>,
    /// How many more there were.
    pub more_findings: u64,
}

impl Audit {
    /// Is everything as it was written?
    pub fn sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, mailbox: Option<i64>, what: impl Into<String>) {
        if self.findings.len() < MOST {
            self.findings.push(Finding { mailbox, what: what.into() });
        } else {
            self.more_findings += 1;
        }
    }
}

/// Looks the ledger in `dir` through: the database by SQLite's own checks, every row by its seal and against the others,
/// the segments of the facts log by their headers, lengths and last frames. `deep` also reads the whole facts log: every
/// frame by its hash, each folder's chain from its head to its beginning, and the copies it tells against the folder's
/// numbers, counts and octets.
///
/// Takes no lock and changes nothing: a run may write meanwhile, whose log grows as long as this reads.
///
/// # Errors
/// `Kind::NotFound` if there is no ledger; `Kind::Ledger` if it is not one of ours or of another version, so that nothing
/// can be said of what is in it, or if the disk does not answer.
pub fn audit(dir: &Path, deep: bool) -> Result<Audit> {
    let mut audit = Audit { deep, ..Audit::default() };
    let path = dir.join(DATABASE);
    let wal = dir.join(format!("{DATABASE}-wal"));
    let size = |path: &Path| path.metadata().map_or(0, |m| m.len());
    // Before SQLite opens it and makes an empty one.
    let wal_bytes = size(&wal);
    let state = lock::look(&dir.join("lock"))?;
    let conn = schema::open_reader(&path)?;
    audit.database_bytes = size(&path) + wal_bytes;
    audit.facts_bytes = log_bytes(dir);
    if state.running && wal_bytes == 0 {
        audit.find(
            None,
            "the ledger was not closed in order and its write-ahead log is gone: commits may be lost",
        );
    }
    audit.writer = state.holder;
    by_sqlite(&conn, deep, &mut audit)?;
    let snapshot = conn.unchecked_transaction().map_err(sql)?;
    let Some(meta) = first_row(&snapshot, &mut audit) else { return Ok(audit) };
    audit.commits = meta.groups;
    let mut found = Vec::new();
    let (marks, counts) = check::whole(&snapshot, &meta, &mut |found_one: Found| {
        found.push(found_one);
        Ok(())
    })?;
    found.into_iter().for_each(|f| audit.find(f.mailbox, f.what));
    audit.mailboxes = u64::try_from(meta.mailboxes).unwrap_or(0);
    audit.folders = counts.folders + counts.folders_at_rest;
    audit.skipped = counts.exceptions + counts.exceptions_at_rest;
    audit.segments = marks.len() as u64;
    let SegmentsSeen { tail, frames, .. } =
        audit_segments(dir, meta.ledger, (&marks, meta.groups), deep, &mut |what| {
            audit.find(None, what);
            Ok(())
        })?;
    // What a run has written and is about to commit is none.
    audit.uncommitted_bytes = if audit.writer.is_some() { 0 } else { tail };
    audit.frames = frames;
    folders(&snapshot, &mut FactsReader::new(dir, meta.ledger), &mut audit)?;
    Ok(audit)
}

fn first_row(conn: &Connection, audit: &mut Audit) -> Option<Meta> {
    match get(conn, &[Value::Integer(1)])
        .and_then(|m: Option<Meta>| m.ok_or_else(|| damaged("its first row is missing")))
    {
        Ok(meta) => Some(meta),
        Err(error) => {
            audit.find(None, error.what);
            None
        }
    }
}

/// SQLite's own checks. Their texts name tables and pages, no values.
fn by_sqlite(conn: &Connection, deep: bool, audit: &mut Audit) -> Result<()> {
    let check = if deep { "PRAGMA integrity_check(100)" } else { "PRAGMA quick_check(100)" };
    let mut found = Vec::new();
    let read = conn.prepare(check).and_then(|mut statement| {
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            found.push(row.get::<_, String>(0)?);
        }
        Ok(())
    });
    for told in found.iter().flat_map(|f| f.lines()).filter(|line| *line != "ok") {
        audit.find(None, format!("the database: {told}"));
    }
    match read {
        Err(e) if is_damage(&e) => audit.find(None, "the database cannot be read to its end"),
        other => other.map_err(sql)?,
    }
    let mut strays = std::collections::BTreeMap::<String, u64>::new();
    let read = conn.prepare("PRAGMA foreign_key_check").and_then(|mut statement| {
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            *strays.entry(row.get(0)?).or_default() += 1;
        }
        Ok(())
    });
    for (table, rows) in strays {
        audit.find(None, format!("{rows} rows of {table} belong to no mailbox"));
    }
    match read {
        Err(e) if is_damage(&e) => Ok(()), // told above
        other => other.map_err(sql),
    }
}

/// What each folder says against itself and, in a deep look, against its facts.
fn folders(conn: &Connection, facts: &mut FactsReader, audit: &mut Audit) -> Result<()> {
    // Damaged rows were told already.
    let mut tell = |_| Ok(());
    let mut all = Vec::new();
    survey(conn, "TRUE", &[], &mut tell, |m: MailboxRow| {
        audit.open = audit.open.saturating_add(m.open);
        all.push(m.row);
    })?;
    // A mailbox at a time: what is held at once does not depend on the ledger.
    for mailbox in all {
        let Ok(rest) = rest_of(conn, mailbox) else { continue };
        for row in &rest.folders {
            let live = row.flags.numbers();
            if live.len() != row.live || !covers(&row.done, &live) {
                audit
                    .find(Some(mailbox), format!("folder {}: its numbers do not fit each other", row.folder));
            }
            audit.copies = audit.copies.saturating_add(row.live).saturating_add(row.orphans);
            if audit.deep {
                let head = rest.chains.iter().find(|c| c.folder == row.folder).map(|c| c.head);
                if let Err(what) = against_facts(facts, row, head) {
                    audit.find(Some(mailbox), format!("folder {}: {what}", row.folder));
                }
            }
        }
    }
    Ok(())
}

/// Is every number of `some` in `all`? Runs that touch are one, so that each of `some` must lie within one of `all`.
fn covers(all: &RunSet, some: &RunSet) -> bool {
    let mut all = all.runs().peekable();
    some.runs().all(|run| {
        while all.next_if(|of_all| of_all.end() < run.end()).is_some() {}
        all.peek().is_some_and(|of_all| of_all.start() <= run.start())
    })
}

/// Walks a folder's chain from its recorded head to its beginning, verifying each frame, and compares the copies it tells
/// with the folder's row.
fn against_facts(
    facts: &mut FactsReader,
    folder: &Folder,
    head: Option<Head>,
) -> std::result::Result<(), String> {
    let owner = (folder.mailbox, folder.folder);
    let live = folder.flags.numbers();
    let (mut here, mut orphans, mut bytes) = (RunSet::default(), 0u64, 0u64);
    let mut from = Some(FactsCursor::default());
    while let Some(cursor) = from {
        let (page, next) = facts.page(owner, head, cursor).map_err(|e| e.what)?;
        for fact in page {
            bytes = bytes.saturating_add(fact.size);
            if fact.epoch == folder.epoch && live.contains(fact.number) {
                here.insert(fact.number, fact.number);
            } else {
                orphans += 1;
            }
        }
        from = next;
    }
    if here != live {
        let missing = live.len().saturating_sub(here.len());
        return Err(format!("{missing} copies on record have no facts"));
    }
    if orphans != folder.orphans || bytes != folder.bytes {
        return Err(format!(
            "its facts tell {orphans} copies of earlier numberings and {bytes} octets, its row {} and {}",
            folder.orphans, folder.bytes
        ));
    }
    Ok(())
}

/// The number of the process that is writing the ledger in `dir`, if one is.
///
/// # Errors
/// `Kind::Ledger` if its lock cannot be looked at.
pub fn writer_of(dir: &Path) -> Result<Option<String>> {
    Ok(lock::look(&dir.join("lock"))?.holder)
}

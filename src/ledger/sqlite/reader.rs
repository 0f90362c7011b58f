//! Reads the ledger: for the engine, and for `status`, `report` and `verify` beside a run.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::check;
use super::error::{damaged, sql, stale};
use super::packed::{self, rest_of, skips_of};
use super::rest::Rest;
use super::rows::{each, get, list};
use super::schema;
use super::summary::summary_from_json;
use super::tables::{Batch, Exception, Folder, MailboxRow, Meta, NameRow, WalkedRow, WatchRow};
use crate::ledger::facts::{FactsReader, Head};
use crate::ledger::{
    BatchId, Claim, FactsCursor, FolderState, LedgerView, MailboxLine, MailboxState, OpenBatch, SkipLine,
    Walked, Watch,
};
use crate::model::{Fact, FolderId, FolderPath, MailboxKey, Result, RunSet};

/// Facts, and where the next ones are.
pub(super) type Page = (Vec<Fact>, Option<FactsCursor>);

/// A connection that only reads, and the facts log beside it.
pub(super) struct Reader {
    conn: Connection,
    facts: FactsReader,
}

impl Reader {
    /// Opens the ledger in `dir`.
    ///
    /// # Errors
    /// `Kind::NotFound` if there is none; `Kind::Ledger`.
    pub(super) fn open(dir: &Path) -> Result<Reader> {
        let conn = schema::open_reader(&dir.join(super::DATABASE))?;
        let meta: Meta =
            get(&conn, &[Value::Integer(1)])?.ok_or_else(|| damaged("its first row is missing"))?;
        Ok(Reader { conn, facts: FactsReader::new(dir, meta.ledger) })
    }

    /// [`crate::ledger::Ledger::load`].
    pub(super) fn load(&mut self, claim: &Claim) -> Result<MailboxState> {
        self.snapshot(|conn, _| {
            let mailbox = claimed(conn, claim)?;
            // A large database is not checked whole when it is opened.
            let rest = check::sound(conn, &mailbox)?;
            state(conn, &mailbox, rest)
        })
    }

    /// [`crate::ledger::Ledger::facts_from`].
    pub(super) fn facts_from(&mut self, claim: &Claim, folder: FolderId, from: FactsCursor) -> Result<Page> {
        self.snapshot(|conn, facts| page(conn, facts, (claimed(conn, claim)?.row, folder), from))
    }

    /// [`crate::ledger::Ledger::facts_of`].
    pub(super) fn facts_of(
        &mut self,
        claim: &Claim,
        folder: FolderId,
        (epoch, numbers): (u64, &RunSet),
    ) -> Result<Vec<Fact>> {
        self.snapshot(|conn, facts| {
            let row = claimed(conn, claim)?.row;
            facts.some((row, folder.0), head(conn, (row, folder))?, (epoch, numbers))
        })
    }

    /// Runs `read` inside one read transaction: all it sees is of one commit.
    fn snapshot<T>(&mut self, read: impl FnOnce(&Connection, &mut FactsReader) -> Result<T>) -> Result<T> {
        let transaction = self.conn.unchecked_transaction().map_err(sql)?;
        let answer = read(&transaction, &mut self.facts);
        drop(transaction);
        answer
    }
}

/// The mailbox of a claim, if no later claim took it over.
fn claimed(conn: &Connection, claim: &Claim) -> Result<MailboxRow> {
    get::<MailboxRow>(conn, &[Value::Integer(claim.row)])?
        .filter(|m| m.key == claim.mailbox.as_str() && m.fence == claim.fence)
        .ok_or_else(|| stale(claim.row))
}

fn by_key(conn: &Connection, key: &MailboxKey) -> Result<Option<MailboxRow>> {
    list(conn, "key = ?1", &[Value::Text(key.as_str().to_owned())]).map(|mut rows| rows.pop())
}

/// The newest frame of a folder.
fn head(conn: &Connection, (row, folder): (i64, FolderId)) -> Result<Option<Head>> {
    packed::head_of(conn, (row, folder.0))
}

fn page(
    conn: &Connection,
    facts: &mut FactsReader,
    (row, folder): (i64, FolderId),
    from: FactsCursor,
) -> Result<Page> {
    facts.page((row, folder.0), head(conn, (row, folder))?, from)
}

/// `rest`: what the mailbox says at rest, if it is and that is known already.
fn state(conn: &Connection, mailbox: &MailboxRow, rest: Option<Rest>) -> Result<MailboxState> {
    let own = [Value::Integer(mailbox.row)];
    let rest = match rest {
        Some(rest) => rest,
        None => rest_of(conn, mailbox.row)?,
    };
    let Rest { folders: rows, names, skips, .. } = rest;
    let mut names: BTreeMap<u32, Vec<String>> = names.into_iter().map(|n| (n.folder, n.names)).collect();
    let mut folders = Vec::new();
    for folder in rows {
        let path = names.remove(&folder.folder).and_then(FolderPath::new);
        let path = path.ok_or_else(|| damaged("a folder has no name"))?;
        folders.push(folder_state(folder, path));
    }
    let mut open = Vec::new();
    each(conn, "mailbox = ?1", &own, |batch: Batch| {
        let Batch { batch, folder, epoch, since, anchor, items, .. } = batch;
        open.push(OpenBatch { id: BatchId(batch), folder: FolderId(folder), epoch, since, anchor, items });
        Ok(())
    })?;
    let mut watch = Vec::new();
    each(conn, "mailbox = ?1", &own, |w: WatchRow| {
        let stamp = w.stamp.parse().map_err(|_| damaged("a watched stamp cannot be read"))?;
        let WatchRow { target_folder, since, until, anchor, .. } = w;
        watch.push(Watch { stamp, target_folder, since, until, anchor });
        Ok(())
    })?;
    let skips = skips.into_iter().map(|e| (FolderId(e.folder), e.skip)).collect();
    Ok(MailboxState {
        target_identity: mailbox.target_identity.clone(),
        passes: mailbox.passes,
        lossy: mailbox.lossy,
        folders,
        open,
        watch,
        skips,
    })
}

fn folder_state(folder: Folder, path: FolderPath) -> FolderState {
    FolderState {
        id: FolderId(folder.folder),
        path,
        special: folder.special,
        object_id: folder.object_id,
        epoch: folder.epoch,
        target_folder: folder.target_folder,
        done: folder.done,
        flags: folder.flags,
        live: folder.live,
        orphans: folder.orphans,
        next_number: folder.next_number,
        modseq: folder.modseq,
        uidnext: folder.uidnext,
        messages: folder.messages,
        mark: folder.mark,
        missing: folder.missing,
    }
}

/// A ledger opened read only: no lock is taken, a run may write it meanwhile. Each call sees one commit.
pub struct SqliteView(RefCell<Reader>);

impl std::fmt::Debug for SqliteView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteView")
    }
}

impl SqliteView {
    /// Opens the ledger in `dir`.
    ///
    /// # Errors
    /// `Kind::NotFound` if there is none; `Kind::Ledger` if it is damaged or of another version.
    pub fn open(dir: &Path) -> Result<SqliteView> {
        Reader::open(dir).map(|reader| SqliteView(RefCell::new(reader)))
    }

    /// The names of the mailboxes at source and target, by pseudonym: personal data, for the operator's own eyes.
    ///
    /// # Errors
    /// `Kind::Ledger`.
    pub fn names(&self) -> Result<BTreeMap<MailboxKey, (String, String)>> {
        self.0.borrow_mut().snapshot(|conn, _| {
            let mut keys = BTreeMap::new();
            each(conn, "TRUE", &[], |m: MailboxRow| {
                keys.insert(m.row, key_of(&m)?);
                Ok(())
            })?;
            let mut out = BTreeMap::new();
            each(conn, "folder = 0", &[], |name: NameRow| {
                if let (Some(key), [source, target]) = (keys.remove(&name.mailbox), name.names.as_slice()) {
                    out.insert(key, (source.clone(), target.clone()));
                }
                Ok(())
            })?;
            Ok(out)
        })
    }
}

fn key_of(mailbox: &MailboxRow) -> Result<MailboxKey> {
    MailboxKey::parse(&mailbox.key).ok_or_else(|| damaged("a mailbox's key cannot be read"))
}

impl LedgerView for SqliteView {
    fn mailboxes(&self) -> Result<Vec<MailboxLine>> {
        self.0.borrow_mut().snapshot(|conn, _| {
            let mut lines = Vec::new();
            each(conn, "TRUE", &[], |m: MailboxRow| {
                let last = match &m.last {
                    Some(text) => Some(
                        summary_from_json(text).ok_or_else(|| damaged("a pass's summary cannot be read"))?,
                    ),
                    None => None,
                };
                lines.push(MailboxLine {
                    key: m.key,
                    ordinal: m.row,
                    state: m.state,
                    passes: m.passes,
                    messages: m.messages,
                    bytes: m.bytes,
                    skipped: m.skipped,
                    unknown: m.open,
                    lossy: m.lossy,
                    last,
                    error: m.error,
                });
                Ok(())
            })?;
            Ok(lines)
        })
    }

    fn skips(&self) -> Result<Vec<SkipLine>> {
        self.0.borrow_mut().snapshot(|conn, _| {
            let mut keys = BTreeMap::new();
            each(conn, "skipped > 0", &[], |m: MailboxRow| {
                keys.insert(m.row, m.key);
                Ok(())
            })?;
            let mut rows: Vec<Exception> = list(conn, "TRUE", &[])?;
            let loose: BTreeSet<i64> = rows.iter().map(|e| e.mailbox).collect();
            for mailbox in keys.keys().filter(|mailbox| !loose.contains(mailbox)) {
                if let Some(row) = packed::row_of(conn, *mailbox)? {
                    rows.extend(skips_of(&row)?);
                }
            }
            rows.sort_by_key(|e| (e.mailbox, e.folder, e.skip.number));
            let line = |e: Exception| {
                let mailbox = keys.get(&e.mailbox).cloned();
                let mailbox = mailbox.ok_or_else(|| damaged("a skipped item belongs to no mailbox"))?;
                Ok(SkipLine { mailbox, folder: FolderId(e.folder), skip: e.skip })
            };
            rows.into_iter().map(line).collect()
        })
    }

    fn walked(&self) -> Result<BTreeMap<MailboxKey, Walked>> {
        self.0.borrow_mut().snapshot(|conn, _| {
            let mut keys = BTreeMap::new();
            each(conn, "TRUE", &[], |m: MailboxRow| {
                keys.insert(m.row, key_of(&m)?);
                Ok(())
            })?;
            let mut out = BTreeMap::new();
            each(conn, "TRUE", &[], |w: WalkedRow| {
                let key = keys.remove(&w.mailbox);
                out.insert(key.ok_or_else(|| damaged("a row of walked belongs to no mailbox"))?, w.walked);
                Ok(())
            })?;
            Ok(out)
        })
    }

    fn state(&self, mailbox: &MailboxKey) -> Result<Option<MailboxState>> {
        self.0.borrow_mut().snapshot(|conn, _| match by_key(conn, mailbox)? {
            Some(row) => {
                let rest = check::sound(conn, &row)?;
                state(conn, &row, rest).map(Some)
            }
            None => Ok(None),
        })
    }

    fn facts_from(&self, mailbox: &MailboxKey, folder: FolderId, from: FactsCursor) -> Result<Page> {
        self.0.borrow_mut().snapshot(|conn, facts| match by_key(conn, mailbox)? {
            Some(row) => page(conn, facts, (row.row, folder), from),
            None => Ok((Vec::new(), None)),
        })
    }
}

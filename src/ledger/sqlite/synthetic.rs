//! For benches only: a ledger as a long migration leaves it, written with the ledger's own rows, frames and segments,
//! without the questions and answers that lead there.

use std::path::Path;

use rusqlite::types::Value;

use super::error::{damaged, io, sql};
use super::rows::{get, list, put};
use super::tables::{Chain, Exception, Folder, MailboxRow, Meta, NameRow};
use super::{DATABASE, LedgerOptions, open_core, schema};
use crate::env::Env;
use crate::ledger::facts::{FactsWriter, Record, SegmentMark};
use crate::ledger::{FolderRow, PassSummary};
use crate::model::{Fact, FlagMap, Mailbox, Result, RunSet, Skip};

/// A mailbox to be on record.
#[derive(Debug)]
pub struct DrawnMailbox {
    /// Itself.
    pub mailbox: Mailbox,
    /// Its last pass.
    pub last: PassSummary,
    /// Its folders.
    pub folders: Vec<DrawnFolder>,
}

/// A folder to be on record.
#[derive(Debug)]
pub struct DrawnFolder {
    /// Its row; the id does not count.
    pub row: FolderRow,
    /// Numbers that need nothing more.
    pub done: RunSet,
    /// Flags of its copies.
    pub flags: FlagMap,
    /// Octets of its copies.
    pub bytes: u64,
    /// UIDNEXT.
    pub uidnext: u64,
    /// Skipped items.
    pub skips: Vec<Skip>,
    /// Facts, by the commits that wrote them: a frame each. Fewer than copies are allowed; `ledger check --deep` would
    /// notice.
    pub commits: Vec<Vec<Fact>>,
}

/// Mailboxes written in one transaction.
const AT_ONCE: usize = 16;

/// Makes a ledger in `dir` that holds these mailboxes, and closes it in order.
///
/// # Errors
/// `Kind::Ledger`.
pub fn fill(
    env: &Env,
    dir: &Path,
    options: &LedgerOptions,
    drawn: &mut dyn Iterator<Item = DrawnMailbox>,
) -> Result<()> {
    drop(open_core(env, dir, options)?);
    let conn = schema::open_writer(&dir.join(DATABASE), true)?;
    schema::keep_log_on_close(&conn, false)?;
    let meta: Option<Meta> = get(&conn, &[Value::Integer(1)])?;
    let mut meta = meta.ok_or_else(|| damaged("its first row is missing"))?;
    let marks: Vec<SegmentMark> = list(&conn, "TRUE", &[])?;
    let mut writer = FactsWriter::new(dir, meta.ledger, options.segment_bytes, marks.last().cloned());
    let failed = |e: std::io::Error| io("the facts log cannot be written", &e);
    loop {
        let some: Vec<DrawnMailbox> = (&mut *drawn).take(AT_ONCE).collect();
        if some.is_empty() {
            break;
        }
        let transaction = conn.unchecked_transaction().map_err(sql)?;
        writer.begin();
        meta.groups += 1;
        for one in some {
            meta.mailboxes += 1;
            one_mailbox(&transaction, &mut writer, &meta, one)?;
        }
        if let Some(mark) = writer.staged() {
            meta.segments = meta.segments.max(mark.id);
            put(&transaction, mark)?;
        }
        writer.write().map_err(failed)?;
        writer.sync().map_err(failed)?;
        put(&transaction, &meta)?;
        transaction.commit().map_err(sql)?;
        writer.committed();
    }
    conn.close().map_err(|(_, e)| sql(e))
}

fn one_mailbox(
    conn: &rusqlite::Connection,
    writer: &mut FactsWriter,
    meta: &Meta,
    drawn: DrawnMailbox,
) -> Result<()> {
    let mailbox = meta.mailboxes;
    let mut row = MailboxRow {
        row: mailbox,
        key: drawn.mailbox.key.as_str().to_owned(),
        fence: 3,
        target_identity: None,
        state: "complete".to_owned(),
        passes: 3,
        error: None,
        last: super::summary::summary_to_json(&drawn.last),
        next_folder: 1,
        folders: drawn.folders.len() as u64,
        messages: 0,
        bytes: 0,
        skipped: 0,
        open: 0,
        watched: 0,
        lossy: 0,
    };
    // The other rows refer to it.
    put(conn, &row)?;
    put(conn, &NameRow { mailbox, folder: 0, names: vec![drawn.mailbox.source, drawn.mailbox.target] })?;
    for one in drawn.folders {
        let folder = row.next_folder;
        row.next_folder += 1;
        let live = one.flags.numbers().len();
        row.messages += live;
        row.bytes += one.bytes;
        row.skipped += one.skips.len() as u64;
        put(conn, &NameRow { mailbox, folder, names: one.row.path.names().to_vec() })?;
        for skip in one.skips {
            put(conn, &Exception { mailbox, folder, skip })?;
        }
        let mut head = None;
        for facts in one.commits {
            let records: Vec<Record> = facts.into_iter().map(Record::Stored).collect();
            head = writer.stage(meta.groups, (mailbox, folder), head, &records);
        }
        if let Some(head) = head {
            put(conn, &Chain { mailbox, folder, head })?;
        }
        put(
            conn,
            &Folder {
                mailbox,
                folder,
                special: one.row.special,
                object_id: one.row.object_id,
                epoch: one.row.epoch,
                target_folder: one.row.target_folder,
                done: one.done,
                flags: one.flags,
                live,
                orphans: 0,
                bytes: one.bytes,
                next_number: 1,
                uidnext: one.uidnext,
                modseq: 1_000_000,
                messages: live,
                mark: String::new(),
                missing: false,
            },
        )?;
    }
    put(conn, &row)?;
    super::packed::pack(conn, mailbox)
}

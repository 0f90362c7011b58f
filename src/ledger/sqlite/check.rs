//! Every row's seal, and that the rows fit each other. A run checks the mailboxes' own rows when it opens the ledger and
//! the rest of a mailbox whenever it loads it; a small database is checked whole at once, and any by `ledger check`.

use std::collections::BTreeSet;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::error::{damaged, sql};
use super::packed::folder_range;
use super::rest::Rest;
use super::rows::{Record, is_damage, list, survey};
use super::tables::{
    Batch, Chain, Exception, FOLDERS_NAMES, Folder, MailboxRow, Meta, NameRow, PackedRow, WalkedRow, WatchRow,
};
use crate::ledger::facts::SegmentMark;
use crate::model::{Error, Result};

/// Something that is not as it was written.
#[derive(Debug)]
pub(super) struct Found {
    /// The ordinal of its mailbox, if it is of one.
    pub mailbox: Option<i64>,
    /// What is wrong.
    pub what: String,
}

/// Takes what is found; an error ends the check.
pub(super) type Finds<'a> = dyn FnMut(Found) -> Result<()> + 'a;

/// For those who go no further: the first thing found is the error.
pub(super) fn refuse(found: Found) -> Result<()> {
    Err(error_of(found))
}

fn error_of(found: Found) -> Error {
    match found.mailbox {
        Some(mailbox) => damaged(format_args!("mailbox {mailbox}: {}", found.what)),
        None => damaged(found.what),
    }
}

/// Rows of a mailbox, or of all of them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub names: u64,
    pub folders: u64,
    pub batches: u64,
    pub exceptions: u64,
    pub watches: u64,
    pub walked: u64,
    pub chains: u64,
    /// Mailboxes at rest, and their folders and skipped items.
    pub packed: u64,
    /// See `packed`.
    pub folders_at_rest: u64,
    /// See `packed`.
    pub exceptions_at_rest: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: Counts) {
        self.names += other.names;
        self.folders += other.folders;
        self.batches += other.batches;
        self.exceptions += other.exceptions;
        self.watches += other.watches;
        self.walked += other.walked;
        self.chains += other.chains;
        self.packed += other.packed;
        self.folders_at_rest += other.folders_at_rest;
        self.exceptions_at_rest += other.exceptions_at_rest;
    }
}

/// What does not grow with folders or messages: segments, and the mailboxes' own rows, each of which `each` sees.
/// Returns the segments.
///
/// # Errors
/// Those of `finds` and `each`, and of a disk that does not answer.
pub(super) fn top(
    conn: &Connection,
    meta: &Meta,
    finds: &mut Finds<'_>,
    each: &mut dyn FnMut(MailboxRow, &mut Finds<'_>) -> Result<()>,
) -> Result<Vec<SegmentMark>> {
    let none = |what: String| Found { mailbox: None, what };
    let mut segments: Vec<SegmentMark> = Vec::new();
    survey(conn, "TRUE", &[], &mut |what| finds(none(what)), |s| segments.push(s))?;
    if segments.len() != meta.segments as usize || (1u32..).zip(&segments).any(|(n, s)| s.id != n) {
        finds(none("a row of segment is missing".to_owned()))?;
    }
    let mut all: Vec<MailboxRow> = Vec::new();
    let seen = survey(conn, "TRUE", &[], &mut |what| finds(none(what)), |m| all.push(m))?;
    if i64::try_from(seen) != Ok(meta.mailboxes) {
        finds(none("a row of mailbox is missing".to_owned()))?;
    }
    for (m, ordinal) in all.into_iter().zip(1..) {
        let of = |what: &str| Found { mailbox: Some(m.row), what: what.to_owned() };
        if m.row != ordinal && i64::try_from(seen) == Ok(meta.mailboxes) {
            finds(of("the rows of mailbox are not numbered one by one"))?;
        }
        // Through the index of keys: a damaged index would make a mailbox begin anew.
        let found: Result<Vec<MailboxRow>> = list(conn, "key = ?1", &[Value::Text(m.key.clone())]);
        if found.ok().and_then(|f| f.first().map(|f| f.row)) != Some(m.row) {
            finds(of("the index of mailboxes does not fit its table"))?;
        }
        each(m, finds)?;
    }
    Ok(segments)
}

/// Everything in the database. Returns the segments.
///
/// # Errors
/// As [`top`].
pub(super) fn whole(
    conn: &Connection,
    meta: &Meta,
    finds: &mut Finds<'_>,
) -> Result<(Vec<SegmentMark>, Counts)> {
    let last: Vec<SegmentMark> = list(conn, "TRUE", &[]).unwrap_or_default();
    let mut counts = Counts::default();
    let segments = top(conn, meta, finds, &mut |m, finds| {
        counts.add(mailbox(conn, &m, Some(&last), finds)?);
        Ok(())
    })?;
    // Rows of no mailbox, and rows that a search by key passes over.
    fn all<R: Record>(conn: &Connection, seen: u64, finds: &mut Finds<'_>) -> Result<()> {
        let text = format!("SELECT count(*) FROM {} NOT INDEXED", R::TABLE);
        let rows: i64 = match conn.query_row(&text, [], |row| row.get(0)) {
            Err(e) if is_damage(&e) => -1,
            other => other.map_err(sql)?,
        };
        if u64::try_from(rows) == Ok(seen) {
            return Ok(());
        }
        let what = format!("table {} has {rows} rows, {seen} of them are found by mailbox", R::TABLE);
        finds(Found { mailbox: None, what })
    }
    // Those of folders at rest are rows of the same table.
    all::<NameRow>(conn, counts.names + counts.packed, finds)?;
    all::<Folder>(conn, counts.folders, finds)?;
    all::<Batch>(conn, counts.batches, finds)?;
    all::<Exception>(conn, counts.exceptions, finds)?;
    all::<WatchRow>(conn, counts.watches, finds)?;
    all::<WalkedRow>(conn, counts.walked, finds)?;
    all::<Chain>(conn, counts.chains, finds)?;
    all::<PackedRow>(conn, counts.packed, finds)?;
    Ok((segments, counts))
}

/// The rows of one mailbox: each one's seal, and that they add up to what the mailbox's own row says. With the segments,
/// that no folder's facts lie beyond them.
///
/// # Errors
/// As [`top`].
pub(super) fn mailbox(
    conn: &Connection,
    m: &MailboxRow,
    segments: Option<&[SegmentMark]>,
    finds: &mut Finds<'_>,
) -> Result<Counts> {
    rows_of(conn, m, segments, finds).map(|(counts, _)| counts)
}

/// As [`mailbox`], for whoever goes no further than what is as it was written. Gives what a mailbox at rest says: to unpack
/// it is most of the work.
///
/// # Errors
/// `Kind::Ledger`.
pub(super) fn sound(conn: &Connection, m: &MailboxRow) -> Result<Option<Rest>> {
    rows_of(conn, m, None, &mut refuse).map(|(_, rest)| rest)
}

fn rows_of(
    conn: &Connection,
    m: &MailboxRow,
    segments: Option<&[SegmentMark]>,
    finds: &mut Finds<'_>,
) -> Result<(Counts, Option<Rest>)> {
    let own = [Value::Integer(m.row)];
    let of = |what: String| Found { mailbox: Some(m.row), what };
    let mut counts = Counts::default();
    let (mut messages, mut bytes, mut open, mut beyond) = (0u64, 0u64, 0u64, false);
    let (mut with_facts, mut nameless) = (BTreeSet::new(), BTreeSet::from([0u32]));

    let mut folder = |f: &Folder| {
        let copies = f.live.saturating_add(f.orphans);
        messages = messages.saturating_add(copies);
        bytes = bytes.saturating_add(f.bytes);
        nameless.insert(f.folder);
        if copies > 0 {
            with_facts.insert(f.folder);
        }
    };
    let mut chained = BTreeSet::new();
    let mut chain = |c: &Chain| {
        let segment = c.head.segment.checked_sub(1).map(|i| segments.and_then(|all| all.get(i as usize)));
        let within = |s: &SegmentMark| c.head.offset <= s.last;
        beyond |= segment.is_none_or(|s| segments.is_some() && !s.is_some_and(within));
        chained.insert(c.folder);
    };
    let mut named = BTreeSet::new();
    let mut packed = None;
    counts.packed =
        survey(conn, "mailbox = ?1", &own, &mut |what| finds(of(what)), |p: PackedRow| packed = Some(p))?;
    let mut at_rest = None;
    match packed.map(|row| super::packed::unpacked(conn, &row)) {
        Some(Ok(rest)) => {
            rest.folders.iter().for_each(&mut folder);
            rest.chains.iter().for_each(&mut chain);
            named.extend(rest.names.iter().map(|n| n.folder));
            counts.folders_at_rest = rest.folders.len() as u64;
            counts.exceptions_at_rest = rest.skips.len() as u64;
            at_rest = Some(rest);
        }
        Some(Err(error)) => finds(of(error.what))?,
        None => {}
    }
    counts.folders = survey(
        conn,
        "id BETWEEN ?1 AND ?2",
        &folder_range(m.row),
        &mut |what| finds(of(what)),
        |f: Folder| folder(&f),
    )?;
    counts.chains = survey(conn, "mailbox = ?1", &own, &mut |what| finds(of(what)), |c: Chain| chain(&c))?;
    with_facts.retain(|folder| !chained.contains(folder));
    counts.batches = survey(conn, "mailbox = ?1", &own, &mut |what| finds(of(what)), |b: Batch| {
        open += b.items.len() as u64;
    })?;
    counts.exceptions = survey(conn, "mailbox = ?1", &own, &mut |what| finds(of(what)), |_: Exception| {})?;
    counts.watches = survey(conn, "mailbox = ?1", &own, &mut |what| finds(of(what)), |_: WatchRow| {})?;
    // A mailbox without such a row is walked again; one that has it must not be taken for another.
    counts.walked = survey(conn, "mailbox = ?1", &own, &mut |what| finds(of(what)), |_: WalkedRow| {})?;
    counts.names = survey(
        conn,
        &format!("mailbox = ?1 AND folder < {FOLDERS_NAMES}"),
        &own,
        &mut |what| finds(of(what)),
        |n: NameRow| {
            named.insert(n.folder);
        },
    )?;
    nameless.retain(|folder| !named.contains(folder));

    let (folders, skipped) =
        (counts.folders + counts.folders_at_rest, counts.exceptions + counts.exceptions_at_rest);
    let told = [m.folders, m.messages, m.bytes, m.skipped, m.open, m.watched];
    if told != [folders, messages, bytes, skipped, open, counts.watches] {
        finds(of("its rows do not add up".to_owned()))?;
    }
    if beyond {
        finds(of("a folder's facts lie beyond the log".to_owned()))?;
    }
    if !with_facts.is_empty() {
        finds(of("a row of chain is missing".to_owned()))?;
    }
    if !nameless.is_empty() {
        finds(of("a row of name is missing".to_owned()))?;
    }
    Ok((counts, at_rest))
}

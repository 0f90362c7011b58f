//! A mailbox at rest: when a pass ends, its folders, names, chains and skipped items become one compressed row, and rows
//! again with the first change that needs them. A ledger of many mailboxes is small by that, and what a mailbox takes
//! while it is worked on does not matter. Its own row with its counts, open batches and watched stamps stay as they are.
//!
//! Either form says all there is, and in one transaction each becomes the other: whoever reads sees one of them, whole.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::error::{damaged, io};
use super::rest::{Rest, head_in, skips_in};
use super::rows::{get, list, put, remove, remove_all};
use super::tables::{Chain, Exception, FOLDERS_NAMES, Folder, NameRow, PackedNames, PackedRow, folder_key};
use crate::ledger::facts::Head;
use crate::model::Result;

/// The row of a mailbox at rest; `None` if it is not, or is not known.
pub(super) fn row_of(conn: &Connection, mailbox: i64) -> Result<Option<PackedRow>> {
    get(conn, &[Value::Integer(mailbox)])
}

/// Everything of a mailbox that rests, in whichever form it is.
///
/// # Errors
/// `Kind::Ledger`: it cannot be read (damaged).
pub(super) fn rest_of(conn: &Connection, mailbox: i64) -> Result<Rest> {
    match row_of(conn, mailbox)? {
        Some(row) => unpacked(conn, &row),
        None => loose(conn, mailbox),
    }
}

/// What a packed row says.
///
/// # Errors
/// As [`rest_of`].
pub(super) fn unpacked(conn: &Connection, row: &PackedRow) -> Result<Rest> {
    let nonsense = || damaged(format_args!("mailbox {}: a row of packed makes no sense", row.mailbox));
    let mut rest = Rest::decode(row.mailbox, &row.rows).ok_or_else(nonsense)?;
    let names: Option<PackedNames> = get(conn, &names_key(row.mailbox))?;
    let names =
        names.ok_or_else(|| damaged(format_args!("mailbox {}: a row of name is missing", row.mailbox)))?;
    rest.names = Rest::decode_names(row.mailbox, &names.packed).ok_or_else(nonsense)?;
    Ok(rest)
}

/// The newest frame of a folder.
///
/// # Errors
/// As [`rest_of`].
pub(super) fn head_of(conn: &Connection, (mailbox, folder): (i64, u32)) -> Result<Option<Head>> {
    let keys = [Value::Integer(mailbox), Value::Integer(i64::from(folder))];
    match row_of(conn, mailbox)? {
        Some(row) => head_in(&row.rows, folder).ok_or_else(|| damaged("a row of packed makes no sense")),
        None => Ok(get::<Chain>(conn, &keys)?.map(|chain| chain.head)),
    }
}

/// The skipped items of a packed row, by folder and number.
///
/// # Errors
/// As [`rest_of`].
pub(super) fn skips_of(row: &PackedRow) -> Result<Vec<Exception>> {
    skips_in(row.mailbox, &row.rows).ok_or_else(|| damaged("a row of packed makes no sense"))
}

fn loose(conn: &Connection, mailbox: i64) -> Result<Rest> {
    let own = [Value::Integer(mailbox)];
    let mut rest = Rest {
        folders: list(conn, "id BETWEEN ?1 AND ?2", &folder_range(mailbox))?,
        names: list(conn, LOOSE_NAMES, &own)?,
        chains: list(conn, "mailbox = ?1", &own)?,
        skips: list(conn, "mailbox = ?1", &own)?,
    };
    // Numbers are kept by their bits: the database orders the largest of them first.
    rest.skips.sort_by_key(|e| (e.folder, e.skip.number));
    Ok(rest)
}

/// Which rows of `name` are those of single folders.
const LOOSE_NAMES: &str = "mailbox = ?1 AND folder BETWEEN 1 AND 4294967294";

fn names_key(mailbox: i64) -> [Value; 2] {
    [Value::Integer(mailbox), Value::Integer(i64::from(FOLDERS_NAMES))]
}

/// The keys between which the folders of a mailbox lie.
pub(super) fn folder_range(mailbox: i64) -> [Value; 2] {
    [folder_key(mailbox, 0), folder_key(mailbox, u32::MAX)]
}

/// Packs a mailbox. Nothing to do if it is packed already, or has no folders.
///
/// # Errors
/// `Kind::Ledger`.
pub(super) fn pack(conn: &Connection, mailbox: i64) -> Result<()> {
    if row_of(conn, mailbox)?.is_some() {
        return Ok(());
    }
    let rest = loose(conn, mailbox)?;
    if rest.folders.is_empty() {
        return Ok(());
    }
    let failed = |e: std::io::Error| io("a mailbox's rows cannot be packed", &e);
    let rows = rest.encode().map_err(failed)?;
    let names = rest.encode_names().map_err(failed)?;
    let own = [Value::Integer(mailbox)];
    remove_all::<Folder>(conn, "id BETWEEN ?1 AND ?2", &folder_range(mailbox))?;
    remove_all::<NameRow>(conn, LOOSE_NAMES, &own)?;
    remove_all::<Chain>(conn, "mailbox = ?1", &own)?;
    remove_all::<Exception>(conn, "mailbox = ?1", &own)?;
    put(conn, &PackedNames { mailbox, packed: names })?;
    put(conn, &PackedRow { mailbox, rows })
}

/// Makes rows of a packed mailbox again. Nothing to do if it is not packed.
///
/// # Errors
/// `Kind::Ledger`: also if it cannot be read (damaged).
pub(super) fn unpack(conn: &Connection, mailbox: i64) -> Result<()> {
    let Some(row) = row_of(conn, mailbox)? else { return Ok(()) };
    let rest = unpacked(conn, &row)?;
    remove::<PackedRow>(conn, &[Value::Integer(mailbox)])?;
    remove::<PackedNames>(conn, &names_key(mailbox))?;
    rest.folders.iter().try_for_each(|one| put(conn, one))?;
    rest.names.iter().try_for_each(|one| put(conn, one))?;
    rest.chains.iter().try_for_each(|one| put(conn, one))?;
    rest.skips.iter().try_for_each(|one| put(conn, one))
}

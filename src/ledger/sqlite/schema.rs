//! The database's schema, its versions, and how a connection is set up.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::{damaged, io, sql};
use crate::model::{Error, Kind, Result, Scope};

/// `MWLG`: marks the file as a ledger (`PRAGMA application_id`).
pub(super) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"MWLG");
/// How long to wait for another program that holds the database, before giving up.
const BUSY: Duration = Duration::from_secs(10);

/// Tables whose size does not depend on folders or messages.
const SMALL: [&str; 3] = ["meta", "mailbox", "segment"];

/// Step `n` turns version `n` into `n + 1`. Never edit a step that was released: add one.
const STEPS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3];

/// `name` is the one table with personal data (addresses, folder names); everything else carries pseudonyms and
/// ordinals. There is one row a mailbox, one a folder, one an open batch; messages have rows only when skipped or
/// watched. (Since version 3 a mailbox at rest has one row for its folders and skipped messages.)
const VERSION_1: &str = "
CREATE TABLE meta (
    id INTEGER PRIMARY KEY,
    ledger INTEGER NOT NULL,
    source_name TEXT NOT NULL,
    config TEXT NOT NULL,
    groups INTEGER NOT NULL,
    mailboxes INTEGER NOT NULL,
    segments INTEGER NOT NULL,
    next_batch INTEGER NOT NULL,
    seal INTEGER NOT NULL
) STRICT;
CREATE TABLE mailbox (
    row INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    fence INTEGER NOT NULL,
    target_identity TEXT,
    state TEXT NOT NULL,
    passes INTEGER NOT NULL,
    error TEXT,
    last TEXT,
    next_folder INTEGER NOT NULL,
    folders INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    open INTEGER NOT NULL,
    watched INTEGER NOT NULL,
    lossy INTEGER NOT NULL,
    seal INTEGER NOT NULL
) STRICT;
CREATE TABLE name (
    mailbox INTEGER NOT NULL REFERENCES mailbox (row),
    folder INTEGER NOT NULL,
    names TEXT NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (mailbox, folder)
) STRICT, WITHOUT ROWID;
CREATE TABLE folder (
    id INTEGER PRIMARY KEY,
    mailbox INTEGER NOT NULL REFERENCES mailbox (row),
    special TEXT,
    object_id TEXT,
    epoch INTEGER NOT NULL,
    target_folder TEXT NOT NULL,
    done BLOB NOT NULL,
    flags BLOB NOT NULL,
    live INTEGER NOT NULL,
    orphans INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    next_number INTEGER NOT NULL,
    uidnext INTEGER NOT NULL,
    modseq INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    mark TEXT NOT NULL,
    missing INTEGER NOT NULL,
    seal INTEGER NOT NULL
) STRICT;
CREATE TABLE open_batch (
    mailbox INTEGER NOT NULL REFERENCES mailbox (row),
    batch INTEGER NOT NULL,
    folder INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    since INTEGER NOT NULL,
    anchor TEXT NOT NULL,
    items BLOB NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (mailbox, batch)
) STRICT, WITHOUT ROWID;
CREATE TABLE exception (
    mailbox INTEGER NOT NULL REFERENCES mailbox (row),
    folder INTEGER NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    size INTEGER,
    received INTEGER,
    seal INTEGER NOT NULL,
    PRIMARY KEY (mailbox, folder, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE watch (
    mailbox INTEGER NOT NULL REFERENCES mailbox (row),
    stamp TEXT NOT NULL,
    target_folder TEXT NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    anchor TEXT NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (mailbox, stamp)
) STRICT, WITHOUT ROWID;
CREATE TABLE chain (
    mailbox INTEGER NOT NULL REFERENCES mailbox (row),
    folder INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    at INTEGER NOT NULL,
    hash BLOB NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (mailbox, folder)
) STRICT, WITHOUT ROWID;
CREATE TABLE segment (
    id INTEGER PRIMARY KEY,
    length INTEGER NOT NULL,
    last INTEGER NOT NULL,
    hash BLOB NOT NULL,
    seal INTEGER NOT NULL
) STRICT;
";

/// Which pass of its wave a mailbox was walked in last.
const VERSION_2: &str = "
CREATE TABLE walked (
    mailbox INTEGER PRIMARY KEY REFERENCES mailbox (row),
    wave TEXT NOT NULL,
    pass INTEGER NOT NULL,
    last INTEGER NOT NULL,
    complete INTEGER NOT NULL,
    seal INTEGER NOT NULL
) STRICT;
";

/// Mailboxes at rest: one row each, and their folders' names beside all other names.
const VERSION_3: &str = "
CREATE TABLE packed (
    mailbox INTEGER PRIMARY KEY REFERENCES mailbox (row),
    rows BLOB NOT NULL,
    seal INTEGER NOT NULL
) STRICT;
ALTER TABLE name ADD COLUMN packed BLOB;
";

/// Makes a new, empty database beside its place and moves it there whole. `fill` writes its first rows.
pub(super) fn create(path: &Path, fill: impl FnOnce(&Connection) -> Result<()>) -> Result<()> {
    let draft = path.with_extension("new");
    for leftover in [draft.clone(), path.with_extension("new-wal"), path.with_extension("new-shm")] {
        match std::fs::remove_file(leftover) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(io("the ledger cannot be made", &e));
            }
            _ => {}
        }
    }
    private_file(&draft).map_err(|e| io("the ledger cannot be made", &e))?;
    let conn = Connection::open_with_flags(&draft, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(sql)?;
    set_up(&conn)?;
    conn.pragma_update(None, "application_id", APPLICATION_ID).map_err(sql)?;
    migrate(&conn, 0, STEPS)?;
    fill(&conn)?;
    conn.close().map_err(|(_, e)| sql(e))?;
    let placed = std::fs::rename(&draft, path).and_then(|()| match path.parent() {
        #[cfg(unix)]
        Some(dir) => std::fs::File::open(dir)?.sync_all(),
        _ => Ok(()),
    });
    placed.map_err(|e| io("the ledger cannot be made", &e))
}

/// Opens the database for writing and brings it to the newest version. `whole`: all of it is looked through first; else
/// only the tables whose size does not depend on folders or messages.
pub(super) fn open_writer(path: &Path, whole: bool) -> Result<Connection> {
    look_at_header(path)?;
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(sql)?;
    // Whoever opens the ledger and then refuses it must not tidy its write-ahead log away.
    keep_log_on_close(&conn, true)?;
    let version = version_of(&conn)?;
    set_up(&conn)?;
    match whole {
        true => quick_check(&conn, "1")?,
        false => SMALL.iter().try_for_each(|table| quick_check(&conn, table))?,
    }
    migrate(&conn, version, STEPS)?;
    Ok(conn)
}

/// Opens the database for reading only, also beside a writer.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    look_at_header(path)?;
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(sql)?;
    conn.busy_timeout(BUSY).map_err(sql)?;
    keep_log_on_close(&conn, true)?;
    keep_statements(&conn)?;
    if version_of(&conn)? < STEPS.len() {
        let what = "the ledger is of an earlier version of mailwave";
        return Err(Error::new(Kind::Ledger, Scope::Run, what).remedy("`mailwave run` upgrades it"));
    }
    Ok(conn)
}

fn set_up(conn: &Connection) -> Result<()> {
    conn.busy_timeout(BUSY).map_err(sql)?;
    let mode: String =
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(sql)?;
    if mode != "wal" {
        let what = "the ledger's file system does not support what SQLite needs (write-ahead log)";
        return Err(Error::new(Kind::Ledger, Scope::Run, what).remedy("put the ledger on a local disk"));
    }
    for (pragma, value) in [
        ("synchronous", "FULL"),
        ("foreign_keys", "ON"),
        ("trusted_schema", "OFF"),
        ("cell_size_check", "ON"),
    ] {
        conn.pragma_update(None, pragma, value).map_err(sql)?;
    }
    keep_statements(conn)
}

/// Statements are prepared once. Without QPSG those with a range or a bound parameter in an index are prepared anew whenever
/// another value is bound, in case its statistics speak for another plan; there are none, and it takes longer than the search.
fn keep_statements(conn: &Connection) -> Result<()> {
    conn.set_prepared_statement_cache_capacity(256);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop).map_err(sql)
}

/// The schema's version, if this is a ledger and one we know.
fn version_of(conn: &Connection) -> Result<usize> {
    let id: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(sql)?;
    if id != APPLICATION_ID {
        return Err(damaged("ledger.db is not a ledger of mailwave"));
    }
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sql)?;
    match usize::try_from(version) {
        Ok(version) if version <= STEPS.len() => Ok(version),
        _ => {
            let what = format!(
                "the ledger has schema version {version}, this mailwave knows versions up to {}",
                STEPS.len()
            );
            Err(Error::new(Kind::Ledger, Scope::Run, what)
                .remedy("use the mailwave that wrote it, or a later one"))
        }
    }
}

/// Whether closing the last connection leaves the write-ahead log as it is (else it is moved into the database and
/// removed).
pub(super) fn keep_log_on_close(conn: &Connection, keep: bool) -> Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop).map_err(sql)
}

/// All steps from `version` on, in one transaction.
fn migrate(conn: &Connection, version: usize, steps: &[&str]) -> Result<()> {
    if version >= steps.len() {
        return Ok(());
    }
    let transaction = conn.unchecked_transaction().map_err(sql)?;
    for step in steps.iter().skip(version) {
        transaction.execute_batch(step).map_err(sql)?;
    }
    transaction.pragma_update(None, "user_version", steps.len() as i64).map_err(sql)?;
    transaction.commit().map_err(sql)
}

/// What SQLite itself can find wrong: malformed pages, missing rows of an index. Of all tables (`what` says how many
/// finds are wanted) or of the one `what` names.
fn quick_check(conn: &Connection, what: &str) -> Result<()> {
    let text = format!("PRAGMA quick_check({what})");
    let found: String = conn.query_row(&text, [], |row| row.get(0)).map_err(sql)?;
    if found == "ok" { Ok(()) } else { Err(damaged("its database does not pass SQLite's quick_check")) }
}

/// A file that is not even the beginning of a database is refused before SQLite would make a new one of it.
fn look_at_header(path: &Path) -> Result<()> {
    use std::io::Read;
    let mut header = [0; 16];
    let mut file = std::fs::File::open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::new(Kind::NotFound, Scope::Run, "there is no ledger here")
            .remedy("`mailwave run` makes one; or name the directory of an existing one"),
        _ => io("the ledger cannot be opened", &e),
    })?;
    match file.read_exact(&mut header) {
        Ok(()) if header == *b"SQLite format 3\0" => Ok(()),
        _ => Err(damaged("ledger.db is empty or not a database")),
    }
}

/// Makes a file nobody else may read; SQLite gives its side files the same mode.
fn private_file(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(conn: &Connection) -> i64 {
        conn.pragma_query_value(None, "user_version", |row| row.get(0)).expect("readable")
    }

    #[test]
    fn an_older_version_is_brought_up_whole_or_stays_as_it_was() {
        let conn = Connection::open_in_memory().expect("memory");
        migrate(&conn, 0, &["CREATE TABLE a (x)"]).expect("one step");
        assert_eq!(version(&conn), 1);

        let broken = ["CREATE TABLE a (x)", "CREATE TABLE b (x)", "ALTER TABLE nothing ADD y"];
        assert!(migrate(&conn, 1, &broken).is_err());
        assert_eq!(version(&conn), 1);
        assert!(conn.prepare("SELECT x FROM b").is_err(), "the good step was undone with the bad one");

        let good = [broken[0], broken[1], "ALTER TABLE a ADD y"];
        migrate(&conn, 1, &good).expect("two steps");
        assert_eq!(version(&conn), 3);
        conn.prepare("SELECT y FROM a, b").expect("both steps");
        migrate(&conn, 3, &good).expect("nothing to do");
    }

    #[test]
    fn every_released_step_applies_in_order() {
        let conn = Connection::open_in_memory().expect("memory");
        for n in 1..=STEPS.len() {
            migrate(&conn, n - 1, &STEPS[..n]).expect("a released step");
            assert_eq!(version(&conn), n as i64);
        }
    }

    /// The statements of a step, one by one. None of them holds a semicolon but at its end.
    fn statements(step: &str) -> Vec<String> {
        let parts = step.split_inclusive(';').map(str::trim);
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn an_upgrade_cut_at_any_statement_leaves_the_earlier_version_which_the_next_start_brings_up() {
        for version in 0..STEPS.len() {
            let all: Vec<String> = STEPS[version..].iter().flat_map(|step| statements(step)).collect();
            assert!(!all.is_empty());
            for done in 0..=all.len() {
                let home = tempfile::tempdir().expect("a directory");
                let at = |name: &str| home.path().join(name);
                let conn = Connection::open(at("a.db")).expect("a database");
                set_up(&conn).expect("its modes");
                conn.pragma_update(None, "application_id", APPLICATION_ID).expect("its mark");
                migrate(&conn, 0, &STEPS[..version]).expect("the earlier version");
                // Everything written goes to the files at once, as if memory were short.
                conn.pragma_update(None, "cache_size", 1).expect("little memory");
                conn.execute_batch("BEGIN IMMEDIATE").expect("the upgrade begins");
                all[..done].iter().for_each(|one| conn.execute_batch(one).expect("a statement"));
                // The process is killed: the files are what they are now.
                for name in ["a.db", "a.db-wal"] {
                    let copy = at(&name.replace("a.db", "b.db"));
                    std::fs::copy(at(name), copy).expect("the files stay");
                }
                let after = Connection::open(at("b.db")).expect("it opens");
                assert_eq!(super::version_of(&after).expect("a ledger"), version, "{done} statements done");
                migrate(&after, version, STEPS).expect("the whole upgrade");
                assert_eq!(super::version_of(&after).expect("a ledger"), STEPS.len());
                after.prepare("SELECT rows FROM packed").expect("the newest table");
                quick_check(&after, "1").expect("sound");
            }
        }
    }
}

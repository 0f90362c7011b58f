//! SQLite's and the file system's errors, as an operator can act on them.

use rusqlite::ErrorCode;

use crate::ledger::RESTORE;
use crate::model::{Error, Kind, Scope};

/// What a full disk needs.
const NO_SPACE: &str =
    "free space on the ledger's disk (about 100 bytes for each message still to be moved) and run again";

/// An error of SQLite. Its own text may quote values, so it is not passed on.
pub(super) fn sql(error: rusqlite::Error) -> Error {
    let code = error.sqlite_error_code();
    let (what, remedy) = match code {
        Some(ErrorCode::DiskFull) => ("there is no space left for the ledger", NO_SPACE),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            ("the ledger is locked by another program", "close the program that uses ledger.db and run again")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => (
            "the ledger cannot be opened or written",
            "look at the rights of the ledger directory and its files",
        ),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SchemaChanged) => {
            return damaged("its database is malformed");
        }
        Some(ErrorCode::SystemIoFailure) => {
            ("the ledger's disk reported an error", "look at the system log and the disk, then run again")
        }
        _ => {
            let number = error.sqlite_error().map_or(0, |e| e.extended_code);
            let what = format!("the ledger's database refused an operation (SQLite code {number})");
            return Error::new(Kind::Ledger, Scope::Run, what).remedy(RESTORE);
        }
    };
    Error::new(Kind::Ledger, Scope::Run, what).remedy(remedy)
}

/// An error of the file system, on the thing named.
pub(super) fn io(what: &str, error: &std::io::Error) -> Error {
    use std::io::ErrorKind::{
        FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    let remedy = match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => NO_SPACE,
        PermissionDenied | ReadOnlyFilesystem => "look at the rights of the ledger directory and its files",
        _ => "look at the system log and the disk, then run again",
    };
    // Some have no name in the standard library, an error of the disk among them.
    let told = match error.kind().to_string() {
        nameless if nameless == "uncategorized error" => {
            format!("system error {}", error.raw_os_error().unwrap_or(0))
        }
        named => named,
    };
    Error::new(Kind::Ledger, Scope::Run, format!("{what}: {told}")).remedy(remedy)
}

/// What is stored cannot be trusted.
pub(super) fn damaged(what: impl std::fmt::Display) -> Error {
    Error::new(Kind::Ledger, Scope::Run, format!("the ledger is damaged ({what})")).remedy(RESTORE)
}

/// A change that no correct engine makes: refused, and nothing is changed.
pub(super) fn internal(what: &str) -> Error {
    Error::new(Kind::Internal, Scope::Mailbox, format!("refused by the ledger: {what}"))
}

/// A claim that a later one made powerless.
pub(super) fn stale(row: i64) -> Error {
    Error::new(Kind::Ledger, Scope::Mailbox, format!("mailbox {row}: a later claim took it over"))
        .remedy("nothing to do: whoever took the mailbox over goes on with it")
}

//! The rows of the tables, as the code sees them.

mod facts;
mod folder;
mod mailbox;
mod open;

use rusqlite::types::Value;

use super::rows::{Fields, Record, number};

pub(super) use self::facts::Chain;
pub(super) use self::folder::{Folder, folder_key, special_code, special_from_code};
pub(super) use self::mailbox::{FOLDERS_NAMES, MailboxRow, NameRow, PackedNames, PackedRow, WalkedRow};
pub(super) use self::open::{Batch, Exception, WatchRow};

/// The ledger itself: one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meta {
    /// Drawn once: binds the facts segments to this database.
    pub ledger: u64,
    pub source_name: String,
    pub config: String,
    /// Group commits so far.
    pub groups: u64,
    /// Rows of `mailbox`; the rows are numbered from 1 without holes.
    pub mailboxes: i64,
    /// Rows of `segment`.
    pub segments: u32,
    pub next_batch: i64,
}

impl Record for Meta {
    const TABLE: &'static str = "meta";
    const COLUMNS: &'static [&'static str] =
        &["id", "ledger", "source_name", "config", "groups", "mailboxes", "segments", "next_batch"];
    const KEYS: usize = 1;

    fn values(&self) -> Vec<Value> {
        vec![
            Value::Integer(1),
            number(self.ledger),
            Value::Text(self.source_name.clone()),
            Value::Text(self.config.clone()),
            number(self.groups),
            Value::Integer(self.mailboxes),
            Value::Integer(i64::from(self.segments)),
            Value::Integer(self.next_batch),
        ]
    }

    fn read(fields: &mut Fields) -> Option<Self> {
        fields.int().filter(|id| *id == 1)?;
        Some(Meta {
            ledger: fields.number()?,
            source_name: fields.text()?,
            config: fields.text()?,
            groups: fields.number()?,
            mailboxes: fields.int()?,
            segments: fields.small()?,
            next_batch: fields.int()?,
        })
    }
}

//! The rows of a mailbox as a whole: its counts, names, the pass it was walked in, and what it is while at rest.

use rusqlite::types::Value;

use crate::ledger::Walked;
use crate::ledger::sqlite::rows::{Fields, Record, number};

/// One mailbox, with counts of what its other rows say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger::sqlite) struct MailboxRow {
    pub row: i64,
    pub key: String,
    pub fence: u64,
    pub target_identity: Option<String>,
    pub state: String,
    pub passes: u64,
    pub error: Option<String>,
    /// The last pass's summary, JSON.
    pub last: Option<String>,
    /// The next folder id. Ids are never given twice, also not after starting over: stamps carry them.
    pub next_folder: u32,
    pub folders: u64,
    /// Live copies and their octets.
    pub messages: u64,
    pub bytes: u64,
    /// Rows of `exception`.
    pub skipped: u64,
    /// Items of open batches.
    pub open: u64,
    /// Rows of `watch`.
    pub watched: u64,
    /// Copies made with a declared loss, ever since the mailbox was begun.
    pub lossy: u64,
}

impl Record for MailboxRow {
    const TABLE: &'static str = "mailbox";
    const COLUMNS: &'static [&'static str] = &[
        "row",
        "key",
        "fence",
        "target_identity",
        "state",
        "passes",
        "error",
        "last",
        "next_folder",
        "folders",
        "messages",
        "bytes",
        "skipped",
        "open",
        "watched",
        "lossy",
    ];
    const KEYS: usize = 1;

    fn values(&self) -> Vec<Value> {
        vec![
            Value::Integer(self.row),
            Value::Text(self.key.clone()),
            number(self.fence),
            self.target_identity.clone().into(),
            Value::Text(self.state.clone()),
            number(self.passes),
            self.error.clone().into(),
            self.last.clone().into(),
            Value::Integer(i64::from(self.next_folder)),
            number(self.folders),
            number(self.messages),
            number(self.bytes),
            number(self.skipped),
            number(self.open),
            number(self.watched),
            number(self.lossy),
        ]
    }

    fn read(fields: &mut Fields) -> Option<Self> {
        Some(MailboxRow {
            row: fields.int()?,
            key: fields.text()?,
            fence: fields.number()?,
            target_identity: fields.text_or_null()?,
            state: fields.text()?,
            passes: fields.number()?,
            error: fields.text_or_null()?,
            last: fields.text_or_null()?,
            next_folder: fields.small()?,
            folders: fields.number()?,
            messages: fields.number()?,
            bytes: fields.number()?,
            skipped: fields.number()?,
            open: fields.number()?,
            watched: fields.number()?,
            lossy: fields.number()?,
        })
    }
}

/// Names of people and folders: the one table with personal data. Folder 0 is the mailbox itself, with its names at
/// source and target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger::sqlite) struct NameRow {
    pub mailbox: i64,
    pub folder: u32,
    pub names: Vec<String>,
}

impl Record for NameRow {
    const TABLE: &'static str = "name";
    const COLUMNS: &'static [&'static str] = &["mailbox", "folder", "names"];
    const KEYS: usize = 2;

    fn values(&self) -> Vec<Value> {
        let names = serde_json::Value::from(self.names.clone()).to_string();
        vec![Value::Integer(self.mailbox), Value::Integer(i64::from(self.folder)), Value::Text(names)]
    }

    fn read(fields: &mut Fields) -> Option<Self> {
        Some(NameRow {
            mailbox: fields.int()?,
            folder: fields.small()?,
            names: serde_json::from_str(&fields.text()?).ok()?,
        })
    }
}

/// Stands for all folders in a row of `name`: no folder has this id, for the one after it could not be given.
pub(in crate::ledger::sqlite) const FOLDERS_NAMES: u32 = u32::MAX;

/// The names of all folders of a mailbox at rest: a row of `name` too, see [`rest`](crate::ledger::sqlite::rest).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger::sqlite) struct PackedNames {
    pub mailbox: i64,
    pub packed: Vec<u8>,
}

impl Record for PackedNames {
    const TABLE: &'static str = "name";
    const COLUMNS: &'static [&'static str] = &["mailbox", "folder", "names", "packed"];
    const KEYS: usize = 2;

    fn values(&self) -> Vec<Value> {
        vec![
            Value::Integer(self.mailbox),
            Value::Integer(i64::from(FOLDERS_NAMES)),
            Value::Text(String::new()),
            Value::Blob(self.packed.clone()),
        ]
    }

    fn read(fields: &mut Fields) -> Option<Self> {
        let mailbox = fields.int()?;
        fields.small().filter(|folder| *folder == FOLDERS_NAMES)?;
        fields.text()?;
        Some(PackedNames { mailbox, packed: fields.blob()? })
    }
}

/// A mailbox at rest, see [`packed`](crate::ledger::sqlite::packed).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger::sqlite) struct PackedRow {
    pub mailbox: i64,
    pub rows: Vec<u8>,
}

impl Record for PackedRow {
    const TABLE: &'static str = "packed";
    const COLUMNS: &'static [&'static str] = &["mailbox", "rows"];
    const KEYS: usize = 1;

    fn values(&self) -> Vec<Value> {
        vec![Value::Integer(self.mailbox), Value::Blob(self.rows.clone())]
    }

    fn read(fields: &mut Fields) -> Option<Self> {
        Some(PackedRow { mailbox: fields.int()?, rows: fields.blob()? })
    }
}

/// The pass of its wave that a mailbox was walked in last.
pub(in crate::ledger::sqlite) struct WalkedRow {
    pub mailbox: i64,
    pub walked: Walked,
}

impl Record for WalkedRow {
    const TABLE: &'static str = "walked";
    const COLUMNS: &'static [&'static str] = &["mailbox", "wave", "pass", "last", "complete"];
    const KEYS: usize = 1;

    fn values(&self) -> Vec<Value> {
        vec![
            Value::Integer(self.mailbox),
            Value::Text(self.walked.wave.clone()),
            number(self.walked.pass),
            Value::Integer(i64::from(self.walked.last)),
            Value::Integer(i64::from(self.walked.complete)),
        ]
    }

    fn read(fields: &mut Fields) -> Option<Self> {
        Some(WalkedRow {
            mailbox: fields.int()?,
            walked: Walked {
                wave: fields.text()?,
                pass: fields.number()?,
                last: fields.int()? != 0,
                complete: fields.int()? != 0,
            },
        })
    }
}

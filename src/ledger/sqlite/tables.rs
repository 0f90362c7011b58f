//! The rows of the tables, as the code sees them.

use rusqlite::types::Value;

use super::items::{decode_items, encode_items};
use super::rows::{Fields, Record, number};
use crate::ledger::{IntentItem, Walked};
use crate::model::{FlagMap, RunSet, Skip, SkipReason, SpecialUse};

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

/// One mailbox, with counts of what its other rows say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MailboxRow {
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
pub(super) struct NameRow {
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
pub(super) const FOLDERS_NAMES: u32 = u32::MAX;

/// The names of all folders of a mailbox at rest: a row of `name` too, see [`super::rest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PackedNames {
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

/// A mailbox at rest, see [`super::packed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PackedRow {
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

/// A folder's key: mailbox and folder in one number, so that a mailbox's folders lie together.
pub(super) fn folder_key(mailbox: i64, folder: u32) -> Value {
    Value::Integer((mailbox << 32) | i64::from(folder))
}

/// One folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder {
    pub mailbox: i64,
    pub folder: u32,
    pub special: Option<SpecialUse>,
    pub object_id: Option<String>,
    pub epoch: u64,
    pub target_folder: String,
    pub done: RunSet,
    /// Has an entry for exactly the live messages of this epoch.
    pub flags: FlagMap,
    pub live: u64,
    pub orphans: u64,
    /// Octets of live and orphaned copies.
    pub bytes: u64,
    pub next_number: u64,
    pub uidnext: u64,
    pub modseq: u64,
    pub messages: u64,
    pub mark: String,
    pub missing: bool,
}

impl Record for Folder {
    const TABLE: &'static str = "folder";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "mailbox",
        "special",
        "object_id",
        "epoch",
        "target_folder",
        "done",
        "flags",
        "live",
        "orphans",
        "bytes",
        "next_number",
        "uidnext",
        "modseq",
        "messages",
        "mark",
        "missing",
    ];
    const KEYS: usize = 1;

    fn values(&self) -> Vec<Value> {
        vec![
            folder_key(self.mailbox, self.folder),
            Value::Integer(self.mailbox),
            self.special.map(|s| special_word(s).to_owned()).into(),
            self.object_id.clone().into(),
            number(self.epoch),
            Value::Text(self.target_folder.clone()),
            Value::Blob(self.done.encode()),
            Value::Blob(self.flags.encode()),
            number(self.live),
            number(self.orphans),
            number(self.bytes),
            number(self.next_number),
            number(self.uidnext),
            number(self.modseq),
            number(self.messages),
            Value::Text(self.mark.clone()),
            Value::Integer(i64::from(self.missing)),
        ]
    }

    fn read(fields: &mut Fields) -> Option<Self> {
        let id = fields.int()?;
        let mailbox = fields.int().filter(|mailbox| *mailbox == id >> 32)?;
        Some(Folder {
            mailbox,
            folder: u32::try_from(id & 0xffff_ffff).ok()?,
            special: match fields.text_or_null()? {
                Some(word) => Some(special_from_word(&word)?),
                None => None,
            },
            object_id: fields.text_or_null()?,
            epoch: fields.number()?,
            target_folder: fields.text()?,
            done: RunSet::decode(&fields.blob()?)?,
            flags: FlagMap::decode(&fields.blob()?)?,
            live: fields.number()?,
            orphans: fields.number()?,
            bytes: fields.number()?,
            next_number: fields.number()?,
            uidnext: fields.number()?,
            modseq: fields.number()?,
            messages: fields.number()?,
            mark: fields.text()?,
            missing: fields.int()? != 0,
        })
    }
}

/// Their places are kept too: a new one is added at the end.
const SPECIALS: [(SpecialUse, &str); 8] = [
    (SpecialUse::Inbox, "inbox"),
    (SpecialUse::Archive, "archive"),
    (SpecialUse::Drafts, "drafts"),
    (SpecialUse::Junk, "junk"),
    (SpecialUse::Sent, "sent"),
    (SpecialUse::Trash, "trash"),
    (SpecialUse::All, "all"),
    (SpecialUse::Flagged, "flagged"),
];

/// A role as a small number; 0 for none.
pub(super) fn special_code(special: Option<SpecialUse>) -> u8 {
    let at = special.and_then(|special| SPECIALS.iter().position(|(s, _)| *s == special));
    at.map_or(0, |at| at as u8 + 1)
}

/// What [`special_code`] was given; the outer `None`: no role has this number.
pub(super) fn special_from_code(code: u8) -> Option<Option<SpecialUse>> {
    match usize::from(code).checked_sub(1) {
        None => Some(None),
        Some(at) => SPECIALS.get(at).map(|(special, _)| Some(*special)),
    }
}

fn special_word(special: SpecialUse) -> &'static str {
    SPECIALS.iter().find(|(s, _)| *s == special).map_or("", |(_, word)| word)
}

fn special_from_word(word: &str) -> Option<SpecialUse> {
    SPECIALS.iter().find(|(_, w)| *w == word).map(|(s, _)| *s)
}

/// One open batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub mailbox: i64,
    pub batch: i64,
    pub folder: u32,
    pub epoch: u64,
    pub since: i64,
    pub anchor: String,
    pub items: Vec<IntentItem>,
}

impl Record for Batch {
    const TABLE: &'static str = "open_batch";
    const COLUMNS: &'static [&'static str] =
        &["mailbox", "batch", "folder", "epoch", "since", "anchor", "items"];
    const KEYS: usize = 2;

    fn values(&self) -> Vec<Value> {
        vec![
            Value::Integer(self.mailbox),
            Value::Integer(self.batch),
            Value::Integer(i64::from(self.folder)),
            number(self.epoch),
            Value::Integer(self.since),
            Value::Text(self.anchor.clone()),
            Value::Blob(encode_items(&self.items)),
        ]
    }

    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Batch {
            mailbox: fields.int()?,
            batch: fields.int()?,
            folder: fields.small()?,
            epoch: fields.number()?,
            since: fields.int()?,
            anchor: fields.text()?,
            items: decode_items(&fields.blob()?)?,
        })
    }
}

/// One skipped message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exception {
    pub mailbox: i64,
    pub folder: u32,
    pub skip: Skip,
}

impl Record for Exception {
    const TABLE: &'static str = "exception";
    const COLUMNS: &'static [&'static str] =
        &["mailbox", "folder", "number", "name", "reason", "detail", "size", "received"];
    const KEYS: usize = 3;

    fn values(&self) -> Vec<Value> {
        let skip = &self.skip;
        vec![
            Value::Integer(self.mailbox),
            Value::Integer(i64::from(self.folder)),
            number(skip.number),
            Value::Text(skip.name.clone()),
            Value::Text(skip.reason.word().to_owned()),
            Value::Text(skip.detail.clone()),
            skip.size.map_or(Value::Null, number),
            skip.received.into(),
        ]
    }

    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Exception {
            mailbox: fields.int()?,
            folder: fields.small()?,
            skip: Skip {
                number: fields.number()?,
                name: fields.text()?,
                reason: SkipReason::from_word(&fields.text()?)?,
                detail: fields.text()?,
                size: fields.int_or_null()?.map(i64::cast_unsigned),
                received: fields.int_or_null()?,
            },
        })
    }
}

/// One watched stamp.
pub(super) struct WatchRow {
    pub mailbox: i64,
    pub stamp: String,
    pub target_folder: String,
    pub since: i64,
    pub until: i64,
    pub anchor: String,
}

impl Record for WatchRow {
    const TABLE: &'static str = "watch";
    const COLUMNS: &'static [&'static str] =
        &["mailbox", "stamp", "target_folder", "since", "until", "anchor"];
    const KEYS: usize = 2;

    fn values(&self) -> Vec<Value> {
        vec![
            Value::Integer(self.mailbox),
            Value::Text(self.stamp.clone()),
            Value::Text(self.target_folder.clone()),
            Value::Integer(self.since),
            Value::Integer(self.until),
            Value::Text(self.anchor.clone()),
        ]
    }

    fn read(fields: &mut Fields) -> Option<Self> {
        Some(WatchRow {
            mailbox: fields.int()?,
            stamp: fields.text()?,
            target_folder: fields.text()?,
            since: fields.int()?,
            until: fields.int()?,
            anchor: fields.text()?,
        })
    }
}

/// The pass of its wave that a mailbox was walked in last.
pub(super) struct WalkedRow {
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

/// The newest frame of a folder in the facts log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub mailbox: i64,
    pub folder: u32,
    pub head: crate::ledger::facts::Head,
}

impl Record for Chain {
    const TABLE: &'static str = "chain";
    const COLUMNS: &'static [&'static str] = &["mailbox", "folder", "segment", "at", "hash"];
    const KEYS: usize = 2;

    fn values(&self) -> Vec<Value> {
        vec![
            Value::Integer(self.mailbox),
            Value::Integer(i64::from(self.folder)),
            Value::Integer(i64::from(self.head.segment)),
            number(self.head.offset),
            Value::Blob(self.head.hash.to_vec()),
        ]
    }

    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Chain {
            mailbox: fields.int()?,
            folder: fields.small()?,
            head: crate::ledger::facts::Head {
                segment: fields.small()?,
                offset: fields.number()?,
                hash: fields.blob()?.try_into().ok()?,
            },
        })
    }
}

impl Record for crate::ledger::facts::SegmentMark {
    const TABLE: &'static str = "segment";
    const COLUMNS: &'static [&'static str] = &["id", "length", "last", "hash"];
    const KEYS: usize = 1;

    fn values(&self) -> Vec<Value> {
        vec![
            Value::Integer(i64::from(self.id)),
            number(self.length),
            number(self.last),
            Value::Blob(self.hash.to_vec()),
        ]
    }

    fn read(fields: &mut Fields) -> Option<Self> {
        Some(crate::ledger::facts::SegmentMark {
            id: fields.small()?,
            length: fields.number()?,
            last: fields.number()?,
            hash: fields.blob()?.try_into().ok()?,
        })
    }
}

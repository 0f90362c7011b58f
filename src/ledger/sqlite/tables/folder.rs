//! The row of a folder, and roles as they are kept.

use rusqlite::types::Value;

use crate::ledger::sqlite::rows::{Fields, Record, number};
use crate::model::{FlagMap, RunSet, SpecialUse};

/// A folder's key: mailbox and folder in one number, so that a mailbox's folders lie together.
pub(in crate::ledger::sqlite) fn folder_key(mailbox: i64, folder: u32) -> Value {
    Value::Integer((mailbox << 32) | i64::from(folder))
}

/// One folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger::sqlite) struct Folder {
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
pub(in crate::ledger::sqlite) fn special_code(special: Option<SpecialUse>) -> u8 {
    let at = special.and_then(|special| SPECIALS.iter().position(|(s, _)| *s == special));
    at.map_or(0, |at| at as u8 + 1)
}

/// What [`special_code`] was given; the outer `None`: no role has this number.
pub(in crate::ledger::sqlite) fn special_from_code(code: u8) -> Option<Option<SpecialUse>> {
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

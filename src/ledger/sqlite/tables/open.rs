//! Rows of what is not settled: open batches, skipped messages, watched stamps.

use rusqlite::types::Value;

use crate::ledger::IntentItem;
use crate::ledger::sqlite::items::{decode_items, encode_items};
use crate::ledger::sqlite::rows::{Fields, Record, number};
use crate::model::{Skip, SkipReason};

/// One open batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger::sqlite) struct Batch {
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
pub(in crate::ledger::sqlite) struct Exception {
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
pub(in crate::ledger::sqlite) struct WatchRow {
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

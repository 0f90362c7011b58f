//! Rows that lead to the facts log: the newest frame of each folder, and how far its segments reach.

use rusqlite::types::Value;

use crate::ledger::facts::{Head, SegmentMark};
use crate::ledger::sqlite::rows::{Fields, Record, number};

/// The newest frame of a folder in the facts log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger::sqlite) struct Chain {
    pub mailbox: i64,
    pub folder: u32,
    pub head: Head,
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
            head: Head {
                segment: fields.small()?,
                offset: fields.number()?,
                hash: fields.blob()?.try_into().ok()?,
            },
        })
    }
}

impl Record for SegmentMark {
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
        Some(SegmentMark {
            id: fields.small()?,
            length: fields.number()?,
            last: fields.number()?,
            hash: fields.blob()?.try_into().ok()?,
        })
    }
}

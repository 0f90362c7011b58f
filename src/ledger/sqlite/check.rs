//! What is checked when a ledger is opened for writing: every row's seal, and that the rows fit each other.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use rusqlite::types::Value;

use super::error::damaged;
use super::rows::{each, list};
use super::tables::{Batch, Chain, Exception, Folder, MailboxRow, Meta, NameRow, WalkedRow, WatchRow};
use crate::ledger::facts::SegmentMark;
use crate::model::Result;

/// What the rows of one mailbox add up to.
#[derive(Default, PartialEq, Eq)]
struct Counts {
    folders: u64,
    messages: u64,
    bytes: u64,
    skipped: u64,
    open: u64,
    watched: u64,
}

/// Reads everything once. Returns the segments.
///
/// # Errors
/// `Kind::Ledger`: a row is changed, missing, or does not fit the others.
pub(super) fn check(conn: &Connection, meta: &Meta) -> Result<Vec<SegmentMark>> {
    let segments: Vec<SegmentMark> = list(conn, "TRUE", &[])?;
    if segments.len() != meta.segments as usize || (1u32..).zip(&segments).any(|(n, s)| s.id != n) {
        return Err(damaged("a row of segment is missing"));
    }

    let mut counts: BTreeMap<i64, Counts> = BTreeMap::new();
    let mut with_facts = BTreeSet::new();
    let mut nameless = BTreeSet::new();
    each(conn, "TRUE", &[], |f: Folder| {
        let count = counts.entry(f.mailbox).or_default();
        let copies = f.live.saturating_add(f.orphans);
        count.folders += 1;
        count.messages = count.messages.saturating_add(copies);
        count.bytes = count.bytes.saturating_add(f.bytes);
        nameless.insert((f.mailbox, f.folder));
        if copies > 0 {
            with_facts.insert((f.mailbox, f.folder));
        }
        Ok(())
    })?;
    each(conn, "TRUE", &[], |c: Chain| {
        let segment = c.head.segment.checked_sub(1).and_then(|i| segments.get(i as usize));
        if segment.is_none_or(|s| c.head.offset > s.last) {
            return Err(damaged("a folder's facts lie beyond the log"));
        }
        with_facts.remove(&(c.mailbox, c.folder));
        Ok(())
    })?;
    if !with_facts.is_empty() {
        return Err(damaged("a row of chain is missing"));
    }
    each(conn, "TRUE", &[], |b: Batch| {
        counts.entry(b.mailbox).or_default().open += b.items.len() as u64;
        Ok(())
    })?;
    each(conn, "TRUE", &[], |e: Exception| {
        counts.entry(e.mailbox).or_default().skipped += 1;
        Ok(())
    })?;
    each(conn, "TRUE", &[], |w: WatchRow| {
        counts.entry(w.mailbox).or_default().watched += 1;
        Ok(())
    })?;

    // A mailbox without such a row is walked again; one that has it must not be taken for another.
    each(conn, "TRUE", &[], |w: WalkedRow| {
        if w.mailbox < 1 || w.mailbox > meta.mailboxes {
            return Err(damaged("a row of walked belongs to no mailbox"));
        }
        Ok(())
    })?;

    let mut rows = 0;
    each(conn, "TRUE", &[], |m: MailboxRow| {
        rows += 1;
        let told = Counts {
            folders: m.folders,
            messages: m.messages,
            bytes: m.bytes,
            skipped: m.skipped,
            open: m.open,
            watched: m.watched,
        };
        if m.row != rows || counts.remove(&m.row).unwrap_or_default() != told {
            return Err(damaged("the rows of a mailbox do not add up"));
        }
        // Through the index of keys: a damaged index would make a mailbox begin anew.
        let found: Vec<MailboxRow> = list(conn, "key = ?1", &[Value::Text(m.key.clone())])?;
        if found.first().map(|f| f.row) != Some(m.row) {
            return Err(damaged("the index of mailboxes does not fit its table"));
        }
        nameless.insert((m.row, 0));
        Ok(())
    })?;
    if rows != meta.mailboxes || !counts.is_empty() {
        return Err(damaged("a row of mailbox is missing"));
    }
    each(conn, "TRUE", &[], |n: NameRow| {
        nameless.remove(&(n.mailbox, n.folder));
        Ok(())
    })?;
    if nameless.is_empty() { Ok(segments) } else { Err(damaged("a row of name is missing")) }
}

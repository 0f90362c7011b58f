//! The report as CSV: one file of mailboxes, one of skipped items.

use super::build::{MailboxReport, SkippedItem};
use super::text::shown;
use crate::guard::cell;
use crate::model::{Error, Kind, Result, Scope};

pub(super) fn mailboxes(rows: &[MailboxReport]) -> Result<Vec<u8>> {
    let header = [
        "ordinal",
        "mailbox",
        "csv_line",
        "state",
        "verdict",
        "passes",
        "messages",
        "bytes",
        "skipped",
        "unknown",
        "recounted",
        "source_round_trips",
        "target_round_trips",
        "reasons",
        "error",
    ];
    let rows = rows.iter().map(|m| {
        vec![
            m.ordinal.to_string(),
            m.mailbox.clone(),
            optional(m.csv_line),
            text(&m.state),
            m.verdict.to_owned(),
            m.passes.to_string(),
            m.messages.to_string(),
            m.bytes.to_string(),
            m.skipped.to_string(),
            m.unknown.to_string(),
            optional(m.last_pass.as_ref().and_then(|p| p.recounted)),
            optional(m.last_pass.as_ref().map(|p| p.round_trips.source)),
            optional(m.last_pass.as_ref().map(|p| p.round_trips.target)),
            text(&m.reasons.join("; ")),
            text(m.error.as_deref().unwrap_or("")),
        ]
    });
    whole(&header, rows)
}

pub(super) fn skipped(rows: &[SkippedItem]) -> Result<Vec<u8>> {
    let header =
        ["mailbox", "csv_line", "folder", "number", "name", "size", "received", "reason", "detail", "remedy"];
    let rows = rows.iter().map(|s| {
        vec![
            s.mailbox.clone(),
            optional(s.csv_line),
            s.folder.to_string(),
            s.number.to_string(),
            text(&s.name),
            optional(s.size),
            s.received.clone().unwrap_or_default(),
            s.reason.to_owned(),
            text(&s.detail),
            s.remedy.to_owned(),
        ]
    });
    whole(&header, rows)
}

fn optional(n: Option<u64>) -> String {
    n.map_or(String::new(), |n| n.to_string())
}

/// Foreign text: nothing invisible, and no formula.
fn text(foreign: &str) -> String {
    cell(&shown(foreign)).into_owned()
}

fn whole(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<Vec<u8>> {
    let failed = |_| Error::new(Kind::Internal, Scope::Run, "the report's CSV could not be made");
    let mut out = ::csv::Writer::from_writer(Vec::new());
    out.write_record(header).map_err(failed)?;
    for row in rows {
        out.write_record(row).map_err(failed)?;
    }
    out.into_inner().map_err(|_| Error::new(Kind::Internal, Scope::Run, "the report's CSV could not be made"))
}

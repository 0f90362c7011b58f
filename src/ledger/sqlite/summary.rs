//! A pass's summary as JSON, for one column.

use serde::{Deserialize, Serialize};

use crate::ledger::PassSummary;

/// The summary's fields as they are kept.
#[derive(Serialize, Deserialize)]
#[serde(remote = "PassSummary")]
struct Kept {
    complete: bool,
    stored: u64,
    already: u64,
    bytes: u64,
    moved: u64,
    removed: u64,
    reflagged: u64,
    gone: u64,
    recounted: Option<u64>,
    source_trips: u64,
    target_trips: u64,
    verdict: String,
    reasons: Vec<String>,
    began: i64,
    ended: i64,
    // Of summaries that were written before these were.
    #[serde(default)]
    planned: u64,
    #[serde(default)]
    planned_bytes: u64,
}

/// The summary as JSON.
pub(super) fn summary_to_json(summary: &PassSummary) -> Option<String> {
    let mut text = Vec::new();
    Kept::serialize(summary, &mut serde_json::Serializer::new(&mut text)).ok()?;
    String::from_utf8(text).ok()
}

/// From its JSON; `None` if it is none.
pub(super) fn summary_from_json(text: &str) -> Option<PassSummary> {
    let mut json = serde_json::Deserializer::from_str(text);
    let summary = Kept::deserialize(&mut json).ok()?;
    json.end().ok()?;
    Some(summary)
}

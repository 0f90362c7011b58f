//! A pass's summary as JSON, for one column.

use serde::{Deserialize, Serialize};

use crate::ledger::PassSummary;

#[derive(Serialize, Deserialize)]
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
pub(super) fn summary_to_json(summary: PassSummary) -> Option<String> {
    let PassSummary { complete, stored, already, bytes, moved, removed, reflagged, gone, .. } = summary;
    let PassSummary { recounted, source_trips, target_trips, verdict, reasons, began, ended, .. } = summary;
    let PassSummary { planned, planned_bytes, .. } = summary;
    let kept = Kept {
        complete,
        stored,
        already,
        bytes,
        moved,
        removed,
        reflagged,
        gone,
        recounted,
        source_trips,
        target_trips,
        verdict,
        reasons,
        began,
        ended,
        planned,
        planned_bytes,
    };
    serde_json::to_string(&kept).ok()
}

/// From its JSON; `None` if it is none.
pub(super) fn summary_from_json(text: &str) -> Option<PassSummary> {
    let kept: Kept = serde_json::from_str(text).ok()?;
    let Kept { complete, stored, already, bytes, moved, removed, reflagged, gone, .. } = kept;
    let Kept {
        recounted,
        source_trips,
        target_trips,
        verdict,
        reasons,
        began,
        ended,
        planned,
        planned_bytes,
        ..
    } = kept;
    Some(PassSummary {
        complete,
        stored,
        already,
        bytes,
        moved,
        removed,
        reflagged,
        gone,
        recounted,
        source_trips,
        target_trips,
        verdict,
        reasons,
        began,
        ended,
        planned,
        planned_bytes,
    })
}

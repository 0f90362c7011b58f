//! What the engine is made of and how it is set.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::env::Env;
use crate::ledger::Ledger;
use crate::limit::Limits;
use crate::model::{Bodies, SourceName};
use crate::source::Source;
use crate::target::Target;

/// What the engine is made of: everything is handed in.
pub struct Parts {
    /// Clock, dice, tasks, step points.
    pub env: Env,
    /// The operator's name of the source installation, part of every stamp.
    pub source_name: SourceName,
    /// Source endpoints by name.
    pub sources: BTreeMap<String, Arc<dyn Source>>,
    /// Target endpoints by name.
    pub targets: BTreeMap<String, Arc<dyn Target>>,
    /// Gates of target mailboxes and the byte budgets.
    pub limits: Arc<Limits>,
    /// The durable record.
    pub ledger: Arc<dyn Ledger>,
    /// Where bodies are put.
    pub bodies: Bodies,
    /// Settings.
    pub options: Options,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Settings of the engine, with their defaults.
#[derive(Debug, Clone)]
pub struct Options {
    /// Mailboxes with work in progress at once (1–5000).
    pub open_mailboxes: usize,
    /// How many of them at first; more from second to second while nobody waits long for what they share.
    pub open_at_first: usize,
    /// After an unknown outcome and a look-up that finds nothing: how long to wait before looking again.
    pub settle: Duration,
    /// How long a stamp with a once unknown outcome is watched for a late twin.
    pub watch_for: Duration,
    /// Tries of one batch, one folder or one pass before it counts as failed (1–20).
    pub tries: u32,
    /// Longest time one store may take, waits for the target's pace included, before its outcome is declared unknown and
    /// its mailbox is given up for this run. Longer than any wait a server may ask for (an hour).
    pub store_deadline: Duration,
    /// How long what is under way may take when the run is asked to drain: what is not done then is left as it is, and
    /// the next run looks for it. (A window has a grace of its own.)
    pub grace: Duration,
    /// Messages larger than this are skipped, in bytes.
    pub max_message_bytes: u64,
    /// Compare the target's own count of stamps with the ledger at the end of each pass.
    pub recount: bool,
    /// The operator says: the copies are gone, begin anew.
    pub start_over: bool,
    /// Mirror moves and deletions of the source on untouched copies.
    pub mirror: bool,
    /// Within a folder, messages listed last are copied first.
    pub newest_first: bool,
    /// The last pass before cutover: flags are compared also where that takes listing a folder whole, and every skipped
    /// item is tried again.
    pub final_pass: bool,
    /// If more than this share of a mailbox's copies (and more than ten) would be removed in one pass, none is, and the
    /// operator is asked; percent, 0–100.
    pub max_removed_percent: u8,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            open_mailboxes: 64,
            open_at_first: 64,
            settle: Duration::from_secs(10),
            watch_for: Duration::from_secs(900),
            tries: 5,
            store_deadline: Duration::from_secs(7200),
            grace: Duration::from_secs(120),
            max_message_bytes: 150 << 20,
            recount: true,
            start_over: false,
            mirror: true,
            newest_first: false,
            final_pass: false,
            max_removed_percent: 20,
        }
    }
}

//! The engine: one mailbox's pass, and the wave of many. The only module that knows source, target and ledger.
//!
//! Per batch: reserve → intent → fetch → store → outcome (design rule: nothing is fetched before it may be sent).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::env::Env;
use crate::ledger::{Ledger, PassSummary};
use crate::model::{Bodies, Error, Mailbox, SourceName};
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
    /// Gates of target mailboxes.
    pub limits: Arc<crate::limit::Limits>,
    /// The durable record.
    pub ledger: Arc<dyn Ledger>,
    /// Where bodies are put.
    pub bodies: Bodies,
    /// Settings.
    pub options: Options,
}

/// Settings of the engine, with their defaults.
#[derive(Debug, Clone)]
pub struct Options {
    /// Mailboxes with work in progress at once (1–5000).
    pub open_mailboxes: usize,
    /// After an unknown outcome and a look-up that finds nothing: how long to wait before looking again.
    pub settle: Duration,
    /// How long a stamp with a once unknown outcome is watched for a late twin.
    pub watch_for: Duration,
    /// Tries of one batch, one folder or one login before it counts as failed (1–20).
    pub tries: u32,
    /// Longest time one store may take before its outcome is declared unknown.
    pub store_deadline: Duration,
    /// Messages larger than this are skipped, in bytes.
    pub max_message_bytes: u64,
    /// Compare the target's own count of stamps with the ledger at the end of each pass.
    pub recount: bool,
    /// The operator says: the copies are gone, begin anew.
    pub start_over: bool,
    /// Mirror moves and deletions of the source on untouched copies.
    pub mirror: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            open_mailboxes: 64,
            settle: Duration::from_secs(10),
            watch_for: Duration::from_secs(900),
            tries: 5,
            store_deadline: Duration::from_secs(300),
            max_message_bytes: 150 << 20,
            recount: true,
            start_over: false,
            mirror: true,
        }
    }
}

/// What happens, as it happens: for progress and logs. Carries pseudonyms only.
#[derive(Debug, Clone)]
pub enum Event {
    /// A mailbox was opened.
    Opened(Mailbox),
    /// Its listing is complete: what there is to do.
    Planned {
        /// The mailbox.
        mailbox: Mailbox,
        /// Messages to store.
        messages: u64,
        /// Their octets as the source tells them, in bytes.
        bytes: u64,
    },
    /// Messages were stored and recorded (or skipped).
    Progress {
        /// The mailbox.
        mailbox: Mailbox,
        /// Messages stored.
        messages: u64,
        /// Octets stored, in bytes.
        bytes: u64,
        /// Messages skipped.
        skipped: u64,
    },
    /// The target or the source told us to slow down.
    Throttled {
        /// The mailbox.
        mailbox: Mailbox,
        /// For how long we wait.
        wait: Duration,
    },
    /// Its pass ended.
    Closed(MailboxResult),
}

/// Sees events. Must not block.
pub trait Watcher: Send + Sync {
    /// One event.
    fn event(&self, event: Event);
}

/// How one mailbox ended.
#[derive(Debug, Clone)]
pub struct MailboxResult {
    /// The mailbox.
    pub mailbox: Mailbox,
    /// Its pass.
    pub summary: PassSummary,
    /// Skipped items now on record.
    pub skipped: u64,
    /// Messages whose outcome is unknown now.
    pub unknown: u64,
    /// `Some`: it did not come to its end; `Kind::Stopped` when asked to.
    pub error: Option<Error>,
}

/// How a wave ended.
#[derive(Debug, Clone, Default)]
pub struct WaveResult {
    /// Every mailbox that was begun, in the order they ended.
    pub mailboxes: Vec<MailboxResult>,
    /// Mailboxes not begun because the run was stopped.
    pub not_begun: u64,
}

/// Asks a run to drain: nothing new is begun, what is under way is finished and recorded.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<std::sync::atomic::AtomicBool>);

impl Stop {
    /// Asks.
    pub fn ask(&self) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    /// Was it asked?
    pub fn asked(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

/// Runs one pass of every mailbox, `open_mailboxes` at once.
pub async fn run(
    _parts: Arc<Parts>,
    _mailboxes: Vec<Mailbox>,
    _watcher: Arc<dyn Watcher>,
    _stop: Stop,
) -> WaveResult {
    WaveResult::default()
}

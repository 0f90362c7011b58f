//! What a run tells while it goes, and how it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::ledger::PassSummary;
use crate::model::{Error, Mailbox};

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
    /// The target or the source told us to slow down, or is out of reach: we wait.
    Waiting {
        /// The mailbox.
        mailbox: Mailbox,
        /// For how long.
        wait: Duration,
        /// Why.
        why: Error,
    },
    /// Its pass ended.
    Closed(MailboxResult),
}

/// Sees events. Must not block.
pub trait Watcher: Send + Sync {
    /// One event.
    fn event(&self, event: Event);
}

/// Sees nothing.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Watcher for Unwatched {
    fn event(&self, _event: Event) {}
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
pub struct Stop(Arc<(AtomicBool, Notify)>);

impl Stop {
    /// Asks.
    pub fn ask(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.notify_waiters();
    }

    /// Was it asked?
    pub fn asked(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }

    /// Runs `f`, which may wait long and has no effect before it is done; `None`: a stop was asked for meanwhile.
    pub(super) async fn unless_asked<T>(&self, f: impl Future<Output = T>) -> Option<T> {
        // Listening begins before the look: an `ask` in between is not missed.
        let asked = self.0.1.notified();
        if self.asked() {
            return None;
        }
        tokio::select! {
            biased;
            done = f => Some(done),
            () = asked => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_when_a_stop_is_asked_for_and_what_is_done_is_kept() {
        let stop = Stop::default();
        assert_eq!(stop.unless_asked(async { 1 }).await, Some(1));
        let waiting = stop.unless_asked(std::future::pending::<()>());
        let asking = async {
            tokio::task::yield_now().await;
            stop.ask();
        };
        let (ended, ()) = tokio::join!(waiting, asking);
        assert_eq!(ended, None);
        assert_eq!(stop.unless_asked(async { 1 }).await, None, "nothing more is begun");
    }
}

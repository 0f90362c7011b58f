//! What a run tells while it goes, and how it ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use crate::env::{Env, Tick, WallMillis};
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
    /// It was halted: the rest of it is for later in this run.
    Halted(Mailbox),
    /// Its pass ended.
    Closed(MailboxResult),
    /// Mailboxes of a wave may be begun from now on.
    WaveOpens {
        /// Its name; may be empty.
        wave: String,
        /// Until then, in milliseconds since 1970; `None`: without an end.
        until: Option<WallMillis>,
    },
    /// No mailbox of a wave is begun from now on, and those under way are halted.
    WaveCloses {
        /// Its name; may be empty.
        wave: String,
        /// When the next window opens, in milliseconds since 1970; `None`: never.
        opens: Option<WallMillis>,
        /// Does the run wait for it?
        awaited: bool,
    },
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
    /// It can go on only then (milliseconds since 1970), later than this run goes: neither failed nor stopped.
    pub parked_until: Option<WallMillis>,
}

/// How a wave ended.
#[derive(Debug, Clone, Default)]
pub struct WaveResult {
    /// Every mailbox that was begun, in the order they ended.
    pub mailboxes: Vec<MailboxResult>,
    /// Mailboxes not begun because the run was stopped.
    pub not_begun: u64,
    /// The waves of which something is left, and when the next window of each opens, if one does.
    pub left: Vec<(String, Option<WallMillis>)>,
}

/// Asks a run to drain: nothing new is begun, what is under way is finished and recorded.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Asked>);

#[derive(Debug, Default)]
struct Asked {
    asked: AtomicBool,
    told: Notify,
    /// Those asked along with it.
    parts: Mutex<Vec<Weak<Asked>>>,
    /// Shared by the whole and all its parts.
    end: Arc<End>,
}

/// When whatever is still under way is left as it is.
#[derive(Debug, Default)]
struct End {
    at: Mutex<Option<Tick>>,
    told: Notify,
}

impl Asked {
    fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
        self.told.notify_waiters();
        let parts = std::mem::take(&mut *self.parts.lock().unwrap_or_else(PoisonError::into_inner));
        parts.iter().filter_map(Weak::upgrade).for_each(|part| part.ask());
    }
}

impl Stop {
    /// Asks.
    pub fn ask(&self) {
        self.0.ask();
    }

    /// Was it asked?
    pub fn asked(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// A stop for a part: asked along with this one, or by itself.
    pub(super) fn part(&self) -> Stop {
        let part = Stop(Arc::new(Asked { end: Arc::clone(&self.0.end), ..Asked::default() }));
        {
            let mut parts = self.0.parts.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that are gone are forgotten whenever their number has doubled.
            if parts.len() == parts.capacity() {
                parts.retain(|p| p.strong_count() > 0);
            }
            parts.push(Arc::downgrade(&part.0));
        }
        // Asked meanwhile: it may have been told before the part was known.
        if self.asked() {
            part.ask();
        }
        part
    }

    /// The process ends: whatever is still under way at `at` is left as it is, and the next run looks for it. Only for the
    /// end of all: a mailbox that was left may not be worked on again by this process, whose stores may still go on. Of
    /// several ends the first one holds.
    pub(super) fn end_by(&self, at: Tick) {
        let mut end = self.0.end.at.lock().unwrap_or_else(PoisonError::into_inner);
        if end.is_none_or(|before| at < before) {
            *end = Some(at);
            drop(end);
            self.0.end.told.notify_waiters();
        }
    }

    /// Waits until whatever is under way is to be left.
    pub(super) async fn ended(&self, env: &Env) {
        let end = &self.0.end;
        loop {
            // Listening begins before the look: an end set in between is not missed.
            let told = end.told.notified();
            let at = *end.at.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(at) = at else {
                told.await;
                continue;
            };
            tokio::select! {
                biased;
                () = told => {}
                () = env.sleep_until(at) => return,
            }
        }
    }

    /// Waits until it is asked.
    pub(super) async fn told(&self) {
        // Listening begins before the look: an `ask` in between is not missed.
        let told = self.0.told.notified();
        if !self.asked() {
            told.await;
        }
    }

    /// Runs `f`, which may wait long and has no effect before it is done; `None`: a stop was asked for meanwhile.
    pub(super) async fn unless_asked<T>(&self, f: impl Future<Output = T>) -> Option<T> {
        // Listening begins before the look: an `ask` in between is not missed.
        let asked = self.0.told.notified();
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
    async fn a_part_is_asked_with_the_whole_and_by_itself_alone() {
        let whole = Stop::default();
        let (one, two) = (whole.part(), whole.part());
        one.ask();
        assert!(one.asked() && !two.asked() && !whole.asked());
        whole.ask();
        two.told().await;
        assert!(two.asked() && whole.part().asked(), "also one made later");
        let many = Stop::default();
        for _ in 0..10_000 {
            many.part();
        }
        assert!(many.0.parts.lock().expect("whole").capacity() < 100, "parts that are gone are forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn every_part_ends_when_the_whole_does_and_an_earlier_end_beats_a_later_one() {
        let env = Env::system();
        let whole = Stop::default();
        let before = whole.part();
        let second = Duration::from_secs(1);
        assert!(env.within(9 * second, before.ended(&env)).await.is_none(), "nobody said so");
        let (told, ()) = tokio::join!(before.ended(&env), async {
            whole.end_by(env.now() + 5 * second);
            tokio::task::yield_now().await;
            whole.end_by(env.now() + 3 * second);
            whole.end_by(env.now() + 7 * second);
        });
        assert_eq!((told, env.now().as_secs()), ((), 12));
        whole.part().ended(&env).await;
        assert!(!whole.asked(), "to stop is another thing");
    }

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

//! What stands around the heart of a mock: one lock, the world's time, and a place on disk. The heart is synchronous; only
//! waiting is not.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Who;
use super::pending::Pending;
use crate::mock::World;

/// Everything behind the one lock: admits, acts, keeps what is still to come. No clock, no waiting: time is handed in.
pub(in crate::mock) trait Heart: Send + 'static {
    /// A request understood, with all that decides how much of it is done.
    type Work: Send;
    type Reply;

    fn pending(&mut self) -> &mut Pending<Self::Work>;

    /// Is work done whose caller vanished?
    fn commits_abandoned(&self) -> bool;

    /// Acts, and counts the answer.
    fn act(&mut self, work: &Self::Work, now: i64) -> Self::Reply;

    /// Gives back a place among the requests that may be under way at once.
    fn leave(&mut self, who: &Who);

    /// Writes the state, all or nothing.
    fn save(&mut self, dir: &Path) -> Result<(), String>;

    /// Does deferred work now; `None` if it was done or dropped meanwhile.
    fn resume(&mut self, number: u64, now: i64) -> Option<Self::Reply> {
        let work = self.pending().take(number)?;
        Some(self.act(&work, now))
    }

    /// Commits the abandoned work whose time has come, in the order of its time.
    fn settle(&mut self, now: i64) {
        for (at, number) in self.pending().due(now) {
            self.resume(number, at);
        }
    }

    /// Commits everything still to come, at once. The number of acts.
    fn settle_all(&mut self, now: i64) -> usize {
        let many = self.pending().hasten(now);
        self.settle(now);
        many
    }
}

/// A heart and what stands around it.
pub(in crate::mock) struct Shell<H> {
    pub(in crate::mock) world: Arc<dyn World>,
    heart: Mutex<H>,
    dir: Option<PathBuf>,
    /// Save after so many requests; 0: only when asked.
    save_every: u64,
    /// Requests since the last save.
    unsaved: AtomicU64,
}

impl<H: Heart> Shell<H> {
    /// Without `dir` nothing is kept.
    pub(in crate::mock) fn new(
        heart: H,
        world: Arc<dyn World>,
        dir: Option<PathBuf>,
        save_every: u64,
    ) -> Arc<Shell<H>> {
        Arc::new(Shell { world, heart: Mutex::new(heart), dir, save_every, unsaved: 0.into() })
    }

    pub(in crate::mock) fn now(&self) -> i64 {
        self.world.now()
    }

    pub(in crate::mock) fn heart(&self) -> MutexGuard<'_, H> {
        self.heart.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The heart, once late commits that are due were acted on.
    pub(in crate::mock) fn settled(&self) -> MutexGuard<'_, H> {
        let now = self.now();
        let mut heart = self.heart();
        heart.settle(now);
        heart
    }

    pub(in crate::mock) fn settle_all(&self) -> usize {
        let now = self.now();
        self.heart().settle_all(now)
    }

    pub(in crate::mock) async fn pause(&self, d: Duration) {
        if !d.is_zero() {
            self.world.sleep(d).await;
        }
    }

    /// Holds a place among the requests under way until it is dropped.
    pub(in crate::mock) fn slot(self: &Arc<Self>, who: Who) -> Slot<H> {
        Slot { shell: self.clone(), who }
    }

    /// Acts after `wait`; `None` if that was done or forgotten meanwhile. If the caller vanishes the act still happens (see
    /// [`Heart::commits_abandoned`]).
    pub(in crate::mock) async fn act_after(
        self: &Arc<Self>,
        work: H::Work,
        wait: Duration,
    ) -> Option<H::Reply> {
        let now = self.now();
        if wait.is_zero() {
            return Some(self.heart().act(&work, now));
        }
        let due = now.saturating_add(i64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(i64::MAX));
        let number = self.heart().pending().defer(work, due, false);
        let watch = Watch { shell: self.clone(), number };
        self.world.sleep(wait).await;
        let now = self.now();
        let reply = self.heart().resume(number, now);
        drop(watch);
        reply
    }

    /// Writes the state to its directory, all or nothing. Does nothing for a mock in memory.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(in crate::mock) fn save(&self) -> Result<(), String> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let mut heart = self.settled();
        self.unsaved.store(0, Relaxed);
        heart.save(dir)
    }

    /// Counts a request, and saves if there were enough of them.
    pub(in crate::mock) fn save_if_due(&self) {
        let every = self.save_every;
        if every > 0 && self.dir.is_some() && self.unsaved.fetch_add(1, Relaxed) + 1 >= every {
            // A failure shows at the graceful stop, which saves again.
            let _ = self.save();
        }
    }
}

/// A place among the requests one client may have under way in one mailbox; given back when dropped.
pub(in crate::mock) struct Slot<H: Heart> {
    shell: Arc<Shell<H>>,
    who: Who,
}

impl<H: Heart> Slot<H> {
    pub(in crate::mock) fn who(&self) -> &Who {
        &self.who
    }
}

impl<H: Heart> Drop for Slot<H> {
    fn drop(&mut self) {
        self.shell.heart().leave(&self.who);
    }
}

/// Watches over work under way; dropped before the work is done, it leaves the work behind as abandoned.
struct Watch<H: Heart> {
    shell: Arc<Shell<H>>,
    number: u64,
}

impl<H: Heart> Drop for Watch<H> {
    fn drop(&mut self) {
        let mut heart = self.shell.heart();
        let commit = heart.commits_abandoned();
        heart.pending().abandon(self.number, commit);
    }
}

//! The world, handed in: clock, randomness, tasks and step points.
//!
//! Nothing else in the crate may read a clock, draw a random number or spawn a task (clippy's
//! `disallowed-methods` sees to it). That is what lets a whole migration run on one thread, under virtual
//! time, from one seed, and be cut at any effect (`tests/trial`).

mod step;

pub use step::{Step, StepObserver};

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

/// A point in monotonic time: the time since the process's [`Env`] was made. Never goes back.
pub type Tick = Duration;

/// Wall-clock time: milliseconds since 1970-01-01T00:00:00Z. For records and dates, never for waiting.
pub type WallMillis = i64;

/// Clock, dice, tasks and step points. Cheap to clone; every clone is the same world.
#[derive(Clone)]
pub struct Env {
    inner: Arc<Inner>,
}

struct Inner {
    start: tokio::time::Instant,
    /// Wall time at `start`; `None` reads the system's clock.
    wall_start: Option<WallMillis>,
    /// By how much a simulated wall clock was set since, in milliseconds.
    wall_set: AtomicI64,
    dice: Mutex<fastrand::Rng>,
    observer: Option<Arc<dyn StepObserver>>,
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env").finish_non_exhaustive()
    }
}

#[allow(clippy::disallowed_methods)] // the one place where time, tasks and randomness enter
impl Env {
    /// The real world: system clock, operating-system randomness. Needs a tokio runtime around it.
    pub fn system() -> Env {
        Env {
            inner: Arc::new(Inner {
                start: tokio::time::Instant::now(),
                wall_start: None,
                wall_set: AtomicI64::new(0),
                dice: Mutex::new(fastrand::Rng::new()),
                observer: None,
            }),
        }
    }

    /// A simulated world: `seed` decides every random draw, wall time begins at `wall_start` and advances with
    /// tokio's (paused) clock, and `observer` is told of every step and may freeze the world there.
    pub fn simulated(seed: u64, wall_start: WallMillis, observer: Arc<dyn StepObserver>) -> Env {
        Env {
            inner: Arc::new(Inner {
                start: tokio::time::Instant::now(),
                wall_start: Some(wall_start),
                wall_set: AtomicI64::new(0),
                dice: Mutex::new(fastrand::Rng::with_seed(seed)),
                observer: Some(observer),
            }),
        }
    }

    /// Monotonic time since this world began.
    pub fn now(&self) -> Tick {
        self.inner.start.elapsed()
    }

    /// Wall time in milliseconds since 1970.
    pub fn wall(&self) -> WallMillis {
        match self.inner.wall_start {
            Some(start) => {
                let set = self.inner.wall_set.load(Ordering::Relaxed);
                start + set + i64::try_from(self.now().as_millis()).unwrap_or(i64::MAX)
            }
            None => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
        }
    }

    /// Sets the wall clock of a simulated world by so many milliseconds, forwards or back, as an administrator, a time
    /// service or the end of a suspension does. Monotonic time goes on as before. Of the system's clock it changes nothing.
    pub fn set_wall(&self, by: WallMillis) {
        self.inner.wall_set.fetch_add(by, Ordering::Relaxed);
    }

    /// Sleeps for `d`.
    pub async fn sleep(&self, d: Duration) {
        tokio::time::sleep(d).await;
    }

    /// Sleeps until `tick`; returns at once if it has passed.
    pub async fn sleep_until(&self, tick: Tick) {
        tokio::time::sleep_until(self.inner.start + tick).await;
    }

    /// Runs `f` for at most `d`; `None` when the time ran out. Dropping `f` must be harmless: a store is never
    /// given to this function directly, it runs in its own task (see [`Env::spawn`]).
    pub async fn within<F: Future>(&self, d: Duration, f: F) -> Option<F::Output> {
        tokio::time::timeout(d, f).await.ok()
    }

    /// Starts a task of its own. Dropping the returned [`Task`] does not stop it.
    pub fn spawn<F>(&self, f: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Task(tokio::spawn(f))
    }

    /// Does blocking file work here and now, without holding up the other tasks of a threaded runtime. On one thread
    /// (a simulation, a test) it just runs: the order of events stays the same for the same seed.
    pub fn blocking<T>(&self, work: impl FnOnce() -> T) -> T {
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if runtime.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread => {
                tokio::task::block_in_place(work)
            }
            _ => work(),
        }
    }

    /// A random number in `0..below` (`0` when `below` is 0).
    pub fn random(&self, below: u64) -> u64 {
        let mut dice = self.inner.dice.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if below == 0 { 0 } else { dice.u64(0..below) }
    }

    /// Passes a step point: the place just before an effect (a commit, a request, a rename …). In the real world
    /// this costs one branch. In a trial it counts, and from the chosen step on it never returns: every later
    /// effect freezes.
    pub async fn step(&self, step: Step) {
        if let Some(observer) = &self.inner.observer
            && !observer.pass(step)
        {
            std::future::pending::<()>().await;
        }
    }

    /// The synchronous form of [`Env::step`] for code that runs off the async path (the ledger's writer): `false`
    /// means the world is frozen and the effect must not happen.
    #[must_use]
    pub fn step_now(&self, step: Step) -> bool {
        self.inner.observer.as_ref().is_none_or(|o| o.pass(step))
    }
}

/// A running task; awaiting it gives its result, or [`TaskPanicked`] if it panicked.
#[derive(Debug)]
pub struct Task<T>(tokio::task::JoinHandle<T>);

/// The awaited task panicked (or the runtime went down under it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an internal task failed unexpectedly")]
pub struct TaskPanicked;

impl<T> Future for Task<T> {
    type Output = Result<T, TaskPanicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|r| r.map_err(|_| TaskPanicked))
    }
}

impl<T> Task<T> {
    /// Stops the task at its next await. For readers and tickers only, never for a store.
    pub fn abort(&self) {
        self.0.abort();
    }
}

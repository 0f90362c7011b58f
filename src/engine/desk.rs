//! What a run is told while it goes, and what it says of itself: the desk it answers at.

use tokio::sync::{mpsc, oneshot};

use crate::env::WallMillis;
use crate::model::{Error, Kind, MailboxKey, Result, Scope};

/// Wishes that may wait for the run at once; more wait before they are handed in.
const WAITING: usize = 64;

/// A wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Begin nothing new of these; what is under way is recorded, and waits.
    Pause(Which),
    /// Go on with these.
    Resume(Which),
    /// Be done with these for this run: what is under way is recorded.
    Drain(Which),
    /// Only tell.
    Tell,
}

/// Of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// All of the run.
    All,
    /// A wave.
    Wave(String),
    /// A mailbox.
    Mailbox(MailboxKey),
}

/// A run as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunState {
    /// It was asked to drain.
    pub draining: bool,
    /// Its waves, in their order.
    pub waves: Vec<WaveState>,
}

/// A wave of a run as it is. Numbers of mailboxes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WaveState {
    /// Its name; may be empty.
    pub name: String,
    /// Never begun in this run.
    pub waiting: u64,
    /// Being worked on.
    pub running: u64,
    /// They failed for a while and come back by themselves.
    pub parked: u64,
    /// Begun and halted: by the end of the window, or because they were paused.
    pub halted: u64,
    /// Ended in this run.
    pub ended: u64,
    /// Paused one by one (of all but the ended ones).
    pub paused: u64,
    /// Not in this run: they came to their end in this pass of the wave before.
    pub before: u64,
    /// The wave is paused.
    pub is_paused: bool,
    /// Something of it may be begun now, as far as its windows go.
    pub open: bool,
    /// When that changes, in milliseconds since 1970; `None`: never.
    pub changes: Option<WallMillis>,
}

#[derive(Debug)]
struct Asked {
    wish: Wish,
    answer: oneshot::Sender<Result<RunState>>,
}

/// Where a run listens. A run without one is told nothing.
#[derive(Debug)]
pub struct Desk(mpsc::Receiver<Asked>);

/// Rings at a desk. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bell(mpsc::Sender<Asked>);

/// A desk and its bell.
pub fn desk() -> (Desk, Bell) {
    let (bell, desk) = mpsc::channel(WAITING);
    (Desk(desk), Bell(bell))
}

impl Bell {
    /// Tells the run a wish; gives the state it is in then.
    ///
    /// # Errors
    /// `Kind::NotFound`: the run has no such wave or mailbox. `Kind::Stopped`: it is ending and hears nothing any more.
    pub async fn ring(&self, wish: Wish) -> Result<RunState> {
        let ending = || {
            Error::new(Kind::Stopped, Scope::Run, "the run is ending and takes no more wishes")
                .remedy("look at its result; run again to go on")
        };
        let (answer, answered) = oneshot::channel();
        self.0.send(Asked { wish, answer }).await.map_err(|_| ending())?;
        answered.await.map_err(|_| ending())?
    }

    /// Waits until the run hears nothing any more.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

impl Desk {
    /// The next wish. Never, once every bell is gone.
    pub(super) async fn next(&mut self) -> Heard {
        match self.0.recv().await {
            Some(asked) => Heard(asked),
            None => std::future::pending().await,
        }
    }
}

/// A wish that waits for its answer.
#[derive(Debug)]
pub(super) struct Heard(Asked);

impl Heard {
    pub(super) fn wish(&self) -> &Wish {
        &self.0.wish
    }

    /// Answers. Whoever asked may be gone.
    pub(super) fn answer(self, answer: Result<RunState>) {
        let _ = self.0.answer.send(answer);
    }
}

/// The error of a wish about what is not in the run.
pub(super) fn not_here(what: &str) -> Error {
    Error::new(Kind::NotFound, Scope::Run, format!("the run has no such {what}"))
        .remedy("`mailwave status` tells what it has")
}

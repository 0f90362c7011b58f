//! `verify` and `check` borrow permits of the run that goes on beside them, if one does, and places at its sources.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::lend::{Ask, AskPlace, Done, Given, Line, MOST};
use super::{Answer as Spoken, LONGEST_REQUEST, Request, VERSION, place};
use crate::env::{Env, Tick};
use crate::limit::{Answer, Lease, Lender, Lent, LentPlace, PlaceLender};

/// A run may begin at any time: it is looked for so often.
const LOOK: Duration = Duration::from_secs(1);
/// A process that does not answer by then lends nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Borrows of the process that uses this ledger.
pub(in crate::cli) struct Borrower {
    env: Env,
    ledger: PathBuf,
    state: tokio::sync::Mutex<State>,
    next: AtomicU64,
}

#[derive(Default)]
struct State {
    line: Option<Arc<Open>>,
    look_at: Tick,
    /// When the last process that lent went away.
    gone: Option<Tick>,
}

/// A connection to a process that lends.
#[derive(Debug)]
struct Open {
    says: mpsc::UnboundedSender<Vec<u8>>,
    /// Who waits for a permit or a place; `None`: the connection broke.
    waiting: Waiting,
    /// The other side lends places. One that is older hangs up when it is asked.
    has_places: bool,
    /// What may be asked for and held at once: more, and the other side hangs up.
    permits: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

type Waiting = Mutex<Option<BTreeMap<u64, oneshot::Sender<Given>>>>;

impl Open {
    fn waiting(&self) -> MutexGuard<'_, Option<BTreeMap<u64, oneshot::Sender<Given>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, line: &Line) -> Option<()> {
        let mut text = serde_json::to_vec(line).ok()?;
        text.push(b'\n');
        self.says.send(text).ok()
    }

    /// Waits for what is asked for in this line; `None`: the connection broke.
    async fn granted(&self, line: Line) -> Option<Given> {
        let (grants, granted) = oneshot::channel();
        self.waiting().as_mut()?.insert(line.id, grants);
        self.say(&line)?;
        granted.await.ok()
    }
}

impl Borrower {
    pub(in crate::cli) fn new(env: &Env, ledger: PathBuf) -> Arc<Borrower> {
        Arc::new(Borrower {
            env: env.clone(),
            ledger,
            state: tokio::sync::Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    /// The connection, if there is a process that lends; else when the last one went away.
    async fn line(&self) -> Result<Arc<Open>, Option<Tick>> {
        let mut state = self.state.lock().await;
        if let Some(line) = &state.line {
            if line.waiting().is_some() && !line.says.is_closed() {
                return Ok(Arc::clone(line));
            }
            (state.line, state.gone) = (None, Some(self.env.now()));
            tracing::info!(
                "the run that lent permits is gone: going on with limits of its own, windows counted as spent"
            );
        }
        let now = self.env.now();
        if now < state.look_at {
            return Err(state.gone);
        }
        state.look_at = now + LOOK;
        let opened = self.env.within(PATIENCE, self.open()).await.flatten();
        state.line.clone_from(&opened);
        opened.ok_or(state.gone)
    }

    async fn open(&self) -> Option<Arc<Open>> {
        let (_dir, address) = place(&self.ledger).ok()?;
        let (from, mut to) = UnixStream::connect(address).await.ok()?.into_split();
        let request = Request { v: VERSION, verb: "lend".to_owned(), fields: serde_json::Map::new() };
        let mut text = serde_json::to_vec(&request).ok()?;
        text.push(b'\n');
        to.write_all(&text).await.ok()?;
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        (&mut from).take(LONGEST_REQUEST).read_until(b'\n', &mut line).await.ok()?;
        let spoken: Spoken = serde_json::from_slice(&line).ok()?;
        let has_places = spoken.ok?["places"] == true;
        let (says, said) = mpsc::unbounded_channel();
        let open = Arc::new(Open {
            says,
            waiting: Mutex::new(Some(BTreeMap::new())),
            has_places,
            permits: Arc::new(Semaphore::new(MOST / 2)),
            places: Arc::new(Semaphore::new(MOST / 2)),
        });
        self.env.spawn(write(to, said));
        self.env.spawn(read(from, Arc::clone(&open)));
        tracing::info!("a run goes on: its permits are borrowed");
        Some(open)
    }
}

async fn write(mut to: OwnedWriteHalf, mut said: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(text) = said.recv().await {
        if to.write_all(&text).await.is_err() {
            return;
        }
    }
}

/// The line that ends something.
fn done(id: u64, done: Vec<Done>) -> Line {
    Line { id, ask: None, place: None, done: Some(done) }
}

/// Hands permits and places to those who wait, until the other side goes or says what cannot be read.
async fn read(mut from: BufReader<OwnedReadHalf>, open: Arc<Open>) {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut from).take(LONGEST_REQUEST).read_until(b'\n', &mut line).await;
        let given = read.ok().and_then(|_| serde_json::from_slice::<Given>(&line).ok());
        let Some(given) = given else {
            // Whoever waits learns of it by what is dropped here.
            open.waiting().take();
            return;
        };
        if let Some(grants) = open.waiting().as_mut().and_then(|waiting| waiting.remove(&given.id)) {
            // One who went away gives it back: nothing left for it.
            if let Err(Given { id, none: false }) = grants.send(given) {
                let _ = open.say(&done(id, vec![Done::NotSent]));
            }
        }
    }
}

#[async_trait]
impl Lender for Borrower {
    async fn lend(&self, endpoint: &str, mailbox: &str, parts: &[u64], at_once: usize) -> Lent {
        loop {
            let open = match self.line().await {
                Ok(open) => open,
                Err(gone) => return Lent::Nobody(gone),
            };
            let Ok(one) = open.permits.clone().acquire_owned().await else { return Lent::Nobody(None) };
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let ask = Ask {
                endpoint: endpoint.to_owned(),
                mailbox: mailbox.to_owned(),
                parts: parts.to_vec(),
                at_once,
            };
            if open.granted(Line { id, ask: Some(ask), place: None, done: None }).await.is_some() {
                let requests = parts.len();
                return Lent::Yes(Box::new(Borrowed { open, id, requests, ended: false, _one: one }));
            }
        }
    }
}

#[async_trait]
impl PlaceLender for Borrower {
    async fn place(&self, endpoint: &str) -> Option<LentPlace> {
        loop {
            let open = self.line().await.ok().filter(|open| open.has_places)?;
            let one = open.places.clone().acquire_owned().await.ok()?;
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let place = AskPlace { source: endpoint.to_owned() };
            let given = open.granted(Line { id, ask: None, place: Some(place), done: None }).await;
            if let Some(given) = given {
                return if given.none { None } else { Some(Box::new(Place { open, id, _one: one })) };
            }
        }
    }
}

/// A borrowed place. Should the other process be gone by its end, nobody is left who counts it.
struct Place {
    open: Arc<Open>,
    id: u64,
    _one: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.open.say(&done(self.id, Vec::new()));
    }
}

/// A borrowed permit.
#[derive(Debug)]
struct Borrowed {
    open: Arc<Open>,
    id: u64,
    requests: usize,
    ended: bool,
    _one: OwnedSemaphorePermit,
}

impl Borrowed {
    fn end(&mut self, ends: Vec<Done>) {
        self.ended = true;
        // Nobody to be told counts it as of unknown fate by itself.
        let _ = self.open.say(&done(self.id, ends));
    }
}

impl Lease for Borrowed {
    fn finish(mut self: Box<Self>, answers: &[Answer]) {
        self.end(answers.iter().copied().map(Done::from).collect());
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if !self.ended {
            self.end(vec![Done::Unknown; self.requests]);
        }
    }
}

//! A logged-in connection shared by many callers, with many commands in flight.
//!
//! There is no task behind it. Whoever runs a command holds the sending side while it sends, takes its place in the
//! line of readers before it lets the sending side go, and reads its own answer when its turn comes: in the order
//! sent, which is the order a server answers in. What a server says untagged belongs to the oldest command that is not
//! finished. A caller whose turn it is reads while it still sends, so two full sockets do not hold each other up.
//!
//! A future of [`Session::run`] must be polled or dropped: one that lies still holds up those behind it. One that is
//! dropped after its command was begun leaves answers nobody waits for: the session is broken for everyone.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex as Turns, MutexGuard as Turn, Notify, RwLock};

use super::answer::{self, Ignore, Receiver};
use super::command::Piece;
use super::response::Response;
use super::select::Selected;
use super::wire::{Reader, Writer};
use super::{
    Capabilities, Code, Command, Connection, Done, Habits, Limits, Status, Untagged, WireError, send,
};
use crate::env::Env;

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// A shared connection.
pub struct Session {
    env: Env,
    idle: Duration,
    limits: Limits,
    habits: Habits,
    /// First come, first served, as tokio's mutex is.
    writer: Turns<Writer>,
    reader: Turns<Reader>,
    state: Mutex<State>,
    /// Wakes the sender that waits for a `+`.
    go_on: Notify,
    /// Round trips.
    trips: Arc<AtomicU64>,
    /// Held for reading by those who use the open folder, for writing by whoever opens another.
    pub(super) desk: RwLock<()>,
    /// Given up only when the connection is closed: the fields above are dropped first.
    _held: Option<Box<dyn Any + Send + Sync>>,
}

#[derive(Default)]
pub(super) struct State {
    capabilities: Arc<Capabilities>,
    /// Commands begun.
    tags: u64,
    flights: BTreeMap<u64, Flight>,
    /// The newest command waits for a `+`.
    awaits_go_on: bool,
    broken: bool,
    leaving: bool,
    unread: u64,
    /// SELECTs and EXAMINEs begun.
    pub selects: u64,
    pub selected: Option<Selected>,
    /// What ENABLE turned on.
    pub enabled: Vec<Capabilities>,
    /// The server does not take the extended LIST it offers.
    pub plain_list: bool,
}

/// A command that was begun and is not finished.
#[derive(Default)]
struct Flight {
    /// Its last required piece is on its way.
    sent: bool,
    /// Its answer, if that was read before its turn.
    done: Option<Done>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Session")
            .field("broken", &state.broken)
            .field("commands", &state.tags)
            .field("in_flight", &state.flights.len())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Shares a connection that was logged in.
    pub fn new(connection: Connection) -> Session {
        Session::metered(connection, Arc::default())
    }

    /// As [`Session::new`]; its round trips are added to `trips`.
    pub fn metered(connection: Connection, trips: Arc<AtomicU64>) -> Session {
        let Connection { wire, env, idle, broken, limits, capabilities, habits, tags, unread, .. } =
            connection;
        let (reader, writer) = wire.split();
        let state = State { capabilities: Arc::new(capabilities), tags, broken, unread, ..State::default() };
        Session {
            env,
            idle,
            limits,
            habits,
            writer: Turns::new(writer),
            reader: Turns::new(reader),
            state: Mutex::new(state),
            go_on: Notify::new(),
            trips,
            desk: RwLock::new(()),
            _held: None,
        }
    }

    /// Holds this for as long as the connection is open.
    #[must_use]
    pub fn holding(self, held: Option<Box<dyn Any + Send + Sync>>) -> Session {
        Session { _held: held, ..self }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the server said it can do, last.
    pub fn capabilities(&self) -> Arc<Capabilities> {
        self.state().capabilities.clone()
    }

    /// Does without what the server offers and cannot do, from now on.
    pub fn forgo(&self, names: &[&str]) {
        let mut state = self.state();
        let mut offer = state.capabilities.as_ref().clone();
        offer.distrust(names);
        state.capabilities = Arc::new(offer);
    }

    /// Did ENABLE turn `name` on?
    pub fn has_enabled(&self, name: &str) -> bool {
        self.state().enabled.iter().any(|names| names.has(name))
    }

    /// Must it not be used any more? A command in flight whose answer is on its way may still end well.
    pub fn is_broken(&self) -> bool {
        self.state().broken
    }

    /// Responses that were skipped because nobody understands them.
    pub fn unread(&self) -> u64 {
        self.state().unread
    }

    /// Times a caller had to wait for an answer with nothing sent before it still in flight: commands sent together
    /// count once.
    pub fn round_trips(&self) -> u64 {
        self.trips.load(Ordering::Relaxed)
    }

    /// Commands in flight.
    pub fn in_flight(&self) -> usize {
        self.state().flights.len()
    }

    /// Runs one command to its tagged answer, whatever that is. Commands are sent in the order of the calls.
    ///
    /// # Errors
    /// The connection failed. Whoever was being answered learns why; all others, [`WireError::Broken`]. A NO or BAD
    /// is not an error here: see [`Done`].
    pub async fn run(&self, command: Command, receiver: &mut dyn Receiver) -> Result<Done, WireError> {
        // Unconstrained: the runtime must not put off the first poll, which takes the place in the line.
        let writer = tokio::task::unconstrained(self.writer.lock()).await;
        let (mut flight, pieces) = self.begin(command)?;
        let number = flight.number;
        // In line for reading before anybody else can send.
        let mut turn = pin!(tokio::task::unconstrained(self.reader.lock()));
        let ready = match futures_util::poll!(turn.as_mut()) {
            std::task::Poll::Ready(reader) => Some(reader),
            std::task::Poll::Pending => None,
        };
        let mut receive = pin!(async {
            let reader = match ready {
                Some(reader) => reader,
                None => turn.await,
            };
            self.receive(reader, number, receiver).await
        });
        let mut sending = pin!(self.send(writer, number, pieces));
        let mut sent = None;
        let received = loop {
            tokio::select! {
                biased;
                end = sending.as_mut(), if sent.is_none() => sent = Some(end),
                end = receive.as_mut() => break end,
            }
        };
        match received {
            Ok(done) => {
                // A server may refuse a command before it has read it all; the rest must be sent all the same.
                let sent = match sent {
                    Some(sent) => sent,
                    None => sending.await,
                };
                flight.landed = sent.is_ok();
                Ok(done)
            }
            Err(e @ WireError::Bye(_)) => Err(e),
            Err(e) => Err(sent.and_then(Result::err).unwrap_or(e)),
        }
    }

    fn begin(&self, command: Command) -> Result<(InFlight<'_>, Vec<Piece>), WireError> {
        let mut state = self.state();
        if state.broken {
            return Err(WireError::Broken);
        }
        let number = state.tags + 1;
        let pieces = command.encode(&tag(number), state.capabilities.literals())?;
        state.tags = number;
        self.trips.fetch_add(u64::from(state.flights.is_empty()), Ordering::Relaxed);
        state.flights.insert(number, Flight::default());
        Ok((InFlight { session: self, number, landed: false }, pieces))
    }

    async fn send(
        &self,
        mut writer: Turn<'_, Writer>,
        number: u64,
        pieces: Vec<Piece>,
    ) -> Result<(), WireError> {
        let count = pieces.len();
        let last_required = pieces.iter().rposition(|p| p.required);
        for (n, piece) in pieces.into_iter().enumerate() {
            if n > 0 && !self.told_to_go_on(number).await {
                return Ok(());
            }
            {
                let mut state = self.state();
                state.awaits_go_on = n + 1 < count;
                if let Some(flight) = state.flights.get_mut(&number) {
                    flight.sent |= Some(n) == last_required;
                }
            }
            send::piece(&mut *writer, &self.env, self.idle, piece).await?;
        }
        Ok(())
    }

    /// Waits for the server's `+`; `false`: it answered the command instead.
    async fn told_to_go_on(&self, number: u64) -> bool {
        self.trips.fetch_add(1, Ordering::Relaxed);
        loop {
            let woken = self.go_on.notified();
            {
                let mut state = self.state();
                let open = state.flights.get(&number).is_some_and(|f| f.done.is_none());
                if !open {
                    state.awaits_go_on = false;
                    return false;
                }
                if !state.awaits_go_on {
                    return true;
                }
            }
            woken.await;
        }
    }

    /// Reads up to the answer of command `number`.
    async fn receive(
        &self,
        mut reader: Turn<'_, Reader>,
        number: u64,
        receiver: &mut dyn Receiver,
    ) -> Result<Done, WireError> {
        let (mut count, mut text, mut unread) = (0u64, 0u64, 0u64);
        loop {
            if let Some(done) = self.answered_early(number)? {
                if self.in_flight() == 0 {
                    reader.rest();
                }
                return Ok(done);
            }
            let (response, len) =
                answer::next(&mut *reader, &self.limits, &self.habits, &mut unread, receiver).await?;
            count += 1;
            text += len as u64;
            if count > self.limits.untagged || text > self.limits.text {
                return Err(WireError::Limit("the answers to one command"));
            }
            match response {
                Response::Continue => self.go_on()?,
                Response::Tagged(tag, done) => self.answered(&tag, done)?,
                Response::Untagged(untagged) => {
                    self.learn(&untagged, std::mem::take(&mut unread))?;
                    receiver.untagged(untagged);
                }
            }
        }
    }

    fn answered_early(&self, number: u64) -> Result<Option<Done>, WireError> {
        let mut state = self.state();
        if state.broken {
            return Err(WireError::Broken);
        }
        let done = state.flights.get_mut(&number).and_then(|f| f.done.take());
        if done.is_some() {
            state.flights.remove(&number);
            drop(state);
            // It may be waiting for a `+` that will not come any more.
            self.go_on.notify_one();
        }
        Ok(done)
    }

    fn go_on(&self) -> Result<(), WireError> {
        let mut state = self.state();
        if !state.awaits_go_on {
            return Err(WireError::Framing("it asks for more where there is no more"));
        }
        state.awaits_go_on = false;
        drop(state);
        self.go_on.notify_one();
        Ok(())
    }

    /// Files an answer under its command. Servers answer in order; one that does not is understood all the same.
    fn answered(&self, tag: &str, done: Done) -> Result<(), WireError> {
        let mut state = self.state();
        let number = tag.strip_prefix('m').and_then(|n| n.parse().ok()).unwrap_or(0);
        let Some(flight) = state.flights.get_mut(&number).filter(|f| f.done.is_none()) else {
            return Err(WireError::Framing("it answers a command nobody sent"));
        };
        if done.ok() && !flight.sent {
            return Err(WireError::Framing("it answers a command that was not sent yet"));
        }
        if let Code::Capability(c) = &done.code {
            let c = Arc::new(c.clone());
            flight.done = Some(done);
            state.capabilities = c;
        } else {
            flight.done = Some(done);
        }
        drop(state);
        self.go_on.notify_one();
        Ok(())
    }

    fn learn(&self, untagged: &Untagged, unread: u64) -> Result<(), WireError> {
        let mut state = self.state();
        state.unread += unread;
        match untagged {
            Untagged::Status(Done { status: Status::Bye, backoff, .. }) if !state.leaving => {
                return Err(WireError::Bye(*backoff));
            }
            Untagged::Capability(c) | Untagged::Status(Done { code: Code::Capability(c), .. }) => {
                state.capabilities = Arc::new(c.clone());
            }
            Untagged::Other | Untagged::Unreadable(_) => state.unread += 1,
            _ => {}
        }
        Ok(())
    }

    /// NOOP: lets the server tell what changed, and shows that the connection lives.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn noop(&self) -> Result<(), WireError> {
        self.run(Command::new("NOOP"), &mut Ignore).await.map(|_| ())
    }

    /// LOGOUT, within two seconds; then the connection is closed, politely or not.
    pub async fn logout(&self) {
        self.state().leaving = true;
        let _ = self.env.within(FAREWELL, self.run(Command::new("LOGOUT"), &mut Ignore)).await;
        self.state().broken = true;
        let close = async { self.writer.lock().await.shutdown().await };
        let _ = self.env.within(FAREWELL, close).await;
    }
}

fn tag(number: u64) -> String {
    format!("m{number}")
}

/// Ends with its command. Unless that was answered and sent whole, nobody can use the session any more.
struct InFlight<'a> {
    session: &'a Session,
    number: u64,
    landed: bool,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut state = self.session.state();
        state.flights.remove(&self.number);
        state.broken |= !self.landed;
    }
}

#[cfg(test)]
mod tests;

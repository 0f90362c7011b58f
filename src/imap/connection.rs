//! One connection before anybody is logged in: a command at a time, every answer looked at. [`Session`](super::Session)
//! goes on from there.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use super::answer::{self, Ignore, Receiver};
use super::command::{Chunk, Piece};
use super::response::Response;
use super::wire::{Stream, Wire};
use super::{
    Capabilities, Code, Command, Compress, Done, Habits, Limits, Preset, Status, Untagged, WireError,
    presets, send,
};
use crate::env::Env;
use crate::model::{Result, Scope};

/// A link on which an answer takes this long is taken for a slow one.
const SLOW: Duration = Duration::from_millis(20);

/// A connection that was greeted.
pub struct Connection {
    pub(super) wire: Wire,
    pub(super) env: Env,
    pub(super) idle: Duration,
    pub(super) broken: bool,
    pub(super) limits: Limits,
    pub(super) capabilities: Capabilities,
    pub(super) habits: Habits,
    pub(super) tags: u64,
    pub(super) unread: u64,
    /// The server refused something because it has too many connections.
    pub(super) crowded: bool,
    /// The shortest time an answer took.
    pub(super) round_trip: Option<Duration>,
    /// What it said first: foreign text, to be compared with and never shown.
    pub(super) said: String,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("broken", &self.broken)
            .field("commands", &self.tags)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Over a stream that was not greeted yet.
    pub(super) fn new(stream: Box<dyn Stream>, env: &Env, idle: Duration, limits: Limits) -> Connection {
        Connection {
            wire: Wire::new(stream, env.clone(), idle, &limits),
            env: env.clone(),
            idle,
            broken: false,
            limits,
            capabilities: Capabilities::default(),
            habits: Habits::default(),
            tags: 0,
            unread: 0,
            crowded: false,
            round_trip: None,
            said: String::new(),
        }
    }

    /// With what is known of this server beforehand.
    pub(super) fn knowing(self, habits: Habits) -> Connection {
        Connection { habits, ..self }
    }

    /// What the server said it can do, last.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What the server seems to be, by its greeting and by what it can do before a login.
    pub fn likely(&self) -> Option<&'static Preset> {
        presets::likely(&self.capabilities, &self.said)
    }

    /// Commands run over it so far, each waited for by itself.
    pub fn commands(&self) -> u64 {
        self.tags
    }

    /// Must it not be used any more? Also true after a call was dropped half way.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Did the server refuse something because it has too many connections?
    pub fn was_crowded(&self) -> bool {
        self.crowded
    }

    /// Runs one command to its tagged answer, whatever that is.
    ///
    /// # Errors
    /// The connection failed; it is broken. A NO or BAD is not an error here: see [`Done`].
    pub async fn run(&mut self, command: Command, receiver: &mut dyn Receiver) -> Result<Done, WireError> {
        if self.broken {
            return Err(WireError::Broken);
        }
        let tag = self.next_tag();
        let pieces = command.encode(&tag, self.capabilities.literals())?;
        // Until the tagged answer is in, nobody else may use this connection: not after an error, and not after the
        // caller dropped this future.
        self.broken = true;
        let done = self.converse(&tag, pieces, receiver).await?;
        self.broken = false;
        Ok(done)
    }

    async fn converse(
        &mut self,
        tag: &str,
        pieces: Vec<Piece>,
        receiver: &mut dyn Receiver,
    ) -> Result<Done, WireError> {
        let mut pieces = pieces.into_iter().peekable();
        if let Some(first) = pieces.next() {
            send::piece(&mut self.wire.stream, &self.env, self.idle, first).await?;
        }
        let (mut count, mut text) = (0u64, 0u64);
        loop {
            let (response, len) =
                answer::next(&mut self.wire, &self.limits, &self.habits, &mut self.unread, receiver).await?;
            count += 1;
            text += len as u64;
            if count > self.limits.untagged || text > self.limits.text {
                return Err(WireError::Limit("the answers to one command"));
            }
            match response {
                Response::Continue => match pieces.next() {
                    Some(piece) => send::piece(&mut self.wire.stream, &self.env, self.idle, piece).await?,
                    None => return Err(WireError::Framing("it asks for more where there is no more")),
                },
                Response::Tagged(t, done) if t == tag => {
                    if done.ok() && pieces.peek().is_some_and(|p| p.required) {
                        return Err(WireError::Framing("it answers a command that was not sent yet"));
                    }
                    self.learn(&done.code);
                    return Ok(done);
                }
                Response::Tagged(..) => return Err(WireError::Framing("it answers a command nobody sent")),
                Response::Untagged(untagged) => {
                    match &untagged {
                        Untagged::Status(Done { status: Status::Bye, backoff, code }) => {
                            self.learn(code);
                            return Err(WireError::Bye(*backoff));
                        }
                        Untagged::Capability(c) => self.capabilities = c.clone(),
                        Untagged::Status(done) => self.learn(&done.code),
                        Untagged::Other | Untagged::Unreadable(_) => self.unread += 1,
                        _ => {}
                    }
                    receiver.untagged(untagged);
                }
            }
        }
    }

    /// Sends octets that are no whole command.
    pub(super) async fn send(&mut self, octets: Zeroizing<Vec<u8>>) -> Result<(), WireError> {
        let piece = Piece { chunks: vec![Chunk::Octets(octets)], required: true };
        send::piece(&mut self.wire.stream, &self.env, self.idle, piece).await
    }

    /// A tag that was not used yet.
    pub(super) fn next_tag(&mut self) -> String {
        self.tags += 1;
        format!("m{}", self.tags)
    }

    /// Remembers what a status told of the server.
    pub(super) fn learn(&mut self, code: &Code) {
        match code {
            Code::Capability(c) => self.capabilities = c.clone(),
            code => self.crowded |= code.is("LIMIT") || code.is("INUSE"),
        }
    }

    /// What this server is known for: see [`Habits`].
    pub(super) fn judge(&self, response: &mut Response, text: &[u8]) {
        self.habits.judge(response, text);
    }

    /// Reads the greeting.
    pub(super) async fn greeting(&mut self) -> Result<Done, WireError> {
        self.said = self.wire.peek().await?;
        let (response, _) =
            answer::next(&mut self.wire, &self.limits, &self.habits, &mut self.unread, &mut Ignore).await?;
        match response {
            Response::Untagged(Untagged::Status(done)) => {
                self.learn(&done.code);
                Ok(done)
            }
            _ => Err(WireError::Framing("it does not greet as an IMAP server")),
        }
    }

    /// Asks what the server can do. What it said before counts for nothing.
    pub(super) async fn ask_capabilities(&mut self) -> Result<()> {
        self.capabilities = Capabilities::default();
        let asked = self.env.now();
        let done = self.run(Command::new("CAPABILITY"), &mut Ignore).await.map_err(WireError::into_error)?;
        self.answered_within(self.env.now().saturating_sub(asked));
        done.check(Scope::Endpoint, "asking for its capabilities")
    }

    /// Remembers how long an answer took.
    pub(super) fn answered_within(&mut self, took: Duration) {
        self.round_trip = Some(self.round_trip.map_or(took, |least| least.min(took)));
    }

    /// Compresses the connection (RFC 4978) if that is wanted and the server offers it; [`Compress::Auto`] wants it when
    /// answers take long, for a long way is most often a narrow one. A server that refuses is spoken to as before.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn compress(mut self, wanted: Compress) -> Result<Connection, WireError> {
        let wanted = match wanted {
            Compress::Off => false,
            Compress::On => true,
            Compress::Auto => self.round_trip.is_some_and(|time| time >= SLOW),
        };
        if !wanted || !self.capabilities.has("COMPRESS=DEFLATE") {
            return Ok(self);
        }
        if self.run(Command::new("COMPRESS DEFLATE"), &mut Ignore).await?.ok() {
            self.wire = self.wire.deflate();
        }
        Ok(self)
    }
}

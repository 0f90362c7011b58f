//! One connection: a command at a time, every answer looked at.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::response::{Response, awaits_body, read};
use super::scan::{Literal, Raw, Value};
use super::wire::{Stream, Wire};
use super::{
    Capabilities, Code, Command, Done, Habits, Limits, ListEntry, Namespaces, Status, UidSet, Untagged,
    WireError,
};
use crate::env::Env;
use crate::model::{Error, Kind, Result, Scope};

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// What to do with a message's literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Hand its octets over.
    Keep,
    /// Read past it.
    Drain,
    /// Too large even to read past: break the connection.
    Refuse,
}

/// Sees the untagged responses to a command. A message's octets come before the response they belong to.
pub trait Receiver: Send {
    /// A response.
    fn untagged(&mut self, response: Untagged);

    /// A message of `len` bytes begins. Its UID may not be known yet.
    fn body_begins(&mut self, _len: u64) -> Take {
        Take::Drain
    }

    /// More octets of it.
    fn body_octets(&mut self, _octets: &[u8]) {}
}

/// Wants nothing.
#[derive(Debug)]
pub struct Ignore;

impl Receiver for Ignore {
    fn untagged(&mut self, _response: Untagged) {}
}

/// Gives each response to a closure.
struct Each<F>(F);

impl<F: FnMut(Untagged) + Send> Receiver for Each<F> {
    fn untagged(&mut self, response: Untagged) {
        (self.0)(response);
    }
}

/// What EXAMINE told of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Examined {
    /// Messages in it.
    pub exists: u32,
    /// UIDVALIDITY; 0 if not told.
    pub uid_validity: u32,
    /// UIDNEXT; 0 if not told.
    pub uid_next: u32,
    /// HIGHESTMODSEQ; 0 if not told.
    pub modseq: u64,
}

/// A connection that was greeted.
pub struct Connection {
    pub(super) wire: Wire,
    pub(super) env: Env,
    pub(super) idle: Duration,
    pub(super) broken: bool,
    limits: Limits,
    capabilities: Capabilities,
    habits: Habits,
    tags: u64,
    unread: u64,
    /// The folder that is examined, by its name on the wire.
    examined: Option<(Bytes, Examined)>,
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
            examined: None,
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

    /// Must it not be used any more? Also true after a call was dropped half way.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Responses that were skipped because nobody understands them.
    pub fn unread(&self) -> u64 {
        self.unread
    }

    /// The folder examined now.
    pub fn examined(&self) -> Option<(&[u8], Examined)> {
        self.examined.as_ref().map(|(name, e)| (name.as_ref(), *e))
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
        let pieces = command.encode(&tag, self.capabilities.has("LITERAL+"))?;
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
        pieces: Vec<super::command::Piece>,
        receiver: &mut dyn Receiver,
    ) -> Result<Done, WireError> {
        let mut pieces = pieces.into_iter().peekable();
        if let Some(first) = pieces.next() {
            self.wire.send(&first.octets).await?;
        }
        let (mut count, mut text) = (0u64, 0u64);
        loop {
            let (response, len) = self.response(receiver).await?;
            count += 1;
            text += len as u64;
            if count > self.limits.untagged || text > self.limits.text {
                return Err(WireError::Limit("the answers to one command"));
            }
            match response {
                Response::Continue => match pieces.next() {
                    Some(piece) => self.wire.send(&piece.octets).await?,
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
                        Untagged::Status(Done { status: Status::Bye, backoff, .. }) => {
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

    /// A tag that was not used yet.
    pub(super) fn next_tag(&mut self) -> String {
        self.tags += 1;
        format!("m{}", self.tags)
    }

    /// Remembers what a status told of the server.
    pub(super) fn learn(&mut self, code: &Code) {
        if let Code::Capability(c) = code {
            self.capabilities = c.clone();
        }
    }

    /// Reads one response; also how long its text was, in bytes.
    async fn response(&mut self, receiver: &mut dyn Receiver) -> Result<(Response, usize), WireError> {
        let mut raw = Raw::default();
        let mut held = 0;
        loop {
            let line = self.wire.line().await?;
            raw.text.extend_from_slice(&line.text);
            if raw.text.len() + held > self.limits.response {
                return Err(WireError::Limit("one response"));
            }
            let Some(len) = line.literal else {
                if raw.text.is_empty() && raw.literals.is_empty() {
                    self.unread += 1; // some servers send empty lines
                    continue;
                }
                break;
            };
            if raw.literals.len() >= self.limits.literals {
                return Err(WireError::Limit("literals in one response"));
            }
            let value = if awaits_body(&raw.text) {
                match receiver.body_begins(len) {
                    Take::Refuse => return Err(WireError::BodyTooLarge(len)),
                    Take::Keep => self.wire.literal(len, &mut |o| receiver.body_octets(o)).await?,
                    Take::Drain => self.wire.literal(len, &mut |_| {}).await?,
                }
                Value::Streamed
            } else {
                if len > self.limits.small_literal {
                    return Err(WireError::Limit("a literal that is no message"));
                }
                let mut octets = Vec::new();
                self.wire.literal(len, &mut |o| octets.extend_from_slice(o)).await?;
                held += octets.len();
                Value::Octets(Bytes::from(octets))
            };
            raw.literals.push(Literal { at: raw.text.len(), value });
        }
        let mut response = read(&raw)?;
        self.judge(&mut response, &raw.text);
        Ok((response, raw.text.len() + held))
    }

    /// What this server is known for: capabilities it only claims, words by which it says that it is asked too much.
    pub(super) fn judge(&self, response: &mut Response, text: &[u8]) {
        match response {
            Response::Untagged(Untagged::Capability(told)) => told.distrust(self.habits.distrust),
            Response::Tagged(_, done) | Response::Untagged(Untagged::Status(done)) => {
                if let Code::Capability(told) = &mut done.code {
                    told.distrust(self.habits.distrust);
                }
                if done.backoff.is_none() && !matches!(done.status, Status::Ok | Status::PreAuth) {
                    done.backoff = self.habits.pause(text);
                }
            }
            _ => {}
        }
    }

    /// Reads the greeting.
    pub(super) async fn greeting(&mut self) -> Result<Done, WireError> {
        let (response, _) = self.response(&mut Ignore).await?;
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
        let done = self.run(Command::new("CAPABILITY"), &mut Ignore).await.map_err(WireError::into_error)?;
        done.check(Scope::Endpoint, "asking for its capabilities")
    }

    /// NAMESPACE (RFC 2342); empty if the server does not have it.
    ///
    /// # Errors
    /// The connection failed, the server refused or sent what cannot be read.
    pub async fn namespaces(&mut self) -> Result<Namespaces> {
        if !self.capabilities.has("NAMESPACE") {
            return Ok(Namespaces::default());
        }
        let mut found = Err(unreadable("its namespaces"));
        let mut each = Each(|response| {
            if let Untagged::Namespace(n) = response {
                found = Ok(n);
            }
        });
        let done = self.run(Command::new("NAMESPACE"), &mut each).await.map_err(WireError::into_error)?;
        done.check(Scope::Mailbox, "asking for its namespaces")?;
        found
    }

    /// LIST "" `pattern`, with special uses if the server can tell them apart from the start (RFC 6154).
    ///
    /// # Errors
    /// As [`Connection::namespaces`]. One line that cannot be read is an error: a folder would be missing.
    pub async fn list(&mut self, pattern: &[u8]) -> Result<Vec<ListEntry>> {
        let extended = self.capabilities.has("LIST-EXTENDED") && self.capabilities.has("SPECIAL-USE");
        let mut command = Command::new("LIST").string(b"").string(pattern);
        if extended {
            command = command.fixed("RETURN (SPECIAL-USE)");
        }
        let mut entries = Vec::new();
        let mut bad = false;
        let mut each = Each(|response| match response {
            Untagged::List(entry) => entries.push(entry),
            Untagged::Unreadable("LIST") => bad = true,
            _ => {}
        });
        let done = self.run(command, &mut each).await.map_err(WireError::into_error)?;
        done.check(Scope::Mailbox, "listing the folders")?;
        if bad { Err(unreadable("its list of folders")) } else { Ok(entries) }
    }

    /// EXAMINE: opens a folder read-only (RFC 3501 §6.3.2). With CONDSTORE where it is offered: some servers tell
    /// HIGHESTMODSEQ only to those who ask (RFC 7162 §3.1.8).
    ///
    /// # Errors
    /// The connection failed, or the server refused.
    pub async fn examine(&mut self, name: &[u8]) -> Result<Examined> {
        self.examined = None;
        let mut told = Examined::default();
        let mut each = Each(|response| match response {
            Untagged::Exists(n) => told.exists = n,
            Untagged::Status(done) => told.learn(&done.code),
            _ => {}
        });
        let mut command = Command::new("EXAMINE").string(name);
        if self.capabilities.has("CONDSTORE") {
            command = command.fixed("(CONDSTORE)");
        }
        let done = self.run(command, &mut each).await.map_err(WireError::into_error)?;
        done.check(Scope::Folder, "opening a folder")?;
        told.learn(&done.code);
        self.examined = Some((Bytes::copy_from_slice(name), told));
        Ok(told)
    }

    /// UID FETCH `set` `items`.
    ///
    /// # Errors
    /// The connection failed. The tagged status is for the caller to look at.
    pub async fn uid_fetch(
        &mut self,
        set: &UidSet,
        items: &'static str,
        receiver: &mut dyn Receiver,
    ) -> Result<Done, WireError> {
        self.run(Command::new("UID FETCH").set(set).fixed(items), receiver).await
    }

    /// NOOP: lets the server tell what changed, and shows that the connection lives.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn noop(&mut self) -> Result<(), WireError> {
        self.run(Command::new("NOOP"), &mut Ignore).await.map(|_| ())
    }

    /// LOGOUT, within two seconds; then the connection is closed, politely or not.
    pub async fn logout(mut self) {
        let env = self.env.clone();
        let _ = env.within(FAREWELL, self.run(Command::new("LOGOUT"), &mut Ignore)).await;
        let _ = env.within(FAREWELL, tokio::io::AsyncWriteExt::shutdown(&mut self.wire.stream)).await;
    }
}

impl Examined {
    fn learn(&mut self, code: &Code) {
        match code {
            Code::UidValidity(n) => self.uid_validity = *n,
            Code::UidNext(n) => self.uid_next = *n,
            Code::HighestModSeq(n) => self.modseq = *n,
            Code::None | Code::Capability(_) | Code::Named(_) => {}
        }
    }
}

fn unreadable(what: &str) -> Error {
    Error::temporary(
        Kind::Protocol,
        Scope::Mailbox,
        format!("the server answered {what} in a way that cannot be read"),
    )
}

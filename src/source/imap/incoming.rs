//! Messages as they come in.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::imap::{BodyItem, FetchItems, Receiver, Take, Untagged};
use crate::model::{Bodies, Body, BodyWriter, Error, Flags, Kind, Scope, Timestamp};

/// A message above the limit is read past if it is above it by at most this, in bytes; else the connection is given
/// up, which is cheaper.
const READ_PAST: u64 = 32 << 20;

/// Smaller messages are copied out of what was read from the wire, in bytes: a few of them kept for long would hold all
/// of that in memory.
const COPIED: usize = 16 << 10;

/// Larger messages are taken in as they arrive, also those that are kept in memory, in bytes: what comes whole is digested
/// at once.
const AT_ONCE: u64 = 8 << 20;

/// What came of one message.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Message { body: Body, flags: Option<Flags>, received: Option<Timestamp> },
    Gone,
    Failed(Error),
}

impl Answer {
    pub fn too_large(size: u64, max: u64) -> Error {
        Error::new(
            Kind::TooLarge,
            Scope::Message,
            format!("a message of {size} bytes is larger than the limit of {max}"),
        )
        .remedy("raise `max_message` if the target takes it, or hand the message over as a file")
    }
}

/// Which UIDs are there.
#[derive(Default)]
pub(super) struct Present {
    pub uids: BTreeSet<u32>,
    pub unreadable: bool,
}

impl Receiver for Present {
    fn untagged(&mut self, response: Untagged) {
        match response {
            Untagged::Fetch(items) => self.uids.extend(items.uid),
            Untagged::Unreadable("FETCH") => self.unreadable = true,
            _ => {}
        }
    }
}

/// What the commands in flight bring.
pub(super) struct Incoming<'a> {
    bodies: &'a Bodies,
    wanted: BTreeSet<u32>,
    current: Current,
    pub answers: BTreeMap<u32, Answer>,
    /// Messages that came unasked or twice.
    pub stray: u64,
    /// The spool failed so.
    pub spool: Option<io::ErrorKind>,
}

/// The octets that came last; whose they are is known when their response is complete.
enum Current {
    None,
    /// Of this length; nothing of it came yet.
    Begins(u64),
    /// Came whole.
    Whole(Bytes),
    Writing(Box<BodyWriter>),
    TooLarge(u64),
}

impl<'a> Incoming<'a> {
    pub fn new(bodies: &'a Bodies) -> Incoming<'a> {
        Incoming {
            bodies,
            wanted: BTreeSet::new(),
            current: Current::None,
            answers: BTreeMap::new(),
            stray: 0,
            spool: None,
        }
    }

    /// These are asked for, by one more command.
    pub fn want(&mut self, uids: &[u32]) {
        self.wanted.extend(uids);
    }

    /// A message is accounted for; should it come again, that is stray.
    fn answer(&mut self, uid: u32, answer: Answer) {
        self.wanted.remove(&uid);
        self.answers.insert(uid, answer);
    }

    fn message(&mut self, uid: u32, items: FetchItems, body: io::Result<Body>) {
        match body {
            Ok(body) => {
                let answer = Answer::Message { body, flags: items.flags, received: items.received };
                self.answer(uid, answer);
            }
            Err(e) => self.spool = Some(e.kind()),
        }
    }

    /// Octets that came whole, as a body.
    fn whole(&self, octets: &Bytes) -> io::Result<Body> {
        let len = octets.len() as u64;
        if len > self.bodies.memory_limit {
            let mut writer = self.bodies.begin(len)?;
            writer.write_all(octets)?;
            return writer.finish();
        }
        let kept = if octets.len() < COPIED { Bytes::copy_from_slice(octets) } else { octets.clone() };
        Ok(Body::from_bytes(kept))
    }

    fn write(&mut self, mut writer: Box<BodyWriter>, octets: &Bytes) {
        match writer.write_all(octets) {
            Ok(()) => self.current = Current::Writing(writer),
            Err(e) => self.spool = Some(e.kind()),
        }
    }
}

/// Holds on to it; nothing of it is left half done by a panic.
pub(super) fn locked<'m, 'a>(incoming: &'m Mutex<Incoming<'a>>) -> MutexGuard<'m, Incoming<'a>> {
    incoming.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one receiver of all commands in flight: a response is read whole before the next, whoever reads it.
pub(super) struct Shared<'m, 'a>(pub &'m Mutex<Incoming<'a>>);

impl Receiver for Shared<'_, '_> {
    fn untagged(&mut self, response: Untagged) {
        locked(self.0).untagged(response);
    }

    fn body_begins(&mut self, len: u64) -> Take {
        locked(self.0).body_begins(len)
    }

    fn body_octets(&mut self, octets: Bytes) {
        locked(self.0).body_octets(octets);
    }
}

/// Is this shorter than the server says, and does it begin with no header field? Some servers leave the header out.
/// (A wrong size alone proves nothing: whole families of servers tell wrong ones.)
fn is_torso(octets: &[u8], told: Option<u64>) -> bool {
    let name = octets.iter().take_while(|b| b.is_ascii_graphic() && **b != b':').count();
    let has_field = name > 0 && octets.get(name) == Some(&b':');
    !has_field && told.is_some_and(|told| told > octets.len() as u64)
}

impl Receiver for Incoming<'_> {
    fn body_begins(&mut self, len: u64) -> Take {
        self.current = Current::None;
        if len > self.bodies.max.saturating_add(READ_PAST) {
            return Take::Refuse;
        }
        if len > self.bodies.max {
            self.current = Current::TooLarge(len);
            return Take::Drain;
        }
        self.current = if len == 0 { Current::Whole(Bytes::new()) } else { Current::Begins(len) };
        // What is kept in memory is not gathered piece by piece: its room is asked for once either way.
        if len <= self.bodies.memory_limit.min(AT_ONCE) { Take::Whole } else { Take::Keep }
    }

    fn body_octets(&mut self, octets: Bytes) {
        match std::mem::replace(&mut self.current, Current::None) {
            Current::Begins(len) if octets.len() as u64 == len => self.current = Current::Whole(octets),
            Current::Begins(len) => match self.bodies.begin(len) {
                Ok(writer) => self.write(Box::new(writer), &octets),
                Err(e) => self.spool = Some(e.kind()),
            },
            Current::Writing(writer) => self.write(writer, &octets),
            // No more is due, or the spool has failed.
            other => self.current = other,
        }
    }

    fn untagged(&mut self, response: Untagged) {
        let Untagged::Fetch(items) = response else { return };
        let current = std::mem::replace(&mut self.current, Current::None);
        if items.body == BodyItem::Absent {
            return; // a change of flags told on the side
        }
        let Some(uid) = items.uid.filter(|uid| self.wanted.contains(uid)) else {
            self.stray += 1;
            return;
        };
        match (&items.body, current) {
            // The server lost the header, or all of it: it counts as missing.
            (BodyItem::Streamed, Current::Whole(octets)) if is_torso(&octets, items.size) => {}
            (BodyItem::Streamed, Current::Whole(octets)) => {
                let body = self.whole(&octets);
                self.message(uid, *items, body);
            }
            (BodyItem::Streamed, Current::Writing(writer)) => self.message(uid, *items, writer.finish()),
            (BodyItem::Streamed, Current::TooLarge(len)) => {
                self.answer(uid, Answer::Failed(Answer::too_large(len, self.bodies.max)));
            }
            (BodyItem::Held(octets), _) if octets.len() as u64 > self.bodies.max => {
                let why = Answer::too_large(octets.len() as u64, self.bodies.max);
                self.answer(uid, Answer::Failed(why));
            }
            (BodyItem::Held(octets), _) => {
                let body = self.whole(octets);
                self.message(uid, *items, body);
            }
            // NIL: the server has the message and no octets for it. It counts as missing.
            (BodyItem::Nil | BodyItem::Absent | BodyItem::Passed, _)
            | (BodyItem::Streamed, Current::None | Current::Begins(_)) => {}
        }
    }
}

//! Messages: octets exactly as sent, every wanted UID accounted for exactly once.
//!
//! A server may leave messages out without a word, answer NO for a whole set because of one of them, send others than
//! asked for, or send one twice. So what was received is compared with what was wanted; what is missing is asked for
//! (is it still there?), and what is there and does not come is cornered by halves until it is alone; then it is asked
//! for in parts, which some servers can still do.
//!
//! Several commands are in flight at once. A server may answer them in any order and mixed (RFC 3501 §5.5; Dovecot does,
//! when its output is held up), and an untagged answer does not say which command it is for. So there is one receiver
//! for all commands in flight, and messages are told apart by UID. Nobody else uses the session meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesOrdered, StreamExt};

use super::incoming::{Answer, Incoming, Present, Shared, locked};
use super::plan::{commands, halves, part, uid_of};
use super::whole::in_parts;
use crate::imap::{Code, Desk, Done, Examined, Session, UidSet, WireError};
use crate::model::{Bodies, Error, Kind, Result, Scope};
use crate::source::{Fetched, Wanted};

/// What is asked of each message. PEEK: `\Seen` is not set (and the folder is examined read-only anyway).
const ITEMS: &str = "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])";

/// Commands in flight at once on one session, the EXAMINE counted: one whose octets arrive, and one the server has at
/// hand when it is done with that.
const IN_FLIGHT: usize = 3;

/// After the server hung up: who is to blame for it can be told only if one command is in flight.
const ONE_AT_A_TIME: usize = 1;

/// Sessions one batch may cost before the call fails as a whole.
const LOSSES: u32 = 8;

/// Sessions that may be lost to others' commands.
const LOST_TO_OTHERS: u32 = 32;

/// How far a fetch came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Every message is accounted for.
    Complete,
    /// The connection had to be given up; go on with another.
    SessionLost,
}

/// What was tried with a message that failed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    Alone,
    InParts,
}

/// One batch on its way.
pub(super) struct Fetch<'a> {
    name: &'a [u8],
    epoch: u64,
    wanted: &'a [Wanted],
    bodies: &'a Bodies,
    queue: VecDeque<Vec<u32>>,
    /// To be asked for in parts, and why they did not come whole.
    in_parts: VecDeque<(u32, Error)>,
    answers: BTreeMap<u32, Answer>,
    tried: BTreeMap<u32, Tried>,
    /// Sessions the server ended under a fetch of this batch, and of another.
    losses: u32,
    lost_to_others: u32,
    /// Messages that came unasked or twice.
    stray: u64,
}

/// What came back of a command in flight.
enum Landed<'s> {
    Folder(Result<(Desk<'s>, Arc<Examined>)>),
    Messages(Vec<u32>, Result<Done, WireError>),
}

impl<'a> Fetch<'a> {
    /// Plans to fetch `wanted`, at most `at_once` messages a command.
    pub fn new(
        name: &'a [u8],
        epoch: u64,
        wanted: &'a [Wanted],
        bodies: &'a Bodies,
        at_once: usize,
    ) -> Fetch<'a> {
        let mut answers = BTreeMap::new();
        let mut uids = BTreeMap::new();
        for one in wanted {
            let Some(uid) = uid_of(one) else { continue };
            match one.size {
                Some(size) if size > bodies.max => {
                    answers.insert(uid, Answer::Failed(Answer::too_large(size, bodies.max)));
                }
                size => {
                    uids.insert(uid, size);
                }
            }
        }
        Fetch {
            name,
            epoch,
            wanted,
            bodies,
            queue: commands(&uids, at_once),
            in_parts: VecDeque::new(),
            answers,
            tried: BTreeMap::new(),
            losses: 0,
            lost_to_others: 0,
            stray: 0,
        }
    }

    /// Fetches over this session until all is accounted for or the session must be given up.
    pub async fn go_on(&mut self, session: &Session) -> Result<End> {
        let mut desk = session.desk(self.name).await;
        loop {
            let missed;
            (desk, missed) = match self.fly(session, desk).await? {
                Some(landed) => landed,
                None => return Ok(self.end()),
            };
            for (missing, done) in missed {
                self.corner(session, &missing, &done).await?;
            }
            while let Some((uid, why)) = self.in_parts.pop_front() {
                if !self.fetch_in_parts(session, uid, why).await? {
                    return Ok(self.end());
                }
            }
            if self.end() == End::Complete {
                break;
            }
        }
        if self.stray > 0 {
            tracing::debug!(messages = self.stray, "the server sent messages nobody asked for, or twice");
        }
        Ok(End::Complete)
    }

    /// Where it stands when the session can be used no longer.
    fn end(&self) -> End {
        if self.queue.is_empty() && self.in_parts.is_empty() { End::Complete } else { End::SessionLost }
    }

    /// Sends what is queued, several commands at once, and takes in what comes. Gives back what did not come; `None`:
    /// the session is lost.
    async fn fly<'s>(
        &mut self,
        session: &'s Session,
        desk: Desk<'s>,
    ) -> Result<Option<(Desk<'s>, Vec<(Vec<u32>, Done)>)>> {
        let incoming = &Mutex::new(Incoming::new(self.bodies));
        let most = if self.losses > 0 { ONE_AT_A_TIME } else { IN_FLIGHT };
        let mut flying: FuturesOrdered<BoxFuture<'_, Landed<'s>>> = FuturesOrdered::new();
        flying.push_back(async move { Landed::Folder(desk.examine().await) }.boxed());
        let mut open: Option<Result<Desk<'s>>> = None;
        let mut missed = Vec::new();
        let mut lost: Option<Result<()>> = None;
        loop {
            let go_on = lost.is_none() && open.as_ref().is_none_or(Result::is_ok);
            while go_on && flying.len() < most {
                let Some(set) = self.queue.pop_front() else { break };
                locked(incoming).want(&set);
                let one = async move {
                    let uids: UidSet = set.iter().copied().collect();
                    let end = session.uid_fetch(&uids, ITEMS, &mut Shared(incoming)).await;
                    Landed::Messages(set, end)
                };
                flying.push_back(one.boxed());
            }
            match flying.next().await {
                None => break,
                Some(Landed::Folder(opened)) => {
                    open = Some(
                        opened.and_then(|(desk, examined)| self.numbered_as_before(&examined).map(|()| desk)),
                    );
                }
                // Of a folder that could not be opened, or is another by now.
                Some(Landed::Messages(..)) if !matches!(open, Some(Ok(_))) => {}
                Some(Landed::Messages(set, end)) => {
                    let spool = self.absorb(&mut locked(incoming));
                    let missing: Vec<u32> =
                        set.into_iter().filter(|uid| !self.answers.contains_key(uid)).collect();
                    match end {
                        Ok(done) => {
                            if let Err(e) = spool {
                                lost.get_or_insert(Err(e));
                            } else if !missing.is_empty() {
                                missed.push((missing, done));
                            }
                        }
                        Err(e) => {
                            let blamed = self.lose(missing, e);
                            lost.get_or_insert(blamed.and(spool));
                        }
                    }
                }
            }
        }
        let desk = open.unwrap_or_else(|| Err(WireError::Broken.into_error()))?;
        match lost {
            None => Ok(Some((desk, missed))),
            Some(end) => {
                for (missing, _) in missed {
                    self.queue.push_front(missing);
                }
                end.map(|()| None)
            }
        }
    }

    fn numbered_as_before(&self, examined: &Examined) -> Result<()> {
        if u64::from(examined.uid_validity) == self.epoch {
            return Ok(());
        }
        Err(Error::temporary(
            Kind::Conflict,
            Scope::Folder,
            "the folder was numbered anew by the server (UIDVALIDITY changed)",
        )
        .remedy("it is listed again and matched with what was stored"))
    }

    /// The session ended under a command of which `missing` did not come. An error if it is of no use to go on.
    fn lose(&mut self, missing: Vec<u32>, end: WireError) -> Result<()> {
        match end {
            WireError::BodyTooLarge(size) => match missing.as_slice() {
                [uid] => {
                    let why = Answer::too_large(size, self.bodies.max);
                    self.answers.insert(*uid, Answer::Failed(why));
                }
                _ => self.halve(&missing),
            },
            // Servers say BYE, hang up, fall silent or lose their thread at a message they cannot read: the first one
            // that is missing.
            WireError::Bye(None)
            | WireError::Closed
            | WireError::Io(_)
            | WireError::TimedOut
            | WireError::Framing(_) => {
                self.losses += 1;
                if self.losses > LOSSES {
                    return Err(end.into_error());
                }
                self.suspect(&missing, end);
            }
            // It ended under another command; this one is asked again.
            WireError::Broken => {
                self.lost_to_others += 1;
                if self.lost_to_others > LOST_TO_OTHERS {
                    return Err(end.into_error());
                }
                if !missing.is_empty() {
                    self.queue.push_back(missing);
                }
            }
            _ => return Err(end.into_error()),
        }
        Ok(())
    }

    /// Settles what did not come.
    async fn corner(&mut self, session: &Session, missing: &[u32], done: &Done) -> Result<()> {
        if !done.ok() && concerns_the_server(done) {
            return Err(done.refusal(Scope::Mailbox, "fetching messages"));
        }
        // Only after a NOOP do servers forget what others expunged meanwhile.
        session.noop().await.map_err(WireError::into_error)?;
        let mut there = Present::default();
        let asked: UidSet = missing.iter().copied().collect();
        session
            .uid_fetch(&asked, "(UID)", &mut there)
            .await
            .map_err(WireError::into_error)?
            .check(Scope::Mailbox, "asking which messages are still there")?;
        if there.unreadable {
            return Err(Error::temporary(
                Kind::Protocol,
                Scope::Folder,
                "the server tells which messages are there in a way that cannot be read",
            ));
        }
        let (gone, still) = part(missing, &there.uids);
        for uid in gone {
            self.answers.insert(uid, Answer::Gone);
        }
        match still.as_slice() {
            [] => {}
            [uid] => {
                // May the engine try again later? Yes: a bare NO can also mean a storage that is down.
                let what = if done.ok() {
                    "the server lists this message but does not hand it out".to_owned()
                } else {
                    done.refusal(Scope::Message, "fetching this message").what
                };
                self.failed_alone(*uid, what);
            }
            many => self.halve(many),
        }
        Ok(())
    }

    /// The session ended at the first of `missing`: it is tried alone, and the next time it is to blame.
    fn suspect(&mut self, missing: &[u32], end: WireError) {
        let Some((first, others)) = missing.split_first() else { return };
        if !others.is_empty() {
            self.queue.push_front(others.to_vec());
        }
        self.failed_alone(*first, format!("each time this message is fetched, {end}"));
    }

    /// A message failed by itself: it is tried once more, then in parts, then given up.
    fn failed_alone(&mut self, uid: u32, what: String) {
        let why = Error::temporary(Kind::Io, Scope::Message, what)
            .remedy("the server's log tells why; let its operator repair the message or the folder's index");
        match self.tried.get(&uid) {
            None => {
                self.tried.insert(uid, Tried::Alone);
                self.queue.push_front(vec![uid]);
            }
            Some(Tried::Alone) => {
                self.tried.insert(uid, Tried::InParts);
                self.in_parts.push_back((uid, why));
            }
            Some(Tried::InParts) => {
                self.answers.insert(uid, Answer::Failed(why));
            }
        }
    }

    /// Asks for one message in parts. `false`: that cost the session, and the message is given up.
    async fn fetch_in_parts(&mut self, session: &Session, uid: u32, why: Error) -> Result<bool> {
        match in_parts(session, uid, self.bodies, &why).await {
            Ok(answer) => {
                self.answers.insert(uid, answer?);
                Ok(true)
            }
            Err(end) => {
                self.losses += 1;
                if self.losses > LOSSES {
                    return Err(end.into_error());
                }
                self.answers.insert(uid, Answer::Failed(why));
                Ok(false)
            }
        }
    }

    fn halve(&mut self, uids: &[u32]) {
        let halves: Vec<Vec<u32>> = halves(uids).collect();
        for half in halves.into_iter().rev() {
            self.queue.push_front(half);
        }
    }

    /// Takes over what came so far, to whichever command; an error if the spool failed.
    fn absorb(&mut self, incoming: &mut Incoming<'_>) -> Result<()> {
        self.stray += std::mem::take(&mut incoming.stray);
        self.answers.append(&mut incoming.answers);
        match incoming.spool {
            None => Ok(()),
            Some(kind) => Err(spool_failed(kind)),
        }
    }

    /// One answer for each wanted message, in the order wanted.
    pub fn into_answers(self) -> Vec<Fetched> {
        let answer = |wanted: &Wanted| match uid_of(wanted).and_then(|uid| self.answers.get(&uid)) {
            Some(Answer::Message { body, flags, received }) => {
                Fetched::Message { body: body.clone(), flags: flags.clone(), received: *received }
            }
            Some(Answer::Gone) => Fetched::Gone,
            Some(Answer::Failed(why)) => Fetched::Failed(why.clone()),
            None => Fetched::Failed(Error::new(
                Kind::Internal,
                Scope::Message,
                "this message has no UID an IMAP server could know",
            )),
        };
        self.wanted.iter().map(answer).collect()
    }
}

pub(super) fn spool_failed(kind: std::io::ErrorKind) -> Error {
    Error::temporary(
        Kind::Io,
        Scope::Run,
        format!("a message could not be put into the spool directory ({kind})"),
    )
    .remedy("check the space and the rights of the spool directory")
}

/// Does a refusal tell of the server's state and not of the messages?
fn concerns_the_server(done: &Done) -> bool {
    let code = |names: &[&str]| matches!(&done.code, Code::Named(n) if names.contains(&n.as_str()));
    done.backoff.is_some() || code(&["UNAVAILABLE", "INUSE", "THROTTLED", "LIMIT"])
}

#[cfg(test)]
mod tests;

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
            // Dovecot says BYE, or hangs up in the middle, at a message whose file it cannot read: the first one
            // that is missing.
            WireError::Bye(None) | WireError::Closed => {
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
mod tests {
    use super::*;
    use crate::imap::script::{Script, close, expect, on_a_runtime, send};
    use crate::model::SourceId;

    const EXAMINED: &str = "* 9 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 99] x\r\n$ OK done\r\n";

    fn bodies(max: u64) -> Bodies {
        Bodies { memory_limit: 1 << 20, max, spool: std::env::temp_dir() }
    }

    fn wanted(uids: &[u64]) -> Vec<Wanted> {
        uids.iter().map(|n| Wanted { number: *n, id: SourceId::Number(*n), size: None }).collect()
    }

    fn message(uid: u32, octets: &str) -> String {
        format!("* {uid} FETCH (FLAGS (\\Seen) UID {uid} BODY[] {{{}}}\r\n{octets})\r\n", octets.len())
    }

    fn shown(answers: Vec<Fetched>) -> Vec<String> {
        answers
            .into_iter()
            .map(|a| match a {
                Fetched::Message { body, .. } => {
                    String::from_utf8_lossy(&body.bytes().expect("bytes")).into_owned()
                }
                Fetched::Gone => "gone".to_owned(),
                Fetched::Failed(e) => format!("failed: {:?}", e.kind),
            })
            .collect()
    }

    /// Fetches `uids` from a server that does as `script` says, with a new connection for each script.
    fn fetch(uids: &[u64], max: u64, scripts: Vec<Vec<Script>>) -> Result<Vec<String>> {
        fetch_by(100, uids, max, scripts)
    }

    /// As `fetch`, `at_once` messages a command.
    fn fetch_by(at_once: usize, uids: &[u64], max: u64, scripts: Vec<Vec<Script>>) -> Result<Vec<String>> {
        on_a_runtime(async move {
            let wanted = wanted(uids);
            let bodies = bodies(max);
            let mut fetch = Fetch::new(b"INBOX", 7, &wanted, &bodies, at_once);
            for script in scripts {
                let (session, peer) = crate::imap::script::session(script);
                let end = fetch.go_on(&session).await;
                drop(session);
                peer.await.expect("the peer saw what it expected");
                if end? == End::Complete {
                    return Ok(shown(fetch.into_answers()));
                }
            }
            panic!("the fetch wants more connections than the test gives");
        })
    }

    #[test]
    fn answers_come_in_the_order_wanted_whatever_order_and_noise_the_server_sends() {
        let noise = format!(
            "* 12 EXISTS\r\n* 3 FETCH (FLAGS (\\Answered))\r\n{}{}{}* XFOO bar\r\n\r\n{}$ OK done\r\n",
            message(5, "five"),
            message(77, "foreign"),
            message(5, "five again"),
            message(3, "three"),
        );
        let script = vec![
            expect("EXAMINE \"INBOX\""),
            send(EXAMINED),
            expect("UID FETCH 3,5 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])"),
            send(&noise),
        ];
        assert_eq!(fetch(&[5, 3, 5], 1000, vec![script]).expect("fetched"), ["five", "three", "five"]);
    }

    #[test]
    fn answers_of_one_command_in_flight_are_not_lost_to_another() {
        let script = vec![
            expect("EXAMINE"),
            expect("UID FETCH 1 "),
            expect("UID FETCH 2 "),
            send(&EXAMINED.replace('$', "$1")),
            expect("UID FETCH 3 "),
            send(&format!("{}{}$3 OK done\r\n", message(2, "two"), message(3, "three"))),
            send(&format!("{}$2 OK done\r\n$4 OK done\r\n", message(1, "one"))),
        ];
        assert_eq!(fetch_by(1, &[1, 2, 3], 1000, vec![script]).expect("fetched"), ["one", "two", "three"]);
    }

    #[test]
    fn a_message_left_out_without_a_word_is_gone_only_if_it_is_gone() {
        let script = vec![
            expect("EXAMINE"),
            send(EXAMINED),
            expect("UID FETCH 1:3"),
            send(&format!("{}$ OK done\r\n", message(2, "two"))),
            expect("NOOP"),
            send("* 1 EXPUNGE\r\n$ OK\r\n"),
            expect("UID FETCH 1,3 (UID)"),
            send("* 2 FETCH (UID 3)\r\n$ OK done\r\n"),
            expect("UID FETCH 3 (UID FLAGS"),
            send(&format!("{}$ OK done\r\n", message(3, "three"))),
        ];
        assert_eq!(fetch(&[1, 2, 3], 1000, vec![script]).expect("fetched"), ["gone", "two", "three"]);
    }

    #[test]
    fn a_no_for_the_set_is_cornered_to_the_message_that_causes_it() {
        let there = |range: &str, lines: &str| {
            vec![
                expect("NOOP"),
                send("$ OK\r\n"),
                expect(&format!("UID FETCH {range} (UID)")),
                send(&format!("{lines}$ OK done\r\n")),
            ]
        };
        let mut script =
            vec![expect("EXAMINE"), send(EXAMINED), expect("UID FETCH 1:3"), send("$ NO some failed\r\n")];
        script.extend(there("1:3", "* 1 FETCH (UID 1)\r\n* 2 FETCH (UID 2)\r\n* 3 FETCH (UID 3)\r\n"));
        script
            .extend([expect("UID FETCH 1 (UID FLAGS"), send(&format!("{}$ OK done\r\n", message(1, "one")))]);
        script.extend([
            expect("UID FETCH 2:3 (UID FLAGS"),
            send(&format!("{}$ NO some failed\r\n", message(3, "three"))),
        ]);
        script.extend(there("2", "* 2 FETCH (UID 2)\r\n"));
        script
            .extend([expect("UID FETCH 2 (UID FLAGS"), send("* 2 FETCH (UID 2 BODY[] NIL)\r\n$ NO bad\r\n")]);
        script.extend(there("2", "* 2 FETCH (UID 2)\r\n"));
        script.extend([
            expect("UID FETCH 2 (UID FLAGS INTERNALDATE RFC822.SIZE)"),
            send("* 2 FETCH (UID 2 RFC822.SIZE 10)\r\n$ OK\r\n"),
            expect("UID FETCH 2 (UID BODY.PEEK[]<0.10>)"),
            send("* 2 FETCH (UID 2 BODY[]<0> {4}\r\nhalf)\r\n$ OK\r\n"),
            expect("UID FETCH 2 (UID BODY.PEEK[]<4.6>)"),
            send("* 2 FETCH (UID 2 BODY[]<4> \"\")\r\n$ OK\r\n"),
        ]);
        assert_eq!(fetch(&[1, 2, 3], 1000, vec![script]).expect("fetched"), ["one", "failed: Io", "three"]);
    }

    #[test]
    fn a_refusal_that_concerns_the_server_fails_the_call_and_no_message() {
        for (answer, throttled) in [
            ("$ NO [UNAVAILABLE] later\r\n", false),
            ("$ NO [THROTTLED] slow down\r\n", true),
            ("$ BAD Request is throttled. Suggested Backoff Time: 700 milliseconds\r\n", true),
        ] {
            let script = vec![expect("EXAMINE"), send(EXAMINED), expect("UID FETCH"), send(answer)];
            let error = fetch(&[1, 2], 1000, vec![script]).expect_err(answer);
            assert!(error.may_pass());
            assert_eq!(error.kind == Kind::Throttled, throttled, "{answer}");
        }
    }

    #[test]
    fn a_message_at_which_the_server_hangs_up_twice_is_to_blame_and_its_neighbours_are_fetched() {
        for end in
            ["* 2 FETCH (UID 2 FLAGS ())\r\n* BYE FETCH failed\r\n", "* 2 FETCH (UID 2 BODY[] {10}\r\nhalf"]
        {
            let dies = |set: &str, before: &str| {
                vec![expect("EXAMINE"), send(EXAMINED), expect(set), send(&format!("{before}{end}")), close()]
            };
            let first = dies("UID FETCH 1:3 ", &message(1, "one"));
            let second = dies("UID FETCH 2 ", "");
            let rest = format!("{}$ OK done\r\n", message(3, "three"));
            let third = vec![expect("EXAMINE"), send(EXAMINED), expect("UID FETCH 3 "), send(&rest)];
            let mut parts = third.clone();
            parts.extend([expect("UID FETCH 2 (UID FLAGS INTERNALDATE RFC822.SIZE)"), close()]);
            let answers = fetch(&[1, 2, 3], 1000, vec![first.clone(), second, parts]);
            assert_eq!(answers.expect("fetched"), ["one", "failed: Io", "three"]);
            // A connection that broke by itself harms nobody.
            let rest = format!("{}$ OK done\r\n", message(2, "two"));
            let mut second = vec![expect("EXAMINE"), send(EXAMINED), expect("UID FETCH 2 "), send(&rest)];
            second.extend_from_slice(&third[2..]);
            let answers = fetch(&[1, 2, 3], 1000, vec![first, second]);
            assert_eq!(answers.expect("fetched"), ["one", "two", "three"]);
        }
    }

    #[test]
    fn lies_about_lengths_fail_the_whole_call() {
        for answer in [
            // Announced too short: the rest of the message is no response.
            "* 1 FETCH (UID 1 BODY[] {3}\r\nSubject: x\r\n\r\nhello)\r\n$ OK done\r\n".to_owned(),
            // Announced too long: it swallows what follows.
            format!("* 1 FETCH (UID 1 BODY[] {{14}}\r\none)\r\n{}$ OK\r\n", message(2, "two")),
            "A99 OK done\r\n".to_owned(),
        ] {
            let script = vec![expect("EXAMINE"), send(EXAMINED), expect("UID FETCH"), send(&answer), close()];
            let error = fetch(&[1, 2], 1000, vec![script]).expect_err(&answer);
            assert!(error.kind == Kind::Protocol && error.may_pass(), "{answer}");
            assert!(!error.to_string().contains("Subject"), "{error}");
        }
    }

    #[test]
    fn a_message_above_the_limit_fails_alone() {
        let big = "x".repeat(2000);
        let script = vec![
            expect("EXAMINE"),
            send(EXAMINED),
            expect("UID FETCH 1:3"),
            send(&format!("{}{}{}$ OK done\r\n", message(1, "one"), message(2, &big), message(3, "three"))),
        ];
        let answers = fetch(&[1, 2, 3], 1000, vec![script]).expect("fetched");
        assert_eq!(answers, ["one", "failed: TooLarge", "three"]);
    }

    #[test]
    fn a_message_too_large_to_read_past_costs_the_session_and_nothing_else() {
        let huge = "* 1 FETCH (BODY[] {99999999999}\r\nxxx";
        let first = vec![
            expect("EXAMINE"),
            send(EXAMINED),
            expect("UID FETCH 1:3"),
            send(&format!("{}{huge}", message(1, "one"))),
        ];
        let second = vec![
            expect("EXAMINE"),
            expect("UID FETCH 2 "),
            send(&EXAMINED.replace('$', "$1")),
            expect("UID FETCH 3 "),
            send(&huge.replace("* 1", "* 2")),
        ];
        let third = vec![
            expect("EXAMINE"),
            send(EXAMINED),
            expect("UID FETCH 3 "),
            send(&format!("{}$ OK done\r\n", message(3, "three"))),
        ];
        let answers = fetch(&[1, 2, 3], 1000, vec![first, second, third]).expect("fetched");
        assert_eq!(answers, ["one", "failed: TooLarge", "three"]);
    }

    #[test]
    fn a_folder_numbered_anew_is_a_conflict() {
        let script = vec![
            expect("EXAMINE"),
            expect("UID FETCH 1 "),
            send("* 1 EXISTS\r\n* OK [UIDVALIDITY 8] x\r\n$1 OK\r\n"),
            send(&format!("{}$2 OK\r\n", message(1, "another"))),
        ];
        assert_eq!(fetch(&[1], 1000, vec![script]).expect_err("conflict").kind, Kind::Conflict);
    }

    #[test]
    fn what_the_listing_says_is_too_large_is_not_even_asked_for() {
        on_a_runtime(async {
            let mut wanted = wanted(&[1]);
            wanted[0].size = Some(2000);
            let bodies = bodies(1000);
            let fetch = Fetch::new(b"INBOX", 7, &wanted, &bodies, 100);
            assert!(fetch.queue.is_empty());
            assert_eq!(shown(fetch.into_answers()), ["failed: TooLarge"]);
        });
    }

    #[test]
    fn a_message_that_does_not_come_whole_is_put_together_from_parts_if_they_add_up() {
        let tried = [
            expect("UID FETCH 1 (UID FLAGS"),
            send("$ NO internal error\r\n"),
            expect("NOOP"),
            send("$ OK\r\n"),
            expect("UID FETCH 1 (UID)"),
            send("* 1 FETCH (UID 1)\r\n$ OK\r\n"),
        ];
        let mut script = vec![expect("EXAMINE"), send(EXAMINED)];
        script.extend(tried.clone());
        script.extend(tried);
        script.extend([
            expect("UID FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE)"),
            send("* 1 FETCH (UID 1 FLAGS (\\Seen) RFC822.SIZE 10)\r\n$ OK\r\n"),
            expect("UID FETCH 1 (UID BODY.PEEK[]<0.10>)"),
            // Another message's octets on the way, and fewer of ours than asked for.
            send("* 5 FETCH (UID 5 BODY[]<0> {3}\r\nxyz)\r\n* 1 FETCH (UID 1 BODY[]<0> {6}\r\nfirst )\r\n$ OK\r\n"),
            expect("UID FETCH 1 (UID BODY.PEEK[]<6.4>)"),
            send("* 1 FETCH (BODY[]<6> \"half\" UID 1)\r\n$ OK\r\n"),
        ]);
        assert_eq!(fetch(&[1], 1000, vec![script]).expect("fetched"), ["first half"]);
    }

    #[test]
    fn a_folder_that_cannot_be_opened_costs_one_refusal_and_not_the_session() {
        on_a_runtime(async {
            let (session, peer) = crate::imap::script::session(vec![
                expect("EXAMINE \"a\""),
                expect("UID FETCH 1 "),
                send("$1 NO [NONEXISTENT] gone\r\n$2 BAD no folder is open\r\n"),
                expect("NOOP"),
                send("$ OK\r\n"),
            ]);
            let (wanted, bodies) = (wanted(&[1]), bodies(1000));
            let end = Fetch::new(b"a", 7, &wanted, &bodies, 100).go_on(&session).await;
            assert!(end.is_err_and(|e| e.kind == Kind::NotFound && e.scope == Scope::Folder));
            session.noop().await.expect("alive");
            drop(session);
            peer.await.expect("the peer saw what it expected");
        });
    }
}

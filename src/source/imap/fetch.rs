//! Messages: octets exactly as sent, every wanted UID accounted for exactly once.
//!
//! A server may leave messages out without a word, answer NO for a whole set because of one of them, send others than
//! asked for, or send one twice. So what was received is compared with what was wanted; what is missing is asked for
//! (is it still there?), and what is there and does not come is cornered by halves until it is alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Write};

use bytes::Bytes;

use crate::imap::{BodyItem, Code, Done, FetchItems, Receiver, Session, Take, UidSet, Untagged, WireError};
use crate::model::{Bodies, Body, BodyWriter, Error, Flags, Kind, Result, Scope, SourceId, Timestamp};
use crate::source::{Fetched, Wanted};

/// What is asked of each message. PEEK: `\Seen` is not set (and the folder is examined read-only anyway).
const ITEMS: &str = "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])";

/// A message above the limit is read past if it is above it by at most this, in bytes; else the connection is given
/// up, which is cheaper.
const READ_PAST: u64 = 32 << 20;

/// Sessions one batch may cost before the call fails as a whole.
const LOSSES: u32 = 8;

/// How far a fetch came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Every message is accounted for.
    Complete,
    /// The connection had to be given up; go on with another.
    SessionLost,
}

/// What came of one message.
#[derive(Debug, Clone)]
enum Answer {
    Message { body: Body, flags: Option<Flags>, received: Option<Timestamp> },
    Gone,
    Failed(Error),
}

/// One batch on its way.
pub(super) struct Fetch<'a> {
    name: &'a [u8],
    epoch: u64,
    wanted: &'a [Wanted],
    bodies: &'a Bodies,
    queue: VecDeque<Vec<u32>>,
    answers: BTreeMap<u32, Answer>,
    /// Messages that failed alone once.
    alone: BTreeSet<u32>,
    /// Sessions the server ended under a fetch.
    losses: u32,
    /// Messages that came unasked or twice.
    stray: u64,
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
        let mut uids = BTreeSet::new();
        for one in wanted {
            let Some(uid) = uid_of(one) else { continue };
            match one.size {
                Some(size) if size > bodies.max => {
                    answers.insert(uid, Answer::Failed(too_large(size, bodies.max)));
                }
                _ => {
                    uids.insert(uid);
                }
            }
        }
        let uids: Vec<u32> = uids.into_iter().collect();
        let queue = uids.chunks(at_once.max(1)).map(<[u32]>::to_vec).collect();
        Fetch { name, epoch, wanted, bodies, queue, answers, alone: BTreeSet::new(), losses: 0, stray: 0 }
    }

    /// Fetches over this connection until all is accounted for or the connection must be given up.
    pub async fn go_on(&mut self, session: &Session) -> Result<End> {
        let examined = match session.examined() {
            Some((name, examined)) if name.as_ref() == self.name => examined,
            _ => session.examine(self.name).await?,
        };
        if u64::from(examined.uid_validity) != self.epoch {
            return Err(Error::temporary(
                Kind::Conflict,
                Scope::Folder,
                "the folder was numbered anew by the server (UIDVALIDITY changed)",
            )
            .remedy("it is listed again and matched with what was stored"));
        }
        while let Some(set) = self.queue.pop_front() {
            let mut incoming = Incoming::new(self.bodies, &set);
            let end = session.uid_fetch(&set.iter().copied().collect(), ITEMS, &mut incoming).await;
            let spool = self.absorb(incoming);
            let missing: Vec<u32> =
                set.iter().copied().filter(|uid| !self.answers.contains_key(uid)).collect();
            match end {
                Err(WireError::BodyTooLarge(size)) => {
                    match missing.as_slice() {
                        [uid] => {
                            let why = too_large(size, self.bodies.max);
                            self.answers.insert(*uid, Answer::Failed(why));
                        }
                        _ => self.halve(&missing),
                    }
                    return Ok(End::SessionLost);
                }
                // Dovecot says BYE, or hangs up in the middle, at a message whose file it cannot read: the first one
                // that is missing.
                Err(e @ (WireError::Bye(None) | WireError::Closed)) => {
                    self.losses += 1;
                    if self.losses > LOSSES {
                        return Err(e.into_error());
                    }
                    spool?;
                    self.suspect(&missing, e);
                    return Ok(End::SessionLost);
                }
                Err(e) => return Err(e.into_error()),
                Ok(done) => {
                    spool?;
                    if !missing.is_empty() {
                        self.corner(session, &missing, &done).await?;
                    }
                }
            }
        }
        if self.stray > 0 {
            tracing::debug!(messages = self.stray, "the server sent messages nobody asked for, or twice");
        }
        Ok(End::Complete)
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
        let (still, gone): (Vec<u32>, Vec<u32>) = missing.iter().partition(|uid| there.uids.contains(uid));
        for uid in gone {
            self.answers.insert(uid, Answer::Gone);
        }
        match still.as_slice() {
            [] => {}
            [uid] if self.alone.insert(*uid) => self.queue.push_front(vec![*uid]),
            [uid] => {
                // May the engine try again later? Yes: a bare NO can also mean a storage that is down.
                let what = if done.ok() {
                    "the server lists this message but does not hand it out".to_owned()
                } else {
                    done.refusal(Scope::Message, "fetching this message").what
                };
                let why = Error::temporary(Kind::Io, Scope::Message, what)
                    .remedy("let the server's operator repair the message or the folder's index");
                self.answers.insert(*uid, Answer::Failed(why));
            }
            many => self.halve(many),
        }
        Ok(())
    }

    /// The session ended at the first of `missing`: it is tried alone, and the second time it is to blame.
    fn suspect(&mut self, missing: &[u32], end: WireError) {
        let Some((first, others)) = missing.split_first() else { return };
        if !others.is_empty() {
            self.queue.push_front(others.to_vec());
        }
        if self.alone.insert(*first) {
            self.queue.push_front(vec![*first]);
            return;
        }
        let why =
            Error::temporary(Kind::Io, Scope::Message, format!("each time this message is fetched, {end}"))
                .remedy("the server's log tells why; let its operator repair the message");
        self.answers.insert(*first, Answer::Failed(why));
    }

    fn halve(&mut self, uids: &[u32]) {
        let (first, second) = uids.split_at(uids.len() / 2);
        for half in [second, first] {
            if !half.is_empty() {
                self.queue.push_front(half.to_vec());
            }
        }
    }

    /// Takes over what came; an error if the spool failed.
    fn absorb(&mut self, incoming: Incoming<'_>) -> Result<()> {
        self.stray += incoming.stray;
        for (uid, answer) in incoming.answers {
            self.answers.entry(uid).or_insert(answer);
        }
        match incoming.spool {
            None => Ok(()),
            Some(kind) => Err(Error::temporary(
                Kind::Io,
                Scope::Run,
                format!("a message could not be put into the spool directory ({kind})"),
            )
            .remedy("check the space and the rights of the spool directory")),
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

fn uid_of(wanted: &Wanted) -> Option<u32> {
    match wanted.id {
        SourceId::Number(n) => u32::try_from(n).ok().filter(|uid| *uid > 0),
        SourceId::Name(_) => None,
    }
}

fn too_large(size: u64, max: u64) -> Error {
    Error::new(
        Kind::TooLarge,
        Scope::Message,
        format!("a message of {size} bytes is larger than the limit of {max}"),
    )
    .remedy("raise `max_message` if the target takes it, or hand the message over as a file")
}

/// Does a refusal tell of the server's state and not of the messages?
fn concerns_the_server(done: &Done) -> bool {
    let code = |names: &[&str]| matches!(&done.code, Code::Named(n) if names.contains(&n.as_str()));
    done.backoff.is_some() || code(&["UNAVAILABLE", "INUSE", "THROTTLED", "LIMIT"])
}

/// Which UIDs are there.
#[derive(Default)]
struct Present {
    uids: BTreeSet<u32>,
    unreadable: bool,
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

/// Messages as they come in.
struct Incoming<'a> {
    bodies: &'a Bodies,
    wanted: BTreeSet<u32>,
    current: Current,
    answers: BTreeMap<u32, Answer>,
    stray: u64,
    /// The spool failed so.
    spool: Option<io::ErrorKind>,
}

/// The octets that came last; whose they are is known when their response is complete.
enum Current {
    None,
    Writing(Box<BodyWriter>),
    TooLarge(u64),
}

impl<'a> Incoming<'a> {
    fn new(bodies: &'a Bodies, wanted: &[u32]) -> Incoming<'a> {
        Incoming {
            bodies,
            wanted: wanted.iter().copied().collect(),
            current: Current::None,
            answers: BTreeMap::new(),
            stray: 0,
            spool: None,
        }
    }

    fn message(&mut self, uid: u32, items: FetchItems, writer: BodyWriter) {
        match writer.finish() {
            Ok(body) => {
                let answer = Answer::Message { body, flags: items.flags, received: items.received };
                self.answers.insert(uid, answer);
            }
            Err(e) => self.spool = Some(e.kind()),
        }
    }
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
        match self.bodies.begin(len) {
            Ok(writer) => {
                self.current = Current::Writing(Box::new(writer));
                Take::Keep
            }
            Err(e) => {
                self.spool = Some(e.kind());
                Take::Drain
            }
        }
    }

    fn body_octets(&mut self, octets: Bytes) {
        if let Current::Writing(writer) = &mut self.current
            && let Err(e) = writer.write_all(&octets)
        {
            self.spool = Some(e.kind());
            self.current = Current::None;
        }
    }

    fn untagged(&mut self, response: Untagged) {
        let Untagged::Fetch(items) = response else { return };
        let current = std::mem::replace(&mut self.current, Current::None);
        if items.body == BodyItem::Absent {
            return; // a change of flags told on the side
        }
        let Some(uid) = items.uid.filter(|uid| self.wanted.contains(uid) && !self.answers.contains_key(uid))
        else {
            self.stray += 1;
            return;
        };
        match (&items.body, current) {
            (BodyItem::Streamed, Current::Writing(writer)) => self.message(uid, *items, *writer),
            (BodyItem::Streamed, Current::TooLarge(len)) => {
                self.answers.insert(uid, Answer::Failed(too_large(len, self.bodies.max)));
            }
            (BodyItem::Held(octets), _) => {
                let octets = octets.clone();
                let held = self.bodies.begin(octets.len() as u64).and_then(|mut writer| {
                    writer.write_all(&octets)?;
                    Ok(writer)
                });
                match held {
                    Ok(writer) => self.message(uid, *items, writer),
                    Err(e) => self.spool = Some(e.kind()),
                }
            }
            // NIL: the server has the message and no octets for it. It counts as missing.
            (BodyItem::Nil | BodyItem::Absent | BodyItem::Passed, _)
            | (BodyItem::Streamed, Current::None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::script::{Script, close, expect, on_a_runtime, send};

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
        on_a_runtime(async move {
            let wanted = wanted(uids);
            let bodies = bodies(max);
            let mut fetch = Fetch::new(b"INBOX", 7, &wanted, &bodies, 100);
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
            let answers = fetch(&[1, 2, 3], 1000, vec![first.clone(), second, third.clone()]);
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
        let second = vec![expect("EXAMINE"), send(EXAMINED), expect("UID FETCH 2 "), send(huge)];
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
        let script = vec![expect("EXAMINE"), send("* 1 EXISTS\r\n* OK [UIDVALIDITY 8] x\r\n$ OK\r\n")];
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
}

//! What servers say (RFC 3501 §7), read leniently: what is not understood is named as such and never guessed.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::WireError;
use super::scan::{Raw, Scan, Scanner, Text, Unreadable, Value, lossless};
use crate::model::{Error, Flags, Kind, Scope, Timestamp};

/// What a server said it can do, in upper case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities(BTreeSet<String>);

impl Capabilities {
    /// Does the server offer `name` (in upper case)?
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// How many?
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Nothing said at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets what is claimed and not meant.
    pub(super) fn distrust(&mut self, names: &[&str]) {
        self.0.retain(|name| !names.contains(&name.as_str()));
    }

    fn read(scan: &mut Scanner<'_>) -> Scan<Capabilities> {
        let mut found = BTreeSet::new();
        loop {
            scan.blanks();
            if scan.at_end() {
                return Ok(Capabilities(found));
            }
            found.insert(lossless(scan.word()?).to_ascii_uppercase());
        }
    }
}

/// A status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok,
    /// Refused, or failed.
    No,
    /// Not understood.
    Bad,
    /// The session ends.
    Bye,
    /// A greeting: logged in already.
    PreAuth,
}

/// A response code (RFC 3501 §7.1, RFC 5530).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Code {
    /// None was sent.
    #[default]
    None,
    /// `CAPABILITY`
    Capability(Capabilities),
    /// `UIDVALIDITY`
    UidValidity(u32),
    /// `UIDNEXT`
    UidNext(u32),
    /// `HIGHESTMODSEQ`
    HighestModSeq(u64),
    /// Any other, by its name in upper case: letters, digits, `-`, `_` and `.` only, at most 32.
    Named(String),
}

impl Code {
    /// Is it the one of this name?
    pub fn is(&self, name: &str) -> bool {
        matches!(self, Code::Named(n) if n == name)
    }
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// OK, NO or BAD.
    pub status: Status,
    /// Its code.
    pub code: Code,
    /// The wait the server suggested, if it did.
    pub backoff: Option<Duration>,
}

impl Done {
    /// Was it OK?
    pub fn ok(&self) -> bool {
        self.status == Status::Ok
    }

    /// `Ok` if it was OK, else the refusal as an error of `scope`. `what` says what was asked for.
    ///
    /// # Errors
    /// The server said NO or BAD.
    pub fn check(&self, scope: Scope, what: &str) -> Result<(), Error> {
        if self.ok() { Ok(()) } else { Err(self.refusal(scope, what)) }
    }

    /// Exchange's `User is authenticated but not connected`: it believes who we are and opens no mailbox for us.
    pub fn not_connected(&self) -> bool {
        self.code.is(NOT_CONNECTED)
    }

    /// A NO or BAD as an error. The server's own words are left out: they are foreign text and may name people.
    pub fn refusal(&self, scope: Scope, what: &str) -> Error {
        let word = if self.status == Status::No { "NO" } else { "BAD" };
        let text = match &self.code {
            Code::Named(name) => format!("{what}: the server said {word} [{name}]"),
            _ => format!("{what}: the server said {word}"),
        };
        if let Some(wait) = self.backoff {
            return Error::throttled(scope, text, Some(wait));
        }
        if self.not_connected() {
            return Error::new(
                Kind::Denied,
                Scope::Mailbox,
                format!("{what}: the login was accepted, but opens no mailbox (authenticated but not connected)"),
            )
            .remedy("check that this mailbox exists, that IMAP is on for it, and that the account has full access to it");
        }
        match &self.code {
            Code::Named(name) => match name.as_str() {
                "THROTTLED" | "LIMIT" | "OVERQUOTA-TEMP" => Error::throttled(scope, text, None),
                "UNAVAILABLE" | "INUSE" | "SERVERBUG" | "EXPUNGEISSUED" => {
                    Error::temporary(Kind::Unreachable, scope, text)
                }
                "NONEXISTENT" | "TRYCREATE" => Error::new(Kind::NotFound, scope, text),
                "NOPERM" | "AUTHORIZATIONFAILED" => Error::new(Kind::Denied, scope, text)
                    .remedy("give the account used for the migration the right to read it"),
                _ => Error::temporary(Kind::Protocol, scope, text),
            },
            // Servers say a bare NO for anything from a missing folder to a full disk: it may pass.
            _ => Error::temporary(Kind::Protocol, scope, text),
        }
    }
}

/// One line of a LIST answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// Attributes, as sent (`\HasChildren`, `\Noselect`, `\Sent` …).
    pub attributes: Vec<String>,
    /// What parts the levels of this name; `None`: it has one level.
    pub separator: Option<u8>,
    /// The name, as sent.
    pub name: Bytes,
}

impl ListEntry {
    /// Has it this attribute, in any case?
    pub fn has(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|a| a.eq_ignore_ascii_case(attribute))
    }
}

/// Namespaces (RFC 2342): prefix and separator of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// The user's own.
    pub personal: Vec<(Bytes, Option<u8>)>,
    /// Those of other users.
    pub others: Vec<(Bytes, Option<u8>)>,
    /// Shared ones.
    pub shared: Vec<(Bytes, Option<u8>)>,
}

/// What a FETCH response told of a message's octets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BodyItem {
    /// Nothing.
    #[default]
    Absent,
    /// NIL: the server has none to give.
    Nil,
    /// They came as a string short enough to hold.
    Held(Bytes),
    /// They came as a literal and went to the receiver.
    Streamed,
}

/// One FETCH response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchItems {
    /// UID; `None` if it was not told.
    pub uid: Option<u32>,
    /// FLAGS.
    pub flags: Option<Flags>,
    /// INTERNALDATE, if told and readable.
    pub received: Option<Timestamp>,
    /// RFC822.SIZE, in bytes.
    pub size: Option<u64>,
    /// `BODY[]`.
    pub body: BodyItem,
}

/// An untagged response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untagged {
    /// OK, NO, BAD, BYE, PREAUTH.
    Status(Done),
    /// CAPABILITY
    Capability(Capabilities),
    /// LIST (or LSUB, XLIST)
    List(ListEntry),
    /// NAMESPACE
    Namespace(Namespaces),
    /// EXISTS
    Exists(u32),
    /// EXPUNGE
    Expunge,
    /// FETCH
    Fetch(Box<FetchItems>),
    /// One of the above that could not be read; its name.
    Unreadable(&'static str),
    /// Something else, or unknown.
    Other,
}

/// Any response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Response {
    Tagged(String, Done),
    Continue,
    Untagged(Untagged),
}

/// Reads a response.
///
/// # Errors
/// The line cannot be the beginning of a response, or does not fit the literal before it: the framing is lost.
pub(super) fn read(raw: &Raw) -> Result<Response, WireError> {
    let mut scan = Scanner::new(raw);
    if scan.eat(b'+') {
        return Ok(Response::Continue);
    }
    if scan.eat(b'*') {
        scan.expect(b' ').map_err(|_| WireError::Framing("a line that begins no response"))?;
        scan.blanks();
        return untagged(scan, raw).map(Response::Untagged);
    }
    let lost = |_| WireError::Framing("a line that begins no response");
    let tag = lossless(scan.word().map_err(lost)?);
    scan.blanks();
    let word = scan.word().map_err(lost)?;
    let status = match status_of(word) {
        Some(status @ (Status::Ok | Status::No | Status::Bad)) => status,
        _ => return Err(WireError::Framing("a line that begins no response")),
    };
    Ok(Response::Tagged(tag, done(status, scan)))
}

fn status_of(word: &[u8]) -> Option<Status> {
    [
        (&b"OK"[..], Status::Ok),
        (b"NO", Status::No),
        (b"BAD", Status::Bad),
        (b"BYE", Status::Bye),
        (b"PREAUTH", Status::PreAuth),
    ]
    .into_iter()
    .find_map(|(name, status)| word.eq_ignore_ascii_case(name).then_some(status))
}

fn untagged(mut scan: Scanner<'_>, raw: &Raw) -> Result<Untagged, WireError> {
    let begin = scan.clone();
    let Ok(word) = scan.word() else { return Ok(Untagged::Other) };
    scan.blanks();
    if word.first().is_some_and(u8::is_ascii_digit) {
        let number = std::str::from_utf8(word).ok().and_then(|t| t.parse::<u32>().ok());
        let kind = scan.word().unwrap_or_default().to_ascii_uppercase();
        return Ok(match (kind.as_slice(), number) {
            (b"EXISTS", Some(n)) => Untagged::Exists(n),
            (b"EXPUNGE", Some(_)) => Untagged::Expunge,
            (b"EXISTS" | b"EXPUNGE", None) => Untagged::Unreadable("EXISTS"),
            (b"FETCH", _) => match fetch(scan) {
                Ok(items) => Untagged::Fetch(Box::new(items)),
                // The octets after a message's literal must fit the grammar: else its length was a lie.
                Err(Unreadable) if streamed(raw) => {
                    return Err(WireError::Framing("a message's length does not fit what follows it"));
                }
                Err(Unreadable) => Untagged::Unreadable("FETCH"),
            },
            _ => Untagged::Other,
        });
    }
    if let Some(status) = status_of(word) {
        return Ok(Untagged::Status(done(status, scan)));
    }
    let or = |name, read: Scan<Untagged>| read.unwrap_or(Untagged::Unreadable(name));
    let read = match word.to_ascii_uppercase().as_slice() {
        b"CAPABILITY" => or("CAPABILITY", Capabilities::read(&mut scan).map(Untagged::Capability)),
        b"LIST" | b"XLIST" => or("LIST", list(scan).map(Untagged::List)),
        b"NAMESPACE" => or("NAMESPACE", namespaces(scan).map(Untagged::Namespace)),
        _ => Untagged::Other,
    };
    // Exchange 2013 leaves out the OK: `* [UIDNEXT 5] text`.
    if read == Untagged::Other && begin.rest().starts_with(b"[") {
        return Ok(Untagged::Status(done(Status::Ok, begin)));
    }
    Ok(read)
}

fn streamed(raw: &Raw) -> bool {
    raw.literals.iter().any(|l| matches!(l.value, Value::Streamed))
}

/// The code and what can be used of the text.
fn done(status: Status, mut scan: Scanner<'_>) -> Done {
    scan.blanks();
    let text = scan.rest();
    let backoff = suggested_backoff(text);
    let code = if scan.eat(b'[') {
        code(&mut scan).unwrap_or_default()
    } else if status != Status::Ok && memchr::memmem::find(text, b"authenticated but not connected").is_some()
    {
        Code::Named(NOT_CONNECTED.to_owned())
    } else {
        Code::None
    };
    Done { status, code, backoff }
}

/// What stands for a code where Exchange has a sentence only. No code of a server has a blank in it.
const NOT_CONNECTED: &str = "not connected";

fn code(scan: &mut Scanner<'_>) -> Scan<Code> {
    let inner = scan.rest();
    let end = inner.iter().position(|b| matches!(b, b' ' | b']')).ok_or(Unreadable)?;
    let name: String =
        lossless(&inner[..end]).to_ascii_uppercase().chars().take(32).filter(|c| name_char(*c)).collect();
    let raw = Raw { text: inner[end..].to_vec(), literals: Vec::new() };
    let mut rest = Scanner::new(&raw);
    rest.blanks();
    let small = |n: u64| u32::try_from(n).map_err(|_| Unreadable);
    Ok(match name.as_str() {
        "CAPABILITY" => {
            let end = raw.text.iter().position(|b| *b == b']').ok_or(Unreadable)?;
            let words = Raw { text: raw.text[..end].to_vec(), literals: Vec::new() };
            Code::Capability(Capabilities::read(&mut Scanner::new(&words))?)
        }
        "UIDVALIDITY" => Code::UidValidity(small(rest.number()?)?),
        "UIDNEXT" => Code::UidNext(small(rest.number()?)?),
        "HIGHESTMODSEQ" => Code::HighestModSeq(rest.number()?),
        _ => Code::Named(name),
    })
}

fn name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// `Suggested Backoff Time: 12345 milliseconds` (Exchange), at most an hour.
fn suggested_backoff(text: &[u8]) -> Option<Duration> {
    let at = memchr::memmem::find(text, b"Suggested Backoff Time: ")?;
    let digits = &text[at + 24..];
    let end = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
    let millis: u64 = std::str::from_utf8(&digits[..end]).ok()?.parse().ok()?;
    Some(Duration::from_millis(millis).min(Duration::from_secs(3600)))
}

/// `(attributes) separator name [extended data]`
fn list(mut scan: Scanner<'_>) -> Scan<ListEntry> {
    let attributes = scan.words()?;
    scan.blanks();
    let separator = separator(scan.string()?)?;
    scan.blanks();
    let unquoted = scan.rest();
    let quoted = unquoted.first() == Some(&b'"');
    let mut name = match scan.string()? {
        Text::Octets(octets) => octets,
        // A folder may well be called NIL.
        Text::Nil => Bytes::from_static(b"NIL"),
        Text::Streamed => return Err(Unreadable),
    };
    let extended = scan.rest().trim_ascii_start();
    if !extended.is_empty() && !extended.starts_with(b"(") {
        if quoted {
            return Err(Unreadable);
        }
        // An unquoted name with blanks: wrong, and what some servers send.
        name = Bytes::copy_from_slice(unquoted);
    }
    Ok(ListEntry { attributes, separator, name })
}

fn separator(text: Text) -> Scan<Option<u8>> {
    match text {
        Text::Nil => Ok(None),
        Text::Octets(octets) => match octets.as_ref() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            _ => Err(Unreadable),
        },
        Text::Streamed => Err(Unreadable),
    }
}

fn namespaces(mut scan: Scanner<'_>) -> Scan<Namespaces> {
    let mut kinds = Vec::new();
    for _ in 0..3 {
        scan.blanks();
        let mut entries = Vec::new();
        if scan.eat(b'(') {
            loop {
                scan.blanks();
                if scan.eat(b')') {
                    break;
                }
                scan.expect(b'(')?;
                scan.blanks();
                let Text::Octets(prefix) = scan.string()? else { return Err(Unreadable) };
                scan.blanks();
                let separator = separator(scan.string()?)?;
                loop {
                    scan.blanks();
                    if scan.eat(b')') {
                        break;
                    }
                    scan.skip_value()?;
                }
                entries.push((prefix, separator));
            }
        } else if scan.string()? != Text::Nil {
            return Err(Unreadable);
        }
        kinds.push(entries);
    }
    let mut kinds = kinds.into_iter();
    let mut next = || kinds.next().unwrap_or_default();
    Ok(Namespaces { personal: next(), others: next(), shared: next() })
}

/// `(item value item value …)` in any order.
fn fetch(mut scan: Scanner<'_>) -> Scan<FetchItems> {
    let mut items = FetchItems::default();
    scan.blanks();
    scan.expect(b'(')?;
    loop {
        scan.blanks();
        if scan.eat(b')') {
            break;
        }
        let name = scan.word()?.to_ascii_uppercase();
        scan.blanks();
        match name.as_slice() {
            b"UID" => {
                let uid = u32::try_from(scan.number()?).ok().filter(|uid| *uid > 0);
                items.uid = Some(uid.ok_or(Unreadable)?);
            }
            b"FLAGS" => {
                let mut flags = Flags::default();
                scan.words()?.iter().for_each(|f| flags.add(f));
                items.flags = Some(flags);
            }
            b"INTERNALDATE" => {
                if let Text::Octets(text) = scan.string()? {
                    items.received = std::str::from_utf8(&text).ok().and_then(Timestamp::from_imap);
                }
            }
            b"RFC822.SIZE" => items.size = Some(scan.number()?),
            name if is_whole_body(name) => {
                items.body = match scan.string()? {
                    Text::Nil => BodyItem::Nil,
                    Text::Octets(octets) => BodyItem::Held(octets),
                    Text::Streamed => BodyItem::Streamed,
                };
            }
            _ => scan.skip_value()?,
        }
    }
    scan.blanks();
    if scan.at_end() { Ok(items) } else { Err(Unreadable) }
}

/// Does this item's name (in upper case) stand for the whole message?
fn is_whole_body(name: &[u8]) -> bool {
    matches!(name, b"BODY[]" | b"BODY[]<0>" | b"RFC822" | b"BINARY[]")
}

/// Does the text so far end where a FETCH response tells a whole message, so that the literal announced there is one?
pub(super) fn awaits_body(text: &[u8]) -> bool {
    let mut words = text.split(|b| *b == b' ').filter(|w| !w.is_empty());
    let fetch = words.next() == Some(b"*")
        && words.next().is_some_and(|w| w.iter().all(u8::is_ascii_digit))
        && words.next().is_some_and(|w| w.eq_ignore_ascii_case(b"FETCH"));
    let last = text.trim_ascii_end().rsplit(|b| matches!(b, b' ' | b'(')).next().unwrap_or_default();
    fetch && is_whole_body(&last.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::super::scan::Literal;
    use super::*;
    use proptest::prelude::*;

    fn raw(text: &[u8]) -> Raw {
        Raw { text: text.to_vec(), literals: Vec::new() }
    }

    fn one(text: &str) -> Untagged {
        match read(&raw(text.as_bytes())) {
            Ok(Response::Untagged(u)) => u,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn tagged(text: &str) -> Done {
        match read(&raw(text.as_bytes())) {
            Ok(Response::Tagged(_, done)) => done,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn items(text: &str) -> FetchItems {
        match one(text) {
            Untagged::Fetch(items) => *items,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn fetch_items_are_read_in_any_order_and_spacing() {
        let expected = items(
            "* 1 FETCH (UID 3 FLAGS (\\Seen $Forwarded) INTERNALDATE \" 1-Jan-1970 00:00:00 +0100\" RFC822.SIZE 7 BODY[] NIL)",
        );
        assert_eq!(expected.uid, Some(3));
        assert_eq!(expected.size, Some(7));
        assert_eq!(expected.body, BodyItem::Nil);
        assert_eq!(expected.received, Some(Timestamp { seconds: -3600, zone: 60 }));
        for text in [
            "* 1 FETCH (BODY[] NIL RFC822.SIZE 7 INTERNALDATE \"01-Jan-1970 00:00:00 +0100\" FLAGS ($Forwarded \\Seen \\Recent) UID 3)",
            "*  1  fetch  ( uid  3  flags  ( \\seen  $Forwarded )  internaldate \" 1-Jan-1970 00:00:00 +0100\" rfc822.size 7  body[] NIL ) ",
            "* 1 FETCH (MODSEQ (65402) X-GM-LABELS (\"a (b\" \\Inbox (x (y))) UID 3 FLAGS (\\Seen $Forwarded) EMAILID (M1) INTERNALDATE \" 1-Jan-1970 00:00:00 +0100\" RFC822.SIZE 7 BODY[HEADER.FIELDS (A B)] \"x\" BODY[]<0> NIL X-NEW foo)",
        ] {
            assert_eq!(items(text), expected, "{text}");
        }
        assert_eq!(items("* 2 FETCH (UID 3 )").uid, Some(3));
        assert_eq!(items("* 2 FETCH (UID 4 BODY[] \"a\\\"b\")").body, BodyItem::Held("a\"b".into()));
        assert!(items("* 2 FETCH (FLAGS (a]b [c (d $ \"q\"))").flags.is_some_and(|f| f.keywords.len() == 5));
    }

    #[test]
    fn what_cannot_be_read_is_named_and_framing_goes_on() {
        for (text, name) in [
            ("* 1 FETCH (UID x)", "FETCH"),
            ("* 1 FETCH (UID 0)", "FETCH"),
            ("* 1 FETCH UID 1", "FETCH"),
            ("* 1 FETCH (UID 1) junk", "FETCH"),
            ("* LIST (\\a \"/\" x", "LIST"),
            ("* LIST () \"//\" x", "LIST"),
            ("* LIST () \"/\" \"a\"b\"", "LIST"),
            ("* LIST () \"/\" \"open", "LIST"),
            ("* NAMESPACE ((\"\" \"/\") NIL", "NAMESPACE"),
            ("* 99999999999 EXISTS", "EXISTS"),
        ] {
            assert_eq!(one(text), Untagged::Unreadable(name), "{text}");
        }
        for text in [
            "* XFOO bar",
            "* ESEARCH (TAG \"A1\") UID ALL 1:3",
            "* SEARCH 1 2 3 (MODSEQ 917162500)",
            "* STATUS x (SIZE 5 MAILBOXID (F1) APPENDLIMIT NIL)",
            "* FLAGS (\\Seen \u{e9})",
            "* ",
            "* 5 RECENT",
            "* VANISHED (EARLIER) 1:5",
        ] {
            assert_eq!(one(text), Untagged::Other, "{text}");
        }
    }

    #[test]
    fn a_line_that_begins_no_response_means_the_framing_is_lost() {
        for text in ["", " x", "*x", "Subject: hello", "rest of a message", "A1", "A1 MAYBE x", ")"] {
            assert!(matches!(read(&raw(text.as_bytes())), Err(WireError::Framing(_))), "{text}");
        }
        for rest in ["rest of a message)", " UID 1", ") more", " (a b c)"] {
            let text = format!("* 1 FETCH (BODY[] {rest}").into_bytes();
            let literals = vec![Literal { at: 18, value: Value::Streamed }];
            assert!(matches!(read(&Raw { text, literals }), Err(WireError::Framing(_))), "{rest}");
        }
    }

    #[test]
    fn codes_are_read_and_unknown_ones_are_kept_by_name_only() {
        assert_eq!(tagged("A1 OK [UIDNEXT 7] next").code, Code::UidNext(7));
        assert_eq!(one("* [UIDVALIDITY 9] no status"), Untagged::Status(tagged("A1 OK [UIDVALIDITY 9] x")));
        assert_eq!(
            tagged("A1 OK [HIGHESTMODSEQ 18446744073709551615] x").code,
            Code::HighestModSeq(u64::MAX)
        );
        assert!(tagged("A1 NO [AUTHENTICATIONFAILED] x").code.is("AUTHENTICATIONFAILED"));
        assert!(tagged("A1 no [x\u{1b}[31my z] x").code.is("X31MY"));
        assert_eq!(tagged("A1 OK [broken").code, Code::None);
        match tagged("A1 OK [CAPABILITY IMAP4rev1  SASL-IR AUTH=plain] Logged in").code {
            Code::Capability(c) => assert!(c.has("AUTH=PLAIN") && c.has("SASL-IR") && !c.has("LOGGED")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_wait_exchange_suggests_is_obeyed_and_bounded() {
        let done = tagged("A1 BAD Request is throttled. Suggested Backoff Time: 5000 milliseconds");
        let error = done.refusal(Scope::Mailbox, "listing a folder");
        assert_eq!(error.retry_after, Some(Duration::from_secs(5)));
        let done = tagged("A1 BAD Suggested Backoff Time: 99999999999 milliseconds");
        assert_eq!(done.backoff, Some(Duration::from_secs(3600)));
    }

    #[test]
    fn names_come_quoted_bare_or_as_literals() {
        let name = |text: &str| match one(text) {
            Untagged::List(l) => String::from_utf8_lossy(&l.name).into_owned(),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(name("* LIST (\\HasNoChildren) \"/\" \"a\\\"b\\\\c\""), "a\"b\\c");
        assert_eq!(name("* LIST () NIL INBOX"), "INBOX");
        assert_eq!(name("* LIST () \".\" Deleted Items"), "Deleted Items");
        assert_eq!(name("* LIST () \".\" NIL"), "NIL");
        assert_eq!(name("* XLIST (\\Noselect) \"\\\\\" \"\""), "");
        assert_eq!(name("* LIST () \"/\" \"x\" (\"CHILDINFO\" (\"SUBSCRIBED\"))"), "x");
        let text = b"* LIST () \"/\" ".to_vec();
        let literals = vec![Literal { at: text.len(), value: Value::Octets("a{b".into()) }];
        match read(&Raw { text, literals }) {
            Ok(Response::Untagged(Untagged::List(l))) => assert_eq!(l.name, "a{b"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn namespaces_are_read_with_their_extensions() {
        match one(
            "* NAMESPACE ((\"INBOX.\" \".\" \"X-PARAM\" (\"a\" \"b\"))(\"\" NIL)) NIL ((\"Public/\" \"/\"))",
        ) {
            Untagged::Namespace(n) => {
                assert_eq!(n.personal, [("INBOX.".into(), Some(b'.')), ("".into(), None)]);
                assert!(n.others.is_empty());
                assert_eq!(n.shared, [("Public/".into(), Some(b'/'))]);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_a_deep_stack() {
        let text = format!("* 1 FETCH (X {}", "(".repeat(100_000));
        assert_eq!(one(&text), Untagged::Unreadable("FETCH"));
    }

    #[test]
    fn only_a_whole_message_of_a_fetch_is_streamed() {
        assert!(awaits_body(b"* 1 FETCH (UID 3 BODY[] "));
        assert!(awaits_body(b"* 12 fetch (body[] "));
        assert!(awaits_body(b"* 1 FETCH (RFC822 "));
        assert!(!awaits_body(b"* 1 FETCH (BODY[HEADER] "));
        assert!(!awaits_body(b"* LIST () \"/\" BODY[] "));
    }

    proptest! {
        #[test]
        fn no_line_can_hurt_the_grammar(line in proptest::collection::vec(any::<u8>(), 0..200), kind in 0usize..6) {
            let begin: [&[u8]; 6] = [b"", b"* ", b"* 1 FETCH (", b"* LIST (", b"* NAMESPACE (", b"A1 OK ["];
            let _ = read(&raw(&[begin[kind], &line].concat()));
        }
    }
}

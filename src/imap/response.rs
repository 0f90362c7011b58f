//! What servers say (RFC 3501 §7), read leniently: what is not understood is named as such and never guessed.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::WireError;
use super::command::Literals;
use super::items::{FetchItems, fetch};
use super::quota::{self, Quota};
use super::scan::{Raw, Scan, Scanner, Text, Unreadable, Value, lossless};
use super::status::{Done, Status, done, status_of};
use super::uids::{UidSet, ranges};

/// What a server said it can do, in upper case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities(BTreeSet<String>);

impl FromIterator<String> for Capabilities {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Capabilities {
        Capabilities(names.into_iter().collect())
    }
}

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

    /// What stands behind `name=` (`APPENDLIMIT=1000`), if the server said so.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// Which literals it takes without being asked first.
    pub(super) fn literals(&self) -> Literals {
        if self.has("LITERAL+") {
            Literals::Plus
        } else if self.has("LITERAL-") {
            Literals::Minus
        } else {
            Literals::Synchronising
        }
    }

    /// Is this Cyrus? By words no other server says.
    pub fn is_cyrus(&self) -> bool {
        ["X-CREATEDMODSEQ", "X-REPLICATION", "DIGEST=SHA1"].iter().any(|name| self.has(name))
    }

    /// Does STATUS tell a folder's id (MAILBOXID, RFC 8474)? Cyrus 3.6 says so and sends freed memory instead: another
    /// id each time, and with it octets that break the connection. SELECT tells the right one there.
    pub(super) fn status_has_mailbox_id(&self) -> bool {
        self.has("OBJECTID") && !self.is_cyrus()
    }

    pub(super) fn read(scan: &mut Scanner<'_>) -> Scan<Capabilities> {
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

/// One line of a LIST answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// Attributes, as sent (`\HasChildren`, `\Noselect`, `\Sent` …).
    pub attributes: Vec<String>,
    /// What parts the levels of this name; `None`: it has one level.
    pub separator: Option<u8>,
    /// The name, as sent.
    pub name: Bytes,
    /// What LIST … RETURN (STATUS …) told of it (RFC 5819).
    pub status: Option<FolderStatus>,
}

/// What STATUS told of a folder; `None` where it told nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FolderStatus {
    /// Messages in it.
    pub messages: Option<u32>,
    /// UIDNEXT
    pub uid_next: Option<u32>,
    /// UIDVALIDITY
    pub uid_validity: Option<u32>,
    /// HIGHESTMODSEQ (RFC 7162); 0: the folder keeps none.
    pub modseq: Option<u64>,
    /// MAILBOXID (RFC 8474): survives a rename.
    pub mailbox_id: Option<String>,
    /// SIZE (RFC 8438), in bytes.
    pub size: Option<u64>,
    /// APPENDLIMIT (RFC 7889), in bytes.
    pub append_limit: Option<u64>,
}

/// What a search found; `None` and empty where it told nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The UIDs.
    pub all: UidSet,
    /// How many (ESEARCH, RFC 4731).
    pub count: Option<u32>,
    /// The lowest.
    pub min: Option<u32>,
    /// The highest.
    pub max: Option<u32>,
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
    /// STATUS of the folder of this name.
    Folder(Bytes, FolderStatus),
    /// SEARCH or ESEARCH
    Search(Found),
    /// ENABLED (RFC 5161), in upper case.
    Enabled(Capabilities),
    /// VANISHED (RFC 7162): these UIDs are gone.
    Vanished {
        /// They were gone before the folder was opened, or before the command.
        earlier: bool,
        /// Which; there may be some that never were.
        set: UidSet,
    },
    /// QUOTA (RFC 9208): the limits of one quota root.
    Quota(Vec<Quota>),
    /// EXISTS
    Exists(u32),
    /// EXPUNGE
    Expunge,
    /// FETCH
    Fetch(Box<FetchItems>),
    /// One of the above that could not be read; its name.
    Unreadable(&'static str),
    /// Known, and of no use here (FLAGS, RECENT, ID …).
    Aside,
    /// Unknown.
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
            (b"RECENT", _) => Untagged::Aside,
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
        b"STATUS" => or("STATUS", folder_status(scan).map(|(name, status)| Untagged::Folder(name, status))),
        b"SEARCH" => or("SEARCH", search(scan).map(Untagged::Search)),
        b"ESEARCH" => or("SEARCH", esearch(scan).map(Untagged::Search)),
        b"VANISHED" => or("VANISHED", vanished(scan)),
        b"ENABLED" => or("ENABLED", Capabilities::read(&mut scan).map(Untagged::Enabled)),
        b"QUOTA" => or("QUOTA", quota::read(scan).map(Untagged::Quota)),
        b"FLAGS" | b"ID" | b"LSUB" | b"QUOTAROOT" => Untagged::Aside,
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
        Text::Streamed | Text::Passed => return Err(Unreadable),
    };
    let extended = scan.rest().trim_ascii_start();
    if !extended.is_empty() && !extended.starts_with(b"(") {
        if quoted {
            return Err(Unreadable);
        }
        // An unquoted name with blanks: wrong, and what some servers send.
        name = Bytes::copy_from_slice(unquoted);
    }
    Ok(ListEntry { attributes, separator, name, status: None })
}

/// `name (item value …)`
fn folder_status(mut scan: Scanner<'_>) -> Scan<(Bytes, FolderStatus)> {
    let name = match scan.string()? {
        Text::Octets(octets) => octets,
        Text::Nil => Bytes::from_static(b"NIL"),
        Text::Streamed | Text::Passed => return Err(Unreadable),
    };
    let mut status = FolderStatus::default();
    scan.blanks();
    scan.expect(b'(')?;
    loop {
        scan.blanks();
        if scan.eat(b')') {
            return Ok((name, status));
        }
        let item = scan.word()?.to_ascii_uppercase();
        scan.blanks();
        match item.as_slice() {
            b"MESSAGES" => status.messages = Some(scan.small()?),
            b"UIDNEXT" => status.uid_next = Some(scan.small()?),
            b"UIDVALIDITY" => status.uid_validity = Some(scan.small()?),
            b"HIGHESTMODSEQ" => status.modseq = Some(scan.number()?),
            b"MAILBOXID" => status.mailbox_id = scan.object_id()?,
            b"SIZE" => status.size = Some(scan.number()?),
            b"APPENDLIMIT" => {
                status.append_limit =
                    scan.number().or_else(|_| scan.skip_value().map(|()| 0)).ok().filter(|n| *n > 0)
            }
            _ => scan.skip_value()?,
        }
    }
}

/// `uid uid …`, and with CONDSTORE `(MODSEQ n)` behind them.
fn search(mut scan: Scanner<'_>) -> Scan<Found> {
    let mut uids = Vec::new();
    loop {
        scan.blanks();
        if scan.at_end() {
            return Ok(Found { all: uids.into_iter().collect(), ..Found::default() });
        }
        if scan.rest().starts_with(b"(") {
            scan.skip_value()?;
        } else {
            uids.push(scan.small()?);
        }
    }
}

/// `(TAG "m1") UID ALL 1:3 COUNT 3 …` (RFC 4731)
fn esearch(mut scan: Scanner<'_>) -> Scan<Found> {
    let mut found = Found::default();
    loop {
        scan.blanks();
        if scan.at_end() {
            return Ok(found);
        }
        if scan.rest().starts_with(b"(") {
            scan.skip_value()?;
            continue;
        }
        let item = scan.word()?.to_ascii_uppercase();
        scan.blanks();
        match item.as_slice() {
            b"UID" => {}
            b"ALL" => found.all = UidSet::of_ranges(ranges(scan.word()?)?),
            b"COUNT" => found.count = Some(scan.small()?),
            b"MIN" => found.min = Some(scan.small()?),
            b"MAX" => found.max = Some(scan.small()?),
            _ => scan.skip_value()?,
        }
    }
}

/// `(EARLIER) set`
fn vanished(mut scan: Scanner<'_>) -> Scan<Untagged> {
    let earlier = scan.rest().starts_with(b"(");
    if earlier && !scan.one_in_parentheses()?.eq_ignore_ascii_case(b"EARLIER") {
        return Err(Unreadable);
    }
    scan.blanks();
    Ok(Untagged::Vanished { earlier, set: UidSet::of_ranges(ranges(scan.word()?)?) })
}

fn separator(text: Text) -> Scan<Option<u8>> {
    match text {
        Text::Nil => Ok(None),
        Text::Octets(octets) => match octets.as_ref() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            _ => Err(Unreadable),
        },
        Text::Streamed | Text::Passed => Err(Unreadable),
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
                let prefix = scan.octets()?;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::items::{BodyItem, awaits_body};
    use super::super::scan::Literal;
    use super::super::status::{AppendUid, Code, CopyUid};
    use super::*;
    use crate::model::{Scope, Timestamp};

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
            let found =
                FetchItems { modseq: None, email_id: None, gm_labels: None, origin: None, ..items(text) };
            assert_eq!(found, expected, "{text}");
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
        for text in ["* XFOO bar", "* "] {
            assert_eq!(one(text), Untagged::Other, "{text}");
        }
        for text in ["* FLAGS (\\Seen \u{e9})", "* 5 RECENT", "* ID (\"name\" \"x\")"] {
            assert_eq!(one(text), Untagged::Aside, "{text}");
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
    fn codes_that_name_uids_keep_their_order() {
        let to = |text: &str| tagged(text).code;
        let appended = AppendUid { uid_validity: 9, uids: vec![4, 5, 9] };
        assert_eq!(to("A1 OK [APPENDUID 9 4:5,9] done"), Code::AppendUid(appended));
        let copied = CopyUid { uid_validity: 9, pairs: vec![(304, 3956), (319, 3957), (320, 3958)] };
        assert_eq!(to("A1 OK [COPYUID 9 304,319:320 3956:3958] done"), Code::CopyUid(copied));
        for text in [
            "A1 OK [COPYUID 9 1:2 5] uneven",
            "A1 OK [COPYUID 9 1:4294967295 1:4294967295] far too many",
            "A1 OK [APPENDUID 9] none",
            "A1 OK [APPENDUID x 5] no number",
        ] {
            assert_eq!(to(text), Code::None, "{text}");
        }
        let flags = vec!["\\Seen".to_owned(), "$Label1".to_owned(), "\\*".to_owned()];
        assert_eq!(to("A1 OK [PERMANENTFLAGS (\\Seen $Label1 \\*)] x"), Code::PermanentFlags(flags));
        assert_eq!(to("A1 OK [MAILBOXID (F2-a_1)] x"), Code::MailboxId("F2-a_1".to_owned()));
        assert_eq!(to("A1 OK [NOMODSEQ] x"), Code::NoModSeq);
    }

    #[test]
    fn searches_are_read_in_both_forms() {
        let found = |text: &str| match one(text) {
            Untagged::Search(found) => found,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(found("* SEARCH").all, UidSet::default());
        assert_eq!(found("* SEARCH 2 84 3 (MODSEQ 917162500)").all.to_string(), "2:3,84");
        let all = found("* ESEARCH (TAG \"A1\") UID MIN 2 MAX 84 COUNT 3 ALL 2:3,84 MODSEQ 7 X-NEW (a (b))");
        assert_eq!(
            (all.all.to_string().as_str(), all.min, all.max, all.count),
            ("2:3,84", Some(2), Some(84), Some(3))
        );
        assert_eq!(found("* ESEARCH (TAG \"A1\") UID COUNT 0").count, Some(0));
        for text in ["* SEARCH 0x", "* ESEARCH UID ALL 1:*", "* ESEARCH COUNT many"] {
            assert_eq!(one(text), Untagged::Unreadable("SEARCH"), "{text}");
        }
    }

    #[test]
    fn what_vanished_and_what_a_folder_holds_is_read() {
        let set = UidSet::of_ranges([(3, 5), (9, 9)]);
        assert_eq!(one("* VANISHED (EARLIER) 9,3:5"), Untagged::Vanished { earlier: true, set: set.clone() });
        assert_eq!(one("* VANISHED 3:5,9"), Untagged::Vanished { earlier: false, set });
        assert_eq!(one("* VANISHED (LATER) 9"), Untagged::Unreadable("VANISHED"));
        let status = FolderStatus {
            messages: Some(3),
            modseq: Some(7),
            mailbox_id: Some("F1".to_owned()),
            size: Some(5),
            ..FolderStatus::default()
        };
        let text =
            "* STATUS \"a b\" (MESSAGES 3 X-NEW (1 2) SIZE 5 MAILBOXID (F1) HIGHESTMODSEQ 7 APPENDLIMIT NIL)";
        assert_eq!(one(text), Untagged::Folder("a b".into(), status));
        let Untagged::Folder(_, odd) = one("* STATUS x (MAILBOXID (\u{93}\u{1a}`U) MESSAGES 1)") else {
            panic!()
        };
        assert_eq!((odd.mailbox_id, odd.messages), (None, Some(1)), "no letters of an id");
        assert_eq!(one("* STATUS x (MESSAGES many)"), Untagged::Unreadable("STATUS"));
        assert_eq!(one("* STATUS a b (MESSAGES 1)"), Untagged::Unreadable("STATUS"));
        assert!(matches!(one("* ENABLED qresync"), Untagged::Enabled(c) if c.has("QRESYNC")));
    }

    #[test]
    fn the_items_of_extensions_are_read() {
        let found = items(
            "* 1 FETCH (UID 3 MODSEQ (65402) EMAILID (M6d) X-GM-MSGID 1278455344230334865 X-GM-LABELS (\"\\\\Inbox\" foo \"a (b\") BODY[]<512> \"part\" BODY[HEADER] \"a: b\")",
        );
        assert_eq!(
            (found.modseq, found.email_id.as_deref(), found.origin),
            (Some(65402), Some("M6d"), Some(512))
        );
        assert_eq!(found.gm_msgid, Some(1_278_455_344_230_334_865));
        assert_eq!(found.gm_labels.as_deref(), Some(&["\\Inbox", "foo", "a (b"].map(str::to_owned)[..]));
        assert_eq!(
            (found.body, found.header),
            (BodyItem::Held("part".into()), BodyItem::Held("a: b".into()))
        );
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
    fn what_servers_say_in_words_where_there_is_a_code_is_understood() {
        for (text, code) in [
            ("A1 NO [ALERT] Too many simultaneous connections. (Failure)", "LIMIT"),
            ("A1 NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded", "LIMIT"),
            ("A1 BAD Request is throttled.", "THROTTLED"),
            ("A1 NO [LIMIT] UID FETCH Rate limit hit.", "LIMIT"),
            ("A1 NO [UNAVAILABLE] the backend is down", "UNAVAILABLE"),
        ] {
            let done = tagged(text);
            assert!(done.code.is(code), "{text}: {done:?}");
            assert_eq!(done.backoff, None);
        }
        match one("* BYE Too many connections from your address") {
            Untagged::Status(done) => assert!(done.backoff.is_some()),
            other => panic!("{other:?}"),
        }
        assert_eq!(tagged("A1 OK there were too many connections before").code, Code::None);
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
        assert!(awaits_body(b"* 1 FETCH (UID 3 BODY[]<1024> "));
        assert!(!awaits_body(b"* 1 FETCH (BODY[]<x> "));
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

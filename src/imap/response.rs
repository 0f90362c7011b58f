//! What servers say (RFC 3501 §7), read leniently: what is not understood is named as such and never guessed.

use bytes::Bytes;

use super::WireError;
use super::capabilities::Capabilities;
use super::found::{Found, esearch, search};
use super::items::{FetchItems, fetch};
use super::quota::{self, Quota};
use super::scan::{Raw, Scan, Scanner, Unreadable, Value, lossless};
use super::status::{Done, Status, done, status_of};
use super::told::{FolderStatus, ListEntry, Namespaces, folder_status, list, namespaces};
use super::uids::{UidSet, ranges};

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

/// `(EARLIER) set`
fn vanished(mut scan: Scanner<'_>) -> Scan<Untagged> {
    let earlier = scan.rest().starts_with(b"(");
    if earlier && !scan.one_in_parentheses()?.eq_ignore_ascii_case(b"EARLIER") {
        return Err(Unreadable);
    }
    scan.blanks();
    Ok(Untagged::Vanished { earlier, set: UidSet::of_ranges(ranges(scan.word()?)?) })
}

#[cfg(test)]
mod tests;

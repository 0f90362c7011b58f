//! Attaching a file to a message that is there: in one request, or by an upload session.
//!
//! Upload sessions (Graph, "Attach large files to Outlook messages"): the URL lies on another host and carries its own
//! token in the query, so it is a secret and gets no `Authorization`; ranges go in order; the answer names the next
//! range expected; the last one is answered with 201. A session lives in this call only and is never written down. After
//! any failure but that of the last range a new one is begun: an unfinished one, or one that has expired, leaves nothing
//! behind. A change key that something else moved on (409, 412) is a hiccup: the part is sent again, once the message's
//! attachments were counted where it could be there already.
//!
//! A file is decoded range by range, so that one range of it is in memory and not all.

use bytes::Bytes;
use http::Method;

use super::answer::{Fault, Reply};
use super::session::{Call, Session, segment};
use crate::env::Step;
use crate::limit::Ticket;
use crate::model::{Error, Kind, Scope};
use crate::transform::base64::Reader;
use crate::transform::graph::{File, unreadable};

/// Bytes per range: a multiple of 320 KiB, below 4 MB.
const RANGE: usize = 12 * 320 * 1024;
/// Sessions begun for one file.
const SESSIONS: u32 = 4;
/// Tries of a part that is only throttled, or whose message something else has just changed.
const TRIES: u32 = 6;
const WHAT: &str = "attaching a file";

/// Where a file goes.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) session: &'a Session,
    /// The message.
    pub(super) id: &'a str,
    pub(super) ticket: &'a Ticket,
    /// Attachments the message has already.
    pub(super) before: usize,
}

impl Place<'_> {
    /// After a conflict: is the file attached? Nothing else attaches files to this message.
    async fn has_it(&self) -> Result<bool, Fault> {
        let path = format!("/messages/{}/attachments?$select=id", segment(self.id));
        let found = self.session.list(&path, Step::TargetStorePart, WHAT).await;
        match found.map(|list| list.len().checked_sub(self.before)) {
            Ok(Some(0)) => Ok(false),
            Ok(Some(1)) => Ok(true),
            Ok(_) => Err(broken("attaching a file: the message has other attachments than it was given")),
            Err(fault) => Err(Fault::Unknown(fault.into_error())),
        }
    }
}

/// Attaches one file.
pub(super) async fn attach(place: &Place<'_>, file: &File) -> Result<(), Fault> {
    let bounds = place.session.bounds();
    let fits = file.len() <= bounds.simple_file && file.json_len() <= bounds.request;
    if fits || file.is_item() {
        return match simple(place, file).await {
            // The limit of one request is lower here: by session, then.
            Err(Fault::Refused(e)) if e.kind == Kind::TooLarge && !file.is_item() => {
                by_session(place, file).await
            }
            result => result,
        };
    }
    match by_session(place, file).await {
        // Sessions have a least size too ("3 MB", whichever of its readings): near it, one request may still do.
        Err(Fault::Refused(e)) if e.kind != Kind::TooLarge && file.len() < 3 << 20 => {
            simple(place, file).await
        }
        result => result,
    }
}

async fn simple(place: &Place<'_>, file: &File) -> Result<(), Fault> {
    let Place { session, id, ticket, .. } = *place;
    let path = format!("/messages/{}/attachments", segment(id));
    let body = file.body().map_err(|e| Fault::NotSent(unreadable(&e)))?;
    let call = session.call(Method::POST, &path, body, Step::TargetStorePart, WHAT);
    let mut tries = 0;
    loop {
        tries += 1;
        let reply = unthrottled(session, &call, ticket).await?;
        if !is_hiccup(&reply) {
            return reply.expect(&[201], WHAT).map(|_| ());
        }
        let fault = match reply.expect(&[], WHAT) {
            Err(fault) if tries < TRIES => fault,
            Err(fault) => return Err(fault),
            Ok(_) => return Ok(()),
        };
        session.wait_before_retry(fault.error(), tries).await;
        if place.has_it().await? {
            return Ok(());
        }
    }
}

/// Nothing was done, because the message was being changed meanwhile: the same request may follow.
fn is_hiccup(reply: &Reply) -> bool {
    matches!(reply.status.as_u16(), 409 | 412 | 423)
}

/// Sends a part until it is not throttled any more: what was not acted on may be sent again, and half a message lies
/// there waiting for it.
async fn unthrottled(session: &Session, call: &Call, ticket: &Ticket) -> Result<Reply, Fault> {
    let mut tries = 0;
    loop {
        tries += 1;
        let fault = match session.send(ticket, call).await {
            Ok(reply) if matches!(reply.status.as_u16(), 429 | 503) => match reply.expect(&[], call.what) {
                Ok(reply) => return Ok(reply),
                Err(fault) => fault,
            },
            Err(fault @ Fault::NotSent(_)) => fault,
            result => return result,
        };
        if tries == TRIES || !session.wait_before_retry(fault.error(), tries).await {
            return Err(fault);
        }
    }
}

async fn by_session(place: &Place<'_>, file: &File) -> Result<(), Fault> {
    let session = place.session;
    let mut sessions = 0;
    loop {
        sessions += 1;
        let fault = match one_session(place, file).await {
            Ok(()) => return Ok(()),
            Err(Failure::Final(fault)) => return Err(fault),
            Err(Failure::Restart(fault)) => fault,
        };
        let error = fault.error();
        let again = Error::temporary(error.kind, error.scope, "");
        let wait = Error { retry_after: error.retry_after, ..again };
        if sessions == SESSIONS || !session.wait_before_retry(&wait, sessions).await {
            return Err(fault);
        }
    }
}

enum Failure {
    /// The file is not attached; a new session may be begun.
    Restart(Fault),
    /// It cannot be, or may be already.
    Final(Fault),
}

fn broken(what: &str) -> Fault {
    Fault::Unknown(Error::temporary(Kind::Protocol, Scope::Message, what))
}

/// Begins a session; gives its address.
async fn begin(place: &Place<'_>, file: &File) -> Result<String, Failure> {
    let Place { session, id, ticket, .. } = *place;
    let path = format!("/messages/{}/attachments/createUploadSession", segment(id));
    let call = session.call(Method::POST, &path, file.session_body(), Step::TargetStorePart, WHAT);
    let begun = unthrottled(session, &call, ticket).await.and_then(|r| r.expect(&[200, 201], WHAT));
    let begun = begun.map_err(|fault| match fault {
        Fault::Unknown(_) => Failure::Restart(fault),
        fault => Failure::Final(fault),
    })?;
    let begun = begun.json().unwrap_or_default();
    let url = begun["uploadUrl"].as_str().unwrap_or_default();
    if session.base().as_safe(url) {
        Ok(url.to_owned())
    } else {
        Err(Failure::Final(broken("attaching a file: the upload address is not usable")))
    }
}

async fn one_session(place: &Place<'_>, file: &File) -> Result<(), Failure> {
    let Place { session, ticket, .. } = *place;
    let url = begin(place, file).await?;
    let total = file.len();
    let mut ranges = Ranges::new(file);
    let (mut at, mut hiccups) = (0, 0);
    // The server may ask for a range again; not for ever.
    for _ in 0..total.div_ceil(RANGE) * 2 + 4 + TRIES as usize {
        let body = session
            .transform(RANGE, || ranges.read(at))
            .map_err(|e| Failure::Final(Fault::NotSent(unreadable(&e))))?;
        let end = at + body.len();
        let last = end == total;
        let call = Call {
            method: Method::PUT,
            url: url.clone(),
            body,
            range: Some(format!("bytes {at}-{}/{total}", end.saturating_sub(1))),
            keyed: true,
            step: Step::TargetStorePart,
            what: WHAT,
        };
        let reply = match unthrottled(session, &call, ticket).await {
            Ok(reply) => reply,
            // With the last range the file may be attached already: then only the look-up knows.
            Err(fault @ Fault::Unknown(_)) if last => return Err(Failure::Final(fault)),
            Err(fault) => return Err(Failure::Restart(fault)),
        };
        match reply.status.as_u16() {
            201 => {
                let early = broken("attaching a file: the upload ended before its last range");
                return if last { Ok(()) } else { Err(Failure::Final(early)) };
            }
            200 | 202 => match next_range(&reply, total) {
                Some(next) if next <= end && !(last && next == total) => (at, hiccups) = (next, 0),
                _ => {
                    let fault = broken("attaching a file: the next range expected makes no sense");
                    return Err(if last { Failure::Final(fault) } else { Failure::Restart(fault) });
                }
            },
            _ => match reply.expect(&[], WHAT) {
                Err(fault) if hiccups < TRIES && fault.error().kind == Kind::Conflict => {
                    hiccups += 1;
                    session.wait_before_retry(fault.error(), hiccups).await;
                    if last && place.has_it().await.map_err(Failure::Final)? {
                        return Ok(());
                    }
                }
                Err(fault @ Fault::Unknown(_)) if last => return Err(Failure::Final(fault)),
                Err(fault) => return Err(Failure::Restart(fault)),
                Ok(_) => return Err(Failure::Final(broken("attaching a file: the answer makes no sense"))),
            },
        }
    }
    Err(Failure::Restart(broken("attaching a file: the upload does not progress")))
}

/// A file in ranges. They are asked for in order, as a rule; for an earlier one it is read from the beginning again.
struct Ranges<'a> {
    file: &'a File,
    reader: Option<Reader<'a>>,
    /// Where the reader is.
    at: usize,
    /// The range read last, and where it begins: for a server that wants it again.
    held: (usize, Bytes),
}

impl<'a> Ranges<'a> {
    fn new(file: &'a File) -> Ranges<'a> {
        Ranges { file, reader: file.reader(), at: 0, held: (0, Bytes::new()) }
    }

    /// The range that begins at `at`.
    fn read(&mut self, at: usize) -> std::io::Result<Bytes> {
        if self.held.0 == at && !self.held.1.is_empty() {
            return Ok(self.held.1.clone());
        }
        if at < self.at {
            (self.reader, self.at) = (self.file.reader(), 0);
        }
        let Some(reader) = &mut self.reader else { return Ok(Bytes::new()) };
        self.held.1 = Bytes::new();
        reader.skip(at - self.at)?;
        let octets = reader.next(RANGE)?;
        self.at = at + octets.len();
        self.held = (at, octets.clone());
        Ok(octets)
    }
}

/// The first octet of `nextExpectedRanges` (`["3932160-"]`, `["3932160-7864319"]` or `["3932160"]`).
fn next_range(reply: &Reply, total: usize) -> Option<usize> {
    let body = reply.json()?;
    let range = body["nextExpectedRanges"].get(0)?.as_str()?;
    let first = range.split('-').next()?.trim().parse().ok()?;
    (first <= total).then_some(first)
}

//! Write mode `import-mime` (beta `importMime`): the MIME as it is, then one PATCH for flags and the stamp's *done*.
//!
//! Awkward truths: the request has no parameters, so a header line carries the stamp, and whether the service keeps it as
//! a property that can be looked for is not documented. So the first message of every opened mailbox is looked for by its
//! header before anything is built on it; if it is not found it is taken back, and the mode is over for the mailbox. What
//! the received date becomes is not documented either: the answers tell, and a date that is not kept is declared. A draft
//! cannot be imported. Messages the mode does not take go to the next one.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::answer::{Fault, Reply};
use super::find::by_header;
use super::session::{Call, Session, segment};
use crate::env::Step;
use crate::limit::{Cost, Ticket};
use crate::model::{Error, Kind, Outcome, Scope, Timestamp, WriteMode};
use crate::target::dated::{date_of, millis};
use crate::target::{StoreItem, TargetFolderId};
use crate::transform::import_mime as mime;

const WHAT: &str = "importing a message";
const DONE: &str = "completing a message";
/// Bytes of a PATCH, about; more only with very many categories.
const PATCH: u64 = 2_048;
/// Looks for the first message's header, and the wait between them: a new item may be found late.
const LOOKS: u32 = 3;
const BETWEEN: Duration = Duration::from_secs(2);

/// What is known of the mode in one opened mailbox.
#[derive(Debug, Default)]
pub(super) struct Import {
    /// The mode is over: not there, not allowed, or its stamp cannot be found.
    off: AtomicBool,
    /// Stamps in headers are found. Locked while the first message proves it.
    proven: tokio::sync::Mutex<bool>,
}

/// A message that was imported and wants its last request.
struct Imported {
    at: usize,
    id: String,
    /// The received date it should have, if it has another.
    received: Option<Timestamp>,
    mended: bool,
}

/// What became of one import.
enum Made {
    Imported(Imported),
    /// The next mode may take it.
    NotTaken,
    Ended(Outcome),
}

impl Import {
    /// Stores messages. In order: an outcome, or `None` for those the mode does not take. Ends early with a fault that
    /// concerns more than its message: the rest is *not sent*, too.
    pub(super) async fn store(
        &self,
        session: &Session,
        folder: &TargetFolderId,
        items: &[StoreItem],
        ticket: &Ticket,
    ) -> Vec<Option<Outcome>> {
        let mut outcomes: Vec<Option<Outcome>> = items.iter().map(|_| None).collect();
        let mut imported = Vec::new();
        let mut stopped: Option<Error> = None;
        for (at, item) in items.iter().enumerate() {
            if let Some(error) = &stopped {
                outcomes[at] = Some(Outcome::NotSent(error.clone()));
                continue;
            }
            match self.one(session, folder, at, item, ticket).await {
                Made::Imported(one) => imported.push(one),
                Made::NotTaken => {}
                Made::Ended(outcome) => {
                    if let Outcome::NotSent(error) = &outcome {
                        stopped = Some(error.clone());
                    }
                    outcomes[at] = Some(outcome);
                }
            }
        }
        complete(session, items, imported, ticket, &mut outcomes).await;
        outcomes
    }

    async fn one(
        &self,
        session: &Session,
        folder: &TargetFolderId,
        at: usize,
        item: &StoreItem,
        ticket: &Ticket,
    ) -> Made {
        let Some(beta) = session.beta().filter(|_| !self.off.load(Ordering::Relaxed)) else {
            return Made::NotTaken;
        };
        let max = session.bounds().request;
        if item.flags.draft || item.body.is_empty() || item.body.len() > max as u64 {
            return Made::NotTaken;
        }
        let octets = match item.body.bytes() {
            Ok(octets) => octets,
            Err(e) => {
                let what = format!("the spooled message cannot be read: {}", e.kind());
                return Made::Ended(Outcome::NotSent(
                    Error::temporary(Kind::Io, Scope::Run, what)
                        .remedy("check the disk of the spool directory"),
                ));
            }
        };
        let made = session.transform(octets.len(), || mime::body(&octets, &item.stamp, max));
        let Some((body, mended)) = made else { return Made::NotTaken };
        let call = Call {
            method: Method::POST,
            url: format!("{beta}/mailFolders/{}/importMime", segment(&folder.0)),
            body: Bytes::from(body),
            range: None,
            keyed: false,
            step: Step::TargetStore,
            what: WHAT,
        };
        let mut proven = self.proven.lock().await;
        if *proven {
            drop(proven);
            return self.import(session, folder, at, item, &call, mended, ticket).await;
        }
        if self.off.load(Ordering::Relaxed) {
            return Made::NotTaken; // another lane has just found out
        }
        let one = match self.import(session, folder, at, item, &call, mended, ticket).await {
            Made::Imported(one) => one,
            other => return other,
        };
        match found(session, item, &one.id).await {
            Some(true) => {
                *proven = true;
                Made::Imported(one)
            }
            Some(false) => {
                self.off.store(true, Ordering::Relaxed);
                tracing::warn!("imported messages cannot be found by their stamp: import-mime is over here");
                take_back(session, &one.id, ticket).await
            }
            // It cannot be asked now, and without that nothing is proven.
            None => take_back(session, &one.id, ticket).await,
        }
    }

    #[allow(clippy::too_many_arguments)] // one request and all it needs
    async fn import(
        &self,
        session: &Session,
        folder: &TargetFolderId,
        at: usize,
        item: &StoreItem,
        call: &Call,
        mended: bool,
        ticket: &Ticket,
    ) -> Made {
        let reply = match session.send_as("text/plain", ticket, call).await {
            Ok(reply) => reply,
            Err(fault) => return Made::Ended(fault.into_outcome()),
        };
        match reply.status.as_u16() {
            201 => {}
            // The role is missing, or the mailbox is closed to us: then the next mode says so.
            403 | 405 | 501 => return self.over(),
            404 if !matches!(reply.code().as_deref(), Some("ErrorItemNotFound" | "ErrorFolderNotFound")) => {
                return self.over();
            }
            400 | 413 | 415 | 422 => return Made::NotTaken,
            _ => {}
        }
        let reply = match reply.expect(&[201], WHAT) {
            Ok(reply) => reply,
            Err(fault) => return Made::Ended(fault.into_outcome()),
        };
        match reply.made() {
            Some(made) if made.parent.as_ref().is_none_or(|p| *p == folder.0) => {
                let wanted = item.received.unwrap_or_else(|| date_of(&item.body));
                let received = (!has_received(made.received.as_deref(), wanted)).then_some(wanted);
                Made::Imported(Imported { at, id: made.id.into_owned(), received, mended })
            }
            _ => Made::Ended(Outcome::Unknown(Error::temporary(
                Kind::Protocol,
                Scope::Message,
                "importing a message: the answer is not about that message",
            ))),
        }
    }

    fn over(&self) -> Made {
        if !self.off.swap(true, Ordering::Relaxed) {
            tracing::info!("the target does not offer import-mime here: the next mode is used");
        }
        Made::NotTaken
    }
}

/// Does the service show this received date?
fn has_received(shown: Option<&str>, wanted: Timestamp) -> bool {
    shown.and_then(millis).is_some_and(|shown| shown.div_euclid(1000) == wanted.seconds)
}

async fn found(session: &Session, item: &StoreItem, id: &str) -> Option<bool> {
    let mut last = None;
    for look in 0..LOOKS {
        if look > 0 {
            session.env.sleep(BETWEEN).await;
        }
        last = by_header(session, &item.stamp, id).await;
        if last == Some(true) {
            break;
        }
    }
    last
}

/// Takes an imported message back, for the next mode to store it.
async fn take_back(session: &Session, id: &str, ticket: &Ticket) -> Made {
    let path = format!("/messages/{}", segment(id));
    let what = "taking an imported message back";
    let call = session.call(Method::DELETE, &path, Bytes::new(), Step::TargetRemove, what);
    match session.insist(ticket, &call, &[204, 404]).await {
        Ok(_) => Made::NotTaken,
        Err(fault) => Made::Ended(Outcome::Unknown(fault.into_error())),
    }
}

/// Sends the last request of every imported message, several at a time, and tells what became of each.
async fn complete(
    session: &Session,
    items: &[StoreItem],
    imported: Vec<Imported>,
    ticket: &Ticket,
    outcomes: &mut [Option<Outcome>],
) {
    let prepared: Vec<(Call, BTreeSet<&'static str>)> = imported
        .iter()
        .filter_map(|one| Some((one, items.get(one.at)?)))
        .map(|(one, item)| {
            let mut losses = BTreeSet::from([mime::HEADER_ADDED]);
            let body = mime::patch_body(&item.stamp, &item.flags, one.received, &mut losses);
            let path = format!("/messages/{}", segment(&one.id));
            (session.call(Method::PATCH, &path, body.into(), Step::TargetStoreDone, DONE), losses)
        })
        .collect();
    let calls: Vec<Call> = prepared.iter().map(|(call, _)| call.clone()).collect();
    let replies = session.batch(&calls).await;
    for ((one, (call, losses)), reply) in imported.into_iter().zip(prepared).zip(replies) {
        // The same values again do no harm.
        let reply = match reply {
            Some(reply) => reply.expect(&[200], DONE),
            None => session.insist(ticket, &call, &[200]).await,
        };
        let outcome = match reply {
            Ok(reply) => Some(stored(one.id, losses, one.received, one.mended, &reply)),
            // Refused for good: the copy is taken back, and the next mode may do better.
            Err(Fault::Refused(_)) => match take_back(session, &one.id, ticket).await {
                Made::Ended(outcome) => Some(outcome),
                Made::NotTaken | Made::Imported(_) => None,
            },
            Err(fault) => Some(Outcome::Unknown(fault.into_error())),
        };
        if let Some(slot) = outcomes.get_mut(one.at) {
            *slot = outcome;
        }
    }
}

fn stored(
    id: String,
    mut losses: BTreeSet<&'static str>,
    received: Option<Timestamp>,
    mended: bool,
    reply: &Reply,
) -> Outcome {
    if let Some(wanted) = received
        && !reply.made().is_some_and(|message| has_received(message.received.as_deref(), wanted))
    {
        losses.insert(mime::RECEIVED_LOST);
    }
    if mended {
        losses.insert(mime::LINE_ENDS);
    }
    Outcome::Stored { id, losses: losses.into_iter().collect(), mode: WriteMode::ImportMime }
}

/// An upper estimate for one message of `size` bytes; `None` if it is too large for the mode.
pub(super) fn cost(size: u64, request: usize) -> Option<Cost> {
    let upload_bytes = mime::wire_len(size);
    (upload_bytes <= request as u64).then_some(Cost { requests: 2, upload_bytes: upload_bytes + PATCH })
}

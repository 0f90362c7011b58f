//! Write mode `import-stream` (v1.0 `createImportSession`): an item as the opaque stream a store exported it as.
//!
//! Awkward truths: a stream cannot be looked into, so it cannot carry our stamp, and the import interface writes no
//! properties; one request is one item, its answer is all we learn, and what it made cannot be told from anybody's mail.
//! So an item is imported into a hidden folder of ours (`staging`), stamped there through `/messages` (the stamp says
//! *done* at once), and only then moved to its folder; its immutable id stays. **Nothing in the staging folder is a copy.**
//!
//! | cut after | what is there | who resolves it |
//! |---|---|---|
//! | the import | an item without a stamp, in staging | the look-up does not see it; the sweep removes it |
//! | the stamp | a stamped item, in staging | the look-up says *incomplete*: it is removed, and the item imported again |
//! | the move | a copy | the look-up finds it |
//!
//! A stamped item in staging could be moved on instead. It is redone, for the engine does so with every incomplete copy
//! of any target, and the one that finds it does not know which folder it was meant for.
//!
//! What arrives late arrives in staging, unstamped, and is swept. Stamps and moves go several at a time, each kind in a
//! batch of its own and not in pairs that depend on each other: the service works on such pairs one after the other, and
//! with more than ten items it would be no round trip less.
//!
//! Items that are not shown as messages (contacts, appointments, tasks, notes) can be imported but neither stamped nor
//! found again, and a copy that nothing finds would be stored twice after a cut, or counted as lost by the recount. They
//! are refused: those of known classes before anything is sent, others once the service does not know them as messages.
//! Flags, read state and dates are in the stream and are not touched.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use super::answer::{Fault, id};
use super::change;
use super::export;
use super::session::{Call, Session, segment};
use super::staging::{Common, Staging};
use super::stream_class::{is_mail, no_message, refusal};
use super::stream_door::{Door, of_stream};
use crate::env::Step;
use crate::limit::{Cost, Ticket};
use crate::model::{Error, Kind, Outcome, Result, Scope, WriteMode};
use crate::target::{CopyRef, Exported, StoreItem, TargetFolderId};
use crate::transform::base64::Content;
use crate::transform::graph::{props, unreadable as unreadable_body};
use crate::transform::json::Object;
use crate::transform::octets::Octets;

/// Streams above this are sent one at a time for the whole endpoint, in bytes: a request holds all of its item, 32 MiB of
/// base64 then.
const LARGE: u64 = 24 << 20;
/// Bytes of a request beside its stream; of a stamp and a move.
const AROUND: u64 = 1_024;
const STAMP_AND_MOVE: u64 = 1_024;

const WHAT: &str = "importing an item";
const STAMPING: &str = "stamping an imported item";

/// The mode in one opened mailbox.
pub(super) struct Streams {
    common: Arc<Common>,
    pub(super) staging: Arc<Staging>,
    door: Door,
    /// Why the mode cannot be used here.
    closed: Option<Error>,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Streams")
    }
}

/// An item that lies in staging.
struct Staged {
    at: usize,
    id: String,
}

impl Streams {
    pub(super) fn new(common: Arc<Common>, staging: Arc<Staging>, hosts: Vec<String>) -> Streams {
        Streams { common, staging, door: Door::new(hosts), closed: None }
    }

    /// For a mailbox whose settings name the mode: is it offered, and are we let in? Removes what an earlier run left in
    /// staging.
    ///
    /// # Errors
    /// It cannot be asked now.
    pub(super) async fn open(mut self, session: &Session) -> Result<Streams> {
        match self.door.store(session).await {
            Ok(store) => {
                self.staging.sweep_old(session, &store).await;
            }
            Err(e) if e.may_pass() => return Err(e),
            Err(e) => {
                tracing::warn!("items cannot be imported as streams here: {e}");
                self.closed = Some(e);
            }
        }
        Ok(self)
    }

    /// Are streams taken?
    pub(super) fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// Before a look-up: what an unknown outcome left behind is removed, unless others are at work in there.
    pub(super) async fn tidy(&self, session: &Session) {
        if self.staging.is_dirty()
            && let Ok(store) = self.door.store(session).await
        {
            self.staging.sweep(session, &store).await;
        }
    }

    /// Stores items. In order: an outcome for each of them. Ends early with a fault that concerns more than its item: the
    /// rest is *not sent*, too.
    pub(super) async fn store(
        &self,
        session: &Session,
        folder: &TargetFolderId,
        items: &[StoreItem],
        ticket: &Ticket,
    ) -> Vec<Option<Outcome>> {
        let mut outcomes: Vec<Option<Outcome>> = items.iter().map(refusal).collect();
        if outcomes.iter().all(Option::is_some) {
            return outcomes;
        }
        let ready = match &self.closed {
            Some(why) => Err(why.clone()),
            None => self.ready(session).await,
        };
        let (store, staging) = match ready {
            Ok(ready) => ready,
            Err(error) => {
                fill(&mut outcomes, &error);
                return outcomes;
            }
        };
        let inside = self.staging.enter().await;
        let staged = self.import_all(session, &staging, items, ticket, &mut outcomes).await;
        let place = Place { session, store: &store, staging: &staging, ticket };
        let stamped = self.stamp(&place, items, staged, &mut outcomes).await;
        self.hand_over(&place, folder, stamped, &mut outcomes).await;
        drop(inside);
        self.tidy(session).await;
        outcomes
    }

    /// Imports what has no outcome yet, one after the other: lanes give the concurrency.
    async fn import_all(
        &self,
        session: &Session,
        staging: &str,
        items: &[StoreItem],
        ticket: &Ticket,
        outcomes: &mut [Option<Outcome>],
    ) -> Vec<Staged> {
        let mut staged = Vec::new();
        for (at, item) in items.iter().enumerate() {
            if outcomes[at].is_some() {
                continue;
            }
            match self.import(session, staging, item, ticket).await {
                Ok(id) => staged.push(Staged { at, id }),
                Err(Fault::NotSent(error)) => {
                    fill(&mut outcomes[at..], &error);
                    break;
                }
                Err(fault) => {
                    if matches!(fault, Fault::Unknown(_)) {
                        self.staging.soil();
                    }
                    outcomes[at] = Some(fault.into_outcome());
                }
            }
        }
        staged
    }

    /// The path of the store and the staging folder, swept once.
    async fn ready(&self, session: &Session) -> Result<(String, String)> {
        let store = self.door.store(session).await?;
        let staging = self.staging.make(session).await?;
        self.staging.sweep_once(session, &store).await;
        Ok((store, staging))
    }

    /// Imports one item into staging; gives its id there.
    async fn import(
        &self,
        session: &Session,
        staging: &str,
        item: &StoreItem,
        ticket: &Ticket,
    ) -> Result<String, Fault> {
        let large = if item.body.len() > LARGE { Some(self.common.large.lock().await) } else { None };
        let body = Octets::of(&item.body).and_then(|octets| {
            let length = octets.len();
            session.transform(length, || body(staging, octets))
        });
        let body = body.map_err(|e| Fault::NotSent(unreadable_body(&e)))?;
        let reply = self.door.post(session, ticket, body, WHAT).await;
        drop(large);
        let reply = match reply {
            // The folder was removed under our hands; the next try makes it anew.
            Err(Fault::NotSent(e)) if e.kind == Kind::NotFound && e.scope == Scope::Folder => {
                self.staging.forget().await;
                let what = "importing an item: the staging folder is not there any more";
                return Err(Fault::NotSent(Error::temporary(Kind::NotFound, Scope::Mailbox, what)));
            }
            reply => reply?,
        };
        let answer = reply.json().unwrap_or_default();
        let made = serde_json::json!({ "id": answer["itemId"] });
        id(&made).map(str::to_owned).ok_or_else(|| {
            let what = "importing an item: the answer is not about that item";
            Fault::Unknown(Error::temporary(Kind::Protocol, Scope::Message, what))
        })
    }

    /// Stamps what lies in staging, several at a time; gives what is stamped, by its lasting id.
    async fn stamp(
        &self,
        place: &Place<'_>,
        items: &[StoreItem],
        staged: Vec<Staged>,
        outcomes: &mut [Option<Outcome>],
    ) -> Vec<Staged> {
        let session = place.session;
        let call = |one: &Staged| {
            let body = items.get(one.at).map(|item| props::done_body(&item.stamp)).unwrap_or_default();
            let path = format!("/messages/{}", segment(&one.id));
            session.call(Method::PATCH, &path, body.into(), Step::TargetStoreDone, STAMPING)
        };
        let calls: Vec<Call> = staged.iter().map(call).collect();
        let replies = session.batch(&calls).await;
        let mut stamped = Vec::with_capacity(staged.len());
        for ((one, call), reply) in staged.into_iter().zip(calls).zip(replies) {
            // The same value again does no harm, and nothing moves the item meanwhile: its id is good.
            let reply = match reply {
                Some(reply) => reply.expect(&[200], STAMPING),
                None => session.insist(place.ticket, &call, &[200]).await,
            };
            match reply {
                Ok(reply) => {
                    let lasting = reply.json().as_ref().and_then(id).unwrap_or(&one.id).to_owned();
                    stamped.push(Staged { at: one.at, id: lasting });
                }
                Err(fault) => {
                    let mail = items.get(one.at).is_some_and(is_mail);
                    let outcome = self.unstamped(place, &one.id, mail, fault).await;
                    if let Some(slot) = outcomes.get_mut(one.at) {
                        *slot = Some(outcome);
                    }
                }
            }
        }
        stamped
    }

    /// An item that could not be stamped: it is removed, and then nothing was done; if it cannot be, nobody knows.
    async fn unstamped(&self, place: &Place<'_>, id: &str, mail: bool, fault: Fault) -> Outcome {
        let outcome = match fault {
            Fault::NotSent(e) if e.kind == Kind::NotFound => match place.has(id).await {
                // Mail is a message, sooner or later.
                Ok(true) if mail => {
                    Outcome::NotSent(Error::temporary(Kind::Conflict, Scope::Message, e.what))
                }
                Ok(true) => Outcome::Refused(no_message()),
                // Removed by somebody: by another program that takes the staging folder for its own, say.
                Ok(false) => Outcome::Unknown(Error::temporary(Kind::Conflict, Scope::Message, e.what)),
                Err(e) => Outcome::Unknown(e),
            },
            fault => fault.into_outcome(),
        };
        if let Outcome::Unknown(_) = outcome {
            self.staging.soil();
            return outcome;
        }
        match place.discard(id).await {
            Ok(()) => outcome,
            Err(e) => {
                self.staging.soil();
                Outcome::Unknown(e)
            }
        }
    }

    /// Moves what is stamped into its folder.
    async fn hand_over(
        &self,
        place: &Place<'_>,
        folder: &TargetFolderId,
        stamped: Vec<Staged>,
        outcomes: &mut [Option<Outcome>],
    ) {
        let lies = TargetFolderId(place.staging.to_owned());
        let copies: Vec<CopyRef> =
            stamped.iter().map(|one| CopyRef { folder: lies.clone(), id: one.id.clone() }).collect();
        let moved = change::relocate(place.session, &copies, folder).await;
        for ((one, copy), moved) in stamped.into_iter().zip(copies).zip(moved) {
            let outcome = match moved {
                Ok(id) => Outcome::Stored { id, losses: Vec::new(), mode: WriteMode::ImportStream },
                Err(e) => self.kept_back(place.session, copy, e).await,
            };
            if let Some(slot) = outcomes.get_mut(one.at) {
                *slot = Some(outcome);
            }
        }
    }

    /// An item that could not be moved on. Removed by its id, wherever it is now, it is no copy for certain.
    async fn kept_back(&self, session: &Session, copy: CopyRef, error: Error) -> Outcome {
        let gone = error.kind == Kind::NotFound && error.scope == Scope::Message;
        if !gone && change::remove(session, &[copy]).await.iter().all(Result::is_ok) {
            return Outcome::NotSent(error);
        }
        self.staging.soil();
        Outcome::Unknown(error)
    }

    /// Exports an item as a stream.
    pub(super) async fn export(&self, session: &Session, copy: &CopyRef) -> Result<Exported> {
        export::export(session, &self.door, copy).await
    }
}

/// Where the items of one store lie until they are moved on.
struct Place<'a> {
    session: &'a Session,
    store: &'a str,
    staging: &'a str,
    ticket: &'a Ticket,
}

impl Place<'_> {
    fn url(&self, id: &str) -> String {
        format!("{}/folders/{}/items/{}", self.store, segment(self.staging), segment(id))
    }

    /// Is the item there, of whatever class?
    async fn has(&self, id: &str) -> Result<bool> {
        match self.session.read_url(self.url(id), Step::TargetFind, STAMPING).await {
            Ok(_) => Ok(true),
            Err(fault) if fault.error().kind == Kind::NotFound => Ok(false),
            Err(fault) => Err(of_stream(fault)),
        }
    }

    async fn discard(&self, id: &str) -> Result<()> {
        let what = "removing an imported item";
        let call = Call::to(Method::DELETE, self.url(id), Bytes::new(), Step::TargetRemove, what);
        self.session.insist(self.ticket, &call, &[200, 204, 404]).await.map(|_| ()).map_err(of_stream)
    }
}

fn fill(outcomes: &mut [Option<Outcome>], error: &Error) {
    outcomes.iter_mut().for_each(|o| {
        o.get_or_insert_with(|| Outcome::NotSent(error.clone()));
    });
}

/// The request's body. Octets in the spool are read a window at a time: it alone is in memory.
fn body(staging: &str, octets: Octets) -> std::io::Result<Bytes> {
    let content = Content::from(octets);
    let mut out = String::with_capacity(content.base64_len() + staging.len() + 64);
    let mut object = Object::begin(&mut out);
    object.text("FolderId", staging);
    object.text("Mode", "create");
    let data = object.key("Data");
    data.push('"');
    content.push_base64(data)?;
    data.push('"');
    object.end();
    Ok(Bytes::from(out))
}

/// An upper estimate for one item of `size` bytes: the import, its stamp and its move.
pub(super) fn cost(size: u64) -> Cost {
    let upload_bytes = size.div_ceil(3).saturating_mul(4).saturating_add(AROUND + STAMP_AND_MOVE);
    Cost { requests: 3, upload_bytes }
}

#[cfg(test)]
mod tests {
    use encodify::base64::STANDARD;

    use super::super::stream_class::LARGEST;
    use super::*;

    #[test]
    fn the_stream_travels_whole_and_costs_what_was_said() {
        for length in [1usize, 2, 3, 4, 100_000, 3_000_001] {
            let octets: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let body = body("folder\"id", Octets::from(Bytes::from(octets.clone()))).expect("in memory");
            assert!(body.len() as u64 <= cost(length as u64).upload_bytes);
            let read: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(read["FolderId"], "folder\"id");
            assert_eq!(read["Mode"], "create");
            let data = read["Data"].as_str().expect("text");
            assert_eq!(STANDARD.decode(data).expect("strict base64"), octets);
        }
        assert!(cost(LARGEST).upload_bytes < 150_000_000, "it can be sent at all");
    }
}

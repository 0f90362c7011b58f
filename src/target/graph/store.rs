//! Storing one message: one create, or a create, its parts and a last request that says *done*.

use http::Method;

use super::answer::{Fault, Made};
use super::session::{Session, segment};
use super::upload::{self, Place};
use crate::env::Step;
use crate::limit::{Cost, Ticket};
use crate::model::{Error, Kind, Outcome, Scope, WriteMode};
use crate::target::{StoreItem, TargetFolderId};
use crate::transform::graph::{self, Bounds, GraphMessage, Input, props};
use crate::transform::octets::Octets;

const CREATE: &str = "storing a message";

/// Stores one message; exactly one outcome. If it is refused for what not every target takes (attached messages, message
/// classes), it is built once more without.
pub(super) async fn store(
    session: &Session,
    folder: &TargetFolderId,
    item: &StoreItem,
    ticket: &Ticket,
) -> Outcome {
    let octets = match Octets::of(&item.body) {
        Ok(octets) => octets,
        Err(e) => return Outcome::NotSent(graph::unreadable(&e)),
    };
    let input = Input {
        octets: &octets,
        stamp: &item.stamp,
        flags: &item.flags,
        received: item.received,
        bounds: session.bounds(),
        original: session.original(),
        plain: false,
    };
    let (outcome, special) = once(session, folder, item, &input, ticket).await;
    match outcome {
        Outcome::Refused(e) if special && e.kind == Kind::Refused => {
            once(session, folder, item, &Input { plain: true, ..input }, ticket).await.0
        }
        outcome => outcome,
    }
}

/// Builds and stores it. The flag tells whether a plainer form may fare better.
async fn once(
    session: &Session,
    folder: &TargetFolderId,
    item: &StoreItem,
    input: &Input<'_>,
    ticket: &Ticket,
) -> (Outcome, bool) {
    let message = match session.transform(input.octets.len(), || graph::build(input)) {
        Ok(message) => message,
        Err(e) if e.kind == Kind::Io => return (Outcome::NotSent(e), false),
        Err(e) => return (Outcome::Refused(e), false),
    };
    let special = message.special;
    let outcome = match create(session, folder, &message, ticket).await {
        Err(fault) => fault.into_outcome(),
        Ok(id) if message.later.is_empty() => {
            Outcome::Stored { id, losses: message.losses, mode: WriteMode::Json }
        }
        Ok(id) => match complete(session, &id, &message, item, ticket).await {
            Ok(()) => Outcome::Stored { id, losses: message.losses, mode: WriteMode::Json },
            Err(fault) => abandon(session, &id, fault, ticket).await,
        },
    };
    (outcome, special)
}

/// The create. Gives the id of the new message.
async fn create(
    session: &Session,
    folder: &TargetFolderId,
    message: &GraphMessage,
    ticket: &Ticket,
) -> Result<String, Fault> {
    let path = format!("/mailFolders/{}/messages", segment(&folder.0));
    let call = session.call(Method::POST, &path, message.create.clone(), Step::TargetStore, CREATE);
    let reply = session.send(ticket, &call).await?.expect(&[201], CREATE)?;
    match reply.made() {
        Some(made) if is_ours(&made, folder, message) => Ok(made.id.into_owned()),
        _ => Err(Fault::Unknown(Error::temporary(
            Kind::Protocol,
            Scope::Message,
            "storing a message: the answer is not about that message",
        ))),
    }
}

/// Is the answer about the message we sent? It has an id, lies in the folder we named, and has the Message-ID we gave.
/// In doubt the outcome is unknown, and the look-up by stamp decides.
fn is_ours(made: &Made<'_>, folder: &TargetFolderId, message: &GraphMessage) -> bool {
    let same_id = match (&made.message_id, &message.message_id) {
        (Some(found), Some(sent)) => found.trim() == sent,
        _ => true,
    };
    same_id && made.parent.as_ref().is_none_or(|p| *p == folder.0)
}

/// Attaches what follows and sets the stamp to *done*.
async fn complete(
    session: &Session,
    id: &str,
    message: &GraphMessage,
    item: &StoreItem,
    ticket: &Ticket,
) -> Result<(), Fault> {
    for (n, file) in message.later.iter().enumerate() {
        let place = Place { session, id, ticket, before: message.carried + n };
        upload::attach(&place, file).await?;
    }
    let what = "completing a message";
    let path = format!("/messages/{}", segment(id));
    let call =
        session.call(Method::PATCH, &path, props::done_body(&item.stamp).into(), Step::TargetStoreDone, what);
    // The same property with the same value: sending it again is harmless.
    session.insist(ticket, &call, &[200]).await.map(|_| ())
}

/// A store that cannot be completed. If the target refuses a part for good, the incomplete copy is removed and the
/// message is refused; anything else is unknown: the look-up finds an incomplete copy, or none.
async fn abandon(session: &Session, id: &str, fault: Fault, ticket: &Ticket) -> Outcome {
    match fault {
        Fault::Refused(error) => {
            let what = "removing an incomplete copy";
            let call = session.call(
                Method::DELETE,
                &format!("/messages/{}", segment(id)),
                Default::default(),
                Step::TargetRemove,
                what,
            );
            match session.insist(ticket, &call, &[204, 404]).await {
                Ok(_) => Outcome::Refused(error),
                Err(fault) => Outcome::Unknown(fault.into_error()),
            }
        }
        fault => Outcome::Unknown(fault.into_error()),
    }
}

/// An upper estimate for one message of `size` bytes: binary content as base64, the header block twice, the envelope.
/// A signed message, whose original travels too, may cost more; it is charged as it goes.
pub(super) fn cost(size: u64, bounds: Bounds) -> Cost {
    let upload_bytes = size.saturating_mul(4) / 3 + 8_192;
    let one = bounds.request as u64;
    let requests = if upload_bytes <= one {
        1
    } else {
        // create, session and stamp, and a request for each piece
        let pieces = upload_bytes.div_ceil(bounds.simple_file as u64);
        u32::try_from(pieces).unwrap_or(u32::MAX).saturating_add(3)
    };
    Cost { requests, upload_bytes }
}

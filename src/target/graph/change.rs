//! Changes of copies that are there: flags, place, removal. All may be sent again without harm.

use bytes::Bytes;
use http::Method;

use super::answer::{Fault, Reply, id};
use super::folders::parent;
use super::session::{Call, Session, segment};
use crate::env::Step;
use crate::model::{Error, Flags, Kind, Result, Scope};
use crate::target::{CopyRef, TargetFolderId};
use crate::transform::graph::flags;
use crate::transform::json::Object;

fn message_path(id: &str) -> String {
    format!("/messages/{}", segment(id))
}

/// A fault that concerns one copy: what is not found is the copy.
fn of_copy(fault: Fault) -> Error {
    match fault.into_error() {
        e if e.kind == Kind::NotFound && e.scope == Scope::Folder => e.scoped(Scope::Message),
        e => e,
    }
}

/// Sets flags of copies: several at a time, then one by one what is left.
pub(super) async fn set_flags(session: &Session, changes: &[(CopyRef, Flags)]) -> Vec<Result<()>> {
    let what = "setting flags";
    let call = |(copy, flags): &(CopyRef, Flags)| {
        let body = Bytes::from(flags::patch_body(flags));
        session.call(Method::PATCH, &message_path(&copy.id), body, Step::TargetFlags, what)
    };
    each(session, &changes.iter().map(call).collect::<Vec<_>>(), &[200]).await
}

/// Removes copies; the service keeps them recoverable. What is gone is removed.
pub(super) async fn remove(session: &Session, copies: &[CopyRef]) -> Vec<Result<()>> {
    let what = "removing a message";
    let call = |copy: &CopyRef| {
        session.call(Method::DELETE, &message_path(&copy.id), Bytes::new(), Step::TargetRemove, what)
    };
    each(session, &copies.iter().map(call).collect::<Vec<_>>(), &[204, 404]).await
}

/// Makes requests that each concern one copy and may be sent again.
async fn each(session: &Session, calls: &[Call], wanted: &[u16]) -> Vec<Result<()>> {
    let mut results = Vec::with_capacity(calls.len());
    for (call, reply) in calls.iter().zip(session.batch(calls).await) {
        let reply = match reply {
            Some(reply) => reply.expect(wanted, call.what),
            None => session.insist(&session.lookup(), call, wanted).await,
        };
        results.push(reply.map(|_| ()).map_err(of_copy));
    }
    results
}

const MOVING: &str = "moving a message";

/// Moves copies. Their ids stay (immutable ids), but what the answers say counts.
pub(super) async fn relocate(
    session: &Session,
    copies: &[CopyRef],
    to: &TargetFolderId,
) -> Vec<Result<String>> {
    let mut body = String::new();
    let mut object = Object::begin(&mut body);
    object.text("destinationId", &to.0);
    object.end();
    let body = Bytes::from(body);
    let call = |copy: &CopyRef| {
        let path = format!("{}/move", message_path(&copy.id));
        session.call(Method::POST, &path, body.clone(), Step::TargetMove, MOVING)
    };
    let calls: Vec<Call> = copies.iter().map(call).collect();
    let mut results = Vec::with_capacity(copies.len());
    for ((copy, call), reply) in copies.iter().zip(&calls).zip(session.batch(&calls).await) {
        results.push(match reply {
            Some(reply) if matches!(reply.status.as_u16(), 200 | 201) => Ok(id_after(&reply, &copy.id)),
            // Also what was refused: it may be there already.
            _ => relocate_one(session, &copy.id, to, call).await,
        });
    }
    results
}

fn id_after(reply: &Reply, before: &str) -> String {
    reply.json().as_ref().and_then(id).unwrap_or(before).to_owned()
}

async fn relocate_one(session: &Session, copy: &str, to: &TargetFolderId, call: &Call) -> Result<String> {
    let mut tries = 0;
    loop {
        tries += 1;
        let sent = session.send(&session.lookup(), call).await.and_then(|r| r.expect(&[200, 201], MOVING));
        let fault = match sent {
            Ok(reply) => return Ok(id_after(&reply, copy)),
            Err(fault) => fault,
        };
        // It may be there already: moved before, or just now without an answer.
        if !matches!(fault, Fault::NotSent(ref e) if e.may_pass()) {
            let path = format!("{}?$select=id,parentFolderId", message_path(copy));
            match session.read(&path, Step::TargetMove, MOVING).await {
                Ok(message) if parent(&message) == Some(to.0.as_str()) => return Ok(copy.to_owned()),
                Ok(_) => {}
                Err(gone) => return Err(of_copy(gone)),
            }
        }
        if tries == 4 || !session.wait_before_retry(fault.error(), tries).await {
            // The copy is there, so what was not found is the folder.
            return Err(fault.into_error());
        }
    }
}

//! Changes of copies that are there: flags, place, removal. All may be sent again without harm.

use bytes::Bytes;
use http::Method;

use super::answer::{Fault, id};
use super::folders::parent;
use super::session::{Session, segment};
use crate::env::Step;
use crate::model::{Error, Flags, Kind, Result, Scope};
use crate::target::TargetFolderId;
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

/// Sets the flags of one copy.
pub(super) async fn set_flags(session: &Session, id: &str, flags: &Flags) -> Result<()> {
    let what = "setting flags";
    let body = Bytes::from(flags::patch_body(flags));
    let call = session.call(Method::PATCH, &message_path(id), body, Step::TargetFlags, what);
    session.insist(&session.lookup(), &call, &[200]).await.map(|_| ()).map_err(of_copy)
}

/// Moves one copy. Its id stays (immutable ids), but what the answer says counts.
pub(super) async fn relocate(session: &Session, copy: &str, to: &TargetFolderId) -> Result<String> {
    let what = "moving a message";
    let mut body = String::new();
    let mut object = Object::begin(&mut body);
    object.text("destinationId", &to.0);
    object.end();
    let path = format!("{}/move", message_path(copy));
    let call = session.call(Method::POST, &path, body.into(), Step::TargetMove, what);
    let mut tries = 0;
    loop {
        tries += 1;
        let sent = session.send(&session.lookup(), &call).await.and_then(|r| r.expect(&[200, 201], what));
        let fault = match sent {
            Ok(reply) => {
                let moved = reply.json();
                return Ok(moved.as_ref().and_then(id).unwrap_or(copy).to_owned());
            }
            Err(fault) => fault,
        };
        // It may be there already: moved before, or just now without an answer.
        if !matches!(fault, Fault::NotSent(ref e) if e.may_pass()) {
            let path = format!("{}?$select=id,parentFolderId", message_path(copy));
            match session.read(&path, Step::TargetMove, what).await {
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

/// Removes one copy; the service keeps it recoverable. What is gone is removed.
pub(super) async fn remove(session: &Session, id: &str) -> Result<()> {
    let what = "removing a message";
    let call = session.call(Method::DELETE, &message_path(id), Bytes::new(), Step::TargetRemove, what);
    session.insist(&session.lookup(), &call, &[204, 404]).await.map(|_| ()).map_err(of_copy)
}

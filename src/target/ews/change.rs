//! Changes of copies that are there: flags, place, removal; many in one request, each judged by itself. All may be sent
//! again without harm.

use super::answer::{Fault, id};
use super::find::one_in;
use super::listing::extended;
use super::session::{AT_ONCE, Call, Session};
use super::tree::Element;
use crate::env::Step;
use crate::model::{Error, Flags, Kind, Result, Scope};
use crate::target::{CopyRef, TargetFolderId};
use crate::transform::ews::{flags, props};
use crate::transform::xml;

/// A fault that concerns one copy: what is not found is the copy.
fn of_copy(fault: Fault) -> Error {
    match fault.into_error() {
        e if e.kind == Kind::NotFound && e.scope == Scope::Folder => e.scoped(Scope::Message),
        e => e,
    }
}

fn is_gone(fault: &Fault) -> bool {
    fault.error().kind == Kind::NotFound && fault.error().scope <= Scope::Folder
}

/// Sets the flags of copies. What a reader would be told of (read receipts) is not told: nobody has read them.
pub(super) async fn set_flags(session: &Session, changes: &[(CopyRef, Flags)]) -> Vec<Result<()>> {
    const ATTRIBUTES: &str = " MessageDisposition=\"SaveOnly\" ConflictResolution=\"AlwaysOverwrite\" SuppressReadReceipts=\"true\"";
    let make = |changes: &[&(CopyRef, Flags)]| {
        session.call("UpdateItem", ATTRIBUTES, Step::TargetFlags, "setting flags", |out| {
            xml::open(out, "m:ItemChanges");
            for (copy, wanted) in changes {
                xml::open(out, "t:ItemChange");
                xml::empty(out, "t:ItemId", &[("Id", &copy.id)]);
                flags::updates(out, wanted);
                xml::close(out, "t:ItemChange");
            }
            xml::close(out, "m:ItemChanges");
        })
    };
    let done = session.each(changes, AT_ONCE, make, |_| Some(())).await;
    done.into_iter().map(|one| one.map_err(of_copy)).collect()
}

/// Removes copies; the server keeps them recoverable, outside of the folders. What is gone is removed.
pub(super) async fn remove(session: &Session, copies: &[CopyRef]) -> Vec<Result<()>> {
    const ATTRIBUTES: &str = " DeleteType=\"SoftDelete\" SuppressReadReceipts=\"true\"";
    let make = |copies: &[&CopyRef]| {
        session
            .call("DeleteItem", ATTRIBUTES, Step::TargetRemove, "removing messages", |out| ids(out, copies))
    };
    let done = session.each(copies, AT_ONCE, make, |_| Some(())).await;
    let judge = |one: Result<(), Fault>| match one {
        Err(fault) if is_gone(&fault) => Ok(()),
        other => other.map_err(of_copy),
    };
    done.into_iter().map(judge).collect()
}

pub(super) fn ids(out: &mut String, copies: &[&CopyRef]) {
    xml::open(out, "m:ItemIds");
    for copy in copies {
        xml::empty(out, "t:ItemId", &[("Id", &copy.id)]);
    }
    xml::close(out, "m:ItemIds");
}

/// Where a copy lies, and the value of its stamp, if it has one.
struct Place {
    folder: String,
    stamp: Option<String>,
}

/// Moves copies; their ids from now on. A moved message has another id, so where it lies is asked first, and a move
/// whose answer was lost is settled by the stamp.
pub(super) async fn relocate(
    session: &Session,
    copies: &[CopyRef],
    to: &TargetFolderId,
) -> Vec<Result<String>> {
    let places = session.each(copies, AT_ONCE, |copies| look(session, copies), place).await;
    let mut results: Vec<Option<Result<String>>> = Vec::with_capacity(copies.len());
    let mut todo: Vec<(usize, &CopyRef, Option<String>)> = Vec::new();
    for (at, (copy, found)) in copies.iter().zip(places).enumerate() {
        results.push(match found {
            Err(fault) => Some(Err(of_copy(fault))),
            Ok(place) if place.folder == to.0 => Some(Ok(copy.id.clone())),
            Ok(place) => {
                todo.push((at, copy, place.stamp));
                None
            }
        });
    }
    for part in todo.chunks(AT_ONCE) {
        let asked: Vec<&CopyRef> = part.iter().map(|(_, copy, _)| *copy).collect();
        let call = carry(session, &asked, to);
        let told = match session.send(&session.lookup(), &call).await {
            Ok(reply) => super::session::per_item(&reply, part.len(), call.what, moved),
            Err(fault) => part.iter().map(|_| Err(fault.clone())).collect(),
        };
        for ((at, copy, stamp), one) in part.iter().zip(told) {
            results[*at] = Some(match one {
                Ok(id) => Ok(id),
                Err(fault) => again(session, copy, stamp.as_deref(), to, fault).await,
            });
        }
    }
    let lost = || Err(super::answer::unreadable("moving messages"));
    results.into_iter().map(|one| one.unwrap_or_else(lost)).collect()
}

/// One move that failed, or whose answer was lost: looked at, and tried again by itself a few times.
async fn again(
    session: &Session,
    copy: &CopyRef,
    stamp: Option<&str>,
    to: &TargetFolderId,
    mut fault: Fault,
) -> Result<String> {
    for tries in 1..4 {
        let doubtful = matches!(fault, Fault::Unknown(_)) || is_gone(&fault);
        if doubtful && let Some(stamp) = stamp {
            // What cannot be looked up now is tried again below.
            if let Ok(Some(id)) = one_in(session, &to.0, stamp).await {
                return Ok(id);
            }
        }
        if !session.wait_before_retry(fault.error(), tries).await {
            break;
        }
        match session.one(&carry(session, &[copy], to), moved).await {
            Ok(id) => return Ok(id),
            Err(next) => fault = next,
        }
    }
    // If it was there a moment ago and is in neither place, somebody moved or removed it, or the folder is gone.
    Err(fault.into_error())
}

fn look(session: &Session, copies: &[&CopyRef]) -> Call {
    session.call("GetItem", "", Step::TargetMove, "moving messages", |out| {
        out.push_str("<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>");
        xml::empty(out, "t:FieldURI", &[("FieldURI", "item:ParentFolderId")]);
        props::STAMP.uri(out);
        out.push_str("</t:AdditionalProperties></m:ItemShape>");
        ids(out, copies);
    })
}

fn place(message: Element<'_>) -> Option<Place> {
    let item = message.child("Items")?.children().next()?;
    Some(Place {
        folder: id(item, "ParentFolderId")?.to_owned(),
        stamp: extended(item, props::STAMP).map(str::to_owned),
    })
}

fn carry(session: &Session, copies: &[&CopyRef], to: &TargetFolderId) -> Call {
    session.call("MoveItem", "", Step::TargetMove, "moving messages", |out| {
        xml::open(out, "m:ToFolderId");
        xml::empty(out, "t:FolderId", &[("Id", &to.0)]);
        xml::close(out, "m:ToFolderId");
        ids(out, copies);
        xml::element(out, "m:ReturnNewItemIds", "true");
    })
}

fn moved(message: Element<'_>) -> Option<String> {
    id(message.child("Items")?.children().next()?, "ItemId").map(str::to_owned)
}

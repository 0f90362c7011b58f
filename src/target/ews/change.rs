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

/// How something is removed. The attributes beside are for items of any class: nobody is told of a meeting that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// Into Recoverable Items, where its user finds it again ("recover deleted items") for as long as the server keeps
    /// it. Not into Deleted Items: that is a folder like any other, to which the mail of a source's trash goes, so that
    /// nobody could tell a removed copy from a copy there.
    Recoverable,
    /// For good: what never was a copy.
    ForGood,
}

impl Removal {
    fn attributes(self) -> &'static str {
        match self {
            Removal::Recoverable => {
                " DeleteType=\"SoftDelete\" SendMeetingCancellations=\"SendToNone\" \
                 AffectedTaskOccurrences=\"AllOccurrences\" SuppressReadReceipts=\"true\""
            }
            Removal::ForGood => {
                " DeleteType=\"HardDelete\" SendMeetingCancellations=\"SendToNone\" \
                 AffectedTaskOccurrences=\"AllOccurrences\" SuppressReadReceipts=\"true\""
            }
        }
    }
}

/// Removes copies. What is gone is removed.
pub(super) async fn remove(session: &Session, how: Removal, copies: &[CopyRef]) -> Vec<Result<()>> {
    let make = |copies: &[&CopyRef]| {
        session.call("DeleteItem", how.attributes(), Step::TargetRemove, "removing messages", |out| {
            ids(out, copies);
        })
    };
    let done = session.each(copies, AT_ONCE, make, |_| Some(())).await;
    let judge = |one: Result<(), Fault>| match one {
        Err(fault) if is_gone(&fault) => Ok(()),
        other => other.map_err(of_copy),
    };
    done.into_iter().map(judge).collect()
}

pub(super) fn ids(out: &mut String, copies: &[&CopyRef]) {
    item_ids(out, &copies.iter().map(|copy| copy.id.as_str()).collect::<Vec<_>>());
}

/// Appends `m:ItemIds`.
pub(super) fn item_ids(out: &mut String, ids: &[&str]) {
    xml::open(out, "m:ItemIds");
    for id in ids {
        xml::empty(out, "t:ItemId", &[("Id", id)]);
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
    let (mut at, mut todo) = (Vec::new(), Vec::new());
    for (number, (copy, found)) in copies.iter().zip(places).enumerate() {
        results.push(match found {
            Err(fault) => Some(Err(of_copy(fault))),
            Ok(place) if place.folder == to.0 => Some(Ok(copy.id.clone())),
            Ok(place) => {
                at.push(number);
                todo.push(Carried { id: copy.id.clone(), stamp: place.stamp });
                None
            }
        });
    }
    let told = carry_each(session, Step::TargetMove, &todo, to).await;
    for (number, one) in at.into_iter().zip(told) {
        results[number] = Some(one.map_err(Fault::into_error));
    }
    let lost = || Err(super::answer::unreadable("moving messages"));
    results.into_iter().map(|one| one.unwrap_or_else(lost)).collect()
}

/// What is to be moved.
pub(super) struct Carried {
    /// Its id where it lies.
    pub(super) id: String,
    /// The value of its stamp, by which it is known again under its new id.
    pub(super) stamp: Option<String>,
}

/// Moves what lies in another folder; exactly one result for each, in order: its id from now on.
pub(super) async fn carry_each(
    session: &Session,
    step: Step,
    all: &[Carried],
    to: &TargetFolderId,
) -> Vec<Result<String, Fault>> {
    let mut results = Vec::with_capacity(all.len());
    for part in all.chunks(AT_ONCE) {
        let asked: Vec<&str> = part.iter().map(|one| one.id.as_str()).collect();
        let call = carry(session, step, &asked, to);
        let told = match session.send(&session.lookup(), &call).await {
            Ok(reply) => super::session::per_item(&reply, part.len(), call.what, moved),
            Err(fault) => part.iter().map(|_| Err(fault.clone())).collect(),
        };
        for (one, told) in part.iter().zip(told) {
            results.push(match told {
                Ok(id) => Ok(id),
                Err(fault) => again(session, step, one, to, fault).await,
            });
        }
    }
    results
}

/// One move that failed, or whose answer was lost: looked at, and tried again by itself a few times.
async fn again(
    session: &Session,
    step: Step,
    one: &Carried,
    to: &TargetFolderId,
    mut fault: Fault,
) -> Result<String, Fault> {
    let mut lost = matches!(fault, Fault::Unknown(_));
    for tries in 1..4 {
        if (lost || is_gone(&fault))
            && let Some(stamp) = &one.stamp
        {
            // What cannot be looked up now is tried again below.
            if let Ok(Some(id)) = one_in(session, &to.0, stamp).await {
                return Ok(id);
            }
        }
        if !session.wait_before_retry(fault.error(), tries).await {
            break;
        }
        match session.one(&carry(session, step, &[&one.id], to), moved).await {
            Ok(id) => return Ok(id),
            // It was sent several times, and what became of the first ones is not told.
            Err(next) => (fault, lost) = (next, true),
        }
    }
    // If it was there a moment ago and is in neither place, somebody moved or removed it, or the folder is gone.
    Err(if lost { Fault::Unknown(fault.into_error()) } else { fault })
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

fn carry(session: &Session, step: Step, ids: &[&str], to: &TargetFolderId) -> Call {
    session.call("MoveItem", "", step, "moving messages", |out| {
        xml::open(out, "m:ToFolderId");
        xml::empty(out, "t:FolderId", &[("Id", &to.0)]);
        xml::close(out, "m:ToFolderId");
        item_ids(out, ids);
        xml::element(out, "m:ReturnNewItemIds", "true");
    })
}

fn moved(message: Element<'_>) -> Option<String> {
    id(message.child("Items")?.children().next()?, "ItemId").map(str::to_owned)
}

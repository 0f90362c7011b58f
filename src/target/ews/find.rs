//! Which stamps a mailbox holds.
//!
//! Awkward truths: a search looks into one folder and not below it, so every folder is asked, several in a request; and
//! a message that is moved between two answers could be seen in no folder, so a search in which a folder vanished or
//! changed is begun again. What was removed lies outside of the folders and is not told.

use super::answer::{Fault, id};
use super::listing::{self, Folder, Page, all_folders, changed, extended, several};
use super::session::{Call, Session};
use super::tree::Element;
use crate::env::Step;
use crate::model::{Kind, Result, Scope, Stamp, StampPrefix};
use crate::target::dated::millis;
use crate::target::{Copy, TargetFolderId};
use crate::transform::ews::flags::Told;
use crate::transform::ews::props;
use crate::transform::graph::props::parse_stamp_value;
use crate::transform::xml;

const WHAT: &str = "looking for stamps";
const STEP: Step = Step::TargetFind;

/// Messages of one page of one folder: what servers find at once for one account with a restriction.
const PAGE: usize = 250;
/// Folders asked at once, and messages of each on the first page.
const TOGETHER: (usize, usize) = (10, 25);
/// The same for one stamp, which is hardly anywhere twice.
const TOGETHER_EXACT: (usize, usize) = (60, 4);
/// How often a search that the mailbox changed under is begun again.
const TRIES: u32 = 5;

/// Every copy whose stamp begins with `prefix`.
pub(super) async fn find(session: &Session, prefix: &StampPrefix) -> Result<Vec<Copy>> {
    let mut tries = 0;
    loop {
        tries += 1;
        let fault = match search(session, prefix).await {
            Ok(copies) => return Ok(copies),
            Err(fault) => fault,
        };
        // A folder went away, or messages came and went: what is there now is asked for.
        let moved = matches!(fault.error().kind, Kind::Conflict)
            || (fault.error().kind == Kind::NotFound && fault.error().scope < Scope::Mailbox);
        if !moved || tries == TRIES {
            return Err(match fault.into_error() {
                e if e.scope < Scope::Mailbox => e.scoped(Scope::Mailbox),
                e => e,
            });
        }
    }
}

async fn search(session: &Session, prefix: &StampPrefix) -> Result<Vec<Copy>, Fault> {
    let mut folders = all_folders(session, STEP, WHAT).await?;
    folders.retain(|folder| !folder.search);
    let exact = prefix.as_str().parse::<Stamp>().is_ok();
    let (together, most) = if exact { TOGETHER_EXACT } else { TOGETHER };
    let mut copies = Vec::new();
    for part in folders.chunks(together) {
        search_part(session, prefix, part, most, &mut copies).await?;
    }
    Ok(copies)
}

/// Searches some folders: the first page of each in one request, and of those that have more the rest.
async fn search_part(
    session: &Session,
    prefix: &StampPrefix,
    folders: &[Folder],
    most: usize,
    copies: &mut Vec<Copy>,
) -> Result<(), Fault> {
    let call = ask(session, prefix, folders, most, 0);
    let mut tries = 0;
    let pages = loop {
        tries += 1;
        let reply = session.insist(&call).await?;
        let messages = several(&reply.messages(), folders.len(), WHAT);
        let pages = messages.and_then(|messages| {
            let read = |(message, folder): (Element<'_>, &Folder)| page(message, 0, folder, prefix);
            let pages: Option<Vec<_>> = messages.into_iter().zip(folders).map(read).collect();
            pages.ok_or_else(|| Fault::Unknown(super::answer::unreadable(WHAT)))
        });
        match pages {
            Ok(pages) => break pages,
            Err(fault) if tries == TRIES || !session.wait_before_retry(fault.error(), tries).await => {
                return Err(fault);
            }
            Err(_) => {}
        }
    };
    for (mut first, folder) in pages.into_iter().zip(folders) {
        copies.extend(first.found.drain(..).flatten());
        let rest = listing::follow(
            session,
            WHAT,
            first.next,
            first.total,
            |offset| ask(session, prefix, std::slice::from_ref(folder), PAGE, offset),
            |message, offset| page(message, offset, folder, prefix),
        );
        copies.extend(rest.await?.into_iter().flatten());
    }
    Ok(())
}

fn ask(session: &Session, prefix: &StampPrefix, folders: &[Folder], most: usize, offset: u64) -> Call {
    session.call("FindItem", " Traversal=\"Shallow\"", STEP, WHAT, |out| {
        out.push_str("<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>");
        for field in ["item:Categories", "item:IsDraft", "item:DateTimeCreated", "message:IsRead"] {
            xml::empty(out, "t:FieldURI", &[("FieldURI", field)]);
        }
        for property in [props::STAMP, props::FLAG_STATUS, props::LAST_VERB] {
            property.uri(out);
        }
        out.push_str("</t:AdditionalProperties></m:ItemShape>");
        listing::view(out, "m:IndexedPageItemView", most, offset);
        begins_with(out, prefix.as_str());
        xml::open(out, "m:ParentFolderIds");
        for folder in folders {
            xml::empty(out, "t:FolderId", &[("Id", &folder.id)]);
        }
        xml::close(out, "m:ParentFolderIds");
    })
}

/// The restriction to messages whose stamp begins like this.
pub(super) fn begins_with(out: &mut String, prefix: &str) {
    out.push_str("<m:Restriction><t:Contains ContainmentMode=\"Prefixed\" ContainmentComparison=\"Exact\">");
    props::STAMP.uri(out);
    xml::empty(out, "t:Constant", &[("Value", prefix)]);
    out.push_str("</t:Contains></m:Restriction>");
}

/// Messages that match, each with its copy, if it is one of ours.
fn page(
    message: Element<'_>,
    offset: u64,
    folder: &Folder,
    prefix: &StampPrefix,
) -> Option<Page<Option<Copy>>> {
    listing::page(message, "Items", offset, |item| copy(item, folder, prefix))
}

/// Outer `None`: the answer cannot be read. Inner: a value that is no stamp of ours is somebody else's business.
fn copy(item: Element<'_>, folder: &Folder, prefix: &StampPrefix) -> Option<Option<Copy>> {
    let id = id(item, "ItemId")?.to_owned();
    let Some((stamp, complete)) = parse_stamp_value(extended(item, props::STAMP)?) else { return Some(None) };
    if !prefix.covers(&stamp) {
        return Some(None);
    }
    let made = item.child("DateTimeCreated").map(Element::text).and_then(millis).unwrap_or(0);
    let (folder, flags) = (TargetFolderId(folder.id.clone()), told(item).flags());
    Some(Some(Copy { stamp, id, folder, complete, flags, made }))
}

/// What an item says of its flags.
pub(super) fn told(item: Element<'_>) -> Told<'_> {
    let says = |name: &str| item.child(name).map(Element::text) == Some("true");
    Told {
        read: says("IsRead"),
        draft: says("IsDraft"),
        flag_status: extended(item, props::FLAG_STATUS),
        verb: extended(item, props::LAST_VERB),
        categories: item
            .child("Categories")
            .into_iter()
            .flat_map(Element::children)
            .map(Element::whole_text)
            .collect(),
    }
}

/// The one copy with this stamp's value in one folder; `None` if there is none, or several.
pub(super) async fn one_in(session: &Session, folder: &str, stamp: &str) -> Result<Option<String>, Fault> {
    let call = session.call("FindItem", " Traversal=\"Shallow\"", Step::TargetMove, WHAT, |out| {
        out.push_str("<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape>");
        listing::view(out, "m:IndexedPageItemView", 2, 0);
        begins_with(out, stamp);
        xml::open(out, "m:ParentFolderIds");
        xml::empty(out, "t:FolderId", &[("Id", folder)]);
        xml::close(out, "m:ParentFolderIds");
    });
    let read = |item: Element<'_>| id(item, "ItemId").map(str::to_owned);
    let mut found = session.one(&call, |message| listing::page(message, "Items", 0, read)).await?.found;
    match found.len() {
        0 => Ok(None),
        1 => Ok(found.pop()),
        _ => Err(changed(WHAT)),
    }
}

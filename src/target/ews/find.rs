//! Which stamps a mailbox holds.
//!
//! Awkward truths: a search looks into one folder and not below it, so every folder is asked, several in a request; and
//! a message that is moved between two answers could be seen in no folder, so a search in which a folder vanished or
//! changed is begun again. What was removed lies outside of the folders and is not told.

use std::collections::{BTreeSet, VecDeque};

use super::answer::{Fault, done, id, unreadable};
use super::listing::{self, Folder, Page, all_folders, changed, extended};
use super::session::{Call, Session};
use super::tree::Element;
use super::upload::Staging;
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

/// Messages of one page of one folder: what servers find at once for one account with a restriction
/// (`EWSFindCountLimit`).
const PAGE: u64 = 250;
/// Folders asked at once.
const TOGETHER: usize = 100;
/// The same for whole stamps, which are hardly anywhere twice.
const TOGETHER_EXACT: usize = 250;
/// Messages a folder is taken to hold of which the server does not tell.
const UNTOLD: u64 = 25;
/// Prefixes looked for at once.
const PREFIXES: usize = 20;
/// How often a search that the mailbox changed under is begun again.
const TRIES: u32 = 5;

/// Every copy whose stamp begins with one of `prefixes`, none of which covers another.
pub(super) async fn find(
    session: &Session,
    staging: &Staging,
    prefixes: &[StampPrefix],
) -> Result<Vec<Copy>> {
    let mut tries = 0;
    loop {
        tries += 1;
        let fault = match search(session, staging, prefixes).await {
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
        staging.forget().await;
    }
}

async fn search(session: &Session, staging: &Staging, prefixes: &[StampPrefix]) -> Result<Vec<Copy>, Fault> {
    if prefixes.is_empty() {
        return Ok(Vec::new());
    }
    let staged = staging.seen(session).await?;
    let mut folders = all_folders(session, STEP, WHAT).await?;
    folders.retain(|folder| !folder.search);
    // Asked first: what leaves it meanwhile is met where it comes to.
    if let Some(id) = &staged {
        folders.insert(0, Folder::made(id, "", ""));
    }
    let mut copies = Vec::new();
    for part in prefixes.chunks(PREFIXES) {
        search_all(session, part, &folders, &mut copies).await?;
    }
    if let Some(staged) = staged {
        finished(&mut copies, &staged);
    }
    Ok(copies)
}

/// What lies in the folder of imports is not finished. Beside a copy that is, it is a remnant that no request of ours will
/// ever move: it is not told of, and removed in time (`upload`).
fn finished(copies: &mut Vec<Copy>, staged: &str) {
    for copy in copies.iter_mut().filter(|copy| copy.folder.0 == staged) {
        copy.complete = false;
    }
    let there: BTreeSet<Stamp> = copies.iter().filter(|c| c.complete).map(|c| c.stamp.clone()).collect();
    copies.retain(|copy| copy.folder.0 != staged || !there.contains(&copy.stamp));
}

/// Searches the folders, as many in a request as the server is expected to have answers for: the first page of each, and
/// of those that have more the rest. How many messages a folder holds decides only that, so that it need not be right.
async fn search_all(
    session: &Session,
    prefixes: &[StampPrefix],
    folders: &[Folder],
    copies: &mut Vec<Copy>,
) -> Result<(), Fault> {
    let exact = prefixes.iter().all(|prefix| prefix.as_str().parse::<Stamp>().is_ok());
    let (mut together, most) =
        if exact { (TOGETHER_EXACT, prefixes.len() as u64 + 1) } else { (TOGETHER, PAGE) };
    let mut todo: VecDeque<&Folder> = folders.iter().collect();
    let mut tries = 0;
    while !todo.is_empty() {
        let expected = |folder: &&&Folder| if exact { 0 } else { folder.total.unwrap_or(UNTOLD).min(PAGE) };
        let mut room = PAGE;
        let fits = |folder: &&&Folder| {
            let left = room.checked_sub(expected(folder));
            room = left.unwrap_or(0);
            left.is_some()
        };
        let count = todo.iter().take(together).take_while(fits).count().max(1);
        let part: Vec<&Folder> = todo.drain(..count).collect();
        let reply = session.insist(&ask(session, prefixes, &part, most, 0)).await?;
        let messages = reply.messages();
        let (mut pages, mut again, mut stopped, mut failed) = (Vec::new(), Vec::new(), None, None);
        if messages.len() == part.len() {
            for (message, folder) in messages.into_iter().zip(part) {
                let read = |m| page(m, 0, folder, prefixes).ok_or_else(|| Fault::Unknown(unreadable(WHAT)));
                match done(message, WHAT).and_then(read) {
                    Ok(first) => pages.push((folder, first)),
                    Err(fault @ Fault::Stopped(_)) => {
                        stopped = Some(fault);
                        again.push(folder);
                    }
                    Err(fault) if fault.error().may_pass() => {
                        again.push(folder);
                        failed = Some(fault);
                    }
                    Err(fault) => return Err(fault),
                }
            }
        } else {
            again = part;
            failed = Some(Fault::Unknown(unreadable(WHAT)));
        }
        if let Some(fault) = stopped {
            // It did not come to these within its minute.
            together = (count / 2).max(1);
            if pages.is_empty() {
                failed = failed.or(Some(fault));
            }
        }
        if let Some(fault) = failed {
            tries += 1;
            if tries == TRIES || !session.wait_before_retry(fault.error(), tries).await {
                return Err(fault);
            }
        } else {
            tries = 0;
        }
        again.into_iter().rev().for_each(|folder| todo.push_front(folder));
        for (folder, mut first) in pages {
            copies.extend(first.found.drain(..).flatten());
            let rest = listing::follow(
                session,
                WHAT,
                first.next,
                first.total,
                |offset| ask(session, prefixes, &[folder], PAGE, offset),
                |message, offset| page(message, offset, folder, prefixes),
            );
            copies.extend(rest.await?.into_iter().flatten());
        }
    }
    Ok(())
}

fn ask(session: &Session, prefixes: &[StampPrefix], folders: &[&Folder], most: u64, offset: u64) -> Call {
    session.call("FindItem", " Traversal=\"Shallow\"", STEP, WHAT, |out| {
        out.push_str("<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>");
        for field in ["item:Categories", "item:IsDraft", "item:DateTimeCreated", "message:IsRead"] {
            xml::empty(out, "t:FieldURI", &[("FieldURI", field)]);
        }
        for property in [props::STAMP, props::FLAG_STATUS, props::LAST_VERB] {
            property.uri(out);
        }
        out.push_str("</t:AdditionalProperties></m:ItemShape>");
        listing::view(out, "m:IndexedPageItemView", usize::try_from(most).unwrap_or(1), offset);
        begin_with(out, prefixes);
        xml::open(out, "m:ParentFolderIds");
        for folder in folders {
            xml::empty(out, "t:FolderId", &[("Id", &folder.id)]);
        }
        xml::close(out, "m:ParentFolderIds");
    })
}

/// The restriction to messages whose stamp begins with one of these.
fn begin_with(out: &mut String, prefixes: &[StampPrefix]) {
    xml::open(out, "m:Restriction");
    if prefixes.len() > 1 {
        xml::open(out, "t:Or");
    }
    prefixes.iter().for_each(|prefix| begins(out, prefix.as_str()));
    if prefixes.len() > 1 {
        xml::close(out, "t:Or");
    }
    xml::close(out, "m:Restriction");
}

fn begins(out: &mut String, prefix: &str) {
    out.push_str("<t:Contains ContainmentMode=\"Prefixed\" ContainmentComparison=\"Exact\">");
    props::STAMP.uri(out);
    xml::empty(out, "t:Constant", &[("Value", prefix)]);
    xml::close(out, "t:Contains");
}

/// Messages that match, each with its copy, if it is one of ours.
fn page(
    message: Element<'_>,
    offset: u64,
    folder: &Folder,
    prefixes: &[StampPrefix],
) -> Option<Page<Option<Copy>>> {
    listing::page(message, "Items", offset, |item| copy(item, folder, prefixes))
}

/// Outer `None`: the answer cannot be read. Inner: a value that is no stamp of ours is somebody else's business.
fn copy(item: Element<'_>, folder: &Folder, prefixes: &[StampPrefix]) -> Option<Option<Copy>> {
    let id = id(item, "ItemId")?.to_owned();
    let Some((stamp, complete)) = parse_stamp_value(extended(item, props::STAMP)?) else { return Some(None) };
    if !prefixes.iter().any(|prefix| prefix.covers(&stamp)) {
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
        xml::open(out, "m:Restriction");
        begins(out, stamp);
        xml::close(out, "m:Restriction");
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

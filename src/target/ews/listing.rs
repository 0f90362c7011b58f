//! Listings that come in pages: every folder of a mailbox, and the messages of folders that match something.
//!
//! A page is asked for by its offset. What comes or goes between two pages shifts the rest, so a listing whose total
//! changes meanwhile is begun again: it is complete, or an error.

use std::collections::BTreeSet;

use super::answer::{Fault, id};
use super::session::{Call, Session};
use super::tree::Element;
use crate::env::Step;
use crate::model::{Error, Kind, Scope};
use crate::transform::ews::props::{self, Property};
use crate::transform::xml;

/// Folders of one page. Servers find at most 1,000 things at once for one account, 250 with a restriction
/// (`EWSFindCountLimit`).
const FOLDERS: usize = 500;
/// Pages of one listing that are followed.
const MAX_PAGES: usize = 20_000;
/// How often a listing that changed under us is begun again.
const TRIES: u32 = 5;

/// A folder as listed.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) id: String,
    pub(super) parent: String,
    pub(super) name: String,
    /// Not shown to its user.
    hidden: bool,
    /// A view of other folders' messages.
    pub(super) search: bool,
    /// How many messages it holds, as far as the server tells: a hint.
    pub(super) total: Option<u64>,
    class: String,
}

impl Folder {
    /// One that was just made for mail.
    pub(super) fn made(id: &str, parent: &str, name: &str) -> Folder {
        Folder {
            id: id.to_owned(),
            parent: parent.to_owned(),
            name: name.to_owned(),
            hidden: false,
            search: false,
            total: Some(0),
            class: "IPF.Note".to_owned(),
        }
    }

    /// May mail be put there? Calendars, contacts, settings and what is hidden take a name all the same.
    pub(super) fn is_mail(&self) -> bool {
        let note = self.class.get(..8).is_some_and(|begin| begin.eq_ignore_ascii_case("IPF.Note"));
        !self.hidden && !self.search && (self.class.is_empty() || note)
    }
}

/// One page of a listing.
pub(super) struct Page<T> {
    pub(super) found: Vec<T>,
    /// How many there are in all, if the server tells.
    pub(super) total: Option<u64>,
    /// Where the next page begins; `None`: this was the last.
    pub(super) next: Option<u64>,
}

/// Reads a page: what is in `list` below the root folder of a response message.
pub(super) fn page<T>(
    message: Element<'_>,
    list: &str,
    offset: u64,
    read: impl Fn(Element<'_>) -> Option<T>,
) -> Option<Page<T>> {
    let root = message.child("RootFolder")?;
    let found: Option<Vec<T>> = root.child(list).into_iter().flat_map(Element::children).map(read).collect();
    let found = found?;
    let total = root.attribute("TotalItemsInView").and_then(|n| n.parse().ok());
    let last = match root.attribute("IncludesLastItemInRange") {
        Some("true" | "1") => true,
        Some("false" | "0") => false,
        _ => return None,
    };
    let told = root.attribute("IndexedPagingOffset").and_then(|n| n.parse::<u64>().ok());
    let next = if last {
        None
    } else {
        // A page that does not come forward would be asked for for ever.
        let next = told.unwrap_or(offset + found.len() as u64);
        (next > offset).then_some(Some(next))?
    };
    Some(Page { found, total, next })
}

/// The view of a page: so many from here.
pub(super) fn view(out: &mut String, element: &str, most: usize, offset: u64) {
    let (most, offset) = (most.to_string(), offset.to_string());
    let attributes = [("MaxEntriesReturned", most.as_str()), ("Offset", &offset), ("BasePoint", "Beginning")];
    xml::empty(out, element, &attributes);
}

/// Follows the pages of one listing from `offset` on, until its end. `total`: what earlier pages told.
///
/// # Errors
/// `Conflict`, temporary, if it changed meanwhile.
pub(super) async fn follow<T>(
    session: &Session,
    what: &'static str,
    mut at: Option<u64>,
    mut total: Option<u64>,
    ask: impl Fn(u64) -> Call,
    read: impl Fn(Element<'_>, u64) -> Option<Page<T>>,
) -> Result<Vec<T>, Fault> {
    let mut all = Vec::new();
    for _ in 0..MAX_PAGES {
        let Some(offset) = at else { return Ok(all) };
        let mut page = session.one(&ask(offset), |message| read(message, offset)).await?;
        if total.is_some() && page.total != total {
            return Err(changed(what));
        }
        total = page.total;
        all.append(&mut page.found);
        at = page.next;
    }
    let text = format!("{what}: the listing does not end");
    Err(Fault::NotSent(Error::new(Kind::Protocol, Scope::Mailbox, text)))
}

/// It changed between two pages.
pub(super) fn changed(what: &str) -> Fault {
    let text = format!("{what}: the mailbox changed while it was listed");
    Fault::NotSent(Error::temporary(Kind::Conflict, Scope::Mailbox, text))
}

/// Every folder below the mailbox's root.
pub(super) async fn all_folders(
    session: &Session,
    step: Step,
    what: &'static str,
) -> Result<Vec<Folder>, Fault> {
    let ask = |offset| {
        session.call("FindFolder", " Traversal=\"Deep\"", step, what, |out| {
            out.push_str("<m:FolderShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>");
            for field in
                ["folder:ParentFolderId", "folder:FolderClass", "folder:DisplayName", "folder:TotalCount"]
            {
                xml::empty(out, "t:FieldURI", &[("FieldURI", field)]);
            }
            props::HIDDEN.uri(out);
            out.push_str("</t:AdditionalProperties></m:FolderShape>");
            view(out, "m:IndexedPageFolderView", FOLDERS, offset);
            xml::open(out, "m:ParentFolderIds");
            session.distinguished(out, "msgfolderroot");
            xml::close(out, "m:ParentFolderIds");
        })
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let read = |message: Element<'_>, offset| page(message, "Folders", offset, folder);
        match follow(session, what, Some(0), None, ask, read).await {
            Err(fault) if fault.error().kind == Kind::Conflict && tries < TRIES => {}
            Err(fault) => return Err(fault),
            Ok(all) => {
                let ids: BTreeSet<&str> = all.iter().map(|f| f.id.as_str()).collect();
                if ids.len() == all.len() {
                    return Ok(all);
                }
                if tries == TRIES {
                    return Err(changed(what)); // one of them came twice
                }
            }
        }
    }
}

fn folder(at: Element<'_>) -> Option<Folder> {
    Some(Folder {
        id: id(at, "FolderId")?.to_owned(),
        parent: id(at, "ParentFolderId")?.to_owned(),
        // A folder without a name is one whose name we may not know: it is found by no name.
        name: at.child("DisplayName").map(Element::whole_text).unwrap_or_default().to_owned(),
        hidden: extended(at, props::HIDDEN) == Some("true"),
        search: at.name() == "SearchFolder",
        total: at.child("TotalCount").and_then(|n| n.text().parse().ok()),
        class: at.child("FolderClass").map(Element::text).unwrap_or_default().to_owned(),
    })
}

/// The value of an extended property of an item or a folder.
pub(super) fn extended<'a>(at: Element<'a>, property: Property) -> Option<&'a str> {
    at.children()
        .filter(|e| e.name() == "ExtendedProperty")
        .find(|e| {
            e.child("ExtendedFieldURI").is_some_and(|uri| {
                property.is(
                    uri.attribute("PropertyTag"),
                    uri.attribute("PropertySetId"),
                    uri.attribute("PropertyName"),
                )
            })
        })?
        .child("Value")
        .map(Element::text)
}

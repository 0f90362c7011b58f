//! Storing items of any class as the opaque streams they were exported as (`UploadItems`).
//!
//! Nobody but a store looks into a stream, so it cannot carry our stamp, and a copy without one could not be told from
//! somebody's item after a cut. What is imported therefore goes a way of three requests, through a folder of ours that no
//! user sees: it lies beside the top of the folders people see, not below it.
//!
//! 1. `UploadItems` into that folder. Without a stamp it is no copy yet: [`find`](super::find) does not tell of it, and
//!    nothing ever moves it out. An answer that is lost leaves it there, and the item is imported again.
//! 2. `UpdateItem` sets its stamp. A copy in that folder is told as *incomplete*, so that the ledger's owner removes it and
//!    imports again. May be sent again without harm. Done late it only stamps what lies there, or finds it gone.
//! 3. `MoveItem` into its folder, in one go: what users see has its stamp from the first moment. The id changes; a lost
//!    answer is settled by looking for the stamp in the folder it should have come to. Done late it finds the item, or
//!    finds it removed: then there is no copy by it.
//!
//! The order is the only one: stamped after the move, a copy without a stamp would lie among people's items after a cut;
//! and a stamp cannot be set before the item is there. A cut is not made good by finishing the move, because only the
//! ledger's intent knows where it should go, and because a search must not change anything: `verify` makes them too.
//!
//! What lies in the folder while nobody imports is therefore left over, stamped or not, never a copy on record, and removed
//! for good: before the first import of an opened mailbox, before the next one after an unknown outcome, and when the
//! mailbox is given back. Imports of other lanes are under way at times: then the removal is put off. Another process has
//! no claim on the mailbox; if an old one's import is hit all the same, it finds its item gone and has stored nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Mutex, RwLock, RwLockReadGuard};

use super::answer::{Fault, id, unreadable};
use super::change::{Carried, Removal, carry_each, remove};
use super::listing;
use super::session::{AT_ONCE, Session, per_item};
use super::tree::Element;
use crate::env::Step;
use crate::model::{Error, Kind, Scope, Stamp};
use crate::target::{CopyRef, TargetFolderId};
use crate::transform::ews::props;
use crate::transform::graph::props::stamp_value;
use crate::transform::xml;

const WHAT: &str = "importing items";
/// The folder's name. It must never change: an earlier run's leftovers lie in it.
const NAME: &str = "Mailwave import";
/// Items of one page of what is left over.
const PAGE: usize = 250;
/// Pages of left over items that are removed at once; the rest follows the next time.
const MAX_PAGES: usize = 200;

/// The folder of a mailbox through which streams come into it.
pub(super) struct Staging {
    /// Outer `None`: nobody has asked for it yet. Inner: there is none.
    known: Mutex<Option<Option<String>>>,
    /// Held for reading while something is on its way through, for writing while what is left over is removed.
    inside: RwLock<()>,
    /// Something may be left over.
    unswept: AtomicBool,
    /// The mailbox was opened to be written to.
    writes: AtomicBool,
}

/// A place among those that are importing.
pub(super) struct Desk<'a> {
    staging: &'a Staging,
    /// The folder's id.
    pub(super) folder: String,
    _inside: RwLockReadGuard<'a, ()>,
}

impl Staging {
    pub(super) fn new() -> Staging {
        Staging {
            known: Mutex::default(),
            inside: RwLock::default(),
            unswept: AtomicBool::new(true),
            writes: AtomicBool::new(false),
        }
    }

    /// The folder's id, if there is one.
    pub(super) async fn seen(&self, session: &Session) -> Result<Option<String>, Fault> {
        let mut known = self.known.lock().await;
        if let Some(found) = &*known {
            return Ok(found.clone());
        }
        let found = look(session).await?;
        *known = Some(found.clone());
        Ok(found)
    }

    /// The folder's id, if it was asked for and there is one.
    pub(super) async fn known(&self) -> Option<String> {
        self.known.lock().await.clone().flatten()
    }

    /// It was not where we thought.
    pub(super) async fn forget(&self) {
        *self.known.lock().await = None;
    }

    /// The mailbox is being written to.
    pub(super) fn writes(&self) {
        self.writes.store(true, Ordering::Relaxed);
    }

    /// Finds or makes the folder.
    async fn ready(&self, session: &Session) -> Result<String, Fault> {
        let mut tries = 0;
        loop {
            tries += 1;
            if let Some(id) = self.seen(session).await? {
                return Ok(id);
            }
            let mut known = self.known.lock().await;
            let fault = match make(session).await {
                Ok(id) => {
                    *known = Some(Some(id.clone()));
                    return Ok(id);
                }
                Err(fault) => fault,
            };
            // It may be there now, made by us or by another lane: look again.
            *known = None;
            drop(known);
            let conflict = fault.error().kind == Kind::Conflict;
            if tries == 4 || !(conflict || session.wait_before_retry(fault.error(), tries).await) {
                return Err(fault);
            }
        }
    }

    /// A place to import from; what is left over of earlier imports is removed first, if nobody else is importing.
    ///
    /// # Errors
    /// Nothing of any item was sent.
    pub(super) async fn enter(&self, session: &Session) -> Result<Desk<'_>, Error> {
        let of_mailbox = |fault: Fault| match fault.into_error() {
            e if e.scope < Scope::Mailbox => e.scoped(Scope::Mailbox),
            e => e,
        };
        let mut folder = self.ready(session).await.map_err(of_mailbox)?;
        if let Err(error) = self.sweep(session, &folder).await
            && error.kind == Kind::NotFound
        {
            self.forget().await;
            folder = self.ready(session).await.map_err(of_mailbox)?;
        }
        Ok(Desk { staging: self, folder, _inside: self.inside.read().await })
    }

    /// The mailbox is given back: nothing is left behind that need not be.
    pub(super) async fn leave(&self, session: &Session) {
        if self.writes.load(Ordering::Relaxed)
            && let Some(folder) = self.known().await
        {
            // What cannot be removed now is removed the next time.
            let _ = self.sweep(session, &folder).await;
        }
    }

    /// Removes what is left over, unless somebody is importing.
    async fn sweep(&self, session: &Session, folder: &str) -> Result<(), Error> {
        let Ok(_alone) = self.inside.try_write() else { return Ok(()) };
        if !self.unswept.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let swept = empty(session, folder).await;
        if swept.is_err() {
            self.unswept.store(true, Ordering::Relaxed);
        }
        swept
    }
}

impl Desk<'_> {
    /// Something of what was sent may be left over.
    pub(super) fn leaves_something(&self) {
        self.staging.unswept.store(true, Ordering::Relaxed);
    }

    /// Judges what was said of each item of an upload: its id in our folder.
    pub(super) async fn judged(&self, mut told: Vec<Result<String, Fault>>) -> Vec<Result<String, Fault>> {
        let gone =
            |fault: &Fault| fault.error().kind == Kind::NotFound && fault.error().scope <= Scope::Folder;
        if told.iter().any(|one| matches!(one, Err(fault) if gone(fault))) {
            // It is our own folder that is gone, not the one the items go to.
            self.staging.forget().await;
            for one in &mut told {
                if matches!(one, Err(fault) if gone(fault)) {
                    let what = format!("{WHAT}: the folder they come through was removed");
                    *one = Err(Fault::NotSent(Error::temporary(Kind::Conflict, Scope::Mailbox, what)));
                }
            }
        }
        told
    }

    /// Takes what was uploaded the rest of the way; exactly one result for each, in order: its id in the folder `to`.
    pub(super) async fn deliver(
        &self,
        session: &Session,
        to: &TargetFolderId,
        stamps: &[&Stamp],
        uploaded: Vec<Result<String, Fault>>,
    ) -> Vec<Result<String, Fault>> {
        let (mut results, mut at, mut there) = (Vec::with_capacity(uploaded.len()), Vec::new(), Vec::new());
        for (number, (one, stamp)) in uploaded.into_iter().zip(stamps).enumerate() {
            if let Ok(id) = &one {
                at.push(number);
                there.push(Carried { id: id.clone(), stamp: Some(stamp_value(stamp, true)) });
            }
            results.push(one);
        }
        let stamped = session.each(&there, AT_ONCE, |part| stamping(session, part), |_| Some(())).await;
        let (mut ready_at, mut ready) = (Vec::new(), Vec::new());
        for ((number, one), told) in at.into_iter().zip(there).zip(stamped) {
            match told {
                Ok(()) => {
                    ready_at.push(number);
                    ready.push(one);
                }
                Err(fault) => results[number] = Err(on_the_way(fault)),
            }
        }
        let moved = carry_each(session, Step::TargetStoreDone, &ready, to).await;
        for (number, told) in ready_at.into_iter().zip(moved) {
            results[number] = told.map_err(on_the_way);
        }
        if results.iter().any(Result::is_err) {
            self.leaves_something();
        }
        results
    }
}

/// A fault after the upload. What was not moved is no copy and never becomes one, so that *not sent* and *refused* stay
/// what they are; what is told of the item itself ("not found") says that somebody had a hand in it.
fn on_the_way(fault: Fault) -> Fault {
    match fault {
        Fault::Refused(_) => fault,
        Fault::NotSent(ref e) if !(e.kind == Kind::NotFound && e.scope == Scope::Message) => fault,
        other => {
            let e = other.into_error();
            Fault::Unknown(Error { retry_after: e.retry_after, ..Error::temporary(e.kind, e.scope, e.what) })
        }
    }
}

fn stamping(session: &Session, all: &[&Carried]) -> super::session::Call {
    const ATTRIBUTES: &str = " MessageDisposition=\"SaveOnly\" ConflictResolution=\"AlwaysOverwrite\" \
                              SendMeetingInvitationsOrCancellations=\"SendToNone\" SuppressReadReceipts=\"true\"";
    session.call("UpdateItem", ATTRIBUTES, Step::TargetStorePart, WHAT, |out| {
        xml::open(out, "m:ItemChanges");
        for one in all {
            xml::open(out, "t:ItemChange");
            xml::empty(out, "t:ItemId", &[("Id", &one.id)]);
            out.push_str("<t:Updates><t:SetItemField>");
            props::STAMP.uri(out);
            // The type all classes have in common: a property outside of the schema belongs to none.
            xml::open(out, "t:Item");
            props::STAMP.write(out, one.stamp.as_deref().unwrap_or_default());
            xml::close(out, "t:Item");
            out.push_str("</t:SetItemField></t:Updates>");
            xml::close(out, "t:ItemChange");
        }
        xml::close(out, "m:ItemChanges");
    })
}

/// The folder's id; `None` if there is none, or if the server has no such place.
async fn look(session: &Session) -> Result<Option<String>, Fault> {
    let call = session.call("FindFolder", " Traversal=\"Shallow\"", Step::TargetFolder, WHAT, |out| {
        let name = |out: &mut String| xml::empty(out, "t:FieldURI", &[("FieldURI", "folder:DisplayName")]);
        out.push_str("<m:FolderShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>");
        name(out);
        out.push_str("</t:AdditionalProperties></m:FolderShape>");
        listing::view(out, "m:IndexedPageFolderView", 10, 0);
        out.push_str("<m:Restriction><t:IsEqualTo>");
        name(out);
        xml::open(out, "t:FieldURIOrConstant");
        xml::empty(out, "t:Constant", &[("Value", NAME)]);
        xml::close(out, "t:FieldURIOrConstant");
        out.push_str("</t:IsEqualTo></m:Restriction>");
        xml::open(out, "m:ParentFolderIds");
        session.distinguished(out, "root");
        xml::close(out, "m:ParentFolderIds");
    });
    let read = |at: Element<'_>| {
        let ours = at.child("DisplayName").map(Element::whole_text) == Some(NAME);
        Some(id(at, "FolderId")?.to_owned()).map(|id| ours.then_some(id))
    };
    match session.one(&call, |message| listing::page(message, "Folders", 0, read)).await {
        Ok(page) => Ok(page.found.into_iter().flatten().next()),
        Err(Fault::Refused(_)) => Ok(None),
        Err(fault) if fault.error().kind == Kind::NotFound && fault.error().scope < Scope::Mailbox => {
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

async fn make(session: &Session) -> Result<String, Fault> {
    let call = session.call("CreateFolder", "", Step::TargetFolder, WHAT, |out| {
        xml::open(out, "m:ParentFolderId");
        session.distinguished(out, "root");
        xml::close(out, "m:ParentFolderId");
        out.push_str("<m:Folders><t:Folder><t:FolderClass>IPF.Note</t:FolderClass>");
        xml::element(out, "t:DisplayName", NAME);
        out.push_str("</t:Folder></m:Folders>");
    });
    // Not insisted on: after an answer that was lost it is looked for first.
    let reply = session.send(&session.lookup(), &call).await?;
    let read = |message: Element<'_>| {
        id(message.child("Folders")?.children().next()?, "FolderId").map(str::to_owned)
    };
    let made = per_item(&reply, 1, WHAT, read).pop();
    made.unwrap_or_else(|| Err(Fault::Unknown(unreadable(WHAT))))
}

/// Removes everything in the folder for good.
async fn empty(session: &Session, folder: &str) -> Result<(), Error> {
    for _ in 0..MAX_PAGES {
        let call = session.call("FindItem", " Traversal=\"Shallow\"", Step::TargetFind, WHAT, |out| {
            out.push_str("<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape>");
            listing::view(out, "m:IndexedPageItemView", PAGE, 0);
            xml::open(out, "m:ParentFolderIds");
            xml::empty(out, "t:FolderId", &[("Id", folder)]);
            xml::close(out, "m:ParentFolderIds");
        });
        let read = |item: Element<'_>| id(item, "ItemId").map(str::to_owned);
        let page = session.one(&call, |message| listing::page(message, "Items", 0, read)).await;
        let found = page.map_err(Fault::into_error)?.found;
        if found.is_empty() {
            return Ok(());
        }
        let copy = |id: String| CopyRef { folder: TargetFolderId(folder.to_owned()), id };
        let copies: Vec<CopyRef> = found.into_iter().map(copy).collect();
        for one in remove(session, Removal::ForGood, &copies).await {
            one?;
        }
    }
    Ok(())
}

//! What a server tells of a mailbox before anything is written: for `mailwave check`.
//!
//! A mailbox's quota is a property of its store (PidTagProhibitReceiveQuota, MS-OXCSTOR 2.2.2.1.1.3), which some servers
//! show on the root folder and others do not; what is used is the sum of its folders (PidTagMessageSizeExtended). What
//! a server does not show is not known.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::answer::Fault;
use super::listing::{extended, follow, page, view};
use super::session::Session;
use super::tree::Element;
use crate::env::Step;
use crate::http::oauth::Claims;
use crate::model::{Error, Kind, Result, Scope};
use crate::target::{Probe, Room, Told};
use crate::transform::ews::props::Property;
use crate::transform::xml;

/// PidTagProhibitReceiveQuota, in units of 1,024 bytes; -1: none.
const QUOTA: Property = Property::Tagged(0x666A, "Integer");
/// PidTagMessageSizeExtended: the octets in one folder.
const SIZE: Property = Property::Tagged(0x0E08, "Long");
/// Folders of one page.
const FOLDERS: usize = 500;

const STEP: Step = Step::TargetFolder;
const WHAT: &str = "the target mailbox";
const LIST: &str = "the target mailbox's folders";

/// Why the room is not told.
const NO_QUOTA: &str = "the server does not show the mailbox's quota over EWS; in the Exchange Management Shell `Get-Mailbox \
                        MAILBOX | Format-List ProhibitSendReceiveQuota, UseDatabaseQuotaDefaults` does";

/// Asks for the root with its quota, and for every folder with its size.
pub(super) async fn probe(session: &Session, login: Option<Result<Claims>>, max_message_bytes: u64) -> Probe {
    if let Some(Err(error)) = &login {
        return Probe { login: login.clone(), ..Probe::closed(error.clone()) };
    }
    let (quota, server) = match root(session).await {
        Ok(told) => told,
        Err(fault) => return Probe { login, ..Probe::closed(meant(fault.into_error())) },
    };
    let (folders, used) = match sizes(session).await {
        Ok((folders, used)) => (Told::Yes(folders), used),
        Err(fault) => (Told::Failed(fault.into_error()), None),
    };
    let room = match quota {
        Some(quota) => {
            Told::Yes(Room { limit: u64::try_from(quota).ok().map(|n| n * 1024), used, shared: false })
        }
        None => Told::No(NO_QUOTA),
    };
    Probe { login, opened: Ok(()), server, folders, room, max_message_bytes: Some(max_message_bytes) }
}

/// The error with what to do about it.
fn meant(error: Error) -> Error {
    let error = if error.scope < Scope::Mailbox { error.scoped(Scope::Mailbox) } else { error };
    match error.kind {
        Kind::NotFound => {
            error.remedy("check the target address and that the mailbox is provisioned on this server")
        }
        _ => error,
    }
}

/// The quota shown on the root, and what the server says it is.
async fn root(session: &Session) -> Result<(Option<i64>, Option<String>), Fault> {
    let call = session.call("GetFolder", "", STEP, WHAT, |out| {
        out.push_str("<m:FolderShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>");
        QUOTA.uri(out);
        out.push_str("</t:AdditionalProperties></m:FolderShape><m:FolderIds>");
        session.distinguished(out, "root");
        out.push_str("</m:FolderIds>");
    });
    let read = |message: Element<'_>| {
        let folder = message.child("Folders")?.children().next()?;
        Some(extended(folder, QUOTA).and_then(|text| text.parse::<i64>().ok()))
    };
    let reply = session.insist(&call).await?;
    let server = reply.server();
    match reply.messages()[..] {
        [message] => {
            let quota = read(super::answer::done(message, WHAT)?);
            quota.map(|quota| (quota, server)).ok_or_else(|| Fault::Unknown(super::answer::unreadable(WHAT)))
        }
        _ => Err(Fault::Unknown(super::answer::unreadable(WHAT))),
    }
}

/// How many folders there are, and the octets in all of them; `None`: not every folder tells its own.
async fn sizes(session: &Session) -> Result<(u64, Option<u64>), Fault> {
    let ask = |offset| {
        session.call("FindFolder", " Traversal=\"Deep\"", STEP, LIST, |out| {
            out.push_str("<m:FolderShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>");
            SIZE.uri(out);
            out.push_str("</t:AdditionalProperties></m:FolderShape>");
            view(out, "m:IndexedPageFolderView", FOLDERS, offset);
            xml::open(out, "m:ParentFolderIds");
            session.distinguished(out, "msgfolderroot");
            xml::close(out, "m:ParentFolderIds");
        })
    };
    let (used, all) = (AtomicU64::new(0), AtomicBool::new(true));
    let size = |at: Element<'_>| {
        match extended(at, SIZE).and_then(|text| text.parse::<u64>().ok()) {
            Some(size) => _ = used.fetch_add(size, Ordering::Relaxed),
            // A view has no octets of its own.
            None if at.name() == "SearchFolder" => {}
            None => all.store(false, Ordering::Relaxed),
        }
        Some(())
    };
    let read = |message: Element<'_>, offset| page(message, "Folders", offset, size);
    let folders = follow(session, LIST, Some(0), None, ask, read).await?.len() as u64;
    Ok((folders, all.into_inner().then_some(used.into_inner())))
}

//! Folders: found or created below the mailbox's root, once, however many lanes ask.
//!
//! Awkward truths: a listing also shows what is hidden and what holds no mail (calendars, settings), and a name is taken
//! by those as well, compared without regard to case; the names of well-known folders depend on the mailbox's language,
//! so they are reached by their distinguished ids. Which folder a source folder becomes: see [`roles`].

use std::collections::BTreeMap;

use super::answer::{Fault, id, unreadable};
use super::listing::{Folder, all_folders};
use super::session::{Call, Session, per_item};
use super::tree::Element;
use crate::env::Step;
use crate::model::{Error, FolderPath, Kind, Result, Scope, SpecialUse};
use crate::target::roles::{self, ARCHIVE};
use crate::target::{FolderWanted, TargetFolderId};
use crate::transform::graph::folder_names::{display_name, distinct, same};
use crate::transform::xml;

const WHAT: &str = "a folder of the target";
const STEP: Step = Step::TargetFolder;

/// Asked for with the root when a mailbox is opened: every version of the protocol knows them. (The archive is asked
/// for when a source has such a folder.)
const ROLES: [&str; 5] = ["inbox", "drafts", "sentitems", "deleteditems", "junkemail"];

/// The folders of one open mailbox.
pub(super) struct Folders {
    /// The id of the mailbox's root: changes when the mailbox is made anew.
    pub(super) identity: String,
    /// Where we work: the root itself, or the folder of the place.
    top: String,
    pub(super) known: tokio::sync::Mutex<Known>,
}

/// What is known of the folders. The lock is held while one folder is found or made, so that two lanes make one.
#[derive(Default)]
pub(super) struct Known {
    pub(super) done: BTreeMap<(FolderPath, Option<SpecialUse>), String>,
    /// Every folder below the root, by its parent.
    pub(super) children: Option<BTreeMap<String, Vec<Folder>>>,
    /// `None`: the mailbox has none.
    roles: BTreeMap<&'static str, Option<String>>,
}

impl std::fmt::Debug for Folders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Folders")
    }
}

impl Folders {
    /// Asks for the root and the well-known folders, and finds or makes the folder of the place.
    pub(super) async fn open(session: &Session, place: &str) -> Result<Folders> {
        let mut roles = BTreeMap::new();
        let identity = root(session, &mut roles).await.map_err(|e| match e.kind {
            Kind::NotFound if e.scope <= Scope::Mailbox => e
                .scoped(Scope::Mailbox)
                .remedy("check the target address and that the mailbox is provisioned on this server"),
            _ if e.scope < Scope::Mailbox => e.scoped(Scope::Mailbox),
            _ => e,
        })?;
        let mut known = Known { roles, ..Known::default() };
        let mut folders = Folders { top: identity.clone(), identity, known: tokio::sync::Mutex::default() };
        if !place.is_empty() {
            let made = folders.child(session, &mut known, &folders.identity, place).await;
            folders.top =
                made.map_err(|e| if e.scope < Scope::Mailbox { e.scoped(Scope::Mailbox) } else { e })?;
        }
        *folders.known.get_mut() = known;
        Ok(folders)
    }

    /// Finds or makes a folder.
    pub(super) async fn get(&self, session: &Session, wanted: &FolderWanted) -> Result<TargetFolderId> {
        let mut known = self.known.lock().await;
        let key = (wanted.path.clone(), wanted.special);
        if let Some(id) = known.done.get(&key) {
            return Ok(TargetFolderId(id.clone()));
        }
        let id = self.resolve(session, &mut known, &wanted.path, wanted.special).await?;
        known.done.insert(key, id.clone());
        Ok(TargetFolderId(id))
    }

    /// Forgets what is known but the well-known folders: a folder was not where we thought.
    pub(super) async fn forget(&self) {
        self.known.lock().await.forget();
    }

    /// Gives a folder a new place; its id from now on.
    pub(super) async fn rename(
        &self,
        session: &Session,
        folder: &TargetFolderId,
        to: &FolderWanted,
    ) -> Result<TargetFolderId> {
        let mut known = self.known.lock().await;
        known.forget(); // what is decided from must be what is there
        let result = self.rename_now(session, &mut known, &folder.0, to).await;
        known.forget(); // every path below it changed
        result.map(TargetFolderId)
    }

    async fn rename_now(
        &self,
        session: &Session,
        known: &mut Known,
        folder: &str,
        to: &FolderWanted,
    ) -> Result<String> {
        let parent = match to.path.parent() {
            Some(above) => self.resolve(session, known, &above, None).await?,
            None => self.top.clone(),
        };
        let gone = || Error::new(Kind::NotFound, Scope::Folder, "the folder to be renamed is not there");
        let now = self.listed(session, known).await?.values().flatten().find(|f| f.id == folder).cloned();
        let now = now.ok_or_else(gone)?;
        let children = self.children(session, known, &parent).await?;
        let plain = display_name(to.path.leaf());
        let others = || children.iter().filter(|c| c.id != folder);
        if others().any(|c| c.is_mail() && c.name == plain) {
            return Err(taken());
        }
        let name = if others().any(|c| same(&c.name, &plain)) { distinct(to.path.leaf()) } else { plain };
        if others().any(|c| same(&c.name, &name)) {
            return Err(taken());
        }
        let mut id = folder.to_owned();
        if now.parent != parent {
            id = relocate(session, &id, &parent).await?;
        }
        if now.name != name {
            rename(session, &id, &name).await?;
        }
        Ok(id)
    }

    async fn resolve(
        &self,
        session: &Session,
        known: &mut Known,
        path: &FolderPath,
        special: Option<SpecialUse>,
    ) -> Result<String> {
        let (mut at, names) = self.start(session, known, path, special).await?;
        for name in names {
            at = self.child(session, known, &at, name).await?;
        }
        Ok(at)
    }

    /// Where the search for a folder begins, and the names below that still lead to it.
    pub(super) async fn start<'p>(
        &self,
        session: &Session,
        known: &mut Known,
        path: &'p FolderPath,
        special: Option<SpecialUse>,
    ) -> Result<(String, &'p [String])> {
        if self.top == self.identity {
            for (role, below) in roles::ways(path, special) {
                if let Some(id) = well_known(session, known, role).await? {
                    return Ok((id, below));
                }
            }
        }
        Ok((self.top.clone(), path.names()))
    }

    /// Finds or makes a folder by its source name below `parent`.
    async fn child(&self, session: &Session, known: &mut Known, parent: &str, name: &str) -> Result<String> {
        let (plain, other) = (display_name(name), distinct(name));
        let mut hidden = false; // the plain name is taken, though no listing shows by what
        let mut tries = 0;
        loop {
            tries += 1;
            let children = self.children(session, known, parent).await?;
            let find = |name: &str| children.iter().find(|c| c.is_mail() && c.name == name);
            if let Some(found) = find(&plain).or_else(|| find(&other)) {
                return Ok(found.id.clone());
            }
            let collides = hidden || children.iter().any(|c| same(&c.name, &plain));
            let wanted = if collides { &other } else { &plain };
            let fault = match create(session, parent, wanted).await {
                Ok(made) => {
                    if let Some(all) = &mut known.children {
                        let folder = Folder::made(&made, parent, wanted);
                        all.entry(parent.to_owned()).or_default().push(folder);
                    }
                    return Ok(made);
                }
                Err(fault) => fault,
            };
            // It may be there now, made by us or by somebody else: look again.
            known.children = None;
            let conflict = fault.error().kind == Kind::Conflict;
            if conflict {
                hidden = *wanted == plain && tries > 1;
            }
            if tries == 5 || !(conflict || session.wait_before_retry(fault.error(), tries).await) {
                let error = of_folder(fault);
                return Err(if conflict {
                    error.remedy("look for a hidden folder of that name in the target mailbox")
                } else {
                    error
                });
            }
        }
    }

    async fn children(&self, session: &Session, known: &mut Known, parent: &str) -> Result<Vec<Folder>> {
        let all = self.listed(session, known).await?;
        Ok(all.get(parent).cloned().unwrap_or_default())
    }

    pub(super) async fn listed<'k>(
        &self,
        session: &Session,
        known: &'k mut Known,
    ) -> Result<&'k mut BTreeMap<String, Vec<Folder>>> {
        let all = match known.children.take() {
            Some(all) => all,
            None => {
                let mut all: BTreeMap<String, Vec<Folder>> = BTreeMap::new();
                for folder in all_folders(session, STEP, WHAT).await.map_err(of_folder)? {
                    all.entry(folder.parent.clone()).or_default().push(folder);
                }
                all
            }
        };
        Ok(known.children.insert(all))
    }
}

impl Known {
    fn forget(&mut self) {
        self.done.clear();
        self.children = None;
    }
}

fn taken() -> Error {
    Error::new(Kind::Conflict, Scope::Folder, "another folder of that name is there")
}

/// The id of the root, and of those well-known folders that the mailbox has.
async fn root(session: &Session, roles: &mut BTreeMap<&'static str, Option<String>>) -> Result<String> {
    let asked: Vec<&'static str> = std::iter::once("msgfolderroot").chain(ROLES).collect();
    let what = "the target mailbox";
    let found = session.each(&asked, asked.len(), |ids| get_folders(session, ids, what), folder_id).await;
    let mut identity = Err(unreadable(what));
    for (name, one) in asked.into_iter().zip(found) {
        match one {
            found if name == "msgfolderroot" => identity = found.map_err(Fault::into_error),
            Ok(id) => {
                roles.insert(name, Some(id));
            }
            Err(fault) if fault.error().kind == Kind::NotFound && fault.error().scope < Scope::Mailbox => {
                roles.insert(name, None);
            }
            // Asked again when it is needed.
            Err(_) => {}
        }
    }
    identity
}

fn get_folders(session: &Session, ids: &[&&'static str], what: &'static str) -> Call {
    session.call("GetFolder", "", STEP, what, |out| {
        out.push_str("<m:FolderShape><t:BaseShape>IdOnly</t:BaseShape></m:FolderShape><m:FolderIds>");
        ids.iter().for_each(|id| session.distinguished(out, id));
        out.push_str("</m:FolderIds>");
    })
}

/// The id of the folder in a response message.
fn folder_id(message: Element<'_>) -> Option<String> {
    id(message.child("Folders")?.children().next()?, "FolderId").map(str::to_owned)
}

/// The id of a well-known folder; `None` if this mailbox has none, or this server does not know of it.
async fn well_known(session: &Session, known: &mut Known, role: &'static str) -> Result<Option<String>> {
    if let Some(id) = known.roles.get(role) {
        return Ok(id.clone());
    }
    let found = match session.one(&get_folders(session, &[&role], WHAT), folder_id).await {
        Ok(id) => Some(id),
        Err(fault) if fault.error().kind == Kind::NotFound && fault.error().scope < Scope::Mailbox => None,
        // A schema without that word refuses the whole request.
        Err(Fault::Refused(_)) if role == ARCHIVE => None,
        Err(Fault::Unknown(_)) if role == ARCHIVE => None,
        Err(fault) => return Err(of_folder(fault)),
    };
    known.roles.insert(role, found.clone());
    Ok(found)
}

async fn create(session: &Session, parent: &str, name: &str) -> Result<String, Fault> {
    let made = create_all(session, parent, &[name.to_owned()]).await?.pop();
    made.unwrap_or_else(|| Err(Fault::Unknown(unreadable(WHAT))))
}

/// Makes folders of one parent, in one request; exactly one result for each, in order: its id.
pub(super) async fn create_all(
    session: &Session,
    parent: &str,
    names: &[String],
) -> Result<Vec<Result<String, Fault>>, Fault> {
    let call = session.call("CreateFolder", "", STEP, WHAT, |out| {
        xml::open(out, "m:ParentFolderId");
        xml::empty(out, "t:FolderId", &[("Id", parent)]);
        xml::close(out, "m:ParentFolderId");
        xml::open(out, "m:Folders");
        for name in names {
            out.push_str("<t:Folder><t:FolderClass>IPF.Note</t:FolderClass>");
            xml::element(out, "t:DisplayName", name);
            xml::close(out, "t:Folder");
        }
        xml::close(out, "m:Folders");
    });
    // Not insisted on: after an answer that was lost the names are looked for first.
    let reply = session.send(&session.lookup(), &call).await?;
    Ok(per_item(&reply, names.len(), WHAT, folder_id))
}

/// Moves a folder below another; its id from now on.
async fn relocate(session: &Session, folder: &str, parent: &str) -> Result<String> {
    let call = session.call("MoveFolder", "", STEP, WHAT, |out| {
        xml::open(out, "m:ToFolderId");
        xml::empty(out, "t:FolderId", &[("Id", parent)]);
        xml::close(out, "m:ToFolderId");
        xml::open(out, "m:FolderIds");
        xml::empty(out, "t:FolderId", &[("Id", folder)]);
        xml::close(out, "m:FolderIds");
    });
    // Servers need not repeat the id; it stays when a folder moves within its mailbox.
    let read = |message: Element<'_>| Some(folder_id(message).unwrap_or_else(|| folder.to_owned()));
    match session.one(&call, read).await {
        Ok(id) => Ok(id),
        Err(fault) => {
            // The first try may have moved it without an answer.
            let all = all_folders(session, STEP, WHAT).await.map_err(of_folder)?;
            let there = all.iter().any(|f| f.id == folder && f.parent == parent);
            if there { Ok(folder.to_owned()) } else { Err(of_folder(fault)) }
        }
    }
}

async fn rename(session: &Session, folder: &str, name: &str) -> Result<()> {
    let call = session.call("UpdateFolder", "", STEP, WHAT, |out| {
        out.push_str("<m:FolderChanges><t:FolderChange>");
        xml::empty(out, "t:FolderId", &[("Id", folder)]);
        out.push_str("<t:Updates><t:SetFolderField>");
        xml::empty(out, "t:FieldURI", &[("FieldURI", "folder:DisplayName")]);
        xml::open(out, "t:Folder");
        xml::element(out, "t:DisplayName", name);
        out.push_str("</t:Folder></t:SetFolderField></t:Updates></t:FolderChange></m:FolderChanges>");
    });
    session.one(&call, |_| Some(())).await.map_err(of_folder)
}

/// A fault that concerns one folder.
pub(super) fn of_folder(fault: Fault) -> Error {
    match fault.into_error() {
        e if e.scope == Scope::Message => e.scoped(Scope::Folder),
        e => e,
    }
}

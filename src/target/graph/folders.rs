//! Folders: found or created below the mailbox's root, once, however many lanes ask.
//!
//! Awkward truths: a listing shows ten folders unless asked for more; a name that is there answers a create with 409
//! `ErrorFolderExists`, compared without regard to case and against hidden folders too; the names of well-known folders
//! depend on the mailbox's language, so they are reached by their well-known ids.
//!
//! Which folder a source folder becomes: see [`roles`].

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::answer::{Fault, id};
use super::session::{Session, segment, unreadable};
use crate::env::Step;
use crate::model::{Error, FolderPath, Kind, Result, Scope, SpecialUse};
use crate::target::{FolderWanted, TargetFolderId, roles};
use crate::transform::graph::folder_names::{display_name, distinct, same};
use crate::transform::json::Object;

pub(super) const WHAT: &str = "a folder of the target";
pub(super) const STEP: Step = Step::TargetFolder;
/// What the root says of itself.
pub(super) const ROOT: &str = "/mailFolders/msgfolderroot?$select=id";

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
    pub(super) children: BTreeMap<String, Vec<Child>>,
    well_known: BTreeMap<&'static str, String>,
}

#[derive(Clone)]
pub(super) struct Child {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) hidden: bool,
}

impl std::fmt::Debug for Folders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Folders")
    }
}

impl Folders {
    /// Asks for the root, if `told` does not tell it, and finds or makes the folder of the place.
    pub(super) async fn open(session: &Session, place: &str, told: Option<Value>) -> Result<Folders> {
        let root = match told {
            Some(root) => root,
            None => session.read(ROOT, STEP, "the target mailbox").await.map_err(|fault| {
                match fault.into_error() {
                    e if e.kind == Kind::NotFound => e
                        .scoped(Scope::Mailbox)
                        .remedy("check the target address and that the mailbox is provisioned and licensed"),
                    e if e.scope == Scope::Message => e.scoped(Scope::Mailbox),
                    e => e,
                }
            })?,
        };
        let identity = id(&root).ok_or_else(|| unreadable("the target mailbox"))?.to_owned();
        let mut folders = Folders { top: identity.clone(), identity, known: tokio::sync::Mutex::default() };
        if !place.is_empty() {
            let mut known = Known::default();
            let made = folders.child(session, &mut known, &folders.identity, place).await;
            folders.top = made.map_err(|e| e.scoped(Scope::Mailbox))?;
        }
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

    /// The ids of the folders that were asked for.
    pub(super) async fn asked_for(&self) -> BTreeSet<String> {
        self.known.lock().await.done.values().cloned().collect()
    }

    /// Forgets what is known: a folder was not where we thought.
    pub(super) async fn forget(&self) {
        *self.known.lock().await = Known::default();
    }

    /// Gives a folder a new place.
    pub(super) async fn rename(
        &self,
        session: &Session,
        folder: &TargetFolderId,
        to: &FolderWanted,
    ) -> Result<()> {
        let mut known = self.known.lock().await;
        let result = self.rename_now(session, &mut known, folder, to).await;
        *known = Known::default(); // every path below it changed
        result
    }

    async fn rename_now(
        &self,
        session: &Session,
        known: &mut Known,
        folder: &TargetFolderId,
        to: &FolderWanted,
    ) -> Result<()> {
        let parent = match to.path.parent() {
            Some(above) => self.resolve(session, known, &above, None).await?,
            None => self.top.clone(),
        };
        let path = format!("/mailFolders/{}", segment(&folder.0));
        let now = self.see(session, &path).await?;
        let children = self.children(session, known, &parent, true).await?;
        let plain = display_name(to.path.leaf());
        let other = |name: &str| children.iter().any(|c| c.id != folder.0 && same(&c.name, name));
        let name = if other(&plain) { distinct(to.path.leaf()) } else { plain };
        if other(&name) || children.iter().any(|c| c.id != folder.0 && c.name == display_name(to.path.leaf()))
        {
            return Err(Error::new(Kind::Conflict, Scope::Folder, "another folder of that name is there"));
        }
        if now.parent.as_deref() != Some(parent.as_str()) {
            let call = session.call(
                Method::POST,
                &format!("{path}/move"),
                object("destinationId", &parent),
                STEP,
                WHAT,
            );
            let moved =
                session.send(&session.lookup(), &call).await.and_then(|r| r.expect(&[200, 201], WHAT));
            if let Err(fault) = moved
                && self.see(session, &path).await?.parent.as_deref() != Some(parent.as_str())
            {
                return Err(of_folder(fault));
            }
        }
        if now.name != name {
            let call = session.call(Method::PATCH, &path, object("displayName", &name), STEP, WHAT);
            session.insist(&session.lookup(), &call, &[200]).await.map_err(of_folder)?;
        }
        Ok(())
    }

    async fn see(&self, session: &Session, path: &str) -> Result<Seen> {
        let folder = session
            .read(&format!("{path}?$select=id,displayName,parentFolderId"), STEP, WHAT)
            .await
            .map_err(of_folder)?;
        Ok(Seen {
            name: folder["displayName"].as_str().unwrap_or_default().to_owned(),
            parent: folder["parentFolderId"].as_str().map(str::to_owned),
        })
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
                if let Some(id) = self.well_known(session, known, role).await? {
                    return Ok((id, below));
                }
            }
        }
        Ok((self.top.clone(), path.names()))
    }

    /// The id of a well-known folder; `None` if this mailbox has none (an archive folder that was never used).
    async fn well_known(
        &self,
        session: &Session,
        known: &mut Known,
        role: &'static str,
    ) -> Result<Option<String>> {
        if let Some(id) = known.well_known.get(role) {
            return Ok(Some(id.clone()));
        }
        match session.read(&format!("/mailFolders/{role}?$select=id"), STEP, WHAT).await {
            Ok(folder) => {
                let id = id(&folder).ok_or_else(|| unreadable(WHAT))?.to_owned();
                known.well_known.insert(role, id.clone());
                Ok(Some(id))
            }
            Err(fault) if fault.error().kind == Kind::NotFound && role != "inbox" => Ok(None),
            Err(fault) => Err(of_folder(fault)),
        }
    }

    /// Finds or makes a folder by its source name below `parent`.
    async fn child(&self, session: &Session, known: &mut Known, parent: &str, name: &str) -> Result<String> {
        let (plain, other) = (display_name(name), distinct(name));
        let mut taken = false; // the plain name is, though no listing shows why
        let mut tries = 0;
        loop {
            tries += 1;
            let children = self.children(session, known, parent, taken).await?;
            let find = |name: &str| children.iter().find(|c| !c.hidden && c.name == name);
            if let Some(found) = find(&plain).or_else(|| find(&other)) {
                return Ok(found.id.clone());
            }
            let collides = taken || children.iter().any(|c| same(&c.name, &plain));
            let wanted = if collides { &other } else { &plain };
            let below = self.below(parent);
            let call = session.call(Method::POST, &below, object("displayName", wanted), STEP, WHAT);
            // Judged by its code and not by `expect`: 409 is part of the game here.
            let fault = match session.send(&session.lookup(), &call).await {
                Ok(reply) if reply.status == 201 => match reply.json().as_ref().and_then(id) {
                    Some(id) => {
                        let made = Child { id: id.to_owned(), name: wanted.clone(), hidden: false };
                        known.children.entry(parent.to_owned()).or_default().push(made);
                        return Ok(id.to_owned());
                    }
                    None => Fault::Unknown(unreadable(WHAT)),
                },
                Ok(reply) if reply.status == 409 || reply.code().as_deref() == Some("ErrorFolderExists") => {
                    taken = *wanted == plain;
                    Fault::Unknown(
                        Error::temporary(
                            Kind::Conflict,
                            Scope::Folder,
                            "a folder of that name cannot be found or made",
                        )
                        .remedy("look for a hidden folder of that name in the target mailbox"),
                    )
                }
                Ok(reply) => match reply.expect(&[201], WHAT) {
                    Ok(_) => Fault::Unknown(unreadable(WHAT)),
                    Err(fault) => fault,
                },
                Err(fault) => fault,
            };
            // It may be there now, made by us or by somebody else: look again.
            known.children.remove(parent);
            let conflict = fault.error().kind == Kind::Conflict;
            if tries == 5 || !(conflict || session.wait_before_retry(fault.error(), tries).await) {
                return Err(of_folder(fault));
            }
        }
    }

    pub(super) fn below(&self, parent: &str) -> String {
        if parent == self.identity {
            "/mailFolders".to_owned()
        } else {
            format!("/mailFolders/{}/childFolders", segment(parent))
        }
    }

    pub(super) async fn children(
        &self,
        session: &Session,
        known: &mut Known,
        parent: &str,
        hidden: bool,
    ) -> Result<Vec<Child>> {
        if !hidden && let Some(children) = known.children.get(parent) {
            return Ok(children.clone());
        }
        let extra = if hidden { "&includeHiddenFolders=true" } else { "" };
        let path = format!("{}?$top=100&$select=id,displayName,isHidden{extra}", self.below(parent));
        let list = session.list(&path, STEP, WHAT).await.map_err(of_folder)?;
        let mut children = Vec::with_capacity(list.len());
        for folder in &list {
            let id = id(folder).ok_or_else(|| unreadable(WHAT))?.to_owned();
            let name = folder["displayName"].as_str().unwrap_or_default().to_owned();
            children.push(Child { id, name, hidden: folder["isHidden"] == true });
        }
        known.children.insert(parent.to_owned(), children.clone());
        Ok(children)
    }
}

struct Seen {
    name: String,
    parent: Option<String>,
}

pub(super) fn object(key: &str, value: &str) -> Bytes {
    let mut out = String::new();
    let mut object = Object::begin(&mut out);
    object.text(key, value);
    object.end();
    Bytes::from(out)
}

/// As [`object`], with a property that is true.
pub(super) fn object_with(key: &str, value: &str, yes: &str) -> Bytes {
    let mut out = String::new();
    let mut object = Object::begin(&mut out);
    object.text(key, value);
    object.key(yes).push_str("true");
    object.end();
    Bytes::from(out)
}

/// A fault that concerns one folder.
fn of_folder(fault: Fault) -> Error {
    match fault.into_error() {
        e if e.scope == Scope::Message => e.scoped(Scope::Folder),
        e => e,
    }
}

/// The id of a folder in an answer about a message.
pub(super) fn parent(message: &Value) -> Option<&str> {
    message["parentFolderId"].as_str()
}

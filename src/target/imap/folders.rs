//! Folders: found or made by their names on the wire.
//!
//! Which folder a source folder becomes depends on its path, its role and what is there, not on what was asked before:
//! - the inbox is the inbox;
//! - a role (`\Sent`, `\Trash` …) leads to the folder that has it, else to one known for it by its name, if the source
//!   folder lies at the root, or directly below the inbox or Gmail's own parent; deeper ones are ordinary folders, so
//!   that two mailboxes merged into one do not fall into each other;
//! - every other folder is looked for by its name, in the forms that [`Naming`] gives it, and made in the first form the
//!   server takes.
//!
//! In a place other than the root there are no roles: every folder is an ordinary one.

use std::collections::BTreeMap;

use super::names::Naming;
use super::session::{Live, gone};
use super::shelf::Shelves;
use crate::env::{Env, Step};
use crate::imap::{Code, Done, ListEntry, Namespaces, WireError};
use crate::model::{Error, FolderPath, Kind, Result, Scope, SpecialUse};
use crate::target::FolderWanted;
use crate::transform::names;

/// Most folders of a mailbox that are looked at.
const MOST: usize = 200_000;

/// The folders of one open mailbox.
pub(super) struct Folders {
    /// Names of the folder everything lies below; empty: the root.
    base: Vec<String>,
    subscribe: bool,
    naming: Naming,
    /// Beginnings of names that are not the user's own.
    foreign: Vec<String>,
    known: tokio::sync::Mutex<Known>,
}

/// What is known of the folders. The lock is held while one is found or made, so that two lanes make one.
#[derive(Default)]
struct Known {
    by_name: BTreeMap<String, Entry>,
    done: BTreeMap<(FolderPath, Option<SpecialUse>), String>,
}

/// What a folder that is to be made shall be.
#[derive(Debug, Clone, Copy)]
struct Wish {
    role: Option<SpecialUse>,
    subscribed: bool,
}

/// A name that is taken.
#[derive(Debug, Clone, Default)]
struct Entry {
    /// It holds mail, and is not just the way to others.
    selectable: bool,
    role: Option<SpecialUse>,
    subscribed: bool,
}

impl Known {
    /// Takes in what LIST told.
    fn learn(&mut self, entry: &ListEntry, naming: &Naming, shelves: &Shelves) {
        let Some(name) = own_name(entry, naming) else { return };
        let mut at = name.as_str();
        while let Some(above) = naming.above(at) {
            self.by_name.entry(above.to_owned()).or_default();
            at = above;
        }
        let known = self.by_name.entry(name.clone()).or_default();
        known.selectable = !entry.has("\\Noselect") && !entry.has("\\NonExistent");
        known.subscribed |= entry.has("\\Subscribed");
        known.role = role_of(entry);
        if let Some(status) = entry.status.as_ref().filter(|_| known.selectable) {
            shelves.get(&name).learn_status(status);
        }
    }

    fn selectable(&self, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|e| e.selectable)
    }
}

/// The name of a listed folder, if it is the user's own and text.
fn own_name(entry: &ListEntry, naming: &Naming) -> Option<String> {
    let mut name = std::str::from_utf8(&entry.name).ok()?;
    if name.eq_ignore_ascii_case("INBOX") {
        return Some("INBOX".to_owned());
    }
    // The way to others may be listed with a separator at its end.
    if let Some(separator) = naming.separator {
        name = name.strip_suffix(separator).unwrap_or(name);
    }
    (name.len() > naming.prefix.len() && name.starts_with(&naming.prefix)).then(|| name.to_owned())
}

impl Folders {
    /// Learns from the namespaces and the list of all folders.
    pub fn new(
        spaces: &Namespaces,
        list: &[ListEntry],
        base: Vec<String>,
        subscribe: bool,
        shelves: &Shelves,
    ) -> Result<Folders> {
        if list.len() > MOST {
            return Err(Error::new(
                Kind::TooLarge,
                Scope::Mailbox,
                "the target mailbox has too many folders",
            )
            .remedy("remove folders at the target, or migrate into a place of its own"));
        }
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).ok();
        let (prefix, told) = match spaces.personal.first() {
            Some((prefix, separator)) => (text(prefix).unwrap_or_default(), *separator),
            None => (String::new(), None),
        };
        let separator = told.or_else(|| list.iter().find_map(|e| e.separator)).map(char::from);
        let naming = Naming { prefix, separator };
        let others = spaces.others.iter().chain(&spaces.shared).filter_map(|(prefix, _)| text(prefix));
        let foreign = others.filter(|p| !p.is_empty() && !naming.prefix.starts_with(p.as_str())).collect();
        let folders = Folders { base, subscribe, naming, foreign, known: tokio::sync::Mutex::default() };
        let mut known = Known::default();
        known.by_name.insert("INBOX".to_owned(), Entry { selectable: true, ..Entry::default() });
        for entry in list {
            if !folders.is_foreign(&String::from_utf8_lossy(&entry.name)) {
                known.learn(entry, &folders.naming, shelves);
            }
        }
        Ok(Folders { known: tokio::sync::Mutex::new(known), ..folders })
    }

    /// Does this name lie among folders that are not the user's own?
    fn is_foreign(&self, name: &str) -> bool {
        self.foreign.iter().any(|prefix| {
            let root = self.naming.separator.and_then(|s| prefix.strip_suffix(s)).unwrap_or(prefix);
            name == root || name.starts_with(prefix.as_str())
        })
    }

    /// Finds or makes a folder; its name on the wire.
    pub async fn get(
        &self,
        env: &Env,
        live: &Live,
        wanted: &FolderWanted,
        shelves: &Shelves,
    ) -> Result<String> {
        let mut known = self.known.lock().await;
        let key = (wanted.path.clone(), wanted.special);
        if let Some(name) = known.done.get(&key) {
            return Ok(name.clone());
        }
        let name = self.resolve(env, live, &mut known, wanted, shelves).await?;
        let there = known.by_name.entry(name.clone()).or_default();
        if self.subscribe && wanted.subscribed == Some(true) && !there.subscribed {
            // It was there already, the inbox as a rule. Who refuses that keeps the mail all the same.
            there.subscribed = true;
            env.step(Step::TargetFolder).await;
            live.session.subscribe(name.as_bytes()).await.map_err(WireError::into_error)?;
        }
        known.done.insert(key, name.clone());
        Ok(name)
    }

    /// A folder that was asked for before, and is known to be there.
    pub async fn known(&self, wanted: &FolderWanted) -> Option<String> {
        self.known.lock().await.done.get(&(wanted.path.clone(), wanted.special)).cloned()
    }

    /// Finds or makes the trash.
    pub async fn trash(&self, env: &Env, live: &Live, shelves: &Shelves) -> Result<String> {
        let Some(path) = FolderPath::new(vec!["Trash".to_owned()]) else { return Err(refused()) };
        let wanted = FolderWanted { path, special: Some(SpecialUse::Trash), subscribed: None };
        let mut known = self.known.lock().await;
        self.at_the_root(env, live, &mut known, &wanted, shelves).await
    }

    /// Finds or makes the folder everything lies below.
    pub async fn make_base(&self, env: &Env, live: &Live, shelves: &Shelves) -> Result<()> {
        if self.base.is_empty() {
            return Ok(());
        }
        let mut known = self.known.lock().await;
        let forms = self.forms(&known, &self.base);
        if forms.iter().any(|name| known.by_name.contains_key(name)) {
            return Ok(());
        }
        let wish = Wish { role: None, subscribed: self.subscribe };
        self.make(env, live, &mut known, &forms, wish, shelves).await.map(|_| ())
    }

    /// Forgets a folder that is not there any more, and those asked for by other names for it.
    pub async fn forget(&self, name: &str) {
        let mut known = self.known.lock().await;
        if name != "INBOX" {
            known.by_name.remove(name);
        }
        known.done.retain(|_, to| to != name);
    }

    async fn resolve(
        &self,
        env: &Env,
        live: &Live,
        known: &mut Known,
        wanted: &FolderWanted,
        shelves: &Shelves,
    ) -> Result<String> {
        if self.base.is_empty() {
            return self.at_the_root(env, live, known, wanted, shelves).await;
        }
        let inbox = wanted.special == Some(SpecialUse::Inbox);
        let path = if inbox { FolderPath::inbox() } else { wanted.path.clone() };
        let names: Vec<String> = self.base.iter().chain(path.names()).cloned().collect();
        self.by_name(env, live, known, &names, self.wish(None, wanted), shelves).await
    }

    async fn at_the_root(
        &self,
        env: &Env,
        live: &Live,
        known: &mut Known,
        wanted: &FolderWanted,
        shelves: &Shelves,
    ) -> Result<String> {
        let role = role(&wanted.path, wanted.special);
        match role {
            Some(SpecialUse::Inbox) => Ok("INBOX".to_owned()),
            Some(role) => match self.in_role(known, role) {
                Some(name) => Ok(name),
                None => {
                    let wish = self.wish(Some(role), wanted);
                    self.by_name(env, live, known, wanted.path.names(), wish, shelves).await
                }
            },
            None => {
                self.by_name(env, live, known, wanted.path.names(), self.wish(None, wanted), shelves).await
            }
        }
    }

    /// A folder is subscribed to as it is at the source; where that does not tell, it is.
    fn wish(&self, role: Option<SpecialUse>, wanted: &FolderWanted) -> Wish {
        Wish { role, subscribed: self.subscribe && wanted.subscribed.unwrap_or(true) }
    }

    /// The folder that has a role, or is known for it by its name.
    fn in_role(&self, known: &Known, role: SpecialUse) -> Option<String> {
        let selectable = || known.by_name.iter().filter(|(_, entry)| entry.selectable);
        if let Some((name, _)) = selectable().find(|(_, entry)| entry.role == Some(role)) {
            return Some(name.clone());
        }
        let (names, paths): (Vec<_>, Vec<_>) = selectable()
            .filter(|(_, entry)| entry.role.is_none())
            .filter_map(|(name, _)| Some((name.clone(), self.naming.path(name)?)))
            .unzip();
        let at = names::roles(&paths).iter().position(|found| *found == Some(role))?;
        names.get(at).cloned()
    }

    async fn by_name(
        &self,
        env: &Env,
        live: &Live,
        known: &mut Known,
        names: &[String],
        wish: Wish,
        shelves: &Shelves,
    ) -> Result<String> {
        let forms = self.forms(known, names);
        if let Some(name) = forms.iter().find(|name| known.selectable(name)) {
            return Ok(name.clone());
        }
        self.make(env, live, known, &forms, wish, shelves).await
    }

    /// The names a path may have, best first.
    fn forms(&self, known: &Known, names: &[String]) -> Vec<String> {
        let naming = &self.naming;
        let Some((leaf, above)) = names.split_last() else { return Vec::new() };
        let way = |careful: bool| {
            let mut at: Option<String> = None;
            for (depth, name) in above.iter().enumerate() {
                let [plain, spelled, hashed] = [
                    naming.plain(name, depth == 0),
                    naming.careful(name),
                    naming.hashed(std::slice::from_ref(name)),
                ]
                .map(|level| naming.join(at.as_deref(), &level));
                let there =
                    [&plain, &spelled, &hashed].into_iter().find(|name| known.by_name.contains_key(*name));
                at = Some(there.unwrap_or(if careful { &spelled } else { &plain }).clone());
            }
            at
        };
        let (plain, careful) = (way(false), way(true));
        let mut forms = vec![
            naming.join(plain.as_deref(), &naming.plain(leaf, above.is_empty())),
            naming.join(plain.as_deref(), &naming.careful(leaf)),
            naming.join(careful.as_deref(), &naming.careful(leaf)),
            naming.join(plain.as_deref(), &naming.hashed(std::slice::from_ref(leaf))),
            naming.join(None, &naming.hashed(names)),
        ];
        let mut seen = std::collections::BTreeSet::new();
        forms.retain(|name| !self.is_foreign(name) && seen.insert(name.clone()));
        forms
    }

    /// Makes a folder by the first name the server takes. One that is there already is as good as made.
    async fn make(
        &self,
        env: &Env,
        live: &Live,
        known: &mut Known,
        forms: &[String],
        wish: Wish,
        shelves: &Shelves,
    ) -> Result<String> {
        let session = &live.session;
        let Wish { role, subscribed } = wish;
        let mut attribute = role.and_then(attribute);
        for name in forms {
            loop {
                env.step(Step::TargetFolder).await;
                let subscribe = async {
                    if subscribed { session.subscribe(name.as_bytes()).await.map(Some) } else { Ok(None) }
                };
                let alone = live.alone().await;
                // One after the other on the wire, answered together.
                let (made, subscribed, listed) = futures_util::future::join3(
                    session.create(name.as_bytes(), attribute),
                    subscribe,
                    session.list_status(name.as_bytes()),
                )
                .await;
                drop(alone);
                let made = made.map_err(WireError::into_error)?;
                let (subscribed, listed) = (subscribed.map_err(WireError::into_error)?, listed?);
                if made.code.is("USEATTR") && attribute.take().is_some() {
                    continue;
                }
                for entry in listed.iter().filter(|e| !self.is_foreign(&String::from_utf8_lossy(&e.name))) {
                    known.learn(entry, &self.naming, shelves);
                }
                // A server that strips blanks does not list what it seemed to make; others list in other spellings.
                let stripped = name.trim() != name
                    || self.naming.path(name).is_some_and(|p| p.leaf().trim() != p.leaf());
                let there = known.selectable(name) || (made.ok() && !stripped);
                if there {
                    let entry = known.by_name.entry(name.clone()).or_default();
                    entry.selectable = true;
                    entry.role = entry.role.or(role.filter(|_| attribute.is_some() && made.ok()));
                    entry.subscribed |= subscribed.is_some_and(|done| done.ok());
                    return Ok(name.clone());
                }
                if subscribed.is_some_and(|done| done.ok()) {
                    session.unsubscribe(name.as_bytes()).await.map_err(WireError::into_error)?;
                }
                if let Some(error) = not_about_the_name(&made) {
                    return Err(error);
                }
                break;
            }
        }
        Err(refused())
    }

    /// Gives a folder a new place.
    pub async fn rename(
        &self,
        env: &Env,
        live: &Live,
        from: &str,
        to: &FolderWanted,
        shelves: &Shelves,
    ) -> Result<String> {
        let session = &live.session;
        let mut known = self.known.lock().await;
        // What is there may have changed since it was listed, by our own rename whose answer was lost too.
        let listed = {
            let _alone = live.alone().await;
            session.list_status(b"*").await?
        };
        let mut fresh = Known::default();
        fresh.by_name.insert("INBOX".to_owned(), Entry { selectable: true, ..Entry::default() });
        for entry in listed.iter().filter(|e| !self.is_foreign(&String::from_utf8_lossy(&e.name))) {
            fresh.learn(entry, &self.naming, shelves);
        }
        *known = fresh;
        let taken = || {
            Error::new(Kind::Conflict, Scope::Folder, "the folder's new place at the target is taken")
                .remedy("rename or merge the folder that lies there")
        };
        let names: Vec<String> = self.base.iter().chain(to.path.names()).cloned().collect();
        let forms = self.forms(&known, &names);
        let there = forms.iter().find(|name| known.by_name.contains_key(*name)).cloned();
        let becomes_role = self.base.is_empty() && role(&to.path, to.special) == Some(SpecialUse::Inbox);
        if from == "INBOX" || becomes_role {
            return if from == "INBOX" && becomes_role { Ok(from.to_owned()) } else { Err(taken()) };
        }
        match there {
            Some(name) if name == from => return Ok(name),
            // Done by an earlier call.
            Some(name) if !known.selectable(from) && known.selectable(&name) => return Ok(name),
            Some(_) => return Err(taken()),
            None => {}
        }
        if !known.by_name.contains_key(from) {
            return Err(gone());
        }
        let below = |name: &str| {
            name == from
                || self
                    .naming
                    .separator
                    .is_some_and(|s| name.strip_prefix(from).is_some_and(|rest| rest.starts_with(s)))
        };
        let _closed = live.closed(below).await?;
        for name in &forms {
            env.step(Step::TargetFolder).await;
            let done =
                session.rename(from.as_bytes(), name.as_bytes()).await.map_err(WireError::into_error)?;
            if done.ok() {
                let moved: Vec<(String, Entry)> = known
                    .by_name
                    .iter()
                    .filter(|(n, _)| below(n))
                    .map(|(n, e)| (n.clone(), e.clone()))
                    .collect();
                shelves.forget(below);
                for (old, entry) in moved {
                    known.by_name.remove(&old);
                    let new = format!("{name}{}", old.get(from.len()..).unwrap_or_default());
                    if entry.subscribed {
                        // Subscriptions are to names, not to folders (RFC 3501 §6.3.6).
                        let (new, old) = futures_util::future::join(
                            session.subscribe(new.as_bytes()),
                            session.unsubscribe(old.as_bytes()),
                        )
                        .await;
                        new.and(old).map_err(WireError::into_error)?;
                    }
                    known.by_name.insert(new, entry);
                }
                let mut at = name.as_str();
                while let Some(above) = self.naming.above(at) {
                    known.by_name.entry(above.to_owned()).or_default();
                    at = above;
                }
                return Ok(name.clone());
            }
            if done.code.is("ALREADYEXISTS") {
                return Err(taken());
            }
            if done.code.is("NONEXISTENT") {
                return Err(gone());
            }
            if let Some(error) = not_about_the_name(&done) {
                return Err(error);
            }
        }
        Err(refused())
    }
}

fn refused() -> Error {
    Error::new(
        Kind::Refused,
        Scope::Folder,
        "the target server refuses the folder, in whatever form its name is written",
    )
    .remedy("make it by hand or rename it at the source, then run again")
}

/// A refusal that another name would not change.
fn not_about_the_name(done: &Done) -> Option<Error> {
    let firm = [
        "NOPERM",
        "AUTHORIZATIONFAILED",
        "OVERQUOTA",
        "LIMIT",
        "UNAVAILABLE",
        "INUSE",
        "SERVERBUG",
        "CONTACTADMIN",
    ];
    let firm = matches!(&done.code, Code::Named(name) if firm.contains(&name.as_str()));
    (done.backoff.is_some() || firm)
        .then(|| done.refusal(Scope::Folder, "making or renaming a target folder"))
}

/// The role a source folder may take here.
fn role(path: &FolderPath, special: Option<SpecialUse>) -> Option<SpecialUse> {
    if path.is_inbox() || special == Some(SpecialUse::Inbox) {
        return Some(SpecialUse::Inbox);
    }
    let here = match path.names() {
        [_] => true,
        [above, _] => ["INBOX", "[Gmail]", "[Google Mail]"].iter().any(|p| above.eq_ignore_ascii_case(p)),
        _ => false,
    };
    // All and Flagged are views of other folders' messages: those go to a folder of their name.
    special.filter(|s| here && !matches!(s, SpecialUse::All | SpecialUse::Flagged))
}

/// The attribute of a role (RFC 6154).
fn attribute(role: SpecialUse) -> Option<&'static str> {
    match role {
        SpecialUse::Archive => Some("\\Archive"),
        SpecialUse::Drafts => Some("\\Drafts"),
        SpecialUse::Junk => Some("\\Junk"),
        SpecialUse::Sent => Some("\\Sent"),
        SpecialUse::Trash => Some("\\Trash"),
        SpecialUse::Inbox | SpecialUse::All | SpecialUse::Flagged => None,
    }
}

/// The role a listed folder has.
fn role_of(entry: &ListEntry) -> Option<SpecialUse> {
    [SpecialUse::Archive, SpecialUse::Drafts, SpecialUse::Junk, SpecialUse::Sent, SpecialUse::Trash]
        .into_iter()
        .find(|role| attribute(*role).is_some_and(|a| entry.has(a)))
}

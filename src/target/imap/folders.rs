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

use super::making::{attribute, refused};
use super::names::Naming;
use super::session::Live;
use super::shelf::Shelves;
use crate::env::{Env, Step};
use crate::imap::{ListEntry, Namespaces, WireError};
use crate::model::{Error, FolderPath, Kind, Result, Scope, SpecialUse};
use crate::target::FolderWanted;
use crate::transform::names;

/// Most folders of a mailbox that are looked at.
const MOST: usize = 200_000;

/// The folders of one open mailbox.
pub(super) struct Folders {
    /// Names of the folder everything lies below; empty: the root.
    pub(super) base: Vec<String>,
    subscribe: bool,
    pub(super) naming: Naming,
    /// Beginnings of names that are not the user's own.
    foreign: Vec<String>,
    pub(super) known: tokio::sync::Mutex<Known>,
}

/// What is known of the folders. The lock is held while one is found or made, so that two lanes make one.
#[derive(Default)]
pub(super) struct Known {
    pub by_name: BTreeMap<String, Entry>,
    done: BTreeMap<(FolderPath, Option<SpecialUse>), String>,
}

/// What a folder that is to be made shall be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub role: Option<SpecialUse>,
    pub subscribed: bool,
}

/// Where a wanted folder is.
pub(super) enum Place {
    /// Under this name on the wire.
    There(String),
    /// Where these levels lead; it is made so if it is not there.
    Named(Vec<String>, Wish),
}

/// A name that is taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    /// It holds mail, and is not just the way to others.
    pub selectable: bool,
    pub role: Option<SpecialUse>,
    pub subscribed: bool,
}

impl Known {
    /// Takes in what LIST told.
    pub(super) fn learn(&mut self, entry: &ListEntry, naming: &Naming, shelves: &Shelves) {
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

    pub(super) fn selectable(&self, name: &str) -> bool {
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
    pub(super) fn is_foreign(&self, name: &str) -> bool {
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
        let place = self.place(&known, wanted);
        let name = self.find_or_make(env, live, &mut known, place, shelves).await?;
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
        let place = self.at_the_root(&known, &wanted);
        self.find_or_make(env, live, &mut known, place, shelves).await
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

    /// Where a folder is, or by which names it is looked for and made.
    pub(super) fn place(&self, known: &Known, wanted: &FolderWanted) -> Place {
        if self.base.is_empty() {
            return self.at_the_root(known, wanted);
        }
        let inbox = wanted.special == Some(SpecialUse::Inbox);
        let path = if inbox { FolderPath::inbox() } else { wanted.path.clone() };
        Place::Named(self.base.iter().chain(path.names()).cloned().collect(), self.wish(None, wanted))
    }

    fn at_the_root(&self, known: &Known, wanted: &FolderWanted) -> Place {
        let role = role(&wanted.path, wanted.special);
        if role == Some(SpecialUse::Inbox) {
            return Place::There("INBOX".to_owned());
        }
        match role.and_then(|role| self.in_role(known, role)) {
            Some(name) => Place::There(name),
            None => Place::Named(wanted.path.names().to_vec(), self.wish(role, wanted)),
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

    async fn find_or_make(
        &self,
        env: &Env,
        live: &Live,
        known: &mut Known,
        place: Place,
        shelves: &Shelves,
    ) -> Result<String> {
        let (names, wish) = match place {
            Place::There(name) => return Ok(name),
            Place::Named(names, wish) => (names, wish),
        };
        let forms = self.forms(known, &names);
        if let Some(name) = forms.iter().find(|name| known.selectable(name)) {
            return Ok(name.clone());
        }
        self.make(env, live, known, &forms, wish, shelves).await
    }

    /// The names a path may have, best first.
    pub(super) fn forms(&self, known: &Known, names: &[String]) -> Vec<String> {
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
}

/// The role a source folder may take here.
pub(super) fn role(path: &FolderPath, special: Option<SpecialUse>) -> Option<SpecialUse> {
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

/// The role a listed folder has.
fn role_of(entry: &ListEntry) -> Option<SpecialUse> {
    [SpecialUse::Archive, SpecialUse::Drafts, SpecialUse::Junk, SpecialUse::Sent, SpecialUse::Trash]
        .into_iter()
        .find(|role| attribute(*role).is_some_and(|a| entry.has(a)))
}

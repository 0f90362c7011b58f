//! Folders made and renamed.

use std::collections::BTreeMap;

use futures_util::future::OptionFuture;

use super::folders::{Entry, Folders, Known, Place, Wish, role};
use super::session::{Live, gone};
use super::shelf::Shelves;
use crate::env::{Env, Step};
use crate::imap::{Code, Done, ListEntry, WireError};
use crate::model::{Error, Kind, Result, Scope, SpecialUse};
use crate::target::FolderWanted;

/// Folders made in one round trip.
const AT_ONCE: usize = 30;

impl Folders {
    /// Makes folders that will be asked for soon, in few round trips: each by the first of its names. What the server
    /// refuses, or makes by another name, is seen to when the folder is asked for.
    pub async fn make_ahead(
        &self,
        env: &Env,
        live: &Live,
        wanted: &[FolderWanted],
        shelves: &Shelves,
    ) -> Result<()> {
        let mut known = self.known.lock().await;
        let mut new: BTreeMap<String, Wish> = BTreeMap::new();
        for one in wanted {
            let Place::Named(names, wish) = self.place(&known, one) else { continue };
            let forms = self.forms(&known, &names);
            let taken = forms.iter().any(|name| known.by_name.contains_key(name));
            // Two folders of one role become one.
            let second = wish.role.is_some() && new.values().any(|other| other.role == wish.role);
            if let Some(name) = forms.into_iter().next()
                && !(taken || second || self.loses_blanks(&name))
            {
                new.insert(name, wish);
            }
        }
        let new: Vec<(String, Wish)> = new.into_iter().collect();
        for some in new.chunks(AT_ONCE) {
            env.step(Step::TargetFolder).await;
            let alone = live.alone().await;
            let ask = |(name, wish): &(String, Wish)| {
                let attribute = wish.role.and_then(attribute);
                let (name, subscribed) = (name.clone(), wish.subscribed);
                async move { ask(live, &name, attribute, subscribed).await }
            };
            let told = futures_util::future::join_all(some.iter().map(ask)).await;
            drop(alone);
            for ((name, wish), told) in some.iter().zip(told) {
                let attribute = wish.role.and_then(attribute);
                self.take_in(live, &mut known, (name, *wish, attribute), &told?, shelves).await?;
            }
        }
        Ok(())
    }

    /// Makes a folder by the first name the server takes. One that is there already is as good as made.
    pub(super) async fn make(
        &self,
        env: &Env,
        live: &Live,
        known: &mut Known,
        forms: &[String],
        wish: Wish,
        shelves: &Shelves,
    ) -> Result<String> {
        let mut attribute = wish.role.and_then(attribute);
        for name in forms {
            loop {
                env.step(Step::TargetFolder).await;
                let alone = live.alone().await;
                let told = ask(live, name, attribute, wish.subscribed).await?;
                drop(alone);
                if told.made.code.is("USEATTR") && attribute.take().is_some() {
                    continue;
                }
                if self.take_in(live, known, (name, wish, attribute), &told, shelves).await? {
                    return Ok(name.clone());
                }
                if let Some(error) = not_about_the_name(&told.made) {
                    return Err(error);
                }
                break;
            }
        }
        Err(refused())
    }

    /// Takes in what the server told when it was to make a folder: is it there now, by this name?
    async fn take_in(
        &self,
        live: &Live,
        known: &mut Known,
        (name, wish, attribute): (&str, Wish, Option<&str>),
        told: &Told,
        shelves: &Shelves,
    ) -> Result<bool> {
        for entry in told.listed.iter().filter(|e| !self.is_foreign(&String::from_utf8_lossy(&e.name))) {
            known.learn(entry, &self.naming, shelves);
        }
        let subscribed = told.subscribed.as_ref().is_some_and(Done::ok);
        // A server that strips blanks does not list what it seemed to make; others list in other spellings.
        if known.selectable(name) || (told.made.ok() && !self.loses_blanks(name)) {
            let entry = known.by_name.entry(name.to_owned()).or_default();
            entry.selectable = true;
            entry.role = entry.role.or(wish.role.filter(|_| attribute.is_some() && told.made.ok()));
            entry.subscribed |= subscribed;
            return Ok(true);
        }
        if subscribed {
            live.session.unsubscribe(name.as_bytes()).await.map_err(WireError::into_error)?;
        }
        Ok(false)
    }

    /// Would some servers make another name of it?
    fn loses_blanks(&self, name: &str) -> bool {
        name.trim() != name || self.naming.path(name).is_some_and(|p| p.leaf().trim() != p.leaf())
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

/// What a server told when it was to make a folder.
struct Told {
    made: Done,
    subscribed: Option<Done>,
    listed: Vec<ListEntry>,
}

/// Asks for a folder to be made: one after the other on the wire, answered together.
async fn ask(live: &Live, name: &str, attribute: Option<&'static str>, subscribed: bool) -> Result<Told> {
    let session = &live.session;
    let subscribe = OptionFuture::from(subscribed.then(|| session.subscribe(name.as_bytes())));
    let (made, subscribed, listed) = futures_util::future::join3(
        session.create(name.as_bytes(), attribute),
        subscribe,
        session.list_status(name.as_bytes()),
    )
    .await;
    Ok(Told {
        made: made.map_err(WireError::into_error)?,
        subscribed: subscribed.transpose().map_err(WireError::into_error)?,
        listed: listed?,
    })
}

pub(super) fn refused() -> Error {
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

/// The attribute of a role (RFC 6154).
pub(super) fn attribute(role: SpecialUse) -> Option<&'static str> {
    match role {
        SpecialUse::Archive => Some("\\Archive"),
        SpecialUse::Drafts => Some("\\Drafts"),
        SpecialUse::Junk => Some("\\Junk"),
        SpecialUse::Sent => Some("\\Sent"),
        SpecialUse::Trash => Some("\\Trash"),
        SpecialUse::Inbox | SpecialUse::All | SpecialUse::Flagged => None,
    }
}

//! Folders that will be asked for soon, made together: level by level, several in one request.
//!
//! Only the plain case: a name that nothing there collides with. Whatever is not plain, or fails, is left to
//! [`Folders::get`], which has all the care; nothing here is needed for it to be right.

use std::collections::BTreeSet;

use http::Method;

use super::answer::id;
use super::folders::{Child, Folders, Known, STEP, WHAT, object};
use super::session::{Call, Session};
use crate::model::Result;
use crate::target::FolderWanted;
use crate::transform::graph::folder_names::{display_name, distinct, same};

/// Levels that are made ahead.
const DEEPEST: usize = 300;

/// A folder on its way: where the search is, and the names still below.
struct Way<'a> {
    at: String,
    names: &'a [String],
}

impl Folders {
    /// Makes what is missing of these folders.
    pub(super) async fn expect(&self, session: &Session, wanted: &[FolderWanted]) -> Result<()> {
        let mut known = self.known.lock().await;
        let mut ways = Vec::with_capacity(wanted.len());
        for folder in wanted {
            if !known.done.contains_key(&(folder.path.clone(), folder.special)) {
                let (at, names) = self.start(session, &mut known, &folder.path, folder.special).await?;
                ways.push(Way { at, names });
            }
        }
        for _ in 0..DEEPEST {
            ways.retain(|way| !way.names.is_empty());
            if ways.is_empty() {
                break;
            }
            let parents: BTreeSet<String> = ways.iter().map(|way| way.at.clone()).collect();
            for parent in &parents {
                self.children(session, &mut known, parent, false).await?;
            }
            self.make(session, &mut known, &ways).await;
            ways.retain_mut(|way| {
                let Some((name, below)) = way.names.split_first() else { return false };
                let Some(child) = found(&known, &way.at, name) else { return false };
                (way.at, way.names) = (child, below);
                true
            });
        }
        Ok(())
    }

    /// Makes the next folder of each way, where it is missing and its name is free.
    async fn make(&self, session: &Session, known: &mut Known, ways: &[Way<'_>]) {
        let mut missing: Vec<(&str, String)> = Vec::new();
        for way in ways {
            let Some(name) = way.names.first().filter(|name| found(known, &way.at, name).is_none()) else {
                continue;
            };
            let plain = display_name(name);
            let taken = known.children.get(&way.at).is_none_or(|c| c.iter().any(|c| same(&c.name, &plain)))
                || missing.iter().any(|(at, other)| *at == way.at && same(other, &plain));
            if !taken {
                missing.push((&way.at, plain));
            }
        }
        let call = |(parent, name): &(&str, String)| -> Call {
            session.call(Method::POST, &self.below(parent), object("displayName", name), STEP, WHAT)
        };
        let calls: Vec<Call> = missing.iter().map(call).collect();
        for ((parent, name), reply) in missing.into_iter().zip(session.batch(&calls).await) {
            let made = reply.filter(|r| r.status == 201).and_then(|r| r.json());
            match made.as_ref().and_then(id) {
                Some(id) => {
                    let child = Child { id: id.to_owned(), name, hidden: false };
                    known.children.entry(parent.to_owned()).or_default().push(child);
                    // A folder made just now is empty; should somebody fill it, a create says so.
                    known.children.insert(id.to_owned(), Vec::new());
                }
                // It may be there now.
                None => drop(known.children.remove(parent)),
            }
        }
    }
}

/// The folder of this source name below `parent`, as far as is known.
fn found(known: &Known, parent: &str, name: &str) -> Option<String> {
    let children = known.children.get(parent)?;
    let find = |name: &str| children.iter().find(|c| !c.hidden && c.name == name);
    find(&display_name(name)).or_else(|| find(&distinct(name))).map(|c| c.id.clone())
}

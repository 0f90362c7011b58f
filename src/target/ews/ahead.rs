//! Folders that will be asked for soon, made together: level by level, those of one parent in one request. What is there
//! already is known from the one listing of all folders.
//!
//! Only the plain case: a name that nothing there collides with. Whatever is not plain, or fails, is left to
//! [`Folders::get`], which has all the care; nothing here is needed for it to be right.

use std::collections::{BTreeMap, BTreeSet};

use super::folders::{Folders, Known, create_all, of_folder};
use super::listing::Folder;
use super::session::{AT_ONCE, Session};
use crate::model::Result;
use crate::target::FolderWanted;
use crate::transform::graph::folder_names::{display_name, distinct};

/// Levels that are made ahead.
const DEEPEST: usize = 300;

/// Folders on their way, by where the search for each is: the names still below.
type Ways<'a> = BTreeMap<String, Vec<&'a [String]>>;

impl Folders {
    /// Makes what is missing of these folders.
    ///
    /// # Errors
    /// The server did not answer, or refused a whole request.
    pub(super) async fn expect(&self, session: &Session, wanted: &[FolderWanted]) -> Result<()> {
        let mut known = self.known.lock().await;
        let mut ways = Ways::new();
        for folder in wanted {
            if !known.done.contains_key(&(folder.path.clone(), folder.special)) {
                let (at, names) = self.start(session, &mut known, &folder.path, folder.special).await?;
                ways.entry(at).or_default().push(names);
            }
        }
        for _ in 0..DEEPEST {
            ways.values_mut().for_each(|names| names.retain(|names| !names.is_empty()));
            ways.retain(|_, names| !names.is_empty());
            if ways.is_empty() {
                break;
            }
            let mut below = Ways::new();
            for (parent, ways) in std::mem::take(&mut ways) {
                self.one_parent(session, &mut known, &parent, &ways, &mut below).await?;
            }
            ways = below;
        }
        Ok(())
    }

    /// Finds or makes the next folder of each way that is at this parent; the ways go on `below`.
    async fn one_parent<'w>(
        &self,
        session: &Session,
        known: &mut Known,
        parent: &str,
        ways: &[&'w [String]],
        below: &mut Ways<'w>,
    ) -> Result<()> {
        let children = self.listed(session, known).await?.entry(parent.to_owned()).or_default();
        let mail: BTreeMap<&str, &str> =
            children.iter().filter(|c| c.is_mail()).map(|c| (c.name.as_str(), c.id.as_str())).collect();
        let mut taken: BTreeSet<String> = children.iter().map(|c| c.name.to_lowercase()).collect();
        let mut missing: Vec<String> = Vec::new();
        let mut ahead: BTreeMap<String, Vec<&[String]>> = BTreeMap::new();
        for way in ways {
            let Some((name, rest)) = way.split_first() else { continue };
            let plain = display_name(name);
            if let Some(id) = mail.get(plain.as_str()).or_else(|| mail.get(distinct(name).as_str())) {
                below.entry((*id).to_owned()).or_default().push(rest);
            } else if let Some(same) = ahead.get_mut(&plain) {
                same.push(rest);
            } else if taken.insert(plain.to_lowercase()) {
                missing.push(plain.clone());
                ahead.insert(plain, vec![rest]);
            }
        }
        for part in missing.chunks(AT_ONCE) {
            let made = match create_all(session, parent, part).await {
                Ok(made) => made,
                Err(fault) => {
                    // They may be there now.
                    known.children = None;
                    return Err(of_folder(fault));
                }
            };
            let mut doubtful = false;
            for (name, made) in part.iter().zip(made) {
                match (made, &mut known.children) {
                    (Ok(id), Some(all)) => {
                        all.entry(parent.to_owned()).or_default().push(Folder::made(&id, parent, name));
                        below.entry(id).or_default().extend(ahead.remove(name).unwrap_or_default());
                    }
                    _ => doubtful = true,
                }
            }
            if doubtful {
                known.children = None;
                return Ok(());
            }
        }
        Ok(())
    }
}

//! Folders: found by their ids, made where their paths say.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::env::Step;
use crate::model::{Error, FolderPath, Kind, Result, Scope, SpecialUse};
use crate::target::{FolderWanted, TargetFolderId};
use crate::transform::names::{self, Layout};

use super::files::{self, FOLDER_ID, failed, make_dir, read_id, sync_dir};
use super::{Fsync, MaildirMailbox};

/// Where removed copies lie: a name that is no folder in either layout.
const fn removed_name(layout: Layout) -> &'static str {
    match layout {
        Layout::PlusPlus => "mailwave-removed",
        Layout::Fs => ".mailwave-removed",
    }
}

/// Most directories looked at in one mailbox, and how deep.
const MAX_DIRECTORIES: usize = 200_000;
const MAX_DEPTH: usize = 128;
/// Largest `subscriptions` file kept up, in bytes.
const MAX_SUBSCRIPTIONS: u64 = 4 << 20;
/// Our unfinished files in `tmp` older than this are removed, in milliseconds: the age Maildir's own rule gives.
const STALE_TMP: i64 = 36 * 3600 * 1000;

/// The directories of a mailbox's folders.
#[derive(Debug)]
pub(super) struct Folders {
    root: PathBuf,
    layout: Layout,
    /// Folder id → directory.
    by_id: BTreeMap<String, PathBuf>,
}

impl Folders {
    pub(super) fn new(root: PathBuf, layout: Layout) -> Folders {
        Folders { root, layout, by_id: BTreeMap::new() }
    }

    /// Every directory that holds mail, sorted.
    ///
    /// # Errors
    /// A directory could not be read: then nothing is said about any.
    pub(super) fn directories(&self) -> Result<Vec<PathBuf>> {
        let mut out = Vec::new();
        let mut todo = vec![(self.root.clone(), 0)];
        while let Some((dir, depth)) = todo.pop() {
            if out.len() + todo.len() > MAX_DIRECTORIES || depth > MAX_DEPTH {
                return Err(Error::new(
                    Kind::TooLarge,
                    Scope::Mailbox,
                    "the target mailbox has too many folders",
                ));
            }
            let unread =
                |e: io::Error| failed(&e, Scope::Mailbox, "a directory of the target mailbox cannot be read");
            for entry in std::fs::read_dir(&dir).map_err(unread)? {
                let entry = entry.map_err(unread)?;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let folder = match self.layout {
                    Layout::PlusPlus => depth == 0 && name.starts_with('.'),
                    Layout::Fs => !name.starts_with('.') && !matches!(name.as_ref(), "cur" | "new" | "tmp"),
                };
                if folder && entry.file_type().is_ok_and(|t| t.is_dir()) {
                    todo.push((entry.path(), depth + 1));
                }
            }
            out.push(dir);
        }
        out.sort();
        Ok(out)
    }

    /// Reads every folder's id again.
    fn refresh(&mut self) -> Result<()> {
        let mut by_id = BTreeMap::new();
        for dir in self.directories()? {
            if let Ok(Some(id)) = read_id(&dir.join(FOLDER_ID)) {
                // A directory copied with its id by hand: the first one keeps it.
                by_id.entry(id).or_insert(dir);
            }
        }
        self.by_id = by_id;
        Ok(())
    }

    /// The directory of a folder, wherever it is now.
    ///
    /// # Errors
    /// `NotFound`, `Scope::Folder`: no folder has this id.
    pub(super) fn directory(&mut self, id: &str) -> Result<PathBuf> {
        let holds = |dir: &PathBuf| matches!(read_id(&dir.join(FOLDER_ID)), Ok(Some(found)) if found == id);
        if let Some(dir) = self.by_id.get(id).filter(|dir| holds(dir)) {
            return Ok(dir.clone());
        }
        self.refresh()?;
        self.by_id.get(id).cloned().ok_or_else(|| {
            Error::new(Kind::NotFound, Scope::Folder, "the target folder is gone")
                .remedy("if it was removed on purpose, say so; else restore it and run again")
        })
    }

    /// The id of the folder in a directory, if it has one.
    pub(super) fn id(&mut self, dir: &Path) -> Option<String> {
        let id = read_id(&dir.join(FOLDER_ID)).ok().flatten()?;
        self.by_id.insert(id.clone(), dir.to_path_buf());
        Some(id)
    }
}

impl MaildirMailbox {
    /// The directory a folder belongs in.
    fn wanted_directory(&self, wanted: &FolderWanted) -> PathBuf {
        let path =
            if wanted.special == Some(SpecialUse::Inbox) { FolderPath::inbox() } else { wanted.path.clone() };
        let path = match self.place.as_str() {
            "" => path,
            place => {
                let below = std::iter::once(place.to_owned()).chain(path.names().iter().cloned()).collect();
                FolderPath::new(below).unwrap_or(path)
            }
        };
        self.at(&path)
    }

    fn at(&self, path: &FolderPath) -> PathBuf {
        match names::directory(path, self.settings.layout).as_str() {
            "." => self.root.clone(),
            relative => self.root.join(relative),
        }
    }

    /// Makes the root folder that everything goes below.
    pub(super) async fn make_place(&self) -> Result<()> {
        let Some(path) = FolderPath::new(vec![self.place.clone()]) else { return Ok(()) };
        let _held = self.folders.lock().await;
        self.env.blocking(|| self.ensure(&self.at(&path))).map(|_| ())
    }

    pub(super) async fn make_folder(&self, wanted: &FolderWanted) -> Result<TargetFolderId> {
        self.env.step(Step::TargetFolder).await;
        let dir = self.wanted_directory(wanted);
        let mut folders = self.folders.lock().await;
        let id = self.env.blocking(|| {
            self.ensure(&dir)?;
            folders.id(&dir).ok_or_else(|| {
                Error::temporary(Kind::Io, Scope::Folder, "the target folder's id cannot be read back")
            })
        })?;
        Ok(TargetFolderId(id))
    }

    /// Makes a folder's directories, its id and its subscription, as far as they are missing.
    fn ensure(&self, dir: &Path) -> Result<()> {
        let unmade = |e: io::Error| failed(&e, Scope::Folder, "the target folder cannot be made");
        let fsync = self.settings.fsync;
        let mut at = self.root.clone();
        for part in dir.strip_prefix(&self.root).unwrap_or(Path::new("")).components() {
            let parent = at.clone();
            at.push(part);
            plain_dir(&at, &parent, fsync)?;
        }
        let fresh = !dir.join("cur").is_dir();
        for sub in ["tmp", "new", "cur"] {
            plain_dir(&dir.join(sub), dir, Fsync::Never)?;
        }
        if dir != self.root {
            let mark = dir.join("maildirfolder");
            if self.settings.layout == Layout::PlusPlus && mark.symlink_metadata().is_err() {
                files::new_file(&mark).map_err(unmade)?;
            }
            if fresh {
                self.subscribe(dir).map_err(unmade)?;
            }
        }
        files::identity(&dir.join(FOLDER_ID), &self.env, fsync).map_err(unmade)?;
        self.sweep(dir);
        files::sync_way(&self.root, dir, fsync).map_err(unmade)
    }

    /// Removes what a cut left in `tmp`: files of ours, older than anything under way.
    fn sweep(&self, dir: &Path) {
        let Ok(entries) = std::fs::read_dir(dir.join("tmp")) else { return };
        for entry in entries.flatten() {
            let ours = super::store::stamp_of(&entry.file_name().to_string_lossy()).is_some();
            let changed = entry.metadata().ok().and_then(|m| m.modified().ok());
            let age = changed
                .and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok())
                .map(|t| self.env.wall() - i64::try_from(t.as_millis()).unwrap_or(i64::MAX));
            if ours && age.is_some_and(|age| age > STALE_TMP) {
                // Only tidiness: a failure changes nothing.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Adds a folder to `subscriptions`, in the form the file has (Dovecot's second form separates names by tabs).
    fn subscribe(&self, dir: &Path) -> io::Result<()> {
        let Ok(relative) = dir.strip_prefix(&self.root) else { return Ok(()) };
        let relative = relative.to_string_lossy();
        let (name, separator) = match self.settings.layout {
            Layout::PlusPlus => (relative.trim_start_matches('.').to_owned(), '.'),
            Layout::Fs => (relative.into_owned(), '/'),
        };
        let path = self.root.join("subscriptions");
        let mut content = files::read_small(&path, MAX_SUBSCRIPTIONS)?.unwrap_or_default();
        if content.len() as u64 == MAX_SUBSCRIPTIONS {
            return Ok(()); // not ours to cut
        }
        let line = if content.starts_with(b"V\t2\n") { name.replace(separator, "\t") } else { name };
        if content.split(|b| *b == b'\n').any(|l| l == line.as_bytes()) {
            return Ok(());
        }
        if content.last().is_some_and(|b| *b != b'\n') {
            content.push(b'\n');
        }
        content.extend_from_slice(line.as_bytes());
        content.push(b'\n');
        let beside = self.root.join(format!("subscriptions.{:016x}.tmp", self.env.random(u64::MAX)));
        files::replace(&path, &beside, &content, self.settings.fsync)
    }

    pub(super) async fn move_folder(&self, folder: &TargetFolderId, to: &FolderWanted) -> Result<()> {
        self.env.step(Step::TargetFolder).await;
        let dir = self.wanted_directory(to);
        let mut folders = self.folders.lock().await;
        self.env.blocking(|| {
            let from = folders.directory(&folder.0)?;
            if from == dir {
                return Ok(());
            }
            let taken = || {
                Error::new(Kind::Conflict, Scope::Folder, "the folder's new place at the target is taken")
                    .remedy("rename or merge the folder that lies there")
            };
            if from == self.root || dir == self.root {
                return Err(taken()); // the inbox cannot be renamed, and nothing can become it
            }
            let unmoved = |e: io::Error| failed(&e, Scope::Folder, "the target folder cannot be renamed");
            let mut at = self.root.clone();
            let parents = dir.parent().and_then(|p| p.strip_prefix(&self.root).ok()).unwrap_or(Path::new(""));
            for part in parents.components() {
                let parent = at.clone();
                at.push(part);
                plain_dir(&at, &parent, self.settings.fsync)?;
            }
            match dir.symlink_metadata() {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    std::fs::rename(&from, &dir).map_err(unmoved)?
                }
                Err(e) => return Err(unmoved(e)),
                Ok(seen) => {
                    // A directory without mail (the way to folders below it) takes the folder in. The id comes last:
                    // cut half way, the same call goes on.
                    let other = read_id(&dir.join(FOLDER_ID)).map_err(unmoved)?.is_some();
                    let both = from.join("cur").exists() && dir.join("cur").exists();
                    if !seen.is_dir() || other || both || dir.starts_with(&from) {
                        return Err(taken());
                    }
                    merge(&from, &dir).map_err(unmoved)?;
                }
            }
            for changed in [from.parent(), dir.parent()].into_iter().flatten() {
                sync_dir(changed, self.settings.fsync).map_err(unmoved)?;
            }
            self.subscribe(&dir).map_err(unmoved)?;
            folders.refresh()
        })
    }

    /// Where removed copies go.
    pub(super) fn removed_dir(&self) -> Result<PathBuf> {
        let unmade =
            |e: io::Error| failed(&e, Scope::Mailbox, "the directory for removed copies cannot be made");
        let dir = self.root.join(removed_name(self.settings.layout));
        for dir in [dir.clone(), dir.join("tmp"), dir.join("new"), dir.join("cur")] {
            let parent = dir.parent().unwrap_or(&self.root);
            plain_dir(&dir, parent, self.settings.fsync).map_err(|e| e.scoped(Scope::Mailbox))?;
        }
        sync_dir(&dir, self.settings.fsync).map_err(unmade)?;
        Ok(dir.join("cur"))
    }
}

/// Moves everything of one directory into another that lacks it; the id last.
fn merge(from: &Path, to: &Path) -> io::Result<()> {
    let mut names: Vec<_> =
        std::fs::read_dir(from)?.map(|e| e.map(|e| e.file_name())).collect::<io::Result<_>>()?;
    names.sort_by_key(|name| name == FOLDER_ID);
    for name in names {
        let target = to.join(&name);
        if target.symlink_metadata().is_err() {
            std::fs::rename(from.join(&name), target)?;
        }
    }
    // Folders below that were there already keep the old directory alive; that is fine.
    let _ = std::fs::remove_dir(from);
    Ok(())
}

/// Makes a directory, or makes sure that what is there is one and no link.
fn plain_dir(dir: &Path, parent: &Path, fsync: Fsync) -> Result<()> {
    let unmade = |e: io::Error| failed(&e, Scope::Folder, "a directory of the target mailbox cannot be made");
    match dir.symlink_metadata() {
        Ok(seen) if seen.is_dir() => Ok(()),
        Ok(_) => Err(Error::new(
            Kind::Denied,
            Scope::Folder,
            "a directory of the target mailbox is a link or a file, which is not followed",
        )
        .remedy("replace it by a directory")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            make_dir(dir).map_err(unmade)?;
            sync_dir(parent, fsync).map_err(unmade)
        }
        Err(e) => Err(unmade(e)),
    }
}

//! Copies that are there: found by stamp, flagged, moved, removed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::env::Step;
use crate::model::{Error, Flags, Kind, Result, Scope, StampPrefix, Timestamp};
use crate::target::{Copy, CopyRef, ReadBack, TargetFolderId};

use super::MaildirMailbox;
use super::files::{failed, sync_dir};
use super::folders::Folders;
use super::keywords::{Keywords, with_letters};
use super::store::{copy_id, gone, parse_id, stamp_of, sync_mail};

/// A copy's file.
#[derive(Debug, Clone)]
struct Place {
    sub: &'static str,
    file: String,
}

impl Place {
    fn base(&self) -> &str {
        self.file.split_once(':').map_or(self.file.as_str(), |(base, _)| base)
    }

    fn letters(&self) -> &str {
        let info = self.file.split_once(":2,").map_or("", |(_, letters)| letters);
        info.split(',').next().unwrap_or("")
    }

    fn path(&self, dir: &Path) -> PathBuf {
        dir.join(self.sub).join(&self.file)
    }
}

/// Stamped files of a folder.
fn places(dir: &Path, mut wanted: impl FnMut(&str) -> bool) -> io::Result<Vec<Place>> {
    let mut out = Vec::new();
    for name in ["new", "cur"] {
        let entries = match std::fs::read_dir(dir.join(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            // A name that is not UTF-8 is none of ours.
            let Ok(file) = entry?.file_name().into_string() else { continue };
            if wanted(&file) {
                out.push(Place { sub: name, file });
            }
        }
    }
    out.sort_by(|a, b| (a.base(), a.sub, &a.file).cmp(&(b.base(), b.sub, &b.file)));
    Ok(out)
}

fn unread(e: io::Error) -> Error {
    failed(&e, Scope::Mailbox, "a folder of the target mailbox cannot be read")
}

/// Base name → file, for the copies of a folder that are asked for.
fn by_base<'a>(dir: &Path, bases: impl Iterator<Item = &'a str>) -> Result<BTreeMap<String, Place>> {
    let wanted: std::collections::BTreeSet<&str> = bases.collect();
    let base = |file: &str| file.split_once(':').map_or(file, |(base, _)| base).to_owned();
    let found = places(dir, |file| wanted.contains(base(file).as_str())).map_err(unread)?;
    Ok(found.into_iter().map(|place| (place.base().to_owned(), place)).collect())
}

impl MaildirMailbox {
    pub(super) async fn find_copies(&self, prefix: &StampPrefix) -> Result<Vec<Copy>> {
        let mut folders = self.folders.lock().await;
        self.env.blocking(|| {
            let mut out = Vec::new();
            for dir in folders.directories()? {
                let found = places(&dir, |file| {
                    file.split_once('.').is_some_and(|(_, rest)| rest.starts_with(prefix.as_str()))
                })
                .map_err(unread)?;
                let Some(id) = folders.id(&dir) else {
                    if found.is_empty() {
                        continue;
                    }
                    return Err(Error::new(
                        Kind::NotFound,
                        Scope::Mailbox,
                        "copies lie in a folder of the target that lost its id",
                    )
                    .remedy("restore the folder's file `mailwave-folder`"));
                };
                let keywords = Keywords::read(&dir).map_err(unread)?;
                for place in found {
                    let Some(stamp) = stamp_of(&place.file).filter(|stamp| prefix.covers(stamp)) else {
                        continue;
                    };
                    let made = match place.path(&dir).symlink_metadata() {
                        Ok(seen) => seen.created().ok(),
                        // Renamed since the directory was read (new flags): it is there all the same.
                        Err(_) => None,
                    };
                    out.push(Copy {
                        stamp,
                        id: copy_id(&id, place.base()),
                        folder: TargetFolderId(id.clone()),
                        complete: true,
                        flags: keywords.flags(place.letters()),
                        made: made
                            .and_then(|t| t.duration_since(UNIX_EPOCH).ok())
                            .map_or(0, |t| i64::try_from(t.as_millis()).unwrap_or(0)),
                    });
                }
            }
            Ok(out)
        })
    }

    pub(super) async fn read_copy(&self, copy: &CopyRef) -> Result<ReadBack> {
        let mut folders = self.folders.lock().await;
        self.env.blocking(|| {
            let ids = [copy.id.as_str()];
            let dirs = self.dirs(&mut folders, ids.into_iter());
            let located = self.located(&dirs, &ids);
            let (folder, base) = parse_id(&copy.id)?;
            let (dir, place) = locate(&dirs, &located, folder, base)?;
            let path = place.path(dir);
            let failed = |e: io::Error| failed(&e, Scope::Message, "a copy cannot be read back");
            let octets = std::fs::read(&path).map_err(failed)?;
            let changed = path.metadata().and_then(|seen| seen.modified()).map_err(failed)?;
            let seconds =
                changed.duration_since(UNIX_EPOCH).ok().and_then(|t| i64::try_from(t.as_secs()).ok());
            let keywords = Keywords::read(dir).map_err(unread)?;
            Ok(ReadBack {
                octets: octets.into(),
                received: seconds.map(Timestamp::utc),
                flags: keywords.flags(place.letters()),
            })
        })
    }

    /// Folder id → its directory, for the folders of `ids`.
    fn dirs<'a>(
        &self,
        folders: &mut Folders,
        ids: impl Iterator<Item = &'a str>,
    ) -> BTreeMap<String, Result<PathBuf>> {
        let mut out = BTreeMap::new();
        for (folder, _) in ids.filter_map(|id| parse_id(id).ok()) {
            if !out.contains_key(folder) {
                out.insert(folder.to_owned(), folders.directory(folder));
            }
        }
        out
    }

    /// The files of copies, by folder and base name: one reading of each folder, however many copies.
    fn located(
        &self,
        dirs: &BTreeMap<String, Result<PathBuf>>,
        ids: &[&str],
    ) -> BTreeMap<String, Result<BTreeMap<String, Place>>> {
        let mut out = BTreeMap::new();
        for (folder, dir) in dirs {
            let bases =
                ids.iter().filter_map(|id| parse_id(id).ok()).filter(|(f, _)| f == folder).map(|(_, b)| b);
            let found = match dir {
                Ok(dir) => by_base(dir, bases),
                Err(e) => Err(e.clone()),
            };
            out.insert(folder.clone(), found);
        }
        out
    }

    pub(super) async fn reflag(&self, changes: &[(CopyRef, Flags)]) -> Vec<Result<()>> {
        self.admitted().await;
        let mut folders = self.folders.lock().await;
        let ids: Vec<&str> = changes.iter().map(|(copy, _)| copy.id.as_str()).collect();
        let dirs = self.env.blocking(|| self.dirs(&mut folders, ids.iter().copied()));
        let mut keywords = BTreeMap::new();
        for (folder, dir) in &dirs {
            let Ok(dir) = dir else { continue };
            let flags =
                changes.iter().filter(|(copy, _)| copy.id.split('/').next() == Some(folder)).map(|(_, f)| f);
            let read = with_letters(&self.env, dir, flags, self.settings.fsync).await;
            keywords.insert(
                folder.clone(),
                read.map_err(|e| failed(&e, Scope::Folder, "the target folder's keywords cannot be kept")),
            );
        }
        let located = self.env.blocking(|| self.located(&dirs, &ids));
        let mut out = Vec::with_capacity(changes.len());
        for (copy, flags) in changes {
            let id = copy.id.as_str();
            self.env.step(Step::TargetFlags).await;
            out.push(self.env.blocking(|| {
                let (folder, base) = parse_id(id)?;
                let (dir, place) = locate(&dirs, &located, folder, base)?;
                let keywords = match keywords.get(folder) {
                    Some(Ok(keywords)) => keywords,
                    Some(Err(e)) => return Err(e.clone()),
                    None => return Err(gone()),
                };
                let (letters, _) = keywords.letters(flags);
                rename(&place.path(dir), &dir.join("cur").join(format!("{base}:2,{letters}")))
            }));
        }
        self.synced(dirs.values().flatten(), out)
    }

    pub(super) async fn move_copies(&self, ids: &[CopyRef], to: &TargetFolderId) -> Vec<Result<String>> {
        self.admitted().await;
        let mut folders = self.folders.lock().await;
        let target = match self.env.blocking(|| folders.directory(&to.0)) {
            Ok(target) => target,
            Err(e) => return ids.iter().map(|_| Err(e.clone())).collect(),
        };
        let refs: Vec<&str> = ids.iter().map(|copy| copy.id.as_str()).collect();
        let (dirs, located, there) = self.env.blocking(|| {
            let dirs = self.dirs(&mut folders, refs.iter().copied());
            let located = self.located(&dirs, &refs);
            let bases = refs.iter().filter_map(|id| parse_id(id).ok()).map(|(_, base)| base);
            (dirs, located, by_base(&target, bases))
        });
        let mut out = Vec::with_capacity(ids.len());
        for id in &refs {
            self.env.step(Step::TargetMove).await;
            out.push(self.move_one(id, to, &target, &dirs, &located, &there).await);
        }
        self.synced(dirs.values().flatten().chain([&target]), out)
    }

    async fn move_one(
        &self,
        id: &str,
        to: &TargetFolderId,
        target: &Path,
        dirs: &BTreeMap<String, Result<PathBuf>>,
        located: &BTreeMap<String, Result<BTreeMap<String, Place>>>,
        there: &Result<BTreeMap<String, Place>>,
    ) -> Result<String> {
        let (folder, base) = parse_id(id)?;
        let moved = copy_id(&to.0, base);
        // There already: by an earlier move whose answer was lost, or from the beginning.
        if there.as_ref().map_err(Clone::clone)?.contains_key(base) {
            return Ok(moved);
        }
        let (dir, place) = locate(dirs, located, folder, base)?;
        let unkept = |e: io::Error| failed(&e, Scope::Folder, "the target folder's keywords cannot be kept");
        let flags = Keywords::read(dir).map_err(unkept)?.flags(place.letters());
        let keywords = with_letters(&self.env, target, std::iter::once(&flags), self.settings.fsync)
            .await
            .map_err(unkept)?;
        let (letters, _) = keywords.letters(&flags);
        let file = match place.sub {
            "new" if letters.is_empty() => target.join("new").join(base),
            _ => target.join("cur").join(format!("{base}:2,{letters}")),
        };
        self.env.blocking(|| rename(&place.path(dir), &file)).map(|()| moved)
    }

    pub(super) async fn remove_copies(&self, ids: &[CopyRef]) -> Vec<Result<()>> {
        self.admitted().await;
        let mut folders = self.folders.lock().await;
        let refs: Vec<&str> = ids.iter().map(|copy| copy.id.as_str()).collect();
        let (dirs, located, removed) = self.env.blocking(|| {
            let dirs = self.dirs(&mut folders, refs.iter().copied());
            let located = self.located(&dirs, &refs);
            (dirs, located, self.removed_dir())
        });
        let removed = match removed {
            Ok(removed) => removed,
            Err(e) => return ids.iter().map(|_| Err(e.clone())).collect(),
        };
        let mut out = Vec::with_capacity(ids.len());
        for id in &refs {
            self.env.step(Step::TargetRemove).await;
            out.push(self.env.blocking(|| {
                let one = parse_id(id).and_then(|(folder, base)| locate(&dirs, &located, folder, base));
                let (dir, place) = match one {
                    Ok(found) => found,
                    Err(e) if e.kind == Kind::NotFound => return Ok(()),
                    Err(e) => return Err(e),
                };
                // The name says when, so that the same copy can be removed twice in its life.
                let name =
                    format!("{},R={:016x}:2,{}", place.base(), self.env.random(u64::MAX), place.letters());
                match rename(&place.path(dir), &removed.join(name)) {
                    Err(e) if e.kind == Kind::NotFound => Ok(()),
                    done => done,
                }
            }));
        }
        if let Err(e) = sync_dir(&removed, self.settings.fsync) {
            let error = failed(&e, Scope::Message, "a removal could not be forced to the disk");
            return out.into_iter().map(|_| Err(error.clone())).collect();
        }
        self.synced(dirs.values().flatten(), out)
    }

    /// Forces changed folders to the disk; every result turns into an error if that fails.
    fn synced<'a, T>(
        &self,
        dirs: impl Iterator<Item = &'a PathBuf>,
        results: Vec<Result<T>>,
    ) -> Vec<Result<T>> {
        let failure = self.env.blocking(|| {
            let mut failure = None;
            for dir in dirs {
                failure = failure.or(sync_mail(dir, self.settings.fsync).err());
            }
            failure
        });
        match failure {
            None => results,
            Some(e) => {
                let error = failed(&e, Scope::Message, "a change could not be forced to the disk");
                results.into_iter().map(|r| r.and_then(|_| Err(error.clone()))).collect()
            }
        }
    }
}

/// The file of a copy.
fn locate<'a>(
    dirs: &'a BTreeMap<String, Result<PathBuf>>,
    located: &'a BTreeMap<String, Result<BTreeMap<String, Place>>>,
    folder: &str,
    base: &str,
) -> Result<(&'a PathBuf, &'a Place)> {
    let dir = dirs.get(folder).ok_or_else(gone)?.as_ref().map_err(Clone::clone)?;
    let found = located.get(folder).ok_or_else(gone)?.as_ref().map_err(Clone::clone)?;
    Ok((dir, found.get(base).ok_or_else(gone)?))
}

/// Gives a file another name. Never over a different file: names carry the stamp.
fn rename(from: &Path, to: &Path) -> Result<()> {
    if from == to {
        return Ok(());
    }
    match std::fs::rename(from, to) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(gone()),
        Err(e) => Err(failed(&e, Scope::Message, "the copy's file cannot be renamed")),
    }
}

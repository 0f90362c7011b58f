//! Storing: `tmp`, sync, link into place.

use std::fs::FileTimes;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::env::Step;
use crate::limit::{Answer, Ticket};
use crate::model::{Error, Kind, Outcome, Result, Scope, Stamp, Timestamp, WriteMode};
use crate::target::dated::date_of;
use crate::target::{StoreItem, TargetFolderId};
use crate::transform::line_ends::ToLf;

use super::files::{failed, new_file, sync_dir};
use super::keywords::{Keywords, with_letters};
use super::{Fsync, LineEnds, MaildirMailbox};

/// The stamp a file or base name carries.
pub(super) fn stamp_of(name: &str) -> Option<Stamp> {
    let (_, rest) = name.split_once('.')?;
    rest.split([',', ':']).next()?.parse().ok()
}

/// The base name of a copy: seconds (so that readers see the messages in the order they were received), stamp, size.
fn base_name(stamp: &Stamp, received: Timestamp, size: u64) -> String {
    format!("{}.{stamp},S={size}", received.seconds.max(0))
}

/// A target id: the folder, and the base name, which stays when flags change.
pub(super) fn copy_id(folder: &str, base: &str) -> String {
    format!("{folder}/{base}")
}

impl MaildirMailbox {
    pub(super) async fn store_batch(
        &self,
        folder: &TargetFolderId,
        items: Vec<StoreItem>,
        ticket: Ticket,
    ) -> Vec<Outcome> {
        let ready = {
            let mut folders = self.folders.lock().await;
            let found = self.env.blocking(|| folders.directory(&folder.0));
            match found {
                Err(e) => Err(e),
                Ok(dir) => with_letters(&self.env, &dir, items.iter().map(|i| &i.flags), self.settings.fsync)
                    .await
                    .map(|keywords| (dir, keywords))
                    .map_err(|e| failed(&e, Scope::Folder, "the target folder's keywords cannot be kept")),
            }
        };
        let (dir, keywords) = match ready {
            Ok(ready) => ready,
            Err(e) => return items.iter().map(|_| Outcome::NotSent(e.clone())).collect(),
        };
        let mut outcomes = Vec::with_capacity(items.len());
        for item in items {
            let slot = self.gate.admit(&ticket, item.body.len()).await;
            self.env.step(Step::TargetStore).await;
            outcomes.push(self.env.blocking(|| self.store_one(folder, &dir, &keywords, &item)));
            slot.finish(Answer::Served);
            tokio::task::yield_now().await;
        }
        if self.settings.fsync == Fsync::Batch {
            let synced = self.env.blocking(|| sync_mail(&dir, Fsync::Batch));
            if let Err(e) = synced {
                let error = failed(&e, Scope::Folder, "what was stored could not be forced to the disk");
                for outcome in outcomes.iter_mut().filter(|o| matches!(o, Outcome::Stored { .. })) {
                    *outcome = Outcome::Unknown(error.clone());
                }
            }
        }
        self.env.step(Step::TargetAnswer).await;
        outcomes
    }

    fn store_one(
        &self,
        folder: &TargetFolderId,
        dir: &Path,
        keywords: &Keywords,
        item: &StoreItem,
    ) -> Outcome {
        let received = item.received.unwrap_or_else(|| date_of(&item.body));
        let tmp = dir.join("tmp").join(format!(
            "{}.{},{:016x}",
            received.seconds.max(0),
            item.stamp,
            self.env.random(u64::MAX)
        ));
        let size = match self.write(&tmp, item, received) {
            Ok(size) => size,
            Err(e) => {
                // Ours, unfinished, and seen by nobody.
                let _ = std::fs::remove_file(&tmp);
                return Outcome::NotSent(failed(&e, Scope::Message, "the copy could not be written"));
            }
        };
        let base = base_name(&item.stamp, received, size);
        let (letters, lost) = keywords.letters(&item.flags);
        // `new` is for messages nobody has looked at; they have no flags.
        let place = if letters.is_empty() {
            dir.join("new").join(&base)
        } else {
            dir.join("cur").join(format!("{base}:2,{letters}"))
        };
        let linked = match std::fs::hard_link(&tmp, &place) {
            // There by this very stamp, size and flags: a store that was cut before its answer.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match same(&tmp, &place) {
                Ok(true) => Ok(()),
                Ok(false) => {
                    let _ = std::fs::remove_file(&tmp);
                    return Outcome::Refused(
                        Error::new(
                            Kind::Conflict,
                            Scope::Message,
                            "another copy with this stamp lies at the target",
                        )
                        .remedy("look at the two; the one that is not ours must go before the next run"),
                    );
                }
                Err(e) => Err(e),
            },
            linked => linked,
        };
        // The message has its name, or it has none: the temporary one is not needed either way.
        let _ = std::fs::remove_file(&tmp);
        if let Err(e) = linked {
            return Outcome::NotSent(failed(&e, Scope::Message, "the copy could not be put in its place"));
        }
        if self.settings.fsync == Fsync::Always
            && let Err(e) = sync_mail(dir, Fsync::Always)
        {
            return Outcome::Unknown(failed(&e, Scope::Message, "the copy could not be forced to the disk"));
        }
        let losses = if lost { vec!["keywords"] } else { Vec::new() };
        Outcome::Stored { id: copy_id(&folder.0, &base), losses, mode: WriteMode::Usual }
    }

    /// Writes and syncs a file; gives its size in bytes.
    fn write(&self, path: &Path, item: &StoreItem, received: Timestamp) -> io::Result<u64> {
        let file = new_file(path)?;
        let mut reader = item.body.reader();
        let mut out = BufWriter::with_capacity(64 << 10, &file);
        match self.settings.line_ends {
            LineEnds::Keep => {
                io::copy(&mut reader, &mut out)?;
            }
            LineEnds::Lf => {
                let mut lf = ToLf::new(&mut out);
                io::copy(&mut reader, &mut lf)?;
                lf.finish()?;
            }
        }
        out.flush()?;
        drop(out);
        file.set_times(FileTimes::new().set_modified(system_time(received)))?;
        if self.settings.fsync != Fsync::Never {
            file.sync_all()?;
        }
        Ok(file.metadata()?.len())
    }
}

/// Forces the entries of `new` and `cur` to the disk.
pub(super) fn sync_mail(dir: &Path, fsync: Fsync) -> io::Result<()> {
    sync_dir(&dir.join("new"), fsync)?;
    sync_dir(&dir.join("cur"), fsync)
}

/// Do two files hold the same octets?
fn same(a: &Path, b: &Path) -> io::Result<bool> {
    let read = |path: &Path| -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
        Ok(hasher.finalize())
    };
    Ok(a.symlink_metadata()?.len() == b.symlink_metadata()?.len() && read(a)? == read(b)?)
}

/// The nearest time a file can have.
fn system_time(t: Timestamp) -> SystemTime {
    let offset = Duration::from_secs(t.seconds.unsigned_abs());
    let time = if t.seconds < 0 { UNIX_EPOCH.checked_sub(offset) } else { UNIX_EPOCH.checked_add(offset) };
    time.unwrap_or(UNIX_EPOCH)
}

/// Shorthand for the error of a copy that is not there.
pub(super) fn gone() -> Error {
    Error::new(Kind::NotFound, Scope::Message, "the copy is gone from the target")
}

/// An id as [`copy_id`] made it: folder and base name.
///
/// # Errors
/// It is none of ours.
pub(super) fn parse_id(id: &str) -> Result<(&str, &str)> {
    id.split_once('/')
        .filter(|(_, base)| !base.is_empty() && !base.contains('/') && stamp_of(base).is_some())
        .ok_or_else(gone)
}

//! Maildir as a target, as Dovecot keeps it.
//!
//! A message is written to `tmp`, synced, and linked into `cur` (or `new`, if it has no flags) in one step: a copy is
//! there whole or not at all. Its base name carries the stamp (`SECONDS.STAMP,S=SIZE`), its modification time the
//! received date. Every folder carries an id in a file of its own, so that it is found again after a rename; the
//! mailbox carries one too, so that an emptied target is noticed. Mail of others is never touched, no path leaves the
//! mailbox's root, links are not followed. Removed copies lie in `mailwave-removed` in the root.

mod copies;
mod files;
mod folders;
mod keywords;
mod store;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::env::{Env, Step};
use crate::guard::files::{Place, confined, say};
use crate::limit::{Answer, Cost, Gate, Ticket};
use crate::model::{Error, Flags, Kind, Outcome, Result, Scope, StampPrefix};
use crate::target::{
    Copy, CopyRef, FolderWanted, Probe, ReadBack, Room, StoreItem, Target, TargetCapabilities,
    TargetFolderId, TargetMailbox, Told,
};
pub use crate::transform::names::Layout;

use folders::Folders;

/// When what was written is forced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fsync {
    /// After every message, its file and its directory.
    Always,
    /// Every file, and the directories once per batch, before the batch counts as stored.
    #[default]
    Batch,
    /// Left to the system: a power cut may take copies that were recorded as stored. For trials.
    Never,
}

/// How lines end in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineEnds {
    /// Octets are kept exactly (CRLF).
    #[default]
    Keep,
    /// CRLF becomes LF, as delivery agents on Unix write it; a declared change, Dovecot shows the same message.
    Lf,
}

/// Settings of a Maildir target.
#[derive(Debug, Clone)]
pub struct MaildirTargetSettings {
    /// Where mailboxes lie, as [`Place::parse`] reads it. The directory before the first placeholder may be made, the
    /// one above it must exist.
    pub root: String,
    /// How folders lie below a mailbox's root.
    pub layout: Layout,
    /// When what was written is forced to the disk.
    pub fsync: Fsync,
    /// How lines end in the files.
    pub line_ends: LineEnds,
    /// How many stores at once serve a mailbox (1–64).
    pub lanes: usize,
}

impl Default for MaildirTargetSettings {
    fn default() -> Self {
        MaildirTargetSettings {
            root: String::new(),
            layout: Layout::PlusPlus,
            fsync: Fsync::Batch,
            line_ends: LineEnds::Keep,
            lanes: 2,
        }
    }
}

/// A directory of Maildirs.
#[derive(Debug)]
pub struct MaildirTarget {
    env: Env,
    settings: Arc<MaildirTargetSettings>,
    place: Place,
}

impl MaildirTarget {
    /// A target with these settings.
    ///
    /// # Errors
    /// `Kind::Config`: the root template or the number of lanes cannot be used.
    pub fn new(env: Env, settings: MaildirTargetSettings) -> Result<MaildirTarget> {
        let place = Place::parse(&settings.root)?;
        if !(1..=64).contains(&settings.lanes) {
            return Err(Error::new(
                Kind::Config,
                Scope::Run,
                "the lanes of a Maildir target are not 1 to 64",
            ));
        }
        Ok(MaildirTarget { env, settings: Arc::new(settings), place })
    }

    /// Makes the mailbox's root if it is missing, and reads (or gives) its identity.
    fn prepare(&self, mailbox: &str) -> Result<(PathBuf, String)> {
        let path = self.place.resolve(mailbox)?;
        let base = self.place.base();
        if !base.is_dir() {
            files::make_dir(base).map_err(|e| {
                Error::new(
                    Kind::Unreachable,
                    Scope::Endpoint,
                    format!("the target's root directory is not there ({})", say(&e)),
                )
                .remedy("make it, mount it, or correct the endpoint's root")
            })?;
        }
        let failed = |e: io::Error| {
            files::failed(&e, Scope::Mailbox, "the mailbox's directory cannot be made or read")
        };
        // Step by step, so that no link on the way leads out before it is looked at.
        let mut root = base.to_path_buf();
        for part in path.strip_prefix(base).unwrap_or(Path::new("")).components() {
            root.push(part);
            files::make_dir(&root).map_err(failed)?;
            if confined(base, &root).map_err(failed)?.is_none() {
                return Err(Error::new(
                    Kind::Denied,
                    Scope::Mailbox,
                    "the mailbox's directory is a link out of the target's root",
                )
                .remedy("name the directory itself as a root, or replace the link"));
            }
        }
        let identity =
            files::identity(&root.join(files::IDENTITY), &self.env, self.settings.fsync).map_err(|e| {
                files::failed(&e, Scope::Mailbox, "the mailbox's identity cannot be read or written")
            })?;
        files::sync_way(base.parent().unwrap_or(base), &root, self.settings.fsync).map_err(failed)?;
        Ok((root, identity))
    }
}

#[async_trait]
impl Target for MaildirTarget {
    async fn open(&self, mailbox: &str, place: &str, gate: Arc<Gate>) -> Result<Arc<dyn TargetMailbox>> {
        self.env.step(Step::TargetFolder).await;
        let (root, identity) = self.env.blocking(|| self.prepare(mailbox))?;
        let mailbox = MaildirMailbox {
            env: self.env.clone(),
            settings: Arc::clone(&self.settings),
            gate,
            place: place.to_owned(),
            identity,
            capabilities: TargetCapabilities {
                stamps: true,
                keeps_octets: self.settings.line_ends == LineEnds::Keep,
                keeps_received: true,
                keeps_keywords: true,
                moves: true,
                streams: false,
                max_message_bytes: 1 << 40,
                lanes: self.settings.lanes,
                batch_messages: 64,
                batch_bytes: 4 << 20,
                settles_within: Duration::from_secs(1),
            },
            folders: Mutex::new(Folders::new(root.clone(), self.settings.layout)),
            root,
        };
        if !place.is_empty() {
            mailbox.make_place().await?;
        }
        Ok(Arc::new(mailbox))
    }

    async fn probe(&self, mailbox: &str, gate: Arc<Gate>) -> Probe {
        match self.open(mailbox, "", gate).await {
            Err(error) => Probe::closed(error),
            Ok(open) => {
                let room = match rustix::fs::statvfs(self.place.base()) {
                    Ok(told) => Told::Yes(Room {
                        limit: Some(told.f_bavail.saturating_mul(told.f_frsize)),
                        used: None,
                        shared: true,
                    }),
                    Err(_) => Told::No("the disk does not tell how much is free"),
                };
                Probe { room, ..Probe::open(open.capabilities().max_message_bytes) }
            }
        }
    }
}

/// One open Maildir.
struct MaildirMailbox {
    env: Env,
    settings: Arc<MaildirTargetSettings>,
    gate: Arc<Gate>,
    root: PathBuf,
    /// A root folder everything goes below; empty for none.
    place: String,
    identity: String,
    capabilities: TargetCapabilities,
    /// Held while folders or keyword files change.
    folders: Mutex<Folders>,
}

impl MaildirMailbox {
    /// One piece of work as the gate counts it.
    async fn admitted(&self) {
        let slot = self.gate.admit(&self.gate.lookup(), 0).await;
        slot.finish(Answer::Served);
    }
}

#[async_trait]
impl TargetMailbox for MaildirMailbox {
    fn capabilities(&self) -> &TargetCapabilities {
        &self.capabilities
    }

    fn identity(&self) -> &str {
        &self.identity
    }

    fn cost(&self, sizes: &[u64]) -> Cost {
        Cost {
            requests: u32::try_from(sizes.len()).unwrap_or(u32::MAX),
            upload_bytes: sizes.iter().fold(0u64, |sum, size| sum.saturating_add(*size)),
        }
    }

    async fn folder(&self, wanted: &FolderWanted) -> Result<TargetFolderId> {
        self.admitted().await;
        self.make_folder(wanted).await
    }

    async fn rename_folder(&self, folder: &TargetFolderId, to: &FolderWanted) -> Result<TargetFolderId> {
        self.admitted().await;
        self.move_folder(folder, to).await.map(|()| folder.clone())
    }

    async fn store(&self, folder: &TargetFolderId, items: Vec<StoreItem>, ticket: Ticket) -> Vec<Outcome> {
        self.store_batch(folder, items, ticket).await
    }

    async fn find(&self, prefix: &StampPrefix) -> Result<Vec<Copy>> {
        self.env.step(Step::TargetFind).await;
        self.admitted().await;
        self.find_copies(prefix).await
    }

    async fn read_back(&self, copy: &CopyRef) -> Result<ReadBack> {
        self.read_copy(copy).await
    }

    async fn set_flags(&self, changes: &[(CopyRef, Flags)]) -> Vec<Result<()>> {
        self.reflag(changes).await
    }

    async fn relocate(&self, copies: &[CopyRef], to: &TargetFolderId) -> Vec<Result<String>> {
        self.move_copies(copies, to).await
    }

    async fn remove(&self, copies: &[CopyRef]) -> Vec<Result<(), Error>> {
        self.remove_copies(copies).await
    }
}

//! Maildir as a source (Dovecot and Courier): read as files, never written.
//!
//! A message is named by its base name (what stands before the `:`), which stays when it is read, flagged or moved from
//! `new` to `cur`; so a file renamed between listing and fetch is found again. The declared transform is: bare LF
//! becomes CRLF. Missing `cur`, `new` and `tmp` are empty ones. Links are never followed, FIFOs and devices never
//! opened: such an entry is listed and fails at its fetch, so that nobody mistakes it for moved.

mod folders;
mod name;
mod read;
mod scan;
mod uidlist;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::env::{Env, Step};
use crate::guard::files::{Place, confined};
use crate::model::{Bodies, Error, Kind, Listed, Result, Scope};
use crate::source::{
    Fetched, Listing, Since, Source, SourceCapabilities, SourceFolder, SourceMailbox, Wanted,
};
pub use crate::transform::names::{Coding, Layout};

/// Where a message's received date is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Received {
    /// The file's modification time, as Dovecot keeps it.
    #[default]
    Mtime,
    /// The seconds the base name begins with (the delivery time), for copies that lost their file times; a name
    /// without them falls back on the modification time.
    Name,
}

/// What numbers the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numbers {
    /// The ledger, by base name. Base names outlive index files, so this never starts a folder over.
    #[default]
    Ledger,
    /// `dovecot-uidlist` (version 3), where it covers every message of a folder; else the ledger. For stores that no
    /// longer change: a message that Dovecot has not numbered yet turns its folder from one way to the other, which
    /// counts as a new epoch and costs reading the folder again.
    Uidlist,
}

/// Settings of a Maildir source.
#[derive(Debug, Clone)]
pub struct MaildirSettings {
    /// Where mailboxes lie, as [`Place::parse`] reads it: `/var/mail/{domain}/{user}/Maildir`, or a plain directory
    /// that holds one directory per mailbox.
    pub root: String,
    /// How folders lie below a mailbox's root.
    pub layout: Layout,
    /// What separates the names in a Maildir++ directory name.
    pub separator: char,
    /// How folder names are written.
    pub names: Coding,
    /// The character hexadecimal escapes in folder names begin with (Dovecot's listescape: `\`), if the store has them.
    pub escape: Option<char>,
    /// Where the received date is read.
    pub received: Received,
    /// What numbers the messages.
    pub numbers: Numbers,
}

impl Default for MaildirSettings {
    fn default() -> Self {
        MaildirSettings {
            root: String::new(),
            layout: Layout::PlusPlus,
            separator: '.',
            names: Coding::Auto,
            escape: None,
            received: Received::Mtime,
            numbers: Numbers::Ledger,
        }
    }
}

/// A directory of Maildirs.
#[derive(Debug)]
pub struct MaildirSource {
    env: Env,
    settings: Arc<MaildirSettings>,
    place: Place,
}

impl MaildirSource {
    /// A source with these settings.
    ///
    /// # Errors
    /// `Kind::Config`: the root template cannot be used, or the separator is not an ASCII character other than `/`.
    pub fn new(env: Env, settings: MaildirSettings) -> Result<MaildirSource> {
        let place = Place::parse(&settings.root)?;
        if !settings.separator.is_ascii_graphic() || settings.separator == '/' {
            return Err(Error::new(
                Kind::Config,
                Scope::Run,
                "the separator of a Maildir source cannot be used",
            )
            .remedy("write one ASCII character other than /"));
        }
        Ok(MaildirSource { env, settings: Arc::new(settings), place })
    }
}

#[async_trait]
impl Source for MaildirSource {
    async fn open(&self, mailbox: &str) -> Result<Box<dyn SourceMailbox>> {
        let path = self.place.resolve(mailbox)?;
        let root = self.env.blocking(|| {
            let root = confined(self.place.base(), &path).map_err(|e| self.place.unreachable(&e))?;
            let root = root.ok_or_else(|| {
                Error::new(
                    Kind::Denied,
                    Scope::Mailbox,
                    "the mailbox's directory is a link out of the source's root",
                )
                .remedy("name the directory itself as a root, or put the mailbox where the root says")
            })?;
            folders::check_root(&root, &self.settings)?;
            Ok::<_, Error>(root)
        })?;
        Ok(Box::new(MaildirMailbox {
            env: self.env.clone(),
            settings: Arc::clone(&self.settings),
            root,
            last: Mutex::new(None),
        }))
    }
}

/// One open Maildir.
struct MaildirMailbox {
    env: Env,
    settings: Arc<MaildirSettings>,
    root: PathBuf,
    /// The folder scanned last: saves reading its directory again for every batch.
    last: Mutex<Option<scan::Scan>>,
}

impl MaildirMailbox {
    /// Reads a folder's directory, and its numbers if they are wanted and complete.
    fn scan(&self, folder: &SourceFolder) -> Result<scan::Scan> {
        scan::Scan::of(&self.root, &folder.handle, &self.settings)
    }
}

#[async_trait]
impl SourceMailbox for MaildirMailbox {
    /// `names` is told when the ledger numbers; with `Numbers::Uidlist` single folders may still list names.
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { names: self.settings.numbers == Numbers::Ledger, ..SourceCapabilities::PLAIN }
    }

    async fn folders(&self) -> Result<Vec<SourceFolder>> {
        self.env.step(Step::SourceList).await;
        self.env.blocking(|| folders::folders(&self.root, &self.settings))
    }

    async fn list(
        &self,
        folder: &SourceFolder,
        _since: Option<&Since<'_>>,
        sink: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<Listing> {
        self.env.step(Step::SourceList).await;
        let mut last = self.last.lock().await;
        *last = None;
        let scan = self.env.blocking(|| self.scan(folder))?;
        scan.tell(&self.settings, sink);
        let listing = scan.listing();
        *last = Some(scan);
        Ok(listing)
    }

    async fn fetch(
        &self,
        folder: &SourceFolder,
        epoch: u64,
        wanted: &[Wanted],
        bodies: &Bodies,
    ) -> Result<Vec<Fetched>> {
        self.env.step(Step::SourceFetch).await;
        let mut last = self.last.lock().await;
        if last.as_ref().is_none_or(|scan| scan.handle != folder.handle) {
            *last = Some(self.env.blocking(|| self.scan(folder))?);
        }
        let mut fresh = false;
        let mut out = Vec::with_capacity(wanted.len());
        for one in wanted {
            let fetched = loop {
                let Some(scan) = last.as_ref() else {
                    return Err(Error::new(Kind::Internal, Scope::Folder, "a folder's listing was lost"));
                };
                scan.check_epoch(epoch)?;
                match self.env.blocking(|| read::fetch(scan, &one.id, &self.settings, bodies))? {
                    // Renamed since the directory was read (flags, new → cur): look once more, then believe it.
                    Fetched::Gone if !fresh => {
                        fresh = true;
                        *last = Some(self.env.blocking(|| self.scan(folder))?);
                    }
                    fetched => break fetched,
                }
            };
            out.push(fetched);
            tokio::task::yield_now().await;
        }
        Ok(out)
    }

    async fn release(&self) {
        *self.last.lock().await = None;
    }
}

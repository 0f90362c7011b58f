//! Exchange Web Services as a target: Exchange on premises, hosted Exchange, and other servers that speak it.
//!
//! Messages are created from their MIME, whole, many in one request, with their dates, flags and stamp; each is judged by
//! itself. Items of any class come as the streams they were exported as. The stamp is a named MAPI property, found again
//! by a search through every folder. What an answer means is in `answer`; every request goes through `session`.
//!
//! | file | idea |
//! |---|---|
//! | `tree` | an answer's XML, with limits |
//! | `answer` | what it means |
//! | `auth` | who we are |
//! | `session` | one mailbox's requests |
//! | `sizing` | how much goes into one request |
//! | `store`, `upload`, `find`, `change`, `read`, `folders`, `ahead`, `listing` | what is done with them |
//! | `probe` | what is told before anything is done |

mod ahead;
mod answer;
mod auth;
mod change;
mod config;
mod find;
mod folders;
mod listing;
mod probe;
mod read;
mod session;
mod sizing;
mod store;
mod tree;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use config::{EwsLogin, EwsSettings, MAX_BATCH, MAX_MESSAGE, Version};

use super::{
    Copy, CopyRef, Exported, FolderWanted, Probe, ReadBack, StoreItem, Target, TargetCapabilities,
    TargetFolderId, TargetMailbox,
};
use crate::env::Env;
use crate::http::HttpClient;
use crate::limit::{Cost, Gate, Ticket};
use crate::model::{Error, Flags, Kind, Outcome, Result, Scope, StampPrefix};
use change::Removal;
use folders::Folders;
use session::{Endpoint, Session};
use sizing::Sizing;
use upload::Staging;

/// One EWS endpoint.
pub struct EwsTarget {
    endpoint: Arc<Endpoint>,
}

impl std::fmt::Debug for EwsTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EwsTarget")
    }
}

impl EwsTarget {
    /// An endpoint. Nothing is sent yet; the login is shared by all its mailboxes.
    ///
    /// # Errors
    /// `Config` if an address or the account's name is not usable.
    pub fn new(env: &Env, http: Arc<dyn HttpClient>, settings: EwsSettings) -> Result<EwsTarget> {
        Ok(EwsTarget { endpoint: Arc::new(Endpoint::new(env, http, settings)?) })
    }
}

#[async_trait]
impl Target for EwsTarget {
    async fn open(&self, mailbox: &str, place: &str, gate: Arc<Gate>) -> Result<Arc<dyn TargetMailbox>> {
        let session = Session::new(self.endpoint.clone(), gate, mailbox)?;
        let folders = Folders::open(&session, place).await?;
        let settings = self.endpoint.settings();
        let (batch_messages, batch_bytes) =
            (settings.batch_messages.clamp(1, MAX_BATCH), settings.batch_bytes.clamp(1, MAX_MESSAGE));
        let capabilities = TargetCapabilities {
            stamps: true,
            // The MIME goes there whole, but servers take it apart: what is read back is built anew.
            keeps_octets: false,
            keeps_received: true,
            keeps_keywords: true,
            moves: true,
            streams: true,
            max_message_bytes: settings.max_message_bytes,
            lanes: settings.lanes.clamp(1, 16),
            batch_messages,
            batch_bytes,
            // A server works on a request for a minute.
            settles_within: Duration::from_secs(120),
        };
        let sizing = Sizing::new(batch_messages, batch_bytes);
        Ok(Arc::new(EwsMailbox { session, folders, sizing, staging: Staging::new(), capabilities }))
    }

    async fn probe(&self, mailbox: &str, gate: Arc<Gate>) -> Probe {
        let login = self.endpoint.claims().await;
        match Session::new(self.endpoint.clone(), gate, mailbox) {
            Ok(session) => probe::probe(&session, login, self.endpoint.settings().max_message_bytes).await,
            Err(error) => Probe { login, ..Probe::closed(error) },
        }
    }
}

/// One open mailbox.
struct EwsMailbox {
    session: Session,
    folders: Folders,
    sizing: Sizing,
    staging: Staging,
    capabilities: TargetCapabilities,
}

#[async_trait]
impl TargetMailbox for EwsMailbox {
    fn capabilities(&self) -> &TargetCapabilities {
        &self.capabilities
    }

    fn identity(&self) -> &str {
        &self.folders.identity
    }

    fn cost(&self, sizes: &[u64]) -> Cost {
        store::cost(sizes, self.capabilities.batch_messages)
    }

    /// A request holds all its messages, as base64, beside the octets of the one it is just made of.
    fn building(&self, sizes: &[u64]) -> u64 {
        let largest = sizes.iter().max().copied().unwrap_or_default();
        let all = sizes.iter().fold(0, |sum: u64, size| sum.saturating_add(*size));
        let request = all.min(self.capabilities.batch_bytes.max(largest));
        (request.saturating_mul(4) / 3).saturating_add(largest)
    }

    async fn folder(&self, wanted: &FolderWanted) -> Result<TargetFolderId> {
        self.staging.writes();
        self.folders.get(&self.session, wanted).await
    }

    async fn expect(&self, wanted: &[FolderWanted]) -> Result<()> {
        self.staging.writes();
        self.folders.expect(&self.session, wanted).await
    }

    async fn rename_folder(&self, folder: &TargetFolderId, to: &FolderWanted) -> Result<TargetFolderId> {
        self.folders.rename(&self.session, folder, to).await
    }

    async fn store(&self, folder: &TargetFolderId, items: Vec<StoreItem>, ticket: Ticket) -> Vec<Outcome> {
        self.staging.writes();
        let outcomes =
            store::store(&self.session, &self.sizing, &self.staging, folder, &items, &ticket).await;
        let no_folder = |e: &Error| e.kind == Kind::NotFound && e.scope == Scope::Folder;
        if outcomes.iter().any(|one| matches!(one, Outcome::NotSent(e) if no_folder(e))) {
            self.folders.forget().await;
        }
        outcomes
    }

    async fn find(&self, prefix: &StampPrefix) -> Result<Vec<Copy>> {
        find::find(&self.session, &self.staging, std::slice::from_ref(prefix)).await
    }

    async fn find_each(&self, prefixes: &[StampPrefix]) -> Result<Vec<Copy>> {
        find::find(&self.session, &self.staging, prefixes).await
    }

    async fn read_back(&self, copy: &CopyRef) -> Result<ReadBack> {
        read::read_back(&self.session, copy).await
    }

    async fn export(&self, copy: &CopyRef) -> Result<Exported> {
        read::export(&self.session, copy).await
    }

    async fn set_flags(&self, changes: &[(CopyRef, Flags)]) -> Vec<Result<()>> {
        change::set_flags(&self.session, changes).await
    }

    async fn relocate(&self, copies: &[CopyRef], to: &TargetFolderId) -> Vec<Result<String>> {
        change::relocate(&self.session, copies, to).await
    }

    async fn remove(&self, copies: &[CopyRef]) -> Vec<Result<(), Error>> {
        // What was not finished never was a copy: nobody shall find it among what can be recovered.
        let staged = self.staging.known().await;
        let (inside, outside): (Vec<_>, Vec<_>) = (copies.iter().enumerate())
            .partition(|(_, copy)| staged.as_ref().is_some_and(|staged| *staged == copy.folder.0));
        let mut results: Vec<Result<()>> = copies.iter().map(|_| Ok(())).collect();
        for (how, part) in [(Removal::ForGood, inside), (Removal::Recoverable, outside)] {
            let those: Vec<CopyRef> = part.iter().map(|(_, copy)| (*copy).clone()).collect();
            for ((at, _), one) in part.into_iter().zip(change::remove(&self.session, how, &those).await) {
                results[at] = one;
            }
        }
        results
    }

    fn round_trips(&self) -> u64 {
        self.session.sent()
    }

    async fn release(&self) {
        self.staging.leave(&self.session).await;
    }
}

#[cfg(test)]
mod tests;

//! Mailboxes on an IMAP server, read through `crate::imap`: EXAMINE and BODY.PEEK only, nothing is ever written.
//!
//! A session belongs to one mailbox (it is logged in as it) and is leased from the endpoint's pool for each call.

mod budget;
mod changes;
mod choose;
mod config;
mod fetch;
mod folders;
mod headers;
mod incoming;
mod labels;
mod list;
mod places;
mod plan;
mod pool;
#[cfg(test)]
mod scenarios;
mod turns;
mod walk;
mod whole;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use self::budget::Budgets;
pub use self::config::ImapSettings;
use self::labels::Claims;
pub use self::labels::Labels;
use self::pool::{Holds, LentBy, Pool};
use super::{Fetched, Listing, Since, Source, SourceCapabilities, SourceFolder, SourceMailbox, Turn, Wanted};
use crate::env::{Env, Step};
pub use crate::imap::login::Mechanism;
pub use crate::imap::{Credentials, MasterForm, Server, TlsMode};
use crate::limit::{LentPlace, PlaceLender};
use crate::model::{Bodies, Error, Kind, Listed, Result, Scope};

/// An IMAP endpoint.
pub struct ImapSource {
    pool: Arc<Pool>,
    budgets: Arc<Budgets>,
}

impl std::fmt::Debug for ImapSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImapSource").field("settings", &self.pool.settings).finish_non_exhaustive()
    }
}

impl ImapSource {
    /// An endpoint as the operator describes it. Nothing is connected yet.
    ///
    /// # Errors
    /// The settings cannot work or must not be used ([`Kind::Config`](crate::model::Kind)), or TLS cannot be set up.
    pub fn new(env: Env, settings: ImapSettings) -> Result<ImapSource> {
        ImapSource::made(env, settings, None)
    }

    /// As [`ImapSource::new`], beside another process that reads from the same endpoint, by this name: each connection
    /// takes a place of its, too, for as long as it is there.
    ///
    /// # Errors
    /// As [`ImapSource::new`].
    pub fn beside(
        env: Env,
        settings: ImapSettings,
        name: &str,
        lender: Arc<dyn PlaceLender>,
    ) -> Result<ImapSource> {
        ImapSource::made(env, settings, Some(LentBy { lender, endpoint: name.to_owned() }))
    }

    fn made(env: Env, settings: ImapSettings, lent_by: Option<LentBy>) -> Result<ImapSource> {
        settings.check()?;
        let endpoint = settings.server.endpoint()?;
        let budgets = Arc::new(Budgets::new(settings.daily_bytes));
        Ok(ImapSource { pool: Arc::new(Pool::new(env, settings, endpoint, lent_by)), budgets })
    }
}

#[async_trait]
impl Source for ImapSource {
    async fn open(&self, mailbox: &str) -> Result<Box<dyn SourceMailbox>> {
        if mailbox.is_empty() {
            // On behalf of nobody a master user would come into a mailbox of his own.
            return Err(Error::new(Kind::Config, Scope::Mailbox, "a mailbox has no name")
                .remedy("name it in the list of mailboxes"));
        }
        let owner = self.pool.owner();
        // The login is the proof that the mailbox can be reached; the session lies idle for the first call.
        let lease = match self.pool.lease(owner, mailbox, Holds::Nothing).await {
            Ok(lease) => lease,
            Err(error) => {
                self.pool.forget(owner);
                return Err(error);
            }
        };
        let offer = lease.session()?.capabilities();
        lease.give_back();
        let policy = self.pool.settings.labels;
        let views = offer.has("X-GM-EXT-1") && policy != Labels::Off;
        Ok(Box::new(ImapMailbox {
            pool: self.pool.clone(),
            budgets: self.budgets.clone(),
            owner,
            name: mailbox.to_owned(),
            object_ids: offer.has("OBJECTID"),
            claims: views.then(|| Mutex::new(Claims::new(policy))),
        }))
    }

    async fn lend(&self) -> Option<LentPlace> {
        Some(Box::new(self.pool.lend().await))
    }
}

/// One open mailbox.
struct ImapMailbox {
    pool: Arc<Pool>,
    budgets: Arc<Budgets>,
    owner: u64,
    name: String,
    object_ids: bool,
    /// Folders are views of one store.
    claims: Option<Mutex<Claims>>,
}

#[async_trait]
impl SourceMailbox for ImapMailbox {
    fn capabilities(&self) -> SourceCapabilities {
        // Twice as many as there are sessions: the next call stands ready when a session is given back.
        let fetches = (2 * self.pool.settings.connections_per_mailbox).clamp(1, 16);
        SourceCapabilities {
            object_ids: self.object_ids,
            headers: true,
            fetches,
            views: self.claims.is_some(),
            ..SourceCapabilities::PLAIN
        }
    }

    async fn folders(&self) -> Result<Vec<SourceFolder>> {
        self.pool.env.step(Step::SourceList).await;
        let lease = self.pool.lease(self.owner, &self.name, Holds::Nothing).await?;
        let mut claims = match &self.claims {
            Some(claims) => Some(claims.lock().await),
            None => None,
        };
        let folders = folders::folders(lease.session()?, &self.pool.settings, claims.as_deref_mut()).await;
        lease.give_back();
        folders
    }

    async fn list(
        &self,
        folder: &SourceFolder,
        since: Option<&Since<'_>>,
        sink: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<Listing> {
        self.pool.env.step(Step::SourceList).await;
        let lease = self.pool.lease(self.owner, &self.name, Holds::Nothing).await?;
        let name = folders::wire_name(&folder.handle);
        let window = self.pool.settings.list_messages;
        let mut claims = match &self.claims {
            Some(claims) => Some(claims.lock().await),
            None => None,
        };
        let turn = claims.as_mut().and_then(|claims| claims.turn(&folder.handle));
        let folder = list::Folder { name: &name, counters: folder.counters, window };
        let listing = list::list(lease.session()?, &folder, since, turn, sink).await;
        lease.give_back();
        listing
    }

    async fn headers(
        &self,
        folder: &SourceFolder,
        epoch: u64,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<u64>>> {
        self.pool.env.step(Step::SourceFetch).await;
        let lease = self.pool.lease(self.owner, &self.name, Holds::Nothing).await?;
        let name = folders::wire_name(&folder.handle);
        let headers = headers::headers(lease.session()?, &name, epoch, wanted).await;
        lease.give_back();
        headers
    }

    async fn fetch(
        &self,
        folder: &SourceFolder,
        epoch: u64,
        wanted: &[Wanted],
        bodies: &Bodies,
    ) -> Result<Vec<Fetched>> {
        self.pool.env.step(Step::SourceFetch).await;
        let bytes = wanted.iter().filter_map(|one| one.size).fold(0, u64::saturating_add);
        self.budgets.take(&self.name, bytes, self.pool.env.now(), self.pool.env.wall())?;
        let name = folders::wire_name(&folder.handle);
        let mut fetch = fetch::Fetch::new(&name, epoch, wanted, bodies, self.pool.settings.fetch_messages);
        loop {
            // Alone: the answers of another batch would be taken for strays.
            let mut lease = self.pool.lease(self.owner, &self.name, Holds::Memory).await?;
            let end = fetch.go_on(lease.session()?).await;
            lease.fetched(bytes, &end);
            lease.give_back();
            // A message too large to read past, or at which the server hangs up, costs the session; the others are
            // fetched with a new one.
            if end? == fetch::End::Complete {
                let mut answers = fetch.into_answers();
                if self.claims.is_some() {
                    // Labels are told by the listing, not by the fetch.
                    for answer in &mut answers {
                        if let Fetched::Message { flags, .. } = answer {
                            *flags = None;
                        }
                    }
                }
                return Ok(answers);
            }
        }
    }

    async fn anywhere(&self, objects: &[u64]) -> Result<Vec<bool>> {
        let Some(claims) = &self.claims else { return Ok(vec![true; objects.len()]) };
        self.pool.env.step(Step::SourceList).await;
        let lease = self.pool.lease(self.owner, &self.name, Holds::Nothing).await?;
        let ids: Vec<u64> = objects.iter().copied().filter(|id| *id != 0).collect();
        let found = claims.lock().await.anywhere(lease.session()?, &ids).await;
        lease.give_back();
        let found = found?;
        Ok(objects.iter().map(|id| *id == 0 || found.contains(id)).collect())
    }

    async fn turn(&self) -> Turn {
        Some(Box::new(self.pool.turn(self.owner).await))
    }

    async fn release(&self) {
        self.pool.end(self.owner).await;
    }

    fn round_trips(&self) -> u64 {
        self.pool.round_trips(self.owner)
    }
}

impl Drop for ImapMailbox {
    fn drop(&mut self) {
        // Closes the socket; there is nobody left to wait for a LOGOUT.
        self.pool.forget(self.owner);
    }
}

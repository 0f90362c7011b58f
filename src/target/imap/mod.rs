//! An IMAP server as a target.
//!
//! A copy carries nothing of ours: the ledger knows it by its folder, UIDVALIDITY and UID, and what was in flight when a
//! connection broke is found by the octets that came since an anchor (UIDVALIDITY and UIDNEXT). A folder's id is its name
//! on the wire; a copy's id is `UIDVALIDITY.UID`. The mailbox is identified by its inbox: UIDVALIDITY, and MAILBOXID
//! where the server has it (RFC 8474).
//!
//! All calls of a mailbox share one connection, with many commands in flight. Messages go in batches with MULTIAPPEND
//! (RFC 3502) and without asking first (LITERAL+, RFC 7888) where the server offers that: at the target, how one appends
//! costs more than all else.

mod append;
mod arrivals;
mod config;
mod copies;
mod flags;
mod folders;
mod keeps;
mod looks;
pub mod losses;
mod making;
mod names;
mod oddities;
mod probe;
mod reading;
mod session;
mod shelf;
mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

pub use self::config::ImapTargetSettings;
use self::config::LARGEST_LITERAL;
use self::folders::Folders;
use self::session::{Host, Line, Live};
use self::shelf::{Numbers, Shelves};
use super::{
    Arrival, Copy, CopyIds, CopyRef, FolderWanted, Probe, ReadBack, StoreItem, Target, TargetCapabilities,
    TargetFolderId, TargetMailbox,
};
use crate::env::{Env, Step};
use crate::imap::{Capabilities, ListEntry, UidSet};
use crate::limit::{Answer, Cost, Gate, Ticket};
use crate::model::{Digest, Error, Flags, Kind, Outcome, Result, Scope, StampPrefix, Timestamp};

/// An APPEND whose octets the server has read it carries out at once, also when the connection is gone.
const SETTLES: Duration = Duration::from_secs(3);

/// An IMAP endpoint.
#[derive(Debug)]
pub struct ImapTarget {
    host: Arc<Host>,
}

impl ImapTarget {
    /// An endpoint as the operator describes it. Nothing is connected yet.
    ///
    /// # Errors
    /// The settings cannot work or must not be used ([`Kind::Config`]), or TLS cannot be set up.
    pub fn new(env: Env, settings: ImapTargetSettings) -> Result<ImapTarget> {
        Ok(ImapTarget { host: Arc::new(Host::new(env, settings)?) })
    }
}

#[async_trait]
impl Target for ImapTarget {
    async fn open(&self, mailbox: &str, place: &str, gate: Arc<Gate>) -> Result<Arc<dyn TargetMailbox>> {
        let host = &self.host;
        host.env.step(Step::TargetFolder).await;
        let slot = gate.admit(&gate.lookup(), 0).await;
        let opened = self.open_line(mailbox, place, &gate).await;
        slot.finish(answer(&opened));
        Ok(Arc::new(opened?))
    }

    async fn probe(&self, mailbox: &str, gate: Arc<Gate>) -> Probe {
        self.ask(mailbox, &gate).await
    }
}

impl ImapTarget {
    async fn open_line(&self, mailbox: &str, place: &str, gate: &Arc<Gate>) -> Result<ImapMailbox> {
        let (host, settings) = (&self.host, &self.host.settings);
        let line = Line::new(host, mailbox);
        let live = line.live().await?;
        let session = &live.session;
        // One after the other on the wire, answered together.
        let (spaces, list) =
            futures_util::future::join(session.namespaces(), session.list_status(b"*")).await;
        let (spaces, mut list) = (spaces?, list?);
        if let Some((prefix, _)) = spaces.personal.first()
            && !prefix.is_empty()
            && !list.iter().any(|e| e.name.starts_with(prefix))
        {
            // Some servers leave a namespace out unless it is asked for by name.
            list.extend(session.list_status(&[prefix, &b"*"[..]].concat()).await?);
        }
        let identity = identity(&live, &list).await?;
        let offer = session.capabilities();
        let base =
            settings.below.iter().cloned().chain((!place.is_empty()).then(|| place.to_owned())).collect();
        let shelves = Shelves::default();
        let folders = Folders::new(&spaces, &list, base, settings.subscribe, &shelves)?;
        folders.make_base(&host.env, &live, &shelves).await.map_err(|e| e.scoped(Scope::Mailbox))?;
        drop(live);
        let limits_of_folders = offer.has("APPENDLIMIT");
        let capabilities = capabilities(settings, &offer, largest_of(&list).filter(|_| limits_of_folders));
        Ok(ImapMailbox {
            env: host.env.clone(),
            line,
            gate: gate.clone(),
            folders,
            shelves,
            identity,
            capabilities,
            limits_of_folders,
            // To Cyrus the first second of 1970 is no date, and it refuses those before.
            earliest: offer.is_cyrus().then(|| Timestamp::utc(1)),
            strikes: Mutex::default(),
        })
    }
}

/// The inbox's UIDVALIDITY, and its MAILBOXID where the server has it.
async fn identity(live: &Live, list: &[ListEntry]) -> Result<String> {
    let listed = list.iter().find(|e| e.name.eq_ignore_ascii_case(b"INBOX")).and_then(|e| e.status.clone());
    let status = match listed.filter(|status| status.uid_validity.is_some()) {
        Some(status) => status,
        None => live.session.status(b"INBOX").await.map_err(|e| e.scoped(Scope::Mailbox))?,
    };
    let validity = status.uid_validity.ok_or_else(|| {
        Error::new(Kind::Protocol, Scope::Mailbox, "the target server gives its inbox no UIDVALIDITY").remedy(
            "let the server's operator repair the mailbox's index; without it no copy can be found again",
        )
    })?;
    Ok(match status.mailbox_id {
        Some(id) => format!("{validity}.{id}"),
        None => validity.to_string(),
    })
}

/// The largest message that any folder takes, in bytes, if each of them tells its limit.
fn largest_of(list: &[ListEntry]) -> Option<u64> {
    let folders = list.iter().filter(|e| !e.has("\\Noselect") && !e.has("\\NonExistent"));
    let limits: Option<Vec<u64>> = folders.map(|e| e.status.as_ref()?.append_limit).collect();
    limits?.into_iter().max()
}

/// `folders`: the largest message that any folder takes, where each has a limit of its own.
fn capabilities(
    settings: &ImapTargetSettings,
    offer: &Capabilities,
    folders: Option<u64>,
) -> TargetCapabilities {
    let told = offer.value("APPENDLIMIT").and_then(|limit| limit.parse().ok()).or(folders);
    let usual = told.or(settings.server.preset.max_message).unwrap_or(LARGEST_LITERAL);
    TargetCapabilities {
        stamps: false,
        keeps_octets: true,
        keeps_received: true,
        keeps_keywords: settings.keywords,
        // Else a move would leave the old copy behind, marked: storing anew is as good.
        moves: offer.has("MOVE") || offer.has("UIDPLUS"),
        streams: false,
        max_message_bytes: settings.max_message.unwrap_or(usual).min(told.unwrap_or(LARGEST_LITERAL)),
        lanes: settings.lanes,
        batch_messages: settings.batch_messages,
        batch_bytes: settings.batch_bytes,
        settles_within: SETTLES,
    }
}

/// How a call ended, for the gate.
fn answer<T>(result: &Result<T>) -> Answer {
    match result {
        Err(e) if e.kind == Kind::Throttled => Answer::Throttled(e.retry_after),
        _ => Answer::Served,
    }
}

/// One open mailbox.
struct ImapMailbox {
    env: Env,
    line: Line,
    gate: Arc<Gate>,
    folders: Folders,
    shelves: Shelves,
    identity: String,
    capabilities: TargetCapabilities,
    /// Each folder has its own limit of a message's size (RFC 7889 §3.1).
    limits_of_folders: bool,
    /// The first received date the server keeps, if that is known.
    earliest: Option<Timestamp>,
    /// How often a message was refused without a reason.
    strikes: Mutex<BTreeMap<Digest, u32>>,
}

impl ImapMailbox {
    /// Does something as the gate allows.
    async fn gated<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let slot = self.gate.admit(&self.gate.lookup(), 0).await;
        let result = work.await;
        slot.finish(answer(&result));
        result
    }

    /// The same with a result for each of several things.
    async fn gated_each<T>(&self, work: impl Future<Output = Vec<Result<T>>>) -> Vec<Result<T>> {
        let slot = self.gate.admit(&self.gate.lookup(), 0).await;
        let results = work.await;
        let throttled = results.iter().find(|r| r.as_ref().is_err_and(|e| e.kind == Kind::Throttled));
        slot.finish(throttled.map_or(Answer::Served, answer));
        results
    }

    /// The numbers of a folder, asked for if they are not known.
    async fn numbers_of(&self, live: &Live, folder: &str) -> Result<Numbers> {
        let shelf = self.shelves.get(folder);
        if shelf.numbers().anchor().is_none() {
            let _alone = live.alone().await;
            shelf.learn_status(&live.session.status(folder.as_bytes()).await?);
        }
        if shelf.numbers().anchor().is_none() {
            // It does not foretell UIDs: the highest one there is says as much.
            let opened = live.open(folder).await?;
            let _alone = live.alone().await;
            let found = live.session.uid_search(&UidSet::range(1, u32::MAX), "ALL").await?;
            shelf.stored(opened.told.uid_validity, found.max.unwrap_or(0));
        }
        Ok(shelf.numbers())
    }
}

#[async_trait]
impl TargetMailbox for ImapMailbox {
    fn capabilities(&self) -> &TargetCapabilities {
        &self.capabilities
    }

    fn identity(&self) -> &str {
        &self.identity
    }

    fn cost(&self, sizes: &[u64]) -> Cost {
        let requests = sizes.len().div_ceil(self.capabilities.batch_messages);
        Cost {
            requests: u32::try_from(requests).unwrap_or(u32::MAX),
            upload_bytes: sizes.iter().fold(0u64, |sum, size| sum.saturating_add(*size)),
        }
    }

    async fn expect(&self, wanted: &[FolderWanted]) -> Result<()> {
        self.gated(async {
            let live = self.line.live().await?;
            self.folders.make_ahead(&self.env, &live, wanted, &self.shelves).await
        })
        .await
    }

    async fn folder(&self, wanted: &FolderWanted) -> Result<TargetFolderId> {
        if let Some(name) = self.folders.known(wanted).await {
            return Ok(TargetFolderId(name));
        }
        self.gated(async {
            let live = self.line.live().await?;
            self.folders.get(&self.env, &live, wanted, &self.shelves).await.map(TargetFolderId)
        })
        .await
    }

    async fn rename_folder(&self, folder: &TargetFolderId, to: &FolderWanted) -> Result<TargetFolderId> {
        self.gated(async {
            let live = self.line.live().await?;
            self.folders.rename(&self.env, &live, &folder.0, to, &self.shelves).await.map(TargetFolderId)
        })
        .await
    }

    async fn store(&self, folder: &TargetFolderId, items: Vec<StoreItem>, ticket: Ticket) -> Vec<Outcome> {
        self.store_batch(folder, items, ticket).await
    }

    async fn find(&self, _prefix: &StampPrefix) -> Result<Vec<Copy>> {
        Err(Error::new(Kind::Internal, Scope::Mailbox, "copies on an IMAP server carry no stamp"))
    }

    async fn anchor(&self, folder: &TargetFolderId) -> Result<String> {
        let known = self.shelves.get(&folder.0).numbers();
        if let Some(anchor) = known.anchor() {
            return Ok(anchor);
        }
        self.gated(async {
            let live = self.line.live().await?;
            let numbers = self.numbers_of(&live, &folder.0).await?;
            numbers.anchor().ok_or_else(|| {
                Error::new(Kind::Protocol, Scope::Folder, "the target server gives a folder no UIDVALIDITY")
                    .remedy("let the server's operator repair the folder's index; without it no copy can be found again")
            })
        })
        .await
    }

    async fn stored_since(
        &self,
        folder: &TargetFolderId,
        anchor: &str,
        known: &CopyIds,
    ) -> Result<Vec<Arrival>> {
        self.gated(async {
            self.env.step(Step::TargetFind).await;
            let live = self.line.live().await?;
            arrivals::since(&live, &folder.0, &self.shelves.get(&folder.0), anchor, known).await
        })
        .await
    }

    async fn look(&self, copies: &[CopyRef]) -> Result<Vec<Option<Flags>>> {
        self.gated(self.look_at(copies)).await
    }

    async fn read_back(&self, copy: &CopyRef) -> Result<ReadBack> {
        self.gated(self.read_copy(copy)).await
    }

    async fn marks(&self) -> Result<BTreeMap<TargetFolderId, String>> {
        self.gated(async {
            let live = self.line.live().await?;
            let list = {
                let _alone = live.alone().await;
                live.session.list_status(b"*").await?
            };
            let mark = |entry: &ListEntry| {
                let status = entry.status.as_ref()?;
                let modseq = status.modseq.filter(|modseq| *modseq > 0)?;
                let numbers = Numbers { validity: status.uid_validity?, next: status.uid_next? };
                let mark = numbers.mark(status.messages?, modseq)?;
                let name = std::str::from_utf8(&entry.name).ok()?;
                let name = if name.eq_ignore_ascii_case("INBOX") { "INBOX" } else { name };
                Some((TargetFolderId(name.to_owned()), mark))
            };
            Ok(list.iter().filter_map(mark).collect())
        })
        .await
    }

    async fn set_flags(&self, changes: &[(CopyRef, Flags)]) -> Vec<Result<()>> {
        self.gated_each(self.reflag(changes)).await
    }

    async fn relocate(&self, copies: &[CopyRef], to: &TargetFolderId) -> Vec<Result<String>> {
        self.gated_each(self.move_copies(copies, to)).await
    }

    async fn remove(&self, copies: &[CopyRef]) -> Vec<Result<()>> {
        self.gated_each(self.remove_copies(copies)).await
    }

    fn round_trips(&self) -> u64 {
        self.line.round_trips()
    }

    async fn release(&self) {
        self.line.end().await;
    }
}

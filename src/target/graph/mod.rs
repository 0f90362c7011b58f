//! Microsoft Graph as a target (design: Graph is strange).
//!
//! Write mode `json`: a copy is created in its folder with its dates, flags and stamp in one request; large files follow
//! (`store`, `upload`). Write mode `import-mime`: the MIME as it is, then its flags (`import_mime`). A message goes by the
//! first mode of the settings that takes it; an opaque stream by write mode `import-stream` alone (`import_stream`). The stamp is a named MAPI property, found again by a filter over the whole
//! mailbox. What an answer means is in `answer`; every request goes through `session`, several at a time through `batch`.

mod ahead;
mod answer;
mod batch;
mod change;
mod config;
mod export;
mod find;
mod folders;
mod import_mime;
mod import_stream;
mod probe;
mod read;
mod session;
mod staging;
mod store;
mod stream_class;
mod stream_door;
mod upload;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use serde_json::Value;

pub use crate::transform::graph::Original;
pub use config::{AppRegistration, GraphSettings, TokenSettings};

use super::{
    Copy, CopyRef, Exported, FolderWanted, OnRecord, Probe, ReadBack, StoreItem, Target, TargetCapabilities,
    TargetFolderId, TargetMailbox,
};
use crate::env::Env;
use crate::http::HttpClient;
use crate::http::oauth::{Tenant, TokenSource};
use crate::limit::{Cost, Gate, Ticket, app_of};
use crate::model::{Body, Error, Flags, Form, Kind, Outcome, Result, Scope, StampPrefix, WriteMode};
use config::Base;
use folders::Folders;
use import_mime::Import;
use import_stream::Streams;
use session::{Call, Session};
use staging::Common;

/// Messages and bytes of one batch. Its intent and its outcome are made durable each by itself: fewer and larger batches cost
/// less; what it may hold in memory is bounded by its bytes, and by the mailbox's share of the memory.
const BATCH_MESSAGES: usize = 40;
const BATCH_BYTES: u64 = 4 << 20;

/// One Graph endpoint with its app registrations.
pub struct GraphTarget {
    env: Env,
    http: Arc<dyn HttpClient>,
    settings: GraphSettings,
    base: Base,
    /// The apps' names, and the tokens of each.
    apps: Vec<String>,
    tokens: Vec<Arc<TokenSource>>,
    streams: Arc<Common>,
}

impl std::fmt::Debug for GraphTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GraphTarget({})", self.settings.name)
    }
}

impl GraphTarget {
    /// An endpoint. Nothing is sent yet; tokens are shared by all its mailboxes.
    ///
    /// # Errors
    /// `Config` if an address is not usable.
    pub fn new(env: &Env, http: Arc<dyn HttpClient>, settings: GraphSettings) -> Result<GraphTarget> {
        let base = Base::parse(&settings.base_url, settings.plain_http, "base_url")?;
        let tenant = Tenant::named(settings.tenant.as_deref());
        let tokens = settings.apps.iter().map(|app| {
            let source = TokenSource::new(env, http.clone(), app.token.clone(), settings.plain_http)?;
            Ok(Arc::new(source.of_tenant(tenant.clone())))
        });
        let tokens = tokens.collect::<Result<Vec<_>>>()?;
        let apps = settings.apps.iter().map(|app| app.name.clone()).collect();
        Ok(GraphTarget { env: env.clone(), http, settings, base, apps, tokens, streams: Arc::default() })
    }

    /// The tokens of the app a mailbox stays on.
    fn tokens(&self, mailbox: &str) -> Result<Arc<TokenSource>> {
        self.tokens
            .get(app_of(&self.apps, mailbox))
            .cloned()
            .ok_or_else(|| Error::new(Kind::Config, Scope::Endpoint, "the endpoint has no app registration"))
    }
}

#[async_trait]
impl Target for GraphTarget {
    async fn open(&self, mailbox: &str, place: &str, gate: Arc<Gate>) -> Result<Arc<dyn TargetMailbox>> {
        self.opened(mailbox, place, gate, None).await
    }

    async fn reopen(
        &self,
        mailbox: &str,
        place: &str,
        gate: Arc<Gate>,
        known: &OnRecord,
    ) -> Result<Arc<dyn TargetMailbox>> {
        self.opened(mailbox, place, gate, Some(known)).await
    }

    async fn probe(&self, mailbox: &str, gate: Arc<Gate>) -> Probe {
        let tokens = match self.tokens(mailbox) {
            Ok(tokens) => tokens,
            Err(error) => return Probe::closed(error),
        };
        let login = tokens.get().await.map(|token| token.claims());
        let (http, base, bounds) = (self.http.clone(), self.base.clone(), self.settings.bounds);
        let session = Session::new(&self.env, http, base, tokens, gate, bounds, mailbox);
        let app = self.apps.get(app_of(&self.apps, mailbox)).map_or("", String::as_str);
        probe::probe(&session, login, app, self.settings.max_message_bytes).await
    }
}

impl GraphTarget {
    async fn opened(
        &self,
        mailbox: &str,
        place: &str,
        gate: Arc<Gate>,
        known: Option<&OnRecord>,
    ) -> Result<Arc<dyn TargetMailbox>> {
        let (http, base, tokens) = (self.http.clone(), self.base.clone(), self.tokens(mailbox)?);
        let modes = self.settings.modes.clone();
        let imports = modes.contains(&WriteMode::ImportMime);
        let session = Session::new(&self.env, http, base, tokens, gate, self.settings.bounds, mailbox)
            .attaching(self.settings.attach_original)
            .with_header_stamps(imports);
        let (root, counted) = match known {
            Some(known) => ask_ahead(&session, known).await,
            None => (None, None),
        };
        let folders = Folders::open(&session, place, root).await?;
        let on_record = known.into_iter().flat_map(|known| &known.folders).map(|folder| folder.0.clone());
        let hosts = self.settings.import_hosts.clone();
        let mut streams = Streams::new(self.streams.clone(), self.streams.staging(mailbox), hosts);
        let takes_streams = modes.contains(&WriteMode::ImportStream);
        if takes_streams {
            streams = streams.open(&session).await?;
        }
        let mut max_message_bytes = self.settings.max_message_bytes;
        if modes == [WriteMode::ImportStream] {
            max_message_bytes = max_message_bytes.min(stream_class::LARGEST);
        }
        let capabilities = TargetCapabilities {
            stamps: true,
            keeps_octets: false,
            // By `importMime` it is what the service makes of it; what it did not keep is declared.
            keeps_received: !imports,
            keeps_keywords: true,
            moves: true,
            streams: takes_streams && streams.is_open(),
            max_message_bytes,
            lanes: self.settings.lanes.clamp(1, 4),
            batch_messages: BATCH_MESSAGES,
            batch_bytes: BATCH_BYTES,
            settles_within: Duration::from_secs(600),
        };
        Ok(Arc::new(GraphMailbox {
            session,
            folders,
            capabilities,
            modes,
            import: Import::default(),
            streams,
            on_record: on_record.collect(),
            counted: Mutex::new(counted),
        }))
    }
}

/// The root and the copies in one round trip, where the copies fit one answer; each `None` if it is to be asked for by itself.
async fn ask_ahead(session: &Session, known: &OnRecord) -> (Option<Value>, Option<Vec<Copy>>) {
    if !known.copies.is_some_and(find::fits) {
        return (None, None);
    }
    let root = session.call(Method::GET, folders::ROOT, Bytes::new(), folders::STEP, folders::WHAT);
    let calls: Vec<Call> = std::iter::once(root).chain(find::questions(session, &known.stamps)).collect();
    let mut replies = session.batch(&calls).await.into_iter();
    let root = replies.next().flatten().filter(|reply| reply.status == 200).and_then(|reply| reply.json());
    (root, find::answered(session, &known.stamps, replies).await)
}

/// One open mailbox.
#[derive(Debug)]
struct GraphMailbox {
    session: Session,
    folders: Folders,
    capabilities: TargetCapabilities,
    modes: Vec<WriteMode>,
    import: Import,
    streams: Streams,
    /// Folders that copies were put into before it was opened.
    on_record: BTreeSet<String>,
    /// The copies as they were told when it was opened, as long as nothing was done to one since.
    counted: Mutex<Option<Vec<Copy>>>,
}

#[async_trait]
impl TargetMailbox for GraphMailbox {
    fn capabilities(&self) -> &TargetCapabilities {
        &self.capabilities
    }

    fn identity(&self) -> &str {
        &self.folders.identity
    }

    fn cost(&self, sizes: &[u64]) -> Cost {
        let bounds = self.session.bounds();
        let one = |size: &u64| {
            let modes = self.modes.iter().filter_map(|mode| match mode {
                WriteMode::Json => Some(store::cost(*size, bounds)),
                WriteMode::ImportMime => import_mime::cost(*size, bounds.request),
                WriteMode::ImportStream => Some(import_stream::cost(*size)),
                WriteMode::Usual => None,
            });
            // Whichever takes it; the one after a refusal is charged as it goes.
            modes.fold(Cost::default(), |most, one| Cost {
                requests: most.requests.max(one.requests),
                upload_bytes: most.upload_bytes.max(one.upload_bytes),
            })
        };
        sizes.iter().map(one).fold(Cost::default(), |sum, one| Cost {
            requests: sum.requests.saturating_add(one.requests),
            upload_bytes: sum.upload_bytes.saturating_add(one.upload_bytes),
        })
    }

    /// One message at a time, and of a large one a piece at a time, as JSON around base64.
    fn building(&self, sizes: &[u64]) -> u64 {
        let request = self.session.bounds().request as u64;
        sizes.iter().max().map_or(0, |largest| (*largest).min(request)).saturating_mul(3)
    }

    async fn folder(&self, wanted: &FolderWanted) -> Result<TargetFolderId> {
        self.folders.get(&self.session, wanted).await
    }

    async fn rename_folder(&self, folder: &TargetFolderId, to: &FolderWanted) -> Result<TargetFolderId> {
        self.folders.rename(&self.session, folder, to).await.map(|()| folder.clone())
    }

    /// Mode by mode: a later one gets what the ones before it did not take.
    async fn store(
        &self,
        folder: &TargetFolderId,
        mut items: Vec<StoreItem>,
        ticket: Ticket,
    ) -> Vec<Outcome> {
        self.counted();
        let mut outcomes: Vec<Option<Outcome>> = items.iter().map(|_| None).collect();
        for mode in &self.modes {
            let open: Vec<usize> = (0..items.len())
                .filter(|at| outcomes[*at].is_none() && takes(*mode, &items[*at].form))
                .collect();
            if open.is_empty() {
                continue;
            }
            let left = |items: &[StoreItem]| -> Vec<_> { open.iter().map(|at| items[*at].clone()).collect() };
            let told = match mode {
                WriteMode::ImportMime => {
                    self.import.store(&self.session, folder, &left(&items), &ticket).await
                }
                WriteMode::ImportStream => {
                    self.streams.store(&self.session, folder, &left(&items), &ticket).await
                }
                _ => self.store_as_json(folder, &mut items, &open, &ticket).await,
            };
            for (at, outcome) in open.into_iter().zip(told) {
                outcomes[at] = outcome;
            }
            // What concerns the whole mailbox concerns the next mode as well; but streams have a way of their own.
            let same = outcomes.iter().zip(&items).filter(|(_, item)| takes(*mode, &item.form));
            let error = same.filter_map(|(outcome, _)| ends_the_batch(outcome.as_ref()?)).next().cloned();
            if let Some(error) = error {
                if error.kind == Kind::NotFound {
                    self.folders.forget().await;
                }
                for (outcome, item) in outcomes.iter_mut().zip(&items) {
                    if takes(*mode, &item.form) {
                        outcome.get_or_insert_with(|| Outcome::NotSent(error.clone()));
                    }
                }
            }
        }
        let no_mode = |item: &StoreItem| {
            let what = "no write mode of this target takes the message";
            Outcome::Refused(Error::new(Kind::Refused, Scope::Message, what).remedy(match item.form {
                Form::Mime => {
                    "let `json` be the last of the target's `modes`: it takes what others do not, drafts among them"
                }
                Form::Stream { .. } => "add `import-stream` to the target's `modes`: no other takes items as streams",
            }))
        };
        let told = outcomes.into_iter().zip(&items);
        told.map(|(outcome, item)| outcome.unwrap_or_else(|| no_mode(item))).collect()
    }

    async fn find(&self, prefix: &StampPrefix) -> Result<Vec<Copy>> {
        self.streams.tidy(&self.session).await;
        self.judged(find::find(&self.session, prefix).await?).await
    }

    async fn census(&self, prefix: &StampPrefix) -> Result<Vec<Copy>> {
        match self.counted() {
            Some(copies) if copies.iter().all(|copy| prefix.covers(&copy.stamp)) => self.judged(copies).await,
            _ => self.find(prefix).await,
        }
    }

    async fn export(&self, copy: &CopyRef) -> Result<Exported> {
        self.streams.export(&self.session, copy).await
    }

    async fn read_back(&self, copy: &CopyRef) -> Result<ReadBack> {
        read::read_back(&self.session, &copy.id).await
    }

    async fn find_each(&self, prefixes: &[StampPrefix]) -> Result<Vec<Copy>> {
        self.streams.tidy(&self.session).await;
        self.judged(find::find_each(&self.session, prefixes).await?).await
    }

    async fn expect(&self, wanted: &[FolderWanted]) -> Result<()> {
        self.folders.expect(&self.session, wanted).await
    }

    async fn set_flags(&self, changes: &[(CopyRef, Flags)]) -> Vec<Result<()>> {
        self.counted();
        change::set_flags(&self.session, changes).await
    }

    async fn relocate(&self, copies: &[CopyRef], to: &TargetFolderId) -> Vec<Result<String>> {
        self.counted();
        change::relocate(&self.session, copies, to).await
    }

    async fn remove(&self, copies: &[CopyRef]) -> Vec<Result<(), Error>> {
        self.counted();
        change::remove(&self.session, copies).await
    }

    fn round_trips(&self) -> u64 {
        self.session.sent()
    }
}

/// Is this what the mode is for?
fn takes(mode: WriteMode, form: &Form) -> bool {
    (mode == WriteMode::ImportStream) == matches!(form, Form::Stream { .. })
}

impl GraphMailbox {
    /// The copies as they were told when the mailbox was opened, once; what is done to one makes them worthless.
    fn counted(&self) -> Option<Vec<Copy>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Nothing in the staging folder is a copy, also where `import-stream` is not among the modes any more. It is asked for
    /// only if copies lie in folders that nobody asked for and none is on record in.
    async fn judged(&self, mut copies: Vec<Copy>) -> Result<Vec<Copy>> {
        if copies.is_empty() {
            return Ok(copies);
        }
        let known = self.folders.asked_for().await;
        let ours = |folder: &String| self.on_record.contains(folder) || known.contains(folder);
        let elsewhere = copies.iter().any(|copy| !ours(&copy.folder.0));
        if !elsewhere {
            return Ok(copies);
        }
        let staging = match self.streams.staging.look(&self.session).await {
            // A service that cannot be asked like this was never given a stream.
            Err(e) if !e.may_pass() && !self.modes.contains(&WriteMode::ImportStream) => None,
            staging => staging?,
        };
        for copy in copies.iter_mut().filter(|copy| Some(&copy.folder.0) == staging.as_ref()) {
            copy.complete = false;
        }
        Ok(copies)
    }

    /// One after the other: lanes give the concurrency, and four requests at once per mailbox are all there is. An
    /// error that concerns more than its message ends the batch: the rest is *not sent*, for the same reason. No mode gets
    /// what this one has judged, so the octets of each message are let go with its outcome.
    async fn store_as_json(
        &self,
        folder: &TargetFolderId,
        items: &mut [StoreItem],
        open: &[usize],
        ticket: &Ticket,
    ) -> Vec<Option<Outcome>> {
        let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(open.len());
        for at in open {
            let item = &mut items[*at];
            let outcome = match outcomes.last().and_then(|o| ends_the_batch(o.as_ref()?)) {
                Some(error) => Outcome::NotSent(error.clone()),
                None => store::store(&self.session, folder, item, ticket).await,
            };
            item.body = Body::from_bytes(Bytes::new());
            outcomes.push(Some(outcome));
        }
        outcomes
    }
}

fn ends_the_batch(outcome: &Outcome) -> Option<&Error> {
    match outcome {
        Outcome::NotSent(error) => Some(error),
        _ => None,
    }
}

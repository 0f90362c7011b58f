//! A mock of Microsoft Graph's mail service, as strict as the service and in possession of the truth.
//!
//! [`GraphMock::handle`] takes one request and says what became of it; time comes from a [`World`], every random draw
//! from one seed. The heart (`core`) is synchronous and behind one lock; only waiting is asynchronous. What the
//! documentation leaves open is an option ([`GraphOptions`]), so that clients are tested both ways.
//!
//! Promises: a request once admitted is acted on although its caller vanishes (its octets were sent); ids are drawn
//! anew when a state is deleted; nothing here is shared with the clients.

mod act;
mod assertion;
mod attachments;
mod batch;
mod call;
mod copies;
mod core;
mod date;
mod delta;
mod exchange;
mod exchange_items;
mod faults;
mod filter;
mod folders;
mod head;
mod ids;
mod input;
mod json;
mod limits;
mod mailbox;
mod messages;
mod mime;
mod options;
mod packed;
mod plain;
mod property;
mod query;
mod record;
mod render;
mod reply;
mod shapes;
mod spoiled;
mod state;
mod token;
mod truth;
mod well_known;
mod work;

pub use faults::{Fault, FaultRule, FaultScript, When};
pub use limits::Pace;
pub use options::{
    App, DeltaExpired, Federated, GraphOptions, Language, Latency, Limits, RetryAfter, Sizes, UnknownMailbox,
    Windows,
};
pub use truth::{AttachmentTruth, Counters, FolderTruth, MailboxTruth, MessageTruth, Truth};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, OnceLock};

use bytes::Bytes;

use self::core::{Core, Entry};
use self::head::{Area, Head};
use self::reply::{Refusal, Reply};
use self::work::Work;
use super::service::Announced;
use super::service::shell::{Heart, Shell};
use super::{Wire, World};

/// The mock of one tenant.
pub struct GraphMock {
    shell: Arc<Shell<Core>>,
    options: Arc<GraphOptions>,
    recorder: OnceLock<record::Recorder>,
}

impl std::fmt::Debug for GraphMock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GraphMock")
    }
}

impl GraphMock {
    /// A tenant that lives in memory. One seed, one world: one behaviour.
    pub fn new(options: GraphOptions, world: Arc<dyn World>) -> Arc<GraphMock> {
        let options = Arc::new(options);
        let core = Core::new(options.clone(), options.seed, world.now());
        GraphMock::with(options, core, world, None)
    }

    /// A tenant kept in `dir`, which is made if missing. Without a state in it the tenant is a new one, with ids that
    /// were never given before.
    ///
    /// # Errors
    /// The directory or the state in it cannot be read or is not one.
    pub fn open(dir: &Path, options: GraphOptions, world: Arc<dyn World>) -> Result<Arc<GraphMock>, String> {
        let options = Arc::new(options);
        let now = world.now();
        let seed =
            options.seed ^ u64::try_from(now).unwrap_or(0).rotate_left(20) ^ u64::from(std::process::id());
        let mut core = Core::new(options.clone(), seed, now);
        core.load(dir)?;
        core.provision_listed(now);
        Ok(GraphMock::with(options, core, world, Some(dir.to_owned())))
    }

    fn with(
        options: Arc<GraphOptions>,
        core: Core,
        world: Arc<dyn World>,
        dir: Option<PathBuf>,
    ) -> Arc<GraphMock> {
        let shell = Shell::new(core, world, dir, options.save_every);
        Arc::new(GraphMock { shell, options, recorder: OnceLock::new() })
    }

    /// Writes the state to its directory, all or nothing. Does nothing for a tenant in memory.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn save(&self) -> Result<(), String> {
        self.shell.save()
    }

    /// The options it was made with.
    pub fn options(&self) -> &GraphOptions {
        &self.options
    }

    /// Everything it knows, late commits that are due included.
    pub fn truth(&self) -> Truth {
        self.shell.settled().truth()
    }

    /// What it knows of one mailbox, late commits that are due included; `None`: there is none with this address.
    pub fn truth_of(&self, address: &str) -> Option<MailboxTruth> {
        self.shell.settled().truth_of(&address.to_lowercase())
    }

    /// How well the windows of all mailboxes were used so far, while they were what bound.
    pub fn pace(&self) -> Pace {
        self.core().pace()
    }

    /// What was asked and answered so far.
    pub fn counters(&self) -> Counters {
        self.core().counters.clone()
    }

    /// How many requests changed something so far.
    pub fn writes(&self) -> u64 {
        self.core().counters.writes()
    }

    /// The addresses of the mailboxes that exist.
    pub fn mailboxes(&self) -> BTreeSet<String> {
        self.core().addresses()
    }

    /// Plays a script of faults from now on, in place of the one before. Counts begin at zero.
    pub fn faults(&self, script: FaultScript) {
        self.core().set_faults(script);
    }

    /// How often each fault of the script fired.
    pub fn fault_counts(&self) -> BTreeMap<String, u64> {
        self.core().fault_counts()
    }

    /// Writes what is asked and answered from now on to a file, as JSON lines, without tokens and secrets; see `record`
    /// for their form. A second call changes nothing.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn record(&self, path: &Path) -> Result<(), String> {
        let recorder = record::Recorder::new(path)
            .map_err(|e| format!("the record of requests cannot be written: {e}"))?;
        let _ = self.recorder.set(recorder);
        Ok(())
    }

    /// Makes every token given so far invalid: the next request of each client is refused with 401.
    pub fn revoke_tokens(&self) {
        self.core().revoke_tokens();
    }

    /// Ends every import session: its address is worth nothing from now on.
    pub fn end_import_sessions(&self) {
        self.core().end_import_sessions();
    }

    /// The client's world is frozen: every request whose octets were sent is acted on now. The number of acts.
    pub fn freeze_later_commits(&self) -> usize {
        self.shell.settle_all()
    }

    /// The client's world is frozen: no request under way is ever acted on. The number of acts forgotten.
    pub fn forget_pending(&self) -> usize {
        self.core().pending().forget()
    }

    /// Forgets mailboxes and counters: an empty tenant with other ids.
    pub fn reset(&self) {
        self.core().reset(self.shell.now());
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.shell.heart()
    }

    /// Takes one request and says what became of it. The URI may be absolute, or a path with a `Host` header.
    pub async fn handle(self: &Arc<Self>, request: http::Request<Bytes>) -> Wire {
        let asked = self.recorder.get().map(|_| record::Asked::read(&request));
        let head = Head::read(&request, self.options.base_url.as_deref());
        let body = request.into_body();
        let wire = match head {
            Err(refusal) => {
                let reply = self.core().refuse(&refusal, self.shell.now());
                self.answer(None, reply)
            }
            Ok(head) if head.area == Area::Batch => self.batch(&head, &body).await,
            Ok(head) => self.single(&head, body).await,
        };
        if let (Some(recorder), Some(asked)) = (self.recorder.get(), asked) {
            recorder.write(asked, &wire);
        }
        self.shell.save_if_due();
        wire
    }

    /// One request that is not a batch: limits, latency, act, answer, and the faults between.
    async fn single(self: &Arc<Self>, head: &Head, body: Bytes) -> Wire {
        let entry = self.core().enter(head, &body, self.shell.now());
        let admission = match entry {
            Entry::Answer(reply) => return self.answer(Some(head), reply),
            Entry::Admit(admission) => admission,
        };
        if let Area::Upload { session } = &head.area {
            let now = self.shell.now();
            let reply = match admission.fault {
                Some(Fault::EndUpload) => Some(self.core().end_upload(session, now)),
                Some(Fault::ChunkLost) => Some(self.core().lose_chunk(session, now)),
                _ => None,
            };
            if let Some(reply) = reply {
                self.core().leave(&admission.who);
                return self.answer(Some(head), reply);
            }
        }
        let slot = self.shell.slot(admission.who);
        match admission.fault.clone() {
            Some(Fault::ResetBefore) => return Wire::NeverArrived,
            Some(Fault::ResetAt { octets }) if body.len() > octets => return Wire::NeverArrived,
            Some(Fault::EndToken) => {
                let reply = self.core().end_token(head, self.shell.now());
                return self.answer(Some(head), reply);
            }
            Some(Fault::Answer { status, code, retry_after, done: false }) => {
                self.shell.pause(admission.wait).await;
                let (code, wait) = (code.as_deref(), retry_after.as_deref());
                let reply = self.core().fault_answer(status, code, wait, self.shell.now());
                return self.answer(Some(head), reply);
            }
            Some(Fault::Status { status, retry_after }) => {
                self.shell.pause(admission.wait).await;
                let reply = self.core().fault_reply(status, retry_after, self.shell.now());
                return self.answer(Some(head), reply);
            }
            _ => {}
        }
        let work = match Work::read(head, slot.who(), body, &self.options) {
            Ok(work) => work,
            Err(refusal) => {
                self.shell.pause(admission.wait).await;
                let reply = self.core().refuse(&refusal, self.shell.now());
                return self.answer(Some(head), reply);
            }
        };
        if let Some(Fault::LateCommit { after_ms, gateway_timeout }) = admission.fault {
            let due = self.shell.now().saturating_add(self.options.scaled_ms(after_ms));
            self.core().pending().defer(work, due, true);
            self.shell.pause(admission.wait).await;
            if !gateway_timeout {
                return Wire::NoAnswer;
            }
            let reply = self.core().fault_reply(504, None, self.shell.now());
            return self.answer(Some(head), reply);
        }
        let reply = self.shell.act_after(work, admission.wait).await;
        drop(slot);
        match reply {
            Some(reply) => self.spoil(head, reply, admission.fault).await,
            None => Wire::NoAnswer,
        }
    }

    /// What a fault makes of an answer.
    async fn spoil(self: &Arc<Self>, head: &Head, reply: Reply, fault: Option<Fault>) -> Wire {
        let mut reply = reply;
        match fault {
            Some(Fault::ResetAfter) => return Wire::NoAnswer,
            Some(Fault::DoneBut { status, retry_after }) => {
                let reply = self.core().fault_reply(status, retry_after, self.shell.now());
                return self.answer(Some(head), reply);
            }
            Some(Fault::Answer { status, code, retry_after, .. }) => {
                let (code, wait) = (code.as_deref(), retry_after.as_deref());
                let reply = self.core().fault_answer(status, code, wait, self.shell.now());
                return self.answer(Some(head), reply);
            }
            Some(Fault::EmptyBody) => reply.body = Bytes::new(),
            Some(Fault::HtmlBody) => {
                reply.body = Bytes::from_static(
                    b"<!DOCTYPE html><html><body>Our services aren't available right now</body></html>",
                );
                reply.headers = vec![("content-type", "text/html".into())];
            }
            Some(Fault::Lost) => self.core().undo(&reply),
            Some(Fault::Slow { ms }) => self.shell.pause(self.options.scaled(ms)).await,
            Some(Fault::Truncated { keep }) => {
                let announced = Announced(reply.body.len());
                reply.body.truncate(keep);
                let mut wire = self.answer(Some(head), reply);
                if let Wire::Answered(response) = &mut wire {
                    response.extensions_mut().insert(announced);
                }
                return wire;
            }
            _ => {}
        }
        self.answer(Some(head), reply)
    }

    fn answer(&self, head: Option<&Head>, reply: Reply) -> Wire {
        let id = self.core().request_id();
        let client = head.and_then(|h| h.client_request_id.clone());
        Wire::Answered(reply.into_response(&id, client.as_deref().unwrap_or(&id)))
    }

    fn refuse(&self, head: &Head, refusal: &Refusal) -> Wire {
        let reply = self.core().refuse(refusal, self.shell.now());
        self.answer(Some(head), reply)
    }
}

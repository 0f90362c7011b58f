//! A mock of Exchange Web Services, as strict as the service and in possession of the truth.
//!
//! [`EwsMock::handle`] takes one request and says what became of it; time comes from a [`World`], every random draw
//! from one seed. The heart (`core`) is synchronous and behind one lock; only waiting is asynchronous. What the
//! documentation leaves open is an option ([`EwsOptions`]), so that clients are tested both ways.
//!
//! In process, for tests: `EwsMock::new(EwsOptions::default(), world)`, then each request to
//! `https://any.host/EWS/Exchange.asmx` goes to `handle`. With the default options any name logs in with the password
//! `secret` (Basic) or gets a token for the secret `secret` at `/TENANT/oauth2/v2.0/token`, may impersonate any
//! address, which is a mailbox from then on, and must send that address as `X-AnchorMailbox`.
//! Over TCP: see `mock::server`.
//!
//! Promises: a request once admitted is acted on although its caller vanishes (its octets were sent); a request is held
//! to the schema's order of elements before anything is done; ids are told apart by case and change with every move;
//! nothing here is shared with the clients.

mod act;
mod call;
mod core;
mod date;
mod faults;
mod folders;
mod head;
mod ids;
mod input;
mod items;
mod limits;
mod mailbox;
mod mime;
mod options;
mod property;
mod render;
mod reply;
mod restriction;
mod schema;
mod shape;
mod soap;
mod state;
mod stream;
mod sync;
mod token;
mod truth;
mod well_known;
mod xml;

pub use faults::{Fault, FaultRule, FaultScript, When};
pub use options::{Account, App, Blocked, Busy, EwsOptions, Latency, Limits, Scheme, Sizes};
pub use truth::{Counters, FolderTruth, MailboxTruth, MessageTruth, Truth};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use bytes::Bytes;

use self::core::{Admission, Core};
use self::head::{Area, Head};
use self::reply::{Fail, Reply};
use super::service::Announced;
use super::service::shell::{Heart, Shell};
use super::{Wire, World};

/// The mock of one server.
pub struct EwsMock {
    shell: Arc<Shell<Core>>,
    options: Arc<EwsOptions>,
}

impl std::fmt::Debug for EwsMock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EwsMock")
    }
}

impl EwsMock {
    /// A server that lives in memory. One seed, one world: one behaviour.
    pub fn new(options: EwsOptions, world: Arc<dyn World>) -> Arc<EwsMock> {
        let options = Arc::new(options);
        let core = Core::new(options.clone(), options.seed);
        EwsMock::with(options, core, world, None)
    }

    /// A server kept in `dir`, which is made if missing. Without a state in it the server is a new one, with ids that
    /// were never given before.
    ///
    /// # Errors
    /// The directory or the state in it cannot be read or is not one.
    pub fn open(dir: &Path, options: EwsOptions, world: Arc<dyn World>) -> Result<Arc<EwsMock>, String> {
        let options = Arc::new(options);
        let now = u64::try_from(world.now()).unwrap_or(0);
        let seed = options.seed ^ now.rotate_left(20) ^ u64::from(std::process::id());
        let mut core = Core::new(options.clone(), seed);
        core.load(dir)?;
        core.provision_listed();
        Ok(EwsMock::with(options, core, world, Some(dir.to_owned())))
    }

    fn with(
        options: Arc<EwsOptions>,
        core: Core,
        world: Arc<dyn World>,
        dir: Option<PathBuf>,
    ) -> Arc<EwsMock> {
        let shell = Shell::new(core, world, dir, options.save_every);
        Arc::new(EwsMock { shell, options })
    }

    /// Writes the state to its directory, all or nothing. Does nothing for a server in memory.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn save(&self) -> Result<(), String> {
        self.shell.save()
    }

    /// The options it was made with.
    pub fn options(&self) -> &EwsOptions {
        &self.options
    }

    /// Everything it knows, late commits that are due included.
    pub fn truth(&self) -> Truth {
        self.shell.settled().truth()
    }

    /// What was asked and answered so far.
    pub fn counters(&self) -> Counters {
        self.core().counters.clone()
    }

    /// How many things were changed so far.
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

    /// Makes every token given so far invalid: the next request of each client is refused with 401.
    pub fn revoke_tokens(&self) {
        self.core().revoke_tokens();
    }

    /// The client's world is frozen: every request whose octets were sent is acted on now. The number of acts.
    pub fn freeze_later_commits(&self) -> usize {
        self.shell.settle_all()
    }

    /// The client's world is frozen: no request under way is ever acted on. The number of acts forgotten.
    pub fn forget_pending(&self) -> usize {
        self.core().pending().forget()
    }

    /// Forgets mailboxes and counters: an empty server with other ids.
    pub fn reset(&self) {
        self.core().reset();
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.shell.heart()
    }

    /// Takes one request and says what became of it. The URI may be absolute or a path.
    pub async fn handle(self: &Arc<Self>, request: http::Request<Bytes>) -> Wire {
        let head = Head::read(&request);
        let body = request.into_body();
        let now = self.shell.now();
        self.core().arrive(body.len(), now);
        let wire = match head {
            Err(refusal) => {
                let reply = self.core().refuse(&refusal, &body);
                self.answer(reply)
            }
            Ok(Head { area: Area::Token, .. }) => {
                let reply = self.core().token(&body, now);
                self.answer(reply)
            }
            Ok(head) => match self.enter(&head, &body, now) {
                Ok(admission) => self.admitted(admission).await,
                Err(reply) => self.answer(reply),
            },
        };
        self.shell.save_if_due();
        wire
    }

    /// Who, what, to which mailbox, within the limits; else the answer.
    fn enter(&self, head: &Head, body: &Bytes, now: i64) -> Result<Admission, Reply> {
        // The lock is given back before a refusal takes it again.
        let login = self.core().login(head, body.len(), now);
        let login = login.map_err(|refusal| self.core().refuse(&refusal, body))?;
        // A large body is read without the lock.
        let request = soap::read(body, self.options.limits.sync);
        let request = request.map_err(|refusal| self.core().refuse(&refusal, body))?;
        let admitted = self.core().admit(head, &login, request, now);
        admitted.map_err(|refused| match refused {
            Err(refusal) => self.core().refuse(&refusal, body),
            Ok(reply) => self.core().count(reply),
        })
    }

    /// A request let in: latency, act, answer, and the faults between.
    async fn admitted(self: &Arc<Self>, admission: Admission) -> Wire {
        let Admission { who, work, fault, wait } = admission;
        let slot = self.shell.slot(who);
        let before = match &fault {
            Some(Fault::ResetBefore) => return Wire::NeverArrived,
            Some(Fault::Status { status, retry_after }) => Some(status_reply(*status, *retry_after)),
            Some(Fault::Busy { envelope, wait_ms }) => {
                let mut fail = Fail::busy(wait_ms.unwrap_or(0));
                if wait_ms.is_none() {
                    fail.values.clear();
                }
                Some(core::busy_reply(&work.call, *envelope, &fail))
            }
            Some(Fault::Soap { code }) => Some(reply::fault(&failed(code))),
            _ => None,
        };
        if let Some(reply) = before {
            self.shell.pause(wait).await;
            let reply = self.core().count(reply);
            return self.answer(reply);
        }
        if let Some(Fault::LateCommit { after_ms, gateway_timeout }) = fault {
            let due = self.shell.now().saturating_add(i64::try_from(after_ms).unwrap_or(i64::MAX));
            self.core().pending().defer(work, due, true);
            self.shell.pause(wait).await;
            if !gateway_timeout {
                return Wire::NoAnswer;
            }
            let reply = self.core().count(Reply::empty(504));
            return self.answer(reply);
        }
        let reply = self.shell.act_after(work, wait).await;
        drop(slot);
        match reply {
            Some(reply) => self.spoil(reply, fault).await,
            None => Wire::NoAnswer,
        }
    }

    /// What a fault makes of an answer.
    async fn spoil(self: &Arc<Self>, mut reply: Reply, fault: Option<Fault>) -> Wire {
        match fault {
            Some(Fault::ResetAfter | Fault::ResetAfterItems { .. }) => return Wire::NoAnswer,
            Some(Fault::DoneBut { status, retry_after }) => {
                let reply = self.core().count(status_reply(status, retry_after));
                return self.answer(reply);
            }
            Some(Fault::DoneButSoap { code }) => {
                let reply = self.core().count(reply::fault(&failed(&code)));
                return self.answer(reply);
            }
            Some(Fault::EmptyBody) => reply.body = Bytes::new(),
            Some(Fault::HtmlBody) => {
                let page = "<!DOCTYPE html><html><body>The server is under maintenance.</body></html>";
                reply = Reply::text(reply.status, "text/html", page);
            }
            Some(Fault::Lost) => self.core().undo(&reply),
            Some(Fault::Slow { ms }) => self.shell.pause(Duration::from_millis(ms)).await,
            Some(Fault::Truncated { keep }) => {
                let announced = Announced(reply.body.len());
                reply.body.truncate(keep);
                let mut wire = self.answer(reply);
                if let Wire::Answered(response) = &mut wire {
                    response.extensions_mut().insert(announced);
                }
                return wire;
            }
            _ => {}
        }
        self.answer(reply)
    }

    fn answer(&self, reply: Reply) -> Wire {
        let id = self.core().request_id();
        Wire::Answered(reply.into_response(&id))
    }
}

fn status_reply(status: u16, retry_after: Option<u64>) -> Reply {
    let reply = Reply::empty(status);
    match retry_after {
        Some(seconds) => reply.header("retry-after", seconds.to_string()),
        None => reply,
    }
}

fn failed(code: &str) -> Fail {
    Fail::new(code.to_owned(), "The operation failed. Try again later.")
}

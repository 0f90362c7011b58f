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
mod persist;
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
mod xml;

pub use faults::{Fault, FaultRule, FaultScript, When};
pub use options::{Account, App, Blocked, Busy, EwsOptions, Latency, Limits, Scheme, Sizes};
pub use truth::{Counters, FolderTruth, MailboxTruth, MessageTruth, Truth};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use self::core::{Admission, Core, Who, Work};
use self::head::{Area, Head};
use self::reply::{Fail, Refusal, Reply};
use super::graph::Announced;
use super::{Wire, World};

/// The mock of one server.
pub struct EwsMock {
    world: Arc<dyn World>,
    options: Arc<EwsOptions>,
    core: Mutex<Core>,
    dir: Option<PathBuf>,
    /// Requests since the last save.
    unsaved: std::sync::atomic::AtomicU64,
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
        EwsMock::with(options, world, core, None)
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
        persist::load(dir, &mut core)?;
        core.provision_listed();
        Ok(EwsMock::with(options, world, core, Some(dir.to_owned())))
    }

    fn with(
        options: Arc<EwsOptions>,
        world: Arc<dyn World>,
        core: Core,
        dir: Option<PathBuf>,
    ) -> Arc<EwsMock> {
        Arc::new(EwsMock { world, options, core: Mutex::new(core), dir, unsaved: 0.into() })
    }

    /// Writes the state to its directory, all or nothing. Does nothing for a server in memory.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn save(&self) -> Result<(), String> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let mut core = self.core();
        core.settle(self.world.now());
        self.unsaved.store(0, std::sync::atomic::Ordering::Relaxed);
        persist::save(dir, &mut core)
    }

    /// The options it was made with.
    pub fn options(&self) -> &EwsOptions {
        &self.options
    }

    /// Everything it knows, late commits that are due included.
    pub fn truth(&self) -> Truth {
        let now = self.world.now();
        let mut core = self.core();
        core.settle(now);
        core.truth()
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
        self.core().settle_all(self.world.now())
    }

    /// The client's world is frozen: no request under way is ever acted on. The number of acts forgotten.
    pub fn forget_pending(&self) -> usize {
        self.core().forget_pending()
    }

    /// Forgets mailboxes and counters: an empty server with other ids.
    pub fn reset(&self) {
        self.core().reset();
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one request and says what became of it. The URI may be absolute or a path.
    pub async fn handle(self: &Arc<Self>, request: http::Request<Bytes>) -> Wire {
        let head = Head::read(&request);
        let body = request.into_body();
        let now = self.world.now();
        self.core().arrive(body.len(), now);
        let wire = match head {
            Err(refusal) => self.refuse(&refusal, &body),
            Ok(Head { area: Area::Token, .. }) => {
                let reply = self.core().token(&body, now);
                self.answer(reply)
            }
            Ok(head) => match self.enter(&head, &body, now) {
                Ok(admission) => self.admitted(admission).await,
                Err(wire) => wire,
            },
        };
        self.save_if_due();
        wire
    }

    /// Who, what, to which mailbox, within the limits; else the answer.
    fn enter(&self, head: &Head, body: &Bytes, now: i64) -> Result<Admission, Wire> {
        let login = self.core().login(head, body.len(), now);
        let login = login.map_err(|r| self.refuse(&r, body))?;
        // A large body is read without the lock.
        let request = soap::read(body, self.options.limits.sync).map_err(|r| self.refuse(&r, body))?;
        let admitted = self.core().admit(head, &login, request, now);
        admitted.map_err(|refused| match refused {
            Err(refusal) => self.refuse(&refusal, body),
            Ok(reply) => {
                let reply = self.core().count(reply);
                self.answer(reply)
            }
        })
    }

    /// A request let in: latency, act, answer, and the faults between.
    async fn admitted(self: &Arc<Self>, admission: Admission) -> Wire {
        let Admission { who, work, fault, wait } = admission;
        let slot = Slot { mock: self.clone(), who };
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
            self.pause(wait).await;
            let reply = self.core().count(reply);
            return self.answer(reply);
        }
        if let Some(Fault::LateCommit { after_ms, gateway_timeout }) = fault {
            let due = self.world.now().saturating_add(i64::try_from(after_ms).unwrap_or(i64::MAX));
            self.core().defer(work, due, true);
            self.pause(wait).await;
            if !gateway_timeout {
                return Wire::NoAnswer;
            }
            let reply = self.core().count(Reply::empty(504));
            return self.answer(reply);
        }
        let reply = self.act_after(work, wait).await;
        drop(slot);
        match reply {
            Some(reply) => self.spoil(reply, fault).await,
            None => Wire::NoAnswer,
        }
    }

    /// Acts after `wait`. If the caller vanishes meanwhile the act still happens (see `commit_abandoned`).
    async fn act_after(self: &Arc<Self>, work: Work, wait: Duration) -> Option<Reply> {
        let now = self.world.now();
        if wait.is_zero() {
            return Some(self.core().act(&work, now));
        }
        let due = now.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        let number = self.core().defer(work, due, false);
        let watch = Watch { mock: self.clone(), number };
        self.world.sleep(wait).await;
        let reply = self.core().resume(number, self.world.now());
        drop(watch);
        reply
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
            Some(Fault::Slow { ms }) => self.pause(Duration::from_millis(ms)).await,
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

    fn refuse(&self, refusal: &Refusal, body: &[u8]) -> Wire {
        let reply = self.core().refuse(refusal, body);
        self.answer(reply)
    }

    async fn pause(&self, d: Duration) {
        if !d.is_zero() {
            self.world.sleep(d).await;
        }
    }

    fn save_if_due(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        let every = self.options.save_every;
        if every > 0 && self.dir.is_some() && self.unsaved.fetch_add(1, Relaxed) + 1 >= every {
            // A failure shows at the graceful stop, which saves again.
            let _ = self.save();
        }
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

/// A place among the requests one login may have under way in one mailbox; given back when dropped.
struct Slot {
    mock: Arc<EwsMock>,
    who: Who,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.mock.core().leave(&self.who);
    }
}

/// Watches over work under way; dropped before the work is done, it leaves the work behind as abandoned.
struct Watch {
    mock: Arc<EwsMock>,
    number: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.mock.core().abandon(self.number);
    }
}

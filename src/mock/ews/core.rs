//! The synchronous heart: admits, acts, keeps what is still to come. No clock, no waiting: time is handed in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::act::Act;
use super::call::Call;
use super::faults::{Fault, FaultRule, FaultScript};
use super::head::{Credentials, Head};
use super::ids::Ids;
use super::limits::Meter;
use super::mailbox::Mailbox;
use super::options::{Blocked, Busy, EwsOptions, Scheme};
use super::reply::{self, Fail, Refusal, Reply};
use super::soap::Request;
use super::token::{Login, Tokens};
use super::truth::{self, Counters, Truth};
use crate::mock::service::Who;
use crate::mock::service::dice::Dice;
use crate::mock::service::kept::State;
use crate::mock::service::pending::Pending;
use crate::mock::service::script::Play;
use crate::mock::service::shell::Heart;

/// Of the form on disk.
const VERSION: u32 = 1;

/// Everything behind the one lock.
pub(super) struct Core {
    pub(super) options: Arc<EwsOptions>,
    pub(super) ids: Ids,
    /// Latency and request ids: not from `ids`, so that timing never changes an id.
    dice: Dice,
    pub(super) mailboxes: BTreeMap<String, Mailbox>,
    pub(super) counters: Counters,
    tokens: Tokens,
    meters: BTreeMap<Who, Meter>,
    faults: Play<FaultRule>,
    pending: Pending<Work>,
}

/// A request understood, with all that decides how much of it is done.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) mailbox: String,
    pub(super) call: Arc<Call>,
    /// So many of the things asked for are done.
    pub(super) most: usize,
    pub(super) failing: Option<(usize, Fail)>,
    pub(super) cut_exports: bool,
}

/// A request let in.
pub(super) struct Admission {
    pub(super) who: Who,
    pub(super) work: Work,
    pub(super) fault: Option<Fault>,
    pub(super) wait: Duration,
}

impl Core {
    pub(super) fn new(options: Arc<EwsOptions>, seed: u64) -> Core {
        let mut core = Core {
            ids: Ids::new(seed),
            dice: Dice::new(seed ^ 0x6d61_696c),
            mailboxes: BTreeMap::new(),
            counters: Counters::default(),
            tokens: Tokens::default(),
            meters: BTreeMap::new(),
            faults: Play::new(FaultScript::default()),
            pending: Pending::default(),
            options,
        };
        core.provision_listed();
        core
    }

    /// Takes up the state saved in a directory, if there is one.
    pub(super) fn load(&mut self, dir: &Path) -> Result<(), String> {
        self.kept().load(dir)
    }

    fn kept(&mut self) -> State<'_, Ids, Counters, Mailbox> {
        State {
            version: VERSION,
            ids: &mut self.ids,
            counters: &mut self.counters,
            mailboxes: &mut self.mailboxes,
        }
    }

    /// Makes the listed mailboxes that are missing.
    pub(super) fn provision_listed(&mut self) {
        let options = self.options.clone();
        for address in &options.mailboxes {
            self.provision(&address.to_lowercase());
        }
    }

    fn provision(&mut self, address: &str) {
        if !self.mailboxes.contains_key(address) {
            let mut mailbox = Mailbox::new(address, &mut self.ids);
            if self.options.tells_quota {
                mailbox.show_quota(self.options.sizes.mailbox);
            }
            self.mailboxes.insert(address.to_owned(), mailbox);
        }
    }

    /// Notes a request, and what is due by now.
    pub(super) fn arrive(&mut self, octets: usize, now: i64) {
        self.settle(now);
        self.counters.requests += 1;
        self.counters.uploaded_bytes += octets as u64;
        self.counters.largest_request = self.counters.largest_request.max(octets as u64);
    }

    /// Answers a token request.
    pub(super) fn token(&mut self, body: &[u8], now: i64) -> Reply {
        if let Some(Fault::Status { status, .. } | Fault::DoneBut { status, .. }) =
            self.faults.pick(|rule| rule.fits("Token", ""))
        {
            return self.count(Reply::empty(status));
        }
        let options = self.options.clone();
        let reply = self.tokens.issue(body, &options, &mut self.ids, now);
        self.counters.tokens += u64::from(reply.status == 200);
        self.count(reply)
    }

    /// Who it is, before anything else is looked at.
    pub(super) fn login(&mut self, head: &Head, octets: usize, now: i64) -> Result<Login, Refusal> {
        if self.options.blocked == Some(Blocked::Forbidden) {
            return Err(Refusal::Status(403));
        }
        let login = self.tokens.login(&head.credentials, &self.options, now);
        let Some(login) = login else {
            if head.credentials != Credentials::None {
                *self.counters.refused.entry("credentials".into()).or_insert(0) += 1;
            }
            return Err(Refusal::Challenge);
        };
        if octets > self.options.sizes.request {
            return Err(Refusal::Status(413));
        }
        Ok(login)
    }

    /// Lets a request in, or refuses it.
    pub(super) fn admit(
        &mut self,
        head: &Head,
        login: &Login,
        request: Request,
        now: i64,
    ) -> Result<Admission, Result<Reply, Refusal>> {
        let mailbox = self.mailbox(head, login, request.impersonated).map_err(Err)?;
        let (options, operation) = (self.options.clone(), request.call.operation());
        let parts = request.call.parts();
        self.counters.largest_batch = self.counters.largest_batch.max(parts.len() as u64);
        let (begun, ms) = self.cost(&parts);
        let who = (login.name.clone(), mailbox.clone());
        let meter = self.meters.entry(who.clone()).or_default();
        if meter.impatient(now) {
            self.counters.violation("asked again before BackOffMilliseconds had passed");
        }
        let cost = ms + options.limits.item_cost_ms * (1 + parts.len() as u64);
        if let Err(fail) = meter.enter(&options, now, cost) {
            self.counters.throttled += 1;
            let busy = fail.code == "ErrorServerBusy";
            return Err(Ok(busy_reply(&request.call, if busy { options.busy } else { Busy::Fault }, &fail)));
        }
        self.counters.peak_in_flight = self.counters.peak_in_flight.max(meter.flight.peak);
        *self.counters.operations.entry(operation.to_owned()).or_insert(0) += 1;
        let fault = self.faults.pick(|rule| rule.fits(operation, &mailbox));
        let mut work = Work {
            mailbox,
            call: Arc::new(request.call),
            most: begun,
            failing: None,
            cut_exports: fault == Some(Fault::CutExport),
        };
        match &fault {
            // 503 tells no wait.
            Some(Fault::Busy { wait_ms: Some(wait), envelope }) if *envelope != Busy::Unavailable => {
                meter.tell(now, *wait);
            }
            Some(Fault::Item { number, code }) => {
                let text = "The operation failed for this item.";
                work.failing = Some((number.saturating_sub(1), Fail::new(code.clone(), text)));
            }
            Some(Fault::Stopped { after: most } | Fault::ResetAfterItems { items: most }) => {
                work.most = work.most.min(*most);
            }
            _ => {}
        }
        let stopped = parts.len().saturating_sub(work.most);
        self.counters.stopped += stopped as u64;
        Ok(Admission { who, work, fault, wait: Duration::from_millis(options.scaled(ms)) })
    }

    /// How many of the things asked for are begun before the batch's time is over, and how long they take.
    fn cost(&mut self, parts: &[u64]) -> (usize, u64) {
        let latency = self.options.latency;
        let mut ms = latency.base_ms;
        if latency.jitter_ms > 0 {
            ms += self.dice.below(latency.jitter_ms + 1);
        }
        let end = self.options.limits.batch_seconds.saturating_mul(1000);
        let mut begun = 0;
        for octets in parts {
            if ms >= end && begun > 0 {
                break;
            }
            begun += 1;
            ms += latency.per_item_ms + latency.per_mib_ms * octets / (1 << 20);
        }
        (begun, ms)
    }

    /// Whose mailbox it is.
    fn mailbox(&mut self, head: &Head, login: &Login, wanted: Option<String>) -> Result<String, Refusal> {
        let options = self.options.clone();
        if options.blocked == Some(Blocked::AccessDenied) {
            let text = "Access is denied. Check credentials and try again., EWS is not allowed for this application.";
            return Err(Fail::new("ErrorAccessDenied", text).into());
        }
        let address = match wanted {
            Some(address) => {
                if options.anchor_required && head.anchor.as_deref() != Some(address.as_str()) {
                    self.counters.violation("X-AnchorMailbox is missing or names another mailbox");
                    return Err(Refusal::Status(400));
                }
                let denied = || options.forbidden.iter().any(|f| f.to_lowercase() == address);
                if !login.impersonates || denied() {
                    let text = "The account does not have permission to impersonate the requested user.";
                    return Err(Fail::new("ErrorImpersonateUserDenied", text).into());
                }
                address
            }
            None if options.impersonation_required => {
                self.counters.violation("no impersonation");
                let text = "ExchangeImpersonation SOAP header must be present for this type of OAuth token.";
                return Err(Fail::new("ErrorImpersonationRequired", text).into());
            }
            None => login.name.clone(),
        };
        if self.mailboxes.contains_key(&address) {
            return Ok(address);
        }
        let is_address = address.len() <= 320
            && address.split_once('@').is_some_and(|(l, d)| !l.is_empty() && !d.is_empty());
        if options.auto_provision && is_address {
            self.provision(&address);
            return Ok(address);
        }
        let text = "The SMTP address has no mailbox associated with it.";
        Err(Fail::new("ErrorNonExistentMailbox", text).into())
    }

    /// Takes back the messages a reply says were made.
    pub(super) fn undo(&mut self, reply: &Reply) {
        for (mailbox, number) in &reply.created {
            if let Some(mailbox) = self.mailboxes.get_mut(mailbox) {
                mailbox.purge(*number);
            }
        }
    }

    /// Counts an answer.
    pub(super) fn count(&mut self, reply: Reply) -> Reply {
        *self.counters.answers.entry(reply.status).or_insert(0) += 1;
        reply
    }

    /// The answer to a refused request. What a correct client never does is counted.
    pub(super) fn refuse(&mut self, refusal: &Refusal, body: &[u8]) -> Reply {
        if let Some(kind) = refusal.violation() {
            self.counters.violation(&kind);
        }
        let reply = match refusal {
            Refusal::Status(status) => Reply::empty(*status),
            Refusal::Challenge => self.challenge(),
            Refusal::Schema(violation) => reply::schema_fault(violation, body),
            Refusal::Fault(fail) => {
                *self.counters.refused.entry(fail.code.to_string()).or_insert(0) += 1;
                reply::fault(fail)
            }
        };
        self.count(reply)
    }

    fn challenge(&mut self) -> Reply {
        self.counters.challenges += 1;
        let mut reply = Reply::empty(401);
        for scheme in &self.options.offers {
            let offer = match scheme {
                Scheme::Basic => "Basic realm=\"mock.example\"",
                Scheme::Bearer => {
                    "Bearer client_id=\"00000002-0000-0ff1-ce00-000000000000\", trusted_issuers=\"mock\""
                }
                Scheme::Ntlm => "NTLM",
                Scheme::Negotiate => "Negotiate",
            };
            reply = reply.header("www-authenticate", offer);
        }
        reply
    }

    pub(super) fn request_id(&mut self) -> String {
        format!("{:08x}-0000-4000-8000-{:012x}", self.counters.requests, self.dice.next() & 0xffff_ffff_ffff)
    }

    pub(super) fn set_faults(&mut self, script: FaultScript) {
        self.faults = Play::new(script);
    }

    pub(super) fn fault_counts(&self) -> BTreeMap<String, u64> {
        self.faults.counts()
    }

    /// Makes every token given so far invalid.
    pub(super) fn revoke_tokens(&mut self) {
        self.tokens.revoke();
    }

    pub(super) fn truth(&self) -> Truth {
        Truth {
            mailboxes: self.mailboxes.iter().map(|(a, m)| (a.clone(), truth::mailbox(m))).collect(),
            counters: self.counters.clone(),
            faults: self.faults.counts(),
            pending: self.pending.len(),
        }
    }

    /// Forgets all that is held: mailboxes and counters. Tokens and the fault script stay.
    pub(super) fn reset(&mut self) {
        self.mailboxes.clear();
        self.counters = Counters::default();
        self.meters.clear();
        self.pending.forget();
        self.provision_listed();
    }

    /// The addresses of the mailboxes held.
    pub(super) fn addresses(&self) -> BTreeSet<String> {
        self.mailboxes.keys().cloned().collect()
    }
}

impl Heart for Core {
    type Work = Work;
    type Reply = Reply;

    fn pending(&mut self) -> &mut Pending<Work> {
        &mut self.pending
    }

    fn commits_abandoned(&self) -> bool {
        self.options.commit_abandoned
    }

    fn act(&mut self, work: &Work, now: i64) -> Reply {
        let Core { mailboxes, ids, options, counters, .. } = self;
        let reply = match mailboxes.get_mut(&work.mailbox) {
            None => reply::fault(&Fail::new("ErrorNonExistentMailbox", "The mailbox is gone.")),
            Some(mailbox) => Act {
                mailbox,
                ids,
                options,
                counters,
                now,
                most: work.most,
                failing: work.failing.clone(),
                cut_exports: work.cut_exports,
                made: Vec::new(),
            }
            .run(&work.call),
        };
        self.count(reply)
    }

    fn leave(&mut self, who: &Who) {
        if let Some(meter) = self.meters.get_mut(who) {
            meter.flight.leave();
        }
    }

    fn save(&mut self, dir: &Path) -> Result<(), String> {
        self.kept().save(dir)
    }
}

/// What a busy server answers.
pub(super) fn busy_reply(call: &Call, envelope: Busy, fail: &Fail) -> Reply {
    match envelope {
        Busy::Fault => reply::fault(fail),
        Busy::Message => every(call, fail),
        Busy::Wrapped => every(call, &Fail::wrapped(fail)),
        Busy::Unavailable => Reply::empty(503),
    }
}

/// The same answer for each thing asked for.
fn every(call: &Call, fail: &Fail) -> Reply {
    let results: Vec<Result<String, Fail>> = call.parts().iter().map(|_| Err(fail.clone())).collect();
    reply::messages(call.operation(), &results, "")
}

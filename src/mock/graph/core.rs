//! The synchronous heart: admits, acts, keeps what is still to come. No clock, no waiting: time is handed in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::act::Act;
use super::attachments::Uploads;
use super::date;
use super::exchange;
use super::exchange_items::ImportSessions;
use super::faults::{Fault, FaultRule, FaultScript};
use super::head::{Area, Head};
use super::ids::Ids;
use super::limits::{AppMeter, Meter, Pace};
use super::mailbox::Mailbox;
use super::options::{GraphOptions, UnknownMailbox};
use super::reply::{Refusal, Reply};
use super::token::{Asked, Tokens};
use super::truth::{self, Counters, MailboxTruth, Truth};
use super::work::{Task, Work};
use crate::mock::service::Who;
use crate::mock::service::dice::Dice;
use crate::mock::service::kept::State;
use crate::mock::service::pending::Pending;
use crate::mock::service::script::Play;
use crate::mock::service::shell::Heart;

/// Of the form on disk.
const VERSION: u32 = 1;

/// So many requests apart, meters forget what is over.
const REST: u64 = 16_384;

/// Everything behind the one lock.
pub(super) struct Core {
    pub(super) options: Arc<GraphOptions>,
    pub(super) ids: Ids,
    /// Latency and request ids: not from `ids`, so that timing never changes an id.
    dice: Dice,
    pub(super) mailboxes: BTreeMap<String, Mailbox>,
    pub(super) counters: Counters,
    pub(super) tokens: Tokens,
    pub(super) uploads: Uploads,
    imports: ImportSessions,
    meters: BTreeMap<Who, Meter>,
    apps: BTreeMap<String, AppMeter>,
    faults: Play<FaultRule>,
    pending: Pending<Work>,
}

/// What becomes of a request at the door.
pub(super) enum Entry {
    /// It is answered there and then.
    Answer(Reply),
    /// It is let in.
    Admit(Admission),
}

/// A request let in.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) who: Who,
    pub(super) fault: Option<Fault>,
    pub(super) wait: Duration,
}

impl Core {
    pub(super) fn new(options: Arc<GraphOptions>, seed: u64, now: i64) -> Core {
        let mut core = Core {
            ids: Ids::new(seed),
            dice: Dice::new(seed ^ 0x6d61_696c),
            mailboxes: BTreeMap::new(),
            counters: Counters::default(),
            tokens: Tokens::default(),
            uploads: Uploads::new(),
            imports: ImportSessions::new(),
            meters: BTreeMap::new(),
            apps: BTreeMap::new(),
            faults: Play::new(FaultScript::default()),
            pending: Pending::default(),
            options,
        };
        core.provision_listed(now);
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
    pub(super) fn provision_listed(&mut self, now: i64) {
        let options = self.options.clone();
        for address in &options.mailboxes {
            self.provision(&address.to_lowercase(), now);
        }
    }

    fn provision(&mut self, address: &str, now: i64) {
        if !self.mailboxes.contains_key(address) {
            let mailbox = Mailbox::new(address, self.options.language, &mut self.ids, now);
            self.mailboxes.insert(address.to_owned(), mailbox);
        }
    }

    /// Lets a request in, or answers it at the door: limits first, then what is wrong with its head.
    pub(super) fn enter(&mut self, head: &Head, body: &Bytes, now: i64) -> Entry {
        self.settle(now);
        self.counters.requests += 1;
        if self.counters.requests.is_multiple_of(REST) {
            self.meters.values_mut().for_each(|meter| meter.rest(&self.options, now));
        }
        let upload = if head.uploads() { body.len() as u64 } else { 0 };
        self.counters.uploaded_bytes += upload;
        match self.admit(head, body, upload, now) {
            Ok(entry) => entry,
            Err(refusal) => Entry::Answer(self.refuse(&refusal, now)),
        }
    }

    fn admit(&mut self, head: &Head, body: &Bytes, upload: u64, now: i64) -> Result<Entry, Refusal> {
        if let Area::Token { tenant } = &head.area {
            return self.token(head, tenant, body, now);
        }
        let who = self.who(head, now)?;
        self.apps.entry(who.0.clone()).or_default().enter(&self.options, now).inspect_err(|_| {
            self.counters.throttled += 1;
        })?;
        let meter = self.meters.entry(who.clone()).or_default();
        if meter.impatient(now) {
            self.counters.violation("asked again before Retry-After had passed");
        }
        if let Err(refusal) = meter.enter(&self.options, now, upload) {
            self.counters.throttled += 1;
            return Err(refusal);
        }
        self.counters.peak_in_flight = self.counters.peak_in_flight.max(meter.flight.peak);
        let largest = match head.area {
            Area::Import { .. } => self.options.sizes.import_request,
            _ => self.options.sizes.request,
        };
        if body.len() > largest {
            meter.flight.leave();
            self.counters.violation("request body too large");
            return Ok(Entry::Answer(self.count(Reply::empty(413))));
        }
        let fault = self.faults.pick(|rule| rule.fits(head.method.as_str(), &head.path));
        if let Some(
            Fault::Status { retry_after: Some(seconds), .. }
            | Fault::DoneBut { retry_after: Some(seconds), .. },
        ) = &fault
        {
            meter.tell(now, self.options.scaled_wait(*seconds));
        }
        if let Some(Fault::Answer { retry_after: Some(text), .. }) = &fault
            && let Ok(seconds) = text.parse()
        {
            meter.tell(now, seconds);
        }
        let latency = self.options.latency;
        let mut ms = latency.base_ms + latency.per_mib_ms * (body.len() as u64) / (1 << 20);
        if latency.jitter_ms > 0 {
            ms += self.dice.below(latency.jitter_ms + 1);
        }
        Ok(Entry::Admit(Admission { who, fault, wait: self.options.scaled(ms) }))
    }

    fn token(&mut self, head: &Head, tenant: &str, body: &Bytes, now: i64) -> Result<Entry, Refusal> {
        if head.method != http::Method::POST {
            return Err(Refusal::method());
        }
        if head.content_type.as_deref() != Some("application/x-www-form-urlencoded") {
            return Err(Refusal::new(400, "invalid_request", "AADSTS900144: The body must be a form."));
        }
        if let Some(Fault::Status { status, retry_after } | Fault::DoneBut { status, retry_after }) =
            self.faults.pick(|rule| rule.fits("POST", &head.path))
        {
            return Ok(Entry::Answer(self.fault_reply(status, retry_after, now)));
        }
        let options = self.options.clone();
        let address = format!("{}{}", head.base, head.path);
        let asked = Asked { tenant, address: &address, body, now };
        let reply = self.tokens.issue(&asked, &options, &mut self.ids);
        self.counters.tokens += u64::from(reply.status == 200);
        Ok(Entry::Answer(self.count(reply)))
    }

    /// Whose request it is, and to which mailbox.
    fn who(&mut self, head: &Head, now: i64) -> Result<Who, Refusal> {
        if let Area::Upload { session } = &head.area {
            if head.has_authorization {
                self.counters.violation("Authorization sent to an upload URL");
                return Err(Refusal::new(
                    401,
                    "InvalidAuthenticationToken",
                    "The token's audience is not valid.",
                ));
            }
            let upload = self.uploads.get(session).ok_or_else(Refusal::not_found)?;
            return Ok((upload.app.clone(), upload.mailbox.clone()));
        }
        if let Area::Import { secret } = &head.area {
            if head.has_authorization {
                self.counters.violation("Authorization sent to an import URL");
            }
            let live = self.imports.get(secret).filter(|session| session.expires > now);
            return live.map(|s| (s.app.clone(), s.mailbox.clone())).ok_or_else(|| {
                let status = self.options.import_expired_status;
                Refusal::new(status, "InvalidAuthenticationToken", "The import session is not valid.")
            });
        }
        let Some(bearer) = &head.bearer else {
            return Err(Refusal::new(401, "InvalidAuthenticationToken", "Access token is empty."));
        };
        let Some(app) = self.tokens.client(bearer, now).map(str::to_owned) else {
            return Err(Refusal::new(
                401,
                "InvalidAuthenticationToken",
                "Lifetime validation failed, the token is expired.",
            ));
        };
        if self.tokens.is_for_another(bearer, self.options.audience.as_deref()) {
            return Err(Refusal::new(
                401,
                "InvalidAuthenticationToken",
                "Access token validation failure. Invalid audience.",
            ));
        }
        match &head.area {
            Area::Mailbox { user, .. } => {
                let signed_in = self.tokens.user(bearer).map(str::to_owned);
                let address = match (user.as_str(), &signed_in) {
                    ("me", Some(signed_in)) => self.mailbox(signed_in, now)?,
                    ("me", None) => {
                        return Err(Refusal::new(
                            400,
                            "BadRequest",
                            "/me request is only valid with delegated authentication flow.",
                        ));
                    }
                    (user, _) => self.mailbox(user, now)?,
                };
                // A person reaches the own mailbox alone.
                if signed_in.is_some_and(|s| s != address) {
                    return Err(Refusal::new(
                        403,
                        "ErrorAccessDenied",
                        "Access is denied. Check credentials and try again.",
                    ));
                }
                Ok((app, address))
            }
            Area::Store { id, .. } => {
                let guid = exchange::guid_of(id, &self.options).unwrap_or("").to_owned();
                let address = self.mailboxes.values().find(|m| m.guid == guid).map(|m| m.address.clone());
                Ok((app, self.mailbox(&address.ok_or_else(Refusal::not_found)?, now)?))
            }
            Area::Unknown(segment) => Err(Refusal::no_such_path(segment)),
            Area::Batch => Err(Refusal::new(400, "BadRequest", "A batch cannot hold a batch.")),
            Area::Token { .. } | Area::Upload { .. } | Area::Import { .. } => Err(Refusal::no_such_path("")),
        }
    }

    /// The token's owner; for a batch, which belongs to no mailbox.
    pub(super) fn authenticated(&self, head: &Head, now: i64) -> bool {
        head.bearer.as_ref().is_some_and(|b| self.tokens.client(b, now).is_some())
    }

    /// A mailbox by address or user id, in any case.
    fn mailbox(&mut self, user: &str, now: i64) -> Result<String, Refusal> {
        let address = user.to_lowercase();
        let address = match self.mailboxes.get(&address) {
            Some(_) => address,
            // An address is no user id: nobody need look through all mailboxes for it.
            None if address.contains('@') => address,
            None => match self.mailboxes.values().find(|m| m.guid == address) {
                Some(mailbox) => mailbox.address.clone(),
                None => address,
            },
        };
        if self.options.forbidden.iter().any(|f| f.to_lowercase() == address) {
            return Err(Refusal::new(
                403,
                "ErrorAccessDenied",
                "Access is denied. Check credentials and try again.",
            ));
        }
        if self.mailboxes.contains_key(&address) {
            return Ok(address);
        }
        let is_address = address.len() <= 320
            && address.split_once('@').is_some_and(|(l, d)| !l.is_empty() && !d.is_empty());
        if self.options.auto_provision && is_address {
            self.provision(&address, now);
            return Ok(address);
        }
        Err(match self.options.unknown_mailbox {
            UnknownMailbox::ErrorInvalidUser => {
                Refusal::new(404, "ErrorInvalidUser", format!("The requested user '{user}' is invalid."))
            }
            UnknownMailbox::MailboxNotEnabledForRestApi => Refusal::new(
                404,
                "MailboxNotEnabledForRESTAPI",
                "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
            ),
        })
    }

    /// Counts an answer.
    pub(super) fn count(&mut self, reply: Reply) -> Reply {
        *self.counters.answers.entry(reply.status).or_insert(0) += 1;
        reply
    }

    /// The answer to a refused request. What a correct client never does is counted by its code.
    pub(super) fn refuse(&mut self, refusal: &Refusal, now: i64) -> Reply {
        if matches!(refusal.status, 400 | 405 | 413 | 415 | 416) {
            self.counters.violation(&refusal.code);
        }
        let reply = refusal.reply(&date::write(now), &self.request_id());
        self.count(reply)
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

    /// Ends every import session.
    pub(super) fn end_import_sessions(&mut self) {
        self.imports.clear();
    }

    pub(super) fn truth(&self) -> Truth {
        Truth {
            mailboxes: self.mailboxes.iter().map(|(a, m)| (a.clone(), truth::mailbox(m))).collect(),
            counters: self.counters.clone(),
            faults: self.faults.counts(),
            pending: self.pending.len(),
        }
    }

    /// Of one mailbox, by its address in lower case.
    pub(super) fn truth_of(&self, address: &str) -> Option<MailboxTruth> {
        self.mailboxes.get(address).map(truth::mailbox)
    }

    /// How well the windows were used, over all mailboxes.
    pub(super) fn pace(&self) -> Pace {
        let mut all = Pace::default();
        self.meters.values().for_each(|meter| all += meter.pace);
        all
    }

    /// Forgets all that is held: mailboxes, counters, sessions. Tokens and the fault script stay.
    pub(super) fn reset(&mut self, now: i64) {
        self.mailboxes.clear();
        self.counters = Counters::default();
        self.uploads.clear();
        self.imports.clear();
        self.meters.clear();
        self.apps.clear();
        self.pending.forget();
        self.provision_listed(now);
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
        let Core { mailboxes, ids, options, counters, uploads, imports, .. } = self;
        let result = match mailboxes.get_mut(&work.mailbox) {
            None => Err(Refusal::not_found()),
            Some(mailbox) => {
                let mut act = Act {
                    mailbox,
                    ids,
                    options,
                    counters,
                    uploads,
                    imports,
                    show: &work.show,
                    address: &work.address,
                    if_match: work.if_match.as_deref(),
                    app: &work.app,
                    upload_base: &work.upload_base,
                    now,
                };
                match &work.task {
                    Task::Call(call) => act.run(call),
                    Task::Upload { session, method, range, body } => {
                        act.upload(session, method, range.as_deref(), body)
                    }
                }
            }
        };
        match result {
            Ok(reply) => self.count(reply),
            Err(refusal) => self.refuse(&refusal, now),
        }
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

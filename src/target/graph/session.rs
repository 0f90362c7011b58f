//! One mailbox's way to the service: every request passes the gate, carries a token, and is judged in one place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::answer::{Fault, Reply};
use super::config::Base;
use crate::env::{Env, Step};
use crate::http::oauth::TokenSource;
use crate::http::{Exchange, HttpClient, HttpError, retry_after};
use crate::limit::{Answer, Gate, Ticket};
use crate::model::{Error, Kind, Result, Scope};
use crate::transform::graph::{Bounds, Original};

/// What a path segment may hold unescaped (RFC 3986 §3.3), as far as ids and addresses need it.
const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@').remove(b'=');
/// What the value of a query parameter must not hold unescaped.
const QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Pages of one listing that are followed: 100 folders or 200 messages each.
const MAX_PAGES: usize = 20_000;
/// Tries of a request that reads, or may safely be sent again.
const TRIES: u32 = 4;
/// Longest wait inside such a try; a longer one is told to the engine.
const MAX_INNER_WAIT: Duration = Duration::from_secs(20);

/// Octets above which building a message would hold up other mailboxes' work: about a millisecond.
const MUCH: usize = 256 << 10;

/// An id or a name as one segment of a path.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// The value of a query parameter.
pub(super) fn query(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}

/// A message's octets, as the service makes them, and how many are taken, in bytes.
pub(super) const VALUE: &str = "/$value";
/// Items as streams, in base64: likewise.
const EXPORT: &str = "/exportItems";
const LARGEST_VALUE: usize = 256 << 20;

/// A request to be made.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Absolute. Never in an error or a log.
    pub(super) url: String,
    pub(super) body: Bytes,
    /// `bytes a-b/n` of an upload.
    pub(super) range: Option<String>,
    /// The URL lets in whoever has it: no token is sent.
    pub(super) keyed: bool,
    /// Passed just before it is sent.
    pub(super) step: Step,
    /// What is asked, for errors.
    pub(super) what: &'static str,
}

impl Call {
    /// A call to an absolute address.
    pub(super) fn to(method: Method, url: String, body: Bytes, step: Step, what: &'static str) -> Call {
        Call { method, url, body, range: None, keyed: false, step, what }
    }
}

/// The way to one mailbox.
pub(super) struct Session {
    pub(super) env: Env,
    pub(super) http: Arc<dyn HttpClient>,
    base: Base,
    pub(super) tokens: Arc<TokenSource>,
    pub(super) gate: Arc<Gate>,
    bounds: Bounds,
    original: Original,
    user: String,
    /// The service has no `$batch`.
    no_batches: AtomicBool,
    /// Requests that went out or may have.
    sent: AtomicU64,
    /// Copies may carry their stamp in a header, too.
    pub(super) header_stamps: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    pub(super) fn new(
        env: &Env,
        http: Arc<dyn HttpClient>,
        base: Base,
        tokens: Arc<TokenSource>,
        gate: Arc<Gate>,
        bounds: Bounds,
        mailbox: &str,
    ) -> Session {
        let user = format!("{}/users/{}", base.as_str(), segment(mailbox));
        let no_batches = AtomicBool::new(false);
        Session {
            env: env.clone(),
            http,
            base,
            tokens,
            gate,
            bounds,
            original: Original::default(),
            user,
            no_batches,
            sent: AtomicU64::new(0),
            header_stamps: false,
        }
    }

    /// With another rule for when the original is attached.
    pub(super) fn attaching(self, original: Original) -> Session {
        Session { original, ..self }
    }

    pub(super) fn original(&self) -> Original {
        self.original
    }

    /// Looks for stamps in headers as well.
    pub(super) fn with_header_stamps(mut self, on: bool) -> Session {
        self.header_stamps = on;
        self
    }

    /// Is every request to be made by itself?
    pub(super) fn no_batches(&self) -> bool {
        self.no_batches.load(Ordering::Relaxed)
    }

    /// The service knows no batches: none is tried again.
    pub(super) fn without_batches(&self) {
        self.no_batches.store(true, Ordering::Relaxed);
    }

    /// The mailbox below the service's beta, if there is one.
    pub(super) fn beta(&self) -> Option<String> {
        let below = self.user.strip_prefix(self.base.as_str())?;
        self.base.beta().map(|beta| format!("{beta}{below}"))
    }

    pub(super) fn base(&self) -> &Base {
        &self.base
    }

    /// Work on octets: off the async threads if there is much of it.
    pub(super) fn transform<T>(&self, octets: usize, work: impl FnOnce() -> T) -> T {
        if octets > MUCH { self.env.blocking(work) } else { work() }
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    pub(super) fn lookup(&self) -> Ticket {
        self.gate.lookup()
    }

    /// A call below this mailbox (`path` begins with a slash).
    pub(super) fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        step: Step,
        what: &'static str,
    ) -> Call {
        Call::to(method, format!("{}{path}", self.user), body, step, what)
    }

    /// Makes a request, once; a second time only if the token was refused (401: nothing was done with it).
    pub(super) async fn send(&self, ticket: &Ticket, call: &Call) -> Result<Reply, Fault> {
        self.send_as("application/json", ticket, call).await
    }

    /// As [`Session::send`], with another kind of body.
    pub(super) async fn send_as(
        &self,
        kind: &'static str,
        ticket: &Ticket,
        call: &Call,
    ) -> Result<Reply, Fault> {
        let mut token = None;
        if !call.keyed {
            token = Some(self.tokens.get().await.map_err(Fault::NotSent)?);
        }
        let reply = self.attempt(kind, ticket, call, token.as_ref().map(|t| t.authorization())).await?;
        match token {
            Some(refused) if reply.status == StatusCode::UNAUTHORIZED => {
                let token = self.tokens.renew(refused.generation()).await.map_err(Fault::NotSent)?;
                self.attempt(kind, ticket, call, Some(token.authorization())).await
            }
            _ => Ok(reply),
        }
    }

    async fn attempt(
        &self,
        kind: &'static str,
        ticket: &Ticket,
        call: &Call,
        authorization: Option<&HeaderValue>,
    ) -> Result<Reply, Fault> {
        let request = request(kind, call, authorization).map_err(Fault::NotSent)?;
        let uploads = matches!(call.method, Method::POST | Method::PATCH | Method::PUT);
        let charged = if uploads { call.body.len() as u64 } else { 0 };
        // Told to send nothing for minutes: whoever holds octets gives them back and waits where a stop ends the wait.
        let left = self.gate.blocked_until().map(|until| until.saturating_sub(self.env.now()));
        if let Some(left) = left.filter(|left| *left > MAX_INNER_WAIT) {
            let what = format!("{}: the target asked us to send nothing for now", call.what);
            return Err(Fault::NotSent(Error::throttled(Scope::Mailbox, what, Some(left))));
        }
        let slot = self.gate.admit(ticket, charged).await;
        self.env.step(call.step).await;
        let mut exchange = Exchange::default();
        if call.url.ends_with(VALUE) || call.url.ends_with(EXPORT) {
            exchange.max_response = LARGEST_VALUE;
        }
        let result = self.execute(request, &exchange).await;
        let place = |e: &Error| Error { what: format!("{}: {}", call.what, e.what), ..e.clone() };
        match result {
            Ok(response) => {
                let wait = retry_after(response.headers(), self.env.wall());
                let reply = Reply { status: response.status(), wait, body: response.into_body() };
                slot.finish(reply.for_gate());
                Ok(reply)
            }
            Err(HttpError::NotSent(e)) => {
                slot.finish(Answer::NotSent);
                Err(Fault::NotSent(place(&e)))
            }
            Err(HttpError::MayHaveBeenSent(e)) => {
                slot.finish(Answer::Unknown);
                Err(Fault::Unknown(place(&e)))
            }
        }
    }

    /// Sends a request, once, and counts it if it left.
    pub(super) async fn execute(
        &self,
        request: http::Request<Bytes>,
        exchange: &Exchange,
    ) -> std::result::Result<http::Response<Bytes>, HttpError> {
        let result = self.http.execute(request, exchange).await;
        self.env.step(Step::TargetAnswer).await;
        if !matches!(result, Err(HttpError::NotSent(_))) {
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// How many requests went out or may have; a `$batch` is one.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Makes a request that may be sent again without harm (a read, a PATCH, a DELETE), until it has one of the
    /// `wanted` answers, a bounded number of times.
    pub(super) async fn insist(&self, ticket: &Ticket, call: &Call, wanted: &[u16]) -> Result<Reply, Fault> {
        let mut tries = 0;
        loop {
            tries += 1;
            let fault = match self.send(ticket, call).await.and_then(|r| r.expect(wanted, call.what)) {
                Ok(reply) => return Ok(reply),
                Err(fault) => fault,
            };
            if tries == TRIES || !self.wait_before_retry(fault.error(), tries).await {
                return Err(fault);
            }
        }
    }

    /// Waits as the error asks, or with backoff. `false`: trying again makes no sense here.
    pub(super) async fn wait_before_retry(&self, error: &Error, tries: u32) -> bool {
        if !error.may_pass() {
            return false;
        }
        let backoff = Duration::from_millis(250 << tries.min(6));
        let wait = error.retry_after.unwrap_or(backoff);
        if wait > MAX_INNER_WAIT {
            return false;
        }
        // Jitter: many mailboxes are throttled at once and must not come back at once.
        let jitter = Duration::from_millis(self.env.random(wait.as_millis().min(2_000) as u64 / 2 + 50));
        self.env.sleep(wait + jitter).await;
        true
    }

    /// Reads one object below this mailbox.
    pub(super) async fn read(&self, path: &str, step: Step, what: &'static str) -> Result<Value, Fault> {
        self.read_url(format!("{}{path}", self.user), step, what).await
    }

    /// Reads one object.
    pub(super) async fn read_url(&self, url: String, step: Step, what: &'static str) -> Result<Value, Fault> {
        let call = Call::to(Method::GET, url, Bytes::new(), step, what);
        let reply = self.insist(&self.lookup(), &call, &[200]).await?;
        reply.json().ok_or_else(|| Fault::NotSent(unreadable(what)))
    }

    /// Reads every page of a listing below this mailbox. Complete or an error.
    pub(super) async fn list(&self, path: &str, step: Step, what: &'static str) -> Result<Vec<Value>, Fault> {
        self.list_url(format!("{}{path}", self.user), step, what).await
    }

    /// Reads every page of a listing. Complete or an error.
    pub(super) async fn list_url(
        &self,
        url: String,
        step: Step,
        what: &'static str,
    ) -> Result<Vec<Value>, Fault> {
        let mut all = Vec::new();
        self.each_page(url, step, what, &mut |mut values| all.append(&mut values)).await.map(|()| all)
    }

    /// Reads every page of a listing below this mailbox and hands each over. Complete or an error.
    pub(super) async fn each_page_below(
        &self,
        path: &str,
        step: Step,
        what: &'static str,
        take: &mut (dyn FnMut(Vec<Value>) + Send),
    ) -> Result<(), Fault> {
        self.each_page(format!("{}{path}", self.user), step, what, take).await
    }

    async fn each_page(
        &self,
        mut url: String,
        step: Step,
        what: &'static str,
        take: &mut (dyn FnMut(Vec<Value>) + Send),
    ) -> Result<(), Fault> {
        for _ in 0..MAX_PAGES {
            let mut page = self.read_url(url.clone(), step, what).await?;
            let Some(values) = page.get_mut("value").and_then(Value::as_array_mut) else {
                return Err(Fault::NotSent(unreadable(what)));
            };
            take(std::mem::take(values));
            match page["@odata.nextLink"].as_str() {
                None => return Ok(()),
                Some(next) if self.base.owns(next) && next != url => url = next.to_owned(),
                Some(_) => {
                    let what = format!("{what}: the next page lies elsewhere");
                    return Err(Fault::NotSent(Error::new(Kind::Protocol, Scope::Endpoint, what).remedy(
                        "a token is sent to base_url only; check base_url and any proxy before it",
                    )));
                }
            }
        }
        Err(Fault::NotSent(Error::new(
            Kind::Protocol,
            Scope::Mailbox,
            format!("{what}: the listing does not end"),
        )))
    }
}

pub(super) fn unreadable(what: &str) -> Error {
    Error::temporary(Kind::Protocol, Scope::Mailbox, format!("{what}: the target's answer is not readable"))
}

pub(super) fn request(
    kind: &'static str,
    call: &Call,
    authorization: Option<&HeaderValue>,
) -> Result<http::Request<Bytes>> {
    let mut builder = http::Request::builder().method(&call.method).uri(&call.url);
    if let Some(authorization) = authorization {
        builder = builder
            .header(header::AUTHORIZATION, authorization)
            .header(header::ACCEPT, "application/json")
            // Ids that stay with a message when it is moved inside its mailbox.
            .header("Prefer", "IdType=\"ImmutableId\"");
    }
    match &call.range {
        Some(range) => {
            builder = builder
                .header(header::CONTENT_RANGE, range)
                .header(header::CONTENT_TYPE, "application/octet-stream");
        }
        None if !call.body.is_empty() => builder = builder.header(header::CONTENT_TYPE, kind),
        None => {}
    }
    if !matches!(call.method, Method::GET | Method::DELETE) {
        builder = builder.header(header::CONTENT_LENGTH, call.body.len());
    }
    builder.body(call.body.clone()).map_err(|_| {
        Error::new(
            Kind::Protocol,
            Scope::Mailbox,
            format!("{}: an id or address cannot be part of a URL", call.what),
        )
    })
}

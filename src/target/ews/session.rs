//! One mailbox's way to the server: every request passes the gate, is authorised, and is judged in one place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::sync::Semaphore;

use super::answer::{self, Fault, Reply};
use super::auth::{Auth, Pass};
use super::config::EwsSettings;
use super::tree::Element;
use crate::env::{Env, Step};
use crate::http::oauth::Claims;
use crate::http::{Exchange, HttpClient, HttpError, check_url, retry_after};
use crate::limit::{Answer, Gate, Ticket};
use crate::model::{Error, Kind, Result, Scope};
use crate::transform::xml;

/// Namespaces of the protocol ("EWS reference for Exchange": messages and types).
const MESSAGES: &str = "http://schemas.microsoft.com/exchange/services/2006/messages";
const TYPES: &str = "http://schemas.microsoft.com/exchange/services/2006/types";
const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";

/// Tries of a request that reads, or may safely be sent again.
const TRIES: u32 = 4;
/// Largest answer with a message in it, in bytes.
const LARGEST_ITEM: usize = 256 << 20;
/// Longest wait inside such a try; a longer one is told to the engine.
const MAX_INNER_WAIT: Duration = Duration::from_secs(20);
/// Things asked about in one request.
pub(super) const AT_ONCE: usize = 50;

/// A server works on a request for up to a minute; twice that, and the time to send it slowly.
const DEADLINE: Duration = Duration::from_secs(120);
/// Slowest upload that is waited for, in bytes per second.
const SLOWEST: u64 = 100_000;

/// Longest address of a mailbox, in bytes: more than SMTP allows (RFC 5321 §4.5.3.1).
const LONGEST_ADDRESS: usize = 1_000;

/// Octets above which building a request would hold up other mailboxes' work: about a millisecond.
const MUCH: usize = 256 << 10;

/// What the mailboxes of one endpoint share.
pub(super) struct Endpoint {
    env: Env,
    http: Arc<dyn HttpClient>,
    auth: Auth,
    settings: EwsSettings,
    /// So many requests at once, over all mailboxes.
    doors: Option<Semaphore>,
}

impl Endpoint {
    pub(super) fn new(env: &Env, http: Arc<dyn HttpClient>, settings: EwsSettings) -> Result<Endpoint> {
        check_url(&settings.url, settings.plain_http, "url")?;
        let auth = Auth::new(env, http.clone(), settings.login.clone(), settings.plain_http)?;
        let doors = settings.max_connections.map(|most| Semaphore::new(most.max(1)));
        Ok(Endpoint { env: env.clone(), http, auth, settings, doors })
    }

    pub(super) fn settings(&self) -> &EwsSettings {
        &self.settings
    }

    /// What the token says of itself; `None`: no token is used.
    pub(super) async fn claims(&self) -> Option<Result<Claims>> {
        self.auth.claims().await
    }
}

/// A request to be made.
#[derive(Clone)]
pub(super) struct Call {
    /// The operation: `CreateItem`.
    pub(super) op: &'static str,
    /// The whole envelope.
    pub(super) body: Bytes,
    /// Passed just before it is sent.
    pub(super) step: Step,
    /// What is asked, for errors.
    pub(super) what: &'static str,
}

/// The way to one mailbox.
pub(super) struct Session {
    endpoint: Arc<Endpoint>,
    gate: Arc<Gate>,
    /// The mailbox's address, escaped.
    mailbox: String,
    /// What stands in `X-AnchorMailbox`; `None`: the address cannot stand there.
    anchor: Option<HeaderValue>,
    /// The envelope up to the body.
    head: String,
    sent: AtomicU64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    /// # Errors
    /// `Config`, of this mailbox: its address cannot be one.
    pub(super) fn new(endpoint: Arc<Endpoint>, gate: Arc<Gate>, mailbox: &str) -> Result<Session> {
        let plain = |c: char| xml::allowed(c) && !c.is_control();
        if mailbox.is_empty() || mailbox.len() > LONGEST_ADDRESS || !mailbox.chars().all(plain) {
            return Err(Error::new(Kind::Config, Scope::Mailbox, "the target mailbox's name is no address")
                .remedy("name it by its primary SMTP address"));
        }
        // The field is a hint for the front end, and its value is visible ASCII (RFC 9110 §5.5: a sender should not
        // make others; servers read them as Latin-1, UTF-8, or not at all). An address with other characters is named
        // in the envelope alone, which has an encoding.
        let visible = mailbox.bytes().all(|b| (b' '..=b'~').contains(&b));
        let anchor = visible.then(|| HeaderValue::from_str(mailbox).ok()).flatten();
        let mut escaped = String::new();
        xml::text(&mut escaped, mailbox);
        let settings = endpoint.settings();
        let mut head = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>");
        head.push_str(&format!(
            "<s:Envelope xmlns:s=\"{SOAP}\" xmlns:m=\"{MESSAGES}\" xmlns:t=\"{TYPES}\"><s:Header>"
        ));
        xml::empty(&mut head, "t:RequestServerVersion", &[("Version", settings.version.word())]);
        if settings.impersonation {
            head.push_str(&format!(
                "<t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>{escaped}</t:PrimarySmtpAddress>\
                 </t:ConnectingSID></t:ExchangeImpersonation>"
            ));
        }
        head.push_str("</s:Header><s:Body>");
        Ok(Session { gate, mailbox: escaped, anchor, head, sent: AtomicU64::new(0), endpoint })
    }

    pub(super) fn settings(&self) -> &EwsSettings {
        self.endpoint.settings()
    }

    pub(super) fn lookup(&self) -> Ticket {
        self.gate.lookup()
    }

    /// How many requests were sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Work on octets: off the async threads if there is much of it.
    pub(super) fn transform<T>(&self, octets: usize, work: impl FnOnce() -> T) -> T {
        if octets > MUCH { self.endpoint.env.blocking(work) } else { work() }
    }

    /// A well-known folder of **this** mailbox. Without impersonation an account's own folder would be meant, so that the
    /// mailbox is named.
    pub(super) fn distinguished(&self, out: &mut String, id: &str) {
        if self.settings().impersonation {
            return xml::empty(out, "t:DistinguishedFolderId", &[("Id", id)]);
        }
        out.push_str(&format!(
            "<t:DistinguishedFolderId Id=\"{id}\"><t:Mailbox><t:EmailAddress>{}</t:EmailAddress></t:Mailbox>\
             </t:DistinguishedFolderId>",
            self.mailbox
        ));
    }

    /// A request; `write` appends what stands in `m:{op}` (attributes are given with it: ` A="b"`).
    pub(super) fn call(
        &self,
        op: &'static str,
        attributes: &str,
        step: Step,
        what: &'static str,
        write: impl FnOnce(&mut String),
    ) -> Call {
        let mut body = self.begin(op, attributes, 1024);
        write(&mut body);
        Session::end(body, op, step, what)
    }

    /// The beginning of a request's body with room for `room` bytes.
    pub(super) fn begin(&self, op: &str, attributes: &str, room: usize) -> String {
        let mut body = String::with_capacity(self.head.len() + room + 128);
        body.push_str(&self.head);
        body.push_str("<m:");
        body.push_str(op);
        body.push_str(attributes);
        body.push('>');
        body
    }

    /// A request from its body but the end.
    pub(super) fn end(mut body: String, op: &'static str, step: Step, what: &'static str) -> Call {
        body.push_str("</m:");
        body.push_str(op);
        body.push_str("></s:Body></s:Envelope>");
        Call { op, body: Bytes::from(body), step, what }
    }

    /// Makes a request, once; again only if the server wanted another login (401: nothing was done with it).
    pub(super) async fn send(&self, ticket: &Ticket, call: &Call) -> Result<Reply, Fault> {
        let Endpoint { env, auth, .. } = &*self.endpoint;
        let mut pass = auth.pass(env).await.map_err(Fault::NotSent)?;
        for _ in 0..2 {
            match self.attempt(ticket, call, &pass).await? {
                Attempt::Judged(reply) => return Ok(reply),
                Attempt::Unauthorised(head) => {
                    pass = auth.after_refusal(env, &pass, &head).await.map_err(Fault::NotSent)?;
                }
            }
        }
        match self.attempt(ticket, call, &pass).await? {
            Attempt::Judged(reply) => Ok(reply),
            Attempt::Unauthorised(head) => match auth.after_refusal(env, &pass, &head).await {
                Err(error) => Err(Fault::NotSent(error)),
                Ok(_) => Err(Fault::NotSent(super::auth::refused_again(&head))),
            },
        }
    }

    async fn attempt(&self, ticket: &Ticket, call: &Call, pass: &Pass) -> Result<Attempt, Fault> {
        let Endpoint { env, http, doors, .. } = &*self.endpoint;
        let request = self.request(call, pass.header()).map_err(Fault::NotSent)?;
        // Told to send nothing for minutes: whoever holds octets gives them back and waits where a stop ends the wait.
        let left = self.gate.blocked_until().map(|until| until.saturating_sub(env.now()));
        if let Some(left) = left.filter(|left| *left > MAX_INNER_WAIT) {
            let what = format!("{}: the target asked us to send nothing for now", call.what);
            return Err(Fault::NotSent(Error::throttled(Scope::Mailbox, what, Some(left))));
        }
        let length = call.body.len() as u64;
        let slot = self.gate.admit(ticket, length).await;
        // A semaphore that is never closed: there is always a permit, sooner or later.
        let door = match doors {
            Some(doors) => doors.acquire().await.ok(),
            None => None,
        };
        env.step(call.step).await;
        let deadline = DEADLINE + Duration::from_secs(length / SLOWEST);
        let mut exchange = Exchange { deadline, ..Exchange::default() };
        if matches!(call.op, "GetItem" | "ExportItems") {
            exchange.max_response = LARGEST_ITEM;
        }
        let began = env.now();
        self.sent.fetch_add(1, Ordering::Relaxed);
        let result = http.execute(request, &exchange).await;
        let took = env.now().saturating_sub(began);
        drop(door);
        env.step(Step::TargetAnswer).await;
        let place = |e: &Error| Error { what: format!("{}: {}", call.what, e.what), ..e.clone() };
        match result {
            Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                slot.finish(Answer::Served);
                Ok(Attempt::Unauthorised(response.headers().clone()))
            }
            Ok(response) => {
                let wait = retry_after(response.headers(), env.wall());
                let judged = answer::read(response.status(), wait, response.body(), call.op, call.what);
                slot.finish(match &judged {
                    Ok(reply) => reply.for_gate(),
                    Err(fault) => answer::for_gate(fault),
                });
                judged.map(|mut reply| {
                    reply.took = took;
                    Attempt::Judged(reply)
                })
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

    fn request(&self, call: &Call, authorization: Option<&HeaderValue>) -> Result<http::Request<Bytes>> {
        let mut builder = http::Request::builder()
            .method(Method::POST)
            .uri(&self.settings().url)
            .header(header::CONTENT_TYPE, "text/xml; charset=utf-8")
            .header(header::ACCEPT, "text/xml")
            .header(header::CONTENT_LENGTH, call.body.len())
            .header("SOAPAction", format!("\"{MESSAGES}/{}\"", call.op));
        if let Some(anchor) = &self.anchor {
            // The front end sends us to the server where the mailbox is.
            builder = builder.header("X-AnchorMailbox", anchor);
        }
        if let Some(authorization) = authorization {
            builder = builder.header(header::AUTHORIZATION, authorization);
        }
        builder.body(call.body.clone()).map_err(|_| {
            Error::new(Kind::Config, Scope::Endpoint, "the target's address is not a URL")
                .remedy("write `url` like https://mail.example.org/EWS/Exchange.asmx")
        })
    }

    /// Makes a request that may be sent again without harm, until it has an answer, a bounded number of times.
    pub(super) async fn insist(&self, call: &Call) -> Result<Reply, Fault> {
        let mut tries = 0;
        loop {
            tries += 1;
            let fault = match self.send(&self.lookup(), call).await {
                Ok(reply) => return Ok(reply),
                Err(fault) => fault,
            };
            if tries == TRIES || !self.wait_before_retry(fault.error(), tries).await {
                return Err(fault);
            }
        }
    }

    /// Makes a request about one thing that may be sent again without harm, until what was asked is done.
    pub(super) async fn one<T>(
        &self,
        call: &Call,
        read: impl Fn(Element<'_>) -> Option<T>,
    ) -> Result<T, Fault> {
        let mut tries = 0;
        loop {
            tries += 1;
            let fault = match self.insist(call).await?.messages()[..] {
                [message] => match answer::done(message, call.what) {
                    Ok(message) => match read(message) {
                        Some(found) => return Ok(found),
                        None => Fault::Unknown(answer::unreadable(call.what)),
                    },
                    Err(fault) => fault,
                },
                _ => Fault::Unknown(answer::unreadable(call.what)),
            };
            if tries == TRIES || !self.wait_before_retry(fault.error(), tries).await {
                return Err(fault);
            }
        }
    }

    /// Asks about many things, so many in one request, that may be asked again without harm. Exactly one result for
    /// each, in order; what failed for a moment is asked again, a bounded number of times.
    pub(super) async fn each<I, T>(
        &self,
        items: &[I],
        at_once: usize,
        make: impl Fn(&[&I]) -> Call,
        read: impl Fn(Element<'_>) -> Option<T>,
    ) -> Vec<Result<T, Fault>> {
        let mut results: Vec<Option<Result<T, Fault>>> = items.iter().map(|_| None).collect();
        let mut todo: Vec<usize> = (0..items.len()).collect();
        let mut tries = 0;
        while !todo.is_empty() {
            tries += 1;
            for part in todo.chunks(at_once.max(1)) {
                let asked: Vec<&I> = part.iter().map(|at| &items[*at]).collect();
                let call = make(&asked);
                let told = match self.insist(&call).await {
                    Ok(reply) => per_item(&reply, part.len(), call.what, &read),
                    Err(fault) => part.iter().map(|_| Err(fault.clone())).collect(),
                };
                for (at, one) in part.iter().zip(told) {
                    results[*at] = Some(one);
                }
            }
            let failed = |at: &usize| match &results[*at] {
                Some(Err(fault)) => Some(fault.error().clone()),
                _ => None,
            };
            todo.retain(|at| failed(at).is_some_and(|e| e.may_pass()));
            let longest = todo.iter().filter_map(failed).max_by_key(|e| e.retry_after);
            match longest {
                Some(error) if tries < TRIES && self.wait_before_retry(&error, tries).await => {}
                _ => break,
            }
        }
        let lost = || Err(Fault::Unknown(answer::unreadable("a request")));
        results.into_iter().map(|one| one.unwrap_or_else(lost)).collect()
    }

    /// Waits as the error asks, or with backoff. `false`: trying again makes no sense here.
    pub(super) async fn wait_before_retry(&self, error: &Error, tries: u32) -> bool {
        if !error.may_pass() {
            return false;
        }
        let env = &self.endpoint.env;
        let backoff = Duration::from_millis(250 << tries.min(6));
        let wait = error.retry_after.unwrap_or(backoff);
        if wait > MAX_INNER_WAIT {
            return false;
        }
        // Jitter: many mailboxes are throttled at once and must not come back at once.
        let span = u64::try_from(wait.as_millis().min(2_000)).unwrap_or(2_000) / 2 + 50;
        env.sleep(wait + Duration::from_millis(env.random(span))).await;
        true
    }
}

/// What became of one request.
enum Attempt {
    Judged(Reply),
    Unauthorised(HeaderMap),
}

/// Exactly one result for each thing asked about. An answer about another number of them is about nothing.
pub(super) fn per_item<T>(
    reply: &Reply,
    asked: usize,
    what: &str,
    read: impl Fn(Element<'_>) -> Option<T>,
) -> Vec<Result<T, Fault>> {
    let messages = reply.messages();
    if messages.len() != asked {
        return (0..asked).map(|_| Err(Fault::Unknown(answer::unreadable(what)))).collect();
    }
    let one = |message| {
        answer::done(message, what)
            .and_then(|m| read(m).ok_or_else(|| Fault::Unknown(answer::unreadable(what))))
    };
    messages.into_iter().map(one).collect()
}

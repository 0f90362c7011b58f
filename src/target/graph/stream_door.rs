//! The way into a mailbox's store: its id there, and the import session, whose address is a secret.
//!
//! Awkward truths: the address needs no token, so whoever holds it can write; it is kept as a secret, named in no error
//! and no log, sent to a host we know, and no redirect is followed with it. It ends at a time of its own, and perhaps
//! earlier; how that is answered is documented nowhere, so a refusal that could be that has the session renewed, once.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use super::answer::{Fault, Reply};
use super::session::{Call, Session, segment, unreadable};
use crate::env::Step;
use crate::limit::Ticket;
use crate::model::{Error, Kind, Result, Scope};
use crate::target::dated::millis;

const OPENING: &str = "opening an import session";
/// A session is renewed so long before its end, in milliseconds; a short one after three quarters of its life.
const MARGIN: i64 = 60_000;
/// How long a session is used that does not tell its end, in milliseconds.
const UNTOLD: i64 = 300_000;

/// An import session.
struct Pass {
    address: SecretString,
    /// When another is to be had, in milliseconds since 1970.
    renew: i64,
    /// Tells it from those before.
    number: u64,
}

/// The way into one mailbox's store.
pub(super) struct Door {
    /// Hosts an import session may lie on, beside the service's own.
    hosts: Vec<String>,
    /// `{base}/admin/exchange/mailboxes/{id}`, once asked for.
    store: Mutex<Option<String>>,
    /// Locked while a session is opened: one request, however many lanes wait for it.
    pass: Mutex<Option<Arc<Pass>>>,
}

impl Door {
    pub(super) fn new(hosts: Vec<String>) -> Door {
        Door { hosts, store: Mutex::default(), pass: Mutex::default() }
    }

    /// The address of the mailbox's store.
    ///
    /// # Errors
    /// `Denied` if a role is missing, `NotFound` if the service has no such interface (national clouds).
    pub(super) async fn store(&self, session: &Session) -> Result<String> {
        let mut store = self.store.lock().await;
        if let Some(store) = &*store {
            return Ok(store.clone());
        }
        let what = "the mailbox's store";
        let settings = session.read("/settings/exchange", Step::TargetFind, what).await;
        let settings = settings.map_err(of_stream)?;
        let id = settings["primaryMailboxId"]
            .as_str()
            .filter(|id| (1..=1000).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()));
        let id = id.ok_or_else(|| unreadable(what))?;
        let url = format!("{}/admin/exchange/mailboxes/{}", session.base().as_str(), segment(id));
        Ok(store.insert(url).clone())
    }

    /// Posts to the import session. A session that is refused is renewed once: what was refused was not looked at.
    pub(super) async fn post(
        &self,
        session: &Session,
        ticket: &Ticket,
        body: Bytes,
        what: &'static str,
    ) -> Result<Reply, Fault> {
        let mut refused = None;
        loop {
            let pass = self.pass(session, refused).await?;
            let call = Call {
                keyed: true,
                ..Call::to(
                    Method::POST,
                    pass.address.expose_secret().to_owned(),
                    body.clone(),
                    Step::TargetStore,
                    what,
                )
            };
            let reply = session.send(ticket, &call).await?;
            if refused.is_none() && may_be_over(&reply) {
                refused = Some(pass.number);
                continue;
            }
            return reply.expect(&[200, 201], what).map_err(|fault| match fault {
                Fault::NotSent(e) => Fault::NotSent(with_role(e)),
                fault => fault,
            });
        }
    }

    async fn pass(&self, session: &Session, refused: Option<u64>) -> Result<Arc<Pass>, Fault> {
        let mut held = self.pass.lock().await;
        let now = session.env.wall();
        if let Some(pass) = &*held
            && now < pass.renew
            && refused != Some(pass.number)
        {
            return Ok(pass.clone());
        }
        let number = held.as_ref().map_or(0, |pass| pass.number) + 1;
        let store = self.store(session).await.map_err(Fault::NotSent)?;
        let url = format!("{store}/createImportSession");
        let call = Call::to(Method::POST, url, Bytes::new(), Step::TargetStorePart, OPENING);
        // A session too many does no harm, and nothing of the item was sent.
        let opened = session.insist(&session.lookup(), &call, &[200, 201]).await;
        let opened = opened.map_err(|fault| Fault::NotSent(of_stream(fault)))?;
        let opened = opened.json().unwrap_or_default();
        let address = opened["importUrl"].as_str().unwrap_or_default();
        if !session.base().lets_import(address, &self.hosts) {
            let what = format!("{OPENING}: its address is not on a host of the service");
            return Err(Fault::NotSent(
                Error::new(Kind::Protocol, Scope::Endpoint, what)
                    .remedy("mail is sent to known hosts only; check base_url and any proxy before it"),
            ));
        }
        let life = opened["expirationDateTime"].as_str().and_then(millis).map_or(UNTOLD, |end| end - now);
        let renew = now + (life - MARGIN).max(life / 4 * 3);
        let pass = Arc::new(Pass { address: SecretString::from(address.to_owned()), renew, number });
        Ok(held.insert(pass).clone())
    }
}

/// Could this refusal mean that the session is over?
fn may_be_over(reply: &Reply) -> bool {
    match reply.status.as_u16() {
        401 | 403 | 404 | 410 => true,
        400 => reply.code().is_some_and(|code| code.contains("Token") || code.contains("Session")),
        _ => false,
    }
}

/// A fault of this interface: what is missing is named.
pub(super) fn of_stream(fault: Fault) -> Error {
    match fault.into_error() {
        e if e.scope == Scope::Mailbox && e.kind == Kind::NotFound => {
            let what = "the target does not offer the import and export of items";
            Error::new(Kind::NotFound, Scope::Mailbox, what)
                .remedy("leave `import-stream` out of the target's `modes`: national clouds do not have it")
        }
        e => with_role(e),
    }
}

fn with_role(e: Error) -> Error {
    match e.kind {
        Kind::Denied | Kind::Auth => Error::new(Kind::Denied, Scope::Mailbox, e.what).remedy(
            "grant the app MailboxItem.ImportExport.All and MailboxFolder.ReadWrite.All (admin consent), or leave \
             `import-stream` out of `modes`",
        ),
        _ => e,
    }
}

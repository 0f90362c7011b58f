//! What an answer means: one place that judges HTTP statuses and Graph's error codes.
//!
//! Codes are matched, messages never (Graph, "Error responses"): they may hold addresses and subjects, and change.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::limit::Answer;
use crate::model::{Error, Kind, Outcome, Scope};

/// An answer of the service. No `Debug`: it may hold anything.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) wait: Option<Duration>,
    pub(super) body: Bytes,
}

/// Why a request gave nothing, by what the target may have done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It did nothing: not sent, throttled, no rights, no folder.
    NotSent(Error),
    /// It looked at the content and said no.
    Refused(Error),
    /// It may have done it.
    Unknown(Error),
}

impl Fault {
    pub(super) fn error(&self) -> &Error {
        match self {
            Fault::NotSent(e) | Fault::Refused(e) | Fault::Unknown(e) => e,
        }
    }

    pub(super) fn into_error(self) -> Error {
        match self {
            Fault::NotSent(e) | Fault::Refused(e) | Fault::Unknown(e) => e,
        }
    }

    pub(super) fn into_outcome(self) -> Outcome {
        match self {
            Fault::NotSent(e) => Outcome::NotSent(e),
            Fault::Refused(e) => Outcome::Refused(e),
            Fault::Unknown(e) => Outcome::Unknown(e),
        }
    }
}

impl Reply {
    /// The error code, if it is one: letters, digits, dots, dashes and underscores, at most 80.
    pub(super) fn code(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        let code = body["error"]["code"].as_str()?;
        let fine = (1..=80).contains(&code.len())
            && code.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
        fine.then(|| code.to_owned())
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body as what tells of a message that was made or changed.
    pub(super) fn made(&self) -> Option<Made<'_>> {
        serde_json::from_slice::<Made<'_>>(&self.body).ok().filter(|made| is_id(&made.id))
    }

    /// What the gate learns from it.
    pub(super) fn for_gate(&self) -> Answer {
        match self.status.as_u16() {
            429 | 503 => Answer::Throttled(self.wait),
            // The front end gave up; the back end may still be working on it.
            408 | 504 => Answer::Unknown,
            _ => Answer::Served,
        }
    }

    /// Takes an answer with one of the `wanted` statuses; everything else is a fault. `what` was asked, for the text.
    pub(super) fn expect(self, wanted: &[u16], what: &str) -> Result<Reply, Fault> {
        if wanted.contains(&self.status.as_u16()) { Ok(self) } else { Err(self.fault(what)) }
    }

    fn fault(&self, what: &str) -> Fault {
        let code = self.code().unwrap_or_default();
        let status = self.status.as_u16();
        let said = if code.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status} {code}") };
        let text = format!("{what}: the target answered {said}");
        let error = |kind, scope| Error::new(kind, scope, text.clone());
        let temporary = |kind, scope| Error::temporary(kind, scope, text.clone());
        // Some refusals are known by their code, whatever the status around them.
        match code.as_str() {
            "ErrorQuotaExceeded" => return quota(text),
            "MailboxNotEnabledForRESTAPI"
            | "MailboxNotSupportedForRESTAPI"
            | "ErrorNonExistentMailbox"
            | "ErrorInvalidUser"
            | "Request_ResourceNotFound"
            | "ResourceNotFound" => {
                return Fault::NotSent(
                    error(Kind::NotFound, Scope::Mailbox)
                        .remedy("check the target address and that the mailbox is provisioned and licensed"),
                );
            }
            _ => {}
        }
        match status {
            429 | 503 => Fault::NotSent(Error::throttled(Scope::Mailbox, text, self.wait)),
            401 => Fault::NotSent(
                error(Kind::Auth, Scope::Endpoint)
                    .remedy("check the app's registration, its secret and its consent"),
            ),
            403 => Fault::NotSent(
                error(Kind::Denied, Scope::Mailbox)
                    .remedy("grant the app Mail.ReadWrite for this mailbox (role assignment and its scope)"),
            ),
            404 | 410 => Fault::NotSent(error(Kind::NotFound, Scope::Folder)),
            409 | 412 | 423 => Fault::Unknown(temporary(Kind::Conflict, Scope::Message)),
            413 => Fault::Refused(
                error(Kind::TooLarge, Scope::Message).remedy("hand the message over as a file"),
            ),
            507 => quota(text),
            300..400 => Fault::NotSent(
                error(Kind::Protocol, Scope::Endpoint)
                    .remedy("redirects are not followed: a token would follow them; set the right base_url"),
            ),
            408 | 500..600 => Fault::Unknown(temporary(Kind::Unreachable, Scope::Mailbox)),
            400..500 => Fault::Refused(error(Kind::Refused, Scope::Message)),
            // A success that is none: another status than the documented one.
            _ => Fault::Unknown(temporary(Kind::Protocol, Scope::Message)),
        }
    }
}

fn quota(text: String) -> Fault {
    Fault::NotSent(
        Error::new(Kind::Quota, Scope::Mailbox, text)
            .remedy("enlarge the target mailbox or its plan, then run again"),
    )
}

/// What we read of the message that an answer tells of; the rest of it is passed over, not kept.
#[derive(Deserialize)]
pub(super) struct Made<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    /// The folder it lies in.
    #[serde(borrow, default, rename = "parentFolderId")]
    pub(super) parent: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "internetMessageId")]
    pub(super) message_id: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "receivedDateTime")]
    pub(super) received: Option<Cow<'a, str>>,
}

/// The `id` of an answer: not empty, visible ASCII, of a sane length. Ids are case-sensitive and opaque.
pub(super) fn id(value: &Value) -> Option<&str> {
    value["id"].as_str().filter(|id| is_id(id))
}

fn is_id(id: &str) -> bool {
    (1..=1000).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_meaning() {
        let fault = |status: u16, body: &'static str| {
            let status = StatusCode::from_u16(status).expect("status");
            Reply { status, wait: None, body: Bytes::from_static(body.as_bytes()) }.fault("x")
        };
        for status in [408, 409, 412, 423, 500, 502, 504, 509, 200, 202] {
            assert!(matches!(fault(status, ""), Fault::Unknown(e) if e.may_pass()), "{status}");
        }
        for status in [400, 405, 413, 415, 422] {
            assert!(matches!(fault(status, ""), Fault::Refused(_)), "{status}");
        }
        for status in [429, 503] {
            assert!(matches!(fault(status, ""), Fault::NotSent(e) if e.kind == Kind::Throttled), "{status}");
        }
        for (status, kind, scope) in [
            (301, Kind::Protocol, Scope::Endpoint),
            (401, Kind::Auth, Scope::Endpoint),
            (403, Kind::Denied, Scope::Mailbox),
            (404, Kind::NotFound, Scope::Folder),
            (507, Kind::Quota, Scope::Mailbox),
        ] {
            assert!(
                matches!(fault(status, ""), Fault::NotSent(e) if (e.kind, e.scope) == (kind, scope)),
                "{status}"
            );
        }
        let inside = r#"{"error":{"code":"ErrorQuotaExceeded","message":"ann@example.org"}}"#;
        assert!(
            matches!(fault(500, inside), Fault::NotSent(e) if e.kind == Kind::Quota && !e.what.contains("ann"))
        );
        let strange = r#"{"error":{"code":"a b\u001b[31m"}}"#;
        assert_eq!(fault(400, strange).error().what, "x: the target answered HTTP 400");
    }
}

//! A refused login in the operator's words.

use crate::imap::{Code, Done, Status, WireError};
use crate::model::{Error, Kind, Scope};

/// Why nobody is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// For the operator.
    pub error: Error,
    /// For whoever decides what to do next.
    pub why: Why,
}

/// What a refusal says about the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Name or secret is wrong, or the mailbox is not there: servers do not say which.
    Credentials,
    /// The secret is right, and does not reach this mailbox.
    Rights,
    /// The server offers SCRAM, but not to this user. The password was not looked at.
    Scram,
    /// It has nothing to do with the secret.
    Other,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused { error, why: Why::Other }
    }
}

impl From<WireError> for Refused {
    fn from(error: WireError) -> Refused {
        error.into_error().into()
    }
}

impl Refused {
    pub(super) fn credentials(what: &str, remedy: &str) -> Refused {
        let error = Error::new(Kind::Auth, Scope::Mailbox, what).remedy(remedy);
        Refused { error, why: Why::Credentials }
    }

    pub(super) fn scram() -> Refused {
        let error = Error::new(
            Kind::Auth,
            Scope::Mailbox,
            "the server refused SCRAM-SHA-256 before it looked at the password; nothing was sent in clear text",
        )
        .remedy("check the mailbox's name; if the server keeps no SCRAM verifier for it, set `mechanism = \"plain\"`, over TLS");
        Refused { error, why: Why::Scram }
    }
}

/// What a tagged NO or BAD means.
pub(super) fn refused(done: &Done) -> Refused {
    let name = match &done.code {
        Code::Named(name) => name.as_str(),
        _ => "",
    };
    match name {
        "UNAVAILABLE" | "SERVERBUG" | "INUSE" => {
            done.refusal(Scope::Mailbox, "logging in").remedy("the server's log tells why").into()
        }
        "LIMIT" | "THROTTLED" => done
            .refusal(Scope::Mailbox, "logging in")
            .remedy("lower `max_connections`, or raise the server's limit of connections for this address")
            .into(),
        "AUTHORIZATIONFAILED" => Refused {
            error: Error::new(
                Kind::Auth,
                Scope::Mailbox,
                "the password is right, but this account may not act as the mailbox",
            )
            .remedy("give the master user the right to this mailbox"),
            why: Why::Rights,
        },
        "EXPIRED" => Refused::credentials("the password or token has expired", "renew it"),
        "PRIVACYREQUIRED" => Error::new(
            Kind::Tls,
            Scope::Endpoint,
            "the server takes this login over an encrypted connection only",
        )
        .remedy("set `tls = \"implicit\"` or \"starttls\"")
        .into(),
        _ if done.not_connected() => {
            Refused { error: done.refusal(Scope::Mailbox, "logging in"), why: Why::Rights }
        }
        _ if done.backoff.is_some() => done.refusal(Scope::Mailbox, "logging in").into(),
        _ if done.status == Status::Bad => {
            Refused::credentials("the server does not understand the login", "choose another `mechanism`")
        }
        _ => Refused::credentials(
            "the server refused the login: wrong name or password",
            "check the mailbox's name and the password (master user: that the master may log in as this mailbox); it is tried once only, so that no account gets locked",
        ),
    }
}

//! Errors an operator can act on.
//!
//! The rules: an error says **what happened**, **to what** and **what to do**. It has a *scope* (how much is
//! broken) and a *status* (does trying again make sense). Its text never holds a secret, a subject, an address or
//! octets of a message: people and folders appear as ordinals or pseudonyms. Callers branch on `kind`, `scope` and
//! `status`, never on text.

use std::time::Duration;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How much is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// One message; its neighbours are fine.
    Message,
    /// One folder of a mailbox.
    Folder,
    /// One mailbox; other mailboxes are fine.
    Mailbox,
    /// One endpoint (a source host, a target service) and every mailbox on it.
    Endpoint,
    /// The whole run: nothing can go on.
    Run,
}

/// Whether trying again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// The same request will fail again.
    Permanent,
    /// May pass by itself; try again after a backoff.
    Temporary,
    /// The server told us to slow down; try again not before `retry_after`.
    Throttled,
}

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Wrong name, password or token.
    Auth,
    /// Logged in, but not allowed to do this.
    Denied,
    /// No connection: name resolution, refused, timed out, lost.
    Unreachable,
    /// The TLS handshake or the certificate failed.
    Tls,
    /// The peer broke its protocol or answered what we cannot read.
    Protocol,
    /// The thing asked for is not there.
    NotFound,
    /// The thing is there already or was changed under us.
    Conflict,
    /// Larger than a limit of ours or of the target.
    TooLarge,
    /// The target has no space left for this mailbox.
    Quota,
    /// The peer asks us to slow down.
    Throttled,
    /// The target will not take this message.
    Refused,
    /// A file or directory could not be read or written.
    Io,
    /// The configuration is wrong.
    Config,
    /// The ledger cannot be used, or refused a stale claim.
    Ledger,
    /// The operator (or the time window) asked us to stop.
    Stopped,
    /// A defect of our own.
    Internal,
}

/// One failure: what happened, to what, how far it reaches, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}{}", if self.remedy.is_empty() { String::new() } else { format!(" — {}", self.remedy) })]
pub struct Error {
    /// What kind of failure.
    pub kind: Kind,
    /// How much is broken.
    pub scope: Scope,
    /// Whether trying again makes sense.
    pub status: Status,
    /// What happened, to what. One line, safe to show and to log.
    pub what: String,
    /// What the operator can do. One line; may be empty.
    pub remedy: String,
    /// For [`Status::Throttled`]: the wait the server asked for, if it said one.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// A permanent error.
    pub fn new(kind: Kind, scope: Scope, what: impl Into<String>) -> Error {
        Error {
            kind,
            scope,
            status: Status::Permanent,
            what: what.into(),
            remedy: String::new(),
            retry_after: None,
        }
    }

    /// A temporary error: worth another try after a backoff.
    pub fn temporary(kind: Kind, scope: Scope, what: impl Into<String>) -> Error {
        Error { status: Status::Temporary, ..Error::new(kind, scope, what) }
    }

    /// The server asked us to slow down.
    pub fn throttled(scope: Scope, what: impl Into<String>, retry_after: Option<Duration>) -> Error {
        Error { status: Status::Throttled, retry_after, ..Error::new(Kind::Throttled, scope, what) }
    }

    /// Adds what the operator can do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Error {
        self.remedy = remedy.into();
        self
    }

    /// Changes how far the failure reaches.
    #[must_use]
    pub fn scoped(mut self, scope: Scope) -> Error {
        self.scope = scope;
        self
    }

    /// Puts the thing it happened to in front of the text.
    #[must_use]
    pub fn at(mut self, place: impl std::fmt::Display) -> Error {
        self.what = format!("{place}: {}", self.what);
        self
    }

    /// Whether trying again makes sense.
    pub fn may_pass(&self) -> bool {
        self.status != Status::Permanent
    }
}

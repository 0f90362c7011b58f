//! Microsoft Graph.

use std::path::PathBuf;

use super::limits::LimitSettings;
use super::oauth::AppProof;
use crate::guard::Secret;
use crate::model::WriteMode;

/// How to log in to Graph.
#[derive(Debug, Clone)]
pub enum GraphLogin {
    /// One or more apps (OAuth 2.0 client credentials).
    Apps {
        /// The directory (tenant) the mailboxes are in: its id, or a domain.
        tenant: String,
        /// Where tokens are issued (OAuth 2.0 token endpoint).
        token_url: String,
        /// What the tokens are for.
        scope: String,
        /// The apps; at least one. A mailbox stays on one of them.
        apps: Vec<GraphApp>,
    },
    /// A ready bearer token (for trials and the mock).
    Token {
        /// The token.
        token: Secret,
        /// The directory it must be for, if it is named.
        tenant: Option<String>,
    },
    /// The in-process mock asks for none.
    None,
}

/// An app registration.
#[derive(Debug, Clone)]
pub struct GraphApp {
    /// Its id.
    pub client_id: String,
    /// What it proves itself with.
    pub proof: AppProof,
}

/// A Microsoft Graph service.
#[derive(Debug, Clone)]
pub struct GraphSettings {
    /// Its address, without a slash at the end.
    pub base_url: String,
    /// How to log in.
    pub login: GraphLogin,
    /// PEM file with certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// `Some`: no service at all but the mock in this process, its state kept in this directory.
    pub mock: Option<PathBuf>,
    /// Largest message taken, in bytes of its octets.
    pub max_message: u64,
    /// When the whole original is attached to its copy.
    pub attach_original: AttachOriginal,
    /// How messages are written: the first that takes a message; at least one.
    pub modes: Vec<WriteMode>,
    /// What may leave, when.
    pub limits: LimitSettings,
}

/// When the whole original is attached to its copy, as a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachOriginal {
    /// Only where next to nothing could be kept otherwise.
    Never,
    /// Where something is lost that only the original has.
    WhenLossy,
    /// Always.
    Always,
}

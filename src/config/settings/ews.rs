//! Exchange Web Services.

use std::path::PathBuf;

use super::limits::LimitSettings;
use super::oauth::OAuth;
use crate::guard::Secret;

/// Who logs in to an EWS server.
#[derive(Debug, Clone)]
pub enum EwsLogin {
    /// A name and a password.
    Password {
        /// `DOMAIN\\user` or `user@example.org`.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A ready bearer token.
    Token(Secret),
    /// Tokens, renewed before they end.
    OAuth(Box<OAuth>),
}

/// What an EWS server is asked to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EwsVersion {
    /// `Exchange2013_SP1`
    Exchange2013Sp1,
    /// `Exchange2015`
    Exchange2015,
    /// `Exchange2016`
    Exchange2016,
}

/// A server of Exchange Web Services.
#[derive(Debug, Clone)]
pub struct EwsSettings {
    /// Its address.
    pub url: String,
    /// Who logs in.
    pub login: EwsLogin,
    /// Act as each mailbox.
    pub impersonation: bool,
    /// What it is asked to speak.
    pub version: EwsVersion,
    /// PEM file with certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Largest message taken, in bytes of its octets.
    pub max_message: u64,
    /// Messages of one request (1–50).
    pub batch_messages: usize,
    /// Octets of the messages of one request, in bytes.
    pub batch_size: u64,
    /// Stores at once per mailbox (1–16).
    pub lanes: usize,
    /// Requests at once over all mailboxes (1–10,000).
    pub max_connections: Option<usize>,
    /// What may leave, when: 0 stands for no limit.
    pub limits: LimitSettings,
}

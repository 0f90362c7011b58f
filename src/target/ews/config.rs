//! Settings of one EWS endpoint.

use secrecy::SecretString;

use crate::http::oauth::TokenSettings;

/// Largest message that fits a request of the servers' default size (64 MiB), in bytes.
pub const MAX_MESSAGE: u64 = 48_000_000;
/// Most messages of one request.
pub const MAX_BATCH: usize = 50;

/// What the requests ask the server to speak (`RequestServerVersion`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// Exchange Server 2013 with Service Pack 1: the first that can be told not to send read receipts. Every later one
    /// speaks it.
    #[default]
    Exchange2013Sp1,
    /// The service's of 2015.
    Exchange2015,
    /// Exchange Server 2016.
    Exchange2016,
}

impl Version {
    /// The schema's word.
    pub const fn word(self) -> &'static str {
        match self {
            Version::Exchange2013Sp1 => "Exchange2013_SP1",
            Version::Exchange2015 => "Exchange2015",
            Version::Exchange2016 => "Exchange2016",
        }
    }
}

/// Who logs in.
#[derive(Debug, Clone)]
pub enum EwsLogin {
    /// A name and a password (RFC 7617), sent only once the server has asked for them.
    Basic {
        /// `DOMAIN\user` or `user@example.org`.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// A bearer token (RFC 6750).
    Token(TokenSettings),
}

/// Settings of one EWS endpoint (`[target.NAME]` with `kind = "ews"`).
#[derive(Debug, Clone)]
pub struct EwsSettings {
    /// Its address: `https://mail.example.org/EWS/Exchange.asmx`.
    pub url: String,
    /// Who logs in.
    pub login: EwsLogin,
    /// Act as each mailbox (`ExchangeImpersonation`); without it the account needs full access to each.
    pub impersonation: bool,
    /// What the server is asked to speak.
    pub version: Version,
    /// Larger messages are skipped before they are fetched, in bytes.
    pub max_message_bytes: u64,
    /// Most messages of one request (1–50).
    pub batch_messages: usize,
    /// Most octets of the messages of one request, in bytes; a larger message goes alone.
    pub batch_bytes: u64,
    /// Stores at once per mailbox (1–16).
    pub lanes: usize,
    /// Requests at once over all mailboxes; `None`: as many as the mailboxes make.
    pub max_connections: Option<usize>,
    /// Allow `http://` to any host. Without it plain HTTP goes to this machine only.
    pub plain_http: bool,
}

impl EwsSettings {
    /// Settings with defaults for everything but the address and the login.
    pub fn new(url: impl Into<String>, login: EwsLogin) -> EwsSettings {
        EwsSettings {
            url: url.into(),
            login,
            impersonation: true,
            version: Version::default(),
            max_message_bytes: MAX_MESSAGE,
            batch_messages: 20,
            batch_bytes: 4 << 20,
            lanes: 3,
            max_connections: None,
            plain_http: false,
        }
    }
}

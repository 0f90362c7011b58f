//! Where tokens come from.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::assertion::Certificate;
use crate::guard::Secret;

/// Where tokens come from.
#[derive(Debug, Clone)]
pub enum TokenSettings {
    /// A token given by the operator; it is used until it is refused.
    Static(SecretString),
    /// What a command prints, run again before the token ends.
    Command {
        /// The command.
        secret: Secret,
        /// How long each token lives.
        life: Duration,
    },
    /// OAuth 2.0 client credentials (RFC 6749 §4.4).
    ClientCredentials {
        /// Token endpoint, e.g. `https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token`.
        token_url: String,
        /// The app registration's id.
        client_id: String,
        /// Its secret.
        client_secret: SecretString,
        /// E.g. `https://graph.microsoft.com/.default`; each national cloud has its own host.
        scope: String,
    },
    /// Client credentials proven by a signed assertion instead of a secret (RFC 7523 §2.2).
    ClientAssertion {
        /// Token endpoint.
        token_url: String,
        /// The app registration's id.
        client_id: String,
        /// What proves that we are the app.
        proof: Proof,
        /// As for a secret.
        scope: String,
    },
    /// A refresh token (RFC 6749 §6). If the endpoint gives another one, that is used until the run ends.
    Refresh {
        /// Token endpoint.
        token_url: String,
        /// The app's id.
        client_id: String,
        /// Its secret, if it has one.
        client_secret: Option<SecretString>,
        /// The refresh token.
        refresh_token: SecretString,
        /// What the token is for; as granted at first if empty.
        scope: String,
    },
}

impl TokenSettings {
    /// The token endpoint, where there is one.
    pub(super) fn token_url(&self) -> Option<&str> {
        match self {
            TokenSettings::ClientCredentials { token_url, .. }
            | TokenSettings::ClientAssertion { token_url, .. }
            | TokenSettings::Refresh { token_url, .. } => Some(token_url),
            TokenSettings::Static(_) | TokenSettings::Command { .. } => None,
        }
    }
}

/// What an app proves itself with, in place of a secret.
#[derive(Debug, Clone)]
pub enum Proof {
    /// A certificate registered with the app: each assertion is made and signed here.
    Certificate(Arc<Certificate>),
    /// A token of an issuer the app trusts (workload identity federation), taken anew for each request: whoever gives
    /// it replaces it before it ends.
    Federated(Secret),
}

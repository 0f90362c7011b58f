//! Where tokens come from, and what an app proves itself with.

use std::time::Duration;

use crate::guard::Secret;

/// `[source.NAME.oauth]`, `[target.NAME.oauth]`: where tokens come from.
#[derive(Debug, Clone)]
pub enum OAuth {
    /// A command that prints one.
    Command {
        /// The command.
        command: Secret,
        /// How long each lives.
        life: Duration,
    },
    /// A token endpoint (RFC 6749).
    Endpoint {
        /// Its address.
        token_url: String,
        /// The app's id.
        client_id: String,
        /// What the app proves itself with; without a refresh token there is one (client credentials, §4.4).
        proof: Option<AppProof>,
        /// A refresh token (§6); beside it the proof is a secret, if there is one.
        refresh_token: Option<Secret>,
        /// What the token is for; may be empty beside a refresh token.
        scope: String,
    },
}

/// What an app proves itself with.
#[derive(Debug, Clone)]
pub enum AppProof {
    /// A secret.
    Secret(Secret),
    /// A certificate and its private key, as PEM.
    Certificate(Secret),
    /// A token of an issuer the app trusts, taken anew for each request.
    Federated(Secret),
}

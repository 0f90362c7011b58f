//! Where tokens come from: as typed → as meant, the secrets loaded, so that what is missing is told before anything is
//! sent.

use std::sync::Arc;

use crate::config::{AppProof, OAuth};
use crate::http::oauth::{Certificate, Proof, TokenSettings};
use crate::model::{Error, Kind, Result, Scope};

/// Tokens of an app.
///
/// # Errors
/// `Kind::Config`: a secret is missing, or a certificate is none.
pub(super) fn of_app(
    proof: &AppProof,
    token_url: &str,
    client_id: &str,
    scope: &str,
) -> Result<TokenSettings> {
    let (token_url, client_id, scope) = (token_url.to_owned(), client_id.to_owned(), scope.to_owned());
    let proof = match proof {
        AppProof::Secret(secret) => {
            let client_secret = secret.load()?;
            return Ok(TokenSettings::ClientCredentials { token_url, client_id, client_secret, scope });
        }
        AppProof::Certificate(secret) => {
            let certificate =
                Certificate::from_pem(secret.load_lines()?.as_bytes()).map_err(|e| e.at(&secret.place))?;
            Proof::Certificate(Arc::new(certificate))
        }
        AppProof::Federated(secret) => {
            secret.load()?;
            Proof::Federated(secret.clone())
        }
    };
    Ok(TokenSettings::ClientAssertion { token_url, client_id, proof, scope })
}

/// Tokens of a table `oauth`.
///
/// # Errors
/// As [`of_app`].
pub(super) fn token_settings(oauth: &OAuth) -> Result<TokenSettings> {
    let (token_url, client_id, proof, refresh_token, scope) = match oauth {
        OAuth::Command { command, life } => {
            return Ok(TokenSettings::Command { secret: command.clone(), life: *life });
        }
        OAuth::Endpoint { token_url, client_id, proof, refresh_token, scope } => {
            (token_url, client_id, proof, refresh_token, scope)
        }
    };
    match (refresh_token, proof) {
        (Some(refresh_token), proof) => {
            let client_secret = match proof {
                Some(AppProof::Secret(secret)) => Some(secret.load()?),
                _ => None,
            };
            Ok(TokenSettings::Refresh {
                token_url: token_url.clone(),
                client_id: client_id.clone(),
                client_secret,
                refresh_token: refresh_token.load()?,
                scope: scope.clone(),
            })
        }
        (None, Some(proof)) => of_app(proof, token_url, client_id, scope),
        (None, None) => {
            Err(Error::new(Kind::Config, Scope::Endpoint, "the app has nothing to prove itself with"))
        }
    }
}

//! OAuth 2.0 access tokens (RFC 6749): fetched once for all mailboxes, renewed before they end, in no log and no `Debug`.
//!
//! `settings` says where they come from, `ask` how the token endpoint is asked, `assertion` how an app proves itself with
//! a certificate, `claims` what a token says of itself, `tenant` whose tokens are taken.

mod ask;
mod assertion;
mod claims;
mod settings;
mod tenant;

pub use assertion::Certificate;
pub use claims::Claims;
pub use settings::{Proof, TokenSettings};
pub use tenant::Tenant;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header;
use secrecy::{ExposeSecret, SecretString};

use super::{HttpClient, check_url};
use crate::env::{Env, Tick};
use crate::model::{Error, Kind, Result, Scope};

/// After a failed refresh, everyone is told the same for this long: one wrong secret must not become a storm.
const FAILURE_HOLDS: Duration = Duration::from_secs(5);

/// One token with its number: a refused token is named by it, so that it is renewed once, not once per request.
#[derive(Clone)]
pub struct Token {
    secret: SecretString,
    /// The `Authorization` value; marked sensitive.
    authorization: header::HeaderValue,
    generation: u64,
}

impl Token {
    /// The token itself.
    pub fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// As the value of `Authorization` (RFC 6750 §2.1).
    pub fn authorization(&self) -> &header::HeaderValue {
        &self.authorization
    }

    /// What it says of itself; believed for advice only.
    pub fn claims(&self) -> Claims {
        Claims::of(self.secret.expose_secret())
    }

    /// Its number: it grows with every token of a [`TokenSource`].
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(generation {})", self.generation)
    }
}

/// Gives tokens. Shared by every mailbox of an endpoint.
pub struct TokenSource {
    env: Env,
    http: Arc<dyn HttpClient>,
    settings: TokenSettings,
    tenant: Option<Tenant>,
    state: Mutex<State>,
    /// Held while the token endpoint is asked: one asks, the others wait or use what is still valid.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    refresh_at: Tick,
    expires: Tick,
    generation: u64,
    failed: Option<(Tick, Error)>,
    /// The refresh token the endpoint gave last.
    refresh_token: Option<SecretString>,
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSource")
    }
}

impl TokenSource {
    /// A source. Nothing is fetched yet.
    ///
    /// # Errors
    /// The token endpoint's address is not usable.
    pub fn new(
        env: &Env,
        http: Arc<dyn HttpClient>,
        settings: TokenSettings,
        plain_http: bool,
    ) -> Result<TokenSource> {
        if let Some(token_url) = settings.token_url() {
            check_url(token_url, plain_http, "the token endpoint")?;
        }
        Ok(TokenSource {
            env: env.clone(),
            http,
            settings,
            tenant: None,
            state: Mutex::default(),
            flight: tokio::sync::Mutex::new(()),
        })
    }

    /// Takes tokens of this directory only.
    #[must_use]
    pub fn of_tenant(mut self, tenant: Tenant) -> TokenSource {
        self.tenant = Some(tenant);
        self
    }

    /// A token that is valid now. Asks the endpoint at most once at a time, and before the last one ends: from 80 % of
    /// its life on.
    ///
    /// # Errors
    /// `Auth` if the endpoint refuses us, `Unreachable` or `Throttled` if it cannot be asked now.
    pub async fn get(&self) -> Result<Token> {
        if let Some(token) = self.fresh(0) {
            return Ok(token);
        }
        let _flight = match self.flight.try_lock() {
            Ok(flight) => flight,
            Err(_) => match self.valid() {
                Some(token) => return Ok(token),
                None => self.flight.lock().await,
            },
        };
        if let Some(token) = self.fresh(0) {
            return Ok(token);
        }
        match self.refresh().await {
            Ok(token) => Ok(token),
            // The old one still lives: better late than not.
            Err(error) => self.valid().ok_or(error),
        }
    }

    /// A token after the one of this generation was refused (401): a newer one if there is one, else one fetched now.
    ///
    /// # Errors
    /// As [`TokenSource::get`]; `Auth` for a static token.
    pub async fn renew(&self, refused: u64) -> Result<Token> {
        let _flight = self.flight.lock().await;
        match self.fresh(refused) {
            Some(token) => Ok(token),
            None => self.refresh().await,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, newer_than: u64) -> Option<Token> {
        let now = self.env.now();
        let state = self.state();
        state.token.clone().filter(|t| t.generation > newer_than && now < state.refresh_at)
    }

    fn valid(&self) -> Option<Token> {
        let now = self.env.now();
        let state = self.state();
        state.token.clone().filter(|_| now < state.expires)
    }

    async fn refresh(&self) -> Result<Token> {
        if let Some((until, error)) = &self.state().failed
            && self.env.now() < *until
        {
            return Err(error.clone());
        }
        let result = self.fetch().await.and_then(|(secret, life)| {
            let ours = self.tenant.as_ref().map_or(Ok(()), |t| t.check(secret.expose_secret()));
            ours.map(|()| (secret, life))
        });
        let now = self.env.now();
        let mut state = self.state();
        match result {
            Ok((secret, life)) => {
                let value = format!("Bearer {}", secret.expose_secret());
                let Ok(mut authorization) = header::HeaderValue::from_str(&value) else {
                    return Err(Error::new(
                        Kind::Auth,
                        Scope::Endpoint,
                        "the token holds characters that no token has",
                    ));
                };
                authorization.set_sensitive(true);
                state.generation += 1;
                let token = Token { secret, authorization, generation: state.generation };
                state.token = Some(token.clone());
                state.refresh_at = now.saturating_add(life.mul_f64(0.8));
                state.expires = now.saturating_add(life);
                state.failed = None;
                Ok(token)
            }
            Err(error) => {
                state.failed = Some((now + FAILURE_HOLDS, error.clone()));
                Err(error)
            }
        }
    }
}

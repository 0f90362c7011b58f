//! OAuth 2.0 access tokens (RFC 6749): fetched once for all mailboxes, renewed before they end, in no log and no `Debug`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{Exchange, HttpClient, check_url, retry_after};
use crate::env::{Env, Tick};
use crate::guard::Secret;
use crate::model::{Error, Kind, Result, Scope};

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

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: serde_json::Value,
    #[serde(default)]
    refresh_token: Option<String>,
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
        if let TokenSettings::ClientCredentials { token_url, .. } | TokenSettings::Refresh { token_url, .. } =
            &settings
        {
            check_url(token_url, plain_http, "the token endpoint")?;
        }
        Ok(TokenSource {
            env: env.clone(),
            http,
            settings,
            state: Mutex::default(),
            flight: tokio::sync::Mutex::new(()),
        })
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
        let result = self.fetch().await;
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

    async fn fetch(&self) -> Result<(SecretString, Duration)> {
        let field = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let (token_url, form) = match &self.settings {
            TokenSettings::Static(_) if self.state().token.is_some() => {
                return Err(Error::new(
                    Kind::Auth,
                    Scope::Endpoint,
                    "the service refused the configured token",
                )
                .remedy("give a token that is valid, or let tokens be fetched as they are needed"));
            }
            TokenSettings::Static(token) => return Ok((token.clone(), Duration::MAX / 4)),
            TokenSettings::Command { secret, life } => {
                // It asks somebody else for the token, who may be well again soon.
                let token = self.env.blocking(|| secret.load()).map_err(|e| {
                    let remedy = e.remedy.clone();
                    Error::temporary(Kind::Auth, Scope::Endpoint, e.what).remedy(remedy)
                })?;
                if !token.expose_secret().bytes().all(|b| b.is_ascii_graphic()) {
                    let what = format!("{}: what the command printed is no token", secret.place);
                    return Err(Error::temporary(Kind::Auth, Scope::Endpoint, what).remedy(
                        "run the command by hand as the same user; it must print the access token alone",
                    ));
                }
                return Ok((token, *life));
            }
            TokenSettings::ClientCredentials { token_url, client_id, client_secret, scope } => {
                let form = format!(
                    "grant_type=client_credentials&client_id={}&client_secret={}&scope={}",
                    field(client_id),
                    field(client_secret.expose_secret()),
                    field(scope)
                );
                (token_url, form)
            }
            TokenSettings::Refresh { token_url, client_id, client_secret, refresh_token, scope } => {
                let given = self.state().refresh_token.clone();
                let refresh_token = given.as_ref().unwrap_or(refresh_token);
                let mut form = format!(
                    "grant_type=refresh_token&client_id={}&refresh_token={}",
                    field(client_id),
                    field(refresh_token.expose_secret())
                );
                if let Some(secret) = client_secret {
                    form += &format!("&client_secret={}", field(secret.expose_secret()));
                }
                if !scope.is_empty() {
                    form += &format!("&scope={}", field(scope));
                }
                (token_url, form)
            }
        };
        let request = http::Request::builder()
            .method(Method::POST)
            .uri(token_url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Bytes::from(form))
            .map_err(|_| {
                Error::new(Kind::Config, Scope::Endpoint, "the token endpoint's address is not a URL")
            })?;
        let exchange = Exchange { deadline: Duration::from_secs(30), max_response: 256 << 10 };
        let response = self.http.execute(request, &exchange).await.map_err(|e| {
            let error = e.error();
            Error { what: format!("no token: {}", error.what), ..error.clone() }
        })?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            let wait = retry_after(response.headers(), self.env.wall());
            return Err(Error::throttled(Scope::Endpoint, "the token endpoint asks us to slow down", wait));
        }
        if status.is_server_error() {
            let what = format!("the token endpoint answered {}", status.as_u16());
            return Err(Error::temporary(Kind::Unreachable, Scope::Endpoint, what));
        }
        if status != StatusCode::OK {
            let what = format!("the token endpoint refused the app (HTTP {})", status.as_u16());
            return Err(Error::new(Kind::Auth, Scope::Endpoint, what)
                .remedy("check tenant, client id, secret or refresh token (has it expired?) and scope"));
        }
        let unreadable = || {
            Error::temporary(Kind::Protocol, Scope::Endpoint, "the token endpoint's answer is not readable")
        };
        let granted: Granted = serde_json::from_slice(response.body()).map_err(|_| unreadable())?;
        if granted.access_token.is_empty() {
            return Err(unreadable());
        }
        let life = match &granted.expires_in {
            serde_json::Value::Number(n) => n.as_u64(),
            serde_json::Value::String(s) => s.parse().ok(),
            _ => None,
        };
        if let Some(next) = granted.refresh_token.filter(|t| !t.is_empty()) {
            self.state().refresh_token = Some(SecretString::from(next));
        }
        Ok((
            SecretString::from(granted.access_token),
            Duration::from_secs(life.unwrap_or(3600).clamp(10, 86_400)),
        ))
    }
}

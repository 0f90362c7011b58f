//! Asking for one token: what is sent to the token endpoint, and what its answer means.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::TokenSource;
use super::settings::{Proof, TokenSettings};
use crate::http::{Exchange, retry_after};
use crate::model::{Error, Kind, Result, Scope};

/// `client_assertion_type` of a JWT (RFC 7523 §2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a value of a form holds unescaped.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_');

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: serde_json::Value,
    #[serde(default)]
    refresh_token: Option<String>,
}

/// `application/x-www-form-urlencoded`; wiped when it is dropped.
#[derive(Default)]
struct Form(Zeroizing<String>);

impl Form {
    fn field(mut self, name: &str, value: &str) -> Form {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        self.0.extend(utf8_percent_encode(value, FORM));
        self
    }
}

impl TokenSource {
    /// One token and how long it lives.
    pub(super) async fn fetch(&self) -> Result<(SecretString, Duration)> {
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
                let token = self.given(secret)?;
                if !token.expose_secret().bytes().all(|b| b.is_ascii_graphic()) {
                    let what = format!("{}: what the command printed is no token", secret.place);
                    return Err(Error::temporary(Kind::Auth, Scope::Endpoint, what).remedy(
                        "run the command by hand as the same user; it must print the access token alone",
                    ));
                }
                return Ok((token, *life));
            }
            TokenSettings::ClientCredentials { token_url, client_id, client_secret, scope } => {
                let form = Form::default()
                    .field("grant_type", "client_credentials")
                    .field("client_id", client_id)
                    .field("client_secret", client_secret.expose_secret())
                    .field("scope", scope);
                (token_url, form)
            }
            TokenSettings::ClientAssertion { token_url, client_id, proof, scope } => {
                let assertion = match proof {
                    Proof::Certificate(certificate) => {
                        certificate.assertion(&self.env, client_id, token_url)?
                    }
                    Proof::Federated(secret) => self.given(secret)?,
                };
                let form = Form::default()
                    .field("grant_type", "client_credentials")
                    .field("client_id", client_id)
                    .field("client_assertion_type", JWT_BEARER)
                    .field("client_assertion", assertion.expose_secret())
                    .field("scope", scope);
                (token_url, form)
            }
            TokenSettings::Refresh { token_url, client_id, client_secret, refresh_token, scope } => {
                let given = self.state().refresh_token.clone();
                let refresh_token = given.as_ref().unwrap_or(refresh_token);
                let mut form = Form::default()
                    .field("grant_type", "refresh_token")
                    .field("client_id", client_id)
                    .field("refresh_token", refresh_token.expose_secret());
                if let Some(secret) = client_secret {
                    form = form.field("client_secret", secret.expose_secret());
                }
                if !scope.is_empty() {
                    form = form.field("scope", scope);
                }
                (token_url, form)
            }
        };
        self.ask(token_url, form).await
    }

    /// What somebody else gives, who may be well again soon.
    fn given(&self, secret: &crate::guard::Secret) -> Result<SecretString> {
        self.env.blocking(|| secret.load()).map_err(|e| {
            let remedy = e.remedy.clone();
            Error::temporary(Kind::Auth, Scope::Endpoint, e.what).remedy(remedy)
        })
    }

    async fn ask(&self, token_url: &str, form: Form) -> Result<(SecretString, Duration)> {
        let request = http::Request::builder()
            .method(Method::POST)
            .uri(token_url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Bytes::copy_from_slice(form.0.as_bytes()))
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
            let word = refusal(response.body()).map(|word| format!(" {word}")).unwrap_or_default();
            let what = format!("the token endpoint refused the app (HTTP {}{word})", status.as_u16());
            let remedy = match &self.settings {
                TokenSettings::ClientAssertion { proof: Proof::Certificate(_), .. } => {
                    "check tenant, client id, scope, that the certificate is registered with the app and has \
                     not expired, and this machine's clock"
                }
                TokenSettings::ClientAssertion { .. } => {
                    "check tenant, client id, scope, and that the app trusts the federated token's issuer, \
                     subject and audience"
                }
                _ => "check tenant, client id, secret or refresh token (has it expired?) and scope",
            };
            return Err(Error::new(Kind::Auth, Scope::Endpoint, what).remedy(remedy));
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

/// The error's word (RFC 6749 §5.2), never its description: that may quote what was sent.
fn refusal(body: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let word = answer["error"].as_str()?;
    let plain = (1..=40).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    plain.then(|| word.to_owned())
}

//! Who we are to the server: a name and a password once it has asked for them, or a bearer token.
//!
//! A password is never sent before a server has offered to take one (RFC 7617 lets a client guess; a server that wants
//! Negotiate or a token would see it for nothing), and a refused one is not tried again at once: thousands of mailboxes
//! share the account, and a few wrong logins lock it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use encodify::base64::STANDARD;
use http::{HeaderMap, HeaderValue, header};
use secrecy::ExposeSecret;

use super::config::EwsLogin;
use crate::env::{Env, Tick};
use crate::http::HttpClient;
use crate::http::oauth::{Claims, Token, TokenSource};
use crate::model::{Error, Kind, Result, Scope};

/// How long a refused password is not tried again.
const REFUSAL_HOLDS: Duration = Duration::from_secs(60);
/// Schemes that may be named in an error.
const SCHEMES: [&str; 6] = ["Basic", "Bearer", "Digest", "Kerberos", "Negotiate", "NTLM"];

/// How requests of an endpoint are authorised. Shared by all its mailboxes.
pub(super) enum Auth {
    Basic {
        /// The `Authorization` value; marked sensitive.
        value: HeaderValue,
        state: Mutex<Basic>,
    },
    Token(Box<TokenSource>),
}

/// What is known of a server that takes passwords.
#[derive(Default)]
pub(super) struct Basic {
    /// It has asked for one.
    offered: bool,
    /// It did not take ours: until when everyone is told so.
    refused: Option<(Tick, Error)>,
}

/// The authorisation of one request.
pub(super) enum Pass {
    /// Not asked for yet.
    Nothing,
    Basic(HeaderValue),
    Token(Token),
}

impl Pass {
    /// The `Authorization` value.
    pub(super) fn header(&self) -> Option<&HeaderValue> {
        match self {
            Pass::Nothing => None,
            Pass::Basic(value) => Some(value),
            Pass::Token(token) => Some(token.authorization()),
        }
    }
}

impl Auth {
    /// For this login; nothing is sent yet.
    ///
    /// # Errors
    /// `Config`: the name holds what a name cannot (RFC 7617 §2), or the token endpoint's address is not usable.
    pub(super) fn new(
        env: &Env,
        http: Arc<dyn HttpClient>,
        login: EwsLogin,
        plain_http: bool,
    ) -> Result<Auth> {
        match login {
            EwsLogin::Basic { user, password } => {
                let wrong = || {
                    Error::new(
                        Kind::Config,
                        Scope::Endpoint,
                        "the account's name holds a colon or a control character",
                    )
                    .remedy("write it as DOMAIN\\user or user@example.org")
                };
                if user.contains(':') || user.chars().any(char::is_control) {
                    return Err(wrong());
                }
                let both = format!("{user}:{}", password.expose_secret());
                let text = format!("Basic {}", STANDARD.encode(both.as_bytes()));
                let mut value = HeaderValue::from_str(&text).map_err(|_| wrong())?;
                value.set_sensitive(true);
                Ok(Auth::Basic { value, state: Mutex::default() })
            }
            EwsLogin::Token(settings) => {
                Ok(Auth::Token(Box::new(TokenSource::new(env, http, settings, plain_http)?)))
            }
        }
    }

    /// What the token says of itself; `None`: no token is used.
    pub(super) async fn claims(&self) -> Option<Result<Claims>> {
        match self {
            Auth::Token(tokens) => Some(tokens.get().await.map(|token| token.claims())),
            Auth::Basic { .. } => None,
        }
    }

    /// For a request that was not made yet.
    ///
    /// # Errors
    /// `Auth`: the password was refused a moment ago, or there is no token.
    pub(super) async fn pass(&self, env: &Env) -> Result<Pass> {
        match self {
            Auth::Token(tokens) => tokens.get().await.map(Pass::Token),
            Auth::Basic { value, state } => {
                let state = state.lock().unwrap_or_else(PoisonError::into_inner);
                match &state.refused {
                    Some((until, error)) if env.now() < *until => Err(error.clone()),
                    _ if state.offered => Ok(Pass::Basic(value.clone())),
                    _ => Ok(Pass::Nothing),
                }
            }
        }
    }

    /// For the same request again, after a 401: nothing was done with it.
    ///
    /// # Errors
    /// `Auth`: there is nothing better to send.
    pub(super) async fn after_refusal(&self, env: &Env, refused: &Pass, head: &HeaderMap) -> Result<Pass> {
        match (self, refused) {
            (Auth::Token(tokens), Pass::Token(token)) => {
                tokens.renew(token.generation()).await.map(Pass::Token)
            }
            (Auth::Basic { value, state }, Pass::Nothing) => {
                let offered = schemes(head);
                if !offered.contains(&"Basic") {
                    let list = listed(&offered);
                    let what = format!("the server takes no passwords by Basic; it offers {list}");
                    return Err(Error::new(Kind::Auth, Scope::Endpoint, what).remedy(
                        "turn on Basic authentication (over TLS) for the EWS virtual directory, or use `oauth`; \
                         NTLM and Negotiate are not spoken here",
                    ));
                }
                state.lock().unwrap_or_else(PoisonError::into_inner).offered = true;
                Ok(Pass::Basic(value.clone()))
            }
            (Auth::Basic { state, .. }, _) => {
                let error = Error::new(Kind::Auth, Scope::Endpoint, "the server refused the account or its password")
                    .remedy("check `user` (DOMAIN\\user or user@example.org) and the password, and that the account is not locked");
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.refused = Some((env.now().saturating_add(REFUSAL_HOLDS), error.clone()));
                Err(error)
            }
            (Auth::Token(_), _) => {
                Err(Error::new(Kind::Auth, Scope::Endpoint, "the server refused the token"))
            }
        }
    }
}

/// A token that was got anew was refused as well.
pub(super) fn refused_again(head: &HeaderMap) -> Error {
    let offered = schemes(head);
    let what = format!("the server refused the token; it offers {}", listed(&offered));
    Error::new(Kind::Auth, Scope::Endpoint, what).remedy(if offered.contains(&"Bearer") {
        "check the token's audience and tenant, the app's consent (full_access_as_app), and its permission for EWS"
    } else {
        "turn on OAuth for the EWS virtual directory, or use `user` and `password` where it takes Basic"
    })
}

fn listed(offered: &[&'static str]) -> String {
    if offered.is_empty() { "nothing known".to_owned() } else { offered.join(", ") }
}

/// The known schemes that a 401 offers (RFC 9110 §11.6.1), each once.
fn schemes(head: &HeaderMap) -> Vec<&'static str> {
    let values = head.get_all(header::WWW_AUTHENTICATE);
    let words: Vec<&str> = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|challenge| challenge.split_ascii_whitespace().next())
        .collect();
    SCHEMES.into_iter().filter(|scheme| words.iter().any(|word| word.eq_ignore_ascii_case(scheme))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_from_one_field_and_from_several() {
        let mut head = HeaderMap::new();
        for value in ["Negotiate", "NTLM", "basic realm=\"mail.example.org\", Custom x=\"Digest\""] {
            head.append(header::WWW_AUTHENTICATE, value.parse().expect("a value"));
        }
        assert_eq!(schemes(&head), ["Basic", "Negotiate", "NTLM"]);
        assert!(schemes(&HeaderMap::new()).is_empty());
    }
}

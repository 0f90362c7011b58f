//! Logging in: LOGIN, and AUTHENTICATE with PLAIN (RFC 4616), SCRAM-SHA-256 (RFC 7677), XOAUTH2 and OAUTHBEARER
//! (RFC 7628).
//!
//! LOGIN runs on async-imap over a lent wire (see `lend`); its tagged answer is judged by our own grammar, because
//! async-imap's error texts hold what the server sent. Names or passwords outside printable ASCII go as literals,
//! which async-imap cannot send: they take our own writer. Beware when a `log` backend is installed: at trace level
//! async-imap logs what it sends, passwords included. This crate installs none.
//!
//! A password is tried once. Whoever tries it again gets the account locked. So a refused mechanism is not followed by
//! another, with one exception: where SCRAM is refused before anything that depends on the password was sent (servers
//! offer it also when they keep no verifier of this user) PLAIN or LOGIN follow, but over an encrypted connection only.
//! Else whoever sits in between could ask for the password in clear text by refusing SCRAM.

mod refusal;
mod sasl;
mod scram;
#[cfg(test)]
mod tests;

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::lend::Lent;
use super::response::{Response, read};
use super::scan::Raw;
use super::{Code, Command, Connection, Done, Ignore, Status, Untagged, WireError};
use crate::model::{Error, Kind, Result, Scope};

pub use self::refusal::{Refused, Why};
pub use self::scram::Keys;

use self::refusal::refused;
use self::sasl::{Bearer, Exchanged, Plain, exchange};
use self::scram::Scram;

/// How a name and a secret are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mechanism {
    /// The best of what the server offers: for passwords SCRAM-SHA-256, PLAIN, LOGIN; for tokens OAUTHBEARER, XOAUTH2.
    #[default]
    Auto,
    /// The LOGIN command.
    Login,
    /// AUTHENTICATE PLAIN.
    Plain,
    /// AUTHENTICATE SCRAM-SHA-256: the password itself is never sent.
    ScramSha256,
    /// AUTHENTICATE XOAUTH2, with an OAuth token.
    XOAuth2,
    /// AUTHENTICATE OAUTHBEARER, with an OAuth token.
    OAuthBearer,
}

impl Mechanism {
    /// Does it send a token, not a password? [`Mechanism::Auto`] goes with both.
    pub fn wants_token(self) -> Option<bool> {
        match self {
            Mechanism::Auto => None,
            Mechanism::Login | Mechanism::Plain | Mechanism::ScramSha256 => Some(false),
            Mechanism::XOAuth2 | Mechanism::OAuthBearer => Some(true),
        }
    }
}

/// Who logs in, as whom.
pub enum Login<'a> {
    /// With a password.
    Password {
        /// The name whose password it is.
        user: &'a str,
        /// The mailbox to act as, if it is another (a master user): the authorisation id of PLAIN and SCRAM.
        act_as: Option<&'a str>,
        /// The password.
        password: &'a SecretString,
    },
    /// With an OAuth access token.
    Token {
        /// The mailbox.
        user: &'a str,
        /// The token.
        token: &'a SecretString,
    },
}

impl fmt::Debug for Login<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Login::Password { .. } => "Login::Password",
            Login::Token { .. } => "Login::Token",
        })
    }
}

/// How it may be done.
#[derive(Debug, Default)]
pub struct Terms<'a> {
    /// The way the operator chose.
    pub mechanism: Mechanism,
    /// Is the connection encrypted?
    pub protected: bool,
    /// [`Mechanism::Auto`] shall not try SCRAM: this server refused it before it looked at the password.
    pub no_scram: bool,
    /// What SCRAM derived from a password before, and derives now: deriving it costs milliseconds, for each login.
    pub keys: Option<&'a mut Option<Keys>>,
}

/// Logs in and knows the capabilities of the session. `true`: SCRAM was refused before anything depended on the
/// password, and another way was taken; it need not be tried again.
///
/// # Errors
/// See [`Refused`]: [`Kind::Auth`] and [`Scope::Mailbox`] if the server refuses the login; [`Scope::Endpoint`] if it
/// offers no way to log in as asked; else the connection failed.
pub async fn login(
    connection: &mut Connection,
    login: &Login<'_>,
    mut terms: Terms<'_>,
) -> Result<bool, Refused> {
    let mut mechanism = choose(connection, login, &terms)?;
    let mut scram_refused = false;
    let done = loop {
        let done = match (login, mechanism) {
            (Login::Token { user, token }, mechanism) => {
                let bearer = Bearer::new(user, token, mechanism == Mechanism::OAuthBearer)?;
                let exchanged = exchange(connection, bearer).await?;
                match exchanged.told {
                    Some(error) if !exchanged.done.ok() => return Err(error),
                    _ => exchanged.done,
                }
            }
            (Login::Password { user, act_as, password }, Mechanism::ScramSha256) => {
                let mut none = None;
                let keys = terms.keys.as_deref_mut().unwrap_or(&mut none);
                let scram = Scram::new(user, act_as.unwrap_or_default(), password, keys)?;
                let Exchanged { done, rounds, .. } = exchange(connection, scram).await?;
                if !done.ok() && rounds == 0 && is_refusal(&done) {
                    // Nothing that depends on the password was sent.
                    terms.no_scram = true;
                    match choose(connection, login, &terms) {
                        Ok(next)
                            if next != mechanism && terms.protected && terms.mechanism == Mechanism::Auto =>
                        {
                            (mechanism, scram_refused) = (next, true);
                            continue;
                        }
                        _ => return Err(Refused::scram()),
                    }
                }
                done
            }
            (Login::Password { user, act_as: None, password }, Mechanism::Login) => {
                by_login(connection, user, password).await.map_err(WireError::into_error)?
            }
            (Login::Password { user, act_as, password }, _) => {
                let plain = Plain::new(act_as.unwrap_or_default(), user, password)?;
                exchange(connection, plain).await?.done
            }
        };
        break done;
    };
    if !done.ok() {
        return Err(refused(&done));
    }
    // What came with the OK is the session's own list; a server that sent none, or a bare one, is asked.
    if !(matches!(done.code, Code::Capability(_)) && connection.capabilities().len() > BARE) {
        connection.ask_capabilities().await.map_err(|e| e.scoped(Scope::Mailbox))?;
    }
    Ok(scram_refused)
}

/// A list of so few capabilities, told by the way, is not taken for all of them.
const BARE: usize = 3;

/// Was it said about the login, not about the server's state?
fn is_refusal(done: &Done) -> bool {
    refused(done).error.kind == Kind::Auth
}

/// The way to log in, by what is asked for and what is offered.
fn choose(connection: &Connection, login: &Login<'_>, terms: &Terms<'_>) -> Result<Mechanism, Refused> {
    let offers = |name| connection.capabilities().has(name);
    let can_login = !offers("LOGINDISABLED");
    let chosen = match (terms.mechanism, login) {
        (Mechanism::Auto, Login::Token { .. }) if offers("AUTH=OAUTHBEARER") => Mechanism::OAuthBearer,
        (Mechanism::Auto, Login::Token { .. }) => Mechanism::XOAuth2,
        (Mechanism::Auto, Login::Password { user, act_as, password }) => {
            // SCRAM wants names and passwords prepared (RFC 4013), which leaves ASCII as it is. For others servers
            // differ: an encrypted connection can carry them plainly.
            let ascii = user.is_ascii() && password.expose_secret().is_ascii();
            let plain = offers("AUTH=PLAIN") || (act_as.is_none() && can_login);
            let scram = offers("AUTH=SCRAM-SHA-256") && !terms.no_scram;
            if scram && (ascii || !plain || !terms.protected) {
                Mechanism::ScramSha256
            } else if offers("AUTH=PLAIN") || act_as.is_some() {
                Mechanism::Plain
            } else {
                Mechanism::Login
            }
        }
        // Only PLAIN and SCRAM can act as another.
        (Mechanism::Login, Login::Password { act_as: Some(_), .. }) => Mechanism::Plain,
        (asked, _) => asked,
    };
    if chosen.wants_token() != Some(matches!(login, Login::Token { .. })) {
        let what = "the mechanism does not fit the secret: one wants a password, the other is a token";
        return Err(Error::new(Kind::Config, Scope::Endpoint, what)
            .remedy("set `mechanism = \"auto\"`")
            .into());
    }
    match chosen {
        Mechanism::Login if !can_login => Err(Error::new(
            Kind::Denied,
            Scope::Endpoint,
            "the server does not take LOGIN on this connection (LOGINDISABLED); no password was sent",
        )
        .remedy("use TLS (`tls = \"implicit\"` or \"starttls\"), or another way to log in")
        .into()),
        Mechanism::Plain => offered(connection, "AUTH=PLAIN", "AUTHENTICATE PLAIN", chosen),
        Mechanism::ScramSha256 => {
            offered(connection, "AUTH=SCRAM-SHA-256", "AUTHENTICATE SCRAM-SHA-256", chosen)
        }
        Mechanism::XOAuth2 => offered(connection, "AUTH=XOAUTH2", "AUTHENTICATE XOAUTH2", chosen),
        Mechanism::OAuthBearer => offered(connection, "AUTH=OAUTHBEARER", "AUTHENTICATE OAUTHBEARER", chosen),
        Mechanism::Login | Mechanism::Auto => Ok(chosen),
    }
}

fn offered(
    connection: &Connection,
    capability: &str,
    name: &str,
    chosen: Mechanism,
) -> Result<Mechanism, Refused> {
    if connection.capabilities().has(capability) {
        return Ok(chosen);
    }
    Err(Error::new(
        Kind::Denied,
        Scope::Endpoint,
        format!("the server does not offer {name} on this connection; nothing secret was sent"),
    )
    .remedy("turn it on at the server (many offer it over TLS only), or choose another way to log in")
    .into())
}

fn quotable(text: &str) -> bool {
    text.len() <= 512 && text.bytes().all(|b| matches!(b, b' '..=b'~'))
}

async fn by_login(
    connection: &mut Connection,
    user: &str,
    password: &SecretString,
) -> Result<Done, WireError> {
    if quotable(user) && quotable(password.expose_secret()) {
        return by_async_imap(connection, user, password).await;
    }
    let command = Command::new("LOGIN").string(user.as_bytes()).string(password.expose_secret().as_bytes());
    connection.run(command, &mut Ignore).await
}

async fn by_async_imap(
    connection: &mut Connection,
    user: &str,
    password: &SecretString,
) -> Result<Done, WireError> {
    if connection.broken {
        return Err(WireError::Broken);
    }
    connection.broken = true;
    let (env, idle) = (connection.env.clone(), connection.idle);
    let mut lent = Lent::new(&mut connection.wire);
    let accepted = {
        let client = async_imap::Client::new(&mut lent);
        match env.within(idle, client.login_with_capabilities(user, password.expose_secret())).await {
            None => return Err(WireError::TimedOut),
            Some(Ok(_)) => Some(true),
            Some(Err((async_imap::error::Error::No(_) | async_imap::error::Error::Bad(_), _))) => Some(false),
            Some(Err(_)) => None,
        }
    };
    let last = Raw { text: std::mem::take(&mut lent.last), literals: Vec::new() };
    match (accepted, read(&last)) {
        (Some(accepted), Ok(Response::Tagged(_, done))) if done.ok() == accepted => {
            connection.broken = false;
            connection.learn(&done.code);
            Ok(done)
        }
        (_, Ok(Response::Untagged(Untagged::Status(Done { status: Status::Bye, backoff, .. })))) => {
            Err(WireError::Bye(backoff))
        }
        _ => Err(lent.failure.unwrap_or(WireError::Framing("the answer to the login cannot be read"))),
    }
}

//! Who logs in at an endpoint: one set of credentials for many mailboxes, and what was learned about them.
//!
//! Servers that protect themselves (fail2ban and its kin) shut out whole addresses after a few wrong passwords. So
//! credentials that serve many mailboxes are tried one at a time until they are proven, and given up when two different
//! mailboxes in a row refuse them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use tokio::sync::MutexGuard as Turn;

use super::login::{Keys, Login, Mechanism, Refused, Terms, Why, login};
use super::server::{Credentials, MasterForm};
use super::{Connection, Server};
use crate::env::{Env, Tick};
use crate::model::{Error, Kind, Result, Scope};

/// So many different mailboxes in a row may refuse credentials that were never right …
const UNPROVEN: usize = 2;
/// … and so many that were right before: mailboxes may be gone, but a changed password must not go on for thousands.
const PROVEN: usize = 10;
/// A token that was refused is not renewed again within this time: then it is the mailbox that refuses it.
const RENEWAL: Duration = Duration::from_secs(60);

/// An OAuth access token, with a number that tells it from its successors.
pub struct AccessToken {
    /// The token itself.
    pub secret: SecretString,
    /// Grows with every token.
    pub generation: u64,
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessToken({})", self.generation)
    }
}

/// Gives OAuth access tokens that are valid now. Whoever implements it asks for a new one before the last one ends, and
/// once for all who wait.
#[async_trait]
pub trait TokenGiver: Send + Sync {
    /// A token that is valid now.
    ///
    /// # Errors
    /// There is none: refused ([`Kind::Auth`]), or not to be had now (temporary).
    async fn token(&self) -> Result<AccessToken>;

    /// A token after `refused` was refused: a newer one if there is one, else one fetched now.
    ///
    /// # Errors
    /// As [`TokenGiver::token`].
    async fn renew(&self, refused: &AccessToken) -> Result<AccessToken>;
}

/// The credentials of an endpoint and what was learned about them. Shared by all its mailboxes.
pub struct Account {
    env: Env,
    credentials: Credentials,
    mechanism: Mechanism,
    protected: bool,
    state: Mutex<State>,
    /// Held while credentials that are not proven yet are tried.
    proving: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    proven: bool,
    /// Different mailboxes that refused the credentials in a row, and the last of them.
    refusals: usize,
    last: String,
    given_up: Option<Error>,
    no_scram: bool,
    keys: Option<Keys>,
    renewed: Option<Tick>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

impl Account {
    /// The account of a server.
    pub fn new(env: &Env, server: &Server) -> Account {
        Account {
            env: env.clone(),
            credentials: server.credentials.clone(),
            mechanism: server.mechanism,
            protected: server.protects(),
            state: Mutex::default(),
            proving: tokio::sync::Mutex::new(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// May the credentials be tried? Ask before connecting.
    ///
    /// # Errors
    /// [`Kind::Auth`], [`Scope::Endpoint`]: too many mailboxes in a row refused them.
    pub fn ready(&self) -> Result<()> {
        self.state().given_up.clone().map_or(Ok(()), Err)
    }

    /// Logs in as `mailbox`.
    ///
    /// # Errors
    /// As [`login`] and [`Account::ready`], and where there is no token or no password for the mailbox.
    pub async fn log_in(&self, connection: &mut Connection, mailbox: &str) -> Result<()> {
        let _turn = self.turn().await;
        self.ready()?;
        let end = match &self.credentials {
            Credentials::Tokens(giver) => self.with_token(giver, connection, mailbox).await,
            _ => self.attempt(connection, mailbox, None).await,
        };
        self.judge(mailbox, end)
    }

    /// Credentials that serve many mailboxes are tried one at a time until they are proven.
    async fn turn(&self) -> Option<Turn<'_, ()>> {
        if !self.credentials.serve_many() || self.state().proven {
            return None;
        }
        let turn = self.proving.lock().await;
        (!self.state().proven).then_some(turn)
    }

    async fn with_token(
        &self,
        giver: &Arc<dyn TokenGiver>,
        connection: &mut Connection,
        mailbox: &str,
    ) -> Result<(), Refused> {
        let token = giver.token().await?;
        let end = self.attempt(connection, mailbox, Some(&token.secret)).await;
        // It may have ended before its time: revoked, or by a clock that goes wrong.
        let stale = end.as_ref().is_err_and(|e| e.why == Why::Credentials);
        if !stale || connection.is_broken() || !self.may_renew() {
            return end;
        }
        let newer = giver.renew(&token).await?;
        self.attempt(connection, mailbox, Some(&newer.secret)).await
    }

    fn may_renew(&self) -> bool {
        let now = self.env.now();
        let mut state = self.state();
        let may = state.renewed.is_none_or(|at| now >= at + RENEWAL);
        if may {
            state.renewed = Some(now);
        }
        may
    }

    async fn attempt(
        &self,
        connection: &mut Connection,
        mailbox: &str,
        token: Option<&SecretString>,
    ) -> Result<(), Refused> {
        let name;
        let own = |password| Login::Password { user: mailbox, act_as: None, password };
        let how = match (&self.credentials, token) {
            (_, Some(token)) | (Credentials::Token(token), None) => Login::Token { user: mailbox, token },
            (Credentials::Fixed { password }, None) => own(password),
            (Credentials::PerMailbox(passwords), None) => own(passwords.get(mailbox).ok_or_else(|| {
                Error::new(Kind::Config, Scope::Mailbox, "no password is given for this mailbox")
                    .remedy("add it to the endpoint's passwords")
            })?),
            (Credentials::Master { user, password, form: MasterForm::AuthorisationId }, None) => {
                Login::Password { user, act_as: Some(mailbox), password }
            }
            (Credentials::Master { password, form: MasterForm::LoginName(template), .. }, None) => {
                name = template.replace("{mailbox}", mailbox);
                Login::Password { user: &name, act_as: None, password }
            }
            (Credentials::Tokens(_), None) => {
                return Err(Error::new(Kind::Internal, Scope::Mailbox, "no token was asked for").into());
            }
        };
        let (mut keys, no_scram) = {
            let mut state = self.state();
            (state.keys.take(), state.no_scram)
        };
        let terms =
            Terms { mechanism: self.mechanism, protected: self.protected, no_scram, keys: Some(&mut keys) };
        let end = login(connection, &how, terms).await;
        let mut state = self.state();
        state.keys = keys.or(state.keys.take());
        end.map(|scram_refused| state.no_scram |= scram_refused)
    }

    /// Learns from how a login ended.
    fn judge(&self, mailbox: &str, end: Result<(), Refused>) -> Result<()> {
        let mut state = self.state();
        match end {
            Err(Refused { error, why: Why::Credentials }) if self.credentials.serve_many() => {
                if state.last != mailbox {
                    mailbox.clone_into(&mut state.last);
                    state.refusals += 1;
                }
                if state.refusals < if state.proven { PROVEN } else { UNPROVEN } {
                    return Err(error);
                }
                let error = Error::new(
                    Kind::Auth,
                    Scope::Endpoint,
                    format!(
                        "the server refused the same credentials for {} mailboxes in a row; they are not tried again, so that neither the account nor this address gets locked",
                        state.refusals
                    ),
                )
                .remedy("check the user and the secret by hand, and that the mailboxes are there; then run again");
                state.given_up = Some(error.clone());
                Err(error)
            }
            Err(Refused { error, why }) => {
                if why == Why::Rights {
                    state.proven = true;
                    state.refusals = 0;
                }
                Err(error)
            }
            Ok(()) => {
                state.proven = true;
                state.refusals = 0;
                state.last.clear();
                Ok(())
            }
        }
    }
}

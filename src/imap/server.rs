//! What an operator says about an IMAP server, whichever end it is, and what is refused before anything is sent.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::login::Mechanism;
use super::presets::{self, Preset};
use super::{Dial, Endpoint, Limits, Security, Tls, TokenGiver};
use crate::model::{Error, Kind, Result, Scope};

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// TLS from the first octet.
    #[default]
    Implicit,
    /// TLS after STARTTLS; refused if the server does not offer it.
    StartTls,
    /// None. Only to this machine itself, or with [`Server::allow_plaintext`].
    Plain,
}

/// COMPRESS=DEFLATE (RFC 4978).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compress {
    /// On slow links, where the server offers it.
    #[default]
    Auto,
    /// Where the server offers it.
    On,
    /// Never.
    Off,
}

/// How a master user says for which mailbox it logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterForm {
    /// The mailbox is the authorisation id of AUTHENTICATE PLAIN (RFC 4616) or SCRAM-SHA-256 (RFC 5802).
    AuthorisationId,
    /// A login name made from a template: `{mailbox}` stands for the mailbox (`{mailbox}*master`).
    LoginName(String),
}

/// Who logs in for which mailbox.
#[derive(Clone)]
pub enum Credentials {
    /// One account that may open every mailbox.
    Master {
        /// Its name.
        user: String,
        /// Its password.
        password: SecretString,
        /// How it names the mailbox.
        form: MasterForm,
    },
    /// Every mailbox logs in itself, all with one password.
    Fixed {
        /// The password.
        password: SecretString,
    },
    /// Every mailbox logs in itself, each with its own password.
    PerMailbox(BTreeMap<String, SecretString>),
    /// An OAuth access token that may open every mailbox, used until it is refused.
    Token(SecretString),
    /// OAuth access tokens that may open every mailbox, renewed before they end.
    Tokens(Arc<dyn TokenGiver>),
}

impl Credentials {
    /// Is one secret behind the logins of many mailboxes?
    pub(super) fn serve_many(&self) -> bool {
        !matches!(self, Credentials::PerMailbox(_))
    }

    fn is_token(&self) -> bool {
        matches!(self, Credentials::Token(_) | Credentials::Tokens(_))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::Master { .. } => "Master",
            Credentials::Fixed { .. } => "Fixed",
            Credentials::PerMailbox(_) => "PerMailbox",
            Credentials::Token(_) => "Token",
            Credentials::Tokens(_) => "Tokens",
        })
    }
}

/// An IMAP server and how to log in to it.
#[derive(Debug, Clone)]
pub struct Server {
    /// DNS name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Another way there than TCP; `None` but in worlds of one process.
    pub dial: Option<Dial>,
    /// Protection of the connection.
    pub tls: TlsMode,
    /// Allows [`TlsMode::Plain`] to a host that is not this machine: passwords and mail are readable on the way.
    pub allow_plaintext: bool,
    /// A PEM file with certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Who logs in.
    pub credentials: Credentials,
    /// How a name and a secret are sent.
    pub mechanism: Mechanism,
    /// What is known of this kind of server beforehand.
    pub preset: &'static Preset,
    /// Compression of the connection.
    pub compress: Compress,
    /// Connections to this endpoint at once (1–10,000). Dovecot allows 10 of one user from one address.
    pub max_connections: usize,
    /// Shortest time between two logins to this endpoint.
    pub login_interval: Duration,
    /// Bound of connecting, of the TLS handshake and of the greeting, each.
    pub connect_timeout: Duration,
    /// A server that moves nothing for that long is gone.
    pub idle_timeout: Duration,
    /// A mailbox that waits may keep its session that long while others want one.
    pub idle_grace: Duration,
}

impl Server {
    /// A server with the documented defaults: implicit TLS on port 993, 8 connections, 20 logins a second.
    pub fn new(host: impl Into<String>, credentials: Credentials) -> Server {
        Server::like(&presets::PLAIN, host, credentials)
    }

    /// A server with the defaults of its kind.
    pub fn like(preset: &'static Preset, host: impl Into<String>, credentials: Credentials) -> Server {
        Server {
            host: host.into(),
            port: 993,
            dial: None,
            tls: TlsMode::Implicit,
            allow_plaintext: false,
            ca_file: None,
            credentials,
            mechanism: Mechanism::Auto,
            preset,
            compress: Compress::Auto,
            max_connections: preset.max_connections,
            login_interval: preset.login_interval,
            connect_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(120),
            idle_grace: Duration::from_secs(2),
        }
    }

    /// Refuses what can never work or must not be done.
    ///
    /// # Errors
    /// [`Kind::Config`].
    pub fn check(&self) -> Result<()> {
        let bad = |what: &str, remedy: &str| {
            Err(Error::new(Kind::Config, Scope::Endpoint, what.to_owned()).remedy(remedy))
        };
        if self.host.is_empty() || self.port == 0 {
            return bad("the IMAP endpoint has no host or port", "set `host` and `port`");
        }
        if self.tls == TlsMode::Plain && !self.allow_plaintext && !is_loopback(&self.host) {
            return bad(
                "the connection to another host would not be encrypted",
                "set `tls = \"implicit\"` or \"starttls\"; if you accept that passwords and mail can be read on the way, set `allow_plaintext = true`",
            );
        }
        if !(1..=10_000).contains(&self.max_connections) {
            return bad("`max_connections` is out of range", "choose 1 to 10,000");
        }
        if self.mechanism.wants_token().is_some_and(|token| token != self.credentials.is_token()) {
            return bad(
                "`mechanism` does not fit the secret: one wants a password, the other is a token",
                "set `mechanism = \"auto\"`",
            );
        }
        if let Credentials::Master { form: MasterForm::LoginName(template), .. } = &self.credentials
            && !template.contains("{mailbox}")
        {
            return bad(
                "the master user's login template does not name the mailbox",
                "write it with `{mailbox}`, for example `{mailbox}*master`",
            );
        }
        Ok(())
    }

    /// Where and how to connect.
    ///
    /// # Errors
    /// TLS cannot be set up: the file of authorities cannot be read.
    pub fn endpoint(&self) -> Result<Endpoint> {
        let tls = || Tls::new(self.ca_file.as_deref());
        Ok(Endpoint {
            host: self.host.clone(),
            port: self.port,
            dial: self.dial.clone(),
            security: match self.tls {
                TlsMode::Implicit => Security::Implicit(tls()?),
                TlsMode::StartTls => Security::StartTls(tls()?),
                TlsMode::Plain => Security::Plain,
            },
            connect_timeout: self.connect_timeout,
            idle_timeout: self.idle_timeout,
            limits: Limits::default(),
            habits: self.preset.habits,
        })
    }

    /// Is what is sent encrypted?
    pub(super) fn protects(&self) -> bool {
        self.tls != TlsMode::Plain
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|a| a.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str) -> Server {
        let mut server = Server::new(host, Credentials::Fixed { password: "x".into() });
        server.tls = TlsMode::Plain;
        server
    }

    #[test]
    fn clear_text_is_for_this_machine_unless_the_operator_insists() {
        for host in ["127.0.0.1", "127.9.9.9", "::1", "localhost"] {
            assert!(server(host).check().is_ok(), "{host}");
        }
        for host in ["imap.example.org", "10.0.0.1", "127.0.0.1.example.org"] {
            let mut server = server(host);
            assert!(server.check().is_err_and(|e| e.remedy.contains("allow_plaintext")), "{host}");
            server.allow_plaintext = true;
            assert!(server.check().is_ok());
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let mut server = server("localhost");
        server.credentials = Credentials::Master {
            user: "m".into(),
            password: "hunter2".into(),
            form: MasterForm::LoginName("{mailbox}*m".into()),
        };
        assert!(server.check().is_ok());
        assert!(!format!("{server:?}").contains("hunter2"));
    }

    #[test]
    fn a_mechanism_for_passwords_is_not_for_tokens() {
        let mut server = server("localhost");
        server.mechanism = Mechanism::XOAuth2;
        assert!(server.check().is_err());
        server.credentials = Credentials::Token("t".into());
        assert!(server.check().is_ok());
        server.mechanism = Mechanism::ScramSha256;
        assert!(server.check().is_err());
    }
}

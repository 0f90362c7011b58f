//! What an operator says about an IMAP endpoint, and what is refused before anything is sent.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::imap::login::{Login, Mechanism};
use crate::model::{Error, Kind, Result, Scope};

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// TLS from the first octet.
    #[default]
    Implicit,
    /// TLS after STARTTLS; refused if the server does not offer it.
    StartTls,
    /// None. Only to this machine itself, or with [`ImapSettings::allow_plaintext`].
    Plain,
}

/// How a master user says for which mailbox it logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterForm {
    /// AUTHENTICATE PLAIN with the mailbox as authorisation id (RFC 4616).
    AuthorisationId,
    /// A login name made from a template: `{mailbox}` stands for the mailbox (`{mailbox}*master`).
    LoginName(String),
}

/// Who logs in for which mailbox.
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
    /// An OAuth access token that may open every mailbox (XOAUTH2).
    Token(SecretString),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::Master { .. } => "Master",
            Credentials::Fixed { .. } => "Fixed",
            Credentials::PerMailbox(_) => "PerMailbox",
            Credentials::Token(_) => "Token",
        })
    }
}

/// One login, made ready: names owned, the secret borrowed.
pub(super) struct Prepared<'a> {
    user: String,
    act_as: Option<&'a str>,
    secret: &'a SecretString,
    token: bool,
    mechanism: Mechanism,
}

impl Prepared<'_> {
    pub fn login(&self) -> Login<'_> {
        if self.token {
            return Login::Token { user: &self.user, token: self.secret };
        }
        Login::Password {
            user: &self.user,
            act_as: self.act_as,
            password: self.secret,
            mechanism: self.mechanism,
        }
    }
}

/// An IMAP endpoint.
#[derive(Debug)]
pub struct ImapSettings {
    /// DNS name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Protection of the connection.
    pub tls: TlsMode,
    /// Allows [`TlsMode::Plain`] to a host that is not this machine: passwords and mail are readable on the way.
    pub allow_plaintext: bool,
    /// A PEM file with certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Who logs in.
    pub credentials: Credentials,
    /// How a name and password are sent.
    pub mechanism: Mechanism,
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
    /// Messages asked for by one FETCH (1–1,000).
    pub fetch_messages: usize,
    /// Messages listed by one FETCH, about (1–100,000).
    pub list_messages: u32,
}

impl ImapSettings {
    /// Settings with the documented defaults: implicit TLS on port 993, 8 connections, 20 logins a second.
    pub fn new(host: impl Into<String>, credentials: Credentials) -> ImapSettings {
        ImapSettings {
            host: host.into(),
            port: 993,
            tls: TlsMode::Implicit,
            allow_plaintext: false,
            ca_file: None,
            credentials,
            mechanism: Mechanism::Auto,
            max_connections: 8,
            login_interval: Duration::from_millis(50),
            connect_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(120),
            idle_grace: Duration::from_secs(2),
            fetch_messages: 100,
            list_messages: 5_000,
        }
    }

    /// Refuses what can never work or must not be done.
    pub(super) fn check(&self) -> Result<()> {
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
        if !(1..=1_000).contains(&self.fetch_messages) || !(1..=100_000).contains(&self.list_messages) {
            return bad(
                "`fetch_messages` or `list_messages` is out of range",
                "choose 1 to 1,000 and 1 to 100,000",
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

    /// The login for one mailbox.
    pub(super) fn login(&self, mailbox: &str) -> Result<Prepared<'_>> {
        let own = |secret| Prepared {
            user: mailbox.to_owned(),
            act_as: None,
            secret,
            token: false,
            mechanism: self.mechanism,
        };
        match &self.credentials {
            Credentials::Fixed { password } => Ok(own(password)),
            Credentials::PerMailbox(passwords) => passwords.get(mailbox).map(own).ok_or_else(|| {
                Error::new(Kind::Config, Scope::Mailbox, "no password is given for this mailbox")
                    .remedy("add it to the endpoint's passwords")
            }),
            Credentials::Token(token) => Ok(Prepared { token: true, ..own(token) }),
            Credentials::Master { user, password, form } => Ok(match form {
                MasterForm::LoginName(template) => {
                    Prepared { user: template.replace("{mailbox}", mailbox), ..own(password) }
                }
                MasterForm::AuthorisationId => Prepared { user: user.clone(), ..own(password) },
            }),
        }
    }

    /// The authorisation id for one mailbox, if the credentials want one.
    pub(super) fn acts_as<'a>(&self, mailbox: &'a str) -> Option<&'a str> {
        matches!(&self.credentials, Credentials::Master { form: MasterForm::AuthorisationId, .. })
            .then_some(mailbox)
    }
}

impl<'a> Prepared<'a> {
    /// Adds the authorisation id.
    pub fn acting_as(self, mailbox: Option<&'a str>) -> Prepared<'a> {
        Prepared { act_as: mailbox, ..self }
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|a| a.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(host: &str) -> ImapSettings {
        let mut settings = ImapSettings::new(host, Credentials::Fixed { password: "x".into() });
        settings.tls = TlsMode::Plain;
        settings
    }

    #[test]
    fn clear_text_is_for_this_machine_unless_the_operator_insists() {
        for host in ["127.0.0.1", "127.9.9.9", "::1", "localhost"] {
            assert!(settings(host).check().is_ok(), "{host}");
        }
        for host in ["imap.example.org", "10.0.0.1", "127.0.0.1.example.org"] {
            let mut settings = settings(host);
            assert!(settings.check().is_err_and(|e| e.remedy.contains("allow_plaintext")), "{host}");
            settings.allow_plaintext = true;
            assert!(settings.check().is_ok());
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let mut settings = settings("localhost");
        settings.credentials = Credentials::Master {
            user: "m".into(),
            password: "hunter2".into(),
            form: MasterForm::LoginName("{mailbox}*m".into()),
        };
        assert!(settings.check().is_ok());
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}

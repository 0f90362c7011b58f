//! IMAP settings as typed → as meant: presets filled in, secrets loaded, tokens wired to their endpoint.

use std::sync::Arc;

use async_trait::async_trait;

use super::oauth::token_settings;
use crate::config::{self, ImapLogin, ImapServer, OAuth};
use crate::env::Env;
use crate::http::oauth::TokenSource;
use crate::http::{HttpsClient, HttpsOptions};
use crate::imap::login::Mechanism;
use crate::imap::{
    AccessToken, Compress, Credentials, MasterForm, Preset, Server, TlsMode, TokenGiver, presets,
};
use crate::model::Result;
use crate::source::imap::{ImapSettings, Labels};
use crate::target::imap::ImapTargetSettings;

/// A source.
///
/// # Errors
/// `Kind::Config`: a secret is missing, or the token endpoint's address is not usable.
pub(super) fn source(env: &Env, typed: &config::ImapSettings) -> Result<ImapSettings> {
    let base = ImapSettings::of(server(env, &typed.server)?);
    Ok(ImapSettings {
        connections_per_mailbox: typed.connections_per_mailbox.unwrap_or(base.connections_per_mailbox),
        namespaces: typed.namespaces.clone(),
        folders: typed.folders.clone(),
        leave_out: typed.leave_out.clone().unwrap_or(base.leave_out),
        daily_bytes: typed.daily_bytes.or(base.daily_bytes),
        labels: match typed.labels {
            config::Labels::Keywords => Labels::Keywords,
            config::Labels::Copies => Labels::Copies,
            config::Labels::Ignore => Labels::Ignore,
            config::Labels::Off => Labels::Off,
        },
        ..base
    })
}

/// A target.
///
/// # Errors
/// As [`source`].
pub(super) fn target(env: &Env, typed: &config::ImapTargetSettings) -> Result<ImapTargetSettings> {
    let below = typed.folder_prefix.split('/').filter(|name| !name.is_empty()).map(str::to_owned);
    Ok(ImapTargetSettings {
        below: below.collect(),
        max_message: typed.max_message,
        subscribe: typed.subscribe,
        keywords: typed.keywords == config::Keywords::Keep,
        batch_messages: typed.batch_messages,
        expunge_removed: typed.expunge_removed,
        ..ImapTargetSettings::of(server(env, &typed.server)?)
    })
}

/// A server, at whichever end.
///
/// # Errors
/// As [`source`].
pub(super) fn server(env: &Env, typed: &ImapServer) -> Result<Server> {
    let base = Server::like(preset(typed.preset), typed.host.clone(), credentials(env, typed)?);
    Ok(Server {
        port: typed.port,
        tls: match typed.tls {
            config::Tls::Implicit => TlsMode::Implicit,
            config::Tls::StartTls => TlsMode::StartTls,
            config::Tls::Off => TlsMode::Plain,
        },
        allow_plaintext: typed.allow_plaintext,
        ca_file: typed.ca_file.clone(),
        mechanism: match typed.mechanism {
            config::Mechanism::Auto => Mechanism::Auto,
            config::Mechanism::Plain => Mechanism::Plain,
            config::Mechanism::Login => Mechanism::Login,
            config::Mechanism::ScramSha256 => Mechanism::ScramSha256,
            config::Mechanism::XOAuth2 => Mechanism::XOAuth2,
            config::Mechanism::OAuthBearer => Mechanism::OAuthBearer,
        },
        compress: match typed.compress {
            config::Compress::Auto => Compress::Auto,
            config::Compress::On => Compress::On,
            config::Compress::Off => Compress::Off,
        },
        max_connections: typed.max_connections.unwrap_or(base.max_connections),
        login_interval: typed.login_interval.unwrap_or(base.login_interval),
        connect_timeout: typed.connect_timeout,
        idle_timeout: typed.idle_timeout,
        ..base
    })
}

/// Connections to a server at once, and of one mailbox: as typed, else as its kind has them.
pub(super) fn connections(typed: &ImapServer) -> (usize, usize) {
    let preset = preset(typed.preset);
    (typed.max_connections.unwrap_or(preset.max_connections), preset.connections_per_mailbox)
}

fn preset(typed: Option<config::Preset>) -> &'static Preset {
    match typed {
        None => &presets::PLAIN,
        Some(config::Preset::Dovecot) => &presets::DOVECOT,
        Some(config::Preset::Cyrus) => &presets::CYRUS,
        Some(config::Preset::Courier) => &presets::COURIER,
        Some(config::Preset::Exchange) => &presets::EXCHANGE,
        Some(config::Preset::Gmail) => &presets::GMAIL,
        Some(config::Preset::Zimbra) => &presets::ZIMBRA,
    }
}

fn credentials(env: &Env, typed: &ImapServer) -> Result<Credentials> {
    Ok(match &typed.login {
        ImapLogin::Master { user, password, login } => Credentials::Master {
            user: user.clone(),
            password: password.load()?,
            form: match login {
                Some(login) => MasterForm::LoginName(login.clone()),
                None => MasterForm::AuthorisationId,
            },
        },
        ImapLogin::Fixed { password } => Credentials::Fixed { password: password.load()? },
        ImapLogin::PerMailbox(file) => Credentials::PerMailbox(file.load()?),
        ImapLogin::Token(token) => Credentials::Token(token.load()?),
        ImapLogin::OAuth(oauth) => Credentials::Tokens(Arc::new(Giver(tokens(env, typed, oauth)?))),
    })
}

fn tokens(env: &Env, typed: &ImapServer, oauth: &OAuth) -> Result<TokenSource> {
    let options = HttpsOptions { ca_file: typed.ca_file.clone(), connect_timeout: None };
    TokenSource::new(env, Arc::new(HttpsClient::new(env, &options)?), token_settings(oauth)?, false)
}

/// Tokens of OAuth for logins of IMAP: neither wire knows of the other.
struct Giver(TokenSource);

#[async_trait]
impl TokenGiver for Giver {
    async fn token(&self) -> Result<AccessToken> {
        self.0.get().await.map(|token| access(&token))
    }

    async fn renew(&self, refused: &AccessToken) -> Result<AccessToken> {
        self.0.renew(refused.generation).await.map(|token| access(&token))
    }
}

fn access(token: &crate::http::oauth::Token) -> AccessToken {
    AccessToken { secret: token.secret().clone(), generation: token.generation() }
}

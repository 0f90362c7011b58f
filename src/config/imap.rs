//! What IMAP servers have in common, whichever end they are.

use std::time::Duration;

use super::app::{PROOFS, proof};
use super::build::{
    DAY, GIB, HOUR, KIB, LARGEST_MESSAGE, MILLISECOND, MINUTE, SECOND, Secrets, is_loopback, to_usize,
};
use super::read::Section;
use super::settings::{
    Compress, ImapLogin, ImapServer, ImapTargetSettings, Keywords, Mechanism, OAuth, Preset, Tls,
};
use super::target::url;
use crate::guard::{PasswordFile, Secret, SecretFrom};

pub(super) fn server(s: &Section<'_, '_>, secrets: &mut Secrets) -> Option<ImapServer> {
    let host = s.required("host", "\"imap.example.org\"");
    let tls = s.one_of_or(
        "tls",
        &[("implicit", Tls::Implicit), ("starttls", Tls::StartTls), ("off", Tls::Off)],
        Tls::Implicit,
    );
    let allow_plaintext = s.flag("allow_plaintext", false);
    if tls == Tls::Off && !allow_plaintext && host.as_deref().is_some_and(|h| !is_loopback(h)) {
        s.wrong(
            "tls",
            "\"off\" sends passwords and mail in the clear, and this is not a loopback address",
            "use \"implicit\" or \"starttls\"; if you accept that both can be read on the way, add `allow_plaintext = true`",
        );
    }
    let default_port = if tls == Tls::Implicit { 993 } else { 143 };
    let port = u16::try_from(s.number("port", default_port, 1..=65_535)).unwrap_or(993);
    let mechanism = s.one_of_or("mechanism", &MECHANISMS, Mechanism::Auto);
    let preset = if s.has("preset") { s.one_of("preset", &PRESETS) } else { None };
    let compress = [("auto", Compress::Auto), ("on", Compress::On), ("off", Compress::Off)];
    let compress = s.one_of_or("compress", &compress, Compress::Auto);
    let ca_file = s.path("ca_file");
    let max_connections =
        s.has("max_connections").then(|| to_usize(s.number("max_connections", 8, 1..=10_000)));
    let login_interval = s
        .has("login_interval")
        .then(|| s.duration("login_interval", 50 * MILLISECOND, Duration::ZERO..=MINUTE));
    let connect_timeout = s.duration("connect_timeout", 20 * SECOND, SECOND..=10 * MINUTE);
    let idle_timeout = s.duration("idle_timeout", 2 * MINUTE, SECOND..=HOUR);
    let login = login(s, secrets);
    fits(s, mechanism, login.as_ref());
    Some(ImapServer {
        host: host?,
        port,
        tls,
        allow_plaintext,
        ca_file,
        login: login?,
        mechanism,
        preset,
        compress,
        max_connections,
        login_interval,
        connect_timeout,
        idle_timeout,
    })
}

const MECHANISMS: [(&str, Mechanism); 6] = [
    ("auto", Mechanism::Auto),
    ("plain", Mechanism::Plain),
    ("login", Mechanism::Login),
    ("scram-sha-256", Mechanism::ScramSha256),
    ("xoauth2", Mechanism::XOAuth2),
    ("oauthbearer", Mechanism::OAuthBearer),
];

const PRESETS: [(&str, Preset); 6] = [
    ("dovecot", Preset::Dovecot),
    ("cyrus", Preset::Cyrus),
    ("courier", Preset::Courier),
    ("exchange", Preset::Exchange),
    ("gmail", Preset::Gmail),
    ("zimbra", Preset::Zimbra),
];

/// A mechanism for passwords is not for tokens, and one that cannot act as another not for a master user who does.
fn fits(s: &Section<'_, '_>, mechanism: Mechanism, login: Option<&ImapLogin>) {
    let token = matches!(login, Some(ImapLogin::Token(_) | ImapLogin::OAuth(_)));
    let (wrong, remedy) = match (mechanism, login) {
        (_, None) | (Mechanism::Auto, _) => return,
        (Mechanism::XOAuth2 | Mechanism::OAuthBearer, _) if !token => {
            ("wants a token", "add `token` or `oauth`, or set `mechanism = \"auto\"`")
        }
        (Mechanism::Plain | Mechanism::Login | Mechanism::ScramSha256, _) if token => {
            ("wants a password", "write \"xoauth2\", \"oauthbearer\" or \"auto\"")
        }
        (Mechanism::Login, Some(ImapLogin::Master { login: None, .. })) => (
            "cannot log in on behalf of a mailbox",
            "write \"auto\", \"plain\" or \"scram-sha-256\", or add `master_login = \"{mailbox}*migrator\"`",
        ),
        _ => return,
    };
    s.wrong("mechanism", wrong, remedy);
}

/// One of: a password (with or without a master user), a file of passwords, a token, a way to get tokens.
fn login(s: &Section<'_, '_>, secrets: &mut Secrets) -> Option<ImapLogin> {
    let ways = ["password", "passwords", "token", "oauth"].into_iter().filter(|way| s.has(way)).count();
    if ways != 1 {
        let what = if ways == 0 {
            "no secret is named"
        } else {
            "more than one of password, passwords, token and oauth is named"
        };
        s.wrong(
            "password",
            what,
            "add one: `password = { env = \"NAME\" }` (or file, or command), `passwords = \"FILE\"`, `token = { … }` or a table `oauth`",
        );
    }
    let password = s.secret("password");
    let token = s.secret("token");
    secrets.named.extend(password.clone());
    secrets.named.extend(token.clone());
    let user = s.text("master_user");
    let login = s.text("master_login");
    if login.as_deref().is_some_and(|l| !l.contains("{mailbox}")) {
        s.wrong(
            "master_login",
            "does not hold `{mailbox}`: every mailbox would be the same one",
            "write it like `master_login = \"{mailbox}*migrator\"`",
        );
    }
    if login.is_some() && user.is_none() {
        s.wrong("master_login", "stands without `master_user`", "add `master_user = \"migrator\"`");
    }
    if user.is_some() && !s.has("password") {
        s.wrong(
            "master_user",
            "wants `password`",
            "add `password = { env = \"NAME\" }`, or file, or command",
        );
    }
    if s.has("passwords") {
        let file = PasswordFile { path: s.path("passwords")?, place: s.place("passwords") };
        secrets.files.push(file.clone());
        return Some(ImapLogin::PerMailbox(file));
    }
    if s.has("token") {
        return token.map(ImapLogin::Token);
    }
    if s.has("oauth") {
        return oauth(&s.section("oauth")?, secrets).map(|oauth| ImapLogin::OAuth(Box::new(oauth)));
    }
    Some(match user {
        Some(user) => ImapLogin::Master { user, password: password?, login },
        None => ImapLogin::Fixed { password: password? },
    })
}

/// `oauth = { … }` or a table of that name.
pub(super) fn oauth(s: &Section<'_, '_>, secrets: &mut Secrets) -> Option<OAuth> {
    let life = s.duration("token_life", HOUR, MINUTE..=DAY);
    let proof = proof(s, secrets);
    let refresh_token = s.secret("refresh_token");
    secrets.named.extend(refresh_token.clone());
    let scope = s.text("scope");
    if s.has("token_command") {
        for key in ["token_url", "client_id", "refresh_token", "scope"].into_iter().chain(PROOFS) {
            if s.has(key) {
                s.wrong(key, "stands beside `token_command`", "use either the command or the token endpoint");
            }
        }
        let words = s.words("token_command");
        let place = s.place("token_command");
        s.all_known();
        return Some(OAuth::Command { command: Secret { from: SecretFrom::Command(words?), place }, life });
    }
    if s.has("token_life") {
        s.wrong("token_life", "stands without `token_command`", "remove it: the token endpoint tells it");
    }
    let example = "\"https://login.example.org/oauth2/token\"";
    let token_url =
        s.required("token_url", example).and_then(|_| url(s, "token_url", example.trim_matches('"')));
    let client_id = s.required("client_id", "\"00000000-0000-0000-0000-000000000000\"");
    if matches!(proof, Some(None)) && !s.has("refresh_token") {
        s.wrong(
            "client_secret",
            "this key is missing",
            "add `client_secret = { env = \"NAME\" }` (or file, or command) of an app, or `client_certificate`, or `federated_token`; or `refresh_token` of a user",
        );
    }
    for key in ["client_certificate", "federated_token"] {
        if s.has(key) && s.has("refresh_token") {
            s.wrong(
                key,
                "stands beside `refresh_token`",
                "use either a user's refresh token or an app's proof",
            );
        }
    }
    if scope.is_none() && !s.has("refresh_token") {
        s.required("scope", "\"https://outlook.office365.com/.default\"");
    }
    s.all_known();
    let endpoint = OAuth::Endpoint {
        token_url: token_url?,
        client_id: client_id?,
        proof: proof?,
        refresh_token,
        scope: scope.unwrap_or_default(),
    };
    Some(endpoint)
}

/// `[target.NAME]` with `kind = "imap"`.
pub(super) fn target(s: &Section<'_, '_>, secrets: &mut Secrets) -> Option<ImapTargetSettings> {
    let server = server(s, secrets);
    let folder_prefix = s.text("folder_prefix").unwrap_or_default();
    if folder_prefix.split('/').any(str::is_empty) && !folder_prefix.is_empty() {
        s.wrong(
            "folder_prefix",
            "has an empty level",
            "write it like `folder_prefix = \"Archive/Old server\"`, without a slash at either end",
        );
    }
    let max_message = s.has("max_message").then(|| s.size("max_message", LARGEST_MESSAGE, KIB..=2 * GIB));
    let subscribe = s.flag("subscribe", true);
    let words = [("keep", Keywords::Keep), ("drop", Keywords::Drop)];
    let keywords = s.one_of_or("keywords", &words, Keywords::Keep);
    let batch_messages = to_usize(s.number("batch_messages", 100, 1..=200));
    let expunge_removed = s.flag("expunge_removed", false);
    Some(ImapTargetSettings {
        server: server?,
        folder_prefix,
        max_message,
        subscribe,
        keywords,
        batch_messages,
        expunge_removed,
    })
}

//! `[target.NAME]` with `kind = "ews"`.

use std::time::Duration;

use super::build::{KIB, Secrets, limit_settings, to_usize};
use super::imap::oauth;
use super::read::Section;
use super::settings::{EwsLogin, EwsSettings, EwsVersion, LimitSettings};
use super::target::url;

/// What fits a request of the servers' default size (64 MiB) as base64, in bytes.
const LARGEST: u64 = 48_000_000;

const VERSIONS: [(&str, EwsVersion); 3] = [
    ("Exchange2013_SP1", EwsVersion::Exchange2013Sp1),
    ("Exchange2015", EwsVersion::Exchange2015),
    ("Exchange2016", EwsVersion::Exchange2016),
];

/// A server has budgets of its own and tells when they are spent; ours are set only if the operator wants some.
const NO_LIMITS: LimitSettings = LimitSettings {
    requests: 0,
    requests_per: Duration::from_secs(600),
    at_once: 8,
    upload: 0,
    upload_per: Duration::from_secs(300),
    rate: None,
    in_flight: 256,
    start_spent: false,
};

pub(super) fn target(s: &Section<'_, '_>, secrets: &mut Secrets) -> Option<EwsSettings> {
    let example = "https://mail.example.org/EWS/Exchange.asmx";
    let address = s.required("url", &format!("\"{example}\"")).and_then(|_| url(s, "url", example));
    let impersonation = s.flag("impersonation", true);
    let version = s.one_of_or("version", &VERSIONS, EwsVersion::Exchange2013Sp1);
    let ca_file = s.path("ca_file");
    // An operator may have raised the server's limits.
    let max_message = s.size("max_message", LARGEST, KIB..=3 * LARGEST);
    let batch_messages = to_usize(s.number("batch_messages", 20, 1..=50));
    let batch_size = s.size("batch_size", 4 << 20, 64 * KIB..=LARGEST);
    let lanes = to_usize(s.number("lanes", 3, 1..=16));
    let max_connections =
        s.has("max_connections").then(|| to_usize(s.number("max_connections", 20, 1..=10_000)));
    let limits = match s.section("limits") {
        Some(section) => {
            let own = limit_settings(&section, NO_LIMITS);
            section.done();
            own
        }
        None => NO_LIMITS,
    };
    let login = login(s, secrets);
    Some(EwsSettings {
        url: address?,
        login: login?,
        impersonation,
        version,
        ca_file,
        max_message,
        batch_messages,
        batch_size,
        lanes,
        max_connections,
        limits,
    })
}

/// One of: a name and a password, a token, a way to get tokens.
fn login(s: &Section<'_, '_>, secrets: &mut Secrets) -> Option<EwsLogin> {
    let ways = ["password", "token", "oauth"].into_iter().filter(|way| s.has(way)).count();
    if ways != 1 {
        let what = if ways == 0 {
            "no secret is named"
        } else {
            "more than one of password, token and oauth is named"
        };
        s.wrong(
            "password",
            what,
            "add one: `user` and `password = { env = \"NAME\" }` (or file, or command), `token = { … }` or a table `oauth`",
        );
    }
    let password = s.secret("password");
    let token = s.secret("token");
    secrets.named.extend(password.clone());
    secrets.named.extend(token.clone());
    if s.has("oauth") {
        return oauth(&s.section("oauth")?, secrets).map(|oauth| EwsLogin::OAuth(Box::new(oauth)));
    }
    if s.has("token") {
        return token.map(EwsLogin::Token);
    }
    let user = s.required("user", "\"EXAMPLE\\\\migrator\"");
    if user.as_deref().is_some_and(|user| user.contains(':')) {
        s.wrong("user", "holds a colon", "write it as DOMAIN\\user or user@example.org");
    }
    Some(EwsLogin::Password { user: user?, password: password? })
}

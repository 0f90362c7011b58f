//! `[target.NAME]`.

use std::path::PathBuf;

use super::build::{KIB, LARGEST_MESSAGE, Secrets, is_loopback, limit_settings, to_usize};
use super::read::Section;
use super::settings::{
    GraphLogin, GraphSettings, Layout, LimitSettings, LineEnds, MaildirTargetSettings, Sync, TargetKind,
};
use super::source::{LAYOUTS, root};
use super::{ews, imap};

#[derive(Clone, Copy)]
enum TargetWord {
    Ews,
    Graph,
    Imap,
    Maildir,
}

pub(super) fn target(s: Section<'_, '_>, limits: LimitSettings, secrets: &mut Secrets) -> Option<TargetKind> {
    s.required("kind", "\"graph\"")?;
    let words = [
        ("ews", TargetWord::Ews),
        ("graph", TargetWord::Graph),
        ("imap", TargetWord::Imap),
        ("maildir", TargetWord::Maildir),
    ];
    let kind = match s.one_of("kind", &words)? {
        TargetWord::Imap => imap::target(&s, secrets).map(|i| TargetKind::Imap(Box::new(i))),
        TargetWord::Ews => ews::target(&s, secrets).map(|e| TargetKind::Ews(Box::new(e))),
        TargetWord::Graph => graph(&s, limits, secrets).map(|g| TargetKind::Graph(Box::new(g))),
        TargetWord::Maildir => {
            let root = root(&s, "\"/srv/maildirs\"");
            let layout = s.one_of_or("layout", &LAYOUTS, Layout::PlusPlus);
            let words = [("always", Sync::Always), ("batch", Sync::Batch), ("never", Sync::Never)];
            let sync = s.one_of_or("sync", &words, Sync::Batch);
            let words = [("keep", LineEnds::Keep), ("lf", LineEnds::Lf)];
            let line_ends = s.one_of_or("line_ends", &words, LineEnds::Keep);
            let lanes = to_usize(s.number("lanes", 2, 1..=64));
            root.map(|root| {
                TargetKind::Maildir(MaildirTargetSettings { root, layout, sync, line_ends, lanes })
            })
        }
    };
    s.done();
    kind
}

fn graph(s: &Section<'_, '_>, limits: LimitSettings, secrets: &mut Secrets) -> Option<GraphSettings> {
    let mock = mock(s);
    let base_url = url(s, "base_url", "https://graph.microsoft.com/v1.0");
    let authority = url(s, "authority", "https://login.microsoftonline.com");
    let scope = s.text("scope");
    let ca_file = s.path("ca_file");
    let max_message = s.size("max_message", LARGEST_MESSAGE, KIB..=LARGEST_MESSAGE);
    let limits = match s.section("limits") {
        Some(section) => {
            let own = limit_settings(&section, limits);
            section.done();
            own
        }
        None => limits,
    };
    let token = s.secret("token");
    let client_secret = s.secret("client_secret");
    secrets.named.extend(token.clone());
    secrets.named.extend(client_secret.clone());
    let app = ["tenant", "client_id", "client_secret"];
    let any_of_app = app.into_iter().any(|key| s.has(key));
    let login = if s.has("mock") {
        for key in ["tenant", "client_id", "client_secret", "token", "base_url"] {
            if s.has(key) {
                s.wrong(key, "is not used by the in-process mock", "remove it, or remove `mock`");
            }
        }
        Some(GraphLogin::None)
    } else if s.has("token") {
        if any_of_app {
            s.wrong(
                "token",
                "stands beside an app's login",
                "use either `token` or tenant, client_id and client_secret",
            );
        }
        token.map(GraphLogin::Token)
    } else {
        let tenant = s.required("tenant", "\"contoso.onmicrosoft.com\"");
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        if tenant.as_deref().is_some_and(|t| !t.chars().all(plain)) {
            s.wrong(
                "tenant",
                "is neither an id nor a domain",
                "copy the directory (tenant) id of the app registration",
            );
        }
        let client_id = s.required("client_id", "\"00000000-0000-0000-0000-000000000000\"");
        if !s.has("client_secret") {
            s.wrong(
                "client_secret",
                "this key is missing",
                "add `client_secret = { env = \"NAME\" }`, or file, or command",
            );
        }
        match (tenant, client_id, client_secret, authority, &base_url) {
            (Some(tenant), Some(client_id), Some(client_secret), Some(authority), Some(base)) => {
                Some(GraphLogin::App {
                    client_id,
                    client_secret,
                    token_url: format!("{authority}/{tenant}/oauth2/v2.0/token"),
                    tenant,
                    scope: scope.unwrap_or_else(|| default_scope(base)),
                })
            }
            _ => None,
        }
    };
    Some(GraphSettings { base_url: base_url?, login: login?, ca_file, mock: mock?, max_message, limits })
}

/// `mock = { state = "DIR" }`. Outer `None`: it is wrong (and told).
fn mock(s: &Section<'_, '_>) -> Option<Option<PathBuf>> {
    if !s.has("mock") {
        return Some(None);
    }
    let section = s.section("mock")?;
    let state = section.required_path("state", "\"mock-graph\"");
    section.done();
    Some(Some(state?))
}

/// An address: https, or http for a loopback host.
pub(super) fn url(s: &Section<'_, '_>, key: &'static str, default: &str) -> Option<String> {
    let text = s.text(key).unwrap_or_else(|| default.to_owned());
    let uri: Option<http::Uri> = text.parse().ok();
    let Some(uri) = uri.filter(|u| u.host().is_some() && u.query().is_none()) else {
        s.wrong(key, "is not an address", format!("write it like `{key} = \"{default}\"`"));
        return None;
    };
    let host = uri.host().unwrap_or_default();
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        s.wrong(key, "holds a login", "remove it: logins have their own keys");
        return None;
    }
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if is_loopback(host) => {}
        _ => {
            s.wrong(key, "is neither https nor http to a loopback address", "write https://…");
            return None;
        }
    }
    Some(text.trim_end_matches('/').to_owned())
}

/// All application permissions of the service: `https://graph.microsoft.com/.default` (each national cloud has its own
/// host).
fn default_scope(base_url: &str) -> String {
    let uri: Option<http::Uri> = base_url.parse().ok();
    let authority = uri.as_ref().and_then(http::Uri::authority).map_or("graph.microsoft.com", |a| a.as_str());
    format!("https://{authority}/.default")
}

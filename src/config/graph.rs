//! `[target.NAME]` with `kind = "graph"`.

use std::path::PathBuf;

use super::app::{PROOFS, proof};
use super::build::{KIB, LARGEST_MESSAGE, Secrets, limit_settings};
use super::read::Section;
use super::settings::{AttachOriginal, GraphApp, GraphLogin, GraphSettings, LimitSettings};
use super::target::url;
use crate::model::WriteMode;

/// A cloud of the service: where apps log in, and where Graph is. Scopes name Graph's host.
/// Source: Microsoft Graph documentation, "National cloud deployments".
#[derive(Clone, Copy)]
struct Cloud {
    login: &'static str,
    graph: &'static str,
}

const GLOBAL: Cloud =
    Cloud { login: "https://login.microsoftonline.com", graph: "https://graph.microsoft.com/v1.0" };
const CLOUDS: [(&str, Cloud); 4] = [
    // Also US Government GCC.
    ("global", GLOBAL),
    // US Government L4.
    (
        "gcc-high",
        Cloud { login: "https://login.microsoftonline.us", graph: "https://graph.microsoft.us/v1.0" },
    ),
    // US Government L5.
    (
        "dod",
        Cloud { login: "https://login.microsoftonline.us", graph: "https://dod-graph.microsoft.us/v1.0" },
    ),
    // Operated by 21Vianet.
    (
        "china",
        Cloud {
            login: "https://login.chinacloudapi.cn",
            graph: "https://microsoftgraph.chinacloudapi.cn/v1.0",
        },
    ),
];

/// When the whole original is attached to its copy.
const ORIGINALS: [(&str, AttachOriginal); 3] = [
    ("never", AttachOriginal::Never),
    ("when_lossy", AttachOriginal::WhenLossy),
    ("always", AttachOriginal::Always),
];
/// App registrations of one endpoint.
const MOST_APPS: usize = 64;

pub(super) fn target(
    s: &Section<'_, '_>,
    limits: LimitSettings,
    secrets: &mut Secrets,
) -> Option<GraphSettings> {
    let mock = mock(s);
    let cloud = s.one_of_or("cloud", &CLOUDS, GLOBAL);
    let base_url = url(s, "base_url", cloud.graph);
    let authority = url(s, "authority", cloud.login);
    let scope = s.text("scope");
    let ca_file = s.path("ca_file");
    let max_message = s.size("max_message", LARGEST_MESSAGE, KIB..=LARGEST_MESSAGE);
    let modes = modes(s, base_url.as_deref());
    let attach_original = s.one_of_or("attach_original", &ORIGINALS, AttachOriginal::WhenLossy);
    let limits = match s.section("limits") {
        Some(section) => {
            let own = limit_settings(&section, limits);
            section.done();
            own
        }
        None => limits,
    };
    let token = s.secret("token");
    secrets.named.extend(token.clone());
    let tenant = tenant(s);
    let of_app = ["client_id", "apps"].into_iter().chain(PROOFS).any(|key| s.has(key));
    let login = if s.has("mock") {
        for key in ["tenant", "client_id", "apps", "token", "base_url", "cloud"].into_iter().chain(PROOFS) {
            if s.has(key) {
                s.wrong(key, "is not used by the in-process mock", "remove it, or remove `mock`");
            }
        }
        Some(GraphLogin::None)
    } else if s.has("token") {
        if of_app {
            s.wrong(
                "token",
                "stands beside an app's login",
                "use either `token` or tenant, client_id and client_secret",
            );
        }
        token.map(|token| GraphLogin::Token { token, tenant })
    } else {
        s.required("tenant", "\"contoso.onmicrosoft.com\"");
        let apps = if s.has("apps") { pool(s, secrets) } else { app(s, secrets).map(|app| vec![app]) };
        match (tenant, apps, authority, &base_url) {
            (Some(tenant), Some(apps), Some(authority), Some(base)) => Some(GraphLogin::Apps {
                token_url: format!("{authority}/{tenant}/oauth2/v2.0/token"),
                tenant,
                scope: scope.unwrap_or_else(|| default_scope(base)),
                apps,
            }),
            _ => None,
        }
    };
    Some(GraphSettings {
        base_url: base_url?,
        login: login?,
        ca_file,
        mock: mock?,
        max_message,
        attach_original,
        modes: modes?,
        limits,
    })
}

fn tenant(s: &Section<'_, '_>) -> Option<String> {
    let tenant = s.text("tenant");
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if tenant.as_deref().is_some_and(|t| !t.chars().all(plain)) {
        s.wrong(
            "tenant",
            "is neither an id nor a domain",
            "copy the directory (tenant) id of the app registration",
        );
    }
    tenant
}

/// One app registration: its id, and one proof.
fn app(s: &Section<'_, '_>, secrets: &mut Secrets) -> Option<GraphApp> {
    let client_id = s.required("client_id", "\"00000000-0000-0000-0000-000000000000\"");
    let proof = proof(s, secrets);
    if matches!(proof, Some(None)) {
        s.wrong(
            "client_secret",
            "this key is missing",
            "add `client_secret = { env = \"NAME\" }`, or file, or command; or `client_certificate`, or `federated_token`",
        );
    }
    Some(GraphApp { client_id: client_id?, proof: proof?? })
}

/// `[[target.NAME.apps]]`
fn pool(s: &Section<'_, '_>, secrets: &mut Secrets) -> Option<Vec<GraphApp>> {
    for key in ["client_id"].into_iter().chain(PROOFS) {
        if s.has(key) {
            s.wrong(key, "stands beside `apps`", "name the app in `apps` too");
        }
    }
    let tables = s.tables("apps")?;
    if tables.is_empty() || tables.len() > MOST_APPS {
        s.wrong("apps", "names none, or more than 64", "add `[[target.NAME.apps]]` with a `client_id`");
    }
    let mut apps: Vec<GraphApp> = Vec::new();
    let mut whole = true;
    for table in tables {
        match app(&table, secrets) {
            Some(app) if apps.iter().any(|other| other.client_id == app.client_id) => {
                table.wrong("client_id", "is named twice", "each app has its own id");
            }
            Some(app) => apps.push(app),
            None => whole = false,
        }
        table.done();
    }
    whole.then_some(apps)
}

/// `modes = ["import-mime", "json"]`. `None`: it is wrong (and told).
fn modes(s: &Section<'_, '_>, base_url: Option<&str>) -> Option<Vec<WriteMode>> {
    const KNOWN: [WriteMode; 3] = [WriteMode::Json, WriteMode::ImportMime, WriteMode::ImportStream];
    if !s.has("modes") {
        return Some(vec![WriteMode::Json]);
    }
    let mut modes = Vec::new();
    for word in s.texts("modes")? {
        match KNOWN.into_iter().find(|mode| mode.word() == word) {
            Some(mode) if !modes.contains(&mode) => modes.push(mode),
            _ => {
                s.wrong(
                    "modes",
                    "names a mode that is not known or there twice",
                    "write `modes = [\"json\"]`, with \"import-mime\" before it or \"import-stream\" beside it",
                );
                return None;
            }
        }
    }
    if modes.is_empty() {
        s.wrong("modes", "names no mode", "write `modes = [\"json\"]`");
    }
    if modes.contains(&WriteMode::ImportMime) && base_url.is_some_and(|url| !url.ends_with("/v1.0")) {
        s.wrong(
            "base_url",
            "does not end with /v1.0, and `import-mime` is asked of /beta beside it",
            "write an address that ends with /v1.0, or leave `import-mime` out of `modes`",
        );
    }
    let national = CLOUDS.iter().skip(1).any(|(_, cloud)| base_url == Some(cloud.graph));
    if modes.contains(&WriteMode::ImportStream) && national {
        s.wrong(
            "modes",
            "names `import-stream`, which national clouds do not have",
            "leave `import-stream` out of `modes`",
        );
    }
    Some(modes)
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

/// All application permissions of the service: `https://graph.microsoft.com/.default` (each national cloud has its own
/// host).
fn default_scope(base_url: &str) -> String {
    let uri: Option<http::Uri> = base_url.parse().ok();
    let authority = uri.as_ref().and_then(http::Uri::authority).map_or("graph.microsoft.com", |a| a.as_str());
    format!("https://{authority}/.default")
}

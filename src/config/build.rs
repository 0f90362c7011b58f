//! From the file's tables to [`Settings`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::Loaded;
use super::read::{Reader, Section};
use super::settings::{
    GraphLogin, GraphSettings, ImapLogin, ImapSettings, Layout, LimitSettings, MaildirSettings,
    MaildirTargetSettings, MboxSettings, MboxVariant, RunSettings, Settings, Smooth, SourceKind, Sync,
    TargetKind, Tls,
};
use crate::guard::Secret;
use crate::model::{Error, SourceName};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Exchange Online takes messages up to 150 MB ("Exchange Online limits", message size limit).
const LARGEST_MESSAGE: u64 = 150 * MIB;

/// Reads the whole file; tells everything that is wrong with it at once.
pub(super) fn build(path: &Path, text: &str) -> Result<Loaded, Vec<Error>> {
    // A byte-order mark is not part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let reader = Reader::new(path, text);
    let parsed = DeTable::parse(text);
    let (settings, secrets) = match &parsed {
        Ok(table) => {
            let root = Section::root(&reader, table.get_ref());
            whole(&reader, root, path)
        }
        Err(e) => {
            let at = e.span().map_or(0, |span| span.start);
            let what = format!("this is not TOML: {}", e.message().replace('\n', ", "));
            reader.wrong(at, "", what, "compare the line with the reference in README.md");
            (None, Vec::new())
        }
    };
    let wrong = reader.into_wrong();
    match settings {
        Some(settings) if wrong.is_empty() => {
            Ok(Loaded { settings, warnings: secrets.iter().filter_map(Secret::warning).collect() })
        }
        _ => Err(wrong),
    }
}

fn whole(reader: &Reader<'_>, root: Section<'_, '_>, path: &Path) -> (Option<Settings>, Vec<Secret>) {
    let mut secrets = Vec::new();
    let source_name = root.required("source_name", "\"acme\"").and_then(|text| {
        let name = text.parse::<SourceName>();
        if name.is_err() {
            root.wrong(
                "source_name",
                "is not 1 to 16 of a-z and 0-9",
                "choose a short name of the installation you move away from; it is part of every stamp and must never change",
            );
        }
        name.ok()
    });
    let mailboxes = root.path_or("mailboxes", "mailboxes.csv");
    let ledger = root.path_or("ledger", "mailwave-ledger");
    let beside = ledger.parent().map(Path::to_owned).unwrap_or_default();
    let report = root.path("report").unwrap_or_else(|| beside.join("mailwave-report"));
    let run = run_settings(root.section("run"), &beside);

    let limits = match root.section("limits") {
        Some(section) => {
            let limits = limit_settings(&section, LimitSettings::default());
            section.done();
            limits
        }
        None => LimitSettings::default(),
    };

    let mut sources = BTreeMap::new();
    let mut targets = BTreeMap::new();
    if let Some(section) = root.section("source") {
        for (name, endpoint) in section.sections() {
            if let Some(kind) = source(endpoint, &mut secrets) {
                sources.insert(name, kind);
            }
        }
    } else if !root.has("source") {
        reader.wrong(
            0,
            "source",
            "no source is named",
            "add `[source.NAME]` with `kind = \"imap\"`, \"maildir\" or \"mbox\"",
        );
    }
    if let Some(section) = root.section("target") {
        for (name, endpoint) in section.sections() {
            if let Some(kind) = target(endpoint, limits, &mut secrets) {
                targets.insert(name, kind);
            }
        }
    } else if !root.has("target") {
        reader.wrong(
            0,
            "target",
            "no target is named",
            "add `[target.NAME]` with `kind = \"graph\"` or \"maildir\"",
        );
    }
    root.done();
    let settings = source_name.map(|source_name| Settings {
        file: path.to_owned(),
        source_name,
        mailboxes,
        ledger,
        report,
        run,
        sources,
        targets,
    });
    (settings, secrets)
}

fn run_settings(section: Option<Section<'_, '_>>, beside: &Path) -> RunSettings {
    let mut run = RunSettings {
        open_mailboxes: 64,
        memory: 512 * MIB,
        spool_above: 4 * MIB,
        spool: beside.join("mailwave-spool"),
        settle: 10 * SECOND,
        watch_for: 15 * MINUTE,
        tries: 5,
        store_deadline: 5 * MINUTE,
        max_message: LARGEST_MESSAGE,
        recount: true,
        mirror: true,
    };
    let Some(s) = section else { return run };
    run.open_mailboxes = to_usize(s.number("open_mailboxes", run.open_mailboxes as u64, 1..=5000));
    run.memory = s.size("memory", run.memory, 16 * MIB..=TIB);
    run.spool_above = s.size("spool_above", run.spool_above, 64 * KIB..=GIB);
    run.spool = s.path("spool").unwrap_or(run.spool);
    run.settle = s.duration("settle", run.settle, Duration::ZERO..=10 * MINUTE);
    run.watch_for = s.duration("watch_for", run.watch_for, Duration::ZERO..=30 * DAY);
    run.tries = u32::try_from(s.number("tries", u64::from(run.tries), 1..=20)).unwrap_or(run.tries);
    run.store_deadline = s.duration("store_deadline", run.store_deadline, SECOND..=HOUR);
    run.max_message = s.size("max_message", run.max_message, KIB..=2 * GIB);
    run.recount = s.flag("recount", run.recount);
    run.mirror = s.flag("mirror", run.mirror);
    s.done();
    run
}

fn limit_settings(s: &Section<'_, '_>, base: LimitSettings) -> LimitSettings {
    let to_u32 = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let rate = s.has("rate").then(|| Smooth { per_second: to_u32(s.number("rate", 1, 1..=100_000)) });
    LimitSettings {
        requests: to_u32(s.number("requests", u64::from(base.requests), 1..=10_000_000)),
        requests_per: s.duration("requests_per", base.requests_per, SECOND..=DAY),
        at_once: to_u32(s.number("at_once", u64::from(base.at_once), 1..=64)),
        upload: s.size("upload", base.upload, 64 * KIB..=TIB),
        upload_per: s.duration("upload_per", base.upload_per, SECOND..=DAY),
        smooth: rate.or(base.smooth),
    }
}

#[derive(Clone, Copy)]
enum SourceWord {
    Imap,
    Maildir,
    Mbox,
}

fn source(s: Section<'_, '_>, secrets: &mut Vec<Secret>) -> Option<SourceKind> {
    s.required("kind", "\"imap\"")?;
    let words = [("imap", SourceWord::Imap), ("maildir", SourceWord::Maildir), ("mbox", SourceWord::Mbox)];
    let kind = match s.one_of("kind", &words)? {
        SourceWord::Imap => imap(&s, secrets).map(SourceKind::Imap),
        SourceWord::Maildir => {
            let root = s.required_path("root", "\"/var/mail\"");
            let layout = s.one_of_or(
                "layout",
                &[("auto", Layout::Auto), ("maildir++", Layout::PlusPlus), ("fs", Layout::Fs)],
                Layout::Auto,
            );
            root.map(|root| SourceKind::Maildir(MaildirSettings { root, layout }))
        }
        SourceWord::Mbox => {
            let root = s.required_path("root", "\"/var/mbox\"");
            let words = [
                ("auto", MboxVariant::Auto),
                ("mboxo", MboxVariant::Mboxo),
                ("mboxrd", MboxVariant::Mboxrd),
                ("mboxcl", MboxVariant::Mboxcl),
                ("mboxcl2", MboxVariant::Mboxcl2),
            ];
            let variant = s.one_of_or("variant", &words, MboxVariant::Auto);
            let gmail_labels = s.flag("gmail_labels", true);
            root.map(|root| SourceKind::Mbox(MboxSettings { root, variant, gmail_labels }))
        }
    };
    s.done();
    kind
}

#[derive(Clone, Copy, PartialEq)]
enum AuthWord {
    Login,
    Plain,
    Xoauth2,
}

fn imap(s: &Section<'_, '_>, secrets: &mut Vec<Secret>) -> Option<ImapSettings> {
    let host = s.required("host", "\"imap.example.org\"");
    let tls = s.one_of_or(
        "tls",
        &[("implicit", Tls::Implicit), ("starttls", Tls::StartTls), ("off", Tls::Off)],
        Tls::Implicit,
    );
    if tls == Tls::Off && host.as_deref().is_some_and(|h| !is_loopback(h)) {
        s.wrong(
            "tls",
            "\"off\" is allowed for a loopback address only: passwords would travel in the clear",
            "use \"implicit\" or \"starttls\"",
        );
    }
    let default_port = if tls == Tls::Implicit { 993 } else { 143 };
    let port = u16::try_from(s.number("port", default_port, 1..=65_535)).unwrap_or(993);
    let auth = s.one_of_or(
        "auth",
        &[("login", AuthWord::Login), ("plain", AuthWord::Plain), ("xoauth2", AuthWord::Xoauth2)],
        AuthWord::Plain,
    );

    let mut needed = |key: &'static str, only_for: bool| {
        if only_for && !s.has(key) {
            s.wrong(
                key,
                "this key is missing",
                format!("add `{key} = {{ env = \"NAME\" }}`, or file, or command"),
            );
        }
        let secret = s.secret(key);
        if !only_for && s.has(key) {
            s.wrong(key, "is not used with this `auth`", "remove it, or change `auth`");
        }
        secrets.extend(secret.clone());
        secret.filter(|_| only_for)
    };
    let password = needed("password", auth != AuthWord::Xoauth2);
    let token = needed("token", auth == AuthWord::Xoauth2);
    let master_user = s.text("master_user");
    if master_user.is_some() && auth != AuthWord::Plain {
        s.wrong(
            "master_user",
            "a master user needs `auth = \"plain\"`",
            "set `auth = \"plain\"`, or write `user = \"{mailbox}*master\"` for LOGIN",
        );
    }
    let user = s.text("user");
    if user.is_some() && auth == AuthWord::Plain {
        s.wrong(
            "user",
            "is not used with `auth = \"plain\"`",
            "name the master user in `master_user`, or use `auth = \"login\"`",
        );
    } else if user.as_deref().is_some_and(|u| !u.contains("{mailbox}")) {
        s.wrong(
            "user",
            "does not hold `{mailbox}`: every mailbox would be the same one",
            "write `user = \"{mailbox}\"`",
        );
    }
    let user = user.unwrap_or_else(|| "{mailbox}".to_owned());
    let ca_file = s.path("ca_file");
    let max_connections = to_usize(s.number("max_connections", 20, 1..=1000));
    let connect_timeout = s.duration("connect_timeout", 20 * SECOND, SECOND..=10 * MINUTE);
    let silence = s.duration("silence", 2 * MINUTE, SECOND..=HOUR);
    let login = match auth {
        AuthWord::Login => ImapLogin::Login { user, password: password? },
        AuthWord::Plain => ImapLogin::Plain { authcid: master_user, password: password? },
        AuthWord::Xoauth2 => ImapLogin::Xoauth2 { user, token: token? },
    };
    Some(ImapSettings { host: host?, port, tls, ca_file, login, max_connections, connect_timeout, silence })
}

#[derive(Clone, Copy)]
enum TargetWord {
    Graph,
    Maildir,
}

fn target(s: Section<'_, '_>, limits: LimitSettings, secrets: &mut Vec<Secret>) -> Option<TargetKind> {
    s.required("kind", "\"graph\"")?;
    let kind = match s.one_of("kind", &[("graph", TargetWord::Graph), ("maildir", TargetWord::Maildir)])? {
        TargetWord::Graph => graph(&s, limits, secrets).map(|g| TargetKind::Graph(Box::new(g))),
        TargetWord::Maildir => {
            let root = s.required_path("root", "\"/srv/maildirs\"");
            let layout = s.one_of_or(
                "layout",
                &[("maildir++", Layout::PlusPlus), ("fs", Layout::Fs)],
                Layout::PlusPlus,
            );
            let sync = s.one_of_or("sync", &[("always", Sync::Always), ("never", Sync::Never)], Sync::Always);
            let max_message = s.size("max_message", 2 * GIB, KIB..=2 * GIB);
            root.map(|root| TargetKind::Maildir(MaildirTargetSettings { root, layout, sync, max_message }))
        }
    };
    s.done();
    kind
}

fn graph(s: &Section<'_, '_>, limits: LimitSettings, secrets: &mut Vec<Secret>) -> Option<GraphSettings> {
    let mock = mock(s);
    let base_url = url(s, "base_url", "https://graph.microsoft.com/v1.0");
    let authority = url(s, "authority", "https://login.microsoftonline.com");
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
    secrets.extend(token.clone());
    secrets.extend(client_secret.clone());
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
        let client_id = s.required("client_id", "\"00000000-0000-0000-0000-000000000000\"");
        if !s.has("client_secret") {
            s.wrong(
                "client_secret",
                "this key is missing",
                "add `client_secret = { env = \"NAME\" }`, or file, or command",
            );
        }
        match (tenant, client_id, client_secret, &authority) {
            (Some(tenant), Some(client_id), Some(client_secret), Some(authority)) => {
                Some(GraphLogin::App { tenant, client_id, client_secret, authority: authority.clone() })
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
fn url(s: &Section<'_, '_>, key: &'static str, default: &str) -> Option<String> {
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

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{REFERENCE, parse};
    use super::*;

    const GOOD: &str = r#"source_name = "acme"
[source.old]
kind = "imap"
host = "imap.example.org"
master_user = "migrator"
password = { env = "PW" }
[target.new]
kind = "maildir"
root = "out"
"#;

    fn errors(text: &str) -> Vec<String> {
        match parse(Path::new("etc/mailwave.toml"), text) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        }
    }

    fn one(text: &str) -> String {
        let all = errors(text);
        assert_eq!(all.len(), 1, "{all:#?}");
        all.into_iter().next().unwrap_or_default()
    }

    #[test]
    fn the_reference_parses_and_holds_the_defaults() {
        let loaded = parse(Path::new("mailwave.toml"), REFERENCE).expect("the reference is right");
        let bare = parse(Path::new("mailwave.toml"), GOOD).expect("right");
        assert_eq!(format!("{:?}", loaded.settings.run), format!("{:?}", bare.settings.run));
        let TargetKind::Graph(graph) = &loaded.settings.targets["new"] else { panic!("a Graph target") };
        assert_eq!(graph.limits, LimitSettings::default());
        assert_eq!(graph.base_url, "https://graph.microsoft.com/v1.0");
    }

    #[test]
    fn every_commented_key_of_the_reference_is_a_real_key_with_its_default() {
        // `#key = value` lines (no blank after the #) are keys; uncommenting all of them must still be right,
        // except the ones marked as alternatives.
        let text: String = REFERENCE
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{key}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let loaded = parse(Path::new("mailwave.toml"), &text).expect("the keys in comments are real");
        let plain = parse(Path::new("mailwave.toml"), REFERENCE).expect("right");
        assert_eq!(format!("{:?}", loaded.settings), format!("{:?}", plain.settings));
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let loaded = parse(Path::new("etc/mailwave.toml"), GOOD).expect("right");
        assert_eq!(loaded.settings.mailboxes, Path::new("etc/mailboxes.csv"));
        assert_eq!(loaded.settings.ledger, Path::new("etc/mailwave-ledger"));
        assert_eq!(loaded.settings.report, Path::new("etc/mailwave-report"));
    }

    #[test]
    fn errors_name_file_line_key_and_remedy() {
        for (from, to, error) in [
            (
                "host =",
                "hsot =",
                "etc/mailwave.toml:4: source.old.hsot: this key is not known — did you mean `host`?",
            ),
            (
                "{ env = \"PW\" }",
                "\"hunter2\"",
                "etc/mailwave.toml:6: source.old.password: a secret must not stand in the configuration — write `{ env = \"NAME\" }`, `{ file = \"path\" }` or `{ command = [\"pass\", \"show\", \"name\"] }`",
            ),
            (
                "\"acme\"",
                "\"Acme Corp\"",
                "etc/mailwave.toml:1: source_name: is not 1 to 16 of a-z and 0-9 — choose a short name of the installation you move away from; it is part of every stamp and must never change",
            ),
            (
                "kind = \"imap\"",
                "kind = \"imapp\"",
                "etc/mailwave.toml:3: source.old.kind: \"imapp\" is not known here — did you mean \"imap\"? It may be \"imap\", \"maildir\", \"mbox\"",
            ),
            (
                "root = \"out\"",
                "root = \"out\"\nsync = true",
                "etc/mailwave.toml:10: target.new.sync: wants \"text\", found boolean — write `sync = \"text\"`",
            ),
            (
                "[source.old]",
                "[run]\nsettle = 10\n[source.old]",
                "etc/mailwave.toml:3: run.settle: wants a duration with its unit (ms, s, m, h, d), in quotes — write it like `settle = \"10s\"`",
            ),
            (
                "[source.old]",
                "[run]\nopen_mailboxes = 0\n[source.old]",
                "etc/mailwave.toml:3: run.open_mailboxes: 0 is out of range — write a number from 1 to 5000",
            ),
            (
                "[source.old]",
                "[run]\nmemory = \"1MB\"\n[source.old]",
                "etc/mailwave.toml:3: run.memory: 1MB is out of range — write from \"16MiB\" to \"1TiB\"",
            ),
        ] {
            let all = errors(&GOOD.replace(from, to));
            assert!(all.contains(&error.to_owned()), "wanted {error}\ngot {all:#?}");
            assert!(!all.join("").contains("hunter2"));
        }
    }

    #[test]
    fn everything_wrong_is_told_at_once_and_in_order() {
        let all = errors("zzz = 1\n[source.old]\nkind = \"maildir\"\n[target.new]\nkind = \"graph\"\n");
        assert_eq!(all.len(), 6, "{all:#?}");
        assert!(
            all.iter().any(|e| e.contains("source_name: this key is missing — add `source_name = \"acme\"`"))
        );
        assert!(all.iter().any(|e| e.contains(":1: zzz: this key is not known")));
    }

    #[test]
    fn what_is_not_toml_is_told_with_its_line() {
        assert!(
            one("source_name = \"acme\"\nmailboxes = \n")
                .starts_with("etc/mailwave.toml:2: this is not TOML: ")
        );
    }

    #[test]
    fn clear_text_is_for_loopback_only() {
        assert!(one(&GOOD.replace("kind = \"imap\"", "kind = \"imap\"\ntls = \"off\"")).contains("loopback"));
        let local = GOOD
            .replace("kind = \"imap\"", "kind = \"imap\"\ntls = \"off\"")
            .replace("imap.example.org", "127.0.0.1");
        assert_eq!(errors(&local), Vec::<String>::new());
        let graph = |base: &str| {
            GOOD.replace(
                "kind = \"maildir\"\nroot = \"out\"",
                &format!("kind = \"graph\"\ntoken = {{ env = \"T\" }}\nbase_url = \"{base}\""),
            )
        };
        assert_eq!(errors(&graph("http://127.0.0.1:8080/v1.0/")), Vec::<String>::new());
        assert!(one(&graph("http://graph.example.org/v1.0")).contains("neither https"));
        assert!(one(&graph("https://a:b@graph.example.org/v1.0")).contains("holds a login"));
        assert!(one(&graph("http://")).contains("is not an address"));
    }

    #[test]
    fn limits_of_a_target_win_over_the_general_ones() {
        let text = GOOD.replace(
            "kind = \"maildir\"\nroot = \"out\"",
            "kind = \"graph\"\ntoken = { env = \"T\" }\n[target.new.limits]\nat_once = 2",
        ) + "[limits]\nrequests = 500\nat_once = 3\nrate = 100\n";
        let loaded = parse(Path::new("m.toml"), &text).expect("right");
        let TargetKind::Graph(g) = &loaded.settings.targets["new"] else { panic!("a Graph target") };
        assert_eq!(
            (g.limits.at_once, g.limits.requests, g.limits.smooth),
            (2, 500, Some(Smooth { per_second: 100 }))
        );
        assert_eq!(g.limits.upload, 150_000_000);
    }

    proptest::proptest! {
        #[test]
        fn foreign_text_never_panics(text in "[a-z_.=\\[\\]{}\"' \n0-9#\\PC]{0,200}") {
            let _ = parse(Path::new("m.toml"), &text);
        }
    }
}

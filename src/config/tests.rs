//! What a configuration may say, and what is told of one that is wrong.

use std::path::Path;

use super::settings::{
    AppProof, Compress, EwsLogin, EwsVersion, GraphApp, GraphLogin, ImapLogin, Keywords, LimitSettings,
    OAuth, Preset, SourceKind, TargetKind,
};
use super::{REFERENCE, parse};

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
fn a_side_without_an_endpoint_is_told_once() {
    let none = "source_name = \"acme\"\n[source]\n[target.new]\nkind = \"maildir\"\nroot = \"out\"\n";
    assert!(one(none).contains("source: no source is named — add `[source.NAME]`"), "{}", one(none));
    assert!(one(&none.replace("[source]\n", "")).contains("no source is named"));
    let flat = none.replace("source_name = \"acme\"\n[source]\n", "source_name = \"acme\"\nsource = 1\n");
    assert!(one(&flat).contains("source: wants a table"));
}

#[test]
fn the_fingerprint_tells_where_copies_lie_and_neither_addresses_nor_the_place_it_is_run_from() {
    let print = |path: &str, text: &str| parse(Path::new(path), text).expect("right").settings.fingerprint();
    let here = print("mailwave.toml", GOOD);
    assert_eq!(here, "source.old\timap\ntarget.new\tmaildir out\n");
    assert_eq!(here, print("/elsewhere/mailwave.toml", GOOD));
    assert_eq!(here, print("mailwave.toml", &format!("{GOOD}[run]\ntries = 3\n")));
    assert_eq!(here, print("mailwave.toml", &GOOD.replace("imap.example.org", "imap.example.net")));
    assert_ne!(here, print("mailwave.toml", &GOOD.replace("root = \"out\"", "root = \"out2\"")));
    let graph =
        "kind = \"graph\"\ntenant = \"t.example\"\nclient_id = \"c\"\nclient_secret = { env = \"S\" }";
    let graph = print("mailwave.toml", &GOOD.replace("kind = \"maildir\"\nroot = \"out\"", graph));
    assert_eq!(graph, "source.old\timap\ntarget.new\tgraph https://graph.microsoft.com/v1.0 t.example\n");
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    assert!(
        one("source_name = \"acme\"\nmailboxes = \n").starts_with("etc/mailwave.toml:2: this is not TOML: ")
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

fn imap(text: &str) -> super::ImapSettings {
    let loaded = parse(Path::new("m.toml"), text).expect("right");
    match loaded.settings.sources.into_values().next() {
        Some(SourceKind::Imap(imap)) => *imap,
        other => panic!("an IMAP source: {other:?}"),
    }
}

#[test]
fn what_is_set_beats_the_preset_and_what_is_not_is_left_to_it() {
    let bare = imap(&GOOD.replace("master_user", "preset = \"gmail\"\nmaster_user"));
    assert_eq!(bare.server.preset, Some(Preset::Gmail));
    assert_eq!(
        (bare.server.max_connections, bare.connections_per_mailbox, bare.leave_out),
        (None, None, None)
    );
    let set = GOOD.replace(
        "master_user",
        "preset = \"gmail\"\nmax_connections = 3\nleave_out = []\ncompress = \"off\"\nmaster_user",
    );
    let set = imap(&set);
    assert_eq!((set.server.max_connections, set.leave_out), (Some(3), Some(Vec::new())));
    assert_eq!(set.server.compress, Compress::Off);
    let typo = one(&GOOD.replace("master_user", "preset = \"gmial\"\nmaster_user"));
    assert!(
        typo.contains("mailwave.toml:5: source.old.preset: ") && typo.contains("did you mean \"gmail\""),
        "{typo}"
    );
    let list = one(&GOOD.replace("master_user", "folders = \"INBOX\"\nmaster_user"));
    assert!(list.contains("source.old.folders: wants [\"one\", \"two\"], found string"), "{list}");
}

#[test]
fn tokens_come_from_an_endpoint_or_a_command_and_errors_name_the_key() {
    let with = |oauth: &str| {
        GOOD.replace("master_user = \"migrator\"\npassword = { env = \"PW\" }", "")
            .replace("host =", &format!("oauth = {{ {oauth} }}\nhost ="))
    };
    let app =
        "token_url = \"https://login.example.org/t\", client_id = \"c\", client_secret = { env = \"S\" }";
    let ImapLogin::OAuth(oauth) = imap(&with(&format!("{app}, scope = \"s\""))).server.login else {
        panic!("tokens")
    };
    assert!(matches!(*oauth, OAuth::Endpoint { refresh_token: None, ref scope, .. } if scope == "s"));
    let command = imap(&with("token_command = [\"get\"], token_life = \"10m\"")).server.login;
    assert!(
        matches!(&command, ImapLogin::OAuth(o) if matches!(&**o, OAuth::Command { life, .. } if life.as_secs() == 600))
    );
    let user =
        "token_url = \"https://login.example.org/t\", client_id = \"c\", refresh_token = { env = \"S\" }";
    assert_eq!(errors(&with(user)), Vec::<String>::new());
    for (oauth, error) in [
        (app.to_owned(), "source.old.oauth.scope: this key is missing"),
        (format!("{app}, scope = \"s\", token_life = \"1h\""), "oauth.token_life: stands without"),
        (format!("{app}, scope = \"s\", token_command = [\"x\"]"), "stands beside `token_command`"),
        (
            app.replace("https", "http") + ", scope = \"s\"",
            "source.old.oauth.token_url: is neither https nor",
        ),
        (app.replace("{ env = \"S\" }", "\"hunter2\"") + ", scope = \"s\"", "a secret must not stand"),
        (format!("{app}, scope = \"s\", scop = \"s\""), "did you mean `scope`"),
        ("token_command = []".to_owned(), "token_command: names no program"),
    ] {
        let all = errors(&with(&oauth));
        assert!(all.iter().any(|e| e.contains(error)), "wanted {error}\ngot {all:#?}");
        assert!(!all.concat().contains("hunter2"));
    }
    let mechanism =
        one(&with("token_command = [\"get\"]").replace("host =", "mechanism = \"plain\"\nhost ="));
    assert!(mechanism.contains("source.old.mechanism: wants a password"), "{mechanism}");
    let mechanism = one(&GOOD.replace("host =", "mechanism = \"xoauth2\"\nhost ="));
    assert!(mechanism.contains("source.old.mechanism: wants a token"), "{mechanism}");
    let mechanism = one(&GOOD.replace("host =", "mechanism = \"login\"\nhost ="));
    assert!(mechanism.contains("cannot log in on behalf of a mailbox"), "{mechanism}");
}

#[test]
fn an_imap_target_takes_what_a_source_takes_and_its_own() {
    let imap = "kind = \"imap\"\nhost = \"imap.example.net\"\npassword = { env = \"S\" }\nfolder_prefix = \"Old/Server\"";
    let text = GOOD.replace("kind = \"maildir\"\nroot = \"out\"", imap);
    let loaded = parse(Path::new("m.toml"), &text).expect("right");
    assert!(loaded.settings.fingerprint().ends_with("target.new\timap Old/Server\n"));
    let TargetKind::Imap(target) = &loaded.settings.targets["new"] else { panic!("an IMAP target") };
    assert_eq!((target.server.port, target.batch_messages, target.max_message), (993, 100, None));
    assert!(target.subscribe && !target.expunge_removed && target.keywords == Keywords::Keep);
    for (from, to, error) in [
        ("Old/Server", "/Old", "target.new.folder_prefix: has an empty level"),
        ("host", "batch_messages = 0\nhost", "target.new.batch_messages: 0 is out of range"),
        ("host", "connections_per_mailbox = 2\nhost", "this key is not known"),
        ("host", "keywords = \"lose\"\nhost", "target.new.keywords: \"lose\" is not known here"),
    ] {
        let target = imap.replace(from, to);
        let all = errors(&GOOD.replace("kind = \"maildir\"\nroot = \"out\"", &target));
        assert!(all.iter().any(|e| e.contains(error)), "wanted {error}\ngot {all:#?}");
    }
}

#[test]
fn an_ews_target_wants_an_address_and_one_login() {
    let ews = "kind = \"ews\"\nurl = \"https://mail.example.org/EWS/Exchange.asmx\"\nuser = 'EXAMPLE\\migrator'\npassword = { env = \"S\" }";
    let with = |ews: &str| GOOD.replace("kind = \"maildir\"\nroot = \"out\"", ews);
    let text = with(ews) + "[limits]\nrequests = 500\n";
    let loaded = parse(Path::new("m.toml"), &text).expect("right");
    assert!(loaded.settings.fingerprint().ends_with("target.new\tews\n"));
    let TargetKind::Ews(target) = &loaded.settings.targets["new"] else { panic!("an EWS target") };
    assert!(target.impersonation && target.version == EwsVersion::Exchange2013Sp1);
    assert_eq!(
        (target.max_message, target.batch_messages, target.batch_size, target.lanes),
        (48_000_000, 20, 4 << 20, 3)
    );
    assert_eq!(
        (target.limits.requests, target.limits.upload, target.limits.at_once),
        (0, 0, 8),
        "no windows of ours"
    );
    assert!(matches!(&target.login, EwsLogin::Password { user, .. } if user == "EXAMPLE\\migrator"));
    for (from, to, error) in [
        ("https://", "http://", "target.new.url: is neither https nor http to a loopback address"),
        ("url", "address", "target.new.url: this key is missing"),
        ("user", "master_user", "this key is not known"),
        ("EXAMPLE\\", "EXAMPLE:", "target.new.user: holds a colon"),
        (
            "password",
            "token = { env = \"T\" }\npassword",
            "more than one of password, token and oauth is named",
        ),
        (
            "user",
            "version = \"Exchange2007\"\nuser",
            "target.new.version: \"Exchange2007\" is not known here",
        ),
        ("user", "batch_messages = 51\nuser", "target.new.batch_messages: 51 is out of range"),
        ("user", "batch_size = \"49MB\"\nuser", "target.new.batch_size"),
        ("user", "limits = { at_most = 2 }\nuser", "this key is not known"),
    ] {
        let all = errors(&with(&ews.replacen(from, to, 1)));
        assert!(all.iter().any(|e| e.contains(error)), "wanted {error}\ngot {all:#?}");
    }
    let token = ews.replace("user = 'EXAMPLE\\migrator'\npassword", "token");
    assert_eq!(errors(&with(&token)), [""; 0]);
    let oauth = "oauth = { token_url = \"https://login.example.org/t\", client_id = \"c\", client_secret = { env = \"S\" }, scope = \"s\" }";
    let oauth = ews.replace("user = 'EXAMPLE\\migrator'\npassword = { env = \"S\" }", oauth);
    assert_eq!(errors(&with(&oauth)), [""; 0]);
}

#[test]
fn limits_of_a_target_win_over_the_general_ones() {
    let text = GOOD.replace(
        "kind = \"maildir\"\nroot = \"out\"",
        "kind = \"graph\"\ntoken = { env = \"T\" }\n[target.new.limits]\nat_once = 2",
    ) + "[limits]\nrequests = 500\nat_once = 3\nrate = 100\n";
    let loaded = parse(Path::new("m.toml"), &text).expect("right");
    let TargetKind::Graph(g) = &loaded.settings.targets["new"] else { panic!("a Graph target") };
    assert_eq!((g.limits.at_once, g.limits.requests, g.limits.rate), (2, 500, Some(100)));
    assert_eq!(g.limits.upload, 150_000_000);
}

fn graph(keys: &str) -> String {
    GOOD.replace("kind = \"maildir\"\nroot = \"out\"", &format!("kind = \"graph\"\n{keys}"))
}

fn graph_settings(keys: &str) -> super::GraphSettings {
    let loaded = parse(Path::new("m.toml"), &graph(keys)).expect("right");
    match loaded.settings.targets.into_values().next() {
        Some(TargetKind::Graph(graph)) => *graph,
        other => panic!("a Graph target: {other:?}"),
    }
}

#[test]
fn a_cloud_sets_its_hosts_and_its_scope_and_addresses_beat_it() {
    const APP: &str = "tenant = \"t.example\"\nclient_id = \"c\"\nclient_secret = { env = \"S\" }\n";
    for (cloud, login, graph) in [
        ("global", "login.microsoftonline.com", "graph.microsoft.com"),
        ("gcc-high", "login.microsoftonline.us", "graph.microsoft.us"),
        ("dod", "login.microsoftonline.us", "dod-graph.microsoft.us"),
        ("china", "login.chinacloudapi.cn", "microsoftgraph.chinacloudapi.cn"),
    ] {
        let settings = graph_settings(&format!("{APP}cloud = \"{cloud}\""));
        assert_eq!(settings.base_url, format!("https://{graph}/v1.0"));
        let GraphLogin::Apps { token_url, scope, .. } = settings.login else { panic!("an app") };
        assert_eq!(token_url, format!("https://{login}/t.example/oauth2/v2.0/token"));
        assert_eq!(scope, format!("https://{graph}/.default"));
    }
    let own = "cloud = \"dod\"\nbase_url = \"https://g.example/v1.0\"\nauthority = \"https://l.example\"";
    let settings = graph_settings(&format!("{APP}{own}"));
    assert_eq!(settings.base_url, "https://g.example/v1.0");
    let GraphLogin::Apps { token_url, .. } = settings.login else { panic!("an app") };
    assert!(token_url.starts_with("https://l.example/"));
    assert!(one(&graph(&format!("{APP}cloud = \"mars\""))).contains("\"gcc-high\""));
}

#[test]
fn an_app_has_one_proof_and_several_apps_are_a_pool() {
    let app = "tenant = \"t\"\nclient_id = \"c\"\n";
    for proof in ["client_secret", "client_certificate", "federated_token"] {
        let settings = graph_settings(&format!("{app}{proof} = {{ file = \"p\" }}"));
        let GraphLogin::Apps { apps, .. } = settings.login else { panic!("an app") };
        let word = match &apps[..] {
            [GraphApp { proof: AppProof::Secret(_), .. }] => "client_secret",
            [GraphApp { proof: AppProof::Certificate(_), .. }] => "client_certificate",
            [GraphApp { proof: AppProof::Federated(_), .. }] => "federated_token",
            other => panic!("one app: {other:?}"),
        };
        assert_eq!(word, proof);
    }
    let pool = "tenant = \"t\"\n[[target.new.apps]]\nclient_id = \"a\"\nclient_secret = { env = \"A\" }\n\
                [[target.new.apps]]\nclient_id = \"b\"\nclient_certificate = { file = \"b.pem\" }\n";
    let GraphLogin::Apps { apps, .. } = graph_settings(pool).login else { panic!("apps") };
    assert_eq!(apps.iter().map(|a| a.client_id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    for (keys, error) in [
        (app.to_owned(), "target.new.client_secret: this key is missing"),
        (
            format!("{app}client_secret = {{ env = \"A\" }}\nfederated_token = {{ file = \"f\" }}"),
            "target.new.federated_token: stands beside another proof",
        ),
        (format!("client_id = \"c\"\n{pool}"), "target.new.client_id: stands beside `apps`"),
        (pool.replace("\"b\"", "\"a\""), "target.new.apps.2.client_id: is named twice"),
        (
            pool.replace("client_secret", "client_sekret"),
            "target.new.apps.1.client_sekret: this key is not known",
        ),
        ("tenant = \"t\"\napps = 7".to_owned(), "target.new.apps: wants a list of tables"),
        ("tenant = \"t\"\napps = []".to_owned(), "target.new.apps: names none"),
        ("token = { env = \"T\" }\nclient_id = \"c\"".to_owned(), "target.new.token: stands beside"),
    ] {
        let all = errors(&graph(&keys));
        assert!(all.iter().any(|e| e.contains(error)), "wanted {error}\ngot {all:#?}");
    }
    let named = graph_settings("token = { env = \"T\" }\ntenant = \"t\"").login;
    assert!(matches!(named, GraphLogin::Token { tenant: Some(t), .. } if t == "t"));
}

#[test]
fn an_app_proves_itself_in_the_same_ways_at_every_endpoint() {
    let ews = |oauth: &str| {
        let url = "url = \"https://mail.example.org/EWS/Exchange.asmx\"";
        let app = "token_url = \"https://login.example.org/t\", client_id = \"c\", scope = \"s\"";
        graph("").replace("kind = \"graph\"", &format!("kind = \"ews\"\n{url}\noauth = {{ {app}, {oauth} }}"))
    };
    for key in ["client_secret", "client_certificate", "federated_token"] {
        let text = ews(&format!("{key} = {{ file = \"p\" }}"));
        let settings = parse(Path::new("m.toml"), &text).expect("right").settings;
        let Some(TargetKind::Ews(target)) = settings.targets.into_values().next() else { panic!("ews") };
        let EwsLogin::OAuth(oauth) = target.login else { panic!("tokens") };
        let OAuth::Endpoint { proof: Some(proof), refresh_token: None, .. } = *oauth else { panic!("{key}") };
        let read = match proof {
            AppProof::Secret(_) => "client_secret",
            AppProof::Certificate(_) => "client_certificate",
            AppProof::Federated(_) => "federated_token",
        };
        assert_eq!(read, key);
    }
    for (oauth, error) in [
        (
            "client_secret = { env = \"S\" }, federated_token = { env = \"T\" }",
            "federated_token: stands beside another",
        ),
        (
            "refresh_token = { env = \"S\" }, client_certificate = { env = \"T\" }",
            "client_certificate: stands beside `ref",
        ),
        (
            "token_command = [\"x\"], client_certificate = { env = \"T\" }",
            "client_certificate: stands beside `token_c",
        ),
        ("client_sekret = { env = \"S\" }", "client_secret: this key is missing"),
    ] {
        let all = errors(&ews(oauth));
        assert!(all.iter().any(|e| e.contains(error)), "wanted {error}\ngot {all:#?}");
    }
}

#[test]
fn modes_are_tried_in_the_order_of_the_file() {
    use crate::model::WriteMode::{ImportMime, ImportStream, Json};
    let token = "token = { env = \"T\" }\n";
    assert_eq!(graph_settings(token).modes, [Json]);
    let settings = graph_settings(&format!("{token}modes = [\"import-mime\", \"json\"]"));
    assert_eq!(settings.modes, [ImportMime, Json]);
    let settings = graph_settings(&format!("{token}modes = [\"json\", \"import-stream\"]"));
    assert_eq!(settings.modes, [Json, ImportStream]);
    for (keys, error) in [
        ("modes = [\"json\", \"import-stream\"]\ncloud = \"china\"", "national clouds do not have"),
        ("modes = []", "names no mode"),
        ("modes = [\"mime\"]", "names a mode that is not known"),
        ("modes = [\"json\", \"json\"]", "there twice"),
        ("modes = [\"import-mime\"]\nbase_url = \"https://g.example/x\"", "does not end with /v1.0"),
    ] {
        assert!(one(&graph(&format!("{token}{keys}"))).contains(error), "{keys}");
    }
}

proptest::proptest! {
    #[test]
    fn foreign_text_never_panics(text in "[a-z_.=\\[\\]{}\"' \n0-9#\\PC]{0,200}") {
        let _ = parse(Path::new("m.toml"), &text);
    }
}

#[test]
fn windows_black_outs_and_waves_are_read_with_their_defaults() {
    let text = r#"source_name = "acme"
time_zone = "Europe/Berlin"
[[window]]
name = "night"
days = ["mon", "sun"]
from = "20:00"
to = "06:00"
[[window]]
from = "18:00"
to = "mon 06:00"
days = ["fri"]
zone = "UTC"
grace = "5m"
[[black_out]]
from = "2026-12-24"
[wave."Wave 1"]
windows = ["night"]
open_mailboxes = 7
start = 2
[[wave."Wave 1".black_out]]
from = "2026-12-27"
to = "2027-01-01"
[wave.free]
windows = []
"#;
    let rest = GOOD.strip_prefix("source_name = \"acme\"\n").expect("as it is");
    let waves = parse(Path::new("mailwave.toml"), &format!("{text}{rest}")).expect("right").settings.waves;
    assert_eq!(waves.zone.as_ref().map(super::Zone::name), Some("Europe/Berlin"));
    let [night, weekend] = &waves.windows[..] else { panic!("two windows") };
    assert_eq!(
        (night.days, night.from, night.to),
        ([true, false, false, false, false, false, true], 1200, 360)
    );
    assert_eq!((night.zone.name(), night.grace.as_secs(), night.days_on(6)), ("Europe/Berlin", 120, 1));
    assert_eq!((weekend.zone.name(), weekend.grace.as_secs(), weekend.days_on(4)), ("UTC", 300, 3));
    assert_eq!(
        (waves.black_outs[0].from, waves.black_outs[0].to),
        (waves.black_outs[0].to, waves.black_outs[0].from)
    );
    let one = &waves.waves["Wave 1"];
    assert_eq!((one.open_mailboxes, one.start, one.black_outs.len()), (Some(7), Some(2), 1));
    assert_eq!(waves.waves["free"].windows, Some(Vec::new()), "at any time");
}

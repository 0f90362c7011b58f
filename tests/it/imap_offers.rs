//! What IMAP servers offer at both ends, used by whole runs against mocks: compression, UTF-8, limits folder by folder,
//! and what `mailwave check` says of them.

use std::collections::BTreeMap;

use mailwave::env::Env;
use mailwave::imap::{Credentials, Preset, Server, TlsMode, presets};
use mailwave::limit::Gate;
use mailwave::mock::imap::{Act, ImapMock, ImapOptions, InternalDate, Quirks, Rule};
use mailwave::mock::server::RealWorld;
use mailwave::model::Outcome;
use mailwave::target::imap::{ImapTarget, ImapTargetSettings};
use mailwave::target::{StoreItem, Target};
use serde_json::Value;

use crate::bad_input::desk::{Desk, Imap, mail};
use crate::cli::said;
use crate::contract_target::{item, wanted};
use crate::support::dovecot::Dovecot;

const USER: &str = "canary.ann";
const RECEIVED: i64 = 1_200_000_000;

/// One mailbox on its way from a mock IMAP server to another.
struct Both {
    source: Imap,
    target: Imap,
    desk: Desk,
}

/// Folder, octets, flags, received.
type Held = (String, Vec<u8>, Vec<String>, i64);

impl Both {
    /// `more` is added to both endpoints.
    fn new(source: ImapOptions, target: ImapOptions, more: &str) -> Both {
        let (source, target) = (Imap::start(source), Imap::start(target));
        source.mock.store().add_user(USER);
        target.mock.store().add_user(USER);
        let desk = Desk::new("", "");
        let both = Both { source, target, desk };
        both.configure(&both.target, more);
        both.desk.secret("pw", "canary-password\n");
        both
    }

    fn configure(&self, target: &Imap, more: &str) {
        let login = format!("password = {{ file = \"pw\" }}\n{more}");
        let there = target.config(&login).replace("[source.old]", "[target.new]");
        let config = format!("{}{there}", self.source.config(&login));
        self.desk.configure(&config, &format!("source,target\n{USER},{USER}\n"));
    }

    fn put(&self, folder: &str, octets: &[u8]) {
        let date = InternalDate::utc(RECEIVED);
        self.source.mock.store().add(USER, folder, octets.to_vec(), &["\\Seen"], date);
    }

    fn fill(&self, folder: &str, count: usize) {
        (1..=count).for_each(|n| self.put(folder, &mail(&format!("m{}", folder.len()), n)));
    }

    /// Folders, octets, flags and dates are the same at both ends.
    #[track_caller]
    fn is_whole(&self) {
        let (here, there) = (held(&self.source.mock), held(&self.target.mock));
        assert!(here == there, "{here:?}\n{there:?}");
    }
}

fn held(mock: &ImapMock) -> Vec<Held> {
    let store = mock.store();
    let of = |folder: String| {
        let all = store.messages(USER, &folder).into_iter();
        all.map(|m| (folder.clone(), m.octets.to_vec(), m.flags, m.date.seconds)).collect::<Vec<_>>()
    };
    let mut all: Vec<Held> = store.folders(USER).into_iter().flat_map(of).collect();
    all.sort();
    all
}

fn large() -> Vec<u8> {
    let line = b"The quick brown fox jumps over the lazy dog, again and again and again\r\n";
    [&b"Subject: canary large\r\n\r\n"[..], &line.repeat(30_000)].concat()
}

#[test]
fn a_run_whose_both_ends_are_compressed_brings_what_one_in_the_clear_brings() {
    for (compress, times) in [("on", 1), ("off", 0)] {
        for literals in ["MULTIAPPEND", ""] {
            let options = || ImapOptions::default().offering("COMPRESS=DEFLATE").offering(literals);
            let both = Both::new(options(), options(), &format!("compress = \"{compress}\""));
            both.fill("INBOX", 40);
            both.fill("Work", 3);
            both.put("Work", &large());
            let ran = both.desk.run();
            assert_eq!(ran.ended(0).count("stored"), 44);
            both.is_whole();
            for mock in [&both.source.mock, &both.target.mock] {
                let counters = mock.counters();
                let asked = counters.commands.get("COMPRESS").copied().unwrap_or(0);
                assert_eq!(asked, times * counters.logins, "each session, once");
            }
            assert_eq!(both.desk.run().ended(0).count("stored"), 0);
        }
    }
}

#[test]
fn a_compressed_session_that_breaks_in_the_middle_of_a_message_loses_nothing() {
    let options = || ImapOptions::default().offering("COMPRESS=DEFLATE");
    let both = Both::new(options(), options(), "compress = \"on\"");
    both.fill("INBOX", 10);
    both.put("INBOX", &large());
    both.source.mock.script([Rule::on("UID FETCH", Act::CloseAt(900_000)).uid(11).times(2)]);
    for _ in 0..2 {
        both.desk.run();
    }
    both.is_whole();
    assert!(both.source.mock.unfired().is_empty());
}

#[test]
fn utf8_in_headers_goes_as_utf8_data_where_it_is_refused_otherwise() {
    let options = |offer: &str| {
        let quirks = Quirks { refuses_8bit_headers: true, ..Quirks::default() };
        ImapOptions::default().offering(offer).with_quirks(quirks)
    };
    let utf8 = "Subject: canary Gr\u{fc}\u{df}e\r\n\r\nx\r\n".as_bytes();
    for (offer, arrive) in [
        ("UTF8=ACCEPT", 13),
        ("UTF8=ACCEPT MULTIAPPEND", 13),
        ("MULTIAPPEND", 11),
        ("UTF8=ACCEPT BINARY", 13),
    ] {
        let both = Both::new(ImapOptions::default(), options(offer), "");
        both.fill("INBOX", 5);
        both.put("INBOX", utf8);
        both.fill("Pr\u{fc}fung & \u{c4}rger", 6);
        both.put("Pr\u{fc}fung & \u{c4}rger", utf8);
        both.put("INBOX", b"Subject: canary \xe4\r\n\r\nno UTF-8\r\n");
        let ran = both.desk.run();
        assert_eq!(
            (ran.ended(1).count("stored"), ran.skipped().len()),
            (arrive, 14 - arrive as usize),
            "{offer}"
        );
        assert_eq!(held(&both.target.mock).iter().filter(|h| h.1 == utf8).count() as u64, arrive - 11);
        // What is plain goes plainly.
        let heard = both.target.mock.heard();
        let utf8_data = heard.iter().filter(|h| h.verb == "APPEND" && h.line.contains("UTF8 (~")).count();
        assert!(utf8_data <= 4, "{utf8_data}");
    }
}

#[test]
fn folders_are_the_same_whether_names_travel_in_utf8_or_not() {
    let both = Both::new(ImapOptions::default(), ImapOptions::default().offering("UTF8=ACCEPT"), "");
    let names = ["Pr\u{fc}fung & \u{c4}rger", "\u{53d7}\u{4fe1}\u{7bb1}/A & B", "a &- b", "plain"];
    names.iter().for_each(|name| both.fill(name, 2));
    assert_eq!(both.desk.run().ended(0).count("stored"), 8);
    both.is_whole();
    let raw = both.target.mock.heard().iter().any(|h| h.verb == "CREATE" && !h.line.contains("&APw"));
    assert!(raw, "names went in UTF-8");
    // The server is another one, which does not offer it any more: the mail is the same.
    let other = Imap::start(ImapOptions::default());
    std::mem::swap(&mut *both.target.mock.store(), &mut *other.mock.store());
    both.configure(&other, "");
    both.source.mock.store().set_flags(USER, names[0], 1, &["\\Flagged"]);
    both.fill(names[1], 1);
    let ran = both.desk.run_with(&["--final"]);
    assert_eq!((ran.ended(0).count("stored"), ran.count("reflagged")), (1, 1), "{}", ran.json);
    assert!(held(&both.source.mock) == held(&other.mock));
}

#[test]
fn a_source_that_can_talk_utf8_is_asked_to() {
    let both = Both::new(ImapOptions::default().offering("UTF8=ACCEPT"), ImapOptions::default(), "");
    let names = ["Pr\u{fc}fung & \u{c4}rger", "\u{53d7}\u{4fe1}\u{7bb1}/A & B", "a &- b"];
    names.iter().for_each(|name| both.fill(name, 2));
    assert_eq!(both.desk.run().ended(0).count("stored"), 6);
    both.is_whole();
    let heard = both.source.mock.heard();
    let enabled = heard.iter().position(|h| h.line.contains("ENABLE UTF8=ACCEPT")).expect("enabled");
    // In modified UTF-7 it would be `a &-- b`.
    assert!(heard.iter().skip(enabled).any(|h| h.verb == "EXAMINE" && h.line.contains("\"a &- b\"")));
    assert_eq!(both.desk.run().ended(0).count("stored"), 0);
}

/// A target of this kind, over a mock like `options`.
async fn target(
    preset: &'static Preset,
    options: ImapOptions,
    max: Option<u64>,
) -> (std::sync::Arc<ImapMock>, ImapTarget) {
    let mock = ImapMock::new(options, std::sync::Arc::new(RealWorld));
    let server = mock.clone().listen("127.0.0.1:0", None).await.expect("listens");
    let settings = ImapTargetSettings {
        max_message: max,
        ..ImapTargetSettings::of(Server {
            port: server.addr.port(),
            tls: TlsMode::Plain,
            ..Server::like(preset, "127.0.0.1", Credentials::Fixed { password: "x".into() })
        })
    };
    std::mem::forget(server);
    (mock, ImapTarget::new(Env::system(), settings).expect("settings"))
}

#[tokio::test]
async fn a_server_that_alters_utf8_in_headers_is_sent_utf8_data_from_then_on() {
    let quirks = Quirks { munges_8bit_headers: true, ..Quirks::default() };
    for (offer, helps) in [("UTF8=ACCEPT", true), ("", false)] {
        let options = ImapOptions::default().offering(offer).with_quirks(quirks.clone());
        let (mock, target) = target(&presets::PLAIN, options, None).await;
        let gate = Gate::unlimited(&Env::system());
        let mailbox = target.open("anna", "", gate.clone()).await.expect("open");
        let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("the inbox");
        let text = "Subject: Gr\u{fc}\u{df}e\r\n\r\nx\r\n".as_bytes();
        for n in 1..=2 {
            let items: Vec<StoreItem> = vec![item(1, n, text, "S", Some(RECEIVED))];
            let ticket = gate.reserve(mailbox.cost(&[text.len() as u64])).await;
            let outcomes = mailbox.store(&inbox, items, ticket).await;
            let [Outcome::Stored { losses, .. }] = &outcomes[..] else { panic!("{outcomes:?}") };
            assert_eq!(
                losses.contains(&"octets-changed-by-server"),
                n == 1 || !helps,
                "{n} {offer}: {losses:?}"
            );
        }
        let kept = mock.store().messages("anna", "INBOX").iter().filter(|m| m.octets == text).count();
        assert_eq!(kept, usize::from(helps));
    }
}

#[tokio::test]
async fn a_kind_of_server_that_says_nothing_of_its_limit_has_the_usual_one() {
    let said = |limit| Quirks { append_limit: Some(limit), ..Quirks::default() };
    for (preset, quirks, max, expected) in [
        (&presets::GMAIL, Quirks::default(), None, 35 << 20),
        (&presets::EXCHANGE, Quirks::default(), Some(100 << 20), 100 << 20),
        (&presets::GMAIL, said(50 << 20), None, 50 << 20),
        (&presets::GMAIL, said(1000), Some(5000), 1000),
        (&presets::DOVECOT, Quirks::default(), None, u64::from(u32::MAX)),
    ] {
        let options = ImapOptions::default().with_quirks(quirks);
        let (_mock, target) = target(preset, options, max).await;
        let mailbox = target.open("anna", "", Gate::unlimited(&Env::system())).await.expect("open");
        assert_eq!(mailbox.capabilities().max_message_bytes, expected, "{}", preset.name);
    }
}

#[test]
fn a_folder_with_a_limit_of_its_own_is_sent_nothing_above_it() {
    for offer in ["LIST-EXTENDED LIST-STATUS", ""] {
        let limits = BTreeMap::from([("INBOX".to_owned(), 100_000), ("Small".to_owned(), 10_000)]);
        let quirks = Quirks { append_limits: limits, ..Quirks::default() };
        let both =
            Both::new(ImapOptions::default(), ImapOptions::default().offering(offer).with_quirks(quirks), "");
        both.target.mock.store().add_folder(USER, "Small");
        let sized = |n: usize, size: usize| [mail("sized", n), vec![b'x'; size]].concat();
        both.fill("INBOX", 3);
        both.put("INBOX", &sized(1, 20_000));
        both.fill("Small", 3);
        both.put("Small", &sized(2, 20_000));
        let ran = both.desk.run();
        assert_eq!((ran.ended(1).count("stored"), ran.skipped().len()), (7, 1), "{offer}: {}", ran.json);
        assert!(ran.skipped()[0].starts_with("too-large: "), "{:?}", ran.skipped());
        assert_eq!(both.target.mock.counters().commands["APPEND"], 7, "nothing is sent to be refused");
    }
}

#[test]
fn what_is_too_large_for_every_folder_is_not_fetched() {
    let limits = BTreeMap::from([("INBOX".to_owned(), 100_000)]);
    let quirks = Quirks { append_limits: limits, ..Quirks::default() };
    let target = ImapOptions::default().offering("LIST-EXTENDED LIST-STATUS").with_quirks(quirks);
    let both = Both::new(ImapOptions::default(), target, "");
    both.fill("INBOX", 3);
    both.put("INBOX", &large());
    let ran = both.desk.run();
    assert_eq!((ran.ended(1).count("stored"), ran.skipped().len()), (3, 1), "{}", ran.json);
    let heard = both.source.mock.heard();
    assert!(
        !heard.iter().any(|h| h.line.contains("BODY.PEEK[]") && h.line.contains('4')),
        "the fourth is left"
    );
}

#[test]
fn check_says_what_answers_and_which_preset_would_fit() {
    let mock = Imap::start(ImapOptions::default());
    let desk = Desk::new("", "source,target\na,a\n");
    desk.secret("pw", "canary-password\n");
    let login = "password = { file = \"pw\" }";
    let there = mock.config(login).replace("[source.old]", "[target.new]");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it").port();
    let nobody = format!(
        "[target.nobody]\nkind = \"imap\"\nhost = \"127.0.0.1\"\nport = {closed}\ntls = \"off\"\n{login}\n"
    );
    let check = |config: &str| {
        desk.configure(config, "source,target,target_endpoint\na,a,new\n");
        let home = desk.path("");
        let json = said(&home, &["check", "mailwave.toml", "--servers", "--json"]);
        let text = said(&home, &["check", "mailwave.toml", "--servers"]);
        assert_eq!(json.code, text.code, "{}{}", json.err, text.err);
        for told in [&json.out, &json.err, &text.out, &text.err] {
            assert!(!told.contains("canary"), "{told}");
        }
        let value: Value = serde_json::from_str(&json.out).expect("one object");
        (value, text)
    };
    let files = "[source.old]\nkind = \"maildir\"\nroot = \"in\"\n";
    let (json, text) = check(&format!("{files}{there}"));
    let endpoint = &json["endpoints"][0];
    assert_eq!((json["exit_code"].as_u64(), endpoint["answers"].as_bool()), (Some(0), Some(true)), "{json}");
    assert_eq!((&endpoint["looks_like"], &endpoint["advice"]), (&Value::Null, &Value::Null));
    assert!(text.out.contains("target.new"), "{}", text.out);
    let (json, text) = check(&format!("{files}{there}{nobody}"));
    assert_eq!((json["exit_code"].as_u64(), text.code), (Some(2), 2), "{json}");
    assert!(text.err.contains("target.nobody: the host refuses connections"), "{}", text.err);
    assert_eq!(mock.mock.counters().logins, 0, "nobody logs in");

    let Some(dovecot) = Dovecot::start() else { return };
    let real = |more: &str| {
        format!(
            "[source.old]\nkind = \"imap\"\nhost = \"localhost\"\nport = {}\nca_file = \"{}\"\n{login}\n{more}{there}",
            dovecot.tls_port,
            dovecot.ca_file.display()
        )
    };
    let (json, text) = check(&real(""));
    assert_eq!(json["endpoints"][0]["looks_like"], "dovecot", "{json}");
    assert!(
        text.err.contains("[source.old] looks like dovecot: `preset = \"dovecot\"` sets"),
        "{}",
        text.err
    );
    let (json, _) = check(&real("preset = \"dovecot\"\n"));
    assert_eq!(json["endpoints"][0]["advice"], Value::Null, "{json}");
    let (_, text) = check(&real("preset = \"gmail\"\n"));
    assert!(text.err.contains("has `preset = \"gmail\"` and looks like dovecot"), "{}", text.err);
}

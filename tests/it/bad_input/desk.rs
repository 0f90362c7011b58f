//! An operator's desk: a directory with a configuration, a list, sources and targets, and the program run in it.
//!
//! Everything that is confidential here holds the word `canary`: addresses, passwords, folder names, subjects, texts. No
//! run may show it anywhere but in the target.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mailwave::mock::graph::{GraphMock, GraphOptions, MessageTruth};
use mailwave::mock::imap::{ImapMock, ImapOptions, ImapServer, InternalDate};
use mailwave::mock::server::{RealWorld, ServerHandle, serve_graph};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::cli::said;

/// Where a word of a confidential kind was shown.
const CANARY: &str = "canary";

pub struct Desk {
    home: tempfile::TempDir,
}

/// What a run came to.
pub struct Ran {
    pub code: i32,
    /// The object of `run --json`.
    pub json: Value,
    pub err: String,
    /// The object of `status --json` afterwards.
    pub status: Value,
    /// `report.json`; null if there is none.
    pub report: Value,
}

impl Ran {
    /// What each failed mailbox (by line of the list) failed with, and its remedy.
    pub fn errors(&self) -> Vec<String> {
        let mut all: Vec<(u64, String)> = self.json["errors"]
            .as_array()
            .expect("errors")
            .iter()
            .map(|e| {
                let text = |key: &str| e[key].as_str().unwrap_or_default().to_owned();
                let line = e["csv_line"].as_u64().unwrap_or_default();
                (line, format!("{line}: {} — {}", text("what"), text("remedy")))
            })
            .collect();
        all.sort();
        all.into_iter().map(|(_, text)| text).collect()
    }

    /// Each skipped item: reason, detail and remedy.
    pub fn skipped(&self) -> Vec<String> {
        let mut all: Vec<String> = self.report["skipped"]
            .as_array()
            .expect("skipped")
            .iter()
            .map(|s| {
                let text = |key: &str| s[key].as_str().unwrap_or_default().to_owned();
                format!("{}: {} — {}", text("reason"), text("detail"), text("remedy"))
            })
            .collect();
        all.sort();
        all
    }

    /// What a mailbox failed with is told by `status` and the report as well, until it is repaired.
    #[track_caller]
    fn told_everywhere(&self) {
        for e in self.json["errors"].as_array().expect("errors") {
            let why = match (e["what"].as_str().unwrap(), e["remedy"].as_str().unwrap()) {
                (what, "") => what.to_owned(),
                (what, remedy) => format!("{what} — {remedy}"),
            };
            for told in [&self.status, &self.report] {
                let all = told["mailboxes"].as_array().expect("mailboxes");
                let m = all.iter().find(|m| m["mailbox"] == e["mailbox"]).expect("the failed mailbox");
                assert_eq!(
                    (m["state"].as_str(), m["verdict"].as_str()),
                    (Some("failed"), Some("poor")),
                    "{m}"
                );
                assert_eq!(m["error"], why.as_str(), "{m}");
            }
        }
    }

    pub fn count(&self, what: &str) -> u64 {
        self.json["messages"][what].as_u64().unwrap_or_else(|| panic!("{what}: {}", self.json))
    }

    /// Verdict, state and reasons of the mailbox in a line of the list, as `status` tells them.
    pub fn mailbox(&self, line: u64) -> &Value {
        let all = self.status["mailboxes"].as_array().expect("mailboxes");
        all.iter().find(|m| m["csv_line"] == line).expect("a mailbox of that line")
    }

    #[track_caller]
    pub fn ended(&self, code: i32) -> &Ran {
        assert_eq!(self.code, code, "{}\n{}", self.json, self.err);
        self
    }
}

impl Desk {
    /// A desk with this configuration (without `source_name` and `[run]`) and these rows.
    pub fn new(config: &str, rows: &str) -> Desk {
        let desk = Desk { home: tempfile::tempdir().unwrap() };
        desk.configure(config, rows);
        desk
    }

    pub fn configure(&self, config: &str, rows: &str) {
        let run = "source_name = \"acme\"\n[run]\nsettle = \"50ms\"\ntries = 2\n";
        fs::write(self.path("mailwave.toml"), format!("{run}{config}")).unwrap();
        fs::write(self.path("mailboxes.csv"), rows).unwrap();
    }

    /// From Maildirs to Maildirs.
    pub fn files(rows: &str) -> Desk {
        Desk::new(&format!("{MAILDIR_SOURCE}{MAILDIR_TARGET}"), rows)
    }

    /// From Maildirs to a mock of Graph.
    pub fn graph(graph: &Graph, rows: &str) -> Desk {
        let desk = Desk::new(&format!("{MAILDIR_SOURCE}{}", graph.config()), rows);
        desk.secret("app-secret", APP_SECRET);
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Writes a file that only its owner may read.
    pub fn secret(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// Puts a message into a Maildir of the source; `folder` as its directory is named (empty: the inbox).
    pub fn put(&self, mailbox: &str, folder: &str, name: &str, octets: &[u8]) -> PathBuf {
        let cur = self.path("in").join(mailbox).join(folder).join("cur");
        for sub in ["cur", "new", "tmp"] {
            fs::create_dir_all(cur.with_file_name(sub)).unwrap();
        }
        let path = cur.join(format!("{name}:2,S"));
        fs::write(&path, octets).unwrap();
        path
    }

    /// Puts so many good messages into the inbox of a mailbox.
    pub fn fill(&self, mailbox: &str, count: usize) {
        for n in 1..=count {
            self.put(mailbox, "", &format!("{n}.good"), &mail(mailbox, n));
        }
    }

    /// Runs to the end, looks everywhere for what must not be shown, and reads status and report.
    #[track_caller]
    pub fn run(&self) -> Ran {
        self.run_with(&[])
    }

    #[track_caller]
    pub fn run_with(&self, more: &[&str]) -> Ran {
        let args = [&["run", "mailwave.toml", "--json", "--log", "trace"], more].concat();
        let run = said(self.home.path(), &args);
        discreet("stdout", &run.out);
        discreet("stderr", &run.err);
        assert!(!run.err.contains("panicked"), "{}", run.err);
        assert_eq!(run.out.lines().count(), 1, "one object: {}", run.out);
        let json: Value = serde_json::from_str(&run.out).unwrap();
        assert_eq!(json["exit_code"], run.code);
        let status = said(self.home.path(), &["status", "mailwave.toml", "--json"]);
        discreet("status", &status.out);
        discreet("status's stderr", &status.err);
        let status = serde_json::from_str(&status.out).unwrap();
        let mut report = Value::Null;
        for entry in fs::read_dir(self.path("mailwave-report")).into_iter().flatten() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            discreet(&path.display().to_string(), &text);
            if path.ends_with("report.json") {
                report = serde_json::from_str(&text).unwrap();
            }
        }
        let ran = Ran { code: run.code, json, err: run.err, status, report };
        ran.told_everywhere();
        ran
    }

    /// Every message in the target Maildir of a mailbox: octets, sorted. It must lie in a folder of it and nowhere else.
    pub fn arrived(&self, mailbox: &str) -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> =
            tree(&self.path("out").join(mailbox)).into_iter().map(|p| fs::read(p).unwrap()).collect();
        all.sort();
        all
    }
}

/// The message files below a directory, in order.
pub fn tree(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            } else if dir.ends_with("cur") || dir.ends_with("new") {
                found.insert(entry.path());
            }
        }
    }
    found
}

#[track_caller]
fn discreet(place: &str, text: &str) {
    let lower = text.to_lowercase();
    if let Some(at) = lower.find(CANARY) {
        let from = (0..=at.saturating_sub(100)).rev().find(|i| lower.is_char_boundary(*i)).unwrap_or(0);
        panic!(
            "{place} shows what is confidential: {:?}",
            lower[from..].chars().take(250).collect::<String>()
        );
    }
}

/// A small message, different for each mailbox and number.
pub fn mail(mailbox: &str, n: usize) -> Vec<u8> {
    format!(
        "From: \"Canary\" <canary.sender@example.org>\r\nTo: {mailbox}@canary.example\r\nSubject: Canary subject {n}\r\n\
         Date: Thu, 3 Jan 2008 10:00:00 +0100\r\nMessage-ID: <{n}.{mailbox}@canary.example>\r\n\r\nCanary text {n}\r\n"
    )
    .into_bytes()
}

pub const MAILDIR_SOURCE: &str = "[source.old]\nkind = \"maildir\"\nroot = \"in\"\n";
pub const MAILDIR_TARGET: &str = "[target.new]\nkind = \"maildir\"\nroot = \"out\"\n";
const APP_SECRET: &str = "canary-app-secret";

/// A mock of Graph on loopback, in the test's own process.
pub struct Graph {
    runtime: Runtime,
    server: Option<ServerHandle>,
    pub mock: Arc<GraphMock>,
    state: tempfile::TempDir,
}

impl Graph {
    /// A tenant that knows the app's secret and is otherwise like `options`.
    pub fn start(options: GraphOptions) -> Graph {
        let runtime = Runtime::new().unwrap();
        let state = tempfile::tempdir().unwrap();
        let mock = GraphMock::open(state.path(), tenant(options), Arc::new(RealWorld)).unwrap();
        let server = serve_graph(mock.clone(), "127.0.0.1:0".parse().unwrap(), None);
        let server = Some(runtime.block_on(server).unwrap());
        Graph { runtime, server, mock, state }
    }

    /// The same tenant, at the same address, once its administrator has changed it.
    pub fn changed(&mut self, options: GraphOptions) {
        let server = self.server.take().unwrap();
        let addr = server.addr();
        self.runtime.block_on(server.stop()).unwrap();
        self.mock = GraphMock::open(self.state.path(), tenant(options), Arc::new(RealWorld)).unwrap();
        self.server = Some(self.runtime.block_on(serve_graph(self.mock.clone(), addr, None)).unwrap());
    }

    pub fn config(&self) -> String {
        let base = self.server.as_ref().unwrap().base_url();
        format!(
            "[target.new]\nkind = \"graph\"\ntenant = \"contoso\"\nclient_id = \"mover\"\n\
             client_secret = {{ file = \"app-secret\" }}\nbase_url = \"{base}/v1.0\"\nauthority = \"{base}\"\n"
        )
    }

    /// The messages of a mailbox, all folders together; each has a stamp of its own and is complete.
    pub fn messages(&self, mailbox: &str) -> Vec<MessageTruth> {
        let truth = self.mock.truth();
        assert_eq!(truth.counters.violations, BTreeMap::new());
        let Some(store) = truth.mailboxes.get(mailbox) else { return Vec::new() };
        let all: Vec<MessageTruth> = store.folders.values().flat_map(|f| f.messages.clone()).collect();
        let stamps: BTreeSet<&String> = all.iter().flat_map(|m| m.named.values()).collect();
        assert_eq!(stamps.len(), all.len(), "each its own stamp");
        assert!(stamps.iter().all(|s| s.ends_with("/done")), "all complete: {stamps:?}");
        all
    }
}

fn tenant(options: GraphOptions) -> GraphOptions {
    let app = mailwave::mock::graph::App {
        client_id: "mover".to_owned(),
        client_secret: APP_SECRET.to_owned(),
        ..Default::default()
    };
    GraphOptions { apps: vec![app], ..options }
}

/// A mock IMAP server on loopback, in the test's own process.
pub struct Imap {
    pub mock: Arc<ImapMock>,
    server: ImapServer,
    _runtime: Runtime,
}

impl Imap {
    pub fn start(options: ImapOptions) -> Imap {
        let runtime = Runtime::new().unwrap();
        let mock = ImapMock::new(options, Arc::new(RealWorld));
        let server = runtime.block_on(mock.clone().listen("127.0.0.1:0", None)).unwrap();
        Imap { mock, server, _runtime: runtime }
    }

    pub fn port(&self) -> u16 {
        self.server.addr.port()
    }

    /// `[source.old]`, with its way to log in.
    pub fn config(&self, login: &str) -> String {
        let port = self.port();
        format!(
            "[source.old]\nkind = \"imap\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"off\"\n{login}\n"
        )
    }

    /// Puts so many good messages into a folder.
    pub fn fill(&self, user: &str, folder: &str, count: usize) {
        for n in 1..=count {
            self.mock.store().add(user, folder, mail(user, n), &["\\Seen"], InternalDate::utc(1_200_000_000));
        }
    }
}

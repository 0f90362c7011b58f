//! The program and its mock as an operator runs them: processes, configuration files, lists.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use mailwave::mock::graph::Truth;
use serde_json::Value;

use super::office::Done;
use crate::support::server::Reach;

/// A run that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(240);
/// What the configurations name as environment variables.
const SECRETS: [(&str, &str); 2] = [("ROAD_MASTER", "master-pw"), ("ROAD_GRAPH", "secret")];

/// A directory with a configuration.
pub struct Works {
    dir: tempfile::TempDir,
}

impl Works {
    /// Writes `mailwave.toml` and `mailboxes.csv`.
    pub fn new(config: &str, rows: &str) -> Works {
        let dir = tempfile::Builder::new().prefix("road-").tempdir().expect("a temporary folder");
        let head = "source_name = \"office\"\n[run]\nsettle = \"200ms\"\nspool_above = \"1MiB\"\n";
        fs::write(dir.path().join("mailwave.toml"), format!("{head}{config}")).expect("write");
        fs::write(dir.path().join("mailboxes.csv"), rows).expect("write");
        Works { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a verb with `--json`, which must end with exit code 0; its one object.
    pub fn verb(&self, verb: &str) -> Value {
        self.done(&[verb, "mailwave.toml", "--json"])
    }

    /// Runs a command that must end with exit code 0; the one object it prints.
    pub fn done(&self, args: &[&str]) -> Value {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mailwave"))
            .current_dir(self.dir.path())
            .args(args)
            .env_remove("MAILWAVE_LOG")
            .envs(SECRETS)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        let (mut out, mut err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let (done, ended) = mpsc::channel();
        let talk = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = err.read_to_string(&mut text);
            text
        });
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = out.read_to_string(&mut text);
            let _ = done.send(text);
        });
        let out = ended.recv_timeout(PATIENCE);
        if out.is_err() {
            let _ = child.kill();
        }
        let code = child.wait().expect("ended").code();
        let err = talk.join().expect("read");
        let out = out.unwrap_or_else(|_| panic!("{args:?} did not end in {PATIENCE:?}\n{err}"));
        let report =
            fs::read_to_string(self.dir.path().join("mailwave-report/report.txt")).unwrap_or_default();
        assert_eq!(code, Some(0), "{out}\n{err}\n{report}");
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
    }

    /// A run, whose summary must say what was done, and that all of `mailboxes` hold `copies` in the end.
    pub fn run(&self, done: Done, mailboxes: usize, copies: usize) {
        let json = self.verb("run");
        eprintln!("run: {} s, {}", json["seconds"], json["messages"]);
        let number = |key: &str| json["messages"][key].as_u64().expect("a number");
        let said = Done {
            stored: number("stored"),
            moved: number("moved"),
            removed: number("removed"),
            reflagged: number("reflagged"),
            bytes: json["bytes"].as_u64().expect("a number"),
        };
        assert_eq!(said, done, "{json}");
        assert_eq!((number("skipped"), number("unknown")), (0, 0), "{json}");
        assert_eq!(number("already_there"), copies as u64 - done.stored - done.moved, "{json}");
        for (key, value) in
            [("mailboxes", mailboxes), ("complete", mailboxes), ("failed", 0), ("not_begun", 0)]
        {
            assert_eq!(json[key], value, "{key}: {json}");
        }
        assert_eq!(json["copies"]["at_target"], copies, "{json}");
        assert_eq!(json["copies"]["in_ledger"], copies, "{json}");
        assert!(matches!(json["verdict"].as_str(), Some("perfect" | "good")), "{json}");
        assert_eq!(json["errors"], serde_json::json!([]), "{json}");
    }
}

/// Three ways to one server as source endpoints, and rows that use them in turn; targets are called `user@target`.
/// With `login_name` its master user may also log in as `user*master`.
pub fn imap(reach: &Reach, login_name: bool, dir_of_passwords: &Path) -> (String, String) {
    let Reach { plain_port, tls_port, ca_file, users, master: (master, _), .. } = reach;
    let ca = ca_file.display();
    let passwords = dir_of_passwords.join("passwords.csv");
    let mut lines = "mailbox,password\n".to_owned();
    for (user, password) in users {
        lines.push_str(&format!("{user},\"{}\"\n", password.replace('"', "\"\"")));
    }
    private(&passwords, &lines);
    let login = if login_name { format!("master_login = \"{{mailbox}}*{master}\"\n") } else { String::new() };
    let master = format!(
        "master_user = \"{master}\"\npassword = {{ env = \"ROAD_MASTER\" }}\nlogin_interval = \"1ms\"\n"
    );
    let config = format!(
        "[source.tls]\nkind = \"imap\"\nhost = \"localhost\"\nport = {tls_port}\nca_file = \"{ca}\"\n{master}\
         [source.starttls]\nkind = \"imap\"\nhost = \"localhost\"\nport = {plain_port}\ntls = \"starttls\"\n\
         ca_file = \"{ca}\"\npasswords = \"{}\"\nlogin_interval = \"1ms\"\n\
         [source.plain]\nkind = \"imap\"\nhost = \"127.0.0.1\"\nport = {plain_port}\ntls = \"off\"\n{login}{master}",
        passwords.display()
    );
    let mut rows = "source,target,source_endpoint\n".to_owned();
    for ((user, _), endpoint) in users.iter().zip(["tls", "starttls", "plain"].into_iter().cycle()) {
        rows.push_str(&format!("{user},{user}@target.example,{endpoint}\n"));
    }
    (config, rows)
}

/// A file for its owner only.
fn private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).expect("create");
    file.write_all(text.as_bytes()).expect("write");
}

/// `mailwave mock graph` as a process of its own; ended when dropped.
pub struct Graph {
    child: Child,
    home: tempfile::TempDir,
    base_url: String,
    truth: String,
    token: String,
    tls: bool,
}

impl Graph {
    /// Starts one; with `tls` it serves TLS by its own authority.
    pub fn start(tls: bool) -> Graph {
        let home = tempfile::tempdir().expect("a temporary folder");
        let mut child = Command::new(env!("CARGO_BIN_EXE_mailwave"))
            .current_dir(home.path())
            .args(["mock", "graph", "--truth", "127.0.0.1:0", "--ca", "ca.pem"])
            .args(tls.then_some("--tls"))
            .env_remove("MAILWAVE_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut next = || lines.next().expect("a line").expect("text");
        let base_url = next().strip_prefix("base_url ").expect("its address").to_owned();
        let line = next();
        let (truth, token) =
            line.strip_prefix("truth http://").and_then(|l| l.split_once(' ')).expect("the truth");
        let (truth, token) = (truth.to_owned(), token.to_owned());
        Graph { child, home, base_url, truth, token, tls }
    }

    /// It as a target endpoint.
    pub fn config(&self) -> String {
        let authority = self.base_url.trim_end_matches("/v1.0");
        let ca: PathBuf = self.home.path().join("ca.pem");
        let ca = if self.tls { format!("ca_file = \"{}\"\n", ca.display()) } else { String::new() };
        format!(
            "[target.cloud]\nkind = \"graph\"\nbase_url = \"{}\"\nauthority = \"{authority}\"\ntenant = \"road\"\n\
             client_id = \"mailwave\"\nclient_secret = {{ env = \"ROAD_GRAPH\" }}\n{ca}",
            self.base_url
        )
    }

    /// What it really holds, and what was asked of it.
    pub fn truth(&self) -> Truth {
        let mut stream = TcpStream::connect(&self.truth).expect("the mock");
        let request = format!(
            "GET /truth HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            self.truth, self.token
        );
        stream.write_all(request.as_bytes()).expect("send");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a header") + 4;
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..end]));
        serde_json::from_slice(&answer[end..]).expect("the truth")
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

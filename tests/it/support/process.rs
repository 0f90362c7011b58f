//! The program as a process of its own, killed and signalled at will, and the mock of Graph in another one.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mailwave::mock::ews;
use mailwave::mock::graph::{Counters, FaultScript, Truth};

use crate::cli::mailwave;

/// Longest wait for anything awaited here; whatever takes longer is a failure.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `seen` gives something; panics, naming `what`, if it never does.
pub fn until<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = seen() {
            return seen;
        }
        assert!(Instant::now() < deadline, "in vain waited for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A mock in a process of its own. Killed when dropped.
struct Mock {
    child: Child,
    /// What it told at its start.
    told: Vec<String>,
}

impl Mock {
    fn start(dir: &Path, args: &[&str], lines: usize) -> Mock {
        let mut child = mailwave(dir, &[&["mock"], args].concat()).stdout(Stdio::piped()).spawn().unwrap();
        let told = BufReader::new(child.stdout.take().unwrap()).lines().take(lines);
        let told: Vec<String> = told.map(|line| line.expect("it tells where it is")).collect();
        assert_eq!(told.len(), lines, "it tells where it is: {told:?}");
        Mock { child, told }
    }

    /// One of Microsoft's, which tells where its truth is.
    fn of_microsoft(dir: &Path, kind: &str, options: &serde_json::Value) -> (Mock, Truthful) {
        fs::write(dir.join("tenant.json"), options.to_string()).unwrap();
        let args = [kind, "--state", "tenant", "--truth", "127.0.0.1:0", "--options", "tenant.json"];
        let mock = Mock::start(dir, &args, 2);
        let (truth, token) = mock.told[1].strip_prefix("truth http://").unwrap().split_once(' ').unwrap();
        let truthful = Truthful { truth: truth.to_owned(), token: token.to_owned() };
        (mock, truthful)
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The port at which a mock tells the truth.
struct Truthful {
    truth: String,
    token: String,
}

impl Truthful {
    fn ask(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.truth).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.truth,
            self.token,
            body.len()
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 20"), "{}", String::from_utf8_lossy(&answer));
        let head = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a whole head");
        answer.split_off(head + 4)
    }
}

/// `mailwave mock graph`.
pub struct GraphProcess {
    _mock: Mock,
    /// Without `/v1.0`.
    pub base_url: String,
    truthful: Truthful,
}

impl GraphProcess {
    /// Starts one that keeps its state in `dir` and is like `options` (JSON).
    pub fn start(dir: &Path, options: &serde_json::Value) -> GraphProcess {
        let (mock, truthful) = Mock::of_microsoft(dir, "graph", options);
        let base = mock.told[0].strip_prefix("base_url ").unwrap();
        let base_url = base.strip_suffix("/v1.0").unwrap().to_owned();
        GraphProcess { _mock: mock, base_url, truthful }
    }

    /// Everything it holds.
    pub fn truth(&self) -> Truth {
        serde_json::from_slice(&self.truthful.ask("GET", "/truth", "")).unwrap()
    }

    /// The truth, once nothing is under way any more.
    pub fn settled(&self) -> Truth {
        until("the mock to come to rest", || Some(self.truth()).filter(|t| t.pending == 0))
    }

    /// What it was asked and answered.
    pub fn counters(&self) -> Counters {
        serde_json::from_slice(&self.truthful.ask("GET", "/counters", "")).unwrap()
    }

    /// Plays these faults from now on.
    pub fn faults(&self, script: &FaultScript) {
        self.truthful.ask("POST", "/faults", &serde_json::to_string(script).unwrap());
    }
}

/// `mailwave mock ews`.
pub struct EwsProcess {
    _mock: Mock,
    pub url: String,
    truthful: Truthful,
}

impl EwsProcess {
    pub fn start(dir: &Path, options: &serde_json::Value) -> EwsProcess {
        let (mock, truthful) = Mock::of_microsoft(dir, "ews", options);
        let url = mock.told[0].strip_prefix("url ").unwrap().to_owned();
        EwsProcess { _mock: mock, url, truthful }
    }

    /// Everything it holds, once nothing is under way any more.
    pub fn settled(&self) -> ews::Truth {
        until("the mock to come to rest", || {
            let truth: ews::Truth = serde_json::from_slice(&self.truthful.ask("GET", "/truth", "")).unwrap();
            Some(truth).filter(|t| t.pending == 0)
        })
    }
}

/// `mailwave mock imap`; whoever asks gets a mailbox, any password will do.
pub struct ImapProcess {
    _mock: Mock,
    pub port: u16,
}

impl ImapProcess {
    /// Serves the Maildirs in `state`, if there is one.
    pub fn start(dir: &Path, state: Option<&str>) -> ImapProcess {
        let state: &[&str] = &state.map_or(Vec::new(), |state| vec!["--state", state]);
        let mock = Mock::start(dir, &[&["imap"], state].concat(), 1);
        let port = mock.told[0].rsplit_once(':').expect("an address").1.parse().expect("a port");
        ImapProcess { _mock: mock, port }
    }
}

/// `mailwave run mailwave.toml` under way. Killed when dropped.
pub struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Starts it in `dir`; what it says goes to files there.
    pub fn start(dir: &Path) -> Running {
        Running::with(dir, "run", &[])
    }

    /// With further arguments; what it says goes to files of this name.
    pub fn with(dir: &Path, name: &str, more: &[&str]) -> Running {
        let (out, err) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.err")));
        let child = mailwave(dir, &[&["run", "mailwave.toml", "--json"], more].concat())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap();
        Running { child, out, err }
    }

    /// Behind these words of another program, which becomes it.
    pub fn behind(dir: &Path, words: &[&str]) -> Running {
        let own = mailwave(dir, &["run", "mailwave.toml", "--json"]);
        let (out, err) = (dir.join("run.out"), dir.join("run.err"));
        let all = words.iter().map(std::ffi::OsStr::new).chain([own.get_program()]).chain(own.get_args());
        let all: Vec<_> = all.map(std::ffi::OsStr::to_owned).collect();
        let mut command = Command::new(&all[0]);
        command.args(&all[1..]).current_dir(dir).stdin(Stdio::null());
        for (name, value) in own.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        Running { child: command.spawn().unwrap(), out, err }
    }

    /// What it said on stderr so far.
    pub fn talk(&self) -> String {
        fs::read_to_string(&self.err).unwrap()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// `kill -9`; it must have been alive.
    pub fn kill(&mut self) {
        use std::os::unix::process::ExitStatusExt;
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "it ended ({status}) before it was killed:\n{}", self.talk());
    }

    /// `kill -9`, unless it has ended by itself: then how.
    pub fn kill_or_ended(&mut self) -> Option<ExitStatus> {
        use std::os::unix::process::ExitStatusExt;
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        (status.signal() != Some(9)).then_some(status)
    }

    /// A signal by its name: `INT`, `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.unwrap().success());
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        self.signal("INT");
    }

    /// Its exit code and its JSON, once it has ended by itself.
    pub fn end(mut self) -> (i32, serde_json::Value, String) {
        let status = until("the run to end", || self.ended());
        let out = fs::read_to_string(&self.out).unwrap();
        let json = serde_json::from_str(&out).unwrap_or(serde_json::Value::Null);
        (status.code().expect("it ended by itself"), json, self.talk())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

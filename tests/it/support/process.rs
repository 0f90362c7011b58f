//! The program as a process of its own, killed and signalled at will, and the mock of Graph in another one.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

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

/// `mailwave mock graph` in a process of its own. Killed when dropped.
pub struct GraphProcess {
    child: Child,
    /// Without `/v1.0`.
    pub base_url: String,
    truth: String,
    token: String,
}

impl GraphProcess {
    /// Starts one that keeps its state in `dir` and is like `options` (JSON).
    pub fn start(dir: &Path, options: &serde_json::Value) -> GraphProcess {
        fs::write(dir.join("tenant.json"), options.to_string()).unwrap();
        let mut child = mailwave(
            dir,
            &["mock", "graph", "--state", "tenant", "--truth", "127.0.0.1:0", "--options", "tenant.json"],
        )
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let base = lines.next().expect("the mock tells its address");
        let truth = lines.next().expect("the mock tells where its truth is");
        let base_url = base.strip_prefix("base_url ").unwrap().strip_suffix("/v1.0").unwrap().to_owned();
        let (truth, token) = truth.strip_prefix("truth http://").unwrap().split_once(' ').unwrap();
        GraphProcess { child, base_url, truth: truth.to_owned(), token: token.to_owned() }
    }

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

    /// Everything it holds.
    pub fn truth(&self) -> Truth {
        serde_json::from_slice(&self.ask("GET", "/truth", "")).unwrap()
    }

    /// The truth, once nothing is under way any more.
    pub fn settled(&self) -> Truth {
        until("the mock to come to rest", || Some(self.truth()).filter(|t| t.pending == 0))
    }

    /// What it was asked and answered.
    pub fn counters(&self) -> Counters {
        serde_json::from_slice(&self.ask("GET", "/counters", "")).unwrap()
    }

    /// Plays these faults from now on.
    pub fn faults(&self, script: &FaultScript) {
        self.ask("POST", "/faults", &serde_json::to_string(script).unwrap());
    }
}

impl Drop for GraphProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
        let (out, err) = (dir.join("run.out"), dir.join("run.err"));
        let child = mailwave(dir, &["run", "mailwave.toml", "--json"])
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap();
        Running { child, out, err }
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

    /// Ctrl-C.
    pub fn interrupt(&self) {
        let sent = Command::new("kill").arg("-INT").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
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

//! The passes, one after the other: the mocks and the engine, each in a process of its own, and what each of them used.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mailwave::mock::graph::Counters;
use mailwave::mock::imap::made::{Drifted, Law};
use serde_json::{Value, json};

use crate::common::PROGRAM;
use crate::common::ask::Asked;
use crate::common::proc::{Cpu, cpu, files, machine, memory, spent};
use crate::common::serve::{Server, engine_in, port, serve};
use crate::truth::{Found, compare};

/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(100);

/// How the bench is set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The share of the messages that change before each pass after the first copy, 0 to 1.
    pub drift: Vec<f64>,
    pub open: u64,
    pub connected: u64,
    /// Extensions the source offers.
    pub offer: String,
    /// Mailboxes of which logging in alone is measured.
    pub hello: u64,
    /// Put before the engine's command.
    pub before: Vec<String>,
}

/// What a process used.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct Used {
    pub cpu: Cpu,
    /// Peak resident memory, in octets.
    pub rss: u64,
}

/// What changed before a pass.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct Changed {
    /// The share of the messages that was asked for, 0 to 1.
    pub share: f64,
    pub new: u64,
    pub flags: u64,
    pub removed: u64,
    pub moved: u64,
    /// Mailboxes in which anything changed.
    pub mailboxes: u64,
}

/// One pass over all mailboxes.
pub struct Pass {
    /// `None`: the first copy.
    pub changed: Option<Changed>,
    pub seconds: f64,
    pub engine: Used,
    pub source: Used,
    pub target: Used,
    /// CPU of all of the machine meanwhile, and of it what its host gave to others.
    pub machine: f64,
    pub stolen: f64,
    /// Times the engine waited for an answer, over all mailboxes, by its own count.
    pub source_trips: u64,
    pub target_trips: u64,
    /// Requests at the target (parts of a `$batch` one by one), and those it refused.
    pub requests: u64,
    pub refused: u64,
    pub violations: String,
    /// Connecting, the TLS handshake, LOGIN and LOGOUT alone, in seconds of CPU a mailbox.
    pub hello: f64,
    pub found: Found,
    pub ledger: u64,
    pub facts: u64,
    /// What the run says of itself at its end.
    pub said: Value,
    pub wrong: Vec<String>,
}

/// The address of mailbox `n` at the target.
pub fn target(n: u64) -> String {
    format!("{}@example.org", Law::user(n))
}

fn path(root: &Path, name: &str) -> String {
    root.join(name).display().to_string()
}

/// The source, with the law as it is now. A restart keeps its port.
fn source(law: &Law, settings: &Settings, root: &Path, at: u16) -> (Server, u16) {
    fs::write(path(root, "law.json"), serde_json::to_string(law).unwrap()).unwrap();
    let (listen, ca, law) = (format!("127.0.0.1:{at}"), path(root, "imap.pem"), path(root, "law.json"));
    let mut words =
        vec!["mock", "imap", "--listen", &listen, "--tls", "--ca", &ca, "--made", &law, "--offer"];
    words.push(&settings.offer);
    let (server, said) = serve(PROGRAM, &words, &["listening "]);
    (server, port(&said[0]))
}

struct Target {
    server: Server,
    base: String,
    truth: String,
    token: String,
}

impl Target {
    fn start(root: &Path) -> Target {
        let options = json!({ "latency": { "base_ms": 0 }, "keep_content": false });
        fs::write(path(root, "graph.json"), options.to_string()).unwrap();
        let (ca, options) = (path(root, "graph.pem"), path(root, "graph.json"));
        let words = ["mock", "graph", "--tls", "--ca", &ca, "--truth", "127.0.0.1:0", "--options", &options];
        let (server, mut said) = serve(PROGRAM, &words, &["base_url ", "truth http://"]);
        let (truth, token) = said[1].split_once(' ').map(|(a, t)| (a.to_owned(), t.to_owned())).unwrap();
        Target { server, base: said.swap_remove(0), truth, token }
    }

    fn counters(&self) -> Counters {
        Asked::new(&self.truth, &self.token).json("/counters").unwrap()
    }
}

fn config(law: &Law, settings: &Settings, source: u16, target_base: &str, root: &Path) {
    let text = format!(
        "source_name = \"bench\"\n[run]\nopen_mailboxes = {open}\nopen_at_first = {open}\n\
         [source.old]\nkind = \"imap\"\nhost = \"localhost\"\nport = {source}\nca_file = \"imap.pem\"\n\
         password = {{ env = \"BENCH_PASSWORD\" }}\nmax_connections = {connected}\nlogin_interval = \"0ms\"\n\
         [target.new]\nkind = \"graph\"\nbase_url = \"{target_base}\"\nauthority = \"{authority}\"\nca_file = \"graph.pem\"\n\
         tenant = \"contoso.onmicrosoft.com\"\nclient_id = \"00000000-0000-0000-0000-000000000000\"\n\
         client_secret = {{ env = \"BENCH_SECRET\" }}\nmodes = [\"json\"]\n",
        open = settings.open,
        connected = settings.connected,
        authority = target_base.trim_end_matches("/v1.0"),
    );
    fs::write(root.join("mailwave.toml"), text).unwrap();
    let mut list = String::from("source,target\n");
    for n in 0..law.mailboxes {
        let _ = writeln!(list, "{},{}", Law::user(n), target(n));
    }
    fs::write(root.join("mailboxes.csv"), list).unwrap();
}

/// What the last generation of the law changed.
fn changed(law: &Law, share: f64) -> Changed {
    let mut all = Changed { share, ..Changed::default() };
    for n in 0..law.mailboxes {
        let Drifted { new, flags, removed, moved } = law.drifted(n);
        (all.new, all.flags) = (all.new + new, all.flags + flags);
        (all.removed, all.moved) = (all.removed + removed, all.moved + moved);
        all.mailboxes += u64::from(new + flags + removed + moved > 0);
    }
    all
}

/// The first copy, then a pass after each generation; `told` hears of each when it has ended.
pub fn travel(law: &Law, settings: &Settings, root: &Path, told: impl Fn(&Law, &Pass)) -> Vec<Pass> {
    let target = Target::start(root);
    let mut law = law.clone();
    let (server, port) = source(&law, settings, root, 0);
    config(&law, settings, port, &target.base, root);
    let mut passes = vec![pass(&law, settings, root, &target, (&server, port), None)];
    told(&law, &passes[0]);
    let mut server = Some(server);
    for share in &settings.drift {
        law.drift.push(*share);
        drop(server.take());
        let (again, port) = source(&law, settings, root, port);
        let changed = changed(&law, *share);
        let pass = pass(&law, settings, root, &target, (&again, port), Some(changed));
        told(&law, &pass);
        passes.push(pass);
        server = Some(again);
    }
    passes
}

fn pass(
    law: &Law,
    settings: &Settings,
    root: &Path,
    target: &Target,
    (source, port): (&Server, u16),
    changed: Option<Changed>,
) -> Pass {
    let ledger = root.join("mailwave-ledger");
    let places = [source.place(), target.server.place()];
    let before: Vec<Cpu> = places.iter().map(|place| cpu(place).1).collect();
    let (counted, (machine_before, stolen_before)) = (target.counters(), machine());
    let began = Instant::now();
    let mut child = engine_in(root, if changed.is_some() { &settings.before } else { &[] });
    let place = PathBuf::from(format!("/proc/{}", child.id()));
    let mut engine = Used::default();
    loop {
        let (ended, used) = cpu(&place);
        if used.seconds() > 0.0 {
            engine.cpu = used;
        }
        if ended {
            break;
        }
        engine.rss = engine.rss.max(memory(&place, "VmHWM:"));
        std::thread::sleep(LOOK);
    }
    let seconds = began.elapsed().as_secs_f64();
    let status = child.wait().unwrap();
    let (machine_after, stolen_after) = machine();
    let mock = |n: usize| Used { cpu: cpu(&places[n]).1 - before[n], rss: memory(&places[n], "VmHWM:") };
    let (used_source, used_target) = (mock(0), mock(1));
    let counters = target.counters();
    let mut wrong = Vec::new();
    if !status.success() {
        let talk = fs::read_to_string(root.join("run.err")).unwrap_or_default();
        let last: Vec<&str> = talk.lines().rev().take(5).collect();
        wrong.push(format!("the engine ended with {status}: {}", last.join(" | ")));
    }
    let text = fs::read(ledger.join("last-run.json")).unwrap_or_default();
    let said = serde_json::from_slice::<Value>(&text).map_or(Value::Null, |all| all["run"].clone());
    let trips = |which: &str| {
        let stages = said["stages"].as_object().into_iter().flatten();
        stages.filter_map(|(_, stage)| stage[which].as_u64()).sum()
    };
    Pass {
        changed,
        seconds,
        engine,
        source: used_source,
        target: used_target,
        machine: machine_after - machine_before,
        stolen: stolen_after - stolen_before,
        source_trips: trips("source_round_trips"),
        target_trips: trips("target_round_trips"),
        requests: counters.requests - counted.requests,
        refused: counters.throttled - counted.throttled,
        violations: if counters.violations.is_empty() {
            String::new()
        } else {
            format!("{:?}", counters.violations)
        },
        hello: hello(law, settings, port, root),
        found: compare(law, &target.truth, &target.token),
        ledger: files(&ledger, "ledger.db"),
        facts: files(&ledger, "facts-"),
        said,
        wrong,
    }
}

/// What connecting, the TLS handshake, LOGIN and LOGOUT cost by themselves, in seconds of CPU a mailbox.
fn hello(law: &Law, settings: &Settings, source: u16, root: &Path) -> f64 {
    let mailboxes = settings.hello.min(law.mailboxes).max(1);
    let ca = path(root, "imap.pem");
    let (source, many) = (source.to_string(), mailboxes.to_string());
    let words = [
        "floor",
        "--way",
        "hello",
        "--source",
        &source,
        "--source-ca",
        &ca,
        "--sink",
        "0",
        "--sink-ca",
        &ca,
        "--mailboxes",
        &many,
    ];
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.args(words).stdout(Stdio::null()).spawn().unwrap();
    let used = spent(&child, Duration::from_millis(10));
    assert!(child.wait().unwrap().success(), "logging in alone ended badly");
    used.seconds() / mailboxes as f64
}

//! One step: the mocks and the engine, each in a process of its own, and what the engine used.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mailwave::mock::imap::made::Law;
use serde_json::json;

use crate::common::PROGRAM;
use crate::common::proc::{Cpu, cpu, machine, memory};
use crate::common::proxy::Proxy;
use crate::common::serve::{Server, engine_in, port, serve};
use crate::ladder::Step;

/// Between two looks at the engine.
const LOOK: Duration = Duration::from_millis(20);

/// Where the copies go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    Graph,
    Maildir,
}

#[derive(Debug, Clone)]
pub struct Settings {
    pub target: Target,
    pub open: u64,
    pub memory: String,
    /// Below this it works.
    pub dir: PathBuf,
}

/// What a step came to.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Point {
    pub at: u64,
    pub mailboxes: u64,
    pub messages: u64,
    pub octets: u64,
    /// Of the engine, in seconds.
    pub cpu: f64,
    pub cpu_system: f64,
    /// Peak resident memory of the engine, in octets.
    pub rss: u64,
    /// From its start to its end.
    pub seconds: f64,
    /// CPU seconds of the mocks.
    pub source_cpu: f64,
    pub target_cpu: f64,
    /// CPU seconds of everything else on the machine meanwhile.
    pub others: f64,
}

/// The target, and the proxy before it.
struct Peer {
    server: Option<Server>,
    _proxy: Option<Proxy>,
    config: String,
}

pub fn run(step: &Step, settings: &Settings) -> Result<Point, String> {
    fs::create_dir_all(&settings.dir).unwrap();
    let made = tempfile::tempdir_in(&settings.dir).unwrap();
    let root = made.path().canonicalize().unwrap();
    let (octets, messages) = contents(&step.law);
    fs::write(root.join("law.json"), serde_json::to_string(&step.law).unwrap()).unwrap();
    let path = |name: &str| root.join(name).display().to_string();
    let words = ["mock", "imap", "--tls", "--ca", &path("imap.pem"), "--made", &path("law.json")];
    let (imap, said) = serve(PROGRAM, &words, &["listening "]);
    let (source_port, _proxy) = far(port(&said[0]), step.latency);
    let peer = match settings.target {
        Target::Graph => graph(step, &root),
        Target::Maildir => Peer {
            server: None,
            _proxy: None,
            config: "[target.new]\nkind = \"maildir\"\nroot = \"out\"\n".to_owned(),
        },
    };
    config(step, settings, source_port, &peer.config, &root);
    let place = |server: &Server| cpu(&server.place()).1;
    let before = (place(&imap), peer.server.as_ref().map(place).unwrap_or_default());
    let machine_before = machine().0;

    let began = Instant::now();
    let mut child = engine_in(&root, &[]);
    let engine = PathBuf::from(format!("/proc/{}", child.id()));
    let (mut used, mut rss) = (Cpu::default(), 0);
    loop {
        let (ended, now) = cpu(&engine);
        if now.seconds() > 0.0 {
            used = now;
        }
        if ended {
            break;
        }
        rss = rss.max(memory(&engine, "VmHWM:"));
        std::thread::sleep(LOOK);
    }
    let seconds = began.elapsed().as_secs_f64();
    let status = child.wait().unwrap();
    let source_cpu = (place(&imap) - before.0).seconds();
    let target_cpu = (peer.server.as_ref().map(place).unwrap_or_default() - before.1).seconds();
    let others = machine().0 - machine_before - used.seconds() - source_cpu - target_cpu;
    if !status.success() {
        let talk = fs::read_to_string(root.join("run.err")).unwrap_or_default();
        let last: Vec<&str> = talk.lines().rev().take(5).collect();
        return Err(format!("the engine ended with {status}: {}", last.join(" | ")));
    }
    let counted = counted(&root);
    if counted != messages {
        return Err(format!("{counted} copies are at the target, there are {messages} messages"));
    }
    Ok(Point {
        at: step.at,
        mailboxes: step.law.mailboxes,
        messages,
        octets,
        cpu: used.seconds(),
        cpu_system: used.system,
        rss,
        seconds,
        source_cpu,
        target_cpu,
        others: others.max(0.0),
    })
}

fn contents(law: &Law) -> (u64, u64) {
    // All mailboxes hold the same.
    let (octets, messages) = law.contents(0);
    (octets * law.mailboxes, messages * law.mailboxes)
}

/// A port so many milliseconds away.
fn far(to: u16, latency: u64) -> (u16, Option<Proxy>) {
    if latency == 0 {
        return (to, None);
    }
    let proxy = Proxy::start(to, Duration::from_millis(latency)).unwrap();
    (proxy.port, Some(proxy))
}

fn graph(step: &Step, root: &Path) -> Peer {
    let path = |name: &str| root.join(name).display().to_string();
    // No window binds: what grows is to be the engine's own.
    let options = json!({ "keep_content": false, "limits": { "requests": 1_000_000_000u64,
        "upload_bytes": 1_000_000_000_000_000u64, "concurrent": step.at_once.max(4) } });
    fs::write(path("graph.json"), options.to_string()).unwrap();
    let (server, said) = serve(
        PROGRAM,
        &["mock", "graph", "--tls", "--ca", &path("graph.pem"), "--options", &path("graph.json")],
        &["base_url "],
    );
    let near = port(said[0].trim_end_matches("/v1.0"));
    let (far, proxy) = far(near, step.latency);
    let base = said[0].replace(&format!(":{near}"), &format!(":{far}"));
    let config = format!(
        "[limits]\nrequests = 10000000\nrequests_per = \"1s\"\nupload = \"1TiB\"\nat_once = {}\n[target.new]\nkind = \"graph\"\nbase_url = \"{base}\"\n\
         authority = \"{}\"\nca_file = \"graph.pem\"\ntenant = \"contoso.onmicrosoft.com\"\n\
         client_id = \"00000000-0000-0000-0000-000000000000\"\nclient_secret = {{ env = \"BENCH_SECRET\" }}\n\
         modes = [\"json\"]\n",
        step.at_once,
        base.trim_end_matches("/v1.0")
    );
    Peer { server: Some(server), _proxy: proxy, config }
}

fn config(step: &Step, settings: &Settings, source_port: u16, target: &str, root: &Path) {
    let text = format!(
        "source_name = \"bench\"\n[run]\nopen_mailboxes = {open}\nopen_at_first = {open}\nmemory = \"{memory}\"\n\
         {target}\
         [source.old]\nkind = \"imap\"\nhost = \"localhost\"\nport = {source_port}\nca_file = \"imap.pem\"\n\
         password = {{ env = \"BENCH_PASSWORD\" }}\nmax_connections = {connections}\nlogin_interval = \"0ms\"\n",
        open = settings.open,
        memory = settings.memory,
        connections = step.connections,
    );
    fs::write(root.join("mailwave.toml"), text).unwrap();
    let mut list = String::from("source,target\n");
    for n in 0..step.law.mailboxes {
        let _ = writeln!(list, "{0},{0}@example.org", Law::user(n));
    }
    fs::write(root.join("mailboxes.csv"), list).unwrap();
}

/// Copies the target counted itself at the end of each mailbox's pass, as the run says.
fn counted(root: &Path) -> u64 {
    let text = fs::read_to_string(root.join("run.json")).unwrap_or_default();
    let said = text.lines().rev().find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    said.and_then(|said| said["copies"]["at_target"].as_u64()).unwrap_or(0)
}

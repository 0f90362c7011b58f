//! One run: the mocks and the engine, each in a process of its own, and what each of them used.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mailwave::mock::graph::{Counters, Pace};
use mailwave::mock::imap::made::Law;
use serde_json::{Value, json};

use crate::common::PROGRAM;
use crate::common::ask::Asked;
use crate::common::proc::{Cpu, connections, cpu, files, machine, memory, spent};
use crate::common::serve::{Server, engine_in, port, serve};
use crate::floor;
use crate::plan::Plan;
use crate::truth::{Found, compare};

/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(200);
/// So many looks apart something is said, and the connections are counted.
const SAID: u32 = 75;

/// How the engine is set.
#[derive(Debug, Clone)]
pub struct Settings {
    pub mode: String,
    pub connected: u64,
    pub memory: String,
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

/// What came of it.
pub struct Came {
    pub seconds: f64,
    pub engine: Used,
    pub source: Used,
    pub target: Used,
    /// CPU of all of the machine meanwhile, and of it what its host gave to others.
    pub machine: f64,
    pub stolen: f64,
    pub most_source_connections: u64,
    pub most_target_connections: u64,
    pub counters: Counters,
    pub pace: Pace,
    pub found: Found,
    pub compared_seconds: f64,
    pub ledger: u64,
    pub facts: u64,
    /// What the run says of itself at its end.
    pub said: Value,
    /// (second, engine CPU, source CPU, target CPU, engine RSS).
    pub samples: Vec<(f64, f64, f64, f64, u64)>,
    pub floors: Vec<Floor>,
    pub wrong: Vec<String>,
}

/// One way of the floor.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Floor {
    pub way: String,
    pub messages: u64,
    pub octets: u64,
    pub mailboxes: u64,
    pub cpu: Cpu,
}

/// The address of mailbox `n` at the target.
pub fn target(n: u64) -> String {
    format!("{}@example.org", Law::user(n))
}

/// The mocks of a run.
struct Mocks {
    imap: Server,
    source: u16,
    graph: Server,
    base: String,
    truth: String,
    token: String,
}

impl Mocks {
    fn start(plan: &Plan, root: &Path) -> Mocks {
        let path = |name: &str| root.join(name).display().to_string();
        let limits = plan.limits();
        fs::write(path("law.json"), serde_json::to_string(&plan.law).unwrap()).unwrap();
        let options = json!({ "latency": { "base_ms": limits.latency_ms }, "keep_content": false,
            "import_mime": true, "import_mime_keeps_date": true,
            "mail_advanced": true, "limits": { "requests": limits.requests, "window_seconds": limits.requests_seconds,
            "upload_bytes": limits.upload, "upload_window_seconds": limits.upload_seconds } });
        fs::write(path("graph.json"), options.to_string()).unwrap();
        let words = ["mock", "imap", "--tls", "--ca", &path("imap.pem"), "--made", &path("law.json")];
        let (imap, said) = serve(PROGRAM, &words, &["listening "]);
        let source = port(&said[0]);
        let time = plan.time.to_string();
        let (graph, mut said) = serve(
            PROGRAM,
            &[
                "mock",
                "graph",
                "--tls",
                "--ca",
                &path("graph.pem"),
                "--truth",
                "127.0.0.1:0",
                "--options",
                &path("graph.json"),
                "--time-scale",
                &time,
            ],
            &["base_url ", "truth http://"],
        );
        let (truth, token) = said[1].split_once(' ').map(|(a, t)| (a.to_owned(), t.to_owned())).unwrap();
        Mocks { imap, source, graph, base: said.swap_remove(0), truth, token }
    }
}

fn config(plan: &Plan, settings: &Settings, mocks: &Mocks, root: &Path) {
    let limits = plan.limits();
    let ms = |seconds: u64| seconds * 1000 / u64::from(plan.time);
    let base = &mocks.base;
    let text = format!(
        "source_name = \"bench\"\n[run]\nopen_mailboxes = {open}\nopen_at_first = {open}\nmemory = \"{memory}\"\n\
         [limits]\nrequests = {requests}\nrequests_per = \"{requests_per}ms\"\nupload = \"{upload}B\"\nupload_per = \"{upload_per}ms\"\n\
         [source.old]\nkind = \"imap\"\nhost = \"localhost\"\nport = {port}\nca_file = \"imap.pem\"\n\
         password = {{ env = \"BENCH_PASSWORD\" }}\nmax_connections = {connected}\nlogin_interval = \"0ms\"\n\
         [target.new]\nkind = \"graph\"\nbase_url = \"{base}\"\nauthority = \"{authority}\"\nca_file = \"graph.pem\"\n\
         tenant = \"contoso.onmicrosoft.com\"\nclient_id = \"00000000-0000-0000-0000-000000000000\"\n\
         client_secret = {{ env = \"BENCH_SECRET\" }}\nmodes = [{modes}]\n",
        open = plan.open,
        memory = settings.memory,
        requests = limits.requests,
        requests_per = ms(limits.requests_seconds),
        upload = limits.upload,
        upload_per = ms(limits.upload_seconds),
        port = mocks.source,
        connected = settings.connected.min(plan.open * 2),
        authority = base.trim_end_matches("/v1.0"),
        modes = if settings.mode == "json" { "\"json\"" } else { "\"import-mime\", \"json\"" },
    );
    fs::write(root.join("mailwave.toml"), text).unwrap();
    let mut list = String::from("source,target\n");
    for n in 0..plan.law.mailboxes {
        let _ = writeln!(list, "{},{}", Law::user(n), target(n));
    }
    fs::write(root.join("mailboxes.csv"), list).unwrap();
}

/// Moves all of it, compares it, and measures the floor over `floor` octets.
pub fn travel(plan: &Plan, settings: &Settings, floor: u64, root: &Path) -> Came {
    let mocks = Mocks::start(plan, root);
    config(plan, settings, &mocks, root);
    let ledger = root.join("mailwave-ledger");
    let places = [mocks.imap.place(), mocks.graph.place()];
    let before: Vec<Cpu> = places.iter().map(|place| cpu(place).1).collect();
    let (machine_before, stolen_before) = machine();

    let began = Instant::now();
    let mut child = engine_in(root, &settings.before);
    let place = PathBuf::from(format!("/proc/{}", child.id()));
    let (mut engine, mut samples) = (Used::default(), Vec::new());
    let (mut most_source, mut most_target, mut looks) = (0, 0, 0u32);
    let target_port = port(mocks.base.trim_end_matches("/v1.0"));
    loop {
        let (ended, used) = cpu(&place);
        if used.seconds() > 0.0 {
            engine.cpu = used;
        }
        if ended {
            break;
        }
        engine.rss = engine.rss.max(memory(&place, "VmHWM:"));
        if looks.is_multiple_of(SAID) {
            most_source = most_source.max(connections(mocks.source));
            most_target = most_target.max(connections(target_port));
            let mock = |n: usize| (cpu(&places[n]).1 - before[n]).seconds();
            let at = began.elapsed().as_secs_f64();
            samples.push((at, used.seconds(), mock(0), mock(1), memory(&place, "VmRSS:")));
            eprintln!("{at:.0} s: {}", progress(&ledger));
        }
        looks += 1;
        std::thread::sleep(LOOK);
    }
    let seconds = began.elapsed().as_secs_f64();
    let status = child.wait().unwrap();
    let (machine_after, stolen_after) = machine();
    let mock = |n: usize| Used { cpu: cpu(&places[n]).1 - before[n], rss: memory(&places[n], "VmHWM:") };
    let (source, target) = (mock(0), mock(1));
    let mut wrong = Vec::new();
    if !status.success() {
        let talk = fs::read_to_string(root.join("run.err")).unwrap_or_default();
        let last: Vec<&str> = talk.lines().rev().take(5).collect();
        wrong.push(format!("the engine ended with {status}: {}", last.join(" | ")));
    }
    let mut asked = Asked::new(&mocks.truth, &mocks.token);
    let (counters, pace) = (asked.json("/counters").unwrap(), asked.json("/pace").unwrap());
    let comparing = Instant::now();
    let found = compare(&plan.law, &mocks.truth, &mocks.token);
    let compared_seconds = comparing.elapsed().as_secs_f64();
    // The target has told all it knows: what it holds would only be in the way.
    let Mocks { imap, source: source_port, graph, .. } = mocks;
    drop(graph);
    let floors = if floor > 0 { floors(plan, source_port, floor, root) } else { Vec::new() };
    drop(imap);
    Came {
        seconds,
        engine,
        source,
        target,
        machine: machine_after - machine_before,
        stolen: stolen_after - stolen_before,
        most_source_connections: most_source,
        most_target_connections: most_target,
        counters,
        pace,
        found,
        compared_seconds,
        ledger: files(&ledger, "ledger.db"),
        facts: files(&ledger, "facts-"),
        said: said(&ledger),
        samples,
        floors,
        wrong,
    }
}

/// What the run last said of itself.
fn said(ledger: &Path) -> Value {
    let text = fs::read(ledger.join("last-run.json")).unwrap_or_default();
    serde_json::from_slice::<Value>(&text).map_or(Value::Null, |all| all["run"].clone())
}

fn progress(ledger: &Path) -> String {
    let said = said(ledger);
    let (messages, octets) = (&said["messages"]["stored"], said["bytes"]["stored"].as_f64().unwrap_or(0.0));
    let text = said["bound_by"]["recently"]["text"].as_str().unwrap_or("");
    format!("{messages} messages, {:.2} GB stored; {text}", octets / 1e9)
}

/// The floor, over the first mailboxes that hold so many octets together.
fn floors(plan: &Plan, source: u16, octets: u64, root: &Path) -> Vec<Floor> {
    let (mut mailboxes, mut held) = (0, 0);
    while held < octets && mailboxes < plan.law.mailboxes {
        held += plan.law.contents(mailboxes).0;
        mailboxes += 1;
    }
    let me = std::env::current_exe().unwrap().display().to_string();
    let ca = root.join("sink.pem").display().to_string();
    let mut told = Vec::new();
    for way in ["login", "copy", "blake3", "sha256"] {
        let kind = if way == "copy" { "octets" } else { "http" };
        let (sink, said) = serve(&me, &["sink", "--kind", kind, "--ca", &ca], &["listening "]);
        let told_to = floor::Told {
            way: way.to_owned(),
            source,
            source_ca: root.join("imap.pem"),
            sink: port(&said[0]),
            sink_ca: root.join("sink.pem"),
            mailboxes,
        };
        told.push(one(&me, &told_to));
        drop(sink);
    }
    told
}

fn one(me: &str, told: &floor::Told) -> Floor {
    let words = [
        "floor".to_owned(),
        "--way".to_owned(),
        told.way.clone(),
        "--source".to_owned(),
        told.source.to_string(),
        "--source-ca".to_owned(),
        told.source_ca.display().to_string(),
        "--sink".to_owned(),
        told.sink.to_string(),
        "--sink-ca".to_owned(),
        told.sink_ca.display().to_string(),
        "--mailboxes".to_owned(),
        told.mailboxes.to_string(),
    ];
    let mut child = Command::new(me).args(&words).stdout(Stdio::piped()).spawn().unwrap();
    let used = spent(&child, Duration::from_millis(20));
    let mut text = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut text).unwrap();
    assert!(child.wait().unwrap().success(), "the floor ({}) ended badly", told.way);
    let mut words = text.trim().strip_prefix("passed ").unwrap().split(' ').map(|n| n.parse().unwrap());
    let (messages, octets) = (words.next().unwrap(), words.next().unwrap());
    Floor { way: told.way.clone(), messages, octets, mailboxes: told.mailboxes, cpu: used }
}

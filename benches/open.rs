//! Thousands of open mailboxes in one process: what they cost in memory and CPU, against the same octets in fewer.
//!
//! `cargo bench --bench open -- --open 5000 --connected 1000 --against 500 --messages 20 --size 75000`
//!
//! Source and target are this program's mocks, each in a process of its own, over TLS; the target answers after
//! `--latency`. The engine is the real program. Told of each run: the peak resident memory of the engine's process, its
//! CPU (from `/proc`, of that process alone), the most mailboxes open and connections to the source at once, and whether
//! the target holds exactly what the source does. Nothing is timed in a small run (the default): its figures mean
//! nothing, only that it works.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

#[path = "common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use common::PROGRAM;
use common::ask::Asked;
use common::proc::{connections, cpu, memory};
use common::serve::{engine_in, port, serve};
use mailwave::env::Env;
use mailwave::imap::Credentials;
use mailwave::source::Source;
use mailwave::source::imap::{ImapSettings, ImapSource};
use serde_json::{Value, json};

/// Messages above this many octets are made as a file attached to a few words.
const ATTACHED: usize = 1 << 20;
/// Between two looks at the engine's process.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Parser)]
struct Wanted {
    /// Mailboxes, all open at once.
    #[arg(long, default_value_t = 24)]
    open: usize,
    /// Connections to the source at once, at most.
    #[arg(long, default_value_t = 16)]
    connected: usize,
    /// Mailboxes of the run that is compared with, for the same octets; 0: there is none.
    #[arg(long, default_value_t = 6)]
    against: usize,
    /// Messages in each mailbox of the wide run.
    #[arg(long, default_value_t = 4)]
    messages: usize,
    /// Octets of each message.
    #[arg(long, default_value_t = 20_000)]
    size: usize,
    /// Different messages; mailboxes share their files.
    #[arg(long, default_value_t = 97)]
    different: usize,
    /// Milliseconds the target takes for a request.
    #[arg(long, default_value_t = 100)]
    latency: u64,
    /// The body budget.
    #[arg(long, default_value = "256MiB")]
    memory: String,
    /// Messages above this lie in the spool.
    #[arg(long, default_value = "4MiB")]
    spool_above: String,
    /// So many idle connections to a source over TLS are weighed, beside all else; 0: none.
    #[arg(long, default_value_t = 16)]
    idle: usize,
    /// Fails if an idle connection weighs more than so many KiB.
    #[arg(long)]
    most_idle: Option<u64>,
    /// Fails if the engine's peak memory is above so many MiB.
    #[arg(long)]
    most_rss: Option<u64>,
    /// Fails if the wide run takes more than so many times the CPU of the other.
    #[arg(long)]
    most_cpu: Option<f64>,
    /// Writes the figures here as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Works below this directory, and leaves it there.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Put before the engine's command: `perf record …`. The figures are of the command then.
    #[arg(long, value_delimiter = ' ', allow_hyphen_values = true)]
    before: Vec<String>,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let wanted = Wanted::parse();
    let made = tempfile::tempdir().unwrap();
    let root = wanted.keep.clone().unwrap_or_else(|| made.path().to_owned());
    fs::create_dir_all(&root).unwrap();
    let wide = Road { mailboxes: wanted.open, messages: wanted.messages };
    let narrow = (wanted.against > 0).then(|| Road {
        mailboxes: wanted.against,
        messages: wanted.open * wanted.messages / wanted.against,
    });
    let pool = pool(&root, wanted.size, wanted.different.clamp(1, wide.mailboxes * wide.messages));
    // First: what this process has given back later would hide what is weighed.
    let idle = (wanted.idle > 0).then(|| idle(&root.join("idle"), wanted.idle));
    let mut told = vec![wide.travel(&wanted, &root.join("wide"), &pool)];
    told.extend(narrow.map(|road| road.travel(&wanted, &root.join("narrow"), &pool)));
    for run in &told {
        println!("{}", run.line());
    }
    let mut failed: Vec<String> = told.iter().flat_map(|run| run.wrong.iter().cloned()).collect();
    let ratio = told.get(1).map(|narrow| told[0].cpu / narrow.cpu);
    if let Some(ratio) = ratio {
        println!("CPU of the wide run: {ratio:.2} times that of the other");
        if wanted.most_cpu.is_some_and(|most| ratio > most) {
            failed.push(format!("CPU {ratio:.2} times"));
        }
    }
    let each = told.get(1).filter(|narrow| narrow.mailboxes < told[0].mailboxes).map(|narrow| {
        (told[0].rss as f64 - narrow.rss as f64) / (told[0].mailboxes - narrow.mailboxes) as f64 / 1024.0
    });
    if let Some(each) = each {
        println!("peak RSS of each mailbox more: {each:.1} KiB");
    }
    if let Some(idle) = idle {
        println!("an idle connection to a source: {:.1} KiB", idle / 1024.0);
        if wanted.most_idle.is_some_and(|most| idle > (most << 10) as f64) {
            failed.push(format!("an idle connection weighs {idle:.0} bytes"));
        }
    }
    if wanted.most_rss.is_some_and(|most| told[0].rss > most << 20) {
        failed.push(format!("RSS {} MiB", told[0].rss >> 20));
    }
    if let Some(file) = &wanted.json {
        let runs: Vec<Value> = told.iter().map(Told::json).collect();
        let all = json!({ "runs": runs, "cpu_ratio": ratio, "rss_kib_of_each_mailbox_more": each, "idle_connection_bytes": idle, "cpus": std::thread::available_parallelism().map_or(0, usize::from),
            "latency_ms": wanted.latency, "memory": wanted.memory, "message_octets": wanted.size });
        fs::write(file, format!("{all:#}\n")).unwrap();
    }
    failed.iter().for_each(|why| println!("failed: {why}"));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Different messages of this size, to be linked from the mailboxes.
fn pool(root: &Path, size: usize, different: usize) -> Vec<PathBuf> {
    let dir = root.join("pool");
    fs::create_dir_all(&dir).unwrap();
    let pool = (0..different).map(|n| {
        let file = dir.join(n.to_string());
        let mut to = BufWriter::new(fs::File::create(&file).unwrap());
        let (kind, begin, end) = if size > ATTACHED {
            (
                "multipart/mixed; boundary=open",
                "--open\r\n\r\nattached\r\n--open\r\nContent-Type: application/octet-stream; name=a.bin\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\n",
                "--open--\r\n",
            )
        } else {
            ("text/plain; charset=utf-8", "", "")
        };
        write!(
            to,
            "From: Ann <ann@example.org>\r\nTo: Bob <bob@example.org>\r\nSubject: number {n}\r\nMessage-ID: <{n}@open.example.org>\r\n\
             Date: Mon, 05 Jan 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: {kind}\r\n\r\n{begin}"
        )
        .unwrap();
        // Lines of base64, which are lines of text too.
        for line in 0..size.saturating_sub(300) / 78 {
            let word = format!("{:016X}", (line * 7919 + n) as u64 ^ 0x9E37_79B9_7F4A_7C15);
            write!(to, "{0}{0}{0}{0}{1}\r\n", word, &word[..12]).unwrap();
        }
        to.write_all(end.as_bytes()).unwrap();
        to.flush().unwrap();
        file
    });
    pool.collect()
}

/// Bytes of resident memory an idle connection takes, of `count` of them, with its mailbox: logged in, its folders listed.
fn idle(root: &Path, count: usize) -> f64 {
    let mail = root.join("mail");
    for n in 0..count {
        ["cur", "new", "tmp"]
            .iter()
            .for_each(|part| fs::create_dir_all(mail.join(format!("u{n:05}/{part}"))).unwrap());
    }
    let (ca, mail) = (root.join("ca.pem"), mail.display().to_string());
    let words = ["mock", "imap", "--tls", "--ca", ca.to_str().unwrap(), "--state", &mail];
    let (_server, said) = serve(PROGRAM, &words, &["listening "]);
    let mut settings = ImapSettings::new("localhost", Credentials::Fixed { password: "any".into() });
    settings.server.port = port(&said[0]);
    settings.server.ca_file = Some(ca);
    (settings.server.max_connections, settings.server.login_interval) = (count, Duration::ZERO);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let me = PathBuf::from("/proc/self");
    runtime.block_on(async {
        let source = ImapSource::new(Env::system(), settings).unwrap();
        let mut open = Vec::with_capacity(count);
        let mut before = 0;
        for n in 0..count {
            let mailbox = source.open(&format!("u{n:05}")).await.unwrap();
            mailbox.folders().await.unwrap();
            open.push(mailbox);
            // What the first ones load is no part of a connection.
            if n + 1 == count / 8 {
                before = memory(&me, "VmRSS:");
            }
        }
        (memory(&me, "VmRSS:") as f64 - before as f64) / (count - count / 8) as f64
    })
}

/// So many mailboxes with so many messages each.
struct Road {
    mailboxes: usize,
    messages: usize,
}

/// What came of a run.
struct Told {
    mailboxes: usize,
    messages: usize,
    octets: u64,
    seconds: f64,
    cpu: f64,
    rss: u64,
    most_open: u64,
    most_connected: u64,
    most_to_target: u64,
    files: u64,
    wrong: Vec<String>,
}

impl Told {
    fn line(&self) -> String {
        format!(
            "{} mailboxes, {} messages, {:.1} MB: {:.1} s, engine CPU {:.2} s, peak RSS {} MiB; at once {} open, {} source connections, {} target connections, {} files; {}",
            self.mailboxes,
            self.messages,
            self.octets as f64 / 1e6,
            self.seconds,
            self.cpu,
            self.rss >> 20,
            self.most_open,
            self.most_connected,
            self.most_to_target,
            self.files,
            if self.wrong.is_empty() {
                "nothing lost, nothing doubled".to_owned()
            } else {
                self.wrong.join("; ")
            }
        )
    }

    fn json(&self) -> Value {
        json!({ "mailboxes": self.mailboxes, "messages": self.messages, "octets": self.octets, "seconds": self.seconds,
            "engine_cpu_seconds": self.cpu, "peak_rss_bytes": self.rss, "most_open": self.most_open,
            "most_source_connections": self.most_connected, "most_target_connections": self.most_to_target,
            "most_files": self.files, "wrong": self.wrong })
    }
}

impl Road {
    fn travel(&self, wanted: &Wanted, root: &Path, pool: &[PathBuf]) -> Told {
        let octets = self.mail(root, pool);
        let path = |name: &str| root.join(name).display().to_string();
        let options = json!({ "latency": { "base_ms": wanted.latency }, "keep_content": false,
            "limits": { "requests": 1_000_000, "upload_bytes": 1_000_000_000_000_u64, "app_requests": 100_000_000 } });
        fs::write(path("graph.json"), options.to_string()).unwrap();
        let (imap, said) = serve(
            PROGRAM,
            &["mock", "imap", "--tls", "--ca", &path("imap.pem"), "--state", &path("mail")],
            &["listening "],
        );
        let source_port = port(&said[0]);
        let (graph, said) = serve(
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
            ],
            &["base_url ", "truth http://"],
        );
        let (base, (truth, token)) = (&said[0], said[1].split_once(' ').unwrap());
        let target_port = port(base.trim_end_matches("/v1.0"));
        let config = format!(
            "source_name = \"bench\"\n[run]\nopen_mailboxes = {open}\nopen_at_first = {open}\nmemory = \"{memory}\"\nspool_above = \"{spool_above}\"\n\
             [limits]\nrequests = 1000000\nupload = \"900GiB\"\n\
             [source.old]\nkind = \"imap\"\nhost = \"localhost\"\nport = {source_port}\nca_file = \"imap.pem\"\n\
             password = {{ env = \"BENCH_PASSWORD\" }}\nmax_connections = {connected}\nlogin_interval = \"0ms\"\n\
             [target.new]\nkind = \"graph\"\nbase_url = \"{base}\"\nauthority = \"{authority}\"\nca_file = \"graph.pem\"\n\
             tenant = \"contoso.onmicrosoft.com\"\nclient_id = \"00000000-0000-0000-0000-000000000000\"\n\
             client_secret = {{ env = \"BENCH_SECRET\" }}\n",
            open = self.mailboxes,
            memory = wanted.memory,
            spool_above = wanted.spool_above,
            connected = wanted.connected,
            authority = base.trim_end_matches("/v1.0"),
        );
        fs::write(path("mailwave.toml"), config).unwrap();
        let mut told = self.run(wanted, root, (source_port, target_port));
        told.octets = octets;
        let held: Value = Asked::new(truth, token).json("/truth").unwrap();
        told.wrong.extend(self.compare(&held));
        drop((imap, graph));
        told
    }

    /// The Maildirs and the list; gives the octets of all.
    fn mail(&self, root: &Path, pool: &[PathBuf]) -> u64 {
        let mut list = String::from("source,target\n");
        let mut octets = 0;
        let sizes: Vec<u64> = pool.iter().map(|file| fs::metadata(file).unwrap().len()).collect();
        for mailbox in 0..self.mailboxes {
            let _ = writeln!(list, "u{mailbox:05},u{mailbox:05}@example.org");
            let maildir = root.join(format!("mail/u{mailbox:05}"));
            ["cur", "new", "tmp"].iter().for_each(|part| fs::create_dir_all(maildir.join(part)).unwrap());
            for n in 0..self.messages {
                let which = (mailbox * 31 + n) % pool.len();
                let name = maildir.join(format!("cur/{:09}.bench:2,S", 1_700_000_000 + n));
                // A file takes some tens of thousands of links.
                if fs::hard_link(&pool[which], &name).is_err() {
                    fs::copy(&pool[which], &name).unwrap();
                }
                octets += sizes[which];
            }
        }
        fs::write(root.join("mailboxes.csv"), list).unwrap();
        octets
    }

    fn run(&self, wanted: &Wanted, root: &Path, (source, target): (u16, u16)) -> Told {
        let began = Instant::now();
        let mut child = engine_in(root, &wanted.before);
        let mut told = Told {
            mailboxes: self.mailboxes,
            messages: self.mailboxes * self.messages,
            octets: 0,
            seconds: 0.0,
            cpu: 0.0,
            rss: 0,
            most_open: 0,
            most_connected: 0,
            most_to_target: 0,
            files: 0,
            wrong: Vec::new(),
        };
        let place = PathBuf::from(format!("/proc/{}", child.id()));
        let mut looks = 0u32;
        loop {
            let (ended, cpu) = cpu(&place);
            told.cpu = cpu.seconds();
            if ended {
                break;
            }
            told.rss = told.rss.max(memory(&place, "VmHWM:"));
            if looks.is_multiple_of(10) {
                told.most_connected = told.most_connected.max(connections(source));
                told.most_to_target = told.most_to_target.max(connections(target));
                told.files =
                    told.files.max(fs::read_dir(place.join("fd")).map_or(0, |all| all.count() as u64));
            }
            looks += 1;
            std::thread::sleep(LOOK);
        }
        told.seconds = began.elapsed().as_secs_f64();
        let status = child.wait().unwrap();
        let talk = fs::read_to_string(root.join("run.err")).unwrap_or_default();
        let open = talk.lines().filter_map(|line| {
            line.split_once(" open,")?.0.rsplit_once('(')?.1.replace(',', "").parse().ok()
        });
        told.most_open = open.max().unwrap_or(0);
        if !status.success() {
            let last: Vec<&str> = talk.lines().rev().take(5).collect();
            told.wrong.push(format!("the engine ended with {status}: {}", last.join(" | ")));
        }
        told
    }

    /// What the target holds, against what was sent: each mailbox as many as it has, each stamp once.
    fn compare(&self, truth: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        let empty = serde_json::Map::new();
        let mailboxes = truth["mailboxes"].as_object().unwrap_or(&empty);
        let (mut lost, mut doubled) = (0u64, 0u64);
        for mailbox in 0..self.mailboxes {
            let folders = mailboxes.get(&format!("u{mailbox:05}@example.org")).map(|m| &m["folders"]);
            let messages = folders.and_then(Value::as_object).into_iter().flat_map(|all| all.values());
            let messages = messages.filter_map(|folder| folder["messages"].as_array()).flatten();
            let mut stamps: BTreeMap<String, u64> = BTreeMap::new();
            let mut unstamped = 0;
            for message in messages {
                let stamp = message["named"].as_object().and_then(|all| {
                    all.values()
                        .find_map(|v| v.as_str().filter(|v| v.starts_with("mw1.") && v.ends_with("/done")))
                });
                match stamp {
                    Some(stamp) => *stamps.entry(stamp.to_owned()).or_default() += 1,
                    None => unstamped += 1,
                }
            }
            lost += (self.messages as u64).saturating_sub(stamps.len() as u64);
            doubled += stamps.values().map(|n| n - 1).sum::<u64>()
                + unstamped
                + (stamps.len() as u64).saturating_sub(self.messages as u64);
        }
        if lost > 0 {
            wrong.push(format!("{lost} messages lost"));
        }
        if doubled > 0 {
            wrong.push(format!("{doubled} copies too many"));
        }
        if truth["counters"]["violations"].as_object().is_some_and(|all| !all.is_empty()) {
            wrong.push(format!("violations: {}", truth["counters"]["violations"]));
        }
        wrong
    }
}

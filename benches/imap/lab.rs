//! Two servers, the links to them, and one pass of a tool, measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::proc::{self, Used};
use crate::proxy::Proxy;
use crate::server::{Authority, Dovecot, own};
use crate::store::clone_tree;
use crate::tools::{Job, Tool};
use crate::{Common, Result, tidy};

/// Both servers and what lies between them and the tools.
pub struct Lab {
    pub source: Dovecot,
    pub target: Dovecot,
    pub ca_file: PathBuf,
    /// Pristine states of the source's mail lie here, each a folder.
    pub states: PathBuf,
    work: PathBuf,
    links: Option<(Proxy, Proxy)>,
    passes: usize,
    common: Common,
    _temporary: Option<tempfile::TempDir>,
}

/// One pass of one tool.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Pass {
    #[serde(flatten)]
    pub used: Used,
    /// CPU seconds of the servers.
    pub source_cpu: f64,
    pub target_cpu: f64,
    /// CPU seconds of everything else on the machine meanwhile, the bench and its proxies with it: how quiet it was.
    pub other_cpu: f64,
}

impl Pass {
    /// CPU seconds of client and servers.
    pub fn all_cpu(&self) -> f64 {
        self.used.cpu() + self.source_cpu + self.target_cpu
    }
}

impl Lab {
    pub fn new(common: &Common) -> Result<Lab> {
        let temporary = match &common.dir {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("bench-imap-").tempdir()?),
        };
        let root = match (&common.dir, &temporary) {
            (Some(dir), _) => {
                fs::create_dir_all(dir)?;
                dir.canonicalize()?
            }
            (None, Some(dir)) => {
                tidy::along(dir.path());
                dir.path().to_owned()
            }
            (None, None) => return Err("no folder to work in".into()),
        };
        // Servers run as a user of their own.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755))?;
        let authority = Authority::new(&root)?;
        let source = Dovecot::start(&root.join("source"), &authority, crate::server::Format::Maildir)?;
        let target = Dovecot::start(&root.join("target"), &authority, common.target_format)?;
        let links = if common.rtt > 0 {
            let round_trip = Duration::from_millis(common.rtt);
            Some((Proxy::start(source.tls_port, round_trip)?, Proxy::start(target.tls_port, round_trip)?))
        } else {
            None
        };
        let (states, work) = (root.join("states"), root.join("work"));
        Ok(Lab {
            source,
            target,
            ca_file: authority.ca_file,
            states,
            work,
            links,
            passes: 0,
            common: common.clone(),
            _temporary: temporary,
        })
    }

    /// The job for these mailboxes (with their octets).
    pub fn job(&self, users: Vec<(String, u64)>) -> Job {
        let (source_port, target_port) = match &self.links {
            Some((source, target)) => (source.port, target.port),
            None => (self.source.tls_port, self.target.tls_port),
        };
        Job {
            source_port,
            target_port,
            ca_file: self.ca_file.clone(),
            users,
            connections: self.common.connections,
            target_root: self.target.root.clone(),
            maildir: self.common.maildir_target,
            tls: true,
        }
    }

    /// Makes what lies in `states/NAME` the source's mail.
    pub fn show(&mut self, name: &str) -> Result<()> {
        self.source.stop()?;
        let mail = self.source.mail();
        fs::remove_dir_all(&mail)?;
        clone_tree(&self.states.join(name), &mail)?;
        self.source.run()
    }

    /// Keeps the source's mail as it is now as `states/NAME`.
    pub fn keep(&mut self, name: &str) -> Result<()> {
        self.source.stop()?;
        let state = self.states.join(name);
        if state.exists() {
            fs::remove_dir_all(&state)?;
        }
        fs::create_dir_all(&self.states)?;
        clone_tree(&self.source.mail(), &state)?;
        self.source.run()
    }

    /// Lets the source index all mail once, so that every tool meets the same warm server.
    pub fn index(&self, users: &[(String, u64)]) -> Result<()> {
        let mut lanes = vec![Vec::new(), Vec::new()];
        for (n, (user, _)) in users.iter().enumerate() {
            let conf = self.source.root.join("dovecot.conf");
            let words = [
                "doveadm".as_ref(),
                "-c".as_ref(),
                conf.as_os_str(),
                "index".as_ref(),
                "-u".as_ref(),
                user.as_ref(),
                "*".as_ref(),
            ];
            lanes[n % 2].push(proc::Argv::new(words));
        }
        let used = proc::run(&lanes, &self.work.join("index"))?;
        if used.exit == 0 { Ok(()) } else { Err(format!("doveadm index failed: {}", used.talk).into()) }
    }

    /// A fresh folder for a tool's configuration and state.
    pub fn fresh(&mut self, tool: Tool) -> Result<PathBuf> {
        self.passes += 1;
        let dir = self.work.join(format!("{}-{}", tool.name(), self.passes));
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        Ok(dir)
    }

    /// One pass of a tool whose configuration lies (or will lie) in `dir`.
    pub fn pass(&mut self, tool: Tool, dir: &Path, job: &Job) -> Result<Pass> {
        let lanes = tool.prepare(dir, job)?;
        self.passes += 1;
        let (source, target, busy) = (self.source.cpu()?, self.target.cpu()?, busy());
        let used = proc::run(&lanes, &dir.join(format!("pass-{}", self.passes)))?;
        let all = busy_since(busy);
        let (source_cpu, target_cpu) = (self.source.cpu()? - source, self.target.cpu()? - target);
        if job.maildir {
            own(&self.target.mail())?;
        }
        let other_cpu = (all - used.cpu() - source_cpu - target_cpu).max(0.0);
        Ok(Pass { used, source_cpu, target_cpu, other_cpu })
    }
}

/// CPU seconds the machine has been busy since it came up.
pub fn busy() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|t| t.parse().ok())
        .collect();
    // user, nice, system, (idle, iowait,) irq, softirq
    [0, 1, 2, 5, 6].iter().filter_map(|i| ticks.get(*i)).sum::<f64>() / 100.0
}

fn busy_since(before: f64) -> f64 {
    busy() - before
}

/// The machine and the programs, for the record.
pub fn facts(tools: &[Tool]) -> Value {
    let text = |program: &str, arguments: &[&str]| {
        let out = Command::new(program).args(arguments).output();
        out.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
    };
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory =
        memory.lines().next().unwrap_or_default().split_whitespace().nth(1).unwrap_or("0").to_owned();
    let dovecot =
        crate::server::binary().map(|b| text(&b.display().to_string(), &["--version"])).unwrap_or_default();
    let versions: serde_json::Map<String, Value> =
        tools.iter().map(|t| (t.name().to_owned(), Value::from(t.version()))).collect();
    json!({
        "cores": std::thread::available_parallelism().map(usize::from).unwrap_or(0),
        "memory_kib": memory.parse::<u64>().unwrap_or(0),
        "kernel": text("uname", &["-r"]),
        "load_before": fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        "dovecot": dovecot,
        "tools": versions,
    })
}

/// Writes the figures where they are wanted.
pub fn write_json(common: &Common, value: &Value) -> Result<()> {
    if let Some(path) = &common.json {
        fs::write(path, format!("{value:#}\n"))?;
        println!("figures in {}", path.display());
    }
    Ok(())
}

/// The median.
pub fn median(values: &[f64]) -> f64 {
    let mut all = values.to_vec();
    all.sort_by(f64::total_cmp);
    match all.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => all[n / 2],
        n => (all[n / 2 - 1] + all[n / 2]) / 2.0,
    }
}

//! What processes use, from `/proc`, and commands run and measured.
//!
//! CPU of a command: bash's `time`, that is getrusage of the finished child and its children, to the millisecond.
//! CPU of a server: the master's own time, that of the children it has waited for, and that of those still alive.
//! Peak memory: the sum of `VmHWM` over the processes of a lane, looked at every 10 ms.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::Result;

/// A command: program, arguments, and what is set in its environment.
#[derive(Debug, Clone, Default)]
pub struct Argv {
    words: Vec<OsString>,
    env: Vec<(String, OsString)>,
}

impl Argv {
    pub fn new(words: impl IntoIterator<Item = impl Into<OsString>>) -> Argv {
        Argv { words: words.into_iter().map(Into::into).collect(), env: Vec::new() }
    }

    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Argv {
        self.env.push((name.to_owned(), value.into()));
        self
    }
}

/// What a run used.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Used {
    /// Seconds on the clock.
    pub wall: f64,
    /// CPU seconds in user mode.
    pub user: f64,
    /// CPU seconds in the kernel.
    pub system: f64,
    /// Peak resident memory, octets, over all lanes together.
    pub peak_rss: u64,
    /// The worst exit code.
    pub exit: i32,
    /// The last lines it wrote to stderr, where the exit code is not 0.
    pub talk: String,
}

impl Used {
    pub fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// A command under way.
pub struct Started {
    child: Child,
    began: Instant,
    place: PathBuf,
    peak: Arc<Mutex<BTreeMap<u32, u64>>>,
    over: Arc<AtomicBool>,
    sampler: Option<std::thread::JoinHandle<()>>,
}

/// Starts a command; what it says goes to `PLACE.out` and `PLACE.err`.
pub fn start(argv: &Argv, place: &Path) -> Result<Started> {
    let file = |end: &str| place.with_extension(end);
    let mut command = Command::new("bash");
    command
        .arg("-c")
        .arg(r#"TIMEFORMAT="%3U %3S"; place=$1; shift; { time "$@" >"$place.out" 2>"$place.err"; } 2>"$place.time""#)
        .arg("bash")
        .arg(place)
        .args(&argv.words)
        .envs(argv.env.iter().map(|(n, v)| (n, v)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(file("bash"))?);
    let began = Instant::now();
    let child = command.spawn()?;
    let peak = Arc::new(Mutex::new(BTreeMap::new()));
    let over = Arc::new(AtomicBool::new(false));
    let (id, seen, stop) = (child.id(), peak.clone(), over.clone());
    let sampler = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            for pid in below(id) {
                if let (Some(octets), Ok(mut seen)) = (status(pid, "VmHWM:"), seen.lock()) {
                    seen.insert(pid, octets);
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    Ok(Started { child, began, place: place.to_owned(), peak, over, sampler: Some(sampler) })
}

impl Started {
    /// The process of the command itself, if it still runs.
    pub fn pid(&self) -> Option<u32> {
        children(self.child.id()).first().copied()
    }

    /// Has it ended?
    pub fn ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// What it wrote to stderr so far.
    pub fn talk(&self) -> String {
        fs::read_to_string(self.place.with_extension("err")).unwrap_or_default()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Result<Used> {
        let status = self.child.wait()?;
        let wall = self.began.elapsed().as_secs_f64();
        self.over.store(true, Ordering::Relaxed);
        if let Some(sampler) = self.sampler.take() {
            let _ = sampler.join();
        }
        let time = fs::read_to_string(self.place.with_extension("time")).unwrap_or_default();
        // Bash may say more on the same stream ("Killed"): the times are the last line.
        let mut times =
            time.lines().last().unwrap_or_default().split(' ').filter_map(|t| t.parse::<f64>().ok());
        let exit = status.code().unwrap_or(255);
        let talk = if exit == 0 { String::new() } else { tail(&self.talk(), 6) };
        let peak_rss = self.peak.lock().map(|p| p.values().sum()).unwrap_or(0);
        let (user, system) = (times.next().unwrap_or(0.0), times.next().unwrap_or(0.0));
        Ok(Used { wall, user, system, peak_rss, exit, talk })
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if matches!(self.child.try_wait(), Ok(None)) {
            if let Some(pid) = self.pid() {
                let _ = signal(pid, "KILL");
            }
            let _ = self.child.wait();
        }
    }
}

/// Runs lanes at the same time; the commands of a lane one after the other.
pub fn run(lanes: &[Vec<Argv>], place: &Path) -> Result<Used> {
    fs::create_dir_all(place)?;
    let began = Instant::now();
    let lanes: Vec<Result<Used>> = std::thread::scope(|scope| {
        let threads: Vec<_> = lanes
            .iter()
            .enumerate()
            .map(|(lane, commands)| {
                scope.spawn(move || {
                    let mut all = Used::default();
                    for (n, argv) in commands.iter().enumerate() {
                        let used = start(argv, &place.join(format!("lane{lane}-{n}")))?.wait()?;
                        all.user += used.user;
                        all.system += used.system;
                        all.peak_rss = all.peak_rss.max(used.peak_rss);
                        if used.exit > all.exit {
                            (all.exit, all.talk) = (used.exit, used.talk);
                        }
                    }
                    Ok(all)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|_| Err("a lane's thread panicked".into())))
            .collect()
    });
    let mut all = Used { wall: began.elapsed().as_secs_f64(), ..Used::default() };
    for lane in lanes {
        let lane = lane?;
        all.user += lane.user;
        all.system += lane.system;
        all.peak_rss += lane.peak_rss;
        if lane.exit > all.exit {
            (all.exit, all.talk) = (lane.exit, lane.talk);
        }
    }
    Ok(all)
}

/// Sends a signal by its name.
pub fn signal(pid: u32, name: &str) -> Result<()> {
    Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status()?;
    Ok(())
}

/// The last lines of a text, without control characters.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|p| p.parse().ok()).collect()
}

/// All processes below a process.
pub fn below(pid: u32) -> Vec<u32> {
    let mut all = children(pid);
    let mut at = 0;
    while let Some(pid) = all.get(at) {
        let more = children(*pid);
        all.extend(more);
        at += 1;
    }
    all
}

/// A field of `/proc/PID/status` that counts kB, in octets.
pub fn status(pid: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kb| kb * 1024)
}

/// CPU seconds of a server: of its master, of the children it has waited for, and of those alive.
pub fn tree_cpu(master: u32) -> f64 {
    let own = ticks(master);
    let alive: u64 = below(master).into_iter().map(ticks).sum();
    (own + alive) as f64 / ticks_per_second()
}

/// Ticks of a process and of the children it has waited for.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold blanks and brackets; the fields after it do not. utime is the 14th of all.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().skip(11).take(4).filter_map(|t| t.parse::<u64>().ok()).sum()
}

fn ticks_per_second() -> f64 {
    static TICKS: std::sync::OnceLock<f64> = std::sync::OnceLock::new();
    *TICKS.get_or_init(|| {
        let out = Command::new("getconf").arg("CLK_TCK").output().ok();
        out.and_then(|o| String::from_utf8_lossy(&o.stdout).trim().parse().ok()).unwrap_or(100.0)
    })
}

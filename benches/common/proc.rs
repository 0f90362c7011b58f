//! What processes use, from `/proc`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

/// Connections of this machine to a port of its own.
pub fn connections(port: u16) -> u64 {
    let to = format!(":{port:04X} 01");
    let count = |file: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let remote = |line: &str| {
            let mut words = line.split_whitespace().skip(2);
            Some(format!("{} {}", words.next()?, words.next()?))
        };
        text.lines().filter_map(remote).filter(|remote| remote.ends_with(&to)).count() as u64
    };
    count("/proc/net/tcp") + count("/proc/net/tcp6")
}

/// Resident memory in bytes: now (`VmRSS:`) or at its peak (`VmHWM:`).
pub fn memory(place: &Path, which: &str) -> u64 {
    let text = fs::read_to_string(place.join("status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(which));
    line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Seconds of CPU.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct Cpu {
    /// In user mode.
    pub user: f64,
    /// In the kernel.
    pub system: f64,
}

impl Cpu {
    pub fn seconds(self) -> f64 {
        self.user + self.system
    }
}

impl std::ops::Sub for Cpu {
    type Output = Cpu;

    fn sub(self, before: Cpu) -> Cpu {
        Cpu { user: self.user - before.user, system: self.system - before.system }
    }
}

/// Waits until a child has ended, looking so often, and gives the CPU it used.
pub fn spent(child: &Child, every: Duration) -> Cpu {
    let place = PathBuf::from(format!("/proc/{}", child.id()));
    let mut used = Cpu::default();
    loop {
        let (ended, cpu) = cpu(&place);
        if cpu.seconds() > 0.0 {
            used = cpu;
        }
        if ended {
            return used;
        }
        std::thread::sleep(every);
    }
}

/// Has the process ended, and what CPU has it used, its own and that of children it waited for?
pub fn cpu(place: &Path) -> (bool, Cpu) {
    let text = fs::read_to_string(place.join("stat")).unwrap_or_default();
    let Some((_, rest)) = text.rsplit_once(')') else { return (true, Cpu::default()) };
    let words: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| words.get(at).and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
    // In hundredths of a second on every Linux there is.
    let cpu = Cpu { user: (ticks(11) + ticks(13)) / 100.0, system: (ticks(12) + ticks(14)) / 100.0 };
    (words.first() == Some(&"Z"), cpu)
}

/// Seconds of CPU all of the machine has used since it started, and of them those that a host gave to others.
pub fn machine() -> (f64, f64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let words = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<f64> = words.map(|word| word.parse().unwrap_or(0.0) / 100.0).collect();
    let of = |at: usize| ticks.get(at).copied().unwrap_or(0.0);
    // user, nice, system, idle, iowait, irq, softirq, steal
    (of(0) + of(1) + of(2) + of(5) + of(6) + of(7), of(7))
}

/// Octets of the files in a directory whose names begin so.
pub fn files(dir: &Path, begin: &str) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let of = |e: fs::DirEntry| {
        let named = e.file_name().to_string_lossy().starts_with(begin);
        if named { e.metadata().map_or(0, |m| m.len()) } else { 0 }
    };
    entries.flatten().map(of).sum()
}

//! Counting the instructions of a process.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Is valgrind here? Else why not.
pub fn is_here() -> Result<(), String> {
    match Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("valgrind ends with {status}")),
        Err(e) => Err(format!("valgrind cannot be started: {e} (Debian: apt-get install valgrind)")),
    }
}

/// Instructions of this program with these words, all of its threads together. `without`: functions whose instructions, and
/// those of what they call, do not count. `out`: where the profile goes.
///
/// Valgrind shows every program the same processor as far as the real one has its extensions. The allocator gives nothing
/// back by the clock, and has one arena: how many there are follows from the processors else.
pub fn count(words: &[String], without: Option<&str>, out: Option<PathBuf>) -> Result<u64, String> {
    let out = out.unwrap_or_else(|| PathBuf::from("/dev/null"));
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--cache-sim=no", "--branch-sim=no", "--collect-atstart=yes"]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.args(without.map(|name| format!("--toggle-collect={name}")));
    command.arg(std::env::current_exe().unwrap()).args(words);
    command.env("_RJEM_MALLOC_CONF", "narenas:1,dirty_decay_ms:-1,muzzy_decay_ms:-1");
    let done = command.stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&done.stderr);
    let collected = said.lines().rev().find_map(|line| line.split_once("Collected :"));
    match collected.and_then(|(_, count)| count.trim().parse().ok()) {
        Some(count) if done.status.success() => Ok(count),
        _ => {
            let last: Vec<&str> = said.lines().rev().take(8).collect();
            Err(format!("{} ended with {}: {}", words.join(" "), done.status, last.join(" | ")))
        }
    }
}

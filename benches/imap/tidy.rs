//! Ended by SIGINT or SIGTERM the bench takes along what it began: tools, servers, temporary folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::{Result, proc};

/// Temporary folders that are there.
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes this folder, too, if the bench is ended by a signal.
pub fn along(folder: &Path) {
    FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).push(folder.to_owned());
}

/// Waits for signals from now on, on a thread of its own.
pub fn on_signals() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        let code = runtime.block_on(async {
            tokio::select! {
                biased;
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            }
        });
        eprintln!("bench-imap: stopped; cleaning up");
        clean_up();
        std::process::exit(code);
    });
    Ok(())
}

fn clean_up() {
    // A master ends its children itself; it would start dead ones anew.
    let servers = own_children(true);
    for pid in &servers {
        let _ = proc::signal(*pid, "TERM");
    }
    for pid in own_children(false) {
        let below = proc::below(pid);
        for pid in std::iter::once(pid).chain(below) {
            let _ = proc::signal(pid, "KILL");
        }
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while servers.iter().any(|pid| runs(*pid)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    for folder in FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // What the main thread was about to write may still come.
        for _ in 0..20 {
            let _ = fs::remove_dir_all(folder);
            if !folder.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The processes any thread of ours started: the servers, or all the others.
fn own_children(servers: bool) -> Vec<u32> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let text = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let children = threads.flat_map(|thread| {
        let list = text(thread.path().join("children"));
        list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
    });
    children.filter(|pid| (text(format!("/proc/{pid}/comm").into()).trim() == "dovecot") == servers).collect()
}

/// Is it there, and more than a remainder nobody has waited for?
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

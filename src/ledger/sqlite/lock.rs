//! One process at a time, and the memory of whether the last one ended in order.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use super::error::io;
use crate::model::{Error, Kind, Result, Scope};

/// In the lock file while the write-ahead log must exist.
const RUNNING: &str = "running";

/// The held lock. Let go when dropped.
pub(super) struct Lock {
    file: File,
    /// The process before us ended without closing the ledger.
    pub was_running: bool,
}

/// What a lock file says, for those who do not take it.
pub(super) struct LockSeen {
    /// The process that wrote it last did not close the ledger in order, or is still at it.
    pub running: bool,
    /// The number of the process that holds it.
    pub holder: Option<String>,
}

/// Looks at the lock file without changing it. None: as after a close in order.
///
/// # Errors
/// `Kind::Ledger` if it cannot be read.
pub(super) fn look(path: &Path) -> Result<LockSeen> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(LockSeen { running: false, holder: None });
        }
        Err(e) => return Err(io("the ledger's lock cannot be opened", &e)),
    };
    // A shared lock, given back at once: refused while a process writes.
    let held = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    let (text, pid) = read(&mut file).map_err(|e| io("the ledger's lock cannot be read", &e))?;
    Ok(LockSeen { running: text.contains(RUNNING) && !held, holder: held.then_some(pid) })
}

/// No more than a line of ours is read, whatever lies there. Returns it and the number in it.
fn read(file: &mut File) -> std::io::Result<(String, String)> {
    let mut text = Vec::new();
    file.take(64).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let pid: String =
        text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    Ok((text, if pid.is_empty() { "unknown".to_owned() } else { pid }))
}

/// How often a taken lock is tried again, every 20 ms.
const PATIENCE: u32 = 25;

impl Lock {
    /// Takes the lock file of the ledger.
    ///
    /// # Errors
    /// `Kind::Ledger`, `Scope::Run` if another process has it; its number is told.
    pub(super) fn take(path: &Path) -> Result<Lock> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(|e| io("the ledger's lock cannot be opened", &e))?;
        // The one who had it may be on its way out (or a child of its, not yet the program it becomes, may still hold
        // the descriptor): a short wait tells that from a process that stays.
        let mut locked = file.try_lock();
        for _ in 0..PATIENCE {
            if !matches!(locked, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
            locked = file.try_lock();
        }
        let read = read(&mut file);
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = read.map_or_else(|_| "unknown".to_owned(), |(_, pid)| pid);
                let what = format!("another mailwave process (pid {pid}) is using this ledger");
                return Err(Error::new(Kind::Ledger, Scope::Run, what)
                    .remedy("wait for it or stop it; `mailwave status` reads beside it"));
            }
            Err(TryLockError::Error(e)) => return Err(io("the ledger's lock cannot be taken", &e)),
        }
        let (text, _) = read.map_err(|e| io("the ledger's lock cannot be read", &e))?;
        let mut lock = Lock { file, was_running: text.contains(RUNNING) };
        if !lock.was_running {
            lock.write("")?;
        }
        Ok(lock)
    }

    /// From now on the write-ahead log exists until [`Lock::closing`]: its absence means that it was lost.
    pub(super) fn running(&mut self) -> Result<()> {
        self.write(RUNNING)
    }

    /// The ledger is about to be closed in order.
    pub(super) fn closing(&mut self) -> Result<()> {
        self.write("")
    }

    fn write(&mut self, state: &str) -> Result<()> {
        let text = format!("pid {} {state}\n", std::process::id());
        let file = &mut self.file;
        let written = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(text.as_bytes()))
            .and_then(|()| file.sync_data());
        written.map_err(|e| io("the ledger's lock cannot be written", &e))
    }
}

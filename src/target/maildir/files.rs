//! Small things done to files: made privately, synced, renamed, named.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::env::Env;
use crate::guard::files::{NotOpened, open_regular, say};
use crate::model::{Error, Kind, Scope};

use super::Fsync;

/// Holds the mailbox's id, in its root. A Maildir++ reader takes no file for a folder.
pub(super) const IDENTITY: &str = ".mailwave-identity";
/// Holds a folder's id, in its directory.
pub(super) const FOLDER_ID: &str = "mailwave-folder";

/// Makes a directory for its owner only; one that is there is fine, a link to one too (the caller looks at that).
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

/// Makes a file for its owner only; it must not exist.
pub(super) fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Forces a directory's entries to the disk.
pub(super) fn sync_dir(path: &Path, fsync: Fsync) -> io::Result<()> {
    match fsync {
        Fsync::Never => Ok(()),
        Fsync::Always | Fsync::Batch => File::open(path)?.sync_all(),
    }
}

/// Forces the entries of a directory and of those above it, up to `top`, to the disk: what lies in a directory is worth
/// no more than its name. Also if it was there: a run that was cut may have made it and not come to this.
pub(super) fn sync_way(top: &Path, dir: &Path, fsync: Fsync) -> io::Result<()> {
    for at in dir.ancestors().take_while(|at| at.starts_with(top)) {
        // A relative path begins here.
        let named = if at.as_os_str().is_empty() { Path::new(".") } else { at };
        match sync_dir(named, fsync) {
            // One above ours that we may not even read was not made by us.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && at == top => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// Writes a file so that readers see the old content or the new, through `beside` (which must not exist).
pub(super) fn replace(path: &Path, beside: &Path, content: &[u8], fsync: Fsync) -> io::Result<()> {
    let mut file = new_file(beside)?;
    let written = file.write_all(content).and_then(|()| match fsync {
        Fsync::Never => Ok(()),
        Fsync::Always | Fsync::Batch => file.sync_all(),
    });
    written.and_then(|()| std::fs::rename(beside, path)).inspect_err(|_| {
        // The leftover is ours and worth nothing.
        let _ = std::fs::remove_file(beside);
    })
}

/// Reads at most `limit` bytes of a plain file; `None` if it is not there.
pub(super) fn read_small(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    match open_regular(path) {
        Ok((file, _)) => {
            let mut bytes = Vec::new();
            file.take(limit).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        }
        Err(NotOpened::Gone) => Ok(None),
        Err(NotOpened::NotAFile) => Err(io::ErrorKind::InvalidData.into()),
        Err(NotOpened::Io(e)) => Err(e),
    }
}

/// The id in a file; a new one is put there if there is none. An id is 32 hexadecimal digits.
pub(super) fn identity(path: &Path, env: &Env, fsync: Fsync) -> io::Result<String> {
    if let Some(id) = read_id(path)? {
        return Ok(id);
    }
    let mut hasher = blake3::Hasher::new();
    for part in [env.random(u64::MAX), env.random(u64::MAX)] {
        hasher.update(&part.to_le_bytes());
    }
    hasher.update(&env.wall().to_le_bytes());
    let id = hasher.finalize().to_hex()[..32].to_owned();
    let beside = path.with_extension(format!("{}.tmp", &id[..16]));
    let mut file = new_file(&beside)?;
    let written = file.write_all(id.as_bytes()).and_then(|()| match fsync {
        Fsync::Never => Ok(()),
        Fsync::Always | Fsync::Batch => file.sync_all(),
    });
    // A link, not a rename: if another process was faster, its id counts.
    let linked = written.and_then(|()| match std::fs::hard_link(&beside, path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    std::fs::remove_file(&beside)?;
    linked?;
    if let Some(parent) = path.parent() {
        sync_dir(parent, fsync)?;
    }
    read_id(path)?.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The id in a file, if there is one.
pub(super) fn read_id(path: &Path) -> io::Result<Option<String>> {
    let Some(bytes) = read_small(path, 64)? else { return Ok(None) };
    let id = String::from_utf8_lossy(&bytes).trim().to_owned();
    let fits = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    if fits { Ok(Some(id)) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// An I/O failure as an error an operator can act on.
pub(super) fn failed(e: &io::Error, scope: Scope, what: &str) -> Error {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let what = format!("{what} ({})", say(e));
    match e.kind() {
        StorageFull | QuotaExceeded => Error::temporary(Kind::Quota, scope, what)
            .remedy("free space on the target's disk, then run again"),
        PermissionDenied | ReadOnlyFilesystem => {
            Error::new(Kind::Denied, scope, what).remedy("give this program the right to write there")
        }
        _ => Error::temporary(Kind::Io, scope, what).remedy("check the target's disk"),
    }
}

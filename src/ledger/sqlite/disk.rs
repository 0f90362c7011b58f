//! Where a ledger may lie: SQLite's write-ahead log needs memory shared by its processes and locks that hold, which file
//! systems of a network do not give. A ledger on one would work until the day it is damaged.

use std::path::Path;

use crate::guard::Shown;
use crate::model::{Error, Kind, Result, Scope};

/// Where Linux tells what is mounted; elsewhere nothing is known, and nothing refused.
const MOUNTS: &str = "/proc/self/mountinfo";
/// Types of file systems that lie on other machines, or on several.
const REMOTE: [&str; 18] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "smb2",
    "9p",
    "afs",
    "ceph",
    "coda",
    "ncpfs",
    "glusterfs",
    "lustre",
    "beegfs",
    "gpfs",
    "ocfs2",
    "gfs2",
    "pvfs2",
];
/// The same, by programs (`fuse.NAME`).
const BY_PROGRAM: [&str; 17] = [
    "sshfs",
    "rclone",
    "s3fs",
    "goofys",
    "mount-s3",
    "gcsfuse",
    "blobfuse",
    "blobfuse2",
    "davfs",
    "davfs2",
    "curlftpfs",
    "ceph",
    "ceph-fuse",
    "glusterfs",
    "smbnetfs",
    "juicefs",
    "seaweedfs",
];

/// Refuses a directory on a file system of a network.
///
/// # Errors
/// `Kind::Ledger`, `Scope::Run`.
pub(super) fn refuse_network(dir: &Path) -> Result<()> {
    let Ok(mounts) = std::fs::read(MOUNTS) else { return Ok(()) };
    // It may not be there yet: what lies above it is.
    let here = dir.ancestors().map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    let Some(real) = here.filter_map(|above| above.canonicalize().ok()).next() else { return Ok(()) };
    match network_of(&String::from_utf8_lossy(&mounts), &real) {
        None => Ok(()),
        Some(kind) => {
            let what = format!("the ledger would lie on a file system of a network ({})", Shown(&kind));
            Err(Error::new(Kind::Ledger, Scope::Run, what).remedy(
                "put it on a local disk (`ledger`); a run can be damaged there by a lost connection. If you know that \
                 this one is safe, set `ledger_on_network = true`",
            ))
        }
    }
}

/// The type of the file system that a directory lies on, if it is one of a network; by the text of
/// `/proc/self/mountinfo` (proc_pid_mountinfo(5)). `dir` is absolute and without links.
fn network_of(mounts: &str, dir: &Path) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let Some(at) = fields.nth(4).map(unescape) else { continue };
        // Optional fields end with a hyphen.
        let Some(kind) = fields.skip_while(|field| *field != "-").nth(1) else { continue };
        // What is mounted later lies above what was there.
        if dir.starts_with(Path::new(&at)) && best.is_none_or(|(length, _)| at.len() >= length) {
            best = Some((at.len(), kind));
        }
    }
    let (_, kind) = best?;
    let remote = match kind.split_once('.') {
        Some(("fuse", program)) => BY_PROGRAM.contains(&program),
        _ => REMOTE.contains(&kind),
    };
    remote.then(|| kind.to_owned())
}

/// Spaces, tabs, line ends and backslashes are written as three octal digits.
fn unescape(field: &str) -> String {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\').and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(octet) => {
                out.push(octet);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:40 / /srv/mail rw,relatime shared:20 - nfs4 filer:/vol/mail rw,vers=4.2,proto=tcp
31 30 8:17 / /srv/mail/local rw,relatime - xfs /dev/sdb1 rw
32 21 0:41 / /mnt/with\\040space rw,relatime master:7 propagate_from:2 - cifs //filer/share rw,vers=3.1.1
33 21 0:42 / /mnt/host rw,relatime - 9p host rw,trans=virtio
34 21 0:43 / /mnt/far rw,nosuid - fuse.sshfs user@far:/ rw
35 21 0:44 / /mnt/near rw,nosuid - fuse.mergerfs pool rw
36 21 0:45 / /mnt/disk rw,relatime - fuseblk /dev/sdc1 rw
37 21 0:46 / /over rw,relatime - nfs filer:/a rw
38 37 8:33 / /over rw,relatime - ext4 /dev/sdd1 rw
nonsense
39 21
";

    #[test]
    fn a_ledger_on_a_file_system_of_a_network_is_recognised_by_what_is_mounted() {
        for (dir, kind) in [
            ("/var/lib/mailwave", None),
            ("/srv/mail", Some("nfs4")),
            ("/srv/mail/ledger", Some("nfs4")),
            ("/srv/mailboxes", None),
            ("/srv/mail/local/ledger", None),
            ("/mnt/with space/a", Some("cifs")),
            ("/mnt/host", Some("9p")),
            ("/mnt/far/a", Some("fuse.sshfs")),
            ("/mnt/near/a", None),
            ("/mnt/disk/a", None),
            ("/over/a", None),
        ] {
            assert_eq!(network_of(MOUNTS, Path::new(dir)).as_deref(), kind, "{dir}");
        }
        assert_eq!(network_of("", Path::new("/a")), None);
    }

    #[test]
    fn this_machines_own_mounts_can_be_read() {
        let mounts = std::fs::read_to_string(super::MOUNTS).expect("Linux tells its mounts");
        assert_eq!(network_of(&mounts, Path::new("/proc/self")), None);
        let remote = mounts.lines().filter(|line| line.contains(" - 9p ") || line.contains(" - nfs"));
        for at in remote.filter_map(|line| line.split(' ').nth(4)).map(unescape) {
            assert!(network_of(&mounts, Path::new(&at)).is_some(), "{at}");
        }
        refuse_network(Path::new("/dev/shm/not/there/yet")).expect("memory is no network");
    }
}

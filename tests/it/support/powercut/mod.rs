//! Power cuts for the real program, by a library loaded before it (`powercut.c`, compiled here): it keeps beside the
//! files what was synced. After the kill the disk is what was synced, and of the rest what dice leave: nothing, all, or some
//! sectors of it, and names of either time.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

/// The smallest piece of a file that a disk writes whole.
const SECTOR: usize = 512;

/// The compiled library; `None` (and a line that says so) where there is no C compiler.
pub fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/powercut/powercut.c");
        let library = dir.join(format!("powercut-{}.so", std::process::id()));
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .args([&library, &source])
            .args(["-ldl", "-lpthread"])
            .status();
        made.is_ok_and(|status| status.success()).then_some(library)
    });
    if library.is_none() {
        println!("skipped: power cuts and disk errors need a C compiler (cc)");
    }
    library.as_deref()
}

/// A directory on a disk that loses power.
pub struct Disk {
    /// What lies on it.
    pub root: PathBuf,
    shadow: PathBuf,
    library: &'static Path,
}

impl Disk {
    /// An empty one, below `home`; `None` where there can be none.
    pub fn new(home: &Path) -> Option<Disk> {
        let library = library()?;
        let home = home.canonicalize().unwrap();
        let (root, shadow) = (home.join("disk"), home.join("shadow"));
        fs::create_dir(&root).unwrap();
        let disk = Disk { root, shadow, library };
        disk.all_is_durable();
        Some(disk)
    }

    /// Runs a program on it, which is killed before its `kill_at`th sync.
    pub fn attach(&self, command: &mut Command, kill_at: Option<u64>) {
        command
            .env("LD_PRELOAD", self.library)
            .env("POWERCUT_ROOT", &self.root)
            .env("POWERCUT_SHADOW", &self.shadow)
            .env("POWERCUT_COUNT", self.shadow.join("count"));
        if let Some(at) = kill_at {
            command.env("POWERCUT_KILL_AT", at.to_string());
        }
    }

    /// The power was cut: the disk has what was synced, and some of the rest. Returns how many files are not as the
    /// program left them.
    pub fn lose(&self, dice: &mut fastrand::Rng) -> usize {
        let mut live = BTreeMap::new();
        inodes(&self.root, &mut live);
        let left = self.root.with_extension("left");
        fs::create_dir(&left).unwrap();
        let lost = self.rebuild(&self.root, &left, &live, dice);
        fs::remove_dir_all(&self.root).unwrap();
        fs::rename(&left, &self.root).unwrap();
        self.all_is_durable();
        lost
    }

    fn rebuild(
        &self,
        was: &Path,
        to: &Path,
        live: &BTreeMap<String, PathBuf>,
        dice: &mut fastrand::Rng,
    ) -> usize {
        let synced = fs::read_to_string(self.shadow.join("dirs").join(key(was))).unwrap_or_default();
        let names = match dice.u8(..3) {
            0 => listing(was), // what was not synced may have come through all the same
            _ => synced,
        };
        let mut lost = 0;
        for line in names.lines() {
            let mut parts = line.splitn(3, ' ');
            let (kind, key, name) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
            let to = to.join(name);
            let now = live.get(key);
            if kind == "d" {
                fs::create_dir(&to).unwrap();
                fs::set_permissions(&to, fs::Permissions::from_mode(0o700)).unwrap();
                if let Some(now) = now {
                    lost += self.rebuild(now, &to, live, dice);
                }
                continue;
            }
            // A socket is nothing of a disk's.
            if now.is_some_and(|now| !fs::symlink_metadata(now).unwrap().is_file()) {
                continue;
            }
            let durable = fs::read(self.shadow.join("data").join(key)).unwrap_or_default();
            let now_octets = now.map_or_else(|| durable.clone(), |now| fs::read(now).unwrap());
            let left = mixed(&durable, &now_octets, dice);
            lost += usize::from(left != now_octets);
            fs::write(&to, left).unwrap();
            let mode = now.map_or(0o600, |now| fs::metadata(now).unwrap().mode());
            fs::set_permissions(&to, fs::Permissions::from_mode(mode)).unwrap();
            if let Some(changed) = now.and_then(|now| fs::metadata(now).unwrap().modified().ok()) {
                fs::File::options().append(true).open(&to).unwrap().set_modified(changed).unwrap();
            }
        }
        lost
    }

    /// What lies there now is durable, all of it.
    pub fn all_is_durable(&self) {
        let _ = fs::remove_dir_all(&self.shadow);
        for sub in ["data", "dirs"] {
            fs::create_dir_all(self.shadow.join(sub)).unwrap();
        }
        let mut live = BTreeMap::new();
        inodes(&self.root, &mut live);
        for (key, path) in live {
            if path.is_dir() {
                fs::write(self.shadow.join("dirs").join(key), listing(&path)).unwrap();
            } else {
                fs::copy(&path, self.shadow.join("data").join(key)).unwrap();
            }
        }
    }
}

/// What is left of a file: what was synced, what is there now, or some sectors of each.
fn mixed(durable: &[u8], now: &[u8], dice: &mut fastrand::Rng) -> Vec<u8> {
    match dice.u8(..4) {
        0 | 1 => durable.to_vec(),
        2 => now.to_vec(),
        _ => {
            let length = dice.usize(durable.len().min(now.len())..=durable.len().max(now.len()));
            let octet = |of: &[u8], at: usize| of.get(at).copied().unwrap_or(0);
            let mut out = Vec::with_capacity(length);
            for sector in 0..length.div_ceil(SECTOR) {
                let of = if dice.bool() { now } else { durable };
                out.extend((sector * SECTOR..length.min((sector + 1) * SECTOR)).map(|at| octet(of, at)));
            }
            out
        }
    }
}

/// As `powercut.c` names an inode.
fn key(path: &Path) -> String {
    let meta = fs::symlink_metadata(path).unwrap();
    let made = meta.created().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    format!("{}-{}", meta.ino(), made.map_or(0, |t| t.as_nanos()))
}

fn listing(dir: &Path) -> String {
    let mut out = String::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = if path.is_dir() { 'd' } else { 'f' };
        out.push_str(&format!("{kind} {} {}\n", key(&path), path.file_name().unwrap().to_str().unwrap()));
    }
    out
}

fn inodes(dir: &Path, all: &mut BTreeMap<String, PathBuf>) {
    all.insert(key(dir), dir.to_owned());
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            inodes(&path, all);
        } else {
            all.insert(key(&path), path);
        }
    }
}

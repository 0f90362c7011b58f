//! One reading of a folder's `new` and `cur`.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::guard::files::{file_name, file_text, open_regular, say};
use crate::model::{Digest, Error, Hasher, Kind, Listed, Result, Scope, SourceId, Timestamp};
use crate::source::Listing;

use super::uidlist::{self, Uidlist};
use super::{MaildirSettings, Numbers, Received, name};

/// Largest `dovecot-keywords` file read, in bytes.
const MAX_KEYWORDS: u64 = 64 << 10;

/// A message file as the directory shows it.
#[derive(Debug)]
pub(super) struct Entry {
    /// Base name: the message's name, unique in the folder.
    pub(super) base: String,
    /// `new` or `cur`.
    pub(super) sub: &'static str,
    /// File name.
    pub(super) file: OsString,
    /// Size of the file, in bytes.
    size: u64,
    /// Modification time, in seconds since 1970.
    mtime: i64,
    /// Device and inode.
    inode: (u64, u64),
    /// Dovecot's number, if the whole folder has them.
    number: Option<u64>,
}

/// What a folder held when its directory was read.
#[derive(Debug)]
pub(super) struct Scan {
    /// The folder's handle.
    pub(super) handle: String,
    dir: PathBuf,
    /// Sorted by base name.
    entries: Vec<Entry>,
    /// Dovecot's numbers, ascending, and where their entries are; empty without them.
    by_number: Vec<(u64, usize)>,
    /// Keywords by letter.
    pub(super) keywords: Vec<Option<String>>,
    epoch: u64,
    next: u64,
}

impl Scan {
    /// Reads a folder.
    ///
    /// # Errors
    /// `Scope::Folder`: it is a link, or gone, or cannot be read.
    pub(super) fn of(root: &Path, handle: &str, settings: &MaildirSettings) -> Result<Scan> {
        let dir = directory(root, handle)?;
        // The list is read before the directory: what comes between is a message without a number, never the
        // number of a message that is not there.
        let list = match settings.numbers {
            Numbers::Uidlist => uidlist::read(&dir),
            Numbers::Ledger => None,
        };
        let mut entries = read_still(&dir)?;
        entries.sort_by(|a, b| (&a.base, a.sub, &a.file).cmp(&(&b.base, b.sub, &b.file)));
        let entries = apart(&dir, entries);
        let mut scan = Scan {
            handle: handle.to_owned(),
            keywords: keywords(&dir),
            dir,
            entries,
            by_number: Vec::new(),
            epoch: 0,
            next: 0,
        };
        if let Some(list) = list {
            scan.number(&list);
        }
        Ok(scan)
    }

    /// Takes the list's numbers if every message has one.
    fn number(&mut self, list: &Uidlist) {
        if self.entries.iter().all(|e| list.numbers.contains_key(&e.base)) {
            for entry in &mut self.entries {
                entry.number = list.numbers.get(&entry.base).copied();
            }
            let numbers = self.entries.iter().enumerate();
            self.by_number = numbers.filter_map(|(at, e)| e.number.map(|n| (n, at))).collect();
            self.by_number.sort_unstable();
            self.epoch = list.epoch;
            self.next = list.next;
        }
    }

    pub(super) fn listing(&self) -> Listing {
        Listing { epoch: self.epoch, next: self.next, ..Listing::default() }
    }

    /// # Errors
    /// `Conflict`: the folder has another epoch by now.
    pub(super) fn check_epoch(&self, epoch: u64) -> Result<()> {
        if self.epoch == epoch {
            return Ok(());
        }
        Err(Error::temporary(Kind::Conflict, Scope::Folder, "the folder was numbered anew while it was read"))
    }

    /// The file of a message, if it is there.
    pub(super) fn find(&self, id: &SourceId) -> Option<&Entry> {
        match id {
            SourceId::Name(base) => {
                let at = self.entries.binary_search_by(|e| e.base.as_str().cmp(base)).ok()?;
                self.entries.get(at)
            }
            SourceId::Number(number) => {
                let at = self.by_number.binary_search_by_key(number, |(n, _)| *n).ok()?;
                self.entries.get(self.by_number.get(at)?.1)
            }
        }
    }

    pub(super) fn path(&self, entry: &Entry) -> PathBuf {
        self.dir.join(entry.sub).join(&entry.file)
    }

    /// Tells every message: by number, else by received date and base name.
    pub(super) fn tell(&self, settings: &MaildirSettings, sink: &mut (dyn FnMut(Listed) + Send)) {
        let mut order: Vec<&Entry> = self.entries.iter().collect();
        order.sort_by_key(|e| (e.number, received(e, settings), &e.base));
        for entry in order {
            let file = file_text(&entry.file);
            sink(Listed {
                id: match entry.number {
                    Some(number) => SourceId::Number(number),
                    None => SourceId::Name(entry.base.clone()),
                },
                // With CRLF if Dovecot noted it; else the file's own size, a little less than what will come.
                size: Some(name::size(&entry.base, "W=").unwrap_or(entry.size)),
                received: Some(Timestamp::utc(received(entry, settings))),
                flags: name::flags(name::letters(&file), &self.keywords),
                object: 0,
            });
        }
    }
}

/// When a message was received, in seconds since 1970.
pub(super) fn received(entry: &Entry, settings: &MaildirSettings) -> i64 {
    match settings.received {
        Received::Mtime => entry.mtime,
        Received::Name => name::seconds(&entry.base).unwrap_or(entry.mtime),
    }
}

/// The directory of a folder. None of its steps below the root may be a link.
fn directory(root: &Path, handle: &str) -> Result<PathBuf> {
    let mut dir = root.to_path_buf();
    if handle == "." {
        return Ok(dir);
    }
    for part in handle.split('/') {
        if part.is_empty() || part == "." || part == ".." {
            return Err(Error::new(Kind::NotFound, Scope::Folder, "the folder holds no messages of its own"));
        }
        dir.push(file_name(part));
        let seen = dir.symlink_metadata().map_err(|e| unreadable(&e))?;
        if seen.file_type().is_symlink() {
            return Err(Error::new(
                Kind::Denied,
                Scope::Folder,
                "the folder's directory is a link, which is not followed",
            )
            .remedy("replace the link by the directory it points to, or leave the folder out"));
        }
    }
    Ok(dir)
}

fn unreadable(e: &io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::NotFound => {
            Error::new(Kind::NotFound, Scope::Folder, "the folder's directory is gone")
        }
        _ => {
            Error::new(Kind::Io, Scope::Folder, format!("the folder's directory cannot be read ({})", say(e)))
                .remedy("give this program the right to read it")
        }
    }
}

/// Readings of a folder that is being changed, before it counts as busy.
const READINGS: usize = 8;

/// Reads `new` and `cur` while nobody renames in them. A reading during which a directory changed may miss a message
/// that was renamed meanwhile (a flag set, `new` → `cur`), and a missed message looks like a deleted one.
fn read_still(dir: &Path) -> Result<Vec<Entry>> {
    let changed = |sub: &str| dir.join(sub).metadata().map(|m| (m.mtime(), m.mtime_nsec())).ok();
    for _ in 0..READINGS {
        let before = [changed("new"), changed("cur")];
        let mut entries = Vec::new();
        let mut still = true;
        for sub in ["new", "cur"] {
            still &= read_sub(dir, sub, &mut entries)?;
        }
        if still && before == [changed("new"), changed("cur")] {
            return Ok(entries);
        }
    }
    Err(Error::temporary(
        Kind::Conflict,
        Scope::Folder,
        "the folder changed again and again while it was read",
    )
    .remedy("run again when its user is quiet"))
}

/// Reads one directory; `false`: a file went away while it was read.
fn read_sub(dir: &Path, sub: &'static str, out: &mut Vec<Entry>) -> Result<bool> {
    let at = dir.join(sub);
    match at.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // A missing `cur` or `new` is an empty one, as long as the folder itself is there.
            return dir.symlink_metadata().map(|_| true).map_err(|e| unreadable(&e));
        }
        Err(e) => return Err(unreadable(&e)),
        Ok(seen) if !seen.is_dir() => {
            return Err(Error::new(
                Kind::Denied,
                Scope::Folder,
                "the folder's cur or new is a link or a file",
            )
            .remedy("replace it by a directory"));
        }
        Ok(_) => {}
    }
    let mut still = true;
    for entry in std::fs::read_dir(at).map_err(|e| unreadable(&e))? {
        let entry = entry.map_err(|e| unreadable(&e))?;
        let file = entry.file_name();
        let text = file_text(&file);
        if text.starts_with('.') {
            continue; // not a message (maildir(5))
        }
        let seen = match entry.metadata() {
            Ok(seen) => seen,
            // Gone since the directory was read: renamed or expunged.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                still = false;
                continue;
            }
            Err(e) => return Err(unreadable(&e)),
        };
        if seen.is_dir() {
            continue;
        }
        out.push(Entry {
            base: name::base(&text).to_owned(),
            sub,
            file,
            size: seen.len(),
            mtime: seen.mtime(),
            inode: (seen.dev(), seen.ino()),
            number: None,
        });
    }
    Ok(still)
}

/// Gives files of one base name different names. Normally there is one, or for a moment two while it is renamed: the
/// same octets count once, the one in `cur` with the most flags stays. Different octets are different messages: each is
/// then named by its content too, so that neither takes the other's place in the ledger.
fn apart(dir: &Path, entries: Vec<Entry>) -> Vec<Entry> {
    let mut out: Vec<Entry> = Vec::with_capacity(entries.len());
    let mut rest = entries.into_iter().peekable();
    while let Some(first) = rest.next() {
        let mut group = vec![first];
        while let Some(next) = rest.next_if(|e| e.base == group[0].base) {
            group.push(next);
        }
        if group.len() == 1 || group.iter().all(|e| e.inode == group[0].inode) {
            out.extend(group.into_iter().min_by_key(|e| (e.sub, std::cmp::Reverse(e.file.len()))));
            continue;
        }
        let mut named: Vec<(Option<Digest>, Entry)> =
            group.into_iter().map(|e| (digest(&dir.join(e.sub).join(&e.file)), e)).collect();
        named.sort_by_key(|(digest, e)| (*digest, e.sub, std::cmp::Reverse(e.file.len())));
        named.dedup_by_key(|(digest, _)| *digest);
        let several = named.len() > 1;
        for (digest, mut entry) in named {
            if several {
                let content = digest.map_or_else(|| "unreadable".to_owned(), |d| d.to_hex()[..32].to_owned());
                entry.base = format!("{}:{content}", entry.base);
            }
            out.push(entry);
        }
    }
    out.sort_by(|a, b| a.base.cmp(&b.base));
    out
}

fn digest(path: &Path) -> Option<Digest> {
    let (mut file, _) = open_regular(path).ok()?;
    let mut hasher = Hasher::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match file.read(&mut piece).ok()? {
            0 => return Some(hasher.finish()),
            n => hasher.update(&piece[..n]),
        }
    }
}

/// A folder's keywords; none if there is no file or it cannot be read (the letters then say nothing).
fn keywords(dir: &Path) -> Vec<Option<String>> {
    let mut bytes = Vec::new();
    let read = open_regular(&dir.join("dovecot-keywords"))
        .ok()
        .and_then(|(file, _)| file.take(MAX_KEYWORDS).read_to_end(&mut bytes).ok());
    match read {
        Some(_) => name::keywords(&String::from_utf8_lossy(&bytes)),
        None => Vec::new(),
    }
}

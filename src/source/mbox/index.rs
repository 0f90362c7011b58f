//! What one mbox file holds: a few words per message, whatever their size.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::env::Env;
use crate::guard::files::{NotOpened, open_regular, say};
use crate::model::{Error, Flags, Hasher, Kind, Result, Scope, Timestamp};

use super::deliver::{Failure, Transform, Unquote, deliver};
use super::header::{self, Strip};
use super::labels;
use super::split::{NotMbox, Span, Splitter};
use super::{Labels, MboxSettings, Quoting};

/// How much is indexed before other tasks get their turn, in bytes and messages.
const TURN_BYTES: u64 = 8 << 20;
const TURN_MESSAGES: usize = 500;

/// A file as it was when it was read: another one, a longer one or a touched one differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: (i64, i64),
}

impl FileId {
    fn of(seen: &Metadata) -> FileId {
        FileId {
            dev: seen.dev(),
            ino: seen.ino(),
            size: seen.len(),
            mtime: (seen.mtime(), seen.mtime_nsec()),
        }
    }
}

/// The first 16 bytes of the BLAKE3 of a message's delivered octets.
pub(super) type Content = [u8; 16];

/// One message: under 100 bytes.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its place in the file.
    pub(super) span: Span,
    /// Its delivered octets.
    pub(super) content: Content,
    /// Their number, in bytes.
    pub(super) size: u64,
    flags: u32,
    /// Index into [`Index::folders`], if the file has labels.
    pub(super) folder: u32,
}

/// The messages of one file.
#[derive(Debug)]
pub(super) struct Index {
    id: FileId,
    /// In the order of the file.
    pub(super) entries: Vec<Entry>,
    /// The distinct combinations of flags.
    flags: Vec<Flags>,
    /// The file is a Gmail export whose labels are folders.
    pub(super) labelled: bool,
    /// The folders of its labels.
    pub(super) folders: Vec<Vec<String>>,
    quoting: Quoting,
}

/// Opens an mbox.
///
/// # Errors
/// `Scope::Folder`: gone, not a plain file, or unreadable.
fn open(path: &Path) -> Result<(File, FileId)> {
    match open_regular(path) {
        Ok((file, seen)) => Ok((file, FileId::of(&seen))),
        Err(NotOpened::Gone) => Err(Error::new(Kind::NotFound, Scope::Folder, "the mbox file is gone")),
        Err(NotOpened::NotAFile) => Err(Error::new(
            Kind::Denied,
            Scope::Folder,
            "the mbox is no plain file (a link, FIFO or device), which is not opened",
        )
        .remedy("replace it by the file it stands for, or remove it")),
        Err(NotOpened::Io(e)) => Err(unreadable(&e)),
    }
}

fn unreadable(e: &io::Error) -> Error {
    let what = format!("the mbox file cannot be read ({})", say(e));
    let error = match e.kind() {
        io::ErrorKind::PermissionDenied => Error::new(Kind::Denied, Scope::Folder, what),
        _ => Error::temporary(Kind::Io, Scope::Folder, what),
    };
    error.remedy("give this program the right to read it, and check the disk")
}

pub(super) fn changed() -> Error {
    Error::temporary(Kind::Conflict, Scope::Folder, "the mbox file changed while it was read")
        .remedy("keep mail programs away from it during the run, or run on a copy")
}

fn not_mbox() -> Error {
    Error::new(Kind::Protocol, Scope::Folder, "the file does not begin with a From_ line, so it is no mbox")
        .remedy("repair its first line, or take the file out of the mailbox's directory")
}

/// Does the first message of a file carry a Gmail export's marks?
///
/// # Errors
/// As [`Index::build`]; a file that is no mbox is just not labelled (its listing will tell).
pub(super) fn labelled(path: &Path, settings: &MboxSettings) -> Result<bool> {
    if settings.labels == Labels::Ignore {
        return Ok(false);
    }
    let (file, id) = open(path)?;
    let first = |file: File| -> io::Result<bool> {
        let Ok(mut walk) = Splitter::new(file, id.size, settings.quoting.trusts_length())? else {
            return Ok(false);
        };
        let Some(span) = walk.next()? else { return Ok(false) };
        Ok(header::meta(walk.header(&span)?).gmail)
    };
    first(file).map_err(|e| unreadable(&e))
}

impl Index {
    /// Reads a whole file, giving other tasks their turn.
    ///
    /// # Errors
    /// `Scope::Folder`: unreadable, no mbox, or (`Conflict`, temporary) changed meanwhile.
    pub(super) async fn build(env: &Env, path: &Path, settings: &MboxSettings) -> Result<Index> {
        let labelled = env.blocking(|| labelled(path, settings))?;
        let (file, id) = env.blocking(|| open(path))?;
        let again = file.try_clone().map_err(|e| unreadable(&e))?;
        let mut walk = env
            .blocking(|| Splitter::new(again, id.size, settings.quoting.trusts_length()))
            .map_err(|e| unreadable(&e))?
            .map_err(|NotMbox| not_mbox())?;
        let mut index = Index {
            id,
            entries: Vec::new(),
            flags: Vec::new(),
            labelled,
            folders: Vec::new(),
            quoting: settings.quoting,
        };
        let mut known = Known::default();
        let mut first = true;
        loop {
            let went_on = env.blocking(|| index.turn(&file, &mut walk, &mut known, &mut first));
            match went_on {
                Ok(true) => tokio::task::yield_now().await,
                Ok(false) => break,
                // A read that ends early is a file cut short by someone.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(changed()),
                Err(e) => return Err(unreadable(&e)),
            }
        }
        index.check(&file)?;
        Ok(index)
    }

    /// Takes in some messages; `false` at the end.
    fn turn(
        &mut self,
        file: &File,
        walk: &mut Splitter,
        known: &mut Known,
        first: &mut bool,
    ) -> io::Result<bool> {
        let begin = walk.position();
        for _ in 0..TURN_MESSAGES {
            if walk.position() - begin > TURN_BYTES {
                break;
            }
            let Some(span) = walk.next()? else { return Ok(false) };
            let mut meta = header::meta(walk.header(&span)?);
            if std::mem::take(first) && meta.pseudo {
                continue;
            }
            let folder = if self.labelled {
                let names = labels::place(meta.labels.as_deref().unwrap_or(""), &mut meta.flags);
                known.folder(names, &mut self.folders)
            } else {
                0
            };
            let counted = Counted { hasher: Hasher::new(), size: 0 };
            let counted = match self.deliver_from(file, &span, counted) {
                Ok(counted) => counted,
                Err(Failure::Read(e) | Failure::Write(e)) => return Err(e),
            };
            let mut content = [0; 16];
            content.copy_from_slice(&counted.hasher.finish().as_bytes()[..16]);
            let flags = known.flags(meta.flags, &mut self.flags);
            self.entries.push(Entry { span, content, size: counted.size, flags, folder });
        }
        Ok(true)
    }

    /// # Errors
    /// `Conflict`, temporary: the open file is no longer what was indexed.
    fn check(&self, file: &File) -> Result<()> {
        let seen = file.metadata().map_err(|e| unreadable(&e))?;
        if FileId::of(&seen) == self.id { Ok(()) } else { Err(changed()) }
    }

    /// Opens the file again, for fetches.
    ///
    /// # Errors
    /// As [`Index::build`].
    pub(super) fn reopen(&self, path: &Path) -> Result<File> {
        let (file, id) = open(path)?;
        if id == self.id { Ok(file) } else { Err(changed()) }
    }

    /// Is the file at `path` still the one this was made from?
    pub(super) fn is_current(&self, path: &Path) -> bool {
        open(path).is_ok_and(|(_, id)| id == self.id)
    }

    /// Size of the file, in bytes.
    pub(super) fn file_size(&self) -> u64 {
        self.id.size
    }

    /// Flags and keywords of a message.
    pub(super) fn flags(&self, entry: &Entry) -> Flags {
        self.flags.get(entry.flags as usize).cloned().unwrap_or_default()
    }

    /// The date of a message's From_ line.
    pub(super) fn received(entry: &Entry) -> Option<Timestamp> {
        entry.span.received
    }

    /// Writes a message's delivered octets.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) fn deliver<W: io::Write>(&self, file: &File, entry: &Entry, out: W) -> Result<W, Failure> {
        self.deliver_from(file, &entry.span, out)
    }

    fn deliver_from<W: io::Write>(&self, file: &File, span: &Span, out: W) -> Result<W, Failure> {
        let transform = Transform {
            strip: Strip { length: span.by_length, labels: self.labelled },
            unquote: match self.quoting {
                // A writer that tells the length does not need to quote, and mostly does not.
                Quoting::Auto if span.by_length => Unquote::Nothing,
                Quoting::Auto | Quoting::Mboxrd => Unquote::Any,
                Quoting::Mboxo | Quoting::Mboxcl => Unquote::One,
                Quoting::Mboxcl2 | Quoting::None => Unquote::Nothing,
            },
        };
        deliver(file, (span.start, span.body, span.end), transform, out)
    }
}

/// Folders and flags seen so far, to give each its index.
#[derive(Default)]
struct Known {
    folders: HashMap<Vec<String>, u32>,
    flags: HashMap<Flags, u32>,
}

impl Known {
    fn folder(&mut self, names: Vec<String>, all: &mut Vec<Vec<String>>) -> u32 {
        *self.folders.entry(names).or_insert_with_key(|names| {
            all.push(names.clone());
            u32::try_from(all.len() - 1).unwrap_or(u32::MAX)
        })
    }

    fn flags(&mut self, flags: Flags, all: &mut Vec<Flags>) -> u32 {
        *self.flags.entry(flags).or_insert_with_key(|flags| {
            all.push(flags.clone());
            u32::try_from(all.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

/// Hashes and counts what is written.
struct Counted {
    hasher: Hasher,
    size: u64,
}

impl io::Write for Counted {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.hasher.update(octets);
        self.size += octets.len() as u64;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

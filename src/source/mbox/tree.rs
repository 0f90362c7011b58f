//! Which files of a mailbox are mboxes, and which folders they are.
//!
//! A mailbox is one file (its inbox), or a tree of files and directories. In a tree a file is an mbox if it begins with
//! a From_ line, or is empty and has no other extension than `.mbox`; a file called `….mbox` that begins otherwise is
//! listed too, and its listing says that it is damaged. Hidden files and indexes (`.msf` …) are not mail. `Name.mbox`
//! is the folder `Name`; a directory `Name.sbd` (Thunderbird) holds the folders below `Name`; a file `mbox` in a
//! directory `Name.mbox` (Apple Mail) is the folder `Name`. Links are not followed: a linked file is listed and fails.

use std::fs::DirEntry;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::guard::files::{file_name, file_text, open_regular, say};
use crate::model::{Error, Kind, Result, Scope};
use crate::transform::names::decode;

use super::MboxSettings;

const MAX_DEPTH: usize = 32;
const MAX_FILES: usize = 100_000;

/// One mbox of a mailbox, or a directory with mboxes in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Path from the mailbox's root, escaped; empty for the root itself.
    pub(super) handle: String,
    /// Folder names.
    pub(super) names: Vec<String>,
    /// A file (else only a directory).
    pub(super) mail: bool,
}

/// Every mbox of a mailbox, sorted by handle.
///
/// # Errors
/// A directory cannot be read.
pub(super) fn found(root: &Path, settings: &MboxSettings) -> Result<Vec<Found>> {
    if root.is_file() {
        return Ok(vec![Found { handle: String::new(), names: vec!["INBOX".to_owned()], mail: true }]);
    }
    let mut out = Vec::new();
    walk(root, "", &[], settings, &mut out)?;
    out.sort_by(|a, b| a.handle.cmp(&b.handle));
    // Folders above that are no mbox themselves are containers.
    let mut above: Vec<Vec<String>> =
        out.iter().flat_map(|f| (1..f.names.len()).map(|n| f.names[..n].to_vec())).collect();
    above.sort();
    above.dedup();
    above.retain(|names| !out.iter().any(|f| f.names == *names));
    for names in above {
        out.push(Found { handle: format!("/{}", names.join("/")), names, mail: false });
    }
    Ok(out)
}

/// The path of a handle.
///
/// # Errors
/// It names no file below the root.
pub(super) fn path(root: &Path, handle: &str) -> Result<PathBuf> {
    let mut path = root.to_path_buf();
    if handle.is_empty() {
        return Ok(path);
    }
    for part in handle.split('/') {
        if part.is_empty() || part == "." || part == ".." {
            return Err(Error::new(Kind::NotFound, Scope::Folder, "the folder holds no messages of its own"));
        }
        path.push(file_name(part));
    }
    Ok(path)
}

fn walk(
    dir: &Path,
    handle: &str,
    names: &[String],
    settings: &MboxSettings,
    out: &mut Vec<Found>,
) -> Result<()> {
    let failed = |e: io::Error| {
        Error::new(
            Kind::Io,
            Scope::Mailbox,
            format!("a directory of the mailbox cannot be read ({})", say(&e)),
        )
        .remedy("give this program the right to read it")
    };
    let many = |what: &str| {
        Error::new(Kind::TooLarge, Scope::Mailbox, what.to_owned()).remedy("check the endpoint's root")
    };
    if names.len() > MAX_DEPTH {
        return Err(many("the mailbox's directories lie too deep (more than 32)"));
    }
    let entries: Vec<DirEntry> = std::fs::read_dir(dir).and_then(Iterator::collect).map_err(failed)?;
    for entry in entries {
        let file = entry.file_name();
        if file.as_bytes().starts_with(b".") {
            continue;
        }
        if out.len() >= MAX_FILES {
            return Err(many("the mailbox has more than 100,000 files"));
        }
        let kind = entry.file_type().map_err(failed)?;
        let below =
            if handle.is_empty() { file_text(&file) } else { format!("{handle}/{}", file_text(&file)) };
        let (stem, extension) = stem(file.as_bytes());
        let mut path = names.to_vec();
        if kind.is_dir() {
            path.push(decode(stem, settings.names, None));
            walk(&entry.path(), &below, &path, settings, out)?;
            continue;
        }
        let linked = kind.is_symlink() && entry.path().is_file();
        let mail = linked || (kind.is_file() && mbox(&entry.path(), extension));
        if !mail {
            continue;
        }
        let apple =
            file.as_bytes() == b"mbox" && dir.extension().is_some_and(|e| e.eq_ignore_ascii_case("mbox"));
        if !apple || names.is_empty() {
            path.push(decode(stem, settings.names, None));
        }
        if let [one] = path.as_mut_slice()
            && one.eq_ignore_ascii_case("inbox")
        {
            *one = "INBOX".to_owned();
        }
        out.push(Found { handle: below, names: path, mail: true });
    }
    Ok(())
}

/// What a file's extension says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    None,
    Mbox,
    Other,
}

fn stem(name: &[u8]) -> (&[u8], Extension) {
    let cut = |n: usize| &name[..name.len() - n];
    let lower = name.to_ascii_lowercase();
    if lower.len() > 5 && lower.ends_with(b".mbox") {
        (cut(5), Extension::Mbox)
    } else if lower.len() > 4 && lower.ends_with(b".mbx") {
        (cut(4), Extension::Mbox)
    } else if lower.len() > 4 && lower.ends_with(b".sbd") {
        (cut(4), Extension::Other)
    } else if lower.contains(&b'.') {
        (name, Extension::Other)
    } else {
        (name, Extension::None)
    }
}

/// Is this file an mbox, as far as its name and its first octets tell?
fn mbox(path: &Path, extension: Extension) -> bool {
    if extension == Extension::Mbox {
        return true;
    }
    let mut head = Vec::new();
    let Ok((file, seen)) = open_regular(path) else {
        return true; // listed, so that it is missed when it cannot be read
    };
    if seen.len() == 0 {
        return extension == Extension::None;
    }
    let read = file.take(64).read_to_end(&mut head);
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head);
    let blank = text.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    read.is_err() || text[blank..].starts_with(b"From ")
}

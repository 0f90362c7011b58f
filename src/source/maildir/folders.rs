//! The folders of a Maildir tree.

use std::collections::BTreeMap;
use std::fs::DirEntry;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::guard::files::{file_text, say};
use crate::model::{Error, FolderPath, Kind, Result, Scope};
use crate::source::SourceFolder;
use crate::source::shelved::{self, Row};
use crate::transform::names::{Layout, decode};

use super::MaildirSettings;

/// Most folders taken from one mailbox, and how deep they may lie.
const MAX_FOLDERS: usize = 100_000;
const MAX_DEPTH: usize = 64;

/// Says no to a directory that is no Maildir at all: an empty listing of the wrong place would look like success.
pub(super) fn check_root(root: &Path, settings: &MaildirSettings) -> Result<()> {
    let found = folders(root, settings)?;
    let any = ["cur", "new", "tmp"].iter().any(|sub| root.join(sub).is_dir());
    if any || found.len() > 1 {
        return Ok(());
    }
    Err(Error::new(Kind::NotFound, Scope::Mailbox, "the mailbox's directory holds no Maildir")
        .remedy("check the endpoint's root and layout; a Maildir has cur, new and tmp"))
}

/// Every folder, sorted by directory name, the inbox first.
pub(super) fn folders(root: &Path, settings: &MaildirSettings) -> Result<Vec<SourceFolder>> {
    // Directory (as handle) → names and whether it holds mail.
    let mut found: BTreeMap<String, (Vec<String>, bool)> = BTreeMap::new();
    match settings.layout {
        Layout::PlusPlus => plus_plus(root, settings, &mut found)?,
        Layout::Fs => nested(root, "", &[], settings, &mut found)?,
    }
    let inbox = Row { handle: ".".to_owned(), path: FolderPath::inbox(), selectable: true };
    let others = found.into_iter().filter_map(|(handle, (names, selectable))| {
        Some(Row { handle, path: FolderPath::new(names)?, selectable })
    });
    Ok(shelved::folders(std::iter::once(inbox).chain(others).collect()))
}

type Found = BTreeMap<String, (Vec<String>, bool)>;

fn plus_plus(root: &Path, settings: &MaildirSettings, found: &mut Found) -> Result<()> {
    let separator = settings.separator as u8;
    for entry in entries(root)? {
        let name = entry.file_name();
        let bytes = name.as_bytes();
        let Some(inner) =
            bytes.strip_prefix(&[separator]).filter(|i| !i.is_empty() && *i != &[separator][..])
        else {
            continue;
        };
        if !directory_or_link(&entry) {
            continue;
        }
        // An empty part (`.A..B`) belongs to the name after it: `A`, `.B`.
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut lead: Vec<u8> = Vec::new();
        for part in inner.split(|b| *b == separator) {
            if part.is_empty() {
                lead.push(separator);
                continue;
            }
            let mut name = std::mem::take(&mut lead);
            name.extend_from_slice(part);
            names.push(name);
        }
        if let (false, Some(last)) = (lead.is_empty(), names.last_mut()) {
            last.extend_from_slice(&lead);
        } else if names.is_empty() {
            names.push(lead);
        }
        let names = names.iter().map(|n| decode(n, settings.names, settings.escape)).collect();
        add(found, file_text(&name), names, true)?;
    }
    // Folders above that have no directory of their own are containers.
    let above: Vec<Vec<String>> =
        found.values().flat_map(|(names, _)| (1..names.len()).map(|n| names[..n].to_vec())).collect();
    for names in above {
        let inbox = matches!(names.as_slice(), [one] if one.eq_ignore_ascii_case("INBOX"));
        if !inbox && !found.values().any(|(have, _)| *have == names) {
            // A slash cannot be in a directory name here, so this handle is nobody's.
            add(found, format!("/{}", names.join("/")), names, false)?;
        }
    }
    Ok(())
}

fn nested(
    dir: &Path,
    handle: &str,
    names: &[String],
    settings: &MaildirSettings,
    found: &mut Found,
) -> Result<()> {
    if names.len() > MAX_DEPTH {
        return Err(Error::new(
            Kind::TooLarge,
            Scope::Mailbox,
            "the mailbox's folders lie too deep (more than 64)",
        )
        .remedy("look for a loop of mounts or links in the mailbox's directory"));
    }
    for entry in entries(dir)? {
        let name = entry.file_name();
        let bytes = name.as_bytes();
        if bytes.starts_with(b".") || matches!(bytes, b"cur" | b"new" | b"tmp") || !directory_or_link(&entry)
        {
            continue;
        }
        let link = entry.file_type().is_ok_and(|t| t.is_symlink());
        let below =
            if handle.is_empty() { file_text(&name) } else { format!("{handle}/{}", file_text(&name)) };
        let mut path = names.to_vec();
        path.push(decode(bytes, settings.names, settings.escape));
        let at = entry.path();
        let inbox_itself = path.len() == 1 && path[0].eq_ignore_ascii_case("INBOX");
        let mail = link || may_be(&at.join("cur")) || may_be(&at.join("new"));
        if mail || !inbox_itself {
            add(found, below.clone(), path.clone(), mail)?;
        }
        if !link {
            nested(&at, &below, &path, settings, found)?;
        }
    }
    Ok(())
}

fn add(found: &mut Found, handle: String, names: Vec<String>, selectable: bool) -> Result<()> {
    if found.len() >= MAX_FOLDERS {
        return Err(Error::new(Kind::TooLarge, Scope::Mailbox, "the mailbox has more than 100,000 folders")
            .remedy("check the endpoint's root and layout"));
    }
    found.insert(handle, (names, selectable));
    Ok(())
}

/// Is it there, or hidden from us? What cannot be looked at is taken for a mail folder: its listing then says why it
/// cannot be read, instead of it passing for gone.
fn may_be(path: &Path) -> bool {
    match path.metadata() {
        Ok(seen) => seen.is_dir(),
        Err(e) => e.kind() != std::io::ErrorKind::NotFound,
    }
}

/// A link to a directory counts as a folder here: its listing then says why it is not read.
fn directory_or_link(entry: &DirEntry) -> bool {
    entry.file_type().is_ok_and(|t| t.is_dir() || (t.is_symlink() && entry.path().is_dir()))
}

/// The entries of a directory, all of them or an error.
fn entries(dir: &Path) -> Result<Vec<DirEntry>> {
    let failed = |e: io::Error| {
        Error::new(
            Kind::Io,
            Scope::Mailbox,
            format!("a directory of the mailbox cannot be read ({})", say(&e)),
        )
        .remedy("give this program the right to read it")
    };
    std::fs::read_dir(dir).and_then(Iterator::collect).map_err(failed)
}

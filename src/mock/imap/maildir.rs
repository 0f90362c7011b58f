//! A read-only view of a Maildir++ tree: `cur` and `new` are INBOX, `.A.B` is the folder A/B.
//!
//! Reads what Dovecot and Courier leave there: flags in the name, `dovecot-keywords`, `dovecot-uidlist` (where it is
//! missing or does not know a file, UIDs are given in the order of the base names). Files are never changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use super::date::InternalDate;
use super::names;
use super::store::{Message, Octets, Store};

/// A file that is larger is not served: a mock holds one message in memory at a time.
const LARGEST_FILE: u64 = 1 << 30;

/// A message file's octets with every line end as CRLF, or `None` where it cannot be read.
pub fn read(path: &Path) -> Option<Bytes> {
    let octets = read_file(path).or_else(|| {
        // Another program may have changed the flags, and with them the name, since the folder was looked at.
        let base = base_name(path.file_name()?.to_str()?).to_owned();
        let folder = path.parent()?.parent()?;
        let renamed = ["cur", "new"].iter().find_map(|part| {
            let entries = fs::read_dir(folder.join(part)).ok()?;
            entries
                .flatten()
                .map(|e| e.path())
                .find(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(|name| base_name(name) == base))
        })?;
        read_file(&renamed)
    })?;
    let bare = memchr::memchr_iter(b'\n', &octets).filter(|&at| at == 0 || octets[at - 1] != b'\r').count();
    if bare == 0 {
        return Some(Bytes::from(octets));
    }
    let mut crlf = Vec::with_capacity(octets.len() + bare);
    let mut done = 0;
    for at in memchr::memchr_iter(b'\n', &octets) {
        if at == 0 || octets[at - 1] != b'\r' {
            crlf.extend_from_slice(&octets[done..at]);
            crlf.push(b'\r');
            done = at;
        }
    }
    crlf.extend_from_slice(&octets[done..]);
    Some(Bytes::from(crlf))
}

fn read_file(path: &Path) -> Option<Vec<u8>> {
    let meta = fs::symlink_metadata(path).ok()?;
    (meta.is_file() && meta.len() <= LARGEST_FILE).then(|| fs::read(path).ok())?
}

/// Looks at all folders of a user again: new folders and messages appear, those that are gone vanish.
pub(super) fn rescan(store: &mut Store, user: &str) -> io::Result<()> {
    let Some(root) = store.users.get(user).and_then(|u| u.maildir.clone()) else { return Ok(()) };
    let mut present: BTreeMap<String, PathBuf> = BTreeMap::from([("INBOX".to_owned(), root.clone())]);
    for entry in fs::read_dir(&root)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(dotted) = name.to_str().and_then(|n| n.strip_prefix('.')).filter(|n| !n.is_empty()) else {
            continue;
        };
        if entry.file_type()?.is_dir() && entry.path().join("cur").is_dir() {
            let parts: Vec<String> = dotted.split('.').map(folder_part).collect();
            present.insert(parts.join(&store.separator.to_string()), entry.path());
        }
    }
    for (name, directory) in &present {
        let Some(owner) = store.users.get(user) else { continue };
        if owner.dropped.contains(directory) {
            continue;
        }
        // A client may have renamed it: the directory tells.
        let now = owner.folders.iter().find(|(_, f)| f.directory.as_ref() == Some(directory));
        let now = now.map_or(name, |(now, _)| now).clone();
        store.ensure_folder(user, &now).directory = Some(directory.clone());
        rescan_folder(store, user, &now);
    }
    let there: BTreeSet<PathBuf> = present.into_values().collect();
    if let Some(owner) = store.users.get_mut(user) {
        owner.folders.retain(|_, folder| folder.directory.as_ref().is_none_or(|d| there.contains(d)));
    }
    Ok(())
}

/// Dovecot writes modified UTF-7, newer ones may write UTF-8: what is not the one is taken as the other.
fn folder_part(part: &str) -> String {
    names::decode(part.as_bytes()).unwrap_or_else(|| part.to_owned())
}

/// Looks at one folder again. Folders that come from no Maildir stay as they are.
pub(super) fn rescan_folder(store: &mut Store, user: &str, name: &str) {
    let Some(directory) = store.folder(user, name).and_then(|f| f.directory.clone()) else { return };
    let keywords = read_keywords(&directory);
    let list = UidList::read(&directory);
    let mut found: BTreeMap<String, (PathBuf, BTreeSet<String>)> = BTreeMap::new();
    for part in ["new", "cur"] {
        let Ok(entries) = fs::read_dir(directory.join(part)) else { continue };
        for entry in entries.flatten() {
            let file = entry.file_name();
            let Some(file) = file.to_str().filter(|f| !f.starts_with('.')) else { continue };
            if entry.file_type().is_ok_and(|t| t.is_file()) {
                found.insert(base_name(file).to_owned(), (entry.path(), flags_of(file, &keywords)));
            }
        }
    }
    let known = store.folder(user, name).map(|f| f.files.clone()).unwrap_or_default();
    let ids: Vec<u64> =
        found.keys().filter(|base| !known.contains_key(*base)).map(|_| store.next_email_id()).collect();
    let Some(folder) = store.folder_mut(user, name) else { return };
    if let (true, Some(validity)) = (known.is_empty(), list.validity) {
        folder.uid_validity = validity;
    }
    for (base, uid) in &known {
        match found.get(base) {
            None => {
                folder.expunge(*uid);
                folder.files.remove(base);
            }
            Some((path, flags)) => {
                let Some(message) = folder.messages.get_mut(uid) else { continue };
                let moved = matches!(&message.octets, Octets::File { path: old, .. } if old != path);
                if moved {
                    message.octets = Octets::File { path: path.clone(), size: None };
                    // Only a changed name carries news: flags changed by clients live in memory.
                    folder.set_flags(*uid, flags.clone());
                }
            }
        }
    }
    let mut fresh: Vec<_> = found.into_iter().filter(|(base, _)| !known.contains_key(base)).collect();
    // Files that the uid list knows come first, in its order; then the others by base name.
    fresh.sort_by_key(|(base, _)| list.uids.get(base).copied().unwrap_or(u32::MAX));
    for ((base, (path, flags)), email_id) in fresh.into_iter().zip(ids) {
        let date = fs::metadata(&path).and_then(|m| m.modified()).ok();
        let seconds = date.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_secs() as i64);
        let message = Message {
            octets: Octets::File { path, size: None },
            flags,
            date: InternalDate::utc(seconds),
            raw_date: None,
            modseq: 0,
            email_id,
        };
        let listed = list.uids.get(&base).copied().filter(|uid| !folder.messages.contains_key(uid));
        let uid = listed.unwrap_or_else(|| folder.uid_next.max(list.next));
        folder.insert(uid, message);
        folder.files.insert(base, uid);
    }
    folder.uid_next = folder.uid_next.max(list.next);
}

fn base_name(file: &str) -> &str {
    file.split([':', ';']).next().unwrap_or(file)
}

fn flags_of(file: &str, keywords: &BTreeMap<char, String>) -> BTreeSet<String> {
    let letters = file.split_once(":2,").map_or("", |(_, letters)| letters);
    let system = |letter| match letter {
        'S' => Some("\\Seen"),
        'R' => Some("\\Answered"),
        'F' => Some("\\Flagged"),
        'T' => Some("\\Deleted"),
        'D' => Some("\\Draft"),
        'P' => Some("$Forwarded"),
        _ => None,
    };
    let name = |c| system(c).map(str::to_owned).or_else(|| keywords.get(&c).cloned());
    letters.chars().filter_map(name).collect()
}

/// `dovecot-keywords`: `0 name` stands for the letter `a`.
fn read_keywords(directory: &Path) -> BTreeMap<char, String> {
    let text = fs::read_to_string(directory.join("dovecot-keywords")).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| {
        let (number, name) = line.split_once(' ')?;
        let number = number.parse::<u8>().ok().filter(|&n| n < 26)?;
        (!name.is_empty()).then(|| ((b'a' + number) as char, name.to_owned()))
    });
    pairs.collect()
}

/// `dovecot-uidlist`, version 3 (or 1): a header, then `uid [extensions] :name`.
#[derive(Default)]
struct UidList {
    validity: Option<u32>,
    next: u32,
    uids: BTreeMap<String, u32>,
}

impl UidList {
    fn read(directory: &Path) -> UidList {
        let text = fs::read_to_string(directory.join("dovecot-uidlist")).unwrap_or_default();
        let mut lines = text.lines();
        let mut list = UidList { next: 1, ..UidList::default() };
        let Some(mut header) = lines.next().map(|h| h.split(' ')) else { return list };
        match header.next() {
            Some("3") => {
                for field in header {
                    match field.split_at_checked(1) {
                        Some(("V", value)) => list.validity = value.parse().ok().filter(|&v| v > 0),
                        Some(("N", value)) => list.next = value.parse().unwrap_or(1),
                        _ => {}
                    }
                }
            }
            Some("1") => {
                list.validity = header.next().and_then(|v| v.parse().ok()).filter(|&v| v > 0);
                list.next = header.next().and_then(|v| v.parse().ok()).unwrap_or(1);
            }
            _ => return list,
        }
        for line in lines {
            let Some((uid, rest)) = line.split_once(' ') else { continue };
            let name = rest.split_once(':').map_or(rest, |(_, name)| name);
            if let Some(uid) = uid.parse().ok().filter(|&uid| uid > 0 && uid < u32::MAX) {
                list.uids.insert(base_name(name).to_owned(), uid);
            }
        }
        list
    }
}

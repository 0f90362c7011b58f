//! Folder names in file systems: paths to directory names and back.
//!
//! Writing is injective and confined: two paths never share a directory, no name makes a path climb, and the same path
//! gives the same directory each time. What a directory name cannot hold is written as `\` and two hexadecimal digits
//! (what Dovecot's listescape reads by default), the rest in modified UTF-7 (what Dovecot expects on disk).

use std::collections::BTreeSet;

use crate::model::{FolderPath, SpecialUse};

use super::utf7;

/// How folders lie in a Maildir tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// Maildir++: the folder A/B is the directory `.A.B` of the root.
    #[default]
    PlusPlus,
    /// Dovecot's `LAYOUT=fs`: the folder A/B is the directory `A/B`.
    Fs,
}

/// How folder names are written on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coding {
    /// Modified UTF-7 if a name is valid as such, else UTF-8 as it stands.
    #[default]
    Auto,
    /// Modified UTF-7; what is not valid is taken as it stands.
    Utf7,
    /// UTF-8 as it stands.
    Utf8,
}

/// Longest directory name written for one folder name, in bytes (Linux takes 255; room is left for suffixes).
const MAX_NAME: usize = 200;
/// Longest Maildir++ directory name written for a whole path, in bytes.
const MAX_PLUSPLUS: usize = 240;
/// Longest relative path written in the nested layout, in bytes.
const MAX_FS: usize = 1500;
/// Marks a shortened name. Never written otherwise: an escape is `\` and two hexadecimal digits.
const SHORTENED: &str = "\\~";
/// Stands for a folder without a name.
const EMPTY: &str = "\\-";

/// The directory of a folder, relative to the mailbox's root; `.` for the inbox. ASCII, no empty, `.` or `..` parts
/// otherwise.
pub fn directory(path: &FolderPath, layout: Layout) -> String {
    if path.is_inbox() {
        return ".".to_owned();
    }
    let names = path.names();
    let parts: Vec<String> =
        names.iter().enumerate().map(|(depth, name)| limited(name, layout, depth == 0)).collect();
    match layout {
        Layout::PlusPlus => {
            let whole = format!(".{}", parts.join("."));
            if whole.len() <= MAX_PLUSPLUS {
                whole
            } else {
                format!(".{}", folded(names, &parts, 100, layout, "."))
            }
        }
        Layout::Fs => {
            let whole = parts.join("/");
            if whole.len() <= MAX_FS { whole } else { folded(names, &parts, MAX_FS - 300, layout, "/") }
        }
    }
}

/// One name, escaped, coded, and shortened with a hash of the whole if it is too long.
fn limited(name: &str, layout: Layout, first: bool) -> String {
    let part = written(name, layout, first);
    if part.len() <= MAX_NAME {
        return part;
    }
    shortened(name, layout, first, MAX_NAME - SHORTENED.len() - 32, &hash(&[name.to_owned()]))
}

/// A path too long for its layout: the names that fit in `room` bytes, then one name that carries a hash of the path.
fn folded(names: &[String], parts: &[String], room: usize, layout: Layout, separator: &str) -> String {
    let mut kept = Vec::new();
    let mut used = 0;
    for part in parts {
        if used + part.len() >= room {
            break;
        }
        used += part.len() + 1;
        kept.push(part.clone());
    }
    let next = names.get(kept.len()).map_or("", String::as_str);
    kept.push(shortened(next, layout, kept.is_empty(), 60, &hash(names)));
    kept.join(separator)
}

/// As many characters of `name` as give at most `room` bytes, and the hash.
fn shortened(name: &str, layout: Layout, first: bool, room: usize, hash: &str) -> String {
    let mut head: String = name.chars().take(room).collect();
    loop {
        let part = written(&head, layout, first);
        if part.len() <= room || head.is_empty() {
            let part = if part == EMPTY { "" } else { &part };
            return format!("{part}{SHORTENED}{hash}");
        }
        head.pop();
    }
}

/// 32 hexadecimal digits that tell these names from all others.
pub(crate) fn hash(names: &[String]) -> String {
    let mut hasher = blake3::Hasher::new();
    for name in names {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// One name, escaped and coded, of any length.
fn written(name: &str, layout: Layout, first: bool) -> String {
    if name.is_empty() {
        return EMPTY.to_owned();
    }
    let mut out = String::with_capacity(name.len());
    for (at, c) in name.char_indices() {
        let lead = at == 0;
        let escaped = c.is_ascii_control()
            || matches!(c, '/' | '\\')
            || (c == '.' && (lead || layout == Layout::PlusPlus))
            || (lead && c == '~')
            || (lead && reserved(name, layout, first));
        if escaped {
            out.push_str(&format!("\\{:02x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    utf7::encode(&out)
}

/// Names that mean something else to a Maildir reader, or to us.
fn reserved(name: &str, layout: Layout, first: bool) -> bool {
    match layout {
        Layout::PlusPlus => first && name.starts_with("mailwave-"),
        Layout::Fs => {
            matches!(name, "cur" | "new" | "tmp" | "maildirfolder" | "maildirsize" | "subscriptions")
                || name.starts_with("mailwave-")
                || name.starts_with("dovecot")
        }
    }
}

/// A directory name as a folder name. `escape` is the character that hexadecimal escapes begin with, if the store uses
/// them (Dovecot's listescape: `\`). Bytes that are not UTF-8 are shown as `%` and two hexadecimal digits.
pub fn decode(name: &[u8], coding: Coding, escape: Option<char>) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    if coding != Coding::Utf8
        && let Some(decoded) = utf7::decode(&text)
    {
        text = decoded;
    }
    match escape {
        Some(escape) => unescaped(&text, escape),
        None => text,
    }
}

fn unescaped(text: &str, escape: char) -> String {
    if text.strip_prefix(escape) == Some("-") {
        return String::new();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once(escape) {
        out.push_str(head);
        let code = tail.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(u8::is_ascii);
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &tail[2..];
            }
            None => {
                out.push(escape);
                rest = tail;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Makes paths unique, in order: a later one that is taken already (or would be a second inbox) gets `~2`, `~3` … at
/// its last name.
pub fn unique(paths: Vec<FolderPath>) -> Vec<FolderPath> {
    let mut taken: BTreeSet<FolderPath> = BTreeSet::new();
    let key = |path: &FolderPath| if path.is_inbox() { FolderPath::inbox() } else { path.clone() };
    let exact: BTreeSet<FolderPath> = paths.iter().map(key).collect();
    paths
        .into_iter()
        .map(|path| {
            let mut mine = path.clone();
            let mut n = 1u32;
            while !taken.insert(key(&mine)) {
                // Skip over what a later folder is really called.
                loop {
                    n += 1;
                    mine = renamed(&path, n);
                    if !exact.contains(&key(&mine)) {
                        break;
                    }
                }
            }
            mine
        })
        .collect()
}

fn renamed(path: &FolderPath, n: u32) -> FolderPath {
    let leaf = format!("{}~{n}", path.leaf());
    match path.parent() {
        Some(parent) => parent.child(leaf),
        None => FolderPath::new(vec![leaf]).unwrap_or_else(|| path.clone()),
    }
}

/// Names by which folders at the root are known for their role, lower case: the first of a role's row that exists wins.
/// English as servers and clients create them, then some other languages' defaults of common clients.
const ROLES: &[(SpecialUse, &[&str])] = &[
    (
        SpecialUse::Sent,
        &[
            "sent",
            "sent items",
            "sent messages",
            "sent mail",
            "gesendet",
            "gesendete objekte",
            "gesendete elemente",
            "envoyés",
            "éléments envoyés",
            "enviados",
            "posta inviata",
            "verzonden items",
            "отправленные",
        ],
    ),
    (
        SpecialUse::Drafts,
        &["drafts", "draft", "entwürfe", "brouillons", "borradores", "bozze", "concepten", "черновики"],
    ),
    (
        SpecialUse::Trash,
        &[
            "trash",
            "deleted items",
            "deleted messages",
            "deleted",
            "papierkorb",
            "gelöschte objekte",
            "gelöschte elemente",
            "corbeille",
            "papelera",
            "cestino",
            "prullenbak",
            "корзина",
        ],
    ),
    (
        SpecialUse::Junk,
        &[
            "junk",
            "junk e-mail",
            "junk email",
            "spam",
            "junk-e-mail",
            "indésirables",
            "posta indesiderata",
            "спам",
        ],
    ),
    (SpecialUse::Archive, &["archive", "archives", "archiv", "archivo", "archivio", "archief", "архив"]),
];

/// The roles of folders by their names: the inbox, and for each role at most one folder at the root (or right below
/// the inbox, as Courier has them). No role is given twice.
pub fn roles(paths: &[FolderPath]) -> Vec<Option<SpecialUse>> {
    let mut out = vec![None; paths.len()];
    let known = |path: &FolderPath| match path.names() {
        [one] => Some(one.to_lowercase()),
        [inbox, one] if inbox.eq_ignore_ascii_case("INBOX") => Some(one.to_lowercase()),
        _ => None,
    };
    let names: Vec<Option<String>> = paths.iter().map(known).collect();
    for (role, list) in ROLES {
        let found = list.iter().find_map(|wanted| names.iter().position(|n| n.as_deref() == Some(wanted)));
        if let Some(found) = found {
            out[found] = Some(*role);
        }
    }
    if let Some(inbox) = paths.iter().position(FolderPath::is_inbox) {
        out[inbox] = Some(SpecialUse::Inbox);
    }
    out
}

#[cfg(test)]
mod tests;

//! Folders: LIST and NAMESPACE made into paths, with what each folder holds.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::future::join_all;

use super::choose::{choose, open_namespaces};
use super::config::ImapSettings;
use super::labels::Claims;
use super::walk;
use crate::imap::{FolderStatus, ListEntry, Namespaces, Session, utf7};
use crate::model::{FolderPath, Result, SpecialUse};
use crate::source::{Counters, SourceFolder};

/// Handles that begin so hold a name that is no text, in hexadecimal.
const HEX: &str = "hex:";

/// Folders whose status is asked for together, where the list of folders does not tell it.
const TOGETHER: usize = 256;

/// Asks for the folders of the user's own namespaces and of those of others that are wanted, and what each holds: in one
/// round trip where the server can.
pub(super) async fn folders(
    session: &Session,
    settings: &ImapSettings,
    claims: Option<&mut Claims>,
) -> Result<Vec<SourceFolder>> {
    // Of a folder that is open some servers tell what this session was told last, not what is there.
    let enable = async {
        walk::leave(session).await?;
        if session.capabilities().has("QRESYNC") && !session.has_enabled("QRESYNC") {
            session.enable(&["QRESYNC"]).await?; // now or never: no folder may be open
        }
        Ok(())
    };
    let (left, namespaces, entries) =
        futures_util::join!(enable, session.namespaces(), session.list_status(b"*"));
    left?;
    let (mut namespaces, mut entries) = (namespaces?, entries?);
    let opened = open_namespaces(&mut namespaces, &settings.namespaces);
    for (prefix, separator) in namespaces.personal.iter().filter(|(prefix, _)| !prefix.is_empty()) {
        // Some servers leave a namespace out unless it is asked for by name; never one below the inbox.
        let told = |e: &ListEntry| e.name.starts_with(prefix) || is_root(&e.name, prefix, *separator);
        let below_inbox = prefix.get(..5).is_some_and(is_inbox);
        if !below_inbox && !entries.iter().any(told) {
            entries.extend(session.list_status(&[prefix, &b"*"[..]].concat()).await?);
        }
    }
    for prefix in opened {
        if !entries.iter().any(|e| e.name.starts_with(&prefix)) {
            entries.extend(session.list_status(&[&prefix, &b"*"[..]].concat()).await?);
        }
    }
    if !entries.iter().any(|e| is_inbox(&e.name)) {
        entries.extend(session.list_status(b"INBOX").await?);
    }
    statuses(session, &mut entries).await?;
    let inbox = entries.iter().find(|e| is_inbox(&e.name)).and_then(|e| e.status.clone());
    for entry in &mut entries {
        let root =
            namespaces.personal.iter().any(|(prefix, separator)| is_root(&entry.name, prefix, *separator));
        if root
            && !is_inbox(&entry.name)
            && is_selectable(entry)
            && !holds_own_mail(session, entry, inbox.as_ref()).await?
        {
            entry.attributes.push("\\Noselect".to_owned());
        }
    }
    let important = entries.iter().filter(|e| e.has("\\Important")).map(|e| handle(&e.name)).collect();
    let chosen = choose(arrange(entries, &namespaces), settings);
    let offer = session.capabilities();
    let keeps_modseq = offer.has("CONDSTORE") || offer.has("QRESYNC");
    Ok(match claims {
        Some(claims) => claims.arrange(chosen, &important, keeps_modseq),
        None => chosen,
    })
}

/// Asks for the status of the folders that were listed without it; many at once. A folder that refuses stays without.
async fn statuses(session: &Session, entries: &mut [ListEntry]) -> Result<()> {
    let mut without: Vec<&mut ListEntry> =
        entries.iter_mut().filter(|e| e.status.is_none() && is_selectable(e)).collect();
    for some in without.chunks_mut(TOGETHER) {
        let told = join_all(some.iter().map(|e| session.status(&e.name))).await;
        for (entry, told) in some.iter_mut().zip(told) {
            match told {
                Ok(status) => entry.status = Some(status),
                Err(e) if session.is_broken() => return Err(e),
                Err(_) => {}
            }
        }
    }
    Ok(())
}

/// What a status tells of a folder's messages, if it tells enough.
fn counters(status: &FolderStatus) -> Option<Counters> {
    let (epoch, next) = (u64::from(status.uid_validity?), u64::from(status.uid_next?));
    let messages = u64::from(status.messages?);
    let told = epoch > 0 && next > 0;
    told.then_some(Counters { epoch, next, messages, modseq: status.modseq.unwrap_or(0) })
}

/// Does the root of the namespace hold mail that is not the inbox's? Dovecot lists it as a folder, and opening it opens
/// the inbox by another name: migrated as well, each message would be there twice.
async fn holds_own_mail(session: &Session, root: &ListEntry, inbox: Option<&FolderStatus>) -> Result<bool> {
    if let (Some(root), Some(inbox)) = (&root.status, inbox)
        && (counters(root).is_some() || root.mailbox_id.is_some())
    {
        return Ok(root != inbox);
    }
    let (inbox, own) = futures_util::join!(session.examine(b"INBOX"), session.examine(&root.name));
    if session.is_broken() {
        inbox?;
        return own.map(|_| true);
    }
    Ok(own.is_ok_and(|own| inbox.ok().is_none_or(|inbox| inbox != own)))
}

/// Is `name` the root of the namespace with this prefix? It is listed without the separator at the prefix's end.
fn is_root(name: &[u8], prefix: &[u8], separator: Option<u8>) -> bool {
    let root = separator.and_then(|s| prefix.strip_suffix(&[s])).unwrap_or(prefix);
    !root.is_empty() && name == root
}

/// A name on the wire as a handle: itself if it is text.
fn handle(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !text.starts_with(HEX) => text.to_owned(),
        _ => name.iter().fold(HEX.to_owned(), |mut out, b| {
            for digit in [b >> 4, b & 15] {
                out.extend(char::from_digit(u32::from(digit), 16));
            }
            out
        }),
    }
}

/// The name on the wire of a handle.
pub(super) fn wire_name(handle: &str) -> Vec<u8> {
    let hex = handle.strip_prefix(HEX).filter(|h| h.len() % 2 == 0);
    let octets = hex.and_then(|hex| {
        let digits: Option<Vec<u8>> =
            hex.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
        digits.map(|d| d.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
    });
    octets.unwrap_or_else(|| handle.as_bytes().to_vec())
}

fn is_inbox(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"INBOX")
}

fn is_selectable(entry: &ListEntry) -> bool {
    !entry.has("\\Noselect") && !entry.has("\\NonExistent")
}

/// Makes folders of LIST lines: the inbox first, the others by path; no path twice; containers only where no folder
/// with mail has their path.
fn arrange(entries: Vec<ListEntry>, namespaces: &Namespaces) -> Vec<SourceFolder> {
    // A server that cannot tell subscriptions with the list shows none at all.
    let told = entries.iter().any(|e| e.has("\\Subscribed"));
    let mut by_name: BTreeMap<Bytes, ListEntry> = BTreeMap::new();
    for entry in entries {
        let key = if is_inbox(&entry.name) { Bytes::from_static(b"INBOX") } else { entry.name.clone() };
        match by_name.get_mut(&key) {
            Some(known) => known.attributes.extend(entry.attributes),
            None => {
                by_name.insert(key, entry);
            }
        }
    }
    let mut found: Vec<(FolderPath, bool, ListEntry)> = by_name
        .into_values()
        .filter_map(|entry| {
            let selectable = is_selectable(&entry);
            let path = path(&entry, namespaces)?;
            Some((path, selectable, entry))
        })
        .collect();
    // The true inbox goes before a folder that only decodes to its name; folders with mail before containers.
    found.sort_by(|(a, a_selectable, a_entry), (b, b_selectable, b_entry)| {
        (!is_inbox(&a_entry.name), a, !a_selectable, &a_entry.name).cmp(&(
            !is_inbox(&b_entry.name),
            b,
            !b_selectable,
            &b_entry.name,
        ))
    });
    let mut paths = BTreeSet::new();
    let mut roles = BTreeSet::new();
    let mut folders = Vec::with_capacity(found.len());
    for (path, selectable, entry) in found {
        if !selectable && paths.contains(&path) {
            continue;
        }
        let path = distinct(path, &paths);
        paths.insert(path.clone());
        let special = role(&entry).filter(|role| selectable && roles.insert(*role));
        folders.push(SourceFolder {
            path,
            special,
            selectable,
            subscribed: told.then(|| entry.has("\\Subscribed")),
            object_id: entry.status.as_ref().and_then(|s| s.mailbox_id.clone()),
            counters: entry.status.as_ref().and_then(counters),
            handle: handle(&entry.name),
        });
    }
    folders
}

/// `path`, or the same with a number behind the last name if it is taken.
fn distinct(path: FolderPath, taken: &BTreeSet<FolderPath>) -> FolderPath {
    if !taken.contains(&path) {
        return path;
    }
    let leaf = path.leaf().to_owned();
    let parent = path.parent();
    let mut number = 2u32;
    loop {
        let name = format!("{leaf} ({number})");
        let other = match &parent {
            Some(parent) => Some(parent.child(name)),
            None => FolderPath::new(vec![name]),
        };
        match other {
            Some(other) if !taken.contains(&other) => return other,
            _ => number += 1,
        }
    }
}

/// Where a folder lies, without its namespace's prefix; `None` if it is not the user's own, or no folder at all.
fn path(entry: &ListEntry, namespaces: &Namespaces) -> Option<FolderPath> {
    let name = entry.name.as_ref();
    if is_inbox(name) {
        return Some(FolderPath::inbox());
    }
    let prefix = match own_prefix(name, namespaces)? {
        // The root of the user's own namespace is no folder, unless it holds mail: then it keeps its name.
        prefix if prefix > name.len() && !is_selectable(entry) => return None,
        prefix if prefix >= name.len() => 0,
        prefix => prefix,
    };
    let mut rest = name.get(prefix..).unwrap_or_default();
    if let Some(separator) = entry.separator {
        // Containers may be listed with a separator at their end.
        while let Some(shorter) = rest.strip_suffix(&[separator]) {
            rest = shorter;
        }
    }
    if rest.is_empty() {
        return None;
    }
    let mut names: Vec<String> = match entry.separator {
        Some(separator) => rest.split(|b| *b == separator).map(utf7::decode).collect(),
        None => vec![utf7::decode(rest)],
    };
    // Below the inbox it is a server's own matter whether INBOX has a case; for us it is one folder.
    if let Some(first) = names.first_mut()
        && prefix == 0
        && is_inbox(first.as_bytes())
    {
        "INBOX".clone_into(first);
    }
    FolderPath::new(names)
}

/// How long the prefix of the namespace is that `name` lies in, in bytes (more than the name for the namespace's root);
/// `None`: not the user's own namespace.
fn own_prefix(name: &[u8], namespaces: &Namespaces) -> Option<usize> {
    let kinds = [(&namespaces.personal, true), (&namespaces.others, false), (&namespaces.shared, false)];
    let mut best: Option<(usize, bool)> = None;
    for (spaces, own) in kinds {
        for (prefix, separator) in spaces {
            let fits = name.starts_with(prefix) || is_root(name, prefix, *separator);
            if fits && best.is_none_or(|(len, _)| prefix.len() > len) {
                best = Some((prefix.len(), own));
            }
        }
    }
    match best {
        Some((len, true)) => Some(len),
        None => Some(0),
        Some((_, false)) => None,
    }
}

/// The role a server gives a folder (RFC 6154, and the older names of XLIST).
fn role(entry: &ListEntry) -> Option<SpecialUse> {
    if is_inbox(&entry.name) {
        return Some(SpecialUse::Inbox);
    }
    [
        ("\\Archive", SpecialUse::Archive),
        ("\\Drafts", SpecialUse::Drafts),
        ("\\Junk", SpecialUse::Junk),
        ("\\Spam", SpecialUse::Junk),
        ("\\Sent", SpecialUse::Sent),
        ("\\Trash", SpecialUse::Trash),
        ("\\All", SpecialUse::All),
        ("\\AllMail", SpecialUse::All),
        ("\\Flagged", SpecialUse::Flagged),
        ("\\Starred", SpecialUse::Flagged),
    ]
    .into_iter()
    .find_map(|(attribute, role)| entry.has(attribute).then_some(role))
}

#[cfg(test)]
mod tests;

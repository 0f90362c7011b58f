//! Commands about folders: NAMESPACE, LIST, STATUS, CREATE, …

use std::collections::{BTreeMap, BTreeSet};

use super::ImapMock;
use super::command::{List, StatusItem};
use super::maildir;
use super::names;
use super::session::{Reply, Session, Stream};
use super::store::{Folder, Store};

/// Longest folder name, in octets.
const LONGEST_NAME: usize = 4096;

/// The folder's name behind its octets on the wire: prefix off, decoded, INBOX in capitals.
pub(super) fn resolve(mock: &ImapMock, user: &str, utf8: bool, wire: &[u8]) -> Result<String, Reply> {
    if let Some(owner) = mock.store().users.get(user) {
        let by_octets = owner.folders.iter().find(|(_, f)| f.wire.as_deref() == Some(wire));
        if let Some((name, _)) = by_octets {
            return Ok(name.clone());
        }
    }
    let decoded = if utf8 { std::str::from_utf8(wire).ok().map(str::to_owned) } else { names::decode(wire) };
    let name = decoded
        .filter(|n| n.len() <= LONGEST_NAME)
        .ok_or_else(|| Reply::no("[CANNOT] The folder name is not valid modified UTF-7"))?;
    if name.eq_ignore_ascii_case("INBOX") {
        return Ok("INBOX".to_owned());
    }
    match name.strip_prefix(mock.options.prefix.as_str()) {
        Some(name) => Ok(name.to_owned()),
        None => Err(Reply::no("[NONEXISTENT] No such namespace")),
    }
}

/// Why nothing can be put into or taken from this folder, if so.
pub(super) fn missing(store: &Store, user: &str, name: &str) -> Option<Reply> {
    match store.folder(user, name) {
        None => Some(Reply::no("[TRYCREATE] No such folder")),
        Some(folder) if folder.no_select => Some(Reply::no("[CANNOT] The folder cannot hold messages")),
        Some(_) => None,
    }
}

impl<S: Stream> Session<'_, S> {
    pub(super) fn resolve(&self, wire: &[u8]) -> Result<String, Reply> {
        resolve(self.mock, self.user.as_deref().unwrap_or_default(), self.utf8, wire)
    }

    pub(super) fn name_of_user(&self) -> &str {
        self.user.as_deref().unwrap_or_default()
    }

    pub(super) fn namespace(&mut self) -> Reply {
        let options = &self.mock.options;
        let prefix = names::encode(&options.prefix);
        let spaces = |prefixes: &[String]| {
            let one = |p: &String| format!("(\"{}\" \"{}\")", names::encode(p), options.separator);
            let all: String = prefixes.iter().map(one).collect();
            if all.is_empty() { "NIL".to_owned() } else { format!("({all})") }
        };
        let (others, shared) = (spaces(&options.others), spaces(&options.shared));
        self.conn
            .out
            .untagged(&format!("NAMESPACE ((\"{prefix}\" \"{}\")) {others} {shared}", options.separator));
        Reply::ok("done")
    }

    pub(super) fn enable(&mut self, wanted: &[String]) -> Reply {
        let mut enabled = String::new();
        for name in wanted.iter().filter(|n| self.mock.options.offers(n)) {
            match name.as_str() {
                "CONDSTORE" => self.condstore = true,
                "QRESYNC" => (self.condstore, self.qresync) = (true, true),
                "UTF8=ACCEPT" => self.utf8 = true,
                _ => continue,
            }
            enabled.push(' ');
            enabled.push_str(name);
        }
        let told = if self.mock.options.quirks.enables_silently { "" } else { enabled.as_str() };
        self.conn.out.untagged(&format!("ENABLED{told}"));
        Reply::ok("done")
    }

    pub(super) fn list(&mut self, list: &List) -> Reply {
        if list.patterns.iter().all(Vec::is_empty) {
            // RFC 3501 §6.3.8: an empty pattern asks for the separator.
            let line = format!("LIST (\\Noselect) \"{}\" \"\"", self.mock.options.separator);
            self.conn.out.untagged(&line);
            return Reply::ok("done");
        }
        let mock = self.mock;
        let patterns: Vec<String> =
            list.patterns.iter().filter_map(|p| self.full_pattern(&list.reference, p)).collect();
        let user = self.name_of_user().to_owned();
        let mut store = mock.store();
        if maildir::rescan(&mut store, &user).is_err() {
            return Reply::no("[SERVERBUG] The Maildir cannot be read");
        }
        let Some(owner) = store.users.get(&user) else { return Reply::ok("done") };
        for (name, folder) in with_parents(&owner.folders, mock.options.separator) {
            let shown = self.shown(name);
            let matched = patterns.iter().any(|p| self.pattern_matches(p, &shown));
            let subscribed = owner.subscribed.contains(name);
            let special =
                folder.and_then(|f| f.special_use.as_deref()).filter(|_| mock.options.offers("SPECIAL-USE"));
            if !matched || (list.only_subscribed && !subscribed) || (list.only_special && special.is_none()) {
                continue;
            }
            let mut attributes = Vec::new();
            if folder.is_none_or(|f| f.no_select) {
                attributes.push("\\Noselect");
            }
            if mock.options.offers("CHILDREN") {
                let below = format!("{name}{}", mock.options.separator);
                let next = owner.folders.range(below.clone()..).next();
                let children = next.is_some_and(|(n, _)| n.starts_with(&below));
                attributes.push(if children { "\\HasChildren" } else { "\\HasNoChildren" });
            }
            attributes.extend(special);
            if subscribed && (list.only_subscribed || list.return_subscribed) {
                attributes.push("\\Subscribed");
            }
            let head = format!("* LIST ({}) \"{}\" ", attributes.join(" "), mock.options.separator);
            self.conn.out.text(&head);
            let wire = self.wire_name(name, folder);
            self.conn.out.push(&wire);
            self.conn.out.push(b"\r\n");
            if let (Some(items), Some(folder)) = (&list.return_status, folder.filter(|f| !f.no_select)) {
                self.status_line(&wire, name, folder, items);
            }
        }
        Reply::ok("List completed")
    }

    pub(super) fn lsub(&mut self, reference: Vec<u8>, pattern: Vec<u8>) -> Reply {
        let Some(pattern) = self.full_pattern(&reference, &pattern) else { return Reply::ok("done") };
        let store = self.mock.store();
        let subscribed: BTreeSet<String> =
            store.users.get(self.name_of_user()).map(|u| u.subscribed.clone()).unwrap_or_default();
        drop(store);
        for name in &subscribed {
            if !self.pattern_matches(&pattern, &self.shown(name)) {
                continue;
            }
            self.conn.out.text(&format!("* LSUB () \"{}\" ", self.mock.options.separator));
            let wire = self.wire_name(name, None);
            self.conn.out.push(&wire);
            self.conn.out.push(b"\r\n");
        }
        Reply::ok("done")
    }

    pub(super) fn subscribe(&mut self, wire: &[u8], on: bool) -> Reply {
        let name = match self.resolve(wire) {
            Ok(name) => name,
            Err(reply) => return reply,
        };
        let mut store = self.mock.store();
        let Some(owner) = store.users.get_mut(self.name_of_user()) else { return Reply::no("no such user") };
        if on && !owner.folders.contains_key(&name) {
            return Reply::no("[NONEXISTENT] No such folder");
        }
        if on {
            owner.subscribed.insert(name);
        } else {
            owner.subscribed.remove(&name);
        }
        store.client_changes += 1;
        Reply::ok("done")
    }

    pub(super) fn status(&mut self, wire: &[u8], items: &[StatusItem]) -> Reply {
        let name = match self.resolve(wire) {
            Ok(name) => name,
            Err(reply) => return reply,
        };
        let mock = self.mock;
        let user = self.name_of_user().to_owned();
        let mut store = mock.store();
        maildir::rescan_folder(&mut store, &user, &name);
        match store.folder(&user, &name) {
            Some(folder) if !folder.no_select => {
                let shown = self.wire_name(&name, Some(folder));
                self.status_line(&shown, &name, folder, items);
                Reply::ok("Status completed")
            }
            Some(_) => Reply::no("[CANNOT] The folder cannot be selected"),
            None => Reply::no("[NONEXISTENT] No such folder"),
        }
    }

    fn status_line(&mut self, wire: &[u8], name: &str, folder: &Folder, items: &[StatusItem]) {
        let messages = &folder.messages;
        let count = |wanted: &StatusItem| match wanted {
            StatusItem::Messages => format!("MESSAGES {}", messages.len()),
            StatusItem::Recent => format!("RECENT {}", messages.range(folder.recent_from..).count()),
            StatusItem::UidNext => format!("UIDNEXT {}", folder.uid_next),
            StatusItem::UidValidity => format!("UIDVALIDITY {}", folder.uid_validity),
            StatusItem::Unseen => {
                format!("UNSEEN {}", messages.values().filter(|m| !m.flags.contains("\\Seen")).count())
            }
            StatusItem::HighestModseq if folder.no_modseq => "HIGHESTMODSEQ 0".to_owned(),
            StatusItem::HighestModseq => format!("HIGHESTMODSEQ {}", folder.highest_modseq),
            StatusItem::AppendLimit => {
                let limit = self.mock.options.quirks.append_limit(name);
                format!("APPENDLIMIT {}", limit.map_or("NIL".to_owned(), |l| l.to_string()))
            }
            StatusItem::Size => {
                let sizes = messages.values().filter_map(|m| m.octets.read()).map(|o| o.len() as u64);
                format!("SIZE {}", sizes.sum::<u64>())
            }
            StatusItem::MailboxId => format!("MAILBOXID (F{})", folder.id),
        };
        let counts: Vec<String> = items.iter().map(count).collect();
        self.conn.out.text("* STATUS ");
        self.conn.out.push(wire);
        self.conn.out.text(&format!(" ({})", counts.join(" ")));
        self.conn.out.push(b"\r\n");
    }

    pub(super) fn create(&mut self, wire: &[u8], uses: &[String]) -> Reply {
        let separator = self.mock.options.separator;
        let name =
            match self.resolve(wire).and_then(|n| self.makeable(n.strip_suffix(separator).unwrap_or(&n))) {
                Ok(name) => name,
                Err(reply) => return reply,
            };
        let user = self.name_of_user();
        let mut store = self.mock.store();
        let quirks = &self.mock.options.quirks;
        let parent = name.rsplit_once(separator).and_then(|(parent, _)| store.folder(user, parent));
        if quirks.no_inferiors && parent.is_some_and(|p| !p.no_select) {
            return Reply::no("[CANNOT] A folder with messages has no folders below it");
        }
        let same = |other: &String| other.to_lowercase() == name.to_lowercase();
        if quirks.caseless_names && store.folders(user).iter().any(|other| *other != name && same(other)) {
            return Reply::no("[ALREADYEXISTS] The folder exists in another case");
        }
        if let Some(taken) = uses.iter().find(|u| store.has_special_use(user, u)) {
            return Reply::no(format!("[USEATTR] {taken} is another folder already"));
        }
        if let Some(folder) = store.folder_mut(user, &name) {
            if !folder.no_select {
                return Reply::no("[ALREADYEXISTS] The folder exists");
            }
            folder.no_select = false;
        }
        let folder = store.ensure_folder(user, &name);
        folder.special_use = uses.first().cloned().or(folder.special_use.take());
        let id = folder.id;
        if let Some(owner) = store.users.get_mut(user) {
            owner.subscribed.remove(&name);
        }
        store.client_changes += 1;
        if self.mock.options.offers("OBJECTID") {
            return Reply::ok(format!("[MAILBOXID (F{id})] Create completed"));
        }
        Reply::ok("Create completed")
    }

    /// Is this a name for a new folder?
    fn makeable(&self, name: &str) -> Result<String, Reply> {
        let separator = self.mock.options.separator;
        let forbidden = &self.mock.options.quirks.forbidden_in_names;
        let odd = |c: char| c.is_control() || c == '%' || c == '*' || forbidden.contains(c);
        if name.is_empty() || name.split(separator).any(str::is_empty) || name.contains(odd) {
            return Err(Reply::no("[CANNOT] Not a name for a folder"));
        }
        Ok(name.to_owned())
    }

    pub(super) fn delete(&mut self, wire: &[u8]) -> Reply {
        let name = match self.resolve(wire) {
            Ok(name) => name,
            Err(reply) => return reply,
        };
        if name == "INBOX" {
            return Reply::no("[CANNOT] INBOX cannot be deleted");
        }
        let user = self.name_of_user();
        let mut store = self.mock.store();
        if !store.delete_folder(user, &name) {
            return Reply::no("[NONEXISTENT] No such folder");
        }
        store.client_changes += 1;
        Reply::ok("Delete completed")
    }

    pub(super) fn rename(&mut self, from: &[u8], to: &[u8]) -> Reply {
        let names = self.resolve(from).and_then(|from| {
            let to = self.resolve(to)?;
            Ok((from, self.makeable(&to)?))
        });
        let (from, to) = match names {
            Ok(names) => names,
            Err(reply) => return reply,
        };
        let user = self.name_of_user();
        let mut store = self.mock.store();
        if store.folder(user, &to).is_some() {
            return Reply::no("[ALREADYEXISTS] The folder exists");
        }
        let done = if from == "INBOX" {
            // RFC 3501 §6.3.5: its messages move, and INBOX stays, empty.
            let inbox = store.folder(user, "INBOX").map(|f| f.messages.clone()).unwrap_or_default();
            for (uid, message) in inbox {
                store.ensure_folder(user, &to).append(message);
                store.expunge(user, "INBOX", uid);
            }
            store.add_folder(user, &to);
            true
        } else {
            store.rename_folder(user, &from, &to)
        };
        if !done {
            return Reply::no("[NONEXISTENT] No such folder");
        }
        store.client_changes += 1;
        Reply::ok("Rename completed")
    }

    /// The name with the namespace's prefix.
    fn shown(&self, name: &str) -> String {
        if name == "INBOX" { name.to_owned() } else { format!("{}{name}", self.mock.options.prefix) }
    }

    fn full_pattern(&self, reference: &[u8], pattern: &[u8]) -> Option<String> {
        let whole = [reference, pattern].concat();
        if self.utf8 { String::from_utf8(whole).ok() } else { names::decode(&whole) }
    }

    fn pattern_matches(&self, pattern: &str, shown: &str) -> bool {
        let separator = self.mock.options.separator;
        pattern.len() <= LONGEST_NAME
            && (names::matches(pattern, shown, separator)
                || (shown == "INBOX" && names::matches(&pattern.to_ascii_uppercase(), shown, separator)))
    }

    /// The name as LIST and STATUS send it: an atom or quoted where it can be, else a literal.
    fn wire_name(&self, name: &str, folder: Option<&Folder>) -> Vec<u8> {
        let shown = self.shown(name);
        let octets = match folder.and_then(|f| f.wire.as_deref()) {
            Some(wire) => wire.to_vec(),
            None if self.utf8 => shown.into_bytes(),
            None => names::encode(&shown).into_bytes(),
        };
        let unquotable = |&b: &u8| b < b' ' || b == 0x7f || (b > 0x7f && !self.utf8);
        if octets.iter().any(unquotable) {
            return [format!("{{{}}}\r\n", octets.len()).as_bytes(), &octets].concat();
        }
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_./&,+".contains(b);
        if !octets.is_empty() && octets.iter().all(plain) {
            return octets;
        }
        let mut quoted = vec![b'"'];
        for b in octets {
            if b == b'"' || b == b'\\' {
                quoted.push(b'\\');
            }
            quoted.push(b);
        }
        quoted.push(b'"');
        quoted
    }
}

/// All folders, and the parents that exist only because something lies below them.
fn with_parents(folders: &BTreeMap<String, Folder>, separator: char) -> BTreeMap<&str, Option<&Folder>> {
    let mut all: BTreeMap<&str, Option<&Folder>> = BTreeMap::new();
    for name in folders.keys() {
        for (at, _) in name.match_indices(separator) {
            if at > 0 {
                all.entry(&name[..at]).or_insert(None);
            }
        }
    }
    all.extend(folders.iter().map(|(name, folder)| (name.as_str(), Some(folder))));
    all
}

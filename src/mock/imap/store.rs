//! The mail behind the mock: users, folders, messages. It is the truth that tests compare with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::date::InternalDate;
use super::made::{Law, Made};

/// All mail of a mock server, and what became of it. Deterministic: the same calls give the same UIDs, UIDVALIDITY
/// values and object ids.
#[derive(Debug, Default)]
pub struct Store {
    pub(super) users: BTreeMap<String, User>,
    pub(super) separator: char,
    folders_made: u32,
    messages_made: u64,
    /// Changes made by clients (not by this API): a source that was only read has none.
    pub(super) client_changes: u64,
    /// Users that are made up when they are asked for.
    pub(super) made: Option<Law>,
}

#[derive(Debug, Default)]
pub(super) struct User {
    pub folders: BTreeMap<String, Folder>,
    pub subscribed: BTreeSet<String>,
    /// Where this user's Maildir lies, if the mail comes from one.
    pub maildir: Option<PathBuf>,
    /// Maildir folders that a client deleted: the files stay, the folder does not come back.
    pub dropped: BTreeSet<PathBuf>,
    /// Mail is kept as Gmail keeps it.
    pub gmail: bool,
    /// Folders that do not show a message whose label they are.
    pub hidden: BTreeSet<(String, u64)>,
    /// Made up, by the store's law: folders it had then, and the changes they had seen.
    pub made: Option<(usize, u64)>,
}

#[derive(Debug)]
pub(super) struct Folder {
    /// Kept through renames; sessions hold on to it.
    pub id: u32,
    pub uid_validity: u32,
    pub uid_next: u32,
    pub messages: BTreeMap<u32, Message>,
    pub highest_modseq: u64,
    /// (modseq, UID) of what was expunged, for VANISHED (RFC 7162).
    pub vanished: Vec<(u64, u32)>,
    pub special_use: Option<String>,
    pub no_select: bool,
    /// The name's octets in LIST, where they shall differ from the encoded name.
    pub wire: Option<Bytes>,
    /// Maildir file base names by UID, for folders that come from one.
    pub files: BTreeMap<String, u32>,
    pub directory: Option<PathBuf>,
    pub recent_from: u32,
    /// It keeps no modification sequences (RFC 7162 §3.1.2.2).
    pub no_modseq: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Message {
    pub octets: Octets,
    pub flags: BTreeSet<String>,
    pub date: InternalDate,
    /// INTERNALDATE as sent, where it shall be no date at all.
    pub raw_date: Option<String>,
    pub modseq: u64,
    /// The same for copies (RFC 8474).
    pub email_id: u64,
}

/// A message's octets: in memory, in a Maildir file that is read when asked for, or made up then.
#[derive(Debug, Clone)]
pub(super) enum Octets {
    Memory(Bytes),
    File { path: PathBuf, size: Option<u64> },
    Made(Made),
}

impl Octets {
    /// How many, as far as that is known without reading.
    pub fn length(&self) -> u64 {
        match self {
            Octets::Memory(octets) => octets.len() as u64,
            Octets::File { size, .. } => size.unwrap_or(0),
            Octets::Made(made) => made.size(),
        }
    }

    /// The octets as a client gets them, or `None` where the file cannot be read (any more).
    pub fn read(&self) -> Option<Bytes> {
        match self {
            Octets::Memory(octets) => Some(octets.clone()),
            Octets::File { path, .. } => super::maildir::read(path),
            Octets::Made(made) => Some(made.octets()),
        }
    }

    /// How many, where that can be told of octets that lie elsewhere.
    pub fn noted(&self) -> Option<u64> {
        match self {
            Octets::Memory(_) => None,
            Octets::File { size, .. } => *size,
            Octets::Made(made) => Some(made.size()),
        }
    }
}

/// One message as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    /// Its UID.
    pub uid: u32,
    /// Its flags and keywords, sorted.
    pub flags: Vec<String>,
    /// Its received date.
    pub date: InternalDate,
    /// Its octets.
    pub octets: Bytes,
}

impl Store {
    /// An empty store whose folder names have `separator` between their levels.
    pub fn new(separator: char) -> Store {
        Store { separator, ..Store::default() }
    }

    /// Adds a user with an empty INBOX; one that is there stays as it is.
    pub fn add_user(&mut self, user: &str) {
        if let Some(law) = self.made.as_ref().filter(|_| !self.users.contains_key(user))
            && let Some(mailbox) = law.mailbox(user)
        {
            self.users.insert(user.to_owned(), law.user_of(mailbox));
        }
        self.ensure_folder(user, "INBOX");
    }

    /// Forgets a user that was made up and can be made again as it is.
    pub(super) fn forget_made(&mut self, user: &str) {
        if self.users.get(user).is_some_and(User::as_made) {
            self.users.remove(user);
        }
    }

    /// Adds a folder (and the user); one that is there stays as it is.
    pub fn add_folder(&mut self, user: &str, folder: &str) {
        self.ensure_folder(user, folder);
    }

    /// Adds a folder that LIST names by exactly these octets, legal or not.
    pub fn add_folder_as(&mut self, user: &str, folder: &str, wire: &[u8]) {
        self.ensure_folder(user, folder).wire = Some(Bytes::copy_from_slice(wire));
    }

    /// Gives a folder a special use (RFC 6154), such as `\Sent`.
    pub fn set_special_use(&mut self, user: &str, folder: &str, attribute: &str) {
        self.ensure_folder(user, folder).special_use = Some(attribute.to_owned());
    }

    /// Makes a folder one that cannot be selected (`\Noselect`), or selectable again.
    pub fn set_no_select(&mut self, user: &str, folder: &str, no_select: bool) {
        self.ensure_folder(user, folder).no_select = no_select;
    }

    /// Adds a message with exactly these octets (nothing is checked: sources hold the strangest things) and gives its
    /// UID. User and folder are made where they are missing.
    pub fn add(
        &mut self,
        user: &str,
        folder: &str,
        octets: impl Into<Bytes>,
        flags: &[&str],
        date: InternalDate,
    ) -> u32 {
        let message = self.new_message(octets.into(), flags, date);
        self.ensure_folder(user, folder).append(message)
    }

    /// Sends this text as the INTERNALDATE of a message, whatever it is. False where there is no such message.
    pub fn set_raw_date(&mut self, user: &str, folder: &str, uid: u32, date: &str) -> bool {
        let message = self.folder_mut(user, folder).and_then(|f| f.messages.get_mut(&uid));
        message.map(|m| m.raw_date = Some(date.to_owned())).is_some()
    }

    /// Replaces a message's flags, as another client would. False where there is no such message.
    pub fn set_flags(&mut self, user: &str, folder: &str, uid: u32, flags: &[&str]) -> bool {
        let flags = flags.iter().map(|f| canonical_flag(f)).collect();
        self.folder_mut(user, folder).is_some_and(|f| f.set_flags(uid, flags))
    }

    /// Removes a message for good, as another client would. False where there is no such message.
    pub fn expunge(&mut self, user: &str, folder: &str, uid: u32) -> bool {
        self.folder_mut(user, folder).is_some_and(|f| f.expunge(uid))
    }

    /// Gives a folder a new UIDVALIDITY and its messages new UIDs from 1 on, in the same order.
    pub fn reset_uid_validity(&mut self, user: &str, folder: &str) -> bool {
        let validity = self.next_validity();
        self.folder_mut(user, folder).is_some_and(|f| {
            f.renumber(validity);
            true
        })
    }

    /// Makes the folder promise this UIDNEXT, lower than its UIDs too: a broken server that uses UIDs again.
    pub fn set_uid_next(&mut self, user: &str, folder: &str, uid_next: u32) -> bool {
        self.folder_mut(user, folder).map(|f| f.uid_next = uid_next).is_some()
    }

    /// Makes the folder claim this HIGHESTMODSEQ, lower than before too: a server restored from a backup.
    pub fn set_highest_modseq(&mut self, user: &str, folder: &str, modseq: u64) -> bool {
        self.folder_mut(user, folder).map(|f| f.highest_modseq = modseq).is_some()
    }

    /// Makes the folder one that keeps no modification sequences (`[NOMODSEQ]`), or does.
    pub fn set_no_modseq(&mut self, user: &str, folder: &str, no_modseq: bool) -> bool {
        self.folder_mut(user, folder).map(|f| f.no_modseq = no_modseq).is_some()
    }

    /// Makes the folder tell this UIDVALIDITY, 0 too; its messages keep their UIDs.
    pub fn set_uid_validity(&mut self, user: &str, folder: &str, uid_validity: u32) -> bool {
        self.folder_mut(user, folder).map(|f| f.uid_validity = uid_validity).is_some()
    }

    /// Adds one message that is in each of `folders`, with one EMAILID and one X-GM-MSGID; gives its UIDs. What Gmail does
    /// beyond that: [`Store::deliver`].
    pub fn add_labelled(
        &mut self,
        user: &str,
        folders: &[&str],
        octets: impl Into<Bytes>,
        flags: &[&str],
        date: InternalDate,
    ) -> Vec<u32> {
        let octets = octets.into();
        let message = self.new_message(octets, flags, date);
        folders.iter().map(|folder| self.ensure_folder(user, folder).append(message.clone())).collect()
    }

    /// Renames a folder and all below it (RFC 3501 §6.3.5). False where it cannot be done.
    pub fn rename_folder(&mut self, user: &str, from: &str, to: &str) -> bool {
        let separator = self.separator;
        let Some(owner) = self.users.get_mut(user) else { return false };
        if from == "INBOX" || owner.folders.contains_key(to) {
            return false;
        }
        let below = format!("{from}{separator}");
        let names: Vec<String> =
            owner.folders.keys().filter(|n| *n == from || n.starts_with(&below)).cloned().collect();
        if names.is_empty() || to.starts_with(&below) {
            return false;
        }
        for name in names {
            if let Some(folder) = owner.folders.remove(&name) {
                owner.folders.insert(format!("{to}{}", &name[from.len()..]), folder);
            }
        }
        true
    }

    /// Deletes a folder with its messages. False where there is none.
    pub fn delete_folder(&mut self, user: &str, folder: &str) -> bool {
        let Some(owner) = self.users.get_mut(user) else { return false };
        let Some(gone) = owner.folders.remove(folder) else { return false };
        owner.dropped.extend(gone.directory);
        true
    }

    /// Serves `root` (a Maildir++ tree) as the mail of `user`. Files are read only, never changed: what clients change
    /// lives in memory. Folders are looked at again whenever a client selects them.
    ///
    /// # Errors
    /// Where the tree cannot be listed.
    pub fn add_maildir(&mut self, user: &str, root: &Path) -> std::io::Result<()> {
        self.add_user(user);
        if let Some(owner) = self.users.get_mut(user) {
            owner.maildir = Some(root.to_owned());
        }
        super::maildir::rescan(self, user)
    }

    /// All users, sorted.
    pub fn users(&self) -> Vec<String> {
        self.users.keys().cloned().collect()
    }

    /// A user's folders (names as people see them), sorted.
    pub fn folders(&self, user: &str) -> Vec<String> {
        self.users.get(user).map(|u| u.folders.keys().cloned().collect()).unwrap_or_default()
    }

    /// The UIDs in a folder, ascending.
    pub fn uids(&self, user: &str, folder: &str) -> Vec<u32> {
        self.folder(user, folder).map(|f| f.messages.keys().copied().collect()).unwrap_or_default()
    }

    /// The folder's UIDVALIDITY.
    pub fn uid_validity(&self, user: &str, folder: &str) -> Option<u32> {
        self.folder(user, folder).map(|f| f.uid_validity)
    }

    /// A message's flags and keywords, sorted.
    pub fn flags(&self, user: &str, folder: &str, uid: u32) -> Option<Vec<String>> {
        self.folder(user, folder)?.messages.get(&uid).map(|m| m.flags.iter().cloned().collect())
    }

    /// Is the message `\Seen`?
    pub fn is_seen(&self, user: &str, folder: &str, uid: u32) -> Option<bool> {
        self.folder(user, folder)?.messages.get(&uid).map(|m| m.flags.contains("\\Seen"))
    }

    /// A folder's messages, by UID; those whose file is gone are left out.
    pub fn messages(&self, user: &str, folder: &str) -> Vec<Truth> {
        let Some(folder) = self.folder(user, folder) else { return Vec::new() };
        let truth = |(&uid, m): (&u32, &Message)| {
            let flags = m.flags.iter().cloned().collect();
            m.octets.read().map(|octets| Truth { uid, flags, date: m.date, octets })
        };
        folder.messages.iter().filter_map(truth).collect()
    }

    /// How many changes clients made: appends, flags (the `\Seen` of a BODY[] without PEEK too), expunges, folders.
    pub fn client_changes(&self) -> u64 {
        self.client_changes
    }

    pub(super) fn folder(&self, user: &str, folder: &str) -> Option<&Folder> {
        self.users.get(user)?.folders.get(folder)
    }

    pub(super) fn folder_mut(&mut self, user: &str, folder: &str) -> Option<&mut Folder> {
        self.users.get_mut(user)?.folders.get_mut(folder)
    }

    pub(super) fn has_special_use(&self, user: &str, attribute: &str) -> bool {
        let is = |f: &Folder| f.special_use.as_deref().is_some_and(|s| s.eq_ignore_ascii_case(attribute));
        self.users.get(user).is_some_and(|u| u.folders.values().any(is))
    }

    /// Octets all messages of a user have together.
    pub(super) fn octets_of(&self, user: &str) -> u64 {
        let folders = self.users.get(user).into_iter().flat_map(|u| u.folders.values());
        folders.flat_map(|f| f.messages.values()).map(|m| m.octets.length()).sum()
    }

    /// The labels of a message, for its X-GM-LABELS in `here`: the other folders it is in.
    pub(super) fn labels(&self, user: &str, here: &str, email_id: u64) -> Vec<String> {
        let Some(owner) = self.users.get(user) else { return Vec::new() };
        if owner.gmail {
            return self.gmail_labels(user, here, email_id);
        }
        let label = |(name, folder): (&String, &Folder)| {
            let all = folder.special_use.as_deref() == Some("\\All");
            let has = name != here && !all && folder.messages.values().any(|m| m.email_id == email_id);
            has.then(|| match &folder.special_use {
                Some(special) => special.clone(),
                None if name == "INBOX" => "\\Inbox".to_owned(),
                None => {
                    format!("\"{}\"", super::names::encode(name).replace('\\', "\\\\").replace('"', "\\\""))
                }
            })
        };
        owner.folders.iter().filter_map(label).collect()
    }

    /// A message as it came in, with an id of its own.
    pub(super) fn new_message(&mut self, octets: Bytes, flags: &[&str], date: InternalDate) -> Message {
        Message {
            octets: Octets::Memory(octets),
            flags: flags.iter().map(|f| canonical_flag(f)).collect(),
            date,
            raw_date: None,
            modseq: 0,
            email_id: self.next_email_id(),
        }
    }

    pub(super) fn next_email_id(&mut self) -> u64 {
        self.messages_made += 1;
        self.messages_made
    }

    /// Never the same twice, so that a folder deleted and made again is another one.
    pub(super) fn next_validity(&mut self) -> u32 {
        self.folders_made += 1;
        1_600_000_000 + self.folders_made
    }

    pub(super) fn ensure_folder(&mut self, user: &str, folder: &str) -> &mut Folder {
        if !self.users.contains_key(user) {
            self.users.insert(user.to_owned(), User::default());
            self.ensure_folder(user, "INBOX");
        }
        let missing = self.folder(user, folder).is_none();
        let validity = if missing { self.next_validity() } else { 0 };
        let owner = self.users.entry(user.to_owned()).or_default();
        if missing {
            owner.subscribed.insert(folder.to_owned());
        }
        owner.folders.entry(folder.to_owned()).or_insert_with(|| Folder::new(validity))
    }
}

impl Folder {
    pub(super) fn new(validity: u32) -> Folder {
        Folder {
            id: validity,
            uid_validity: validity,
            uid_next: 1,
            messages: BTreeMap::new(),
            highest_modseq: 1,
            vanished: Vec::new(),
            special_use: None,
            no_select: false,
            wire: None,
            files: BTreeMap::new(),
            directory: None,
            recent_from: 1,
            no_modseq: false,
        }
    }

    pub fn append(&mut self, message: Message) -> u32 {
        let uid = self.uid_next;
        self.insert(uid, message);
        uid
    }

    pub fn insert(&mut self, uid: u32, mut message: Message) {
        self.highest_modseq += 1;
        message.modseq = self.highest_modseq;
        self.uid_next = self.uid_next.max(uid.saturating_add(1));
        self.messages.insert(uid, message);
    }

    pub fn set_flags(&mut self, uid: u32, flags: BTreeSet<String>) -> bool {
        let Some(message) = self.messages.get_mut(&uid) else { return false };
        if message.flags != flags {
            self.highest_modseq += 1;
            message.modseq = self.highest_modseq;
            message.flags = flags;
        }
        true
    }

    pub fn expunge(&mut self, uid: u32) -> bool {
        let gone = self.messages.remove(&uid).is_some();
        if gone {
            self.highest_modseq += 1;
            self.vanished.push((self.highest_modseq, uid));
        }
        gone
    }

    fn renumber(&mut self, validity: u32) {
        self.uid_validity = validity;
        let mut moved = BTreeMap::new();
        let old = std::mem::take(&mut self.messages);
        for (number, (uid, message)) in (1..).zip(old) {
            moved.insert(uid, number);
            self.messages.insert(number, message);
        }
        for uid in self.files.values_mut() {
            *uid = moved.get(uid).copied().unwrap_or(0);
        }
        self.uid_next = self.messages.len() as u32 + 1;
        self.vanished.clear();
        self.highest_modseq += 1;
    }
}

/// System flags in their usual spelling, keywords as they are.
pub(super) fn canonical_flag(flag: &str) -> String {
    let known = ["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"];
    known.iter().find(|k| k.eq_ignore_ascii_case(flag)).map_or_else(|| flag.to_owned(), |k| (*k).to_owned())
}

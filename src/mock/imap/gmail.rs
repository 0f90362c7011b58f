//! A user's mail as Gmail keeps it: one store of messages with labels, and folders that are views of it.
//!
//! A message has one X-GM-MSGID and one set of flags wherever it is seen, another UID in each folder, and one place among
//! the account's modification sequences. All Mail holds all but what is in Spam or Trash, and those are in no other
//! folder; Starred holds what is `\Flagged`. X-GM-LABELS names all labels but that of the folder that is open. Clients
//! are taken for readers: what they store here changes one folder only.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::date::InternalDate;
use super::options::ImapOptions;
use super::store::{Message, Store, canonical_flag};

/// What Gmail announces, as far as this mock can do it.
const CAPABILITIES: &str = "UNSELECT NAMESPACE ID CHILDREN X-GM-EXT-1 UIDPLUS ENABLE MOVE CONDSTORE ESEARCH LIST-EXTENDED \
                            LIST-STATUS LITERAL- SPECIAL-USE SASL-IR";

const ALL: &str = "[Gmail]/All Mail";
const STARRED: &str = "[Gmail]/Starred";
const SPAM: &str = "[Gmail]/Spam";
const TRASH: &str = "[Gmail]/Trash";

/// The folders every account has, and their special uses.
const FOLDERS: [(&str, &str); 7] = [
    (ALL, "\\All"),
    ("[Gmail]/Drafts", "\\Drafts"),
    ("[Gmail]/Important", "\\Important"),
    ("[Gmail]/Sent Mail", "\\Sent"),
    (SPAM, "\\Junk"),
    (STARRED, "\\Flagged"),
    (TRASH, "\\Trash"),
];

impl ImapOptions {
    /// Like Gmail: its capabilities; `/` parts levels.
    pub fn gmail() -> ImapOptions {
        let capabilities = CAPABILITIES.split_whitespace().map(str::to_owned).collect();
        ImapOptions { capabilities, separator: '/', ..ImapOptions::default() }
    }
}

impl Store {
    /// Adds a user whose mail is kept as Gmail keeps it.
    pub fn add_gmail_user(&mut self, user: &str) {
        self.add_user(user);
        for (folder, special) in FOLDERS {
            self.set_special_use(user, folder, special);
        }
        if let Some(owner) = self.users.get_mut(user) {
            owner.gmail = true;
        }
    }

    /// A message comes in with these labels, which are names of folders (`INBOX`, `[Gmail]/Sent Mail`, `Work`); gives its
    /// X-GM-MSGID.
    pub fn deliver(
        &mut self,
        user: &str,
        labels: &[&str],
        octets: impl Into<Bytes>,
        flags: &[&str],
        date: InternalDate,
    ) -> u64 {
        let message = self.new_message(octets.into(), flags, date);
        let email_id = message.email_id;
        self.relabel(user, message, labels);
        email_id
    }

    /// Gives a message exactly these labels. False where there is no such message.
    pub fn set_labels(&mut self, user: &str, id: u64, labels: &[&str]) -> bool {
        let Some(message) = self.gmail_message(user, id) else { return false };
        self.relabel(user, message, labels);
        true
    }

    /// Gives a message exactly these flags, in every folder. False where there is no such message.
    pub fn set_gmail_flags(&mut self, user: &str, id: u64, flags: &[&str]) -> bool {
        let Some(mut message) = self.gmail_message(user, id) else { return false };
        message.flags = flags.iter().map(|f| canonical_flag(f)).collect();
        let labels = self.holders(user, id);
        let labels: Vec<&str> = labels.iter().map(String::as_str).filter(|l| *l != STARRED).collect();
        self.relabel(user, message, &labels);
        true
    }

    /// Removes a message from every folder, for good. False where there is no such message.
    pub fn delete_for_good(&mut self, user: &str, id: u64) -> bool {
        let holders = self.holders(user, id);
        for folder in &holders {
            if let Some(uid) = self.uid_of(user, folder, id) {
                self.expunge(user, folder, uid);
            }
        }
        !holders.is_empty()
    }

    /// Renames a label. Its messages have another label then. False where it cannot be done.
    pub fn rename_label(&mut self, user: &str, from: &str, to: &str) -> bool {
        let ids: Vec<u64> = self
            .folder(user, from)
            .into_iter()
            .flat_map(|f| f.messages.values())
            .map(|m| m.email_id)
            .collect();
        let renamed = self.rename_folder(user, from, to);
        ids.into_iter().for_each(|id| self.touch(user, id));
        renamed
    }

    /// Takes a label away from all messages, and its folder. False where there is none.
    pub fn delete_label(&mut self, user: &str, label: &str) -> bool {
        let ids: Vec<u64> = self
            .folder(user, label)
            .into_iter()
            .flat_map(|f| f.messages.values())
            .map(|m| m.email_id)
            .collect();
        let deleted = self.delete_folder(user, label);
        ids.into_iter().for_each(|id| self.touch(user, id));
        deleted
    }

    /// A message vanishes from one folder and keeps the label: what a limit on the size of folders does.
    pub fn hide(&mut self, user: &str, folder: &str, id: u64) -> bool {
        self.uid_of(user, folder, id).is_some_and(|uid| self.expunge(user, folder, uid))
            && self.users.get_mut(user).is_some_and(|owner| owner.hidden.insert((folder.to_owned(), id)))
    }

    /// Puts a message into the folders of its labels and takes it out of the others.
    fn relabel(&mut self, user: &str, message: Message, labels: &[&str]) {
        let mut wanted: BTreeSet<String> = labels.iter().map(|l| (*l).to_owned()).collect();
        let exclusive = [TRASH, SPAM].into_iter().find(|folder| wanted.contains(*folder));
        match exclusive {
            Some(folder) => wanted = BTreeSet::from([folder.to_owned()]),
            None => {
                wanted.insert(ALL.to_owned());
                if message.flags.contains("\\Flagged") {
                    wanted.insert(STARRED.to_owned());
                }
            }
        }
        let id = message.email_id;
        for folder in self.holders(user, id).into_iter().filter(|folder| !wanted.contains(folder)) {
            if let Some(uid) = self.uid_of(user, &folder, id) {
                self.expunge(user, &folder, uid);
            }
        }
        for folder in &wanted {
            match self.uid_of(user, folder, id) {
                None => drop(self.ensure_folder(user, folder).append(message.clone())),
                Some(uid) => {
                    if let Some(there) = self.folder_mut(user, folder).and_then(|f| f.messages.get_mut(&uid))
                    {
                        there.flags.clone_from(&message.flags);
                    }
                }
            }
        }
        self.touch(user, id);
    }

    /// A message changed: in each of its folders it has the account's newest modification sequence.
    fn touch(&mut self, user: &str, id: u64) {
        let Some(owner) = self.users.get_mut(user) else { return };
        let newest = owner.folders.values().map(|f| f.highest_modseq).max().unwrap_or(0) + 1;
        for folder in owner.folders.values_mut() {
            if let Some(message) = folder.messages.values_mut().find(|m| m.email_id == id) {
                message.modseq = newest;
                folder.highest_modseq = newest;
            }
        }
    }

    fn gmail_message(&self, user: &str, id: u64) -> Option<Message> {
        let owner = self.users.get(user)?;
        owner.folders.values().flat_map(|f| f.messages.values()).find(|m| m.email_id == id).cloned()
    }

    /// The folders a message is in.
    fn holders(&self, user: &str, id: u64) -> Vec<String> {
        let Some(owner) = self.users.get(user) else { return Vec::new() };
        let holds = |folder: &super::store::Folder| folder.messages.values().any(|m| m.email_id == id);
        owner.folders.iter().filter(|(_, f)| holds(f)).map(|(name, _)| name.clone()).collect()
    }

    fn uid_of(&self, user: &str, folder: &str, id: u64) -> Option<u32> {
        self.folder(user, folder)?.messages.iter().find(|(_, m)| m.email_id == id).map(|(uid, _)| *uid)
    }

    /// A Gmail user's labels of a message, as X-GM-LABELS writes them in the folder `here`.
    pub(super) fn gmail_labels(&self, user: &str, here: &str, id: u64) -> Vec<String> {
        let hidden = self.users.get(user).into_iter().flat_map(|owner| &owner.hidden);
        let hidden = hidden.filter(|(_, hidden)| *hidden == id).map(|(folder, _)| folder.clone());
        let mut names: BTreeSet<String> = self.holders(user, id).into_iter().chain(hidden).collect();
        names.remove(here);
        names.remove(ALL);
        names.into_iter().map(|name| self.label(user, &name)).collect()
    }

    fn label(&self, user: &str, name: &str) -> String {
        let special = self.folder(user, name).and_then(|f| f.special_use.as_deref());
        match special {
            None if name == "INBOX" => return quoted("\\Inbox"),
            Some("\\Drafts") => return quoted("\\Draft"),
            Some("\\Flagged") => return quoted("\\Starred"),
            Some(special) => return quoted(special),
            None => {}
        }
        let name = super::names::encode(name);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./&,+".contains(&b);
        if !name.is_empty() && name.bytes().all(plain) { name } else { quoted(&name) }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

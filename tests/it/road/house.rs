//! A house of a few people whose mail lies in a real IMAP server, whichever it is.

use std::collections::BTreeMap;

use super::office::{Done, Folders, Names, append, reflag, singles, uid};
use crate::support::imap_client::Client;
use crate::support::mailgen::{Mail, MailGen};
use crate::support::server::ImapServer;

/// Folders everybody has; the levels above them hold no mail of their own.
const FOLDERS: &[&[&str]] = &[
    &["INBOX"],
    &["Sent"],
    &["Drafts"],
    &["Trash"],
    &["Junk"],
    &["Archive"],
    &[" leading blank"],
    &["😀 Smile"],
    &["Prüfung & Ärger"],
    &["受信箱"],
    &["Projekte", "2026", "Köln & Bonn"],
    &["Projekte", "2026", "Köln & Bonn", "Anlagen"],
    &["Angebote"],
    &["angebote"],
    &["Aufgelöst"],
    &["Leer"],
];

/// A few people whose mail lies in a real IMAP server, and what is true of every message of it.
pub struct House<S> {
    pub server: S,
    /// What each mailbox holds now.
    pub mail: BTreeMap<String, Folders>,
    made: MailGen,
}

impl<S: ImapServer> House<S> {
    /// Lets everybody move in, with about 190 messages each.
    pub fn found(seed: u64, server: S) -> House<S> {
        eprintln!("seed {seed}");
        let mut house = House { server, mail: BTreeMap::new(), made: MailGen::new(seed, "example.org") };
        for (user, _) in house.server.reach().users {
            let mut client = house.server.client(&user);
            let folders = house.move_in(&mut client);
            house.mail.insert(user, folders);
        }
        house
    }

    fn move_in(&mut self, client: &mut Client) -> Folders {
        let mut folders = Folders::new();
        let there = client.folders();
        for names in FOLDERS.iter().filter(|names| !there.iter().any(|known| known == *names)) {
            client.create(names);
        }
        for names in FOLDERS {
            let count = match names {
                ["INBOX"] => 60,
                ["Leer"] => 0,
                _ => 8,
            };
            let mut held: Vec<Mail> = (0..count).map(|i| self.next(i % 9 == 4)).collect();
            if let Some(twin) = held.iter().find(|m| m.message_id.is_some()).cloned() {
                held.push(twin);
            }
            if *names == ["INBOX"] {
                held.push(self.made.with_attachment(2_000_000));
                held[1].received = 1;
                held[2].received = 4_102_444_800; // 2100
            }
            held.iter().for_each(|mail| append(client, names, mail));
            folders.insert(names.to_vec(), held);
        }
        folders
    }

    /// The next message, of those every server takes and keeps: its header ends, and so does its last line.
    fn next(&mut self, odd: bool) -> Mail {
        loop {
            let mail = if odd { self.made.odd() } else { self.made.next() };
            if mail.octets.ends_with(b"\r\n") && mail.octets.windows(4).any(|w| w == b"\r\n\r\n") {
                return mail;
            }
        }
    }

    /// Messages of all mailboxes.
    pub fn messages(&self) -> impl Iterator<Item = &Mail> {
        self.mail.values().flat_map(BTreeMap::values).flatten()
    }

    /// How many messages there are.
    pub fn copies(&self) -> usize {
        self.messages().count()
    }

    /// How a run that copies everything should be summed up.
    pub fn all(&self) -> Done {
        let bytes = self.messages().map(|m| m.octets.len() as u64).sum();
        Done { stored: self.copies() as u64, bytes, ..Done::default() }
    }

    /// What people do between two passes. Tells what a pass that mirrors it should say.
    pub fn change(&mut self) -> Done {
        let mut done = Done::default();
        let users: Vec<String> = self.mail.keys().cloned().collect();
        for user in users {
            let mut client = self.server.client(&user);
            let mut folders = self.mail.remove(&user).expect("a mailbox");
            let new = [self.next(false), self.next(false)];
            change_one(&mut client, &mut folders, new, &mut done);
            self.mail.insert(user, folders);
        }
        done
    }

    /// All that the server tells of each folder without being touched.
    pub fn told(&self) -> BTreeMap<(String, Names), String> {
        let mut all = BTreeMap::new();
        for (user, folders) in &self.mail {
            let mut client = self.server.client(user);
            for names in
                folders.keys().filter(|names| **names != ["Aufgelöst"] || !folders[*names].is_empty())
            {
                all.insert((user.clone(), names.clone()), client.state(names));
            }
        }
        all
    }
}

fn change_one(client: &mut Client, folders: &mut Folders, new: [Mail; 2], done: &mut Done) {
    // New mail, in an old folder and in a new one.
    client.create(&["Neu & frisch"]);
    for (names, mail) in [&["INBOX"][..], &["Neu & frisch"]].into_iter().zip(new) {
        append(client, names, &mail);
        done.stored += 1;
        done.bytes += mail.octets.len() as u64;
        folders.entry(names.to_vec()).or_default().push(mail);
    }
    // Flags: set, cleared, replaced by others.
    let choices = [&["\\Seen", "\\Flagged", "\\Answered"][..], &[], &["Projekt-X", "work"], &["$Forwarded"]];
    for (at, flags) in singles(folders, &["Prüfung & Ärger"]).into_iter().zip(choices) {
        reflag(client, folders, &["Prüfung & Ärger"], at, flags, done);
    }
    // Moves: out of the inbox, and into it from the depth.
    for (from, to) in [
        (&["INBOX"][..], &["Archive"][..]),
        (&["INBOX"], &["受信箱"]),
        (&["Projekte", "2026", "Köln & Bonn", "Anlagen"], &["INBOX"]),
    ] {
        let at = *singles(folders, from).iter().take(3).next_back().expect("a message");
        let mail = folders.get_mut(from).expect("a folder").remove(at);
        let uid = uid(client, from, &mail);
        client.move_to(from, uid, to);
        folders.get_mut(to).expect("a folder").push(mail);
        done.moved += 1;
    }
    // Deletions: a single message, and one of two twins.
    let at = singles(folders, &["Junk"])[0];
    let mail = folders.get_mut(&["Junk"][..]).expect("a folder").remove(at);
    let uid = uid(client, &["Junk"], &mail);
    client.expunge(&["Junk"], uid);
    let sent = folders.get_mut(&["Sent"][..]).expect("a folder");
    let twin = sent.pop().expect("a twin");
    let uids = client.find(&["Sent"], twin.message_id.as_deref().expect("twins have one"));
    assert_eq!(uids.len(), 2);
    client.expunge(&["Sent"], uids[1]);
    done.removed += 2;
    // A folder goes with all that is in it; its counterpart stays, empty.
    client.delete(&["Aufgelöst"]);
    let gone = folders.get_mut(&["Aufgelöst"][..]).expect("a folder");
    done.removed += gone.len() as u64;
    gone.clear();
    // A folder gets another name, with what is in it and below it.
    let (from, to) = (&["Projekte", "2026", "Köln & Bonn"][..], &["Projekte", "2026", "Bonn"][..]);
    client.rename(from, to);
    let renamed: Vec<Names> = folders.keys().filter(|names| names.starts_with(from)).cloned().collect();
    for names in renamed {
        let mail = folders.remove(&names).expect("a folder");
        folders.insert([to, &names[from.len()..]].concat(), mail);
    }
}

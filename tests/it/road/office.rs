//! An office of twenty people whose mail lies in a real Dovecot, and what is true of every message of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::support::dovecot::{Client, Dovecot, Options};
use crate::support::mailgen::{Mail, MailGen};

/// A folder: its names from the top.
pub type Names = Vec<&'static str>;
/// The folders of one mailbox with their messages.
pub type Folders = BTreeMap<Names, Vec<Mail>>;

/// Folders everybody has, and the path each becomes in Graph. A level above that is not named here has no mail
/// (`\NoSelect`).
const FOLDERS: &[(&[&str], &str)] = &[
    (&["INBOX"], "Inbox"),
    (&["INBOX", "Unter"], "Inbox/Unter"),
    (&["Sent"], "Sent Items"),
    (&["Drafts"], "Drafts"),
    (&["Trash"], "Deleted Items"),
    (&["Junk"], "Junk Email"),
    (&["Archive"], "Archive"),
    (&["quote\"d"], "quote\"d"),
    (&["50% Rabatt"], "50% Rabatt"),
    (&["%41 off"], "%2541 off"),
    (&["back\\slash"], "back%5Cslash"),
    (&[" leading blank"], "%20leading blank"),
    (&["😀 Smile"], "😀 Smile"),
    (&["Prüfung & Ärger"], "Prüfung & Ärger"),
    (&["受信箱"], "受信箱"),
    (&["Projekte", "2026", "Köln & Bonn"], "Projekte/2026/Köln & Bonn"),
    (&["Projekte", "2026", "Köln & Bonn", "Anlagen"], "Projekte/2026/Köln & Bonn/Anlagen"),
    (&["Angebote"], "Angebote"),
    // The service takes names that differ in case only for the same: the second one gets a mark of its own.
    (&["angebote"], "angebote~d6a44981"),
    (&["Aufgelöst"], "Aufgelöst"),
    (&["Leer"], "Leer"),
];

/// Folders that come with the changes.
const LATER: &[(&[&str], &str)] = &[
    (&["Rabatt 100%"], "Rabatt 100%"),
    (&["Projekte", "2026", "Bonn"], "Projekte/2026/Bonn"),
    (&["Projekte", "2026", "Bonn", "Anlagen"], "Projekte/2026/Bonn/Anlagen"),
    (&["Neu & frisch"], "Neu & frisch"),
];

/// The path of a folder in Graph.
pub fn graph_path(names: &[&str]) -> &'static str {
    let mut all = FOLDERS.iter().chain(LATER);
    all.find(|(known, _)| *known == names).expect("a known folder").1
}

/// What a server tells of each folder of each mailbox.
pub type Told = BTreeMap<(String, Names), String>;

/// What a run should say it did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    pub stored: u64,
    pub moved: u64,
    pub removed: u64,
    pub reflagged: u64,
    pub bytes: u64,
}

/// The office.
pub struct Office {
    pub dovecot: Dovecot,
    /// What each mailbox holds now.
    pub mail: BTreeMap<String, Folders>,
    made: MailGen,
    files: u64,
}

impl Office {
    /// Founds one with `users` mailboxes of about 260 messages; `None` where Dovecot is missing.
    pub fn found(seed: u64, users: usize, separator: char) -> Option<Office> {
        let dovecot = Dovecot::with(&Options { users, separator, ..Options::default() })?;
        eprintln!("seed {seed}");
        let names: Vec<String> = dovecot.users.iter().map(|(user, _)| user.clone()).collect();
        let mut office =
            Office { dovecot, mail: BTreeMap::new(), made: MailGen::new(seed, "example.org"), files: 0 };
        for (n, user) in names.iter().enumerate() {
            office.move_in(n, user);
        }
        Some(office)
    }

    /// Messages of all mailboxes.
    pub fn messages(&self) -> impl Iterator<Item = &Mail> {
        self.mail.values().flat_map(BTreeMap::values).flatten()
    }

    /// How a run that copies everything should be summed up.
    pub fn all(&self) -> Done {
        let (stored, bytes) =
            self.messages().fold((0, 0), |(n, octets), m| (n + 1, octets + m.octets.len() as u64));
        Done { stored, bytes, ..Done::default() }
    }

    /// One mailbox: most messages are laid into Dovecot's Maildir as a delivery agent does, a few come by IMAP.
    fn move_in(&mut self, n: usize, user: &str) {
        let mut client = self.dovecot.client(user);
        let mut folders = Folders::new();
        client.state(&["INBOX"]); // the first look makes it
        for (names, _) in FOLDERS.iter().filter(|(names, _)| *names != ["INBOX"]) {
            client.create(names);
        }
        for (names, _) in FOLDERS {
            let names = names.to_vec();
            let count = match names[..] {
                ["INBOX"] => 120,
                ["Leer"] => 0,
                _ => 8,
            };
            let mut held: Vec<Mail> = Vec::new();
            for i in 0..count {
                let mut mail = if i % 9 == 4 { self.made.odd() } else { self.made.next() };
                match i {
                    1 => mail.received = 0,
                    2 => mail.received = 86_399,
                    5 => mail.received = 4_102_444_800, // 2100
                    _ => {}
                }
                held.push(mail);
            }
            // Twins: the same octets, date and flags twice in one folder, and once more in another.
            if let Some(twin) = held.iter().find(|m| m.message_id.is_some()).cloned() {
                held.push(twin.clone());
                if names != ["INBOX"] {
                    folders.entry(vec!["INBOX"]).or_default().push(twin.clone());
                    self.lay(user, &["INBOX"], &twin);
                }
            }
            if names == ["INBOX"] {
                let sizes: &[usize] = match n {
                    0 => &[14_600_000],
                    1 => &[4_000_000, 3_000_001],
                    2 => &[3_000_000, 2_999_999, 2_900_001],
                    _ => &[250_000],
                };
                held.extend(sizes.iter().map(|size| self.made.with_attachment(*size)));
            }
            for (i, mail) in held.iter().enumerate() {
                // Dovecot ends a last line that has no end when it takes a message by IMAP.
                if (i % 40 == 3 || mail.octets.len() > 5_000_000) && mail.octets.ends_with(b"\r\n") {
                    append(&mut client, &names, mail);
                } else {
                    self.lay(user, &names, mail);
                }
            }
            folders.entry(names).or_default().extend(held);
        }
        self.mail.insert(user.to_owned(), folders);
    }

    /// Lays a message into a folder's Maildir.
    fn lay(&mut self, user: &str, names: &[&str], mail: &Mail) {
        self.files += 1;
        let n = self.files;
        let dir = match names {
            ["INBOX"] => self.dovecot.maildir(user),
            names => self.dovecot.maildir(user).join(directory(names, false)),
        };
        let owner = fs::metadata(dir.join("cur")).expect("Dovecot made it");
        // Delivery agents write LF; some stores hold CRLF.
        let octets = if n.is_multiple_of(3) && only_crlf(&mail.octets) {
            mail.octets.iter().copied().filter(|b| *b != b'\r').collect()
        } else {
            mail.octets.clone()
        };
        let mut letters = String::new();
        for (flag, letter) in
            [("\\Draft", 'D'), ("\\Flagged", 'F'), ("\\Answered", 'R'), ("\\Seen", 'S'), ("work", 'a')]
        {
            letters.extend(mail.flags.contains(&flag).then_some(letter));
        }
        letters.extend(mail.flags.contains(&"$Forwarded").then_some('b'));
        let mut name = format!("{}.M{n}P1.host", mail.received);
        if n.is_multiple_of(2) {
            name.push_str(&format!(",S={},W={}", octets.len(), mail.octets.len()));
        }
        let path = if letters.is_empty() && n.is_multiple_of(2) {
            dir.join("new").join(name)
        } else {
            dir.join("cur").join(format!("{name}:2,{letters}"))
        };
        let mut file = File::create_new(&path).expect("create");
        file.write_all(&octets).expect("write");
        let received = UNIX_EPOCH + Duration::from_secs(u64::try_from(mail.received).expect("after 1970"));
        file.set_times(FileTimes::new().set_modified(received)).expect("a date");
        chown(&path, Some(owner.uid()), Some(owner.gid())).expect("chown");
        let keywords = dir.join("dovecot-keywords");
        if !keywords.exists() {
            fs::write(&keywords, "0 work\n1 $Forwarded\n").expect("write");
            chown(&keywords, Some(owner.uid()), Some(owner.gid())).expect("chown");
        }
    }

    /// What people do between two passes, in every mailbox. Tells what a pass that mirrors it should say.
    pub fn change(&mut self) -> Done {
        let mut done = Done::default();
        let users: Vec<String> = self.mail.keys().cloned().collect();
        for user in users {
            let mut client = self.dovecot.client(&user);
            let mut folders = self.mail.remove(&user).expect("a mailbox");
            self.change_one(&mut client, &mut folders, &mut done);
            self.mail.insert(user, folders);
        }
        done
    }

    fn change_one(&mut self, client: &mut Client, folders: &mut Folders, done: &mut Done) {
        // New mail, in an old folder and in a new one.
        client.create(&["Neu & frisch"]);
        for names in [&["INBOX"][..], &["INBOX"], &["Neu & frisch"]] {
            let mut mail = self.made.next();
            while !mail.octets.ends_with(b"\r\n") {
                mail = self.made.next();
            }
            append(client, names, &mail);
            done.stored += 1;
            done.bytes += mail.octets.len() as u64;
            folders.entry(names.to_vec()).or_default().push(mail);
        }
        // A copy of an old message: from now on there are two.
        let mail = folders[&vec!["INBOX"]][singles(folders, &["INBOX"])[0]].clone();
        let uid_of_it = uid(client, &["INBOX"], &mail);
        client.copy_to(&["INBOX"], uid_of_it, &[" leading blank"]);
        done.stored += 1;
        done.bytes += mail.octets.len() as u64;
        folders.get_mut(&vec![" leading blank"]).expect("a folder").push(mail);
        // Flags: set, cleared, replaced by others.
        let choices =
            [&["\\Seen", "\\Flagged", "\\Answered"][..], &[], &["Projekt-X", "work"], &["$Forwarded"]];
        for (at, flags) in singles(folders, &["quote\"d"]).into_iter().zip(choices) {
            reflag(client, folders, &["quote\"d"], at, flags, done);
        }
        // Moves: out of the inbox, into it from the depth, and one whose flags change on the way.
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
        let last = folders[&["Archive"][..]].len() - 1;
        reflag(client, folders, &["Archive"], last, &["\\Flagged", "later"], done);
        // Deletions: single messages, and one of two twins.
        for names in [&["back\\slash"][..], &["Junk"]] {
            let at = singles(folders, names)[0];
            let mail = folders.get_mut(names).expect("a folder").remove(at);
            let uid = uid(client, names, &mail);
            client.expunge(names, uid);
            done.removed += 1;
        }
        let sent = folders.get_mut(&["Sent"][..]).expect("a folder");
        let twin = sent.pop().expect("a twin");
        assert!(sent.iter().any(|m| m.octets == twin.octets), "the last message has its twin in the folder");
        let uids = client.find(&["Sent"], twin.message_id.as_deref().expect("twins have one"));
        assert_eq!(uids.len(), 2);
        client.expunge(&["Sent"], uids[1]);
        done.removed += 1;
        // A folder goes with all that is in it; its counterpart stays, empty.
        client.delete(&["Aufgelöst"]);
        let gone = folders.get_mut(&["Aufgelöst"][..]).expect("a folder");
        done.removed += gone.len() as u64;
        gone.clear();
        // Folders get other names, with what is in them and below them.
        for (from, to) in [
            (&["50% Rabatt"][..], &["Rabatt 100%"][..]),
            (&["Projekte", "2026", "Köln & Bonn"], &["Projekte", "2026", "Bonn"]),
        ] {
            client.rename(from, to);
            let renamed: Vec<Names> =
                folders.keys().filter(|names| names.starts_with(from)).cloned().collect();
            for names in renamed {
                let mail = folders.remove(&names).expect("a folder");
                folders.insert([to, &names[from.len()..]].concat(), mail);
            }
        }
    }

    /// What Dovecot tells of every folder of a mailbox, without touching it.
    pub fn told(&self) -> Told {
        let mut all = BTreeMap::new();
        for (user, folders) in &self.mail {
            let mut client = self.dovecot.client(user);
            let all_there = |names: &&Names| **names != ["Aufgelöst"] || !folders[*names].is_empty();
            for names in folders.keys().filter(all_there) {
                all.insert((user.clone(), names.clone()), client.state(names));
            }
        }
        all
    }

    /// The message files of all mailboxes: name, size, date.
    pub fn files(&self) -> BTreeSet<(PathBuf, u64, i64)> {
        let mut all = BTreeSet::new();
        for user in self.mail.keys() {
            files(&self.dovecot.maildir(user), &mut |path, seen| {
                let sub = path.parent().and_then(Path::file_name).unwrap_or_default();
                if sub == "new" || sub == "cur" {
                    all.insert((path.to_owned(), seen.len(), seen.mtime()));
                }
            });
        }
        all
    }
}

/// Every file below a directory.
pub fn files(dir: &Path, each: &mut dyn FnMut(&Path, &fs::Metadata)) {
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("readable").path();
        let seen = path.symlink_metadata().expect("readable");
        if seen.is_dir() {
            files(&path, each);
        } else {
            each(&path, &seen);
        }
    }
}

fn only_crlf(octets: &[u8]) -> bool {
    let pairs = octets.windows(2).filter(|w| w == b"\r\n").count();
    let count = |wanted: u8| octets.iter().filter(|b| **b == wanted).count();
    count(b'\n') == pairs && count(b'\r') == pairs
}

pub fn append(client: &mut Client, names: &[&str], mail: &Mail) {
    let date = jiff::Timestamp::from_second(mail.received).expect("a date");
    let date = date.to_zoned(jiff::tz::TimeZone::UTC).strftime("%d-%b-%Y %H:%M:%S +0000").to_string();
    client.append(names, &mail.octets, &mail.flags.join(" "), Some(&date));
}

/// The messages of a folder that can be told from all others of the mailbox by their Message-ID, and are no drafts.
pub fn singles(folders: &Folders, names: &[&str]) -> Vec<usize> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for id in folders.values().flatten().filter_map(|m| m.message_id.as_deref()) {
        *count.entry(id).or_default() += 1;
    }
    let single = |m: &Mail| m.message_id.as_deref().is_some_and(|id| count[id] == 1);
    let all = folders[names].iter().enumerate();
    all.filter(|(_, m)| single(m) && !m.flags.contains(&"\\Draft")).map(|(at, _)| at).collect()
}

/// The UID of a message that is alone with its Message-ID in its folder.
pub fn uid(client: &mut Client, names: &[&str], mail: &Mail) -> u32 {
    let found = client.find(names, mail.message_id.as_deref().expect("a Message-ID"));
    assert_eq!(found.len(), 1, "one message with this Message-ID");
    found[0]
}

/// Gives a message other flags.
pub fn reflag(
    client: &mut Client,
    folders: &mut Folders,
    names: &[&'static str],
    at: usize,
    flags: &[&'static str],
    done: &mut Done,
) {
    let mail = &mut folders.get_mut(names).expect("a folder")[at];
    let uid = uid(client, names, mail);
    client.set_flags(names, uid, &flags.join(" "));
    let set = |flags: &[&'static str]| flags.iter().copied().collect::<BTreeSet<_>>();
    done.reflagged += u64::from(set(&mail.flags) != set(flags));
    mail.flags = flags.to_vec();
}

/// The directory of a folder in a Maildir: below the root, its names in modified UTF-7. Without listescape Dovecot has
/// backslashes as they are; this program's target escapes them.
pub fn directory(names: &[&str], escaped: bool) -> String {
    names
        .iter()
        .map(|name| if escaped { name.replace('\\', "\\5c") } else { (*name).to_owned() })
        .fold(String::new(), |path, name| path + "." + &encodify::utf7::IMAP.encode(&name))
}

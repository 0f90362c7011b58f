//! The IMAP source against a real Cyrus: the contract, whole migrations, and what is special about this server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mailwave::env::Env;
use mailwave::mock::imap::InternalDate;
use mailwave::model::Flags;
use mailwave::source::Source;
use mailwave::source::imap::{Credentials, ImapSettings, ImapSource, MasterForm, TlsMode};

use crate::contract_source::servers::wire;
use crate::contract_source::{DEEP, Planted, SourceHarness, suite};
use crate::road::arrived::{graph_holds, maildir_holds, snapshot};
use crate::road::office::{Done, Folders, Names, append, reflag, singles, uid};
use crate::road::works::{Graph, Works, imap};
use crate::support::cyrus::{Cyrus, Options};
use crate::support::dovecot::{self, Dovecot, Format};
use crate::support::imap_client::Client;
use crate::support::mailgen::{Mail, MailGen};
use crate::support::server::ImapServer;

const USER: &str = "user01";

/// How the source gets in.
#[derive(Clone, Copy)]
enum Way {
    OwnPassword,
    AdministratorOverTls,
}

/// A real Cyrus, filled and looked into through a client that is not ours.
struct CyrusHarness {
    cyrus: Cyrus,
    way: Way,
    /// Folder, UID, octets.
    kept: Vec<(Vec<String>, u32, Vec<u8>)>,
}

impl CyrusHarness {
    fn start(way: Way, options: &Options) -> Option<CyrusHarness> {
        Some(CyrusHarness { cyrus: Cyrus::with(options)?, way, kept: Vec::new() })
    }

    fn uid(&self, folder: &[&str], octets: &[u8]) -> u32 {
        let same = |(f, _, o): &&(Vec<String>, u32, Vec<u8>)| f == folder && o == octets;
        self.kept.iter().find(same).expect("the message is there").1
    }
}

#[async_trait]
impl SourceHarness for CyrusHarness {
    fn source(&self) -> Arc<dyn Source> {
        let reach = self.cyrus.reach();
        let mut settings = match self.way {
            Way::OwnPassword => {
                let all = reach.users.iter().map(|(u, p)| (u.clone(), p.as_str().into()));
                let mut settings = ImapSettings::new("127.0.0.1", Credentials::PerMailbox(all.collect()));
                (settings.server.tls, settings.server.port) = (TlsMode::Plain, reach.plain_port);
                settings
            }
            Way::AdministratorOverTls => {
                let (user, password) = reach.master;
                let form = MasterForm::AuthorisationId;
                let credentials = Credentials::Master { user, password: password.into(), form };
                let mut settings = ImapSettings::new("localhost", credentials);
                (settings.server.tls, settings.server.port) = (TlsMode::Implicit, reach.tls_port);
                settings.server.ca_file = Some(reach.ca_file);
                settings
            }
        };
        settings.server.login_interval = Duration::ZERO;
        Arc::new(ImapSource::new(Env::system(), settings).expect("settings"))
    }

    fn mailbox(&self) -> String {
        USER.to_owned()
    }

    async fn plant(&mut self, folder: &[&str], messages: &[Planted]) {
        let mut client = self.cyrus.client(USER);
        if folder != ["INBOX"] {
            client.create(folder);
        }
        for m in messages {
            let date = InternalDate::utc(m.received).to_string();
            let uid = client.append(folder, &m.octets, &wire(&m.flags).join(" "), Some(date.trim()));
            let folder = folder.iter().map(|n| (*n).to_owned()).collect();
            self.kept.push((folder, uid, m.octets.clone()));
        }
    }

    async fn expunge(&mut self, folder: &[&str], octets: &[u8]) {
        let uid = self.uid(folder, octets);
        self.cyrus.client(USER).expunge(folder, uid);
    }

    async fn reflag(&mut self, folder: &[&str], octets: &[u8], flags: &str) -> bool {
        let uid = self.uid(folder, octets);
        let flags = wire(&Flags::decode(flags)).join(" ");
        self.cyrus.client(USER).set_flags(folder, uid, &flags);
        true
    }

    async fn spoil(&mut self, _: &[&str], _: &[u8]) -> bool {
        false
    }

    async fn renumber(&mut self, folder: &[&str]) -> bool {
        self.cyrus.renumber(USER, folder);
        true
    }

    async fn fingerprint(&self) -> String {
        let mut client = self.cyrus.client(USER);
        format!("{}{}{:?}", client.state(&["INBOX"]), client.state(&DEEP), self.cyrus.holding(USER))
    }

    fn knows_its_mailboxes(&self) -> bool {
        // For its administrator it makes a mailbox for whoever is asked for.
        matches!(self.way, Way::OwnPassword)
    }

    fn holds(&self, octets: &[u8]) -> bool {
        // See `what_cyrus_refuses_and_what_it_alters`. The message that is one header line lies at the date it alters.
        let header = octets.split(|b| *b == b'\n').next().unwrap_or_default();
        header.contains(&b':') && !octets.contains(&0) && octets != b"Subject: header only\r\n"
    }
}

#[tokio::test]
async fn imap_keeps_the_contract_with_a_real_cyrus() {
    let Some(harness) = CyrusHarness::start(Way::OwnPassword, &Options::default()) else { return };
    suite(harness).await;
}

#[tokio::test]
async fn imap_keeps_the_contract_with_a_real_cyrus_as_its_administrator_over_tls() {
    let options = Options { unix_hierarchy: false, alt_namespace: false, ..Options::default() };
    let Some(harness) = CyrusHarness::start(Way::AdministratorOverTls, &options) else { return };
    suite(harness).await;
}

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

/// People whose mail lies in a real Cyrus, and what is true of every message of it.
struct House {
    cyrus: Cyrus,
    mail: BTreeMap<String, Folders>,
    made: MailGen,
}

impl House {
    fn found(seed: u64, options: &Options) -> Option<House> {
        let cyrus = Cyrus::with(options)?;
        eprintln!("seed {seed}");
        let mut house = House { cyrus, mail: BTreeMap::new(), made: MailGen::new(seed, "example.org") };
        for (user, _) in house.cyrus.reach().users {
            let mut client = house.cyrus.client(&user);
            let folders = house.move_in(&mut client);
            house.mail.insert(user, folders);
        }
        Some(house)
    }

    fn move_in(&mut self, client: &mut Client) -> Folders {
        let mut folders = Folders::new();
        // The first five are there from the first login.
        for names in &FOLDERS[6..] {
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

    /// The next message, of those Cyrus takes.
    fn next(&mut self, odd: bool) -> Mail {
        loop {
            let mail = if odd { self.made.odd() } else { self.made.next() };
            if mail.octets.windows(4).any(|w| w == b"\r\n\r\n") {
                return mail;
            }
        }
    }

    fn messages(&self) -> impl Iterator<Item = &Mail> {
        self.mail.values().flat_map(BTreeMap::values).flatten()
    }

    fn copies(&self) -> usize {
        self.messages().count()
    }

    fn all(&self) -> Done {
        let bytes = self.messages().map(|m| m.octets.len() as u64).sum();
        Done { stored: self.copies() as u64, bytes, ..Done::default() }
    }

    /// What people do between two passes. Tells what a pass that mirrors it should say.
    fn change(&mut self) -> Done {
        let mut done = Done::default();
        let users: Vec<String> = self.mail.keys().cloned().collect();
        for user in users {
            let mut client = self.cyrus.client(&user);
            let mut folders = self.mail.remove(&user).expect("a mailbox");
            let new = [self.next(false), self.next(false)];
            change_one(&mut client, &mut folders, new, &mut done);
            self.mail.insert(user, folders);
        }
        done
    }

    /// All that Cyrus tells of each folder without being touched.
    fn told(&self) -> BTreeMap<(String, Names), String> {
        let mut all = BTreeMap::new();
        for (user, folders) in &self.mail {
            let mut client = self.cyrus.client(user);
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

#[test]
fn mailboxes_travel_from_a_real_cyrus_to_graph_and_changes_follow() {
    let Some(mut house) = House::found(201, &Options::default()) else { return };
    let graph = Graph::start(true);
    let passwords = tempfile::tempdir().expect("a temporary folder");
    let (sources, rows) = imap(&house.cyrus.reach(), false, passwords.path());
    let works = Works::new(&format!("{sources}{}", graph.config()), &rows);
    let users = house.mail.len();

    let told = house.told();
    works.run(house.all(), users, house.copies());
    graph_holds(&house.mail, &graph.truth());
    assert!(told == house.told(), "the source was only read");

    let done = house.change();
    let told = house.told();
    works.run(done, users, house.copies());
    graph_holds(&house.mail, &graph.truth());
    assert!(told == house.told(), "the source was only read");

    let writes = graph.truth().counters.writes();
    works.run(Done::default(), users, house.copies());
    assert_eq!(graph.truth().counters.writes(), writes, "a third run writes nothing");
}

#[test]
fn mailboxes_travel_from_a_real_cyrus_to_maildirs_octet_by_octet_and_changes_follow() {
    let options = Options { unix_hierarchy: false, alt_namespace: false, ..Options::default() };
    let Some(mut house) = House::found(202, &options) else { return };
    let passwords = tempfile::tempdir().expect("a temporary folder");
    let (sources, rows) = imap(&house.cyrus.reach(), false, passwords.path());
    let target = "[target.files]\nkind = \"maildir\"\nroot = \"copies\"\n";
    let works = Works::new(&format!("{sources}{target}"), &rows);
    let root = works.path().join("copies");
    let users = house.mail.len();
    let holds = |house: &House| {
        for (user, folders) in &house.mail {
            // The levels above a folder are folders, too.
            let mut folders = folders.clone();
            folders.extend([(vec!["Projekte"], Vec::new()), (vec!["Projekte", "2026"], Vec::new())]);
            maildir_holds(user, &root.join(format!("{user}@target.example")), &folders);
        }
    };

    works.run(house.all(), users, house.copies());
    holds(&house);

    let done = house.change();
    works.run(done, users, house.copies());
    holds(&house);

    // A folder is numbered anew: nothing is stored again.
    house.cyrus.renumber(USER, &["Archive"]);
    let before = snapshot(&root);
    works.run(Done::default(), users, house.copies());
    holds(&house);
    assert!(snapshot(&root) == before, "a third run writes nothing");
}

#[test]
fn what_lies_in_dovecot_and_in_cyrus_is_told_alike() {
    let Some(cyrus) = Cyrus::start() else { return };
    let mut holdings = Vec::new();
    let shapes = [(Format::Maildir, '/', ""), (Format::Sdbox, '.', "INBOX."), (Format::Mdbox, '/', "")];
    for (format, separator, prefix) in shapes {
        let options = dovecot::Options {
            format,
            separator,
            prefix: prefix.to_owned(),
            users: 1,
            ..dovecot::Options::default()
        };
        let Some(dovecot) = Dovecot::with(&options) else { return };
        let mut client = dovecot.client(USER);
        ["Archive", "Drafts", "Junk", "Sent", "Trash"].iter().for_each(|name| client.create(&[name]));
        holdings.push(fill(&dovecot));
    }
    holdings.push(fill(&cyrus));
    let options = Options { unix_hierarchy: false, alt_namespace: false, ..Options::default() };
    holdings.push(fill(&Cyrus::with(&options).expect("it started before")));
    assert_eq!(holdings[0].count(), 27);
    assert_eq!(holdings[0].folder(&["Sent"]).special.as_deref(), Some("sent"));
    for other in &holdings[1..] {
        holdings[0].assert_same(other);
    }
}

/// Mail of every kind, laid into a server; what it then tells, also after a folder was numbered anew.
fn fill(server: &impl ImapServer) -> crate::support::holding::Holding {
    let mut client = server.client(USER);
    let mut made = MailGen::new(11, "example.org");
    client.subscribe(&["INBOX"], true);
    client.create(&["Ärger & 日本"]);
    client.create(&["Ärger & 日本", "tief"]);
    client.subscribe(&["Ärger & 日本", "tief"], true);
    for names in [&["INBOX"][..], &["Ärger & 日本", "tief"], &["Sent"]] {
        for n in 0..9 {
            let mut mail = made.next();
            while !mail.octets.ends_with(b"\r\n") {
                mail = made.next();
            }
            mail.flags = if n == 3 { vec!["\\Seen", "Projekt-X"] } else { mail.flags };
            append(&mut client, names, &mail);
        }
    }
    drop(client);
    let before = server.holding(USER);
    for names in [&["INBOX"][..], &["Ärger & 日本", "tief"]] {
        server.renumber(USER, names);
    }
    let after = server.holding(USER);
    before.assert_same(&after);
    assert_ne!(before.folder(&["INBOX"]).uid_validity, after.folder(&["INBOX"]).uid_validity);
    after
}

#[test]
fn what_cyrus_refuses_and_what_it_alters() {
    let Some(cyrus) = Cyrus::start() else { return };
    let refused: [(&[u8], &str); 6] = [
        (b"no header at all\r\n", "invalid header"),
        (b"Subject: a\r\nnot a field\r\n\r\nx\r\n", "invalid header"),
        (b"Subject: nothing ends this", "invalid header"),
        (b"Subject: nul\r\n\r\n\0\r\n", "NUL"),
        (b"Subject: bare\n\nline feeds\n", "bare newlines"),
        (b"", "Zero-length"),
    ];
    for (octets, why) in refused {
        let answer = cyrus.client(USER).offer(&["INBOX"], octets, "", None);
        assert!(answer.as_ref().is_err_and(|said| said.contains(why)), "{octets:?}: {answer:?}");
    }
    let taken: [&[u8]; 6] = [
        b"\r\nno header, but the line that ends it\r\n",
        b"Subject: header without an end\r\n",
        b"Subject: no end of line at the end\r\n\r\nend",
        b"Subject: \xe4\xf6\xfc\r\n\r\n8 bit \xff\xfe\r\n",
        b"Subject: bare CR\r\n\r\na\rb\r\n",
        b"\r\n",
    ];
    for octets in taken {
        cyrus.client(USER).append(&["INBOX"], octets, "", Some("21-Nov-2026 08:09:10 +0530"));
    }
    let mut client = cyrus.client(USER);
    client.append(&["Sent"], b"Subject: a\r\n\r\n", "", Some("01-Jan-1970 00:00:00 +0000"));
    client.append(&["Sent"], b"Subject: b\r\n\r\n", "", Some("01-Jan-1970 00:00:01 +0000"));
    assert!(client.offer(&["Sent"], b"Subject: c\r\n\r\n", "", Some("31-Dec-1969 00:00:00 +0000")).is_err());
    let holding = cyrus.holding(USER);
    let digests: Vec<&str> =
        holding.folder(&["INBOX"]).messages.iter().map(|m| m.what.digest.as_str()).collect();
    let wanted: Vec<String> = taken.iter().map(|octets| blake3::hash(octets).to_hex().to_string()).collect();
    assert_eq!(digests, wanted, "what it takes it keeps, octet by octet");
    let received: Vec<i64> = holding.folder(&["Sent"]).messages.iter().map(|m| m.what.received).collect();
    assert!(received[0] > 1_700_000_000, "the first second of 1970 becomes the present");
    assert_eq!(received[1], 1);
}

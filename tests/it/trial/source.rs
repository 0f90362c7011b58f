//! The sources of the trial: one content, shown as a mail server, as files, or from memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use mailwave::env::Env;
use mailwave::imap::Dial;
use mailwave::mock::imap::{Act, ImapMock, ImapOptions, InternalDate, Rule};
use mailwave::model::Flags;
use mailwave::source::Source;
use mailwave::source::imap::{Credentials, ImapSettings, ImapSource, TlsMode};
use mailwave::source::maildir::{MaildirSettings, MaildirSource};
use mailwave::source::mbox::{MboxSettings, MboxSource};

use super::content::{Content, Item};
use super::world::VirtualClock;
use crate::support::memory::{MemorySource, Store};

/// Which source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// A store in memory that answers at once.
    Memory,
    /// The mock IMAP server, over a pipe.
    Imap,
    /// Maildir++ trees.
    Maildir,
    /// Trees of mbox files.
    Mbox,
}

/// Where each message lies, by its id.
type Places<P> = BTreeMap<u32, (P, Vec<&'static str>)>;
/// Mailbox, folder, number.
type Numbered = (&'static str, &'static str, u64);

/// The source of one story.
pub enum Origin {
    Memory(Arc<Mutex<Store>>, Places<Numbered>),
    Imap(Arc<ImapMock>, Places<Numbered>),
    Maildir(PathBuf, Places<PathBuf>),
    Mbox(PathBuf),
}

/// A connection to a mock in this process. Whatever was sent before a cut may still be read by it.
pub fn dial(mock: &Arc<ImapMock>) -> Dial {
    let mock = mock.clone();
    Dial::new(move || {
        let (here, there) = tokio::io::duplex(64 << 10);
        tokio::spawn(mock.clone().serve_connection(there));
        Box::new(here)
    })
}

/// How to log in to such a mock.
pub fn server(mock: &Arc<ImapMock>) -> mailwave::imap::Server {
    let mut server =
        mailwave::imap::Server::new("localhost", Credentials::Fixed { password: "secret".into() });
    server.tls = TlsMode::Plain;
    server.dial = Some(dial(mock));
    server
}

impl Origin {
    pub fn new(from: From, clock: &Arc<VirtualClock>, dir: &Path) -> Origin {
        match from {
            From::Memory => Origin::Memory(Arc::default(), Places::new()),
            From::Imap => {
                let options = ImapOptions { latency: Duration::from_millis(3), ..ImapOptions::default() };
                let options = options.offering("CONDSTORE QRESYNC LIST-STATUS");
                let mock = ImapMock::new(options, clock.clone());
                mock.script([
                    Rule::on("AUTHENTICATE", Act::too_many_connections()).nth(2),
                    Rule::on("AUTHENTICATE", Act::unavailable()).nth(5),
                    Rule::on("UID FETCH", Act::ResetAt(60)).nth(3),
                    Rule::on("UID FETCH", Act::No("[UNAVAILABLE] later".to_owned())).nth(6),
                    Rule::on("UID FETCH", Act::DropUid).nth(8),
                    Rule::on("UID FETCH", Act::Bye("restarting".to_owned())).nth(10),
                    Rule::on("UID FETCH", Act::Throttled(3_000)).nth(13),
                    Rule::on("LIST", Act::CloseAt(40)).nth(2),
                ]);
                Origin::Imap(mock, Places::new())
            }
            From::Maildir => Origin::Maildir(dir.join("from"), Places::new()),
            From::Mbox => Origin::Mbox(dir.join("from")),
        }
    }

    /// From now on the source holds this.
    pub fn show(&mut self, content: &Content) {
        match self {
            Origin::Memory(store, places) => {
                let mut store = store.lock().unwrap();
                numbered(places, content, |change| match change {
                    Change::Add(i) => store.add(i.mailbox, i.folder, i.octets.clone(), &i.flags, i.received),
                    Change::Remove((mailbox, folder, n)) => {
                        store.expunge(mailbox, folder, n);
                        0
                    }
                    Change::Reflag((mailbox, folder, n), i) => {
                        let mut flags = Flags::default();
                        i.flags.iter().for_each(|f| flags.add(f));
                        store.reflag(mailbox, folder, n, |now| *now = flags);
                        n
                    }
                });
            }
            Origin::Imap(mock, places) => {
                let mut store = mock.store();
                let number = |n: u64| u32::try_from(n).unwrap();
                numbered(places, content, |change| match change {
                    Change::Add(i) => {
                        let date = InternalDate::utc(i.received);
                        store.add(i.mailbox, i.folder, i.octets.clone(), &i.flags, date).into()
                    }
                    Change::Remove((mailbox, folder, n)) => {
                        assert!(store.expunge(mailbox, folder, number(n)));
                        0
                    }
                    Change::Reflag((mailbox, folder, n), i) => {
                        assert!(store.set_flags(mailbox, folder, number(n), &i.flags));
                        n
                    }
                });
            }
            Origin::Maildir(root, places) => show_maildirs(root, places, content),
            Origin::Mbox(root) => show_mboxes(root, content),
        }
    }

    pub fn source(&self, env: &Env) -> Arc<dyn Source> {
        let root = |root: &Path| root.to_str().expect("a plain path").to_owned();
        match self {
            Origin::Memory(store, _) => Arc::new(MemorySource(store.clone())),
            Origin::Imap(mock, _) => {
                let mut settings = ImapSettings::of(server(mock));
                settings.fetch_messages = 3;
                Arc::new(ImapSource::new(env.clone(), settings).expect("the settings are right"))
            }
            Origin::Maildir(path, _) => {
                let settings = MaildirSettings { root: root(path), ..MaildirSettings::default() };
                Arc::new(MaildirSource::new(env.clone(), settings).expect("the settings are right"))
            }
            Origin::Mbox(path) => {
                let settings = MboxSettings { root: root(path), ..MboxSettings::default() };
                Arc::new(MboxSource::new(env.clone(), settings).expect("the settings are right"))
            }
        }
    }

    /// What went wrong, and how often.
    pub fn faults(&self) -> BTreeMap<String, u64> {
        match self {
            Origin::Imap(mock, _) => {
                mock.fired().into_iter().map(|(rule, n)| (format!("source: {rule}"), n)).collect()
            }
            _ => BTreeMap::new(),
        }
    }

    /// What is there, to see that reading it wrote nothing.
    pub fn untouched(&self) -> String {
        match self {
            Origin::Memory(..) => String::new(),
            Origin::Imap(mock, _) => mock.store().client_changes().to_string(),
            Origin::Maildir(root, _) | Origin::Mbox(root) => fingerprint(root),
        }
    }
}

/// Path, length and time of every file below a directory.
pub fn fingerprint(root: &Path) -> String {
    let (mut all, mut todo) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().map(|e| e.expect("an entry")) {
            let seen = entry.metadata().expect("it is there");
            if seen.is_dir() {
                todo.push(entry.path());
            }
            let told = (entry.path(), seen.is_file().then(|| (seen.len(), seen.modified().expect("a time"))));
            all.insert(format!("{told:?}"));
        }
    }
    all.into_iter().collect()
}

enum Change<'a> {
    Add(&'a Item),
    Remove(Numbered),
    Reflag(Numbered, &'a Item),
}

/// Tells what must be done to a store that numbers its messages. Adding gives the number.
fn numbered(places: &mut Places<Numbered>, content: &Content, mut apply: impl FnMut(Change<'_>) -> u64) {
    let kept: BTreeSet<u32> = content.items.iter().map(|i| i.id).collect();
    let gone: Vec<u32> = places.keys().copied().filter(|id| !kept.contains(id)).collect();
    for id in gone {
        let (place, _) = places.remove(&id).expect("it was there");
        apply(Change::Remove(place));
    }
    for item in &content.items {
        match places.get(&item.id).cloned() {
            Some((place, flags)) if place.1 == item.folder => {
                if flags != item.flags {
                    apply(Change::Reflag(place, item));
                    places.insert(item.id, (place, item.flags.clone()));
                }
            }
            before => {
                if let Some((place, _)) = before {
                    apply(Change::Remove(place));
                }
                let number = apply(Change::Add(item));
                places.insert(item.id, ((item.mailbox, item.folder, number), item.flags.clone()));
            }
        }
    }
}

fn at(received: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(received.try_into().expect("after 1970"))
}

/// Messages lie in `cur`; a base name stays when its message is moved or flagged.
fn show_maildirs(root: &Path, places: &mut Places<PathBuf>, content: &Content) {
    let kept: BTreeSet<u32> = content.items.iter().map(|i| i.id).collect();
    places.retain(|id, (path, _)| {
        let stays = kept.contains(id);
        if !stays {
            fs::remove_file(path).expect("it was there");
        }
        stays
    });
    for item in &content.items {
        let dir = match item.folder {
            "INBOX" => root.join(item.mailbox),
            folder => root.join(item.mailbox).join(format!(".{}", folder.replace('/', "."))),
        };
        if !dir.join("cur").is_dir() {
            ["cur", "new", "tmp"]
                .iter()
                .for_each(|sub| fs::create_dir_all(dir.join(sub)).expect("a directory"));
            fs::write(dir.join("dovecot-keywords"), "0 work\n").expect("a file");
        }
        let mut letters: Vec<char> = item
            .flags
            .iter()
            .map(|flag| match *flag {
                "work" => 'a',
                "$Forwarded" => 'P',
                "\\Answered" => 'R',
                flag => char::from(flag.as_bytes()[1]),
            })
            .collect();
        letters.sort_unstable();
        let name = format!("{}.M{}P1.trial:2,{}", item.received, item.id, letters.iter().collect::<String>());
        let path = dir.join("cur").join(name);
        match places.get(&item.id) {
            Some((before, _)) if *before == path => {}
            Some((before, _)) => fs::rename(before, &path).expect("it was there"),
            None => {
                fs::write(&path, &item.octets).expect("a file");
                let file = fs::File::options().append(true).open(&path).expect("it is there");
                file.set_modified(at(item.received)).expect("a time");
            }
        }
        places.insert(item.id, (path, item.flags.clone()));
    }
}

/// Every file is written anew, as a mail program that compacts its folders does.
fn show_mboxes(root: &Path, content: &Content) {
    let mut files: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    for item in &content.items {
        let file = match item.folder.rsplit_once('/') {
            Some((above, name)) => format!("{above}.sbd/{name}.mbox"),
            None if item.folder == "INBOX" => "Inbox".to_owned(),
            None => format!("{}.mbox", item.folder),
        };
        files.entry(root.join(item.mailbox).join(file)).or_default().extend(entry(item));
    }
    for (path, octets) in files {
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        if fs::read(&path).ok().as_ref() != Some(&octets) {
            fs::write(path, octets).expect("a file");
        }
    }
}

/// A message in the mboxrd dialect, with the fields in which mail programs keep flags.
fn entry(item: &Item) -> Vec<u8> {
    let has = |flag: &str| item.flags.contains(&flag);
    let received =
        jiff::Timestamp::from_second(item.received).expect("a date").to_zoned(jiff::tz::TimeZone::UTC);
    let text: Vec<u8> = item.octets.iter().copied().filter(|b| *b != b'\r').collect();
    let end = text.windows(2).position(|w| w == b"\n\n").expect("a header block") + 1;
    let (head, body) = text.split_at(end);
    let mut out =
        format!("From sender@example.org {}\n", received.strftime("%a %b %e %H:%M:%S %Y")).into_bytes();
    out.extend_from_slice(head);
    let marks = [("\\Answered", 'A'), ("\\Flagged", 'F'), ("\\Draft", 'T')];
    let letters: String =
        marks.into_iter().filter_map(|(flag, letter)| has(flag).then_some(letter)).collect();
    let keywords: Vec<&str> = item.flags.iter().copied().filter(|f| !f.starts_with('\\')).collect();
    let status = if has("\\Seen") { "RO" } else { "O" };
    out.extend(
        format!("Status: {status}\nX-Status: {letters}\nX-Keywords: {}\n", keywords.join(" ")).into_bytes(),
    );
    for line in body.split_inclusive(|b| *b == b'\n') {
        let quoted = line.iter().take_while(|b| **b == b'>').count();
        if line[quoted..].starts_with(b"From ") {
            out.push(b'>');
        }
        out.extend_from_slice(line);
    }
    out.push(b'\n');
    out
}

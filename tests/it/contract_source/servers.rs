//! The contract kept by sources that talk to a server, and by the source of the trials.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mailwave::env::Env;
use mailwave::mock::imap::{ImapMock, ImapOptions, ImapServer, InternalDate, Users};
use mailwave::mock::server::RealWorld;
use mailwave::model::Flags;
use mailwave::source::Source;
use mailwave::source::imap::{Credentials, ImapSettings, ImapSource, MasterForm, Server, TlsMode};

use super::{Planted, SourceHarness, planted, suite};
use crate::support::dovecot::{Dovecot, Options};
use crate::support::memory::{Asked, Habits, MemorySource, Store};

/// The flags as IMAP writes them.
pub fn wire(flags: &Flags) -> Vec<String> {
    let system = [
        (flags.seen, "\\Seen"),
        (flags.answered, "\\Answered"),
        (flags.flagged, "\\Flagged"),
        (flags.draft, "\\Draft"),
        (flags.deleted, "\\Deleted"),
    ];
    let system = system.iter().filter(|(on, _)| *on).map(|(_, name)| (*name).to_owned());
    system.chain(flags.keywords.iter().cloned()).collect()
}

fn owned(folder: &[&str]) -> Vec<String> {
    folder.iter().map(|n| (*n).to_owned()).collect()
}

/// How the source gets into a real Dovecot.
#[derive(Clone, Copy)]
enum Way {
    OwnPassword,
    MasterOverTls,
}

/// A real Dovecot, filled through a client that is not ours; its truth is read from its files.
struct DovecotHarness {
    dovecot: Dovecot,
    way: Way,
    /// Folder, UID, octets.
    kept: Vec<(Vec<String>, u32, Vec<u8>)>,
}

const DOVECOT_USER: &str = "user01";

impl DovecotHarness {
    fn start(way: Way, options: &Options) -> Option<DovecotHarness> {
        Some(DovecotHarness { dovecot: Dovecot::with(options)?, way, kept: Vec::new() })
    }

    fn uid(&self, folder: &[&str], octets: &[u8]) -> u32 {
        let same = |(f, _, o): &&(Vec<String>, u32, Vec<u8>)| *f == owned(folder) && o == octets;
        self.kept.iter().find(same).expect("the message is there").1
    }
}

#[async_trait]
impl SourceHarness for DovecotHarness {
    fn source(&self) -> Arc<dyn Source> {
        let mut settings = match self.way {
            Way::OwnPassword => {
                let all = self.dovecot.users.iter().map(|(u, p)| (u.clone(), p.as_str().into()));
                ImapSettings::of(Server {
                    tls: TlsMode::Plain,
                    port: self.dovecot.plain_port,
                    ..Server::new("127.0.0.1", Credentials::PerMailbox(all.collect()))
                })
            }
            Way::MasterOverTls => {
                let (user, password) = self.dovecot.master.clone();
                let form = MasterForm::AuthorisationId;
                ImapSettings::of(Server {
                    tls: TlsMode::Implicit,
                    port: self.dovecot.tls_port,
                    ca_file: Some(self.dovecot.ca_file.clone()),
                    ..Server::new("localhost", Credentials::Master { user, password: password.into(), form })
                })
            }
        };
        settings.server.login_interval = Duration::ZERO;
        Arc::new(ImapSource::new(Env::system(), settings).expect("settings"))
    }

    fn mailbox(&self) -> String {
        DOVECOT_USER.to_owned()
    }

    async fn plant(&mut self, folder: &[&str], messages: &[Planted]) {
        let mut client = self.dovecot.client(DOVECOT_USER);
        if folder != ["INBOX"] {
            client.create(folder);
        }
        for m in messages {
            let date = InternalDate::utc(m.received).to_string();
            let uid = client.append(folder, &m.octets, &wire(&m.flags).join(" "), Some(date.trim()));
            self.kept.push((owned(folder), uid, m.octets.clone()));
        }
    }

    async fn expunge(&mut self, folder: &[&str], octets: &[u8]) {
        let uid = self.uid(folder, octets);
        self.dovecot.client(DOVECOT_USER).expunge(folder, uid);
    }

    async fn reflag(&mut self, folder: &[&str], octets: &[u8], flags: &str) -> bool {
        let uid = self.uid(folder, octets);
        let flags = wire(&Flags::decode(flags)).join(" ");
        self.dovecot.client(DOVECOT_USER).set_flags(folder, uid, &flags);
        true
    }

    async fn spoil(&mut self, _: &[&str], _: &[u8]) -> bool {
        false
    }

    async fn renumber(&mut self, folder: &[&str]) -> bool {
        // As after a restore from a backup without the server's own files.
        assert_eq!(folder, ["INBOX"]);
        for entry in fs::read_dir(self.dovecot.maildir(DOVECOT_USER)).expect("dir") {
            let path = entry.expect("entry").path();
            let name = path.file_name().expect("name").to_string_lossy().into_owned();
            if name == "dovecot-uidlist" || name.starts_with("dovecot.index") {
                fs::remove_file(path).expect("remove");
            }
        }
        true
    }

    async fn fingerprint(&self) -> String {
        // `new` and `cur` are one: that a client has looked moves files between them.
        let mut out = Vec::new();
        let mut todo = vec![self.dovecot.maildir(DOVECOT_USER)];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir).expect("dir") {
                let path = entry.expect("entry").path();
                if path.is_dir() {
                    todo.push(path);
                } else if path.parent().is_some_and(|p| p.ends_with("cur") || p.ends_with("new")) {
                    let folder = dir.parent().map(Path::to_path_buf);
                    let name = path.file_name().expect("name").to_string_lossy().into_owned();
                    let name = name.trim_end_matches(":2,").to_owned();
                    let time = path.metadata().and_then(|m| m.modified()).expect("time");
                    out.push(format!(
                        "{folder:?} {name} {time:?} {}",
                        blake3::hash(&fs::read(&path).expect("read"))
                    ));
                }
            }
        }
        out.sort();
        assert!(out.len() >= self.kept.len(), "every message is a file");
        out.join("\n")
    }

    fn knows_its_mailboxes(&self) -> bool {
        // For its master user this Dovecot's user database has everybody.
        matches!(self.way, Way::OwnPassword)
    }

    fn holds(&self, octets: &[u8]) -> bool {
        // Dovecot takes no empty message, and gives NUL out as 0x80 (RFC 3501: no NUL in a literal).
        !octets.is_empty() && !octets.contains(&0)
    }
}

const USER: &str = "anna@example.org";

/// The mock IMAP server over loopback TCP.
struct MockHarness {
    mock: Arc<ImapMock>,
    server: ImapServer,
    separator: char,
}

impl MockHarness {
    async fn start(separator: char, prefix: &str) -> MockHarness {
        let options = ImapOptions {
            users: Users::Listed(BTreeMap::from([(USER.to_owned(), "secret".to_owned())])),
            separator,
            prefix: prefix.to_owned(),
            ..ImapOptions::default()
        };
        let mock = ImapMock::new(options, Arc::new(RealWorld));
        mock.store().add_user(USER);
        let server = mock.clone().listen("127.0.0.1:0", None).await.expect("listens");
        MockHarness { mock, server, separator }
    }

    fn name(&self, folder: &[&str]) -> String {
        folder.join(&self.separator.to_string())
    }

    fn uid(&self, folder: &[&str], octets: &[u8]) -> u32 {
        let all = self.mock.store().messages(USER, &self.name(folder));
        all.iter().find(|m| m.octets == octets).expect("the message is there").uid
    }
}

#[async_trait]
impl SourceHarness for MockHarness {
    fn source(&self) -> Arc<dyn Source> {
        let mut settings = ImapSettings::new("127.0.0.1", Credentials::Fixed { password: "secret".into() });
        settings.server.port = self.server.addr.port();
        settings.server.tls = TlsMode::Plain;
        settings.server.login_interval = Duration::ZERO;
        Arc::new(ImapSource::new(Env::system(), settings).expect("settings"))
    }

    fn mailbox(&self) -> String {
        USER.to_owned()
    }

    async fn plant(&mut self, folder: &[&str], messages: &[Planted]) {
        let name = self.name(folder);
        for m in messages {
            let flags = wire(&m.flags);
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            let date = InternalDate::utc(m.received);
            self.mock.store().add(USER, &name, m.octets.clone(), &flags, date);
        }
    }

    async fn expunge(&mut self, folder: &[&str], octets: &[u8]) {
        let uid = self.uid(folder, octets);
        assert!(self.mock.store().expunge(USER, &self.name(folder), uid));
    }

    async fn reflag(&mut self, folder: &[&str], octets: &[u8], flags: &str) -> bool {
        let (uid, name) = (self.uid(folder, octets), self.name(folder));
        let flags = wire(&Flags::decode(flags));
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        self.mock.store().set_flags(USER, &name, uid, &flags)
    }

    async fn spoil(&mut self, _: &[&str], _: &[u8]) -> bool {
        false
    }

    async fn renumber(&mut self, folder: &[&str]) -> bool {
        let name = self.name(folder);
        self.mock.store().reset_uid_validity(USER, &name)
    }

    async fn fingerprint(&self) -> String {
        let store = self.mock.store();
        assert_eq!(store.client_changes(), 0, "no command of the client changed anything");
        let folders = store.folders(USER).into_iter();
        let all: Vec<_> =
            folders.map(|f| (store.messages(USER, &f), store.uid_validity(USER, &f), f)).collect();
        format!("{all:?}")
    }

    fn holds(&self, octets: &[u8]) -> bool {
        !octets.contains(&0)
    }
}

/// The source of the trials: what it promises wrongly, every trial would believe.
struct MemoryHarness(MemorySource);

impl MemoryHarness {
    fn uid(&self, folder: &[&str], octets: &[u8]) -> u64 {
        let mut store = self.0.0.lock().unwrap();
        let all = &store.folder(USER, &folder.join("/")).messages;
        *all.iter().find(|(_, m)| m.octets == octets).expect("the message is there").0
    }

    fn change<T>(
        &self,
        folder: &[&str],
        change: impl FnOnce(&mut crate::support::memory::MemoryFolder) -> T,
    ) -> T {
        change(self.0.0.lock().unwrap().folder(USER, &folder.join("/")))
    }
}

#[async_trait]
impl SourceHarness for MemoryHarness {
    fn source(&self) -> Arc<dyn Source> {
        Arc::new(self.0.clone())
    }

    fn mailbox(&self) -> String {
        USER.to_owned()
    }

    async fn plant(&mut self, folder: &[&str], messages: &[Planted]) {
        let mut store = self.0.0.lock().unwrap();
        for m in messages {
            let flags = wire(&m.flags);
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            store.add(USER, &folder.join("/"), m.octets.clone(), &flags, m.received);
        }
    }

    async fn expunge(&mut self, folder: &[&str], octets: &[u8]) {
        let uid = self.uid(folder, octets);
        self.0.0.lock().unwrap().expunge(USER, &folder.join("/"), uid);
    }

    async fn reflag(&mut self, folder: &[&str], octets: &[u8], flags: &str) -> bool {
        let uid = self.uid(folder, octets);
        let flags = Flags::decode(flags);
        self.0.0.lock().unwrap().reflag(USER, &folder.join("/"), uid, |f| *f = flags);
        true
    }

    async fn spoil(&mut self, _: &[&str], _: &[u8]) -> bool {
        false
    }

    async fn renumber(&mut self, folder: &[&str]) -> bool {
        self.change(folder, |f| {
            f.epoch += 1000;
            f.messages = std::mem::take(&mut f.messages).into_iter().map(|(n, m)| (n + 50, m)).collect();
            f.next += 50;
        });
        true
    }

    async fn fingerprint(&self) -> String {
        format!("{:?}", self.0.0.lock().unwrap().0)
    }
}

#[tokio::test]
async fn imap_keeps_the_contract_with_a_real_dovecot() {
    let Some(harness) = DovecotHarness::start(Way::OwnPassword, &Options::default()) else { return };
    suite(harness).await;
}

#[tokio::test]
async fn imap_keeps_the_contract_with_a_real_dovecot_as_its_master_user_over_tls() {
    let options = Options { separator: '.', prefix: "INBOX.".to_owned(), ..Options::default() };
    let Some(harness) = DovecotHarness::start(Way::MasterOverTls, &options) else { return };
    suite(harness).await;
}

#[tokio::test]
async fn imap_keeps_the_contract_with_the_mock_server() {
    suite(MockHarness::start('/', "").await).await;
    suite(MockHarness::start('.', "INBOX.").await).await;
}

#[tokio::test]
async fn the_source_of_the_trials_keeps_the_contract() {
    let counters = Habits { counters: true, ..Habits::default() };
    for habits in [Habits::default(), counters, Habits { modseq: true, objects: true, ..counters }] {
        let store = Store(BTreeMap::new(), habits, Asked::default());
        let mut harness = MemoryHarness(MemorySource(Arc::new(Mutex::new(store))));
        harness.plant(&["INBOX"], &[planted("x", "", 1)]).await;
        harness.expunge(&["INBOX"], b"x").await;
        suite(harness).await;
    }
}

//! Later passes against a real Dovecot: what they cost on the wire, and that each way of telling changes tells all.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mailwave::engine::{self, MailboxResult, Options, Parts, Stop, Unwatched};
use mailwave::env::Env;
use mailwave::ledger::sqlite::{LedgerOptions, SqliteLedger};
use mailwave::limit::Limits;
use mailwave::model::{Bodies, Mailbox, MailboxKey, SourceName};
use mailwave::source::imap::{Credentials, ImapSettings, ImapSource, TlsMode};
use mailwave::target::maildir::{Fsync, MaildirTarget, MaildirTargetSettings};

use crate::support::dovecot::{self, Client, Dovecot};

const USER: &str = "user01";

/// What passed between a client and a server.
#[derive(Debug, Clone, Default)]
struct Wire {
    /// Lines the client sent.
    commands: Vec<String>,
    /// Times the client sent something after the server had: it had waited.
    turns: u64,
    /// The server spoke last.
    servers: bool,
}

/// A way to a server that sees what passes.
struct Tap {
    port: u16,
    wire: Arc<Mutex<Wire>>,
}

impl Tap {
    fn before(port: u16) -> Tap {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tap = Tap { port: listener.local_addr().unwrap().port(), wire: Arc::default() };
        let wire = tap.wire.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                for stream in [&client, &server] {
                    stream.set_nodelay(true).unwrap();
                }
                let back = (server.try_clone().unwrap(), client.try_clone().unwrap(), wire.clone());
                let wire = wire.clone();
                std::thread::spawn(move || {
                    relay(client, server, |octets| {
                        let mut wire = wire.lock().unwrap();
                        wire.turns += u64::from(std::mem::take(&mut wire.servers));
                        let text = String::from_utf8_lossy(octets).into_owned();
                        wire.commands.extend(text.lines().map(str::to_owned));
                    });
                });
                std::thread::spawn(move || {
                    relay(back.0, back.1, |_| {
                        // Far enough away that what is sent together arrives together.
                        std::thread::sleep(Duration::from_millis(20));
                        back.2.lock().unwrap().servers = true;
                    });
                });
            }
        });
        tap
    }

    fn take(&self) -> Wire {
        std::mem::take(&mut *self.wire.lock().unwrap())
    }
}

fn relay(mut from: TcpStream, mut to: TcpStream, mut see: impl FnMut(&[u8])) {
    let mut buffer = [0; 1 << 14];
    while let Ok(len) = from.read(&mut buffer)
        && len > 0
    {
        see(&buffer[..len]);
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// One mailbox of a Dovecot on its way into a Maildir.
struct Desk {
    dovecot: Dovecot,
    tap: Tap,
    dir: tempfile::TempDir,
    final_pass: bool,
}

impl Desk {
    /// A server that says it can do this; `None`: all it can.
    fn new(capabilities: Option<&str>) -> Option<Desk> {
        let options =
            dovecot::Options { capabilities: capabilities.map(str::to_owned), ..dovecot::Options::default() };
        let dovecot = Dovecot::with(&options)?;
        let tap = Tap::before(dovecot.plain_port);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("out")).unwrap();
        Some(Desk { dovecot, tap, dir, final_pass: false })
    }

    fn client(&self) -> Client {
        self.dovecot.client(USER)
    }

    /// One pass, which must come to its end, and what passed on the wire.
    async fn pass(&self) -> (MailboxResult, Wire) {
        self.tap.take();
        let env = Env::system();
        let name: SourceName = "acme".parse().unwrap();
        let passwords = self.dovecot.users.iter().map(|(u, p)| (u.clone(), p.as_str().into()));
        let mut settings = ImapSettings::new("127.0.0.1", Credentials::PerMailbox(passwords.collect()));
        (settings.server.tls, settings.server.port) = (TlsMode::Plain, self.tap.port);
        settings.server.login_interval = Duration::ZERO;
        let target = MaildirTargetSettings {
            root: self.dir.path().join("out/{user}").to_string_lossy().into_owned(),
            fsync: Fsync::Never,
            ..MaildirTargetSettings::default()
        };
        let mailbox = Mailbox {
            key: MailboxKey::of(&name, USER),
            source: USER.to_owned(),
            target: "ann".to_owned(),
            source_endpoint: "old".to_owned(),
            target_endpoint: "new".to_owned(),
            target_place: String::new(),
            wave: String::new(),
            priority: 0,
        };
        let ledger = LedgerOptions::new(name.clone(), "deltas");
        let parts = Parts {
            env: env.clone(),
            source_name: name,
            sources: BTreeMap::from([(
                "old".to_owned(),
                Arc::new(ImapSource::new(env.clone(), settings).unwrap()) as _,
            )]),
            targets: BTreeMap::from([(
                "new".to_owned(),
                Arc::new(MaildirTarget::new(env.clone(), target).unwrap()) as _,
            )]),
            limits: Limits::unlimited(&env),
            ledger: Arc::new(SqliteLedger::open(&env, &self.dir.path().join("ledger"), ledger).unwrap()),
            bodies: Bodies { memory_limit: 1 << 20, max: 64 << 20, spool: self.dir.path().to_path_buf() },
            options: Options { final_pass: self.final_pass, ..Options::default() },
        };
        let result = engine::run(Arc::new(parts), vec![mailbox], Arc::new(Unwatched), Stop::default()).await;
        let result = result.mailboxes.into_iter().next().unwrap();
        assert!(result.error.is_none(), "{:?}", result.error);
        (result, self.tap.take())
    }

    fn fill(&self, folders: usize) {
        let mut client = self.client();
        for folder in 0..folders {
            let name = format!("Folder {folder}");
            let path = if folder == 0 { vec!["INBOX"] } else { vec![name.as_str()] };
            if folder > 0 {
                client.create(&path);
            }
            for n in 0..3 {
                client.append(&path, &mail(&format!("{folder} {n}")), "", None);
            }
        }
    }
}

fn mail(what: &str) -> Vec<u8> {
    format!("From: a@example.org\r\nSubject: message {what}\r\n\r\nText {what}\r\n").into_bytes()
}

/// What a pass did: stored, moved, removed, reflagged.
fn did(result: &MailboxResult) -> (u64, u64, u64, u64) {
    let s = &result.summary;
    (s.stored, s.moved, s.removed, s.reflagged)
}

/// What a server says it can do, less and less of it.
const OFFERS: [&str; 4] = [
    "IMAP4rev1 SASL-IR ENABLE LITERAL+ NAMESPACE UIDPLUS UNSELECT LIST-EXTENDED LIST-STATUS SPECIAL-USE ESEARCH CONDSTORE QRESYNC",
    "IMAP4rev1 SASL-IR LITERAL+ NAMESPACE UIDPLUS UNSELECT LIST-EXTENDED LIST-STATUS SPECIAL-USE ESEARCH CONDSTORE",
    "IMAP4rev1 SASL-IR LITERAL+ NAMESPACE UIDPLUS LIST-EXTENDED ESEARCH",
    "IMAP4rev1",
];

#[tokio::test]
async fn a_pass_without_changes_takes_three_round_trips_whatever_the_folders() {
    for (offer, folders) in [(None, 1), (None, 25), (Some(OFFERS[0]), 25), (Some(OFFERS[1]), 25)] {
        let Some(desk) = Desk::new(offer) else { return };
        desk.fill(folders);
        let (first, _) = desk.pass().await;
        assert_eq!(first.summary.stored, 3 * folders as u64);
        let (second, wire) = desk.pass().await;
        assert_eq!((did(&second), second.summary.already), ((0, 0, 0, 0), 3 * folders as u64));
        let seen = wire.commands.join("\n");
        assert!(!seen.contains("EXAMINE") && !seen.contains("FETCH"), "{seen}");
        assert!(wire.turns <= 3, "{} turns:\n{seen}", wire.turns);
        assert!(second.summary.source_trips <= 3, "{} by its own count", second.summary.source_trips);
    }
}

#[tokio::test]
async fn without_statuses_in_the_list_a_pass_without_changes_asks_for_all_of_them_at_once() {
    for offer in &OFFERS[2..] {
        let Some(desk) = Desk::new(Some(offer)) else { return };
        desk.fill(25);
        desk.pass().await;
        let (second, wire) = desk.pass().await;
        assert_eq!((did(&second), second.summary.already), ((0, 0, 0, 0), 75));
        let seen = wire.commands.join("\n");
        assert!(!seen.contains("EXAMINE") && !seen.contains("FETCH"), "{seen}");
        // Without SASL-IR or capabilities in the greeting a login takes more than one.
        assert!(
            second.summary.source_trips <= 7,
            "{} by its own count:\n{seen}",
            second.summary.source_trips
        );
        assert!(second.summary.reasons.iter().any(|r| r.contains("--final")), "{:?}", second.summary.reasons);
    }
}

#[tokio::test]
async fn whatever_the_server_offers_every_change_is_carried_over_and_the_pass_after_has_none() {
    for (n, offer) in OFFERS.iter().enumerate() {
        let Some(mut desk) = Desk::new(Some(offer)) else { return };
        desk.fill(6);
        let mut client = desk.client();
        let folder = ["Folder 1"];
        let uid = client.append(&folder, &mail("to be moved"), "", None);
        let (first, _) = desk.pass().await;
        assert_eq!(first.summary.stored, 19);

        client.append(&["INBOX"], &mail("new"), "\\Seen", None);
        client.move_to(&folder, uid, &["Folder 2"]);
        let gone = client.uids(&["Folder 3"])[1];
        client.expunge(&["Folder 3"], gone);
        let read = client.uids(&["Folder 4"])[0];
        client.set_flags(&["Folder 4"], read, "\\Seen \\Flagged");
        client.rename(&["Folder 5"], &["Renamed"]);
        let (second, wire) = desk.pass().await;
        let flags = u64::from(n < 2);
        assert_eq!(did(&second), (1, 1, 1, flags), "{offer}: {:?}", second.summary);
        assert_eq!(second.summary.verdict, first.summary.verdict, "{:?}", second.summary.reasons);
        let bodies = wire.commands.iter().filter(|c| c.contains("BODY.PEEK[]")).count();
        assert!(bodies <= 2, "only what is new or moved is fetched: {:#?}", wire.commands);
        if flags == 0 {
            desk.final_pass = true;
            assert_eq!(did(&desk.pass().await.0), (0, 0, 0, 1), "the final pass compares flags");
        }
        assert_eq!(did(&desk.pass().await.0), (0, 0, 0, 0));
    }
}

#[tokio::test]
async fn a_folder_numbered_anew_is_not_fetched_again() {
    let Some(desk) = Desk::new(None) else { return };
    desk.fill(2);
    let mut client = desk.client();
    // Two that only their octets tell apart.
    let date = Some("21-Nov-2026 08:09:10 +0000");
    client.append(&["INBOX"], b"Subject: alike\r\n\r\nthis\r\n", "", date);
    client.append(&["INBOX"], b"Subject: alike\r\n\r\nthat\r\n", "", date);
    assert_eq!(desk.pass().await.0.summary.stored, 8);
    let before = client.uid_validity(&["INBOX"]);
    drop(client);
    // What makes Dovecot number a Maildir anew: its list of UIDs is lost.
    let maildir = desk.dovecot.maildir(USER);
    for entry in std::fs::read_dir(&maildir).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("dovecot") && entry.path().is_file() {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    std::thread::sleep(Duration::from_millis(1100)); // UIDVALIDITY is made of the time, in seconds
    assert_ne!(desk.client().uid_validity(&["INBOX"]), before, "the server numbered the folder anew");
    let (second, wire) = desk.pass().await;
    assert_eq!((did(&second), second.summary.already), ((0, 0, 0, 0), 8), "{:?}", second.summary);
    let bodies: Vec<_> = wire.commands.iter().filter(|c| c.contains("BODY.PEEK[]")).collect();
    assert!(bodies.len() <= 1, "only the two alike are fetched: {bodies:?}");
    assert!(wire.commands.iter().any(|c| c.contains("BODY.PEEK[HEADER]")));
}

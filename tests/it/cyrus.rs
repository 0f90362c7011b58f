//! The IMAP source against a real Cyrus: the contract, whole migrations, and what is special about this server.

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
use crate::road::house::House;
use crate::road::office::{Done, append};
use crate::road::works::{Graph, Works, imap};
use crate::support::cyrus::{Cyrus, Options};
use crate::support::dovecot::{self, Dovecot, Format};
use crate::support::holding::Holding;
use crate::support::imap_client::{Client, literal};
use crate::support::mailgen::MailGen;
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

#[test]
fn mailboxes_travel_from_a_real_cyrus_to_graph_and_changes_follow() {
    let Some(cyrus) = Cyrus::start() else { return };
    let mut house = House::found(201, cyrus);
    let graph = Graph::start(true);
    let passwords = tempfile::tempdir().expect("a temporary folder");
    let (sources, rows) = imap(&house.server.reach(), false, passwords.path());
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
    let Some(cyrus) = Cyrus::with(&options) else { return };
    let mut house = House::found(202, cyrus);
    let passwords = tempfile::tempdir().expect("a temporary folder");
    let (sources, rows) = imap(&house.server.reach(), false, passwords.path());
    let target = "[target.files]\nkind = \"maildir\"\nroot = \"copies\"\n";
    let works = Works::new(&format!("{sources}{target}"), &rows);
    let root = works.path().join("copies");
    let users = house.mail.len();
    let holds = |house: &House<Cyrus>| {
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
    house.server.renumber(USER, &["Archive"]);
    let before = snapshot(&root);
    works.run(Done::default(), users, house.copies());
    holds(&house);
    assert!(snapshot(&root) == before, "a third run writes nothing");
}

#[test]
fn what_lies_in_dovecot_is_told_alike_whatever_its_format() {
    let Some(first) = dovecot_of(Format::Maildir, '/', "") else { return };
    for (format, separator, prefix) in [(Format::Sdbox, '.', "INBOX."), (Format::Mdbox, '/', "")] {
        first.assert_same(&dovecot_of(format, separator, prefix).expect("it started before"));
    }
}

#[test]
fn what_lies_in_dovecot_and_in_cyrus_is_told_alike() {
    let dotted = Options { unix_hierarchy: false, alt_namespace: false, ..Options::default() };
    let (Some(slashed), Some(dotted)) = (Cyrus::start(), Cyrus::with(&dotted)) else { return };
    let Some(first) = dovecot_of(Format::Maildir, '/', "") else { return };
    first.assert_same(&fill(&slashed));
    first.assert_same(&fill(&dotted));
}

/// What a filled Dovecot of this shape tells; `None` where it is not installed.
fn dovecot_of(format: Format, separator: char, prefix: &str) -> Option<Holding> {
    let prefix = prefix.to_owned();
    let options = dovecot::Options { format, separator, prefix, users: 1, ..dovecot::Options::default() };
    let dovecot = Dovecot::with(&options)?;
    let mut client = dovecot.client(USER);
    ["Archive", "Drafts", "Junk", "Sent", "Trash"].iter().for_each(|name| client.create(&[name]));
    let holding = fill(&dovecot);
    assert_eq!(holding.count(), 27);
    assert_eq!(holding.folder(&["Sent"]).special.as_deref(), Some("sent"));
    Some(holding)
}

/// Mail of every kind, laid into a server; what it then tells, also after a folder was numbered anew.
fn fill(server: &impl ImapServer) -> Holding {
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

#[test]
fn a_full_mailbox_a_large_message_and_one_connection_too_many_are_refused() {
    let message = [&b"Subject: a\r\n\r\n"[..], &b"0123456789abcdef\r\n".repeat(1000)].concat();
    let full = |client: &mut Client| {
        (0..4).find_map(|_| client.offer(&["INBOX"], &message, "", None).err()).expect("it is full")
    };
    let options = Options {
        quota: Some(40),
        connections: Some(2),
        max_message: Some(30_000),
        hidden: vec!["QRESYNC", "MULTIAPPEND"],
        ..Options::default()
    };
    let Some(cyrus) = Cyrus::with(&options) else { return };
    let options = dovecot::Options { quota: Some(40_000), connections: 2, ..dovecot::Options::default() };
    let Some(dovecot) = Dovecot::with(&options) else { return };
    for server in [&cyrus as &dyn ImapServer, &dovecot] {
        let mut clients = [server.client(USER), server.client(USER)];
        let refusal = full(&mut clients[0]);
        // Cyrus says it in words alone, without a response code.
        assert!(refusal.contains("NO Over quota") || refusal.contains("NO [OVERQUOTA]"), "{refusal}");
        let mut third = Client::connect(server.reach().plain_port);
        let login =
            [b"LOGIN ".to_vec(), literal(USER.as_bytes()), b" ".to_vec(), literal(b"pa ss\"w\\rd1")].concat();
        let refusal = third.attempt(&[&login]).expect_err("two are enough");
        assert!(refusal.contains("NO ") || refusal.contains("BYE"), "{refusal}");
        server.client("user02");
    }
    let mut client = cyrus.client("user02");
    // Announced first; a literal that is sent unasked costs the connection.
    let refusal = client.attempt(&[b"APPEND INBOX {30001}"]).expect_err("it is too large");
    assert!(refusal.contains("NO "), "{refusal}");
    let said = String::from_utf8(client.run(&[b"CAPABILITY"]).0).expect("text");
    assert!(
        said.contains(" APPENDLIMIT=30000") && !said.contains("QRESYNC") && !said.contains("MULTIAPPEND"),
        "{said}"
    );
}

//! The IMAP source against a real Dovecot.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use mailwave::env::Env;
use mailwave::model::{Bodies, Digest, Flags, Kind, Listed, Scope, SourceId, SpecialUse, Timestamp};
use mailwave::source::imap::{Credentials, ImapSettings, ImapSource, MasterForm, Mechanism, TlsMode};
use mailwave::source::{Fetched, Listing, Source, SourceFolder, SourceMailbox, Wanted};

use crate::support::dovecot::{Dovecot, Options};

fn passwords(dovecot: &Dovecot) -> Credentials {
    Credentials::PerMailbox(dovecot.users.iter().map(|(u, p)| (u.clone(), p.as_str().into())).collect())
}

fn master(dovecot: &Dovecot, form: MasterForm) -> Credentials {
    let (user, password) = dovecot.master.clone();
    Credentials::Master { user, password: password.into(), form }
}

/// Clear text, every mailbox with its own password.
fn plain(dovecot: &Dovecot) -> ImapSettings {
    let mut settings = ImapSettings::new("127.0.0.1", passwords(dovecot));
    settings.server.port = dovecot.plain_port;
    settings.server.tls = TlsMode::Plain;
    settings.server.login_interval = Duration::ZERO;
    settings
}

/// Implicit TLS with the server's own authority.
fn tls(dovecot: &Dovecot) -> ImapSettings {
    let mut settings = plain(dovecot);
    settings.server.host = "localhost".to_owned();
    settings.server.port = dovecot.tls_port;
    settings.server.tls = TlsMode::Implicit;
    settings.server.ca_file = Some(dovecot.ca_file.clone());
    settings
}

fn source(settings: ImapSettings) -> ImapSource {
    ImapSource::new(Env::system(), settings).expect("settings that work")
}

fn bodies() -> Bodies {
    Bodies { memory_limit: 1 << 20, max: 64 << 20, spool: std::env::temp_dir() }
}

async fn open(source: &ImapSource, mailbox: &str) -> Box<dyn SourceMailbox> {
    source.open(mailbox).await.expect("opened")
}

async fn folder(mailbox: &mut dyn SourceMailbox, names: &[&str]) -> SourceFolder {
    let folders = mailbox.folders().await.expect("folders");
    folders.into_iter().find(|f| f.path.names() == names).expect("the folder")
}

async fn list(mailbox: &mut dyn SourceMailbox, folder: &SourceFolder) -> (Listing, Vec<Listed>) {
    let mut found = Vec::new();
    let listing = mailbox.list(folder, None, &mut |l| found.push(l)).await.expect("listed");
    (listing, found)
}

fn wanted(found: &[Listed]) -> Vec<Wanted> {
    found
        .iter()
        .map(|l| match l.id {
            SourceId::Number(n) => Wanted { number: n, id: l.id.clone(), size: l.size },
            SourceId::Name(_) => panic!("IMAP numbers its messages"),
        })
        .collect()
}

fn mail(n: usize) -> Vec<u8> {
    format!("From: a@example.org\r\nSubject: message {n}\r\n\r\nText {n}\r\n").into_bytes()
}

#[tokio::test]
async fn folders_with_awkward_names_are_listed_decoded_and_can_be_opened() {
    let shapes = [('/', ""), ('.', "INBOX."), ('.', ""), ('/', "Mail/")];
    for (separator, prefix) in shapes {
        let options = Options { separator, prefix: prefix.to_owned(), ..Options::default() };
        let Some(dovecot) = Dovecot::with(&options) else { return };
        let mut made: Vec<Vec<&str>> = vec![
            vec!["quote\"d"],
            vec!["50% Rabatt"],
            vec!["back\\slash"],
            vec![" leading blanks"],
            vec!["😀 Smile"],
            vec!["Entwürfe"],
            vec!["受信箱"],
            vec!["A & B"],
            vec!["star*"],
            vec!["{5}"],
            vec!["NIL"],
            vec!["(paren)"],
            vec!["one", "two", "three", "vier & fünf"],
            vec!["Sent"],
            vec!["Trash"],
        ];
        let mut client = dovecot.client("user01");
        for path in &made {
            client.create(path);
        }
        let uid = client.append(&["one", "two", "three", "vier & fünf"], &mail(1), "", None);
        let source = source(plain(&dovecot));
        let mut mailbox = open(&source, "user01").await;
        let folders = mailbox.folders().await.expect("folders");
        assert!(folders[0].path.is_inbox() && folders[0].special == Some(SpecialUse::Inbox));
        made.extend([vec!["INBOX"], vec!["one"], vec!["one", "two"], vec!["one", "two", "three"]]);
        made.sort();
        let mut seen: Vec<Vec<&str>> =
            folders.iter().map(|f| f.path.names().iter().map(String::as_str).collect()).collect();
        seen.sort();
        assert_eq!(seen, made, "separator {separator}, prefix {prefix:?}");
        let role = |name: &str| folders.iter().find(|f| f.path.leaf() == name).and_then(|f| f.special);
        assert_eq!((role("Sent"), role("Trash")), (Some(SpecialUse::Sent), Some(SpecialUse::Trash)));
        assert_eq!(role("Entwürfe"), None);
        for folder in folders.iter().filter(|f| f.selectable) {
            let (listing, found) = list(mailbox.as_mut(), folder).await;
            assert!(listing.epoch > 0);
            assert_eq!(found.len(), usize::from(folder.path.leaf() == "vier & fünf"));
        }
        let deep = folder(mailbox.as_mut(), &["one", "two", "three", "vier & fünf"]).await;
        assert_eq!(list(mailbox.as_mut(), &deep).await.1[0].id, SourceId::Number(u64::from(uid)));
        let again = mailbox.folders().await.expect("folders");
        assert!(again == folders, "two calls give the same folders in the same order");
    }
}

#[tokio::test]
async fn containers_without_mail_are_listed_as_such() {
    let Some(dovecot) = Dovecot::start() else { return };
    let mut client = dovecot.client("user01");
    client.create(&["top", "leaf"]);
    let source = source(plain(&dovecot));
    let mailbox = open(&source, "user01").await;
    let folders = mailbox.folders().await.expect("folders");
    assert!(folders.iter().any(|f| f.path.names() == ["top"] && !f.selectable));
    assert!(folders.iter().any(|f| f.path.names() == ["top", "leaf"] && f.selectable));
}

#[tokio::test]
async fn flags_dates_and_octets_arrive_as_they_were_stored_and_nothing_is_marked_read() {
    let Some(dovecot) = Dovecot::start() else { return };
    let mut client = dovecot.client("user01");
    let folder_name = ["INBOX"];
    let big: Vec<u8> = {
        let line = [&[b'x'; 74][..], b"\r\n"].concat();
        let mut big = b"From: a@example.org\r\nSubject: big\r\n\r\n".to_vec();
        while big.len() < 20 << 20 {
            big.extend_from_slice(&line);
        }
        big
    };
    let messages: Vec<(Vec<u8>, &str, &str)> = vec![
        (mail(1), "", "01-Jan-1970 00:00:00 +0000"),
        (mail(2), "\\Seen \\Answered \\Flagged \\Draft", "21-Nov-2026 08:09:10 +0530"),
        (mail(3), "$Forwarded work Projekt-X", "31-Dec-1999 23:59:59 -0800"),
        (mail(4), "\\Deleted", "1-Feb-2004 03:04:05 +0100"),
        (b"\r\n".to_vec(), "", "21-Nov-2026 08:09:11 +0000"),
        (b"no header at all\r\n\r\nnot one\r\n".to_vec(), "", "21-Nov-2026 08:09:12 +0000"),
        (
            [
                &b"Subject: \xe4\xf6\xfc\r\n\r\n"[..],
                &(1..=255u8).filter(|b| !b"\r\n".contains(b)).collect::<Vec<_>>(),
                b"\r\n",
            ]
            .concat(),
            "",
            "21-Nov-2026 08:09:13 +0000",
        ),
        (b"Subject: no end of line at the end\r\n\r\nend".to_vec(), "", "21-Nov-2026 08:09:14 +0000"),
        (
            b"Subject: )\r\n\r\n)\r\n* 1 FETCH (UID 1)\r\nm1 OK done\r\n".to_vec(),
            "",
            "21-Nov-2026 08:09:15 +0000",
        ),
        (big, "\\Seen", "21-Nov-2026 08:09:16 +0000"),
    ];
    let mut expected = BTreeMap::new();
    for (octets, flags, date) in &messages {
        let uid = client.append(&folder_name, octets, flags, Some(date));
        let mut set = Flags::default();
        flags.split_whitespace().for_each(|f| set.add(f));
        let seconds = Timestamp::from_imap(date).expect("a date").seconds;
        expected.insert(u64::from(uid), (octets, set, seconds));
    }
    let source = source(tls(&dovecot));
    let mut mailbox = open(&source, "user01").await;
    let inbox = folder(mailbox.as_mut(), &["INBOX"]).await;
    let (listing, found) = list(mailbox.as_mut(), &inbox).await;
    assert_eq!(found.len(), messages.len());
    assert_eq!(Some(&(listing.next - 1)), expected.keys().max());
    assert!(listing.modseq > 0);
    for listed in &found {
        let SourceId::Number(uid) = listed.id else { panic!("a number") };
        let (octets, flags, seconds) = &expected[&uid];
        assert_eq!(listed.size, Some(octets.len() as u64));
        assert_eq!(&listed.flags, flags);
        assert_eq!(listed.received.map(|t| t.seconds), Some(*seconds));
    }
    let answers = mailbox.fetch(&inbox, listing.epoch, &wanted(&found), &bodies()).await.expect("fetched");
    assert_eq!(answers.len(), found.len());
    for (listed, answer) in found.iter().zip(answers) {
        let SourceId::Number(uid) = listed.id else { panic!("a number") };
        let (octets, flags, seconds) = &expected[&uid];
        let Fetched::Message { body, flags: told, received } = answer else { panic!("a message") };
        assert!(body.bytes().expect("octets") == octets[..], "message {uid} has other octets");
        assert_eq!(body.digest(), Digest::of(octets));
        assert_eq!(body.is_spooled(), octets.len() > 1 << 20);
        assert_eq!(told.as_ref(), Some(flags));
        assert_eq!(received.map(|t| t.seconds), Some(*seconds));
    }
    for (uid, (_, flags, _)) in &expected {
        let shown = client.flags(&folder_name, u32::try_from(*uid).expect("a UID"));
        assert_eq!(shown.contains("\\Seen"), flags.seen, "reading must not mark as read");
    }
}

#[tokio::test]
async fn an_empty_file_and_a_message_gone_between_listing_and_fetch_are_told_apart() {
    let Some(dovecot) = Dovecot::start() else { return };
    let mut client = dovecot.client("user01");
    let first = client.append(&["INBOX"], &mail(1), "", None);
    let second = client.append(&["INBOX"], &mail(2), "", None);
    // A message of no octets at all cannot be appended, but a crash can leave one.
    std::fs::write(dovecot.maildir("user01").join("new/1000000000.M1P1.host"), b"").expect("write");
    let source = source(plain(&dovecot));
    let mut mailbox = open(&source, "user01").await;
    let inbox = folder(mailbox.as_mut(), &["INBOX"]).await;
    let (listing, found) = list(mailbox.as_mut(), &inbox).await;
    assert_eq!(found.len(), 3);
    // Expunged by somebody else, while our session has the folder open.
    client.expunge(&["INBOX"], first);
    let wanted = wanted(&found);
    let answers = mailbox.fetch(&inbox, listing.epoch, &wanted, &bodies()).await.expect("fetched");
    for (wanted, answer) in wanted.iter().zip(&answers) {
        match answer {
            Fetched::Gone => assert_eq!(wanted.number, u64::from(first)),
            Fetched::Message { body, .. } if wanted.number == u64::from(second) => {
                assert_eq!(body.bytes().expect("octets"), mail(2));
            }
            Fetched::Message { body, .. } => assert!(body.is_empty()),
            Fetched::Failed(e) => panic!("{e}"),
        }
    }
    assert!(matches!(answers[0], Fetched::Gone));
    let stranger = Wanted { number: 9999, id: SourceId::Number(9999), size: None };
    let answers = mailbox.fetch(&inbox, listing.epoch, &[stranger], &bodies()).await.expect("fetched");
    assert!(matches!(answers[..], [Fetched::Gone]));
    let conflict = mailbox.fetch(&inbox, listing.epoch + 1, &wanted, &bodies()).await;
    assert!(conflict.is_err_and(|e| e.kind == Kind::Conflict));
}

#[tokio::test]
async fn a_message_the_server_cannot_read_fails_alone() {
    let Some(dovecot) = Dovecot::start() else { return };
    let mut client = dovecot.client("user01");
    for n in 0..8 {
        client.append(&["INBOX"], &mail(n), "", None);
    }
    let source = source(plain(&dovecot));
    let mut mailbox = open(&source, "user01").await;
    let inbox = folder(mailbox.as_mut(), &["INBOX"]).await;
    let (listing, found) = list(mailbox.as_mut(), &inbox).await;
    // The server lists one message and may not read its file; it hangs up at it (`* BYE FETCH failed`).
    let mut files: Vec<_> = ["cur", "new"]
        .into_iter()
        .flat_map(|sub| std::fs::read_dir(dovecot.maildir("user01").join(sub)).expect("readable"))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let victim = &files[3];
    let lost = std::fs::read(victim).expect("readable");
    std::fs::set_permissions(victim, std::fs::Permissions::from_mode(0o000)).expect("chmod");
    let answers = mailbox.fetch(&inbox, listing.epoch, &wanted(&found), &bodies()).await.expect("fetched");
    let mut good = 0;
    for answer in &answers {
        match answer {
            Fetched::Message { body, .. } => {
                let octets = body.bytes().expect("octets");
                assert!(octets.starts_with(b"From: ") && !octets.starts_with(lost.trim_ascii_end()));
                good += 1;
            }
            Fetched::Failed(e) => assert!(e.scope == Scope::Message && e.may_pass(), "{e}"),
            Fetched::Gone => panic!("it is not gone"),
        }
    }
    assert_eq!(good, 7);
}

#[tokio::test]
async fn a_master_user_reads_any_mailbox_by_either_form_of_login() {
    let Some(dovecot) = Dovecot::start() else { return };
    dovecot.client("user02").append(&["INBOX"], &mail(7), "", None);
    for form in [MasterForm::AuthorisationId, MasterForm::LoginName("{mailbox}*master".to_owned())] {
        let mut settings = tls(&dovecot);
        settings.server.credentials = master(&dovecot, form);
        let source = source(settings);
        let mut mailbox = open(&source, "user02").await;
        let inbox = folder(mailbox.as_mut(), &["INBOX"]).await;
        assert_eq!(list(mailbox.as_mut(), &inbox).await.1.len(), 1);
    }
}

#[tokio::test]
async fn every_mechanism_logs_in_and_awkward_passwords_are_sent_whole() {
    let Some(dovecot) = Dovecot::start() else { return };
    for mechanism in [Mechanism::Auto, Mechanism::Login, Mechanism::Plain] {
        let mut settings = plain(&dovecot);
        settings.server.mechanism = mechanism;
        open(&source(settings), "user03").await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_said_in_words_that_help_and_tell_no_secret() {
    let Some(dovecot) = Dovecot::start() else { return };
    for (mechanism, mailbox) in
        [(Mechanism::Login, "user01"), (Mechanism::Plain, "user01"), (Mechanism::Auto, "nobody-here")]
    {
        let mut settings = plain(&dovecot);
        settings.server.mechanism = mechanism;
        settings.server.credentials = Credentials::Fixed { password: "hunter2".into() };
        let error = source(settings).open(mailbox).await.err().expect("refused");
        assert_eq!((error.kind, error.scope, error.may_pass()), (Kind::Auth, Scope::Mailbox, false));
        assert_eq!(error.what, "the server refused the login: wrong name or password");
        assert!(error.remedy.contains("tried once only"));
        assert!(!format!("{error:?}").contains("hunter2"));
    }
    // The server logs a connection's attempts when it ends; `(auth failed, 1 attempts in …)`.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while dovecot.log().matches("(auth failed").count() < 3 && std::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let log = dovecot.log();
    assert_eq!(log.matches("(auth failed, 1 attempts").count(), 3, "each password is tried once:\n{log}");
    assert_eq!(log.matches("(auth failed").count(), 3, "{log}");
}

#[tokio::test]
async fn certificates_are_checked_and_refused_with_a_remedy() {
    let options = Options { expired_certificate: true, ..Options::default() };
    let Some(dovecot) = Dovecot::with(&options) else { return };
    let refused = async |settings: ImapSettings| {
        let error = source(settings).open("user01").await.err().expect("refused");
        assert_eq!((error.kind, error.scope), (Kind::Tls, Scope::Endpoint));
        assert!(error.remedy.contains("ca_file"), "{error}");
        error.what
    };
    assert!(refused(tls(&dovecot)).await.contains("has expired"));
    let mut start_tls = tls(&dovecot);
    start_tls.server.tls = TlsMode::StartTls;
    start_tls.server.port = dovecot.plain_port;
    assert!(refused(start_tls).await.contains("has expired"));
    let Some(valid) = Dovecot::start() else { return };
    let mut unknown = tls(&valid);
    unknown.server.ca_file = None;
    assert!(refused(unknown).await.contains("not issued by an authority this machine trusts"));
}

#[tokio::test]
async fn starttls_and_tls_reach_the_mailbox_and_clear_text_on_a_tls_port_is_explained() {
    let Some(dovecot) = Dovecot::start() else { return };
    let mut start_tls = tls(&dovecot);
    start_tls.server.tls = TlsMode::StartTls;
    start_tls.server.port = dovecot.plain_port;
    for settings in [start_tls, tls(&dovecot)] {
        let source = source(settings);
        let mailbox = open(&source, "user01").await;
        assert!(mailbox.folders().await.expect("folders")[0].path.is_inbox());
    }
    let mut wrong_port = tls(&dovecot);
    wrong_port.server.port = dovecot.plain_port;
    let error = source(wrong_port).open("user01").await.err().expect("refused");
    assert!(error.scope == Scope::Endpoint && error.remedy.contains("port"), "{error}");
    let mut nobody = plain(&dovecot);
    nobody.server.port = 1;
    let error = source(nobody).open("user01").await.err().expect("refused");
    assert_eq!((error.kind, error.scope, error.may_pass()), (Kind::Unreachable, Scope::Endpoint, true));
}

#[tokio::test]
async fn a_session_given_back_in_the_middle_of_a_folder_is_taken_again() {
    let Some(dovecot) = Dovecot::start() else { return };
    let mut client = dovecot.client("user01");
    for n in 0..30 {
        client.append(&["INBOX"], &mail(n), "", None);
    }
    let mut settings = plain(&dovecot);
    settings.list_messages = 7;
    settings.fetch_messages = 4;
    let source = source(settings);
    let mut mailbox = open(&source, "user01").await;
    let inbox = folder(mailbox.as_mut(), &["INBOX"]).await;
    let (listing, found) = list(mailbox.as_mut(), &inbox).await;
    assert_eq!(found.len(), 30);
    let mut texts = Vec::new();
    for part in wanted(&found).chunks(10) {
        mailbox.release().await;
        for answer in mailbox.fetch(&inbox, listing.epoch, part, &bodies()).await.expect("fetched") {
            let Fetched::Message { body, .. } = answer else { panic!("a message") };
            texts.push(body.bytes().expect("octets").to_vec());
        }
    }
    assert_eq!(texts, (0..30).map(mail).collect::<Vec<_>>());
}

#[tokio::test]
async fn more_mailboxes_than_connections_all_get_their_turn_and_the_cap_holds() {
    let options = Options { users: 12, ..Options::default() };
    let Some(dovecot) = Dovecot::with(&options) else { return };
    for (user, _) in &dovecot.users {
        dovecot.client(user).append(&["INBOX"], user.as_bytes(), "", None);
    }
    let mut settings = plain(&dovecot);
    settings.server.max_connections = 3;
    settings.server.idle_grace = Duration::from_millis(50);
    // One master for all: the server counts the connections of the address.
    settings.server.credentials = master(&dovecot, MasterForm::AuthorisationId);
    let source = std::sync::Arc::new(source(settings));
    let peak = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for (user, _) in dovecot.users.clone() {
        let (source, peak, port) = (source.clone(), peak.clone(), dovecot.plain_port);
        tasks.push(tokio::spawn(async move {
            // Nobody gives a session back by itself, and all stay open together.
            let mut mailbox = source.open(&user).await.expect("opened");
            let inbox = folder(mailbox.as_mut(), &["INBOX"]).await;
            for _ in 0..2 {
                let (listing, found) = list(mailbox.as_mut(), &inbox).await;
                peak.fetch_max(established(port), std::sync::atomic::Ordering::SeqCst);
                let answers =
                    mailbox.fetch(&inbox, listing.epoch, &wanted(&found), &bodies()).await.expect("fetched");
                let [Fetched::Message { body, .. }] = &answers[..] else { panic!("one message") };
                // Dovecot ends a last line that has no end.
                assert!(body.bytes().expect("octets").starts_with(user.as_bytes()));
            }
            mailbox
        }));
    }
    for task in tasks {
        task.await.expect("every mailbox is read");
    }
    let peak = peak.load(std::sync::atomic::Ordering::SeqCst);
    assert!((1..=3).contains(&peak), "{peak} connections at once");
}

/// Connections of ours to a port of this machine now.
fn established(port: u16) -> usize {
    let wanted = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table
        .lines()
        .filter(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // The remote end is the server's port, state 01 is ESTABLISHED.
            matches!(fields[..], [_, _, remote, "01", ..] if remote.ends_with(&wanted))
        })
        .count()
}

#[tokio::test]
async fn a_server_that_goes_away_is_a_temporary_error_and_not_a_short_answer() {
    let Some(dovecot) = Dovecot::start() else { return };
    dovecot.client("user01").append(&["INBOX"], &mail(1), "", None);
    let source = source(plain(&dovecot));
    let mut mailbox = open(&source, "user01").await;
    let inbox = folder(mailbox.as_mut(), &["INBOX"]).await;
    drop(dovecot);
    for _ in 0..2 {
        let error = mailbox.list(&inbox, None, &mut |_| {}).await.expect_err("gone");
        assert!(error.kind == Kind::Unreachable && error.may_pass(), "{error}");
    }
}

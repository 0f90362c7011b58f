//! Clients that others wrote: async-imap over plain TCP, TLS and STARTTLS, and Python's imaplib.

use std::process::Command;
use std::sync::Arc;

use async_imap::{Client, Session};
use futures_util::TryStreamExt;
use mailwave::mock::imap::{Act, ImapMock, ImapOptions, Rule, SelfSigned};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{MAIL, assert_all_fired, mock, mock_of};

/// Drives a session through everything a migration's source and a populating client need.
async fn work<S: AsyncRead + AsyncWrite + Unpin + std::fmt::Debug + Send>(
    mut session: Session<S>,
    mock: &ImapMock,
) {
    assert!(session.capabilities().await.unwrap().has_str("UIDPLUS"));
    session.create("Sent &- more").await.unwrap();
    let names: Vec<_> = session.list(Some(""), Some("*")).await.unwrap().try_collect().await.unwrap();
    let mut names: Vec<&str> = names.iter().map(|n| n.name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["INBOX", "Sent &- more"]);
    let inbox = session.examine("INBOX").await.unwrap();
    assert_eq!(
        (inbox.exists, inbox.uid_next, inbox.uid_validity),
        (3, Some(4), mock.store().uid_validity("anna", "INBOX"))
    );
    let query = "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])";
    let mails: Vec<_> = session.uid_fetch("1:*", query).await.unwrap().try_collect().await.unwrap();
    assert_eq!(mails.len(), 3);
    assert_eq!(
        (mails[0].uid, mails[0].body(), mails[0].size),
        (Some(1), Some(MAIL), Some(MAIL.len() as u32))
    );
    assert_eq!(mails[0].internal_date().unwrap().timestamp(), 837_596_665);
    assert!(mails[0].flags().any(|f| f == async_imap::types::Flag::Seen));
    assert_eq!(mock.store().client_changes(), 1, "reading changed nothing");
    assert_eq!(session.uid_search("UNSEEN").await.unwrap(), [2, 3].into());
    session
        .append("Sent &- more", Some("(\\Draft)"), Some("\" 1-Jan-2024 10:00:00 +0100\""), MAIL)
        .await
        .unwrap();
    let status = session.status("INBOX", "(MESSAGES UIDNEXT)").await.unwrap();
    assert_eq!((status.exists, status.uid_next), (3, Some(4)));
    session.select("INBOX").await.unwrap();
    let stored: Vec<_> =
        session.uid_store("2", "+FLAGS (\\Deleted)").await.unwrap().try_collect().await.unwrap();
    assert_eq!(stored.len(), 1);
    session.uid_copy("3", "Sent &- more").await.unwrap();
    session.uid_mv("1", "Sent &- more").await.unwrap();
    let gone: Vec<_> = session.expunge().await.unwrap().try_collect().await.unwrap();
    assert_eq!(gone, [1]);
    session.rename("Sent &- more", "Elsewhere").await.unwrap();
    session.logout().await.unwrap();
    let store = mock.store();
    assert_eq!(store.uids("anna", "INBOX"), [3]);
    let kept = store.messages("anna", "Elsewhere");
    assert_eq!(kept.iter().map(|m| m.uid).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((&kept[0].octets[..], kept[0].flags.join(" ").as_str()), (MAIL, "\\Draft"));
    assert_eq!(kept[0].date.to_string(), " 1-Jan-2024 10:00:00 +0100");
}

fn connector(tls: &SelfSigned) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(tls.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[tokio::test]
async fn async_imap_works_over_plain_tcp() {
    let mock = mock();
    let server = mock.clone().listen("127.0.0.1:0", None).await.unwrap();
    let mut client = Client::new(TcpStream::connect(server.addr).await.unwrap());
    client.read_response().await.unwrap().expect("a greeting");
    work(client.login("anna", "secret").await.map_err(|e| e.0).unwrap(), &mock).await;
}

#[tokio::test]
async fn async_imap_works_over_tls() {
    let mock = mock();
    let tls = SelfSigned::new(&["localhost"]).unwrap();
    let server = mock.clone().listen("127.0.0.1:0", Some(tls.config.clone())).await.unwrap();
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let stream = connector(&tls).connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let mut client = Client::new(stream);
    client.read_response().await.unwrap().expect("a greeting");
    work(client.login("anna", "secret").await.map_err(|e| e.0).unwrap(), &mock).await;
}

#[tokio::test]
async fn async_imap_works_after_starttls_and_is_refused_before_it() {
    let tls = SelfSigned::new(&["localhost"]).unwrap();
    let options =
        ImapOptions { starttls: Some(tls.config.clone()), require_tls: true, ..ImapOptions::default() };
    let mock = mock_of(options);
    let server = mock.clone().listen("127.0.0.1:0", None).await.unwrap();
    let mut client = Client::new(TcpStream::connect(server.addr).await.unwrap());
    client.read_response().await.unwrap().expect("a greeting");
    let Err((refused, mut client)) = client.login("anna", "secret").await else { panic!("in without TLS") };
    assert!(refused.to_string().contains("PRIVACYREQUIRED"), "{refused}");
    client.run_command_and_check_ok("STARTTLS", None).await.unwrap();
    let stream = connector(&tls)
        .connect(ServerName::try_from("localhost").unwrap(), client.into_inner())
        .await
        .unwrap();
    let client = Client::new(stream);
    work(client.login("anna", "secret").await.map_err(|e| e.0).unwrap(), &mock).await;
}

#[tokio::test]
async fn a_cut_under_tls_comes_without_close_notify_and_a_logout_with_it() {
    let mock = mock();
    mock.script([Rule::on("UID FETCH", Act::CloseAt(60))]);
    let tls = SelfSigned::new(&["localhost"]).unwrap();
    let server = mock.clone().listen("127.0.0.1:0", Some(tls.config.clone())).await.unwrap();
    for (last, cut) in [("c UID FETCH 1 BODY.PEEK[]\r\n", true), ("c LOGOUT\r\n", false)] {
        let stream = TcpStream::connect(server.addr).await.unwrap();
        let mut stream =
            connector(&tls).connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        stream.write_all(format!("a LOGIN anna x\r\nb EXAMINE INBOX\r\n{last}").as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        let end = stream.read_to_end(&mut heard).await;
        let heard = String::from_utf8(heard).unwrap();
        match end {
            Ok(_) => assert!(!cut && heard.ends_with("c OK Logout completed\r\n"), "{heard}"),
            Err(e) => {
                assert!(cut && e.kind() == std::io::ErrorKind::UnexpectedEof, "{e}");
                assert!(
                    heard.ends_with("* 1 FETCH (UID 1 BODY[] {45}\r\nSubject: one\r\nFrom: a@example."),
                    "{heard}"
                );
            }
        }
    }
    assert_all_fired(&mock);
}

const PYTHON: &str = r#"
import imaplib, sys
m = imaplib.IMAP4("127.0.0.1", int(sys.argv[1]))
def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]
try:
    m.login("anna", "wrong")
    raise SystemExit("a wrong password got in")
except imaplib.IMAP4.error:
    pass
ok(m.authenticate("PLAIN", lambda _: b"\0anna\0secret"))
assert ok(m.namespace()) == [b'(("" "/")) NIL NIL']
ok(m.create("Entw&APw-rfe"))
assert len(ok(m.list())) == 2
assert ok(m.select("INBOX", readonly=True)) == [b"3"]
assert ok(m.uid("SEARCH", None, "UNSEEN")) == [b"2 3"]
data = ok(m.uid("FETCH", "2", "(FLAGS RFC822.SIZE BODY.PEEK[])"))
assert data[0][1] == b"Subject: two\r\n\r\nSecond.\r\n", data
ok(m.append("Entw&APw-rfe", r"(\Flagged)", imaplib.Time2Internaldate(0), b"Subject: py\r\n\r\nthon\r\n"))
assert ok(m.status("Entw&APw-rfe", "(MESSAGES UIDNEXT)")) == [b"Entw&APw-rfe (MESSAGES 1 UIDNEXT 2)"]
ok(m.select("Entw&APw-rfe"))
ok(m.store("1", "+FLAGS", r"(\Deleted)"))
assert ok(m.expunge()) == [b"1"]
ok(m.close())
ok(m.delete("Entw&APw-rfe"))
m.logout()
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pythons_imaplib_works() {
    if Command::new("python3").args(["-c", "import imaplib"]).output().is_ok_and(|o| o.status.success()) {
        let mock = mock_of(ImapOptions::default().with_users([("anna", "secret")]));
        let server = mock.clone().listen("127.0.0.1:0", None).await.unwrap();
        let port = server.addr.port().to_string();
        let run = move || Command::new("python3").args(["-c", PYTHON, &port]).output().unwrap();
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(mock.store().folders("anna"), ["INBOX"]);
        assert!(mock.verbs().contains(&"LOGOUT".to_owned()));
    } else {
        eprintln!("SKIPPED: python3 with imaplib is not installed");
    }
}

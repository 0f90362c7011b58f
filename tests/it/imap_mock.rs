//! The mock IMAP server, judged by clients we did not write (async-imap, Python's imaplib) and by dialogues word for
//! word: its strictness, its truth, and each of its faults.

mod clients;
mod dialogues;
mod faults;
mod login;
mod made;
mod maildirs;
mod quirks;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mailwave::mock::World;
use mailwave::mock::imap::{ImapMock, ImapOptions, InternalDate};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// 2023-11-14T22:13:20Z, always.
struct StillWorld;

impl World for StillWorld {
    fn now(&self) -> i64 {
        1_700_000_000_000
    }

    fn sleep(&self, d: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(d))
    }
}

const MAIL: &[u8] = b"Subject: one\r\nFrom: a@example.org\r\n\r\nHello.\r\n";

fn mock_of(options: ImapOptions) -> Arc<ImapMock> {
    let mock = ImapMock::new(options, Arc::new(StillWorld));
    {
        let mut store = mock.store();
        store.add(
            "anna",
            "INBOX",
            MAIL,
            &["\\Seen"],
            InternalDate::parse("17-Jul-1996 02:44:25 -0700").unwrap(),
        );
        store.add("anna", "INBOX", &b"Subject: two\r\n\r\nSecond.\r\n"[..], &["$Work"], InternalDate::utc(0));
        store.add("anna", "INBOX", &b"Subject: three\r\n\r\nThird.\r\n"[..], &[], InternalDate::utc(86_400));
    }
    mock
}

fn mock() -> Arc<ImapMock> {
    mock_of(
        ImapOptions::default()
            .offering("CONDSTORE QRESYNC OBJECTID ESEARCH LIST-EXTENDED LIST-STATUS MULTIAPPEND"),
    )
}

/// A client that says what it is told and hears every octet.
struct Dialogue {
    stream: DuplexStream,
    heard: Vec<u8>,
}

impl Dialogue {
    /// Connects and reads the greeting.
    async fn open(mock: &Arc<ImapMock>) -> Dialogue {
        let mut dialogue = Dialogue::connect(mock);
        let greeting = dialogue.line().await;
        assert!(greeting.starts_with("* OK"), "{greeting}");
        dialogue
    }

    fn connect(mock: &Arc<ImapMock>) -> Dialogue {
        let (stream, server) = tokio::io::duplex(1 << 16);
        tokio::spawn(mock.clone().serve_connection(server));
        Dialogue { stream, heard: Vec::new() }
    }

    async fn login(mock: &Arc<ImapMock>) -> Dialogue {
        let mut dialogue = Dialogue::open(mock).await;
        dialogue.expect("l1 LOGIN anna secret", "l1 OK").await;
        dialogue
    }

    async fn examine(mock: &Arc<ImapMock>) -> Dialogue {
        let mut dialogue = Dialogue::login(mock).await;
        dialogue.expect("l2 EXAMINE INBOX", "l2 OK [READ-ONLY]").await;
        dialogue
    }

    async fn select(mock: &Arc<ImapMock>) -> Dialogue {
        let mut dialogue = Dialogue::login(mock).await;
        dialogue.expect("l2 SELECT INBOX", "l2 OK [READ-WRITE]").await;
        dialogue
    }

    async fn say(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).await.unwrap();
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let n = self.stream.read(&mut buffer).await.unwrap_or(0);
        self.heard.extend_from_slice(&buffer[..n]);
        n > 0
    }

    /// The next line, with whatever bytes it has, without its end.
    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.heard.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.heard.drain(..end + 2).collect();
                return String::from_utf8_lossy(&line[..end]).into_owned();
            }
            assert!(
                self.more().await,
                "the connection ended; pending: {:?}",
                String::from_utf8_lossy(&self.heard)
            );
        }
    }

    /// Says a command line; gives all lines up to the tagged one.
    async fn ask(&mut self, command: &str) -> String {
        self.say(format!("{command}\r\n")).await;
        let tag = format!("{} ", command.split(' ').next().unwrap());
        self.until(&tag).await
    }

    async fn until(&mut self, start: &str) -> String {
        let mut all = String::new();
        loop {
            let line = self.line().await;
            all.push_str(&line);
            if line.starts_with(start) {
                return all;
            }
            all.push('\n');
        }
    }

    /// Says a command line whose tagged answer begins so; gives all of it.
    async fn expect(&mut self, command: &str, start: &str) -> String {
        let answer = self.ask(command).await;
        let last = answer.lines().last().unwrap();
        assert!(last.starts_with(start), "{command:?} was answered {answer:?}, not {start:?}");
        answer
    }

    /// Everything up to the end of the connection.
    async fn rest(&mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.heard)).into_owned()
    }
}

fn assert_all_fired(mock: &ImapMock) {
    assert!(mock.unfired().is_empty(), "rules that never acted: {:?}", mock.unfired());
}

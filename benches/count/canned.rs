//! A server that answers from prepared octets, in the same thread: what a client costs, with next to nothing beside it.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use mailwave::env::Env;
use mailwave::imap::Dial;
use mailwave::model::SourceId;
use mailwave::source::imap::{Credentials, ImapSettings, ImapSource, TlsMode};
use mailwave::source::{Source, SourceFolder, SourceMailbox, Wanted};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What it holds: one folder, INBOX, of messages with UIDs from 1, and the answers to a list of folders.
#[derive(Default)]
pub struct Held {
    sizes: Vec<u64>,
    /// FETCH answers with bodies, and where each begins and ends.
    bodies: Pieces,
    /// FETCH answers of a listing.
    lines: Pieces,
    /// Answers to LIST with RETURN.
    folders: Bytes,
}

#[derive(Default)]
struct Pieces {
    octets: Bytes,
    places: Vec<Range<usize>>,
}

impl Pieces {
    fn of(parts: impl Iterator<Item = Vec<u8>>) -> Pieces {
        let (mut octets, mut places) = (Vec::new(), Vec::new());
        for part in parts {
            places.push(octets.len()..octets.len() + part.len());
            octets.extend(part);
        }
        Pieces { octets: octets.into(), places }
    }
}

impl Held {
    /// Messages that are listed, and fetched if there are bodies.
    pub fn messages(sizes: Vec<u64>, body: &[u8]) -> Held {
        let head = |uid: usize, size: u64| {
            let (day, minute, modseq) = (uid % 28 + 1, uid % 60, 700_000 + uid);
            format!(
                "* {uid} FETCH (UID {uid} FLAGS (\\Seen $Forwarded) INTERNALDATE \"{day:2}-Nov-2026 08:{minute:02}:10 +0100\" \
                 RFC822.SIZE {size} MODSEQ ({modseq})"
            )
        };
        let all = || (1..).zip(&sizes);
        let lines = Pieces::of(all().map(|(uid, size)| (head(uid, *size) + ")\r\n").into_bytes()));
        let bodies = Pieces::of(all().filter(|_| !body.is_empty()).map(|(uid, size)| {
            let mut answer = (head(uid, *size) + &format!(" BODY[] {{{size}}}\r\n")).into_bytes();
            answer.extend(body.iter().cycle().take(usize::try_from(*size).unwrap()));
            answer.extend_from_slice(b")\r\n");
            answer
        }));
        Held { sizes, bodies, lines, folders: Bytes::new() }
    }

    /// No message; folders as these answers tell them.
    pub fn folders(answers: String) -> Held {
        Held { folders: answers.into(), ..Held::default() }
    }

    /// All of them, as a caller asks for them.
    pub fn wanted(&self) -> Vec<Wanted> {
        let want =
            |(uid, size): (u64, &u64)| Wanted { number: uid, id: SourceId::Number(uid), size: Some(*size) };
        (1..).zip(&self.sizes).map(want).collect()
    }
}

/// A mailbox of the real source, over a stream that leads to `held`.
pub async fn mailbox(env: &Env, held: &Arc<Held>) -> Box<dyn SourceMailbox> {
    let mut settings = ImapSettings::new("127.0.0.1", Credentials::Fixed { password: "x".into() });
    settings.server.tls = TlsMode::Plain;
    let held = held.clone();
    settings.server.dial = Some(Dial::new(move || Box::new(Canned::new(held.clone()))));
    ImapSource::new(env.clone(), settings).unwrap().open("anna").await.unwrap()
}

pub fn inbox() -> SourceFolder {
    SourceFolder {
        path: mailwave::model::FolderPath::inbox(),
        special: None,
        selectable: true,
        subscribed: None,
        object_id: None,
        handle: "INBOX".to_owned(),
        counters: None,
    }
}

struct Canned {
    held: Arc<Held>,
    asked: Vec<u8>,
    answers: VecDeque<Bytes>,
    waits: Option<Waker>,
}

impl Canned {
    fn new(held: Arc<Held>) -> Canned {
        let greeting = Bytes::from_static(b"* OK ready\r\n");
        Canned { held, asked: Vec::new(), answers: VecDeque::from([greeting]), waits: None }
    }

    fn answer(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut tagged = String::new();
        match words.as_slice() {
            [_, "CAPABILITY", ..] => {
                tagged += "* CAPABILITY IMAP4rev1 LITERAL+ NAMESPACE CONDSTORE LIST-EXTENDED LIST-STATUS SPECIAL-USE\r\n";
            }
            [_, "NAMESPACE", ..] => tagged += "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n",
            [_, "LIST", ..] => self.answers.push_back(self.held.folders.clone()),
            [_, "EXAMINE", ..] => {
                let many = self.held.sizes.len();
                tagged += &format!(
                    "* {many} EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n* OK [UIDNEXT {}] x\r\n* OK [HIGHESTMODSEQ 9] x\r\n",
                    many + 1
                );
            }
            [_, "UID", "FETCH", set, ..] => {
                let from = if line.contains("BODY") { &self.held.bodies } else { &self.held.lines };
                for range in set.split(',') {
                    let (first, last) = range.split_once(':').unwrap_or((range, range));
                    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                    let octets = from.places[first - 1].start..from.places[last - 1].end;
                    self.answers.push_back(from.octets.slice(octets));
                }
            }
            _ => {}
        }
        tagged += &format!("{} OK done\r\n", words[0]);
        self.answers.push_back(tagged.into());
    }
}

impl AsyncRead for Canned {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(first) = self.answers.front_mut() {
            if first.is_empty() {
                self.answers.pop_front();
                continue;
            }
            let some = first.len().min(into.remaining());
            into.put_slice(&first[..some]);
            first.advance(some);
            return Poll::Ready(Ok(()));
        }
        self.waits = Some(context.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Canned {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.asked.extend_from_slice(octets);
        while let Some(end) = self.asked.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.asked.drain(..=end).collect();
            self.answer(&String::from_utf8_lossy(&line));
        }
        if let Some(waker) = self.waits.take() {
            waker.wake();
        }
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

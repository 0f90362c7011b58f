//! What it costs to fetch over TLS, beside a bare reader of the same octets with the same TLS library. A server thread
//! of this process sends prepared FETCH responses; the processor time is that of the client's thread alone. Each figure
//! is the median of rounds in which all cases take turns. Nothing is asserted: compare within one run.
//!
//! `cargo bench --bench wire`
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mailwave::env::Env;
use mailwave::imap::{Receiver, Session, Take, UidSet, Untagged, connect};
use mailwave::mock::imap::SelfSigned;
use mailwave::model::{Bodies, FolderPath, SourceId};
use mailwave::source::imap::{Credentials, ImapSettings, ImapSource};
use mailwave::source::{Fetched, Source, SourceFolder, Wanted};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ROUNDS: usize = 5;
/// Octets of all messages, about.
const CORPUS: usize = 160 << 20;
/// Log-normal sizes: median 12 KB, mean 75 KB, at most 35 MB.
const MEDIAN: f64 = 12_000.0;
const SIGMA: f64 = 1.914;
const LARGEST: usize = 35 << 20;
/// Messages and octets asked for by one call.
const BATCH: (usize, u64) = (100, 16 << 20);

/// All responses, and where in them each message's is, by UID from 1.
struct Corpus {
    wire: Vec<u8>,
    places: Vec<Range<usize>>,
    sizes: Vec<u64>,
}

impl Corpus {
    fn new(seed: u64) -> Corpus {
        let mut dice = fastrand::Rng::with_seed(seed);
        let text: Vec<u8> =
            (0..1 << 20).map(|n| if n % 78 == 77 { b'\n' } else { dice.u8(b'!'..b'~') }).collect();
        let mut corpus = Corpus { wire: Vec::new(), places: Vec::new(), sizes: Vec::new() };
        while corpus.wire.len() < CORPUS {
            let normal = (-2.0 * (1.0 - dice.f64()).ln()).sqrt() * (std::f64::consts::TAU * dice.f64()).cos();
            let size = ((MEDIAN * (SIGMA * normal).exp()) as usize).clamp(300, LARGEST);
            let (begin, uid) = (corpus.wire.len(), corpus.sizes.len() + 1);
            let head = format!(
                "* {uid} FETCH (UID {uid} FLAGS (\\Seen $Forwarded) INTERNALDATE \"21-Nov-2026 08:09:10 +0100\" RFC822.SIZE {size} BODY[] {{{size}}}\r\n"
            );
            corpus.wire.extend_from_slice(head.as_bytes());
            let mut left = size;
            while left > 0 {
                let piece = left.min(text.len());
                corpus.wire.extend_from_slice(&text[..piece]);
                left -= piece;
            }
            corpus.wire.extend_from_slice(b")\r\n");
            corpus.places.push(begin..corpus.wire.len());
            corpus.sizes.push(size as u64);
        }
        corpus
    }

    /// The batches a caller would ask for.
    fn batches(&self) -> Vec<Vec<Wanted>> {
        let mut batches: Vec<Vec<Wanted>> = vec![Vec::new()];
        let mut octets = 0;
        for (uid, size) in (1u64..).zip(&self.sizes) {
            let last = batches.last_mut().unwrap();
            if last.len() >= BATCH.0 || (octets + size > BATCH.1 && !last.is_empty()) {
                batches.push(Vec::new());
                octets = 0;
            }
            octets += size;
            let wanted = Wanted { number: uid, id: SourceId::Number(uid), size: Some(*size) };
            batches.last_mut().unwrap().push(wanted);
        }
        batches
    }
}

/// Serves one connection: what a fetch needs of IMAP, or all octets at once to who says `BARE`.
fn serve(corpus: &Corpus, config: Arc<ServerConfig>, socket: TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config).unwrap(), socket));
    stream.get_mut().write_all(b"* OK ready\r\n")?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let out = stream.get_mut();
        match words.as_slice() {
            ["BARE"] => {
                out.write_all(&corpus.wire)?;
                out.conn.send_close_notify();
                return out.flush();
            }
            [tag, "CAPABILITY"] => write!(out, "* CAPABILITY IMAP4rev1 LITERAL+\r\n{tag} OK done\r\n")?,
            [tag, "EXAMINE", ..] => write!(
                out,
                "* {0} EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n* OK [UIDNEXT {1}] x\r\n{tag} OK done\r\n",
                corpus.sizes.len(),
                corpus.sizes.len() + 1
            )?,
            [tag, "UID", "FETCH", set, ..] => {
                for range in set.split(',') {
                    let (first, last) = range.split_once(':').unwrap_or((range, range));
                    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                    let octets = corpus.places[first - 1].start..corpus.places[last - 1].end;
                    out.write_all(&corpus.wire[octets])?;
                }
                write!(out, "{tag} OK done\r\n")?;
            }
            [tag, ..] => write!(out, "{tag} OK done\r\n")?,
            [] => return Ok(()),
        }
        out.flush()?;
    }
}

/// Processor time of this thread, user and system.
fn used() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// Counts octets and lets them go.
struct Nowhere(u64);

impl Receiver for Nowhere {
    fn untagged(&mut self, _response: Untagged) {}

    fn body_begins(&mut self, _len: u64) -> Take {
        Take::Keep
    }

    fn body_octets(&mut self, octets: Bytes) {
        self.0 += octets.len() as u64;
    }
}

async fn bare(port: u16, client: Arc<ClientConfig>, expected: usize) -> Duration {
    let socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(client).connect(name, socket).await.unwrap();
    let mut buffer = vec![0; 256 << 10];
    assert!(stream.read(&mut buffer).await.unwrap() > 0);
    let before = used();
    stream.write_all(b"BARE\r\n").await.unwrap();
    let mut read = 0;
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => break,
            n => read += n,
        }
    }
    assert_eq!(read, expected);
    used() - before
}

async fn wire(env: &Env, port: u16, ca_file: &Path, batches: &[Vec<Wanted>]) -> Duration {
    let endpoint = settings(port, ca_file).server.endpoint().unwrap();
    let session = Session::new(connect(env, &endpoint).await.unwrap());
    let before = used();
    let mut nowhere = Nowhere(0);
    for batch in batches {
        let uids: UidSet = batch.iter().map(|w| u32::try_from(w.number).unwrap()).collect();
        let items = "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])";
        assert!(session.uid_fetch(&uids, items, &mut nowhere).await.unwrap().ok());
    }
    let expected: u64 = batches.iter().flatten().filter_map(|w| w.size).sum();
    assert_eq!(nowhere.0, expected);
    used() - before
}

fn settings(port: u16, ca_file: &Path) -> ImapSettings {
    let mut settings = ImapSettings::new("localhost", Credentials::Fixed { password: "x".into() });
    settings.server.port = port;
    settings.server.ca_file = Some(ca_file.to_owned());
    settings
}

async fn fetch(env: &Env, port: u16, ca_file: &Path, batches: &[Vec<Wanted>]) -> Duration {
    let source = ImapSource::new(env.clone(), settings(port, ca_file)).unwrap();
    let mailbox = source.open("anna").await.unwrap();
    let bodies = Bodies { memory_limit: 64 << 20, max: 64 << 20, spool: std::env::temp_dir() };
    let folder = SourceFolder {
        path: FolderPath::inbox(),
        special: None,
        selectable: true,
        subscribed: None,
        object_id: None,
        handle: "INBOX".to_owned(),
        counters: None,
    };
    let before = used();
    for batch in batches {
        let fetched = mailbox.fetch(&folder, 1, batch, &bodies).await.unwrap();
        assert!(fetched.iter().all(|f| matches!(f, Fetched::Message { .. })));
    }
    used() - before
}

fn main() {
    let corpus = Arc::new(Corpus::new(7));
    let SelfSigned { config, pem } = SelfSigned::new(&["localhost"]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, &pem).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Arc::new(client);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = corpus.clone();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let (config, served) = (config.clone(), served.clone());
            // A client that has seen enough hangs up; that ends its thread.
            std::thread::spawn(move || serve(&served, config, socket).ok());
        }
    });

    let batches = corpus.batches();
    let mut taken: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let env = Env::system();
        for round in 0..=ROUNDS {
            let cases = [
                ("1 bare reader", bare(port, client.clone(), corpus.wire.len()).await),
                ("2 session, octets dropped", wire(&env, port, &ca_file, &batches).await),
                ("3 source, bodies with digests", fetch(&env, port, &ca_file, &batches).await),
            ];
            for (case, time) in cases.into_iter().filter(|_| round > 0) {
                taken.entry(case).or_default().push(time.as_secs_f64());
            }
        }
    });
    let gigabytes = corpus.wire.len() as f64 / 1e9;
    println!(
        "{} messages, {:.0} MB, medians of {ROUNDS} rounds, client's thread only",
        corpus.sizes.len(),
        gigabytes * 1e3
    );
    println!("{:<32} {:>12} {:>10}", "", "CPU s/GB", "of bare");
    let mut floor = None;
    for (case, mut times) in taken {
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2] / gigabytes;
        let floor = *floor.get_or_insert(median);
        println!("{case:<32} {median:>12.3} {:>9.2}x", median / floor);
    }
    let digest = used();
    let _ = mailwave::model::Digest::of(&corpus.wire);
    println!("{:<32} {:>12.3}", "  (the digest alone)", (used() - digest).as_secs_f64() / gigabytes);
}

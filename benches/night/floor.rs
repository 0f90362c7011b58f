//! The floor: the least that moving mail from IMAP over TLS to HTTPS can cost with these crates, without any engine. It
//! knows no folder, keeps no record, decides nothing: octets in over TLS, a digest, base64, a POST out over TLS.
//!
//! | way | what it does with each message |
//! |---|---|
//! | `sha256`, `blake3` | digest, base64, POST |
//! | `copy` | writes its octets to a TLS connection |
//! | `login` | does not fetch it: what connections and log-ins cost |
//! | `hello` | nothing but TLS, LOGIN and LOGOUT |

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, BytesMut};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use mailwave::mock::imap::made::Law;

/// Mailboxes read side by side.
const AT_ONCE: u64 = 4;

/// What the process is told.
#[derive(Debug, Clone, clap::Args)]
pub struct Told {
    /// `sha256`, `blake3`, `copy`, `login` or `hello`.
    #[arg(long)]
    pub way: String,
    /// The port of the IMAP server.
    #[arg(long)]
    pub source: u16,
    /// Its certificate.
    #[arg(long)]
    pub source_ca: std::path::PathBuf,
    /// The port of the sink.
    #[arg(long)]
    pub sink: u16,
    /// Its authority.
    #[arg(long)]
    pub sink_ca: std::path::PathBuf,
    /// Mailboxes read: the first so many.
    #[arg(long)]
    pub mailboxes: u64,
}

/// Messages and octets that passed.
#[derive(Default)]
struct Passed {
    messages: AtomicU64,
    octets: AtomicU64,
}

/// Runs one way over so many mailboxes, and says how many messages and octets passed.
pub fn run(told: &Told) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let passed = Arc::new(Passed::default());
    runtime.block_on(async {
        let source = tls(&told.source_ca);
        let next = Arc::new(AtomicU64::new(0));
        let http = post(told);
        let tasks: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let (told, source, next, http, passed) =
                    (told.clone(), source.clone(), next.clone(), http.clone(), passed.clone());
                tokio::spawn(async move {
                    let mut way = Way::new(&told, http).await;
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= told.mailboxes {
                            break;
                        }
                        mailbox(&told, &source, n, &mut way, &passed).await;
                    }
                    way.end().await;
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!("passed {} {}", of(&passed.messages), of(&passed.octets));
}

fn tls(ca: &Path) -> tokio_rustls::TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tokio_rustls::TlsConnector::from(Arc::new(config))
}

/// As the program makes its own.
fn post(told: &Told) -> reqwest::Client {
    let pem = std::fs::read(&told.sink_ca).unwrap();
    reqwest::Client::builder()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tls_certs_merge(reqwest::Certificate::from_pem_bundle(&pem).unwrap())
        .build()
        .unwrap()
}

async fn connect(tls: &tokio_rustls::TlsConnector, port: u16) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    tls.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
}

/// What is done with a message.
enum Way {
    Post { client: reqwest::Client, url: String, sha256: bool },
    Copy(Box<TlsStream<TcpStream>>),
    Login,
}

impl Way {
    async fn new(told: &Told, client: reqwest::Client) -> Way {
        match told.way.as_str() {
            "copy" => Way::Copy(Box::new(connect(&tls(&told.sink_ca), told.sink).await)),
            "login" | "hello" => Way::Login,
            way => Way::Post {
                client,
                url: format!("https://localhost:{}/messages", told.sink),
                sha256: way == "sha256",
            },
        }
    }

    async fn take(&mut self, octets: BytesMut) {
        match self {
            Way::Post { client, url, sha256 } => {
                if *sha256 {
                    std::hint::black_box(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &octets));
                } else {
                    std::hint::black_box(blake3::hash(&octets));
                }
                let body = encodify::base64::STANDARD.encode(&octets);
                drop(octets);
                let answer = client.post(url.as_str()).header("content-type", "text/plain").body(body);
                let answer = answer.send().await.unwrap();
                assert_eq!(answer.status(), 201);
                answer.bytes().await.unwrap();
            }
            Way::Copy(stream) => stream.write_all(&octets).await.unwrap(),
            Way::Login => {}
        }
    }

    async fn end(&mut self) {
        if let Way::Copy(stream) = self {
            stream.shutdown().await.unwrap();
            // The sink has all of it when it answers.
            let mut last = Vec::new();
            stream.read_to_end(&mut last).await.unwrap();
            assert_eq!(last, b".");
        }
    }
}

/// A connection to the IMAP server, and what of its answers has come and is not read yet.
struct Reader {
    stream: TlsStream<TcpStream>,
    come: BytesMut,
}

impl Reader {
    async fn more(&mut self, room: usize) {
        self.come.reserve(room.max(64 << 10));
        assert!(self.stream.read_buf(&mut self.come).await.unwrap() > 0, "the server goes on");
    }

    async fn line(&mut self) -> BytesMut {
        let mut looked = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.come[looked..]) {
                return self.come.split_to(looked + at + 1);
            }
            looked = self.come.len();
            self.more(0).await;
        }
    }

    async fn exactly(&mut self, octets: usize) -> BytesMut {
        while self.come.len() < octets {
            self.more(octets - self.come.len()).await;
        }
        self.come.split_to(octets)
    }

    /// Says a command and hears its answer; literals go to `way`, other lines to `each`.
    async fn ask(&mut self, command: &str, way: &mut Way, passed: &Passed, mut each: impl FnMut(&[u8])) {
        self.stream.write_all(format!("a {command}\r\n").as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
        loop {
            let line = self.line().await;
            if line.starts_with(b"a ") {
                assert!(line.starts_with(b"a OK"), "{}", String::from_utf8_lossy(&line));
                return;
            }
            if let Some(length) = literal(&line) {
                let octets = self.exactly(length).await;
                passed.messages.fetch_add(1, Ordering::Relaxed);
                passed.octets.fetch_add(length as u64, Ordering::Relaxed);
                way.take(octets).await;
            } else {
                each(&line);
            }
        }
    }
}

/// The number of octets that a line announces at its end.
fn literal(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}\r\n")?;
    let at = memchr::memrchr(b'{', line)?;
    std::str::from_utf8(&line[at + 1..]).ok()?.parse().ok()
}

async fn mailbox(told: &Told, tls: &tokio_rustls::TlsConnector, n: u64, way: &mut Way, passed: &Passed) {
    let mut reader =
        Reader { stream: connect(tls, told.source).await, come: BytesMut::with_capacity(64 << 10) };
    let mut greeting = reader.line().await;
    greeting.advance(2);
    let mut names = Vec::new();
    reader.ask(&format!("LOGIN {} any", Law::user(n)), way, passed, |_| {}).await;
    if told.way == "hello" {
        reader.ask("LOGOUT", way, passed, |_| {}).await;
        return;
    }
    reader
        .ask("LIST \"\" *", way, passed, |line| {
            let text = String::from_utf8_lossy(line);
            // What has a blank in it is quoted; other names are as they are.
            let name = text.trim_end().rsplit_once("\"/\" ").map_or("", |(_, name)| name);
            if !text.contains("\\Noselect") && !name.is_empty() {
                names.push(name.to_owned());
            }
        })
        .await;
    if !matches!(way, Way::Login) {
        for name in names {
            let mut exists = false;
            reader
                .ask(&format!("EXAMINE {name}"), way, passed, |line| {
                    exists |= line.ends_with(b" EXISTS\r\n") && line != b"* 0 EXISTS\r\n";
                })
                .await;
            if exists {
                reader.ask("UID FETCH 1:* (BODY.PEEK[])", way, passed, |_| {}).await;
            }
        }
    }
    reader.ask("LOGOUT", way, passed, |_| {}).await;
}

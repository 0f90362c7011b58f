//! What the harnesses of real IMAP servers share: ports, owners, certificates, and what a test needs to get in.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::holding::Holding;
use super::imap_client::Client;

/// How to get into a running server.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Clear text and STARTTLS.
    pub plain_port: u16,
    /// Implicit TLS.
    pub tls_port: u16,
    /// The authority that signed its certificate (for `localhost` and 127.0.0.1), in PEM.
    pub ca_file: PathBuf,
    /// Names and passwords.
    pub users: Vec<(String, String)>,
    /// May log in as anybody: AUTHENTICATE PLAIN with an authorisation id.
    pub master: (String, String),
    /// The prefix of the personal namespace.
    pub prefix: String,
    /// The separator of levels.
    pub separator: char,
}

/// A real server that runs for a test.
pub trait ImapServer {
    fn reach(&self) -> Reach;

    /// Gives a folder another UIDVALIDITY; its messages keep octets, flags and dates. Nobody may have it open.
    fn renumber(&self, user: &str, folder: &[&str]);

    /// A client logged in as `user`.
    fn client(&self, user: &str) -> Client {
        let reach = self.reach();
        let (_, password) = reach.users.iter().find(|(u, _)| u == user).expect("a user");
        Client::login(reach.plain_port, user, password, &reach.prefix, reach.separator)
    }

    /// All that a mailbox holds.
    fn holding(&self, user: &str) -> Holding {
        Holding::of(&mut self.client(user))
    }
}

/// A port nobody listens at now.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).expect("a free port").local_addr().expect("its address").port()
}

/// Does an IMAP server answer there?
pub fn greets(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("* OK")
}

/// A number `id` prints.
pub fn id(args: &[&str]) -> Option<u32> {
    let out = Command::new("id").args(args).output().ok()?;
    String::from_utf8(out.stdout).ok()?.trim().parse().ok()
}

/// The user and group mail belongs to: whoever runs the tests, or a system user in root's place, for no server serves
/// mail as root.
pub fn mail_owner() -> (u32, u32) {
    let own = (id(&["-u"]).expect("a uid"), id(&["-g"]).expect("a gid"));
    if own.0 != 0 {
        return own;
    }
    ["mail", "nobody"]
        .into_iter()
        .find_map(|name| Some((id(&["-u", name])?, id(&["-g", name])?)))
        .expect("a system user")
}

/// An authority (`ca.pem`) and a certificate it signed (`cert.pem`, `key.pem`).
pub fn certificates(root: &Path, expired: bool) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "mailwave test authority");
    let ca_certificate = ca.self_signed(&ca_key).expect("a certificate");
    let issuer = Issuer::from_params(&ca, ca_key);
    let key = KeyPair::generate().expect("a key");
    let mut leaf =
        CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("parameters");
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    if expired {
        leaf.not_before = date_time_ymd(2015, 1, 1);
        leaf.not_after = date_time_ymd(2016, 1, 1);
    }
    let certificate = leaf.signed_by(&key, &issuer).expect("a certificate");
    std::fs::write(root.join("ca.pem"), ca_certificate.pem()).expect("write");
    std::fs::write(root.join("cert.pem"), certificate.pem()).expect("write");
    std::fs::write(root.join("key.pem"), key.serialize_pem()).expect("write");
}

/// Waits until a server answers at both ports; `false` if it ended instead, or never answers.
pub fn up(child: &mut Child, plain_port: u16, tls_port: u16) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !(greets(plain_port) && TcpStream::connect(("127.0.0.1", tls_port)).is_ok()) {
        let dead = child.try_wait().ok().flatten().is_some();
        if dead || Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Ends a server: its first process ends its children on SIGTERM.
pub fn stop(child: &mut Child) {
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let deadline = Instant::now() + Duration::from_secs(5);
    while child.try_wait().ok().flatten().is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

//! A real Dovecot on loopback in a temporary folder, and a small client to fill it.
//!
//! The client is written against the RFC alone and shares no code with the crate under test.
#![allow(dead_code)] // each test module uses a part

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What kind of Dovecot.
#[derive(Debug, Clone)]
pub struct Options {
    /// Users `user01` …
    pub users: usize,
    /// The separator of levels.
    pub separator: char,
    /// The prefix of the personal namespace (`INBOX.`).
    pub prefix: String,
    /// Give it a certificate that expired long ago.
    pub expired_certificate: bool,
    /// Connections of one user from one address.
    pub connections: usize,
    /// Lines added to its configuration.
    pub extra: String,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            users: 3,
            separator: '/',
            prefix: String::new(),
            expired_certificate: false,
            connections: 50,
            extra: String::new(),
        }
    }
}

/// A running server; stopped when dropped.
pub struct Dovecot {
    /// Clear text and STARTTLS.
    pub plain_port: u16,
    /// Implicit TLS.
    pub tls_port: u16,
    /// The authority that signed its certificate (for `localhost` and 127.0.0.1), in PEM.
    pub ca_file: PathBuf,
    /// Names and passwords.
    pub users: Vec<(String, String)>,
    /// May log in as anybody: AUTHENTICATE PLAIN with an authorisation id, or LOGIN `user*master`.
    pub master: (String, String),
    pub prefix: String,
    pub separator: char,
    home: tempfile::TempDir,
    child: Child,
}

impl Dovecot {
    /// Starts one; `None`, with a word to the reader of the test's output, where Dovecot is not installed.
    pub fn start() -> Option<Dovecot> {
        Dovecot::with(&Options::default())
    }

    /// Starts one of a certain kind.
    pub fn with(options: &Options) -> Option<Dovecot> {
        let Some(binary) = binary() else {
            eprintln!("skipped: dovecot is not installed");
            return None;
        };
        // Somebody else may take a free port between our look and Dovecot's bind.
        let mut log = String::new();
        for _ in 0..5 {
            match Dovecot::try_start(&binary, options) {
                Ok(dovecot) => return Some(dovecot),
                Err(why) => log = why,
            }
        }
        panic!("dovecot does not start:\n{log}");
    }

    fn try_start(binary: &Path, options: &Options) -> Result<Dovecot, String> {
        let home = tempfile::Builder::new().prefix("dovecot-").tempdir().expect("a temporary folder");
        let root = home.path();
        let (plain_port, tls_port) = (free_port(), free_port());
        let users: Vec<(String, String)> =
            (1..=options.users).map(|n| (format!("user{n:02}"), format!("pa ss\"w\\rd{n}"))).collect();
        let master = ("master".to_owned(), "master-pw".to_owned());
        certificates(root, options.expired_certificate);
        std::fs::create_dir(root.join("mail")).expect("mkdir");
        let passwords = |entries: &[(String, String)]| {
            entries.iter().map(|(user, password)| format!("{user}:{{PLAIN}}{password}\n")).collect::<String>()
        };
        std::fs::write(root.join("users"), passwords(&users)).expect("write");
        std::fs::write(root.join("masters"), passwords(std::slice::from_ref(&master))).expect("write");
        let config = config(root, plain_port, tls_port, options);
        std::fs::write(root.join("dovecot.conf"), config).expect("write");
        let child = Command::new(binary)
            .arg("-F")
            .arg("-c")
            .arg(root.join("dovecot.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(root.join("stderr")).expect("create"))
            .spawn()
            .map_err(|e| e.to_string())?;
        let ca_file = root.join("ca.pem");
        let mut dovecot = Dovecot {
            plain_port,
            tls_port,
            ca_file,
            users,
            master,
            prefix: options.prefix.clone(),
            separator: options.separator,
            home,
            child,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !(greets(plain_port) && TcpStream::connect(("127.0.0.1", tls_port)).is_ok()) {
            let dead = dovecot.child.try_wait().ok().flatten().is_some();
            if dead || Instant::now() > deadline {
                return Err(dovecot.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(dovecot)
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.home.path().join(name)).unwrap_or_default();
        format!("{}{}", read("stderr"), read("log"))
    }

    /// The Maildir of a user.
    pub fn maildir(&self, user: &str) -> PathBuf {
        self.home.path().join("mail").join(user).join("Maildir")
    }

    /// A client logged in as `user`.
    pub fn client(&self, user: &str) -> Client {
        let (_, password) = self.users.iter().find(|(u, _)| u == user).expect("a user");
        let mut client = Client::connect(self.plain_port);
        client.run(&[b"LOGIN ", &literal(user.as_bytes()), b" ", &literal(password.as_bytes())]);
        client.prefix.clone_from(&self.prefix);
        client.separator = self.separator;
        client
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // The master process ends its children on SIGTERM.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.child.try_wait().ok().flatten().is_none() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn binary() -> Option<PathBuf> {
    ["/usr/sbin/dovecot", "/usr/local/sbin/dovecot", "/sbin/dovecot"]
        .into_iter()
        .map(PathBuf::from)
        .find(|p| p.exists())
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).expect("a free port").local_addr().expect("its address").port()
}

fn greets(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("* OK")
}

/// A number `id` prints.
fn id(args: &[&str]) -> Option<u32> {
    let out = Command::new("id").args(args).output().ok()?;
    String::from_utf8(out.stdout).ok()?.trim().parse().ok()
}

/// The user and group mail belongs to. Dovecot never serves mail as root.
fn mail_owner() -> (u32, u32) {
    let own = (id(&["-u"]).expect("a uid"), id(&["-g"]).expect("a gid"));
    if own.0 != 0 {
        return own;
    }
    ["mail", "nobody"]
        .into_iter()
        .find_map(|name| Some((id(&["-u", name])?, id(&["-g", name])?)))
        .expect("a system user")
}

fn config(root: &Path, plain_port: u16, tls_port: u16, options: &Options) -> String {
    let (uid, gid) = mail_owner();
    let root_text = root.display();
    let mut internal = String::new();
    if id(&["-u"]) == Some(0) {
        use std::os::unix::fs::{PermissionsExt, chown};
        // The mail's owner must be able to get there.
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        chown(root.join("mail"), Some(uid), Some(gid)).expect("chown");
    } else {
        let name = |args: &[&str]| {
            let out = Command::new("id").args(args).output().expect("id");
            String::from_utf8(out.stdout).expect("text").trim().to_owned()
        };
        let (user, group) = (name(&["-un"]), name(&["-gn"]));
        internal = format!(
            "default_internal_user = {user}\ndefault_internal_group = {group}\ndefault_login_user = {user}\n\
             service anvil {{\n chroot =\n}}\nservice imap-login {{\n chroot =\n}}\n"
        );
    }
    let Options { separator, prefix, connections, extra, .. } = options;
    let special: String = ["Drafts", "Junk", "Sent", "Trash", "Archive"]
        .map(|name| format!(" mailbox {name} {{\n  special_use = \\{name}\n }}\n"))
        .concat();
    format!(
        r"{internal}
base_dir = {root_text}/run
state_dir = {root_text}/state
log_path = {root_text}/log
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{root_text}/cert.pem
ssl_key = <{root_text}/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_master_user_separator = *
auth_failure_delay = 0
first_valid_uid = 1
first_valid_gid = 1
mail_max_userip_connections = {connections}
mail_fsync = never
mail_location = maildir:~/Maildir
passdb {{
 driver = passwd-file
 args = scheme=plain username_format=%u {root_text}/masters
 master = yes
}}
passdb {{
 driver = passwd-file
 args = scheme=plain username_format=%u {root_text}/users
}}
userdb {{
 driver = static
 args = uid={uid} gid={gid} home={root_text}/mail/%u
}}
namespace inbox {{
 inbox = yes
 separator = {separator}
 prefix = {prefix}
{special}}}
service anvil {{
 unix_listener anvil-auth-penalty {{
  mode = 0
 }}
}}
service imap-login {{
 inet_listener imap {{
  port = {plain_port}
 }}
 inet_listener imaps {{
  port = {tls_port}
  ssl = yes
 }}
}}
{extra}"
    )
}

/// An authority and a certificate it signed.
fn certificates(root: &Path, expired: bool) {
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

/// A literal that is sent without asking first (LITERAL+).
fn literal(octets: &[u8]) -> Vec<u8> {
    [format!("{{{}+}}\r\n", octets.len()).as_bytes(), octets].concat()
}

/// A plain client. Folders are named by their levels in Unicode; `["INBOX"]` is the inbox.
pub struct Client {
    stream: BufReader<TcpStream>,
    tags: u32,
    prefix: String,
    separator: char,
}

impl Client {
    /// Connects without logging in.
    pub fn connect(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("timeout");
        let mut client =
            Client { stream: BufReader::new(stream), tags: 0, prefix: String::new(), separator: '/' };
        assert!(client.line().starts_with(b"* OK"), "a greeting");
        client
    }

    fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).expect("a line");
        assert!(line.ends_with(b"\r\n"), "the server closed the connection");
        line
    }

    /// Sends one command and returns the untagged octets and the tagged line. Panics unless it is OK.
    pub fn run(&mut self, parts: &[&[u8]]) -> (Vec<u8>, String) {
        self.tags += 1;
        let tag = format!("t{} ", self.tags);
        let command = [tag.as_bytes(), &parts.concat(), b"\r\n"].concat();
        self.stream.get_mut().write_all(&command).expect("send");
        let mut untagged = Vec::new();
        loop {
            let line = self.line();
            if line.starts_with(tag.as_bytes()) {
                let line = String::from_utf8_lossy(&line).into_owned();
                let shown = String::from_utf8_lossy(&command[..command.len().min(200)]).into_owned();
                assert!(line.starts_with(&format!("{tag}OK")), "{shown} -> {line}");
                return (untagged, line);
            }
            let literal = line.strip_suffix(b"}\r\n").and_then(|l| l.rsplit(|b| *b == b'{').next());
            let len = literal.and_then(|l| std::str::from_utf8(l).ok()).and_then(|l| l.parse::<usize>().ok());
            untagged.extend_from_slice(&line);
            if let Some(len) = len {
                let mut octets = vec![0; len];
                self.stream.read_exact(&mut octets).expect("a literal");
                untagged.extend_from_slice(&octets);
            }
        }
    }

    /// The name of a folder on the wire.
    pub fn wire(&self, folder: &[&str]) -> Vec<u8> {
        if folder == ["INBOX"] {
            return b"INBOX".to_vec();
        }
        let names: Vec<String> = folder.iter().map(|n| encodify::utf7::IMAP.encode(n)).collect();
        format!("{}{}", self.prefix, names.join(&self.separator.to_string())).into_bytes()
    }

    fn name(&self, folder: &[&str]) -> Vec<u8> {
        literal(&self.wire(folder))
    }

    /// Makes a folder.
    pub fn create(&mut self, folder: &[&str]) {
        let name = self.name(folder);
        self.run(&[b"CREATE ", &name]);
    }

    /// Renames a folder.
    pub fn rename(&mut self, from: &[&str], to: &[&str]) {
        let (from, to) = (self.name(from), self.name(to));
        self.run(&[b"RENAME ", &from, b" ", &to]);
    }

    /// Removes a folder.
    pub fn delete(&mut self, folder: &[&str]) {
        let name = self.name(folder);
        self.run(&[b"DELETE ", &name]);
    }

    /// Adds a message: `flags` as `\Seen work`, `date` as `21-Nov-2026 08:00:00 +0100`. Returns its UID.
    pub fn append(&mut self, folder: &[&str], octets: &[u8], flags: &str, date: Option<&str>) -> u32 {
        let name = self.name(folder);
        let date = date.map_or(String::new(), |d| format!(" \"{d:>26}\""));
        let options = format!(" ({flags}){date} ");
        let (_, line) = self.run(&[b"APPEND ", &name, options.as_bytes(), &literal(octets)]);
        let uid = line.split("APPENDUID ").nth(1).and_then(|rest| rest.split([' ', ']']).nth(1));
        uid.and_then(|u| u.parse().ok()).expect("APPENDUID")
    }

    fn select(&mut self, folder: &[&str]) -> Vec<u8> {
        let name = self.name(folder);
        self.run(&[b"SELECT ", &name]).0
    }

    /// Replaces a message's flags.
    pub fn set_flags(&mut self, folder: &[&str], uid: u32, flags: &str) {
        self.select(folder);
        self.run(&[format!("UID STORE {uid} FLAGS ({flags})").as_bytes()]);
    }

    /// A message's flags, as the server shows them.
    pub fn flags(&mut self, folder: &[&str], uid: u32) -> String {
        self.select(folder);
        let (text, _) = self.run(&[format!("UID FETCH {uid} (FLAGS)").as_bytes()]);
        let text = String::from_utf8_lossy(&text).into_owned();
        let flags = text.split("FLAGS (").nth(1).and_then(|rest| rest.split(')').next());
        flags.expect("flags").to_owned()
    }

    /// Removes a message for good.
    pub fn expunge(&mut self, folder: &[&str], uid: u32) {
        self.select(folder);
        self.run(&[format!("UID STORE {uid} +FLAGS (\\Deleted)").as_bytes()]);
        self.run(&[format!("UID EXPUNGE {uid}").as_bytes()]);
    }

    /// Moves a message (RFC 6851).
    pub fn move_to(&mut self, folder: &[&str], uid: u32, to: &[&str]) {
        self.select(folder);
        let to = self.name(to);
        self.run(&[format!("UID MOVE {uid} ").as_bytes(), &to]);
    }

    /// Copies a message.
    pub fn copy_to(&mut self, folder: &[&str], uid: u32, to: &[&str]) {
        self.select(folder);
        let to = self.name(to);
        self.run(&[format!("UID COPY {uid} ").as_bytes(), &to]);
    }

    /// The UIDs of the messages with this Message-ID.
    pub fn find(&mut self, folder: &[&str], message_id: &str) -> Vec<u32> {
        self.select(folder);
        let (text, _) = self.run(&[b"UID SEARCH HEADER Message-ID ", &literal(message_id.as_bytes())]);
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().find_map(|l| l.strip_prefix("* SEARCH")).unwrap_or_default();
        line.split_whitespace().map(|n| n.parse().expect("a UID")).collect()
    }

    /// All that the server tells of a folder without touching it: counts (those of new messages too), UIDVALIDITY,
    /// UIDNEXT, HIGHESTMODSEQ, and the flags of every UID.
    pub fn state(&mut self, folder: &[&str]) -> String {
        let name = self.name(folder);
        let (mut seen, _) = self.run(&[b"EXAMINE ", &name, b" (CONDSTORE)"]);
        seen.extend(self.run(&[b"UID FETCH 1:* (FLAGS)"]).0);
        self.run(&[b"CLOSE"]);
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// The UIDs of a folder.
    pub fn uids(&mut self, folder: &[&str]) -> Vec<u32> {
        self.select(folder);
        let (text, _) = self.run(&[b"UID SEARCH ALL"]);
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().find_map(|l| l.strip_prefix("* SEARCH")).unwrap_or_default();
        line.split_whitespace().map(|n| n.parse().expect("a UID")).collect()
    }
}

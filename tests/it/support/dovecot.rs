//! A real Dovecot on loopback in a temporary folder.
#![allow(dead_code)] // each test module uses a part

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub use super::imap_client::Client;
use super::server::{ImapServer, Reach, certificates, free_port, id, mail_owner, stop, up};

/// How Dovecot keeps mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One file a message; names carry the flags.
    Maildir,
    /// One file a message; flags in the index.
    Sdbox,
    /// Many messages a file, compactly.
    Mdbox,
}

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
    /// How mail is kept.
    pub format: Format,
    /// What one mailbox may hold, octets.
    pub quota: Option<u64>,
    /// Offers COMPRESS=DEFLATE, and writes what it hears to a log: see [`Dovecot::heard`].
    pub compress: bool,
    /// The capabilities it says it has after login, in place of those it has.
    pub capabilities: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            users: 3,
            separator: '/',
            prefix: String::new(),
            expired_certificate: false,
            connections: 50,
            format: Format::Maildir,
            quota: None,
            compress: false,
            capabilities: None,
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
        if !up(&mut dovecot.child, plain_port, tls_port) {
            return Err(dovecot.log());
        }
        Ok(dovecot)
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.home.path().join(name)).unwrap_or_default();
        format!("{}{}", read("stderr"), read("log"))
    }

    /// What its clients said, session by session, and what of it was compressed as it came.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        let entries = std::fs::read_dir(self.home.path().join("heard")).expect("a log");
        let paths = entries.map(|entry| entry.expect("readable").path());
        let heard = paths.filter(|path| path.extension().is_some_and(|ext| ext == "in"));
        heard.map(|path| std::fs::read(path).expect("readable")).collect()
    }

    /// The Maildir of a user.
    pub fn maildir(&self, user: &str) -> PathBuf {
        self.home.path().join("mail").join(user).join("Maildir")
    }

    /// A client logged in as `user`.
    pub fn client(&self, user: &str) -> Client {
        ImapServer::client(self, user)
    }

    /// Runs `doveadm` on this server; its output. Panics if it fails.
    pub fn doveadm(&self, args: &[&str]) -> String {
        let out = Command::new("doveadm")
            .arg("-c")
            .arg(self.home.path().join("dovecot.conf"))
            .args(args)
            .output()
            .expect("doveadm");
        assert!(out.status.success(), "doveadm {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
}

impl ImapServer for Dovecot {
    fn reach(&self) -> Reach {
        Reach {
            plain_port: self.plain_port,
            tls_port: self.tls_port,
            ca_file: self.ca_file.clone(),
            users: self.users.clone(),
            master: self.master.clone(),
            prefix: self.prefix.clone(),
            separator: self.separator,
        }
    }

    fn renumber(&self, user: &str, folder: &[&str]) {
        let old = self.client(user).uid_validity(folder);
        let new = (old + 1).to_string();
        // doveadm takes names in UTF-8, with the prefix.
        let name = match folder {
            ["INBOX"] => "INBOX".to_owned(),
            names => format!("{}{}", self.prefix, names.join(&self.separator.to_string())),
        };
        self.doveadm(&["mailbox", "update", "-u", user, "--uid-validity", &new, &name]);
        assert_eq!(self.client(user).uid_validity(folder), old + 1);
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

fn binary() -> Option<PathBuf> {
    ["/usr/sbin/dovecot", "/usr/local/sbin/dovecot", "/sbin/dovecot"]
        .into_iter()
        .map(PathBuf::from)
        .find(|p| p.exists())
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
    let Options { separator, prefix, connections, .. } = options;
    let location = match options.format {
        Format::Maildir => "maildir:~/Maildir",
        Format::Sdbox => "sdbox:~/sdbox",
        Format::Mdbox => "mdbox:~/mdbox",
    };
    let mut more = String::new();
    let mut plugins = Vec::new();
    if options.compress {
        plugins.push("imap_zlib");
        more.push_str(&format!("protocol imap {{\n rawlog_dir = {root_text}/heard\n}}\n"));
        std::fs::create_dir(root.join("heard")).expect("mkdir");
        if id(&["-u"]) == Some(0) {
            std::os::unix::fs::chown(root.join("heard"), Some(uid), Some(gid)).expect("chown");
        }
    }
    if options.quota.is_some() {
        plugins.extend(["quota", "imap_quota"]);
    }
    if !plugins.is_empty() {
        more.push_str(&format!("protocol imap {{\n mail_plugins = {}\n}}\n", plugins.join(" ")));
    }
    if let Some(quota) = options.quota {
        more.push_str(&format!(
            "mail_plugins = quota\nplugin {{\n quota = count:user\n quota_vsizes = yes\n quota_grace = 0\n quota_rule = *:bytes={quota}\n}}\n"
        ));
    }
    if let Some(capabilities) = &options.capabilities {
        more.push_str(&format!("imap_capability = {capabilities}\n"));
    }
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
mail_location = {location}
{more}passdb {{
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
"
    )
}

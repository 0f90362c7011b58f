//! A real Cyrus IMAP on loopback in a temporary folder. Debian's packages, unpacked by `scripts/unpack-cyrus`.
//!
//! A test starts its own: that takes some 50 ms, as long as there are few users.
#![allow(dead_code)] // each test module uses a part

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::imap_client::Client;
use super::server::{ImapServer, Reach, certificates, free_port, mail_owner, stop, up};

/// What kind of Cyrus.
#[derive(Debug, Clone)]
pub struct Options {
    /// Users `user01` …
    pub users: usize,
    /// Levels are divided by `/` rather than `.`.
    pub unix_hierarchy: bool,
    /// Folders stand beside the inbox rather than below it (`INBOX.`).
    pub alt_namespace: bool,
    /// New mailboxes get folders for drafts, sent mail, junk, trash and archive, with their special uses.
    pub special_folders: bool,
    /// Give it a certificate that expired long ago.
    pub expired_certificate: bool,
    /// Connections of one user.
    pub connections: Option<usize>,
    /// What one mailbox may hold, KiB.
    pub quota: Option<u64>,
    /// What one message may have (APPENDLIMIT), octets.
    pub max_message: Option<u64>,
    /// Extensions it keeps to itself, as they are written in CAPABILITY.
    pub hidden: Vec<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            users: 3,
            unix_hierarchy: true,
            alt_namespace: true,
            special_folders: true,
            expired_certificate: false,
            connections: None,
            quota: None,
            max_message: None,
            hidden: Vec::new(),
        }
    }
}

/// A running server; stopped when dropped.
pub struct Cyrus {
    reach: Reach,
    programs: Programs,
    home: tempfile::TempDir,
    child: Child,
}

impl Cyrus {
    /// Starts one; `None`, with a word to the reader of the test's output, where Cyrus is not unpacked.
    pub fn start() -> Option<Cyrus> {
        Cyrus::with(&Options::default())
    }

    /// Starts one of a certain kind.
    pub fn with(options: &Options) -> Option<Cyrus> {
        let Some(programs) = Programs::find() else {
            eprintln!("skipped: Cyrus is not unpacked (scripts/unpack-cyrus)");
            return None;
        };
        // Somebody else may take a free port between our look and the server's bind.
        let mut log = String::new();
        for _ in 0..5 {
            match Cyrus::try_start(&programs, options) {
                Ok(cyrus) => return Some(cyrus),
                Err(why) => log = why,
            }
        }
        panic!("Cyrus does not start:\n{log}");
    }

    fn try_start(programs: &Programs, options: &Options) -> Result<Cyrus, String> {
        let home = tempfile::Builder::new().prefix("cyrus-").tempdir().expect("a temporary folder");
        let root = home.path();
        certificates(root, options.expired_certificate);
        let (plain_port, tls_port) = (free_port(), free_port());
        let reach = Reach {
            plain_port,
            tls_port,
            ca_file: root.join("ca.pem"),
            users: (1..=options.users).map(|n| (format!("user{n:02}"), format!("pa ss\"w\\rd{n}"))).collect(),
            master: ("admin".to_owned(), "master-pw".to_owned()),
            prefix: if options.alt_namespace {
                String::new()
            } else {
                format!("INBOX{}", separator(options))
            },
            separator: separator(options),
        };
        std::fs::create_dir_all(root.join("conf/socket")).expect("mkdir");
        std::fs::create_dir(root.join("spool")).expect("mkdir");
        std::fs::write(root.join("imapd.conf"), imapd_conf(root, options, &reach.master.0)).expect("write");
        std::fs::write(root.join("cyrus.conf"), cyrus_conf(root, programs, &reach)).expect("write");
        own(root);
        for (user, password) in reach.users.iter().chain([&reach.master]) {
            programs.password(root, user, password);
        }
        let log =
            || std::fs::File::options().append(true).create(true).open(root.join("log")).expect("a log");
        let child = programs
            .command("usr/lib/cyrus/bin/master")
            .args(["-D", "-C"])
            .arg(root.join("imapd.conf"))
            .arg("-M")
            .arg(root.join("cyrus.conf"))
            .arg("-p")
            .arg(root.join("conf/pid"))
            // When it ends it ends all of its process group.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut cyrus = Cyrus { reach, programs: programs.clone(), home, child };
        if up(&mut cyrus.child, plain_port, tls_port) { Ok(cyrus) } else { Err(cyrus.log()) }
    }

    /// What its first process wrote. Everything else goes to the system's log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// A client logged in as the administrator, who sees mailboxes as `user/NAME` (or `user.NAME`).
    pub fn admin(&self) -> Client {
        let (user, password) = &self.reach.master;
        Client::login(self.reach.plain_port, user, password, "", self.reach.separator)
    }

    /// Runs one of its programs; what it says. Panics if it fails.
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        let out = self
            .programs
            .command(&format!("usr/lib/cyrus/bin/{program}"))
            .arg("-C")
            .arg(self.home.path().join("imapd.conf"))
            .args(args)
            .output()
            .expect(program);
        let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(out.status.success(), "{program} {args:?}: {text}");
        text
    }

    /// A folder as the administrator names it.
    fn internal(&self, user: &str, folder: &[&str]) -> String {
        let separator = self.reach.separator;
        let below = if folder == ["INBOX"] { &[] } else { folder };
        let mut name = format!("user{separator}{user}");
        for level in below {
            name.push(separator);
            name.push_str(&encodify::utf7::IMAP.encode(level));
        }
        name
    }

    /// The directory of a folder.
    fn directory(&self, user: &str, folder: &[&str]) -> PathBuf {
        PathBuf::from(self.run("mbpath", &[&self.internal(user, folder)]).trim())
    }
}

impl ImapServer for Cyrus {
    fn reach(&self) -> Reach {
        self.reach.clone()
    }

    /// As after a crash that took the index: its program makes another one from the messages, with a UIDVALIDITY of
    /// its own. The flags are given back afterwards.
    fn renumber(&self, user: &str, folder: &[&str]) {
        let mut client = self.client(user);
        let old = client.uid_validity(folder);
        let uids = client.uids(folder);
        let flags: Vec<(u32, String)> = uids.iter().map(|uid| (*uid, client.flags(folder, *uid))).collect();
        drop(client);
        std::fs::remove_file(self.directory(user, folder).join("cyrus.index")).expect("an index");
        self.run("reconstruct", &[&self.internal(user, folder)]);
        let mut client = self.client(user);
        assert_eq!(client.uids(folder), uids, "the UIDs stay");
        for (uid, flags) in flags {
            client.set_flags(folder, uid, &flags.replace("\\Recent", ""));
        }
        assert_ne!(client.uid_validity(folder), old);
    }
}

impl Drop for Cyrus {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

fn separator(options: &Options) -> char {
    if options.unix_hierarchy { '/' } else { '.' }
}

/// Gives all of it to the mail's owner, who must also be able to get there.
fn own(root: &Path) {
    let (uid, gid) = mail_owner();
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        chown(&path, Some(uid), Some(gid)).expect("chown");
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).expect("readable").map(|e| e.expect("readable").path()));
        }
    }
}

/// Where Cyrus lies.
#[derive(Debug, Clone)]
struct Programs {
    root: PathBuf,
    /// Directories of libraries.
    libraries: Vec<PathBuf>,
}

impl Programs {
    fn find() -> Option<Programs> {
        let home = std::env::var_os("MAILWAVE_CYRUS")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/cyrus"), PathBuf::from);
        let root = home.join("root").canonicalize().ok().filter(|root| root.join("complete").exists())?;
        let mut libraries = Vec::new();
        for dir in ["usr/lib", "lib"] {
            for entry in std::fs::read_dir(root.join(dir)).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().contains("-linux-gnu") {
                    libraries.push(entry.path());
                }
            }
        }
        Some(Programs { root, libraries })
    }

    /// One of its programs, run as the mail's owner.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.root.join(program));
        let (uid, gid) = mail_owner();
        let all = |dirs: &mut dyn Iterator<Item = PathBuf>| std::env::join_paths(dirs).expect("paths");
        // The mechanisms of SASL are the system's, if it has them.
        let system = self
            .libraries
            .iter()
            .filter_map(|dir| Some(Path::new("/").join(dir.strip_prefix(&self.root).ok()?)));
        let mut sasl = self.libraries.iter().cloned().chain(system).map(|dir| dir.join("sasl2"));
        // Nothing here must outlive the machine: fsync, which every message waits for, does nothing.
        if let Some(preload) =
            self.libraries.iter().map(|dir| dir.join("libeatmydata.so")).find(|p| p.exists())
        {
            command.env("LD_PRELOAD", preload);
        }
        command
            .env("LD_LIBRARY_PATH", all(&mut self.libraries.iter().cloned()))
            .env("SASL_PATH", all(&mut sasl))
            .current_dir("/")
            .uid(uid)
            .gid(gid);
        command
    }

    /// Gives a user a password.
    fn password(&self, root: &Path, user: &str, password: &str) {
        let mut child = self
            .command("usr/sbin/saslpasswd2")
            .args(["-p", "-c", "-u", "localhost", "-f"])
            .arg(root.join("sasldb2"))
            .arg(user)
            .stdin(Stdio::piped())
            .spawn()
            .expect("saslpasswd2");
        child.stdin.take().expect("piped").write_all(password.as_bytes()).expect("write");
        assert!(child.wait().expect("ended").success(), "saslpasswd2");
    }
}

fn imapd_conf(root: &Path, options: &Options, admin: &str) -> String {
    let root = root.display();
    let owner = {
        let (uid, _) = mail_owner();
        let out = Command::new("id").args(["-un", &uid.to_string()]).output().expect("id");
        String::from_utf8(out.stdout).expect("text").trim().to_owned()
    };
    let yes = |on: bool| if on { "yes" } else { "no" };
    let mut more = String::new();
    if options.special_folders {
        more.push_str("autocreate_inbox_folders: Drafts|Sent|Junk|Trash|Archive\n");
        for name in ["Drafts", "Sent", "Junk", "Trash", "Archive"] {
            more.push_str(&format!("xlist-{}: {name}\n", name.to_lowercase()));
        }
    }
    if let Some(connections) = options.connections {
        more.push_str(&format!("maxlogins_per_user: {connections}\n"));
    }
    if let Some(octets) = options.max_message {
        more.push_str(&format!("maxmessagesize: {octets}\n"));
    }
    if !options.hidden.is_empty() {
        more.push_str(&format!("suppress_capabilities: {}\n", options.hidden.join(" ")));
    }
    format!(
        "configdirectory: {root}/conf
partition-default: {root}/spool
defaultpartition: default
cyrus_user: {owner}
servername: localhost
admins: {admin}
allowplaintext: yes
sasl_mech_list: PLAIN LOGIN SCRAM-SHA-256
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {root}/sasldb2
tls_server_cert: {root}/cert.pem
tls_server_key: {root}/key.pem
unixhierarchysep: {}
altnamespace: {}
autocreate_quota: {}
conversations: yes
expunge_mode: immediate
delete_mode: immediate
skiplist_unsafe: yes
munge8bit: no
reject8bit: no
{more}",
        yes(options.unix_hierarchy),
        yes(options.alt_namespace),
        options.quota.unwrap_or(0)
    )
}

fn cyrus_conf(root: &Path, programs: &Programs, reach: &Reach) -> String {
    let bin = programs.root.join("usr/lib/cyrus/bin");
    let (bin, root) = (bin.display(), root.display());
    format!(
        r#"START {{
 recover cmd="{bin}/ctl_cyrusdb -C {root}/imapd.conf -r"
}}
SERVICES {{
 imap cmd="{bin}/imapd -C {root}/imapd.conf" listen="127.0.0.1:{}" prefork=0
 imaps cmd="{bin}/imapd -s -C {root}/imapd.conf" listen="127.0.0.1:{}" prefork=0
}}
"#,
        reach.plain_port, reach.tls_port
    )
}

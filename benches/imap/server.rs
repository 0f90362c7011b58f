//! A Dovecot of the bench's own: its ports, its folder, a certificate of the bench's authority, Debian's defaults for
//! everything that costs time (fsync, login processes, caches).

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::Result;
use crate::proc;

/// The password of every mailbox.
pub const PASSWORD: &str = "bench-password";

/// How a server keeps mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Maildir,
    Mdbox,
}

/// A running server; stopped when dropped.
pub struct Dovecot {
    /// Clear text: only the bench's own reader uses it.
    pub plain_port: u16,
    /// TLS from the first octet.
    pub tls_port: u16,
    pub root: PathBuf,
    child: Option<Child>,
}

/// Is Dovecot installed, and where?
pub fn binary() -> Option<PathBuf> {
    ["/usr/sbin/dovecot", "/usr/local/sbin/dovecot"].into_iter().map(PathBuf::from).find(|p| p.exists())
}

impl Dovecot {
    /// Prepares one in `root` (made) that keeps mail below `root/mail`, and starts it.
    pub fn start(root: &Path, authority: &Authority, format: Format) -> Result<Dovecot> {
        fs::create_dir_all(root.join("mail"))?;
        authority.issue(root)?;
        let mut dovecot = Dovecot { plain_port: 0, tls_port: 0, root: root.to_owned(), child: None };
        // Somebody else may take a free port between our look and Dovecot's bind.
        let mut why = String::new();
        for _ in 0..5 {
            (dovecot.plain_port, dovecot.tls_port) = (free_port()?, free_port()?);
            fs::write(root.join("dovecot.conf"), dovecot.config(format)?)?;
            match dovecot.run() {
                Ok(()) => return Ok(dovecot),
                Err(e) => why = e.to_string(),
            }
        }
        Err(format!("dovecot does not start: {why}").into())
    }

    /// The folder of all mailboxes.
    pub fn mail(&self) -> PathBuf {
        self.root.join("mail")
    }

    /// Runs the server again after [`Dovecot::stop`], on the same ports.
    pub fn run(&mut self) -> Result<()> {
        own(&self.root.join("mail"))?;
        let binary = binary().ok_or("dovecot is not installed")?;
        let mut child = Command::new(binary)
            .arg("-F")
            .arg("-c")
            .arg(self.root.join("dovecot.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.root.join("stderr"))?)
            .spawn()?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while !(greets(self.plain_port) && TcpStream::connect(("127.0.0.1", self.tls_port)).is_ok()) {
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                return Err(proc::tail(&self.log(), 5).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child = Some(child);
        Ok(())
    }

    /// Stops it; the mail stays.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        proc::signal(child.id(), "TERM")?; // the master ends its children
        let deadline = Instant::now() + Duration::from_secs(10);
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Starts it anew without any mail.
    pub fn wipe(&mut self) -> Result<()> {
        self.stop()?;
        fs::remove_dir_all(self.mail())?;
        fs::create_dir(self.mail())?;
        self.run()
    }

    /// CPU seconds since it was started, once no session is left.
    pub fn cpu(&self) -> Result<f64> {
        let master = self.child.as_ref().ok_or("the server is stopped")?.id();
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let before = proc::children(master);
            let busy = before.iter().any(|pid| {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                name.trim() == "imap"
            });
            let cpu = proc::tree_cpu(master);
            // A child that ended between the two looks would be missing.
            if (!busy && before == proc::children(master)) || Instant::now() > deadline {
                return Ok(cpu);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.root.join(name)).unwrap_or_default();
        format!("{}{}", read("stderr"), read("log"))
    }

    fn config(&self, format: Format) -> Result<String> {
        let root = self.root.display();
        let (uid, gid) = mail_owner()?;
        let internal = if is_root()? { String::new() } else { unprivileged()? };
        let location = match format {
            Format::Maildir => "maildir:~/Maildir",
            Format::Mdbox => "mdbox:~/mdbox",
        };
        let special: String = ["Drafts", "Junk", "Sent", "Trash"]
            .map(|name| format!(" mailbox {name} {{\n  special_use = \\{name}\n }}\n"))
            .concat();
        let (plain, tls) = (self.plain_port, self.tls_port);
        Ok(format!(
            r"{internal}base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{root}/cert.pem
ssl_key = <{root}/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain login
first_valid_uid = 1
first_valid_gid = 1
mail_max_userip_connections = 100
mail_location = {location}
passdb {{
 driver = static
 args = password={PASSWORD}
}}
userdb {{
 driver = static
 args = uid={uid} gid={gid} home={root}/mail/%u
}}
namespace inbox {{
 inbox = yes
 separator = /
{special}}}
service anvil {{
 unix_listener anvil-auth-penalty {{
  mode = 0
 }}
}}
service imap-login {{
 inet_listener imap {{
  port = {plain}
 }}
 inet_listener imaps {{
  port = {tls}
  ssl = yes
 }}
}}
"
        ))
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// The authority both servers' certificates are signed by.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, PEM.
    pub ca_file: PathBuf,
}

impl Authority {
    pub fn new(dir: &Path) -> Result<Authority> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "mailwave bench authority");
        let ca_file = dir.join("ca.pem");
        fs::write(&ca_file, params.self_signed(&key)?.pem())?;
        Ok(Authority { issuer: Issuer::new(params, key), ca_file })
    }

    fn issue(&self, root: &Path) -> Result<()> {
        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        leaf.distinguished_name.push(DnType::CommonName, "localhost");
        fs::write(root.join("cert.pem"), leaf.signed_by(&key, &self.issuer)?.pem())?;
        fs::write(root.join("key.pem"), key.serialize_pem())?;
        Ok(())
    }
}

/// Gives a tree to the user mail belongs to, where we are root.
pub fn own(tree: &Path) -> Result<()> {
    if !is_root()? {
        return Ok(());
    }
    let (uid, gid) = mail_owner()?;
    // The mail's owner must be able to get there; only our own folders are changed.
    if let Some(root) = tree.parent() {
        fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    }
    chown_all(tree, uid, gid)
}

fn chown_all(path: &Path, uid: u32, gid: u32) -> Result<()> {
    if path.is_symlink() {
        return Ok(());
    }
    chown(path, Some(uid), Some(gid))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            chown_all(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn greets(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("* OK")
}

/// What `id` prints.
fn id(args: &[&str]) -> Result<String> {
    let out = Command::new("id").args(args).output()?;
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

fn is_root() -> Result<bool> {
    Ok(id(&["-u"])? == "0")
}

/// The user and group mail belongs to. Dovecot never serves mail as root.
pub fn mail_owner() -> Result<(u32, u32)> {
    let name = if is_root()? { vec!["mail"] } else { vec![] };
    let number = |flag| -> Result<u32> { Ok(id(&[&[flag], &name[..]].concat())?.parse()?) };
    Ok((number("-u")?, number("-g")?))
}

fn unprivileged() -> Result<String> {
    let (user, group) = (id(&["-un"])?, id(&["-gn"])?);
    Ok(format!(
        "default_internal_user = {user}\ndefault_internal_group = {group}\ndefault_login_user = {user}\n\
         service anvil {{\n chroot =\n}}\nservice imap-login {{\n chroot =\n}}\n"
    ))
}

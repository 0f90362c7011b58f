//! The tools compared: how each is told to copy the same mailboxes over the same links.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::proc::Argv;
use crate::server::PASSWORD;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Tool {
    Mailwave,
    Mbsync,
    /// `doveadm backup` over imapc: writes the target's files itself.
    Doveadm,
    Imapsync,
}

/// Where to copy from and to.
#[derive(Debug, Clone)]
pub struct Job {
    /// Ports of the servers or of the proxies before them.
    pub source_port: u16,
    pub target_port: u16,
    /// The authority of both servers' certificates.
    pub ca_file: PathBuf,
    /// Mailboxes, with the octets each has: for sharing them out evenly.
    pub users: Vec<(String, u64)>,
    /// Connections to each server at once.
    pub connections: usize,
    /// The target server's folder (its configuration and its mail).
    pub target_root: PathBuf,
    /// mailwave writes Maildirs itself in place of IMAP: for trying the bench.
    pub maildir: bool,
    /// TLS on both links.
    pub tls: bool,
}

impl Tool {
    pub fn name(self) -> &'static str {
        match self {
            Tool::Mailwave => "mailwave",
            Tool::Mbsync => "mbsync",
            Tool::Doveadm => "doveadm",
            Tool::Imapsync => "imapsync",
        }
    }

    /// The program's path, if it is installed.
    pub fn program(self) -> Option<PathBuf> {
        match self {
            // Another build, to compare two.
            Tool::Mailwave => {
                let other = std::env::var_os("BENCH_MAILWAVE");
                Some(other.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_mailwave")), PathBuf::from))
            }
            _ => std::env::split_paths(&std::env::var_os("PATH")?)
                .map(|dir| dir.join(self.name()))
                .find(|p| p.is_file()),
        }
    }

    /// The first line of what it says about its version.
    pub fn version(self) -> String {
        let Some(program) = self.program() else { return "not installed".to_owned() };
        if self == Tool::Doveadm {
            return "as dovecot".to_owned();
        }
        let out = Command::new(program).arg("--version").output();
        let text = out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        text.lines().next().unwrap_or("unknown").to_owned()
    }

    /// Writes its configuration into `dir` (its ledger or state lies there too) and returns the commands of one pass, in
    /// lanes that run at the same time.
    pub fn prepare(self, dir: &Path, job: &Job) -> Result<Vec<Vec<Argv>>> {
        fs::create_dir_all(dir)?;
        let program = self.program().ok_or_else(|| format!("{} is not installed", self.name()))?;
        match self {
            Tool::Mailwave => mailwave(&program, dir, job),
            Tool::Mbsync => mbsync(&program, dir, job),
            Tool::Doveadm => {
                let conf = job.target_root.join("dovecot.conf");
                Ok(job.lanes(|user| {
                    let set = |key: &str, value: &str| ["-o".to_owned(), format!("{key}={value}")];
                    let mut words =
                        vec![program.display().to_string(), "-c".to_owned(), conf.display().to_string()];
                    words.extend(set("imapc_host", "127.0.0.1"));
                    words.extend(set("imapc_port", &job.source_port.to_string()));
                    words.extend(set("imapc_user", user));
                    words.extend(set("imapc_password", PASSWORD));
                    words.extend(set("imapc_ssl", if job.tls { "imaps" } else { "no" }));
                    words.extend(set("imapc_features", "rfc822.size fetch-headers"));
                    words.extend(set("ssl_client_ca_file", &job.ca_file.display().to_string()));
                    words.extend(set("mail_prefetch_count", "20"));
                    words.extend(["backup", "-R", "-u", user, "imapc:"].map(str::to_owned));
                    Argv::new(words)
                }))
            }
            Tool::Imapsync => Ok(job.lanes(|user| {
                let mut words = vec![program.display().to_string()];
                for (n, port) in [(1, job.source_port), (2, job.target_port)] {
                    words.extend([
                        format!("--host{n}=127.0.0.1"),
                        format!("--port{n}={port}"),
                        format!("--user{n}={user}"),
                        format!("--password{n}={PASSWORD}"),
                    ]);
                    if job.tls {
                        words.extend([
                            format!("--ssl{n}"),
                            format!("--sslargs{n}"),
                            format!("SSL_ca_file={}", job.ca_file.display()),
                        ]);
                    }
                }
                words.extend(
                    ["--nolog", "--noreleasecheck", "--nofoldersizes", "--syncinternaldates", "--subscribe"]
                        .map(str::to_owned),
                );
                words.push(format!("--tmpdir={}", dir.display()));
                words.push(format!("--pidfile={}", dir.join(user).display()));
                Argv::new(words)
            })),
        }
    }
}

impl Job {
    /// Mailboxes shared out over as many groups as there are connections, even by octets.
    fn groups(&self) -> Vec<Vec<&str>> {
        let mut users: Vec<_> = self.users.iter().collect();
        users.sort_by_key(|(name, octets)| (std::cmp::Reverse(*octets), name.clone()));
        let mut groups = vec![(0, Vec::new()); self.connections.clamp(1, users.len().max(1))];
        for (name, octets) in users {
            if let Some(group) = groups.iter_mut().min_by_key(|(sum, _)| *sum) {
                group.0 += octets;
                group.1.push(name.as_str());
            }
        }
        groups.into_iter().map(|(_, names)| names).collect()
    }

    fn lanes(&self, command: impl Fn(&str) -> Argv) -> Vec<Vec<Argv>> {
        self.groups().into_iter().map(|group| group.into_iter().map(&command).collect()).collect()
    }
}

fn mailwave(program: &Path, dir: &Path, job: &Job) -> Result<Vec<Vec<Argv>>> {
    let endpoint = |port: u16| {
        let tls = if job.tls {
            format!("tls = \"implicit\"\nca_file = {:?}", job.ca_file.display().to_string())
        } else {
            "tls = \"off\"".to_owned()
        };
        format!(
            "kind = \"imap\"\nhost = \"127.0.0.1\"\nport = {port}\n{tls}\npassword = {{ file = \"password\" }}\n\
             max_connections = {}\nlogin_interval = \"0ms\"\n",
            job.connections
        )
    };
    let target = if job.maildir {
        format!(
            "kind = \"maildir\"\nroot = {:?}\n",
            format!("{}/mail/{{mailbox}}/Maildir", job.target_root.display())
        )
    } else {
        // As mbsync's `Expunge Near`.
        format!("{}expunge_removed = true\n", endpoint(job.target_port))
    };
    let config = format!(
        "source_name = \"bench\"\n\n[source.old]\n{}\n[target.new]\n{target}",
        endpoint(job.source_port)
    );
    fs::write(dir.join("mailwave.toml"), config)?;
    secret(&dir.join("password"))?;
    let list: String = job.users.iter().map(|(user, _)| format!("{user},{user}\n")).collect();
    fs::write(dir.join("mailboxes.csv"), format!("source,target\n{list}"))?;
    let config = dir.join("mailwave.toml");
    let words = [program.as_os_str(), "run".as_ref(), config.as_os_str(), "--json".as_ref()];
    Ok(vec![vec![Argv::new(words)]])
}

/// The password in a file only we may read.
fn secret(path: &Path) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(PASSWORD.as_bytes())?)
}

fn mbsync(program: &Path, dir: &Path, job: &Job) -> Result<Vec<Vec<Argv>>> {
    // 1.5 renamed the word for TLS and has a stricter way to sync its journal.
    let new = !Tool::Mbsync.version().contains(" 1.4") && !Tool::Mbsync.version().contains(" 1.3");
    let (tls, fsync) = if new { ("TLSType", "Thorough") } else { ("SSLType", "yes") };
    let tls_lines = if job.tls {
        format!("{tls} IMAPS\nSystemCertificates no\nCertificateFile {}\n", job.ca_file.display())
    } else {
        format!("{tls} None\nAuthMechs LOGIN\n")
    };
    let state = dir.join("state");
    fs::create_dir_all(&state)?;
    let mut lanes = Vec::new();
    for (n, group) in job.groups().into_iter().enumerate() {
        let mut rc = format!(
            "FSync {fsync}\nSync PullNew PullDelete PullFlags\nCreate Near\nExpunge Near\nCopyArrivalDate yes\n\n"
        );
        for user in group {
            // It knows no certificates for addresses.
            for (side, port) in [("far", job.source_port), ("near", job.target_port)] {
                write!(
                    rc,
                    "IMAPStore {side}-{user}\nHost localhost\nPort {port}\nUser {user}\nPass {PASSWORD}\n{tls_lines}\n"
                )?;
            }
            write!(
                rc,
                "Channel {user}\nFar :far-{user}:\nNear :near-{user}:\nPatterns *\nSyncState {}/{user}-\n\n",
                state.display()
            )?;
        }
        let path = dir.join(format!("mbsyncrc-{n}"));
        fs::write(&path, rc)?;
        let words = [program.as_os_str(), "-c".as_ref(), path.as_os_str(), "-a".as_ref(), "-q".as_ref()];
        lanes.push(vec![Argv::new(words).env("HOME", dir)]);
    }
    Ok(lanes)
}

//! The settings as meant: every default filled in, every path absolute or relative to the working directory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::guard::Secret;
use crate::model::SourceName;

/// Everything a run needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The configuration file itself.
    pub file: PathBuf,
    /// The operator's name of the source installation, part of every stamp: it must never change.
    pub source_name: SourceName,
    /// The CSV of mailboxes.
    pub mailboxes: PathBuf,
    /// The ledger's directory.
    pub ledger: PathBuf,
    /// Where reports are written.
    pub report: PathBuf,
    /// How to run.
    pub run: RunSettings,
    /// Source endpoints by name; at least one.
    pub sources: BTreeMap<String, SourceKind>,
    /// Target endpoints by name; at least one.
    pub targets: BTreeMap<String, TargetKind>,
}

/// `[run]`: how to run.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// Mailboxes with work in progress at once (1–5000).
    pub open_mailboxes: usize,
    /// Message octets in memory at once, in bytes: one budget for all mailboxes.
    pub memory: u64,
    /// Messages larger than this lie in the spool instead of in memory, in bytes.
    pub spool_above: u64,
    /// The spool's directory.
    pub spool: PathBuf,
    /// After an unknown outcome and a look-up that finds nothing: how long to wait before looking again.
    pub settle: Duration,
    /// How long a stamp with a once unknown outcome is watched for a late twin.
    pub watch_for: Duration,
    /// Tries of one batch, one folder or one login (1–20).
    pub tries: u32,
    /// Longest time one store may take before its outcome is declared unknown.
    pub store_deadline: Duration,
    /// Messages larger than this are skipped, in bytes.
    pub max_message: u64,
    /// Count the copies at the target at the end of each pass.
    pub recount: bool,
    /// Mirror moves and deletions of the source on untouched copies.
    pub mirror: bool,
}

/// `[source.NAME]`.
#[derive(Debug, Clone)]
pub enum SourceKind {
    /// `kind = "imap"`
    Imap(ImapSettings),
    /// `kind = "maildir"`
    Maildir(MaildirSettings),
    /// `kind = "mbox"`
    Mbox(MboxSettings),
}

/// `[target.NAME]`.
#[derive(Debug, Clone)]
pub enum TargetKind {
    /// `kind = "graph"`
    Graph(Box<GraphSettings>),
    /// `kind = "maildir"`
    Maildir(MaildirTargetSettings),
}

/// How an IMAP connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// TLS from the first octet (port 993).
    Implicit,
    /// STARTTLS (port 143).
    StartTls,
    /// None; allowed for a loopback address only.
    Off,
}

/// How to log in to IMAP.
#[derive(Debug, Clone)]
pub enum ImapLogin {
    /// LOGIN. `user` is a pattern: `{mailbox}` stands for the mailbox as the CSV names it.
    Login {
        /// The pattern.
        user: String,
        /// The password.
        password: Secret,
    },
    /// AUTHENTICATE PLAIN (RFC 4616): `authcid` logs in, the mailbox is the authorisation identity. Without
    /// `authcid` the mailbox itself logs in.
    Plain {
        /// The master user.
        authcid: Option<String>,
        /// Its password.
        password: Secret,
    },
    /// AUTHENTICATE XOAUTH2 with a bearer token; `user` as in `Login`.
    Xoauth2 {
        /// The pattern.
        user: String,
        /// The token.
        token: Secret,
    },
}

/// An IMAP server.
#[derive(Debug, Clone)]
pub struct ImapSettings {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Protection.
    pub tls: Tls,
    /// PEM file with certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How to log in.
    pub login: ImapLogin,
    /// Connections at once to this server (1–1000).
    pub max_connections: usize,
    /// Longest time a connection attempt may take.
    pub connect_timeout: Duration,
    /// Longest silence of the server while an answer is due.
    pub silence: Duration,
}

/// How folders lie in a Maildir.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Find out by looking (sources only).
    Auto,
    /// `.A.B` beside `cur` (Maildir++, Courier, Dovecot's default).
    PlusPlus,
    /// `A/B` (Dovecot's `LAYOUT=fs`).
    Fs,
}

/// A directory of Maildirs to read.
#[derive(Debug, Clone)]
pub struct MaildirSettings {
    /// A mailbox's Maildir is this directory and the mailbox's name in the CSV.
    pub root: PathBuf,
    /// How folders lie.
    pub layout: Layout,
}

/// The four ways of an mbox file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MboxVariant {
    /// Find out by looking.
    Auto,
    /// `From ` lines are quoted once.
    Mboxo,
    /// `From ` lines are quoted reversibly.
    Mboxrd,
    /// `Content-Length`, and `From ` lines are quoted.
    Mboxcl,
    /// `Content-Length` alone.
    Mboxcl2,
}

/// A directory of mbox files to read.
#[derive(Debug, Clone)]
pub struct MboxSettings {
    /// A mailbox is this directory and the mailbox's name in the CSV: one file or a tree of files.
    pub root: PathBuf,
    /// How messages are told apart.
    pub variant: MboxVariant,
    /// Turn `X-Gmail-Labels` (Google Takeout) into folders.
    pub gmail_labels: bool,
}

/// When what is written to a Maildir is made safe against power loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Each message, before it counts as stored.
    Always,
    /// Never: for throw-away trials.
    Never,
}

/// A directory of Maildirs to write.
#[derive(Debug, Clone)]
pub struct MaildirTargetSettings {
    /// A mailbox's Maildir is this directory and the target's name in the CSV.
    pub root: PathBuf,
    /// How folders lie; never `Auto`.
    pub layout: Layout,
    /// Durability.
    pub sync: Sync,
    /// Largest message taken, in bytes.
    pub max_message: u64,
}

/// How to log in to Graph.
#[derive(Debug, Clone)]
pub enum GraphLogin {
    /// An app with a client secret (OAuth 2.0 client credentials).
    App {
        /// The tenant's id or domain.
        tenant: String,
        /// The app's id.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
        /// Where tokens are issued.
        authority: String,
    },
    /// A ready bearer token (for trials and the mock).
    Token(Secret),
    /// The in-process mock asks for none.
    None,
}

/// A Microsoft Graph service.
#[derive(Debug, Clone)]
pub struct GraphSettings {
    /// Its address, without a slash at the end.
    pub base_url: String,
    /// How to log in.
    pub login: GraphLogin,
    /// PEM file with certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// `Some`: no service at all but the mock in this process, its state kept in this directory.
    pub mock: Option<PathBuf>,
    /// Largest message taken, in bytes of its octets.
    pub max_message: u64,
    /// What may leave, when.
    pub limits: LimitSettings,
}

/// A smooth rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Smooth {
    /// Requests a second of one app over all its mailboxes.
    pub per_second: u32,
}

/// What one app may send to one mailbox. Defaults: Microsoft Graph's documented limits of the Outlook service
/// ("Microsoft Graph service-specific throttling limits", Outlook service limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSettings {
    /// Requests in a window …
    pub requests: u32,
    /// … of this length.
    pub requests_per: Duration,
    /// Requests under way at once (1–64).
    pub at_once: u32,
    /// Bytes uploaded (bodies of POST, PATCH, PUT) in a window …
    pub upload: u64,
    /// … of this length.
    pub upload_per: Duration,
    /// A smooth rate of the app over all mailboxes, if one is wanted.
    pub smooth: Option<Smooth>,
}

impl Default for LimitSettings {
    fn default() -> Self {
        LimitSettings {
            requests: 10_000,
            requests_per: Duration::from_secs(600),
            at_once: 4,
            upload: 150_000_000,
            upload_per: Duration::from_secs(300),
            smooth: None,
        }
    }
}

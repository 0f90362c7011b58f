//! The settings as meant: every default filled in, every path absolute or relative to the working directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::waves::WavesSettings;
use crate::guard::{PasswordFile, Secret};
use crate::model::{SourceName, WriteMode};

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
    /// The ledger may lie on a file system of a network.
    pub ledger_on_network: bool,
    /// Where reports are written.
    pub report: PathBuf,
    /// How to run.
    pub run: RunSettings,
    /// When, and in which waves.
    pub waves: WavesSettings,
    /// Source endpoints by name; at least one.
    pub sources: BTreeMap<String, SourceKind>,
    /// Target endpoints by name; at least one.
    pub targets: BTreeMap<String, TargetKind>,
}

impl Settings {
    /// What the ledger holds the configuration to: of each endpoint its name and kind and, of a target, where copies
    /// lie; one line each. A server may get another address, an endpoint may be added; copies may not lie elsewhere.
    /// The same file gives the same text from whatever directory it is run.
    pub fn fingerprint(&self) -> String {
        let dir = self.file.parent().unwrap_or(Path::new(""));
        let place = |path: &Path| path.strip_prefix(dir).unwrap_or(path).display().to_string();
        let sources = self.sources.iter().map(|(name, kind)| {
            let kind = match kind {
                SourceKind::Imap(_) => "imap",
                SourceKind::Maildir(_) => "maildir",
                SourceKind::Mbox(_) => "mbox",
            };
            format!("source.{name}\t{kind}\n")
        });
        let targets = self.targets.iter().map(|(name, kind)| {
            let place = match kind {
                TargetKind::Maildir(maildir) => format!("maildir {}", place(&maildir.root)),
                // The server may move; the copies lie in the same mailboxes.
                TargetKind::Ews(_) => "ews".to_owned(),
                // The server may move; the copies lie in the same mailboxes, below the same folder.
                TargetKind::Imap(imap) if imap.folder_prefix.is_empty() => "imap".to_owned(),
                TargetKind::Imap(imap) => format!("imap {}", imap.folder_prefix),
                TargetKind::Graph(graph) => match (&graph.mock, &graph.login) {
                    (Some(state), _) => format!("mock {}", place(state)),
                    (None, GraphLogin::Apps { tenant, .. }) => format!("graph {} {tenant}", graph.base_url),
                    (None, _) => format!("graph {}", graph.base_url),
                },
            };
            format!("target.{name}\t{place}\n")
        });
        sources.chain(targets).collect()
    }
}

/// `[run]`: how to run.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// Mailboxes with work in progress at once (1–5000).
    pub open_mailboxes: usize,
    /// How many of them at first (1–5000).
    pub open_at_first: usize,
    /// Message octets in memory at once, in bytes: one budget for all mailboxes. `None`: by the memory there is.
    pub memory: Option<u64>,
    /// Messages larger than this lie in the spool instead of in memory, in bytes.
    pub spool_above: u64,
    /// The spool's directory.
    pub spool: PathBuf,
    /// Message octets in the spool at once, in bytes. `None`: by the disk there is.
    pub spool_size: Option<u64>,
    /// After an unknown outcome and a look-up that finds nothing: how long to wait before looking again.
    pub settle: Duration,
    /// How long a stamp with a once unknown outcome is watched for a late twin.
    pub watch_for: Duration,
    /// Tries of one batch, one folder or one login (1–20).
    pub tries: u32,
    /// Longest time one store may take before its outcome is declared unknown.
    pub store_deadline: Duration,
    /// How long what is under way may take once the run is to end; what is not done then is left to the next run.
    pub grace: Duration,
    /// Messages larger than this are skipped, in bytes.
    pub max_message: u64,
    /// Count the copies at the target at the end of each pass.
    pub recount: bool,
    /// Mirror moves and deletions of the source on untouched copies.
    pub mirror: bool,
    /// Within a folder, messages listed last are copied first (`order = "newest"`).
    pub newest_first: bool,
}

/// `[source.NAME]`.
#[derive(Debug, Clone)]
pub enum SourceKind {
    /// `kind = "imap"`
    Imap(Box<ImapSettings>),
    /// `kind = "maildir"`
    Maildir(MaildirSettings),
    /// `kind = "mbox"`
    Mbox(MboxSettings),
}

/// `[target.NAME]`.
#[derive(Debug, Clone)]
pub enum TargetKind {
    /// `kind = "ews"`
    Ews(Box<EwsSettings>),
    /// `kind = "graph"`
    Graph(Box<GraphSettings>),
    /// `kind = "imap"`
    Imap(Box<ImapTargetSettings>),
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

/// Who logs in to IMAP, for which mailbox.
#[derive(Debug, Clone)]
pub enum ImapLogin {
    /// One account that may open every mailbox.
    Master {
        /// Its name.
        user: String,
        /// Its password.
        password: Secret,
        /// `None`: the mailbox is the authorisation identity (of PLAIN and SCRAM). `Some`: a login name, with
        /// `{mailbox}` for the mailbox (`{mailbox}*migrator`).
        login: Option<String>,
    },
    /// Every mailbox logs in itself, all with one password.
    Fixed {
        /// The password.
        password: Secret,
    },
    /// Every mailbox logs in itself, with the password this file gives it.
    PerMailbox(PasswordFile),
    /// A bearer token that may open every mailbox.
    Token(Secret),
    /// Tokens that may open every mailbox, renewed before they end.
    OAuth(Box<OAuth>),
}

/// `[source.NAME.oauth]`, `[target.NAME.oauth]`: where tokens come from.
#[derive(Debug, Clone)]
pub enum OAuth {
    /// A command that prints one.
    Command {
        /// The command.
        command: Secret,
        /// How long each lives.
        life: Duration,
    },
    /// A token endpoint (RFC 6749).
    Endpoint {
        /// Its address.
        token_url: String,
        /// The app's id.
        client_id: String,
        /// What the app proves itself with; without a refresh token there is one (client credentials, §4.4).
        proof: Option<AppProof>,
        /// A refresh token (§6); beside it the proof is a secret, if there is one.
        refresh_token: Option<Secret>,
        /// What the token is for; may be empty beside a refresh token.
        scope: String,
    },
}

/// How a name and a secret are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// The best of what the server offers.
    Auto,
    /// AUTHENTICATE PLAIN.
    Plain,
    /// LOGIN.
    Login,
    /// AUTHENTICATE SCRAM-SHA-256.
    ScramSha256,
    /// AUTHENTICATE XOAUTH2.
    XOAuth2,
    /// AUTHENTICATE OAUTHBEARER.
    OAuthBearer,
}

/// A kind of IMAP server about which something is known beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Dovecot.
    Dovecot,
    /// Cyrus IMAP.
    Cyrus,
    /// Courier.
    Courier,
    /// Exchange Server and Exchange Online.
    Exchange,
    /// Gmail.
    Gmail,
    /// Zimbra.
    Zimbra,
}

/// COMPRESS=DEFLATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compress {
    /// On slow links, where offered.
    Auto,
    /// Where offered.
    On,
    /// Never.
    Off,
}

/// An IMAP server, at whichever end. `None`: as the preset says.
#[derive(Debug, Clone)]
pub struct ImapServer {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Protection.
    pub tls: Tls,
    /// Allows no protection to a host that is not this machine.
    pub allow_plaintext: bool,
    /// PEM file with certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Who logs in.
    pub login: ImapLogin,
    /// How a name and a secret are sent.
    pub mechanism: Mechanism,
    /// The kind of server.
    pub preset: Option<Preset>,
    /// Compression.
    pub compress: Compress,
    /// Connections at once to this server (1–10,000).
    pub max_connections: Option<usize>,
    /// Shortest time between two logins.
    pub login_interval: Option<Duration>,
    /// Longest time a connection attempt may take.
    pub connect_timeout: Duration,
    /// A server that moves nothing for that long is gone.
    pub idle_timeout: Duration,
}

/// An IMAP server to read.
#[derive(Debug, Clone)]
pub struct ImapSettings {
    /// The server.
    pub server: ImapServer,
    /// Connections of one mailbox at once, at most (1–16). `None`: as the preset says.
    pub connections_per_mailbox: Option<usize>,
    /// Prefixes of namespaces of others that are read too.
    pub namespaces: Vec<String>,
    /// If there are any: only these folders and what lies below them.
    pub folders: Vec<String>,
    /// Folders that are left out with what lies below them. `None`: as the preset says.
    pub leave_out: Option<Vec<String>>,
    /// Bytes fetched of one mailbox in 24 hours, at most. `None`: as the preset says.
    pub daily_bytes: Option<u64>,
    /// What becomes of labels, where the server has them.
    pub labels: Labels,
}

/// What becomes of a message's labels (X-GM-EXT-1) beside the folder it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labels {
    /// Keywords of the one copy.
    Keywords,
    /// Further copies in their folders.
    Copies,
    /// Nothing.
    Ignore,
    /// Folders are read as those of any server.
    Off,
}

/// What becomes of keywords (user-defined flags) at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keywords {
    /// Set where the folder takes them.
    Keep,
    /// Left out.
    Drop,
}

/// An IMAP server to write.
#[derive(Debug, Clone)]
pub struct ImapTargetSettings {
    /// The server.
    pub server: ImapServer,
    /// A folder everything is put below; empty for none. Its levels are separated by `/`.
    pub folder_prefix: String,
    /// Largest message taken, in bytes. `None`: what the server says (APPENDLIMIT), else the preset.
    pub max_message: Option<u64>,
    /// Subscribe to the folders that are made.
    pub subscribe: bool,
    /// What becomes of keywords.
    pub keywords: Keywords,
    /// Messages of one folder stored together (1–200).
    pub batch_messages: usize,
    /// Copies of removed originals are expunged instead of moved to the trash.
    pub expunge_removed: bool,
}

/// How folders lie in a Maildir.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `.A.B` beside `cur` (Maildir++, Courier, Dovecot's default).
    PlusPlus,
    /// `A/B` (Dovecot's `LAYOUT=fs`).
    Fs,
}

/// How folder names are written on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderNames {
    /// Modified UTF-7 if a name is valid as such, else UTF-8.
    Auto,
    /// Modified UTF-7.
    Utf7,
    /// UTF-8.
    Utf8,
}

/// Where a Maildir message's received date is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// The file's modification time.
    Mtime,
    /// The seconds its base name begins with.
    Name,
}

/// What numbers the messages of a Maildir.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// The ledger, by base name.
    Ledger,
    /// `dovecot-uidlist`, where it covers a whole folder.
    Uidlist,
}

/// Maildirs to read.
#[derive(Debug, Clone)]
pub struct MaildirSettings {
    /// Where mailboxes lie: a directory the mailbox's name is joined to, or a pattern with `{mailbox}`, `{user}`,
    /// `{domain}`.
    pub root: PathBuf,
    /// How folders lie.
    pub layout: Layout,
    /// What separates the names in a Maildir++ directory name.
    pub separator: char,
    /// How folder names are written.
    pub names: FolderNames,
    /// What begins a hexadecimal escape in a folder name (Dovecot's listescape), if the store has them.
    pub escape: Option<char>,
    /// Where the received date is read.
    pub received: Received,
    /// What numbers the messages.
    pub numbers: Numbers,
}

/// How `From ` at the beginning of a line inside a message of an mbox was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quoting {
    /// Find out message by message.
    Auto,
    /// `From ` lines are quoted once.
    Mboxo,
    /// `From ` lines are quoted reversibly.
    Mboxrd,
    /// `Content-Length`, and `From ` lines are quoted.
    Mboxcl,
    /// `Content-Length` alone.
    Mboxcl2,
    /// Neither.
    None,
}

/// mbox files to read.
#[derive(Debug, Clone)]
pub struct MboxSettings {
    /// Where mailboxes lie, as in [`MaildirSettings::root`]: one file or a tree of files each.
    pub root: PathBuf,
    /// How From_ lines are quoted.
    pub quoting: Quoting,
    /// Turn `X-Gmail-Labels` (Google Takeout) into folders.
    pub gmail_labels: bool,
    /// How folder names are written.
    pub names: FolderNames,
}

/// When what is written to a Maildir is made safe against power loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// After every message, its file and its directory.
    Always,
    /// Every file, and the directories once a batch, before the batch counts as stored.
    Batch,
    /// Never: for throw-away trials.
    Never,
}

/// How lines end in the files of a Maildir.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnds {
    /// Octets are kept exactly (CRLF).
    Keep,
    /// CRLF becomes LF.
    Lf,
}

/// Maildirs to write.
#[derive(Debug, Clone)]
pub struct MaildirTargetSettings {
    /// Where mailboxes lie, as in [`MaildirSettings::root`].
    pub root: PathBuf,
    /// How folders lie.
    pub layout: Layout,
    /// Durability.
    pub sync: Sync,
    /// How lines end.
    pub line_ends: LineEnds,
    /// Stores at once in one mailbox (1–64).
    pub lanes: usize,
}

/// How to log in to Graph.
#[derive(Debug, Clone)]
pub enum GraphLogin {
    /// One or more apps (OAuth 2.0 client credentials).
    Apps {
        /// The directory (tenant) the mailboxes are in: its id, or a domain.
        tenant: String,
        /// Where tokens are issued (OAuth 2.0 token endpoint).
        token_url: String,
        /// What the tokens are for.
        scope: String,
        /// The apps; at least one. A mailbox stays on one of them.
        apps: Vec<GraphApp>,
    },
    /// A ready bearer token (for trials and the mock).
    Token {
        /// The token.
        token: Secret,
        /// The directory it must be for, if it is named.
        tenant: Option<String>,
    },
    /// The in-process mock asks for none.
    None,
}

/// An app registration.
#[derive(Debug, Clone)]
pub struct GraphApp {
    /// Its id.
    pub client_id: String,
    /// What it proves itself with.
    pub proof: AppProof,
}

/// What an app proves itself with.
#[derive(Debug, Clone)]
pub enum AppProof {
    /// A secret.
    Secret(Secret),
    /// A certificate and its private key, as PEM.
    Certificate(Secret),
    /// A token of an issuer the app trusts, taken anew for each request.
    Federated(Secret),
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
    /// When the whole original is attached to its copy.
    pub attach_original: AttachOriginal,
    /// How messages are written: the first that takes a message; at least one.
    pub modes: Vec<WriteMode>,
    /// What may leave, when.
    pub limits: LimitSettings,
}

/// When the whole original is attached to its copy, as a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachOriginal {
    /// Only where next to nothing could be kept otherwise.
    Never,
    /// Where something is lost that only the original has.
    WhenLossy,
    /// Always.
    Always,
}

/// Who logs in to an EWS server.
#[derive(Debug, Clone)]
pub enum EwsLogin {
    /// A name and a password.
    Password {
        /// `DOMAIN\\user` or `user@example.org`.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A ready bearer token.
    Token(Secret),
    /// Tokens, renewed before they end.
    OAuth(Box<OAuth>),
}

/// What an EWS server is asked to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EwsVersion {
    /// `Exchange2013_SP1`
    Exchange2013Sp1,
    /// `Exchange2015`
    Exchange2015,
    /// `Exchange2016`
    Exchange2016,
}

/// A server of Exchange Web Services.
#[derive(Debug, Clone)]
pub struct EwsSettings {
    /// Its address.
    pub url: String,
    /// Who logs in.
    pub login: EwsLogin,
    /// Act as each mailbox.
    pub impersonation: bool,
    /// What it is asked to speak.
    pub version: EwsVersion,
    /// PEM file with certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Largest message taken, in bytes of its octets.
    pub max_message: u64,
    /// Messages of one request (1–50).
    pub batch_messages: usize,
    /// Octets of the messages of one request, in bytes.
    pub batch_size: u64,
    /// Stores at once per mailbox (1–16).
    pub lanes: usize,
    /// Requests at once over all mailboxes (1–10,000).
    pub max_connections: Option<usize>,
    /// What may leave, when: 0 stands for no limit.
    pub limits: LimitSettings,
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
    /// Requests a second of the app over all its mailboxes, if a smooth rate is wanted.
    pub rate: Option<u32>,
    /// Requests of one app at once over all its mailboxes (0: no limit); fewer while it answers slowly or refuses.
    pub in_flight: u32,
    /// The windows count as spent when the process starts.
    pub start_spent: bool,
}

impl Default for LimitSettings {
    fn default() -> Self {
        LimitSettings {
            requests: 10_000,
            requests_per: Duration::from_secs(600),
            at_once: 4,
            upload: 150_000_000,
            upload_per: Duration::from_secs(300),
            rate: None,
            in_flight: 4_000,
            start_spent: false,
        }
    }
}

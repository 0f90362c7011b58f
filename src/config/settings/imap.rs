//! IMAP servers, at either end.

use std::path::PathBuf;
use std::time::Duration;

use super::oauth::OAuth;
use crate::guard::{PasswordFile, Secret};

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

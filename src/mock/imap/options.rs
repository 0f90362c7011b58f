//! What kind of server the mock is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::quirks::Quirks;

/// The kind of server to be. [`ImapOptions::default`] is like a plain Dovecot that knows any user and password.
#[derive(Clone)]
pub struct ImapOptions {
    /// Who may log in.
    pub users: Users,
    /// A master user and its password: logs in as `USER*MASTER` by LOGIN, or by AUTHENTICATE PLAIN with USER as the
    /// authorisation id.
    pub master: Option<(String, String)>,
    /// Capabilities to offer after login, besides `IMAP4rev1`; what is not offered is not understood. Unknown ones
    /// are announced only.
    pub capabilities: Vec<String>,
    /// `AUTH=` mechanisms to offer: `PLAIN`, `SCRAM-SHA-256`, `XOAUTH2`, `OAUTHBEARER`.
    pub mechanisms: Vec<String>,
    /// Between the levels of folder names: `/` or `.`.
    pub separator: char,
    /// Before every name but INBOX, such as `INBOX.` (Courier); empty for none.
    pub prefix: String,
    /// Prefixes of other users' namespaces, such as `Users/`. Folders may lie below them as below any.
    pub others: Vec<String>,
    /// Prefixes of shared namespaces, such as `Public/`.
    pub shared: Vec<String>,
    /// What the server says of itself to ID (RFC 2971).
    pub id: Vec<(String, String)>,
    /// What it does beside the standards.
    pub quirks: Quirks,
    /// How the server greets.
    pub greeting: Greeting,
    /// Announce capabilities within the greeting and the login's OK, not only when asked.
    pub announce: bool,
    /// Offers STARTTLS with this configuration.
    pub starttls: Option<Arc<rustls::ServerConfig>>,
    /// No login on a connection without TLS (`LOGINDISABLED`).
    pub require_tls: bool,
    /// Client keywords are kept (`\*` among PERMANENTFLAGS).
    pub keywords: bool,
    /// Refuse messages with a bare LF or CR, as Cyrus does.
    pub refuse_bare_newlines: bool,
    /// Connections one user may have logged in at once.
    pub max_connections_per_user: Option<usize>,
    /// Wait so long before each answer: a distant server.
    pub latency: Duration,
    /// Longest command line without its literals, in octets.
    pub max_line: usize,
    /// Longest literal, in octets: also the largest message that can be appended.
    pub max_literal: u64,
    /// How many commands the log keeps in full; counters go on.
    pub log_limit: usize,
}

/// Who may log in.
#[derive(Clone)]
pub enum Users {
    /// Anyone, with any password or token; unknown users get an empty INBOX.
    Any,
    /// These users, with their passwords (or, for XOAUTH2, tokens).
    Listed(BTreeMap<String, String>),
}

/// How the server greets (RFC 3501 §7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting {
    /// `* OK`: log in, please.
    Ok,
    /// `* PREAUTH`: logged in as this user already.
    Preauth(String),
    /// `* BYE` with this text, and the connection ends.
    Bye(String),
}

impl Default for ImapOptions {
    fn default() -> ImapOptions {
        let capabilities = "LITERAL+ SASL-IR ID ENABLE NAMESPACE UNSELECT CHILDREN UIDPLUS MOVE SPECIAL-USE";
        ImapOptions {
            users: Users::Any,
            master: None,
            capabilities: capabilities.split(' ').map(str::to_owned).collect(),
            mechanisms: vec!["PLAIN".to_owned()],
            separator: '/',
            prefix: String::new(),
            others: Vec::new(),
            shared: Vec::new(),
            id: vec![("name".to_owned(), "mailwave mock".to_owned())],
            quirks: Quirks::default(),
            greeting: Greeting::Ok,
            announce: true,
            starttls: None,
            require_tls: false,
            keywords: true,
            refuse_bare_newlines: false,
            max_connections_per_user: None,
            latency: Duration::ZERO,
            max_line: 64 * 1024,
            max_literal: 256 * 1024 * 1024,
            log_limit: 100_000,
        }
    }
}

impl ImapOptions {
    /// Knows exactly these users and passwords.
    pub fn with_users<'a>(mut self, users: impl IntoIterator<Item = (&'a str, &'a str)>) -> ImapOptions {
        let pairs = users.into_iter().map(|(user, password)| (user.to_owned(), password.to_owned()));
        self.users = Users::Listed(pairs.collect());
        self
    }

    /// Offers these capabilities too (separated by spaces).
    pub fn offering(mut self, capabilities: &str) -> ImapOptions {
        self.capabilities.extend(capabilities.split_whitespace().map(str::to_owned));
        self
    }

    /// Has these oddities.
    pub fn with_quirks(mut self, quirks: Quirks) -> ImapOptions {
        self.quirks = quirks;
        self
    }

    /// Does not offer these capabilities (separated by spaces).
    pub fn without(mut self, capabilities: &str) -> ImapOptions {
        let gone = |c: &String| !capabilities.split_whitespace().any(|g| g.eq_ignore_ascii_case(c));
        self.capabilities.retain(gone);
        self
    }

    /// Is the capability offered?
    pub fn offers(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|c| c.eq_ignore_ascii_case(capability))
    }
}

impl fmt::Debug for ImapOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImapOptions")
            .field("capabilities", &self.capabilities)
            .field("separator", &self.separator)
            .field("prefix", &self.prefix)
            .field("greeting", &self.greeting)
            .finish_non_exhaustive()
    }
}

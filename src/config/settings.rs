//! The settings as meant: every default filled in, every path absolute or relative to the working directory.

mod ews;
mod files;
mod graph;
mod imap;
mod limits;
mod oauth;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::waves::WavesSettings;
use crate::model::SourceName;

pub use self::ews::{EwsLogin, EwsSettings, EwsVersion};
pub use self::files::{
    FolderNames, Layout, LineEnds, MaildirSettings, MaildirTargetSettings, MboxSettings, Numbers, Quoting,
    Received, Sync,
};
pub use self::graph::{AttachOriginal, GraphApp, GraphLogin, GraphSettings};
pub use self::imap::{
    Compress, ImapLogin, ImapServer, ImapSettings, ImapTargetSettings, Keywords, Labels, Mechanism, Preset,
    Tls,
};
pub use self::limits::LimitSettings;
pub use self::oauth::{AppProof, OAuth};

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

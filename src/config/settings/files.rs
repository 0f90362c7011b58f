//! Mailboxes in files: Maildir at either end, mbox to read.

use std::path::PathBuf;

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

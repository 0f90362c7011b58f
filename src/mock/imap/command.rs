//! Commands as meant.

use bytes::Bytes;

use super::date::InternalDate;
use super::set::SequenceSet;

/// A command, its syntax checked. Folder names are the octets of the wire.
#[derive(Debug)]
pub(super) enum Command {
    Capability,
    Noop,
    Logout,
    StartTls,
    Compress,
    Login {
        user: Vec<u8>,
        password: Vec<u8>,
    },
    Authenticate {
        mechanism: String,
        initial: Option<Vec<u8>>,
    },
    Namespace,
    Id,
    Enable(Vec<String>),
    List(List),
    Lsub {
        reference: Vec<u8>,
        pattern: Vec<u8>,
    },
    Subscribe(Vec<u8>),
    Unsubscribe(Vec<u8>),
    Status {
        folder: Vec<u8>,
        items: Vec<StatusItem>,
    },
    Select {
        folder: Vec<u8>,
        read_only: bool,
        condstore: bool,
        qresync: Option<Qresync>,
    },
    Create {
        folder: Vec<u8>,
        uses: Vec<String>,
    },
    Delete(Vec<u8>),
    Rename {
        from: Vec<u8>,
        to: Vec<u8>,
    },
    Append {
        folder: Vec<u8>,
        messages: Vec<Appended>,
    },
    Check,
    Close,
    Unselect,
    Expunge(Option<SequenceSet>),
    Fetch {
        by_uid: bool,
        set: SequenceSet,
        items: Vec<FetchItem>,
        changed_since: Option<u64>,
        vanished: bool,
    },
    Store {
        by_uid: bool,
        set: SequenceSet,
        change: FlagChange,
    },
    Copy {
        by_uid: bool,
        set: SequenceSet,
        folder: Vec<u8>,
        take: bool,
    },
    Search {
        by_uid: bool,
        returns: Option<Vec<String>>,
        key: SearchKey,
    },
}

#[derive(Debug, Default)]
pub(super) struct List {
    pub reference: Vec<u8>,
    pub patterns: Vec<Vec<u8>>,
    pub only_subscribed: bool,
    pub only_special: bool,
    pub return_subscribed: bool,
    pub return_status: Option<Vec<StatusItem>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatusItem {
    Messages,
    Recent,
    UidNext,
    UidValidity,
    Unseen,
    HighestModseq,
    Size,
    MailboxId,
    AppendLimit,
}

/// `SELECT … (QRESYNC (validity modseq [uids]))` (RFC 7162 §3.2.5).
#[derive(Debug)]
pub(super) struct Qresync {
    pub uid_validity: u32,
    pub modseq: u64,
    pub known: Option<SequenceSet>,
}

#[derive(Debug, Clone)]
pub(super) struct Appended {
    pub flags: Vec<String>,
    pub date: Option<InternalDate>,
    pub octets: Bytes,
    /// It came as a literal8: NUL may be in it (RFC 3516).
    pub binary: bool,
    /// It came as UTF8 data: UTF-8 may be in its header (RFC 6855 §4).
    pub utf8: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FetchItem {
    Uid,
    Flags,
    InternalDate,
    Size,
    Modseq,
    EmailId,
    ThreadId,
    BinarySize,
    GmLabels,
    GmMessageId,
    GmThreadId,
    /// `BODY[section]<offset.length>` and its RFC822 forms, which answer by another `name`.
    Body {
        name: String,
        section: Section,
        peek: bool,
        partial: Option<(u64, u64)>,
    },
    /// Legal, but not served here: ENVELOPE, BODYSTRUCTURE, single parts.
    Unserved,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Section {
    All,
    Header,
    Text,
    Fields { names: Vec<String>, except: bool },
}

#[derive(Debug)]
pub(super) struct FlagChange {
    pub how: How,
    pub silent: bool,
    pub flags: Vec<String>,
    pub unchanged_since: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Set,
    Add,
    Remove,
}

#[derive(Debug)]
pub(super) enum SearchKey {
    All,
    And(Vec<SearchKey>),
    Or(Box<(SearchKey, SearchKey)>),
    Not(Box<SearchKey>),
    Numbers(SequenceSet),
    Uids(SequenceSet),
    Flag(String),
    Recent,
    Before(i64),
    On(i64),
    Since(i64),
    Larger(u64),
    Smaller(u64),
    Header { field: String, value: Vec<u8> },
    Body(Vec<u8>),
    Text(Vec<u8>),
    Modseq(u64),
    EmailId(String),
    GmailId(u64),
}

//! What became of a message.

use std::fmt;

use super::error::Error;
use super::mode::WriteMode;

/// What became of one store. There is exactly one per message of a batch, and only `NotSent` may be tried again
/// without looking at the target first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The target holds a complete copy.
    Stored {
        /// The target's id of the copy; empty where the stamp itself finds it.
        id: String,
        /// What the target could not keep, declared (keywords dropped, body truncated …): short names, sorted.
        losses: Vec<&'static str>,
        /// By which way it was written.
        mode: WriteMode,
    },
    /// The target looked at it and said no: nothing was stored.
    Refused(Error),
    /// It never left us, or the target promised it did nothing with it (429, 503 before the body …).
    NotSent(Error),
    /// Sent, and no answer we can trust: a copy, part of one, or none may be there, now or soon.
    Unknown(Error),
}

/// Why a message was deliberately not moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// Larger than what the target takes.
    TooLarge,
    /// The target refused it.
    Refused,
    /// The source could not be read.
    Unreadable,
    /// The target cannot hold it: no octets at all, or not a mail message.
    NotAMessage,
    /// Its outcome could not be found out within the bounded tries.
    Unresolved,
    /// A copy of it may be at the target already, and which one cannot be told.
    Doubtful,
}

impl SkipReason {
    /// Every reason.
    pub const ALL: [SkipReason; 6] = [
        SkipReason::TooLarge,
        SkipReason::Refused,
        SkipReason::Unreadable,
        SkipReason::NotAMessage,
        SkipReason::Unresolved,
        SkipReason::Doubtful,
    ];

    /// The word for it in the ledger, the CSV and the JSON.
    pub const fn word(self) -> &'static str {
        match self {
            SkipReason::TooLarge => "too-large",
            SkipReason::Refused => "refused",
            SkipReason::Unreadable => "unreadable",
            SkipReason::NotAMessage => "not-a-message",
            SkipReason::Unresolved => "unresolved",
            SkipReason::Doubtful => "doubtful",
        }
    }

    /// From its word.
    pub fn from_word(word: &str) -> Option<SkipReason> {
        SkipReason::ALL.into_iter().find(|r| r.word() == word)
    }

    /// What the operator can do about it. One line.
    pub const fn remedy(self) -> &'static str {
        match self {
            SkipReason::TooLarge => {
                "raise the target's size limit (or `max_message`) and run again, or hand the message over as a file"
            }
            SkipReason::Refused => "read the target's reason, repair or export the message, and run again",
            SkipReason::Unreadable => {
                "make the message readable at the source (rights, disk, server log) and run again"
            }
            SkipReason::NotAMessage => "nothing to move; look at it at the source and approve it",
            SkipReason::Unresolved => {
                "run again when the target is calm; `verify` tells whether a copy is there"
            }
            SkipReason::Doubtful => {
                "look for it at the target; if it is not there, hand it over as a file: it is never stored by itself"
            }
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A message deliberately not moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// Its number in its folder.
    pub number: u64,
    /// The source's own name for it, where the source names messages (Maildir base name); else empty.
    pub name: String,
    /// Why.
    pub reason: SkipReason,
    /// What the source or target said, one safe line.
    pub detail: String,
    /// Its size in bytes, if known.
    pub size: Option<u64>,
    /// Its received date in seconds since 1970, if known.
    pub received: Option<i64>,
}

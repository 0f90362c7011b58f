//! Checks the copies, on a code path of its own: the stamps the target tells against the stamps the ledger's facts
//! give; where copies carry no stamp, the ids on record against what is there under them. Nothing is written, at neither
//! end.
//!
//! | sigil | meaning |
//! |---|---|
//! | `=` | the copy is there, complete, once |
//! | `-` | recorded, but missing at the target (without stamps: not where it was put) |
//! | `+` | at the target, but not recorded (or once more than recorded); without stamps this cannot be told |
//! | `*` | there, but it differs: incomplete, shared by two messages, or its outcome is not recorded yet |
//! | `!` | could not be checked |

mod compare;
pub mod content;

pub use compare::{Finding, FolderCheck, MailboxCheck, Recorded, Sigil, compare, recorded};

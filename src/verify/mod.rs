//! Checks the copies, on a code path of its own: the stamps the target tells against the stamps the ledger's facts
//! give. Nothing is written, at neither end.
//!
//! | sigil | meaning |
//! |---|---|
//! | `=` | the copy is there, complete, once |
//! | `-` | recorded, but missing at the target |
//! | `+` | at the target, but not recorded (or once more than recorded) |
//! | `*` | there, but it differs: incomplete, or its outcome is not recorded yet |
//! | `!` | could not be checked |

mod compare;

pub use compare::{Finding, FolderCheck, MailboxCheck, Recorded, Sigil, compare, recorded};

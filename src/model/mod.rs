//! The nouns of a migration: what is moved and what became of it. Depends on nothing else in the crate.

mod body;
mod date;
mod digest;
mod error;
mod flags;
mod folder;
mod form;
mod message;
mod mode;
mod outcome;
mod packed;
mod runset;
mod runtree;
mod stamp;
mod verdict;

pub use body::{Bodies, Body, BodyReader, BodyWriter};
pub use date::Timestamp;
pub use digest::{Digest, Hasher};
pub use error::{Error, Kind, Result, Scope, Status};
pub use flags::{FlagMap, Flags};
pub use folder::{FolderId, FolderPath, SpecialUse};
pub use form::Form;
pub use message::{Fact, Listed, Mailbox, SourceId};
pub use mode::WriteMode;
pub use outcome::{Outcome, Skip, SkipReason};
pub use runset::RunSet;
pub(crate) use runset::{put_varint, take_varint};
pub use runtree::RunTree;
pub use stamp::{MailboxKey, SourceName, Stamp, StampPrefix};
pub use verdict::{Evidence, Verdict, judge};

//! **mailwave** moves many mailboxes from the servers an organisation has into the ones it wants: with nothing lost,
//! nothing twice, at a governed pace, stoppable and resumable at any point.
//!
//! Every copy carries a stamp made once from where its message was first seen; before anything is stored again, the
//! target is asked for it:
//!
//! ```
//! use mailwave::model::{FolderId, MailboxKey, SourceName, Stamp, StampPrefix};
//!
//! let source: SourceName = "acme".parse()?;
//! let mailbox = MailboxKey::of(&source, "ann@example.org");
//! let stamp = Stamp { source, mailbox, folder: FolderId(1), epoch: 1_700_000_000, number: 42 };
//! let text = stamp.to_string();
//! assert_eq!(text.parse::<Stamp>()?, stamp);
//! assert!(StampPrefix::folder(&stamp.source, &stamp.mailbox, FolderId(1)).covers(&stamp));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod engine;
pub mod env;
pub mod guard;
pub mod http;
pub mod imap;
pub mod ledger;
pub mod limit;
#[cfg(feature = "mock")]
pub mod mock;
pub mod model;
pub mod observe;
pub mod plan;
pub mod report;
pub mod simulate;
pub mod source;
pub mod target;
pub mod transform;
pub mod verify;

//! What a migration came to: text, JSON and CSV, from the ledger alone.
//!
//! Reports carry pseudonyms, ordinals and line numbers of `mailboxes.csv`, never an address, a folder's name or a
//! subject.

mod build;
mod csv;
mod table;
mod text;
mod write;

pub use build::{About, LastPass, MailboxReport, Report, RoundTrips, SkippedItem, Totals};
pub use table::{Align, bytes, count, table};
pub use text::shown;
pub use write::{FILES, write};

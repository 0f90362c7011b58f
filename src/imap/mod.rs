//! IMAP4rev1 (RFC 3501) on the wire: framing, grammar, commands, login, connecting. It knows nothing of mailboxes to
//! move; `source::imap` does.
//!
//! Why a framer of our own. A migration must notice every answer: async-imap's streams end silently on a tagged NO
//! or BAD and on BYE, buffer a literal whole, and are finished for good by one line they cannot read. Here
//! - **framing does not depend on grammar** ([`Wire`]): lines and literals are cut by length alone, an answer nobody
//!   understands is counted and skipped, and every command's tagged status is looked at ([`Done`]);
//! - **limits come before allocation** ([`Limits`]), and message octets stream through ([`Receiver`]);
//! - **one writer** ([`Command`]): a string becomes a quoted string or a literal, never syntax;
//! - a connection whose octets cannot be trusted any more (EOF, BYE, limit, wrong literal) is **broken** and refuses
//!   further use.
//!
//! async-imap serves where it is good: the LOGIN command, over a stream that is lent to it one line at a time (see
//! [`login`]). AUTHENTICATE goes through our own framer: async-imap has no initial response (RFC 4959), and its raw
//! form waits for ever on an error challenge.

mod account;
mod answer;
mod backoff;
mod capabilities;
mod command;
mod connect;
mod connection;
mod deflate;
mod dial;
mod error;
mod folders;
mod found;
mod items;
mod lend;
pub mod login;
mod messages;
mod naming;
pub mod presets;
mod quota;
mod response;
mod scan;
#[cfg(test)]
pub(crate) mod script;
mod select;
mod send;
mod server;
mod session;
mod status;
mod tls;
mod told;
mod uids;
pub mod utf7;
mod wire;

pub use account::{AccessToken, Account, TokenGiver};
pub use answer::{Ignore, Receiver, Take};
pub use capabilities::Capabilities;
pub use command::{Begun, Command, is_atom};
pub use connect::{Dial, Endpoint, Security, connect};
pub use connection::Connection;
pub use error::WireError;
pub use found::Found;
pub use items::{BodyItem, FetchItems};
pub use messages::{Change, Copied};
pub use presets::{Habits, Preset};
pub use quota::Quota;
pub use response::Untagged;
pub use select::{Access, Desk, Examined, Resync, SelectOptions};
pub use server::{Compress, Credentials, MasterForm, Server, TlsMode};
pub use session::Session;
pub use status::{AppendUid, Code, CopyUid, Done, Status};
pub use tls::Tls;
pub use told::{FolderStatus, ListEntry, Namespaces};
pub use uids::UidSet;
pub use wire::{Stream, Wire};

/// Bounds on what a server may make us hold. All are checked before memory is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest line, in bytes.
    pub line: usize,
    /// Longest text of one response, its small literals included, in bytes.
    pub response: usize,
    /// Largest literal that is not a message, in bytes.
    pub small_literal: u64,
    /// Largest such literal in a FETCH that is read past instead of breaking the connection, in bytes.
    pub passed_literal: u64,
    /// Literals in one response.
    pub literals: usize,
    /// Untagged responses to one command.
    pub untagged: u64,
    /// Text of all responses to one command, message octets not counted, in bytes.
    pub text: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            line: 1 << 20,
            response: 2 << 20,
            small_literal: 256 << 10,
            passed_literal: 32 << 20,
            literals: 64,
            untagged: 5_000_000,
            text: 1 << 30,
        }
    }
}

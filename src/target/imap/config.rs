//! What an operator says about an IMAP target beyond its server.

use crate::imap::{Credentials, Server};
use crate::model::{Error, Kind, Result, Scope};

/// Largest literal RFC 3501 can announce, in bytes.
pub(super) const LARGEST_LITERAL: u64 = u32::MAX as u64;

/// An IMAP target.
#[derive(Debug, Clone)]
pub struct ImapTargetSettings {
    /// The server and the login.
    pub server: Server,
    /// Names of the folder everything is put below, from the root down; empty: the mailbox's own root.
    pub below: Vec<String>,
    /// Largest message taken, in bytes. `None`: what the server says (APPENDLIMIT, RFC 7889), else its kind's usual limit.
    pub max_message: Option<u64>,
    /// Subscribe to the folders that are made.
    pub subscribe: bool,
    /// Keep keywords where the folder takes them; else they are left out, as a declared loss.
    pub keywords: bool,
    /// Messages of one folder stored with one command (1–200).
    pub batch_messages: usize,
    /// Octets of one batch, in bytes (64 KiB–64 MiB).
    pub batch_bytes: u64,
    /// Stores of one mailbox at once, all over one connection (1–16).
    pub lanes: usize,
    /// Removed copies are expunged; else they are moved to the trash.
    pub expunge_removed: bool,
}

impl ImapTargetSettings {
    /// Settings with the documented defaults.
    pub fn new(host: impl Into<String>, credentials: Credentials) -> ImapTargetSettings {
        ImapTargetSettings::of(Server::new(host, credentials))
    }

    /// The defaults for a server.
    pub fn of(server: Server) -> ImapTargetSettings {
        ImapTargetSettings {
            server,
            below: Vec::new(),
            max_message: None,
            subscribe: true,
            keywords: true,
            batch_messages: 100,
            batch_bytes: 4 << 20,
            lanes: 3,
            expunge_removed: false,
        }
    }

    /// Refuses what can never work or must not be done.
    pub(super) fn check(&self) -> Result<()> {
        self.server.check()?;
        let fits = (1..=200).contains(&self.batch_messages)
            && (64 << 10..=64 << 20).contains(&self.batch_bytes)
            && (1..=16).contains(&self.lanes);
        if fits {
            return Ok(());
        }
        Err(Error::new(
            Kind::Config,
            Scope::Endpoint,
            "the batches or lanes of an IMAP target are out of range",
        )
        .remedy("choose 1 to 200 messages, 64 KiB to 64 MiB and 1 to 16 lanes"))
    }
}

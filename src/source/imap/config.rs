//! What an operator says about an IMAP source beyond its server.

use super::labels::Labels;
use crate::imap::{Credentials, Server};
use crate::model::{Error, Kind, Result, Scope};

/// An IMAP source.
#[derive(Debug)]
pub struct ImapSettings {
    /// The server and the login.
    pub server: Server,
    /// Connections of one mailbox at once, at most (1–16).
    pub connections_per_mailbox: usize,
    /// Namespaces of others and shared ones to read too, by their prefixes as NAMESPACE tells them (`Public/`). Those of
    /// the user are always read.
    pub namespaces: Vec<String>,
    /// If there are any: only these folders are read, and what lies below them. Names as the server lists them.
    pub folders: Vec<String>,
    /// Folders that are left out, and what lies below them.
    pub leave_out: Vec<String>,
    /// What becomes of labels, where the server has them (X-GM-EXT-1).
    pub labels: Labels,
    /// Messages asked for by one FETCH (1–1,000).
    pub fetch_messages: usize,
    /// Messages listed by one FETCH, about (1–100,000).
    pub list_messages: u32,
    /// Bytes of messages fetched of one mailbox in 24 hours, at most; `None`: no limit.
    pub daily_bytes: Option<u64>,
}

impl ImapSettings {
    /// Settings with the documented defaults.
    pub fn new(host: impl Into<String>, credentials: Credentials) -> ImapSettings {
        ImapSettings::of(Server::new(host, credentials))
    }

    /// The defaults for a server of its kind.
    pub fn of(server: Server) -> ImapSettings {
        let preset = server.preset;
        ImapSettings {
            connections_per_mailbox: preset.connections_per_mailbox,
            namespaces: Vec::new(),
            folders: Vec::new(),
            leave_out: preset.leave_out.iter().map(|name| (*name).to_owned()).collect(),
            labels: Labels::default(),
            fetch_messages: 100,
            list_messages: 5_000,
            daily_bytes: preset.daily_bytes,
            server,
        }
    }

    /// Refuses what can never work or must not be done.
    pub(super) fn check(&self) -> Result<()> {
        self.server.check()?;
        let bad = |what: &str, remedy: &str| {
            Err(Error::new(Kind::Config, Scope::Endpoint, what.to_owned()).remedy(remedy))
        };
        if !(1..=16).contains(&self.connections_per_mailbox) {
            return bad("`connections_per_mailbox` is out of range", "choose 1 to 16");
        }
        if !(1..=1_000).contains(&self.fetch_messages) || !(1..=100_000).contains(&self.list_messages) {
            return bad(
                "`fetch_messages` or `list_messages` is out of range",
                "choose 1 to 1,000 and 1 to 100,000",
            );
        }
        Ok(())
    }
}

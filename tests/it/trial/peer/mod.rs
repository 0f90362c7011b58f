//! The targets of the trial: what goes wrong with each, and its truth in one form.

mod ews;
mod graph;
mod imap;
mod maildir;
mod numbered;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use mailwave::env::{Env, Step};
use mailwave::mock::ews::EwsMock;
use mailwave::mock::graph::GraphMock;
use mailwave::mock::imap::ImapMock;
use mailwave::model::{Flags, WriteMode};
use mailwave::target::Target;

use super::content::Content;
use super::world::VirtualClock;
use crate::support::numbered::{NumberedTarget, Server};

/// Attachments above this many octets go by upload session on this stage: small, so that a thousand runs are cheap.
pub const UPLOAD_FROM: u64 = 4_000;

/// Which target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// The mock Graph, messages as JSON: copies carry stamps.
    Graph,
    /// The mock Graph, messages as MIME.
    ImportMime,
    /// The mock of Exchange Web Services.
    Ews,
    /// The mock IMAP server, over a pipe.
    Imap,
    /// Maildir++ trees.
    Maildir,
    /// Numbered folders in memory: copies are known by id alone.
    Numbered,
    /// As before, and the server changes some messages.
    Altering,
}

impl To {
    /// Does a story with this target make such a step?
    pub fn passes(self, step: Step) -> bool {
        match step {
            Step::TargetStorePart => matches!(self, To::Graph),
            Step::TargetStoreDone => matches!(self, To::Graph | To::ImportMime),
            _ => true,
        }
    }

    /// Does a copy have the octets of its original?
    pub fn keeps_octets(self) -> bool {
        matches!(self, To::Imap | To::Maildir | To::Numbered)
    }
}

/// What the target holds: mailbox and folder → copies, sorted; a copy as far as it must not depend on cuts: everything
/// but ids and times of creation.
pub type Held = BTreeMap<(String, String), Vec<String>>;

/// A target's truth.
pub struct Account {
    pub held: Held,
    /// Messages of others among them.
    pub foreign: usize,
    /// Another number whenever something was written.
    pub writes: u64,
    /// What is wrong with it; empty if nothing.
    pub wrong: Vec<String>,
    pub faults: BTreeMap<String, u64>,
    /// Most stores under way at once in one mailbox, where it is counted.
    pub peak: Option<u32>,
}

/// The target of one story.
pub enum Peer {
    Graph(Arc<GraphMock>, Vec<WriteMode>),
    Ews(Arc<EwsMock>),
    Imap(Arc<ImapMock>, Mutex<usize>),
    Maildir(PathBuf),
    Numbered(Arc<Mutex<Server>>),
}

impl Peer {
    /// Before anything is copied; `content` is what the source holds.
    pub fn new(to: To, seed: u64, clock: &Arc<VirtualClock>, content: &Content, dir: &Path) -> Peer {
        match to {
            To::Graph => Peer::Graph(graph::mock(to, seed, clock), vec![WriteMode::Json]),
            To::ImportMime => {
                Peer::Graph(graph::mock(to, seed, clock), vec![WriteMode::ImportMime, WriteMode::Json])
            }
            To::Ews => Peer::Ews(ews::mock(seed, clock)),
            To::Imap => Peer::Imap(imap::mock(seed, clock, content), Mutex::new(2 * content.mailboxes.len())),
            To::Maildir => Peer::Maildir(dir.join("to")),
            To::Numbered | To::Altering => {
                Peer::Numbered(Arc::new(Mutex::new(numbered::server(to, content))))
            }
        }
    }

    /// What happens at the target between the passes: mail of others comes.
    pub fn users_change_things(&self, content: &Content) {
        const HI: &[u8] = b"Subject: hi\r\n\r\ny\r\n";
        for name in &content.mailboxes {
            match self {
                Peer::Numbered(server) => {
                    server.lock().unwrap().deliver(&address(name), "INBOX", HI, Flags::default(), 2);
                }
                Peer::Imap(mock, foreign) => {
                    imap::deliver(mock, name, HI, &[], 2);
                    *foreign.lock().unwrap() += 1;
                }
                _ => {}
            }
        }
    }

    pub fn target(&self, env: &Env, clock: &Arc<VirtualClock>) -> Arc<dyn Target> {
        match self {
            Peer::Graph(mock, modes) => super::graph::writing(env, mock, UPLOAD_FROM, modes),
            Peer::Ews(mock) => ews::target(env, mock),
            Peer::Imap(mock, _) => imap::target(env, mock),
            Peer::Maildir(root) => maildir::target(env, root),
            Peer::Numbered(server) => {
                Arc::new(NumberedTarget { env: env.clone(), world: clock.clone(), server: server.clone() })
            }
        }
    }

    pub fn account(&self) -> Account {
        match self {
            Peer::Graph(mock, _) => graph::account(&mock.truth()),
            Peer::Ews(mock) => ews::account(&mock.truth()),
            Peer::Imap(mock, foreign) => imap::account(mock, *foreign.lock().unwrap()),
            Peer::Maildir(root) => maildir::account(root),
            Peer::Numbered(server) => numbered::account(&server.lock().unwrap()),
        }
    }
}

/// The target's name of a mailbox.
pub fn address(name: &str) -> String {
    format!("{name}@example.org")
}

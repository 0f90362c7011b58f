//! A mock IMAP4rev1 server (RFC 3501): strict with its clients, spoiled by a fault script, and knowing the truth.
//!
//! ```text
//! Store   users, folders, messages: in memory, a read-only view of Maildirs, or made up when asked for ([`made`])
//! Rule    what goes wrong, when, and how often it did
//! Quirks  what a server does beside the standards, always
//! ImapMock → serve_connection(any stream) | listen(address) → ImapServer
//! ```
//! It is deterministic, waits only by [`World::sleep`], and shares no code with the clients it judges. What it does not
//! do: taking messages apart (ENVELOPE, BODYSTRUCTURE, single parts: answered NO), IDLE, access lists.

mod change;
mod command;
mod cursor;
mod date;
mod fault;
mod fetch;
mod folders;
mod gmail;
mod interfere;
mod items;
mod login;
pub mod made;
mod maildir;
mod names;
mod options;
mod parse;
mod quirks;
mod scram;
mod search;
mod select;
mod server;
mod session;
mod set;
mod squeeze;
mod store;
mod view;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};

pub use date::InternalDate;
pub use fault::{Act, Fate, Noise, Rule};
pub use options::{Greeting, ImapOptions, Users};
pub use quirks::Quirks;
pub use server::{ImapServer, SelfSigned};
pub use store::{Store, Truth};

use crate::mock::World;
use wire::End;

/// A mock IMAP server: its mail, its fault script, and what it heard.
pub struct ImapMock {
    options: ImapOptions,
    world: Arc<dyn World>,
    script: fault::Script,
    mail: Mutex<Store>,
    /// Secrets that were changed while it runs.
    secrets: Mutex<BTreeMap<String, String>>,
    /// Messages that were taken and are not there yet.
    late: Mutex<Vec<change::Late>>,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    heard: Vec<Heard>,
    counters: Counters,
    logged_in: BTreeMap<String, usize>,
}

/// A command as it was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The connection's number (the first is 1).
    pub connection: u64,
    /// The verb in capitals; `UID FETCH` is one.
    pub verb: String,
    /// The command's first 1,000 octets up to its first literal, without the tag; only the verb for LOGIN and
    /// AUTHENTICATE.
    pub line: String,
}

/// What happened so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections ever made.
    pub connections: u64,
    /// Connections open now.
    pub open: u64,
    /// The most that were open at once.
    pub most_open: u64,
    /// Logins that succeeded.
    pub logins: u64,
    /// Commands by verb.
    pub commands: BTreeMap<String, u64>,
    /// FETCH answers that needed a message's octets.
    pub messages_served: u64,
    /// Octets sent, before TLS, by connections that ended.
    pub octets_sent: u64,
}

/// So many different verbs are counted by name; a fuzzer's inventions beyond that are `other`.
const MOST_VERBS: usize = 200;
/// So much of a line is kept in the log, in octets.
const LOGGED_LINE: usize = 1000;

/// A lock whose holder panicked is taken all the same: a mock in a failing test shall not hide the failure.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ImapMock {
    /// A server without mail and without faults.
    pub fn new(options: ImapOptions, world: Arc<dyn World>) -> Arc<ImapMock> {
        let store = Store::new(options.separator);
        Arc::new(ImapMock {
            options,
            world,
            script: fault::Script::default(),
            mail: Mutex::new(store),
            secrets: Mutex::default(),
            late: Mutex::default(),
            log: Mutex::default(),
        })
    }

    /// The mail, to fill, change and compare. Do not hold the guard across an await: the server needs it.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.mail)
    }

    /// From now on this is the user's password, or token: what was right before is so no longer.
    pub fn change_secret(&self, user: &str, secret: &str) {
        lock(&self.secrets).insert(user.to_owned(), secret.to_owned());
    }

    /// Serves the Maildirs under `root`: each folder in it that is a Maildir (or has one in `Maildir`) is the mail of the
    /// user with its name; a `root` that is a Maildir itself is the mail of the user with *its* name. Gives their number.
    ///
    /// # Errors
    /// Where the folder cannot be listed.
    pub fn serve_maildirs(&self, root: &Path) -> std::io::Result<usize> {
        let mut candidates = vec![root.to_owned()];
        for entry in std::fs::read_dir(root)? {
            candidates.push(entry?.path());
        }
        candidates.sort();
        let mut served = 0;
        for path in candidates {
            let maildir = [path.clone(), path.join("Maildir")].into_iter().find(|p| p.join("cur").is_dir());
            let user = path.file_name().and_then(|n| n.to_str()).filter(|n| !n.starts_with('.'));
            if let (Some(maildir), Some(user)) =
                (maildir, user.filter(|u| !["cur", "new", "tmp"].contains(u)))
            {
                self.store().add_maildir(user, &maildir)?;
                served += 1;
            }
        }
        Ok(served)
    }

    /// Nothing goes wrong from now on.
    pub fn clear_script(&self) {
        self.script.clear();
    }

    /// Adds rules to the fault script. All rules that match a command act on it, in the order they were added.
    pub fn script(&self, rules: impl IntoIterator<Item = Rule>) {
        self.script.add(rules);
    }

    /// Each rule and how often it really acted, in the order they were added.
    pub fn fired(&self) -> Vec<(String, u64)> {
        self.script.fired()
    }

    /// The rules that never acted: a test that expects its faults asserts that there are none.
    pub fn unfired(&self) -> Vec<String> {
        self.script.fired().into_iter().filter(|(_, fired)| *fired == 0).map(|(rule, _)| rule).collect()
    }

    /// The commands heard so far, in order, up to the log's limit.
    pub fn heard(&self) -> Vec<Heard> {
        lock(&self.log).heard.clone()
    }

    /// The verbs heard so far, in order, up to the log's limit.
    pub fn verbs(&self) -> Vec<String> {
        lock(&self.log).heard.iter().map(|h| h.verb.clone()).collect()
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        lock(&self.log).counters.clone()
    }

    /// Serves one connection to its end, over whatever stream. A reset is an end of stream here; over TCP
    /// ([`ImapMock::listen`]) it is a real one.
    pub async fn serve_connection<S>(self: Arc<Self>, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        self.serve(stream, false).await;
    }

    async fn serve<S>(&self, stream: S, secure: bool) -> (End, Option<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let number = {
            let counters = &mut lock(&self.log).counters;
            counters.connections += 1;
            counters.open += 1;
            counters.most_open = counters.most_open.max(counters.open);
            counters.connections
        };
        let _open = Open(self);
        session::Session::new(self, stream, number, secure).run().await
    }

    fn hear(&self, connection: u64, verb: &str, line: &[u8]) {
        let mut log = lock(&self.log);
        let counters = &mut log.counters.commands;
        let known = counters.len() < MOST_VERBS || counters.contains_key(verb);
        *counters.entry(if known { verb } else { "other" }.to_owned()).or_default() += 1;
        if log.heard.len() < self.options.log_limit {
            let secret = verb == "LOGIN" || verb == "AUTHENTICATE";
            let rest = line.iter().position(|&b| b == b' ').map_or(&[][..], |at| &line[at + 1..]);
            let shown = if secret { verb.as_bytes() } else { &rest[..rest.len().min(LOGGED_LINE)] };
            let line = String::from_utf8_lossy(shown).into_owned();
            log.heard.push(Heard { connection, verb: verb.to_owned(), line });
        }
    }

    fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut lock(&self.log).counters);
    }

    /// Serves the mail that a law makes up. Nothing of a mailbox is kept once its last connection has ended, unless a
    /// client has changed something in it.
    pub fn serve_made(&self, law: made::Law) {
        self.store().made = Some(law);
    }

    fn logged_in(&self, user: &str) -> LoggedIn<'_> {
        let mut log = lock(&self.log);
        log.counters.logins += 1;
        *log.logged_in.entry(user.to_owned()).or_default() += 1;
        LoggedIn { mock: self, user: user.to_owned() }
    }

    fn connections_of(&self, user: &str) -> usize {
        lock(&self.log).logged_in.get(user).copied().unwrap_or(0)
    }
}

/// An open connection; dropped with the task that serves it, however that ends.
struct Open<'a>(&'a ImapMock);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.count(|c| c.open = c.open.saturating_sub(1));
    }
}

/// A login; it ends with the task that serves the connection, too.
struct LoggedIn<'a> {
    mock: &'a ImapMock,
    user: String,
}

impl Drop for LoggedIn<'_> {
    fn drop(&mut self) {
        let last = {
            let mut log = lock(&self.mock.log);
            let count = log.logged_in.get_mut(&self.user).map(|count| {
                *count = count.saturating_sub(1);
                *count
            });
            count == Some(0) && log.logged_in.remove(&self.user).is_some()
        };
        if last {
            // Whoever logs in meanwhile is counted before its mail is made, and found here.
            let mut store = self.mock.store();
            if self.mock.connections_of(&self.user) == 0 {
                store.forget_made(&self.user);
            }
        }
    }
}

impl fmt::Debug for ImapMock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImapMock").field("options", &self.options).finish_non_exhaustive()
    }
}

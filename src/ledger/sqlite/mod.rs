//! The ledger embedded in SQLite: one directory, one writing process.
//!
//! ```text
//! ledger/ledger.db            the database (and its -wal, -shm while open)
//! ledger/facts-000001.seg …   the facts log, see `ledger::facts`
//! ledger/lock                 held by the process that writes
//! ```
//! The directory is 0700, the files 0600.

mod audit;
mod change;
mod check;
mod core;
mod disk;
mod error;
mod inline;
mod items;
mod lock;
mod messages;
mod packed;
mod reader;
mod rest;
mod rows;
mod schema;
mod summary;
#[doc(hidden)]
pub mod synthetic;
mod tables;
mod thread;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rusqlite::types::Value;

use self::core::{Answer, Core, Work};
use self::error::{damaged, io};
use self::inline::Inline;
use self::lock::Lock;
use self::reader::Reader;
use self::tables::Meta;
use self::thread::Threads;
use super::facts::{FactsReader, FactsWriter, check_segments, has_segments};
use super::{Applied, Change, Claim, FactsCursor, Ledger, MailboxState};
use crate::env::{Env, Step};
use crate::guard::Shown;
use crate::model::{Error, Fact, FolderId, Kind, Mailbox, Result, RunSet, Scope, SourceName};

pub use self::audit::{Audit, Finding, audit, writer_of};
pub use self::reader::SqliteView;

/// The database's file name.
const DATABASE: &str = "ledger.db";
/// Most changes of one group commit.
const GROUP_MOST: usize = 1000;

/// How a ledger is opened.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// The operator's name of the source installation. A ledger made for another one is refused: stamps carry it.
    pub source_name: SourceName,
    /// Where the endpoints lie, one a line: its name, a tab, its place. A ledger in which one of these names has
    /// another place is refused; new names are added.
    pub config_fingerprint: String,
    /// Longest time a group commit waits for as many changes as the one before it had, in milliseconds. In
    /// simulation: the virtual time it always waits.
    pub group_ms: u64,
    /// No threads: everything happens on the caller's runtime, passing step points. For simulation.
    pub inline: bool,
    /// A facts segment of this many bytes is followed by another one.
    pub segment_bytes: u64,
    /// A database of up to so many bytes is checked whole when it is opened. Of a larger one only the mailboxes' own
    /// rows are, so that a run begins soon however much is done; the rest is checked mailbox by mailbox, each before it is
    /// worked on.
    pub check_whole_bytes: u64,
    /// It may lie on a file system of a network, which is refused else.
    pub on_network: bool,
    /// For trials only: intents are acknowledged before they are durable. It breaks the ledger's promise, to show
    /// that the crash trial notices.
    #[doc(hidden)]
    pub acknowledge_intents_early: bool,
}

impl LedgerOptions {
    /// The defaults: 20 ms, threads, segments of 256 MiB, a database of up to 64 MiB checked whole, on a local disk.
    pub fn new(source_name: SourceName, config_fingerprint: impl Into<String>) -> LedgerOptions {
        LedgerOptions {
            source_name,
            config_fingerprint: config_fingerprint.into(),
            group_ms: 20,
            inline: false,
            segment_bytes: 256 << 20,
            check_whole_bytes: 64 << 20,
            on_network: false,
            acknowledge_intents_early: false,
        }
    }
}

/// The ledger in a directory, opened for writing. Dropping it closes it: what was answered is durable, what was not
/// is undone or finished. With threads, dropping blocks for as long as a commit takes (some milliseconds).
pub struct SqliteLedger {
    env: Env,
    driver: Driver,
}

enum Driver {
    Threads(Threads),
    Inline(Inline),
}

impl std::fmt::Debug for SqliteLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteLedger")
    }
}

impl SqliteLedger {
    /// Opens the ledger in `dir`, making it if it is not there. Blocks: what is in it is checked, see
    /// [`LedgerOptions::check_whole_bytes`].
    ///
    /// # Errors
    /// `Kind::Ledger`, `Scope::Run`: another process uses it; it was made for another source name or configuration,
    /// or by a later version; it is damaged; it cannot be read or written.
    pub fn open(env: &Env, dir: &Path, options: LedgerOptions) -> Result<SqliteLedger> {
        let core = open_core(env, dir, &options)?;
        let driver = if options.inline {
            Driver::Inline(Inline::start(env, core, Reader::open(dir)?, &options))
        } else {
            Driver::Threads(Threads::start(env, core, dir, &options)?)
        };
        Ok(SqliteLedger { env: env.clone(), driver })
    }

    /// For trials, with the inline driver: the facts segment written last and how many of its bytes are synced. The
    /// bytes beyond may be lost in a power cut.
    pub fn facts_synced(&self) -> Option<(PathBuf, u64)> {
        match &self.driver {
            Driver::Inline(inline) => inline.synced(),
            Driver::Threads(_) => None,
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Reader) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match &self.driver {
            Driver::Threads(threads) => threads.read(read).await,
            Driver::Inline(inline) => inline.read(read),
        }
    }

    async fn work(&self, work: Work) -> Result<Answer> {
        match &self.driver {
            Driver::Threads(threads) => threads.work(work).await,
            Driver::Inline(inline) => inline.work(work).await,
        }
    }
}

fn open_core(env: &Env, dir: &Path, options: &LedgerOptions) -> Result<Core> {
    if !options.on_network {
        disk::refuse_network(dir)?;
    }
    make_dir(dir)?;
    let mut lock = Lock::take(&dir.join("lock"))?;
    let path = dir.join(DATABASE);
    let wal = dir.join(format!("{DATABASE}-wal"));
    if !path.exists() {
        if has_segments(dir) || wal.exists() {
            return Err(damaged("ledger.db is missing, other files of it are there"));
        }
        let meta = Meta {
            ledger: env.random(u64::MAX),
            source_name: options.source_name.to_string(),
            config: options.config_fingerprint.clone(),
            groups: 0,
            mailboxes: 0,
            segments: 0,
            next_batch: 1,
        };
        schema::create(&path, |conn| rows::put(conn, &meta))?;
    } else if lock.was_running && wal.metadata().map_or(0, |m| m.len()) == 0 {
        let what = "the ledger was not closed in order and its write-ahead log is gone: commits may be lost";
        return Err(Error::new(Kind::Ledger, Scope::Run, what).remedy(
            "if a database tool has opened and closed ledger.db since, nothing is lost: remove the file `lock` and \
             run again; else restore the ledger directory from a backup",
        ));
    }
    let size = path.metadata().map_or(0, |m| m.len()).saturating_add(wal.metadata().map_or(0, |m| m.len()));
    let whole = size <= options.check_whole_bytes;
    let conn = schema::open_writer(&path, whole)?;
    let meta: Option<Meta> = rows::get(&conn, &[Value::Integer(1)])?;
    let mut meta = meta.ok_or_else(|| damaged("its first row is missing"))?;
    meta.config = belongs(&meta, options)?;
    let marks = match whole {
        true => check::whole(&conn, &meta, &mut check::refuse)?.0,
        false => check::top(&conn, &meta, &mut check::refuse, &mut |_, _| Ok(()))?,
    };
    check_segments(dir, meta.ledger, &marks, meta.groups)?;
    // A first commit, so that the write-ahead log exists from here on.
    meta.groups = meta.groups.saturating_add(1);
    rows::put(&conn, &meta)?;
    lock.running()?;
    let writer = FactsWriter::new(dir, meta.ledger, options.segment_bytes, marks.last().cloned());
    let reader = FactsReader::new(dir, meta.ledger);
    Ok(Core::new(env.clone(), conn, writer, reader, meta, lock))
}

/// Is the ledger of this source name, and does every endpoint lie where it lay? Endpoints may come and go. Gives the
/// endpoints known from now on.
fn belongs(meta: &Meta, options: &LedgerOptions) -> Result<String> {
    let refuse = |what: String, remedy: &str| Err(Error::new(Kind::Ledger, Scope::Run, what).remedy(remedy));
    if meta.source_name != options.source_name.to_string() {
        let what = format!(
            "this ledger was made for the source name \"{}\", the configuration says \"{}\"",
            meta.source_name, options.source_name
        );
        return refuse(what, "set the source name back, or name another directory with `ledger`");
    }
    let begun = places(&meta.config);
    let mut all = begun.clone();
    for (name, now) in places(&options.config_fingerprint) {
        if let Some(then) = begun.get(name).filter(|then| **then != now) {
            let what = format!(
                "the configuration's {} lies elsewhere than when this ledger was begun: it was \"{}\" and is \"{}\"",
                Shown(name),
                Shown(then),
                Shown(now)
            );
            return refuse(
                what,
                "set it back, give what is new a name of its own, or name another directory with `ledger`",
            );
        }
        all.insert(name, now);
    }
    Ok(all.iter().map(|(name, place)| format!("{name}\t{place}\n")).collect())
}

/// The endpoints of a fingerprint, by name. A text that names none is one place without a name.
fn places(fingerprint: &str) -> BTreeMap<&str, &str> {
    fingerprint.lines().map(|line| line.split_once('\t').unwrap_or(("", line))).collect()
}

fn make_dir(dir: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.exists()).collect();
    let made = builder.create(dir).and_then(|()| {
        // Else a power cut could take the directory with all that is in it.
        #[cfg(unix)]
        for parent in missing.iter().filter_map(|d| d.parent()) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            std::fs::File::open(parent)?.sync_all()?;
        }
        Ok(())
    });
    made.map_err(|e| io("the ledger's directory cannot be made", &e))
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn claim(&self, mailbox: &Mailbox) -> Result<Claim> {
        self.env.step(Step::Claim).await;
        match self.work(Work::Claim(Box::new(mailbox.clone()))).await? {
            Answer::Claim(claim) => Ok(claim),
            other => Err(mixed_up(&other)),
        }
    }

    async fn load(&self, claim: &Claim) -> Result<MailboxState> {
        let claim = claim.clone();
        self.read(move |reader| reader.load(&claim)).await
    }

    async fn facts_from(
        &self,
        claim: &Claim,
        folder: FolderId,
        from: FactsCursor,
    ) -> Result<(Vec<Fact>, Option<FactsCursor>)> {
        let claim = claim.clone();
        self.read(move |reader| reader.facts_from(&claim, folder, from)).await
    }

    async fn facts_of(
        &self,
        claim: &Claim,
        folder: FolderId,
        epoch: u64,
        numbers: &RunSet,
    ) -> Result<Vec<Fact>> {
        let (claim, numbers) = (claim.clone(), numbers.clone());
        self.read(move |reader| reader.facts_of(&claim, folder, (epoch, &numbers))).await
    }

    async fn number(&self, claim: &Claim, folder: FolderId, count: u64) -> Result<u64> {
        match self.work(Work::Number { claim: claim.clone(), folder, count }).await? {
            Answer::Number(first) => Ok(first),
            other => Err(mixed_up(&other)),
        }
    }

    async fn apply(&self, claim: &Claim, change: Change) -> Result<Applied> {
        match self.work(Work::Apply { claim: claim.clone(), change: Box::new(change) }).await? {
            Answer::Applied(applied) => Ok(applied),
            other => Err(mixed_up(&other)),
        }
    }
}

fn mixed_up(answer: &Answer) -> Error {
    let what = match answer {
        Answer::Claim(_) => "a claim",
        Answer::Number(_) => "a number",
        Answer::Applied(_) => "a change",
    };
    Error::new(Kind::Internal, Scope::Run, format!("the ledger answered with {what} to another question"))
}

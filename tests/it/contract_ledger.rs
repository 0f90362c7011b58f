//! The contract of `ledger::Ledger`: one suite, run for the ledger's threaded and its inline driver; then what only an
//! embedded ledger has: files that can be copied, cut, flipped and lost.

mod cuts;
mod damage;
mod model;
mod rest;
mod suite;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mailwave::env::{Env, Step, StepObserver};
use mailwave::ledger::sqlite::{LedgerOptions, SqliteLedger};
use mailwave::ledger::{
    Applied, BatchId, Change, Claim, FolderRow, IntentItem, Ledger, MailboxState, Outcomes, Stored,
};
use mailwave::model::{
    Digest, Fact, Flags, FolderId, FolderPath, Mailbox, MailboxKey, Result, Skip, SkipReason, SourceId,
    SourceName, Stamp, Timestamp,
};
use tempfile::TempDir;

/// Midnight of 2026-11-21, in milliseconds since 1970.
const WALL: i64 = 1_795_219_200_000;

fn source() -> SourceName {
    "acme".parse().unwrap()
}

/// Where a ledger is tried: a directory, a world, a driver.
struct Bed {
    dir: TempDir,
    env: Env,
    inline: bool,
    /// Treated as a large one, which is checked mailbox by mailbox.
    large: bool,
}

impl Bed {
    fn options(&self) -> LedgerOptions {
        let mut options = LedgerOptions::new(source(), "graph+imap");
        options.inline = self.inline;
        if self.large {
            options.check_whole_bytes = 0;
        }
        options
    }

    fn dir(&self) -> std::path::PathBuf {
        self.dir.path().join("state").join("ledger")
    }

    fn open(&self) -> SqliteLedger {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<SqliteLedger> {
        SqliteLedger::open(&self.env, &self.dir(), self.options())
    }

    /// A ledger opened on a copy of the files as they are now.
    fn copy(&self) -> Bed {
        let bed = Bed {
            dir: TempDir::new().unwrap(),
            env: self.env.clone(),
            inline: self.inline,
            large: self.large,
        };
        copy_dir(&self.dir(), &bed.dir());
        bed
    }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Lets everything pass up to the chosen step of its kind, then freezes the world.
struct Freeze {
    kind: Option<Step>,
    after: u64,
    seen: AtomicU64,
    frozen: std::sync::atomic::AtomicBool,
}

impl Freeze {
    fn never() -> Arc<Freeze> {
        Freeze::at(None, 0)
    }

    fn at(kind: Option<Step>, after: u64) -> Arc<Freeze> {
        Arc::new(Freeze { kind, after, seen: AtomicU64::new(0), frozen: false.into() })
    }
}

impl StepObserver for Freeze {
    fn pass(&self, step: Step) -> bool {
        if Some(step) == self.kind && self.seen.fetch_add(1, Ordering::SeqCst) >= self.after {
            self.frozen.store(true, Ordering::SeqCst);
        }
        !self.frozen.load(Ordering::SeqCst)
    }
}

/// Runs a test with a driver: on a thread of its own with real time, or simulated with paused time.
fn on<F: Future<Output = ()>>(inline: bool, test: impl FnOnce(Bed) -> F) {
    on_world(inline, Freeze::never(), test);
}

fn on_world<F: Future<Output = ()>>(inline: bool, freeze: Arc<Freeze>, test: impl FnOnce(Bed) -> F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(inline).build().unwrap();
    runtime.block_on(async {
        let env = Env::simulated(7, WALL, freeze);
        test(Bed { dir: TempDir::new().unwrap(), env, inline, large: false }).await;
    });
}

fn mailbox(name: &str) -> Mailbox {
    Mailbox {
        key: MailboxKey::of(&source(), name),
        source: name.to_owned(),
        target: format!("{name}@new.example"),
        source_endpoint: "old".to_owned(),
        target_endpoint: "new".to_owned(),
        target_place: String::new(),
        wave: String::new(),
        priority: 0,
    }
}

fn folder_row(id: Option<FolderId>, epoch: u64) -> FolderRow {
    FolderRow {
        id,
        path: FolderPath::inbox().child("Größe/../\u{1b}[31m"),
        special: None,
        object_id: Some("F1".to_owned()),
        epoch,
        target_folder: "AAMk=".to_owned(),
    }
}

fn fact(epoch: u64, number: u64) -> Fact {
    Fact {
        epoch,
        number,
        name: String::new(),
        target_id: format!("AAMkAGI2-{epoch}-{number}"),
        digest: Some(Digest::of(&number.to_le_bytes())),
        size: number.saturating_add(1000),
        received: Some(Timestamp { seconds: 1_600_000_000i64.wrapping_add(number as i64), zone: 60 }),
        header: 0,
        object: 0,
        bound: None,
        losses: String::new(),
        mode: mailwave::model::WriteMode::Usual,
    }
}

fn seen() -> Flags {
    Flags { seen: true, ..Flags::default() }
}

fn stored(epoch: u64, number: u64) -> Stored {
    Stored { fact: fact(epoch, number), from: number, flags: seen() }
}

fn skip(number: u64) -> Skip {
    Skip {
        number,
        name: format!("{number}.M1P2.host"),
        reason: SkipReason::TooLarge,
        detail: "160 MB, the target takes 150 MB".to_owned(),
        size: Some(160 << 20),
        received: Some(1_600_000_000),
    }
}

fn stamp(name: &str, folder: FolderId, epoch: u64, number: u64) -> Stamp {
    Stamp { source: source(), mailbox: MailboxKey::of(&source(), name), folder, epoch, number }
}

fn item(number: u64) -> IntentItem {
    IntentItem { number, id: SourceId::Number(number), size: Some(1000 + number) }
}

async fn add_folder(ledger: &SqliteLedger, claim: &Claim, row: FolderRow) -> FolderId {
    match ledger.apply(claim, Change::Folder(row)).await.unwrap() {
        Applied::Folder(id) => id,
        other => panic!("{other:?}"),
    }
}

async fn intent(
    ledger: &SqliteLedger,
    claim: &Claim,
    folder: FolderId,
    epoch: u64,
    numbers: &[u64],
) -> BatchId {
    let items = numbers.iter().copied().map(item).collect();
    match ledger.apply(claim, Change::Intent { folder, epoch, anchor: String::new(), items }).await.unwrap() {
        Applied::Batch(id) => id,
        other => panic!("{other:?}"),
    }
}

async fn outcome(ledger: &SqliteLedger, claim: &Claim, batch: BatchId, outcomes: Outcomes) {
    let applied = ledger.apply(claim, Change::Outcome { batch, outcomes }).await.unwrap();
    assert_eq!(applied, Applied::Done);
}

/// Intends and stores these numbers.
async fn store(ledger: &SqliteLedger, claim: &Claim, folder: FolderId, epoch: u64, numbers: &[u64]) {
    let batch = intent(ledger, claim, folder, epoch, numbers).await;
    let stored = numbers.iter().map(|n| stored(epoch, *n)).collect();
    outcome(ledger, claim, batch, Outcomes { stored, ..Outcomes::default() }).await;
}

/// All that can be read of a mailbox, as text to compare.
async fn everything(ledger: &SqliteLedger, claim: &Claim) -> String {
    let state = ledger.load(claim).await.unwrap();
    let mut out = show(&state);
    for folder in &state.folders {
        out.push_str(&format!("{:?}\n", ledger.facts(claim, folder.id).await.unwrap()));
    }
    out
}

/// A state as text; the names of folders too, which `Debug` hides.
fn show(state: &MailboxState) -> String {
    let names: Vec<_> = state.folders.iter().map(|f| f.path.names().to_vec()).collect();
    format!("{state:#?}\n{names:?}\n")
}

/// A number of a row of the database.
fn count(dir: &Path, query: &str) -> i64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = rusqlite::Connection::open_with_flags(dir.join("ledger.db"), flags).unwrap();
    conn.query_row(query, [], |row| row.get(0)).unwrap()
}

//! The ledger's cases: its own code, SQLite and the facts' log, without threads. What a sync costs the kernel is not counted.

use mailwave::env::Env;
use mailwave::ledger::sqlite::synthetic::{DrawnFolder, DrawnMailbox, fill};
use mailwave::ledger::sqlite::{LedgerOptions, SqliteLedger};
use mailwave::ledger::{
    Applied, Change, Claim, FolderRow, IntentItem, Ledger, Outcomes, PassSummary, Stored,
};
use mailwave::model::{
    Digest, Fact, FlagMap, Flags, FolderId, FolderPath, Mailbox, MailboxKey, RunSet, SourceId, Timestamp,
    WriteMode,
};

use crate::cases::{run, source_name};

const BATCH: u64 = 20;
/// Of a mailbox that is on record.
const FOLDERS: u64 = 40;
const MESSAGES: u64 = 300;
const FACTS: u64 = 10_000;

/// Without threads: a simulated world has none.
pub fn options() -> LedgerOptions {
    LedgerOptions { inline: true, ..LedgerOptions::new(source_name(), "bench") }
}

pub fn mailbox_named(name: &str) -> Mailbox {
    Mailbox {
        key: MailboxKey::of(&source_name(), name),
        source: name.to_owned(),
        target: format!("{name}@example.org"),
        source_endpoint: "old".to_owned(),
        target_endpoint: "new".to_owned(),
        target_place: String::new(),
        wave: String::new(),
        priority: 0,
    }
}

fn row(n: u64) -> FolderRow {
    let path =
        if n == 0 { FolderPath::inbox() } else { FolderPath::new(vec![format!("Folder {n}")]).unwrap() };
    FolderRow {
        id: None,
        path,
        special: None,
        object_id: None,
        epoch: 1_700_000_000 + n,
        target_folder: format!("AQMkAG{n:0114}"),
    }
}

fn fact(epoch: u64, number: u64) -> Fact {
    Fact {
        epoch,
        number,
        name: String::new(),
        target_id: format!("AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A-{number:020}"),
        digest: Some(Digest::of(&number.to_le_bytes())),
        size: 2_000 + number * 37 % 150_000,
        received: Some(Timestamp::utc(1_500_000_000 + i64::try_from(number).unwrap() * 977)),
        header: number + 1,
        object: 0,
        bound: None,
        losses: String::new(),
        mode: WriteMode::Usual,
    }
}

/// Twenty messages at a time: what is about to be moved, and that it was.
pub fn batches(times: u32) {
    run(async |env| {
        let dir = tempfile::tempdir().unwrap();
        let ledger = SqliteLedger::open(&env, &dir.path().join("ledger"), options()).unwrap();
        let claim = ledger.claim(&mailbox_named("ann")).await.unwrap();
        let Applied::Folder(folder) = ledger.apply(&claim, Change::Folder(row(0))).await.unwrap() else {
            panic!("no folder")
        };
        for batch in 0..u64::from(times) {
            record(&ledger, &claim, folder, batch * BATCH).await;
        }
    });
}

async fn record(ledger: &SqliteLedger, claim: &Claim, folder: FolderId, above: u64) {
    let epoch = row(0).epoch;
    let item = |number| IntentItem { number, id: SourceId::Number(number), size: Some(75_000) };
    let items = (above + 1..=above + BATCH).map(item).collect();
    let intent = Change::Intent { folder, epoch, anchor: String::new(), items };
    let Applied::Batch(batch) = ledger.apply(claim, intent).await.unwrap() else { panic!("no batch") };
    let flags = || Flags { seen: true, ..Flags::default() };
    let stored =
        (above + 1..=above + BATCH).map(|n| Stored { fact: fact(epoch, n), from: n, flags: flags() });
    let outcomes = Outcomes { stored: stored.collect(), ..Outcomes::default() };
    ledger.apply(claim, Change::Outcome { batch, outcomes }).await.unwrap();
}

/// A ledger that holds a mailbox of so many folders and messages in each, all of them done.
fn filled(env: &Env, dir: &std::path::Path, folders: u64, messages: u64) -> SqliteLedger {
    let folder = |n: u64| {
        let numbers: Vec<u64> = (1..messages * 10 / 7).filter(|n| n % 10 < 7).collect();
        let mut done = RunSet::default();
        done.insert(1, messages * 10 / 7);
        let mut flags = FlagMap::default();
        numbers.iter().filter(|n| *n % 12 > 0).for_each(|n| {
            flags.set(*n, &Flags { seen: true, answered: n % 11 == 0, ..Flags::default() });
        });
        let facts: Vec<Fact> = numbers.iter().map(|number| fact(row(n).epoch, *number)).collect();
        let commits = facts.chunks(20).map(<[Fact]>::to_vec).collect();
        DrawnFolder {
            row: row(n),
            done,
            flags,
            bytes: messages * 75_000,
            uidnext: messages * 10 / 7 + 1,
            skips: Vec::new(),
            commits,
        }
    };
    let last =
        PassSummary { complete: true, stored: messages, verdict: "perfect".into(), ..PassSummary::default() };
    let drawn =
        DrawnMailbox { mailbox: mailbox_named("ann"), last, folders: (0..folders).map(folder).collect() };
    let dir = dir.join("ledger");
    fill(env, &dir, &options(), &mut std::iter::once(drawn)).unwrap();
    SqliteLedger::open(env, &dir, options()).unwrap()
}

/// Every fact of a folder.
pub fn facts(times: u32) {
    run(async |env| {
        let dir = tempfile::tempdir().unwrap();
        let ledger = filled(&env, dir.path(), 1, FACTS);
        let claim = ledger.claim(&mailbox_named("ann")).await.unwrap();
        let folder = ledger.load(&claim).await.unwrap().folders[0].id;
        for _ in 0..times {
            let facts = ledger.facts(&claim, folder).await.unwrap();
            assert!(facts.len() as u64 > FACTS * 9 / 10, "{} facts", facts.len());
        }
    });
}

/// What a pass without changes asks of the ledger.
pub fn mailbox(times: u32) {
    run(async |env| {
        let dir = tempfile::tempdir().unwrap();
        let ledger = filled(&env, dir.path(), FOLDERS, MESSAGES);
        for _ in 0..times {
            let claim = ledger.claim(&mailbox_named("ann")).await.unwrap();
            let state = ledger.load(&claim).await.unwrap();
            assert_eq!(state.folders.len() as u64, FOLDERS);
            let summary = PassSummary { complete: true, verdict: "perfect".into(), ..PassSummary::default() };
            ledger.apply(&claim, Change::PassEnded(summary)).await.unwrap();
        }
    });
}

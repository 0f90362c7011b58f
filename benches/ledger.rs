//! What a very large ledger takes on the disk, and how soon a run over it begins: 83,000 mailboxes of 40 folders, 10^9
//! copies on record, 30 % holes in the numbers, 1 % skipped items. The ledger is synthetic, written with the ledger's own
//! code; the run is the real program, from its start until the first message lies at the target.
//!
//! `cargo bench --bench ledger` makes a tenth of the mailboxes; `-- --full` all of them, of whose facts only every
//! folder's first commit is written (with all of them they would fill 60 GB; what a fact takes is told by the tenth).
//! `-- --dir DIR`: where; several GB. Nothing is asserted.
//!
//! Assumed: folders of 101 to 501 messages, in batches of 20 (those of a Graph target); every number is a hole with a
//! chance of 30 %; the newest 5 % are unread, 8 % answered; sizes about 75 KB; ids of folders at the target 120 random
//! characters; copies found by their stamps.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mailwave::env::Env;
use mailwave::ledger::sqlite::synthetic::{DrawnFolder, DrawnMailbox, fill};
use mailwave::ledger::sqlite::{LedgerOptions, SqliteLedger, SqliteView};
use mailwave::ledger::{FolderRow, Ledger, LedgerView, PassSummary};
use mailwave::model::{
    Digest, Fact, FlagMap, Flags, FolderPath, Mailbox, MailboxKey, RunSet, Skip, SkipReason, SourceName,
    Timestamp, WriteMode,
};

const MAILBOXES: usize = 83_000;
const FOLDERS: usize = 40;
const BATCH: usize = 20;
/// Mailboxes with something new at the source: those the run begins with.
const WITH_MAIL: usize = 64;
/// Kinds of folders drawn; every folder is one of them.
const KINDS: usize = 2_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let full = arguments.iter().any(|a| a == "--full");
    let named = arguments.iter().position(|a| a == "--dir").and_then(|at| arguments.get(at + 1));
    let temporary = tempfile::tempdir_in(named.map_or(env!("CARGO_TARGET_TMPDIR"), String::as_str)).unwrap();
    let home = temporary.path();
    let mailboxes = if full { MAILBOXES } else { MAILBOXES / 10 };
    let env = Env::system();

    let began = Instant::now();
    let mut drawer = Drawer::new(full);
    let options = LedgerOptions::new(source(), "");
    let ledger = home.join("ledger");
    fill(&env, &ledger, &options, &mut (0..mailboxes).map(|n| drawer.mailbox(n))).unwrap();
    println!(
        "{mailboxes} mailboxes, {} folders, {} copies, {} skipped: made in {:.0} s",
        mailboxes * FOLDERS,
        drawer.copies,
        drawer.skipped,
        began.elapsed().as_secs_f64()
    );
    sizes(&ledger, drawer.copies, drawer.facts);
    opening(&env, &ledger, &options);
    first_store(home, mailboxes);
}

fn source() -> SourceName {
    "acme".parse().unwrap()
}

fn mailbox(n: usize) -> Mailbox {
    let name = format!("user{n:06}");
    Mailbox {
        key: MailboxKey::of(&source(), &name),
        target: format!("{name}@example.org"),
        source: name,
        source_endpoint: "old".into(),
        target_endpoint: "new".into(),
        target_place: String::new(),
        wave: String::new(),
        priority: 0,
    }
}

/// What all folders of a kind share.
struct Kind {
    live: Vec<u64>,
    done: RunSet,
    flags: FlagMap,
    skips: Vec<u64>,
    next: u64,
}

struct Drawer {
    dice: fastrand::Rng,
    kinds: Vec<Kind>,
    thin: bool,
    copies: u64,
    skipped: u64,
    facts: u64,
}

impl Drawer {
    fn new(thin: bool) -> Drawer {
        let mut dice = fastrand::Rng::with_seed(7);
        let kinds = (0..KINDS).map(|_| Kind::draw(&mut dice)).collect();
        Drawer { dice, kinds, thin, copies: 0, skipped: 0, facts: 0 }
    }

    fn mailbox(&mut self, n: usize) -> DrawnMailbox {
        let folders = (0..FOLDERS).map(|f| self.folder(f)).collect();
        let last = PassSummary {
            complete: true,
            stored: 140,
            already: 12_000,
            bytes: 10_000_000,
            recounted: Some(12_140),
            source_trips: 45,
            target_trips: 160,
            verdict: "perfect".into(),
            began: 1_795_219_200_000,
            ended: 1_795_219_260_000,
            ..PassSummary::default()
        };
        DrawnMailbox { mailbox: mailbox(n), last, folders }
    }

    fn folder(&mut self, n: usize) -> DrawnFolder {
        let kind = &self.kinds[self.dice.usize(..KINDS)];
        let dice = &mut self.dice;
        let mut seconds = 1_200_000_000 + dice.i64(0..300_000_000);
        let (mut commits, mut bytes) = (Vec::new(), 0);
        let mut size = || 75_000 / 4 + dice.u64(..112_500);
        kind.live.iter().for_each(|_| bytes += size());
        for some in kind.live.chunks(BATCH) {
            let facts: Vec<Fact> = some
                .iter()
                .map(|number| {
                    seconds += dice.i64(0..40_000);
                    let mut digest = [0; 32];
                    dice.fill(&mut digest);
                    Fact {
                        epoch: 1_400_000_000 + n as u64,
                        number: *number,
                        name: String::new(),
                        target_id: String::new(),
                        digest: Some(Digest::from_bytes(digest)),
                        size: 75_000 / 4 + dice.u64(..112_500),
                        received: Some(Timestamp { seconds, zone: 60 }),
                        header: dice.u64(1..),
                        object: 0,
                        bound: None,
                        losses: String::new(),
                        mode: WriteMode::Usual,
                    }
                })
                .collect();
            self.facts += facts.len() as u64;
            commits.push(facts);
            if self.thin {
                break;
            }
        }
        let skip = |number: &u64| Skip {
            number: *number,
            name: String::new(),
            reason: SkipReason::TooLarge,
            detail: format!("{} bytes, the limit is 157286400", 157_286_401 + number * 1000),
            size: Some(157_286_401 + number * 1000),
            received: Some(1_600_000_000 + *number as i64),
        };
        let path = match n {
            0 => FolderPath::inbox(),
            n if n % 4 == 0 => FolderPath::inbox().child(format!("Projects {n}")),
            n => FolderPath::new(vec![format!("Folder {n}")]).unwrap(),
        };
        self.copies += kind.live.len() as u64;
        self.skipped += kind.skips.len() as u64;
        let mut target = "AQMkAG".to_owned();
        target.extend((0..114).map(|_| dice.alphanumeric()));
        DrawnFolder {
            row: FolderRow {
                id: None,
                path,
                special: None,
                object_id: None,
                epoch: 1_400_000_000 + n as u64,
                target_folder: target,
            },
            done: kind.done.clone(),
            flags: kind.flags.clone(),
            bytes,
            uidnext: kind.next,
            skips: kind.skips.iter().map(skip).collect(),
            commits,
        }
    }
}

impl Kind {
    fn draw(dice: &mut fastrand::Rng) -> Kind {
        let wanted = dice.usize(101..=501);
        let (mut live, mut skips, mut number) = (Vec::new(), Vec::new(), 0);
        while live.len() < wanted {
            number += 1;
            if dice.u32(..100) < 30 {
                continue; // a hole
            }
            if dice.u32(..101) == 0 {
                skips.push(number);
            } else {
                live.push(number);
            }
        }
        let mut done = RunSet::default();
        done.insert(1, number);
        skips.iter().for_each(|n| done.remove(*n));
        let mut flags = FlagMap::default();
        for (i, n) in live.iter().enumerate() {
            let seen = i < wanted * 95 / 100;
            flags.set(*n, &Flags { seen, answered: seen && dice.u32(..100) < 8, ..Flags::default() });
        }
        Kind { live, done, flags, skips, next: number + 1 }
    }
}

/// Bytes a message, by what takes them.
fn sizes(ledger: &Path, copies: u64, facts: u64) {
    let size = |name: &str| fs::metadata(ledger.join(name)).map_or(0, |m| m.len());
    let database = size("ledger.db") + size("ledger.db-wal");
    let log: u64 = (1..).map_while(|n| Some(size(&format!("facts-{n:06}.seg"))).filter(|s| *s > 0)).sum();
    let each = |bytes: u64, of: u64| bytes as f64 / of as f64;
    println!("ledger: {:.2} GB, {:.3} bytes a copy", database as f64 / 1e9, each(database, copies));
    println!("facts: {:.2} GB, {:.2} bytes a fact", log as f64 / 1e9, each(log, facts));
    println!("ledger and facts: {:.2} bytes a copy", each(database, copies) + each(log, facts));
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = rusqlite::Connection::open_with_flags(ledger.join("ledger.db"), flags).unwrap();
    let tables = conn
        .prepare("SELECT name, sum(pgsize), sum(unused) FROM dbstat GROUP BY name ORDER BY 2 DESC")
        .and_then(|mut s| {
            let row = |r: &rusqlite::Row<'_>| {
                Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?))
            };
            s.query_map([], row)?.collect::<rusqlite::Result<Vec<_>>>()
        });
    for (name, bytes, unused) in tables.unwrap_or_default() {
        println!(
            "  {name}: {:.3} bytes a copy ({:.3} of it unused)",
            each(bytes.cast_unsigned(), copies),
            each(unused.cast_unsigned(), copies)
        );
    }
}

/// How long the steps of a beginning take, one by one.
fn opening(env: &Env, dir: &Path, options: &LedgerOptions) {
    let timed = |what: &str, began: Instant| println!("{what}: {:.2} s", began.elapsed().as_secs_f64());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let began = Instant::now();
        let ledger = SqliteLedger::open(env, dir, options.clone()).unwrap();
        timed("open", began);
        let began = Instant::now();
        let claim = ledger.claim(&mailbox(WITH_MAIL + 1)).await.unwrap();
        ledger.load(&claim).await.unwrap();
        timed("claim and load of one mailbox", began);
        let began = Instant::now();
        drop(ledger);
        timed("close", began);
    });
    let began = Instant::now();
    let mut whole = options.clone();
    whole.check_whole_bytes = u64::MAX;
    drop(SqliteLedger::open(env, dir, whole).unwrap());
    timed("open, everything checked at once", began);
    let view = SqliteView::open(dir).unwrap();
    let began = Instant::now();
    view.mailboxes().unwrap();
    timed("all mailboxes, as status reads them", began);
}

/// The real program, from its start to the first message at the target.
fn first_store(home: &Path, mailboxes: usize) {
    for n in 0..WITH_MAIL {
        let cur = home.join("in").join(format!("user{n:06}")).join("cur");
        for sub in ["cur", "new", "tmp"] {
            fs::create_dir_all(cur.with_file_name(sub)).unwrap();
        }
        fs::write(cur.join("1.new:2,"), "Subject: new\r\nMessage-ID: <1@new>\r\n\r\nnew\r\n").unwrap();
    }
    let rows: String = (0..mailboxes).map(|n| format!("user{n:06},user{n:06}@example.org\n")).collect();
    fs::write(home.join("mailboxes.csv"), format!("source,target\n{rows}")).unwrap();
    let config = "source_name = \"acme\"\nledger = \"ledger\"\n[source.old]\nkind = \"maildir\"\nroot = \"in\"\n\
                  [target.new]\nkind = \"maildir\"\nroot = \"out\"\n";
    fs::write(home.join("mailwave.toml"), config).unwrap();
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_mailwave"))
        .args(["run", "mailwave.toml", "--json"])
        .current_dir(home)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let took = loop {
        if arrived(&home.join("out")) {
            break began.elapsed();
        }
        assert!(child.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(600));
        std::thread::sleep(Duration::from_millis(5));
    };
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let memory = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or("").to_owned();
    child.kill().unwrap();
    child.wait().unwrap();
    println!("run: first message at the target after {:.2} s; {memory}", took.as_secs_f64());
}

fn arrived(out: &Path) -> bool {
    let Ok(mailboxes) = fs::read_dir(out) else { return false };
    let files = |dir: PathBuf| fs::read_dir(dir).is_ok_and(|mut files| files.next().is_some());
    mailboxes.flatten().any(|m| ["cur", "new"].iter().any(|sub| files(m.path().join(sub))))
}

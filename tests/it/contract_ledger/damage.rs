//! What only files can suffer: cuts, flips, losses, two processes, power cuts. Found out, or harmless; never a panic
//! and never a wrong answer.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use mailwave::ledger::sqlite::SqliteView;
use mailwave::ledger::{LedgerView, PassSummary, Walked};
use mailwave::model::{Error, Kind, Scope};

use super::*;

/// A ledger with something of everything in it, closed in order. Returns all that it says.
async fn filled(bed: &Bed) -> String {
    let ledger = bed.open();
    fill(&ledger).await;
    drop(ledger);
    told(bed).await.unwrap()
}

async fn fill(ledger: &SqliteLedger) {
    for name in ["ann", "bob"] {
        let claim = ledger.claim(&mailbox(name)).await.unwrap();
        ledger.apply(&claim, Change::BindTarget { identity: "T".to_owned() }).await.unwrap();
        for _ in 0..3 {
            let folder = add_folder(ledger, &claim, folder_row(None, 1)).await;
            for n in 0..5 {
                store(ledger, &claim, folder, 1, &[n * 3 + 1, n * 3 + 2]).await;
            }
            ledger.apply(&claim, Change::Skipped { folder, skips: vec![skip(90)] }).await.unwrap();
            let batch = intent(ledger, &claim, folder, 1, &[50, 51]).await;
            let unknown = vec![(50, stamp(name, folder, 1, 50))];
            outcome(ledger, &claim, batch, Outcomes { unknown, ..Outcomes::default() }).await;
        }
        let walked = Walked { wave: "pilot".to_owned(), pass: 1, last: false, complete: true };
        ledger.apply(&claim, Change::Walked(walked)).await.unwrap();
        // One of them rests.
        if name == "ann" {
            ledger.apply(&claim, Change::PassEnded(PassSummary::default())).await.unwrap();
        }
    }
}

/// All that a ledger says of its mailboxes, read as a run does; or the error that stopped it.
async fn told(bed: &Bed) -> Result<String> {
    let ledger = bed.try_open()?;
    let mut out = String::new();
    for name in ["ann", "bob"] {
        let claim = ledger.claim(&mailbox(name)).await?;
        let state = ledger.load(&claim).await?;
        out.push_str(&show(&state));
        for folder in &state.folders {
            out.push_str(&format!("{:?}\n", ledger.facts(&claim, folder.id).await?));
        }
    }
    Ok(out)
}

fn assert_clear(error: &Error, what: &str) {
    assert_eq!(error.kind, Kind::Ledger, "{what}: {error}");
    assert!(!error.what.contains('\n') && !error.remedy.is_empty(), "{what}: {error}");
    assert!(!error.to_string().contains("bob"), "{what}: {error}");
}

/// Pseudo-random numbers from a printed seed.
fn dice(seed: u64) -> impl FnMut(usize) -> usize {
    println!("seed {seed}");
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as usize) % below
    }
}

#[test]
fn a_flipped_bit_is_found_out_or_harmless() {
    flipped(false);
}

#[test]
fn a_flipped_bit_is_found_out_or_harmless_too_where_mailboxes_are_checked_one_by_one() {
    flipped(true);
}

fn flipped(large: bool) {
    on(true, |mut bed| async move {
        bed.large = large;
        let before = filled(&bed).await;
        let mut dice = dice(20_261_121);
        for (file, flips) in [("ledger.db", 600), ("facts-000001.seg", 400)] {
            let good = fs::read(bed.dir().join(file)).unwrap();
            let (mut found, mut harmless) = (0, 0);
            for _ in 0..flips {
                let (mut at, bit) = (dice(good.len()), dice(8));
                while good[at] == 0 && dice(20) > 0 {
                    at = dice(good.len()); // most zeros of a database are free space
                }
                let copy = bed.copy();
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                fs::write(copy.dir().join(file), bytes).unwrap();
                let what = format!("{file} bit {bit} of byte {at}");
                match told(&copy).await {
                    Ok(after) => {
                        assert_eq!(after, before, "{what}");
                        harmless += 1;
                    }
                    Err(error) => {
                        assert_clear(&error, &what);
                        found += 1;
                    }
                }
            }
            println!("{file}: {found} flips found out, {harmless} harmless");
            assert!(found > flips / 4, "{file}: {found} of {flips}");
        }
    });
}

#[test]
fn a_cut_file_is_refused() {
    on(true, |bed| async move {
        filled(&bed).await;
        for file in ["ledger.db", "facts-000001.seg"] {
            let length = fs::metadata(bed.dir().join(file)).unwrap().len();
            for keep in [0, 1, 15, 31, 100, length / 2, length - 4096.min(length / 4), length - 1] {
                let copy = bed.copy();
                fs::OpenOptions::new()
                    .write(true)
                    .open(copy.dir().join(file))
                    .unwrap()
                    .set_len(keep)
                    .unwrap();
                let error = copy.try_open().expect_err(&format!("{file} cut to {keep}"));
                assert_clear(&error, file);
                assert_eq!(error.scope, Scope::Run);
            }
            let copy = bed.copy();
            fs::remove_file(copy.dir().join(file)).unwrap();
            assert_clear(&copy.try_open().expect_err("a missing file"), file);
        }
    });
}

#[test]
fn a_lost_write_ahead_log_is_noticed_and_a_lost_index_of_it_is_harmless() {
    on(true, |bed| async move {
        let ledger = bed.open();
        fill(&ledger).await;
        let copy = bed.copy();
        fs::remove_file(copy.dir().join("ledger.db-shm")).unwrap();
        told(&copy).await.unwrap();
        for cut in [true, false] {
            let copy = bed.copy();
            let wal = copy.dir().join("ledger.db-wal");
            if cut {
                fs::write(&wal, b"").unwrap()
            } else {
                fs::remove_file(&wal).unwrap()
            }
            assert_clear(&copy.try_open().expect_err("commits are lost"), "-wal");
        }
        // Half of it gone: the facts log knows of later commits.
        let copy = bed.copy();
        let wal = fs::OpenOptions::new().write(true).open(copy.dir().join("ledger.db-wal")).unwrap();
        wal.set_len(wal.metadata().unwrap().len() / 2).unwrap();
        assert_clear(&copy.try_open().expect_err("commits are lost"), "half of -wal");
        // Closed in order, no write-ahead log is left, and none is missed.
        drop(ledger);
        assert!(!bed.dir().join("ledger.db-wal").exists());
        told(&bed).await.unwrap();
    });
}

#[test]
fn a_flipped_bit_in_the_write_ahead_log_loses_no_commit_unnoticed() {
    on(true, |bed| async move {
        let ledger = bed.open();
        fill(&ledger).await;
        let before = told(&bed.copy()).await.unwrap();
        let mut dice = dice(11);
        let good = fs::read(bed.dir().join("ledger.db-wal")).unwrap();
        let mut found = 0;
        for _ in 0..60 {
            // In its first half: at its end a flip looks like the torn write of a power cut.
            let (at, bit) = (dice(good.len() / 2), dice(8));
            let copy = bed.copy();
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            fs::write(copy.dir().join("ledger.db-wal"), bytes).unwrap();
            match told(&copy).await {
                Ok(after) => assert_eq!(after, before, "bit {bit} of byte {at}"),
                Err(error) => {
                    assert_clear(&error, "-wal");
                    found += 1;
                }
            }
        }
        println!("-wal: {found} of 60 flips found out");
        assert!(found > 20);
    });
}

#[test]
fn what_looks_at_a_ledger_after_a_crash_does_not_tidy_its_log_away() {
    on(true, |bed| async move {
        let ledger = bed.open();
        fill(&ledger).await;
        let crashed = bed.copy();
        let before = told(&crashed.copy()).await.unwrap();
        SqliteView::open(&crashed.dir()).unwrap().mailboxes().unwrap();
        let mut other = crashed.options();
        other.config_fingerprint = "another".to_owned();
        SqliteLedger::open(&crashed.env, &crashed.dir(), other).unwrap_err();
        assert_eq!(told(&crashed).await.unwrap(), before);

        // A database tool does tidy it away; then the operator is told the way out.
        let crashed = bed.copy();
        let tool = rusqlite::Connection::open(crashed.dir().join("ledger.db")).unwrap();
        tool.query_row("SELECT count(*) FROM meta", [], |_| Ok(())).unwrap();
        drop(tool);
        let error = crashed.try_open().unwrap_err();
        assert!(error.remedy.contains("remove the file `lock`"), "{error}");
        fs::remove_file(crashed.dir().join("lock")).unwrap();
        assert_eq!(told(&crashed).await.unwrap(), before);
    });
}

#[test]
fn an_older_copy_of_the_database_beside_newer_facts_is_refused() {
    on(true, |bed| async move {
        filled(&bed).await;
        let old = fs::read(bed.dir().join("ledger.db")).unwrap();
        fill(&bed.open()).await;
        fs::write(bed.dir().join("ledger.db"), old).unwrap();
        assert_clear(&bed.try_open().expect_err("older than its facts"), "old ledger.db");
    });
}

#[test]
fn a_ledger_of_a_later_version_is_refused() {
    on(true, |bed| async move {
        filled(&bed).await;
        let conn = rusqlite::Connection::open(bed.dir().join("ledger.db")).unwrap();
        conn.pragma_update(None, "user_version", 99).unwrap();
        drop(conn);
        for error in [bed.try_open().unwrap_err(), SqliteView::open(&bed.dir()).unwrap_err()] {
            assert_clear(&error, "version");
            assert!(error.what.contains("99"), "{error}");
        }
    });
}

#[test]
fn a_ledger_of_the_first_version_is_brought_up_by_the_next_run_and_loses_nothing() {
    on(true, |bed| async move {
        let before = filled(&bed).await;
        // Then no mailbox was packed when its pass ended.
        let ledger = bed.open();
        let claim = ledger.claim(&mailbox("ann")).await.unwrap();
        let folder = ledger.load(&claim).await.unwrap().folders[0].id;
        ledger.number(&claim, folder, 0).await.unwrap();
        drop(ledger);
        let conn = rusqlite::Connection::open(bed.dir().join("ledger.db")).unwrap();
        let first = "DROP TABLE walked; DROP TABLE packed; ALTER TABLE name DROP COLUMN packed; \
                     PRAGMA user_version = 1;";
        conn.execute_batch(first).unwrap();
        drop(conn);
        let error = SqliteView::open(&bed.dir()).unwrap_err();
        assert_clear(&error, "version");
        assert!(error.remedy.contains("mailwave run"), "{error}");
        assert_eq!(told(&bed).await.unwrap(), before);
        assert_eq!(
            SqliteView::open(&bed.dir()).unwrap().walked().unwrap().len(),
            0,
            "walked again, that is all"
        );
    });
}

#[test]
fn a_database_of_another_program_is_refused() {
    on(true, |bed| async move {
        fs::create_dir_all(bed.dir()).unwrap();
        let conn = rusqlite::Connection::open(bed.dir().join("ledger.db")).unwrap();
        conn.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1);").unwrap();
        drop(conn);
        assert_clear(&bed.try_open().unwrap_err(), "another program's");
        let conn = rusqlite::Connection::open(bed.dir().join("ledger.db")).unwrap();
        assert_eq!(
            conn.query_row("SELECT x FROM t", [], |r| r.get::<_, i64>(0)).unwrap(),
            1,
            "left as it was"
        );
    });
}

#[test]
fn a_ledger_of_another_source_name_or_configuration_is_refused() {
    on(true, |bed| async move {
        filled(&bed).await;
        let mut other = bed.options();
        other.source_name = "other".parse().unwrap();
        let error = SqliteLedger::open(&bed.env, &bed.dir(), other).unwrap_err();
        assert_clear(&error, "source name");
        assert!(error.what.contains("acme") && error.what.contains("other"), "{error}");
        let mut other = bed.options();
        other.config_fingerprint = "maildir+imap".to_owned();
        assert_clear(&SqliteLedger::open(&bed.env, &bed.dir(), other).unwrap_err(), "configuration");
    });
}

#[test]
fn endpoints_may_come_and_go_but_copies_may_not_lie_elsewhere() {
    on(true, |bed| async move {
        let open = |endpoints: &str| {
            let mut options = bed.options();
            options.config_fingerprint = endpoints.to_owned();
            SqliteLedger::open(&bed.env, &bed.dir(), options).map(drop)
        };
        open("source.old\timap\ntarget.new\tmaildir out\n").unwrap();
        open("source.old\timap\ntarget.files\tmaildir other\ntarget.new\tmaildir out\n").unwrap();
        open("source.mbox\tmbox\ntarget.new\tmaildir out\n").unwrap();
        for (endpoints, name) in [
            ("target.new\tmaildir out2\n", "target.new"),
            ("target.files\tmaildir elsewhere\n", "target.files"),
            ("source.old\tmbox\n", "source.old"),
        ] {
            assert_clear(&open(endpoints).unwrap_err(), name);
        }
        open("target.new\tmaildir out\n").unwrap();
    });
}

#[test]
fn a_second_writer_is_refused_and_told_who_has_it() {
    for inline in [false, true] {
        on(inline, |bed| async move {
            let ledger = bed.open();
            let error = bed.try_open().unwrap_err();
            assert_clear(&error, "lock");
            assert!(error.what.contains(&format!("pid {}", std::process::id())), "{error}");
            SqliteView::open(&bed.dir()).expect("readers need no lock");
            drop(ledger);
            bed.open();
        });
    }
}

#[test]
fn nobody_else_can_read_the_files() {
    on(true, |bed| async move {
        let ledger = bed.open();
        fill(&ledger).await;
        assert_eq!(fs::metadata(bed.dir()).unwrap().permissions().mode() & 0o777, 0o700);
        let mut files = 0;
        for entry in fs::read_dir(bed.dir()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", entry.file_name());
            files += 1;
        }
        assert_eq!(files, 5, "database, -wal, -shm, facts, lock");
    });
}

#[test]
fn there_is_no_view_where_there_is_no_ledger() {
    let dir = TempDir::new().unwrap();
    assert_eq!(SqliteView::open(dir.path()).unwrap_err().kind, Kind::NotFound);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "looking makes nothing");
}

#[test]
fn names_of_people_and_folders_are_in_one_table_and_in_no_other_file() {
    on(true, |bed| async move {
        let ledger = bed.open();
        let claim = ledger.claim(&mailbox("person-of-interest")).await.unwrap();
        let row = FolderRow { path: FolderPath::inbox().child("secret-folder"), ..folder_row(None, 1) };
        let folder = add_folder(&ledger, &claim, row).await;
        store(&ledger, &claim, folder, 1, &[1]).await;
        drop(ledger);
        let conn = rusqlite::Connection::open(bed.dir().join("ledger.db")).unwrap();
        conn.execute_batch("DELETE FROM name; VACUUM;").unwrap();
        drop(conn);
        for entry in fs::read_dir(bed.dir()).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            for name in [b"person-of-interest".as_slice(), b"secret-folder"] {
                assert!(!bytes.windows(name.len()).any(|w| w == name), "{}", path.display());
            }
        }
    });
}

#[test]
fn a_failed_write_stops_everything_that_follows() {
    for inline in [false, true] {
        on(inline, |bed| async move {
            let ledger = bed.open();
            let claim = ledger.claim(&mailbox("ann")).await.unwrap();
            let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
            let batch = intent(&ledger, &claim, folder, 1, &[1]).await;
            // The first segment cannot be made: something else is there.
            fs::create_dir(bed.dir().join("facts-000001.seg")).unwrap();
            let outcomes = Outcomes { stored: vec![stored(1, 1)], ..Outcomes::default() };
            let error = ledger.apply(&claim, Change::Outcome { batch, outcomes }).await.unwrap_err();
            assert_eq!((error.kind, error.scope), (Kind::Ledger, Scope::Run), "{error}");
            fs::remove_dir(bed.dir().join("facts-000001.seg")).unwrap();
            let error = ledger.apply(&claim, Change::FolderMissing(folder)).await.unwrap_err();
            assert_eq!((error.kind, error.scope), (Kind::Ledger, Scope::Run), "not even once it would work");
            drop(ledger);
            let ledger = bed.open();
            let claim = ledger.claim(&mailbox("ann")).await.unwrap();
            let state = ledger.load(&claim).await.unwrap();
            assert_eq!(state.open[0].items, vec![item(1)], "the batch is open still");
            assert!(!state.folders[0].missing);
        });
    }
}

#[test]
fn a_world_frozen_before_a_commit_leaves_nothing_and_one_frozen_after_it_leaves_all() {
    let kinds = [Step::Claim, Step::FactsWrite, Step::FactsSync, Step::LedgerCommit, Step::LedgerAnswer];
    for inline in [true, false] {
        for kind in kinds {
            // Claim, folder and intent come before the outcome that meets the freeze.
            let after = match kind {
                Step::Claim => 1,
                Step::FactsWrite | Step::FactsSync => 0,
                _ => 3,
            };
            let freeze = Freeze::at(Some(kind), after);
            on_world(inline, Arc::clone(&freeze), |bed| async move {
                let ledger = bed.open();
                let claim = ledger.claim(&mailbox("ann")).await.unwrap();
                let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
                let batch = intent(&ledger, &claim, folder, 1, &[1, 2]).await;
                let synced = ledger.facts_synced();
                let bob = mailbox("bob");
                let doomed = async {
                    if kind == Step::Claim {
                        ledger.claim(&bob).await.map(drop)
                    } else {
                        let outcomes = Outcomes { stored: vec![stored(1, 1)], ..Outcomes::default() };
                        ledger.apply(&claim, Change::Outcome { batch, outcomes }).await.map(drop)
                    }
                };
                let waited = bed.env.within(std::time::Duration::from_millis(400), doomed).await;
                assert!(waited.is_none(), "{kind:?}: a frozen world does not answer: {waited:?}");
                assert!(freeze.frozen.load(Ordering::SeqCst), "{kind:?} was reached");
                if inline && matches!(kind, Step::FactsWrite | Step::FactsSync) {
                    assert_eq!(ledger.facts_synced(), synced, "{kind:?}");
                }
                drop(ledger);

                let bed = Bed { env: Env::simulated(8, WALL, Freeze::never()), ..bed };
                let ledger = bed.open();
                let claim = ledger.claim(&mailbox("ann")).await.unwrap();
                let state = ledger.load(&claim).await.unwrap();
                let facts = ledger.facts(&claim, folder).await.unwrap();
                if kind == Step::LedgerAnswer {
                    assert_eq!((state.open[0].items.len(), facts), (1, vec![fact(1, 1)]), "{kind:?}");
                } else {
                    assert_eq!((state.open[0].items.len(), facts), (2, vec![]), "{kind:?}");
                }
                assert_eq!(ledger.claim(&bob).await.unwrap().row, 2);
                store(&ledger, &claim, folder, 1, &[7]).await;
            });
        }
    }
}

#[test]
fn intents_acknowledged_early_can_be_lost_which_is_why_only_trials_do_that() {
    for early in [false, true] {
        on_world(true, Freeze::at(Some(Step::LedgerCommit), 2), |bed| async move {
            let mut options = bed.options();
            options.acknowledge_intents_early = early;
            let ledger = SqliteLedger::open(&bed.env, &bed.dir(), options).unwrap();
            let claim = ledger.claim(&mailbox("ann")).await.unwrap();
            let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
            let promise = intent(&ledger, &claim, folder, 1, &[1]);
            let promised = bed.env.within(std::time::Duration::from_secs(5), promise).await.is_some();
            assert_eq!(promised, early);
            drop(ledger);
            let bed = Bed { env: Env::simulated(8, WALL, Freeze::never()), ..bed };
            let ledger = bed.open();
            let claim = ledger.claim(&mailbox("ann")).await.unwrap();
            assert!(ledger.load(&claim).await.unwrap().open.is_empty());
        });
    }
}

#[test]
fn a_reader_sees_whole_commits_while_a_run_writes() {
    on(false, |bed| async move {
        let ledger = bed.open();
        let claim = ledger.claim(&mailbox("ann")).await.unwrap();
        let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (dir, key, asked) = (bed.dir(), claim.mailbox.clone(), Arc::clone(&stop));
        let reader = std::thread::spawn(move || {
            let view = SqliteView::open(&dir).unwrap();
            let (mut reads, mut last) = (0u64, 0);
            loop {
                let done = asked.load(Ordering::SeqCst);
                let state = view.state(&key).unwrap().unwrap();
                let open: u64 = state.open.iter().map(|b| b.items.len() as u64).sum();
                let live = state.folders[0].live;
                // Ten are intended at once and stored at once.
                assert_eq!((live % 10, open % 10), (0, 0));
                assert_eq!(state.folders[0].done.len(), live);
                let mut facts = 0u64;
                view.each_fact(&key, folder, &mut |_| facts += 1).unwrap();
                assert!(facts >= live && facts.is_multiple_of(10) && live >= last);
                let line = view.mailboxes().unwrap().swap_remove(0);
                assert!(line.messages >= live && line.messages.is_multiple_of(10));
                (reads, last) = (reads + 1, live);
                if done {
                    return (reads, last);
                }
            }
        });
        for round in 0..40u64 {
            let numbers: Vec<u64> = (round * 10 + 1..=round * 10 + 10).collect();
            store(&ledger, &claim, folder, 1, &numbers).await;
        }
        stop.store(true, Ordering::SeqCst);
        let (reads, last) = reader.join().unwrap();
        println!("{reads} reads");
        assert_eq!(last, 400);
        assert!(reads > 10);
    });
}

#[test]
fn the_ledger_takes_less_than_a_byte_a_message() {
    on(true, |bed| async move {
        let size = |suffix: &str| -> u64 {
            let files = fs::read_dir(bed.dir()).unwrap().map(|e| e.unwrap());
            files
                .filter(|e| e.file_name().to_string_lossy().ends_with(suffix))
                .map(|e| e.metadata().unwrap().len())
                .sum()
        };
        let mut dice = dice(3);
        let mut sizes = Vec::new();
        const MESSAGES: u64 = 12_700;
        for n in 0..4 {
            let ledger = bed.open();
            let claim = ledger.claim(&mailbox(&format!("person{n}@example.org"))).await.unwrap();
            let mut folders = Vec::new();
            for _ in 0..15 {
                folders.push(add_folder(&ledger, &claim, folder_row(None, 1_700_000_000)).await);
            }
            let mut jobs = Vec::new();
            for (i, folder) in folders.iter().enumerate() {
                let numbers: Vec<u64> =
                    (1..=MESSAGES).filter(|m| m % 15 == i as u64).map(|m| m / 15 + 1).collect();
                for batch in numbers.chunks(13) {
                    // One in ten is unread, one in fifty is flagged; a stamp serves as target id.
                    let messages: Vec<(u64, Flags)> = batch
                        .iter()
                        .map(|n| {
                            (*n, Flags { seen: dice(10) > 0, flagged: dice(50) == 0, ..Flags::default() })
                        })
                        .collect();
                    jobs.push((*folder, messages));
                }
            }
            // A batch of each folder a commit: a frame holds one batch, as in a run of many mailboxes.
            jobs.sort_by_key(|(_, messages)| messages[0].0);
            for some in jobs.chunks(15) {
                let one = |(folder, messages): &(FolderId, Vec<(u64, Flags)>)| {
                    let (ledger, claim, folder, messages) = (&ledger, &claim, *folder, messages.clone());
                    async move {
                        let numbers: Vec<u64> = messages.iter().map(|(n, _)| *n).collect();
                        let batch = intent(ledger, claim, folder, 1_700_000_000, &numbers).await;
                        let stored = messages
                            .into_iter()
                            .map(|(n, flags)| {
                                let target_id = String::new();
                                let fact = Fact { target_id, ..fact(1_700_000_000, n) };
                                Stored { fact, from: n, flags }
                            })
                            .collect();
                        outcome(ledger, claim, batch, Outcomes { stored, ..Outcomes::default() }).await;
                    }
                };
                futures_util::future::join_all(some.iter().map(one)).await;
            }
            ledger.apply(&claim, Change::PassEnded(PassSummary::default())).await.unwrap();
            drop(ledger);
            sizes.push((size(".db"), size(".seg")));
        }
        let (first, last) = (sizes[0], sizes[sizes.len() - 1]);
        let more = (sizes.len() as u64 - 1) * MESSAGES;
        let each = |a: u64, b: u64| (b - a) as f64 / more as f64;
        let (ledger, facts) = (each(first.0, last.0), each(first.1, last.1));
        println!("{} messages a mailbox: ledger.db {ledger:.2} B each, facts {facts:.1} B each", MESSAGES);
        println!("ledger.db of one mailbox: {} B", first.0);
        assert!(ledger < 1.0, "{ledger} bytes a message in ledger.db");
        assert!(facts < 80.0, "{facts} bytes a message in the facts log");
    });
}

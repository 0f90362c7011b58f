//! What a power cut or a kill leaves of the last commit: all of it or nothing, and never more open than was begun.

use std::fs;

use mailwave::ledger::sqlite::audit;

use super::*;

async fn said(bed: &Bed) -> Result<String> {
    let ledger = bed.try_open()?;
    let claim = ledger.claim(&mailbox("ann")).await?;
    let state = ledger.load(&claim).await?;
    let mut out = show(&state);
    for folder in &state.folders {
        out.push_str(&format!("{:?}\n", ledger.facts(&claim, folder.id).await?));
    }
    Ok(out)
}

#[test]
fn a_commit_torn_anywhere_in_the_write_ahead_log_is_as_if_it_had_not_been() {
    on(true, |bed| async move {
        let ledger = bed.open();
        let claim = ledger.claim(&mailbox("ann")).await.unwrap();
        let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
        store(&ledger, &claim, folder, 1, &[1, 2]).await;
        let batch = intent(&ledger, &claim, folder, 1, &[3, 4]).await;
        let before = said(&bed.copy()).await.unwrap();
        let wal = |bed: &Bed| bed.dir().join("ledger.db-wal");
        let from = fs::metadata(wal(&bed)).unwrap().len();
        outcome(
            &ledger,
            &claim,
            batch,
            Outcomes { stored: vec![stored(1, 3), stored(1, 4)], ..Outcomes::default() },
        )
        .await;
        let after = said(&bed.copy()).await.unwrap();
        assert_ne!(before, after);
        let good = fs::read(wal(&bed)).unwrap();
        let frame = 24 + 4096;
        assert!(good.len() as u64 > from && (good.len() - 32) % frame == 0, "whole frames of one page each");
        let cuts =
            (from as usize..good.len()).step_by(frame / 4).chain([good.len() - frame / 2, good.len() - 1]);
        let mut tried = 0;
        for cut in cuts {
            // The rest never came, or the disk has something else there.
            for rest in [None, Some(0u8), Some(0xa5)] {
                let copy = bed.copy();
                let mut torn = good[..cut].to_vec();
                if let Some(octet) = rest {
                    torn.resize(good.len(), octet);
                }
                fs::write(wal(&copy), torn).unwrap();
                // The facts of the commit came first: they are a tail now, which is cut.
                assert_eq!(said(&copy).await.unwrap(), before, "cut at {cut}, then {rest:?}");
                let found = audit(&copy.dir(), true).unwrap();
                assert!(found.sound(), "{found:?}");
                tried += 1;
            }
        }
        assert!(tried >= 12, "{tried}");
    });
}

#[test]
fn a_kill_leaves_open_what_was_in_flight_and_nothing_else_be_it_one_message_or_ten_thousand() {
    for many in [1u64, 100, 10_000] {
        on(true, |bed| async move {
            let ledger = bed.open();
            let claim = ledger.claim(&mailbox("ann")).await.unwrap();
            let folder = add_folder(&ledger, &claim, folder_row(None, 1)).await;
            store(&ledger, &claim, folder, 1, &[1, 2]).await;
            let numbers: Vec<u64> = (10..10 + many).collect();
            let batch = intent(&ledger, &claim, folder, 1, &numbers).await;

            // Killed while it is stored.
            let killed = bed.copy();
            let again = killed.open();
            let later = again.claim(&mailbox("ann")).await.unwrap();
            let state = again.load(&later).await.unwrap();
            assert_eq!(state.open.len(), 1, "one batch");
            let open: Vec<u64> = state.open[0].items.iter().map(|i| i.number).collect();
            assert_eq!(open, numbers);
            assert_eq!((state.folders[0].live, state.folders[0].done.len()), (2, 2));

            // Killed after its outcome was answered.
            let stored = numbers.iter().map(|n| stored(1, *n)).collect();
            outcome(&ledger, &claim, batch, Outcomes { stored, ..Outcomes::default() }).await;
            let killed = bed.copy();
            let again = killed.open();
            let later = again.claim(&mailbox("ann")).await.unwrap();
            let state = again.load(&later).await.unwrap();
            assert!(state.open.is_empty());
            assert_eq!(state.folders[0].live, 2 + many);
            assert_eq!(again.facts(&later, folder).await.unwrap().len() as u64, 2 + many);
        });
    }
}

#[test]
fn a_database_that_another_program_holds_is_waited_for_and_then_told_with_what_to_do() {
    on(false, |bed| async move {
        let ledger = bed.open();
        let claim = ledger.claim(&mailbox("ann")).await.unwrap();
        let other = rusqlite::Connection::open(bed.dir().join("ledger.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let began = std::time::Instant::now();
        let error = ledger.apply(&claim, Change::Failed("x".to_owned())).await.unwrap_err();
        let waited = began.elapsed().as_secs();
        assert!((9..40).contains(&waited), "with a bound: {waited} s");
        assert!(error.what.contains("locked by another program"), "{error}");
        assert!(error.remedy.contains("run again"), "{error}");
        // It ends first: the last one to close the database would tidy the log away.
        other.execute_batch("ROLLBACK").unwrap();
        drop(other);
        drop(ledger);
        let ledger = bed.open();
        let claim = ledger.claim(&mailbox("ann")).await.unwrap();
        add_folder(&ledger, &claim, folder_row(None, 1)).await;
    });
}

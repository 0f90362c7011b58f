//! A mailbox at rest is one row and says all that it said; the first change of it makes rows again.

use mailwave::ledger::sqlite::{SqliteView, audit};
use mailwave::ledger::{LedgerView, PassSummary};

use super::*;

/// Rows of a table.
fn rows(bed: &Bed, table: &str) -> i64 {
    let conn = rusqlite::Connection::open(bed.dir().join("ledger.db")).unwrap();
    conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

const PACKED_AWAY: [&str; 3] = ["folder", "exception", "chain"];

/// A mailbox with folders, copies, skipped items, an open batch and one that is watched.
async fn filled(ledger: &SqliteLedger, name: &str) -> (Claim, Vec<FolderId>) {
    let claim = ledger.claim(&mailbox(name)).await.unwrap();
    ledger.apply(&claim, Change::BindTarget { identity: "T".to_owned() }).await.unwrap();
    let mut folders = Vec::new();
    for epoch in 1..=4 {
        let folder = add_folder(ledger, &claim, folder_row(None, epoch)).await;
        for n in 0..5 {
            store(ledger, &claim, folder, epoch, &[n * 3 + 1, n * 3 + 2]).await;
        }
        ledger.apply(&claim, Change::Skipped { folder, skips: vec![skip(90), skip(93)] }).await.unwrap();
        folders.push(folder);
    }
    let batch = intent(ledger, &claim, folders[0], 1, &[50, 51]).await;
    let unknown = vec![(50, stamp(name, folders[0], 1, 50))];
    outcome(ledger, &claim, batch, Outcomes { unknown, ..Outcomes::default() }).await;
    (claim, folders)
}

async fn told(ledger: &SqliteLedger, claim: &Claim) -> String {
    let state = ledger.load(claim).await.unwrap();
    let mut out = show(&state);
    for folder in &state.folders {
        out.push_str(&format!("{:?}\n", ledger.facts(claim, folder.id).await.unwrap()));
        let some = [1, 2, 5].into_iter().collect();
        let some = ledger.facts_of(claim, folder.id, folder.epoch, &some).await.unwrap();
        out.push_str(&format!("{some:?}\n"));
    }
    out
}

#[test]
fn a_mailbox_at_rest_is_one_row_and_says_what_it_said() {
    for inline in [true, false] {
        on(inline, |bed| async move {
            let ledger = bed.open();
            let (claim, folders) = filled(&ledger, "ann").await;
            filled(&ledger, "bob").await;
            let before = told(&ledger, &claim).await;
            let view = || SqliteView::open(&bed.dir()).unwrap();
            let skipped = |view: &SqliteView| {
                let line =
                    |s: mailwave::ledger::SkipLine| format!("{} {:?} {:?}", s.mailbox, s.folder, s.skip);
                view.skips().unwrap().into_iter().map(line).collect::<Vec<_>>()
            };
            let skips = skipped(&view());
            let loose = PACKED_AWAY.map(|table| rows(&bed, table));

            ledger.apply(&claim, Change::PassEnded(PassSummary::default())).await.unwrap();
            assert_eq!(PACKED_AWAY.map(|table| rows(&bed, table)), loose.map(|n| n / 2), "half of them rest");
            assert_eq!(rows(&bed, "packed"), 1);
            assert_eq!(told(&ledger, &claim).await, before);
            assert_eq!(skipped(&view()), skips, "skipped items are found as ever");
            assert_eq!(view().mailboxes().unwrap()[0].skipped, 8);
            assert_eq!(
                show(&view().state(&claim.mailbox).unwrap().unwrap()),
                show(&ledger.load(&claim).await.unwrap())
            );
            let found = audit(&bed.dir(), true).unwrap();
            assert!(found.sound(), "{found:?}");
            assert_eq!((found.folders, found.skipped, found.copies), (8, 16, 80));

            // What needs no folder leaves it as it is; another claim too.
            ledger.apply(&claim, Change::Failed("later".to_owned())).await.unwrap();
            let claim = ledger.claim(&mailbox("ann")).await.unwrap();
            assert_eq!(rows(&bed, "packed"), 1);
            assert_eq!(told(&ledger, &claim).await, before);

            // The first change of a folder makes rows of it, and nothing else of it changes.
            store(&ledger, &claim, folders[1], 2, &[40]).await;
            assert_eq!(rows(&bed, "packed"), 0);
            assert_eq!(PACKED_AWAY.map(|table| rows(&bed, table)), loose);
            let found = audit(&bed.dir(), true).unwrap();
            assert!(found.sound(), "{found:?}");
            let with = told(&ledger, &claim).await;
            ledger.apply(&claim, Change::PassEnded(PassSummary::default())).await.unwrap();
            drop(ledger);
            let ledger = bed.open();
            let claim = ledger.claim(&mailbox("ann")).await.unwrap();
            assert_eq!(told(&ledger, &claim).await, with);
        });
    }
}

#[test]
fn a_change_that_is_refused_leaves_a_mailbox_at_rest() {
    on(true, |bed| async move {
        let ledger = bed.open();
        let (claim, folders) = filled(&ledger, "ann").await;
        ledger.apply(&claim, Change::PassEnded(PassSummary::default())).await.unwrap();
        let wrong =
            Change::Intent { folder: folders[0], epoch: 99, anchor: String::new(), items: Vec::new() };
        ledger.apply(&claim, wrong).await.unwrap_err();
        assert_eq!((rows(&bed, "packed"), rows(&bed, "folder")), (1, 0));
    });
}

#[test]
fn outcomes_that_end_a_pass_in_one_commit_are_found_by_the_next() {
    on(true, |bed| async move {
        let ledger = bed.open();
        let (claim, folders) = filled(&ledger, "ann").await;
        let batch = intent(&ledger, &claim, folders[2], 3, &[60]).await;
        let stored = vec![Stored { fact: fact(3, 60), from: 60, flags: Flags::default() }];
        let outcomes = Outcomes { stored, ..Outcomes::default() };
        // One group: the frame that the outcome needs is made after the pass has ended.
        let (stored, ended) = futures_util::future::join(
            ledger.apply(&claim, Change::Outcome { batch, outcomes }),
            ledger.apply(&claim, Change::PassEnded(PassSummary::default())),
        )
        .await;
        stored.and(ended).unwrap();
        assert_eq!(rows(&bed, "packed"), 1);
        let facts = ledger.facts(&claim, folders[2]).await.unwrap();
        assert!(facts.iter().any(|f| f.number == 60), "{facts:?}");
        let found = audit(&bed.dir(), true).unwrap();
        assert!(found.sound(), "{found:?}");
    });
}

#[test]
fn beginning_anew_forgets_a_mailbox_at_rest() {
    on(true, |bed| async move {
        let ledger = bed.open();
        let (claim, folders) = filled(&ledger, "ann").await;
        ledger.apply(&claim, Change::PassEnded(PassSummary::default())).await.unwrap();
        ledger.apply(&claim, Change::StartOver { identity: "T2".to_owned() }).await.unwrap();
        let state = ledger.load(&claim).await.unwrap();
        assert!(state.folders.is_empty() && state.skips.is_empty());
        let anew = add_folder(&ledger, &claim, folder_row(None, 1)).await;
        assert!(!folders.contains(&anew), "ids are not given again");
        ledger.apply(&claim, Change::PassEnded(PassSummary::default())).await.unwrap();
        let found = audit(&bed.dir(), true).unwrap();
        assert!(found.sound(), "{found:?}");
    });
}

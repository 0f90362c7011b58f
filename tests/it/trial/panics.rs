//! A panic is a defect of ours, and still no reason to lose or double anything: whoever it hits fails, the others go on, the
//! run says so, and the next one completes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mailwave::engine::MailboxResult;
use mailwave::env::Step;

use super::content::Scale;
use super::pairs::SEED;
use super::peer::To;
use super::play::{Play, Trial};
use super::source::From;
use super::stage::{End, Stage};
use super::target::Defect;
use super::world::Observer;

const SCALE: Scale = Scale { mailboxes: 3, each: 21 };

fn results(end: End) -> Vec<MailboxResult> {
    let End::Finished(result) = end else { panic!("nothing was cut") };
    assert_eq!(result.mailboxes.len() as u64 + result.not_begun, 3, "each is accounted for");
    result.mailboxes
}

/// One run in which a task panics before such a step; then runs without. Gives how many mailboxes failed.
fn panics_once(play: Play, step: Step, nth: u64) -> usize {
    let trial = Trial { play, scale: SCALE, seed: SEED, defect: Defect::None };
    let stage = Stage::new(play, SCALE, SEED, Defect::None);
    let observer = Observer::panicking(step, nth);
    let ended = results(stage.run(&observer, false));
    assert!(observer.order().iter().filter(|s| **s == step).count() as u64 >= nth, "it panicked");
    let failed: Vec<_> = ended.iter().filter_map(|m| m.error.as_ref()).map(|e| e.what.clone()).collect();
    println!("{play:?} {step:?} {nth}: {failed:?}");
    for _ in 0..2 {
        for m in results(stage.run(&Observer::new(None), false)) {
            assert!(m.error.is_none(), "{step:?} {nth}: {:?}", m.error);
        }
    }
    let writes = stage.account().writes;
    results(stage.run(&Observer::new(None), false));
    let account = stage.account();
    assert_eq!(account.writes, writes, "{step:?} {nth}: the last run writes nothing");
    assert_eq!(account.wrong, [""; 0], "{step:?} {nth}");
    let copies: BTreeMap<_, _> =
        account.held.iter().map(|(place, held)| (place.clone(), held.len())).collect();
    let undisturbed = trial.first_pass_alone();
    assert_eq!(copies, undisturbed, "{step:?} {nth}: each message once");
    failed.len()
}

#[test]
fn a_panic_in_a_task_of_the_source_fails_its_mailbox_alone() {
    for (step, nth) in [(Step::SourceList, 2), (Step::SourceFetch, 4)] {
        let failed = panics_once(Play { from: From::Memory, to: To::Graph }, step, nth);
        assert!(failed <= 1, "{step:?}: {failed} failed");
    }
    panics_once(Play { from: From::Imap, to: To::Graph }, Step::SourceFetch, 7);
}

#[test]
fn a_panic_in_a_task_of_the_target_fails_its_mailbox_alone_and_its_store_is_looked_up() {
    for step in [Step::TargetFolder, Step::TargetStore, Step::TargetStorePart, Step::TargetAnswer] {
        for to in [To::Graph, To::Imap] {
            if to.passes(step) {
                let failed = panics_once(Play { from: From::Memory, to }, step, 3);
                assert!(failed <= 1, "{step:?}: {failed} failed");
            }
        }
    }
}

/// The ledger of a real run writes in a thread of its own: if that dies, every mailbox fails, at once and not never.
#[test]
fn a_panic_in_the_ledgers_own_thread_ends_the_run_with_errors_and_the_next_run_completes() {
    let play = Play { from: From::Memory, to: To::Graph };
    for step in [Step::FactsWrite, Step::FactsSync, Step::LedgerCommit, Step::LedgerAnswer] {
        let stage = Arc::new(Stage::new(play, SCALE, SEED, Defect::None));
        let (told, ended) = std::sync::mpsc::channel();
        let running = stage.clone();
        std::thread::spawn(move || {
            let end = results(running.run_threaded(&Observer::panicking(step, 5)));
            told.send(end.iter().filter(|m| m.error.is_some()).count()).unwrap();
        });
        let failed = ended.recv_timeout(Duration::from_secs(60)).expect("the run ends");
        assert_eq!(failed, 3, "{step:?}: a mailbox cannot be right without its ledger");
        for _ in 0..2 {
            assert!(results(stage.run(&Observer::new(None), false)).iter().all(|m| m.error.is_none()));
        }
        assert_eq!(stage.account().wrong, [""; 0]);
        let copies: usize = stage.account().held.values().map(Vec::len).sum();
        assert_eq!(copies, stage.content().items.len(), "each message once");
    }
}

impl Trial {
    /// How many copies each folder holds after an undisturbed first pass.
    fn first_pass_alone(&self) -> BTreeMap<(String, String), usize> {
        let stage = Stage::new(self.play, self.scale, self.seed, self.defect);
        for _ in 0..2 {
            assert!(results(stage.run(&Observer::new(None), false)).iter().all(|m| m.error.is_none()));
        }
        stage.account().held.iter().map(|(place, held)| (place.clone(), held.len())).collect()
    }
}

//! The crash trial: a whole migration in one thread, from one seed, cut before every single effect, resumed, resumed
//! again. Whatever the cut, the target must hold in the end what an undisturbed run leaves there, by the mock's truth.

mod graph;
mod peer;
mod stage;
mod target;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use mailwave::env::Step;

pub use self::graph::target as graph_target;
use self::peer::{Held, Kind};
use self::stage::{End, Stage};
use self::target::Defect;
pub use self::world::{Observer, VirtualClock};

const SEED: u64 = 20261122;

/// Where a story is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Nowhere,
    FirstPass(u64),
    SecondPass(u64),
}

/// What a story leaves behind.
struct Told {
    held: Held,
    steps: (u64, u64),
    kinds: BTreeMap<Step, u64>,
    cut_at: Option<Step>,
    faults: BTreeMap<String, u64>,
    /// Most requests under way at once in one mailbox.
    peak: u32,
}

/// The whole story: first pass, users change things, second pass, a third that may tidy up, a fourth that must not
/// write. A cut pass is resumed.
fn tell(kind: Kind, cut: Cut, defect: Defect) -> Result<Told, String> {
    let stage = Stage::new(kind, SEED, defect);
    let mut cut_at = None;
    let mut kinds: BTreeMap<Step, u64> = BTreeMap::new();
    let mut pass = |k: Option<u64>| -> Result<u64, String> {
        let observer = Observer::new(k);
        match stage.run(&observer) {
            End::Cut => {
                cut_at = observer.cut_at();
                let resumed = Observer::new(None);
                finished(stage.run(&resumed))?;
            }
            End::Finished(result) => finished(End::Finished(result))?,
        }
        for (kind, n) in observer.kinds() {
            *kinds.entry(kind).or_default() += n;
        }
        Ok(observer.passed())
    };
    let first = pass(match cut {
        Cut::FirstPass(k) => Some(k),
        _ => None,
    })?;
    stage.users_change_things();
    let second = pass(match cut {
        Cut::SecondPass(k) => Some(k),
        _ => None,
    })?;
    pass(None)?;
    let writes = stage.account().writes;
    pass(None)?;
    let account = stage.account();
    if account.writes != writes {
        return Err(format!("the last run wrote {} times", account.writes - writes));
    }
    if let Some(wrong) = account.wrong.into_iter().next() {
        return Err(wrong);
    }
    let counted: usize = account.held.values().map(Vec::len).sum();
    let source: usize = stage.source_counts().values().sum();
    if counted != source + account.foreign {
        let foreign = account.foreign;
        return Err(format!("{counted} messages: copies of {source}, and {foreign} of others"));
    }
    Ok(Told {
        held: account.held,
        steps: (first, second),
        kinds,
        cut_at,
        faults: account.faults,
        peak: account.peak,
    })
}

fn finished(end: End) -> Result<(), String> {
    let End::Finished(result) = end else { return Err("cut where it must not be".to_owned()) };
    for ended in &result.mailboxes {
        if let Some(error) = &ended.error {
            return Err(format!("a mailbox ended with: {error}"));
        }
    }
    if result.mailboxes.len() != 3 { Err("a mailbox is missing".to_owned()) } else { Ok(()) }
}

/// Tells the story once for each cut, on two threads; the first failure of each is returned.
fn tell_all(
    kind: Kind,
    cuts: &[Cut],
    defect: Defect,
    expected: &Held,
    stop_at_first: bool,
) -> (Vec<Option<Step>>, Vec<String>) {
    let next = AtomicUsize::new(0);
    let done = Mutex::new((Vec::new(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::SeqCst);
                    let Some(cut) = cuts.get(i) else { return };
                    let told = tell(kind, *cut, defect);
                    let mut done = done.lock().unwrap();
                    match told {
                        Ok(told) => {
                            done.0.push(told.cut_at);
                            if told.held != *expected {
                                done.1.push(format!(
                                    "{cut:?} ({:?}): {}",
                                    told.cut_at,
                                    difference(expected, &told.held)
                                ));
                            }
                        }
                        Err(what) => done.1.push(format!("{cut:?}: {what}")),
                    }
                    if stop_at_first && !done.1.is_empty() {
                        next.store(cuts.len(), Ordering::SeqCst);
                    }
                }
            });
        }
    });
    done.into_inner().unwrap()
}

fn difference(expected: &Held, got: &Held) -> String {
    for (place, copies) in expected {
        let there = got.get(place).map_or(&[][..], Vec::as_slice);
        if there != copies.as_slice() {
            return format!("a folder of {} copies holds {}", copies.len(), there.len());
        }
    }
    "the target holds a folder it should not".to_owned()
}

/// Every cut of both passes.
fn every_cut(undisturbed: &Told) -> Vec<Cut> {
    let (first, second) = undisturbed.steps;
    (1..=first).map(Cut::FirstPass).chain((1..=second).map(Cut::SecondPass)).collect()
}

/// Cuts before every effect, and compares.
fn every_cut_ends_alike(kind: Kind) {
    println!("seed {SEED}");
    let undisturbed = tell(kind, Cut::Nowhere, Defect::None).expect("an undisturbed run is right");
    for (fault, fired) in &undisturbed.faults {
        assert!(*fired > 0, "the fault {fault:?} never fired");
    }
    assert!(undisturbed.peak >= 4, "only {} stores were in flight at once", undisturbed.peak);
    let again = tell(kind, Cut::Nowhere, Defect::None).expect("an undisturbed run is right");
    assert_eq!(undisturbed.steps, again.steps, "the same seed makes the same run");

    let cuts = every_cut(&undisturbed);
    println!("{} steps in the first pass, {} in the second", undisturbed.steps.0, undisturbed.steps.1);
    let (cut_at, failures) = tell_all(kind, &cuts, Defect::None, &undisturbed.held, false);
    assert!(
        failures.is_empty(),
        "{} of {} cuts:\n{}",
        failures.len(),
        cuts.len(),
        failures[..failures.len().min(20)].join("\n")
    );
    let mut by_kind: BTreeMap<Step, u64> = BTreeMap::new();
    for step in cut_at.into_iter().flatten() {
        *by_kind.entry(step).or_default() += 1;
    }
    println!("cut: {by_kind:?}");
    for step in Step::ALL.into_iter().filter(|step| kind.passes(*step)) {
        let cut = by_kind.get(&step).copied().unwrap_or(0);
        assert!(cut >= 3, "{step:?} was cut {cut} times, passed {:?} times", undisturbed.kinds.get(&step));
    }
}

/// The test of the test: with a defect put in, at least one cut must turn red.
fn bites(kind: Kind, defect: Defect) {
    let undisturbed = tell(kind, Cut::Nowhere, Defect::None).expect("an undisturbed run is right");
    if let Err(what) = tell(kind, Cut::Nowhere, defect) {
        println!("noticed without a cut: {what}");
        return;
    }
    let (_, failures) = tell_all(kind, &every_cut(&undisturbed), defect, &undisturbed.held, true);
    assert!(!failures.is_empty(), "the trial did not notice {defect:?}");
    println!("noticed: {}", failures[0]);
}

#[test]
fn cut_before_any_effect_and_resumed_a_migration_ends_as_if_undisturbed() {
    every_cut_ends_alike(Kind::Graph);
}

#[test]
fn without_stamps_too_a_migration_ends_as_if_undisturbed() {
    every_cut_ends_alike(Kind::Numbered);
}

#[test]
fn where_a_server_changes_messages_a_migration_ends_as_if_undisturbed() {
    every_cut_ends_alike(Kind::Altering);
}

#[test]
fn the_trial_turns_red_when_intents_are_not_synced() {
    bites(Kind::Graph, Defect::IntentNotSynced);
    bites(Kind::Numbered, Defect::IntentNotSynced);
}

#[test]
fn the_trial_turns_red_when_the_look_up_is_blind() {
    bites(Kind::Graph, Defect::LookUpBlind);
    bites(Kind::Numbered, Defect::LookUpBlind);
}

#[test]
fn the_trial_turns_red_when_an_open_store_is_taken_for_done() {
    bites(Kind::Graph, Defect::OpenTakenForDone);
}

#[test]
fn the_trial_turns_red_when_intents_have_no_anchor() {
    bites(Kind::Numbered, Defect::NoAnchor);
}

#[test]
fn the_trial_turns_red_when_copies_are_not_seen_where_they_are() {
    bites(Kind::Numbered, Defect::CopiesUnseen);
}

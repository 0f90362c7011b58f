//! The crash trial: a whole migration in one thread, from one seed, cut before every single effect, resumed, resumed
//! again. Whatever the cut, the target must hold in the end what an undisturbed run leaves there, by the mock's truth.

mod graph;
mod stage;
mod target;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use mailwave::env::Step;
use mailwave::mock::graph::Truth;

pub use self::graph::target as graph_target;
use self::stage::{End, Stage};
use self::target::Defect;
pub use self::world::{Observer, VirtualClock};

const SEED: u64 = 20261122;

/// A copy, as far as it must not depend on cuts: everything but ids and times of creation.
type Copy = (String, String, bool, bool, String, Vec<String>, String, Vec<(String, String)>);

/// What the target holds: mailbox and folder → copies, sorted.
type Held = BTreeMap<(String, String), Vec<Copy>>;

fn held(truth: &Truth) -> Held {
    let mut held = Held::new();
    for (address, mailbox) in &truth.mailboxes {
        for (path, folder) in &mailbox.folders {
            let mut copies: Vec<Copy> = folder
                .messages
                .iter()
                .map(|m| {
                    let attachments =
                        m.attachments.iter().map(|a| (a.name.clone(), a.digest.clone())).collect();
                    (
                        m.subject.clone().unwrap_or_default(),
                        m.received.clone(),
                        m.is_read,
                        m.is_draft,
                        m.flag.clone(),
                        m.categories.clone(),
                        m.body_digest.clone(),
                        attachments,
                    )
                })
                .collect();
            copies.sort();
            if !copies.is_empty() {
                held.insert((address.clone(), path.clone()), copies);
            }
        }
    }
    held
}

/// Stamps on the target's copies; an error names what is wrong with them.
fn stamps(truth: &Truth) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for mailbox in truth.mailboxes.values() {
        for message in mailbox.folders.values().flat_map(|f| &f.messages) {
            let Some(stamp) = message.named.values().find(|v| v.starts_with("mw1.")) else {
                return Err("a copy without a stamp".to_owned());
            };
            if !stamp.ends_with("/done") {
                return Err(format!("an incomplete copy is left: {stamp}"));
            }
            if !seen.insert(stamp.clone()) {
                return Err(format!("two copies of one stamp: {stamp}"));
            }
        }
    }
    Ok(())
}

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
fn tell(cut: Cut, defect: Defect) -> Result<Told, String> {
    let stage = Stage::new(SEED, defect);
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
    let writes = stage.truth().counters.writes();
    pass(None)?;
    let truth = stage.truth();
    if truth.counters.writes() != writes {
        return Err(format!("the last run wrote {} times", truth.counters.writes() - writes));
    }
    if truth.pending > 0 {
        return Err("something is still under way at the target".to_owned());
    }
    if !truth.counters.violations.is_empty() {
        return Err(format!("the client broke rules: {:?}", truth.counters.violations));
    }
    stamps(&truth)?;
    let counted: usize = held(&truth).values().map(Vec::len).sum();
    let source: usize = stage.source_counts().values().sum();
    if counted != source {
        return Err(format!("{counted} copies of {source} messages"));
    }
    Ok(Told {
        held: held(&truth),
        steps: (first, second),
        kinds,
        cut_at,
        faults: truth.faults.clone(),
        peak: truth.counters.peak_in_flight,
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
                    let told = tell(*cut, defect);
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

#[test]
fn cut_before_any_effect_and_resumed_a_migration_ends_as_if_undisturbed() {
    println!("seed {SEED}");
    let undisturbed = tell(Cut::Nowhere, Defect::None).expect("an undisturbed run is right");
    for (fault, fired) in &undisturbed.faults {
        assert!(*fired > 0, "the fault {fault:?} never fired");
    }
    assert!(undisturbed.peak >= 4, "only {} stores were in flight at once", undisturbed.peak);
    let again = tell(Cut::Nowhere, Defect::None).expect("an undisturbed run is right");
    assert_eq!(undisturbed.steps, again.steps, "the same seed makes the same run");

    let cuts = every_cut(&undisturbed);
    println!("{} steps in the first pass, {} in the second", undisturbed.steps.0, undisturbed.steps.1);
    let (cut_at, failures) = tell_all(&cuts, Defect::None, &undisturbed.held, false);
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
    for step in Step::ALL {
        let cut = by_kind.get(&step).copied().unwrap_or(0);
        assert!(cut >= 3, "{step:?} was cut {cut} times, passed {:?} times", undisturbed.kinds.get(&step));
    }
}

/// The test of the test: with a defect put in, at least one cut must turn red.
fn bites(defect: Defect) {
    let undisturbed = tell(Cut::Nowhere, Defect::None).expect("an undisturbed run is right");
    if tell(Cut::Nowhere, defect).is_err() {
        return; // red even without a cut
    }
    let (_, failures) = tell_all(&every_cut(&undisturbed), defect, &undisturbed.held, true);
    assert!(!failures.is_empty(), "the trial did not notice {defect:?}");
    println!("noticed: {}", failures[0]);
}

#[test]
fn the_trial_turns_red_when_intents_are_not_synced() {
    bites(Defect::IntentNotSynced);
}

#[test]
fn the_trial_turns_red_when_the_look_up_is_blind() {
    bites(Defect::LookUpBlind);
}

#[test]
fn the_trial_turns_red_when_an_open_store_is_taken_for_done() {
    bites(Defect::OpenTakenForDone);
}

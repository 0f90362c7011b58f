//! What every mode that imports is put through: a fault of one request, and a cut before any of them.

use mailwave::mock::graph::{Fault, FaultRule, FaultScript, When};
use mailwave::target::{Copy, CopyRef};

use super::*;

/// A fault named `it`, at the `nth` of the requests that match, once.
pub fn once(method: &str, path: &str, nth: u64, fault: Fault) -> FaultScript {
    let rule = FaultRule { at_most: 1, ..rule(method, path, When::Nth(vec![nth]), fault) };
    FaultScript { seed: 1, rules: vec![rule] }
}

/// A fault named `it`, without a bound.
pub fn rule(method: &str, path: &str, when: When, fault: Fault) -> FaultRule {
    let (method, path) = (method.to_owned(), path.to_owned());
    FaultRule { name: "it".into(), method, path, when, at_most: 0, fault }
}

/// What the engine does about a message whose outcome is unknown: look, remove what is incomplete, store again.
pub async fn settle(desk: &Desk, settings: GraphSettings, folder: &TargetFolderId, item: &StoreItem) {
    let (mailbox, gate) = desk.open(settings).await;
    for _ in 0..4 {
        let found = mailbox.find(&StampPrefix::exactly(&item.stamp)).await.expect("complete");
        let (complete, incomplete): (Vec<Copy>, Vec<Copy>) = found.into_iter().partition(|c| c.complete);
        let incomplete: Vec<CopyRef> = incomplete.iter().map(Copy::to_ref).collect();
        assert!(mailbox.remove(&incomplete).await.iter().all(Result::is_ok));
        if !complete.is_empty() {
            return;
        }
        store(&mailbox, &gate, folder, vec![item.clone()]).await;
    }
    panic!("it does not converge");
}

/// Stores `items` with this fault of one request, then settles what was not stored for good. What happened, in words.
pub async fn store_with(
    desk: &Desk,
    settings: impl Fn() -> GraphSettings,
    items: &[StoreItem],
    (method, path, nth): (&str, &str, u64),
    fault: &Fault,
) -> (String, Vec<Outcome>) {
    let (mailbox, gate) = desk.open(settings()).await;
    let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
    desk.mock.faults(once(method, path, nth, fault.clone()));
    let outcomes = store(&mailbox, &gate, &folder, items.to_vec()).await;
    let context = format!("{method} {path} {nth} {fault:?}: {outcomes:?}");
    assert_eq!(desk.mock.fault_counts()["it"], 1, "{context}");
    for (item, outcome) in items.iter().zip(&outcomes) {
        // A lost write is found by the recount, not by the store.
        if !matches!(outcome, Outcome::Stored { .. }) || *fault == Fault::Lost {
            tokio::time::sleep(Duration::from_secs(5)).await;
            settle(desk, settings(), &folder, item).await;
        }
    }
    (context, outcomes)
}

/// Lets so many steps pass.
struct Cut(Mutex<usize>);

impl StepObserver for Cut {
    fn pass(&self, _: Step) -> bool {
        let mut left = self.0.lock().unwrap();
        *left = left.saturating_sub(1);
        *left > 0
    }
}

/// Another client of the same mailbox, whose world ends after so many steps, stores `items`. Did it come to its end?
pub async fn cut_after(
    steps: usize,
    desk: &Desk,
    settings: GraphSettings,
    folder: &TargetFolderId,
    items: &[StoreItem],
) -> bool {
    let env = Env::simulated(7, BEGIN, Arc::new(Cut(Mutex::new(steps))));
    let target = GraphTarget::new(&env, desk.http.clone(), settings).expect("settings");
    let gate = Gate::unlimited(&env);
    let work = async {
        let mailbox = target.open(ANN, "", gate.clone()).await.expect("opens");
        mailbox.store(folder, items.to_vec(), gate.lookup()).await
    };
    tokio::time::timeout(Duration::from_secs(1800), work).await.is_ok()
}

//! SIGTERM, and a process that stands still while the world goes on.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Mailboxes, configure, finish};
use crate::support::process::{GraphProcess, Running, until};
use crate::support::tier::seed;

/// How long a run that was asked to end may take for what is under way.
const GRACE: Duration = Duration::from_secs(30);

#[test]
fn a_run_asked_to_end_at_random_moments_ends_within_its_grace_and_can_be_gone_on_with() {
    let seed = seed(|| fastrand::u64(..));
    let mut dice = fastrand::Rng::with_seed(seed);
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    // What is under way is some hundred messages of each mailbox.
    let made = Mailboxes::make(dir, seed, 2, 700);
    let latency = json!({ "base_ms": 40, "jitter_ms": 40 });
    let graph = GraphProcess::start(dir, &json!({ "seed": seed, "latency": latency }));
    configure(dir, &graph, 2);
    let mut stopped = 0;
    for _ in 0..4 {
        let before = graph.counters();
        let awaited = dice.u64(1..=25);
        let mut run = Running::start(dir);
        until("a moment", || {
            let come = graph.counters().creates >= before.creates + awaited;
            (come || run.ended().is_some()).then_some(())
        });
        std::thread::sleep(Duration::from_millis(dice.u64(0..60)));
        // Heard once it listens: a run that has asked the target does.
        run.signal("TERM");
        let asked = Instant::now();
        let (code, json, err) = run.end();
        assert!(asked.elapsed() < GRACE, "{:?}", asked.elapsed());
        assert_eq!(json["messages"]["unknown"], 0, "what was under way was finished: {json}");
        if code == 0 {
            break; // all that was left was under way
        }
        assert_eq!(code, 75, "{json}\n{err}");
        assert!(err.contains("run the same command"), "{err}");
        stopped += 1;
    }
    assert!(stopped >= 2, "ended {stopped} times");
    println!("ended {stopped} times, {} messages made", graph.counters().creates);
    finish(dir, &graph, &made);
}

#[test]
fn a_run_that_stood_still_goes_on_and_nobody_else_works_in_its_place_meanwhile() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let made = Mailboxes::make(dir, 9, 4, 40);
    let graph = GraphProcess::start(dir, &json!({ "latency": { "base_ms": 60, "jitter_ms": 60 } }));
    configure(dir, &graph, 4);

    let mut run = Running::start(dir);
    for after in [5, 40] {
        until("some messages to be made", || {
            assert!(run.ended().is_none(), "{}", run.talk());
            (graph.counters().creates >= after).then_some(())
        });
        run.signal("STOP");
        // What it sent is acted on; its answers wait in its sockets.
        graph.settled();
        let before = graph.counters();
        let (code, json, err) = Running::with(dir, "second", &[]).end();
        assert_eq!(code, 2, "the ledger is the first one's: {json}\n{err}");
        let (now, before) = (graph.counters(), before);
        assert_eq!((now.creates, now.writes()), (before.creates, before.writes()), "the second did nothing");
        // Longer than it waits for a copy to appear.
        std::thread::sleep(Duration::from_millis(600));
        run.signal("CONT");
    }
    let (code, json, err) = run.end();
    assert_eq!(code, 0, "{json}\n{err}");
    finish(dir, &graph, &made);
}

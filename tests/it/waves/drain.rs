//! A run that is to end does so within its grace, however slow the target is, and the next one loses and doubles nothing.

use std::time::{Duration, Instant};

use super::Bed;
use crate::cli::said;

#[test]
fn a_drain_leaves_what_is_not_done_within_the_grace_and_the_next_run_looks_for_it() {
    // A message takes seconds, a batch of them longer than anyone waits.
    let bed = Bed::new(1500, &[("ann", "", 24)], "", "[run]\ngrace = \"2s\"\nsettle = \"500ms\"\n");
    let mut run = bed.run(&[]);
    bed.made(&mut run, 1);
    let asked = Instant::now();
    assert_eq!(said(bed.dir(), &["drain", "mailwave.toml"]).code, 0);
    let (code, json, talk) = run.end();
    let took = asked.elapsed();
    assert_eq!(code, 75, "{json}\n{talk}");
    // The grace, the report, and what a busy machine takes to start a process.
    assert!(took < Duration::from_secs(12), "it took {took:?}: {talk}");
    let (stored, unknown) = (&json["messages"]["stored"], &json["messages"]["unknown"]);
    assert!(unknown.as_u64().unwrap() > 0 && stored.as_u64().unwrap() < 24, "it was cut: {json}");
    let status = said(bed.dir(), &["status", "mailwave.toml"]);
    assert!(
        status.out.contains("the last run ended 20") && status.out.contains("it was bound by: "),
        "{}",
        status.out
    );

    let (code, json, talk) = bed.run(&[]).end();
    assert_eq!(code, 0, "{json}\n{talk}");
    assert_eq!(json["messages"]["unknown"], 0, "{json}");
    assert_eq!(bed.copies(), 24, "each once");
    assert_eq!(said(bed.dir(), &["verify", "mailwave.toml"]).code, 0);
}

#[test]
fn what_is_prepared_is_not_begun_once_a_drain_is_asked_for() {
    let bed = Bed::new(150, &[("ann", "", 400)], "", "");
    let mut run = bed.run(&[]);
    bed.made(&mut run, 8);
    assert_eq!(said(bed.dir(), &["drain", "mailwave.toml"]).code, 0);
    let (code, json, talk) = run.end();
    assert_eq!(code, 75, "{json}\n{talk}");
    assert_eq!(json["messages"]["unknown"], 0, "within the grace all that was begun is done: {json}");
    assert_eq!(bed.copies() as u64, json["messages"]["stored"].as_u64().unwrap());
    let (code, json, _) = bed.run(&[]).end();
    assert_eq!((code, bed.copies()), (0, 400), "{json}");
}

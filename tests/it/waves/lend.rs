//! `verify` beside a run: both together stay within the limits of the service.

use std::fs::File;
use std::process::Stdio;

use serde_json::json;

use super::Bed;
use crate::cli::{mailwave, said};
use crate::support::process::until;

/// Strict limits at both sides: two requests at once, sixteen in two seconds: a run alone uses them up.
fn strict(rows: &[(&str, &str, usize)]) -> Bed {
    let options = json!({
        "latency": { "base_ms": 30 },
        "limits": { "concurrent": 2, "requests": 16, "window_seconds": 2 },
    });
    Bed::with(&options, rows, "", "[limits]\nat_once = 2\nrequests = 16\nrequests_per = \"2s\"\n")
}

#[test]
fn verify_beside_a_run_asks_it_for_permits_and_the_service_refuses_neither() {
    let bed = strict(&[("ann", "", 90), ("bob", "", 90)]);
    let mut run = bed.run(&[]);
    bed.made(&mut run, 20);
    let mut verified = 0;
    // Four at once: each by itself would fit beside the run, all together by far not. One that begins when the run is gone
    // has limits of its own, and knows nothing of what the run sent: so none does.
    while bed.graph.counters().creates < 100 {
        assert!(run.child.try_wait().unwrap().is_none(), "it ended: {}", run.talk());
        let verify = || said(bed.dir(), &["verify", "mailwave.toml", "--json", "--log", "info"]);
        let all: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(verify)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for verify in all {
            assert!(verify.code <= 1, "{}", verify.err);
            assert!(verify.err.contains("its permits are borrowed"), "{}", verify.err);
        }
        verified += 1;
    }
    let (code, json, talk) = run.end();
    assert_eq!(code, 0, "{json}\n{talk}");
    assert!(verified > 0, "the run was over before they began");
    assert_eq!(json["messages"]["stored"], 180);
    let counters = bed.graph.counters();
    assert_eq!(counters.throttled, 0, "{counters:?}");
    assert_eq!(bed.copies(), 180);
}

#[test]
fn a_verify_whose_run_is_killed_goes_on_with_limits_of_its_own_and_windows_counted_as_spent() {
    let bed = strict(&[("ann", "", 200)]);
    let mut run = bed.run(&[]);
    bed.made(&mut run, 30);
    let log = bed.dir().join("verify.err");
    let mut verify = mailwave(bed.dir(), &["verify", "mailwave.toml", "--log", "info"])
        .stdout(Stdio::null())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let told = || std::fs::read_to_string(&log).unwrap();
    until("verify to borrow", || told().contains("its permits are borrowed").then_some(()));
    run.child.kill().unwrap();
    run.child.wait().unwrap();
    let status = until("verify to end", || verify.try_wait().unwrap());
    assert!(matches!(status.code(), Some(0 | 1)), "{status}: {}", told());
    let counters = bed.graph.counters();
    assert_eq!(counters.throttled, 0, "{counters:?}\n{}", told());
}

//! What a run says of itself while it goes: why it is not faster, each wave by itself, and nothing that names anybody.

use std::fs;

use serde_json::Value;

use super::Bed;
use crate::cli::said;
use crate::support::process::until;

#[test]
fn a_wave_with_a_pace_of_its_own_keeps_it_and_status_says_that_the_limit_binds() {
    let rows = [("ann", "slow", 60), ("bob", "fast", 300)];
    let bed = Bed::new(20, &rows, "", "[wave.slow]\nmessages_per_second = 5\n[wave.fast]\n");
    let run = bed.run(&[]);
    // The pace is told from the first ten seconds on.
    let live = until("the pace of both waves to be told", || {
        let status = said(bed.dir(), &["status", "mailwave.toml", "--json"]);
        let status: Value = serde_json::from_str(&status.out).unwrap_or_default();
        let waves = status["run"]["waves"].as_array().cloned().unwrap_or_default();
        let slow = waves.iter().find(|w| w["wave"] == "slow")?.clone();
        (slow["per_second"]["messages"].as_f64()? > 0.0).then_some((status, slow))
    });
    let (status, slow) = live;
    assert!(slow["per_second"]["messages"].as_f64().unwrap() < 8.0, "{slow}");
    assert!(slow["bound_by"]["run"]["shares"]["limit"].as_f64().unwrap() > 0.7, "{slow}");
    assert!(slow["seconds_left"].as_u64().unwrap() <= 20, "{slow}");
    let shares = status["run"]["bound_by"]["run"]["shares"].as_object().unwrap();
    let sum: f64 = shares.values().filter_map(Value::as_f64).sum();
    assert!((0.99..1.01).contains(&sum), "the causes are all of the time: {shares:?}");
    let text = said(bed.dir(), &["status", "mailwave.toml"]);
    assert!(text.out.contains("wave slow is bound by: limit "), "{}", text.out);
    let (code, json, talk) = run.end();
    assert_eq!(code, 0, "{json}\n{talk}");
    assert!(
        json["seconds"].as_f64().unwrap() > 9.0,
        "60 messages at 5 a second, a second's worth at once: {json}"
    );
    assert_eq!(json["stages"]["copy"]["messages"], 360, "{json}");
    assert!(json["stages"]["list"]["source_round_trips"].is_u64(), "{json}");
    let saved: Value =
        serde_json::from_slice(&fs::read(bed.dir().join("mailwave-ledger/last-run.json")).unwrap()).unwrap();
    assert_eq!(
        (&saved["ended"], &saved["run"]["messages"]["stored"]),
        (&true.into(), &360.into()),
        "{saved}"
    );
}

#[test]
fn the_log_of_a_run_with_failures_names_nobody_at_any_level() {
    const CANARIES: [&str; 6] =
        ["canaryann", "canarybob", "canarymissing", "CANARYSUBJECT", "CANARYBODY", "CANARYFOLDER"];
    let rows = [("canaryann", "w", 12), ("canarybob", "w", 12), ("canarymissing", "w", 1)];
    let bed = Bed::new(5, &rows, "", "[run]\nsettle = \"100ms\"\n");
    let mailbox = bed.dir().join("in/canaryann");
    for sub in ["cur", "new", "tmp"] {
        fs::create_dir_all(mailbox.join(".CANARYFOLDER").join(sub)).unwrap();
    }
    let mail = "From: canaryann@example.org\r\nSubject: CANARYSUBJECT\r\nMessage-ID: <canaryann.1@x>\r\n\r\nCANARYBODY\r\n";
    for n in 0..6 {
        fs::write(mailbox.join(format!(".CANARYFOLDER/cur/{n}.made:2,S")), mail).unwrap();
    }
    fs::remove_dir_all(bed.dir().join("in/canarymissing")).unwrap();
    fs::write(bed.dir().join("in/canarymissing"), "no directory").unwrap();
    let script = serde_json::json!({ "rules": [
        { "name": "broken", "method": "POST", "path": "/messages", "when": { "Nth": [3] }, "fault": { "DoneBut": { "status": 504, "retry_after": null } } },
        { "name": "slow", "method": "POST", "path": "/messages", "when": { "Nth": [5] }, "fault": { "Answer": { "status": 429, "code": "ApplicationThrottled", "retry_after": "1" } } },
        { "name": "refused", "method": "POST", "path": "/messages", "when": { "Nth": [9, 10, 11, 12, 13] }, "fault": { "Answer": { "status": 400, "code": "ErrorInvalidRecipients", "retry_after": null } } },
    ]});
    bed.graph.faults(&serde_json::from_value(script).unwrap());
    let (code, json, log) = bed.run(&["--log", "trace"]).end();
    assert_eq!(code, 2, "one mailbox cannot be opened: {json}\n{log}");
    // It is a log: spans with pseudonyms, ordinals and numbers.
    for told in
        ["run:wave{wave=w}:mailbox{mailbox=", ":pass{", ":batch{folder=", "batch=", "messages=", "source_ms="]
    {
        assert!(log.contains(told), "{told} is missing: {log}");
    }
    for canary in CANARIES {
        assert!(!log.to_lowercase().contains(&canary.to_lowercase()), "{canary} is in the log: {log}");
        assert!(!json.to_string().contains(canary), "{canary} is in the result: {json}");
    }
    assert!(!log.contains("Bearer ") && !log.contains("client_secret="), "{log}");
    let saved = fs::read_to_string(bed.dir().join("mailwave-ledger/last-run.json")).unwrap();
    assert!(CANARIES.iter().all(|canary| !saved.contains(canary)), "{saved}");
}

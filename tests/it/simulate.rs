//! The simulated night: the published scenarios at a tenth of their size, and the binary's face.

use std::fmt;
use std::time::Duration;

use mailwave::env::Tick;
use mailwave::observe::Progress;
use mailwave::simulate::{self, Ordering, Outcome, Scenario, Watch};

use crate::cli::mailwave;

#[derive(Default)]
struct Events(Vec<String>);

impl Watch for Events {
    fn event(&mut self, at: Tick, what: fmt::Arguments<'_>) {
        self.0.push(format!("{at:?} {what}"));
    }

    fn second(&mut self, _: Tick, _: &Progress) {}
}

const RATE_BOUND: &str = include_str!("../../fixtures/scenarios/rate-bound.toml");
const FULL_TAIL: &str = include_str!("../../fixtures/scenarios/full-tail.toml");

/// A published scenario at a fraction of its size: everything that is shared is divided, what holds for one mailbox is
/// not.
fn part(text: &str, of: u32) -> Scenario {
    let mut scenario = Scenario::parse(text).unwrap();
    scenario.mailboxes /= of;
    scenario.open_mailboxes /= of as usize;
    scenario.memory /= u64::from(of);
    scenario.source.bytes_per_second /= u64::from(of);
    scenario.target.bytes_per_second /= u64::from(of);
    scenario.target.app_requests_per_second /= of;
    scenario
}

fn night(scenario: &Scenario, seed: u64, ordering: Ordering) -> (Outcome, Vec<String>) {
    let mut events = Events::default();
    let outcome = simulate::run(scenario, seed, ordering, &mut events).unwrap();
    (outcome, events.0)
}

#[test]
fn the_same_scenario_and_seed_give_the_same_events_and_another_seed_others() {
    let scenario = part(RATE_BOUND, 400);
    let (one, events) = night(&scenario, 7, Ordering::LongestFirst);
    let (again, same) = night(&scenario, 7, Ordering::LongestFirst);
    assert!(events.len() > 100 && events == same);
    assert_eq!(one.log, again.log);
    assert_ne!(one.log, night(&scenario, 8, Ordering::LongestFirst).0.log);
}

#[test]
fn a_rate_bound_night_ends_near_the_least_possible_and_is_hardly_refused() {
    let scenario = part(RATE_BOUND, 40);
    for seed in 1..=2 {
        let (outcome, _) = night(&scenario, seed, Ordering::LongestFirst);
        let over = outcome.over_the_bound();
        assert!((0.99..1.12).contains(&over), "seed {seed}: {over} × {:?}", outcome.bounds);
        assert!(outcome.refused * 1000 <= outcome.requests, "seed {seed}: {} refused", outcome.refused);
        assert_eq!(outcome.mailboxes.len() as u32, scenario.mailboxes, "seed {seed}: every mailbox ended");
        assert!(outcome.mailboxes.iter().all(|m| m.failed || m.is_complete()), "seed {seed}");
    }
}

#[test]
fn mailboxes_that_cannot_end_within_the_window_are_named_before_it_and_the_others_end() {
    let scenario = part(FULL_TAIL, 40);
    let (outcome, _) = night(&scenario, 3, Ordering::LongestFirst);
    let too_long = simulate::too_long(&scenario, 3).unwrap();
    assert!(!too_long.is_empty(), "the tail is long");
    let window = scenario.window();
    assert!(too_long.iter().all(|(_, time)| *time > window));
    let named = |key| too_long.iter().any(|(one, _)| one == key);
    let left: Vec<_> = outcome.mailboxes.iter().filter(|m| !m.failed && !m.is_complete()).collect();
    let surprised = left.iter().filter(|m| !named(&m.key)).count();
    // Those whose size was expected wrongly may be longer than anybody knew.
    assert!(surprised * 200 <= outcome.mailboxes.len(), "{surprised} of {}", outcome.mailboxes.len());
    assert!(outcome.took <= window + Duration::from_secs(60), "it drains at the window's end");
}

#[test]
fn a_scenario_with_a_mistake_is_refused_with_its_line() {
    let wrong = RATE_BOUND.replace("window_hours", "window_hour");
    let error = Scenario::parse(&wrong).unwrap_err().to_string();
    assert!(error.contains("window_hour") && error.contains("line"), "{error}");
    let zero = RATE_BOUND.replace("mailboxes = 22000", "mailboxes = 0");
    assert!(Scenario::parse(&zero).unwrap_err().to_string().contains("mailboxes"));
}

#[test]
fn the_binary_tells_the_bounds_and_writes_the_report_of_a_real_run() {
    let dir = tempfile::tempdir().unwrap();
    let small = RATE_BOUND.replace("mailboxes = 22000", "mailboxes = 40");
    std::fs::write(dir.path().join("small.toml"), small).unwrap();
    let out =
        mailwave(dir.path(), &["simulate", "small.toml", "--out", "report", "--json"]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(told["bounds_seconds"]["longest_mailbox"].as_f64().unwrap() > 60.0);
    assert_eq!(told["complete"].as_u64().unwrap() + told["failed"].as_u64().unwrap(), 40);
    let lines = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        lines.contains("mailboxes ") && lines.contains("; bound by: limit "),
        "lines as of a run: {lines}"
    );
    let shares = told["bound_by"]["run"]["shares"].as_object().unwrap();
    assert!((shares.values().filter_map(serde_json::Value::as_f64).sum::<f64>() - 1.0).abs() < 0.01);
    let report = std::fs::read_to_string(dir.path().join("report/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["mailboxes"].as_array().unwrap().len(), 40);
    let wrong = mailwave(dir.path(), &["simulate", "no-such"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("rate-bound, full-tail"));
}

#[test]
fn orders_are_compared_with_one_command_whose_end_and_exit_tell_the_worst() {
    let dir = tempfile::tempdir().unwrap();
    let ends = |mailboxes: &str, open: &str| {
        let small = RATE_BOUND.replace("mailboxes = 22000", mailboxes).replace("open_mailboxes = 5000", open);
        std::fs::write(dir.path().join("small.toml"), small).unwrap();
        let out = mailwave(dir.path(), &["simulate", "small.toml", "--compare", "2"]).output().unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap())
    };
    // One at a time takes as long in any order, and many times as long as the longest by itself.
    let (code, table) = ends("mailboxes = 4", "open_mailboxes = 1");
    assert_eq!(code, Some(1), "{table}");
    let last = table.lines().last().unwrap();
    assert!(last.contains("longest first is at worst") && last.contains("× the least possible"), "{table}");
    assert_eq!(
        table.lines().filter(|line| line.contains(" %")).count(),
        3,
        "two seeds and the worst: {table}"
    );
}

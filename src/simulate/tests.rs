//! Nights in which something is short, and nights whose rules are broken on purpose: these must not go on for ever.

use std::fmt;
use std::time::Duration;

use super::Ordering;
use super::night::{Broken, Watch, run_by};
use super::outcome::Outcome;
use super::scenario::Scenario;
use crate::env::Tick;
use crate::limit::Bound;
use crate::model::{Error, Kind};
use crate::observe::Progress;

struct Nobody;

impl Watch for Nobody {
    fn event(&mut self, _: Tick, _: fmt::Arguments<'_>) {}
    fn second(&mut self, _: Tick, _: &Progress) {}
}

/// What of the scenario stands otherwise: from, to.
type Change = (&'static str, &'static str);

/// Few mailboxes; what is changed stands in `change`.
fn scenario(change: &[Change]) -> Scenario {
    let mut text = include_str!("../../fixtures/scenarios/rate-bound.toml").to_owned();
    let common = [
        ("mailboxes = 22000", "mailboxes = 30"),
        ("mean = 0.95e9", "mean = 0.2e9"),
        ("failing_percent = 2", "failing_percent = 0"),
    ];
    for (from, to) in common.iter().chain(change) {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    Scenario::parse(&text).expect("right")
}

const LITTLE: Change = ("memory = 16_000_000_000", "memory = 8_000_000\nspool = 64_000_000");
const LARGE: Change = ("message = 75_000", "message = 75_000\nlarge_percent = 5\nlarge = 40_000_000");
/// Larger than all of the memory, and not for the spool.
const OVER: Change = ("message = 75_000", "message = 75_000\nlarge_percent = 1\nlarge = 4_000_000");
const TINY: Change = ("memory = 16_000_000_000", "memory = 3_000_000");
const LEAST: Change = ("memory = 16_000_000_000", "memory = 400_000");
const UNANSWERED: Change = ("apps = 1", "apps = 1\nunanswered_percent = 20");

fn night(change: &[Change], broken: Option<Broken>) -> Result<Outcome, Error> {
    run_by(&scenario(change), 5, Ordering::LongestFirst, &mut Nobody, broken)
}

#[test]
fn a_message_larger_than_the_budget_all_lanes_large_and_look_ups_while_full_come_to_their_end() {
    let cases: [&[Change]; 5] =
        [&[LITTLE], &[TINY, OVER], &[LITTLE, LARGE], &[LITTLE, UNANSWERED], &[LITTLE, LARGE, UNANSWERED]];
    for change in cases {
        let outcome = night(change, None).unwrap_or_else(|e| panic!("{change:?}: {e}"));
        assert_eq!(outcome.mailboxes.len(), 30, "{change:?}");
        assert!(outcome.mailboxes.iter().all(super::Ended::is_complete), "{change:?}");
    }
}

#[test]
fn every_rule_that_is_broken_brings_the_night_to_a_standstill_that_names_who_waits_for_what() {
    let cases: [(Broken, &[Change], &str); 3] = [
        (Broken::LaneBeforeMemory, &[LEAST], "wait for a lane"),
        (Broken::LargerNeverFits, &[TINY, OVER], "wait for memory"),
        (Broken::LookHoldsMemory, &[LITTLE, UNANSWERED], "wait for memory"),
    ];
    for (broken, change, waits) in cases {
        assert!(night(change, None).is_ok(), "{broken:?}: with the rule it ends");
        let error = night(change, Some(broken)).map(|o| (broken, o.took)).expect_err("nothing can go on");
        assert_eq!(error.kind, Kind::Internal, "{broken:?}");
        assert!(error.what.contains("nothing goes on") && error.what.contains(waits), "{broken:?}: {error}");
    }
}

#[test]
fn look_ups_find_what_was_stored_and_what_is_not_there_is_stored_again() {
    let outcome = night(&[UNANSWERED], None).expect("it ends");
    let quiet = night(&[], None).expect("it ends");
    assert!(outcome.requests > quiet.requests, "looks and repeated stores are requests");
    let messages = |o: &Outcome| o.mailboxes.iter().map(|m| m.done.messages).sum::<u64>();
    assert_eq!(messages(&outcome), messages(&quiet), "each message is stored once");
}

#[test]
fn what_is_short_is_what_binds_and_all_causes_add_up_to_the_time_of_open_mailboxes() {
    const SOURCE: Change = (
        "bytes_per_second = 2_500_000_000\nlatency_ms = 20",
        "bytes_per_second = 3_000_000\nlatency_ms = 20",
    );
    const SLOW: Change = ("latency_ms = 300", "latency_ms = 5_000");
    const FEW: Change = ("app_requests_per_second = 13_000", "app_requests_per_second = 40");
    let cases: [(&[Change], Bound); 5] = [
        (&[], Bound::Limit),
        (&[SOURCE], Bound::Source),
        (&[SLOW], Bound::Target),
        (&[FEW], Bound::Limit),
        (&[("memory = 16_000_000_000", "memory = 2_000_000"), SLOW], Bound::Memory),
    ];
    for (change, binds) in cases {
        let outcome = night(change, None).expect("it ends");
        let shares = outcome.bound_by;
        let most = Bound::ALL.into_iter().max_by(|a, b| shares.of(*a).total_cmp(&shares.of(*b)));
        assert_eq!(most, Some(binds), "{change:?}: {:?}", shares.text());
        let open: Duration = outcome.mailboxes.iter().map(|m| m.at - m.began).sum();
        assert_eq!(shares.lanes, open, "{change:?}");
        let sum: f64 = Bound::ALL.into_iter().map(|cause| shares.of(cause)).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{change:?}: {sum}");
    }
}

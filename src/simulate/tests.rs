//! Nights in which something is short, and nights whose rules are broken on purpose: these must not go on for ever.

use std::fmt;

use super::Ordering;
use super::night::{Broken, Watch, run_by};
use super::outcome::Outcome;
use super::scenario::Scenario;
use crate::env::Tick;
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

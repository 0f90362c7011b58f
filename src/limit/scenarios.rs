//! The learner and the refusals against modelled services, under virtual time: each scenario is a file in
//! `fixtures/limits` with the ranges it must stay in.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::learner::{Bounds, Ended, Learner};
use super::refusal::Refusals;
use super::rules::THROTTLE;
use crate::env::Tick;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// How long, in seconds.
    seconds: u64,
    /// Mailboxes, each with so many requests at once, always more to send.
    mailboxes: usize,
    at_once: usize,
    least: u32,
    most: u32,
    first: u32,
    phase: Vec<Phase>,
    expect: Expect,
}

/// What the service is like from a second on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Phase {
    from: u64,
    latency_ms: u64,
    /// Each answer takes up to so much longer.
    #[serde(default)]
    jitter_percent: u64,
    /// Above so many at once answers take longer in proportion; 0: never.
    #[serde(default)]
    knee: usize,
    /// Requests above so many at once are refused; 0: none.
    #[serde(default)]
    refuses_above: usize,
    /// So many of a hundred are refused whatever comes.
    #[serde(default)]
    refuse_percent: u64,
    /// Only requests of the first so many mailboxes are refused; 0: of all.
    #[serde(default)]
    refused_mailboxes: usize,
    /// What a refusal tells to wait, in seconds; absent: nothing.
    retry_after: Option<u64>,
}

/// Ranges, both ends included.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// Served, as a share of what a client that knew the service would have had served.
    served: [f64; 2],
    /// Refused, percent of all requests.
    refused_percent: [f64; 2],
    /// Of the least served mailbox, as a share of the mean.
    #[serde(default)]
    least_mailbox: f64,
    /// What is learnt, looked at now and then.
    #[serde(default)]
    limit: Vec<Look>,
    /// Served in a span, as a share of the ideal.
    #[serde(default)]
    span: Vec<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    at: u64,
    between: [usize; 2],
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Span {
    from: u64,
    to: u64,
    served: [f64; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A mailbox may send again.
    Ready(usize),
    Ended(usize, Tick, bool),
    Look(usize),
}

struct World<'a> {
    scenario: &'a Scenario,
    now: Tick,
    heap: BinaryHeap<Reverse<(Tick, u64, Event)>>,
    seq: u64,
    learner: Learner,
    refusals: Vec<Refusals>,
    waiting: VecDeque<usize>,
    in_flight: Vec<usize>,
    /// Requests of mailboxes that feel their way with another one.
    aside: Vec<usize>,
    under_way: usize,
    dice: fastrand::Rng,
    served: Vec<u64>,
    served_at: Vec<u64>,
    refused: u64,
}

impl World<'_> {
    fn at(&mut self, at: Tick, event: Event) {
        self.seq += 1;
        self.heap.push(Reverse((at, self.seq, event)));
    }

    fn phase(&self) -> Phase {
        let phases = self.scenario.phase.iter();
        phases.rev().find(|p| p.from <= self.now.as_secs()).expect("the first is from 0").clone()
    }

    fn pump(&mut self) {
        for _ in 0..self.waiting.len() {
            if self.under_way >= self.learner.limit() {
                return;
            }
            let Some(mailbox) = self.waiting.pop_front() else { return };
            let until = self.refusals[mailbox].blocked_until();
            if until > self.now {
                self.at(until, Event::Ready(mailbox));
                continue;
            }
            if self.refusals[mailbox].feeling_the_way() && self.in_flight[mailbox] > 0 {
                self.aside[mailbox] += 1;
                continue;
            }
            self.send(mailbox);
        }
    }

    fn send(&mut self, mailbox: usize) {
        self.under_way += 1;
        self.in_flight[mailbox] += 1;
        let phase = self.phase();
        let concerned = phase.refused_mailboxes == 0 || mailbox < phase.refused_mailboxes;
        let over = phase.refuses_above > 0 && self.under_way > phase.refuses_above;
        let refused = concerned && (over || self.dice.u64(0..100) < phase.refuse_percent);
        let millis = if refused { phase.latency_ms.min(50) } else { phase.latency_ms };
        let mut takes = Duration::from_millis(millis);
        if !refused {
            takes += takes * u32::try_from(self.dice.u64(0..=phase.jitter_percent)).expect("small") / 100;
            if phase.knee > 0 && self.under_way > phase.knee {
                takes = takes.mul_f64(self.under_way as f64 / phase.knee as f64);
            }
        }
        self.at(self.now + takes, Event::Ended(mailbox, self.now, refused));
    }

    fn ended(&mut self, mailbox: usize, sent: Tick, refused: bool) {
        let how = if refused { Ended::Refused } else { Ended::Served };
        self.learner.ended(self.now, sent, 100_000, self.under_way, how);
        self.under_way -= 1;
        self.in_flight[mailbox] -= 1;
        if refused {
            self.refused += 1;
            let told = self.phase().retry_after.map(Duration::from_secs);
            let random = self.dice.u64(..);
            self.refusals[mailbox].refused(self.now, sent, told, &THROTTLE, random);
        } else {
            self.refusals[mailbox].served(sent);
            self.served[mailbox] += 1;
            let second = usize::try_from(self.now.as_secs()).expect("small");
            if let Some(count) = self.served_at.get_mut(second) {
                *count += 1;
            }
        }
        self.waiting.extend(std::iter::repeat_n(mailbox, 1 + std::mem::take(&mut self.aside[mailbox])));
        self.pump();
    }
}

/// Requests a second that a client who knew the service would have served.
fn ideal(phase: &Phase, scenario: &Scenario) -> f64 {
    let most = (scenario.mailboxes * scenario.at_once).min(scenario.most as usize);
    let bears = [phase.knee, phase.refuses_above].into_iter().filter(|n| *n > 0).fold(most, usize::min);
    let latency = phase.latency_ms as f64 * (1.0 + phase.jitter_percent as f64 / 200.0) / 1000.0;
    let share = if phase.refused_mailboxes == 0 { 1.0 - phase.refuse_percent as f64 / 100.0 } else { 1.0 };
    bears as f64 / latency * share
}

fn within(what: &str, value: f64, range: [f64; 2], wrong: &mut Vec<String>) {
    if !(range[0]..=range[1]).contains(&value) {
        wrong.push(format!("{what}: {value:.4} is not in {range:?}"));
    }
}

fn run(scenario: &Scenario, seed: u64) -> Vec<String> {
    let bounds = Bounds { least: scenario.least, most: scenario.most, first: scenario.first };
    let mut world = World {
        scenario,
        now: Tick::ZERO,
        heap: BinaryHeap::new(),
        seq: 0,
        learner: Learner::new(bounds),
        refusals: (0..scenario.mailboxes).map(|_| Refusals::default()).collect(),
        waiting: (0..scenario.at_once).flat_map(|_| 0..scenario.mailboxes).collect(),
        in_flight: vec![0; scenario.mailboxes],
        aside: vec![0; scenario.mailboxes],
        under_way: 0,
        dice: fastrand::Rng::with_seed(seed),
        served: vec![0; scenario.mailboxes],
        served_at: vec![0; usize::try_from(scenario.seconds).expect("small")],
        refused: 0,
    };
    for (n, look) in scenario.expect.limit.iter().enumerate() {
        world.at(Duration::from_secs(look.at), Event::Look(n));
    }
    let mut wrong = Vec::new();
    world.pump();
    let end = Duration::from_secs(scenario.seconds);
    while let Some(Reverse((at, _, event))) = world.heap.pop() {
        if at >= end {
            break;
        }
        world.now = at;
        match event {
            Event::Ready(mailbox) => {
                world.waiting.push_back(mailbox);
                world.pump();
            }
            Event::Ended(mailbox, sent, refused) => world.ended(mailbox, sent, refused),
            Event::Look(n) => {
                let look = &scenario.expect.limit[n];
                if !(look.between[0]..=look.between[1]).contains(&world.learner.limit()) {
                    wrong.push(format!(
                        "at {} s: {} at once is not in {:?}",
                        look.at,
                        world.learner.limit(),
                        look.between
                    ));
                }
            }
        }
    }
    let ideal_in = |from: u64, to: u64| {
        (from..to)
            .map(|second| {
                let phase =
                    scenario.phase.iter().rev().find(|p| p.from <= second).expect("the first is from 0");
                ideal(phase, scenario)
            })
            .sum::<f64>()
    };
    let served: u64 = world.served.iter().sum();
    let all = (served + world.refused) as f64;
    let expect = &scenario.expect;
    within("served", served as f64 / ideal_in(0, scenario.seconds), expect.served, &mut wrong);
    within("refused percent", world.refused as f64 * 100.0 / all, expect.refused_percent, &mut wrong);
    let mean = served as f64 / scenario.mailboxes as f64;
    let least = world.served.iter().min().copied().unwrap_or_default() as f64 / mean;
    within("the least served mailbox", least, [expect.least_mailbox, 1.0], &mut wrong);
    for span in &expect.span {
        let (from, to) =
            (usize::try_from(span.from).expect("small"), usize::try_from(span.to).expect("small"));
        let served: u64 = world.served_at[from..to].iter().sum();
        let what = format!("served from {from} to {to} s");
        within(&what, served as f64 / ideal_in(span.from, span.to), span.served, &mut wrong);
    }
    wrong
}

#[test]
fn every_scenario_of_a_service_stays_within_its_stated_ranges() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/limits");
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "the scenarios are there");
    let mut wrong = Vec::new();
    for file in files {
        let scenario: Scenario = toml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        for seed in 1..=5 {
            let name = file.file_name().unwrap().to_string_lossy();
            wrong.extend(run(&scenario, seed).into_iter().map(|w| format!("{name}, seed {seed}: {w}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

//! The places of a host and what is learnt of it against modelled hosts, under virtual time and without octets: each
//! scenario is a file in `fixtures/hosts` with the ranges it must stay in.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::config::ImapSettings;
use super::places::{Call, Places, Told};
use super::pool::Holds;
use crate::env::Tick;
use crate::imap::script::{on_a_runtime, session};
use crate::imap::{Credentials, Session};
use crate::limit::machine::Ended;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// How long, in seconds.
    seconds: u64,
    /// Mailboxes, each with so many fetches at once, always more to fetch.
    mailboxes: u64,
    fetches: usize,
    /// The operator's limits: connections at once, and of each mailbox.
    connections: usize,
    each: usize,
    phase: Vec<Phase>,
    expect: Expect,
}

/// What the host is like from a second on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Phase {
    from: u64,
    /// Of a round trip.
    latency_ms: u64,
    /// Of one fetch, while not too many go at once.
    bytes_per_second: u64,
    /// Each fetch takes up to so much longer.
    #[serde(default)]
    jitter_percent: u64,
    /// Above so many fetches at once all take longer: in proportion, and more than that by this power of it, for a host that
    /// is asked for too much at once gets less done; 0: never.
    #[serde(default)]
    knee: usize,
    #[serde(default)]
    thrash: f64,
    /// Connections it takes; more are refused at login (`[LIMIT]`, or BYE); 0: any.
    #[serde(default)]
    takes: usize,
    /// Fetches above so many at once are refused with `[LIMIT]`; 0: none.
    #[serde(default)]
    refuses_above: usize,
    /// So many of a hundred fetches are refused with `[LIMIT]` whatever comes.
    #[serde(default)]
    limit_percent: u64,
    /// So many of a hundred fetches are refused with `[UNAVAILABLE]`, which says nothing of their number.
    #[serde(default)]
    unavailable_percent: u64,
    /// So many of a hundred fetches end with the connection.
    #[serde(default)]
    lost_percent: u64,
    /// What a refused fetch is told to wait, in seconds; absent: nothing.
    wait: Option<u64>,
}

/// Ranges, both ends included. Shares are of what a client that knew the host would have fetched in that time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    fetched: [f64; 2],
    /// Fetches refused or lost, percent of all.
    refused_percent: [f64; 2],
    /// Logins refused.
    logins_refused: [u64; 2],
    /// Of the mailbox with the fewest fetches, as a share of the mean.
    #[serde(default)]
    least_mailbox: f64,
    /// Fetches under way, on average over the minute before.
    #[serde(default)]
    at_once: Vec<AtOnce>,
    /// Fetched in a span.
    #[serde(default)]
    span: Vec<Span>,
    /// From this second on, how long until a minute's share is so large.
    #[serde(default)]
    recovers: Vec<Recovers>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AtOnce {
    at: u64,
    between: [f64; 2],
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Span {
    from: u64,
    to: u64,
    fetched: [f64; 2],
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recovers {
    from: u64,
    to: f64,
    within: u64,
}

/// A batch of messages, in bytes: from one small message to a batch that is full.
const SIZES: [u64; 2] = [40_000, 4_000_000];
/// Round trips of a connection and its login.
const LOGIN: u32 = 4;
/// What a refused batch waits that is told nothing: doubled with each refusal, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A connection that a server broke is noticed after this.
const BREAKS: Duration = Duration::from_secs(2);
/// A minute, in seconds.
const MINUTE: u64 = 60;

/// A fetch that stands in line or is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Fetch {
    owner: u64,
    bytes: u64,
    /// Refusals of it so far.
    refused: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A fetch comes, or comes again.
    Comes(Fetch),
    LoggedIn(u64, Fetch, bool),
    Ended(u64, Fetch, Tick, Ended),
    /// A place may be free by time alone.
    Look,
    Second,
}

/// What became of a fetch that looked for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Went {
    /// It has one, or logs in.
    Off,
    ForOwn,
    Nowhere,
}

struct World<'a> {
    scenario: &'a Scenario,
    places: Places,
    session: Arc<Session>,
    now: Tick,
    heap: BinaryHeap<Reverse<(Tick, u64, Event)>>,
    announced: u64,
    line: VecDeque<Fetch>,
    /// They wait for a session of their mailbox.
    own: Vec<Fetch>,
    /// The first in line looks again then.
    looks: Option<Tick>,
    under_way: usize,
    /// As the host counts them.
    connections: usize,
    dice: fastrand::Rng,
    fetched: Vec<u64>,
    /// Bytes, by second.
    bytes_at: Vec<u64>,
    /// Fetches under way, by second.
    under_way_at: Vec<usize>,
    refused: u64,
    logins_refused: u64,
}

impl World<'_> {
    fn at(&mut self, at: Tick, event: Event) {
        self.announced += 1;
        self.heap.push(Reverse((at, self.announced, event)));
    }

    fn phase(&self) -> &Phase {
        phase(self.scenario, self.now.as_secs())
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.dice.u64(0..100) < percent
    }

    /// As the pool's driver does: the calls of this mailbox look, for a session of theirs may be free; then the first in
    /// line, and who comes after it.
    fn look(&mut self, owner: Option<u64>) {
        let own: Vec<Fetch> = self.own.iter().copied().filter(|f| Some(f.owner) == owner).collect();
        self.own.retain(|f| Some(f.owner) != owner);
        for fetch in own {
            match self.turn(fetch, self.line.is_empty()) {
                Went::Off => {}
                Went::ForOwn => self.own.push(fetch),
                Went::Nowhere => self.line.push_back(fetch),
            }
        }
        let behind = |line: &VecDeque<Fetch>| line.iter().skip(1).position(|f| Some(f.owner) == owner);
        while let Some(at) = behind(&self.line)
            && self.turn(self.line[at + 1], false) == Went::Off
        {
            self.line.remove(at + 1);
        }
        while let Some(fetch) = self.line.front().copied() {
            match self.turn(fetch, true) {
                Went::Off => {}
                Went::ForOwn => self.own.push(fetch),
                Went::Nowhere => return,
            }
            self.line.pop_front();
        }
    }

    fn turn(&mut self, fetch: Fetch, first: bool) -> Went {
        match self.places.call(fetch.owner, self.now, first, Holds::Memory) {
            Call::Resume { place, .. } => self.send(place, fetch),
            Call::LogIn { place, evicted } => {
                self.connections -= usize::from(evicted.is_some());
                self.log_in(place, fetch);
            }
            Call::WaitForOwn => return Went::ForOwn,
            Call::Wait(until) => {
                if let Some(until) = until
                    && self.looks.is_none_or(|at| until < at)
                {
                    self.looks = Some(until);
                    self.at(until, Event::Look);
                }
                return Went::Nowhere;
            }
        }
        Went::Off
    }

    fn log_in(&mut self, place: u64, fetch: Fetch) {
        let begins = self.places.next_login(self.now, Duration::from_millis(50));
        let latency = Duration::from_millis(self.phase().latency_ms);
        let takes = self.phase().takes;
        let fine = takes == 0 || self.connections < takes;
        self.connections += usize::from(fine);
        self.at(begins + latency * LOGIN, Event::LoggedIn(place, fetch, fine));
    }

    fn logged_in(&mut self, place: u64, fetch: Fetch, fine: bool) {
        if fine {
            self.places.made(place, self.session.clone());
            self.send(place, fetch);
        } else {
            self.logins_refused += 1;
            self.places.leave(place, false, self.now);
            if self.places.crowded(fetch.owner, self.now) {
                self.line.push_front(fetch);
            } else {
                self.again(fetch, None);
            }
        }
        self.look(Some(fetch.owner));
    }

    fn again(&mut self, mut fetch: Fetch, told: Option<u64>) {
        let own = FIRST_WAIT.saturating_mul(1 << fetch.refused.min(10)).min(LONGEST_WAIT);
        let wait = told.map_or(own.mul_f64(self.dice.f64() / 2.0 + 0.5), Duration::from_secs);
        fetch.refused += 1;
        self.at(self.now + wait, Event::Comes(fetch));
    }

    fn send(&mut self, place: u64, fetch: Fetch) {
        self.under_way += 1;
        let phase = self.phase().clone();
        let over = phase.refuses_above > 0 && self.under_way > phase.refuses_above;
        let how = if over || self.percent(phase.limit_percent) {
            Ended::Refused
        } else if self.percent(phase.unavailable_percent) {
            Ended::NotSent
        } else if self.percent(phase.lost_percent) {
            Ended::Lost
        } else {
            Ended::Served
        };
        let latency = Duration::from_millis(phase.latency_ms);
        let takes = match how {
            Ended::Refused | Ended::NotSent => latency,
            Ended::Lost => latency + BREAKS,
            Ended::Served => {
                let over = if phase.knee > 0 { self.under_way as f64 / phase.knee as f64 } else { 1.0 };
                let over = over.max(1.0).powf(1.0 + phase.thrash);
                let jitter = 1.0 + self.dice.f64() * phase.jitter_percent as f64 / 100.0;
                time(&phase, fetch.bytes).mul_f64(over * jitter)
            }
        };
        self.at(self.now + takes, Event::Ended(place, fetch, self.now, how));
    }

    fn ended(&mut self, place: u64, fetch: Fetch, sent: Tick, how: Ended) {
        let now = self.now;
        self.under_way -= 1;
        self.places.told(now, Told { sent, bytes: fetch.bytes, how });
        self.places.leave(place, how != Ended::Lost, now);
        self.connections -= usize::from(how == Ended::Lost);
        if how == Ended::Served {
            self.fetched[usize::try_from(fetch.owner).expect("small") - 1] += 1;
            if let Some(bytes) = self.bytes_at.get_mut(usize::try_from(now.as_secs()).expect("small")) {
                *bytes += fetch.bytes;
            }
            let next = Fetch { bytes: self.dice.u64(SIZES[0]..SIZES[1]), refused: 0, ..fetch };
            self.line.push_back(next);
        } else {
            self.refused += 1;
            let told = self.phase().wait.filter(|_| how == Ended::Refused);
            self.again(fetch, told);
        }
        self.look(Some(fetch.owner));
    }
}

/// Of a fetch on a host that has little to do.
fn time(phase: &Phase, bytes: u64) -> Duration {
    Duration::from_millis(phase.latency_ms)
        + Duration::from_secs_f64(bytes as f64 / phase.bytes_per_second as f64)
}

fn phase(scenario: &Scenario, second: u64) -> &Phase {
    scenario.phase.iter().rev().find(|p| p.from <= second).expect("the first is from 0")
}

/// Bytes in a second that a client who knew the host would have fetched.
fn ideal(scenario: &Scenario, second: u64) -> f64 {
    let phase = phase(scenario, second);
    let all = usize::try_from(scenario.mailboxes).expect("small") * scenario.fetches.min(scenario.each);
    let bears = [phase.knee, phase.takes, phase.refuses_above].into_iter().filter(|n| *n > 0);
    let at_once = bears.fold(all.min(scenario.connections), usize::min) as f64;
    let mean = (SIZES[0] + SIZES[1]) / 2;
    let takes = time(phase, mean).as_secs_f64() * (1.0 + phase.jitter_percent as f64 / 200.0);
    // One that is refused takes a round trip.
    let share = |percent: u64| percent.min(100) as f64 / 100.0;
    let refused = share(phase.limit_percent + phase.unavailable_percent);
    let lost = share(phase.lost_percent);
    let served = (1.0 - refused - lost).max(0.0);
    let each = served * takes + refused * phase.latency_ms as f64 / 1000.0 + lost * BREAKS.as_secs_f64();
    at_once * mean as f64 * served / each
}

fn within<T: Copy + PartialOrd + std::fmt::Debug>(
    what: &str,
    value: T,
    range: &[T; 2],
    wrong: &mut Vec<String>,
) {
    if !(range[0]..=range[1]).contains(&value) {
        wrong.push(format!("{what}: {value:.4?} is not in {range:?}"));
    }
}

fn run(scenario: &Scenario, seed: u64) -> Vec<String> {
    let mut settings = ImapSettings::new("localhost", Credentials::Fixed { password: "x".into() });
    settings.server.max_connections = scenario.connections;
    settings.connections_per_mailbox = scenario.each;
    let mut dice = fastrand::Rng::with_seed(seed);
    let first = (0..scenario.fetches).flat_map(|_| 1..=scenario.mailboxes);
    let line = first.map(|owner| Fetch { owner, bytes: dice.u64(SIZES[0]..SIZES[1]), refused: 0 }).collect();
    let mut world = World {
        scenario,
        places: Places::new(&settings),
        session: Arc::new(session(Vec::new()).0),
        now: Tick::ZERO,
        heap: BinaryHeap::new(),
        announced: 0,
        line,
        own: Vec::new(),
        looks: None,
        under_way: 0,
        connections: 0,
        fetched: vec![0; usize::try_from(scenario.mailboxes).expect("small")],
        bytes_at: vec![0; usize::try_from(scenario.seconds).expect("small")],
        under_way_at: Vec::new(),
        dice,
        refused: 0,
        logins_refused: 0,
    };
    world.look(None);
    world.at(Tick::ZERO, Event::Second);
    let end = Duration::from_secs(scenario.seconds);
    while let Some(Reverse((at, _, event))) = world.heap.pop() {
        if at >= end {
            break;
        }
        world.now = at;
        match event {
            Event::Comes(fetch) => {
                world.line.push_back(fetch);
                world.look(Some(fetch.owner));
            }
            Event::LoggedIn(place, fetch, fine) => world.logged_in(place, fetch, fine),
            Event::Ended(place, fetch, sent, how) => world.ended(place, fetch, sent, how),
            Event::Look => {
                world.looks = None;
                world.look(None);
            }
            Event::Second => {
                world.under_way_at.push(world.under_way);
                world.at(at + Duration::from_secs(1), Event::Second);
            }
        }
    }
    judge(scenario, &world)
}

fn judge(scenario: &Scenario, world: &World<'_>) -> Vec<String> {
    let share = |from: u64, to: u64| {
        let bounds = usize::try_from(from).expect("small")..usize::try_from(to).expect("small");
        let bytes: u64 = world.bytes_at[bounds].iter().sum();
        bytes as f64 / (from..to).map(|second| ideal(scenario, second)).sum::<f64>()
    };
    let mut wrong = Vec::new();
    let expect = &scenario.expect;
    within("fetched", share(0, scenario.seconds), &expect.fetched, &mut wrong);
    let fetched: u64 = world.fetched.iter().sum();
    let refused = world.refused as f64 * 100.0 / (fetched + world.refused).max(1) as f64;
    within("refused percent", refused, &expect.refused_percent, &mut wrong);
    within("logins refused", world.logins_refused, &expect.logins_refused, &mut wrong);
    let mean = fetched as f64 / scenario.mailboxes as f64;
    let least = world.fetched.iter().min().copied().unwrap_or_default() as f64 / mean;
    within("the mailbox with the fewest", least, &[expect.least_mailbox, 1.0], &mut wrong);
    let at_once = |at: u64| {
        let at = usize::try_from(at).expect("small");
        let minute = &world.under_way_at[at - 60..at];
        minute.iter().sum::<usize>() as f64 / minute.len() as f64
    };
    for look in &expect.at_once {
        within(&format!("at once before {} s", look.at), at_once(look.at), &look.between, &mut wrong);
    }
    for span in &expect.span {
        let what = format!("fetched from {} to {} s", span.from, span.to);
        within(&what, share(span.from, span.to), &span.fetched, &mut wrong);
    }
    for r in &expect.recovers {
        let there = (r.from..scenario.seconds - MINUTE).find(|at| share(*at, at + MINUTE) >= r.to);
        let took = there.map_or(scenario.seconds, |at| at - r.from);
        if took > r.within {
            wrong.push(format!(
                "from {} s it takes {took} s until {}, more than {} s",
                r.from, r.to, r.within
            ));
        }
    }
    wrong
}

#[test]
fn every_scenario_of_a_host_stays_within_its_stated_ranges() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/hosts");
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 9, "the scenarios are there");
    let mut wrong = Vec::new();
    on_a_runtime(async {
        for file in files {
            let scenario: Scenario = toml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
            let name = file.file_name().unwrap().to_string_lossy();
            for seed in 1..=2 {
                wrong.extend(run(&scenario, seed).into_iter().map(|w| format!("{name}, seed {seed}: {w}")));
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

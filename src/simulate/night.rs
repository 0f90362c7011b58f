//! The event heap: a driver of the same machines as the wave's, without tasks, octets or waiting.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::mailbox::{Asked, Open};
use super::outcome::{Bounds, Ended, Outcome};
use super::scenario::{Drawn, Ordering, Scenario};
use super::shared::{App, Clock, Link};
use crate::engine::{Do, Expected, Happened, Lanes, Width, longest_first};
use crate::env::Tick;
use crate::limit::Answer;
use crate::limit::machine::{Asked as Bytes, Grant, Line, LineId, Rules};
use crate::model::{Hasher, MailboxKey, Result};
use crate::observe::Progress;

/// How often the number of open mailboxes is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Sees what happens.
pub trait Watch {
    /// One event of a mailbox, in words without line ends.
    fn event(&mut self, at: Tick, what: fmt::Arguments<'_>);
    /// A second of the night has passed.
    fn second(&mut self, at: Tick, progress: &Progress);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Listed(usize),
    /// The admission of a mailbox wants to be asked again.
    Wake(usize),
    Fetched(usize, u32),
    /// The line of an app wants to be looked at.
    App(usize),
    Stored(usize, u32),
    Ended(usize),
    Lanes,
    Second,
}

struct Night<'a> {
    scenario: &'a Scenario,
    rules: Arc<Rules>,
    now: Tick,
    clock: Clock,
    heap: BinaryHeap<Reverse<(Tick, u64, Event)>>,
    events: u64,
    log: Hasher,
    mailboxes: Vec<Drawn>,
    open: BTreeMap<usize, Open>,
    lanes: Lanes,
    width: Width,
    apps: Vec<App<(usize, u32)>>,
    memory: Line,
    for_memory: BTreeMap<LineId, (usize, u32)>,
    source: Link,
    target: Link,
    dice: fastrand::Rng,
    progress: Progress,
    watch: &'a mut dyn Watch,
    ended: Vec<Ended>,
    refused: u64,
    requests: u64,
    draining: bool,
    over: bool,
    most_open: usize,
}

/// The mailboxes of a seed that cannot end within the window, as is known before it begins; with the time each takes by
/// itself, the longest first.
///
/// # Errors
/// None that a caller can cause.
pub fn too_long(scenario: &Scenario, seed: u64) -> Result<Vec<(MailboxKey, Duration)>> {
    let mailboxes = scenario.draw(&mut fastrand::Rng::with_seed(seed))?;
    let times = times(scenario, &mailboxes);
    let order = longest_first(&times, Some(scenario.window()));
    let named =
        order.too_long.iter().map(|i| (mailboxes[*i].key.clone(), times[*i].time.unwrap_or_default()));
    Ok(named.collect())
}

/// What is expected of each before it begins.
fn times(scenario: &Scenario, mailboxes: &[Drawn]) -> Vec<Expected> {
    let ceilings = scenario.ceilings();
    mailboxes.iter().map(|m| Expected { priority: 0, time: Some(ceilings.time(m.expected)) }).collect()
}

/// Runs the night of a seed to its end.
///
/// # Errors
/// None that a caller can cause.
pub fn run(scenario: &Scenario, seed: u64, ordering: Ordering, watch: &mut dyn Watch) -> Result<Outcome> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mailboxes = scenario.draw(&mut dice)?;
    let expected = times(scenario, &mailboxes);
    let mut order = longest_first(&expected, Some(scenario.window()));
    match ordering {
        Ordering::LongestFirst => {}
        Ordering::AsListed => order.mailboxes.sort_unstable(),
        Ordering::Shuffled => dice.shuffle(&mut order.mailboxes),
    }
    let bounds = Bounds::of(scenario, &mailboxes);
    let clock = Clock::default();
    let target = &scenario.target;
    let mut width = Width::new(scenario.open_mailboxes);
    let mut night = Night {
        rules: Arc::new(Rules::of(&scenario.limits())),
        now: Tick::ZERO,
        heap: BinaryHeap::new(),
        events: 0,
        log: Hasher::new(),
        open: BTreeMap::new(),
        lanes: Lanes::new(width.look(0, Duration::ZERO), order.mailboxes),
        width,
        apps: (0..target.apps).map(|_| App::new(target.app_requests_per_second, &clock)).collect(),
        clock,
        memory: Line::new(scenario.memory),
        for_memory: BTreeMap::new(),
        source: Link::new(scenario.source.bytes_per_second),
        target: Link::new(target.bytes_per_second),
        dice,
        progress: Progress::new(mailboxes.len() as u64),
        mailboxes,
        scenario,
        watch,
        ended: Vec::new(),
        refused: 0,
        requests: 0,
        draining: false,
        over: false,
        most_open: 0,
    };
    night.at(Tick::ZERO, Event::Lanes);
    night.at(LOOK, Event::Second);
    while !night.over
        && let Some(Reverse((at, _, event))) = night.heap.pop()
    {
        night.now = at;
        night.clock.set(at);
        night.happen(event);
    }
    let not_begun = night.lanes.not_begun() as u64;
    Ok(Outcome {
        scenario: scenario.name.clone(),
        seed,
        took: night.ended.iter().map(|e| e.at).max().unwrap_or_default(),
        bounds,
        mailboxes: night.ended,
        not_begun,
        requests: night.requests,
        refused: night.refused,
        events: night.events,
        log: night.log.finish(),
        most_open: night.most_open,
        links_busy: (night.source.busy, night.target.busy),
    })
}

impl Night<'_> {
    fn at(&mut self, at: Tick, event: Event) {
        self.events += 1;
        self.heap.push(Reverse((at, self.events, event)));
    }

    fn note(&mut self, what: fmt::Arguments<'_>) {
        self.watch.event(self.now, what);
    }

    fn happen(&mut self, event: Event) {
        let (word, mailbox, batch) = match event {
            Event::Listed(m) => (1u8, m, 0),
            Event::Wake(m) => (2, m, 0),
            Event::Fetched(m, b) => (3, m, b),
            Event::App(a) => (4, a, 0),
            Event::Stored(m, b) => (5, m, b),
            Event::Ended(m) => (6, m, 0),
            Event::Lanes => (7, 0, 0),
            Event::Second => (8, 0, 0),
        };
        let mut octets = [0u8; 21];
        octets[..8].copy_from_slice(&u64::try_from(self.now.as_nanos()).unwrap_or(u64::MAX).to_be_bytes());
        octets[8] = word;
        octets[9..17].copy_from_slice(&(mailbox as u64).to_be_bytes());
        octets[17..].copy_from_slice(&batch.to_be_bytes());
        self.log.update(&octets);
        match event {
            Event::Listed(m) => self.listed(m),
            Event::Wake(m) => {
                if let Some(open) = self.open.get_mut(&m) {
                    open.wake = None;
                }
                self.granted(m);
            }
            Event::Fetched(m, batch) => {
                if let Some(open) = self.open.get_mut(&m) {
                    open.ready.push_back(batch);
                    open.store_ready(self.now);
                }
                self.granted(m);
            }
            Event::App(app) => self.app(app),
            Event::Stored(m, batch) => self.stored(m, batch),
            Event::Ended(m) => self.end(m),
            Event::Lanes => self.lanes(Happened::Time),
            Event::Second => self.second(),
        }
    }

    fn second(&mut self) {
        self.watch.second(self.now, &self.progress);
        if !self.draining && self.now >= self.scenario.window() {
            self.draining = true;
            self.note(format_args!("the window closes"));
            let waiting: Vec<usize> = self.open.keys().copied().collect();
            self.lanes(Happened::Drain);
            waiting.into_iter().for_each(|m| self.go_on(m));
        }
        let wait = self.apps.iter().map(App::delay).max().unwrap_or_default();
        self.lanes.set_width(self.width.look(self.open.len(), wait));
        self.lanes(Happened::Time);
        if !self.over {
            self.at(self.now + LOOK, Event::Second);
        }
    }

    fn lanes(&mut self, happened: Happened) {
        for what in self.lanes.step(self.now, happened) {
            match what {
                Do::Begin(m) => self.begin(m),
                Do::Wake(at) => self.at(at, Event::Lanes),
                // Nothing pauses, and what drains is not asked twice.
                Do::Halt(_) => {}
                Do::Finish => self.over = true,
            }
        }
        self.most_open = self.most_open.max(self.open.len());
    }

    fn begin(&mut self, m: usize) {
        let mailbox = &self.mailboxes[m];
        let after = mailbox.fails_at.map(|share| (mailbox.real.messages as f64 * share) as u64);
        let lanes = usize::try_from(self.scenario.target.at_once).unwrap_or(4).max(1);
        let open = Open::new(self.now, &self.rules, lanes, mailbox.real, after);
        self.progress.opened(&mailbox.key, self.now);
        self.watch.event(self.now, format_args!("{} opened", mailbox.key));
        self.open.insert(m, open);
        // Login, folders, and a listing of each, several at once.
        let trips = 3 + self.scenario.source.folders.div_ceil(8);
        let takes = Duration::from_millis(self.scenario.source.latency_ms) * trips
            + Duration::from_millis(self.scenario.target.latency_ms) * 3;
        self.at(self.now + takes, Event::Listed(m));
    }

    fn listed(&mut self, m: usize) {
        let (key, real) = (self.mailboxes[m].key.clone(), self.mailboxes[m].real);
        self.progress.planned(&key, real.messages, real.bytes);
        self.note(format_args!("{key} listed: {} messages, {} bytes", real.messages, real.bytes));
        self.go_on(m);
    }

    /// Begins what may be begun, or ends the mailbox.
    fn go_on(&mut self, m: usize) {
        let Some(open) = self.open.get_mut(&m) else { return };
        if self.draining {
            open.drain(self.now);
        } else {
            open.begin_batches(self.now);
        }
        if open.has_ended() || (self.draining && open.batches.is_empty()) {
            let takes = Duration::from_millis(self.scenario.target.latency_ms) * 2;
            self.at(self.now + takes, Event::Ended(m));
            return;
        }
        self.granted(m);
    }

    /// Takes what the admission of a mailbox granted.
    fn granted(&mut self, m: usize) {
        let now = self.now;
        let Some(open) = self.open.get_mut(&m) else { return };
        let mut leaves = Vec::new();
        let mut fetch = Vec::new();
        // Asking moves the machine's time on; then everything granted is known.
        if let Some(first) = open.asked.keys().next().copied()
            && let Some(grant) = open.admission.take(now, first)
        {
            take(open, first, grant, &mut fetch, &mut leaves);
        }
        let ids: Vec<_> = open.admission.granted().collect();
        for id in ids {
            if let Some(grant) = open.admission.take(now, id) {
                take(open, id, grant, &mut fetch, &mut leaves);
            }
        }
        if let Some(at) = open.admission.wake_at()
            && open.wake.is_none_or(|wake| at < wake)
        {
            open.wake = Some(at);
            self.at(at, Event::Wake(m));
        }
        for batch in fetch {
            let bytes = self.open.get(&m).and_then(|o| o.batches.get(&batch)).map_or(0, |b| b.bytes);
            match self.memory.ask(bytes) {
                Bytes::Granted => self.fetch(m, batch),
                Bytes::Waits(id) => {
                    self.for_memory.insert(id, (m, batch));
                }
            }
        }
        if !leaves.is_empty() {
            let app = self.mailboxes[m].app;
            for (batch, requests) in leaves {
                self.apps[app].join((m, batch), requests);
            }
            self.app(app);
        }
    }

    fn fetch(&mut self, m: usize, batch: u32) {
        let bytes = self.open.get(&m).and_then(|o| o.batches.get(&batch)).map_or(0, |b| b.bytes);
        let arrives = self.source.through(self.now, bytes);
        let latency = Duration::from_millis(self.scenario.source.latency_ms);
        self.at(arrives + latency, Event::Fetched(m, batch));
    }

    /// Lets requests of an app leave.
    fn app(&mut self, app: usize) {
        let mut gone = Vec::new();
        let due = self.apps[app].wake;
        self.apps[app].advance(&mut gone);
        if let Some(at) = self.apps[app].wake
            && due.is_none_or(|due| due <= self.now || at < due)
        {
            self.at(at, Event::App(app));
        }
        for (m, batch) in gone {
            let Some(one) = self.open.get_mut(&m).and_then(|o| o.batches.get_mut(&batch)) else { continue };
            one.sent = self.now;
            let (messages, wire) = (one.messages, one.wire);
            self.requests += u64::from(messages);
            // One after the other in its lane; the link is shared.
            let through = self.target.through(self.now, wire);
            let latency = Duration::from_millis(self.scenario.target.latency_ms) * messages;
            self.at(through.max(self.now + latency), Event::Stored(m, batch));
        }
    }

    fn stored(&mut self, m: usize, batch: u32) {
        let now = self.now;
        let Some(open) = self.open.get_mut(&m) else { return };
        let Some(one) = open.batches.remove(&batch) else { return };
        open.storing -= 1;
        let (messages, bytes) = (u64::from(one.messages), one.bytes);
        let refused = open.service.arrive(now, messages, one.wire, &self.scenario.target);
        let answer = refused.map_or(Answer::Served, |wait| Answer::Throttled(Some(wait)));
        let each = one.wire / messages.max(1);
        let mut parts = vec![(each, answer); one.messages as usize];
        if let Some(last) = parts.last_mut() {
            last.0 += one.wire - each * messages;
        }
        let random = self.dice.u64(..);
        open.admission.finish_batch(now, one.sent, 1, &parts, random);
        open.admission.give_back(now, one.ticket);
        let key = self.mailboxes[m].key.clone();
        if let Some(wait) = refused {
            open.put_back(&one);
            self.refused += messages;
            self.progress.throttled(&key, now, wait);
            let secs = wait.as_secs();
            self.watch.event(now, format_args!("{key} refused: {messages} requests, {secs} s"));
        } else {
            open.done.messages += messages;
            open.done.bytes += bytes;
            self.progress.progress(&key, messages, bytes, 0);
        }
        open.store_ready(now);
        let mut granted = Vec::new();
        self.memory.release(bytes, &mut granted);
        for id in granted {
            if let Some((m, batch)) = self.for_memory.remove(&id) {
                self.fetch(m, batch);
            }
        }
        self.go_on(m);
    }

    fn end(&mut self, m: usize) {
        let Some(open) = self.open.remove(&m) else { return };
        let mailbox = &self.mailboxes[m];
        let (failed, whole) = (open.has_failed(), open.left.messages == 0);
        let word = if failed {
            "failed"
        } else if whole {
            "complete"
        } else {
            "stopped"
        };
        self.watch.event(self.now, format_args!("{} {word}: {} messages", mailbox.key, open.done.messages));
        self.progress.closed(&mailbox.key, failed);
        self.ended.push(Ended {
            key: mailbox.key.clone(),
            began: open.began,
            at: self.now,
            done: open.done,
            left: open.left,
            failed,
        });
        self.lanes(Happened::Ended(m));
    }
}

fn take(open: &mut Open, id: u64, grant: Grant, fetch: &mut Vec<u32>, leaves: &mut Vec<(u32, u32)>) {
    match (open.asked.remove(&id), grant) {
        (Some(Asked::Reserve(batch)), Grant::Reserved(cost)) => {
            if let Some(one) = open.batches.get_mut(&batch) {
                one.ticket = cost;
                fetch.push(batch);
            }
        }
        (Some(Asked::Send(batch)), Grant::Send { cost, .. }) => leaves.push((batch, cost.requests)),
        _ => {}
    }
}

//! The event heap: a driver of the same machines as the wave's, without tasks, octets or waiting.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::mailbox::{Asked, Holds, Open, Room};
use super::outcome::{Bounds, Ended, Outcome};
use super::scenario::{Drawn, Ordering, Scenario};
use super::shared::{App, Clock, Link};
use super::slots::Slots;
use crate::engine::{Do, Expected, Happened, Lanes, Width, longest_first};
use crate::env::Tick;
use crate::limit::Answer;
use crate::limit::machine::{Asked as Bytes, Grant, Line, LineId, Rules, share};
use crate::model::{Error, Hasher, MailboxKey, Result};
use crate::observe::Progress;
use crate::plan::Load;

/// How often the number of open mailboxes is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// What has no known outcome is looked for again after this.
const SETTLE: Duration = Duration::from_secs(10);
/// Stands for a batch where a look-up waits for the rate of its app.
const LOOK_UP: u32 = u32::MAX;

/// Events are digested so many bytes at once.
const LOG_AT_ONCE: usize = 16 << 10;

fn nanos(at: Tick) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}

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
    /// A look-up was answered.
    Looked(usize),
    /// It is time to look again.
    LookAgain(usize),
    Ended(usize),
    Lanes,
    Second,
}

pub(super) struct Night<'a> {
    pub(super) scenario: &'a Scenario,
    rules: Arc<Rules>,
    pub(super) now: Tick,
    clock: Clock,
    /// By nanoseconds, then by the order in which they were announced.
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    events: u64,
    log: Hasher,
    /// Events that are not in it yet.
    unlogged: Vec<u8>,
    pub(super) mailboxes: Vec<Drawn>,
    pub(super) open: Slots,
    pub(super) lanes: Lanes,
    width: Width,
    apps: Vec<App<(usize, u32)>>,
    /// Each how many messages one is large, and how large.
    large: (u64, u64),
    pub(super) memory: Line,
    pub(super) for_memory: BTreeMap<LineId, (usize, u32)>,
    spool: Line,
    pub(super) for_spool: BTreeMap<LineId, (usize, u32)>,
    /// Events to come, but the tick of the clock.
    pub(super) pending: u64,
    /// When something was opened, stored or ended last.
    pub(super) advanced: Tick,
    stuck: Option<Error>,
    broken: Option<Broken>,
    pub(super) source: Link,
    pub(super) target: Link,
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

/// A rule broken on purpose: a night must find out that nothing goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// Who has a lane waits for memory, while others hold memory and wait for a lane.
    LaneBeforeMemory,
    /// What is larger than the whole budget waits until it fits.
    LargerNeverFits,
    /// What has no known outcome keeps its memory, and to look takes more.
    LookHoldsMemory,
}

/// Runs the night of a seed to its end.
///
/// # Errors
/// `Kind::Internal`: nothing goes on though work is left; who waits for what. A defect of the rules.
pub fn run(scenario: &Scenario, seed: u64, ordering: Ordering, watch: &mut dyn Watch) -> Result<Outcome> {
    run_by(scenario, seed, ordering, watch, None)
}

pub(super) fn run_by(
    scenario: &Scenario,
    seed: u64,
    ordering: Ordering,
    watch: &mut dyn Watch,
    broken: Option<Broken>,
) -> Result<Outcome> {
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
        unlogged: Vec::with_capacity(LOG_AT_ONCE + 64),
        open: Slots::new(mailboxes.len()),
        lanes: Lanes::new(width.look(0, Duration::ZERO), order.mailboxes),
        width,
        apps: (0..target.apps).map(|_| App::new(target.app_requests_per_second, &clock)).collect(),
        clock,
        large: scenario.large(),
        memory: Line::new(scenario.memory),
        for_memory: BTreeMap::new(),
        spool: Line::new(if scenario.spool == 0 { u64::MAX } else { scenario.spool }),
        for_spool: BTreeMap::new(),
        pending: 0,
        advanced: Tick::ZERO,
        stuck: None,
        broken,
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
        night.now = Duration::from_nanos(at);
        night.clock.set(night.now);
        night.pending -= u64::from(event != Event::Second);
        night.happen(event);
    }
    if let Some(stuck) = night.stuck {
        return Err(stuck);
    }
    night.log.update(&night.unlogged);
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
        self.pending += u64::from(event != Event::Second);
        self.heap.push(Reverse((nanos(at), self.events, event)));
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
            Event::Looked(m) => (9, m, 0),
            Event::LookAgain(m) => (10, m, 0),
        };
        let mut octets = [0u8; 21];
        octets[..8].copy_from_slice(&nanos(self.now).to_be_bytes());
        octets[8] = word;
        octets[9..17].copy_from_slice(&(mailbox as u64).to_be_bytes());
        octets[17..].copy_from_slice(&batch.to_be_bytes());
        self.unlogged.extend_from_slice(&octets);
        if self.unlogged.len() >= LOG_AT_ONCE {
            self.log.update(&self.unlogged);
            self.unlogged.clear();
        }
        match event {
            Event::Listed(m) => self.listed(m),
            Event::Wake(m) => {
                if let Some(open) = self.open.get_mut(m) {
                    open.wake = None;
                }
                self.granted(m);
            }
            Event::Fetched(m, batch) => {
                if let Some(open) = self.open.get_mut(m) {
                    open.ready.push_back(batch);
                    open.store_ready(self.now);
                }
                self.granted(m);
            }
            Event::App(app) => self.app(app),
            Event::Stored(m, batch) => self.stored(m, batch),
            Event::Looked(m) => self.looked(m),
            Event::LookAgain(m) => {
                if let Some(open) = self.open.get_mut(m) {
                    open.looking = false;
                }
                self.go_on(m);
            }
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
            let waiting: Vec<usize> = self.open.iter().map(|(m, _)| m).collect();
            self.lanes(Happened::Drain);
            waiting.into_iter().for_each(|m| self.go_on(m));
        }
        let wait = self.apps.iter().map(App::delay).max().unwrap_or_default();
        self.lanes.set_width(self.width.look(self.open.len(), wait));
        self.lanes(Happened::Time);
        if !self.over {
            self.stuck = self.standstill();
            self.over = self.stuck.is_some();
        }
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
        self.advanced = self.now;
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
        let copying = self.open.len();
        let room = |open: &Open| Room {
            share: share(self.scenario.memory, copying, open.most_batches()),
            short: self.memory.is_short() && self.broken != Some(Broken::LaneBeforeMemory),
            large: self.large,
        };
        let Some(open) = self.open.get_mut(m) else { return };
        if self.draining {
            open.drain(self.now);
        } else {
            let room = room(open);
            open.begin_batches(self.now, room);
            if open.must_look() {
                self.look(m);
                return;
            }
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
        let Some(open) = self.open.get_mut(m) else { return };
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
            self.ask_spool(m, batch);
        }
        if !leaves.is_empty() {
            let app = self.mailboxes[m].app;
            for (batch, requests) in leaves {
                self.apps[app].join((m, batch), requests);
            }
            self.app(app);
        }
    }

    fn holds(&self, m: usize, batch: u32) -> Holds {
        self.open.get(m).and_then(|o| o.batches.get(&batch)).map_or(Holds::default(), |b| b.holds)
    }

    /// As a pass does: the spool first, then memory, then the fetch.
    fn ask_spool(&mut self, m: usize, batch: u32) {
        if self.broken == Some(Broken::LaneBeforeMemory)
            && let Some(open) = self.open.get_mut(m)
            && open.storing < open.lanes
        {
            open.storing += 1;
            open.laned.insert(batch);
        }
        let bytes = self.holds(m, batch).spool;
        match self.spool.ask(bytes) {
            Bytes::Granted => self.ask_memory(m, batch),
            Bytes::Waits(id) => {
                self.for_spool.insert(id, (m, batch));
            }
        }
    }

    fn ask_memory(&mut self, m: usize, batch: u32) {
        let bytes = self.holds(m, batch).memory;
        if self.broken == Some(Broken::LargerNeverFits) && bytes > self.scenario.memory {
            self.for_memory.insert(LineId::MAX - u64::from(batch), (m, batch));
            return;
        }
        match self.memory.ask(bytes) {
            Bytes::Granted => self.fetch(m, batch),
            Bytes::Waits(id) => {
                self.for_memory.insert(id, (m, batch));
            }
        }
    }

    /// Gives back what a batch held; whoever waited goes on.
    fn release(&mut self, holds: Holds) {
        let mut granted = Vec::new();
        self.spool.release(holds.spool, &mut granted);
        for id in std::mem::take(&mut granted) {
            if let Some((m, batch)) = self.for_spool.remove(&id) {
                self.ask_memory(m, batch);
            }
        }
        self.memory.release(holds.memory, &mut granted);
        for id in granted {
            match self.for_memory.remove(&id) {
                Some((m, LOOK_UP)) => self.ask_look(m),
                Some((m, batch)) => self.fetch(m, batch),
                None => {}
            }
        }
    }

    /// Looks for what has no known outcome: nothing is held for it.
    fn look(&mut self, m: usize) {
        if self.broken == Some(Broken::LookHoldsMemory) {
            let Some(open) = self.open.get_mut(m) else { return };
            open.looking = true;
            if let Bytes::Waits(id) = self.memory.ask(open.unsettled.bytes) {
                self.for_memory.insert(id, (m, LOOK_UP));
                return;
            }
        }
        self.ask_look(m);
    }

    fn ask_look(&mut self, m: usize) {
        if let Some(open) = self.open.get_mut(m) {
            open.look(self.now);
        }
        self.granted(m);
    }

    /// A look-up was answered: what is not there after the second one is stored again.
    fn looked(&mut self, m: usize) {
        let (now, there) = (self.now, self.dice.bool());
        let Some(open) = self.open.get_mut(m) else { return };
        open.admission.finish(now, open.look_sent, 0, Answer::Served, 0);
        if !there && !open.looked {
            open.looked = true;
            self.at(now + SETTLE, Event::LookAgain(m));
            return;
        }
        let found = std::mem::take(&mut open.unsettled);
        (open.looked, open.looking) = (false, false);
        let key = self.mailboxes[m].key.clone();
        let word = if there { "there" } else { "not there" };
        self.watch.event(now, format_args!("{key} looked for {} messages: {word}", found.messages));
        self.advanced = now;
        if there {
            open.done.messages += found.messages;
            open.done.bytes += found.bytes;
            self.progress.progress(&key, found.messages, found.bytes, 0);
        } else {
            open.left.messages += found.messages;
            open.left.bytes += found.bytes;
        }
        self.go_on(m);
    }

    fn fetch(&mut self, m: usize, batch: u32) {
        let bytes = self.open.get(m).and_then(|o| o.batches.get(&batch)).map_or(0, |b| b.bytes);
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
            if batch == LOOK_UP {
                if let Some(open) = self.open.get_mut(m) {
                    open.look_sent = self.now;
                    self.requests += 1;
                    let latency = Duration::from_millis(self.scenario.target.latency_ms);
                    self.at(self.now + latency, Event::Looked(m));
                }
                continue;
            }
            let Some(one) = self.open.get_mut(m).and_then(|o| o.batches.get_mut(&batch)) else { continue };
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
        let Some(open) = self.open.get_mut(m) else { return };
        let Some(one) = open.batches.remove(&batch) else { return };
        open.storing -= 1;
        open.laned.remove(&batch);
        let (messages, bytes) = (u64::from(one.messages), one.bytes);
        let refused = open.service.arrive(now, messages, one.wire, &self.scenario.target);
        let answer = refused.map_or(Answer::Served, |wait| Answer::Throttled(Some(wait)));
        let each = one.wire / messages.max(1);
        let mut parts = vec![(each, answer); one.messages as usize];
        let unanswered = self.scenario.target.unanswered_percent;
        let lost = refused.is_none() && unanswered > 0.0 && self.dice.f64() * 100.0 < unanswered;
        if let Some(last) = parts.last_mut() {
            last.0 += one.wire - each * messages;
            if lost {
                last.1 = Answer::Unknown;
            }
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
            let unknown =
                if lost { Load { messages: 1, bytes: bytes / messages.max(1) } } else { Load::default() };
            open.unsettled.messages += unknown.messages;
            open.unsettled.bytes += unknown.bytes;
            let (messages, bytes) = (messages - unknown.messages, bytes - unknown.bytes);
            open.done.messages += messages;
            open.done.bytes += bytes;
            self.progress.progress(&key, messages, bytes, 0);
            self.advanced = now;
        }
        // Who breaks this rule gives the lane that became free to the next one that waits for memory.
        let broken = self.broken == Some(Broken::LaneBeforeMemory);
        if broken {
            self.go_on(m);
        }
        if let Some(open) = self.open.get_mut(m) {
            open.store_ready(now);
        }
        let mut holds = one.holds;
        if self.broken == Some(Broken::LookHoldsMemory) && lost {
            holds.memory -= bytes / messages.max(1);
        }
        self.release(holds);
        self.go_on(m);
    }

    fn end(&mut self, m: usize) {
        let Some(open) = self.open.remove(m) else { return };
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
        self.advanced = self.now;
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
        (Some(Asked::Look), Grant::Send { .. }) => leaves.push((LOOK_UP, 1)),
        _ => {}
    }
}

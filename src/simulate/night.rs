//! The event heap: a driver of the same machines as the wave's, without tasks, octets or waiting.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::agenda::Agenda;
use super::journey::Lists;
use super::log::{Log, nanos};
use super::mailbox::Open;
use super::outcome::{Bounds, Ended, Outcome};
use super::scenario::{Drawn, Ordering, Scenario};
use super::shared::{App, Clock, Link};
use super::slots::Slots;
use crate::engine::{Do, Expected, Happened, Lanes, Width, longest_first};
use crate::env::Tick;
use crate::limit::machine::{Line, LineId, Rules};
use crate::limit::{Binds, Opened, Spent, Stage};
use crate::model::{Error, MailboxKey, Result};
use crate::observe::Progress;
use crate::plan::Load;

/// How often the number of open mailboxes is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often is looked at what binds: of thousands of open mailboxes that takes its time.
const SAMPLE: Duration = Duration::from_secs(60);
/// Stands for a batch where a look-up waits for the rate of its app.
pub(super) const LOOK_UP: u32 = u32::MAX;

/// Sees what happens.
pub trait Watch {
    /// One event of a mailbox, in words without line ends.
    fn event(&mut self, at: Tick, what: fmt::Arguments<'_>);
    /// A second of the night has passed.
    fn second(&mut self, at: Tick, progress: &Progress);
}

/// With the ordinal of a mailbox (or an app) and the number of a batch of it: there are millions of these at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Listed(u32),
    /// The admission of a mailbox wants to be asked again.
    Wake(u32),
    Fetched(u32, u32),
    /// The line of an app wants to be looked at.
    App(u32),
    Stored(u32, u32),
    /// A look-up was answered.
    Looked(u32),
    /// It is time to look again.
    LookAgain(u32),
    Ended(u32),
    Lanes,
    Second,
}

/// An ordinal as events hold it: no scenario has more than a million mailboxes.
pub(super) fn ordinal(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

pub(super) struct Night<'a> {
    pub(super) scenario: &'a Scenario,
    rules: Arc<Rules>,
    pub(super) now: Tick,
    clock: Clock,
    agenda: Agenda<Event>,
    log: Log,
    pub(super) mailboxes: Vec<Drawn>,
    pub(super) open: Slots,
    pub(super) lanes: Lanes,
    width: Width,
    pub(super) apps: Vec<App<(usize, u32)>>,
    /// Each how many messages one is large, and how large.
    pub(super) large: (u64, u64),
    pub(super) memory: Line,
    pub(super) for_memory: BTreeMap<LineId, (usize, u32)>,
    pub(super) spool: Line,
    pub(super) for_spool: BTreeMap<LineId, (usize, u32)>,
    /// Events to come, but the tick of the clock.
    pub(super) pending: u64,
    /// When something was opened, stored or ended last.
    pub(super) advanced: Tick,
    stuck: Option<Error>,
    pub(super) broken: Option<Broken>,
    pub(super) source: Link,
    pub(super) target: Link,
    pub(super) dice: fastrand::Rng,
    pub(super) progress: Progress,
    /// Stored since `progress` was told last.
    pub(super) stored: Load,
    /// What mailboxes spent that are not open any more.
    spent: Spent,
    binds: Binds,
    pub(super) watch: &'a mut dyn Watch,
    pub(super) lists: Lists,
    ended: Vec<Ended>,
    pub(super) refused: u64,
    pub(super) requests: u64,
    pub(super) draining: bool,
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
        agenda: Agenda::new(),
        log: Log::new(),
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
        stored: Load::default(),
        spent: Spent::default(),
        binds: Binds::default(),
        lists: Lists::default(),
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
    night.sample(Duration::ZERO);
    night.at(Tick::ZERO, Event::Lanes);
    night.at(LOOK, Event::Second);
    while !night.over
        && let Some((at, event)) = night.agenda.pop()
    {
        night.now = Duration::from_nanos(at);
        night.clock.set(at);
        night.pending -= u64::from(event != Event::Second);
        night.happen(at, event);
    }
    if let Some(stuck) = night.stuck {
        return Err(stuck);
    }
    night.sample(Duration::ZERO);
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
        events: night.agenda.announced(),
        log: night.log.finish(),
        most_open: night.most_open,
        links_busy: (night.source.busy, night.target.busy),
        bound_by: night.binds.over_all(None),
    })
}

impl Night<'_> {
    pub(super) fn at(&mut self, at: Tick, event: Event) {
        self.pending += u64::from(event != Event::Second);
        self.agenda.push(nanos(at), event);
    }

    fn happen(&mut self, at: u64, event: Event) {
        let (kind, mailbox, batch) = match event {
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
        self.log.note(at, kind, mailbox, batch);
        let m = mailbox as usize;
        match event {
            Event::Listed(_) => self.listed(m),
            Event::Wake(_) => {
                if let Some(open) = self.open.get_mut(m) {
                    open.wake = None;
                }
                self.granted(m);
            }
            Event::Fetched(..) => self.fetched(m, batch),
            Event::App(app) => self.app(app as usize),
            Event::Stored(..) => self.stored(m, batch),
            Event::Looked(_) => self.looked(m),
            Event::LookAgain(_) => {
                if let Some(open) = self.open.get_mut(m) {
                    open.looking = false;
                }
                self.go_on(m);
            }
            Event::Ended(_) => self.end(m),
            Event::Lanes => self.lanes(Happened::Time),
            Event::Second => self.second(),
        }
    }

    /// Tells what was stored, and what binds.
    fn sample(&mut self, wait: Duration) {
        let Load { messages, bytes } = std::mem::take(&mut self.stored);
        self.progress.stored(messages, bytes);
        let secs = self.now.as_secs();
        if !self.over && !secs.is_multiple_of(SAMPLE.as_secs()) {
            return;
        }
        let mut spent = self.open.spent(self.now);
        spent += self.spent;
        let open = self.open.len();
        let waiting = self.mailboxes.len().saturating_sub(self.ended.len() + open) as u64;
        let opened = Opened { open, most: self.scenario.open_mailboxes, waiting, shared_wait: wait };
        self.binds.sample(self.now, BTreeMap::from([(String::new(), spent)]), opened);
        self.progress.bound_by(self.binds.recently(None).text());
    }

    fn second(&mut self) {
        let wait = self.apps.iter().map(App::delay).max().unwrap_or_default();
        self.sample(wait);
        self.watch.second(self.now, &self.progress);
        if !self.draining && self.now >= self.scenario.window() {
            self.draining = true;
            self.watch.event(self.now, format_args!("the window closes"));
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
        self.at(self.now + takes, Event::Listed(ordinal(m)));
    }

    fn listed(&mut self, m: usize) {
        let Drawn { key, real, .. } = &self.mailboxes[m];
        self.progress.planned(key, real.messages, real.bytes);
        let what = format_args!("{key} listed: {} messages, {} bytes", real.messages, real.bytes);
        self.watch.event(self.now, what);
        if let Some(open) = self.open.get_mut(m) {
            let opened = open.began + Duration::from_millis(self.scenario.target.latency_ms) * 3;
            open.lane.stage(opened, Stage::List, 0, 0);
            open.lane.stage(self.now, Stage::Copy, 0, 0);
        }
        self.go_on(m);
    }

    fn end(&mut self, m: usize) {
        let Some(mut open) = self.open.remove(m) else { return };
        self.spent += open.lane.spent(self.now);
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

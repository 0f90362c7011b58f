//! The waves: many mailboxes, so many at once, each wave in its windows; those that fail for a while come back. A thin
//! driver of `lanes` and `windows`.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::desk::{Heard, not_here};
use super::expect::{self, Size, expected};
use super::lanes::{Do, Happened, Lanes, Whom};
use super::order::{Expected, longest_first};
use super::retry::{self, Next};
use super::rollback::Looked;
use super::width::Width;
use super::windows::{Waits, Windows};
use super::{
    Desk, Event, MailboxResult, Parts, RunState, Stop, Watcher, WaveResult, WaveState, Which, Wish, pass,
};
use crate::env::{Task, Tick, WallMillis};
use crate::ledger::{Applied, Change, Claim, PassSummary, Walked};
use crate::model::{Error, Kind, Mailbox, MailboxKey, Result, Scope};
use crate::plan::Calendar;

/// The clock on the wall is looked at so often while a window is awaited: it may be set, or the machine may have slept.
const CLOCK_LOOK: Duration = Duration::from_secs(60);
/// How often it is looked at how many mailboxes to have open.
const WIDTH_LOOK: Duration = Duration::from_secs(1);

/// Mailboxes that are begun by priority and then the longest first, in the same windows.
#[derive(Debug, Clone, Default)]
pub struct Wave {
    /// Its name; may be empty.
    pub name: String,
    /// Its mailboxes.
    pub mailboxes: Vec<Mailbox>,
    /// What is known of their sizes.
    pub sizes: BTreeMap<MailboxKey, Size>,
    /// When it may run.
    pub calendar: Calendar,
    /// Mailboxes of it open at once; `None`: as many as of all.
    pub open_mailboxes: Option<usize>,
    /// The pass of the wave this run is part of. `None`: its mailboxes are walked in every run.
    pub pass: Option<WavePass>,
}

/// A pass of a wave, over however many runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WavePass {
    /// Its number, from 1.
    pub number: u64,
    /// Is it the last one before cutover?
    pub last: bool,
    /// Mailboxes that came to their end in it in earlier runs. They are not among those of this run.
    pub before: u64,
}

/// How a run of several waves is conducted.
#[derive(Debug, Default)]
pub struct Conduct {
    /// For which windows it waits.
    pub waits: Waits,
    /// Where it is told wishes.
    pub desk: Option<Desk>,
}

/// Runs one pass of every mailbox, [`Options::open_mailboxes`](super::Options) at once, at any time of day.
pub async fn run(
    parts: Arc<Parts>,
    mailboxes: Vec<Mailbox>,
    watcher: Arc<dyn Watcher>,
    stop: Stop,
) -> WaveResult {
    let wave = Wave { mailboxes, ..Wave::default() };
    run_waves(parts, vec![wave], Conduct::default(), watcher, stop).await
}

/// Runs one pass of every mailbox of the waves, [`Options::open_mailboxes`](super::Options) at once, each wave in its
/// windows. A later wave gets the lanes that earlier ones leave free. A pass that ended with a temporary error is run
/// again after a backoff, a bounded number of times. It ends when nothing is left, when what is left has no window that
/// is waited for, or when it is asked to.
pub async fn run_waves(
    parts: Arc<Parts>,
    waves: Vec<Wave>,
    conduct: Conduct,
    watcher: Arc<dyn Watcher>,
    stop: Stop,
) -> WaveResult {
    let Conduct { waits, mut desk } = conduct;
    let mut run = Run::new(parts, waves, waits, watcher, stop);
    let env = run.parts.env.clone();
    let mut finish = run.look_at_windows();
    while !finish {
        let until = run.until();
        finish = tokio::select! {
            biased;
            Some((i, (ended, claim))) = run.running.next(), if !run.running.is_empty() => run.ended(i, ended, claim),
            () = run.stop.told(), if !run.draining => run.drains(),
            heard = hear(desk.as_mut()) => run.heard(heard),
            () = env.sleep_until(until), if until < Tick::MAX => run.look_at_windows(),
        };
    }
    // Wishes are told that the run is over, not left without an answer.
    drop(desk);
    run.result().await
}

async fn hear(desk: Option<&mut Desk>) -> Heard {
    match desk {
        Some(desk) => desk.next().await,
        None => std::future::pending().await,
    }
}

/// The ordinal of a mailbox among all, how its pass ended, and the claim it held.
type Running = Pin<Box<dyn Future<Output = (usize, (MailboxResult, Option<Claim>))> + Send>>;

struct Run {
    parts: Arc<Parts>,
    watcher: Arc<dyn Watcher>,
    stop: Stop,
    draining: bool,
    lanes: Lanes,
    width: Width,
    /// When to look at it next.
    width_at: Tick,
    windows: Windows,
    waves: Vec<(String, Option<WavePass>)>,
    calendars: Vec<Calendar>,
    /// All mailboxes, with their waves.
    mailboxes: Vec<(Mailbox, usize)>,
    /// What is expected of each, of what is left of it.
    expected: Vec<Expected>,
    running: FuturesUnordered<Running>,
    /// Stops the passes under way, one by one.
    stops: BTreeMap<usize, Stop>,
    attempts: BTreeMap<usize, u32>,
    /// What earlier tries of this run did.
    done: BTreeMap<usize, PassSummary>,
    /// Mailboxes that wait to go on: what they ended with, should the run end before they do.
    parked: BTreeMap<usize, MailboxResult>,
    /// What earlier tries of mailboxes that come back have looked at.
    looked: BTreeMap<usize, Arc<Looked>>,
    /// Failures being recorded.
    closing: Vec<Task<Result<Applied>>>,
    wake: Option<Tick>,
    result: WaveResult,
}

impl Run {
    fn new(parts: Arc<Parts>, waves: Vec<Wave>, waits: Waits, watcher: Arc<dyn Watcher>, stop: Stop) -> Run {
        let most = parts.options.open_mailboxes;
        let mut width = Width::new(most).from(parts.options.open_at_first);
        let (mut mailboxes, mut orders, mut calendars, mut names) =
            (Vec::new(), Vec::<(usize, Vec<usize>)>::new(), Vec::new(), Vec::new());
        let mut expected_of = Vec::new();
        for (n, wave) in waves.into_iter().enumerate() {
            let first = mailboxes.len();
            let expects = |m: &Mailbox| expected(m, wave.sizes.get(&m.key).copied(), &parts.limits);
            let its: Vec<Expected> = wave.mailboxes.iter().map(expects).collect();
            let order = longest_first(&its, wave.calendar.length(parts.env.wall())).mailboxes;
            orders
                .push((wave.open_mailboxes.unwrap_or(most), order.into_iter().map(|i| first + i).collect()));
            expected_of.extend(its);
            mailboxes.extend(wave.mailboxes.into_iter().map(|m| (m, n)));
            calendars.push(wave.calendar);
            names.push((wave.name, wave.pass));
        }
        Run {
            parts,
            watcher,
            stop,
            draining: false,
            lanes: Lanes::of_waves(width.look(0, Duration::ZERO), orders),
            width,
            width_at: Tick::ZERO,
            windows: Windows::new(waits, calendars.clone()),
            calendars,
            waves: names,
            mailboxes,
            expected: expected_of,
            running: FuturesUnordered::new(),
            stops: BTreeMap::new(),
            attempts: BTreeMap::new(),
            done: BTreeMap::new(),
            parked: BTreeMap::new(),
            looked: BTreeMap::new(),
            closing: Vec::new(),
            wake: None,
            result: WaveResult::default(),
        }
    }

    /// Until when nothing needs to be done by itself.
    fn until(&self) -> Tick {
        if self.draining {
            return Tick::MAX;
        }
        let env = &self.parts.env;
        let window = self.windows.next().map(|at| {
            let left = u64::try_from(at.saturating_sub(env.wall())).unwrap_or(0);
            env.now() + Duration::from_millis(left).min(CLOCK_LOOK)
        });
        // Only where more could be open than are is there anything to look at.
        let width = (self.parts.options.open_mailboxes > self.lanes.width()).then_some(self.width_at);
        [window, self.wake, width].into_iter().flatten().min().unwrap_or(Tick::MAX)
    }

    /// Tells the lanes which windows opened and closed. Is the run over?
    fn look_at_windows(&mut self) -> bool {
        self.look_at_width();
        let wall = self.parts.env.wall();
        let before: Vec<_> = (0..self.waves.len()).map(|n| self.windows.now(n)).collect();
        let mut finish = false;
        for happened in self.windows.look(wall) {
            finish = self.step(happened);
            let (Happened::WindowOpens(n) | Happened::WindowCloses(n, _)) = happened else { continue };
            let (Some(now), Some((name, _))) = (self.windows.now(n), self.waves.get(n)) else { continue };
            let wave = name.clone();
            // That a wave is open which has no windows is no news.
            let always = now.working && now.changes.is_none() && before.get(n).is_none_or(Option::is_none);
            if always || !self.lanes.is_left(n) {
                continue;
            }
            let awaited = happened == Happened::WindowCloses(n, super::lanes::NextWindow::Awaited);
            self.watcher.event(match now.working {
                true => Event::WaveOpens { wave, until: now.changes },
                false => Event::WaveCloses { wave, opens: now.opens, awaited },
            });
        }
        if let Some(end) = self.windows.end(wall) {
            // The last window says how long what is under way may take; where it has no grace, the settings do.
            let left = end.map(|at| u64::try_from(at.saturating_sub(wall)).unwrap_or(0));
            let left = left.map_or(self.parts.options.grace, Duration::from_millis);
            self.stop.end_by(self.parts.env.now().saturating_add(left));
        }
        // Whatever closed last may have left nothing; and somebody may have come due.
        let over = self.step(Happened::Time);
        finish || over
    }

    /// Nothing more is begun; what is under way has the grace to end in. Is the run over?
    fn drains(&mut self) -> bool {
        self.draining = true;
        self.stop.end_by(self.parts.env.now().saturating_add(self.parts.options.grace));
        self.step(Happened::Drain)
    }

    fn look_at_width(&mut self) {
        let now = self.parts.env.now();
        if now < self.width_at {
            return;
        }
        self.width_at = now + WIDTH_LOOK;
        let wait = self.parts.limits.wait_for_shared();
        self.lanes.set_width(self.width.look(self.running.len(), wait));
    }

    /// One step of the lanes, and what they want done. Is the run over?
    fn step(&mut self, happened: Happened) -> bool {
        self.wake = None;
        let mut finish = false;
        for what in self.lanes.step(self.parts.env.now(), happened) {
            match what {
                Do::Begin(i) => self.begin(i),
                Do::Halt(i) => {
                    if let Some(stop) = self.stops.get(&i) {
                        stop.ask();
                    }
                }
                Do::Wake(at) => self.wake = Some(at),
                Do::Finish => finish = true,
            }
        }
        finish
    }

    fn begin(&mut self, i: usize) {
        let Some((mailbox, wave)) = self.mailboxes.get(i).cloned() else { return };
        self.parked.remove(&i);
        let stop = self.stop.part();
        self.stops.insert(i, stop.clone());
        // A mailbox that was halted was begun too.
        let first_try = !self.attempts.contains_key(&i) && !self.done.contains_key(&i);
        let looked = self.looked.entry(i).or_default().clone();
        let this = pass::Try { first: first_try, walked: self.walked(wave, true), looked };
        let (parts, watcher) = (self.parts.clone(), self.watcher.clone());
        let task = self.parts.env.spawn(pass::run(parts, mailbox.clone(), watcher, stop, this));
        self.running.push(Box::pin(async move {
            (i, task.await.unwrap_or_else(|panicked| (broken(mailbox, panicked.to_string()), None)))
        }));
    }

    /// What is recorded of a mailbox that was walked in the wave's pass.
    fn walked(&self, wave: usize, complete: bool) -> Option<Walked> {
        let (name, pass) = self.waves.get(wave)?;
        let pass = pass.as_ref()?;
        Some(Walked { wave: name.clone(), pass: pass.number, last: pass.last, complete })
    }

    /// A pass ended: does its mailbox come back? Is the run over?
    fn ended(&mut self, i: usize, mut ended: MailboxResult, claim: Option<Claim>) -> bool {
        let (now, wall) = (self.parts.env.now(), self.parts.env.wall());
        let wave = self.mailboxes.get(i).map_or(0, |(_, wave)| *wave);
        self.stops.remove(&i);
        let got_on = ended.summary.stored > 0;
        self.expect(i, wave, &ended.summary);
        // What earlier tries of this run did counts too.
        if let Some(earlier) = self.done.get(&i) {
            add(&mut ended.summary, earlier);
        }
        let error = ended.error.clone().filter(|_| !self.stop.asked());
        if error.as_ref().is_some_and(|e| e.kind == Kind::Stopped) {
            self.done.insert(i, ended.summary.clone());
            self.watcher.event(Event::Halted(ended.mailbox.clone()));
            self.parked.insert(i, ended);
            return self.step(Happened::Halted(i));
        }
        let attempt = self.attempts.entry(i).or_insert(0);
        *attempt = if got_on { 1 } else { *attempt + 1 };
        let options = &self.parts.options;
        let later = error.as_ref().and_then(retry::parked);
        let next = match (&error, later) {
            (_, Some(wait)) => {
                let then = wall.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
                if self.windows.reaches(wave, wall, then) {
                    Next::Again(wait)
                } else {
                    ended.parked_until = Some(then);
                    Next::GiveUp
                }
            }
            (Some(e), None)
                if let Some(wait) = retry::full(e, *attempt, options.tries)
                    .or_else(|| retry::away(e, *attempt, options.tries))
                    .filter(|wait| {
                        let then = wall.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
                        self.windows.reaches(wave, wall, then)
                    }) =>
            {
                Next::Again(wait)
            }
            (Some(e), None) => retry::after_pass(e, *attempt, options.tries, self.parts.env.random(1000)),
            (None, None) => Next::GiveUp,
        };
        match next {
            Next::Again(wait) => {
                if let Some(why) = error {
                    self.watcher.event(Event::Waiting { mailbox: ended.mailbox.clone(), wait, why });
                }
                self.done.insert(i, ended.summary.clone());
                self.parked.insert(i, ended);
                self.step(Happened::ComesBack(i, now + wait))
            }
            Next::GiveUp => {
                self.looked.remove(&i);
                if ended.error.as_ref().is_some_and(|e| e.scope == Scope::Run) {
                    self.stop.ask(); // nothing can go on without the ledger, or we were asked to stop
                }
                if error.is_some() && ended.parked_until.is_none() {
                    self.record_failure(wave, claim);
                }
                self.watcher.event(Event::Closed(ended.clone()));
                self.result.mailboxes.push(ended);
                self.step(Happened::Ended(i))
            }
        }
    }

    /// What is left of a mailbox after a pass decides when it goes on, if it does.
    fn expect(&mut self, i: usize, wave: usize, pass: &PassSummary) {
        let Some((mailbox, _)) = self.mailboxes.get(i) else { return };
        let Some(expected) = self.expected.get_mut(i) else { return };
        if let Some(left) = expect::left(pass) {
            *expected = expect::expected(mailbox, Some(Size::Left(left)), &self.parts.limits);
        }
        let window = self.calendars.get(wave).and_then(|calendar| calendar.length(self.parts.env.wall()));
        self.lanes.set_place(i, expected.place(window));
    }

    /// Its part of the wave's pass is over, though it failed: else one mailbox would keep all others in this pass.
    fn record_failure(&mut self, wave: usize, claim: Option<Claim>) {
        if let (Some(walked), Some(claim)) = (self.walked(wave, false), claim) {
            let ledger = self.parts.ledger.clone();
            let record = async move { ledger.apply(&claim, Change::Walked(walked)).await };
            self.closing.push(self.parts.env.spawn(record));
        }
    }

    /// Carries out a wish. Is the run over?
    fn heard(&mut self, heard: Heard) -> bool {
        let wish = heard.wish().clone();
        let whom = match &wish {
            Wish::Tell => Ok(Whom::All),
            Wish::Pause(which) | Wish::Resume(which) | Wish::Drain(which) => self.whom(which),
        };
        let mut finish = false;
        let answer = whom.map(|whom| {
            finish = match wish {
                Wish::Tell => false,
                Wish::Pause(_) => self.step(Happened::Pause(whom)),
                Wish::Resume(_) => self.step(Happened::Resume(whom)),
                Wish::Drain(Which::All) => {
                    self.stop.ask();
                    self.drains()
                }
                Wish::Drain(_) => self.step(Happened::Drop(whom)),
            };
            self.state()
        });
        heard.answer(answer);
        finish
    }

    fn whom(&self, which: &Which) -> Result<Whom> {
        match which {
            Which::All => Ok(Whom::All),
            Which::Wave(name) => {
                let wave = self.waves.iter().position(|(n, _)| n == name);
                wave.map(Whom::Wave).ok_or_else(|| not_here("wave"))
            }
            Which::Mailbox(key) => {
                let mailbox = self.mailboxes.iter().position(|(m, _)| m.key == *key);
                mailbox.map(Whom::Mailbox).ok_or_else(|| not_here("mailbox"))
            }
        }
    }

    fn state(&self) -> RunState {
        let wave = |(n, (name, pass)): (usize, &(String, Option<WavePass>))| {
            let (tally, now) = (self.lanes.tally(n), self.windows.now(n));
            WaveState {
                name: name.clone(),
                waiting: tally.waiting as u64,
                running: tally.running as u64,
                parked: tally.parked as u64,
                halted: tally.halted as u64,
                ended: tally.ended as u64,
                paused: tally.paused as u64,
                before: pass.map_or(0, |p| p.before),
                is_paused: self.lanes.is_paused(n),
                open: now.is_some_and(|n| n.working),
                changes: now.and_then(|n| n.changes),
            }
        };
        RunState {
            draining: self.draining || self.stop.asked(),
            waves: self.waves.iter().enumerate().map(wave).collect(),
        }
    }

    async fn result(mut self) -> WaveResult {
        for recorded in std::mem::take(&mut self.closing) {
            // What was not recorded is walked again.
            if let Ok(Err(error)) = recorded.await {
                tracing::warn!(%error, "that a mailbox was tried in this pass of its wave is not on record");
            }
        }
        for (_, ended) in std::mem::take(&mut self.parked) {
            self.watcher.event(Event::Closed(ended.clone()));
            self.result.mailboxes.push(ended);
        }
        self.result.not_begun = self.lanes.not_begun() as u64;
        self.result.left = self.left();
        self.result
    }

    /// The waves of which something is left, and when they may go on.
    fn left(&self) -> Vec<(String, Option<WallMillis>)> {
        let left = |n: usize| {
            let tally = self.lanes.tally(n);
            tally.waiting + tally.parked + tally.halted > 0
        };
        let opens = |n: usize| self.windows.now(n).and_then(|now| now.opens);
        let waves = self.waves.iter().enumerate().filter(|(n, _)| left(*n));
        waves.map(|(n, (name, _))| (name.clone(), opens(n))).collect()
    }
}

/// Adds what an earlier try of the same run did. What was there already at the later one includes what the earlier one
/// stored.
fn add(summary: &mut PassSummary, earlier: &PassSummary) {
    summary.stored += earlier.stored;
    summary.bytes += earlier.bytes;
    summary.moved += earlier.moved;
    summary.removed += earlier.removed;
    summary.reflagged += earlier.reflagged;
    summary.already = summary.already.saturating_sub(earlier.stored);
    summary.began = earlier.began;
}

/// A pass that failed unexpectedly: a defect of ours, kept to its mailbox.
fn broken(mailbox: Mailbox, what: String) -> MailboxResult {
    let error =
        Error::new(Kind::Internal, Scope::Mailbox, format!("the pass of this mailbox failed: {what}"))
            .remedy("run again; if it happens again, report it with the log");
    let summary = PassSummary {
        verdict: "poor".to_owned(),
        reasons: vec![error.to_string()],
        ..PassSummary::default()
    };
    MailboxResult { mailbox, summary, skipped: 0, unknown: 0, error: Some(error), parked_until: None }
}

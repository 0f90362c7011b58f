//! Which mailbox is worked on when: a state machine over ordinals, time handed in.
//!
//! A lane that is free goes to one of those that come back and are due: to the one with most left to do, but to one that
//! has been due for long before all others; else to one that was halted and may go on, again the one with most left;
//! else to one that never began. The last two are looked for in the waves in their order: a later
//! wave begins when no mailbox of an earlier one can, be it that all are begun, that the wave is closed or paused, or that
//! it has as many open as it may. So what is begun ends, nobody starves, and no lane is idle while there is work for it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use super::order::Place;
use crate::env::Tick;

/// A mailbox that has been due for so long goes before those with more left to do.
const PATIENCE: Duration = Duration::from_secs(600);

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happened {
    /// Time passed (a timer rang, or the run begins).
    Time,
    /// A mailbox ended for good.
    Ended(usize),
    /// A mailbox wants another pass, not before this time.
    ComesBack(usize, Tick),
    /// A mailbox stopped because it was asked to; what is left of it is for later.
    Halted(usize),
    /// The window of a wave opens.
    WindowOpens(usize),
    /// The window of a wave closes, and the run waits for its next one, or does not.
    WindowCloses(usize, NextWindow),
    /// Nothing of these is begun, and what is under way is halted, until they are resumed.
    Pause(Whom),
    /// These may go on. All: whatever was paused, one by one too. A wave: but for those that were paused by themselves.
    Resume(Whom),
    /// These are done with in this run: what is under way is halted and does not go on.
    Drop(Whom),
    /// The run is asked to drain.
    Drain,
}

/// What a wave that closes comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextWindow {
    /// The run waits for it.
    Awaited,
    /// There is none, or it is for another run.
    NotOurs,
}

/// What is paused, resumed or dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    All,
    Wave(usize),
    Mailbox(usize),
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Do {
    /// Begin (or begin again) a pass of this mailbox.
    Begin(usize),
    /// Ask the pass of this mailbox to stop: nothing new is begun, what is under way is recorded.
    Halt(usize),
    /// Call again at this time, if nothing happens before.
    Wake(Tick),
    /// Nothing is left that this run will do.
    Finish,
}

/// Mailboxes by what they are doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Never begun.
    pub waiting: usize,
    /// Being worked on.
    pub running: usize,
    /// Come back by themselves.
    pub parked: usize,
    /// Begun, halted, not ended.
    pub halted: usize,
    /// Ended for good.
    pub ended: usize,
    /// Of all but the ended ones: paused by themselves.
    pub paused: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Parked(Tick),
    Halted,
    Ended,
}

#[derive(Debug, Clone, Copy)]
struct Seat {
    wave: usize,
    state: State,
    /// Among those that come back, or were halted.
    place: Place,
    begun: bool,
    paused: bool,
    dropped: bool,
}

#[derive(Debug, Default)]
struct Wave {
    width: usize,
    /// Never begun. May hold some that were paused or dropped since: they are passed over when they are met.
    waiting: VecDeque<usize>,
    /// Halted, and may go on.
    halted: BTreeSet<(Place, usize)>,
    /// Parked mailboxes by the time they come back.
    parked: BTreeSet<(Tick, usize)>,
    /// Those of them that were due at `looked`.
    due: BTreeSet<(Place, usize)>,
    looked: Option<Tick>,
    /// Paused by themselves, and not running.
    aside: BTreeSet<usize>,
    running: BTreeSet<usize>,
    /// Mailboxes neither ended nor dropped.
    left: usize,
    closed: Option<NextWindow>,
    paused: bool,
    dropped: bool,
}

impl Wave {
    /// May a mailbox of it be begun, were a lane free?
    fn begins(&self) -> bool {
        self.closed.is_none() && !self.paused && !self.dropped && self.running.len() < self.width
    }

    /// Sees who is due by now.
    fn look(&mut self, now: Tick, boxes: &BTreeMap<usize, Seat>) {
        let from = self.looked.map_or(Bound::Unbounded, |looked| Bound::Excluded((looked, usize::MAX)));
        if self.looked.is_some_and(|looked| looked >= now) {
            return;
        }
        let due = self.parked.range((from, Bound::Included((now, usize::MAX))));
        self.due.extend(due.map(|(_, m)| (boxes.get(m).map_or(Place::default(), |b| b.place), *m)));
        self.looked = Some(now);
    }

    /// Will this run do what is left of it, now or later?
    fn comes(&self) -> bool {
        self.left > 0 && !self.dropped && self.closed != Some(NextWindow::NotOurs)
    }
}

/// The lanes: at most `width` mailboxes at once, and of each wave at most its own; a parked mailbox holds no lane.
#[derive(Debug)]
pub(crate) struct Lanes {
    width: usize,
    boxes: BTreeMap<usize, Seat>,
    waves: Vec<Wave>,
    running: usize,
    draining: bool,
}

impl Lanes {
    /// One wave that is always open, as wide as all. `order` is the order in which mailboxes are begun.
    pub(crate) fn new(width: usize, order: impl IntoIterator<Item = usize>) -> Lanes {
        let mut lanes = Lanes::of_waves(width, [(usize::MAX, order.into_iter().collect())]);
        lanes.open_all();
        lanes
    }

    /// Waves in the order in which they begin, each with how many of it may be open at once and the order in which its
    /// mailboxes are begun. They are closed, and awaited, until they are told to open.
    pub(crate) fn of_waves(width: usize, waves: impl IntoIterator<Item = (usize, Vec<usize>)>) -> Lanes {
        let mut boxes = BTreeMap::new();
        let waves = waves.into_iter().enumerate().map(|(n, (its, order))| {
            boxes.extend(order.iter().map(|mailbox| {
                let (state, place) = (State::Waiting, Place::default());
                (*mailbox, Seat { wave: n, state, place, begun: false, paused: false, dropped: false })
            }));
            let (left, closed) = (order.len(), Some(NextWindow::Awaited));
            Wave { width: its.max(1), waiting: order.into(), left, closed, ..Wave::default() }
        });
        let waves = waves.collect();
        Lanes { width: width.max(1), boxes, waves, running: 0, draining: false }
    }

    fn open_all(&mut self) {
        self.waves.iter_mut().for_each(|wave| wave.closed = None);
    }

    /// How many may be open from now on; those that are stay.
    pub(crate) fn set_width(&mut self, width: usize) {
        self.width = width.max(1);
    }

    /// How many may be open now.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Where a mailbox stands when it comes back, or goes on. One that never began keeps its place in the order.
    pub(crate) fn set_place(&mut self, mailbox: usize, place: Place) {
        let Some(b) = self.boxes.get(&mailbox).copied() else { return };
        let lies = matches!(b.state, State::Parked(_) | State::Halted) && !b.dropped;
        if lies {
            self.take(mailbox);
        }
        if let Some(b) = self.boxes.get_mut(&mailbox) {
            b.place = place;
        }
        if lies {
            self.put(mailbox);
        }
    }

    /// Mailboxes never begun.
    pub(crate) fn not_begun(&self) -> usize {
        self.boxes.values().filter(|b| !b.begun).count()
    }

    /// What the mailboxes of a wave are doing.
    pub(crate) fn tally(&self, wave: usize) -> Tally {
        let mut tally = Tally::default();
        for b in self.boxes.values().filter(|b| b.wave == wave) {
            *(match b.state {
                State::Waiting => &mut tally.waiting,
                State::Running => &mut tally.running,
                State::Parked(_) => &mut tally.parked,
                State::Halted => &mut tally.halted,
                State::Ended => &mut tally.ended,
            }) += 1;
            tally.paused += usize::from(b.paused && b.state != State::Ended);
        }
        tally
    }

    /// Is a wave paused as a whole?
    pub(crate) fn is_paused(&self, wave: usize) -> bool {
        self.waves.get(wave).is_some_and(|w| w.paused)
    }

    /// Is there anything of a wave that was not dropped and did not end?
    pub(crate) fn is_left(&self, wave: usize) -> bool {
        self.waves.get(wave).is_some_and(|w| w.left > 0 && !w.dropped)
    }

    /// One step: what happened at `now`, and what to do about it, in order.
    pub(crate) fn step(&mut self, now: Tick, happened: Happened) -> Vec<Do> {
        let mut todo = Vec::new();
        match happened {
            Happened::Time => {}
            Happened::Ended(mailbox) => self.stops(mailbox, State::Ended),
            Happened::ComesBack(mailbox, at) => self.stops(mailbox, State::Parked(at)),
            Happened::Halted(mailbox) => self.stops(mailbox, State::Halted),
            Happened::WindowOpens(wave) => self.edit(wave, |w| w.closed = None),
            Happened::WindowCloses(wave, next) => {
                self.edit(wave, |w| w.closed = Some(next));
                todo.extend(self.halts(wave));
            }
            Happened::Pause(whom) => self.pause(whom, &mut todo),
            Happened::Resume(whom) => self.resume(whom),
            Happened::Drop(whom) => self.drop_these(whom, &mut todo),
            Happened::Drain => self.draining = true,
        }
        while !self.draining && self.running < self.width {
            let Some(mailbox) = self.next(now) else { break };
            self.begins(mailbox);
            todo.push(Do::Begin(mailbox));
        }
        if self.running == 0 && (self.draining || !self.waves.iter().any(Wave::comes)) {
            todo.push(Do::Finish);
        } else if !self.draining
            && self.running < self.width
            && let Some((at, _)) =
                self.waves.iter().filter(|w| w.begins()).filter_map(|w| w.parked.first()).min()
        {
            todo.push(Do::Wake(*at));
        }
        todo
    }

    fn edit(&mut self, wave: usize, edit: impl FnOnce(&mut Wave)) {
        if let Some(wave) = self.waves.get_mut(wave) {
            edit(wave);
        }
    }

    /// The next mailbox to begin, taken out of where it waited.
    fn next(&mut self, now: Tick) -> Option<usize> {
        if let Some(mailbox) = self.next_due(now) {
            self.take(mailbox);
            return Some(mailbox);
        }
        let (waves, boxes) = (&mut self.waves, &self.boxes);
        for wave in waves.iter_mut().filter(|w| w.begins()) {
            if let Some((_, mailbox)) = wave.halted.pop_first() {
                return Some(mailbox);
            }
            while let Some(mailbox) = wave.waiting.pop_front() {
                match boxes.get(&mailbox) {
                    Some(b) if b.dropped => {}
                    Some(b) if b.paused => {
                        wave.aside.insert(mailbox);
                    }
                    _ => return Some(mailbox),
                }
            }
        }
        None
    }

    /// Of those that are due: the one that has been for too long, else the one with most left to do.
    fn next_due(&mut self, now: Tick) -> Option<usize> {
        let (waves, boxes) = (&mut self.waves, &self.boxes);
        waves.iter_mut().filter(|w| w.begins()).for_each(|w| w.look(now, boxes));
        let begins = || self.waves.iter().filter(|w| w.begins());
        let longest = begins().filter_map(|w| w.parked.first()).min();
        if let Some((_, mailbox)) = longest.filter(|(at, _)| *at + PATIENCE <= now) {
            return Some(*mailbox);
        }
        begins().filter_map(|w| w.due.first()).min().map(|(_, mailbox)| *mailbox)
    }

    fn begins(&mut self, mailbox: usize) {
        let Some(b) = self.boxes.get_mut(&mailbox) else { return };
        (b.state, b.begun) = (State::Running, true);
        let wave = b.wave;
        self.running += 1;
        self.edit(wave, |w| {
            w.running.insert(mailbox);
        });
    }

    /// A mailbox that ran does not any more.
    fn stops(&mut self, mailbox: usize, state: State) {
        let Some(b) = self.boxes.get_mut(&mailbox).filter(|b| b.state == State::Running) else { return };
        b.state = state;
        let wave = b.wave;
        self.running -= 1;
        self.edit(wave, |w| {
            w.running.remove(&mailbox);
        });
        self.put(mailbox);
    }

    /// Puts a mailbox that does not run where it belongs.
    fn put(&mut self, mailbox: usize) {
        let Some(b) = self.boxes.get(&mailbox).copied() else { return };
        self.edit(b.wave, |w| match b.state {
            State::Ended => w.left -= usize::from(!b.dropped),
            _ if b.dropped => {}
            _ if b.paused => {
                w.aside.insert(mailbox);
            }
            State::Parked(at) => {
                w.parked.insert((at, mailbox));
                if w.looked.is_some_and(|looked| at <= looked) {
                    w.due.insert((b.place, mailbox));
                }
            }
            State::Halted => {
                w.halted.insert((b.place, mailbox));
            }
            State::Waiting => w.waiting.push_front(mailbox),
            State::Running => {}
        });
    }

    /// Takes a mailbox that does not run out of where it waits. Of those never begun it is passed over there.
    fn take(&mut self, mailbox: usize) {
        let Some(b) = self.boxes.get(&mailbox).copied() else { return };
        self.edit(b.wave, |w| {
            w.aside.remove(&mailbox);
            match b.state {
                State::Parked(at) => {
                    w.parked.remove(&(at, mailbox));
                    w.due.remove(&(b.place, mailbox));
                }
                State::Halted => {
                    w.halted.remove(&(b.place, mailbox));
                }
                State::Waiting => w.waiting.retain(|m| *m != mailbox),
                State::Running | State::Ended => {}
            }
        });
    }

    fn halts(&self, wave: usize) -> Vec<Do> {
        self.waves.get(wave).map(|w| w.running.iter().map(|m| Do::Halt(*m)).collect()).unwrap_or_default()
    }

    fn these(&self, whom: Whom) -> std::ops::Range<usize> {
        match whom {
            Whom::All => 0..self.waves.len(),
            Whom::Wave(wave) => wave..wave + 1,
            Whom::Mailbox(_) => 0..0,
        }
    }

    fn pause(&mut self, whom: Whom, todo: &mut Vec<Do>) {
        for wave in self.these(whom) {
            self.edit(wave, |w| w.paused = true);
            todo.extend(self.halts(wave));
        }
        let Whom::Mailbox(mailbox) = whom else { return };
        let Some(b) = self.boxes.get(&mailbox).copied().filter(|b| !b.paused) else { return };
        if b.state == State::Running {
            todo.push(Do::Halt(mailbox));
        } else {
            self.take(mailbox);
        }
        if let Some(b) = self.boxes.get_mut(&mailbox) {
            b.paused = true;
        }
        if b.state != State::Running && b.state != State::Ended {
            self.put(mailbox);
        }
    }

    fn resume(&mut self, whom: Whom) {
        for wave in self.these(whom) {
            self.edit(wave, |w| w.paused = false);
        }
        let these: Vec<usize> = match whom {
            Whom::All => self.boxes.iter().filter(|(_, b)| b.paused).map(|(mailbox, _)| *mailbox).collect(),
            Whom::Mailbox(mailbox) => vec![mailbox],
            Whom::Wave(_) => Vec::new(),
        };
        for mailbox in these {
            let Some(b) = self.boxes.get(&mailbox).copied().filter(|b| b.paused) else { continue };
            self.take(mailbox);
            if let Some(b) = self.boxes.get_mut(&mailbox) {
                b.paused = false;
            }
            if b.state != State::Running && b.state != State::Ended {
                self.put(mailbox);
            }
        }
    }

    fn drop_these(&mut self, whom: Whom, todo: &mut Vec<Do>) {
        for wave in self.these(whom) {
            self.edit(wave, |w| w.dropped = true);
            todo.extend(self.halts(wave));
        }
        let Whom::Mailbox(mailbox) = whom else { return };
        let Some(b) = self.boxes.get(&mailbox).copied() else { return };
        if b.dropped || b.state == State::Ended {
            return;
        }
        if b.state == State::Running {
            todo.push(Do::Halt(mailbox));
        } else {
            self.take(mailbox);
        }
        if let Some(b) = self.boxes.get_mut(&mailbox) {
            b.dropped = true;
        }
        self.edit(b.wave, |w| w.left -= 1);
    }
}

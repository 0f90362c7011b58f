use std::time::Duration;

use proptest::prelude::*;

use super::super::order::Expected;
use super::*;

fn at(s: u64) -> Tick {
    Duration::from_secs(s)
}

#[test]
fn a_parked_mailbox_holds_no_lane_and_goes_before_new_ones_when_due() {
    let mut lanes = Lanes::new(1, [0, 1, 2]);
    assert_eq!(lanes.step(at(0), Happened::Time), [Do::Begin(0)]);
    assert_eq!(lanes.step(at(1), Happened::ComesBack(0, at(3))), [Do::Begin(1)]);
    assert_eq!(lanes.step(at(5), Happened::Ended(1)), [Do::Begin(0)]);
    assert_eq!(lanes.step(at(6), Happened::Ended(0)), [Do::Begin(2)]);
    assert_eq!(lanes.step(at(7), Happened::Ended(2)), [Do::Finish]);
}

/// Where a mailbox stands with so many seconds left to do.
fn left(seconds: u64) -> Place {
    Expected { priority: 0, time: Some(at(seconds)) }.place(None)
}

#[test]
fn of_those_that_are_due_and_of_those_that_were_halted_the_one_with_most_left_goes_first() {
    let mut lanes = Lanes::new(3, [0, 1, 2, 3]);
    lanes.step(at(0), Happened::Time);
    for (mailbox, seconds) in [(0, 10), (1, 30), (2, 20)] {
        lanes.set_place(mailbox, left(seconds));
    }
    lanes.step(at(1), Happened::Pause(Whom::All));
    for mailbox in 0..3 {
        assert_eq!(lanes.step(at(2), Happened::Halted(mailbox)), []);
    }
    lanes.set_width(1);
    assert_eq!(lanes.step(at(3), Happened::Resume(Whom::All)), [Do::Begin(1)]);
    assert_eq!(lanes.step(at(4), Happened::ComesBack(1, at(9))), [Do::Begin(2)]);
    assert_eq!(lanes.step(at(5), Happened::ComesBack(2, at(8))), [Do::Begin(0)]);
    assert_eq!(lanes.step(at(10), Happened::ComesBack(0, at(10))), [Do::Begin(1)], "not the one due longest");
    lanes.set_place(0, left(99));
    assert_eq!(lanes.step(at(11), Happened::Ended(1)), [Do::Begin(0)], "what is left of it is known anew");
    assert_eq!(lanes.step(at(12), Happened::Ended(0)), [Do::Begin(2)]);
    assert_eq!(lanes.step(at(13), Happened::Ended(2)), [Do::Begin(3)]);
}

#[test]
fn a_short_mailbox_that_has_been_due_for_long_does_not_wait_for_longer_ones_for_ever() {
    let mut lanes = Lanes::new(1, [0, 1, 2]);
    lanes.step(at(0), Happened::Time);
    lanes.set_place(0, left(1));
    assert_eq!(lanes.step(at(1), Happened::ComesBack(0, at(2))), [Do::Begin(1)]);
    (1..3).for_each(|mailbox| lanes.set_place(mailbox, left(1000)));
    // Two long ones take turns.
    let mut now = at(2);
    let mut turns = 0;
    let mut running = 1;
    while running != 0 {
        turns += 1;
        assert!(now <= at(2) + PATIENCE + at(60), "it starves");
        now += at(30);
        let todo = lanes.step(now, Happened::ComesBack(running, now));
        let [Do::Begin(next)] = todo.as_slice() else { panic!("one begins: {todo:?}") };
        running = *next;
    }
    assert!(turns > 10, "longer ones went first, {turns} times");
}

#[test]
fn more_are_begun_when_more_may_be_open_than_at_first() {
    let mut lanes = Lanes::new(1, [0, 1, 2]);
    assert_eq!(lanes.step(at(0), Happened::Time), [Do::Begin(0)]);
    lanes.set_width(3);
    assert_eq!(lanes.step(at(1), Happened::Time), [Do::Begin(1), Do::Begin(2)]);
}

#[test]
fn draining_begins_nothing_and_finishes_when_the_last_one_ended() {
    let mut lanes = Lanes::new(2, [0, 1, 2]);
    lanes.step(at(0), Happened::Time);
    assert_eq!(lanes.step(at(1), Happened::Drain), []);
    assert_eq!(lanes.step(at(2), Happened::ComesBack(0, at(9))), []);
    assert_eq!(lanes.step(at(3), Happened::Ended(1)), [Do::Finish]);
    assert_eq!(lanes.not_begun(), 1);
}

#[test]
fn a_later_wave_gets_the_lanes_that_an_earlier_one_leaves_free() {
    let mut lanes = Lanes::of_waves(3, [(2, vec![0, 1, 2]), (9, vec![3, 4])]);
    assert_eq!(lanes.step(at(0), Happened::Time), [], "closed until told");
    assert_eq!(
        lanes.step(at(0), Happened::WindowOpens(0)),
        [Do::Begin(0), Do::Begin(1)],
        "two of it at once"
    );
    assert_eq!(lanes.step(at(0), Happened::WindowOpens(1)), [Do::Begin(3)]);
    assert_eq!(lanes.step(at(1), Happened::Ended(3)), [Do::Begin(4)], "the first wave has its two");
    assert_eq!(lanes.step(at(2), Happened::Ended(0)), [Do::Begin(2)], "the first wave goes first");
    assert_eq!(lanes.step(at(3), Happened::Ended(2)), []);
    assert_eq!(lanes.step(at(3), Happened::Ended(1)), []);
    assert_eq!(lanes.step(at(4), Happened::Ended(4)), [Do::Finish]);
}

#[test]
fn a_closed_window_halts_what_runs_and_the_next_one_takes_it_up_first() {
    let mut lanes = Lanes::of_waves(1, [(1, vec![0, 1])]);
    assert_eq!(lanes.step(at(0), Happened::WindowOpens(0)), [Do::Begin(0)]);
    assert_eq!(lanes.step(at(1), Happened::WindowCloses(0, NextWindow::Awaited)), [Do::Halt(0)]);
    assert_eq!(lanes.step(at(2), Happened::Halted(0)), [], "it waits for the next window");
    assert_eq!(lanes.tally(0), Tally { waiting: 1, halted: 1, ..Tally::default() });
    assert_eq!(lanes.step(at(9), Happened::WindowOpens(0)), [Do::Begin(0)]);
    assert_eq!(lanes.step(at(10), Happened::WindowCloses(0, NextWindow::NotOurs)), [Do::Halt(0)]);
    assert_eq!(lanes.step(at(11), Happened::Halted(0)), [Do::Finish]);
    assert!(lanes.is_left(0));
    assert_eq!(lanes.not_begun(), 1);
}

#[test]
fn a_paused_mailbox_gives_its_lane_away_and_keeps_the_run_until_it_is_resumed_or_dropped() {
    let mut lanes = Lanes::new(1, [0, 1, 2]);
    lanes.step(at(0), Happened::Time);
    assert_eq!(lanes.step(at(1), Happened::Pause(Whom::Mailbox(0))), [Do::Halt(0)]);
    assert_eq!(lanes.step(at(1), Happened::Pause(Whom::Mailbox(2))), []);
    assert_eq!(lanes.step(at(2), Happened::Halted(0)), [Do::Begin(1)]);
    assert_eq!(lanes.step(at(3), Happened::Ended(1)), [], "what is left is paused");
    assert_eq!(lanes.step(at(4), Happened::Resume(Whom::Mailbox(0))), [Do::Begin(0)]);
    assert_eq!(lanes.step(at(5), Happened::Ended(0)), []);
    assert_eq!(lanes.step(at(6), Happened::Drop(Whom::Mailbox(2))), [Do::Finish]);
}

#[test]
fn a_paused_wave_begins_nothing_and_a_dropped_one_is_over() {
    let mut lanes = Lanes::of_waves(2, [(2, vec![0, 1]), (2, vec![2, 3])]);
    lanes.step(at(0), Happened::WindowOpens(0));
    lanes.step(at(0), Happened::WindowOpens(1));
    assert_eq!(lanes.step(at(1), Happened::Pause(Whom::Wave(0))), [Do::Halt(0), Do::Halt(1)]);
    assert_eq!(lanes.step(at(2), Happened::Halted(0)), [Do::Begin(2)]);
    assert_eq!(lanes.step(at(2), Happened::ComesBack(1, at(3))), [Do::Begin(3)]);
    assert_eq!(lanes.step(at(5), Happened::Ended(2)), [], "also what is due stays");
    assert_eq!(lanes.step(at(6), Happened::Resume(Whom::All)), [Do::Begin(1)]);
    assert_eq!(lanes.step(at(7), Happened::Drop(Whom::Wave(0))), [Do::Halt(1)]);
    assert_eq!(lanes.step(at(8), Happened::Ended(3)), []);
    assert_eq!(lanes.step(at(8), Happened::Halted(1)), [Do::Finish]);
    assert!(!lanes.is_left(0));
}

#[derive(Debug, Clone)]
enum Act {
    End(u8),
    Back(u8, u64),
    Fail(u8),
    Window(u8, bool, bool),
    Pause(u8, u8),
    Resume(u8, u8),
    Drop(u8, u8),
    Pass(u64),
    /// Mostly something else, else no trial would get far.
    Drain(u8),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => any::<u8>().prop_map(Act::End),
        3 => (any::<u8>(), 0u64..20).prop_map(|(n, t)| Act::Back(n, t)),
        2 => any::<u8>().prop_map(Act::Fail),
        3 => (any::<u8>(), any::<bool>(), any::<bool>()).prop_map(|(w, o, a)| Act::Window(w, o, a)),
        1 => (0u8..8, any::<u8>()).prop_map(|(k, n)| Act::Pause(k, n)),
        2 => (0u8..8, any::<u8>()).prop_map(|(k, n)| Act::Resume(k, n)),
        1 => (4u8..40, any::<u8>()).prop_map(|(k, n)| Act::Drop(k, n)),
        3 => (0u64..30).prop_map(Act::Pass),
        1 => any::<u8>().prop_map(Act::Drain),
    ]
}

/// What a trial believes of a mailbox.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    running: bool,
    halting: bool,
    paused: bool,
    dropped: bool,
    due: Option<Tick>,
    begun: bool,
    ended: bool,
}

struct Trial {
    lanes: Lanes,
    width: usize,
    widths: Vec<usize>,
    wave_of: Vec<usize>,
    seen: Vec<Seen>,
    open: Vec<bool>,
    paused: Vec<bool>,
    dropped: Vec<bool>,
    now: Tick,
    wake: Option<Tick>,
    finished: bool,
    draining: bool,
}

impl Trial {
    fn new(width: usize, waves: &[(usize, usize)]) -> Trial {
        let mut next = 0;
        let mut wave_of = Vec::new();
        let orders: Vec<_> = waves
            .iter()
            .enumerate()
            .map(|(n, (its, count))| {
                let order: Vec<usize> = (next..next + count).collect();
                next += count;
                wave_of.extend(order.iter().map(|_| n));
                (*its, order)
            })
            .collect();
        Trial {
            lanes: Lanes::of_waves(width, orders),
            width,
            widths: waves.iter().map(|(its, _)| *its).collect(),
            seen: vec![Seen::default(); next],
            wave_of,
            open: vec![false; waves.len()],
            paused: vec![false; waves.len()],
            dropped: vec![false; waves.len()],
            now: at(0),
            wake: None,
            finished: false,
            draining: false,
        }
    }

    fn may_begin(&self, m: usize) -> bool {
        let (s, w) = (self.seen[m], self.wave_of[m]);
        let runs = (0..self.seen.len()).filter(|o| self.wave_of[*o] == w && self.seen[*o].running).count();
        !self.draining
            && !s.running
            && !s.ended
            && !s.paused
            && !s.dropped
            && s.due.is_none_or(|due| due <= self.now)
            && self.open[w]
            && !self.paused[w]
            && !self.dropped[w]
            && runs < self.widths[w]
    }

    fn step(&mut self, happened: Happened) -> Result<(), TestCaseError> {
        self.wake = None;
        for what in self.lanes.step(self.now, happened) {
            match what {
                Do::Begin(m) => {
                    prop_assert!(self.may_begin(m), "{m} was begun: {:?}", self.seen[m]);
                    // No starvation: whoever is due goes before those that never began.
                    if !self.seen[m].begun {
                        let due = |o: usize| self.seen[o].due.is_some() && self.may_begin(o);
                        prop_assert!(!(0..self.seen.len()).any(due), "{m} was begun while another was due");
                    }
                    self.seen[m] = Seen { running: true, begun: true, due: None, ..self.seen[m] };
                }
                Do::Halt(m) => {
                    prop_assert!(self.seen[m].running);
                    self.seen[m].halting = true;
                }
                Do::Wake(t) => self.wake = Some(t),
                Do::Finish => {
                    prop_assert!(self.seen.iter().all(|s| !s.running));
                    self.finished = true;
                }
            }
        }
        let running = self.seen.iter().filter(|s| s.running).count();
        prop_assert!(running <= self.width);
        if self.draining {
            prop_assert_eq!(self.finished, running == 0, "a drain is over when the last one ended");
            prop_assert_eq!(self.wake, None, "nobody is waited for in a drain");
        }
        if running < self.width {
            let idle = (0..self.seen.len()).find(|m| self.may_begin(*m));
            prop_assert_eq!(idle, None, "a lane is free and somebody could have it");
        }
        for (m, s) in self.seen.iter().enumerate().filter(|(_, s)| s.running) {
            let w = self.wave_of[m];
            let must = !self.open[w] || self.paused[w] || self.dropped[w] || s.paused || s.dropped;
            prop_assert!(!must || s.halting, "{m} runs on where nothing may");
        }
        Ok(())
    }

    fn running(&self, n: u8) -> Option<usize> {
        let all: Vec<usize> = (0..self.seen.len()).filter(|m| self.seen[*m].running).collect();
        (!all.is_empty()).then(|| all[usize::from(n) % all.len()])
    }

    fn whom(&self, kind: u8, n: u8) -> Option<Whom> {
        match kind {
            0 => Some(Whom::All),
            1..=3 => Some(Whom::Wave(usize::from(n) % self.open.len())),
            _ if self.seen.is_empty() => None,
            _ => Some(Whom::Mailbox(usize::from(n) % self.seen.len())),
        }
    }

    fn mark(&mut self, whom: Whom, mark: impl Fn(&mut Seen), wave: impl Fn(&mut Trial, usize)) {
        match whom {
            Whom::All => (0..self.open.len()).for_each(|w| wave(self, w)),
            Whom::Wave(w) => wave(self, w),
            Whom::Mailbox(m) => mark(&mut self.seen[m]),
        }
    }

    fn stop(&mut self, m: usize, due: Option<Tick>) {
        self.seen[m] = Seen { running: false, halting: false, due, ..self.seen[m] };
    }

    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match *act {
            Act::End(n) => {
                let Some(m) = self.running(n) else { return Ok(()) };
                let halting = self.seen[m].halting;
                self.stop(m, None);
                // A mailbox that was asked to stop does, more often than not.
                if halting && n % 4 != 0 {
                    return self.step(Happened::Halted(m));
                }
                self.seen[m].ended = true;
                self.step(Happened::Ended(m))
            }
            Act::Fail(n) => {
                let Some(m) = self.running(n) else { return Ok(()) };
                self.stop(m, None);
                self.seen[m].ended = true;
                self.step(Happened::Ended(m))
            }
            Act::Back(n, later) => {
                let Some(m) = self.running(n) else { return Ok(()) };
                let due = self.now + at(later);
                self.stop(m, Some(due));
                self.step(Happened::ComesBack(m, due))
            }
            Act::Window(n, open, awaited) => {
                let w = usize::from(n) % self.open.len();
                self.open[w] = open;
                let next = if awaited { NextWindow::Awaited } else { NextWindow::NotOurs };
                self.step(if open { Happened::WindowOpens(w) } else { Happened::WindowCloses(w, next) })
            }
            Act::Pause(kind, n) => {
                let Some(whom) = self.whom(kind, n) else { return Ok(()) };
                self.mark(whom, |s| s.paused = true, |t, w| t.paused[w] = true);
                self.step(Happened::Pause(whom))
            }
            Act::Resume(kind, n) => {
                let Some(whom) = self.whom(kind, n) else { return Ok(()) };
                self.mark(whom, |s| s.paused = false, |t, w| t.paused[w] = false);
                if whom == Whom::All {
                    self.seen.iter_mut().for_each(|s| s.paused = false);
                }
                self.step(Happened::Resume(whom))
            }
            Act::Drop(kind, n) => {
                let Some(whom) = self.whom(if kind > 7 { return Ok(()) } else { kind }, n) else {
                    return Ok(());
                };
                self.mark(whom, |s| s.dropped = true, |t, w| t.dropped[w] = true);
                self.step(Happened::Drop(whom))
            }
            Act::Drain(n) if n > 8 => Ok(()),
            Act::Drain(_) => {
                // What was over while its windows were closed may have gone on since.
                (self.draining, self.finished) = (true, false);
                self.step(Happened::Drain)
            }
            Act::Pass(seconds) => {
                self.now += at(seconds);
                self.step(Happened::Time)
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn nothing_begins_where_it_may_not_and_everything_ends_once(
        width in 1usize..5,
        waves in prop::collection::vec((1usize..4, 0usize..6), 1..4),
        acts in prop::collection::vec(any_act(), 0..150),
    ) {
        let mut trial = Trial::new(width, &waves);
        trial.step(Happened::Time)?;
        for act in &acts {
            if trial.draining && trial.finished {
                break;
            }
            trial.act(act)?;
        }
        // Then all may run: every mailbox that was not dropped comes to its end.
        for w in 0..waves.len() {
            trial.open[w] = true;
            trial.step(Happened::WindowOpens(w))?;
        }
        if !trial.draining {
            // While only some were open, nothing may have been left to do.
            trial.finished = false;
        }
        trial.act(&Act::Resume(0, 0))?;
        for turn in 0.. {
            prop_assert!(turn < 1000, "it never ends: {:?}", trial.seen);
            match trial.running(0) {
                Some(m) => {
                    trial.stop(m, None);
                    trial.seen[m].ended = true;
                    trial.step(Happened::Ended(m))?;
                }
                None if trial.finished => break,
                None => {
                    let wake = trial.wake.expect("something will happen");
                    prop_assert!(wake > trial.now, "it was due already");
                    trial.now = wake;
                    trial.step(Happened::Time)?;
                }
            }
        }
        for (m, seen) in trial.seen.iter().enumerate() {
            let dropped = seen.dropped || trial.dropped[trial.wave_of[m]];
            prop_assert!(seen.ended || dropped || trial.draining, "{m} was forgotten: {seen:?}");
        }
        let begun = trial.seen.iter().filter(|s| !s.begun).count();
        prop_assert_eq!(trial.lanes.not_begun(), begun);
    }

    #[test]
    fn every_mailbox_is_begun_and_ends_and_the_width_holds(
        width in 1usize..5, count in 0usize..12, fates in prop::collection::vec((any::<bool>(), 0u64..20), 200),
    ) {
        let mut lanes = Lanes::new(width, 0..count);
        let (mut now, mut running, mut ended) = (at(0), Vec::new(), 0);
        let mut fates = fates.into_iter();
        let mut todo = lanes.step(now, Happened::Time);
        loop {
            let mut wake = None;
            let mut finish = false;
            for d in todo {
                match d {
                    Do::Begin(m) => running.push(m),
                    Do::Halt(m) => prop_assert!(false, "nobody asked for {m} to be halted"),
                    Do::Wake(t) => wake = Some(t),
                    Do::Finish => finish = true,
                }
            }
            prop_assert!(running.len() <= width);
            if finish {
                break;
            }
            todo = if running.is_empty() {
                now = wake.expect("something will happen").max(now);
                lanes.step(now, Happened::Time)
            } else {
                let m = running.remove(0);
                match fates.next() {
                    Some((true, later)) => lanes.step(now, Happened::ComesBack(m, now + at(later))),
                    _ => {
                        ended += 1;
                        lanes.step(now, Happened::Ended(m))
                    }
                }
            };
        }
        prop_assert_eq!(ended, count);
    }
}

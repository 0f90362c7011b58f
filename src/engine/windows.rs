//! Which waves may work now: calendars → what happens to the lanes, and when to look again. Pure; wall time handed in.

use super::lanes::{Happened, NextWindow};
use crate::env::WallMillis;
use crate::plan::{At, Calendar};

/// For which windows a run waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Waits {
    /// For none: it ends once nothing may be begun.
    Never,
    /// For the first window of each wave; at its end it ends.
    #[default]
    First,
    /// For every window, until nothing is left.
    Always,
}

/// What a wave may do just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Now {
    /// May something be begun?
    pub working: bool,
    /// When that changes; `None`: never.
    pub changes: Option<WallMillis>,
    /// If not: when the next window opens.
    pub opens: Option<WallMillis>,
}

/// The state of one calendar at a moment: in the grace before the end of a window nothing may be begun.
pub(super) fn now(calendar: &Calendar, wall: WallMillis) -> Now {
    match calendar.at(wall) {
        At::Open { until: None, .. } => Now { working: true, changes: None, opens: None },
        At::Open { until: Some(until), grace } if until.saturating_sub(grace) > wall => {
            Now { working: true, changes: Some(until.saturating_sub(grace)), opens: None }
        }
        At::Open { until: Some(until), .. } => {
            let opens = match calendar.at(until) {
                At::Closed { opens } => opens,
                At::Open { .. } => Some(until),
            };
            Now { working: false, changes: opens, opens }
        }
        At::Closed { opens } => Now { working: false, changes: opens, opens },
    }
}

#[derive(Debug)]
struct One {
    calendar: Calendar,
    /// What the lanes were told last.
    told: Option<Now>,
    was_open: bool,
    /// It does not open any more in this run.
    over: bool,
}

/// The windows of the waves of a run.
#[derive(Debug)]
pub(super) struct Windows {
    waves: Vec<One>,
    waits: Waits,
}

impl Windows {
    pub(super) fn new(waits: Waits, calendars: impl IntoIterator<Item = Calendar>) -> Windows {
        let one = |calendar| One { calendar, told: None, was_open: false, over: false };
        Windows { waves: calendars.into_iter().map(one).collect(), waits }
    }

    /// What opened and what closed since the last look. The first look tells of every wave.
    pub(super) fn look(&mut self, wall: WallMillis) -> Vec<Happened> {
        let mut happened = Vec::new();
        for (n, wave) in self.waves.iter_mut().enumerate() {
            let now = now(&wave.calendar, wall);
            if wave.told.is_none_or(|told| told.working != now.working) {
                let awaited = match self.waits {
                    Waits::Never => false,
                    Waits::First => !wave.was_open,
                    Waits::Always => true,
                };
                wave.over = !(now.working || awaited && now.opens.is_some());
                happened.push(match now.working {
                    true => Happened::WindowOpens(n),
                    false if awaited && now.opens.is_some() => Happened::WindowCloses(n, NextWindow::Awaited),
                    false => Happened::WindowCloses(n, NextWindow::NotOurs),
                });
            }
            wave.was_open |= now.working;
            wave.told = Some(now);
        }
        happened
    }

    /// When to look again: the next moment at which a wave opens or closes.
    pub(super) fn next(&self) -> Option<WallMillis> {
        self.waves.iter().filter_map(|w| w.told?.changes).min()
    }

    /// No wave opens any more in this run: then the last of the windows that are ending now ends at this moment, or has
    /// ended (`Err`).
    pub(super) fn end(&self, wall: WallMillis) -> Option<Result<WallMillis, ()>> {
        if !self.waves.iter().all(|wave| wave.over) {
            return None;
        }
        let ends = self.waves.iter().filter_map(|wave| match wave.calendar.at(wall) {
            At::Open { until, .. } => until,
            At::Closed { .. } => None,
        });
        Some(ends.max().ok_or(()))
    }

    /// What a wave was told last.
    pub(super) fn now(&self, wave: usize) -> Option<Now> {
        self.waves.get(wave)?.told
    }

    /// Will this run still be there, and the wave open at some time from then on? Nobody keeps a run that has no window
    /// waiting for hours, unless it was said to wait.
    pub(super) fn reaches(&self, wave: usize, wall: WallMillis, then: WallMillis) -> bool {
        let Some(wave) = self.waves.get(wave) else { return false };
        if self.waits == Waits::Always {
            return !matches!(wave.calendar.at(then), At::Closed { opens: None });
        }
        match wave.calendar.at(wall) {
            At::Open { until: Some(until), grace } => then < until.saturating_sub(grace),
            At::Open { until: None, .. } | At::Closed { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    /// Open every day from 01:00 to 03:00, with ten minutes of grace; 1970-01-01 is day 0.
    fn nightly() -> Calendar {
        Calendar::every_day(60, 180, 600)
    }

    #[test]
    fn the_grace_closes_a_window_before_its_end() {
        let mut windows = Windows::new(Waits::First, [nightly(), Calendar::default()]);
        assert_eq!(
            windows.look(0),
            [Happened::WindowCloses(0, NextWindow::Awaited), Happened::WindowOpens(1)],
            "the first look tells of each"
        );
        assert_eq!(windows.next(), Some(HOUR));
        assert_eq!(windows.look(HOUR - 1), []);
        assert_eq!(windows.look(HOUR), [Happened::WindowOpens(0)]);
        let grace = 3 * HOUR - 600_000;
        assert_eq!(windows.next(), Some(grace));
        assert_eq!(
            windows.look(grace),
            [Happened::WindowCloses(0, NextWindow::NotOurs)],
            "the first was awaited"
        );
        assert_eq!(windows.now(0).and_then(|n| n.opens), Some(25 * HOUR));
        assert_eq!(windows.look(3 * HOUR), []);
        assert_eq!(windows.look(25 * HOUR), [Happened::WindowOpens(0)], "if the run is still there");
    }

    #[test]
    fn the_last_window_of_a_run_has_an_end_and_one_that_is_awaited_has_none() {
        let mut windows = Windows::new(Waits::First, [nightly(), nightly().until(Some(2 * HOUR))]);
        windows.look(HOUR);
        assert_eq!(windows.end(HOUR), None, "both are open");
        windows.look(2 * HOUR);
        assert_eq!(windows.end(2 * HOUR), None, "one is");
        let grace = 3 * HOUR - 600_000;
        windows.look(grace);
        assert_eq!(windows.end(grace), Some(Ok(3 * HOUR)));
        assert_eq!(windows.end(3 * HOUR), Some(Err(())), "it has ended");
        let mut always = Windows::new(Waits::Always, [nightly()]);
        always.look(HOUR);
        always.look(grace);
        assert_eq!(always.end(grace), None, "the next one is awaited");
    }

    #[test]
    fn a_run_waits_for_as_many_windows_as_it_was_told() {
        let close = |waits, wall| Windows::new(waits, [nightly()]).look(wall);
        assert_eq!(close(Waits::Never, 0), [Happened::WindowCloses(0, NextWindow::NotOurs)]);
        let mut windows = Windows::new(Waits::Always, [nightly()]);
        windows.look(HOUR);
        assert_eq!(windows.look(4 * HOUR), [Happened::WindowCloses(0, NextWindow::Awaited)]);
        let ended = nightly().until(Some(2 * HOUR));
        let mut windows = Windows::new(Waits::Always, [ended]);
        windows.look(HOUR);
        let over = [Happened::WindowCloses(0, NextWindow::NotOurs)];
        assert_eq!(windows.look(2 * HOUR), over, "there is no next one");
    }

    #[test]
    fn a_run_reaches_as_far_as_its_window_or_as_it_waits() {
        let reaches =
            |waits, calendar: Calendar, then| Windows::new(waits, [calendar]).reaches(0, HOUR, then);
        assert!(reaches(Waits::First, nightly(), 2 * HOUR));
        assert!(!reaches(Waits::First, nightly(), 3 * HOUR));
        assert!(
            !reaches(Waits::First, Calendar::default(), 2 * HOUR),
            "nothing says that it goes on so long"
        );
        assert!(reaches(Waits::Always, Calendar::default(), 99 * HOUR));
        assert!(reaches(Waits::Always, nightly(), 99 * HOUR));
        assert!(!reaches(Waits::Always, nightly().until(Some(9 * HOUR)), 99 * HOUR));
    }
}

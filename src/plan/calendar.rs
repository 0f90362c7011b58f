//! When a wave may run: weekly windows less black-outs, up to an end. A pure machine over wall-clock time: it tells what
//! is now and when that changes next, so that nobody has to ask again before.
//!
//! A window begins and ends by the clock on the wall of its zone; so its length may differ by an hour on the days on
//! which clocks are changed. What falls into a skipped hour happens when that hour is over, what falls into a doubled
//! one the first time ([`Zone::first`]). So a window that lies wholly in a skipped hour does not open that day, and one
//! from 01:00 to 02:30 ends at the first 02:30. Windows that touch or overlap are one. A black-out lasts from the first
//! midnight of its first day to the midnight after its last, and cuts whatever window lies there.

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::civil::Date;

use crate::config::{BlackOut, Weekly};
use crate::env::WallMillis;

/// The longest time that is looked ahead for the end of windows that follow each other without a gap: beyond it they
/// count as having none. Two years and a day.
const HORIZON: i64 = 731 * 86_400_000;
/// No window is longer than seven days and an hour or two.
const LONGEST_DAYS: i32 = 8;

/// What is at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Work may go on.
    Open {
        /// Until then; `None`: without an end.
        until: Option<WallMillis>,
        /// How long before that nothing new is begun, in milliseconds.
        grace: i64,
    },
    /// Nothing may be begun.
    Closed {
        /// It opens then; `None`: never again.
        opens: Option<WallMillis>,
    },
}

/// When a wave may run.
#[derive(Debug, Clone, Default)]
pub struct Calendar {
    windows: Vec<Weekly>,
    /// Black-outs as moments, ascending, apart from each other.
    black: Vec<(WallMillis, WallMillis)>,
    end: Option<WallMillis>,
}

impl Calendar {
    /// These windows (none: always) without these black-outs.
    pub fn new(windows: Vec<Weekly>, black_outs: &[BlackOut]) -> Calendar {
        let mut black: Vec<_> = black_outs.iter().filter_map(moments).collect();
        black.sort_unstable();
        let mut apart: Vec<(WallMillis, WallMillis)> = Vec::with_capacity(black.len());
        for (from, to) in black {
            match apart.last_mut() {
                Some((_, last)) if from <= *last => *last = to.max(*last),
                _ => apart.push((from, to)),
            }
        }
        Calendar { windows, black: apart, end: None }
    }

    /// The same, closed for good from a moment on.
    #[must_use]
    pub fn until(mut self, end: Option<WallMillis>) -> Calendar {
        self.end = end;
        self
    }

    /// Is it open at every moment, for ever?
    pub fn always(&self) -> bool {
        self.windows.is_empty() && self.black.is_empty() && self.end.is_none()
    }

    /// What is at a moment, and when that changes.
    pub fn at(&self, now: WallMillis) -> At {
        if self.end.is_some_and(|end| end <= now) {
            return At::Closed { opens: None };
        }
        let dark = self.black.iter().find(|(from, to)| *from <= now && now < *to);
        let open = if dark.is_some() { None } else { self.open(now) };
        match open {
            Some((until, grace)) => {
                let dark = self.black.iter().map(|(from, _)| *from).find(|from| *from > now);
                // Before a black-out the grace of the window holds too; the end of all has none.
                let until = [until, dark].into_iter().flatten().min();
                match (until.map(|until| until.saturating_sub(grace)), self.end) {
                    (None, end) => At::Open { until: end, grace: 0 },
                    (Some(begins), Some(end)) if end <= begins => At::Open { until: Some(end), grace: 0 },
                    (Some(begins), end) => {
                        let until = [until, end].into_iter().flatten().min();
                        At::Open { until, grace: until.map_or(0, |until| until - begins) }
                    }
                }
            }
            None => At::Closed { opens: self.opens(now).filter(|at| self.end.is_none_or(|end| *at < end)) },
        }
    }

    /// How long work may go on from a moment: until the window that is open closes, else in the next one. `None`: without
    /// an end. Never open again counts as no time.
    pub fn length(&self, now: WallMillis) -> Option<Duration> {
        let (from, at) = match self.at(now) {
            At::Closed { opens: Some(opens) } => (opens, self.at(opens)),
            at => (now, at),
        };
        match at {
            At::Open { until, .. } => {
                until.map(|until| Duration::from_millis((until - from).max(0).cast_unsigned()))
            }
            At::Closed { .. } => Some(Duration::ZERO),
        }
    }

    /// Until when the windows alone are open, with the grace of the one that ends last; `None`: they are closed.
    fn open(&self, now: WallMillis) -> Option<(Option<WallMillis>, i64)> {
        if self.windows.is_empty() {
            return Some((None, 0));
        }
        let (mut until, mut grace) = self.lasts(now)?;
        while let Some((later, its)) = self.lasts(until) {
            (until, grace) = (later, its);
            if until - now > HORIZON {
                return Some((None, grace));
            }
        }
        Some((Some(until), grace))
    }

    /// The latest end of the windows that are open at a moment, and its grace.
    fn lasts(&self, now: WallMillis) -> Option<(WallMillis, i64)> {
        let spans = self.windows.iter().flat_map(|window| {
            let spans = days_around(window, now, -LONGEST_DAYS, 0).filter_map(|day| span(window, day));
            let grace = i64::try_from(window.grace.as_millis()).unwrap_or(i64::MAX);
            spans.map(move |(from, to)| (from, to, grace))
        });
        spans.filter(|(from, to, _)| *from <= now && now < *to).map(|(_, to, grace)| (to, grace)).max()
    }

    /// The first moment after `now` at which it is open, if it is closed now.
    fn opens(&self, now: WallMillis) -> Option<WallMillis> {
        let mut at = now;
        // Each turn passes a black-out, or comes to the beginning of a window.
        for _ in 0..=2 * self.black.len() + 1 {
            if let Some((_, to)) = self.black.iter().find(|(from, to)| *from <= at && at < *to) {
                at = *to;
            }
            if self.windows.is_empty() || self.lasts(at).is_some() {
                return Some(at);
            }
            at = self.next_beginning(at)?;
            if !self.black.iter().any(|(from, to)| *from <= at && at < *to) {
                return Some(at);
            }
        }
        None
    }

    /// The first beginning of a window after a moment.
    fn next_beginning(&self, after: WallMillis) -> Option<WallMillis> {
        // A window of one day a week may fall out once, when its hour is skipped.
        let beginnings = self.windows.iter().filter_map(|window| {
            let mut spans = days_around(window, after, -1, 15).filter_map(|day| span(window, day));
            spans.find(|(from, _)| *from > after).map(|(from, _)| from)
        });
        beginnings.min()
    }
}

#[cfg(test)]
impl Calendar {
    /// Open every day between two minutes of the day (UTC), with so many seconds of grace.
    pub(crate) fn every_day(from: u16, to: u16, grace_seconds: u64) -> Calendar {
        let window = Weekly {
            name: String::new(),
            days: [true; 7],
            from,
            to,
            to_day: None,
            zone: crate::config::Zone::named("UTC").expect("a zone"),
            grace: Duration::from_secs(grace_seconds),
        };
        Calendar::new(vec![window], &[])
    }
}

/// The days around a moment, by the calendar of a window's zone.
fn days_around(window: &Weekly, at: WallMillis, before: i32, after: i32) -> impl Iterator<Item = Date> {
    let today = window.zone.date(at);
    let day = move |n: i32| today?.checked_add(jiff::Span::new().try_days(n).ok()?).ok();
    (before..=after).filter_map(day)
}

/// The moments at which a window that begins on a day begins and ends; `None` if it does not begin on this day.
fn span(window: &Weekly, day: Date) -> Option<(WallMillis, WallMillis)> {
    let weekday = day.weekday().to_monday_zero_offset().cast_unsigned();
    if !*window.days.get(usize::from(weekday))? {
        return None;
    }
    let last = day.checked_add(jiff::Span::new().try_days(window.days_on(weekday)).ok()?).ok()?;
    let (from, to) = (window.zone.first(day, window.from)?, window.zone.first(last, window.to)?);
    (from < to).then_some((from, to))
}

fn moments(black: &BlackOut) -> Option<(WallMillis, WallMillis)> {
    Some((black.zone.first(black.from, 0)?, black.zone.first(black.to, 1440)?))
}

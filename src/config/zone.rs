//! Time zones: when a clock on the wall shows what, and what it shows when.

use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::model::Timestamp;

/// A time zone of the IANA database, by its name. The database is part of the program: the same program sees the same
/// rules on every machine.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Zone {
    /// The zone of a name (`Europe/Berlin`, `UTC`); letters of either case. `None` if there is none of this name.
    pub fn named(name: &str) -> Option<Zone> {
        let plain =
            name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b));
        if !plain || name.is_empty() {
            return None;
        }
        let zone = TimeZone::get(name).ok()?;
        (!zone.is_unknown()).then_some(Zone(zone))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The moment at which a clock there first shows this date and these minutes after midnight (0–1440), or anything
    /// later: of an hour that the clock skips, the end; of one that it shows twice, the first. Milliseconds since 1970;
    /// `None` beyond the years −9999 to 9999.
    pub fn first(&self, date: Date, minutes: u16) -> Option<i64> {
        let (date, minutes) =
            if minutes >= 1440 { (date.tomorrow().ok()?, minutes - 1440) } else { (date, minutes) };
        let time = Time::new((minutes / 60).try_into().ok()?, (minutes % 60).try_into().ok()?, 0, 0).ok()?;
        let wall = DateTime::from_parts(date, time);
        let moment = match self.0.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok()?,
            // Two moments show this: the first one is of the offset before the clock went back.
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok()?,
            AmbiguousOffset::Gap { before, after } => {
                // By the later offset the moment lies before the change, by the earlier one behind it.
                let (early, late) = (after.to_timestamp(wall).ok()?, before.to_timestamp(wall).ok()?);
                let mut changes = self.0.following(early).take_while(|change| change.timestamp() <= late);
                changes.find(|change| change.offset() == after).map_or(late, |change| change.timestamp())
            }
        };
        Some(moment.as_millisecond())
    }

    /// What the calendar shows there at a moment (milliseconds since 1970). `None` beyond the years −9999 to 9999.
    pub fn date(&self, wall: i64) -> Option<Date> {
        self.clock(wall).map(DateTime::date)
    }

    fn clock(&self, wall: i64) -> Option<DateTime> {
        jiff::Timestamp::from_millisecond(wall).ok().map(|at| self.0.to_datetime(at))
    }

    /// A moment as an operator reads it: `2026-11-22 20:00 Europe/Berlin`, with seconds only if there are any.
    pub fn show(&self, wall: i64) -> String {
        match self.clock(wall) {
            Some(at) => {
                let seconds = if at.second() == 0 { String::new() } else { format!(":{:02}", at.second()) };
                format!("{} {:02}:{:02}{seconds} {}", at.date(), at.hour(), at.minute(), self.name())
            }
            None => Timestamp::utc(wall.div_euclid(1000)).to_rfc3339(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond()
    }

    fn first(zone: &str, date: &str, minutes: u16) -> String {
        let zone = Zone::named(zone).expect("a zone");
        let at = zone.first(date.parse().expect("a date"), minutes).expect("in range");
        jiff::Timestamp::from_millisecond(at).expect("in range").to_string()
    }

    #[test]
    fn a_skipped_hour_is_over_and_a_doubled_one_is_its_first() {
        // Berlin skips 02:00–03:00 on 2026-03-29 and shows it twice on 2026-10-25.
        assert_eq!(first("Europe/Berlin", "2026-03-29", 119), "2026-03-29T00:59:00Z");
        for skipped in [120, 150, 179, 180] {
            assert_eq!(first("Europe/Berlin", "2026-03-29", skipped), "2026-03-29T01:00:00Z");
        }
        assert_eq!(first("Europe/Berlin", "2026-10-25", 150), "2026-10-25T00:30:00Z");
        assert_eq!(first("Europe/Berlin", "2026-10-25", 180), "2026-10-25T02:00:00Z");
        // Lord Howe moves its clocks by half an hour; Cairo skips midnight itself.
        assert_eq!(first("Australia/Lord_Howe", "2026-10-04", 135), "2026-10-03T15:30:00Z");
        assert_eq!(first("Africa/Cairo", "2026-04-24", 0), "2026-04-23T22:00:00Z");
        // Samoa had no 30 December 2011.
        assert_eq!(first("Pacific/Apia", "2011-12-30", 600), "2011-12-30T10:00:00Z");
        assert_eq!(first("UTC", "2026-12-31", 1440), "2027-01-01T00:00:00Z");
    }

    #[test]
    fn names_are_of_the_database_and_moments_are_shown_in_their_zone() {
        for bad in ["", "Berlin", "Europe/Nowhere", "../etc/passwd", "Europe/Berlin\n", "Etc/Unknown"] {
            assert_eq!(Zone::named(bad), None, "{bad}");
        }
        let berlin = Zone::named("europe/berlin").expect("letters of either case");
        assert_eq!(berlin.name(), "Europe/Berlin");
        assert_eq!(berlin.show(moment("2026-11-22T19:00:00Z")), "2026-11-22 20:00 Europe/Berlin");
        assert_eq!(berlin.show(moment("2026-07-01T22:00:05Z")), "2026-07-02 00:00:05 Europe/Berlin");
    }
}

//! Points in time as mail stores write them.

use std::fmt;

/// A received date: an instant and the zone it was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z; negative before.
    pub seconds: i64,
    /// The zone it was written in, in minutes east of UTC (−1439..=1439). Two timestamps of one instant in two
    /// zones are different values: an IMAP target is told both.
    pub zone: i16,
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Timestamp {
    /// An instant written in UTC.
    pub const fn utc(seconds: i64) -> Timestamp {
        Timestamp { seconds, zone: 0 }
    }

    /// Year, month 1–12, day 1–31, hour, minute, second, as written in `zone` (proleptic Gregorian).
    pub fn civil(&self) -> (i64, u32, u32, u32, u32, u32) {
        let local = self.seconds + i64::from(self.zone) * 60;
        let days = local.div_euclid(86_400);
        let rest = local.rem_euclid(86_400);
        let (y, m, d) = civil_from_days(days);
        let part = |v: i64| u32::try_from(v).unwrap_or(0);
        (y, m, d, part(rest / 3600), part(rest / 60 % 60), part(rest % 60))
    }

    /// From fields written in a zone of `zone` minutes. `None` if a field is out of its range (a leap second counts
    /// as second 59).
    pub fn from_civil(y: i64, m: u32, d: u32, h: u32, min: u32, s: u32, zone: i16) -> Option<Timestamp> {
        let days_in = match m {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if y.rem_euclid(4) == 0 && (y.rem_euclid(100) != 0 || y.rem_euclid(400) == 0) => 29,
            2 => 28,
            _ => return None,
        };
        if d == 0 || d > days_in || h > 23 || min > 59 || s > 60 || !(-9999..=9999).contains(&y) {
            return None;
        }
        if zone.unsigned_abs() >= 24 * 60 {
            return None;
        }
        let local = days_from_civil(y, m, d) * 86_400
            + i64::from(h) * 3600
            + i64::from(min) * 60
            + i64::from(s.min(59));
        Some(Timestamp { seconds: local - i64::from(zone) * 60, zone })
    }

    /// ISO 8601 in UTC with a `Z`, as Graph and EWS want it: `2026-11-21T08:00:00Z`.
    pub fn to_rfc3339(&self) -> String {
        let (y, m, d, h, min, s) = Timestamp::utc(self.seconds).civil();
        format!("{y:04}-{m:02}-{d:02}T{h:02}:{min:02}:{s:02}Z")
    }

    /// IMAP `date-time` without the quotes (RFC 3501 §9): `21-Nov-2026 08:00:00 +0000`.
    pub fn to_imap(&self) -> String {
        let (y, m, d, h, min, s) = self.civil();
        let sign = if self.zone < 0 { '-' } else { '+' };
        let zone = self.zone.unsigned_abs();
        let month = MONTHS[m as usize - 1];
        format!("{d:02}-{month}-{y:04} {h:02}:{min:02}:{s:02} {sign}{:02}{:02}", zone / 60, zone % 60)
    }

    /// Reads an IMAP `date-time` (RFC 3501 §9), quotes removed. The day may be padded with a blank.
    pub fn from_imap(text: &str) -> Option<Timestamp> {
        let mut words = text.split_ascii_whitespace();
        let (date, time, zone) = (words.next()?, words.next()?, words.next()?);
        let mut date = date.splitn(3, '-');
        let d = date.next()?.parse().ok()?;
        let month = date.next()?;
        let m = MONTHS.iter().position(|n| n.eq_ignore_ascii_case(month))?;
        let y = date.next()?.parse().ok()?;
        let mut time = time.splitn(3, ':');
        let h = time.next()?.parse().ok()?;
        let min = time.next()?.parse().ok()?;
        let s = time.next()?.parse().ok()?;
        let zone = zone_minutes(zone)?;
        Timestamp::from_civil(y, u32::try_from(m).ok()? + 1, d, h, min, s, zone)
    }
}

/// `+hhmm` → minutes.
fn zone_minutes(text: &str) -> Option<i16> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let v: i16 = digits.parse().ok()?;
    Some(sign * (v / 100 * 60 + v % 100))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// Days since 1970-01-01 of a civil date (proleptic Gregorian, any year).
fn days_from_civil(y: i64, m: u32, d: u32) -> i64 {
    let y = if m <= 2 { y - 1 } else { y };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = (i64::from(m) + 9) % 12;
    let doy = (153 * mp + 2) / 5 + i64::from(d) - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let d = u32::try_from(doy - (153 * mp + 2) / 5 + 1).unwrap_or(1);
    let m = u32::try_from(if mp < 10 { mp + 3 } else { mp - 9 }).unwrap_or(1);
    (yoe + era * 400 + i64::from(m <= 2), m, d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_imap_date_is_read_with_its_zone_and_written_back_the_same() {
        for text in ["21-Nov-2026 08:09:10 +0100", "01-Jan-1970 00:00:00 +0000", "31-Dec-1969 23:59:59 -0930"]
        {
            assert_eq!(Timestamp::from_imap(text).map(|t| t.to_imap()).as_deref(), Some(text));
        }
        assert_eq!(
            Timestamp::from_imap(" 1-Jan-1970 01:00:00 +0100"),
            Some(Timestamp { seconds: 0, zone: 60 })
        );
    }

    #[test]
    fn impossible_dates_are_refused() {
        for text in
            ["30-Feb-2026 00:00:00 +0000", "1-Foo-2026 00:00:00 +0000", "1-Jan-2026 24:00:00 +0000", "x"]
        {
            assert_eq!(Timestamp::from_imap(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn civil_fields_round_trip(seconds in -60_000_000_000i64..200_000_000_000, zone in -1439i16..=1439) {
            let t = Timestamp { seconds, zone };
            let (y, m, d, h, min, s) = t.civil();
            prop_assert_eq!(Timestamp::from_civil(y, m, d, h, min, s, zone), Some(t));
        }
    }
}

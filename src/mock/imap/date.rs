//! INTERNALDATE (RFC 3501 §9 `date-time`), with its own calendar arithmetic.

use std::fmt;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A received date as IMAP carries it: an instant, and the zone it is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InternalDate {
    /// Seconds since 1970-01-01T00:00:00Z; years 1 to 9999.
    pub seconds: i64,
    /// Minutes east of UTC, −1439 to 1439.
    pub zone: i16,
}

impl InternalDate {
    /// An instant, written in UTC.
    pub fn utc(seconds: i64) -> InternalDate {
        InternalDate { seconds, zone: 0 }
    }

    /// Reads `dd-Mon-yyyy hh:mm:ss +zzzz` (without quotes) strictly; a day below ten has a space before it.
    pub fn parse(text: &str) -> Option<InternalDate> {
        let b = text.as_bytes();
        if b.len() != 26
            || !text.is_ascii()
            || b[11] != b' '
            || b[14] != b':'
            || b[17] != b':'
            || b[20] != b' '
        {
            return None;
        }
        let day_text = text[..2].strip_prefix(' ').unwrap_or(&text[..2]);
        let days = day_number(day_text, &text[2..11])?;
        let (hour, minute, second) = (digits(&text[12..14])?, digits(&text[15..17])?, digits(&text[18..20])?);
        let zone_text = &text[21..];
        let (zone_hour, zone_minute) = (digits(&zone_text[1..3])?, digits(&zone_text[3..5])?);
        if hour > 23 || minute > 59 || second > 60 || zone_hour > 23 || zone_minute > 59 {
            return None;
        }
        let zone = match zone_text.as_bytes()[0] {
            b'+' => zone_hour * 60 + zone_minute,
            b'-' => -(zone_hour * 60 + zone_minute),
            _ => return None,
        };
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - zone * 60;
        Some(InternalDate { seconds, zone: i16::try_from(zone).ok()? })
    }

    /// The day (since 1970) as written, disregarding time and zone: what SINCE, BEFORE and ON compare.
    pub fn written_day(self) -> i64 {
        (self.seconds + i64::from(self.zone) * 60).div_euclid(86_400)
    }
}

/// Reads a `date` of SEARCH (`1-Feb-1994`) as days since 1970.
pub fn search_day(text: &str) -> Option<i64> {
    let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    let dash = text.find('-')?;
    day_number(&text[..dash], &text[dash..])
}

/// `day_text` is one or two digits, `rest` is `-Mon-yyyy`.
fn day_number(day_text: &str, rest: &str) -> Option<i64> {
    if rest.len() != 9 || !rest.is_ascii() || &rest[..1] != "-" || &rest[4..5] != "-" || day_text.len() > 2 {
        return None;
    }
    let day = digits(day_text)?;
    let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(&rest[1..4]))?;
    let year = digits(&rest[5..])?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 if leap => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    (year > 0 && (1..=length).contains(&day)).then(|| days_from_civil(year, month as i64 + 1, day))
}

fn digits(text: &str) -> Option<i64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Days since 1970-01-01 of a proleptic Gregorian date (H. Hinnant, "chrono-compatible low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

impl fmt::Display for InternalDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The grammar has four digits for the year: anything beyond is written as the nearest that fits.
        let local =
            self.seconds.saturating_add(i64::from(self.zone) * 60).clamp(-62_135_596_800, 253_402_300_799);
        let (year, month, day) = civil_from_days(local.div_euclid(86_400));
        let time = local.rem_euclid(86_400);
        let (sign, zone) = if self.zone < 0 { ('-', -self.zone) } else { ('+', self.zone) };
        write!(
            f,
            "{day:2}-{}-{year:04} {:02}:{:02}:{:02} {sign}{:02}{:02}",
            MONTHS[(month as usize - 1) % 12],
            time / 3600,
            time / 60 % 60,
            time % 60,
            zone / 60,
            zone % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_written_alike() {
        for (text, seconds) in [
            ("17-Jul-1996 02:44:25 -0700", 837_596_665),
            (" 1-Jan-1970 00:00:00 +0000", 0),
            ("29-Feb-2000 23:59:59 +0530", 951_848_999),
            ("31-Dec-9999 23:59:59 +0000", 253_402_300_799),
            (" 1-Jan-0001 00:00:00 +0000", -62_135_596_800),
            ("19-Jan-2038 03:14:08 +0000", 2_147_483_648),
        ] {
            let date = InternalDate::parse(text).expect(text);
            assert_eq!(date.seconds, seconds, "{text}");
            assert_eq!(date.to_string(), text);
        }
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for text in [
            "29-Feb-1900 00:00:00 +0000",
            "31-Apr-2024 00:00:00 +0000",
            "1-Jan-2024 00:00:00 +0000",
            "01-Foo-2024 00:00:00 +0000",
            "01-Jan-2024 24:00:00 +0000",
            "01-Jan-2024 00:00:00 0000 ",
        ] {
            assert_eq!(InternalDate::parse(text), None, "{text}");
        }
        assert_eq!(search_day("1-Jan-1970"), Some(0));
        assert_eq!(search_day("2-Jan-1970"), Some(1));
    }
}

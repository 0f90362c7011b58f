//! Points in time as both services write them; inside they are milliseconds since 1970.

/// `2026-11-21T08:00:00Z`. Fractions are dropped, as the services do.
pub(in crate::mock) fn write(ms: i64) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1000))
        .map_or_else(|_| "0001-01-01T00:00:00Z".to_owned(), |t| t.to_string())
}

/// Has it the shape of a date and a time? What is longer than any is not looked at.
pub(in crate::mock) fn has_time(text: &str) -> bool {
    text.len() <= 64 && text.as_bytes().get(10) == Some(&b'T')
}

/// The `Date` field of a message (RFC 5322 §3.3).
pub(in crate::mock) fn read_mail(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(text.trim()).ok().map(|z| z.timestamp().as_millisecond())
}

/// As a `Date` field.
pub(in crate::mock) fn write_mail(ms: i64) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1000))
        .ok()
        .and_then(|t| jiff::fmt::rfc2822::to_string(&t.to_zoned(jiff::tz::TimeZone::UTC)).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_round_trip_in_seconds() {
        assert_eq!(write(1_700_000_000_900), "2023-11-14T22:13:20Z");
        assert_eq!(read_mail("Tue, 14 Nov 2023 22:13:20 +0000"), Some(1_700_000_000_000));
        assert_eq!(read_mail(&write_mail(1_700_000_000_000)), Some(1_700_000_000_000));
        assert!(has_time("2023-11-14T22:13:20Z") && !has_time("2023-11-14"));
    }
}

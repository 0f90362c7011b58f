//! Points in time as the service reads and writes them; inside they are milliseconds since 1970.

/// `2026-11-21T08:00:00Z`. Fractions are dropped, as the service does.
pub(super) fn write(ms: i64) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1000))
        .map_or_else(|_| "0001-01-01T00:00:00Z".to_owned(), |t| t.to_string())
}

/// An ISO 8601 date and time with a zone. `None` for anything else.
pub(super) fn read(text: &str) -> Option<i64> {
    if text.len() > 64 || text.as_bytes().get(10) != Some(&b'T') {
        return None;
    }
    text.parse::<jiff::Timestamp>().ok().map(|t| t.as_millisecond())
}

/// The `Date` field of a message (RFC 5322 §3.3).
pub(super) fn read_mail(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(text.trim()).ok().map(|z| z.timestamp().as_millisecond())
}

/// As a `Date` field.
pub(super) fn write_mail(ms: i64) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1000))
        .ok()
        .and_then(|t| jiff::fmt::rfc2822::to_string(&t.to_zoned(jiff::tz::TimeZone::UTC)).ok())
        .unwrap_or_default()
}

/// As an HTTP date (RFC 9110 §5.6.7).
pub(super) fn write_http(ms: i64) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1000))
        .ok()
        .and_then(|t| jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&t).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_round_trip_in_seconds() {
        assert_eq!(write(1_700_000_000_900), "2023-11-14T22:13:20Z");
        assert_eq!(read("2023-11-14T22:13:20Z"), Some(1_700_000_000_000));
        assert_eq!(read("2023-11-14T23:13:20+01:00"), Some(1_700_000_000_000));
        assert_eq!(read("2023-11-14"), None);
        assert_eq!(read_mail("Tue, 14 Nov 2023 22:13:20 +0000"), Some(1_700_000_000_000));
    }
}

//! Points in time as the service reads them, and as it writes them; inside they are milliseconds since 1970.

use crate::mock::service::date::has_time;
pub(super) use crate::mock::service::date::{read_mail, write, write_mail};

/// An ISO 8601 date and time with a zone. `None` for anything else.
pub(super) fn read(text: &str) -> Option<i64> {
    if !has_time(text) {
        return None;
    }
    text.parse::<jiff::Timestamp>().ok().map(|t| t.as_millisecond())
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
    fn dates_are_read_as_the_service_reads_them() {
        assert_eq!(read("2023-11-14T22:13:20Z"), Some(1_700_000_000_000));
        assert_eq!(read("2023-11-14T23:13:20+01:00"), Some(1_700_000_000_000));
        assert_eq!(read("2023-11-14"), None);
    }
}

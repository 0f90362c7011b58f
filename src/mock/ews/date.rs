//! Points in time as the service reads them, and as it writes them; inside they are milliseconds since 1970.

use crate::mock::service::date::has_time;
pub(super) use crate::mock::service::date::{read_mail, write, write_mail};

/// An `xs:dateTime`; without a zone it is taken as UTC, as the service does without a time zone in the header.
pub(super) fn read(text: &str) -> Option<i64> {
    if !has_time(text) {
        return None;
    }
    let stamp = match text.parse::<jiff::Timestamp>() {
        Ok(stamp) => stamp,
        Err(_) => format!("{text}Z").parse().ok()?,
    };
    Some(stamp.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_the_service_reads_them() {
        assert_eq!(read("2023-11-14T22:13:20.5Z"), Some(1_700_000_000_500));
        assert_eq!(read("2023-11-14T22:13:20"), Some(1_700_000_000_000));
        assert_eq!(read("2023-11-14T23:13:20+01:00"), Some(1_700_000_000_000));
        assert_eq!(read("2023-11-14"), None);
    }
}

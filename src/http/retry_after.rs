//! How long a server asks to be left alone.

use std::time::Duration;

use http::{HeaderMap, header};

use crate::model::Timestamp;

/// Longest wait we take from a server; a longer one is cut, and the engine asks again then.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// `Retry-After` (RFC 9110 §10.2.3): seconds or an HTTP date, at most one hour; what is neither is ignored. A date is one of
/// the server's clock, which may go wrong or ours may: it is compared with the `Date` of the same answer. `now` is wall time
/// in milliseconds, for answers without one.
pub fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let at = http_date(text)?.checked_mul(1000)?;
        let said = headers.get(header::DATE).and_then(|date| http_date(date.to_str().ok()?.trim()));
        let now = said.and_then(|date| date.checked_mul(1000)).unwrap_or(now);
        Duration::from_millis(u64::try_from(at.saturating_sub(now)).unwrap_or(0))
    };
    Some(wait.min(MAX_WAIT))
}

/// Seconds since 1970 of an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`. A leap second is the one before it and one more.
fn http_date(text: &str) -> Option<i64> {
    let rest = text.split_once(", ")?.1.strip_suffix(" GMT")?;
    let words: Vec<&str> = rest.split(' ').collect();
    let [d, m, y, time] = words.as_slice() else { return None };
    let (time, leap) = match time.strip_suffix(":60") {
        Some(minute) => (format!("{minute}:59"), 1),
        None => ((*time).to_owned(), 0),
    };
    Timestamp::from_imap(&format!("{d}-{m}-{y} {time} +0000")).map(|t| t.seconds + leap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(value: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, value.parse().expect("header"));
        retry_after(&headers, 784_111_777_000 - 30_000).map(|d| d.as_secs())
    }

    #[test]
    fn a_date_is_counted_from_the_servers_own_clock_and_not_from_ours() {
        // Ours is right; the server's is five minutes behind, right, five minutes ahead.
        for (date, until) in [
            ("Sun, 06 Nov 1994 08:44:07 GMT", "Sun, 06 Nov 1994 08:44:37 GMT"),
            ("Sun, 06 Nov 1994 08:49:07 GMT", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("Sun, 06 Nov 1994 08:54:07 GMT", "Sun, 06 Nov 1994 08:54:37 GMT"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("date", date.parse().expect("header"));
            headers.insert(header::RETRY_AFTER, until.parse().expect("header"));
            assert_eq!(
                retry_after(&headers, 784_111_777_000 - 30_000),
                Some(Duration::from_secs(30)),
                "{date}"
            );
            headers.insert("date", "today".parse().expect("header"));
            let by_ours = retry_after(&headers, 784_111_777_000 - 330_000).expect("a wait");
            assert!(by_ours <= Duration::from_secs(630), "without a date that can be read ours counts");
        }
    }

    #[test]
    fn a_leap_second_and_the_year_2038_are_dates_like_others() {
        assert_eq!(http_date("Sat, 31 Dec 2016 23:59:60 GMT"), Some(1_483_228_800));
        assert_eq!(http_date("Sun, 01 Jan 2017 00:00:00 GMT"), Some(1_483_228_800));
        assert_eq!(http_date("Tue, 19 Jan 2038 03:14:08 GMT"), Some(1 << 31));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_more_than_an_hour() {
        assert_eq!(wait("17"), Some(17));
        assert_eq!(wait("0"), Some(0));
        assert_eq!(wait("86400"), Some(3600));
        assert_eq!(wait("99999999999999999999999"), Some(3600));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(30));
        assert_eq!(wait("Sun, 06 Nov 1984 08:49:37 GMT"), Some(0));
        for garbage in ["soon", "-5", "1.5", "", "Sun, 06 Nov 1994", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(wait(garbage), None, "{garbage}");
        }
    }
}

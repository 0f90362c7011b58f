//! How long a server asks to be left alone.

use std::time::Duration;

use http::{HeaderMap, header};

use crate::model::Timestamp;

/// Longest wait we take from a server; a longer one is cut, and the engine asks again then.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// `Retry-After` (RFC 9110 §10.2.3): seconds or an HTTP date, at most one hour; what is neither is ignored. `now` is
/// wall time in milliseconds.
pub fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let at = http_date(text)?.checked_mul(1000)?;
        Duration::from_millis(u64::try_from(at.saturating_sub(now)).unwrap_or(0))
    };
    Some(wait.min(MAX_WAIT))
}

/// Seconds since 1970 of an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<i64> {
    let rest = text.split_once(", ")?.1.strip_suffix(" GMT")?;
    let words: Vec<&str> = rest.split(' ').collect();
    let [d, m, y, time] = words.as_slice() else { return None };
    Timestamp::from_imap(&format!("{d}-{m}-{y} {time} +0000")).map(|t| t.seconds)
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

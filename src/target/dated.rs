//! Dates as the targets need them: of messages that have none, and as services write them.

use crate::model::{Body, Timestamp};

/// How much of a message is searched for its date, in bytes.
const DATE_WITHIN: u64 = 64 << 10;

/// The message's own `Date`; 1970 if it has none.
pub(super) fn date_of(body: &Body) -> Timestamp {
    let head = body.range(0, body.len().min(DATE_WITHIN)).unwrap_or_default();
    mail_parser::MessageParser::default()
        .parse_headers(&head[..])
        .and_then(|message| message.date().map(|date| Timestamp::utc(date.to_timestamp())))
        .unwrap_or(Timestamp::utc(0))
}

/// Milliseconds since 1970 of `2026-11-21T08:00:00Z`, with or without a fraction.
pub(super) fn millis(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let (date, time) = whole.split_once('T')?;
    let mut numbers = date.splitn(3, '-').chain(time.splitn(3, ':')).map(|n| n.parse::<u32>().ok());
    let mut next = || numbers.next().flatten();
    let (y, m, d, h, min, s) = (next()?, next()?, next()?, next()?, next()?, next()?);
    let seconds = Timestamp::from_civil(i64::from(y), m, d, h, min, s, 0)?.seconds;
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some(seconds * 1000 + digits.parse::<i64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creation_times_are_read_with_and_without_a_fraction() {
        assert_eq!(millis("1970-01-01T00:00:01Z"), Some(1000));
        assert_eq!(millis("1970-01-01T00:00:01.5Z"), Some(1500));
        assert_eq!(millis("1970-01-01T00:00:01.1234567Z"), Some(1123));
        for bad in
            ["", "x", "1970-01-01", "1970-01-01T00:00:01", "1970-13-01T00:00:01Z", "1970-01-01T00:00:01.xZ"]
        {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }
}

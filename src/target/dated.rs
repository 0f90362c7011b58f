//! A received date for messages that have none.

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

//! How servers say that they are asked too much: one table. Over HTTP it is `Retry-After` (`http::retry_after`), in EWS
//! `BackOffMilliseconds` (`target::ews`); over IMAP it is words, with a code where the server knows any.
//!
//! What a preset knows of one kind of server (`presets`) beats the pauses here, and the server's own number beats both.

use std::time::Duration;

use super::{Code, Status};

/// How long a server that ends the session because it is asked too much is left alone, if it does not say.
const PAUSE: Duration = Duration::from_secs(30);
/// A day's or an hour's bandwidth is used up: it comes back little by little.
const BANDWIDTH: Duration = Duration::from_secs(900);
/// No wait a server asks for is obeyed for longer.
const LONGEST: Duration = Duration::from_secs(3600);
/// Words are looked for in so much of a text, in bytes.
const LOOKED_AT: usize = 500;

/// Words, in lower case; the code that says the same; how long to wait, where the words tell of more than this moment.
const WORDS: [(&str, &str, Option<Duration>); 17] = [
    // Courier, Dovecot, Cyrus, Gmail, Exchange: too many connections.
    ("too many connections", "LIMIT", None),
    ("too many simultaneous connections", "LIMIT", None),
    ("too many open connections", "LIMIT", None),
    ("maximum number of connections", "LIMIT", None),
    ("maximum number of concurrent connections", "LIMIT", None),
    ("number of connections exceeded", "LIMIT", None),
    ("connection limit", "LIMIT", None),
    ("too many login", "LIMIT", None),
    // Gmail, Yahoo, Exchange: too many commands.
    ("rate limit", "THROTTLED", None),
    ("request is throttled", "THROTTLED", None),
    ("too many requests", "THROTTLED", None),
    ("too many commands", "THROTTLED", None),
    // Gmail: what may be moved in a day is moved.
    ("command or bandwidth limits", "THROTTLED", Some(BANDWIDTH)),
    ("bandwidth limit", "THROTTLED", Some(BANDWIDTH)),
    ("exceeded bandwidth", "THROTTLED", Some(BANDWIDTH)),
    ("download limit", "THROTTLED", Some(BANDWIDTH)),
    ("temporarily throttled", "THROTTLED", None),
];

/// Judges a refusal or a BYE with this code and text: the code as its words mean it, and the wait it asks for.
pub(super) fn judge(status: Status, code: Code, text: &[u8]) -> (Code, Option<Duration>) {
    let told = suggested(text);
    if matches!(status, Status::Ok | Status::PreAuth) {
        return (code, told);
    }
    let known = by_words(text);
    let (code, pause) = match (code, known) {
        // Gmail says `[ALERT]` or `[OVERQUOTA]` of bandwidth, Dovecot `[UNAVAILABLE]` of connections.
        (Code::None, Some((word, pause))) => (Code::Named(word.to_owned()), pause),
        (Code::Named(name), Some((word, pause)))
            if matches!(name.as_str(), "ALERT" | "UNAVAILABLE" | "OVERQUOTA" | "LIMIT" | "THROTTLED") =>
        {
            // A code that says it already stays.
            let name = if matches!(name.as_str(), "LIMIT" | "THROTTLED") { name } else { word.to_owned() };
            (Code::Named(name), pause)
        }
        (code, _) => (code, None),
    };
    let asked_too_much = code.is("LIMIT") || code.is("THROTTLED");
    (code, told.or(pause).or((status == Status::Bye && asked_too_much).then_some(PAUSE)))
}

fn by_words(text: &[u8]) -> Option<(&'static str, Option<Duration>)> {
    let text = text.get(..text.len().min(LOOKED_AT)).unwrap_or_default().to_ascii_lowercase();
    let said = WORDS.iter().find(|(words, ..)| memchr::memmem::find(&text, words.as_bytes()).is_some());
    said.map(|(_, code, pause)| (*code, *pause))
}

/// `Suggested Backoff Time: 12345 milliseconds` (Exchange), at most an hour.
fn suggested(text: &[u8]) -> Option<Duration> {
    const WORDS: &[u8] = b"Suggested Backoff Time: ";
    let at = memchr::memmem::find(text, WORDS)?;
    let digits = text.get(at + WORDS.len()..)?;
    let end = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
    let millis: u64 = std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()?;
    Some(Duration::from_millis(millis).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::super::scan::Scanner;
    use super::super::status::done;
    use super::*;
    use crate::model::{Kind, Scope, Status as ErrorStatus};

    /// What servers say, as reported of them; the code it comes to; seconds to wait.
    const SAID: [(Status, &str, &str, Option<u64>); 19] = [
        (
            Status::Bad,
            "Request is throttled. Suggested Backoff Time: 299961 milliseconds",
            "THROTTLED",
            Some(299),
        ),
        (
            Status::Bye,
            "Request is throttled. Suggested Backoff Time: 5000 milliseconds",
            "THROTTLED",
            Some(5),
        ),
        (Status::No, "Suggested Backoff Time: 99999999999 milliseconds", "", Some(3600)),
        (Status::Bad, "Request is throttled.", "THROTTLED", None),
        (Status::No, "[THROTTLED] Too many commands", "THROTTLED", None),
        (Status::No, "[LIMIT] UID FETCH Rate limit hit.", "LIMIT", None),
        (Status::No, "[LIMIT] Too many requests", "LIMIT", None),
        (Status::No, "[ALERT] Too many simultaneous connections. (Failure)", "LIMIT", None),
        (Status::Bye, "[ALERT] Too many simultaneous connections. (Failure)", "LIMIT", Some(30)),
        (Status::No, "[OVERQUOTA] Account exceeded command or bandwidth limits.", "THROTTLED", Some(900)),
        (Status::Bye, "[ALERT] Account exceeded command or bandwidth limits. r1mb1", "THROTTLED", Some(900)),
        (Status::Bad, "[ALERT] Bandwidth limits exceeded.", "THROTTLED", Some(900)),
        (
            Status::No,
            "[UNAVAILABLE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)",
            "LIMIT",
            None,
        ),
        (Status::Bye, "Maximum number of connections from user+IP exceeded", "LIMIT", Some(30)),
        (Status::Bye, "Too many connections from your address", "LIMIT", Some(30)),
        (Status::Bye, "[LIMIT] too many open connections", "LIMIT", Some(30)),
        // No throttle.
        (Status::No, "[OVERQUOTA] Quota exceeded (mailbox for user is full)", "OVERQUOTA", None),
        (Status::No, "[UNAVAILABLE] Internal error occurred. Refer to server log", "UNAVAILABLE", None),
        (Status::Bye, "Logging out", "", None),
    ];

    #[test]
    fn what_servers_say_when_they_are_asked_too_much_is_understood() {
        for (status, text, code, wait) in SAID {
            let done = done(status, Scanner::over(text.as_bytes()));
            let is = if code.is_empty() { done.code == Code::None } else { done.code.is(code) };
            assert!(is, "{text}: {done:?}");
            assert_eq!(done.backoff.map(|b| b.as_secs()), wait, "{text}");
            if status == Status::Bye {
                continue;
            }
            let error = done.refusal(Scope::Mailbox, "reading");
            let throttled = matches!(code, "LIMIT" | "THROTTLED") || wait.is_some();
            assert_eq!(error.status == ErrorStatus::Throttled, throttled, "{text}: {error}");
            assert_eq!(error.kind == Kind::Throttled, throttled, "{text}: {error}");
            assert_eq!(error.retry_after, done.backoff, "{text}");
        }
    }

    #[test]
    fn every_row_is_known_by_its_words_and_words_of_success_mean_nothing() {
        for (words, code, pause) in WORDS {
            let loud = words.to_ascii_uppercase();
            let (read, wait) = judge(Status::No, Code::None, loud.as_bytes());
            assert!(read.is(code) && (pause.is_none() || wait == pause), "{words}: {read:?} {wait:?}");
            assert_eq!(judge(Status::Ok, Code::None, words.as_bytes()), (Code::None, None), "{words}");
        }
    }
}

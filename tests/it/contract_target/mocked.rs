//! What the harnesses of Microsoft's two targets share: a mock without a wire, and reading what it holds.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use mailwave::env::Env;
use mailwave::http::{Delivery, HttpClient, InProcess};
use mailwave::mock::Wire;
use mailwave::model::Timestamp;

/// A client whose requests are handed to a mock in this process.
pub fn client<F>(
    env: &Env,
    handle: impl Fn(http::Request<Bytes>) -> F + Send + Sync + 'static,
) -> Arc<dyn HttpClient>
where
    F: Future<Output = Wire> + Send + 'static,
{
    let client = InProcess::new(env, move |request| {
        let answer = handle(request);
        async move {
            match answer.await {
                Wire::Answered(response) => Delivery::Answered(response),
                Wire::NeverArrived => Delivery::NeverArrived,
                Wire::NoAnswer => Delivery::NoAnswer,
            }
        }
    });
    Arc::new(client)
}

/// Seconds since 1970 of a date as the mocks tell it (RFC 3339, UTC).
pub fn seconds(date: &str) -> i64 {
    let part = |from: usize| date[from..from + 2].parse::<u32>().expect("a number");
    let year = date[..4].parse().expect("a year");
    let at = Timestamp::from_civil(year, part(5), part(8), part(11), part(14), part(17), 0);
    at.expect("a date").seconds
}

/// The stamp a message truly carries.
pub fn stamp<'v>(values: impl Iterator<Item = &'v String> + Clone) -> Option<String> {
    // One that is still open is not what the contract calls held: it would not parse as one.
    let stamps = || values.clone().filter(|v| v.starts_with("mw1."));
    let stamp = stamps().find(|v| v.ends_with("/done")).or_else(|| stamps().next());
    stamp.map(|s| s.strip_suffix("/done").unwrap_or(s).to_owned())
}

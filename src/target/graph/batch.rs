//! Several requests in one (Graph, "Combine multiple requests using JSON batching"): a way to save round trips, not
//! quota.
//!
//! Awkward truths: the envelope is 200 whatever became of its parts; parts come back in any order; each is judged
//! against the limits alone, and a throttled one tells its own wait; the service works on four at a time, which are all
//! the slots a mailbox has. So a batch is admitted as the requests it holds. It is for requests that may be sent again
//! without harm, never for messages: whatever a part's answer leaves open is asked again by a request of its own, which
//! has all the care (waits, retries, another token).

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::Reply;
use super::session::{Call, Session, request};
use crate::http::{Exchange, HttpError, retry_after};
use crate::limit::Answer;
use crate::transform::json::Object;

/// Requests of one batch, at most.
const MOST: usize = 20;
/// So many of them are worked on at a time.
const AT_ONCE: usize = 4;

impl Session {
    /// Makes requests that may be sent again without harm, several at a time. In order, the answers that settle their
    /// request; `None`: it is to be made by itself.
    pub(super) async fn batch(&self, calls: &[Call]) -> Vec<Option<Reply>> {
        let mut replies = Vec::with_capacity(calls.len());
        let mut rest = calls;
        while !rest.is_empty() {
            let (some, parts, after) = self.cut(rest);
            // One alone needs no envelope; where a refusal is felt for, one request goes at a time.
            if some.len() < 2 || self.no_batches() || !self.gate.is_calm() {
                replies.extend(some.iter().map(|_| None));
            } else {
                replies.extend(self.one_batch(some, parts).await);
            }
            rest = after;
        }
        replies
    }

    /// As many calls as go into one batch, as its parts, and the calls after them.
    fn cut<'a>(&self, calls: &'a [Call]) -> (&'a [Call], Vec<String>, &'a [Call]) {
        let mut parts: Vec<String> = Vec::new();
        let mut left = self.bounds().request.saturating_sub(64);
        for (at, call) in calls.iter().take(MOST).enumerate() {
            let part = self.part(at, call);
            if part.len() + 1 > left && at > 0 {
                break;
            }
            left = left.saturating_sub(part.len() + 1);
            parts.push(part);
        }
        let (some, after) = calls.split_at(parts.len());
        (some, parts, after)
    }

    fn part(&self, at: usize, call: &Call) -> String {
        let mut out = String::with_capacity(256 + call.body.len());
        let mut object = Object::begin(&mut out);
        object.text("id", &at.to_string());
        object.text("method", call.method.as_str());
        object.text("url", call.url.strip_prefix(self.base().as_str()).unwrap_or(&call.url));
        let mut headers = Object::begin(object.key("headers"));
        headers.text("Prefer", "IdType=\"ImmutableId\"");
        if !call.body.is_empty() {
            headers.text("Content-Type", "application/json");
        }
        headers.end();
        if !call.body.is_empty() {
            // JSON of our own making.
            object.key("body").push_str(&String::from_utf8_lossy(&call.body));
        }
        object.end();
        out
    }

    async fn one_batch(&self, calls: &[Call], parts: Vec<String>) -> Vec<Option<Reply>> {
        let nothing = || calls.iter().map(|_| None).collect();
        let Some(first) = calls.first() else { return Vec::new() };
        // What is wrong with tokens is told by the requests themselves.
        let Ok(token) = self.tokens.get().await else { return nothing() };
        let envelope = Call {
            method: Method::POST,
            url: format!("{}/$batch", self.base().as_str()),
            body: Bytes::from(format!("{{\"requests\":[{}]}}", parts.join(","))),
            range: None,
            keyed: false,
            step: first.step,
            what: first.what,
        };
        let Ok(request) = request("application/json", &envelope, Some(token.authorization())) else {
            return nothing();
        };
        let sizes: Vec<u64> = parts.iter().map(|part| part.len() as u64 + 1).collect();
        drop(parts);
        let slot = self.gate.admit_batch(&self.lookup(), &sizes, AT_ONCE).await;
        self.env.step(envelope.step).await;
        let result = self.execute(request, &Exchange::default()).await;
        let all = |answer: Answer| vec![answer; calls.len()];
        match result {
            Err(HttpError::NotSent(_)) => slot.finish(&all(Answer::NotSent)),
            Err(HttpError::MayHaveBeenSent(_)) => slot.finish(&all(Answer::Unknown)),
            Ok(response) if response.status() == StatusCode::OK => {
                let replies = judged(response.body(), calls.len(), self.env.wall());
                let answer = |reply: &Option<Reply>| reply.as_ref().map_or(Answer::Unknown, Reply::for_gate);
                slot.finish(&replies.iter().map(answer).collect::<Vec<_>>());
                return replies.into_iter().map(|reply| reply.filter(settles)).collect();
            }
            Ok(response) => {
                let wait = retry_after(response.headers(), self.env.wall());
                let reply = Reply { status: response.status(), wait, body: Bytes::new() };
                slot.finish(&all(reply.for_gate()));
                if matches!(reply.status.as_u16(), 404 | 405 | 501) {
                    self.without_batches();
                }
            }
        }
        nothing()
    }
}

/// Does this answer settle its request? Whatever another try may change does not: throttled, a token refused, given up by
/// the front end, failed because another part did.
fn settles(reply: &Reply) -> bool {
    !matches!(reply.status.as_u16(), 401 | 408 | 409 | 412 | 423 | 424 | 429 | 500..)
}

/// An answer to a `$batch`; what a part says stays as it came.
#[derive(Deserialize)]
struct Answers<'a> {
    #[serde(borrow)]
    responses: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct PartAnswer<'a> {
    id: String,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    #[serde(default)]
    headers: Value,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

/// The parts' answers, in the order of the requests; `None` for one that is missing or not readable.
fn judged(body: &Bytes, parts: usize, now: i64) -> Vec<Option<Reply>> {
    let answer: Option<Answers<'_>> = serde_json::from_slice(body).ok();
    let mut by_id: BTreeMap<String, Option<Reply>> = BTreeMap::new();
    let responses = answer.map(|answer| answer.responses).unwrap_or_default();
    for one in responses.into_iter().take(4 * MOST) {
        let Ok(one) = serde_json::from_str::<PartAnswer<'_>>(one.get()) else { continue };
        // Answered twice: neither can be trusted.
        let reply = if by_id.contains_key(&one.id) { None } else { part_reply(body, &one, now) };
        by_id.insert(one.id, reply);
    }
    (0..parts).map(|at| by_id.remove(&at.to_string()).flatten()).collect()
}

fn part_reply(all: &Bytes, one: &PartAnswer<'_>, now: i64) -> Option<Reply> {
    let status = StatusCode::from_u16(one.status?.get().parse().ok()?).ok()?;
    let mut headers = HeaderMap::new();
    for (name, value) in one.headers.as_object().into_iter().flatten() {
        if name.eq_ignore_ascii_case("retry-after") {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            headers.extend(HeaderValue::from_str(&text).ok().map(|value| (header::RETRY_AFTER, value)));
        }
    }
    let body = match one.body.map(RawValue::get) {
        None | Some("null") => Bytes::new(),
        Some(body) => all.slice_ref(body.as_bytes()),
    };
    Some(Reply { status, wait: retry_after(&headers, now), body })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn parts_are_told_apart_by_id_and_judged_one_by_one() {
        let body = json!({"responses": [
            {"id": "2", "status": 429, "headers": {"retry-after": "17"}, "body": {"error": {"code": "x"}}},
            {"id": "0", "status": 200, "body": {"id": "a"}},
            {"id": "3", "status": 204},
            {"id": "4", "status": 200}, {"id": "4", "status": 404},
            {"id": "9", "status": 200}, {"status": 200}, "nonsense",
        ]});
        let replies = judged(&body.to_string().into(), 5, 0);
        let statuses: Vec<Option<u16>> =
            replies.iter().map(|r| r.as_ref().map(|r| r.status.as_u16())).collect();
        assert_eq!(statuses, [Some(200), None, Some(429), Some(204), None]);
        let throttled = replies[2].as_ref().expect("an answer");
        assert_eq!(throttled.for_gate(), Answer::Throttled(Some(Duration::from_secs(17))));
        assert_eq!(throttled.code().as_deref(), Some("x"));
        for broken in [&b""[..], b"[]", b"{\"responses\":7}", b"\xff"] {
            assert!(judged(&Bytes::from_static(broken), 2, 0).iter().all(Option::is_none));
        }
    }
}

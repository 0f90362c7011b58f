//! `$batch`: up to twenty requests in one. Each part meets the limits alone; four go at a time.
//! Source: Microsoft Graph documentation, `json-batching`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::head::Head;
use super::json::Json;
use super::reply::{Refusal, Reply};
use super::{GraphMock, input};
use crate::mock::Wire;

/// Parts of one batch.
const MOST: usize = 20;
/// Parts under way at once.
const AT_ONCE: usize = 4;

struct Part {
    id: String,
    depends: Vec<String>,
    request: http::Request<Bytes>,
}

impl GraphMock {
    pub(super) async fn batch(self: &Arc<Self>, head: &Head, body: &Bytes) -> Wire {
        let now = self.shell.now();
        {
            let mut core = self.core();
            core.counters.requests += 1;
            core.counters.uploaded_bytes += body.len() as u64;
        }
        if !self.core().authenticated(head, now) {
            let refusal =
                Refusal::new(401, "InvalidAuthenticationToken", "Access token is empty or has expired.");
            return self.refuse(head, &refusal);
        }
        if head.method != http::Method::POST {
            return self.refuse(head, &Refusal::method());
        }
        if body.len() > self.options.sizes.request {
            let reply = self.core().count(Reply::empty(413));
            return self.answer(Some(head), reply);
        }
        let parts = match parts(head, body) {
            Ok(parts) => parts,
            Err(refusal) => return self.refuse(head, &refusal),
        };
        let responses = if parts.iter().any(|p| !p.depends.is_empty()) {
            self.in_sequence(parts).await
        } else {
            futures_util::stream::iter(parts)
                .map(|part| async { self.part(part).await })
                .buffer_unordered(AT_ONCE)
                .collect()
                .await
        };
        let reply = self.core().count(Reply::json(200, &json!({ "responses": responses })));
        self.answer(Some(head), reply)
    }

    async fn in_sequence(self: &Arc<Self>, parts: Vec<Part>) -> Vec<Value> {
        let mut done: BTreeMap<String, bool> = BTreeMap::new();
        let mut responses = Vec::new();
        for part in parts {
            let (id, key) = (part.id.clone(), part.id.to_lowercase());
            let response = if part.depends.iter().all(|d| done.get(&d.to_lowercase()) == Some(&true)) {
                self.part(part).await
            } else {
                json!({"id": id, "status": 424, "headers": {"Content-Type": "application/json"}, "body": {"error": {
                    "code": "FailedDependency",
                    "message": "A request this one depends on has failed.",
                }}})
            };
            done.insert(key, response["status"].as_u64().is_some_and(|s| s < 400));
            responses.push(response);
        }
        responses
    }

    async fn part(self: &Arc<Self>, part: Part) -> Value {
        let wire = match Head::read(&part.request, self.options.base_url.as_deref()) {
            Ok(head) => Box::pin(self.single(&head, part.request.into_body())).await,
            Err(refusal) => {
                let reply = self.core().refuse(&refusal, self.shell.now());
                self.answer(None, reply)
            }
        };
        let Wire::Answered(response) = wire else {
            // Behind the envelope a lost connection is a gateway's timeout.
            return json!({"id": part.id, "status": 504, "headers": {}, "body": {"error": {"code": "UnknownError", "message": ""}}});
        };
        let headers: serde_json::Map<String, Value> = response
            .headers()
            .iter()
            .filter_map(|(n, v)| Some((header_case(n.as_str()), json!(v.to_str().ok()?))))
            .collect();
        let mut out = json!({"id": part.id, "status": response.status().as_u16(), "headers": headers});
        if !response.body().is_empty() {
            out["body"] = serde_json::from_slice(response.body())
                .unwrap_or_else(|_| json!(encodify::base64::STANDARD.encode(response.body())));
        }
        out
    }
}

fn parts(head: &Head, body: &[u8]) -> Result<Vec<Part>, Refusal> {
    let bad = |message: &str| Refusal::new(400, "BadRequest", message);
    let document = input::document(body)?;
    let list = document
        .get("requests")
        .and_then(Json::list)
        .ok_or_else(|| bad("Invalid batch payload format: 'requests' is missing."))?;
    if list.is_empty() || list.len() > MOST {
        return Err(bad("Number of batch request steps exceeds the maximum value of 20, or there is none."));
    }
    let version = if head.path.starts_with("/beta/") { "beta" } else { "v1.0" };
    let mut seen = BTreeSet::new();
    let mut parts = Vec::new();
    for one in list {
        let text = |name: &str| one.get(name).and_then(Json::text);
        let (Some(id), Some(method), Some(url)) = (text("id"), text("method"), text("url")) else {
            return Err(bad("A batch request needs id, method and url."));
        };
        if !seen.insert(id.to_lowercase()) {
            return Err(bad("Request ids must be unique in a batch."));
        }
        if url.contains("://") {
            return Err(bad("The url of a batch request must be relative."));
        }
        let mut builder = http::Request::builder().method(method.to_uppercase().as_str()).uri(format!(
            "{}/{version}/{}",
            head.base,
            url.trim_start_matches('/')
        ));
        if let Some(bearer) = &head.bearer {
            builder = builder.header("authorization", format!("Bearer {bearer}"));
        }
        let mut typed = false;
        for (name, value) in one.get("headers").and_then(Json::object).unwrap_or_default() {
            typed |= name.eq_ignore_ascii_case("content-type");
            builder = builder.header(name.as_ref(), value.text().unwrap_or_default());
        }
        let content = match one.get("body") {
            None | Some(Json::Null) => Bytes::new(),
            Some(_) if !typed => return Err(bad("A batch request with a body needs a Content-Type header.")),
            Some(Json::Text(text)) => Bytes::copy_from_slice(text.as_bytes()),
            Some(other) => Bytes::from(other.to_value().to_string()),
        };
        let depends = one
            .get("dependsOn")
            .and_then(Json::list)
            .unwrap_or_default()
            .iter()
            .filter_map(|d| d.text().map(str::to_owned))
            .collect();
        let request = builder.body(content).map_err(|_| bad("A batch request is malformed."))?;
        parts.push(Part { id: id.to_owned(), depends, request });
    }
    for part in &parts {
        if part.depends.iter().any(|d| !seen.contains(&d.to_lowercase())) {
            return Err(bad("dependsOn names a request that is not in the batch."));
        }
    }
    Ok(parts)
}

/// `retry-after` → `Retry-After`, as the service writes headers inside an envelope.
fn header_case(name: &str) -> String {
    name.split('-')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map_or(String::new(), |c| c.to_ascii_uppercase().to_string() + letters.as_str())
        })
        .collect::<Vec<_>>()
        .join("-")
}

//! The Graph mock is as strict as the service: each rule by itself, through `handle` and through real TCP.

mod attachments;
mod changing;
mod delta;
mod faults;
mod finding;
mod limits;
mod mailboxes;
mod making;
mod more_faults;
mod state;
mod tcp;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use mailwave::mock::graph::{Fault, FaultRule, FaultScript, GraphMock, GraphOptions, When};
use mailwave::mock::{Wire, World};
use serde_json::{Value, json};

const GUID: &str = "8ecce264-1111-4222-8333-444455556666";
const ANN: &str = "ann@example.org";

fn stamp_id() -> String {
    format!("String {{{GUID}}} Name Stamp")
}

/// A world whose time is tokio's, which tests pause.
struct Paused {
    start: tokio::time::Instant,
}

impl World for Paused {
    fn now(&self) -> i64 {
        1_800_000_000_000 + i64::try_from(self.start.elapsed().as_millis()).unwrap()
    }
    fn sleep(&self, d: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(d))
    }
}

fn world() -> Arc<dyn World> {
    Arc::new(Paused { start: tokio::time::Instant::now() })
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
    fn id(&self) -> String {
        self.json()["id"].as_str().expect("an id").to_owned()
    }
    fn retry_after(&self) -> Option<u64> {
        self.headers.get("retry-after").map(|v| v.to_str().unwrap().parse().unwrap())
    }
    #[track_caller]
    fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
    #[track_caller]
    fn refused(self, status: u16, code: &str) -> Answer {
        assert_eq!(
            (self.status, self.code().as_str()),
            (status, code),
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self
    }
}

/// A tenant reached through `handle`, with a token.
#[derive(Clone)]
struct Tenant {
    mock: Arc<GraphMock>,
    token: String,
}

impl Tenant {
    async fn new(options: GraphOptions) -> Tenant {
        Tenant::of(GraphMock::new(options, world())).await
    }

    async fn of(mock: Arc<GraphMock>) -> Tenant {
        let mut tenant = Tenant { mock, token: String::new() };
        tenant.sign_in().await;
        tenant
    }

    async fn sign_in(&mut self) {
        let form = "grant_type=client_credentials&client_id=app&client_secret=secret&scope=https%3A%2F%2Fgraph.test%2F.default";
        let answer = self.token_request(form).await.expect(200);
        self.token = answer.json()["access_token"].as_str().unwrap().to_owned();
    }

    async fn token_request(&self, form: &str) -> Answer {
        let request = http::Request::post("http://graph.test/contoso/oauth2/v2.0/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::copy_from_slice(form.as_bytes()))
            .unwrap();
        answered(self.mock.handle(request).await)
    }

    fn request(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> http::Request<Bytes> {
        let url =
            if url.starts_with("http") { url.to_owned() } else { format!("http://graph.test/v1.0{url}") };
        let mut builder = http::Request::builder().method(method).uri(url);
        if !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("authorization")) {
            builder = builder.header("authorization", format!("Bearer {}", self.token));
        }
        for (name, value) in headers.iter().filter(|(_, v)| !v.is_empty()) {
            builder = builder.header(*name, *value);
        }
        builder.body(body).unwrap()
    }

    async fn wire(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Wire {
        self.mock.handle(self.request(&method, url, headers, body.into())).await
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        answered(self.wire(method, url, headers, body).await)
    }

    async fn get(&self, url: &str) -> Answer {
        self.send(Method::GET, url, &[], "").await
    }

    async fn post(&self, url: &str, body: &Value) -> Answer {
        self.send(Method::POST, url, &[("content-type", "application/json")], body.to_string()).await
    }

    async fn patch(&self, url: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, url, &[("content-type", "application/json")], body.to_string()).await
    }

    async fn delete(&self, url: &str) -> Answer {
        self.send(Method::DELETE, url, &[], "").await
    }

    /// Makes a message in a folder and gives its id.
    async fn message(&self, folder: &str, body: &Value) -> String {
        self.post(&format!("/users/{ANN}/mailFolders/{folder}/messages"), body).await.expect(201).id()
    }
}

fn answered(wire: Wire) -> Answer {
    match wire {
        Wire::Answered(response) => {
            let (head, body) = response.into_parts();
            Answer { status: head.status.as_u16(), headers: head.headers, body }
        }
        other => panic!("no answer: {other:?}"),
    }
}

/// A received message with a stamp, as a migration makes it.
fn stamped(stamp: &str) -> Value {
    json!({
        "subject": "Grüße",
        "body": {"contentType": "text", "content": "Hello"},
        "internetMessageId": "<1@example.org>",
        "toRecipients": [{"emailAddress": {"name": "Bo", "address": "bo@example.org"}}],
        "singleValueExtendedProperties": [
            {"id": "Integer 0x0E07", "value": "1"},
            {"id": "SystemTime 0x0E06", "value": "2001-02-03T04:05:06Z"},
            {"id": "SystemTime 0x0039", "value": "2001-02-03T04:00:00Z"},
            {"id": "String 0x007D", "value": "Received: x\r\n"},
            {"id": stamp_id(), "value": stamp},
        ],
    })
}

fn find(folder: Option<&str>, condition: &str) -> String {
    let filter = format!("singleValueExtendedProperties/Any(ep: ep/id eq '{}' and {condition})", stamp_id());
    let filter = percent_encoding::utf8_percent_encode(&filter, percent_encoding::NON_ALPHANUMERIC);
    match folder {
        Some(f) => format!("/users/{ANN}/mailFolders/{f}/messages?$filter={filter}&$top=100"),
        None => format!("/users/{ANN}/messages?$filter={filter}&$top=100"),
    }
}

fn script(rules: Vec<(&str, &str, When, Fault)>) -> FaultScript {
    let rule = |(method, path, when, fault): (&str, &str, When, Fault)| FaultRule {
        name: format!("{fault:?}"),
        method: method.into(),
        path: path.into(),
        when,
        at_most: 0,
        fault,
    };
    FaultScript { seed: 1, rules: rules.into_iter().map(rule).collect() }
}

fn base64(octets: impl AsRef<[u8]>) -> String {
    encodify::base64::STANDARD.encode(octets)
}

fn file(name: &str, octets: &[u8]) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.fileAttachment",
        "name": name, "contentType": "application/pdf", "isInline": true, "contentId": "c1",
        "contentBytes": base64(octets),
    })
}

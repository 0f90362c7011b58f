//! The Graph target against scripted answers: what it sends, and what it makes of what comes back.

mod copies;
mod files;
mod folders;
mod stores;
mod tokens;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use mailwave::env::Env;
use mailwave::http::{Exchange, HttpClient, HttpError};
use mailwave::limit::Gate;
use mailwave::model::{
    Body, Error, Flags, FolderId, Form, Kind, MailboxKey, Outcome, Scope, SourceName, Stamp, Timestamp,
};
use mailwave::target::graph::{GraphSettings, GraphTarget, TokenSettings};
use mailwave::target::{CopyRef, StoreItem, Target, TargetFolderId, TargetMailbox};
use secrecy::SecretString;
use serde_json::{Value, json};

const BASE: &str = "https://graph.test/v1.0";
const USER: &str = "/users/ann@example.org";

/// What comes back.
enum Back {
    Answer(u16, Value),
    With(u16, Value, &'static str, String),
    Raw(u16, &'static str),
    Reset,
    Refused,
}

struct Expected {
    method: Method,
    /// The URL must contain this.
    needle: String,
    back: Back,
}

/// Answers in order, and keeps what was sent.
#[derive(Default)]
struct Script {
    expected: Mutex<VecDeque<Expected>>,
    seen: Mutex<Vec<Request<Bytes>>>,
    /// Looked at with each request: how many messages are held.
    held: Mutex<Option<Arc<()>>>,
    held_then: Mutex<Vec<usize>>,
}

impl Script {
    fn then(&self, method: Method, needle: impl Into<String>, back: Back) -> &Script {
        self.expected.lock().unwrap().push_back(Expected { method, needle: needle.into(), back });
        self
    }

    fn get(&self, needle: impl Into<String>, status: u16, body: Value) -> &Script {
        self.then(Method::GET, needle, Back::Answer(status, body))
    }

    fn post(&self, needle: impl Into<String>, status: u16, body: Value) -> &Script {
        self.then(Method::POST, needle, Back::Answer(status, body))
    }

    fn done(&self) {
        let left = self.expected.lock().unwrap();
        assert!(left.is_empty(), "not asked for: {} {}", left[0].method, left[0].needle);
    }

    fn seen(&self, n: usize) -> Request<Bytes> {
        let seen = self.seen.lock().unwrap();
        let request = &seen[n];
        let mut copy = Request::new(request.body().clone());
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        copy
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn json(&self, n: usize) -> Value {
        serde_json::from_slice(self.seen(n).body()).expect("the request is JSON")
    }
}

#[async_trait]
impl HttpClient for Script {
    async fn execute(&self, request: Request<Bytes>, _: &Exchange) -> Result<Response<Bytes>, HttpError> {
        let url = request.uri().to_string();
        let method = request.method().clone();
        self.seen.lock().unwrap().push(request);
        if let Some(held) = &*self.held.lock().unwrap() {
            self.held_then.lock().unwrap().push(Arc::strong_count(held) - 1);
        }
        let Some(expected) = self.expected.lock().unwrap().pop_front() else {
            panic!("unexpected: {method} {url}")
        };
        assert!(
            expected.method == method && url.contains(&expected.needle),
            "expected {} {}, got {method} {url}",
            expected.method,
            expected.needle
        );
        let lost = || Error::temporary(Kind::Unreachable, Scope::Endpoint, "the connection was lost");
        let (status, body, header) = match expected.back {
            Back::Answer(status, body) => (status, Bytes::from(body.to_string()), None),
            Back::With(status, body, name, value) => {
                (status, Bytes::from(body.to_string()), Some((name, value)))
            }
            Back::Raw(status, body) => (status, Bytes::from_static(body.as_bytes()), None),
            Back::Reset => return Err(HttpError::MayHaveBeenSent(lost())),
            Back::Refused => return Err(HttpError::NotSent(lost())),
        };
        let mut response = Response::builder().status(status);
        if let Some((name, value)) = header {
            response = response.header(name, value);
        }
        Ok(response.body(body).unwrap())
    }
}

fn settings() -> GraphSettings {
    GraphSettings::new(BASE, TokenSettings::Static(SecretString::from("t0ken")))
}

/// An open mailbox whose root is `root`, its gate, and the script with one request seen.
async fn open() -> (Arc<Script>, Arc<dyn TargetMailbox>, Arc<Gate>) {
    let script = Arc::new(Script::default());
    let env = Env::system();
    let gate = Gate::unlimited(&env);
    let target = GraphTarget::new(&env, script.clone(), settings()).expect("settings");
    script.get(format!("{USER}/mailFolders/msgfolderroot"), 200, json!({"id": "root"}));
    let mailbox = target.open("ann@example.org", "", gate.clone()).await.expect("opens");
    assert_eq!(mailbox.identity(), "root");
    (script, mailbox, gate)
}

fn stamp(number: u64) -> Stamp {
    let source: SourceName = "acme".parse().unwrap();
    let mailbox = MailboxKey::of(&source, "ann");
    Stamp { source, mailbox, folder: FolderId(1), epoch: 1, number }
}

fn item(number: u64, octets: &[u8]) -> StoreItem {
    StoreItem {
        stamp: stamp(number),
        body: Body::from_bytes(Bytes::copy_from_slice(octets)),
        form: Form::Mime,
        flags: Flags::default(),
        received: Some(Timestamp::utc(1_700_000_000)),
    }
}

const MESSAGE: &[u8] = b"From: a@x.org\r\nMessage-ID: <1@x>\r\nSubject: private\r\n\r\nhello\r\n";

fn inbox() -> TargetFolderId {
    TargetFolderId("box".to_owned())
}

fn named(id: &str) -> CopyRef {
    CopyRef { folder: inbox(), id: id.to_owned() }
}

async fn store_one(back: Back) -> Outcome {
    let (script, mailbox, gate) = open().await;
    script.then(Method::POST, "/mailFolders/box/messages", back);
    let ticket = gate.reserve(mailbox.cost(&[MESSAGE.len() as u64])).await;
    let mut outcomes = mailbox.store(&inbox(), vec![item(1, MESSAGE)], ticket).await;
    script.done();
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

fn created() -> Value {
    json!({"id": "m1", "parentFolderId": "box", "internetMessageId": "<1@x>"})
}

fn error(code: &str) -> Value {
    json!({"error": {"code": code, "message": "ann@example.org: private"}})
}

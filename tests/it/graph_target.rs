//! The Graph target against scripted answers: what it sends, and what it makes of what comes back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use mailwave::env::{Env, Step, StepObserver};
use mailwave::http::{Exchange, HttpClient, HttpError};
use mailwave::limit::Gate;
use mailwave::model::{
    Body, Error, Flags, FolderId, FolderPath, Form, Kind, MailboxKey, Outcome, Scope, SourceName, SpecialUse,
    Stamp, StampPrefix, Status, Timestamp, WriteMode,
};
use mailwave::target::graph::{GraphSettings, GraphTarget, TokenSettings};
use mailwave::target::{CopyRef, FolderWanted, StoreItem, Target, TargetFolderId, TargetMailbox};
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

#[tokio::test(start_paused = true)]
async fn a_message_is_stored_by_one_authorised_request_with_its_stamp_done() {
    let (script, mailbox, gate) = open().await;
    script.post("/mailFolders/box/messages", 201, created());
    let ticket = gate.reserve(mailbox.cost(&[100])).await;
    let outcomes = mailbox.store(&inbox(), vec![item(1, MESSAGE)], ticket).await;
    let losses = vec!["sent-made"];
    assert_eq!(outcomes, [Outcome::Stored { id: "m1".to_owned(), losses, mode: WriteMode::Json }]);
    let request = script.seen(1);
    assert_eq!(request.headers()["authorization"], "Bearer t0ken");
    assert_eq!(request.headers()["prefer"], "IdType=\"ImmutableId\"");
    assert_eq!(request.headers()["content-type"], "application/json");
    let props = script.json(1)["singleValueExtendedProperties"].clone();
    let value = format!("{}/done", stamp(1));
    assert!(props.as_array().unwrap().iter().any(|p| p["value"] == value.as_str()), "{props}");
}

#[tokio::test(start_paused = true)]
async fn a_throttled_store_was_not_sent_and_tells_the_wait() {
    for (back, wait) in [
        (Back::With(429, error("x"), "retry-after", "17".into()), Some(17)),
        (Back::Answer(429, error("ApplicationThrottled")), None),
        (Back::With(503, json!({}), "retry-after", "99999".into()), Some(3600)),
        (Back::With(429, json!({}), "retry-after", "soon".into()), None),
    ] {
        match store_one(back).await {
            Outcome::NotSent(e) => {
                assert_eq!((e.kind, e.status), (Kind::Throttled, Status::Throttled));
                assert_eq!(e.retry_after, wait.map(Duration::from_secs));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_trusted_leaves_the_outcome_unknown() {
    for back in [
        Back::Answer(504, error("UnknownError")),
        Back::Answer(500, json!({})),
        Back::Answer(502, json!({})),
        Back::Reset,
        Back::Raw(201, ""),
        Back::Raw(201, "<html>proxy</html>"),
        Back::Raw(201, "{\"id\":\"\"}"),
        Back::Answer(201, json!({"id": "m2", "parentFolderId": "other"})),
        Back::Answer(201, json!({"id": "m2", "parentFolderId": "box", "internetMessageId": "<2@y>"})),
        Back::Answer(200, created()),
        Back::Answer(409, error("ErrorIrresolvableConflict")),
    ] {
        match store_one(back).await {
            Outcome::Unknown(e) => assert!(e.may_pass(), "{e}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_say_what_is_broken_and_nothing_private() {
    for (status, code, kind, scope, refused) in [
        (400, "ErrorInvalidProperty", Kind::Refused, Scope::Message, true),
        (413, "", Kind::TooLarge, Scope::Message, true),
        (403, "ErrorAccessDenied", Kind::Denied, Scope::Mailbox, false),
        (404, "ErrorItemNotFound", Kind::NotFound, Scope::Folder, false),
        (404, "MailboxNotEnabledForRESTAPI", Kind::NotFound, Scope::Mailbox, false),
        (507, "", Kind::Quota, Scope::Mailbox, false),
        (500, "ErrorQuotaExceeded", Kind::Quota, Scope::Mailbox, false),
        (307, "", Kind::Protocol, Scope::Endpoint, false),
    ] {
        let e = match (store_one(Back::Answer(status, error(code))).await, refused) {
            (Outcome::Refused(e), true) | (Outcome::NotSent(e), false) => e,
            (other, _) => panic!("{status} {code}: {other:?}"),
        };
        assert_eq!((e.kind, e.scope), (kind, scope), "{status} {code}");
        let text = format!("{e} {e:?}");
        assert!(!text.contains("ann") && !text.contains("private") && !text.contains("t0ken"), "{text}");
    }
    assert!(matches!(store_one(Back::Refused).await, Outcome::NotSent(_)));
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_mailbox_ends_the_batch_with_one_outcome_for_each_message() {
    let (script, mailbox, gate) = open().await;
    script.post("/box/messages", 201, created()).post("/box/messages", 400, error("ErrorX")).post(
        "/box/messages",
        429,
        json!({}),
    );
    let items = (1..=5).map(|n| item(n, MESSAGE)).collect();
    let outcomes = mailbox.store(&inbox(), items, gate.lookup()).await;
    script.done();
    let kinds: Vec<&str> = outcomes
        .iter()
        .map(|o| match o {
            Outcome::Stored { .. } => "stored",
            Outcome::Refused(_) => "refused",
            Outcome::NotSent(_) => "not sent",
            Outcome::Unknown(_) => "unknown",
        })
        .collect();
    assert_eq!(kinds, ["stored", "refused", "not sent", "not sent", "not sent"]);
}

#[tokio::test(start_paused = true)]
async fn the_octets_of_each_message_are_let_go_with_its_outcome_not_with_its_batch() {
    let (script, mailbox, gate) = open().await;
    script.post("/box/messages", 201, created()).post("/box/messages", 400, error("ErrorX")).post(
        "/box/messages",
        201,
        created(),
    );
    let held = Arc::new(());
    let items: Vec<StoreItem> = (1..=3).map(|n| item(n, MESSAGE)).collect();
    let items =
        items.into_iter().map(|one| StoreItem { body: one.body.guarded(held.clone()), ..one }).collect();
    *script.held.lock().unwrap() = Some(held.clone());
    *script.held_then.lock().unwrap() = Vec::new();
    mailbox.store(&inbox(), items, gate.lookup()).await;
    script.done();
    // One is the script's own.
    let held_then: Vec<usize> = script.held_then.lock().unwrap().iter().map(|n| n - 1).collect();
    assert_eq!(held_then, [3, 2, 1]);
    assert_eq!(Arc::strong_count(&held), 2, "the script's and ours");
}

#[tokio::test(start_paused = true)]
async fn a_message_without_octets_is_refused_without_a_request() {
    let (script, mailbox, gate) = open().await;
    let outcomes = mailbox.store(&inbox(), vec![item(1, b"")], gate.lookup()).await;
    assert!(matches!(&outcomes[..], [Outcome::Refused(e)] if e.kind == Kind::Refused), "{outcomes:?}");
    assert_eq!(script.count(), 1);
}

fn with_file(size: usize) -> Vec<u8> {
    let octets: Vec<u8> = (0..size).map(|n| (n * 7 % 251) as u8).collect();
    let mut message =
        b"Message-ID: <1@x>\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\ntext\r\n--m\r\nContent-Type: application/x; name=big.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n".to_vec();
    message.extend_from_slice(encodify::base64::MIME.encode(&octets).as_bytes());
    message.extend_from_slice(b"--m--\r\n");
    message
}

const RANGE: usize = 12 * 320 * 1024;
const UPLOAD: &str = "https://outlook.test/upload/1?authtoken=secret-url";

fn next(at: usize) -> Value {
    json!({"nextExpectedRanges": [format!("{at}-")]})
}

async fn store_large(
    size: usize,
    script: &Script,
    mailbox: &Arc<dyn TargetMailbox>,
    gate: &Arc<Gate>,
) -> Outcome {
    let mut outcomes = mailbox.store(&inbox(), vec![item(1, &with_file(size))], gate.lookup()).await;
    script.done();
    outcomes.remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_large_file_follows_in_ranges_and_the_stamp_is_done_last() {
    let (script, mailbox, gate) = open().await;
    let size = RANGE + 100_000;
    script
        .post("/box/messages", 201, created())
        .post(
            "/messages/m1/attachments/createUploadSession",
            201,
            json!({"uploadUrl": UPLOAD, "nextExpectedRanges": ["0-"]}),
        )
        .then(Method::PUT, UPLOAD, Back::Answer(200, next(RANGE)))
        .then(Method::PUT, UPLOAD, Back::With(429, json!({}), "retry-after", "3".into()))
        .then(Method::PUT, UPLOAD, Back::With(201, json!({}), "location", "https://outlook.test/a".into()))
        .then(Method::PATCH, "/messages/m1", Back::Answer(200, created()));
    let outcome = store_large(size, &script, &mailbox, &gate).await;
    assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
    assert!(script.json(1).to_string().contains(&format!("{}/open", stamp(1))));
    assert_eq!(script.json(2)["AttachmentItem"]["size"], size);
    let ranges: Vec<String> =
        (3..6).map(|n| script.seen(n).headers()["content-range"].to_str().unwrap().to_owned()).collect();
    assert_eq!(ranges[0], format!("bytes 0-{}/{size}", RANGE - 1));
    assert_eq!(ranges[1], format!("bytes {RANGE}-{}/{size}", size - 1));
    assert_eq!(ranges[2], ranges[1]);
    for n in 3..6 {
        let request = script.seen(n);
        assert!(
            request.headers().get("authorization").is_none() && request.headers().get("prefer").is_none()
        );
        assert!(request.body().len() < 4_000_000);
    }
    assert!(script.json(6).to_string().contains(&format!("{}/done", stamp(1))));
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_breaks_begins_a_new_session_and_asked_for_ranges_are_sent_again() {
    let (script, mailbox, gate) = open().await;
    let session = || json!({"uploadUrl": UPLOAD});
    script
        .post("/box/messages", 201, created())
        .post("/createUploadSession", 201, session())
        .then(Method::PUT, UPLOAD, Back::Reset)
        .post("/createUploadSession", 201, session())
        .then(Method::PUT, UPLOAD, Back::Answer(200, next(RANGE)))
        .then(Method::PUT, UPLOAD, Back::Answer(200, next(RANGE)))
        .then(Method::PUT, UPLOAD, Back::Answer(404, error("ErrorExpired")))
        .post("/createUploadSession", 201, session())
        .then(Method::PUT, UPLOAD, Back::Answer(200, next(0)))
        .then(Method::PUT, UPLOAD, Back::Answer(200, next(RANGE)))
        .then(Method::PUT, UPLOAD, Back::Answer(200, next(2 * RANGE)))
        .then(Method::PUT, UPLOAD, Back::Answer(201, json!({})))
        .then(Method::PATCH, "/messages/m1", Back::Answer(200, json!({})));
    let outcome = store_large(2 * RANGE + 10, &script, &mailbox, &gate).await;
    assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_last_range_or_last_request_is_unknown() {
    let (script, mailbox, gate) = open().await;
    script
        .post("/box/messages", 201, created())
        .post("/createUploadSession", 201, json!({"uploadUrl": UPLOAD}))
        .then(Method::PUT, UPLOAD, Back::Reset);
    let outcome = store_large(3_500_000, &script, &mailbox, &gate).await;
    assert!(
        matches!(&outcome, Outcome::Unknown(e) if !format!("{e:?}").contains("secret-url")),
        "{outcome:?}"
    );

    let (script, mailbox, gate) = open().await;
    script
        .post("/box/messages", 201, created())
        .post("/createUploadSession", 201, json!({"uploadUrl": UPLOAD}))
        .then(Method::PUT, UPLOAD, Back::Answer(201, json!({})));
    for _ in 0..4 {
        script.then(Method::PATCH, "/messages/m1", Back::Answer(504, json!({})));
    }
    let outcome = store_large(3_500_000, &script, &mailbox, &gate).await;
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_part_refused_for_good_takes_the_incomplete_copy_with_it() {
    let (script, mailbox, gate) = open().await;
    script
        .post("/box/messages", 201, created())
        .post("/createUploadSession", 400, error("ErrorAttachmentSizeLimitExceeded"))
        .then(Method::DELETE, "/messages/m1", Back::Raw(204, ""));
    let outcome = store_large(3_500_000, &script, &mailbox, &gate).await;
    assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn files_near_three_megabytes_go_the_other_way_when_one_is_refused() {
    let (script, mailbox, gate) = open().await;
    script
        .post("/box/messages", 201, created())
        .post("/createUploadSession", 400, error("ErrorAttachmentSizeShouldNotBeLessThanMinimumSize"))
        .post("/messages/m1/attachments", 201, json!({"id": "a"}))
        .then(Method::PATCH, "/messages/m1", Back::Answer(200, json!({})));
    let outcome = store_large(2_950_000, &script, &mailbox, &gate).await;
    assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_conflict_while_a_range_is_taken_is_a_hiccup_and_the_range_is_sent_again() {
    let (script, mailbox, gate) = open().await;
    let size = RANGE + 100_000;
    script
        .post("/box/messages", 201, created())
        .post("/createUploadSession", 201, json!({"uploadUrl": UPLOAD}))
        .then(Method::PUT, UPLOAD, Back::Answer(409, error("ErrorIrresolvableConflict")))
        .then(Method::PUT, UPLOAD, Back::Answer(200, next(RANGE)))
        .then(Method::PUT, UPLOAD, Back::Answer(412, error("ErrorConflict")))
        .get("/messages/m1/attachments?", 200, json!({"value": []}))
        .then(Method::PUT, UPLOAD, Back::Answer(201, json!({})))
        .then(Method::PATCH, "/messages/m1", Back::Answer(200, json!({})));
    let outcome = store_large(size, &script, &mailbox, &gate).await;
    assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
    let sent = |n: usize| (script.seen(n).headers()["content-range"].clone(), script.seen(n).body().clone());
    assert_eq!(sent(3), sent(4));
    assert_eq!(sent(5), sent(7));

    // The last range was taken all the same: nothing is sent twice.
    let (script, mailbox, gate) = open().await;
    script
        .post("/box/messages", 201, created())
        .post("/createUploadSession", 201, json!({"uploadUrl": UPLOAD}))
        .then(Method::PUT, UPLOAD, Back::Answer(409, error("ErrorIrresolvableConflict")))
        .get("/messages/m1/attachments?", 200, json!({"value": [{"id": "a"}]}))
        .then(Method::PATCH, "/messages/m1", Back::Answer(200, json!({})));
    let outcome = store_large(3_500_000, &script, &mailbox, &gate).await;
    assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_conflict_while_a_small_file_is_attached_is_looked_into_before_it_is_sent_again() {
    let attached =
        |ids: &[&str]| json!({"value": ids.iter().map(|id| json!({"id": id})).collect::<Vec<_>>()});
    for (found, again) in [(attached(&[]), true), (attached(&["a"]), false)] {
        let (script, mailbox, gate) = open().await;
        script
            .post("/box/messages", 201, created())
            .post("/createUploadSession", 400, error("ErrorAttachmentSizeShouldNotBeLessThanMinimumSize"))
            .post("/messages/m1/attachments", 412, error("ErrorConflict"))
            .get("/messages/m1/attachments?", 200, found);
        if again {
            script.post("/messages/m1/attachments", 201, json!({"id": "a"}));
        }
        script.then(Method::PATCH, "/messages/m1", Back::Answer(200, json!({})));
        let outcome = store_large(2_950_000, &script, &mailbox, &gate).await;
        assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_target_refuses_about_classes_and_attached_messages_is_stored_without_them() {
    let nested = b"Message-ID: <1@x>\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ntext\r\n";
    let signed = b"Message-ID: <1@x>\r\nContent-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\nMIIB\r\n";
    for (octets, loss) in [(&nested[..], "nested-as-file"), (&signed[..], "protected-original")] {
        let (script, mailbox, gate) = open().await;
        script.post("/box/messages", 400, error("ErrorInvalidItemForOperation")).post(
            "/box/messages",
            201,
            created(),
        );
        let outcomes = mailbox.store(&inbox(), vec![item(1, octets)], gate.lookup()).await;
        script.done();
        let [Outcome::Stored { losses, .. }] = &outcomes[..] else { panic!("{outcomes:?}") };
        assert!(losses.contains(&loss), "{losses:?}");
        let kinds: Vec<Value> =
            (1..3).map(|n| script.json(n)["attachments"][0]["@odata.type"].clone()).collect();
        assert_eq!(kinds[1], "#microsoft.graph.fileAttachment");
        assert_ne!(script.json(1), script.json(2));
    }
    // A second refusal is one.
    let (script, mailbox, gate) = open().await;
    script.post("/box/messages", 400, error("ErrorX")).post("/box/messages", 400, error("ErrorX"));
    let outcomes = mailbox.store(&inbox(), vec![item(1, nested)], gate.lookup()).await;
    script.done();
    assert!(matches!(outcomes[..], [Outcome::Refused(_)]), "{outcomes:?}");
}

fn folder(names: &[&str], special: Option<SpecialUse>) -> FolderWanted {
    let path = FolderPath::new(names.iter().map(|n| (*n).to_owned()).collect()).unwrap();
    FolderWanted { path, special, subscribed: None }
}

fn children(list: &[(&str, &str)]) -> Value {
    json!({"value": list.iter().map(|(id, name)| json!({"id": id, "displayName": name})).collect::<Vec<_>>()})
}

#[tokio::test(start_paused = true)]
async fn well_known_folders_are_reached_by_role_at_their_level_only() {
    let (script, mailbox, _) = open().await;
    script
        .get("/mailFolders/inbox?", 200, json!({"id": "IN"}))
        .get("/mailFolders/sentitems?", 200, json!({"id": "SENT"}))
        .get("/mailFolders/IN/childFolders", 200, children(&[]))
        .post("/mailFolders/IN/childFolders", 201, json!({"id": "SUB"}))
        .get(format!("{USER}/mailFolders?$top=100"), 200, children(&[("A", "a")]))
        .get("/mailFolders/A/childFolders", 200, children(&[("AS", "Sent")]));
    let get = |w: FolderWanted| {
        let mailbox = mailbox.clone();
        async move { mailbox.folder(&w).await.expect("a folder").0 }
    };
    assert_eq!(get(folder(&["inbox"], None)).await, "IN");
    assert_eq!(get(folder(&["Gesendet"], Some(SpecialUse::Sent))).await, "SENT");
    assert_eq!(get(folder(&["INBOX", "Sub"], None)).await, "SUB");
    assert_eq!(get(folder(&["a", "Sent"], Some(SpecialUse::Sent))).await, "AS");
    assert_eq!(get(folder(&["INBOX", "Sub"], None)).await, "SUB", "known now");
    script.done();
}

#[tokio::test(start_paused = true)]
async fn a_folder_on_a_later_page_is_found_and_a_foreign_page_is_not_followed() {
    let (script, mailbox, _) = open().await;
    let mut first = children(&[("1", "one")]);
    first["@odata.nextLink"] = format!("{BASE}{USER}/mailFolders?$skip=100").into();
    script.get("/mailFolders?$top=100", 200, first).get("$skip=100", 200, children(&[("2", "two")]));
    assert_eq!(mailbox.folder(&folder(&["two"], None)).await.expect("found").0, "2");
    script.done();

    let (script, mailbox, _) = open().await;
    let mut first = children(&[]);
    first["@odata.nextLink"] = "https://evil.test/v1.0/next".into();
    script.get("/mailFolders?$top=100", 200, first);
    let error = mailbox.folder(&folder(&["two"], None)).await.expect_err("refused");
    assert_eq!(error.kind, Kind::Protocol);
    script.done();
}

#[tokio::test(start_paused = true)]
async fn a_folder_made_meanwhile_is_found_again_and_a_lost_answer_makes_no_second_one() {
    for (status, code) in [(409, "ErrorFolderExists"), (504, "UnknownError")] {
        let (script, mailbox, _) = open().await;
        script
            .get("/mailFolders?$top=100", 200, children(&[]))
            .post("/mailFolders", status, error(code))
            .get("/mailFolders?$top=100", 200, children(&[("N", "new")]));
        assert_eq!(mailbox.folder(&folder(&["new"], None)).await.expect("found").0, "N");
        script.done();
    }
}

#[tokio::test(start_paused = true)]
async fn names_that_differ_only_in_case_become_two_folders() {
    let (script, mailbox, _) = open().await;
    script
        .get("/mailFolders?$top=100", 200, children(&[]))
        .post("/mailFolders", 201, json!({"id": "F1"}))
        .post("/mailFolders", 201, json!({"id": "F2"}));
    assert_eq!(mailbox.folder(&folder(&["Foo"], None)).await.expect("made").0, "F1");
    assert_eq!(mailbox.folder(&folder(&["foo"], None)).await.expect("made").0, "F2");
    script.done();
    assert_eq!(script.json(2)["displayName"], "Foo");
    let second = script.json(3)["displayName"].as_str().unwrap().to_owned();
    assert!(second.starts_with("foo~") && second.len() == 12, "{second}");
}

#[tokio::test(start_paused = true)]
async fn two_lanes_that_want_one_folder_make_one() {
    let (script, mailbox, _) = open().await;
    script.get("/mailFolders?$top=100", 200, children(&[])).post("/mailFolders", 201, json!({"id": "N"}));
    let wanted = folder(&["new"], None);
    let (a, b) = tokio::join!(mailbox.folder(&wanted), mailbox.folder(&wanted));
    assert_eq!((a.expect("made").0, b.expect("found").0), ("N".to_owned(), "N".to_owned()));
    script.done();
}

/// Lets `left` steps pass and keeps their names.
struct Cut {
    left: Mutex<usize>,
    passed: Mutex<Vec<Step>>,
}

impl StepObserver for Cut {
    fn pass(&self, step: Step) -> bool {
        let mut left = self.left.lock().unwrap();
        if *left == 0 {
            return false;
        }
        *left -= 1;
        self.passed.lock().unwrap().push(step);
        true
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_before_any_request_of_a_store_sends_nothing_more() {
    use Step::{TargetAnswer, TargetFolder, TargetStore, TargetStoreDone, TargetStorePart};
    let whole = [
        TargetFolder,
        TargetAnswer,
        TargetStore,
        TargetAnswer,
        TargetStorePart,
        TargetAnswer,
        TargetStorePart,
        TargetAnswer,
        TargetStoreDone,
        TargetAnswer,
    ];
    for left in (2..=whole.len()).rev() {
        let cut = Arc::new(Cut { left: Mutex::new(left), passed: Mutex::default() });
        let env = Env::simulated(1, 0, cut.clone());
        let script = Arc::new(Script::default());
        let target = GraphTarget::new(&env, script.clone(), settings()).expect("settings");
        script
            .get("msgfolderroot", 200, json!({"id": "root"}))
            .post("/box/messages", 201, created())
            .post("/createUploadSession", 201, json!({"uploadUrl": UPLOAD}))
            .then(Method::PUT, UPLOAD, Back::Answer(201, json!({})))
            .then(Method::PATCH, "/messages/m1", Back::Answer(200, json!({})));
        let gate = Gate::unlimited(&env);
        let mailbox = target.open("ann@example.org", "", gate.clone()).await.expect("opens");
        let folder = inbox();
        let store = mailbox.store(&folder, vec![item(1, &with_file(3_500_000))], gate.lookup());
        let outcome = tokio::time::timeout(Duration::from_secs(3600), store).await;
        assert_eq!(outcome.is_ok(), left == whole.len(), "cut after {left}");
        assert_eq!(*cut.passed.lock().unwrap(), whole[..left]);
        // Each request is a step and its answer another: what was sent is what passed.
        assert_eq!(script.count(), left.div_ceil(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_taken_by_a_hidden_folder_gets_its_suffix() {
    let (script, mailbox, _) = open().await;
    let hidden = json!({"value": [{"id": "H", "displayName": "Sync", "isHidden": true}]});
    script
        .get("/mailFolders?$top=100", 200, children(&[]))
        .post("/mailFolders", 409, error("ErrorFolderExists"))
        .get("includeHiddenFolders=true", 200, hidden)
        .post("/mailFolders", 201, json!({"id": "S"}));
    assert_eq!(mailbox.folder(&folder(&["Sync"], None)).await.expect("made").0, "S");
    script.done();
}

#[tokio::test(start_paused = true)]
async fn a_place_is_a_folder_of_its_own_without_well_known_ones() {
    let script = Arc::new(Script::default());
    let env = Env::system();
    let target = GraphTarget::new(&env, script.clone(), settings()).expect("settings");
    script
        .get("/mailFolders/msgfolderroot", 200, json!({"id": "root"}))
        .get("/mailFolders?$top=100", 200, children(&[]))
        .post("/mailFolders", 201, json!({"id": "P"}))
        .get("/mailFolders/P/childFolders", 200, children(&[]))
        .post("/mailFolders/P/childFolders", 201, json!({"id": "PI"}));
    let mailbox = target.open("ann@example.org", "Old mail", Gate::unlimited(&env)).await.expect("opens");
    assert_eq!(mailbox.folder(&folder(&["INBOX"], Some(SpecialUse::Inbox))).await.expect("made").0, "PI");
    script.done();
}

#[tokio::test(start_paused = true)]
async fn a_renamed_folder_is_moved_and_renamed_once_and_never_onto_another() {
    let (script, mailbox, _) = open().await;
    let id = TargetFolderId("F".to_owned());
    let now = |name: &str, parent: &str| json!({"id": "F", "displayName": name, "parentFolderId": parent});
    script
        .get("/mailFolders?$top=100", 200, children(&[("A", "above")]))
        .get("/mailFolders/F?", 200, now("old", "root"))
        .get("/mailFolders/A/childFolders", 200, children(&[("X", "other")]))
        .post("/mailFolders/F/move", 201, json!({"id": "F"}))
        .then(Method::PATCH, "/mailFolders/F", Back::Answer(200, json!({"id": "F"})));
    mailbox.rename_folder(&id, &folder(&["above", "new"], None)).await.expect("renamed");
    assert_eq!(script.json(4)["destinationId"], "A");
    assert_eq!(script.json(5)["displayName"], "new");
    script
        .get("/mailFolders?$top=100", 200, children(&[("A", "above")]))
        .get("/mailFolders/F?", 200, now("new", "A"))
        .get("/mailFolders/A/childFolders", 200, children(&[("X", "other"), ("F", "new")]));
    mailbox.rename_folder(&id, &folder(&["above", "new"], None)).await.expect("nothing left to do");
    script
        .get("/mailFolders?$top=100", 200, children(&[("A", "above")]))
        .get("/mailFolders/F?", 200, now("new", "A"))
        .get("/mailFolders/A/childFolders", 200, children(&[("X", "other"), ("F", "new")]));
    let error = mailbox.rename_folder(&id, &folder(&["above", "other"], None)).await.expect_err("taken");
    assert_eq!((error.kind, error.scope), (Kind::Conflict, Scope::Folder));
    script.done();
}

fn found(id: &str, value: &str) -> Value {
    json!({
        "id": id, "parentFolderId": "box", "isRead": true, "isDraft": false, "flag": {"flagStatus": "flagged"},
        "categories": ["work"], "createdDateTime": "2026-11-21T08:00:00Z",
        "singleValueExtendedProperties": [
            {"id": "String {B5D4F0B6-7A0E-4A39-9D5E-5C1F6A2E9D41} Name MailwaveStamp", "value": value},
            {"id": "Integer 0x1081", "value": "102"}
        ]
    })
}

#[tokio::test(start_paused = true)]
async fn copies_are_found_over_pages_with_state_flags_and_place() {
    let (script, mailbox, _) = open().await;
    let s = stamp(1);
    let prefix = StampPrefix::folder(&s.source, &s.mailbox, s.folder);
    let page = json!({
        "value": [found("a", &format!("{}/done", stamp(1))), found("b", &format!("{}/open", stamp(2)))],
        "@odata.nextLink": format!("{BASE}{USER}/messages?$skip=2")
    });
    script.get("startswith(ep/value,", 200, page).get(
        "$skip=2",
        200,
        json!({"value": [found("c", "mw9.future/done")]}),
    );
    // A copy where nobody asked for a folder: is that one the staging folder?
    script.get("/mailFolders?$filter=displayName", 200, json!({"value": []}));
    let copies = mailbox.find(&prefix).await.expect("complete");
    script.done();
    assert_eq!(copies.len(), 2);
    assert_eq!((copies[0].stamp.number, copies[0].complete, copies[0].id.as_str()), (1, true, "a"));
    assert_eq!((copies[1].stamp.number, copies[1].complete), (2, false));
    assert_eq!(copies[0].flags.encode(), "FRS work");
    assert_eq!(copies[0].made, 1_795_248_000_000);
    assert_eq!(copies[0].folder.0, "box");
}

#[tokio::test(start_paused = true)]
async fn fields_that_a_listing_leaves_out_are_asked_for_again() {
    let (script, mailbox, _) = open().await;
    let mut bare = found("a", &format!("{}/done", stamp(1)));
    for field in ["parentFolderId", "createdDateTime"] {
        bare.as_object_mut().unwrap().remove(field);
    }
    let mut plain = found("a", "");
    plain.as_object_mut().unwrap().remove("singleValueExtendedProperties");
    script.get("$expand=", 200, json!({"value": [bare]})).get("/messages?", 200, json!({"value": [plain]}));
    script.get("/mailFolders?$filter=displayName", 400, error("ErrorInvalidRequest"));
    let copies = mailbox.find(&StampPrefix::exactly(&stamp(1))).await.expect("complete");
    script.done();
    assert_eq!(copies.len(), 1);
    assert_eq!(copies[0].folder.0, "box");
}

#[tokio::test(start_paused = true)]
async fn a_look_up_waits_out_a_throttle_and_is_complete_or_an_error() {
    let (script, mailbox, _) = open().await;
    script
        .then(Method::GET, "/messages?", Back::With(429, json!({}), "retry-after", "7".into()))
        .then(Method::GET, "/messages?", Back::Reset)
        .get("/messages?", 200, json!({"value": []}));
    let before = tokio::time::Instant::now();
    assert_eq!(mailbox.find(&StampPrefix::exactly(&stamp(1))).await.expect("complete"), []);
    assert!(before.elapsed() >= Duration::from_secs(7));
    for _ in 0..4 {
        script.then(Method::GET, "/messages?", Back::Raw(502, ""));
    }
    assert!(mailbox.find(&StampPrefix::exactly(&stamp(1))).await.is_err());
    script.done();
}

#[tokio::test(start_paused = true)]
async fn changes_of_copies_are_idempotent() {
    let (script, mailbox, _) = open().await;
    let gone = || Back::Answer(404, error("ErrorItemNotFound"));
    // A service (or a proxy before it) without batches: each request goes by itself, and no batch is tried again.
    script
        .post("/$batch", 404, error("ResourceNotFound"))
        .then(Method::PATCH, "/messages/a", Back::Answer(412, error("ErrorConflict")))
        .then(Method::PATCH, "/messages/a", Back::Answer(200, json!({})))
        .then(Method::PATCH, "/messages/b", gone());
    let mut flags = Flags::default();
    flags.add("\\Seen");
    let results = mailbox.set_flags(&[(named("a"), flags.clone()), (named("b"), flags)]).await;
    assert!(results[0].is_ok());
    assert!(matches!(&results[1], Err(e) if (e.kind, e.scope) == (Kind::NotFound, Scope::Message)));
    assert_eq!(script.json(2)["isRead"], true);

    script
        .post("/messages/a/move", 201, json!({"id": "a", "parentFolderId": "box"}))
        .then(Method::POST, "/messages/b/move", Back::Reset)
        .get("/messages/b?", 200, json!({"id": "b", "parentFolderId": "box"}))
        .then(Method::POST, "/messages/c/move", gone())
        .then(Method::GET, "/messages/c?", gone());
    let results = mailbox.relocate(&["a", "b", "c"].map(named), &inbox()).await;
    assert_eq!((results[0].as_deref(), results[1].as_deref()), (Ok("a"), Ok("b")));
    assert!(matches!(&results[2], Err(e) if e.kind == Kind::NotFound));

    script.then(Method::DELETE, "/messages/a", Back::Reset).then(Method::DELETE, "/messages/a", gone()).then(
        Method::DELETE,
        "/messages/b",
        Back::Raw(204, ""),
    );
    assert_eq!(mailbox.remove(&["a", "b"].map(named)).await, [Ok(()), Ok(())]);
    script.done();
}

fn credentials() -> GraphSettings {
    GraphSettings::new(
        BASE,
        TokenSettings::ClientCredentials {
            token_url: "https://login.test/tenant/oauth2/v2.0/token".into(),
            client_id: "app".into(),
            client_secret: SecretString::from("s&cret"),
            scope: "https://graph.test/.default".into(),
        },
    )
}

#[tokio::test(start_paused = true)]
async fn a_token_is_fetched_once_renewed_before_it_ends_and_once_when_refused() {
    let script = Arc::new(Script::default());
    let env = Env::system();
    let target = GraphTarget::new(&env, script.clone(), credentials()).expect("settings");
    let root = || json!({"id": "root"});
    let open = || target.open("ann@example.org", "", Gate::unlimited(&env));
    script.post("login.test", 200, json!({"access_token": "one", "expires_in": 1000}));
    script.get("msgfolderroot", 200, root()).get("msgfolderroot", 200, root());
    open().await.expect("opens");
    open().await.expect("opens");
    let form = String::from_utf8(script.seen(0).body().to_vec()).unwrap();
    assert_eq!(
        form,
        "grant_type=client_credentials&client_id=app&client_secret=s%26cret&scope=https%3A%2F%2Fgraph%2Etest%2F%2Edefault"
    );
    assert!(script.seen(0).headers().get("authorization").is_none());

    tokio::time::sleep(Duration::from_secs(801)).await;
    script.post("login.test", 200, json!({"access_token": "two", "expires_in": "1000"}));
    script.get("msgfolderroot", 200, root());
    open().await.expect("opens");
    assert_eq!(script.seen(4).headers()["authorization"], "Bearer two");

    script.get("msgfolderroot", 401, error("InvalidAuthenticationToken"));
    script.post("login.test", 200, json!({"access_token": "three", "expires_in": 1000}));
    script.get("msgfolderroot", 200, root());
    open().await.expect("opens");
    assert_eq!(script.seen(7).headers()["authorization"], "Bearer three");

    script.get("msgfolderroot", 401, json!({}));
    script.post("login.test", 401, json!({"error": "invalid_client", "error_description": "s&cret"}));
    let error = open().await.err().expect("refused");
    assert_eq!((error.kind, error.scope), (Kind::Auth, Scope::Endpoint));
    assert!(!format!("{error:?}").contains("cret\"") && !error.remedy.is_empty());
    script.done();
}

#[tokio::test(start_paused = true)]
async fn many_mailboxes_ask_for_one_token_and_one_failure_is_told_to_all() {
    let script = Arc::new(Script::default());
    let env = Env::system();
    let target = Arc::new(GraphTarget::new(&env, script.clone(), credentials()).expect("settings"));
    script.post("login.test", 400, json!({"error": "invalid_client"}));
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let (target, env) = (target.clone(), env.clone());
        tasks.push(tokio::spawn(async move { target.open("a", "", Gate::unlimited(&env)).await.err() }));
    }
    for task in tasks {
        assert_eq!(task.await.unwrap().map(|e| e.kind), Some(Kind::Auth));
    }
    script.done();
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_is_not_there_is_an_error_of_that_mailbox() {
    for (status, code) in [(404, "ErrorItemNotFound"), (404, "ErrorInvalidUser"), (403, "ErrorAccessDenied")]
    {
        let script = Arc::new(Script::default());
        let env = Env::system();
        let target = GraphTarget::new(&env, script.clone(), settings()).expect("settings");
        script.get("msgfolderroot", status, error(code));
        let error = target.open("ann@example.org", "", Gate::unlimited(&env)).await.err().expect("refused");
        assert_eq!(error.scope, Scope::Mailbox, "{error}");
        assert!(!error.remedy.is_empty());
    }
}

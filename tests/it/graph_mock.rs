//! The Graph mock is as strict as the service: each rule by itself, through `handle` and through real TCP.

mod delta;
mod more_faults;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use mailwave::mock::graph::{
    App, DeltaExpired, Fault, FaultRule, FaultScript, GraphMock, GraphOptions, Language, Latency, Limits,
    RetryAfter, Sizes, UnknownMailbox, When, Windows,
};
use mailwave::mock::server::{self, ServeOptions};
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

// ---- tokens and mailboxes ----

#[tokio::test(start_paused = true)]
async fn a_token_is_given_for_the_right_secret_only_and_expires() {
    let options = GraphOptions {
        token_seconds: 60,
        apps: vec![App { client_id: "app".into(), client_secret: "secret".into(), ..App::default() }],
        ..GraphOptions::default()
    };
    let tenant = Tenant::new(options).await;
    let wrong = tenant
        .token_request("grant_type=client_credentials&client_id=app&client_secret=no&scope=x/.default")
        .await
        .expect(401);
    assert_eq!(wrong.json()["error"], "invalid_client");
    for bad in [
        "grant_type=password&client_id=app&client_secret=secret&scope=x/.default",
        "grant_type=client_credentials&client_id=app&client_secret=secret&scope=Mail.ReadWrite",
        "grant_type=client_credentials&client_id=other&client_secret=secret&scope=x/.default",
    ] {
        assert_eq!(tenant.token_request(bad).await.status, 400, "{bad}");
    }
    let url = format!("/users/{ANN}/mailFolders");
    tenant.get(&url).await.expect(200);
    for authorization in ["", "Bearer nonsense", "Basic abc"] {
        let answer = tenant.send(Method::GET, &url, &[("authorization", authorization)], "").await;
        answer.refused(401, "InvalidAuthenticationToken");
    }
    tokio::time::advance(Duration::from_secs(61)).await;
    tenant.get(&url).await.refused(401, "InvalidAuthenticationToken");
}

#[tokio::test(start_paused = true)]
async fn a_missing_mailbox_is_refused_as_the_tenant_says() {
    for (unknown, code) in [
        (UnknownMailbox::ErrorInvalidUser, "ErrorInvalidUser"),
        (UnknownMailbox::MailboxNotEnabledForRestApi, "MailboxNotEnabledForRESTAPI"),
    ] {
        let options = GraphOptions {
            auto_provision: false,
            mailboxes: vec![ANN.into()],
            forbidden: vec!["boss@example.org".into()],
            unknown_mailbox: unknown,
            ..GraphOptions::default()
        };
        let tenant = Tenant::new(options).await;
        tenant.get("/users/bo@example.org/mailFolders").await.refused(404, code);
        tenant.get("/users/boss@example.org/mailFolders").await.refused(403, "ErrorAccessDenied");
        let user = tenant.get("/users/ANN@example.org").await.expect(200).json();
        let guid = user["id"].as_str().unwrap();
        tenant.get(&format!("/users/{guid}/mailFolders/inbox")).await.expect(200);
    }
}

// ---- folders ----

#[tokio::test(start_paused = true)]
async fn folders_come_ten_at_a_time_with_an_absolute_next_link() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    for n in 0..15 {
        tenant
            .post(&format!("/users/{ANN}/mailFolders"), &json!({"displayName": format!("F{n}")}))
            .await
            .expect(201);
    }
    let mut names = Vec::new();
    let mut url = format!("http://graph.test/v1.0/users/{ANN}/mailFolders");
    let mut pages = 0;
    loop {
        let page = tenant.get(&url).await.expect(200).json();
        let list = page["value"].as_array().unwrap();
        assert!(list.len() <= 10);
        names.extend(list.iter().map(|f| f["displayName"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["@odata.nextLink"].as_str() {
            Some(next) => url = next.to_owned(),
            None => break,
        }
        assert!(url.starts_with("http://graph.test/v1.0/users/") && url.contains("$skiptoken="), "{url}");
    }
    assert_eq!((names.len(), pages), (8 + 15, 3));
    assert!(names.contains(&"Sent Items".to_owned()));
    let all = tenant.get(&format!("/users/{ANN}/mailFolders?$top=100")).await.expect(200).json();
    assert_eq!(all["value"].as_array().unwrap().len(), 23);
}

#[tokio::test(start_paused = true)]
async fn hidden_folders_are_listed_only_when_asked_for() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let root = format!("/users/{ANN}/mailFolders");
    tenant.post(&root, &json!({"displayName": "Hidden", "isHidden": true})).await.expect(201);
    let names = |v: Value| -> Vec<String> {
        v["value"].as_array().unwrap().iter().map(|f| f["displayName"].as_str().unwrap().to_owned()).collect()
    };
    let plain = names(tenant.get(&format!("{root}?$top=100")).await.json());
    assert!(!plain.contains(&"Hidden".to_owned()));
    let all = names(tenant.get(&format!("{root}?$top=100&includeHiddenFolders=true")).await.json());
    assert!(all.contains(&"Hidden".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_second_folder_of_the_same_name_in_any_case_is_refused() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let root = format!("/users/{ANN}/mailFolders");
    let id = tenant.post(&root, &json!({"displayName": "Ünï"})).await.expect(201).id();
    tenant.post(&root, &json!({"displayName": "ÜNÏ"})).await.refused(409, "ErrorFolderExists");
    tenant.post(&root, &json!({"displayName": "inbox"})).await.refused(409, "ErrorFolderExists");
    tenant.post(&format!("{root}/{id}/childFolders"), &json!({"displayName": "Inbox"})).await.expect(201);
    for bad in [json!({"displayName": ""}), json!({}), json!({"displayName": "x", "color": "red"})] {
        assert_eq!(tenant.post(&root, &bad).await.status, 400, "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_folder_is_found_by_a_quoted_name() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let root = format!("/users/{ANN}/mailFolders");
    let id = tenant.post(&root, &json!({"displayName": "Bob's & co"})).await.expect(201).id();
    let found =
        tenant.get(&format!("{root}?$filter=displayName%20eq%20'Bob''s%20%26%20co'")).await.expect(200);
    assert_eq!(found.json()["value"][0]["id"], id.as_str());
    assert_eq!(found.json()["value"].as_array().unwrap().len(), 1);
    assert_eq!(tenant.get(&format!("{root}?$filter=childFolderCount%20eq%201")).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn folders_are_renamed_moved_and_deleted_but_not_the_well_known_ones() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let root = format!("/users/{ANN}/mailFolders");
    let a = tenant.post(&root, &json!({"displayName": "A"})).await.expect(201).id();
    let b = tenant.post(&root, &json!({"displayName": "B"})).await.expect(201).id();
    tenant
        .patch(&format!("{root}/{a}"), &json!({"displayName": "B"}))
        .await
        .refused(409, "ErrorFolderExists");
    tenant.patch(&format!("{root}/{a}"), &json!({"displayName": "a"})).await.expect(200);
    let moved = tenant.post(&format!("{root}/{a}/move"), &json!({"destinationId": b})).await.expect(201);
    assert_eq!(moved.id(), a, "a folder's id is constant");
    assert_eq!(moved.json()["parentFolderId"], b.as_str());
    tenant.post(&format!("{root}/{b}/move"), &json!({"destinationId": a})).await.expect(400);
    let inside = tenant.message(&a, &json!({})).await;
    tenant.delete(&format!("{root}/{b}")).await.expect(204);
    tenant.get(&format!("{root}/{a}")).await.refused(404, "ErrorItemNotFound");
    tenant.get(&format!("/users/{ANN}/messages/{inside}")).await.expect(404);
    assert_eq!(tenant.mock.truth().mailboxes[ANN].recoverable.len(), 1);
    tenant.delete(&format!("{root}/inbox")).await.expect(403);
    tenant.patch(&format!("{root}/drafts"), &json!({"displayName": "x"})).await.expect(403);
}

#[tokio::test(start_paused = true)]
async fn well_known_folders_are_reached_in_any_language_of_the_mailbox() {
    let tenant = Tenant::new(GraphOptions { language: Language::German, ..GraphOptions::default() }).await;
    let inbox = tenant.get(&format!("/users/{ANN}/mailFolders/inbox")).await.expect(200);
    assert_eq!(inbox.json()["displayName"], "Posteingang");
    let root = tenant.get(&format!("/users/{ANN}/mailFolders/msgfolderroot")).await.expect(200);
    assert_eq!(inbox.json()["parentFolderId"], root.id().as_str());
    let id = inbox.id();
    tenant.get(&format!("/users/{ANN}/mailFolders/{id}")).await.expect(200);
    let other_case: String = id
        .chars()
        .map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
        .collect();
    tenant.get(&format!("/users/{ANN}/mailFolders/{other_case}")).await.expect(404);
    assert_eq!(
        tenant.mock.truth().mailboxes[ANN].folders["Posteingang"].well_known.as_deref(),
        Some("inbox")
    );
}

// ---- making messages ----

#[tokio::test(start_paused = true)]
async fn what_is_made_is_a_draft_unless_the_flags_say_otherwise_at_creation() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let draft =
        tenant.post(&format!("/users/{ANN}/messages"), &json!({"subject": "x", "isDraft": false})).await;
    let draft = draft.expect(201).json();
    assert_eq!((&draft["isDraft"], &draft["isRead"]), (&json!(true), &json!(true)));
    let drafts = tenant.get(&format!("/users/{ANN}/mailFolders/drafts")).await.id();
    assert_eq!(draft["parentFolderId"], drafts.as_str());
    for (flags, is_draft, is_read) in
        [("0", false, false), ("1", false, true), ("4", false, false), ("9", true, true)]
    {
        let made = tenant
            .post(
                &format!("/users/{ANN}/mailFolders/inbox/messages"),
                &json!({"singleValueExtendedProperties": [{"id": "Integer 0x0E07", "value": flags}]}),
            )
            .await
            .expect(201)
            .json();
        assert_eq!((&made["isDraft"], &made["isRead"]), (&json!(is_draft), &json!(is_read)), "{flags}");
    }
}

#[tokio::test(start_paused = true)]
async fn dates_come_from_the_properties_never_from_the_json() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let id = tenant.message("inbox", &stamped("s1")).await;
    let made = tenant.get(&format!("/users/{ANN}/messages/{id}")).await.json();
    assert_eq!(made["receivedDateTime"], "2001-02-03T04:05:06Z");
    assert_eq!(made["sentDateTime"], "2001-02-03T04:00:00Z");
    assert_eq!(made["createdDateTime"], "2027-01-15T08:00:00Z");
    let id = tenant.message("inbox", &json!({"receivedDateTime": "2001-01-01T00:00:00Z"})).await;
    let made = tenant.get(&format!("/users/{ANN}/messages/{id}")).await.json();
    assert_eq!(made["receivedDateTime"], made["createdDateTime"], "ignored");
}

#[tokio::test(start_paused = true)]
async fn extended_properties_are_kept_and_shown_when_expanded() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let id = tenant.message("inbox", &stamped("s1")).await;
    let plain = tenant.get(&format!("/users/{ANN}/messages/{id}")).await.json();
    assert!(plain.get("singleValueExtendedProperties").is_none());
    let expand = percent_encoding::utf8_percent_encode(
        &format!("singleValueExtendedProperties($filter=id eq '{}' or id eq 'Integer 0x0E07')", stamp_id()),
        percent_encoding::NON_ALPHANUMERIC,
    )
    .to_string();
    let url = format!("/users/{ANN}/messages/{id}?$select=subject,internetMessageId&$expand={expand}");
    let shown = tenant.get(&url).await.expect(200).json();
    assert_eq!(
        shown["singleValueExtendedProperties"],
        json!([{"id": stamp_id(), "value": "s1"}, {"id": "Integer 0xe07", "value": "1"}])
    );
    assert_eq!((&shown["subject"], shown.get("body")), (&json!("Grüße"), None));
    assert_eq!(shown["internetMessageId"], "<1@example.org>");

    let tenant = Tenant::new(GraphOptions { select_expand_drops: true, ..GraphOptions::default() }).await;
    let id = tenant.message("inbox", &stamped("s1")).await;
    let url = format!("/users/{ANN}/messages/{id}?$select=subject,internetMessageId");
    assert!(tenant.get(&format!("{url}&$expand={expand}")).await.json().get("internetMessageId").is_none());
    assert!(tenant.get(&url).await.json().get("internetMessageId").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_a_message_is_refused() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let url = format!("/users/{ANN}/messages");
    for bad in [
        r#"{"subject":"a","subject":"b"}"#,
        r#"{"colour":"red"}"#,
        r#"{"Subject":"a"}"#,
        r#"{"subject":5}"#,
        r#"{"body":{"contentType":"rtf","content":"x"}}"#,
        r#"{"importance":"urgent"}"#,
        r#"{"categories":"one"}"#,
        r#"{"receivedDateTime":"yesterday"}"#,
        r#"{"toRecipients":{"emailAddress":{"address":"a@b.c"}}}"#,
        r#"{"toRecipients":[{"address":"a@b.c"}]}"#,
        r#"{"toRecipients":[{"emailAddress":{"name":"no address"}}]}"#,
        r#"{"from":{"emailAddress":{"address":""}}}"#,
        r#"{"flag":{"flagStatus":"maybe"}}"#,
        r#"{"flag":{"flagStatus":"flagged","dueDateTime":{"dateTime":"2020-01-01T00:00:00","timeZone":"UTC"}}}"#,
        r#"{"singleValueExtendedProperties":[{"id":"nonsense","value":"1"}]}"#,
        r#"{"singleValueExtendedProperties":[{"id":"Integer 0x0E07","value":"one"}]}"#,
        r#"{"singleValueExtendedProperties":[{"id":"Integer 0x0E07","value":1}]}"#,
        r#"{"attachments":[{"name":"a","contentBytes":"QQ=="}]}"#,
        r##"{"attachments":[{"@odata.type":"#microsoft.graph.fileAttachment","contentBytes":"QQ=="}]}"##,
        r##"{"attachments":[{"@odata.type":"#microsoft.graph.fileAttachment","name":"a"}]}"##,
        r##"{"attachments":[{"@odata.type":"#microsoft.graph.fileAttachment","name":"a","contentBytes":"Q!"}]}"##,
        r##"{"attachments":[{"@odata.type":"#microsoft.graph.itemAttachment","name":"a","item":{"x":1}}]}"##,
        "[]",
        "{",
        "",
    ] {
        let answer = tenant.send(Method::POST, &url, &[("content-type", "application/json")], bad).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
    assert_eq!(tenant.send(Method::POST, &url, &[("content-type", "")], "{}").await.status, 400);
    assert_eq!(tenant.send(Method::POST, &url, &[("content-type", "text/html")], "{}").await.status, 415);
    assert_eq!(tenant.mock.writes(), 0);
    assert!(tenant.mock.counters().violations.values().sum::<u64>() >= 25);
}

#[tokio::test(start_paused = true)]
async fn header_fields_must_be_few_short_and_begin_with_x() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let url = format!("/users/{ANN}/messages");
    let with = |list: Vec<(&str, String)>| {
        let list: Vec<Value> = list.iter().map(|(n, v)| json!({"name": n, "value": v})).collect();
        json!({"internetMessageHeaders": list})
    };
    let five: Vec<_> = ["X-1", "x-2", "x-3", "x-4", "x-5"].map(|n| (n, "v".to_owned())).to_vec();
    let id = tenant.post(&url, &with(five.clone())).await.expect(201).id();
    let mut six = five;
    six.push(("x-6", "v".into()));
    tenant.post(&url, &with(six)).await.refused(400, "InvalidInternetMessageHeaderCollection");
    let received = with(vec![("Received", "from x".into())]);
    tenant.post(&url, &received).await.refused(400, "InvalidInternetMessageHeader");
    tenant.post(&url, &with(vec![("x-long", "a".repeat(995))])).await.expect(201);
    tenant.post(&url, &with(vec![("x-long", "a".repeat(996))])).await.expect(400);
    let plain = tenant.get(&format!("{url}/{id}")).await.json();
    assert!(plain.get("internetMessageHeaders").is_none(), "only when selected");
    let selected = tenant.get(&format!("{url}/{id}?$select=internetMessageHeaders")).await.json();
    assert_eq!(selected["internetMessageHeaders"].as_array().unwrap().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn html_comes_back_rewritten_but_the_truth_has_what_was_sent() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let html = "<html><head></head><body>Hi <b>Bo</b></body></html>";
    let id = tenant.message("inbox", &json!({"body": {"contentType": "HTML", "content": html}})).await;
    let made = tenant.get(&format!("/users/{ANN}/messages/{id}")).await.json();
    assert_ne!(made["body"]["content"], html);
    assert!(made["body"]["content"].as_str().unwrap().contains("<meta"));
    assert_eq!(made["bodyPreview"], "Hi Bo");
    let truth = tenant.mock.truth();
    let truth = &truth.mailboxes[ANN].folders["Inbox"].messages[0];
    assert_eq!(truth.body_digest, blake3::hash(html.as_bytes()).to_hex().as_str());
    assert_eq!(truth.body_type, "html");
}

#[tokio::test(start_paused = true)]
async fn a_request_over_four_mebibytes_is_refused() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let url = format!("/users/{ANN}/messages");
    let body = |n: usize| json!({"body": {"contentType": "text", "content": "a".repeat(n)}});
    tenant.post(&url, &body((4 << 20) - 100)).await.expect(201);
    let refused = tenant.post(&url, &body(4 << 20)).await.expect(413);
    assert!(refused.body.is_empty());
}

#[tokio::test(start_paused = true)]
async fn mime_is_checked_and_always_becomes_a_draft() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let url = format!("/users/{ANN}/messages");
    let post = |body: String| {
        let (tenant, url) = (tenant.clone(), url.clone());
        async move { tenant.send(Method::POST, &url, &[("content-type", "text/plain")], body).await }
    };
    let mime = "From: A <a@example.org>\r\nTo: b@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <m@example.org>\r\n\r\nHello\r\n";
    let made = post(base64(mime)).await.expect(201).json();
    assert_eq!((&made["isDraft"], &made["isRead"]), (&json!(true), &json!(true)));
    assert_eq!((&made["subject"], &made["internetMessageId"]), (&json!("Grüße"), &json!("<m@example.org>")));
    assert_eq!(made["sentDateTime"], "2023-11-14T22:13:20Z");
    assert_eq!(made["receivedDateTime"], made["createdDateTime"]);
    let id = made["id"].as_str().unwrap();
    let octets = tenant.get(&format!("{url}/{id}/$value")).await.expect(200).body;
    assert_ne!(octets, mime, "MIME comes back made anew");
    assert!(octets.starts_with(b"From: ") && String::from_utf8_lossy(&octets).contains("<m@example.org>"));
    post("not base64!".into()).await.refused(400, "ErrorMimeContentInvalidBase64String");
    post(base64(mime.replace("\r\n", "\n"))).await.refused(400, "UnableToDeserializePostBody");
    post(String::new()).await.refused(400, "UnableToDeserializePostBody");

    let strict = Tenant::new(GraphOptions { mime_to_folder: false, ..GraphOptions::default() }).await;
    let folder = format!("/users/{ANN}/mailFolders/inbox/messages");
    let answer = strict.send(Method::POST, &folder, &[("content-type", "text/plain")], base64(mime)).await;
    answer.refused(400, "UnableToDeserializePostBody");
    let answer = strict.send(Method::POST, &url, &[("content-type", "text/plain")], base64(mime)).await;
    answer.expect(201);
}

#[tokio::test(start_paused = true)]
async fn import_mime_is_there_only_in_beta_and_with_the_permission() {
    let options = GraphOptions { import_mime: true, mail_advanced: true, ..GraphOptions::default() };
    let tenant = Tenant::new(options.clone()).await;
    let path = format!("users/{ANN}/mailFolders/inbox/importMime");
    let mime = base64("Subject: x\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n\r\nHello\r\n");
    let plain = [("content-type", "text/plain")];
    let made =
        tenant.send(Method::POST, &format!("http://graph.test/beta/{path}"), &plain, mime.clone()).await;
    assert_eq!(made.expect(201).json()["isDraft"], false);
    tenant.send(Method::POST, &format!("/{path}"), &plain, mime.clone()).await.expect(404);
    let poor = Tenant::new(GraphOptions { mail_advanced: false, ..options }).await;
    let answer = poor.send(Method::POST, &format!("http://graph.test/beta/{path}"), &plain, mime).await;
    answer.refused(403, "ErrorAccessDenied");
}

#[tokio::test(start_paused = true)]
async fn what_is_unknown_of_imported_messages_goes_both_ways() {
    const HEADER: &str = "String {00020386-0000-0000-C000-000000000046} Name x-mailwave-stamp";
    for on in [false, true] {
        let options = GraphOptions {
            import_mime: true,
            mail_advanced: true,
            import_mime_read: on,
            import_mime_keeps_date: on,
            mime_keeps_headers: on,
            patch_dates: on,
            ..GraphOptions::default()
        };
        let tenant = Tenant::new(options).await;
        let url = format!("http://graph.test/beta/users/{ANN}/mailFolders/inbox/importMime");
        let mime =
            base64("X-Mailwave-Stamp:  s/open\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n\r\nHello\r\n");
        let made = tenant.send(Method::POST, &url, &[("content-type", "text/plain")], mime).await.expect(201);
        let (id, made) = (made.id(), made.json());
        assert_eq!(made["isRead"], on);
        assert_eq!(made["receivedDateTime"] == "2023-11-14T22:13:20Z", on);
        // The field is known by its name in lower case, and its value has no blanks around it.
        let filter = format!(
            "singleValueExtendedProperties/Any(ep: ep/id eq '{HEADER}' and startswith(ep/value,'s/'))"
        );
        let filter = filter.replace(' ', "%20");
        let found = tenant.get(&format!("/users/{ANN}/messages?$filter={filter}")).await.expect(200).json();
        assert_eq!(found["value"].as_array().unwrap().len(), usize::from(on));
        let date = json!({"singleValueExtendedProperties": [{"id": "SystemTime 0x0E06", "value": "2001-01-01T00:00:00Z"}]});
        let changed = tenant.patch(&format!("/users/{ANN}/messages/{id}"), &date).await.expect(200).json();
        assert_eq!(changed["receivedDateTime"] == "2001-01-01T00:00:00Z", on);
    }
}

// ---- changing messages ----

#[tokio::test(start_paused = true)]
async fn flags_categories_and_properties_can_be_changed_and_the_draft_bit_cannot() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let draft = tenant.message("inbox", &json!({})).await;
    let url = format!("/users/{ANN}/messages/{draft}");
    let change = json!({
        "isDraft": false, "isRead": false, "categories": ["Red"], "importance": "high",
        "flag": {"flagStatus": "flagged"},
        "singleValueExtendedProperties": [
            {"id": "Integer 0x0E07", "value": "1"},
            {"id": "SystemTime 0x0E06", "value": "2001-01-01T00:00:00Z"},
            {"id": stamp_id(), "value": "s;done"},
        ],
    });
    let changed = tenant.patch(&url, &change).await.expect(200).json();
    assert_eq!(changed["isDraft"], true, "silently kept");
    assert_eq!(changed["isRead"], false);
    assert_ne!(changed["receivedDateTime"], "2001-01-01T00:00:00Z");
    assert_eq!((&changed["categories"], &changed["importance"]), (&json!(["Red"]), &json!("high")));
    assert_eq!(changed["flag"]["flagStatus"], "flagged");
    let found = tenant.get(&find(None, "ep/value eq 's;done'")).await.expect(200).json();
    assert_eq!(found["value"].as_array().unwrap().len(), 1);
    tenant.patch(&url, &json!({"attachments": []})).await.expect(200);
    tenant.patch(&url, &json!({"internetMessageHeaders": []})).await.expect(400);
    assert_eq!(tenant.mock.counters().patches, 2);
}

#[tokio::test(start_paused = true)]
async fn a_received_message_keeps_its_subject() {
    let change = json!({"subject": "new"});
    for (guard, advanced, status, subject) in
        [(false, false, 200, "Grüße"), (true, false, 403, "Grüße"), (true, true, 200, "new")]
    {
        let options =
            GraphOptions { guard_sensitive: guard, mail_advanced: advanced, ..GraphOptions::default() };
        let tenant = Tenant::new(options).await;
        let id = tenant.message("inbox", &stamped("s")).await;
        let url = format!("/users/{ANN}/messages/{id}");
        tenant.patch(&url, &change).await.expect(status);
        assert_eq!(tenant.get(&url).await.json()["subject"], subject, "{guard} {advanced}");
        let draft = tenant.message("drafts", &json!({})).await;
        tenant.patch(&format!("/users/{ANN}/messages/{draft}"), &change).await.expect(200);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outdated_change_key_is_a_conflict() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let made = tenant.post(&format!("/users/{ANN}/messages"), &json!({})).await.expect(201);
    let (url, tag) = (format!("/users/{ANN}/messages/{}", made.id()), made.json()["@odata.etag"].clone());
    let headers = [("content-type", "application/json"), ("if-match", tag.as_str().unwrap())];
    tenant.send(Method::PATCH, &url, &headers, r#"{"isRead":false}"#).await.expect(200);
    let late = tenant.send(Method::PATCH, &url, &headers, r#"{"isRead":true}"#).await;
    late.refused(412, "ErrorIrresolvableConflict");
}

#[tokio::test(start_paused = true)]
async fn a_move_changes_the_id_but_not_the_immutable_one() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let id = tenant.message("inbox", &stamped("s")).await;
    let immutable = [("prefer", "IdType=\"ImmutableId\"")];
    let url = format!("/users/{ANN}/messages/{id}");
    let steady = tenant.send(Method::GET, &url, &immutable, "").await.id();
    assert_eq!((id.len(), steady.len()), (152, 72));
    let moved = tenant.post(&format!("{url}/move"), &json!({"destinationId": "archive"})).await.expect(201);
    assert_ne!(moved.id(), id);
    tenant.get(&url).await.refused(404, "ErrorItemNotFound");
    tenant.get(&format!("/users/{ANN}/messages/{}", moved.id())).await.expect(200);
    let url = format!("/users/{ANN}/messages/{steady}");
    let again = tenant
        .send(
            Method::POST,
            &format!("{url}/move"),
            &[immutable[0], ("content-type", "application/json")],
            r#"{"destinationId":"inbox"}"#,
        )
        .await
        .expect(201);
    assert_eq!(again.id(), steady);
    assert!(tenant.mock.truth().mailboxes[ANN].folders["Archive"].messages.is_empty());
    tenant.post(&format!("{url}/move"), &json!({"destinationId": "nowhere"})).await.expect(404);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_message_is_recoverable_and_not_found() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let id = tenant.message("inbox", &stamped("s")).await;
    tenant.delete(&format!("/users/{ANN}/messages/{id}")).await.expect(204);
    tenant.delete(&format!("/users/{ANN}/messages/{id}")).await.expect(404);
    let found = tenant.get(&find(None, "ep/value eq 's'")).await.expect(200).json();
    assert_eq!(found["value"], json!([]));
    let truth = tenant.mock.truth();
    assert_eq!(truth.mailboxes[ANN].recoverable[0].named[&stamp_id()], "s");
    let deletions = format!("/users/{ANN}/mailFolders/recoverableitemsdeletions/messages");
    assert_eq!(tenant.get(&deletions).await.json()["value"].as_array().unwrap().len(), 1);
}

// ---- finding messages ----

#[tokio::test(start_paused = true)]
async fn messages_are_found_by_the_beginning_of_a_property_in_the_mailbox_or_one_folder() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    for stamp in ["mw1:a:1", "mw1:a:2", "mw1:b:1"] {
        tenant.message("inbox", &stamped(stamp)).await;
    }
    tenant.message("archive", &stamped("mw1:a:3")).await;
    let count = |url: String| {
        let tenant = tenant.clone();
        async move { tenant.get(&url).await.expect(200).json()["value"].as_array().unwrap().len() }
    };
    assert_eq!(count(find(None, "startswith(ep/value,'mw1:a:')")).await, 3);
    assert_eq!(count(find(Some("inbox"), "startswith(ep/value,'mw1:a:')")).await, 2);
    assert_eq!(count(find(None, "ep/value eq 'mw1:b:1'")).await, 1);
    assert_eq!(count(find(None, "startswith(ep/value,'MW1')")).await, 0, "case counts");
    assert_eq!(count(find(None, "ep/value ne null")).await, 4);
    assert_eq!(count(find(None, "contains(ep/value,':a:')")).await, 3);
    tenant.get(&find(None, "endswith(ep/value,'1')")).await.expect(400);
    tenant.get(&format!("/users/{ANN}/messages?$filter=bodyPreview%20eq%20'x'")).await.expect(400);
    let other = find(None, "ep/value ne null").replace("Stamp", "stamp");
    assert_eq!(count(other).await, 0, "the name's case counts");
}

#[tokio::test(start_paused = true)]
async fn a_new_message_is_filterable_only_after_the_tenants_delay() {
    let tenant = Tenant::new(GraphOptions { filter_delay_ms: 5000, ..GraphOptions::default() }).await;
    tenant.message("inbox", &stamped("s")).await;
    let url = find(None, "ep/value eq 's'");
    assert_eq!(tenant.get(&url).await.json()["value"], json!([]));
    let all = tenant.get(&format!("/users/{ANN}/mailFolders/inbox/messages")).await.json();
    assert_eq!(all["value"].as_array().unwrap().len(), 1, "listed at once");
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(tenant.get(&url).await.json()["value"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn messages_come_in_pages_that_arrivals_do_not_shift() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    for n in 0..25 {
        tenant.message("inbox", &json!({"subject": format!("{n}")})).await;
    }
    let url = format!("/users/{ANN}/mailFolders/inbox/messages?$select=subject&$count=true");
    let page = tenant.get(&url).await.expect(200).json();
    assert_eq!(page["@odata.count"], 25);
    assert_eq!(page["value"].as_array().unwrap().len(), 10);
    let first = page["value"][0]["id"].as_str().unwrap();
    tenant.delete(&format!("/users/{ANN}/messages/{first}")).await.expect(204);
    let next = page["@odata.nextLink"].as_str().unwrap();
    let page = tenant.get(next).await.expect(200).json();
    assert_eq!(page["value"][0]["subject"], "10");
    let keys: Vec<&String> = page["value"][0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["@odata.etag", "id", "subject"]);
    for bad in ["$top=1001", "$top=0", "$search=x", "top=5", "$skiptoken=10", "$select=colour", "$expand=x"] {
        let answer = tenant.get(&format!("/users/{ANN}/messages?{bad}")).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_paths_and_wrong_methods_are_refused() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let id = tenant.message("inbox", &json!({})).await;
    for path in [
        "/nonsense".to_owned(),
        format!("/users/{ANN}/nonsense"),
        format!("/users/{ANN}/mailFolders/inbox/nonsense"),
        format!("/users/{ANN}/messages/{id}/nonsense"),
        format!("/users/{ANN}/mailFolders/nowhere"),
    ] {
        assert_eq!(tenant.get(&path).await.status, 404, "{path}");
    }
    tenant.get("http://graph.test/v3.0/users").await.expect(404);
    tenant.get("/me/messages").await.expect(400);
    tenant.get(&format!("/users/{ANN}/messages/AAMk")).await.refused(400, "ErrorInvalidIdMalformed");
    for (method, path) in [
        (Method::PUT, format!("/users/{ANN}/messages/{id}")),
        (Method::DELETE, format!("/users/{ANN}/messages")),
        (Method::GET, format!("/users/{ANN}/messages/{id}/move")),
        (Method::POST, format!("/users/{ANN}/mailFolders/inbox")),
    ] {
        assert_eq!(tenant.send(method.clone(), &path, &[], "").await.status, 405, "{method} {path}");
    }
    let wrong_folder = format!("/users/{ANN}/mailFolders/archive/messages/{id}");
    tenant.get(&wrong_folder).await.refused(404, "ErrorItemNotFound");
}

// ---- attachments ----

fn file(name: &str, octets: &[u8]) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.fileAttachment",
        "name": name, "contentType": "application/pdf", "isInline": true, "contentId": "c1",
        "contentBytes": base64(octets),
    })
}

#[tokio::test(start_paused = true)]
async fn attachments_are_added_to_any_message_and_read_back() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let mut message = stamped("s");
    let item = json!({
        "@odata.type": "#microsoft.graph.itemAttachment", "name": "inner",
        "item": {"@odata.type": "#microsoft.graph.message", "subject": "Inner"},
    });
    message["attachments"] = json!([file("a.pdf", b"one"), item]);
    let id = tenant.message("inbox", &message).await;
    let url = format!("/users/{ANN}/messages/{id}/attachments");
    let added = tenant.post(&url, &file("b.pdf", b"second")).await.expect(201).id();
    let list = tenant.get(&url).await.expect(200).json();
    let names: Vec<&str> =
        list["value"].as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a.pdf", "inner", "b.pdf"]);
    assert_eq!(list["value"][0]["contentBytes"], base64(b"one"));
    assert_eq!(tenant.get(&format!("{url}/{added}/$value")).await.expect(200).body, "second");
    let one = tenant.get(&format!("{url}/{added}?$select=id,name,size")).await.expect(200).json();
    assert!(one.get("contentBytes").is_none());
    assert_ne!(one["size"], 6, "the size told is not the decoded length");
    let truth = tenant.mock.truth();
    let truth = &truth.mailboxes[ANN].folders["Inbox"].messages[0];
    assert_eq!(truth.attachments[2].digest, blake3::hash(b"second").to_hex().as_str());
    assert_eq!((truth.attachments[1].kind.as_str(), truth.attachments[2].size), ("item", 6));
    tenant.delete(&format!("{url}/{added}")).await.expect(204);
    tenant.get(&format!("{url}/{added}")).await.expect(404);
    // Just over 3 MiB decoded still fits a request, but is too large for this way.
    let big = vec![7; (3 << 20) + 1];
    let roomy =
        GraphOptions { sizes: Sizes { request: 8 << 20, ..Sizes::default() }, ..GraphOptions::default() };
    let tenant = Tenant::new(roomy).await;
    let id = tenant.message("inbox", &json!({})).await;
    let url = format!("/users/{ANN}/messages/{id}/attachments");
    tenant.post(&url, &file("big", &big)).await.refused(413, "ErrorAttachmentSizeLimitExceeded");
    tenant.post(&url, &file("fits", &big[1..])).await.expect(201);
}

#[tokio::test(start_paused = true)]
async fn a_large_attachment_goes_by_an_upload_session_in_order() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let id = tenant.message("inbox", &stamped("s;open")).await;
    let octets: Vec<u8> = (0..5_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
    let item = |kind: &str, size: usize| json!({"AttachmentItem": {"attachmentType": kind, "name": "big.bin", "size": size, "contentType": "application/zip"}});
    let open = format!("/users/{ANN}/messages/{id}/attachments/createUploadSession");
    tenant.post(&open, &item("file", 1000)).await.expect(400);
    tenant.post(&open, &item("item", octets.len())).await.expect(400);
    tenant.post(&open, &item("file", 151 << 20)).await.expect(413);
    let session = tenant.post(&open, &item("file", octets.len())).await.expect(201).json();
    assert_eq!(session["nextExpectedRanges"], json!(["0-"]));
    let url = session["uploadUrl"].as_str().unwrap().to_owned();
    assert!(!url.contains("/v1.0/"));
    let put = |from: usize, to: usize, total: usize| {
        let (tenant, url) = (tenant.clone(), url.clone());
        let body = Bytes::copy_from_slice(&octets[from..to]);
        async move {
            let range = format!("bytes {from}-{}/{total}", to - 1);
            tenant.send(Method::PUT, &url, &[("authorization", ""), ("content-range", &range)], body).await
        }
    };
    let n = octets.len();
    put(327_680, 655_360, n).await.expect(416);
    put(0, 327_680, n + 1).await.expect(416);
    put(0, 4_194_305, n).await.expect(413);
    let range = format!("bytes 0-9/{n}");
    let answer = tenant.send(Method::PUT, &url, &[("content-range", &range)], "0123456789").await;
    answer.expect(401);
    let answer =
        tenant.send(Method::PUT, &url, &[("authorization", ""), ("content-range", &range)], "123").await;
    answer.expect(400);
    let next = put(0, 3_276_800, n).await.expect(200).json();
    assert_eq!(next["nextExpectedRanges"], json!(["3276800"]));
    put(0, 3_276_800, n).await.expect(416);
    let status = tenant.send(Method::GET, &url, &[("authorization", "")], "").await.expect(200).json();
    assert_eq!(status["nextExpectedRanges"], json!(["3276800"]));
    assert!(tenant.mock.truth().mailboxes[ANN].folders["Inbox"].messages[0].attachments.is_empty());
    let done = put(3_276_800, n, n).await.expect(201);
    assert!(done.headers["location"].to_str().unwrap().contains("/Attachments('"));
    assert!(done.body.is_empty());
    put(3_276_800, n, n).await.expect(404);
    let truth = tenant.mock.truth();
    let attachment = &truth.mailboxes[ANN].folders["Inbox"].messages[0].attachments[0];
    assert_eq!(attachment.digest, blake3::hash(&octets).to_hex().as_str());
}

#[tokio::test(start_paused = true)]
async fn an_upload_session_expires_and_dies_with_its_message() {
    let options = GraphOptions {
        sizes: Sizes { upload_seconds: 60, upload_min: 1, ..Sizes::default() },
        ..GraphOptions::default()
    };
    let tenant = Tenant::new(options).await;
    let item = json!({"AttachmentItem": {"attachmentType": "file", "name": "a", "size": 3}});
    for expire in [true, false] {
        let id = tenant.message("inbox", &json!({})).await;
        let open = format!("/users/{ANN}/messages/{id}/attachments/createUploadSession");
        let url =
            tenant.post(&open, &item).await.expect(201).json()["uploadUrl"].as_str().unwrap().to_owned();
        if expire {
            tokio::time::advance(Duration::from_secs(61)).await;
        } else {
            tenant.delete(&format!("/users/{ANN}/messages/{id}")).await.expect(204);
        }
        let headers = [("authorization", ""), ("content-range", "bytes 0-2/3")];
        tenant.send(Method::PUT, &url, &headers, "abc").await.expect(404);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_a_mailbox_and_a_folder_can_be_full() {
    let sizes =
        Sizes { message: 10_000, mailbox: 12_000, folder_messages: 2, upload_min: 1, ..Sizes::default() };
    let tenant = Tenant::new(GraphOptions { sizes, ..GraphOptions::default() }).await;
    let sized = |n: usize| json!({"body": {"contentType": "text", "content": "a".repeat(n)}});
    let url = format!("/users/{ANN}/messages");
    tenant.post(&url, &sized(20_000)).await.refused(413, "ErrorMessageSizeExceeded");
    let id = tenant.post(&url, &sized(8000)).await.expect(201).id();
    tenant.post(&url, &sized(8000)).await.refused(507, "ErrorQuotaExceeded");
    let attach = format!("{url}/{id}/attachments");
    tenant.post(&attach, &file("a", &[1; 5000])).await.refused(413, "ErrorMessageSizeExceeded");
    tenant.post(&url, &sized(1)).await.expect(201);
    tenant.post(&url, &sized(1)).await.refused(507, "ErrorQuotaExceeded");
}

// ---- limits ----

#[tokio::test(start_paused = true)]
async fn requests_are_limited_in_a_sliding_window_and_refused_ones_count() {
    let limits = Limits { requests: 5, window_seconds: 10, ..Limits::default() };
    let tenant = Tenant::new(GraphOptions { limits, ..GraphOptions::default() }).await;
    let url = format!("/users/{ANN}/mailFolders/inbox");
    for _ in 0..5 {
        tenant.get(&url).await.expect(200);
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let refused = tenant.get(&url).await;
    assert_eq!(refused.retry_after(), Some(6));
    refused.refused(429, "ApplicationThrottled");
    tenant.get("/users/bo@example.org/mailFolders/inbox").await.expect(200);
    tokio::time::advance(Duration::from_secs(2)).await;
    tenant.get(&url).await.expect(429);
    assert_eq!(tenant.mock.counters().violations["asked again before Retry-After had passed"], 1);
    tokio::time::advance(Duration::from_secs(10)).await;
    tenant.get(&url).await.expect(200);
    assert_eq!(tenant.mock.counters().throttled, 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_may_lack_retry_after() {
    let limits = Limits { requests: 0, retry_after: RetryAfter::Absent, ..Limits::default() };
    let tenant = Tenant::new(GraphOptions { limits, ..GraphOptions::default() }).await;
    let refused = tenant.get(&format!("/users/{ANN}/mailFolders")).await.expect(429);
    assert_eq!(refused.retry_after(), None);
}

#[tokio::test(start_paused = true)]
async fn uploads_are_limited_by_the_octets_of_their_bodies() {
    let limits = Limits { upload_bytes: 1000, upload_window_seconds: 10, ..Limits::default() };
    let tenant = Tenant::new(GraphOptions { limits, ..GraphOptions::default() }).await;
    let url = format!("/users/{ANN}/messages");
    let sized = json!({"subject": "a".repeat(600)});
    tenant.post(&url, &sized).await.expect(201);
    tenant.post(&url, &sized).await.refused(429, "ApplicationThrottled");
    tenant.get(&url).await.expect(200);
    tokio::time::advance(Duration::from_secs(11)).await;
    tenant.post(&url, &sized).await.expect(201);
}

#[tokio::test(start_paused = true)]
async fn five_at_once_in_one_mailbox_is_one_too_many() {
    let options =
        GraphOptions { latency: Latency { base_ms: 100, ..Latency::default() }, ..GraphOptions::default() };
    let tenant = Tenant::new(options).await;
    let url = format!("/users/{ANN}/mailFolders/inbox");
    let statuses = futures_util::future::join_all((0..6).map(|_| tenant.get(&url))).await;
    let mut statuses: Vec<u16> = statuses.iter().map(|a| a.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429]);
    assert_eq!(tenant.mock.counters().peak_in_flight, 4);
    tenant.get(&url).await.expect(200);
}

// ---- batches ----

#[tokio::test(start_paused = true)]
async fn a_batch_answers_each_part_and_a_throttled_part_hides_in_a_200() {
    let limits = Limits { requests: 3, ..Limits::default() };
    let tenant = Tenant::new(GraphOptions { limits, ..GraphOptions::default() }).await;
    let part =
        |id: &str| json!({"id": id, "method": "GET", "url": format!("/users/{ANN}/mailFolders/inbox")});
    let four = ["1", "2", "3", "4"].map(part);
    let batch = tenant.post("/$batch", &json!({ "requests": four })).await.expect(200);
    let responses = batch.json()["responses"].as_array().unwrap().clone();
    let status = |id: &str| responses.iter().find(|r| r["id"] == id).unwrap()["status"].as_u64().unwrap();
    assert_eq!(["1", "2", "3", "4"].map(status), [200, 200, 200, 429]);
    let throttled = responses.iter().find(|r| r["status"] == 429).unwrap();
    assert!(throttled["headers"]["Retry-After"].is_string());
    assert_eq!(throttled["body"]["error"]["code"], "ApplicationThrottled");
    for bad in [
        json!({"requests": [part("1"), part("1")]}),
        json!({"requests": (0..21).map(|n| part(&n.to_string())).collect::<Vec<_>>()}),
        json!({"requests": []}),
        json!({}),
    ] {
        tenant.post("/$batch", &bad).await.expect(400);
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_whose_dependency_failed_is_not_tried() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let create = |id: &str, name: &str, depends: &[&str]| {
        json!({
            "id": id, "method": "POST", "url": format!("/users/{ANN}/mailFolders"), "dependsOn": depends,
            "headers": {"Content-Type": "application/json"}, "body": {"displayName": name},
        })
    };
    let batch = json!({"requests": [create("a", "New", &[]), create("b", "new", &["a"]), create("c", "Third", &["b"])]});
    let answer = tenant.post("/$batch", &batch).await.expect(200).json();
    let statuses: Vec<u64> =
        answer["responses"].as_array().unwrap().iter().map(|r| r["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 409, 424]);
}

// ---- faults ----

#[tokio::test(start_paused = true)]
async fn every_kind_of_fault_fires_and_is_counted() {
    let faults = vec![
        Fault::Status { status: 503, retry_after: Some(7) },
        Fault::DoneBut { status: 504, retry_after: None },
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::LateCommit { after_ms: 30_000, gateway_timeout: true },
        Fault::LateCommit { after_ms: 30_000, gateway_timeout: false },
        Fault::EmptyBody,
        Fault::HtmlBody,
        Fault::Lost,
        Fault::Slow { ms: 9000 },
        Fault::Truncated { keep: 10 },
    ];
    let tenant = Tenant::new(GraphOptions::default()).await;
    let rules = faults.iter().zip(1..).map(|(f, n)| ("POST", "/messages", When::Nth(vec![n]), f.clone()));
    tenant.mock.faults(script(rules.collect()));
    let url = format!("/users/{ANN}/mailFolders/inbox/messages");
    let count = || tenant.mock.truth().mailboxes[ANN].folders["Inbox"].messages.len();
    let mut expected = 0;
    for fault in &faults {
        let before = tokio::time::Instant::now();
        let headers = [("content-type", "application/json")];
        let wire = tenant.wire(Method::POST, &url, &headers, stamped("s").to_string()).await;
        let done = match fault {
            Fault::Status { .. } => {
                let answer = answered(wire);
                assert_eq!((answer.status, answer.retry_after()), (503, Some(7)));
                false
            }
            Fault::DoneBut { .. } => {
                assert_eq!(answered(wire).status, 504);
                true
            }
            Fault::ResetBefore => {
                assert!(matches!(wire, Wire::NeverArrived));
                false
            }
            Fault::ResetAfter => {
                assert!(matches!(wire, Wire::NoAnswer));
                true
            }
            Fault::LateCommit { gateway_timeout, .. } => {
                if *gateway_timeout {
                    assert_eq!(answered(wire).status, 504);
                } else {
                    assert!(matches!(wire, Wire::NoAnswer));
                }
                assert_eq!(count(), expected, "not yet");
                assert_eq!(tenant.mock.truth().pending, 1);
                tokio::time::advance(Duration::from_secs(31)).await;
                true
            }
            Fault::EmptyBody => {
                let answer = answered(wire).expect(201);
                assert!(answer.body.is_empty());
                true
            }
            Fault::HtmlBody => {
                assert!(answered(wire).expect(201).body.starts_with(b"<!DOCTYPE"));
                true
            }
            Fault::Lost => {
                answered(wire).expect(201).id();
                false
            }
            Fault::Slow { .. } => {
                assert!(before.elapsed() >= Duration::from_secs(9));
                answered(wire).expect(201);
                true
            }
            Fault::Truncated { keep } => {
                assert_eq!(answered(wire).expect(201).body.len(), *keep);
                true
            }
            other => unreachable!("`more_faults` has the others: {other:?}"),
        };
        expected += usize::from(done);
        assert_eq!(count(), expected, "{fault:?}");
    }
    assert!(tenant.mock.fault_counts().values().all(|n| *n >= 1), "{:?}", tenant.mock.fault_counts());
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_caller_vanished_is_acted_on_when_its_time_has_come() {
    for (commit, made) in [(true, 1), (false, 0)] {
        let options = GraphOptions {
            latency: Latency { base_ms: 1000, ..Latency::default() },
            commit_abandoned: commit,
            ..GraphOptions::default()
        };
        let tenant = Tenant::new(options).await;
        let url = format!("/users/{ANN}/messages");
        let body = json!({"subject": "x"});
        let call = tenant.post(&url, &body);
        assert!(tokio::time::timeout(Duration::from_millis(500), call).await.is_err());
        assert_eq!(tenant.mock.counters().creates, 0);
        tokio::time::advance(Duration::from_millis(600)).await;
        assert_eq!(tenant.mock.truth().mailboxes[ANN].folders["Drafts"].messages.len(), made);
        // Its place among the requests at once was given back.
        let calls = futures_util::future::join_all((0..4).map(|_| tenant.get(&url))).await;
        assert!(calls.iter().all(|a| a.status == 200));
    }
}

#[tokio::test(start_paused = true)]
async fn at_a_freeze_what_was_sent_is_committed_or_forgotten() {
    for commit in [true, false] {
        let tenant = Tenant::new(GraphOptions::default()).await;
        let fault = Fault::LateCommit { after_ms: 3_600_000, gateway_timeout: true };
        tenant.mock.faults(script(vec![("POST", "", When::Always, fault)]));
        tenant.post(&format!("/users/{ANN}/messages"), &json!({})).await.expect(504);
        let acts = if commit { tenant.mock.freeze_later_commits() } else { tenant.mock.forget_pending() };
        assert_eq!((acts, tenant.mock.truth().pending), (1, 0));
        assert_eq!(tenant.mock.counters().creates, u64::from(commit));
    }
}

// ---- state ----

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_ids_and_a_deleted_state_others() {
    let a = Tenant::new(GraphOptions::default()).await;
    let b = Tenant::new(GraphOptions::default()).await;
    assert_eq!(a.message("inbox", &json!({})).await, b.message("inbox", &json!({})).await);

    let dir = tempfile::tempdir().unwrap();
    let inbox = |t: &Tenant| {
        let t = t.clone();
        async move { t.get(&format!("/users/{ANN}/mailFolders/inbox")).await.expect(200).id() }
    };
    let open = || GraphMock::open(dir.path(), GraphOptions::default(), world()).unwrap();
    let first = Tenant::of(open()).await;
    let id = inbox(&first).await;
    first.mock.save().unwrap();
    let second = Tenant::of(open()).await;
    assert_eq!(inbox(&second).await, id);
    std::fs::remove_file(dir.path().join("state.json")).unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    let world_later: Arc<dyn World> =
        Arc::new(Paused { start: tokio::time::Instant::now() - Duration::from_secs(9) });
    let third = Tenant::of(GraphMock::open(dir.path(), GraphOptions::default(), world_later).unwrap()).await;
    assert_ne!(inbox(&third).await, id);
}

#[tokio::test(start_paused = true)]
async fn a_saved_state_comes_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let options = GraphOptions { save_every: 3, ..GraphOptions::default() };
    let tenant = Tenant::of(GraphMock::open(dir.path(), options.clone(), world()).unwrap()).await;
    let mut message = stamped("mw1:x");
    message["attachments"] = json!([file("a.pdf", b"one")]);
    let id = tenant.message("inbox", &message).await;
    tenant.get(&format!("/users/{ANN}/messages/{id}")).await.expect(200);
    assert!(dir.path().join("state.json").exists(), "saved after three requests");
    tenant.post(&format!("/users/{ANN}/mailFolders"), &json!({"displayName": "a/b"})).await.expect(201);
    tenant.message("archive", &stamped("mw1:y")).await;
    tenant.mock.save().unwrap();
    let before = tenant.mock.truth();
    assert!(before.mailboxes[ANN].folders.contains_key("a\\/b"));

    let again = Tenant::of(GraphMock::open(dir.path(), options.clone(), world()).unwrap()).await;
    assert_eq!(again.mock.truth().mailboxes, before.mailboxes);
    assert_eq!(again.mock.writes(), tenant.mock.writes());
    let found = again.get(&find(None, "startswith(ep/value,'mw1:')")).await.expect(200).json();
    assert_eq!(found["value"].as_array().unwrap().len(), 2);
    let list = again.get(&format!("/users/{ANN}/messages/{id}/attachments")).await.json();
    assert_eq!(list["value"][0]["contentBytes"], base64(b"one"));

    std::fs::write(dir.path().join("state.json"), "{").unwrap();
    assert!(GraphMock::open(dir.path(), options, world()).is_err());
}

#[tokio::test(start_paused = true)]
async fn content_need_not_be_kept_for_the_truth_to_know_its_digest() {
    let tenant = Tenant::new(GraphOptions { keep_content: false, ..GraphOptions::default() }).await;
    let mut message = stamped("s");
    message["attachments"] = json!([file("a.pdf", b"one")]);
    let id = tenant.message("inbox", &message).await;
    let truth = tenant.mock.truth();
    let truth = &truth.mailboxes[ANN].folders["Inbox"].messages[0];
    assert_eq!(truth.body_digest, blake3::hash(b"Hello").to_hex().as_str());
    assert_eq!(truth.attachments[0].digest, blake3::hash(b"one").to_hex().as_str());
    assert_eq!(tenant.get(&format!("/users/{ANN}/messages/{id}")).await.json()["body"]["content"], "");
}

#[tokio::test(start_paused = true)]
async fn hostile_requests_are_answered_not_panicked_at() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let seed = 11;
    println!("seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let pieces = [
        "/users/",
        ANN,
        "/messages",
        "/mailFolders",
        "/inbox",
        "/attachments",
        "/$value",
        "/move",
        "%00",
        "%ff",
        "%2F",
        "('",
        "')",
        "?$filter=",
        "$top=",
        "&",
        "=",
        "'",
        "(",
        "singleValueExtendedProperties/Any(ep:",
        "%20eq%20",
        "null",
        "$skiptoken=RFNwdAIAAQAAAC",
        "$expand=singleValueExtendedProperties($filter=id%20eq%20'",
        "%F0%9F%92%A9",
        "//",
    ];
    let methods = [Method::GET, Method::POST, Method::PATCH, Method::DELETE, Method::PUT];
    for _ in 0..3000 {
        let path: String = (0..dice.usize(1..9)).map(|_| pieces[dice.usize(..pieces.len())]).collect();
        let url = format!("http://graph.test/v1.0/{path}");
        if url.parse::<http::Uri>().is_err() {
            continue;
        }
        let method = methods[dice.usize(..methods.len())].clone();
        let body: Vec<u8> = match dice.u8(..3) {
            0 => Vec::new(),
            1 => (0..dice.usize(..40)).map(|_| dice.u8(..)).collect(),
            _ => br#"{"destinationId":"inbox","requests":[{"id":"1"}]}"#.to_vec(),
        };
        let answer = tenant.send(method.clone(), &url, &[("content-type", "application/json")], body).await;
        assert!((200..500).contains(&answer.status), "{method} {url}: {}", answer.status);
    }
}

// ---- real TCP ----

async fn served(options: ServeOptions) -> (server::ServerHandle, reqwest::Client) {
    let mut builder = reqwest::Client::builder().no_proxy();
    let pem = options.tls.clone();
    let handle = server::run_graph(options).await.unwrap();
    if let Some(pem) = pem {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(pem).unwrap()).unwrap();
        builder = builder.tls_certs_only([ca]);
    }
    (handle, builder.build().unwrap())
}

async fn tcp_token(base: &str, client: &reqwest::Client) -> String {
    let form = "grant_type=client_credentials&client_id=app&client_secret=secret&scope=x/.default";
    let answer = client
        .post(format!("{base}/tenant/oauth2/v2.0/token"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap();
    let json: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    json["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn over_tcp_next_links_and_the_truth_port_work_and_a_stop_saves() {
    let dir = tempfile::tempdir().unwrap();
    let options = ServeOptions {
        state: Some(dir.path().to_owned()),
        truth: Some(([127, 0, 0, 1], 0).into()),
        truth_token: Some("open sesame".into()),
        ..ServeOptions::default()
    };
    let (handle, client) = served(options.clone()).await;
    let base = handle.base_url();
    let token = tcp_token(&base, &client).await;
    let get = |url: String| client.get(url).bearer_auth(&token).send();
    let page =
        get(format!("{base}/v1.0/users/{ANN}/mailFolders?$top=3")).await.unwrap().bytes().await.unwrap();
    let page: Value = serde_json::from_slice(&page).unwrap();
    let next = page["@odata.nextLink"].as_str().unwrap().to_owned();
    assert!(next.starts_with(&base), "{next}");
    assert_eq!(get(next).await.unwrap().status(), 200);

    let truth = format!("http://{}", handle.truth_addr().unwrap());
    assert_eq!(client.get(format!("{truth}/truth")).send().await.unwrap().status(), 401);
    let told = client.get(format!("{truth}/truth")).bearer_auth("open sesame").send().await.unwrap();
    let told: mailwave::mock::graph::Truth = serde_json::from_slice(&told.bytes().await.unwrap()).unwrap();
    assert_eq!(told, handle.mock().truth());
    let faults = json!({"rules": [{"name": "busy", "when": "Always", "fault": {"Status": {"status": 503, "retry_after": 2}}}]});
    let post = |path: &str, body: String| {
        client.post(format!("{truth}{path}")).bearer_auth("open sesame").body(body).send()
    };
    assert_eq!(post("/faults", faults.to_string()).await.unwrap().status(), 204);
    assert_eq!(post("/faults", "{".into()).await.unwrap().status(), 400);
    let busy = get(format!("{base}/v1.0/users/{ANN}/mailFolders")).await.unwrap();
    assert_eq!((busy.status().as_u16(), busy.headers()["retry-after"].to_str().unwrap()), (503, "2"));
    let fired = client.get(format!("{truth}/faults")).bearer_auth("open sesame").send().await.unwrap();
    assert_eq!(fired.bytes().await.unwrap(), r#"{"busy":1}"#);
    let before = handle.mock().truth();
    handle.stop().await.unwrap();
    assert!(client.get(&base).send().await.is_err(), "the port is closed");
    let (again, _) = served(options).await;
    assert_eq!(again.mock().truth().mailboxes, before.mailboxes);
}

#[tokio::test]
async fn over_tls_the_written_authority_is_enough_to_trust_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let options = ServeOptions { tls: Some(dir.path().join("ca.pem")), ..ServeOptions::default() };
    let (handle, client) = served(options).await;
    let base = handle.base_url();
    assert!(base.starts_with("https://localhost:"));
    let token = tcp_token(&base, &client).await;
    let answer = client.get(format!("{base}/v1.0/users/{ANN}/mailFolders?$top=1")).bearer_auth(&token).send();
    let answer: Value = serde_json::from_slice(&answer.await.unwrap().bytes().await.unwrap()).unwrap();
    assert!(answer["@odata.nextLink"].as_str().unwrap().starts_with(&base));
    let stranger = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(stranger.get(&base).send().await.is_err());
    handle.stop().await.unwrap();
}

#[tokio::test]
async fn over_tcp_a_reset_and_a_broken_off_answer_are_errors_and_the_act_is_done() {
    let (handle, client) = served(ServeOptions::default()).await;
    let base = handle.base_url();
    let token = tcp_token(&base, &client).await;
    handle.mock().faults(script(vec![
        ("POST", "/messages", When::Nth(vec![1]), Fault::ResetAfter),
        ("POST", "/messages", When::Nth(vec![2]), Fault::Truncated { keep: 20 }),
        ("POST", "/messages", When::Nth(vec![3]), Fault::ResetBefore),
    ]));
    let post = || {
        client
            .post(format!("{base}/v1.0/users/{ANN}/messages"))
            .bearer_auth(&token)
            .header("content-type", "application/json")
            .body("{}")
            .send()
    };
    assert!(post().await.is_err());
    let cut = post().await.expect("the head arrives");
    assert_eq!(cut.status(), 201);
    assert!(cut.bytes().await.is_err(), "the body breaks off");
    assert!(post().await.is_err());
    assert_eq!(post().await.unwrap().status(), 201);
    assert_eq!(handle.mock().counters().creates, 3);
    assert_eq!(handle.mock().fault_counts().values().sum::<u64>(), 3);
    handle.stop().await.unwrap();
}

#[tokio::test]
async fn over_tcp_a_request_is_acted_on_though_its_client_went_away() {
    let graph =
        GraphOptions { latency: Latency { base_ms: 300, ..Latency::default() }, ..GraphOptions::default() };
    let (handle, client) = served(ServeOptions { graph, ..ServeOptions::default() }).await;
    let base = handle.base_url();
    let token = tcp_token(&base, &client).await;
    let post = client
        .post(format!("{base}/v1.0/users/{ANN}/messages"))
        .bearer_auth(&token)
        .header("content-type", "application/json")
        .body("{}");
    let sent = tokio::spawn(post.send());
    while handle.mock().counters().requests < 2 {
        tokio::task::yield_now().await;
    }
    sent.abort();
    while handle.mock().counters().creates == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    handle.stop().await.unwrap();
}

//! Faults one by one, as scripts in JSON have them; windows of both kinds and the scale of time, through `handle`.

use mailwave::mock::graph::{Latency, Limits, RetryAfter, Windows};

use super::tcp::tcp_token;
use super::*;

/// A script as an operator writes it.
fn json_script(rules: Value) -> FaultScript {
    serde_json::from_value(json!({"rules": rules})).expect("a script")
}

fn rule(method: &str, path: &str, nth: &[u64], fault: Value) -> Value {
    json!({"name": "f", "method": method, "path": path, "when": {"Nth": nth}, "fault": fault})
}

#[tokio::test(start_paused = true)]
async fn a_scripted_answer_has_any_status_code_and_retry_after() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let url = format!("/users/{ANN}/mailFolders/inbox/messages");
    for (status, code, wait) in [
        (429, "ApplicationThrottled", None),
        (429, "activityLimitReached", Some("86400")),
        (429, "ApplicationThrottled", Some("-3")),
        (429, "ApplicationThrottled", Some("Fri, 15 Jan 2027 08:01:00 GMT")),
        (503, "ErrorServerBusy", Some("soon")),
        (504, "UnknownError", None),
        (509, "BandwidthLimitExceeded", None),
        (500, "ErrorInternalServerError", None),
        (507, "ErrorQuotaExceeded", None),
        (410, "resyncRequired", None),
    ] {
        for done in [false, true] {
            let before = tenant.mock.counters().creates;
            let fault =
                json!({"Answer": {"status": status, "code": code, "retry_after": wait, "done": done}});
            tenant.mock.faults(json_script(json!([rule("POST", "/messages", &[1], fault)])));
            let answer = tenant.post(&url, &json!({})).await.refused(status, code);
            assert_eq!(answer.headers.get("retry-after").map(|v| v.to_str().unwrap()), wait);
            assert_eq!(tenant.mock.counters().creates - before, u64::from(done), "{status} {done}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_code_a_scripted_status_has_the_services() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let fault = json!({"Answer": {"status": 509}});
    tenant.mock.faults(json_script(json!([rule("GET", "", &[1], fault)])));
    tenant.get(&format!("/users/{ANN}/mailFolders")).await.refused(509, "BandwidthLimitExceeded");
}

#[tokio::test(start_paused = true)]
async fn a_token_can_end_in_the_middle_of_a_run() {
    let mut tenant = Tenant::new(GraphOptions::default()).await;
    tenant.mock.faults(json_script(json!([rule("GET", "", &[2], json!("EndToken"))])));
    let url = format!("/users/{ANN}/mailFolders");
    tenant.get(&url).await.expect(200);
    tenant.get(&url).await.refused(401, "InvalidAuthenticationToken");
    tenant.get(&url).await.refused(401, "InvalidAuthenticationToken");
    tenant.sign_in().await;
    tenant.get(&url).await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_batch_can_be_done_and_still_say_429() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let id = tenant.message("inbox", &stamped("a")).await;
    let fault = json!({"DoneBut": {"status": 429, "retry_after": 7}});
    tenant.mock.faults(json_script(json!([rule("PATCH", "", &[1], fault)])));
    let part = json!({"id": "1", "method": "PATCH", "url": format!("/users/{ANN}/messages/{id}"),
        "headers": {"Content-Type": "application/json"}, "body": {"categories": ["x"]}});
    let answer = tenant.post("/$batch", &json!({"requests": [part]})).await.expect(200).json();
    assert_eq!(answer["responses"][0]["status"], 429);
    assert_eq!(answer["responses"][0]["headers"]["Retry-After"], "7");
    let kept = tenant.get(&format!("/users/{ANN}/messages/{id}")).await.json();
    assert_eq!(kept["categories"], json!(["x"]));
}

#[tokio::test(start_paused = true)]
async fn a_connection_can_break_within_a_requests_body() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let fault = json!({"ResetAt": {"octets": 10}});
    let script = json!([{"name": "f", "when": "Always", "fault": fault}]);
    tenant.mock.faults(json_script(script));
    let url = format!("/users/{ANN}/messages");
    let wire =
        tenant.wire(Method::POST, &url, &[("content-type", "application/json")], "{\"subject\":\"x\"}").await;
    assert!(matches!(wire, Wire::NeverArrived));
    assert_eq!(tenant.mock.counters().creates, 0);
    tenant.post(&url, &json!({})).await.expect(201);
}

/// An upload session of four million octets, and a way to put to it.
struct Session {
    tenant: Tenant,
    message: String,
    url: String,
}

const TOTAL: usize = 4_000_000;

impl Session {
    async fn new(options: GraphOptions) -> Session {
        let tenant = Tenant::new(options).await;
        let message = tenant.message("inbox", &stamped("a")).await;
        let ask = json!({"AttachmentItem": {"attachmentType": "file", "name": "big", "size": TOTAL}});
        let url = format!("/users/{ANN}/messages/{message}/attachments/createUploadSession");
        let session = tenant.post(&url, &ask).await.expect(201).json();
        Session { url: session["uploadUrl"].as_str().unwrap().to_owned(), tenant, message }
    }

    async fn put(&self, from: usize, to: usize) -> Answer {
        let range = format!("bytes {from}-{}/{TOTAL}", to - 1);
        let headers = [("authorization", ""), ("content-range", range.as_str())];
        self.tenant.send(Method::PUT, &self.url, &headers, vec![7; to - from]).await
    }

    async fn expected(&self) -> Value {
        let answer = self.tenant.send(Method::GET, &self.url, &[("authorization", "")], "").await;
        answer.expect(200).json()["nextExpectedRanges"][0].clone()
    }

    fn script(&self, nth: &[u64], fault: Value) {
        self.tenant.mock.faults(json_script(json!([rule("PUT", "AttachmentSessions", nth, fault)])));
    }

    fn attachments(&self) -> usize {
        let truth = self.tenant.mock.truth();
        let inbox = &truth.mailboxes[ANN].folders["Inbox"].messages;
        inbox.iter().find(|m| m.id == self.message).unwrap().attachments.len()
    }
}

const HALF: usize = TOTAL / 2;

#[tokio::test(start_paused = true)]
async fn a_range_can_be_lost_openly_or_silently() {
    let session = Session::new(GraphOptions::default()).await;
    session.script(&[1], json!("ChunkLost"));
    let told = session.put(0, HALF).await.expect(200).json();
    assert_eq!(told["nextExpectedRanges"], json!(["0-"]));
    assert_eq!(
        session.put(0, HALF).await.expect(200).json()["nextExpectedRanges"],
        json!([HALF.to_string()])
    );
    session.put(HALF, TOTAL).await.expect(201);
    assert_eq!(session.attachments(), 1);

    let session = Session::new(GraphOptions::default()).await;
    session.script(&[1, 4], json!("Lost"));
    let told = session.put(0, HALF).await.expect(200).json();
    assert_eq!(told["nextExpectedRanges"], json!([HALF.to_string()]), "it says it has them");
    assert_eq!(session.expected().await, "0-");
    session.put(HALF, TOTAL).await.refused(416, "ErrorInvalidRange");
    session.put(0, HALF).await.expect(200);
    session.put(HALF, TOTAL).await.expect(201);
    assert_eq!(session.attachments(), 0, "the whole attachment was lost in the end");
}

#[tokio::test(start_paused = true)]
async fn a_range_put_twice_is_refused_or_ignored_as_the_tenant_says() {
    for again in [false, true] {
        let session =
            Session::new(GraphOptions { upload_takes_again: again, ..GraphOptions::default() }).await;
        session.script(&[1], json!("ResetAfter"));
        let range = format!("bytes 0-{}/{TOTAL}", HALF - 1);
        let headers = [("authorization", ""), ("content-range", range.as_str())];
        let wire = session.tenant.wire(Method::PUT, &session.url, &headers, vec![7; HALF]).await;
        assert!(matches!(wire, Wire::NoAnswer));
        assert_eq!(session.put(0, HALF).await.status, if again { 200 } else { 416 });
        assert_eq!(session.expected().await, HALF.to_string());
        session.put(HALF, TOTAL).await.expect(201);
        assert_eq!(session.attachments(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_session_can_end_or_stumble_over_a_change_key_between_ranges() {
    let session = Session::new(GraphOptions::default()).await;
    session.script(&[2], json!("EndUpload"));
    session.put(0, HALF).await.expect(200);
    session.put(HALF, TOTAL).await.refused(404, "ErrorItemNotFound");
    session.put(HALF, TOTAL).await.refused(404, "ErrorItemNotFound");
    assert_eq!(session.attachments(), 0);

    let session = Session::new(GraphOptions::default()).await;
    session.script(&[2], json!({"Answer": {"status": 409, "code": "ErrorIrresolvableConflict"}}));
    session.put(0, HALF).await.expect(200);
    session.put(HALF, TOTAL).await.refused(409, "ErrorIrresolvableConflict");
    session.put(HALF, TOTAL).await.expect(201);
    assert_eq!(session.attachments(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_attachment_added_by_a_lost_write_is_not_there() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let id = tenant.message("inbox", &stamped("a")).await;
    tenant.mock.faults(json_script(json!([rule("POST", "/attachments", &[1], json!("Lost"))])));
    let url = format!("/users/{ANN}/messages/{id}/attachments");
    tenant.post(&url, &file("a", b"a")).await.expect(201);
    assert_eq!(tenant.get(&url).await.json()["value"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn under_a_time_scale_windows_tokens_delays_and_sessions_pass_faster() {
    for windows in [Windows::Sliding, Windows::Fixed] {
        let limits = Limits { windows, requests: 3, ..Limits::default() };
        let latency = Latency { base_ms: 5000, ..Latency::default() };
        let options = GraphOptions {
            limits,
            latency,
            time_scale: 100,
            token_seconds: 1000,
            filter_delay_ms: 100_000,
            ..GraphOptions::default()
        };
        let mut tenant = Tenant::new(options).await;
        let began = tokio::time::Instant::now();
        tenant.message("inbox", &stamped("a")).await;
        assert_eq!(began.elapsed().as_millis(), 50);
        let count = |answer: Answer| answer.expect(200).json()["value"].as_array().unwrap().len();
        assert_eq!(count(tenant.get(&find(None, "ep/value eq 'a'")).await), 0);
        tokio::time::advance(Duration::from_millis(900)).await;
        assert_eq!(count(tenant.get(&find(None, "ep/value eq 'a'")).await), 1);
        let wait = tenant.get(&find(None, "ep/value eq 'a'")).await.expect(429).retry_after().unwrap();
        assert!((1..=6).contains(&wait), "a part of six seconds: {wait}");
        tokio::time::advance(Duration::from_secs(wait)).await;
        tenant.get(&find(None, "ep/value eq 'a'")).await.expect(200);
        tokio::time::advance(Duration::from_secs(10)).await;
        tenant.get(&find(None, "ep/value eq 'a'")).await.refused(401, "InvalidAuthenticationToken");
        tenant.sign_in().await;
        tenant.get(&find(None, "ep/value eq 'a'")).await.expect(200);
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_may_be_a_date_when_the_window_is_spent() {
    let limits = Limits { requests: 0, retry_after: RetryAfter::Date, ..Limits::default() };
    let tenant = Tenant::new(GraphOptions { limits, ..GraphOptions::default() }).await;
    let answer = tenant.get(&format!("/users/{ANN}/mailFolders")).await.refused(429, "ApplicationThrottled");
    assert!(answer.headers["retry-after"].to_str().unwrap().ends_with(" GMT"));
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_and_answered_can_be_recorded_without_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("record.jsonl");
    let mock = GraphMock::new(GraphOptions::default(), world());
    mock.record(&file).unwrap();
    let tenant = Tenant::of(mock).await;
    let mut body = stamped("a");
    body["body"]["content"] = json!("x".repeat(5000));
    tenant.message("inbox", &body).await;
    let delta = format!("/users/{ANN}/mailFolders/inbox/messages/delta");
    let link = tenant.get(&delta).await.json()["@odata.deltaLink"].as_str().unwrap().to_owned();
    tenant.get(&link).await.expect(200);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&tenant.token) && !text.contains("client_secret") && !text.contains("Bearer"));
    assert!(!text.contains(&link[link.len() - 40..]), "tokens of links are left out");
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!((&lines[1]["method"], &lines[1]["answer"]["status"]), (&json!("POST"), &json!(201)));
    assert_eq!(lines[1]["body"]["subject"], "Grüße");
    assert_eq!(lines[1]["cut"]["/body/content"], 5000);
}

#[tokio::test]
async fn the_programs_mock_takes_faults_a_scale_of_time_and_a_file_to_record_to() {
    use std::io::{BufRead, BufReader};

    let dir = tempfile::tempdir().unwrap();
    let (faults, record) = (dir.path().join("faults.json"), dir.path().join("record.jsonl"));
    let wait = json!({"Status": {"status": 429, "retry_after": 600}});
    std::fs::write(&faults, json!({"rules": [rule("GET", "/mailFolders", &[1], wait)]}).to_string()).unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_mailwave"))
        .args(["mock", "graph", "--time-scale", "100", "--faults"])
        .arg(&faults)
        .arg("--record")
        .arg(&record)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let base = line.trim().strip_prefix("base_url ").unwrap().trim_end_matches("/v1.0").to_owned();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let token = tcp_token(&base, &client).await;
    let get = || client.get(format!("{base}/v1.0/users/{ANN}/mailFolders")).bearer_auth(&token).send();
    let first = get().await.unwrap();
    assert_eq!((first.status().as_u16(), &first.headers()["retry-after"]), (429, &"6".parse().unwrap()));
    assert_eq!(get().await.unwrap().status().as_u16(), 200);
    child.kill().unwrap();
    child.wait().unwrap();
    let lines = std::fs::read_to_string(&record).unwrap();
    assert_eq!(lines.lines().count(), 3, "{lines}");
    let bad = dir.path().join("bad.json");
    std::fs::write(&bad, "{\"rules\": [{\"fault\": \"Meteor\"}]}").unwrap();
    let refused = std::process::Command::new(env!("CARGO_BIN_EXE_mailwave"))
        .args(["mock", "graph", "--faults"])
        .arg(&bad)
        .output()
        .unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("bad.json"));
}

//! Limits, and batches that meet them part by part.

use mailwave::mock::graph::{Latency, Limits, RetryAfter};

use super::*;

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

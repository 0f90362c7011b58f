//! The mock over real TCP, with TLS and without.

use mailwave::mock::graph::Latency;
use mailwave::mock::server::{self, ServeOptions};

use super::*;

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

pub(super) async fn tcp_token(base: &str, client: &reqwest::Client) -> String {
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

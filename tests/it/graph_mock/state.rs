//! What is the same for one seed, and what a saved state brings back.

use super::*;

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

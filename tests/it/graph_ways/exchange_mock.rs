//! The mock's import and export of items, asked by hand: as strict as the documentation.

use mailwave::mock::graph::Sizes;
use serde_json::{Value, json};

use super::import_stream::{importing, stream};
use super::*;

/// A client without any care.
struct Hand<'a> {
    desk: &'a Desk,
    token: String,
}

impl<'a> Hand<'a> {
    async fn new(desk: &'a Desk) -> Hand<'a> {
        let form = "grant_type=client_credentials&client_id=app&client_secret=secret&scope=https%3A%2F%2Fgraph.test%2F.default";
        let request = Request::post(TOKEN_URL)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(form))
            .unwrap();
        let reply = desk.http.execute(request, &Exchange::default()).await.expect("an answer");
        let reply: Value = serde_json::from_slice(reply.body()).unwrap();
        Hand { desk, token: reply["access_token"].as_str().unwrap().to_owned() }
    }

    async fn ask(&self, method: &str, url: &str, body: Option<Value>, token: bool) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(url);
        if token {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map(|b| b.to_string()).unwrap_or_default();
        let request = request.body(Bytes::from(body)).unwrap();
        let reply = self.desk.http.execute(request, &Exchange::default()).await.expect("an answer");
        (reply.status().as_u16(), serde_json::from_slice(reply.body()).unwrap_or_default())
    }

    async fn graph(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.ask(method, &format!("{BASE}{path}"), body, true).await
    }

    /// The path of the mailbox's store.
    async fn store(&self) -> String {
        let (status, settings) = self.graph("GET", &format!("/users/{ANN}/settings/exchange"), None).await;
        let id = settings["primaryMailboxId"].as_str().expect("an id").to_owned();
        assert!(status == 200 && id.starts_with("MBX:") && id.contains('@'));
        format!("/admin/exchange/mailboxes/{id}")
    }

    async fn session(&self, store: &str) -> String {
        let (status, session) = self.graph("POST", &format!("{store}/createImportSession"), None).await;
        assert!(status == 200 && session["expirationDateTime"].is_string());
        session["importUrl"].as_str().unwrap().to_owned()
    }
}

fn data(class: &str, subject: &str) -> String {
    encodify::base64::STANDARD.encode(stream(class, subject))
}

#[tokio::test(start_paused = true)]
async fn an_import_is_taken_in_its_documented_form_only() {
    let desk = Desk::new(importing());
    let hand = Hand::new(&desk).await;
    let store = hand.store().await;
    let url = hand.session(&store).await;
    let (_, inbox) = hand.graph("GET", &format!("/users/{ANN}/mailFolders/inbox"), None).await;
    let folder = inbox["id"].clone();
    let good = json!({"FolderId": folder, "Mode": "create", "Data": data("IPM.Note", "one")});
    let (status, made) = hand.ask("POST", &url, Some(good.clone()), false).await;
    assert_eq!(status, 200, "{made}");
    let (id, key) = (made["itemId"].clone(), made["changeKey"].clone());
    for (change, expected) in [
        (json!({"ItemId": id}), 400),
        (json!({"ChangeKey": key}), 400),
        (json!({"Mode": "update", "ItemId": id}), 400),
        (json!({"Mode": "update", "ItemId": id, "ChangeKey": "other"}), 412),
        (json!({"Mode": "Create"}), 400),
        (json!({"folderId": folder}), 400),
        (json!({"Data": "%%"}), 400),
        (json!({"Data": "AAAA"}), 400),
        (json!({"FolderId": "nonsense"}), 404),
    ] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (status, answer) = hand.ask("POST", &url, Some(body), false).await;
        assert_eq!(status, expected, "{change}: {answer}");
    }
    let mut update = good.clone();
    update["Mode"] = json!("update");
    update["Data"] = json!(data("IPM.Note", "two"));
    (update["ItemId"], update["ChangeKey"]) = (id.clone(), key);
    let (status, updated) = hand.ask("POST", &url, Some(update), false).await;
    assert_eq!((status, &updated["itemId"]), (200, &id));
    let messages = desk.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].subject.as_deref(), Some("two"));
    // An altered address is none, nor is one with a token beside it welcome.
    let altered = format!("{}x", &url[..url.len() - 1]);
    assert_eq!(hand.ask("POST", &altered, Some(good.clone()), false).await.0, 401);
    hand.ask("POST", &url, Some(good), true).await;
    let violations = desk.mock.counters().violations;
    assert_eq!(violations["Authorization sent to an import URL"], 1);
}

#[tokio::test(start_paused = true)]
async fn an_import_session_ends_when_it_says() {
    let sizes = Sizes { import_seconds: 60, ..Sizes::default() };
    let desk = Desk::new(GraphOptions { sizes, import_expired_status: 403, ..importing() });
    let hand = Hand::new(&desk).await;
    let store = hand.store().await;
    let url = hand.session(&store).await;
    let body = json!({"FolderId": "inbox", "Mode": "create", "Data": data("IPM.Note", "one")});
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(hand.ask("POST", &url, Some(body.clone()), false).await.0, 200);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(hand.ask("POST", &url, Some(body), false).await.0, 403);
    assert_eq!(desk.mock.counters().imports, 1);
}

#[tokio::test(start_paused = true)]
async fn items_of_every_class_are_listed_exported_and_removed_but_only_mail_is_a_message() {
    let desk = Desk::new(importing());
    let hand = Hand::new(&desk).await;
    let store = hand.store().await;
    let url = hand.session(&store).await;
    let class = "IPF.Contact";
    let body = json!({"displayName": "People", "type": class});
    let (status, folder) = hand.graph("POST", &format!("{store}/folders"), Some(body)).await;
    assert_eq!((status, &folder["type"]), (201, &json!(class)));
    let items = format!("{store}/folders/{}/items", folder["id"].as_str().unwrap());
    let classes = ["IPM.Contact", "IPM.Appointment", "IPM.Task", "IPM.Note"];
    for n in 0..12 {
        let body =
            json!({"FolderId": folder["id"], "Mode": "create", "Data": data(classes[n % 4], &n.to_string())});
        assert_eq!(hand.ask("POST", &url, Some(body), false).await.0, 200);
    }
    let (_, page) = hand.graph("GET", &items, None).await;
    assert_eq!(page["value"].as_array().unwrap().len(), 10, "the documented page");
    let next = page["@odata.nextLink"].as_str().expect("a second page");
    assert_eq!(hand.ask("GET", next, None, true).await.1["value"].as_array().unwrap().len(), 2);
    let (_, all) = hand.graph("GET", &format!("{items}?$top=100&$count=true"), None).await;
    let all: Vec<Value> = all["value"].as_array().unwrap().clone();
    let found: Vec<&str> = all.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(found[..4], classes);
    let (_, mail) = hand.graph("GET", &format!("/users/{ANN}/messages?$top=100"), None).await;
    assert_eq!(mail["value"].as_array().unwrap().len(), 3, "only mail is a message");
    let contact = all[0]["id"].as_str().unwrap();
    assert_eq!(hand.graph("GET", &format!("/users/{ANN}/messages/{contact}"), None).await.0, 404);
    let ids: Vec<Value> = all.iter().map(|item| item["id"].clone()).chain([json!("nonsense")]).collect();
    let (_, exported) =
        hand.graph("POST", &format!("{store}/exportItems"), Some(json!({"itemIds": ids}))).await;
    let exported = exported["value"].as_array().unwrap();
    for (n, one) in exported.iter().enumerate() {
        match n {
            12 => assert!(one["error"]["code"].is_string() && one["data"].is_null()),
            _ => assert_eq!(one["data"], json!(data(classes[n % 4], &n.to_string())), "as it came"),
        }
    }
    let many = json!({"itemIds": vec![contact; 21]});
    assert_eq!(hand.graph("POST", &format!("{store}/exportItems"), Some(many)).await.0, 400);
    assert_eq!(hand.graph("DELETE", &format!("{items}/{contact}"), None).await.0, 204);
    assert_eq!(hand.graph("GET", &format!("{items}/{contact}"), None).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn without_the_role_and_in_national_clouds_there_is_none_of_it() {
    for (options, expected) in [
        (GraphOptions { import_export: false, ..importing() }, [200, 403, 403]),
        (GraphOptions { global_cloud: false, ..importing() }, [404, 404, 404]),
    ] {
        let granted = Desk::new(importing());
        let store = Hand::new(&granted).await.store().await;
        let desk = Desk::new(options);
        let hand = Hand::new(&desk).await;
        let mut got = vec![hand.graph("GET", &format!("/users/{ANN}/settings/exchange"), None).await.0];
        got.push(hand.graph("POST", &format!("{store}/createImportSession"), None).await.0);
        got.push(hand.graph("GET", &format!("{store}/folders"), None).await.0);
        assert_eq!(got, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn imported_items_outlive_the_mock() {
    let dir = tempfile::tempdir().unwrap();
    let env = Env::simulated(7, BEGIN, Arc::new(On));
    let open = || GraphMock::open(dir.path(), importing(), Arc::new(Here(env.clone()))).expect("opens");
    let serve = |mock: Arc<GraphMock>| -> Arc<dyn HttpClient> {
        Arc::new(InProcess::new(&env, move |request| {
            let mock = mock.clone();
            async move {
                match mock.handle(request).await {
                    Wire::Answered(response) => Delivery::Answered(response),
                    _ => Delivery::NoAnswer,
                }
            }
        }))
    };
    let first = open();
    let desk = Desk { env: env.clone(), mock: first.clone(), http: serve(first), sent: Arc::default() };
    let hand = Hand::new(&desk).await;
    let url = hand.session(&hand.store().await).await;
    let body = json!({"FolderId": "inbox", "Mode": "create", "Data": data("IPM.Contact", "Ann")});
    let (_, made) = hand.ask("POST", &url, Some(body), false).await;
    desk.mock.save().expect("saved");
    let second = open();
    let desk = Desk { env: env.clone(), mock: second.clone(), http: serve(second), sent: Arc::default() };
    let hand = Hand::new(&desk).await;
    let store = hand.store().await;
    let ids = json!({"itemIds": [made["itemId"]]});
    let (_, exported) = hand.graph("POST", &format!("{store}/exportItems"), Some(ids)).await;
    assert_eq!(exported["value"][0]["data"], json!(data("IPM.Contact", "Ann")));
}

//! One token for all, renewed in time; mailboxes that are not there.

use std::time::Duration;

use super::*;

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

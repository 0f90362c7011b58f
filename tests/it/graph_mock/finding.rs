//! Messages found, paged and filtered; paths that lead nowhere.

use super::*;

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

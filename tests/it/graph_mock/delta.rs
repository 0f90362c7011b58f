//! Deltas of messages and of folders, copies, translated ids, and a person's own mailbox.

use mailwave::mock::graph::DeltaExpired;

use super::*;

/// One page: what it tells as (id, reason), the link to go on, and whether that is the last.
struct Page {
    told: Vec<(String, Option<String>)>,
    link: String,
    last: bool,
    values: Vec<Value>,
}

async fn page(tenant: &Tenant, url: &str, prefer: &str) -> Page {
    let body = tenant.send(Method::GET, url, &[("prefer", prefer)], "").await.expect(200).json();
    let values = body["value"].as_array().unwrap().clone();
    let told = values
        .iter()
        .map(|v| (v["id"].as_str().unwrap().to_owned(), v["@removed"]["reason"].as_str().map(str::to_owned)))
        .collect();
    let (next, delta) = (body["@odata.nextLink"].as_str(), body["@odata.deltaLink"].as_str());
    assert!(next.is_some() != delta.is_some(), "one link, and one alone");
    if let Some(next) = next {
        assert!(next.contains("?$skiptoken="), "{next}");
    }
    if let Some(delta) = delta {
        assert!(delta.contains("?$deltatoken="), "{delta}");
    }
    Page { told, link: next.or(delta).unwrap().to_owned(), last: delta.is_some(), values }
}

/// A whole round from `url`: what it told, in order, and the delta link.
async fn round(tenant: &Tenant, url: &str, prefer: &str) -> (Vec<(String, Option<String>)>, String) {
    let (mut url, mut told) = (url.to_owned(), Vec::new());
    loop {
        let page = page(tenant, &url, prefer).await;
        told.extend(page.told);
        url = page.link;
        if page.last {
            return (told, url);
        }
    }
}

fn inbox() -> String {
    format!("/users/{ANN}/mailFolders/inbox/messages/delta")
}

#[tokio::test(start_paused = true)]
async fn a_delta_tells_everything_in_pages_and_then_only_what_changed() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let mut ids = Vec::new();
    for n in 0..23 {
        ids.push(tenant.message("inbox", &stamped(&n.to_string())).await);
    }
    let first = page(&tenant, &inbox(), "").await;
    assert_eq!((first.told.len(), first.last), (10, false), "ten where nothing is preferred");
    assert_eq!(first.values[0]["@odata.type"], "#microsoft.graph.message");
    let answer =
        tenant.send(Method::GET, &inbox(), &[("prefer", "odata.maxpagesize=7")], "").await.expect(200);
    assert_eq!(answer.headers["preference-applied"], "odata.maxpagesize=7");
    let (told, link) = round(&tenant, &inbox(), "odata.maxpagesize=7").await;
    let mut seen: Vec<&String> = told.iter().map(|(id, _)| id).collect();
    let mut all: Vec<&String> = ids.iter().collect();
    seen.sort();
    all.sort();
    assert_eq!(seen, all);
    let (nothing, link) = round(&tenant, &link, "").await;
    assert_eq!(nothing, [], "a delta of nothing is empty, and its token good for ever");

    let message = |id: &str| format!("/users/{ANN}/messages/{id}");
    tenant.patch(&message(&ids[0]), &json!({"isRead": false})).await.expect(200);
    tenant.delete(&message(&ids[1])).await.expect(204);
    let moved = json!({"destinationId": "archive"});
    tenant.post(&format!("{}/move", message(&ids[2])), &moved).await.expect(201);
    tenant.post(&format!("{}/permanentDelete", message(&ids[3])), &json!({})).await;
    let new = tenant.message("inbox", &stamped("new")).await;
    // What came and went between two calls was never there for this client.
    let brief = tenant.message("inbox", &stamped("brief")).await;
    tenant.delete(&message(&brief)).await.expect(204);
    let (told, next) = round(&tenant, &link, "odata.maxpagesize=2").await;
    let gone = |n: usize| (ids[n].clone(), Some("deleted".to_owned()));
    assert_eq!(told, [(ids[0].clone(), None), gone(1), gone(2), gone(3), (new, None)]);
    assert_eq!(round(&tenant, &next, "").await.0, []);
    let (again, _) = round(&tenant, &link, "").await;
    assert_eq!(again.len(), 5, "an older token tells the same once more");
    let archive = format!("/users/{ANN}/mailFolders/archive/messages/delta()");
    assert_eq!(round(&tenant, &archive, "").await.0.len(), 1, "`delta()` is `delta`");
}

#[tokio::test(start_paused = true)]
async fn what_changes_while_pages_are_turned_is_told_again_and_nothing_is_left_out() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(tenant.message("inbox", &stamped(&n.to_string())).await);
    }
    for order in ["", "?$orderby=receivedDateTime%20desc"] {
        let first = page(&tenant, &format!("{}{order}", inbox()), "odata.maxpagesize=3").await;
        let (seen, unseen): (Vec<&String>, Vec<&String>) =
            ids.iter().partition(|id| first.told.iter().any(|(told, _)| told == *id));
        let flip = json!({"categories": [order]});
        for id in [seen[0], unseen[0]] {
            tenant.patch(&format!("/users/{ANN}/messages/{id}"), &flip).await.expect(200);
        }
        let (rest, link) = round(&tenant, &first.link, "odata.maxpagesize=3").await;
        let count = |id: &String| rest.iter().filter(|(told, _)| told == id).count();
        assert!(unseen.iter().all(|id| count(id) == 1), "{order}");
        assert_eq!(count(seen[0]), 1, "changed since it was told{order}");
        assert_eq!(round(&tenant, &link, "").await.0, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delta_selects_filters_and_tells_kinds_of_changes() {
    let tenant = Tenant::new(GraphOptions { delta_says_changed: true, ..GraphOptions::default() }).await;
    let dated = |date: &str| {
        json!({"subject": date, "singleValueExtendedProperties": [
            {"id": "Integer 0x0E07", "value": "1"}, {"id": "SystemTime 0x0E06", "value": date}]})
    };
    let old = tenant.message("inbox", &dated("2001-01-01T00:00:00Z")).await;
    let new = tenant.message("inbox", &dated("2020-01-01T00:00:00Z")).await;
    for op in ["ge", "gt"] {
        let url =
            format!("{}?$filter=receivedDateTime%20{op}%202010-01-01T00:00:00Z&$select=subject", inbox());
        let told = page(&tenant, &url, "").await;
        assert_eq!(told.told, [(new.clone(), None)]);
        assert_eq!(told.values[0]["subject"], "2020-01-01T00:00:00Z");
        assert!(told.values[0].get("isRead").is_none());
        // The first call's options hold for all calls of the round and after.
        tenant.patch(&format!("/users/{ANN}/messages/{old}"), &json!({"isRead": false})).await.expect(200);
        assert_eq!(page(&tenant, &told.link, "").await.told, []);
    }
    let sorted = page(&tenant, &format!("{}?$orderby=receivedDateTime%20desc", inbox()), "").await;
    assert_eq!(sorted.told, [(new.clone(), None), (old.clone(), None)]);
    let mut links = Vec::new();
    for kind in ["created", "updated", "deleted"] {
        let (told, link) = round(&tenant, &format!("{}?changeType={kind}", inbox()), "").await;
        assert_eq!(told.len(), if kind == "created" { 2 } else { 0 }, "{kind}");
        links.push(link);
    }
    tenant.patch(&format!("/users/{ANN}/messages/{old}"), &json!({"isRead": true})).await.expect(200);
    let third = tenant.message("inbox", &dated("2021-01-01T00:00:00Z")).await;
    let away = json!({"destinationId": "archive"});
    tenant.post(&format!("/users/{ANN}/messages/{new}/move"), &away).await.expect(201);
    let expected = [(third, None), (old, None), (new, Some("changed".to_owned()))];
    for (link, expected) in links.iter().zip(expected) {
        assert_eq!(round(&tenant, link, "").await.0, [expected]);
    }
    for bad in [
        "$filter=isRead%20eq%20true",
        "$filter=receivedDateTime%20le%202010-01-01T00:00:00Z",
        "$orderby=receivedDateTime%20asc",
        "$search=x",
        "changeType=moved",
        "$skiptoken=nonsense",
        "$deltatoken=",
        "$count=true",
    ] {
        assert_eq!(tenant.get(&format!("{}?{bad}", inbox())).await.status, 400, "{bad}");
    }
    let other = links[0].replace("/inbox/", "/archive/");
    assert_eq!(tenant.get(&other).await.status, 400, "a token is good for its folder alone");
}

#[tokio::test(start_paused = true)]
async fn a_delta_of_immutable_ids_tells_immutable_ids_of_what_is_gone() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let id = tenant.message("inbox", &stamped("a")).await;
    let prefer = "IdType=\"ImmutableId\"";
    let (told, link) = round(&tenant, &inbox(), prefer).await;
    tenant.delete(&format!("/users/{ANN}/messages/{id}")).await.expect(204);
    let (gone, _) = round(&tenant, &link, prefer).await;
    assert_eq!(gone, [(told[0].0.clone(), Some("deleted".to_owned()))]);
    assert_ne!(gone[0].0, id);
}

#[tokio::test(start_paused = true)]
async fn a_delta_token_expires_as_the_tenant_says_and_with_its_mailbox() {
    for (how, code) in [
        (DeltaExpired::SyncStateNotFound, "SyncStateNotFound"),
        (DeltaExpired::ResyncRequired, "resyncRequired"),
    ] {
        let options = GraphOptions { delta_seconds: 60, delta_expired: how, ..GraphOptions::default() };
        let tenant = Tenant::new(options).await;
        let url = format!("{}?$select=subject", inbox());
        let (_, link) = round(&tenant, &url, "").await;
        tokio::time::advance(Duration::from_secs(59)).await;
        tenant.get(&link).await.expect(200);
        tokio::time::advance(Duration::from_secs(2)).await;
        let refused = tenant.get(&link).await.refused(410, code);
        if how == DeltaExpired::ResyncRequired {
            let anew = refused.headers["location"].to_str().unwrap();
            assert!(anew.ends_with("/delta?$select=subject"), "{anew}");
            tenant.get(anew).await.expect(200);
        }
        let (_, link) = round(&tenant, &format!("/users/{ANN}/mailFolders/delta"), "").await;
        tenant.mock.reset();
        tenant.get(&link).await.refused(410, code);
    }
}

#[tokio::test(start_paused = true)]
async fn the_delta_of_folders_tells_the_tree_and_what_became_of_it() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let root = format!("/users/{ANN}/mailFolders");
    let a = tenant.post(&root, &json!({"displayName": "A"})).await.expect(201).id();
    let b =
        tenant.post(&format!("{root}/{a}/childFolders"), &json!({"displayName": "B"})).await.expect(201).id();
    let c = tenant.post(&root, &json!({"displayName": "C"})).await.expect(201).id();
    tenant.post(&root, &json!({"displayName": "H", "isHidden": true})).await.expect(201);
    let (told, link) = round(&tenant, &format!("{root}/delta"), "odata.maxpagesize=4").await;
    assert_eq!(told.len(), 8 + 3, "the well-known ones that are not hidden, and the three of all levels");
    assert!(told.iter().any(|(id, _)| *id == b));
    tenant.patch(&format!("{root}/{c}"), &json!({"displayName": "D"})).await.expect(200);
    tenant.message(&c, &json!({})).await;
    tenant.post(&format!("{root}/{b}/move"), &json!({"destinationId": c})).await.expect(201);
    tenant.delete(&format!("{root}/{a}")).await.expect(204);
    let (told, link) = round(&tenant, &link, "").await;
    assert_eq!(told, [(c.clone(), None), (b, None), (a, Some("deleted".to_owned()))]);
    assert_eq!(round(&tenant, &link, "").await.0, []);
    let select = page(&tenant, &format!("{root}/delta()?$select=displayName"), "").await;
    assert!(select.values[0].get("totalItemCount").is_none());
    for bad in ["$top=3", "$filter=displayName%20eq%20'A'", "$skiptoken=x"] {
        assert_eq!(tenant.get(&format!("{root}/delta?{bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn deltas_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let tenant = Tenant::of(GraphMock::open(dir.path(), GraphOptions::default(), world()).unwrap()).await;
    let id = tenant.message("inbox", &stamped("a")).await;
    let (_, link) = round(&tenant, &inbox(), "").await;
    tenant.delete(&format!("/users/{ANN}/messages/{id}")).await.expect(204);
    tenant.mock.save().unwrap();
    let tenant = Tenant::of(GraphMock::open(dir.path(), GraphOptions::default(), world()).unwrap()).await;
    assert_eq!(round(&tenant, &link, "").await.0, [(id, Some("deleted".to_owned()))]);
}

#[tokio::test(start_paused = true)]
async fn a_copy_has_ids_of_its_own_and_stays_a_draft_or_not() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    for (flags, draft) in [("1", false), ("9", true)] {
        let mut body = stamped("copied");
        body["singleValueExtendedProperties"][0]["value"] = json!(flags);
        body["attachments"] = json!([file("a", b"a")]);
        let id = tenant.message("inbox", &body).await;
        let to = json!({"DestinationId": "archive"});
        let copy = tenant.post(&format!("/users/{ANN}/messages/{id}/copy"), &to).await.expect(201).json();
        assert_ne!(copy["id"], id.as_str());
        assert_eq!(copy["isDraft"], draft);
        assert_eq!(copy["receivedDateTime"], "2001-02-03T04:05:06Z");
        tenant.get(&format!("/users/{ANN}/messages/{id}")).await.expect(200);
        let found = tenant.get(&find(Some("archive"), "ep/value eq 'copied'")).await.json();
        assert!(found["value"].as_array().unwrap().iter().any(|m| m["id"] == copy["id"]), "the stamp too");
    }
    tenant
        .post(&format!("/users/{ANN}/messages/{}/copy", "x".repeat(60)), &json!({"destinationId": "inbox"}))
        .await
        .refused(404, "ErrorItemNotFound");
    assert_eq!(tenant.mock.counters().copies, 2);
}

#[tokio::test(start_paused = true)]
async fn a_folder_is_copied_with_all_below_it() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let root = format!("/users/{ANN}/mailFolders");
    let a = tenant.post(&root, &json!({"displayName": "A"})).await.expect(201).id();
    let b =
        tenant.post(&format!("{root}/{a}/childFolders"), &json!({"displayName": "B"})).await.expect(201).id();
    tenant.message(&b, &stamped("x")).await;
    let copy = tenant.post(&format!("{root}/{a}/copy"), &json!({"destinationId": "inbox"})).await.expect(201);
    assert_ne!(copy.id(), a);
    let truth = tenant.mock.truth();
    assert_eq!(truth.mailboxes[ANN].folders["Inbox/A/B"].messages.len(), 1);
    assert_eq!(truth.mailboxes[ANN].folders["A/B"].messages.len(), 1);
    let again = tenant.post(&format!("{root}/{a}/copy"), &json!({"destinationId": "inbox"})).await;
    again.refused(409, "ErrorFolderExists");
    tenant.post(&format!("{root}/{a}/copy"), &json!({"destinationId": b})).await.expect(400);
}

#[tokio::test(start_paused = true)]
async fn ids_are_translated_both_ways() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let id = tenant.message("inbox", &stamped("a")).await;
    let url = format!("/users/{ANN}/translateExchangeIds");
    let ask = |ids: Vec<String>, from: &str, to: &str| json!({"inputIds": ids, "sourceIdType": from, "targetIdType": to});
    let (rest, lasting) = ("restId", "restImmutableEntryId");
    let told =
        tenant.post(&url, &ask(vec![id.clone(), "gone".into()], rest, lasting)).await.expect(200).json();
    let immutable = told["value"][0]["targetId"].as_str().unwrap().to_owned();
    assert_eq!(
        (immutable.len(), &told["value"][1]["errorDetails"]["code"]),
        (72, &json!("ErrorItemNotFound"))
    );
    let back = tenant.post(&url, &ask(vec![immutable], lasting, rest)).await.expect(200).json();
    assert_eq!(back["value"][0]["targetId"], id.as_str());
    let many = vec![id.clone(); 1001];
    assert_eq!(tenant.post(&url, &ask(many, rest, lasting)).await.status, 400);
    assert_eq!(tenant.post(&url, &ask(vec![id], rest, "smtp")).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn me_is_whoever_signed_in_and_reaches_no_other_mailbox() {
    let mut tenant = Tenant::new(GraphOptions::default()).await;
    tenant.get("/me/mailFolders/inbox").await.refused(400, "BadRequest");
    let form = |password: &str| {
        format!(
            "grant_type=password&client_id=app&username=Ann%40example.org&password={password}&scope=Mail.ReadWrite"
        )
    };
    assert_eq!(tenant.token_request(&form("no")).await.status, 401);
    let answer = tenant.token_request(&form("secret")).await.expect(200);
    tenant.token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let mine = tenant.get("/me/mailFolders/inbox").await.expect(200).id();
    for same in ["/users/ann@example.org", "/users/ANN%40example.org"] {
        assert_eq!(tenant.get(&format!("{same}/mailFolders/inbox")).await.expect(200).id(), mine);
    }
    assert_eq!(tenant.get("http://graph.test/beta/me/mailFolders/inbox").await.expect(200).id(), mine);
    tenant.get("/users/bo@example.org/mailFolders").await.refused(403, "ErrorAccessDenied");
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_cloud_is_given_and_refused() {
    for (audience, status) in
        [(None, 200), (Some("https://graph.test"), 200), (Some("https://graph.microsoft.us"), 401)]
    {
        let options = GraphOptions { audience: audience.map(str::to_owned), ..GraphOptions::default() };
        let tenant = Tenant::new(options).await;
        assert_eq!(tenant.get(&format!("/users/{ANN}/mailFolders")).await.status, status, "{audience:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attached_item_is_told_only_when_expanded() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let inner = json!({"@odata.type": "#microsoft.graph.message", "subject": "inner"});
    let body = json!({"attachments": [
        {"@odata.type": "#microsoft.graph.itemAttachment", "name": "m", "item": inner}, file("a", b"a")]});
    let id = tenant.message("inbox", &body).await;
    let url = format!("/users/{ANN}/messages/{id}/attachments");
    let plain = tenant.get(&url).await.expect(200).json();
    assert!(plain["value"][0].get("item").is_none());
    let all =
        tenant.get(&format!("{url}?$expand=microsoft.graph.itemattachment/item")).await.expect(200).json();
    assert_eq!(all["value"][0]["item"]["subject"], "inner");
    assert!(all["value"][1].get("item").is_none(), "a file has none");
    let one = plain["value"][0]["id"].as_str().unwrap();
    let one =
        tenant.get(&format!("{url}/{one}?$expand=microsoft.graph.itemAttachment/item")).await.expect(200);
    assert_eq!(one.json()["item"]["subject"], "inner");
    assert_eq!(tenant.get(&format!("{url}?$expand=item")).await.status, 400);
}

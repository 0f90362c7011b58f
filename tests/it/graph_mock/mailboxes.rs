//! Tokens, mailboxes, and the folders in them.

use mailwave::mock::graph::{App, Language, UnknownMailbox};

use super::*;

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

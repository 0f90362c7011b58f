//! What can be changed of a message, and what moving and deleting do.

use super::*;

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

//! Copies found, looked at and changed.

use std::time::Duration;

use mailwave::model::StampPrefix;

use super::*;

fn found(id: &str, value: &str) -> Value {
    json!({
        "id": id, "parentFolderId": "box", "isRead": true, "isDraft": false, "flag": {"flagStatus": "flagged"},
        "categories": ["work"], "createdDateTime": "2026-11-21T08:00:00Z",
        "singleValueExtendedProperties": [
            {"id": "String {B5D4F0B6-7A0E-4A39-9D5E-5C1F6A2E9D41} Name MailwaveStamp", "value": value},
            {"id": "Integer 0x1081", "value": "102"}
        ]
    })
}

#[tokio::test(start_paused = true)]
async fn copies_are_found_over_pages_with_state_flags_and_place() {
    let (script, mailbox, _) = open().await;
    let s = stamp(1);
    let prefix = StampPrefix::folder(&s.source, &s.mailbox, s.folder);
    let page = json!({
        "value": [found("a", &format!("{}/done", stamp(1))), found("b", &format!("{}/open", stamp(2)))],
        "@odata.nextLink": format!("{BASE}{USER}/messages?$skip=2")
    });
    script.get("startswith(ep/value,", 200, page).get(
        "$skip=2",
        200,
        json!({"value": [found("c", "mw9.future/done")]}),
    );
    // A copy where nobody asked for a folder: is that one the staging folder?
    script.get("/mailFolders?$filter=displayName", 200, json!({"value": []}));
    let copies = mailbox.find(&prefix).await.expect("complete");
    script.done();
    assert_eq!(copies.len(), 2);
    assert_eq!((copies[0].stamp.number, copies[0].complete, copies[0].id.as_str()), (1, true, "a"));
    assert_eq!((copies[1].stamp.number, copies[1].complete), (2, false));
    assert_eq!(copies[0].flags.encode(), "FRS work");
    assert_eq!(copies[0].made, 1_795_248_000_000);
    assert_eq!(copies[0].folder.0, "box");
}

#[tokio::test(start_paused = true)]
async fn fields_that_a_listing_leaves_out_are_asked_for_again() {
    let (script, mailbox, _) = open().await;
    let mut bare = found("a", &format!("{}/done", stamp(1)));
    for field in ["parentFolderId", "createdDateTime"] {
        bare.as_object_mut().unwrap().remove(field);
    }
    let mut plain = found("a", "");
    plain.as_object_mut().unwrap().remove("singleValueExtendedProperties");
    script.get("$expand=", 200, json!({"value": [bare]})).get("/messages?", 200, json!({"value": [plain]}));
    script.get("/mailFolders?$filter=displayName", 400, error("ErrorInvalidRequest"));
    let copies = mailbox.find(&StampPrefix::exactly(&stamp(1))).await.expect("complete");
    script.done();
    assert_eq!(copies.len(), 1);
    assert_eq!(copies[0].folder.0, "box");
}

#[tokio::test(start_paused = true)]
async fn a_look_up_waits_out_a_throttle_and_is_complete_or_an_error() {
    let (script, mailbox, _) = open().await;
    script
        .then(Method::GET, "/messages?", Back::With(429, json!({}), "retry-after", "7".into()))
        .then(Method::GET, "/messages?", Back::Reset)
        .get("/messages?", 200, json!({"value": []}));
    let before = tokio::time::Instant::now();
    assert_eq!(mailbox.find(&StampPrefix::exactly(&stamp(1))).await.expect("complete"), []);
    assert!(before.elapsed() >= Duration::from_secs(7));
    for _ in 0..4 {
        script.then(Method::GET, "/messages?", Back::Raw(502, ""));
    }
    assert!(mailbox.find(&StampPrefix::exactly(&stamp(1))).await.is_err());
    script.done();
}

#[tokio::test(start_paused = true)]
async fn changes_of_copies_are_idempotent() {
    let (script, mailbox, _) = open().await;
    let gone = || Back::Answer(404, error("ErrorItemNotFound"));
    // A service (or a proxy before it) without batches: each request goes by itself, and no batch is tried again.
    script
        .post("/$batch", 404, error("ResourceNotFound"))
        .then(Method::PATCH, "/messages/a", Back::Answer(412, error("ErrorConflict")))
        .then(Method::PATCH, "/messages/a", Back::Answer(200, json!({})))
        .then(Method::PATCH, "/messages/b", gone());
    let mut flags = Flags::default();
    flags.add("\\Seen");
    let results = mailbox.set_flags(&[(named("a"), flags.clone()), (named("b"), flags)]).await;
    assert!(results[0].is_ok());
    assert!(matches!(&results[1], Err(e) if (e.kind, e.scope) == (Kind::NotFound, Scope::Message)));
    assert_eq!(script.json(2)["isRead"], true);

    script
        .post("/messages/a/move", 201, json!({"id": "a", "parentFolderId": "box"}))
        .then(Method::POST, "/messages/b/move", Back::Reset)
        .get("/messages/b?", 200, json!({"id": "b", "parentFolderId": "box"}))
        .then(Method::POST, "/messages/c/move", gone())
        .then(Method::GET, "/messages/c?", gone());
    let results = mailbox.relocate(&["a", "b", "c"].map(named), &inbox()).await;
    assert_eq!((results[0].as_deref(), results[1].as_deref()), (Ok("a"), Ok("b")));
    assert!(matches!(&results[2], Err(e) if e.kind == Kind::NotFound));

    script.then(Method::DELETE, "/messages/a", Back::Reset).then(Method::DELETE, "/messages/a", gone()).then(
        Method::DELETE,
        "/messages/b",
        Back::Raw(204, ""),
    );
    assert_eq!(mailbox.remove(&["a", "b"].map(named)).await, [Ok(()), Ok(())]);
    script.done();
}

//! Copies found, looked at and changed.

use std::time::Duration;

use mailwave::model::StampPrefix;
use mailwave::target::OnRecord;

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

/// Opens a mailbox with copies on record in the folder `box`.
async fn reopen(script: &Arc<Script>, copies: u64) -> Arc<dyn TargetMailbox> {
    let env = Env::system();
    let target = GraphTarget::new(&env, script.clone(), settings()).expect("settings");
    let s = stamp(1);
    let known = OnRecord {
        stamps: StampPrefix::mailbox(&s.source, &s.mailbox),
        folders: vec![TargetFolderId("box".to_owned())],
        copies: Some(copies),
    };
    target.reopen("ann@example.org", "", Gate::unlimited(&env), &known).await.expect("opens")
}

/// A `$batch` answered with the root and a page of copies.
fn batch(page: &Value) -> Value {
    json!({"responses": [
        {"id": "1", "status": 200, "body": page},
        {"id": "0", "status": 200, "body": {"id": "root"}},
    ]})
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_with_copies_on_record_is_opened_and_counted_in_one_request() {
    let script = Arc::new(Script::default());
    let page = json!({"value": [found("a", &format!("{}/done", stamp(1)))]});
    script.post("/$batch", 200, batch(&page));
    let mailbox = reopen(&script, 1).await;
    assert_eq!(mailbox.identity(), "root");
    let s = stamp(1);
    let all = StampPrefix::mailbox(&s.source, &s.mailbox);
    let counted = mailbox.census(&all).await.expect("told already");
    assert_eq!((counted.len(), counted[0].id.as_str(), counted[0].complete), (1, "a", true));
    assert_eq!((script.count(), mailbox.round_trips()), (1, 1));
    // Once: who asks again wants to know what is there now.
    script.get("startswith(ep/value,", 200, json!({"value": []}));
    assert_eq!(mailbox.census(&all).await.expect("asked").len(), 0);
    script.done();
}

#[tokio::test(start_paused = true)]
async fn what_was_counted_when_a_mailbox_was_opened_is_worthless_once_a_copy_was_touched() {
    let script = Arc::new(Script::default());
    let page = json!({"value": [found("a", &format!("{}/done", stamp(1)))]});
    script.post("/$batch", 200, batch(&page));
    let mailbox = reopen(&script, 1).await;
    let s = stamp(1);
    let all = StampPrefix::mailbox(&s.source, &s.mailbox);
    script.then(Method::DELETE, "/messages/a", Back::Answer(204, json!(null)));
    let copy = CopyRef { folder: TargetFolderId("box".to_owned()), id: "a".to_owned() };
    mailbox.remove(&[copy]).await.into_iter().for_each(|gone| gone.expect("removed"));
    script.get("startswith(ep/value,", 200, json!({"value": []}));
    assert_eq!(mailbox.census(&all).await.expect("asked").len(), 0);
    script.done();
}

#[tokio::test(start_paused = true)]
async fn copies_that_one_answer_may_not_tell_are_counted_at_the_end_and_what_an_answer_leaves_open_is_asked_again()
 {
    // Too many for one page: only the root is asked for.
    let script = Arc::new(Script::default());
    script.get("/mailFolders/msgfolderroot", 200, json!({"id": "root"}));
    assert_eq!(reopen(&script, 200).await.identity(), "root");
    script.done();
    // A page after this one, a field left out, a part refused.
    let s = stamp(1);
    let all = StampPrefix::mailbox(&s.source, &s.mailbox);
    let whole = || found("a", &format!("{}/done", stamp(1)));
    let mut bare = whole();
    bare.as_object_mut().unwrap().remove("parentFolderId");
    let further = json!({"value": [whole()], "@odata.nextLink": format!("{BASE}{USER}/messages?$skip=1")});
    for page in [further, json!({"value": [bare]}), json!({"error": {"code": "ErrorInternalServerError"}})] {
        let mut answer = batch(&page);
        if page.get("error").is_some() {
            answer["responses"][0]["status"] = 500.into();
        }
        let script = Arc::new(Script::default());
        script.post("/$batch", 200, answer);
        let mailbox = reopen(&script, 1).await;
        script.get("startswith(ep/value,", 200, json!({"value": [whole()]}));
        assert_eq!(mailbox.census(&all).await.expect("asked").len(), 1, "{page}");
        script.done();
    }
}

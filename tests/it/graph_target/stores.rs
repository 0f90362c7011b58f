//! What one store sends, and what becomes of each message by what comes back.

use std::time::Duration;

use mailwave::model::{Status, WriteMode};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_message_is_stored_by_one_authorised_request_with_its_stamp_done() {
    let (script, mailbox, gate) = open().await;
    script.post("/mailFolders/box/messages", 201, created());
    let ticket = gate.reserve(mailbox.cost(&[100])).await;
    let outcomes = mailbox.store(&inbox(), vec![item(1, MESSAGE)], ticket).await;
    let losses = vec!["sent-made"];
    assert_eq!(outcomes, [Outcome::Stored { id: "m1".to_owned(), losses, mode: WriteMode::Json }]);
    let request = script.seen(1);
    assert_eq!(request.headers()["authorization"], "Bearer t0ken");
    assert_eq!(request.headers()["prefer"], "IdType=\"ImmutableId\"");
    assert_eq!(request.headers()["content-type"], "application/json");
    let props = script.json(1)["singleValueExtendedProperties"].clone();
    let value = format!("{}/done", stamp(1));
    assert!(props.as_array().unwrap().iter().any(|p| p["value"] == value.as_str()), "{props}");
}

#[tokio::test(start_paused = true)]
async fn a_throttled_store_was_not_sent_and_tells_the_wait() {
    for (back, wait) in [
        (Back::With(429, error("x"), "retry-after", "17".into()), Some(17)),
        (Back::Answer(429, error("ApplicationThrottled")), None),
        (Back::With(503, json!({}), "retry-after", "99999".into()), Some(3600)),
        (Back::With(429, json!({}), "retry-after", "soon".into()), None),
    ] {
        match store_one(back).await {
            Outcome::NotSent(e) => {
                assert_eq!((e.kind, e.status), (Kind::Throttled, Status::Throttled));
                assert_eq!(e.retry_after, wait.map(Duration::from_secs));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_trusted_leaves_the_outcome_unknown() {
    for back in [
        Back::Answer(504, error("UnknownError")),
        Back::Answer(500, json!({})),
        Back::Answer(502, json!({})),
        Back::Reset,
        Back::Raw(201, ""),
        Back::Raw(201, "<html>proxy</html>"),
        Back::Raw(201, "{\"id\":\"\"}"),
        Back::Answer(201, json!({"id": "m2", "parentFolderId": "other"})),
        Back::Answer(201, json!({"id": "m2", "parentFolderId": "box", "internetMessageId": "<2@y>"})),
        Back::Answer(200, created()),
        Back::Answer(409, error("ErrorIrresolvableConflict")),
    ] {
        match store_one(back).await {
            Outcome::Unknown(e) => assert!(e.may_pass(), "{e}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_say_what_is_broken_and_nothing_private() {
    for (status, code, kind, scope, refused) in [
        (400, "ErrorInvalidProperty", Kind::Refused, Scope::Message, true),
        (413, "", Kind::TooLarge, Scope::Message, true),
        (403, "ErrorAccessDenied", Kind::Denied, Scope::Mailbox, false),
        (404, "ErrorItemNotFound", Kind::NotFound, Scope::Folder, false),
        (404, "MailboxNotEnabledForRESTAPI", Kind::NotFound, Scope::Mailbox, false),
        (507, "", Kind::Quota, Scope::Mailbox, false),
        (500, "ErrorQuotaExceeded", Kind::Quota, Scope::Mailbox, false),
        (307, "", Kind::Protocol, Scope::Endpoint, false),
    ] {
        let e = match (store_one(Back::Answer(status, error(code))).await, refused) {
            (Outcome::Refused(e), true) | (Outcome::NotSent(e), false) => e,
            (other, _) => panic!("{status} {code}: {other:?}"),
        };
        assert_eq!((e.kind, e.scope), (kind, scope), "{status} {code}");
        let text = format!("{e} {e:?}");
        assert!(!text.contains("ann") && !text.contains("private") && !text.contains("t0ken"), "{text}");
    }
    assert!(matches!(store_one(Back::Refused).await, Outcome::NotSent(_)));
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_mailbox_ends_the_batch_with_one_outcome_for_each_message() {
    let (script, mailbox, gate) = open().await;
    script.post("/box/messages", 201, created()).post("/box/messages", 400, error("ErrorX")).post(
        "/box/messages",
        429,
        json!({}),
    );
    let items = (1..=5).map(|n| item(n, MESSAGE)).collect();
    let outcomes = mailbox.store(&inbox(), items, gate.lookup()).await;
    script.done();
    let kinds: Vec<&str> = outcomes
        .iter()
        .map(|o| match o {
            Outcome::Stored { .. } => "stored",
            Outcome::Refused(_) => "refused",
            Outcome::NotSent(_) => "not sent",
            Outcome::Unknown(_) => "unknown",
        })
        .collect();
    assert_eq!(kinds, ["stored", "refused", "not sent", "not sent", "not sent"]);
}

#[tokio::test(start_paused = true)]
async fn the_octets_of_each_message_are_let_go_with_its_outcome_not_with_its_batch() {
    let (script, mailbox, gate) = open().await;
    script.post("/box/messages", 201, created()).post("/box/messages", 400, error("ErrorX")).post(
        "/box/messages",
        201,
        created(),
    );
    let held = Arc::new(());
    let items: Vec<StoreItem> = (1..=3).map(|n| item(n, MESSAGE)).collect();
    let items =
        items.into_iter().map(|one| StoreItem { body: one.body.guarded(held.clone()), ..one }).collect();
    *script.held.lock().unwrap() = Some(held.clone());
    *script.held_then.lock().unwrap() = Vec::new();
    mailbox.store(&inbox(), items, gate.lookup()).await;
    script.done();
    // One is the script's own.
    let held_then: Vec<usize> = script.held_then.lock().unwrap().iter().map(|n| n - 1).collect();
    assert_eq!(held_then, [3, 2, 1]);
    assert_eq!(Arc::strong_count(&held), 2, "the script's and ours");
}

#[tokio::test(start_paused = true)]
async fn a_message_without_octets_is_refused_without_a_request() {
    let (script, mailbox, gate) = open().await;
    let outcomes = mailbox.store(&inbox(), vec![item(1, b"")], gate.lookup()).await;
    assert!(matches!(&outcomes[..], [Outcome::Refused(e)] if e.kind == Kind::Refused), "{outcomes:?}");
    assert_eq!(script.count(), 1);
}

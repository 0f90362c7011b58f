//! Messages with files: what follows in ranges, what goes the other way when it is refused, and what a cut leaves.

use std::time::Duration;

use mailwave::env::{Step, StepObserver};

use super::*;

fn with_file(size: usize) -> Vec<u8> {
    let octets: Vec<u8> = (0..size).map(|n| (n * 7 % 251) as u8).collect();
    let mut message =
        b"Message-ID: <1@x>\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\ntext\r\n--m\r\nContent-Type: application/x; name=big.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n".to_vec();
    message.extend_from_slice(encodify::base64::MIME.encode(&octets).as_bytes());
    message.extend_from_slice(b"--m--\r\n");
    message
}

const RANGE: usize = 12 * 320 * 1024;
const UPLOAD: &str = "https://outlook.test/upload/1?authtoken=secret-url";

fn next(at: usize) -> Value {
    json!({"nextExpectedRanges": [format!("{at}-")]})
}

async fn store_large(
    size: usize,
    script: &Script,
    mailbox: &Arc<dyn TargetMailbox>,
    gate: &Arc<Gate>,
) -> Outcome {
    let mut outcomes = mailbox.store(&inbox(), vec![item(1, &with_file(size))], gate.lookup()).await;
    script.done();
    outcomes.remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_large_file_follows_in_ranges_and_the_stamp_is_done_last() {
    let (script, mailbox, gate) = open().await;
    let size = RANGE + 100_000;
    script
        .post("/box/messages", 201, created())
        .post(
            "/messages/m1/attachments/createUploadSession",
            201,
            json!({"uploadUrl": UPLOAD, "nextExpectedRanges": ["0-"]}),
        )
        .then(Method::PUT, UPLOAD, Back::Answer(200, next(RANGE)))
        .then(Method::PUT, UPLOAD, Back::With(429, json!({}), "retry-after", "3".into()))
        .then(Method::PUT, UPLOAD, Back::With(201, json!({}), "location", "https://outlook.test/a".into()))
        .then(Method::PATCH, "/messages/m1", Back::Answer(200, created()));
    let outcome = store_large(size, &script, &mailbox, &gate).await;
    assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
    assert!(script.json(1).to_string().contains(&format!("{}/open", stamp(1))));
    assert_eq!(script.json(2)["AttachmentItem"]["size"], size);
    let ranges: Vec<String> =
        (3..6).map(|n| script.seen(n).headers()["content-range"].to_str().unwrap().to_owned()).collect();
    assert_eq!(ranges[0], format!("bytes 0-{}/{size}", RANGE - 1));
    assert_eq!(ranges[1], format!("bytes {RANGE}-{}/{size}", size - 1));
    assert_eq!(ranges[2], ranges[1]);
    for n in 3..6 {
        let request = script.seen(n);
        assert!(
            request.headers().get("authorization").is_none() && request.headers().get("prefer").is_none()
        );
        assert!(request.body().len() < 4_000_000);
    }
    assert!(script.json(6).to_string().contains(&format!("{}/done", stamp(1))));
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_breaks_begins_a_new_session_and_asked_for_ranges_are_sent_again() {
    let (script, mailbox, gate) = open().await;
    let session = || json!({"uploadUrl": UPLOAD});
    script
        .post("/box/messages", 201, created())
        .post("/createUploadSession", 201, session())
        .then(Method::PUT, UPLOAD, Back::Reset)
        .post("/createUploadSession", 201, session())
        .then(Method::PUT, UPLOAD, Back::Answer(200, next(RANGE)))
        .then(Method::PUT, UPLOAD, Back::Answer(200, next(RANGE)))
        .then(Method::PUT, UPLOAD, Back::Answer(404, error("ErrorExpired")))
        .post("/createUploadSession", 201, session())
        .then(Method::PUT, UPLOAD, Back::Answer(200, next(0)))
        .then(Method::PUT, UPLOAD, Back::Answer(200, next(RANGE)))
        .then(Method::PUT, UPLOAD, Back::Answer(200, next(2 * RANGE)))
        .then(Method::PUT, UPLOAD, Back::Answer(201, json!({})))
        .then(Method::PATCH, "/messages/m1", Back::Answer(200, json!({})));
    let outcome = store_large(2 * RANGE + 10, &script, &mailbox, &gate).await;
    assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_last_range_or_last_request_is_unknown() {
    let (script, mailbox, gate) = open().await;
    script
        .post("/box/messages", 201, created())
        .post("/createUploadSession", 201, json!({"uploadUrl": UPLOAD}))
        .then(Method::PUT, UPLOAD, Back::Reset);
    let outcome = store_large(3_500_000, &script, &mailbox, &gate).await;
    assert!(
        matches!(&outcome, Outcome::Unknown(e) if !format!("{e:?}").contains("secret-url")),
        "{outcome:?}"
    );

    let (script, mailbox, gate) = open().await;
    script
        .post("/box/messages", 201, created())
        .post("/createUploadSession", 201, json!({"uploadUrl": UPLOAD}))
        .then(Method::PUT, UPLOAD, Back::Answer(201, json!({})));
    for _ in 0..4 {
        script.then(Method::PATCH, "/messages/m1", Back::Answer(504, json!({})));
    }
    let outcome = store_large(3_500_000, &script, &mailbox, &gate).await;
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_part_refused_for_good_takes_the_incomplete_copy_with_it() {
    let (script, mailbox, gate) = open().await;
    script
        .post("/box/messages", 201, created())
        .post("/createUploadSession", 400, error("ErrorAttachmentSizeLimitExceeded"))
        .then(Method::DELETE, "/messages/m1", Back::Raw(204, ""));
    let outcome = store_large(3_500_000, &script, &mailbox, &gate).await;
    assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn files_near_three_megabytes_go_the_other_way_when_one_is_refused() {
    let (script, mailbox, gate) = open().await;
    script
        .post("/box/messages", 201, created())
        .post("/createUploadSession", 400, error("ErrorAttachmentSizeShouldNotBeLessThanMinimumSize"))
        .post("/messages/m1/attachments", 201, json!({"id": "a"}))
        .then(Method::PATCH, "/messages/m1", Back::Answer(200, json!({})));
    let outcome = store_large(2_950_000, &script, &mailbox, &gate).await;
    assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_conflict_while_a_range_is_taken_is_a_hiccup_and_the_range_is_sent_again() {
    let (script, mailbox, gate) = open().await;
    let size = RANGE + 100_000;
    script
        .post("/box/messages", 201, created())
        .post("/createUploadSession", 201, json!({"uploadUrl": UPLOAD}))
        .then(Method::PUT, UPLOAD, Back::Answer(409, error("ErrorIrresolvableConflict")))
        .then(Method::PUT, UPLOAD, Back::Answer(200, next(RANGE)))
        .then(Method::PUT, UPLOAD, Back::Answer(412, error("ErrorConflict")))
        .get("/messages/m1/attachments?", 200, json!({"value": []}))
        .then(Method::PUT, UPLOAD, Back::Answer(201, json!({})))
        .then(Method::PATCH, "/messages/m1", Back::Answer(200, json!({})));
    let outcome = store_large(size, &script, &mailbox, &gate).await;
    assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
    let sent = |n: usize| (script.seen(n).headers()["content-range"].clone(), script.seen(n).body().clone());
    assert_eq!(sent(3), sent(4));
    assert_eq!(sent(5), sent(7));

    // The last range was taken all the same: nothing is sent twice.
    let (script, mailbox, gate) = open().await;
    script
        .post("/box/messages", 201, created())
        .post("/createUploadSession", 201, json!({"uploadUrl": UPLOAD}))
        .then(Method::PUT, UPLOAD, Back::Answer(409, error("ErrorIrresolvableConflict")))
        .get("/messages/m1/attachments?", 200, json!({"value": [{"id": "a"}]}))
        .then(Method::PATCH, "/messages/m1", Back::Answer(200, json!({})));
    let outcome = store_large(3_500_000, &script, &mailbox, &gate).await;
    assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_conflict_while_a_small_file_is_attached_is_looked_into_before_it_is_sent_again() {
    let attached =
        |ids: &[&str]| json!({"value": ids.iter().map(|id| json!({"id": id})).collect::<Vec<_>>()});
    for (found, again) in [(attached(&[]), true), (attached(&["a"]), false)] {
        let (script, mailbox, gate) = open().await;
        script
            .post("/box/messages", 201, created())
            .post("/createUploadSession", 400, error("ErrorAttachmentSizeShouldNotBeLessThanMinimumSize"))
            .post("/messages/m1/attachments", 412, error("ErrorConflict"))
            .get("/messages/m1/attachments?", 200, found);
        if again {
            script.post("/messages/m1/attachments", 201, json!({"id": "a"}));
        }
        script.then(Method::PATCH, "/messages/m1", Back::Answer(200, json!({})));
        let outcome = store_large(2_950_000, &script, &mailbox, &gate).await;
        assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_target_refuses_about_classes_and_attached_messages_is_stored_without_them() {
    let nested = b"Message-ID: <1@x>\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ntext\r\n";
    let signed = b"Message-ID: <1@x>\r\nContent-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\nMIIB\r\n";
    for (octets, loss) in [(&nested[..], "nested-as-file"), (&signed[..], "protected-original")] {
        let (script, mailbox, gate) = open().await;
        script.post("/box/messages", 400, error("ErrorInvalidItemForOperation")).post(
            "/box/messages",
            201,
            created(),
        );
        let outcomes = mailbox.store(&inbox(), vec![item(1, octets)], gate.lookup()).await;
        script.done();
        let [Outcome::Stored { losses, .. }] = &outcomes[..] else { panic!("{outcomes:?}") };
        assert!(losses.contains(&loss), "{losses:?}");
        let kinds: Vec<Value> =
            (1..3).map(|n| script.json(n)["attachments"][0]["@odata.type"].clone()).collect();
        assert_eq!(kinds[1], "#microsoft.graph.fileAttachment");
        assert_ne!(script.json(1), script.json(2));
    }
    // A second refusal is one.
    let (script, mailbox, gate) = open().await;
    script.post("/box/messages", 400, error("ErrorX")).post("/box/messages", 400, error("ErrorX"));
    let outcomes = mailbox.store(&inbox(), vec![item(1, nested)], gate.lookup()).await;
    script.done();
    assert!(matches!(outcomes[..], [Outcome::Refused(_)]), "{outcomes:?}");
}

/// Lets `left` steps pass and keeps their names.
struct Cut {
    left: Mutex<usize>,
    passed: Mutex<Vec<Step>>,
}

impl StepObserver for Cut {
    fn pass(&self, step: Step) -> bool {
        let mut left = self.left.lock().unwrap();
        if *left == 0 {
            return false;
        }
        *left -= 1;
        self.passed.lock().unwrap().push(step);
        true
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_before_any_request_of_a_store_sends_nothing_more() {
    use Step::{TargetAnswer, TargetFolder, TargetStore, TargetStoreDone, TargetStorePart};
    let whole = [
        TargetFolder,
        TargetAnswer,
        TargetStore,
        TargetAnswer,
        TargetStorePart,
        TargetAnswer,
        TargetStorePart,
        TargetAnswer,
        TargetStoreDone,
        TargetAnswer,
    ];
    for left in (2..=whole.len()).rev() {
        let cut = Arc::new(Cut { left: Mutex::new(left), passed: Mutex::default() });
        let env = Env::simulated(1, 0, cut.clone());
        let script = Arc::new(Script::default());
        let target = GraphTarget::new(&env, script.clone(), settings()).expect("settings");
        script
            .get("msgfolderroot", 200, json!({"id": "root"}))
            .post("/box/messages", 201, created())
            .post("/createUploadSession", 201, json!({"uploadUrl": UPLOAD}))
            .then(Method::PUT, UPLOAD, Back::Answer(201, json!({})))
            .then(Method::PATCH, "/messages/m1", Back::Answer(200, json!({})));
        let gate = Gate::unlimited(&env);
        let mailbox = target.open("ann@example.org", "", gate.clone()).await.expect("opens");
        let folder = inbox();
        let store = mailbox.store(&folder, vec![item(1, &with_file(3_500_000))], gate.lookup());
        let outcome = tokio::time::timeout(Duration::from_secs(3600), store).await;
        assert_eq!(outcome.is_ok(), left == whole.len(), "cut after {left}");
        assert_eq!(*cut.passed.lock().unwrap(), whole[..left]);
        // Each request is a step and its answer another: what was sent is what passed.
        assert_eq!(script.count(), left.div_ceil(2));
    }
}

//! Storing: batches, and what each answer makes of them.

use super::*;

#[tokio::test]
async fn each_message_of_a_batch_is_judged_by_itself_and_in_order() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let codes = ["ErrorMimeContentInvalid", "ErrorMessageSizeExceeded", "ErrorInternalServerError"];
    let mut answers = vec![created("a")];
    answers.extend(codes.map(|code| failed("CreateItem", code)));
    answers.push(created("b"));
    server.says(response("CreateItem", &answers));
    let outcomes = stores(&mailbox, items(5)).await;
    assert_eq!(letters(&outcomes), "srrus");
    assert!(
        matches!(&outcomes[0], Outcome::Stored { id, losses, .. } if id == "a" && losses.contains(&"received-made"))
    );
    assert!(matches!(&outcomes[2], Outcome::Refused(e) if e.kind == Kind::TooLarge));
    let body = server.last();
    assert!(body.contains(
        "<m:CreateItem MessageDisposition=\"SaveOnly\"><m:SavedItemFolderId><t:FolderId Id=\"inbox\"/>"
    ));
    assert_eq!(messages_in(&body), 5);
}

#[tokio::test]
async fn an_answer_about_another_number_of_messages_or_without_ids_is_about_nothing() {
    for answers in [
        vec![created("a")],
        vec![created("a"), created("b"), created("c")],
        vec![],
        vec![
            done("CreateItem", ""),
            done("CreateItem", "<m:Items><t:Message><t:ItemId Id=\"a b\"/></t:Message></m:Items>"),
        ],
    ] {
        let server = Server::default();
        let mailbox = server.open(|_| ()).await;
        server.says(response("CreateItem", &answers));
        assert_eq!(letters(&stores(&mailbox, items(2)).await), "uu");
    }
}

#[tokio::test]
async fn what_a_stopped_batch_left_alone_is_sent_again_in_smaller_ones_and_nothing_else() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let stopped = || failed("CreateItem", "ErrorBatchProcessingStopped");
    let mut first = vec![created("1"), created("2"), created("3")];
    first.extend((0..5).map(|_| stopped()));
    server.says(response("CreateItem", &first));
    server.then(|body| {
        assert_eq!(messages_in(body), 4);
        assert!(
            body.contains(&format!("{}/done", stamp(4))) && !body.contains(&format!("{}/done", stamp(3)))
        );
        let made: Vec<String> = (4..=7).map(|n| created(&n.to_string())).collect();
        delivered(200, &[], response("CreateItem", &made))
    });
    server.says(response("CreateItem", &[created("8")]));
    let outcomes = stores(&mailbox, items(8)).await;
    let ids: Vec<_> =
        outcomes.iter().map(|o| matches!(o, Outcome::Stored { id, .. } if id.len() == 1)).collect();
    assert_eq!(ids, [true; 8]);
    assert_eq!(server.0.lock().expect("script").answers.len(), 0);
}

#[tokio::test]
async fn a_server_that_never_comes_to_a_message_is_not_asked_for_ever() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    for _ in 0..4 {
        server.then(|body| {
            let all: Vec<_> =
                (0..messages_in(body)).map(|_| failed("CreateItem", "ErrorBatchProcessingStopped")).collect();
            delivered(200, &[], response("CreateItem", &all))
        });
    }
    assert_eq!(letters(&stores(&mailbox, items(3)).await), "nnn");
}

#[tokio::test]
async fn a_busy_server_gets_nothing_more_and_its_wait_is_told() {
    let server = Server::default();
    let mailbox = server.open(|settings| settings.batch_messages = 2).await;
    server.then(|_| delivered(503, &[], busy(30_000)));
    let outcomes = stores(&mailbox, items(4)).await;
    assert_eq!(letters(&outcomes), "nnnn");
    let waits = outcomes.iter().filter(|o| {
        matches!(o, Outcome::NotSent(e) if e.kind == Kind::Throttled && e.retry_after == Some(Duration::from_secs(30)))
    });
    assert_eq!(waits.count(), 4);
    assert_eq!(server.ops(), ["GetFolder", "GetFolder", "CreateItem"]);
}

#[tokio::test]
async fn a_request_nobody_would_look_at_is_sent_message_by_message_so_that_only_the_culprit_stays_behind() {
    for status in [400, 413] {
        let server = Server::default();
        let mailbox = server.open(|_| ()).await;
        for _ in 0..4 {
            server.then(move |body| {
                if body.contains(&format!("{}/done", stamp(2))) {
                    return delivered(status, &[], String::new());
                }
                delivered(200, &[], response("CreateItem", &[created("x")]))
            });
        }
        assert_eq!(letters(&stores(&mailbox, items(3)).await), "srs", "HTTP {status}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_the_rest_is_not_sent() {
    for answer in [0, 500, 502, 504, 200] {
        let server = Server::default();
        let mailbox = server.open(|settings| settings.batch_messages = 2).await;
        server.then(move |_| match answer {
            0 => Delivery::NoAnswer,
            status => delivered(status, &[], "<html>".to_owned()),
        });
        let outcomes = stores(&mailbox, items(4)).await;
        assert_eq!(letters(&outcomes), "uunn", "{answer}");
        assert!(
            outcomes.iter().all(|o| matches!(o, Outcome::Unknown(e) | Outcome::NotSent(e) if e.may_pass()))
        );
    }
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    server.then(|_| Delivery::NeverArrived);
    assert_eq!(letters(&stores(&mailbox, items(2)).await), "nn");
}

#[tokio::test]
async fn a_full_mailbox_and_a_missing_folder_stop_the_batch_with_a_remedy() {
    for (code, kind, scope) in [
        ("ErrorQuotaExceeded", Kind::Quota, Scope::Mailbox),
        ("ErrorFolderNotFound", Kind::NotFound, Scope::Folder),
        ("ErrorInvalidIdMalformed", Kind::NotFound, Scope::Folder),
    ] {
        let server = Server::default();
        let mailbox = server.open(|settings| settings.batch_messages = 2).await;
        server.says(response("CreateItem", &[failed("CreateItem", code), failed("CreateItem", code)]));
        let outcomes = stores(&mailbox, items(3)).await;
        assert!(
            outcomes.iter().all(|o| matches!(o, Outcome::NotSent(e) if (e.kind, e.scope) == (kind, scope))),
            "{outcomes:?}"
        );
    }
}

#[tokio::test]
async fn no_request_has_a_character_xml_cannot_hold() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let mut one = items(1);
    one[0].flags.keywords.insert("a\u{fffe}b".to_owned());
    one[0].flags.keywords.insert("<&>".to_owned());
    server.says(response("CreateItem", &[created("a")]));
    let outcomes = stores(&mailbox, one).await;
    assert!(matches!(&outcomes[0], Outcome::Stored { losses, .. } if losses.contains(&"keyword-dropped")));
    let body = server.last();
    assert!(body.contains("<t:String>&lt;&amp;&gt;</t:String>"));
    assert!(super::tree::Tree::parse(body.as_bytes()).is_some(), "well-formed");
}

//! What a message may be made of, and what becomes of it.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_made_is_a_draft_unless_the_flags_say_otherwise_at_creation() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let draft =
        tenant.post(&format!("/users/{ANN}/messages"), &json!({"subject": "x", "isDraft": false})).await;
    let draft = draft.expect(201).json();
    assert_eq!((&draft["isDraft"], &draft["isRead"]), (&json!(true), &json!(true)));
    let drafts = tenant.get(&format!("/users/{ANN}/mailFolders/drafts")).await.id();
    assert_eq!(draft["parentFolderId"], drafts.as_str());
    for (flags, is_draft, is_read) in
        [("0", false, false), ("1", false, true), ("4", false, false), ("9", true, true)]
    {
        let made = tenant
            .post(
                &format!("/users/{ANN}/mailFolders/inbox/messages"),
                &json!({"singleValueExtendedProperties": [{"id": "Integer 0x0E07", "value": flags}]}),
            )
            .await
            .expect(201)
            .json();
        assert_eq!((&made["isDraft"], &made["isRead"]), (&json!(is_draft), &json!(is_read)), "{flags}");
    }
}

#[tokio::test(start_paused = true)]
async fn dates_come_from_the_properties_never_from_the_json() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let id = tenant.message("inbox", &stamped("s1")).await;
    let made = tenant.get(&format!("/users/{ANN}/messages/{id}")).await.json();
    assert_eq!(made["receivedDateTime"], "2001-02-03T04:05:06Z");
    assert_eq!(made["sentDateTime"], "2001-02-03T04:00:00Z");
    assert_eq!(made["createdDateTime"], "2027-01-15T08:00:00Z");
    let id = tenant.message("inbox", &json!({"receivedDateTime": "2001-01-01T00:00:00Z"})).await;
    let made = tenant.get(&format!("/users/{ANN}/messages/{id}")).await.json();
    assert_eq!(made["receivedDateTime"], made["createdDateTime"], "ignored");
}

#[tokio::test(start_paused = true)]
async fn extended_properties_are_kept_and_shown_when_expanded() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let id = tenant.message("inbox", &stamped("s1")).await;
    let plain = tenant.get(&format!("/users/{ANN}/messages/{id}")).await.json();
    assert!(plain.get("singleValueExtendedProperties").is_none());
    let expand = percent_encoding::utf8_percent_encode(
        &format!("singleValueExtendedProperties($filter=id eq '{}' or id eq 'Integer 0x0E07')", stamp_id()),
        percent_encoding::NON_ALPHANUMERIC,
    )
    .to_string();
    let url = format!("/users/{ANN}/messages/{id}?$select=subject,internetMessageId&$expand={expand}");
    let shown = tenant.get(&url).await.expect(200).json();
    assert_eq!(
        shown["singleValueExtendedProperties"],
        json!([{"id": stamp_id(), "value": "s1"}, {"id": "Integer 0xe07", "value": "1"}])
    );
    assert_eq!((&shown["subject"], shown.get("body")), (&json!("Grüße"), None));
    assert_eq!(shown["internetMessageId"], "<1@example.org>");

    let tenant = Tenant::new(GraphOptions { select_expand_drops: true, ..GraphOptions::default() }).await;
    let id = tenant.message("inbox", &stamped("s1")).await;
    let url = format!("/users/{ANN}/messages/{id}?$select=subject,internetMessageId");
    assert!(tenant.get(&format!("{url}&$expand={expand}")).await.json().get("internetMessageId").is_none());
    assert!(tenant.get(&url).await.json().get("internetMessageId").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_a_message_is_refused() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let url = format!("/users/{ANN}/messages");
    for bad in [
        r#"{"subject":"a","subject":"b"}"#,
        r#"{"colour":"red"}"#,
        r#"{"Subject":"a"}"#,
        r#"{"subject":5}"#,
        r#"{"body":{"contentType":"rtf","content":"x"}}"#,
        r#"{"importance":"urgent"}"#,
        r#"{"categories":"one"}"#,
        r#"{"receivedDateTime":"yesterday"}"#,
        r#"{"toRecipients":{"emailAddress":{"address":"a@b.c"}}}"#,
        r#"{"toRecipients":[{"address":"a@b.c"}]}"#,
        r#"{"toRecipients":[{"emailAddress":{"name":"no address"}}]}"#,
        r#"{"from":{"emailAddress":{"address":""}}}"#,
        r#"{"flag":{"flagStatus":"maybe"}}"#,
        r#"{"flag":{"flagStatus":"flagged","dueDateTime":{"dateTime":"2020-01-01T00:00:00","timeZone":"UTC"}}}"#,
        r#"{"singleValueExtendedProperties":[{"id":"nonsense","value":"1"}]}"#,
        r#"{"singleValueExtendedProperties":[{"id":"Integer 0x0E07","value":"one"}]}"#,
        r#"{"singleValueExtendedProperties":[{"id":"Integer 0x0E07","value":1}]}"#,
        r#"{"attachments":[{"name":"a","contentBytes":"QQ=="}]}"#,
        r##"{"attachments":[{"@odata.type":"#microsoft.graph.fileAttachment","contentBytes":"QQ=="}]}"##,
        r##"{"attachments":[{"@odata.type":"#microsoft.graph.fileAttachment","name":"a"}]}"##,
        r##"{"attachments":[{"@odata.type":"#microsoft.graph.fileAttachment","name":"a","contentBytes":"Q!"}]}"##,
        r##"{"attachments":[{"@odata.type":"#microsoft.graph.itemAttachment","name":"a","item":{"x":1}}]}"##,
        "[]",
        "{",
        "",
    ] {
        let answer = tenant.send(Method::POST, &url, &[("content-type", "application/json")], bad).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
    assert_eq!(tenant.send(Method::POST, &url, &[("content-type", "")], "{}").await.status, 400);
    assert_eq!(tenant.send(Method::POST, &url, &[("content-type", "text/html")], "{}").await.status, 415);
    assert_eq!(tenant.mock.writes(), 0);
    assert!(tenant.mock.counters().violations.values().sum::<u64>() >= 25);
}

#[tokio::test(start_paused = true)]
async fn header_fields_must_be_few_short_and_begin_with_x() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let url = format!("/users/{ANN}/messages");
    let with = |list: Vec<(&str, String)>| {
        let list: Vec<Value> = list.iter().map(|(n, v)| json!({"name": n, "value": v})).collect();
        json!({"internetMessageHeaders": list})
    };
    let five: Vec<_> = ["X-1", "x-2", "x-3", "x-4", "x-5"].map(|n| (n, "v".to_owned())).to_vec();
    let id = tenant.post(&url, &with(five.clone())).await.expect(201).id();
    let mut six = five;
    six.push(("x-6", "v".into()));
    tenant.post(&url, &with(six)).await.refused(400, "InvalidInternetMessageHeaderCollection");
    let received = with(vec![("Received", "from x".into())]);
    tenant.post(&url, &received).await.refused(400, "InvalidInternetMessageHeader");
    tenant.post(&url, &with(vec![("x-long", "a".repeat(995))])).await.expect(201);
    tenant.post(&url, &with(vec![("x-long", "a".repeat(996))])).await.expect(400);
    let plain = tenant.get(&format!("{url}/{id}")).await.json();
    assert!(plain.get("internetMessageHeaders").is_none(), "only when selected");
    let selected = tenant.get(&format!("{url}/{id}?$select=internetMessageHeaders")).await.json();
    assert_eq!(selected["internetMessageHeaders"].as_array().unwrap().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn html_comes_back_rewritten_but_the_truth_has_what_was_sent() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let html = "<html><head></head><body>Hi <b>Bo</b></body></html>";
    let id = tenant.message("inbox", &json!({"body": {"contentType": "HTML", "content": html}})).await;
    let made = tenant.get(&format!("/users/{ANN}/messages/{id}")).await.json();
    assert_ne!(made["body"]["content"], html);
    assert!(made["body"]["content"].as_str().unwrap().contains("<meta"));
    assert_eq!(made["bodyPreview"], "Hi Bo");
    let truth = tenant.mock.truth();
    let truth = &truth.mailboxes[ANN].folders["Inbox"].messages[0];
    assert_eq!(truth.body_digest, blake3::hash(html.as_bytes()).to_hex().as_str());
    assert_eq!(truth.body_type, "html");
}

#[tokio::test(start_paused = true)]
async fn a_request_over_four_mebibytes_is_refused() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let url = format!("/users/{ANN}/messages");
    let body = |n: usize| json!({"body": {"contentType": "text", "content": "a".repeat(n)}});
    tenant.post(&url, &body((4 << 20) - 100)).await.expect(201);
    let refused = tenant.post(&url, &body(4 << 20)).await.expect(413);
    assert!(refused.body.is_empty());
}

#[tokio::test(start_paused = true)]
async fn mime_is_checked_and_always_becomes_a_draft() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let url = format!("/users/{ANN}/messages");
    let post = |body: String| {
        let (tenant, url) = (tenant.clone(), url.clone());
        async move { tenant.send(Method::POST, &url, &[("content-type", "text/plain")], body).await }
    };
    let mime = "From: A <a@example.org>\r\nTo: b@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <m@example.org>\r\n\r\nHello\r\n";
    let made = post(base64(mime)).await.expect(201).json();
    assert_eq!((&made["isDraft"], &made["isRead"]), (&json!(true), &json!(true)));
    assert_eq!((&made["subject"], &made["internetMessageId"]), (&json!("Grüße"), &json!("<m@example.org>")));
    assert_eq!(made["sentDateTime"], "2023-11-14T22:13:20Z");
    assert_eq!(made["receivedDateTime"], made["createdDateTime"]);
    let id = made["id"].as_str().unwrap();
    let octets = tenant.get(&format!("{url}/{id}/$value")).await.expect(200).body;
    assert_ne!(octets, mime, "MIME comes back made anew");
    assert!(octets.starts_with(b"From: ") && String::from_utf8_lossy(&octets).contains("<m@example.org>"));
    post("not base64!".into()).await.refused(400, "ErrorMimeContentInvalidBase64String");
    post(base64(mime.replace("\r\n", "\n"))).await.refused(400, "UnableToDeserializePostBody");
    post(String::new()).await.refused(400, "UnableToDeserializePostBody");

    let strict = Tenant::new(GraphOptions { mime_to_folder: false, ..GraphOptions::default() }).await;
    let folder = format!("/users/{ANN}/mailFolders/inbox/messages");
    let answer = strict.send(Method::POST, &folder, &[("content-type", "text/plain")], base64(mime)).await;
    answer.refused(400, "UnableToDeserializePostBody");
    let answer = strict.send(Method::POST, &url, &[("content-type", "text/plain")], base64(mime)).await;
    answer.expect(201);
}

#[tokio::test(start_paused = true)]
async fn import_mime_is_there_only_in_beta_and_with_the_permission() {
    let options = GraphOptions { import_mime: true, mail_advanced: true, ..GraphOptions::default() };
    let tenant = Tenant::new(options.clone()).await;
    let path = format!("users/{ANN}/mailFolders/inbox/importMime");
    let mime = base64("Subject: x\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n\r\nHello\r\n");
    let plain = [("content-type", "text/plain")];
    let made =
        tenant.send(Method::POST, &format!("http://graph.test/beta/{path}"), &plain, mime.clone()).await;
    assert_eq!(made.expect(201).json()["isDraft"], false);
    tenant.send(Method::POST, &format!("/{path}"), &plain, mime.clone()).await.expect(404);
    let poor = Tenant::new(GraphOptions { mail_advanced: false, ..options }).await;
    let answer = poor.send(Method::POST, &format!("http://graph.test/beta/{path}"), &plain, mime).await;
    answer.refused(403, "ErrorAccessDenied");
}

#[tokio::test(start_paused = true)]
async fn what_is_unknown_of_imported_messages_goes_both_ways() {
    const HEADER: &str = "String {00020386-0000-0000-C000-000000000046} Name x-mailwave-stamp";
    for on in [false, true] {
        let options = GraphOptions {
            import_mime: true,
            mail_advanced: true,
            import_mime_read: on,
            import_mime_keeps_date: on,
            mime_keeps_headers: on,
            patch_dates: on,
            ..GraphOptions::default()
        };
        let tenant = Tenant::new(options).await;
        let url = format!("http://graph.test/beta/users/{ANN}/mailFolders/inbox/importMime");
        let mime =
            base64("X-Mailwave-Stamp:  s/open\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n\r\nHello\r\n");
        let made = tenant.send(Method::POST, &url, &[("content-type", "text/plain")], mime).await.expect(201);
        let (id, made) = (made.id(), made.json());
        assert_eq!(made["isRead"], on);
        assert_eq!(made["receivedDateTime"] == "2023-11-14T22:13:20Z", on);
        // The field is known by its name in lower case, and its value has no blanks around it.
        let filter = format!(
            "singleValueExtendedProperties/Any(ep: ep/id eq '{HEADER}' and startswith(ep/value,'s/'))"
        );
        let filter = filter.replace(' ', "%20");
        let found = tenant.get(&format!("/users/{ANN}/messages?$filter={filter}")).await.expect(200).json();
        assert_eq!(found["value"].as_array().unwrap().len(), usize::from(on));
        let date = json!({"singleValueExtendedProperties": [{"id": "SystemTime 0x0E06", "value": "2001-01-01T00:00:00Z"}]});
        let changed = tenant.patch(&format!("/users/{ANN}/messages/{id}"), &date).await.expect(200).json();
        assert_eq!(changed["receivedDateTime"] == "2001-01-01T00:00:00Z", on);
    }
}

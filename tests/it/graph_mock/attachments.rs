//! Attachments small and large, and what is full.

use mailwave::mock::graph::Sizes;

use super::*;

#[tokio::test(start_paused = true)]
async fn attachments_are_added_to_any_message_and_read_back() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let mut message = stamped("s");
    let item = json!({
        "@odata.type": "#microsoft.graph.itemAttachment", "name": "inner",
        "item": {"@odata.type": "#microsoft.graph.message", "subject": "Inner"},
    });
    message["attachments"] = json!([file("a.pdf", b"one"), item]);
    let id = tenant.message("inbox", &message).await;
    let url = format!("/users/{ANN}/messages/{id}/attachments");
    let added = tenant.post(&url, &file("b.pdf", b"second")).await.expect(201).id();
    let list = tenant.get(&url).await.expect(200).json();
    let names: Vec<&str> =
        list["value"].as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a.pdf", "inner", "b.pdf"]);
    assert_eq!(list["value"][0]["contentBytes"], base64(b"one"));
    assert_eq!(tenant.get(&format!("{url}/{added}/$value")).await.expect(200).body, "second");
    let one = tenant.get(&format!("{url}/{added}?$select=id,name,size")).await.expect(200).json();
    assert!(one.get("contentBytes").is_none());
    assert_ne!(one["size"], 6, "the size told is not the decoded length");
    let truth = tenant.mock.truth();
    let truth = &truth.mailboxes[ANN].folders["Inbox"].messages[0];
    assert_eq!(truth.attachments[2].digest, blake3::hash(b"second").to_hex().as_str());
    assert_eq!((truth.attachments[1].kind.as_str(), truth.attachments[2].size), ("item", 6));
    tenant.delete(&format!("{url}/{added}")).await.expect(204);
    tenant.get(&format!("{url}/{added}")).await.expect(404);
    // Just over 3 MiB decoded still fits a request, but is too large for this way.
    let big = vec![7; (3 << 20) + 1];
    let roomy =
        GraphOptions { sizes: Sizes { request: 8 << 20, ..Sizes::default() }, ..GraphOptions::default() };
    let tenant = Tenant::new(roomy).await;
    let id = tenant.message("inbox", &json!({})).await;
    let url = format!("/users/{ANN}/messages/{id}/attachments");
    tenant.post(&url, &file("big", &big)).await.refused(413, "ErrorAttachmentSizeLimitExceeded");
    tenant.post(&url, &file("fits", &big[1..])).await.expect(201);
}

#[tokio::test(start_paused = true)]
async fn a_large_attachment_goes_by_an_upload_session_in_order() {
    let tenant = Tenant::new(GraphOptions::default()).await;
    let id = tenant.message("inbox", &stamped("s;open")).await;
    let octets: Vec<u8> = (0..5_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
    let item = |kind: &str, size: usize| json!({"AttachmentItem": {"attachmentType": kind, "name": "big.bin", "size": size, "contentType": "application/zip"}});
    let open = format!("/users/{ANN}/messages/{id}/attachments/createUploadSession");
    tenant.post(&open, &item("file", 1000)).await.expect(400);
    tenant.post(&open, &item("item", octets.len())).await.expect(400);
    tenant.post(&open, &item("file", 151 << 20)).await.expect(413);
    let session = tenant.post(&open, &item("file", octets.len())).await.expect(201).json();
    assert_eq!(session["nextExpectedRanges"], json!(["0-"]));
    let url = session["uploadUrl"].as_str().unwrap().to_owned();
    assert!(!url.contains("/v1.0/"));
    let put = |from: usize, to: usize, total: usize| {
        let (tenant, url) = (tenant.clone(), url.clone());
        let body = Bytes::copy_from_slice(&octets[from..to]);
        async move {
            let range = format!("bytes {from}-{}/{total}", to - 1);
            tenant.send(Method::PUT, &url, &[("authorization", ""), ("content-range", &range)], body).await
        }
    };
    let n = octets.len();
    put(327_680, 655_360, n).await.expect(416);
    put(0, 327_680, n + 1).await.expect(416);
    put(0, 4_194_305, n).await.expect(413);
    let range = format!("bytes 0-9/{n}");
    let answer = tenant.send(Method::PUT, &url, &[("content-range", &range)], "0123456789").await;
    answer.expect(401);
    let answer =
        tenant.send(Method::PUT, &url, &[("authorization", ""), ("content-range", &range)], "123").await;
    answer.expect(400);
    let next = put(0, 3_276_800, n).await.expect(200).json();
    assert_eq!(next["nextExpectedRanges"], json!(["3276800"]));
    put(0, 3_276_800, n).await.expect(416);
    let status = tenant.send(Method::GET, &url, &[("authorization", "")], "").await.expect(200).json();
    assert_eq!(status["nextExpectedRanges"], json!(["3276800"]));
    assert!(tenant.mock.truth().mailboxes[ANN].folders["Inbox"].messages[0].attachments.is_empty());
    let done = put(3_276_800, n, n).await.expect(201);
    assert!(done.headers["location"].to_str().unwrap().contains("/Attachments('"));
    assert!(done.body.is_empty());
    put(3_276_800, n, n).await.expect(404);
    let truth = tenant.mock.truth();
    let attachment = &truth.mailboxes[ANN].folders["Inbox"].messages[0].attachments[0];
    assert_eq!(attachment.digest, blake3::hash(&octets).to_hex().as_str());
}

#[tokio::test(start_paused = true)]
async fn an_upload_session_expires_and_dies_with_its_message() {
    let options = GraphOptions {
        sizes: Sizes { upload_seconds: 60, upload_min: 1, ..Sizes::default() },
        ..GraphOptions::default()
    };
    let tenant = Tenant::new(options).await;
    let item = json!({"AttachmentItem": {"attachmentType": "file", "name": "a", "size": 3}});
    for expire in [true, false] {
        let id = tenant.message("inbox", &json!({})).await;
        let open = format!("/users/{ANN}/messages/{id}/attachments/createUploadSession");
        let url =
            tenant.post(&open, &item).await.expect(201).json()["uploadUrl"].as_str().unwrap().to_owned();
        if expire {
            tokio::time::advance(Duration::from_secs(61)).await;
        } else {
            tenant.delete(&format!("/users/{ANN}/messages/{id}")).await.expect(204);
        }
        let headers = [("authorization", ""), ("content-range", "bytes 0-2/3")];
        tenant.send(Method::PUT, &url, &headers, "abc").await.expect(404);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_a_mailbox_and_a_folder_can_be_full() {
    let sizes =
        Sizes { message: 10_000, mailbox: 12_000, folder_messages: 2, upload_min: 1, ..Sizes::default() };
    let tenant = Tenant::new(GraphOptions { sizes, ..GraphOptions::default() }).await;
    let sized = |n: usize| json!({"body": {"contentType": "text", "content": "a".repeat(n)}});
    let url = format!("/users/{ANN}/messages");
    tenant.post(&url, &sized(20_000)).await.refused(413, "ErrorMessageSizeExceeded");
    let id = tenant.post(&url, &sized(8000)).await.expect(201).id();
    tenant.post(&url, &sized(8000)).await.refused(507, "ErrorQuotaExceeded");
    let attach = format!("{url}/{id}/attachments");
    tenant.post(&attach, &file("a", &[1; 5000])).await.refused(413, "ErrorMessageSizeExceeded");
    tenant.post(&url, &sized(1)).await.expect(201);
    tenant.post(&url, &sized(1)).await.refused(507, "ErrorQuotaExceeded");
}

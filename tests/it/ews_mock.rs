//! The mock of Exchange Web Services by raw requests: each rule of the service that clients meet.

mod desk;

use std::time::Duration;

use http::Method;
use mailwave::mock::ews::{
    Account, Blocked, Busy, EwsMock, EwsOptions, Fault, Latency, Limits, Scheme, Sizes, When,
};

use self::desk::{ANN, Desk, STAMP, create, message, mime, world};

fn options() -> EwsOptions {
    EwsOptions::default()
}

#[tokio::test(start_paused = true)]
async fn without_credentials_a_challenge_names_what_is_taken() {
    let desk = Desk::new(EwsOptions { offers: vec![Scheme::Ntlm, Scheme::Basic], ..options() });
    let body = desk.envelope("<m:GetFolder/>");
    for authorization in [None, Some("Basic bm9ib2R5Ondyb25n"), Some("NTLM TlRM"), Some("Bearer x")] {
        let answer = desk.send(authorization, Some(ANN), &body).await;
        assert_eq!(answer.status, 401, "{authorization:?}");
        let offers: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
        assert_eq!(offers, ["NTLM", "Basic realm=\"mock.example\""]);
        assert!(answer.text.is_empty());
    }
    assert_eq!(desk.mock.counters().challenges, 4);
}

#[tokio::test(start_paused = true)]
async fn the_path_is_read_in_any_case_and_only_posted_xml_is_taken() {
    let desk = Desk::new(options());
    let body = desk.envelope(&desk::get_folder("inbox"));
    for path in ["/EWS/Exchange.asmx", "/ews/exchange.asmx", "/eWS/EXCHANGE.ASMX"] {
        assert_eq!(desk.request(&Method::POST, path, "text/xml", &body).await, 200, "{path}");
    }
    assert_eq!(desk.request(&Method::GET, "/EWS/Exchange.asmx", "text/xml", &body).await, 405);
    assert_eq!(desk.request(&Method::POST, "/EWS/Other.asmx", "text/xml", &body).await, 404);
    assert_eq!(desk.request(&Method::POST, "/EWS/Exchange.asmx", "application/json", &body).await, 415);
    assert_eq!(desk.request(&Method::POST, "/EWS/Exchange.asmx", "text/xml", "<a>").await, 400);
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_is_reached_by_impersonation_with_its_anchor() {
    let account =
        |name: &str, impersonates| Account { name: name.into(), password: "p".into(), impersonates };
    let desk = Desk::new(EwsOptions {
        accounts: vec![account("may@example.org", true), account("maynot@example.org", false)],
        auto_provision: false,
        mailboxes: vec![ANN.into(), "maynot@example.org".into()],
        forbidden: vec!["chief@example.org".into()],
        impersonation_required: false,
        ..options()
    });
    let may = desk::basic("may@example.org", "p");
    let body = desk.envelope(&desk::get_folder("inbox"));
    assert_eq!(desk.send(Some(&may), Some(ANN), &body).await.status, 200);
    assert_eq!(desk.send(Some(&may), None, &body).await.status, 400, "no anchor");
    assert_eq!(desk.send(Some(&may), Some("bo@example.org"), &body).await.status, 400, "another's anchor");
    let other = desk::basic("maynot@example.org", "p");
    desk.send(Some(&other), Some(ANN), &body).await.fault("ErrorImpersonateUserDenied");
    let chief = desk::envelope_for("chief@example.org", &desk::get_folder("inbox"));
    desk.send(Some(&may), Some("chief@example.org"), &chief).await.fault("ErrorImpersonateUserDenied");
    let nobody = desk::envelope_for("nobody@example.org", &desk::get_folder("inbox"));
    desk.send(Some(&may), Some("nobody@example.org"), &nobody).await.fault("ErrorNonExistentMailbox");
    let own = desk::envelope("", &desk::get_folder("inbox"));
    assert_eq!(desk.send(Some(&other), None, &own).await.status, 200, "one's own mailbox");
}

#[tokio::test(start_paused = true)]
async fn where_impersonation_is_required_nothing_goes_without() {
    let desk = Desk::new(options());
    let own = desk::envelope("", &desk::get_folder("inbox"));
    desk.send(Some(&desk.basic), Some(ANN), &own).await.fault("ErrorImpersonationRequired");
}

#[tokio::test(start_paused = true)]
async fn a_token_serves_until_it_ends() {
    let desk = Desk::new(EwsOptions { token_seconds: 100, ..options() });
    let bearer = desk.token("secret").await.expect("a token");
    assert!(desk.token("wrong").await.is_none());
    let body = desk.envelope(&desk::get_folder("inbox"));
    assert_eq!(desk.send(Some(&bearer), Some(ANN), &body).await.status, 200);
    tokio::time::advance(Duration::from_secs(101)).await;
    assert_eq!(desk.send(Some(&bearer), Some(ANN), &body).await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_blocks_ews_says_so_in_two_ways() {
    let desk = Desk::new(EwsOptions { blocked: Some(Blocked::Forbidden), ..options() });
    let body = desk.envelope(&desk::get_folder("inbox"));
    assert_eq!(desk.send(Some(&desk.basic), Some(ANN), &body).await.status, 403);
    let desk = Desk::new(EwsOptions { blocked: Some(Blocked::AccessDenied), ..options() });
    desk.call(&desk::get_folder("inbox")).await.fault("ErrorAccessDenied");
}

#[tokio::test(start_paused = true)]
async fn elements_out_of_the_schemas_order_fail_the_whole_request() {
    let desk = Desk::new(options());
    let good = format!("<t:MimeContent>{}</t:MimeContent><t:ItemClass>IPM.Note</t:ItemClass>", mime(1));
    desk.call(&create("inbox", &message(&good))).await.good();
    for bad in [
        format!("<t:ItemClass>IPM.Note</t:ItemClass><t:MimeContent>{}</t:MimeContent>", mime(1)),
        format!("<t:MimeContent>{}</t:MimeContent><t:IsRead>yes</t:IsRead>", mime(1)),
        format!("<t:MimeContent>{}</t:MimeContent><t:Colour>red</t:Colour>", mime(1)),
        format!("<t:MimeContent>{0}</t:MimeContent><t:MimeContent>{0}</t:MimeContent>", mime(1)),
    ] {
        desk.call(&create("inbox", &message(&bad))).await.fault("ErrorSchemaValidation");
    }
    desk.call("<m:Nothing/>").await.fault("ErrorSchemaValidation");
    assert_eq!(desk.mock.counters().violations["ErrorSchemaValidation"], 5);
    assert_eq!(desk.folder("Inbox").len(), 1, "nothing of them was done");
}

#[tokio::test(start_paused = true)]
async fn flags_and_dates_given_at_creation_are_kept_and_without_them_it_is_a_draft() {
    let desk = Desk::new(options());
    let bare = desk::given(1, "", "");
    let flags = desk::tag("0x0E07", "Integer", "1")
        + &desk::tag("0x0e06", "SystemTime", "2001-02-03T04:05:06Z")
        + &desk::tag("57", "SystemTime", "2001-02-03T04:05:00Z");
    let kept = desk::given(2, &flags, "");
    let unread = desk::given(3, &desk::tag("3591", "Integer", "4"), "");
    let both = desk::given(4, &desk::tag("0x0E07", "Integer", "0"), "<t:IsRead>true</t:IsRead>");
    desk.call(&create("inbox", &[bare, kept, unread, both].concat())).await.good();
    let inbox = desk.folder("Inbox");
    let seen: Vec<_> = inbox.iter().map(|m| (m.is_draft, m.is_read)).collect();
    assert_eq!(seen, [(true, false), (false, true), (false, false), (false, true)]);
    assert_eq!(inbox[0].received, "2027-01-15T08:00:00Z", "now");
    assert_eq!(inbox[0].sent, "2001-01-02T03:04:05Z", "the message's Date");
    assert_eq!(
        (inbox[1].received.as_str(), inbox[1].sent.as_str()),
        ("2001-02-03T04:05:06Z", "2001-02-03T04:05:00Z")
    );
}

#[tokio::test(start_paused = true)]
async fn each_message_of_a_request_is_judged_by_itself() {
    let sizes = Sizes { message: 1000, ..Sizes::default() };
    let desk = Desk::new(EwsOptions { sizes, ..options() });
    let long = encodify::base64::STANDARD.encode(format!("Subject: x\r\n\r\n{}", "y".repeat(2000)));
    let appointment = "<t:ItemClass>IPM.Appointment</t:ItemClass>";
    let items = [
        desk::given(1, "", ""),
        message("<t:MimeContent>***</t:MimeContent>"),
        message("<t:MimeContent></t:MimeContent>"),
        message(&format!("<t:MimeContent>{long}</t:MimeContent>")),
        message(&format!("<t:MimeContent>{}</t:MimeContent>{appointment}", mime(2))),
        desk::given(3, &desk::tag("0x8001", "Integer", "1"), ""),
        desk::given(4, &desk::tag("0x0E07", "Integer", "one"), ""),
        desk::given(5, "", ""),
    ];
    let answer = desk.call(&create("inbox", &items.concat())).await;
    assert_eq!(
        answer.codes(),
        [
            "NoError",
            "ErrorMimeContentInvalidBase64String",
            "ErrorMimeContentInvalid",
            "ErrorMessageSizeExceeded",
            "ErrorObjectTypeChanged",
            "ErrorInvalidExtendedProperty",
            "ErrorInvalidExtendedPropertyValue",
            "NoError"
        ]
    );
    assert_eq!(desk.folder("Inbox").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_and_a_full_folder_are_told_apart() {
    let sizes = Sizes { mailbox: 1200, ..Sizes::default() };
    let desk = Desk::new(EwsOptions { sizes, ..options() });
    let answer = desk.call(&create("inbox", &(desk::given(1, "", "") + &desk::given(2, "", "")))).await;
    assert_eq!(answer.codes(), ["NoError", "NoError"]);
    assert_eq!(desk.call(&create("inbox", &desk::given(3, "", ""))).await.codes(), ["ErrorQuotaExceeded"]);
    let sizes = Sizes { folder_messages: 0, ..Sizes::default() };
    let desk = Desk::new(EwsOptions { sizes, ..options() });
    let answer = desk.call(&create("inbox", &desk::given(1, "", ""))).await;
    assert_eq!(answer.codes(), ["ErrorInternalServerError"]);
    assert!(answer.text.contains("Name=\"InnerErrorResponseCode\">ErrorQuotaExceeded<"), "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn what_would_send_is_refused() {
    let desk = Desk::new(options());
    let save = create("inbox", &desk::given(1, "", ""));
    desk.call(&save.replace("SaveOnly", "SendAndSaveCopy")).await.fault("ErrorSendAsDenied");
    let without = save.replace(" MessageDisposition=\"SaveOnly\"", "");
    desk.call(&without).await.fault("ErrorMessageDispositionRequired");
    assert!(desk.folder("Inbox").is_empty());
}

#[tokio::test(start_paused = true)]
async fn folders_are_listed_in_pages_and_names_are_unique_in_any_case() {
    let desk = Desk::new(options());
    for n in 0..30 {
        desk.call(&desk::create_folder("inbox", &format!("n{n:02}"))).await.good();
    }
    let answer = desk.call(&desk::create_folder("inbox", "N07")).await;
    assert_eq!(answer.codes(), ["ErrorFolderExists"]);
    assert_eq!(desk.call(&desk::create_folder("inbox", "")).await.codes(), ["ErrorFolderSavePropertyError"]);
    let mut names = Vec::new();
    for offset in [0, 12, 24] {
        let answer = desk.call(&desk::find_folder("inbox", "Shallow", 12, offset)).await.good();
        assert!(answer.text.contains("TotalItemsInView=\"30\""));
        assert_eq!(answer.text.contains("IncludesLastItemInRange=\"true\""), offset == 24);
        names.extend(answer.all("t:DisplayName"));
    }
    assert_eq!(names.len(), 30);
    let deep = desk.call(&desk::find_folder("msgfolderroot", "Deep", 1000, 0)).await.good();
    assert!(deep.all("t:DisplayName").contains(&"n29".to_owned()));
    assert_eq!(desk.call(&desk::get_folder("archive")).await.codes(), ["ErrorFolderNotFound"]);
    desk.call(&desk::get_folder("nonsense")).await.fault("ErrorSchemaValidation");
}

#[tokio::test(start_paused = true)]
async fn ids_are_told_apart_by_case_and_change_with_a_move() {
    let desk = Desk::new(options());
    let id = desk.call(&create("inbox", &desk::given(1, "", ""))).await.good().item_id();
    let turned: String = id
        .chars()
        .map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
        .collect();
    assert_eq!(desk.call(&desk::get_item(&turned)).await.codes(), ["ErrorItemNotFound"]);
    assert_eq!(desk.call(&desk::get_item("not-an-id")).await.codes(), ["ErrorInvalidIdMalformed"]);
    assert_eq!(desk.call(&desk::get_item("")).await.codes(), ["ErrorInvalidIdEmpty"]);
    let moved = desk.call(&desk::move_item("drafts", &id)).await.good().item_id();
    assert_ne!(moved, id);
    assert_eq!(desk.call(&desk::get_item(&id)).await.codes(), ["ErrorItemNotFound"]);
    let got = desk.call(&desk::get_item(&moved)).await.good();
    let back = encodify::base64::STANDARD.decode(&got.all("t:MimeContent")[0]).unwrap();
    let original = encodify::base64::STANDARD.decode(mime(1)).unwrap();
    assert_ne!(back, original, "made anew");
    assert!(String::from_utf8(back).unwrap().ends_with("\r\n\r\nHello 1\r\n"), "its body is the same");
}

#[tokio::test(start_paused = true)]
async fn copies_are_found_by_the_beginning_of_their_stamps_once_they_are_visible() {
    let desk = Desk::new(EwsOptions { filter_delay_ms: 5000, ..options() });
    let items: String = (0..5).map(|n| desk::given(n, &desk::stamp(&format!("mw1:a:{n}")), "")).collect();
    desk.call(&create("inbox", &items)).await.good();
    let search = |what: &str| desk::find_item("inbox", &desk::prefixed(what));
    assert!(desk.call(&search("mw1:a:")).await.good().all("t:Value").is_empty(), "not yet");
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(desk.call(&search("mw1:a:")).await.good().all("t:Value").len(), 5);
    assert_eq!(desk.call(&search("mw1:a:3")).await.good().all("t:Value"), ["mw1:a:3"]);
    assert!(desk.call(&search("MW1:A:3")).await.good().all("t:Value").is_empty(), "case counts");
    let wrong = desk::find_item("inbox", "").replace(
        "IdOnly</t:BaseShape>",
        "IdOnly</t:BaseShape><t:IncludeMimeContent>true</t:IncludeMimeContent>",
    );
    desk.call(&wrong).await.fault("ErrorInvalidPropertyRequest");
}

#[tokio::test(start_paused = true)]
async fn an_update_of_the_draft_flag_succeeds_and_changes_nothing() {
    let desk = Desk::new(options());
    let id = desk.call(&create("inbox", &desk::given(1, "", ""))).await.good().item_id();
    let set = desk::update_property(&id, "0x0E07", "Integer", "1");
    desk.call(&set).await.good();
    assert!(desk.folder("Inbox")[0].is_draft);
    desk.call(&desk::update_property(&id, "0x0E06", "SystemTime", "2001-02-03T04:05:06Z")).await.good();
    assert_eq!(desk.folder("Inbox")[0].received, "2027-01-15T08:00:00Z");
    desk.call(&desk::update_read(&id, None, "AlwaysOverwrite", true)).await.good();
    assert!(desk.folder("Inbox")[0].is_read);
}

#[tokio::test(start_paused = true)]
async fn an_update_on_an_old_change_key_is_a_conflict_unless_it_overwrites_or_touches_something_else() {
    let desk = Desk::new(options());
    let made = desk.call(&create("inbox", &desk::given(1, "", ""))).await.good();
    let (id, key) = (made.item_id(), made.change_key());
    let update = |key: Option<&str>, how: &str, read| desk::update_read(&id, key, how, read);
    let codes = desk.call(&update(None, "AutoResolve", true)).await.codes();
    assert_eq!(codes, ["ErrorChangeKeyRequiredForWriteOperations"]);
    desk.call(&desk::update_property(&id, "0x1000", "String", "x")).await.good();
    assert_eq!(
        desk.call(&update(Some(&key), "NeverOverwrite", true)).await.codes(),
        ["ErrorIrresolvableConflict"]
    );
    desk.call(&update(Some(&key), "AutoResolve", true)).await.good();
    assert_eq!(
        desk.call(&update(Some(&key), "AutoResolve", false)).await.codes(),
        ["ErrorIrresolvableConflict"],
        "the same property was changed since"
    );
    desk.call(&update(Some(&key), "AlwaysOverwrite", false)).await.good();
    assert_eq!(
        desk.call(&update(Some("nokey"), "AlwaysOverwrite", false)).await.codes(),
        ["ErrorInvalidChangeKey"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_not_begun_within_a_minute_is_not_tried() {
    for time_scale in [1, 60] {
        let latency = Latency { per_item_ms: 25_000, ..Latency::default() };
        let desk = Desk::new(EwsOptions { latency, time_scale, ..options() });
        let began = tokio::time::Instant::now();
        let items: String = (0..5).map(|n| desk::given(n, "", "")).collect();
        let answer = desk.call(&create("inbox", &items)).await;
        let (good, stopped) = ("NoError", "ErrorBatchProcessingStopped");
        assert_eq!(answer.codes(), [good, good, good, stopped, stopped]);
        assert_eq!(answer.text.matches("ResponseClass=\"Warning\"").count(), 2);
        let (took, due) = (began.elapsed().as_millis(), u128::from(75_000 / time_scale));
        assert!((due..due + 3).contains(&took), "it took {took} ms");
        assert_eq!(desk.folder("Inbox").len(), 3);
        assert_eq!(desk.mock.counters().stopped, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_twenty_eighth_request_at_once_is_refused() {
    let latency = Latency { base_ms: 1000, ..Latency::default() };
    let desk = Desk::new(EwsOptions { latency, ..options() });
    let body = desk::get_folder("inbox");
    let all = futures_util::future::join_all((0..28).map(|_| desk.call(&body))).await;
    let refused: Vec<_> = all.iter().filter(|a| a.status == 500).collect();
    assert_eq!(refused.len(), 1);
    assert!(refused[0].text.contains("ErrorExceededConnectionCount"));
    assert_eq!(desk.mock.counters().peak_in_flight, 27);
    desk.call(&body).await.good();
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_makes_the_server_busy_for_as_long_as_it_says() {
    let limits = Limits {
        burst_ms: 1000,
        recharge_ms: 3_600_000,
        cutoff_ms: 1000,
        item_cost_ms: 2000,
        ..Limits::default()
    };
    let desk = Desk::new(EwsOptions { limits, ..options() });
    let body = desk::get_folder("inbox");
    desk.call(&body).await.good();
    let busy = desk.call(&body).await;
    assert!(busy.text.contains("<e:ResponseCode") && busy.text.contains("ErrorServerBusy"), "{}", busy.text);
    let wait: u64 = desk::backoff(&busy.text).expect("a wait");
    assert_eq!(wait, 3000);
    tokio::time::advance(Duration::from_millis(wait - 500)).await;
    assert_eq!(desk.call(&body).await.status, 200, "above the cutoff already, but it did not wait");
    assert_eq!(desk.mock.counters().violations.len(), 1, "that is noticed");
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_says_so_in_each_of_its_envelopes() {
    let desk = Desk::new(options());
    let call = create("inbox", &(desk::given(1, "", "") + &desk::given(2, "", "")));
    for (envelope, status) in
        [(Busy::Fault, 500), (Busy::Message, 200), (Busy::Wrapped, 200), (Busy::Unavailable, 503)]
    {
        desk.fault(When::Always, Fault::Busy { envelope, wait_ms: Some(7000) });
        let answer = desk.call(&call).await;
        assert_eq!(answer.status, status, "{envelope:?}");
        match envelope {
            Busy::Fault => assert!(answer.text.contains("a:ErrorServerBusy")),
            Busy::Message => assert_eq!(answer.codes(), ["ErrorServerBusy"; 2]),
            Busy::Wrapped => assert_eq!(answer.codes(), ["ErrorInternalServerError"; 2]),
            Busy::Unavailable => assert!(answer.text.is_empty()),
        }
        assert_eq!(desk::backoff(&answer.text), (envelope != Busy::Unavailable).then_some(7000));
    }
    assert!(desk.folder("Inbox").is_empty(), "nothing was done");
}

#[tokio::test(start_paused = true)]
async fn faults_before_and_after_the_commit_are_what_they_say() {
    let soap = |code: &str| Fault::DoneButSoap { code: code.into() };
    for (fault, done) in [
        (Fault::Status { status: 500, retry_after: None }, 0),
        (Fault::DoneBut { status: 504, retry_after: None }, 3),
        (Fault::Soap { code: "ErrorInternalServerTransientError".into() }, 0),
        (soap("ErrorTimeoutExpired"), 3),
        (Fault::Item { number: 2, code: "ErrorItemSave".into() }, 2),
        (Fault::Stopped { after: 1 }, 1),
        (Fault::ResetBefore, 0),
        (Fault::ResetAfter, 3),
        (Fault::ResetAfterItems { items: 2 }, 2),
        (Fault::EmptyBody, 3),
        (Fault::HtmlBody, 3),
        (Fault::Truncated { keep: 100 }, 3),
        (Fault::Lost, 0),
        (Fault::LateCommit { after_ms: 1000, gateway_timeout: false }, 0),
    ] {
        let desk = Desk::new(options());
        desk.fault(When::Nth(vec![1]), fault.clone());
        let items: String = (0..3).map(|n| desk::given(n, "", "")).collect();
        let answer = desk.try_call(&create("inbox", &items)).await;
        let silent = matches!(
            fault,
            Fault::ResetBefore | Fault::ResetAfter | Fault::ResetAfterItems { .. } | Fault::LateCommit { .. }
        );
        assert_eq!(answer.is_none(), silent, "{fault:?}");
        assert_eq!(desk.folder("Inbox").len(), done, "{fault:?}");
        if matches!(fault, Fault::LateCommit { .. }) {
            tokio::time::advance(Duration::from_millis(1000)).await;
            assert_eq!(desk.folder("Inbox").len(), 3, "later");
        }
        assert_eq!(desk.mock.fault_counts()["it"], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_caller_vanished_is_acted_on_all_the_same() {
    let latency = Latency { base_ms: 1000, ..Latency::default() };
    let desk = Desk::new(EwsOptions { latency, ..options() });
    let call = create("inbox", &desk::given(1, "", ""));
    let given_up = tokio::time::timeout(Duration::from_millis(10), desk.try_call(&call)).await;
    assert!(given_up.is_err());
    assert!(desk.folder("Inbox").is_empty());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(desk.folder("Inbox").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_once_and_a_foreign_state_is_refused() {
    let desk = Desk::new(options());
    let items: String = (0..5).map(|n| desk::given(n, "", "")).collect();
    let ids = desk.call(&create("inbox", &items)).await.good().item_ids();
    let first = desk.call(&desk::sync("inbox", "", 3)).await.good();
    assert_eq!(first.text.matches("<t:Create>").count(), 3);
    assert!(first.text.contains("<m:IncludesLastItemInRange>false<"));
    // What is not told yet is changed meanwhile: it is new to the client all the same.
    desk.call(&desk::update_property(&ids[4], "0x1000", "String", "x")).await.good();
    let second = desk.call(&desk::sync("inbox", &first.all("m:SyncState")[0], 512)).await.good();
    assert_eq!(
        (second.text.matches("<t:Create>").count(), second.text.matches("<t:Update>").count()),
        (2, 0)
    );
    let state = &second.all("m:SyncState")[0];
    desk.call(&desk::update_read(&ids[0], None, "AlwaysOverwrite", true)).await.good();
    desk.call(&desk::move_item("drafts", &ids[1])).await.good();
    let third = desk.call(&desk::sync("inbox", state, 512)).await.good();
    assert_eq!(third.text.matches("<t:ReadFlagChange>").count(), 1);
    assert_eq!(third.text.matches("<t:Delete>").count(), 1);
    assert_eq!(desk.call(&desk::sync("drafts", state, 5)).await.codes(), ["ErrorInvalidSyncStateData"]);
    desk.call(&desk::sync("inbox", "", 513)).await.fault("ErrorSchemaValidation");
}

#[tokio::test(start_paused = true)]
async fn an_exported_item_is_imported_whole_and_a_broken_stream_is_refused() {
    let desk = Desk::new(options());
    let extra = desk::stamp("mw1:x") + &desk::tag("0x0E07", "Integer", "1");
    let extra = desk::tag("0x0E06", "SystemTime", "2001-02-03T04:05:06Z") + &extra;
    let id = desk.call(&create("inbox", &desk::given(1, &extra, ""))).await.good().item_id();
    let data = desk.call(&desk::export(&id)).await.good().all("m:Data").remove(0);
    let drafts = desk.mock.truth().mailboxes[ANN].folders["Drafts"].id.clone();
    desk.call(&desk::upload(&drafts, &data)).await.good();
    let (old, new) = (desk.folder("Inbox").remove(0), desk.folder("Drafts").remove(0));
    assert_eq!((&old.named, &old.received, old.is_draft), (&new.named, &new.received, new.is_draft));
    assert_eq!(old.mime_digest, new.mime_digest);
    assert_ne!(old.id, new.id);
    let broken = &data[..data.len() / 8 * 4];
    assert_eq!(desk.call(&desk::upload(&drafts, broken)).await.codes(), ["ErrorCorruptData"]);
    desk.fault(When::Always, Fault::CutExport);
    let cut = desk.call(&desk::export(&id)).await.good().all("m:Data").remove(0);
    let cut = encodify::base64::STANDARD.decode(cut).unwrap();
    assert!(cut.ends_with(b"=== Truncated Data ==="));
    assert!(desk.call(STAMP).await.status == 500, "what is no operation is refused");
}

#[tokio::test]
async fn a_state_outlives_its_server_and_a_deleted_one_gives_other_ids() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::of(EwsMock::open(dir.path(), options(), world()).unwrap());
    let id = desk.call(&create("inbox", &desk::given(1, &desk::stamp("s"), ""))).await.good().item_id();
    let before = desk.mock.truth().mailboxes;
    desk.mock.save().unwrap();
    let desk = Desk::of(EwsMock::open(dir.path(), options(), world()).unwrap());
    assert_eq!(desk.mock.truth().mailboxes, before);
    assert!(desk.call(&desk::get_item(&id)).await.good().text.contains("<t:MimeContent"));
    desk.mock.reset();
    assert_eq!(desk.call(&desk::get_item(&id)).await.codes(), ["ErrorItemNotFound"]);
}

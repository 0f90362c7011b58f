use super::*;

fn envelope(body: &str) -> String {
    format!("<s:Envelope xmlns:s=\"s\" xmlns:m=\"m\" xmlns:t=\"t\"><s:Body>{body}</s:Body></s:Envelope>")
}

fn judged(status: u16, body: &str) -> Result<Reply, Fault> {
    read(StatusCode::from_u16(status).expect("status"), None, body.as_bytes(), "CreateItem", "x")
}

fn response(messages: &str) -> String {
    envelope(&format!(
        "<m:CreateItemResponse><m:ResponseMessages>{messages}</m:ResponseMessages></m:CreateItemResponse>"
    ))
}

fn message(class: &str, code: &str, xml: &str) -> String {
    format!(
        "<m:CreateItemResponseMessage ResponseClass=\"{class}\"><m:MessageText>ann@example.org</m:MessageText>\
         <m:ResponseCode>{code}</m:ResponseCode>{xml}</m:CreateItemResponseMessage>"
    )
}

fn soap_fault(code: &str, xml: &str) -> String {
    envelope(&format!(
        "<s:Fault><faultcode>a:{code}</faultcode><faultstring>ann@example.org</faultstring><detail>\
         <e:ResponseCode xmlns:e=\"e\">{code}</e:ResponseCode>{xml}</detail></s:Fault>"
    ))
}

const BUSY: &str = "<t:MessageXml><t:Value Name=\"BackOffMilliseconds\">2500</t:Value></t:MessageXml>";

fn of_message(class: &str, code: &str, xml: &str) -> Fault {
    let reply = judged(200, &response(&message(class, code, xml))).map_err(|f| f.into_error()).expect("read");
    let found = done(reply.messages()[0], "x").map(|_| ());
    found.expect_err("a fault")
}

#[test]
fn a_busy_server_is_understood_in_all_of_its_envelopes() {
    let wait = Some(Duration::from_millis(2500));
    let throttled = |fault: Option<Fault>| {
        assert!(
            matches!(&fault, Some(Fault::NotSent(e)) if e.kind == Kind::Throttled && e.retry_after == wait),
            "{fault:?}"
        );
    };
    for status in [500, 503, 200] {
        let fault = judged(status, &soap_fault("ErrorServerBusy", BUSY)).err();
        assert_eq!(fault.as_ref().map(for_gate), Some(Answer::Throttled(wait)));
        throttled(fault);
    }
    throttled(Some(of_message("Error", "ErrorServerBusy", BUSY)));
    let cloaked = "<m:MessageXml><t:Value Name=\"InnerErrorResponseCode\">ErrorServerBusy</t:Value>\
                   <t:Value Name=\"BackOffMilliseconds\">2500</t:Value></m:MessageXml>";
    throttled(Some(of_message("Error", "ErrorInternalServerError", cloaked)));
    throttled(judged(500, &soap_fault("ErrorInternalServerError", cloaked)).err());
    let reply = response(&(message("Success", "NoError", "") + &message("Error", "ErrorServerBusy", BUSY)));
    let reply = judged(200, &reply).map_err(Fault::into_error).expect("read");
    assert_eq!(reply.for_gate(), Answer::Throttled(wait));
}

#[test]
fn a_wait_is_cut_at_an_hour_and_garbage_is_none() {
    for (ms, wait) in [("99999999999", Some(3600)), ("0", None), ("-1", None), ("soon", None)] {
        let xml =
            format!("<m:MessageXml><t:Value Name=\"BackOffMilliseconds\">{ms}</t:Value></m:MessageXml>");
        let fault = of_message("Error", "ErrorServerBusy", &xml);
        assert_eq!(fault.error().retry_after.map(|w| w.as_secs()), wait, "{ms}");
    }
}

#[test]
fn every_status_has_one_meaning() {
    for status in [408, 500, 502, 504, 200, 202] {
        assert!(matches!(judged(status, "").err(), Some(Fault::Unknown(e)) if e.may_pass()), "{status}");
    }
    for status in [400, 405, 413, 422] {
        assert!(matches!(judged(status, "<html>").err(), Some(Fault::Refused(_))), "{status}");
    }
    for status in [429, 503] {
        assert!(matches!(judged(status, "").err(), Some(Fault::NotSent(e)) if e.kind == Kind::Throttled));
    }
    for (status, kind, scope) in [
        (302, Kind::Protocol, Scope::Endpoint),
        (401, Kind::Auth, Scope::Endpoint),
        (403, Kind::Denied, Scope::Mailbox),
        (404, Kind::NotFound, Scope::Endpoint),
    ] {
        let fault = judged(status, "").err();
        assert!(
            matches!(&fault, Some(Fault::NotSent(e)) if (e.kind, e.scope) == (kind, scope) && !e.remedy.is_empty()),
            "{fault:?}"
        );
    }
}

#[test]
fn every_code_has_one_meaning_and_texts_are_not_repeated() {
    for (code, kind, scope) in [
        ("ErrorQuotaExceeded", Kind::Quota, Scope::Mailbox),
        ("ErrorNonExistentMailbox", Kind::NotFound, Scope::Mailbox),
        ("ErrorImpersonateUserDenied", Kind::Denied, Scope::Mailbox),
        ("ErrorAccessDenied", Kind::Denied, Scope::Mailbox),
        ("ErrorInvalidServerVersion", Kind::Config, Scope::Endpoint),
        ("ErrorItemNotFound", Kind::NotFound, Scope::Message),
        ("ErrorFolderNotFound", Kind::NotFound, Scope::Folder),
        ("ErrorMailboxMoveInProgress", Kind::Unreachable, Scope::Mailbox),
    ] {
        let fault = of_message("Error", code, "");
        assert!(
            matches!(&fault, Fault::NotSent(e) if (e.kind, e.scope) == (kind, scope) && !e.what.contains("ann")),
            "{fault:?}"
        );
    }
    for code in ["ErrorMessageSizeExceeded", "ErrorMimeContentInvalid", "ErrorCorruptData", "ErrorItemSave"] {
        assert!(matches!(of_message("Error", code, ""), Fault::Refused(e) if !e.remedy.is_empty()), "{code}");
    }
    for code in
        ["ErrorInternalServerError", "ErrorTimeoutExpired", "ErrorConnectionFailed", "ErrorOfTomorrow"]
    {
        assert!(matches!(of_message("Error", code, ""), Fault::Unknown(e) if e.may_pass()), "{code}");
    }
    assert!(
        matches!(of_message("Warning", "ErrorBatchProcessingStopped", ""), Fault::Stopped(e) if e.may_pass())
    );
    let full =
        "<m:MessageXml><t:Value Name=\"InnerErrorResponseCode\">ErrorQuotaExceeded</t:Value></m:MessageXml>";
    assert_eq!(of_message("Error", "ErrorInternalServerError", full).error().kind, Kind::Quota);
}

#[test]
fn odd_answers_are_unknown() {
    for (class, code) in
        [("Success", ""), ("Error", "NoError"), ("Warning", "NoError"), ("Success", "\u{1b}[31m")]
    {
        let code = if code.contains('\u{1b}') { "a b" } else { code };
        assert!(matches!(of_message(class, code, ""), Fault::Unknown(_)), "{class} {code}");
    }
    for body in [
        envelope(""),
        envelope("<m:GetItemResponse><m:ResponseMessages/></m:GetItemResponse>"),
        envelope("<m:CreateItemResponse/>"),
        "<html/>".to_owned(),
        response("").replace("</s:Envelope>", ""),
    ] {
        assert!(matches!(judged(200, &body).err(), Some(Fault::Unknown(_))), "{body}");
    }
    assert!(judged(200, &response("")).is_ok_and(|r| r.messages().is_empty()));
}

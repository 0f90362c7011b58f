//! What real servers do beside the standards, each turned on alone.

use mailwave::mock::imap::{Act, Fate, ImapOptions, InternalDate, Quirks, Rule};

use super::{Dialogue, MAIL, assert_all_fired, mock, mock_of};

fn odd(quirks: Quirks) -> ImapOptions {
    ImapOptions::default().with_quirks(quirks)
}

async fn append(d: &mut Dialogue, arguments: &str, octets: &[u8]) -> String {
    d.say(format!("a APPEND INBOX {arguments}{{{}+}}\r\n", octets.len())).await;
    d.say([octets, b"\r\n"].concat()).await;
    d.until("a ").await
}

#[tokio::test]
async fn what_is_stored_can_be_altered() {
    let quirks = Quirks {
        future_dates_become_now: true,
        munges_8bit_headers: true,
        rewrites_message_ids: true,
        forgets_at_append: vec!["\\Flagged".to_owned()],
        permanent_flags: Some(vec!["\\Seen".to_owned(), "\\Flagged".to_owned()]),
        ..Quirks::default()
    };
    let mock = mock_of(odd(quirks));
    let mut d = Dialogue::select(&mock).await;
    let octets = "Subject: \u{e4}\r\nMESSAGE-ID: <a@b>\r\n\r\nb\u{e4}\r\n".as_bytes();
    append(&mut d, "(\\Flagged \\Seen $New) \"01-Jan-2040 00:00:00 +0000\" ", octets).await;
    let kept = mock.store().messages("anna", "INBOX").pop().unwrap();
    let text = String::from_utf8_lossy(&kept.octets).into_owned();
    assert!(
        text.starts_with("Subject: XX\r\nMessage-ID: <") && text.ends_with("\r\n\r\nb\u{e4}\r\n"),
        "{text}"
    );
    assert!(!text.contains("<a@b>"));
    assert_eq!((kept.flags, kept.date.seconds), (vec!["\\Seen".to_owned()], 1_700_000_000));
    d.expect("b UID STORE 4 +FLAGS (\\Flagged $New)", "b OK").await;
    assert_eq!(mock.store().flags("anna", "INBOX", 4).unwrap(), ["\\Flagged", "\\Seen"]);

    let mock = mock_of(odd(Quirks { nul_becomes_0x80: true, ..Quirks::default() }).offering("BINARY"));
    mock.store().add("anna", "INBOX", &b"A: b\r\n\r\nx\0y"[..], &[], InternalDate::utc(0));
    let mut d = Dialogue::examine(&mock).await;
    d.say(b"a UID FETCH 4 (BODY.PEEK[] BINARY.PEEK[] BINARY.SIZE[])\r\n").await;
    let answer = d.until("a ").await;
    assert!(answer.contains("BODY[] {11}") && answer.contains("BINARY[] ~{11}"), "{answer}");
    assert!(answer.contains("x\u{fffd}y BINARY") && answer.contains("x\0y BINARY.SIZE[] 11"), "{answer:?}");
    d.say(b"b APPEND INBOX ~{5+}\r\na\r\n\0\0\r\n").await;
    assert!(d.until("b ").await.contains("b OK"), "a literal8 may hold NUL");
}

#[tokio::test]
async fn what_is_not_taken_is_refused_in_words() {
    let quirks = Quirks {
        refuses_8bit_headers: true,
        longest_body_line: Some(20),
        quota: Some(300),
        append_limit: Some(120),
        permanent_flags: Some(vec!["\\Seen".to_owned()]),
        refuses_other_flags: true,
        forbidden_in_names: "^".to_owned(),
        no_inferiors: true,
        caseless_names: true,
        ..Quirks::default()
    };
    let mock = mock_of(odd(quirks).offering("CREATE-SPECIAL-USE"));
    let mut d = Dialogue::login(&mock).await;
    assert!(d.ask("c CAPABILITY").await.contains("APPENDLIMIT=120"));
    assert!(d.ask("s STATUS INBOX (APPENDLIMIT)").await.contains("(APPENDLIMIT 120)"));
    for (arguments, octets, answer) in [
        ("", "S: \u{e4}\r\n\r\nx".as_bytes(), "NO Message contains invalid header"),
        ("", b"S: a\r\n\r\nxxxxxxxxxxxxxxxxxxxxxxxxx", "Command Argument Error. 11"),
        ("(\\Flagged) ", b"S: a\r\n\r\nx", "NO [CANNOT] Flag not permitted"),
        ("(\\Seen) ", b"S: a\r\n\r\nx", "a OK"),
        ("", &[b'\n'; 121], "NO [TOOBIG]"),
    ] {
        let answered = append(&mut d, arguments, octets).await;
        assert!(answered.contains(answer), "{answered}");
    }
    let mut last = String::new();
    for _ in 0..20 {
        last = append(&mut d, "", b"S: another one\r\n\r\n0123456789\r\n").await;
    }
    assert!(last.contains("NO [OVERQUOTA]"), "{last}");
    for (command, answer) in [
        ("CREATE a^b", "x NO [CANNOT]"),
        ("CREATE Work (USE (\\Sent))", "x OK"),
        ("CREATE work", "x NO [ALREADYEXISTS]"),
        ("CREATE Work/Below", "x NO [CANNOT]"),
        ("CREATE Other (USE (\\Sent))", "x NO [USEATTR]"),
    ] {
        d.expect(&format!("x {command}"), answer).await;
    }
    assert!(d.ask("l LIST \"\" Work").await.contains("\\Sent"));
}

#[tokio::test]
async fn an_append_can_be_lost_after_its_last_octet_with_any_fate() {
    for (fate, at_once, later) in
        [(Fate::Stored, 4, 4), (Fate::NotStored, 3, 3), (Fate::StoredAfter(3), 3, 4)]
    {
        let mock = mock();
        mock.script([Rule::on("APPEND", Act::LoseAppend(fate))]);
        let mut d = Dialogue::login(&mock).await;
        d.say(format!("a APPEND INBOX {{{}+}}\r\n", MAIL.len())).await;
        d.say([MAIL, b"\r\n"].concat()).await;
        assert_eq!(d.rest().await, "", "no answer");
        assert_eq!(mock.store().uids("anna", "INBOX").len(), at_once, "{fate:?}");
        let mut d = Dialogue::login(&mock).await;
        d.expect("b NOOP", "b OK").await;
        d.expect("c NOOP", "c OK").await;
        assert_eq!(mock.store().uids("anna", "INBOX").len(), later, "{fate:?}");
        assert_all_fired(&mock);
    }
    let mock = mock();
    mock.script([Rule::on("APPEND", Act::StoreLater(2))]);
    let mut d = Dialogue::login(&mock).await;
    let answer = append(&mut d, "", MAIL).await;
    assert_eq!(answer, "a OK Append completed");
    d.expect("b NOOP", "b OK").await;
    assert_eq!(mock.store().uids("anna", "INBOX").len(), 3, "told, and not there");
    d.expect("c NOOP", "c OK").await;
    assert_eq!(mock.store().uids("anna", "INBOX").len(), 4);
}

#[tokio::test]
async fn folders_change_behind_a_session_and_answers_come_without_what_was_asked() {
    let mock = mock();
    mock.store().add_folder("anna", "A/B");
    mock.store().add_folder("anna", "C");
    mock.script([
        Rule::on("STATUS", Act::RenameBefore("A".into(), "Z".into())),
        Rule::on("STATUS", Act::RenameBefore("A/B".into(), "Z".into())),
        Rule::on("STATUS", Act::DeleteBefore("C".into())).nth(2),
        Rule::on("STATUS", Act::RenumberBefore("INBOX".into())).nth(3),
        Rule::on("UID FETCH", Act::EmptyFetch).uid(2),
        Rule::on("UID FETCH", Act::NilBody).nth(2),
        Rule::on("UID FETCH", Act::WithoutHeader).nth(3),
        Rule::on("NOOP", Act::NoAndBye("[LIMIT] Rate limit hit".into())),
    ]);
    let mut d = Dialogue::login(&mock).await;
    d.expect("a STATUS A/B (MESSAGES)", "a NO [NONEXISTENT]").await;
    d.expect("b STATUS C (MESSAGES)", "b NO [NONEXISTENT]").await;
    let before = mock.store().uid_validity("anna", "INBOX").unwrap();
    let answer = d.expect("c STATUS INBOX (UIDVALIDITY)", "c OK").await;
    assert!(!answer.contains(&format!("UIDVALIDITY {before})")), "{answer}");
    d.expect("e EXAMINE INBOX", "e OK").await;
    let answer = d.ask("f UID FETCH 1:3 UID").await;
    assert!(answer.contains("* 2 FETCH ()") && !answer.contains("UID 2"), "{answer}");
    assert!(d.ask("g UID FETCH 1 BODY.PEEK[]").await.contains("BODY[] NIL"));
    assert!(d.ask("h UID FETCH 1 BODY.PEEK[]").await.contains("BODY[] {8}\nHello."));
    d.say(b"i NOOP\r\n").await;
    let end = d.rest().await;
    assert!(end.contains("i NO [LIMIT]") && end.contains("* BYE [LIMIT]"), "{end}");
    let fired = mock.fired();
    assert_eq!(
        fired.iter().filter(|(_, n)| *n == 0).count(),
        1,
        "only one of the renames could act: {fired:?}"
    );
}

#[tokio::test]
async fn a_server_may_lie_about_literals_be_silent_and_keep_no_sequences() {
    let quirks = Quirks { lies_about_literals: true, enables_silently: true, ..Quirks::default() };
    let mut options = odd(quirks).offering("CONDSTORE QRESYNC");
    options.shared = vec!["Public/".to_owned()];
    options.id = vec![("name".to_owned(), "Other".to_owned())];
    let mock = mock_of(options);
    mock.store().set_no_modseq("anna", "INBOX", true);
    let mut d = Dialogue::login(&mock).await;
    assert!(d.ask("a ENABLE QRESYNC").await.starts_with("* ENABLED\n"));
    assert!(d.ask("n NAMESPACE").await.contains("NAMESPACE ((\"\" \"/\")) NIL ((\"Public/\" \"/\"))"));
    assert!(d.ask("i ID NIL").await.contains("(\"name\" \"Other\")"));
    assert!(append(&mut d, "", MAIL).await.contains("a BAD"));
    let answer = d.ask("b SELECT INBOX (QRESYNC (1600000001 1))").await;
    assert!(answer.contains("[NOMODSEQ]") && !answer.contains("HIGHESTMODSEQ"), "{answer}");
    d.say(format!("c APPEND INBOX {{{}}}\r\n", MAIL.len())).await;
    assert!(d.line().await.starts_with("+ "));
    d.say([MAIL, b"\r\n"].concat()).await;
    assert!(d.until("c ").await.contains("c OK"));
    d.expect("u UNSELECT", "u OK").await;
    mock.store().set_uid_validity("anna", "INBOX", 0);
    assert!(d.ask("d STATUS INBOX (UIDVALIDITY)").await.contains("UIDVALIDITY 0"));
}

#[tokio::test]
async fn labels_are_other_folders_of_the_same_message() {
    let mock = mock_of(ImapOptions::default().offering("X-GM-EXT-1"));
    {
        let mut store = mock.store();
        store.set_special_use("anna", "[Gmail]/All Mail", "\\All");
        store.set_special_use("anna", "[Gmail]/Sent", "\\Sent");
        store.add_labelled(
            "anna",
            &["[Gmail]/All Mail", "[Gmail]/Sent", "INBOX", "My Work"],
            MAIL,
            &[],
            InternalDate::utc(0),
        );
    }
    let mut d = Dialogue::login(&mock).await;
    d.expect("a EXAMINE \"[Gmail]/All Mail\"", "a OK").await;
    let answer = d.ask("b UID FETCH 1 (X-GM-LABELS X-GM-MSGID X-GM-THRID)").await;
    assert!(
        answer.contains("X-GM-LABELS (\\Inbox \"My Work\" \\Sent) X-GM-MSGID 4 X-GM-THRID 4"),
        "{answer}"
    );
}

//! What the server takes, what it refuses, and what it answers.

use mailwave::mock::imap::{ImapOptions, InternalDate};
use tokio::io::AsyncWriteExt;

use super::{Dialogue, MAIL, mock, mock_of};

#[tokio::test]
async fn a_command_in_the_wrong_state_is_answered_bad() {
    let mock = mock_of(ImapOptions { starttls: None, ..ImapOptions::default() });
    let mut d = Dialogue::open(&mock).await;
    for command in
        ["SELECT INBOX", "LIST \"\" *", "UID FETCH 1 FLAGS", "APPEND INBOX {3}", "STARTTLS", "CLOSE"]
    {
        d.expect(&format!("a {command}"), "a BAD").await;
    }
    d.expect("b LOGIN anna x", "b OK").await;
    for command in
        ["LOGIN anna x", "UID FETCH 1 FLAGS", "EXPUNGE", "CLOSE", "SEARCH ALL", "UID STORE 1 FLAGS ()"]
    {
        d.expect(&format!("c {command}"), "c BAD").await;
    }
    d.expect("d SELECT INBOX", "d OK").await;
    d.expect("e SELECT Nowhere", "e NO [NONEXISTENT]").await;
    d.expect("f UID FETCH 1 FLAGS", "f BAD").await; // a failed SELECT leaves nothing selected
    d.expect("g LOGOUT", "g OK").await;
    assert_eq!(d.rest().await, "");
}

#[tokio::test]
async fn a_malformed_command_is_answered_bad_and_the_connection_lives_on() {
    let mock = mock();
    let mut d = Dialogue::select(&mock).await;
    for command in [
        "NOOP ",
        " NOOP",
        "NOOP now",
        "XYZZY",
        "UID",
        "UID NOOP",
        "UID FETCH 1  FLAGS",
        "UID FETCH 1 FLAGS ",
        "UID FETCH 0 FLAGS",
        "UID FETCH 1:x FLAGS",
        "UID FETCH 1, FLAGS",
        "UID FETCH 4294967296 FLAGS",
        "UID FETCH 1 ()",
        "UID FETCH 1 (FLAGS",
        "UID FETCH 1 FLAGS UID",
        "UID FETCH 1 BODY.PEEK",
        "UID FETCH 1 BODY[",
        "UID FETCH 1 BODY[]<0>",
        "UID FETCH 1 BODY[]<0.0>",
        "UID FETCH 1 BODY[HEADER.FIELDS]",
        "UID FETCH 1 NONSENSE",
        "FETCH 9 FLAGS",
        "UID STORE 1 FLAGS",
        "UID STORE 1 +FLAGS (\\Recent)",
        "UID SEARCH",
        "UID SEARCH NONSENSE",
        "UID SEARCH UID",
        "UID SEARCH SINCE 31-Feb-2020",
        "STATUS INBOX ()",
        "STATUS INBOX (NONSENSE)",
        "EXAMINE \"INBOX",
        "EXAMINE IN\"BOX",
        "EXAMINE \"a\\b\"",
        "LIST \"\"",
        "CREATE (x)",
        "ENABLE CONDSTORE",
    ] {
        let tag = if command.starts_with(' ') { "* BAD" } else { "t BAD" };
        d.say(format!("{}{command}\r\n", if command.starts_with(' ') { "" } else { "t " })).await;
        let answer = d.line().await;
        assert!(answer.starts_with(tag), "{command:?} was answered {answer:?}");
    }
    d.say(b"u NOOP\n").await;
    assert!(d.line().await.starts_with("u BAD"), "a bare LF ends no line");
    d.say(b"v NO\0OP\r\n").await;
    assert!(d.line().await.starts_with("v BAD"));
    d.expect("w noop", "w OK").await;
    assert_eq!(mock.store().client_changes(), 0);
}

#[tokio::test]
async fn literals_are_asked_for_and_those_nobody_waits_for_are_read() {
    let mock = mock();
    let mut d = Dialogue::open(&mock).await;
    d.say(b"a LOGIN {4}\r\n").await;
    assert!(d.line().await.starts_with("+ "));
    d.say(b"anna {6+}\r\nsecret\r\n").await;
    assert!(d.line().await.starts_with("a OK"));
    d.say(b"b APPEND INBOX (\\Flagged $New) \"17-Jul-1996 02:44:25 -0700\" {7}\r\n").await;
    assert!(d.line().await.starts_with("+ "));
    d.say(b"A: b\r\n\r\r\n").await;
    let answer = d.until("b ").await;
    assert!(answer.contains("b OK [APPENDUID 1600000001 4]"), "{answer}");
    d.say(b"c APPEND INBOX {3+}\r\na\r\n {3+}\r\nb\r\n\r\n").await;
    assert!(d.until("c ").await.contains("[APPENDUID 1600000001 5:6]"), "MULTIAPPEND");
    let kept = mock.store().messages("anna", "INBOX");
    assert_eq!(kept[3].octets, &b"A: b\r\n\r"[..]);
    assert_eq!(kept[3].flags, ["$New", "\\Flagged"]);
    assert_eq!(kept[3].date.to_string(), "17-Jul-1996 02:44:25 -0700");
    assert_eq!(kept[4].date.seconds, 1_700_000_000, "no date given: the world's now");
}

#[tokio::test]
async fn a_literal_that_will_be_refused_is_never_asked_for() {
    let mock = mock_of(ImapOptions { max_literal: 1000, ..ImapOptions::default() });
    let mut d = Dialogue::login(&mock).await;
    d.expect("a APPEND Nowhere {10}", "a NO [TRYCREATE]").await;
    d.expect("b APPEND &bad {10}", "b NO [CANNOT]").await;
    d.expect("c APPEND INBOX {1001}", "c NO [TOOBIG]").await;
    d.say(b"d APPEND Nowhere {6+}\r\nx BAD \r\n").await;
    assert!(d.line().await.starts_with("d NO [TRYCREATE]"), "its octets were thrown away");
    d.expect("e NOOP", "e OK").await;
    d.say(b"f APPEND INBOX {18446744073709551616+}\r\n").await;
    assert!(d.rest().await.contains("BYE [TOOBIG]"));
    let without = mock_of(ImapOptions::default().without("LITERAL+"));
    let mut d = Dialogue::login(&without).await;
    d.say(b"a APPEND INBOX {3+}\r\nabc\r\n").await;
    assert!(d.line().await.starts_with("a BAD"));
}

#[tokio::test]
async fn an_endless_line_is_cut_off() {
    let mock = mock();
    let mut d = Dialogue::open(&mock).await;
    let flood = vec![b'a'; 100_000];
    let _ = d.stream.write_all(&flood).await;
    assert!(d.rest().await.contains("BYE [LIMIT]"));
}

#[tokio::test]
async fn folder_names_are_modified_utf7_and_nothing_else() {
    let mock = mock();
    let mut d = Dialogue::login(&mock).await;
    d.expect("a CREATE Entw&APw-rfe/2024", "a OK").await;
    d.expect("b CREATE \"Entw\\\\x\"", "b OK").await;
    for bad in ["Entw&APw", "A&B", "&AGE-", "\"a//b\"", "\"%\""] {
        d.expect(&format!("c CREATE {bad}"), "c NO [CANNOT]").await;
    }
    d.say(b"d CREATE {7+}\r\nEntw\xc3\xbcr\r\n").await;
    assert!(d.line().await.starts_with("d NO [CANNOT]"));
    assert_eq!(mock.store().folders("anna"), ["Entw\\x", "Entwürfe/2024", "INBOX"]);
    let list = d.expect("e LIST \"\" *", "e OK").await;
    assert!(list.contains("* LIST (\\Noselect \\HasChildren) \"/\" Entw&APw-rfe\n"), "{list}");
    assert!(list.contains("* LIST (\\HasNoChildren) \"/\" Entw&APw-rfe/2024\n"), "{list}");
    assert!(list.contains("* LIST (\\HasNoChildren) \"/\" \"Entw\\\\x\"\n"), "{list}");
}

#[tokio::test]
async fn only_a_body_without_peek_in_a_selected_folder_marks_a_message_seen() {
    let mock = mock();
    let mut d = Dialogue::examine(&mock).await;
    let answer = d.expect("a UID FETCH 2 BODY[]", "a OK").await;
    assert!(answer.contains("* 2 FETCH (UID 2 BODY[] {25}\nSubject: two\n\nSecond.\n)"), "{answer}");
    d.expect("b UID STORE 2 +FLAGS (\\Seen)", "b NO [READ-ONLY]").await;
    d.expect("c EXPUNGE", "c NO [READ-ONLY]").await;
    d.expect("d SELECT INBOX", "d OK [READ-WRITE]").await;
    d.expect("e UID FETCH 2 BODY.PEEK[]", "e OK").await;
    assert_eq!(mock.store().client_changes(), 0);
    assert_eq!(mock.store().is_seen("anna", "INBOX", 2), Some(false));
    let answer = d.expect("f UID FETCH 2 BODY[TEXT]<1.3>", "f OK").await;
    assert!(answer.contains("BODY[TEXT]<1> {3}\neco FLAGS ($Work \\Seen \\Recent))"), "{answer}");
    assert_eq!(mock.store().client_changes(), 1);
    assert_eq!(mock.store().is_seen("anna", "INBOX", 2), Some(true));
    let verbs = mock.verbs();
    assert_eq!(verbs[1..4], ["EXAMINE", "UID FETCH", "UID STORE"]);
    assert!(mock.heard().iter().all(|h| !h.line.contains("secret")), "passwords stay out of the log");
    assert_eq!(mock.heard()[2].line, "UID FETCH 2 BODY[]");
}

#[tokio::test]
async fn every_fetch_item_is_served() {
    let mock = mock();
    let mut d = Dialogue::examine(&mock).await;
    let answer = d
        .expect("a UID FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER] EMAILID THREADID)", "a OK")
        .await;
    assert!(
        answer.starts_with(
            "* 1 FETCH (UID 1 FLAGS (\\Seen \\Recent) INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" \
             RFC822.SIZE 45 BODY[HEADER] {37}\nSubject: one\nFrom: a@example.org\n\n EMAILID (M1) THREADID NIL)"
        ),
        "{answer}"
    );
    let answer = d.expect("b FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (subject)])", "b OK").await;
    assert_eq!(answer.matches("BODY[HEADER.FIELDS (SUBJECT)]").count(), 3, "{answer}");
    assert_eq!(d.expect("c UID FETCH 77 FLAGS", "c OK").await.lines().count(), 1);
    let last = d.expect("d UID FETCH 77:* FLAGS", "d OK").await;
    assert!(last.starts_with("* 3 FETCH (UID 3 "), "n:* holds the last message: {last}");
    d.expect("e UID FETCH 1 BODYSTRUCTURE", "e NO [CANNOT]").await;
    d.expect("f UID FETCH 1 BODY.PEEK[1.MIME]", "f NO [CANNOT]").await;
    mock.store().set_raw_date("anna", "INBOX", 1, "99-Foo-0000");
    assert!(d.expect("g FETCH 1 INTERNALDATE", "g OK").await.contains("INTERNALDATE \"99-Foo-0000\""));
}

#[tokio::test]
async fn search_finds_by_flags_dates_sizes_headers_and_text() {
    let mock = mock();
    let mut d = Dialogue::examine(&mock).await;
    for (key, found) in [
        ("ALL", " 1 2 3"),
        ("UID 2:*", " 2 3"),
        ("1,3", " 1 3"),
        ("SEEN", " 1"),
        ("NOT SEEN KEYWORD $work", " 2"),
        ("OR SEEN UID 3", " 1 3"),
        ("(SEEN UID 1)", " 1"),
        ("SINCE 2-Jan-1970 BEFORE 1-Jan-1980", " 3"),
        ("ON 17-Jul-1996", " 1"),
        ("LARGER 40", " 1"),
        ("HEADER Subject TWO", " 2"),
        ("SUBJECT {3+}\r\none", " 1"),
        ("BODY third", " 3"),
        ("CHARSET UTF-8 TEXT second", " 2"),
        ("FROM nobody", ""),
    ] {
        let answer = d.expect(&format!("a UID SEARCH {key}"), "a OK").await;
        assert_eq!(answer.lines().next(), Some(format!("* SEARCH{found}").as_str()), "{key}");
    }
    let answer = d.expect("b UID SEARCH RETURN (MIN MAX COUNT ALL) ALL", "b OK").await;
    assert!(answer.starts_with("* ESEARCH (TAG \"b\") UID MIN 1 MAX 3 COUNT 3 ALL 1:3\n"), "{answer}");
    let deep = "NOT ".repeat(100);
    d.expect(&format!("c UID SEARCH {deep}ALL"), "c BAD").await;
}

#[tokio::test]
async fn clients_populate_and_change_the_store() {
    let mock = mock();
    let mut d = Dialogue::select(&mock).await;
    d.expect("a CREATE Archive", "a OK").await;
    d.expect("b UID COPY 1:2 Archive", "b OK [COPYUID 1600000002 1:2 1:2]").await;
    let answer = d.expect("c UID MOVE 3 Archive", "c OK").await;
    assert!(answer.contains("* OK [COPYUID 1600000002 3 3] Moved\n* 3 EXPUNGE\n"), "{answer}");
    let answer = d.expect("d UID STORE 1:2 +FLAGS (\\Deleted)", "d OK").await;
    assert!(answer.contains("* 1 FETCH (UID 1 FLAGS (\\Deleted \\Seen \\Recent))"), "{answer}");
    let answer = d.expect("e UID EXPUNGE 2", "e OK").await;
    assert!(answer.contains("* 2 EXPUNGE\n"), "{answer}");
    assert!(d.expect("f EXPUNGE", "f OK").await.contains("* 1 EXPUNGE\n"));
    assert!(mock.store().uids("anna", "INBOX").is_empty());
    assert_eq!(mock.store().uids("anna", "Archive"), [1, 2, 3]);
    d.expect("g RENAME Archive Old/Archive", "g OK").await;
    assert_eq!(mock.store().uids("anna", "Old/Archive"), [1, 2, 3]);
    d.expect("h UID COPY 1 Nowhere", "h NO [TRYCREATE]").await;
    d.expect("i CREATE INBOX", "i NO [ALREADYEXISTS]").await;
    d.expect("j DELETE INBOX", "j NO").await;
    d.expect("k DELETE Old/Archive", "k OK").await;
    assert_eq!(mock.store().folders("anna"), ["INBOX"]);
}

#[tokio::test]
async fn list_follows_patterns_special_use_and_status() {
    let mock = mock();
    for folder in ["Sent", "Lists/rust", "Lists/rust/async"] {
        mock.store().add_folder("anna", folder);
    }
    mock.store().set_special_use("anna", "Sent", "\\Sent");
    mock.store().add_folder_as("anna", "hostile", b"../..\r\nx OK {5}");
    let mut d = Dialogue::login(&mock).await;
    let names = |answer: &str| -> Vec<String> {
        answer.lines().filter_map(|l| l.split("\"/\" ").nth(1)).map(str::to_owned).collect()
    };
    assert_eq!(names(&d.expect("a LIST \"\" %", "a OK").await), ["INBOX", "Lists", "Sent", "{15}"]);
    assert_eq!(names(&d.expect("b LIST \"\" Lists/%", "b OK").await), ["Lists/rust"]);
    assert_eq!(names(&d.expect("c LIST Lists/ *", "c OK").await), ["Lists/rust", "Lists/rust/async"]);
    assert_eq!(names(&d.expect("d LIST \"\" inbox", "d OK").await), ["INBOX"]);
    assert_eq!(d.ask("e LIST \"\" \"\"").await, "* LIST (\\Noselect) \"/\" \"\"\ne OK done");
    let special = d.expect("f LIST (SPECIAL-USE) \"\" *", "f OK").await;
    assert_eq!(special.lines().next(), Some("* LIST (\\HasNoChildren \\Sent) \"/\" Sent"));
    let both =
        d.expect("g LIST \"\" (INBOX Sent) RETURN (SPECIAL-USE STATUS (MESSAGES UIDNEXT))", "g OK").await;
    assert!(both.contains("* STATUS INBOX (MESSAGES 3 UIDNEXT 4)\n"), "{both}");
    assert_eq!(names(&both), ["INBOX", "Sent"]);
    let hostile = d.expect("h LIST \"\" hostile", "h OK").await;
    assert!(hostile.contains("{15}\n../..\nx OK {5}\n"), "{hostile}");
    d.say(b"i EXAMINE {15+}\r\n../..\r\nx OK {5}\r\n").await;
    assert!(d.until("i ").await.contains("i OK [READ-ONLY]"), "the folder is found by its octets");
}

#[tokio::test]
async fn a_namespace_with_a_prefix_is_announced_and_needed() {
    let options = ImapOptions { prefix: "INBOX.".to_owned(), separator: '.', ..ImapOptions::default() };
    let mock = mock_of(options);
    mock.store().add_folder("anna", "Sent.2024");
    let mut d = Dialogue::login(&mock).await;
    assert!(d.ask("a NAMESPACE").await.contains("* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\n"));
    assert!(d.ask("b LIST \"\" *").await.contains("\".\" INBOX.Sent.2024\n"));
    d.expect("c EXAMINE Sent.2024", "c NO [NONEXISTENT]").await;
    d.expect("d EXAMINE INBOX.Sent.2024", "d OK").await;
    d.expect("e STATUS inbox (MESSAGES)", "e OK").await;
}

#[tokio::test]
async fn two_clients_see_each_others_changes_and_numbers_never_shift_in_a_fetch() {
    let mock = mock();
    let (mut a, mut b) = (Dialogue::select(&mock).await, Dialogue::select(&mock).await);
    b.expect("a UID STORE 1 +FLAGS.SILENT (\\Deleted)", "a OK").await;
    b.expect("b UID EXPUNGE 1", "b OK").await;
    b.expect("c UID STORE 2 +FLAGS (\\Flagged)", "c OK").await;
    let answer = a.expect("d FETCH 1:3 UID", "d OK").await;
    assert!(!answer.contains("EXPUNGE"), "{answer}");
    assert!(answer.contains("* 2 FETCH (UID 2)") && answer.contains("* 3 FETCH (UID 3)"), "{answer}");
    mock.store().add("anna", "INBOX", MAIL, &[], InternalDate::utc(0));
    let answer = a.expect("e NOOP", "e OK").await;
    assert!(answer.contains("* 1 EXPUNGE\n") && answer.contains("* 3 EXISTS\n"), "{answer}");
    b.expect("f DELETE INBOX", "f NO").await;
    mock.store().reset_uid_validity("anna", "INBOX");
    a.say(b"g NOOP\r\n").await;
    assert!(a.rest().await.contains("* BYE"), "a folder that became another ends the session");
    assert_eq!(mock.store().uids("anna", "INBOX"), [1, 2, 3]);
}

#[tokio::test]
async fn pipelined_commands_are_answered_in_order() {
    let mock = mock();
    let mut d = Dialogue::examine(&mock).await;
    d.say(b"a UID FETCH 1 FLAGS\r\nb UID FETCH 2 FLAGS\r\nc NOOP\r\n").await;
    let all = d.until("c ").await;
    let place = |text: &str| all.find(text).unwrap();
    assert!(
        place("UID 1") < place("a OK") && place("a OK") < place("UID 2") && place("UID 2") < place("b OK")
    );
}

#[tokio::test]
async fn condstore_and_qresync_tell_what_changed_and_what_vanished() {
    let mock = mock();
    let mut d = Dialogue::login(&mock).await;
    assert!(d.ask("a ENABLE QRESYNC").await.contains("* ENABLED QRESYNC\n"));
    let selected = d.expect("b EXAMINE INBOX", "b OK").await;
    assert!(
        selected.contains("[HIGHESTMODSEQ 4]") && selected.contains("[MAILBOXID (F1600000001)]"),
        "{selected}"
    );
    mock.store().set_flags("anna", "INBOX", 2, &["\\Answered"]);
    mock.store().expunge("anna", "INBOX", 1);
    let told = d.expect("c NOOP", "c OK").await;
    assert!(
        told.contains("* VANISHED 1\n") && told.contains("FLAGS (\\Answered \\Recent) MODSEQ (5)"),
        "{told}"
    );
    let changed = d.expect("d UID FETCH 1:* (FLAGS) (CHANGEDSINCE 4 VANISHED)", "d OK").await;
    assert!(changed.starts_with("* VANISHED (EARLIER) 1\n* 1 FETCH (UID 2 FLAGS"), "{changed}");
    assert_eq!(changed.matches("FETCH (").count(), 1, "{changed}");
    let again = d.expect("e EXAMINE INBOX (QRESYNC (1600000001 4 1:9))", "e OK").await;
    assert!(
        again.contains("* VANISHED (EARLIER) 1\n") && again.contains("* 1 FETCH (UID 2 FLAGS"),
        "{again}"
    );
    let stale = d.expect("f EXAMINE INBOX (QRESYNC (17 4))", "f OK").await;
    assert!(!stale.contains("VANISHED"), "another UIDVALIDITY: nothing can be said");
    d.expect("g SELECT INBOX", "g OK").await;
    d.expect("h UID STORE 2 (UNCHANGEDSINCE 4) +FLAGS (\\Seen)", "h OK [MODIFIED 2]").await;
    assert!(
        d.ask("i STATUS INBOX (HIGHESTMODSEQ MAILBOXID)")
            .await
            .contains("(HIGHESTMODSEQ 6 MAILBOXID (F1600000001))")
    );
}

#[tokio::test]
async fn names_are_utf8_after_enabling_it_and_utf7_before() {
    let mock = mock_of(ImapOptions::default().offering("UTF8=ACCEPT"));
    mock.store().add_folder("anna", "Entwürfe");
    let mut d = Dialogue::login(&mock).await;
    assert!(d.ask("a LIST \"\" E*").await.contains("\"/\" Entw&APw-rfe\n"));
    d.expect("b EXAMINE \"Entwürfe\"", "b BAD").await;
    d.expect("c ENABLE UTF8=ACCEPT", "c OK").await;
    assert!(d.ask("d LIST \"\" E*").await.contains("\"/\" \"Entwürfe\"\n"));
    d.expect("e EXAMINE \"Entwürfe\"", "e OK").await;
}

#[tokio::test]
async fn a_server_that_goes_back_in_time_can_be_played() {
    let mock = mock();
    mock.store().expunge("anna", "INBOX", 3);
    mock.store().set_uid_next("anna", "INBOX", 3);
    mock.store().set_highest_modseq("anna", "INBOX", 2);
    assert_eq!(mock.store().add("anna", "INBOX", MAIL, &[], InternalDate::utc(0)), 3, "a UID is used again");
    let mut d = Dialogue::login(&mock).await;
    let selected = d.expect("a EXAMINE INBOX", "a OK").await;
    assert!(selected.contains("[HIGHESTMODSEQ 3]") && selected.contains("[UIDNEXT 4]"), "{selected}");
}

use std::time::Duration;

use proptest::prelude::*;

use super::super::items::{BodyItem, awaits_body};
use super::super::scan::Literal;
use super::super::status::{AppendUid, Code, CopyUid};
use super::*;
use crate::model::{Scope, Timestamp};

fn raw(text: &[u8]) -> Raw {
    Raw { text: text.to_vec(), literals: Vec::new() }
}

fn one(text: &str) -> Untagged {
    match read(&raw(text.as_bytes())) {
        Ok(Response::Untagged(u)) => u,
        other => panic!("{text}: {other:?}"),
    }
}

fn tagged(text: &str) -> Done {
    match read(&raw(text.as_bytes())) {
        Ok(Response::Tagged(_, done)) => done,
        other => panic!("{text}: {other:?}"),
    }
}

fn items(text: &str) -> FetchItems {
    match one(text) {
        Untagged::Fetch(items) => *items,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn fetch_items_are_read_in_any_order_and_spacing() {
    let expected = items(
        "* 1 FETCH (UID 3 FLAGS (\\Seen $Forwarded) INTERNALDATE \" 1-Jan-1970 00:00:00 +0100\" RFC822.SIZE 7 BODY[] NIL)",
    );
    assert_eq!(expected.uid, Some(3));
    assert_eq!(expected.size, Some(7));
    assert_eq!(expected.body, BodyItem::Nil);
    assert_eq!(expected.received, Some(Timestamp { seconds: -3600, zone: 60 }));
    for text in [
        "* 1 FETCH (BODY[] NIL RFC822.SIZE 7 INTERNALDATE \"01-Jan-1970 00:00:00 +0100\" FLAGS ($Forwarded \\Seen \\Recent) UID 3)",
        "*  1  fetch  ( uid  3  flags  ( \\seen  $Forwarded )  internaldate \" 1-Jan-1970 00:00:00 +0100\" rfc822.size 7  body[] NIL ) ",
        "* 1 FETCH (MODSEQ (65402) X-GM-LABELS (\"a (b\" \\Inbox (x (y))) UID 3 FLAGS (\\Seen $Forwarded) EMAILID (M1) INTERNALDATE \" 1-Jan-1970 00:00:00 +0100\" RFC822.SIZE 7 BODY[HEADER.FIELDS (A B)] \"x\" BODY[]<0> NIL X-NEW foo)",
    ] {
        let found = FetchItems { modseq: None, email_id: None, gm_labels: None, origin: None, ..items(text) };
        assert_eq!(found, expected, "{text}");
    }
    assert_eq!(items("* 2 FETCH (UID 3 )").uid, Some(3));
    assert_eq!(items("* 2 FETCH (UID 4 BODY[] \"a\\\"b\")").body, BodyItem::Held("a\"b".into()));
    assert!(items("* 2 FETCH (FLAGS (a]b [c (d $ \"q\"))").flags.is_some_and(|f| f.keywords.len() == 5));
}

#[test]
fn what_cannot_be_read_is_named_and_framing_goes_on() {
    for (text, name) in [
        ("* 1 FETCH (UID x)", "FETCH"),
        ("* 1 FETCH (UID 0)", "FETCH"),
        ("* 1 FETCH UID 1", "FETCH"),
        ("* 1 FETCH (UID 1) junk", "FETCH"),
        ("* LIST (\\a \"/\" x", "LIST"),
        ("* LIST () \"//\" x", "LIST"),
        ("* LIST () \"/\" \"a\"b\"", "LIST"),
        ("* LIST () \"/\" \"open", "LIST"),
        ("* NAMESPACE ((\"\" \"/\") NIL", "NAMESPACE"),
        ("* 99999999999 EXISTS", "EXISTS"),
    ] {
        assert_eq!(one(text), Untagged::Unreadable(name), "{text}");
    }
    for text in ["* XFOO bar", "* "] {
        assert_eq!(one(text), Untagged::Other, "{text}");
    }
    for text in ["* FLAGS (\\Seen \u{e9})", "* 5 RECENT", "* ID (\"name\" \"x\")"] {
        assert_eq!(one(text), Untagged::Aside, "{text}");
    }
}

#[test]
fn a_line_that_begins_no_response_means_the_framing_is_lost() {
    for text in ["", " x", "*x", "Subject: hello", "rest of a message", "A1", "A1 MAYBE x", ")"] {
        assert!(matches!(read(&raw(text.as_bytes())), Err(WireError::Framing(_))), "{text}");
    }
    for rest in ["rest of a message)", " UID 1", ") more", " (a b c)"] {
        let text = format!("* 1 FETCH (BODY[] {rest}").into_bytes();
        let literals = vec![Literal { at: 18, value: Value::Streamed }];
        assert!(matches!(read(&Raw { text, literals }), Err(WireError::Framing(_))), "{rest}");
    }
}

#[test]
fn codes_are_read_and_unknown_ones_are_kept_by_name_only() {
    assert_eq!(tagged("A1 OK [UIDNEXT 7] next").code, Code::UidNext(7));
    assert_eq!(one("* [UIDVALIDITY 9] no status"), Untagged::Status(tagged("A1 OK [UIDVALIDITY 9] x")));
    assert_eq!(tagged("A1 OK [HIGHESTMODSEQ 18446744073709551615] x").code, Code::HighestModSeq(u64::MAX));
    assert!(tagged("A1 NO [AUTHENTICATIONFAILED] x").code.is("AUTHENTICATIONFAILED"));
    assert!(tagged("A1 no [x\u{1b}[31my z] x").code.is("X31MY"));
    assert_eq!(tagged("A1 OK [broken").code, Code::None);
    match tagged("A1 OK [CAPABILITY IMAP4rev1  SASL-IR AUTH=plain] Logged in").code {
        Code::Capability(c) => assert!(c.has("AUTH=PLAIN") && c.has("SASL-IR") && !c.has("LOGGED")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn codes_that_name_uids_keep_their_order() {
    let to = |text: &str| tagged(text).code;
    let appended = AppendUid { uid_validity: 9, uids: vec![4, 5, 9] };
    assert_eq!(to("A1 OK [APPENDUID 9 4:5,9] done"), Code::AppendUid(appended));
    let copied = CopyUid { uid_validity: 9, pairs: vec![(304, 3956), (319, 3957), (320, 3958)] };
    assert_eq!(to("A1 OK [COPYUID 9 304,319:320 3956:3958] done"), Code::CopyUid(copied));
    for text in [
        "A1 OK [COPYUID 9 1:2 5] uneven",
        "A1 OK [COPYUID 9 1:4294967295 1:4294967295] far too many",
        "A1 OK [APPENDUID 9] none",
        "A1 OK [APPENDUID x 5] no number",
    ] {
        assert_eq!(to(text), Code::None, "{text}");
    }
    let flags = vec!["\\Seen".to_owned(), "$Label1".to_owned(), "\\*".to_owned()];
    assert_eq!(to("A1 OK [PERMANENTFLAGS (\\Seen $Label1 \\*)] x"), Code::PermanentFlags(flags));
    assert_eq!(to("A1 OK [MAILBOXID (F2-a_1)] x"), Code::MailboxId("F2-a_1".to_owned()));
    assert_eq!(to("A1 OK [NOMODSEQ] x"), Code::NoModSeq);
}

#[test]
fn searches_are_read_in_both_forms() {
    let found = |text: &str| match one(text) {
        Untagged::Search(found) => found,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(found("* SEARCH").all, UidSet::default());
    assert_eq!(found("* SEARCH 2 84 3 (MODSEQ 917162500)").all.to_string(), "2:3,84");
    let all = found("* ESEARCH (TAG \"A1\") UID MIN 2 MAX 84 COUNT 3 ALL 2:3,84 MODSEQ 7 X-NEW (a (b))");
    assert_eq!(
        (all.all.to_string().as_str(), all.min, all.max, all.count),
        ("2:3,84", Some(2), Some(84), Some(3))
    );
    assert_eq!(found("* ESEARCH (TAG \"A1\") UID COUNT 0").count, Some(0));
    for text in ["* SEARCH 0x", "* ESEARCH UID ALL 1:*", "* ESEARCH COUNT many"] {
        assert_eq!(one(text), Untagged::Unreadable("SEARCH"), "{text}");
    }
}

#[test]
fn what_vanished_and_what_a_folder_holds_is_read() {
    let set = UidSet::of_ranges([(3, 5), (9, 9)]);
    assert_eq!(one("* VANISHED (EARLIER) 9,3:5"), Untagged::Vanished { earlier: true, set: set.clone() });
    assert_eq!(one("* VANISHED 3:5,9"), Untagged::Vanished { earlier: false, set });
    assert_eq!(one("* VANISHED (LATER) 9"), Untagged::Unreadable("VANISHED"));
    let status = FolderStatus {
        messages: Some(3),
        modseq: Some(7),
        mailbox_id: Some("F1".to_owned()),
        size: Some(5),
        ..FolderStatus::default()
    };
    let text =
        "* STATUS \"a b\" (MESSAGES 3 X-NEW (1 2) SIZE 5 MAILBOXID (F1) HIGHESTMODSEQ 7 APPENDLIMIT NIL)";
    assert_eq!(one(text), Untagged::Folder("a b".into(), status));
    let Untagged::Folder(_, odd) = one("* STATUS x (MAILBOXID (\u{93}\u{1a}`U) MESSAGES 1)") else {
        panic!()
    };
    assert_eq!((odd.mailbox_id, odd.messages), (None, Some(1)), "no letters of an id");
    assert_eq!(one("* STATUS x (MESSAGES many)"), Untagged::Unreadable("STATUS"));
    assert_eq!(one("* STATUS a b (MESSAGES 1)"), Untagged::Unreadable("STATUS"));
    assert!(matches!(one("* ENABLED qresync"), Untagged::Enabled(c) if c.has("QRESYNC")));
}

#[test]
fn the_items_of_extensions_are_read() {
    let found = items(
        "* 1 FETCH (UID 3 MODSEQ (65402) EMAILID (M6d) X-GM-MSGID 1278455344230334865 X-GM-LABELS (\"\\\\Inbox\" foo \"a (b\") BODY[]<512> \"part\" BODY[HEADER] \"a: b\")",
    );
    assert_eq!(
        (found.modseq, found.email_id.as_deref(), found.origin),
        (Some(65402), Some("M6d"), Some(512))
    );
    assert_eq!(found.gm_msgid, Some(1_278_455_344_230_334_865));
    assert_eq!(found.gm_labels.as_deref(), Some(&["\\Inbox", "foo", "a (b"].map(str::to_owned)[..]));
    assert_eq!((found.body, found.header), (BodyItem::Held("part".into()), BodyItem::Held("a: b".into())));
}

#[test]
fn the_wait_exchange_suggests_is_obeyed_and_bounded() {
    let done = tagged("A1 BAD Request is throttled. Suggested Backoff Time: 5000 milliseconds");
    let error = done.refusal(Scope::Mailbox, "listing a folder");
    assert_eq!(error.retry_after, Some(Duration::from_secs(5)));
    let done = tagged("A1 BAD Suggested Backoff Time: 99999999999 milliseconds");
    assert_eq!(done.backoff, Some(Duration::from_secs(3600)));
}

#[test]
fn what_servers_say_in_words_where_there_is_a_code_is_understood() {
    for (text, code) in [
        ("A1 NO [ALERT] Too many simultaneous connections. (Failure)", "LIMIT"),
        ("A1 NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded", "LIMIT"),
        ("A1 BAD Request is throttled.", "THROTTLED"),
        ("A1 NO [LIMIT] UID FETCH Rate limit hit.", "LIMIT"),
        ("A1 NO [UNAVAILABLE] the backend is down", "UNAVAILABLE"),
    ] {
        let done = tagged(text);
        assert!(done.code.is(code), "{text}: {done:?}");
        assert_eq!(done.backoff, None);
    }
    match one("* BYE Too many connections from your address") {
        Untagged::Status(done) => assert!(done.backoff.is_some()),
        other => panic!("{other:?}"),
    }
    assert_eq!(tagged("A1 OK there were too many connections before").code, Code::None);
}

#[test]
fn names_come_quoted_bare_or_as_literals() {
    let name = |text: &str| match one(text) {
        Untagged::List(l) => String::from_utf8_lossy(&l.name).into_owned(),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(name("* LIST (\\HasNoChildren) \"/\" \"a\\\"b\\\\c\""), "a\"b\\c");
    assert_eq!(name("* LIST () NIL INBOX"), "INBOX");
    assert_eq!(name("* LIST () \".\" Deleted Items"), "Deleted Items");
    assert_eq!(name("* LIST () \".\" NIL"), "NIL");
    assert_eq!(name("* XLIST (\\Noselect) \"\\\\\" \"\""), "");
    assert_eq!(name("* LIST () \"/\" \"x\" (\"CHILDINFO\" (\"SUBSCRIBED\"))"), "x");
    let text = b"* LIST () \"/\" ".to_vec();
    let literals = vec![Literal { at: text.len(), value: Value::Octets("a{b".into()) }];
    match read(&Raw { text, literals }) {
        Ok(Response::Untagged(Untagged::List(l))) => assert_eq!(l.name, "a{b"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn namespaces_are_read_with_their_extensions() {
    match one(
        "* NAMESPACE ((\"INBOX.\" \".\" \"X-PARAM\" (\"a\" \"b\"))(\"\" NIL)) NIL ((\"Public/\" \"/\"))",
    ) {
        Untagged::Namespace(n) => {
            assert_eq!(n.personal, [("INBOX.".into(), Some(b'.')), ("".into(), None)]);
            assert!(n.others.is_empty());
            assert_eq!(n.shared, [("Public/".into(), Some(b'/'))]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn deep_nesting_is_refused_without_a_deep_stack() {
    let text = format!("* 1 FETCH (X {}", "(".repeat(100_000));
    assert_eq!(one(&text), Untagged::Unreadable("FETCH"));
}

#[test]
fn only_a_whole_message_of_a_fetch_is_streamed() {
    assert!(awaits_body(b"* 1 FETCH (UID 3 BODY[] "));
    assert!(awaits_body(b"* 12 fetch (body[] "));
    assert!(awaits_body(b"* 1 FETCH (RFC822 "));
    assert!(awaits_body(b"* 1 FETCH (UID 3 BODY[]<1024> "));
    assert!(!awaits_body(b"* 1 FETCH (BODY[]<x> "));
    assert!(!awaits_body(b"* 1 FETCH (BODY[HEADER] "));
    assert!(!awaits_body(b"* LIST () \"/\" BODY[] "));
}

proptest! {
    #[test]
    fn no_line_can_hurt_the_grammar(line in proptest::collection::vec(any::<u8>(), 0..200), kind in 0usize..6) {
        let begin: [&[u8]; 6] = [b"", b"* ", b"* 1 FETCH (", b"* LIST (", b"* NAMESPACE (", b"A1 OK ["];
        let _ = read(&raw(&[begin[kind], &line].concat()));
    }
}

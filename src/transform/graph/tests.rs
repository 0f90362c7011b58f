use super::*;
use crate::model::{FolderId, MailboxKey, SourceName};
use crate::transform::octets::tests::spooled;
use proptest::prelude::*;

fn stamp() -> Stamp {
    let source: SourceName = "acme".parse().expect("valid");
    let mailbox = MailboxKey::of(&source, "a");
    Stamp { source, mailbox, folder: FolderId(1), epoch: 1, number: 7 }
}

fn made(octets: &[u8]) -> Result<(Value, GraphMessage), Error> {
    with(octets, Original::WhenLossy, false)
}

fn with(octets: &[u8], original: Original, plain: bool) -> Result<(Value, GraphMessage), Error> {
    let (octets, stamp, flags) = (Octets::from(Bytes::copy_from_slice(octets)), stamp(), Flags::default());
    let input = Input {
        octets: &octets,
        stamp: &stamp,
        flags: &flags,
        received: Some(Timestamp::utc(1_700_000_000)),
        bounds: Bounds::default(),
        original,
        plain,
    };
    let message = build(&input)?;
    let spool = Input { octets: &spooled(&octets.load().expect("in memory")), ..input };
    let same = build(&spool)?;
    assert!(message.create == same.create && message.losses == same.losses, "the spool gives the same");
    let octets_of = |m: &GraphMessage| -> Vec<Bytes> {
        m.later.iter().map(|f| f.reader().map_or_else(Bytes::new, |mut r| r.next(f.len()).expect("read"))).collect()
    };
    assert_eq!(octets_of(&message), octets_of(&same));
    assert!(message.create.len() <= MAX_REQUEST, "{}", message.create.len());
    let json = serde_json::from_slice(&message.create).expect("valid JSON");
    Ok((json, message))
}

fn make(text: &str) -> (Value, GraphMessage) {
    made(text.replace('\n', "\r\n").as_bytes()).expect("a message")
}

fn attachment(json: &Value, n: usize) -> (String, String, Vec<u8>) {
    let a = &json["attachments"][n];
    let bytes =
        encodify::base64::STANDARD.decode(a["contentBytes"].as_str().expect("text")).expect("strict base64");
    (a["name"].as_str().expect("text").to_owned(), a["contentType"].as_str().expect("text").to_owned(), bytes)
}

#[test]
fn a_plain_message_takes_one_request_and_says_done() {
    let (json, message) = make(
        "From: a@x.org\nTo: b@x.org\nDate: Sat, 21 Nov 2026 09:00:00 +0100\nMessage-ID: <1@x>\nSubject: hi\n\nhello\nworld\n",
    );
    assert_eq!(json["body"], serde_json::json!({"contentType": "text", "content": "hello\r\nworld\r\n"}));
    assert_eq!(json["isRead"], false);
    assert!(message.later.is_empty() && message.losses.is_empty(), "{:?}", message.losses);
    assert_eq!(extended(&json, props::STAMP), Some(props::stamp_value(&stamp(), true).as_str()));
    assert_eq!(extended(&json, props::DELIVERY_TIME), Some("2023-11-14T22:13:20Z"));
    assert_eq!(extended(&json, props::SUBMIT_TIME), Some("2026-11-21T08:00:00Z"));
    assert_eq!(extended(&json, props::MESSAGE_FLAGS), Some("4"));
    assert!(
        extended(&json, props::TRANSPORT_HEADERS)
            .is_some_and(|h| h.starts_with("From: a@x.org\r\n") && h.ends_with("Subject: hi\r\n"))
    );
}

const ALTERNATIVE: &str = "Content-Type: multipart/mixed; boundary=m\n\n--m\n\
    Content-Type: multipart/alternative; boundary=a\n\n--a\n\nplain\n--a\n\
    Content-Type: multipart/related; boundary=r\n\n--r\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n\
    <img src=3D\"cid:i@x\">caf=C3=A9\n--r\nContent-Type: image/png; name=i.png\nContent-ID: <i@x>\nContent-Transfer-Encoding: base64\n\naWNv\nbg==\n--r--\n--a--\n\
    --m\nContent-Type: application/pdf\nContent-Disposition: attachment; filename=\"=?utf-8?B?w6kucGRm?=\"\nContent-Transfer-Encoding: base64\n\ncGRm\n\
    --m\nContent-Type: text/calendar\n\nBEGIN:VCALENDAR\n--m--\n";

#[test]
fn html_wins_related_images_are_inline_and_the_rest_are_files() {
    let (json, message) = make(ALTERNATIVE);
    assert_eq!(json["body"]["contentType"], "html");
    assert_eq!(json["body"]["content"], "<img src=\"cid:i@x\">café");
    assert_eq!(attachment(&json, 0), ("i.png".into(), "image/png".into(), b"icon".to_vec()));
    assert_eq!(
        (&json["attachments"][0]["isInline"], &json["attachments"][0]["contentId"]),
        (&true.into(), &"i@x".into())
    );
    assert_eq!(attachment(&json, 1), ("é.pdf".into(), "application/pdf".into(), b"pdf".to_vec()));
    assert_eq!(json["attachments"][1]["isInline"], false);
    assert_eq!(
        attachment(&json, 2),
        ("attachment-3.ics".into(), "text/calendar".into(), b"BEGIN:VCALENDAR".to_vec())
    );
    assert_eq!(message.losses, [losses::ALTERNATIVE_TEXT, losses::SENT_MADE]);
}

#[test]
fn a_nested_message_is_a_file_with_its_exact_octets() {
    let (json, message) = make(
        "Content-Type: multipart/mixed; boundary=m\n\n--m\n\nsee below\n--m\nContent-Type: message/rfc822\n\n\
         Subject: inner\nContent-Type: multipart/mixed; boundary=n\n\n--n\n\ninner text\n--n--\n\n--m--\n",
    );
    assert_eq!(json["body"]["content"], "see below");
    let (name, kind, octets) = attachment(&json, 0);
    assert_eq!((name.as_str(), kind.as_str()), ("message-1.eml", "message/rfc822"));
    let octets = String::from_utf8(octets).expect("ASCII");
    assert!(octets.starts_with("Subject: inner\r\n") && octets.ends_with("--n--\r\n"), "{octets}");
    assert!(message.losses.contains(&losses::NESTED_AS_FILE));
}

#[test]
fn a_signed_message_carries_its_whole_original() {
    let text = "Subject: s\nContent-Type: multipart/signed; boundary=s; protocol=\"application/pgp-signature\"\n\n--s\n\nsigned text\n\
                --s\nContent-Type: application/pgp-signature\n\nSIG\n--s--\n";
    let (json, message) = make(text);
    assert_eq!(json["body"]["content"], "signed text");
    let (name, kind, octets) = attachment(&json, 0);
    assert_eq!((name.as_str(), kind.as_str()), ("original-message.eml", "message/rfc822"));
    assert_eq!(octets, text.replace('\n', "\r\n").into_bytes());
    assert!(json["attachments"].as_array().is_some_and(|a| a.len() == 1));
    assert!(message.losses.contains(&losses::PROTECTED_ORIGINAL));
    let (json, _) = make(
        "Content-Type: application/pkcs7-mime; name=smime.p7m\nContent-Transfer-Encoding: base64\n\nAAAA\n",
    );
    assert!(json["body"]["content"].as_str().is_some_and(|b| b.contains("encrypted")));
    assert_eq!(attachment(&json, 0).0, "original-message.eml");
}

#[test]
fn eight_bit_text_without_a_charset_is_read_not_destroyed() {
    let (json, message) = made(b"Subject: x\r\n\r\ncaf\xe9 \x93q\x94\r\n").expect("a message");
    assert_eq!(json["body"]["content"], "café “q”\r\n");
    assert!(message.losses.contains(&losses::CHARSET_GUESSED));
    let (json, message) = made("Subject: x\r\n\r\ncafé\r\n".as_bytes()).expect("a message");
    assert_eq!(json["body"]["content"], "café\r\n");
    assert!(!message.losses.contains(&losses::CHARSET_GUESSED));
    let (json, _) =
        made(b"Content-Type: text/plain; charset=shift_jis\r\n\r\n\x93\xfa\x96{\r\n").expect("a message");
    assert_eq!(json["body"]["content"], "日本\r\n");
}

#[test]
fn a_message_without_headers_keeps_its_text_and_one_without_octets_is_refused() {
    let (json, message) = make("no header here\n\nmore text\n");
    assert_eq!(json["body"]["content"], "no header here\r\n\r\nmore text\r\n");
    assert!(message.losses.contains(&losses::NO_HEADERS));
    assert_eq!(made(b"").expect_err("refused").kind, Kind::Refused);
    let (json, _) = made(b"\r\n").expect("a message");
    assert_eq!(json["body"]["content"], "");
}

#[test]
fn broken_base64_keeps_the_original_at_hand() {
    let (json, message) = make(
        "Content-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: image/png; name=a.png\nContent-Transfer-Encoding: base64\n\n\
         aGVsbG8=\n*** list footer ***\n--m--\n",
    );
    assert_eq!(attachment(&json, 0).2, b"hello");
    assert_eq!(attachment(&json, 1).0, "original-message.eml");
    assert!(message.losses.contains(&losses::ENCODING_BROKEN));
}

#[test]
fn a_named_form_of_the_text_is_still_the_text() {
    let (json, _) = make(
        "Content-Type: multipart/alternative; boundary=m\n\n--m\nContent-Type: text/plain\n\nplain\n\
         --m\nContent-Type: text/html; name=body.html\n\n<b>html</b>\n--m--\n",
    );
    assert_eq!(json["body"]["content"], "<b>html</b>");
    assert!(json.get("attachments").is_none());
    let (json, message) = make(
        "Content-Type: multipart/mixed; boundary=m\n\n--m\n\nfirst\n--m\nContent-Type: text/plain; name=notes.txt\n\nnotes\n\
         --m\n\nfooter\n--m--\n",
    );
    assert_eq!(json["body"]["content"], "first\r\nfooter");
    assert_eq!(attachment(&json, 0), ("notes.txt".into(), "text/plain".into(), b"notes".to_vec()));
    assert!(message.losses.contains(&losses::BODY_JOINED));
}

#[test]
fn html_joined_with_a_text_footer_shows_the_footer_as_text() {
    let (json, _) = make(
        "Content-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: text/html\n\n<p>hi</p>\n--m\n\n-- \na <b> footer & more\n--m--\n",
    );
    let body = json["body"]["content"].as_str().expect("text");
    assert!(body.starts_with("<p>hi</p><hr>") && body.contains("a &lt;b&gt; footer &amp; more"), "{body}");
}

#[test]
fn nothing_of_a_message_is_shown_by_debug() {
    let (_, message) = make("Subject: private\nContent-Type: application/x; name=private.bin\n\nprivate\n");
    assert!(!format!("{message:?}").contains("private"));
}

#[test]
fn hostile_names_lose_their_paths_and_controls() {
    let (json, _) = make(
        "Content-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: application/x; name=\"../../etc/passwd\"\n\nx\n\
         --m\nContent-Type: te xt/?; name=\"..\"\n\nx\n--m--\n",
    );
    assert_eq!(attachment(&json, 0).0, ".._.._etc_passwd");
    assert_eq!(attachment(&json, 1).0, "attachment-2.bin");
}

#[test]
fn files_go_along_while_they_fit_and_follow_when_they_do_not() {
    let file = |n: usize, size: usize| {
        let b = encodify::base64::MIME.encode(vec![n as u8; size]);
        format!(
            "--m\r\nContent-Type: application/x; name=f{n}\r\nContent-Transfer-Encoding: base64\r\n\r\n{b}\r\n"
        )
    };
    let text = format!(
        "Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\ntext\r\n{}{}{}--m--\r\n",
        file(1, 2_000_000),
        file(2, 3_500_000),
        file(3, 1_000_000)
    );
    let (json, message) = made(text.as_bytes()).expect("a message");
    assert_eq!(extended(&json, props::STAMP), Some(props::stamp_value(&stamp(), false).as_str()));
    assert_eq!(json["attachments"].as_array().map(Vec::len), Some(1));
    let later: Vec<usize> = message.later.iter().map(File::len).collect();
    assert_eq!(later, [3_500_000, 1_000_000]);
    let session: Value = serde_json::from_slice(&message.later[0].session_body()).expect("JSON");
    assert_eq!(session["AttachmentItem"]["size"], 3_500_000);
    let mut reader = message.later[0].reader().expect("a file");
    assert_eq!(reader.next(usize::MAX).expect("in memory"), vec![2u8; 3_500_000]);
    assert!(message.later[1].body().expect("in memory").len() < MAX_REQUEST);
}

#[test]
fn a_text_too_large_for_one_request_is_cut_visibly_and_the_original_follows() {
    let text = format!("Subject: big\n\n{}", "line of text \"quoted\"\n".repeat(300_000));
    let (json, message) = make(&text);
    assert!(
        json["body"]["content"]
            .as_str()
            .is_some_and(|b| b.starts_with("[This text was cut") && b.len() > 2_000_000)
    );
    assert!(message.losses.contains(&losses::BODY_TRUNCATED));
    assert_eq!(message.later.len(), 1);
    assert_eq!(message.later[0].len(), text.len() + text.matches('\n').count());
}

#[test]
fn more_files_than_a_mailbox_takes_end_in_the_original() {
    let text = format!(
        "Content-Type: multipart/mixed; boundary=m\n\n{}--m--\n",
        "--m\nContent-Type: a/b\n\nx\n".repeat(300)
    );
    let (json, message) = make(&text);
    assert_eq!(json["attachments"].as_array().map(Vec::len), Some(250));
    assert_eq!(attachment(&json, 249).0, "original-message.eml");
    assert!(message.losses.contains(&losses::ATTACHMENTS_BEYOND_LIMIT));
}

#[test]
fn a_huge_header_block_and_many_recipients_still_fit_one_request() {
    let to: Vec<String> = (0..30_000).map(|n| format!("person{n}@department.example.org")).collect();
    let text = format!("To: {}\nX-Long: {}\n\ntext\n", to.join(",\n "), "\u{1}".repeat(400_000));
    let (json, message) = make(&text);
    assert!(json["toRecipients"].as_array().is_some_and(|l| l.len() == 2_000));
    assert!(message.losses.contains(&losses::HEADERS_TRUNCATED));
    assert!(message.losses.contains(&losses::RECIPIENTS_TRUNCATED));
    assert_eq!(json["body"]["content"], "text\r\n");
}

#[test]
fn every_loss_is_explained_once() {
    let names: BTreeSet<_> = losses::ALL.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), losses::ALL.len());
    assert!(
        losses::ALL
            .iter()
            .all(|(name, why)| !why.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_make_valid_json(octets: Vec<u8>) {
        if let Ok((json, _)) = made(&octets) {
            prop_assert!(json["body"]["content"].is_string());
        } else {
            prop_assert!(octets.is_empty());
        }
    }

    #[test]
    fn mail_like_octets_make_valid_json(
        lines in prop::collection::vec(
            prop_oneof![
                Just("--b".to_owned()), Just("--b--".to_owned()), Just(String::new()), Just(String::new()),
                Just("Content-Type: multipart/alternative; boundary=b".to_owned()),
                Just("Content-Type: text/html".to_owned()),
                Just("Content-Type: message/rfc822".to_owned()),
                Just("Content-Transfer-Encoding: base64".to_owned()),
                Just("To: \"<a@b>, (c: ;".to_owned()),
                Just("Date: 99 Foo 9999 99:99:99 +9999".to_owned()),
                Just("Subject: =?x?Q?=?= =?utf-8?B?////?=".to_owned()),
                ".{0,30}"
            ],
            1..30
        )
    ) {
        made(lines.join("\r\n").as_bytes()).ok();
    }
}

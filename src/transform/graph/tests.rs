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
        m.later
            .iter()
            .map(|f| f.reader().map_or_else(Bytes::new, |mut r| r.next(f.len()).expect("read")))
            .collect()
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

fn nested(inner: &str) -> String {
    format!(
        "Subject: outer\nContent-Type: multipart/mixed; boundary=m\n\n--m\n\nsee below\n--m\n\
         Content-Type: message/rfc822\n\n{inner}\n--m--\n"
    )
}

const INNER: &str = "From: \"In, ner\" <in@x.org>\nTo: b@x.org\nSubject: inner\nMessage-ID: <in@x>\n\
    Date: Sat, 21 Nov 2026 09:00:00 +0100\nContent-Type: multipart/mixed; boundary=n\n\n--n\n\ninner text\n\
    --n\nContent-Type: image/png; name=i.png\nContent-Transfer-Encoding: base64\n\naWNvbg==\n--n--\n";

#[test]
fn a_nested_message_is_attached_as_a_message_with_its_own_attachments_and_dates() {
    let (json, message) = make(&nested(INNER));
    assert_eq!(json["body"]["content"], "see below");
    assert_eq!(message.losses, [losses::SENT_MADE], "nothing of the nested message is lost");
    let attached = &json["attachments"][0];
    assert_eq!(attached["@odata.type"], "#microsoft.graph.itemAttachment");
    assert_eq!(attached["name"], "inner");
    let item = &attached["item"];
    assert_eq!(item["@odata.type"], "#microsoft.graph.message");
    assert_eq!((&item["subject"], &item["internetMessageId"]), (&"inner".into(), &"<in@x>".into()));
    assert_eq!(item["from"]["emailAddress"]["name"], "In, ner");
    assert_eq!(item["body"]["content"], "inner text");
    assert_eq!(attachment(item, 0), ("i.png".into(), "image/png".into(), b"icon".to_vec()));
    assert_eq!(extended(item, props::SUBMIT_TIME), Some("2026-11-21T08:00:00Z"));
    assert_eq!(extended(item, props::MESSAGE_FLAGS), Some("5"));
    assert!(extended(item, props::TRANSPORT_HEADERS).is_some_and(|h| h.contains("Message-ID: <in@x>\r\n")));
    assert_eq!(extended(item, props::STAMP), None, "one stamp per message");
}

#[test]
fn a_nested_message_that_would_lose_more_as_a_message_is_a_file_with_its_exact_octets() {
    let deep = (0..=nested::MAX_ITEMS).fold(INNER.to_owned(), |inner, n| {
        format!("Subject: level {n}\nContent-Type: message/rfc822\n\n{inner}")
    });
    let large = format!("Subject: large\n\n{}", "a line of text\n".repeat(175_000));
    for (why, inner) in [
        ("no header", "no header here\n"),
        ("broken base64", "Subject: x\nContent-Transfer-Encoding: base64\n\naGVs*bG8=\n"),
        (
            "two texts",
            "Subject: x\nContent-Type: multipart/mixed; boundary=n\n\n--n\n\none\n--n\n\ntwo\n--n--\n",
        ),
        (
            "signed",
            "Subject: x\nContent-Type: multipart/signed; boundary=n\n\n--n\n\none\n--n\nContent-Type: application/pkcs7-signature\n\nSIG\n--n--\n",
        ),
        (
            "opaque",
            "Subject: x\nContent-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\nAAAA\n",
        ),
        ("too deep", deep.as_str()),
        ("too large", large.as_str()),
    ] {
        let (json, message) = make(&nested(inner));
        let (name, kind, octets) = attachment(&json, 0);
        assert_eq!((name.as_str(), kind.as_str()), ("message-1.eml", "message/rfc822"), "{why}");
        let exact = inner.replace('\n', "\r\n");
        assert_eq!(String::from_utf8(octets).expect("ASCII"), exact, "{why}");
        assert!(message.losses.contains(&losses::NESTED_AS_FILE), "{why}");
    }
    let (json, message) =
        with(nested(INNER).replace('\n', "\r\n").as_bytes(), Original::WhenLossy, true).expect("a message");
    assert_eq!(attachment(&json, 0).2, INNER.replace('\n', "\r\n").into_bytes());
    assert!(!message.special && message.losses.contains(&losses::NESTED_AS_FILE));
    assert!(make(&nested(INNER)).1.special);
}

#[test]
fn messages_in_a_digest_are_attached_as_messages() {
    let (json, _) = make(
        "Subject: d\nContent-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: one\n\n1\n--d\n\nSubject: two\n\n2\n--d--\n",
    );
    let names: Vec<_> = (0..2).map(|n| json["attachments"][n]["item"]["subject"].clone()).collect();
    assert_eq!(names, ["one", "two"]);
}

const OPAQUE: &str = "Subject: s\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\n\
    Content-Transfer-Encoding: base64\n\nMIIB\nAAAA\n";
const CLEAR: &str = "Subject: s\nMIME-Version: 1.0\nContent-Type: multipart/signed; protocol=\"application/pkcs7-signature\";\n\
    \tmicalg=sha-256; boundary=s\n\npreamble\n--s\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\nsigned  text \n\
    --i\nContent-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\ncGRm\n--i--\n--s\n\
    Content-Type: application/pkcs7-signature; name=smime.p7s\nContent-Transfer-Encoding: base64\n\nAAAA\n--s--\nepilogue\n";

#[test]
fn an_opaque_smime_message_keeps_its_class_and_its_octets_in_one_attachment() {
    for original in [Original::Never, Original::WhenLossy, Original::Always] {
        let (json, message) =
            with(OPAQUE.replace('\n', "\r\n").as_bytes(), original, false).expect("a message");
        assert_eq!(extended(&json, props::CLASS), Some("IPM.Note.SMIME"));
        let octets = vec![0x30, 0x82, 1, 0, 0, 0];
        assert_eq!(attachment(&json, 0), ("smime.p7m".into(), "application/pkcs7-mime".into(), octets));
        assert_eq!(json["attachments"].as_array().map(Vec::len), Some(1));
        assert!(message.special && message.losses == [losses::SENT_MADE], "{:?}", message.losses);
        assert!(
            extended(&json, props::TRANSPORT_HEADERS)
                .is_some_and(|h| h.contains("smime-type=enveloped-data"))
        );
    }
}

#[test]
fn a_clear_signed_smime_message_keeps_the_whole_signed_entity_octet_for_octet() {
    let octets = CLEAR.replace('\n', "\r\n");
    let (json, message) = made(octets.as_bytes()).expect("a message");
    assert_eq!(extended(&json, props::CLASS), Some("IPM.Note.SMIME.MultipartSigned"));
    assert_eq!(json["body"]["content"], "signed  text ");
    let (name, kind, entity) = attachment(&json, 0);
    assert_eq!((name.as_str(), kind.as_str()), ("smime.p7m", "multipart/signed"));
    let (_, rest) = octets.split_once("MIME-Version: 1.0\r\n").expect("there");
    assert_eq!(String::from_utf8(entity.clone()).expect("ASCII"), rest);
    let signed = |octets: &[u8]| {
        let structure = crate::transform::mime::Structure::read(&Bytes::copy_from_slice(octets).into())
            .expect("in memory");
        structure.parts[structure.parts[0].children[0]].body.load().expect("in memory")
    };
    assert_eq!(signed(&entity), signed(octets.as_bytes()));
    assert_eq!(json["attachments"].as_array().map(Vec::len), Some(1));
    assert_eq!(message.losses, [losses::SENT_MADE, losses::SIGNED_ENTITY]);
}

#[test]
fn protection_that_no_class_fits_keeps_the_whole_original() {
    let pgp = "Subject: s\nContent-Type: multipart/signed; boundary=s; protocol=\"application/pgp-signature\"\n\n--s\n\nsigned text\n\
               --s\nContent-Type: application/pgp-signature\n\nSIG\n--s--\n";
    let encrypted = "Subject: s\nContent-Type: multipart/encrypted; boundary=s; protocol=\"application/pgp-encrypted\"\n\n--s\n\
               Content-Type: application/pgp-encrypted\n\nVersion: 1\n--s\nContent-Type: application/octet-stream; name=encrypted.asc\n\nSECRET\n--s--\n";
    let broken = OPAQUE.replace("AAAA", "A*AA");
    let footer = format!(
        "Subject: list\nContent-Type: multipart/mixed; boundary=f\n\n--f\n{}\n--f\n\nfooter\n--f--\n",
        CLEAR.split_once("1.0\n").expect("there").1
    );
    for (text, shown, plain) in [
        (pgp, "signed text", false),
        (encrypted, "This message is encrypted", false),
        (&broken, "This message is encrypted", false),
        (&footer, "signed  text \r\nfooter", false),
        (OPAQUE, "This message is encrypted", true),
        (CLEAR, "signed  text ", true),
    ] {
        let octets = text.replace('\n', "\r\n").into_bytes();
        let (json, message) = with(&octets, Original::WhenLossy, plain).expect("a message");
        assert!(json["body"]["content"].as_str().is_some_and(|b| b.starts_with(shown)), "{}", json["body"]);
        let last = json["attachments"].as_array().map_or(0, Vec::len) - 1;
        assert_eq!(attachment(&json, last), ("original-message.eml".into(), "message/rfc822".into(), octets));
        assert_eq!(extended(&json, props::CLASS), None);
        assert!(message.losses.contains(&losses::PROTECTED_ORIGINAL) && !message.special);
    }
    let names = |text: &str| -> Vec<String> {
        let octets = text.replace('\n', "\r\n").into_bytes();
        let (json, message) = with(&octets, Original::Never, false).expect("a message");
        assert!(message.losses.contains(&losses::PROTECTED_PARTS));
        (0..json["attachments"].as_array().map_or(0, Vec::len)).map(|n| attachment(&json, n).0).collect()
    };
    assert_eq!(names(pgp), ["attachment-1.asc"]);
    assert_eq!(names(encrypted), ["attachment-1.asc", "encrypted.asc"]);
}

#[test]
fn the_original_is_attached_always_never_or_when_something_is_lost() {
    let whole = |json: &Value| {
        json["attachments"].as_array().is_some_and(|a| a.iter().any(|a| a["name"] == "original-message.eml"))
    };
    let plain = "Subject: x\r\n\r\ntext\r\n".as_bytes();
    let broken = "Subject: x\r\nContent-Transfer-Encoding: base64\r\n\r\naGVs*bG8=\r\n".as_bytes();
    let headers = format!("Subject: x\r\n{}\r\ntext\r\n", "X-Long: y\r\n".repeat(20_000));
    for (octets, never, lossy) in
        [(plain, false, false), (broken, false, true), (headers.as_bytes(), false, true)]
    {
        for (original, wanted) in
            [(Original::Never, never), (Original::WhenLossy, lossy), (Original::Always, true)]
        {
            let (json, _) = with(octets, original, false).expect("a message");
            assert_eq!(whole(&json), wanted, "{original:?}");
        }
    }
    let many = format!(
        "Content-Type: multipart/mixed; boundary=m\r\n\r\n{}--m--\r\n",
        "--m\r\nContent-Type: a/b\r\n\r\nx\r\n".repeat(300)
    );
    assert!(
        whole(&with(many.as_bytes(), Original::Never, false).expect("a message").0),
        "nothing else has them"
    );
}

#[test]
fn a_text_that_is_cut_without_its_original_is_attached_as_a_file() {
    let text = "line of text \"quoted\"\r\n".repeat(300_000);
    let octets = format!("Subject: big\r\nContent-Type: text/html\r\n\r\n{text}");
    let (json, message) = with(octets.as_bytes(), Original::Never, false).expect("a message");
    assert!(json["body"]["content"].as_str().is_some_and(|b| b.contains("All of it is attached as a file")));
    assert!(message.losses.contains(&losses::BODY_TRUNCATED));
    let mut reader = message.later[0].reader().expect("a file");
    assert_eq!(reader.next(usize::MAX).expect("in memory"), text.as_bytes());
}

#[test]
fn only_the_beginning_of_a_very_long_text_is_read() {
    let head = "Subject: big\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n";
    let octets = format!("{head}{}", "=C3=BC=\r\n".repeat(2_000_000));
    let (json, message) = made(octets.as_bytes()).expect("a message");
    let body = json["body"]["content"].as_str().expect("text");
    assert!(body.contains('ü') && !body.contains('Ã') && body.len() > 2_000_000, "{}", body.len());
    assert!(
        message.losses.contains(&losses::BODY_TRUNCATED)
            && !message.losses.contains(&losses::CHARSET_GUESSED)
    );
    assert_eq!(message.later[0].len(), octets.len());
}

#[test]
fn tnef_and_calendar_parts_are_kept_as_files() {
    let (json, message) = make(
        "Content-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: multipart/alternative; boundary=a\n\n--a\n\nplain\n--a\n\
         Content-Type: text/html\n\n<p>html</p>\n--a\nContent-Type: text/calendar; method=REQUEST; charset=utf-8\n\nBEGIN:VCALENDAR\n--a--\n\
         --m\nContent-Type: application/ms-tnef\nContent-Transfer-Encoding: base64\n\neJ8+Ig==\n--m--\n",
    );
    assert_eq!(json["body"]["content"], "<p>html</p>");
    assert_eq!(
        attachment(&json, 0),
        ("attachment-1.ics".into(), "text/calendar".into(), b"BEGIN:VCALENDAR".to_vec())
    );
    assert_eq!(
        attachment(&json, 1),
        ("winmail.dat".into(), "application/ms-tnef".into(), vec![0x78, 0x9f, 0x3e, 0x22])
    );
    assert_eq!(message.losses, [losses::ALTERNATIVE_TEXT, losses::SENT_MADE]);
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

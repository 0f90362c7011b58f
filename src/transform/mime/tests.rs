use super::super::octets::tests::spooled;
use super::*;
use proptest::prelude::*;

fn bodies(message: &str) -> Vec<String> {
    let leaves = |octets: &Octets| -> Vec<String> {
        let structure = Structure::read(octets).expect("readable");
        assert!(!structure.too_many);
        let leaves = structure.parts.iter().filter(|p| p.children.is_empty());
        leaves.map(|p| String::from_utf8_lossy(&p.body.load().expect("readable")).into_owned()).collect()
    };
    let found = leaves(&structured(message));
    assert_eq!(leaves(&spooled(message.as_bytes())), found, "the spool reads the same");
    found
}

fn structured(message: &str) -> Octets {
    Bytes::from(message.to_owned()).into()
}

fn read(octets: Bytes) -> Structure {
    Structure::read(&octets.into()).expect("in memory")
}

#[test]
fn a_boundary_that_begins_another_one_does_not_divide_it() {
    let m = "Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\n\
             Content-Type: multipart/alternative; boundary=\"b-1\"\r\n\r\n--b-1\r\n\r\none --b\r\n--b-1\r\n\r\ntwo\r\n--b-1--\r\n\
             --b\r\n\r\nthree\r\n--b--\r\n";
    let mut found = bodies(m);
    found.sort();
    assert_eq!(found, ["one --b", "three", "two"]);
}

#[test]
fn a_missing_end_and_bare_line_feeds_are_forgiven() {
    let m = "Content-Type: multipart/mixed; boundary=b\n\nhello\n--b\n\none\n--b\nX: y\n\ntwo\n";
    assert_eq!(bodies(m), ["one", "two\n"]);
    assert!(read(Bytes::from(m)).outside);
}

#[test]
fn a_delimiter_is_found_wherever_the_windows_of_a_spooled_message_end() {
    for before in [WINDOW - 4, WINDOW - 3, WINDOW - 2, WINDOW - 1, WINDOW, WINDOW + 1] {
        let head = "Content-Type: multipart/mixed; boundary=bound\r\n\r\n--bound\r\n\r\n";
        let text = "x".repeat(before - "--bound\r\n\r\n".len());
        let m = format!("{head}{text}\r\n--bound\r\nA: b\r\n\r\nlast\r\n--bound--\r\n");
        assert_eq!(bodies(&m), [text, "last".to_owned()]);
    }
}

#[test]
fn a_header_larger_than_a_window_ends_where_it_ends() {
    let m = format!("{}\r\nthe body\r\n", "X-Long: y\r\n".repeat(40_000));
    assert_eq!(bodies(&m), ["the body\r\n"]);
}

#[test]
fn a_multipart_without_its_delimiter_is_one_part() {
    let m = "Content-Type: multipart/mixed; boundary=b\r\n\r\nno delimiter here\r\n";
    assert_eq!(bodies(m), ["no delimiter here\r\n"]);
}

#[test]
fn header_and_body_are_divided_with_and_without_headers() {
    for (octets, headers, body) in [
        ("A: b\r\n\r\ntext", "A: b\r\n", "text"),
        ("A: b\n\ntext", "A: b\n", "text"),
        ("\r\ntext", "", "text"),
        ("just text\r\n\r\nmore", "", "just text\r\n\r\nmore"),
        ("From x@y Mon\nA: b\n\ntext", "A: b\n", "text"),
        ("From here on it is text\n", "", "From here on it is text\n"),
        ("A: b\r\nbroken line\r\nC: d\r\n\r\ntext", "A: b\r\nbroken line\r\nC: d\r\n", "text"),
        ("A: b\r\n folded\r\nno field here", "A: b\r\n folded\r\n", "no field here"),
        ("A: b", "A: b", ""),
        ("", "", ""),
    ] {
        let found = halves(octets.as_bytes());
        assert_eq!((found.headers, found.body), (headers.as_bytes(), body.as_bytes()), "{octets:?}");
    }
}

#[test]
fn nesting_without_end_neither_recurses_nor_multiplies() {
    let mut deep = String::new();
    for n in 0..20_000 {
        deep.push_str(&format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"));
    }
    let structure = read(Bytes::from(deep));
    assert!(structure.parts.len() <= MAX_DEPTH + 1, "{}", structure.parts.len());
    let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(100_000);
    assert_eq!(read(Bytes::from(nested)).parts.len(), 1);
    let many =
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\n".repeat(MAX_PARTS + 9));
    assert!(read(Bytes::from(many)).too_many);
}

#[test]
fn a_part_is_described_by_its_header() {
    let head = Head::read(
        b"Content-Type: Application/PDF; name=\"=?utf-8?Q?caf=C3=A9=2Epdf?=\"\r\nContent-ID: <a@b>\r\n\
          Content-Disposition: ATTACHMENT; filename*=utf-8''caf%C3%A9.pdf\r\nContent-Transfer-Encoding: BASE64\r\n",
        false,
    );
    assert!(head.is("application", "pdf") && head.attachment && head.encoding == Encoding::Base64);
    assert_eq!(head.name.as_deref(), Some("café.pdf"));
    assert_eq!(head.content_id.as_deref(), Some("a@b"));
    assert!(Head::read(b"", true).is("message", "rfc822"));
    assert!(Head::read(b"Subject: x\r\n", false).is("text", "plain"));
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(octets: Vec<u8>) {
        let octets = Bytes::from(octets);
        for part in &read(octets).parts {
            part.text(1 << 20).expect("in memory");
        }
    }

    #[test]
    fn mail_like_text_never_panics(
        lines in prop::collection::vec(
            prop_oneof![
                Just("--b".to_owned()), Just("--b--".to_owned()), Just(String::new()),
                Just("Content-Type: multipart/mixed; boundary=b".to_owned()),
                Just("Content-Type: text/plain; charset=utf-7".to_owned()),
                Just("Content-Transfer-Encoding: base64".to_owned()),
                Just("Content-Disposition: attachment; filename*0*=utf-8''%zz".to_owned()),
                ".{0,30}"
            ],
            0..30
        )
    ) {
        let octets = Bytes::from(lines.join("\r\n"));
        for part in &read(octets).parts {
            part.text(1 << 20).expect("in memory");
        }
    }
}

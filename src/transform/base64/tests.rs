use super::super::octets::tests::spooled;
use super::*;
use encodify::base64::MIME;
use proptest::prelude::*;

fn sent(content: &Content) -> String {
    let mut out = String::new();
    content.push_base64(&mut out).expect("in memory");
    out
}

fn read(body: &[u8]) -> (Content, bool) {
    let found = Content::from_base64(&Bytes::copy_from_slice(body).into()).expect("in memory");
    let (content, broken) = Content::from_base64(&spooled(body)).expect("readable");
    assert_eq!((content.len(), broken), (found.0.len(), found.1), "the spool reads the same");
    assert_eq!(content.octets().expect("read"), found.0.octets().expect("read"));
    found
}

fn is_cut(content: &Content) -> bool {
    matches!(content.pieces.as_slice(), [Piece { form: Form::Canonical { .. }, .. }])
}

proptest! {
    #[test]
    fn cutting_gives_what_decoding_and_encoding_gives(octets: Vec<u8>, noise in "[ \r\n\t]{0,4}") {
        let body = format!("{noise}{}{noise}", MIME.encode(&octets));
        let (content, broken) = read(body.as_bytes());
        prop_assert!(is_cut(&content) && !broken);
        prop_assert_eq!(content.len(), octets.len());
        prop_assert_eq!(sent(&content), STANDARD.encode(&octets));
        prop_assert_eq!(content.base64_len(), sent(&content).len());
        prop_assert_eq!(content.octets().expect("in memory"), octets);
    }

    #[test]
    fn foreign_bytes_are_sent_as_canonical_base64(body in "[A-Da-d+/=!\r\n ]{0,40}") {
        let (content, _) = read(body.as_bytes());
        let sent = sent(&content);
        let octets = content.octets().expect("in memory");
        prop_assert_eq!(STANDARD.decode(&sent).expect("strictly valid"), octets.to_vec());
        prop_assert_eq!(octets.len(), content.len());
        let mut prefix = Vec::new();
        LENIENT.decode_prefix(&body, &mut prefix);
        prop_assert_eq!(octets.to_vec(), prefix, "as the library's forgiving reader reads it");
    }

    #[test]
    fn ranges_of_joined_pieces_give_the_octets_in_order(
        parts in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)), 0..5),
        widths in prop::collection::vec(1usize..200, 1..20),
    ) {
        let mut all = Vec::new();
        let mut content = Content::default();
        for (coded, octets) in parts {
            all.extend_from_slice(&octets);
            let next = if coded { read(MIME.encode(&octets).as_bytes()).0 } else { Bytes::from(octets).into() };
            content = content.then(next);
        }
        prop_assert_eq!(content.len(), all.len());
        prop_assert_eq!(sent(&content), STANDARD.encode(&all));
        let (mut reader, mut found) = (content.reader(), Vec::new());
        for width in widths.iter().cycle() {
            let octets = reader.next(*width).expect("in memory");
            prop_assert!(octets.len() == *width || found.len() + octets.len() == all.len());
            found.extend_from_slice(&octets);
            if octets.is_empty() {
                break;
            }
        }
        prop_assert_eq!(&found, &all);
        let mut reader = content.reader();
        reader.skip(all.len() / 2).expect("in memory");
        prop_assert_eq!(reader.next(usize::MAX).expect("in memory"), all[all.len() / 2..].to_vec());
    }
}

#[test]
fn missing_padding_stray_bits_and_a_footer_are_not_cut() {
    for (body, octets, broken) in [
        ("aGVsbG8", "hello", false),
        ("aGVsbG9=", "hello", false), // stray bits in the last symbol
        ("aGVsbG8=\r\n-- \r\nlist footer", "hello", true),
        ("aGVs\r\nbG8=", "hello", false),
        ("aGVsbG8=aGVsbG8=", "hellohello", false), // two encoders, one after the other
    ] {
        let (content, was) = read(body.as_bytes());
        let sent = sent(&content);
        assert_eq!(
            (content.octets().expect("in memory").as_ref(), was),
            (octets.as_bytes(), broken),
            "{body}"
        );
        assert_eq!(sent, STANDARD.encode(octets), "{body}");
    }
}

#[test]
fn one_wrong_octet_anywhere_is_seen() {
    let good = MIME.encode(vec![7u8; 5000]);
    assert!(is_cut(&read(good.as_bytes()).0));
    for at in 0..good.len() {
        for wrong in [b'!', 0, 0x80, b'-', b'=', 0x0b] {
            let mut body = good.clone().into_bytes();
            body[at] = wrong;
            let mut scan = Scan::default();
            scan.feed(&body);
            let fine = scan.decoded_len().is_some();
            // Padding in the place of the last symbols is a shorter content, if no bit is left over.
            assert!(!fine || (wrong == b'=' && at > good.len() - 8), "{at} {wrong}");
        }
    }
}

#[test]
fn what_is_wrong_at_the_end_does_not_keep_the_rest_from_being_passed_on() {
    let good = MIME.encode(vec![0xa5; 6000]);
    let lines = &good[..good.len() - 2];
    for tail in ["Q", "QQ", "QQQ", "QR==", "QQ==\r\nfooter", "\r\n*", "=", "=QUJD", "QUJDRA==QUJD"] {
        let body = format!("{lines}{tail}\r\n");
        let (content, _) = read(body.as_bytes());
        let canonical = |p: &&Piece| matches!(p.form, Form::Canonical { .. });
        let canonical: usize = content.pieces.iter().filter(canonical).map(|p| p.len).sum();
        assert!(canonical >= 6000, "{tail}: {canonical}");
        let mut octets = Vec::new();
        LENIENT.decode_prefix(&body, &mut octets);
        assert_eq!(content.octets().expect("in memory"), octets, "{tail}");
        assert_eq!(sent(&content), STANDARD.encode(&octets), "{tail}");
    }
}

#[test]
fn a_large_content_is_decoded_range_by_range_from_memory_and_from_the_spool() {
    let octets: Vec<u8> = (0..3_500_000u32).map(|n| (n % 251) as u8).collect();
    let code = MIME.encode(&octets);
    for body in [Octets::from(Bytes::from(code.clone())), spooled(code.as_bytes())] {
        let (content, _) = Content::from_base64(&body).expect("readable");
        assert!(is_cut(&content));
        assert_eq!(sent(&content), STANDARD.encode(&octets));
        let mut reader = content.reader();
        reader.skip(1_000_001).expect("readable");
        assert_eq!(reader.next(1_300_000).expect("readable"), octets[1_000_001..2_300_001]);
        assert_eq!(reader.next(1_300_000).expect("readable"), octets[2_300_001..]);
        assert!(reader.next(1).expect("readable").is_empty());
        assert_eq!(sent(&content), STANDARD.encode(&octets));
    }
}

#[test]
fn lines_of_the_usual_length_and_others_after_them_are_copied_alike() {
    let octets: Vec<u8> = (0..6_000u32).map(|n| (n * 7 % 256) as u8).collect();
    let code = STANDARD.encode(&octets);
    for (usual, other) in [(0, 60), (1, 60), (20, 64), (40, 75), (105, 76), (30, 77), (30, 1000)] {
        let (first, rest) = code.split_at(usual * SYMBOLS);
        let mut body = String::new();
        for (line, end) in [(SYMBOLS, first), (other, rest)] {
            for symbols in end.as_bytes().chunks(line) {
                body.push_str(std::str::from_utf8(symbols).expect("ASCII"));
                body.push_str("\r\n");
            }
        }
        let (content, broken) = read(body.as_bytes());
        assert!(is_cut(&content) && !broken, "{usual} {other}");
        assert_eq!(sent(&content), code, "{usual} {other}");
        assert_eq!(content.octets().expect("in memory"), octets, "{usual} {other}");
    }
}

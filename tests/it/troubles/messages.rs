//! Messages that are odd, that servers will not hand out, or that somebody would like to "repair".

use std::fs;
use std::os::unix::fs::PermissionsExt;

use mailwave::mock::imap::{Act, ImapOptions, InternalDate, Rule};

use super::folders::from_dovecot;
use super::{USER, Way};
use crate::bad_input::desk::mail;
use crate::support::dovecot::Dovecot;
use crate::support::imap_client::Client;

/// Messages that tools have been known to refuse, repair or re-render.
fn delicate() -> Vec<Vec<u8>> {
    let long = "x".repeat(30_000);
    [
        // Signed: any change breaks the signature, trailing blanks too.
        "Subject: canary signed\r\nContent-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain \r\n\r\ntext with blanks at its end   \r\n\r\n--b\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n\r\nMIIB\r\n--b--\r\n".to_owned(),
        "Subject: canary encrypted\r\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\nMIIB\r\n".to_owned(),
        "Subject: canary PGP\r\nContent-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\r\n\r\n--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b\r\nContent-Type: application/octet-stream\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n--b--\r\n".to_owned(),
        "Subject: canary TNEF\r\nContent-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\n\r\neJ8+Ig==\r\n".to_owned(),
        "Subject: canary receipt\r\nDisposition-Notification-To: <canary@example.org>\r\n\r\nread me\r\n".to_owned(),
        "Subject: canary date\r\nDate: Thirtyfirst of never\r\n\r\nx\r\n".to_owned(),
        "Subject: canary GrÃ¼Ã\u{9f}e\r\n\r\nmojibake of an earlier migration: Ã¤\r\n".to_owned(),
        "Subject: canary header\r\nthis line is no header field\r\n broken: \r\n\r\nx\r\n".to_owned(),
        format!("Subject: canary long\r\n\r\n{long}\r\n{long}\r\n"),
        "Subject: canary From\r\n\r\nFrom here\r\n>From there\r\n.\r\n..\r\n".to_owned(),
        "Subject: canary bare\r\n\r\nline feed\nreturn\rend".to_owned(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .chain([b"Subject: canary \xe4\xf6\xfc\r\nFrom: \xff\xfe <canary@example.org>\r\n\r\n\xe9\r\n".to_vec()])
    .collect()
}

#[test]
fn signed_encrypted_broken_and_long_lined_messages_arrive_octet_by_octet() {
    let way = Way::new();
    let all = delicate();
    for octets in &all {
        way.put("INBOX", octets.clone(), &[]);
    }
    let ran = way.stores(all.len() as u64);
    assert_eq!(ran.mailbox(2)["verdict"], "perfect");
    way.is_whole();
}

#[test]
fn received_dates_arrive_to_the_second_in_any_zone_and_a_broken_one_loses_no_message() {
    let way = Way::new();
    let dates = [
        ("01-Jan-1970 00:00:00 +0000", 0),
        ("17-Jul-1996 02:44:25 -0700", 837_596_665),
        (" 1-Feb-2004 03:04:05 +0100", 1_075_601_045),
        ("31-Dec-1999 23:59:59 -1200", 946_727_999),
        ("28-Mar-2021 02:30:00 +0100", 1_616_895_000),
        ("21-Nov-2026 08:09:10 +0545", 1_795_227_850),
    ];
    for (n, (date, _)) in dates.iter().enumerate() {
        let date = InternalDate::parse(date).expect("a date");
        way.mock().store().add(USER, "INBOX", mail(USER, n), &[], date);
    }
    let broken = way.put("INBOX", mail(USER, 99), &[]);
    way.mock().store().set_raw_date(USER, "INBOX", broken, "99-Foo-0000 99:99:99 +9999");
    way.stores(dates.len() as u64 + 1);
    way.is_whole();
    let copies = way.copies();
    for (n, (date, seconds)) in dates.iter().enumerate() {
        let copy = copies.iter().find(|c| c.octets == mail(USER, n)).expect("its copy");
        assert_eq!(copy.received, *seconds, "{date}");
    }
    let broken = copies.iter().find(|c| c.octets == mail(USER, 99)).expect("its copy");
    assert_eq!(broken.received, 1_199_350_800, "its Date field stands in");
}

#[test]
fn odd_flags_and_keywords_cost_no_message_and_recent_is_never_carried() {
    let way = Way::new();
    let odd: [&[&str]; 6] = [
        &["\\Seen", "\\Indexed", "\\X-EON-HAS-ATTACHMENT"],
        &["TEST:FLAG", "\\FORWARDED", "$NotJunk"],
        &["\\Recent", "\\Flagged"],
        &["bad\x01canary"],
        &["canary]", "canary[", "\u{e4}"],
        &["\\Seen", "$MDNSent"],
    ];
    for (n, flags) in odd.iter().enumerate() {
        way.put("INBOX", mail(USER, n), flags);
    }
    let ran = way.run();
    assert_eq!(ran.count("stored"), odd.len() as u64, "{}", ran.json);
    way.is_whole();
    let flags = |n: usize| way.copies().into_iter().find(|c| c.octets == mail(USER, n)).unwrap().flags;
    assert!(flags(0).contains('S') && flags(2).contains('F') && flags(5).contains('S'));
    assert!(!flags(1).contains('S'));
    assert_eq!(way.run().count("stored"), 0);
}

#[test]
fn a_keyword_in_another_case_is_the_same_keyword() {
    let way = Way::new();
    let uid = way.put("INBOX", mail(USER, 1), &["\\Seen", "$MDNSent"]);
    way.fill("INBOX", 3);
    way.stores(4);
    let names = || crate::bad_input::desk::tree(&way.desk.path("out/ann"));
    let before = names();
    way.mock().store().set_flags(USER, "INBOX", uid, &["\\Seen", "$MdnSent"]);
    way.stores(0);
    assert_eq!(names(), before, "nothing was written");
}

#[test]
fn a_message_left_out_of_an_answer_is_asked_for_again() {
    let way = Way::new();
    way.fill("INBOX", 6);
    way.mock().script([Rule::on("UID FETCH", Act::DropUid).uid(4).nth(2)]);
    way.stores(6);
    way.is_whole();
    way.all_fired();
}

#[test]
fn a_message_that_dovecot_cannot_read_is_skipped_by_name_and_moved_once_repaired() {
    let Some(dovecot) = Dovecot::start() else { return };
    let mut client = dovecot.client("user01");
    for n in 0..6 {
        client.append(&["INBOX"], &mail("user01", n), "", None);
    }
    let desk = from_dovecot(&dovecot);
    // Everything is indexed, so that the listing shows what the fetch cannot read.
    client.run(&[b"SELECT INBOX"]);
    client.run(&[b"FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)"]);
    let mut files: Vec<_> = ["cur", "new"]
        .into_iter()
        .flat_map(|sub| fs::read_dir(dovecot.maildir("user01").join(sub)).expect("readable"))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let victim = files[2].clone();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o000)).expect("chmod");
    let ran = desk.run();
    ran.ended(1);
    assert_eq!(ran.count("stored"), 5, "{}", ran.json);
    assert_eq!(ran.skipped().len(), 1);
    assert!(ran.skipped()[0].starts_with("unreadable: "), "{:?}", ran.skipped());
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).expect("chmod");
    let ran = desk.run();
    ran.ended(0);
    assert_eq!((ran.count("stored"), ran.skipped().len()), (1, 0));
    assert_eq!(desk.arrived("ann").len(), 6);
}

#[test]
fn a_message_above_the_limit_is_skipped_before_it_is_fetched() {
    let way = Way::new();
    way.fill("INBOX", 3);
    let large = way.put("INBOX", [mail(USER, 9), vec![b'x'; 100_000]].concat(), &[]);
    let config = fs::read_to_string(way.desk.path("mailwave.toml")).unwrap();
    let bounded = config.replace("tries = 2", "tries = 2\nmax_message = \"64KiB\"");
    fs::write(way.desk.path("mailwave.toml"), bounded).unwrap();
    let ran = way.run();
    ran.ended(1);
    assert_eq!((ran.count("stored"), ran.skipped().len()), (3, 1));
    assert!(ran.skipped()[0].starts_with("too-large: "), "{:?}", ran.skipped());
    let asked = |uid: u32| {
        let heard = way.mock().heard();
        heard.iter().any(|h| h.line.contains("BODY") && h.line.contains(&uid.to_string()))
    };
    assert!(asked(3) && !asked(large), "the large one was not asked for");
    fs::write(way.desk.path("mailwave.toml"), config).unwrap();
    way.stores(1);
    way.is_whole();
}

#[test]
fn a_message_larger_than_memory_goes_through_the_spool() {
    let way = Way::from(ImapOptions::default());
    let config = fs::read_to_string(way.desk.path("mailwave.toml")).unwrap();
    let small = config.replace("tries = 2", "tries = 2\nmemory = \"16MiB\"\nspool_above = \"64KiB\"");
    fs::write(way.desk.path("mailwave.toml"), small).unwrap();
    for n in 0..3 {
        way.put("INBOX", [mail(USER, n), vec![b'x'; 20_000_000]].concat(), &[]);
    }
    way.stores(3);
    way.is_whole();
}

#[test]
fn a_message_that_comes_empty_or_not_at_all_is_never_stored_as_an_empty_one() {
    for act in [Act::EmptyFetch, Act::NilBody] {
        let way = Way::new();
        way.fill("INBOX", 6);
        way.mock().script([Rule::on("UID FETCH", act.clone()).uid(3).nth(2)]);
        way.stores(6);
        way.is_whole();
        way.all_fired();
    }
    let way = Way::new();
    way.fill("INBOX", 6);
    way.mock().script([Rule::on("UID FETCH", Act::NilBody).uid(3).always()]);
    let ran = way.run();
    ran.ended(1);
    assert_eq!((ran.count("stored"), ran.skipped().len()), (5, 1), "{}", ran.json);
    assert_eq!(way.copies().len(), 5);
}

#[test]
fn a_message_that_comes_without_its_header_is_not_taken_for_the_message() {
    let way = Way::new();
    way.fill("INBOX", 6);
    way.mock().script([Rule::on("UID FETCH", Act::WithoutHeader).uid(3).nth(2)]);
    way.run();
    way.run().ended(0);
    way.is_whole();
    way.all_fired();
}

#[test]
fn a_message_that_can_never_be_fetched_is_skipped_by_name_and_the_others_arrive() {
    let faults = [
        // Cut in the middle, with and without a word; far behind the end of what a listing answers.
        Act::CloseAt(2_000),
        Act::ResetAt(2_000),
        // Announced too long, too short, or not at all.
        Act::LiteralOff(40),
        Act::LiteralOff(-40),
        Act::LiteralAnnounced("-1".to_owned()),
    ];
    for fault in faults {
        let way = Way::with(ImapOptions::default(), "idle_timeout = \"1s\"\n", "");
        way.fill("INBOX", 2);
        let bad = way.put("INBOX", [mail(USER, 9), vec![b'x'; 5_000]].concat(), &[]);
        way.put("INBOX", mail("last", 1), &[]);
        way.put("INBOX", mail("last", 2), &[]);
        way.mock().script([Rule::on("UID FETCH", fault.clone()).uid(bad).always()]);
        let ran = way.run();
        assert_eq!(ran.code, 1, "{fault:?}: {}", ran.json);
        assert_eq!((ran.count("stored"), ran.skipped().len()), (4, 1), "{fault:?}");
        assert!(ran.skipped()[0].starts_with("unreadable: "), "{fault:?}: {:?}", ran.skipped());
        assert_eq!(way.copies().len(), 4, "{fault:?}");
        assert!(way.copies().iter().all(|c| c.octets.len() < 1_000), "{fault:?}: nothing half");
        way.all_fired();
    }
}

/// The octets of the literal behind this item of the only FETCH answer.
fn literal_of(client: &mut Client, uid: u32, item: &str) -> Vec<u8> {
    let command = format!("UID FETCH {uid} ({item})");
    let (answer, _) = client.run(&[command.as_bytes()]);
    let head = answer.windows(3).position(|w| w == b"}\r\n").expect("a literal");
    let digits = answer[..head].rsplit(|b| *b == b'{').next().expect("its length");
    let len: usize = std::str::from_utf8(digits).unwrap().parse().unwrap();
    answer[head + 3..head + 3 + len].to_vec()
}

#[test]
fn dovecot_gives_nul_out_as_0x80_and_binary_gives_it_only_along_with_decoded_parts() {
    let Some(dovecot) = Dovecot::start() else { return };
    let mut client = dovecot.client("user01");
    let plain = b"Subject: nul\r\n\r\na\0b\r\n".to_vec();
    let coded =
        b"Subject: nul\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
        Content-Transfer-Encoding: base64\r\n\r\nYWJj\r\n--b\r\n\r\nx\0y\r\n--b--\r\n"
            .to_vec();
    let cur = dovecot.maildir("user01").join("cur");
    client.append(&["INBOX"], &mail("user01", 1), "", None);
    for (name, octets) in [("1200000000.M1P1.canary:2,S", &plain), ("1200000001.M1P1.canary:2,S", &coded)] {
        fs::write(cur.join(name), octets).expect("written");
        fs::set_permissions(cur.join(name), fs::Permissions::from_mode(0o666)).expect("chmod");
    }
    client.run(&[b"SELECT INBOX"]);
    client.run(&[b"NOOP"]);
    let all = client.uids(&["INBOX"]);
    let replaced = |octets: &[u8]| octets.iter().map(|b| if *b == 0 { 0x80 } else { *b }).collect::<Vec<_>>();
    for (uid, octets) in all[1..].iter().zip([&plain, &coded]) {
        assert_eq!(literal_of(&mut client, *uid, "BODY.PEEK[]"), replaced(octets));
    }
    // The whole of a message is the same octets only where no part of it has an encoding.
    assert_eq!(literal_of(&mut client, all[1], "BINARY.PEEK[]"), plain);
    let decoded = literal_of(&mut client, all[2], "BINARY.PEEK[]");
    assert!(decoded.contains(&0) && decoded != coded && decoded.windows(3).any(|w| w == b"abc"));
}

//! Each fault of the script, seen from the client's side; every rule must have acted.

use std::time::Duration;

use mailwave::mock::imap::{Act, ImapOptions, InternalDate, Noise, Rule, SelfSigned};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::{Dialogue, assert_all_fired, mock, mock_of};

#[tokio::test]
async fn a_command_can_be_refused_instead_of_done() {
    let mock = mock();
    mock.script([
        Rule::on("EXAMINE", Act::No("[INUSE] later".to_owned())),
        Rule::on("UID FETCH", Act::Bad("no idea".to_owned())).nth(2),
        Rule::on("APPEND", Act::No("[OVERQUOTA] full".to_owned())),
        Rule::on("NOOP", Act::Bye("shutting down".to_owned())),
    ]);
    let mut d = Dialogue::login(&mock).await;
    assert_eq!(d.ask("a EXAMINE INBOX").await, "a NO [INUSE] later");
    d.expect("b EXAMINE INBOX", "b OK").await;
    d.expect("c UID FETCH 1 UID", "c OK").await;
    assert_eq!(d.ask("d UID FETCH 1 UID").await, "d BAD no idea");
    d.expect("e UID FETCH 1 UID", "e OK").await;
    d.say(b"f APPEND INBOX {3+}\r\nabc\r\n").await;
    assert_eq!(d.line().await, "f NO [OVERQUOTA] full");
    d.say(b"g NOOP\r\n").await;
    assert_eq!(d.rest().await, "* BYE shutting down\r\n");
    assert_eq!(mock.store().uids("anna", "INBOX").len(), 3);
    assert_all_fired(&mock);
}

#[tokio::test]
async fn all_answers_can_come_and_the_end_be_bad() {
    let mock = mock();
    mock.script([
        Rule::on("UID FETCH", Act::NoAtEnd("Some messages could not be FETCHed".to_owned())),
        Rule::on("UID FETCH", Act::BadAtEnd("throttled".to_owned())).nth(2),
        Rule::on("UID FETCH", Act::ByeAtEnd("so long".to_owned())).nth(3),
    ]);
    let mut d = Dialogue::examine(&mock).await;
    let answer = d.expect("a UID FETCH 1:3 UID", "a NO Some messages").await;
    assert_eq!(answer.lines().count(), 4);
    assert_eq!(d.expect("b UID FETCH 1:3 UID", "b BAD throttled").await.lines().count(), 4);
    d.say(b"c UID FETCH 1:3 UID\r\n").await;
    assert!(d.rest().await.ends_with("* 3 FETCH (UID 3)\r\n* BYE so long\r\n"));
    assert_all_fired(&mock);
}

#[tokio::test]
async fn an_answer_can_be_cut_at_any_octet() {
    let whole = "* 1 FETCH (UID 1)\r\na OK Fetch completed\r\n";
    for at in [0, 1, 10, whole.len() as u64 - 1, whole.len() as u64] {
        for act in [Act::ResetAt(at), Act::CloseAt(at)] {
            let mock = mock();
            mock.script([Rule::on("UID FETCH", act)]);
            let mut d = Dialogue::examine(&mock).await;
            d.say(b"a UID FETCH 1 UID\r\n").await;
            assert_eq!(d.rest().await, whole[..at as usize]);
            assert_all_fired(&mock);
        }
    }
    let mock = mock();
    mock.script([
        Rule::on("UID FETCH", Act::ResetAt(9999)),
        Rule::on("UID FETCH", Act::ResetAt(6)).uid(2).nth(2),
    ]);
    let mut d = Dialogue::examine(&mock).await;
    d.expect("a UID FETCH 1:3 UID", "a OK").await;
    assert_eq!(mock.unfired().len(), 2, "an answer shorter than the cut is not cut");
    d.expect("b UID FETCH 3 UID", "b OK").await;
    d.say(b"c UID FETCH 1:3 UID\r\n").await;
    assert_eq!(d.rest().await, "* 1 FETCH (UID 1)\r\n* 2 FE", "counted from that message's answer");
    assert_eq!(mock.unfired().len(), 1);
}

#[tokio::test]
async fn an_append_is_done_though_its_answer_never_arrives() {
    let mock = mock();
    mock.script([Rule::on("APPEND", Act::ResetAt(0))]);
    let mut d = Dialogue::login(&mock).await;
    d.say(b"a APPEND INBOX {3+}\r\nabc\r\n").await;
    assert_eq!(d.rest().await, "");
    assert_eq!(mock.store().uids("anna", "INBOX").len(), 4);
    assert_all_fired(&mock);
}

#[tokio::test]
async fn over_tcp_a_reset_is_a_reset_and_a_close_is_a_close() {
    let mock = mock();
    let server = mock.clone().listen("127.0.0.1:0", None).await.unwrap();
    mock.script([
        Rule::on("CAPABILITY", Act::ResetAt(4)).connection(1),
        Rule::on("CAPABILITY", Act::CloseAt(4)).connection(2),
    ]);
    for reset in [true, false] {
        let stream = TcpStream::connect(server.addr).await.unwrap();
        let mut stream = tokio::io::BufReader::new(stream);
        let mut greeting = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut stream, &mut greeting).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"a CAPABILITY\r\n").await.unwrap();
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest).await;
        match end {
            Ok(_) => assert!(!reset),
            Err(e) => assert!(reset && e.kind() == std::io::ErrorKind::ConnectionReset, "{e}"),
        }
        assert_eq!(rest, b"* CA");
    }
    assert_all_fired(&mock);
}

#[tokio::test]
async fn literals_can_lie_about_their_length() {
    let mock = mock();
    mock.script([
        Rule::on("UID FETCH", Act::LiteralOff(-1)),
        Rule::on("UID FETCH", Act::LiteralOff(1)).nth(2),
        Rule::on("UID FETCH", Act::LiteralAnnounced("9223372036854775808".to_owned())).nth(3),
        Rule::on("UID FETCH", Act::LiteralAnnounced("100000000000000000000".to_owned())).nth(4),
        Rule::on("UID FETCH", Act::LiteralAnnounced("-1".to_owned())).nth(5),
        Rule::on("UID FETCH", Act::SizeOff(5)).nth(6),
        Rule::on("UID FETCH", Act::LiteralOff(-3)).uid(3),
    ]);
    let mut d = Dialogue::examine(&mock).await;
    for announced in ["{24}", "{26}", "{9223372036854775808}", "{100000000000000000000}", "{-1}", "{25}"] {
        let answer = d.expect("a UID FETCH 2 (RFC822.SIZE BODY.PEEK[])", "a OK").await;
        let size = if announced == "{25}" { 30 } else { 25 };
        assert!(
            answer.contains(&format!("SIZE {size} BODY[] {announced}\nSubject: two\n\nSecond.\n)")),
            "{answer}"
        );
    }
    let answer = d.expect("b UID FETCH 2:3 BODY.PEEK[]", "b OK").await;
    assert!(answer.contains("BODY[] {25}") && answer.contains("BODY[] {23}"), "only that message: {answer}");
    assert_all_fired(&mock);
}

#[tokio::test]
async fn untagged_noise_comes_before_the_answer() {
    let mock = mock();
    mock.script([
        Rule::on("NOOP", Act::Noise(Noise::Exists(10_000))),
        Rule::on("NOOP", Act::Noise(Noise::Unknown)).nth(2),
        Rule::on("NOOP", Act::Noise(Noise::EmptyLines)).nth(3),
        Rule::on("UID FETCH", Act::Noise(Noise::DoubleSpaces)),
        Rule::on("NOOP", Act::Noise(Noise::Raw(b"* 7 \xff\xfe\r\n".to_vec()))).nth(4),
        Rule::on("CHECK", Act::Noise(Noise::LongLine(1_000_000))),
    ]);
    let mut d = Dialogue::examine(&mock).await;
    assert_eq!(d.ask("a NOOP").await.matches(" EXISTS\n").count(), 10_000);
    let odd = d.expect("b NOOP", "b OK").await;
    assert!(odd.contains("XUNHEARD-OF") && odd.contains("* XLITERAL {12}\nA1 OK fake\n"), "{odd}");
    assert!(d.ask("c NOOP").await.starts_with("\n\n"));
    assert!(d.ask("d NOOP").await.starts_with("* 7 "));
    assert_eq!(d.ask("x CHECK").await.lines().next().unwrap().len(), 1_000_005);
    let spaced = d.expect("e UID FETCH 2 (FLAGS BODY.PEEK[])", "e OK").await;
    assert!(
        spaced.starts_with("*  2  FETCH  (UID  2  FLAGS  ($Work  \\Recent)  BODY[] {25}\nSubject: two\n"),
        "{spaced}"
    );
    assert_all_fired(&mock);
}

#[tokio::test]
async fn fetch_answers_can_be_dropped_doubled_nameless_or_unasked() {
    let mock = mock();
    mock.script([
        Rule::on("UID FETCH", Act::DropUid).uid(2),
        Rule::on("UID FETCH", Act::Duplicate).uid(3).nth(2),
        Rule::on("UID FETCH", Act::WithoutUid).nth(3),
        Rule::on("UID FETCH", Act::Unasked(3)).nth(4),
        Rule::on("UID FETCH", Act::Unasked(77)).nth(5),
        Rule::on("UID FETCH", Act::ExpungeBefore(1)).nth(6),
    ]);
    let mut d = Dialogue::examine(&mock).await;
    let mut fetch = async |set: &str| d.expect(&format!("a UID FETCH {set} FLAGS"), "a OK").await;
    let uids = |answer: &str| -> Vec<u32> {
        let numbers = answer.lines().filter_map(|l| l.split("FETCH (UID ").nth(1)?.split(' ').next());
        numbers.map(|n| n.parse().unwrap()).collect()
    };
    assert_eq!(uids(&fetch("1:3").await), [1, 3]);
    assert_eq!(uids(&fetch("1:3").await), [1, 2, 3, 3]);
    assert!(fetch("1").await.starts_with("* 1 FETCH (FLAGS (\\Seen"));
    assert_eq!(uids(&fetch("1").await), [3, 1]);
    assert_eq!(uids(&fetch("2").await), [77, 2]);
    let gone = fetch("1:2").await;
    assert_eq!(uids(&gone), [2]);
    assert!(gone.contains("* 1 EXPUNGE\n"), "{gone}");
    assert_all_fired(&mock);
}

#[tokio::test]
async fn uidvalidity_can_change_at_the_next_select() {
    let mock = mock();
    mock.store().expunge("anna", "INBOX", 1);
    mock.script([Rule::on("EXAMINE", Act::NewUidValidity).nth(2)]);
    let mut d = Dialogue::examine(&mock).await;
    assert!(d.ask("a EXAMINE INBOX").await.contains("[UIDVALIDITY 1600000002]"));
    assert_eq!(mock.store().uids("anna", "INBOX"), [1, 2]);
    assert_all_fired(&mock);
}

#[tokio::test(start_paused = true)]
async fn delays_and_trickles_take_virtual_time_and_silence_is_endless() {
    let mock = mock();
    mock.script([
        Rule::on("NOOP", Act::Delay(Duration::from_secs(3600))),
        Rule::on("NOOP", Act::Trickle(Duration::from_secs(10))).nth(2),
        Rule::on("NOOP", Act::Hang).nth(3),
    ]);
    let mut d = Dialogue::login(&mock).await;
    let start = tokio::time::Instant::now();
    d.expect("a NOOP", "a OK").await;
    assert_eq!(start.elapsed().as_secs(), 3600);
    let start = tokio::time::Instant::now();
    d.expect("b NOOP", "b OK").await;
    assert_eq!(start.elapsed().as_secs(), 10 * "b OK done\r\n".len() as u64);
    d.say(b"c NOOP\r\n").await;
    assert!(tokio::time::timeout(Duration::from_secs(86_400), d.line()).await.is_err());
    assert_all_fired(&mock);
}

#[tokio::test]
async fn greeting_faults_and_refused_logins_act_by_connection() {
    let mock = mock();
    mock.script([
        Rule::on("GREETING", Act::Preauth).connection(1),
        Rule::on("GREETING", Act::Bye("too many".to_owned())).connection(2),
        Rule::on("GREETING", Act::OkEarly(Some("A1".to_owned()))).connection(3),
        Rule::on("LOGIN", Act::authentication_failed()).connection(4),
        Rule::on("LOGIN", Act::unavailable()).connection(4).nth(2),
        Rule::on("LOGIN", Act::too_many_connections()).connection(4).nth(3),
        Rule::on("NOOP", Act::Throttled(299_961)).connection(4),
    ]);
    let mut d = Dialogue::connect(&mock);
    assert!(d.line().await.starts_with("* PREAUTH "));
    assert_eq!(Dialogue::connect(&mock).rest().await, "* BYE too many\r\n");
    let mut d = Dialogue::open(&mock).await;
    assert_eq!(d.line().await, "A1 OK done before it was asked");
    let mut d = Dialogue::open(&mock).await;
    d.expect("a LOGIN anna x", "a NO [AUTHENTICATIONFAILED]").await;
    d.expect("b LOGIN anna x", "b NO [UNAVAILABLE] Temporary").await;
    d.expect("c LOGIN anna x", "c NO [UNAVAILABLE] Maximum number of connections").await;
    d.expect("d LOGIN anna x", "d OK").await;
    d.say(b"e NOOP\r\n").await;
    assert_eq!(
        d.rest().await,
        "e BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds\r\n* BYE Connection is closed. 14\r\n"
    );
    assert_all_fired(&mock);
}

#[tokio::test]
async fn tags_codes_and_starttls_can_be_tampered_with() {
    let tls = SelfSigned::new(&["localhost"]).unwrap();
    let mock = mock_of(ImapOptions { starttls: Some(tls.config), ..ImapOptions::default() });
    mock.script([
        Rule::on("APPEND", Act::WithoutCode),
        Rule::on("NOOP", Act::OkEarly(None)),
        Rule::on("STARTTLS", Act::ExtraAfter(b"* CAPABILITY IMAP4rev1 AUTH=EVIL\r\n".to_vec())),
    ]);
    let mut d = Dialogue::login(&mock).await;
    d.say(b"a APPEND INBOX {3+}\r\nabc\r\n").await;
    assert_eq!(d.line().await, "a OK Append completed");
    d.say(b"A09 NOOP\r\n").await;
    assert_eq!(d.until("A10 ").await, "A09 OK done\nA10 OK done before it was asked");
    let mut d = Dialogue::open(&mock).await;
    assert!(d.ask("a CAPABILITY").await.contains(" STARTTLS"));
    d.say(b"b STARTTLS\r\n").await;
    assert!(d.until("* CAP").await.starts_with("b OK Begin TLS"));
    let mut d = Dialogue::open(&mock).await;
    d.say(b"c STARTTLS\r\nd LOGIN anna injected\r\n").await;
    assert!(d.line().await.starts_with("c BAD"), "nothing may follow STARTTLS");
    assert_all_fired(&mock);
}

/// Octets from a seeded dice, made of pieces that look like IMAP: whatever comes, the server answers or ends, and the
/// next connection finds it alive.
#[tokio::test]
async fn no_octets_from_a_client_hang_or_break_the_server() {
    let mock =
        mock_of(ImapOptions { max_literal: 1000, ..ImapOptions::default() }.offering("QRESYNC ESEARCH"));
    mock.store().add("anna", "Sent", &b"x"[..], &[], InternalDate::utc(0));
    let seed = 0x6d61_696c;
    println!("seed {seed:#x}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let pieces: Vec<&[u8]> = vec![
        b"a ",
        b"\r\n",
        b"\n",
        b"LOGIN anna x\r\n",
        b"b EXAMINE INBOX\r\n",
        b"UID ",
        b"FETCH ",
        b"SEARCH ",
        b"STORE ",
        b"APPEND ",
        b"INBOX ",
        b"1:* ",
        b"* ",
        b"(",
        b")",
        b"FLAGS ",
        b"BODY[",
        b"]",
        b"<0.5>",
        b"{3+}\r\n",
        b"{3}\r\n",
        b"{9999999999999999999999}\r\n",
        b"\"",
        b"\\",
        b"NOT ",
        b"OR ",
        b"\0",
        b"\xff",
        b"c NOOP\r\n",
        b"LIST \"\" ",
        b"AUTHENTICATE PLAIN ",
        b"=\r\n",
        b"QRESYNC (1 1)",
        b"RETURN (",
        b"4294967295 ",
        b"CREATE ",
        b"&AAA-",
    ];
    for _ in 0..400 {
        let mut d = Dialogue::open(&mock).await;
        d.say(b"a LOGIN anna x\r\na SELECT INBOX\r\n").await;
        for _ in 0..dice.usize(1..60) {
            d.say(pieces[dice.usize(..pieces.len())]).await;
        }
        tokio::io::AsyncWriteExt::shutdown(&mut d.stream).await.unwrap();
        d.rest().await;
    }
    assert_eq!(mock.counters().connections, 400);
    let mut d = Dialogue::login(&mock).await;
    d.expect("z NOOP", "z OK").await;
}

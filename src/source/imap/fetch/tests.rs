use super::*;
use crate::imap::script::{Script, close, expect, on_a_runtime, send};
use crate::model::SourceId;

const EXAMINED: &str = "* 9 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 99] x\r\n$ OK done\r\n";

fn bodies(max: u64) -> Bodies {
    Bodies { memory_limit: 1 << 20, max, spool: std::env::temp_dir() }
}

fn wanted(uids: &[u64]) -> Vec<Wanted> {
    uids.iter().map(|n| Wanted { number: *n, id: SourceId::Number(*n), size: None }).collect()
}

fn message(uid: u32, octets: &str) -> String {
    format!("* {uid} FETCH (FLAGS (\\Seen) UID {uid} BODY[] {{{}}}\r\n{octets})\r\n", octets.len())
}

fn shown(answers: Vec<Fetched>) -> Vec<String> {
    answers
        .into_iter()
        .map(|a| match a {
            Fetched::Message { body, .. } => {
                String::from_utf8_lossy(&body.bytes().expect("bytes")).into_owned()
            }
            Fetched::Gone => "gone".to_owned(),
            Fetched::Failed(e) => format!("failed: {:?}", e.kind),
        })
        .collect()
}

/// Fetches `uids` from a server that does as `script` says, with a new connection for each script.
fn fetch(uids: &[u64], max: u64, scripts: Vec<Vec<Script>>) -> Result<Vec<String>> {
    fetch_by(100, uids, max, scripts)
}

/// As `fetch`, `at_once` messages a command.
fn fetch_by(at_once: usize, uids: &[u64], max: u64, scripts: Vec<Vec<Script>>) -> Result<Vec<String>> {
    on_a_runtime(async move {
        let wanted = wanted(uids);
        let bodies = bodies(max);
        let mut fetch = Fetch::new(b"INBOX", 7, &wanted, &bodies, at_once);
        for script in scripts {
            let (session, peer) = crate::imap::script::session(script);
            let end = fetch.go_on(&session).await;
            drop(session);
            peer.await.expect("the peer saw what it expected");
            if end? == End::Complete {
                return Ok(shown(fetch.into_answers()));
            }
        }
        panic!("the fetch wants more connections than the test gives");
    })
}

#[test]
fn answers_come_in_the_order_wanted_whatever_order_and_noise_the_server_sends() {
    let noise = format!(
        "* 12 EXISTS\r\n* 3 FETCH (FLAGS (\\Answered))\r\n{}{}{}* XFOO bar\r\n\r\n{}$ OK done\r\n",
        message(5, "five"),
        message(77, "foreign"),
        message(5, "five again"),
        message(3, "three"),
    );
    let script = vec![
        expect("EXAMINE \"INBOX\""),
        send(EXAMINED),
        expect("UID FETCH 3,5 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])"),
        send(&noise),
    ];
    assert_eq!(fetch(&[5, 3, 5], 1000, vec![script]).expect("fetched"), ["five", "three", "five"]);
}

#[test]
fn answers_of_one_command_in_flight_are_not_lost_to_another() {
    let script = vec![
        expect("EXAMINE"),
        expect("UID FETCH 1 "),
        expect("UID FETCH 2 "),
        send(&EXAMINED.replace('$', "$1")),
        expect("UID FETCH 3 "),
        send(&format!("{}{}$3 OK done\r\n", message(2, "two"), message(3, "three"))),
        send(&format!("{}$2 OK done\r\n$4 OK done\r\n", message(1, "one"))),
    ];
    assert_eq!(fetch_by(1, &[1, 2, 3], 1000, vec![script]).expect("fetched"), ["one", "two", "three"]);
}

#[test]
fn a_message_left_out_without_a_word_is_gone_only_if_it_is_gone() {
    let script = vec![
        expect("EXAMINE"),
        send(EXAMINED),
        expect("UID FETCH 1:3"),
        send(&format!("{}$ OK done\r\n", message(2, "two"))),
        expect("NOOP"),
        send("* 1 EXPUNGE\r\n$ OK\r\n"),
        expect("UID FETCH 1,3 (UID)"),
        send("* 2 FETCH (UID 3)\r\n$ OK done\r\n"),
        expect("UID FETCH 3 (UID FLAGS"),
        send(&format!("{}$ OK done\r\n", message(3, "three"))),
    ];
    assert_eq!(fetch(&[1, 2, 3], 1000, vec![script]).expect("fetched"), ["gone", "two", "three"]);
}

#[test]
fn a_no_for_the_set_is_cornered_to_the_message_that_causes_it() {
    let there = |range: &str, lines: &str| {
        vec![
            expect("NOOP"),
            send("$ OK\r\n"),
            expect(&format!("UID FETCH {range} (UID)")),
            send(&format!("{lines}$ OK done\r\n")),
        ]
    };
    let mut script =
        vec![expect("EXAMINE"), send(EXAMINED), expect("UID FETCH 1:3"), send("$ NO some failed\r\n")];
    script.extend(there("1:3", "* 1 FETCH (UID 1)\r\n* 2 FETCH (UID 2)\r\n* 3 FETCH (UID 3)\r\n"));
    script.extend([expect("UID FETCH 1 (UID FLAGS"), send(&format!("{}$ OK done\r\n", message(1, "one")))]);
    script.extend([
        expect("UID FETCH 2:3 (UID FLAGS"),
        send(&format!("{}$ NO some failed\r\n", message(3, "three"))),
    ]);
    script.extend(there("2", "* 2 FETCH (UID 2)\r\n"));
    script.extend([expect("UID FETCH 2 (UID FLAGS"), send("* 2 FETCH (UID 2 BODY[] NIL)\r\n$ NO bad\r\n")]);
    script.extend(there("2", "* 2 FETCH (UID 2)\r\n"));
    script.extend([
        expect("UID FETCH 2 (UID FLAGS INTERNALDATE RFC822.SIZE)"),
        send("* 2 FETCH (UID 2 RFC822.SIZE 10)\r\n$ OK\r\n"),
        expect("UID FETCH 2 (UID BODY.PEEK[]<0.10>)"),
        send("* 2 FETCH (UID 2 BODY[]<0> {4}\r\nhalf)\r\n$ OK\r\n"),
        expect("UID FETCH 2 (UID BODY.PEEK[]<4.6>)"),
        send("* 2 FETCH (UID 2 BODY[]<4> \"\")\r\n$ OK\r\n"),
    ]);
    assert_eq!(fetch(&[1, 2, 3], 1000, vec![script]).expect("fetched"), ["one", "failed: Io", "three"]);
}

#[test]
fn a_refusal_that_concerns_the_server_fails_the_call_and_no_message() {
    for (answer, throttled) in [
        ("$ NO [UNAVAILABLE] later\r\n", false),
        ("$ NO [THROTTLED] slow down\r\n", true),
        ("$ BAD Request is throttled. Suggested Backoff Time: 700 milliseconds\r\n", true),
    ] {
        let script = vec![expect("EXAMINE"), send(EXAMINED), expect("UID FETCH"), send(answer)];
        let error = fetch(&[1, 2], 1000, vec![script]).expect_err(answer);
        assert!(error.may_pass());
        assert_eq!(error.kind == Kind::Throttled, throttled, "{answer}");
    }
}

#[test]
fn a_message_at_which_the_server_hangs_up_twice_is_to_blame_and_its_neighbours_are_fetched() {
    for end in
        ["* 2 FETCH (UID 2 FLAGS ())\r\n* BYE FETCH failed\r\n", "* 2 FETCH (UID 2 BODY[] {10}\r\nhalf"]
    {
        let dies = |set: &str, before: &str| {
            vec![expect("EXAMINE"), send(EXAMINED), expect(set), send(&format!("{before}{end}")), close()]
        };
        let first = dies("UID FETCH 1:3 ", &message(1, "one"));
        let second = dies("UID FETCH 2 ", "");
        let rest = format!("{}$ OK done\r\n", message(3, "three"));
        let third = vec![expect("EXAMINE"), send(EXAMINED), expect("UID FETCH 3 "), send(&rest)];
        let mut parts = third.clone();
        parts.extend([expect("UID FETCH 2 (UID FLAGS INTERNALDATE RFC822.SIZE)"), close()]);
        let answers = fetch(&[1, 2, 3], 1000, vec![first.clone(), second, parts]);
        assert_eq!(answers.expect("fetched"), ["one", "failed: Io", "three"]);
        // A connection that broke by itself harms nobody.
        let rest = format!("{}$ OK done\r\n", message(2, "two"));
        let mut second = vec![expect("EXAMINE"), send(EXAMINED), expect("UID FETCH 2 "), send(&rest)];
        second.extend_from_slice(&third[2..]);
        let answers = fetch(&[1, 2, 3], 1000, vec![first, second]);
        assert_eq!(answers.expect("fetched"), ["one", "two", "three"]);
    }
}

#[test]
fn lies_about_lengths_cost_the_session_and_nothing_of_the_answer_is_used() {
    for answer in [
        // Announced too short: the rest of the message is no response.
        "* 1 FETCH (UID 1 BODY[] {3}\r\nSubject: x\r\n\r\nhello)\r\n$ OK done\r\n".to_owned(),
        // Announced too long: it swallows what follows.
        format!("* 1 FETCH (UID 1 BODY[] {{14}}\r\none)\r\n{}$ OK\r\n", message(2, "two")),
        "A99 OK done\r\n".to_owned(),
    ] {
        let script = vec![expect("EXAMINE"), send(EXAMINED), expect("UID FETCH"), send(&answer), close()];
        let mut second = vec![expect("EXAMINE"), send(EXAMINED)];
        for (uid, text) in [(1, "one"), (2, "two")] {
            second.push(expect(&format!("UID FETCH {uid} ")));
            second.push(send(&format!("{}$ OK done\r\n", message(uid, text))));
        }
        assert_eq!(fetch(&[1, 2], 1000, vec![script, second]).expect(&answer), ["one", "two"]);
    }
}

#[test]
fn a_message_above_the_limit_fails_alone() {
    let big = "x".repeat(2000);
    let script = vec![
        expect("EXAMINE"),
        send(EXAMINED),
        expect("UID FETCH 1:3"),
        send(&format!("{}{}{}$ OK done\r\n", message(1, "one"), message(2, &big), message(3, "three"))),
    ];
    let answers = fetch(&[1, 2, 3], 1000, vec![script]).expect("fetched");
    assert_eq!(answers, ["one", "failed: TooLarge", "three"]);
}

#[test]
fn a_message_too_large_to_read_past_costs_the_session_and_nothing_else() {
    let huge = "* 1 FETCH (BODY[] {99999999999}\r\nxxx";
    let first = vec![
        expect("EXAMINE"),
        send(EXAMINED),
        expect("UID FETCH 1:3"),
        send(&format!("{}{huge}", message(1, "one"))),
    ];
    let second = vec![
        expect("EXAMINE"),
        expect("UID FETCH 2 "),
        send(&EXAMINED.replace('$', "$1")),
        expect("UID FETCH 3 "),
        send(&huge.replace("* 1", "* 2")),
    ];
    let third = vec![
        expect("EXAMINE"),
        send(EXAMINED),
        expect("UID FETCH 3 "),
        send(&format!("{}$ OK done\r\n", message(3, "three"))),
    ];
    let answers = fetch(&[1, 2, 3], 1000, vec![first, second, third]).expect("fetched");
    assert_eq!(answers, ["one", "failed: TooLarge", "three"]);
}

#[test]
fn a_folder_numbered_anew_is_a_conflict() {
    let script = vec![
        expect("EXAMINE"),
        expect("UID FETCH 1 "),
        send("* 1 EXISTS\r\n* OK [UIDVALIDITY 8] x\r\n$1 OK\r\n"),
        send(&format!("{}$2 OK\r\n", message(1, "another"))),
    ];
    assert_eq!(fetch(&[1], 1000, vec![script]).expect_err("conflict").kind, Kind::Conflict);
}

#[test]
fn what_the_listing_says_is_too_large_is_not_even_asked_for() {
    on_a_runtime(async {
        let mut wanted = wanted(&[1]);
        wanted[0].size = Some(2000);
        let bodies = bodies(1000);
        let fetch = Fetch::new(b"INBOX", 7, &wanted, &bodies, 100);
        assert!(fetch.queue.is_empty());
        assert_eq!(shown(fetch.into_answers()), ["failed: TooLarge"]);
    });
}

#[test]
fn a_message_that_does_not_come_whole_is_put_together_from_parts_if_they_add_up() {
    let tried = [
        expect("UID FETCH 1 (UID FLAGS"),
        send("$ NO internal error\r\n"),
        expect("NOOP"),
        send("$ OK\r\n"),
        expect("UID FETCH 1 (UID)"),
        send("* 1 FETCH (UID 1)\r\n$ OK\r\n"),
    ];
    let mut script = vec![expect("EXAMINE"), send(EXAMINED)];
    script.extend(tried.clone());
    script.extend(tried);
    script.extend([
        expect("UID FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE)"),
        send("* 1 FETCH (UID 1 FLAGS (\\Seen) RFC822.SIZE 10)\r\n$ OK\r\n"),
        expect("UID FETCH 1 (UID BODY.PEEK[]<0.10>)"),
        // Another message's octets on the way, and fewer of ours than asked for.
        send(
            "* 5 FETCH (UID 5 BODY[]<0> {3}\r\nxyz)\r\n* 1 FETCH (UID 1 BODY[]<0> {6}\r\nfirst )\r\n$ OK\r\n",
        ),
        expect("UID FETCH 1 (UID BODY.PEEK[]<6.4>)"),
        send("* 1 FETCH (BODY[]<6> \"half\" UID 1)\r\n$ OK\r\n"),
    ]);
    assert_eq!(fetch(&[1], 1000, vec![script]).expect("fetched"), ["first half"]);
}

#[test]
fn a_folder_that_cannot_be_opened_costs_one_refusal_and_not_the_session() {
    on_a_runtime(async {
        let (session, peer) = crate::imap::script::session(vec![
            expect("EXAMINE \"a\""),
            expect("UID FETCH 1 "),
            send("$1 NO [NONEXISTENT] gone\r\n$2 BAD no folder is open\r\n"),
            expect("NOOP"),
            send("$ OK\r\n"),
        ]);
        let (wanted, bodies) = (wanted(&[1]), bodies(1000));
        let end = Fetch::new(b"a", 7, &wanted, &bodies, 100).go_on(&session).await;
        assert!(end.is_err_and(|e| e.kind == Kind::NotFound && e.scope == Scope::Folder));
        session.noop().await.expect("alive");
        drop(session);
        peer.await.expect("the peer saw what it expected");
    });
}

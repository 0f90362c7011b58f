//! Many commands in flight, against servers that do exactly what a script says.

use futures_util::future::{join, join3};

use super::super::answer::Each;
use super::super::script::{Script, close, expect, line, on_a_runtime, send, session, session_with};
use super::super::{AppendUid, UidSet};
use super::*;
use crate::model::Body;

fn fetch(uid: u32) -> Command {
    Command::new("UID FETCH").set(&UidSet::range(uid, uid)).fixed("(UID)")
}

/// Runs a command and tells how it ended and which UIDs it was given.
async fn uids(session: &Session, command: Command) -> (Result<Status, WireError>, Vec<u32>) {
    let mut uids = Vec::new();
    let mut each = Each(|untagged| {
        if let Untagged::Fetch(items) = untagged {
            uids.extend(items.uid);
        }
    });
    let end = session.run(command, &mut each).await.map(|done| done.status);
    (end, uids)
}

#[test]
fn commands_go_out_together_and_each_is_given_its_own_answers() {
    on_a_runtime(async {
        let (session, peer) = session(vec![
            expect("UID FETCH 1"),
            expect("UID FETCH 2"),
            expect("UID FETCH 3"),
            send("* 1 FETCH (UID 1)\r\n$1 OK\r\n* 2 FETCH (UID 2)\r\n$2 NO [EXPUNGEISSUED] gone\r\n"),
            send("* 3 FETCH (UID 3)\r\n$3 OK\r\n"),
            expect("NOOP"),
            send("$ OK\r\n"),
        ]);
        let all = join3(uids(&session, fetch(1)), uids(&session, fetch(2)), uids(&session, fetch(3))).await;
        let ok = Ok(Status::Ok);
        assert_eq!(all, ((ok, vec![1]), (Ok(Status::No), vec![2]), (ok, vec![3])));
        assert_eq!((session.round_trips(), session.in_flight()), (1, 0));
        session.noop().await.expect("the session lives");
        assert_eq!(session.round_trips(), 2);
        drop(session);
        peer.await.expect("the peer saw what it expected");
    });
}

#[test]
fn an_answer_out_of_order_finds_its_command() {
    on_a_runtime(async {
        let (session, _peer) = session(vec![
            expect("UID FETCH 1"),
            expect("UID FETCH 2"),
            send("$2 NO later\r\n* 1 FETCH (UID 1)\r\n$1 OK\r\n"),
        ]);
        let both = join(uids(&session, fetch(1)), uids(&session, fetch(2))).await;
        assert_eq!(both, ((Ok(Status::Ok), vec![1]), (Ok(Status::No), vec![])));
        assert!(!session.is_broken());
    });
}

#[test]
fn a_bye_is_told_to_the_command_it_met_and_breaks_the_session_for_all() {
    for end in ["* BYE see you\r\n", "* 1 FETCH (UID 1)", "m9 OK what?\r\n"] {
        on_a_runtime(async {
            let script = vec![expect("UID FETCH 1"), expect("UID FETCH 2"), send(end), close()];
            let (session, _peer) = session(script);
            let ((first, _), (second, _), (third, _)) =
                join3(uids(&session, fetch(1)), uids(&session, fetch(2)), async {
                    tokio::task::yield_now().await;
                    uids(&session, fetch(3)).await
                })
                .await;
            assert!(matches!(first, Err(WireError::Bye(None) | WireError::Closed | WireError::Framing(_))));
            assert_eq!(second, Err(WireError::Broken), "{end}");
            assert!(third.is_err());
            assert!(session.is_broken());
            assert_eq!(session.noop().await, Err(WireError::Broken));
        });
    }
}

#[test]
fn a_future_dropped_half_way_breaks_the_session_and_one_that_did_not_begin_does_not() {
    on_a_runtime(async {
        let (session, _peer) = session(vec![expect("UID FETCH 1"), expect("UID FETCH 2")]);
        {
            let mut first = Box::pin(uids(&session, fetch(1)));
            let mut second = Box::pin(uids(&session, fetch(2)));
            assert!(futures_util::poll!(first.as_mut()).is_pending());
            assert!(futures_util::poll!(second.as_mut()).is_pending());
            assert_eq!(session.in_flight(), 2);
            drop(first);
            assert_eq!(second.await.0, Err(WireError::Broken));
        }
        assert!(session.is_broken());
    });
    on_a_runtime(async {
        let answer = send("* 1 FETCH (UID 1)\r\n$ OK\r\n");
        let (session, _peer) =
            session(vec![expect("CREATE {2}"), send("+ go\r\n"), line("ä"), answer.clone()]);
        let mut ignore = Ignore;
        let create = Command::new("CREATE").string("ä".as_bytes());
        let mut create = Box::pin(session.run(create, &mut ignore));
        assert!(futures_util::poll!(create.as_mut()).is_pending());
        // Waits for the sending side, which the literal holds; nothing of it was sent.
        let mut waits = Box::pin(session.noop());
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        drop(waits);
        assert!(create.await.expect("answered").ok());
        drop(session);
    });
}

#[test]
fn a_literal_waits_for_its_go_ahead_whatever_comes_before_it_and_holds_up_the_next_command() {
    on_a_runtime(async {
        let (session, peer) = session(vec![
            expect("UID FETCH 1"),
            expect("CREATE {2}"),
            // The `+` comes while the older command is not even answered.
            send("* 7 EXISTS\r\n+ go\r\n"),
            line("ä"),
            expect("NOOP"),
            send("* 1 FETCH (UID 1)\r\n$1 OK\r\n$2 OK\r\n$3 OK\r\n"),
            expect("CREATE {2}"),
            send("* 8 EXISTS\r\n+ go\r\n"),
            line("ö"),
            send("$ OK\r\n"),
        ]);
        let create = |name: &'static str| Command::new("CREATE").string(name.as_bytes());
        let (first, second, third) =
            join3(uids(&session, fetch(1)), uids(&session, create("ä")), session.noop()).await;
        assert_eq!(first, (Ok(Status::Ok), vec![1]));
        assert_eq!((second.0, third), (Ok(Status::Ok), Ok(())));
        // Alone, it reads its own go-ahead.
        assert_eq!(uids(&session, create("ö")).await.0, Ok(Status::Ok));
        assert_eq!(session.round_trips(), 1 + 1 + 2);
        drop(session);
        peer.await.expect("the peer saw what it expected");
    });
}

#[test]
fn a_refused_literal_is_not_sent_and_the_session_goes_on() {
    on_a_runtime(async {
        let (session, peer) = session(vec![
            expect("APPEND \"x\" {5}"),
            send("$ NO [OVERQUOTA] full\r\n"),
            expect("NOOP"),
            send("$ OK\r\n"),
        ]);
        let append = Command::new("APPEND").string(b"x").body(&Body::from_bytes("hello".into()));
        let done = session.run(append, &mut Ignore).await.expect("answered");
        assert!(done.code.is("OVERQUOTA"));
        session.noop().await.expect("alive");
        drop(session);
        peer.await.expect("the peer saw what it expected");
    });
    for early in ["$ OK done\r\n", "+ more\r\n+ and more\r\n"] {
        on_a_runtime(async {
            let (session, _peer) = session(vec![expect("APPEND \"x\" {5}"), send(early)]);
            let append = Command::new("APPEND").string(b"x").body(&Body::from_bytes("hello".into()));
            assert!(matches!(session.run(append, &mut Ignore).await, Err(WireError::Framing(_))), "{early}");
        });
    }
}

#[test]
fn several_messages_go_in_one_command_and_their_uids_come_back() {
    let bodies = [Body::from_bytes("one".into()), Body::from_bytes("second".into())];
    let append =
        || bodies.iter().fold(Command::new("APPEND").string(b"x"), |c, b| c.flags(["\\Seen"]).body(b));
    let script: [(&str, Vec<Script>); 2] = [
        (
            "LITERAL+ MULTIAPPEND",
            vec![
                expect("APPEND \"x\" (\\Seen) {3+}"),
                line("one (\\Seen) {6+}"),
                line("second"),
                send("$ OK [APPENDUID 7 11:12] done\r\n"),
            ],
        ),
        (
            "MULTIAPPEND",
            vec![
                expect("APPEND \"x\" (\\Seen) {3}"),
                send("* 1 EXISTS\r\n+ go\r\n"),
                line("one (\\Seen) {6}"),
                send("+\r\n"),
                line("second"),
                send("$ OK [APPENDUID 7 11:12] done\r\n"),
            ],
        ),
    ];
    for (capabilities, script) in script {
        on_a_runtime(async {
            let (session, peer) = session_with(capabilities, script);
            let done = session.run(append(), &mut Ignore).await.expect("answered");
            assert_eq!(done.code, Code::AppendUid(AppendUid { uid_validity: 7, uids: vec![11, 12] }));
            drop(session);
            peer.await.expect("the peer saw what it expected");
        });
    }
}

/// A server that reads nothing while it has something to say, over pipes of 64 KiB.
#[test]
fn a_large_command_and_a_large_answer_do_not_hold_each_other_up() {
    let large = "x".repeat(1 << 20);
    for first in [None, Some(fetch(1))] {
        let alone = first.is_none();
        let answer = format!("* 1 FETCH (BODY[] {{{}}}\r\n{large})\r\n", large.len());
        let script = match alone {
            true => vec![expect("APPEND"), send(&answer), line(&large), send("$ OK\r\n")],
            false => vec![
                expect("UID FETCH 1"),
                expect("APPEND"),
                send(&format!("{answer}$1 OK\r\n")),
                line(&large),
                send("$ OK\r\n"),
            ],
        };
        on_a_runtime(async {
            let (session, peer) = session_with("LITERAL+", script);
            let append = Command::new("APPEND").string(b"x").body(&Body::from_bytes(large.clone().into()));
            let mut ignore = Ignore;
            let append = session.run(append, &mut ignore);
            let done = match first {
                None => append.await,
                Some(first) => join(uids(&session, first), append).await.1,
            };
            assert!(done.expect("answered").ok());
            drop(session);
            peer.await.expect("the peer saw what it expected");
        });
    }
}

#[test]
fn a_spooled_message_goes_out_in_pieces_and_arrives_the_same() {
    use std::io::Write;
    let octets: String = (0..300_000u32).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    let bodies = crate::model::Bodies { memory_limit: 1000, max: 1 << 20, spool: std::env::temp_dir() };
    let mut writer = bodies.begin(octets.len() as u64).expect("begin");
    writer.write_all(octets.as_bytes()).expect("write");
    let body = writer.finish().expect("finish");
    assert!(body.is_spooled());
    on_a_runtime(async {
        let script = vec![expect("APPEND \"x\" {300000+}"), line(&octets), send("$ OK\r\n")];
        let (session, peer) = session_with("LITERAL+", script);
        let append = Command::new("APPEND").string(b"x").body(&body);
        assert!(session.run(append, &mut Ignore).await.expect("answered").ok());
        drop(session);
        peer.await.expect("the peer saw what it expected");
    });
}

#[test]
fn a_farewell_ends_the_session() {
    on_a_runtime(async {
        let (session, peer) = session(vec![expect("LOGOUT"), send("* BYE see you\r\n$ OK\r\n"), close()]);
        session.logout().await;
        assert!(session.is_broken());
        peer.await.expect("the peer saw what it expected");
    });
}

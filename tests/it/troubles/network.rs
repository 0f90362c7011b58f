//! Servers that stop, slow down, lie about lengths, or end the session.

use std::time::{Duration, Instant};

use mailwave::mock::imap::{Act, ImapOptions, Noise, Rule};

use super::Way;
use crate::bad_input::desk::mail;

/// Fills a mailbox, lets this happen at each of the first commands of a kind, and sees it arrive whole.
#[track_caller]
pub fn survives(verb: &str, acts: &[Act]) {
    for act in acts {
        let mut fired = 0;
        for nth in 1..=3 {
            let way = Way::with(ImapOptions::default(), "idle_timeout = \"1s\"\n", "");
            way.fill("INBOX", 12);
            way.fill("Archiv", 3);
            way.mock().script([Rule::on(verb, act.clone()).nth(nth)]);
            let ran = way.run();
            assert!(ran.code == 0, "{act:?} at {verb} {nth}: {}", ran.json);
            way.is_whole();
            fired += usize::from(way.mock().unfired().is_empty());
        }
        assert!(fired > 0, "{act:?} never happened");
    }
}

#[test]
fn a_session_that_breaks_in_the_middle_of_a_message_is_taken_up_by_a_new_one() {
    survives("UID FETCH", &[Act::ResetAt(700), Act::CloseAt(100), Act::Bye("Session expired".to_owned())]);
}

#[test]
fn a_refusal_at_the_end_of_a_fetch_loses_nothing_and_doubles_nothing() {
    survives(
        "UID FETCH",
        &[
            Act::NoAtEnd("Some messages could not be FETCHed".to_owned()),
            Act::BadAtEnd("Command Error. 12".to_owned()),
            Act::ByeAtEnd("Connection is closed. 13".to_owned()),
        ],
    );
}

#[test]
fn a_server_that_goes_silent_is_left_for_a_new_session() {
    survives("UID FETCH", &[Act::Hang]);
}

#[test]
fn what_nobody_asked_for_or_understands_is_read_past() {
    let noises = [Noise::Exists(1000), Noise::Unknown, Noise::EmptyLines, Noise::DoubleSpaces];
    survives("UID FETCH", &noises.map(Act::Noise));
    survives("UID FETCH", &[Act::Duplicate, Act::Unasked(77)]);
}

#[test]
fn rate_limits_and_refused_connections_of_a_server_pass() {
    survives("UID FETCH", &[Act::No("[LIMIT] UID FETCH Rate limit hit.".to_owned())]);
    survives(
        "EXAMINE",
        &[Act::No("[UNAVAILABLE] try later".to_owned()), Act::Bye("Too many errors".to_owned())],
    );
    for act in [Act::too_many_connections(), Act::unavailable()] {
        let way = Way::new();
        way.fill("INBOX", 3);
        way.mock().script(["LOGIN", "AUTHENTICATE"].map(|verb| Rule::on(verb, act.clone())));
        way.stores(3);
        way.is_whole();
        assert!(way.mock().unfired().len() < 2, "either way to log in");
    }
}

#[test]
fn the_backoff_that_exchange_suggests_in_words_is_kept() {
    for verb in ["EXAMINE", "UID FETCH"] {
        let way = Way::new();
        way.fill("INBOX", 5);
        way.mock().script([Rule::on(verb, Act::Throttled(2_000))]);
        let begun = Instant::now();
        way.stores(5);
        assert!(begun.elapsed() >= Duration::from_secs(2), "it waits as long as it was told");
        way.is_whole();
        way.all_fired();
    }
}

#[test]
fn a_literal_that_is_shorter_or_longer_than_announced_never_becomes_a_message() {
    survives("UID FETCH", &[Act::LiteralOff(-3), Act::LiteralOff(7), Act::LiteralAnnounced("-1".to_owned())]);
}

#[test]
fn a_mailbox_that_has_given_what_it_may_in_a_day_ends_with_the_time_it_may_go_on() {
    let way = Way::with(ImapOptions::default(), "daily_bytes = \"12MB\"\n", "");
    for n in 0..5 {
        way.put("INBOX", [mail("large", n), vec![b'x'; 5_000_000]].concat(), &[]);
    }
    let mut runs = 0;
    loop {
        runs += 1;
        let ran = way.run();
        // Two fit into a day. What is fetched when the day is used up may be left for the next run.
        assert!((1..=2).contains(&ran.count("stored")), "{}", ran.json);
        if ran.code == 0 {
            break;
        }
        // It has not failed: it is parked, and the next run goes on.
        ran.ended(75);
        assert_eq!(ran.errors(), Vec::<String>::new());
        let parked = &ran.json["parked"][0];
        let told = parked["what"].as_str().expect("why");
        assert!(told.contains("in a day (12000000 bytes); the next day begins at 20"), "{told}");
        assert!(parked["remedy"].as_str().expect("what to do").contains("run again then"), "{parked}");
        assert!(parked["until"].as_str().expect("when").ends_with('Z'), "{parked}");
        assert_eq!(ran.mailbox(2)["state"], "running", "half way");
    }
    assert!((3..=5).contains(&runs), "{runs} runs");
    way.is_whole();
}

//! What a source server may do wrong or differently in the middle of a session: `FAULTS.md`, class E, where the other
//! files have no test of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mailwave::mock::imap::{Act, ImapOptions, InternalDate, Noise, Rule};

use super::network::survives;
use super::{RECEIVED, USER, Way};
use crate::bad_input::desk::mail;

#[test]
fn a_bye_loses_nothing_wherever_it_comes() {
    for verb in ["GREETING", "LIST", "EXAMINE", "UID FETCH"] {
        survives(verb, &[Act::Bye("Autologout; idle for too long".to_owned())]);
    }
    survives("LIST", &[Act::ByeAtEnd("Server shutting down.".to_owned())]);
}

#[test]
fn a_message_cut_at_one_at_fifty_and_at_ninety_nine_per_cent_is_fetched_again() {
    const LARGE: u64 = 400_000;
    for cut in [Act::ResetAt, Act::CloseAt] {
        for percent in [1, 50, 99] {
            let way = Way::with(ImapOptions::default(), "idle_timeout = \"2s\"\n", "");
            way.fill("INBOX", 2);
            let large = way.put("INBOX", [mail(USER, 9), vec![b'x'; LARGE as usize]].concat(), &[]);
            way.fill("Archiv", 2);
            way.mock().script([Rule::on("UID FETCH", cut(LARGE * percent / 100)).uid(large).nth(2)]);
            way.stores(5);
            way.is_whole();
            way.all_fired();
        }
    }
}

#[test]
fn a_length_that_cannot_be_is_refused_and_the_message_asked_for_again() {
    for length in ["0", "2147483647", "4294967296", "9223372036854775808", "100000000000000000000", "-1"] {
        let way = Way::with(ImapOptions::default(), "idle_timeout = \"1s\"\n", "");
        way.fill("INBOX", 6);
        let lie = Act::LiteralAnnounced(length.to_owned());
        way.mock().script([Rule::on("UID FETCH", lie).uid(3).nth(2)]);
        let ran = way.run();
        assert!(ran.count("stored") >= 5, "{length}: {}", ran.json);
        way.run().ended(0);
        way.is_whole();
        way.all_fired();
    }
}

#[test]
fn a_server_that_says_all_numbers_there_can_be_are_gone_is_not_believed() {
    let way = Way::from(ImapOptions::default().offering("CONDSTORE QRESYNC"));
    way.fill("INBOX", 12);
    way.stores(12);
    way.put("INBOX", mail("new", 1), &[]);
    let all = Noise::Raw(b"* VANISHED (EARLIER) 1:4294967295\r\n".to_vec());
    way.mock().script([Rule::on("EXAMINE", Act::Noise(all.clone())), Rule::on("UID FETCH", Act::Noise(all))]);
    way.stores(1);
    way.is_whole();
    way.all_fired();
    way.stores(0);
}

#[test]
fn answers_without_a_number_or_for_numbers_nobody_asked_for_are_no_messages() {
    survives("UID FETCH", &[Act::WithoutUid, Act::Unasked(3), Act::Unasked(4_000_000_000)]);
}

#[test]
fn mail_that_keeps_coming_does_not_keep_the_final_pass_from_its_end() {
    let way = Way::new();
    way.fill("INBOX", 30);
    way.stores(30);
    let over = Arc::new(AtomicBool::new(false));
    let coming = std::thread::spawn({
        let (mock, over) = (way.imap.mock.clone(), over.clone());
        move || {
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                n += 1;
                mock.store().add(USER, "INBOX", mail("coming", n), &[], InternalDate::utc(RECEIVED));
                std::thread::sleep(Duration::from_millis(10));
            }
            n as u64
        }
    });
    let ran = way.desk.run_with(&["--final"]);
    over.store(true, Ordering::Relaxed);
    let came = coming.join().expect("the thread that delivers");
    ran.ended(0);
    let stored = ran.count("stored");
    assert!(stored <= came, "{stored} of {came}");
    way.desk.run_with(&["--final"]).ended(0);
    way.is_whole();
}

#[test]
fn a_folder_made_or_made_a_container_in_the_middle_of_a_pass_is_settled_by_the_next() {
    let mut fired = 0;
    for nth in 1..=4 {
        let way = Way::new();
        way.fill("INBOX", 4);
        way.fill("Archiv", 4);
        way.mock().script([Rule::on("UID FETCH", Act::CreateBefore("New".to_owned())).nth(nth)]);
        way.run().ended(0);
        fired += usize::from(way.mock().unfired().is_empty());
        way.fill("New", 2);
        way.run().ended(0);
        way.is_whole();
        assert_eq!(way.counts().values().sum::<usize>(), 10);
    }
    assert!(fired > 1, "it never happened in the middle of a pass");
    // What was copied stays: a container is no proof that somebody deleted the messages.
    let way = Way::new();
    way.fill("INBOX", 4);
    way.fill("Archiv", 4);
    way.stores(8);
    way.put("Archiv", mail("late", 1), &[]);
    way.mock().script([Rule::on("EXAMINE", Act::NoSelectBefore("Archiv".to_owned()))]);
    way.run();
    way.all_fired();
    way.mock().store().set_no_select(USER, "Archiv", false);
    way.run().ended(0);
    way.is_whole();
}

/// How often somebody tried to log in.
fn logins(way: &Way) -> usize {
    way.mock().heard().iter().filter(|h| ["LOGIN", "AUTHENTICATE"].contains(&h.verb.as_str())).count()
}

#[test]
fn a_password_that_is_changed_in_the_middle_of_a_pass_is_tried_once_more_and_never_again() {
    let way = Way::new();
    way.fill("INBOX", 6);
    let refused = Act::authentication_failed();
    way.mock().script(["LOGIN", "AUTHENTICATE"].map(|verb| Rule::on(verb, refused.clone()).nth(2).always()));
    way.mock().script([Rule::on("UID FETCH", Act::Bye("Session expired".to_owned())).nth(2)]);
    let ran = way.run();
    ran.ended(2);
    assert_eq!(logins(&way), 2, "the one that was right, and one that was not: nobody is locked out");
    assert!(ran.errors()[0].contains("password"), "{:?}", ran.errors());
    way.mock().clear_script();
    way.run().ended(0);
    way.is_whole();
}

#[test]
fn floods_are_cut_off_and_cost_no_message() {
    let deep = [b"* LIST ".as_slice(), &[b'('; 100_000], b"\r\n"].concat();
    for (flood, sessions) in
        [(Noise::Exists(6_000_000), 2), (Noise::LongLine(64 << 20), 2), (Noise::Raw(deep), 1)]
    {
        let way = Way::new();
        way.fill("INBOX", 6);
        way.mock().script([Rule::on("UID FETCH", Act::Noise(flood)).nth(2)]);
        way.stores(6);
        way.is_whole();
        assert_eq!(logins(&way), sessions, "what is too much ends the session, what is only odd does not");
    }
}

#[test]
fn a_server_that_sends_an_octet_now_and_then_is_left_for_a_new_session() {
    survives("UID FETCH", &[Act::Trickle(Duration::from_millis(300))]);
}

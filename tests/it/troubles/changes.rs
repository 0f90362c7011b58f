//! What changed since the last pass, by whatever proof a server offers, and by none it only claims.

use mailwave::mock::imap::{ImapOptions, InternalDate};

use super::{RECEIVED, USER, Way};
use crate::bad_input::desk::mail;

const OFFERS: [&str; 5] = [
    "",
    "CONDSTORE",
    "CONDSTORE QRESYNC",
    "CONDSTORE QRESYNC LIST-EXTENDED LIST-STATUS OBJECTID",
    "LIST-EXTENDED LIST-STATUS",
];

/// The letters of the copy of a message.
fn letters(way: &Way, octets: &[u8]) -> String {
    way.copies().into_iter().find(|c| c.octets == octets).expect("its copy").flags
}

#[test]
fn changes_are_found_whatever_proof_the_server_offers() {
    for offer in OFFERS {
        let way = Way::from(ImapOptions::default().offering(offer));
        way.fill("INBOX", 12);
        way.fill("Archiv", 6);
        way.stores(18);
        let flagged = {
            let mut store = way.mock().store();
            let all = store.messages(USER, "INBOX");
            store.expunge(USER, "INBOX", all[2].uid);
            store.set_flags(USER, "INBOX", all[4].uid, &["\\Seen", "\\Flagged"]);
            store.expunge(USER, "INBOX", all[6].uid);
            store.add(USER, "Archiv", all[6].octets.clone(), &["\\Seen"], InternalDate::utc(RECEIVED));
            all[4].octets.clone()
        };
        way.put("INBOX", mail("new", 1), &[]);
        let ran = way.desk.run_with(&["--final"]);
        ran.ended(0);
        assert_eq!(ran.count("stored"), 1, "{offer}: the moved one is moved");
        way.is_whole();
        assert!(letters(&way, &flagged).contains('F'), "{offer}");
        assert_eq!(way.counts().into_values().collect::<Vec<_>>(), [11, 7], "{offer}");
        let before = way.mock().heard().len();
        way.stores(0);
        let commands = way.mock().heard().len() - before;
        assert!(commands <= 12, "{offer}: {commands} commands where nothing changed");
    }
}

#[test]
fn without_a_proof_of_flags_they_wait_for_the_final_pass_and_the_report_says_so() {
    for (offer, source) in [("", ""), ("CONDSTORE", "preset = \"exchange\"\n")] {
        let way = Way::with(ImapOptions::default().offering(offer), source, "");
        way.fill("INBOX", 5);
        way.stores(5);
        let first = way.mock().store().messages(USER, "INBOX")[0].clone();
        way.mock().store().set_flags(USER, "INBOX", first.uid, &["\\Seen", "\\Flagged"]);
        let ran = way.stores(0);
        assert!(!letters(&way, &first.octets).contains('F'), "{offer}");
        let told = ran.mailbox(2).to_string() + &ran.report.to_string();
        assert!(told.contains("--final"), "{offer}: {told}");
        way.desk.run_with(&["--final"]).ended(0);
        assert!(letters(&way, &first.octets).contains('F'), "{offer}");
    }
}

#[test]
fn a_modification_sequence_that_goes_back_proves_nothing() {
    for offer in ["CONDSTORE", "CONDSTORE QRESYNC"] {
        let way = Way::from(ImapOptions::default().offering(offer));
        way.fill("INBOX", 5);
        way.stores(5);
        let first = way.mock().store().messages(USER, "INBOX")[0].clone();
        way.mock().store().set_flags(USER, "INBOX", first.uid, &["\\Seen", "\\Flagged"]);
        way.mock().store().set_highest_modseq(USER, "INBOX", 1);
        way.stores(0);
        assert!(letters(&way, &first.octets).contains('F'), "{offer}: listed whole");
    }
}

#[test]
fn a_modification_sequence_that_comes_late_does_not_hide_flags_that_changed_before() {
    // At first the folder has none, then it has one: what changed in between is told by nobody.
    let way = Way::from(ImapOptions::default().offering("CONDSTORE"));
    way.fill("INBOX", 5);
    way.mock().store().set_highest_modseq(USER, "INBOX", 0);
    way.stores(5);
    let first = way.mock().store().messages(USER, "INBOX")[0].clone();
    way.mock().store().set_flags(USER, "INBOX", first.uid, &["\\Seen", "\\Flagged"]);
    way.stores(0);
    way.stores(0);
    way.desk.run_with(&["--final"]).ended(0);
    assert!(letters(&way, &first.octets).contains('F'));
}

#[test]
fn a_server_put_back_to_an_older_state_is_noticed_and_nothing_is_changed() {
    for (used_since, more) in [(false, &[][..]), (true, &["--final"]), (true, &[])] {
        let way = Way::new();
        way.fill("INBOX", 6);
        way.stores(6);
        let before = way.copies();
        {
            let mut store = way.mock().store();
            for uid in 4..=6 {
                assert!(store.expunge(USER, "INBOX", uid));
            }
            store.set_uid_next(USER, "INBOX", 4);
            for n in 0..4 * usize::from(used_since) {
                let octets = [mail("other", n), vec![b'x'; 40]].concat();
                store.add(USER, "INBOX", octets, &[], InternalDate::utc(RECEIVED + 1000));
            }
        }
        let ran = way.desk.run_with(more);
        ran.ended(2);
        let told = if used_since { "numbers" } else { "UIDNEXT fell from 7 to 4" };
        assert!(ran.errors()[0].contains(told), "{:?}", ran.errors());
        assert_eq!(way.copies(), before);
    }
}

//! Whole migrations from one real IMAP server to another, as an operator runs them. What the target holds is compared
//! with what the source holds, message by message; then people change their mail, and another pass mirrors it; a run
//! after each writes nothing. The source is never written.

use std::fs;

use crate::road::house::House;
use crate::road::office::{Done, reflag, singles};
use crate::road::works::{Works, imap};
use crate::support::cyrus::{self, Cyrus};
use crate::support::dovecot::{self, Dovecot};
use crate::support::holding::Holding;
use crate::support::process::{Running, until};
use crate::support::server::{ImapServer, Reach};

const USER: &str = "user01";

/// A server as target endpoint, and rows that bring each mailbox to the one of the same name.
fn config(source: &Reach, target: &Reach, dir: &std::path::Path) -> (String, String) {
    let (sources, rows) = imap(source, false, dir);
    let Reach { tls_port, ca_file, master: (master, _), .. } = target;
    let target = format!(
        "[target.new]\nkind = \"imap\"\nhost = \"localhost\"\nport = {tls_port}\nca_file = \"{}\"\n\
         master_user = \"{master}\"\npassword = {{ env = \"ROAD_MASTER\" }}\nlogin_interval = \"1ms\"\n\
         expunge_removed = true\n",
        ca_file.display()
    );
    (format!("{sources}{target}"), rows.replace("@target.example", ""))
}

/// What should be the same at both ends: subscriptions are the target's own matter, and what is empty there may stay
/// when its original is gone.
fn comparable(mut holding: Holding, other: &Holding) -> Holding {
    holding.folders.retain(|names, held| !held.messages.is_empty() || other.folders.contains_key(names));
    holding.folders.values_mut().for_each(|held| held.subscribed = false);
    holding
}

/// What a target may do to messages.
#[derive(Clone, Copy)]
enum Dates {
    /// It keeps every received date.
    Kept,
    /// It puts the present in the place of what lies in the future (Dovecot), in seconds since 1970 when the test began.
    NoneAfter(i64),
}

impl Dates {
    fn no_future() -> Dates {
        Dates::NoneAfter(jiff::Timestamp::now().as_second())
    }

    /// With one date for all that lie in the future.
    fn comparable(self, mut holding: Holding) -> Holding {
        if let Dates::NoneAfter(began) = self {
            let messages = holding.folders.values_mut().flat_map(|held| &mut held.messages);
            messages.filter(|m| m.what.received >= began).for_each(|m| m.what.received = i64::MAX);
        }
        holding
    }
}

/// Every mailbox of the target holds what the source's holds.
fn arrived(source: &impl ImapServer, target: &impl ImapServer, dates: Dates) {
    for (user, _) in source.reach().users {
        let (was, is) = (source.holding(&user), target.holding(&user));
        let is = dates.comparable(comparable(is, &was));
        dates.comparable(comparable(was.clone(), &was)).assert_same(&is);
    }
}

/// All that a server tells of every folder: UIDs, flags, counts, UIDNEXT, HIGHESTMODSEQ.
fn told(server: &impl ImapServer) -> Vec<String> {
    let mut all = Vec::new();
    for (user, _) in server.reach().users {
        let mut client = server.client(&user);
        for (names, held) in server.holding(&user).folders {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            if held.selectable {
                all.push(format!("{user} {names:?} {}", client.state(&names)));
            }
        }
    }
    all
}

/// First copy, changes, a folder numbered anew; after each a run that writes nothing.
fn travel<S: ImapServer>(seed: u64, source: S, target: &impl ImapServer, dates: Dates) {
    let mut house = House::found(seed, source);
    let passwords = tempfile::tempdir().expect("a temporary folder");
    let (config, rows) = config(&house.server.reach(), &target.reach(), passwords.path());
    let works = Works::new(&config, &rows);
    let declared = |loss: &str| {
        let report = fs::read_to_string(works.path().join("mailwave-report/report.json")).expect("a report");
        report.contains(loss)
    };
    let users = house.mail.len();
    let pass = |house: &House<S>, done: Done| {
        let source = house.told();
        works.run(done, users, house.copies());
        arrived(&house.server, target, dates);
        let held = told(target);
        works.run(Done::default(), users, house.copies());
        assert!(told(target) == held, "a run that finds nothing new writes nothing");
        assert!(source == house.told(), "the source was only read");
    };
    let all = house.all();
    pass(&house, all);
    let future = house
        .server
        .holding(USER)
        .folder(&["INBOX"])
        .messages
        .iter()
        .any(|m| m.what.received > 4_000_000_000);
    assert_eq!(declared("date-changed-by-server"), future && matches!(dates, Dates::NoneAfter(_)));
    let done = house.change();
    pass(&house, done);
    // Numbered anew: nothing is stored again, and what was changed meanwhile follows.
    for names in [&["Archive"][..], &["INBOX"]] {
        house.server.renumber(USER, names);
    }
    let mut done = Done::default();
    let folders = house.mail.get_mut(USER).expect("a mailbox");
    let at = singles(folders, &["Archive"])[0];
    reflag(
        &mut house.server.client(USER),
        folders,
        &["Archive"],
        at,
        &["\\Answered", "renumbered"],
        &mut done,
    );
    assert_eq!(done.reflagged, 1);
    pass(&house, done);
    let verified = works.verb("verify");
    assert_eq!(verified["exit_code"], 0, "{verified}");
}

fn dotted() -> dovecot::Options {
    dovecot::Options { separator: '.', prefix: "INBOX.".to_owned(), ..dovecot::Options::default() }
}

#[test]
fn mailboxes_travel_from_dovecot_to_cyrus_and_changes_follow() {
    let (Some(source), Some(target)) = (Dovecot::start(), Cyrus::start()) else { return };
    travel(301, source, &target, Dates::Kept);
}

#[test]
fn mailboxes_travel_from_cyrus_to_dovecot_and_changes_follow() {
    let options = cyrus::Options { unix_hierarchy: false, alt_namespace: false, ..cyrus::Options::default() };
    let (Some(source), Some(target)) = (Cyrus::with(&options), Dovecot::start()) else { return };
    travel(302, source, &target, Dates::no_future());
}

#[test]
fn mailboxes_travel_between_dovecots_of_other_separators_and_formats_and_changes_follow() {
    let mdbox = dovecot::Options { format: dovecot::Format::Mdbox, ..dovecot::Options::default() };
    let (Some(source), Some(target)) = (Dovecot::with(&dotted()), Dovecot::with(&mdbox)) else { return };
    travel(303, source, &target, Dates::no_future());
}

#[test]
fn mailboxes_travel_compressed_both_ways_between_dovecots() {
    let options = dovecot::Options { compress: true, users: 1, ..dovecot::Options::default() };
    let (Some(source), Some(target)) = (Dovecot::with(&options), Dovecot::with(&options)) else { return };
    let house = House::found(305, source);
    let passwords = tempfile::tempdir().expect("a temporary folder");
    let (config, rows) = config(&house.server.reach(), &target.reach(), passwords.path());
    let compressed = config.replace("login_interval", "compress = \"on\"\nlogin_interval");
    let works = Works::new(&compressed, &rows);
    works.run(house.all(), house.mail.len(), house.copies());
    works.run(Done::default(), house.mail.len(), house.copies());
    arrived(&house.server, &target, Dates::no_future());
    for (server, verb) in [(&house.server, &b" UID FETCH "[..]), (&target, b" APPEND ")] {
        let heard = server.heard();
        let on = |session: &&Vec<u8>| memchr::memmem::find(session, b" COMPRESS DEFLATE\r\n").is_some();
        let compressed: Vec<_> = heard.iter().filter(on).collect();
        assert!(compressed.len() >= 2, "each run has its session");
        for session in compressed {
            assert!(memchr::memmem::find(session, verb).is_none(), "it is compressed from then on");
        }
    }
}

#[test]
fn a_folder_deleted_in_the_middle_of_a_pass_takes_nothing_else_with_it() {
    let (Some(source), Some(target)) = (Dovecot::start(), Cyrus::start()) else { return };
    let house = House::found(304, source);
    let passwords = tempfile::tempdir().expect("a temporary folder");
    let (config, rows) = config(&house.server.reach(), &target.reach(), passwords.path());
    // The process is started without the environment of `Works`.
    let secret = "password = { command = [\"echo\", \"master-pw\"] }";
    let works = Works::new(&config.replace("password = { env = \"ROAD_MASTER\" }", secret), &rows);
    let running = Running::start(works.path());
    until("something to arrive", || {
        let mut client = target.client(USER);
        (client.examine(&["INBOX"]).1 > 0).then_some(())
    });
    // Whatever is done with these folders already, some of them are still to come.
    for names in [&["Angebote"][..], &["😀 Smile"], &["受信箱"], &["Prüfung & Ärger"]] {
        house.server.client(USER).delete(names);
    }
    let (code, summary, talk) = running.end();
    assert!(code == 0 || code == 1, "{code}: {summary}\n{talk}");
    for _ in 0..2 {
        works.verb("run");
    }
    arrived(&house.server, &target, Dates::Kept);
    let report = fs::read_to_string(works.path().join("mailwave-report/report.txt")).expect("a report");
    assert!(!report.contains("poor"), "{report}");
}

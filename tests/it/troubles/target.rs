//! What IMAP servers do to those who bring mail.

use std::collections::{BTreeMap, BTreeSet};

use mailwave::mock::imap::{Act, Fate, ImapMock, ImapOptions, InternalDate, Quirks, Rule};

use super::{PASSWORD, RECEIVED, USER};
use crate::bad_input::desk::{Desk, Imap, Ran, mail};

const THERE: &str = "canary.bob";

/// One mailbox on its way from a mock IMAP server to another.
struct Both {
    source: Imap,
    target: Imap,
    desk: Desk,
}

/// Folder, octets, flags, received.
type Held = (String, Vec<u8>, Vec<String>, i64);

impl Both {
    fn new(target: ImapOptions) -> Both {
        Both::from(ImapOptions::default(), target)
    }

    fn from(source: ImapOptions, target: ImapOptions) -> Both {
        let (source, target) = (Imap::start(source), Imap::start(target));
        source.mock.store().add_user(USER);
        target.mock.store().add_user(THERE);
        let there = target.config(PASSWORD).replace("[source.old]", "[target.new]");
        let desk = Desk::new(
            &format!("{}{there}", source.config(PASSWORD)),
            &format!("source,target\n{USER},{THERE}\n"),
        );
        desk.secret("pw", "canary-password\n");
        Both { source, target, desk }
    }

    fn quirky(quirks: Quirks) -> Both {
        Both::new(ImapOptions::default().with_quirks(quirks))
    }

    fn put(&self, folder: &str, octets: impl Into<Vec<u8>>, flags: &[&str]) -> u32 {
        self.source.mock.store().add(USER, folder, octets.into(), flags, InternalDate::utc(RECEIVED))
    }

    fn fill(&self, folder: &str, count: usize) {
        for n in 1..=count {
            self.put(folder, mail(&format!("{USER}.{folder}"), n), &["\\Seen"]);
        }
    }

    #[track_caller]
    fn stores(&self, count: u64) -> Ran {
        let ran = self.desk.run();
        ran.ended(0);
        assert_eq!(ran.count("stored"), count, "{}", ran.json);
        ran
    }

    fn held(mock: &ImapMock, user: &str) -> Vec<Held> {
        let store = mock.store();
        let of = |folder: String| {
            let all = store.messages(user, &folder).into_iter();
            all.map(|m| (folder.clone(), m.octets.to_vec(), m.flags, m.date.seconds)).collect::<Vec<_>>()
        };
        let mut all: Vec<Held> = store.folders(user).into_iter().flat_map(of).collect();
        all.sort();
        all
    }

    /// Folders, octets, flags and dates are the same at both ends.
    #[track_caller]
    fn is_whole(&self) {
        let (here, there) = (Both::held(&self.source.mock, USER), Both::held(&self.target.mock, THERE));
        assert!(here == there, "{here:?}\n{there:?}");
    }

    /// Every message is there once; folders and flags may be others.
    #[track_caller]
    fn is_there_once(&self) {
        let octets = |held: Vec<Held>| {
            let mut all: Vec<Vec<u8>> = held.into_iter().map(|h| h.1).collect();
            all.sort();
            all
        };
        let here = octets(Both::held(&self.source.mock, USER));
        assert!(here == octets(Both::held(&self.target.mock, THERE)), "of {} messages", here.len());
    }
}

#[test]
fn without_uidplus_every_copy_is_still_known_and_follows_its_original() {
    for capabilities in ["", "MULTIAPPEND"] {
        let both = Both::new(ImapOptions::default().without("UIDPLUS").offering(capabilities));
        both.fill("INBOX", 8);
        both.put("INBOX", mail("twin", 1), &[]);
        both.put("INBOX", mail("twin", 1), &[]);
        both.stores(10);
        both.is_whole();
        both.source.mock.store().set_flags(USER, "INBOX", 3, &["\\Seen", "\\Flagged"]);
        assert_eq!(both.desk.run_with(&["--final"]).ended(0).count("stored"), 0);
        both.is_whole();
    }
}

#[test]
fn a_store_whose_answer_is_lost_is_settled_and_nothing_is_doubled() {
    for capabilities in ["", "MULTIAPPEND"] {
        for without in ["", "UIDPLUS"] {
            for fate in [Fate::Stored, Fate::NotStored, Fate::StoredAfter(3)] {
                let both = Both::new(ImapOptions::default().without(without).offering(capabilities));
                both.fill("INBOX", 6);
                both.put("INBOX", mail("twin", 1), &[]);
                both.put("INBOX", mail("twin", 1), &[]);
                both.target.mock.script([Rule::on("APPEND", Act::LoseAppend(fate))]);
                both.desk.run();
                let ran = both.desk.run();
                assert_eq!(ran.code, 0, "{capabilities} {without} {fate:?}: {}", ran.json);
                both.is_whole();
                assert!(both.target.mock.unfired().is_empty());
            }
        }
    }
}

#[test]
fn a_target_folder_numbered_anew_in_the_middle_of_a_pass_gets_nothing_twice() {
    for capabilities in ["", "MULTIAPPEND"] {
        for without in ["", "UIDPLUS"] {
            let mut fired = 0;
            for nth in 1..=6 {
                let both = Both::new(ImapOptions::default().without(without).offering(capabilities));
                // Not the inbox: its UIDVALIDITY stands for the mailbox, and a new one for a mailbox made anew.
                both.fill("INBOX", 2);
                both.fill("Work", 20);
                both.put("Work", mail("twin", 1), &[]);
                both.put("Work", mail("twin", 1), &[]);
                let renumber = Act::RenumberBefore("Work".to_owned());
                both.target.mock.script([Rule::on("APPEND", renumber).nth(nth)]);
                both.desk.run();
                fired += usize::from(both.target.mock.unfired().is_empty());
                both.target.mock.script([]);
                both.desk.run();
                both.is_whole();
                let ran = both.desk.run();
                assert_eq!(ran.code, 0, "{capabilities} {without} {nth}: {}", ran.json);
                assert_eq!(ran.count("stored"), 0, "{capabilities} {without} {nth}: {}", ran.json);
                both.put("Work", mail("later", 1), &[]);
                both.stores(1);
                both.is_whole();
            }
            assert!(fired >= 1, "{capabilities} {without}: it never happened");
        }
    }
}

#[test]
fn a_message_the_target_refuses_is_skipped_by_name_and_the_others_arrive() {
    let long = format!("Subject: canary\r\n\r\n{}\r\n", "x".repeat(12_000)).into_bytes();
    let eight = b"Subject: canary \xe4\r\n\r\nx\r\n".to_vec();
    let refuses_lines = Quirks { longest_body_line: Some(9_900), ..Quirks::default() };
    let refuses_headers = Quirks { refuses_8bit_headers: true, ..Quirks::default() };
    for (bad, quirks) in [(long, refuses_lines), (eight, refuses_headers)] {
        for capabilities in ["", "MULTIAPPEND"] {
            let both = Both::new(ImapOptions::default().with_quirks(quirks.clone()).offering(capabilities));
            both.fill("INBOX", 5);
            both.put("INBOX", bad.clone(), &[]);
            both.fill("Work", 5);
            let ran = both.desk.run();
            ran.ended(1);
            assert_eq!((ran.count("stored"), ran.skipped().len()), (10, 1), "{}", ran.json);
            assert_eq!(Both::held(&both.target.mock, THERE).len(), 10);
            assert_eq!(both.desk.run().count("stored"), 0);
            assert_eq!(Both::held(&both.target.mock, THERE).len(), 10);
        }
    }
}

#[test]
fn messages_the_target_refused_stay_skipped_in_every_later_pass_and_never_fail_their_mailbox() {
    // Alone in a later pass, and so many that the folder could be at fault.
    for count in [1, 12] {
        let both = Both::quirky(Quirks { refuses_8bit_headers: true, ..Quirks::default() });
        both.fill("INBOX", 20);
        for n in 0..count {
            both.put("INBOX", [&b"Subject: canary \xe4\r\n"[..], &mail("bad", n)].concat(), &[]);
        }
        both.fill("Work", 3);
        let first = both.desk.run();
        first.ended(1);
        assert_eq!((first.count("stored"), first.skipped().len()), (23, count), "{}", first.json);
        for _ in 0..2 {
            let later = both.desk.run();
            later.ended(1);
            assert_eq!((later.count("stored"), later.skipped()), (0, first.skipped()));
        }
        both.fill("Work", 1);
        let later = both.desk.run();
        later.ended(1);
        assert_eq!((later.count("stored"), later.skipped().len()), (1, count));
        assert_eq!(Both::held(&both.target.mock, THERE).len(), 24);
    }
}

#[test]
fn a_target_that_offers_literals_it_does_not_take_is_asked_about_each() {
    for capabilities in ["LITERAL+", "LITERAL-", "LITERAL+ MULTIAPPEND"] {
        let quirks = Quirks { lies_about_literals: true, ..Quirks::default() };
        let options = ImapOptions::default().without("LITERAL+").with_quirks(quirks);
        let both = Both::new(options.offering(capabilities));
        both.fill("INBOX", 40);
        both.fill("Work", 40);
        let ran = both.stores(80);
        assert_eq!(ran.mailbox(2)["verdict"], "perfect", "{capabilities}");
        both.is_whole();
        let appends = both.target.mock.heard().iter().filter(|h| h.verb == "APPEND").count();
        assert!(appends <= 80 + 40, "{capabilities}: asked about each, once it is known: {appends}");
        assert_eq!(both.desk.run().ended(0).count("stored"), 0);
    }
}

#[test]
fn flags_forgotten_when_they_are_given_with_a_message_are_set_afterwards() {
    let forgets = |flags: &[&str]| Quirks {
        forgets_at_append: flags.iter().map(|f| (*f).to_owned()).collect(),
        ..Quirks::default()
    };
    for flags in [&["\\Flagged"][..], &["\\Flagged", "$Forwarded"], &["\\Seen"]] {
        for capabilities in ["", "MULTIAPPEND"] {
            let target = ImapOptions::default().with_quirks(forgets(flags)).offering(capabilities);
            let both = Both::new(target);
            both.fill("INBOX", 30);
            for n in 0..30 {
                let flags: &[&str] = match n % 3 {
                    0 => &["\\Seen", "\\Flagged"],
                    1 => &["$Forwarded"],
                    _ => &["\\Flagged"],
                };
                both.put("Work", mail("flagged", n), flags);
            }
            let ran = both.stores(60);
            assert_eq!(ran.mailbox(2)["verdict"], "perfect", "{flags:?}");
            both.is_whole();
            both.stores(0);
        }
    }
    // One that keeps all is not asked about each message.
    let both = Both::new(ImapOptions::default());
    both.fill("INBOX", 60);
    both.stores(60);
    let heard = both.target.mock.heard();
    let looks = heard.iter().filter(|h| h.verb == "UID FETCH").count();
    assert!(looks <= 4, "{looks}");
    assert!(heard.iter().all(|h| h.verb != "UID STORE"));
}

#[test]
fn nul_octets_go_as_literal8_where_it_is_offered_and_stay_behind_by_name_where_they_are_refused() {
    let nul = b"Subject: canary\r\n\r\na\0b\0\0\r\n".to_vec();
    let both = Both::new(ImapOptions::default().offering("BINARY"));
    both.fill("INBOX", 3);
    both.put("INBOX", nul.clone(), &["\\Seen"]);
    assert_eq!(both.stores(4).mailbox(2)["verdict"], "perfect");
    both.is_whole(); // the target takes NUL in nothing but a literal8

    let both = Both::new(ImapOptions::default().without("BINARY"));
    both.fill("INBOX", 3);
    both.put("INBOX", nul, &[]);
    let ran = both.desk.run();
    ran.ended(1);
    assert_eq!((ran.count("stored"), ran.skipped().len()), (3, 1), "{}", ran.json);
}

#[test]
fn bare_line_ends_are_mended_only_where_the_target_refuses_them_and_it_is_declared() {
    let bare = b"Subject: canary\r\n\r\nbare\nline feed\r\n".to_vec();
    for refuses in [false, true] {
        let both = Both::new(ImapOptions { refuse_bare_newlines: refuses, ..ImapOptions::default() });
        both.fill("INBOX", 3);
        both.put("INBOX", bare.clone(), &[]);
        let ran = both.stores(4);
        let verdict = if refuses { "good" } else { "perfect" };
        assert_eq!(ran.mailbox(2)["verdict"], verdict, "{}", ran.mailbox(2));
        let kept = Both::held(&both.target.mock, THERE).iter().any(|h| h.1 == bare);
        assert_eq!(kept, !refuses);
        both.stores(0);
    }
}

#[test]
fn a_target_that_runs_full_fails_its_mailbox_and_keeps_what_fitted() {
    let both = Both::quirky(Quirks { quota: Some(1_500), ..Quirks::default() });
    both.fill("INBOX", 5);
    both.fill("Work", 5);
    let ran = both.desk.run();
    ran.ended(2);
    let [told] = &ran.errors()[..] else { panic!("{:?}", ran.errors()) };
    assert!(told.contains("the target mailbox is full (OVERQUOTA) — "), "{told}");
    let fitted = Both::held(&both.target.mock, THERE);
    assert!((1..10).contains(&fitted.len()), "some fitted: {}", fitted.len());
}

#[test]
fn flags_a_folder_does_not_keep_cost_no_message_and_are_a_declared_loss() {
    let kept = ["\\Seen", "\\Flagged", "$Forwarded"].map(str::to_owned).to_vec();
    let both =
        Both::quirky(Quirks { permanent_flags: Some(kept), refuses_other_flags: true, ..Quirks::default() });
    both.put("INBOX", mail(USER, 1), &["\\Seen", "$Forwarded", "canary-work"]);
    both.put("INBOX", mail(USER, 2), &["\\Indexed", "\\Flagged", "\\Answered"]);
    let ran = both.stores(2);
    assert_eq!(ran.mailbox(2)["verdict"], "good");
    both.is_there_once();
    let flags: Vec<Vec<String>> = Both::held(&both.target.mock, THERE).into_iter().map(|h| h.2).collect();
    assert!(flags.contains(&vec!["$Forwarded".to_owned(), "\\Seen".to_owned()]), "{flags:?}");
    assert!(flags.contains(&vec!["\\Flagged".to_owned()]), "{flags:?}");
    assert_eq!(both.desk.run().ended(0).count("stored"), 0);
}

#[test]
fn what_the_target_changes_is_noticed_and_declared_and_nothing_is_stored_again() {
    let future = InternalDate::utc(4_000_000_000);
    let quirks = [
        Quirks { rewrites_message_ids: true, ..Quirks::default() },
        Quirks { munges_8bit_headers: true, ..Quirks::default() },
        Quirks { ignores_dates: true, ..Quirks::default() },
        Quirks { future_dates_become_now: true, ..Quirks::default() },
    ];
    for quirks in quirks {
        let both = Both::quirky(quirks.clone());
        both.fill("INBOX", 4);
        both.put("INBOX", b"Message-ID: <a@canary.example>\r\nSubject: canary \xe4\r\n\r\nx\r\n", &[]);
        both.source.mock.store().add(USER, "INBOX", mail("future", 1), &[], future);
        let ran = both.stores(6);
        assert_eq!(ran.mailbox(2)["verdict"], "good", "{quirks:?}: {}", ran.mailbox(2));
        assert_eq!(Both::held(&both.target.mock, THERE).len(), 6);
        both.stores(0);
        assert_eq!(Both::held(&both.target.mock, THERE).len(), 6);
    }
}

#[test]
fn a_message_above_the_targets_append_limit_is_not_even_fetched() {
    let both = Both::quirky(Quirks { append_limit: Some(65_536), ..Quirks::default() });
    both.fill("INBOX", 2);
    let large = both.put("INBOX", [mail(USER, 9), vec![b'x'; 100_000]].concat(), &[]);
    let ran = both.desk.run();
    ran.ended(1);
    assert!(ran.skipped()[0].starts_with("too-large: "), "{:?}", ran.skipped());
    let heard = both.source.mock.heard();
    let asked = |uid: u32| heard.iter().any(|h| h.line.contains("BODY") && h.line.contains(&uid.to_string()));
    assert!(!asked(large), "the large one was not asked for");
}

#[test]
fn names_the_target_refuses_are_written_so_that_each_stays_its_own() {
    let quirks = [
        Quirks { forbidden_in_names: "\"\\%*^'`".to_owned(), ..Quirks::default() },
        Quirks { caseless_names: true, ..Quirks::default() },
        Quirks { no_inferiors: true, ..Quirks::default() },
        Quirks { enables_silently: true, ..Quirks::default() },
    ];
    for quirks in quirks {
        let both = Both::quirky(quirks.clone());
        let names =
            ["INBOX", "Trash", "trash", "Work", "Work/Sub", "a\"b", "a'b", "50 %", " canary ", "\u{dc}"];
        for name in names {
            both.fill(name, 2);
        }
        both.stores(2 * names.len() as u64);
        both.is_there_once();
        let folders: BTreeSet<String> =
            Both::held(&both.target.mock, THERE).into_iter().map(|h| h.0).collect();
        assert_eq!(folders.len(), names.len(), "{quirks:?}: {folders:?}");
        both.stores(0);
    }
}

#[test]
fn separators_prefixes_and_roles_are_translated() {
    let source = ImapOptions { separator: '.', prefix: "INBOX.".to_owned(), ..ImapOptions::default() };
    let both = Both::from(source, ImapOptions::default());
    for folder in ["INBOX", "A.B", "a/b", "Gesendet", " canary "] {
        both.fill(folder, 2);
    }
    both.source.mock.store().set_special_use(USER, "Gesendet", "\\Sent");
    both.target.mock.store().add_folder(THERE, "Sent Items");
    both.target.mock.store().set_special_use(THERE, "Sent Items", "\\Sent");
    both.stores(10);
    both.is_there_once();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (folder, ..) in Both::held(&both.target.mock, THERE) {
        *counts.entry(folder).or_default() += 1;
    }
    assert_eq!(counts.len(), 5, "each its own: {counts:?}");
    assert_eq!((counts["A/B"], counts["Sent Items"]), (2, 2));
    both.stores(0);
}

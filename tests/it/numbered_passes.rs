//! Later passes onto a target whose copies carry no stamp, one behaviour each: a source in memory, numbered folders in
//! this process, virtual time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mailwave::engine::{self, MailboxResult, Options, Parts, Stop, Unwatched};
use mailwave::env::Env;
use mailwave::ledger::sqlite::{LedgerOptions, SqliteLedger};
use mailwave::limit::Limits;
use mailwave::model::{Bodies, Flags, Mailbox, MailboxKey, SourceName};

use crate::support::mailgen::MailGen;
use crate::support::memory::{MemorySource, Store};
use crate::support::numbered::{Fault, Held, NumberedTarget, Server};
use crate::trial::{Observer, VirtualClock};

const ANN: &str = "ann";
const ADDRESS: &str = "ann@example.org";

/// One mailbox, its source and its target.
struct Desk {
    store: Arc<Mutex<Store>>,
    server: Arc<Mutex<Server>>,
    clock: Arc<VirtualClock>,
    dir: tempfile::TempDir,
}

impl Desk {
    /// `count` messages in the inbox, of which the first two are exact twins.
    fn new(count: u64) -> Desk {
        let mut store = Store::default();
        let mut mails = MailGen::new(3, "example.org");
        for n in 0..count {
            let mail = mails.next();
            store.add(ANN, "INBOX", mail.octets.clone(), &mail.flags, mail.received);
            if n == 0 {
                store.add(ANN, "INBOX", mail.octets, &mail.flags, mail.received);
            }
        }
        Desk {
            store: Arc::new(Mutex::new(store)),
            server: Arc::default(),
            clock: VirtualClock::new(1_795_305_600_000),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn source<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        change(&mut self.store.lock().unwrap())
    }

    fn target<T>(&self, change: impl FnOnce(&mut Server) -> T) -> T {
        change(&mut self.server.lock().unwrap())
    }

    /// Makes something go wrong with the `nth` message stored from now on.
    fn fault(&self, nth: u64, fault: Fault) {
        self.target(|s| {
            let nth = s.appends() + nth;
            s.faults.insert(nth, fault);
        });
    }

    /// A folder of some more messages.
    fn add(&self, folder: &str, count: u64) {
        let mut mails = MailGen::new(9, "example.net");
        self.source(|s| {
            for _ in 0..count {
                let mail = mails.next();
                s.add(ANN, folder, mail.octets, &mail.flags, mail.received);
            }
        });
    }

    /// One run of the engine.
    fn run(&self) -> MailboxResult {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let wall = self.clock.begin();
            let env = Env::simulated(5, wall, Observer::new(None));
            let source_name: SourceName = "acme".parse().unwrap();
            let mut options = LedgerOptions::new(source_name.clone(), "passes");
            options.inline = true;
            options.group_ms = 1;
            let ledger = SqliteLedger::open(&env, &self.dir.path().join("ledger"), options).unwrap();
            let mailbox = Mailbox {
                key: MailboxKey::of(&source_name, ANN),
                source: ANN.to_owned(),
                target: ADDRESS.to_owned(),
                source_endpoint: "memory".to_owned(),
                target_endpoint: "numbered".to_owned(),
                target_place: String::new(),
                wave: String::new(),
                priority: 0,
            };
            let target =
                NumberedTarget { env: env.clone(), world: self.clock.clone(), server: self.server.clone() };
            let parts = Parts {
                env: env.clone(),
                source_name,
                sources: BTreeMap::from([(
                    "memory".to_owned(),
                    Arc::new(MemorySource(self.store.clone())) as _,
                )]),
                targets: BTreeMap::from([("numbered".to_owned(), Arc::new(target) as _)]),
                limits: Limits::unlimited(&env),
                ledger: Arc::new(ledger),
                bodies: Bodies {
                    memory_limit: 1 << 20,
                    max: 200 << 20,
                    spool: self.dir.path().to_path_buf(),
                },
                options: Options::default(),
            };
            let result =
                engine::run(Arc::new(parts), vec![mailbox], Arc::new(Unwatched), Stop::default()).await;
            self.clock.end(Duration::from_secs(60));
            result.mailboxes.into_iter().next().unwrap()
        })
    }

    /// A run that must come to its end.
    fn good(&self) -> MailboxResult {
        let result = self.run();
        assert!(result.error.is_none(), "{:?}", result.error);
        result
    }

    /// A run that must come to its end without a flaw.
    fn perfect(&self) -> MailboxResult {
        let result = self.good();
        assert!(
            ["perfect", "good"].contains(&result.summary.verdict.as_str()),
            "{:?}",
            result.summary.reasons
        );
        result
    }

    /// What a folder of the target holds.
    fn held(&self, folder: &str) -> Vec<Held> {
        let place = (ADDRESS.to_owned(), folder.to_owned());
        self.target(|s| s.folders.get(&place).map(|f| f.messages.values().cloned().collect()))
            .unwrap_or_default()
    }

    /// A run that must write nothing.
    fn quiet(&self) -> MailboxResult {
        let writes = self.target(|s| s.writes);
        let result = self.perfect();
        assert_eq!(self.target(|s| s.writes), writes, "nothing was written");
        result
    }
}

#[test]
fn a_pass_that_changes_nothing_asks_the_target_one_question() {
    let desk = Desk::new(9);
    desk.add("Projekt", 4);
    assert_eq!(desk.perfect().summary.stored, 14);
    desk.quiet();
    let trips = desk.target(|s| s.trips);
    assert_eq!(desk.quiet().summary.recounted, Some(14));
    assert_eq!(desk.target(|s| s.trips) - trips, 1);
}

#[test]
fn flags_and_deletions_are_mirrored_by_id() {
    let desk = Desk::new(12);
    desk.perfect();
    desk.source(|s| {
        let inbox = s.folder(ANN, "INBOX");
        inbox.messages.remove(&5);
        let mail = inbox.messages.get_mut(&7).unwrap();
        mail.flags.flagged = !mail.flags.flagged;
    });
    let second = desk.perfect();
    assert_eq!((second.summary.removed, second.summary.reflagged), (1, 1));
    assert_eq!(desk.held("INBOX").len(), 12);
    desk.quiet();
}

#[test]
fn a_copy_its_user_changed_stays_when_the_original_goes() {
    let desk = Desk::new(12);
    desk.perfect();
    let octets = desk.source(|s| s.folder(ANN, "INBOX").messages[&5].octets.clone());
    desk.target(|s| {
        let copies = s.folder(ADDRESS, "INBOX").messages.values_mut();
        let copy = copies.into_iter().find(|c| c.octets == octets).unwrap();
        copy.flags.flagged = !copy.flags.flagged;
        s.folder(ADDRESS, "INBOX").changes += 1;
    });
    desk.source(|s| s.folder(ANN, "INBOX").messages.remove(&5));
    assert_eq!(desk.perfect().summary.removed, 0);
    assert_eq!(desk.held("INBOX").len(), 13);
    desk.quiet();
}

#[test]
fn moved_messages_keep_their_copies_and_the_new_ids_are_on_record() {
    let desk = Desk::new(14);
    desk.perfect();
    desk.source(|s| {
        for number in [1, 2, 6] {
            s.move_message(ANN, "INBOX", number, "Ablage");
        }
    });
    let second = desk.perfect();
    assert_eq!((second.summary.stored, second.summary.moved), (0, 3));
    assert_eq!((desk.held("INBOX").len(), desk.held("Ablage").len()), (12, 3));
    desk.quiet();
    desk.source(|s| {
        let numbers: Vec<u64> = s.folder(ANN, "Ablage").messages.keys().copied().collect();
        s.move_message(ANN, "Ablage", numbers[0], "INBOX");
    });
    assert_eq!(desk.perfect().summary.moved, 1);
    desk.quiet();
}

#[test]
fn a_new_uidvalidity_at_the_source_stores_nothing_again() {
    let desk = Desk::new(8);
    desk.perfect();
    desk.source(|s| s.folder(ANN, "INBOX").epoch += 1);
    assert_eq!(desk.quiet().summary.already, 9);
    desk.quiet();
}

#[test]
fn a_renamed_folder_keeps_its_copies() {
    let desk = Desk::new(2);
    desk.add("Projekt", 4);
    desk.perfect();
    let rename = |s: &mut Store| {
        let folder = s.0.get_mut(ANN).unwrap().remove("Projekt").unwrap();
        s.0.get_mut(ANN).unwrap().insert("Ablage".to_owned(), folder);
    };
    desk.source(rename);
    assert_eq!(desk.perfect().summary.stored, 0);
    assert_eq!((desk.held("Projekt").len(), desk.held("Ablage").len()), (0, 4));
    desk.quiet();
}

#[test]
fn a_folder_that_cannot_be_renamed_keeps_its_name_and_that_is_said() {
    let desk = Desk::new(2);
    desk.add("Projekt", 4);
    desk.perfect();
    desk.target(|s| s.taken.insert("Ablage".to_owned()));
    desk.source(|s| {
        let folder = s.0.get_mut(ANN).unwrap().remove("Projekt").unwrap();
        s.0.get_mut(ANN).unwrap().insert("Ablage".to_owned(), folder);
    });
    let second = desk.good();
    assert_eq!((second.summary.stored, desk.held("Projekt").len()), (0, 4));
    assert!(second.summary.reasons.iter().any(|r| r.contains("keeps its old name")), "{:?}", second.summary);
    desk.quiet();
}

#[test]
fn copies_deleted_at_the_target_are_missed_and_not_stored_again() {
    let desk = Desk::new(6);
    desk.perfect();
    desk.target(|s| {
        s.folder(ADDRESS, "INBOX").messages.remove(&3);
        s.folder(ADDRESS, "INBOX").changes += 1;
    });
    for _ in 0..2 {
        let later = desk.good();
        assert_eq!((later.summary.stored, later.summary.recounted), (0, Some(6)));
        assert_eq!(later.summary.verdict, "poor");
        assert!(later.summary.reasons.iter().any(|r| r.contains("not where they were put")));
    }
}

#[test]
fn a_folder_deleted_under_a_store_is_made_again_and_all_new_mail_is_there_once() {
    let desk = Desk::new(1);
    desk.add("Projekt", 8);
    desk.fault(4, Fault::FolderDeleted);
    let first = desk.good();
    assert!(first.summary.stored >= 9, "{:?}", first.summary);
    let held = desk.held("Projekt").len();
    assert!((4..=8).contains(&held), "{held} are left of 8");
    let second = desk.good();
    assert_eq!(
        (second.summary.stored, desk.held("Projekt").len()),
        (0, held),
        "nothing comes back, nothing twice"
    );
}

#[test]
fn a_folder_the_target_numbered_anew_is_recognised_before_anything_is_written() {
    let desk = Desk::new(8);
    desk.perfect();
    desk.target(|s| {
        s.number_anew(ADDRESS, "INBOX");
        s.deliver(ADDRESS, "INBOX", b"Subject: other\r\n\r\nx\r\n", Flags::default(), 7);
    });
    desk.source(|s| {
        s.folder(ANN, "INBOX").messages.remove(&5);
        s.add(ANN, "INBOX", b"Subject: new\r\n\r\nnew\r\n".to_vec(), &[], 77);
        let mail = s.folder(ANN, "INBOX").messages.get_mut(&7).unwrap();
        mail.flags.flagged = !mail.flags.flagged;
    });
    let second = desk.perfect();
    assert_eq!((second.summary.stored, second.summary.removed, second.summary.reflagged), (1, 1, 1));
    assert_eq!(desk.held("INBOX").len(), 10, "nine of ours, one of somebody else");
    let mail = desk.source(|s| s.folder(ANN, "INBOX").messages[&7].clone());
    let copy = desk.held("INBOX").into_iter().find(|h| h.octets == mail.octets).unwrap();
    assert_eq!(copy.flags, mail.flags);
    desk.quiet();
}

#[test]
fn lost_answers_store_nothing_twice_and_late_twins_are_swept() {
    for fault in [Fault::LostAfter, Fault::LostBefore, Fault::Late(5_000), Fault::Late(40_000)] {
        let desk = Desk::new(9);
        // The first two are exact twins: each in turn.
        for nth in [1, 2, 6] {
            desk.fault(nth, fault);
        }
        desk.perfect();
        let second = desk.good();
        assert_eq!((desk.held("INBOX").len(), second.summary.stored), (10, 0), "{fault:?}");
        desk.quiet();
    }
}

#[test]
fn somebody_elses_identical_mail_is_not_taken_for_a_lost_store() {
    let desk = Desk::new(4);
    let (octets, received) = desk.source(|s| {
        let mail = &s.folder(ANN, "INBOX").messages[&3];
        (mail.octets.clone(), mail.received.seconds)
    });
    desk.target(|s| s.deliver(ADDRESS, "INBOX", &octets, Flags::default(), received));
    desk.fault(3, Fault::LostBefore);
    desk.perfect();
    assert_eq!(desk.held("INBOX").iter().filter(|h| h.octets == octets).count(), 2);
    desk.quiet();
}

#[test]
fn a_copy_like_a_late_twin_that_its_user_changed_is_left_alone() {
    let desk = Desk::new(3);
    desk.fault(2, Fault::Late(40_000));
    desk.perfect();
    desk.target(|s| {
        s.arrive_all();
        let inbox = s.folder(ADDRESS, "INBOX");
        let late = inbox.messages.values_mut().last().unwrap();
        late.flags.flagged = !late.flags.flagged;
        inbox.changes += 1;
    });
    let second = desk.good();
    assert_eq!(desk.held("INBOX").len(), 5);
    assert!(second.summary.reasons.iter().any(|r| r.contains("left alone")), "{:?}", second.summary);
}

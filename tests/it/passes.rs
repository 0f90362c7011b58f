//! Later passes, one behaviour each: a source in memory, the mock Graph in this process, virtual time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use mailwave::engine::{self, MailboxResult, Options, Parts, Stop, Unwatched};
use mailwave::env::Env;
use mailwave::ledger::sqlite::{LedgerOptions, SqliteLedger};
use mailwave::limit::Limits;
use mailwave::mock::Wire;
use mailwave::mock::graph::{GraphMock, GraphOptions, MessageTruth};
use mailwave::model::{Bodies, Kind, Mailbox, MailboxKey, SourceName};

use crate::support::mailgen::MailGen;
use crate::support::memory::{Asked, Habits, MemorySource, Store};
use crate::trial::{Observer, VirtualClock, graph_target};

const ANN: &str = "ann";

/// One mailbox, its source and its target.
struct Desk {
    store: Arc<Mutex<Store>>,
    mock: Arc<GraphMock>,
    clock: Arc<VirtualClock>,
    dir: tempfile::TempDir,
    options: Options,
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
        let clock = VirtualClock::new(1_795_305_600_000);
        Desk {
            store: Arc::new(Mutex::new(store)),
            mock: GraphMock::new(GraphOptions::default(), clock.clone()),
            clock,
            dir: tempfile::tempdir().unwrap(),
            options: Options::default(),
        }
    }

    fn source<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        change(&mut self.store.lock().unwrap())
    }

    /// What the source offers from now on.
    fn offering(count: u64, habits: Habits) -> Desk {
        let desk = Desk::new(count);
        desk.source(|s| s.1 = habits);
        desk
    }

    /// A run that must come to its end, and what it asked of the source.
    fn watched(&self) -> (MailboxResult, Asked) {
        self.source(|s| s.asked());
        (self.good(), self.source(|s| s.asked()))
    }

    /// One run of the engine.
    fn run(&self) -> MailboxResult {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let result = runtime.block_on(async {
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
                target: "ann@example.org".to_owned(),
                source_endpoint: "memory".to_owned(),
                target_endpoint: "graph".to_owned(),
                target_place: String::new(),
                wave: String::new(),
                priority: 0,
            };
            let parts = Parts {
                env: env.clone(),
                source_name,
                sources: BTreeMap::from([(
                    "memory".to_owned(),
                    Arc::new(MemorySource(self.store.clone())) as _,
                )]),
                targets: BTreeMap::from([("graph".to_owned(), graph_target(&env, &self.mock, 3_000_000))]),
                limits: Limits::unlimited(&env),
                ledger: Arc::new(ledger),
                bodies: Bodies {
                    memory_limit: 1 << 20,
                    max: 200 << 20,
                    spool: self.dir.path().to_path_buf(),
                },
                options: self.options.clone(),
            };
            let result =
                engine::run(Arc::new(parts), vec![mailbox], Arc::new(Unwatched), Stop::default()).await;
            self.clock.end(Duration::from_secs(60));
            result.mailboxes.into_iter().next().unwrap()
        });
        drop(runtime);
        result
    }

    /// A run that must come to its end.
    fn good(&self) -> MailboxResult {
        let result = self.run();
        assert!(result.error.is_none(), "{:?}", result.error);
        result
    }

    /// Copies at the target, by folder.
    fn copies(&self, folder: &str) -> Vec<MessageTruth> {
        let truth = self.mock.truth();
        truth.mailboxes["ann@example.org"].folders.get(folder).map(|f| f.messages.clone()).unwrap_or_default()
    }

    /// Something its user does at the target: a request below the mailbox.
    fn at_target(&self, method: &str, path: &str, body: &str) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            self.clock.begin();
            let form = "grant_type=client_credentials&client_id=user&client_secret=secret\
                        &scope=https%3A%2F%2Fgraph.microsoft.com%2F.default";
            let token = http::Request::post("http://127.0.0.1/t/oauth2/v2.0/token")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(Bytes::from(form))
                .unwrap();
            let token: serde_json::Value = serde_json::from_slice(&self.ask(token).await).unwrap();
            let request = http::Request::builder()
                .method(method)
                .uri(format!("http://127.0.0.1/v1.0/users/ann@example.org{path}"))
                .header("authorization", format!("Bearer {}", token["access_token"].as_str().unwrap()))
                .header("content-type", "application/json")
                .body(Bytes::from(body.to_owned()))
                .unwrap();
            self.ask(request).await;
            self.clock.end(Duration::from_secs(1));
        });
    }

    async fn ask(&self, request: http::Request<Bytes>) -> Bytes {
        match self.mock.handle(request).await {
            Wire::Answered(response) => {
                assert!(response.status().is_success(), "{response:?}");
                response.into_body()
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_new_uidvalidity_stores_nothing_again_and_keeps_twins_two() {
    let desk = Desk::new(8);
    assert_eq!(desk.good().summary.stored, 9);
    let writes = desk.mock.writes();
    desk.source(|s| s.folder(ANN, "INBOX").epoch += 1);
    let second = desk.good();
    assert_eq!((second.summary.stored, second.summary.already), (0, 9));
    assert_eq!(desk.mock.writes(), writes, "nothing was written to the target");
    assert_eq!(desk.copies("Inbox").len(), 9);
    assert_eq!(desk.good().summary.already, 9, "and the third pass knows the new numbers");
}

#[test]
fn a_change_by_the_targets_user_outlives_a_new_uidvalidity() {
    let desk = Desk::new(3);
    desk.source(|s| s.folder(ANN, "INBOX").messages.values_mut().for_each(|m| m.flags.seen = true));
    desk.good();
    let id = desk.copies("Inbox")[2].id.clone();
    desk.at_target("PATCH", &format!("/messages/{id}"), r#"{"isRead":false}"#);
    desk.source(|s| s.folder(ANN, "INBOX").epoch += 1);
    desk.good();
    let unread = desk.copies("Inbox").iter().filter(|m| !m.is_read).count();
    assert_eq!(unread, 1, "what the user marked unread stays unread");
}

#[test]
fn a_message_that_vanished_and_came_back_under_its_uid_is_copied_again() {
    let desk = Desk::new(20);
    desk.good();
    let gone = desk.source(|s| s.folder(ANN, "INBOX").messages.remove(&5).unwrap());
    assert_eq!(desk.good().summary.removed, 1);
    assert_eq!(desk.copies("Inbox").len(), 20);
    desk.source(|s| s.folder(ANN, "INBOX").messages.insert(5, gone));
    assert_eq!(desk.good().summary.stored, 1);
    assert_eq!(desk.copies("Inbox").len(), 21);
}

#[test]
fn a_source_that_lists_little_where_much_was_removes_nothing_until_it_is_allowed() {
    let mut desk = Desk::new(29);
    desk.good();
    desk.source(|s| s.folder(ANN, "INBOX").messages.retain(|n, _| *n > 29));
    let second = desk.good();
    assert_eq!((second.summary.removed, desk.copies("Inbox").len()), (0, 30));
    assert_eq!(second.summary.verdict, "investigate");
    assert!(
        second.summary.reasons.iter().any(|r| r.contains("--allow-removals")),
        "{:?}",
        second.summary.reasons
    );
    desk.options.max_removed_percent = 100;
    assert_eq!(desk.good().summary.removed, 29);
    assert_eq!(desk.copies("Inbox").len(), 1);
}

#[test]
fn a_copy_its_user_changed_stays_when_the_original_goes_and_the_counts_agree() {
    let desk = Desk::new(12);
    desk.good();
    let copy = desk.copies("Inbox").into_iter().find(|m| m.flag == "notFlagged").unwrap();
    let number = stamp_number(&copy);
    desk.at_target("PATCH", &format!("/messages/{}", copy.id), r#"{"flag":{"flagStatus":"flagged"}}"#);
    desk.source(|s| s.folder(ANN, "INBOX").messages.remove(&number).unwrap());
    for _ in 0..2 {
        let later = desk.good();
        assert_eq!((later.summary.removed, desk.copies("Inbox").len()), (0, 13));
        assert!(["good", "perfect"].contains(&later.summary.verdict.as_str()), "{:?}", later.summary);
    }
}

/// The UID that the copy's stamp names.
fn stamp_number(copy: &MessageTruth) -> u64 {
    let stamp = copy.named.values().find(|v| v.starts_with("mw1.")).unwrap();
    let stamp: mailwave::model::Stamp = stamp.trim_end_matches("/done").parse().unwrap();
    stamp.number
}

#[test]
fn numbers_given_out_again_under_one_uidvalidity_are_noticed_before_anything_is_changed() {
    let desk = Desk::new(6);
    desk.good();
    let writes = desk.mock.writes();
    desk.source(|s| s.folder(ANN, "INBOX").next = 4);
    let error = desk.run().error.unwrap();
    assert_eq!(error.kind, Kind::Conflict);
    assert!(error.what.contains("UIDNEXT fell from 8 to 4"), "{error}");
    assert_eq!(desk.mock.writes(), writes);
}

#[test]
fn a_folder_that_cannot_be_renamed_at_the_target_gives_its_copies_to_the_new_one() {
    let desk = Desk::new(1);
    let mut mails = MailGen::new(9, "example.org");
    desk.source(|s| {
        for _ in 0..4 {
            let mail = mails.next();
            s.add(ANN, "Projekt", mail.octets, &mail.flags, mail.received);
        }
    });
    desk.good();
    // The target's user has made a folder of the new name in the meantime: the rename is refused.
    desk.source(|s| {
        let folder = s.0.get_mut(ANN).unwrap().remove("Projekt").unwrap();
        s.0.get_mut(ANN).unwrap().insert("Ablage".to_owned(), folder);
        s.add(ANN, "Ablage2", b"Subject: x\r\n\r\nx\r\n".to_vec(), &[], 0);
    });
    desk.at_target("POST", "/mailFolders", r#"{"displayName":"Ablage"}"#);
    let second = desk.good();
    assert_eq!(second.summary.stored, 1);
    assert_eq!(desk.copies("Ablage").len(), 4, "moved, not stored again");
    assert_eq!(desk.copies("Projekt").len(), 0);
    let writes = desk.mock.writes();
    desk.good();
    assert_eq!(desk.mock.writes(), writes);
}

#[test]
fn a_folder_its_user_removed_at_the_target_is_made_again_for_new_mail() {
    let desk = Desk::new(1);
    desk.source(|s| s.add(ANN, "Projekt", b"Subject: a\r\n\r\na\r\n".to_vec(), &[], 0));
    desk.good();
    let folder = desk.mock.truth().mailboxes["ann@example.org"].folders["Projekt"].id.clone();
    desk.at_target("DELETE", &format!("/mailFolders/{folder}"), "");
    desk.source(|s| s.add(ANN, "Projekt", b"Subject: b\r\n\r\nb\r\n".to_vec(), &[], 0));
    let second = desk.good();
    assert_eq!(second.summary.stored, 1);
    assert_eq!(desk.copies("Projekt").len(), 1);
    assert_eq!(
        second.summary.verdict, "poor",
        "the copy that went with the folder is missed: {:?}",
        second.summary
    );
}

/// A server with CONDSTORE or better.
const MODSEQ: Habits = Habits {
    counters: true,
    modseq: true,
    headers: false,
    objects: false,
    silent: false,
    fetches: 1,
    fails: (0, 0),
};

#[test]
fn a_pass_without_changes_lists_no_folder_and_fetches_nothing() {
    for habits in [MODSEQ, Habits { modseq: false, ..MODSEQ }] {
        let desk = Desk::offering(6, habits);
        desk.source(|s| {
            s.folder(ANN, "Empty");
        });
        let (first, asked) = desk.watched();
        assert_eq!(
            (first.summary.stored, asked.whole, asked.folders),
            (7, 1, 1),
            "an empty folder is not listed"
        );
        let (second, asked) = desk.watched();
        assert_eq!((second.summary.stored, second.summary.already), (0, 7));
        assert_eq!(asked, Asked { folders: 1, ..Asked::default() });
        let stale = second.summary.reasons.iter().filter(|r| r.contains("run --final")).count();
        assert_eq!(stale, usize::from(!habits.modseq), "{:?}", second.summary.reasons);
        assert_eq!(second.summary.verdict, first.summary.verdict, "stale flags cast no doubt on the copies");
    }
}

#[test]
fn only_what_changed_is_listed_and_all_of_it_is_mirrored() {
    let desk = Desk::offering(20, MODSEQ);
    desk.good();
    desk.source(|s| {
        s.expunge(ANN, "INBOX", 5);
        s.reflag(ANN, "INBOX", 7, |f| f.seen = !f.seen);
        s.add(ANN, "INBOX", b"Subject: new\r\n\r\nnew\r\n".to_vec(), &[], 1_700_000_000);
    });
    let (second, asked) = desk.watched();
    // The new one, the one flagged, and the newest known, which tells whether numbers are given out again.
    assert_eq!((asked.since, asked.whole, asked.lines, asked.bodies), (1, 0, 3, 1));
    let summary = &second.summary;
    assert_eq!((summary.stored, summary.removed, summary.reflagged), (1, 1, 1), "{summary:?}");
    assert_eq!(desk.copies("Inbox").len(), 21);
    assert_eq!(desk.watched().1, Asked { folders: 1, ..Asked::default() });
}

#[test]
fn without_modification_sequences_flags_wait_for_the_final_pass() {
    let mut desk = Desk::offering(9, Habits { modseq: false, ..MODSEQ });
    desk.source(|s| s.folder(ANN, "INBOX").messages.values_mut().for_each(|m| m.flags.seen = false));
    desk.good();
    desk.source(|s| {
        s.expunge(ANN, "INBOX", 2);
        s.reflag(ANN, "INBOX", 7, |f| f.seen = true);
        s.add(ANN, "INBOX", b"Subject: new\r\n\r\nnew\r\n".to_vec(), &[], 1_700_000_000);
    });
    let (second, asked) = desk.watched();
    assert_eq!((asked.since, asked.whole, asked.lines), (1, 0, 2), "the new one and the newest known");
    let summary = &second.summary;
    assert_eq!((summary.stored, summary.removed, summary.reflagged), (1, 1, 0), "{summary:?}");
    desk.options.final_pass = true;
    let (last, asked) = desk.watched();
    assert_eq!((asked.whole, last.summary.reflagged), (1, 1));
    assert_eq!(desk.copies("Inbox").iter().filter(|m| m.is_read).count(), 1);
    assert!(!last.summary.reasons.iter().any(|r| r.contains("--final")), "{:?}", last.summary.reasons);
}

#[test]
fn a_source_whose_changes_do_not_add_up_is_listed_whole() {
    let desk = Desk::offering(20, Habits { silent: true, ..MODSEQ });
    desk.good();
    desk.source(|s| s.expunge(ANN, "INBOX", 5));
    let (second, asked) = desk.watched();
    assert_eq!((asked.since, asked.whole, second.summary.removed), (1, 1, 1));
}

#[test]
fn removals_held_back_are_found_again_though_nothing_changed_since() {
    let mut desk = Desk::offering(29, MODSEQ);
    desk.good();
    desk.source(|s| (1..=20).for_each(|n| drop(s.expunge(ANN, "INBOX", n))));
    assert_eq!(desk.good().summary.removed, 0);
    desk.options.max_removed_percent = 100;
    assert_eq!(desk.good().summary.removed, 20);
    assert_eq!(desk.copies("Inbox").len(), 10);
    assert_eq!(desk.watched().1.whole, 0);
}

#[test]
fn a_folder_numbered_anew_is_recognised_by_its_headers_and_only_the_ambiguous_are_fetched() {
    let desk = Desk::offering(8, Habits { headers: true, ..MODSEQ });
    let like = |body: &str| format!("Subject: alike\r\nMessage-ID: <a@b>\r\n\r\n{body}\r\n").into_bytes();
    desk.source(|s| {
        s.add(ANN, "INBOX", like("this"), &[], 1_600_000_000);
        s.add(ANN, "INBOX", like("that"), &[], 1_600_000_000);
    });
    assert_eq!(desk.good().summary.stored, 11);
    let writes = desk.mock.writes();
    desk.source(|s| {
        let folder = s.folder(ANN, "INBOX");
        folder.epoch += 1;
        // Numbered in another order, too.
        let mails: Vec<_> = std::mem::take(&mut folder.messages).into_values().rev().collect();
        folder.messages = (101..).zip(mails).collect();
        folder.next = 200;
    });
    let (second, asked) = desk.watched();
    assert_eq!((second.summary.stored, second.summary.already, second.summary.removed), (0, 11, 0));
    assert_eq!((asked.headers, asked.bodies), (11, 2));
    assert_eq!(desk.mock.writes(), writes, "nothing was written to the target");
    assert_eq!(desk.copies("Inbox").len(), 11);
    let (third, asked) = desk.watched();
    assert_eq!((third.summary.already, asked), (11, Asked { folders: 1, ..Asked::default() }));
}

#[test]
fn flags_that_changed_with_the_numbers_are_synced() {
    let desk = Desk::offering(4, Habits { headers: true, ..MODSEQ });
    desk.source(|s| s.folder(ANN, "INBOX").messages.values_mut().for_each(|m| m.flags.seen = false));
    desk.good();
    desk.source(|s| {
        s.folder(ANN, "INBOX").epoch += 1;
        s.reflag(ANN, "INBOX", 4, |f| f.seen = true);
    });
    let (second, asked) = desk.watched();
    assert_eq!((second.summary.reflagged, asked.bodies), (1, 0));
    assert_eq!(desk.copies("Inbox").iter().filter(|m| m.is_read).count(), 1);
}

#[test]
fn a_moved_message_is_known_by_its_id_and_not_fetched() {
    let desk = Desk::offering(12, Habits { objects: true, ..MODSEQ });
    desk.source(|s| s.add(ANN, "Archive", b"Subject: old\r\n\r\nold\r\n".to_vec(), &[], 0));
    desk.good();
    desk.source(|s| {
        s.move_message(ANN, "INBOX", 6, "Archive");
        s.move_message(ANN, "INBOX", 1, "Archive"); // one of two twins
    });
    let (second, asked) = desk.watched();
    let summary = &second.summary;
    assert_eq!((summary.stored, summary.moved, summary.removed, asked.bodies), (0, 2, 0, 0), "{summary:?}");
    assert_eq!((desk.copies("Inbox").len(), desk.copies("Archive").len()), (11, 3));
    assert_eq!(desk.watched().1, Asked { folders: 1, ..Asked::default() });
}

#[test]
fn a_message_too_large_is_not_asked_for_again_until_the_limit_is_raised() {
    let mut desk = Desk::offering(3, MODSEQ);
    desk.options.max_message_bytes = 100_000;
    let large = [&b"Subject: large\r\n\r\n"[..], &b"0123456789abcdef\r\n".repeat(10_000)].concat();
    desk.source(|s| s.add(ANN, "INBOX", large, &[], 0));
    assert_eq!(desk.good().skipped, 1);
    let (second, asked) = desk.watched();
    assert_eq!((second.skipped, asked), (1, Asked { folders: 1, ..Asked::default() }));
    desk.options.max_message_bytes = 1 << 20;
    let (third, asked) = desk.watched();
    assert_eq!((third.summary.stored, third.skipped, asked.lines), (1, 0, 1));
}

#[test]
fn a_number_that_names_another_message_is_noticed_before_anything_is_changed() {
    let desk = Desk::offering(6, MODSEQ);
    desk.good();
    let writes = desk.mock.writes();
    desk.source(|s| {
        s.reflag(ANN, "INBOX", 7, |f| f.seen = true);
        let mail = s.folder(ANN, "INBOX").messages.get_mut(&7).unwrap();
        mail.octets = b"Subject: another\r\n\r\nanother\r\n".to_vec();
        mail.received = mailwave::model::Timestamp::utc(1_234_567_890);
    });
    let error = desk.run().error.unwrap();
    assert_eq!(error.kind, Kind::Conflict);
    assert!(error.what.contains("message 7 has another size and date"), "{error}");
    assert_eq!(desk.mock.writes(), writes);
}

#[test]
fn as_many_fetches_are_under_way_as_the_source_allows() {
    for fetches in [1, 3] {
        let desk = Desk::offering(120, Habits { fetches, ..MODSEQ });
        let (first, asked) = desk.watched();
        assert_eq!((first.summary.stored, asked.bodies), (121, 121));
        assert_eq!(asked.fetching, (0, fetches));
        assert_eq!(desk.copies("Inbox").len(), 121);
    }
}

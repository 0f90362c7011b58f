//! Write mode `import-stream`: items as opaque streams, exactly once, whatever is cut; and its secret stays one.

use mailwave::mock::graph::{Fault, FaultScript, Latency, Sizes, When};
use mailwave::model::{Kind, Scope, WriteMode};
use mailwave::target::CopyRef;

use super::trials::{cut_after, once, rule, settle, store_with};
use super::*;

const STAGING: &str = "mailwave staging";
const OUTLOOK: &str = "https://outlook.test";

pub fn importing() -> GraphOptions {
    GraphOptions { import_export: true, upload_base_url: Some(OUTLOOK.into()), ..GraphOptions::default() }
}

fn streams() -> GraphSettings {
    GraphSettings {
        modes: vec![WriteMode::ImportStream, WriteMode::Json],
        import_hosts: vec!["outlook.test".into()],
        ..settings()
    }
}

/// A stream as a store exports it, that no mock has made.
pub fn stream(class: &str, subject: &str) -> Vec<u8> {
    let mut out = vec![1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 24, 0, 0, 0];
    out.extend_from_slice(&[7; 16]);
    out.extend_from_slice(&[0xc0, 0, 0, 0, 0, 0, 0, 0x46]);
    for (tag, text) in [(0x001A_001F_u32, class), (0x0037_001F, subject)] {
        let octets: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&u32::try_from(octets.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&octets);
    }
    out
}

fn piece(number: u64, class: &str) -> StoreItem {
    StoreItem {
        form: Form::Stream { class: class.into() },
        received: None,
        ..item(number, &stream(class, &format!("private {number}")), "FS")
    }
}

fn digest(item: &StoreItem) -> String {
    blake3::hash(&item.body.bytes().unwrap()).to_hex().to_string()
}

/// The stamp a message says is done.
fn stamped(m: &MessageTruth) -> Option<u64> {
    let done = m.named.values().find_map(|v| v.strip_suffix("/done"))?;
    Some(done.parse::<Stamp>().expect("one of ours").number)
}

fn staged(desk: &Desk) -> Vec<MessageTruth> {
    desk.truth().folders.remove(STAGING).map(|f| f.messages).unwrap_or_default()
}

/// One whole copy each, in its folder, and nothing else anywhere but in staging.
#[track_caller]
fn one_whole_copy_each(desk: &Desk, numbers: std::ops::RangeInclusive<u64>, context: &str) {
    let mut found = Vec::new();
    for (path, folder) in desk.truth().folders {
        if path == STAGING {
            assert!(folder.hidden);
            continue;
        }
        for m in folder.messages {
            assert_eq!(path, "Work", "{context}");
            let number = stamped(&m).unwrap_or_else(|| panic!("without a stamp outside: {context}"));
            assert_eq!(m.stream_digest.as_deref(), Some(digest(&piece(number, "IPM.Note")).as_str()));
            found.push(number);
        }
    }
    found.sort_unstable();
    assert_eq!(found, numbers.collect::<Vec<u64>>(), "{context}");
}

/// No secret is told.
#[track_caller]
fn tells_nothing(told: &impl std::fmt::Debug) {
    let told = format!("{told:?}");
    for word in ["authtoken", "importItem", "outlook.test", "MBX:"] {
        assert!(!told.contains(word), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn items_are_imported_stamped_and_moved_by_few_requests_without_a_token_on_the_other_host() {
    for (immutable, created) in [(false, false), (true, true)] {
        let desk = Desk::new(GraphOptions {
            import_answers_immutable: immutable,
            import_session_created: created,
            ..importing()
        });
        let (mailbox, gate) = desk.open(streams()).await;
        assert!(mailbox.capabilities().streams);
        let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
        desk.sent();
        let classes = ["IPM.Note", "IPM.Note.SMIME", "REPORT.IPM.Note.NDR", "IPM.Schedule.Meeting.Request"];
        let items: Vec<StoreItem> = (1..=20).map(|n| piece(n, classes[n as usize % 4])).collect();
        let outcomes = store(&mailbox, &gate, &folder, items.clone()).await;
        tells_nothing(&(&outcomes, &desk.sent().len()));
        let truth = desk.truth();
        let work = &truth.folders["Work"].messages;
        assert_eq!(work.len(), 20);
        for ((item, id), outcome) in items.iter().zip(ids(&outcomes)).zip(&outcomes) {
            let m = work.iter().find(|m| m.immutable_id == id).expect("by its lasting id");
            assert!(
                matches!(outcome, Outcome::Stored { mode: WriteMode::ImportStream, losses, .. } if losses.is_empty())
            );
            assert_eq!((stamped(m), m.stream_digest.clone()), (Some(item.stamp.number), Some(digest(item))));
            assert_eq!(Form::Stream { class: m.class.clone() }, item.form);
            let octets = mailbox.export(&CopyRef { folder: folder.clone(), id }).await.expect("an export");
            assert_eq!((octets.octets, octets.class), (item.body.bytes().unwrap(), m.class.clone()));
        }
        assert!(staged(&desk).is_empty());
        let found = mailbox.find(&all_stamps()).await.expect("complete");
        assert!(found.len() == 20 && found.iter().all(|c| c.complete && c.folder == folder));
        desk.check();

        desk.sent();
        let again = (21..=40).map(|n| piece(n, "IPM.Note")).collect();
        ids(&store(&mailbox, &gate, &folder, again).await);
        let sent = desk.sent();
        assert_eq!(sent.len(), 22, "20 imports, a batch of stamps, a batch of moves: {sent:?}");
        for one in &sent {
            let there = one.url.starts_with(OUTLOOK);
            assert_eq!(one.authorization.is_empty(), there, "a token goes to the service alone");
        }
        assert_eq!(desk.mock.counters().import_sessions, 1);
        desk.check();
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_exported_comes_back_as_it_was() {
    let desk = Desk::new(importing());
    let (mailbox, gate) = desk.open(streams()).await;
    let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
    let stored = store(&mailbox, &gate, &folder, vec![item(1, &plain(1), "FRS work")]).await;
    let first = CopyRef { folder: folder.clone(), id: ids(&stored).remove(0) };
    let (before, whole) =
        (mailbox.read_back(&first).await.expect("read"), mailbox.export(&first).await.expect("export"));
    assert_eq!(whole.class, "IPM.Note");
    tells_nothing(&before);
    assert!(mailbox.remove(&[first]).await.iter().all(Result::is_ok));
    let piece = StoreItem { form: Form::Stream { class: whole.class }, ..item(2, &whole.octets, "") };
    let stored = store(&mailbox, &gate, &folder, vec![piece]).await;
    let second = CopyRef { folder, id: ids(&stored).remove(0) };
    let after = mailbox.read_back(&second).await.expect("read");
    assert_eq!((after.octets, after.received, after.flags), (before.octets, before.received, before.flags));
    let found = mailbox.find(&all_stamps()).await.expect("complete");
    assert_eq!(
        found.iter().map(|c| (c.stamp.number, c.complete)).collect::<Vec<_>>(),
        [(2, true)],
        "the new stamp"
    );
    desk.check();
}

#[tokio::test(start_paused = true)]
async fn items_that_are_no_messages_are_refused_and_leave_nothing() {
    let desk = Desk::new(importing());
    let (mailbox, gate) = desk.open(streams()).await;
    let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
    let known =
        ["IPM.Contact", "IPM.Contact.Own", "ipm.appointment", "IPM.Task", "IPM.DistList", "IPM.StickyNote"];
    desk.sent();
    let items = known.iter().zip(1..).map(|(class, n)| piece(n, class)).collect();
    for outcome in store(&mailbox, &gate, &folder, items).await {
        assert!(matches!(&outcome, Outcome::Refused(e) if e.remedy.contains("PST")), "{outcome:?}");
    }
    assert!(desk.sent().iter().all(|s| !s.url.contains("importItem")), "nothing of them is sent");
    // One that nobody knows beforehand, between two that go.
    let items = vec![piece(11, "IPM.Note"), piece(12, "IPM.Foo"), piece(13, "IPM.Note")];
    let outcomes = store(&mailbox, &gate, &folder, items).await;
    assert!(matches!(&outcomes[1], Outcome::Refused(e) if e.kind == Kind::Refused), "{outcomes:?}");
    assert!(matches!((&outcomes[0], &outcomes[2]), (Outcome::Stored { .. }, Outcome::Stored { .. })));
    assert!(staged(&desk).is_empty());
    assert_eq!(desk.truth().folders["Work"].messages.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn mail_goes_by_another_mode_and_streams_by_no_other() {
    let desk = Desk::new(importing());
    let (mailbox, gate) = desk.open(streams()).await;
    let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
    let outcomes = store(&mailbox, &gate, &folder, vec![item(1, &plain(1), ""), piece(2, "IPM.Note")]).await;
    let how = |o: &Outcome| if let Outcome::Stored { mode, .. } = o { Some(*mode) } else { None };
    assert_eq!(
        outcomes.iter().map(how).collect::<Vec<_>>(),
        [Some(WriteMode::Json), Some(WriteMode::ImportStream)]
    );
    for (modes, item, word) in [
        (vec![WriteMode::Json], piece(3, "IPM.Note"), "import-stream"),
        (vec![WriteMode::ImportStream], item(3, &plain(3), ""), "json"),
    ] {
        let (mailbox, gate) = desk.open(GraphSettings { modes, ..streams() }).await;
        let outcomes = store(&mailbox, &gate, &folder, vec![item]).await;
        assert!(matches!(&outcomes[0], Outcome::Refused(e) if e.remedy.contains(word)), "{outcomes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_poisoned_item_is_refused_and_a_full_mailbox_is_parked() {
    let desk = Desk::new(importing());
    let (mailbox, gate) = desk.open(streams()).await;
    let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
    let mut items: Vec<StoreItem> = (1..=3).map(|n| piece(n, "IPM.Note")).collect();
    items[1].body = Body::from_bytes(Bytes::from_static(b"no stream"));
    let outcomes = store(&mailbox, &gate, &folder, items).await;
    assert!(matches!(&outcomes[1], Outcome::Refused(e) if e.scope == Scope::Message), "{outcomes:?}");
    assert_eq!(desk.truth().folders["Work"].messages.len(), 2);

    let sizes = Sizes { mailbox: 10, ..Sizes::default() };
    let desk = Desk::new(GraphOptions { sizes, ..importing() });
    let (mailbox, gate) = desk.open(streams()).await;
    let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
    let outcomes = store(&mailbox, &gate, &folder, vec![piece(1, "IPM.Note"), piece(2, "IPM.Note")]).await;
    for outcome in &outcomes {
        assert!(matches!(outcome, Outcome::NotSent(e) if e.kind == Kind::Quota), "{outcomes:?}");
    }
    assert_eq!(desk.mock.counters().imports, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_named_and_mail_goes_on() {
    let missing = GraphOptions { import_export: false, ..importing() };
    let national = GraphOptions { global_cloud: false, ..importing() };
    for (options, offered, word) in
        [(missing, true, "MailboxItem.ImportExport.All"), (national, false, "national clouds")]
    {
        let desk = Desk::new(options);
        let (mailbox, gate) = desk.open(streams()).await;
        assert_eq!(mailbox.capabilities().streams, offered, "the role shows only when it is used");
        let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
        let outcomes =
            store(&mailbox, &gate, &folder, vec![piece(1, "IPM.Note"), piece(2, "IPM.Note")]).await;
        for outcome in &outcomes {
            assert!(
                matches!(outcome, Outcome::NotSent(e) if e.scope == Scope::Mailbox && e.remedy.contains(word)),
                "{outcomes:?}"
            );
        }
        tells_nothing(&outcomes);
        ids(&store(&mailbox, &gate, &folder, vec![item(3, &plain(3), "")]).await);
        let mixed = vec![piece(4, "IPM.Note"), item(5, &plain(5), "")];
        let outcomes = store(&mailbox, &gate, &folder, mixed).await;
        assert!(
            matches!((&outcomes[0], &outcomes[1]), (Outcome::NotSent(_), Outcome::Stored { .. })),
            "{outcomes:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn items_are_sent_to_no_other_host_than_those_allowed() {
    let desk = Desk::new(importing());
    let elsewhere = GraphSettings { import_hosts: vec!["outlook.example".into()], ..streams() };
    let (mailbox, gate) = desk.open(elsewhere).await;
    let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
    let outcomes = store(&mailbox, &gate, &folder, vec![piece(1, "IPM.Note")]).await;
    assert!(matches!(&outcomes[0], Outcome::NotSent(e) if e.kind == Kind::Protocol), "{outcomes:?}");
    tells_nothing(&(&outcomes, &mailbox.capabilities()));
    assert!(desk.sent().iter().all(|s| !s.url.starts_with(OUTLOOK)));
    assert_eq!(desk.mock.counters().imports, 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_opened_once_for_all_lanes_and_renewed_when_it_ends() {
    for status in [401, 403, 404, 410] {
        let options = GraphOptions {
            import_expired_status: status,
            latency: Latency { base_ms: 1_000, ..Latency::default() },
            sizes: Sizes { import_seconds: 600, ..Sizes::default() },
            ..importing()
        };
        let desk = Desk::new(options);
        let (mailbox, gate) = desk.open(streams()).await;
        let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
        let items = |from: u64| (from..from + 4).map(|n| piece(n, "IPM.Note")).collect::<Vec<_>>();
        let lanes = tokio::join!(
            store(&mailbox, &gate, &folder, items(1)),
            store(&mailbox, &gate, &folder, items(5)),
            store(&mailbox, &gate, &folder, items(9)),
        );
        for outcomes in [&lanes.0, &lanes.1, &lanes.2] {
            ids(outcomes);
        }
        assert_eq!(desk.mock.counters().import_sessions, 1, "single flight");
        // It is renewed before its end.
        tokio::time::sleep(Duration::from_secs(560)).await;
        ids(&store(&mailbox, &gate, &folder, items(13)).await);
        assert_eq!(desk.mock.counters().import_sessions, 2);
        // And when it ends earlier than it said, in the middle of a batch.
        let storing = store(&mailbox, &gate, &folder, items(17));
        let ending = async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            desk.mock.end_import_sessions();
        };
        let (outcomes, ()) = tokio::join!(storing, ending);
        ids(&outcomes);
        assert_eq!(desk.mock.counters().import_sessions, 3);
        one_whole_copy_each(&desk, 1..=20, &format!("{status}"));
        assert!(staged(&desk).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_never_taken_ends_the_batch_and_is_told_by_its_role() {
    let desk = Desk::new(importing());
    let (mailbox, gate) = desk.open(streams()).await;
    let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
    let denied = Fault::Status { status: 401, retry_after: None };
    let never = rule("POST", "/importItem", When::Always, denied);
    desk.mock.faults(FaultScript { seed: 1, rules: vec![never] });
    let outcomes = store(&mailbox, &gate, &folder, vec![piece(1, "IPM.Note"), piece(2, "IPM.Note")]).await;
    for outcome in &outcomes {
        assert!(
            matches!(outcome, Outcome::NotSent(e) if e.kind == Kind::Denied && e.remedy.contains("MailboxItem"))
        );
    }
    tells_nothing(&outcomes);
    assert_eq!(desk.mock.fault_counts()["it"], 2, "tried twice, and not with every item");
}

#[tokio::test(start_paused = true)]
async fn an_export_that_was_cut_is_no_export() {
    let desk = Desk::new(GraphOptions { cut_exports: true, ..importing() });
    let (mailbox, gate) = desk.open(streams()).await;
    let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
    let stored = store(&mailbox, &gate, &folder, vec![item(1, &plain(1), "")]).await;
    let copy = CopyRef { folder, id: ids(&stored).remove(0) };
    let error = mailbox.export(&copy).await.expect_err("cut");
    assert!(error.may_pass() && error.what.contains("cut"), "{error:?}");
    assert!(mailbox.remove(std::slice::from_ref(&copy)).await.iter().all(Result::is_ok));
    assert_eq!(mailbox.export(&copy).await.expect_err("gone").kind, Kind::NotFound);
}

/// What is left in staging is removed by whoever opens the mailbox later.
async fn tidied(desk: &Desk, context: &str) {
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    desk.open(streams()).await;
    assert!(staged(desk).is_empty(), "{context}");
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_with_one_request_every_item_ends_with_one_whole_copy() {
    let faults = [
        Fault::Status { status: 429, retry_after: Some(2) },
        Fault::Status { status: 503, retry_after: None },
        Fault::Status { status: 500, retry_after: None },
        Fault::Status { status: 401, retry_after: None },
        Fault::Status { status: 404, retry_after: None },
        Fault::DoneBut { status: 504, retry_after: None },
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::LateCommit { after_ms: 3_000, gateway_timeout: true },
        Fault::LateCommit { after_ms: 3_000, gateway_timeout: false },
        Fault::EmptyBody,
        Fault::HtmlBody,
        Fault::Lost,
        Fault::Truncated { keep: 20 },
    ];
    for fault in faults {
        for (method, path, nth) in [
            ("POST", "/mailFolders", 1),
            ("POST", "/createImportSession", 1),
            ("POST", "/importItem", 1),
            ("POST", "/importItem", 3),
            ("PATCH", "/messages/", 2),
            ("POST", "/move", 2),
        ] {
            let desk = Desk::new(importing());
            let items: Vec<StoreItem> = (1..=6).map(|n| piece(n, "IPM.Note")).collect();
            let (context, outcomes) = store_with(&desk, streams, &items, (method, path, nth), &fault).await;
            tells_nothing(&outcomes);
            one_whole_copy_each(&desk, 1..=6, &context);
            tidied(&desk, &context).await;
            one_whole_copy_each(&desk, 1..=6, &context);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_import_that_arrives_late_stays_in_staging_and_is_swept() {
    let desk = Desk::new(importing());
    let (mailbox, gate) = desk.open(streams()).await;
    let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
    let late = Fault::LateCommit { after_ms: 1_800_000, gateway_timeout: true };
    desk.mock.faults(once("POST", "/importItem", 1, late));
    let outcomes = store(&mailbox, &gate, &folder, vec![piece(1, "IPM.Note")]).await;
    assert!(matches!(&outcomes[0], Outcome::Unknown(_)), "{outcomes:?}");
    settle(&desk, streams(), &folder, &piece(1, "IPM.Note")).await;
    tokio::time::sleep(Duration::from_secs(1_900)).await;
    assert_eq!(staged(&desk).len(), 1, "it is there, and unstamped");
    // Who opens the mailbox now must not touch it: another process could be at work on it.
    let (other, _) = desk.open(streams()).await;
    assert_eq!(staged(&desk).len(), 1);
    assert_eq!(other.find(&all_stamps()).await.expect("complete").len(), 1);
    one_whole_copy_each(&desk, 1..=1, "late");
    tidied(&desk, "late").await;
}

#[tokio::test(start_paused = true)]
async fn a_sweep_in_one_lane_does_not_take_what_others_are_at_work_on() {
    let options =
        GraphOptions { latency: Latency { base_ms: 300, jitter_ms: 400, per_mib_ms: 0 }, ..importing() };
    let desk = Desk::new(options);
    // Two mailboxes of the list merged into one, and two lanes each.
    let target = desk.target(streams());
    let gate = Gate::unlimited(&desk.env);
    let (one, two) =
        (target.open(ANN, "", gate.clone()).await, target.open("Ann@Example.org", "", gate.clone()).await);
    let (one, two) = (one.expect("opens"), two.expect("opens"));
    let folder = one.folder(&wanted(&["Work"])).await.expect("a folder");
    desk.mock.faults(once("POST", "/importItem", 4, Fault::ResetAfter));
    let items = |from: u64| (from..from + 5).map(|n| piece(n, "IPM.Note")).collect::<Vec<_>>();
    let lane = |mailbox: &Arc<dyn TargetMailbox>, from: u64| {
        let (mailbox, gate, folder) = (mailbox.clone(), gate.clone(), folder.clone());
        async move {
            let outcomes = mailbox.store(&folder, items(from), gate.lookup()).await;
            mailbox.find(&all_stamps()).await.expect("complete");
            outcomes
        }
    };
    let lanes = tokio::join!(lane(&one, 1), lane(&two, 6));
    let all: Vec<(u64, &Outcome)> = (1..).zip(lanes.0.iter().chain(&lanes.1)).collect();
    let unknown: Vec<u64> =
        all.iter().filter(|(_, o)| !matches!(o, Outcome::Stored { .. })).map(|(n, _)| *n).collect();
    assert_eq!(unknown.len(), 1, "{all:?}");
    assert!(staged(&desk).is_empty(), "whoever came out last has swept");
    settle(&desk, streams(), &folder, &piece(unknown[0], "IPM.Note")).await;
    one_whole_copy_each(&desk, 1..=10, "lanes");
}

#[tokio::test(start_paused = true)]
async fn a_cut_before_any_request_leaves_what_can_be_found_and_finished() {
    let (mut ended, mut incomplete) = (0, 0);
    for steps in 1..50 {
        let desk = Desk::new(importing());
        let (mailbox, _) = desk.open(streams()).await;
        let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
        drop(mailbox);
        let items: Vec<StoreItem> = (1..=3).map(|n| piece(n, "IPM.Note")).collect();
        ended += usize::from(cut_after(steps, &desk, streams(), &folder, &items).await);
        // Also where the mode was taken out of the settings meanwhile, nothing in staging counts as a copy.
        let without = GraphSettings { modes: vec![WriteMode::Json], ..streams() };
        let (other, _) = desk.open(without).await;
        let staging = desk.truth().folders.get(STAGING).map(|f| f.id.clone());
        for copy in other.find(&all_stamps()).await.expect("complete") {
            assert_eq!(copy.complete, Some(&copy.folder.0) != staging.as_ref(), "cut after {steps}");
            incomplete += usize::from(!copy.complete);
        }
        for item in &items {
            settle(&desk, streams(), &folder, item).await;
        }
        let context = format!("cut after {steps}");
        one_whole_copy_each(&desk, 1..=3, &context);
        tidied(&desk, &context).await;
    }
    assert!((1..40).contains(&ended), "some were cut and some were not: {ended}");
    assert!(incomplete > 0, "some were cut between stamp and move");
}

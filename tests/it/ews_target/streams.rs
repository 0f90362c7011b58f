//! Items of any class as streams, against a server in trouble and cut before every effect: whatever happens, each item is
//! there once in the end, stamped, and nothing is left over where nobody sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mailwave::env::{Env, Step};
use mailwave::limit::Gate;
use mailwave::mock::ews::{Busy, EwsOptions, Fault, FaultRule, FaultScript, When};
use mailwave::model::{Body, Form, Outcome, StampPrefix, WriteMode};
use mailwave::target::{CopyRef, StoreItem, TargetFolderId, TargetMailbox};

use crate::contract_target::ews::EwsHarness;
use crate::contract_target::{TargetHarness, id, item, open, stamp, store, wanted};
use crate::trial::Observer;

const STEPS: [&str; 3] = ["UploadItems", "UpdateItem", "MoveItem"];

/// An item of somebody's store as a stream: framed as Exchange frames it, with a class and a subject.
fn stream(number: u64) -> Vec<u8> {
    let mut out = vec![1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 24, 0, 0, 0];
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&[0xc0, 0, 0, 0, 0, 0, 0, 0x46]);
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    for (tag, octets) in
        [(0x001A_001F_u32, wide("IPM.Contact")), (0x0037_001F, wide(&format!("number {number}")))]
    {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&u32::try_from(octets.len()).expect("small").to_le_bytes());
        out.extend_from_slice(&octets);
    }
    out
}

fn streams(numbers: impl IntoIterator<Item = u64>) -> Vec<StoreItem> {
    let form = Form::Stream { class: "IPM.Contact".to_owned() };
    numbers
        .into_iter()
        .map(|n| StoreItem { form: form.clone(), ..item(1, n, &stream(n), "", None) })
        .collect()
}

/// Stores until all are stored, as the engine does: an unknown outcome is looked up first, what is not finished is
/// removed. `refused`: the server refuses some once.
async fn until_stored(
    harness: &EwsHarness,
    mailbox: &Arc<dyn TargetMailbox>,
    folder: &TargetFolderId,
    mut todo: Vec<StoreItem>,
    refused: bool,
    name: &str,
) {
    for round in 0..40 {
        if todo.is_empty() {
            return;
        }
        assert!(round < 39, "{name}: does not end");
        let outcomes = store(harness, mailbox, folder, todo.clone()).await;
        assert_eq!(outcomes.len(), todo.len(), "{name}: exactly one outcome per item");
        let (mut again, mut wait) = (Vec::new(), Duration::ZERO);
        for (one, outcome) in todo.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Stored { id, mode, .. } => {
                    assert!(!id.is_empty() && mode == WriteMode::ImportStream, "{name}");
                }
                Outcome::Refused(error) => {
                    assert!(refused, "{name}: {error}");
                    again.push(one);
                }
                Outcome::NotSent(error) => {
                    assert!(error.may_pass(), "{name}: {error}");
                    wait = wait.max(error.retry_after.unwrap_or_default());
                    again.push(one);
                }
                Outcome::Unknown(error) => {
                    assert!(error.may_pass(), "{name}: {error}");
                    while harness.mock.truth().pending > 0 {
                        harness.env().sleep(Duration::from_millis(5)).await;
                    }
                    if !settled(mailbox, &one, name).await {
                        again.push(one);
                    }
                }
            }
        }
        harness.env().sleep(wait).await;
        todo = again;
    }
}

/// Is a whole copy there? What is not finished is removed.
async fn settled(mailbox: &Arc<dyn TargetMailbox>, one: &StoreItem, name: &str) -> bool {
    let found = mailbox.find(&StampPrefix::exactly(&one.stamp)).await.expect("find");
    let (whole, rest): (Vec<_>, Vec<_>) = found.into_iter().partition(|copy| copy.complete);
    assert!(whole.len() <= 1, "{name}: twice");
    let rest: Vec<CopyRef> = rest.iter().map(mailwave::target::Copy::to_ref).collect();
    assert!(mailbox.remove(&rest).await.iter().all(Result::is_ok), "{name}");
    !whole.is_empty()
}

/// Each item lies in the inbox once, with its stamp and its octets; nothing lies anywhere else.
fn whole(harness: &EwsHarness, numbers: impl IntoIterator<Item = u64>, name: &str) {
    let mut held = BTreeMap::new();
    for (path, message) in harness.messages() {
        assert_eq!((path.as_str(), message.class.as_str()), ("Inbox", "IPM.Contact"), "{name}: left over");
        let stamps: Vec<String> = message.named.values().flatten().cloned().collect();
        assert_eq!(stamps.len(), 1, "{name}");
        let twin = held.insert(stamps[0].clone(), message.stream_digest.expect("a stream"));
        assert!(twin.is_none(), "{name}: twice");
    }
    let digest = |n| blake3::hash(&stream(n)).to_hex().to_string();
    let meant: BTreeMap<_, _> =
        numbers.into_iter().map(|n| (format!("{}/done", stamp(1, n)), digest(n))).collect();
    assert!(held == meant, "{name}: {} of {}", held.len(), meant.len());
}

async fn trouble(operation: &str, name: &str, fault: Fault) -> u64 {
    let harness = EwsHarness::in_process(EwsOptions::default(), false);
    let mailbox = open(&harness, "").await;
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    let rule = FaultRule {
        name: name.to_owned(),
        operation: operation.to_owned(),
        mailbox: String::new(),
        when: When::Nth(vec![1, 3]),
        at_most: 0,
        fault,
    };
    harness.mock.faults(FaultScript { seed: 7, rules: vec![rule] });
    let name = format!("{operation}, {name}");
    until_stored(&harness, &mailbox, &inbox, streams(1..=7), name.contains("item"), &name).await;
    let fired: u64 = harness.mock.fault_counts().values().sum();
    mailbox.release().await;
    whole(&harness, 1..=7, &name);
    harness.check_confined().await;
    fired
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_at_each_of_the_three_requests_each_item_is_there_once() {
    let code = |code: &str| code.to_owned();
    for operation in STEPS {
        for (name, fault) in [
            ("reset before", Fault::ResetBefore),
            ("reset after", Fault::ResetAfter),
            ("reset after some", Fault::ResetAfterItems { items: 3 }),
            ("late commit", Fault::LateCommit { after_ms: 20, gateway_timeout: false }),
            ("gateway timeout", Fault::LateCommit { after_ms: 20, gateway_timeout: true }),
            ("done but 504", Fault::DoneBut { status: 504, retry_after: None }),
            ("done but timeout", Fault::DoneButSoap { code: code("ErrorTimeoutExpired") }),
            ("503", Fault::Status { status: 503, retry_after: Some(0) }),
            ("500", Fault::Status { status: 500, retry_after: None }),
            ("transient", Fault::Soap { code: code("ErrorInternalServerTransientError") }),
            ("stopped", Fault::Stopped { after: 4 }),
            ("stopped at once", Fault::Stopped { after: 0 }),
            ("item not saved", Fault::Item { number: 3, code: code("ErrorItemSave") }),
            ("item in doubt", Fault::Item { number: 2, code: code("ErrorInternalServerError") }),
            ("empty", Fault::EmptyBody),
            ("web page", Fault::HtmlBody),
            ("truncated", Fault::Truncated { keep: 600 }),
            ("lost write", Fault::Lost),
            ("busy fault", Fault::Busy { envelope: Busy::Fault, wait_ms: Some(10) }),
            ("busy message", Fault::Busy { envelope: Busy::Message, wait_ms: Some(10) }),
            ("busy wrapped", Fault::Busy { envelope: Busy::Wrapped, wait_ms: Some(10) }),
            ("busy for long", Fault::Busy { envelope: Busy::Wrapped, wait_ms: Some(90_000) }),
            ("busy unavailable", Fault::Busy { envelope: Busy::Unavailable, wait_ms: None }),
        ] {
            assert!(trouble(operation, name, fault).await >= 1, "{operation}, {name} fired");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_folder_of_imports_is_made_once_whatever_goes_wrong_with_it() {
    for operation in ["FindFolder", "CreateFolder", "FindItem"] {
        for (name, fault) in [
            ("reset before", Fault::ResetBefore),
            ("reset after", Fault::ResetAfter),
            ("late commit", Fault::LateCommit { after_ms: 20, gateway_timeout: true }),
            ("500", Fault::Status { status: 500, retry_after: None }),
            ("busy", Fault::Busy { envelope: Busy::Message, wait_ms: Some(10) }),
        ] {
            assert!(trouble(operation, name, fault).await >= 1, "{operation}, {name} fired");
        }
    }
}

/// The world ends before the `cut`-th effect; another process comes. The kind of step it was cut at.
async fn cut(cut: u64, earlier: bool) -> Option<Step> {
    let harness = EwsHarness::in_process(EwsOptions::default(), false);
    if earlier {
        // The folder of imports is there, with something left over in it.
        let mailbox = open(&harness, "").await;
        let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
        let rule = FaultRule {
            name: "lost".to_owned(),
            operation: "UploadItems".to_owned(),
            mailbox: String::new(),
            when: When::Always,
            at_most: 1,
            fault: Fault::ResetAfter,
        };
        harness.mock.faults(FaultScript { seed: 7, rules: vec![rule] });
        let outcomes = store(&harness, &mailbox, &inbox, streams(4..=4)).await;
        assert!(matches!(&outcomes[..], [Outcome::Unknown(_)]));
    }
    let observer = Observer::new(Some(cut));
    let env = Env::simulated(7, 1_700_000_000_000, observer.clone());
    let first = async {
        let gate = Gate::unlimited(&env);
        let mailbox = harness.within(&env).open(&harness.mailbox(), "", gate.clone()).await.expect("open");
        let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
        let outcomes = mailbox.store(&inbox, streams(1..=3), gate.lookup()).await;
        assert!(outcomes.iter().all(|o| matches!(o, Outcome::Stored { .. })), "{outcomes:?}");
        mailbox.release().await;
    };
    tokio::select! {
        biased;
        () = observer.frozen() => {}
        () = first => {}
    }
    // Only a search is sure to be done before anything is stored.
    let mailbox = open(&harness, "").await;
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    let mut todo = Vec::new();
    for one in streams(1..=3) {
        if !settled(&mailbox, &one, &format!("cut {cut}")).await {
            todo.push(one);
        }
    }
    until_stored(&harness, &mailbox, &inbox, todo, false, &format!("cut {cut}")).await;
    mailbox.release().await;
    whole(&harness, 1..=3, &format!("cut {cut}, earlier {earlier}"));
    harness.check_confined().await;
    observer.cut_at()
}

#[tokio::test(start_paused = true)]
async fn cut_before_every_effect_each_item_is_there_once_after_another_run() {
    for earlier in [false, true] {
        let mut kinds = BTreeSet::new();
        for number in 1.. {
            assert!(number < 100, "it ends");
            match self::cut(number, earlier).await {
                Some(kind) => kinds.insert(kind),
                None => break,
            };
        }
        for step in [Step::TargetFolder, Step::TargetFind, Step::TargetStore, Step::TargetStorePart] {
            assert!(kinds.contains(&step), "{step:?} was cut");
        }
        assert!(kinds.contains(&Step::TargetStoreDone) && kinds.contains(&Step::TargetAnswer));
        assert_eq!(kinds.contains(&Step::TargetRemove), earlier);
    }
}

#[tokio::test]
async fn lanes_side_by_side_do_not_take_each_others_imports_for_left_over() {
    for seed in [1, 2, 3] {
        let mut options = EwsOptions { seed, ..EwsOptions::default() };
        options.latency.base_ms = 1;
        options.latency.jitter_ms = 4;
        let harness = EwsHarness::in_process(options, false);
        let mailbox = open(&harness, "").await;
        let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
        let rule = |operation: &str, fault| FaultRule {
            name: operation.to_owned(),
            operation: operation.to_owned(),
            mailbox: String::new(),
            when: When::PerMille(200),
            at_most: 0,
            fault,
        };
        let rules = vec![
            rule("UploadItems", Fault::ResetAfter),
            rule("UpdateItem", Fault::Status { status: 500, retry_after: None }),
            rule("MoveItem", Fault::ResetAfter),
        ];
        harness.mock.faults(FaultScript { seed, rules });
        let name = format!("seed {seed}");
        let lane = |lane: u64| {
            let (harness, mailbox, inbox, name) = (&harness, &mailbox, &inbox, &name);
            async move {
                for batch in 0..4 {
                    let first = lane * 100 + batch * 10;
                    until_stored(harness, mailbox, inbox, streams(first..first + 4), false, name).await;
                }
            }
        };
        tokio::join!(lane(1), lane(2), lane(3));
        mailbox.release().await;
        let numbers =
            (1..=3).flat_map(|l| (0..4).flat_map(move |b| (0..4).map(move |n| l * 100 + b * 10 + n)));
        whole(&harness, numbers, &name);
        let counts = harness.mock.fault_counts();
        assert!(counts.values().sum::<u64>() > 0, "{name}: {counts:?}");
    }
}

#[tokio::test]
async fn what_was_exported_comes_back_whole_and_an_older_stamp_in_it_counts_for_nothing() {
    let harness = EwsHarness::in_process(EwsOptions::default(), false);
    let mailbox = open(&harness, "").await;
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    let other = mailbox.folder(&wanted(&["Other"])).await.expect("folder");
    let octets = b"Message-ID: <1@x>\r\nSubject: x\r\n\r\n8 bit \xe4 \0\r\n";
    let outcomes =
        store(&harness, &mailbox, &inbox, vec![item(1, 1, octets, "FS later", Some(1_700_000_000))]).await;
    let copy = CopyRef { folder: inbox.clone(), id: id(&outcomes[0]) };
    let exported = mailbox.export(&copy).await.expect("exported");
    assert_eq!(exported.class, "IPM.Note");
    let form = Form::Stream { class: exported.class };
    let body = Body::from_bytes(Bytes::from(exported.octets.to_vec()));
    let again = StoreItem { form, body, ..item(2, 5, b"", "", None) };
    let outcomes = store(&harness, &mailbox, &other, vec![again]).await;
    let imported = CopyRef { folder: other.clone(), id: id(&outcomes[0]) };
    let held: Vec<_> = harness.messages();
    assert_eq!(held.len(), 2);
    assert_eq!(held[0].1.mime_digest, held[1].1.mime_digest);
    assert!(held.iter().all(|(_, m)| m.is_read && m.flag == "Flagged" && m.categories == ["later"]));
    for (number, at) in [(stamp(1, 1), &copy), (stamp(2, 5), &imported)] {
        let found = mailbox.find(&StampPrefix::exactly(&number)).await.expect("find");
        assert!(found.len() == 1 && found[0].to_ref() == *at, "{found:?}");
    }
    // An export that the server cut short is told as such.
    let rule = FaultRule {
        name: "cut".to_owned(),
        operation: "ExportItems".to_owned(),
        mailbox: String::new(),
        when: When::Always,
        at_most: 0,
        fault: Fault::CutExport,
    };
    harness.mock.faults(FaultScript { seed: 7, rules: vec![rule] });
    assert!(mailbox.export(&copy).await.is_err_and(|e| e.may_pass()));
    harness.mock.faults(FaultScript::default());
    assert!(mailbox.export(&CopyRef { id: harness.nobody(), ..copy }).await.is_err_and(|e| !e.may_pass()));
}

#[tokio::test]
async fn streams_beyond_the_servers_limits_are_refused_and_the_others_are_imported() {
    let mut options = EwsOptions::default();
    options.sizes.upload = 4_000;
    options.sizes.message = 2_000;
    let harness = EwsHarness::in_process(options, false);
    let mailbox = open(&harness, "").await;
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    let mut all = streams(1..=4);
    all[1].body = Body::from_bytes(Bytes::from(vec![7; 3_000]));
    all[2].body = Body::from_bytes(Bytes::from_static(b"no stream"));
    let outcomes = store(&harness, &mailbox, &inbox, all).await;
    let kinds: Vec<bool> = outcomes.iter().map(|o| matches!(o, Outcome::Stored { .. })).collect();
    assert_eq!(kinds, [true, false, false, true], "{outcomes:?}");
    assert!(outcomes[1..3].iter().all(|o| matches!(o, Outcome::Refused(_))), "{outcomes:?}");
    mailbox.release().await;
    whole(&harness, [1, 4], "limits");
}

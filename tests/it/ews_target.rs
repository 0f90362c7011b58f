//! The EWS target against a server in trouble: whatever goes wrong on the way, each message is there once in the end, with
//! its octets. And whole migrations of Maildirs into a mock in another process.

mod folders;
pub mod road;
mod streams;

use std::collections::BTreeMap;

use mailwave::limit::Gate;
use mailwave::mock::ews::{Busy, EwsOptions, Fault, FaultRule, FaultScript, When};
use mailwave::model::{Outcome, StampPrefix};
use mailwave::target::StoreItem;

use crate::contract_target::ews::{EwsHarness, tagged};
use crate::contract_target::{TargetHarness, item, open, store, wanted};

const COUNT: u64 = 12;

fn octets(number: u64) -> Vec<u8> {
    format!("Message-ID: <{number}@x>\r\nSubject: {number}\r\n\r\n8 bit \u{e4} \0 {number}\nbare line\r\n")
        .into_bytes()
}

fn items() -> Vec<StoreItem> {
    (1..=COUNT).map(|n| item(1, n, &octets(n), "S", Some(1_700_000_000))).collect()
}

/// What one fault makes of the first or second creation; how often something was looked up.
async fn trouble(name: &str, fault: Fault) {
    let harness = EwsHarness::in_process(EwsOptions::default(), false);
    let mailbox = open(&harness, "").await;
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    let rule = FaultRule {
        name: name.to_owned(),
        operation: "CreateItem".to_owned(),
        mailbox: String::new(),
        when: When::Nth(vec![1, 3]),
        at_most: 0,
        fault,
    };
    harness.mock.faults(FaultScript { seed: 7, rules: vec![rule] });
    let mut todo = items();
    for round in 0..12 {
        if todo.is_empty() {
            break;
        }
        assert!(round < 11, "{name}: does not end");
        let outcomes = store(&harness, &mailbox, &inbox, todo.clone()).await;
        assert_eq!(outcomes.len(), todo.len(), "{name}: exactly one outcome per message");
        let mut again = Vec::new();
        let mut wait = std::time::Duration::ZERO;
        for (one, outcome) in todo.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Stored { id, .. } => assert!(!id.is_empty()),
                Outcome::Refused(error) => {
                    assert_eq!(name, "item", "{error}");
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
                        harness.env().sleep(std::time::Duration::from_millis(5)).await;
                    }
                    let found = mailbox.find(&StampPrefix::exactly(&one.stamp)).await.expect("find");
                    assert!(found.len() <= 1 && found.iter().all(|copy| copy.complete), "{name}");
                    if found.is_empty() {
                        again.push(one);
                    }
                }
            }
        }
        harness.env().sleep(wait).await;
        todo = again;
    }
    let fired = harness.mock.fault_counts().get(name).copied().unwrap_or(0);
    assert!(fired >= 1, "{name} fired");
    let mut held: BTreeMap<String, u64> = BTreeMap::new();
    for (path, message) in harness.messages() {
        assert_eq!(path, "Inbox");
        assert!(message.from_mime && !message.is_draft && message.is_read && message.class == "IPM.Note");
        assert!(message.received.starts_with("2023-11-14T22:13:20"), "{}", message.received);
        *held.entry(message.mime_digest).or_default() += 1;
    }
    let meant: BTreeMap<String, u64> =
        (1..=COUNT).map(|n| (blake3::hash(&octets(n)).to_hex().to_string(), 1)).collect();
    assert!(held == meant, "{name}: each message once, with its octets: {} of {COUNT}", held.len());
    harness.check_confined().await;
}

#[tokio::test]
async fn whatever_goes_wrong_each_message_is_there_once_with_its_octets() {
    let code = |code: &str| code.to_owned();
    for (name, fault) in [
        ("reset before", Fault::ResetBefore),
        ("reset after", Fault::ResetAfter),
        ("reset after some", Fault::ResetAfterItems { items: 5 }),
        ("late commit", Fault::LateCommit { after_ms: 20, gateway_timeout: false }),
        ("gateway timeout", Fault::LateCommit { after_ms: 20, gateway_timeout: true }),
        ("done but 504", Fault::DoneBut { status: 504, retry_after: None }),
        ("done but 500", Fault::DoneBut { status: 500, retry_after: None }),
        ("503", Fault::Status { status: 503, retry_after: Some(0) }),
        ("500", Fault::Status { status: 500, retry_after: None }),
        ("transient", Fault::Soap { code: code("ErrorInternalServerTransientError") }),
        ("done but timeout", Fault::DoneButSoap { code: code("ErrorTimeoutExpired") }),
        ("stopped", Fault::Stopped { after: 4 }),
        ("stopped at once", Fault::Stopped { after: 0 }),
        ("item", Fault::Item { number: 3, code: code("ErrorItemSave") }),
        ("empty", Fault::EmptyBody),
        ("web page", Fault::HtmlBody),
        ("truncated", Fault::Truncated { keep: 600 }),
        ("busy fault", Fault::Busy { envelope: Busy::Fault, wait_ms: Some(10) }),
        ("busy message", Fault::Busy { envelope: Busy::Message, wait_ms: Some(10) }),
        ("busy wrapped", Fault::Busy { envelope: Busy::Wrapped, wait_ms: Some(10) }),
        ("busy unavailable", Fault::Busy { envelope: Busy::Unavailable, wait_ms: None }),
    ] {
        trouble(name, fault).await;
    }
}

#[tokio::test]
async fn batches_are_what_was_asked_for_and_a_large_message_goes_alone() {
    let harness = EwsHarness::in_process(EwsOptions::default(), true);
    let mut settings = harness.settings();
    settings.batch_messages = 5;
    settings.batch_bytes = 1 << 20;
    let target = harness.with(settings);
    let gate = Gate::unlimited(&harness.env());
    let mailbox = target.open(&harness.mailbox(), "", gate.clone()).await.expect("open");
    let folder = mailbox.folder(&wanted(&["Old"])).await.expect("folder");
    let mut all = items();
    all[6] =
        item(1, 7, &[b"Subject: large\r\n\r\n".to_vec(), vec![b'x'; 3 << 20]].concat(), "DF later", Some(5));
    let outcomes = mailbox.store(&folder, all, gate.lookup()).await;
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Stored { .. })), "{outcomes:?}");
    // 1–5, 6, the large one, 8–12.
    let counters = harness.mock.counters();
    assert_eq!(
        (counters.operations["CreateItem"], counters.largest_batch),
        (4, 6),
        "the six folders of the opening"
    );
    let (path, large) = harness.messages().into_iter().find(|(_, m)| m.is_draft).expect("the draft");
    assert_eq!((path.as_str(), large.mime_length, large.flag.as_str()), ("Old", (3 << 20) + 18, "Flagged"));
    assert_eq!(large.categories, ["later"]);
    assert_eq!(tagged(&large, "0x1081"), None);
}

#[tokio::test]
async fn a_message_beyond_the_servers_limits_is_refused_and_the_others_are_stored() {
    let mut options = EwsOptions::default();
    options.sizes.message = 2_000;
    let harness = EwsHarness::in_process(options, false);
    let mailbox = open(&harness, "").await;
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    let mut all = items();
    all[3] = item(1, 4, &[b'x'; 3_000], "", None);
    let outcomes = store(&harness, &mailbox, &inbox, all).await;
    assert!(matches!(&outcomes[3], Outcome::Refused(e) if e.kind == mailwave::model::Kind::TooLarge));
    assert_eq!(outcomes.iter().filter(|o| matches!(o, Outcome::Stored { .. })).count(), 11);
}

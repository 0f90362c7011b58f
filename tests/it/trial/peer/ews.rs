//! The mock of Exchange Web Services as a target of the trial.

use std::collections::BTreeSet;
use std::sync::Arc;

use mailwave::env::Env;
use mailwave::mock::ews::{Busy, EwsMock, EwsOptions, Fault, FaultRule, FaultScript, Latency, Truth, When};
use mailwave::target::Target;
use mailwave::target::ews::{EwsLogin, EwsSettings, EwsTarget};

use super::{Account, Held};
use crate::contract_target::mocked;
use crate::trial::world::VirtualClock;

pub fn mock(seed: u64, clock: &Arc<VirtualClock>) -> Arc<EwsMock> {
    let latency = Latency { base_ms: 20, jitter_ms: 30, per_item_ms: 2, per_mib_ms: 0 };
    let mock = EwsMock::new(EwsOptions { seed, latency, ..EwsOptions::default() }, clock.clone());
    let rule = |name: &str, nth: u64, fault| FaultRule {
        name: name.to_owned(),
        operation: "CreateItem".to_owned(),
        mailbox: String::new(),
        when: When::Nth(vec![nth]),
        at_most: 0,
        fault,
    };
    mock.faults(FaultScript {
        seed: 1,
        rules: vec![
            rule("504, but done", 2, Fault::DoneBut { status: 504, retry_after: None }),
            rule("late commit, no answer", 4, Fault::LateCommit { after_ms: 25_000, gateway_timeout: false }),
            rule("busy", 5, Fault::Busy { envelope: Busy::Fault, wait_ms: Some(3_000) }),
            rule("reset before", 6, Fault::ResetBefore),
            rule("reset after one", 7, Fault::ResetAfterItems { items: 1 }),
            rule("reset after", 8, Fault::ResetAfter),
            rule("stopped after one", 9, Fault::Stopped { after: 1 }),
            rule("503", 10, Fault::Status { status: 503, retry_after: None }),
            rule("late commit after 504", 11, Fault::LateCommit { after_ms: 14_000, gateway_timeout: true }),
            rule("200 without a body", 12, Fault::EmptyBody),
        ],
    });
    mock
}

pub fn target(env: &Env, mock: &Arc<EwsMock>) -> Arc<dyn Target> {
    let mock = mock.clone();
    let http = mocked::client(env, move |request| {
        let mock = mock.clone();
        async move { mock.handle(request).await }
    });
    let login = EwsLogin::Basic { user: "EXAMPLE\\migrator".to_owned(), password: "secret".into() };
    let settings = EwsSettings::new("https://mail.test/EWS/Exchange.asmx", login);
    Arc::new(EwsTarget::new(env, http, settings).expect("the settings are right"))
}

pub fn account(truth: &Truth) -> Account {
    let (mut held, mut wrong, mut stamps) = (Held::new(), Vec::new(), BTreeSet::new());
    for (address, mailbox) in &truth.mailboxes {
        let folders = mailbox.folders.iter().filter(|(path, _)| !path.contains("Recoverable Items"));
        for (path, folder) in folders.filter(|(_, f)| !f.messages.is_empty()) {
            let mut copies = Vec::new();
            for m in &folder.messages {
                copies.push(format!(
                    "{:?}",
                    (
                        &m.class,
                        &m.subject,
                        &m.received,
                        m.is_read,
                        m.is_draft,
                        &m.flag,
                        &m.categories,
                        &m.mime_digest
                    )
                ));
                match mocked::stamp(m.named.values().flatten()) {
                    None => wrong.push("a copy without a stamp".to_owned()),
                    Some(stamp) if !stamps.insert(stamp.clone()) => {
                        wrong.push(format!("two copies of one stamp: {stamp}"));
                    }
                    Some(_) => {}
                }
            }
            copies.sort();
            held.insert((address.clone(), path.clone()), copies);
        }
    }
    if truth.pending > 0 {
        wrong.push("something is still under way at the target".to_owned());
    }
    if !truth.counters.violations.is_empty() {
        wrong.push(format!("the client broke rules: {:?}", truth.counters.violations));
    }
    Account {
        held,
        foreign: 0,
        writes: truth.counters.writes(),
        wrong,
        faults: truth.faults.clone(),
        peak: Some(truth.counters.peak_in_flight),
    }
}

//! The mock Graph as a target of the trial, with JSON or with whole messages.

use std::collections::BTreeSet;
use std::sync::Arc;

use mailwave::mock::graph::{
    Fault, FaultRule, FaultScript, GraphMock, GraphOptions, Latency, Sizes, Truth, When,
};

use super::{Account, Held, To, UPLOAD_FROM};
use crate::trial::world::VirtualClock;

pub fn mock(to: To, seed: u64, clock: &Arc<VirtualClock>) -> Arc<GraphMock> {
    let options = GraphOptions {
        seed,
        latency: Latency { base_ms: 20, jitter_ms: 30, per_mib_ms: 0 },
        sizes: Sizes { upload_min: UPLOAD_FROM, attachment_post: UPLOAD_FROM as usize, ..Sizes::default() },
        import_mime: to == To::ImportMime,
        // Else the received date would be that of the call, and no two stories alike.
        import_mime_keeps_date: true,
        mail_advanced: to == To::ImportMime,
        ..GraphOptions::default()
    };
    let mock = GraphMock::new(options, clock.clone());
    mock.faults(script(if to == To::ImportMime { "/importMime" } else { "/messages" }));
    mock
}

fn script(path: &str) -> FaultScript {
    let rule = |name: &str, nth: &[u64], fault| FaultRule {
        name: name.to_owned(),
        method: "POST".to_owned(),
        path: path.to_owned(),
        when: When::Nth(nth.to_vec()),
        at_most: 0,
        fault,
    };
    FaultScript {
        seed: 1,
        rules: vec![
            rule("504, but done", &[5, 21], Fault::DoneBut { status: 504, retry_after: None }),
            rule(
                "late commit, no answer",
                &[9],
                Fault::LateCommit { after_ms: 25_000, gateway_timeout: false },
            ),
            rule(
                "late commit after 504",
                &[33],
                Fault::LateCommit { after_ms: 14_000, gateway_timeout: true },
            ),
            rule("reset before", &[13], Fault::ResetBefore),
            rule("reset after", &[17], Fault::ResetAfter),
            rule("throttled", &[25], Fault::Status { status: 429, retry_after: Some(3) }),
            rule("busy", &[28], Fault::Status { status: 503, retry_after: None }),
            rule("201 without a body", &[37], Fault::EmptyBody),
        ],
    }
}

pub fn account(truth: &Truth) -> Account {
    let mut held = Held::new();
    for (address, mailbox) in &truth.mailboxes {
        for (path, folder) in &mailbox.folders {
            let mut copies: Vec<String> = folder
                .messages
                .iter()
                .map(|m| {
                    let attachments: Vec<_> = m.attachments.iter().map(|a| (&a.name, &a.digest)).collect();
                    let head = (&m.subject, &m.received, m.is_read, m.is_draft, &m.flag, &m.categories);
                    format!("{:?}", (head, &m.body_digest, attachments))
                })
                .collect();
            copies.sort();
            if !copies.is_empty() {
                held.insert((address.clone(), path.clone()), copies);
            }
        }
    }
    let mut wrong = Vec::new();
    if truth.pending > 0 {
        wrong.push("something is still under way at the target".to_owned());
    }
    if !truth.counters.violations.is_empty() {
        wrong.push(format!("the client broke rules: {:?}", truth.counters.violations));
    }
    wrong.extend(stamps(truth).err());
    Account {
        held,
        foreign: 0,
        writes: truth.counters.writes(),
        wrong,
        faults: truth.faults.clone(),
        peak: Some(truth.counters.peak_in_flight),
    }
}

/// Stamps on the target's copies; an error names what is wrong with them.
fn stamps(truth: &Truth) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for mailbox in truth.mailboxes.values() {
        for message in mailbox.folders.values().flat_map(|f| &f.messages) {
            // One imported whole has it twice: in a header line that stays open, and done.
            let mut ours = message.named.values().filter(|v| v.starts_with("mw1.")).peekable();
            if ours.peek().is_none() {
                return Err("a copy without a stamp".to_owned());
            }
            let Some(stamp) = ours.find(|v| v.ends_with("/done")) else {
                return Err("an incomplete copy is left".to_owned());
            };
            if !seen.insert(stamp.clone()) {
                return Err(format!("two copies of one stamp: {stamp}"));
            }
        }
    }
    Ok(())
}

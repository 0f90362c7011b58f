//! The targets of the trial: what goes wrong with each, and its truth in one form.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use mailwave::env::{Env, Step};
use mailwave::mock::graph::{
    Fault, FaultRule, FaultScript, GraphMock, GraphOptions, Latency, Sizes, Truth, When,
};
use mailwave::model::{Digest, Flags};
use mailwave::target::Target;

use super::stage::MAILBOXES;
use super::world::VirtualClock;
use crate::support::memory::Store;
use crate::support::numbered::{self, NumberedTarget, Server};

/// Attachments above this many octets go by upload session on this stage: small, so that a thousand runs are cheap.
pub const UPLOAD_FROM: u64 = 4_000;

/// Which target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The mock Graph: copies carry stamps.
    Graph,
    /// Numbered folders: copies are known by id alone.
    Numbered,
    /// As before, and the server changes some messages.
    Altering,
}

impl Kind {
    /// Does a store of this target make such a step?
    pub fn passes(self, step: Step) -> bool {
        self == Kind::Graph || !matches!(step, Step::TargetStorePart | Step::TargetStoreDone)
    }
}

/// What the target holds: mailbox and folder → copies, sorted; a copy as far as it must not depend on cuts: everything
/// but ids and times of creation.
pub type Held = BTreeMap<(String, String), Vec<String>>;

/// A target's truth.
pub struct Account {
    pub held: Held,
    /// Messages of others among them.
    pub foreign: usize,
    pub writes: u64,
    /// What is wrong with it; empty if nothing.
    pub wrong: Vec<String>,
    pub faults: BTreeMap<String, u64>,
    /// Most stores under way at once in one mailbox.
    pub peak: u32,
}

/// The target of one story.
pub enum Peer {
    Graph(Arc<GraphMock>),
    Numbered(Arc<Mutex<Server>>),
}

impl Peer {
    /// Before anything is copied; `store` is what the source holds.
    pub fn new(kind: Kind, seed: u64, clock: &Arc<VirtualClock>, store: &Store) -> Peer {
        if kind == Kind::Graph {
            let options = GraphOptions {
                seed,
                latency: Latency { base_ms: 20, jitter_ms: 30, per_mib_ms: 0 },
                sizes: Sizes {
                    upload_min: UPLOAD_FROM,
                    attachment_post: UPLOAD_FROM as usize,
                    ..Sizes::default()
                },
                ..GraphOptions::default()
            };
            let mock = GraphMock::new(options, clock.clone());
            mock.faults(script());
            return Peer::Graph(mock);
        }
        let mut server = Server::default();
        server.alters = kind == Kind::Altering;
        server.faults = BTreeMap::from([
            (5, numbered::Fault::LostAfter),
            (9, numbered::Fault::Late(25_000)),
            (13, numbered::Fault::LostBefore),
            (17, numbered::Fault::LostAfter),
            (21, numbered::Fault::LostAfter),
            (25, numbered::Fault::Throttled),
            (29, numbered::Fault::Delivered("ann@example.org", "INBOX")),
            (33, numbered::Fault::Late(14_000)),
            (37, numbered::Fault::LostAfter),
        ]);
        for name in MAILBOXES {
            // The user has the first message already, by other means: it is no copy of ours.
            let mail = &store.0[name]["INBOX"].messages[&1];
            let received = mail.received.seconds;
            server.deliver(&address(name), "INBOX", &mail.octets, mail.flags.clone(), received);
            server.deliver(&address(name), "INBOX", b"Subject: own\r\n\r\nx\r\n", Flags::default(), 1);
        }
        Peer::Numbered(Arc::new(Mutex::new(server)))
    }

    /// What happens at the target between the passes.
    pub fn users_change_things(&self) {
        if let Peer::Numbered(server) = self {
            let mut server = server.lock().unwrap();
            for name in MAILBOXES {
                server.deliver(&address(name), "INBOX", b"Subject: hi\r\n\r\ny\r\n", Flags::default(), 2);
            }
        }
    }

    pub fn target(&self, env: &Env, clock: &Arc<VirtualClock>) -> Arc<dyn Target> {
        match self {
            Peer::Graph(mock) => super::graph::target(env, mock, UPLOAD_FROM),
            Peer::Numbered(server) => {
                Arc::new(NumberedTarget { env: env.clone(), world: clock.clone(), server: server.clone() })
            }
        }
    }

    pub fn account(&self) -> Account {
        match self {
            Peer::Graph(mock) => graph_account(&mock.truth()),
            Peer::Numbered(server) => numbered_account(&server.lock().unwrap()),
        }
    }
}

/// The target's name of a mailbox.
pub fn address(name: &str) -> String {
    format!("{name}@example.org")
}

fn script() -> FaultScript {
    let rule = |name: &str, nth: &[u64], fault| FaultRule {
        name: name.to_owned(),
        method: "POST".to_owned(),
        path: "/messages".to_owned(),
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

fn graph_account(truth: &Truth) -> Account {
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
        peak: truth.counters.peak_in_flight,
    }
}

/// Stamps on the target's copies; an error names what is wrong with them.
fn stamps(truth: &Truth) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for mailbox in truth.mailboxes.values() {
        for message in mailbox.folders.values().flat_map(|f| &f.messages) {
            let Some(stamp) = message.named.values().find(|v| v.starts_with("mw1.")) else {
                return Err("a copy without a stamp".to_owned());
            };
            if !stamp.ends_with("/done") {
                return Err(format!("an incomplete copy is left: {stamp}"));
            }
            if !seen.insert(stamp.clone()) {
                return Err(format!("two copies of one stamp: {stamp}"));
            }
        }
    }
    Ok(())
}

fn numbered_account(server: &Server) -> Account {
    let mut held = Held::new();
    for (place, folder) in &server.folders {
        let copy = |h: &numbered::Held| {
            format!("{:?}", (Digest::of(&h.octets), h.flags.encode(), h.received.map(|r| r.seconds)))
        };
        let mut copies: Vec<String> = folder.messages.values().map(copy).collect();
        copies.sort();
        if !copies.is_empty() {
            held.insert(place.clone(), copies);
        }
    }
    let mut wrong = Vec::new();
    if server.pending() > 0 {
        wrong.push("something is still under way at the target".to_owned());
    }
    let all = server.faults.values().map(|f| (format!("{f:?}"), 0));
    let mut faults: BTreeMap<String, u64> = all.collect();
    faults.extend(server.fired.clone());
    Account { held, foreign: server.foreign, writes: server.writes, wrong, faults, peak: server.peak }
}

//! Is this machine large enough for the plan? What is needed, what is there, and how that was reckoned.

use crate::cli::budgets::Budgets;
use crate::cli::room::{free, memory};
use crate::cli::talk::Talk;
use crate::cli::{descriptors, imap};
use crate::config::{GraphLogin, GraphSettings, Settings, SourceKind, TargetKind};
use crate::model::{Error, Kind, Result, Scope};
use crate::report::{Align, bytes as size, table};

/// Files of one open mailbox in a store of files: the message being read or written, its folder, its list.
const FILES: u64 = 4;
/// Large messages of one open mailbox that are stored at once; none is fetched ahead.
const LARGE: u64 = 4;
/// What the process itself has open: the ledger and its segments, the log, the runtime, the standard streams.
const OWN_FILES: u64 = 64;
/// Memory of an open mailbox beside octets of messages, in bytes: a session with TLS at either end, and ten bytes of each
/// message listed.
const OPEN_MAILBOX: u64 = (128 << 10) + MESSAGES * 10;
/// Memory of the process itself, in bytes.
const OWN_MEMORY: u64 = 64 << 20;
/// What the ledger keeps of a message, in bytes: nearly all of it its digest and its id at the target. Between Maildirs it
/// is less than 60; the ids of other targets are longer.
const LEDGER_MESSAGE: u64 = 200;
/// Messages of a mailbox, where nothing is known of it.
const MESSAGES: u64 = 12_700;

/// One thing that a run needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Need {
    what: &'static str,
    needed: u64,
    /// `None`: it cannot be told here.
    there: Option<u64>,
    bytes: bool,
    reckoned: String,
    remedy: &'static str,
}

impl Need {
    pub(super) fn is_met(&self) -> bool {
        self.there.is_none_or(|there| there >= self.needed)
    }
}

/// What this machine has.
#[derive(Debug, Clone, Copy, Default)]
struct Machine {
    /// Files a process may have open once it has raised its own limit.
    descriptors: Option<u64>,
    /// Memory in bytes: of the control group if it has a limit, else what is free.
    memory: Option<u64>,
    /// Bytes free where the spool lies.
    spool: Option<u64>,
    /// Bytes free where the ledger lies.
    ledger: Option<u64>,
}

/// Compares the plan with this machine.
pub(super) fn look(settings: &Settings, mailboxes: usize) -> Vec<Need> {
    let machine = Machine {
        descriptors: descriptors::most(),
        memory: memory(),
        spool: free(&settings.run.spool),
        ledger: free(&settings.ledger),
    };
    needs(settings, mailboxes as u64, machine)
}

/// Refuses a run that would come to the limit of open files half way.
///
/// # Errors
/// `Kind::Config`: they are not enough, with the arithmetic.
pub(in crate::cli) fn enough_files(settings: &Settings, mailboxes: usize) -> Result<()> {
    let machine = Machine { descriptors: descriptors::most(), ..Machine::default() };
    match needs(settings, mailboxes as u64, machine).into_iter().find(|need| !need.is_met()) {
        None => Ok(()),
        Some(need) => {
            let there = need.there.unwrap_or_default();
            let what = format!(
                "this run may need {} open files and this process may have {there} ({})",
                need.needed, need.reckoned
            );
            Err(Error::new(Kind::Config, Scope::Run, what).remedy(need.remedy))
        }
    }
}

/// Requests to a Graph target at once, each on a connection of its own.
fn at_once(graph: &GraphSettings, open: u64) -> u64 {
    let apps = match &graph.login {
        GraphLogin::Apps { apps, .. } => apps.len().max(1) as u64,
        GraphLogin::Token { .. } | GraphLogin::None => 1,
    };
    let each = open.saturating_mul(u64::from(graph.limits.at_once));
    match u64::from(graph.limits.in_flight) {
        0 => each,
        most => each.min(most.saturating_mul(apps)),
    }
}

fn needs(settings: &Settings, mailboxes: u64, machine: Machine) -> Vec<Need> {
    let run = &settings.run;
    let open = (run.open_mailboxes as u64).min(mailboxes.max(1));
    let sources = settings.sources.values().map(|kind| match kind {
        SourceKind::Imap(typed) => {
            let (most, each) = imap::connections(&typed.server);
            let each = typed.connections_per_mailbox.unwrap_or(each) as u64;
            open.saturating_mul(each).min(most as u64)
        }
        SourceKind::Maildir(_) | SourceKind::Mbox(_) => open * FILES,
    });
    let targets = settings.targets.values().map(|kind| match kind {
        TargetKind::Graph(graph) => at_once(graph, open),
        TargetKind::Ews(ews) => {
            let each = open.saturating_mul(ews.lanes as u64);
            ews.max_connections.map_or(each, |most| each.min(most as u64))
        }
        TargetKind::Imap(typed) => open.min(imap::connections(&typed.server).0 as u64),
        TargetKind::Maildir(_) => open * FILES,
    });
    let ends: u64 = sources.chain(targets).sum();
    let budgets = Budgets::of(run);
    let spooled = (budgets.spool.bytes / run.spool_above.max(1)).min(open * LARGE);
    let messages = mailboxes.saturating_mul(MESSAGES);
    vec![
        Need {
            what: "open files",
            needed: ends + spooled + OWN_FILES,
            there: machine.descriptors,
            bytes: false,
            reckoned: format!(
                "{open} open mailboxes: {ends} connections and files; {spooled} spooled messages; {OWN_FILES} of its own"
            ),
            remedy: "raise the limit (ulimit -Hn, LimitNOFILE=), or lower `run.open_mailboxes`",
        },
        Need {
            what: "memory",
            needed: budgets.memory.bytes.saturating_add(open * OPEN_MAILBOX).saturating_add(OWN_MEMORY),
            there: machine.memory,
            bytes: true,
            reckoned: format!(
                "octets {}; {open} open mailboxes at {}, {} of its own",
                budgets.memory,
                size(OPEN_MAILBOX),
                size(OWN_MEMORY)
            ),
            remedy: "lower `run.memory` or `run.open_mailboxes`, or take a larger machine",
        },
        Need {
            what: "disk of the spool",
            needed: budgets.spool.bytes,
            there: machine.spool,
            bytes: true,
            reckoned: format!("octets {}", budgets.spool),
            remedy: "name a directory with more room with `run.spool`, or lower `run.spool_size`",
        },
        Need {
            what: "disk of the ledger",
            needed: messages.saturating_mul(LEDGER_MESSAGE),
            there: machine.ledger,
            bytes: true,
            reckoned: format!(
                "{mailboxes} mailboxes of {MESSAGES} messages (a guess), {LEDGER_MESSAGE} bytes each"
            ),
            remedy: "put the ledger where there is more room (`ledger`)",
        },
    ]
}

pub(super) fn json(all: &[Need]) -> serde_json::Value {
    all.iter()
        .map(|need| {
            serde_json::json!({
                "what": need.what,
                "needed": need.needed,
                "there": need.there,
                "unit": if need.bytes { "bytes" } else { "files" },
                "reckoned": need.reckoned,
                "enough": need.is_met(),
            })
        })
        .collect()
}

pub(super) fn print(all: &[Need], talk: &Talk) {
    let header = [
        ("this machine", Align::Left),
        ("needed", Align::Right),
        ("there", Align::Right),
        ("reckoned", Align::Left),
    ];
    let amount = |need: &Need, n: u64| if need.bytes { size(n) } else { n.to_string() };
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|need| {
            let there = need.there.map_or_else(|| "?".to_owned(), |there| amount(need, there));
            vec![need.what.to_owned(), amount(need, need.needed), there, need.reckoned.clone()]
        })
        .collect();
    talk.data(&table(&header, &rows));
    for need in all.iter().filter(|need| !need.is_met()) {
        talk.say(&format!("error: not enough for the plan: {}; {}", need.what, need.remedy));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_told_on_this_machine() {
        assert!(descriptors::most().is_some_and(|n| n >= 64));
    }

    #[test]
    fn what_cannot_be_told_keeps_nobody_from_running() {
        let need =
            |there| Need { what: "x", needed: 10, there, bytes: false, reckoned: String::new(), remedy: "" };
        assert!(need(None).is_met() && need(Some(10)).is_met() && !need(Some(9)).is_met());
    }
}

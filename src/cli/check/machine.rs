//! Is this machine large enough for the plan? What is needed, what is there, and how that was reckoned.

use std::path::Path;

use crate::cli::descriptors;
use crate::cli::talk::Talk;
use crate::config::{Settings, SourceKind, TargetKind};
use crate::report::{Align, bytes as size, table};

/// Connections of one open mailbox to a target over HTTPS.
const HTTPS: u64 = 4;
/// Files of one open mailbox in a store of files: the message being read or written, its folder, its list.
const FILES: u64 = 4;
/// What the process itself has open: the ledger and its segments, the log, the runtime, the standard streams.
const OWN_FILES: u64 = 64;
/// Memory of an open mailbox beside octets of messages, in bytes: sessions with TLS, what is listed.
const OPEN_MAILBOX: u64 = 1 << 20;
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

fn needs(settings: &Settings, mailboxes: u64, machine: Machine) -> Vec<Need> {
    let run = &settings.run;
    let open = (run.open_mailboxes as u64).min(mailboxes.max(1));
    let sources = settings.sources.values().map(|kind| match kind {
        SourceKind::Imap(imap) => {
            let each = open.saturating_mul(imap.connections_per_mailbox.unwrap_or(1) as u64);
            imap.server.max_connections.map_or(each, |most| each.min(most as u64))
        }
        SourceKind::Maildir(_) | SourceKind::Mbox(_) => open * FILES,
    });
    let targets = settings.targets.values().map(|kind| match kind {
        TargetKind::Graph(_) => open * HTTPS,
        TargetKind::Ews(ews) => {
            let each = open.saturating_mul(ews.lanes as u64);
            ews.max_connections.map_or(each, |most| each.min(most as u64))
        }
        TargetKind::Imap(imap) => imap.server.max_connections.map_or(open, |most| open.min(most as u64)),
        TargetKind::Maildir(_) => open * FILES,
    });
    let ends: u64 = sources.chain(targets).sum();
    let spooled = run.spool_size / run.spool_above.max(1);
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
            needed: run.memory.saturating_add(open * OPEN_MAILBOX).saturating_add(OWN_MEMORY),
            there: machine.memory,
            bytes: true,
            reckoned: format!(
                "`run.memory` {}, {open} open mailboxes at {}, {} of its own",
                size(run.memory),
                size(OPEN_MAILBOX),
                size(OWN_MEMORY)
            ),
            remedy: "lower `run.memory` or `run.open_mailboxes`, or take a larger machine",
        },
        Need {
            what: "disk of the spool",
            needed: run.spool_size,
            there: machine.spool,
            bytes: true,
            reckoned: "`run.spool_size`".to_owned(),
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

/// Bytes that can be written where a path lies, or will lie.
fn free(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|p| p.exists() || p.as_os_str().is_empty())?;
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let told = rustix::fs::statvfs(there).ok()?;
    Some(told.f_bavail.saturating_mul(told.f_frsize))
}

/// Memory there is for a process: its control group's limit less what is used in it, or what the machine has free.
fn memory() -> Option<u64> {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = std::fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| {
        let group = text.lines().find_map(|line| line.strip_prefix("0::"))?.trim().to_owned();
        let most = number(&format!("/sys/fs/cgroup{group}/memory.max"))?;
        let used = number(&format!("/sys/fs/cgroup{group}/memory.current")).unwrap_or(0);
        Some(most.saturating_sub(used))
    });
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    match (group, machine) {
        (Some(group), Some(machine)) => Some(group.min(machine)),
        (group, machine) => group.or(machine),
    }
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
        assert!(memory().is_some_and(|bytes| bytes > 1 << 20));
        let dir = tempfile::tempdir().expect("made");
        assert!(free(&dir.path().join("not/yet/made")).is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn what_cannot_be_told_keeps_nobody_from_running() {
        let need =
            |there| Need { what: "x", needed: 10, there, bytes: false, reckoned: String::new(), remedy: "" };
        assert!(need(None).is_met() && need(Some(10)).is_met() && !need(Some(9)).is_met());
    }
}

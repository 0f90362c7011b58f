//! What the passes came to: for people, and as JSON.

use mailwave::mock::imap::made::Law;
use serde_json::{Value, json};

use crate::run::{Pass, Settings};

const MIB: f64 = (1u64 << 20) as f64;

/// What will be run.
pub fn plan(law: &Law, settings: &Settings) {
    let percent: Vec<String> = settings.drift.iter().map(|share| format!("{:.4}", share * 100.0)).collect();
    let percent: Vec<&str> =
        percent.iter().map(|text| text.trim_end_matches('0').trim_end_matches('.')).collect();
    println!(
        "{} mailboxes x {} folders x {} messages; passes after {} % of the messages changed; {} open, {} connections to a \
         source with {}",
        law.mailboxes,
        law.folders_least,
        law.messages_least,
        percent.join(", "),
        settings.open,
        settings.connected,
        settings.offer
    );
}

/// The name of a pass.
fn name(pass: &Pass) -> String {
    pass.changed.map_or_else(|| "first copy".to_owned(), |changed| format!("{} %", changed.share * 100.0))
}

/// One pass, when it has ended.
pub fn pass(law: &Law, pass: &Pass) {
    let mailboxes = law.mailboxes as f64;
    let each = |n: u64| n as f64 / mailboxes;
    println!("\n{}: {:.0} s", name(pass), pass.seconds);
    if let Some(changed) = &pass.changed {
        println!(
            "  changed: {} new, {} flags, {} removed, {} moved, in {} of {} mailboxes",
            changed.new, changed.flags, changed.removed, changed.moved, changed.mailboxes, law.mailboxes
        );
    }
    println!("                CPU s   user/kernel   ms/mailbox   peak RSS");
    for (name, used) in [("engine", pass.engine), ("source", pass.source), ("target", pass.target)] {
        println!(
            "{name:>10} {:>10.1} {:>7.1}/{:<7.1} {:>8.3} {:>7.0} MiB",
            used.cpu.seconds(),
            used.cpu.user,
            used.cpu.system,
            used.cpu.seconds() * 1000.0 / mailboxes,
            used.rss as f64 / MIB
        );
    }
    let used: f64 = [pass.engine, pass.source, pass.target].iter().map(|used| used.cpu.seconds()).sum();
    println!("    others {:>10.1}   (of them {:.1} not ours at all)", pass.machine - used, pass.stolen);
    println!(
        "  TLS handshake and log-in alone: {:.3} ms/mailbox; the engine beside it: {:.3} ms/mailbox",
        pass.hello * 1000.0,
        beside(law, pass) * 1000.0
    );
    println!(
        "  round trips a mailbox: source {:.2}, target {:.2} ({:.2} requests, {} refused)",
        each(pass.source_trips),
        each(pass.target_trips),
        each(pass.requests),
        pass.refused
    );
    let found = &pass.found;
    println!(
        "  {} messages compared: {} lost, {} doubled, {} altered, {} not marked complete; ledger {:.0} + facts {:.0} octets a mailbox",
        found.compared,
        found.lost,
        found.doubled,
        found.altered,
        found.unstamped,
        each(pass.ledger),
        each(pass.facts)
    );
}

/// CPU of the engine beside connecting and logging in, in seconds a mailbox.
fn beside(law: &Law, pass: &Pass) -> f64 {
    pass.engine.cpu.seconds() / law.mailboxes as f64 - pass.hello
}

/// All passes, one a line.
pub fn summary(law: &Law, passes: &[Pass]) {
    println!("\n            engine ms   log-in ms   beside ms   source trips   target trips   seconds");
    for pass in passes {
        let mailboxes = law.mailboxes as f64;
        println!(
            "{:>10} {:>10.3} {:>11.3} {:>11.3} {:>14.2} {:>14.2} {:>9.0}",
            name(pass),
            pass.engine.cpu.seconds() * 1000.0 / mailboxes,
            pass.hello * 1000.0,
            beside(law, pass) * 1000.0,
            pass.source_trips as f64 / mailboxes,
            pass.target_trips as f64 / mailboxes,
            pass.seconds
        );
    }
}

/// Why the run is a failure.
pub fn failed(law: &Law, passes: &[Pass], most_refused: f64, most_trips: f64) -> Vec<String> {
    let mut failed = Vec::new();
    for pass in passes {
        let name = name(pass);
        failed.extend(pass.wrong.iter().map(|why| format!("{name}: {why}")));
        let found = &pass.found;
        if !found.clean() {
            failed.push(format!(
                "{name}: {} lost, {} doubled, {} altered, {} not marked complete; {}",
                found.lost,
                found.doubled,
                found.altered,
                found.unstamped,
                found.named.join("; ")
            ));
        }
        if pass.refused as f64 > most_refused * pass.requests.max(1) as f64 {
            failed.push(format!("{name}: {} of {} requests refused", pass.refused, pass.requests));
        }
        if !pass.violations.is_empty() {
            failed.push(format!("{name}: violations: {}", pass.violations));
        }
        let trips = (pass.source_trips + pass.target_trips) as f64 / law.mailboxes as f64;
        if pass.changed.is_some_and(|changed| changed.mailboxes == 0) && trips > most_trips {
            failed.push(format!("{name}: {trips:.2} round trips a mailbox"));
        }
    }
    failed
}

pub fn json(law: &Law, settings: &Settings, passes: &[Pass]) -> Value {
    let mailboxes = law.mailboxes as f64;
    let of = |pass: &Pass| {
        json!({
            "pass": name(pass),
            "changed": pass.changed,
            "seconds": pass.seconds,
            "engine": pass.engine,
            "source": pass.source,
            "target": pass.target,
            "machine_cpu_seconds": pass.machine,
            "stolen_cpu_seconds": pass.stolen,
            "engine_cpu_ms_per_mailbox": pass.engine.cpu.seconds() * 1000.0 / mailboxes,
            "login_alone_cpu_ms_per_mailbox": pass.hello * 1000.0,
            "engine_cpu_ms_per_mailbox_beside_login": beside(law, pass) * 1000.0,
            "round_trips_per_mailbox": {
                "source": pass.source_trips as f64 / mailboxes, "target": pass.target_trips as f64 / mailboxes },
            "requests_per_mailbox": pass.requests as f64 / mailboxes,
            "refused": pass.refused,
            "truth": pass.found,
            "ledger_bytes_per_mailbox": pass.ledger as f64 / mailboxes,
            "facts_bytes_per_mailbox": pass.facts as f64 / mailboxes,
            "stages": pass.said["stages"],
            "bound_by": pass.said["bound_by"]["run"],
            "wrong": pass.wrong,
        })
    };
    json!({
        "law": law,
        "open": settings.open,
        "connected": settings.connected,
        "offered": settings.offer,
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "passes": passes.iter().map(of).collect::<Vec<_>>(),
    })
}

//! What a run came to: for people, and as JSON.

use serde_json::{Value, json};

use crate::plan::Plan;
use crate::run::{Came, Floor, Settings};

const GB: f64 = 1e9;
const MIB: f64 = (1u64 << 20) as f64;

/// CPU seconds per GB of messages, and the multiples of the floor.
#[derive(Debug, Clone, Copy)]
pub struct Costs {
    /// Of the engine.
    pub engine: f64,
    pub source: f64,
    pub target: f64,
}

pub fn costs(plan: &Plan, came: &Came) -> Costs {
    let each = |cpu: f64| cpu / (plan.octets as f64 / GB);
    Costs {
        engine: each(came.engine.cpu.seconds()),
        source: each(came.source.cpu.seconds()),
        target: each(came.target.cpu.seconds()),
    }
}

/// CPU seconds per GB of one way of the floor.
pub fn floor(way: &Floor) -> f64 {
    way.cpu.seconds() / (way.octets.max(1) as f64 / GB)
}

/// The ways of the floor that carry octets, and what logging in to the same mailboxes costs alone, per GB.
fn floors(came: &Came) -> (Vec<&Floor>, f64) {
    let carried: Vec<&Floor> = came.floors.iter().filter(|f| f.way != "login").collect();
    let octets = carried.first().map_or(1, |f| f.octets.max(1)) as f64 / GB;
    let login = came.floors.iter().find(|f| f.way == "login").map_or(0.0, |f| f.cpu.seconds());
    (carried, login / octets)
}

/// Shares of the lanes' time by what bound them; the words are the program's own.
fn shares(came: &Came) -> Vec<(String, f64)> {
    let shares = came.said["bound_by"]["run"]["shares"].as_object();
    shares.into_iter().flatten().map(|(word, share)| (word.clone(), share.as_f64().unwrap_or(0.0))).collect()
}

/// The same, by whose doing it was: a limit, the engine's own (memory, ledger), the mock of the source, that of the target.
fn parts(came: &Came) -> [(&'static str, f64); 4] {
    let all = shares(came);
    let of = |words: &[&str]| all.iter().filter(|(w, _)| words.contains(&w.as_str())).map(|(_, s)| s).sum();
    [
        ("limit", of(&["limit", "throttle"])),
        ("engine", of(&["memory", "ledger"])),
        ("source", of(&["source"])),
        ("target", of(&["target"])),
    ]
}

/// Round trips of the whole run: to the source as the engine counts them, to the target its requests (parts of a `$batch`
/// counted one by one).
fn trips(came: &Came) -> (f64, f64) {
    let stages = came.said["stages"].as_object();
    let source = stages.into_iter().flatten().filter_map(|(_, stage)| stage["source_round_trips"].as_f64());
    (source.sum(), came.counters.requests as f64)
}

/// What part of the allowed rate was used while windows bound; `None`: none ever did.
fn allowed(came: &Came) -> Option<f64> {
    (came.pace.took_ms > 0).then(|| came.pace.least_ms as f64 / came.pace.took_ms as f64)
}

fn refused(came: &Came) -> f64 {
    came.counters.throttled as f64 / came.counters.requests.max(1) as f64
}

/// Why the run is a failure.
pub fn failed(settings: &Settings, plan: &Plan, came: &Came, most_refused: f64) -> Vec<String> {
    let mut failed = came.wrong.clone();
    // An import is followed by a request of its own.
    if settings.mode == "import-mime" && (came.counters.requests as f64) < 1.5 * plan.messages as f64 {
        failed.push("the target did not take messages as MIME: this is the cost of another way".to_owned());
    }
    let found = &came.found;
    if !found.clean() {
        failed.push(format!(
            "{} lost, {} doubled, {} altered, {} not marked complete; {}",
            found.lost,
            found.doubled,
            found.altered,
            found.unstamped,
            found.named.join("; ")
        ));
    }
    if refused(came) > most_refused {
        failed.push(format!("{} of {} requests refused", came.counters.throttled, came.counters.requests));
    }
    // A file near the least size of an upload session is offered to one before it goes in one request: the service's
    // documents read both ways.
    let mut violations = came.counters.violations.clone();
    violations.remove("ErrorAttachmentSizeShouldNotBeLessThanMinimumSize");
    if !violations.is_empty() {
        failed.push(format!("violations: {violations:?}"));
    }
    failed
}

pub fn print(plan: &Plan, settings: &Settings, came: &Came) {
    let (costs, messages) = (costs(plan, came), plan.messages as f64);
    let mailboxes = plan.law.mailboxes as f64;
    println!(
        "\n{}, {}: {:.0} s of {:.0} s; {:.1} MB/s, {:.0} messages/s",
        plan.name,
        settings.mode,
        came.seconds,
        plan.window(),
        plan.octets as f64 / 1e6 / came.seconds,
        messages / came.seconds
    );
    println!("                 CPU s   user/kernel    s/GB   ms/message   peak RSS");
    let each = [("engine", came.engine, costs.engine), ("source", came.source, costs.source)];
    for (name, used, cost) in each.into_iter().chain([("target", came.target, costs.target)]) {
        println!(
            "{name:>10} {:>11.1} {:>7.1}/{:<7.1} {cost:>6.2} {:>11.3} {:>7.0} MiB",
            used.cpu.seconds(),
            used.cpu.user,
            used.cpu.system,
            used.cpu.seconds() * 1000.0 / messages,
            used.rss as f64 / MIB
        );
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    println!(
        "machine: {:.0} % of {cpus} CPUs busy; {:.1} s of others beside the three, {:.1} s given away by its host",
        came.machine / came.seconds / cpus * 100.0,
        came.machine - came.stolen - each_sum(came),
        came.stolen
    );
    let (source, target) = trips(came);
    println!(
        "round trips: source {:.2} a message, {:.1} a mailbox; target (requests) {:.2} a message, {:.1} a mailbox",
        source / messages,
        source / mailboxes,
        target / messages,
        target / mailboxes
    );
    println!(
        "requests: {}, {} refused ({:.4} %); most connections: source {}, target {}",
        came.counters.requests,
        came.counters.throttled,
        refused(came) * 100.0,
        came.most_source_connections,
        came.most_target_connections
    );
    match allowed(came) {
        Some(share) => println!(
            "while a window bound ({} requests, {:.0} s of mailboxes): {:.1} % of the allowed rate",
            came.pace.kept,
            came.pace.took_ms as f64 / 1000.0,
            share * 100.0
        ),
        None => println!("no window of a limit ever bound"),
    }
    let by: Vec<String> =
        parts(came).iter().map(|(word, share)| format!("{word} {:.1} %", share * 100.0)).collect();
    println!("bound by, of the time of open mailboxes: {}", by.join(", "));
    println!(
        "ledger {:.2} bytes a message, facts {:.2}, together {:.2}",
        came.ledger as f64 / messages,
        came.facts as f64 / messages,
        (came.ledger + came.facts) as f64 / messages
    );
    let found = &came.found;
    println!(
        "truth: {} messages compared in {:.0} s: {} lost, {} doubled, {} altered, {} not marked complete",
        found.compared, came.compared_seconds, found.lost, found.doubled, found.altered, found.unstamped
    );
    let (carried, login) = floors(came);
    if let Some(first) = carried.first() {
        println!(
            "floor, over {:.0} MB of the same mail ({} mailboxes): s/GB, and the engine's cost as a multiple",
            first.octets as f64 / 1e6,
            first.mailboxes
        );
        println!("     logging in alone {login:>7.2}   (part of each line below)");
        for way in carried {
            let name =
                if way.way == "copy" { "TLS copy".to_owned() } else { format!("{}, base64, POST", way.way) };
            let cost = floor(way);
            println!("{name:>21} {cost:>7.2} {:>7.2} x", costs.engine / cost.max(1e-9));
        }
    }
}

fn each_sum(came: &Came) -> f64 {
    [came.engine, came.source, came.target].iter().map(|used| used.cpu.seconds()).sum()
}

pub fn json(plan: &Plan, settings: &Settings, came: &Came) -> Value {
    let (costs, messages, mailboxes) = (costs(plan, came), plan.messages as f64, plan.law.mailboxes as f64);
    let (source, target) = trips(came);
    let samples = came.samples.iter().map(|(at, engine, source, target, rss)| {
        json!({ "second": at, "engine_cpu": engine, "source_cpu": source, "target_cpu": target, "engine_rss": rss })
    });
    let ways = came.floors.iter().map(|way| {
        let multiple = (way.way != "login").then(|| costs.engine / floor(way).max(1e-9));
        json!({ "way": way.way, "messages": way.messages, "octets": way.octets, "mailboxes": way.mailboxes,
            "cpu": way.cpu, "engine_multiple": multiple })
    });
    json!({
        "plan": plan.json(),
        "mode": settings.mode,
        "connected": settings.connected,
        "memory": settings.memory,
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "seconds": came.seconds,
        "engine": came.engine,
        "source": came.source,
        "target": came.target,
        "machine_cpu_seconds": came.machine,
        "stolen_cpu_seconds": came.stolen,
        "engine_cpu_seconds_per_gb": costs.engine,
        "engine_cpu_seconds_per_message": came.engine.cpu.seconds() / messages,
        "source_cpu_seconds_per_gb": costs.source,
        "target_cpu_seconds_per_gb": costs.target,
        "source_round_trips": { "message": source / messages, "mailbox": source / mailboxes },
        "target_round_trips": { "message": target / messages, "mailbox": target / mailboxes },
        "most_source_connections": came.most_source_connections,
        "most_target_connections": came.most_target_connections,
        "counters": came.counters,
        "refused_share": refused(came),
        "pace": came.pace,
        "share_of_the_allowed_rate": allowed(came),
        "bound_by_parts": parts(came).iter().map(|(w, s)| ((*w).to_owned(), json!(s))).collect::<serde_json::Map<_, _>>(),
        "bound_by": came.said["bound_by"]["run"],
        "stages": came.said["stages"],
        "ledger_bytes_per_message": came.ledger as f64 / messages,
        "facts_bytes_per_message": came.facts as f64 / messages,
        "truth": came.found,
        "floors": ways.collect::<Vec<_>>(),
        "samples": samples.collect::<Vec<_>>(),
        "wrong": came.wrong,
    })
}

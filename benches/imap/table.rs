//! What the comparison prints, and its summary.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::compare::{Phase, Record};
use crate::corpus::Profile;
use crate::delta::Delta;
use crate::lab::{Pass, median};
use crate::tools::Tool;
use crate::verdict::Verdict;

/// What a corpus is like.
pub fn describe(p: &Profile, mailboxes: usize) {
    println!(
        "corpus: {mailboxes} mailboxes, {} messages, {:.1} MB; median {:.1} kB, mean {:.1} kB, p99 {:.2} MB, largest {:.1} MB, {:.0} % of the octets in messages over 1 MB",
        p.messages,
        p.octets as f64 / 1e6,
        p.median as f64 / 1e3,
        p.mean as f64 / 1e3,
        p.p99 as f64 / 1e6,
        p.max as f64 / 1e6,
        p.over_1_mb * 100.0
    );
}

/// One record, as soon as it is there.
pub fn print(record: &Record) {
    let Record { round, tool, phase, pass, verdict } = record;
    println!(
        "round {round} {:<9} {:<10} wall {:>7.2} s, client {:>6.2} s ({:.2} user), source {:>6.2} s, target {:>6.2} s, {:>5.0} MiB, others {:.1} s, exit {}",
        tool.name(),
        phase.name(),
        pass.used.wall,
        pass.used.cpu(),
        pass.used.user,
        pass.source_cpu,
        pass.target_cpu,
        pass.used.peak_rss as f64 / 1048576.0,
        pass.other_cpu,
        pass.used.exit
    );
    if !pass.used.talk.is_empty() {
        println!("  {}", pass.used.talk.replace('\n', "\n  "));
    }
    if let Some(verdict) = verdict {
        println!("  {}", told(verdict));
    }
}

/// A verdict in a line.
pub fn told(v: &Verdict) -> String {
    if v.perfect() {
        return format!("{} messages as at the source", v.messages);
    }
    let counts = [
        ("lost", v.lost),
        ("doubled", v.doubled),
        ("altered", v.altered),
        ("by X-TUID alone", v.altered_by_x_tuid),
        ("extra", v.extra),
        ("flags", v.flags),
        ("keywords", v.keywords),
        ("dates", v.dates),
        ("folders missing", v.folders_missing),
        ("folders extra", v.folders_extra),
        ("\\NoSelect made real", v.folders_made_real),
        ("subscriptions", v.subscriptions),
    ];
    let wrong: Vec<String> =
        counts.iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{what} {n}")).collect();
    // Flags and keywords go wrong by the hundred if at all: which messages they were is in the JSON.
    let telling = |kind: &String| !kind.starts_with("flags") && !kind.starts_with("keywords");
    let kinds: Vec<String> =
        v.by_kind.iter().filter(|(kind, _)| telling(kind)).map(|(kind, n)| format!("{kind} {n}")).collect();
    format!("{} messages; {} ({})", v.messages, wrong.join(", "), kinds.join("; "))
}

/// Medians by tool and phase, and mailwave against mbsync in pairs; printed and as JSON.
pub fn summary(records: &[Record], profile: &Profile, delta: &Delta) -> Value {
    let mut cells: BTreeMap<(Phase, Tool), Vec<&Record>> = BTreeMap::new();
    for record in records {
        cells.entry((record.phase, record.tool)).or_default().push(record);
    }
    println!("\nmedians");
    println!(
        "phase      tool      runs   wall s  client CPU s  source  target   all CPU    MB/s  messages/s  MB/client s  peak MiB"
    );
    let mut rows = Vec::new();
    for ((phase, tool), runs) in &cells {
        let of = |f: &dyn Fn(&Pass) -> f64| median(&runs.iter().map(|r| f(&r.pass)).collect::<Vec<_>>());
        let (octets, messages) = match phase {
            Phase::First => (profile.octets, profile.messages),
            Phase::Unchanged => (0, 0),
            Phase::Delta => (delta.new_octets, delta.new),
        };
        let (wall, client) = (of(&|p| p.used.wall), of(&|p| p.used.cpu()));
        let (source, target, all) = (of(&|p| p.source_cpu), of(&|p| p.target_cpu), of(&Pass::all_cpu));
        let (mb, peak) = (octets as f64 / 1e6, of(&|p| p.used.peak_rss as f64));
        println!(
            "{:<10} {:<9} {:>4} {wall:>8.2} {client:>13.3} {source:>7.2} {target:>7.2} {all:>9.2} {:>7.1} {:>11.0} {:>12.0} {:>9.0}",
            phase.name(),
            tool.name(),
            runs.len(),
            mb / wall,
            messages as f64 / wall,
            mb / client,
            peak / 1048576.0
        );
        rows.push(json!({
            "phase": phase.name(), "tool": tool.name(), "runs": runs.len(), "wall": wall, "client_cpu": client,
            "source_cpu": source, "target_cpu": target, "all_cpu": all, "mb_per_s": mb / wall,
            "messages_per_s": messages as f64 / wall, "mb_per_client_cpu_s": mb / client, "peak_rss": peak,
        }));
    }
    println!("\nmailwave as a share of each peer (medians over rounds of the pairs' ratios)");
    let mut pairs = Vec::new();
    for ((phase, tool), runs) in &cells {
        let Some(own) = cells.get(&(*phase, Tool::Mailwave)).filter(|_| *tool != Tool::Mailwave) else {
            continue;
        };
        let ratio = |f: &dyn Fn(&Pass) -> f64| {
            let all = runs.iter().filter_map(|peer| {
                let own = own.iter().find(|r| r.round == peer.round)?;
                Some(f(&own.pass) / f(&peer.pass).max(0.001))
            });
            median(&all.collect::<Vec<_>>())
        };
        let (client, all, wall) = (ratio(&|p| p.used.cpu()), ratio(&Pass::all_cpu), ratio(&|p| p.used.wall));
        println!(
            "{:<10} of {:<9} client CPU {client:.2}, client and servers' CPU {all:.2}, wall {wall:.2}",
            phase.name(),
            tool.name()
        );
        pairs.push(json!({"phase": phase.name(), "peer": tool.name(), "client_cpu": client, "all_cpu": all, "wall": wall}));
    }
    println!("\nworst copy of each tool");
    for ((phase, tool), runs) in &cells {
        let worst = runs
            .iter()
            .filter_map(|r| r.verdict.as_ref())
            .max_by_key(|v| (v.lost + v.doubled, v.altered, v.dates));
        if let Some(worst) = worst {
            println!("{:<10} {:<9} {}", phase.name(), tool.name(), told(worst));
        }
    }
    json!({"medians": rows, "mailwave_as_share": pairs})
}

//! The comparison: every tool copies the same mailboxes from the same source into an empty target, makes a pass without
//! changes and one with the same changes; rounds in which the tools take turns.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::check::{Kinds, Mailbox, Verdict, read_all};
use crate::corpus::{Extent, Profile};
use crate::delta::Delta;
use crate::lab::{Lab, Pass, facts, median, write_json};
use crate::store::Filler;
use crate::tools::Tool;
use crate::{Common, Result};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Mailboxes.
    #[arg(long, default_value_t = 24)]
    pub mailboxes: usize,
    /// Size of all of them together, MB.
    #[arg(long, default_value_t = 1100)]
    pub megabytes: u64,
    /// Rounds; 5 for figures that are worth keeping.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Tools; those not installed are left out.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "mailwave,mbsync,doveadm,imapsync")]
    pub tools: Vec<Tool>,
    /// doveadm and imapsync run in every round too, not in the first alone.
    #[arg(long)]
    pub all_rounds: bool,
    /// Only the first copy.
    #[arg(long)]
    pub first_only: bool,
    /// Do not read and compare the copies.
    #[arg(long)]
    pub no_check: bool,
}

/// What the corpus of given size is like.
#[derive(Debug, Clone, clap::Args)]
pub struct CorpusOptions {
    #[arg(long, default_value_t = 24)]
    mailboxes: usize,
    #[arg(long, default_value_t = 1100)]
    megabytes: u64,
    #[arg(long, default_value_t = 20_260_101)]
    seed: u64,
}

impl CorpusOptions {
    pub fn run(&self) -> Result<()> {
        let extent =
            Extent { seed: self.seed, mailboxes: self.mailboxes, octets: self.megabytes * 1_000_000 };
        let sizes =
            (0..self.mailboxes).flat_map(|n| extent.mailbox(n)).map(|m| m.octets.len() as u64).collect();
        describe(&Profile::of(sizes), self.mailboxes);
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    First,
    Unchanged,
    Delta,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::First => "first copy",
            Phase::Unchanged => "no change",
            Phase::Delta => "delta",
        }
    }
}

struct Record {
    round: usize,
    tool: Tool,
    phase: Phase,
    pass: Pass,
    verdict: Option<Verdict>,
}

/// The source in one state, as the reader sees it, and the kinds of its special messages.
struct Truth {
    first: Vec<Mailbox>,
    changed: Vec<Mailbox>,
    kinds: Kinds,
}

pub fn run(options: &Options) -> Result<()> {
    let extent = Extent {
        seed: options.common.seed,
        mailboxes: options.mailboxes,
        octets: options.megabytes * 1_000_000,
    };
    let tools: Vec<Tool> = options.tools.iter().copied().filter(|t| t.program().is_some()).collect();
    let facts = facts(&options.tools);
    let mut lab = Lab::new(&options.common)?;
    let names: Vec<String> = (1..=options.mailboxes).map(|n| format!("user{n:04}")).collect();
    let (users, profile, kinds) = fill(&mut lab, &extent, &names)?;
    describe(&profile, names.len());
    lab.index(&users)?;
    // The reader reads the source even if it does not check: the page cache is warm for the first tool too.
    let first = read_all(lab.source.plain_port, &names)?;
    lab.keep("first")?;
    let mut delta = Delta::default();
    let mut changed = Vec::new();
    if !options.first_only {
        for (n, name) in names.iter().enumerate() {
            delta.apply(lab.source.plain_port, name, &extent, n)?;
        }
        changed = read_all(lab.source.plain_port, &names)?;
        lab.keep("changed")?;
    }
    let truth = Truth { first, changed, kinds };
    println!(
        "{} connections to each server, round-trip time {} ms, target {:?}; {}",
        options.common.connections,
        options.common.rtt,
        options.common.target_format,
        "mailwave syncs its ledger before and after each batch, mbsync runs with FSync on"
    );
    let mut records = Vec::new();
    for round in 1..=options.rounds {
        let mut turn = tools.clone();
        let shift = round % turn.len().max(1);
        turn.rotate_left(shift);
        for tool in turn {
            let informative = matches!(tool, Tool::Doveadm | Tool::Imapsync);
            if !informative || round == 1 || options.all_rounds {
                one(&mut lab, options, tool, round, &names, &users, &truth, &mut records)?;
            }
        }
    }
    let summary = summary(&records, &profile, &delta);
    let runs: Vec<Value> = records
        .iter()
        .map(|r| {
            let mut run = json!({"round": r.round, "tool": r.tool.name(), "phase": r.phase.name(), "verdict": r.verdict});
            if let (Value::Object(run), Ok(Value::Object(pass))) = (&mut run, serde_json::to_value(&r.pass)) {
                run.extend(pass);
            }
            run
        })
        .collect();
    let value = json!({
        "facts": facts,
        "options": {
            "mailboxes": options.mailboxes, "megabytes": options.megabytes, "rounds": options.rounds,
            "connections": options.common.connections, "rtt_ms": options.common.rtt, "seed": options.common.seed,
            "target_format": format!("{:?}", options.common.target_format), "maildir_target": options.common.maildir_target,
        },
        "corpus": {
            "messages": profile.messages, "octets": profile.octets, "median": profile.median, "mean": profile.mean,
            "p99": profile.p99, "max": profile.max, "share_over_1_mb": profile.over_1_mb,
        },
        "delta": delta,
        "runs": runs,
        "summary": summary,
    });
    write_json(&options.common, &value)
}

/// Fills the source; users with their octets, what the corpus is like, and its special messages.
fn fill(lab: &mut Lab, extent: &Extent, names: &[String]) -> Result<(Vec<(String, u64)>, Profile, Kinds)> {
    let (mut kinds, mut sizes, mut users) = (Kinds::new(), Vec::new(), Vec::new());
    lab.source.stop()?;
    for (n, name) in names.iter().enumerate() {
        let root = lab.source.mail().join(name).join("Maildir");
        let mut filler = Filler::new(&root, &mut kinds, &mut sizes)?;
        let mut octets = 0;
        for mail in extent.mailbox(n) {
            octets += mail.octets.len() as u64;
            filler.add(&mail)?;
        }
        filler.finish()?;
        users.push((name.clone(), octets));
    }
    lab.source.run()?;
    Ok((users, Profile::of(sizes), kinds))
}

fn describe(p: &Profile, mailboxes: usize) {
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

/// All phases of one tool in one round.
#[allow(clippy::too_many_arguments)]
fn one(
    lab: &mut Lab,
    options: &Options,
    tool: Tool,
    round: usize,
    names: &[String],
    users: &[(String, u64)],
    truth: &Truth,
    records: &mut Vec<Record>,
) -> Result<()> {
    lab.show("first")?;
    lab.target.wipe()?;
    let dir = lab.fresh(tool)?;
    let phases: &[Phase] =
        if options.first_only { &[Phase::First] } else { &[Phase::First, Phase::Unchanged, Phase::Delta] };
    for phase in phases.iter().copied() {
        if phase == Phase::Delta {
            lab.show("changed")?;
        }
        let job = lab.job(users.to_vec());
        let pass = lab.pass(tool, &dir, &job)?;
        let state = match phase {
            Phase::First => Some(&truth.first),
            Phase::Unchanged => None, // the pass with changes would show what it spoilt
            Phase::Delta => Some(&truth.changed),
        };
        let verdict = match state.filter(|_| !options.no_check) {
            Some(state) => {
                let copy = read_all(lab.target.plain_port, names)?;
                Some(Verdict::of(state, &copy, &truth.kinds))
            }
            None => None,
        };
        print(round, tool, phase, &pass, verdict.as_ref());
        records.push(Record { round, tool, phase, pass, verdict });
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn print(round: usize, tool: Tool, phase: Phase, pass: &Pass, verdict: Option<&Verdict>) {
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
fn told(v: &Verdict) -> String {
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
fn summary(records: &[Record], profile: &Profile, delta: &Delta) -> Value {
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

//! The comparison: every tool copies the same mailboxes from the same source into an empty target, makes a pass without
//! changes and one with the same changes; rounds in which the tools take turns.

use serde_json::{Value, json};

use crate::check::read_all;
use crate::corpus::{Extent, Profile};
use crate::delta::Delta;
use crate::lab::{Lab, Pass, facts, write_json};
use crate::store::Filler;
use crate::table;
use crate::tools::Tool;
use crate::verdict::{Kinds, Mailbox, Verdict};
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
        table::describe(&Profile::of(sizes), self.mailboxes);
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    First,
    Unchanged,
    Delta,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Phase::First => "first copy",
            Phase::Unchanged => "no change",
            Phase::Delta => "delta",
        }
    }
}

/// One pass of one tool, and what its copy was like.
pub struct Record {
    pub round: usize,
    pub tool: Tool,
    pub phase: Phase,
    pub pass: Pass,
    pub verdict: Option<Verdict>,
}

/// The source: what is in it, and what its two states look like to a reader.
struct Stage {
    names: Vec<String>,
    /// Mailboxes with their octets.
    users: Vec<(String, u64)>,
    profile: Profile,
    kinds: Kinds,
    first: Vec<Mailbox>,
    changed: Vec<Mailbox>,
    delta: Delta,
}

pub fn run(options: &Options) -> Result<()> {
    let tools: Vec<Tool> = options.tools.iter().copied().filter(|t| t.program().is_some()).collect();
    let facts = facts(&options.tools);
    let mut lab = Lab::new(&options.common)?;
    let stage = Stage::set(&mut lab, options)?;
    println!(
        "{} connections to each server, round-trip time {} ms, target {:?}; mailwave syncs its ledger before and after each batch, mbsync runs with FSync on",
        options.common.connections, options.common.rtt, options.common.target_format,
    );
    let mut records = Vec::new();
    for round in 1..=options.rounds {
        let mut turn = tools.clone();
        let shift = round % turn.len().max(1);
        turn.rotate_left(shift);
        for tool in turn {
            let informative = matches!(tool, Tool::Doveadm | Tool::Imapsync);
            if !informative || round == 1 || options.all_rounds {
                stage.one(&mut lab, options, tool, round, &mut records)?;
            }
        }
    }
    let summary = table::summary(&records, &stage.profile, &stage.delta);
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
    let (common, profile) = (&options.common, &stage.profile);
    let value = json!({
        "facts": facts,
        "options": {
            "mailboxes": options.mailboxes, "megabytes": options.megabytes, "rounds": options.rounds,
            "connections": common.connections, "rtt_ms": common.rtt, "seed": common.seed,
            "target_format": format!("{:?}", common.target_format), "maildir_target": common.maildir_target,
        },
        "corpus": {
            "messages": profile.messages, "octets": profile.octets, "median": profile.median, "mean": profile.mean,
            "p99": profile.p99, "max": profile.max, "share_over_1_mb": profile.over_1_mb,
        },
        "delta": stage.delta,
        "runs": runs,
        "summary": summary,
    });
    write_json(common, &value)
}

impl Stage {
    /// Fills the source, lets it index, and keeps it as it is first and as it is after the changes.
    fn set(lab: &mut Lab, options: &Options) -> Result<Stage> {
        let extent = Extent {
            seed: options.common.seed,
            mailboxes: options.mailboxes,
            octets: options.megabytes * 1_000_000,
        };
        let names: Vec<String> = (1..=options.mailboxes).map(|n| format!("user{n:04}")).collect();
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
        let profile = Profile::of(sizes);
        table::describe(&profile, names.len());
        lab.index(&users)?;
        // The reader reads the source even if nothing is compared: the page cache is warm for the first tool too.
        let first = read_all(lab.source.plain_port, &names)?;
        lab.keep("first")?;
        let (mut delta, mut changed) = (Delta::default(), Vec::new());
        if !options.first_only {
            for (n, name) in names.iter().enumerate() {
                delta.apply(lab.source.plain_port, name, &extent, n)?;
            }
            changed = read_all(lab.source.plain_port, &names)?;
            lab.keep("changed")?;
        }
        Ok(Stage { names, users, profile, kinds, first, changed, delta })
    }

    /// All phases of one tool in one round.
    fn one(
        &self,
        lab: &mut Lab,
        options: &Options,
        tool: Tool,
        round: usize,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        lab.show("first")?;
        lab.target.wipe()?;
        // What the tool before has left to write is not this one's burden.
        std::process::Command::new("sync").status()?;
        let dir = lab.fresh(tool)?;
        let phases: &[Phase] = if options.first_only {
            &[Phase::First]
        } else {
            &[Phase::First, Phase::Unchanged, Phase::Delta]
        };
        for phase in phases.iter().copied() {
            if phase == Phase::Delta {
                lab.show("changed")?;
            }
            let job = lab.job(self.users.clone());
            let pass = lab.pass(tool, &dir, &job)?;
            let state = match phase {
                Phase::First => Some(&self.first),
                Phase::Unchanged => None, // the next comparison would show what it spoilt
                Phase::Delta => Some(&self.changed),
            };
            let verdict = match state.filter(|_| !options.no_check) {
                Some(state) => {
                    let copy = read_all(lab.target.plain_port, &self.names)?;
                    Some(Verdict::of(state, &copy, &self.kinds))
                }
                None => None,
            };
            let record = Record { round, tool, phase, pass, verdict };
            table::print(&record);
            records.push(record);
        }
        std::fs::remove_dir_all(&dir)?;
        Ok(())
    }
}

//! A night of 22,000 mailboxes and a weekend of 83,000, in small: the whole engine, a mock IMAP source and a mock Graph
//! target in processes of their own, TLS on loopback, mail made up from a seed. What it measures and how to read it:
//! scripts/README-bench.md.
//!
//! ```text
//! cargo bench --bench night                     a hundredth of a night; its figures mean little
//! scripts/bench-night | scripts/bench-weekend   all of it
//! ```
//! It fails on what is lost, doubled or altered, on refusals and on an engine that fails; never on time.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod floor;
mod outlook;
mod plan;
mod rounds;
mod run;
mod sink;
mod told;
mod truth;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::{Value, json};

use plan::{MAILBOX_MESSAGES, MAILBOX_OCTETS, NIGHT, Plan, WEEKEND};
use rounds::Round;
use run::Settings;

#[derive(Debug, Parser)]
struct Wanted {
    #[command(subcommand)]
    part: Option<Part>,
    /// All of a night: 22,000 mailboxes.
    #[arg(long)]
    night: bool,
    /// All of a weekend: 83,000 mailboxes.
    #[arg(long, conflicts_with = "night")]
    weekend: bool,
    /// Mailboxes as they are in life (0.95 GB, 12,700 messages, some 40 folders), so many of them.
    #[arg(long, conflicts_with_all = ["night", "weekend"])]
    unscaled: Option<u64>,
    /// So many mailboxes of the night or the weekend, not all.
    #[arg(long)]
    mailboxes: Option<u64>,
    /// Messages in each mailbox: the scale of contents is so many of 12,700.
    #[arg(long)]
    messages: Option<u32>,
    /// Mean octets of a message.
    #[arg(long, default_value_t = (MAILBOX_OCTETS / MAILBOX_MESSAGES).round())]
    mean: f64,
    /// The scale of time.
    #[arg(long)]
    time: Option<u32>,
    /// Mailboxes open at once.
    #[arg(long)]
    open: Option<u64>,
    /// Connections to the source at once, at most.
    #[arg(long, default_value_t = 1000)]
    connected: u64,
    /// How messages are written: `json`, or `import-mime` (with `json` for what that does not take); or both, in turn.
    #[arg(long, default_value = "json", value_delimiter = ',')]
    mode: Vec<String>,
    /// Runs it so many times, each with mocks of its own, and tells the medians.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// The engine's body budget.
    #[arg(long, default_value = "256MiB")]
    memory: String,
    /// The floor is measured over so many MB; 0: it is not.
    #[arg(long, default_value_t = 200)]
    floor: u64,
    /// Draws the mail.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Fails if a larger part of the requests was refused.
    #[arg(long, default_value_t = 0.001)]
    most_refused: f64,
    /// Writes the figures here as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Works in this directory, and leaves it there.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Put before the engine's command: `perf record …`. The figures are of the command then.
    #[arg(long, value_delimiter = ' ', allow_hyphen_values = true)]
    before: Vec<String>,
    /// Prints the plan and ends.
    #[arg(long)]
    plan: bool,
    /// What `cargo bench` adds.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

/// What processes of the bench itself do.
#[derive(Debug, Subcommand)]
enum Part {
    /// Reads mail and passes it on, without an engine.
    #[command(hide = true)]
    Floor(floor::Told),
    /// Takes octets and throws them away.
    #[command(hide = true)]
    Sink {
        #[arg(long)]
        kind: String,
        #[arg(long)]
        ca: PathBuf,
    },
}

impl Wanted {
    fn plan(&self) -> Plan {
        if let Some(many) = self.unscaled {
            let scale = (MAILBOX_MESSAGES as u32, self.mean, self.time.unwrap_or(10));
            return Plan::new("unscaled", many, NIGHT, scale, self.open.or(Some(24)), self.seed);
        }
        let whole = if self.weekend { WEEKEND } else { NIGHT };
        let (name, many, time) = match (self.night, self.weekend) {
            (true, _) => ("night", whole.0, 30),
            (_, true) => ("weekend", whole.0, 60),
            _ => ("slice", whole.0 / 100, 60),
        };
        let scale = (self.messages.unwrap_or(20), self.mean, self.time.unwrap_or(time));
        Plan::new(name, self.mailboxes.unwrap_or(many), whole, scale, self.open, self.seed)
    }
}

fn main() -> ExitCode {
    let wanted = Wanted::parse();
    match &wanted.part {
        Some(Part::Floor(told)) => {
            floor::run(told);
            return ExitCode::SUCCESS;
        }
        Some(Part::Sink { kind, ca }) => {
            sink::run(ca, kind == "http");
            return ExitCode::SUCCESS;
        }
        None => {}
    }
    let plan = wanted.plan();
    plan.print();
    if wanted.plan {
        return ExitCode::SUCCESS;
    }
    let made = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let root = wanted.keep.clone().unwrap_or_else(|| made.path().to_owned());
    std::fs::create_dir_all(&root).unwrap();
    let root = root.canonicalize().unwrap();
    let (mut rounds, mut runs, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..wanted.rounds.max(1) {
        for mode in &wanted.mode {
            let settings = Settings {
                mode: mode.clone(),
                connected: wanted.connected,
                memory: wanted.memory.clone(),
                before: wanted.before.clone(),
            };
            // A run of its own begins with nothing.
            let root = root.join(format!("{mode}-{round}"));
            std::fs::create_dir_all(&root).unwrap();
            let came = run::travel(&plan, &settings, wanted.floor * 1_000_000, &root);
            told::print(&plan, &settings, &came);
            outlook::print(&plan, &came);
            let mut all = told::json(&plan, &settings, &came);
            all["outlook"] = outlook::json(&plan, &came);
            runs.push(all);
            rounds.push(Round::of(&plan, mode, &came));
            failed.extend(told::failed(&settings, &plan, &came, wanted.most_refused));
        }
    }
    if rounds.len() > 1 {
        rounds::print(&rounds);
    }
    if let Some(file) = &wanted.json {
        let all = match <[Value; 1]>::try_from(runs) {
            Ok([one]) => one,
            Err(runs) => json!({ "runs": runs, "medians": rounds::json(&rounds) }),
        };
        std::fs::write(file, format!("{all:#}\n")).unwrap();
    }
    failed.iter().for_each(|why| println!("failed: {why}"));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

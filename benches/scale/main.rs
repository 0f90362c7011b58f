//! How CPU, memory and time of the engine grow with what it is given: one thing is changed at a time, the real program runs
//! between a mock IMAP source and a target, each in a process of its own. What is drawn and how to read it:
//! scripts/README-bench.md.
//!
//! ```text
//! scripts/bench-scale mailboxes --most 10000 --svg mailboxes.svg
//! scripts/bench-scale messages | sizes | latency | connections | at-once
//! ```
//! It fails on an engine that fails or copies less than there is; never on time.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod fit;
mod ladder;
mod plot;
mod run;
mod told;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use ladder::Ladder;

#[derive(Debug, Parser)]
struct Wanted {
    /// What is changed.
    ladder: Ladder,
    /// Steps above this are left out.
    #[arg(long)]
    most: Option<u64>,
    /// Steps below this are left out.
    #[arg(long)]
    least: Option<u64>,
    /// Each step is run so often; the cheapest run counts.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// `graph`, or `maildir` where the ladder allows it (on a file system in memory, with `--dir`).
    #[arg(long, default_value = "graph")]
    target: run::Target,
    /// Mailboxes open at once.
    #[arg(long, default_value_t = 64)]
    open: u64,
    /// The engine's body budget.
    #[arg(long, default_value = "256MiB")]
    memory: String,
    /// Works below this directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Writes the figures here as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draws the curves here.
    #[arg(long)]
    svg: Option<PathBuf>,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let wanted = Wanted::parse();
    let steps = wanted.ladder.steps(wanted.least.unwrap_or(0)..=wanted.most.unwrap_or(u64::MAX));
    println!("{}", wanted.ladder.words());
    let mut points = Vec::new();
    let mut failed = false;
    told::head(wanted.ladder);
    for step in &steps {
        let dir = wanted.dir.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
        let settings =
            run::Settings { target: wanted.target, open: wanted.open, memory: wanted.memory.clone(), dir };
        let runs = (0..wanted.rounds.max(1)).map(|_| run::run(step, &settings));
        match runs.collect::<Result<Vec<_>, String>>() {
            Ok(runs) => {
                let best = runs.into_iter().min_by(|a, b| a.cpu.total_cmp(&b.cpu)).unwrap();
                told::line(&best);
                points.push(best);
            }
            Err(why) => {
                println!("failed at {}: {why}", step.at);
                failed = true;
                break;
            }
        }
    }
    let curves = told::curves(&points);
    told::tail(&curves);
    if let Some(file) = &wanted.json {
        std::fs::write(file, format!("{:#}\n", told::json(wanted.ladder, &points, &curves))).unwrap();
    }
    if let Some(file) = &wanted.svg {
        std::fs::write(file, plot::draw(wanted.ladder.words(), wanted.ladder.unit(), &curves)).unwrap();
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

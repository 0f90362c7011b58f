//! Instructions of the hot paths, counted by valgrind: a guard against what makes them dearer unseen. Time is not looked at,
//! so the machine may be busy. How it is read and how a new count is accepted: scripts/README-bench.md.
//!
//! ```text
//! scripts/bench-instructions                   counts all cases and compares them with benches/count/baseline.tsv
//! scripts/bench-instructions --save            writes the baseline anew
//! scripts/bench-instructions growth            does a mailbox of ten thousand cost what one of a thousand does?
//! ```
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

#[path = "../common/all_is_well.rs"]
mod all_is_well;
mod canned;
mod cases;
mod growth;
mod guard;
mod ledger;
#[allow(dead_code)]
#[path = "../../tests/it/support/mailgen.rs"]
mod mailgen;
mod valgrind;
mod wave;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// As in the program itself; the C library's would differ from machine to machine.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Debug, Parser)]
struct Wanted {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    guard: guard::Options,
    /// What `cargo bench` adds.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Does one case so many times: what runs under valgrind.
    Case { name: String, times: u32 },
    /// Moves a wave in this process: what runs under valgrind.
    Wave(wave::Wave),
    /// Instructions per mailbox and per message of waves of several sizes.
    Growth(growth::Options),
}

fn main() -> ExitCode {
    let wanted = Wanted::parse();
    match wanted.part {
        Some(Part::Case { name, times }) => {
            let case = cases::ALL.iter().find(|case| case.name == name).expect("there is such a case");
            (case.work)(times);
            ExitCode::SUCCESS
        }
        Some(Part::Wave(wave)) => {
            println!("{}", wave.travel());
            ExitCode::SUCCESS
        }
        Some(Part::Growth(options)) => growth::run(&options),
        None => guard::run(&wanted.guard),
    }
}

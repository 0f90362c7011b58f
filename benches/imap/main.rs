//! IMAP to IMAP on this machine: mailwave against mbsync, between two Dovecots, on one seeded corpus.
//! `scripts/bench-imap` prepares and starts it; `scripts/README-bench.md` says what it measures and how to read it.
#![allow(clippy::disallowed_methods, missing_docs)] // a bench reads the clock itself

mod check;
mod compare;
#[path = "../../tests/it/support/corpus.rs"]
mod corpus;
mod delta;
mod extremes;
mod lab;
mod many;
mod proc;
#[path = "../common/proxy.rs"]
mod proxy;
mod reader;
mod server;
mod store;
mod table;
mod tidy;
mod tools;
#[path = "../../tests/it/support/verdict.rs"]
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Errors end the bench: there is nobody to handle them.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
#[command(
    name = "bench-imap",
    about = "IMAP to IMAP: mailwave and its peers between two Dovecots on this machine"
)]
struct Cli {
    #[command(subcommand)]
    scenario: Option<Scenario>,
    /// cargo passes it to every bench.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Scenario {
    /// First copy, a pass without changes, and a pass with changes; every tool in turn, several rounds.
    Compare(compare::Options),
    /// Many mailboxes with many nearly empty folders: what a pass without changes costs.
    Many(many::Options),
    /// One folder of very many messages: memory, and going on after a kill.
    Huge(extremes::Huge),
    /// One very large message: memory, against the same run with a message of 1 MB.
    Big(extremes::Big),
    /// What the corpus is like; nothing is run.
    Corpus(compare::CorpusOptions),
}

/// What all scenarios know.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Connections to each server at once.
    #[arg(long, default_value_t = 2)]
    pub connections: usize,
    /// Round-trip time of both links, ms.
    #[arg(long, default_value_t = 0)]
    pub rtt: u64,
    /// How the target keeps mail.
    #[arg(long, value_enum, default_value = "maildir")]
    pub target_format: server::Format,
    /// The same seed makes the same mail.
    #[arg(long, default_value_t = 20_260_101)]
    pub seed: u64,
    /// Where the servers and the mail lie while it runs, several times the size of the corpus; a temporary folder by default.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Write the figures there, as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// mailwave writes the target's Maildirs itself, in place of IMAP: for trying the bench.
    #[arg(long, hide = true)]
    pub maildir_target: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(why) = tidy::on_signals() {
        eprintln!("bench-imap: {why}");
        return ExitCode::FAILURE;
    }
    let done = match cli.scenario {
        Some(Scenario::Compare(options)) => compare::run(&options),
        Some(Scenario::Many(options)) => many::run(&options),
        Some(Scenario::Huge(options)) => options.run(),
        Some(Scenario::Big(options)) => options.run(),
        Some(Scenario::Corpus(options)) => options.run(),
        None => {
            println!("which scenario? scripts/bench-imap --help");
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench-imap: {why}");
            ExitCode::FAILURE
        }
    }
}

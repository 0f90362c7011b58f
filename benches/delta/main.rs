//! A night of delta passes: many mailboxes with many nearly empty folders, first copied, then passed over again with 0 %,
//! 1 % and 3 % of change, between a mock IMAP source and a mock Graph target in processes of their own, TLS on loopback.
//! What it measures and how to read it: scripts/README-bench.md.
//!
//! ```text
//! cargo bench --bench delta     300 mailboxes; its figures mean little
//! scripts/bench-delta           22,000 mailboxes
//! ```
//! It fails on what is lost, doubled or altered, on refusals, on more than three round trips a mailbox in a pass without
//! changes, and on an engine that fails; never on time.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../night/floor.rs"]
mod floor;
mod run;
mod told;
#[path = "../night/truth.rs"]
mod truth;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mailwave::mock::imap::made::Law;

use run::Settings;

#[derive(Debug, Parser)]
struct Wanted {
    #[command(subcommand)]
    part: Option<Part>,
    /// All of a night: 22,000 mailboxes.
    #[arg(long, conflicts_with = "mailboxes")]
    night: bool,
    /// So many mailboxes.
    #[arg(long, default_value_t = 300)]
    mailboxes: u64,
    /// Folders of each mailbox.
    #[arg(long, default_value_t = 40)]
    folders: u32,
    /// Messages of each mailbox at first.
    #[arg(long, default_value_t = 20)]
    messages: u32,
    /// The share of the messages that change before each pass, in per cent.
    #[arg(long, value_delimiter = ',', default_value = "0,1,3")]
    drift: Vec<f64>,
    /// Mailboxes open at once.
    #[arg(long, default_value_t = 200)]
    open: u64,
    /// Connections to the source at once, at most.
    #[arg(long, default_value_t = 100)]
    connected: u64,
    /// Extensions the source offers beside the usual ones.
    #[arg(long, default_value = "CONDSTORE,QRESYNC,LIST-EXTENDED,LIST-STATUS")]
    offer: String,
    /// Mailboxes of which connecting and logging in alone is measured.
    #[arg(long, default_value_t = 2000)]
    hello: u64,
    /// Draws the mail.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Fails if a larger part of the requests was refused.
    #[arg(long, default_value_t = 0.001)]
    most_refused: f64,
    /// Fails if a pass without changes takes more round trips a mailbox, of both ends together. A little more than three: a
    /// server that answers the first of several commands before the last was sent makes two of one.
    #[arg(long, default_value_t = 3.05)]
    most_trips: f64,
    /// Writes the figures here as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Works in this directory, and leaves it there.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Put before the engine's command in the passes after the first copy: `perf record …`. The figures are of the command
    /// then.
    #[arg(long, value_delimiter = ' ', allow_hyphen_values = true)]
    before: Vec<String>,
    /// What `cargo bench` adds.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

/// What processes of the bench itself do.
#[derive(Debug, Subcommand)]
enum Part {
    /// Connects and logs in, without an engine.
    #[command(hide = true)]
    Floor(floor::Told),
}

impl Wanted {
    fn law(&self) -> Law {
        Law {
            seed: self.seed,
            mailboxes: if self.night { 22_000 } else { self.mailboxes },
            folders_least: self.folders,
            folders_more: 0.0,
            folders_most: self.folders,
            messages_least: self.messages,
            messages_more: 0.0,
            // Small: this is about finding out what changed, not about carrying octets.
            size_median: 2_500.0,
            size_sigma: 0.5,
            size_least: 1_600,
            size_most: 20_000,
            ..Law::default()
        }
    }
}

fn main() -> ExitCode {
    let wanted = Wanted::parse();
    if let Some(Part::Floor(told)) = &wanted.part {
        floor::run(told);
        return ExitCode::SUCCESS;
    }
    let made = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let root = wanted.keep.clone().unwrap_or_else(|| made.path().to_owned());
    std::fs::create_dir_all(&root).unwrap();
    let root = root.canonicalize().unwrap();
    let settings = Settings {
        drift: wanted.drift.iter().map(|percent| percent / 100.0).collect(),
        open: wanted.open,
        connected: wanted.connected,
        offer: wanted.offer.clone(),
        hello: wanted.hello,
        before: wanted.before.clone(),
    };
    let law = wanted.law();
    told::plan(&law, &settings);
    let passes = run::travel(&law, &settings, &root, told::pass);
    told::summary(&law, &passes);
    if let Some(file) = &wanted.json {
        std::fs::write(file, format!("{:#}\n", told::json(&law, &settings, &passes))).unwrap();
    }
    let failed = told::failed(&law, &passes, wanted.most_refused, wanted.most_trips);
    failed.iter().for_each(|why| println!("failed: {why}"));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

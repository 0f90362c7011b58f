//! Does a mailbox of a large wave cost what one of a small wave does? Instructions of the engine and the ledger alone, for
//! waves of several sizes; the mock of Graph is left out of the count.

use std::process::ExitCode;
use std::time::Instant;

use crate::valgrind;
use crate::wave::BESIDE;

/// Messages in each mailbox in the two runs of a size: their difference is what messages cost.
const MESSAGES: (u32, u32) = (1, 4);

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Mailboxes in each wave.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    sizes: Vec<u32>,
    /// Mailboxes open at once.
    #[arg(long, default_value_t = 64)]
    open: usize,
    /// Fails beyond this difference between the cheapest and the dearest, in percent.
    #[arg(long, default_value_t = 10.0)]
    tolerance: f64,
    /// Writes the profiles of the runs to this directory.
    #[arg(long)]
    profiles: Option<std::path::PathBuf>,
}

pub fn run(options: &Options) -> ExitCode {
    if let Err(why) = valgrind::is_here() {
        println!("skipped: {why}");
        return ExitCode::SUCCESS;
    }
    let count = |mailboxes: u32, messages: u32| {
        let words =
            ["wave", "--mailboxes", &mailboxes.to_string(), "--messages", &messages.to_string(), "--open"];
        let words: Vec<String> =
            words.iter().map(ToString::to_string).chain([options.open.to_string()]).collect();
        let out = options.profiles.as_ref().map(|dir| dir.join(format!("growth.{mailboxes}.{messages}")));
        valgrind::count(&words, Some(BESIDE), out).unwrap_or_else(|why| panic!("{why}"))
    };
    println!("{} open at once; the engine and the ledger, without the mock of the target", options.open);
    println!("{:>10} {:>22} {:>22} {:>10}", "mailboxes", "a mailbox without mail", "each message", "seconds");
    let start = count(0, 0);
    let mut told: Vec<(f64, f64)> = Vec::new();
    for size in &options.sizes {
        let began = Instant::now();
        let (few, many) = MESSAGES;
        let (with_few, with_many) = std::thread::scope(|threads| {
            let other = threads.spawn(|| count(*size, few));
            let many = count(*size, many);
            (other.join().unwrap(), many)
        });
        let message = (with_many - with_few) as f64 / f64::from(many - few) / f64::from(*size);
        let mailbox = (with_few - start) as f64 / f64::from(*size) - message * f64::from(few);
        println!("{size:>10} {mailbox:>22.0} {message:>22.0} {:>10.0}", began.elapsed().as_secs_f64());
        told.push((mailbox, message));
    }
    let spread = |of: &dyn Fn(&(f64, f64)) -> f64| {
        let least = told.iter().map(of).fold(f64::INFINITY, f64::min);
        (told.iter().map(of).fold(0.0, f64::max) / least - 1.0) * 100.0
    };
    let (mailbox, message) = (spread(&|one| one.0), spread(&|one| one.1));
    println!("spread: {mailbox:.1} % a mailbox, {message:.1} % a message");
    if mailbox.max(message) > options.tolerance {
        println!("failed: it is not constant within {} %", options.tolerance);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

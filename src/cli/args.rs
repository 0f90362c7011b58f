//! The arguments as typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::observe::Level;

/// Moves many mailboxes: nothing lost, nothing twice, at a governed pace, stoppable and resumable at any point.
#[derive(Debug, Parser)]
#[command(name = "mailwave", version, max_term_width = 110)]
#[command(after_help = "Exit codes: 0 perfect or good, 1 someone has to look, 2 failed, 64 wrong usage or \
configuration, 75 stopped (run the same command to go on).")]
pub(super) struct Args {
    /// How much to log on stderr: off, error, warn, info, debug, trace [default: MAILWAVE_LOG, else warn].
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(super) log: Option<Level>,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Write a commented mailwave.toml and an example mailboxes.csv.
    Init(InitArgs),
    /// Open every mailbox at both ends and tell all that cannot be. Moves nothing.
    Check(CheckArgs),
    /// Move mailboxes: new ones whole, known ones by their changes. Stop it at will; run it again to go on.
    Run(RunArgs),
    /// Let a run that is going on begin nothing new, until it is resumed. What is under way is recorded.
    Pause(ControlArgs),
    /// Let what was paused go on.
    Resume(ControlArgs),
    /// End a run that is going on (or a wave, or a mailbox of it): what is under way is finished and recorded.
    Drain(ControlArgs),
    /// Show what a run that is going on says, and what the ledger knows of each mailbox.
    Status(ReadArgs),
    /// Compare the copies at the target with the ledger. Writes nothing.
    Verify(ReadArgs),
    /// Write the report: text, JSON and CSV.
    Report(ReportArgs),
    /// Simulate a night: the machines that govern a run, without servers, in seconds.
    Simulate(SimulateArgs),
    /// Look after the ledger itself.
    Ledger(LedgerArgs),
    /// Run a mock server on a loopback address, for trials.
    Mock(MockArgs),
}

impl Verb {
    /// Was the one JSON object asked for?
    pub(super) fn json(&self) -> bool {
        match self {
            Verb::Run(args) => args.json,
            Verb::Check(args) => args.json,
            Verb::Pause(args) | Verb::Resume(args) | Verb::Drain(args) => args.json,
            Verb::Status(args) | Verb::Verify(args) => args.json,
            Verb::Simulate(args) => args.json,
            Verb::Ledger(args) => match &args.verb {
                LedgerVerb::Check(args) => args.json,
                LedgerVerb::Rebuild(args) => args.json,
            },
            Verb::Init(_) | Verb::Report(_) | Verb::Mock(_) => false,
        }
    }
}

#[derive(Debug, ClapArgs)]
pub(super) struct InitArgs {
    /// Where to write; made if missing. Nothing is ever overwritten.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub(super) dir: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(super) struct RunArgs {
    /// The configuration file.
    pub(super) config: PathBuf,
    /// Print one JSON object on stdout at the end, and no table.
    #[arg(long)]
    pub(super) json: bool,
    /// The copies at the target are gone (the target was set up anew): forget them and begin again.
    #[arg(long)]
    pub(super) start_over: bool,
    /// Many messages (more than 20 % of a mailbox) are gone at the source and that is right: remove their copies too.
    #[arg(long)]
    pub(super) allow_removals: bool,
    /// The last pass before cutover: compare the flags of every message and try every skipped item again, whatever it
    /// costs.
    #[arg(long = "final")]
    pub(super) final_pass: bool,
    /// Only these mailboxes: by source name, pseudonym or `line:N` of mailboxes.csv.
    #[arg(long, value_name = "MAILBOX", num_args = 1..)]
    pub(super) only: Vec<String>,
    /// Only the mailboxes of these waves, begun in this order. A wave that was stopped goes on: mailboxes that came to
    /// their end in its present pass are not walked again.
    #[arg(long, value_name = "WAVE", value_delimiter = ',')]
    pub(super) wave: Vec<String>,
    /// Wait for the next window whenever one ends, until nothing is left. Default: wait for the first window, end with it.
    #[arg(long)]
    pub(super) wait: bool,
    /// Wait for no window: outside of one, say when the next one opens and end (exit code 75).
    #[arg(long, conflicts_with = "wait")]
    pub(super) no_wait: bool,
    /// Begin nothing new from then on and end (exit code 75 if something is left): `06:00`, `2026-11-23T06:00`, or with
    /// its offset (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ControlArgs {
    /// The configuration file of the run.
    pub(super) config: PathBuf,
    /// Only this wave.
    #[arg(long, value_name = "WAVE", conflicts_with = "mailbox")]
    pub(super) wave: Option<String>,
    /// Only this mailbox: by source name, pseudonym or `line:N` of mailboxes.csv.
    #[arg(long, value_name = "MAILBOX")]
    pub(super) mailbox: Option<String>,
    /// Print what the run answers as one JSON object on stdout.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct CheckArgs {
    /// The configuration file.
    pub(super) config: PathBuf,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub(super) json: bool,
    /// Also list every message at the source: how many, how large, and those the target will not take. Takes as long as
    /// the listings of a first run.
    #[arg(long, conflicts_with = "servers")]
    pub(super) inventory: bool,
    /// Only so many mailboxes, chosen by `--seed` from those there are: the same ones each time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["servers", "canary"])]
    pub(super) sample: Option<u64>,
    /// What `--sample` chooses by.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "sample")]
    pub(super) seed: u64,
    /// Instead: writes trial messages into this mailbox of a target (its name there, not the source's) in every way the
    /// target knows, reads them back, tells what each way keeps, and removes them. Take a test mailbox.
    #[arg(long, num_args = 2, value_names = ["TARGET", "MAILBOX"], conflicts_with_all = ["servers", "inventory", "json"])]
    pub(super) canary: Option<Vec<String>>,
    /// Only whether the IMAP servers answer, and what they are; logs in nowhere.
    #[arg(long)]
    pub(super) servers: bool,
    /// Only these mailboxes: by source name, pseudonym or `line:N` of mailboxes.csv.
    #[arg(long, value_name = "MAILBOX", num_args = 1..)]
    pub(super) only: Vec<String>,
    /// Only the mailboxes of this wave.
    #[arg(long, value_name = "WAVE")]
    pub(super) wave: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ReadArgs {
    /// The configuration file.
    pub(super) config: PathBuf,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ReportArgs {
    /// The configuration file.
    pub(super) config: PathBuf,
    /// The directory to write to; made if missing.
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(super) struct SimulateArgs {
    /// What to simulate: a file, or one of the published scenarios `rate-bound` and `full-tail`.
    pub(super) scenario: String,
    /// Decides every random draw: the same scenario and seed give the same events.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(super) seed: u64,
    /// In which order mailboxes are begun.
    #[arg(long, value_enum, default_value = "longest-first")]
    pub(super) order: SimulateOrder,
    /// Instead: so many seeds, from --seed on, each in every order; tells how far longest-first is behind the best. Ends with 1 if
    /// that is more than 0.5 % for any seed, or more than 1.05 times the least possible.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) compare: Option<u32>,
    /// Write the report of the night to this directory.
    #[arg(long, value_name = "DIR", conflicts_with = "compare")]
    pub(super) out: Option<PathBuf>,
    /// Write every event of a mailbox to this file, a line each.
    #[arg(long, value_name = "FILE", conflicts_with = "compare")]
    pub(super) events: Option<PathBuf>,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub(super) json: bool,
}

/// In which order mailboxes are begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum SimulateOrder {
    /// The one that takes longest first; those that cannot end within the window last.
    LongestFirst,
    /// As they come.
    AsListed,
    /// Shuffled.
    Shuffled,
}

#[derive(Debug, ClapArgs)]
pub(super) struct LedgerArgs {
    #[command(subcommand)]
    pub(super) verb: LedgerVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum LedgerVerb {
    /// Is the ledger as it was written? Reads it, changes nothing.
    Check(LedgerCheckArgs),
    /// Make a new ledger from what source and target hold, where the old one was lost.
    Rebuild(LedgerRebuildArgs),
}

#[derive(Debug, ClapArgs)]
pub(super) struct LedgerCheckArgs {
    /// The configuration file.
    pub(super) config: PathBuf,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub(super) json: bool,
    /// Also read the whole facts log: every frame's checksum, every folder's chain, and the copies they tell against the
    /// folders' numbers. Takes as long as the disk takes to read it twice.
    #[arg(long)]
    pub(super) deep: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct LedgerRebuildArgs {
    /// The configuration file.
    pub(super) config: PathBuf,
    /// Where to make the new ledger: a directory that is not there yet.
    #[arg(long, value_name = "DIR")]
    pub(super) into: PathBuf,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub(super) json: bool,
    /// Only these mailboxes: by source name, pseudonym or `line:N` of mailboxes.csv.
    #[arg(long, value_name = "MAILBOX", num_args = 1..)]
    pub(super) only: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct MockArgs {
    #[command(subcommand)]
    pub(super) server: MockServer,
}

#[derive(Debug, Subcommand)]
pub(super) enum MockServer {
    /// Microsoft Graph, as strict as the service.
    Graph(MockGraphArgs),
    /// Exchange Web Services, as strict as the service.
    Ews(MockEwsArgs),
    /// IMAP, serving a directory of Maildirs.
    Imap(MockImapArgs),
}

#[derive(Debug, ClapArgs)]
pub(super) struct MockGraphArgs {
    /// The address to serve; loopback only. Port 0 takes any; the address is printed.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub(super) listen: SocketAddr,
    /// Serve TLS with a certificate made for the occasion.
    #[arg(long)]
    pub(super) tls: bool,
    /// Where to write the certificate authority to trust, with --tls.
    #[arg(long, value_name = "FILE", default_value = "mailwave-mock-ca.pem")]
    pub(super) ca: PathBuf,
    /// Keep the state in this directory.
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    /// Tell the truth (what the mailboxes really hold) at this loopback address; its token is printed.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) truth: Option<SocketAddr>,
    /// What the tenant is like, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(super) options: Option<PathBuf>,
    /// What goes wrong and when, as JSON: a script of faults.
    #[arg(long, value_name = "FILE")]
    pub(super) faults: Option<PathBuf>,
    /// Write what is asked and answered to this file as JSON lines, without tokens. What was in it is gone.
    #[arg(long, value_name = "FILE")]
    pub(super) record: Option<PathBuf>,
    /// Time passes so many times faster: limits' windows, latencies, lives of tokens, and the waits told (rounded up).
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) time_scale: Option<u32>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct MockEwsArgs {
    /// The address to serve; loopback only. Port 0 takes any; the address is printed.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub(super) listen: SocketAddr,
    /// Serve TLS with a certificate made for the occasion.
    #[arg(long)]
    pub(super) tls: bool,
    /// Where to write the certificate authority to trust, with --tls.
    #[arg(long, value_name = "FILE", default_value = "mailwave-mock-ca.pem")]
    pub(super) ca: PathBuf,
    /// Keep the state in this directory.
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    /// Tell the truth (what the mailboxes really hold) at this loopback address; its token is printed.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) truth: Option<SocketAddr>,
    /// What the server is like, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(super) options: Option<PathBuf>,
    /// What goes wrong and when, as JSON: a script of faults.
    #[arg(long, value_name = "FILE")]
    pub(super) faults: Option<PathBuf>,
    /// Time passes so many times faster: latencies, the minute a request may take, budgets and the waits told.
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) time_scale: Option<u32>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct MockImapArgs {
    /// The address to serve; loopback only. Port 0 takes any; the address is printed.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub(super) listen: SocketAddr,
    /// Serve TLS from the first octet, with a certificate made for the occasion.
    #[arg(long)]
    pub(super) tls: bool,
    /// Where to write the certificate authority to trust, with --tls.
    #[arg(long, value_name = "FILE", default_value = "mailwave-mock-ca.pem")]
    pub(super) ca: PathBuf,
    /// The directory of Maildirs to serve, one a user. Any password will do.
    #[arg(long, value_name = "DIR", conflicts_with = "made")]
    pub(super) state: Option<PathBuf>,
    /// Serve mail that is made up as it is asked for, by this law (JSON): how many mailboxes, folders and messages, and
    /// of which sizes. Any password will do.
    #[arg(long, value_name = "FILE")]
    pub(super) made: Option<PathBuf>,
    /// Capabilities to offer beside the usual ones, such as CONDSTORE,QRESYNC,LIST-EXTENDED,LIST-STATUS.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) offer: Vec<String>,
    /// A master user; its password is taken from MAILWAVE_MOCK_PASSWORD.
    #[arg(long, value_name = "NAME")]
    pub(super) master: Option<String>,
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_arguments_are_well_formed() {
        use clap::CommandFactory;
        super::Args::command().debug_assert();
    }
}

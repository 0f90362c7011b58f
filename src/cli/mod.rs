//! The command line: one file a verb. The only place that prints. stdout is data, stderr is talk.

mod args;
mod budgets;
mod check;
mod compare;
mod control;
mod descriptors;
mod ews;
mod exit;
mod forecast;
mod imap;
mod init;
mod ledger;
mod live;
mod mock;
mod mocks;
mod oauth;
mod report;
mod room;
mod run;
mod simulate;
mod status;
mod stop;
mod talk;
mod verify;
mod waves;
mod wire;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::config::{Loaded, Settings};
use crate::env::Env;
use crate::model::{Error, Kind, Scope};
use crate::plan::Plan;
use args::{Args, LedgerVerb, Verb};
use exit::Exit;
use talk::Talk;

/// Parses the arguments, runs the verb, gives the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(e) => return exit::of_usage(&e).into(),
    };
    quiet_panics();
    let talk = Talk::new();
    let level = args.log.or_else(|| std::env::var("MAILWAVE_LOG").ok()?.parse().ok());
    crate::observe::start_log(level.unwrap_or_default(), talk.log_writer());
    descriptors::raise();
    let json = args.verb.json();
    let exit = runtime().and_then(|runtime| runtime.block_on(dispatch(args.verb, &talk)));
    let exit = exit.unwrap_or_else(|failure| failure.tell(&talk, json));
    exit.into()
}

/// A panic is a defect, and kept to its message or mailbox. Its text may quote foreign octets: only its place is told.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(String::new, |l| format!(" at {}:{}", below_crates(l.file()), l.line()));
        let _ = writeln!(
            std::io::stderr(),
            "mailwave: an unexpected failure{place}; it is kept to what it happened in"
        );
    }));
}

/// A source path without the directories of the machine it was compiled on.
fn below_crates(file: &str) -> &str {
    let Some((_, below)) = file.rsplit_once("/registry/src/") else { return file };
    below.split_once('/').map_or(below, |(_, path)| path)
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| {
        Error::new(Kind::Internal, Scope::Run, format!("the system gave no threads or sockets ({e})")).into()
    })
}

async fn dispatch(verb: Verb, talk: &Talk) -> Result<Exit, Failure> {
    let env = Env::system();
    match verb {
        Verb::Init(args) => init::run(&args, talk),
        Verb::Check(args) => check::run(&args, &env, talk).await,
        Verb::Run(args) => run::run(&args, &env, talk).await,
        Verb::Pause(args) => control::change("pause", &args, &env, talk).await,
        Verb::Resume(args) => control::change("resume", &args, &env, talk).await,
        Verb::Drain(args) => control::change("drain", &args, &env, talk).await,
        Verb::Status(args) => status::run(&args, &env, talk).await,
        Verb::Verify(args) => verify::run(&args, &env, talk).await,
        Verb::Report(args) => report::run(&args, &env, talk),
        Verb::Simulate(args) => simulate::run(&args, &env, talk),
        Verb::Ledger(args) => match args.verb {
            LedgerVerb::Check(args) => ledger::check::run(&args, talk),
            LedgerVerb::Rebuild(args) => ledger::rebuild::run(&args, &env, talk).await,
        },
        Verb::Mock(args) => mock::run(&args, &env, talk).await,
    }
}

/// Why a verb could not do its work: one error or many, never none.
#[derive(Debug)]
struct Failure(Vec<Error>);

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        Failure(vec![e])
    }
}

impl From<Vec<Error>> for Failure {
    fn from(all: Vec<Error>) -> Failure {
        Failure(all)
    }
}

impl Failure {
    /// Tells it on stderr, and as the one JSON object if JSON was asked for.
    fn tell(self, talk: &Talk, json: bool) -> Exit {
        let exit = exit::of_errors(&self.0);
        for e in &self.0 {
            talk.say(&format!("error: {e}"));
        }
        if json {
            let errors: Vec<_> =
                self.0.iter().map(|e| serde_json::json!({ "what": e.what, "remedy": e.remedy })).collect();
            talk.data(&serde_json::json!({ "errors": errors, "exit_code": exit.code() }).to_string());
        }
        exit
    }
}

/// Reads the configuration; its warnings are told.
fn settings(path: &Path, talk: &Talk) -> Result<Settings, Failure> {
    let Loaded { settings, warnings } = crate::config::load(path)?;
    for warning in warnings {
        talk.say(&format!("warning: {warning}"));
    }
    Ok(settings)
}

/// Reads configuration and list of mailboxes.
fn settings_and_plan(path: &Path, talk: &Talk) -> Result<(Settings, Plan), Failure> {
    let settings = settings(path, talk)?;
    let plan = crate::plan::load(&settings)?;
    Ok((settings, plan))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_panic_names_no_directory_of_the_machine_it_was_built_on() {
        assert_eq!(
            below_crates("/home/x/registry/src/index-1/mail-parser-0.11.1/src/lib.rs"),
            "mail-parser-0.11.1/src/lib.rs"
        );
        assert_eq!(below_crates("src/cli/mod.rs"), "src/cli/mod.rs");
    }
}

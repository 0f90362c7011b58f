//! The command line: one file a verb. The only place that prints. stdout is data, stderr is talk.

mod args;
mod exit;
mod init;
mod mock;
mod mocks;
mod report;
mod run;
mod status;
mod stop;
mod talk;
mod verify;
mod wire;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::config::{Loaded, Settings};
use crate::env::Env;
use crate::model::{Error, Kind, Scope};
use crate::plan::Plan;
use args::{Args, Verb};
use exit::Exit;
use talk::Talk;

/// Parses the arguments, runs the verb, gives the exit code (see [`exit`]).
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(e) => return exit::of_usage(&e).into(),
    };
    let talk = Talk::new();
    let level = args.log.or_else(|| std::env::var("MAILWAVE_LOG").ok()?.parse().ok());
    crate::observe::start_log(level.unwrap_or_default(), talk.log_writer());
    let json = args.verb.json();
    let exit = runtime().and_then(|runtime| runtime.block_on(dispatch(args.verb, &talk)));
    let exit = exit.unwrap_or_else(|failure| failure.tell(&talk, json));
    exit.into()
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
        Verb::Run(args) => run::run(&args, &env, talk).await,
        Verb::Status(args) => status::run(&args, &env, talk),
        Verb::Verify(args) => verify::run(&args, &env, talk).await,
        Verb::Report(args) => report::run(&args, &env, talk),
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

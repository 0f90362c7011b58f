//! `mailwave report`: the report's files, from the ledger.

use super::args::ReportArgs;
use super::exit::Exit;
use super::talk::Talk;
use super::{Failure, settings_and_plan, wire};
use crate::env::Env;
use crate::report::{About, FILES, Report, write};

pub(super) fn run(args: &ReportArgs, env: &Env, talk: &Talk) -> Result<Exit, Failure> {
    let (settings, plan) = settings_and_plan(&args.config, talk)?;
    let view = wire::view(&settings)?;
    let about = About { source_name: settings.source_name.to_string(), lines: plan.lines(), now: env.wall() };
    let report = Report::build(view.as_ref(), &about)?.with_losses(view.as_ref(), &wire::losses())?;
    write(&report, &args.out)?;
    for name in FILES {
        talk.data(&args.out.join(name).display().to_string());
    }
    talk.say(&format!("verdict: {}", report.verdict));
    Ok(Exit::Done)
}

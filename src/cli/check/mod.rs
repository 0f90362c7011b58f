//! `mailwave check`: before anything is moved. Is this machine large enough, do the servers answer, can every mailbox (or a
//! sample of them) be opened at both ends, will it fit, and is our app allowed what the ways of writing need?

mod canary;
mod inventory;
pub(in crate::cli) mod machine;
mod mailboxes;
mod permissions;
mod sample;
mod servers;

use super::args::CheckArgs;
use super::exit::Exit;
use super::talk::Talk;
use super::{Failure, settings_and_plan, wire};
use crate::env::Env;

pub(super) async fn run(args: &CheckArgs, env: &Env, talk: &Talk) -> Result<Exit, Failure> {
    let (settings, plan) = settings_and_plan(&args.config, talk)?;
    if let Some([endpoint, mailbox]) = args.canary.as_deref() {
        let fine = canary::run(env, &settings, endpoint, mailbox, talk).await?;
        return Ok(if fine { Exit::Done } else { Exit::Failed });
    }
    let plan = plan.select(&args.only, args.wave.as_deref())?;
    let machine = if args.servers { Vec::new() } else { machine::look(&settings, plan.rows.len()) };
    let enough = machine.iter().all(machine::Need::is_met);
    let lender = wire::borrower(env, &settings);
    let servers = servers::ask(env, &settings, &lender).await;
    let sample = args.sample.map(|most| sample::Sample { of: plan.rows.len(), most, seed: args.seed });
    let plan = match &sample {
        Some(sample) => sample.take(plan),
        None => plan,
    };
    let answer = servers.iter().all(servers::Checked::answers);
    if !args.json {
        if !machine.is_empty() {
            machine::print(&machine, talk);
        }
        servers::print(&servers, talk);
    }
    // A server that does not answer would be waited for once a mailbox.
    let mailboxes = if answer && !args.servers {
        Some(mailboxes::open_all(env, &settings, &lender, &plan, args.inventory, talk).await?)
    } else {
        None
    };
    let permissions = mailboxes.as_deref().map(|all| permissions::look(&settings, all)).unwrap_or_default();
    let opened = mailboxes.iter().flatten().all(mailboxes::Checked::opened);
    let exit = if answer && opened && enough { Exit::Done } else { Exit::Failed };
    if args.json {
        let failed = mailboxes.iter().flatten().filter(|m| !m.opened()).count();
        let json = serde_json::json!({
            "verb": "check",
            "machine": machine::json(&machine),
            "endpoints": servers::json(&servers),
            "sample": sample.as_ref().map(sample::Sample::json),
            "permissions": permissions::json(&permissions),
            "mailboxes": mailboxes.as_deref().map(mailboxes::json),
            "failed": failed,
            "exit_code": exit.code(),
        });
        talk.data(&json.to_string());
    } else if let Some(mailboxes) = &mailboxes {
        permissions::print(&permissions, talk);
        mailboxes::print(mailboxes, talk);
        if let Some(sample) = &sample {
            talk.say(&sample.words());
        }
    } else if !args.servers {
        talk.say("no mailbox was opened: a server does not answer");
    }
    Ok(exit)
}

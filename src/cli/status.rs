//! `mailwave status`: what the ledger knows, also while a run writes it.

use super::args::ReadArgs;
use super::exit::Exit;
use super::talk::Talk;
use super::{Failure, settings_and_plan, wire};
use crate::env::Env;
use crate::report::{About, Align, LastPass, Report, bytes, count, table};

pub(super) fn run(args: &ReadArgs, env: &Env, talk: &Talk) -> Result<Exit, Failure> {
    let (settings, plan) = settings_and_plan(&args.config, talk)?;
    let view = wire::view(&settings)?;
    let about = About { source_name: settings.source_name.to_string(), lines: plan.lines(), now: env.wall() };
    let report = Report::build(view.as_ref(), &about)?;
    if args.json {
        let json = serde_json::json!({
            "verdict": report.verdict,
            "totals": report.totals,
            "mailboxes": report.mailboxes,
            "exit_code": Exit::Done.code(),
        });
        talk.data(&json.to_string());
        return Ok(Exit::Done);
    }
    let header = [
        ("no.", Align::Right),
        ("mailbox", Align::Left),
        ("csv line", Align::Right),
        ("state", Align::Left),
        ("verdict", Align::Left),
        ("passes", Align::Right),
        ("copies", Align::Right),
        ("octets", Align::Right),
        ("skipped", Align::Right),
        ("unknown", Align::Right),
        ("round trips", Align::Right),
    ];
    let rows: Vec<Vec<String>> = report
        .mailboxes
        .iter()
        .map(|m| {
            vec![
                if m.ordinal == 0 { "-".to_owned() } else { m.ordinal.to_string() },
                m.mailbox.clone(),
                m.csv_line.map_or("-".to_owned(), |line| line.to_string()),
                m.state.clone(),
                if m.ordinal == 0 { "-" } else { m.verdict }.to_owned(),
                count(m.passes),
                count(m.messages),
                bytes(m.bytes),
                count(m.skipped),
                count(m.unknown),
                m.last_pass.as_ref().map_or("-".to_owned(), LastPass::trips),
            ]
        })
        .collect();
    talk.data(&table(&header, &rows));
    let t = &report.totals;
    talk.say(&format!(
        "{} mailboxes, {} not begun, {} failed; {} copies, {}; {} skipped, {} unknown",
        count(t.mailboxes),
        count(t.not_begun),
        count(t.failed),
        count(t.messages),
        bytes(t.bytes),
        count(t.skipped),
        count(t.unknown)
    ));
    Ok(Exit::Done)
}

//! `mailwave verify`: the copies at the target against the ledger.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};

use super::args::ReadArgs;
use super::exit::Exit;
use super::talk::Talk;
use super::{Failure, settings_and_plan, wire};
use crate::env::Env;
use crate::model::{Error, Kind, Result, Scope};
use crate::plan::Row;
use crate::report::{Align, count, table};
use crate::verify::{Finding, MailboxCheck, Recorded, Sigil, compare, recorded};

/// Findings printed of one mailbox; `--json` has them all.
const MOST_PRINTED: usize = 50;

/// Mailboxes checked at once, at most: each holds its stamps in memory.
const AT_ONCE: usize = 16;

/// How one mailbox was checked.
enum Checked {
    Compared(MailboxCheck),
    NotBegun,
    Failed(Error),
}

pub(super) async fn run(args: &ReadArgs, env: &Env, talk: &Talk) -> std::result::Result<Exit, Failure> {
    let (settings, plan) = settings_and_plan(&args.config, talk)?;
    let view = wire::view(&settings)?;
    let used: Vec<_> = plan.rows.iter().map(|row| row.mailbox.target_endpoint.as_str()).collect();
    let limits = wire::borrowed_limits(env, &settings, wire::borrower(env, &settings));
    let targets = wire::targets(env, &settings, &used)?;

    let (settings, view, targets, limits) = (&settings, view.as_ref(), &targets, &*limits);
    let checks = plan.rows.iter().map(|row| async move {
        let checked = match recorded(view, &settings.source_name, &row.mailbox.key) {
            Err(e) => Checked::Failed(e),
            Ok(None) => Checked::NotBegun,
            Ok(Some(expected)) => match check(row, &expected, targets, limits).await {
                Ok(check) => Checked::Compared(check),
                Err(e) => Checked::Failed(e),
            },
        };
        (row, checked)
    });
    let at_once = settings.run.open_mailboxes.min(AT_ONCE);
    let all: Vec<_> = stream::iter(checks).buffered(at_once).collect().await;
    let exit = exit(&all);
    if args.json {
        talk.data(&json(&all, exit).to_string());
    } else {
        print(&all, talk);
    }
    Ok(exit)
}

async fn check(
    row: &Row,
    expected: &Recorded,
    targets: &BTreeMap<String, std::sync::Arc<dyn crate::target::Target>>,
    limits: &crate::limit::Limits,
) -> Result<MailboxCheck> {
    let m = &row.mailbox;
    let target = targets
        .get(&m.target_endpoint)
        .ok_or_else(|| Error::new(Kind::Internal, Scope::Mailbox, "its target endpoint was not set up"))?;
    let open = target.open(&m.target, &m.target_place, limits.gate(&m.target_endpoint, &m.target)).await?;
    let check = compare(expected, open.as_ref()).await;
    open.release().await;
    check
}

fn exit(all: &[(&Row, Checked)]) -> Exit {
    let failed = all.iter().any(|(_, c)| matches!(c, Checked::Failed(_)));
    let unequal = all.iter().any(|(_, c)| match c {
        Checked::Compared(check) => !check.equal(),
        Checked::NotBegun => true,
        Checked::Failed(_) => false,
    });
    match (failed, unequal) {
        (true, _) => Exit::Failed,
        (false, true) => Exit::Investigate,
        (false, false) => Exit::Done,
    }
}

fn json(all: &[(&Row, Checked)], exit: Exit) -> serde_json::Value {
    let mailboxes: Vec<_> = all
        .iter()
        .map(|(row, checked)| match checked {
            Checked::Compared(check) => serde_json::json!({
                "mailbox": check.mailbox,
                "csv_line": row.line,
                "equal": check.equal(),
                "recorded": check.recorded,
                "at_target": check.at_target,
                "totals": check.total(),
                "folders": check.folders,
                "findings": check.findings,
                "more_findings": check.more_findings,
            }),
            Checked::NotBegun => serde_json::json!({
                "mailbox": row.mailbox.key.as_str(), "csv_line": row.line, "equal": false, "not_begun": true,
            }),
            Checked::Failed(e) => serde_json::json!({
                "mailbox": row.mailbox.key.as_str(), "csv_line": row.line, "equal": false, "error": e.to_string(),
            }),
        })
        .collect();
    let (recorded, at_target) = sums(all);
    serde_json::json!({
        "verb": "verify",
        "equal": exit == Exit::Done,
        "recorded": recorded,
        "at_target": at_target,
        "mailboxes": mailboxes,
        "exit_code": exit.code(),
    })
}

fn sums(all: &[(&Row, Checked)]) -> (u64, u64) {
    all.iter().fold((0, 0), |(r, t), (_, checked)| match checked {
        Checked::Compared(check) => (r + check.recorded, t + check.at_target),
        _ => (r, t),
    })
}

fn print(all: &[(&Row, Checked)], talk: &Talk) {
    let header = [
        ("", Align::Left),
        ("mailbox", Align::Left),
        ("csv line", Align::Right),
        ("folder", Align::Right),
        ("recorded", Align::Right),
        ("= equal", Align::Right),
        ("- missing", Align::Right),
        ("+ extra", Align::Right),
        ("* differs", Align::Right),
        ("filed elsewhere", Align::Right),
    ];
    let mut rows = Vec::new();
    let mut details = String::new();
    for (row, checked) in all {
        let key = row.mailbox.key.to_string();
        match checked {
            Checked::Compared(check) => {
                for f in &check.folders {
                    let sigil = match (f.missing, f.differs, f.extra) {
                        (1.., _, _) => Sigil::Missing,
                        (_, 1.., _) => Sigil::Differs,
                        (_, _, 1..) => Sigil::Extra,
                        _ => Sigil::Equal,
                    };
                    let numbers = [f.recorded, f.equal, f.missing, f.extra, f.differs, f.elsewhere];
                    let mut cells =
                        vec![sigil.to_string(), key.clone(), row.line.to_string(), f.folder.to_string()];
                    cells.extend(numbers.map(count));
                    rows.push(cells);
                }
                details.push_str(&findings(check));
            }
            Checked::NotBegun => {
                details.push_str(&format!(
                    "! {key} (csv line {}): not in the ledger: not begun yet\n",
                    row.line
                ));
            }
            Checked::Failed(e) => details.push_str(&format!("! {key} (csv line {}): {e}\n", row.line)),
        }
    }
    talk.data(&(table(&header, &rows) + &details));
    let (recorded, at_target) = sums(all);
    talk.say(&format!(
        "{} copies recorded, {} complete copies at the target",
        count(recorded),
        count(at_target)
    ));
}

fn findings(check: &MailboxCheck) -> String {
    let mut out: String = check
        .findings
        .iter()
        .take(MOST_PRINTED)
        .map(|Finding { sigil, stamp, note }| format!("{sigil} {stamp}  {note}\n"))
        .collect();
    let more = check.findings.len().saturating_sub(MOST_PRINTED) as u64 + check.more_findings;
    if more > 0 {
        out.push_str(&format!(
            "… and {} more of {} (--json lists up to 10,000)\n",
            count(more),
            check.mailbox
        ));
    }
    out
}

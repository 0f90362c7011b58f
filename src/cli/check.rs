//! `mailwave check`: can every mailbox be opened at both ends? Asked before anything is moved, all failures told at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::args::CheckArgs;
use super::exit::Exit;
use super::talk::Talk;
use super::{Failure, settings_and_plan, wire};
use crate::env::Env;
use crate::limit::Limits;
use crate::model::{Error, Kind, Result, Scope};
use crate::plan::Row;
use crate::report::count;
use crate::source::Source;
use crate::target::Target;

/// A line of progress at most so often.
const PACE: Duration = Duration::from_secs(15);

/// The endpoints of a plan.
struct Ends {
    sources: BTreeMap<String, Arc<dyn Source>>,
    targets: BTreeMap<String, Arc<dyn Target>>,
    limits: Arc<Limits>,
}

/// What opening one mailbox told.
struct Checked<'a> {
    row: &'a Row,
    /// Folders that hold mail at the source.
    source: Result<u64>,
    target: Result<()>,
}

impl Checked<'_> {
    /// The ends that failed.
    fn failures(&self) -> impl Iterator<Item = (&'static str, &Error)> {
        let source = self.source.as_ref().err().map(|e| ("source", e));
        source.into_iter().chain(self.target.as_ref().err().map(|e| ("target", e)))
    }
}

pub(super) async fn run(args: &CheckArgs, env: &Env, talk: &Talk) -> std::result::Result<Exit, Failure> {
    let (settings, plan) = settings_and_plan(&args.config, talk)?;
    let plan = plan.select(&args.only, args.wave.as_deref())?;
    let of = |name: fn(&Row) -> &str| plan.rows.iter().map(name).collect::<Vec<_>>();
    let ends = Ends {
        sources: wire::sources(env, &settings, &of(|row| &row.mailbox.source_endpoint))?,
        targets: wire::targets(env, &settings, &of(|row| &row.mailbox.target_endpoint))?,
        limits: wire::limits(env, &settings),
    };
    let checks = plan.rows.iter().map(|row| open(&ends, row));
    let mut checks = std::pin::pin!(stream::iter(checks).buffered(settings.run.open_mailboxes));
    let (mut all, mut told) = (Vec::new(), env.now());
    while let Some(checked) = checks.next().await {
        all.push(checked);
        if env.now().saturating_sub(told) >= PACE {
            told = env.now();
            talk.say(&format!("{} of {} mailboxes opened", all.len(), plan.rows.len()));
        }
    }
    let exit = if all.iter().any(|c| c.failures().next().is_some()) { Exit::Failed } else { Exit::Done };
    if args.json {
        talk.data(&json(&all, exit).to_string());
    } else {
        print(&all, talk);
    }
    Ok(exit)
}

/// Opens a mailbox at both ends, one after the other; a failure at one keeps nobody from trying the other.
async fn open<'a>(ends: &Ends, row: &'a Row) -> Checked<'a> {
    let m = &row.mailbox;
    let unknown = || Error::new(Kind::Internal, Scope::Mailbox, "its endpoint was not set up");
    let source = async {
        let source = ends.sources.get(&m.source_endpoint).ok_or_else(unknown)?;
        let open = source.open(&m.source).await?;
        let folders = open.folders().await;
        open.release().await;
        Ok(folders?.iter().filter(|folder| folder.selectable).count() as u64)
    };
    let target = async {
        let target = ends.targets.get(&m.target_endpoint).ok_or_else(unknown)?;
        // Without its place in the mailbox: nothing is made there yet.
        let open = target.open(&m.target, "", ends.limits.gate(&m.target_endpoint, &m.target)).await?;
        open.release().await;
        Ok(())
    };
    Checked { row, source: source.await, target: target.await }
}

fn json(all: &[Checked<'_>], exit: Exit) -> serde_json::Value {
    let mailboxes: Vec<_> = all
        .iter()
        .map(|checked| {
            let failures: Vec<_> = checked
                .failures()
                .map(|(end, e)| serde_json::json!({ "end": end, "what": e.what, "remedy": e.remedy }))
                .collect();
            serde_json::json!({
                "mailbox": checked.row.mailbox.key.as_str(),
                "csv_line": checked.row.line,
                "folders": checked.source.as_ref().ok(),
                "failures": failures,
            })
        })
        .collect();
    let failed = all.iter().filter(|c| c.failures().next().is_some()).count();
    serde_json::json!({ "verb": "check", "failed": failed, "mailboxes": mailboxes, "exit_code": exit.code() })
}

fn print(all: &[Checked<'_>], talk: &Talk) {
    let mut failed = 0u64;
    let mut out = String::new();
    for checked in all {
        failed += u64::from(checked.failures().next().is_some());
        for (end, error) in checked.failures() {
            out.push_str(&format!(
                "! {} (csv line {}), {end}: {error}\n",
                checked.row.mailbox.key, checked.row.line
            ));
        }
    }
    talk.data(&out);
    let opened = all.len() as u64 - failed;
    talk.say(&format!(
        "{} mailboxes can be opened at both ends, {} cannot; nothing was moved",
        count(opened),
        count(failed)
    ));
}

//! Can every mailbox be opened at both ends? All failures are told at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::inventory::{self, Inventory};
use crate::cli::talk::Talk;
use crate::cli::{Failure, wire};
use crate::config::{Settings, TargetKind};
use crate::env::Env;
use crate::limit::Limits;
use crate::model::{self, Error, Kind, Scope};
use crate::plan::{Plan, Row};
use crate::report::{bytes, count};
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
pub(super) struct Checked<'a> {
    row: &'a Row,
    /// Folders that hold mail at the source.
    source: model::Result<u64>,
    target: model::Result<()>,
    /// What it holds, if that was asked for.
    inventory: Option<Inventory>,
    /// The shortest time in which the target takes that.
    least: Option<Duration>,
}

impl Checked<'_> {
    pub(super) fn opened(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The ends that failed.
    fn failures(&self) -> impl Iterator<Item = (&'static str, &Error)> {
        let source = self.source.as_ref().err().map(|e| ("source", e));
        source.into_iter().chain(self.target.as_ref().err().map(|e| ("target", e)))
    }
}

/// Opens every mailbox of the plan; says now and then how far it is.
pub(super) async fn open_all<'a>(
    env: &Env,
    settings: &Settings,
    plan: &'a Plan,
    inventory: bool,
    talk: &Talk,
) -> Result<Vec<Checked<'a>>, Failure> {
    let of = |name: fn(&Row) -> &str| plan.rows.iter().map(name).collect::<Vec<_>>();
    let ends = Ends {
        sources: wire::sources(env, settings, &of(|row| &row.mailbox.source_endpoint))?,
        targets: wire::targets(env, settings, &of(|row| &row.mailbox.target_endpoint))?,
        limits: wire::limits(env, settings),
    };
    let checks = plan.rows.iter().map(|row| open(&ends, settings, row, inventory));
    let mut checks = std::pin::pin!(stream::iter(checks).buffered(settings.run.open_mailboxes));
    let (mut all, mut told) = (Vec::new(), env.now());
    while let Some(checked) = checks.next().await {
        all.push(checked);
        if env.now().saturating_sub(told) >= PACE {
            told = env.now();
            talk.say(&format!("{} of {} mailboxes opened", all.len(), plan.rows.len()));
        }
    }
    Ok(all)
}

/// Opens a mailbox at both ends, one after the other; a failure at one keeps nobody from trying the other.
async fn open<'a>(ends: &Ends, settings: &Settings, row: &'a Row, inventory: bool) -> Checked<'a> {
    let m = &row.mailbox;
    let unknown = || Error::new(Kind::Internal, Scope::Mailbox, "its endpoint was not set up");
    let (limit, limits) = match settings.targets.get(&m.target_endpoint) {
        Some(TargetKind::Graph(graph)) => (Some(graph.max_message), Some(&graph.limits)),
        Some(TargetKind::Imap(imap)) => (imap.max_message, None),
        _ => (None, None),
    };
    let limit = limit.unwrap_or(u64::MAX).min(settings.run.max_message);
    let source = async {
        let source = ends.sources.get(&m.source_endpoint).ok_or_else(unknown)?;
        let open = source.open(&m.source).await?;
        let found = match inventory {
            true => Inventory::of(open.as_ref(), limit).await.map(|found| (found.folders, Some(found))),
            false => open.folders().await.map(|all| {
                let folders = all.iter().filter(|folder| folder.selectable).count();
                (folders as u64, None)
            }),
        };
        open.release().await;
        found
    };
    let target = async {
        let target = ends.targets.get(&m.target_endpoint).ok_or_else(unknown)?;
        // Without its place in the mailbox: nothing is made there yet.
        let open = target.open(&m.target, "", ends.limits.gate(&m.target_endpoint, &m.target)).await?;
        open.release().await;
        Ok(())
    };
    let (source, inventory) = match source.await {
        Ok((folders, inventory)) => (Ok(folders), inventory),
        Err(error) => (Err(error), None),
    };
    let least = inventory.as_ref().zip(limits).map(|(found, limits)| found.least_time(limits));
    Checked { row, source, target: target.await, inventory, least }
}

pub(super) fn json(all: &[Checked<'_>]) -> serde_json::Value {
    all.iter()
        .map(|checked| {
            let failures: Vec<_> = checked
                .failures()
                .map(|(end, e)| serde_json::json!({ "end": end, "what": e.what, "remedy": e.remedy }))
                .collect();
            serde_json::json!({
                "mailbox": checked.row.mailbox.key.as_str(),
                "csv_line": checked.row.line,
                "folders": checked.source.as_ref().ok(),
                "inventory": checked.inventory.as_ref().map(Inventory::json),
                "least_seconds": checked.least.map(|least| least.as_secs()),
                "failures": failures,
            })
        })
        .collect()
}

pub(super) fn print(all: &[Checked<'_>], talk: &Talk) {
    let mut failed = 0u64;
    let mut out = String::new();
    for checked in all {
        failed += u64::from(!checked.opened());
        for (end, error) in checked.failures() {
            out.push_str(&format!(
                "! {} (csv line {}), {end}: {error}\n",
                checked.row.mailbox.key, checked.row.line
            ));
        }
    }
    for checked in all {
        if let Some(found) = checked.inventory.as_ref().filter(|found| found.too_large > 0) {
            out.push_str(&format!(
                "! {} (csv line {}): {} messages are too large for the target, the largest has {}\n",
                checked.row.mailbox.key,
                checked.row.line,
                count(found.too_large),
                bytes(found.largest)
            ));
        }
    }
    talk.data(&out);
    if all.iter().any(|checked| checked.inventory.is_some()) {
        inventory::print(all.iter().filter_map(|c| Some((c.inventory.as_ref()?, c.least))), talk);
    }
    let opened = all.len() as u64 - failed;
    talk.say(&format!(
        "{} mailboxes can be opened at both ends, {} cannot; nothing was moved",
        count(opened),
        count(failed)
    ));
}

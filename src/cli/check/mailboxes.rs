//! Can every mailbox be opened at both ends, and what is told of it there? All failures are told at once.
//!
//! What a target cannot tell is said to be unknown, with who knows it; nothing is guessed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::inventory::{self, Inventory};
use crate::cli::control::Borrower;
use crate::cli::talk::Talk;
use crate::cli::{Failure, wire};
use crate::config::{Settings, TargetKind};
use crate::env::Env;
use crate::http::oauth::Claims;
use crate::limit::Limits;
use crate::model::{self, Error, Kind, Scope};
use crate::plan::{Plan, Row};
use crate::report::{bytes, count};
use crate::source::Source;
use crate::target::{Probe, Room, Target, Told};

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
    /// What the target told.
    target: Probe,
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
        let target = self.target.opened.as_ref().err().or(match &self.target.folders {
            Told::Failed(e) => Some(e),
            _ => None,
        });
        source.into_iter().chain(target.map(|e| ("target", e)))
    }

    /// What the token we came to the target with says of itself.
    pub(super) fn claims(&self) -> Option<&Claims> {
        self.target.login.as_ref()?.as_ref().ok()
    }

    /// The target endpoint's name.
    pub(super) fn endpoint(&self) -> &str {
        &self.row.mailbox.target_endpoint
    }

    /// Room of the mailbox's own: not a disk it shares.
    fn own_room(&self) -> Option<&Room> {
        self.target.room.yes().filter(|room| !room.shared)
    }

    /// Does what the source holds fit? `None`: not known.
    fn fits(&self) -> Option<bool> {
        let held = self.inventory.as_ref()?.bytes;
        Some(self.own_room()?.free().is_none_or(|free| held <= free))
    }
}

/// Disks that endpoints' mailboxes share, and which do not hold what is to come: endpoint, needed, free.
pub(super) fn full_disks<'a>(all: &'a [Checked<'_>]) -> Vec<(&'a str, u64, u64)> {
    let mut disks: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for one in all {
        let free = one.target.room.yes().filter(|room| room.shared).and_then(Room::free);
        if let (Some(free), Some(found)) = (free, &one.inventory) {
            let disk = disks.entry(one.endpoint()).or_insert((0, free));
            disk.0 = disk.0.saturating_add(found.bytes);
        }
    }
    disks.into_iter().filter(|(_, (held, free))| held > free).map(|(name, (h, f))| (name, h, f)).collect()
}

/// Opens every mailbox of the plan; says now and then how far it is.
pub(super) async fn open_all<'a>(
    env: &Env,
    settings: &Settings,
    lender: &Arc<Borrower>,
    plan: &'a Plan,
    inventory: bool,
    talk: &Talk,
) -> Result<Vec<Checked<'a>>, Failure> {
    let of = |name: fn(&Row) -> &str| plan.rows.iter().map(name).collect::<Vec<_>>();
    let ends = Ends {
        sources: wire::sources(env, settings, &of(|row| &row.mailbox.source_endpoint), Some(lender))?,
        targets: wire::targets(env, settings, &of(|row| &row.mailbox.target_endpoint))?,
        limits: wire::borrowed_limits(env, settings, lender.clone()),
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
        Some(TargetKind::Ews(ews)) => (Some(ews.max_message), None),
        Some(TargetKind::Imap(imap)) => (imap.max_message, None),
        _ => (None, None),
    };
    // The target first: it may tell of a limit of its own.
    // Without its place in the mailbox: nothing is made there yet.
    let target = match ends.targets.get(&m.target_endpoint) {
        Some(target) => target.probe(&m.target, ends.limits.gate(&m.target_endpoint, &m.target)).await,
        None => Probe::closed(unknown()),
    };
    let limit = [limit, target.max_message_bytes, Some(settings.run.max_message)].into_iter().flatten().min();
    let limit = limit.unwrap_or(u64::MAX);
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
    let (source, inventory) = match source.await {
        Ok((folders, inventory)) => (Ok(folders), inventory),
        Err(error) => (Err(error), None),
    };
    let least = inventory.as_ref().zip(limits).map(|(found, limits)| found.least_time(limits));
    Checked { row, source, target, inventory, least }
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
                "target": target_json(checked),
                "failures": failures,
            })
        })
        .collect()
}

/// What the target told of one mailbox.
fn target_json(checked: &Checked<'_>) -> serde_json::Value {
    let Probe { login, opened, server, folders, room, max_message_bytes } = &checked.target;
    let claims = checked.claims();
    serde_json::json!({
        "endpoint": checked.endpoint(),
        "token": login.as_ref().map(|login| serde_json::json!({
            "obtained": login.is_ok(),
            "tenant": claims.and_then(|c| c.tenant.as_deref()),
            "app": claims.and_then(|c| c.app.as_deref()),
            "permissions": claims.and_then(|c| c.roles.as_ref()),
        })),
        "opened": opened.is_ok(),
        "server": server,
        "folders": folders.yes(),
        "folders_unknown": folders.why(),
        "room": room.yes().map(|room| serde_json::json!({
            "limit": room.limit,
            "used": room.used,
            "free": room.free(),
            "shared": room.shared,
        })),
        "room_unknown": room.why(),
        "fits": checked.fits(),
        "max_message": max_message_bytes,
    })
}

/// Says what the targets told of themselves and of rooms, once for many mailboxes.
fn print_targets(all: &[Checked<'_>], talk: &Talk) {
    let lines: BTreeSet<String> = all
        .iter()
        .flat_map(|checked| {
            let name = checked.endpoint();
            let server =
                checked.target.server.as_ref().map(|server| format!("{name}: the server is {server}"));
            let token = checked.claims().map(|claims| {
                let word =
                    |text: &Option<String>| text.clone().unwrap_or_else(|| "not named in it".to_owned());
                format!(
                    "{name}: a token was obtained (app {}, tenant {})",
                    word(&claims.app),
                    word(&claims.tenant)
                )
            });
            let why = checked.target.room.why().filter(|_| checked.target.opened.is_ok());
            let room = why.map(|why| format!("{name}: whether mailboxes have room is not known: {why}"));
            [server, token, room].into_iter().flatten()
        })
        .collect();
    lines.iter().for_each(|line| talk.say(line));
    for (name, held, free) in full_disks(all) {
        talk.say(&format!(
            "{name}: the sources hold {}, its disk has {} free; what was moved before counts twice here. Make room, or move \
             fewer at once",
            bytes(held),
            bytes(free)
        ));
    }
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
    for checked in all.iter().filter(|checked| checked.fits() == Some(false)) {
        let (held, room) = (checked.inventory.as_ref().map_or(0, |i| i.bytes), checked.own_room());
        out.push_str(&format!(
            "! {} (csv line {}): the source holds {}, the target mailbox has {} left of {}; what was moved before counts twice \
             here. Enlarge the mailbox or its plan, or give it an archive\n",
            checked.row.mailbox.key,
            checked.row.line,
            bytes(held),
            bytes(room.and_then(Room::free).unwrap_or(0)),
            bytes(room.and_then(|room| room.limit).unwrap_or(0)),
        ));
    }
    talk.data(&out);
    print_targets(all, talk);
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

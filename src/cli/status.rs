//! `mailwave status`: what a run that is going on says of itself, and what the ledger knows, also beside a run.

use std::collections::BTreeMap;

use serde_json::Value;

use super::args::ReadArgs;
use super::exit::Exit;
use super::talk::Talk;
use super::{Failure, control, settings_and_plan, waves, wire};
use crate::config::{Settings, WavesSettings};
use crate::env::Env;
use crate::guard::Shown;
use crate::ledger::LedgerView;
use crate::model::Result;
use crate::plan::{At, Plan};
use crate::report::{About, Align, LastPass, Report, bytes, count, table};

pub(super) async fn run(args: &ReadArgs, env: &Env, talk: &Talk) -> std::result::Result<Exit, Failure> {
    let (settings, plan) = settings_and_plan(&args.config, talk)?;
    let live = control::ask(env, &settings.ledger, "status", serde_json::Map::new()).await;
    let live = live.unwrap_or_else(|e| {
        talk.say(&format!("warning: {e}"));
        None
    });
    let view = wire::view(&settings)?;
    let about = About { source_name: settings.source_name.to_string(), lines: plan.lines(), now: env.wall() };
    let report = Report::build(view.as_ref(), &about)?;
    let of_waves = of_waves(&settings, &plan, view.as_ref(), env.wall())?;
    if args.json {
        let json = serde_json::json!({
            "verdict": report.verdict,
            "totals": report.totals,
            "run": live,
            "waves": of_waves.iter().map(OfWave::json).collect::<Vec<_>>(),
            "mailboxes": report.mailboxes,
            "exit_code": Exit::Done.code(),
        });
        talk.data(&json.to_string());
        return Ok(Exit::Done);
    }
    if let Some(live) = &live {
        talk.data(&(running(live, &settings.waves) + "\n"));
    }
    if of_waves.len() > 1 || !settings.waves.windows.is_empty() {
        talk.data(&(waves_table(&of_waves, &settings.waves) + "\n"));
    }
    talk.data(&mailboxes(&report));
    if let Some(live) = &live {
        let m = &live["messages"];
        talk.say(&format!(
            "a run is going on (process {}{}): {} of {} messages listed so far are stored",
            live["pid"],
            if live["draining"] == true { ", draining" } else { "" },
            m["stored"],
            m["planned"]
        ));
    }
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

fn mailboxes(report: &Report) -> String {
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
    table(&header, &rows)
}

/// A wave as the ledger knows it. Numbers of mailboxes.
#[derive(Debug, Default)]
struct OfWave {
    name: String,
    mailboxes: u64,
    not_begun: u64,
    half_way: u64,
    complete: u64,
    failed: u64,
    /// Of a wave that has a name and was run by it: the number of its present (or last) pass, and how many mailboxes
    /// came to their end in it.
    pass: Option<(u64, u64)>,
    /// What its windows say.
    at: Option<At>,
}

impl OfWave {
    fn json(&self) -> Value {
        let (open, changes) = match self.at {
            Some(At::Open { until, .. }) => (true, until),
            Some(At::Closed { opens }) => (false, opens),
            None => (true, None),
        };
        serde_json::json!({
            "wave": self.name,
            "mailboxes": self.mailboxes,
            "not_begun": self.not_begun,
            "half_way": self.half_way,
            "complete": self.complete,
            "failed": self.failed,
            "pass": self.pass.map(|(pass, _)| pass),
            "finished_in_pass": self.pass.map(|(_, finished)| finished),
            "open": open,
            "changes_ms": changes,
        })
    }
}

/// The waves of the list, in the order of their names; what belongs to none comes first.
fn of_waves(settings: &Settings, plan: &Plan, view: &dyn LedgerView, now: i64) -> Result<Vec<OfWave>> {
    let states: BTreeMap<String, String> =
        view.mailboxes()?.into_iter().map(|line| (line.key, line.state)).collect();
    let walked = view.walked()?;
    let mut all: BTreeMap<&str, OfWave> = BTreeMap::new();
    for row in &plan.rows {
        let m = &row.mailbox;
        let wave = all.entry(&m.wave).or_default();
        wave.mailboxes += 1;
        *(match states.get(m.key.as_str()).map(String::as_str) {
            None | Some("new") => &mut wave.not_begun,
            Some("complete") => &mut wave.complete,
            Some("failed") => &mut wave.failed,
            Some(_) => &mut wave.half_way,
        }) += 1;
        if let Some(w) = walked.get(&m.key).filter(|w| w.wave == m.wave) {
            let finished = u64::from(w.complete);
            wave.pass = Some(match wave.pass {
                Some((pass, _)) if pass < w.pass => (w.pass, finished),
                Some((pass, so_far)) if pass == w.pass => (pass, so_far + finished),
                Some(later) => later,
                None => (w.pass, finished),
            });
        }
    }
    let named = |(name, wave): (&str, OfWave)| {
        let at = waves::calendar(&settings.waves, name).at(now);
        OfWave { name: name.to_owned(), at: Some(at), ..wave }
    };
    Ok(all.into_iter().map(named).collect())
}

fn window(open: bool, changes: Option<i64>, set: &WavesSettings) -> String {
    match (open, changes) {
        (true, None) => "always".to_owned(),
        (true, Some(at)) => format!("open until {}", waves::show(set, at)),
        (false, Some(at)) => format!("closed until {}", waves::show(set, at)),
        (false, None) => "closed".to_owned(),
    }
}

fn name(wave: &str) -> String {
    if wave.is_empty() { "-".to_owned() } else { Shown(wave).to_string() }
}

fn waves_table(all: &[OfWave], set: &WavesSettings) -> String {
    let header = [
        ("wave", Align::Left),
        ("mailboxes", Align::Right),
        ("not begun", Align::Right),
        ("half way", Align::Right),
        ("complete", Align::Right),
        ("failed", Align::Right),
        ("pass", Align::Right),
        ("finished in it", Align::Right),
        ("window", Align::Left),
    ];
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|w| {
            let mut cells = vec![name(&w.name)];
            cells.extend([w.mailboxes, w.not_begun, w.half_way, w.complete, w.failed].map(count));
            cells.push(w.pass.map_or("-".to_owned(), |(pass, _)| count(pass)));
            cells.push(w.pass.map_or("-".to_owned(), |(_, finished)| count(finished)));
            cells.push(match w.at {
                Some(At::Open { until, .. }) => window(true, until, set),
                Some(At::Closed { opens }) => window(false, opens, set),
                None => "always".to_owned(),
            });
            cells
        })
        .collect();
    table(&header, &rows)
}

/// What a run that is going on says of its waves. It is of this user, and may be of another version: what is missing
/// counts as nothing.
fn running(live: &Value, set: &WavesSettings) -> String {
    const COUNTS: [(&str, &str); 7] = [
        ("waiting", "waiting"),
        ("running", "running"),
        ("parked", "parked"),
        ("halted", "halted"),
        ("ended", "ended"),
        ("before", "before"),
        ("paused", "paused_mailboxes"),
    ];
    let mut header = vec![("running wave", Align::Left)];
    header.extend(COUNTS.map(|(title, _)| (title, Align::Right)));
    header.push(("window", Align::Left));
    let rows: Vec<Vec<String>> = live["waves"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|w| {
            let mut cells = vec![name(w["wave"].as_str().unwrap_or_default())];
            cells.extend(COUNTS.map(|(_, key)| count(w[key].as_u64().unwrap_or(0))));
            let window = window(w["open"] == true, w["changes_ms"].as_i64(), set);
            cells.push(if w["paused"] == true { format!("paused; {window}") } else { window });
            cells
        })
        .collect();
    table(&header, &rows)
}

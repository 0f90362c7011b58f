//! `mailwave status`: what a run that is going on says of itself, and what the ledger knows, also beside a run.

use std::collections::BTreeMap;

use serde_json::Value;

use super::args::ReadArgs;
use super::exit::Exit;
use super::talk::Talk;
use super::{Failure, control, live, settings_and_plan, waves, wire};
use crate::config::{Settings, WavesSettings};
use crate::env::Env;
use crate::guard::Shown;
use crate::ledger::LedgerView;
use crate::model::Result;
use crate::plan::{At, Plan};
use crate::report::{About, Align, LastPass, Report, bytes, count, table};

/// Waiting mailboxes printed; `--json` has more.
const MOST_WAITING: usize = 20;

pub(super) async fn run(args: &ReadArgs, env: &Env, talk: &Talk) -> std::result::Result<Exit, Failure> {
    let (settings, plan) = settings_and_plan(&args.config, talk)?;
    let live = control::ask(env, &settings.ledger, "status", serde_json::Map::new()).await;
    let live = live.unwrap_or_else(|e| {
        talk.say(&format!("warning: {e}"));
        None
    });
    // Nothing goes on: what the last run said of itself.
    let last = if live.is_none() { live::saved(&settings.ledger) } else { None };
    let view = wire::view(&settings)?;
    let about = About { source_name: settings.source_name.to_string(), lines: plan.lines(), now: env.wall() };
    let report = Report::build(view.as_ref(), &about)?;
    let of_waves = of_waves(&settings, &plan, view.as_ref(), env.wall())?;
    if args.json {
        let json = serde_json::json!({
            "verdict": report.verdict,
            "totals": report.totals,
            "run": live,
            "last_run": last,
            "waves": of_waves.iter().map(OfWave::json).collect::<Vec<_>>(),
            "mailboxes": report.mailboxes,
            "exit_code": Exit::Done.code(),
        });
        talk.data(&json.to_string());
        return Ok(Exit::Done);
    }
    if let Some(live) = &live {
        talk.data(&(running(live, &settings.waves, env.wall()) + "\n"));
    }
    if let Some(last) = &last {
        talk.data(&(last_run(last, &settings.waves, env.wall()) + "\n"));
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
fn running(live: &Value, set: &WavesSettings, now: i64) -> String {
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
    header.extend([
        ("stored", Align::Right),
        ("per second", Align::Right),
        ("told to slow down", Align::Right),
        ("left", Align::Right),
        ("window", Align::Left),
    ]);
    let all = live["waves"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|w| {
            let mut cells = vec![name(w["wave"].as_str().unwrap_or_default())];
            cells.extend(COUNTS.map(|(_, key)| count(w[key].as_u64().unwrap_or(0))));
            let number = |value: &Value| value.as_u64().unwrap_or(0);
            cells.push(count(number(&w["messages"]["stored"])));
            let pace = &w["per_second"];
            let (messages, octets) =
                (pace["messages"].as_f64().unwrap_or(0.0), pace["bytes"].as_f64().unwrap_or(0.0));
            cells.push(format!("{messages:.1}, {}", bytes(octets.max(0.0) as u64)));
            cells.push(count(number(&w["throttles"])));
            cells.push(w["seconds_left"].as_u64().map_or("-".to_owned(), clock));
            let (open, changes) = (w["open"] == true, w["changes_ms"].as_i64());
            let window = window(open, changes, set) + &in_time(w, open, changes, now);
            cells.push(if w["paused"] == true { format!("paused; {window}") } else { window });
            cells
        })
        .collect();
    let mut out = table(&header, &rows);
    if all.len() > 1 {
        for w in all {
            out.push_str(&binds(&format!("wave {}", name(w["wave"].as_str().unwrap_or_default())), w));
        }
    }
    out.push_str(&binds(if all.len() > 1 { "all" } else { "the run" }, live));
    out + &told_to_wait(live, set)
}

/// Does what is left fit into the window that is open?
fn in_time(wave: &Value, open: bool, changes: Option<i64>, now: i64) -> String {
    let (true, Some(end), Some(left)) = (open, changes, wave["seconds_left"].as_i64()) else {
        return String::new();
    };
    match end.saturating_sub(now) / 1000 - left {
        spare @ 0.. => format!(", done {} before", clock(spare.unsigned_abs())),
        late => format!(", {} TOO LONG for it", clock(late.unsigned_abs())),
    }
}

/// `wave pilot is bound by: limit 61 %, target 39 % (over the run: …)`
fn binds(what: &str, told: &Value) -> String {
    let text = |over: &str| told["bound_by"][over]["text"].as_str().map(|t| Shown(t).to_string());
    let Some(run) = text("run") else { return String::new() };
    let minutes = told["bound_by"]["recently"]["over_seconds"].as_f64().unwrap_or(0.0);
    match text("recently") {
        Some(recently) if recently != run => {
            let over = clock(minutes.max(0.0) as u64);
            format!("{what} is bound by: {recently} (the last {over}; over the whole run: {run})\n")
        }
        _ => format!("{what} is bound by: {run}\n"),
    }
}

/// Mailboxes that wait because a server told them to, or before another try.
fn told_to_wait(live: &Value, set: &WavesSettings) -> String {
    let all = live["told_to_wait"].as_array().map(Vec::as_slice).unwrap_or_default();
    let header =
        [("waits", Align::Left), ("wave", Align::Left), ("until", Align::Left), ("why", Align::Left)];
    let text = |value: &Value| Shown(value.as_str().unwrap_or_default()).to_string();
    let rows: Vec<Vec<String>> = all
        .iter()
        .take(MOST_WAITING)
        .map(|w| {
            let until = w["until_ms"].as_i64().map_or("-".to_owned(), |at| waves::show(set, at));
            vec![text(&w["mailbox"]), name(w["wave"].as_str().unwrap_or_default()), until, text(&w["why"])]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let number = live["told_to_wait_in_all"].as_u64().unwrap_or(0);
    let more = match number.saturating_sub(rows.len() as u64) {
        0 => String::new(),
        more => format!("… and {} more that wait\n", count(more)),
    };
    format!("\n{}{more}", table(&header, &rows))
}

/// What the last run said of itself, a moment before it ended or was cut.
fn last_run(last: &Value, set: &WavesSettings, now: i64) -> String {
    let run = &last["run"];
    let how = if last["ended"] == true { "ended" } else { "was cut after" };
    let m = &run["messages"];
    let mut out = format!(
        "the last run {how} {}: {} messages stored, {} told to slow down\n",
        Shown(last["written"].as_str().unwrap_or("-")),
        count(m["stored"].as_u64().unwrap_or(0)),
        count(run["requests"]["throttled"].as_u64().unwrap_or(0)),
    );
    for w in run["waves"].as_array().into_iter().flatten() {
        let wave = w["wave"].as_str().unwrap_or_default();
        if !wave.is_empty() {
            out.push_str(&binds(&format!("wave {}", name(wave)), w).replace(" is bound ", " was bound "));
        }
    }
    out.push_str(&binds("it", run).replace(" is bound ", " was bound "));
    // Those whose time has come since do not wait any more.
    let mut still = run.clone();
    if let Some(all) = still["told_to_wait"].as_array_mut() {
        all.retain(|w| w["until_ms"].as_i64().is_some_and(|at| at > now));
        let number = all.len();
        still["told_to_wait_in_all"] = number.into();
    }
    out + &told_to_wait(&still, set)
}

/// `1:02:03`
fn clock(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wave(left: u64) -> Value {
        let texts = json!({
            "recently": { "text": "limit 61 %, target 39 %", "over_seconds": 300.0 },
            "run": { "text": "target 100 %" },
        });
        json!({
            "wave": "pilot", "waiting": 3, "running": 2, "open": true, "changes_ms": 3_600_000, "throttles": 4,
            "messages": { "stored": 1200 }, "per_second": { "messages": 12.34, "bytes": 1_500_000.0 },
            "seconds_left": left, "bound_by": texts,
        })
    }

    #[test]
    fn a_running_wave_tells_its_pace_what_binds_and_whether_it_will_end_in_its_window() {
        let set = WavesSettings::default();
        let told = json!([{
            "mailbox": "k1", "wave": "pilot", "until_ms": 60_000, "why": "slow\u{1b}[31m down",
        }]);
        let live = json!({ "waves": [wave(600)], "told_to_wait": told, "told_to_wait_in_all": 3 });
        let text = running(&live, &set, 0);
        assert!(text.contains("12.3, 1.5 MB") && text.contains("0:10:00"), "{text}");
        assert!(text.contains(", done 0:50:00 before"), "{text}");
        assert!(text.contains("and 2 more that wait") && !text.contains('\u{1b}'), "{text}");
        let late = running(&json!({ "waves": [wave(7200), wave(0)] }), &set, 0);
        assert!(late.contains(", 1:00:00 TOO LONG for it"), "{late}");
        assert!(
            late.contains("wave pilot is bound by: limit 61 %, target 39 % (the last 0:05:00; over the whole run: target 100 %)"),
            "{late}"
        );
        assert!(!running(&json!({}), &set, 0).is_empty(), "a run of another version says less");
    }

    #[test]
    fn a_run_that_is_gone_is_told_as_it_was_and_nobody_waits_whose_time_has_come() {
        let told = json!([{ "mailbox": "k1", "wave": "", "until_ms": 60_000, "why": "tomorrow" }]);
        let run = json!({ "waves": [wave(0)], "told_to_wait": told, "messages": { "stored": 7 } });
        let last = json!({ "v": 1, "ended": false, "written": "2026-11-22T19:00:00Z", "run": run });
        let set = WavesSettings::default();
        let text = last_run(&last, &set, 0);
        assert!(text.starts_with("the last run was cut after 2026-11-22T19:00:00Z: 7 messages"), "{text}");
        assert!(text.contains("wave pilot was bound by: limit 61 %") && text.contains("tomorrow"), "{text}");
        assert!(!last_run(&last, &set, 60_000).contains("tomorrow"));
    }
}

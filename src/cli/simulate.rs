//! `mailwave simulate`: a night without servers.

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use super::Failure;
use super::args::{SimulateArgs, SimulateOrder};
use super::compare::compare;
use super::exit::Exit;
use super::live::shares;
use super::talk::Talk;
use crate::env::{Env, Tick};
use crate::model::{Error, Kind, MailboxKey, Result, Scope};
use crate::observe::{Lines, Progress};
use crate::report::{About, Align, Report, count, table, write};
use crate::simulate::{self, Ordering, Outcome, Scenario, View, Watch};

/// The published scenarios.
const PUBLISHED: [(&str, &str); 2] = [
    ("rate-bound", include_str!("../../fixtures/scenarios/rate-bound.toml")),
    ("full-tail", include_str!("../../fixtures/scenarios/full-tail.toml")),
];
/// Largest scenario file, in bytes.
const LARGEST: u64 = 1 << 20;
/// A line of progress for so much of the night.
const EVERY: Duration = Duration::from_secs(15 * 60);
/// Mailboxes named that cannot end in time.
const MOST_NAMED: usize = 20;

pub(super) fn run(args: &SimulateArgs, env: &Env, talk: &Talk) -> Result<Exit, Failure> {
    let scenario = scenario(&args.scenario)?;
    if let Some(seeds) = args.compare {
        return compare(&scenario, args, seeds, env, talk);
    }
    let ordering = match args.order {
        SimulateOrder::LongestFirst => Ordering::LongestFirst,
        SimulateOrder::AsListed => Ordering::AsListed,
        SimulateOrder::Shuffled => Ordering::Shuffled,
    };
    let began = env.now();
    let too_long = simulate::too_long(&scenario, args.seed)?;
    if !args.json {
        name(&too_long, talk);
    }
    let mut watching = Watching {
        lines: Lines::every(EVERY, std::io::stderr(), Tick::ZERO),
        events: args.events.as_deref().map(open).transpose()?,
        failed: false,
    };
    let outcome = simulate::run(&scenario, args.seed, ordering, &mut watching)?;
    let mut failed = watching.failed;
    if let Some(events) = &mut watching.events {
        failed |= events.flush().is_err();
    }
    if failed {
        let what = "the file of events could not be written to its end";
        return Err(Error::new(Kind::Io, Scope::Run, what).remedy("make room, or name another file").into());
    }
    if let Some(dir) = &args.out {
        let about = About { source_name: "simulated".to_owned(), now: 0, ..About::default() };
        write(&Report::build(&View(&outcome), &about)?, dir)?;
        talk.say(&format!("Report: {}", dir.join("report.txt").display()));
    }
    let took = env.now().saturating_sub(began);
    if args.json {
        talk.data(&json(&scenario, &outcome, &too_long, took).to_string());
    } else {
        print(&scenario, &outcome, took, talk);
    }
    Ok(Exit::Done)
}

/// A published scenario, or a file.
fn scenario(name: &str) -> Result<Scenario> {
    if let Some((_, text)) = PUBLISHED.iter().find(|(known, _)| *known == name) {
        return Scenario::parse(text);
    }
    let failed = |why: String| {
        let names: Vec<&str> = PUBLISHED.iter().map(|(name, _)| *name).collect();
        Error::new(Kind::Config, Scope::Run, format!("the scenario cannot be read ({why})"))
            .remedy(format!("name a file, or one of: {}", names.join(", ")))
    };
    let path = Path::new(name);
    let size = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if size > LARGEST {
        return Err(failed("it is larger than 1 MiB".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
    Scenario::parse(&text).map_err(|e| e.at(path.display()))
}

fn open(path: &Path) -> Result<BufWriter<File>> {
    File::create(path).map(BufWriter::new).map_err(|e| {
        let what = format!("the file of events {} cannot be made ({e})", path.display());
        Error::new(Kind::Io, Scope::Run, what).remedy("name another file with --events")
    })
}

struct Watching<W: Write> {
    lines: Lines<W>,
    events: Option<BufWriter<File>>,
    failed: bool,
}

impl<W: Write> Watch for Watching<W> {
    fn event(&mut self, at: Tick, what: fmt::Arguments<'_>) {
        if let Some(events) = &mut self.events {
            self.failed |= writeln!(events, "{:.3} {what}", at.as_secs_f64()).is_err();
        }
    }

    fn second(&mut self, at: Tick, progress: &Progress) {
        self.lines.tick(progress, at);
    }
}

/// Names those that cannot end within the window.
fn name(too_long: &[(MailboxKey, Duration)], talk: &Talk) {
    if too_long.is_empty() {
        return;
    }
    let many = count(too_long.len() as u64);
    talk.say(&format!(
        "{many} mailboxes cannot end within the window and are begun last; the longest by themselves:"
    ));
    for (key, time) in too_long.iter().take(MOST_NAMED) {
        talk.say(&format!("  {key}  {}", hours(*time)));
    }
    if too_long.len() > MOST_NAMED {
        talk.say("  … all of them with --json");
    }
}

pub(super) fn hours(d: Duration) -> String {
    let s = d.as_secs();
    format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

pub(super) fn refused_percent(outcome: &Outcome) -> f64 {
    outcome.refused as f64 * 100.0 / outcome.requests.max(1) as f64
}

fn number(outcome: &Outcome, of: fn(&simulate::Ended) -> bool) -> u64 {
    outcome.mailboxes.iter().filter(|m| of(m)).count() as u64
}

fn json(
    scenario: &Scenario,
    outcome: &Outcome,
    too_long: &[(MailboxKey, Duration)],
    took: Duration,
) -> serde_json::Value {
    let bounds = &outcome.bounds;
    serde_json::json!({
        "verb": "simulate",
        "scenario": outcome.scenario,
        "seed": outcome.seed,
        "mailboxes": scenario.mailboxes,
        "complete": number(outcome, simulate::Ended::is_complete),
        "failed": number(outcome, |m| m.failed),
        "stopped": number(outcome, |m| !m.failed && !m.is_complete()),
        "not_begun": outcome.not_begun,
        "too_long": too_long.iter().map(|(key, time)| serde_json::json!({"mailbox": key.as_str(), "seconds": time.as_secs()})).collect::<Vec<_>>(),
        "seconds": outcome.took.as_secs_f64(),
        "bounds_seconds": { "bytes": bounds.bytes.as_secs_f64(), "requests": bounds.requests.as_secs_f64(), "longest_mailbox": bounds.longest.as_secs_f64() },
        "over_the_bound": outcome.over_the_bound(),
        "requests": outcome.requests,
        "refused": outcome.refused,
        "most_open": outcome.most_open,
        "events": outcome.events,
        "event_log": outcome.log.to_hex(),
        "bound_by": { "run": shares(&outcome.bound_by) },
        "real_seconds": took.as_secs_f64(),
    })
}

fn print(scenario: &Scenario, outcome: &Outcome, took: Duration, talk: &Talk) {
    let bounds = &outcome.bounds;
    let rows = [
        ("mailboxes", count(u64::from(scenario.mailboxes))),
        ("complete", count(number(outcome, simulate::Ended::is_complete))),
        ("failed", count(number(outcome, |m| m.failed))),
        ("stopped at the window's end", count(number(outcome, |m| !m.failed && !m.is_complete()))),
        ("not begun", count(outcome.not_begun)),
        ("took", hours(outcome.took)),
        ("all octets through the links", hours(bounds.bytes)),
        ("all requests at the apps' rate", hours(bounds.requests)),
        ("the longest mailbox by itself", hours(bounds.longest)),
        ("times the longest of the three", format!("{:.4}", outcome.over_the_bound())),
        ("requests", count(outcome.requests)),
        ("refused", format!("{} ({:.4} %)", count(outcome.refused), refused_percent(outcome))),
        ("open at once, at most", count(outcome.most_open as u64)),
        ("events", count(outcome.events)),
        ("event log", outcome.log.to_hex()),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    talk.data(&table(&[("the night", Align::Left), ("", Align::Right)], &rows));
    if let Some(words) = outcome.bound_by.text() {
        talk.say(&format!("Bound by: {words}"));
    }
    talk.say(&format!("simulated in {:.1} s", took.as_secs_f64()));
}

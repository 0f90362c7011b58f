//! `[[window]]`, `[[black_out]]` and `[wave.NAME]`: when a run may work, and on what together.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Date;

use super::build::{DAY, MINUTE, to_usize};
use super::read::Section;
use super::zone::Zone;
use crate::guard::Shown;

/// Days of the week as they are written, from Monday on.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Windows, black-outs and waves of a configuration, each: more than anyone keeps in mind.
const MOST: usize = 1000;
/// How long before its end a window begins nothing new, unless it says otherwise.
const GRACE: Duration = Duration::from_secs(120);

/// A time of every week in which a run may work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weekly {
    /// What waves call it by; may be empty.
    pub name: String,
    /// The days it begins on, from Monday on.
    pub days: [bool; 7],
    /// When it begins, in minutes after midnight (0–1439), by the clock on the wall.
    pub from: u16,
    /// When it ends, in minutes after midnight (0–1440), by the clock on the wall.
    pub to: u16,
    /// The day of the week it ends on, from Monday (0) on. `None`: the day it begins on, or the next one if `to` is not
    /// later than `from`.
    pub to_day: Option<u8>,
    /// Where the wall is.
    pub zone: Zone,
    /// How long before its end nothing new is begun.
    pub grace: Duration,
}

/// Days on which nothing runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlackOut {
    /// The first day.
    pub from: Date,
    /// The last day; not before the first.
    pub to: Date,
    /// Whose days.
    pub zone: Zone,
}

/// `[wave.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WaveSettings {
    /// The names of its windows. `None`: all windows are its; none of them: it is always open.
    pub windows: Option<Vec<String>>,
    /// Its own black-outs, beside those of all.
    pub black_outs: Vec<BlackOut>,
    /// Mailboxes of it with work in progress at once (1–5000). `None`: as many as there may be in all.
    pub open_mailboxes: Option<usize>,
    /// Messages of it copied in a second, at most (1–1,000,000). `None`: as many as the other limits allow.
    pub messages_per_second: Option<u32>,
    /// Bytes of messages of it copied in a second, at most (from 1 KiB on). `None`: as many as the other limits allow.
    pub bytes_per_second: Option<u64>,
    /// Batches of it under way at once, read or stored (1–10,000). `None`: as many as the other limits allow.
    pub batches_at_once: Option<u32>,
    /// Its place among the waves of a run that names none: smaller goes first. `None`: behind those that have one, in
    /// the order of their names.
    pub start: Option<u64>,
}

/// When and in which waves to run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WavesSettings {
    /// The zone of everything that names none, and of what is shown. `None`: none was named.
    pub zone: Option<Zone>,
    /// The windows. None: always.
    pub windows: Vec<Weekly>,
    /// The black-outs of every wave.
    pub black_outs: Vec<BlackOut>,
    /// The waves that have settings, by name.
    pub waves: BTreeMap<String, WaveSettings>,
}

/// Reads them all from the file's root.
pub(super) fn waves(root: &Section<'_, '_>) -> WavesSettings {
    // A zone that is wrong is told once, here: whatever lies in it is read as if it lay in another.
    let zone =
        root.has("time_zone").then(|| zone_of(root, "time_zone").or_else(|| Zone::named("UTC"))).flatten();
    let mut windows: Vec<Weekly> = Vec::new();
    for section in few(root, "window") {
        let window = weekly(&section, zone.as_ref());
        if let Some(window) = &window
            && !window.name.is_empty()
            && windows.iter().any(|w| w.name == window.name)
        {
            section.wrong("name", "another window has this name", "give each window a name of its own");
        }
        windows.extend(window);
        section.done();
    }
    let black_outs = black_outs(root, zone.as_ref());
    let mut waves = BTreeMap::new();
    let tables = root.section("wave").map(|section| section.named_tables()).unwrap_or_default();
    for (name, section) in tables.into_iter().take(MOST) {
        waves.insert(name, wave(&section, zone.as_ref(), &windows));
        section.done();
    }
    WavesSettings { zone, windows, black_outs, waves }
}

/// The tables of a list; too many are told.
fn few<'r, 'i>(section: &Section<'r, 'i>, key: &'static str) -> Vec<Section<'r, 'i>> {
    let mut all = section.tables(key).unwrap_or_default();
    if all.len() > MOST {
        section.wrong(key, format_args!("there are more than {MOST} of them"), "join what can be joined");
        all.truncate(MOST);
    }
    all
}

fn wave(section: &Section<'_, '_>, zone: Option<&Zone>, windows: &[Weekly]) -> WaveSettings {
    let names = section.has("windows").then(|| section.texts("windows")).flatten();
    for name in names.iter().flatten() {
        if !windows.iter().any(|w| w.name == *name) {
            let all: Vec<&str> = windows.iter().map(|w| w.name.as_str()).filter(|n| !n.is_empty()).collect();
            let remedy = match super::read::nearest(name, all.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None if all.is_empty() => "give a [[window]] this `name`".to_owned(),
                None => format!("the windows with a name are {}", all.join(", ")),
            };
            section.wrong("windows", format_args!("there is no window \"{}\"", Shown(name)), remedy);
        }
    }
    let small = |key: &'static str, most: u64| {
        section.has(key).then(|| u32::try_from(section.number(key, 1, 1..=most)).unwrap_or(u32::MAX))
    };
    WaveSettings {
        windows: names,
        black_outs: black_outs(section, zone),
        open_mailboxes: section
            .has("open_mailboxes")
            .then(|| to_usize(section.number("open_mailboxes", 1, 1..=5000))),
        messages_per_second: small("messages_per_second", 1_000_000),
        batches_at_once: small("batches_at_once", 10_000),
        bytes_per_second: section
            .has("bytes_per_second")
            .then(|| section.size("bytes_per_second", 1 << 20, 1 << 10..=1 << 40)),
        start: section.has("start").then(|| section.number("start", 1, 1..=1_000_000)),
    }
}

fn weekly(section: &Section<'_, '_>, zone: Option<&Zone>) -> Option<Weekly> {
    let name = section.text("name").unwrap_or_default();
    let days = days(section);
    let from = required_clock(section, "from", false);
    let to = required_clock(section, "to", true);
    let zone = own_zone(section, zone);
    let grace = section.duration("grace", GRACE, Duration::ZERO..=DAY);
    let (days, (from, _), (to, to_day)) = (days?, from?, to?);
    let window = Weekly { name, days, from, to, to_day, zone: zone?, grace };
    let shortest = (0..7).filter(|d| window.days[usize::from(*d)]).map(|d| window.minutes(d)).min();
    if shortest.is_some_and(|minutes| window.grace >= u32::from(minutes) * MINUTE) {
        section.wrong("grace", "is as long as the window: nothing could begin", "make it shorter");
    }
    Some(window)
}

impl Weekly {
    /// Days between its beginning on this day of the week and its end (0–7).
    pub fn days_on(&self, day: u8) -> u8 {
        match self.to_day {
            None => u8::from(self.to <= self.from),
            Some(last) => match (last + 7 - day % 7) % 7 {
                0 if self.to <= self.from => 7,
                days => days,
            },
        }
    }

    /// Its length when it begins on this day of the week and no clock is changed, in minutes.
    fn minutes(&self, day: u8) -> u16 {
        (u16::from(self.days_on(day)) * 1440 + self.to).saturating_sub(self.from)
    }
}

fn days(section: &Section<'_, '_>) -> Option<[bool; 7]> {
    const HOW: &str = "write `days = [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\", \"sun\"]`, or those of them on which it begins";
    if !section.has("days") {
        return Some([true; 7]);
    }
    let texts = section.texts("days")?;
    let mut days = [false; 7];
    for text in &texts {
        match DAYS.iter().position(|day| day == text) {
            Some(day) => days[day] = true,
            None => {
                section.wrong("days", format_args!("\"{}\" is no day of the week", Shown(text)), HOW);
                return None;
            }
        }
    }
    if texts.is_empty() {
        section.wrong("days", "names no day", HOW);
        return None;
    }
    Some(days)
}

/// `20:00`; where a window ends also `24:00` and `mon 06:00`.
fn required_clock(section: &Section<'_, '_>, key: &'static str, end: bool) -> Option<(u16, Option<u8>)> {
    let text = section.required(key, if end { "\"06:00\"" } else { "\"20:00\"" })?;
    let read = || {
        let (day, clock) = match text.split_once(' ') {
            Some((day, clock)) if end => (Some(DAYS.iter().position(|d| *d == day)?), clock.trim_start()),
            _ => (None, text.as_str()),
        };
        let minutes = clock_minutes(clock).filter(|m| end || *m < 1440)?;
        Some((minutes, day.and_then(|d| u8::try_from(d).ok())))
    };
    let found = read();
    if found.is_none() {
        let how = if end {
            "write hours and minutes, like `to = \"06:00\"` (up to \"24:00\"), or with the day it ends on: `to = \"mon 06:00\"`"
        } else {
            "write hours and minutes from \"00:00\" to \"23:59\", like `from = \"20:00\"`"
        };
        section.wrong(key, format_args!("\"{}\" is no time of day", Shown(&text)), how);
    }
    found
}

/// `HH:MM`, up to `24:00` → minutes.
pub(crate) fn clock_minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |t: &str| t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit());
    let number = |t: &str| t.parse::<u16>().ok();
    let (hours, minutes) = (two(hours).then(|| number(hours))??, two(minutes).then(|| number(minutes))??);
    (minutes < 60 && (hours < 24 || (hours, minutes) == (24, 0))).then_some(hours * 60 + minutes)
}

fn zone_of(section: &Section<'_, '_>, key: &'static str) -> Option<Zone> {
    let text = section.has(key).then(|| section.text(key)).flatten()?;
    let zone = Zone::named(&text);
    if zone.is_none() {
        section.wrong(
            key,
            format_args!("\"{}\" is no time zone of the IANA database", Shown(&text)),
            format!("write a name like `{key} = \"Europe/Berlin\"`"),
        );
    }
    zone
}

/// The zone a table names, else the file's.
fn own_zone(section: &Section<'_, '_>, zone: Option<&Zone>) -> Option<Zone> {
    if section.has("zone") {
        return zone_of(section, "zone");
    }
    if zone.is_none() {
        section.wrong(
            "zone",
            "no time zone is named",
            "add `zone = \"Europe/Berlin\"` here, or `time_zone = \"Europe/Berlin\"` at the beginning of the file",
        );
    }
    zone.cloned()
}

fn black_outs(section: &Section<'_, '_>, zone: Option<&Zone>) -> Vec<BlackOut> {
    let mut all = Vec::new();
    for table in few(section, "black_out") {
        let from = date(&table, "from", true);
        let to = if table.has("to") { date(&table, "to", false) } else { from };
        if let (Some(from), Some(to), Some(zone)) = (from, to, own_zone(&table, zone)) {
            if to < from {
                table.wrong("to", "is before `from`", "write the last day of the black-out");
            } else {
                all.push(BlackOut { from, to, zone });
            }
        }
        table.done();
    }
    all
}

/// A date, as text.
fn date(section: &Section<'_, '_>, key: &'static str, required: bool) -> Option<Date> {
    let text = if required { section.required(key, "\"2026-12-24\"")? } else { section.text(key)? };
    let strict = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let date = text.parse::<Date>().ok().filter(|_| strict);
    if date.is_none() {
        section.wrong(
            key,
            format_args!("\"{}\" is no date", Shown(&text)),
            format!("write year, month and day, like `{key} = \"2026-12-24\"`"),
        );
    }
    date
}

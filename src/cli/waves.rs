//! The waves of a run: which mailboxes, in which order, in which windows, and until when.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::DateTime;

use super::args::RunArgs;
use crate::config::{Settings, WavesSettings, Zone, clock_minutes};
use crate::engine::{Resumed, Wave, resumed};
use crate::env::WallMillis;
use crate::guard::Shown;
use crate::ledger::LedgerView;
use crate::model::{Error, Kind, Mailbox, Result, Scope};
use crate::plan::{Calendar, Plan};

fn wrong(what: String) -> Error {
    Error::new(Kind::Config, Scope::Run, what)
}

/// The waves to run: those that are named, in this order; else all that the configuration has, in the order of their
/// `start`, and then whatever belongs to none of them.
///
/// # Errors
/// `Kind::Config`: a wave is named twice or has no mailbox, or `--only` names none.
pub(super) fn of_run(
    args: &RunArgs,
    settings: &Settings,
    plan: Plan,
    until: Option<WallMillis>,
) -> Result<Vec<Wave>> {
    let set = &settings.waves;
    let plan = plan.select(&args.only, None)?;
    let wave = |name: &str, mailboxes: Vec<Mailbox>| Wave {
        name: name.to_owned(),
        mailboxes,
        sizes: BTreeMap::new(),
        calendar: calendar(set, name).until(until),
        open_mailboxes: set.waves.get(name).and_then(|w| w.open_mailboxes),
        pass: None,
    };
    let all = plan.mailboxes();
    let of = |name: &str| all.iter().filter(|m| m.wave == name).cloned().collect::<Vec<_>>();
    if args.wave.is_empty() {
        let mut names: Vec<&String> = set.waves.keys().collect();
        names.sort_by_key(|name| set.waves.get(*name).and_then(|w| w.start).unwrap_or(u64::MAX));
        let rest = all.iter().filter(|m| !set.waves.contains_key(&m.wave)).cloned().collect();
        let waves = names.into_iter().map(|name| wave(name, of(name))).chain([wave("", rest)]);
        return Ok(waves.filter(|wave| !wave.mailboxes.is_empty()).collect());
    }
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let one = |name: &String| {
        if !seen.insert(name.clone()) {
            return Err(
                wrong(format!("the wave \"{}\" is asked for twice", Shown(name))).remedy("name it once")
            );
        }
        let mailboxes = of(name);
        if mailboxes.is_empty() {
            return Err(wrong("no mailbox belongs to the wave asked for".to_owned())
                .remedy("compare with the rows of mailboxes.csv"));
        }
        Ok(wave(name, mailboxes))
    };
    args.wave.iter().map(one).collect()
}

/// Binds the waves that are named to the pass they are in, and leaves out what was finished in it by earlier runs. Beside
/// waves in the midst of their pass, those at the end of theirs are left out: a run that was cut is gone on with.
///
/// # Errors
/// `Kind::Ledger`.
pub(super) fn resume(args: &RunArgs, waves: Vec<Wave>, view: &dyn LedgerView) -> Result<Vec<Wave>> {
    // Whoever names mailboxes, or begins anew, means all of them.
    if args.wave.is_empty() || !args.only.is_empty() || args.start_over {
        return Ok(waves);
    }
    let walked = view.walked()?;
    let stands = |wave: &Wave| resumed(&wave.name, &wave.mailboxes, &walked, args.final_pass);
    let stands: Vec<_> = waves.iter().map(stands).collect();
    let goes_on = stands.iter().any(|s| s.midst);
    let these = waves.into_iter().zip(stands).filter(|(_, s)| !(goes_on && s.over));
    let resume = |(mut wave, stands): (Wave, Resumed)| {
        wave.mailboxes.retain(|m| !stands.finished.contains(&m.key));
        wave.pass = Some(stands.pass);
        wave
    };
    Ok(these.map(resume).collect())
}

/// When a wave may run. A wave without settings may in every window.
pub(super) fn calendar(set: &WavesSettings, wave: &str) -> Calendar {
    let own = set.waves.get(wave);
    let named = own.and_then(|w| w.windows.as_ref());
    let windows = set.windows.iter().filter(|w| named.is_none_or(|names| names.contains(&w.name)));
    let black_outs: Vec<_> =
        set.black_outs.iter().chain(own.into_iter().flat_map(|w| &w.black_outs)).cloned().collect();
    Calendar::new(windows.cloned().collect(), &black_outs)
}

/// The zone in which moments are shown: that of the configuration, else that of its first window, else UTC.
pub(super) fn zone(set: &WavesSettings) -> Option<Zone> {
    let first = || set.windows.first().map(|w| w.zone.clone());
    set.zone.clone().or_else(first).or_else(|| Zone::named("UTC"))
}

/// A moment as an operator reads it.
pub(super) fn show(set: &WavesSettings, at: WallMillis) -> String {
    zone(set).map(|zone| zone.show(at)).unwrap_or_default()
}

/// Reads `--until`: `HH:MM` (the next time clocks show that), a date and time, or RFC 3339 with its offset. The first two
/// are of the configuration's time zone.
///
/// # Errors
/// `Kind::Config`: it is none of these, there is no time zone, or it is over.
pub(super) fn until(text: &str, set: &WavesSettings, now: WallMillis) -> Result<WallMillis> {
    const HOW: &str =
        "write --until 06:00, --until 2026-11-23T06:00, or with its offset --until 2026-11-23T06:00:00+01:00";
    let zone = || {
        let zone = set.zone.clone().or_else(|| set.windows.first().map(|w| w.zone.clone()));
        zone.ok_or_else(|| {
            wrong("--until: the configuration names no time zone".to_owned())
                .remedy("add `time_zone = \"Europe/Berlin\"` at its beginning, or write the offset: 2026-11-23T06:00:00+01:00")
        })
    };
    let at = if let Some(minutes) = clock_minutes(text) {
        let zone = zone()?;
        let today = zone.date(now);
        let days = [today, today.and_then(|d| d.tomorrow().ok())];
        days.into_iter().flatten().filter_map(|day| zone.first(day, minutes)).find(|at| *at > now)
    } else if let Ok(at) = text.parse::<jiff::Timestamp>() {
        Some(at.as_millisecond())
    } else if let Ok(at) = text.parse::<DateTime>() {
        let minutes = u16::try_from(i32::from(at.hour()) * 60 + i32::from(at.minute())).unwrap_or(0);
        zone()?.first(at.date(), minutes).map(|m| m + i64::from(at.second()) * 1000)
    } else {
        None
    };
    let at = at.ok_or_else(|| wrong(format!("--until: \"{}\" is no time", Shown(text))).remedy(HOW))?;
    if at <= now {
        return Err(wrong(format!("--until: {} is over", show(set, at))).remedy("name a time to come"));
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> WavesSettings {
        WavesSettings { zone: Zone::named("Europe/Berlin"), ..WavesSettings::default() }
    }

    fn moment(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond()
    }

    #[test]
    fn an_end_is_today_tomorrow_or_a_date() {
        let now = moment("2026-11-22T19:00:00Z");
        for (text, at) in [
            ("20:30", "2026-11-22T19:30:00Z"),
            ("20:00", "2026-11-23T19:00:00Z"),
            ("06:00", "2026-11-23T05:00:00Z"),
            ("24:00", "2026-11-22T23:00:00Z"),
            ("2026-11-23T06:00", "2026-11-23T05:00:00Z"),
            ("2026-11-23 06:00:30", "2026-11-23T05:00:30Z"),
            ("2026-11-23T06:00:00Z", "2026-11-23T06:00:00Z"),
            ("2026-11-23T06:00:00.250-05:00", "2026-11-23T11:00:00.250Z"),
        ] {
            assert_eq!(until(text, &berlin(), now).expect(text), moment(at), "{text}");
        }
    }

    #[test]
    fn an_end_that_is_over_or_no_time_is_refused_with_a_remedy() {
        let now = moment("2026-11-22T19:00:00Z");
        for text in ["", "6", "25:00", "2026-11-22T18:59:59Z", "tomorrow", "\u{1b}[31m"] {
            let e = until(text, &berlin(), now).expect_err(text);
            assert!(
                e.kind == Kind::Config && !e.remedy.is_empty() && !e.to_string().contains('\u{1b}'),
                "{e}"
            );
        }
        let e = until("06:00", &WavesSettings::default(), now).expect_err("whose clock?");
        assert!(e.to_string().contains("time_zone"), "{e}");
    }
}

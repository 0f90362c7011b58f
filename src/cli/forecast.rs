//! What a run knows of sizes before it begins, and which mailboxes cannot end within their window.

use std::collections::BTreeMap;
use std::time::Duration;

use super::talk::Talk;
use crate::engine::{Size, Wave, ceilings, expected, size};
use crate::env::WallMillis;
use crate::guard::Shown;
use crate::ledger::{LedgerView, MailboxLine};
use crate::limit::Limits;
use crate::model::{MailboxKey, Result};
use crate::plan::{Ceilings, Load};
use crate::report::{bytes, count};

/// Mailboxes named of each wave.
const MOST_NAMED: usize = 20;

/// Gives the waves what is known of the sizes of their mailboxes: by the ledger, and by the list.
///
/// # Errors
/// `Kind::Ledger`.
pub(super) fn know(
    waves: &mut [Wave],
    told: &BTreeMap<MailboxKey, Load>,
    view: &dyn LedgerView,
) -> Result<()> {
    let lines = view.mailboxes()?;
    let lines: BTreeMap<&str, &MailboxLine> = lines.iter().map(|line| (line.key.as_str(), line)).collect();
    for wave in waves {
        let known = wave.mailboxes.iter().filter_map(|m| {
            let size = size(lines.get(m.key.as_str()).copied(), told.get(&m.key).copied())?;
            Some((m.key.clone(), size))
        });
        wave.sizes = known.collect();
    }
    Ok(())
}

/// Names the mailboxes that cannot end within the window of their wave, with the arithmetic.
pub(super) fn tell(
    waves: &[Wave],
    limits: &Limits,
    lines: &BTreeMap<MailboxKey, u64>,
    now: WallMillis,
    talk: &Talk,
) {
    for wave in waves {
        for line in too_long(wave, limits, lines, now) {
            talk.say(&line);
        }
    }
}

fn too_long(wave: &Wave, limits: &Limits, lines: &BTreeMap<MailboxKey, u64>, now: WallMillis) -> Vec<String> {
    // A wave that never opens has other troubles.
    let Some(window) = wave.calendar.length(now).filter(|window| !window.is_zero()) else {
        return Vec::new();
    };
    let mut long: Vec<_> = wave
        .mailboxes
        .iter()
        .filter_map(|m| {
            let size = *wave.sizes.get(&m.key)?;
            let expected = expected(m, Some(size), limits);
            (!expected.fits(Some(window))).then(|| (expected.time.unwrap_or_default(), m, size))
        })
        .collect();
    if long.is_empty() {
        return Vec::new();
    }
    long.sort_by_key(|(time, ..)| std::cmp::Reverse(*time));
    let of = if wave.name.is_empty() { String::new() } else { format!(" of wave \"{}\"", Shown(&wave.name)) };
    let mut said = vec![format!(
        "{} mailboxes{of} cannot end within the window of {}; they are begun last, and what they get done counts for \
         the next window:",
        count(long.len() as u64),
        hours(window),
    )];
    for (time, m, size) in long.iter().take(MOST_NAMED) {
        let line = lines.get(&m.key).map(|line| format!(", line {line}")).unwrap_or_default();
        let why = match size {
            Size::Left(load) => arithmetic(&ceilings(limits.of_target(&m.target_endpoint)), *load),
            Size::Took(_) => "as long as its last pass took".to_owned(),
        };
        said.push(format!("  {}{line}: {} ({why})", m.key, hours(*time)));
    }
    if long.len() > MOST_NAMED {
        said.push(format!("  … and {} more", count((long.len() - MOST_NAMED) as u64)));
    }
    said
}

/// The longest term, in numbers.
fn arithmetic(ceilings: &Ceilings, load: Load) -> String {
    let terms = ceilings.terms(load);
    if terms.longest() == terms.bytes {
        let rate = bytes(ceilings.upload_per_second as u64);
        return format!("{} × {:.2} on the wire ÷ {rate}/s", bytes(load.bytes), ceilings.wire_factor);
    }
    let requests = count((load.messages as f64 * ceilings.requests_per_message) as u64);
    if terms.longest() == terms.requests {
        return format!("{requests} requests ÷ {:.1}/s", ceilings.requests_per_second);
    }
    format!("{requests} requests × {} ms ÷ {} at once", ceilings.latency.as_millis(), ceilings.at_once)
}

fn hours(d: Duration) -> String {
    let s = d.as_secs();
    format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;
    use crate::limit::{LimitSettings, TargetLimits};
    use crate::model::{Mailbox, SourceName};
    use crate::plan::Calendar;

    #[test]
    fn what_cannot_end_within_the_window_is_named_with_the_arithmetic() {
        let source: SourceName = "acme".parse().expect("a name");
        let mailbox = |name: &str| Mailbox {
            key: MailboxKey::of(&source, name),
            source: name.to_owned(),
            target: name.to_owned(),
            source_endpoint: "old".to_owned(),
            target_endpoint: "new".to_owned(),
            target_place: String::new(),
            wave: "one".to_owned(),
            priority: 0,
        };
        let mailboxes = vec![mailbox("small"), mailbox("large"), mailbox("many"), mailbox("unknown")];
        let load = |messages, bytes| Size::Left(Load { messages, bytes });
        let sizes = [load(10, 1_000_000), load(10, 20_000_000_000), load(300_000, 1)];
        let sizes = mailboxes.iter().map(|m| m.key.clone()).zip(sizes).collect();
        // Open from 20:00 to midnight, and it is 21:00.
        let calendar = Calendar::every_day(1200, 1440, 0);
        let wave = Wave { name: "one".to_owned(), mailboxes, sizes, calendar, ..Wave::default() };
        let targets = [("new".to_owned(), TargetLimits::default())].into();
        let limits = Limits::new(&Env::system(), LimitSettings { targets, ..LimitSettings::default() });
        let lines = wave.mailboxes.iter().zip(2..).map(|(m, line)| (m.key.clone(), line)).collect();
        let said = too_long(&wave, &limits, &lines, 21 * 3_600_000);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(
            said[0].starts_with("2 mailboxes of wave \"one\" cannot end within the window of 3:00:00"),
            "{said:?}"
        );
        assert!(said[1].contains("line 3: 14:48:53 (") && said[1].contains("÷"), "{said:?}");
        assert!(said[2].contains("line 4: 6:15:00 (300,000 requests × 300 ms ÷ 4 at once)"), "{said:?}");
        let open = Wave { calendar: Calendar::default(), ..wave };
        assert!(too_long(&open, &limits, &lines, 0).is_empty(), "without an end all fit");
    }
}

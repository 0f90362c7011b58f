//! Progress on a terminal: the totals, and the mailboxes that have been open longest.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::state::{Progress, State, clock, megabytes};
use crate::env::Tick;

/// Mailboxes shown: of thousands open at once only the slowest are worth a line.
const SHOWN: usize = 4;
/// Lines: an empty one, two of totals and the mailboxes.
const LINES: usize = 3 + SHOWN;
/// Width of a bar, in columns.
const WIDTH: u64 = 24;

/// Draws bars. No colour: nothing is told by colour alone, and `NO_COLOR` holds by itself.
#[derive(Debug)]
pub struct Bars {
    all: MultiProgress,
    lines: Vec<ProgressBar>,
    began: Tick,
}

impl Bars {
    /// Draws on `target` (hidden by itself where it is no terminal).
    pub fn new(target: ProgressDrawTarget, now: Tick) -> Bars {
        let all = MultiProgress::with_draw_target(target);
        // Cut at the terminal's edge: a line that wraps cannot be taken away again.
        let style =
            ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let lines =
            (0..LINES).map(|_| all.add(ProgressBar::new_spinner().with_style(style.clone()))).collect();
        Bars { all, lines, began: now }
    }

    /// Draws anew.
    pub fn tick(&self, progress: &Progress, now: Tick) {
        let text = lines(&progress.state(), self.began, now);
        for (line, text) in self.lines.iter().zip(text) {
            line.set_message(text);
        }
    }

    /// Takes the bars away, runs `f`, draws them again: for lines of talk in between.
    pub fn aside<R>(&self, f: impl FnOnce() -> R) -> R {
        self.all.suspend(f)
    }

    /// Takes the bars away for good.
    pub fn end(&self) {
        for line in &self.lines {
            line.finish_and_clear();
        }
        // The terminal may be gone; nobody misses the bars then.
        let _ = self.all.clear();
    }
}

/// What stands on the lines. What matters most stands first: a narrow terminal cuts the end. The first is empty: the
/// `^C` that a terminal echoes pushes everything up by a line, and that one stays.
fn lines(state: &State, began: Tick, now: Tick) -> Vec<String> {
    let t = &state.totals;
    let elapsed = now.saturating_sub(began);
    let seconds = elapsed.as_secs_f64().max(0.001);
    let left = state.time_left(elapsed).map_or("-".to_owned(), clock);
    let bound = state.bound_by.as_ref().map_or(String::new(), |words| format!("; bound by: {words}"));
    let mut out = vec![
        String::new(),
        format!(
            "{}/{} mailboxes {} {}/{} messages, left {left}",
            t.closed,
            t.mailboxes,
            bar(t.messages + t.skipped, t.planned),
            t.messages,
            t.planned,
        ),
        format!(
            "{}, {:.0}/s, {}/s; open {}, told to wait {}; skipped {}, failed {}{bound}",
            megabytes(t.bytes as f64),
            t.messages as f64 / seconds,
            megabytes(t.bytes as f64 / seconds),
            state.open.len(),
            state.waiting(now),
            t.skipped,
            t.failed,
        ),
    ];
    let mut open: Vec<_> = state.open.iter().collect();
    open.sort_by_key(|(key, o)| (o.since, (*key).clone()));
    out.extend(open.into_iter().take(SHOWN).map(|(key, o)| {
        let what = match o.planned {
            None => "listing".to_owned(),
            Some(planned) => format!("{}/{planned}", o.done),
        };
        let wait = if o.waits_until > now {
            format!(", told to wait {}", clock(o.waits_until.saturating_sub(now)))
        } else {
            String::new()
        };
        let bar = bar(o.done, o.planned.unwrap_or(0));
        format!("  {key} {bar} {what}{wait}, open {}", clock(now.saturating_sub(o.since)))
    }));
    out.resize(LINES, String::new());
    out
}

/// `[=====>      ]`
fn bar(done: u64, of: u64) -> String {
    let full = (done.min(of) * WIDTH).checked_div(of).unwrap_or(0) as usize;
    let head = if full > 0 && full < WIDTH as usize { ">" } else { "" };
    format!("[{:<width$}]", "=".repeat(full - head.len()) + head, width = WIDTH as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MailboxKey, SourceName};
    use std::time::Duration;

    #[test]
    fn the_lines_tell_totals_and_the_mailboxes_open_longest() {
        let source: SourceName = "acme".parse().expect("valid");
        let (ann, bob) = (MailboxKey::of(&source, "ann"), MailboxKey::of(&source, "bob"));
        let progress = Progress::new(3);
        let s = Duration::from_secs;
        progress.opened(&ann, s(1));
        progress.opened(&bob, s(2));
        progress.planned(&bob, 100, 10_000_000);
        progress.progress(&bob, 50, 5_000_000, 0);
        progress.throttled(&bob, s(10), s(60));
        let lines = lines(&progress.state(), s(0), s(10));
        assert_eq!(
            lines,
            [
                String::new(),
                "0/3 mailboxes [===========>            ] 50/100 messages, left 0:00:10".to_owned(),
                "5.0 MB, 5/s, 500.0 kB/s; open 2, told to wait 1; skipped 0, failed 0".to_owned(),
                format!("  {ann} [                        ] listing, open 0:00:09"),
                format!("  {bob} [===========>            ] 50/100, told to wait 0:01:00, open 0:00:08"),
                String::new(),
                String::new(),
            ]
        );
        assert!(lines.iter().all(|l| l.len() < 100));
    }

    #[test]
    fn a_bar_keeps_its_width() {
        for (done, of) in [(0, 0), (0, 7), (1, 1000), (6, 7), (7, 7), (9, 7)] {
            assert_eq!(bar(done, of).len() as u64, WIDTH + 2, "{done} of {of}");
        }
    }
}

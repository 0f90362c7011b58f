//! Progress on a terminal: the totals, and the mailboxes that have been open longest.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::state::{Progress, clock, megabytes};
use crate::env::Tick;

/// Mailboxes shown: of thousands open at once only the slowest are worth a line.
const SHOWN: usize = 4;

/// Draws bars. No colour: nothing is told by colour alone, and `NO_COLOR` holds by itself.
#[derive(Debug)]
pub struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    slowest: Vec<ProgressBar>,
    began: Tick,
}

impl Bars {
    /// Draws on `target` (hidden by itself where it is no terminal).
    pub fn new(target: ProgressDrawTarget, now: Tick) -> Bars {
        let all = MultiProgress::with_draw_target(target);
        let style = |template: &str| {
            ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> ")
        };
        let total = all.add(ProgressBar::new(0).with_style(style("{prefix} [{bar:30}] {msg}")));
        let slowest = (0..SHOWN)
            .map(|_| all.add(ProgressBar::new(0).with_style(style("  {prefix} [{bar:30}] {msg}"))))
            .collect();
        Bars { all, total, slowest, began: now }
    }

    /// Draws anew.
    pub fn tick(&self, progress: &Progress, now: Tick) {
        let state = progress.state();
        let t = state.totals;
        let elapsed = now.saturating_sub(self.began);
        let seconds = elapsed.as_secs_f64().max(0.001);
        let left = state.time_left(elapsed).map_or("-".to_owned(), clock);
        self.total.set_prefix(format!("{}/{} mailboxes", t.closed, t.mailboxes));
        self.total.set_length(t.planned.max(1));
        self.total.set_position(t.messages + t.skipped);
        self.total.set_message(format!(
            "{}/{} messages  {}  {:.0}/s {}/s  left {left}  skipped {}  failed {}  waiting {}",
            t.messages,
            t.planned,
            megabytes(t.bytes as f64),
            t.messages as f64 / seconds,
            megabytes(t.bytes as f64 / seconds),
            t.skipped,
            t.failed,
            state.waiting(now),
        ));
        let mut open: Vec<_> = state.open.iter().collect();
        open.sort_by_key(|(key, o)| (o.since, (*key).clone()));
        for (n, bar) in self.slowest.iter().enumerate() {
            let Some((key, o)) = open.get(n) else {
                bar.set_prefix(" ".repeat(13));
                bar.set_length(1);
                bar.set_position(0);
                bar.set_message(String::new());
                continue;
            };
            bar.set_prefix(key.to_string());
            bar.set_length(o.planned.unwrap_or(0).max(1));
            bar.set_position(o.done);
            let what = match o.planned {
                None => "listing".to_owned(),
                Some(planned) => format!("{}/{planned}", o.done),
            };
            let wait = if o.waits_until > now {
                format!(", told to wait {}", clock(o.waits_until.saturating_sub(now)))
            } else {
                String::new()
            };
            bar.set_message(format!("{what}, open {}{wait}", clock(now.saturating_sub(o.since))));
        }
    }

    /// Takes the bars away, runs `f`, draws them again: for lines of talk in between.
    pub fn aside<R>(&self, f: impl FnOnce() -> R) -> R {
        self.all.suspend(f)
    }

    /// Takes the bars away for good.
    pub fn end(&self) {
        self.total.finish_and_clear();
        for bar in &self.slowest {
            bar.finish_and_clear();
        }
        // The terminal may be gone; nobody misses the bars then.
        let _ = self.all.clear();
    }
}

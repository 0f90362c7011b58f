//! Progress where there is no terminal: one plain line every 15 seconds.

use std::io::Write;
use std::time::Duration;

use super::state::{Progress, clock, megabytes};
use crate::env::Tick;

/// Time between two lines of a run.
const EVERY: Duration = Duration::from_secs(15);

/// Writes lines.
pub struct Lines<W> {
    out: W,
    every: Duration,
    began: Tick,
    last: Tick,
    before: (u64, u64),
}

impl<W> std::fmt::Debug for Lines<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lines")
    }
}

impl<W: Write> Lines<W> {
    /// Writes to `out`, beginning one interval from `now`.
    pub fn new(out: W, now: Tick) -> Lines<W> {
        Lines::every(EVERY, out, now)
    }

    /// As [`Lines::new`], with another interval.
    pub fn every(every: Duration, out: W, now: Tick) -> Lines<W> {
        Lines { out, every, began: now, last: now, before: (0, 0) }
    }

    /// Writes a line if it is time. A closed `out` is no error: the run goes on without an audience.
    pub fn tick(&mut self, progress: &Progress, now: Tick) {
        let since = now.saturating_sub(self.last);
        if since < self.every {
            return;
        }
        let state = progress.state();
        let t = state.totals;
        let per_second = |v: u64| v as f64 / since.as_secs_f64();
        let elapsed = now.saturating_sub(self.began);
        let left = state.time_left(elapsed).map_or(String::new(), |d| format!(", about {} left", clock(d)));
        let bound = state.bound_by.as_ref().map_or(String::new(), |words| format!("; bound by: {words}"));
        let line = format!(
            "{}  mailboxes {}/{} ({} open, {} waiting, {} failed)  messages {}/{}  {} at {:.0}/s and {}/s  skipped {}{left}{bound}\n",
            clock(elapsed),
            t.closed,
            t.mailboxes,
            state.open.len(),
            state.waiting(now),
            t.failed,
            t.messages,
            t.planned,
            megabytes(t.bytes as f64),
            per_second(t.messages.saturating_sub(self.before.0)),
            megabytes(per_second(t.bytes.saturating_sub(self.before.1))),
            t.skipped,
        );
        drop(state);
        self.last = now;
        self.before = (t.messages, t.bytes);
        let _ = self.out.write_all(line.as_bytes()).and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MailboxKey, SourceName};

    #[test]
    fn a_line_every_fifteen_seconds_without_control_octets() {
        let source: SourceName = "acme".parse().expect("valid");
        let (ann, bob) = (MailboxKey::of(&source, "ann"), MailboxKey::of(&source, "bob"));
        let progress = Progress::new(3);
        let s = Duration::from_secs;
        progress.opened(&ann, s(0));
        progress.opened(&bob, s(0));
        progress.planned(&ann, 100, 10_000_000);
        progress.progress(&ann, 30, 3_000_000, 1);
        assert!(progress.throttled(&bob, s(10), s(60)));
        assert!(!progress.throttled(&bob, s(10), s(60)), "told already");
        let mut out = Vec::new();
        let mut lines = Lines::new(&mut out, s(0));
        lines.tick(&progress, s(14));
        lines.tick(&progress, s(15));
        lines.tick(&progress, s(16));
        progress.closed(&ann, true);
        progress.bound_by(Some("limit 61 %, target 39 %".to_owned()));
        lines.tick(&progress, s(30));
        let text = String::from_utf8(out).expect("text");
        assert_eq!(
            text,
            "0:00:15  mailboxes 0/3 (2 open, 1 waiting, 0 failed)  messages 30/100  3.0 MB at 2/s and 200.0 kB/s  skipped 1, about 0:00:35 left\n\
             0:00:30  mailboxes 1/3 (1 open, 1 waiting, 1 failed)  messages 30/100  3.0 MB at 0/s and 0.0 kB/s  skipped 1, about 0:01:10 left; bound by: limit 61 %, target 39 %\n"
        );
    }
}

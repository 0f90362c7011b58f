//! The counts behind bars and lines.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::env::Tick;
use crate::model::MailboxKey;

/// One open mailbox.
#[derive(Debug, Clone, Default)]
pub(super) struct Open {
    pub since: Tick,
    /// `None`: its listing is not complete yet.
    pub planned: Option<u64>,
    /// Octets planned and not yet stored, in bytes.
    pub left_bytes: u64,
    pub done: u64,
    pub waits_until: Tick,
}

/// Counts of a run so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Mailboxes of the run.
    pub mailboxes: u64,
    /// Mailboxes whose pass ended.
    pub closed: u64,
    /// Mailboxes that ended with an error.
    pub failed: u64,
    /// Messages to store, as far as mailboxes are listed.
    pub planned: u64,
    /// Messages stored.
    pub messages: u64,
    /// Octets to store, as far as mailboxes are listed, in bytes.
    pub planned_bytes: u64,
    /// Octets stored, in bytes.
    pub bytes: u64,
    /// Messages skipped.
    pub skipped: u64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub totals: Totals,
    pub open: BTreeMap<MailboxKey, Open>,
    /// What binds, in a few words.
    pub bound_by: Option<String>,
}

/// Collects what happens. Cheap: a lock and some additions an event.
#[derive(Debug, Default)]
pub struct Progress {
    state: Mutex<State>,
}

impl Progress {
    /// For a run of so many mailboxes.
    pub fn new(mailboxes: u64) -> Progress {
        let totals = Totals { mailboxes, ..Totals::default() };
        Progress { state: Mutex::new(State { totals, ..State::default() }) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counts now.
    pub fn totals(&self) -> Totals {
        self.state().totals
    }

    /// What binds the run now, in a few words (`limit 61 %, target 22 %`).
    pub fn bound_by(&self, words: Option<String>) {
        self.state().bound_by = words;
    }

    /// A mailbox was opened.
    pub fn opened(&self, mailbox: &MailboxKey, now: Tick) {
        self.state().open.entry(mailbox.clone()).or_default().since = now;
    }

    /// A mailbox was listed: so much is to be stored.
    pub fn planned(&self, mailbox: &MailboxKey, messages: u64, bytes: u64) {
        let mut state = self.state();
        state.totals.planned += messages;
        state.totals.planned_bytes += bytes;
        let open = state.open.entry(mailbox.clone()).or_default();
        open.planned = Some(open.planned.unwrap_or(0) + messages);
        open.left_bytes += bytes;
    }

    /// Messages were stored or skipped.
    pub fn progress(&self, mailbox: &MailboxKey, messages: u64, bytes: u64, skipped: u64) {
        let mut state = self.state();
        state.totals.messages += messages;
        state.totals.bytes += bytes;
        state.totals.skipped += skipped;
        let open = state.open.entry(mailbox.clone()).or_default();
        open.done += messages + skipped;
        open.left_bytes = open.left_bytes.saturating_sub(bytes);
    }

    /// Messages of several mailboxes were stored: they count in the totals alone, for those whose mailboxes are too many to be
    /// told of one by one.
    pub fn stored(&self, messages: u64, bytes: u64) {
        let mut state = self.state();
        state.totals.messages += messages;
        state.totals.bytes += bytes;
    }

    /// A mailbox has to wait. Is that news? Several requests under way at once are told the same.
    pub fn throttled(&self, mailbox: &MailboxKey, now: Tick, wait: Duration) -> bool {
        const SAME: Duration = Duration::from_secs(1);
        let mut state = self.state();
        let open = state.open.entry(mailbox.clone()).or_default();
        let until = now.saturating_add(wait);
        let news = open.waits_until <= now || until > open.waits_until.saturating_add(SAME);
        open.waits_until = open.waits_until.max(until);
        news
    }

    /// A mailbox was halted: what is left of it is planned anew when it goes on.
    pub fn halted(&self, mailbox: &MailboxKey) {
        let mut state = self.state();
        let Some(open) = state.open.remove(mailbox) else { return };
        let left = open.planned.unwrap_or(0).saturating_sub(open.done);
        state.totals.planned = state.totals.planned.saturating_sub(left);
        state.totals.planned_bytes = state.totals.planned_bytes.saturating_sub(open.left_bytes);
    }

    /// A mailbox's pass ended.
    pub fn closed(&self, mailbox: &MailboxKey, failed: bool) {
        let mut state = self.state();
        state.open.remove(mailbox);
        state.totals.closed += 1;
        state.totals.failed += u64::from(failed);
    }
}

impl State {
    /// Open mailboxes that wait because they were told to.
    pub(super) fn waiting(&self, now: Tick) -> usize {
        self.open.values().filter(|o| o.waits_until > now).count()
    }

    /// The time left for what is listed, at the mean pace so far; `None` while there is nothing to tell it from.
    /// Whichever of messages and octets takes longer decides.
    pub(super) fn time_left(&self, elapsed: Duration) -> Option<Duration> {
        let t = &self.totals;
        let left = |planned: u64, done: u64| {
            (done > 0).then(|| elapsed.as_secs_f64() * planned.saturating_sub(done) as f64 / done as f64)
        };
        let seconds = left(t.planned, t.messages + t.skipped)?.max(left(t.planned_bytes, t.bytes)?);
        (elapsed >= Duration::from_secs(2) && seconds < 1e9).then(|| Duration::from_secs_f64(seconds))
    }
}

/// `1:02:03`
pub(super) fn clock(d: Duration) -> String {
    let s = d.as_secs();
    format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// `1.2 MB` (units of 1000).
pub(super) fn megabytes(bytes: f64) -> String {
    match bytes {
        b if b < 1e6 => format!("{:.1} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SourceName;

    #[test]
    fn what_is_left_of_a_halted_mailbox_is_planned_once() {
        let ann = MailboxKey::of(&"acme".parse::<SourceName>().expect("a name"), "ann");
        let progress = Progress::new(1);
        progress.planned(&ann, 10, 1000);
        progress.progress(&ann, 4, 400, 1);
        progress.halted(&ann);
        progress.opened(&ann, Duration::ZERO);
        progress.planned(&ann, 5, 600);
        let t = progress.totals();
        assert_eq!((t.planned, t.planned_bytes, t.messages + t.skipped, t.closed), (10, 1000, 5, 0));
    }
}

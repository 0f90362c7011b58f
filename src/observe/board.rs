//! The counts of each wave while a run goes: what there is to do, the pace, who was told to wait, and what is left.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::env::{Tick, WallMillis};
use crate::model::MailboxKey;

/// The pace is that of the last minutes …
const RECENT: Duration = Duration::from_secs(300);
/// … from counts that are kept so often.
const KEPT_EVERY: Duration = Duration::from_secs(10);
/// A pace over less than this tells nothing.
const LEAST: Duration = Duration::from_secs(5);
/// Characters of a reason that are kept.
const REASON: usize = 200;

/// Counts of one wave. They only grow, but for what is planned: a halted mailbox takes back what it did not do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaveCounts {
    /// Mailboxes that were listed.
    pub listed: u64,
    /// Messages to store, as far as mailboxes are listed.
    pub planned: u64,
    /// Their octets, in bytes.
    pub planned_bytes: u64,
    /// Messages stored.
    pub messages: u64,
    /// Their octets, in bytes.
    pub bytes: u64,
    /// Messages skipped.
    pub skipped: u64,
    /// Times a server told us to slow down.
    pub throttles: u64,
}

/// A mailbox that waits because it was told to, or before another try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its wave.
    pub wave: String,
    /// Until then, in milliseconds since 1970.
    pub until: WallMillis,
    /// Why; no names in it.
    pub why: String,
}

/// A wave at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WaveView {
    /// Its counts.
    pub counts: WaveCounts,
    /// Messages a second over the last minutes.
    pub messages_per_second: f64,
    /// Bytes a second over the last minutes.
    pub bytes_per_second: f64,
}

#[derive(Debug, Default)]
struct State {
    waves: BTreeMap<String, WaveCounts>,
    /// What is left of mailboxes that are listed and open: messages, bytes.
    open: BTreeMap<MailboxKey, (u64, u64)>,
    told: BTreeMap<MailboxKey, Told>,
    /// Ascending.
    kept: VecDeque<(Tick, BTreeMap<String, WaveCounts>)>,
}

/// Collects what happens, by wave. Cheap: a lock and some additions an event.
#[derive(Debug, Default)]
pub struct Board {
    state: Mutex<State>,
}

impl State {
    fn wave(&mut self, name: &str) -> &mut WaveCounts {
        if !self.waves.contains_key(name) {
            self.waves.insert(name.to_owned(), WaveCounts::default());
        }
        self.waves.entry(name.to_owned()).or_default()
    }
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A mailbox is worked on: it does not wait any more.
    pub fn opened(&self, mailbox: &MailboxKey) {
        self.state().told.remove(mailbox);
    }

    /// A mailbox was listed: so much is to be stored.
    pub fn planned(&self, mailbox: &MailboxKey, wave: &str, messages: u64, bytes: u64) {
        let mut state = self.state();
        let open = state.open.entry(mailbox.clone()).or_default();
        *open = (open.0 + messages, open.1 + bytes);
        let counts = state.wave(wave);
        counts.listed += 1;
        counts.planned += messages;
        counts.planned_bytes += bytes;
    }

    /// Messages were stored or skipped.
    pub fn progress(&self, mailbox: &MailboxKey, wave: &str, messages: u64, bytes: u64, skipped: u64) {
        let mut state = self.state();
        if let Some(open) = state.open.get_mut(mailbox) {
            *open = (open.0.saturating_sub(messages + skipped), open.1.saturating_sub(bytes));
        }
        let counts = state.wave(wave);
        counts.messages += messages;
        counts.bytes += bytes;
        counts.skipped += skipped;
    }

    /// A mailbox waits until then. `throttled`: a server told it to slow down.
    pub fn told(&self, mailbox: &MailboxKey, wave: &str, until: WallMillis, why: &str, throttled: bool) {
        let mut state = self.state();
        state.wave(wave).throttles += u64::from(throttled);
        let why = why.chars().take(REASON).collect();
        match state.told.get_mut(mailbox) {
            // Of several batches that wait the last one decides.
            Some(told) if told.until >= until => {}
            Some(told) => (told.until, told.why) = (until, why),
            None => {
                state.told.insert(mailbox.clone(), Told { wave: wave.to_owned(), until, why });
            }
        }
    }

    /// A mailbox was halted or its pass ended: what is left of it is not planned any more. It counts as listed only if it
    /// is `done`.
    pub fn closed(&self, mailbox: &MailboxKey, wave: &str, done: bool) {
        let mut state = self.state();
        state.told.remove(mailbox);
        let Some((left, left_bytes)) = state.open.remove(mailbox) else { return };
        let counts = state.wave(wave);
        counts.listed = counts.listed.saturating_sub(u64::from(!done));
        counts.planned = counts.planned.saturating_sub(left);
        counts.planned_bytes = counts.planned_bytes.saturating_sub(left_bytes);
    }

    /// Keeps the counts for the pace. Call it about once a second.
    pub fn sample(&self, now: Tick) {
        let mut state = self.state();
        if state.kept.back().is_some_and(|(at, _)| now.saturating_sub(*at) < KEPT_EVERY) {
            return;
        }
        let counts = state.waves.clone();
        state.kept.push_back((now, counts));
        while state.kept.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= RECENT) {
            state.kept.pop_front();
        }
    }

    /// A wave now.
    pub fn wave(&self, name: &str, now: Tick) -> WaveView {
        let state = self.state();
        let counts = state.waves.get(name).copied().unwrap_or_default();
        let (since, before) = match state.kept.front() {
            Some((at, waves)) => (*at, waves.get(name).copied().unwrap_or_default()),
            None => return WaveView { counts, ..WaveView::default() },
        };
        let over = now.saturating_sub(since);
        let per_second = |now: u64, before: u64| {
            if over < LEAST { 0.0 } else { now.saturating_sub(before) as f64 / over.as_secs_f64() }
        };
        WaveView {
            counts,
            messages_per_second: per_second(
                counts.messages + counts.skipped,
                before.messages + before.skipped,
            ),
            bytes_per_second: per_second(counts.bytes, before.bytes),
        }
    }

    /// Mailboxes that wait now, those that wait longest first, at most so many; and how many there are.
    pub fn waiting(&self, wall: WallMillis, most: usize) -> (Vec<(MailboxKey, Told)>, usize) {
        let mut state = self.state();
        state.told.retain(|_, told| told.until > wall);
        let mut all: Vec<_> = state.told.iter().map(|(key, told)| (key.clone(), told.clone())).collect();
        let number = all.len();
        all.sort_by(|(a, told_a), (b, told_b)| told_b.until.cmp(&told_a.until).then_with(|| a.cmp(b)));
        all.truncate(most);
        (all, number)
    }
}

impl WaveView {
    /// How long it is likely to take from now on, at the pace of the last minutes; whichever of messages and octets takes
    /// longer decides. `not_listed` mailboxes count as the mean of those that are. `None`: nothing tells.
    pub fn time_left(&self, not_listed: u64) -> Option<Duration> {
        let c = &self.counts;
        if c.listed == 0 && not_listed > 0 {
            return None;
        }
        let left = |planned: u64, done: u64, pace: f64| {
            let to_come = planned as f64 / c.listed.max(1) as f64 * not_listed as f64;
            let left = planned.saturating_sub(done) as f64 + to_come;
            match left {
                left if left < 0.5 => Some(0.0),
                _ if pace <= 0.0 => None,
                left => Some(left / pace),
            }
        };
        let messages = left(c.planned, c.messages + c.skipped, self.messages_per_second)?;
        let seconds = messages.max(left(c.planned_bytes, c.bytes, self.bytes_per_second).unwrap_or(0.0));
        (seconds < 1e9).then(|| Duration::from_secs_f64(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SourceName;

    fn key(name: &str) -> MailboxKey {
        MailboxKey::of(&"acme".parse::<SourceName>().expect("a name"), name)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_time_left_counts_mailboxes_not_listed_yet_as_the_mean_of_the_others() {
        let board = Board::default();
        board.sample(SECOND);
        board.planned(&key("ann"), "pilot", 100, 1_000_000);
        board.planned(&key("bob"), "pilot", 300, 3_000_000);
        assert_eq!(board.wave("pilot", 2 * SECOND).time_left(0), None, "no pace yet");
        board.progress(&key("ann"), "pilot", 90, 900_000, 10);
        let view = board.wave("pilot", 11 * SECOND);
        assert_eq!((view.messages_per_second, view.bytes_per_second), (10.0, 90_000.0));
        // Octets take longer: 3.1 MB at 90 kB/s; with another mailbox of 2 MB, 5.1 MB.
        assert_eq!(view.time_left(0).map(|d| d.as_secs()), Some(34));
        assert_eq!(view.time_left(1).map(|d| d.as_secs()), Some(56));
        assert_eq!(board.wave("other", 11 * SECOND).time_left(3), None);
    }

    #[test]
    fn a_halted_mailbox_takes_back_what_it_did_not_do_and_is_planned_once() {
        let board = Board::default();
        board.planned(&key("ann"), "", 10, 1000);
        board.progress(&key("ann"), "", 4, 400, 1);
        board.closed(&key("ann"), "", false);
        board.planned(&key("ann"), "", 5, 600);
        let counts = board.wave("", SECOND).counts;
        assert_eq!((counts.listed, counts.planned, counts.planned_bytes), (1, 10, 1000));
    }

    #[test]
    fn those_who_wait_are_told_with_the_longest_wait_first_and_forgotten_when_it_is_over() {
        let board = Board::default();
        board.told(&key("ann"), "a", 5_000, "slow down", true);
        board.told(&key("ann"), "a", 4_000, "an earlier end changes nothing", true);
        board.told(&key("bob"), "b", 9_000, "the day's octets are given", false);
        let (first, all) = board.waiting(1_000, 1);
        assert_eq!((first[0].0.clone(), all), (key("bob"), 2));
        let (left, _) = board.waiting(4_500, 9);
        assert_eq!(left[1].1, Told { wave: "a".into(), until: 5_000, why: "slow down".into() });
        assert_eq!(board.wave("a", SECOND).counts.throttles, 2);
        board.opened(&key("bob"));
        assert_eq!(board.waiting(5_000, 9).1, 0);
    }
}

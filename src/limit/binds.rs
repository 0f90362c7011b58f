//! What binds: from what lanes spent, sampled, to shares over the last minutes and over the run. A pure machine.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::account::{Bound, Spent};
use crate::env::Tick;

/// "The last minutes".
const RECENT: Duration = Duration::from_secs(300);
/// A sample is kept so often: thirty of them are the last minutes.
const KEPT_EVERY: Duration = Duration::from_secs(10);
/// Nobody who asks for what all mailboxes share waits longer than this: it has room.
const ROOM: Duration = Duration::from_millis(500);
/// A share of the time below this is not worth a word, in percent.
const WORTH_TELLING: u64 = 1;
/// More open mailboxes are advised above this share of the time, in percent.
const TOO_FEW: u64 = 20;

/// How open mailboxes stand at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Opened {
    /// Open now.
    pub open: usize,
    /// As many may be.
    pub most: usize,
    /// Mailboxes that could be begun were there room for them.
    pub waiting: u64,
    /// How long a request that is begun now is likely to wait for what all mailboxes share.
    pub shared_wait: Duration,
}

impl Opened {
    /// Would more go on if more could be open? As many are as may be, others wait, and what all share has room.
    fn too_few(&self) -> bool {
        self.open >= self.most && self.waiting > 0 && self.shared_wait < ROOM
    }
}

/// By wave; `None`: all together.
type Wave<'a> = Option<&'a str>;

#[derive(Debug, Clone, Default)]
struct Sample {
    at: Tick,
    waves: BTreeMap<String, Spent>,
    too_few: Duration,
}

/// The samples of a run.
#[derive(Debug, Default)]
pub struct Binds {
    /// Ascending; at most as many as the last minutes have.
    kept: VecDeque<Sample>,
    last: Sample,
    began: Option<Tick>,
}

/// Shares of the time of lanes. They add up to 1, if there was any.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Shares {
    /// The time of lanes they are shares of.
    pub lanes: Duration,
    /// The time they were taken over.
    pub over: Duration,
    by_cause: [f64; 6],
    /// The share of the time in which more open mailboxes would have helped.
    pub too_few_open: f64,
}

impl Binds {
    /// Takes a sample: what the lanes of each wave spent so far. Call it about once a second.
    pub fn sample(&mut self, now: Tick, waves: BTreeMap<String, Spent>, opened: Opened) {
        let since = self.last.at;
        let began = *self.began.get_or_insert(now);
        let mut too_few = self.last.too_few;
        if opened.too_few() {
            too_few += now.saturating_sub(since.max(began));
        }
        self.last = Sample { at: now, waves, too_few };
        if self.kept.back().is_none_or(|kept| now.saturating_sub(kept.at) >= KEPT_EVERY) {
            self.kept.push_back(self.last.clone());
        }
        // The first one kept is as old as the last minutes, or the beginning.
        while self.kept.get(1).is_some_and(|second| now.saturating_sub(second.at) >= RECENT) {
            self.kept.pop_front();
        }
    }

    /// What bound a wave (or all) over the last minutes.
    pub fn recently(&self, wave: Wave<'_>) -> Shares {
        self.since(self.kept.front().cloned().unwrap_or_default(), wave)
    }

    /// What bound a wave (or all) over the run.
    pub fn over_all(&self, wave: Wave<'_>) -> Shares {
        let at = self.began.unwrap_or_default();
        self.since(Sample { at, ..Sample::default() }, wave)
    }

    /// What a wave (or all) spent so far.
    pub fn spent(&self, wave: Wave<'_>) -> Spent {
        self.last.of(wave)
    }

    fn since(&self, earlier: Sample, wave: Wave<'_>) -> Shares {
        let spent = self.last.of(wave) - earlier.of(wave);
        let over = self.last.at.saturating_sub(earlier.at);
        let few = self.last.too_few.saturating_sub(earlier.too_few);
        let of = |part: Duration, all: Duration| {
            if all.is_zero() { 0.0 } else { part.as_secs_f64() / all.as_secs_f64() }
        };
        let lanes = spent.lanes();
        let by_cause = Bound::ALL.map(|cause| of(spent.on(cause), lanes));
        Shares { lanes, over, by_cause, too_few_open: of(few, over) }
    }
}

impl Sample {
    fn of(&self, wave: Wave<'_>) -> Spent {
        match wave {
            Some(wave) => self.waves.get(wave).copied().unwrap_or_default(),
            None => self.waves.values().fold(Spent::default(), |mut sum, spent| {
                sum += *spent;
                sum
            }),
        }
    }
}

impl Shares {
    /// The share of a cause, 0–1.
    pub fn of(&self, cause: Bound) -> f64 {
        self.by_cause[cause as usize]
    }

    /// `limit 61 %, target 22 %`: the largest first; `None` if there was no time.
    pub fn text(&self) -> Option<String> {
        let percent = |share: f64| (share * 100.0).round() as u64;
        let mut all: Vec<(u64, Bound)> = Bound::ALL.map(|cause| (percent(self.of(cause)), cause)).into();
        all.retain(|(percent, _)| *percent >= WORTH_TELLING);
        all.sort_by_key(|(percent, cause)| (std::cmp::Reverse(*percent), *cause));
        let words: Vec<_> =
            all.iter().map(|(percent, cause)| format!("{} {percent} %", cause.word())).collect();
        if words.is_empty() {
            return None;
        }
        let few = match percent(self.too_few_open) {
            few if few >= TOO_FEW => format!(", too few open {few} % of the time"),
            _ => String::new(),
        };
        Some(words.join(", ") + &few)
    }
}

#[cfg(test)]
mod tests {
    use super::super::account::{Accounts, Stage};
    use super::*;
    use crate::env::Env;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn shares_of_the_last_minutes_forget_what_was_before_and_those_of_the_run_do_not() {
        let env = Env::system();
        let accounts = Accounts::new(&env);
        let lane = accounts.open("pilot");
        let mut binds = Binds::default();
        let few = Opened { open: 1, most: 1, waiting: 5, shared_wait: Duration::ZERO };
        binds.sample(env.now(), accounts.read(), Opened::default());
        assert_eq!(binds.recently(None).text(), None, "nothing was spent");
        lane.account().stage(Stage::List, 0, 0);
        for _ in 0..300 {
            env.sleep(SECOND).await;
            binds.sample(env.now(), accounts.read(), Opened::default());
        }
        assert_eq!(binds.recently(None).text().as_deref(), Some("source 100 %"));
        let mut batch = lane.account().doing(Bound::Limit);
        for second in 0..300 {
            if second == 225 {
                batch.now(Bound::Target);
            }
            env.sleep(SECOND).await;
            binds.sample(env.now(), accounts.read(), few);
        }
        let recently = binds.recently(Some("pilot"));
        assert_eq!(
            recently.text().as_deref(),
            Some("limit 75 %, target 25 %, too few open 100 % of the time")
        );
        assert_eq!(
            binds.over_all(Some("pilot")).text().as_deref(),
            Some("source 50 %, limit 38 %, target 13 %, too few open 50 % of the time")
        );
        assert_eq!(recently.over, RECENT);
        assert!(binds.kept.len() <= 32, "{}", binds.kept.len());
        assert_eq!(binds.recently(Some("other")).lanes, Duration::ZERO);
    }

    #[test]
    fn too_few_are_open_only_if_others_wait_and_what_all_share_has_room() {
        let opened = Opened { open: 4, most: 4, waiting: 1, shared_wait: Duration::ZERO };
        assert!(opened.too_few());
        assert!(!Opened { open: 3, ..opened }.too_few(), "there is room for another one");
        assert!(!Opened { waiting: 0, ..opened }.too_few(), "nobody waits");
        assert!(!Opened { shared_wait: SECOND, ..opened }.too_few(), "another one would only wait, too");
    }
}

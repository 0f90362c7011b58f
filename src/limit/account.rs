//! What the time of open mailboxes goes to: why a wave is not faster.
//!
//! The unit is a *lane*: one mailbox for as long as a pass of it runs. Every moment of a lane is given to exactly one
//! cause, or shared out among several, so that the causes add up to lanes × time:
//!
//! - While batches are under way, a moment is shared out equally among them, and each gives its part to what it does:
//!   it waits for room in a window (`limit`), for bytes (`memory`) or because it was told to (`throttle`); its intent or
//!   its outcome is being recorded (`ledger`); it is being fetched (`source`); it waits for a lane of its target, which are
//!   all taken, or is being stored (`target`).
//! - While none is, the moment belongs to what the stage of the pass asks: listing asks the source, everything else the
//!   target, unless it says otherwise.
//! - Of what is given to `target`, the share of requests that wait at the gate (for a slot, a window, a place before the
//!   app, its rate) among all that wait there or are under way is given to `limit`.
//! - Whatever would be given to `limit` while the service has told us to send nothing is given to `throttle`.
//!
//! The machine has no clock: time is handed in. [`Accounts`] has one, and sums the lanes of each wave.

use std::collections::BTreeMap;
use std::ops::{AddAssign, Sub};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::env::{Env, Tick};

/// What the time of a lane goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// The source is read.
    Source,
    /// A limit of ours is waited for: windows, rates, requests at once.
    Limit,
    /// A server told us to wait, or we wait before another try.
    Throttle,
    /// Bytes of memory or of the spool are waited for.
    Memory,
    /// The target works, or all of a mailbox's stores at once are under way.
    Target,
    /// The ledger makes something durable.
    Ledger,
}

impl Bound {
    /// All, in the order in which sums hold them.
    pub const ALL: [Bound; 6] =
        [Bound::Source, Bound::Limit, Bound::Throttle, Bound::Memory, Bound::Target, Bound::Ledger];

    /// Its word in lines and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Bound::Source => "source",
            Bound::Limit => "limit",
            Bound::Throttle => "throttle",
            Bound::Memory => "memory",
            Bound::Target => "target",
            Bound::Ledger => "ledger",
        }
    }
}

/// A stage of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Both ends are opened.
    Open,
    /// Folders and messages are listed.
    List,
    /// Outcomes that a stop left open are looked for.
    Settle,
    /// New messages are copied.
    Copy,
    /// Moves, removals and flags are carried over.
    Mirror,
    /// Copies are counted.
    Count,
}

impl Stage {
    /// All, in the order in which sums hold them.
    pub const ALL: [Stage; 6] =
        [Stage::Open, Stage::List, Stage::Settle, Stage::Copy, Stage::Mirror, Stage::Count];

    /// Its word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Stage::Open => "open",
            Stage::List => "list",
            Stage::Settle => "settle",
            Stage::Copy => "copy",
            Stage::Mirror => "mirror",
            Stage::Count => "count",
        }
    }

    /// What it asks while no batch is under way.
    fn asks(self) -> Bound {
        match self {
            Stage::List => Bound::Source,
            Stage::Open | Stage::Settle | Stage::Copy | Stage::Mirror | Stage::Count => Bound::Target,
        }
    }
}

/// What one stage did. Only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageSum {
    /// Time of lanes in it.
    pub time: Duration,
    /// Times the source was waited for.
    pub source_trips: u64,
    /// Times the target was waited for.
    pub target_trips: u64,
    /// Messages: listed as new, stored, moved or changed, counted.
    pub messages: u64,
    /// Their octets where they were moved, in bytes.
    pub bytes: u64,
}

/// What lanes spent: time by cause, and what each stage did. Only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    by_cause: [Duration; 6],
    by_stage: [StageSum; 6],
}

impl Spent {
    /// Time of lanes given to a cause.
    pub fn on(&self, cause: Bound) -> Duration {
        self.by_cause[cause as usize]
    }

    /// What a stage did.
    pub fn stage(&self, stage: Stage) -> StageSum {
        self.by_stage[stage as usize]
    }

    /// Time of lanes: the sum over all causes.
    pub fn lanes(&self) -> Duration {
        self.by_cause.iter().sum()
    }
}

impl AddAssign for Spent {
    fn add_assign(&mut self, other: Spent) {
        for (sum, more) in self.by_cause.iter_mut().zip(other.by_cause) {
            *sum += more;
        }
        for (sum, more) in self.by_stage.iter_mut().zip(other.by_stage) {
            sum.time += more.time;
            sum.source_trips += more.source_trips;
            sum.target_trips += more.target_trips;
            sum.messages += more.messages;
            sum.bytes += more.bytes;
        }
    }
}

impl Sub for Spent {
    type Output = Spent;

    /// What came since `earlier`.
    fn sub(mut self, earlier: Spent) -> Spent {
        for (sum, less) in self.by_cause.iter_mut().zip(earlier.by_cause) {
            *sum = sum.saturating_sub(less);
        }
        for (sum, less) in self.by_stage.iter_mut().zip(earlier.by_stage) {
            sum.time = sum.time.saturating_sub(less.time);
            sum.source_trips = sum.source_trips.saturating_sub(less.source_trips);
            sum.target_trips = sum.target_trips.saturating_sub(less.target_trips);
            sum.messages = sum.messages.saturating_sub(less.messages);
            sum.bytes = sum.bytes.saturating_sub(less.bytes);
        }
        self
    }
}

/// The machine of one lane.
#[derive(Debug)]
pub(crate) struct Lane {
    stage: Stage,
    /// Batches (and waits of the pass itself) by what they do.
    doing: [u32; 6],
    /// Requests that wait at the gate.
    at_gate: u32,
    /// Requests under way.
    sent: u32,
    /// Until when the service told us to send nothing.
    blocked_until: Tick,
    since: Tick,
    /// Round trips told last.
    trips: (u64, u64),
    spent: Spent,
}

impl Lane {
    pub(crate) fn new(now: Tick) -> Lane {
        Lane {
            stage: Stage::Open,
            doing: [0; 6],
            at_gate: 0,
            sent: 0,
            blocked_until: Tick::ZERO,
            since: now,
            trips: (0, 0),
            spent: Spent::default(),
        }
    }

    /// The pass is in this stage from now on; so often source and target were waited for so far.
    pub(crate) fn stage(&mut self, now: Tick, stage: Stage, source_trips: u64, target_trips: u64) {
        self.settle(now);
        let (source, target) = self.trips;
        let sum = &mut self.spent.by_stage[self.stage as usize];
        sum.source_trips += source_trips.saturating_sub(source);
        sum.target_trips += target_trips.saturating_sub(target);
        (self.stage, self.trips) = (stage, (source_trips, target_trips));
    }

    /// Messages of `bytes` together passed the stage the pass is in.
    pub(crate) fn passed(&mut self, messages: u64, bytes: u64) {
        let sum = &mut self.spent.by_stage[self.stage as usize];
        sum.messages += messages;
        sum.bytes += bytes;
    }

    /// A batch begins to do this.
    pub(crate) fn begins(&mut self, now: Tick, cause: Bound) {
        self.settle(now);
        self.doing[cause as usize] += 1;
    }

    /// A batch does something else from now on.
    pub(crate) fn turns(&mut self, now: Tick, before: Bound, cause: Bound) {
        self.settle(now);
        self.doing[before as usize] = self.doing[before as usize].saturating_sub(1);
        self.doing[cause as usize] += 1;
    }

    /// A batch that did this is over.
    pub(crate) fn ends(&mut self, now: Tick, cause: Bound) {
        self.settle(now);
        self.doing[cause as usize] = self.doing[cause as usize].saturating_sub(1);
    }

    /// A request came to the gate.
    pub(crate) fn comes_to_gate(&mut self, now: Tick) {
        self.settle(now);
        self.at_gate += 1;
    }

    /// A request that waited at the gate left, or went away.
    pub(crate) fn leaves_gate(&mut self, now: Tick, sent: bool) {
        self.settle(now);
        self.at_gate = self.at_gate.saturating_sub(1);
        self.sent += u32::from(sent);
    }

    /// A request under way ended.
    pub(crate) fn answered(&mut self, now: Tick) {
        self.settle(now);
        self.sent = self.sent.saturating_sub(1);
    }

    /// The service told us to send nothing until then.
    pub(crate) fn blocked(&mut self, now: Tick, until: Tick) {
        self.settle(now);
        self.blocked_until = self.blocked_until.max(until);
    }

    /// What was spent so far.
    pub(crate) fn spent(&mut self, now: Tick) -> Spent {
        self.settle(now);
        self.spent
    }

    /// Gives the time up to `now` to its causes.
    fn settle(&mut self, now: Tick) {
        // What the service asked for ends between two events.
        if self.since < self.blocked_until && self.blocked_until < now {
            self.give(self.blocked_until);
        }
        self.give(now);
    }

    fn give(&mut self, now: Tick) {
        let time = now.saturating_sub(self.since);
        if time.is_zero() {
            return;
        }
        let blocked = self.since < self.blocked_until;
        self.since = now;
        self.spent.by_stage[self.stage as usize].time += time;
        let all: u32 = self.doing.iter().sum();
        if all == 0 {
            return self.give_to(self.stage.asks(), time, blocked);
        }
        let (mut left, mut others) = (time, all);
        for cause in Bound::ALL {
            let n = self.doing[cause as usize];
            if n == 0 {
                continue;
            }
            others -= n;
            // The last one gets the rest, so that nothing is lost by rounding.
            let part = if others == 0 { left } else { share(time, n, all).min(left) };
            left -= part;
            self.give_to(cause, part, blocked);
        }
    }

    fn give_to(&mut self, cause: Bound, time: Duration, blocked: bool) {
        let mut time = time;
        if cause == Bound::Target && self.at_gate > 0 {
            let waits = share(time, self.at_gate, self.at_gate.saturating_add(self.sent));
            time -= waits;
            self.give_to(Bound::Limit, waits, blocked);
        }
        let cause = if cause == Bound::Limit && blocked { Bound::Throttle } else { cause };
        self.spent.by_cause[cause as usize] += time;
    }
}

/// `time` × `part` ÷ `all`; nothing of nothing.
fn share(time: Duration, part: u32, all: u32) -> Duration {
    if part == all {
        return if part == 0 { Duration::ZERO } else { time };
    }
    let nanos = time.as_nanos();
    // Of any time that is met in practice, without the slow division.
    if let Some(product) = u64::try_from(nanos).ok().and_then(|nanos| nanos.checked_mul(u64::from(part))) {
        return Duration::from_nanos(product / u64::from(all.max(1)));
    }
    let nanos = nanos * u128::from(part) / u128::from(all.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The account of one lane. Cheap: a lock nobody else wants and some additions for each change.
#[derive(Debug)]
pub struct Account {
    env: Env,
    lane: Mutex<Lane>,
}

impl Account {
    /// One that begins now.
    pub fn new(env: &Env) -> Arc<Account> {
        Arc::new(Account { env: env.clone(), lane: Mutex::new(Lane::new(env.now())) })
    }

    fn lock(&self) -> MutexGuard<'_, Lane> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edit(&self, edit: impl FnOnce(&mut Lane, Tick)) {
        let now = self.env.now();
        edit(&mut self.lock(), now);
    }

    /// The pass is in this stage from now on; so often source and target were waited for so far.
    pub fn stage(&self, stage: Stage, source_trips: u64, target_trips: u64) {
        self.edit(|lane, now| lane.stage(now, stage, source_trips, target_trips));
    }

    /// Messages of `bytes` together passed the stage the pass is in.
    pub fn passed(&self, messages: u64, bytes: u64) {
        self.edit(|lane, _| lane.passed(messages, bytes));
    }

    /// A batch, or the pass itself, does this until the guard is told otherwise or dropped.
    pub fn doing(self: &Arc<Self>, cause: Bound) -> Doing {
        self.edit(|lane, now| lane.begins(now, cause));
        Doing { account: Arc::clone(self), cause }
    }

    /// A request came to the gate.
    pub(super) fn at_gate(self: &Arc<Self>) -> AtGate {
        self.edit(Lane::comes_to_gate);
        AtGate { account: Arc::clone(self), sent: false }
    }

    /// The service told us to send nothing until then.
    pub(super) fn blocked(&self, until: Tick) {
        self.edit(|lane, now| lane.blocked(now, until));
    }

    /// What was spent so far.
    pub fn spent(&self) -> Spent {
        let now = self.env.now();
        self.lock().spent(now)
    }
}

/// Something a lane does.
#[derive(Debug)]
pub struct Doing {
    account: Arc<Account>,
    cause: Bound,
}

impl Doing {
    /// It does something else from now on.
    pub fn now(&mut self, cause: Bound) {
        let before = std::mem::replace(&mut self.cause, cause);
        self.account.edit(|lane, now| lane.turns(now, before, cause));
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        let cause = self.cause;
        self.account.edit(|lane, now| lane.ends(now, cause));
    }
}

/// A request at the gate, later under way.
#[derive(Debug)]
pub(super) struct AtGate {
    account: Arc<Account>,
    sent: bool,
}

impl AtGate {
    /// It leaves.
    pub(super) fn leaves(&mut self) {
        self.sent = true;
        self.account.edit(|lane, now| lane.leaves_gate(now, true));
    }
}

impl Drop for AtGate {
    fn drop(&mut self) {
        let sent = self.sent;
        self.account.edit(|lane, now| if sent { lane.answered(now) } else { lane.leaves_gate(now, false) });
    }
}

/// The accounts of a process: those of the lanes that are open, and what closed ones spent, by wave.
#[derive(Debug)]
pub struct Accounts {
    env: Env,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    open: BTreeMap<u64, (String, Arc<Account>)>,
    next: u64,
    closed: BTreeMap<String, Spent>,
}

impl Accounts {
    /// None yet.
    pub fn new(env: &Env) -> Arc<Accounts> {
        Arc::new(Accounts { env: env.clone(), books: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a lane of this wave. It closes when the guard is dropped.
    pub fn open(self: &Arc<Self>, wave: &str) -> OpenLane {
        let account = Account::new(&self.env);
        let mut books = self.lock();
        let id = books.next;
        books.next += 1;
        books.open.insert(id, (wave.to_owned(), Arc::clone(&account)));
        OpenLane { accounts: Arc::clone(self), id, account }
    }

    /// Lanes that are open.
    pub fn lanes(&self) -> usize {
        self.lock().open.len()
    }

    /// What the lanes of each wave spent so far, open ones included.
    pub fn read(&self) -> BTreeMap<String, Spent> {
        let books = self.lock();
        let mut all = books.closed.clone();
        for (wave, account) in books.open.values() {
            match all.get_mut(wave.as_str()) {
                Some(sum) => *sum += account.spent(),
                None => {
                    all.insert(wave.clone(), account.spent());
                }
            }
        }
        all
    }
}

/// An open lane.
#[derive(Debug)]
pub struct OpenLane {
    accounts: Arc<Accounts>,
    id: u64,
    account: Arc<Account>,
}

impl OpenLane {
    /// Its account.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }
}

impl Drop for OpenLane {
    fn drop(&mut self) {
        let mut books = self.accounts.lock();
        if let Some((wave, account)) = books.open.remove(&self.id) {
            *books.closed.entry(wave).or_default() += account.spent();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn spent(lane: &mut Lane, now: Tick) -> Vec<(&'static str, u64)> {
        lane.settle(now);
        let all = Bound::ALL.into_iter().map(|c| (c.word(), lane.spent.on(c).as_millis() as u64));
        all.filter(|(_, millis)| *millis > 0).collect()
    }

    #[test]
    fn a_pass_without_batches_is_bound_by_what_its_stage_asks() {
        let mut lane = Lane::new(SECOND);
        lane.settle(3 * SECOND);
        lane.stage = Stage::List;
        assert_eq!(spent(&mut lane, 6 * SECOND), [("source", 3000), ("target", 2000)]);
        assert_eq!(lane.spent.stage(Stage::List).time, 3 * SECOND);
    }

    #[test]
    fn a_moment_is_shared_out_among_the_batches_under_way() {
        let mut lane = Lane::new(Tick::ZERO);
        lane.doing[Bound::Source as usize] = 1;
        lane.doing[Bound::Memory as usize] = 1;
        lane.doing[Bound::Target as usize] = 2;
        assert_eq!(spent(&mut lane, 4 * SECOND), [("source", 1000), ("memory", 1000), ("target", 2000)]);
    }

    #[test]
    fn requests_that_wait_at_the_gate_take_their_share_of_the_targets_time() {
        let mut lane = Lane::new(Tick::ZERO);
        lane.doing[Bound::Target as usize] = 4;
        (lane.at_gate, lane.sent) = (3, 1);
        assert_eq!(spent(&mut lane, 4 * SECOND), [("limit", 3000), ("target", 1000)]);
        (lane.at_gate, lane.sent) = (0, 4);
        assert_eq!(spent(&mut lane, 6 * SECOND), [("limit", 3000), ("target", 3000)]);
    }

    #[test]
    fn a_wait_is_a_throttle_only_for_as_long_as_the_service_asked() {
        let mut lane = Lane::new(Tick::ZERO);
        lane.doing[Bound::Limit as usize] = 1;
        lane.blocked_until = 3 * SECOND;
        assert_eq!(spent(&mut lane, 10 * SECOND), [("limit", 7000), ("throttle", 3000)]);
    }

    #[tokio::test(start_paused = true)]
    async fn lanes_of_a_wave_add_up_open_and_closed_to_lanes_times_time() {
        let env = Env::system();
        let accounts = Accounts::new(&env);
        let (one, two) = (accounts.open("pilot"), accounts.open("pilot"));
        let other = accounts.open("");
        one.account().stage(Stage::Copy, 3, 1);
        let mut batch = one.account().doing(Bound::Limit);
        env.sleep(2 * SECOND).await;
        batch.now(Bound::Source);
        env.sleep(SECOND).await;
        one.account().passed(7, 700);
        drop((batch, one));
        env.sleep(SECOND).await;
        assert_eq!(accounts.lanes(), 2);
        let all = accounts.read();
        let pilot = &all["pilot"];
        assert_eq!(pilot.lanes(), 7 * SECOND, "3 s of the closed lane, 4 s of the open one");
        assert_eq!((pilot.on(Bound::Limit), pilot.on(Bound::Source)), (2 * SECOND, SECOND));
        assert_eq!(pilot.on(Bound::Target), 4 * SECOND);
        let copy = pilot.stage(Stage::Copy);
        assert_eq!((copy.messages, copy.bytes, copy.time), (7, 700, 3 * SECOND));
        assert_eq!((pilot.stage(Stage::Open).source_trips, pilot.stage(Stage::Open).target_trips), (3, 1));
        drop((two, other));
        assert_eq!(accounts.read()["pilot"], accounts.read()["pilot"]);
        assert_eq!((accounts.lanes(), accounts.read()[""].lanes()), (0, 4 * SECOND));
    }

    proptest! {
        #[test]
        fn whatever_happens_the_causes_add_up_to_the_time(
            steps in prop::collection::vec((0u64..5_000, 0usize..6, 0usize..4, 0u64..10_000), 1..200),
        ) {
            let mut lane = Lane::new(Tick::ZERO);
            let mut now = Tick::ZERO;
            for (wait, cause, what, until) in steps {
                now += Duration::from_micros(wait);
                lane.settle(now);
                match what {
                    0 => lane.doing[cause] += 1,
                    1 => lane.doing[cause] = lane.doing[cause].saturating_sub(1),
                    2 => (lane.at_gate, lane.sent) = (cause as u32, (until % 5) as u32),
                    _ => lane.blocked_until = now + Duration::from_micros(until),
                }
            }
            prop_assert_eq!(lane.spent.lanes(), now);
            let stages: Duration = Stage::ALL.into_iter().map(|s| lane.spent.stage(s).time).sum();
            prop_assert_eq!(stages, now);
        }
    }
}

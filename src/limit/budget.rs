//! The byte budget: how many octets of messages may be in memory (or in the spool) at once.
//!
//! First come, first served: small messages never overtake, so a large one is never starved. One larger than the
//! whole budget goes when it is alone. Large messages take their bytes from the spool's budget, in a line of their
//! own, so that small ones do not queue behind them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::env::{Env, Tick};

/// Names one waiter.
pub(crate) type Id = u64;

/// The machine: who gets bytes next. No clock, no await.
#[derive(Debug)]
pub(crate) struct Line {
    total: u64,
    used: u64,
    /// Ascending by id.
    waiting: VecDeque<(Id, u64)>,
    next_id: Id,
}

/// The answer to [`Line::ask`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Granted,
    Waits(Id),
}

impl Line {
    pub(crate) fn new(total: u64) -> Line {
        Line { total, used: 0, waiting: VecDeque::new(), next_id: 0 }
    }

    pub(crate) fn ask(&mut self, bytes: u64) -> Asked {
        if self.waiting.is_empty() && self.fits(bytes) {
            self.used = self.used.saturating_add(bytes);
            return Asked::Granted;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.push_back((id, bytes));
        Asked::Waits(id)
    }

    /// Takes bytes back; the waiters named in `granted` have theirs now.
    pub(crate) fn release(&mut self, bytes: u64, granted: &mut Vec<Id>) {
        self.used = self.used.saturating_sub(bytes);
        self.advance(granted);
    }

    /// The waiter goes away; `false` if it was granted already (then its bytes must be released).
    fn cancel(&mut self, id: Id, granted: &mut Vec<Id>) -> bool {
        let Ok(at) = self.waiting.binary_search_by_key(&id, |(id, _)| *id) else { return false };
        self.waiting.remove(at);
        self.advance(granted);
        true
    }

    fn advance(&mut self, granted: &mut Vec<Id>) {
        while let Some(&(id, bytes)) = self.waiting.front()
            && self.fits(bytes)
        {
            self.waiting.pop_front();
            self.used = self.used.saturating_add(bytes);
            granted.push(id);
        }
    }

    /// Does anybody wait?
    pub(crate) fn is_short(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Bytes given out, and of how many.
    pub(crate) fn given(&self) -> (u64, u64) {
        (self.used, self.total)
    }

    fn fits(&self, bytes: u64) -> bool {
        self.used == 0 || self.used.saturating_add(bytes) <= self.total
    }
}

/// A batch is never bound to less than this, in bytes: smaller ones cost more commits than they save memory.
const SMALLEST_SHARE: u64 = 64 << 10;

/// Octets one batch may hold, in bytes, so that the batches of all who copy fit into a budget of `total` bytes at once:
/// `copying` mailboxes with `each` batches under way or prepared ahead. At least [`SMALLEST_SHARE`]. Few mailboxes have
/// large batches; with thousands none keeps the memory others wait for.
pub(crate) fn share(total: u64, copying: usize, each: usize) -> u64 {
    let batches = (copying.max(1) as u64).saturating_mul(each.max(1) as u64);
    (total / batches).max(SMALLEST_SHARE)
}

/// A budget of bytes, shared by many tasks.
#[derive(Debug)]
pub(super) struct Budget {
    env: Env,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    line: Line,
    /// Mailboxes that copy now.
    copying: usize,
    doors: BTreeMap<Id, oneshot::Sender<()>>,
    waited: Duration,
}

impl Budget {
    pub(super) fn new(env: &Env, total: u64) -> Arc<Budget> {
        let state =
            State { line: Line::new(total), copying: 0, doors: BTreeMap::new(), waited: Duration::ZERO };
        Arc::new(Budget { env: env.clone(), state: Mutex::new(state) })
    }

    /// Waits in line for `bytes`. Dropping the future leaves nothing behind.
    pub(super) async fn take(self: &Arc<Self>, bytes: u64) -> MemoryPermit {
        let asked = self.env.now();
        let waiting = {
            let mut state = self.lock();
            match state.line.ask(bytes) {
                Asked::Granted => None,
                Asked::Waits(id) => {
                    let (door, opened) = oneshot::channel();
                    state.doors.insert(id, door);
                    Some((Waiting { budget: self, id, bytes, asked, granted: false }, opened))
                }
            }
        };
        if let Some((mut waiting, opened)) = waiting {
            // The sender lives in `doors` until the grant, so the only end of this wait is the grant.
            let _ = opened.await;
            waiting.granted = true;
        }
        MemoryPermit { budget: Some(Arc::clone(self)), bytes }
    }

    /// How long all waiters together have waited.
    pub(super) fn waited(&self) -> Duration {
        self.lock().waited
    }

    /// Octets one batch may hold, for a mailbox with `each` batches under way at once, in bytes.
    pub(super) fn share(&self, each: usize) -> u64 {
        let state = self.lock();
        share(state.line.total, state.copying, each)
    }

    /// Does anybody wait?
    pub(super) fn is_short(&self) -> bool {
        self.lock().line.is_short()
    }

    /// Bytes given out now.
    pub(super) fn used(&self) -> u64 {
        self.lock().line.used
    }

    fn release(&self, bytes: u64) {
        let mut granted = Vec::new();
        let mut state = self.lock();
        state.line.release(bytes, &mut granted);
        state.open(&granted);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(&mut self, granted: &[Id]) {
        for id in granted {
            if let Some(door) = self.doors.remove(id) {
                // A receiver that is gone is being dropped right now; its `Waiting` gives the bytes back.
                let _ = door.send(());
            }
        }
    }
}

/// A place in the line; gives it up when dropped before the grant was taken.
struct Waiting<'a> {
    budget: &'a Budget,
    id: Id,
    bytes: u64,
    asked: Tick,
    granted: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waited = self.budget.env.now().saturating_sub(self.asked);
        let mut granted = Vec::new();
        let mut state = self.budget.lock();
        state.waited += waited;
        if self.granted {
            return;
        }
        state.doors.remove(&self.id);
        if !state.line.cancel(self.id, &mut granted) {
            state.line.release(self.bytes, &mut granted);
        }
        state.open(&granted);
    }
}

/// Counts a mailbox among those that copy, until it is dropped: the memory is shared by their number.
#[derive(Debug)]
pub struct Copying {
    budget: Option<Arc<Budget>>,
}

impl Copying {
    pub(super) fn new(budget: Option<Arc<Budget>>) -> Copying {
        if let Some(budget) = &budget {
            budget.lock().copying += 1;
        }
        Copying { budget }
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            let mut state = budget.lock();
            state.copying = state.copying.saturating_sub(1);
        }
    }
}

/// A share of a byte budget (memory or spool); returned when dropped.
#[derive(Debug)]
pub struct MemoryPermit {
    budget: Option<Arc<Budget>>,
    bytes: u64,
}

impl MemoryPermit {
    /// A permit of no budget.
    pub(super) fn unlimited(bytes: u64) -> MemoryPermit {
        MemoryPermit { budget: None, bytes }
    }

    /// How many bytes it stands for.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Parts `bytes` from it, or what is left of it if that is less: octets of one message of a batch, which are given
    /// back as soon as that message is done with.
    #[must_use]
    pub fn part(&mut self, bytes: u64) -> MemoryPermit {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        MemoryPermit { budget: self.budget.clone(), bytes }
    }

    /// Gives back all but `bytes`: the message was smaller than announced.
    pub fn shrink_to(&mut self, bytes: u64) {
        let back = self.bytes.saturating_sub(bytes);
        self.bytes -= back;
        if let Some(budget) = &self.budget
            && back > 0
        {
            budget.release(back);
        }
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.release(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_larger_than_the_budget_goes_alone_and_the_next_wait_for_it() {
        let mut line = Line::new(100);
        let mut granted = Vec::new();
        assert_eq!(line.ask(60), Asked::Granted);
        assert_eq!(line.ask(500), Asked::Waits(0));
        assert_eq!(line.ask(1), Asked::Waits(1), "small ones do not overtake");
        line.release(60, &mut granted);
        assert_eq!(granted, [0], "alone");
        line.release(500, &mut granted);
        assert_eq!(granted, [0, 1]);
    }

    #[test]
    fn when_the_large_head_goes_away_the_small_ones_behind_it_go() {
        let mut line = Line::new(100);
        let mut granted = Vec::new();
        assert_eq!(line.ask(60), Asked::Granted);
        assert_eq!(line.ask(50), Asked::Waits(0));
        assert_eq!(line.ask(40), Asked::Waits(1));
        assert!(line.cancel(0, &mut granted));
        assert_eq!(granted, [1]);
        assert!(!line.cancel(1, &mut granted), "granted already");
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_waiters_leave_nothing_behind_whether_granted_or_not() {
        let env = Env::system();
        let budget = Budget::new(&env, 100);
        let held = budget.take(100).await;
        {
            let mut first = Box::pin(budget.take(80));
            let mut second = Box::pin(budget.take(90));
            assert!(futures_util::poll!(first.as_mut()).is_pending());
            assert!(futures_util::poll!(second.as_mut()).is_pending());
            drop(held); // grants the first, which never looks
            drop(first);
            drop(second.await);
        }
        assert_eq!(budget.used(), 0);
        assert!(budget.lock().doors.is_empty());
        assert_eq!(budget.take(100).await.bytes(), 100);
    }

    #[test]
    fn few_mailboxes_have_large_batches_and_many_small_ones_and_none_is_bound_to_nothing() {
        let memory = 256 << 20;
        assert_eq!(share(memory, 1, 8), 32 << 20, "who is alone has all of it");
        assert_eq!(share(memory, 64, 8), 512 << 10);
        assert_eq!(share(memory, 500, 8), 67_108);
        assert_eq!(share(memory, 5_000, 8), SMALLEST_SHARE);
        assert_eq!(share(0, 0, 0), SMALLEST_SHARE);
    }

    proptest! {
        #[test]
        fn the_batches_of_all_fit_together_wherever_their_shares_are_not_the_smallest(
            total in 0u64..1 << 40, copying in 0usize..10_000, each in 0usize..100,
        ) {
            let share = share(total, copying, each);
            let all = share.saturating_mul(copying.max(1) as u64).saturating_mul(each.max(1) as u64);
            prop_assert!(share == SMALLEST_SHARE || (share > SMALLEST_SHARE && all <= total));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_share_grows_again_as_mailboxes_end() {
        let budget = Budget::new(&Env::system(), 64 << 20);
        let one = Copying::new(Some(Arc::clone(&budget)));
        assert_eq!(budget.share(8), 8 << 20);
        let others: Vec<_> = (0..63).map(|_| Copying::new(Some(Arc::clone(&budget)))).collect();
        assert_eq!(budget.share(8), 128 << 10);
        drop(others);
        assert_eq!(budget.share(8), 8 << 20);
        drop(one);
        assert_eq!(budget.lock().copying, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_parts_of_a_permit_go_back_one_by_one() {
        let budget = Budget::new(&Env::system(), 100);
        let mut rest = budget.take(100).await;
        let (first, second, none) = (rest.part(30), rest.part(80), rest.part(1));
        assert_eq!([first.bytes(), second.bytes(), none.bytes(), rest.bytes()], [30, 70, 0, 0]);
        let mut next = Box::pin(budget.take(60));
        assert!(futures_util::poll!(next.as_mut()).is_pending());
        assert!(budget.is_short());
        drop((first, none, rest));
        assert!(futures_util::poll!(next.as_mut()).is_pending(), "70 are held still");
        drop(second);
        assert_eq!(next.await.bytes(), 60);
        assert!(budget.used() == 0 && !budget.is_short());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_permit_gives_back_early_goes_to_the_next_in_line() {
        let env = Env::system();
        let budget = Budget::new(&env, 100);
        let mut held = budget.take(100).await;
        let mut next = Box::pin(budget.take(70));
        assert!(futures_util::poll!(next.as_mut()).is_pending());
        held.shrink_to(30);
        assert_eq!(next.await.bytes(), 70);
        assert_eq!(budget.used(), 30);
    }

    proptest! {
        #[test]
        fn it_is_first_come_first_served_within_the_budget_and_empties(
            sizes in prop::collection::vec(0u64..150, 1..100),
            picks in prop::collection::vec(0usize..8, 1..100),
        ) {
            let mut line = Line::new(100);
            let mut holds: Vec<u64> = Vec::new();
            let mut waiting = BTreeMap::new();
            let mut last = None;
            let mut picks = picks.into_iter().cycle();
            let mut sizes = sizes.into_iter();
            loop {
                let size = sizes.next();
                if let Some(size) = size {
                    match line.ask(size) {
                        Asked::Granted => holds.push(size),
                        Asked::Waits(id) => { waiting.insert(id, size); }
                    }
                }
                let pick = picks.next().unwrap_or(0);
                if pick < holds.len() || size.is_none() {
                    if holds.is_empty() {
                        break;
                    }
                    let size = holds.remove(pick % holds.len());
                    let mut granted = Vec::new();
                    line.release(size, &mut granted);
                    for id in granted {
                        prop_assert!(last < Some(id), "in order");
                        last = Some(id);
                        holds.push(waiting.remove(&id).unwrap());
                    }
                }
                let sum: u64 = holds.iter().sum();
                prop_assert_eq!(sum, line.used);
                let real = holds.iter().filter(|size| **size > 0).count();
                prop_assert!(sum <= 100 || real == 1, "{:?}", holds);
            }
            prop_assert!(waiting.is_empty(), "nobody waits for ever");
            prop_assert_eq!(line.used, 0);
        }
    }
}

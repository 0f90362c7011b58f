//! Whose turn it is to fetch: with more mailboxes open than there are connections, each is served for a while, and the
//! others wait. A machine without clock or await.
//!
//! If all of them fetched by turns message by message, each message would cost a login. So a mailbox that begins keeps its
//! turn for some time, and with it its session; the turn ends when its time is over and others wait, or when it fetched
//! nothing for the grace time. Turns are given in the order they were asked for. A turn is asked for before memory is
//! taken: what holds memory has a session, or gets one at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::env::Tick;

/// A turn lasts so long, if others wait.
const LASTS: Duration = Duration::from_secs(30);

/// What holds of all turns, now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Turns at once.
    pub most: usize,
    /// A mailbox that fetches nothing keeps its turn so long.
    pub grace: Duration,
}

/// Names one waiter.
pub(super) type Id = u64;

/// The answer to who asks for a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Granted,
    /// Wait until woken, or until then, and look.
    Waits(Id, Option<Tick>),
}

/// A mailbox whose turn it is.
#[derive(Debug)]
struct Holder {
    began: Tick,
    /// Fetches under way or about to begin.
    fetches: usize,
    /// Where it stands among those that fetch nothing.
    ends: Option<Tick>,
}

/// Who has a turn, and who waits for one.
#[derive(Debug, Default)]
pub(super) struct Turns {
    holders: BTreeMap<u64, Holder>,
    /// Those of them that fetch nothing, by when their turn ends.
    idle: BTreeSet<(Tick, u64)>,
    /// Mailboxes in line, each once.
    line: VecDeque<u64>,
    waiting: BTreeMap<u64, Vec<Id>>,
    next_id: Id,
}

impl Turns {
    /// A mailbox wants to fetch. `woken`: others who must look now, for turns that are over end when somebody asks.
    pub fn ask(&mut self, owner: u64, now: Tick, bounds: Bounds, woken: &mut Vec<Id>) -> Asked {
        let alone = self.line.is_empty();
        let free = self.holders.len() < bounds.most.max(1);
        match self.holders.get_mut(&owner) {
            Some(holder) if alone || now.saturating_sub(holder.began) < LASTS => {
                if let Some(ends) = holder.ends.take() {
                    self.idle.remove(&(ends, owner));
                }
                holder.fetches += 1;
                return Asked::Granted;
            }
            Some(_) => {}
            None if alone && free => {
                self.holders.insert(owner, Holder { began: now, fetches: 1, ends: None });
                return Asked::Granted;
            }
            None => {}
        }
        let id = self.next_id;
        self.next_id += 1;
        let ids = self.waiting.entry(owner).or_default();
        if ids.is_empty() {
            self.line.push_back(owner);
        }
        ids.push(id);
        self.look(owner, id, now, bounds, woken)
    }

    /// A waiter looks whether its turn has come. `woken`: others who must look now.
    pub fn look(&mut self, owner: u64, id: Id, now: Tick, bounds: Bounds, woken: &mut Vec<Id>) -> Asked {
        self.advance(now, bounds, woken);
        if !self.waiting.get(&owner).is_some_and(|ids| ids.contains(&id)) {
            return Asked::Granted;
        }
        let is_first = self.line.front() == Some(&owner);
        let ends = self.idle.first().map(|(ends, _)| *ends);
        Asked::Waits(id, ends.filter(|_| is_first))
    }

    /// A fetch is over, or will not be. `woken`: waiters who must look now.
    pub fn leave(&mut self, owner: u64, now: Tick, bounds: Bounds, woken: &mut Vec<Id>) {
        if let Some(holder) = self.holders.get_mut(&owner) {
            holder.fetches = holder.fetches.saturating_sub(1);
            if holder.fetches == 0 {
                let over = holder.began + LASTS;
                let ends = over.max(now).min(now + bounds.grace);
                holder.ends = Some(ends);
                self.idle.insert((ends, owner));
            }
        }
        let idles_first = self.idle.first().is_some_and(|(_, idle)| *idle == owner);
        let told = woken.len();
        self.advance(now, bounds, woken);
        // Who is first in line may have seen nobody idle, and then waits for no time at all: it looks again, and learns when to.
        if idles_first && woken.len() == told {
            self.wake_first(woken);
        }
    }

    /// A waiter goes away; `false`: its turn had come, and must be left.
    pub fn cancel(&mut self, owner: u64, id: Id, woken: &mut Vec<Id>) -> bool {
        let Some(ids) = self.waiting.get_mut(&owner) else { return false };
        let Some(at) = ids.iter().position(|one| *one == id) else { return false };
        ids.remove(at);
        if ids.is_empty() {
            self.waiting.remove(&owner);
            self.line.retain(|one| *one != owner);
        }
        self.wake_first(woken); // it may be another now
        true
    }

    /// Is it this mailbox's turn, with a fetch under way or about to begin?
    pub fn is_on(&self, owner: u64) -> bool {
        self.holders.get(&owner).is_some_and(|holder| holder.fetches > 0)
    }

    /// The mailbox is gone. `woken`: waiters who must look now.
    pub fn forget(&mut self, owner: u64, now: Tick, bounds: Bounds, woken: &mut Vec<Id>) {
        if let Some(Holder { ends: Some(ends), .. }) = self.holders.get(&owner) {
            self.idle.remove(&(*ends, owner));
            self.holders.remove(&owner);
        }
        self.advance(now, bounds, woken);
    }

    /// Ends the turns that are over as far as others wait, and begins the next.
    fn advance(&mut self, now: Tick, bounds: Bounds, woken: &mut Vec<Id>) {
        let mut moved = false;
        while let Some(&owner) = self.line.front() {
            // Whose own turn still goes on, with fetches under way, takes nobody's place.
            let place = self.holders.contains_key(&owner) || self.holders.len() < bounds.most.max(1);
            if !place && !self.end_one(now) {
                break;
            }
            self.line.pop_front();
            let ids = self.waiting.remove(&owner).unwrap_or_default();
            let holder = self.holders.entry(owner).or_insert(Holder { began: now, fetches: 0, ends: None });
            if let Some(ends) = holder.ends.take() {
                self.idle.remove(&(ends, owner));
            }
            holder.began = now;
            holder.fetches += ids.len();
            woken.extend(ids);
            moved = true;
        }
        if moved {
            self.wake_first(woken);
        }
    }

    /// Ends a turn that is over. `false`: there is none.
    fn end_one(&mut self, now: Tick) -> bool {
        let Some(&(ends, owner)) = self.idle.first().filter(|(ends, _)| *ends <= now) else { return false };
        self.idle.remove(&(ends, owner));
        self.holders.remove(&owner);
        true
    }

    fn wake_first(&self, woken: &mut Vec<Id>) {
        let first = self.line.front().and_then(|owner| self.waiting.get(owner));
        woken.extend(first.into_iter().flatten().copied());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Tick = Tick::from_secs(1);
    const GRACE: Duration = Duration::from_secs(2);

    fn most(most: usize) -> Bounds {
        Bounds { most, grace: GRACE }
    }

    fn waits(asked: Asked) -> Id {
        match asked {
            Asked::Waits(id, _) => id,
            Asked::Granted => panic!("no turn was free"),
        }
    }

    #[test]
    fn a_turn_lasts_while_the_mailbox_fetches_and_goes_to_the_next_when_it_fetches_nothing() {
        let (mut turns, mut woken) = (Turns::default(), Vec::new());
        assert_eq!(turns.ask(1, SECOND, most(1), &mut woken), Asked::Granted);
        let second = waits(turns.ask(2, SECOND, most(1), &mut woken));
        turns.leave(1, SECOND, most(1), &mut woken);
        assert_eq!(
            turns.ask(1, 2 * SECOND, most(1), &mut woken),
            Asked::Granted,
            "it goes on within its time"
        );
        turns.leave(1, 3 * SECOND, most(1), &mut woken);
        assert!(woken.iter().all(|id| *id == second), "it looks when its time comes: {woken:?}");
        let until = 3 * SECOND + GRACE;
        let looked = turns.look(2, second, 4 * SECOND, most(1), &mut woken);
        assert_eq!(looked, Asked::Waits(second, Some(until)), "the first in line knows when to look");
        assert_eq!(turns.look(2, second, until, most(1), &mut woken), Asked::Granted);
        assert!(!turns.is_on(1) && turns.is_on(2));
    }

    #[test]
    fn who_began_to_wait_while_all_were_fetching_is_woken_by_the_first_that_stops_and_not_left_to_wait_for_ever()
     {
        let (mut turns, mut woken) = (Turns::default(), Vec::new());
        assert_eq!(turns.ask(1, SECOND, most(1), &mut woken), Asked::Granted);
        let second = waits(turns.ask(2, SECOND, most(1), &mut woken));
        assert_eq!(
            turns.look(2, second, SECOND, most(1), &mut woken),
            Asked::Waits(second, None),
            "no time to look at"
        );
        turns.leave(1, 2 * SECOND, most(1), &mut woken);
        assert_eq!(woken, [second], "nothing else would ever tell it");
        let until = 2 * SECOND + GRACE;
        assert_eq!(turns.look(2, second, 2 * SECOND, most(1), &mut woken), Asked::Waits(second, Some(until)));
        assert_eq!(turns.look(2, second, until, most(1), &mut woken), Asked::Granted);
    }

    #[test]
    fn who_gets_a_turn_because_another_asks_is_told_so_and_so_is_the_next_in_line() {
        let (mut turns, mut woken) = (Turns::default(), Vec::new());
        assert_eq!(turns.ask(1, SECOND, most(1), &mut woken), Asked::Granted);
        let second = waits(turns.ask(2, SECOND, most(1), &mut woken));
        let third = waits(turns.ask(3, SECOND, most(1), &mut woken));
        turns.leave(1, SECOND, most(1), &mut woken);
        woken.clear();
        let fourth = waits(turns.ask(4, SECOND + GRACE, most(1), &mut woken));
        assert_eq!(woken, [second, third], "the turn of the second has come, the third is first in line now");
        assert_eq!(turns.look(2, second, SECOND + GRACE, most(1), &mut woken), Asked::Granted);
        assert!(matches!(turns.look(4, fourth, SECOND + GRACE, most(1), &mut woken), Asked::Waits(..)));
    }

    #[test]
    fn a_turn_whose_time_is_over_ends_with_what_is_under_way_if_others_wait() {
        let (mut turns, mut woken) = (Turns::default(), Vec::new());
        let over = SECOND + LASTS;
        assert_eq!(turns.ask(1, SECOND, most(1), &mut woken), Asked::Granted);
        assert_eq!(turns.ask(1, over + SECOND, most(1), &mut woken), Asked::Granted, "nobody waits");
        let second = waits(turns.ask(2, over, most(1), &mut woken));
        let again = waits(turns.ask(1, over, most(1), &mut woken));
        turns.leave(1, over, most(1), &mut woken);
        assert!(woken.is_empty(), "a fetch is under way still");
        turns.leave(1, over, most(1), &mut woken);
        assert!(woken.contains(&second), "its place is free at once: {woken:?}");
        assert_eq!(turns.look(2, second, over, most(1), &mut woken), Asked::Granted);
        assert!(matches!(turns.look(1, again, over, most(1), &mut woken), Asked::Waits(..)));
        turns.leave(2, over + GRACE, most(1), &mut woken);
        let later = over + 2 * GRACE;
        assert_eq!(turns.look(1, again, later, most(1), &mut woken), Asked::Granted);
    }

    #[test]
    fn whose_turn_goes_on_is_served_again_without_anybody_elses_place() {
        let (mut turns, mut woken) = (Turns::default(), Vec::new());
        let over = SECOND + LASTS;
        assert_eq!(turns.ask(1, SECOND, most(2), &mut woken), Asked::Granted);
        assert_eq!(turns.ask(2, over, most(2), &mut woken), Asked::Granted);
        let third = waits(turns.ask(3, over, most(2), &mut woken));
        let first = waits(turns.ask(1, over, most(2), &mut woken));
        assert!(turns.cancel(3, third, &mut woken), "it had no turn yet");
        assert!(woken.contains(&first), "the next in line is the first now");
        assert_eq!(turns.look(1, first, over, most(2), &mut woken), Asked::Granted);
        assert_eq!(turns.holders.len(), 2);
    }

    #[test]
    fn a_mailbox_that_is_gone_leaves_its_turn_to_the_next() {
        let (mut turns, mut woken) = (Turns::default(), Vec::new());
        assert_eq!(turns.ask(1, SECOND, most(1), &mut woken), Asked::Granted);
        let second = waits(turns.ask(2, SECOND, most(1), &mut woken));
        turns.leave(1, SECOND, most(1), &mut woken);
        turns.forget(1, SECOND, most(1), &mut woken);
        assert!(woken.contains(&second));
        assert_eq!(turns.look(2, second, SECOND, most(1), &mut woken), Asked::Granted);
        assert!(!turns.cancel(2, second, &mut woken), "granted already");
        assert!(turns.waiting.is_empty() && turns.line.is_empty() && turns.idle.is_empty());
    }

    /// Those who wait, as they really do: each looks when it is woken, or when the time comes that it was told.
    #[derive(Default)]
    struct Crowd {
        waiting: Vec<(u64, Id, Option<Tick>)>,
        woken: Vec<Id>,
        fetching: Vec<u64>,
    }

    impl Crowd {
        fn settle(&mut self, turns: &mut Turns, now: Tick, bounds: Bounds) {
            loop {
                let looks = |(_, id, until): &(u64, Id, Option<Tick>)| {
                    self.woken.contains(id) || until.is_some_and(|until| until <= now)
                };
                let Some(at) = self.waiting.iter().position(looks) else { return };
                let (owner, id, _) = self.waiting.swap_remove(at);
                self.woken.retain(|woken| *woken != id);
                match turns.look(owner, id, now, bounds, &mut self.woken) {
                    Asked::Granted => self.fetching.push(owner),
                    // It was told a time that has not come, or it is not first.
                    Asked::Waits(id, until) => {
                        self.waiting.push((owner, id, until.filter(|until| *until > now)))
                    }
                }
            }
        }
    }

    proptest! {
        /// Whatever happens: never more turns than there may be, nobody waits for ever, nothing is left at the end.
        #[test]
        fn turns_are_bounded_everybody_has_his_and_nothing_is_left(
            bound in 1usize..5,
            steps in prop::collection::vec((0u64..8, 0u64..3, 0u64..8_000), 1..300),
        ) {
            let (mut turns, mut now) = (Turns::default(), SECOND);
            let mut crowd = Crowd::default();
            for (owner, what, later) in steps {
                now += Duration::from_millis(later);
                let at = crowd.fetching.iter().position(|one| *one == owner);
                match (what, at) {
                    (0, _) => match turns.ask(owner, now, most(bound), &mut crowd.woken) {
                        Asked::Granted => crowd.fetching.push(owner),
                        Asked::Waits(id, until) => crowd.waiting.push((owner, id, until)),
                    },
                    (1, Some(at)) => {
                        crowd.fetching.swap_remove(at);
                        turns.leave(owner, now, most(bound), &mut crowd.woken);
                    }
                    (2, _) if !crowd.waiting.is_empty() => {
                        let at = usize::try_from(later).unwrap_or(0) % crowd.waiting.len();
                        let (owner, id, _) = crowd.waiting.swap_remove(at);
                        if !turns.cancel(owner, id, &mut crowd.woken) {
                            turns.leave(owner, now, most(bound), &mut crowd.woken);
                        }
                    }
                    _ => {}
                }
                crowd.settle(&mut turns, now, most(bound));
                prop_assert!(turns.holders.len() <= bound, "{:?}", turns);
                for owner in &crowd.fetching {
                    prop_assert!(turns.is_on(*owner));
                }
            }
            // Everybody who fetches ends at last; then all who wait have their turn.
            for _ in 0..1000 {
                now += GRACE;
                for owner in std::mem::take(&mut crowd.fetching) {
                    turns.leave(owner, now, most(bound), &mut crowd.woken);
                }
                crowd.settle(&mut turns, now, most(bound));
            }
            prop_assert!(crowd.waiting.is_empty() && crowd.fetching.is_empty(), "{:?}", turns);
            prop_assert!(turns.line.is_empty() && turns.waiting.is_empty());
        }
    }
}

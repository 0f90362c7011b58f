//! Places lent to another process: each counts among the endpoint's own for as long as it is held.
//!
//! A mailbox that copies uses its session again and again and never lets it lie idle for the grace time, so that a guest
//! would wait until a mailbox is finished. Therefore a place that is left goes to the guest that waits longest, and the
//! mailbox logs in anew later. In return guests never have more than a quarter of the places: whoever moves mail goes on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::Places;
use crate::env::Tick;
use crate::imap::Session;

/// One of so many places at most is lent.
const SHARE: usize = 4;

/// A place for a guest.
#[derive(Debug)]
pub(in super::super) struct Given {
    pub place: u64,
    /// The session that had it, to be ended first.
    pub evicted: Option<Arc<Session>>,
}

/// Who waits for a place to be lent, and who has one.
#[derive(Debug)]
pub(super) struct Guests {
    most: usize,
    waiting: VecDeque<u64>,
    /// Places of those who do not know it yet.
    given: BTreeMap<u64, Given>,
    having: BTreeSet<u64>,
}

impl Guests {
    pub(super) fn new(connections: usize) -> Guests {
        Guests {
            most: (connections / SHARE).max(1),
            waiting: VecDeque::new(),
            given: BTreeMap::new(),
            having: BTreeSet::new(),
        }
    }

    /// Whose turn it is.
    fn next(&self) -> Option<u64> {
        self.waiting.front().copied().filter(|_| self.having.len() < self.most)
    }

    fn give(&mut self) {
        self.having.extend(self.waiting.pop_front());
    }
}

impl Places {
    /// A place for this guest, if it is its turn and there is one: also that of a session that lies idle.
    pub fn guest(&mut self, guest: u64, now: Tick) -> Option<Given> {
        if let Some(given) = self.guests.given.remove(&guest) {
            return Some(given);
        }
        if !self.guests.waiting.contains(&guest) {
            self.guests.waiting.push_back(guest);
        }
        if self.guests.next() != Some(guest) {
            return None;
        }
        self.places.retain(|p| p.held || p.is_usable());
        let cap = self.cap(now);
        if self.places.len() < cap {
            self.guests.give();
            return Some(Given { place: self.begin(guest), evicted: None });
        }
        let idle = self.places.iter().filter(|p| p.is_idle()).min_by_key(|p| p.since).map(|p| p.number)?;
        if self.places.len() > cap {
            // There are more than the server takes: one goes and none comes.
            self.places.retain(|p| p.number != idle);
            return self.guest(guest, now);
        }
        self.hand_over(idle, now);
        self.guests.given.remove(&guest)
    }

    /// A place that nobody holds any more goes to the guest whose turn it is, if there is one.
    pub(super) fn hand_over(&mut self, number: u64, now: Tick) {
        let fits = self.places.len() <= self.cap(now);
        let Some(place) = self.places.iter_mut().find(|p| p.number == number && !p.held) else { return };
        self.guests.having.remove(&place.owner);
        let Some(guest) = self.guests.next().filter(|_| fits) else { return };
        let evicted = place.session.take().filter(|session| !place.spoilt && !session.is_broken());
        (place.owner, place.held, place.spoilt) = (guest, true, false);
        self.guests.give();
        self.guests.given.insert(guest, Given { place: number, evicted });
    }

    /// A guest does not wait any more; a place that was given to it and not taken is free.
    pub fn guest_gone(&mut self, guest: u64, now: Tick) {
        self.guests.waiting.retain(|waiting| *waiting != guest);
        if let Some(Given { place, evicted }) = self.guests.given.remove(&guest) {
            drop(evicted);
            self.leave(place, false, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SECOND, log_in, places, resumed};
    use super::super::{Call, Holds};
    use crate::imap::script::on_a_runtime;

    fn waits(call: &Call) -> bool {
        matches!(call, Call::Wait(_))
    }

    #[test]
    fn a_guest_gets_the_place_that_is_left_next_though_its_mailbox_wants_it_again_at_once() {
        on_a_runtime(async {
            let mut places = places(2, 1);
            let [first, _] = [1, 2].map(|owner| log_in(&mut places, owner, SECOND));
            assert!(places.guest(8, SECOND).is_none(), "both are held");
            places.leave(first, true, SECOND);
            assert!(waits(&places.call(1, SECOND, true, Holds::Memory)), "it was handed over");
            let given = places.guest(8, SECOND).expect("given");
            assert_eq!(given.place, first);
            assert!(given.evicted.is_some(), "to be ended first");
            assert_eq!(places.places.len(), 2, "never more than there may be");
            places.leave(given.place, false, SECOND);
            assert!(matches!(places.call(1, SECOND, true, Holds::Memory), Call::LogIn { .. }), "given back");
        });
    }

    #[test]
    fn a_session_that_lies_idle_makes_room_for_a_guest_at_once_and_the_oldest_first() {
        on_a_runtime(async {
            let mut places = places(2, 1);
            let held = [1, 2].map(|owner| log_in(&mut places, owner, SECOND));
            places.leave(held[1], true, SECOND);
            places.leave(held[0], true, 2 * SECOND);
            assert_eq!(places.guest(8, 2 * SECOND).expect("given").place, held[1]);
            assert_eq!(resumed(places.call(1, 2 * SECOND, true, Holds::Nothing)), held[0]);
        });
    }

    #[test]
    fn guests_have_a_quarter_of_the_places_at_most_and_pass_them_on_in_the_order_they_came() {
        let mut places = places(8, 1);
        let first = places.guest(20, SECOND).expect("given").place;
        places.guest(21, SECOND).expect("given");
        for guest in [22, 23, 24] {
            assert!(places.guest(guest, SECOND).is_none(), "two of eight");
        }
        assert!(
            matches!(places.call(1, SECOND, true, Holds::Nothing), Call::LogIn { .. }),
            "six for the run"
        );
        places.guest_gone(22, SECOND);
        places.leave(first, false, SECOND);
        assert!(places.guest(24, SECOND).is_none(), "another came before");
        assert!(places.guest(23, SECOND).is_some());
    }

    #[test]
    fn a_place_given_to_a_guest_that_is_gone_goes_to_the_next_and_then_is_free() {
        on_a_runtime(async {
            let mut places = places(1, 1);
            let only = log_in(&mut places, 1, SECOND);
            assert!(places.guest(8, SECOND).is_none() && places.guest(9, SECOND).is_none());
            places.leave(only, true, SECOND);
            places.guest_gone(8, SECOND);
            assert_eq!(places.guest(9, SECOND).expect("given").place, only);
            places.leave(only, false, SECOND);
            assert!(matches!(places.call(1, SECOND, true, Holds::Nothing), Call::LogIn { .. }));
        });
    }

    #[test]
    fn a_place_more_than_the_server_takes_is_lent_to_nobody() {
        on_a_runtime(async {
            let mut places = places(3, 1);
            let held = [1, 2, 3].map(|owner| log_in(&mut places, owner, SECOND));
            // A fourth mailbox was turned away when there were two: that is what the server takes.
            places.taken = Some((2, SECOND));
            assert!(places.guest(8, SECOND).is_none());
            places.leave(held[0], true, SECOND);
            assert!(places.guest(8, SECOND).is_none(), "the third goes and none comes");
            assert_eq!(places.places.len(), 2);
            places.leave(held[1], true, SECOND);
            assert_eq!(places.guest(8, SECOND).expect("given").place, held[1]);
        });
    }
}

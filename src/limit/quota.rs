//! One windowed limit with everything that counts against it: spent, under way, and reserved.
//!
//! The service counts a request some time between our sending it and its answer. So an amount counts as *under way*
//! from its grant to its end, and is charged to the window at its end: whichever moment the service takes, it is
//! covered. Reservations count as long as they stand. At every moment spent + under way + reserved ≤ capacity;
//! time only lowers the sum, and spending a reservation only moves it. Hence no reservation is ever broken.

use std::time::Duration;

use super::window::Window;
use crate::env::Tick;

/// Who asks for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claimant {
    /// A look-up: may use what reservations must leave free.
    Lookup,
    /// A request without cover by a reservation, sent in the middle of a store.
    Request,
    /// A reservation for later: leaves the headroom of the look-ups free.
    Reservation,
}

/// Whether an amount has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Now.
    Now,
    /// At this moment, by time alone, if nobody takes it first.
    At(Tick),
    /// When a reservation or a running request ends; no moment can be told.
    Later,
}

/// Requests, or upload bytes, in a sliding window.
#[derive(Debug)]
pub(super) struct Quota {
    window: Window,
    capacity: u64,
    /// What reservations leave to look-ups.
    headroom: u64,
    reserved: u64,
    under_way: u64,
}

impl Quota {
    pub(super) fn new(capacity: u64, length: Duration, headroom: u64) -> Quota {
        Quota { window: Window::new(length), capacity, headroom, reserved: 0, under_way: 0 }
    }

    /// Counts the whole capacity as spent at `at`.
    pub(super) fn assume_spent(&mut self, at: Tick) {
        self.window.assume_spent(at, self.capacity);
    }

    /// Whether `amount` more has room.
    ///
    /// An amount above the capacity has room when nothing else counts. A look-up larger than the headroom has room
    /// when nothing but reservations stands in its way: their holders may be waiting for its answer.
    pub(super) fn room(&mut self, now: Tick, who: Claimant, amount: u64) -> Room {
        if amount == 0 {
            return Room::Now; // also beside a request larger than the capacity
        }
        let capacity = match who {
            Claimant::Reservation => self.capacity.saturating_sub(self.headroom),
            Claimant::Lookup | Claimant::Request => self.capacity,
        };
        let need = match who {
            Claimant::Reservation => self.reservable(amount),
            Claimant::Lookup | Claimant::Request => amount.min(capacity),
        };
        let reserved = match who {
            Claimant::Lookup => self.reserved.min(capacity - need),
            Claimant::Request | Claimant::Reservation => self.reserved,
        };
        let standing = self.under_way.saturating_add(reserved).saturating_add(need);
        if standing.saturating_add(self.window.spent(now)) <= capacity {
            Room::Now
        } else if standing <= capacity {
            Room::At(self.window.earliest(now, standing, capacity))
        } else {
            Room::Later
        }
    }

    /// What a reservation of `amount` sets aside: an amount near the capacity or above it gets what is left beside
    /// the look-ups, so that a few of them do not keep it waiting for ever.
    pub(super) fn reservable(&self, amount: u64) -> u64 {
        amount.min(self.capacity.saturating_sub(self.headroom.saturating_mul(2)))
    }

    /// Sets `amount` aside.
    pub(super) fn reserve(&mut self, amount: u64) {
        self.reserved = self.reserved.saturating_add(amount);
    }

    /// Takes a reservation of `amount` back.
    pub(super) fn give_back(&mut self, amount: u64) {
        self.reserved = self.reserved.saturating_sub(amount);
    }

    /// A request of `amount` is sent.
    pub(super) fn begin(&mut self, amount: u64) {
        self.under_way = self.under_way.saturating_add(amount);
    }

    /// A request of `amount` ended: the service counted it at the latest now.
    pub(super) fn end(&mut self, now: Tick, amount: u64) {
        self.never_sent(amount);
        self.window.charge(now, amount);
    }

    /// A request of `amount` was granted and never sent.
    pub(super) fn never_sent(&mut self, amount: u64) {
        self.under_way = self.under_way.saturating_sub(amount);
    }

    /// Nothing counts against this limit.
    pub(super) fn is_idle(&mut self, now: Tick) -> bool {
        self.reserved == 0 && self.under_way == 0 && self.window.spent(now) == 0
    }
}

//! What one app may send to one mailbox, and when: a machine without clock, await or I/O.
//!
//! Its driver is [`Gate`](super::Gate). Time and random numbers are handed in; the same calls give the same grants.
//!
//! Four lanes, first come first served in each:
//! 1. *look-ups* (also folders and flags) go before every store: an unknown outcome must not wait behind new work;
//! 2. *overdrawn* requests, whose store turned out larger than what was reserved for it: they hold no reservation
//!    while they wait, and no new reservation is made before them;
//! 3. *covered* requests, paid for by a reservation: they wait for a slot only. Of 2 and 3 the older goes first;
//! 4. *reservations* take no slot.
//!
//! That nobody waits while holding what another waiter needs follows from it: covered requests wait for slots, which
//! running requests give back; look-ups have headroom that reservations never take; overdrawn ones hold nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::adaptive::Concurrency;
use super::counters::{Cause, Counters, Meter};
use super::quota::{Claimant, Quota, Room};
use super::refusal::Refusals;
use super::rules::{Answer, Cost, Rules};
use crate::env::Tick;

/// Reservations leave this share of a window to look-ups …
const HEADROOM_SHARE: u64 = 100;
/// … but of the upload window never more than this: bodies of look-ups are small.
const HEADROOM_BYTES: u64 = 512 << 10;

/// A store of so many requests goes in pieces: a large message by an upload session.
const PIECES: u32 = 4;
/// Of a store in pieces above this share of the upload window …
const LARGE_SHARE: u64 = 16;
/// … only this share is reserved. Whole ones would leave the window half empty while they wait for all of their room; the
/// rest is overdrawn, piece by piece, and meanwhile nothing new is reserved.
const BEGINNING_SHARE: u64 = 256;

/// Names one waiter of one machine.
pub(crate) type Id = u64;

/// What a waiter was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// A reservation of so much (at most what was asked for).
    Reserved(Cost),
    /// A request, or several in one, may be sent; `covered`: by its ticket.
    Send {
        /// What it counts as.
        cost: Cost,
        /// How many of them the service works on at once.
        slots: usize,
        /// Paid for by a reservation.
        covered: bool,
    },
}

#[derive(Debug, Clone, Copy)]
enum Lane {
    Lookup,
    Overdrawn,
    Covered,
    Reserve,
}

#[derive(Debug, Clone, Copy)]
struct Waiter {
    id: Id,
    cost: Cost,
    /// Slots it takes: more than one for several requests sent as one.
    slots: usize,
}

/// A request that may still be worked on.
#[derive(Debug, Clone, Copy)]
struct Held {
    until: Tick,
    bytes: u64,
}

/// The machine of one (app, mailbox).
#[derive(Debug)]
pub(crate) struct Admission {
    rules: Arc<Rules>,
    now: Tick,
    requests: Option<Quota>,
    upload: Option<Quota>,
    /// Requests under way whose end we will learn.
    running: usize,
    /// Requests of unknown fate, ascending by `until`.
    unknown: VecDeque<Held>,
    refusals: Refusals,
    lanes: [VecDeque<Waiter>; 4],
    /// Ascending by id; few at a time.
    granted: Vec<(Id, Grant)>,
    next_id: Id,
    wake: Option<Tick>,
    meter: Meter,
}

impl Admission {
    /// A machine with nothing spent, or with everything spent at tick zero (`start_spent`).
    pub(crate) fn new(rules: Arc<Rules>, start_spent: bool) -> Admission {
        let quota = |limit: Option<(u64, Duration)>, most: u64| {
            limit.map(|(capacity, length)| {
                let headroom = (capacity / HEADROOM_SHARE).clamp(1, most);
                let mut quota = Quota::new(capacity, length, headroom);
                if start_spent {
                    quota.assume_spent(Tick::ZERO);
                }
                quota
            })
        };
        Admission {
            requests: quota(rules.requests, u64::MAX),
            upload: quota(rules.upload, HEADROOM_BYTES),
            rules,
            now: Tick::ZERO,
            running: 0,
            unknown: VecDeque::new(),
            refusals: Refusals::default(),
            lanes: Default::default(),
            granted: Vec::new(),
            next_id: 0,
            wake: None,
            meter: Meter::default(),
        }
    }

    /// Asks for a reservation. What is granted is at most `cost`: of a large store in pieces its beginning, of an amount
    /// near the window's capacity or above it what the window can hold; the rest is overdrawn when its time comes.
    pub(crate) fn ask_reserve(&mut self, now: Tick, cost: Cost) -> Id {
        self.ask(now, Lane::Reserve, cost, 0)
    }

    /// Asks to send one request with `bytes` of upload. `left` is what its ticket still has, and loses what covers
    /// it; a ticket that does not cover it is void, and what it had goes back.
    pub(crate) fn ask_send(&mut self, now: Tick, left: &mut Cost, lookup: bool, bytes: u64) -> Id {
        self.ask_batch(now, left, lookup, Cost { requests: 1, upload_bytes: bytes }, 1)
    }

    /// As [`Admission::ask_send`], for several requests sent as one, of which the service works on `slots` at once. They
    /// go together or not at all.
    pub(crate) fn ask_batch(
        &mut self,
        now: Tick,
        left: &mut Cost,
        lookup: bool,
        cost: Cost,
        slots: usize,
    ) -> Id {
        let lane = if lookup {
            Lane::Lookup
        } else if left.requests >= cost.requests && left.upload_bytes >= cost.upload_bytes {
            left.requests -= cost.requests;
            left.upload_bytes -= cost.upload_bytes;
            Lane::Covered
        } else {
            self.unreserve(std::mem::take(left));
            Lane::Overdrawn
        };
        self.ask(now, lane, cost, slots.clamp(1, self.rules.concurrency.limit()))
    }

    /// Counts both windows as spent at `at`: another process may have sent all that they hold until then.
    pub(crate) fn assume_spent(&mut self, now: Tick, at: Tick) {
        for quota in [&mut self.requests, &mut self.upload].into_iter().flatten() {
            quota.assume_spent(at);
        }
        self.advance(now);
    }

    /// Takes what waiter `id` was granted, if it was.
    pub(crate) fn take(&mut self, now: Tick, id: Id) -> Option<Grant> {
        self.advance(now);
        self.taken(id)
    }

    fn taken(&mut self, id: Id) -> Option<Grant> {
        let at = self.granted.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.granted.remove(at).1)
    }

    fn grant(&mut self, id: Id, grant: Grant) {
        let at = self.granted.partition_point(|(other, _)| *other < id);
        self.granted.insert(at, (id, grant));
    }

    /// The waiter went away before it took its grant: nothing of it is left. What its ticket paid goes back to
    /// `left`.
    pub(crate) fn cancel(&mut self, now: Tick, id: Id, left: &mut Cost) {
        if let Some(grant) = self.taken(id) {
            self.undo(now, grant, left);
            return;
        }
        for (lane, waiters) in self.lanes.iter_mut().enumerate() {
            if let Ok(at) = waiters.binary_search_by_key(&id, |w| w.id)
                && let Some(waiter) = waiters.remove(at)
                && lane == Lane::Covered as usize
            {
                left.requests += waiter.cost.requests;
                left.upload_bytes += waiter.cost.upload_bytes;
            }
        }
        self.advance(now);
    }

    /// A grant was taken and will not be used.
    pub(crate) fn undo(&mut self, now: Tick, grant: Grant, left: &mut Cost) {
        match grant {
            Grant::Reserved(cost) => self.unreserve(cost),
            Grant::Send { cost, slots, covered } => {
                self.running = self.running.saturating_sub(slots);
                each(&mut self.requests, &mut self.upload, cost, |quota, amount| {
                    quota.never_sent(amount);
                    if covered {
                        quota.reserve(amount);
                    }
                });
                if covered {
                    left.requests += cost.requests;
                    left.upload_bytes += cost.upload_bytes;
                }
            }
        }
        self.advance(now);
    }

    /// Takes back what a ticket did not spend.
    pub(crate) fn give_back(&mut self, now: Tick, cost: Cost) {
        self.unreserve(cost);
        self.advance(now);
    }

    /// What was granted is about to leave. A refusal that came after the grant holds it back: then this tells until
    /// when, and is asked again.
    pub(crate) fn leave(&mut self, now: Tick, cost: Cost) -> Result<(), Tick> {
        self.now = self.now.max(now);
        if self.now < self.blocked_until() {
            return Err(self.blocked_until());
        }
        self.meter.sent(cost);
        Ok(())
    }

    /// A granted request waited this long for the app's rate.
    pub(crate) fn waited_for_app(&mut self, time: Duration) {
        self.meter.waited_for_app(time);
    }

    /// A request with `bytes` of upload, sent at `sent`, ended. `random` is used when the wait is ours to choose.
    pub(crate) fn finish(&mut self, now: Tick, sent: Tick, bytes: u64, answer: Answer, random: u64) {
        self.finish_batch(now, sent, 1, &[(bytes, answer)], random);
    }

    /// Several requests that were sent as one and held `slots` ended, each with its upload bytes and its answer.
    pub(crate) fn finish_batch(
        &mut self,
        now: Tick,
        sent: Tick,
        slots: usize,
        parts: &[(u64, Answer)],
        random: u64,
    ) {
        let one = |(bytes, answer): &(u64, Answer)| (Cost { requests: 1, upload_bytes: *bytes }, *answer);
        self.finish_alike(now, sent, slots, parts.iter().map(one), random);
    }

    /// As [`Admission::finish_batch`]; those that ended alike may be told together, by what they cost in all.
    pub(crate) fn finish_alike(
        &mut self,
        now: Tick,
        sent: Tick,
        slots: usize,
        parts: impl Iterator<Item = (Cost, Answer)> + Clone,
        random: u64,
    ) {
        self.now = self.now.max(now);
        self.running = self.running.saturating_sub(slots);
        // What was served first: a refusal beside it came later or concerns what is still to come.
        for (cost, answer) in parts.clone() {
            self.meter.answered(cost.requests, answer);
            if answer == Answer::Served {
                self.refusals.served(sent);
            }
        }
        let mut ended = Cost::default();
        for (cost, answer) in parts {
            match answer {
                Answer::Unknown if self.rules.concurrency != Concurrency::Unlimited => {
                    self.hold(cost);
                }
                Answer::NotSent => {
                    each(&mut self.requests, &mut self.upload, cost, |quota, amount| {
                        quota.never_sent(amount)
                    });
                }
                Answer::Served | Answer::Throttled(_) | Answer::Unknown => {
                    ended.requests = ended.requests.saturating_add(cost.requests);
                    ended.upload_bytes = ended.upload_bytes.saturating_add(cost.upload_bytes);
                }
            }
            if let Answer::Throttled(asked) = answer {
                self.refusals.refused(self.now, sent, asked, &self.rules.throttle, random);
            }
        }
        self.end(self.now, ended);
        self.advance(self.now);
    }

    /// Requests of unknown fate, each of which keeps a slot.
    fn hold(&mut self, cost: Cost) {
        let until = self.now + self.rules.unknown_hold;
        let mut left = cost.upload_bytes;
        for more in (0..u64::from(cost.requests)).rev() {
            let bytes = left / (more + 1);
            left -= bytes;
            self.unknown.push_back(Held { until, bytes });
        }
    }

    /// Waiters with a grant they have not taken.
    pub(crate) fn granted(&self) -> impl Iterator<Item = Id> + '_ {
        self.granted.iter().map(|(id, _)| *id)
    }

    /// Takes whatever was granted by now, the oldest first.
    pub(crate) fn take_any(&mut self, now: Tick) -> Option<(Id, Grant)> {
        if self.now < now {
            self.advance(now);
        }
        (!self.granted.is_empty()).then(|| self.granted.remove(0))
    }

    /// When the next thing happens by time alone, as of the last call; `None` if nobody waits for time.
    pub(crate) fn wake_at(&self) -> Option<Tick> {
        self.wake
    }

    /// Until when the service asked us to send nothing; in the past or zero if it did not.
    pub(crate) fn blocked_until(&self) -> Tick {
        self.refusals.blocked_until()
    }

    /// Nobody waits, nothing is under way, reserved or remembered: a new machine would behave the same.
    pub(crate) fn is_idle(&mut self, now: Tick) -> bool {
        self.advance(now);
        self.running == 0
            && self.unknown.is_empty()
            && self.granted.is_empty()
            && self.lanes.iter().all(VecDeque::is_empty)
            && self.blocked_until() <= self.now
            && self.requests.as_mut().is_none_or(|q| q.is_idle(self.now))
            && self.upload.as_mut().is_none_or(|q| q.is_idle(self.now))
    }

    /// The counters so far.
    pub(crate) fn counters(&self) -> Counters {
        self.meter.read()
    }

    fn ask(&mut self, now: Tick, lane: Lane, cost: Cost, slots: usize) -> Id {
        let id = self.next_id;
        self.next_id += 1;
        self.lanes[lane as usize].push_back(Waiter { id, cost, slots });
        self.advance(now);
        id
    }

    /// Does all that `now` allows.
    fn advance(&mut self, now: Tick) {
        self.now = self.now.max(now);
        self.wake = None;
        while let Some(held) = self.unknown.front()
            && held.until <= self.now
        {
            let Held { until, bytes } = *held;
            self.unknown.pop_front();
            self.end(until, Cost { requests: 1, upload_bytes: bytes });
        }
        let mut cause = None;
        if self.lanes.iter().any(|lane| !lane.is_empty()) {
            if self.now < self.blocked_until() {
                self.wake_by(self.blocked_until());
                cause = Some(Cause::Blocked);
            } else {
                cause = self.advance_lanes();
            }
        }
        self.meter.waits_for(self.now, cause);
    }

    /// Grants what can be granted; tells what the first one waits for.
    fn advance_lanes(&mut self) -> Option<Cause> {
        let mut cause = None;
        let mut lookup_lacks_window = false;
        while let Some((lane, waiter)) = self.next_send(&mut cause, &mut lookup_lacks_window) {
            self.lanes[lane as usize].pop_front();
            let Waiter { cost, slots, .. } = waiter;
            let covered = matches!(lane, Lane::Covered);
            self.running += slots;
            each(&mut self.requests, &mut self.upload, cost, |quota, amount| {
                if covered {
                    quota.give_back(amount);
                }
                quota.begin(amount);
            });
            self.grant(waiter.id, Grant::Send { cost, slots, covered });
        }
        if lookup_lacks_window || !self.lanes[Lane::Overdrawn as usize].is_empty() {
            return cause; // what becomes free is theirs first
        }
        while let Some(&waiter) = self.lanes[Lane::Reserve as usize].front() {
            let asked = self.beginning(waiter.cost);
            if let Err(lacking) = self.window_room(Claimant::Reservation, asked) {
                return cause.or(Some(lacking));
            }
            self.lanes[Lane::Reserve as usize].pop_front();
            let granted = self.reserve(asked);
            self.grant(waiter.id, Grant::Reserved(granted));
        }
        cause
    }

    /// The request that goes next, if one may go now.
    fn next_send(&mut self, cause: &mut Option<Cause>, lookup_lacks: &mut bool) -> Option<(Lane, Waiter)> {
        let head = |machine: &Self, lane: Lane| machine.lanes[lane as usize].front().copied();
        let lookup = head(self, Lane::Lookup);
        let overdrawn = head(self, Lane::Overdrawn);
        let covered = head(self, Lane::Covered);
        *lookup_lacks = false;
        *cause = None;
        if lookup.is_none() && overdrawn.is_none() && covered.is_none() {
            return None;
        }
        // Whoever goes first waits for all the slots it needs, and nobody takes them meanwhile.
        let first = lookup.or(overdrawn).or(covered).map_or(1, |waiter| waiter.slots);
        if !self.slots_free(first) {
            if let Some(held) = self.unknown.front() {
                self.wake_by(held.until);
            }
            *cause = Some(Cause::Slot);
            return None;
        }
        if let Some(waiter) = lookup {
            match self.window_room(Claimant::Lookup, waiter.cost) {
                Ok(()) => return Some((Lane::Lookup, waiter)),
                Err(lacking) => {
                    *cause = Some(lacking);
                    *lookup_lacks = true;
                }
            }
        }
        // No overdrawn request takes the room a look-up waits for.
        if let Some(waiter) = overdrawn
            && !*lookup_lacks
            && covered.is_none_or(|c| waiter.id < c.id)
            && self.slots_free(waiter.slots)
        {
            match self.window_room(Claimant::Request, waiter.cost) {
                Ok(()) => return Some((Lane::Overdrawn, waiter)),
                Err(lacking) => *cause = Some(lacking),
            }
        }
        covered.filter(|waiter| self.slots_free(waiter.slots)).map(|waiter| (Lane::Covered, waiter))
    }

    /// So many slots are free. After a refusal one request at a time feels its way, until one is served.
    fn slots_free(&self, slots: usize) -> bool {
        let taken = self.running.saturating_add(self.unknown.len());
        taken.saturating_add(slots) <= self.rules.concurrency.limit()
            && (!self.refusals.feeling_the_way() || self.running == 0)
    }

    /// Nothing keeps several requests from going at once: no refusal is waited out or felt for.
    pub(crate) fn is_calm(&self, now: Tick) -> bool {
        self.blocked_until() <= now && !self.refusals.feeling_the_way()
    }

    /// Whether both windows have room; if not, for which it waits, and the machine wakes when time brings it.
    fn window_room(&mut self, who: Claimant, cost: Cost) -> Result<(), Cause> {
        let now = self.now;
        let mut ready = now;
        let mut lacking = None;
        let quotas = [
            (&mut self.requests, u64::from(cost.requests), Cause::Requests),
            (&mut self.upload, cost.upload_bytes, Cause::Upload),
        ];
        for (quota, amount, cause) in quotas {
            match quota.as_mut().map_or(Room::Now, |q| q.room(now, who, amount)) {
                Room::Now => {}
                Room::At(tick) => {
                    if lacking.is_none() || tick > ready {
                        lacking = Some(cause);
                    }
                    ready = ready.max(tick);
                }
                // An end will come first; then this is asked again. An unknown one ends by time.
                Room::Later => {
                    lacking = Some(cause);
                    if let Some(held) = self.unknown.front() {
                        ready = ready.max(held.until);
                    }
                }
            }
        }
        let Some(cause) = lacking else { return Ok(()) };
        if ready > now {
            self.wake_by(ready);
        }
        Err(cause)
    }

    /// What is reserved of a store.
    fn beginning(&self, cost: Cost) -> Cost {
        match self.rules.upload {
            Some((capacity, _)) if cost.requests >= PIECES && cost.upload_bytes > capacity / LARGE_SHARE => {
                Cost { upload_bytes: capacity / BEGINNING_SHARE, ..cost }
            }
            _ => cost,
        }
    }

    fn reserve(&mut self, cost: Cost) -> Cost {
        let requests = self.requests.as_mut().map_or(u64::from(cost.requests), |quota| {
            let amount = quota.reservable(u64::from(cost.requests));
            quota.reserve(amount);
            amount
        });
        let upload_bytes = self.upload.as_mut().map_or(cost.upload_bytes, |quota| {
            let amount = quota.reservable(cost.upload_bytes);
            quota.reserve(amount);
            amount
        });
        Cost { requests: u32::try_from(requests).unwrap_or(u32::MAX), upload_bytes }
    }

    fn unreserve(&mut self, cost: Cost) {
        if let Some(quota) = &mut self.requests {
            quota.give_back(u64::from(cost.requests));
        }
        if let Some(quota) = &mut self.upload {
            quota.give_back(cost.upload_bytes);
        }
    }

    fn end(&mut self, at: Tick, cost: Cost) {
        each(&mut self.requests, &mut self.upload, cost, |quota, amount| quota.end(at, amount));
    }

    fn wake_by(&mut self, tick: Tick) {
        self.wake = Some(self.wake.map_or(tick, |wake| wake.min(tick)));
    }
}

/// Does `act` on both limits with what a request, or several in one, count there.
fn each(
    requests: &mut Option<Quota>,
    upload: &mut Option<Quota>,
    cost: Cost,
    mut act: impl FnMut(&mut Quota, u64),
) {
    if let Some(quota) = requests {
        act(quota, u64::from(cost.requests));
    }
    if let Some(quota) = upload {
        act(quota, cost.upload_bytes);
    }
}

#[cfg(test)]
mod tests;

//! What is to come, by time; of one moment first what was announced first.
//!
//! A night has a hundred million events, most of them a few seconds ahead. So the next seconds are a ring of short spans,
//! each with a list of its own that is sorted only when its turn comes; what lies farther ahead waits in a heap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A span is so many nanoseconds long, as a power of two: about half a millisecond.
const SPAN: u32 = 19;
/// Spans in the ring: together about 17 seconds.
const RING: usize = 1 << 15;
/// Ends a list.
const NONE: u32 = u32::MAX;

/// When, in nanoseconds, and which in the order of announcement.
type When = (u64, u64);

#[derive(Debug, Clone, Copy)]
struct Entry<E> {
    when: When,
    event: E,
    /// The next one of the same span, in no order.
    next: u32,
}

/// Events to come.
#[derive(Debug)]
pub(super) struct Agenda<E> {
    announced: u64,
    /// The span whose turn it is.
    now: u64,
    /// Its events, the next one last.
    current: Vec<(When, E)>,
    /// The lists of the spans after it.
    ring: Vec<u32>,
    /// A bit for each span of the ring that has events.
    taken: Vec<u64>,
    in_ring: usize,
    /// Where events of the ring are kept, and the places that are free.
    kept: Vec<Entry<E>>,
    free: u32,
    /// What lies beyond the ring.
    far: BinaryHeap<Reverse<(When, E)>>,
}

impl<E: Copy + Ord> Agenda<E> {
    pub(super) fn new() -> Agenda<E> {
        Agenda {
            announced: 0,
            now: 0,
            current: Vec::new(),
            ring: vec![NONE; RING],
            taken: vec![0; RING / 64],
            in_ring: 0,
            kept: Vec::new(),
            free: NONE,
            far: BinaryHeap::new(),
        }
    }

    /// Events announced so far.
    pub(super) fn announced(&self) -> u64 {
        self.announced
    }

    /// Announces an event.
    pub(super) fn push(&mut self, at: u64, event: E) {
        self.announced += 1;
        let when = (at, self.announced);
        let span = at >> SPAN;
        if span <= self.now {
            let place = self.current.partition_point(|(other, _)| *other > when);
            self.current.insert(place, (when, event));
        } else if span - self.now < RING as u64 {
            self.keep(when, event);
        } else {
            self.far.push(Reverse((when, event)));
        }
    }

    /// The next event, and when it happens.
    pub(super) fn pop(&mut self) -> Option<(u64, E)> {
        if self.current.is_empty() {
            self.turn();
        }
        self.current.pop().map(|((at, _), event)| (at, event))
    }

    fn keep(&mut self, when: When, event: E) {
        let slot = (when.0 >> SPAN) as usize % RING;
        let entry = Entry { when, event, next: self.ring[slot] };
        let place = match self.kept.get_mut(self.free as usize) {
            Some(kept) => {
                let place = std::mem::replace(&mut self.free, kept.next);
                *kept = entry;
                place
            }
            None => {
                let place = u32::try_from(self.kept.len()).unwrap_or(NONE);
                self.kept.push(entry);
                place
            }
        };
        self.ring[slot] = place;
        self.taken[slot / 64] |= 1 << (slot % 64);
        self.in_ring += 1;
    }

    /// Goes to the next span that has events.
    fn turn(&mut self) {
        let far = self.far.peek().map(|Reverse(((at, _), _))| *at >> SPAN);
        let near = if self.in_ring > 0 { Some(self.next_taken()) } else { None };
        // What lies beyond the ring comes after all that is in it, and enters it as time goes on.
        let Some(next) = near.into_iter().chain(far).min() else { return };
        self.now = next;
        self.take_list((next as usize) % RING);
        while let Some(Reverse(((at, _), _))) = self.far.peek()
            && (at >> SPAN).saturating_sub(self.now) < RING as u64
        {
            let Some(Reverse((when, event))) = self.far.pop() else { return };
            if when.0 >> SPAN == self.now {
                self.current.push((when, event));
            } else {
                self.keep(when, event);
            }
        }
        self.current.sort_unstable_by_key(|(when, _)| Reverse(*when));
    }

    /// The first span after `now` with events; there is one in the ring.
    fn next_taken(&self) -> u64 {
        let words = self.taken.len();
        let first = (self.now + 1) as usize % RING;
        let ahead = self.taken[first / 64] & (u64::MAX << (first % 64));
        let mut word = first / 64;
        let mut bits = ahead;
        for _ in 0..words {
            if bits != 0 {
                break;
            }
            word = (word + 1) % words;
            bits = self.taken[word];
        }
        let slot = word * 64 + bits.trailing_zeros() as usize;
        let ahead = (slot + RING - self.now as usize % RING) % RING;
        self.now + ahead as u64
    }

    /// Moves the events of a span to those whose turn it is.
    fn take_list(&mut self, slot: usize) {
        let mut place = std::mem::replace(&mut self.ring[slot], NONE);
        self.taken[slot / 64] &= !(1 << (slot % 64));
        while let Some(entry) = self.kept.get_mut(place as usize) {
            self.current.push((entry.when, entry.event));
            let next = std::mem::replace(&mut entry.next, self.free);
            self.free = std::mem::replace(&mut place, next);
            self.in_ring -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_those_of_one_moment_in_the_order_they_were_announced() {
        for seed in 1..=20 {
            let mut dice = fastrand::Rng::with_seed(seed);
            let (mut agenda, mut heap) = (Agenda::new(), BinaryHeap::new());
            let (mut now, mut announced) = (0u64, 0u64);
            let mut announce =
                |now: u64, agenda: &mut Agenda<u32>, heap: &mut BinaryHeap<_>, dice: &mut fastrand::Rng| {
                    // Now, within the span, within the ring, around its end, and far beyond it.
                    let most = [1, 1 << 10, 1 << 30, (RING as u64) << SPAN, 1 << 44][dice.usize(0..5)];
                    let (at, event) = (now + dice.u64(0..most), dice.u32(..));
                    announced += 1;
                    agenda.push(at, event);
                    heap.push(Reverse((at, announced, event)));
                };
            for _ in 0..5_000 {
                for _ in 0..dice.usize(0..3) {
                    announce(now, &mut agenda, &mut heap, &mut dice);
                }
                let expected = heap.pop().map(|Reverse((at, _, event))| (at, event));
                assert_eq!(agenda.pop(), expected, "seed {seed}");
                now = expected.map_or(now, |(at, _)| at);
            }
            while let Some(Reverse((at, _, event))) = heap.pop() {
                assert_eq!(agenda.pop(), Some((at, event)), "seed {seed}");
            }
            assert_eq!((agenda.pop(), agenda.in_ring), (None, 0));
        }
    }
}

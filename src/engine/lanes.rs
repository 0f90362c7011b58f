//! Which mailbox is worked on when: a state machine over ordinals, time handed in.

use std::collections::{BTreeMap, VecDeque};

use crate::env::Tick;

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happened {
    /// Time passed (a timer rang, or the run begins).
    Time,
    /// A mailbox ended for good.
    Ended(usize),
    /// A mailbox wants another pass, not before this time.
    ComesBack(usize, Tick),
    /// The run is asked to drain.
    Drain,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Do {
    /// Begin (or begin again) a pass of this mailbox.
    Begin(usize),
    /// Call again at this time, if nothing happens before.
    Wake(Tick),
    /// Nothing is left.
    Finish,
}

/// The lanes: at most `width` mailboxes at once; a parked mailbox holds no lane; those that come back go before those
/// that never began, so that what is begun ends.
#[derive(Debug)]
pub(crate) struct Lanes {
    width: usize,
    waiting: VecDeque<usize>,
    /// Parked mailboxes by the time they come back.
    parked: BTreeMap<(Tick, usize), ()>,
    running: usize,
    draining: bool,
}

impl Lanes {
    /// `order` is the order in which mailboxes are begun.
    pub(crate) fn new(width: usize, order: impl IntoIterator<Item = usize>) -> Lanes {
        Lanes {
            width: width.max(1),
            waiting: order.into_iter().collect(),
            parked: BTreeMap::new(),
            running: 0,
            draining: false,
        }
    }

    /// How many may be open from now on; those open already stay.
    pub(crate) fn set_width(&mut self, width: usize) {
        self.width = width.max(1);
    }

    /// Mailboxes never begun.
    pub(crate) fn not_begun(&self) -> usize {
        self.waiting.len()
    }

    /// One step: what happened at `now`, and what to do about it, in order.
    pub(crate) fn step(&mut self, now: Tick, happened: Happened) -> Vec<Do> {
        match happened {
            Happened::Time => {}
            Happened::Ended(_) => self.running -= 1,
            Happened::ComesBack(mailbox, at) => {
                self.running -= 1;
                self.parked.insert((at, mailbox), ());
            }
            Happened::Drain => self.draining = true,
        }
        let mut todo = Vec::new();
        while !self.draining && self.running < self.width {
            let due = self.parked.first_key_value().map(|(k, ())| *k).filter(|(at, _)| *at <= now);
            let next = match due {
                Some(key) => {
                    self.parked.remove(&key);
                    Some(key.1)
                }
                None => self.waiting.pop_front(),
            };
            let Some(mailbox) = next else { break };
            self.running += 1;
            todo.push(Do::Begin(mailbox));
        }
        if self.running == 0 && (self.draining || (self.waiting.is_empty() && self.parked.is_empty())) {
            todo.push(Do::Finish);
        } else if !self.draining
            && self.running < self.width
            && let Some(((at, _), ())) = self.parked.first_key_value()
        {
            todo.push(Do::Wake(*at));
        }
        todo
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(s: u64) -> Tick {
        Duration::from_secs(s)
    }

    #[test]
    fn a_parked_mailbox_holds_no_lane_and_goes_before_new_ones_when_due() {
        let mut lanes = Lanes::new(1, [0, 1, 2]);
        assert_eq!(lanes.step(at(0), Happened::Time), [Do::Begin(0)]);
        assert_eq!(lanes.step(at(1), Happened::ComesBack(0, at(3))), [Do::Begin(1)]);
        assert_eq!(lanes.step(at(5), Happened::Ended(1)), [Do::Begin(0)]);
        assert_eq!(lanes.step(at(6), Happened::Ended(0)), [Do::Begin(2)]);
        assert_eq!(lanes.step(at(7), Happened::Ended(2)), [Do::Finish]);
    }

    #[test]
    fn draining_begins_nothing_and_finishes_when_the_last_one_ended() {
        let mut lanes = Lanes::new(2, [0, 1, 2]);
        lanes.step(at(0), Happened::Time);
        assert_eq!(lanes.step(at(1), Happened::Drain), []);
        assert_eq!(lanes.step(at(2), Happened::ComesBack(0, at(9))), []);
        assert_eq!(lanes.step(at(3), Happened::Ended(1)), [Do::Finish]);
        assert_eq!(lanes.not_begun(), 1);
    }

    proptest! {
        #[test]
        fn every_mailbox_is_begun_and_ends_and_the_width_holds(
            width in 1usize..5, count in 0usize..12, fates in prop::collection::vec((any::<bool>(), 0u64..20), 200),
        ) {
            let mut lanes = Lanes::new(width, 0..count);
            let (mut now, mut running, mut ended) = (at(0), Vec::new(), 0);
            let mut fates = fates.into_iter();
            let mut todo = lanes.step(now, Happened::Time);
            loop {
                let mut wake = None;
                let mut finish = false;
                for d in todo {
                    match d {
                        Do::Begin(m) => running.push(m),
                        Do::Wake(t) => wake = Some(t),
                        Do::Finish => finish = true,
                    }
                }
                prop_assert!(running.len() <= width);
                if finish {
                    break;
                }
                todo = if running.is_empty() {
                    now = wake.expect("something will happen").max(now);
                    lanes.step(now, Happened::Time)
                } else {
                    let m = running.remove(0);
                    match fates.next() {
                        Some((true, later)) => lanes.step(now, Happened::ComesBack(m, now + at(later))),
                        _ => {
                            ended += 1;
                            lanes.step(now, Happened::Ended(m))
                        }
                    }
                };
            }
            prop_assert_eq!(ended, count);
        }
    }
}

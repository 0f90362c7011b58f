//! What is to be copied, cut into batches as they are begun: a state machine without clock or I/O.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter::Peekable;

use super::diff::NewMessage;
use super::roll::{Roll, Taken};
use crate::env::Tick;
use crate::ledger::BatchId;
use crate::model::FolderId;

/// Bounds of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchBounds {
    /// Most messages.
    pub messages: usize,
    /// Most octets as listed, in bytes; a larger message goes alone.
    pub bytes: u64,
}

/// What a message of unknown size is taken for, in bytes.
const UNKNOWN_SIZE: u64 = 64 << 10;

/// Batches that wait to be tried again, at most, before nothing new is begun.
const WAITING: usize = 64;

/// The size to reserve for a message, in bytes.
pub(super) fn expected_size(size: Option<u64>) -> u64 {
    size.unwrap_or(UNKNOWN_SIZE)
}

/// A batch to do.
#[derive(Debug)]
pub(super) struct Work {
    /// Its folder.
    pub folder: FolderId,
    /// Its messages.
    pub messages: Vec<NewMessage>,
    /// `Some`: they are stored again under this intent, which is still open: an earlier attempt's outcome is unknown.
    pub batch: Option<BatchId>,
    /// Failures so far, throttles apart: a server that says "later" is working.
    pub attempt: u32,
    /// Times the server said "later".
    pub throttles: u32,
    /// Not before.
    pub not_before: Tick,
}

impl Work {
    /// A batch that was not tried yet.
    pub(super) fn new(folder: FolderId, messages: Vec<NewMessage>, batch: Option<BatchId>) -> Work {
        Work { folder, messages, batch, attempt: 0, throttles: 0, not_before: Tick::ZERO }
    }

    fn bytes(&self) -> u64 {
        self.messages.iter().fold(0, |sum, m| sum.saturating_add(expected_size(m.size)))
    }
}

/// Everything to copy: what is tried again, and what is still to be cut, folder by folder.
#[derive(Debug)]
pub(super) struct Queue {
    bounds: BatchBounds,
    again: VecDeque<Work>,
    folders: VecDeque<(FolderId, Peekable<Taken>)>,
}

impl Queue {
    /// Nothing to do yet.
    pub(super) fn new(bounds: BatchBounds) -> Queue {
        Queue { bounds, again: VecDeque::new(), folders: VecDeque::new() }
    }

    /// Adds a folder's new messages, after the others. Those that `open` names are stored again, each under its own
    /// intent, before anything new.
    pub(super) fn folder(&mut self, folder: FolderId, new: Roll, open: &BTreeMap<u64, BatchId>) {
        let mut rest = new;
        if !open.is_empty() {
            let mut fresh = Roll::default();
            for message in rest {
                match open.get(&message.number) {
                    Some(batch) => self.put(Work::new(folder, vec![message], Some(*batch))),
                    None => fresh.push(&message),
                }
            }
            rest = fresh;
        }
        if !rest.is_empty() {
            self.folders.push_back((folder, rest.into_iter().peekable()));
        }
    }

    /// Adds a batch that is to be tried (again), when its time has come.
    pub(super) fn put(&mut self, work: Work) {
        self.again.push_back(work);
    }

    /// Gives a batch back that was not begun.
    pub(super) fn put_back(&mut self, work: Work) {
        self.again.push_front(work);
    }

    /// Lets go of everything of a folder that has not begun.
    pub(super) fn forget(&mut self, folder: FolderId) {
        self.again.retain(|work| work.folder != folder);
        self.folders.retain(|(of, _)| *of != folder);
    }

    /// The folders of which something is left.
    pub(super) fn left(&self) -> BTreeSet<FolderId> {
        self.again.iter().map(|work| work.folder).chain(self.folders.iter().map(|(of, _)| *of)).collect()
    }

    /// Nothing left?
    pub(super) fn is_empty(&self) -> bool {
        self.again.is_empty() && self.folders.is_empty()
    }

    /// The batch to begin next: one whose wait is over, else a new one, else the one that waits least. `ahead`: it will
    /// have to wait for its store, so that only one of usual size is given. A new one holds at most `share` bytes, this
    /// mailbox's part of the memory just now, or one message.
    pub(super) fn take(&mut self, now: Tick, ahead: bool, share: u64) -> Option<Work> {
        let first = self.again.iter().enumerate().min_by_key(|(i, w)| (w.not_before, *i));
        let first = first.map(|(i, w)| (i, w.not_before, w.bytes()));
        let due = first.is_some_and(|(_, not_before, _)| not_before <= now);
        if (due || self.folders.is_empty() || self.again.len() >= WAITING)
            && let Some((i, _, bytes)) = first
        {
            let fits = !ahead || (due && bytes <= self.bounds.bytes);
            return if fits { self.again.remove(i) } else { None };
        }
        let (folder, new) = self.folders.front_mut()?;
        if ahead && new.peek().is_some_and(|m| expected_size(m.size) > self.bounds.bytes) {
            return None;
        }
        let bounds = BatchBounds { bytes: self.bounds.bytes.min(share), ..self.bounds };
        let work = Work::new(*folder, cut(new, bounds), None);
        if new.peek().is_none() {
            self.folders.pop_front();
        }
        Some(work)
    }
}

/// Cuts the next batch off: at least one message, if there is one.
fn cut<I: Iterator<Item = NewMessage>>(new: &mut Peekable<I>, bounds: BatchBounds) -> Vec<NewMessage> {
    let mut batch = Vec::new();
    let mut bytes = 0u64;
    let fits = |m: &NewMessage, count: usize, bytes: u64| {
        let more = bytes.saturating_add(expected_size(m.size));
        count == 0 || (count < bounds.messages && more <= bounds.bytes)
    };
    while let Some(message) = new.next_if(|m| fits(m, batch.len(), bytes)) {
        bytes = bytes.saturating_add(expected_size(message.size));
        batch.push(message);
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Flags, SourceId};
    use proptest::prelude::*;
    use std::time::Duration;

    fn message(number: u64, size: u64) -> NewMessage {
        NewMessage {
            number,
            id: SourceId::Number(number),
            size: Some(size),
            received: None,
            flags: Flags::default(),
            object: 0,
            from: number,
        }
    }

    fn queue(sizes: &[u64], bounds: BatchBounds) -> Queue {
        let mut queue = Queue::new(bounds);
        let new = sizes.iter().enumerate().map(|(n, size)| message(n as u64 + 1, *size)).collect();
        queue.folder(FolderId(1), new, &BTreeMap::new());
        queue
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_reordered_and_no_batch_is_too_large(
            sizes in prop::collection::vec(0u64..500, 0..60), messages in 1usize..9, bytes in 1u64..900,
        ) {
            let mut queue = queue(&sizes, BatchBounds { messages, bytes });
            let mut all = Vec::new();
            while let Some(work) = queue.take(Tick::ZERO, false, u64::MAX) {
                let b: Vec<u64> = work.messages.iter().filter_map(|m| m.size).collect();
                prop_assert!(!b.is_empty() && b.len() <= messages);
                prop_assert!(b.len() == 1 || b.iter().sum::<u64>() <= bytes);
                all.extend(b);
            }
            prop_assert_eq!(all, sizes);
            prop_assert!(queue.is_empty());
        }
    }

    #[test]
    fn batches_are_as_large_as_the_share_of_the_moment_and_hold_one_message_at_least() {
        let mut queue = queue(&[30; 7], BatchBounds { messages: 3, bytes: 100 });
        let mut next = |share| queue.take(Tick::ZERO, true, share).map(|work| work.messages.len());
        assert_eq!([next(60), next(10), next(u64::MAX), next(60)], [Some(2), Some(1), Some(3), Some(1)]);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_is_due_goes_first_and_what_waits_goes_last() {
        let mut queue = queue(&[1, 1], BatchBounds { messages: 1, bytes: 10 });
        let later = Tick::ZERO + Duration::from_secs(5);
        queue.put(Work { not_before: later, ..Work::new(FolderId(1), vec![message(8, 1)], None) });
        queue.put(Work::new(FolderId(1), vec![message(9, 1)], Some(BatchId(3))));
        let order: Vec<u64> = std::iter::from_fn(|| queue.take(Tick::ZERO, false, u64::MAX))
            .map(|w| w.messages[0].number)
            .collect();
        assert_eq!(order, [9, 1, 2, 8]);
    }

    #[test]
    fn only_batches_of_usual_size_that_need_not_wait_are_begun_ahead() {
        let mut queue = queue(&[1, 99], BatchBounds { messages: 1, bytes: 10 });
        assert_eq!(queue.take(Tick::ZERO, true, u64::MAX).map(|w| w.messages[0].number), Some(1));
        assert!(queue.take(Tick::ZERO, true, u64::MAX).is_none());
        assert_eq!(queue.take(Tick::ZERO, false, u64::MAX).map(|w| w.messages[0].number), Some(2));
        let later = Tick::ZERO + Duration::from_secs(5);
        queue.put(Work { not_before: later, ..Work::new(FolderId(1), vec![message(8, 1)], None) });
        assert!(queue.take(Tick::ZERO, true, u64::MAX).is_none());
        assert!(queue.take(Tick::ZERO, false, u64::MAX).is_some() && queue.is_empty());
    }
}

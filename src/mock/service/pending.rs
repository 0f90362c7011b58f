//! Requests that were read and are acted on later, or never.

use std::collections::{BTreeMap, BTreeSet};

/// Work still to be done, in the order in which it came.
#[derive(Debug)]
pub(in crate::mock) struct Pending<W> {
    works: BTreeMap<u64, Deferred<W>>,
    /// Those whose answer nobody waits for any more: when each is due, and its number. Every request asks for these, and
    /// thousands may be waited for.
    abandoned: BTreeSet<(i64, u64)>,
    last: u64,
}

#[derive(Debug)]
struct Deferred<W> {
    due: i64,
    work: W,
}

impl<W> Default for Pending<W> {
    fn default() -> Self {
        Pending { works: BTreeMap::new(), abandoned: BTreeSet::new(), last: 0 }
    }
}

impl<W> Pending<W> {
    /// Keeps work for later and gives its number.
    pub(in crate::mock) fn defer(&mut self, work: W, due: i64, abandoned: bool) -> u64 {
        self.last += 1;
        self.works.insert(self.last, Deferred { due, work });
        if abandoned {
            self.abandoned.insert((due, self.last));
        }
        self.last
    }

    /// Work to be done now; `None` if it was done or dropped meanwhile.
    pub(in crate::mock) fn take(&mut self, number: u64) -> Option<W> {
        let deferred = self.works.remove(&number)?;
        self.abandoned.remove(&(deferred.due, number));
        Some(deferred.work)
    }

    /// Nobody waits for this work's answer any more: it is done when its time has come, or, without `commit`, never.
    pub(in crate::mock) fn abandon(&mut self, number: u64, commit: bool) {
        if !commit {
            self.take(number);
        } else if let Some(deferred) = self.works.get(&number) {
            self.abandoned.insert((deferred.due, number));
        }
    }

    /// The abandoned work whose time has come: when that was, and its number, in the order of its time.
    pub(in crate::mock) fn due(&self, now: i64) -> Vec<(i64, u64)> {
        self.abandoned.range(..=(now, u64::MAX)).copied().collect()
    }

    /// Makes everything due. How much that is.
    pub(in crate::mock) fn hasten(&mut self, now: i64) -> usize {
        self.abandoned.clear();
        for (number, deferred) in &mut self.works {
            deferred.due = deferred.due.min(now);
            self.abandoned.insert((deferred.due, *number));
        }
        self.works.len()
    }

    /// Forgets everything. How much that was.
    pub(in crate::mock) fn forget(&mut self) -> usize {
        self.abandoned.clear();
        std::mem::take(&mut self.works).len()
    }

    pub(in crate::mock) fn len(&self) -> usize {
        self.works.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_abandoned_work_comes_due_in_the_order_of_its_time() {
        let mut pending = Pending::default();
        let waited = pending.defer("waited for", 1, false);
        let late = pending.defer("late", 9, true);
        let left = pending.defer("left", 5, false);
        let dropped = pending.defer("dropped", 5, false);
        pending.abandon(left, true);
        pending.abandon(dropped, false);
        assert!(pending.due(4).is_empty());
        assert_eq!(pending.due(9), [(5, left), (9, late)]);
        assert_eq!(
            (pending.take(left), pending.take(left), pending.take(dropped)),
            (Some("left"), None, None)
        );
        assert_eq!(pending.due(9), [(9, late)]);
        assert_eq!((pending.hasten(3), pending.due(3)), (2, vec![(1, waited), (3, late)]));
        assert_eq!((pending.forget(), pending.len(), pending.due(99)), (2, 0, vec![]));
    }
}

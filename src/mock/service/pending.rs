//! Requests that were read and are acted on later, or never.

use std::collections::BTreeMap;

/// Work still to be done, in the order in which it came.
#[derive(Debug)]
pub(in crate::mock) struct Pending<W> {
    works: BTreeMap<u64, Deferred<W>>,
    last: u64,
}

#[derive(Debug)]
struct Deferred<W> {
    due: i64,
    /// Nobody waits for the answer any more.
    abandoned: bool,
    work: W,
}

impl<W> Default for Pending<W> {
    fn default() -> Self {
        Pending { works: BTreeMap::new(), last: 0 }
    }
}

impl<W> Pending<W> {
    /// Keeps work for later and gives its number.
    pub(in crate::mock) fn defer(&mut self, work: W, due: i64, abandoned: bool) -> u64 {
        self.last += 1;
        self.works.insert(self.last, Deferred { due, abandoned, work });
        self.last
    }

    /// Work to be done now; `None` if it was done or dropped meanwhile.
    pub(in crate::mock) fn take(&mut self, number: u64) -> Option<W> {
        self.works.remove(&number).map(|deferred| deferred.work)
    }

    /// Nobody waits for this work's answer any more: it is done when its time has come, or, without `commit`, never.
    pub(in crate::mock) fn abandon(&mut self, number: u64, commit: bool) {
        if !commit {
            self.works.remove(&number);
        } else if let Some(deferred) = self.works.get_mut(&number) {
            deferred.abandoned = true;
        }
    }

    /// The abandoned work whose time has come: when that was, and its number, in the order of its time.
    pub(in crate::mock) fn due(&self, now: i64) -> Vec<(i64, u64)> {
        let mut due: Vec<(i64, u64)> = self
            .works
            .iter()
            .filter(|(_, deferred)| deferred.abandoned && deferred.due <= now)
            .map(|(number, deferred)| (deferred.due, *number))
            .collect();
        due.sort_unstable();
        due
    }

    /// Makes everything due. How much that is.
    pub(in crate::mock) fn hasten(&mut self, now: i64) -> usize {
        for deferred in self.works.values_mut() {
            deferred.abandoned = true;
            deferred.due = deferred.due.min(now);
        }
        self.works.len()
    }

    /// Forgets everything. How much that was.
    pub(in crate::mock) fn forget(&mut self) -> usize {
        std::mem::take(&mut self.works).len()
    }

    pub(in crate::mock) fn len(&self) -> usize {
        self.works.len()
    }
}

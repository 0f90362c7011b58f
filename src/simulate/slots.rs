//! The open mailboxes of a night, by ordinal: looked up with every event, millions of times a second.

use super::mailbox::Open;
use crate::env::Tick;
use crate::limit::Spent;

/// A place for each mailbox; most are empty.
#[derive(Debug)]
pub(super) struct Slots {
    all: Vec<Option<Box<Open>>>,
    taken: usize,
}

impl Slots {
    pub(super) fn new(mailboxes: usize) -> Slots {
        Slots { all: (0..mailboxes).map(|_| None).collect(), taken: 0 }
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.taken
    }

    pub(super) fn get(&self, mailbox: usize) -> Option<&Open> {
        self.all.get(mailbox)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, mailbox: usize) -> Option<&mut Open> {
        self.all.get_mut(mailbox)?.as_deref_mut()
    }

    pub(super) fn insert(&mut self, mailbox: usize, open: Open) {
        if let Some(slot) = self.all.get_mut(mailbox) {
            self.taken += usize::from(slot.is_none());
            *slot = Some(Box::new(open));
        }
    }

    pub(super) fn remove(&mut self, mailbox: usize) -> Option<Open> {
        let open = self.all.get_mut(mailbox)?.take()?;
        self.taken -= 1;
        Some(*open)
    }

    /// What all that are open spent so far.
    pub(super) fn spent(&mut self, now: Tick) -> Spent {
        let mut sum = Spent::default();
        self.all.iter_mut().flatten().for_each(|open| sum += open.lane.spent(now));
        sum
    }

    /// By ordinal.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Open)> {
        self.all.iter().enumerate().filter_map(|(m, open)| Some((m, open.as_deref()?)))
    }
}

//! What is known of a folder that is written to: its numbers, its flags, its lane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::flags::Kept;
use crate::imap::{Examined, FolderStatus};
use crate::model::{Error, Kind, Result, Scope};

/// UIDs bound by looking that are remembered, so that none is bound twice.
const REMEMBERED: usize = 20_000;

/// A folder's numbers at some time: whatever comes later has a UID of `next` or above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Numbers {
    /// UIDVALIDITY; 0: not known.
    pub validity: u32,
    /// UIDNEXT; 0: not known.
    pub next: u32,
}

impl Numbers {
    /// As an anchor; none if they are not known.
    pub fn anchor(&self) -> Option<String> {
        (self.validity > 0 && self.next > 0).then(|| format!("{}.{}", self.validity, self.next))
    }

    /// Reads [`Numbers::anchor`].
    pub fn parse(anchor: &str) -> Result<Numbers> {
        let numbers = anchor.split_once('.').and_then(|(validity, next)| {
            let numbers = Numbers { validity: validity.parse().ok()?, next: next.parse().ok()? };
            numbers.anchor().filter(|same| same == anchor).map(|_| numbers)
        });
        numbers.ok_or_else(|| Error::new(Kind::Internal, Scope::Folder, "an anchor is none of this target's"))
    }

    /// A folder's mark: these numbers, how many messages it holds, and HIGHESTMODSEQ.
    pub fn mark(&self, messages: u32, modseq: u64) -> Option<String> {
        Some(format!("{}.{messages}.{modseq}", self.anchor()?))
    }

    /// Reads [`Numbers::anchor`] or the beginning of [`Numbers::mark`].
    pub fn since(anchor: &str) -> Result<Numbers> {
        let ends = anchor.match_indices('.').nth(1).map_or(anchor.len(), |(at, _)| at);
        Numbers::parse(anchor.get(..ends).unwrap_or_default())
    }
}

/// A copy's id: UIDVALIDITY and UID.
pub(super) fn copy_id(validity: u32, uid: u32) -> String {
    format!("{validity}.{uid}")
}

/// How the ids of a folder's copies begin: a UID follows.
pub(super) fn ids_of(validity: u32) -> String {
    format!("{validity}.")
}

/// Reads [`copy_id`]; `None`: it is none of ours.
pub(super) fn parse_id(id: &str) -> Option<(u32, u32)> {
    let (validity, uid) = id.split_once('.')?;
    let parsed = (validity.parse().ok()?, uid.parse().ok()?);
    (copy_id(parsed.0, parsed.1) == id).then_some(parsed)
}

/// One folder.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// Held while messages are stored whose UIDs the server does not tell.
    pub lane: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    numbers: Numbers,
    kept: Option<Arc<Kept>>,
    /// APPENDLIMIT, if it was told whether there is one.
    append_limit: Option<Option<u64>>,
    bound: BTreeSet<u32>,
}

impl Shelf {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its numbers, as far as they are known.
    pub fn numbers(&self) -> Numbers {
        self.state().numbers
    }

    /// What it keeps of flags, if that is known.
    pub fn kept(&self) -> Option<Arc<Kept>> {
        self.state().kept.clone()
    }

    /// The largest message it takes of its own, in bytes; `None`: it was not asked, `Some(None)`: it tells none.
    pub fn append_limit(&self) -> Option<Option<u64>> {
        self.state().append_limit
    }

    /// Learns from STATUS.
    pub fn learn_status(&self, status: &FolderStatus) {
        self.state().append_limit = Some(status.append_limit);
        if let (Some(validity), Some(next)) = (status.uid_validity, status.uid_next) {
            self.raise(validity, next);
        }
    }

    /// Learns from SELECT.
    pub fn learn_examined(&self, told: &Examined) {
        if told.uid_validity > 0 && told.uid_next > 0 {
            self.raise(told.uid_validity, told.uid_next);
        }
        self.state().kept = Some(Arc::new(Kept::of(told.permanent_flags.as_deref())));
    }

    /// A message of this UID is there: what comes next has a higher one.
    pub fn stored(&self, validity: u32, uid: u32) {
        self.raise(validity, uid.saturating_add(1));
    }

    fn raise(&self, validity: u32, next: u32) {
        let mut state = self.state();
        if state.numbers.validity == validity {
            state.numbers.next = state.numbers.next.max(next);
        } else {
            state.numbers = Numbers { validity, next };
            state.bound.clear();
        }
    }

    /// Was this UID given to a message already?
    pub fn is_bound(&self, uid: u32) -> bool {
        self.state().bound.contains(&uid)
    }

    /// Gives this UID to a message.
    pub fn bind(&self, uid: u32) {
        let mut state = self.state();
        state.bound.insert(uid);
        if state.bound.len() > REMEMBERED {
            state.bound.pop_first();
        }
    }
}

/// The folders written to, by their names.
#[derive(Debug, Default)]
pub(super) struct Shelves(Mutex<BTreeMap<String, Arc<Shelf>>>);

impl Shelves {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Shelf>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder of this name.
    pub fn get(&self, folder: &str) -> Arc<Shelf> {
        self.all().entry(folder.to_owned()).or_default().clone()
    }

    /// What was known of it does not hold any more.
    pub fn forget(&self, concerned: impl Fn(&str) -> bool) {
        self.all().retain(|name, _| !concerned(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_and_ids_read_back_and_nothing_else_does() {
        let numbers = Numbers { validity: 7, next: 120 };
        assert_eq!(Numbers::parse(&numbers.anchor().expect("known")), Ok(numbers));
        assert_eq!(Numbers::since(&numbers.anchor().expect("known")), Ok(numbers));
        assert_eq!(Numbers::since(&numbers.mark(12, 99).expect("known")), Ok(numbers));
        assert_eq!(parse_id(&copy_id(7, 119)), Some((7, 119)));
        for text in ["", "7", "7.", ".7", "7.x", "07.1", "7.+1", "nobody", "0.0", "7.4294967296"] {
            assert!(Numbers::parse(text).is_err(), "{text}");
        }
        assert_eq!(parse_id("7.+1"), None);
    }

    #[test]
    fn numbers_only_rise_until_the_folder_is_numbered_anew() {
        let shelf = Shelf::default();
        shelf.stored(7, 10);
        shelf.stored(7, 3);
        assert_eq!(shelf.numbers(), Numbers { validity: 7, next: 11 });
        shelf.bind(10);
        assert!(shelf.is_bound(10));
        shelf.stored(8, 3);
        assert_eq!(shelf.numbers(), Numbers { validity: 8, next: 4 });
        assert!(!shelf.is_bound(10));
    }
}

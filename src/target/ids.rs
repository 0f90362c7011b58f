//! The ids of copies, many at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::RunTree;

/// A set of copies' ids. Ids that end in a number (`UIDVALIDITY.UID`) are kept as runs of numbers, so that half a
/// million of a folder take a few bytes; any others are kept as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyIds {
    numbered: BTreeMap<String, RunTree>,
    others: BTreeSet<String>,
}

impl CopyIds {
    /// Nothing in it?
    pub fn is_empty(&self) -> bool {
        self.others.is_empty() && self.numbered.values().all(RunTree::is_empty)
    }

    /// Is this id in it?
    pub fn contains(&self, id: &str) -> bool {
        match split(id) {
            Some((prefix, number)) => self.numbers(prefix).is_some_and(|runs| runs.contains(number)),
            None => self.others.contains(id),
        }
    }

    /// The numbers at the end of the ids that begin like this.
    pub fn numbers(&self, prefix: &str) -> Option<&RunTree> {
        self.numbered.get(prefix)
    }

    /// Adds an id. `false`: it was there.
    pub fn insert(&mut self, id: &str) -> bool {
        let Some((prefix, number)) = split(id) else { return self.others.insert(id.to_owned()) };
        match self.numbered.get_mut(prefix) {
            Some(runs) => runs.insert(number),
            None => self.numbered.entry(prefix.to_owned()).or_default().insert(number),
        }
    }

    /// Takes an id out. `false`: it was not there.
    pub fn remove(&mut self, id: &str) -> bool {
        match split(id) {
            Some((prefix, number)) => self.numbered.get_mut(prefix).is_some_and(|runs| runs.remove(number)),
            None => self.others.remove(id),
        }
    }
}

impl<T: AsRef<str>> FromIterator<T> for CopyIds {
    fn from_iter<I: IntoIterator<Item = T>>(ids: I) -> CopyIds {
        let mut set = CopyIds::default();
        set.extend(ids);
        set
    }
}

impl<T: AsRef<str>> Extend<T> for CopyIds {
    fn extend<I: IntoIterator<Item = T>>(&mut self, ids: I) {
        for id in ids {
            self.insert(id.as_ref());
        }
    }
}

/// An id as a beginning and the number after it, if it is written from them in just one way.
fn split(id: &str) -> Option<(&str, u64)> {
    let digits = id.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (prefix, number) = id.split_at(id.len() - digits);
    let plain = number == "0" || !number.starts_with('0');
    number.parse().ok().filter(|_| plain).map(|number| (prefix, number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_set_of_strings_whatever_they_are(
            ops in prop::collection::vec((any::<bool>(), "(7|8|x)?[.]?[0-9]{0,3}|[0-9]{18,22}"), 0..80),
        ) {
            let mut ids = CopyIds::default();
            let mut plain = BTreeSet::new();
            for (add, id) in &ops {
                let changed = if *add { (ids.insert(id), plain.insert(id)) } else { (ids.remove(id), plain.remove(id)) };
                prop_assert_eq!(changed.0, changed.1);
            }
            prop_assert_eq!(ids.is_empty(), plain.is_empty());
            for (_, id) in &ops {
                prop_assert_eq!(ids.contains(id), plain.contains(id), "{}", id);
            }
        }
    }

    #[test]
    fn ids_of_a_numbered_folder_take_one_run() {
        let ids: CopyIds = (1..=100_000u32).rev().map(|uid| format!("17.{uid}")).collect();
        assert!(ids.others.is_empty() && ids.numbered.len() == 1);
        let mut one = RunTree::default();
        for uid in 1..=100_000 {
            one.insert(uid);
        }
        assert_eq!(ids.numbers("17."), Some(&one));
        assert!(ids.numbers("18.").is_none());
    }
}

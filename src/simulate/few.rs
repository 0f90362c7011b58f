//! A map of a few: what one mailbox has under way is found faster one after the other than in a tree.

/// Keys come in ascending order and are never given twice.
#[derive(Debug)]
pub(super) struct Few<K, V>(Vec<(K, V)>);

impl<K: Copy + Eq, V> Few<K, V> {
    pub(super) fn new() -> Few<K, V> {
        Few(Vec::new())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what was not there.
    pub(super) fn add(&mut self, key: K, value: V) {
        self.0.push((key, value));
    }

    pub(super) fn get(&self, key: K) -> Option<&V> {
        self.0.iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.0.iter_mut().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        let at = self.0.iter().position(|(k, _)| *k == key)?;
        Some(self.0.remove(at).1)
    }

    /// In the order in which they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.0.iter()
    }
}

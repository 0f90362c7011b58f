//! What a server keeps of the flags given with APPEND. Some forget one that they keep when it is set afterwards.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::flags::{Wire, is_set};
use crate::model::Flags;

/// What was found out, by flag. Of keywords one stands for all: they differ too much to look at each.
#[derive(Debug, Default)]
pub(super) struct Keeps(Mutex<BTreeMap<String, bool>>);

const ANY_KEYWORD: &str = "";

fn kind(flag: &str) -> &str {
    if flag.starts_with('\\') { flag } else { ANY_KEYWORD }
}

impl Keeps {
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Was none of its kind looked at yet, for one of these flags?
    pub fn is_new(&self, sent: &Wire) -> bool {
        let known = self.known();
        sent.flags.iter().any(|flag| !known.contains_key(kind(flag)))
    }

    /// Is one of these flags forgotten?
    pub fn forgets(&self, sent: &Wire) -> bool {
        let known = self.known();
        sent.flags.iter().any(|flag| known.get(kind(flag)) == Some(&false))
    }

    /// A message was given these flags and has those it was `seen` with. What was forgotten once is not relied on.
    pub fn learn(&self, sent: &Wire, seen: &Flags) {
        let mut known = self.known();
        for flag in &sent.flags {
            *known.entry(kind(flag).to_owned()).or_insert(true) &= is_set(flag, seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(flags: &[&str]) -> Wire {
        Wire { flags: flags.iter().map(|f| (*f).to_owned()).collect(), ..Wire::default() }
    }

    #[test]
    fn a_flag_is_looked_at_once_and_what_was_forgotten_is_not_relied_on() {
        let keeps = Keeps::default();
        assert!(keeps.is_new(&wire(&["\\Seen", "work"])));
        keeps.learn(&wire(&["\\Seen", "work"]), &Flags::decode("S Work"));
        assert!(!keeps.is_new(&wire(&["\\Seen", "other"])) && keeps.is_new(&wire(&["\\Flagged"])));
        assert!(!keeps.forgets(&wire(&["\\Seen", "\\Flagged"])));
        keeps.learn(&wire(&["\\Flagged"]), &Flags::default());
        assert!(keeps.forgets(&wire(&["\\Seen", "\\Flagged"])));
        assert!(!keeps.forgets(&wire(&["\\Seen"])) && !keeps.is_new(&wire(&[])));
    }
}

//! Ids as the service makes them: long, random-looking, told apart by case alone.

use serde::{Deserialize, Serialize};

use crate::mock::service::dice::Dice;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Draws ids. One seed, one sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Ids(Dice);

impl Ids {
    pub(super) fn new(seed: u64) -> Ids {
        Ids(Dice::new(seed))
    }

    /// `length` characters of the base64 alphabet.
    pub(super) fn text(&mut self, length: usize) -> String {
        self.0.text(ALPHABET, length)
    }

    /// An item's id: 152 characters, another one after every move.
    pub(super) fn item(&mut self) -> String {
        format!("AAMkAG{}AAA=", self.text(142))
    }

    /// A folder's id: 120 characters, constant.
    pub(super) fn folder(&mut self) -> String {
        format!("AQMkAG{}AAAA", self.text(110))
    }

    /// A GUID, version 4.
    pub(super) fn guid(&mut self) -> String {
        self.0.guid()
    }
}

/// Could this be an id of the service? Else it is refused as malformed and not looked for.
pub(super) fn well_formed(id: &str) -> bool {
    id.len() >= 16
        && id.len().is_multiple_of(4)
        && id.len() <= 512
        && id.trim_end_matches('=').bytes().all(|b| ALPHABET.contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_long_and_well_formed() {
        let mut ids = Ids::new(1);
        let (item, folder) = (ids.item(), ids.folder());
        assert_eq!((item.len(), folder.len(), ids.guid().len()), (152, 120, 36));
        assert!(well_formed(&item) && well_formed(&folder));
        for bad in ["", "abc", "AAMkAG-_AAAAAAAAAAAA", "AAMkAGAAAAAAAAAAAAAAA"] {
            assert!(!well_formed(bad), "{bad}");
        }
    }
}

//! Ids as the service makes them: long, random-looking, told apart by case alone.

use serde::{Deserialize, Serialize};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Draws ids. One seed, one sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ids {
    state: u64,
}

impl Ids {
    pub(super) fn new(seed: u64) -> Ids {
        Ids { state: seed }
    }

    /// A random number (splitmix64: every seed is a good one, and the state is one number on disk).
    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A random number below `bound`; 0 if that is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// `length` characters of the base64 alphabet.
    pub(super) fn text(&mut self, length: usize) -> String {
        let mut out = String::with_capacity(length);
        let (mut bits, mut left) = (0u64, 0);
        while out.len() < length {
            if left == 0 {
                (bits, left) = (self.next(), 10);
            }
            out.push(char::from(ALPHABET[usize::try_from(bits & 63).unwrap_or(0)]));
            bits >>= 6;
            left -= 1;
        }
        out
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
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | (b >> 48) & 0x3fff,
            b & 0xffff_ffff_ffff
        )
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

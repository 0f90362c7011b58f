//! Ids as the service makes them: long, random-looking, told apart by case alone.

use serde::{Deserialize, Serialize};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

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

    /// `length` characters of the URL-safe alphabet.
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

    /// A classic message id: 152 characters, different after every move.
    pub(super) fn message(&mut self) -> String {
        format!("AAMkAG{}AAA=", self.text(142))
    }

    /// An immutable message id: 72 characters.
    pub(super) fn immutable(&mut self) -> String {
        format!("AAkALg{}", self.text(66))
    }

    /// A folder's id: 120 characters, constant.
    pub(super) fn folder(&mut self) -> String {
        format!("AQMkAG{}AAAA", self.text(110))
    }

    /// An attachment's id: begins like its message's.
    pub(super) fn attachment(&mut self) -> String {
        format!("AAMkAG{}AAABEgAQA{}=", self.text(120), self.text(30))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence_and_another_seed_another() {
        assert_eq!(Ids::new(7).message(), Ids::new(7).message());
        assert_ne!(Ids::new(7).message(), Ids::new(8).message());
    }

    #[test]
    fn ids_have_the_lengths_of_the_service() {
        let mut ids = Ids::new(1);
        assert_eq!(
            (ids.message().len(), ids.immutable().len(), ids.folder().len(), ids.guid().len()),
            (152, 72, 120, 36)
        );
    }
}

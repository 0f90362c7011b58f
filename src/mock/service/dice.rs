//! Random numbers, letters and GUIDs of the mocks of services. One seed, one sequence.

use serde::{Deserialize, Serialize};

/// Draws (splitmix64: every seed is a good one, and the state is one number on disk).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::mock) struct Dice {
    state: u64,
}

impl Dice {
    pub(in crate::mock) fn new(seed: u64) -> Dice {
        Dice { state: seed }
    }

    /// As they stand: dice made from this draw what these draw next.
    pub(in crate::mock) fn state(&self) -> u64 {
        self.state
    }

    /// A random number.
    pub(in crate::mock) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A random number below `bound`; 0 if that is 0.
    pub(in crate::mock) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// `length` characters of an alphabet.
    pub(in crate::mock) fn text(&mut self, alphabet: &[u8; 64], length: usize) -> String {
        let mut out = String::with_capacity(length);
        let (mut bits, mut left) = (0u64, 0);
        while out.len() < length {
            if left == 0 {
                (bits, left) = (self.next(), 10);
            }
            out.push(char::from(alphabet[usize::try_from(bits & 63).unwrap_or(0)]));
            bits >>= 6;
            left -= 1;
        }
        out
    }

    /// A GUID, version 4.
    pub(in crate::mock) fn guid(&mut self) -> String {
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
        assert_eq!(Dice::new(7).guid(), Dice::new(7).guid());
        assert_ne!(Dice::new(7).guid(), Dice::new(8).guid());
        assert_eq!(Dice::new(7).below(0), 0);
    }
}

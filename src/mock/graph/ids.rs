//! Ids as the service makes them: long, random-looking, told apart by case alone.

use serde::{Deserialize, Serialize};

use crate::mock::service::dice::Dice;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Draws ids. One seed, one sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Ids(Dice);

impl Ids {
    pub(super) fn new(seed: u64) -> Ids {
        Ids(Dice::new(seed))
    }

    /// `length` characters of the URL-safe alphabet.
    pub(super) fn text(&mut self, length: usize) -> String {
        self.0.text(ALPHABET, length)
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
        self.0.guid()
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

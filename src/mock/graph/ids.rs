//! Ids as the service makes them: long, random-looking, told apart by case alone.

use std::hash::{DefaultHasher, Hasher};
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::mock::service::dice::Dice;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A kind of id: how its text is drawn.
pub(super) trait Kind {
    fn draw(ids: &mut Ids) -> String;
}

/// A classic message id: 152 characters, different after every move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OfMessage {}
/// An immutable message id: 72 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Immutable {}
/// A folder's id: 120 characters, constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OfFolder {}
/// An attachment's id: begins like its message's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OfAttachment {}
/// A conversation's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OfConversation {}

impl Kind for OfMessage {
    fn draw(ids: &mut Ids) -> String {
        format!("AAMkAG{}AAA=", ids.text(142))
    }
}

impl Kind for Immutable {
    fn draw(ids: &mut Ids) -> String {
        format!("AAkALg{}", ids.text(66))
    }
}

impl Kind for OfFolder {
    fn draw(ids: &mut Ids) -> String {
        format!("AQMkAG{}AAAA", ids.text(110))
    }
}

impl Kind for OfAttachment {
    fn draw(ids: &mut Ids) -> String {
        format!("AAMkAG{}AAABEgAQA{}=", ids.text(120), ids.text(30))
    }
}

impl Kind for OfConversation {
    fn draw(ids: &mut Ids) -> String {
        format!("AAQkAG{}=", ids.text(60))
    }
}

/// An id that was given. Of one drawn by this process the dice are kept, not the text: a mock may hold millions.
pub(super) struct Id<K> {
    form: Form,
    kind: PhantomData<K>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// As the dice stood before it was drawn.
    Drawn(u64),
    Text(Box<str>),
}

impl<K: Kind> Id<K> {
    /// As clients know it.
    pub(super) fn text(&self) -> String {
        match &self.form {
            Form::Drawn(state) => K::draw(&mut Ids(Dice::new(*state))),
            Form::Text(text) => text.to_string(),
        }
    }

    /// Is this its text?
    pub(super) fn is(&self, text: &str) -> bool {
        match &self.form {
            Form::Drawn(_) => self.text() == text,
            Form::Text(own) => **own == *text,
        }
    }
}

/// By which an index finds an id; two ids may have the same.
pub(super) fn print(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Id<K> {
        Id { form: self.form.clone(), kind: PhantomData }
    }
}

impl<K: Kind> std::fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.text().fmt(f)
    }
}

impl<K: Kind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de, K> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Id<K>, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Id { form: Form::Text(text.into()), kind: PhantomData })
    }
}

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

    /// The next id of a kind.
    pub(super) fn draw<K: Kind>(&mut self) -> Id<K> {
        let form = Form::Drawn(self.0.state());
        drop(K::draw(self));
        Id { form, kind: PhantomData }
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
        let message = |seed| Ids::new(seed).draw::<OfMessage>().text();
        assert_eq!(message(7), message(7));
        assert_ne!(message(7), message(8));
    }

    #[test]
    fn an_id_is_told_the_same_each_time_and_after_it_was_saved() {
        let mut ids = Ids::new(3);
        let (first, second) = (ids.draw::<Immutable>(), ids.draw::<Immutable>());
        assert_ne!(first.text(), second.text());
        assert!(first.is(&first.text()) && !first.is(&second.text()));
        let saved = serde_json::to_string(&first).unwrap();
        let found: Id<Immutable> = serde_json::from_str(&saved).unwrap();
        assert_eq!(found.text(), first.text());
        assert!(found.is(&first.text()) && !found.is(&second.text()));
    }

    #[test]
    fn ids_have_the_lengths_of_the_service() {
        let mut ids = Ids::new(1);
        let (message, immutable) = (ids.draw::<OfMessage>().text(), ids.draw::<Immutable>().text());
        let folder = ids.draw::<OfFolder>().text();
        assert_eq!((message.len(), immutable.len(), folder.len(), ids.guid().len()), (152, 72, 120, 36));
    }
}

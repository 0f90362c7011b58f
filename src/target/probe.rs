//! What can be told of a target mailbox, and of our rights to it, before anything is moved: for `mailwave check`.
//!
//! Every finding is what the target said, or why it says nothing: nothing is guessed.

use crate::http::oauth::Claims;
use crate::model::{Error, Result};

/// One thing that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told<T> {
    /// The target says so.
    Yes(T),
    /// The target has no way to tell, or was not asked: why, and who knows.
    No(&'static str),
    /// It was asked, and this came back.
    Failed(Error),
}

impl<T> Told<T> {
    /// What was told.
    pub fn yes(&self) -> Option<&T> {
        match self {
            Told::Yes(told) => Some(told),
            Told::No(_) | Told::Failed(_) => None,
        }
    }

    /// Why nothing was told, in words.
    pub fn why(&self) -> Option<String> {
        match self {
            Told::Yes(_) => None,
            Told::No(why) => Some((*why).to_owned()),
            Told::Failed(error) => Some(error.to_string()),
        }
    }
}

/// How much room there is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// All there may be; `None`: there is no limit.
    pub limit: Option<u64>,
    /// What is taken, if that is told.
    pub used: Option<u64>,
    /// The room is shared with every other mailbox of the endpoint (one disk).
    pub shared: bool,
}

impl Room {
    /// Bytes that still fit; what is taken counts as nothing where it is not told. `None`: there is no limit.
    pub fn free(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_sub(self.used.unwrap_or(0)))
    }
}

/// What asking told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What the token we come with says of itself; `None`: no token is used.
    pub login: Option<Result<Claims>>,
    /// The mailbox can be opened.
    pub opened: Result<()>,
    /// What the server says it is, made safe to show.
    pub server: Option<String>,
    /// Folders of its mail that we see.
    pub folders: Told<u64>,
    /// Its room.
    pub room: Told<Room>,
    /// Largest message it takes, in bytes; `None`: not known before it can be opened.
    pub max_message_bytes: Option<u64>,
}

/// Why nothing more is told of a mailbox that was not opened.
pub(super) const CLOSED: &str = "the mailbox was not opened";

impl Probe {
    /// Of a mailbox that cannot be opened.
    pub fn closed(error: Error) -> Probe {
        Probe {
            login: None,
            opened: Err(error),
            server: None,
            folders: Told::No(CLOSED),
            room: Told::No(CLOSED),
            max_message_bytes: None,
        }
    }

    /// Of one that can, and of which nothing else is known.
    pub fn open(max_message_bytes: u64) -> Probe {
        let unasked = "this kind of target is not asked";
        Probe {
            login: None,
            opened: Ok(()),
            server: None,
            folders: Told::No(unasked),
            room: Told::No(unasked),
            max_message_bytes: Some(max_message_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_the_limit_leaves_and_never_less_than_nothing() {
        let room = |limit, used| Room { limit, used, shared: false }.free();
        assert_eq!(room(None, Some(5)), None);
        assert_eq!(room(Some(10), None), Some(10));
        assert_eq!(room(Some(10), Some(4)), Some(6));
        assert_eq!(room(Some(10), Some(40)), Some(0), "a quota that was lowered afterwards");
    }
}

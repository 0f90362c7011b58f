//! Messages in the order they were listed, a few bytes each: a folder may hold half a million.

use std::collections::{BTreeMap, VecDeque};

use super::diff::NewMessage;
use crate::model::{Flags, Listed, SourceId, Timestamp, put_varint, take_varint};

/// A piece of the roll is closed when it is this long, in bytes.
const PIECE: usize = 32 << 10;

/// Bits of the first byte of an entry.
const HAS_SIZE: u8 = 1;
const HAS_DATE: u8 = 2;
const HAS_NAME: u8 = 4;
const HAS_OBJECT: u8 = 8;
const HAS_HOLES: u8 = 16;

/// A sequence of messages: appended to, read from the beginning, and taken away from the beginning. About ten bytes a
/// numbered message; in pieces, so that it neither doubles while it grows nor keeps what was taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Roll {
    pieces: VecDeque<Vec<u8>>,
    /// What the newest piece was left at: entries tell the difference to the one before.
    last: Before,
    kinds: Vec<Flags>,
    kind_of: BTreeMap<Flags, u32>,
    len: u64,
    bytes: u64,
    named: bool,
}

/// Each piece begins with zeros.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    number: u64,
    seconds: i64,
}

impl Roll {
    /// Messages in it.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// None?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The sum of their sizes as listed, in bytes; unknown ones count nothing.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Does the source name any of them?
    pub fn is_named(&self) -> bool {
        self.named
    }

    /// Adds a line of a listing: without a number yet if the source names it.
    pub fn add(&mut self, listed: Listed) {
        let number = match listed.id {
            SourceId::Number(n) => n,
            SourceId::Name(_) => 0,
        };
        self.push(&NewMessage {
            number,
            from: number,
            id: listed.id,
            size: listed.size,
            received: listed.received,
            flags: listed.flags,
            object: listed.object,
        });
    }

    /// Adds a message.
    pub fn push(&mut self, message: &NewMessage) {
        let kind = match self.kind_of.get(&message.flags) {
            Some(kind) => *kind,
            None => {
                let kind = u32::try_from(self.kinds.len()).unwrap_or(u32::MAX);
                self.kinds.push(message.flags.clone());
                self.kind_of.insert(message.flags.clone(), kind);
                kind
            }
        };
        if self.pieces.back().is_none_or(|piece| piece.len() >= PIECE) {
            if let Some(full) = self.pieces.back_mut() {
                full.shrink_to_fit();
            }
            self.pieces.push_back(Vec::new());
            self.last = Before::default();
        }
        let Some(out) = self.pieces.back_mut() else { return };
        let name = match &message.id {
            SourceId::Name(name) => Some(name),
            SourceId::Number(_) => None,
        };
        let bits = [
            (message.size.is_some(), HAS_SIZE),
            (message.received.is_some(), HAS_DATE),
            (name.is_some(), HAS_NAME),
            (message.object != 0, HAS_OBJECT),
            (message.from != message.number, HAS_HOLES),
        ];
        out.push(bits.iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit));
        put_varint(out, u64::from(kind));
        put_varint(out, zigzag(message.number.wrapping_sub(self.last.number) as i64));
        if let Some(size) = message.size {
            put_varint(out, size);
        }
        if let Some(received) = message.received {
            put_varint(out, zigzag(received.seconds.wrapping_sub(self.last.seconds)));
            put_varint(out, zigzag(i64::from(received.zone)));
            self.last.seconds = received.seconds;
        }
        if let Some(name) = name {
            put_varint(out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
            self.named = true;
        }
        if message.object != 0 {
            out.extend_from_slice(&message.object.to_le_bytes());
        }
        if message.from != message.number {
            put_varint(out, zigzag(message.number.wrapping_sub(message.from) as i64));
        }
        self.last.number = message.number;
        self.len += 1;
        self.bytes = self.bytes.saturating_add(message.size.unwrap_or(0));
    }

    /// The same messages from the last to the first. A piece at a time: what was taken is let go of.
    pub fn reversed(mut self) -> Roll {
        let mut reversed = Roll::default();
        while let Some(piece) = self.pieces.pop_back() {
            let (mut rest, mut before, mut messages) = (piece.as_slice(), Before::default(), Vec::new());
            while let Some((message, used)) = decode(rest, &mut before, &self.kinds) {
                messages.push(message);
                rest = rest.get(used..).unwrap_or_default();
            }
            messages.iter().rev().for_each(|message| reversed.push(message));
        }
        reversed
    }

    /// Reads it from the beginning.
    pub fn iter(&self) -> Iter<'_> {
        Iter { roll: self, piece: 0, at: 0, before: Before::default() }
    }
}

impl FromIterator<Listed> for Roll {
    fn from_iter<T: IntoIterator<Item = Listed>>(listed: T) -> Roll {
        let mut roll = Roll::default();
        listed.into_iter().for_each(|l| roll.add(l));
        roll
    }
}

impl FromIterator<NewMessage> for Roll {
    fn from_iter<T: IntoIterator<Item = NewMessage>>(messages: T) -> Roll {
        let mut roll = Roll::default();
        messages.into_iter().for_each(|m| roll.push(&m));
        roll
    }
}

/// Reads a roll.
#[derive(Debug)]
pub(super) struct Iter<'a> {
    roll: &'a Roll,
    piece: usize,
    at: usize,
    before: Before,
}

impl Iterator for Iter<'_> {
    type Item = NewMessage;

    fn next(&mut self) -> Option<NewMessage> {
        loop {
            let rest = self.roll.pieces.get(self.piece)?.get(self.at..)?;
            if !rest.is_empty() {
                let (message, used) = decode(rest, &mut self.before, &self.roll.kinds)?;
                self.at += used;
                return Some(message);
            }
            (self.piece, self.at, self.before) = (self.piece + 1, 0, Before::default());
        }
    }
}

impl<'a> IntoIterator for &'a Roll {
    type Item = NewMessage;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Takes a roll apart from its beginning.
#[derive(Debug)]
pub(super) struct Taken {
    roll: Roll,
    at: usize,
    before: Before,
}

impl Iterator for Taken {
    type Item = NewMessage;

    fn next(&mut self) -> Option<NewMessage> {
        loop {
            let rest = self.roll.pieces.front()?.get(self.at..)?;
            if !rest.is_empty() {
                let (message, used) = decode(rest, &mut self.before, &self.roll.kinds)?;
                self.at += used;
                return Some(message);
            }
            self.roll.pieces.pop_front();
            (self.at, self.before) = (0, Before::default());
        }
    }
}

impl IntoIterator for Roll {
    type Item = NewMessage;
    type IntoIter = Taken;

    fn into_iter(mut self) -> Taken {
        self.kind_of = BTreeMap::new();
        Taken { roll: self, at: 0, before: Before::default() }
    }
}

/// Reads one entry; also how long it is, in bytes. `None` does not happen: the bytes are our own.
fn decode(entry: &[u8], before: &mut Before, kinds: &[Flags]) -> Option<(NewMessage, usize)> {
    let (bits, mut rest) = entry.split_first()?;
    let has = |bit: u8| bits & bit != 0;
    let kind = usize::try_from(take_varint(&mut rest)?).ok()?;
    let number = before.number.wrapping_add(unzigzag(take_varint(&mut rest)?) as u64);
    let size = if has(HAS_SIZE) { Some(take_varint(&mut rest)?) } else { None };
    let received = if has(HAS_DATE) {
        let seconds = before.seconds.wrapping_add(unzigzag(take_varint(&mut rest)?));
        let zone = i16::try_from(unzigzag(take_varint(&mut rest)?)).ok()?;
        before.seconds = seconds;
        Some(Timestamp { seconds, zone })
    } else {
        None
    };
    let id = if has(HAS_NAME) {
        let len = usize::try_from(take_varint(&mut rest)?).ok()?;
        let (name, after) = rest.split_at_checked(len)?;
        rest = after;
        SourceId::Name(std::str::from_utf8(name).ok()?.to_owned())
    } else {
        SourceId::Number(number)
    };
    let object = if has(HAS_OBJECT) {
        let (object, after) = rest.split_first_chunk::<8>()?;
        rest = after;
        u64::from_le_bytes(*object)
    } else {
        0
    };
    let holes = if has(HAS_HOLES) { unzigzag(take_varint(&mut rest)?) as u64 } else { 0 };
    before.number = number;
    let flags = kinds.get(kind)?.clone();
    let from = number.wrapping_sub(holes);
    Some((NewMessage { number, id, size, received, flags, object, from }, entry.len() - rest.len()))
}

/// Small differences, also negative ones, as small numbers.
fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

fn unzigzag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message() -> impl Strategy<Value = NewMessage> {
        let id = prop_oneof![
            any::<u64>().prop_map(|n| (n, SourceId::Number(n))),
            (any::<u64>(), "[a-zä:,.]{0,40}").prop_map(|(n, name)| (n, SourceId::Name(name))),
        ];
        let received = proptest::option::of((any::<i64>(), any::<i16>()))
            .prop_map(|r| r.map(|(seconds, zone)| Timestamp { seconds, zone }));
        let size = proptest::option::of(any::<u64>());
        (id, any::<u64>(), size, received, "[DFRST]{0,3}( [a-c])?", prop_oneof![Just(0), any::<u64>()])
            .prop_map(|((number, id), from, size, received, flags, object)| NewMessage {
                number,
                id,
                size,
                received,
                flags: Flags::decode(&flags),
                object,
                from,
            })
    }

    proptest! {
        #[test]
        fn a_roll_gives_back_what_was_put_in(messages in proptest::collection::vec(message(), 0..50), times in 1usize..60) {
            let all: Vec<NewMessage> = (0..times).flat_map(|_| messages.iter().cloned()).collect();
            let roll: Roll = all.iter().cloned().collect();
            prop_assert_eq!(roll.len(), all.len() as u64);
            prop_assert!(roll.iter().eq(all.iter().cloned()));
            let reversed = roll.clone().reversed();
            prop_assert_eq!((reversed.len(), reversed.bytes()), (roll.len(), roll.bytes()));
            prop_assert!(reversed.into_iter().eq(all.iter().rev().cloned()));
            prop_assert!(roll.into_iter().eq(all));
        }
    }

    #[test]
    fn a_numbered_message_costs_about_ten_bytes() {
        let roll: Roll = (1..=500_000u64)
            .map(|n| Listed {
                id: SourceId::Number(n * 2),
                size: Some(4000 + n * 7919 % 90_000),
                received: Some(Timestamp { seconds: 1_700_000_000 + (n * 613) as i64, zone: 60 }),
                flags: Flags::decode(if n % 3 == 0 { "S" } else { "FS work" }),
                object: 0,
            })
            .collect();
        let held: usize = roll.pieces.iter().map(Vec::capacity).sum();
        assert!(held < 12 * 500_000, "{held} bytes");
    }
}

//! One record of the facts log, and how a list of them becomes bytes and back.

use crate::model::{Digest, Fact, Timestamp, WriteMode, put_varint, take_varint};

/// One line of the log. Nearly all are of the first kind, so boxing it would only cost.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger) enum Record {
    /// A message was stored, or is known under this number from now on. A later record of the same number replaces it.
    Stored(Fact),
    /// The facts of this number end.
    Ended {
        /// Its epoch.
        epoch: u64,
        /// Its number.
        number: u64,
    },
}

/// Version of the payload's format: its first byte.
const VERSION: u8 = 1;
/// Longest text in a record, in bytes. Longer names and ids are refused before they are recorded.
pub(super) const MAX_TEXT: usize = 64 << 10;

const ENDED: u64 = 1;
const HAS_NAME: u64 = 1 << 1;
const HAS_TARGET: u64 = 1 << 2;
const HAS_DIGEST: u64 = 1 << 3;
const HAS_RECEIVED: u64 = 1 << 4;
const HAS_BOUND: u64 = 1 << 5;
const HAS_LOSSES: u64 = 1 << 6;
const HAS_HEADER: u64 = 1 << 7;
const HAS_OBJECT: u64 = 1 << 8;
const HAS_MODE: u64 = 1 << 9;

impl Record {
    /// (epoch, number).
    pub(in crate::ledger) fn key(&self) -> (u64, u64) {
        match self {
            Record::Stored(fact) => (fact.epoch, fact.number),
            Record::Ended { epoch, number } => (*epoch, *number),
        }
    }

    /// Can it be recorded at all? No text in it may be longer than 64 KiB.
    pub(in crate::ledger) fn fits(&self) -> bool {
        match self {
            Record::Stored(fact) => {
                [&fact.name, &fact.target_id, &fact.losses].into_iter().all(|t| t.len() <= MAX_TEXT)
            }
            Record::Ended { .. } => true,
        }
    }

    /// About how many bytes it takes, uncompressed.
    pub(super) fn weight(&self) -> usize {
        match self {
            Record::Stored(fact) => 160 + fact.name.len() + fact.target_id.len() + fact.losses.len(),
            Record::Ended { .. } => 24,
        }
    }
}

/// What the next record's numbers are told against: neighbours differ little.
#[derive(Default)]
struct Before {
    epoch: u64,
    number: u64,
    seconds: i64,
}

/// Bytes of a list of records.
pub(super) fn encode(records: &[Record]) -> Vec<u8> {
    let mut out = vec![VERSION];
    let mut before = Before::default();
    for record in records {
        let (epoch, number) = record.key();
        let tag = match record {
            Record::Ended { .. } => ENDED,
            Record::Stored(fact) => [
                (HAS_NAME, !fact.name.is_empty()),
                (HAS_TARGET, !fact.target_id.is_empty()),
                (HAS_DIGEST, fact.digest.is_some()),
                (HAS_RECEIVED, fact.received.is_some()),
                (HAS_BOUND, fact.bound.is_some()),
                (HAS_LOSSES, !fact.losses.is_empty()),
                (HAS_HEADER, fact.header != 0),
                (HAS_OBJECT, fact.object != 0),
                (HAS_MODE, fact.mode != WriteMode::Usual),
            ]
            .into_iter()
            .fold(0, |tag, (bit, on)| if on { tag | bit } else { tag }),
        };
        put_varint(&mut out, tag);
        put_signed(&mut out, epoch.wrapping_sub(before.epoch).cast_signed());
        put_signed(&mut out, number.wrapping_sub(before.number).cast_signed());
        (before.epoch, before.number) = (epoch, number);
        if let Record::Stored(fact) = record {
            put_varint(&mut out, fact.size);
            if let Some(digest) = &fact.digest {
                out.extend_from_slice(digest.as_bytes());
            }
            if let Some(received) = &fact.received {
                put_signed(&mut out, received.seconds.wrapping_sub(before.seconds));
                put_signed(&mut out, i64::from(received.zone));
                before.seconds = received.seconds;
            }
            for word in [fact.header, fact.object].into_iter().filter(|word| *word != 0) {
                out.extend_from_slice(&word.to_le_bytes());
            }
            for text in [&fact.name, &fact.target_id, &fact.losses] {
                if !text.is_empty() {
                    put_text(&mut out, text);
                }
            }
            if let Some(bound) = &fact.bound {
                put_text(&mut out, &bound.to_string());
            }
            if fact.mode != WriteMode::Usual {
                put_varint(&mut out, fact.mode.code());
            }
        }
    }
    out
}

/// Reads [`encode`]'s bytes; `None` if they are damaged or of a later version.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<Record>> {
    let (version, mut rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let mut records = Vec::new();
    let mut before = Before::default();
    while !rest.is_empty() {
        let tag = take_varint(&mut rest)?;
        let epoch = before.epoch.wrapping_add(take_signed(&mut rest)?.cast_unsigned());
        let number = before.number.wrapping_add(take_signed(&mut rest)?.cast_unsigned());
        (before.epoch, before.number) = (epoch, number);
        if tag == ENDED {
            records.push(Record::Ended { epoch, number });
            continue;
        }
        if tag & ENDED != 0 || tag > (HAS_MODE << 1) - 1 {
            return None;
        }
        let has = |bit: u64| tag & bit != 0;
        let size = take_varint(&mut rest)?;
        let digest = if has(HAS_DIGEST) {
            let (digest, after) = rest.split_first_chunk::<32>()?;
            rest = after;
            Some(Digest::from_bytes(*digest))
        } else {
            None
        };
        let received = if has(HAS_RECEIVED) {
            let seconds = before.seconds.wrapping_add(take_signed(&mut rest)?);
            let zone = i16::try_from(take_signed(&mut rest)?).ok()?;
            before.seconds = seconds;
            Some(Timestamp { seconds, zone })
        } else {
            None
        };
        let mut word = |bit: u64| {
            if !has(bit) {
                return Some(0);
            }
            let (word, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            Some(u64::from_le_bytes(*word)).filter(|word| *word != 0)
        };
        let header = word(HAS_HEADER)?;
        let object = word(HAS_OBJECT)?;
        let mut text = |bit: u64| if has(bit) { take_text(&mut rest) } else { Some("") };
        let name = text(HAS_NAME)?.to_owned();
        let target_id = text(HAS_TARGET)?.to_owned();
        let losses = text(HAS_LOSSES)?.to_owned();
        let bound = match text(HAS_BOUND)? {
            "" if has(HAS_BOUND) => return None,
            "" => None,
            stamp => Some(stamp.parse().ok()?),
        };
        let mode = if has(HAS_MODE) {
            WriteMode::from_code(take_varint(&mut rest)?).filter(|mode| *mode != WriteMode::Usual)?
        } else {
            WriteMode::Usual
        };
        records.push(Record::Stored(Fact {
            epoch,
            number,
            name,
            target_id,
            digest,
            size,
            received,
            header,
            object,
            bound,
            losses,
            mode,
        }));
    }
    Some(records)
}

fn put_signed(out: &mut Vec<u8>, v: i64) {
    put_varint(out, ((v << 1) ^ (v >> 63)).cast_unsigned());
}

fn take_signed(bytes: &mut &[u8]) -> Option<i64> {
    let v = take_varint(bytes)?;
    Some((v >> 1).cast_signed() ^ -((v & 1).cast_signed()))
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let len = usize::try_from(take_varint(bytes)?).ok().filter(|len| *len <= MAX_TEXT)?;
    let (text, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FolderId, MailboxKey, SourceName, Stamp};
    use proptest::prelude::*;

    fn any_record() -> impl Strategy<Value = Record> {
        let fact = (
            any::<(u64, u64, u64)>(),
            "[a-z:,=]{0,40}",
            "[ -~]{0,80}",
            proptest::option::of(any::<[u8; 32]>()),
            proptest::option::of((any::<i64>(), -1439i16..=1439)),
            proptest::option::of(any::<(u32, u64, u64)>()),
            ("[a-z,]{0,12}", prop::sample::select(WriteMode::ALL.to_vec())),
        )
            .prop_map(
                |((epoch, number, size), name, target_id, digest, received, bound, (losses, mode))| {
                    let source: SourceName = "acme".parse().expect("valid");
                    let mailbox = MailboxKey::of(&source, "x");
                    Record::Stored(Fact {
                        epoch,
                        number,
                        name,
                        target_id,
                        digest: digest.map(Digest::from_bytes),
                        size,
                        received: received.map(|(seconds, zone)| Timestamp { seconds, zone }),
                        header: 0,
                        object: 0,
                        bound: bound.map(|(folder, epoch, number)| Stamp {
                            source: source.clone(),
                            mailbox: mailbox.clone(),
                            folder: FolderId(folder),
                            epoch,
                            number,
                        }),
                        losses,
                        mode,
                    })
                },
            );
        let ended = any::<(u64, u64)>().prop_map(|(epoch, number)| Record::Ended { epoch, number });
        prop_oneof![3 => fact, 1 => ended]
    }

    proptest! {
        #[test]
        fn records_read_back_as_they_were_written(records in prop::collection::vec(any_record(), 0..30)) {
            prop_assert_eq!(decode(&encode(&records)), Some(records));
        }

        #[test]
        fn records_without_a_mode_are_written_as_before_there_were_modes(record in any_record()) {
            let Record::Stored(fact) = record else { return Ok(()) };
            let [plain, moded] = [WriteMode::Usual, WriteMode::ImportMime]
                .map(|mode| encode(&[Record::Stored(Fact { mode, ..fact.clone() })]));
            let tag = take_varint(&mut &plain[1..]);
            prop_assert!(tag.is_some_and(|tag| tag < HAS_MODE), "an earlier version reads it");
            prop_assert_eq!(moded.len(), plain.len() + 1 + usize::from(plain[1] < 0x80));
        }

        #[test]
        fn foreign_bytes_never_panic(mut bytes: Vec<u8>) {
            let _ = decode(&bytes);
            bytes.insert(0, VERSION);
            let _ = decode(&bytes);
        }

        #[test]
        fn a_cut_or_changed_payload_never_panics(
            records in prop::collection::vec(any_record(), 1..6), at: usize, bit in 0u8..8,
        ) {
            let mut bytes = encode(&records);
            let at = at % bytes.len();
            let _ = decode(&bytes[..at]);
            bytes[at] ^= 1 << bit;
            let _ = decode(&bytes);
        }
    }
}

//! A mailbox at rest as bytes: its folders, what is kept of each, and its skipped items.
//!
//! ```text
//! version (1) · for each stream: length (varint), zstd
//! ```
//! Values of one kind lie together, each kind in a stream of its own, for zstd tells what is likely by what came before:
//! columns of numbers as differences, texts, bits for sets with many holes. Folders' names are bytes of their own: they
//! go into the one table that may hold them.

use super::tables::{Chain, Exception, Folder, NameRow, special_code, special_from_code};
use crate::ledger::facts::Head;
use crate::ledger::squeeze::{squeeze, unsqueeze};
use crate::model::{FlagMap, Flags, RunSet, Skip, SkipReason, put_varint, take_varint};

/// What the bytes begin with.
const VERSION: u8 = 1;
/// Rows are packed once a pass and read back often.
const LEVEL: i32 = 9;
/// Most bytes of a stream, unpacked: more than a mailbox of ten million messages takes.
const MOST: u64 = 256 << 20;

/// Numbers of folders, a column after the other.
const FOLDERS: usize = 0;
/// Ids of folders at both ends, and marks.
const TEXTS: usize = 1;
/// Flags and keywords.
const WORDS: usize = 2;
/// A bit for each number of a folder.
const NUMBERS: usize = 3;
/// A bit for each place in a folder.
const PLACES: usize = 4;
/// Sets as runs.
const RUNS: usize = 5;
/// Where each folder's newest frame lies.
const CHAINS: usize = 6;
/// Numbers of skipped items.
const SKIPS: usize = 7;
/// Their texts.
const REASONS: usize = 8;
const STREAMS: usize = 9;

/// All rows of a mailbox that rest when no pass is under way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rest {
    /// Ascending by folder.
    pub folders: Vec<Folder>,
    /// Ascending by folder; those of folders only.
    pub names: Vec<NameRow>,
    /// Ascending by folder.
    pub chains: Vec<Chain>,
    /// Ascending by folder and number.
    pub skips: Vec<Exception>,
}

impl Rest {
    /// All of it but the names.
    pub(super) fn encode(&self) -> std::io::Result<Vec<u8>> {
        let mut streams: [Vec<u8>; STREAMS] = Default::default();
        self.put_folders(&mut streams);
        self.put_chains(&mut streams[CHAINS]);
        self.put_skips(&mut streams);
        let mut out = vec![VERSION];
        for stream in &streams {
            // Nothing is nothing, not an empty frame.
            let packed = if stream.is_empty() { Vec::new() } else { squeeze(stream, LEVEL)? };
            put_varint(&mut out, packed.len() as u64);
            out.extend_from_slice(&packed);
        }
        Ok(out)
    }

    /// Reads [`Rest::encode`]'s bytes, without names; `None` if they make no sense.
    pub(super) fn decode(mailbox: i64, bytes: &[u8]) -> Option<Rest> {
        let unpacked = take_streams(bytes)?.map(unpack);
        let mut streams: [&[u8]; STREAMS] = [&[]; STREAMS];
        for (stream, unpacked) in streams.iter_mut().zip(&unpacked) {
            *stream = unpacked.as_deref()?;
        }
        let skips = take_skips(mailbox, &mut streams)?;
        let folders = take_folders(mailbox, &mut streams, &skips)?;
        let chains = take_chains(mailbox, &mut streams[CHAINS])?;
        streams.iter().all(|stream| stream.is_empty()).then_some(())?;
        Some(Rest { folders, names: Vec::new(), chains, skips })
    }

    /// The folders' names, for the table of names.
    pub(super) fn encode_names(&self) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut before = 0;
        for row in &self.names {
            put_varint(&mut out, u64::from(row.folder.wrapping_sub(before)));
            before = row.folder;
            put_varint(&mut out, row.names.len() as u64);
            row.names.iter().for_each(|name| put_text(&mut out, name));
        }
        squeeze(&out, LEVEL)
    }

    /// Reads [`Rest::encode_names`]'s bytes; `None` if they make no sense.
    pub(super) fn decode_names(mailbox: i64, bytes: &[u8]) -> Option<Vec<NameRow>> {
        let plain = unpack(bytes)?;
        let mut bytes = plain.as_slice();
        let (mut rows, mut folder) = (Vec::new(), 0u32);
        while !bytes.is_empty() {
            folder = folder.checked_add(u32::try_from(take_varint(&mut bytes)?).ok()?)?;
            let names = (0..take_varint(&mut bytes)?).map(|_| take_text(&mut bytes));
            rows.push(NameRow { mailbox, folder, names: names.collect::<Option<_>>()? });
        }
        Some(rows)
    }

    fn put_folders(&self, streams: &mut [Vec<u8>; STREAMS]) {
        let out = &mut streams[FOLDERS];
        put_varint(out, self.folders.len() as u64);
        let mut column = |value: &dyn Fn(&Folder) -> u64| {
            self.folders.iter().for_each(|f| put_varint(out, value(f)));
        };
        column(&|f| u64::from(f.folder));
        column(&|f| u64::from(f.missing) | u64::from(special_code(f.special)) << 1);
        column(&|f| f.live.wrapping_sub(f.flags.numbers().len()));
        column(&|f| f.orphans);
        column(&|f| f.bytes);
        column(&|f| f.next_number);
        column(&|f| difference(f.messages, f.live));
        column(&|f| difference(f.uidnext, last(&f.done)));
        let mut steps = |value: &dyn Fn(&Folder) -> u64| {
            let mut before = 0;
            for f in &self.folders {
                put_varint(out, difference(value(f), before));
                before = value(f);
            }
        };
        steps(&|f| f.epoch);
        steps(&|f| f.modseq);
        for f in &self.folders {
            put_text(&mut streams[TEXTS], &f.target_folder);
            put_text(&mut streams[TEXTS], &f.mark);
            // An empty id and none are told apart.
            put_varint(&mut streams[FOLDERS], u64::from(f.object_id.is_some()));
            if let Some(id) = &f.object_id {
                put_text(&mut streams[TEXTS], id);
            }
            put_flags(streams, &f.flags);
            let plain =
                !f.done.is_empty() && f.done == without(first(&f.done), last(&f.done), self.skips_of(f));
            put_varint(&mut streams[FOLDERS], u64::from(plain));
            if plain {
                put_varint(&mut streams[FOLDERS], first(&f.done));
                put_varint(&mut streams[FOLDERS], last(&f.done) - first(&f.done));
            } else {
                put_set(streams, NUMBERS, &f.done);
            }
        }
    }

    fn skips_of(&self, folder: &Folder) -> &[Exception] {
        let from = self.skips.partition_point(|s| s.folder < folder.folder);
        let to = self.skips.partition_point(|s| s.folder <= folder.folder);
        &self.skips[from..to]
    }

    fn put_chains(&self, out: &mut Vec<u8>) {
        put_varint(out, self.chains.len() as u64);
        for chain in &self.chains {
            put_varint(out, u64::from(chain.folder));
            put_varint(out, u64::from(chain.head.segment));
            put_varint(out, chain.head.offset);
        }
        self.chains.iter().for_each(|chain| out.extend_from_slice(&chain.head.hash));
    }

    fn put_skips(&self, streams: &mut [Vec<u8>; STREAMS]) {
        let out = &mut streams[SKIPS];
        put_varint(out, self.skips.len() as u64);
        let (mut folder, mut number, mut received) = (0, 0, 0);
        for one in &self.skips {
            let skip = &one.skip;
            if one.folder != folder {
                number = 0;
            }
            put_varint(out, u64::from(one.folder.wrapping_sub(folder)));
            put_varint(out, skip.number.wrapping_sub(number));
            (folder, number) = (one.folder, skip.number);
            // The largest size stands for no size: no message has 2^64 - 1 octets.
            put_varint(out, skip.size.map_or(0, |size| size.wrapping_add(1)));
            put_varint(out, u64::from(skip.received.is_some()));
            if let Some(now) = skip.received {
                put_varint(out, difference(now.cast_unsigned(), received));
                received = now.cast_unsigned();
            }
        }
        let out = &mut streams[REASONS];
        for Exception { skip, .. } in &self.skips {
            put_text(out, skip.reason.word());
            put_text(out, &skip.name);
            // Most texts begin with the size.
            let size = skip.size.map(|size| size.to_string());
            match size.as_deref().and_then(|size| skip.detail.strip_prefix(size)) {
                Some(rest) => {
                    out.push(1);
                    put_text(out, rest);
                }
                None => {
                    out.push(0);
                    put_text(out, &skip.detail);
                }
            }
        }
    }
}

/// The newest frame of one folder, from [`Rest::encode`]'s bytes; the outer `None`: they make no sense.
pub(super) fn head_in(bytes: &[u8], folder: u32) -> Option<Option<Head>> {
    let chains = unpack(take_streams(bytes)?[CHAINS])?;
    let chains = take_chains(0, &mut chains.as_slice())?;
    Some(chains.into_iter().find(|chain| chain.folder == folder).map(|chain| chain.head))
}

/// The skipped items, from [`Rest::encode`]'s bytes; `None`: they make no sense.
pub(super) fn skips_in(mailbox: i64, bytes: &[u8]) -> Option<Vec<Exception>> {
    let packed = take_streams(bytes)?;
    let (numbers, texts) = (unpack(packed[SKIPS])?, unpack(packed[REASONS])?);
    let mut streams: [&[u8]; STREAMS] = [&[]; STREAMS];
    (streams[SKIPS], streams[REASONS]) = (&numbers, &texts);
    take_skips(mailbox, &mut streams)
}

fn take_streams(mut bytes: &[u8]) -> Option<[&[u8]; STREAMS]> {
    bytes = bytes.strip_prefix(&[VERSION])?;
    let mut streams: [&[u8]; STREAMS] = [&[]; STREAMS];
    for stream in &mut streams {
        *stream = take_part(&mut bytes)?;
    }
    bytes.is_empty().then_some(streams)
}

fn unpack(stream: &[u8]) -> Option<Vec<u8>> {
    if stream.is_empty() { Some(Vec::new()) } else { unsqueeze(stream, MOST) }
}

fn take_folders(mailbox: i64, streams: &mut [&[u8]; STREAMS], skips: &[Exception]) -> Option<Vec<Folder>> {
    let count = take_count(&mut streams[FOLDERS])?;
    let mut column = || (0..count).map(|_| take_varint(&mut streams[FOLDERS])).collect::<Option<Vec<u64>>>();
    let (ids, kinds, live, orphans, bytes) = (column()?, column()?, column()?, column()?, column()?);
    let (next_number, messages, uidnext) = (column()?, column()?, column()?);
    let (epochs, modseqs) = (column()?, column()?);
    let (mut epoch, mut modseq) = (0, 0);
    let mut folders = Vec::new();
    for i in 0..count {
        let folder = u32::try_from(ids[i]).ok()?;
        epoch = undo(epochs[i], epoch);
        modseq = undo(modseqs[i], modseq);
        let target_folder = take_text(&mut streams[TEXTS])?;
        let mark = take_text(&mut streams[TEXTS])?;
        let object_id = match take_varint(&mut streams[FOLDERS])? {
            0 => None,
            _ => Some(take_text(&mut streams[TEXTS])?),
        };
        let flags = take_flags(streams)?;
        let done = match take_varint(&mut streams[FOLDERS])? {
            0 => take_set(streams, NUMBERS)?,
            _ => {
                let first = take_varint(&mut streams[FOLDERS])?;
                let last = first.checked_add(take_varint(&mut streams[FOLDERS])?)?;
                let from = skips.partition_point(|s| s.folder < folder);
                let to = skips.partition_point(|s| s.folder <= folder);
                without(first, last, &skips[from..to])
            }
        };
        let live = live[i].wrapping_add(flags.numbers().len());
        folders.push(Folder {
            mailbox,
            folder,
            special: special_from_code(u8::try_from(kinds[i] >> 1).ok()?)?,
            object_id,
            epoch,
            target_folder,
            flags,
            live,
            orphans: orphans[i],
            bytes: bytes[i],
            next_number: next_number[i],
            uidnext: undo(uidnext[i], last(&done)),
            modseq,
            messages: undo(messages[i], live),
            mark,
            missing: kinds[i] & 1 == 1,
            done,
        });
    }
    Some(folders)
}

fn take_chains(mailbox: i64, bytes: &mut &[u8]) -> Option<Vec<Chain>> {
    let mut chains = Vec::new();
    for _ in 0..take_count(bytes)? {
        let folder = u32::try_from(take_varint(bytes)?).ok()?;
        let segment = u32::try_from(take_varint(bytes)?).ok()?;
        let offset = take_varint(bytes)?;
        chains.push(Chain { mailbox, folder, head: Head { segment, offset, hash: [0; 32] } });
    }
    for chain in &mut chains {
        let (hash, rest) = bytes.split_first_chunk()?;
        chain.head.hash = *hash;
        *bytes = rest;
    }
    Some(chains)
}

fn take_skips(mailbox: i64, streams: &mut [&[u8]; STREAMS]) -> Option<Vec<Exception>> {
    let mut skips = Vec::new();
    let (mut folder, mut number, mut received) = (0u32, 0u64, 0u64);
    for _ in 0..take_count(&mut streams[SKIPS])? {
        let numbers = &mut streams[SKIPS];
        let step = u32::try_from(take_varint(numbers)?).ok()?;
        if step > 0 {
            number = 0;
        }
        folder = folder.checked_add(step)?;
        number = number.wrapping_add(take_varint(numbers)?);
        let size = take_varint(numbers)?.checked_sub(1);
        let dated = take_varint(numbers)? > 0;
        if dated {
            received = undo(take_varint(numbers)?, received);
        }
        let texts = &mut streams[REASONS];
        let reason = SkipReason::from_word(&take_text(texts)?)?;
        let name = take_text(texts)?;
        let (sized, rest) = texts.split_first()?;
        *texts = rest;
        let detail = take_text(texts)?;
        let detail = match sized {
            0 => detail,
            _ => format!("{}{detail}", size?),
        };
        let received = dated.then_some(received.cast_signed());
        skips.push(Exception {
            mailbox,
            folder,
            skip: Skip { number, name, reason, detail, size, received },
        });
    }
    Some(skips)
}

fn put_flags(streams: &mut [Vec<u8>; STREAMS], flags: &FlagMap) {
    let Some((all, usual, others)) = flags.apart() else {
        put_varint(&mut streams[FOLDERS], 0);
        return;
    };
    put_varint(&mut streams[FOLDERS], others.len() as u64 + 1);
    put_set(streams, NUMBERS, &all);
    put_text(&mut streams[WORDS], &usual.encode());
    for (flags, places) in &others {
        put_text(&mut streams[WORDS], &flags.encode());
        put_set(streams, PLACES, places);
    }
}

fn take_flags(streams: &mut [&[u8]; STREAMS]) -> Option<FlagMap> {
    let kinds = take_varint(&mut streams[FOLDERS])?;
    if kinds == 0 {
        return Some(FlagMap::default());
    }
    let all = take_set(streams, NUMBERS)?;
    let usual = Flags::decode(&take_text(&mut streams[WORDS])?);
    let others = (1..kinds).map(|_| {
        let flags = Flags::decode(&take_text(&mut streams[WORDS])?);
        Some((flags, take_set(streams, PLACES)?))
    });
    let others = others.collect::<Option<Vec<_>>>()?;
    FlagMap::together(&all, usual, others)
}

/// A set as runs, or as bits where zstd is likely to need less for them.
fn put_set(streams: &mut [Vec<u8>; STREAMS], bits: usize, set: &RunSet) {
    let runs = set.encode();
    let (first, last) = (first(set), last(set));
    let bytes = (last - first) / 8 + 1;
    // Few numbers far from each other would be mostly zeros: those pack well, but must be held.
    let sparse = bytes > 8 * runs.len() as u64;
    if set.is_empty() || sparse || cost(last - first, set.len()) >= runs.len() as f64 * 8.0 {
        put_varint(&mut streams[FOLDERS], (runs.len() as u64) << 1);
        streams[RUNS].extend_from_slice(&runs);
        return;
    }
    put_varint(&mut streams[FOLDERS], bytes << 1 | 1);
    put_varint(&mut streams[FOLDERS], first);
    let out = &mut streams[bits];
    let base = out.len();
    out.resize(base + bytes as usize, 0);
    for number in set.iter() {
        let bit = number - first;
        out[base + (bit / 8) as usize] |= 1 << (bit % 8);
    }
}

/// The bits that a code needs which knows how many of the numbers are in a set, but not which.
fn cost(span: u64, len: u64) -> f64 {
    let (all, p) = (span as f64 + 1.0, len as f64 / (span as f64 + 1.0));
    let part = |p: f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
    all * (part(p) + part(1.0 - p)) + 16.0
}

fn take_set(streams: &mut [&[u8]; STREAMS], bits: usize) -> Option<RunSet> {
    let head = take_varint(&mut streams[FOLDERS])?;
    let length = usize::try_from(head >> 1).ok()?;
    if head & 1 == 0 {
        let (part, rest) = streams[RUNS].split_at_checked(length)?;
        streams[RUNS] = rest;
        return RunSet::decode(part);
    }
    let first = take_varint(&mut streams[FOLDERS])?;
    let (part, rest) = streams[bits].split_at_checked(length)?;
    streams[bits] = rest;
    let mut set = RunSet::default();
    let mut run: Option<(u64, u64)> = None;
    let ones = (0u64..).zip(part).flat_map(|(at, byte)| {
        (0..8u64).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| at * 8 + bit)
    });
    for bit in ones {
        let number = first.checked_add(bit)?;
        match &mut run {
            Some((_, to)) if *to + 1 == number => *to = number,
            before => {
                if let Some((from, to)) = before.replace((number, number)) {
                    set.insert(from, to);
                }
            }
        }
    }
    run.into_iter().for_each(|(from, to)| set.insert(from, to));
    Some(set)
}

/// All numbers between two, but those of skipped items.
fn without(first: u64, last: u64, skips: &[Exception]) -> RunSet {
    let mut set = RunSet::default();
    set.insert(first, last);
    skips.iter().for_each(|one| set.remove(one.skip.number));
    set
}

fn first(set: &RunSet) -> u64 {
    set.runs().next().map_or(0, |run| *run.start())
}

fn last(set: &RunSet) -> u64 {
    set.runs().last().map_or(0, |run| *run.end())
}

/// How far a number is from another one, either way, small for near ones.
fn difference(number: u64, from: u64) -> u64 {
    let by = number.wrapping_sub(from).cast_signed();
    (by << 1 ^ by >> 63).cast_unsigned()
}

fn undo(difference: u64, from: u64) -> u64 {
    from.wrapping_add(difference >> 1 ^ (difference & 1).wrapping_neg())
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn take_part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(bytes)?).ok()?;
    let (part, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(part)
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    take_part(bytes).and_then(|part| std::str::from_utf8(part).ok()).map(str::to_owned)
}

/// How many of something follow, each of a byte at least.
fn take_count(bytes: &mut &[u8]) -> Option<usize> {
    usize::try_from(take_varint(bytes)?).ok().filter(|count| *count <= bytes.len())
}

#[cfg(test)]
mod tests;

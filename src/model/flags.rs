//! Flags and keywords, and the compact map of what was last synced.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::packed::{Places, pack, unpack};
use super::runset::{RunSet, put_varint, take_varint};

/// A message's flags. `\Recent` is a session's matter and never kept (RFC 3501 §2.3.2).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flags {
    /// `\Seen`
    pub seen: bool,
    /// `\Answered`
    pub answered: bool,
    /// `\Flagged`
    pub flagged: bool,
    /// `\Draft`
    pub draft: bool,
    /// `\Deleted`
    pub deleted: bool,
    /// Keywords as the source spells them, without duplicates by case.
    pub keywords: BTreeSet<String>,
}

impl Flags {
    /// Adds one IMAP flag (`\Seen`, `$Forwarded`, `work` …). Unknown system flags are kept as keywords without their
    /// backslash; `\Recent` and empty ones are dropped.
    pub fn add(&mut self, flag: &str) {
        match flag.to_ascii_lowercase().as_str() {
            "\\seen" => self.seen = true,
            "\\answered" => self.answered = true,
            "\\flagged" => self.flagged = true,
            "\\draft" => self.draft = true,
            "\\deleted" => self.deleted = true,
            "\\recent" | "\\*" | "" => {}
            _ => {
                let keyword = flag.trim_start_matches('\\');
                if !keyword.is_empty() && !self.keywords.iter().any(|k| k.eq_ignore_ascii_case(keyword)) {
                    self.keywords.insert(keyword.to_owned());
                }
            }
        }
    }

    /// The five system flags as one letter each, in the order of Maildir (`D`, `F`, `R`, `S`, `T`).
    pub fn letters(&self) -> String {
        [(self.draft, 'D'), (self.flagged, 'F'), (self.answered, 'R'), (self.seen, 'S'), (self.deleted, 'T')]
            .into_iter()
            .filter_map(|(on, letter)| on.then_some(letter))
            .collect()
    }

    /// Compact text for the ledger and the facts: letters, then keywords, each after a space.
    pub fn encode(&self) -> String {
        let mut out = self.letters();
        for keyword in &self.keywords {
            out.push(' ');
            out.push_str(keyword);
        }
        out
    }

    /// Reads [`Flags::encode`]'s text.
    pub fn decode(text: &str) -> Flags {
        let mut words = text.split(' ');
        let mut flags = Flags::default();
        for letter in words.next().unwrap_or("").chars() {
            match letter {
                'D' => flags.draft = true,
                'F' => flags.flagged = true,
                'R' => flags.answered = true,
                'S' => flags.seen = true,
                'T' => flags.deleted = true,
                _ => {}
            }
        }
        flags.keywords = words.filter(|w| !w.is_empty()).map(str::to_owned).collect();
        flags
    }

    /// Three-way merge: `base` was last synced, `source` is there now, `target` is there now. What the target's user
    /// changed since stays; everything else follows the source.
    pub fn merge(base: &Flags, source: &Flags, target: &Flags) -> Flags {
        let pick = |b: bool, s: bool, t: bool| if t == b { s } else { t };
        let names: BTreeSet<&String> =
            base.keywords.iter().chain(&source.keywords).chain(&target.keywords).collect();
        Flags {
            seen: pick(base.seen, source.seen, target.seen),
            answered: pick(base.answered, source.answered, target.answered),
            flagged: pick(base.flagged, source.flagged, target.flagged),
            draft: pick(base.draft, source.draft, target.draft),
            deleted: pick(base.deleted, source.deleted, target.deleted),
            keywords: names
                .into_iter()
                .filter(|k| {
                    pick(
                        base.keywords.contains(*k),
                        source.keywords.contains(*k),
                        target.keywords.contains(*k),
                    )
                })
                .cloned()
                .collect(),
        }
    }
}

/// Combinations of flags, and the messages that have them.
pub(crate) type ByFlags = Vec<(Flags, RunSet)>;

/// Last-synced flags of a folder's messages, compactly: one run set per distinct combination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlagMap(BTreeMap<Flags, RunSet>);

/// The set of all numbers in these runs. In order: a run put between others would move all that are behind it.
fn joined(mut runs: Vec<RangeInclusive<u64>>) -> RunSet {
    runs.sort_unstable_by_key(|run| *run.start());
    let mut all = RunSet::default();
    runs.into_iter().for_each(|run| all.insert(*run.start(), *run.end()));
    all
}

impl FlagMap {
    /// The flags last synced for message `number`, if any were.
    pub fn get(&self, number: u64) -> Option<&Flags> {
        self.0.iter().find_map(|(flags, set)| set.contains(number).then_some(flags))
    }

    /// Are these the flags last synced for message `number`? As [`FlagMap::get`], without looking through all of them.
    pub fn holds(&self, number: u64, flags: &Flags) -> bool {
        self.0.get(flags).is_some_and(|set| set.contains(number))
    }

    /// The messages with flags on record.
    pub fn numbers(&self) -> RunSet {
        joined(self.0.values().flat_map(RunSet::runs).collect())
    }

    /// Records the flags of message `number`.
    pub fn set(&mut self, number: u64, flags: &Flags) {
        self.remove(number);
        self.0.entry(flags.clone()).or_default().insert(number, number);
    }

    /// Forgets message `number`.
    pub fn remove(&mut self, number: u64) {
        for set in self.0.values_mut() {
            set.remove(number);
        }
        self.0.retain(|_, set| !set.is_empty());
    }

    /// Bytes for the ledger: the shorter of two forms. One has a run set for each combination. The other (after two zero
    /// bytes, with which the first never begins: a combination without messages is not kept) has the set of all numbers,
    /// the combination that most of them have, and for each of the others their places in the set, so that holes in the
    /// numbers are told once.
    pub fn encode(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        for (flags, set) in &self.0 {
            put_part(&mut plain, flags.encode().as_bytes());
            put_part(&mut plain, &set.encode());
        }
        let Some((all, usual, others)) = self.apart() else { return plain };
        let mut packed = MARK.to_vec();
        pack(&mut packed, &all);
        put_part(&mut packed, usual.encode().as_bytes());
        for (flags, places) in &others {
            put_part(&mut packed, flags.encode().as_bytes());
            pack(&mut packed, places);
        }
        if packed.len() < plain.len() { packed } else { plain }
    }

    /// Reads [`FlagMap::encode`]'s bytes; `None` if they are damaged.
    pub fn decode(mut bytes: &[u8]) -> Option<FlagMap> {
        if let Some(packed) = bytes.strip_prefix(&MARK) {
            return FlagMap::decode_packed(packed);
        }
        let mut map = BTreeMap::new();
        while !bytes.is_empty() {
            let flags = Flags::decode(std::str::from_utf8(take_part(&mut bytes)?).ok()?);
            map.insert(flags, RunSet::decode(take_part(&mut bytes)?)?);
        }
        Some(FlagMap(map))
    }

    fn decode_packed(mut bytes: &[u8]) -> Option<FlagMap> {
        let all = unpack(&mut bytes)?;
        let text = |bytes: &mut &[u8]| Some(Flags::decode(std::str::from_utf8(take_part(bytes)?).ok()?));
        let usual = text(&mut bytes)?;
        let mut others = Vec::new();
        while !bytes.is_empty() {
            others.push((text(&mut bytes)?, unpack(&mut bytes)?));
        }
        FlagMap::together(&all, usual, others)
    }

    /// All numbers, the flags that most of them have, and for each other combination the places in the set of those that
    /// have it: holes in the numbers are told once. `None`: no message has flags on record.
    pub(crate) fn apart(&self) -> Option<(RunSet, Flags, ByFlags)> {
        let (usual, _) = self.0.iter().max_by_key(|(_, set)| set.len())?;
        let all = self.numbers();
        let places = Places::of(&all);
        let others = self.0.iter().filter(|(flags, _)| *flags != usual);
        let others = others.map(|(flags, set)| (flags.clone(), places.places(set))).collect();
        Some((all, usual.clone(), others))
    }

    /// What [`FlagMap::apart`] was given; `None` if the parts do not fit each other.
    pub(crate) fn together(all: &RunSet, usual: Flags, others: ByFlags) -> Option<FlagMap> {
        let places = Places::of(all);
        let mut map = BTreeMap::new();
        let (mut runs, mut sum) = (Vec::new(), 0u64);
        for (flags, set) in others {
            sum = sum.checked_add(set.len())?;
            runs.extend(set.runs());
            map.insert(flags, places.numbers(&set)?);
        }
        let taken = joined(runs);
        // Nobody has two combinations.
        if taken.len() != sum {
            return None;
        }
        let mut rest = RunSet::default();
        let mut next = 0;
        for run in taken.runs() {
            if *run.start() > next {
                rest.insert(next, run.start() - 1);
            }
            next = run.end().checked_add(1)?;
        }
        if next < all.len() {
            rest.insert(next, all.len() - 1);
        }
        if !rest.is_empty() {
            map.insert(usual, places.numbers(&rest)?);
        }
        Some(FlagMap(map))
    }
}

/// What the packed form begins with.
const MARK: [u8; 2] = [0, 0];

fn put_part(out: &mut Vec<u8>, part: &[u8]) {
    put_varint(out, part.len() as u64);
    out.extend_from_slice(part);
}

fn take_part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take_varint(bytes)?).ok()?;
    let (part, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(list: &[&str]) -> Flags {
        let mut f = Flags::default();
        list.iter().for_each(|x| f.add(x));
        f
    }

    #[test]
    fn recent_is_never_kept_and_keywords_are_not_doubled_by_case() {
        let f = flags(&["\\Seen", "\\Recent", "$MDNSent", "$MdnSent"]);
        assert_eq!(f.encode(), "S $MDNSent");
        assert_eq!(Flags::decode(&f.encode()), f);
    }

    #[test]
    fn a_change_by_the_targets_user_wins_over_the_source() {
        let base = flags(&["\\Seen", "work"]);
        let source = flags(&["\\Seen", "\\Answered", "work", "home"]);
        let target = flags(&["\\Flagged"]); // the user marked it unread, flagged it and removed "work"
        assert_eq!(Flags::merge(&base, &source, &target), flags(&["\\Flagged", "\\Answered", "home"]));
    }

    #[test]
    fn a_flag_map_with_holes_reads_back_and_tells_them_once() {
        let mut map = FlagMap::default();
        let dice = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57;
        for n in (1..700).filter(|n| dice(*n) < 90) {
            let kind = ["\\Seen", "\\Seen", "\\Seen", "\\Answered"][dice(n + 5000) as usize % 4];
            map.set(n, &flags(&[kind]));
        }
        let bytes = map.encode();
        assert_eq!(FlagMap::decode(&bytes).as_ref(), Some(&map));
        let plain: usize = map.0.values().map(|set| set.encode().len()).sum();
        assert!(bytes.len() * 2 < plain, "{} bytes, {plain} as runs", bytes.len());
        for cut in 0..bytes.len() {
            assert_ne!(FlagMap::decode(&bytes[..cut]), Some(map.clone()), "cut at {cut}");
        }
    }

    #[test]
    fn the_flag_map_reads_back_and_follows_changes() {
        let mut map = FlagMap::default();
        for n in 1..=1000 {
            map.set(n, &flags(&["\\Seen"]));
        }
        map.set(500, &flags(&["\\Seen", "x"]));
        let bytes = map.encode();
        assert!(bytes.len() < 40, "{} bytes", bytes.len());
        let back = FlagMap::decode(&bytes).expect("own bytes");
        assert_eq!(back, map);
        assert_eq!(back.get(500), Some(&flags(&["\\Seen", "x"])));
        assert_eq!(back.get(1001), None);
        assert!(back.holds(499, &flags(&["\\Seen"])) && !back.holds(500, &flags(&["\\Seen"])));
        assert_eq!(back.numbers().runs().collect::<Vec<_>>(), [1..=1000]);
        assert_eq!(FlagMap::decode(&[5, 1]), None);
    }
}

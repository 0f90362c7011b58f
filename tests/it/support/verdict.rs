//! Is a copy right? What source and target show of a mailbox, compared folder by folder as multisets of digests. Knows
//! nothing of how either was read.
#![allow(dead_code)] // each user takes a part

use std::collections::{BTreeMap, BTreeSet};

/// Digest of a message as a server shows it.
pub type Digest = [u8; 32];

/// Which special case a message is.
pub type Kinds = BTreeMap<Digest, &'static str>;

/// A mailbox as a server shows it.
#[derive(Debug, Default)]
pub struct Mailbox {
    /// Names on the wire; can the folder hold messages?
    pub folders: BTreeMap<Vec<u8>, bool>,
    pub subscribed: BTreeSet<Vec<u8>>,
    pub messages: BTreeMap<Vec<u8>, Vec<Entry>>,
}

/// One message as a server shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    digest: Digest,
    /// Of the message without a header field X-TUID; the same where it has none.
    bare: Digest,
    message_id: Option<Digest>,
    flags: BTreeSet<String>,
    keywords: BTreeSet<String>,
    received: Option<i64>,
}

impl Entry {
    /// `flags` with their keywords, without `\\Recent`; `received` in seconds since 1970.
    pub fn new(octets: &[u8], flags: Vec<String>, received: Option<i64>) -> Entry {
        let (flags, keywords) = flags.into_iter().partition(|f| f.starts_with('\\'));
        let digest = *blake3::hash(octets).as_bytes();
        let bare = field(octets, b"X-TUID:").map_or(digest, |(start, end)| {
            *blake3::Hasher::new().update(&octets[..start]).update(&octets[end..]).finalize().as_bytes()
        });
        let message_id =
            field(octets, b"Message-ID:").map(|(start, end)| *blake3::hash(&octets[start..end]).as_bytes());
        Entry { digest, bare, message_id, flags, keywords, received }
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn bare(&self) -> Digest {
        self.bare
    }

    fn rest(&self) -> (Option<i64>, BTreeSet<String>, BTreeSet<String>) {
        (self.received, self.flags.clone(), self.keywords.clone())
    }
}

/// What is wrong, counted. All zero (and nothing but `messages`) is a perfect copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// Messages at the source.
    pub messages: u64,
    /// At the source, not at the target.
    pub lost: u64,
    /// One time too often at the target.
    pub doubled: u64,
    /// At the target with other octets; of these, the ones that differ by a header field X-TUID only.
    pub altered: u64,
    pub altered_by_x_tuid: u64,
    /// At the target and not (any more) at the source.
    pub extra: u64,
    pub flags: u64,
    pub keywords: u64,
    pub dates: u64,
    pub folders_missing: u64,
    pub folders_extra: u64,
    /// `\NoSelect` at the source, a mail folder at the target.
    pub folders_made_real: u64,
    pub subscriptions: u64,
    /// Lost, altered, flags, keywords and dates by kind of message, where it is a special case.
    pub by_kind: BTreeMap<String, u64>,
}

/// Digest of a message made for the source, as Dovecot shows it: NUL goes over the wire as 0x80.
pub fn wire_digest(octets: &[u8]) -> Digest {
    let shown: Vec<u8> = octets.iter().map(|b| if *b == 0 { 0x80 } else { *b }).collect();
    *blake3::hash(&shown).as_bytes()
}

/// Where a header field lies, the name in any case, without folding.
fn field(octets: &[u8], name: &[u8]) -> Option<(usize, usize)> {
    let mut start = 0;
    loop {
        let end = start + memchr::memchr(b'\n', &octets[start..])? + 1;
        let line = &octets[start..end];
        if line.len() <= 2 {
            return None; // the end of the header
        }
        if line.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name)) {
            return Some((start, end));
        }
        start = end;
    }
}

impl Verdict {
    /// Compares all mailboxes.
    pub fn of(source: &[Mailbox], target: &[Mailbox], kinds: &Kinds) -> Verdict {
        let mut verdict = Verdict::default();
        for (source, target) in source.iter().zip(target) {
            verdict.mailbox(source, target, kinds);
        }
        verdict
    }

    /// Nothing lost, doubled, altered or left over; flags, keywords, dates and folders as at the source.
    pub fn perfect(&self) -> bool {
        *self == Verdict { messages: self.messages, ..Verdict::default() }
    }

    fn mailbox(&mut self, source: &Mailbox, target: &Mailbox, kinds: &Kinds) {
        for (name, selectable) in &source.folders {
            match target.folders.get(name) {
                Some(at_target) => self.folders_made_real += u64::from(!selectable && *at_target),
                None => self.folders_missing += u64::from(*selectable),
            }
        }
        self.folders_extra +=
            target.folders.keys().filter(|n| !source.folders.contains_key(*n)).count() as u64;
        self.subscriptions += source.subscribed.symmetric_difference(&target.subscribed).count() as u64;
        let none = Vec::new();
        let names: BTreeSet<&Vec<u8>> = source.messages.keys().chain(target.messages.keys()).collect();
        for name in names {
            self.folder(
                source.messages.get(name).unwrap_or(&none).clone(),
                target.messages.get(name).unwrap_or(&none).clone(),
                kinds,
            );
        }
    }

    /// Pairs messages, the surest pairs first, and counts how the two of each pair differ.
    fn folder(&mut self, mut source: Vec<Entry>, mut target: Vec<Entry>, kinds: &Kinds) {
        self.messages += source.len() as u64;
        let known: BTreeSet<Digest> = source.iter().map(|e| e.digest).collect();
        // Unchanged octets first, then those with a field X-TUID; twins go to the twin they resemble most.
        for (at_target, changed) in [(Entry::digest as fn(&Entry) -> Digest, false), (Entry::bare, true)] {
            let mut found =
                pair(&mut source, &mut target, |e| (e.digest, e.rest()), |e| (at_target(e), e.rest()));
            let key = |d: Digest, e: &Entry| (d, e.received, e.flags.clone());
            found.extend(pair(&mut source, &mut target, |e| key(e.digest, e), |e| key(at_target(e), e)));
            let key = |d: Digest, e: &Entry| (d, e.received);
            found.extend(pair(&mut source, &mut target, |e| key(e.digest, e), |e| key(at_target(e), e)));
            found.extend(pair(&mut source, &mut target, Entry::digest, at_target));
            for (one, two) in found {
                if changed {
                    self.altered_by_x_tuid += 1;
                    self.altered(&one, &two, kinds);
                } else {
                    self.differences(&one, &two, kinds);
                }
            }
        }
        // A copy of one that is already paired is a double, whatever else it resembles.
        target.retain(|e| {
            let double = known.contains(&e.bare);
            self.doubled += u64::from(double);
            !double
        });
        let id = |e: &Entry| e.message_id;
        let (mut with_id, mut with_id_at_target): (Vec<_>, Vec<_>);
        (with_id, source) = source.into_iter().partition(|e| e.message_id.is_some());
        (with_id_at_target, target) = target.into_iter().partition(|e| e.message_id.is_some());
        for (one, two) in pair(&mut with_id, &mut with_id_at_target, id, id) {
            self.altered(&one, &two, kinds);
        }
        for (one, two) in pair(&mut source, &mut target, |e| e.received, |e| e.received) {
            self.altered(&one, &two, kinds);
        }
        for lost in source.iter().chain(&with_id) {
            self.lost += 1;
            self.kind("lost", lost, kinds);
        }
        self.extra += (target.len() + with_id_at_target.len()) as u64;
    }

    fn altered(&mut self, source: &Entry, target: &Entry, kinds: &Kinds) {
        self.altered += 1;
        if target.bare != source.digest {
            self.kind("altered", source, kinds);
        }
        self.differences(source, target, kinds);
    }

    fn differences(&mut self, source: &Entry, target: &Entry, kinds: &Kinds) {
        if source.flags != target.flags {
            self.flags += 1;
            self.kind("flags", source, kinds);
        }
        if source.keywords != target.keywords {
            self.keywords += 1;
            self.kind("keywords", source, kinds);
        }
        if source.received != target.received {
            self.dates += 1;
            self.kind("dates", source, kinds);
        }
    }

    fn kind(&mut self, what: &str, source: &Entry, kinds: &Kinds) {
        let kind = kinds.get(&source.digest).copied().unwrap_or("ordinary");
        *self.by_kind.entry(format!("{what}: {kind}")).or_default() += 1;
    }
}

/// Takes out of both lists what pairs up by a key.
fn pair<K: Ord>(
    source: &mut Vec<Entry>,
    target: &mut Vec<Entry>,
    source_key: impl Fn(&Entry) -> K,
    target_key: impl Fn(&Entry) -> K,
) -> Vec<(Entry, Entry)> {
    let mut by_key: BTreeMap<K, Vec<Entry>> = BTreeMap::new();
    for entry in target.drain(..) {
        by_key.entry(target_key(&entry)).or_default().push(entry);
    }
    let (mut pairs, mut left) = (Vec::new(), Vec::new());
    for entry in source.drain(..) {
        match by_key.get_mut(&source_key(&entry)).and_then(Vec::pop) {
            Some(partner) => pairs.push((entry, partner)),
            None => left.push(entry),
        }
    }
    *source = left;
    target.extend(by_key.into_values().flatten());
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(text: &str) -> Entry {
        Entry::new(text.as_bytes(), vec!["\\Seen".to_owned(), "work".to_owned()], Some(1_500_000_000))
    }

    fn mailbox(entries: &[Entry]) -> Mailbox {
        let name = b"INBOX".to_vec();
        Mailbox {
            folders: BTreeMap::from([(name.clone(), true)]),
            subscribed: BTreeSet::new(),
            messages: BTreeMap::from([(name, entries.to_vec())]),
        }
    }

    fn verdict(source: &[Entry], target: &[Entry]) -> Verdict {
        Verdict::of(&[mailbox(source)], &[mailbox(target)], &Kinds::new())
    }

    const ONE: &str = "Message-ID: <1@example.org>\r\n\r\none\r\n";
    const TWO: &str = "Subject: two\r\n\r\ntwo\r\n";

    #[test]
    fn a_copy_in_another_order_with_its_duplicates_is_perfect() {
        let seen = verdict(&[mail(ONE), mail(TWO), mail(TWO)], &[mail(TWO), mail(ONE), mail(TWO)]);
        assert!(seen.perfect(), "{seen:?}");
        assert_eq!(seen.messages, 3);
    }

    #[test]
    fn a_duplicate_that_was_collapsed_is_lost_and_one_too_many_is_doubled() {
        let seen = verdict(&[mail(TWO), mail(TWO)], &[mail(TWO)]);
        assert_eq!((seen.lost, seen.doubled), (1, 0));
        let seen = verdict(&[mail(TWO)], &[mail(TWO), mail(TWO)]);
        assert_eq!((seen.lost, seen.doubled, seen.extra), (0, 1, 0));
    }

    #[test]
    fn a_header_field_left_in_the_message_alters_it_and_is_told_apart() {
        let left = "Message-ID: <1@example.org>\r\nX-TUID: abc\r\n\r\none\r\n";
        let seen = verdict(&[mail(ONE)], &[mail(left)]);
        assert_eq!((seen.altered, seen.altered_by_x_tuid, seen.lost, seen.extra), (1, 1, 0, 0));
        let seen = verdict(&[mail(ONE)], &[mail(ONE), mail(left)]);
        assert_eq!((seen.altered, seen.doubled, seen.lost), (0, 1, 0));
    }

    #[test]
    fn other_octets_under_the_same_message_id_are_altered_and_strangers_are_lost_and_extra() {
        let cut = "Message-ID: <1@example.org>\r\n\r\non";
        let seen = verdict(&[mail(ONE)], &[mail(cut)]);
        assert_eq!((seen.altered, seen.altered_by_x_tuid, seen.lost, seen.extra), (1, 0, 0, 0));
        let stranger = Entry { received: Some(7), ..mail("Message-ID: <9@example.org>\r\n\r\nnine\r\n") };
        let seen = verdict(&[mail(ONE)], &[stranger]);
        assert_eq!((seen.altered, seen.lost, seen.extra), (0, 1, 1));
    }

    #[test]
    fn flags_keywords_dates_and_folders_are_counted_each_by_itself() {
        let flags = Entry { flags: BTreeSet::new(), ..mail(ONE) };
        let keywords = Entry { keywords: BTreeSet::new(), ..mail(ONE) };
        let dates = Entry { received: Some(0), ..mail(ONE) };
        let count = |target: Entry| {
            let v = verdict(&[mail(ONE)], &[target]);
            assert_eq!((v.lost, v.altered, v.extra), (0, 0, 0));
            (v.flags, v.keywords, v.dates)
        };
        assert_eq!([count(flags), count(keywords), count(dates)], [(1, 0, 0), (0, 1, 0), (0, 0, 1)]);
        let mut source = mailbox(&[]);
        source.folders.insert(b"Parent".to_vec(), false);
        source.folders.insert(b"Parent/Child".to_vec(), true);
        let mut target = mailbox(&[]);
        target.folders.insert(b"Parent".to_vec(), true);
        target.folders.insert(b"Other".to_vec(), true);
        let v = Verdict::of(&[source], &[target], &Kinds::new());
        assert_eq!((v.folders_made_real, v.folders_missing, v.folders_extra), (1, 1, 1));
    }

    #[test]
    fn of_twins_with_different_flags_each_is_compared_with_its_own() {
        let other = Entry { flags: BTreeSet::new(), keywords: BTreeSet::new(), ..mail(TWO) };
        let no_keywords = Entry { keywords: BTreeSet::new(), ..mail(TWO) };
        let seen = verdict(&[mail(TWO), other.clone()], &[other, no_keywords]);
        assert_eq!((seen.flags, seen.keywords), (0, 1));
    }
}

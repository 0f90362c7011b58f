//! Is the copy right? What both servers show of a mailbox, compared folder by folder as multisets of digests, by the
//! bench's own reader.

use std::collections::{BTreeMap, BTreeSet};

use crate::Result;
use crate::reader::{Imap, by_name, seconds};

/// Digest of a message as a server shows it.
pub type Digest = [u8; 32];

/// Which special case a message is.
pub type Kinds = BTreeMap<Digest, &'static str>;

/// A mailbox as a server shows it.
#[derive(Debug, Default)]
pub struct Mailbox {
    folders: BTreeMap<Vec<u8>, bool>,
    subscribed: BTreeSet<Vec<u8>>,
    messages: BTreeMap<Vec<u8>, Vec<Entry>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    digest: Digest,
    /// Of the message without a header field X-TUID; the same where it has none.
    bare: Digest,
    message_id: Option<Digest>,
    flags: BTreeSet<String>,
    keywords: BTreeSet<String>,
    received: Option<i64>,
}

impl Entry {
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

/// Reads a whole mailbox.
pub fn read(port: u16, user: &str) -> Result<Mailbox> {
    let mut imap = Imap::login(port, user)?;
    let folders = by_name(imap.folders()?);
    let subscribed = imap.subscribed()?.into_iter().filter(|f| f.selectable).map(|f| f.name).collect();
    let mut messages = BTreeMap::new();
    for (name, _) in folders.iter().filter(|(_, selectable)| **selectable) {
        let mut entries = Vec::new();
        imap.messages(name, |message| {
            let (flags, keywords) = message.flags.into_iter().partition(|f| f.starts_with('\\'));
            let digest = *blake3::hash(&message.octets).as_bytes();
            let tuid = field(&message.octets, b"X-TUID:");
            let bare = tuid.map_or(digest, |(start, end)| {
                *blake3::Hasher::new()
                    .update(&message.octets[..start])
                    .update(&message.octets[end..])
                    .finalize()
                    .as_bytes()
            });
            let message_id = field(&message.octets, b"Message-ID:")
                .map(|(start, end)| *blake3::hash(&message.octets[start..end]).as_bytes());
            let received = seconds(&message.internal_date);
            entries.push(Entry { digest, bare, message_id, flags, keywords, received });
            Ok(())
        })?;
        messages.insert(name.clone(), entries);
    }
    imap.run(&[b"LOGOUT"])?;
    Ok(Mailbox { folders, subscribed, messages })
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

/// Reads mailboxes, two at a time.
pub fn read_all(port: u16, users: &[String]) -> Result<Vec<Mailbox>> {
    let halves: Vec<Result<Vec<Mailbox>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = users
            .chunks(users.len().div_ceil(2).max(1))
            .map(|part| scope.spawn(move || part.iter().map(|user| read(port, user)).collect()))
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|_| Err("a reader's thread panicked".into())))
            .collect()
    });
    Ok(halves.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
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

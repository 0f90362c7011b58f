//! A folder numbered anew (another UIDVALIDITY): its messages are recognised by what their headers say, and only the
//! ambiguous ones are fetched.
//!
//! Listed and recorded messages are matched as multisets by (size, received date, header digest). Where one key holds
//! one of each, or recorded ones that are all the same octets and not more listed ones, they are bound to their new
//! numbers: nothing is fetched, nothing is asked of the target. All others (several of one key with different octets,
//! more twins than before, sizes the server told wrongly, copies without a recorded header digest) are fetched and
//! matched by digest when they are copied. All this happens before anything of the folder is stored.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;

use super::diff::{Diff, NewMessage};
use super::inventory::FolderWork;
use super::pass::Core;
use super::roll::Roll;
use crate::env::Step;
use crate::ledger::{Change, FolderState, Stored};
use crate::model::{Fact, Result};
use crate::source::{SourceMailbox, Wanted};

/// Headers asked for at once.
const AT_ONCE: usize = 1000;

/// Bindings that share a commit of the ledger.
const TOGETHER: usize = 256;

/// What binding left.
pub(super) struct Found {
    /// Messages bound to their new numbers.
    pub bound: u64,
    /// Facts of messages that were not found so.
    pub left: Vec<Fact>,
}

/// What a message and a copy must have in common: size in bytes, received (seconds), header digest.
type Key = (u64, i64, u64);

/// Binds copies of earlier epochs to the messages of `diff.new` that can only be theirs, and takes those out of it.
/// `facts` are the copies whose messages were not found by number.
pub(super) async fn bind(
    core: &Core,
    source: &dyn SourceMailbox,
    state: &FolderState,
    work: &FolderWork,
    diff: &mut Diff,
    facts: Vec<Fact>,
) -> Result<Found> {
    let epoch = work.listing.epoch;
    let (mut recorded, mut left): (Vec<Fact>, Vec<Fact>) = facts.into_iter().partition(|f| {
        f.epoch != epoch && f.header != 0 && f.digest.is_some() && f.received.is_some() && f.name.is_empty()
    });
    if recorded.is_empty() || !source.capabilities().headers {
        left.append(&mut recorded);
        return Ok(Found { bound: 0, left });
    }
    let alike: BTreeSet<(u64, i64)> = recorded.iter().map(|f| (f.size, seconds(f))).collect();
    let headers = headers(core, source, work, &diff.new, &alike).await?;
    let pairs = pair(&headers, &recorded);

    // The flags of the epoch that is over are the base of the next merge, if this pass still knows them.
    let before = work.recorded.as_ref();
    let mut bound = Vec::new();
    let mut rest = Roll::default();
    let mut taken = BTreeSet::new();
    for message in std::mem::take(&mut diff.new) {
        let Some(fact) = pairs.get(&message.number).and_then(|at| recorded.get(*at)) else {
            rest.push(&message);
            continue;
        };
        taken.insert((fact.epoch, fact.number));
        let base = before.filter(|b| b.epoch == fact.epoch).and_then(|b| b.flags.get(fact.number));
        if base.is_some_and(|base| *base != message.flags) {
            diff.reflagged.push((message.number, message.flags.clone()));
        }
        let stamp = fact.bound.clone().unwrap_or_else(|| core.stamp(state.id, fact.epoch, fact.number));
        bound.push(Change::Moved {
            from: (state.id, fact.epoch, fact.number),
            to: state.id,
            stored: Stored {
                from: message.number,
                flags: base.cloned().unwrap_or(message.flags),
                fact: Fact {
                    epoch,
                    number: message.number,
                    object: message.object,
                    bound: Some(stamp),
                    ..fact.clone()
                },
            },
        });
    }
    diff.new = rest;
    let count = bound.len() as u64;
    while !bound.is_empty() {
        let some = bound.split_off(bound.len().saturating_sub(TOGETHER));
        try_join_all(some.into_iter().map(|change| core.apply(change))).await?;
    }
    recorded.retain(|f| !taken.contains(&(f.epoch, f.number)));
    left.append(&mut recorded);
    Ok(Found { bound: count, left })
}

fn seconds(fact: &Fact) -> i64 {
    fact.received.map_or(0, |r| r.seconds)
}

/// The header digests of the new messages that have the size and the date of a recorded one, by number.
async fn headers(
    core: &Core,
    source: &dyn SourceMailbox,
    work: &FolderWork,
    new: &Roll,
    alike: &BTreeSet<(u64, i64)>,
) -> Result<BTreeMap<u64, Key>> {
    let like = |m: &NewMessage| {
        let looks = (m.size?, m.received?.seconds);
        alike.contains(&looks).then_some(looks)
    };
    let mut found = BTreeMap::new();
    let mut asked = new.iter().filter_map(|m| like(&m).map(|looks| (m, looks)));
    loop {
        let some: Vec<(NewMessage, (u64, i64))> = asked.by_ref().take(AT_ONCE).collect();
        if some.is_empty() {
            return Ok(found);
        }
        let wanted: Vec<Wanted> =
            some.iter().map(|(m, _)| Wanted { number: m.number, id: m.id.clone(), size: m.size }).collect();
        let mut attempt = 0;
        let told = loop {
            core.parts.env.step(Step::SourceFetch).await;
            match source.headers(&work.source, work.listing.epoch, &wanted).await {
                Ok(told) => break told,
                Err(error) => core.wait_or_give_up(error, &mut attempt).await?,
            }
        };
        for ((message, (size, seconds)), header) in some.into_iter().zip(told) {
            if let Some(header) = header {
                found.insert(message.number, (size, seconds, header));
            }
        }
    }
}

/// Which listed message is which recorded one: number → index.
fn pair(listed: &BTreeMap<u64, Key>, recorded: &[Fact]) -> BTreeMap<u64, usize> {
    let mut keys: BTreeMap<Key, (Vec<u64>, Vec<usize>)> = BTreeMap::new();
    for (number, key) in listed {
        keys.entry(*key).or_default().0.push(*number);
    }
    for (at, fact) in recorded.iter().enumerate() {
        if let Some((_, facts)) = keys.get_mut(&(fact.size, seconds(fact), fact.header)) {
            facts.push(at);
        }
    }
    let mut pairs = BTreeMap::new();
    for (numbers, facts) in keys.into_values() {
        let mut digests = facts.iter().filter_map(|at| recorded.get(*at).map(|f| f.digest));
        let first = digests.next();
        let alike = digests.all(|d| Some(d) == first);
        if alike && numbers.len() <= facts.len() {
            pairs.extend(numbers.into_iter().zip(facts));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digest, Timestamp};

    fn fact(number: u64, key: Key, octets: &str) -> Fact {
        Fact {
            epoch: 1,
            number,
            name: String::new(),
            target_id: String::new(),
            digest: Some(Digest::of(octets.as_bytes())),
            size: key.0,
            received: Some(Timestamp::utc(key.1)),
            header: key.2,
            object: 0,
            bound: None,
            losses: String::new(),
            mode: crate::model::WriteMode::Usual,
        }
    }

    #[test]
    fn only_what_can_be_nothing_else_is_bound() {
        let (a, b, c, d) = ((1, 1, 1), (2, 2, 2), (3, 3, 3), (3, 3, 4));
        let recorded = [
            fact(1, a, "one"),
            fact(2, b, "twin"),
            fact(3, b, "twin"),
            fact(4, c, "this"),
            fact(5, c, "that"),
        ];
        let listed = |keys: &[Key]| -> BTreeMap<u64, Key> {
            keys.iter().enumerate().map(|(n, k)| (n as u64 + 10, *k)).collect()
        };
        let numbers =
            |keys: &[Key]| -> Vec<(u64, usize)> { pair(&listed(keys), &recorded).into_iter().collect() };
        assert_eq!(numbers(&[a, b, b]), [(10, 0), (11, 1), (12, 2)]);
        assert_eq!(numbers(&[b]), [(10, 1)], "one twin went");
        assert_eq!(numbers(&[b, b, b]), [], "one twin more than before may be another message");
        assert_eq!(numbers(&[c, c]), [], "different octets under one header");
        assert_eq!(numbers(&[d]), [], "another header");
    }
}

//! Messages read back: their octets digested as they pass, their first header octets looked at.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::session::{Live, Opened};
use super::shelf::{Numbers, Shelf, copy_id, ids_of};
use crate::imap::{BodyItem, FetchItems, Receiver, Take, UidSet, Untagged, WireError};
use crate::model::{Error, Hasher, Kind, Result, Scope};
use crate::target::{Arrival, CopyIds};
use crate::transform::message_id::message_id;
use crate::transform::mime::halves;

/// Messages asked for by one FETCH.
const AT_ONCE: u64 = 100;
/// Ranges in the set of one command: they must fit on one line.
const RANGES: usize = 500;
/// Largest header that is looked at, in bytes.
const HEADER: usize = 64 << 10;

/// A set in parts, each small enough for one command.
pub(super) fn parts(set: &UidSet, most: u64) -> Vec<UidSet> {
    let mut parts = Vec::new();
    let (mut part, mut count) = (Vec::new(), 0);
    for (first, last) in set.ranges() {
        let mut at = u64::from(*first);
        while at <= u64::from(*last) {
            let end = u64::from(*last).min(at + (most - count) - 1);
            let narrow = |uid: u64| u32::try_from(uid).unwrap_or(u32::MAX);
            part.push((narrow(at), narrow(end)));
            count += end - at + 1;
            at = end + 1;
            if count >= most || part.len() >= RANGES {
                parts.push(UidSet::of_ranges(std::mem::take(&mut part)));
                count = 0;
            }
        }
    }
    if !part.is_empty() {
        parts.push(UidSet::of_ranges(part));
    }
    parts
}

/// Fetches `items` of a set, part by part; `each` sees every answer that tells a UID of the set.
pub(super) async fn fetch(
    live: &Live,
    set: &UidSet,
    items: &'static str,
    mut each: impl FnMut(u32, FetchItems) + Send,
) -> Result<()> {
    for part in parts(set, 5_000) {
        let missing = ask(live, &part, items, &mut each).await?;
        if !missing.is_empty() {
            // Gone, or told ahead of the answer to an APPEND.
            let _alone = live.alone().await;
            ask(live, &missing, items, &mut each).await?;
        }
    }
    Ok(())
}

/// Fetches once; gives those that nothing was told of.
async fn ask(
    live: &Live,
    set: &UidSet,
    items: &'static str,
    each: &mut (impl FnMut(u32, FetchItems) + Send),
) -> Result<UidSet> {
    let mut told = BTreeSet::new();
    let mut receiver = Plain { set, told: &mut told, each };
    let done = live.session.uid_fetch(set, items, &mut receiver).await.map_err(WireError::into_error)?;
    done.check(Scope::Folder, "looking at messages of the target")?;
    Ok(set.iter().filter(|uid| !told.contains(uid)).collect())
}

struct Plain<'a, F> {
    set: &'a UidSet,
    told: &'a mut BTreeSet<u32>,
    each: F,
}

impl<F: FnMut(u32, FetchItems) + Send> Receiver for Plain<'_, F> {
    fn untagged(&mut self, response: Untagged) {
        if let Untagged::Fetch(items) = response
            && let Some(uid) = items.uid.filter(|uid| self.set.contains(*uid))
        {
            self.told.insert(uid);
            (self.each)(uid, *items);
        }
    }
}

/// Reads messages back.
///
/// # Errors
/// Complete or an error, for every UID the server still has.
pub(super) async fn read_back(live: &Live, validity: u32, set: &UidSet) -> Result<Vec<(u32, Arrival)>> {
    let mut found = Vec::new();
    for part in parts(set, AT_ONCE) {
        read_part(live, validity, &part, &mut found).await?;
        let read: BTreeSet<u32> = found.iter().map(|(uid, _)| *uid).collect();
        let missing: UidSet = part.iter().filter(|uid| !read.contains(uid)).collect();
        if !missing.is_empty() {
            let _alone = live.alone().await; // as in `fetch`
            read_part(live, validity, &missing, &mut found).await?;
        }
    }
    found.sort_by_key(|(uid, _)| *uid);
    found.dedup_by_key(|(uid, _)| *uid);
    Ok(found)
}

async fn read_part(live: &Live, validity: u32, part: &UidSet, found: &mut Vec<(u32, Arrival)>) -> Result<()> {
    let mut reader = Reader { validity, set: part, body: Body::default(), found, bad: false };
    let items = "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])";
    let done = live.session.uid_fetch(part, items, &mut reader).await.map_err(WireError::into_error)?;
    let bad = reader.bad;
    done.check(Scope::Folder, "reading messages of the target back")?;
    if bad {
        return Err(Error::temporary(
            Kind::Protocol,
            Scope::Folder,
            "a message of the target cannot be read back",
        )
        .remedy("run again; if it stays, let the target's operator repair the folder's index"));
    }
    Ok(())
}

/// A message on its way.
#[derive(Default)]
struct Body {
    hasher: Hasher,
    len: u64,
    head: Vec<u8>,
    whole_head: bool,
}

impl Body {
    fn add(&mut self, octets: &[u8]) {
        self.hasher.update(octets);
        self.len += octets.len() as u64;
        if !self.whole_head {
            let room = HEADER.saturating_sub(self.head.len());
            self.head.extend_from_slice(octets.get(..room.min(octets.len())).unwrap_or_default());
            self.whole_head = self.head.len() >= HEADER || halves(&self.head).headers.len() < self.head.len();
        }
    }
}

struct Reader<'a> {
    validity: u32,
    set: &'a UidSet,
    body: Body,
    found: &'a mut Vec<(u32, Arrival)>,
    bad: bool,
}

impl Receiver for Reader<'_> {
    fn untagged(&mut self, response: Untagged) {
        let items = match response {
            Untagged::Fetch(items) => items,
            Untagged::Unreadable("FETCH") => {
                self.bad = true;
                return;
            }
            _ => return,
        };
        let mut body = std::mem::take(&mut self.body);
        let Some(uid) = items.uid.filter(|uid| self.set.contains(*uid)) else { return };
        match items.body {
            BodyItem::Streamed | BodyItem::Nil => {}
            BodyItem::Held(octets) => body.add(&octets),
            // Flags told unasked have no body; a body that was read past is not the message.
            BodyItem::Absent => return,
            BodyItem::Passed => {
                self.bad = true;
                return;
            }
        }
        let arrival = Arrival {
            id: copy_id(self.validity, uid),
            digest: body.hasher.finish(),
            size: body.len,
            message_id: message_id(&body.head),
            received: items.received,
            flags: items.flags.unwrap_or_default(),
        };
        self.found.push((uid, arrival));
    }

    fn body_begins(&mut self, _len: u64) -> Take {
        self.body = Body::default();
        Take::Keep
    }

    fn body_octets(&mut self, octets: Bytes) {
        self.body.add(&octets);
    }
}

/// The UIDs at or above an anchor.
pub(super) async fn above(live: &Live, opened: &Opened<'_>, since: Numbers) -> Result<UidSet> {
    if opened.told.uid_validity != since.validity {
        return Err(Error::new(Kind::Conflict, Scope::Folder, "the target folder was numbered anew")
            .remedy("look at whether the target mailbox was restored or made anew; then run again"));
    }
    // A folder that is open tells of what came since only when asked.
    let _alone = live.alone().await;
    live.session.noop().await.map_err(WireError::into_error)?;
    let all = UidSet::range(since.next.max(1), u32::MAX);
    let found = live.session.uid_search(&all, "ALL").await?;
    // `n:*` names the last message even if it is below n (RFC 3501 §6.4.8).
    Ok(UidSet::of_ranges(
        found
            .all
            .ranges()
            .iter()
            .filter_map(|(first, last)| (*last >= since.next).then_some(((*first).max(since.next), *last))),
    ))
}

/// Every message that came into the folder after the anchor and is not known.
pub(super) async fn since(
    live: &Live,
    folder: &str,
    shelf: &Shelf,
    anchor: &str,
    known: &CopyIds,
) -> Result<Vec<Arrival>> {
    let opened = live.open(folder).await?;
    shelf.learn_examined(&opened.told);
    let since = match anchor {
        "" => Numbers { validity: opened.told.uid_validity, next: 1 },
        anchor => Numbers::since(anchor)?,
    };
    let there = above(live, &opened, since).await?;
    let known = known.numbers(&ids_of(since.validity));
    let set: UidSet =
        there.iter().filter(|uid| !known.is_some_and(|known| known.contains(u64::from(*uid)))).collect();
    let found = read_back(live, since.validity, &set).await?;
    Ok(found.into_iter().map(|(_, arrival)| arrival).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_cut_into_parts_that_fit_one_command() {
        let set = UidSet::of_ranges([(1, 250), (300, 300), (4_294_967_290, u32::MAX)]);
        let cut = parts(&set, 100);
        assert!(cut.iter().all(|p| p.len() <= 100));
        assert_eq!(cut.iter().map(UidSet::len).sum::<u64>(), set.len());
        let all: UidSet = cut.iter().flat_map(|p| p.iter().collect::<Vec<_>>()).collect();
        assert_eq!(all, set);
        let scattered: UidSet = (0..3000).map(|n| n * 2 + 1).collect();
        assert!(parts(&scattered, 5000).iter().all(|p| p.ranges().len() <= RANGES));
    }
}

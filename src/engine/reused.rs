//! Numbers given out again under one UIDVALIDITY: a server put back to an older state and used since.

use std::collections::BTreeMap;

use super::pass::Core;
use super::roll::Roll;
use crate::ledger::FolderState;
use crate::model::{Error, Kind, Result, RunSet, Scope};
use crate::source::Listing;

/// How many of the newest recorded messages are compared: numbers are given out again from the newest on.
const NEWEST: usize = 256;

/// Do the newest recorded messages that were listed still look as they did? One whose size *and* date are others is
/// another message, and nothing the ledger says of this folder can be relied on. (A size alone proves nothing: some
/// servers tell a wrong one.)
///
/// # Errors
/// `Conflict` if not; `Kind::Ledger`.
pub(super) async fn check(
    core: &Core,
    recorded: &FolderState,
    listing: &Listing,
    listed: &Roll,
) -> Result<()> {
    let nothing = listed.is_empty() || recorded.uidnext == 0 || recorded.live == 0;
    if nothing || recorded.epoch != listing.epoch {
        return Ok(());
    }
    let mut newest = BTreeMap::new();
    let live = recorded.flags.numbers();
    for message in listed.iter().filter(|m| m.number < recorded.uidnext && live.contains(m.number)) {
        newest.insert(message.number, (message.size, message.received));
        if newest.len() > NEWEST {
            newest.pop_first();
        }
    }
    if newest.is_empty() {
        return Ok(());
    }
    let numbers: RunSet = newest.keys().copied().collect();
    for fact in core.parts.ledger.facts_of(&core.claim, recorded.id, recorded.epoch, &numbers).await? {
        let Some((Some(size), Some(received))) = newest.get(&fact.number) else { continue };
        // A file with LF lines is listed smaller than the message it gives.
        let fits = *size <= fact.size && fact.size <= size.saturating_mul(2);
        if !fits && fact.received.is_some_and(|r| r.seconds != received.seconds) {
            let what = format!(
                "{} of the source gives out numbers again (message {} has another size and date, UIDVALIDITY did not change); nothing was changed",
                recorded.id, fact.number
            );
            return Err(Error::new(Kind::Conflict, Scope::Mailbox, what).remedy(
                "the source was restored from a backup: give the folder a new UIDVALIDITY there and run again",
            ));
        }
    }
    Ok(())
}

//! A ledger made anew, where the old one was lost: from what the source lists, and from the stamps (else the octets) of the
//! copies the target holds. Nothing is stored, changed or removed at the target; counterparts of folders that have none are
//! made, as the next pass would.
//!
//! Where the source numbers its messages, a stamp names its message. Where it names them (the ledger that knew the numbers
//! is gone), where a folder was numbered anew since, and where copies carry no stamp, both ends are read and paired
//! ([`super::pairing`]). What cannot be told is on record as a skipped item in doubt: no pass ever stores it.

mod folders;
mod paired;
mod read;
mod record;
mod stamped;

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use self::folders::{book_of, give_ids, places};
use self::paired::{pair_stamped, pair_unstamped};
use self::read::read_rest;
use self::stamped::{Copies, by_number, record_stamped, sort_out};
use super::diff::NewMessage;
use super::pass::{Core, endpoints, stopped};
use super::{Event, Parts, Stop, Watcher};
use crate::ledger::Change;
use crate::limit::Account;
use crate::model::{Error, FolderId, Mailbox, Result};
use crate::source::{Listing, SourceFolder, SourceMailbox};
use crate::target::{Copy, TargetFolderId};

pub(super) use self::read::{read, read_copy};
pub(super) use self::record::intent_item;

/// Messages read and recorded at once.
const AT_ONCE: usize = 64;

/// What came of one mailbox.
#[derive(Debug, Clone)]
pub struct Rebuilt {
    /// The mailbox.
    pub mailbox: Mailbox,
    /// Messages whose copies were found: on record now.
    pub matched: u64,
    /// Messages without a copy: the next run copies them.
    pub without_copy: u64,
    /// Messages whose store was cut: the next run completes them.
    pub unfinished: u64,
    /// Messages of which a copy may be there, and which one cannot be told: on record as skipped, never stored.
    pub doubtful: u64,
    /// Second copies of one stamp: left alone, `verify` names them.
    pub twins: u64,
    /// Copies of ours, whole or not, of which no message at the source is known to be the original: left alone, and not on
    /// record.
    pub strangers: u64,
    /// Copies with other flags than their messages: left as they are.
    pub other_flags: u64,
    /// `Some`: it could not be done.
    pub error: Option<Error>,
}

/// Puts on record what `parts.ledger` (a new, empty one) must know of these mailboxes, `at_once` at a time.
pub async fn rebuild(
    parts: Arc<Parts>,
    mailboxes: Vec<Mailbox>,
    watcher: Arc<dyn Watcher>,
    stop: Stop,
    at_once: usize,
) -> Vec<Rebuilt> {
    let one = |mailbox: Mailbox| {
        let (parts, watcher, stop) = (parts.clone(), watcher.clone(), stop.clone());
        async move {
            let mut told = Rebuilt {
                mailbox: mailbox.clone(),
                matched: 0,
                without_copy: 0,
                unfinished: 0,
                doubtful: 0,
                twins: 0,
                strangers: 0,
                other_flags: 0,
                error: None,
            };
            told.error = rebuild_one(&parts, &mailbox, &watcher, &stop, &mut told).await.err();
            told
        }
    };
    stream::iter(mailboxes).map(one).buffered(at_once.max(1)).collect().await
}

async fn rebuild_one(
    parts: &Arc<Parts>,
    mailbox: &Mailbox,
    watcher: &Arc<dyn Watcher>,
    stop: &Stop,
    told: &mut Rebuilt,
) -> Result<()> {
    if stop.asked() {
        return Err(stopped());
    }
    let (source, target) = endpoints(parts, mailbox)?;
    let claim = parts.ledger.claim(mailbox).await?;
    watcher.event(Event::Opened(mailbox.clone()));
    let gate = parts.limits.gate(&mailbox.target_endpoint, &mailbox.target);
    let target = target.open(&mailbox.target, &mailbox.target_place, gate.clone()).await?;
    let core = Core {
        parts: parts.clone(),
        mailbox: mailbox.clone(),
        claim,
        target,
        gate,
        account: Account::new(&parts.env),
        watcher: watcher.clone(),
        stop: stop.clone(),
        outdated: Arc::default(),
    };
    core.apply(Change::BindTarget { identity: core.target.identity().to_owned() }).await?;
    let source = source.open(&mailbox.source).await?;
    let done = match_up(&core, source.as_ref(), told).await;
    futures_util::future::join(source.release(), core.target.release()).await;
    done
}

/// A folder at both ends.
struct Place {
    source: SourceFolder,
    listing: Listing,
    target: TargetFolderId,
    id: FolderId,
    /// Its messages, in order, and what is known of the copy of each.
    messages: Vec<(NewMessage, Found)>,
}

/// What was found of a message.
enum Found {
    /// Nothing yet.
    Nothing,
    /// Its copy, known by its own stamp.
    Stamped(Copy),
    /// A store that was cut.
    Unfinished,
    /// On record, or told.
    Settled,
}

async fn match_up(core: &Core, source: &dyn SourceMailbox, told: &mut Rebuilt) -> Result<()> {
    let mut places = places(core, source).await?;
    let copies = if core.target.capabilities().stamps {
        let all = core.find(&core.all_stamps()).await?;
        sort_out(all, told)
    } else {
        Copies::default()
    };
    give_ids(core, &mut places, &copies).await?;
    let book = book_of(&places);
    let (left, unbound) = by_number(&mut places, copies);
    told.strangers += unbound;
    for place in &mut places {
        record_stamped(core, source, &book, place, told).await?;
    }
    let read = read_rest(core, source, &book, &mut places).await?;
    if core.target.capabilities().stamps {
        pair_stamped(core, &mut places, read, left, told).await
    } else {
        pair_unstamped(core, &mut places, read, told).await
    }
}

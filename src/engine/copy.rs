//! The copy loop of a mailbox: one fetcher, several stores at once, every outcome recorded.
//!
//! reserve rate → reserve bytes → intent → fetch → store → outcome. Outcomes are recorded while the next batch waits
//! for its reservation.

use std::collections::VecDeque;
use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::batches::{self, BatchBounds};
use super::diff::NewMessage;
use super::pass::{Book, Core, stopped};
use super::retry::{self, Next};
use super::{Event, settle};
use crate::env::{Step, Tick};
use crate::ledger::{Applied, BatchId, Change, IntentItem, Outcomes, Stored};
use crate::limit::{MemoryPermit, Ticket};
use crate::model::{
    Digest, Error, Fact, Flags, FolderId, Kind, Outcome, Result, Scope, Skip, SkipReason, SourceId, Stamp,
    Timestamp,
};
use crate::source::{Fetched, SourceMailbox, Wanted};
use crate::target::{StoreItem, TargetFolderId};

/// A batch to do.
#[derive(Debug)]
struct Work {
    folder: FolderId,
    messages: Vec<NewMessage>,
    attempt: u32,
    not_before: Tick,
}

/// A message that was fetched: what the ledger will keep of it.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    pub message: NewMessage,
    pub stamp: Stamp,
    pub digest: Digest,
    pub size: u64,
    pub flags: Flags,
    pub received: Option<Timestamp>,
}

impl Carried {
    /// What is recorded when a copy is there.
    pub(super) fn stored(&self, epoch: u64, target_id: String, losses: &[&str]) -> Stored {
        Stored {
            from: self.message.from,
            flags: self.flags.clone(),
            fact: Fact {
                epoch,
                number: self.message.number,
                name: match &self.message.id {
                    SourceId::Name(name) => name.clone(),
                    SourceId::Number(_) => String::new(),
                },
                target_id,
                digest: Some(self.digest),
                size: self.size,
                received: self.received,
                bound: None,
                losses: losses.join(","),
            },
        }
    }
}

/// A batch whose stores have ended, one way or the other.
struct Landed {
    work: Work,
    batch: BatchId,
    early: Outcomes,
    again: Vec<(NewMessage, Error)>,
    carried: Vec<Carried>,
    outcomes: Vec<Outcome>,
}

/// A batch that was fetched and may be stored.
struct Prepared {
    work: Work,
    batch: BatchId,
    ticket: Ticket,
    permit: MemoryPermit,
    fetched: Result<Vec<Fetched>>,
}

/// A message whose store has no known outcome.
#[derive(Debug)]
pub(super) struct Unsettled {
    pub batch: BatchId,
    pub folder: FolderId,
    pub carried: Carried,
    pub attempt: u32,
}

/// A skipped item.
pub(super) fn skip(m: &NewMessage, reason: SkipReason, detail: String, size: Option<u64>) -> Skip {
    Skip {
        number: m.number,
        name: match &m.id {
            SourceId::Name(name) => name.clone(),
            SourceId::Number(_) => String::new(),
        },
        reason,
        detail,
        size,
        received: m.received.map(|r| r.seconds),
    }
}

/// Copies everything new; what has no known outcome is looked for and, if it is not there, copied again. On return
/// every outcome is recorded; `book.fatal` tells if something stopped it.
pub(super) async fn all(core: &Core, source: &mut dyn SourceMailbox, book: &mut Book) -> Result<()> {
    let caps = core.target.capabilities();
    let bounds = BatchBounds { messages: caps.batch_messages, bytes: caps.batch_bytes };
    let mut queue = VecDeque::new();
    // The inbox and the roles first: what a user misses first arrives first.
    let mut order: Vec<FolderId> = book.folders.keys().copied().collect();
    order.sort_by_key(|id| (!book.folders[id].source.path.is_inbox(), *id));
    for folder in order {
        let Some(work) = book.folders.get_mut(&folder) else { continue };
        let new = std::mem::take(&mut work.new);
        let size = |m: &NewMessage| m.size.unwrap_or(64 << 10);
        for messages in batches::cut(new, bounds, size) {
            queue.push_back(Work { folder, messages, attempt: 0, not_before: Tick::ZERO });
        }
    }
    let mut unsettled = Vec::new();
    loop {
        copy(core, source, book, &mut queue, &mut unsettled).await?;
        if unsettled.is_empty() || core.stop.asked() {
            break;
        }
        for lost in settle::look(core, book, std::mem::take(&mut unsettled)).await? {
            let attempt = lost.attempt + 1;
            if attempt >= core.parts.options.tries {
                book.fail(
                    Error::temporary(
                        Kind::Unreachable,
                        Scope::Mailbox,
                        "the target left the outcome of one message unknown again and again",
                    )
                    .remedy("run again when the target is calm"),
                );
                continue;
            }
            let messages = vec![lost.carried.message];
            queue.push_back(Work { folder: lost.folder, messages, attempt, not_before: Tick::ZERO });
        }
        if queue.is_empty() {
            break;
        }
    }
    if book.fatal.is_none() && core.stop.asked() && !queue.is_empty() {
        book.fail(stopped());
    }
    Ok(())
}

type Landing = Pin<Box<dyn Future<Output = Landed> + Send>>;

/// Works off the queue.
async fn copy(
    core: &Core,
    source: &mut dyn SourceMailbox,
    book: &mut Book,
    queue: &mut VecDeque<Work>,
    unsettled: &mut Vec<Unsettled>,
) -> Result<()> {
    let lanes = core.target.capabilities().lanes.clamp(1, 64);
    let mut flying: FuturesUnordered<Landing> = FuturesUnordered::new();
    loop {
        let go_on = book.fatal.is_none() && !core.stop.asked();
        let next = if go_on && flying.len() < lanes { take_next(queue) } else { None };
        let Some(work) = next else {
            match flying.next().await {
                Some(landed) => record(core, book, queue, unsettled, landed).await?,
                None => return Ok(()),
            }
            continue;
        };
        let prepared = {
            let mut preparing = std::pin::pin!(prepare(core, source, book_folder(book, work.folder)?, work));
            loop {
                tokio::select! {
                    biased;
                    // Recorded at once, while the next batch still waits.
                    Some(landed) = flying.next(), if !flying.is_empty() => {
                        record(core, book, queue, unsettled, landed).await?;
                    }
                    prepared = &mut preparing => break prepared?,
                }
            }
        };
        match prepared {
            Err(work) => queue.push_front(work),
            Ok(prepared) => flying.extend(launch(core, book, queue, prepared).await?),
        }
    }
}

/// The batch that may go first.
fn take_next(queue: &mut VecDeque<Work>) -> Option<Work> {
    let first = queue.iter().enumerate().min_by_key(|(i, w)| (w.not_before, *i))?.0;
    queue.remove(first)
}

/// What preparing needs to know of a folder.
struct FolderNow {
    source: crate::source::SourceFolder,
    epoch: u64,
}

fn book_folder(book: &Book, folder: FolderId) -> Result<FolderNow> {
    let work = book.folders.get(&folder).ok_or_else(lost_folder)?;
    Ok(FolderNow { source: work.source.clone(), epoch: work.listing.epoch })
}

fn lost_folder() -> Error {
    Error::new(Kind::Internal, Scope::Mailbox, "a batch names a folder that is not in this pass")
}

/// Reserves, records the intent, fetches. The inner `Err` gives a batch back that was not begun: a stop was asked for.
async fn prepare(
    core: &Core,
    source: &mut dyn SourceMailbox,
    folder: FolderNow,
    work: Work,
) -> Result<std::result::Result<Prepared, Work>> {
    let parts = &core.parts;
    let wanted: Vec<Wanted> =
        work.messages.iter().map(|m| Wanted { number: m.number, id: m.id.clone(), size: m.size }).collect();
    let sizes: Vec<u64> = wanted.iter().map(batches::expected_size).collect();
    // Told to wait for minutes, a run is asked to stop: nothing of this batch was begun.
    let turn = core.stop.unless_asked(async {
        parts.env.sleep_until(work.not_before).await;
        let ticket = core.gate.reserve(core.target.cost(&sizes)).await;
        (ticket, parts.limits.memory(sizes.iter().sum()).await)
    });
    let Some((ticket, permit)) = turn.await else { return Ok(Err(work)) };
    let items =
        wanted.iter().map(|w| IntentItem { number: w.number, id: w.id.clone(), size: w.size }).collect();
    let intent = Change::Intent { folder: work.folder, epoch: folder.epoch, items };
    let Applied::Batch(batch) = core.apply(intent).await? else {
        return Err(Error::new(Kind::Internal, Scope::Run, "the ledger gave a batch no number"));
    };
    parts.env.step(Step::SourceFetch).await;
    let fetched =
        source.fetch(&folder.source, folder.epoch, &wanted, &parts.bodies).await.and_then(|fetched| {
            // Asked-for versus received: one entry per message, or nothing of it is used.
            if fetched.len() == wanted.len() {
                Ok(fetched)
            } else {
                Err(Error::new(
                    Kind::Internal,
                    Scope::Mailbox,
                    "the source accounted for another number of messages",
                ))
            }
        });
    Ok(Ok(Prepared { work, batch, ticket, permit, fetched }))
}

/// Sorts what was fetched, binds moved messages, and starts the store of the rest in a task of its own. `None`: there
/// was nothing to store and the outcome is recorded.
async fn launch(
    core: &Core,
    book: &mut Book,
    queue: &mut VecDeque<Work>,
    prepared: Prepared,
) -> Result<Option<Landing>> {
    let Prepared { mut work, batch, ticket, permit, fetched } = prepared;
    let folder = work.folder;
    let (target_folder, epoch) = {
        let now = book.folders.get(&folder).ok_or_else(lost_folder)?;
        (now.target.clone(), now.listing.epoch)
    };
    let fetched = match fetched {
        Ok(fetched) => fetched,
        Err(error) => {
            let unsent = work.messages.iter().map(|m| m.number).collect();
            core.apply(Change::Outcome { batch, outcomes: Outcomes { unsent, ..Outcomes::default() } })
                .await?;
            try_again(core, book, queue, work, error);
            return Ok(None);
        }
    };
    let mut early = Outcomes::default();
    let mut again = Vec::new();
    let mut carried = Vec::new();
    let mut items = Vec::new();
    for (message, fetched) in std::mem::take(&mut work.messages).into_iter().zip(fetched) {
        match fetched {
            Fetched::Gone => early.gone.push(message.number),
            Fetched::Failed(error) if error.may_pass() && work.attempt + 1 < core.parts.options.tries => {
                early.unsent.push(message.number);
                again.push((message, error));
            }
            Fetched::Failed(error) => {
                let reason = match error.kind {
                    Kind::TooLarge => SkipReason::TooLarge,
                    _ => SkipReason::Unreadable,
                };
                let size = message.size;
                early.skipped.push(skip(&message, reason, error.what, size));
            }
            Fetched::Message { body, flags, received } => {
                let one = Carried {
                    stamp: core.stamp(folder, epoch, message.number),
                    digest: body.digest(),
                    size: body.len(),
                    flags: flags.unwrap_or_else(|| message.flags.clone()),
                    received: received.or(message.received),
                    message,
                };
                if super::mirror::bind_moved(core, book, folder, &target_folder, epoch, &one).await? {
                    early.unsent.push(one.message.number); // its intent ends; its copy is bound
                    continue;
                }
                let (stamp, flags, received) = (one.stamp.clone(), one.flags.clone(), one.received);
                items.push(StoreItem { stamp, body, flags, received });
                carried.push(one);
            }
        }
    }
    let landed = Landed { work, batch, early, again, carried, outcomes: Vec::new() };
    if items.is_empty() {
        drop((ticket, permit));
        record(core, book, queue, &mut Vec::new(), landed).await?;
        return Ok(None);
    }
    Ok(Some(start_store(core, target_folder, items, ticket, permit, landed)))
}

/// Starts a store. It is never cancelled: past its deadline it goes on unobserved and its outcome is unknown.
fn start_store(
    core: &Core,
    folder: TargetFolderId,
    items: Vec<StoreItem>,
    ticket: Ticket,
    permit: MemoryPermit,
    mut landed: Landed,
) -> Landing {
    let (env, target) = (core.parts.env.clone(), core.target.clone());
    let deadline = core.parts.options.store_deadline;
    let count = items.len();
    let store = env.spawn(async move {
        let outcomes = target.store(&folder, items, ticket).await;
        drop(permit);
        outcomes
    });
    Box::pin(async move {
        let unknown = |what: &str| {
            vec![Outcome::Unknown(Error::temporary(Kind::Unreachable, Scope::Message, what)); count]
        };
        landed.outcomes = match env.within(deadline, store).await {
            Some(Ok(outcomes)) if outcomes.len() == count => outcomes,
            Some(Ok(_)) => unknown("the target accounted for another number of messages"),
            Some(Err(_)) => unknown("the store failed unexpectedly"),
            None => unknown("the store did not end within its deadline"),
        };
        landed
    })
}

/// Records what became of a batch.
async fn record(
    core: &Core,
    book: &mut Book,
    queue: &mut VecDeque<Work>,
    unsettled: &mut Vec<Unsettled>,
    landed: Landed,
) -> Result<()> {
    let Landed { work, batch, early, again, carried, outcomes } = landed;
    let epoch = book.folders.get(&work.folder).ok_or_else(lost_folder)?.listing.epoch;
    let mut sum = early;
    let mut retry: Vec<(NewMessage, Error)> = again;
    let (mut messages, mut bytes) = (0u64, 0u64);
    for (one, outcome) in carried.into_iter().zip(outcomes) {
        match outcome {
            Outcome::Stored { id, losses } => {
                messages += 1;
                bytes += one.size;
                sum.stored.push(one.stored(epoch, id, &losses));
            }
            Outcome::Refused(error) => {
                let reason = match error.kind {
                    Kind::TooLarge => SkipReason::TooLarge,
                    _ if one.size == 0 => SkipReason::NotAMessage,
                    _ => SkipReason::Refused,
                };
                sum.skipped.push(skip(&one.message, reason, error.what, Some(one.size)));
            }
            Outcome::NotSent(error) => {
                sum.unsent.push(one.message.number);
                retry.push((one.message, error));
            }
            Outcome::Unknown(_) => {
                sum.unknown.push((one.message.number, one.stamp.clone()));
                unsettled.push(Unsettled { batch, folder: work.folder, carried: one, attempt: work.attempt });
            }
        }
    }
    let skipped = sum.skipped.len() as u64;
    core.apply(Change::Outcome { batch, outcomes: sum }).await?;
    book.tally.stored += messages;
    book.tally.bytes += bytes;
    if messages + skipped > 0 {
        core.watcher.event(Event::Progress { mailbox: core.mailbox.clone(), messages, bytes, skipped });
    }
    // Messages that failed for different reasons wait for different times.
    for (message, error) in retry {
        let one = Work {
            folder: work.folder,
            messages: vec![message],
            attempt: work.attempt,
            not_before: work.not_before,
        };
        try_again(core, book, queue, one, error);
    }
    Ok(())
}

/// Puts a batch back into the queue after a failure that had no effect, or gives up on the pass.
fn try_again(core: &Core, book: &mut Book, queue: &mut VecDeque<Work>, mut work: Work, error: Error) {
    work.attempt += 1;
    let env = &core.parts.env;
    match retry::after(&error, work.attempt, core.parts.options.tries, env.random(1000)) {
        Next::Again(wait) => {
            work.not_before = env.now() + wait;
            let mailbox = core.mailbox.clone();
            core.watcher.event(Event::Waiting { mailbox, wait, why: error });
            queue.push_back(work);
        }
        Next::GiveUp => book.fail(error),
    }
}

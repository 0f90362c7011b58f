//! The copy loop of a mailbox: several fetches and several stores at once, every outcome recorded.
//!
//! reserve rate → reserve bytes → intent → fetch → store → outcome. Outcomes are recorded while the next batches wait
//! for their reservations.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tracing::Instrument;

use super::batches::{self, BatchBounds, Queue, Work};
use super::diff::NewMessage;
use super::pass::{Book, Core, changed, stopped};
use super::retry::{self, Next};
use super::{Event, settle};
use crate::env::Step;
use crate::ledger::{Applied, BatchId, Change, IntentItem, Outcomes, Stored};
use crate::limit::{Bound, Doing, MemoryPermit, Ticket, WavePlace};
use crate::model::{
    Body, Digest, Error, Fact, Flags, FolderId, Form, Hasher, Kind, Outcome, Result, Scope, Skip, SkipReason,
    SourceId, Stamp, Status, Timestamp, WriteMode,
};
use crate::source::{Fetched, SourceMailbox, Wanted};
use crate::target::{StoreItem, TargetFolderId};

/// A message that was fetched: what the ledger will keep of it.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    pub message: NewMessage,
    pub stamp: Stamp,
    pub digest: Digest,
    pub size: u64,
    /// The beginning of its header block's digest; 0 if it is not known.
    pub header: u64,
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
                header: self.header,
                object: self.message.object,
                bound: None,
                losses: losses.join(","),
                mode: WriteMode::Usual,
            },
        }
    }
}

/// The beginning of the digest of a message's header block, as [`SourceMailbox::headers`] tells it; 0 if its octets
/// cannot be read just now (nothing is bound by it then).
pub(super) fn header_digest(body: &Body) -> u64 {
    const PIECE: u64 = 16 << 10;
    let mut hasher = Hasher::new();
    let (mut at, mut tail) = (0u64, Vec::new());
    while at < body.len() {
        let Ok(piece) = body.range(at, PIECE.min(body.len() - at)) else { return 0 };
        // Nearly every header block ends in the first piece.
        if at == 0
            && let Some(end) = header_end(&piece, true)
        {
            hasher.update(piece.get(..end).unwrap_or_default());
            break;
        }
        // A blank line may lie across two pieces.
        let known = tail.len();
        tail.extend_from_slice(&piece);
        if let Some(end) = header_end(&tail, at == 0) {
            hasher.update(piece.get(..end.saturating_sub(known)).unwrap_or_default());
            return hasher.finish().beginning();
        }
        hasher.update(&piece);
        at += piece.len() as u64;
        tail.drain(..tail.len().saturating_sub(3));
    }
    hasher.finish().beginning()
}

/// Where the first blank line ends.
fn header_end(octets: &[u8], from_start: bool) -> Option<usize> {
    if from_start {
        for blank in [&b"\r\n"[..], b"\n"] {
            if octets.starts_with(blank) {
                return Some(blank.len());
            }
        }
    }
    memchr::memchr_iter(b'\n', octets).map(|at| at + 1).find_map(|next| match octets.get(next..)? {
        [b'\n', ..] => Some(next + 1),
        [b'\r', b'\n', ..] => Some(next + 2),
        _ => None,
    })
}

/// A batch whose stores have ended, one way or the other.
struct Landed {
    work: Work,
    batch: BatchId,
    early: Outcomes,
    again: Vec<(NewMessage, Error)>,
    carried: Vec<Carried>,
    outcomes: Vec<Outcome>,
    /// The store did not end within its deadline and is still under way.
    overdue: bool,
    doing: Doing,
}

/// A batch that was fetched and may be stored.
struct Prepared {
    work: Work,
    batch: BatchId,
    ticket: Ticket,
    permits: (Permits, WavePlace),
    fetched: Result<Vec<Fetched>>,
    doing: Doing,
    span: tracing::Span,
}

/// Shares of the byte budgets: memory, and the spool for large messages.
pub(super) type Permits = (MemoryPermit, Option<MemoryPermit>);

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
pub(super) async fn all(core: &Core, source: &dyn SourceMailbox, book: &mut Book) -> Result<()> {
    let caps = core.target.capabilities();
    let bounds = BatchBounds { messages: caps.batch_messages, bytes: caps.batch_bytes };
    super::moves::bind(core, book).await?;
    let mut queue = Queue::new(bounds);
    // The inbox and the roles first: what a user misses first arrives first.
    let mut order: Vec<FolderId> = book.folders.keys().copied().collect();
    order.sort_by_key(|id| (!book.folders[id].source.path.is_inbox(), *id));
    for folder in order {
        let Some(work) = book.folders.get_mut(&folder) else { continue };
        let open = book.reopened.iter().filter(|r| r.folder == folder);
        let open: BTreeMap<u64, BatchId> = open.map(|r| (r.item.number, r.batch)).collect();
        let new = std::mem::take(&mut work.new);
        let new = if core.parts.options.newest_first { new.reversed() } else { new };
        queue.folder(folder, new, &open);
    }
    let mut unsettled = Vec::new();
    loop {
        Box::pin(copy(core, source, book, &mut queue, &mut unsettled)).await;
        if unsettled.is_empty() || core.stop.asked() {
            break;
        }
        let looked = Box::pin(settle::look(core, source, book, std::mem::take(&mut unsettled))).await?;
        for lost in looked {
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
            let work = Work::new(lost.folder, vec![lost.carried.message], Some(lost.batch));
            queue.put(Work { attempt, ..work });
        }
        if queue.is_empty() {
            break;
        }
    }
    if book.fatal.is_none() && core.stop.asked() && !(queue.is_empty() && unsettled.is_empty()) {
        book.unfinished = queue.left();
        book.unfinished.extend(unsettled.iter().map(|lost| lost.folder));
        book.fail(stopped());
    }
    Ok(())
}

type Landing = Pin<Box<dyn Future<Output = Landed> + Send>>;
/// A batch that was not begun: a stop was asked for, or its target folder cannot be had.
type NotBegun = (Work, Option<Error>);
type PreparedOrNot = Result<std::result::Result<Prepared, NotBegun>>;
type Preparing<'a> = Pin<Box<dyn Future<Output = PreparedOrNot> + Send + 'a>>;

/// Batches that may be prepared while every lane is taken, for each fetch the source allows at once.
const AHEAD: usize = 1;

/// Works off the queue. A failure stops it from beginning anything new; what is under way is waited for and recorded.
///
/// Up to as many batches as the source allows are prepared at once, so that the next ones are fetched while others are
/// stored. Each takes what it needs in the order that holds everywhere (rate → spool → turn → memory → session → store) and holds
/// nothing while it waits for something earlier; a fetched one waits for a lane, and those that hold lanes need nothing
/// that it holds. A large message is not fetched before a lane is free: it would hold its bytes for nothing.
async fn copy(
    core: &Core,
    source: &dyn SourceMailbox,
    book: &mut Book,
    queue: &mut Queue,
    unsettled: &mut Vec<Unsettled>,
) {
    let lanes = core.target.capabilities().lanes.clamp(1, 64);
    let fetches = source.capabilities().fetches.clamp(1, 16);
    let limits = &core.parts.limits;
    let _copying = limits.copying();
    let mut preparing = Preparations { under_way: FuturesUnordered::new(), ended: VecDeque::new() };
    let mut ready: VecDeque<Prepared> = VecDeque::new();
    let mut flying: FuturesUnordered<Landing> = FuturesUnordered::new();
    loop {
        while let Some(prepared) = preparing.ended.pop_front() {
            let put_back = match prepared {
                Ok(Ok(prepared)) => {
                    ready.push_back(prepared);
                    Ok(())
                }
                Ok(Err((work, None))) => {
                    queue.put_back(work);
                    Ok(())
                }
                Ok(Err((work, Some(error)))) => Box::pin(requeue(core, book, queue, work, error)).await,
                Err(error) => Err(error),
            };
            if let Err(error) = put_back {
                book.fail(error);
            }
        }
        while flying.len() < lanes
            && let Some(prepared) = ready.pop_front()
        {
            let launched = match book.fatal {
                // Prepared is not begun: a stop waits for stores that are under way, for no others.
                None if core.stop.asked() => preparing.beside(give_up(core, prepared)).await.map(|work| {
                    queue.put_back(work);
                    None
                }),
                None => preparing.beside(Box::pin(launch(core, book, queue, prepared))).await,
                Some(_) => give_up(core, prepared).await.map(|_| None),
            };
            match launched {
                Ok(landing) => flying.extend(landing),
                Err(error) => book.fail(error),
            }
        }
        while book.fatal.is_none() && !core.stop.asked() && preparing.len() < fetches {
            let under_way = preparing.len() + ready.len() + flying.len();
            let ahead = under_way >= lanes;
            // What is prepared ahead holds memory while it waits for a lane: not while others wait for memory.
            if under_way >= lanes + fetches * AHEAD || (ahead && limits.is_memory_short()) {
                break;
            }
            let share = limits.batch_share(lanes + fetches * AHEAD);
            // A batch that still waits for its time holds no place but its own.
            let waits = preparing.len() > 0 || !flying.is_empty();
            let Some(work) = queue.take(core.parts.env.now(), ahead, share) else { break };
            if work.not_before > core.parts.env.now() && waits {
                queue.put(work);
                break;
            }
            match book_folder(book, work.folder) {
                Ok(folder) => preparing.under_way.push(Box::pin(prepare(core, source, folder, work))),
                Err(error) => book.fail(error),
            }
        }
        if !preparing.ended.is_empty() {
            continue;
        }
        tokio::select! {
            biased;
            Some(landed) = flying.next(), if !flying.is_empty() => {
                preparing.beside(Box::pin(record(core, book, queue, unsettled, landed))).await;
            }
            Some(prepared) = preparing.under_way.next(), if !preparing.under_way.is_empty() => {
                preparing.ended.push_back(prepared);
            }
            else => {
                if ready.is_empty() {
                    return;
                }
            }
        }
    }
}

/// Batches that are being prepared.
struct Preparations<'a> {
    under_way: FuturesUnordered<Preparing<'a>>,
    ended: VecDeque<PreparedOrNot>,
}

impl Preparations<'_> {
    fn len(&self) -> usize {
        self.under_way.len() + self.ended.len()
    }

    /// Does something else while they go on: a fetch is not left lying while an outcome is recorded.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = work.as_mut() => return done,
                Some(prepared) = self.under_way.next(), if !self.under_way.is_empty() => {
                    self.ended.push_back(prepared);
                }
            }
        }
    }
}

/// The pass has failed or is stopped: a batch that was fetched is not stored any more, and its intent ends.
async fn give_up(core: &Core, prepared: Prepared) -> Result<Work> {
    let Prepared { work, batch, .. } = prepared;
    unsent(core, &work, batch).await?;
    Ok(work)
}

/// A batch was not sent: its intent ends, unless an earlier attempt is unknown.
async fn unsent(core: &Core, work: &Work, batch: BatchId) -> Result<()> {
    if work.batch.is_none() {
        let unsent = work.messages.iter().map(|m| m.number).collect();
        core.apply(Change::Outcome { batch, outcomes: Outcomes { unsent, ..Outcomes::default() } }).await?;
    }
    Ok(())
}

/// What preparing needs to know of a folder.
struct FolderNow {
    source: crate::source::SourceFolder,
    target: TargetFolderId,
    epoch: u64,
}

fn book_folder(book: &Book, folder: FolderId) -> Result<FolderNow> {
    let work = book.folders.get(&folder).ok_or_else(lost_folder)?;
    Ok(FolderNow { source: work.source.clone(), target: work.target.clone(), epoch: work.listing.epoch })
}

fn lost_folder() -> Error {
    Error::new(Kind::Internal, Scope::Mailbox, "a batch names a folder that is not in this pass")
}

/// Reserves, records the intent, fetches.
async fn prepare(core: &Core, source: &dyn SourceMailbox, folder: FolderNow, work: Work) -> PreparedOrNot {
    let span = tracing::debug_span!(
        "batch",
        folder = work.folder.0,
        batch = tracing::field::Empty,
        messages = work.messages.len(),
        bytes = work.messages.iter().map(|m| batches::expected_size(m.size)).sum::<u64>(),
        attempt = work.attempt,
    );
    prepare_in(core, source, folder, work, span.clone()).instrument(span).await
}

async fn prepare_in(
    core: &Core,
    source: &dyn SourceMailbox,
    folder: FolderNow,
    work: Work,
    span: tracing::Span,
) -> PreparedOrNot {
    let parts = &core.parts;
    let mut doing = core.account.doing(Bound::Throttle);
    let wanted: Vec<Wanted> =
        work.messages.iter().map(|m| Wanted { number: m.number, id: m.id.clone(), size: m.size }).collect();
    let sizes: Vec<u64> = wanted.iter().map(|w| batches::expected_size(w.size)).collect();
    // Told to wait for minutes, a run is asked to stop: nothing of this batch was begun.
    let reserved = core.stop.unless_asked(async {
        parts.env.sleep_until(work.not_before).await;
        doing.now(Bound::Limit);
        let octets = sizes.iter().fold(0u64, |sum, size| sum.saturating_add(*size));
        let place = parts.limits.of_wave(&core.mailbox.wave, sizes.len() as u64, octets).await;
        let ticket = core.gate.reserve(core.target.cost(&sizes)).await;
        doing.now(Bound::Memory);
        // Before the turn: who waits for the spool should not keep the small ones of others from the source.
        let spool = reserve_spool(core, &sizes).await;
        doing.now(Bound::Source);
        let turn = source.turn().await;
        doing.now(Bound::Memory);
        (place, ticket, (reserve_memory(core, &sizes).await, spool), turn)
    });
    let Some((place, ticket, permits, turn)) = reserved.await else { return Ok(Err((work, None))) };
    doing.now(Bound::Ledger);
    let batch = match work.batch {
        Some(open) => open,
        None => {
            let items = wanted
                .iter()
                .map(|w| IntentItem { number: w.number, id: w.id.clone(), size: w.size })
                .collect();
            let anchor = match core.target.anchor(&folder.target).await {
                Ok(anchor) => anchor,
                Err(error) => return Ok(Err((work, Some(error)))),
            };
            let intent = Change::Intent { folder: work.folder, epoch: folder.epoch, anchor, items };
            match core.apply(intent).await? {
                Applied::Batch(batch) => batch,
                _ => return Err(Error::new(Kind::Internal, Scope::Run, "the ledger gave a batch no number")),
            }
        }
    };
    span.record("batch", batch.0);
    doing.now(Bound::Source);
    parts.env.step(Step::SourceFetch).await;
    let fetch = source.fetch(&folder.source, folder.epoch, &wanted, &parts.bodies);
    // What a stop would throw away is not read to its end: a fetch has no effect.
    let Some(fetched) = core.stop.unless_asked(fetch).await else {
        unsent(core, &work, batch).await?;
        return Ok(Err((work, None)));
    };
    let fetched = fetched.and_then(|fetched| {
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
    drop(turn);
    doing.now(Bound::Target);
    tracing::trace!(failed = fetched.is_err(), "fetched");
    Ok(Ok(Prepared { work, batch, ticket, permits: (permits, place), fetched, doing, span }))
}

/// Reserves what messages of these sizes (bytes) will take, in the spool and in memory.
pub(super) async fn reserve_bytes(core: &Core, sizes: &[u64]) -> Permits {
    let spool = reserve_spool(core, sizes).await;
    (reserve_memory(core, sizes).await, spool)
}

/// The spool's part of it: for those above the memory limit.
async fn reserve_spool(core: &Core, sizes: &[u64]) -> Option<MemoryPermit> {
    let limit = core.parts.bodies.memory_limit;
    let large: u64 = sizes.iter().filter(|s| **s > limit).sum();
    if large > 0 { Some(core.parts.limits.spool(large).await) } else { None }
}

/// The memory's part: the octets, and beside them what the target's requests are built in.
async fn reserve_memory(core: &Core, sizes: &[u64]) -> MemoryPermit {
    let limit = core.parts.bodies.memory_limit;
    let octets = sizes.iter().fold(0u64, |sum, size| sum.saturating_add((*size).min(limit)));
    core.parts.limits.memory(octets.saturating_add(core.target.building(sizes))).await
}

/// Why removals wait: a message that could not be read may be the moved original of a copy about to be removed.
const UNREAD: &str = "a new message could not be read";

/// Sorts what was fetched, binds moved messages, and starts the store of the rest in a task of its own. `None`: there
/// was nothing to store and the outcome is recorded.
async fn launch(
    core: &Core,
    book: &mut Book,
    queue: &mut Queue,
    prepared: Prepared,
) -> Result<Option<Landing>> {
    let Prepared { mut work, batch, ticket, permits, fetched, doing, span } = prepared;
    let folder = work.folder;
    let (target_folder, epoch) = {
        let now = book.folders.get(&folder).ok_or_else(lost_folder)?;
        (now.target.clone(), now.listing.epoch)
    };
    let fetched = match fetched {
        Ok(fetched) => fetched,
        Err(error) => {
            unsent(core, &work, batch).await?;
            if error.scope == Scope::Folder && matches!(error.kind, Kind::NotFound | Kind::Conflict) {
                // It is not what was listed any more: asking again tells nothing new.
                leave(book, queue, folder, changed(error));
            } else {
                try_again(core, book, queue, work, error);
            }
            return Ok(None);
        }
    };
    let mut early = Outcomes::default();
    let mut again = Vec::new();
    let mut carried = Vec::new();
    let mut items = Vec::new();
    for (message, fetched) in std::mem::take(&mut work.messages).into_iter().zip(fetched) {
        match fetched {
            Fetched::Gone => {
                book.hold = Some(UNREAD);
                book.tally.gone += 1;
                early.gone.push(message.number);
            }
            Fetched::Failed(error) if error.may_pass() && work.attempt + 1 < core.parts.options.tries => {
                if work.batch.is_none() {
                    early.unsent.push(message.number);
                }
                again.push((message, error));
            }
            Fetched::Failed(error) => {
                let known = |(f, s): &(FolderId, Skip)| *f == folder && s.number == message.number;
                if !book.state.skips.iter().any(known) {
                    book.hold = Some(UNREAD);
                }
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
                    header: header_digest(&body),
                    flags: flags.unwrap_or_else(|| message.flags.clone()),
                    received: received.or(message.received),
                    message,
                };
                if super::mirror::bind_moved(core, book, folder, &target_folder, epoch, &one).await? {
                    early.unsent.push(one.message.number); // its intent ends; its copy is bound
                    continue;
                }
                let (stamp, flags, received) = (one.stamp.clone(), one.flags.clone(), one.received);
                items.push(StoreItem { stamp, body, form: Form::Mime, flags, received });
                carried.push(one);
            }
        }
    }
    let landed = Landed { work, batch, early, again, carried, outcomes: Vec::new(), overdue: false, doing };
    if items.is_empty() {
        drop((ticket, permits));
        record(core, book, queue, &mut Vec::new(), landed).await;
        return Ok(None);
    }
    let _in_batch = span.entered();
    Ok(Some(start_store(core, target_folder, items, ticket, permits, landed)))
}

/// Ties to each message its part of the batch's shares: a target that lets go of a message gives its part back at once.
/// What is left is for building requests.
fn tie(permits: &mut Permits, items: Vec<StoreItem>) -> Vec<StoreItem> {
    let (memory, spool) = permits;
    let tied = items.into_iter().map(|item| {
        let part = match spool {
            Some(spool) if item.body.is_spooled() => spool.part(item.body.len()),
            _ => memory.part(item.body.len()),
        };
        StoreItem { body: item.body.guarded(part), ..item }
    });
    tied.collect()
}

/// Starts a store. It is never cancelled: past its deadline it goes on unobserved and its outcome is unknown.
fn start_store(
    core: &Core,
    folder: TargetFolderId,
    items: Vec<StoreItem>,
    ticket: Ticket,
    mut permits: (Permits, WavePlace),
    mut landed: Landed,
) -> Landing {
    let items = tie(&mut permits.0, items);
    let (env, target) = (core.parts.env.clone(), core.target.clone());
    let deadline = core.parts.options.store_deadline;
    let count = items.len();
    let store = async move {
        let outcomes = target.store(&folder, items, ticket).await;
        drop(permits);
        tracing::trace!(messages = outcomes.len(), "stored");
        outcomes
    };
    let store = env.spawn(store.in_current_span());
    Box::pin(async move {
        let unknown = |what: &str| {
            vec![Outcome::Unknown(Error::temporary(Kind::Unreachable, Scope::Message, what)); count]
        };
        landed.outcomes = match env.within(deadline, store).await {
            Some(Ok(outcomes)) if outcomes.len() == count => outcomes,
            Some(Ok(_)) => unknown("the target accounted for another number of messages"),
            Some(Err(_)) => unknown("the store failed unexpectedly"),
            None => {
                landed.overdue = true;
                unknown("the store did not end within its deadline")
            }
        };
        landed
    })
}

/// Records what became of a batch; a failure to do so stops the pass.
async fn record(
    core: &Core,
    book: &mut Book,
    queue: &mut Queue,
    unsettled: &mut Vec<Unsettled>,
    landed: Landed,
) {
    if landed.overdue {
        // It may still store what it has not stored yet: nothing of this mailbox is stored again while this process
        // lives. The next run looks for it.
        book.fail(
            Error::new(Kind::Unreachable, Scope::Mailbox, "a store did not end within its deadline")
                .remedy("run again; raise `run.store_deadline` if the target is this slow"),
        );
    }
    if let Err(error) = record_all(core, book, queue, unsettled, landed).await {
        book.fail(error);
    }
}

async fn record_all(
    core: &Core,
    book: &mut Book,
    queue: &mut Queue,
    unsettled: &mut Vec<Unsettled>,
    landed: Landed,
) -> Result<()> {
    let Landed { work, batch, early, again, carried, outcomes, overdue, mut doing } = landed;
    doing.now(Bound::Ledger);
    let epoch = book.folders.get(&work.folder).ok_or_else(lost_folder)?.listing.epoch;
    let left_behind: BTreeMap<u64, Skip> = book
        .state
        .skips
        .iter()
        .filter(|(folder, skip)| *folder == work.folder && skip.reason == SkipReason::Refused)
        .map(|(_, skip)| (skip.number, skip.clone()))
        .collect();
    let mut sum = early;
    let mut retry: Vec<(NewMessage, Error)> = again;
    let (mut messages, mut bytes) = (0u64, 0u64);
    for (one, outcome) in carried.into_iter().zip(outcomes) {
        match outcome {
            Outcome::Stored { id, losses, mode } => {
                messages += 1;
                bytes += one.size;
                let mut stored = one.stored(epoch, core.id_on_record(id), &losses);
                stored.fact.mode = mode;
                sum.stored.push(stored);
            }
            Outcome::Refused(error) => {
                let reason = match error.kind {
                    Kind::TooLarge => SkipReason::TooLarge,
                    _ if one.size == 0 => SkipReason::NotAMessage,
                    _ => SkipReason::Refused,
                };
                sum.skipped.push(skip(&one.message, reason, error.what, Some(one.size)));
            }
            // Not sent, and never will be: another try would fail the same way, and only this message is concerned.
            Outcome::NotSent(error) if !error.may_pass() && error.scope == Scope::Message => {
                sum.skipped.push(skip(&one.message, SkipReason::Refused, error.what, Some(one.size)));
            }
            // Refused in an earlier pass, and again without a reason: it is this message, not the target.
            Outcome::NotSent(error)
                if matches!(error.kind, Kind::Protocol | Kind::Refused)
                    && error.scope <= Scope::Folder
                    && left_behind.contains_key(&one.message.number) =>
            {
                sum.skipped.extend(left_behind.get(&one.message.number).cloned());
            }
            Outcome::NotSent(error) => {
                if error.kind == Kind::Throttled && core.target.capabilities().stamps {
                    sum.watched.push(one.stamp.clone());
                }
                // An intent whose earlier attempt is unknown stays open.
                if work.batch.is_none() {
                    sum.unsent.push(one.message.number);
                }
                retry.push((one.message, error));
            }
            Outcome::Unknown(_) => {
                sum.unknown.push((one.message.number, one.stamp.clone()));
                if !overdue {
                    unsettled.push(Unsettled {
                        batch,
                        folder: work.folder,
                        carried: one,
                        attempt: work.attempt,
                    });
                }
            }
        }
    }
    let skipped = sum.skipped.len() as u64;
    core.apply(Change::Outcome { batch, outcomes: sum }).await?;
    book.tally.stored += messages;
    book.tally.bytes += bytes;
    core.account.passed(messages, bytes);
    if messages + skipped > 0 {
        core.watcher.event(Event::Progress { mailbox: core.mailbox.clone(), messages, bytes, skipped });
    }
    // Messages that failed for different reasons wait for different times.
    for (message, error) in retry {
        let one = Work {
            attempt: work.attempt,
            throttles: work.throttles,
            not_before: work.not_before,
            ..Work::new(work.folder, vec![message], work.batch)
        };
        requeue(core, book, queue, one, error).await?;
    }
    Ok(())
}

/// Puts a batch back into the queue after a failure that had no effect; a target folder that is gone is found or made
/// again, once.
async fn requeue(core: &Core, book: &mut Book, queue: &mut Queue, work: Work, error: Error) -> Result<()> {
    if error.kind == Kind::NotFound && error.scope == Scope::Folder && work.attempt == 0 {
        super::inventory::find_folder_again(core, book, work.folder).await?;
        queue.put(Work { attempt: 1, ..Work::new(work.folder, work.messages, work.batch) });
    } else {
        try_again(core, book, queue, work, error);
    }
    Ok(())
}

/// Puts a batch back into the queue after a failure that had no effect, or gives up on the pass.
fn try_again(core: &Core, book: &mut Book, queue: &mut Queue, mut work: Work, error: Error) {
    let counter = if error.status == Status::Throttled { &mut work.throttles } else { &mut work.attempt };
    *counter += 1;
    let (times, env) = (*counter, &core.parts.env);
    match retry::after(&error, times, core.parts.options.tries, env.random(1000)) {
        Next::Again(wait) => {
            work.not_before = env.now() + wait;
            let mailbox = core.mailbox.clone();
            core.watcher.event(Event::Waiting { mailbox, wait, why: error });
            queue.put(work);
        }
        Next::GiveUp if error.scope == Scope::Folder => leave(book, queue, work.folder, error),
        Next::GiveUp => book.fail(error),
    }
}

/// A folder drops out of the pass: nothing more of it is begun, and the others go on.
fn leave(book: &mut Book, queue: &mut Queue, folder: FolderId, error: Error) {
    tracing::debug!(%folder, %error, "a folder drops out of this pass");
    queue.forget(folder);
    book.leave(folder, error);
}

/// Bytes of the copy loop, of a batch in preparation, and of what is kept of a message while it is stored.
#[cfg(test)]
pub(super) fn weight() -> [usize; 3] {
    fn of<'a, F: Future>(
        _: impl FnOnce(&'a Core, &'a dyn SourceMailbox, &'a mut Book, &'a mut Queue, &'a mut Vec<Unsettled>) -> F,
    ) -> usize {
        size_of::<F>()
    }
    fn prepared<'a, F: Future>(
        _: impl FnOnce(&'a Core, &'a dyn SourceMailbox, FolderNow, Work) -> F,
    ) -> usize {
        size_of::<F>()
    }
    [of(copy), prepared(prepare), size_of::<Carried>()]
}

//! One pass of one mailbox: claim → settle what a stop left open → list → copy → mirror → recount → verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::Instrument;

use super::anchored::Strays;
use super::inventory::FolderWork;
use super::mirror::Candidates;
use super::moves::Moves;
use super::options::Parts;
use super::retry::{self, Next};
use super::rollback::Looked;
use super::settle::Reopened;
use super::{Event, MailboxResult, Stop, Watcher};
use crate::guard::Shown;
use crate::ledger::{Applied, Change, Claim, MailboxState, PassSummary, Walked};
use crate::limit::{Account, Bound, Gate, Stage};
use crate::model::{Error, FolderId, Kind, Mailbox, Result, Scope, Stamp, StampPrefix};
use crate::source::{Extent, Source, SourceMailbox};
use crate::target::{OnRecord, Target, TargetFolderId, TargetMailbox};

/// What every step of a pass needs and none changes.
pub(super) struct Core {
    pub parts: Arc<Parts>,
    pub mailbox: Mailbox,
    pub claim: Claim,
    pub target: Arc<dyn TargetMailbox>,
    pub gate: Arc<Gate>,
    /// What the time of this pass goes to.
    pub account: Arc<Account>,
    pub watcher: Arc<dyn Watcher>,
    pub stop: Stop,
    /// Something may have been recorded since the state was loaded.
    pub outdated: Arc<AtomicBool>,
}

/// What a pass learns and counts.
#[derive(Default)]
pub(super) struct Book {
    /// As it was loaded last: [`Core::reload`].
    pub state: MailboxState,
    outdated: Arc<AtomicBool>,
    /// It goes on: the ledger knew the mailbox and its target before this pass.
    pub continued: bool,
    /// Where earlier tries of this run have looked for copies that the ledger did not know.
    pub looked: Arc<Looked>,
    /// The marks of the target's folders before anything was written, if they were asked for.
    pub marks: BTreeMap<TargetFolderId, String>,
    pub folders: BTreeMap<FolderId, FolderWork>,
    pub candidates: Candidates,
    /// Messages an earlier run left open and that are not at the target.
    pub reopened: Vec<Reopened>,
    /// What came into target folders beside messages left open that cannot be read any more.
    pub strays: BTreeMap<TargetFolderId, Strays>,
    /// Why nothing may be removed in this pass; absence is not proven then.
    pub hold: Option<&'static str>,
    /// Copies of messages that no folder lists were left as they are: where folders are views, the next pass lists all
    /// of them whole.
    pub copies_left: bool,
    pub tally: PassSummary,
    /// Vanished messages by an id that outlives a move.
    pub moves: Moves,
    /// Copies that should be there and are not, twins left alone …: one line each.
    pub doubts: Vec<String>,
    /// What an operator should know and what casts no doubt on the copies: one line each.
    pub notes: Vec<String>,
    /// Folders that dropped out of the pass, and why: the others are done all the same.
    pub left: BTreeMap<FolderId, Error>,
    /// Folders of which something was still to be copied when the pass was stopped.
    pub unfinished: BTreeSet<FolderId>,
    /// What ends the pass at its end, so that another one follows: something went away while it was listed.
    pub changed: Option<Error>,
    /// The first thing that stopped the pass.
    pub fatal: Option<Error>,
}

impl Book {
    /// Stops the pass; the first reason stays.
    pub(super) fn fail(&mut self, error: Error) {
        self.fatal.get_or_insert(error);
    }

    /// A folder drops out: what is left of it is for a later pass, and nothing is removed in this one.
    pub(super) fn leave(&mut self, folder: FolderId, error: Error) {
        self.hold = Some(CHANGED);
        self.left.entry(folder).or_insert(error);
    }

    /// Why the pass did not do all it set out to, if so: what may be better in a moment goes first.
    fn not_done(&mut self) -> Option<Error> {
        let left = std::mem::take(&mut self.left).into_values();
        left.chain(self.changed.take()).max_by_key(|error| error.status)
    }
}

/// Why removals wait: messages of that folder may lie in another one by now.
const CHANGED: &str = "a folder could not be read to its end";

/// The error of a folder, told as one that another pass does not have where it was renamed, deleted or numbered anew.
fn passing(error: Error) -> Error {
    let other_now = error.scope == Scope::Folder && matches!(error.kind, Kind::NotFound | Kind::Conflict);
    if other_now && !error.may_pass() { changed(error) } else { error }
}

/// A folder that was there when it was listed is not any more: the next listing tells what became of it.
pub(super) fn changed(error: Error) -> Error {
    let what = format!("a folder changed while it was read: {}", error.what);
    Error::temporary(error.kind, Scope::Folder, what)
        .remedy("run again: it is listed as it is then; nothing was lost or copied twice")
}

impl Core {
    /// Makes a change durable.
    pub(super) async fn apply(&self, change: Change) -> Result<Applied> {
        self.outdate();
        let applied = self.parts.ledger.apply(&self.claim, change).await;
        // Once more: whoever loads meanwhile may or may not see it.
        self.outdate();
        applied
    }

    /// The state in the book is not, or will not be, what is on record: it is loaded when it is asked for again.
    pub(super) fn outdate(&self) {
        self.outdated.store(true, Ordering::Relaxed);
    }

    /// Brings the book's state to what is on record. Whoever holds the claim alone records anything: where nothing was,
    /// nothing is read.
    pub(super) async fn reload(&self, book: &mut Book) -> Result<()> {
        if self.outdated.swap(false, Ordering::Relaxed) {
            book.state = self.parts.ledger.load(&self.claim).await?;
        }
        Ok(())
    }

    /// The pass is in this stage from now on.
    fn at(&self, stage: Stage, source: &dyn SourceMailbox) {
        self.account.stage(stage, source.round_trips(), self.target.round_trips());
    }

    /// Waits until what was on its way when a connection broke has most likely arrived.
    pub(super) async fn let_settle(&self) {
        let within = self.parts.options.settle.min(self.target.capabilities().settles_within);
        self.parts.env.sleep(within).await;
    }

    /// The stamp of a message first seen under this key.
    pub(super) fn stamp(&self, folder: FolderId, epoch: u64, number: u64) -> Stamp {
        Stamp {
            source: self.parts.source_name.clone(),
            mailbox: self.mailbox.key.clone(),
            folder,
            epoch,
            number,
        }
    }

    /// The prefix of every stamp of this mailbox.
    pub(super) fn all_stamps(&self) -> StampPrefix {
        StampPrefix::mailbox(&self.parts.source_name, &self.mailbox.key)
    }

    /// After a failure: waits if another try makes sense, else gives the error back.
    pub(super) async fn wait_or_give_up(&self, error: Error, attempt: &mut u32) -> Result<()> {
        *attempt += 1;
        let dice = self.parts.env.random(1000);
        match retry::after(&error, *attempt, self.parts.options.tries, dice) {
            Next::GiveUp => Err(error),
            Next::Again(_) if self.stop.asked() => Err(stopped()),
            Next::Again(wait) => {
                let mailbox = self.mailbox.clone();
                self.watcher.event(Event::Waiting { mailbox, wait, why: error });
                let _waits = self.account.doing(Bound::Throttle);
                self.stop.unless_asked(self.parts.env.sleep(wait)).await.ok_or_else(stopped)
            }
        }
    }
}

/// The error of a pass that was asked to stop.
pub(super) fn stopped() -> Error {
    Error::new(Kind::Stopped, Scope::Run, "stopped as asked; everything under way was recorded")
        .remedy("run the same command to go on")
}

/// The error of a pass that was left in the midst, because the grace was over.
fn left() -> Error {
    let what = "stopped as asked; what was still under way at the end of the grace was left";
    Error::new(Kind::Stopped, Scope::Run, what)
        .remedy("run the same command to go on: it looks for what was under way before it stores anything")
}

/// One of several tries of a mailbox's pass in a run.
pub(super) struct Try {
    /// It is the first.
    pub first: bool,
    /// What is recorded when it came to its end.
    pub walked: Option<Walked>,
    /// What earlier ones looked at.
    pub looked: Arc<Looked>,
}

/// Runs one pass. Never fails as a whole: how it ended is in the result. The claim is for what is left to record of it.
///
/// The spans of the log are made here, at the call: the task that carries it out has no span around it.
pub(super) fn run(
    parts: Arc<Parts>,
    mailbox: Mailbox,
    watcher: Arc<dyn Watcher>,
    stop: Stop,
    this: Try,
) -> impl Future<Output = (MailboxResult, Option<Claim>)> + Send + 'static {
    let wave = tracing::info_span!("wave", wave = %Shown(&mailbox.wave));
    let span = tracing::info_span!(parent: &wave, "mailbox", mailbox = %mailbox.key);
    let pass =
        tracing::debug_span!(parent: &span, "pass", number = tracing::field::Empty, first_try = this.first);
    if let Some(walked) = &this.walked {
        pass.record("number", walked.pass);
    }
    one(parts, mailbox, watcher, stop, this).instrument(pass)
}

async fn one(
    parts: Arc<Parts>,
    mailbox: Mailbox,
    watcher: Arc<dyn Watcher>,
    stop: Stop,
    this: Try,
) -> (MailboxResult, Option<Claim>) {
    let Try { first: first_try, walked, looked } = this;
    let began = parts.env.wall();
    let mut book = Book { looked, tally: PassSummary { began, ..PassSummary::default() }, ..Book::default() };
    let mut claim = None;
    let lane = parts.limits.accounts().open(&mailbox.wave);
    tracing::debug!("begins");
    // Past the grace all of it is left where it is, as by a kill: stores go on in tasks of their own, unobserved, their
    // intents stay open, and the process is about to end.
    let walk =
        Box::pin(walk(&parts, &mailbox, &watcher, &stop, (lane.account(), first_try), &mut book, &mut claim));
    let error = tokio::select! {
        biased;
        walked = walk => walked.err(),
        () = stop.ended(&parts.env) => Some(left()),
    };
    tell_spent(lane.account(), error.as_ref());
    drop(lane);

    let mut tally = std::mem::take(&mut book.tally);
    tally.ended = parts.env.wall();
    tally.complete = error.is_none();
    tally.reasons.append(&mut book.doubts);
    let mut error = error;
    // What is on record decides, not what was counted on the way.
    let mut state = MailboxState::default();
    let as_loaded = error.is_none() && !book.outdated.load(Ordering::Relaxed);
    if as_loaded {
        state = std::mem::take(&mut book.state);
    } else if let Some(claim) = &claim {
        match parts.ledger.load(claim).await {
            Ok(loaded) => state = loaded,
            Err(e) => {
                error.get_or_insert(e);
            }
        }
    }
    let skipped = state.skips.len() as u64;
    let unknown = state.open.iter().map(|b| b.items.len() as u64).sum();
    super::recount::judge(&mut tally, &state, error.as_ref());
    tally.reasons.append(&mut book.notes);
    if tally.gone > 0 {
        let gone = tally.gone;
        tally.reasons.push(format!("{gone} messages were gone from the source before they could be fetched"));
    }
    if let Some(claim) = &claim {
        // Nothing is wrong with a mailbox that goes on later.
        let later = error.as_ref().is_some_and(|e| e.kind == Kind::Stopped || retry::parked(e).is_some());
        // The failure comes last: a pass that ended incomplete alone counts as one still to go on.
        let ended = parts.ledger.apply(claim, Change::PassEnded(tally.clone()));
        let mut recorded = match walked.filter(|_| error.is_none()) {
            // Together: one commit for both.
            Some(walked) => {
                let walked = parts.ledger.apply(claim, Change::Walked(walked));
                futures_util::future::try_join(ended, walked).await.map(|(ended, _)| ended)
            }
            None => ended.await,
        };
        if let (Ok(_), Some(e), false) = (&recorded, &error, later) {
            recorded = parts.ledger.apply(claim, Change::Failed(e.to_string())).await;
        }
        if let Err(e) = recorded {
            error.get_or_insert(e);
        }
    }
    (MailboxResult { mailbox, summary: tally, skipped, unknown, error, parked_until: None }, claim)
}

/// Tells the log what a pass spent its time on.
fn tell_spent(account: &Account, error: Option<&Error>) {
    let spent = account.spent();
    let millis = |cause| spent.on(cause).as_millis() as u64;
    let copied = spent.stage(Stage::Copy);
    tracing::debug!(
        messages = copied.messages,
        bytes = copied.bytes,
        source_ms = millis(Bound::Source),
        limit_ms = millis(Bound::Limit),
        throttle_ms = millis(Bound::Throttle),
        memory_ms = millis(Bound::Memory),
        target_ms = millis(Bound::Target),
        ledger_ms = millis(Bound::Ledger),
        error = error.map(|e| tracing::field::display(&e.what)),
        "ends"
    );
}

/// The pass itself; on an error everything under way has been recorded.
async fn walk(
    parts: &Arc<Parts>,
    mailbox: &Mailbox,
    watcher: &Arc<dyn Watcher>,
    stop: &Stop,
    (account, first_try): (&Arc<Account>, bool),
    book: &mut Book,
    claimed: &mut Option<Claim>,
) -> Result<()> {
    let (source, target) = endpoints(parts, mailbox)?;

    parts.env.step(crate::env::Step::Claim).await;
    let claim = parts.ledger.claim(mailbox).await?;
    *claimed = Some(claim.clone());
    book.state = parts.ledger.load(&claim).await?;
    watcher.event(Event::Opened(mailbox.clone()));

    let gate = parts.limits.gate(&mailbox.target_endpoint, &mailbox.target);
    gate.tells(account);
    // One after the other, in the same order everywhere: a mailbox that has a place at one end and waits for one at the
    // other would keep others waiting for its place until it is taken for idle.
    let (name, place) = (&mailbox.target, &mailbox.target_place);
    let target = match book.state.target_identity {
        Some(_) => target.reopen(name, place, gate.clone(), &on_record(parts, mailbox, &book.state)).await?,
        None => target.open(name, place, gate.clone()).await?,
    };
    let core = Core {
        parts: parts.clone(),
        mailbox: mailbox.clone(),
        claim,
        target,
        gate,
        account: account.clone(),
        watcher: watcher.clone(),
        stop: stop.clone(),
        outdated: book.outdated.clone(),
    };
    Box::pin(check_identity(&core, book, first_try)).await?;

    let source = source.open(&mailbox.source).await?;
    let walked = stages(&core, source.as_ref(), book).await;
    core.at(Stage::Open, source.as_ref());
    futures_util::future::join(source.release(), core.target.release()).await;
    (book.tally.source_trips, book.tally.target_trips) = (source.round_trips(), core.target.round_trips());
    walked
}

/// What a target is told of a mailbox that was there before.
fn on_record(parts: &Parts, mailbox: &Mailbox, state: &MailboxState) -> OnRecord {
    let folders = state.folders.iter().filter(|f| f.live + f.orphans > 0);
    // Late twins are told from copies by what they are like at the end.
    let counted = parts.options.recount && state.watch.is_empty() && state.open.is_empty();
    OnRecord {
        stamps: StampPrefix::mailbox(&parts.source_name, &mailbox.key),
        folders: folders.map(|f| TargetFolderId(f.target_folder.clone())).collect(),
        copies: counted.then(|| state.folders.iter().map(|f| f.live + f.orphans).sum()),
    }
}

/// Where a mailbox comes from and where it goes.
pub(super) type Endpoints<'p> = (&'p Arc<dyn Source>, &'p Arc<dyn Target>);

/// The endpoints of a mailbox.
///
/// # Errors
/// `Kind::Config`, `Scope::Mailbox`: the configuration has none of that name.
pub(super) fn endpoints<'p>(parts: &'p Parts, mailbox: &Mailbox) -> Result<Endpoints<'p>> {
    let endpoint = |kind: &str, name: &str| {
        Error::new(Kind::Config, Scope::Mailbox, format!("there is no [{kind}.{name}] in the configuration"))
    };
    let source = parts.sources.get(&mailbox.source_endpoint);
    let source = source.ok_or_else(|| endpoint("source", &mailbox.source_endpoint))?;
    let target = parts.targets.get(&mailbox.target_endpoint);
    let target = target.ok_or_else(|| endpoint("target", &mailbox.target_endpoint))?;
    Ok((source, target))
}

/// The stages of a pass, in order. Each is boxed: of thousands of open mailboxes most wait in one of them, and a future
/// that held the others too would be as large as the largest of them for as long as the mailbox is open.
async fn stages(core: &Core, source: &dyn SourceMailbox, book: &mut Book) -> Result<()> {
    core.at(Stage::List, source);
    Box::pin(super::inventory::list(core, source, book)).await?;
    core.at(Stage::Settle, source);
    Box::pin(super::settle::left_open(core, source, book)).await?;
    core.at(Stage::List, source);
    Box::pin(super::inventory::plan(core, source, book)).await.map_err(passing)?;
    core.at(Stage::Settle, source);
    Box::pin(super::anchored::survey(core, book)).await?;
    let watched = book.state.watch.clone();
    Box::pin(super::recount::sweep_early(core, book)).await?;
    Box::pin(super::rollback::adopt(core, source, book, &watched)).await?;
    let new = book.folders.values().map(|f| &f.new);
    let (messages, bytes) = new.fold((0, 0), |(n, b), new| (n + new.len(), b + new.bytes()));
    (book.tally.planned, book.tally.planned_bytes) = (messages, bytes);
    core.watcher.event(Event::Planned { mailbox: core.mailbox.clone(), messages, bytes });

    core.at(Stage::Copy, source);
    Box::pin(super::copy::all(core, source, book)).await?;
    core.at(Stage::Mirror, source);
    if let Some(error) = book.fatal.take() {
        if error.kind == Kind::Stopped && !source.capabilities().views {
            finished_so_far(core, book).await?;
        }
        return Err(error);
    }
    Box::pin(super::mirror::vanished(core, source, book)).await?;
    Box::pin(super::mirror::flags(core, book)).await?;
    core.account.passed(book.tally.moved + book.tally.removed + book.tally.reflagged, 0);
    let anew = book.copies_left && source.capabilities().views;
    // A folder that was not read to its end is not known up to where it was listed.
    let mut positions = Vec::new();
    for (id, folder) in book.folders.iter().filter(|(id, _)| !book.left.contains_key(id)) {
        let (uidnext, messages) = (folder.listing.next, folder.listing.messages);
        // Where flags were not compared, the sequence they stand at now proves nothing to a later pass.
        let stale = matches!(folder.listing.extent, Extent::Changes { stale_flags: true, .. });
        let modseq = if stale || anew { 0 } else { folder.listing.modseq };
        let known = folder.recorded.as_ref().map(|k| (k.uidnext, k.modseq, k.messages));
        if known != Some((uidnext, modseq, messages)) {
            positions.push(core.apply(Change::Position { folder: *id, uidnext, modseq, messages }));
        }
    }
    // Together: one commit for all.
    futures_util::future::try_join_all(positions).await?;
    core.at(Stage::Count, source);
    Box::pin(super::recount::sweep_and_count(core, book)).await?;
    core.account.passed(book.tally.recounted.unwrap_or(0), 0);
    match book.not_done() {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

/// A stop came: folders that were seen for the first time and copied to their end are known up to where they were listed,
/// so that the next pass need not list them again. Of the others moves, removals and flags are still to be looked at.
async fn finished_so_far(core: &Core, book: &Book) -> Result<()> {
    let done = book.folders.iter().filter(|(id, folder)| {
        let fresh = folder.recorded.as_ref().is_none_or(|r| r.live == 0 && r.orphans == 0);
        let whole = fresh && folder.listing.extent == Extent::Whole;
        whole && !book.unfinished.contains(id) && !book.left.contains_key(id)
    });
    let positions = done.map(|(id, folder)| {
        let (uidnext, modseq) = (folder.listing.next, folder.listing.modseq);
        core.apply(Change::Position { folder: *id, uidnext, modseq, messages: folder.listing.messages })
    });
    // Together: one commit for all.
    futures_util::future::try_join_all(positions).await.map(drop)
}

/// Is the target mailbox the one the ledger's copies are in? Where copies carry no stamp, its identity alone tells, and a
/// ledger that was lost or begun anew does not see the copies an earlier one made.
async fn check_identity(core: &Core, book: &mut Book, first_try: bool) -> Result<()> {
    let identity = core.target.identity().to_owned();
    let same = book.state.target_identity.as_deref() == Some(identity.as_str());
    // What an earlier try of this very run began anew is not begun anew again.
    let start_over = core.parts.options.start_over && (first_try || !same);
    if same && !start_over {
        book.continued = true;
        return Ok(());
    }
    let known: u64 = book.state.folders.iter().map(|f| f.live + f.orphans).sum();
    if !same && !start_over && book.state.target_identity.is_some() && known > 0 {
        let what = format!(
            "the target mailbox is not the one the ledger knows: it was made anew or emptied since; \
             {known} copies on record are not in it, nothing was written"
        );
        return Err(Error::new(Kind::Conflict, Scope::Mailbox, what).remedy(
            "restore the target mailbox, or, if its copies are gone for good, run again with --start-over to copy all of it anew",
        ));
    }
    // A ledger that knows nothing of copies must not make them a second time.
    if core.target.capabilities().stamps {
        let there = core.find(&core.all_stamps()).await?.len();
        if there > 0 && (known == 0 || start_over) {
            let what = format!(
                "the target already holds {there} copies of this mailbox that are not in this ledger; nothing was written"
            );
            return Err(Error::new(Kind::Conflict, Scope::Mailbox, what)
                .remedy("use the ledger they were made with, make a new one with `mailwave ledger rebuild`, or remove those copies at the target first"));
        }
    }
    let change = if start_over { Change::StartOver { identity } } else { Change::BindTarget { identity } };
    core.apply(change).await?;
    core.reload(book).await
}

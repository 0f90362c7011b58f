//! The gate: what one target mailbox may send, and when. Drives [`Admission`] with the clock and wakes its waiters.
//!
//! No decision is made here. Every call locks the machine, tells it the time and what happened, and wakes whoever it
//! granted something; whoever waits also sleeps until the moment the machine named. Futures may be dropped at any
//! point: what they had been granted goes back.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::account::{Account, AtGate};
use super::admission::{Admission, Grant, Id};
use super::counters::Counters;
use super::crowd::{Crowd, Place};
use super::learner::Ended;
use super::lender::{Lease, Lender, Lent};
use super::rules::{Answer, Cost, Rules};
use super::smooth::Pace;
use crate::env::{Env, Tick};

/// Governs the requests of one app to one mailbox.
#[derive(Debug)]
pub struct Gate {
    env: Env,
    state: Mutex<State>,
    /// The app's, shared by its gates.
    app: App,
    /// Of the lane that works on the mailbox now. Where several share a target mailbox: of the last one.
    account: Mutex<Option<Arc<Account>>>,
    lent: Option<Box<LentBy>>,
}

/// Who lends the permits of a mailbox, beside the limits here.
pub(super) struct LentBy {
    pub(super) lender: Arc<dyn Lender>,
    pub(super) endpoint: String,
    pub(super) mailbox: String,
    /// The end of a lender that was counted: what was sent before it fills the windows.
    pub(super) counted: Mutex<Option<Tick>>,
}

impl std::fmt::Debug for LentBy {
    /// Names no mailbox.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LentBy").finish_non_exhaustive()
    }
}

/// What the gates of one app share.
#[derive(Debug, Clone, Default)]
pub(super) struct App {
    /// Its request rate.
    pub(super) pace: Option<Arc<Pace>>,
    /// How many requests at once it bears.
    pub(super) crowd: Option<Arc<Crowd>>,
}

impl App {
    /// How long a request that is begun now is likely to wait.
    pub(super) fn wait(&self) -> Duration {
        let pace = self.pace.as_ref().map_or(Duration::ZERO, |pace| pace.wait());
        self.crowd.as_ref().map_or(pace, |crowd| pace.max(crowd.wait()))
    }
}

#[derive(Debug)]
struct State {
    machine: Admission,
    /// Of those who wait.
    wakers: BTreeMap<Id, Waker>,
}

impl Gate {
    /// A gate with no limit of ours (targets that are local files). A refusal by a service is still obeyed.
    pub fn unlimited(env: &Env) -> Arc<Gate> {
        Gate::new(env, Arc::new(Rules::unlimited()), false, App::default(), None)
    }

    pub(super) fn new(
        env: &Env,
        rules: Arc<Rules>,
        start_spent: bool,
        app: App,
        lent: Option<Box<LentBy>>,
    ) -> Arc<Gate> {
        let machine = Admission::new(rules, start_spent);
        let state = State { machine, wakers: BTreeMap::new() };
        Arc::new(Gate { env: env.clone(), state: Mutex::new(state), app, account: Mutex::default(), lent })
    }

    /// What requests wait for here is told to this account from now on.
    pub fn tells(&self, account: &Arc<Account>) {
        *self.account.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(account));
    }

    fn account(&self) -> Option<Arc<Account>> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the windows have room for `cost` and reserves it. Of a cost near a window's capacity or above it
    /// only what the window can hold is reserved, once it is empty, and of a large store in pieces only the beginning;
    /// the rest waits when it is sent.
    pub async fn reserve(self: &Arc<Self>, cost: Cost) -> Ticket {
        let mut asked = Asked::new(self, None, |machine, now, _| machine.ask_reserve(now, cost));
        let left = match asked.granted().await {
            Grant::Reserved(reserved) => reserved,
            Grant::Send { .. } => Cost::default(),
        };
        asked.settled = true;
        Ticket { gate: Arc::clone(self), lookup: false, guest: false, left: Mutex::new(left) }
    }

    /// A ticket with nothing reserved: for look-ups, folders, flags. Its requests go by the reserved lane.
    pub fn lookup(self: &Arc<Self>) -> Ticket {
        Ticket { gate: Arc::clone(self), lookup: true, guest: false, left: Mutex::new(Cost::default()) }
    }

    /// A ticket with nothing reserved, for requests of another process: they take turns with stores that need more than
    /// was reserved for them. The lane of look-ups is not for them: those of a run must not wait behind them.
    pub fn guest(self: &Arc<Self>) -> Ticket {
        Ticket { gate: Arc::clone(self), lookup: false, guest: true, left: Mutex::new(Cost::default()) }
    }

    /// Waits until one request with `upload_bytes` may be sent now; charged to the ticket first, to the windows if
    /// the ticket is spent. The ticket should be of this gate; one of another gate pays nothing here.
    pub async fn admit(self: &Arc<Self>, ticket: &Ticket, upload_bytes: u64) -> Slot {
        let lookup = ticket.lookup;
        let own = Arc::ptr_eq(self, &ticket.gate).then_some(ticket);
        let mut counted = self.counted(ticket);
        loop {
            let mut asked =
                Asked::new(self, own, |machine, now, left| machine.ask_send(now, left, lookup, upload_bytes));
            asked.granted().await;
            let place = self.until_it_may_leave(Cost { requests: 1, upload_bytes }).await;
            // Not lent, and the windows are full all of a sudden: it is undone and asked for anew.
            let Ok(lease) = self.borrow(&[upload_bytes], 1).await else { continue };
            asked.settled = true;
            counted.iter_mut().for_each(AtGate::leaves);
            let gate = Arc::clone(self);
            return Slot { gate, sent: self.env.now(), upload_bytes, place, finished: false, counted, lease };
        }
    }

    /// As [`Gate::admit`], for requests of these upload bytes that are sent as one, of which the service works on
    /// `at_once` at a time. Each counts as a request of its own.
    pub async fn admit_batch(self: &Arc<Self>, ticket: &Ticket, parts: &[u64], at_once: usize) -> BatchSlot {
        let cost = Cost {
            requests: u32::try_from(parts.len()).unwrap_or(u32::MAX),
            upload_bytes: parts.iter().fold(0, |sum: u64, part| sum.saturating_add(*part)),
        };
        let lookup = ticket.lookup;
        let own = Arc::ptr_eq(self, &ticket.gate).then_some(ticket);
        let slots = at_once.min(parts.len());
        let mut counted = self.counted(ticket);
        loop {
            let mut asked =
                Asked::new(self, own, |machine, now, left| machine.ask_batch(now, left, lookup, cost, slots));
            let slots = match asked.granted().await {
                Grant::Send { slots, .. } => slots,
                Grant::Reserved(_) => 0,
            };
            let place = self.until_it_may_leave(cost).await;
            let Ok(lease) = self.borrow(parts, slots).await else { continue };
            asked.settled = true;
            counted.iter_mut().for_each(AtGate::leaves);
            let (gate, parts, sent) = (Arc::clone(self), parts.to_vec(), self.env.now());
            return BatchSlot { gate, sent, slots, parts, place, finished: false, counted, lease };
        }
    }

    /// The lane's account counts its own requests, not those of guests.
    fn counted(&self, ticket: &Ticket) -> Option<AtGate> {
        self.account().filter(|_| !ticket.guest).map(|account| account.at_gate())
    }

    /// Another process lends its permit, if there is one. `Err`: it is gone, and what it sent fills the windows from now on.
    async fn borrow(&self, parts: &[u64], at_once: usize) -> Result<Option<Box<dyn Lease>>, ()> {
        let Some(lent) = &self.lent else { return Ok(None) };
        let LentBy { lender, endpoint, mailbox, counted } = lent.as_ref();
        let gone = match lender.lend(endpoint, mailbox, parts, at_once).await {
            Lent::Yes(lease) => return Ok(Some(lease)),
            Lent::Nobody(gone) => gone,
        };
        match gone {
            Some(at) if counted.lock().unwrap_or_else(PoisonError::into_inner).replace(at) != Some(at) => {
                self.tell(|machine, now| machine.assume_spent(now, at));
                Err(())
            }
            _ => Ok(None),
        }
    }

    /// Slots are held while a place before the app and its rate are awaited (slot → place → rate). A batch has one place:
    /// the app works on it as on a few requests.
    async fn until_it_may_leave(&self, cost: Cost) -> Option<Place> {
        let mut place = self.enter().await;
        loop {
            if let Some(app) = &self.app.pace {
                let waited = app.take(cost.requests).await;
                self.lock().machine.waited_for_app(waited);
            }
            let now = self.env.now();
            let left = self.lock().machine.leave(now, cost);
            match left {
                Ok(()) => return place,
                Err(blocked_until) => {
                    // Nobody else waits for one who waits out a refusal.
                    drop(place);
                    self.env.sleep_until(blocked_until).await;
                    place = self.enter().await;
                }
            }
        }
    }

    async fn enter(&self) -> Option<Place> {
        match &self.app.crowd {
            Some(crowd) => Some(crowd.enter().await),
            None => None,
        }
    }

    /// No refusal is waited out or felt for: several requests may go at once.
    pub fn is_calm(&self) -> bool {
        let now = self.env.now();
        self.lock().machine.is_calm(now)
    }

    /// Until when the service has told us to send nothing; `None` if it has not, or if that is over.
    pub fn blocked_until(&self) -> Option<Tick> {
        Some(self.lock().machine.blocked_until()).filter(|until| *until > self.env.now())
    }

    /// After a refusal: the account learns until when nothing is sent.
    fn tell_blocked(&self) {
        if let (Some(account), Some(until)) = (self.account(), self.blocked_until()) {
            account.blocked(until);
        }
    }

    /// What passed here so far.
    pub fn counters(&self) -> Counters {
        self.lock().machine.counters()
    }

    /// Nobody sleeps here.
    #[cfg(test)]
    pub(super) fn nobody_waits(&self) -> bool {
        self.lock().wakers.is_empty()
    }

    /// Forgetting this gate and making it anew would change nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.tell(Admission::is_idle)
    }

    /// Tells the machine what happened, then wakes those for whom that changes something.
    fn tell<R>(&self, what: impl FnOnce(&mut Admission, Tick) -> R) -> R {
        let now = self.env.now();
        let (result, wakers) = {
            let mut state = self.lock();
            let awaited = state.machine.wake_at();
            let result = what(&mut state.machine, now);
            (result, state.take_wakers(awaited))
        };
        // Without the lock: waking may run foreign code.
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Those who were granted something; all, if they sleep longer (until `awaited`) than the machine wants.
    fn take_wakers(&mut self, awaited: Option<Tick>) -> Vec<Waker> {
        if is_earlier(self.machine.wake_at(), awaited) {
            return std::mem::take(&mut self.wakers).into_values().collect();
        }
        let State { machine, wakers } = self;
        machine.granted().filter_map(|id| wakers.remove(&id)).collect()
    }
}

/// An answer, as the crowd sees it.
fn seen(answer: Answer) -> Ended {
    match answer {
        Answer::Served => Ended::Served,
        Answer::Throttled(_) => Ended::Refused,
        Answer::Unknown => Ended::Lost,
        Answer::NotSent => Ended::NotSent,
    }
}

/// Whether `a` is a moment before `b`; `None` is never.
fn is_earlier(a: Option<Tick>, b: Option<Tick>) -> bool {
    a.is_some_and(|a| b.is_none_or(|b| a < b))
}

/// Something asked of the machine; undone when dropped before it is settled.
struct Asked<'a> {
    gate: &'a Gate,
    ticket: Option<&'a Ticket>,
    id: Id,
    grant: Option<Grant>,
    settled: bool,
}

impl<'a> Asked<'a> {
    fn new(
        gate: &'a Gate,
        ticket: Option<&'a Ticket>,
        ask: impl FnOnce(&mut Admission, Tick, &mut Cost) -> Id,
    ) -> Asked<'a> {
        let id = gate.tell(|machine, now| with_left(ticket, |left| ask(machine, now, left)));
        Asked { gate, ticket, id, grant: None, settled: false }
    }

    async fn granted(&mut self) -> Grant {
        loop {
            let wake = self.gate.lock().machine.wake_at();
            let looked = tokio::select! {
                biased;
                looked = poll_fn(|cx| self.look(cx, wake)) => looked,
                () = sleep_until(&self.gate.env, wake) => None,
            };
            if let Some(grant) = looked {
                self.grant = Some(grant);
                return grant;
            }
        }
    }

    /// Ready with the grant, or with `None` if the sleep until `wake` would be too long.
    fn look(&self, cx: &mut Context<'_>, wake: Option<Tick>) -> Poll<Option<Grant>> {
        if let Some(grant) = self.gate.tell(|machine, now| machine.take(now, self.id)) {
            return Poll::Ready(Some(grant));
        }
        let mut state = self.gate.lock();
        if state.machine.granted().any(|id| id == self.id) || is_earlier(state.machine.wake_at(), wake) {
            return Poll::Ready(None);
        }
        let former = state.wakers.insert(self.id, cx.waker().clone());
        drop(state); // first: dropping a waker may run foreign code
        drop(former);
        Poll::Pending
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let _waker = self.gate.lock().wakers.remove(&self.id);
        if self.settled {
            return;
        }
        self.gate.tell(|machine, now| {
            with_left(self.ticket, |left| match self.grant {
                Some(grant) => machine.undo(now, grant, left),
                None => machine.cancel(now, self.id, left),
            });
        });
    }
}

/// Runs `f` on what the ticket has left (on nothing, without a ticket).
fn with_left<R>(ticket: Option<&Ticket>, f: impl FnOnce(&mut Cost) -> R) -> R {
    match ticket {
        Some(ticket) => f(&mut ticket.left.lock().unwrap_or_else(PoisonError::into_inner)),
        None => f(&mut Cost::default()),
    }
}

async fn sleep_until(env: &Env, tick: Option<Tick>) {
    match tick {
        Some(tick) => env.sleep_until(tick).await,
        None => std::future::pending().await,
    }
}

/// A reservation. Dropping it gives back what was not spent.
#[derive(Debug)]
pub struct Ticket {
    gate: Arc<Gate>,
    lookup: bool,
    /// Of another process.
    guest: bool,
    left: Mutex<Cost>,
}

impl Ticket {
    /// What is reserved and not yet spent.
    pub fn left(&self) -> Cost {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let left = self.left();
        if left != Cost::default() {
            self.gate.tell(|machine, now| machine.give_back(now, left));
        }
    }
}

/// The right to have one request under way. Must be [`Slot::finish`]ed; dropping it counts as [`Answer::Unknown`].
#[derive(Debug)]
pub struct Slot {
    gate: Arc<Gate>,
    sent: Tick,
    upload_bytes: u64,
    place: Option<Place>,
    finished: bool,
    /// As its lane's account has it.
    counted: Option<AtGate>,
    lease: Option<Box<dyn Lease>>,
}

impl Slot {
    /// Ends the request.
    pub fn finish(mut self, answer: Answer) {
        self.end(answer);
    }

    fn end(&mut self, answer: Answer) {
        self.finished = true;
        let random = match answer {
            Answer::Throttled(_) => self.gate.env.random(u64::MAX),
            _ => 0,
        };
        let (sent, bytes) = (self.sent, self.upload_bytes);
        if let Some(place) = self.place.take() {
            place.ended(sent, bytes, seen(answer));
        }
        self.gate.tell(|machine, now| machine.finish(now, sent, bytes, answer, random));
        self.counted = None;
        if let Some(lease) = self.lease.take() {
            lease.finish(&[answer]);
        }
        if let Answer::Throttled(_) = answer {
            self.gate.tell_blocked();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.finished {
            self.end(Answer::Unknown);
        }
    }
}

/// The right to have several requests under way, sent as one. Must be [`BatchSlot::finish`]ed; dropping it counts as
/// [`Answer::Unknown`] for each.
#[derive(Debug)]
pub struct BatchSlot {
    gate: Arc<Gate>,
    sent: Tick,
    slots: usize,
    parts: Vec<u64>,
    place: Option<Place>,
    finished: bool,
    /// As its lane's account has it: several sent as one count once.
    counted: Option<AtGate>,
    lease: Option<Box<dyn Lease>>,
}

impl BatchSlot {
    /// Ends the requests, each with its answer; one that has none is `Unknown`.
    pub fn finish(mut self, answers: &[Answer]) {
        self.end(answers);
    }

    fn end(&mut self, answers: &[Answer]) {
        self.finished = true;
        let throttled = answers.iter().any(|a| matches!(a, Answer::Throttled(_)));
        let random = if throttled { self.gate.env.random(u64::MAX) } else { 0 };
        let answers = answers.iter().copied().chain(std::iter::repeat(Answer::Unknown));
        let ended: Vec<(u64, Answer)> = self.parts.iter().copied().zip(answers).collect();
        let (sent, slots) = (self.sent, self.slots);
        if let Some(place) = self.place.take() {
            let worst = ended.iter().map(|(_, answer)| seen(*answer)).max();
            let bytes = ended.iter().fold(0u64, |sum, (bytes, _)| sum.saturating_add(*bytes));
            place.ended(sent, bytes, worst.unwrap_or(Ended::NotSent));
        }
        self.gate.tell(|machine, now| machine.finish_batch(now, sent, slots, &ended, random));
        self.counted = None;
        if let Some(lease) = self.lease.take() {
            lease.finish(&ended.iter().map(|(_, answer)| *answer).collect::<Vec<_>>());
        }
        if throttled {
            self.gate.tell_blocked();
        }
    }
}

impl Drop for BatchSlot {
    fn drop(&mut self) {
        if !self.finished {
            self.end(&[]);
        }
    }
}

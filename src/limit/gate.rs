//! The gate: what one target mailbox may send, and when. Drives [`Admission`] with the clock and wakes its waiters.
//!
//! No decision is made here. Every call locks the machine, tells it the time and what happened, and wakes those who
//! wait to look again; whoever waits also sleeps until the moment the machine named. Futures may be dropped at any
//! point: what they had been granted goes back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::admission::{Admission, Answer, Cost, Grant, Id, Rules};
use super::counters::Counters;
use super::smooth::Pace;
use crate::env::{Env, Tick};

/// Governs the requests of one app to one mailbox.
#[derive(Debug)]
pub struct Gate {
    env: Env,
    machine: Mutex<Admission>,
    changed: Notify,
    /// The request rate of the app, shared by its gates.
    app: Option<Arc<Pace>>,
}

impl Gate {
    /// A gate with no limit of ours (targets that are local files). A refusal by a service is still obeyed.
    pub fn unlimited(env: &Env) -> Arc<Gate> {
        Gate::new(env, Arc::new(Rules::unlimited()), false, None)
    }

    pub(super) fn new(env: &Env, rules: Arc<Rules>, start_spent: bool, app: Option<Arc<Pace>>) -> Arc<Gate> {
        Arc::new(Gate {
            env: env.clone(),
            machine: Mutex::new(Admission::new(rules, start_spent)),
            changed: Notify::new(),
            app,
        })
    }

    /// Waits until the windows have room for `cost` and reserves it. Of a cost near a window's capacity or above it
    /// only what the window can hold is reserved, once it is empty; the rest waits when it is sent.
    pub async fn reserve(self: &Arc<Self>, cost: Cost) -> Ticket {
        let mut asked = Asked::new(self, None, |machine, now, _| machine.ask_reserve(now, cost));
        let left = match asked.granted().await {
            Grant::Reserved(reserved) => reserved,
            Grant::Send { .. } => Cost::default(),
        };
        asked.settled = true;
        Ticket { gate: Arc::clone(self), lookup: false, left: Mutex::new(left) }
    }

    /// A ticket with nothing reserved: for look-ups, folders, flags. Its requests go by the reserved lane.
    pub fn lookup(self: &Arc<Self>) -> Ticket {
        Ticket { gate: Arc::clone(self), lookup: true, left: Mutex::new(Cost::default()) }
    }

    /// Waits until one request with `upload_bytes` may be sent now; charged to the ticket first, to the windows if
    /// the ticket is spent. The ticket should be of this gate; one of another gate pays nothing here.
    pub async fn admit(self: &Arc<Self>, ticket: &Ticket, upload_bytes: u64) -> Slot {
        let lookup = ticket.lookup;
        let own = Arc::ptr_eq(self, &ticket.gate).then_some(ticket);
        let mut asked =
            Asked::new(self, own, |machine, now, left| machine.ask_send(now, left, lookup, upload_bytes));
        asked.granted().await;
        // The slot is held while the app's rate is awaited (slot → rate).
        loop {
            if let Some(app) = &self.app {
                let waited = app.take(1).await;
                self.lock().waited_for_app(waited);
            }
            let now = self.env.now();
            let left = self.lock().leave(now, upload_bytes);
            match left {
                Ok(()) => break,
                Err(blocked_until) => self.env.sleep_until(blocked_until).await,
            }
        }
        asked.settled = true;
        Slot { gate: Arc::clone(self), sent: self.env.now(), upload_bytes, finished: false }
    }

    /// Until when the service has told us to send nothing; `None` if it has not, or if that is over.
    pub fn blocked_until(&self) -> Option<Tick> {
        Some(self.lock().blocked_until()).filter(|until| *until > self.env.now())
    }

    /// What passed here so far.
    pub fn counters(&self) -> Counters {
        self.lock().counters()
    }

    /// Forgetting this gate and making it anew would change nothing.
    pub(super) fn is_idle(&self) -> bool {
        let now = self.env.now();
        self.lock().is_idle(now)
    }

    /// Tells the machine what happened, then wakes the waiters to look again.
    fn tell(&self, what: impl FnOnce(&mut Admission, Tick)) {
        let now = self.env.now();
        what(&mut self.lock(), now);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Admission> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let mut id = 0;
        gate.tell(|machine, now| id = with_left(ticket, |left| ask(machine, now, left)));
        Asked { gate, ticket, id, grant: None, settled: false }
    }

    async fn granted(&mut self) -> Grant {
        let gate = self.gate;
        loop {
            // Made before the machine is asked, so that no change in between is missed.
            let changed = gate.changed.notified();
            let now = gate.env.now();
            let wake = {
                let mut machine = gate.lock();
                if let Some(grant) = machine.take(now, self.id) {
                    self.grant = Some(grant);
                    return grant;
                }
                machine.wake_at()
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(&gate.env, wake) => {}
            }
        }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
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
    finished: bool,
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
        self.gate.tell(|machine, now| machine.finish(now, sent, bytes, answer, random));
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.finished {
            self.end(Answer::Unknown);
        }
    }
}

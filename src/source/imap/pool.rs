//! Sessions of one endpoint, leased: as many as the operator and the server allow, logged in no faster than allowed.
//!
//! A session belongs to a mailbox, but is *held* only during a call. Between calls it lies idle here, and a mailbox
//! that wants a session may have its place once it lay idle for the grace time. So nobody can block others by keeping
//! a session while it waits for something else, and a mailbox that is busy keeps its login. Each call has its session to
//! itself; a mailbox with several calls under way gets more sessions while there are places free.
//!
//! How many calls go at once is learnt from how the host answers fetches: more while it is calm, fewer when it gets slow
//! or refuses (`limit::learner`). How many connections there are is what it was found to take.
//!
//! Whoever has no session stands in a line, and only the first in it looks for a place: with thousands waiting, to wake
//! all of them for each place that becomes free would cost more than the migration. There are two lines. A fetch holds
//! memory that others wait for; it goes before whoever holds nothing.

mod guests;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Line, Notify};

pub(super) use self::guests::LentBy;
use super::config::ImapSettings;
use super::places::{Call, Places, Told};
use super::turns::{Asked, Bounds, Id, Turns};
use crate::env::{Env, Tick};
use crate::imap::{Account, Endpoint, Session, WireError, connect};
use crate::limit::machine::Ended;
use crate::model::{Error, Kind, Result, Scope};

/// A session that lay idle for longer is asked whether it still lives before it is trusted.
const STALE: Duration = Duration::from_secs(20);

/// Refusals for want of a connection that one call waits out before it fails.
const TURNED_AWAY: u32 = 10;

/// The sessions of one endpoint.
pub(super) struct Pool {
    pub env: Env,
    pub settings: ImapSettings,
    endpoint: Endpoint,
    account: Account,
    places: Mutex<Places>,
    /// Times each mailbox was waited for.
    trips: Mutex<BTreeMap<u64, Arc<AtomicU64>>>,
    /// The lines for a place: of those who hold memory, and of all others.
    lines: [Line<()>; 2],
    /// How many stand in the first.
    in_a_hurry: AtomicUsize,
    /// Wakes the first of each line.
    freed: Notify,
    /// Wakes those who wait for their turn, each by itself.
    doors: Mutex<BTreeMap<Id, Arc<Notify>>>,
    /// Wakes the calls of a mailbox that wait for a session of its own.
    own: Mutex<BTreeMap<u64, Arc<Notify>>>,
    /// Who is asked for a place, before each log-in.
    lent_by: Option<LentBy>,
}

/// What a call holds while it waits for its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Memory for the messages it is about to fetch.
    Memory,
    /// Nothing.
    Nothing,
}

/// Counts one who stands in the first line.
struct Hurry<'a>(&'a Pool);

impl<'a> Hurry<'a> {
    fn new(pool: &'a Pool) -> Hurry<'a> {
        pool.in_a_hurry.fetch_add(1, Ordering::Relaxed);
        Hurry(pool)
    }
}

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.in_a_hurry.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_waiters();
    }
}

/// Why there is no session.
struct NoSession {
    error: Error,
    /// The server has too many connections.
    crowded: bool,
}

impl Pool {
    pub fn new(env: Env, settings: ImapSettings, endpoint: Endpoint, lent_by: Option<LentBy>) -> Pool {
        let account = Account::new(&env, &settings.server);
        let places = Places::new(&settings);
        Pool {
            env,
            settings,
            endpoint,
            account,
            places: Mutex::new(places),
            trips: Mutex::default(),
            lines: [Line::new(()), Line::new(())],
            in_a_hurry: AtomicUsize::new(0),
            freed: Notify::new(),
            doors: Mutex::default(),
            own: Mutex::default(),
            lent_by,
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for one more mailbox.
    pub fn owner(&self) -> u64 {
        self.places().owner()
    }

    /// A session of `mailbox` for this call alone: its own if one lies here, else a new one as soon as there is a place.
    pub async fn lease(self: &Arc<Self>, owner: u64, mailbox: &str, holds: Holds) -> Result<Lease> {
        let mut turned_away = 0;
        let line = &self.lines[usize::from(holds == Holds::Nothing)];
        let (mut first, mut hurry) = (None, None);
        loop {
            // Before looking, so that nothing freed in between is missed.
            let own = self.own(owner);
            let mut freed = pin!(self.freed.notified());
            let mut mine = pin!(own.notified());
            freed.as_mut().enable();
            mine.as_mut().enable();
            if first.is_none() {
                first = line.try_lock().ok();
            }
            let hurried = holds == Holds::Nothing && self.in_a_hurry.load(Ordering::Relaxed) > 0;
            let now = self.env.now();
            let call = self.places().call(owner, now, first.is_some() && !hurried, holds);
            match call {
                Call::Resume { place, session, idle } => {
                    (first, hurry) = (None, None);
                    let mut lease = Lease::new(self, owner, place, now);
                    lease.session = Some(session);
                    if idle < STALE || lease.is_alive().await {
                        return Ok(lease);
                    }
                    drop(lease);
                }
                Call::LogIn { place, evicted } => {
                    // The next in line may look for a place while this one logs in.
                    (first, hurry) = (None, None);
                    self.freed.notify_waiters();
                    let mut lease = Lease::new(self, owner, place, now);
                    if let Some(evicted) = evicted {
                        evicted.logout().await;
                    }
                    match self.log_in(owner, mailbox).await {
                        Ok(session) => {
                            self.places().made(place, session.clone());
                            self.tell(owner);
                            (lease.session, lease.since) = (Some(session), self.env.now());
                            return Ok(lease);
                        }
                        Err(NoSession { error, crowded }) => {
                            drop(lease);
                            turned_away += 1;
                            let now = self.env.now();
                            if !crowded || turned_away > TURNED_AWAY || !self.places().crowded(owner, now) {
                                return Err(error);
                            }
                            tracing::debug!("the server takes no more connections; going on with fewer");
                        }
                    }
                }
                Call::WaitForOwn => {
                    (first, hurry) = (None, None);
                    mine.await;
                }
                Call::Wait(until) if first.is_some() => {
                    hurry = hurry.or_else(|| (holds == Holds::Memory).then(|| Hurry::new(self)));
                    let until = until.unwrap_or(Tick::MAX);
                    tokio::select! {
                        biased;
                        () = freed => {}
                        () = mine => {}
                        () = self.env.sleep_until(until), if until < Tick::MAX => {}
                    }
                }
                Call::Wait(_) => {
                    hurry = hurry.or_else(|| (holds == Holds::Memory).then(|| Hurry::new(self)));
                    first = tokio::select! {
                        biased;
                        () = mine => None,
                        turn = line.lock() => Some(turn),
                    };
                }
            }
        }
    }

    /// Waits until it is this mailbox's turn to fetch. Dropping the future leaves nothing behind.
    pub async fn turn(self: &Arc<Self>, owner: u64) -> Turn {
        let mut woken = Vec::new();
        let asked = {
            let (mut places, now) = (self.places(), self.env.now());
            let bounds = places.turn_bounds(now);
            let asked = places.turns.ask(owner, now, bounds, &mut woken);
            // Before anybody else can come to it: who is woken must have a door.
            if let Asked::Waits(id, _) = asked {
                self.doors().insert(id, Arc::default());
            }
            asked
        };
        self.open(&woken);
        let Asked::Waits(id, mut until) = asked else { return Turn { pool: self.clone(), owner } };
        let door = self.doors().entry(id).or_default().clone();
        let mut waiting = Waiting { pool: self, owner, id, granted: false };
        loop {
            tokio::select! {
                biased;
                () = door.notified() => {}
                () = self.env.sleep_until(until.unwrap_or(Tick::MAX)), if until.is_some() => {}
            }
            let mut woken = Vec::new();
            let looked = {
                let (mut places, now) = (self.places(), self.env.now());
                let bounds = places.turn_bounds(now);
                places.turns.look(owner, id, now, bounds, &mut woken)
            };
            self.open(&woken);
            match looked {
                Asked::Granted => {
                    waiting.granted = true;
                    return Turn { pool: self.clone(), owner };
                }
                Asked::Waits(_, next) => until = next,
            }
        }
    }

    /// Something was done to the turns: those whose turn has come look.
    fn turns(&self, change: impl FnOnce(&mut Turns, Tick, Bounds, &mut Vec<Id>)) {
        let mut woken = Vec::new();
        {
            let (mut places, now) = (self.places(), self.env.now());
            let bounds = places.turn_bounds(now);
            change(&mut places.turns, now, bounds, &mut woken);
        }
        self.open(&woken);
    }

    fn open(&self, woken: &[Id]) {
        if woken.is_empty() {
            return;
        }
        let doors = self.doors();
        woken.iter().filter_map(|id| doors.get(id)).for_each(|door| door.notify_one());
    }

    fn doors(&self) -> MutexGuard<'_, BTreeMap<Id, Arc<Notify>>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self, owner: u64) -> Arc<Notify> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.entry(owner).or_default().clone()
    }

    /// Something of this mailbox's changed, and perhaps a place is free: its calls look again, and the first in line.
    fn tell(&self, owner: u64) {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner).get(&owner).cloned();
        if let Some(own) = own {
            own.notify_waiters();
        }
        self.freed.notify_waiters();
    }

    async fn log_in(&self, owner: u64, mailbox: &str) -> std::result::Result<Arc<Session>, NoSession> {
        self.account.ready().map_err(|error| NoSession { error, crowded: false })?;
        let lent = self.borrow().await;
        let at = self.places().next_login(self.env.now(), self.settings.server.login_interval);
        self.env.sleep_until(at).await;
        let place = format!("{}:{}", self.settings.server.host, self.settings.server.port);
        let at = |e: Error| if e.scope == Scope::Endpoint { e.at(&place) } else { e };
        let mut connection = connect(&self.env, &self.endpoint).await.map_err(|e| {
            // Whoever is told to wait before anybody is named is one too many.
            NoSession { crowded: e.kind == Kind::Throttled, error: at(e) }
        })?;
        let trips = self.trips_of(owner);
        let logged_in = self.account.log_in(&mut connection, mailbox).await;
        trips.fetch_add(connection.commands(), Ordering::Relaxed);
        match logged_in {
            Ok(()) => {
                let compressed = connection.compress(self.settings.server.compress).await;
                let unfit = |error| NoSession { error, crowded: false };
                let connection = compressed.map_err(|e| unfit(e.into_error()))?;
                let session = Arc::new(Session::metered(connection, trips).holding(lent));
                if session.capabilities().has("UTF8=ACCEPT") {
                    // Else the server may hand out headers that were downgraded (RFC 6855 §7). Who refuses goes on.
                    let enabled = session.enable(&["UTF8=ACCEPT"]).await;
                    if session.is_broken() {
                        return Err(unfit(enabled.err().unwrap_or_else(|| WireError::Broken.into_error())));
                    }
                }
                Ok(session)
            }
            Err(e) => Err(NoSession { crowded: connection.was_crowded(), error: at(e) }),
        }
    }

    fn trips_of(&self, owner: u64) -> Arc<AtomicU64> {
        let mut trips = self.trips.lock().unwrap_or_else(PoisonError::into_inner);
        trips.entry(owner).or_default().clone()
    }

    /// Times a mailbox was waited for, from the login on.
    pub fn round_trips(&self, owner: u64) -> u64 {
        self.trips_of(owner).load(Ordering::Relaxed)
    }

    /// Ends the idle sessions of a mailbox politely. Their places are free only when the server has let go of them.
    pub async fn end(self: &Arc<Self>, owner: u64) {
        loop {
            let Some((place, session)) = self.places().take_idle(owner) else { return };
            let _place = Lease::new(self, owner, place, Tick::ZERO);
            session.logout().await;
        }
    }

    /// Closes the idle sessions of a mailbox that is gone, without a word.
    pub fn forget(&self, owner: u64) {
        self.trips.lock().unwrap_or_else(PoisonError::into_inner).remove(&owner);
        self.places().forget(owner);
        self.turns(|turns, now, bounds, woken| turns.forget(owner, now, bounds, woken));
        self.tell(owner);
        self.own.lock().unwrap_or_else(PoisonError::into_inner).remove(&owner);
    }
}

/// A mailbox's turn to fetch, until it is dropped.
pub(super) struct Turn {
    pool: Arc<Pool>,
    owner: u64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pool.turns(|turns, now, bounds, woken| turns.leave(self.owner, now, bounds, woken));
    }
}

/// A place in the line for a turn; gives it up when dropped before the turn was taken.
struct Waiting<'a> {
    pool: &'a Pool,
    owner: u64,
    id: Id,
    granted: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.doors().remove(&self.id);
        if self.granted {
            return;
        }
        self.pool.turns(|turns, now, bounds, woken| {
            if !turns.cancel(self.owner, self.id, woken) {
                turns.leave(self.owner, now, bounds, woken);
            }
        });
    }
}

/// A session held for one call. Dropped without [`Lease::give_back`], it is closed: the call was abandoned half way,
/// or the connection broke.
pub(super) struct Lease {
    pool: Arc<Pool>,
    owner: u64,
    place: u64,
    session: Option<Arc<Session>>,
    /// Since when the call has it.
    since: Tick,
    /// The call ended well, or at least in order.
    fit: bool,
    /// What it told of the host's load.
    told: Option<Told>,
}

impl Lease {
    fn new(pool: &Arc<Pool>, owner: u64, place: u64, since: Tick) -> Lease {
        Lease { pool: pool.clone(), owner, place, session: None, since, fit: false, told: None }
    }

    /// The call was a fetch of about so many bytes, and ended so: what the host bears is learnt from it.
    pub fn fetched<T>(&mut self, bytes: u64, end: &Result<T>) {
        let how = match end {
            Ok(_) => Ended::Served,
            Err(e) if e.kind == Kind::Throttled => Ended::Refused,
            Err(e) if e.kind == Kind::Unreachable => Ended::Lost,
            Err(_) => Ended::NotSent,
        };
        self.told = Some(Told { sent: self.since, bytes, how });
    }

    /// The session. There is one for as long as the lease is held.
    pub fn session(&self) -> Result<&Arc<Session>> {
        self.session.as_ref().ok_or_else(|| WireError::Broken.into_error())
    }

    async fn is_alive(&self) -> bool {
        match &self.session {
            Some(session) => session.noop().await.is_ok(),
            None => false,
        }
    }

    /// Lays the session aside for the mailbox's next call; a broken one is closed.
    pub fn give_back(mut self) {
        self.fit = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.session = None;
        let now = self.pool.env.now();
        let mut places = self.pool.places();
        if let Some(told) = self.told {
            places.told(now, told);
        }
        places.leave(self.place, self.fit, now);
        drop(places);
        self.pool.tell(self.owner);
    }
}

//! Sessions of one endpoint, leased: as many as the operator allows, logged in no faster than allowed.
//!
//! A session belongs to a mailbox, but is *held* only during a call. Between calls it lies idle here, and a mailbox
//! that wants a session may have its place once it lay idle for the grace time. So nobody can block others by keeping
//! a session while it waits for something else, and a mailbox that is busy keeps its login.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::config::ImapSettings;
use crate::env::{Env, Tick};
use crate::imap::{Account, Endpoint, Session, WireError, connect};
use crate::model::{Error, Result, Scope};

/// A session that lay idle for longer is asked whether it still lives before it is trusted.
const STALE: Duration = Duration::from_secs(20);

/// The sessions of one endpoint.
pub(super) struct Pool {
    pub env: Env,
    pub settings: ImapSettings,
    endpoint: Endpoint,
    account: Account,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Default)]
struct State {
    /// Sessions held by a call, or being made for one.
    held: usize,
    /// Oldest first.
    idle: VecDeque<Idle>,
    owners: u64,
    /// Times each mailbox was waited for.
    trips: BTreeMap<u64, u64>,
    next_login: Tick,
}

struct Idle {
    owner: u64,
    since: Tick,
    session: Arc<Session>,
}

/// What a caller may do now.
enum Turn {
    /// Go on with its own session.
    Resume(Arc<Session>, Duration),
    /// Log in; a session of another was ended for it, if one is given.
    LogIn(Option<Arc<Session>>),
    /// Wait, at most until then.
    Wait(Option<Tick>),
}

impl Pool {
    pub fn new(env: Env, settings: ImapSettings, endpoint: Endpoint) -> Pool {
        let account = Account::new(&env, &settings.server);
        Pool { env, settings, endpoint, account, state: Mutex::default(), freed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for one more mailbox.
    pub fn owner(&self) -> u64 {
        let mut state = self.state();
        state.owners += 1;
        state.owners
    }

    /// A session of `mailbox`: its own if it still lies here, else a new one as soon as there is a place.
    pub async fn lease(self: &Arc<Self>, owner: u64, mailbox: &str) -> Result<Lease> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable(); // before looking, so that nothing freed in between is missed
            match self.turn(owner) {
                Turn::Resume(session, idle) => {
                    let lease = Lease::of(self, owner, Some(session));
                    if idle < STALE || lease.is_alive().await {
                        return Ok(lease);
                    }
                    drop(lease);
                }
                Turn::LogIn(evicted) => {
                    let mut lease = Lease::of(self, owner, None);
                    if let Some(evicted) = evicted {
                        evicted.logout().await;
                    }
                    lease.session = Some(self.log_in(owner, mailbox).await?);
                    return Ok(lease);
                }
                Turn::Wait(None) => freed.await,
                Turn::Wait(Some(until)) => {
                    tokio::select! {
                        biased;
                        () = freed => {}
                        () = self.env.sleep_until(until) => {}
                    }
                }
            }
        }
    }

    fn turn(&self, owner: u64) -> Turn {
        let now = self.env.now();
        let mut state = self.state();
        let own = state.idle.iter().position(|i| i.owner == owner);
        if let Some(own) = own.and_then(|at| state.idle.remove(at)) {
            state.held += 1;
            return Turn::Resume(own.session, now.saturating_sub(own.since));
        }
        if state.held + state.idle.len() < self.settings.server.max_connections {
            state.held += 1;
            return Turn::LogIn(None);
        }
        match state.idle.front() {
            None => Turn::Wait(None),
            Some(oldest) if now < oldest.since + self.settings.server.idle_grace => {
                Turn::Wait(Some(oldest.since + self.settings.server.idle_grace))
            }
            Some(_) => {
                let evicted = state.idle.pop_front();
                state.held += 1;
                Turn::LogIn(evicted.map(|i| i.session))
            }
        }
    }

    async fn log_in(&self, owner: u64, mailbox: &str) -> Result<Arc<Session>> {
        let at = {
            let mut state = self.state();
            let at = state.next_login.max(self.env.now());
            state.next_login = at + self.settings.server.login_interval;
            at
        };
        self.account.ready()?;
        self.env.sleep_until(at).await;
        let place = format!("{}:{}", self.settings.server.host, self.settings.server.port);
        let at = |e: Error| if e.scope == Scope::Endpoint { e.at(&place) } else { e };
        let mut connection = connect(&self.env, &self.endpoint).await.map_err(at)?;
        let logged_in = self.account.log_in(&mut connection, mailbox).await.map_err(at);
        self.count(owner, connection.commands());
        logged_in?;
        Ok(Arc::new(Session::new(connection)))
    }

    /// Ends the idle session of a mailbox politely. Its place is free only when the server has let go of it.
    pub async fn end(self: &Arc<Self>, owner: u64) {
        let Some(session) = self.take_idle(owner, 1) else { return };
        let place = Lease::of(self, owner, Some(session));
        if let Ok(session) = place.session() {
            session.logout().await;
        }
    }

    fn count(&self, owner: u64, trips: u64) {
        *self.state().trips.entry(owner).or_default() += trips;
    }

    /// Times a mailbox was waited for, from the login on.
    pub fn round_trips(&self, owner: u64) -> u64 {
        self.state().trips.get(&owner).copied().unwrap_or(0)
    }

    /// Closes the idle session of a mailbox that is gone, without a word.
    pub fn forget(&self, owner: u64) {
        self.state().trips.remove(&owner);
        drop(self.take_idle(owner, 0));
        self.freed.notify_waiters();
    }

    /// Takes the idle session of a mailbox; its place stays taken if `held` is 1.
    fn take_idle(&self, owner: u64, held: usize) -> Option<Arc<Session>> {
        let mut state = self.state();
        let at = state.idle.iter().position(|i| i.owner == owner)?;
        let idle = state.idle.remove(at)?;
        state.held += held;
        Some(idle.session)
    }
}

/// A session held for one call. Dropped without [`Lease::give_back`], it is closed: the call was abandoned half way,
/// or the connection broke.
pub(super) struct Lease {
    pool: Arc<Pool>,
    owner: u64,
    session: Option<Arc<Session>>,
    /// Its round trips when the lease began.
    trips: u64,
}

impl Lease {
    fn of(pool: &Arc<Pool>, owner: u64, session: Option<Arc<Session>>) -> Lease {
        let trips = session.as_ref().map_or(0, |s| s.round_trips());
        Lease { pool: pool.clone(), owner, session, trips }
    }

    /// Counts what it cost.
    fn count(&self) {
        if let Some(session) = &self.session {
            self.pool.count(self.owner, session.round_trips().saturating_sub(self.trips));
        }
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
        self.count();
        let session = self.session.take().filter(|s| !s.is_broken());
        if let Some(session) = session {
            let since = self.pool.env.now();
            // The place itself is freed by the drop below; the idle session takes it over first.
            self.pool.state().idle.push_back(Idle { owner: self.owner, since, session });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.count();
        self.session = None;
        let mut state = self.pool.state();
        state.held = state.held.saturating_sub(1);
        drop(state);
        self.pool.freed.notify_waiters();
    }
}

//! The sessions of an endpoint: one for each open mailbox, made when it is needed, made anew when it broke.
//!
//! All calls of a mailbox share its session and have their commands in flight at once. The operator's cap counts
//! sessions; when it is reached, a mailbox whose session lies idle for the grace time gives it up.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{
    Mutex as Turns, MutexGuard as Turn, OwnedSemaphorePermit, RwLock, RwLockReadGuard, RwLockWriteGuard,
    Semaphore,
};

use super::append::FREE_LITERALS;
use super::config::ImapTargetSettings;
use super::keeps::Keeps;
use crate::env::{Env, Tick};
use crate::imap::{Account, Endpoint, Examined, Session, WireError, connect};
use crate::model::{Error, Kind, Result, Scope};

/// A session that lay idle for longer is asked whether it still lives before messages are trusted to it.
const STALE: Duration = Duration::from_secs(20);
/// Messages of an endpoint that are looked at after they were stored, whatever they are like.
const SAMPLES: u32 = 3;

/// One endpoint.
pub(super) struct Host {
    pub env: Env,
    pub settings: ImapTargetSettings,
    pub manners: Manners,
    endpoint: Endpoint,
    account: Account,
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_login: Tick,
    slots: Vec<Weak<Slot>>,
}

/// What was learned about a server against its own word.
#[derive(Debug, Default)]
pub(super) struct Manners {
    no_multiappend: AtomicBool,
    no_free_literals: AtomicBool,
    takes_free_literals: AtomicBool,
    no_appended_uids: AtomicBool,
    utf8_headers: AtomicBool,
    changes_dates: AtomicBool,
    looked: AtomicU32,
    /// What it keeps of the flags given with a message.
    pub keeps: Keeps,
}

impl Manners {
    /// It does not take several messages with one command.
    pub fn one_at_a_time(&self) -> bool {
        self.no_multiappend.load(Ordering::Relaxed)
    }

    /// It said BAD to a MULTIAPPEND.
    pub fn learn_one_at_a_time(&self) {
        self.no_multiappend.store(true, Ordering::Relaxed);
    }

    /// It took the octets of a literal for commands, or only those it was asked about.
    pub fn learn_no_free_literals(&self) {
        self.no_free_literals.store(true, Ordering::Relaxed);
    }

    /// Did a message go to it with a literal nobody asked about?
    pub fn takes_free_literals(&self) -> bool {
        self.takes_free_literals.load(Ordering::Relaxed)
    }

    /// One did.
    pub fn learn_takes_free_literals(&self) {
        self.takes_free_literals.store(true, Ordering::Relaxed);
    }

    /// It does not tell where appended messages went.
    pub fn silent_about_uids(&self) -> bool {
        self.no_appended_uids.load(Ordering::Relaxed)
    }

    /// It did not tell where an appended message went.
    pub fn learn_silent_about_uids(&self) {
        self.no_appended_uids.store(true, Ordering::Relaxed);
    }

    /// UTF-8 in a header goes as UTF8 data: it refuses or alters it in other forms.
    pub fn wants_utf8_data(&self) -> bool {
        self.utf8_headers.load(Ordering::Relaxed)
    }

    /// It refused or altered UTF-8 in a header.
    pub fn learn_utf8_data(&self) {
        self.utf8_headers.store(true, Ordering::Relaxed);
    }

    /// Is this message one to look at, because it is among the first?
    pub fn sample(&self) -> bool {
        self.looked
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < SAMPLES).then_some(n + 1))
            .is_ok()
    }

    /// It changes received dates that nobody would expect it to change.
    pub fn changes_dates(&self) -> bool {
        self.changes_dates.load(Ordering::Relaxed)
    }

    /// It changed a received date.
    pub fn learn_changes_dates(&self) {
        self.changes_dates.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Host {
    pub fn new(env: Env, settings: ImapTargetSettings) -> Result<Host> {
        settings.check()?;
        Ok(Host {
            manners: Manners::default(),
            endpoint: settings.server.endpoint()?,
            account: Account::new(&env, &settings.server),
            places: Arc::new(Semaphore::new(settings.server.max_connections)),
            state: Mutex::default(),
            settings,
            env,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more session; an idle one of another mailbox is ended for it if there is none.
    async fn place(&self) -> Result<OwnedSemaphorePermit> {
        let mut asked = std::pin::pin!(self.places.clone().acquire_owned());
        loop {
            if let std::task::Poll::Ready(got) = futures_util::poll!(asked.as_mut()) {
                return got.map_err(|_| {
                    Error::new(Kind::Internal, Scope::Run, "the endpoint's places were closed")
                });
            }
            if let Some(idle) = self.idle() {
                idle.session.logout().await;
                continue;
            }
            tokio::select! {
                biased;
                got = asked.as_mut() => {
                    return got.map_err(|_| Error::new(Kind::Internal, Scope::Run, "the endpoint's places were closed"));
                }
                () = self.env.sleep(self.settings.server.idle_grace.max(Duration::from_millis(50))) => {}
            }
        }
    }

    /// Takes the session that lay idle longest, if it did so for the grace time.
    fn idle(&self) -> Option<Arc<Live>> {
        let slots: Vec<Arc<Slot>> = self.state().slots.iter().filter_map(Weak::upgrade).collect();
        let before = self.env.now().checked_sub(self.settings.server.idle_grace)?;
        let oldest =
            slots.iter().filter_map(|slot| Some((slot.idle_since()?, slot))).min_by_key(|(since, _)| *since);
        oldest.filter(|(since, _)| *since <= before).and_then(|(_, slot)| slot.take())
    }

    async fn log_in(&self, mailbox: &str) -> Result<Session> {
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
        self.account.log_in(&mut connection, mailbox).await.map_err(at)?;
        let compress = self.settings.server.compress;
        let session = Session::new(connection.compress(compress).await.map_err(|e| at(e.into_error()))?);
        if self.manners.no_free_literals.load(Ordering::Relaxed) {
            session.forgo(&FREE_LITERALS);
        }
        let offer = session.capabilities();
        if offer.has("UTF8=ACCEPT") || offer.has("UTF8=ONLY") {
            // Before any folder is opened (RFC 5161 §3.1). Who only offers it and refuses goes on without.
            match session.enable(&["UTF8=ACCEPT"]).await {
                Err(e) if offer.has("UTF8=ONLY") || session.is_broken() => return Err(e),
                _ => {}
            }
        }
        Ok(session)
    }
}

/// A session in use.
pub(super) struct Live {
    pub session: Session,
    /// Held by whoever needs one folder to stay open.
    desk: Turns<()>,
    /// Held for reading by every APPEND in flight: see [`Live::alone`].
    appends: RwLock<()>,
    _place: OwnedSemaphorePermit,
}

/// A folder that stays open for as long as this is held.
pub(super) struct Opened<'a> {
    /// What was told when it was opened.
    pub told: Arc<Examined>,
    _desk: Turn<'a, ()>,
}

impl Live {
    /// Held while an APPEND is in flight.
    pub async fn appending(&self) -> RwLockReadGuard<'_, ()> {
        self.appends.read().await
    }

    /// Waits until no APPEND is in flight, and keeps new ones back for as long as it is held. Dovecot begins with the next
    /// command while an APPEND is being synced: what it tells untagged comes before the APPEND's own answer then, and is
    /// taken for a part of that. So whoever must not miss such an answer asks alone, or again.
    pub async fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.appends.write().await
    }

    /// Opens a folder for reading and writing, unless it is open.
    ///
    /// # Errors
    /// As [`Session::select`].
    pub async fn open(&self, folder: &str) -> Result<Opened<'_>> {
        let desk = self.desk.lock().await;
        if let Some((name, told)) = self.session.examined()
            && name == folder.as_bytes()
        {
            return Ok(Opened { told, _desk: desk });
        }
        let mut selected = self.session.select(folder.as_bytes()).await;
        if selected.as_ref().is_ok_and(|told| told.uid_validity == 0) {
            let _alone = self.alone().await;
            selected = self.session.select(folder.as_bytes()).await;
        }
        match selected {
            Ok(told) => Ok(Opened { told, _desk: desk }),
            Err(e) if e.kind == Kind::Protocol && self.is_gone(folder).await? => Err(gone()),
            Err(e) => Err(e),
        }
    }

    /// Is there no such folder? Servers refuse what concerns one in many words, and some without any code.
    ///
    /// # Errors
    /// As [`Session::list`].
    pub async fn is_gone(&self, folder: &str) -> Result<bool> {
        if self.session.is_broken() {
            return Ok(false);
        }
        let listed = {
            let _alone = self.alone().await;
            self.session.list(folder.as_bytes()).await?
        };
        let there = |name: &[u8]| {
            name == folder.as_bytes() || (folder == "INBOX" && name.eq_ignore_ascii_case(b"INBOX"))
        };
        Ok(!listed.iter().any(|e| there(&e.name) && !e.has("\\Noselect") && !e.has("\\NonExistent")))
    }

    /// Sees to it that none of these folders is open, and none is opened for as long as this is held.
    pub async fn closed(&self, concerned: impl Fn(&str) -> bool) -> Result<Turn<'_, ()>> {
        let desk = self.desk.lock().await;
        let open = self.session.examined().and_then(|(name, _)| String::from_utf8(name.to_vec()).ok());
        if open.is_some_and(|name| concerned(&name)) {
            if self.session.capabilities().has("UNSELECT") {
                self.session.unselect().await.map_err(WireError::into_error)?;
            } else {
                self.session.examine(b"INBOX").await?;
            }
        }
        Ok(desk)
    }
}

/// The error of a folder that is not there.
pub(super) fn gone() -> Error {
    Error::new(Kind::NotFound, Scope::Folder, "the target folder is gone")
        .remedy("if it was removed on purpose, say so; else restore it and run again")
}

/// The session of one mailbox.
pub(super) struct Line {
    pub host: Arc<Host>,
    mailbox: String,
    slot: Arc<Slot>,
    making: Turns<()>,
}

#[derive(Default)]
struct Slot(Mutex<Held>);

#[derive(Default)]
struct Held {
    live: Option<Arc<Live>>,
    used: Tick,
    /// Round trips of sessions that ended.
    spent: u64,
}

impl Held {
    fn end(&mut self) -> Option<Arc<Live>> {
        let live = self.live.take();
        self.spent += live.as_ref().map_or(0, |live| live.session.round_trips());
        live
    }
}

impl Slot {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle_since(&self) -> Option<Tick> {
        let held = self.held();
        held.live.as_ref().filter(|live| Arc::strong_count(live) == 1).map(|_| held.used)
    }

    fn take(&self) -> Option<Arc<Live>> {
        let mut held = self.held();
        let idle = held.live.as_ref().is_some_and(|live| Arc::strong_count(live) == 1);
        if idle { held.end() } else { None }
    }
}

impl Line {
    pub fn new(host: &Arc<Host>, mailbox: &str) -> Line {
        let slot = Arc::new(Slot::default());
        let mut state = host.state();
        state.slots.retain(|slot| slot.strong_count() > 0);
        state.slots.push(Arc::downgrade(&slot));
        drop(state);
        Line { host: host.clone(), mailbox: mailbox.to_owned(), slot, making: Turns::new(()) }
    }

    /// The session. Whoever holds one that broke must let it go before asking again: it takes a place.
    ///
    /// # Errors
    /// As connecting and logging in.
    pub async fn live(&self) -> Result<Arc<Live>> {
        if let Some(live) = self.ready().await {
            return Ok(live);
        }
        let _making = self.making.lock().await;
        if let Some(live) = self.ready().await {
            return Ok(live);
        }
        let place = self.host.place().await?;
        let session = self.host.log_in(&self.mailbox).await?;
        let live = Arc::new(Live { session, desk: Turns::new(()), appends: RwLock::new(()), _place: place });
        let mut held = self.slot.held();
        held.live = Some(live.clone());
        held.used = self.host.env.now();
        Ok(live)
    }

    async fn ready(&self) -> Option<Arc<Live>> {
        let now = self.host.env.now();
        let (live, idle) = {
            let mut held = self.slot.held();
            if held.live.as_ref().is_some_and(|live| live.session.is_broken()) {
                held.end();
            }
            let live = held.live.clone()?;
            (live, now.saturating_sub(std::mem::replace(&mut held.used, now)))
        };
        let alive = idle < STALE || live.session.in_flight() > 0 || live.session.noop().await.is_ok();
        alive.then_some(live)
    }

    /// Round trips so far.
    pub fn round_trips(&self) -> u64 {
        let held = self.slot.held();
        held.spent + held.live.as_ref().map_or(0, |live| live.session.round_trips())
    }

    /// Ends the session politely.
    pub async fn end(&self) {
        let live = self.slot.held().end();
        if let Some(live) = live.filter(|live| !live.session.is_broken()) {
            live.session.logout().await;
        }
    }
}

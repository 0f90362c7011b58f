//! The limits of a process: one gate per (target app, mailbox), the byte budgets, the log-in rates.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::account::Accounts;
use super::apps::app_of;
use super::budget::{Budget, Copying, MemoryPermit};
use super::counters::Counters;
use super::crowd::Crowd;
use super::gate::{App, Gate, LentBy};
use super::lender::Lender;
use super::rules::Rules;
use super::smooth::Pace;
use crate::env::Env;

/// Idle gates are looked for each time their number has doubled, from this many on.
const FIRST_SWEEP: usize = 64;

/// What one app may do to one mailbox of a target endpoint. In every field 0 (or `None`) means no limit; times are
/// at most 30 days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetLimits {
    /// Requests in any `requests_window`.
    pub requests: u32,
    /// The window of `requests`.
    pub requests_window: Duration,
    /// Upload bytes in any `upload_window`.
    pub upload_bytes: u64,
    /// The window of `upload_bytes`.
    pub upload_window: Duration,
    /// Requests at once.
    pub concurrency: u32,
    /// Requests per second of the app, over all mailboxes.
    pub app_requests_per_second: Option<u32>,
    /// The app registrations that share the endpoint's mailboxes, by any name that stays. Each has limits of its own.
    /// Fewer than two: there is one.
    pub apps: Vec<String>,
    /// Requests at once of one app, over all mailboxes; fewer go while it answers slowly or refuses.
    pub in_flight: u32,
    /// The windows count as spent when the process starts: another may have sent until a moment ago.
    pub start_spent: bool,
    /// How long a request of unknown fate keeps its slot.
    pub unknown_hold: Duration,
}

impl Default for TargetLimits {
    /// The documented limits of Microsoft Graph for Outlook resources, per app and mailbox: 10,000 requests in
    /// 10 minutes, 150 MB of upload in 5 minutes, 4 requests at once
    /// (<https://learn.microsoft.com/graph/throttling-limits>).
    fn default() -> Self {
        TargetLimits {
            requests: 10_000,
            requests_window: Duration::from_secs(600),
            upload_bytes: 150_000_000,
            upload_window: Duration::from_secs(300),
            concurrency: 4,
            app_requests_per_second: None,
            apps: Vec::new(),
            in_flight: 0,
            start_spent: false,
            unknown_hold: Duration::from_secs(30),
        }
    }
}

/// How fast one wave may be copied, at both ends: what is not read is not written either. 0 means no limit of the wave's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WaveLimits {
    /// Messages a second.
    pub messages_per_second: u32,
    /// Octets of messages a second, in bytes.
    pub bytes_per_second: u64,
    /// Batches under way at once, from their reservation to the end of their store.
    pub batches_at_once: u32,
}

/// The limits of a whole process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LimitSettings {
    /// By the name of the target endpoint; endpoints not named have no limits.
    pub targets: BTreeMap<String, TargetLimits>,
    /// Octets of messages in memory at once; 0 means no limit.
    pub memory_bytes: u64,
    /// Octets of large messages in the spool at once; 0 means no limit.
    pub spool_bytes: u64,
    /// By the name of the wave; waves not named have no limits of their own.
    pub waves: BTreeMap<String, WaveLimits>,
    /// Log-ins per second at one source host; `None` or 0 means no limit.
    pub source_logins_per_second: Option<u32>,
}

/// Hands out one [`Gate`] per (target endpoint, mailbox), and shares of the byte budgets.
pub struct Limits {
    env: Env,
    endpoints: BTreeMap<String, Shared>,
    unlimited: Shared,
    gates: Mutex<Gates>,
    memory: Option<Arc<Budget>>,
    spool: Option<Arc<Budget>>,
    logins_per_second: Option<NonZeroU32>,
    logins: Mutex<Logins>,
    accounts: Arc<Accounts>,
    waves: BTreeMap<String, WavePace>,
    lender: Option<Arc<dyn Lender>>,
}

/// How fast a wave may go.
struct WavePace {
    messages: Option<Pace>,
    /// Of [`UNIT`] bytes each: the arithmetic is of 32 bits.
    units: Option<Pace>,
    batches: Option<Arc<Semaphore>>,
}

/// The place of a batch among those of its wave that are under way; given back when dropped.
#[derive(Debug)]
pub struct WavePlace {
    _held: Option<OwnedSemaphorePermit>,
}

/// Bytes that are counted as one by the pace of a wave.
const UNIT: u64 = 1024;

impl std::fmt::Debug for Limits {
    /// Names no mailbox.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits").finish_non_exhaustive()
    }
}

/// What the gates of one endpoint share.
struct Shared {
    /// As the operator set it; `None`: no limits.
    set: Option<TargetLimits>,
    rules: Arc<Rules>,
    start_spent: bool,
    /// The apps, and of each what all its mailboxes share.
    apps: Vec<String>,
    shared: Vec<App>,
}

#[derive(Default)]
struct Gates {
    by_name: BTreeMap<(String, String), Arc<Gate>>,
    sweep_at: usize,
    /// Counters of gates that are gone.
    gone: Counters,
}

#[derive(Default)]
struct Logins {
    by_host: BTreeMap<String, Arc<Pace>>,
    waited: Duration,
}

impl Limits {
    /// The limits an operator set.
    pub fn new(env: &Env, settings: LimitSettings) -> Arc<Limits> {
        Limits::lent_by(env, settings, None)
    }

    /// As [`Limits::new`], beside another process that uses the same limits: each request takes a permit of its, too, for
    /// as long as it is there.
    pub fn lent_by(env: &Env, settings: LimitSettings, lender: Option<Arc<dyn Lender>>) -> Arc<Limits> {
        let endpoints =
            settings.targets.into_iter().map(|(name, target)| (name, Shared::new(env, target))).collect();
        let budget = |bytes: u64| (bytes > 0).then(|| Budget::new(env, bytes));
        Arc::new(Limits {
            env: env.clone(),
            endpoints,
            unlimited: Shared::unlimited(),
            gates: Mutex::default(),
            memory: budget(settings.memory_bytes),
            spool: budget(settings.spool_bytes),
            logins_per_second: settings.source_logins_per_second.and_then(NonZeroU32::new),
            logins: Mutex::default(),
            accounts: Accounts::new(env),
            waves: settings.waves.into_iter().map(|(name, wave)| (name, WavePace::new(env, wave))).collect(),
            lender,
        })
    }

    /// No limits at all.
    pub fn unlimited(env: &Env) -> Arc<Limits> {
        Limits::new(env, LimitSettings::default())
    }

    /// What was set for a target endpoint; `None`: it has no limits.
    pub fn of_target(&self, endpoint: &str) -> Option<&TargetLimits> {
        self.endpoints.get(endpoint).and_then(|shared| shared.set.as_ref())
    }

    /// The gate of one mailbox of a named target endpoint; the same one for the same pair. An endpoint without
    /// limits gets an unlimited gate.
    ///
    /// A gate nobody holds any more is kept until it is idle, since what it sent still counts at the service.
    pub fn gate(&self, endpoint: &str, mailbox: &str) -> Arc<Gate> {
        let key = (endpoint.to_owned(), mailbox.to_owned());
        let mut gates = lock(&self.gates);
        if let Some(gate) = gates.by_name.get(&key) {
            return Arc::clone(gate);
        }
        if gates.by_name.len() >= gates.sweep_at.max(FIRST_SWEEP) {
            gates.sweep();
        }
        let shared = self.endpoints.get(endpoint).unwrap_or(&self.unlimited);
        // A mailbox stays on one app, so the gate of a mailbox is that of (app, mailbox).
        let app = shared.shared.get(app_of(&shared.apps, mailbox)).cloned().unwrap_or_default();
        let lent = self.lender.clone().map(|lender| {
            Box::new(LentBy {
                lender,
                endpoint: endpoint.to_owned(),
                mailbox: mailbox.to_owned(),
                counted: Mutex::default(),
            })
        });
        let gate = Gate::new(&self.env, Arc::clone(&shared.rules), shared.start_spent, app, lent);
        gates.by_name.insert(key, Arc::clone(&gate));
        gate
    }

    /// Waits until its wave lets a batch of so many messages of `bytes` together be copied. Before everything else that a
    /// batch reserves. Dropping the future is safe: the wave is slower for it, never faster.
    pub async fn of_wave(&self, wave: &str, messages: u64, bytes: u64) -> WavePlace {
        let Some(pace) = self.waves.get(wave) else { return WavePlace { _held: None } };
        let held = match &pace.batches {
            // Nobody closes it.
            Some(batches) => Arc::clone(batches).acquire_owned().await.ok(),
            None => None,
        };
        let small = |amount: u64| u32::try_from(amount).unwrap_or(u32::MAX);
        if let Some(pace) = &pace.messages {
            pace.take(small(messages)).await;
        }
        if let Some(pace) = &pace.units {
            pace.take(small(bytes.div_ceil(UNIT))).await;
        }
        WavePlace { _held: held }
    }

    /// Reserves memory for one message or batch of `bytes` before it is fetched; waits in line. Larger than the whole
    /// budget: goes when it is alone. Dropping the future leaves nothing behind.
    pub async fn memory(self: &Arc<Self>, bytes: u64) -> MemoryPermit {
        take(self.memory.as_ref(), bytes).await
    }

    /// As [`Limits::memory`], for a large message that goes to the spool: its own budget and its own line.
    pub async fn spool(self: &Arc<Self>, bytes: u64) -> MemoryPermit {
        take(self.spool.as_ref(), bytes).await
    }

    /// Waits until one more log-in at this source host is due.
    pub async fn login(&self, host: &str) {
        let Some(per_second) = self.logins_per_second else { return };
        let pace = {
            let mut logins = lock(&self.logins);
            let pace = logins.by_host.entry(host.to_owned());
            Arc::clone(pace.or_insert_with(|| Arc::new(Pace::new(&self.env, per_second, NonZeroU32::MIN))))
        };
        let waited = pace.take(1).await;
        lock(&self.logins).waited += waited;
    }

    /// The counters of all gates ever handed out, and the waits for memory, spool and log-ins.
    pub fn counters(&self) -> Counters {
        let mut sum = {
            let gates = lock(&self.gates);
            gates.by_name.values().fold(gates.gone, |mut sum, gate| {
                sum += gate.counters();
                sum
            })
        };
        sum.waits.memory = self.memory.as_ref().map_or(Duration::ZERO, |b| b.waited());
        sum.waits.spool = self.spool.as_ref().map_or(Duration::ZERO, |b| b.waited());
        sum.waits.login = lock(&self.logins).waited;
        let crowds =
            self.endpoints.values().flat_map(|e| e.shared.iter().filter_map(|app| app.crowd.as_ref()));
        sum.waits.app_load = crowds.map(|crowd| crowd.waited()).sum();
        sum
    }

    /// How long a request that is begun now is likely to wait for what all mailboxes share: the rate of its app, and the
    /// crowd before it. The longest of all apps.
    pub fn wait_for_shared(&self) -> Duration {
        let apps = self.endpoints.values().flat_map(|endpoint| &endpoint.shared);
        apps.map(App::wait).max().unwrap_or_default()
    }

    /// Counts a mailbox among those that share the memory, for as long as it is held: one that copies now.
    pub fn copying(&self) -> Copying {
        Copying::new(self.memory.clone())
    }

    /// Octets one batch may hold, in bytes, for a mailbox with `each` batches under way or prepared at once, so that the
    /// batches of all who copy now ([`Limits::copying`]) fit into the memory. `u64::MAX` without a limit.
    pub fn batch_share(&self, each: usize) -> u64 {
        self.memory.as_ref().map_or(u64::MAX, |budget| budget.share(each))
    }

    /// Does anybody wait for memory? Then none should be taken for what could be fetched later as well.
    pub fn is_memory_short(&self) -> bool {
        self.memory.as_ref().is_some_and(|budget| budget.is_short())
    }

    /// What the time of the open mailboxes goes to.
    pub fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// Octets given out of the memory budget now.
    pub fn memory_used(&self) -> u64 {
        self.memory.as_ref().map_or(0, |b| b.used())
    }
}

impl WavePace {
    fn new(env: &Env, limits: WaveLimits) -> WavePace {
        // Bursts of a second's worth: a batch should not have to be cut in pieces.
        let pace = |per_second: u32| {
            let per_second = NonZeroU32::new(per_second)?;
            Some(Pace::new(env, per_second, per_second))
        };
        let units = u32::try_from(limits.bytes_per_second.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let batches = usize::try_from(limits.batches_at_once).unwrap_or(usize::MAX);
        let batches = (batches > 0).then(|| Arc::new(Semaphore::new(batches.min(Semaphore::MAX_PERMITS))));
        WavePace { messages: pace(limits.messages_per_second), units: pace(units), batches }
    }
}

impl Shared {
    fn new(env: &Env, target: TargetLimits) -> Shared {
        let rules = Rules::of(&target);
        let per_second = target.app_requests_per_second.and_then(NonZeroU32::new);
        let app = || App {
            pace: per_second.map(|per_second| Arc::new(Pace::of_app(env, per_second))),
            crowd: (target.in_flight > 0).then(|| Crowd::new(env, target.in_flight)),
        };
        let shared = (0..target.apps.len().max(1)).map(|_| app()).collect();
        let (start_spent, apps) = (target.start_spent, target.apps.clone());
        Shared { set: Some(target), rules: Arc::new(rules), start_spent, apps, shared }
    }

    fn unlimited() -> Shared {
        let rules = Arc::new(Rules::unlimited());
        Shared { set: None, rules, start_spent: false, apps: Vec::new(), shared: Vec::new() }
    }
}

impl Gates {
    /// Forgets the gates that nobody holds and nothing is remembered of.
    fn sweep(&mut self) {
        let gone = &mut self.gone;
        // The map is locked and holds the only handle, so nobody can get at the gate meanwhile.
        self.by_name.retain(|_, gate| {
            let keep = Arc::strong_count(gate) > 1 || !gate.is_idle();
            if !keep {
                *gone += gate.counters();
            }
            keep
        });
        self.sweep_at = self.by_name.len() * 2;
    }
}

async fn take(budget: Option<&Arc<Budget>>, bytes: u64) -> MemoryPermit {
    match budget {
        Some(budget) => budget.take(bytes).await,
        None => MemoryPermit::unlimited(bytes),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

//! The stage of the trial: a source, a target, what goes wrong, and one run on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mailwave::engine::{self, Options, Parts, Stop, Unwatched, WaveResult};
use mailwave::env::Env;
use mailwave::ledger::sqlite::{LedgerOptions, SqliteLedger};
use mailwave::limit::Limits;
use mailwave::model::{Bodies, Mailbox, MailboxKey, SourceName};

use super::Play;
use super::content::{Content, Scale};
use super::peer::{Account, Peer, address};
use super::source::Origin;
use super::target::{Defect, Glasses};
use super::world::{Observer, VirtualClock};

/// 2026-11-22T00:00:00Z
const START: i64 = 1_795_305_600_000;

/// Everything one story happens on.
pub struct Stage {
    content: Mutex<Content>,
    origin: Mutex<Origin>,
    peer: Peer,
    clock: Arc<VirtualClock>,
    dir: tempfile::TempDir,
    seed: u64,
    defect: Defect,
    /// What lies at the source, as its users left it.
    left: Mutex<String>,
}

/// How one run ended.
pub enum End {
    Finished(WaveResult),
    Cut,
}

impl Stage {
    pub fn new(play: Play, scale: Scale, seed: u64, defect: Defect) -> Stage {
        let clock = VirtualClock::new(START);
        // Memory, where there is such a place: a thousand ledgers are synced here.
        let shm = Path::new("/dev/shm");
        let base = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("mailwave-trial").tempdir_in(base).expect("a directory");
        let content = Content::first(seed, scale);
        let mut origin = Origin::new(play.from, &clock, dir.path());
        origin.show(&content);
        let peer = Peer::new(play.to, seed, &clock, &content, dir.path());
        let left = Mutex::new(origin.untouched());
        let (content, origin) = (Mutex::new(content), Mutex::new(origin));
        Stage { content, origin, peer, clock, dir, seed, defect, left }
    }

    /// Before the second pass (`round` 1), or before the third.
    pub fn users_change_things(&self, round: usize) {
        let (mut content, mut origin) = (self.content.lock().unwrap(), self.origin.lock().unwrap());
        content.change(round);
        origin.show(&content);
        *self.left.lock().unwrap() = origin.untouched();
        if round == 1 {
            self.peer.users_change_things(&content);
        }
    }

    /// What the source holds now.
    pub fn content(&self) -> Content {
        self.content.lock().unwrap().clone()
    }

    /// Did anybody but its users change the source?
    pub fn source_was_written(&self) -> bool {
        self.origin.lock().unwrap().untouched() != *self.left.lock().unwrap()
    }

    pub fn account(&self) -> Account {
        let mut account = self.peer.account();
        account.faults.extend(self.origin.lock().unwrap().faults());
        account
    }

    /// Runs the engine once, in a world of its own that `observer` may cut. Whatever was not synced is lost then;
    /// requests already sent are acted on or not, as the target's seed has it.
    pub fn run(&self, observer: &Arc<Observer>, last: bool) -> End {
        self.run_with(observer, last, false)
    }

    /// The same with a ledger that writes in a thread of its own, in real time.
    pub fn run_threaded(&self, observer: &Arc<Observer>) -> End {
        self.run_with(observer, false, true)
    }

    fn run_with(&self, observer: &Arc<Observer>, last: bool, threaded: bool) -> End {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(!threaded).build().expect("a runtime");
        let end = runtime.block_on(async {
            let wall = self.clock.begin();
            let env = Env::simulated(self.seed, wall, observer.clone());
            let parts = Arc::new(self.parts(&env, last, threaded));
            let mailboxes = self.content().mailboxes.iter().map(|m| mailbox(m)).collect();
            let end = tokio::select! {
                biased;
                () = observer.frozen() => End::Cut,
                result = engine::run(parts, mailboxes, Arc::new(Unwatched), Stop::default()) => End::Finished(result),
            };
            if matches!(end, End::Cut) && matches!(self.peer, Peer::Imap(..)) && observer.passed().is_multiple_of(2) {
                // What is in a pipe is still read, and acted on, by a server that lives on.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            self.clock.end(Duration::from_secs(1200));
            end
        });
        drop(runtime);
        end
    }

    fn parts(&self, env: &Env, last: bool, threaded: bool) -> Parts {
        let source_name: SourceName = "trial".parse().expect("a name");
        let mut options = LedgerOptions::new(source_name.clone(), "trial");
        options.inline = !threaded;
        options.group_ms = 2;
        options.acknowledge_intents_early = self.defect == Defect::IntentNotSynced;
        let ledger =
            SqliteLedger::open(env, &self.dir.path().join("ledger"), options).expect("the ledger opens");
        let target = Glasses { inner: self.peer.target(env, &self.clock), defect: self.defect };
        Parts {
            env: env.clone(),
            source_name,
            sources: BTreeMap::from([("source".to_owned(), self.origin.lock().unwrap().source(env))]),
            targets: BTreeMap::from([("target".to_owned(), Arc::new(target) as _)]),
            limits: Limits::unlimited(env),
            ledger: Arc::new(ledger),
            bodies: Bodies { memory_limit: 1 << 20, max: 200 << 20, spool: self.dir.path().to_path_buf() },
            options: Options { open_mailboxes: 3, final_pass: last, ..Options::default() },
        }
    }
}

fn mailbox(name: &str) -> Mailbox {
    let source_name: SourceName = "trial".parse().expect("a name");
    Mailbox {
        key: MailboxKey::of(&source_name, name),
        source: name.to_owned(),
        target: address(name),
        source_endpoint: "source".to_owned(),
        target_endpoint: "target".to_owned(),
        target_place: String::new(),
        wave: String::new(),
        priority: 0,
    }
}

//! The stage of the trial: what the source holds, what goes wrong, and one run on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mailwave::engine::{self, Options, Parts, Stop, Unwatched, WaveResult};
use mailwave::env::Env;
use mailwave::ledger::sqlite::{LedgerOptions, SqliteLedger};
use mailwave::limit::Limits;
use mailwave::model::{Bodies, Mailbox, MailboxKey, SourceName};

use super::peer::{Account, Kind, Peer, UPLOAD_FROM, address};
use super::target::{Defect, Glasses};
use super::world::{Observer, VirtualClock};
use crate::support::mailgen::MailGen;
use crate::support::memory::{MemorySource, Store};

pub const MAILBOXES: [&str; 3] = ["ann", "ben", "cleo"];
/// 2026-11-22T00:00:00Z
const START: i64 = 1_795_305_600_000;

/// Everything one story happens on.
pub struct Stage {
    pub store: Arc<Mutex<Store>>,
    peer: Peer,
    clock: Arc<VirtualClock>,
    dir: tempfile::TempDir,
    seed: u64,
    defect: Defect,
}

/// How one run ended.
pub enum End {
    Finished(WaveResult),
    Cut,
}

/// What the source holds at first.
fn content() -> Store {
    let mut store = Store::default();
    for (m, mailbox) in MAILBOXES.iter().enumerate() {
        let mut mails = MailGen::new(m as u64, "example.org");
        for n in 0..21 {
            let folder = ["INBOX", "INBOX", "Projekte Ä/2019", "Архив"][n % 4];
            let mail =
                if n == 6 { mails.with_attachment(UPLOAD_FROM as usize + 2_000) } else { mails.next() };
            store.add(mailbox, folder, mail.octets.clone(), &mail.flags, mail.received);
            if n == 3 {
                // An exact twin, in the same folder: two messages, two copies.
                store.add(mailbox, folder, mail.octets, &mail.flags, mail.received);
            }
        }
    }
    store
}

/// What the users do between the passes: new mail, a move, an expunge, a flag change, in each mailbox.
fn changes(store: &mut Store) {
    for (m, mailbox) in MAILBOXES.iter().enumerate() {
        let mut mails = MailGen::new(100 + m as u64, "example.net");
        for _ in 0..2 {
            let mail = mails.next();
            store.add(mailbox, "INBOX", mail.octets, &mail.flags, mail.received);
        }
        store.move_message(mailbox, "INBOX", 2, "Архив");
        store.folder(mailbox, "INBOX").messages.remove(&4);
        let mail = store.folder(mailbox, "Projekte Ä/2019").messages.get_mut(&1).expect("the first message");
        mail.flags.seen = !mail.flags.seen;
        mail.flags.flagged = !mail.flags.flagged;
    }
}

impl Stage {
    pub fn new(kind: Kind, seed: u64, defect: Defect) -> Stage {
        let clock = VirtualClock::new(START);
        let store = content();
        let peer = Peer::new(kind, seed, &clock, &store);
        // Memory, where there is such a place: a thousand ledgers are synced here.
        let shm = Path::new("/dev/shm");
        let base = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("mailwave-trial").tempdir_in(base).expect("a directory");
        Stage { store: Arc::new(Mutex::new(store)), peer, clock, dir, seed, defect }
    }

    pub fn users_change_things(&self) {
        changes(&mut self.store.lock().unwrap());
        self.peer.users_change_things();
    }

    /// How many messages each folder holds at the source now.
    pub fn source_counts(&self) -> BTreeMap<(String, String), usize> {
        let store = self.store.lock().unwrap();
        let folders = store.0.iter().flat_map(|(m, folders)| folders.iter().map(move |(f, x)| (m, f, x)));
        folders.map(|(m, f, x)| ((m.clone(), f.clone()), x.messages.len())).collect()
    }

    pub fn account(&self) -> Account {
        self.peer.account()
    }

    /// Runs the engine once, in a world of its own that `observer` may cut. Whatever was not synced is lost then;
    /// requests already sent are acted on or not, as the target's seed has it.
    pub fn run(&self, observer: &Arc<Observer>) -> End {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let end = runtime.block_on(async {
            let wall = self.clock.begin();
            let env = Env::simulated(self.seed, wall, observer.clone());
            let parts = Arc::new(self.parts(&env));
            let mailboxes = MAILBOXES.iter().map(|m| mailbox(m)).collect();
            let end = tokio::select! {
                biased;
                () = observer.frozen() => End::Cut,
                result = engine::run(parts, mailboxes, Arc::new(Unwatched), Stop::default()) => End::Finished(result),
            };
            self.clock.end(Duration::from_secs(1200));
            end
        });
        drop(runtime);
        end
    }

    fn parts(&self, env: &Env) -> Parts {
        let source_name: SourceName = "trial".parse().expect("a name");
        let mut options = LedgerOptions::new(source_name.clone(), "trial");
        options.inline = true;
        options.group_ms = 2;
        options.acknowledge_intents_early = self.defect == Defect::IntentNotSynced;
        let ledger =
            SqliteLedger::open(env, &self.dir.path().join("ledger"), options).expect("the ledger opens");
        let target = Glasses { inner: self.peer.target(env, &self.clock), defect: self.defect };
        Parts {
            env: env.clone(),
            source_name,
            sources: BTreeMap::from([("memory".to_owned(), Arc::new(MemorySource(self.store.clone())) as _)]),
            targets: BTreeMap::from([("target".to_owned(), Arc::new(target) as _)]),
            limits: Limits::unlimited(env),
            ledger: Arc::new(ledger),
            bodies: Bodies { memory_limit: 1 << 20, max: 200 << 20, spool: self.dir.path().to_path_buf() },
            options: Options { open_mailboxes: 3, ..Options::default() },
        }
    }
}

fn mailbox(name: &str) -> Mailbox {
    let source_name: SourceName = "trial".parse().expect("a name");
    Mailbox {
        key: MailboxKey::of(&source_name, name),
        source: name.to_owned(),
        target: address(name),
        source_endpoint: "memory".to_owned(),
        target_endpoint: "target".to_owned(),
        target_place: String::new(),
        wave: String::new(),
        priority: 0,
    }
}

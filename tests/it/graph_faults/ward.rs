//! Three mailboxes with awkward mail, a service that can be made to fail in any way, and runs of the engine between
//! them under virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use mailwave::engine::{self, Conduct, MailboxResult, Options, Parts, Stop, Unwatched, Waits, Wave};
use mailwave::env::Env;
use mailwave::http::{Delivery, InProcess};
use mailwave::ledger::sqlite::{LedgerOptions, SqliteLedger};
use mailwave::limit::{LimitSettings, Limits};
use mailwave::mock::Wire;
use mailwave::mock::graph::{Fault, FaultRule, FaultScript, GraphMock, GraphOptions, Sizes, When};
use mailwave::model::{Bodies, Mailbox, MailboxKey, SourceName};
use mailwave::source::Source;
use mailwave::target::Target;
use mailwave::target::graph::{GraphSettings, GraphTarget, TokenSettings};
use mailwave::transform::graph::Bounds;

use crate::support::mailgen::MailGen;
use crate::support::memory::{MemorySource, Store};
use crate::trial::{Observer, VirtualClock};

pub const MAILBOXES: [&str; 3] = ["ann", "ben", "cleo"];
/// Messages of each mailbox, one of them twice.
pub const EACH: usize = 10;
/// 2026-11-22T00:00:00Z
const START: i64 = 1_795_305_600_000;
/// Attachments from here on go by upload session, in octets.
const UPLOAD_FROM: usize = 4_000;

/// What may come between a request and the service.
pub enum Trick {
    /// The service never sees the request.
    Instead(Delivery),
    /// The service acts on it, and this comes back.
    Afterwards(Delivery),
}

/// Puts something before a source.
pub type BeforeSource = fn(&Env, Arc<dyn Source>) -> Arc<dyn Source>;

type Tricks = dyn Fn(&Request<Bytes>) -> Option<Trick> + Send + Sync;

/// See the module.
pub struct Ward {
    pub store: Arc<Mutex<Store>>,
    pub mock: Arc<GraphMock>,
    clock: Arc<VirtualClock>,
    dir: tempfile::TempDir,
    tricks: Arc<Tricks>,
    limits: LimitSettings,
    /// The mailboxes of a run.
    pub names: Vec<String>,
    pub options: Options,
    /// By how many milliseconds our wall clock is wrong.
    pub our_clock: i64,
    /// So long after the beginning of a run our wall clock is set by so many milliseconds.
    pub clock_set: Vec<(Duration, i64)>,
    /// So long after the beginning of a run, wall clocks jump by so many milliseconds, the service's as well: it went on
    /// while we stood still.
    pub suspended: Option<(Duration, i64)>,
    /// For which windows a run waits. It has none: `Always` is a run that may last as long as it takes.
    pub waits: Waits,
    /// What stands between the engine and the source, if anything does.
    pub before_source: Option<BeforeSource>,
    /// Every request: method, host and path.
    pub asked: Arc<Mutex<Vec<(Method, String)>>>,
}

impl Ward {
    pub fn new() -> Ward {
        Ward::of(GraphOptions::default(), EACH)
    }

    /// A tenant as described; so many messages a mailbox.
    pub fn of(options: GraphOptions, each: usize) -> Ward {
        Ward::with(options, MAILBOXES.map(str::to_owned).into(), each)
    }

    /// With other mailboxes than [`MAILBOXES`]: [`Ward::whole`] does not know what they should hold.
    pub fn with(options: GraphOptions, names: Vec<String>, each: usize) -> Ward {
        let mut store = Store::default();
        for (m, mailbox) in names.iter().enumerate() {
            let mut mails = MailGen::new(m as u64, "example.org");
            for n in 0..each {
                let folder = ["INBOX", "INBOX", "Projekte Ä/2019"][n % 3];
                let mail = if n % 9 == 4 { mails.with_attachment(UPLOAD_FROM * 3) } else { mails.next() };
                store.add(mailbox, folder, mail.octets.clone(), &mail.flags, mail.received);
                if n == 3 {
                    store.add(mailbox, folder, mail.octets, &mail.flags, mail.received);
                }
            }
        }
        let clock = VirtualClock::new(START);
        Ward {
            store: Arc::new(Mutex::new(store)),
            mock: GraphMock::new(small_uploads(options), clock.clone()),
            clock,
            dir: tempfile::tempdir().unwrap(),
            tricks: Arc::new(|_| None),
            limits: LimitSettings::default(),
            names,
            options: Options::default(),
            our_clock: 0,
            clock_set: Vec::new(),
            suspended: None,
            waits: Waits::default(),
            before_source: None,
            asked: Arc::default(),
        }
    }

    /// Between two runs all clocks are set by so many milliseconds.
    pub fn set_clocks(&self, by: i64) {
        self.clock.set(by);
    }

    /// Plays a fault of the mock's own script.
    pub fn fault(self, method: &str, path: &str, when: When, fault: Fault) -> Ward {
        let rule = FaultRule {
            name: "fault".into(),
            method: method.into(),
            path: path.into(),
            when,
            at_most: 0,
            fault,
        };
        self.mock.faults(FaultScript { seed: 7, rules: vec![rule] });
        self
    }

    /// Every request passes here first.
    pub fn tricked(
        mut self,
        tricks: impl Fn(&Request<Bytes>) -> Option<Trick> + Send + Sync + 'static,
    ) -> Ward {
        self.tricks = Arc::new(tricks);
        self
    }

    /// Our own limits.
    pub fn limited(mut self, limits: LimitSettings) -> Ward {
        self.limits = limits;
        self
    }

    /// No more trouble.
    pub fn calm(&mut self) {
        self.mock.faults(FaultScript::default());
        self.tricks = Arc::new(|_| None);
    }

    /// Where the ledger lies.
    pub fn ledger(&self) -> std::path::PathBuf {
        self.dir.path().join("ledger")
    }

    fn target(&self, env: &Env) -> Arc<dyn Target> {
        let (mock, tricks, asked) = (self.mock.clone(), self.tricks.clone(), self.asked.clone());
        let http = InProcess::new(env, move |request: Request<Bytes>| {
            let (mock, trick) = (mock.clone(), tricks(&request));
            let uri = request.uri();
            let place = format!("{}{}", uri.authority().map_or("", |a| a.as_str()), uri.path());
            asked.lock().unwrap().push((request.method().clone(), place));
            async move {
                if let Some(Trick::Instead(delivery)) = trick {
                    return delivery;
                }
                let served = match mock.handle(request).await {
                    Wire::Answered(response) => Delivery::Answered(response),
                    Wire::NeverArrived => Delivery::NeverArrived,
                    Wire::NoAnswer => Delivery::NoAnswer,
                };
                match trick {
                    Some(Trick::Afterwards(delivery)) => delivery,
                    _ => served,
                }
            }
        });
        let token = TokenSettings::ClientCredentials {
            token_url: "http://127.0.0.1/tenant/oauth2/v2.0/token".to_owned(),
            client_id: "ward".to_owned(),
            client_secret: "secret".to_owned().into(),
            scope: "https://graph.microsoft.com/.default".to_owned(),
        };
        let mut settings = GraphSettings::new("http://127.0.0.1/v1.0", token);
        settings.bounds = Bounds { request: 3 * UPLOAD_FROM, simple_file: UPLOAD_FROM };
        Arc::new(GraphTarget::new(env, Arc::new(http), settings).expect("the settings are right"))
    }

    /// One run of the engine over all mailboxes, in their order, and how long it took.
    pub fn run(&self) -> (BTreeMap<String, MailboxResult>, Duration) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let ended = runtime.block_on(async {
            let wall = self.clock.begin();
            let began = tokio::time::Instant::now();
            let env = Env::simulated(5, wall + self.our_clock, Observer::new(None));
            let alone = self.clock_set.iter().map(|(after, by)| (*after, *by, 0));
            for (after, by, theirs) in alone.chain(self.suspended.map(|(after, by)| (after, by, by))) {
                let (env, clock) = (env.clone(), self.clock.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    env.set_wall(by);
                    clock.set(theirs);
                });
            }
            let source_name: SourceName = "acme".parse().unwrap();
            let mut options = LedgerOptions::new(source_name.clone(), "faults");
            options.inline = true;
            options.group_ms = 1;
            let ledger = SqliteLedger::open(&env, &self.dir.path().join("ledger"), options).unwrap();
            let mailbox = |name: &String| Mailbox {
                key: MailboxKey::of(&source_name, name),
                source: name.clone(),
                target: address(name),
                source_endpoint: "memory".to_owned(),
                target_endpoint: "graph".to_owned(),
                target_place: String::new(),
                wave: String::new(),
                priority: 0,
            };
            let mailboxes = self.names.iter().map(mailbox).collect();
            let source: Arc<dyn Source> = Arc::new(MemorySource(self.store.clone()));
            let source = self.before_source.map_or(source.clone(), |before| before(&env, source));
            let parts = Parts {
                env: env.clone(),
                source_name,
                sources: BTreeMap::from([("memory".to_owned(), source)]),
                targets: BTreeMap::from([("graph".to_owned(), self.target(&env))]),
                limits: Limits::new(&env, self.limits.clone()),
                ledger: Arc::new(ledger),
                bodies: Bodies {
                    memory_limit: 1 << 20,
                    max: 200 << 20,
                    spool: self.dir.path().to_path_buf(),
                },
                options: self.options.clone(),
            };
            let wave = Wave { mailboxes, ..Wave::default() };
            let conduct = Conduct { waits: self.waits, desk: None };
            let result =
                engine::run_waves(Arc::new(parts), vec![wave], conduct, Arc::new(Unwatched), Stop::default())
                    .await;
            let took = began.elapsed();
            self.clock.end(Duration::from_secs(60));
            (result.mailboxes.into_iter().map(|m| (m.mailbox.source.clone(), m)).collect(), took)
        });
        drop(runtime);
        ended
    }

    /// A run in which every mailbox comes to its end with the verdict good or better.
    pub fn good(&self) -> Duration {
        let (results, took) = self.run();
        for (name, result) in results {
            assert!(result.error.is_none(), "{name}: {:?}", result.error);
            assert!(
                ["perfect", "good"].contains(&result.summary.verdict.as_str()),
                "{name}: {} {:?}",
                result.summary.verdict,
                result.summary.reasons
            );
        }
        took
    }

    /// What lies in a mailbox: where, which message, its dates, flags and attachments; sorted.
    pub fn mail(&self, name: &str) -> Vec<String> {
        let truth = self.mock.truth();
        let Some(mailbox) = truth.mailboxes.get(&address(name)) else { return Vec::new() };
        let mut stamps = BTreeSet::new();
        let mut mail = Vec::new();
        for (folder, inside) in &mailbox.folders {
            for m in &inside.messages {
                let stamp = m.named.values().next().expect("every copy carries a stamp").clone();
                assert!(stamps.insert(stamp), "a message is there twice");
                let attachments: Vec<_> =
                    m.attachments.iter().map(|a| (&a.name, a.size, &a.digest)).collect();
                // The service gives an id of its own making to a message that has none.
                let id = m.internet_message_id.as_str();
                let id = if id.ends_with("@mock.invalid>") { "made" } else { id };
                mail.push(format!(
                    "{folder} {id} {} {} {} {} {} {attachments:?}",
                    m.received, m.sent, m.is_read, m.is_draft, m.body_digest
                ));
            }
        }
        mail.sort();
        mail
    }

    /// All mail is there, each message once with all of its attachments, as a run without trouble stores it; and a run
    /// after that writes nothing.
    pub fn whole(&self) {
        for name in MAILBOXES {
            assert_eq!(self.mail(name), undisturbed()[name], "{name}");
        }
        let writes = self.mock.writes();
        self.good();
        assert_eq!(self.mock.writes(), writes, "a run after the last writes nothing");
    }

    /// Messages of a mailbox at the source.
    pub fn at_source(&self, name: &str) -> usize {
        self.store.lock().unwrap().0[name].values().map(|f| f.messages.len()).sum()
    }

    /// Requests of a method whose path ends like this.
    pub fn count(&self, method: &Method, end: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|(m, path)| m == method && path.ends_with(end)).count()
    }
}

/// What a run without trouble stores, by mailbox.
fn undisturbed() -> &'static BTreeMap<&'static str, Vec<String>> {
    static MAIL: OnceLock<BTreeMap<&str, Vec<String>>> = OnceLock::new();
    MAIL.get_or_init(|| {
        let ward = Ward::new();
        ward.good();
        let mail: BTreeMap<_, _> = MAILBOXES.iter().map(|name| (*name, ward.mail(name))).collect();
        assert!(mail.iter().all(|(name, mail)| mail.len() == ward.at_source(name)), "all of it is there");
        mail
    })
}

pub fn address(name: &str) -> String {
    format!("{name}@example.org")
}

/// Upload sessions are to be had for small attachments too.
fn small_uploads(options: GraphOptions) -> GraphOptions {
    let sizes = Sizes { upload_min: UPLOAD_FROM as u64, ..options.sizes };
    GraphOptions { sizes, ..options }
}

/// An answer.
pub fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Delivery {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Delivery::Answered(response.body(Bytes::from(body.to_owned())).unwrap())
}

/// An error of the service, as it words them.
pub fn error(status: u16, headers: &[(&str, &str)], code: &str) -> Delivery {
    let body = serde_json::json!({"error": {"code": code, "message": "as told", "innerError": {}}});
    answer(status, headers, &body.to_string())
}

/// Is this the create of a message in the mailbox of this name? Any mailbox: an empty name.
pub fn creates(request: &Request<Bytes>, name: &str) -> bool {
    let path = request.uri().path();
    request.method() == Method::POST
        && path.ends_with("/messages")
        && (name.is_empty()
            || path.contains(&format!("/{}/", address(name)))
            || path.contains(&format!("/{name}%40")))
}

//! Mailboxes that cannot go on now and can later: each kind comes back by itself in the same run, if the run may last so
//! long, holds up no other mailbox meanwhile, and ends whole. A wait that a service names itself is
//! `graph_faults::a_wait_of_a_day_parks_one_mailbox_which_asks_again_hour_by_hour_while_the_others_go_on`.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use http::Request;
use mailwave::engine::{MailboxResult, Waits};
use mailwave::env::{Env, Tick};
use mailwave::http::Delivery;
use mailwave::mock::imap::{Act, ImapMock, ImapOptions, InternalDate, Rule};
use mailwave::mock::server::RealWorld;
use mailwave::model::{Bodies, Error, Kind, Listed, Result, Scope, Status};
use mailwave::source::{
    Fetched, Listing, Since, Source, SourceCapabilities, SourceFolder, SourceMailbox, Wanted,
};
use tokio::time::Instant;

use crate::bad_input::desk::{Desk, Imap, MAILDIR_TARGET, mail};
use crate::graph_faults::ward::{Trick, Ward, address, creates, error};
use crate::support::process::{Running, until};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Is this request about the mailbox of this name?
fn about(request: &Request<bytes::Bytes>, name: &str) -> bool {
    let path = request.uri().path();
    path.contains(&format!("/{}/", address(name))) || path.contains(&format!("/{name}%40"))
}

/// For so long from the first request on, requests of some kind come to this.
fn trouble(
    lasts: Duration,
    of: impl Fn(&Request<bytes::Bytes>) -> bool + Send + Sync + 'static,
    comes_to: impl Fn() -> Delivery + Send + Sync + 'static,
) -> Ward {
    let began = OnceLock::new();
    let mut ward = Ward::new().tricked(move |request| {
        let began = began.get_or_init(Instant::now);
        (began.elapsed() < lasts && of(request)).then(|| Trick::Instead(comes_to()))
    });
    ward.waits = Waits::Always;
    ward
}

type Results = BTreeMap<String, MailboxResult>;

/// A run in which this mailbox comes back after about that time; the others were done long before.
fn comes_back(ward: &mut Ward, name: &str, between: (Duration, Duration)) -> Results {
    let (results, took) = ward.run();
    for (other, result) in &results {
        assert!(result.error.is_none(), "{other}: {:?}", result.error);
        let lasted = Duration::from_millis((result.summary.ended - result.summary.began).try_into().unwrap());
        assert!(other == name || lasted < 5 * MINUTE, "{other} was held up: {lasted:?}");
    }
    assert!(took >= between.0 && took < between.1, "{took:?}");
    ward.calm();
    ward.whole();
    results
}

#[test]
fn a_full_target_mailbox_is_tried_hour_by_hour_and_goes_on_when_there_is_room() {
    let full = || error(507, &[], "ErrorQuotaExceeded");
    let mut ward = trouble(150 * MINUTE, |request| creates(request, "ben"), full);
    comes_back(&mut ward, "ben", (150 * MINUTE, 4 * HOUR));
}

#[test]
fn a_target_mailbox_that_is_locked_while_it_is_moved_is_waited_for() {
    let moved = || error(503, &[], "ErrorMailboxMoveInProgress");
    let mut ward = trouble(2 * MINUTE, |request| about(request, "ben"), moved);
    comes_back(&mut ward, "ben", (2 * MINUTE, HOUR));
}

#[test]
fn a_target_mailbox_that_is_not_there_yet_fails_alone_and_the_run_after_its_making_fills_it() {
    let missing = || error(404, &[], "MailboxNotEnabledForRESTAPI");
    let mut ward = trouble(HOUR, |request| about(request, "cleo"), missing);
    let (results, took) = ward.run();
    let cleo = results["cleo"].error.as_ref().expect("it is not there");
    assert!(cleo.kind == Kind::NotFound && !cleo.may_pass(), "{cleo}");
    assert!(!cleo.remedy.is_empty(), "what to do is told: {cleo}");
    for other in ["ann", "ben"] {
        assert!(results[other].error.is_none(), "{other}: {:?}", results[other].error);
    }
    assert!(took < 10 * MINUTE, "nobody waits for what somebody has to make: {took:?}");
    ward.calm();
    ward.good();
    ward.whole();
}

#[test]
fn a_host_that_is_gone_for_half_an_hour_is_tried_now_and_then_and_every_mailbox_goes_on() {
    let mut ward = trouble(30 * MINUTE, |_| true, || Delivery::NeverArrived);
    let (results, took) = ward.run();
    for (name, result) in &results {
        assert!(result.error.is_none(), "{name}: {:?}", result.error);
    }
    assert!(took >= 30 * MINUTE && took < 2 * HOUR, "{took:?}");
    let asked = ward.asked.lock().unwrap().len();
    println!("{asked} requests in {took:?}");
    ward.calm();
    ward.whole();
}

/// A provider that lets so many messages out of one mailbox in a day, and says so as the IMAP source does.
struct Capped {
    env: Env,
    source: Arc<dyn Source>,
    days: Arc<Mutex<BTreeMap<String, (Tick, usize)>>>,
}

/// Messages of a day.
const A_DAY: usize = 3;
const DAY: Duration = Duration::from_secs(24 * 3600);

#[async_trait]
impl Source for Capped {
    async fn open(&self, mailbox: &str) -> Result<Box<dyn SourceMailbox>> {
        let inner = self.source.open(mailbox).await?;
        let (env, days) = (self.env.clone(), self.days.clone());
        Ok(Box::new(CappedMailbox { env, inner, name: mailbox.to_owned(), days }))
    }
}

struct CappedMailbox {
    env: Env,
    inner: Box<dyn SourceMailbox>,
    name: String,
    days: Arc<Mutex<BTreeMap<String, (Tick, usize)>>>,
}

#[async_trait]
impl SourceMailbox for CappedMailbox {
    fn capabilities(&self) -> SourceCapabilities {
        self.inner.capabilities()
    }

    async fn folders(&self) -> Result<Vec<SourceFolder>> {
        self.inner.folders().await
    }

    async fn list(
        &self,
        folder: &SourceFolder,
        since: Option<&Since<'_>>,
        sink: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<Listing> {
        self.inner.list(folder, since, sink).await
    }

    async fn fetch(
        &self,
        folder: &SourceFolder,
        epoch: u64,
        wanted: &[Wanted],
        bodies: &Bodies,
    ) -> Result<Vec<Fetched>> {
        if self.name == "ann" {
            let now = self.env.now();
            let mut days = self.days.lock().unwrap();
            let day = days.entry(self.name.clone()).or_insert((now, 0));
            if now.saturating_sub(day.0) >= DAY {
                *day = (now, 0);
            }
            if day.1 > 0 && day.1 + wanted.len() > A_DAY {
                let tomorrow = (day.0 + DAY).saturating_sub(now);
                return Err(Error {
                    status: Status::Temporary,
                    retry_after: Some(tomorrow),
                    ..Error::new(Kind::Throttled, Scope::Mailbox, "it has given what it may in a day")
                });
            }
            day.1 += wanted.len();
        }
        self.inner.fetch(folder, epoch, wanted, bodies).await
    }

    async fn release(&self) {
        self.inner.release().await;
    }
}

fn capped(env: &Env, source: Arc<dyn Source>) -> Arc<dyn Source> {
    Arc::new(Capped { env: env.clone(), source, days: Arc::default() })
}

#[test]
fn a_mailbox_that_gave_what_it_may_in_a_day_stops_and_goes_on_the_next_day_and_the_next() {
    let mut ward = Ward::new();
    ward.waits = Waits::Always;
    ward.before_source = Some(capped);
    let (results, took) = ward.run();
    for (name, result) in &results {
        assert!(result.error.is_none(), "{name}: {:?}", result.error);
        let lasted = result.summary.ended - result.summary.began;
        assert!(name == "ann" || lasted < 300_000, "{name} was held up: {lasted} ms");
    }
    // The first batch of a day is let through, however large.
    assert!(took >= DAY && took < 5 * DAY, "{took:?}");
    ward.before_source = None;
    ward.whole();

    // A run that does not wait ends with the time at which it can go on, and what could be done is done.
    let mut ward = Ward::new();
    ward.before_source = Some(capped);
    let (results, took) = ward.run();
    assert!(took < HOUR, "{took:?}");
    assert!(
        results["ann"].parked_until.is_some() && results["ann"].summary.stored > 0,
        "{:?}",
        results["ann"]
    );
    assert!(["ben", "cleo"].iter().all(|name| results[*name].error.is_none()));
}

#[test]
fn a_source_mailbox_that_is_locked_for_a_moment_is_waited_for() {
    let imap = Imap::start(ImapOptions::default());
    imap.fill("canary.ann", "INBOX", 3);
    imap.fill("canary.bob", "INBOX", 3);
    let locked = || Act::No("[INUSE] the mailbox is locked by another session".to_owned());
    imap.mock.script([Rule::on("EXAMINE", locked()).times(3)]);
    let desk = Desk::new(
        &format!("{}{MAILDIR_TARGET}", imap.config("password = { file = \"pw\" }")),
        "source,target\ncanary.ann,ann\ncanary.bob,bob\n",
    );
    desk.secret("pw", "canary-password\n");
    let config = std::fs::read_to_string(desk.path("mailwave.toml")).unwrap();
    std::fs::write(desk.path("mailwave.toml"), config.replace("tries = 2", "tries = 5")).unwrap();
    assert_eq!(desk.run().ended(0).count("stored"), 6);
    assert!(imap.mock.unfired().is_empty(), "{:?}", imap.mock.unfired());
}

#[test]
fn a_source_host_that_is_started_after_the_run_is_found_by_it() {
    // A port that was free a moment ago: nobody listens there.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let desk = Desk::new(
        &format!(
            "[source.old]\nkind = \"imap\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"off\"\n\
             password = {{ file = \"pw\" }}\n{MAILDIR_TARGET}",
            address.port()
        ),
        "source,target\ncanary.ann,ann\n",
    );
    desk.secret("pw", "canary-password\n");
    let config = std::fs::read_to_string(desk.path("mailwave.toml")).unwrap();
    std::fs::write(desk.path("mailwave.toml"), config.replace("tries = 2", "tries = 10")).unwrap();
    let mut run = Running::start(&desk.path(""));
    until("the run to be refused", || {
        assert!(run.ended().is_none(), "{}", run.talk());
        run.talk().contains("the host refuses connections").then_some(())
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mock = ImapMock::new(ImapOptions::default(), Arc::new(RealWorld));
    mock.store().add("canary.ann", "INBOX", mail("canary.ann", 1), &[], InternalDate::utc(1_200_000_000));
    let Ok(_server) = runtime.block_on(mock.clone().listen(address, None)) else {
        println!("skipped: somebody else took the port");
        return;
    };
    let (code, json, talk) = run.end();
    assert_eq!(code, 0, "{json}\n{talk}");
    assert_eq!(desk.arrived("ann"), [mail("canary.ann", 1)]);
}

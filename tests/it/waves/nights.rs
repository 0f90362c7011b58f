//! Whole nights, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mailwave::config::{Weekly, Zone};
use mailwave::engine::{self, Conduct, Event, Options, Parts, Stop, Waits, Watcher, Wave, WaveResult};
use mailwave::env::Env;
use mailwave::ledger::LedgerView;
use mailwave::ledger::sqlite::{LedgerOptions, SqliteLedger, SqliteView};
use mailwave::limit::Limits;
use mailwave::mock::graph::{GraphMock, GraphOptions, Latency};
use mailwave::model::{Bodies, Mailbox, MailboxKey, SourceName};
use mailwave::plan::Calendar;

use crate::support::mailgen::MailGen;
use crate::support::memory::{Habits, MemorySource, Store};
use crate::trial::{Observer, VirtualClock, graph_target};

/// Midnight (UTC).
const START: i64 = 1_795_305_600_000;
const MINUTE: i64 = 60_000;
const DAY: i64 = 1440 * MINUTE;

/// Notes when what happened, in milliseconds since the start.
struct Notes {
    env: Env,
    seen: Mutex<Vec<(i64, &'static str, String)>>,
}

impl Watcher for Notes {
    fn event(&self, event: Event) {
        let (what, whom) = match event {
            Event::Opened(m) => ("opened", m.source),
            Event::Progress { mailbox, .. } => ("stored", mailbox.source),
            Event::Halted(m) => ("halted", m.source),
            Event::Closed(result) => ("closed", result.mailbox.source),
            Event::WaveOpens { wave, .. } => ("opens", wave),
            Event::WaveCloses { wave, .. } => ("closes", wave),
            Event::Planned { .. } | Event::Waiting { .. } => return,
        };
        self.seen.lock().unwrap().push((self.env.wall() - START, what, whom));
    }
}

struct Town {
    store: Arc<Mutex<Store>>,
    mock: Arc<GraphMock>,
    clock: Arc<VirtualClock>,
    dir: tempfile::TempDir,
    mailboxes: Vec<Mailbox>,
    /// So long after the beginning of a run the wall clocks are set by so many milliseconds.
    clock_set: Vec<(Duration, i64)>,
}

type Seen = Vec<(i64, &'static str, String)>;

impl Town {
    /// Six mailboxes of 200 messages; each request to the target takes two seconds.
    fn new() -> Town {
        Town::slow(Duration::from_secs(2))
    }

    fn slow(latency: Duration) -> Town {
        let source_name: SourceName = "acme".parse().unwrap();
        let mut store = Store::default();
        let mut mails = MailGen::new(5, "example.org");
        let mut mailboxes = Vec::new();
        for n in 0..6 {
            let name = format!("user{n}");
            for _ in 0..200 {
                let mail = mails.next();
                store.add(&name, "INBOX", mail.octets, &mail.flags, mail.received);
            }
            mailboxes.push(Mailbox {
                key: MailboxKey::of(&source_name, &name),
                target: format!("{name}@example.org"),
                source: name,
                source_endpoint: "memory".to_owned(),
                target_endpoint: "graph".to_owned(),
                target_place: String::new(),
                wave: if n < 3 { "one" } else { "two" }.to_owned(),
                priority: 0,
            });
        }
        let clock = VirtualClock::new(START);
        let latency = Latency { base_ms: latency.as_millis() as u64, ..Latency::default() };
        let options = GraphOptions { latency, token_seconds: 86_400, ..GraphOptions::default() };
        Town {
            store: Arc::new(Mutex::new(store)),
            mock: GraphMock::new(options, clock.clone()),
            clock,
            dir: tempfile::tempdir().unwrap(),
            mailboxes,
            clock_set: Vec::new(),
        }
    }

    /// The waves, each every night between two minutes of the day, with two minutes of grace.
    fn waves(&self, windows: [(u16, u16); 2]) -> Vec<Wave> {
        let walked = SqliteView::open(&self.dir.path().join("ledger")).map(|view| view.walked().unwrap());
        let walked = walked.unwrap_or_default();
        let wave = |(name, (from, to)): (&str, (u16, u16))| {
            let window = Weekly {
                name: String::new(),
                days: [true; 7],
                from,
                to,
                to_day: None,
                zone: Zone::named("UTC").unwrap(),
                grace: Duration::from_secs(120),
            };
            let mut mailboxes: Vec<_> = self.mailboxes.iter().filter(|m| m.wave == name).cloned().collect();
            let stands = engine::resumed(name, &mailboxes, &walked, false);
            mailboxes.retain(|m| !stands.finished.contains(&m.key));
            let wave = Wave {
                name: name.to_owned(),
                mailboxes,
                sizes: std::collections::BTreeMap::new(),
                calendar: Calendar::new(vec![window], &[]),
                open_mailboxes: None,
                pass: Some(stands.pass),
            };
            (wave, stands)
        };
        let all: Vec<_> = ["one", "two"].into_iter().zip(windows).map(wave).collect();
        let goes_on = all.iter().any(|(_, stands)| stands.midst);
        all.into_iter().filter(|(_, stands)| !(goes_on && stands.over)).map(|(wave, _)| wave).collect()
    }

    fn run(&self, windows: [(u16, u16); 2], width: usize, waits: Waits) -> (WaveResult, Seen) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let ran = runtime.block_on(async {
            let env = Env::simulated(5, self.clock.begin(), Observer::new(None));
            for (after, by) in self.clock_set.clone() {
                let (env, clock) = (env.clone(), self.clock.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    env.set_wall(by);
                    clock.set(by);
                });
            }
            let source_name: SourceName = "acme".parse().unwrap();
            let mut options = LedgerOptions::new(source_name.clone(), "nights");
            options.inline = true;
            options.group_ms = 1;
            let ledger = SqliteLedger::open(&env, &self.dir.path().join("ledger"), options).unwrap();
            let waves = self.waves(windows);
            let parts = Parts {
                env: env.clone(),
                source_name,
                sources: BTreeMap::from([(
                    "memory".to_owned(),
                    Arc::new(MemorySource(self.store.clone())) as _,
                )]),
                targets: BTreeMap::from([("graph".to_owned(), graph_target(&env, &self.mock, 3_000_000))]),
                limits: Limits::unlimited(&env),
                ledger: Arc::new(ledger),
                bodies: Bodies {
                    memory_limit: 1 << 20,
                    max: 200 << 20,
                    spool: self.dir.path().to_path_buf(),
                },
                options: Options { open_mailboxes: width, ..Options::default() },
            };
            let notes = Arc::new(Notes { env, seen: Mutex::default() });
            let conduct = Conduct { waits, desk: None };
            let result =
                engine::run_waves(Arc::new(parts), waves, conduct, notes.clone(), Stop::default()).await;
            self.clock.end(Duration::from_secs(60));
            let seen = std::mem::take(&mut *notes.seen.lock().unwrap());
            (result, seen)
        });
        drop(runtime);
        ran
    }

    fn copies(&self) -> usize {
        self.mock.truth().mailboxes.values().flat_map(|m| m.folders.values()).map(|f| f.messages.len()).sum()
    }

    fn folders_listed(&self) -> u64 {
        self.store.lock().unwrap().asked().folders
    }
}

/// Nothing is opened but inside the windows less their grace, nothing is stored but inside the windows.
fn assert_inside(seen: &Seen, wave_of: impl Fn(&str) -> usize, windows: [(u16, u16); 2]) {
    for (at, what, whom) in seen {
        let (from, to) = match *what {
            "opened" | "stored" => windows[wave_of(whom)],
            _ => continue,
        };
        let at = at % DAY;
        let end = i64::from(to) * MINUTE - if *what == "opened" { 120_000 } else { 0 };
        assert!((i64::from(from) * MINUTE..end).contains(&at), "{whom} was {what} {at} ms after midnight");
    }
}

fn wave_of(mailbox: &str) -> usize {
    usize::from(mailbox >= "user3")
}

#[test]
fn a_wave_takes_as_many_nights_as_it_needs_each_inside_its_window() {
    let town = Town::new();
    let windows = [(60, 65), (61, 66)];
    let (result, seen) = town.run(windows, 2, Waits::Always);
    assert_eq!((result.not_begun, result.left.len(), result.mailboxes.len()), (0, 0, 6), "{seen:?}");
    assert!(result.mailboxes.iter().all(|m| m.error.is_none()), "{:?}", result.mailboxes);
    assert_eq!(town.copies(), 1200);
    assert_inside(&seen, wave_of, windows);
    let nights: BTreeSet<i64> = seen.iter().filter(|s| s.1 == "stored").map(|s| s.0 / DAY).collect();
    assert!(nights.len() > 1, "several nights: {nights:?}");
    assert!(seen.iter().any(|s| s.1 == "halted"), "a mailbox was cut by the end of a window");
    let stored: u64 = result.mailboxes.iter().map(|m| m.summary.stored).sum();
    assert_eq!(stored, 1200, "each message is counted once, over all nights");
}

#[test]
fn a_mailbox_that_was_cut_lists_only_the_folders_that_were_not_finished() {
    let mut town = Town::new();
    town.mailboxes.truncate(1);
    {
        let mut store = town.store.lock().unwrap();
        store.1 = Habits { counters: true, modseq: true, ..Habits::default() };
        let mut mails = MailGen::new(6, "example.org");
        for n in 0..80 {
            let mail = mails.next();
            store.add("user0", &format!("Folder {:02}", n / 4), mail.octets, &mail.flags, mail.received);
        }
    }
    let windows = [(60, 64), (60, 64)];
    let whole = || town.store.lock().unwrap().asked().whole;
    let (result, _) = town.run(windows, 1, Waits::First);
    assert_eq!(result.left.len(), 1, "it was cut");
    assert_eq!(whole(), 21, "each folder was listed");
    let truth = town.mock.truth();
    let folders = &truth.mailboxes["user0@example.org"].folders;
    let full = |name: &str, f: usize| f == if name == "Inbox" { 200 } else { 4 };
    let full = folders.iter().filter(|(name, f)| full(name, f.messages.len())).count() as u64;
    assert!((1..21).contains(&full), "cut in the midst: {full} of 21");

    let (result, _) = town.run([(60, 600), (60, 600)], 1, Waits::First);
    assert_eq!(result.mailboxes[0].error, None);
    assert_eq!(whole(), 21 - full, "what was finished is not listed again");
    assert_eq!(town.copies(), 280);
}

#[test]
fn what_is_not_stored_by_the_end_of_the_last_window_is_left_and_looked_for_in_the_next_one() {
    let mut town = Town::slow(Duration::from_secs(40));
    town.mailboxes.truncate(1);
    // A batch of twenty takes longer than the two minutes of grace.
    let (result, seen) = town.run([(60, 65), (60, 65)], 1, Waits::First);
    let ended = seen.iter().find(|s| s.1 == "closed").expect("it ended").0;
    assert!((65 * MINUTE..=65 * MINUTE + 1000).contains(&ended), "with its window: {ended}");
    let cut = &result.mailboxes[0];
    assert!(cut.unknown > 0 && cut.error.is_some(), "{cut:?}");
    assert_eq!(result.left.len(), 1);

    let (result, _) = town.run([(60, 1430), (60, 1430)], 1, Waits::First);
    assert_eq!((result.mailboxes[0].error.clone(), result.mailboxes[0].unknown), (None, 0));
    assert_eq!(town.copies(), 200, "each once");
}

#[test]
fn a_later_wave_begins_in_the_lanes_an_earlier_one_leaves_free() {
    let town = Town::new();
    let (result, seen) = town.run([(60, 180), (60, 180)], 2, Waits::First);
    assert_eq!(result.mailboxes.len(), 6);
    let opened: Vec<&str> = seen.iter().filter(|s| s.1 == "opened").map(|s| s.2.as_str()).collect();
    assert_eq!(opened[..3], ["user0", "user1", "user2"], "the first wave goes first");
    let third = seen.iter().position(|s| s.1 == "opened" && s.2 == "user3").unwrap();
    let ended = seen[..third].iter().filter(|s| s.1 == "closed").count();
    assert_eq!(ended, 2, "the second wave did not wait for the end of the first: {seen:?}");
}

#[test]
fn a_run_ends_with_its_window_and_the_next_one_lists_nothing_again_that_was_finished() {
    let town = Town::new();
    let windows = [(60, 65), (60, 65)];
    let mut finished = 0;
    for run in 1.. {
        assert!(run < 20, "it never ends");
        town.folders_listed();
        let (result, seen) = town.run(windows, 2, Waits::First);
        assert_inside(&seen, wave_of, windows);
        let begun = seen.iter().filter(|s| s.1 == "opened").map(|s| &s.2).collect::<BTreeSet<_>>().len();
        assert_eq!(town.folders_listed(), begun as u64, "each that was begun is listed once");
        assert_eq!(
            result.mailboxes.len() as u64 + result.not_begun,
            6 - finished,
            "the others are left alone"
        );
        let now = result.mailboxes.iter().filter(|m| m.error.is_none()).count() as u64;
        finished += now;
        if finished == 6 {
            assert!(run > 1, "several windows");
            assert_eq!(result.left, []);
            break;
        }
        assert!(
            !result.left.is_empty() && result.left.iter().all(|(_, opens)| opens.is_some()),
            "{:?}",
            result.left
        );
    }
    assert_eq!(town.copies(), 1200);

    // The wave's pass is over: the next run is another one, and writes nothing.
    let (result, _) = town.run(windows, 6, Waits::First);
    assert_eq!(result.mailboxes.len(), 6);
    assert!(result.mailboxes.iter().all(|m| m.error.is_none() && m.summary.stored == 0));
    let walked = SqliteView::open(&town.dir.path().join("ledger")).unwrap().walked().unwrap();
    assert!(walked.values().all(|w| w.pass == 2 && w.complete), "{walked:?}");
}

#[test]
fn a_clock_that_is_set_while_a_window_is_waited_for_opens_it_by_what_it_shows_then() {
    let hour = 60 * MINUTE;
    // Set half an hour after midnight; the window opens at one.
    for (by, opens_after) in [(hour, 30 * MINUTE), (-hour, 2 * hour), (8 * hour, 24 * hour - 7 * hour)] {
        let mut town = Town::new();
        town.clock_set = vec![(Duration::from_secs(1800), by)];
        let windows = [(60, 240), (60, 240)];
        let (result, seen) = town.run(windows, 6, Waits::First);
        assert!(result.mailboxes.iter().all(|m| m.error.is_none()), "{:?}", result.mailboxes);
        assert_eq!((town.copies(), result.not_begun), (1200, 0));
        assert_inside(&seen, wave_of, windows);
        // Notes are by the wall clock, which was set once.
        let first = seen.iter().find(|s| s.1 == "opened").expect("one is opened").0 - by;
        assert!((opens_after..opens_after + 2 * MINUTE).contains(&first), "{by}: after {first} ms");
    }
}

#[test]
fn a_clock_that_is_set_in_the_midst_of_a_window_ends_it_by_what_it_shows_and_nothing_is_lost() {
    for by in [2 * 60 * MINUTE, -90 * MINUTE] {
        let mut town = Town::new();
        town.clock_set = vec![(Duration::from_secs(62 * 60), by)];
        let windows = [(60, 90), (60, 90)];
        let (result, seen) = town.run(windows, 6, Waits::Always);
        assert!(result.mailboxes.iter().all(|m| m.error.is_none()), "{:?}", result.mailboxes);
        assert_eq!((town.copies(), result.not_begun), (1200, 0), "{by}");
        let began = seen.iter().filter(|s| s.1 == "opened").map(|s| s.0 % DAY);
        assert!(began.into_iter().all(|at| (60 * MINUTE..88 * MINUTE).contains(&at)), "{by}: {seen:?}");
    }
}

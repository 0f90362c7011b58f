//! The machine against a naive checker: random workers in virtual time, every grant judged by plain lists.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::backoff::Backoff;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(millis: u64) -> Tick {
    Duration::from_millis(millis)
}

fn rules(requests: u64, upload: u64, concurrency: u32) -> Rules {
    Rules {
        requests: Some((requests, 60 * SECOND)),
        upload: Some((upload, 30 * SECOND)),
        concurrency: Concurrency::Fixed(concurrency),
        unknown_hold: 20 * SECOND,
        throttle: Backoff { base: 2 * SECOND, max: 60 * SECOND, tries: 5 },
    }
}

fn machine(requests: u64, upload: u64, concurrency: u32) -> Admission {
    Admission::new(Arc::new(rules(requests, upload, concurrency)), false)
}

fn cost(requests: u32, upload_bytes: u64) -> Cost {
    Cost { requests, upload_bytes }
}

/// Asks for a look-up without upload and takes it if it is granted at once.
fn lookup(machine: &mut Admission, now: Tick) -> Option<Grant> {
    let id = machine.ask_send(now, &mut Cost::default(), true, 0);
    machine.take(now, id)
}

#[test]
fn a_fifth_request_waits_for_the_end_of_one_of_four() {
    let mut machine = machine(1_000, 1_000_000, 4);
    for _ in 0..4 {
        assert!(lookup(&mut machine, at(0)).is_some());
    }
    let id = machine.ask_send(at(0), &mut Cost::default(), true, 0);
    assert_eq!(machine.take(at(0), id), None);
    machine.finish(at(500), at(0), 0, Answer::Served, 0);
    assert!(machine.take(at(500), id).is_some());
    assert_eq!(machine.counters().waits.slot, at(500));
}

#[test]
fn several_requests_sent_as_one_wait_for_all_their_slots_and_count_one_by_one() {
    let mut machine = machine(30, 1_000_000, 4);
    assert!(lookup(&mut machine, at(0)).is_some());
    let batch = machine.ask_batch(at(0), &mut Cost::default(), true, cost(20, 2_000), 4);
    let after = machine.ask_send(at(0), &mut Cost::default(), true, 0);
    assert_eq!(machine.take(at(0), batch), None, "one of four slots is taken");
    assert_eq!(machine.take(at(0), after), None, "and who came later takes none of the others");
    machine.finish(at(10), at(0), 0, Answer::Served, 0);
    let granted = Grant::Send { cost: cost(20, 2_000), slots: 4, covered: false };
    assert_eq!(machine.take(at(10), batch), Some(granted));
    assert_eq!(machine.take(at(10), after), None);
    assert_eq!(machine.leave(at(10), cost(20, 2_000)), Ok(()));
    let mut parts = vec![(100, Answer::Served); 18];
    parts.extend([(100, Answer::Throttled(Some(3 * SECOND))), (100, Answer::NotSent)]);
    machine.finish_batch(at(20), at(10), 4, &parts, 0);
    assert_eq!(machine.take(at(20), after), None, "a part was throttled");
    assert!(machine.take(at(3_020), after).is_some());
    assert!(!machine.is_calm(at(3_020)), "until one is served");
    machine.finish(at(3_030), at(3_020), 0, Answer::Served, 0);
    assert!(machine.is_calm(at(3_030)));
    // 1 + 19 + 1 of 30 are spent: the one that was not sent is not among them.
    let fits = machine.ask_batch(at(3_030), &mut Cost::default(), true, cost(9, 0), 4);
    assert!(machine.take(at(3_030), fits).is_some());
    machine.finish_batch(at(3_040), at(3_030), 4, &[(0, Answer::Served); 9], 0);
    assert!(lookup(&mut machine, at(3_040)).is_none(), "the window is full");
    let counters = machine.counters();
    assert_eq!((counters.requests, counters.throttled), (20, 1), "sent: those that asked to leave");
}

#[test]
fn several_requests_given_up_or_never_answered_leave_nothing_behind() {
    let mut machine = machine(100, 1_000_000, 4);
    let id = machine.ask_reserve(at(0), cost(20, 500));
    let Some(Grant::Reserved(mut left)) = machine.take(at(0), id) else { panic!("granted") };
    let batch = machine.ask_batch(at(0), &mut left, false, cost(5, 400), 4);
    assert_eq!(left, cost(15, 100));
    machine.cancel(at(0), batch, &mut left);
    assert_eq!(left, cost(20, 500), "what it had paid is back");
    let batch = machine.ask_batch(at(0), &mut left, false, cost(3, 300), 3);
    assert!(machine.take(at(0), batch).is_some());
    machine.finish_batch(at(0), at(0), 3, &[(100, Answer::Unknown); 3], 0);
    let waits = machine.ask_batch(at(0), &mut left, false, cost(2, 100), 2);
    assert_eq!(machine.take(at(19_999), waits), None, "three may still be worked on");
    assert!(machine.take(at(20_000), waits).is_some());
    machine.finish_batch(at(20_000), at(20_000), 2, &[(50, Answer::Served); 2], 0);
    machine.give_back(at(20_000), left);
    assert!(machine.is_idle(at(90_000)));
}

#[test]
fn a_request_of_unknown_fate_keeps_its_slot_for_the_hold_time() {
    let mut machine = machine(1_000, 1_000_000, 1);
    assert!(lookup(&mut machine, at(0)).is_some());
    machine.finish(at(1_000), at(0), 0, Answer::Unknown, 0);
    let id = machine.ask_send(at(1_000), &mut Cost::default(), true, 0);
    assert_eq!(machine.take(at(20_999), id), None);
    assert_eq!(machine.wake_at(), Some(at(21_000)));
    assert!(machine.take(at(21_000), id).is_some());
}

#[test]
fn a_request_that_never_left_is_not_charged() {
    let mut machine = machine(2, 1_000, 4);
    for _ in 0..10 {
        assert!(lookup(&mut machine, at(0)).is_some());
        machine.finish(at(0), at(0), 0, Answer::NotSent, 0);
    }
    assert!(machine.is_idle(at(0)));
}

#[test]
fn the_wait_a_server_asks_for_is_kept_to_the_tick_and_bounded_to_an_hour() {
    for (asked, kept) in [(17 * SECOND, 17 * SECOND), (7 * 24 * 3600 * SECOND, 3600 * SECOND)] {
        let mut machine = machine(1_000, 1_000_000, 4);
        assert!(lookup(&mut machine, at(0)).is_some());
        machine.finish(at(250), at(0), 0, Answer::Throttled(Some(asked)), 9);
        let send = machine.ask_send(at(250), &mut Cost::default(), true, 0);
        let reserve = machine.ask_reserve(at(250), cost(1, 1));
        let over = at(250) + kept;
        assert_eq!(machine.wake_at(), Some(over));
        assert_eq!(machine.take(over - Duration::from_nanos(1), send), None);
        assert_eq!(machine.take(over - Duration::from_nanos(1), reserve), None, "nothing is fetched either");
        assert!(machine.take(over, send).is_some());
        assert!(machine.take(over, reserve).is_some());
    }
}

#[test]
fn a_refusal_holds_back_a_request_that_was_granted_and_has_not_left() {
    let mut machine = machine(1_000, 1_000_000, 4);
    assert!(lookup(&mut machine, at(0)).is_some());
    assert!(lookup(&mut machine, at(0)).is_some());
    machine.finish(at(0), at(0), 0, Answer::Throttled(Some(SECOND)), 0);
    assert_eq!(machine.leave(at(10), cost(1, 0)), Err(at(1_000)));
    assert_eq!(machine.leave(at(1_000), cost(1, 0)), Ok(()));
}

#[test]
fn refusals_without_a_wait_back_off_once_a_volley_and_twice_as_long_each_time() {
    let mut machine = machine(1_000, 1_000_000, 4);
    for _ in 0..4 {
        assert!(lookup(&mut machine, at(0)).is_some());
    }
    for _ in 0..4 {
        machine.finish(at(100), at(0), 0, Answer::Throttled(None), 0);
    }
    assert_eq!(machine.blocked_until(), at(1_100), "half of 2 s, once for the volley");
    assert!(lookup(&mut machine, at(1_100)).is_some());
    machine.finish(at(1_200), at(1_100), 0, Answer::Throttled(Some(Duration::ZERO)), 0);
    assert_eq!(machine.blocked_until(), at(3_200), "half of 4 s; a wait of zero says nothing");
}

#[test]
fn after_a_refusal_one_request_at_a_time_feels_its_way_until_one_is_served() {
    let mut machine = machine(1_000, 1_000_000, 4);
    assert!(lookup(&mut machine, at(0)).is_some(), "sent before the refusal");
    assert!(lookup(&mut machine, at(0)).is_some());
    machine.finish(at(100), at(0), 0, Answer::Throttled(Some(SECOND)), 0);
    machine.finish(at(200), at(0), 0, Answer::Served, 0);
    assert!(lookup(&mut machine, at(1_100)).is_some());
    let second = machine.ask_send(at(1_100), &mut Cost::default(), true, 0);
    assert_eq!(machine.take(at(1_200), second), None, "an answer to an older request proves nothing");
    machine.finish(at(1_300), at(1_100), 0, Answer::Served, 0);
    assert!(machine.take(at(1_300), second).is_some());
    assert!(lookup(&mut machine, at(1_300)).is_some());
}

#[test]
fn look_ups_pass_when_reservations_fill_the_windows_and_go_before_stores() {
    let mut machine = machine(100, 1_000, 1);
    let first = machine.ask_reserve(at(0), cost(99, 10));
    let Some(Grant::Reserved(mut left)) = machine.take(at(0), first) else { panic!("granted") };
    assert_eq!(left, cost(98, 10), "near the capacity: what is left beside the look-ups");
    let more = machine.ask_reserve(at(0), cost(2, 0));
    assert_eq!(machine.take(at(0), more), None, "full");
    assert!(lookup(&mut machine, at(0)).is_some());
    let store = machine.ask_send(at(0), &mut left, false, 10);
    let look = machine.ask_send(at(0), &mut Cost::default(), true, 0);
    machine.finish(at(10), at(0), 0, Answer::Served, 0);
    assert_eq!(machine.take(at(10), store), None);
    assert!(machine.take(at(10), look).is_some());
    machine.finish(at(20), at(10), 0, Answer::Served, 0);
    assert!(machine.take(at(20), store).is_some());
}

#[test]
fn a_ticket_that_does_not_cover_a_request_is_void_and_holds_nothing_while_it_waits() {
    let mut machine = machine(100, 1_000, 4);
    let first = machine.ask_reserve(at(0), cost(2, 500));
    let Some(Grant::Reserved(mut left)) = machine.take(at(0), first) else { panic!("granted") };
    let second = machine.ask_reserve(at(0), cost(2, 480));
    let Some(Grant::Reserved(mut other)) = machine.take(at(0), second) else { panic!("granted") };
    let overdrawn = machine.ask_send(at(0), &mut left, false, 900);
    assert_eq!(left, Cost::default());
    let new = machine.ask_reserve(at(0), cost(1, 1));
    assert_eq!(machine.take(at(0), overdrawn), None);
    assert_eq!(machine.take(at(0), new), None, "no new reservation before it");
    let covered = machine.ask_send(at(0), &mut other, false, 480);
    assert!(machine.take(at(0), covered).is_some(), "a covered one passes");
    machine.finish(at(1_000), at(0), 480, Answer::Served, 0);
    let wake = machine.wake_at().expect("time will bring room");
    assert!(wake > at(31_000) && wake <= at(31_150), "{wake:?}");
    assert!(machine.take(wake, overdrawn).is_some());
}

#[test]
fn of_a_large_store_in_pieces_the_beginning_is_reserved_and_the_rest_takes_what_becomes_free() {
    let mut machine = machine(1_000, 6_400, 4);
    let (whole, one, large) = (
        machine.ask_reserve(at(0), cost(20, 400)),
        machine.ask_reserve(at(0), cost(1, 3_000)),
        cost(9, 3_200),
    );
    assert_eq!(machine.take(at(0), whole), Some(Grant::Reserved(cost(20, 400))), "a batch, whole");
    assert_eq!(machine.take(at(0), one), Some(Grant::Reserved(cost(1, 3_000))), "one request, whole");
    let large = machine.ask_reserve(at(0), large);
    let Some(Grant::Reserved(mut left)) = machine.take(at(0), large) else { panic!("granted") };
    assert_eq!(left, cost(9, 25), "its beginning, though all of it would not fit");
    let first = machine.ask_send(at(0), &mut left, false, 20);
    assert!(machine.take(at(0), first).is_some(), "covered");
    machine.finish(at(10), at(0), 20, Answer::Served, 0);
    let mut sent = 20;
    // Piece by piece, until the reservations of the others are in the way; nothing else is reserved meanwhile.
    let waits = loop {
        let piece = machine.ask_send(at(10), &mut left, false, 400);
        if machine.take(at(10), piece).is_none() {
            break piece;
        }
        machine.finish(at(10), at(10), 400, Answer::Served, 0);
        sent += 400;
    };
    assert_eq!(sent, 2_820, "3,000 are left beside the others' 3,400, and 180 are no piece");
    let new = machine.ask_reserve(at(10), cost(1, 1));
    assert_eq!(machine.take(at(10), new), None, "no new reservation before it");
    let wake = machine.wake_at().expect("time will bring room");
    assert!(machine.take(wake, waits).is_some() && wake < at(31_000), "{wake:?}");
}

#[test]
fn of_a_covered_and_an_overdrawn_request_the_older_goes_first() {
    for covered_first in [true, false] {
        let mut machine = machine(100, 1_000, 1);
        let id = machine.ask_reserve(at(0), cost(1, 10));
        let Some(Grant::Reserved(mut left)) = machine.take(at(0), id) else { panic!("granted") };
        assert!(lookup(&mut machine, at(0)).is_some(), "takes the slot");
        let mut nothing = Cost::default();
        let (first, second) = if covered_first {
            let first = machine.ask_send(at(0), &mut left, false, 10);
            (first, machine.ask_send(at(0), &mut nothing, false, 10))
        } else {
            let first = machine.ask_send(at(0), &mut nothing, false, 10);
            (first, machine.ask_send(at(0), &mut left, false, 10))
        };
        machine.finish(at(1), at(0), 0, Answer::Served, 0);
        assert!(machine.take(at(1), first).is_some());
        assert_eq!(machine.take(at(1), second), None);
    }
}

#[test]
fn a_waiter_that_goes_away_leaves_nothing_behind() {
    let mut machine = machine(100, 1_000, 1);
    let reserve = machine.ask_reserve(at(0), cost(5, 50));
    machine.cancel(at(0), reserve, &mut Cost::default()); // granted, not taken
    assert!(machine.is_idle(at(0)));
    let id = machine.ask_reserve(at(0), cost(5, 50));
    let Some(Grant::Reserved(mut left)) = machine.take(at(0), id) else { panic!("granted") };
    let running = machine.ask_send(at(0), &mut left, false, 10);
    let waiting = machine.ask_send(at(0), &mut left, false, 10);
    machine.cancel(at(0), waiting, &mut left);
    machine.cancel(at(0), running, &mut left);
    assert_eq!(left, cost(5, 50), "the ticket has all of it again");
    machine.give_back(at(0), left);
    assert!(machine.is_idle(at(0)));
    assert_eq!(machine.counters().requests, 0);
}

#[test]
fn a_machine_that_starts_spent_sends_nothing_for_one_window() {
    let mut machine = Admission::new(Arc::new(rules(100, 1_000, 4)), true);
    let id = machine.ask_reserve(at(0), cost(1, 1));
    let wake = machine.wake_at().expect("time will bring room");
    assert!(wake > at(60_000) && wake <= at(60_300), "{wake:?}");
    assert_eq!(machine.take(at(60_000), id), None);
    assert!(machine.take(wake, id).is_some());
}

// ---- random workers -------------------------------------------------------------------------------------------

/// One thing a worker does.
#[derive(Debug, Clone)]
enum Job {
    /// Reserves `cost`, then sends requests of these sizes, well estimated or not.
    Store { cost: Cost, sends: Vec<u64> },
    /// One look-up.
    Lookup { bytes: u64 },
    /// Asks for a reservation and goes away after a while.
    Leave { cost: Cost, after: Duration },
}

#[derive(Debug)]
enum State {
    Next,
    Reserving(Id),
    Leaving(Id),
    Sending(Id, u64),
    Granted(u64),
    Running { sent: Tick, bytes: u64 },
    Done,
}

struct Worker {
    jobs: VecDeque<Job>,
    sends: VecDeque<u64>,
    lookup: bool,
    left: Cost,
    state: State,
}

/// One request as the service may see it.
#[derive(Debug)]
struct Seen {
    at: Tick,
    bytes: u64,
}

struct Trial {
    machine: Admission,
    rng: fastrand::Rng,
    now: Tick,
    workers: Vec<Worker>,
    /// When each worker's request ends, or when it goes away.
    due: BTreeSet<(Tick, usize)>,
    busy: usize,
    /// Slots kept by requests of unknown fate, until then.
    kept: Vec<Tick>,
    blocked: Tick,
    seen: Vec<Seen>,
    reserved: Vec<(Tick, Id)>,
    log: Vec<(Tick, usize, Grant)>,
    concurrency: usize,
}

impl Trial {
    fn run(seed: u64, requests: u64, upload: u64, concurrency: u32) -> Trial {
        let mut rng = fastrand::Rng::with_seed(seed);
        let workers = (0..rng.usize(1..12))
            .map(|_| {
                let jobs = (0..rng.usize(1..12)).map(|_| job(&mut rng, upload)).collect();
                let sends = VecDeque::new();
                Worker { jobs, sends, lookup: false, left: Cost::default(), state: State::Next }
            })
            .collect();
        let mut trial = Trial {
            machine: machine(requests, upload, concurrency),
            rng,
            now: Tick::ZERO,
            workers,
            due: BTreeSet::new(),
            busy: 0,
            kept: Vec::new(),
            blocked: Tick::ZERO,
            seen: Vec::new(),
            reserved: Vec::new(),
            log: Vec::new(),
            concurrency: usize::try_from(concurrency).unwrap(),
        };
        for _ in 0..1_000_000 {
            while (0..trial.workers.len()).any(|w| trial.turn(w)) {}
            if trial.workers.iter().all(|w| matches!(w.state, State::Done)) {
                return trial;
            }
            let due = trial.due.first().map(|(tick, _)| *tick);
            let wake = trial.machine.wake_at();
            let next = due.into_iter().chain(wake).min().expect("somebody waits and nothing will happen");
            assert!(next > trial.now || due == Some(next), "the machine wakes without progress");
            trial.now = next;
            while let Some(&(tick, worker)) = trial.due.first()
                && tick <= trial.now
            {
                trial.due.pop_first();
                trial.end(worker);
            }
        }
        panic!("it does not come to an end");
    }

    /// One move of a worker; `false` if it can do nothing now.
    fn turn(&mut self, w: usize) -> bool {
        let now = self.now;
        match self.workers[w].state {
            State::Next => self.begin(w),
            State::Reserving(id) => {
                let Some(grant) = self.machine.take(now, id) else { return false };
                self.reserved.push((now, id));
                self.log.push((now, w, grant));
                let Grant::Reserved(left) = grant else { panic!("a reservation") };
                self.workers[w].left = left;
                self.workers[w].state = State::Next;
            }
            State::Sending(id, bytes) => {
                let Some(grant) = self.machine.take(now, id) else { return false };
                self.log.push((now, w, grant));
                self.workers[w].state = State::Granted(bytes);
            }
            State::Granted(bytes) => {
                if let Err(until) = self.machine.leave(now, cost(1, bytes)) {
                    self.due.insert((until, w));
                    return false;
                }
                assert!(now >= self.blocked, "nothing leaves while blocked");
                self.kept.retain(|until| *until > now);
                self.busy += 1;
                assert!(self.busy + self.kept.len() <= self.concurrency, "more at once than allowed");
                let latency = at(self.rng.u64(1..3_000));
                let share = self.rng.u32(0..=4);
                self.seen.push(Seen { at: now + latency * share / 4, bytes });
                self.due.insert((now + latency, w));
                self.workers[w].state = State::Running { sent: now, bytes };
            }
            State::Leaving(_) => {
                self.machine.advance(now); // as its driver does when it wakes
                return false;
            }
            State::Running { .. } | State::Done => return false,
        }
        true
    }

    /// The next request, the next job, or the end.
    fn begin(&mut self, w: usize) {
        let worker = &mut self.workers[w];
        if let Some(bytes) = worker.sends.pop_front() {
            let id = self.machine.ask_send(self.now, &mut worker.left, worker.lookup, bytes);
            worker.state = State::Sending(id, bytes);
            return;
        }
        self.machine.give_back(self.now, std::mem::take(&mut worker.left));
        worker.state = match worker.jobs.pop_front() {
            None => State::Done,
            Some(Job::Lookup { bytes }) => {
                worker.lookup = true;
                worker.sends.push_back(bytes);
                State::Next
            }
            Some(Job::Store { cost, sends }) => {
                worker.lookup = false;
                worker.sends.extend(sends);
                State::Reserving(self.machine.ask_reserve(self.now, cost))
            }
            Some(Job::Leave { cost, after }) => {
                self.due.insert((self.now + after, w));
                State::Leaving(self.machine.ask_reserve(self.now, cost))
            }
        };
    }

    /// A worker's request ends, or it goes away.
    fn end(&mut self, w: usize) {
        match self.workers[w].state {
            State::Leaving(id) => self.machine.cancel(self.now, id, &mut Cost::default()),
            State::Running { sent, bytes } => {
                self.busy -= 1;
                let answer = match self.rng.u32(0..20) {
                    0 => Answer::Unknown,
                    1 => Answer::Throttled(None),
                    2 => Answer::Throttled(Some(at(self.rng.u64(1..20_000)))),
                    _ => Answer::Served,
                };
                match answer {
                    Answer::Unknown => self.kept.push(self.now + 20 * SECOND),
                    Answer::Throttled(Some(wait)) => self.blocked = self.blocked.max(self.now + wait),
                    _ => {}
                }
                let random = self.rng.u64(..);
                self.machine.finish(self.now, sent, bytes, answer, random);
            }
            State::Granted(_) => return, // the refusal that held it back is over
            _ => panic!("nothing of this worker was due"),
        }
        self.workers[w].state = State::Next;
    }

    /// No window of the service ever held more than its capacity (or one request larger than it).
    fn judge(mut self, requests: usize, upload: u64) {
        self.seen.sort_by_key(|seen| seen.at);
        for (i, last) in self.seen.iter().enumerate() {
            let within =
                |length: Duration| self.seen[..=i].iter().filter(move |seen| last.at - seen.at < length);
            assert!(within(60 * SECOND).count() <= requests, "too many requests at {:?}", last.at);
            let bytes: u64 = within(30 * SECOND).map(|seen| seen.bytes).sum();
            let largest = within(30 * SECOND).map(|seen| seen.bytes).max().unwrap_or(0);
            assert!(bytes <= upload.max(largest), "too many bytes at {:?}", last.at);
        }
        self.reserved.sort_unstable();
        let ordered = self.reserved.is_sorted_by_key(|(_, id)| id);
        assert!(ordered, "reservations are first come, first served");
        assert!(self.machine.is_idle(self.now + 4000 * SECOND), "something was left behind");
    }
}

fn job(rng: &mut fastrand::Rng, upload: u64) -> Job {
    let cost = |rng: &mut fastrand::Rng| {
        let large = if rng.u32(0..8) == 0 { upload * 2 } else { upload / 4 };
        Cost { requests: rng.u32(0..12), upload_bytes: rng.u64(0..=large) }
    };
    match rng.u32(0..10) {
        0 | 1 => Job::Lookup { bytes: rng.u64(0..=upload / HEADROOM_SHARE) },
        2 => Job::Leave { cost: cost(rng), after: at(rng.u64(0..5_000)) },
        _ => {
            let cost = cost(rng);
            let sends = rng.u64(0..8);
            let honest = rng.bool();
            let each = cost.upload_bytes / sends.max(1);
            let sends = (0..sends).map(|_| if honest { each } else { rng.u64(0..=each * 2 + 5) });
            Job::Store { cost, sends: sends.collect() }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn random_workers_never_exceed_a_limit_never_hang_and_leave_nothing(
        seed: u64, requests in 1u64..60, upload in 100u64..20_000, concurrency in 1u32..6,
    ) {
        let trial = Trial::run(seed, requests, upload, concurrency);
        let again = Trial::run(seed, requests, upload, concurrency);
        prop_assert_eq!(&trial.log, &again.log, "the same seed gives the same grants");
        trial.judge(usize::try_from(requests).unwrap(), upload);
    }
}

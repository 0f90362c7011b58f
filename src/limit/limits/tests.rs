//! Gates and budgets under virtual time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::rules::LONGEST;
use super::super::{Answer, Bound, Cost, Lease, Lender, Lent};
use super::*;
use crate::env::{Step, StepObserver, Tick};

const SECOND: Duration = Duration::from_secs(1);

struct Everything;

impl StepObserver for Everything {
    fn pass(&self, _: Step) -> bool {
        true
    }
}

fn world(seed: u64) -> Env {
    Env::simulated(seed, 0, Arc::new(Everything))
}

fn limits(env: &Env, target: TargetLimits) -> Arc<Limits> {
    let targets = BTreeMap::from([("cloud".to_owned(), target)]);
    Limits::new(env, LimitSettings { targets, memory_bytes: 1_000, spool_bytes: 1_000, ..Default::default() })
}

/// A service that counts what it sees in a plain list, at the moment a request has arrived.
#[derive(Default)]
struct Service {
    seen: Mutex<VecDeque<(Tick, u64)>>,
    most_requests: AtomicU64,
    most_bytes: AtomicU64,
    total_requests: AtomicU64,
    total_bytes: AtomicU64,
    at_once: AtomicU64,
    most_at_once: AtomicU64,
}

impl Service {
    async fn serve(&self, env: &Env, bytes: u64, arrival: Duration, answer: Duration) {
        self.most_at_once.fetch_max(self.at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        env.sleep(arrival).await;
        {
            let now = env.now();
            let mut seen = self.seen.lock().unwrap();
            seen.push_back((now, bytes));
            while seen.front().is_some_and(|(tick, _)| now - *tick >= 600 * SECOND) {
                seen.pop_front();
            }
            let recent: u64 =
                seen.iter().rev().take_while(|(tick, _)| now - *tick < 300 * SECOND).map(|(_, b)| b).sum();
            self.most_requests.fetch_max(seen.len() as u64, Ordering::SeqCst);
            self.most_bytes.fetch_max(recent, Ordering::SeqCst);
            self.total_requests.fetch_add(1, Ordering::SeqCst);
            self.total_bytes.fetch_add(bytes, Ordering::SeqCst);
        }
        env.sleep(answer).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Eight lanes store batches for half an hour of virtual time; returns what the service saw.
async fn half_an_hour(per_batch: u64, bytes_each: u64, latency_ms: u64) -> Arc<Service> {
    let env = world(1);
    let gate = limits(&env, TargetLimits::default()).gate("cloud", "m1");
    let service = Arc::new(Service::default());
    let end = 1_800 * SECOND;
    let lanes: Vec<_> = (0..8)
        .map(|_| {
            let (env, gate, service) = (env.clone(), Arc::clone(&gate), Arc::clone(&service));
            let cost = Cost { requests: per_batch as u32, upload_bytes: per_batch * bytes_each };
            env.clone().spawn(async move {
                loop {
                    let ticket = gate.reserve(cost).await;
                    for _ in 0..per_batch {
                        let slot = gate.admit(&ticket, bytes_each).await;
                        if env.now() >= end {
                            return slot.finish(Answer::NotSent);
                        }
                        let arrival = Duration::from_millis(env.random(latency_ms));
                        let answer = Duration::from_millis(latency_ms) - arrival;
                        service.serve(&env, bytes_each, arrival, answer).await;
                        slot.finish(Answer::Served);
                    }
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    assert!(service.most_requests.load(Ordering::SeqCst) <= 10_000, "the request window was violated");
    assert!(service.most_bytes.load(Ordering::SeqCst) <= 150_000_000, "the upload window was violated");
    assert!(service.most_at_once.load(Ordering::SeqCst) <= 4, "more than four at once");
    service
}

#[tokio::test(start_paused = true)]
async fn half_an_hour_of_small_messages_gets_97_percent_of_the_allowed_requests() {
    let service = half_an_hour(20, 1_000, 120).await;
    let share = service.total_requests.load(Ordering::SeqCst) as f64 / 30_000.0;
    assert!(share >= 0.97, "only {share:.4} of the allowed rate");
}

#[tokio::test(start_paused = true)]
async fn half_an_hour_of_large_messages_gets_97_percent_of_the_allowed_bytes() {
    let service = half_an_hour(10, 100_000, 400).await;
    let share = service.total_bytes.load(Ordering::SeqCst) as f64 / 900_000_000.0;
    assert!(share >= 0.97, "only {share:.4} of the allowed rate");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_obeyed_exactly_and_does_not_slow_another_mailbox() {
    let env = world(2);
    let limits = limits(&env, TargetLimits::default());
    let (slow, quick) = (limits.gate("cloud", "m1"), limits.gate("cloud", "m2"));
    let ticket = slow.reserve(Cost { requests: 1, upload_bytes: 10 }).await;
    slow.admit(&ticket, 10).await.finish(Answer::Throttled(Some(37 * SECOND)));
    assert_eq!(slow.blocked_until(), Some(37 * SECOND));
    for _ in 0..100 {
        let ticket = quick.reserve(Cost { requests: 1, upload_bytes: 10 }).await;
        quick.admit(&ticket, 10).await.finish(Answer::Served);
    }
    assert_eq!(env.now(), Tick::ZERO, "the other mailbox did not wait");
    slow.admit(&slow.lookup(), 0).await.finish(Answer::Served);
    assert_eq!(env.now(), 37 * SECOND, "not a moment earlier or later");
    assert_eq!(slow.counters().throttled, 1);
    assert_eq!(slow.counters().waits.throttled, 37 * SECOND);
    assert_eq!(limits.counters().requests, 102);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_slot_counts_as_unknown_and_keeps_its_place_for_the_hold_time() {
    let env = world(3);
    let gate = limits(&env, TargetLimits { concurrency: 1, ..Default::default() }).gate("cloud", "m1");
    drop(gate.admit(&gate.lookup(), 0).await);
    gate.admit(&gate.lookup(), 0).await.finish(Answer::Served);
    assert_eq!(env.now(), TargetLimits::default().unknown_hold);
    assert_eq!(gate.counters().unknown, 1);
}

#[tokio::test(start_paused = true)]
async fn dropped_waiters_leave_nothing_behind() {
    let env = world(4);
    let target = TargetLimits { concurrency: 1, requests: 100, ..Default::default() };
    let gate = limits(&env, target).gate("cloud", "m1");
    let ticket = gate.reserve(Cost { requests: 90, upload_bytes: 900 }).await;
    let running = gate.admit(&ticket, 10).await;
    let left = ticket.left();
    {
        let waits = Duration::from_millis(5);
        assert!(env.within(waits, gate.admit(&ticket, 10)).await.is_none());
        assert!(env.within(waits, gate.admit(&gate.lookup(), 10)).await.is_none());
        assert!(env.within(waits, gate.reserve(Cost { requests: 50, upload_bytes: 0 })).await.is_none());
        let mut granted = Box::pin(gate.admit(&ticket, 10));
        assert!(futures_util::poll!(granted.as_mut()).is_pending());
        running.finish(Answer::NotSent); // grants the slot to one who never looks
    }
    assert_eq!(ticket.left(), left);
    drop(ticket);
    assert!(gate.is_idle() && gate.nobody_waits());
}

#[tokio::test(start_paused = true)]
async fn the_rate_of_the_app_is_shared_by_its_mailboxes() {
    let env = world(5);
    let target =
        TargetLimits { app_requests_per_second: Some(50), concurrency: 0, ..TargetLimits::default() };
    let limits = limits(&env, target);
    let tasks: Vec<_> = (0..100)
        .map(|m| {
            let gate = limits.gate("cloud", &format!("m{m}"));
            env.spawn(async move {
                for _ in 0..10 {
                    gate.admit(&gate.lookup(), 0).await.finish(Answer::Served);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let took = env.now();
    assert!(took > 19 * SECOND && took < 21 * SECOND, "1,000 requests at 50/s took {took:?}");
    assert!(limits.counters().waits.app_rate > SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_comes_while_the_app_rate_is_awaited_still_counts() {
    let env = world(6);
    let target = TargetLimits { app_requests_per_second: Some(1), ..TargetLimits::default() };
    let gate = limits(&env, target).gate("cloud", "m1");
    let first = gate.admit(&gate.lookup(), 0).await;
    let lookup = gate.lookup();
    let mut second = Box::pin(gate.admit(&lookup, 0));
    assert!(futures_util::poll!(second.as_mut()).is_pending(), "has a slot, waits for the rate");
    first.finish(Answer::Throttled(Some(20 * SECOND)));
    second.await.finish(Answer::Served);
    assert!(env.now() >= 20 * SECOND, "sent at {:?}", env.now());
}

#[tokio::test(start_paused = true)]
async fn log_ins_at_one_host_are_spread_and_hosts_do_not_wait_for_each_other() {
    let env = world(7);
    let settings = LimitSettings { source_logins_per_second: Some(5), ..LimitSettings::default() };
    let limits = Limits::new(&env, settings);
    for _ in 0..11 {
        limits.login("a").await;
    }
    assert!(env.now() >= 2 * SECOND && env.now() < Duration::from_millis(2_100), "{:?}", env.now());
    let before = env.now();
    limits.login("b").await;
    assert_eq!(env.now(), before);
    assert!(limits.counters().waits.login >= 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_big_message_goes_alone_and_the_spool_does_not_wait_for_memory() {
    let env = world(8);
    let limits = limits(&env, TargetLimits::default());
    let small = limits.memory(10).await;
    let alone = Arc::new(AtomicBool::new(false));
    let big = {
        let (limits, env, alone) = (Arc::clone(&limits), env.clone(), Arc::clone(&alone));
        env.clone().spawn(async move {
            let permit = limits.memory(5_000).await;
            alone.store(limits.memory_used() == 5_000, Ordering::SeqCst);
            env.sleep(SECOND).await;
            drop(permit);
        })
    };
    env.sleep(SECOND).await;
    assert_eq!(limits.spool(900).await.bytes(), 900, "a line of its own");
    assert!(!alone.load(Ordering::SeqCst));
    drop(small);
    assert_eq!(limits.memory(10).await.bytes(), 10);
    assert!(alone.load(Ordering::SeqCst));
    big.await.unwrap();
    assert_eq!(limits.memory_used(), 0);
    assert!(limits.counters().waits.memory >= 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn gates_are_the_same_for_the_same_pair_and_forgotten_only_when_idle() {
    let env = world(9);
    let limits = limits(&env, TargetLimits::default());
    assert!(Arc::ptr_eq(&limits.gate("cloud", "m"), &limits.gate("cloud", "m")));
    assert!(!Arc::ptr_eq(&limits.gate("cloud", "m"), &limits.gate("elsewhere", "m")));
    for m in 0..500 {
        let gate = limits.gate("cloud", &format!("m{m}"));
        gate.admit(&gate.lookup(), 100).await.finish(Answer::Served);
    }
    let counted = limits.counters();
    assert_eq!((counted.requests, counted.upload_bytes), (500, 50_000));
    assert!(lock(&limits.gates).by_name.len() >= 500, "what they sent still counts at the service");
    env.sleep(700 * SECOND).await;
    let held = limits.gate("cloud", "m7");
    for m in 0..2_000 {
        drop(limits.gate("cloud", &format!("other {m}")));
    }
    let kept = lock(&limits.gates).by_name.len();
    assert!(kept < 1_500, "{kept} gates kept");
    assert!(Arc::ptr_eq(&held, &limits.gate("cloud", "m7")), "one in use is kept");
    assert_eq!(limits.counters(), counted, "what forgotten gates counted is kept");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_without_a_moment_is_told_when_there_is_one() {
    let env = world(13);
    let gate = limits(&env, TargetLimits { requests: 1, ..Default::default() }).gate("cloud", "m");
    let running = gate.admit(&gate.lookup(), 0).await;
    let waiting = {
        let gate = Arc::clone(&gate);
        env.spawn(async move { gate.admit(&gate.lookup(), 0).await.finish(Answer::Served) })
    };
    env.sleep(SECOND).await; // it waits for the end of the first, which time alone does not bring
    running.finish(Answer::Served);
    assert!(env.within(610 * SECOND, waiting).await.is_some(), "now it waits for the window, and awakes");
    assert!(env.now() > 601 * SECOND, "{:?}", env.now());
}

#[tokio::test(start_paused = true)]
async fn absurd_times_in_the_settings_are_bounded() {
    let env = world(12);
    let target = TargetLimits {
        requests: 3,
        requests_window: Duration::MAX,
        upload_window: Duration::MAX,
        concurrency: 1,
        unknown_hold: Duration::MAX,
        ..TargetLimits::default()
    };
    let gate = limits(&env, target).gate("cloud", "m");
    drop(gate.admit(&gate.lookup(), 0).await);
    gate.admit(&gate.lookup(), 0).await.finish(Answer::Throttled(Some(Duration::MAX)));
    assert_eq!(env.now(), LONGEST);
    gate.admit(&gate.lookup(), 0).await.finish(Answer::Served);
    assert_eq!(env.now(), LONGEST + 3_600 * SECOND);
}

#[test]
fn an_idle_gate_is_small() {
    assert!(size_of::<Gate>() <= 700, "{} bytes", size_of::<Gate>());
}

#[tokio::test(start_paused = true)]
async fn an_unlimited_gate_lets_everything_pass_but_obeys_a_refusal() {
    let env = world(10);
    let gate = Gate::unlimited(&env);
    let ticket = gate.reserve(Cost { requests: u32::MAX, upload_bytes: u64::MAX }).await;
    let mut slots = Vec::new();
    for _ in 0..1_000 {
        slots.push(gate.admit(&ticket, 1 << 40).await);
    }
    assert_eq!(env.now(), Tick::ZERO);
    for slot in slots {
        slot.finish(Answer::Served);
    }
    gate.admit(&ticket, 1).await.finish(Answer::Throttled(Some(SECOND)));
    gate.admit(&ticket, 1).await.finish(Answer::Served);
    assert_eq!(env.now(), SECOND);
}

#[test]
fn the_same_gate_serves_many_threads_though_waiters_come_and_go() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let env = Env::system();
        let target = TargetLimits { concurrency: 3, requests: 100_000, ..Default::default() };
        let limits = limits(&env, target);
        let (gate, at_once, most) =
            (limits.gate("cloud", "m"), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let tasks: Vec<_> = (0..60)
            .map(|task| {
                let (gate, limits, env) = (Arc::clone(&gate), Arc::clone(&limits), env.clone());
                let (at_once, most) = (Arc::clone(&at_once), Arc::clone(&most));
                env.clone().spawn(async move {
                    for _ in 0..50 {
                        let ticket = gate.reserve(Cost { requests: 1, upload_bytes: 10 }).await;
                        let permit = limits.memory(300).await;
                        // A third of the tasks lose patience and ask again.
                        let patience = Duration::from_micros(env.random(400));
                        let hurried = match task % 3 {
                            0 => env.within(patience, gate.admit(&ticket, 10)).await,
                            _ => None,
                        };
                        let slot = match hurried {
                            Some(slot) => slot,
                            None => gate.admit(&ticket, 10).await,
                        };
                        most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        at_once.fetch_sub(1, Ordering::SeqCst);
                        slot.finish(Answer::Served);
                        drop(permit);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(limits.counters().requests, 3_000);
        assert!(most.load(Ordering::SeqCst) <= 3);
        assert_eq!(limits.memory_used(), 0);
        assert!(gate.nobody_waits());
    });
}

/// The price of the clock-free design is paid in wake-ups: a gate must not wake everybody at every request.
#[tokio::test(start_paused = true)]
async fn a_request_wakes_the_one_whose_turn_it_is_and_nobody_else() {
    use futures_util::task::{ArcWake, waker};
    use std::task::Context;

    struct Count(AtomicU64);
    impl ArcWake for Count {
        fn wake_by_ref(this: &Arc<Self>) {
            this.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    let env = world(11);
    let gate = limits(&env, TargetLimits { concurrency: 1, ..Default::default() }).gate("cloud", "m");
    let running = gate.admit(&gate.lookup(), 0).await;
    let tickets: Vec<_> = (0..5).map(|_| gate.lookup()).collect();
    let counts: Vec<_> = (0..5).map(|_| Arc::new(Count(AtomicU64::new(0)))).collect();
    let mut waits: Vec<_> = tickets.iter().map(|ticket| Box::pin(gate.admit(ticket, 0))).collect();
    for (wait, count) in waits.iter_mut().zip(&counts) {
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker(Arc::clone(count)))).is_pending());
    }
    running.finish(Answer::Served);
    let woken: Vec<u64> = counts.iter().map(|count| count.0.load(Ordering::SeqCst)).collect();
    assert_eq!(woken, [1, 0, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn each_app_of_a_pool_has_a_rate_of_its_own() {
    let mut took = Vec::new();
    for apps in [vec![], vec!["a".to_owned(), "b".to_owned()]] {
        let env = world(9);
        let target =
            TargetLimits { app_requests_per_second: Some(50), concurrency: 0, apps, ..Default::default() };
        let limits = limits(&env, target);
        let tasks: Vec<_> = (0..40)
            .map(|m| {
                let gate = limits.gate("cloud", &format!("user{m}@example.org"));
                env.spawn(async move {
                    for _ in 0..10 {
                        gate.admit(&gate.lookup(), 0).await.finish(Answer::Served);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        took.push(env.now().as_secs_f64());
    }
    // 400 requests at 50 a second; with two apps as long as the one with more mailboxes needs.
    assert!((7.5..8.5).contains(&took[0]), "{took:?}");
    assert!((4.0..6.0).contains(&took[1]), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_under_way_are_capped_over_all_mailboxes_of_an_app_and_every_mailbox_gets_its_turn() {
    let env = world(3);
    let limits = limits(&env, TargetLimits { in_flight: 6, ..TargetLimits::default() });
    let service = Arc::new(Service::default());
    let end = 600 * SECOND;
    let clients: Vec<_> = (0..40)
        .map(|m| {
            let (env, service) = (env.clone(), Arc::clone(&service));
            let gate = limits.gate("cloud", &format!("m{m}"));
            env.clone().spawn(async move {
                let mut served = 0u32;
                while env.now() < end {
                    let ticket = gate.reserve(Cost { requests: 1, upload_bytes: 1_000 }).await;
                    let slot = gate.admit(&ticket, 1_000).await;
                    service.serve(&env, 1_000, Duration::from_millis(100), Duration::from_millis(200)).await;
                    slot.finish(Answer::Served);
                    served += 1;
                }
                served
            })
        })
        .collect();
    let mut served = Vec::new();
    for client in clients {
        served.push(client.await.unwrap());
    }
    assert_eq!(service.most_at_once.load(Ordering::SeqCst), 6, "all of them are used, and no more");
    let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
    assert!(*least * 10 >= *most * 9, "nobody starves: from {least} to {most}");
}

#[tokio::test(start_paused = true)]
async fn a_wave_keeps_to_its_own_pace_in_messages_and_in_bytes_and_others_do_not_wait_for_it() {
    let env = world(1);
    let waves = BTreeMap::from([
        ("slow".to_owned(), WaveLimits { messages_per_second: 10, ..WaveLimits::default() }),
        ("narrow".to_owned(), WaveLimits { batches_at_once: 2, ..WaveLimits::default() }),
        ("thin".to_owned(), WaveLimits { bytes_per_second: 1 << 20, ..WaveLimits::default() }),
    ]);
    let limits = Limits::new(&env, LimitSettings { waves, ..LimitSettings::default() });
    for _ in 0..11 {
        limits.of_wave("slow", 10, u64::from(u32::MAX) * 4096).await;
    }
    let took = env.now();
    assert!(took >= 10 * SECOND && took < 11 * SECOND, "110 messages, ten of them at once: {took:?}");
    for _ in 0..11 {
        limits.of_wave("thin", 1_000, 1 << 20).await;
    }
    let took = env.now() - took;
    assert!(took >= 10 * SECOND && took < 11 * SECOND, "11 MiB, one of them at once: {took:?}");
    let before = env.now();
    limits.of_wave("other", u64::MAX, u64::MAX).await;
    assert_eq!(env.now(), before);
    let (one, _two) = (limits.of_wave("narrow", 1, 1).await, limits.of_wave("narrow", 1, 1).await);
    assert!(env.within(SECOND, limits.of_wave("narrow", 1, 1)).await.is_none(), "two are under way");
    drop(one);
    limits.of_wave("narrow", 1, 1).await;
}

/// Lends after a second, until it is gone.
#[derive(Default)]
struct Neighbour {
    gone: Mutex<Option<Tick>>,
    ended: Arc<Mutex<Vec<Answer>>>,
}

#[derive(Debug)]
struct FromNeighbour(Arc<Mutex<Vec<Answer>>>);

impl Lease for FromNeighbour {
    fn finish(self: Box<Self>, answers: &[Answer]) {
        self.0.lock().unwrap().extend(answers);
    }
}

#[async_trait::async_trait]
impl Lender for Neighbour {
    async fn lend(&self, endpoint: &str, mailbox: &str, _: &[u64], _: usize) -> Lent {
        assert_eq!((endpoint, mailbox), ("cloud", "ann"));
        if let Some(at) = *self.gone.lock().unwrap() {
            return Lent::Nobody(Some(at));
        }
        Env::system().sleep(SECOND).await;
        Lent::Yes(Box::new(FromNeighbour(Arc::clone(&self.ended))))
    }
}

#[tokio::test(start_paused = true)]
async fn beside_a_lender_each_request_takes_its_permit_and_when_it_goes_the_windows_are_spent_once() {
    let env = world(1);
    let neighbour = Arc::new(Neighbour::default());
    let targets = BTreeMap::from([("cloud".to_owned(), TargetLimits::default())]);
    let settings = LimitSettings { targets, ..LimitSettings::default() };
    let limits = Limits::lent_by(&env, settings, Some(neighbour.clone()));
    let gate = limits.gate("cloud", "ann");
    gate.admit(&gate.lookup(), 0).await.finish(Answer::Served);
    gate.admit_batch(&gate.lookup(), &[0, 0], 2).await.finish(&[Answer::Served, Answer::NotSent]);
    assert_eq!(env.now(), 2 * SECOND);
    assert_eq!(
        *neighbour.ended.lock().unwrap(),
        [Answer::Served, Answer::Served, Answer::NotSent],
        "the lender learns how they ended"
    );

    *neighbour.gone.lock().unwrap() = Some(2 * SECOND);
    gate.admit(&gate.lookup(), 0).await.finish(Answer::Served);
    let waited = env.now() - 2 * SECOND;
    assert!(waited >= 600 * SECOND && waited < 604 * SECOND, "a whole window: {waited:?}");
    let before = env.now();
    gate.admit(&gate.lookup(), 0).await.finish(Answer::Served);
    assert_eq!(env.now(), before, "once is enough");
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_at_a_gate_are_told_to_the_account_of_its_lane_and_a_guests_are_not() {
    let env = world(1);
    let target = TargetLimits { concurrency: 1, ..TargetLimits::default() };
    let limits = limits(&env, target);
    let gate = limits.gate("cloud", "ann");
    let lane = limits.accounts().open("pilot");
    gate.tells(lane.account());
    let one = gate.admit(&gate.lookup(), 0).await;
    let ticket = gate.lookup();
    let waits = gate.admit(&ticket, 0);
    let (two, ()) = tokio::join!(waits, async {
        env.sleep(4 * SECOND).await;
        one.finish(Answer::Served);
    });
    // Of four seconds one request was under way and one waited for its slot.
    let spent = lane.account().spent();
    assert_eq!((spent.on(Bound::Limit), spent.on(Bound::Target)), (2 * SECOND, 2 * SECOND));
    two.finish(Answer::Throttled(Some(10 * SECOND)));
    gate.admit(&gate.lookup(), 0).await.finish(Answer::Served);
    assert_eq!(lane.account().spent().on(Bound::Throttle), 10 * SECOND);
    let held = gate.admit(&gate.guest(), 0).await;
    let guest = gate.guest();
    let waits = gate.admit(&guest, 0);
    let (slot, ()) = tokio::join!(waits, async {
        env.sleep(SECOND).await;
        held.finish(Answer::Served);
    });
    slot.finish(Answer::Served);
    let spent = lane.account().spent();
    assert_eq!((spent.on(Bound::Limit), spent.on(Bound::Target)), (2 * SECOND, 3 * SECOND));
}

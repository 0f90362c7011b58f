//! Smooth rates: so many per second for a whole app or host, whoever asks.
//!
//! The arithmetic is governor's (GCRA); its clock is the [`Env`]'s, so virtual time works. Two things are added:
//! amounts above the burst, which governor refuses for ever, are taken in slices; and waiters are served in the
//! order they came, which governor alone does not promise.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::env::{Env, Tick};

/// governor's view of the environment's clock.
#[derive(Debug, Clone)]
struct EnvClock(Env);

impl Clock for EnvClock {
    type Instant = Tick;

    fn now(&self) -> Tick {
        self.0.now()
    }
}

/// Lets `per_second` units a second pass, in bursts: a machine over any clock.
#[derive(Debug)]
pub(crate) struct Rate<C: Clock<Instant = Tick> + Clone> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<Tick>>,
    clock: C,
    per_second: NonZeroU32,
    burst: NonZeroU32,
}

impl<C: Clock<Instant = Tick> + Clone> Rate<C> {
    fn new(per_second: NonZeroU32, burst: NonZeroU32, clock: C) -> Rate<C> {
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Rate { limiter: RateLimiter::direct_with_clock(quota, clock.clone()), clock, per_second, burst }
    }

    /// The request rate of an app, in bursts of a tenth of a second's worth: sleeping is no finer than a millisecond.
    pub(crate) fn of_app(per_second: NonZeroU32, clock: C) -> Rate<C> {
        let burst = NonZeroU32::new(per_second.get() / 10).unwrap_or(NonZeroU32::MIN);
        Rate::new(per_second, burst, clock)
    }

    /// Takes as much of `left` as may pass now. `Ok`: all of it; `Err`: how much, and when to try again.
    pub(crate) fn take_slices(&self, left: &mut u32) -> Result<u32, (u32, Tick)> {
        let mut taken = 0;
        while let Some(slice) = NonZeroU32::new((*left).min(self.burst.get())) {
            if let Err(earliest) = self.try_take(slice) {
                return Err((taken, earliest));
            }
            taken += slice.get();
            *left -= slice.get();
        }
        Ok(taken)
    }

    /// Takes a slice of at most the burst now, or tells when it may be tried again.
    fn try_take(&self, slice: NonZeroU32) -> Result<(), Tick> {
        match self.limiter.check_n(slice) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(not_until.earliest_possible()),
            // No slice is above the burst. Should governor think otherwise, waiting a second is safe.
            Err(_) => Err(self.clock.now() + Duration::from_secs(1)),
        }
    }
}

/// Somebody who waits for so much.
struct Waits<'a> {
    backlog: &'a AtomicU64,
    amount: u64,
}

impl<'a> Waits<'a> {
    fn new(backlog: &'a AtomicU64, amount: u32) -> Waits<'a> {
        let amount = u64::from(amount);
        backlog.fetch_add(amount, Ordering::Relaxed);
        Waits { backlog, amount }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.backlog.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

/// A [`Rate`] with those who wait for it.
#[derive(Debug)]
pub(super) struct Pace {
    env: Env,
    rate: Rate<EnvClock>,
    /// Units waited for now.
    backlog: AtomicU64,
    /// Held by the one whose turn it is; tokio's mutex is fair.
    turn: tokio::sync::Mutex<()>,
}

impl Pace {
    pub(super) fn new(env: &Env, per_second: NonZeroU32, burst: NonZeroU32) -> Pace {
        let rate = Rate::new(per_second, burst, EnvClock(env.clone()));
        Pace::with(env, rate)
    }

    fn with(env: &Env, rate: Rate<EnvClock>) -> Pace {
        Pace { env: env.clone(), rate, backlog: AtomicU64::new(0), turn: tokio::sync::Mutex::new(()) }
    }

    /// The request rate of an app.
    pub(super) fn of_app(env: &Env, per_second: NonZeroU32) -> Pace {
        let rate = Rate::of_app(per_second, EnvClock(env.clone()));
        Pace::with(env, rate)
    }

    /// How long one who came now would wait.
    pub(super) fn wait(&self) -> Duration {
        let backlog = self.backlog.load(Ordering::Relaxed) as f64;
        Duration::from_secs_f64(backlog / f64::from(self.rate.per_second.get()))
    }

    /// Waits until `amount` units may pass and takes them; tells how long it waited. Dropping the future loses at
    /// most the slices it had taken, which is slower than allowed, never faster.
    pub(super) async fn take(&self, amount: u32) -> Duration {
        let asked = self.env.now();
        let _waits = Waits::new(&self.backlog, amount);
        let _turn = self.turn.lock().await;
        let mut left = amount;
        while let Err((_, earliest)) = self.rate.take_slices(&mut left) {
            self.env.sleep_until(earliest).await;
        }
        self.env.now().saturating_sub(asked)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn n(value: u32) -> NonZeroU32 {
        NonZeroU32::new(value).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_amount_far_above_the_burst_passes_at_the_rate() {
        let env = Env::system();
        let pace = Pace::new(&env, n(1_000), n(100));
        let waited = pace.take(5_100).await;
        let ideal = Duration::from_secs(5);
        assert!(waited >= ideal && waited < ideal + Duration::from_millis(200), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_are_served_in_the_order_they_came_at_the_rate() {
        let env = Env::system();
        let pace = Arc::new(Pace::new(&env, n(10), n(1)));
        let order = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..50)
            .map(|i| {
                let (pace, order) = (Arc::clone(&pace), Arc::clone(&order));
                env.spawn(async move {
                    pace.take(1).await;
                    order.lock().unwrap().push(i);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), (0..50).collect::<Vec<_>>());
        let took = env.now();
        assert!(took >= Duration::from_millis(4_900) && took < Duration::from_millis(5_100), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_goes_away_does_not_hold_up_the_line() {
        let env = Env::system();
        let pace = Arc::new(Pace::new(&env, n(1), n(1)));
        pace.take(1).await;
        assert!(env.within(Duration::from_millis(10), pace.take(1_000)).await.is_none());
        let waited = pace.take(1).await;
        assert!(waited <= Duration::from_millis(1_001), "{waited:?}");
    }
}

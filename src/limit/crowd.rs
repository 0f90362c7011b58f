//! All the requests to one app (or host) at once: as many as were learnt to be borne, first come first served.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::learner::{Bounds, Ended, Learner};
use crate::env::{Env, Tick};

/// Requests at once when nothing is known yet.
const FIRST: u32 = 16;
/// However it is refused, so many go on: fewer would starve.
const LEAST: u32 = 4;

/// The crowd before one app.
#[derive(Debug)]
pub(super) struct Crowd {
    env: Env,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    learner: Learner,
    under_way: usize,
    waiting: VecDeque<oneshot::Sender<Place>>,
    waited: Duration,
}

impl Crowd {
    /// At most so many at once, whatever is learnt.
    pub(super) fn new(env: &Env, most: u32) -> Arc<Crowd> {
        let learner = Learner::new(Bounds { least: LEAST.min(most), most, first: FIRST });
        let state = State { learner, under_way: 0, waiting: VecDeque::new(), waited: Duration::ZERO };
        Arc::new(Crowd { env: env.clone(), state: Mutex::new(state) })
    }

    /// Waits for a place. Dropping the future leaves nothing behind.
    pub(super) async fn enter(self: &Arc<Self>) -> Place {
        let asked = self.env.now();
        let opened = {
            let mut state = self.lock();
            if state.waiting.is_empty() && state.under_way < state.learner.limit() {
                state.under_way += 1;
                return self.place();
            }
            let (door, opened) = oneshot::channel();
            state.waiting.push_back(door);
            opened
        };
        let place = opened.await;
        self.lock().waited += self.env.now().saturating_sub(asked);
        // The sender is dropped only with its place sent; should it ever be, nobody is kept out for it.
        place.unwrap_or_else(|_| {
            self.lock().under_way += 1;
            self.place()
        })
    }

    fn place(self: &Arc<Self>) -> Place {
        Place { crowd: Arc::clone(self), left: false }
    }

    /// How long one who came now is likely to wait, if a request takes about a second.
    pub(super) fn wait(&self) -> Duration {
        let state = self.lock();
        Duration::from_secs_f64(state.waiting.len() as f64 / state.learner.limit().max(1) as f64)
    }

    /// Time waited for places.
    pub(super) fn waited(&self) -> Duration {
        self.lock().waited
    }

    /// Requests under way, and how many may be.
    #[cfg(test)]
    pub(super) fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.under_way, state.learner.limit())
    }

    fn leave(self: &Arc<Self>, told: Option<(Tick, u64, Ended)>) {
        let now = self.env.now();
        let mut state = self.lock();
        if let Some((sent, bytes, how)) = told {
            let under_way = state.under_way;
            state.learner.ended(now, sent, bytes, under_way, how);
        }
        state.under_way = state.under_way.saturating_sub(1);
        let mut opened = Vec::new();
        while state.under_way < state.learner.limit()
            && let Some(door) = state.waiting.pop_front()
        {
            state.under_way += 1;
            opened.push(door);
        }
        drop(state);
        for door in opened {
            // Whoever went away drops its place, which leaves it again.
            let _ = door.send(self.place());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's place in the crowd. Dropping it tells nothing.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    left: bool,
}

impl Place {
    /// The request that was sent at `sent` with so many upload bytes ended.
    pub(super) fn ended(mut self, sent: Tick, bytes: u64, how: Ended) {
        self.left = true;
        self.crowd.leave(Some((sent, bytes, how)));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.left {
            self.crowd.leave(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn places_are_given_in_order_and_one_who_went_away_keeps_none() {
        let env = Env::system();
        let crowd = Crowd::new(&env, 1);
        let first = crowd.enter().await;
        assert!(env.within(Duration::from_secs(1), crowd.enter()).await.is_none());
        let waits = env.spawn({
            let crowd = Arc::clone(&crowd);
            async move { crowd.enter().await }
        });
        tokio::task::yield_now().await;
        first.ended(Tick::ZERO, 0, Ended::Served);
        let second = waits.await.unwrap();
        assert_eq!(crowd.load(), (1, 1));
        drop(second);
        assert_eq!(crowd.load().0, 0);
        assert_eq!(crowd.waited(), Duration::from_secs(0));
    }

    #[tokio::test(start_paused = true)]
    async fn more_go_at_once_while_answers_come_as_fast_as_before_and_fewer_when_they_are_refused() {
        let env = Env::system();
        let crowd = Crowd::new(&env, 200);
        let (calm, end) = (Duration::from_secs(30), Duration::from_secs(32));
        let clients: Vec<_> = (0..300)
            .map(|_| {
                let (env, crowd) = (env.clone(), Arc::clone(&crowd));
                env.clone().spawn(async move {
                    while env.now() < end {
                        let place = crowd.enter().await;
                        let sent = env.now();
                        env.sleep(Duration::from_millis(300)).await;
                        place.ended(sent, 1, if sent < calm { Ended::Served } else { Ended::Refused });
                    }
                })
            })
            .collect();
        env.sleep_until(calm).await;
        assert_eq!(crowd.load(), (200, 200));
        for client in clients {
            client.await.unwrap();
        }
        let (under_way, limit) = crowd.load();
        assert!(under_way == 0 && (4..100).contains(&limit), "{limit}");
    }
}

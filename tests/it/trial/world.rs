//! A world on one thread, under virtual time, that can be cut before any effect.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mailwave::env::{Step, StepObserver};
use mailwave::mock::World;
use tokio::sync::Notify;

/// Counts steps; from the `cut`-th on nothing happens any more.
pub struct Observer {
    state: Mutex<Counts>,
    frozen: Notify,
    cut: Option<u64>,
    /// At this one of the steps of this kind (from 1) whoever passes it panics.
    panics: Option<(Step, u64)>,
}

#[derive(Default)]
struct Counts {
    passed: u64,
    cut_at: Option<Step>,
    order: Vec<Step>,
}

impl Observer {
    pub fn new(cut: Option<u64>) -> Arc<Observer> {
        Arc::new(Observer { state: Mutex::default(), frozen: Notify::new(), cut, panics: None })
    }

    /// Nothing is cut, but whoever passes the `nth` step of a kind panics.
    pub fn panicking(step: Step, nth: u64) -> Arc<Observer> {
        let panics = Some((step, nth));
        Arc::new(Observer { state: Mutex::default(), frozen: Notify::new(), cut: None, panics })
    }

    /// Steps passed.
    pub fn passed(&self) -> u64 {
        self.state.lock().unwrap().passed
    }

    /// The kind of step it was cut at.
    pub fn cut_at(&self) -> Option<Step> {
        self.state.lock().unwrap().cut_at
    }

    /// The steps passed, in order.
    pub fn order(&self) -> Vec<Step> {
        self.state.lock().unwrap().order.clone()
    }

    /// Returns when the world froze.
    pub async fn frozen(&self) {
        self.frozen.notified().await;
    }
}

impl StepObserver for Observer {
    fn pass(&self, step: Step) -> bool {
        let mut state = self.state.lock().unwrap();
        if state.cut_at.is_some() {
            return false;
        }
        state.passed += 1;
        state.order.push(step);
        if let Some((kind, nth)) = self.panics
            && kind == step
            && state.order.iter().filter(|s| **s == kind).count() as u64 == nth
        {
            drop(state);
            panic!("on purpose, before {step:?}");
        }
        if self.cut == Some(state.passed) {
            state.cut_at = Some(step);
            self.frozen.notify_one();
            return false;
        }
        true
    }
}

/// The clock of the mock: virtual, and going on from one run to the next.
pub struct VirtualClock {
    /// Wall time at the start of the present run, and that start.
    base: Mutex<(i64, Option<tokio::time::Instant>)>,
}

impl VirtualClock {
    pub fn new(wall: i64) -> Arc<VirtualClock> {
        Arc::new(VirtualClock { base: Mutex::new((wall, None)) })
    }

    /// The clock is set, forwards or back.
    pub fn set(&self, by: i64) {
        self.base.lock().unwrap().0 += by;
    }

    /// A run begins, inside its runtime.
    pub fn begin(&self) -> i64 {
        let mut base = self.base.lock().unwrap();
        base.1 = Some(tokio::time::Instant::now());
        base.0
    }

    /// A run ended, still inside its runtime; `pause` passes until the next one.
    pub fn end(&self, pause: Duration) {
        let now = self.now();
        *self.base.lock().unwrap() = (now + i64::try_from(pause.as_millis()).unwrap(), None);
    }
}

impl World for VirtualClock {
    fn now(&self) -> i64 {
        let base = self.base.lock().unwrap();
        base.0 + base.1.map_or(0, |start| i64::try_from(start.elapsed().as_millis()).unwrap())
    }

    fn sleep(&self, d: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(d))
    }
}

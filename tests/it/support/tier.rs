//! How much is tried: a little with every change, more by night, all in a week. `scripts/soak` chooses.
//!
//! - `MAILWAVE_TIER` = `quick` (also if it is not set), `nightly` or `weekly`
//! - `MAILWAVE_SEED`: the seed all others come from; without it, a test's own
//! - `MAILWAVE_MINUTES`: tests that can go on with further seeds do so that long
//! - `MAILWAVE_KILLS`: how often the program is killed in each campaign

use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    Quick,
    Nightly,
    Weekly,
}

impl Tier {
    pub fn now() -> Tier {
        match std::env::var("MAILWAVE_TIER").as_deref() {
            Err(_) | Ok("" | "quick") => Tier::Quick,
            Ok("nightly") => Tier::Nightly,
            Ok("weekly") => Tier::Weekly,
            Ok(other) => panic!("MAILWAVE_TIER is quick, nightly or weekly, not {other:?}"),
        }
    }
}

/// A number from the environment.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// The seed that was asked for, or `own`; printed.
pub fn seed(own: impl FnOnce() -> u64) -> u64 {
    let seed = number("MAILWAVE_SEED").unwrap_or_else(own);
    println!("seed {seed}");
    seed
}

/// Seeds to try, one after the other: at least one, the first is `first`. In the weekly tier ten; with
/// `MAILWAVE_MINUTES`, as many as fit.
pub fn seeds(first: u64) -> impl Iterator<Item = u64> {
    let (tier, began) = (Tier::now(), Instant::now());
    let minutes = number("MAILWAVE_MINUTES").map(|m| Duration::from_secs(60 * m));
    (0..).map_while(move |n| {
        let go_on = match minutes {
            _ if n == 0 => true,
            _ if tier == Tier::Quick => false,
            Some(minutes) => began.elapsed() < minutes,
            None => tier == Tier::Weekly && n < 10,
        };
        go_on.then(|| first.wrapping_add(n))
    })
}

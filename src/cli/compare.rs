//! `mailwave simulate --compare`: is longest-first the order to begin mailboxes in? Every order with every seed.

use std::fmt;
use std::time::Duration;

use super::Failure;
use super::args::SimulateArgs;
use super::exit::Exit;
use super::simulate::{hours, refused_percent};
use super::talk::Talk;
use crate::env::{Env, Tick};
use crate::observe::Progress;
use crate::report::{Align, table};
use crate::simulate::{self, Ordering, Scenario, Watch};

/// Longest-first may be so far behind the best order of a seed, in percent …
const MOST_BEHIND: f64 = 0.5;
/// … and take so many times the least possible.
const MOST_OVER: f64 = 1.05;

/// How longest-first did, at worst.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Worst {
    /// Behind the best order of the same seed, in percent.
    behind: f64,
    /// Times the least possible.
    over: f64,
}

impl Worst {
    const NONE: Worst = Worst { behind: 0.0, over: 0.0 };

    /// One more seed: how long each order took, longest-first before the others, and times the least possible that one is.
    fn and(self, took: &[Duration], over: f64) -> Worst {
        let best = took.iter().min().copied().unwrap_or_default().as_secs_f64();
        let behind = took.first().map_or(0.0, |d| (d.as_secs_f64() / best.max(1e-9) - 1.0) * 100.0);
        Worst { behind: self.behind.max(behind), over: self.over.max(over) }
    }

    fn is_fine(self) -> bool {
        self.behind <= MOST_BEHIND && self.over <= MOST_OVER
    }
}

impl fmt::Display for Worst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Worst { behind, over } = self;
        write!(f, "longest first is at worst {behind:.3} % behind the best (allowed: {MOST_BEHIND} %), ")?;
        write!(f, "and takes {over:.4} × the least possible (allowed: {MOST_OVER})")
    }
}

/// Sees nothing.
struct Nobody;

impl Watch for Nobody {
    fn event(&mut self, _: Tick, _: fmt::Arguments<'_>) {}
    fn second(&mut self, _: Tick, _: &Progress) {}
}

/// Every order with every seed; somebody has to look if longest-first is not good enough.
pub(super) fn compare(
    scenario: &Scenario,
    args: &SimulateArgs,
    seeds: u32,
    env: &Env,
    talk: &Talk,
) -> Result<Exit, Failure> {
    let orders = [Ordering::LongestFirst, Ordering::AsListed, Ordering::Shuffled];
    let mut rows = Vec::new();
    let mut worst = Worst::NONE;
    for seed in (args.seed..).take(seeds as usize) {
        let began = env.now();
        let mut nights = Vec::new();
        for order in orders {
            nights.push(simulate::run(scenario, seed, order, &mut Nobody)?);
        }
        let took: Vec<Duration> = nights.iter().map(|night| night.took).collect();
        let over = nights.first().map_or(0.0, simulate::Outcome::over_the_bound);
        let one = Worst::NONE.and(&took, over);
        worst = worst.and(&took, over);
        let mut row = vec![seed.to_string()];
        row.extend(took.iter().map(|took| hours(*took)));
        row.push(format!("{over:.4}"));
        row.push(format!("{:.3} %", one.behind));
        row.push(format!("{:.4} %", nights.iter().map(refused_percent).fold(0.0, f64::max)));
        let real = env.now().saturating_sub(began).as_secs_f64();
        row.push(format!("{:.1}", real / nights.len().max(1) as f64));
        talk.say(&format!("seed {seed} of {seeds}: {} × the bound, {} behind the best", row[4], row[5]));
        rows.push(row);
    }
    let header = [
        ("seed", Align::Right),
        ("longest first", Align::Right),
        ("as listed", Align::Right),
        ("shuffled", Align::Right),
        ("× the bound", Align::Right),
        ("behind the best", Align::Right),
        ("refused, at most", Align::Right),
        ("real seconds a night", Align::Right),
    ];
    if args.json {
        let told = serde_json::json!({
            "verb": "simulate",
            "scenario": scenario.name,
            "rows": rows,
            "worst_percent": worst.behind,
            "worst_over_the_bound": worst.over,
            "good_enough": worst.is_fine(),
        });
        talk.data(&told.to_string());
    } else {
        talk.data(&table(&header, &rows));
        talk.data(&worst.to_string());
    }
    Ok(if worst.is_fine() { Exit::Done } else { Exit::Investigate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_seed_decides_and_either_bound_is_enough_to_look() {
        let seconds = |all: [u64; 3]| all.map(Duration::from_secs);
        let fine = Worst::NONE.and(&seconds([10_000, 10_400, 9_960]), 1.05);
        assert!(fine.is_fine(), "{fine}");
        let behind = fine.and(&seconds([10_000, 9_900, 10_400]), 1.0).and(&seconds([1, 1, 1]), 1.0);
        assert!(!behind.is_fine() && behind.behind > 1.0, "{behind}");
        let over = fine.and(&seconds([10_000, 10_000, 10_000]), 1.051);
        assert!(!over.is_fine() && over.behind < 0.5, "{over}");
    }
}

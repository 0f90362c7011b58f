//! Several runs in turn, and their medians: CPU of one run says little on a machine that does other things as well.

use serde_json::{Value, json};

use crate::plan::Plan;
use crate::run::Came;
use crate::told::{costs, floor};

/// What one run cost, per GB.
#[derive(Debug, Clone)]
pub struct Round {
    pub mode: String,
    engine: f64,
    /// (way of the floor, its cost).
    floors: Vec<(String, f64)>,
}

impl Round {
    pub fn of(plan: &Plan, mode: &str, came: &Came) -> Round {
        let carried = came.floors.iter().filter(|way| way.way != "login");
        let floors = carried.map(|way| (way.way.clone(), floor(way))).collect();
        Round { mode: mode.to_owned(), engine: costs(plan, came).engine, floors }
    }
}

/// Least, median and most.
fn spread(mut figures: Vec<f64>) -> [f64; 3] {
    figures.sort_by(f64::total_cmp);
    let at = |n: usize| figures.get(n).copied().unwrap_or(0.0);
    let (last, half) = (figures.len().saturating_sub(1), figures.len() / 2);
    let median =
        if figures.len() % 2 == 1 { at(half) } else { f64::midpoint(at(half.saturating_sub(1)), at(half)) };
    [at(0), median, at(last)]
}

/// Of each mode: (what, least, median, most); the engine's cost first, then its multiple of each way of the floor, taken within
/// each run.
fn medians(rounds: &[Round], mode: &str) -> Vec<(String, [f64; 3])> {
    let of_mode: Vec<&Round> = rounds.iter().filter(|round| round.mode == mode).collect();
    let mut told = vec![("s/GB".to_owned(), spread(of_mode.iter().map(|round| round.engine).collect()))];
    for (at, (way, _)) in of_mode.first().map_or(&[][..], |first| &first.floors).iter().enumerate() {
        let costs = of_mode.iter().filter_map(|round| Some(round.engine / round.floors.get(at)?.1.max(1e-9)));
        told.push((format!("x {way}"), spread(costs.collect())));
    }
    told
}

fn modes(rounds: &[Round]) -> Vec<String> {
    let mut modes: Vec<String> = Vec::new();
    for round in rounds {
        if !modes.contains(&round.mode) {
            modes.push(round.mode.clone());
        }
    }
    modes
}

pub fn print(rounds: &[Round]) {
    for mode in modes(rounds) {
        let runs = rounds.iter().filter(|round| round.mode == mode).count();
        println!("\n{mode}, median of {runs} runs (least - most):");
        for (what, [least, median, most]) in medians(rounds, &mode) {
            println!("{what:>12} {median:>7.2} ({least:.2} - {most:.2})");
        }
    }
}

pub fn json(rounds: &[Round]) -> Value {
    let one = |mode: &String| {
        let figures = medians(rounds, mode).into_iter();
        let figures = figures.map(|(what, [least, median, most])| {
            (what, json!({ "least": least, "median": median, "most": most }))
        });
        (mode.clone(), Value::Object(figures.collect()))
    };
    Value::Object(modes(rounds).iter().map(one).collect())
}

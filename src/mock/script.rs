//! Scripts of faults: which of the matching requests, and how often it was.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::dice::Dice;

/// Which of the matching requests. The first is number 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// All.
    Always,
    /// These.
    Nth(Vec<u64>),
    /// Each so many-th.
    Every(u64),
    /// So many of a thousand, by the script's seed.
    PerMille(u64),
}

/// One kind of trouble of one service.
pub(super) trait Rule {
    type Fault: Clone;

    /// Names it in the counts.
    fn name(&self) -> &str;
    fn when(&self) -> &When;
    /// 0: no bound.
    fn at_most(&self) -> u64;
    fn fault(&self) -> &Self::Fault;
}

/// A script being played.
#[derive(Debug)]
pub(super) struct Play<R> {
    rules: Vec<(R, u64, u64)>, // rule, matches, fired
    dice: Dice,
}

impl<R: Rule> Play<R> {
    pub(super) fn new(seed: u64, rules: Vec<R>) -> Play<R> {
        Play { dice: Dice::new(seed), rules: rules.into_iter().map(|rule| (rule, 0, 0)).collect() }
    }

    /// The fault for this request, if any. Every rule that fits it counts it.
    pub(super) fn pick(&mut self, fits: impl Fn(&R) -> bool) -> Option<R::Fault> {
        let mut chosen = None;
        for (rule, matches, fired) in &mut self.rules {
            if !fits(rule) {
                continue;
            }
            *matches += 1;
            let now = match rule.when() {
                When::Always => true,
                When::Nth(list) => list.contains(matches),
                When::Every(n) => *n > 0 && matches.is_multiple_of(*n),
                When::PerMille(p) => self.dice.below(1000) < *p,
            };
            if now && chosen.is_none() && (rule.at_most() == 0 || *fired < rule.at_most()) {
                *fired += 1;
                chosen = Some(rule.fault().clone());
            }
        }
        chosen
    }

    /// How often each fired.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (rule, _, fired) in &self.rules {
            *counts.entry(rule.name().to_owned()).or_insert(0) += fired;
        }
        counts
    }
}

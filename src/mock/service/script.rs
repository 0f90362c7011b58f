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

/// Faults to play, tried in order; the first that fires is played.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultScript<R> {
    /// Decides the seeded ones.
    pub seed: u64,
    /// What may go wrong.
    pub rules: Vec<R>,
}

impl<R> Default for FaultScript<R> {
    fn default() -> Self {
        FaultScript { seed: 0, rules: Vec::new() }
    }
}

/// One kind of trouble of one service.
pub(in crate::mock) trait Rule {
    type Fault: Clone;

    /// What of it is the same for every service.
    fn terms(&self) -> Terms<'_, Self::Fault>;
}

/// What a rule says beside what it is for.
pub(in crate::mock) struct Terms<'a, F> {
    /// Names it in the counts.
    pub(in crate::mock) name: &'a str,
    pub(in crate::mock) when: &'a When,
    /// 0: no bound.
    pub(in crate::mock) at_most: u64,
    pub(in crate::mock) fault: &'a F,
}

/// A script being played.
#[derive(Debug)]
pub(in crate::mock) struct Play<R> {
    rules: Vec<(R, u64, u64)>, // rule, matches, fired
    dice: Dice,
}

impl<R: Rule> Play<R> {
    pub(in crate::mock) fn new(script: FaultScript<R>) -> Play<R> {
        let rules = script.rules.into_iter().map(|rule| (rule, 0, 0)).collect();
        Play { dice: Dice::new(script.seed), rules }
    }

    /// The fault for this request, if any. Every rule that fits it counts it.
    pub(in crate::mock) fn pick(&mut self, fits: impl Fn(&R) -> bool) -> Option<R::Fault> {
        let mut chosen = None;
        for (rule, matches, fired) in &mut self.rules {
            if !fits(rule) {
                continue;
            }
            *matches += 1;
            let Terms { when, at_most, fault, .. } = rule.terms();
            let now = match when {
                When::Always => true,
                When::Nth(list) => list.contains(matches),
                When::Every(n) => *n > 0 && matches.is_multiple_of(*n),
                When::PerMille(p) => self.dice.below(1000) < *p,
            };
            if now && chosen.is_none() && (at_most == 0 || *fired < at_most) {
                *fired += 1;
                chosen = Some(fault.clone());
            }
        }
        chosen
    }

    /// How often each fired.
    pub(in crate::mock) fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (rule, _, fired) in &self.rules {
            *counts.entry(rule.terms().name.to_owned()).or_insert(0) += fired;
        }
        counts
    }
}

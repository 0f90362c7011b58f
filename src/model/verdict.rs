//! The verdict: one word for how well a mailbox (or a wave) arrived, and its reasons.
//!
//! | verdict | when |
//! |---|---|
//! | perfect | everything in scope is stored, the target's own count equals ours, nothing was lost on the way |
//! | good | as perfect, but the target could not keep something we declare (keywords, a zone …), every skipped item was approved, or the operator turned the count at the target off |
//! | investigate | skipped items nobody approved, unknown outcomes, or the pass did not come to its end |
//! | poor | the mailbox failed, or the target's own count differs from ours |

use std::fmt;
use std::str::FromStr;

/// How well a mailbox arrived. Ordered: later is worse; a wave's verdict is the worst of its mailboxes'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Everything arrived, and the target agrees.
    Perfect,
    /// Everything arrived, with declared losses or approved skips only.
    Good,
    /// Someone has to look.
    Investigate,
    /// It failed, or the target holds something else than we recorded.
    Poor,
}

impl Verdict {
    /// The word in the ledger, the tables and the JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Verdict::Perfect => "perfect",
            Verdict::Good => "good",
            Verdict::Investigate => "investigate",
            Verdict::Poor => "poor",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Verdict {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Verdict::Perfect, Verdict::Good, Verdict::Investigate, Verdict::Poor]
            .into_iter()
            .find(|v| v.word() == word)
            .ok_or("not a verdict")
    }
}

/// What a verdict is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    /// The pass walked everything to its end.
    pub complete: bool,
    /// The mailbox stopped with an error (not because it was asked to).
    pub failed: bool,
    /// Live copies on record, in messages.
    pub recorded: u64,
    /// Copies the target holds by its own count, in messages; `None` if nobody asked it.
    pub recounted: Option<u64>,
    /// Copies that lost something we declare.
    pub losses: u64,
    /// Messages deliberately not moved.
    pub skipped: u64,
    /// How many of those someone approved by name.
    pub approved: u64,
    /// Messages whose outcome is unknown.
    pub unknown: u64,
}

/// The verdict and its reasons, one safe line each, worst first. Perfect has no reasons.
pub fn judge(e: &Evidence) -> (Verdict, Vec<String>) {
    let mut found: Vec<(Verdict, String)> = Vec::new();
    let mut say = |verdict, reason: String| found.push((verdict, reason));
    if e.failed {
        say(Verdict::Poor, "the mailbox stopped with an error".to_owned());
    }
    match e.recounted {
        Some(n) if n != e.recorded && e.complete => {
            say(Verdict::Poor, format!("the target holds {n} copies, the ledger has {}", e.recorded));
        }
        None if e.complete => {
            say(Verdict::Good, "the copies were not counted at the target".to_owned());
        }
        _ => {}
    }
    if e.unknown > 0 {
        say(Verdict::Investigate, format!("{} with an unknown outcome", messages(e.unknown)));
    }
    let open = e.skipped.saturating_sub(e.approved);
    if open > 0 {
        say(Verdict::Investigate, format!("{} skipped and not approved", messages(open)));
    }
    if !e.complete && !e.failed {
        say(Verdict::Investigate, "the pass did not come to its end".to_owned());
    }
    if e.approved > 0 && e.skipped > 0 {
        say(Verdict::Good, format!("{} skipped and approved", messages(e.approved.min(e.skipped))));
    }
    if e.losses > 0 {
        say(Verdict::Good, format!("{} with a declared loss", messages(e.losses)));
    }
    // Stable: reasons of one verdict stay in the order above.
    found.sort_by_key(|(verdict, _)| std::cmp::Reverse(*verdict));
    let worst = found.first().map_or(Verdict::Perfect, |(v, _)| *v);
    (worst, found.into_iter().map(|(_, reason)| reason).collect())
}

fn messages(n: u64) -> String {
    if n == 1 { "1 message".to_owned() } else { format!("{n} messages") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERFECT: Evidence = Evidence {
        complete: true,
        failed: false,
        recorded: 10,
        recounted: Some(10),
        losses: 0,
        skipped: 0,
        approved: 0,
        unknown: 0,
    };

    #[test]
    fn everything_stored_and_counted_is_perfect() {
        assert_eq!(judge(&PERFECT), (Verdict::Perfect, vec![]));
    }

    #[test]
    fn each_flaw_lowers_the_verdict_to_its_own_level() {
        for (evidence, verdict, reason) in [
            (Evidence { losses: 1, ..PERFECT }, Verdict::Good, "1 message with a declared loss"),
            (
                Evidence { skipped: 2, approved: 2, ..PERFECT },
                Verdict::Good,
                "2 messages skipped and approved",
            ),
            (
                Evidence { skipped: 2, approved: 1, ..PERFECT },
                Verdict::Investigate,
                "1 message skipped and not approved",
            ),
            (Evidence { unknown: 3, ..PERFECT }, Verdict::Investigate, "3 messages with an unknown outcome"),
            (
                Evidence { recounted: None, ..PERFECT },
                Verdict::Good,
                "the copies were not counted at the target",
            ),
            (
                Evidence { complete: false, ..PERFECT },
                Verdict::Investigate,
                "the pass did not come to its end",
            ),
            (
                Evidence { recounted: Some(9), ..PERFECT },
                Verdict::Poor,
                "the target holds 9 copies, the ledger has 10",
            ),
            (Evidence { failed: true, ..PERFECT }, Verdict::Poor, "the mailbox stopped with an error"),
        ] {
            let (got, reasons) = judge(&evidence);
            assert_eq!((got, reasons[0].as_str()), (verdict, reason));
        }
    }

    #[test]
    fn the_worst_reason_comes_first() {
        let (verdict, reasons) = judge(&Evidence { losses: 1, unknown: 1, recounted: Some(11), ..PERFECT });
        assert_eq!(verdict, Verdict::Poor);
        assert_eq!(reasons.len(), 3);
        assert!(reasons[0].starts_with("the target holds 11") && reasons[2].contains("declared loss"));
    }

    #[test]
    fn words_read_back() {
        for v in [Verdict::Perfect, Verdict::Good, Verdict::Investigate, Verdict::Poor] {
            assert_eq!(v.word().parse(), Ok(v));
        }
        assert!("fine".parse::<Verdict>().is_err());
    }
}

//! A sample of the mailboxes: the same ones for the same seed, and nearly the same ones when the list grows.

use crate::model::Digest;
use crate::plan::Plan;

/// Which mailboxes are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// So many there are.
    pub(super) of: usize,
    /// So many are taken at most.
    pub(super) most: u64,
    /// Decides which.
    pub(super) seed: u64,
}

impl Sample {
    /// Keeps those whose keys, hashed with the seed, are the smallest; in the order of the list.
    pub(super) fn take(&self, mut plan: Plan) -> Plan {
        let most = usize::try_from(self.most).unwrap_or(usize::MAX);
        let rank = |key: &str| Digest::of(format!("{}\n{key}", self.seed).as_bytes());
        let mut ranks: Vec<Digest> = plan.rows.iter().map(|row| rank(row.mailbox.key.as_str())).collect();
        ranks.sort();
        if let Some(first_left_out) = ranks.get(most) {
            plan.rows.retain(|row| rank(row.mailbox.key.as_str()) < *first_left_out);
        }
        plan
    }

    fn taken(&self) -> u64 {
        self.most.min(self.of as u64)
    }

    pub(super) fn words(&self) -> String {
        format!(
            "only {} of {} mailboxes were looked at (a sample, seed {})",
            self.taken(),
            self.of,
            self.seed
        )
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::json!({ "of": self.of, "taken": self.taken(), "seed": self.seed })
    }
}

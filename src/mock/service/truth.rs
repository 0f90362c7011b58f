//! What a mock knows, told as plain data: tests compare it with what a client believes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything: of mailboxes `M`, with counters `C`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth<M, C> {
    /// By address, in lower case.
    pub mailboxes: BTreeMap<String, M>,
    /// What was asked and answered.
    pub counters: C,
    /// How often each fault of the script fired, by name.
    pub faults: BTreeMap<String, u64>,
    /// Requests whose effect is still to come (late commits, or under way).
    pub pending: usize,
}

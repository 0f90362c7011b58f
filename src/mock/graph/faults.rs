//! Faults by script: which request, what goes wrong, and how often it did.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::mock::script::When;
use crate::mock::script::{Play, Rule};

/// Faults to play, tried in order; the first that fires is played.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultScript {
    /// Decides the seeded ones.
    pub seed: u64,
    /// What may go wrong.
    pub rules: Vec<FaultRule>,
}

/// One kind of trouble. Only requests that are authenticated and within the limits are counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Names it in the counts.
    pub name: String,
    /// The request's method; empty: any.
    #[serde(default)]
    pub method: String,
    /// The path contains this; empty: any.
    #[serde(default)]
    pub path: String,
    /// Which of the matching requests.
    pub when: When,
    /// At most so many times; 0: no bound.
    #[serde(default)]
    pub at_most: u64,
    /// What goes wrong.
    pub fault: Fault,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// An error status; nothing is done.
    Status {
        /// The status, 400–599.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// An error status, but it is done (504-but-done).
    DoneBut {
        /// The status, 400–599.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// Any refusal, word for word.
    Answer {
        /// The status, 400–599.
        status: u16,
        /// The error's code, `ErrorIrresolvableConflict` say; none: as [`Fault::Status`] has it.
        #[serde(default)]
        code: Option<String>,
        /// `Retry-After`: seconds, a date, or nonsense.
        #[serde(default)]
        retry_after: Option<String>,
        /// It is done all the same.
        #[serde(default)]
        done: bool,
    },
    /// 401, and the token is worth nothing from now on.
    EndToken,
    /// 404, and the upload session is gone. Only for requests to its URL.
    EndUpload,
    /// The range put is not kept, and the answer says so by what it expects next. Only for requests to an upload
    /// session's URL.
    ChunkLost,
    /// The connection fails after so many octets of the request's body; nothing is done. A body that is shorter gets
    /// through. (Over TCP the mock still reads what was sent before it closes.)
    ResetAt {
        /// How many are read.
        octets: usize,
    },
    /// The connection fails before the request is read.
    ResetBefore,
    /// The connection fails after the request was acted on.
    ResetAfter,
    /// No answer (or 504), and it is done only later.
    LateCommit {
        /// How much later, in milliseconds.
        after_ms: u64,
        /// Answer 504 instead of closing the connection.
        gateway_timeout: bool,
    },
    /// It is done; the answer has the right status and no body.
    EmptyBody,
    /// It is done; the answer has the right status and a web page as its body.
    HtmlBody,
    /// The answer says it is done, but what was made (a message, an attachment, a range of an upload) is gone: a lost
    /// write.
    Lost,
    /// It is done, the answer comes late.
    Slow {
        /// How late, in milliseconds.
        ms: u64,
    },
    /// It is done; the answer breaks off after so many octets of its body.
    Truncated {
        /// How many arrive.
        keep: usize,
    },
}

impl Rule for FaultRule {
    type Fault = Fault;

    fn name(&self) -> &str {
        &self.name
    }

    fn when(&self) -> &When {
        &self.when
    }

    fn at_most(&self) -> u64 {
        self.at_most
    }

    fn fault(&self) -> &Fault {
        &self.fault
    }
}

/// A script being played.
#[derive(Debug)]
pub(super) struct Faults(Play<FaultRule>);

impl Faults {
    pub(super) fn new(script: FaultScript) -> Faults {
        Faults(Play::new(script.seed, script.rules))
    }

    /// The fault for this request, if any.
    pub(super) fn pick(&mut self, method: &str, path: &str) -> Option<Fault> {
        self.0.pick(|rule| (rule.method.is_empty() || rule.method == method) && path.contains(&rule.path))
    }

    /// How often each fired.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        self.0.counts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_match_fires_and_is_counted() {
        let rule = |when| FaultRule {
            name: "r".into(),
            method: "POST".into(),
            path: "/messages".into(),
            when,
            at_most: 1,
            fault: Fault::ResetAfter,
        };
        let mut faults = Faults::new(FaultScript { seed: 1, rules: vec![rule(When::Nth(vec![2, 3]))] });
        let fired: Vec<bool> =
            (0..4).map(|_| faults.pick("POST", "/v1.0/users/u/messages").is_some()).collect();
        assert_eq!(fired, [false, true, false, false], "the second, and at most once");
        assert!(faults.pick("GET", "/messages").is_none());
        assert_eq!(faults.counts()["r"], 1);
    }
}

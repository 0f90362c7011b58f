//! Faults by script: which request, what goes wrong, and how often it did.

use serde::{Deserialize, Serialize};

pub use crate::mock::service::script::When;
use crate::mock::service::script::{self, Rule, Terms};

/// Faults to play, tried in order; the first that fires is played.
pub type FaultScript = script::FaultScript<FaultRule>;

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

impl FaultRule {
    /// Is it for this request?
    pub(super) fn fits(&self, method: &str, path: &str) -> bool {
        (self.method.is_empty() || self.method == method) && path.contains(&self.path)
    }
}

impl Rule for FaultRule {
    type Fault = Fault;

    fn terms(&self) -> Terms<'_, Fault> {
        Terms { name: &self.name, when: &self.when, at_most: self.at_most, fault: &self.fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::service::script::Play;

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
        let mut faults = Play::new(FaultScript { seed: 1, rules: vec![rule(When::Nth(vec![2, 3]))] });
        let fired: Vec<bool> = (0..4)
            .map(|_| faults.pick(|rule| rule.fits("POST", "/v1.0/users/u/messages")).is_some())
            .collect();
        assert_eq!(fired, [false, true, false, false], "the second, and at most once");
        assert!(faults.pick(|rule| rule.fits("GET", "/messages")).is_none());
        assert_eq!(faults.counts()["r"], 1);
    }
}

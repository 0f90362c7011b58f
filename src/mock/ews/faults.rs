//! Faults by script: which request, what goes wrong, and how often it did.

use serde::{Deserialize, Serialize};

use super::options::Busy;
pub use crate::mock::service::script::When;
use crate::mock::service::script::{self, Rule, Terms};

/// Faults to play, tried in order; the first that fires is played.
pub type FaultScript = script::FaultScript<FaultRule>;

/// One kind of trouble. Only requests that are authenticated, of the schema and within the limits are counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Names it in the counts.
    pub name: String,
    /// The operation, as `CreateItem`; empty: any. Requests for a token are `Token`.
    #[serde(default)]
    pub operation: String,
    /// The mailbox's address; empty: any.
    #[serde(default)]
    pub mailbox: String,
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
    /// An HTTP status without a SOAP body; nothing is done.
    Status {
        /// The status, 400–599.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// The same, but it is done (504-but-done).
    DoneBut {
        /// The status, 400–599.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// The server says that it is busy; nothing is done.
    Busy {
        /// How it says so.
        envelope: Busy,
        /// `BackOffMilliseconds`.
        wait_ms: Option<u64>,
    },
    /// A SOAP fault with this code; nothing is done.
    Soap {
        /// As `ErrorInternalServerTransientError`.
        code: String,
    },
    /// A SOAP fault with this code, but it is done.
    DoneButSoap {
        /// As `ErrorTimeoutExpired`.
        code: String,
    },
    /// One of the things asked for is not done, with this code; the others are.
    Item {
        /// Which; the first is number 1.
        number: usize,
        /// As `ErrorItemSave`.
        code: String,
    },
    /// So many of the things asked for are done; the rest is answered with `ErrorBatchProcessingStopped`.
    Stopped {
        /// How many.
        after: usize,
    },
    /// The connection fails before the request is read.
    ResetBefore,
    /// The connection fails after the request was acted on.
    ResetAfter,
    /// The connection fails after so many of the things asked for were done.
    ResetAfterItems {
        /// How many.
        items: usize,
    },
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
    /// The answer says it is done, but what was made is gone (a lost write).
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
    /// Exports end with the service's mark of a stream that was cut.
    CutExport,
}

impl FaultRule {
    /// Is it for this request?
    pub(super) fn fits(&self, operation: &str, mailbox: &str) -> bool {
        (self.operation.is_empty() || self.operation == operation)
            && (self.mailbox.is_empty() || self.mailbox.eq_ignore_ascii_case(mailbox))
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
        let rule = FaultRule {
            name: "r".into(),
            operation: "CreateItem".into(),
            mailbox: "Ann@example.org".into(),
            when: When::Nth(vec![2, 3]),
            at_most: 1,
            fault: Fault::ResetAfter,
        };
        let mut faults = Play::new(FaultScript { seed: 1, rules: vec![rule] });
        let fired: Vec<bool> = (0..4)
            .map(|_| faults.pick(|rule| rule.fits("CreateItem", "ann@example.org")).is_some())
            .collect();
        assert_eq!(fired, [false, true, false, false], "the second, and at most once");
        assert!(faults.pick(|rule| rule.fits("GetItem", "ann@example.org")).is_none());
        assert!(faults.pick(|rule| rule.fits("CreateItem", "bo@example.org")).is_none());
        assert_eq!(faults.counts()["r"], 1);
    }
}

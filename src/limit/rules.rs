//! What things cost, how requests end, and what the rules are: the words the machine of admission speaks.

use std::time::Duration;

use super::adaptive::Concurrency;
use super::backoff::Backoff;
use super::limits::TargetLimits;

/// The waits after refusals that name none: 1 to 2 s at first, growing to 5 minutes.
pub(super) const THROTTLE: Backoff =
    Backoff { base: Duration::from_secs(2), max: Duration::from_secs(300), tries: u32::MAX };

/// What something will cost at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Requests.
    pub requests: u32,
    /// Bytes on the wire that the service counts as upload (bodies of POST, PATCH, PUT).
    pub upload_bytes: u64,
}

/// How a request ended, as far as limits care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Answered, not throttled.
    Served,
    /// The service refused to go faster, and said for how long (if it did). A wait of zero says nothing.
    Throttled(Option<Duration>),
    /// No answer: it may still be working on it. The slot stays taken for a while.
    Unknown,
    /// It certainly never left: nothing is charged.
    NotSent,
}

/// What holds for every mailbox of one app.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Requests per window; `None` for no limit.
    pub(super) requests: Option<(u64, Duration)>,
    /// Upload bytes per window; `None` for no limit.
    pub(super) upload: Option<(u64, Duration)>,
    /// Requests at once.
    pub(super) concurrency: Concurrency,
    /// How long a request of unknown fate keeps its slot.
    pub(super) unknown_hold: Duration,
    /// The waits after refusals that name none.
    pub(super) throttle: Backoff,
}

/// No window and no hold is longer; what is set beyond it counts as this.
pub(super) const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

impl Rules {
    /// What an operator set.
    pub(crate) fn of(target: &TargetLimits) -> Rules {
        let window = |capacity: u64, length: Duration| {
            (capacity > 0 && !length.is_zero()).then_some((capacity, length.min(LONGEST)))
        };
        Rules {
            requests: window(u64::from(target.requests), target.requests_window),
            upload: window(target.upload_bytes, target.upload_window),
            concurrency: Concurrency::from_setting(target.concurrency),
            unknown_hold: target.unknown_hold.min(LONGEST),
            throttle: THROTTLE,
        }
    }

    /// No limit of ours.
    pub(super) fn unlimited() -> Rules {
        Rules {
            requests: None,
            upload: None,
            concurrency: Concurrency::Unlimited,
            unknown_hold: Duration::ZERO,
            throttle: THROTTLE,
        }
    }
}

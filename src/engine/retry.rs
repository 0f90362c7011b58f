//! When to try again: a decision over values, no clock, no dice of its own.

use std::time::Duration;

use crate::model::{Error, Kind, Scope, Status};

/// How often a throttled thing may be tried, as a multiple of the ordinary tries: a server that says "later" is
/// working, and the gate makes each try wait as long as it was told.
const THROTTLED_FACTOR: u32 = 4;

/// First wait of the exponential backoff.
const BASE: Duration = Duration::from_millis(500);
/// Longest wait we choose ourselves.
const CEILING: Duration = Duration::from_secs(60);
/// Longest wait we let a server choose.
const TOLD_CEILING: Duration = Duration::from_secs(3600);

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Try again after this wait.
    Again(Duration),
    /// It has failed.
    GiveUp,
}

/// Decides after the `attempt`-th failure (from 1). `dice` is a random number in `0..1000`: the wait is drawn from
/// the upper half of the exponential step, so that a thousand mailboxes do not come back at one moment.
pub(super) fn after(error: &Error, attempt: u32, tries: u32, dice: u64) -> Next {
    let allowed = match error.status {
        Status::Permanent => return Next::GiveUp,
        Status::Temporary => tries,
        Status::Throttled => tries.saturating_mul(THROTTLED_FACTOR),
    };
    if attempt >= allowed {
        return Next::GiveUp;
    }
    // Nobody waits in a run for what is known to take longer.
    if error.status == Status::Temporary && error.retry_after.is_some_and(|told| told > TOLD_CEILING) {
        return Next::GiveUp;
    }
    if let Some(told) = error.retry_after {
        return Next::Again(told.min(TOLD_CEILING));
    }
    let step =
        BASE.saturating_mul(1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX)).min(CEILING);
    let jitter = step.mul_f64(0.5 * dice.min(999) as f64 / 1000.0);
    Next::Again(step - jitter)
}

/// How long a mailbox is parked that can only go on later than anybody waits in a pass: tomorrow, when its provider lets it.
pub(super) fn parked(error: &Error) -> Option<Duration> {
    error.retry_after.filter(|told| error.status == Status::Temporary && *told > TOLD_CEILING)
}

/// How long a mailbox is left alone whose target is full: somebody has to make room, or an archive policy does.
const FULL: Duration = Duration::from_secs(3600);

/// The wait for a target mailbox that is full, after the `attempt`-th time (from 1) that it was found so.
pub(super) fn full(error: &Error, attempt: u32, tries: u32) -> Option<Duration> {
    (error.kind == Kind::Quota && error.scope == Scope::Mailbox && attempt < tries).then_some(FULL)
}

/// How long a mailbox is left alone whose host cannot be reached: by then a server is started again, or somebody knows.
const AWAY: Duration = Duration::from_secs(600);

/// The wait for a host that is not there, after the `attempt`-th time (from 1): once the quick tries are used up as often as
/// there are tries, slowly.
pub(super) fn away(error: &Error, attempt: u32, tries: u32) -> Option<Duration> {
    let away = error.kind == Kind::Unreachable && error.scope == Scope::Endpoint && error.may_pass();
    (away && (tries..tries.saturating_mul(2)).contains(&attempt)).then_some(AWAY)
}

/// As [`after`], for a pass that ended so: what it was refused inside it has tried often enough already. A pass that got
/// on is the first of a new count.
pub(super) fn after_pass(error: &Error, attempt: u32, tries: u32, dice: u64) -> Next {
    if attempt >= tries { Next::GiveUp } else { after(error, attempt, tries, dice) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permanent_error_is_never_tried_again() {
        assert_eq!(after(&Error::new(Kind::Auth, Scope::Mailbox, "x"), 1, 9, 0), Next::GiveUp);
    }

    #[test]
    fn a_temporary_error_is_tried_a_bounded_number_of_times_with_growing_waits() {
        let e = Error::temporary(Kind::Unreachable, Scope::Mailbox, "x");
        let waits: Vec<_> = (1..=5).map(|n| after(&e, n, 5, 0)).collect();
        assert_eq!(waits[0], Next::Again(Duration::from_millis(500)));
        assert_eq!(waits[1], Next::Again(Duration::from_secs(1)));
        assert_eq!(waits[4], Next::GiveUp);
        let Next::Again(least) = after(&e, 1, 5, 999) else { panic!("one more try") };
        assert!(least >= Duration::from_millis(250));
    }

    #[test]
    fn a_full_mailbox_is_tried_again_each_hour_a_bounded_number_of_times() {
        let full_one = Error::new(Kind::Quota, Scope::Mailbox, "x");
        assert_eq!([1, 4, 5].map(|n| full(&full_one, n, 5)), [Some(FULL), Some(FULL), None]);
        assert_eq!(full(&Error::new(Kind::Quota, Scope::Message, "x"), 1, 5), None);
        assert_eq!(full(&Error::new(Kind::Denied, Scope::Mailbox, "x"), 1, 5), None);
    }

    #[test]
    fn a_host_that_is_not_there_is_tried_quickly_and_then_every_ten_minutes_a_bounded_number_of_times() {
        let gone = Error::temporary(Kind::Unreachable, Scope::Endpoint, "x");
        assert_eq!([1, 4, 5, 9, 10].map(|n| away(&gone, n, 5)), [None, None, Some(AWAY), Some(AWAY), None]);
        assert_eq!(away(&Error::temporary(Kind::Unreachable, Scope::Mailbox, "x"), 5, 5), None);
        assert_eq!(away(&Error::new(Kind::Unreachable, Scope::Endpoint, "x"), 5, 5), None, "for good");
    }

    #[test]
    fn a_server_that_names_the_wait_is_obeyed_within_an_hour() {
        let told = |s| Error::throttled(Scope::Mailbox, "x", Some(Duration::from_secs(s)));
        assert_eq!(after(&told(17), 1, 5, 999), Next::Again(Duration::from_secs(17)));
        assert_eq!(after(&told(90_000), 1, 5, 0), Next::Again(TOLD_CEILING));
        assert_eq!(after(&told(1), 19, 5, 0), Next::Again(Duration::from_secs(1)));
        assert_eq!(after(&told(1), 20, 5, 0), Next::GiveUp);
        assert_eq!(after_pass(&told(1), 4, 5, 0), Next::Again(Duration::from_secs(1)));
        assert_eq!(after_pass(&told(1), 5, 5, 0), Next::GiveUp);
        let tomorrow = |s| Error { status: Status::Temporary, ..told(s) };
        assert_eq!(after(&tomorrow(90_000), 1, 5, 0), Next::GiveUp, "the mailbox ends and says until when");
        assert_eq!(parked(&tomorrow(90_000)), Some(Duration::from_secs(90_000)));
        assert_eq!(parked(&tomorrow(3600)), None);
        assert_eq!(parked(&told(90_000)), None, "who is throttled is asked again within an hour");
        assert_eq!(after(&tomorrow(600), 1, 5, 0), Next::Again(Duration::from_secs(600)));
    }
}

//! What a provider lets out of one mailbox in a day: counted, and not exceeded.
//!
//! Providers lock a mailbox out for up to a day once it was read too much, and say so in words that look like anything else.
//! The day begins with the first message fetched, not at midnight. It is counted by this process alone.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::env::Tick;
use crate::model::{Error, Kind, Result, Scope, Status, Timestamp};

/// A provider's day.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The budgets of an endpoint's mailboxes.
#[derive(Debug)]
pub(super) struct Budgets {
    /// Bytes of one mailbox in a day; `None`: as many as there are.
    daily: Option<u64>,
    days: Mutex<BTreeMap<String, Day>>,
}

#[derive(Debug, Clone, Copy)]
struct Day {
    began: Tick,
    spent: u64,
}

impl Budgets {
    pub fn new(daily: Option<u64>) -> Budgets {
        Budgets { daily, days: Mutex::default() }
    }

    /// Takes `bytes` of a mailbox's day. What is larger than a whole day is let through when the day is new: it would
    /// never be fetched else. `wall` is in milliseconds since 1970, for the text only.
    ///
    /// # Errors
    /// [`Kind::Throttled`] once the day has no room for so much, with the time until the next one.
    pub fn take(&self, mailbox: &str, bytes: u64, now: Tick, wall: i64) -> Result<()> {
        let Some(daily) = self.daily else { return Ok(()) };
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        let day = days.entry(mailbox.to_owned()).or_insert(Day { began: now, spent: 0 });
        if now.saturating_sub(day.began) >= DAY {
            *day = Day { began: now, spent: 0 };
        }
        let spent = day.spent.saturating_add(bytes);
        if day.spent == 0 || spent <= daily {
            day.spent = spent;
            return Ok(());
        }
        Err(used_up(daily, (day.began + DAY).saturating_sub(now), wall))
    }
}

fn used_up(daily: u64, wait: Duration, wall: i64) -> Error {
    let seconds = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
    let (year, month, day, hour, minute, _) =
        Timestamp::utc((wall / 1000).saturating_add(seconds).saturating_add(60)).civil();
    let what = format!(
        "the mailbox has given what it may in a day ({daily} bytes); the next day begins at {year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC"
    );
    Error {
        status: Status::Temporary,
        retry_after: Some(wait),
        ..Error::new(Kind::Throttled, Scope::Mailbox, what)
    }
    .remedy(
        "run again then: it goes on where it is; change `daily_bytes` if the provider allows another amount",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_700_000_000_000;

    fn at(hours: u64) -> Tick {
        Duration::from_secs(hours * 3600)
    }

    #[test]
    fn a_day_is_obeyed_by_each_mailbox_and_ends_24_hours_after_it_began() {
        let budgets = Budgets::new(Some(1_000));
        assert!(budgets.take("a", 600, at(1), NOON).is_ok());
        assert!(budgets.take("a", 400, at(2), NOON).is_ok());
        let told = budgets.take("a", 1, at(3), NOON).expect_err("used up");
        assert_eq!(
            (told.kind, told.scope, told.retry_after),
            (Kind::Throttled, Scope::Mailbox, Some(at(22)))
        );
        assert!(told.may_pass() && told.what.ends_with("at 2023-11-15 20:14 UTC"), "{told}");
        assert!(budgets.take("b", 1_000, at(3), NOON).is_ok(), "each its own");
        assert!(budgets.take("a", 1, at(24), NOON).is_err());
        assert!(budgets.take("a", 1_000, at(25), NOON).is_ok(), "a new day");
    }

    #[test]
    fn what_is_larger_than_a_day_goes_first_in_one_or_never() {
        let budgets = Budgets::new(Some(1_000));
        assert!(budgets.take("a", 5_000, at(0), NOON).is_ok());
        assert!(budgets.take("a", 1, at(1), NOON).is_err());
        assert!(Budgets::new(None).take("a", u64::MAX, at(0), NOON).is_ok());
    }
}

//! Throttling: requests at once, and a budget of work that refills.

use super::options::EwsOptions;
use super::reply::Fail;
use crate::mock::service::flight::{Flight, Told};

/// What one login did to one mailbox.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) flight: Flight,
    /// Milliseconds of work left (negative: owed), and when that was so; `None`: nothing was done yet.
    budget: Option<(i64, i64)>,
    told: Told,
}

impl Meter {
    /// Takes a slot and pays `cost` milliseconds of work, or refuses.
    pub(super) fn enter(&mut self, options: &EwsOptions, now: i64, cost: u64) -> Result<(), Fail> {
        let limits = &options.limits;
        if self.flight.is_full(limits.concurrent) {
            let text = "You have exceeded the available concurrent connections for your account. Try again once \
                        your other requests have completed.";
            return Err(Fail::new("ErrorExceededConnectionCount", text).with("Policy", "MaxConcurrency"));
        }
        if limits.burst_ms > 0 {
            let (burst, scale) = (whole(limits.burst_ms), i64::from(options.time_scale.max(1)));
            let (left, at) = self.budget.unwrap_or((burst, now));
            let hour = 3_600_000;
            let recharge = whole(limits.recharge_ms).max(1);
            let refilled = (now - at).max(0).saturating_mul(scale).saturating_mul(recharge) / hour;
            let left = left.saturating_add(refilled).min(burst);
            if left < -whole(limits.cutoff_ms) {
                self.budget = Some((left, now));
                let wait = options.scaled(u64::try_from(-left * hour / recharge).unwrap_or(1)).max(1);
                self.tell(now, wait);
                return Err(Fail::busy(wait));
            }
            self.budget = Some((left.saturating_sub(whole(cost)), now));
        }
        self.flight.enter();
        Ok(())
    }

    /// Notes that the client was told to wait.
    pub(super) fn tell(&mut self, now: i64, wait_ms: u64) {
        self.told.tell(now, whole(wait_ms));
    }

    /// Was it told to wait long enough ago to know, and does not?
    pub(super) fn impatient(&self, now: i64) -> bool {
        self.told.impatient(now)
    }
}

fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX / 4_000_000)
}

#[cfg(test)]
mod tests {
    use super::super::options::Limits;
    use super::*;

    #[test]
    fn at_most_so_many_are_in_flight() {
        let limits = Limits { concurrent: 2, ..Limits::default() };
        let options = EwsOptions { limits, ..EwsOptions::default() };
        let mut meter = Meter::default();
        assert!(meter.enter(&options, 0, 0).is_ok() && meter.enter(&options, 0, 0).is_ok());
        assert_eq!(meter.enter(&options, 0, 0).unwrap_err().code, "ErrorExceededConnectionCount");
        meter.flight.leave();
        assert!(meter.enter(&options, 0, 0).is_ok());
        assert_eq!(meter.flight.peak, 2);
    }

    #[test]
    fn work_beyond_the_budget_is_refused_until_it_refills() {
        let limits = Limits { burst_ms: 1000, recharge_ms: 3_600_000, cutoff_ms: 1000, ..Limits::default() };
        let mut options = EwsOptions { limits, ..EwsOptions::default() };
        for scale in [1, 10] {
            options.time_scale = scale;
            let mut meter = Meter::default();
            assert!(meter.enter(&options, 0, 5000).is_ok(), "4 s owed");
            let fail = meter.enter(&options, 0, 1).unwrap_err();
            let wait = 4000 / i64::from(scale);
            assert_eq!(fail.values, [("BackOffMilliseconds", wait.to_string())]);
            assert!(meter.impatient(wait - 1) == (wait > 1001) && !meter.impatient(wait));
            assert!(meter.enter(&options, wait, 1).is_ok(), "the wait told is enough");
        }
    }
}

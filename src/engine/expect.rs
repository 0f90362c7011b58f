//! How long a mailbox is expected to take: what is known of its size, under the ceilings of its target.
//!
//! What the last pass listed and did not store is what is left; it was counted, and beats what a list says. A mailbox
//! that was listed by nobody yet has the size its row tells, less what is on record. One whose initial pass is over is
//! short: it is expected to take what its last pass took, and after the first one, which says nothing of the next, a
//! small share of what it holds.

use std::time::Duration;

use super::order::Expected;
use crate::ledger::{MailboxLine, PassSummary};
use crate::limit::{Limits, TargetLimits};
use crate::model::Mailbox;
use crate::plan::{Ceilings, Load};

/// Of what a mailbox holds, what a night brings, in percent: a night's delta is 1 to 3 of a hundred messages.
const DELTA_PERCENT: u64 = 3;
/// What one request is taken to last where nobody measured it.
const LATENCY: Duration = Duration::from_millis(300);
/// Paces nothing exceeds, for targets that are not limited: they order mailboxes by size, and none is too long by them.
const BYTES_PER_SECOND: f64 = 1e9;
const MESSAGES_PER_SECOND: f64 = 1e5;

/// What is known of a mailbox before it is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// So much is to be stored.
    Left(Load),
    /// Its pass takes about so long.
    Took(Duration),
}

/// What is known of a mailbox: from its line in the ledger, and what the list says that it holds.
pub fn size(line: Option<&MailboxLine>, told: Option<Load>) -> Option<Size> {
    let last = line.and_then(|line| line.last.as_ref());
    if let Some(left) = last.filter(|last| !last.complete).and_then(left) {
        return Some(Size::Left(left));
    }
    let Some(line) = line else { return told.map(Size::Left) };
    match (line.passes, last) {
        (2.., Some(last)) if last.complete => {
            Some(Size::Took(Duration::from_millis(u64::try_from(last.ended - last.began).unwrap_or(0))))
        }
        (1.., _) => {
            let share = |n: u64| n / 100 * DELTA_PERCENT + n % 100 * DELTA_PERCENT / 100;
            Some(Size::Left(Load { messages: share(line.messages), bytes: share(line.bytes) }))
        }
        _ => told.map(|told| {
            Size::Left(Load {
                messages: told.messages.saturating_sub(line.messages),
                bytes: told.bytes.saturating_sub(line.bytes),
            })
        }),
    }
}

/// What a pass listed and did not store; `None`: it listed nothing new.
pub(super) fn left(pass: &PassSummary) -> Option<Load> {
    let left = || Load {
        messages: pass.planned.saturating_sub(pass.stored),
        bytes: pass.planned_bytes.saturating_sub(pass.bytes),
    };
    (pass.planned > 0).then(left)
}

/// What holds for one mailbox of a target, whatever else goes on.
pub fn ceilings(limits: Option<&TargetLimits>) -> Ceilings {
    let Some(limits) = limits else {
        return Ceilings {
            upload_per_second: BYTES_PER_SECOND,
            requests_per_second: MESSAGES_PER_SECOND,
            at_once: 1,
            latency: Duration::ZERO,
            wire_factor: 1.0,
            requests_per_message: 1.0,
        };
    };
    let per =
        |amount: f64, window: Duration| if window.is_zero() { 0.0 } else { amount / window.as_secs_f64() };
    let own = per(f64::from(limits.requests), limits.requests_window);
    let shared = limits.app_requests_per_second.map_or(0.0, f64::from);
    Ceilings {
        upload_per_second: per(limits.upload_bytes as f64, limits.upload_window),
        requests_per_second: [own, shared]
            .into_iter()
            .filter(|rate| *rate > 0.0)
            .reduce(f64::min)
            .unwrap_or(0.0),
        at_once: limits.concurrency,
        // As many at once as one likes: no round trip is waited for.
        latency: if limits.concurrency == 0 { Duration::ZERO } else { LATENCY },
        wire_factor: 4.0 / 3.0,
        requests_per_message: 1.0,
    }
}

/// What is expected of a mailbox.
pub fn expected(mailbox: &Mailbox, size: Option<Size>, limits: &Limits) -> Expected {
    let time = size.map(|size| match size {
        Size::Took(time) => time,
        Size::Left(load) => ceilings(limits.of_target(&mailbox.target_endpoint)).time(load),
    });
    Expected { priority: mailbox.priority, time }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(passes: u64, messages: u64, last: Option<PassSummary>) -> MailboxLine {
        MailboxLine {
            key: String::new(),
            ordinal: 1,
            state: String::new(),
            passes,
            messages,
            bytes: messages * 10,
            skipped: 0,
            unknown: 0,
            lossy: 0,
            last,
            error: None,
        }
    }

    #[test]
    fn what_was_counted_beats_what_was_told_and_a_mailbox_past_its_initial_pass_is_short() {
        let load = |messages, bytes| Load { messages, bytes };
        let told = Some(load(1000, 50_000));
        let left = |messages, bytes| Some(Size::Left(load(messages, bytes)));
        assert_eq!(size(None, None), None);
        assert_eq!(size(None, told), left(1000, 50_000));
        assert_eq!(size(Some(&line(0, 400, None)), told), left(600, 46_000));
        assert_eq!(size(Some(&line(0, 400, None)), None), None, "how much is left, nobody knows");
        let stopped = PassSummary {
            planned: 900,
            planned_bytes: 9000,
            stored: 300,
            bytes: 2500,
            ..PassSummary::default()
        };
        assert_eq!(size(Some(&line(0, 300, Some(stopped.clone()))), told), left(600, 6500));
        assert_eq!(
            size(Some(&line(3, 300, Some(stopped))), told),
            left(600, 6500),
            "a later pass that was stopped"
        );
        let whole = PassSummary { complete: true, began: 1000, ended: 61_000, ..PassSummary::default() };
        assert_eq!(size(Some(&line(1, 1000, Some(whole.clone()))), told), left(30, 300));
        assert_eq!(size(Some(&line(2, 1000, Some(whole))), told), Some(Size::Took(Duration::from_secs(60))));
    }

    #[test]
    fn targets_without_limits_order_by_size_and_nothing_is_too_long_for_them() {
        let time =
            |limits: Option<&TargetLimits>, messages, bytes| ceilings(limits).time(Load { messages, bytes });
        assert!(time(None, 10, 2_000_000_000) > time(None, 10, 1_000_000_000));
        assert!(time(None, 5_000_000, 100_000_000_000) < Duration::from_secs(3600));
        let graph = TargetLimits::default();
        assert_eq!(time(Some(&graph), 1, 1_500_000_000).as_secs(), 4000);
        assert_eq!(time(Some(&graph), 100_000, 1).as_secs(), 7500);
        let none = TargetLimits { requests: 0, upload_bytes: 0, concurrency: 0, ..graph };
        assert_eq!(time(Some(&none), 1000, 1_000_000), Duration::ZERO);
    }
}

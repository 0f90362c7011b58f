//! What a source mailbox holds: listed whole, summed up, held against what the target takes and how fast it takes it.

use std::time::Duration;

use crate::cli::talk::Talk;
use crate::config::LimitSettings;
use crate::model::Result;
use crate::report::{bytes, count};
use crate::source::SourceMailbox;

/// Octets on the wire for those of a message: base64 and what is around it.
const WIRE: (u64, u64) = (4, 3);

/// What one mailbox holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Inventory {
    pub folders: u64,
    pub messages: u64,
    /// Octets of all messages whose size the source tells.
    pub bytes: u64,
    /// Octets of the largest.
    pub largest: u64,
    /// Messages above what the target takes.
    pub too_large: u64,
    /// Messages whose size the source does not tell before they are read.
    pub of_unknown_size: u64,
}

impl Inventory {
    /// Lists every message. `limit`: the largest message that is taken, in bytes.
    ///
    /// # Errors
    /// A folder cannot be listed.
    pub(super) async fn of(source: &dyn SourceMailbox, limit: u64) -> Result<Inventory> {
        let mut all = Inventory::default();
        for folder in source.folders().await?.iter().filter(|folder| folder.selectable) {
            all.folders += 1;
            source.list(folder, None, &mut |listed| all.add(listed.size, limit)).await?;
        }
        Ok(all)
    }

    fn add(&mut self, size: Option<u64>, limit: u64) {
        self.messages += 1;
        let Some(size) = size else {
            self.of_unknown_size += 1;
            return;
        };
        self.bytes = self.bytes.saturating_add(size);
        self.largest = self.largest.max(size);
        self.too_large += u64::from(size > limit);
    }

    fn and(self, other: Inventory) -> Inventory {
        Inventory {
            folders: self.folders + other.folders,
            messages: self.messages + other.messages,
            bytes: self.bytes.saturating_add(other.bytes),
            largest: self.largest.max(other.largest),
            too_large: self.too_large + other.too_large,
            of_unknown_size: self.of_unknown_size + other.of_unknown_size,
        }
    }

    /// The shortest time in which one app may put all of it into one mailbox: what its windows let through.
    pub(super) fn least_time(&self, limits: &LimitSettings) -> Duration {
        // The first window's worth may go at once; 0 is no limit.
        let share = |amount: u64, most: u64, window: Duration| match most {
            0 => Duration::ZERO,
            most => {
                let windows = amount.saturating_sub(most) as f64 / most as f64;
                Duration::try_from_secs_f64(window.as_secs_f64() * windows).unwrap_or(Duration::MAX)
            }
        };
        let wire = self.bytes.saturating_mul(WIRE.0) / WIRE.1;
        share(wire, limits.upload, limits.upload_per).max(share(
            self.messages,
            u64::from(limits.requests),
            limits.requests_per,
        ))
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "folders": self.folders,
            "messages": self.messages,
            "bytes": self.bytes,
            "largest": self.largest,
            "too_large": self.too_large,
            "of_unknown_size": self.of_unknown_size,
        })
    }
}

/// Says what all of them hold together, and how long the slowest takes at least.
pub(super) fn print<'a>(all: impl Iterator<Item = (&'a Inventory, Option<Duration>)>, talk: &Talk) {
    let (mut sum, mut longest, mut mailboxes) = (Inventory::default(), None, 0u64);
    for (one, least) in all {
        sum = sum.and(*one);
        longest = longest.max(least);
        mailboxes += 1;
    }
    talk.say(&format!(
        "{} mailboxes hold {} messages in {} folders, {} in all, the largest of {}",
        count(mailboxes),
        count(sum.messages),
        count(sum.folders),
        bytes(sum.bytes),
        bytes(sum.largest)
    ));
    if sum.too_large > 0 {
        talk.say(&format!(
            "{} messages are larger than the target takes: they will be skipped and listed by name; raise the limit there, or approve them",
            count(sum.too_large)
        ));
    }
    if let Some(longest) = longest.filter(|l| *l > Duration::from_secs(60)) {
        let minutes = longest.as_secs().div_ceil(60);
        talk.say(&format!(
            "at the limits of the target the slowest mailbox takes at least {} h {} min",
            minutes / 60,
            minutes % 60
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> LimitSettings {
        LimitSettings::default()
    }

    #[test]
    fn what_is_too_large_or_of_unknown_size_is_counted() {
        let mut all = Inventory::default();
        for size in [Some(10), Some(100), None, Some(101)] {
            all.add(size, 100);
        }
        let expected =
            Inventory { folders: 0, messages: 4, bytes: 211, largest: 101, too_large: 1, of_unknown_size: 1 };
        assert_eq!(all, expected);
        assert_eq!(all.and(all).messages, 8);
    }

    #[test]
    fn the_least_time_is_what_the_windows_let_through() {
        let small = Inventory { messages: 100, bytes: 1 << 20, ..Inventory::default() };
        assert_eq!(small.least_time(&limits()), Duration::ZERO);
        // 0.95 GB are 1.27 GB on the wire: 7.4 windows of 150 MB after the first, five minutes each.
        let mean = Inventory { messages: 12_700, bytes: 950_000_000, ..Inventory::default() };
        let minutes = mean.least_time(&limits()).as_secs() / 60;
        assert!((36..=38).contains(&minutes), "{minutes}");
        // Many small ones: requests bind.
        let many = Inventory { messages: 110_000, bytes: 110_000_000, ..Inventory::default() };
        assert_eq!(many.least_time(&limits()).as_secs() / 60, 100);
        let free = LimitSettings { requests: 0, upload: 0, ..limits() };
        assert_eq!(many.least_time(&free), Duration::ZERO);
    }
}

//! The ladders: what is changed, and what stays.

use std::ops::RangeInclusive;

use mailwave::mock::imap::made::Law;

/// What is changed from step to step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Ladder {
    /// Mailboxes of two messages each.
    Mailboxes,
    /// Messages of one folder.
    Messages,
    /// Octets of a message; the amount stays.
    Sizes,
    /// Milliseconds of a round trip to the source and to the target.
    Latency,
    /// Connections to the source, at most.
    Connections,
    /// Requests at once at a mailbox of the target.
    AtOnce,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its place on the axis.
    pub at: u64,
    pub law: Law,
    /// Milliseconds of a round trip, at both ends.
    pub latency: u64,
    /// Connections to the source.
    pub connections: u64,
    /// Requests at once at one mailbox.
    pub at_once: u64,
}

/// Octets that stay the same while sizes change.
const AMOUNT: u64 = 157_286_400;

impl Ladder {
    pub fn name(self) -> &'static str {
        match self {
            Ladder::Mailboxes => "mailboxes",
            Ladder::Messages => "messages",
            Ladder::Sizes => "sizes",
            Ladder::Latency => "latency",
            Ladder::Connections => "connections",
            Ladder::AtOnce => "at-once",
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Ladder::Mailboxes => "mailboxes, each of two messages of 2 KB",
            Ladder::Messages => "messages of 2 KB in one folder of one mailbox",
            Ladder::Sizes => "octets of a message; 157 MB in all, in up to 8 mailboxes",
            Ladder::Latency => {
                "milliseconds of a round trip at both ends; 32 mailboxes of 40 messages of 12 KB"
            }
            Ladder::Connections => {
                "connections to the source, 30 ms away; 32 mailboxes of 40 messages of 12 KB"
            }
            Ladder::AtOnce => {
                "requests at once at each mailbox, 30 ms away; 4 mailboxes of 200 messages of 12 KB"
            }
        }
    }

    /// Of the axis.
    pub fn unit(self) -> &'static str {
        match self {
            Ladder::Mailboxes => "mailboxes",
            Ladder::Messages => "messages",
            Ladder::Sizes => "octets a message",
            Ladder::Latency => "ms a round trip",
            Ladder::Connections => "connections",
            Ladder::AtOnce => "requests at once",
        }
    }

    fn places(self) -> &'static [u64] {
        match self {
            Ladder::Mailboxes => &[100, 1_000, 10_000, 100_000],
            Ladder::Messages => &[1_000, 10_000, 100_000, 1_000_000],
            Ladder::Sizes => &[1_000, 10_000, 100_000, 1_000_000, 10_000_000, 157_286_400],
            Ladder::Latency => &[0, 10, 30, 100, 300],
            Ladder::Connections => &[1, 2, 4, 8, 16],
            Ladder::AtOnce => &[1, 2, 4, 8, 16],
        }
    }

    pub fn steps(self, within: RangeInclusive<u64>) -> Vec<Step> {
        self.places().iter().filter(|at| within.contains(at)).map(|at| self.step(*at)).collect()
    }

    fn step(self, at: u64) -> Step {
        let base = Step { at, law: law(32, 40, 12_000), latency: 0, connections: 64, at_once: 4 };
        match self {
            Ladder::Mailboxes => Step { law: law(at, 2, 2_000), ..base },
            Ladder::Messages => Step { law: law(1, at, 2_000), ..base },
            Ladder::Sizes => {
                let messages = AMOUNT / at;
                let mailboxes = messages.clamp(1, 8);
                Step { law: law(mailboxes, messages / mailboxes, at), ..base }
            }
            Ladder::Latency => Step { latency: at, ..base },
            Ladder::Connections => Step { latency: 30, connections: at, ..base },
            Ladder::AtOnce => Step { law: law(4, 200, 12_000), latency: 30, at_once: at, ..base },
        }
    }
}

/// Mailboxes of one folder, messages of one size.
fn law(mailboxes: u64, messages: u64, size: u64) -> Law {
    Law {
        seed: 1,
        mailboxes,
        folders_least: 1,
        folders_more: 0.0,
        folders_most: 1,
        messages_least: u32::try_from(messages).unwrap(),
        messages_more: 0.0,
        size_median: size as f64,
        size_sigma: 0.0,
        size_least: size,
        size_most: size,
        ..Law::default()
    }
}

//! The event log: all events in order, as one digest.

use crate::env::Tick;
use crate::model::{Digest, Hasher};

/// Events are digested so many bytes at once.
const AT_ONCE: usize = 16 << 10;

/// Nanoseconds since the night began.
pub(super) fn nanos(at: Tick) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) struct Log {
    digest: Hasher,
    /// Events that are not in it yet.
    left: Vec<u8>,
}

impl Log {
    pub(super) fn new() -> Log {
        Log { digest: Hasher::new(), left: Vec::with_capacity(AT_ONCE + 64) }
    }

    /// An event of a kind happened to a mailbox (or an app) and a batch of it.
    pub(super) fn note(&mut self, nanos: u64, kind: u8, mailbox: u32, batch: u32) {
        let mut octets = [0u8; 21];
        octets[..8].copy_from_slice(&nanos.to_be_bytes());
        octets[8] = kind;
        octets[9..17].copy_from_slice(&u64::from(mailbox).to_be_bytes());
        octets[17..].copy_from_slice(&batch.to_be_bytes());
        self.left.extend_from_slice(&octets);
        if self.left.len() >= AT_ONCE {
            self.digest.update(&self.left);
            self.left.clear();
        }
    }

    pub(super) fn finish(mut self) -> Digest {
        self.digest.update(&self.left);
        self.digest.finish()
    }
}

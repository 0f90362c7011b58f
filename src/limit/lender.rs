//! Permits of another process: the one that moves mail lends them to one that only looks (`verify`, `check`), so that both
//! together stay within the limits of the same app and mailboxes, and within the connections and log-ins of a source.

use std::any::Any;

use async_trait::async_trait;

use super::rules::Answer;
use crate::env::Tick;

/// What a lender says.
pub enum Lent {
    /// The requests may leave.
    Yes(Box<dyn Lease>),
    /// Nobody lends: own limits hold alone. If somebody did until a moment (`Some`), what was sent before it counts as all
    /// that the windows allow.
    Nobody(Option<Tick>),
}

/// Lends the right to send requests.
#[async_trait]
pub trait Lender: Send + Sync {
    /// Waits until requests of these upload bytes, sent as one, of which the service works on `at_once` at a time, may
    /// leave for a mailbox of a target endpoint.
    async fn lend(&self, endpoint: &str, mailbox: &str, parts: &[u64], at_once: usize) -> Lent;
}

/// The right to have requests under way. Dropping it counts as [`Answer::Unknown`] for each.
pub trait Lease: Send + Sync + std::fmt::Debug {
    /// The requests ended so.
    fn finish(self: Box<Self>, answers: &[Answer]);
}

/// Lends places among the connections to a source.
#[async_trait]
pub trait PlaceLender: Send + Sync {
    /// Waits for a place for one connection to a source endpoint, which is to be made and logged in at once. `None`: nobody
    /// lends, own limits hold alone.
    async fn place(&self, endpoint: &str) -> Option<LentPlace>;
}

/// A place for one connection: held until it is dropped.
pub type LentPlace = Box<dyn Any + Send + Sync>;

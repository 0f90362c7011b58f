//! What may leave, when: exact windows, smooth rates, byte budgets, backoff.
//!
//! The policy is synchronous machines without clock, await or I/O; the drivers around them are thin.
//!
//! | file        | idea                                                                                    |
//! |-------------|-----------------------------------------------------------------------------------------|
//! | `window`    | an exact sliding window in bounded memory: never counts too little, 1/200 too much       |
//! | `quota`     | one windowed limit: spent + under way + reserved ≤ capacity, always                      |
//! | `refusal`   | what the service's refusals mean: blocked until, then one request feels its way           |
//! | `rules`     | what things cost, how requests end, what the rules are                                   |
//! | `admission` | the machine of one (app, mailbox): slots, windows, refusals, the four lanes              |
//! | `gate`      | its driver: [`Gate`], [`Ticket`], [`Slot`]                                               |
//! | `budget`    | bytes in memory and in the spool, first come first served, machine and driver            |
//! | `smooth`    | so many per second, by governor on the environment's clock                               |
//! | `backoff`   | bounded retries with jitter                                                              |
//! | `adaptive`  | how many at once one mailbox may have                                                   |
//! | `learner`   | how many at once an app bears, learnt from its answers                                   |
//! | `crowd`     | its driver: places in line before one app                                              |
//! | `counters`  | what passed, what was refused, what was waited for                                       |
//! | `account`   | what the time of open mailboxes goes to                                                  |
//! | `binds`     | the same as shares, over the last minutes and over a run                                 |
//! | `lender`    | permits and places of another process that uses the same limits                          |
//! | `apps`      | which app registration of a pool serves a mailbox                                       |
//! | `limits`    | the limits of a process, as the operator set them                                        |
//!
//! The order of reservation is the same everywhere: mailbox slot → place before the app → rate → spool → turn → memory → session → store; nobody waits for
//! an earlier class while holding a later one. In calls: [`Gate::reserve`] (what the batch will cost) →
//! [`Limits::memory`] or [`Limits::spool`] → fetch → store, where each request passes [`Gate::admit`] with the ticket
//! and ends with [`Slot::finish`]. The awkward exception: of a large message that goes in pieces only the beginning is
//! reserved. Its later requests overdraw its ticket and wait for the window while its octets are held; else the window
//! would stand half empty whenever a large message waits for all of its room. No new reservation is made meanwhile.
//!
//! When an amount counts: from its reservation to its drop or its use, from the grant of its request to the answer,
//! and then for one window (up to 1/200 longer). The service counts it at some moment between grant and answer, so
//! whatever its clock and the latency, it never sees more than the capacity. Refused requests count too. A request
//! of unknown fate counts, and keeps its slot, until a hold time has passed.

mod account;
mod adaptive;
mod admission;
mod apps;
mod backoff;
mod binds;
mod budget;
mod counters;
mod crowd;
mod gate;
mod learner;
mod lender;
mod limits;
mod quota;
mod refusal;
mod rules;
#[cfg(test)]
mod scenarios;
mod smooth;
mod window;

/// The machines themselves, for a driver with a clock of its own (`simulate`).
pub(crate) mod machine {
    pub(crate) use super::account::Lane;
    pub(crate) use super::admission::{Admission, Grant, Id};
    pub(crate) use super::budget::{Asked, Id as LineId, Line, share};
    pub(crate) use super::learner::{Bounds, Ended, Learner};
    pub(crate) use super::rules::Rules;
    pub(crate) use super::smooth::Rate;
}

pub use account::{Account, Accounts, Bound, Doing, OpenLane, Spent, Stage, StageSum};
pub use adaptive::Concurrency;
pub use apps::app_of;
pub use backoff::Backoff;
pub use binds::{Binds, Opened, Shares};
pub use budget::{Copying, MemoryPermit};
pub use counters::{Counters, Waits};
pub use gate::{BatchSlot, Gate, Slot, Ticket};
pub use lender::{Lease, Lender, Lent, LentPlace, PlaceLender};
pub use limits::{LimitSettings, Limits, TargetLimits, WaveLimits, WavePlace};
pub use rules::{Answer, Cost};

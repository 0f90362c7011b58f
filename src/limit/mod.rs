//! What may leave, when: exact windows, smooth rates, the byte budget, backoff.
//!
//! The policy is synchronous state machines (`window`, `admission`, `backoff`, `budget`); [`Gate`] and [`Budget`]
//! are their thin asynchronous drivers. The order of reservation is the same everywhere: mailbox slot → rate →
//! bytes → session → store; nobody waits for an earlier class while holding a later one.

mod gate;

pub use gate::{Answer, Cost, Gate, Limits, MemoryPermit, Slot, Ticket};

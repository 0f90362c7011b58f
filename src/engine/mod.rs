//! The engine: one mailbox's pass, and the wave of many. The only module that knows source, target and ledger.
//!
//! Per batch: reserve → intent → fetch → store → outcome. Nothing is fetched before it may be sent; nothing is sent
//! before its intent is durable; nothing is stored again before it was looked for.
//!
//! Deciding is apart from doing: `lanes`, `retry`, `batches`, `matching`, `proof`, `diff` and `arrivals` are plain
//! functions and state machines over values; `wave`, `pass`, `copy`, `settle`, `anchored` and `mirror` carry out what
//! they decide.

mod anchored;
mod arrivals;
mod batches;
mod copy;
mod diff;
mod event;
mod inventory;
mod lanes;
mod matching;
mod mirror;
mod moves;
mod options;
mod pairing;
mod pass;
mod proof;
mod rebuild;
mod recount;
mod renumbered;
mod retry;
mod reused;
mod roll;
mod settle;
mod views;
mod wave;
mod whereabouts;

pub use event::{Event, MailboxResult, Stop, Unwatched, Watcher, WaveResult};
pub use options::{Options, Parts};
pub use rebuild::{Rebuilt, rebuild};
pub use settle::UNCONFIRMED;
pub use wave::run;

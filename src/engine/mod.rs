//! The engine: one mailbox's pass, and the wave of many. The only module that knows source, target and ledger.
//!
//! Per batch: reserve → intent → fetch → store → outcome. Nothing is fetched before it may be sent; nothing is sent
//! before its intent is durable; nothing is stored again before it was looked for.
//!
//! Deciding is apart from doing: `lanes`, `windows`, `order`, `expect`, `width`, `matching`, `proof`, `diff`, `batches`,
//! `retry`, `arrivals` and `pairing` are plain functions and state machines over values; the others carry out what they decide.

mod anchored;
mod arrivals;
mod batches;
mod copy;
mod desk;
mod diff;
mod event;
mod expect;
mod inventory;
mod lanes;
mod matching;
mod mirror;
mod moves;
mod options;
mod order;
mod pairing;
mod pass;
mod proof;
mod rebuild;
mod recount;
mod renumbered;
mod resumed;
mod retry;
mod reused;
mod roll;
mod rollback;
mod settle;
mod views;
mod wave;
#[cfg(test)]
mod weight;
mod whereabouts;
mod width;
mod windows;

pub use desk::{Bell, Desk, RunState, WaveState, Which, Wish, desk};
pub use event::{Event, MailboxResult, Stop, Unwatched, Watcher, WaveResult};
pub use expect::{Size, ceilings, expected, size};
pub(crate) use lanes::{Do, Happened, Lanes};
pub use options::{Options, Parts};
pub use order::{Expected, Order, longest_first};
pub use rebuild::{Rebuilt, rebuild};
pub use resumed::{Resumed, resumed};
pub use settle::UNCONFIRMED;
pub use wave::{Conduct, Wave, WavePass, run, run_waves};
pub(crate) use width::Width;
pub use windows::Waits;

//! **mailwave** moves many mailboxes from the servers an organisation has into the ones it wants: with nothing lost,
//! nothing twice, at a governed pace, stoppable and resumable at any point.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod engine;
pub mod env;
pub mod guard;
pub mod http;
pub mod imap;
pub mod ledger;
pub mod limit;
#[cfg(feature = "mock")]
pub mod mock;
pub mod model;
pub mod observe;
pub mod plan;
pub mod report;
pub mod source;
pub mod target;
pub mod transform;
pub mod verify;

//! Bad input: each thing that is wrong gives a clear error, or a skipped item with its reason and a remedy; the rest
//! goes on, nothing is lost, and once it is repaired the next run completes without a double.

mod config;
pub mod desk;
mod folders;
mod ledger;
mod logins;
mod messages;
mod spool;
mod targets;

//! What several test modules share.

pub mod corpus;
pub mod cyrus;
pub mod dovecot;
pub mod holding;
pub mod imap_client;
pub mod mailgen;
pub mod memory;
pub mod numbered;
pub mod powercut;
pub mod process;
pub mod server;
pub mod tier;
pub mod verdict;

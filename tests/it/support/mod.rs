//! What several test modules share.

pub mod corpus;
pub mod dovecot;
pub mod mailgen;
pub mod memory;
pub mod process;
pub mod verdict;

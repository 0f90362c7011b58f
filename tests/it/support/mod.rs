//! What several test modules share.

pub mod dovecot;
pub mod mailgen;
pub mod memory;
pub mod numbered;
pub mod process;

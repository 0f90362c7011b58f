//! What several test modules share.

pub mod mailgen;
pub mod memory;

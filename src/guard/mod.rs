//! STUB

pub mod files;

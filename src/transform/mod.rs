//! STUB

pub mod line_ends;
pub mod names;
pub mod utf7;

//! What is to be moved: `mailboxes.csv` → mailboxes, checked against the configuration.

mod csv;
mod overlap;

pub use csv::{Plan, Row, load, parse};

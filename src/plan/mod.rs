//! What is to be moved: `mailboxes.csv` → mailboxes, checked against the configuration.

mod csv;
mod estimate;
mod overlap;

pub use csv::{Plan, Row, load, parse};
pub use estimate::{Ceilings, Load};

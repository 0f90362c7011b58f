//! What is to be moved, and when: `mailboxes.csv` → mailboxes, checked against the configuration; windows of time →
//! the next moment at which something changes.

mod calendar;
mod csv;
mod estimate;
mod overlap;

pub use calendar::{At, Calendar};
pub use csv::{Plan, Row, load, parse};
pub use estimate::{Ceilings, Load, Terms};

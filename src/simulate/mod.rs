//! A night without servers: the machines that govern a real run, driven by an event heap against modelled ends.
//!
//! What decides in a run decides here: the lanes and how many there are (`engine`), the admission of every mailbox with its
//! windows and refusals, the rate of every app, the lines for memory and spool (`limit`), the order of the longest first.
//! What is modelled is what cannot be had on a desk: mailboxes with sizes drawn from a stated distribution, links with a
//! bandwidth, servers with a latency, and a service that counts in windows of its own and refuses. No octets move, and an event is a batch, so a night of
//! 22,000 mailboxes takes seconds. The same scenario and seed give the same event log, octet by octet.
//!
//! | file       | idea                                                               |
//! |------------|--------------------------------------------------------------------|
//! | `scenario` | what is simulated, as written in a file, and the mailboxes drawn from it |
//! | `service`  | the modelled target's own windows                                   |
//! | `shared`   | what mailboxes share: links, app rates, memory                      |
//! | `mailbox`  | one open mailbox: its batches and where they wait                    |
//! | `slots`    | the open mailboxes, by ordinal                                       |
//! | `few`      | what one mailbox has under way                                       |
//! | `agenda`   | the events to come, by time                                          |
//! | `night`    | the driver: event after event                                        |
//! | `journey`  | the way of a batch through reservation, memory, fetch, lane and rate |
//! | `looks`    | looking for what was stored and never answered                       |
//! | `log`      | the event log, as a digest                                           |
//! | `standstill` | nothing goes on: who waits for what                            |
//! | `outcome`  | how it ended: the bounds, and the ledger's view for the report      |

mod agenda;
mod few;
mod journey;
mod log;
mod looks;
mod mailbox;
mod night;
mod outcome;
mod scenario;
mod service;
mod shared;
mod slots;
mod standstill;
#[cfg(test)]
mod tests;

pub use night::{Watch, run, too_long};
pub use outcome::{Bounds, Ended, Outcome, View};
pub use scenario::{Ordering, Scenario, Sizes, SourceModel, TargetModel};

//! What a run looks like while it runs: bars on a terminal, a plain line every 15 seconds elsewhere, logs.
//!
//! Nothing here opens stdout or stderr: the command line hands in where to write. Mailboxes appear by pseudonym.

mod bars;
mod board;
mod lines;
mod log;
mod state;

pub use bars::Bars;
pub use board::{Board, Told, WaveCounts, WaveView};
pub use lines::Lines;
pub use log::{Level, start as start_log};
pub use state::{Progress, Totals};

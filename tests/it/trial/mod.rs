//! The crash trial: a whole migration in one thread, from one seed, cut before every single effect, resumed, resumed
//! again. Whatever the cut, the target must hold in the end what an undisturbed run leaves there, by the mock's truth.
//!
//! `play` tells one story and compares; `content` is what is moved, `source` and `peer` are the ends it is moved between;
//! `pairs` tries every source with every target, `bites` that the trial notices defects,
//! `panics` what becomes of our own.

mod bites;
pub mod content;
mod graph;
mod pairs;
mod panics;
mod peer;
mod play;
pub mod source;
mod stage;
mod target;
mod world;

pub use self::graph::target as graph_target;
pub use self::peer::address;
use self::play::Play;
pub use self::world::{Observer, VirtualClock};

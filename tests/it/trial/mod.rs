//! The crash trial.
mod target;
mod world;

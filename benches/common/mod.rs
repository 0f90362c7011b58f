//! What benches of the whole program share: mocks in processes of their own, what processes use, asking a mock.
#![allow(dead_code)]

pub mod ask;
pub mod proc;
pub mod proxy;
pub mod serve;

/// The program itself.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_mailwave");
